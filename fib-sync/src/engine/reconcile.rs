//! Making it so: what is wanted for some prefixes is compared with what is there, and the difference written.

use std::{
    collections::{BTreeSet, HashSet},
    time::Instant,
};

use ipnetwork::IpNetwork;
use netlink_packet_route::RouteNetlinkMessage;

use super::{Engine, FEW, SOME, write::Sent};
use crate::{
    FibError, culprit, device,
    kernel_route::removal,
    netlink::Message,
    paths::{FamilyPath, tunnels},
    plan::{Operation, Verdict, decide},
    route::{Change, TunnelEnd},
    table::{Slot, Want},
};

/// How many routes under one key are parted at a time.
const DOUBLES: usize = 16;

/// What is to be done about one prefix.
#[derive(Debug)]
enum Step {
    Settled { wanted: bool },
    Conflict(u8),
    Do(Sent),
}

/// What goes behind the routes that lead there.
#[derive(Debug, Default)]
pub(super) struct Behind {
    /// Some ends of tunnels may not be wanted any more.
    ends_changed: bool,
    /// Prefixes that may be no peer's any more.
    prefixes: HashSet<IpNetwork>,
    /// What an earlier run left goes too.
    swept: bool,
}

impl Behind {
    pub(super) fn add(&mut self, prefixes: &[IpNetwork], ends_changed: bool) {
        self.prefixes.extend(prefixes);
        self.ends_changed |= ends_changed;
    }
}

impl Engine {
    /// Takes changes in and makes the kernel follow: at once, or, when that is more than a few routes, by way of the backlog.
    /// Returns whether the kernel has answered.
    pub(super) fn change(&mut self, changes: Vec<Change>) -> bool {
        let (mut put, removed) = self.take_in(changes);
        let now = Instant::now();
        self.troubles.asked(&put, now);
        self.troubles.asked(&removed, now);
        let retold = self.ledger.paths.take_retold();
        self.learn_gateways(&retold);
        // The kernel's route may be the same, and the peer that its packets are encrypted for is another.
        let rekeyed: HashSet<FamilyPath> =
            self.ledger.paths.take_rekeyed().into_iter().filter(|_| self.peers.is_some()).collect();
        put.extend(self.routes_of(&rekeyed));
        // Before paths are resolved: where that changes a next-hop object, all routes by it have moved.
        let ends_changed = self.open_tunnels(&put);
        let mut changed: HashSet<FamilyPath> = retold.into_iter().filter(|path| self.resolve(*path)).collect();
        changed.retain(|path| !rekeyed.contains(path));
        put.extend(self.routes_of(&changed));
        let few = put.len() + removed.len() <= FEW;
        if few {
            put.extend(removed);
            self.make_so(&put, ends_changed);
        } else {
            self.backlog.put(put);
            self.backlog.remove(removed);
            self.behind.add(&[], ends_changed);
        }
        few
    }

    /// Takes changes into the book. Returns the prefixes of which there is to be a route, and those of which there is to be none.
    fn take_in(&mut self, changes: Vec<Change>) -> (Vec<IpNetwork>, Vec<IpNetwork>) {
        let (mut put, mut removed) = (Vec::with_capacity(changes.len()), Vec::new());
        for change in changes {
            let those = if matches!(change, Change::Remove(_)) { &mut removed } else { &mut put };
            those.extend(self.ledger.change(change));
        }
        (put, removed)
    }

    /// Writes some of the backlog.
    pub(super) fn write_some(&mut self, most: usize) {
        self.heard();
        let some = self.backlog.take(most);
        self.make_so(&some, false);
        self.backlog.written();
    }

    /// Writes all of the backlog: what comes now is to find it done.
    pub(super) fn catch_up(&mut self) {
        while !self.backlog.is_empty() {
            self.write_some(SOME);
        }
    }

    /// From now on, routes of one family that nobody asked for go.
    pub(super) fn sweep(&mut self, v6: bool) {
        self.swept[usize::from(v6)] = true;
        let surplus = |(prefix, slot): (IpNetwork, Slot)| {
            (prefix.is_ipv6() == v6 && slot.want() == Want::Unasked).then_some(prefix)
        };
        let surplus: Vec<IpNetwork> = self.ledger.table.iter().filter_map(surplus).collect();
        if surplus.len() <= FEW {
            self.reconcile(surplus);
        } else {
            self.backlog.remove(surplus);
        }
        self.behind.add(&[], true);
        self.behind.swept = true;
        self.follow_up();
    }

    /// Everything of one family, wanted or there; where many wait, in their rounds.
    pub(super) fn reconcile_family(&mut self, v6: bool) {
        let all = self.ledger.table.iter().filter(|(prefix, _)| prefix.is_ipv6() == v6);
        if self.backlog.is_empty() {
            let all: Vec<IpNetwork> = all.map(|(prefix, _)| prefix).collect();
            return self.reconcile(all);
        }
        let (put, removed): (Vec<_>, Vec<_>) = all.partition(|(_, slot)| matches!(slot.want(), Want::Path(_)));
        let prefixes = |slots: Vec<(IpNetwork, Slot)>| slots.into_iter().map(|(prefix, _)| prefix);
        self.backlog.put(prefixes(put));
        self.backlog.remove(prefixes(removed));
    }

    /// Makes the kernel hold what is wanted for these prefixes.
    pub(super) fn reconcile(&mut self, prefixes: impl IntoIterator<Item = IpNetwork>) {
        let prefixes: Vec<IpNetwork> = prefixes.into_iter().collect();
        let ends_changed = self.open_tunnels(&prefixes);
        self.make_so(&prefixes, ends_changed);
    }

    /// Sees to it that whoever is at the end of a tunnel is known before a route leads there. Returns whether the ends have
    /// changed, so that some may go behind the routes.
    fn open_tunnels(&mut self, prefixes: &[IpNetwork]) -> bool {
        let ends_changed = self.ledger.paths.take_tunnels_changed();
        if ends_changed {
            self.add_neighbours();
        }
        self.admit_peers(prefixes, ends_changed);
        ends_changed
    }

    /// Writes what is not as it should be for these prefixes.
    ///
    /// The book says what the kernel will hold as soon as an operation is on its way, and is put right should the kernel
    /// refuse: so one look-up of a prefix serves all of its steps, and a prefix that is named twice is written once.
    fn make_so(&mut self, prefixes: &[IpNetwork], ends_changed: bool) {
        let now = Instant::now();
        self.resolve_new();
        self.part_doubles();
        let mut writer = std::mem::take(&mut self.writer);
        let mut removals = Vec::new();
        for &prefix in prefixes {
            if self.troubles.truce(prefix, now) {
                continue;
            }
            match self.decide(prefix) {
                Step::Settled { wanted: true } => self.troubles.settled(prefix),
                Step::Settled { wanted: false } => self.troubles.forget(prefix),
                Step::Conflict(protocol) => {
                    let why = conflict(prefix, protocol, self.config.table, self.config.metric);
                    self.troubles.failed(prefix, why, now);
                }
                Step::Do(sent) if sent.operation == Operation::Remove => removals.push(sent),
                Step::Do(sent) => {
                    if self.write(sent, &mut writer, now) {
                        self.listen();
                    }
                }
            }
        }
        self.flush(&mut writer, now);
        for sent in removals {
            if self.write(sent, &mut writer, now) {
                self.listen();
            }
        }
        self.flush(&mut writer, now);
        let wrote = std::mem::take(&mut writer.wrote);
        self.writer = writer;
        if wrote {
            self.ask_again();
        }
        self.behind.add(if self.peers.is_some() { prefixes } else { &[] }, ends_changed);
        self.follow_up();
    }

    /// Takes in what was announced between two batches: a large table takes long, and a repair does not wait for the end of it.
    fn listen(&mut self) {
        if !self.listening {
            self.listening = true;
            self.heard();
            self.listening = false;
        }
    }

    /// Lets go of what nothing leads to any more, when no route is on its way.
    fn follow_up(&mut self) {
        if self.listening || !self.backlog.is_empty() {
            return;
        }
        let Behind { ends_changed, prefixes, swept } = std::mem::take(&mut self.behind);
        if ends_changed {
            self.remove_neighbours();
        }
        self.dismiss_peers(&prefixes.into_iter().collect::<Vec<_>>(), ends_changed);
        if swept {
            self.audit_peers();
        }
        self.collect_next_hops();
        self.retire_overlays();
    }

    /// Somebody put a route with Linnet's mark beside Linnet's own: both go, because a replacement would meet only one.
    fn part_doubles(&mut self) {
        let (table, metric) = (self.config.table, self.config.metric);
        for prefix in self.ledger.take_doubled() {
            for _ in 0..DOUBLES {
                let request = Message::new(&RouteNetlinkMessage::DelRoute(removal(prefix, table, metric)));
                match self.socket.attempt(&request, 0) {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => break,
                    Err(error) => return self.report(Err(error)),
                }
            }
            self.ledger.gone(prefix);
        }
    }

    /// Decides for one prefix, and notes in the book what will be there when it is done.
    fn decide(&mut self, prefix: IpNetwork) -> Step {
        let v6 = prefix.is_ipv6();
        let ledger = &mut self.ledger;
        let foreign = if ledger.foreign.is_empty() { None } else { ledger.foreign.get(&prefix).copied() };
        let (paths, kernel, swept) = (&ledger.paths, &mut ledger.kernel, self.swept[usize::from(v6)]);
        ledger.table.visit(prefix, |slot| {
            let (want, before) = (slot.want(), slot.have());
            let operation = match decide(paths.intent(want, v6), before, foreign, swept) {
                Verdict::Conflict(protocol) => return Step::Conflict(protocol),
                Verdict::Settled => None,
                Verdict::Do(operation) => Some(operation),
            };
            match operation {
                Some(Operation::Create(path) | Operation::Replace(path)) => {
                    kernel.hold_again(path);
                    slot.set_have(Some(path));
                }
                Some(Operation::Remove) => slot.set_have(None),
                None => {}
            }
            if slot.have().is_none() && want == Want::Gone {
                slot.set_want(Want::Unasked);
            }
            match operation {
                Some(operation) => Step::Do(Sent { prefix, operation, before, want }),
                None => Step::Settled { wanted: matches!(want, Want::Path(_)) },
            }
        })
    }

    pub(super) fn add_neighbours(&mut self) {
        if let Some(overlay) = &self.overlay {
            let added = self.neighbours.add(&self.tunnel_ends(), overlay, &mut self.socket);
            self.report(added);
        }
    }

    pub(super) fn remove_neighbours(&mut self) {
        if !self.backlog.is_empty() {
            self.behind.ends_changed = true;
            return;
        }
        let ends = self.tunnel_ends();
        if let Some(overlay) = &self.overlay {
            let swept = self.swept == [true; 2];
            let removed = self.neighbours.remove(&ends, overlay, swept, &mut self.socket);
            self.report(removed);
        }
    }

    /// Removes overlay devices of other encapsulations than the one that is wanted, when nobody sends into them, each when
    /// nothing leaves by it any more: routes move before their device goes, and those of an earlier run stay until they are swept.
    pub(super) fn retire_overlays(&mut self) {
        if !self.others_told {
            return;
        }
        let idle = |(link, _): &mut (u32, _)| !self.ledger.uses(*link) && !self.next_hops.uses(*link);
        let idle: Vec<(u32, &str)> = self.retiring.extract_if(.., idle).collect();
        for (link, name) in idle {
            tracing::info!(device = name, "an overlay device of another encapsulation is removed");
            let removed = device::remove(&mut self.socket, name, link);
            self.report(removed);
        }
    }

    pub(super) fn tunnel_ends(&self) -> BTreeSet<TunnelEnd> {
        self.ledger.paths.wanted().flat_map(|(_, path)| tunnels(path).collect::<Vec<_>>()).collect()
    }

    /// An error of the engine's own that has nobody to go to but the log; reading again mends what it left.
    pub(super) fn report(&mut self, result: Result<(), FibError>) {
        if let Err(error) = result {
            tracing::warn!(%error, "the kernel's state is read again");
            let at = Instant::now() + std::time::Duration::from_secs(1);
            self.timers.read = [Some(at); 2];
            self.timers.links = Some(at);
            self.timers.reach = Some(at);
            self.timers.neighbours = Some(at);
            self.timers.peers = self.timers.peers.map(|due| due.min(at));
            self.timers.next_hops = Some(at);
            if self.overlay.is_some() {
                self.timers.conduct = Some(at);
            }
        }
    }
}

fn conflict(prefix: IpNetwork, protocol: u8, table: u32, metric: u32) -> String {
    let family = if prefix.is_ipv6() { "-6 " } else { "" };
    let owner = culprit::protocol(protocol);
    format!(
        "a route of another owner (protocol {owner}) has the same prefix, table and metric and is left alone; remove \
         it (`ip {family}route del {prefix} proto {protocol} metric {metric} table {table}`) or set fib.metric to \
         another value"
    )
}
