//! Networks drawn from a seed: every usual shape, and only policies under which there is one stable state.
//!
//! What is left out, because two stable states (or none) would be right answers too:
//! * LOCAL_PREF that two ASes set against each other: it follows customer and provider (the lower AS number provides to the
//!   higher), after Gao and Rexford, "Stable Internet routing without global coordination" (2001), or nothing;
//! * MED that several routers of one AS would compare (RFC 3345): a neighbour hears one only if it is alone in its AS.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use bgp_proto::conduct::{Conduct, NextHopMode};
use bgp_proto::filter::community::{AnyCommunity, CommunityPattern};
use bgp_proto::filter::number::{Adjust, AsnRange, NumberMatch};
use bgp_proto::filter::{Condition, Filter, PrefixMatch, Rule, Set, SetNextHop, Source, Then, Validation};
use bgp_proto::rib::Drain;
use bgp_proto::rtr::Vrp;
use bgp_proto::session::Extensions;
use bgp_proto::types::{Asn, ClusterId, Family, FamilySet, HoldTime, NextHop, Prefix, RouterId};
use bgp_proto::wire::aspath::AsPath;
use bgp_proto::wire::attributes::{Aggregator, Attributes, Origin, UnknownAttribute};
use bgp_proto::wire::capability::AddPath;
use bgp_proto::wire::community::{Community, LargeCommunity};
use bgp_proto::wire::tunnel::Tunnel;
use bytes::Bytes;

use crate::random::Random;
use crate::relations;
use crate::topology::{LinkSpec, NodeId, NodeSpec, PeerSpec, Topology};

/// The shape of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One AS, everyone with everyone.
    Mesh,
    /// One AS, one route reflector with clients, and maybe an internal peer that is no client.
    Reflector,
    /// One AS, two reflectors that peer with each other, clients of one or of both.
    Reflectors,
    /// ASes in a row.
    Chain,
    /// ASes in a circle.
    Ring,
    /// Spines and leaves, each leaf an AS, the spines one AS or several.
    Clos,
    /// Some ASes of several routers, meshed or reflected inside.
    Mixed,
    /// Two or three routers and many routes.
    Big,
}

/// The stream of chance for [`Scenario::leave_out_extensions`].
const EXTENSIONS: u64 = 3;
/// The stream of chance for [`Scenario::keep_routes_longer`].
const RETENTION: u64 = 6;
/// The stream of chance for [`Scenario::shut_down_gracefully`].
const SHUTDOWN: u64 = 4;
/// The stream of chance for [`Scenario::add_paths`].
const ADD_PATH: u64 = 7;
/// The stream of chance for [`Scenario::leave_out_next_hops`].
const NEXT_HOPS: u64 = 6;

/// The stream of chance for who validates, and what.
const VALIDATION: u64 = 12;

/// The stream of chance for what filters have beyond prefixes and communities.
const RULES: u64 = 11;

/// A network to be, and the source of further policies and routes for it.
#[derive(Debug)]
pub struct Scenario {
    shape: Shape,
    /// LOCAL_PREF and exports follow customer and provider.
    tiers: bool,
    topology: Topology,
    /// What each node may originate.
    pools: Vec<Vec<Prefix>>,
    big: bool,
    /// A stream of its own, as the extensions have.
    rules: Random,
    /// Another, where some validate.
    validation: Option<Random>,
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tiers = if self.tiers { " in tiers" } else { "" };
        write!(f, "{:?}{tiers} of {}", self.shape, self.topology.nodes.len())
    }
}

/// Between two nodes of one AS, what each is to the other.
#[derive(Clone, Copy)]
enum Inside {
    /// Neither reflects to the other.
    Peers,
    /// The first reflects to the second.
    Client,
}

impl Scenario {
    /// The network of a seed.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        let mut random = Random::new(seed, 0);
        let shapes = [Shape::Mesh, Shape::Reflector, Shape::Reflectors, Shape::Chain, Shape::Ring, Shape::Clos];
        let shape = match random.below(100) {
            0..70 => random.pick(&shapes),
            70..94 => Shape::Mixed,
            94.. => Shape::Big,
        };
        let big = shape == Shape::Big;
        let mut scenario = Self {
            shape,
            tiers: random.percent(40),
            topology: Topology::default(),
            pools: Vec::new(),
            big,
            rules: Random::new(seed, RULES),
            validation: Some(Random::new(seed, VALIDATION)).filter(|random| random.clone().percent(40)),
        };
        scenario.lay_out(&mut random);
        scenario.fill(&mut random);
        scenario.leave_out_extensions(seed);
        scenario.shut_down_gracefully(seed);
        relations::relate(&mut scenario.topology, scenario.tiers, seed);
        scenario.add_paths(seed);
        scenario.leave_out_next_hops(seed);
        scenario.keep_routes_longer(seed);
        scenario.validate();
        scenario
    }

    /// As it is at the start.
    #[must_use]
    pub fn topology(&self) -> Topology {
        self.topology.clone()
    }

    /// Whether it has many routes.
    #[must_use]
    pub fn is_big(&self) -> bool {
        self.big
    }

    fn lay_out(&mut self, random: &mut Random) {
        match self.shape {
            Shape::Mesh => {
                let count = 2 + random.below(5);
                let nodes = self.nodes(random, count, |_| 64512);
                self.mesh(random, &nodes);
            }
            Shape::Reflector => {
                let count = 3 + random.below(5);
                let nodes = self.nodes(random, count, |_| 64512);
                for client in &nodes[1..nodes.len() - 1] {
                    self.inside(random, nodes[0], *client, Inside::Client);
                }
                let last = if random.percent(50) { Inside::Peers } else { Inside::Client };
                self.inside(random, nodes[0], nodes[nodes.len() - 1], last);
            }
            Shape::Reflectors => {
                let count = 4 + random.below(5);
                let nodes = self.nodes(random, count, |_| 64512);
                self.inside(random, nodes[0], nodes[1], Inside::Peers);
                if random.percent(40) {
                    self.topology.nodes[1].cluster_id = self.topology.nodes[0].cluster_id;
                }
                for client in &nodes[2..] {
                    let both = random.percent(60);
                    let one = random.below(2);
                    for reflector in [0, 1].into_iter().filter(|reflector| both || *reflector == one) {
                        self.inside(random, nodes[reflector], *client, Inside::Client);
                    }
                }
            }
            Shape::Chain | Shape::Ring => {
                let count = 3 + random.below(4);
                let nodes = self.nodes(random, count, |index| 65001 + index as u32 * 70_000);
                for pair in nodes.windows(2) {
                    self.outside(random, pair[0], pair[1]);
                }
                if self.shape == Shape::Ring {
                    self.outside(random, nodes[0], nodes[nodes.len() - 1]);
                }
            }
            Shape::Clos => {
                let one_as = random.percent(50);
                let asn = |index: usize| if one_as && index < 2 { 65000 } else { 65001 + index as u32 };
                let count = 4 + random.below(4);
                let nodes = self.nodes(random, count, asn);
                for leaf in &nodes[2..] {
                    self.outside(random, nodes[0], *leaf);
                    self.outside(random, nodes[1], *leaf);
                }
            }
            Shape::Mixed => self.lay_out_mixed(random),
            Shape::Big => {
                let external = random.percent(50);
                let asn = |index: usize| if external { 65001 + index as u32 } else { 64512 };
                let count = 2 + random.below(2);
                let nodes = self.nodes(random, count, asn);
                for (at, node) in nodes.iter().enumerate() {
                    for other in &nodes[at + 1..] {
                        if external {
                            self.outside(random, *node, *other);
                        } else {
                            self.inside(random, *node, *other, Inside::Peers);
                        }
                    }
                }
            }
        }
    }

    /// Two to four ASes of one to three routers, with links between many of their routers.
    fn lay_out_mixed(&mut self, random: &mut Random) {
        let sizes: Vec<usize> = (0..2 + random.below(3)).map(|_| 1 + random.below(3)).collect();
        let of: Vec<usize> =
            sizes.iter().enumerate().flat_map(|(group, size)| std::iter::repeat_n(group, *size)).take(8).collect();
        let nodes = self.nodes(random, of.len(), |index| 65001 + of[index] as u32);
        let groups: Vec<Vec<NodeId>> = (0..sizes.len())
            .map(|group| nodes.iter().copied().filter(|node| of[node.index()] == group).collect())
            .collect();
        for group in &groups {
            if group.len() == 3 && random.percent(50) {
                self.inside(random, group[0], group[1], Inside::Client);
                self.inside(random, group[0], group[2], Inside::Client);
            } else {
                self.mesh(random, group);
            }
        }
        for (at, group) in groups.iter().enumerate() {
            for other in groups[at + 1..].iter().filter(|other| !other.is_empty() && !group.is_empty()) {
                let mut pairs: Vec<(NodeId, NodeId)> =
                    group.iter().flat_map(|a| other.iter().map(move |b| (*a, *b))).collect();
                random.shuffle(&mut pairs);
                for (a, b) in pairs.into_iter().take(1 + random.below(2)) {
                    self.outside(random, a, b);
                }
            }
        }
    }

    fn nodes(&mut self, random: &mut Random, count: usize, asn: impl Fn(usize) -> u32) -> Vec<NodeId> {
        // In another order than the nodes', so that lowest identifier, lowest address and first node are not the same.
        let (mut ids, mut hosts): (Vec<u8>, Vec<u8>) = ((1..=count as u8).collect(), (1..=count as u8).collect());
        random.shuffle(&mut ids);
        random.shuffle(&mut hosts);
        for index in 0..count {
            let router_id = Ipv4Addr::new(10, 0, 0, ids[index]);
            self.topology.nodes.push(NodeSpec {
                asn: Asn(asn(index)),
                router_id: RouterId(router_id),
                cluster_id: ClusterId(router_id),
                address4: Ipv4Addr::new(192, 0, 2, hosts[index]),
                address6: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, hosts[index].into()),
                max_paths: random.pick(&[1, 1, 2, 4]),
                graceful_restart: random.percent(50).then(|| 20 + random.below(100) as u16),
                deferral: random.between(Duration::from_secs(20), Duration::from_secs(90)),
                notification: false,
                long_lived: 0,
                vrps: None,
                drain: Drain::Off,
                aggregates: Vec::new(),
                originated: BTreeMap::new(),
                peers: BTreeMap::new(),
            });
        }
        self.topology.ids().collect()
    }

    fn mesh(&mut self, random: &mut Random, nodes: &[NodeId]) {
        for (at, node) in nodes.iter().enumerate() {
            for other in &nodes[at + 1..] {
                self.inside(random, *node, *other, Inside::Peers);
            }
        }
    }

    fn inside(&mut self, random: &mut Random, a: NodeId, b: NodeId, relation: Inside) {
        self.join(random, a, b);
        if let (Inside::Client, Some(peer)) = (relation, self.topology.nodes[a.index()].peers.get_mut(&b)) {
            peer.client = true;
        }
    }

    fn outside(&mut self, random: &mut Random, a: NodeId, b: NodeId) {
        self.join(random, a, b);
    }

    /// A link with a session.
    fn join(&mut self, random: &mut Random, a: NodeId, b: NodeId) {
        // A handshake must fit into the least time that a session gives a connection attempt, 3.75 s.
        let delays = [(0, 1_000), (5_000, 50_000), (300_000, 1_200_000)];
        let (least, most) = if self.big { delays[0] } else { random.pick(&delays) };
        let delay = random.between(Duration::from_micros(least), Duration::from_micros(most));
        let windows = if self.big { [1 << 14, 1 << 16, 1 << 18] } else { [512, 4096, 1 << 16] };
        self.topology.links.push(LinkSpec {
            ends: [a, b],
            over_ipv6: random.percent(30),
            delay,
            jitter: delay.mul_f64(random.pick(&[0.0, 0.1, 0.5])),
            reader_lag: Duration::from_millis(random.pick(&[0, 1, 100])),
            window: random.pick(&windows),
        });
        let hold_times: [HoldTime; 2] = [(); 2].map(|()| {
            let seconds = if self.big { 180 } else { random.pick(&[9, 30, 90, 180]) };
            HoldTime::from_seconds(seconds).unwrap_or_default()
        });
        let all: FamilySet = Family::ALL.into_iter().collect();
        let mut families = [all; 2];
        if random.percent(20) {
            families[random.below(2)].remove(random.pick(&Family::ALL));
        }
        let passive = random.percent(20).then(|| random.below(2));
        for (side, (node, peer)) in [(a, b), (b, a)].into_iter().enumerate() {
            let spec = PeerSpec {
                families: families[side],
                hold_time: hold_times[side],
                passive: passive == Some(side),
                client: false,
                add_path: AddPath::NONE,
                conduct: next_hop(random.percent(20)),
                graceful_shutdown: true,
                add_path_most: 16,
                segment: false,
                extensions: Extensions::default(),
                import: None,
                export: None,
            };
            self.topology.nodes[node.index()].peers.insert(peer, spec);
        }
    }

    /// Some neighbours speak what RFC 4271 speaks and no more. A stream of its own, so that the seeds of old, some of which
    /// have found something once, go on to stand for the same networks.
    fn leave_out_extensions(&mut self, seed: u64) {
        let mut random = Random::new(seed, EXTENSIONS);
        for peer in self.topology.nodes.iter_mut().flat_map(|node| node.peers.values_mut()) {
            peer.extensions = Extensions {
                enhanced_refresh: random.percent(80),
                extended_messages: random.percent(70),
                ..peer.extensions
            };
        }
    }

    /// Some take no IPv6 next hops for IPv4 prefixes (RFC 8950), which changes what is sent where sessions run over IPv6.
    fn leave_out_next_hops(&mut self, seed: u64) {
        let mut random = Random::new(seed, NEXT_HOPS);
        for peer in self.topology.nodes.iter_mut().flat_map(|node| node.peers.values_mut()) {
            peer.extensions.extended_next_hop = random.percent(80);
        }
    }

    /// Some nodes keep routes across NOTIFICATIONs.
    fn keep_routes_longer(&mut self, seed: u64) {
        let mut random = Random::new(seed, RETENTION);
        for node in &mut self.topology.nodes {
            node.notification = random.percent(70);
        }
        for node in &mut self.topology.nodes {
            node.long_lived = if random.percent(60) { 10 + random.below(300) as u32 } else { 0 };
        }
    }

    /// Some nodes know who may originate what.
    fn validate(&mut self) {
        for node in self.topology.ids() {
            let known = (0..12).filter_map(|_| self.vrp()).collect();
            let validates = self.validation.as_mut().is_some_and(|random| random.percent(75));
            self.topology.nodes[node.index()].vrps = validates.then_some(known);
        }
    }

    /// Somebody, who may be the right one, may originate something; `None`: nobody validates.
    pub fn vrp(&mut self) -> Option<Vrp> {
        let random = self.validation.as_mut()?;
        let holder = random.below(self.topology.nodes.len());
        let pool = &self.pools[holder];
        let prefix = pool.get(random.below(pool.len().min(16)))?;
        let origin = if random.percent(50) { holder } else { random.below(self.topology.nodes.len()) };
        Vrp::new(*prefix, prefix.length(), self.topology.nodes[origin].asn)
    }

    /// A VRP, when in the course of events somebody hears of it, and whether that is rather that an old one is gone.
    pub fn vrp_news(&mut self) -> Option<(Vrp, f64, bool)> {
        let vrp = loop {
            if let Some(vrp) = self.vrp() {
                break vrp;
            }
            if self.validation.is_none() || self.pools.iter().all(Vec::is_empty) {
                return None;
            }
        };
        let random = self.validation.as_mut()?;
        Some((vrp, random.below(1000) as f64 / 1000.0, random.percent(40)))
    }

    /// Rules that ask for the state: they refuse by it, or tag.
    fn judge(&mut self, rules: &mut Vec<Rule>) {
        let Some(random) = &mut self.validation else { return };
        for _ in 0..random.below(3) {
            let conditions = vec![Condition::Validation(vec![random.pick(&Validation::ALL)])];
            let (mut set, mut then) = (Set::default(), Then::Reject);
            if random.percent(60) {
                let tag: Option<AnyCommunity> = random.pick(&["65000:1", "65000:3:1", "rt:65000:1"]).parse().ok();
                set.add_communities.extend(tag);
                then = Then::Next;
            }
            rules.push(Rule { conditions, set, then, ..Rule::default() });
        }
    }

    /// Some routes are about to go, which either everybody honours or nobody: two neighbours of different opinions could have
    /// two stable states.
    fn shut_down_gracefully(&mut self, seed: u64) {
        let mut random = Random::new(seed, SHUTDOWN);
        let honoured = random.percent(75);
        for node in &mut self.topology.nodes {
            node.peers.values_mut().for_each(|peer| peer.graceful_shutdown = honoured);
            for route in node.originated.values_mut().filter(|_| random.percent(10)) {
                let mut communities = route.communities.to_vec();
                communities.push(Community::GRACEFUL_SHUTDOWN);
                communities.sort_unstable();
                route.communities = communities.into();
            }
        }
    }

    /// Some neighbours send several paths to one prefix, or take them. A stream of its own, as above.
    ///
    /// More than one at a time only within one AS, where the originator tells paths of one neighbour apart: between ASes
    /// nothing does but the path identifier, and which path gets the lower one depends on which came first.
    fn add_paths(&mut self, seed: u64) {
        let mut random = Random::new(seed, ADD_PATH);
        let one_as = self.is_one_as();
        for peer in self.topology.nodes.iter_mut().flat_map(|node| node.peers.values_mut()) {
            peer.add_path = AddPath { send: random.percent(60), receive: random.percent(60) };
            peer.add_path_most = if one_as { random.pick(&[1, 2, 16]) } else { 1 };
        }
    }

    fn is_one_as(&self) -> bool {
        self.topology.nodes.iter().all(|node| node.asn == self.topology.nodes[0].asn)
    }

    /// Filters and routes, once it is known who is whose neighbour.
    fn fill(&mut self, random: &mut Random) {
        let shared: Vec<Prefix> = ["0.0.0.0/0", "10.200.0.0/16", "10.200.1.0/24", "2001:db8:200::/48", "::/0"]
            .into_iter()
            .filter_map(|text| text.parse().ok())
            .collect();
        for node in self.topology.ids() {
            let many = if self.big && node.0 == 0 { 9_000 + random.below(3_000) } else { random.below(8) };
            let mut pool: Vec<Prefix> = (0..many).filter_map(|number| own_prefix(node, number)).collect();
            pool.extend(shared.iter().filter(|_| random.percent(30)));
            self.pools.push(pool);
            let peers: Vec<NodeId> = self.topology.node(node).peers.keys().copied().collect();
            for peer in peers {
                let (import, export) = self.filters(random, node, peer);
                if let Some(known) = self.topology.nodes[node.index()].peers.get_mut(&peer) {
                    (known.import, known.export) = (import, export);
                }
            }
        }
        for node in self.topology.ids() {
            let prefixes = self.pools[node.index()].clone();
            let wanted = if self.big { 95 } else { 70 };
            for prefix in prefixes.into_iter().filter(|_| random.percent(wanted)).collect::<Vec<_>>() {
                let attributes = self.attributes(random, prefix);
                self.topology.nodes[node.index()].originated.insert(prefix, attributes);
            }
        }
    }

    /// Some prefixes of a node with attributes, for it to originate.
    pub fn routes(&mut self, random: &mut Random, node: NodeId) -> Vec<(Prefix, Attributes)> {
        let prefixes = self.some_prefixes(random, node);
        prefixes.into_iter().map(|prefix| (prefix, self.attributes(random, prefix))).collect()
    }

    /// Some prefixes that a node may originate.
    pub fn some_prefixes(&mut self, random: &mut Random, node: NodeId) -> Vec<Prefix> {
        let pool = &self.pools[node.index()];
        let (share, some) = if self.big { (random.pick(&[1, 20, 100]), pool.len()) } else { (50, 4) };
        let start = random.below(pool.len());
        pool.iter().cycle().skip(start).take(some.min(pool.len())).copied().filter(|_| random.percent(share)).collect()
    }

    fn attributes(&self, random: &mut Random, prefix: Prefix) -> Attributes {
        let ourselves = random.percent(80);
        let next_hop = match prefix.family() {
            Family::Ipv4Unicast if ourselves => NextHop::V4(Ipv4Addr::UNSPECIFIED),
            Family::Ipv4Unicast => NextHop::V4(Ipv4Addr::new(192, 0, 2, 250)),
            Family::Ipv6Unicast if ourselves => NextHop::V6 { global: Ipv6Addr::UNSPECIFIED, link_local: None },
            Family::Ipv6Unicast => {
                NextHop::V6 { global: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 250), link_local: None }
            }
        };
        let origin = random.pick(&[Origin::Igp, Origin::Igp, Origin::Igp, Origin::Egp, Origin::Incomplete]);
        let mut route = Attributes::new(origin, AsPath::default(), next_hop);
        let one_as = self.is_one_as();
        let no_inside = self.topology.links.iter().all(|link| !self.is_inside(link.ends));
        if one_as || no_inside {
            route.med = random.percent(30).then(|| random.below(3) as u32);
        }
        if one_as {
            route.local_pref = random.percent(30).then(|| 50 + 50 * random.below(3) as u32);
        }
        let mut communities: Vec<Community> =
            (0..random.below(3)).map(|_| Community(65000 << 16 | random.below(4) as u32)).collect();
        if random.percent(5) {
            communities.push(random.pick(&[Community::NO_EXPORT, Community::NO_ADVERTISE]));
        }
        if self.big {
            // Every route in an UPDATE of its own, and no small one, so that a slow reader is far behind.
            communities.extend((0..40).map(|_| Community(random.bits() as u32 & 0x7fff_ffff)));
        }
        communities.sort_unstable();
        communities.dedup();
        route.communities = communities.into();
        route.atomic_aggregate = random.percent(10);
        if random.percent(10) {
            route.aggregator = Some(Aggregator { asn: Asn(4_200_000_001), router_id: RouterId([10, 9, 9, 9].into()) });
        }
        if random.percent(10) {
            route.large_communities = [LargeCommunity { global: 65000, local1: 1, local2: 2 }].into();
        }
        if random.percent(10) {
            let endpoint = Ipv4Addr::new(192, 0, 2, 250).into();
            let mac = [2, 0, 0, 0, 0, random.below(256) as u8];
            route.tunnels = [Tunnel::Vxlan { endpoint, vni: 4096, mac, udp_port: None, other: Bytes::new() }].into();
        }
        if random.percent(5) {
            route.unknown = [UnknownAttribute { code: 200, value: Bytes::from_static(b"from the future") }].into();
        }
        route
    }

    fn is_inside(&self, [a, b]: [NodeId; 2]) -> bool {
        self.topology.node(a).asn == self.topology.node(b).asn
    }

    /// Another policy of a node for a neighbour.
    pub fn policy(&mut self, random: &mut Random, node: NodeId, peer: NodeId) -> Option<PeerSpec> {
        let mut policy = self.topology.peer(node, peer)?.clone();
        (policy.import, policy.export) = self.filters(random, node, peer);
        policy.conduct.next_hop = next_hop(random.percent(30)).next_hop;
        policy.client ^= random.percent(20) && self.is_inside([node, peer]);
        if self.is_one_as() {
            // Without chance, so that no other draw is another.
            policy.add_path_most = policy.add_path_most * 2 % 31;
        }
        Some(policy)
    }

    /// Filters of a node for a neighbour: import and export.
    fn filters(
        &mut self,
        random: &mut Random,
        node: NodeId,
        peer: NodeId,
    ) -> (Option<Arc<Filter>>, Option<Arc<Filter>>) {
        let external = !self.is_inside([node, peer]);
        let (ours, theirs) = (self.topology.node(node).asn, self.topology.node(peer).asn);
        let mut import = self.refusals(random);
        let mut export = self.refusals(random);
        let mut taken = self.set(random);
        let mut given = self.set(random);
        // A tag that nobody else sets says that a route came from a provider.
        let from_provider = Community(ours.0 << 16 | 0xfff0);
        if external && self.tiers {
            let provider = theirs < ours;
            taken.local_pref = Some(if provider { 90.into() } else { 200.into() });
            if provider {
                taken.add_communities.push(from_provider.into());
                export.insert(0, Rule::reject(vec![is(from_provider)]));
            }
        }
        if external {
            given.prepend = random.pick(&[0, 0, 0, 1, 2]);
            let alone = self.topology.nodes.iter().filter(|other| other.asn == theirs).count() == 1;
            given.med = (alone && random.percent(40)).then(|| Adjust::To(random.below(3) as u32));
        }
        self.enrich([&mut import, &mut export], [&mut taken, &mut given], node, peer);
        import.push(Rule { set: taken, ..Rule::accept(vec![]) });
        export.push(Rule { set: given, ..Rule::accept(vec![]) });
        let filter = |name: &str, rules| Some(Arc::new(Filter { name: name.to_owned(), rules }));
        let (import, export) = (filter("in", import), filter("out", export));
        // RFC 8212: an external peer without filters hears and says nothing; an internal one everything.
        let without = if external { 4 } else { 60 };
        (import.filter(|_| !random.percent(without)), export.filter(|_| !random.percent(without)))
    }

    /// What filters can beyond prefixes and communities: rules of every kind of condition, some of which tag or untag a route
    /// and go on, and changes of every kind that leave one stable state.
    fn enrich(&mut self, rules: [&mut Vec<Rule>; 2], sets: [&mut Set; 2], node: NodeId, peer: NodeId) {
        let external = !self.is_inside([node, peer]);
        let alone = self.topology.links.iter().all(|link| !self.is_inside(link.ends));
        let [import, export] = rules;
        let [taken, given] = sets;
        for rules in [import, export] {
            for _ in 0..self.rules.below(4) {
                let (conditions, except) = (self.conditions(node), self.rules.percent(30));
                let except = if except { self.conditions(node) } else { Vec::new() };
                let (set, then) = match self.rules.percent(25) {
                    true => (Set::default(), Then::Reject),
                    false => (self.tags(), Then::Next),
                };
                // Behind what hides a provider's routes from other providers.
                rules.push(Rule { conditions, except, set, then });
            }
            self.judge(rules);
        }
        if self.shape == Shape::Mesh && self.rules.percent(30) {
            taken.weight = Some(self.rules.below(3) as u32);
        }
        if let Some(Adjust::To(preference)) = taken.local_pref {
            // The same in other words.
            if self.rules.percent(50) {
                let up = preference > 100;
                taken.local_pref = Some(if up { Adjust::Up(preference - 100) } else { Adjust::Down(100 - preference) });
            }
            if alone && self.rules.percent(50) {
                taken.weight = Some(preference);
            }
        }
        if let Some(Adjust::To(med)) = given.med
            && self.rules.percent(50)
        {
            given.med = Some(Adjust::Up(med));
        }
        if external {
            if self.rules.percent(20) {
                given.next_hop = Some(self.rules.pick(&[SetNextHop::Own, SetNextHop::Unchanged]));
            }
            if self.rules.percent(15) {
                given.prepend_as = vec![self.topology.node(node).asn; 1 + self.rules.below(2)];
            }
        }
        if self.rules.percent(15) {
            given.link_bandwidth = ["10G", "25G", "400M"][self.rules.below(3)].parse().ok();
        }
        if self.rules.percent(10) {
            given.replace_communities.push(LargeCommunity { global: 65000, local1: 9, local2: 9 }.into());
        }
    }

    fn conditions(&mut self, node: NodeId) -> Vec<Condition> {
        let any = NodeId(self.rules.below(self.topology.nodes.len()) as u16);
        let other = self.topology.node(any);
        let (asn, address) = (other.asn, other.address4);
        let neighbours: Vec<NodeId> = self.topology.node(node).peers.keys().copied().collect();
        let second = self.topology.nodes[self.rules.below(self.topology.nodes.len())].asn;
        let pattern = match self.rules.below(6) {
            0 => format!("^{asn}"),
            1 => format!("{asn}$"),
            2 => format!("{asn}"),
            3 => "^.{1,2}$".to_owned(),
            4 => "^$".to_owned(),
            _ => format!("^{asn} .* {second}$"),
        };
        let condition = match self.rules.below(12) {
            0 => Condition::Prefix(own_prefix(any, self.rules.below(8)).map(PrefixMatch::exact).into_iter().collect()),
            1 => Condition::Family(vec![self.rules.pick(&Family::ALL)]),
            2 | 3 => Condition::AsPath(pattern.parse().into_iter().collect()),
            4 => Condition::AsPathLength(NumberMatch { ge: self.rules.below(3) as u32, le: 3 }),
            5 => Condition::OriginAs(vec![AsnRange::from(asn)]),
            6 => Condition::NeighborAs(vec![AsnRange::from(asn)]),
            7 => {
                let texts = ["65000:*", "65000:2", "65000:*:9", "rt:*", "lb:*", "*"];
                Condition::Community(self.rules.pick(&texts).parse().into_iter().collect())
            }
            8 => Condition::NextHop(Prefix::new(address.into(), 32).into_iter().collect()),
            9 => Condition::Peer(vec![neighbours[self.rules.below(neighbours.len())].to_string()]),
            10 => Condition::Origin(vec![self.rules.pick(&[Origin::Igp, Origin::Egp, Origin::Incomplete])]),
            _ => Condition::Source(vec![self.rules.pick(&Source::ALL)]),
        };
        if self.rules.percent(15) { Vec::new() } else { vec![condition] }
    }

    /// Tags that no other rule relies on, to add and to remove.
    fn tags(&mut self) -> Set {
        let mut set = Set::default();
        let tags = ["65000:1", "65000:2", "65000:3:1", "rt:65000:1", "lb:65000:1G"];
        let tag: Option<AnyCommunity> = self.rules.pick(&tags).parse().ok();
        let gone: Option<CommunityPattern> =
            self.rules.pick(&["65000:*", "65000:1", "65000:*:*", "rt:*", "lb:*"]).parse().ok();
        if self.rules.percent(60) {
            set.add_communities.extend(tag);
        }
        if self.rules.percent(40) {
            set.remove_communities.extend(gone);
        }
        set
    }

    fn refusals(&self, random: &mut Random) -> Vec<Rule> {
        let mut rules = Vec::new();
        if random.percent(15) {
            rules.push(Rule::reject(vec![is(Community(65000 << 16 | random.below(4) as u32))]));
        }
        if random.percent(15) {
            let node = NodeId(random.below(self.topology.nodes.len()) as u16);
            let prefixes = own_prefix(node, random.below(8)).map(PrefixMatch::exact).into_iter().collect();
            rules.push(Rule::reject(vec![Condition::Prefix(prefixes)]));
        }
        rules
    }

    fn set(&self, random: &mut Random) -> Set {
        let mut set = Set::default();
        if random.percent(20) {
            set.add_communities.push(Community(65000 << 16 | random.below(4) as u32).into());
        }
        if random.percent(10) {
            let large = LargeCommunity { global: 65000, local1: 3, local2: random.below(2) as u32 };
            set.add_communities.push(large.into());
        }
        set
    }
}

/// A route has this community.
fn is(community: Community) -> Condition {
    Condition::Community(vec![CommunityPattern::exactly(community.into())])
}

/// With ourselves as the next hop, or not.
fn next_hop(own: bool) -> Conduct {
    Conduct { next_hop: if own { NextHopMode::Own } else { NextHopMode::Auto }, ..Conduct::default() }
}

/// A prefix that no other node has.
fn own_prefix(node: NodeId, number: usize) -> Option<Prefix> {
    if node.0 == 0 && number >= 8 {
        let [.., b, c, d] = (number as u32).to_be_bytes();
        return Prefix::new(Ipv4Addr::new(100 + b, c, d, 0).into(), 24);
    }
    let (host, number) = (node.0 as u8, number as u8);
    if number % 2 == 0 {
        Prefix::new(Ipv4Addr::new(10, host, number, 0).into(), 24)
    } else {
        Prefix::new(Ipv6Addr::new(0x2001, 0xdb8, host.into(), number.into(), 0, 0, 0, 0).into(), 64)
    }
}
