//! From best paths to desired routes: the one place that knows both (pure).
//!
//! [`Routes`] takes in best paths ([`Routes::take_in`]), how the kernel reaches their next hops ([`Routes::handle_reach`]) and
//! what this host has of its own ([`Routes::set_local`]), and [`Routes::plan`] says what to change in the kernel. Ask
//! [`Routes::unknown`] before, and answer it, so that no next hop is judged unseen.
//!
//! How a next hop is used is decided by `routes::judge`, in steps with a reason that a person is shown. Prefixes with the same
//! ways share one path of [`fib_sync`]'s, so that a next hop that changes is judged once and told once, whatever number of
//! routes follow it. Which path a prefix has is written in one place only, the engine's book: a border node has a million
//! of them.

mod defaults;
mod judge;
mod tracking;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use bgp_proto::rib::{BestChange, BestPath};
use bgp_proto::shares::Shares;
use bgp_proto::types::{Interface, PeerId, Prefix};
use bgp_proto::wire::attributes::Attributes;
use bgp_proto::wire::tunnel::Tunnel;
use fib_sync::{Change, Encapsulation, Path, PathId, PublicKey, Reach, Target, TunnelEnd, Weight};
use hashbrown::DefaultHashBuilder;

use crate::config::OverlayMode;
pub use defaults::Defaults;
pub use judge::Verdict;
use judge::judge;
pub(crate) use tracking::Tracking;

/// What the translation depends on besides routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// When to tunnel.
    pub mode: OverlayMode,
    /// Of our own overlay device; `None`: there is no device, so nothing is tunnelled.
    pub overlay: Option<Encapsulation>,
    /// Of a device of ours that is not wanted any more and stays for what others send into it until they have heard of that.
    pub lingering: Option<Encapsulation>,
    /// The overlay encrypts (WireGuard): with `always`, what leads to pods of other nodes goes encrypted or not at all.
    pub sealed: bool,
    /// Prefixes of pods; empty: see [`Way::pods`].
    pub cluster: Vec<Prefix>,
}

/// A next hop, with the link that it is on if it is link-local: two links may have the same address.
pub type Neighbour = (IpAddr, Option<Interface>);

/// One way to a prefix, as a path offers it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Way {
    /// The path's next hop; an IPv4-mapped one as IPv4.
    pub next_hop: IpAddr,
    /// The link that it is on, of a link-local one.
    pub link: Option<Interface>,
    /// The tunnels that the path carries (RFC 9012), the first of each encapsulation, in the path's order.
    pub tunnels: Vec<Offer>,
    /// The link bandwidth that the path carries, in octets a second.
    pub bandwidth: Option<u64>,
    /// It leads to pods of another node: the prefix lies in one of [`Settings::cluster`]; or, if that is empty, a node of our AS
    /// announces it (the AS path is empty) and it is more than one address.
    pub pods: bool,
    /// What filters set of the path; the sources are those of the best path, for all ways of a route.
    pub hints: bgp_proto::hints::Hints,
}

impl Way {
    /// When it goes by tunnel.
    fn mode(&self, settings: &Settings) -> OverlayMode {
        self.hints.overlay.unwrap_or(settings.mode)
    }

    /// It goes encrypted or not at all.
    fn is_sealed(&self, settings: &Settings) -> bool {
        settings.sealed && self.pods && self.mode(settings) == OverlayMode::Always
    }

    fn neighbour(&self) -> Neighbour {
        (self.next_hop, self.link)
    }

    /// The next hop for a person: `192.0.2.1`, `fe80::1%eth0`.
    #[must_use]
    pub fn shown(&self) -> String {
        match self.link {
            Some(link) => format!("{}%{link}", self.next_hop),
            None => self.next_hop.to_string(),
        }
    }

    /// The tunnel that counts for a node with this overlay: the one of its encapsulation, else the first, which then says
    /// why there is none.
    #[must_use]
    pub fn offer(&self, ours: Option<Encapsulation>) -> Option<Offer> {
        let fits = |offer: &&Offer| ours.is_some_and(|ours| ours.name() == offer.end().encapsulation());
        self.tunnels.iter().find(fits).or(self.tunnels.first()).copied()
    }
}

/// A tunnel that another node offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Offer {
    /// VXLAN.
    Vxlan {
        /// Where it ends.
        endpoint: IpAddr,
        /// The VNI there.
        vni: u32,
        /// The MAC address of the device there.
        mac: [u8; 6],
        /// The UDP port on which it listens.
        port: u16,
    },
    /// IP in IP.
    IpIp {
        /// Where it ends.
        endpoint: IpAddr,
    },
    /// WireGuard.
    WireGuard {
        /// Where it ends.
        endpoint: IpAddr,
        /// The UDP port on which it listens.
        port: u16,
        /// The public key there.
        key: PublicKey,
    },
}

impl Offer {
    /// `None`: of a kind that Linnet does not use.
    fn new(tunnel: &Tunnel) -> Option<Self> {
        match tunnel {
            Tunnel::Vxlan { endpoint, vni, mac, udp_port, .. } => Some(Self::Vxlan {
                endpoint: endpoint.to_canonical(),
                vni: *vni,
                mac: *mac,
                port: udp_port.unwrap_or(4789),
            }),
            Tunnel::IpIp { endpoint, .. } => Some(Self::IpIp { endpoint: endpoint.to_canonical() }),
            Tunnel::WireGuard { endpoint, key, udp_port, .. } => {
                Some(Self::WireGuard { endpoint: endpoint.to_canonical(), port: *udp_port, key: PublicKey(*key) })
            }
            Tunnel::Unknown { .. } => None,
        }
    }

    /// Where it ends, as the kernel's side names it.
    #[must_use]
    pub fn end(self) -> TunnelEnd {
        match self {
            Self::Vxlan { endpoint, vni, mac, .. } => TunnelEnd::Vxlan { endpoint, vni, mac },
            Self::IpIp { endpoint } => TunnelEnd::IpIp { endpoint },
            Self::WireGuard { endpoint, port, key } => TunnelEnd::WireGuard { endpoint, port, key },
        }
    }
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

/// What leads routes of one family somewhere: equal keys have one path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// Ways of BGP's, for prefixes of IPv6 or not, and the one that takes over from the only one.
    Ways { v6: bool, ways: Vec<Way>, backup: Option<Way> },
    /// This, whatever the kernel says.
    Fixed(Target),
}

/// A path of [`fib_sync`]'s, by its number.
#[derive(Debug, Default)]
struct Group {
    /// `None`: the number is free.
    key: Option<Key>,
    /// Of its ways.
    verdicts: Vec<Verdict>,
    /// Of its backup.
    backup: Option<Verdict>,
    /// What the engine was told of it.
    told: Option<Path>,
    /// The number of the last plan that gave it to a route.
    put: u64,
    /// Prefixes that would have it if this host had nothing of its own there.
    shadowed: usize,
    /// The engine has said that no route has it.
    unused: bool,
}

/// What the paths of a group depend on beside its ways.
#[derive(Debug, Default)]
struct Circumstances {
    defaults: Defaults,
    /// See [`Routes::set_dropped`].
    dropped: BTreeSet<Neighbour>,
}

impl Group {
    fn ways(&self) -> &[Way] {
        match &self.key {
            Some(Key::Ways { ways, .. }) => ways,
            Some(Key::Fixed(_)) | None => &[],
        }
    }

    /// Its ways and its backup.
    fn all_ways(&self) -> impl Iterator<Item = &Way> + Clone {
        let backup = match &self.key {
            Some(Key::Ways { backup, .. }) => backup.as_ref(),
            Some(Key::Fixed(_)) | None => None,
        };
        self.ways().iter().chain(backup)
    }

    /// What its routes are to be; `None`: they have no way that could be used. Where there is none to pods that are reached encrypted
    /// alone, packets for them must not take another route, such as the default route.
    fn path(&self, settings: &Settings, Circumstances { defaults, dropped }: &Circumstances) -> Option<Path> {
        let v6 = match &self.key {
            Some(Key::Fixed(target)) => return Some(target.clone().into()),
            Some(Key::Ways { v6, .. }) => *v6,
            None => return None,
        };
        let made = |target| defaults.path(target, v6, self.all_ways());
        let backup = self.backup.as_ref().and_then(|verdict| verdict.hop.clone());
        let idle = |verdicts: &[Verdict]| {
            let used = verdicts.iter().filter(|verdict| verdict.hop.is_some());
            used.filter_map(|verdict| verdict.idle_tunnel).min()
        };
        let by_dropped = self.ways().iter().any(|way| dropped.contains(&way.neighbour()));
        match (self.target().filter(|_| backup.is_none() || !by_dropped), backup) {
            (Some(target), backup) => {
                // Two next hops may be reached by one router.
                let backup = backup.filter(|backup| target.hops().all(|(hop, _)| hop != backup));
                Some(Path { backup, idle_tunnel: idle(&self.verdicts), ..made(target) })
            }
            (None, Some(backup)) => {
                let idle_tunnel = idle(self.backup.as_slice());
                Some(Path { idle_tunnel, ..made(Target::Forward(vec![backup])) })
            }
            (None, None) => self.ways().iter().any(|way| way.is_sealed(settings)).then(|| made(Target::Unreachable)),
        }
    }

    /// Each usable way once, by its bandwidth if all of them have one; `None`: there is none.
    fn target(&self) -> Option<Target> {
        let ways = self.ways().iter().zip(&self.verdicts);
        let Shares { hops, weights } =
            Shares::of(ways.filter_map(|(way, verdict)| Some((verdict.hop.clone()?, way.bandwidth))));
        let weights = weights.and_then(|weights| weights.into_iter().map(Weight::new).collect::<Option<Vec<Weight>>>());
        match weights {
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
    circumstances: Circumstances,
    /// What this host has of its own; it goes before any path.
    local: BTreeMap<Prefix, Target>,
    /// The path that BGP chose for a prefix of which this host has something of its own.
    shadowed: HashMap<Prefix, PathId>,
    /// By the number of the path.
    groups: Vec<Group>,
    free: Vec<PathId>,
    /// Asked for each change: with a hash that is short where nothing of it is in the processor's caches.
    numbers: HashMap<Key, PathId, DefaultHashBuilder>,
    reach: HashMap<IpAddr, Reach>,
    /// On which ways depend and of which `reach` has nothing.
    unknown: BTreeSet<IpAddr>,
    /// Paths of which the engine may have to be told.
    untold: BTreeSet<PathId>,
    /// Changes of routes that wait for the next plan.
    changes: Vec<Change>,
    /// The number of the next plan.
    plan: u64,
}

impl Routes {
    /// No routes.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            circumstances: Circumstances::default(),
            local: BTreeMap::new(),
            shadowed: HashMap::new(),
            groups: Vec::new(),
            free: Vec::new(),
            numbers: HashMap::default(),
            reach: HashMap::new(),
            unknown: BTreeSet::new(),
            untold: BTreeSet::new(),
            changes: Vec::new(),
            plan: 0,
        }
    }

    /// Judges every way anew if the settings changed.
    pub fn set_settings(&mut self, settings: Settings) {
        if settings != self.settings {
            self.settings = settings;
            self.judge_again(|_| true);
        }
    }

    /// What routes say beside where they lead; every path is told anew if it changed.
    pub fn set_defaults(&mut self, defaults: Defaults) {
        if defaults != self.circumstances.defaults {
            self.circumstances.defaults = defaults;
            self.judge_again(|_| true);
        }
    }

    /// Peers of which everything is dropped: while paths are decided anew, one after another, all routes that lead to them and
    /// have a backup use it. Whoever calls says again when that is over; a path that is still by such a peer, because another
    /// announces it too, is used again then.
    pub fn set_dropped(&mut self, dropped: BTreeSet<Neighbour>) {
        let before = std::mem::replace(&mut self.circumstances.dropped, dropped.clone());
        self.judge_again(|way| before.contains(&way.neighbour()) != dropped.contains(&way.neighbour()));
    }

    /// Prefixes of these of which this host has nothing of its own yet: what BGP chose for them is in the engine's book
    /// alone, and [`Routes::set_local`] has to know it.
    #[must_use]
    pub fn not_local(&self, local: &Local) -> Vec<Prefix> {
        local.0.keys().filter(|prefix| !self.local.contains_key(prefix)).copied().collect()
    }

    /// Everything that this host has of its own. `chosen` says the path that routes of [`Routes::not_local`] have now.
    pub fn set_local(&mut self, local: Local, chosen: &HashMap<Prefix, PathId>) {
        let before = std::mem::replace(&mut self.local, local.0);
        let changed: Vec<Prefix> = {
            let differs = |prefix: &&Prefix| before.get(prefix) != self.local.get(prefix);
            let all: BTreeSet<Prefix> = before.keys().chain(self.local.keys()).filter(differs).copied().collect();
            all.into_iter().collect()
        };
        for prefix in changed {
            if !before.contains_key(&prefix) {
                self.shadow(prefix, chosen.get(&prefix).copied());
            }
            match self.local.get(&prefix).cloned() {
                Some(target) => {
                    let path = self.group(Key::Fixed(target));
                    self.put(prefix, Some(path));
                }
                None => {
                    let chosen = self.shadowed.get(&prefix).copied();
                    self.put(prefix, chosen);
                    self.shadow(prefix, None);
                }
            }
        }
    }

    /// What [`bgp_proto::rib::Output::Best`] brought.
    pub fn take_in(&mut self, changes: &[BestChange]) {
        self.changes.reserve(changes.len());
        for change in changes {
            let path = self.key(change).map(|key| self.group(key));
            if self.local.contains_key(&change.prefix) {
                self.shadow(change.prefix, path);
            } else {
                self.put(change.prefix, path);
            }
        }
    }

    /// Where a route leads; `None`: there is none for the kernel.
    fn key(&self, change: &BestChange) -> Option<Key> {
        let best = change.paths.first()?;
        if best.discard {
            // RFC 7999.
            return Some(Key::Fixed(Target::Blackhole));
        }
        if best.peer == PeerId::LOCAL && best.attributes.aggregator.is_some() {
            // RFC 4632 section 5.1, rule 2: what is inside of an aggregate of our own and has no route is not sent back to
            // where it came from.
            return Some(Key::Fixed(Target::Unreachable));
        }
        let learned = change.paths.iter().filter(|path| path.peer != PeerId::LOCAL);
        let mut ways: Vec<Way> = learned.map(|path| way(change.prefix, path, &self.settings.cluster)).collect();
        // A route has one source: the best path's, which comes first.
        let first = ways.first().map(|way| way.hints).unwrap_or_default();
        ways.iter_mut().for_each(|way| (way.hints.source, way.hints.source6) = (first.source, first.source6));
        ways.sort_unstable();
        ways.dedup();
        let backup = change.backup.as_ref().filter(|path| ways.len() == 1 && !path.discard);
        let backup = backup.map(|path| {
            let mut backup = Way { bandwidth: None, ..way(change.prefix, path, &self.settings.cluster) };
            (backup.hints.source, backup.hints.source6) = (first.source, first.source6);
            backup
        });
        let v6 = change.prefix.address().is_ipv6();
        (!ways.is_empty()).then_some(Key::Ways { v6, ways, backup })
    }

    fn put(&mut self, prefix: Prefix, path: Option<PathId>) {
        match path {
            Some(path) => {
                let group = &mut self.groups[path.0 as usize];
                (group.put, group.unused) = (self.plan, false);
                self.changes.push(Change::Put(prefix.into(), path));
            }
            None => self.changes.push(Change::Remove(prefix.into())),
        }
    }

    /// Keeps in mind what BGP chose where this host has something of its own.
    fn shadow(&mut self, prefix: Prefix, path: Option<PathId>) {
        if let Some(path) = path {
            self.groups[path.0 as usize].shadowed += 1;
        }
        let before = match path {
            Some(path) => self.shadowed.insert(prefix, path),
            None => self.shadowed.remove(&prefix),
        };
        if let Some(before) = before {
            self.groups[before.0 as usize].shadowed -= 1;
            self.release(before);
        }
    }

    /// The path with this key, made if there is none.
    fn group(&mut self, key: Key) -> PathId {
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.groups.push(Group::default());
            PathId(u32::try_from(self.groups.len() - 1).unwrap_or(u32::MAX))
        });
        let (verdicts, backup) = self.verdicts(&key);
        let group = &mut self.groups[number.0 as usize];
        *group = Group { key: Some(key.clone()), verdicts, backup, told: group.told.take(), ..Group::default() };
        let unknown = group.all_ways().flat_map(addresses).filter(|address| !self.reach.contains_key(address));
        self.unknown.extend(unknown);
        self.untold.insert(number);
        self.numbers.insert(key, number);
        number
    }

    /// Takes in what the engine said of a plan, by its number: these paths have no route any more.
    pub fn handle_unused(&mut self, plan: u64, unused: &[PathId]) {
        for path in unused {
            if let Some(group) = self.groups.get_mut(path.0 as usize)
                && group.put <= plan
            {
                group.unused = true;
                self.release(*path);
            }
        }
    }

    /// Lets a path go that nobody has.
    fn release(&mut self, path: PathId) {
        let group = &mut self.groups[path.0 as usize];
        if group.unused
            && group.shadowed == 0
            && let Some(key) = group.key.take()
        {
            (group.verdicts, group.backup) = (Vec::new(), None);
            self.numbers.remove(&key);
            self.free.push(path);
            self.untold.insert(path);
        }
    }

    /// Of its ways, and of its backup.
    fn verdicts(&self, key: &Key) -> (Vec<Verdict>, Option<Verdict>) {
        match key {
            Key::Fixed(_) => (Vec::new(), None),
            Key::Ways { v6, ways, backup } => {
                let verdict = |way| judge(way, *v6, &self.settings, |address| self.reach.get(&address));
                (ways.iter().map(verdict).collect(), backup.as_ref().map(verdict))
            }
        }
    }

    /// Addresses of which [`Routes::handle_reach`] must tell before the next plan, each once.
    #[must_use]
    pub fn unknown(&self) -> Vec<IpAddr> {
        self.unknown.iter().copied().collect()
    }

    /// Whether there are any.
    #[must_use]
    pub fn has_unknown(&self) -> bool {
        !self.unknown.is_empty()
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
        // A peer that names ever new next hops must not make this grow without bound.
        if self.reach.len() > 1024 + 4 * (self.groups.len() - self.free.len()) {
            self.forget_unused_reach();
        }
    }

    /// Forgets how the kernel reaches what no way depends on: if one does later, [`Routes::unknown`] asks again.
    pub fn forget_unused_reach(&mut self) {
        let used: HashSet<IpAddr> = self.groups.iter().flat_map(Group::all_ways).flat_map(addresses).collect();
        self.reach.retain(|address, _| used.contains(address));
    }

    /// What is known of how the kernel reaches addresses on which ways depend or did.
    pub fn known_reach(&self) -> impl Iterator<Item = (IpAddr, &Reach)> {
        self.reach.iter().map(|(address, reach)| (*address, reach))
    }

    /// Judges the ways that `concerned` picks.
    fn judge_again(&mut self, concerned: impl Fn(&Way) -> bool) {
        for number in 0..self.groups.len() {
            let group = &self.groups[number];
            if let Some(key) = &group.key
                && group.all_ways().any(&concerned)
            {
                let (verdicts, backup) = self.verdicts(key);
                let group = &mut self.groups[number];
                (group.verdicts, group.backup) = (verdicts, backup);
                self.untold.insert(PathId(u32::try_from(number).unwrap_or(u32::MAX)));
            }
        }
    }

    /// What to change in the kernel so that it holds what is desired now, with the number of this plan; planning again
    /// gives nothing.
    pub fn plan(&mut self) -> (u64, Vec<Change>) {
        let mut changes = Vec::with_capacity(self.untold.len() + self.changes.len());
        for path in std::mem::take(&mut self.untold) {
            let group = &mut self.groups[path.0 as usize];
            let wanted = group.path(&self.settings, &self.circumstances);
            if group.told != wanted {
                group.told.clone_from(&wanted);
                changes.push(Change::Path(path, wanted));
            }
        }
        changes.append(&mut self.changes);
        self.plan += 1;
        (self.plan - 1, changes)
    }

    /// The ways of a path that BGP chose, with how each is used.
    #[must_use]
    pub fn ways(&self, path: PathId) -> Option<Vec<(Way, Verdict)>> {
        let group = self.groups.get(path.0 as usize)?;
        let ways = group.ways().iter().cloned().zip(group.verdicts.iter().cloned());
        Some(ways.collect()).filter(|ways: &Vec<_>| !ways.is_empty())
    }

    /// Paths of which BGP uses none, because no next hop is in reach, as the ways that they would be, each once.
    #[must_use]
    pub fn judge_unused(&self, prefix: Prefix, paths: &[BestPath]) -> Vec<(Way, Verdict)> {
        let v6 = prefix.address().is_ipv6();
        let mut ways: Vec<Way> = paths.iter().map(|path| way(prefix, path, &self.settings.cluster)).collect();
        ways.sort_unstable();
        ways.dedup();
        // Where very many are out of reach, not of all of them it is remembered why.
        let forgotten = Reach::Unreachable { error: "so it said when it was asked last".into() };
        let judged = |way| {
            let reach = |address| Some(self.reach.get(&address).unwrap_or(&forgotten));
            let verdict = judge(&way, v6, &self.settings, reach);
            (way, verdict)
        };
        ways.into_iter().map(judged).collect()
    }

    /// Every way that some route has, by next hop, each once for each verdict. `users`: how many routes each path has.
    #[must_use]
    pub fn all_ways(&self, users: &[(PathId, usize)]) -> Vec<WayStatus> {
        let mut all: BTreeMap<(&Way, &str), WayStatus> = BTreeMap::new();
        for (path, routes) in users {
            let Some(group) = self.groups.get(path.0 as usize) else { continue };
            for (way, verdict) in group.ways().iter().zip(&group.verdicts) {
                let fresh = || WayStatus { way: way.clone(), verdict: verdict.clone(), routes: 0 };
                all.entry((way, &verdict.reason)).or_insert_with(fresh).routes += routes;
            }
        }
        all.into_values().collect()
    }
}

/// What a host has of its own.
#[derive(Debug, Default)]
pub struct Local(BTreeMap<Prefix, Target>);

impl Local {
    /// An unreachable route for each block of pod addresses, so that nothing loops, and for each pod's address its device.
    pub fn new(blocks: &[Prefix], pods: impl IntoIterator<Item = (IpAddr, String)>) -> Self {
        let mut local: BTreeMap<Prefix, Target> = blocks.iter().map(|block| (*block, Target::Unreachable)).collect();
        for (address, device) in pods {
            let bits = if address.is_ipv4() { 32 } else { 128 };
            local.extend(Prefix::new(address, bits).map(|prefix| (prefix, Target::Device(device))));
        }
        Self(local)
    }
}

/// The addresses on whose reach a way depends. A link-local next hop is on its link, whatever the kernel's routes say.
fn addresses(way: &Way) -> impl Iterator<Item = IpAddr> + '_ {
    let next_hop = Some(way.next_hop).filter(|_| way.link.is_none());
    next_hop.into_iter().chain(way.tunnels.iter().map(|offer| offer.end().endpoint()))
}

/// A tunnel does not lead to its own end: its packets would go into it again.
fn way(prefix: Prefix, path: &BestPath, cluster: &[Prefix]) -> Way {
    let leads_out = |offer: &Offer| !covers(prefix, offer.end().endpoint());
    let (next_hop, link) = path.attributes.next_hop.gateway();
    let host = prefix.length() == if prefix.address().is_ipv4() { 32 } else { 128 };
    let ours = path.attributes.as_path.segments.is_empty() && !host;
    let inside = if cluster.is_empty() { ours } else { cluster.iter().any(|block| block.contains(prefix)) };
    Way {
        // What leads to the node itself is what tunnels go by.
        pods: inside && !covers(prefix, next_hop.to_canonical()),
        next_hop: next_hop.to_canonical(),
        link,
        tunnels: offers(&path.attributes).into_iter().filter(leads_out).collect(),
        bandwidth: path.bandwidth(),
        hints: path.attributes.hints.as_deref().copied().unwrap_or_default(),
    }
}

/// Whether the address lies in the prefix.
pub(crate) fn covers(prefix: Prefix, address: IpAddr) -> bool {
    let bits = if address.is_ipv4() { 32 } else { 128 };
    Prefix::new(address, bits).is_some_and(|host| prefix.contains(host))
}

/// The first tunnel of each encapsulation in the attribute; RFC 9012 section 6 leaves the choice to us.
fn offers(attributes: &Attributes) -> Vec<Offer> {
    let mut offers: Vec<Offer> = Vec::new();
    for offer in attributes.tunnels.iter().filter_map(Offer::new) {
        if offers.iter().all(|known| known.end().encapsulation() != offer.end().encapsulation()) {
            offers.push(offer);
        }
    }
    offers
}
