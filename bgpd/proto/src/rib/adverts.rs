//! Adj-RIB-Out of one family for one group: one word of four bytes for each prefix, the number of an advert.

use rustc_hash::FxHashMap;

use super::RibConfig;
use super::attrs::{AttrId, AttrStore, Found, Interner};
use super::export::{GroupKey, Source, Withheld, permits, transform};
use super::peers::Peers;
use super::table::{PrefixId, Table};
use crate::types::{Family, PeerId};

/// What an export depends on, within a group and family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct AdvertKey {
    attrs: AttrId,
    source: PeerId,
    /// The source's, so that a result from before it changed is not found.
    generation: u32,
    rule: Option<u32>,
    /// Found too large when it was encoded.
    too_large: bool,
}

#[derive(Debug)]
struct Advert {
    out: Result<AttrId, Withheld>,
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

/// The words and adverts of one family. A word is 0 (nothing) or a reference to an advert.
#[derive(Debug, Default)]
pub(crate) struct FamilyOut {
    words: Vec<u32>,
    adverts: Interner<AdvertKey, Advert>,
    /// Words below are worked out; [`FamilyOut::COMPLETE`] when all are, and new prefixes too.
    filled: u32,
    pub(crate) changes: Vec<Change>,
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
}

impl FamilyOut {
    const COMPLETE: u32 = u32::MAX;

    pub(crate) fn word(&self, id: PrefixId) -> u32 {
        self.words.get(id.0 as usize).copied().unwrap_or(0)
    }

    /// One more than the last prefix with a word.
    pub(crate) fn end(&self) -> u32 {
        self.words.len() as u32
    }

    /// The attributes that `peer` holds if it has been told this word: a route is not sent back to its source.
    pub(crate) fn held_by(&self, word: u32, peer: PeerId) -> Option<AttrId> {
        let (key, advert) = self.adverts.get(word)?;
        if key.source == peer { None } else { advert.out.ok() }
    }

    /// Attributes and source of a word that members may hold.
    pub(crate) fn advertised(&self, word: u32) -> Option<(AttrId, PeerId)> {
        let (key, advert) = self.adverts.get(word)?;
        advert.out.ok().map(|out| (out, key.source))
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

    /// The word for the prefix's best path, as a reference.
    fn export(&mut self, id: PrefixId, group: &GroupKey, view: &mut View<'_>) -> u32 {
        let Some(path) = view.table.best(id) else { return 0 };
        let attrs = view.store.effective(path);
        let Some(attributes) = view.store.recent(attrs) else { return 0 };
        let (source, generation) = match (path.peer, view.peers.get(path.peer)) {
            (PeerId::LOCAL, _) => (Source::Local, 0),
            (_, Some(peer)) => (Source::of(peer), peer.generation),
            (_, None) => return 0,
        };
        let Ok(rule) = permits(group, view.table.prefix(id), &attributes, source) else { return 0 };
        let key =
            AdvertKey { attrs, source: path.peer, generation, rule: rule.map(|rule| rule as u32), too_large: false };
        match self.adverts.acquire(&key) {
            Found::Id(word) if self.adverts.get(word).is_some_and(|(_, advert)| advert.too_large) => {
                let word_too_large = self.too_large_word(key, view.store);
                self.release(word, view.store);
                word_too_large
            }
            Found::Id(word) => word,
            Found::Absent(hash) => {
                let out = transform(view.config, group, view.family, &attributes, source, rule);
                let out = out.map(|attributes| view.store.intern(&attributes));
                view.store.retain(attrs);
                self.adverts.insert(hash, key, Advert { out, too_large: false })
            }
        }
    }

    fn too_large_word(&mut self, key: AdvertKey, store: &mut AttrStore) -> u32 {
        let key = AdvertKey { too_large: true, ..key };
        match self.adverts.acquire(&key) {
            Found::Id(word) => word,
            Found::Absent(hash) => {
                store.retain(key.attrs);
                self.adverts.insert(hash, key, Advert { out: Err(Withheld::TooLarge), too_large: false })
            }
        }
    }

    /// The prefix could not be encoded with what its word says: nobody holds it.
    pub(crate) fn withhold(&mut self, id: PrefixId, store: &mut AttrStore) {
        let word = self.word(id);
        let Some((key, _)) = self.adverts.get(word) else { return };
        let key = *key;
        if let Some(advert) = self.adverts.get_mut(word) {
            advert.too_large = true;
        }
        let instead = self.too_large_word(key, store);
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
        match self.adverts.get(word) {
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
        self.adverts.retain(word);
    }

    pub(crate) fn release(&mut self, word: u32, store: &mut AttrStore) {
        if let Some((key, advert)) = self.adverts.release(word) {
            store.release(key.attrs);
            if let Ok(out) = advert.out {
                store.release(out);
            }
        }
    }

    /// The group has no member left.
    pub(crate) fn dissolve(&mut self, store: &mut AttrStore) {
        let changes = std::mem::take(&mut self.changes);
        for word in std::mem::take(&mut self.words).into_iter().chain(changes.into_iter().map(|change| change.old)) {
            self.release(word, store);
        }
    }

    /// Adverts in use.
    #[cfg(test)]
    pub(crate) fn adverts(&self) -> usize {
        self.adverts.len()
    }
}
