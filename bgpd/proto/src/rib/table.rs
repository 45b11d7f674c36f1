//! The table of one family: prefixes numbered without gaps, and the paths of each.
//!
//! A prefix with one path takes its key (8 bytes for IPv4, 24 for IPv6), 24 bytes for the path, a byte of marks and an
//! entry of the index of about 8 bytes; each further path 16 bytes. Update groups keep a word of four bytes by the same
//! numbers.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::ops::{BitOr, Range};

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::types::{Family, Ipv4Prefix, Ipv6Prefix, PathId, PeerId, Prefix};

/// A prefix of one family's table: an index, used again when the prefix is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PrefixId(pub(crate) u32);

/// The hash of a prefix that is not in its table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PrefixHash(u64);

/// One path, in 16 bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path {
    /// An `AttrId`, or with [`PathFlags::TRANSFORMED`] the number of an import's result.
    pub(crate) attrs: u32,
    pub(crate) path_id: PathId,
    /// Seconds since the start, when it came or last changed.
    pub(crate) since: u32,
    pub(crate) peer: PeerId,
    pub(crate) flags: PathFlags,
}

impl Default for Path {
    fn default() -> Self {
        Self { attrs: 0, path_id: PathId(0), since: 0, peer: PeerId::LOCAL, flags: PathFlags::NONE }
    }
}

/// What is known of a path, in 16 bits; the upper eight are the code of a rejection, 0 if it was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PathFlags(u16);

impl PathFlags {
    pub(crate) const NONE: Self = Self(0);
    /// The best path, as last decided.
    pub(crate) const BEST: Self = Self(1);
    /// In the multipath set, as last decided; the best path is too.
    pub(crate) const MULTIPATH: Self = Self(2);
    /// Kept for a peer that is restarting (RFC 4724), or not announced again yet in a refresh (RFC 7313).
    pub(crate) const STALE: Self = Self(4);
    /// The import filter changed the attributes.
    pub(crate) const TRANSFORMED: Self = Self(8);
    /// Who takes over from the only chosen path, as last decided.
    pub(crate) const BACKUP: Self = Self(16);
    /// Best, or in the multipath set.
    const CHOSEN: Self = Self(1 | 2);

    pub(crate) fn contains(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    #[must_use]
    pub(crate) fn with(self, flag: Self, on: bool) -> Self {
        Self(if on { self.0 | flag.0 } else { self.0 & !flag.0 })
    }

    pub(crate) fn rejected(code: u8) -> Self {
        Self(u16::from(code) << 8)
    }

    /// 0 for an accepted path.
    pub(crate) fn rejection(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// What import made of the path, and nothing of what is decided later.
    pub(crate) fn outcome(self) -> Self {
        Self(self.0 & (Self::TRANSFORMED.0 | 0xff00))
    }

    pub(crate) fn accepted(self) -> bool {
        self.rejection() == 0
    }

    /// In the best or multipath set.
    pub(crate) fn chosen(self) -> bool {
        self.contains(Self::CHOSEN)
    }

    /// What it means for what was decided that a path with these flags is gone, or other than it was.
    pub(crate) fn news(self) -> News {
        if self.chosen() {
            News::Chosen
        } else if self.contains(Self::BACKUP) {
            News::Backup
        } else {
            News::Nothing
        }
    }

    /// Whether import had the same outcome for both.
    pub(crate) fn same_import(self, other: Self) -> bool {
        let mask = Self::TRANSFORMED.0 | 0xff00;
        self.0 & mask == other.0 & mask
    }
}

/// How much of what was decided is other than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum News {
    /// Nothing that anybody hears of.
    Nothing,
    /// The backup alone.
    Backup,
    /// The chosen paths.
    Chosen,
}

impl BitOr for PathFlags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The paths of a prefix, sorted by peer and path id.
#[derive(Debug, Default)]
pub(crate) enum Paths {
    #[default]
    None,
    One(Path),
    Many(Vec<Path>),
}

impl Paths {
    pub(crate) fn as_slice(&self) -> &[Path] {
        match self {
            Self::None => &[],
            Self::One(path) => std::slice::from_ref(path),
            Self::Many(paths) => paths,
        }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [Path] {
        match self {
            Self::None => &mut [],
            Self::One(path) => std::slice::from_mut(path),
            Self::Many(paths) => paths,
        }
    }

    /// Where the path is, or belongs.
    pub(crate) fn find(&self, peer: PeerId, path_id: PathId) -> Result<usize, usize> {
        self.as_slice().binary_search_by_key(&(peer, path_id), |path| (path.peer, path.path_id))
    }

    /// The paths of one peer.
    pub(crate) fn of_peer(&self, peer: PeerId) -> Range<usize> {
        let paths = self.as_slice();
        paths.partition_point(|path| path.peer < peer)..paths.partition_point(|path| path.peer <= peer)
    }

    /// `at` is what [`Self::find`] said.
    pub(crate) fn insert(&mut self, at: usize, path: Path) {
        match self {
            Self::None => *self = Self::One(path),
            Self::One(only) => {
                let pair = if at == 0 { [path, *only] } else { [*only, path] };
                *self = Self::Many(pair.to_vec());
            }
            Self::Many(paths) => paths.insert(at.min(paths.len()), path),
        }
    }

    pub(crate) fn remove(&mut self, at: usize) {
        match self {
            Self::None => {}
            Self::One(_) => *self = Self::None,
            Self::Many(paths) => {
                if at < paths.len() {
                    paths.remove(at);
                }
                match paths.as_slice() {
                    [] => *self = Self::None,
                    [only] => *self = Self::One(*only),
                    _ if paths.len() * 4 < paths.capacity() => paths.shrink_to_fit(),
                    _ => {}
                }
            }
        }
    }
}

/// Marks of a prefix.
const DIRTY: u8 = 1;
const CHANGED: u8 = 2;
const BACKUP_CHANGED: u8 = 4;
/// See [`Table::set_unresolved`]; it stays when the prefix is decided.
const UNRESOLVED: u8 = 8;

#[derive(Debug)]
enum Keys {
    V4(Vec<Ipv4Prefix>),
    V6(Vec<Ipv6Prefix>),
}

/// All prefixes of one family.
#[derive(Debug)]
pub(crate) struct Table {
    keys: Keys,
    entries: Vec<Paths>,
    marks: Vec<u8>,
    index: HashTable<u32>,
    free: Vec<u32>,
    hasher: DefaultHashBuilder,
    dirty: VecDeque<PrefixId>,
    unresolved: usize,
}

impl Table {
    pub(crate) fn new(family: Family) -> Self {
        let keys = match family {
            Family::Ipv4Unicast => Keys::V4(Vec::new()),
            Family::Ipv6Unicast => Keys::V6(Vec::new()),
        };
        Self {
            keys,
            entries: Vec::new(),
            marks: Vec::new(),
            index: HashTable::new(),
            free: Vec::new(),
            hasher: DefaultHashBuilder::default(),
            dirty: VecDeque::new(),
            unresolved: 0,
        }
    }

    /// One more than the largest number in use; some below it may be free.
    pub(crate) fn end(&self) -> u32 {
        self.entries.len() as u32
    }

    /// How many prefixes there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn prefix(&self, id: PrefixId) -> Prefix {
        match &self.keys {
            Keys::V4(keys) => Prefix::V4(keys[id.0 as usize]),
            Keys::V6(keys) => Prefix::V6(keys[id.0 as usize]),
        }
    }

    pub(crate) fn find(&self, prefix: Prefix) -> Option<PrefixId> {
        self.look_up(prefix).ok()
    }

    /// The prefix's number, or its hash, with which [`Self::insert`] gives it one.
    pub(crate) fn look_up(&self, prefix: Prefix) -> Result<PrefixId, PrefixHash> {
        let hash = hash_of(&self.hasher, prefix);
        match (&self.keys, prefix) {
            (Keys::V4(keys), Prefix::V4(key)) => self.index.find(hash, |&at| keys[at as usize] == key),
            (Keys::V6(keys), Prefix::V6(key)) => self.index.find(hash, |&at| keys[at as usize] == key),
            (Keys::V4(_), Prefix::V6(_)) | (Keys::V6(_), Prefix::V4(_)) => None,
        }
        .map(|&at| PrefixId(at))
        .ok_or(PrefixHash(hash))
    }

    /// The prefix's number; a new one, without paths, if it is not there. `prefix` is of the table's family.
    pub(crate) fn find_or_insert(&mut self, prefix: Prefix) -> PrefixId {
        self.look_up(prefix).unwrap_or_else(|hash| self.insert(prefix, hash))
    }

    /// A new number, without paths. `hash` is what [`Self::look_up`] said.
    pub(crate) fn insert(&mut self, prefix: Prefix, PrefixHash(hash): PrefixHash) -> PrefixId {
        let at = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Paths::None);
            self.marks.push(0);
            (self.entries.len() - 1) as u32
        });
        let hasher = &self.hasher;
        match (&mut self.keys, prefix) {
            (Keys::V4(keys), Prefix::V4(key)) => {
                place(keys, at, key);
                self.index.insert_unique(hash, at, |&other| hash_of(hasher, Prefix::V4(keys[other as usize])));
            }
            (Keys::V6(keys), Prefix::V6(key)) => {
                place(keys, at, key);
                self.index.insert_unique(hash, at, |&other| hash_of(hasher, Prefix::V6(keys[other as usize])));
            }
            (Keys::V4(_), Prefix::V6(_)) | (Keys::V6(_), Prefix::V4(_)) => {
                debug_assert!(false, "a prefix of another family");
            }
        }
        PrefixId(at)
    }

    /// Forgets a prefix that has no path left; its number may be used again.
    pub(crate) fn remove(&mut self, id: PrefixId) {
        self.set_unresolved(id, false);
        let hash = hash_of(&self.hasher, self.prefix(id));
        if let Ok(entry) = self.index.find_entry(hash, |&at| at == id.0) {
            entry.remove();
            self.free.push(id.0);
        }
    }

    pub(crate) fn paths(&self, id: PrefixId) -> &Paths {
        &self.entries[id.0 as usize]
    }

    pub(crate) fn paths_mut(&mut self, id: PrefixId) -> &mut Paths {
        &mut self.entries[id.0 as usize]
    }

    /// The best path, as last decided.
    pub(crate) fn best(&self, id: PrefixId) -> Option<&Path> {
        let paths = self.entries.get(id.0 as usize)?.as_slice();
        paths.iter().find(|path| path.flags.contains(PathFlags::BEST) && path.flags.accepted())
    }

    /// To be decided again. `news`: a chosen path, or the backup, is gone or other than it was, so that the outcome is news
    /// even if the same path wins.
    pub(crate) fn mark(&mut self, id: PrefixId, news: News) {
        let marks = &mut self.marks[id.0 as usize];
        if *marks & DIRTY == 0 {
            self.dirty.push_back(id);
        }
        *marks |= DIRTY
            | match news {
                News::Nothing => 0,
                News::Backup => BACKUP_CHANGED,
                News::Chosen => CHANGED,
            };
    }

    /// The next prefix to decide, and what of its outcome is news in any case.
    pub(crate) fn take_dirty(&mut self) -> Option<(PrefixId, News)> {
        let id = self.dirty.pop_front()?;
        let marks = &mut self.marks[id.0 as usize];
        let changed = *marks & (CHANGED | BACKUP_CHANGED);
        *marks &= !(DIRTY | CHANGED | BACKUP_CHANGED);
        if self.dirty.is_empty() {
            // After a burst the list of a million must not stay.
            self.dirty.shrink_to(4096);
        }
        let news = match changed {
            0 => News::Nothing,
            BACKUP_CHANGED => News::Backup,
            _ => News::Chosen,
        };
        Some((id, news))
    }

    /// How many prefixes are dirty.
    pub(crate) fn dirty(&self) -> usize {
        self.dirty.len()
    }

    pub(crate) fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    pub(crate) fn is_dirty(&self, id: PrefixId) -> bool {
        self.marks[id.0 as usize] & DIRTY != 0
    }

    /// Whether paths were accepted and none has a next hop in reach, as last decided.
    pub(crate) fn set_unresolved(&mut self, id: PrefixId, unresolved: bool) {
        let marks = &mut self.marks[id.0 as usize];
        if unresolved != (*marks & UNRESOLVED != 0) {
            *marks ^= UNRESOLVED;
            self.unresolved = if unresolved { self.unresolved + 1 } else { self.unresolved - 1 };
        }
    }

    pub(crate) fn is_unresolved(&self, id: PrefixId) -> bool {
        self.marks[id.0 as usize] & UNRESOLVED != 0
    }

    /// How many prefixes are.
    pub(crate) fn unresolved(&self) -> usize {
        self.unresolved
    }

    /// Every number that has paths, from `from` on.
    pub(crate) fn occupied(&self, from: u32) -> impl Iterator<Item = PrefixId> {
        let rest = self.entries.iter().enumerate().skip(from as usize);
        rest.filter(|(_, paths)| !matches!(paths, Paths::None)).map(|(at, _)| PrefixId(at as u32))
    }
}

fn place<K>(keys: &mut Vec<K>, at: u32, key: K) {
    match keys.get_mut(at as usize) {
        Some(slot) => *slot = key,
        None => keys.push(key),
    }
}

fn hash_of(hasher: &DefaultHashBuilder, prefix: Prefix) -> u64 {
    match prefix {
        Prefix::V4(prefix) => hasher.hash_one(u64::from(u32::from(prefix.address())) << 8 | u64::from(prefix.length())),
        Prefix::V6(prefix) => hasher.hash_one((u128::from(prefix.address()), prefix.length())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_takes_16_bytes_and_a_prefix_with_one_path_24() {
        assert_eq!(size_of::<Path>(), 16);
        assert_eq!(size_of::<Paths>(), 24);
    }

    #[test]
    fn a_prefix_keeps_its_number_until_removed_and_the_number_is_used_again() {
        for texts in [["10.0.0.0/8", "10.0.0.0/16", "0.0.0.0/0"], ["fd00::/16", "fd00::/32", "::/0"]] {
            let [a, b, c] = texts.map(|text| text.parse::<Prefix>().unwrap());
            let mut table = Table::new(a.family());
            let (first, second) = (table.find_or_insert(a), table.find_or_insert(b));
            assert_eq!(table.find_or_insert(a), first);
            assert_eq!(table.prefix(second), b);
            table.remove(first);
            assert_eq!((table.find(a), table.len()), (None, 1));
            assert_eq!(table.find_or_insert(c), first);
            assert_eq!((table.prefix(first), table.end()), (c, 2));
        }
    }

    #[test]
    fn paths_stay_sorted_by_peer_and_path_id_from_none_to_many_and_back() {
        let mut paths = Paths::None;
        for (peer, path_id) in [(2, 0), (1, 7), (1, 3), (4, 0), (1, 5)] {
            let (peer, path_id) = (PeerId(peer), PathId(path_id));
            let at = paths.find(peer, path_id).unwrap_err();
            paths.insert(at, Path { peer, path_id, ..Path::default() });
        }
        let order: Vec<(u16, u32)> = paths.as_slice().iter().map(|path| (path.peer.0, path.path_id.0)).collect();
        assert_eq!(order, [(1, 3), (1, 5), (1, 7), (2, 0), (4, 0)]);
        assert_eq!(paths.of_peer(PeerId(1)), 0..3);
        assert_eq!(paths.of_peer(PeerId(3)), 4..4);
        while let Some(path) = paths.as_slice().first() {
            let at = paths.find(path.peer, path.path_id).unwrap();
            paths.remove(at);
        }
        assert!(matches!(paths, Paths::None));
    }

    #[test]
    fn a_prefix_marked_twice_is_decided_once_and_news_is_not_forgotten() {
        let mut table = Table::new(Family::Ipv4Unicast);
        let id = table.find_or_insert("10.0.0.0/8".parse().unwrap());
        table.mark(id, News::Chosen);
        table.mark(id, News::Backup);
        table.mark(id, News::Nothing);
        assert_eq!(table.take_dirty(), Some((id, News::Chosen)));
        assert_eq!(table.take_dirty(), None);
    }
}
