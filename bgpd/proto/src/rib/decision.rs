//! The decision process (RFC 4271 section 9.1.2): which path is best, which are equal to it, and why each other lost.
//!
//! Each step keeps the paths with the lowest key and drops the others, so the result cannot depend on the order of the
//! paths; a pairwise comparison folded over a list could not say that of step 5, whose key is compared only among paths
//! from the same neighbouring AS.
//!
//! | step | kept |
//! |---|---|
//! | 0 | not long-lived stale: without the community LLGR_STALE (RFC 9494 section 4.2, "least preferred") |
//! | 1 | highest weight, which filters set and nobody else hears of; what this speaker originates itself has 32768, the rest 0 (RFC 4271 leaves this to the implementation; so do other routers) |
//! | 2 | highest LOCAL_PREF; absent counts as 100 (section 9.1.1) |
//! | 3 | shortest AS_PATH, a set counting as one hop (section 9.1.2.2 a) |
//! | 4 | lowest ORIGIN (b) |
//! | 5 | lowest MULTI_EXIT_DISC of each neighbouring AS; absent counts as 0 (c) |
//! | 6 | learned from an external peer (d) |
//! | 7 | nearest next hop (e): nothing here knows the interior cost, so this step drops no path |
//! | 8 | lowest BGP Identifier of the speaker, or ORIGINATOR_ID (f; RFC 4456 section 9) |
//! | 9 | shortest CLUSTER_LIST (RFC 4456 section 9) |
//! | 10 | lowest peer address (g) |
//! | 11 | lowest path identifier (RFC 7911 leaves this to the implementation) |
//!
//! A path whose next hop is out of reach is no candidate at all (section 9.1.2.1; `rib::resolvability`).
//!
//! What is left after step 7 is the multipath set: equal in all that matters to forwarding, by whatever AS the paths lead.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use rustc_hash::FxHasher;

use crate::types::{Asn, PathId, RouterId};
use crate::wire::attributes::{Attributes, Origin};
use crate::wire::community::Community;

/// LOCAL_PREF of a route that has none.
pub(crate) const DEFAULT_LOCAL_PREF: u32 = 100;

/// Weight of what this speaker originates itself.
pub const LOCAL_WEIGHT: u32 = 32768;

/// A step of the decision process. Its number is its place in [`Step::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// 0
    LongLivedStale,
    /// 1
    Weight,
    /// 2
    LocalPref,
    /// 3
    AsPathLength,
    /// 4
    Origin,
    /// 5
    Med,
    /// 6
    ExternalOverInternal,
    /// 7
    InteriorCost,
    /// 8
    RouterId,
    /// 9
    ClusterListLength,
    /// 10
    PeerAddress,
    /// 11
    PathId,
}

impl Step {
    /// In order.
    pub const ALL: [Self; 12] = [
        Self::LongLivedStale,
        Self::Weight,
        Self::LocalPref,
        Self::AsPathLength,
        Self::Origin,
        Self::Med,
        Self::ExternalOverInternal,
        Self::InteriorCost,
        Self::RouterId,
        Self::ClusterListLength,
        Self::PeerAddress,
        Self::PathId,
    ];

    /// 0 to 11.
    #[must_use]
    pub fn number(self) -> usize {
        self as usize
    }

    /// The name that the command line prints.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LongLivedStale => "long-lived stale",
            Self::Weight => "weight",
            Self::LocalPref => "local-pref",
            Self::AsPathLength => "as-path length",
            Self::Origin => "origin",
            Self::Med => "med",
            Self::ExternalOverInternal => "external over internal",
            Self::InteriorCost => "interior cost",
            Self::RouterId => "router id",
            Self::ClusterListLength => "cluster-list length",
            Self::PeerAddress => "peer address",
            Self::PathId => "path id",
        }
    }

    /// What this step compares; the lowest is kept.
    fn key(self, path: &Candidate) -> u128 {
        match self {
            Self::LongLivedStale => u128::from(path.merit.long_lived_stale),
            Self::Weight => u128::from(u32::MAX - path.weight()),
            Self::LocalPref => u128::from(u32::MAX - path.merit.local_pref),
            Self::AsPathLength => u128::from(path.merit.hops),
            Self::Origin => path.merit.origin as u128,
            Self::Med => u128::from(path.merit.med),
            Self::ExternalOverInternal => u128::from(!path.external),
            Self::InteriorCost => 0,
            Self::RouterId => u128::from(u32::from(path.speaker().0)),
            Self::ClusterListLength => u128::from(path.merit.clusters),
            Self::PeerAddress => match path.address {
                IpAddr::V4(address) => u128::from(u32::from(address)),
                IpAddr::V6(address) => u128::from(address),
            },
            Self::PathId => u128::from(path.path_id.0),
        }
    }

    /// The same for a person.
    fn shown(self, path: &Candidate) -> String {
        match self {
            Self::LongLivedStale => if path.merit.long_lived_stale { "stale" } else { "fresh" }.to_owned(),
            Self::Weight if path.local => format!("{} (originated here)", path.weight()),
            Self::Weight => path.weight().to_string(),
            Self::LocalPref => path.merit.local_pref.to_string(),
            Self::AsPathLength => path.merit.hops.to_string(),
            Self::Origin => match path.merit.origin {
                Origin::Igp => "igp",
                Origin::Egp => "egp",
                Origin::Incomplete => "incomplete",
            }
            .to_owned(),
            Self::Med => path.merit.med.to_string(),
            Self::ExternalOverInternal => if path.external { "external" } else { "internal" }.to_owned(),
            Self::InteriorCost => "not known".to_owned(),
            Self::RouterId => path.speaker().to_string(),
            Self::ClusterListLength => path.merit.clusters.to_string(),
            Self::PeerAddress => path.address.to_string(),
            Self::PathId => path.path_id.0.to_string(),
        }
    }
}

/// What the decision process compares of a set of attributes: worked out once, when the set is interned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Merit {
    /// It has LLGR_STALE.
    long_lived_stale: bool,
    /// It has BLACKHOLE.
    pub(crate) blackhole: bool,
    /// Its next hop is out of reach. The store knows.
    pub(crate) unreachable: bool,
    weight: u32,
    local_pref: u32,
    hops: u16,
    origin: Origin,
    med: u32,
    /// The first AS of the path; 0 when the path has not left its AS, or begins with a set.
    neighbor: Asn,
    originator: Option<RouterId>,
    clusters: u16,
    /// Stands for where it leads; two that differ lead elsewhere. It takes the place of a comparison of next hops.
    way: u32,
}

impl Merit {
    pub(crate) fn of(attributes: &Attributes) -> Self {
        Self {
            long_lived_stale: attributes.communities.contains(&Community::LLGR_STALE),
            blackhole: attributes.communities.contains(&Community::BLACKHOLE),
            unreachable: false,
            weight: attributes.weight,
            local_pref: attributes.local_pref.unwrap_or(DEFAULT_LOCAL_PREF),
            hops: u16::try_from(attributes.as_path.hops()).unwrap_or(u16::MAX),
            origin: attributes.origin,
            med: attributes.med.unwrap_or(0),
            neighbor: attributes.as_path.first().unwrap_or_default(),
            originator: attributes.originator_id,
            clusters: u16::try_from(attributes.cluster_list.len()).unwrap_or(u16::MAX),
            way: way(attributes),
        }
    }
}

/// A number for next hop and tunnels. Two ways may have the same by chance, once in four thousand million, and one of them then is no
/// backup of the other.
fn way(attributes: &Attributes) -> u32 {
    let mut hasher = FxHasher::default();
    (attributes.next_hop, &attributes.tunnels).hash(&mut hasher);
    let hash = hasher.finish();
    // Addresses that differ in their last octet differ in either half.
    (hash ^ (hash >> 32)) as u32
}

/// A path with what is known of the peer it came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) merit: Merit,
    /// This speaker originates it.
    pub(crate) local: bool,
    /// From a peer in another AS.
    pub(crate) external: bool,
    /// The peer's BGP Identifier.
    pub(crate) router_id: RouterId,
    pub(crate) address: IpAddr,
    pub(crate) path_id: PathId,
}

impl Candidate {
    /// RFC 4456 section 9: ORIGINATOR_ID stands for the BGP Identifier.
    fn speaker(&self) -> RouterId {
        self.merit.originator.unwrap_or(self.router_id)
    }

    /// Whether packets go another way than by this one.
    pub(crate) fn leads_elsewhere(&self, than: &Self) -> bool {
        self.merit.way != than.merit.way
    }

    fn weight(&self) -> u32 {
        if self.local { LOCAL_WEIGHT } else { self.merit.weight }
    }
}

/// The outcome, in buffers that are used again for the next prefix.
#[derive(Debug, Default)]
pub(crate) struct Choice {
    /// Indices into the candidates: the best path first, then those equal to it; at most the most paths wanted.
    pub(crate) paths: Vec<usize>,
    remaining: Vec<usize>,
    minima: Vec<(Asn, u128)>,
}

impl Choice {
    /// Chooses among `candidates`, of which at most `max_paths` (at least one) are wanted.
    pub(crate) fn decide(&mut self, candidates: &[Candidate], max_paths: usize) {
        self.run(candidates, max_paths, |_, _, _| ());
    }

    /// All candidates, the best first: who is dropped at a later step stands before who is dropped at an earlier one, and
    /// among those of one step and behind step 7 the steps from there on decide. It begins as the multipath set does.
    pub(crate) fn rank(&mut self, candidates: &[Candidate]) -> Vec<usize> {
        let mut steps = vec![Step::RouterId; candidates.len()];
        self.run(candidates, usize::MAX, |loser, step, _| steps[loser] = step.min(Step::RouterId));
        let mut ranked: Vec<usize> = (0..candidates.len()).collect();
        ranked.sort_by_cached_key(|&index| {
            let behind = &Step::ALL[steps[index].number()..];
            let keys: Vec<u128> = behind.iter().map(|step| step.key(&candidates[index])).collect();
            (std::cmp::Reverse(steps[index]), keys)
        });
        ranked
    }

    /// `lost` hears of each path that a step drops: the path, the step, and a path that it lost to.
    fn run(&mut self, candidates: &[Candidate], max_paths: usize, mut lost: impl FnMut(usize, Step, usize)) {
        self.paths.clear();
        if candidates.len() == 1 {
            // Most prefixes of a table have one path.
            self.paths.push(0);
            return;
        }
        self.remaining.clear();
        self.remaining.extend(0..candidates.len());
        for step in Step::ALL {
            if step == Step::RouterId {
                self.paths.extend_from_slice(&self.remaining);
            }
            if self.remaining.len() < 2 {
                continue;
            }
            self.keep_lowest(step, candidates, &mut lost);
        }
        // The rest of the multipath set stands in the order in which steps 8 to 11 would choose it.
        let tie_breakers = &Step::ALL[Step::RouterId.number()..];
        if self.paths.len() > 1 {
            self.paths.sort_by_cached_key(|&index| {
                tie_breakers.iter().map(|step| step.key(&candidates[index])).collect::<Vec<_>>()
            });
        }
        self.paths.truncate(max_paths.max(1));
    }

    fn keep_lowest(&mut self, step: Step, candidates: &[Candidate], lost: &mut impl FnMut(usize, Step, usize)) {
        // One comparison among all, except for step 5.
        let among = |path: &Candidate| if step == Step::Med { path.merit.neighbor } else { Asn(0) };
        self.minima.clear();
        if step == Step::Med {
            self.minima.extend(self.remaining.iter().map(|&i| (among(&candidates[i]), step.key(&candidates[i]))));
            self.minima.sort_unstable();
            self.minima.dedup_by_key(|(neighbor, _)| *neighbor);
        } else {
            self.minima.extend(self.remaining.iter().map(|&i| step.key(&candidates[i])).min().map(|key| (Asn(0), key)));
        }
        let minima = &self.minima;
        let lowest = |path: &Candidate| {
            let at = minima.partition_point(|(neighbor, _)| *neighbor < among(path));
            minima.get(at).is_none_or(|(_, minimum)| step.key(path) == *minimum)
        };
        if self.remaining.iter().all(|&index| lowest(&candidates[index])) {
            return;
        }
        for &loser in self.remaining.iter().filter(|&&index| !lowest(&candidates[index])) {
            let rival =
                |&&index: &&usize| lowest(&candidates[index]) && among(&candidates[index]) == among(&candidates[loser]);
            if let Some(&winner) = self.remaining.iter().find(rival) {
                lost(loser, step, winner);
            }
        }
        self.remaining.retain(|&index| lowest(&candidates[index]));
    }
}

/// What became of a path, for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// There is no other.
    Only,
    /// It won; the last other path was dropped at this step.
    Best(Step),
    /// Equal to the best path through step 7.
    Multipath,
    /// Equal to the best path through step 7, but that many paths are not wanted.
    BeyondMaxPaths(usize),
    /// Dropped at this step, in comparison with another path.
    Lost { step: Step, own: String, winner: String },
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Only => write!(f, "best: the only path"),
            Self::Best(step) => write!(f, "best: won at {} {}", step.number(), step.name()),
            Self::Multipath => {
                let last = Step::InteriorCost;
                write!(f, "multipath: equal to the best path through {} {}", last.number(), last.name())
            }
            Self::BeyondMaxPaths(most) => write!(f, "equal to the best path, but max-paths is {most}"),
            Self::Lost { step, own, winner } => {
                let relation = match step {
                    Step::LongLivedStale | Step::ExternalOverInternal | Step::InteriorCost => "against",
                    Step::Weight | Step::LocalPref => "<",
                    Step::AsPathLength
                    | Step::Origin
                    | Step::Med
                    | Step::RouterId
                    | Step::ClusterListLength
                    | Step::PeerAddress
                    | Step::PathId => ">",
                };
                write!(f, "lost at {} {}: {own} {relation} {winner}", step.number(), step.name())
            }
        }
    }
}

/// What became of each candidate, told by the code that decides.
pub(crate) fn explain(candidates: &[Candidate], max_paths: usize) -> Vec<Fate> {
    let mut losses: Vec<Option<(Step, usize)>> = vec![None; candidates.len()];
    let mut choice = Choice::default();
    choice.run(candidates, max_paths, |loser, step, winner| losses[loser] = Some((step, winner)));
    let last = losses.iter().flatten().map(|(step, _)| *step).max();
    let fate = |(index, loss): (usize, &Option<(Step, usize)>)| match loss {
        None => last.map_or(Fate::Only, Fate::Best),
        Some((step, _)) if *step > Step::InteriorCost && choice.paths.contains(&index) => Fate::Multipath,
        Some((step, _)) if *step > Step::InteriorCost && max_paths > 1 => Fate::BeyondMaxPaths(max_paths),
        Some((step, winner)) => {
            Fate::Lost { step: *step, own: step.shown(&candidates[index]), winner: step.shown(&candidates[*winner]) }
        }
    };
    losses.iter().enumerate().map(fate).collect()
}

#[cfg(test)]
#[path = "decision_tests.rs"]
mod tests;
