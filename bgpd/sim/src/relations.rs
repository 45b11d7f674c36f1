//! What neighbours are to each other beyond filters, drawn from a stream of chance of its own, so that the seeds of old go on
//! to stand for the same networks.

use bgp_proto::conduct::Conduct;
use bgp_proto::role::{LocalRole, Role};

use crate::random::Random;
use crate::topology::{NodeId, Topology};

/// The stream.
const RELATIONS: u64 = 4;

/// Gives some pairs of neighbours rules of their own. `tiers`: the lower AS number provides to the higher, and roles say
/// nothing else, or there might be two stable states.
pub(crate) fn relate(topology: &mut Topology, tiers: bool, seed: u64) {
    let mut random = Random::new(seed, RELATIONS);
    let with_roles = random.percent(50);
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
    }
}

fn set(topology: &mut Topology, node: NodeId, peer: NodeId, change: impl FnOnce(&mut Conduct)) {
    if let Some(spec) = topology.nodes[node.index()].peers.get_mut(&peer) {
        change(&mut spec.conduct);
    }
}
