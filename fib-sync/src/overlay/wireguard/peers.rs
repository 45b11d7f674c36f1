//! The peers of the WireGuard device and the prefixes of each (its allowed IPs). By these the kernel chooses whom a packet is
//! encrypted for, and whether one that was decrypted may have come from there; the route only brings it to the device.
//!
//! A prefix is one peer's at a time: giving it to another takes it from the first, in one step. Everything on the device is
//! Linnet's, so that what nobody wants may go, once the routes of a family are complete.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
};

use ipnetwork::IpNetwork;

use super::{
    PublicKey,
    control::Control,
    wire::{FoundDevice, PeerChange},
};
use crate::{FibError, netlink::Refusal};

/// Nobody's key: prefixes are given to it to be rid of them, because kernels before 6.16 take prefixes away only with all of a
/// peer. It has no end point, so that nothing is ever sent to it.
const NOBODY: PublicKey = PublicKey(*b"linnet: prefixes on the way out.");
/// Between two keepalives that hold a session. WireGuard drops one after 180 seconds. Who began it begins the next when it sends
/// after 120 seconds, and when it hears something after 165: which leaves 15, whoever of the two sends keepalives.
const KEEPALIVE: u16 = 10;
/// Prefixes in one change of a peer's.
const CHUNK: usize = 512;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct There {
    /// Where this run wanted it to be when it last said so. The kernel follows a peer that moves, which is not undone.
    told: Option<SocketAddr>,
    /// Where the kernel had it last.
    seen: Option<SocketAddr>,
    /// How many prefixes it has.
    prefixes: usize,
    /// It has what Linnet gives no peer.
    strange: bool,
    /// Seconds between keepalives.
    keepalive: u16,
}

/// Peers and prefixes, wanted and there.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    /// Wanted: those that some path leads to, and where they are.
    ends: BTreeMap<PublicKey, SocketAddr>,
    /// Wanted: their own addresses, so that what comes from the hosts themselves is taken.
    hosts: HashMap<IpNetwork, PublicKey>,
    /// Addresses of hosts that are nobody's any more.
    stale: Vec<IpNetwork>,
    /// Wanted, where sessions are held: this node's own key.
    holder: Option<PublicKey>,
    there: HashMap<PublicKey, There>,
    allowed: HashMap<IpNetwork, PublicKey>,
    /// What the kernel refused, and why.
    refused: HashMap<PublicKey, String>,
    /// It was read before, so that what is new is somebody else's doing.
    known: bool,
}

impl Peers {
    /// Takes in what the kernel has. Returns the peers to which somebody else did something.
    pub(crate) fn read(&mut self, device: FoundDevice) -> Vec<PublicKey> {
        let before = std::mem::take(&mut self.there);
        let owned = std::mem::take(&mut self.allowed);
        let mut touched = Vec::new();
        for peer in device.peers {
            let known = before.get(&peer.key).copied();
            let there = There {
                // One that has lost its place is told again.
                told: known.and_then(|known| known.told).filter(|_| peer.endpoint.is_some()),
                seen: peer.endpoint,
                prefixes: peer.allowed.len(),
                strange: peer.strange,
                keepalive: peer.keepalive,
            };
            let is_same = |known: There| known.prefixes == there.prefixes && known.keepalive == there.keepalive;
            let same =
                known.is_some_and(is_same) && peer.allowed.iter().all(|prefix| owned.get(prefix) == Some(&peer.key));
            if peer.strange || self.known && !same {
                touched.push(peer.key);
            }
            self.allowed.extend(peer.allowed.into_iter().map(|prefix| (prefix, peer.key)));
            self.there.insert(peer.key, there);
        }
        if self.known {
            touched.extend(before.into_keys().filter(|key| !self.there.contains_key(key)));
        }
        self.known = true;
        touched
    }

    /// All peers that paths lead to. Where one key is said to be in two places, or one address to be of two keys, the greater
    /// counts, here as at every restart.
    pub(crate) fn want(&mut self, ends: impl Iterator<Item = (PublicKey, SocketAddr)>) {
        self.ends.clear();
        for (key, endpoint) in ends {
            let known = self.ends.entry(key).or_insert(endpoint);
            *known = endpoint.max(*known);
        }
        let hosts = self.ends.iter().map(|(key, endpoint)| (IpNetwork::from(endpoint.ip()), *key)).collect();
        let before = std::mem::replace(&mut self.hosts, hosts);
        self.stale.extend(before.into_keys().filter(|host| !self.hosts.contains_key(host)));
        self.refused.retain(|key, _| self.ends.contains_key(key));
    }

    /// Whether sessions with all peers are held while nothing is sent; `ours`: this node's key, if so.
    pub(crate) fn hold(&mut self, ours: Option<PublicKey>) {
        self.holder = ours;
    }

    /// One of two nodes is enough, and each knows which: were both to begin a session at the same moment, neither would come about
    /// before WireGuard begins anew after five seconds.
    fn keepalive(&self, key: PublicKey) -> u16 {
        if self.holder.is_some_and(|ours| ours < key) { KEEPALIVE } else { 0 }
    }

    /// What is wrong with a peer.
    pub(crate) fn complaint(&self, key: PublicKey) -> Option<&str> {
        self.refused.get(&key).map(String::as_str)
    }

    /// Every prefix that some peer has.
    pub(crate) fn allowed(&self) -> impl Iterator<Item = IpNetwork> + '_ {
        self.allowed.keys().copied()
    }

    /// Gives peers the prefixes that are to be theirs, before there are routes. `owner`: the peer that the route to a prefix
    /// leads to. `ends`: which peers there are, or where, may have changed.
    pub(crate) fn admit(
        &mut self,
        prefixes: &[IpNetwork],
        owner: impl Fn(IpNetwork) -> Option<PublicKey>,
        ends: bool,
        control: &mut Control,
    ) -> Result<(), FibError> {
        let changes = self.additions(prefixes, owner, ends);
        let refused = control.change(&changes)?;
        self.note(&changes, refused);
        Ok(())
    }

    fn additions(
        &self,
        prefixes: &[IpNetwork],
        owner: impl Fn(IpNetwork) -> Option<PublicKey>,
        ends: bool,
    ) -> Vec<PeerChange> {
        let mut puts: BTreeMap<PublicKey, HashSet<IpNetwork>> = BTreeMap::new();
        for prefix in prefixes {
            if let Some(key) = owner(*prefix).filter(|key| self.ends.contains_key(key))
                && self.allowed.get(prefix) != Some(&key)
            {
                puts.entry(key).or_default().insert(*prefix);
            }
        }
        if ends {
            for (host, key) in &self.hosts {
                if self.allowed.get(host) != Some(key) && owner(*host).is_none() {
                    puts.entry(*key).or_default().insert(*host);
                }
            }
            for (key, endpoint) in &self.ends {
                if self.there.get(key).is_none_or(|there| there.told != Some(*endpoint) || there.strange) {
                    puts.entry(*key).or_default();
                }
            }
        }
        let (mut changes, mut silent) = (Vec::new(), HashSet::new());
        for (key, mut prefixes) in puts {
            let there = self.there.get(&key).copied();
            let strange = there.is_some_and(|there| there.strange);
            if there.is_none() || strange {
                silent.insert(key);
            }
            if strange {
                // Made anew, which is the way to be rid of a preshared key that nobody announced.
                changes.push(PeerChange::Remove(key));
                prefixes.extend(self.allowed.iter().filter(|(_, owner)| **owner == key).map(|(prefix, _)| *prefix));
            }
            let wanted = self.ends.get(&key).copied();
            let misplaced = strange || there.is_none_or(|there| there.told != wanted && there.seen != wanted);
            let mut endpoint = wanted.filter(|_| misplaced);
            let prefixes: Vec<IpNetwork> = prefixes.into_iter().collect();
            let mut parts = prefixes.chunks(CHUNK);
            loop {
                let allowed = parts.next().unwrap_or_default().to_vec();
                changes.push(PeerChange::Put { key, endpoint: endpoint.take(), allowed });
                if parts.len() == 0 {
                    break;
                }
            }
        }
        let kept =
            |key: &PublicKey| self.there.get(key).filter(|_| !silent.contains(key)).map_or(0, |there| there.keepalive);
        let held = self.ends.keys().filter(|_| ends).map(|key| (*key, self.keepalive(*key)));
        changes.extend(
            held.filter(|(key, keepalive)| kept(key) != *keepalive)
                .map(|(key, keepalive)| PeerChange::Keepalive(key, keepalive)),
        );
        changes
    }

    /// Takes prefixes from peers that are not to have them, and removes peers that no path leads to, behind the routes.
    /// `keep`: a prefix is some route's, or may still be. `swept`: routes are complete.
    pub(crate) fn dismiss(
        &mut self,
        prefixes: &[IpNetwork],
        keep: impl Fn(IpNetwork) -> bool,
        ends: bool,
        swept: bool,
        control: &mut Control,
    ) -> Result<(), FibError> {
        let changes = self.removals(prefixes, keep, ends, swept);
        let refused = control.change(&changes)?;
        self.note(&changes, refused);
        Ok(())
    }

    fn removals(
        &mut self,
        prefixes: &[IpNetwork],
        keep: impl Fn(IpNetwork) -> bool,
        ends: bool,
        swept: bool,
    ) -> Vec<PeerChange> {
        let stale = std::mem::take(&mut self.stale);
        let mut out: HashMap<IpNetwork, PublicKey> = HashMap::new();
        let mut left: HashMap<PublicKey, usize> = HashMap::new();
        for prefix in prefixes.iter().chain(&stale) {
            let Some(key) = self.allowed.get(prefix) else { continue };
            if !keep(*prefix) && self.hosts.get(prefix) != Some(key) && out.insert(*prefix, *key).is_none() {
                let prefixes = self.there.get(key).map_or(0, |there| there.prefixes);
                let left = left.entry(*key).or_insert(prefixes);
                *left = left.saturating_sub(1);
            }
        }
        if !ends && out.is_empty() {
            return Vec::new();
        }
        let gone = self.there.iter().filter(|(key, there)| {
            // Its own address is no route's.
            let host = there.seen.map(|at| IpNetwork::from(at.ip()));
            let host = host.filter(|host| self.allowed.get(host) == Some(key) && !out.contains_key(host));
            let left = left.get(key).copied().unwrap_or(there.prefixes).saturating_sub(usize::from(host.is_some()));
            !self.ends.contains_key(key) && (swept || left == 0)
        });
        let gone: HashSet<PublicKey> = gone.map(|(key, _)| *key).collect();
        let (with_their_peer, out): (Vec<_>, Vec<_>) = out.into_iter().partition(|(_, key)| gone.contains(key));
        for (prefix, key) in with_their_peer {
            self.allowed.remove(&prefix);
            if let Some(there) = self.there.get_mut(&key) {
                there.prefixes = there.prefixes.saturating_sub(1);
            }
        }
        let mut changes: Vec<PeerChange> = gone.into_iter().map(PeerChange::Remove).collect();
        for part in out.chunks(CHUNK) {
            let allowed = part.iter().map(|(prefix, _)| *prefix).collect();
            changes.push(PeerChange::Put { key: NOBODY, endpoint: None, allowed });
        }
        if !out.is_empty() {
            changes.push(PeerChange::Remove(NOBODY));
        }
        changes
    }

    /// Changes were made, but for those that the kernel refused, by number.
    fn note(&mut self, changes: &[PeerChange], refused: Vec<(usize, Refusal)>) {
        let mut refused = refused.into_iter().peekable();
        for (number, change) in changes.iter().enumerate() {
            let key = change.key();
            if let Some((_, refusal)) = refused.next_if(|(refused, _)| *refused == number) {
                tracing::warn!(%key, %refusal, "the kernel refused a change of a WireGuard peer");
                self.refused.insert(key, refusal.to_string());
                continue;
            }
            self.refused.remove(&key);
            match change {
                PeerChange::Put { endpoint, allowed, .. } => self.put(key, *endpoint, allowed),
                PeerChange::Keepalive(_, seconds) => {
                    if let Some(there) = self.there.get_mut(&key) {
                        there.keepalive = *seconds;
                    }
                }
                PeerChange::Remove(_) => self.forget(key),
            }
        }
    }

    fn put(&mut self, key: PublicKey, endpoint: Option<SocketAddr>, allowed: &[IpNetwork]) {
        for prefix in allowed {
            let before = if key == NOBODY { self.allowed.remove(prefix) } else { self.allowed.insert(*prefix, key) };
            if let Some(there) = before.and_then(|before| self.there.get_mut(&before)) {
                there.prefixes = there.prefixes.saturating_sub(1);
            }
        }
        if key == NOBODY {
            return;
        }
        let there = self.there.entry(key).or_default();
        there.prefixes += allowed.len();
        there.seen = endpoint.or(there.seen);
        there.told = self.ends.get(&key).copied();
    }

    /// A peer is gone, and what it had with it.
    fn forget(&mut self, key: PublicKey) {
        let Some(mut there) = self.there.remove(&key) else { return };
        let host = there.seen.map(|at| IpNetwork::from(at.ip()));
        if let Some(host) = host.filter(|host| self.allowed.get(host) == Some(&key)) {
            self.allowed.remove(&host);
            there.prefixes = there.prefixes.saturating_sub(1);
        }
        // All prefixes are looked at only where more are left than were taken away one by one.
        if there.prefixes > 0 {
            self.allowed.retain(|_, owner| *owner != key);
        }
    }
}

#[cfg(test)]
#[path = "peers_tests.rs"]
mod tests;
