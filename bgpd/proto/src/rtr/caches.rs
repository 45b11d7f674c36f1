//! Several caches: whose data counts, and what of it changed.
//!
//! The caches of the lowest preference that have data count, all of that preference together (RFC 8210 section 10 lets a
//! router merge them); the others stand by with theirs.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::vrp::Vrp;

/// Which cache: a number that its owner gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CacheId(pub u32);

/// What changed of what counts, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// New.
    pub announced: Vec<Vrp>,
    /// Gone.
    pub withdrawn: Vec<Vrp>,
}

impl Changes {
    /// Whether nothing did.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.announced.is_empty() && self.withdrawn.is_empty()
    }
}

/// All caches with their data.
#[derive(Clone, Debug, Default)]
pub struct Caches {
    caches: BTreeMap<CacheId, Cache>,
}

#[derive(Clone, Debug)]
struct Cache {
    preference: u32,
    data: Option<Arc<[Vrp]>>,
}

impl Caches {
    /// Makes a cache known, or changes its preference; lower counts first.
    pub fn set(&mut self, id: CacheId, preference: u32) -> Changes {
        self.change(|caches| {
            caches.entry(id).or_insert(Cache { preference, data: None }).preference = preference;
        })
    }

    /// Forgets a cache.
    pub fn remove(&mut self, id: CacheId) -> Changes {
        self.change(|caches| drop(caches.remove(&id)))
    }

    /// What a cache holds from now on, sorted; `None`: nothing that counts, which is other than an empty list.
    pub fn update(&mut self, id: CacheId, data: Option<Arc<[Vrp]>>) -> Changes {
        self.change(|caches| {
            if let Some(cache) = caches.get_mut(&id) {
                cache.data = data;
            }
        })
    }

    /// Whether the data of this cache counts.
    #[must_use]
    pub fn counts(&self, id: CacheId) -> bool {
        let of = |cache: &Cache| cache.data.is_some() && Some(cache.preference) == self.preference();
        self.caches.get(&id).is_some_and(of)
    }

    fn preference(&self) -> Option<u32> {
        self.caches.values().filter(|cache| cache.data.is_some()).map(|cache| cache.preference).min()
    }

    fn counting(&self) -> Vec<Arc<[Vrp]>> {
        let preference = self.preference();
        let of = self.caches.values().filter(|cache| Some(cache.preference) == preference);
        of.filter_map(|cache| cache.data.clone()).collect()
    }

    fn change(&mut self, what: impl FnOnce(&mut BTreeMap<CacheId, Cache>)) -> Changes {
        let before = self.counting();
        what(&mut self.caches);
        let after = self.counting();
        let same = before.len() == after.len() && before.iter().zip(&after).all(|(one, other)| Arc::ptr_eq(one, other));
        if same { Changes::default() } else { difference(Union::of(&before), Union::of(&after)) }
    }
}

/// Sorted lists as one, each VRP once.
struct Union<'a> {
    rest: Vec<&'a [Vrp]>,
}

impl<'a> Union<'a> {
    fn of(lists: &'a [Arc<[Vrp]>]) -> Self {
        Self { rest: lists.iter().map(|list| &list[..]).collect() }
    }
}

impl Iterator for Union<'_> {
    type Item = Vrp;
    fn next(&mut self) -> Option<Vrp> {
        let next = self.rest.iter().filter_map(|list| list.first()).min().copied()?;
        for list in &mut self.rest {
            if let Some((first, rest)) = list.split_first()
                && *first == next
            {
                *list = rest;
            }
        }
        Some(next)
    }
}

fn difference(before: Union<'_>, after: Union<'_>) -> Changes {
    let (mut before, mut after) = (before.peekable(), after.peekable());
    let mut changes = Changes::default();
    loop {
        match (before.peek(), after.peek()) {
            (None, None) => return changes,
            (Some(old), Some(new)) if old == new => drop((before.next(), after.next())),
            (Some(old), new) if new.is_none_or(|new| old < new) => changes.withdrawn.extend(before.next()),
            _ => changes.announced.extend(after.next()),
        }
    }
}
