//! What paths are for the kernel now, and what follows when that changes: the failover.

use std::{
    collections::HashSet,
    net::IpAddr,
    time::{Duration, Instant},
};

use ipnetwork::IpNetwork;

use super::{Engine, SETTLE, repair::Thing};
use crate::{
    FibError,
    fight::{Fight, Response},
    kernel_route::{KernelHop, KernelPath, Kind},
    netlink::Refusal,
    next_hops::Group,
    paths::{FamilyPath, Resolved, gateways},
    resolve::{View, resolve},
    table::Want,
};

/// Between two attempts to make objects that the kernel refuses.
const OBJECTS_AGAIN: Duration = Duration::from_secs(30);
/// Between two readings of objects because the kernel refused one.
const DOUBT: Duration = Duration::from_secs(1);
/// What a fight over objects is about, for people.
pub(super) const OBJECTS: &str = "next-hop objects of Linnet's";

impl Engine {
    /// Resolves paths that have their first route.
    pub(super) fn resolve_new(&mut self) {
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
    pub(super) fn learn_gateways(&mut self, paths: &[FamilyPath]) {
        if paths.is_empty() {
            return;
        }
        let paths = paths.iter().filter_map(|(id, _)| self.ledger.paths.get(*id));
        let unknown: HashSet<IpAddr> = paths.flat_map(|path| gateways(path).collect::<Vec<_>>()).collect();
        let learned = self.answers.learn(unknown, &mut self.socket, &self.links);
        self.report(learned);
    }

    /// All routes that have one of these paths.
    pub(super) fn routes_of(&self, paths: &HashSet<FamilyPath>) -> Vec<IpNetwork> {
        if paths.is_empty() {
            return Vec::new();
        }
        let has = |want, v6| matches!(want, Want::Path(id) if paths.contains(&(id, v6)));
        let routes = self.ledger.table.iter().filter(|(prefix, slot)| has(slot.want(), prefix.is_ipv6()));
        routes.map(|(prefix, _)| prefix).collect()
    }

    /// Works out what a path is for the kernel. Returns whether its routes have to be written anew.
    pub(super) fn resolve(&mut self, id: FamilyPath) -> bool {
        let Some(path) = self.ledger.paths.get(id.0).cloned() else {
            // Told that it cannot be used.
            return true;
        };
        let view = View { links: &self.links, answers: &self.answers, overlay: self.overlay.as_ref() };
        let resolution = resolve(&path, id.1, view);
        let kernel = resolution.path.clone().map(|plain| self.by_object(id, plain, resolution.backup.clone()));
        let kernel = kernel.map(|path| self.ledger.kernel.hold(path));
        let before = self.ledger.paths.set_resolved(id, Resolved { resolution, kernel });
        let now = self.ledger.paths.resolved(id);
        if before.as_ref().zip(now).is_some_and(|(before, now)| before.resolution.path != now.resolution.path) {
            // Its routes lead elsewhere, also where its object alone has changed, and next hops may be reached by them.
            self.ask_again();
        }
        let before = before.and_then(|before| before.kernel);
        if let Some(before) = before {
            self.ledger.kernel.release(before);
        }
        before != kernel
    }

    /// The path by way of a next-hop object, where that can be. A path without a gateway is a pod's, and has one route.
    fn by_object(&mut self, id: FamilyPath, plain: KernelPath, backup: Option<KernelHop>) -> KernelPath {
        let gateways = plain.kind == Kind::Unicast && plain.hops.iter().all(|hop| hop.via.is_some());
        if !self.next_hops.enabled() || !gateways {
            self.next_hops.disown(id);
            return plain;
        }
        match self.group_of(id, Group { hops: plain.hops.clone(), backup }) {
            Ok(Ok(object)) => KernelPath { hops: Vec::new(), object: Some(object), ..plain },
            Ok(Err(refusal)) => {
                tracing::warn!(%refusal, "the kernel refused a next-hop object; its routes name their next hops themselves");
                self.next_hops.disown(id);
                // Until what stood in the way is gone; what changes on links brings a new attempt as well.
                self.timers.next_hops.get_or_insert(Instant::now() + OBJECTS_AGAIN);
                plain
            }
            Err(error) => {
                self.report(Err(error));
                plain
            }
        }
    }

    /// The group of a path, without its backup where the kernel will not have that.
    fn group_of(&mut self, id: FamilyPath, group: Group) -> Result<Result<u32, Refusal>, FibError> {
        let mut made = self.next_hops.ensure(id, &group, &mut self.socket)?;
        let refused = |made: &Result<u32, Refusal>| made.as_ref().is_err_and(|refusal| refusal.errno == libc::EINVAL);
        if refused(&made) && self.doubt_next_hops()? {
            made = self.next_hops.ensure(id, &group, &mut self.socket)?;
        }
        if refused(&made) && group.backup.is_some() {
            made = self.next_hops.ensure(id, &Group::of(group.hops), &mut self.socket)?;
        }
        Ok(made)
    }

    /// The kernel deletes a hop with its link without a word, and calls a group with that member invalid: reads what is there.
    /// Returns whether it did; where much is refused, it does not every time.
    fn doubt_next_hops(&mut self) -> Result<bool, FibError> {
        let now = Instant::now();
        if self.objects_doubted.is_some_and(|at| now.duration_since(at) < DOUBT) {
            return Ok(false);
        }
        self.objects_doubted = Some(now);
        let lost = self.next_hops.read(&mut self.socket)?;
        let lost = self.lose_next_hops(&lost);
        if !lost.is_empty() {
            self.lost_with_objects.extend(lost);
            self.timers.next_hops = Some(now);
        }
        Ok(true)
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
            Ok(lost) => self.lose_next_hops(&lost),
            Err(error) => {
                self.report(Err(error));
                Vec::new()
            }
        }
    }

    /// As [`Engine::reread_next_hops`], after an announcement about one of ours; `port`: whose, unless it was the kernel
    /// itself. Who changes them again and again has the field for a while: routes name their hops themselves then.
    pub(super) fn reread_meddled_next_hops(&mut self, port: Option<u32>) -> Vec<IpNetwork> {
        let (lost, different) = match self.next_hops.compare(false, &mut self.socket) {
            Ok(found) => found,
            Err(error) => {
                self.report(Err(error));
                return Vec::new();
            }
        };
        let now = Instant::now();
        if let Some(port) = port.filter(|_| !different.is_empty() && self.next_hops.enabled()) {
            let fight = self.object_fight.get_or_insert_with(|| Fight::new(now));
            let response = fight.meddled(now);
            if let Response::Leave(truce) = response {
                self.next_hops.pause();
                self.timers.next_hops = Some(now + truce);
            }
            self.tell_later(Thing::NextHops, port, response);
        }
        self.lose_next_hops(&lost)
    }

    /// These groups are gone. Returns the routes that went with them.
    pub(super) fn lose_next_hops(&mut self, lost: &[u32]) -> Vec<IpNetwork> {
        if lost.is_empty() {
            return Vec::new();
        }
        self.ledger.lost_paths(|path| path.object.is_some_and(|object| lost.contains(&object)))
    }

    /// Why routes do without next-hop objects though these are wanted, or who changes them now and then.
    pub(super) fn objects_complaint(&self, now: Instant) -> Option<String> {
        self.object_fight.as_ref()?.why(OBJECTS, now)
    }

    /// Lets go of objects that no path has.
    pub(super) fn collect_next_hops(&mut self) {
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

    /// Routes may not be what they are thought to be: reads soon, but does not read for more than a small part of the time.
    pub(super) fn read_soon(&mut self, v6: bool) {
        self.read_at(v6, (Instant::now() + SETTLE).max(self.read_rest[usize::from(v6)]));
    }

    /// Reads routes then, or before.
    pub(super) fn read_at(&mut self, v6: bool, at: Instant) {
        let timer = &mut self.timers.read[usize::from(v6)];
        *timer = Some(timer.map_or(at, |due| due.min(at)));
    }
}
