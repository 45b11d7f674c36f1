//! Networks drawn from a seed: every usual shape, and only policies under which there is one stable state.
//!
//! What is left out, because two stable states (or none) would be right answers too:
//! * LOCAL_PREF that two ASes set against each other: it follows customer and provider (the lower AS number provides to the
//!   higher), after Gao and Rexford, "Stable Internet routing without global coordination" (2001), or nothing;
//! * MED that several routers of one AS would compare (RFC 3345): a neighbour hears one only if it is alone in its AS.

mod policies;
mod shape;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use bgp_proto::bfd;
use bgp_proto::conduct::{Conduct, DefaultOriginate, NextHopMode};
use bgp_proto::rtr::Vrp;
use bgp_proto::session::{Extensions, SendHoldTime};
use bgp_proto::types::{Asn, Family, NextHop, Prefix, RouterId};
use bgp_proto::wire::aspath::AsPath;
use bgp_proto::wire::attributes::{Aggregator, Attributes, Origin, UnknownAttribute};
use bgp_proto::wire::capability::AddPath;
use bgp_proto::wire::community::{Community, LargeCommunity};
use bgp_proto::wire::tunnel::Tunnel;
use bytes::Bytes;

use crate::cache::CacheSpec;
use crate::random::Random;
use crate::relations;
use crate::topology::{NodeId, Topology};
use crate::two_octets;

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

/// The stream of chance for who gives up on whom that takes nothing.
const SEND_HOLDS: u64 = 15;

/// The stream of chance for [`Scenario::drop_packets`].
const BLACKHOLES: u64 = 17;

/// The stream of chance for [`Scenario::shorten_numbers`].
const TWO_OCTETS: u64 = 18;

/// The stream of chance for [`Scenario::offer_defaults`].
const DEFAULTS: u64 = 19;

/// The stream of chance for [`Scenario::leave_out_addresses`].
const UNNUMBERED: u64 = 21;

/// The stream of chance for [`Scenario::watch_paths`].
const BFD: u64 = 23;

/// The stream of chance for [`Scenario::weigh_paths`].
const BANDWIDTHS: u64 = 26;

/// The stream of chance for [`Scenario::ask_caches`].
const CACHES: u64 = 28;

/// The stream of chance for who is monitored.
const MONITORED: u64 = 29;

/// The stream of chance for who validates, and what.
const VALIDATION: u64 = 12;

/// The stream of chance for what filters have beyond prefixes and communities.
const RULES: u64 = 11;

/// Where the tunnels of routes end.
pub const TUNNEL_END: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 250));

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
        relations::number(&mut scenario.topology, seed);
        scenario.add_paths(seed);
        scenario.leave_out_next_hops(seed);
        scenario.keep_routes_longer(seed);
        scenario.give_up_sooner(seed);
        scenario.drop_packets(seed);
        scenario.shorten_numbers(seed);
        scenario.offer_defaults(seed);
        scenario.leave_out_addresses(seed);
        scenario.watch_paths(seed);
        scenario.weigh_paths(seed);
        scenario.monitor(seed);
        scenario.validate();
        scenario.ask_caches(seed);
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

    /// Some give up early on neighbours that take nothing, also sooner than RFC 9687 section 4.4 lets a person say, and some do
    /// not.
    fn give_up_sooner(&mut self, seed: u64) {
        let mut random = Random::new(seed, SEND_HOLDS);
        for peer in self.topology.nodes.iter_mut().flat_map(|node| node.peers.values_mut()) {
            peer.send_hold = match random.below(100) {
                0..35 => SendHoldTime::Exactly(Duration::from_secs(3 + random.below(60) as u64)),
                35..45 => SendHoldTime::Off,
                45.. => SendHoldTime::Recommended,
            };
        }
    }

    /// Some routes ask for their packets to be dropped (RFC 7999), of neighbours that may ask for that and of others.
    fn drop_packets(&mut self, seed: u64) {
        let mut random = Random::new(seed, BLACKHOLES);
        if random.percent(60) {
            return;
        }
        for node in &mut self.topology.nodes {
            node.peers.values_mut().for_each(|peer| peer.blackhole = random.percent(50));
            for route in node.originated.values_mut().filter(|_| random.percent(20)) {
                let mut communities = route.communities.to_vec();
                communities.push(Community::BLACKHOLE);
                communities.sort_unstable();
                route.communities = communities.into();
            }
        }
    }

    /// Some nodes know no AS numbers of four octets (RFC 6793), and have none.
    fn shorten_numbers(&mut self, seed: u64) {
        let mut random = Random::new(seed, TWO_OCTETS);
        let old = random.percent(40);
        for node in &mut self.topology.nodes {
            let fits = two_octets::short(node.asn) == node.asn;
            node.two_octets = random.percent(40) && old && fits;
            if node.two_octets {
                node.originated.values_mut().for_each(shorten_aggregator);
            }
        }
    }

    /// Some neighbours are told a default route that nobody else hears of: always, or while there is a route to something.
    fn offer_defaults(&mut self, seed: u64) {
        let mut random = Random::new(seed, DEFAULTS);
        if random.percent(50) {
            return;
        }
        let count = self.topology.nodes.len();
        for peer in self.topology.nodes.iter_mut().flat_map(|node| node.peers.values_mut()) {
            let holder = NodeId(random.below(count) as u16);
            let condition = own_prefix(holder, random.below(4));
            peer.conduct.default_originate = match random.below(100) {
                0..15 => DefaultOriginate::Always,
                15..45 => condition.map_or(DefaultOriginate::No, DefaultOriginate::While),
                45.. => DefaultOriginate::No,
            };
        }
    }

    /// Some links have link-local addresses only.
    fn leave_out_addresses(&mut self, seed: u64) {
        let mut random = Random::new(seed, UNNUMBERED);
        for link in &mut self.topology.links {
            link.unnumbered = random.percent(50) && link.over_ipv6;
        }
    }

    /// Some neighbours watch the path between them, some of them at one end only; the BFD of some nodes outlives their processes.
    fn watch_paths(&mut self, seed: u64) {
        let mut random = Random::new(seed, BFD);
        if random.percent(60) {
            return;
        }
        for node in &mut self.topology.nodes {
            node.bfd_outlives = random.percent(30);
        }
        for [a, b] in self.topology.links.iter().map(|link| link.ends) {
            let ends = random.pick(&[0, 1, 2, 2, 2, 2]);
            for (node, peer) in [(a, b), (b, a)].into_iter().take(ends) {
                // Longer than people say it, for fewer events.
                let min_interval = Duration::from_millis(random.pick(&[900, 2_000, 5_000]));
                let bfd = bfd::SessionConfig { min_interval, detect_mult: random.pick(&[2, 3, 5]), passive: false };
                if let Some(known) = self.topology.nodes[node.index()].peers.get_mut(&peer) {
                    known.bfd = Some(bfd);
                }
            }
        }
    }

    /// In some networks, nearly everybody says how much its links carry, and many share traffic by it.
    fn weigh_paths(&mut self, seed: u64) {
        let mut random = Random::new(seed, BANDWIDTHS);
        if random.percent(75) {
            return;
        }
        for node in &mut self.topology.nodes {
            node.max_paths = random.pick(&[2, 4, 8]);
            for filter in node.peers.values_mut().filter_map(|peer| peer.export.as_mut()) {
                let said = random.pick(&["10G", "25G", "400M", "1G", "100G"]).parse().ok();
                if let Some(last) = Arc::make_mut(filter).rules.last_mut().filter(|_| random.percent(95)) {
                    last.set.link_bandwidth = said;
                }
            }
        }
    }

    /// Stations are told of some nodes.
    fn monitor(&mut self, seed: u64) {
        let mut random = Random::new(seed, MONITORED);
        let some = random.percent(40);
        self.topology.nodes.iter_mut().for_each(|node| node.monitored = some && random.percent(50));
    }

    /// Some nodes know who may originate what.
    fn validate(&mut self) {
        for node in self.topology.ids() {
            let known = (0..12).filter_map(|_| self.vrp()).collect();
            let validates = self.validation.as_mut().is_some_and(|random| random.percent(75));
            self.topology.nodes[node.index()].vrps = validates.then_some(known);
        }
    }

    /// Most of those who validate hear from a cache what they know, of one kind or another.
    fn ask_caches(&mut self, seed: u64) {
        let mut random = Random::new(seed, CACHES);
        for node in self.topology.nodes.iter_mut().filter(|node| node.vrps.is_some()) {
            let spec = CacheSpec {
                old: random.percent(20),
                notifies: random.percent(70),
                intervals: [random.pick(&[20, 100]), random.pick(&[3, 30]), random.pick(&[600, 7200])],
                expire: random.pick(&[None, Some(15), Some(90)]),
            };
            node.cache = Some(spec).filter(|_| random.percent(80));
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
        let old = self.topology.node(node).two_octets;
        let mut routes = Vec::new();
        for prefix in prefixes {
            let mut attributes = self.attributes(random, prefix);
            if old {
                shorten_aggregator(&mut attributes);
            }
            routes.push((prefix, attributes));
        }
        routes
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
            let endpoint = TUNNEL_END;
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
}

/// What an OLD speaker would write of it.
fn shorten_aggregator(route: &mut Attributes) {
    if let Some(aggregator) = &mut route.aggregator {
        aggregator.asn = two_octets::short(aggregator.asn);
    }
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
