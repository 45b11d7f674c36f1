//! A member that does not hold what its group was told: it is new, asked again, or does not read fast enough.
//!
//! What it lacks is bounded by the number of prefixes, however often they change: a cursor says how much of the table it
//! has been sent, and a map says what it still holds of each prefix that changed below the cursor.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::table::PrefixId;
use crate::types::PathId;

/// What a member lacks, by family.
#[derive(Debug)]
pub(crate) struct Lag {
    pub(crate) families: [FamilyLag; 2],
}

/// What it lacks of one family.
#[derive(Debug)]
pub(crate) struct FamilyLag {
    /// Prefixes from this number on have not been sent; [`FamilyLag::SENT`] when all have.
    pub(crate) cursor: u32,
    /// Which prefixes from the cursor on it holds in some older version, when it is told everything once more.
    pub(crate) before: Held,
    /// Below the cursor: the word of what it holds, for each prefix where this is not the group's word. Each word is a
    /// reference to an advert.
    pub(crate) behind: BTreeMap<PrefixId, u32>,
}

impl FamilyLag {
    /// A cursor behind every prefix.
    pub(crate) const SENT: u32 = u32::MAX;

    pub(crate) fn new(cursor: u32, before: Held) -> Self {
        Self { cursor, before, behind: BTreeMap::new() }
    }

    pub(crate) fn all_sent(&self) -> bool {
        self.cursor == Self::SENT && self.behind.is_empty()
    }

    /// Whether this number must go on to stand for the same prefix.
    pub(crate) fn remembers(&self, id: PrefixId) -> bool {
        self.behind.contains_key(&id) || (self.cursor <= id.0 && self.before.contains(id))
    }
}

impl Lag {
    /// Holds all there is, so far.
    pub(crate) fn in_step() -> Self {
        Self { families: [(); 2].map(|()| FamilyLag::new(FamilyLag::SENT, Held::default())) }
    }

    pub(crate) fn all_sent(&self) -> bool {
        self.families.iter().all(FamilyLag::all_sent)
    }
}

/// A set of prefixes, a bit each, and of those with other path identifiers than 0 which: a word each, because most have
/// the same ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    prefixes: Vec<u64>,
    /// By prefix, one more than the place of its list; 0 where it has no list, and is held, if it is, with identifier 0.
    lists_of: Vec<u32>,
    lists: Vec<Box<[PathId]>>,
    places: FxHashMap<Box<[PathId]>, u32>,
}

impl Held {
    /// What a prefix without path identifiers has.
    const ONE: [PathId; 1] = [PathId(0)];

    /// Remembers the prefix with the identifiers of its paths; without any it is not held.
    pub(crate) fn insert(&mut self, id: PrefixId, path_ids: impl Iterator<Item = PathId>) {
        let path_ids: Vec<PathId> = path_ids.collect();
        if path_ids.is_empty() {
            return;
        }
        let word = (id.0 / 64) as usize;
        if self.prefixes.len() <= word {
            self.prefixes.resize(word + 1, 0);
        }
        self.prefixes[word] |= 1 << (id.0 % 64);
        if path_ids != Self::ONE {
            self.insert_list(id, path_ids.into());
        }
    }

    fn insert_list(&mut self, id: PrefixId, path_ids: Box<[PathId]>) {
        let place = match self.places.get(&path_ids) {
            Some(place) => *place,
            None => {
                self.lists.push(path_ids.clone());
                let place = self.lists.len() as u32;
                self.places.insert(path_ids, place);
                place
            }
        };
        let at = id.0 as usize;
        if self.lists_of.len() <= at {
            self.lists_of.resize(at + 1, 0);
        }
        self.lists_of[at] = place;
    }

    pub(crate) fn contains(&self, id: PrefixId) -> bool {
        self.prefixes.get((id.0 / 64) as usize).is_some_and(|word| word & (1 << (id.0 % 64)) != 0)
    }

    /// The identifiers of the paths to a prefix.
    pub(crate) fn path_ids(&self, id: PrefixId) -> &[PathId] {
        let place = self.lists_of.get(id.0 as usize).and_then(|place| place.checked_sub(1));
        match place.and_then(|place| self.lists.get(place as usize)) {
            Some(list) => list,
            None if self.contains(id) => &Self::ONE,
            None => &[],
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.prefixes.is_empty()
    }

    /// One more than the last in the set, at most.
    pub(crate) fn end(&self) -> u32 {
        self.prefixes.len() as u32 * 64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_held_with_the_identifiers_it_was_remembered_with() {
        let mut held = Held::default();
        for (id, path_ids) in [(3, &[0][..]), (70, &[4, 9]), (71, &[]), (200, &[4, 9]), (201, &[1])] {
            held.insert(PrefixId(id), path_ids.iter().copied().map(PathId));
        }
        for (id, path_ids) in
            [(3, &[0][..]), (4, &[]), (70, &[4, 9]), (71, &[]), (200, &[4, 9]), (201, &[1]), (999, &[])]
        {
            assert_eq!(held.path_ids(PrefixId(id)).iter().map(|id| id.0).collect::<Vec<_>>(), path_ids, "{id}");
            assert_eq!(held.contains(PrefixId(id)), !path_ids.is_empty(), "{id}");
        }
        assert_eq!((held.lists.len(), held.end()), (2, 256));
    }
}
