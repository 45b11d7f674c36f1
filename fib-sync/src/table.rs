//! One small entry for each prefix that is wanted or there: 16 octets for IPv4, 28 for IPv6. A node may hold a million
//! routes, and what they share (where they lead) is stored elsewhere, by number.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hashbrown::{HashMap, hash_map::Entry};
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

/// What is wanted and what is there of Linnet's under one key, packed.
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

/// An IPv6 prefix without gaps between its octets and its length.
type Key6 = ([u8; 16], u8);

/// All slots that say anything.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// By address and, in the lowest octet, length.
    v4: HashMap<u64, Slot>,
    v6: HashMap<Key6, Slot>,
}

impl Table {
    pub(crate) fn get(&self, prefix: IpNetwork) -> Slot {
        let slot = match prefix {
            IpNetwork::V4(prefix) => self.v4.get(&key4(prefix)),
            IpNetwork::V6(prefix) => self.v6.get(&(prefix.ip().octets(), prefix.prefix())),
        };
        slot.copied().unwrap_or_default()
    }

    /// Looks at a slot, or changes it, with one look-up. What then says nothing is let go.
    pub(crate) fn visit<R>(&mut self, prefix: IpNetwork, visit: impl FnOnce(&mut Slot) -> R) -> R {
        match prefix {
            IpNetwork::V4(prefix) => visit_entry(self.v4.entry(key4(prefix)), visit),
            IpNetwork::V6(prefix) => visit_entry(self.v6.entry((prefix.ip().octets(), prefix.prefix())), visit),
        }
    }

    /// Visits every slot of one family.
    pub(crate) fn visit_all(&mut self, v6: bool, mut visit: impl FnMut(IpNetwork, &mut Slot)) {
        if v6 {
            self.v6.retain(|key, slot| {
                visit(prefix6(*key), slot);
                *slot != Slot::default()
            });
        } else {
            self.v4.retain(|key, slot| {
                visit(prefix4(*key), slot);
                *slot != Slot::default()
            });
        }
    }

    /// Every slot.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (IpNetwork, Slot)> + '_ {
        let v4 = self.v4.iter().map(|(key, slot)| (prefix4(*key), *slot));
        v4.chain(self.v6.iter().map(|(key, slot)| (prefix6(*key), *slot)))
    }
}

fn visit_entry<K: std::hash::Hash + Eq, R>(
    entry: Entry<'_, K, Slot, impl std::hash::BuildHasher>,
    visit: impl FnOnce(&mut Slot) -> R,
) -> R {
    match entry {
        Entry::Occupied(mut entry) => {
            let result = visit(entry.get_mut());
            if *entry.get() == Slot::default() {
                entry.remove();
            }
            result
        }
        Entry::Vacant(entry) => {
            let mut slot = Slot::default();
            let result = visit(&mut slot);
            if slot != Slot::default() {
                entry.insert(slot);
            }
            result
        }
    }
}

fn key4(prefix: ipnetwork::Ipv4Network) -> u64 {
    u64::from(u32::from(prefix.ip())) << 8 | u64::from(prefix.prefix())
}

fn prefix4(key: u64) -> IpNetwork {
    prefix(Ipv4Addr::from((key >> 8) as u32).into(), key as u8)
}

fn prefix6((octets, length): Key6) -> IpNetwork {
    prefix(Ipv6Addr::from(octets).into(), length)
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
        assert_eq!(size_of::<(u64, Slot)>(), 16);
        assert_eq!(size_of::<(Key6, Slot)>(), 28);
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
