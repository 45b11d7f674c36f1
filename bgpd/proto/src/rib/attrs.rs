//! Interned attributes: each distinct set is held once, hashed once, and named by a number of four bytes.
//!
//! [`Interner`] counts references, so that a set leaves with the last path that uses it. What an import filter makes of a
//! set is interned too ([`ImportKey`]): the result is worked out once for each policy, rule and set, and a path still
//! needs one number, from which both the original and the result are found.

use std::borrow::Cow;
use std::hash::{BuildHasher, Hash};
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::decision::Merit;
use super::packed::{Packed, Packer};
use super::path_sets::PathIds;
use super::resolvability::Unreachable;
use super::table::{Path, PathFlags};
use crate::filter::Accepted;
use crate::wire::attributes::Attributes;

/// Values with a key, counted and numbered from 1.
///
/// The hasher is seeded for each process: prefixes and attributes come from the network, and nobody there is to choose
/// ones that collide. Nothing is ever done in the order of the hashes, so this leaves the outcome deterministic.
#[derive(Debug)]
pub(crate) struct Interner<K, V> {
    slots: Vec<Slot<K, V>>,
    free: Vec<u32>,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

#[derive(Debug)]
struct Slot<K, V> {
    hash: ShortHash,
    references: u32,
    item: Option<(K, V)>,
}

/// Half of a hash: there are a hundred thousand slots, and their index is as good with it.
#[derive(Clone, Copy, Debug)]
struct ShortHash(u32);

impl ShortHash {
    /// As the index takes it, which looks at the uppermost bits too.
    fn spread(self) -> u64 {
        u64::from(self.0).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

impl<K, V> Default for Interner<K, V> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), index: HashTable::new(), hasher: DefaultHashBuilder::default() }
    }
}

/// What [`Interner::acquire`] found: a number, or that with which to insert.
pub(crate) enum Found {
    Id(u32),
    Absent(Vacancy),
}

/// The place of what was looked for and is not there.
pub(crate) struct Vacancy(ShortHash);

impl<K, V> Interner<K, V> {
    /// One more reference to the value with this key, if it is there.
    pub(crate) fn acquire(&mut self, key: &K) -> Found
    where
        K: Hash + Eq,
    {
        self.acquire_by(key, |known| known == key)
    }

    /// The same by something that hashes as the key does; `is` says whether a key is the one.
    pub(crate) fn acquire_by(&mut self, key: &impl Hash, is: impl Fn(&K) -> bool) -> Found {
        let hash = ShortHash(self.hasher.hash_one(key) as u32);
        let same = |&at: &u32| self.slots[at as usize].item.as_ref().is_some_and(|(known, _)| is(known));
        match self.index.find(hash.spread(), same) {
            Some(&at) => {
                self.slots[at as usize].references += 1;
                Found::Id(at + 1)
            }
            None => Found::Absent(Vacancy(hash)),
        }
    }

    /// Adds a value that [`Self::acquire`] did not find, with one reference.
    pub(crate) fn insert(&mut self, Vacancy(hash): Vacancy, key: K, value: V) -> u32 {
        let slot = Slot { hash, references: 1, item: Some((key, value)) };
        let at = match self.free.pop() {
            Some(at) => {
                self.slots[at as usize] = slot;
                at
            }
            None => {
                // By a quarter: twice as much room stands half empty, and copies are few beside what fills it.
                if self.slots.len() == self.slots.capacity() {
                    self.slots.reserve_exact(self.slots.len() / 4 + 16);
                }
                self.slots.push(slot);
                (self.slots.len() - 1) as u32
            }
        };
        let slots = &self.slots;
        self.index.insert_unique(hash.spread(), at, |&other| slots[other as usize].hash.spread());
        at + 1
    }

    /// One more reference.
    pub(crate) fn retain(&mut self, id: u32) {
        if let Some(slot) = self.slots.get_mut((id as usize).wrapping_sub(1)) {
            slot.references += 1;
        }
    }

    /// One reference less; what it named, if that was the last.
    pub(crate) fn release(&mut self, id: u32) -> Option<(K, V)> {
        let at = id.checked_sub(1)?;
        let slot = self.slots.get_mut(at as usize)?;
        slot.references = slot.references.saturating_sub(1);
        if slot.references > 0 {
            return None;
        }
        let item = slot.item.take()?;
        if let Ok(entry) = self.index.find_entry(slot.hash.spread(), |&other| other == at) {
            entry.remove();
        }
        self.free.push(at);
        Some(item)
    }

    pub(crate) fn get(&self, id: u32) -> Option<&(K, V)> {
        self.slots.get((id as usize).wrapping_sub(1))?.item.as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut V> {
        self.slots.get_mut((id as usize).wrapping_sub(1))?.item.as_mut().map(|(_, value)| value)
    }

    /// Every value with its number and key, in no order of meaning.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &K, &V)> {
        let items = self.slots.iter().zip(1..).filter_map(|(slot, id)| Some((id, slot.item.as_ref()?)));
        items.map(|(id, (key, value))| (id, key, value))
    }

    /// The same, to change values.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &K, &mut V)> {
        let items = self.slots.iter_mut().zip(1..).filter_map(|(slot, id)| Some((id, slot.item.as_mut()?)));
        items.map(|(id, (key, value))| (id, &*key, value))
    }

    /// One more than the largest number in use.
    pub(crate) fn end(&self) -> usize {
        self.slots.len() + 1
    }

    /// How many values there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }
}

/// A set of attributes in the store. As long as somebody holds a reference, the number stays the same set's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AttrId(pub(crate) u32);

/// What an import filter's result depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ImportKey {
    pub(crate) original: AttrId,
    /// Number of the import policy; never used again for another.
    pub(crate) policy: u32,
    /// `None`: no filter, or one that changes nothing.
    pub(crate) accepted: Option<Accepted>,
    /// Its peer has been away for longer than it restarts.
    pub(crate) long_lived: bool,
}

/// All attributes that paths and adverts use.
#[derive(Debug, Default)]
pub(crate) struct AttrStore {
    sets: Interner<Packed, Merit>,
    imports: Interner<ImportKey, AttrId>,
    packer: Packer,
    unreachable: Unreachable,
    /// The set that came last, or was last asked for with [`AttrStore::recent`].
    recent: Option<(AttrId, Arc<Attributes>)>,
    /// What we call paths towards peers that take several to one prefix.
    pub(crate) path_ids: PathIds,
}

impl AttrStore {
    /// The number of this set, with one more reference.
    pub(crate) fn intern(&mut self, attributes: &Attributes) -> AttrId {
        let packer = &mut self.packer;
        packer.pack(attributes);
        match self.sets.acquire_by(packer, |known| packer.is(known)) {
            Found::Id(id) => AttrId(id),
            Found::Absent(vacancy) => {
                let mut merit = Merit::of(attributes);
                merit.unreachable = self.unreachable.concerns(attributes.next_hop, &attributes.tunnels);
                AttrId(self.sets.insert(vacancy, packer.take(), merit))
            }
        }
    }

    /// The same, kept for [`AttrStore::recent`]: what has come is decided next.
    pub(crate) fn intern_recent(&mut self, attributes: &Arc<Attributes>) -> AttrId {
        let id = self.intern(attributes);
        self.recent = Some((id, attributes.clone()));
        id
    }

    /// Takes in which next hops are out of reach (`true`), or are no longer. By the number of a set: whether its next hop
    /// has changed by it.
    pub(crate) fn set_unreachable(&mut self, changes: &[(IpAddr, bool)]) -> Vec<bool> {
        self.unreachable.change(changes);
        let mut changed = vec![false; self.sets.end()];
        for (id, set, merit) in self.sets.iter_mut() {
            let unreachable = self.unreachable.concerns(set.next_hop(), set.tunnels());
            changed[id as usize] = std::mem::replace(&mut merit.unreachable, unreachable) != unreachable;
        }
        changed
    }

    /// Next hops that are out of reach.
    pub(crate) fn unreachable(&self) -> &Unreachable {
        &self.unreachable
    }

    /// Forgets those of them that no set has.
    pub(crate) fn forget_unreachable(&mut self) -> Vec<IpAddr> {
        self.unreachable.forget_unused(self.sets.iter().map(|(_, set, _)| set))
    }

    pub(crate) fn retain(&mut self, id: AttrId) {
        self.sets.retain(id.0);
    }

    pub(crate) fn release(&mut self, id: AttrId) {
        if self.sets.release(id.0).is_some() {
            // The number may soon be another set's.
            self.recent.take_if(|(recent, _)| *recent == id);
        }
    }

    /// The set, unpacked; it is there as long as the caller holds a reference.
    pub(crate) fn attributes(&self, id: AttrId) -> Option<Attributes> {
        self.sets.get(id.0).map(|(packed, _)| packed.unpack())
    }

    /// The same, not unpacked if it was taken in or asked for last.
    pub(crate) fn view(&self, id: AttrId) -> Option<Cow<'_, Attributes>> {
        match &self.recent {
            Some((recent, attributes)) if *recent == id => Some(Cow::Borrowed(attributes)),
            _ => self.attributes(id).map(Cow::Owned),
        }
    }

    /// The same, kept for the next question: prefixes that share a set mostly change together.
    pub(crate) fn recent(&mut self, id: AttrId) -> Option<Arc<Attributes>> {
        match &self.recent {
            Some((recent, attributes)) if *recent == id => Some(attributes.clone()),
            _ => {
                let attributes = Arc::new(self.attributes(id)?);
                self.recent = Some((id, attributes.clone()));
                Some(attributes)
            }
        }
    }

    pub(crate) fn merit(&self, id: AttrId) -> Option<Merit> {
        self.sets.get(id.0).map(|(_, merit)| *merit)
    }

    /// The number of an import's result, with one more reference; `transform` runs only the first time.
    pub(crate) fn import(&mut self, key: ImportKey, transform: impl FnOnce(&Attributes) -> Attributes) -> u32 {
        match self.imports.acquire(&key) {
            Found::Id(id) => id,
            Found::Absent(vacancy) => {
                let result = match self.attributes(key.original).map(|original| transform(&original)) {
                    Some(result) => self.intern(&result),
                    None => {
                        self.retain(key.original);
                        key.original
                    }
                };
                self.retain(key.original);
                self.imports.insert(vacancy, key, result)
            }
        }
    }

    /// What the path's peer sent.
    pub(crate) fn original(&self, path: &Path) -> AttrId {
        match self.imported(path) {
            Some((key, _)) => key.original,
            None => AttrId(path.attrs),
        }
    }

    /// The path's attributes behind the import filter.
    pub(crate) fn effective(&self, path: &Path) -> AttrId {
        match self.imported(path) {
            Some((_, result)) => *result,
            None => AttrId(path.attrs),
        }
    }

    fn imported(&self, path: &Path) -> Option<&(ImportKey, AttrId)> {
        path.flags.contains(PathFlags::TRANSFORMED).then(|| self.imports.get(path.attrs)).flatten()
    }

    /// Gives back the reference that a path held.
    pub(crate) fn release_path(&mut self, path: &Path) {
        if !path.flags.contains(PathFlags::TRANSFORMED) {
            self.release(AttrId(path.attrs));
        } else if let Some((key, result)) = self.imports.release(path.attrs) {
            self.release(key.original);
            self.release(result);
        }
    }

    /// Distinct sets held.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.sets.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::NextHop;
    use crate::wire::aspath::AsPath;
    use crate::wire::attributes::Origin;

    fn set(med: u32) -> Attributes {
        let mut attributes = Attributes::new(Origin::Igp, AsPath::default(), NextHop::V4([192, 0, 2, 1].into()));
        attributes.med = Some(med);
        attributes
    }

    #[test]
    fn equal_sets_have_one_number_until_the_last_reference_goes() {
        let mut store = AttrStore::default();
        let (first, again, other) = (store.intern(&set(1)), store.intern(&set(1)), store.intern(&set(2)));
        assert_eq!(first, again);
        assert_ne!(first, other);
        store.release(first);
        assert_eq!(store.attributes(first), Some(set(1)));
        store.release(first);
        assert_eq!(store.attributes(first), None);
        assert_eq!(store.len(), 1);
    }

    #[test]
    fn a_number_that_is_used_again_stands_for_the_new_set_at_once() {
        let mut store = AttrStore::default();
        let first = store.intern(&set(1));
        assert_eq!(store.recent(first).as_deref(), Some(&set(1)));
        assert!(matches!(store.view(first), Some(Cow::Borrowed(attributes)) if *attributes == set(1)));
        store.release(first);
        assert_eq!(store.recent(first), None);
        assert_eq!(store.view(first), None);
        assert_eq!(store.intern(&set(2)), first);
        assert_eq!(store.view(first), Some(Cow::Owned(set(2))));
        assert_eq!(store.recent(first).as_deref(), Some(&set(2)));
    }

    #[test]
    fn an_import_is_worked_out_once_and_takes_its_sets_with_it() {
        let mut store = AttrStore::default();
        let original = store.intern(&set(1));
        let key = ImportKey { original, policy: 7, accepted: None, long_lived: false };
        let id = store.import(key, |_| set(2));
        assert_eq!(store.import(key, |_| panic!("worked out twice")), id);
        store.release(original);
        let path = Path { attrs: id, flags: PathFlags::TRANSFORMED, ..Path::default() };
        assert_eq!(store.attributes(store.original(&path)), Some(set(1)));
        assert_eq!(store.attributes(store.effective(&path)), Some(set(2)));
        store.release_path(&path);
        assert_eq!(store.len(), 2);
        store.release_path(&path);
        assert_eq!(store.len(), 0);
    }
}
