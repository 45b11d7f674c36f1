//! Making it so: what is wanted for some prefixes is resolved, compared with what is there, and written in batches.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::IpAddr,
    time::Instant,
};

use ipnetwork::IpNetwork;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;

use super::{Engine, SETTLE};
use crate::{
    FibError, device,
    kernel_paths::KernelPathId,
    kernel_route::{KernelPath, Kind, removal, set_destination},
    netlink::{Batch, Message, Refusal, Request},
    paths::{FamilyPath, Resolved, gateways, tunnels},
    plan::{Intent, Operation, Verdict, decide},
    resolve::{View, resolve},
    route::{Change, TunnelEnd},
    table::Want,
};

/// How many routes under one key are parted at a time.
const DOUBLES: usize = 16;

/// An operation that is on its way to the kernel, and what to go back to should the kernel refuse it.
#[derive(Debug)]
struct Sent {
    prefix: IpNetwork,
    operation: Operation,
    before: Option<KernelPathId>,
    want: Want,
}

/// What is to be done about one prefix.
#[derive(Debug)]
enum Step {
    Settled { wanted: bool },
    Conflict(u8),
    Do(Sent),
}

/// What one reconciliation writes.
#[derive(Debug, Default)]
pub(super) struct Writer {
    batch: Batch,
    sent: Vec<Sent>,
    wrote: bool,
}

impl Engine {
    /// Everything of one family, wanted or there.
    pub(super) fn reconcile_family(&mut self, v6: bool) {
        let all = self.ledger.table.iter().map(|(prefix, _)| prefix).filter(|prefix| prefix.is_ipv6() == v6);
        let all: Vec<IpNetwork> = all.collect();
        self.reconcile(all);
    }

    /// Makes the kernel hold what is wanted for these prefixes.
    ///
    /// The book says what the kernel will hold as soon as an operation is on its way, and is put right should the kernel
    /// refuse: so one look-up of a prefix serves all of its steps, and a prefix that is named twice is written once.
    pub(super) fn reconcile(&mut self, prefixes: impl IntoIterator<Item = IpNetwork>) {
        let now = Instant::now();
        self.resolve_new();
        let tunnels_changed = self.ledger.paths.take_tunnels_changed();
        if tunnels_changed {
            self.add_neighbours();
        }
        self.part_doubles();
        let mut writer = std::mem::take(&mut self.writer);
        let mut removals = Vec::new();
        for prefix in prefixes {
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
                Step::Do(sent) => self.write(sent, &mut writer, now),
            }
        }
        self.flush(&mut writer, now);
        for sent in removals {
            self.write(sent, &mut writer, now);
        }
        self.flush(&mut writer, now);
        let wrote = std::mem::take(&mut writer.wrote);
        self.writer = writer;
        if wrote {
            self.ask_again();
        }
        if tunnels_changed {
            self.remove_neighbours();
        }
        self.collect_next_hops();
        self.retire_overlays();
    }

    /// Somebody put a route with Linnet's mark beside Linnet's own: both go, because a replacement would meet only one.
    fn part_doubles(&mut self) {
        let (table, metric) = (self.config.table, self.config.metric);
        for prefix in self.ledger.take_doubled() {
            for _ in 0..DOUBLES {
                let message = RouteNetlinkMessage::DelRoute(removal(prefix, table, metric));
                match self.socket.batch(&[Request { message, flags: 0 }]).map(|mut verdicts| verdicts.pop()) {
                    Ok(Some(Ok(()))) => {}
                    Ok(Some(Err(_)) | None) => break,
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

    fn write(&mut self, sent: Sent, writer: &mut Writer, now: Instant) {
        let (prefix, table, metric) = (sent.prefix, self.config.table, self.config.metric);
        let (flags, message) = match sent.operation {
            // Exclusive: should somebody else's route have come in between, it stays.
            Operation::Create(path) => {
                (NLM_F_CREATE | NLM_F_EXCL, self.ledger.kernel.message(path, prefix, table, metric))
            }
            Operation::Replace(path) => {
                (NLM_F_CREATE | NLM_F_REPLACE, self.ledger.kernel.message(path, prefix, table, metric))
            }
            Operation::Remove => {
                let make = || Message::new(&RouteNetlinkMessage::DelRoute(removal(prefix, table, metric)));
                (0, Some(&*self.removals[usize::from(prefix.is_ipv6())].get_or_insert_with(make)))
            }
        };
        // The operation holds its path, so there is a message.
        let Some(message) = message else { return };
        set_destination(writer.batch.push(message.kind, flags, &message.payload), prefix);
        writer.sent.push(sent);
        if writer.batch.is_full() {
            self.flush(writer, now);
        }
    }

    /// Sends what is written and takes in the kernel's verdicts.
    fn flush(&mut self, writer: &mut Writer, now: Instant) {
        if writer.sent.is_empty() {
            return;
        }
        writer.wrote = true;
        let mut refused = match self.socket.deliver(&mut writer.batch) {
            Ok(refused) => refused.into_iter().peekable(),
            Err(error) => {
                for sent in writer.sent.drain(..) {
                    self.troubles.failed(sent.prefix, error.to_string(), now);
                    self.undo(&sent);
                }
                return self.report(Err(error));
            }
        };
        for (number, sent) in writer.sent.drain(..).enumerate() {
            match refused.next_if(|(index, _)| *index == number) {
                Some((_, refusal)) => self.refused(&sent, &refusal, now),
                None => self.done(&sent),
            }
        }
    }

    fn done(&mut self, sent: &Sent) {
        if let Some(before) = sent.before {
            self.ledger.kernel.release(before);
        }
        match sent.operation {
            Operation::Create(_) | Operation::Replace(_) => self.troubles.settled(sent.prefix),
            Operation::Remove => self.troubles.forget(sent.prefix),
        }
    }

    fn refused(&mut self, sent: &Sent, refusal: &Refusal, now: Instant) {
        let prefix = sent.prefix;
        match sent.operation {
            Operation::Remove if refusal.errno == libc::ESRCH => return self.done(sent),
            Operation::Create(_) if refusal.errno == libc::EEXIST => {
                // Something is there that was not known of: what it is, a reading tells.
                self.read_soon(prefix.is_ipv6());
                self.troubles.failed(prefix, "a route with the same key is there; reading it".into(), now);
            }
            Operation::Create(_) | Operation::Replace(_) | Operation::Remove => {
                tracing::warn!(%prefix, %refusal, "the kernel refused a route; it is tried again");
                let why = format!("the kernel refused it: {refusal}; it is tried again by itself");
                self.troubles.failed(prefix, why, now);
                // A group that is not there any more was lost without a word.
                if refusal.errno == libc::EINVAL && self.next_hops.enabled() {
                    self.timers.next_hops.get_or_insert(now + SETTLE);
                }
            }
        }
        self.undo(sent);
    }

    /// The kernel did not take it: what was there is there.
    fn undo(&mut self, sent: &Sent) {
        self.ledger.table.visit(sent.prefix, |slot| {
            slot.set_have(sent.before);
            if sent.want == Want::Gone && slot.want() == Want::Unasked {
                slot.set_want(Want::Gone);
            }
        });
        if let Operation::Create(path) | Operation::Replace(path) = sent.operation {
            self.ledger.kernel.release(path);
        }
    }

    /// Takes changes in and makes the kernel follow.
    pub(super) fn change(&mut self, changes: Vec<Change>) {
        let mut prefixes: Vec<IpNetwork> = Vec::with_capacity(changes.len());
        prefixes.extend(changes.into_iter().filter_map(|change| self.ledger.change(change)));
        self.troubles.asked(&prefixes);
        let retold = self.ledger.paths.take_retold();
        self.learn_gateways(&retold);
        let changed: HashSet<FamilyPath> = retold.into_iter().filter(|path| self.resolve(*path)).collect();
        prefixes.extend(self.routes_of(&changed));
        self.reconcile(prefixes);
    }

    /// Resolves paths that have their first route.
    fn resolve_new(&mut self) {
        let new = self.ledger.paths.take_unresolved();
        if new.is_empty() {
            return;
        }
        self.learn_gateways(&new);
        for path in new {
            self.resolve(path);
        }
    }

    /// Asks for next hops that are new.
    fn learn_gateways(&mut self, paths: &[FamilyPath]) {
        let paths = paths.iter().filter_map(|(id, _)| self.ledger.paths.get(*id));
        let unknown: HashSet<IpAddr> = paths.flat_map(|path| gateways(path).collect::<Vec<_>>()).collect();
        let learned = self.answers.learn(unknown, &mut self.socket, &self.links);
        self.report(learned);
    }

    /// All routes that have one of these paths.
    fn routes_of(&self, paths: &HashSet<FamilyPath>) -> Vec<IpNetwork> {
        if paths.is_empty() {
            return Vec::new();
        }
        let has = |want, v6| matches!(want, Want::Path(id) if paths.contains(&(id, v6)));
        let routes = self.ledger.table.iter().filter(|(prefix, slot)| has(slot.want(), prefix.is_ipv6()));
        routes.map(|(prefix, _)| prefix).collect()
    }

    /// Works out what a path is for the kernel. Returns whether its routes have to be written anew.
    fn resolve(&mut self, id: FamilyPath) -> bool {
        let Some(path) = self.ledger.paths.get(id.0).cloned() else {
            // Told that it cannot be used.
            return true;
        };
        let view = View { links: &self.links, answers: &self.answers, overlay: self.overlay.as_ref() };
        let resolution = resolve(&path, id.1, view);
        let kernel = resolution.path.clone().map(|plain| self.by_object(id, plain));
        let kernel = kernel.map(|path| self.ledger.kernel.hold(path));
        let before = self.ledger.paths.set_resolved(id, Resolved { resolution, kernel });
        let before = before.and_then(|before| before.kernel);
        if let Some(before) = before {
            self.ledger.kernel.release(before);
        }
        before != kernel
    }

    /// The path by way of a next-hop object, where that can be. A path without a gateway is a pod's, and has one route.
    fn by_object(&mut self, id: FamilyPath, plain: KernelPath) -> KernelPath {
        let gateways = plain.kind == Kind::Unicast && plain.hops.iter().all(|hop| hop.via.is_some());
        if !self.next_hops.enabled() || !gateways {
            self.next_hops.disown(id);
            return plain;
        }
        match self.next_hops.ensure(id, &plain.hops, &mut self.socket) {
            Ok(Ok(object)) => KernelPath { hops: Vec::new(), object: Some(object), ..plain },
            Ok(Err(refusal)) => {
                tracing::warn!(%refusal, "the kernel refused a next-hop object; its routes name their next hops themselves");
                self.next_hops.disown(id);
                plain
            }
            Err(error) => {
                self.report(Err(error));
                plain
            }
        }
    }

    /// Devices or next hops are not what they were: resolves every path anew. This is the failover, and it waits for
    /// nothing: what can be said by changing a next-hop object is one message a path, and no route is looked at.
    pub(super) fn links_changed(&mut self) {
        let all: Vec<FamilyPath> = self.ledger.paths.wanted().map(|(id, _)| id).collect();
        let changed: HashSet<FamilyPath> = all.into_iter().filter(|id| self.resolve(*id)).collect();
        if !changed.is_empty() {
            self.reconcile(self.routes_of(&changed));
        }
    }

    /// Reads the next-hop objects again. The kernel deletes those of a link that is lost without a word, and with the last
    /// hop of a group the group and its routes.
    pub(super) fn reread_next_hops(&mut self) -> Vec<IpNetwork> {
        match self.next_hops.read(&mut self.socket) {
            Ok(lost) if lost.is_empty() => Vec::new(),
            Ok(lost) => self.ledger.lost_paths(|path| path.object.is_some_and(|object| lost.contains(&object))),
            Err(error) => {
                self.report(Err(error));
                Vec::new()
            }
        }
    }

    /// Lets go of objects that no path has.
    fn collect_next_hops(&mut self) {
        if self.ledger.paths.take_voided() {
            let wanted = |path: &FamilyPath| self.ledger.paths.resolved(*path).is_some();
            let idle: Vec<FamilyPath> = self.next_hops.owners().filter(|path| !wanted(path)).collect();
            idle.into_iter().for_each(|path| self.next_hops.disown(path));
        }
        if self.next_hops.has_idle() {
            let (ledger, swept) = (&self.ledger, self.swept == [true; 2]);
            let collected = self.next_hops.collect(swept, |object| ledger.has_object(object), &mut self.socket);
            self.report(collected);
        }
    }

    /// Asks for all next hops again, tells of those that changed, and moves routes accordingly.
    pub(super) fn reach_again(&mut self) {
        let began = Instant::now();
        let needed: HashSet<IpAddr> =
            self.ledger.paths.wanted().flat_map(|(_, path)| gateways(path).collect::<Vec<_>>()).collect();
        let changed = match self.answers.again(&needed, &mut self.socket, &self.links) {
            Ok(changed) => changed,
            Err(error) => return self.report(Err(error)),
        };
        // So that asking, with very many next hops, never takes more than a tenth of the time.
        self.reach_pause = SETTLE.max(10 * began.elapsed());
        if changed.is_empty() {
            return;
        }
        for (address, watched) in changed {
            if watched && let Some(answer) = self.answers.get(address) {
                self.outbox.reach(address, answer.public(&self.links));
            }
        }
        self.links_changed();
    }

    /// Next hops may be reached otherwise now: asks soon.
    pub(super) fn ask_again(&mut self) {
        self.timers.reach.get_or_insert(Instant::now() + self.reach_pause);
    }

    /// Routes may not be what they are thought to be: reads soon.
    pub(super) fn read_soon(&mut self, v6: bool) {
        self.timers.read[usize::from(v6)].get_or_insert(Instant::now() + SETTLE);
    }

    pub(super) fn add_neighbours(&mut self) {
        if let Some(overlay) = &self.overlay {
            let added = self.neighbours.add(&self.tunnel_ends(), overlay, &mut self.socket);
            self.report(added);
        }
    }

    pub(super) fn remove_neighbours(&mut self) {
        let ends = self.tunnel_ends();
        if let Some(overlay) = &self.overlay {
            let swept = self.swept == [true; 2];
            let removed = self.neighbours.remove(&ends, overlay, swept, &mut self.socket);
            self.report(removed);
        }
    }

    /// Removes overlay devices of other encapsulations than the one that is wanted, each when nothing leaves by it any more:
    /// routes move before their device goes, and those of an earlier run stay until they are swept.
    pub(super) fn retire_overlays(&mut self) {
        let idle = |(link, _): &mut (u32, _)| !self.ledger.uses(*link) && !self.next_hops.uses(*link);
        let idle: Vec<(u32, &str)> = self.retiring.extract_if(.., idle).collect();
        for (link, name) in idle {
            tracing::info!(device = name, "an overlay device of another encapsulation is removed");
            let removed = device::remove(&mut self.socket, name, link);
            self.report(removed);
        }
    }

    fn tunnel_ends(&self) -> BTreeSet<TunnelEnd> {
        self.ledger.paths.wanted().flat_map(|(_, path)| tunnels(path).collect::<Vec<_>>()).collect()
    }

    /// Puts back what somebody else changed; `what` tells, by prefix, what was done.
    pub(super) fn repair(&mut self, meddled: HashMap<IpNetwork, String>) {
        let now = Instant::now();
        let mut back = Vec::new();
        for (prefix, what) in meddled {
            let slot = self.ledger.table.get(prefix);
            let intent = self.ledger.paths.intent(slot.want(), prefix.is_ipv6());
            let swept = self.swept[usize::from(prefix.is_ipv6())];
            let foreign = self.ledger.foreign.get(&prefix).copied();
            let repairs = matches!(decide(intent, slot.have(), foreign, swept), Verdict::Do(_));
            if !repairs || !matches!(intent, Intent::Route(_)) {
                back.push(prefix);
            } else if self.troubles.meddled(prefix, now) {
                tracing::warn!(%prefix, %what, "another program touched a route of Linnet's; putting it back");
                self.outbox.repaired(prefix, what);
                back.push(prefix);
            } else {
                tracing::warn!(%prefix, "another program fights over a route of Linnet's; leaving it for a while");
            }
        }
        self.reconcile(back);
    }

    /// An error of the engine's own that has nobody to go to but the log; reading again mends what it left.
    pub(super) fn report(&mut self, result: Result<(), FibError>) {
        if let Err(error) = result {
            tracing::warn!(%error, "the kernel's state is read again");
            let at = Instant::now() + std::time::Duration::from_secs(1);
            self.timers.read = [Some(at); 2];
            self.timers.reach = Some(at);
            self.timers.neighbours = Some(at);
            self.timers.next_hops = Some(at);
        }
    }
}

fn conflict(prefix: IpNetwork, protocol: u8, table: u32, metric: u32) -> String {
    let family = if prefix.is_ipv6() { "-6 " } else { "" };
    format!(
        "a route of another owner (protocol {protocol}) has the same prefix, table and metric and is left alone; remove \
         it (`ip {family}route del {prefix} proto {protocol} metric {metric} table {table}`) or set fib.metric to \
         another value"
    )
}
