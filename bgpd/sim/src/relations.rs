//! What neighbours are to each other beyond filters, drawn from a stream of chance of its own, so that the seeds of old go on
//! to stand for the same networks.

use bgp_proto::conduct::{Conduct, LocalAsPrepend, NextHopMode, RemovePrivateAs};
use bgp_proto::rib::Aggregate;
use bgp_proto::role::{LocalRole, Role};
use bgp_proto::types::Asn;
use bgp_proto::wire::community::Community;

use crate::random::Random;
use crate::topology::{NodeId, Topology};

/// The stream.
const RELATIONS: u64 = 4;
/// The stream for numbers.
const NUMBERS: u64 = 16;
/// The first of the numbers by which nodes are known to single neighbours: no node has it, and it is not private.
const FIRST_LOCAL_AS: u32 = 60_000;

/// Gives some pairs of neighbours rules of their own. `tiers`: the lower AS number provides to the higher, and roles say
/// nothing else, or there might be two stable states.
pub(crate) fn relate(topology: &mut Topology, tiers: bool, seed: u64) {
    let mut random = Random::new(seed, RELATIONS);
    let with_roles = random.percent(50);
    let with_paths = random.percent(50);
    if random.percent(40) {
        aggregate(topology, &mut random);
    }
    // Where a loop may be taken, nothing but the path's length may be preferred, or there is no stable state: no LOCAL_PREF of
    // tiers, none inside of an AS, and none of a node that is drained: with GRACEFUL_SHUTDOWN a direct route has LOCAL_PREF 0, the
    // one that came back by a neighbour does not, and taking that one takes away what it came from.
    let inside = topology.links.iter().any(|link| topology.node(link.ends[0]).asn == topology.node(link.ends[1]).asn);
    let loops = with_paths && !tiers && !inside && random.percent(50);
    if loops {
        let peers = topology.nodes.iter_mut().flat_map(|node| node.peers.values_mut());
        peers.for_each(|peer| peer.graceful_shutdown = false);
    }
    let links: Vec<[NodeId; 2]> = topology.links.iter().map(|link| link.ends).collect();
    for [a, b] in links {
        let (asn, other) = (topology.node(a).asn, topology.node(b).asn);
        if asn != other && with_roles && random.percent(60) {
            let a_provides = if tiers { asn < other } else { random.percent(50) };
            let ours = match (tiers, a_provides, random.below(4)) {
                (false, _, 0) => Role::Peer,
                (_, true, 1) => Role::RouteServer,
                (_, true, _) => Role::Provider,
                (_, false, 1) => Role::RouteServerClient,
                (_, false, _) => Role::Customer,
            };
            let both = random.percent(85);
            let strict = both && random.percent(30);
            set(topology, a, b, |conduct| conduct.role = Some(LocalRole { role: ours, strict }));
            if both {
                let role = ours.counterpart();
                set(topology, b, a, |conduct| conduct.role = Some(LocalRole { role, strict }));
            }
        }
        if asn != other && with_paths {
            relate_paths(topology, loops, &mut random, a, b);
            relate_paths(topology, loops, &mut random, b, a);
        }
    }
}

/// How `node` treats paths that come from the external neighbour `peer` and go to it.
///
/// What takes numbers out of a path takes the means to see a loop with them: only a neighbour that has nobody else to pass
/// the path on to is given such ones, or a withdrawn route would go round for ever.
fn relate_paths(topology: &mut Topology, loops: bool, random: &mut Random, node: NodeId, peer: NodeId) {
    let stub = topology.node(peer).peers.len() == 1;
    let private =
        random.pick(&[RemovePrivateAs::No, RemovePrivateAs::Yes, RemovePrivateAs::All, RemovePrivateAs::Replace]);
    let (overrides, allowed, unchanged) = (random.percent(50), random.percent(30), random.percent(10));
    let Some(spec) = topology.nodes[node.index()].peers.get_mut(&peer) else { return };
    spec.segment = random.percent(50);
    spec.conduct.allow_as_in = u8::from(allowed && loops);
    if unchanged {
        spec.conduct.next_hop = NextHopMode::Unchanged;
    }
    if stub {
        (spec.conduct.as_override, spec.conduct.remove_private_as) = (overrides, private);
    }
}

/// Some external neighbours know a node by another number than its own (RFC 7705), each pair by one that no other has.
///
/// A path that hides the node's own number hides from it that it is a loop: only a neighbour that has nobody else to pass the path
/// on to is told such ones.
pub(crate) fn number(topology: &mut Topology, seed: u64) {
    let mut random = Random::new(seed, NUMBERS);
    let numbered = random.percent(40);
    for node in topology.ids() {
        let asn = topology.node(node).asn;
        let external = topology.node(node).peers.keys().copied().filter(|peer| topology.node(*peer).asn != asn);
        for peer in external.collect::<Vec<NodeId>>() {
            let stub = topology.node(peer).peers.len() == 1;
            let mode = random.pick(&[LocalAsPrepend::Sent, LocalAsPrepend::Both, LocalAsPrepend::None]);
            if random.percent(30) && numbered && (stub || mode != LocalAsPrepend::None) {
                let Some(spec) = topology.nodes[node.index()].peers.get_mut(&peer) else { continue };
                spec.local_as = Some(Asn(FIRST_LOCAL_AS + u32::from(node.0) * 64 + u32::from(peer.0)));
                spec.conduct.local_as_prepend = mode;
            }
        }
    }
}

/// Some nodes aggregate what they have of some blocks.
fn aggregate(topology: &mut Topology, random: &mut Random) {
    for node in &mut topology.nodes {
        for block in ["10.0.0.0/8", "10.200.0.0/16", "10.1.0.0/16", "96.0.0.0/3", "2001:db8::/32"] {
            let Ok(prefix) = block.parse() else { continue };
            if random.percent(20) {
                node.aggregates.push(Aggregate {
                    prefix,
                    summary_only: random.percent(50),
                    med: None,
                    local_pref: None,
                    communities: vec![Community(65000 << 16 | random.below(4) as u32)],
                    large_communities: Vec::new(),
                });
            }
        }
    }
}

fn set(topology: &mut Topology, node: NodeId, peer: NodeId, change: impl FnOnce(&mut Conduct)) {
    if let Some(spec) = topology.nodes[node.index()].peers.get_mut(&peer) {
        change(&mut spec.conduct);
    }
}
