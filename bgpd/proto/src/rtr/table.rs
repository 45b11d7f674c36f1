//! The VRPs that count, and what they say of a route (RFC 6811).

use super::caches::Changes;
use super::trie::{Item, Key, Trie};
use super::vrp::Vrp;
use crate::filter::Validation;
use crate::types::{Asn, Ipv4Prefix, Ipv6Prefix, Prefix};
use crate::wire::aspath::AsPath;

/// VRPs of both families, each once.
#[derive(Clone, Debug, Default)]
pub struct VrpTable {
    v4: Trie<Ipv4Prefix>,
    v6: Trie<Ipv6Prefix>,
    held: usize,
}

impl VrpTable {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Applies changes. What is there already, or is not there, is passed over.
    pub fn apply(&mut self, changes: &Changes) {
        changes.withdrawn.iter().for_each(|vrp| self.remove(*vrp));
        changes.announced.iter().for_each(|vrp| self.insert(*vrp));
    }

    /// Adds a VRP.
    pub fn insert(&mut self, vrp: Vrp) {
        let new = match vrp.prefix() {
            Prefix::V4(prefix) => self.v4.insert(prefix, item(vrp)),
            Prefix::V6(prefix) => self.v6.insert(prefix, item(vrp)),
        };
        self.held += usize::from(new);
    }

    fn remove(&mut self, vrp: Vrp) {
        let there = match vrp.prefix() {
            Prefix::V4(prefix) => self.v4.remove(prefix, item(vrp)),
            Prefix::V6(prefix) => self.v6.remove(prefix, item(vrp)),
        };
        self.held -= usize::from(there);
    }

    /// The state of a route to `prefix`. `origin`: the AS that originated it; `None` where the path ends with a set, which
    /// no VRP matches.
    #[must_use]
    pub fn validity(&self, prefix: Prefix, origin: Option<Asn>) -> Validation {
        match prefix {
            Prefix::V4(prefix) => judge(&self.v4, prefix, origin),
            Prefix::V6(prefix) => judge(&self.v6, prefix, origin),
        }
    }

    /// The state of a route with this path (RFC 6811 section 2). `local_as` is the origin of one that has not left our AS.
    #[must_use]
    pub fn validity_of(&self, prefix: Prefix, path: &AsPath, local_as: Asn) -> Validation {
        self.validity(prefix, if path.segments.is_empty() { Some(local_as) } else { path.origin() })
    }

    /// Whether any VRP covers `prefix`: its state can be other than not-found.
    #[must_use]
    pub fn covers(&self, prefix: Prefix) -> bool {
        self.validity(prefix, None) != Validation::NotFound
    }

    /// The VRPs that cover `prefix`, the shortest prefix first.
    #[must_use]
    pub fn covering(&self, prefix: Prefix) -> Vec<Vrp> {
        let vrp = |prefix, item: Item| Vrp::new(prefix, item.max_length, item.asn);
        match prefix {
            Prefix::V4(prefix) => {
                self.v4.covering(prefix).filter_map(|(key, item)| vrp(Prefix::V4(key), item)).collect()
            }
            Prefix::V6(prefix) => {
                self.v6.covering(prefix).filter_map(|(key, item)| vrp(Prefix::V6(key), item)).collect()
            }
        }
    }
}

fn item(vrp: Vrp) -> Item {
    Item { asn: vrp.asn(), max_length: vrp.max_length() }
}

fn judge<K: Key>(trie: &Trie<K>, key: K, origin: Option<Asn>) -> Validation {
    let mut state = Validation::NotFound;
    for (_, item) in trie.covering(key) {
        // AS 0 is in no path, so a VRP with it matches none (RFC 6483 section 4).
        if origin == Some(item.asn) && item.asn != Asn(0) && key.length() <= item.max_length {
            return Validation::Valid;
        }
        state = Validation::Invalid;
    }
    state
}
