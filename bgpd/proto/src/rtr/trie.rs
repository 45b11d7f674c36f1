//! A trie of prefixes of one family with a list at each: paths without a branch are one node, nodes lie in one array.
//!
//! A node takes 20 bytes for IPv4 and 40 for IPv6, an item 12; branches without a list add at most one node for each
//! prefix.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::types::{Asn, Ipv4Prefix, Ipv6Prefix};

/// What a key of the trie can do.
pub(super) trait Key: Copy + Eq + Default {
    fn length(self) -> u8;
    /// Bit `at` from the left; `at` is below the number of bits of an address.
    fn bit(self, at: u8) -> usize;
    /// The longest prefix of both.
    fn common(self, other: Self) -> Self;
}

impl Key for Ipv4Prefix {
    fn length(self) -> u8 {
        Ipv4Prefix::length(self)
    }

    fn bit(self, at: u8) -> usize {
        (u32::from(self.address()) >> (31 - at) & 1) as usize
    }

    fn common(self, other: Self) -> Self {
        let (a, b) = (u32::from(self.address()), u32::from(other.address()));
        let same = ((a ^ b).leading_zeros() as u8).min(self.length()).min(other.length());
        Self::new(Ipv4Addr::from(a), same).unwrap_or_default()
    }
}

impl Key for Ipv6Prefix {
    fn length(self) -> u8 {
        Ipv6Prefix::length(self)
    }

    fn bit(self, at: u8) -> usize {
        (u128::from(self.address()) >> (127 - at) & 1) as usize
    }

    fn common(self, other: Self) -> Self {
        let (a, b) = (u128::from(self.address()), u128::from(other.address()));
        let same = ((a ^ b).leading_zeros() as u8).min(self.length()).min(other.length());
        Self::new(Ipv6Addr::from(a), same).unwrap_or_default()
    }
}

/// One item of a node's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) asn: Asn,
    pub(super) max_length: u8,
}

/// No node, or no item.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Node<K> {
    key: K,
    children: [u32; 2],
    /// The first item.
    list: u32,
}

/// See the file's head.
#[derive(Clone, Debug)]
pub(super) struct Trie<K> {
    nodes: Vec<Node<K>>,
    free_nodes: Vec<u32>,
    items: Vec<(Item, u32)>,
    free_items: Vec<u32>,
    root: u32,
}

impl<K> Default for Trie<K> {
    fn default() -> Self {
        Self { nodes: Vec::new(), free_nodes: Vec::new(), items: Vec::new(), free_items: Vec::new(), root: NONE }
    }
}

impl<K: Key> Trie<K> {
    /// Adds an item; whether it was not there.
    pub(super) fn insert(&mut self, key: K, item: Item) -> bool {
        let node = self.find_or_insert(key);
        let first = self.nodes[node as usize].list;
        if self.list(first).any(|known| known == item) {
            return false;
        }
        let entry = (item, first);
        let at = match self.free_items.pop() {
            Some(at) => {
                self.items[at as usize] = entry;
                at
            }
            None => {
                self.items.push(entry);
                (self.items.len() - 1) as u32
            }
        };
        self.nodes[node as usize].list = at;
        true
    }

    /// Removes an item; whether it was there.
    pub(super) fn remove(&mut self, key: K, item: Item) -> bool {
        // From the root down to the key's node.
        let mut way = Vec::new();
        let mut at = self.root;
        while at != NONE {
            way.push(at);
            let node = self.nodes[at as usize];
            if node.key == key {
                break;
            }
            if node.key.length() >= key.length() || node.key.common(key) != node.key {
                return false;
            }
            at = node.children[key.bit(node.key.length())];
        }
        if at == NONE || !self.unlink(at, item) {
            return false;
        }
        self.prune(&way);
        true
    }

    /// Every item at `key` and at what covers it, the shortest prefix first.
    pub(super) fn covering(&self, key: K) -> impl Iterator<Item = (K, Item)> {
        let mut at = self.root;
        let nodes = std::iter::from_fn(move || {
            let node = self.nodes.get(at as usize)?;
            if node.key.length() > key.length() || node.key.common(key) != node.key {
                return None;
            }
            at = if node.key.length() == key.length() { NONE } else { node.children[key.bit(node.key.length())] };
            Some(node)
        });
        nodes.flat_map(|node| self.list(node.list).map(|item| (node.key, item)))
    }

    fn list(&self, first: u32) -> impl Iterator<Item = Item> {
        let mut at = first;
        std::iter::from_fn(move || {
            let (item, next) = self.items.get(at as usize)?;
            at = *next;
            Some(*item)
        })
    }

    fn find_or_insert(&mut self, key: K) -> u32 {
        let (mut at, mut parent) = (self.root, None);
        loop {
            if at == NONE {
                let node = self.add(key, [NONE; 2]);
                self.hang(parent, node);
                return node;
            }
            let here = self.nodes[at as usize].key;
            if here == key {
                return at;
            }
            let common = here.common(key);
            if common == here {
                let side = key.bit(here.length());
                parent = Some((at, side));
                at = self.nodes[at as usize].children[side];
                continue;
            }
            // The key leaves the path to this node above it.
            let mut children = [NONE; 2];
            children[here.bit(common.length())] = at;
            let above = self.add(common, children);
            self.hang(parent, above);
            if common == key {
                return above;
            }
            let side = key.bit(common.length());
            let node = self.add(key, [NONE; 2]);
            self.nodes[above as usize].children[side] = node;
            return node;
        }
    }

    fn add(&mut self, key: K, children: [u32; 2]) -> u32 {
        let node = Node { key, children, list: NONE };
        match self.free_nodes.pop() {
            Some(at) => {
                self.nodes[at as usize] = node;
                at
            }
            None => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as u32
            }
        }
    }

    fn hang(&mut self, parent: Option<(u32, usize)>, node: u32) {
        match parent {
            Some((parent, side)) => self.nodes[parent as usize].children[side] = node,
            None => self.root = node,
        }
    }

    fn unlink(&mut self, node: u32, item: Item) -> bool {
        let (mut at, mut before) = (self.nodes[node as usize].list, NONE);
        while let Some((known, next)) = self.items.get(at as usize).copied() {
            if known == item {
                match before {
                    NONE => self.nodes[node as usize].list = next,
                    before => self.items[before as usize].1 = next,
                }
                self.free_items.push(at);
                return true;
            }
            (before, at) = (at, next);
        }
        false
    }

    /// Takes out the last node of `way` if nothing needs it any more, and then the one above.
    fn prune(&mut self, way: &[u32]) {
        for (depth, at) in way.iter().enumerate().rev() {
            let Node { children, list, .. } = self.nodes[*at as usize];
            let next = match children {
                _ if list != NONE => return,
                [NONE, NONE] => NONE,
                [only, NONE] | [NONE, only] => only,
                _ => return,
            };
            let parent = depth.checked_sub(1).map(|above| {
                let above = way[above];
                (above, usize::from(self.nodes[above as usize].children[1] == *at))
            });
            self.hang(parent, next);
            self.free_nodes.push(*at);
            if next != NONE {
                return;
            }
        }
        if self.root == NONE {
            // Empty: what a large table took goes back.
            *self = Self::default();
        }
    }
}
