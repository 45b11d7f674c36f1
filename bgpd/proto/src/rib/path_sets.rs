//! What a group that takes several paths to one prefix (RFC 7911) is told of it: a set of paths, interned, so that a prefix
//! takes a word of four bytes here too and prefixes with the same paths share one set.
//!
//! Our path identifiers stand for where a path came from ([`PathIds`]), alike in every group and for every prefix. So two
//! paths of one prefix never have the same, a path keeps its own for as long as anybody is told it, and a set is shared.

use super::attrs::{Found, Interner};
use crate::types::{PathId, PeerId};

/// Our path identifiers: each stands for a peer and the identifier that this peer gave the path.
///
/// The only path of a peer has an identifier of the peer's number, so that after a restart it is the same if the peers are:
/// whoever kept our routes meanwhile is not told of another path in the place of this (RFC 7911 section 5). Identifiers of
/// others are given as they come, and given again when nobody is told of them any more.
#[derive(Debug, Default)]
pub(crate) struct PathIds(Interner<(PeerId, PathId), ()>);

impl PathIds {
    /// Above those that stand for a peer, which begin with 1.
    const GIVEN: u32 = 1 << 16;

    /// Ours for a path, with one more reference.
    pub(crate) fn acquire(&mut self, peer: PeerId, theirs: PathId) -> PathId {
        if theirs == PathId(0) {
            return PathId(u32::from(peer.0) + 1);
        }
        let key = (peer, theirs);
        let given = match self.0.acquire(&key) {
            Found::Id(id) => id,
            Found::Absent(vacancy) => self.0.insert(vacancy, key, ()),
        };
        PathId(Self::GIVEN + given)
    }

    pub(crate) fn retain(&mut self, ours: PathId) {
        if let Some(given) = ours.0.checked_sub(Self::GIVEN) {
            self.0.retain(given);
        }
    }

    pub(crate) fn release(&mut self, ours: PathId) {
        if let Some(given) = ours.0.checked_sub(Self::GIVEN) {
            self.0.release(given);
        }
    }

    /// Which path it stands for, as long as somebody holds a reference.
    pub(crate) fn path(&self, ours: PathId) -> Option<(PeerId, PathId)> {
        match ours.0.checked_sub(Self::GIVEN) {
            Some(given @ 1..) => self.0.get(given).map(|(path, ())| *path),
            Some(0) | None => Some((PeerId(u16::try_from(ours.0.checked_sub(1)?).ok()?), PathId(0))),
        }
    }

    /// Identifiers given, and in use.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// One path of a set: references to one of our path identifiers and to an advert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SetPath {
    pub(crate) path_id: PathId,
    pub(crate) advert: u32,
}

/// The sets of one family and group, each sorted by path identifier.
#[derive(Debug, Default)]
pub(crate) struct PathSets(Interner<Box<[SetPath]>, ()>);

impl PathSets {
    /// The paths of a set.
    pub(crate) fn get(&self, word: u32) -> &[SetPath] {
        self.0.get(word).map_or(&[], |(set, ())| set)
    }

    /// The word for a set that is not empty, with one more reference, and the paths whose references the caller must give
    /// back, because the set was there already and has its own.
    pub(crate) fn intern(&mut self, mut set: Vec<SetPath>) -> (u32, Box<[SetPath]>) {
        set.sort_unstable_by_key(|path| path.path_id);
        let set = set.into_boxed_slice();
        match self.0.acquire(&set) {
            Found::Id(word) => (word, set),
            Found::Absent(vacancy) => (self.0.insert(vacancy, set, ()), Box::default()),
        }
    }

    /// Sets in use.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn retain(&mut self, word: u32) {
        self.0.retain(word);
    }

    /// One reference less; with the last, the set, whose references are the caller's to give back.
    pub(crate) fn release(&mut self, word: u32) -> Box<[SetPath]> {
        self.0.release(word).map(|(set, ())| set).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_keeps_its_identifier_until_nobody_is_told_it() {
        let mut ids = PathIds::default();
        let [a, b] = [(PeerId(1), PathId(8)), (PeerId(1), PathId(7))];
        let (first, other) = (ids.acquire(a.0, a.1), ids.acquire(b.0, b.1));
        assert_ne!(first, other);
        assert_eq!(ids.acquire(a.0, a.1), first);
        ids.release(first);
        assert_eq!((ids.path(first), ids.path(other)), (Some(a), Some(b)));
        ids.release(first);
        assert_eq!((ids.path(first), ids.len()), (None, 1));
    }

    #[test]
    fn the_only_path_of_a_peer_has_an_identifier_of_its_own_for_ever() {
        let mut ids = PathIds::default();
        for peer in [PeerId(0), PeerId(7), PeerId::LOCAL] {
            let id = ids.acquire(peer, PathId(0));
            ids.release(id);
            assert_eq!((id, ids.path(id)), (PathId(u32::from(peer.0) + 1), Some((peer, PathId(0)))));
        }
        assert!(ids.acquire(PeerId::LOCAL, PathId(1)) > ids.acquire(PeerId::LOCAL, PathId(0)));
        assert_eq!((ids.path(PathId(0)), ids.len()), (None, 1));
    }

    #[test]
    fn equal_sets_share_a_word_whatever_order_their_paths_came_in() {
        let mut sets = PathSets::default();
        let path = |path_id| SetPath { path_id: PathId(path_id), advert: 9 };
        let (word, given_back) = sets.intern(vec![path(1), path(2)]);
        assert!(given_back.is_empty());
        let (again, given_back) = sets.intern(vec![path(2), path(1)]);
        assert_eq!((again, &*given_back), (word, &[path(1), path(2)][..]));
        assert!(sets.release(word).is_empty());
        assert_eq!(*sets.release(word), [path(1), path(2)]);
        assert!(sets.get(word).is_empty());
    }
}
