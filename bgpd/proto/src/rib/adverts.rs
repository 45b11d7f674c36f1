//! Adj-RIB-Out of one family for one group: one word of four bytes for each prefix, the number of an advert or, for peers
//! that take several paths to one prefix (RFC 7911), of a set of them.
//!
//! An advert says where what is sent comes from: the received attributes, their source and the rule that let them through.
//! What is sent is worked out of these when it is encoded and not kept: with an external group it would be as many sets
//! again as were received, each a next hop and an AS away from the set that is there already.

use std::borrow::Cow;

use rustc_hash::FxHashMap;

use super::RibConfig;
use super::attrs::{AttrId, AttrStore, Found, Interner};
use super::export::{GroupKey, Source, Withheld, permits, transform};
use super::loc;
use super::path_sets::{PathSets, SetPath};
use super::peers::Peers;
use super::table::{Path, PrefixId, Table};
use crate::filter::Accepted;
use crate::rtr::VrpTable;
use crate::types::{Family, PathId, PeerId};
use crate::wire::attributes::Attributes;

/// What an export depends on, within a group and family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct AdvertKey {
    attrs: AttrId,
    source: PeerId,
    /// The source's, so that a result from before it changed is not found.
    generation: u32,
    accepted: Option<Accepted>,
    /// Found too large when it was encoded.
    too_large: bool,
}

#[derive(Debug)]
struct Advert {
    out: Result<(), Withheld>,
    /// Encoding failed: from now on the key with `too_large` stands for it.
    too_large: bool,
}

/// A change of a prefix's word that the members have not been told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    pub(crate) id: PrefixId,
    /// The word before; a reference.
    pub(crate) old: u32,
}

/// What a group is told of a set of attributes: equal ones say the same. Different ones may, too
/// ([`FamilyOut::say_the_same`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AdvertId(u32);

/// A path that members may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    /// Ours; 0 in a family without several paths.
    pub(crate) path_id: PathId,
    pub(crate) advert: AdvertId,
    pub(crate) source: PeerId,
}

impl Told {
    /// What a member sees of it.
    fn seen(self) -> (PathId, AdvertId) {
        (self.path_id, self.advert)
    }
}

/// The words and adverts of one family. A word is 0 (nothing) or a reference to an advert; where there are several paths
/// to one prefix, to a set of adverts.
#[derive(Debug, Default)]
pub(crate) struct FamilyOut {
    words: Vec<u32>,
    /// `None`: at most one path to one prefix.
    sets: Option<PathSets>,
    adverts: Interner<AdvertKey, Advert>,
    /// What was worked out for adverts that are new and about to be encoded for the first time.
    made: FxHashMap<u32, Attributes>,
    /// The advert that was last exported: prefixes that share their attributes mostly come one behind the other.
    last: Option<(AdvertKey, u32)>,
    /// Words below are worked out; [`FamilyOut::COMPLETE`] when all are, and new prefixes too.
    filled: u32,
    pub(crate) changes: Vec<Change>,
    /// Members in step have been told of prefixes below this number only.
    pub(crate) told_below: u32,
    held: usize,
    withheld: usize,
    held_by_source: FxHashMap<PeerId, usize>,
}

/// What an export looks at.
pub(crate) struct View<'a> {
    pub(crate) family: Family,
    pub(crate) table: &'a Table,
    pub(crate) store: &'a mut AttrStore,
    pub(crate) peers: &'a Peers,
    pub(crate) config: &'a RibConfig,
    pub(crate) vrps: Option<&'a VrpTable>,
    /// What peers say of the family does not count yet.
    pub(crate) deferred: bool,
    /// The paths of the prefix that was asked for last.
    pub(crate) ranked: Option<(PrefixId, Vec<Path>)>,
}

/// What the attributes of an advert are worked out of.
#[derive(Clone, Copy)]
pub(crate) struct Learned<'a> {
    pub(crate) family: Family,
    pub(crate) store: &'a AttrStore,
    pub(crate) peers: &'a Peers,
    pub(crate) config: &'a RibConfig,
}

impl View<'_> {
    pub(crate) fn learned(&self) -> Learned<'_> {
        Learned { family: self.family, store: self.store, peers: self.peers, config: self.config }
    }

    /// The accepted paths of a prefix, the best first.
    fn take_ranked(&mut self, id: PrefixId) -> Vec<Path> {
        match self.ranked.take() {
            Some((of, ranked)) if of == id => ranked,
            Some(_) | None => loc::ranked(self.table, id, self.store, self.peers, self.deferred),
        }
    }
}

impl FamilyOut {
    const COMPLETE: u32 = u32::MAX;

    /// `several`: with several paths to one prefix.
    pub(crate) fn new(several: bool) -> Self {
        Self { sets: several.then(PathSets::default), ..Self::default() }
    }

    pub(crate) fn word(&self, id: PrefixId) -> u32 {
        self.words.get(id.0 as usize).copied().unwrap_or(0)
    }

    /// One more than the last prefix with a word.
    pub(crate) fn end(&self) -> u32 {
        self.words.len() as u32
    }

    /// The adverts of a word.
    fn paths(&self, word: u32) -> impl Iterator<Item = SetPath> + use<'_> {
        let (one, several) = match &self.sets {
            None => (Some(SetPath { path_id: PathId(0), advert: word }), &[][..]),
            Some(sets) => (None, sets.get(word)),
        };
        one.into_iter().chain(several.iter().copied())
    }

    /// The paths of a word that members may hold, by path identifier.
    pub(crate) fn told(&self, word: u32) -> impl Iterator<Item = Told> + use<'_> {
        self.paths(word).filter_map(|SetPath { path_id, advert }| {
            let (key, known) = self.adverts.get(advert)?;
            known.out.ok().map(|()| Told { path_id, advert: AdvertId(advert), source: key.source })
        })
    }

    /// The paths that `peer` holds if it has been told this word: none is sent back to its source.
    pub(crate) fn held_by(&self, word: u32, peer: PeerId) -> impl Iterator<Item = Told> + use<'_> {
        self.told(word).filter(move |path| path.source != peer)
    }

    /// The attributes of an advert as they are sent. `None`: its source is gone, and it is about to be withdrawn.
    pub(crate) fn attributes(
        &self,
        advert: AdvertId,
        group: &GroupKey,
        learned: Learned<'_>,
    ) -> Option<Cow<'_, Attributes>> {
        if let Some(made) = self.made.get(&advert.0) {
            return Some(Cow::Borrowed(made));
        }
        let (key, _) = self.adverts.get(advert.0)?;
        let (source, _) = source_of(key.source, learned.peers)?;
        let attributes = learned.store.view(key.attrs)?;
        transform(learned.config, group, learned.family, &attributes, source, key.accepted).ok().map(Cow::Owned)
    }

    /// Whether both adverts are sent with the same attributes: a change that the group's rules hide is not worth an UPDATE.
    /// `false` also where that cannot be told any more.
    pub(crate) fn say_the_same(&self, one: AdvertId, other: AdvertId, group: &GroupKey, learned: Learned<'_>) -> bool {
        let current = |advert: AdvertId| {
            let key = self.adverts.get(advert.0).map(|(key, _)| key);
            key.is_some_and(|key| source_of(key.source, learned.peers).is_some_and(|(_, now)| now == key.generation))
        };
        let same = || self.attributes(one, group, learned) == self.attributes(other, group, learned);
        one == other || (current(one) && current(other) && same())
    }

    /// What was new is encoded.
    pub(crate) fn forget_made(&mut self) {
        self.made.clear();
        // After a burst.
        self.made.shrink_to(1024);
    }

    /// Whether `peer` holds the same, whichever of two words it has been told.
    pub(crate) fn same_for(&self, peer: PeerId, one: u32, other: u32) -> bool {
        self.held_by(one, peer).map(Told::seen).eq(self.held_by(other, peer).map(Told::seen))
    }

    pub(crate) fn count_held_by(&self, peer: PeerId) -> usize {
        self.held.saturating_sub(self.held_by_source.get(&peer).copied().unwrap_or(0))
    }

    pub(crate) fn count_withheld(&self) -> usize {
        self.withheld
    }

    /// The prefix's best path is another: notes the change if the word is.
    pub(crate) fn prefix_changed(&mut self, id: PrefixId, group: &GroupKey, view: &mut View<'_>) {
        if id.0 >= self.filled {
            return;
        }
        let word = self.export(id, group, view);
        let old = self.set_word(id, word);
        if old == word {
            self.release(old, view.store);
        } else {
            self.changes.push(Change { id, old });
        }
    }

    /// Works out words up to `end`, of which no member has been told anything.
    pub(crate) fn fill(&mut self, end: u32, group: &GroupKey, view: &mut View<'_>) {
        while self.filled < end {
            let id = PrefixId(self.filled);
            let word = self.export(id, group, view);
            let old = self.set_word(id, word);
            self.release(old, view.store);
            self.filled += 1;
        }
        if self.filled >= view.table.end() {
            self.filled = Self::COMPLETE;
        }
    }

    /// The word for the prefix's best path, or for several of its paths, as a reference.
    fn export(&mut self, id: PrefixId, group: &GroupKey, view: &mut View<'_>) -> u32 {
        // In place of all other paths, and whatever the filter says.
        let default = group.default_path(view.table, id);
        if self.sets.is_none() {
            return match default {
                Some(path) => self.export_path(id, path, true, group, view),
                None => view.table.best(id).map_or(0, |path| self.export_path(id, path, false, group, view)),
            };
        }
        if let Some(path) = default {
            let advert = self.export_path(id, path, true, group, view);
            let told = (advert != 0).then(|| view.store.path_ids.acquire(path.peer, path.path_id));
            let set = told.map(|path_id| SetPath { path_id, advert }).into_iter().collect();
            return self.set_of(set, view.store);
        }
        let ranked = view.take_ranked(id);
        let (mut set, mut told) = (Vec::new(), 0);
        for path in &ranked {
            let advert = self.export_path(id, path, false, group, view);
            if advert == 0 {
                continue;
            }
            set.push(SetPath { path_id: view.store.path_ids.acquire(path.peer, path.path_id), advert });
            // What is withheld takes nobody's place.
            told += usize::from(self.adverts.get(advert).is_some_and(|(_, advert)| advert.out.is_ok()));
            if told >= group.add_path_most {
                break;
            }
        }
        view.ranked = Some((id, ranked));
        self.set_of(set, view.store)
    }

    /// The word for a set, to which its paths' references go.
    fn set_of(&mut self, set: Vec<SetPath>, store: &mut AttrStore) -> u32 {
        let Some(sets) = self.sets.as_mut().filter(|_| !set.is_empty()) else { return 0 };
        let (word, surplus) = sets.intern(set);
        self.release_paths(&surplus, store);
        word
    }

    fn release_paths(&mut self, paths: &[SetPath], store: &mut AttrStore) {
        for path in paths {
            store.path_ids.release(path.path_id);
            self.release_advert(path.advert, store);
        }
    }

    /// The advert for one path, as a reference; 0 where the group does not hear of it. `default`: it is the default route
    /// that is originated for the group's peers, which asks no filter.
    fn export_path(&mut self, id: PrefixId, path: &Path, default: bool, group: &GroupKey, view: &mut View<'_>) -> u32 {
        let attrs = view.store.effective(path);
        let Some(attributes) = view.store.recent(attrs) else { return 0 };
        let Some((source, generation)) = source_of(path.peer, view.peers) else { return 0 };
        let prefix = view.table.prefix(id);
        if !default && view.config.aggregates.suppress(prefix) {
            return 0;
        }
        let peer = view.peers.get(path.peer);
        let accepted = match permits(view.config, group, view.vrps, prefix, &attributes, source, peer) {
            _ if default => None,
            Ok(accepted) => accepted,
            Err(_) => return 0,
        };
        let key = AdvertKey { attrs, source: path.peer, generation, accepted, too_large: false };
        if let Some((_, advert)) = self.last.filter(|(last, _)| *last == key) {
            self.adverts.retain(advert);
            return advert;
        }
        let advert = match self.adverts.acquire(&key) {
            Found::Id(word) if self.adverts.get(word).is_some_and(|(_, advert)| advert.too_large) => {
                let word_too_large = self.too_large_word(key, view.store);
                self.release_advert(word, view.store);
                return word_too_large;
            }
            Found::Id(word) => word,
            Found::Absent(vacancy) => {
                let out = transform(view.config, group, view.family, &attributes, source, accepted);
                view.store.retain(attrs);
                let (made, out) = match out {
                    Ok(made) => (Some(made), Ok(())),
                    Err(withheld) => (None, Err(withheld)),
                };
                let word = self.adverts.insert(vacancy, key, Advert { out, too_large: false });
                self.made.extend(made.map(|made| (word, made)));
                word
            }
        };
        self.last = Some((key, advert));
        advert
    }

    fn too_large_word(&mut self, key: AdvertKey, store: &mut AttrStore) -> u32 {
        let key = AdvertKey { too_large: true, ..key };
        match self.adverts.acquire(&key) {
            Found::Id(word) => word,
            Found::Absent(vacancy) => {
                store.retain(key.attrs);
                self.adverts.insert(vacancy, key, Advert { out: Err(Withheld::Unsendable), too_large: false })
            }
        }
    }

    /// The path could not be encoded with what the prefix's word says: nobody holds it.
    pub(crate) fn withhold(&mut self, id: PrefixId, path_id: PathId, store: &mut AttrStore) {
        let word = self.word(id);
        let Some(SetPath { advert, .. }) = self.paths(word).find(|path| path.path_id == path_id) else { return };
        let Some((key, _)) = self.adverts.get(advert) else { return };
        let key = *key;
        if let Some(advert) = self.adverts.get_mut(advert) {
            advert.too_large = true;
        }
        self.last = None;
        let instead = match &self.sets {
            None => self.too_large_word(key, store),
            Some(sets) => {
                let mut set = sets.get(word).to_vec();
                for path in &mut set {
                    store.path_ids.retain(path.path_id);
                    if path.path_id == path_id {
                        path.advert = self.too_large_word(key, store);
                    } else {
                        self.adverts.retain(path.advert);
                    }
                }
                self.set_of(set, store)
            }
        };
        let old = self.set_word(id, instead);
        self.release(old, store);
    }

    /// Puts the word in place. Returns the one before; both are references.
    fn set_word(&mut self, id: PrefixId, word: u32) -> u32 {
        let at = id.0 as usize;
        if self.words.len() <= at {
            if word == 0 {
                return 0;
            }
            self.words.resize(at + 1, 0);
        }
        let old = std::mem::replace(&mut self.words[at], word);
        if old != word {
            self.count(old, -1);
            self.count(word, 1);
        }
        old
    }

    fn count(&mut self, word: u32, by: isize) {
        if self.sets.is_none() {
            return self.count_advert(word, by);
        }
        let adverts: Vec<u32> = self.paths(word).map(|path| path.advert).collect();
        adverts.into_iter().for_each(|advert| self.count_advert(advert, by));
    }

    fn count_advert(&mut self, advert: u32, by: isize) {
        match self.adverts.get(advert) {
            None => {}
            Some((_, Advert { out: Err(_), .. })) => self.withheld = self.withheld.saturating_add_signed(by),
            Some((key, Advert { out: Ok(_), .. })) => {
                self.held = self.held.saturating_add_signed(by);
                let held = self.held_by_source.entry(key.source).or_default();
                *held = held.saturating_add_signed(by);
                if *held == 0 {
                    self.held_by_source.remove(&key.source);
                }
            }
        }
    }

    pub(crate) fn retain(&mut self, word: u32) {
        match &mut self.sets {
            None => self.adverts.retain(word),
            Some(sets) => sets.retain(word),
        }
    }

    pub(crate) fn release(&mut self, word: u32, store: &mut AttrStore) {
        match &mut self.sets {
            None => self.release_advert(word, store),
            Some(sets) => {
                let paths = sets.release(word);
                self.release_paths(&paths, store);
            }
        }
    }

    fn release_advert(&mut self, advert: u32, store: &mut AttrStore) {
        if let Some((key, _)) = self.adverts.release(advert) {
            store.release(key.attrs);
            // The number may soon be another advert's.
            self.made.remove(&advert);
            self.last.take_if(|(_, last)| *last == advert);
        }
    }

    /// The group has no member left.
    pub(crate) fn dissolve(&mut self, store: &mut AttrStore) {
        let changes = std::mem::take(&mut self.changes);
        for word in std::mem::take(&mut self.words).into_iter().chain(changes.into_iter().map(|change| change.old)) {
            self.release(word, store);
        }
    }

    /// Sets of paths in use.
    #[cfg(test)]
    pub(crate) fn sets(&self) -> usize {
        self.sets.as_ref().map_or(0, PathSets::len)
    }

    /// Adverts in use.
    #[cfg(test)]
    pub(crate) fn adverts(&self) -> usize {
        self.adverts.len()
    }
}

/// What a peer is as a source of routes, and since which change of it.
fn source_of(peer: PeerId, peers: &Peers) -> Option<(Source, u32)> {
    if peer == PeerId::LOCAL {
        return Some((Source::Local, 0));
    }
    peers.get(peer).map(|peer| (Source::of(peer), peer.generation))
}
