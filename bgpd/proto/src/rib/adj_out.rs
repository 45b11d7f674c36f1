//! Adj-RIB-Out: update groups, their members, and what each is sent.
//!
//! A change is worked out and encoded once for a group, and every member that is in step gets the same bytes. A member
//! that is not (see [`super::lag`]) is fed from the group's words when its socket has taken enough of what it was sent.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use bytes::Bytes;

use super::Output;
use super::adverts::{Change, FamilyOut, Learned, Told, View};
use super::attrs::AttrStore;
use super::export::GroupKey;
use super::lag::{FamilyLag, Held, Lag};
use super::pack::{Announce, Batch, Chunk, Withdraw};
use super::peers::at;
use super::table::PrefixId;
use crate::types::{Family, FamilySet, PathId, PeerId};
use crate::wire::RefreshMark;
use crate::wire::attributes::Attributes;
use crate::wire::update::UpdateBuilder;

/// How much is done at once, and how far a member may be behind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes not yet taken by its socket above which a member falls behind.
    pub(crate) high: usize,
    /// Bytes below which it is fed again.
    pub(crate) low: usize,
    /// Prefixes for one feed.
    pub(crate) window: u32,
    /// Prefixes decided in one run, and those looked at after a change of the VRPs.
    pub(crate) decisions: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { high: 1 << 20, low: 256 << 10, window: 8192, decisions: 8192 }
    }
}

/// All update groups.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    pub(crate) limits: Limits,
    slots: Vec<Option<Group>>,
    /// By peer, the slot of its group.
    member_of: Vec<Option<u32>>,
    /// Some member remembers less than it did: prefixes may have become free.
    progress: bool,
}

#[derive(Debug)]
struct Group {
    key: GroupKey,
    builder: UpdateBuilder,
    families: [FamilyOut; 2],
    /// By peer.
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    peer: PeerId,
    unsent: usize,
    /// `None`: it has been sent what the group has been told.
    lag: Option<Box<Lag>>,
    owed: Owed,
}

/// What a member is to hear once it has been sent all there is.
#[derive(Clone, Copy, Debug)]
struct Owed {
    /// Families whose End-of-RIB it has not been sent.
    end_of_rib: FamilySet,
    /// It has sent the Enhanced Route Refresh capability.
    marks: bool,
    /// Families whose BoRR it has been sent, and not the EoRR (RFC 7313 section 4).
    refresh_end: FamilySet,
}

impl Member {
    fn send(&mut self, bytes: Bytes, outputs: &mut VecDeque<Output>) {
        self.unsent += bytes.len();
        outputs.push_back(Output::Send(self.peer, bytes));
    }

    fn send_chunks(&mut self, chunks: &[Chunk], outputs: &mut VecDeque<Output>) {
        for chunk in chunks {
            for piece in chunk.for_member(self.peer) {
                self.send(piece, outputs);
            }
        }
    }

    fn lag_of(&mut self, family: Family) -> Option<&mut FamilyLag> {
        self.lag.as_mut().map(|lag| &mut lag.families[at(family)])
    }

    /// What it still lacks of the family may be sent now.
    fn hungry(&self, family: Family, limits: Limits) -> bool {
        self.unsent <= limits.low && self.lag.as_ref().is_some_and(|lag| !lag.families[at(family)].all_sent())
    }
}

impl Groups {
    /// A session is up: its peer gets the whole table and then each family's End-of-RIB.
    /// `marks`: where both sides say where a refresh begins and ends (RFC 7313).
    pub(crate) fn join(&mut self, peer: PeerId, key: GroupKey, marks: bool) {
        let owed = Owed { end_of_rib: key.context.families, marks, refresh_end: FamilySet::EMPTY };
        self.add_member(peer, key, owed, 0, Default::default());
    }

    fn add_member(&mut self, peer: PeerId, key: GroupKey, owed: Owed, unsent: usize, before: [Held; 2]) {
        let known = self.slots.iter().position(|slot| slot.as_ref().is_some_and(|group| group.key.same(&key)));
        let slot = known.or_else(|| self.slots.iter().position(Option::is_none)).unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let group = self.slots[slot].get_or_insert_with(|| Group {
            builder: UpdateBuilder::new(key.context),
            families: Family::ALL.map(|family| FamilyOut::new(key.context.add_path.contains(family))),
            key,
            members: Vec::new(),
        });
        let mut lag = Lag::in_step();
        for (family, before) in Family::ALL.into_iter().zip(before) {
            if group.key.context.families.contains(family) {
                lag.families[at(family)] = FamilyLag::new(0, before);
            }
        }
        let place = group.members.partition_point(|member| member.peer < peer);
        group.members.insert(place, Member { peer, unsent, lag: Some(Box::new(lag)), owed });
        let of = usize::from(peer.0);
        if self.member_of.len() <= of {
            self.member_of.resize(of + 1, None);
        }
        self.member_of[of] = Some(slot as u32);
    }

    /// The peer's session is gone.
    pub(crate) fn leave(&mut self, peer: PeerId, store: &mut AttrStore) {
        let Some(slot) = self.member_of.get_mut(usize::from(peer.0)).and_then(Option::take) else { return };
        let Some(group) = self.slots[slot as usize].as_mut() else { return };
        if let Ok(place) = group.members.binary_search_by_key(&peer, |member| member.peer) {
            let member = group.members.remove(place);
            for (family, lag) in member.lag.into_iter().flat_map(|lag| lag.families).enumerate() {
                lag.behind.into_values().for_each(|word| group.families[family].release(word, store));
            }
        }
        if group.members.is_empty() {
            group.families.iter_mut().for_each(|family| family.dissolve(store));
            self.slots[slot as usize] = None;
        }
        self.progress = true;
    }

    /// The peer's policy is another: it is told everything once more by its new group's rules, if that is another group.
    pub(crate) fn move_member(&mut self, peer: PeerId, key: GroupKey, store: &mut AttrStore) {
        let Some(group) = self.group_of(peer).filter(|group| !group.key.same(&key)) else { return };
        let Some(member) = group.member(peer) else { return };
        let (owed, unsent) = (member.owed, member.unsent);
        let before = Family::ALL.map(|family| group.held_by(peer, family));
        self.leave(peer, store);
        self.add_member(peer, key, owed, unsent, before);
    }

    /// The peer is to hear everything of the family again (RFC 2918 section 4).
    pub(crate) fn refresh(
        &mut self,
        peer: PeerId,
        family: Family,
        store: &mut AttrStore,
        outputs: &mut VecDeque<Output>,
    ) {
        let Some(group) = self.group_of_mut(peer).filter(|group| group.key.context.families.contains(family)) else {
            return;
        };
        let before = group.held_by(peer, family);
        let Group { members, families, builder, .. } = group;
        let Some(member) = members.iter_mut().find(|member| member.peer == peer) else { return };
        let lag = member.lag.get_or_insert_with(|| Box::new(Lag::in_step()));
        let old = std::mem::replace(&mut lag.families[at(family)], FamilyLag::new(0, before));
        // Not again while nothing has followed the last one, so that a peer that asks and does not read is owed no more.
        let said = member.owed.refresh_end.contains(family) && old.cursor == 0;
        old.behind.into_values().for_each(|word| families[at(family)].release(word, store));
        // RFC 7313 section 4: no BoRR before the End-of-RIB, which is still to come and says as much.
        if member.owed.marks && !member.owed.end_of_rib.contains(family) && !said {
            member.owed.refresh_end.insert(family);
            member.send(builder.refresh_mark(family, RefreshMark::Begin), outputs);
        }
        self.progress = true;
    }

    pub(crate) fn sent(&mut self, peer: PeerId, bytes: usize) {
        let member =
            self.group_of_mut(peer).and_then(|group| group.members.iter_mut().find(|member| member.peer == peer));
        if let Some(member) = member {
            member.unsent = member.unsent.saturating_sub(bytes);
        }
    }

    /// Whether somebody is told more of a prefix than its best path.
    pub(crate) fn take_several_paths(&self, family: Family) -> bool {
        self.slots.iter().flatten().any(|group| group.key.context.add_path.contains(family))
    }

    /// The prefix was decided anew. `chosen_changed`: its best path or multipath set is another, or it may be; else only
    /// groups that are told more than the best path are concerned.
    pub(crate) fn prefix_changed(&mut self, id: PrefixId, chosen_changed: bool, view: &mut View<'_>) {
        let family = view.family;
        for group in self.slots.iter_mut().flatten() {
            let context = &group.key.context;
            if context.families.contains(family) && (chosen_changed || context.add_path.contains(family)) {
                group.families[at(family)].prefix_changed(id, &group.key, view);
            }
        }
    }

    /// Tells the members what has changed since the last time.
    pub(crate) fn flush(&mut self, view: &mut View<'_>, outputs: &mut VecDeque<Output>) {
        let limits = self.limits;
        for group in self.slots.iter_mut().flatten() {
            self.progress |= group.flush(limits, view, outputs);
            group.families[at(view.family)].forget_made();
        }
    }

    /// Feeds members that lack something and have room for it, a bounded step each. `complete`: no prefix of the family
    /// waits for a decision and no peer is waited for, so that what is in the table now is all there is to say before
    /// End-of-RIB. Returns whether more could be fed at once.
    pub(crate) fn feed(&mut self, view: &mut View<'_>, complete: bool, outputs: &mut VecDeque<Output>) -> bool {
        let (limits, mut more) = (self.limits, false);
        for group in self.slots.iter_mut().flatten() {
            if group.key.context.families.contains(view.family) {
                self.progress |= group.feed(limits, view, outputs);
                more |= group.members.iter().any(|member| member.hungry(view.family, limits));
                group.ends(view.family, complete, outputs);
            }
        }
        more
    }

    /// Whether some member must still hear of what this number stood for.
    pub(crate) fn remembers(&self, family: Family, id: PrefixId) -> bool {
        let lags =
            self.slots.iter().flatten().flat_map(|group| &group.members).filter_map(|member| member.lag.as_ref());
        lags.into_iter().any(|lag| lag.families[at(family)].remembers(id))
    }

    /// Whether anything has been forgotten since the last call, so that [`Self::remembers`] may answer otherwise.
    pub(crate) fn take_progress(&mut self) -> bool {
        std::mem::take(&mut self.progress)
    }

    pub(crate) fn unsent(&self, peer: PeerId) -> usize {
        self.group_of(peer).and_then(|group| group.member(peer)).map_or(0, |member| member.unsent)
    }

    /// Whether it has been told less than its group, or its socket has not taken all of it.
    pub(crate) fn is_behind(&self, peer: PeerId) -> bool {
        let member = self.group_of(peer).and_then(|group| group.member(peer));
        member.is_some_and(|member| member.unsent > 0 || member.lag.is_some())
    }

    /// How many paths the peer has been sent, and how many are withheld from it.
    pub(crate) fn counts(&self, peer: PeerId) -> (usize, usize) {
        let Some((group, member)) = self.group_of(peer).and_then(|group| Some((group, group.member(peer)?))) else {
            return (0, 0);
        };
        let held = |family: Family| match member.lag {
            None => group.families[at(family)].count_held_by(peer),
            Some(_) => {
                (0..group.ids_end(member, family)).map(|id| group.held(member, family, PrefixId(id)).count()).sum()
            }
        };
        let withheld = group.families.iter().map(FamilyOut::count_withheld).sum();
        (Family::ALL.into_iter().map(held).sum(), withheld)
    }

    /// The rules by which the peer is told, while its session is up.
    pub(crate) fn key_of(&self, peer: PeerId) -> Option<&GroupKey> {
        self.group_of(peer).map(|group| &group.key)
    }

    /// What the peer was last sent of a prefix, as far as its group's word tells, by path identifier.
    pub(crate) fn sent_paths(&self, peer: PeerId, family: Family, id: PrefixId) -> Vec<Told> {
        let known = self.group_of(peer).and_then(|group| Some((group, group.member(peer)?)));
        let Some((group, member)) = known else { return Vec::new() };
        let out = &group.families[at(family)];
        out.held_by(member.word(family, id, out).unwrap_or(0), peer).collect()
    }

    /// The attributes with which a path of [`Self::sent_paths`] is sent.
    pub(crate) fn sent_attributes(&self, peer: PeerId, told: Told, learned: Learned<'_>) -> Option<Attributes> {
        let group = self.group_of(peer)?;
        group.families[at(learned.family)].attributes(told.advert, &group.key, learned).map(Cow::into_owned)
    }

    /// Adverts in use, for tests of what is left behind.
    #[cfg(test)]
    pub(crate) fn adverts(&self) -> usize {
        self.slots.iter().flatten().flat_map(|group| &group.families).map(FamilyOut::adverts).sum()
    }

    /// Sets of paths in use.
    #[cfg(test)]
    pub(crate) fn sets(&self) -> usize {
        self.slots.iter().flatten().flat_map(|group| &group.families).map(FamilyOut::sets).sum()
    }

    fn group_of(&self, peer: PeerId) -> Option<&Group> {
        let slot = (*self.member_of.get(usize::from(peer.0))?)?;
        self.slots.get(slot as usize)?.as_ref()
    }

    fn group_of_mut(&mut self, peer: PeerId) -> Option<&mut Group> {
        let slot = (*self.member_of.get(usize::from(peer.0))?)?;
        self.slots.get_mut(slot as usize)?.as_mut()
    }
}

impl Group {
    fn member(&self, peer: PeerId) -> Option<&Member> {
        let place = self.members.binary_search_by_key(&peer, |member| member.peer).ok()?;
        self.members.get(place)
    }

    /// The exception for a route from this source.
    fn except(&self, source: PeerId) -> PeerId {
        if self.member(source).is_some() { source } else { PeerId::LOCAL }
    }

    fn ids_end(&self, member: &Member, family: Family) -> u32 {
        let before = member.lag.as_ref().map_or(0, |lag| lag.families[at(family)].before.end());
        self.families[at(family)].end().max(before)
    }

    /// The paths of a prefix that the member has been sent, in whatever version.
    fn held<'a>(&'a self, member: &'a Member, family: Family, id: PrefixId) -> impl Iterator<Item = PathId> + use<'a> {
        let out = &self.families[at(family)];
        let (word, before) = match member.word(family, id, out) {
            Some(word) => (word, &[][..]),
            None => (0, member.lag.as_ref().map_or(&[][..], |lag| lag.families[at(family)].before.path_ids(id))),
        };
        before.iter().copied().chain(out.held_by(word, member.peer).map(|path| path.path_id))
    }

    fn held_by(&self, peer: PeerId, family: Family) -> Held {
        let mut held = Held::default();
        if let Some(member) = self.member(peer) {
            let ids = (0..self.ids_end(member, family)).map(PrefixId);
            ids.for_each(|id| held.insert(id, self.held(member, family, id)));
        }
        held
    }

    fn flush(&mut self, limits: Limits, view: &mut View<'_>, outputs: &mut VecDeque<Output>) -> bool {
        let family = view.family;
        let changes = std::mem::take(&mut self.families[at(family)].changes);
        if changes.is_empty() {
            return false;
        }
        for member in &mut self.members {
            if member.unsent <= limits.low {
                member.keep_step();
            } else if member.unsent > limits.high && member.lag.is_none() {
                // While a table is loaded, what is new has numbers above all that it was told: a cursor stands for all of it.
                let families = self.families.each_ref().map(|out| FamilyLag::new(out.told_below, Held::default()));
                member.lag = Some(Box::new(Lag { families }));
            }
        }
        let out = &mut self.families[at(family)];
        let mut progress = false;
        for member in &mut self.members {
            let peer = member.peer;
            if let Some(lag) = member.lag_of(family) {
                changes.iter().for_each(|change| progress |= note_behind(out, lag, peer, *change, view.store));
            }
        }
        if self.members.iter().any(|member| member.lag.is_none()) {
            self.broadcast(&changes, view, outputs);
        }
        let out = &mut self.families[at(family)];
        out.told_below = out.told_below.max(out.end());
        changes.iter().for_each(|change| out.release(change.old, view.store));
        progress
    }

    /// Tells every member in step of the changes.
    fn broadcast(&mut self, changes: &[Change], view: &mut View<'_>, outputs: &mut VecDeque<Output>) {
        let family = view.family;
        let out = &self.families[at(family)];
        // Prefixes that share their attributes mostly change together: one comparison answers for all of them.
        let mut compared = None;
        let mut say_the_same = |old, new| match compared {
            Some((pair, answer)) if pair == (old, new) => answer,
            _ => {
                let answer = out.say_the_same(old, new, &self.key, view.learned());
                compared = Some(((old, new), answer));
                answer
            }
        };
        let mut all = Batch::default();
        // What only one member hears: a route's old source hears it for the first time, its new one no more.
        let mut single: BTreeMap<PeerId, Batch> = BTreeMap::new();
        for change in changes {
            let id = change.id;
            for (old, new) in by_path_id(out.told(change.old), out.told(out.word(id))) {
                match (old, new) {
                    (None, None) => {}
                    (Some(Told { path_id, source, .. }), None) => {
                        all.withdraw.push(Withdraw { except: self.except(source), id, path_id });
                    }
                    (None, Some(Told { path_id, advert, source })) => {
                        all.announce.push(Announce { advert, except: self.except(source), id, path_id });
                    }
                    (Some(old), Some(Told { path_id, advert, source })) => {
                        if !say_the_same(old.advert, advert) {
                            all.announce.push(Announce { advert, except: self.except(source), id, path_id });
                        } else if source != old.source {
                            let item = Announce { advert, except: PeerId::LOCAL, id, path_id };
                            single.entry(old.source).or_default().announce.push(item);
                        }
                        if source != old.source {
                            let item = Withdraw { except: PeerId::LOCAL, id, path_id };
                            single.entry(source).or_default().withdraw.push(item);
                        }
                    }
                }
            }
        }
        let attributes = |advert| out.attributes(advert, &self.key, view.learned());
        let (chunks, mut too_large) = all.pack(view.table, attributes, &self.builder);
        for member in self.members.iter_mut().filter(|member| member.lag.is_none()) {
            member.send_chunks(&chunks, outputs);
            if let Some(batch) = single.remove(&member.peer) {
                let (chunks, not_sent) = batch.pack(view.table, attributes, &self.builder);
                member.send_chunks(&chunks, outputs);
                too_large.extend(not_sent);
            }
        }
        for (id, path_id) in too_large {
            self.families[at(family)].withhold(id, path_id, view.store);
        }
    }

    /// One step for each member that has room: first what changed behind its cursor, then the next window of the table,
    /// encoded once for all that stand at the same place. Returns whether any remembers less than before.
    fn feed(&mut self, limits: Limits, view: &mut View<'_>, outputs: &mut VecDeque<Output>) -> bool {
        let family = view.family;
        let mut progress = false;
        for place in 0..self.members.len() {
            if self.members[place].hungry(family, limits) {
                progress |= self.catch_up(place, limits, view, outputs);
            }
        }
        let ready = |member: &&Member| {
            let lag = member.lag.as_ref().map(|lag| &lag.families[at(family)]);
            member.hungry(family, limits)
                && lag.is_some_and(|lag| lag.behind.is_empty() && lag.cursor != FamilyLag::SENT)
        };
        let Some(first) = self.members.iter().find(ready) else { return progress };
        let cursor = first.lag.as_ref().map_or(0, |lag| lag.families[at(family)].cursor);
        let at_cursor: Vec<usize> = (0..self.members.len())
            .filter(|&place| {
                let member = &self.members[place];
                let lag = member.lag.as_ref().map(|lag| &lag.families[at(family)]);
                ready(&member) && lag.is_some_and(|lag| lag.cursor == cursor)
            })
            .collect();
        let end = cursor.saturating_add(limits.window).min(view.table.end());
        self.feed_window(cursor..end, &at_cursor, view, outputs);
        true
    }

    /// Sends the window to the members at these places, whose cursor is its start.
    fn feed_window(
        &mut self,
        window: Range<u32>,
        places: &[usize],
        view: &mut View<'_>,
        outputs: &mut VecDeque<Output>,
    ) {
        let family = view.family;
        let out = &mut self.families[at(family)];
        out.fill(window.end, &self.key, view);
        out.told_below = out.told_below.max(window.end);
        let out = &self.families[at(family)];
        let mut batch = Batch::default();
        for id in window.clone().map(PrefixId) {
            for Told { path_id, advert, source } in out.told(out.word(id)) {
                batch.announce.push(Announce { advert, except: self.except(source), id, path_id });
            }
        }
        let attributes = |advert| out.attributes(advert, &self.key, view.learned());
        let (chunks, too_large) = batch.pack(view.table, attributes, &self.builder);
        for (id, path_id) in too_large {
            self.families[at(family)].withhold(id, path_id, view.store);
        }
        self.families[at(family)].forget_made();
        let out = &self.families[at(family)];
        for &place in places {
            let member = &mut self.members[place];
            member.send_chunks(&chunks, outputs);
            let peer = member.peer;
            let Some(lag) = member.lag_of(family) else { continue };
            // What it holds from before and is not to hold any more.
            let mut gone = Batch::default();
            if !lag.before.is_empty() {
                for id in window.clone().map(PrefixId) {
                    let held = lag.before.path_ids(id).iter();
                    let lost = held.filter(|held| out.held_by(out.word(id), peer).all(|path| path.path_id != **held));
                    gone.withdraw.extend(lost.map(|&path_id| Withdraw { except: PeerId::LOCAL, id, path_id }));
                }
            }
            lag.cursor = window.end;
            if window.end >= view.table.end() {
                lag.cursor = FamilyLag::SENT;
                lag.before = Held::default();
            }
            let (chunks, _) = gone.pack(view.table, |_| None, &self.builder);
            member.send_chunks(&chunks, outputs);
            member.keep_step();
        }
    }

    /// Sends a member what it lacks below its cursor, up to a window of it.
    fn catch_up(&mut self, place: usize, limits: Limits, view: &mut View<'_>, outputs: &mut VecDeque<Output>) -> bool {
        let family = view.family;
        let out = &mut self.families[at(family)];
        let member = &mut self.members[place];
        let peer = member.peer;
        let Some(lag) = member.lag_of(family).filter(|lag| !lag.behind.is_empty()) else { return false };
        let mut batch = Batch::default();
        for _ in 0..limits.window {
            let Some((id, old)) = lag.behind.pop_first() else { break };
            for (held, due) in by_path_id(out.held_by(old, peer), out.held_by(out.word(id), peer)) {
                match (held, due) {
                    (held, Some(Told { path_id, advert, .. })) if held.map(|held| held.advert) != Some(advert) => {
                        batch.announce.push(Announce { advert, except: PeerId::LOCAL, id, path_id });
                    }
                    (Some(Told { path_id, .. }), None) => {
                        batch.withdraw.push(Withdraw { except: PeerId::LOCAL, id, path_id });
                    }
                    (Some(_), Some(_)) | (None, _) => {}
                }
            }
            out.release(old, view.store);
        }
        let attributes = |advert| out.attributes(advert, &self.key, view.learned());
        let (chunks, too_large) = batch.pack(view.table, attributes, &self.builder);
        for (id, path_id) in too_large {
            out.withhold(id, path_id, view.store);
        }
        member.send_chunks(&chunks, outputs);
        member.keep_step();
        true
    }

    /// Says the family's End-of-RIB (RFC 4724 section 3), or where its refresh ends (RFC 7313 section 4), to members that have
    /// been sent all there is.
    fn ends(&mut self, family: Family, complete: bool, outputs: &mut VecDeque<Output>) {
        for member in &mut self.members {
            let (first, again) = (member.owed.end_of_rib.contains(family), member.owed.refresh_end.contains(family));
            let all_sent = (first && complete || again) && member.lag_of(family).is_none_or(|lag| lag.all_sent());
            if first && complete && all_sent {
                member.owed.end_of_rib.remove(family);
                member.send(self.builder.end_of_rib(family), outputs);
            }
            if again && all_sent {
                member.owed.refresh_end.remove(family);
                member.send(self.builder.refresh_mark(family, RefreshMark::End), outputs);
            }
        }
    }
}

impl Member {
    /// Forgets that it was behind once it is not.
    fn keep_step(&mut self) {
        self.lag = self.lag.take().filter(|lag| !lag.all_sent());
    }

    /// The word that it was last told of a prefix; `None` if it is still to be told the first, or once more.
    fn word(&self, family: Family, id: PrefixId, out: &FamilyOut) -> Option<u32> {
        match self.lag.as_ref().map(|lag| &lag.families[at(family)]) {
            Some(lag) if lag.cursor <= id.0 => None,
            Some(lag) => Some(lag.behind.get(&id).copied().unwrap_or_else(|| out.word(id))),
            None => Some(out.word(id)),
        }
    }
}

/// Two lists of paths side by side, both sorted by path identifier.
fn by_path_id(
    old: impl Iterator<Item = Told>,
    new: impl Iterator<Item = Told>,
) -> impl Iterator<Item = (Option<Told>, Option<Told>)> {
    let (mut old, mut new) = (old.peekable(), new.peekable());
    std::iter::from_fn(move || {
        let first = [old.peek(), new.peek()].into_iter().flatten().map(|path| path.path_id).min()?;
        let is_first = |path: &Told| path.path_id == first;
        Some((old.next_if(is_first), new.next_if(is_first)))
    })
}

/// A change of a prefix that a member which is behind has not been told. Returns whether it remembers less now.
fn note_behind(out: &mut FamilyOut, lag: &mut FamilyLag, peer: PeerId, change: Change, store: &mut AttrStore) -> bool {
    if lag.cursor <= change.id.0 {
        return false;
    }
    let now = out.word(change.id);
    match lag.behind.get(&change.id) {
        // Back to what it holds: nothing to say any more.
        Some(&held) if out.same_for(peer, held, now) => {
            lag.behind.remove(&change.id);
            out.release(held, store);
            true
        }
        Some(_) => false,
        None => {
            if !out.same_for(peer, change.old, now) {
                out.retain(change.old);
                lag.behind.insert(change.id, change.old);
            }
            false
        }
    }
}
