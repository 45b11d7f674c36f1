//! What every Loc-RIB must hold in the end, worked out naively: all nodes exchange their best paths, or several where both
//! sides say so (RFC 7911), in rounds until a round changes nothing. It shares with the RIB the types alone; the rules, and
//! what filters mean ([`crate::policy`]), are written once more.
//!
//! The answer is the only one where the topology has one stable state, which [`crate::scenario`] sees to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bgp_proto::conduct::{Conduct, DefaultOriginate, LocalAsPrepend, NextHopMode, RemovePrivateAs};
use bgp_proto::filter::{Set, SetNextHop, Source, Validation};
use bgp_proto::rib::{Aggregate, Drain};
use bgp_proto::role::Role;
use bgp_proto::rtr::Vrp;
use bgp_proto::types::{Asn, Family, NextHop, Prefix};
use bgp_proto::wire::aspath::AsPath;
use bgp_proto::wire::attributes::{Aggregator, Attributes, Origin};
use bgp_proto::wire::community::Community;
use bgp_proto::wire::tunnel::Tunnel;

use crate::policy;
use crate::topology::{NodeId, NodeSpec, Topology};
use crate::two_octets;

/// A path that a node has: from a neighbour, or its own (`None`), with its attributes behind the import filter.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Who sent it.
    pub from: Option<NodeId>,
    /// As the node uses it.
    pub attributes: Attributes,
}

/// Of a node, by prefix: the best path first, then those equal to it.
pub type LocRib = BTreeMap<Prefix, Vec<Route>>;

/// Rounds after which there is no stable state: paths are no longer than the number of nodes.
const MOST_ROUNDS: usize = 100;

/// Every node's Loc-RIB with exactly these nodes `running` and all their sessions up.
///
/// # Errors
/// A prefix for which the rounds do not come to an end.
pub fn solve(topology: &Topology, running: &BTreeSet<NodeId>) -> Result<BTreeMap<NodeId, LocRib>, Prefix> {
    let mut ribs: BTreeMap<NodeId, LocRib> = running.iter().map(|node| (*node, LocRib::new())).collect();
    let of_node = |node: &NodeId| {
        let spec = topology.node(*node);
        spec.originated.keys().copied().chain(spec.aggregates.iter().map(|aggregate| aggregate.prefix))
    };
    let prefixes: BTreeSet<Prefix> = running.iter().flat_map(of_node).chain(Family::ALL.map(default_of)).collect();
    // The longest first: an aggregate and a default route depend on nothing but longer prefixes.
    let mut prefixes: Vec<Prefix> = prefixes.into_iter().collect();
    prefixes.sort_by_key(|prefix| std::cmp::Reverse(prefix.length()));
    for prefix in prefixes {
        let own = running.iter().filter_map(|node| Some((*node, own_route(topology, *node, prefix, &ribs[node])?)));
        let own: BTreeMap<NodeId, Attributes> = own.collect();
        for (node, paths) in solve_prefix(topology, running, prefix, &own, &ribs)? {
            if let Some(rib) = ribs.get_mut(&node).filter(|_| !paths.is_empty()) {
                rib.insert(prefix, paths);
            }
        }
    }
    Ok(ribs)
}

fn solve_prefix(
    topology: &Topology,
    running: &BTreeSet<NodeId>,
    prefix: Prefix,
    own: &BTreeMap<NodeId, Attributes>,
    longer: &BTreeMap<NodeId, LocRib>,
) -> Result<BTreeMap<NodeId, Vec<Route>>, Prefix> {
    let mut known: BTreeMap<NodeId, Vec<Route>> = running.iter().map(|node| (*node, Vec::new())).collect();
    for _ in 0..MOST_ROUNDS {
        let mut next = BTreeMap::new();
        for &node in running {
            let mut paths: Vec<Route> = Vec::new();
            if let Some(attributes) = own.get(&node) {
                paths.push(Route { from: None, attributes: attributes.clone() });
            }
            for &peer in topology.node(node).peers.keys().filter(|peer| running.contains(peer)) {
                let default = default_for(topology, peer, node, prefix, &longer[&peer]);
                let sent = match default {
                    Some(instead) => vec![instead],
                    None => said(topology, peer, node, prefix, &known[&peer]),
                };
                let heard = sent.into_iter().map(|attributes| carried(topology, peer, node, attributes));
                let heard = heard.filter_map(|attributes| accept(topology, node, peer, prefix, &attributes));
                let resolved = heard.filter(|attributes| {
                    resolves(topology.node(node), attributes) || discards(topology, node, peer, attributes)
                });
                paths.extend(resolved.map(|attributes| Route { from: Some(peer), attributes }));
            }
            next.insert(node, rank(topology, node, paths));
        }
        if next == known {
            return Ok(known.into_iter().map(|(node, paths)| (node, choose(topology, node, paths))).collect());
        }
        known = next;
    }
    Err(prefix)
}

/// Whether a path leads anywhere from here (RFC 4271 section 9.1.2.1): to its next hop, or to a tunnel's end in the other family.
fn resolves(ours: &NodeSpec, attributes: &Attributes) -> bool {
    let next_hop = attributes.next_hop.address();
    let end = |tunnel: &Tunnel| match tunnel {
        Tunnel::Vxlan { endpoint, .. } | Tunnel::IpIp { endpoint, .. } | Tunnel::WireGuard { endpoint, .. } => {
            Some(*endpoint)
        }
        Tunnel::Unknown { .. } => None,
    };
    let ends = attributes.tunnels.iter().filter_map(end).filter(|end| end.is_ipv4() != next_hop.is_ipv4());
    std::iter::once(next_hop).chain(ends).any(|address| !ours.unreachable.contains(&address))
}

/// Whether a neighbour has packets dropped here by this path (RFC 7999), which then need not lead anywhere.
fn discards(topology: &Topology, node: NodeId, peer: NodeId, attributes: &Attributes) -> bool {
    let may = topology.peer(node, peer).is_some_and(|known| known.blackhole);
    may && attributes.communities.contains(&Community::BLACKHOLE)
}

/// What `node`, which has these paths, sends to `peer`.
fn said(topology: &Topology, node: NodeId, peer: NodeId, prefix: Prefix, ranked: &[Route]) -> Vec<Attributes> {
    let several = topology.sends_several(node, peer, prefix.family());
    let (seen, most) = match topology.peer(node, peer) {
        Some(policy) if several => (ranked.len(), policy.add_path_most),
        Some(_) | None => (1, 1),
    };
    let permitted = ranked.iter().take(seen).filter_map(|route| {
        let attributes = advertise(topology, node, peer, prefix, route)?;
        Some((route.from, attributes))
    });
    // What came from the peer takes its place among the best, and does not go back.
    permitted.take(most).filter(|(from, _)| *from != Some(peer)).map(|(_, attributes)| attributes).collect()
}

fn default_of(family: Family) -> Prefix {
    let text = match family {
        Family::Ipv4Unicast => "0.0.0.0/0",
        Family::Ipv6Unicast => "::/0",
    };
    text.parse().unwrap_or_else(|_| unreachable!("{text} is a prefix"))
}

/// The default route that `node` has for `peer` alone, in place of all that it has of the prefix and whatever its filter says.
fn default_for(topology: &Topology, node: NodeId, peer: NodeId, prefix: Prefix, longer: &LocRib) -> Option<Attributes> {
    let family = prefix.family();
    let wanted = match topology.peer(node, peer)?.conduct.default_originate {
        DefaultOriginate::No => false,
        DefaultOriginate::Always => true,
        DefaultOriginate::While(condition) => condition.family() == family && longer.contains_key(&condition),
    };
    let may = topology.families(node, peer).contains(family) && topology.node(node).drain != Drain::Withdrawn;
    let attributes = Attributes::new(Origin::Igp, AsPath::default(), ourselves(family));
    (wanted && may && prefix == default_of(family))
        .then(|| tell(topology, node, peer, prefix, &Route { from: None, attributes }, &[]))?
}

/// What a node writes as the next hop of what is its own.
fn ourselves(family: Family) -> NextHop {
    match family {
        Family::Ipv4Unicast => NextHop::V4(Ipv4Addr::UNSPECIFIED),
        Family::Ipv6Unicast => NextHop::V6 { global: Ipv6Addr::UNSPECIFIED, link_local: None },
    }
}

/// What a node originates of a prefix: by itself, or as the aggregate of what it holds.
fn own_route(topology: &Topology, node: NodeId, prefix: Prefix, held: &LocRib) -> Option<Attributes> {
    let spec = topology.node(node);
    if let Some(attributes) = spec.originated.get(&prefix) {
        return Some(attributes.clone());
    }
    let aggregate = spec.aggregates.iter().find(|aggregate| aggregate.prefix == prefix)?;
    let inside = held.iter().filter(|(other, _)| **other != prefix && prefix.contains(**other));
    let origin = inside.filter_map(|(_, paths)| Some(paths.first()?.attributes.origin)).max()?;
    let mut route = Attributes::new(origin, AsPath::default(), ourselves(prefix.family()));
    route.atomic_aggregate = true;
    route.aggregator = Some(Aggregator { asn: spec.asn, router_id: spec.router_id });
    route.communities = aggregate.communities.clone().into();
    Some(route)
}

fn is_external(topology: &Topology, a: NodeId, b: NodeId) -> bool {
    topology.node(a).asn != topology.node(b).asn
}

/// All paths, the best first: who goes earlier in the decision process stands behind who goes later, and among those that
/// go at one step this and the steps behind it say which.
fn rank(topology: &Topology, node: NodeId, paths: Vec<Route>) -> Vec<Route> {
    let keys = |route: &Route| -> [u128; 10] {
        let attributes = &route.attributes;
        let external = route.from.is_some_and(|peer| is_external(topology, node, peer));
        let (id, clusters, address) = tie(topology, node, route);
        [
            u128::from(u32::MAX - weight(route)),
            u128::from(u32::MAX - attributes.local_pref.unwrap_or(100)),
            attributes.as_path.hops() as u128,
            attributes.origin as u128,
            u128::from(attributes.med.unwrap_or(0)),
            u128::from(!external),
            u128::from(u32::from(id)),
            clusters as u128,
            address,
            0,
        ]
    };
    let mut rest = paths;
    let mut behind: Vec<Vec<Route>> = Vec::new();
    for step in 0..6 {
        let before = rest.clone();
        let as_of = |route: &Route| (step == 4).then(|| route.attributes.as_path.first());
        rest.retain(|route| {
            !before.iter().any(|other| as_of(other) == as_of(route) && keys(other)[step] < keys(route)[step])
        });
        let mut gone: Vec<Route> = before.into_iter().filter(|route| !rest.contains(route)).collect();
        gone.sort_by_key(|route| keys(route)[step..].to_vec());
        behind.push(gone);
    }
    rest.sort_by_key(|route| keys(route)[6..].to_vec());
    rest.into_iter().chain(behind.into_iter().rev().flatten()).collect()
}

/// What is originated here has one too.
fn weight(route: &Route) -> u32 {
    if route.from.is_none() { 32768 } else { route.attributes.weight }
}

/// What decides between paths that are equal in all that matters to forwarding.
fn tie(topology: &Topology, node: NodeId, route: &Route) -> (Ipv4Addr, usize, u128) {
    let (id, address) = match route.from {
        None => (Ipv4Addr::UNSPECIFIED, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        Some(peer) => {
            let link = topology.link(node, peer).unwrap_or_default();
            (topology.node(peer).router_id.0, topology.address(peer, link))
        }
    };
    let number = match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    };
    (route.attributes.originator_id.map_or(id, |id| id.0), route.attributes.cluster_list.len(), number)
}

/// The decision process, in the order of RFC 4271 section 9.1.2.2 and RFC 4456 section 9.
fn choose(topology: &Topology, node: NodeId, mut paths: Vec<Route>) -> Vec<Route> {
    let external = |route: &Route| route.from.is_some_and(|peer| is_external(topology, node, peer));
    keep_least(&mut paths, |route| u32::MAX - weight(route));
    keep_least(&mut paths, |route| u32::MAX - route.attributes.local_pref.unwrap_or(100));
    keep_least(&mut paths, |route| route.attributes.as_path.hops());
    keep_least(&mut paths, |route| route.attributes.origin as u8);
    let med = |route: &Route| (route.attributes.as_path.first(), route.attributes.med.unwrap_or(0));
    let meds: Vec<_> = paths.iter().map(med).collect();
    paths.retain(|route| {
        let (neighbour, own) = med(route);
        !meds.iter().any(|(other, lower)| *other == neighbour && *lower < own)
    });
    keep_least(&mut paths, |route| u8::from(!external(route)));
    paths.sort_by_key(|route| tie(topology, node, route));
    paths.truncate(topology.node(node).max_paths.max(1));
    paths
}

fn keep_least<K: Ord>(paths: &mut Vec<Route>, key: impl Fn(&Route) -> K) {
    if let Some(least) = paths.iter().map(&key).min() {
        paths.retain(|route| key(route) == least);
    }
}

/// What `node` may send to `peer` of a path.
fn advertise(topology: &Topology, node: NodeId, peer: NodeId, prefix: Prefix, route: &Route) -> Option<Attributes> {
    let (ours, spec) = (topology.node(node), topology.peer(node, peer)?);
    let (local_as, theirs) = (topology.asn_towards(node, peer), topology.asn_as_known(node, peer));
    let external = is_external(topology, node, peer);
    if !topology.families(node, peer).contains(prefix.family()) {
        return None;
    }
    if ours.drain == Drain::Withdrawn {
        return None;
    }
    let stands_for = |other: &Aggregate| other.summary_only && other.prefix != prefix && other.prefix.contains(prefix);
    if ours.aggregates.iter().any(stands_for) {
        return None;
    }
    let communities = &route.attributes.communities;
    let kept_in = [Community::NO_EXPORT, Community::NO_EXPORT_SUBCONFED];
    if communities.contains(&Community::NO_ADVERTISE) || (external && kept_in.iter().any(|c| communities.contains(c))) {
        return None;
    }
    // RFC 4456 section 6: what an internal peer said goes to another only from or to a client.
    let learned_inside = route.from.filter(|from| !is_external(topology, node, *from));
    if let Some(from) = learned_inside.filter(|_| !external)
        && !spec.client
        && !topology.peer(node, from)?.client
    {
        return None;
    }
    // RFC 9234 section 5, of what goes out.
    let role = spec.conduct.role.map(|local| local.role).filter(|_| external);
    let upwards = matches!(role, Some(Role::Customer | Role::RouteServerClient | Role::Peer));
    if upwards && route.attributes.otc.is_some() {
        return None;
    }
    let rule = match &spec.export {
        None if external => return None,
        None => None,
        Some(filter) => {
            let source = match route.from {
                None => Source::Local,
                Some(from) if is_external(topology, node, from) => Source::External,
                Some(_) => Source::Internal,
            };
            let from = route.from.map(|from| from.to_string()).unwrap_or_default();
            let mut path = route.attributes.as_path.clone();
            if external {
                path = rewritten(spec.conduct, local_as, theirs, &path);
                introduce(spec.conduct, ours.asn, local_as, &mut path);
            }
            let state = validation(ours, prefix, &path);
            Some(policy::ask(filter, prefix, &route.attributes, &from, source, state, local_as)?)
        }
    };
    tell(topology, node, peer, prefix, route, &rule.unwrap_or_default())
}

/// How `node` writes a path for `peer`, with what its filter sets.
fn tell(
    topology: &Topology,
    node: NodeId,
    peer: NodeId,
    prefix: Prefix,
    route: &Route,
    sets: &[&Set],
) -> Option<Attributes> {
    let (ours, spec) = (topology.node(node), topology.peer(node, peer)?);
    let (local_as, theirs) = (topology.asn_towards(node, peer), topology.asn_as_known(node, peer));
    let external = is_external(topology, node, peer);
    let learned_inside = route.from.filter(|from| !is_external(topology, node, *from));
    let role = spec.conduct.role.map(|local| local.role).filter(|_| external);
    let wanted = sets.iter().filter_map(|set| set.next_hop).next_back();

    let mut sent = route.attributes.clone();
    let extended = topology.extended_next_hop(node, peer);
    let over_ipv6 = topology.link(node, peer).is_some_and(|link| topology.links[link].over_ipv6);
    sent.weight = 0;
    let own = match prefix.family() {
        Family::Ipv4Unicast if !(extended && over_ipv6) => NextHop::V4(ours.address4),
        Family::Ipv4Unicast | Family::Ipv6Unicast => match topology.interface(node, peer) {
            // Another link's would mean nothing on this one (RFC 2545 section 3), and a global one may not be reached.
            Some(_) => NextHop::link_local(link_local(topology, node, peer), None),
            None => NextHop::V6 { global: ours.address6, link_local: None },
        },
    };
    let announcer = route.from.and_then(|from| Some(topology.address(from, topology.link(node, from)?)));
    let usual = match spec.conduct.next_hop {
        NextHopMode::Own => true,
        NextHopMode::Unchanged => false,
        NextHopMode::Auto if !external => false,
        // RFC 4271 section 5.1.3: the announcer's own address, on a subnet that all three are on.
        NextHopMode::Auto => {
            let of_segment = |next_hop: IpAddr| {
                topology.segment(node, peer).is_some_and(|it| it.address().is_ipv4() == next_hop.is_ipv4())
            };
            let learned = sent.next_hop.address();
            announcer != Some(learned) || !of_segment(learned)
        }
    };
    let ourselves = match wanted {
        Some(SetNextHop::Own) => true,
        Some(SetNextHop::Unchanged) => false,
        Some(SetNextHop::Address(_)) | None => usual,
    };
    let means_nothing = match sent.next_hop {
        NextHop::V4(address) => address.is_unspecified(),
        NextHop::V6 { global, .. } => global.is_unspecified(),
    };
    if let Some(SetNextHop::Address(address)) = wanted
        && address.is_ipv4() == (prefix.family() == Family::Ipv4Unicast)
    {
        if route.from.is_some() && (ourselves || address != sent.next_hop.address()) {
            sent.tunnels = Box::default();
        }
        sent.next_hop = NextHop::from(address);
    } else if ourselves || means_nothing {
        if route.from.is_some() && sent.next_hop != own {
            sent.tunnels = Box::default();
        }
        sent.next_hop = own;
    }
    if prefix.family() == Family::Ipv4Unicast && sent.next_hop.address().is_ipv6() && !extended {
        return None;
    }
    if external && route.from.is_some() {
        sent.med = None;
    }
    if external {
        // RFC 4360 section 6.
        sent.extended_communities =
            sent.extended_communities.iter().copied().filter(|community| community.0[0] & 0x40 == 0).collect();
    }
    if let Some(from) = learned_inside.filter(|_| !external) {
        sent.originator_id = sent.originator_id.or(Some(topology.node(from).router_id));
        let mut clusters = sent.cluster_list.to_vec();
        clusters.insert(0, ours.cluster_id);
        sent.cluster_list = clusters.into();
    }
    if matches!(role, Some(Role::Provider | Role::RouteServer | Role::Peer)) && sent.otc.is_none() {
        sent.otc = Some(local_as);
    }
    if external {
        sent.as_path = rewritten(spec.conduct, local_as, theirs, &sent.as_path);
    }
    sets.iter().for_each(|set| policy::change(set, &mut sent, local_as));
    sent.weight = 0;
    if external {
        introduce(spec.conduct, ours.asn, local_as, &mut sent.as_path);
        (sent.local_pref, sent.originator_id, sent.cluster_list) = (None, None, Box::default());
    } else {
        sent.local_pref = sent.local_pref.or(Some(100));
    }
    if ours.drain == Drain::LastResort {
        let mut communities = sent.communities.to_vec();
        communities.push(Community::GRACEFUL_SHUTDOWN);
        communities.sort_unstable();
        communities.dedup();
        sent.communities = communities.into();
        sent.local_pref = sent.local_pref.and(Some(0));
    }
    Some(sent)
}

/// The path as it begins for an external neighbour: with the number that it knows the node by, and the node's own behind that.
fn introduce(conduct: Conduct, own: Asn, local_as: Asn, path: &mut AsPath) {
    let mut numbers = vec![local_as];
    if own != local_as && conduct.local_as_prepend != LocalAsPrepend::None {
        numbers.push(own);
    }
    path.prepend_all(&numbers);
}

/// RFC 6811 section 2, one VRP after the other.
fn validation(ours: &NodeSpec, prefix: Prefix, path: &AsPath) -> Validation {
    let origin = path.asns().last().unwrap_or(ours.asn);
    let covering: Vec<&Vrp> = ours.counting_vrps().filter(|vrp| vrp.prefix().contains(prefix)).collect();
    let allows = |vrp: &&Vrp| vrp.asn() == origin && prefix.length() <= vrp.max_length();
    match (covering.is_empty(), covering.iter().any(allows)) {
        (true, _) => Validation::NotFound,
        (false, true) => Validation::Valid,
        (false, false) => Validation::Invalid,
    }
}

/// The path without private numbers (RFC 6996), and without the peer's own.
fn rewritten(conduct: Conduct, ours: Asn, theirs: Asn, path: &AsPath) -> AsPath {
    let private = |asn: &Asn| (64512..=65534).contains(&asn.0) || (4_200_000_000..=4_294_967_294).contains(&asn.0);
    let mut numbers: Vec<Asn> = path.asns().collect();
    let all_private = numbers.iter().all(private);
    let goes = |asn: &Asn| private(asn) && *asn != theirs;
    match conduct.remove_private_as {
        RemovePrivateAs::Yes if all_private => numbers.retain(|asn| !goes(asn)),
        RemovePrivateAs::All => numbers.retain(|asn| !goes(asn)),
        RemovePrivateAs::Replace => numbers.iter_mut().filter(|asn| goes(asn)).for_each(|asn| *asn = ours),
        RemovePrivateAs::Yes | RemovePrivateAs::No => {}
    }
    if conduct.as_override {
        numbers.iter_mut().filter(|asn| **asn == theirs).for_each(|asn| *asn = ours);
    }
    AsPath::sequence(numbers)
}

/// The address of `node` on its link with `peer`.
fn link_local(topology: &Topology, node: NodeId, peer: NodeId) -> Ipv6Addr {
    topology.link(node, peer).map_or(Ipv6Addr::UNSPECIFIED, |link| topology.link_local(node, link))
}

/// What `node` sent, as `peer` hears it.
#[must_use]
pub fn carried(topology: &Topology, node: NodeId, peer: NodeId, sent: Attributes) -> Attributes {
    let mut heard = two_octets::heard(sent, topology.way(node, peer));
    heard.next_hop = heard.next_hop.on(topology.interface(peer, node));
    heard
}

/// What `node` makes of what `peer` sent: its attributes behind the import filter, or `None` if it is refused.
#[must_use]
pub fn accept(
    topology: &Topology,
    node: NodeId,
    peer: NodeId,
    prefix: Prefix,
    sent: &Attributes,
) -> Option<Attributes> {
    let (ours, spec) = (topology.node(node), topology.peer(node, peer)?);
    let local_as = topology.asn_towards(node, peer);
    let own_as = |asn: &Asn| *asn == ours.asn || *asn == local_as;
    let own = [IpAddr::V4(ours.address4), IpAddr::V6(ours.address6), IpAddr::V6(link_local(topology, node, peer))];
    let own_address = own.contains(&sent.next_hop.address());
    let loops = sent.as_path.asns().filter(own_as).count() > usize::from(spec.conduct.allow_as_in)
        || sent.originator_id == Some(ours.router_id)
        || sent.cluster_list.contains(&ours.cluster_id)
        || own_address;
    if loops {
        return None;
    }
    let mut taken = sent.clone();
    // RFC 9234 section 5, of what comes in.
    let external = is_external(topology, node, peer);
    let theirs = topology.asn_as_known(node, peer);
    match spec.conduct.role.map(|local| local.role).filter(|_| external) {
        Some(Role::Provider | Role::RouteServer) if sent.otc.is_some() => return None,
        Some(Role::Peer) if sent.otc.is_some_and(|asn| asn != theirs) => return None,
        Some(Role::Customer | Role::RouteServerClient | Role::Peer) if sent.otc.is_none() => taken.otc = Some(theirs),
        Some(_) | None => {}
    }
    if external && local_as != ours.asn && spec.conduct.local_as_prepend == LocalAsPrepend::Both {
        taken.as_path.prepend(local_as, 1);
    }
    match &spec.import {
        None if external => return None,
        None => {}
        Some(filter) => {
            let source = if external { Source::External } else { Source::Internal };
            let state = validation(ours, prefix, &taken.as_path);
            let sets = policy::ask(filter, prefix, &taken, &peer.to_string(), source, state, local_as)?;
            sets.iter().for_each(|set| policy::change(set, &mut taken, local_as));
        }
    }
    if discards(topology, node, peer, &taken) && !taken.communities.contains(&Community::NO_ADVERTISE) {
        // RFC 7999 section 3.2: it goes no further than this AS.
        let mut communities = taken.communities.to_vec();
        communities.push(Community::NO_EXPORT);
        communities.sort_unstable();
        communities.dedup();
        taken.communities = communities.into();
    }
    let leaving = sent.communities.contains(&Community::GRACEFUL_SHUTDOWN);
    if leaving && spec.graceful_shutdown && is_external(topology, node, peer) {
        (taken.weight, taken.local_pref) = (0, Some(0));
    }
    Some(taken)
}
