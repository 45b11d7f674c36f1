//! From best paths to desired routes: the one place that knows both (pure).
//!
//! [`Routes`] takes in best paths ([`Routes::take_in`]), how the kernel reaches their next hops ([`Routes::handle_reach`]) and
//! what this host has of its own ([`Routes::set_local`]), and [`Routes::plan`] says what to change in the kernel. Ask
//! [`Routes::unknown`] before, and answer it, so that no next hop is judged unseen.
//!
//! How a next hop is used is decided by `routes::judge`, in steps with a reason that a person is shown. Paths with the same ways
//! share one verdict, so that a next hop that changes is judged once, whatever number of routes follow it.

mod judge;
mod weights;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use bgp_proto::rib::{BestChange, BestPath};
use bgp_proto::types::{Interface, PeerId, Prefix};
use bgp_proto::wire::attributes::Attributes;
use bgp_proto::wire::tunnel::Tunnel;
use fib_sync::{Change, Hop, Reach, Route, Target, TunnelEnd};

use crate::config::OverlayMode;
pub use judge::Verdict;
use judge::judge;
use weights::weights;

/// What the translation depends on besides routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// When to tunnel.
    pub mode: OverlayMode,
    /// The UDP port of our own overlay device; `None`: there is no device, so nothing is tunnelled.
    pub overlay_port: Option<u16>,
}

/// One way to a prefix, as a path offers it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Way {
    /// The path's next hop; an IPv4-mapped one as IPv4.
    pub next_hop: IpAddr,
    /// The link that it is on, of a link-local one.
    pub link: Option<Interface>,
    /// The VXLAN tunnel that the path carries (RFC 9012).
    pub tunnel: Option<Offer>,
    /// The link bandwidth that the path carries, in octets a second.
    pub bandwidth: Option<u64>,
}

impl Way {
    /// The next hop for a person: `192.0.2.1`, `fe80::1%eth0`.
    #[must_use]
    pub fn shown(&self) -> String {
        match self.link {
            Some(link) => format!("{}%{link}", self.next_hop),
            None => self.next_hop.to_string(),
        }
    }
}

/// A VXLAN tunnel that another node offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Offer {
    /// Where it ends.
    pub end: TunnelEnd,
    /// The UDP port on which it listens.
    pub port: u16,
}

/// A way as it is used now, for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WayStatus {
    /// The way.
    pub way: Way,
    /// How it is used, and why.
    pub verdict: Verdict,
    /// Routes that have it.
    pub routes: usize,
}

/// All paths with the same ways, for prefixes of one family.
#[derive(Debug)]
struct Group {
    ways: Vec<Way>,
    v6: bool,
    users: usize,
    verdicts: Vec<Verdict>,
}

impl Group {
    /// Each usable way once, by its bandwidth if all of them have one; `None`: there is none.
    fn target(&self) -> Option<Target> {
        let mut hops: BTreeMap<Hop, Option<u64>> = BTreeMap::new();
        for (way, verdict) in self.ways.iter().zip(&self.verdicts) {
            let Some(hop) = &verdict.hop else { continue };
            let sum = |one: u64, other: u64| one.saturating_add(other);
            hops.entry(hop.clone())
                .and_modify(|known| *known = known.zip(way.bandwidth).map(|(one, other)| sum(one, other)))
                .or_insert(way.bandwidth);
        }
        let bandwidths: Option<Vec<u64>> = hops.values().copied().collect();
        let hops: Vec<Hop> = hops.into_keys().collect();
        match bandwidths.and_then(|bandwidths| weights(&bandwidths)) {
            _ if hops.is_empty() => None,
            Some(weights) => Some(Target::Weighted(hops.into_iter().zip(weights).collect())),
            None => Some(Target::Forward(hops)),
        }
    }
}

/// The translation.
#[derive(Debug)]
pub struct Routes {
    settings: Settings,
    /// What this host has of its own; it goes before any path.
    local: BTreeMap<Prefix, Target>,
    chosen: HashMap<Prefix, u32>,
    /// What is to be dropped (RFC 7999).
    discarded: HashSet<Prefix>,
    groups: Vec<Group>,
    /// Numbers of groups without users.
    free: Vec<u32>,
    numbers: HashMap<(bool, Vec<Way>), u32>,
    reach: HashMap<IpAddr, Reach>,
    /// On which ways depend and of which `reach` has nothing.
    unknown: BTreeSet<IpAddr>,
    /// Aggregates of our own: what is inside of them and has no route is not sent back to where it came from.
    aggregates: HashSet<Prefix>,
    dirty: Vec<Prefix>,
    /// What the last plans have put and not removed.
    placed: HashSet<Prefix>,
}

impl Routes {
    /// No routes.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            local: BTreeMap::new(),
            chosen: HashMap::new(),
            discarded: HashSet::new(),
            groups: Vec::new(),
            free: Vec::new(),
            numbers: HashMap::new(),
            reach: HashMap::new(),
            unknown: BTreeSet::new(),
            aggregates: HashSet::new(),
            dirty: Vec::new(),
            placed: HashSet::new(),
        }
    }

    /// Judges every way anew if the settings changed.
    pub fn set_settings(&mut self, settings: Settings) {
        if settings != self.settings {
            self.settings = settings;
            self.judge_again(|_| true);
        }
    }

    /// Everything that this host has of its own: an unreachable route for each block of pod addresses, so that nothing
    /// loops, and for each pod's address its device.
    pub fn set_local(&mut self, blocks: &[Prefix], pods: impl IntoIterator<Item = (IpAddr, String)>) {
        let mut local: BTreeMap<Prefix, Target> = blocks.iter().map(|block| (*block, Target::Unreachable)).collect();
        for (address, device) in pods {
            let bits = if address.is_ipv4() { 32 } else { 128 };
            local.extend(Prefix::new(address, bits).map(|prefix| (prefix, Target::Device(device))));
        }
        let changed = |prefix: &&Prefix| self.local.get(prefix) != local.get(prefix);
        let dirty: Vec<Prefix> = self.local.keys().chain(local.keys()).filter(changed).copied().collect();
        self.dirty.extend(dirty);
        self.local = local;
    }

    /// What [`bgp_proto::rib::Output::Best`] brought.
    pub fn take_in(&mut self, changes: &[BestChange]) {
        for change in changes {
            let discard = change.paths.first().is_some_and(|path| path.discard);
            let was_discarded = match discard {
                true => !self.discarded.insert(change.prefix),
                false => self.discarded.remove(&change.prefix),
            };
            let ours = change.paths.first().filter(|path| path.peer == PeerId::LOCAL);
            let aggregated = ours.is_some_and(|path| path.attributes.aggregator.is_some());
            let noted =
                if aggregated { self.aggregates.insert(change.prefix) } else { self.aggregates.remove(&change.prefix) };
            let learned = change.paths.iter().filter(|path| path.peer != PeerId::LOCAL && !discard);
            let mut ways: Vec<Way> = learned.map(|path| way(change.prefix, path)).collect();
            ways.sort_unstable();
            ways.dedup();
            let group = (!ways.is_empty()).then(|| self.group(change.prefix.address().is_ipv6(), ways));
            let before = match group {
                Some(group) => self.chosen.insert(change.prefix, group),
                None => self.chosen.remove(&change.prefix),
            };
            if let Some(before) = before {
                self.release(before);
            }
            if before != group || was_discarded != discard || noted {
                self.dirty.push(change.prefix);
            }
        }
    }

    /// The number of the group with these ways, which has one user more.
    fn group(&mut self, v6: bool, ways: Vec<Way>) -> u32 {
        let key = (v6, ways);
        if let Some(number) = self.numbers.get(&key) {
            self.groups[*number as usize].users += 1;
            return *number;
        }
        let ways = key.1.clone();
        let verdicts = self.verdicts(v6, &ways);
        let unknown = ways.iter().flat_map(addresses).filter(|address| !self.reach.contains_key(address));
        self.unknown.extend(unknown);
        let group = Group { ways, v6, users: 1, verdicts };
        let number = match self.free.pop() {
            Some(number) => {
                self.groups[number as usize] = group;
                number
            }
            None => {
                self.groups.push(group);
                u32::try_from(self.groups.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.numbers.insert(key, number);
        number
    }

    fn release(&mut self, number: u32) {
        let group = &mut self.groups[number as usize];
        group.users -= 1;
        if group.users == 0 {
            let ways = std::mem::take(&mut group.ways);
            group.verdicts.clear();
            self.numbers.remove(&(group.v6, ways));
            self.free.push(number);
        }
    }

    fn verdicts(&self, v6: bool, ways: &[Way]) -> Vec<Verdict> {
        ways.iter().map(|way| judge(way, v6, &self.settings, |address| self.reach.get(&address))).collect()
    }

    /// Addresses of which [`Routes::handle_reach`] must tell before the next plan, each once.
    #[must_use]
    pub fn unknown(&self) -> Vec<IpAddr> {
        self.unknown.iter().copied().collect()
    }

    /// How the kernel reaches these addresses now.
    pub fn handle_reach(&mut self, answers: impl IntoIterator<Item = (IpAddr, Reach)>) {
        let mut changed = HashSet::new();
        for (address, reach) in answers {
            self.unknown.remove(&address);
            if self.reach.get(&address) != Some(&reach) {
                self.reach.insert(address, reach);
                changed.insert(address);
            }
        }
        if !changed.is_empty() {
            self.judge_again(|way| addresses(way).any(|address| changed.contains(&address)));
        }
        self.forget_unused_reach();
    }

    /// A peer that names ever new next hops must not make this grow without bound.
    fn forget_unused_reach(&mut self) {
        if self.reach.len() > 1024 + 4 * (self.groups.len() - self.free.len()) {
            let used: HashSet<IpAddr> = self.groups.iter().flat_map(|group| &group.ways).flat_map(addresses).collect();
            self.reach.retain(|address, _| used.contains(address));
        }
    }

    /// Judges the ways that `concerned` picks, and marks the routes of groups of which the outcome changed.
    fn judge_again(&mut self, concerned: impl Fn(&Way) -> bool) {
        let mut changed = HashSet::new();
        for number in 0..self.groups.len() {
            let group = &self.groups[number];
            if !group.ways.iter().any(&concerned) {
                continue;
            }
            let verdicts = self.verdicts(group.v6, &group.ways);
            let before = self.groups[number].target();
            self.groups[number].verdicts = verdicts;
            if self.groups[number].target() != before {
                changed.insert(u32::try_from(number).unwrap_or(u32::MAX));
            }
        }
        if !changed.is_empty() {
            let concerned = self.chosen.iter().filter(|(_, group)| changed.contains(group)).map(|(prefix, _)| *prefix);
            self.dirty.extend(concerned);
        }
    }

    /// What to change in the kernel so that it holds what is desired now; planning again gives nothing.
    pub fn plan(&mut self) -> Vec<Change> {
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.sort_unstable();
        dirty.dedup();
        let mut changes = Vec::with_capacity(dirty.len());
        for prefix in dirty {
            if let Some(target) = self.desired(prefix) {
                self.placed.insert(prefix);
                changes.push(Change::Put(Route { prefix: prefix.into(), target, mtu: None, source: None }));
            } else if self.placed.remove(&prefix) {
                changes.push(Change::Remove(prefix.into()));
            }
        }
        changes
    }

    fn desired(&self, prefix: Prefix) -> Option<Target> {
        if let Some(target) = self.local.get(&prefix) {
            return Some(target.clone());
        }
        if self.discarded.contains(&prefix) {
            return Some(Target::Blackhole);
        }
        // RFC 4632 section 5.1, rule 2.
        if self.aggregates.contains(&prefix) {
            return Some(Target::Unreachable);
        }
        self.groups[*self.chosen.get(&prefix)? as usize].target()
    }

    /// Routes that have no usable way, and are therefore not handed to the kernel.
    #[must_use]
    pub fn pending(&self) -> Vec<(Prefix, Vec<(Way, Verdict)>)> {
        let mut pending: Vec<_> = self
            .chosen
            .iter()
            .filter(|(prefix, _)| !self.local.contains_key(prefix))
            .map(|(prefix, number)| (*prefix, &self.groups[*number as usize]))
            .filter(|(_, group)| group.verdicts.iter().all(|verdict| verdict.hop.is_none()))
            .map(|(prefix, group)| (prefix, group.ways.iter().cloned().zip(group.verdicts.iter().cloned()).collect()))
            .collect();
        pending.sort_unstable_by_key(|(prefix, _)| *prefix);
        pending
    }

    /// How many routes [`Routes::pending`] has.
    #[must_use]
    pub fn pending_count(&self) -> usize {
        let idle = |group: &&Group| group.verdicts.iter().all(|verdict| verdict.hop.is_none());
        self.groups.iter().filter(idle).map(|group| group.users).sum()
    }

    /// The ways of the route that BGP chose for this prefix, with how each is used.
    #[must_use]
    pub fn ways(&self, prefix: Prefix) -> Option<Vec<(Way, Verdict)>> {
        let group = &self.groups[*self.chosen.get(&prefix)? as usize];
        Some(group.ways.iter().cloned().zip(group.verdicts.iter().cloned()).collect())
    }

    /// Every way that some route has, by next hop, each once for each verdict.
    #[must_use]
    pub fn all_ways(&self) -> Vec<WayStatus> {
        let mut all: BTreeMap<(&Way, &str), WayStatus> = BTreeMap::new();
        for group in self.groups.iter().filter(|group| group.users > 0) {
            for (way, verdict) in group.ways.iter().zip(&group.verdicts) {
                let fresh = || WayStatus { way: way.clone(), verdict: verdict.clone(), routes: 0 };
                all.entry((way, &verdict.reason)).or_insert_with(fresh).routes += group.users;
            }
        }
        all.into_values().collect()
    }
}

/// The addresses on whose reach a way depends. A link-local next hop is on its link, whatever the kernel's routes say.
fn addresses(way: &Way) -> impl Iterator<Item = IpAddr> + use<> {
    let next_hop = Some(way.next_hop).filter(|_| way.link.is_none());
    [next_hop, way.tunnel.map(|offer| offer.end.endpoint)].into_iter().flatten()
}

/// A tunnel does not lead to its own end: its packets would go into it again.
fn way(prefix: Prefix, path: &BestPath) -> Way {
    let leads_out = |offer: &Offer| !covers(prefix, offer.end.endpoint);
    let (next_hop, link) = path.attributes.next_hop.gateway();
    Way {
        next_hop: next_hop.to_canonical(),
        link,
        tunnel: offer(&path.attributes).filter(leads_out),
        // Less than one octet is more than nothing.
        bandwidth: path.attributes.link_bandwidth().map(|bandwidth| (bandwidth as u64).max(1)),
    }
}

/// Whether the address lies in the prefix.
pub(crate) fn covers(prefix: Prefix, address: IpAddr) -> bool {
    let bits = if address.is_ipv4() { 32 } else { 128 };
    Prefix::new(address, bits).is_some_and(|host| prefix.contains(host))
}

/// The first VXLAN tunnel of the attribute; RFC 9012 section 6 leaves the choice to us.
fn offer(attributes: &Attributes) -> Option<Offer> {
    attributes.tunnels.iter().find_map(|tunnel| match tunnel {
        Tunnel::Vxlan { endpoint, vni, mac, udp_port, .. } => Some(Offer {
            end: TunnelEnd { endpoint: endpoint.to_canonical(), vni: *vni, mac: *mac },
            port: udp_port.unwrap_or(4789),
        }),
        Tunnel::IpIp { .. } | Tunnel::Unknown { .. } => None,
    })
}
