//! What each hop of a multipath set carries, worked out naively beside [`bgp_proto::shares`].

use std::collections::BTreeMap;
use std::net::IpAddr;

use bgp_proto::rib::BestPath;
use bgp_proto::shares::Shares;
use bgp_proto::types::{Interface, Prefix};

use crate::network::Network;
use crate::oracle::{LocRib, Route};
use crate::topology::NodeId;

/// Octets a second of which every bandwidth that is said in a simulation is a multiple, but for what four octets of floating point
/// make of it.
const UNIT: f64 = 25_000_000.0;
/// The kernel's largest weight.
const MOST: u64 = 256;

type Hop = (IpAddr, Option<Interface>);

impl Network {
    /// Every node shares traffic among the paths of a prefix as the bandwidths of the oracle's paths have it.
    ///
    /// # Errors
    /// The first prefix for which a node does not.
    pub(crate) fn shares_are_the_oracles(&self, expected: &BTreeMap<NodeId, LocRib>) -> Result<(), String> {
        for (node, rib) in expected {
            let Some(speaker) = self.speaker(*node).filter(|_| self.topology.node(*node).max_paths > 1) else {
                continue;
            };
            let held: BTreeMap<Prefix, Vec<BestPath>> =
                speaker.rib().best().into_iter().map(|change| (change.prefix, change.paths)).collect();
            for (prefix, routes) in rib.iter().filter(|(_, routes)| routes.len() > 1) {
                let paths = held.get(prefix).into_iter().flatten();
                let ways = paths.map(|path| (path.attributes.next_hop.gateway(), path.bandwidth()));
                let shares = Shares::of(ways);
                let wanted = wanted(routes);
                if shares.hops.iter().ne(wanted.keys()) {
                    return Err(format!("{node} has {prefix} by {:?}, and the oracle by {wanted:?}", shares.hops));
                }
                if !agrees(shares.weights.as_deref(), &wanted) {
                    return Err(format!(
                        "{node} shares {prefix} as {:?}, and the oracle as {wanted:?}",
                        shares.weights
                    ));
                }
            }
        }
        Ok(())
    }
}

/// By hop, in units; `None` where a path does not say.
fn wanted(routes: &[Route]) -> BTreeMap<Hop, Option<u64>> {
    let mut hops: BTreeMap<Hop, Vec<Option<u64>>> = BTreeMap::new();
    for route in routes {
        hops.entry(route.attributes.next_hop.gateway()).or_default().push(said(route));
    }
    hops.into_iter().map(|(hop, said)| (hop, said.into_iter().sum())).collect()
}

/// The type that stays in its AS goes before the other (draft-ietf-idr-link-bandwidth section 2).
fn said(route: &Route) -> Option<u64> {
    let of_kind = |kind: u8| {
        let mut octets = route.attributes.extended_communities.iter().map(|community| community.0);
        octets.find_map(|[first, second, _, _, a, b, c, d]| {
            let octets_a_second = f64::from(f32::from_be_bytes([a, b, c, d]));
            ([first, second] == [kind, 4]).then(|| (octets_a_second / UNIT).round() as u64)
        })
    };
    of_kind(0x40).or_else(|| of_kind(0))
}

fn agrees(weights: Option<&[u16]>, wanted: &BTreeMap<Hop, Option<u64>>) -> bool {
    let bandwidths: Option<Vec<u64>> = wanted.values().copied().collect();
    // The same or not said, and all carry alike.
    let Some(bandwidths) = bandwidths.filter(|all| all.iter().any(|one| *one != all[0])) else {
        return weights.is_none();
    };
    let Some(weights) = weights.filter(|weights| weights.len() == bandwidths.len()) else { return false };
    let largest = bandwidths.iter().copied().max().unwrap_or(1);
    let common = (1..=largest).rev().find(|by| bandwidths.iter().all(|one| one % by == 0)).unwrap_or(1);
    let weights = weights.iter().map(|weight| u64::from(*weight));
    if largest / common <= MOST {
        return weights.eq(bandwidths.iter().map(|one| one / common));
    }
    // As close as the kernel's numbers come, and none is nothing.
    let most = weights.clone().max().unwrap_or(1);
    weights.zip(bandwidths).all(|(weight, one)| {
        let (is, should) = (weight as f64 / most as f64, one as f64 / largest as f64);
        weight > 0 && (is - should).abs() <= 1.0 / MOST as f64
    })
}
