//! Adj-RIB-In: what peers send comes in, replaces, becomes stale and goes.

use super::attrs::AttrStore;
use super::import::Import;
use super::peers::{Live, Peer, at};
use super::table::{News, Path, PathFlags, PrefixId, Table};
use super::{Output, Rib};
use crate::prefix_limit::{Excess, MOST_PATHS};
use crate::time::{Duration, Instant};
use crate::types::{Family, FamilySet, Nlri, PathId, PeerId, Prefix};
use crate::wire::attributes::Attributes;
use crate::wire::community::Community;
use crate::wire::update::Announcement;
use crate::wire::{RefreshMark, Update};

/// How long a peer may take to announce everything once more, from BoRR to EoRR, before what it has not announced goes.
const REFRESH: Duration = Duration::from_secs(360);

/// Families that one batch has had a BoRR of. Each looks at all of the peer's paths, so that a batch has it once: the
/// refreshes of a peer that sends more of them remove nothing, which they need not as long as every withdrawal is said.
#[derive(Default)]
struct Marks {
    begun: FamilySet,
}

impl Rib {
    /// RFC 4271 section 4.3: what an UPDATE withdraws goes before what it announces comes.
    pub(super) fn take_updates(&mut self, peer: PeerId, updates: Vec<Update>, now: Instant) {
        if self.live(peer).is_none() {
            return;
        }
        let mut marks = Marks::default();
        for update in updates {
            for nlri in &update.withdrawn {
                self.remove_path(peer, *nlri);
            }
            for announcement in &update.announced {
                self.announce(peer, announcement, now);
            }
            if let Some(family) = update.end_of_rib {
                self.take_end_of_rib(peer, family);
            }
            if let Some((family, mark)) = update.mark {
                self.take_mark(peer, family, mark, &mut marks, now);
            }
        }
        if let Some(live) = self.peers.get_mut(peer).and_then(|peer| peer.session.as_mut()) {
            live.last_update = now;
        }
    }

    fn announce(&mut self, id: PeerId, announcement: &Announcement, now: Instant) {
        let Some(peer) = self.peers.get(id) else { return };
        let original = self.store.intern_recent(&announcement.attributes);
        let (own, vrps) = (&self.own_addresses, self.vrps.as_ref());
        let import = Import::new(&self.config, peer, own, vrps, &announcement.attributes, original);
        let most = peer.policy.max_prefixes.map_or(usize::MAX, |most| most as usize);
        let (mut held, mut received, mut accepted) = (peer.received_total(), [0isize; 2], [0isize; 2]);
        let (mut fresh, mut excess) = ([0; 2], None);
        for nlri in &announcement.nlri {
            let family = at(nlri.prefix.family());
            let table = &mut self.tables[family];
            let known = table.look_up(nlri.prefix);
            let slot = known.ok().and_then(|prefix| table.paths(prefix).find(id, nlri.path_id).ok());
            let crowded = known.is_ok_and(|prefix| {
                let paths = table.paths(prefix);
                paths.as_slice().len() >= MOST_PATHS && paths.of_peer(id).len() >= MOST_PATHS
            });
            if slot.is_none() && (held >= most || crowded) {
                // RFC 4271 section 6.7: what is above the limit is not kept, and the owner ends the session.
                excess = Some(if held >= most { Excess::Prefixes } else { Excess::Paths(nlri.prefix) });
                continue;
            }
            let (attrs, flags) = import.apply(nlri.prefix, &mut self.store);
            let path = Path { attrs, path_id: nlri.path_id, since: now.seconds(), peer: id, flags };
            accepted[family] += isize::from(flags.accepted());
            match known.ok().zip(slot) {
                Some((prefix, slot)) => {
                    let old = table.paths(prefix).as_slice()[slot];
                    let same = (old.attrs, old.flags.outcome()) == (path.attrs, path.flags.outcome());
                    if !same || old.flags.contains(PathFlags::STALE) {
                        self.journal.announced(*nlri, &path, &mut self.store);
                    }
                    accepted[family] -= isize::from(old.flags.accepted());
                    fresh[family] += usize::from(old.flags.contains(PathFlags::STALE));
                    replace(table, &mut self.store, prefix, slot, path);
                }
                None => {
                    self.journal.announced(*nlri, &path, &mut self.store);
                    let prefix = known.unwrap_or_else(|hash| table.insert(nlri.prefix, hash));
                    let paths = table.paths_mut(prefix);
                    let place = paths.find(id, nlri.path_id).unwrap_or_else(|place| place);
                    paths.insert(place, path);
                    received[family] += 1;
                    held += 1;
                    if path.flags.accepted() {
                        table.mark(prefix, News::Nothing);
                    }
                }
            }
        }
        self.store.release(original);
        if let Some(peer) = self.peers.get_mut(id) {
            for family in 0..2 {
                peer.received[family] = peer.received[family].saturating_add_signed(received[family]);
                peer.accepted[family] = peer.accepted[family].saturating_add_signed(accepted[family]);
                peer.stale[family] = peer.stale[family].saturating_sub(fresh[family]);
            }
            if let Some(excess) = excess
                && let Some(live) = peer.session.as_mut().filter(|live| !live.too_many)
            {
                live.too_many = true;
                self.outputs.push_back(Output::TooManyPrefixes(id, excess));
            }
        }
        self.check_limit(id);
    }

    pub(super) fn remove_path(&mut self, peer: PeerId, nlri: Nlri) {
        let table = &mut self.tables[at(nlri.prefix.family())];
        let Some(prefix) = table.find(nlri.prefix) else { return };
        if let Ok(slot) = table.paths(prefix).find(peer, nlri.path_id) {
            self.remove_slot(at(nlri.prefix.family()), prefix, slot);
        }
    }

    fn remove_slot(&mut self, family: usize, prefix: PrefixId, slot: usize) {
        let table = &mut self.tables[family];
        let Some(path) = table.paths(prefix).as_slice().get(slot).copied() else { return };
        if self.journal.is_on() && self.peers.get(path.peer).is_some_and(|peer| peer.session.is_some()) {
            self.journal.withdrawn(path.peer, Nlri { prefix: table.prefix(prefix), path_id: path.path_id });
        }
        table.paths_mut(prefix).remove(slot);
        // Even what was never accepted: the prefix may have no path left, and `run` lets go of it.
        table.mark(prefix, path.flags.news());
        self.store.release_path(&path);
        if let Some(peer) = self.peers.get_mut(path.peer) {
            peer.received[family] = peer.received[family].saturating_sub(1);
            peer.accepted[family] = peer.accepted[family].saturating_sub(usize::from(path.flags.accepted()));
            peer.stale[family] = peer.stale[family].saturating_sub(usize::from(path.flags.contains(PathFlags::STALE)));
        }
    }

    /// Removes the peer's paths of a family, or only the stale ones.
    pub(super) fn remove_paths(&mut self, peer: PeerId, family: Family, only_stale: bool) {
        self.each_path_of(peer, family, |rib, prefix, slot, path| {
            if !only_stale || path.flags.contains(PathFlags::STALE) {
                rib.remove_slot(at(family), prefix, slot);
            }
        });
    }

    /// RFC 4724 section 4.2: what was stale already goes, so that consecutive restarts keep nothing for ever; the rest
    /// becomes stale.
    pub(super) fn make_stale(&mut self, peer: PeerId, family: Family) {
        self.each_path_of(peer, family, |rib, prefix, slot, path| {
            if path.flags.contains(PathFlags::STALE) {
                rib.remove_slot(at(family), prefix, slot);
            } else {
                rib.set_stale(family, prefix, slot);
            }
        });
    }

    /// What the peer sent of a family is stale until it is announced again.
    fn mark_stale(&mut self, peer: PeerId, family: Family) {
        self.each_path_of(peer, family, |rib, prefix, slot, _| rib.set_stale(family, prefix, slot));
    }

    fn set_stale(&mut self, family: Family, prefix: PrefixId, slot: usize) {
        let Some(path) = self.tables[at(family)].paths_mut(prefix).as_mut_slice().get_mut(slot) else { return };
        let before = path.flags;
        path.flags = before.with(PathFlags::STALE, true);
        if let Some(peer) = self.peers.get_mut(path.peer).filter(|_| !before.contains(PathFlags::STALE)) {
            peer.stale[at(family)] += 1;
        }
    }

    /// RFC 7313 section 4: what a peer does not announce between BoRR and EoRR is gone.
    fn take_mark(&mut self, id: PeerId, family: Family, mark: RefreshMark, marks: &mut Marks, now: Instant) {
        let Some(live) = self.peers.get_mut(id).and_then(|peer| peer.session.as_mut()) else { return };
        // "MUST ignore any BoRRs ... before the speaker receives the EoR" of a peer that does graceful restart.
        let too_early = live.established.graceful_restart.is_some() && !live.ended.contains(family);
        match mark {
            RefreshMark::Begin if too_early || marks.begun.contains(family) => {}
            RefreshMark::Begin => {
                marks.begun.insert(family);
                live.refreshing[at(family)] = Some(now + REFRESH);
                self.mark_stale(id, family);
            }
            RefreshMark::End => {
                if live.refreshing[at(family)].take().is_some() {
                    self.remove_paths(id, family, true);
                }
            }
        }
    }

    /// Applies a changed import policy, or changed checks, to what the peer sent.
    pub(super) fn import_again(&mut self, id: PeerId) {
        for family in Family::ALL {
            let mut accepted = 0;
            self.each_path_of(id, family, |rib, prefix, slot, path| {
                accepted += usize::from(rib.import_path(family, prefix, slot, path));
            });
            if let Some(peer) = self.peers.get_mut(id) {
                peer.accepted[at(family)] = accepted;
            }
        }
    }

    /// Imports one path again; whether it is accepted now.
    pub(super) fn import_path(&mut self, family: Family, prefix: PrefixId, slot: usize, path: Path) -> bool {
        let original = self.store.original(&path);
        let Some(attributes) = self.store.recent(original) else { return path.flags.accepted() };
        let Some(peer) = self.peers.get(path.peer) else { return path.flags.accepted() };
        let (own, vrps) = (&self.own_addresses, self.vrps.as_ref());
        let mut import = Import::new(&self.config, peer, own, vrps, &attributes, original);
        import.long_lived = path.flags.contains(PathFlags::STALE) && peer.long_lived_until[at(family)].is_some();
        let key = self.tables[at(family)].prefix(prefix);
        let (attrs, flags) = import.apply(key, &mut self.store);
        let flags = flags.with(PathFlags::STALE, path.flags.contains(PathFlags::STALE));
        let same = (path.attrs, path.flags.outcome()) == (attrs, flags.outcome());
        if !same && peer.session.is_some() && !path.flags.contains(PathFlags::STALE) {
            let nlri = Nlri { prefix: key, path_id: path.path_id };
            self.journal.announced(nlri, &Path { attrs, flags, ..path }, &mut self.store);
        }
        replace(&mut self.tables[at(family)], &mut self.store, prefix, slot, Path { attrs, flags, ..path });
        flags.accepted()
    }

    /// What is said of this peer as a source is other than it was: everything it sent is decided and exported again.
    pub(super) fn source_changed(&mut self, peer: PeerId) {
        for family in Family::ALL {
            self.each_path_of(peer, family, |rib, prefix, _, path| {
                if path.flags.accepted() {
                    rib.tables[at(family)].mark(prefix, path.flags.news());
                }
            });
        }
    }

    /// Calls `visit` with each path of the peer, last path id first, so that it may remove the path it is shown.
    fn each_path_of(&mut self, peer: PeerId, family: Family, mut visit: impl FnMut(&mut Self, PrefixId, usize, Path)) {
        let count = |rib: &Self| match rib.peers.get(peer) {
            Some(peer) => peer.received[at(family)],
            None => 0,
        };
        // Most peers sent nothing of most tables: look no further than the last of what this one sent.
        let mut left = count(self);
        for number in 0..self.tables[at(family)].end() {
            if left == 0 {
                return;
            }
            let prefix = PrefixId(number);
            for slot in self.tables[at(family)].paths(prefix).of_peer(peer).rev() {
                let Some(path) = self.tables[at(family)].paths(prefix).as_slice().get(slot).copied() else { continue };
                left = left.saturating_sub(1);
                visit(self, prefix, slot, path);
            }
        }
    }

    fn take_end_of_rib(&mut self, id: PeerId, family: Family) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        if let Some(live) = peer.session.as_mut() {
            live.ended.insert(family);
            self.journal.end_of_rib(id, family);
        }
        if peer.retains() {
            peer.long_lived_until[at(family)] = None;
            self.remove_paths(id, family, true);
            self.stop_stale_timer_when_done(id);
        }
    }

    /// Once every family of a session has ended there is nothing stale left to wait for.
    fn stop_stale_timer_when_done(&mut self, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(id) {
            let ended = peer
                .session
                .as_ref()
                .is_some_and(|live| live.families.iter().all(|family| live.ended.contains(family)));
            if ended {
                peer.stale_until = None;
            }
        }
    }

    /// The session is gone. `retain` and what the peer announced say which of its paths stay, as stale.
    pub(super) fn lose_session(&mut self, id: PeerId, retain: Option<Duration>, now: Instant) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let Some(live) = peer.session.take() else { return };
        let long_lived = |family: &Family| !peer.long_lived_time[at(*family)].is_zero();
        let restartable: FamilySet =
            Family::ALL.into_iter().filter(|family| peer.restartable.contains(*family) || long_lived(family)).collect();
        let kept = if retain.is_some() { restartable } else { FamilySet::EMPTY };
        let refreshing: FamilySet =
            Family::ALL.into_iter().filter(|family| live.refreshing[at(*family)].is_some()).collect();
        // RFC 8538 section 4.1: where NOTIFICATIONs keep routes, a session that is lost again and again before it has
        // said all removes nothing, and prolongs nothing.
        let again = live.established.graceful_notification && retain.is_some();
        let before = peer.stale_until.filter(|_| again);
        peer.stale_until = retain.map(|time| before.map_or(now + time, |until| until.min(now + time)));
        for family in Family::ALL {
            let long_lived = self.peers.get(id).is_some_and(|peer| peer.long_lived_until[at(family)].is_some());
            if !kept.contains(family) {
                self.remove_paths(id, family, false);
                self.end_long_lived(id, family);
            } else if again || refreshing.contains(family) || long_lived {
                // Stale by a refresh that was not finished, nobody has said that it is gone; or long-lived, and that
                // time runs until End-of-RIB comes (RFC 9494 section 4.2).
                self.mark_stale(id, family);
            } else {
                self.make_stale(id, family);
            }
        }
        if let Some(peer) = self.peers.get_mut(id).filter(|peer| peer.received_total() == 0) {
            peer.retain_nothing();
        }
    }

    /// RFC 4724 section 4.2 and RFC 9494 section 4.2: a family that the new session does not have, or whose forwarding state
    /// the peer lost, has no stale routes any more.
    pub(super) fn keep_stale_after_restart(&mut self, id: PeerId, now: Instant) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let Some(live) = peer.session.as_ref().filter(|_| peer.retains()) else { return };
        let restart = live.established.graceful_restart.as_ref();
        let forwards = |family| match peer.long_lived_until[at(family)] {
            Some(_) => live.established.long_lived.iter().any(|said| said.family == family && said.forwarding),
            None => restart.is_some_and(|restart| restart.families.contains(&(family, true))),
        };
        let lost: FamilySet =
            Family::ALL.into_iter().filter(|family| !live.families.contains(*family) || !forwards(*family)).collect();
        // Whoever is back is waited for no longer than convergence takes.
        peer.stale_until = peer.stale_until.map(|_| now + self.config.convergence);
        for family in lost.iter() {
            self.remove_paths(id, family, true);
            self.end_long_lived(id, family);
        }
        if let Some(peer) = self.peers.get_mut(id).filter(|peer| peer.received_total() == 0) {
            peer.retain_nothing();
        }
    }

    /// When the first peer that announces everything once more has to be done with it.
    pub(super) fn refresh_timeout(&self) -> Option<Instant> {
        let lives = self.peers.iter().filter_map(|(_, peer)| peer.session.as_ref());
        lives.flat_map(|live| live.refreshing).flatten().min()
    }

    /// RFC 7313 section 4 lets what is stale go without EoRR when a bound of time is reached.
    pub(super) fn expire_refreshes(&mut self, now: Instant) {
        for family in Family::ALL {
            let due = |live: &Live| live.refreshing[at(family)].is_some_and(|until| until <= now);
            let late = self.peers.iter().filter(|(_, peer)| peer.session.as_ref().is_some_and(due));
            for id in late.map(|(id, _)| id).collect::<Vec<PeerId>>() {
                if let Some(live) = self.peers.get_mut(id).and_then(|peer| peer.session.as_mut()) {
                    live.refreshing[at(family)] = None;
                }
                self.remove_paths(id, family, true);
            }
        }
    }

    /// The time of the peers' stale routes is over. Those of a peer that is still away become long-lived ones where both sides
    /// have RFC 9494, and go when that time is over too.
    pub(super) fn expire_stale(&mut self, now: Instant) {
        let due = self.peers.iter().filter(|(_, peer)| peer.stale_until.is_some_and(|until| until <= now));
        let due: Vec<PeerId> = due.map(|(id, _)| id).collect();
        for id in due {
            let refreshing = self.live(id).map_or([None; 2], |live| live.refreshing);
            for family in Family::ALL.into_iter().filter(|family| refreshing[at(*family)].is_none()) {
                let Some(peer) = self.peers.get(id) else { continue };
                match peer.long_lived_time[at(family)] {
                    time if peer.session.is_none() && !time.is_zero() => self.make_long_lived(id, family, now + time),
                    _ => self.remove_paths(id, family, true),
                }
            }
            if let Some(peer) = self.peers.get_mut(id) {
                peer.stale_until = None;
            }
        }
        for family in Family::ALL {
            let over = |peer: &Peer| peer.long_lived_until[at(family)].is_some_and(|until| until <= now);
            let due: Vec<PeerId> = self.peers.iter().filter(|(_, peer)| over(peer)).map(|(id, _)| id).collect();
            for id in due {
                self.remove_paths(id, family, true);
                self.end_long_lived(id, family);
            }
        }
    }

    /// RFC 9494 section 4.2: stale routes get LLGR_STALE, which makes them the last choice here and elsewhere; one with NO_LLGR
    /// goes. A time that runs already is not prolonged.
    fn make_long_lived(&mut self, id: PeerId, family: Family, until: Instant) {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.long_lived_until[at(family)].get_or_insert(until);
        }
        self.each_path_of(id, family, |rib, prefix, slot, path| {
            if !path.flags.contains(PathFlags::STALE) {
                return;
            }
            let effective = rib.store.effective(&path);
            let refuses = |attributes: &Attributes| attributes.communities.contains(&Community::NO_LLGR);
            if rib.store.recent(effective).is_some_and(|attributes| refuses(&attributes)) {
                rib.remove_slot(at(family), prefix, slot);
            } else {
                rib.import_path(family, prefix, slot, path);
            }
        });
        if self.peers.get(id).is_some_and(|peer| peer.received[at(family)] == 0) {
            self.end_long_lived(id, family);
        }
    }

    fn end_long_lived(&mut self, id: PeerId, family: Family) {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.long_lived_until[at(family)] = None;
        }
    }

    /// A peer that is down keeps nothing any more.
    pub(super) fn drop_stale(&mut self, id: PeerId) {
        for family in Family::ALL {
            self.remove_paths(id, family, true);
        }
        if let Some(peer) = self.peers.get_mut(id) {
            peer.retain_nothing();
        }
    }

    pub(super) fn originate_path(&mut self, prefix: Prefix, attributes: Attributes, now: Instant) {
        self.put_local(prefix, PathId(0), attributes, PathFlags::NONE, now);
        self.refresh_aggregate(prefix, now);
    }

    /// A path of our own. `flags`: whether it may be used.
    pub(super) fn put_local(
        &mut self,
        prefix: Prefix,
        path_id: PathId,
        attributes: Attributes,
        flags: PathFlags,
        now: Instant,
    ) {
        let family = at(prefix.family());
        let attrs = self.store.intern(&attributes).0;
        let path = Path { attrs, path_id, flags, since: now.seconds(), ..Path::default() };
        let table = &mut self.tables[family];
        let id = table.find_or_insert(prefix);
        match table.paths(id).find(PeerId::LOCAL, path_id) {
            Ok(slot) => replace(table, &mut self.store, id, slot, path),
            Err(slot) => {
                table.paths_mut(id).insert(slot, path);
                table.mark(id, News::Nothing);
            }
        }
        if self.convergence.defers(prefix.family()) {
            self.own[family].push(id);
        }
    }

    pub(super) fn withdraw_path(&mut self, prefix: Prefix) {
        self.take_local(prefix, PathId(0));
        let now = self.convergence.now();
        self.refresh_aggregate(prefix, now);
    }
}

/// Puts `path` in the place of another. The store's reference of the one that goes is given back.
fn replace(table: &mut Table, store: &mut AttrStore, prefix: PrefixId, slot: usize, path: Path) {
    let Some(old) = table.paths_mut(prefix).as_mut_slice().get_mut(slot) else { return };
    let before = *old;
    if before.attrs == path.attrs && before.flags.same_import(path.flags) {
        // The same again: no longer stale, otherwise nothing happened.
        old.flags = old.flags.with(PathFlags::STALE, path.flags.contains(PathFlags::STALE));
        store.release_path(&path);
        return;
    }
    *old = path;
    if path.flags.accepted() {
        // It stays chosen, as other than it was, until it is decided again.
        let chosen = |flag| before.flags.contains(flag);
        old.flags = old
            .flags
            .with(PathFlags::BEST, chosen(PathFlags::BEST))
            .with(PathFlags::MULTIPATH, chosen(PathFlags::MULTIPATH));
    }
    if before.flags.accepted() || path.flags.accepted() {
        table.mark(prefix, before.flags.news());
    }
    store.release_path(&before);
}
