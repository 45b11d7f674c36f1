//! A member that does not hold what its group was told: it is new, asked again, or does not read fast enough.
//!
//! What it lacks is bounded by the number of prefixes, however often they change: a cursor says how much of the table it
//! has been sent, and a map says what it still holds of each prefix that changed below the cursor.

use std::collections::BTreeMap;

use super::table::PrefixId;

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

/// A set of prefixes, a bit each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held(Vec<u64>);

impl Held {
    pub(crate) fn insert(&mut self, id: PrefixId) {
        let word = (id.0 / 64) as usize;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (id.0 % 64);
    }

    pub(crate) fn contains(&self, id: PrefixId) -> bool {
        self.0.get((id.0 / 64) as usize).is_some_and(|word| word & (1 << (id.0 % 64)) != 0)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One more than the last in the set, at most.
    pub(crate) fn end(&self) -> u32 {
        self.0.len() as u32 * 64
    }
}
