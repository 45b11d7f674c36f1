//! What is wanted and what is there, by prefix: routes in Linnet's table with its metric.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use ipnetwork::IpNetwork;

use crate::{
    PROTOCOL,
    kernel_paths::{KernelPathId, KernelPaths},
    kernel_route::{KernelHop, KernelPath, KernelRoute, Kind, canonical},
    paths::{Paths, Resolved},
    route::{Change, PathId},
    table::{Slot, Table, Want},
};

/// The book of all routes.
#[derive(Debug)]
pub(crate) struct Ledger {
    number: u32,
    metric: u32,
    pub(crate) table: Table,
    pub(crate) paths: Paths,
    pub(crate) kernel: KernelPaths,
    /// Keys under which more than one route is Linnet's by its mark: the kernel merges none of them with a route by a
    /// next-hop object.
    doubled: HashSet<IpNetwork>,
    /// The protocol of somebody else's route under one of Linnet's keys.
    pub(crate) foreign: HashMap<IpNetwork, u8>,
}

impl Ledger {
    /// `number`: the routing table's.
    pub(crate) fn new(number: u32, metric: u32) -> Ledger {
        Ledger {
            number,
            metric,
            table: Table::default(),
            paths: Paths::default(),
            kernel: KernelPaths::default(),
            doubled: HashSet::new(),
            foreign: HashMap::new(),
        }
    }

    /// Whether a route stands under a key of Linnet's.
    pub(crate) fn concerns(&self, route: &KernelRoute) -> bool {
        route.table == self.number && route.metric == self.metric && route.tos == 0
    }

    /// Whether a route of Linnet's protocol is in its table under a key that is not: one of another metric.
    pub(crate) fn strands(&self, route: &KernelRoute) -> bool {
        route.table == self.number && route.protocol == PROTOCOL && !self.concerns(route)
    }

    /// Whether the book says of the kernel that it has this route.
    pub(crate) fn knows(&self, route: &KernelRoute) -> bool {
        if route.protocol == PROTOCOL {
            self.path_of(self.table.get(route.prefix)).is_some_and(|path| **path == route.path)
        } else {
            self.foreign.get(&route.prefix) == Some(&route.protocol)
        }
    }

    /// How many routes of a family, of Linnet's and of others, the book says that the kernel has.
    pub(crate) fn known(&self, v6: bool) -> usize {
        let ours = self.table.iter().filter(|(prefix, slot)| prefix.is_ipv6() == v6 && slot.have().is_some());
        ours.count() + self.foreign.keys().filter(|prefix| prefix.is_ipv6() == v6).count()
    }

    /// Takes a change in. Returns the prefix that it is about.
    pub(crate) fn change(&mut self, change: Change) -> Option<IpNetwork> {
        let (prefix, want) = match change {
            Change::Path(id, path) => {
                let void = self.paths.tell(id, path);
                void.into_iter().flatten().for_each(|resolved| self.void(resolved));
                return None;
            }
            Change::Put(prefix, path) => (canonical(prefix), Want::Path(path)),
            Change::Remove(prefix) => (canonical(prefix), Want::Gone),
        };
        self.want(prefix, want);
        Some(prefix)
    }

    fn want(&mut self, prefix: IpNetwork, want: Want) {
        let before = self.table.visit(prefix, |slot| {
            let before = slot.want();
            slot.set_want(want);
            before
        });
        if before == want {
            return;
        }
        let v6 = prefix.is_ipv6();
        if let Want::Path(path) = want {
            self.paths.add_user(path, v6);
        }
        if let Want::Path(path) = before
            && let Some(void) = self.paths.remove_user(path, v6)
        {
            self.void(void);
        }
    }

    /// What is wanted for a destination.
    pub(crate) fn want_of(&self, prefix: IpNetwork) -> Want {
        self.table.get(canonical(prefix)).want()
    }

    /// The kernel has a route of Linnet's to a destination.
    pub(crate) fn has(&self, prefix: IpNetwork) -> bool {
        self.table.get(canonical(prefix)).have().is_some()
    }

    fn void(&mut self, resolved: Resolved) {
        if let Some(kernel) = resolved.kernel {
            self.kernel.release(kernel);
        }
    }

    /// Wants nothing any more; what is there goes.
    pub(crate) fn want_nothing(&mut self) {
        let wanted: Vec<IpNetwork> =
            self.table.iter().filter(|(_, slot)| slot.want() != Want::Unasked).map(|(prefix, _)| prefix).collect();
        wanted.into_iter().for_each(|prefix| self.want(prefix, Want::Unasked));
        let paths: Vec<PathId> = self.paths.take_unused();
        for id in paths {
            self.change(Change::Path(id, None));
        }
    }

    /// Linnet's route as the kernel has it.
    pub(crate) fn path_of(&self, slot: Slot) -> Option<&Arc<KernelPath>> {
        self.kernel.get(slot.have()?)
    }

    /// How many routes are Linnet's.
    pub(crate) fn count(&self) -> usize {
        self.table.iter().filter(|(_, slot)| slot.have().is_some()).count()
    }

    /// Whether any route of Linnet's leaves by this device of its own, without a next-hop object.
    pub(crate) fn uses(&self, link: u32) -> bool {
        self.kernel.iter().any(|(_, path)| path.hops.iter().any(|hop| hop.link == link))
    }

    /// Whether any route of Linnet's has this next-hop object.
    pub(crate) fn has_object(&self, object: u32) -> bool {
        self.kernel.iter().any(|(_, path)| path.object == Some(object))
    }

    /// The next-hop objects of Linnet's routes, and of which family these are (IPv6 or not).
    pub(crate) fn objects(&self) -> BTreeSet<(u32, bool)> {
        let objects =
            self.table.iter().filter_map(|(prefix, slot)| Some((self.path_of(slot)?.object?, prefix.is_ipv6())));
        objects.collect()
    }

    /// Whether any route of Linnet's has this preferred source.
    pub(crate) fn has_source(&self, source: IpAddr) -> bool {
        self.kernel.iter().any(|(_, path)| path.source == Some(source))
    }

    /// Whether somebody else's route stands under any key of one family.
    pub(crate) fn has_foreign(&self, v6: bool) -> bool {
        self.foreign.keys().any(|prefix| prefix.is_ipv6() == v6)
    }

    /// The kernel has deleted what leaves by these devices alone. Returns the routes that are gone, and whether there may be more
    /// than the book can tell: those of which another hop is left.
    pub(crate) fn lost_links(&mut self, links: &[u32]) -> (Vec<IpNetwork>, bool) {
        let by = |hop: &KernelHop| links.contains(&hop.link);
        let split = self.kernel.iter().any(|(_, path)| path.hops.len() > 1 && path.hops.iter().any(by));
        (self.lost_paths(|path| matches!(path.hops.as_slice(), [only] if by(only))), split)
    }

    /// The kernel holds none of these paths any more. Returns the routes that are gone with them.
    pub(crate) fn lost_paths(&mut self, gone: impl Fn(&KernelPath) -> bool) -> Vec<IpNetwork> {
        let gone: Vec<KernelPathId> = self.kernel.iter().filter(|(_, path)| gone(path)).map(|(id, _)| id).collect();
        let mut lost = Vec::new();
        if gone.is_empty() {
            return lost;
        }
        for v6 in [false, true] {
            self.table.visit_all(v6, |prefix, slot| {
                if let Some(have) = slot.have().filter(|have| gone.contains(have)) {
                    slot.set_have(None);
                    self.kernel.release(have);
                    lost.push(prefix);
                }
            });
        }
        lost
    }

    /// Forgets what is there of one family, before it is read anew.
    pub(crate) fn forget(&mut self, v6: bool) {
        self.table.visit_all(v6, |_, slot| {
            if let Some(have) = slot.have() {
                slot.set_have(None);
                self.kernel.release(have);
            }
        });
        self.foreign.retain(|prefix, _| prefix.is_ipv6() != v6);
    }

    /// The kernel has this route; `instead`: in place of what stood under the same key, which is announced no
    /// further. Returns whether that is news.
    pub(crate) fn saw(&mut self, route: KernelRoute, instead: bool) -> bool {
        let prefix = route.prefix;
        if route.protocol == PROTOCOL {
            let cleared = instead && self.foreign.remove(&prefix).is_some();
            let by_object = |path: &KernelPath| path.object.is_some();
            let beside = self.path_of(self.table.get(prefix)).filter(|had| !instead && ***had != route.path);
            if beside.is_some_and(|had| by_object(had) || by_object(&route.path)) {
                self.doubled.insert(prefix);
            }
            let have = self.kernel.hold(route.path);
            self.set_have(prefix, Some(have)) | cleared
        } else {
            let cleared = instead && self.set_have(prefix, None);
            self.foreign.insert(prefix, route.protocol) != Some(route.protocol) || cleared
        }
    }

    /// The kernel no longer has this route. Returns whether that is news.
    ///
    /// IPv6 takes the hops of a multipath route away one by one, each with an announcement of its own; what remains
    /// is still a route.
    pub(crate) fn lost(&mut self, route: &KernelRoute) -> bool {
        if route.protocol != PROTOCOL {
            return self.foreign.remove(&route.prefix).is_some();
        }
        let Some(had) = self.path_of(self.table.get(route.prefix)).cloned() else { return false };
        let mut left = Vec::new();
        if route.prefix.is_ipv6() && had.kind == Kind::Unicast {
            left.extend(had.hops.iter().filter(|hop| !route.path.hops.contains(hop)).cloned());
        }
        let left = (!left.is_empty()).then(|| self.kernel.hold(KernelPath { hops: left, ..KernelPath::clone(&had) }));
        self.set_have(route.prefix, left)
    }

    /// Whether there is more than one route with Linnet's mark under this key.
    pub(crate) fn is_doubled(&self, prefix: IpNetwork) -> bool {
        self.doubled.contains(&prefix)
    }

    /// Keys under which there is more than one route with Linnet's mark.
    pub(crate) fn take_doubled(&mut self) -> HashSet<IpNetwork> {
        std::mem::take(&mut self.doubled)
    }

    /// Nothing of Linnet's is there.
    pub(crate) fn gone(&mut self, prefix: IpNetwork) {
        self.set_have(prefix, None);
    }

    /// Takes over the caller's hold on the path. Returns whether that is news.
    fn set_have(&mut self, prefix: IpNetwork, have: Option<KernelPathId>) -> bool {
        let before = self.table.visit(prefix, |slot| {
            let before = slot.have();
            slot.set_have(have);
            before
        });
        if let Some(before) = before {
            self.kernel.release(before);
        }
        before != have
    }
}
