//! One small entry for each prefix that is wanted or there: 12 octets for IPv4, 24 for IPv6. A node may hold a million
//! routes, and what they share (where they lead) is stored elsewhere, by number.

use std::{
    hash::{BuildHasher, Hash},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use hashbrown::{DefaultHashBuilder, HashTable, hash_table};
use ipnetwork::IpNetwork;

use crate::{kernel_paths::KernelPathId, route::PathId};

/// What is wanted under one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// Nobody asked: a route of Linnet's is an earlier run's.
    Unasked,
    /// Nothing, and what is there of Linnet's goes, swept or not. Kept until it is gone.
    Gone,
    /// A route by this path.
    Path(PathId),
}

/// What is wanted and what is there of Linnet's under one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slot {
    /// 0: unasked, 1: gone, else a path's number and 2.
    want: u32,
    /// 0: nothing, else a kernel path's number and 1.
    have: u32,
}

impl Slot {
    pub(crate) fn want(self) -> Want {
        match self.want {
            0 => Want::Unasked,
            1 => Want::Gone,
            path => Want::Path(PathId(path - 2)),
        }
    }

    pub(crate) fn have(self) -> Option<KernelPathId> {
        self.have.checked_sub(1).map(KernelPathId)
    }

    pub(crate) fn set_want(&mut self, want: Want) {
        self.want = match want {
            Want::Unasked => 0,
            Want::Gone => 1,
            Want::Path(PathId(path)) => path + 2,
        };
    }

    pub(crate) fn set_have(&mut self, have: Option<KernelPathId>) {
        self.have = have.map_or(0, |KernelPathId(path)| path + 1);
    }
}

/// A prefix with its slot.
///
/// The length has eight bits of the second field, each number of the slot 28: paths have numbers without gaps, and 2^28 of
/// them would take a hundred times the memory of the routes that they serve.
#[derive(Clone, Copy, Debug)]
struct Entry<A> {
    address: A,
    /// In two halves, so that an entry needs no gap behind an IPv4 address.
    packed: [u32; 2],
}

/// Bits of a number of a slot.
const NUMBER: u32 = 28;

impl<A> Entry<A> {
    fn new(address: A, length: u8, slot: Slot) -> Self {
        let mut entry = Self { address, packed: [u32::from(length), 0] };
        entry.set_slot(slot);
        entry
    }

    fn packed(&self) -> u64 {
        u64::from(self.packed[1]) << 32 | u64::from(self.packed[0])
    }

    fn length(&self) -> u8 {
        self.packed[0] as u8
    }

    fn slot(&self) -> Slot {
        let number = |shift: u32| (self.packed() >> shift) as u32 & ((1 << NUMBER) - 1);
        Slot { want: number(8), have: number(8 + NUMBER) }
    }

    fn set_slot(&mut self, Slot { want, have }: Slot) {
        debug_assert!((want | have) >> NUMBER == 0, "a path's number has more than {NUMBER} bits");
        let packed = u64::from(self.length()) | u64::from(want) << 8 | u64::from(have) << (8 + NUMBER);
        self.packed = [packed as u32, (packed >> 32) as u32];
    }
}

/// All entries of one family.
#[derive(Debug)]
struct Entries<A> {
    entries: HashTable<Entry<A>>,
    hasher: DefaultHashBuilder,
}

impl<A> Default for Entries<A> {
    fn default() -> Self {
        Self { entries: HashTable::new(), hasher: DefaultHashBuilder::default() }
    }
}

impl<A: Copy + Eq + Hash> Entries<A> {
    fn get(&self, address: A, length: u8) -> Slot {
        let hash = self.hasher.hash_one((address, length));
        let found = self.entries.find(hash, |entry| (entry.address, entry.length()) == (address, length));
        found.map_or_else(Slot::default, Entry::slot)
    }

    fn visit<R>(&mut self, address: A, length: u8, visit: impl FnOnce(&mut Slot) -> R) -> R {
        let hasher = &self.hasher;
        let same = |entry: &Entry<A>| (entry.address, entry.length()) == (address, length);
        let hash_again = |entry: &Entry<A>| hasher.hash_one((entry.address, entry.length()));
        match self.entries.entry(hasher.hash_one((address, length)), same, hash_again) {
            hash_table::Entry::Occupied(mut entry) => {
                let mut slot = entry.get().slot();
                let result = visit(&mut slot);
                if slot == Slot::default() {
                    entry.remove();
                } else {
                    entry.get_mut().set_slot(slot);
                }
                result
            }
            hash_table::Entry::Vacant(entry) => {
                let mut slot = Slot::default();
                let result = visit(&mut slot);
                if slot != Slot::default() {
                    entry.insert(Entry::new(address, length, slot));
                }
                result
            }
        }
    }

    fn visit_all(&mut self, mut visit: impl FnMut(A, u8, &mut Slot)) {
        self.entries.retain(|entry| {
            let mut slot = entry.slot();
            visit(entry.address, entry.length(), &mut slot);
            entry.set_slot(slot);
            slot != Slot::default()
        });
    }

    fn iter(&self) -> impl Iterator<Item = (A, u8, Slot)> + '_ {
        self.entries.iter().map(|entry| (entry.address, entry.length(), entry.slot()))
    }
}

/// All slots that say anything.
#[derive(Debug, Default)]
pub(crate) struct Table {
    v4: Entries<u32>,
    v6: Entries<[u8; 16]>,
}

impl Table {
    pub(crate) fn get(&self, prefix: IpNetwork) -> Slot {
        match prefix {
            IpNetwork::V4(prefix) => self.v4.get(prefix.ip().into(), prefix.prefix()),
            IpNetwork::V6(prefix) => self.v6.get(prefix.ip().octets(), prefix.prefix()),
        }
    }

    /// Looks at a slot, or changes it, with one look-up. What then says nothing is let go.
    pub(crate) fn visit<R>(&mut self, prefix: IpNetwork, visit: impl FnOnce(&mut Slot) -> R) -> R {
        match prefix {
            IpNetwork::V4(prefix) => self.v4.visit(prefix.ip().into(), prefix.prefix(), visit),
            IpNetwork::V6(prefix) => self.v6.visit(prefix.ip().octets(), prefix.prefix(), visit),
        }
    }

    /// Visits every slot of one family.
    pub(crate) fn visit_all(&mut self, v6: bool, mut visit: impl FnMut(IpNetwork, &mut Slot)) {
        if v6 {
            self.v6.visit_all(|address, length, slot| visit(prefix6(address, length), slot));
        } else {
            self.v4.visit_all(|address, length, slot| visit(prefix4(address, length), slot));
        }
    }

    /// Every slot.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (IpNetwork, Slot)> + '_ {
        let v4 = self.v4.iter().map(|(address, length, slot)| (prefix4(address, length), slot));
        v4.chain(self.v6.iter().map(|(address, length, slot)| (prefix6(address, length), slot)))
    }
}

fn prefix4(address: u32, length: u8) -> IpNetwork {
    prefix(Ipv4Addr::from(address).into(), length)
}

fn prefix6(address: [u8; 16], length: u8) -> IpNetwork {
    prefix(Ipv6Addr::from(address).into(), length)
}

/// A length that was taken from a prefix is one.
fn prefix(address: IpAddr, length: u8) -> IpNetwork {
    IpNetwork::new(address, length).unwrap_or_else(|_| IpNetwork::from(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_takes_as_little_room_as_it_says() {
        assert_eq!(size_of::<Entry<u32>>(), 12);
        assert_eq!(size_of::<Entry<[u8; 16]>>(), 24);
    }

    #[test]
    fn the_parts_of_an_entry_do_not_run_into_each_other() {
        let most = (1 << NUMBER) - 1;
        for (length, want, have) in [(128, most, 0), (0, 0, most), (32, most, most), (255, 1, 2), (0, 0, 0)] {
            let entry = Entry::new((), length, Slot { want, have });
            assert_eq!((entry.length(), entry.slot()), (length, Slot { want, have }));
        }
    }

    #[test]
    fn what_is_stored_under_a_prefix_is_found_under_it_alone() {
        let mut table = Table::default();
        let all: Vec<IpNetwork> = [
            "0.0.0.0/0",
            "0.0.0.0/8",
            "10.0.0.0/8",
            "10.0.0.0/9",
            "255.255.255.255/32",
            "::/0",
            "fd00::/8",
            "fd00::/9",
        ]
        .iter()
        .map(|text| text.parse().expect("a prefix"))
        .collect();
        for (number, prefix) in (0..).zip(&all) {
            table.visit(*prefix, |slot| {
                slot.set_want(Want::Path(PathId(number)));
                slot.set_have(Some(KernelPathId(number)));
            });
        }
        for (number, prefix) in (0..).zip(&all) {
            let slot = table.get(*prefix);
            assert_eq!(
                (slot.want(), slot.have()),
                (Want::Path(PathId(number)), Some(KernelPathId(number))),
                "{prefix}"
            );
        }
        let mut listed: Vec<IpNetwork> = table.iter().map(|(prefix, _)| prefix).collect();
        listed.sort();
        let mut sorted = all.clone();
        sorted.sort();
        assert_eq!(listed, sorted);
        for prefix in all {
            table.visit(prefix, |slot| *slot = Slot::default());
        }
        assert_eq!(table.iter().count(), 0);
    }
}
