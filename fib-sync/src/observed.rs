//! What the kernel holds, as far as it concerns Linnet: routes in its table with its metric.

use std::{
    collections::{HashMap, HashSet, hash_map},
    sync::Arc,
};

use ipnetwork::IpNetwork;

use crate::{
    PROTOCOL,
    kernel_route::{KernelPath, KernelRoute, Kind},
};

/// What stands under one key (prefix, table, metric).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Linnet's route.
    pub(crate) ours: Option<Arc<KernelPath>>,
    /// The protocol of somebody else's.
    pub(crate) foreign: Option<u8>,
}

/// The kernel's routes under the keys that Linnet uses. Equal paths are stored once.
#[derive(Debug)]
pub(crate) struct Observed {
    table: u32,
    metric: u32,
    entries: HashMap<IpNetwork, Entry>,
    paths: HashSet<Arc<KernelPath>>,
}

impl Observed {
    pub(crate) fn new(table: u32, metric: u32) -> Observed {
        Observed { table, metric, entries: HashMap::new(), paths: HashSet::new() }
    }

    /// Whether a route stands under a key of Linnet's.
    pub(crate) fn concerns(&self, route: &KernelRoute) -> bool {
        route.table == self.table && route.metric == self.metric && route.tos == 0
    }

    pub(crate) fn entry(&self, prefix: IpNetwork) -> Entry {
        self.entries.get(&prefix).cloned().unwrap_or_default()
    }

    pub(crate) fn prefixes(&self) -> impl Iterator<Item = IpNetwork> + '_ {
        self.entries.keys().copied()
    }

    /// How many routes are Linnet's.
    pub(crate) fn count(&self) -> usize {
        self.entries.values().filter(|entry| entry.ours.is_some()).count()
    }

    /// Whether any route of Linnet's leaves by this device.
    pub(crate) fn uses(&self, link: u32) -> bool {
        self.paths.iter().any(|path| path.hops.iter().any(|hop| hop.link == link))
    }

    /// Forgets one family, before it is read anew.
    pub(crate) fn forget(&mut self, v6: bool) {
        self.entries.retain(|prefix, _| prefix.is_ipv6() != v6);
        self.tidy();
    }

    /// The kernel has this route; `instead`: in place of what stood under the same key, which is announced no
    /// further. Returns whether that is news.
    pub(crate) fn saw(&mut self, route: KernelRoute, instead: bool) -> bool {
        let ours = (route.protocol == PROTOCOL).then(|| self.share(route.path));
        let entry = self.entries.entry(route.prefix).or_default();
        let before = entry.clone();
        match ours {
            Some(path) => {
                entry.ours = Some(path);
                entry.foreign = entry.foreign.filter(|_| !instead);
            }
            None => {
                entry.foreign = Some(route.protocol);
                entry.ours = entry.ours.take().filter(|_| !instead);
            }
        }
        *entry != before
    }

    /// The kernel no longer has this route. Returns whether that is news.
    ///
    /// IPv6 takes the hops of a multipath route away one by one, each with an announcement of its own; what remains
    /// is still a route.
    pub(crate) fn lost(&mut self, route: &KernelRoute) -> bool {
        let hash_map::Entry::Occupied(mut slot) = self.entries.entry(route.prefix) else { return false };
        let entry = slot.get_mut();
        let news = if route.protocol == PROTOCOL {
            match entry.ours.take() {
                None => false,
                Some(had) => {
                    if route.prefix.is_ipv6() && had.kind == Kind::Unicast {
                        let mut left = KernelPath::clone(&had);
                        left.hops.retain(|hop| !route.path.hops.contains(hop));
                        if !left.hops.is_empty() {
                            entry.ours = Some(Arc::new(left));
                        }
                    }
                    entry.ours.as_ref() != Some(&had)
                }
            }
        } else {
            entry.foreign.take().is_some()
        };
        if *slot.get() == Entry::default() {
            slot.remove();
        }
        news
    }

    /// Linnet has set this itself.
    pub(crate) fn set(&mut self, prefix: IpNetwork, path: Option<Arc<KernelPath>>) {
        let path = path.map(|path| match self.paths.get(&path) {
            Some(shared) => shared.clone(),
            None => {
                self.paths.insert(path.clone());
                path
            }
        });
        let entry = self.entries.entry(prefix).or_default();
        entry.ours = path;
        if *entry == Entry::default() {
            self.entries.remove(&prefix);
        }
    }

    fn share(&mut self, path: KernelPath) -> Arc<KernelPath> {
        if let Some(shared) = self.paths.get(&path) {
            return shared.clone();
        }
        let path = Arc::new(path);
        self.paths.insert(path.clone());
        path
    }

    /// Lets go of paths that no route has any more. Called now and then, not for each route.
    pub(crate) fn tidy(&mut self) {
        self.paths.retain(|path| Arc::strong_count(path) > 1);
    }
}
