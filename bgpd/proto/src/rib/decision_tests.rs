//! Each step by a table; that order does not matter, by every permutation; the whole against a naive oracle.

use std::cmp::Ordering;
use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::types::{ClusterId, NextHop};
use crate::wire::aspath::{AsPath, SegmentKind};

/// A path that ties with another of its kind at every step but those that its fields say.
fn path(change: impl FnOnce(&mut Candidate, &mut Attributes)) -> Candidate {
    let sequence = AsPath { segments: vec![(SegmentKind::Sequence, vec![Asn(65001), Asn(65002)].into())] };
    let mut attributes = Attributes::new(Origin::Egp, sequence, NextHop::V4(Ipv4Addr::new(192, 0, 2, 1)));
    let mut candidate = Candidate {
        merit: Merit::of(&attributes),
        local: false,
        external: true,
        router_id: RouterId(Ipv4Addr::new(10, 0, 0, 5)),
        address: Ipv4Addr::new(10, 0, 0, 5).into(),
        path_id: PathId(5),
    };
    change(&mut candidate, &mut attributes);
    candidate.merit = Merit::of(&attributes);
    candidate
}

fn hops(numbers: &[u32]) -> AsPath {
    AsPath { segments: vec![(SegmentKind::Sequence, numbers.iter().copied().map(Asn).collect())] }
}

fn decided(candidates: &[Candidate], max_paths: usize) -> Vec<usize> {
    let mut choice = Choice::default();
    choice.decide(candidates, max_paths);
    choice.paths
}

#[test]
fn each_step_decides_between_paths_that_tie_before_it_and_says_what_it_compared() {
    // The winner is better at this step alone; at the steps behind it, it is worse.
    let worse = |c: &mut Candidate, _: &mut Attributes| {
        c.router_id = RouterId(Ipv4Addr::new(10, 0, 0, 9));
        c.address = Ipv4Addr::new(10, 0, 0, 9).into();
        c.path_id = PathId(9);
    };
    let cases: [(Candidate, &str); 12] = [
        (
            path(|c, a| {
                worse(c, a);
                c.local = true;
                a.local_pref = Some(1);
            }),
            "lost at 1 weight: 0 < 32768 (originated here)",
        ),
        (
            path(|c, a| {
                worse(c, a);
                a.local_pref = Some(101);
                a.as_path = hops(&[65001, 1, 2, 3]);
            }),
            "lost at 2 local-pref: 100 < 101",
        ),
        (
            path(|c, a| {
                worse(c, a);
                a.weight = 1;
                a.local_pref = Some(1);
            }),
            "lost at 1 weight: 0 < 1",
        ),
        (
            path(|c, a| {
                worse(c, a);
                a.as_path = hops(&[65001]);
                a.origin = Origin::Incomplete;
            }),
            "lost at 3 as-path length: 2 > 1",
        ),
        (
            path(|c, a| {
                worse(c, a);
                a.as_path.segments = vec![(SegmentKind::Set, vec![Asn(1), Asn(2), Asn(3)].into())];
                a.origin = Origin::Incomplete;
            }),
            "lost at 3 as-path length: 2 > 1",
        ),
        (
            path(|c, a| {
                worse(c, a);
                a.origin = Origin::Igp;
                a.med = Some(100);
            }),
            "lost at 4 origin: egp > igp",
        ),
        (path(worse), "lost at 5 med: 50 > 0"),
        (path(worse), "lost at 6 external over internal: internal against external"),
        (path(|c, _| c.router_id = RouterId(Ipv4Addr::new(10, 0, 0, 4))), "lost at 8 router id: 10.0.0.5 > 10.0.0.4"),
        (
            path(|c, a| {
                a.originator_id = Some(RouterId(Ipv4Addr::new(10, 0, 0, 3)));
                a.cluster_list = vec![ClusterId(Ipv4Addr::new(1, 1, 1, 1))].into();
                c.router_id = RouterId(Ipv4Addr::new(10, 0, 0, 9));
            }),
            "lost at 8 router id: 10.0.0.5 > 10.0.0.3",
        ),
        (path(|c, _| c.address = Ipv4Addr::new(10, 0, 0, 4).into()), "lost at 10 peer address: 10.0.0.5 > 10.0.0.4"),
        (path(|c, _| c.path_id = PathId(4)), "lost at 11 path id: 5 > 4"),
    ];
    for (winner, reason) in cases {
        let loser = match reason {
            reason if reason.contains(" med") => path(|_, a| a.med = Some(50)),
            reason if reason.contains("external") => path(|c, _| c.external = false),
            _ => path(|_, _| ()),
        };
        assert_eq!(decided(&[loser, winner], 1), [1], "{reason}");
        assert_eq!(explain(&[loser, winner], 1)[0].to_string(), reason);
    }
}

#[test]
fn a_shorter_cluster_list_wins_where_the_originator_is_the_same() {
    let clusters = |count: usize| {
        path(|_, a| {
            a.originator_id = Some(RouterId(Ipv4Addr::new(10, 0, 0, 1)));
            a.cluster_list = vec![ClusterId(Ipv4Addr::new(1, 1, 1, 1)); count].into();
        })
    };
    let fates = explain(&[clusters(2), clusters(1)], 1);
    assert_eq!(fates[0].to_string(), "lost at 9 cluster-list length: 2 > 1");
    assert_eq!(fates[1].to_string(), "best: won at 9 cluster-list length");
}

#[test]
fn med_is_compared_only_among_paths_of_one_neighbouring_as() {
    let from = |asn: u32, med: u32, id: u8| {
        path(|c, a| {
            a.as_path = hops(&[asn, 65002]);
            a.med = Some(med);
            c.router_id = RouterId(Ipv4Addr::new(10, 0, 0, id));
        })
    };
    // Folding pairwise over this order would keep the third: 1 beats 0 by MED, 2 beats 1 by router id, 0 is forgotten.
    let paths = [from(1, 20, 1), from(1, 10, 3), from(2, 30, 2)];
    assert_eq!(decided(&paths, 1), [2]);
    assert_eq!(explain(&paths, 1)[0].to_string(), "lost at 5 med: 20 > 10");
    assert_eq!(decided(&paths, 8), [2, 1]);
}

#[test]
fn the_multipath_set_is_what_is_equal_through_step_6_and_no_more_than_wanted() {
    let id = |id: u8| path(|c, _| c.router_id = RouterId(Ipv4Addr::new(10, 0, 0, id)));
    let longer = path(|_, a| a.as_path = hops(&[1, 2, 3]));
    let other_as = path(|c, a| {
        a.as_path = hops(&[7, 8]);
        c.router_id = RouterId(Ipv4Addr::new(10, 0, 0, 3));
    });
    let internal = path(|c, _| c.external = false);
    let paths = [id(4), longer, id(2), other_as, internal];
    assert_eq!(decided(&paths, 8), [2, 3, 0]);
    assert_eq!(decided(&paths, 2), [2, 3]);
    let fates: Vec<String> = explain(&paths, 2).iter().map(ToString::to_string).collect();
    assert_eq!(
        fates,
        [
            "equal to the best path, but max-paths is 2",
            "lost at 3 as-path length: 3 > 2",
            "best: won at 8 router id",
            "multipath: equal to the best path through 7 interior cost",
            "lost at 6 external over internal: internal against external",
        ]
    );
}

#[test]
fn a_lone_path_is_best_and_no_path_chooses_nothing() {
    assert_eq!(decided(&[path(|_, _| ())], 1), [0]);
    assert_eq!(explain(&[path(|_, _| ())], 1)[0].to_string(), "best: the only path");
    assert!(decided(&[], 1).is_empty());
}

/// Written another way round: the best path of each neighbouring AS by a total order, then the best of these without MED.
fn oracle(candidates: &[Candidate]) -> Option<usize> {
    fn better(a: &Candidate, b: &Candidate, with_med: bool) -> Ordering {
        (b.local.cmp(&a.local))
            .then(b.merit.local_pref.cmp(&a.merit.local_pref))
            .then(a.merit.hops.cmp(&b.merit.hops))
            .then(a.merit.origin.cmp(&b.merit.origin))
            .then(if with_med { a.merit.med.cmp(&b.merit.med) } else { Ordering::Equal })
            .then(b.external.cmp(&a.external))
            .then(a.speaker().cmp(&b.speaker()))
            .then(a.merit.clusters.cmp(&b.merit.clusters))
            .then(a.address.cmp(&b.address))
            .then(a.path_id.cmp(&b.path_id))
    }
    let champions = (0..candidates.len()).filter(|&i| {
        (0..candidates.len()).all(|j| {
            candidates[i].merit.neighbor != candidates[j].merit.neighbor
                || better(&candidates[i], &candidates[j], true).is_le()
        })
    });
    champions.min_by(|&i, &j| better(&candidates[i], &candidates[j], false))
}

prop_compose! {
    fn any_path()(
        local in prop::bool::weighted(0.1), external: bool, pref in 0u32..3, asn in 1u32..3, length in 1usize..3,
        origin in 0u8..2, med in prop::option::of(0u32..3), id in 1u8..4, originator in prop::option::of(1u8..4),
        clusters in 0usize..2, address in 1u8..4,
    ) -> Candidate {
        path(|c, a| {
            c.local = local;
            c.external = external;
            c.router_id = RouterId(Ipv4Addr::new(10, 0, 0, id));
            c.address = Ipv4Addr::new(10, 0, 0, address).into();
            a.local_pref = (pref != 0).then_some(99 + pref);
            a.as_path = hops(&vec![asn; length]);
            a.origin = if origin == 0 { Origin::Igp } else { Origin::Incomplete };
            a.med = med;
            a.originator_id = originator.map(|id| RouterId(Ipv4Addr::new(10, 0, 0, id)));
            a.cluster_list = vec![ClusterId(Ipv4Addr::new(1, 1, 1, 1)); clusters].into();
        })
    }
}

fn permutations(of: &[usize]) -> Vec<Vec<usize>> {
    if of.is_empty() {
        return vec![Vec::new()];
    }
    let with_first = |first: usize| {
        let rest: Vec<usize> = of.iter().copied().filter(|&other| other != first).collect();
        permutations(&rest).into_iter().map(move |mut tail| {
            tail.insert(0, first);
            tail
        })
    };
    of.iter().flat_map(|&first| with_first(first)).collect()
}

/// Numbers the paths, so that no two tie at every step.
fn told_apart(mut paths: Vec<Candidate>) -> Vec<Candidate> {
    paths.iter_mut().enumerate().for_each(|(number, path)| path.path_id = PathId(number as u32));
    paths
}

proptest! {
    #[test]
    fn every_permutation_of_the_same_paths_gives_the_same_result(
        paths in prop::collection::vec(any_path(), 1..6).prop_map(told_apart), max_paths in 1usize..4,
    ) {
        let expected = decided(&paths, max_paths);
        let indices: Vec<usize> = (0..paths.len()).collect();
        for permutation in permutations(&indices) {
            let shuffled: Vec<Candidate> = permutation.iter().map(|&index| paths[index]).collect();
            let result: Vec<usize> = decided(&shuffled, max_paths).into_iter().map(|at| permutation[at]).collect();
            prop_assert_eq!(&result, &expected, "{:?}", permutation);
        }
    }

    #[test]
    fn all_paths_stand_in_an_order_that_is_theirs_alone_and_begins_with_the_multipath_set(
        paths in prop::collection::vec(any_path(), 1..6).prop_map(told_apart),
    ) {
        let rank = |paths: &[Candidate]| Choice::default().rank(paths);
        let expected = rank(&paths);
        let chosen = decided(&paths, usize::MAX);
        prop_assert_eq!(&expected[..chosen.len()], &chosen[..]);
        let indices: Vec<usize> = (0..paths.len()).collect();
        for permutation in permutations(&indices) {
            let shuffled: Vec<Candidate> = permutation.iter().map(|&index| paths[index]).collect();
            let result: Vec<usize> = rank(&shuffled).into_iter().map(|at| permutation[at]).collect();
            prop_assert_eq!(&result, &expected, "{:?}", permutation);
        }
    }

    #[test]
    fn the_best_path_is_the_best_of_each_neighbours_best(
        paths in prop::collection::vec(any_path(), 1..8).prop_map(told_apart),
    ) {
        prop_assert_eq!(decided(&paths, 1).first().copied(), oracle(&paths));
    }

    #[test]
    fn the_explanation_agrees_with_the_decision(
        paths in prop::collection::vec(any_path(), 1..8).prop_map(told_apart), max_paths in 1usize..4,
    ) {
        let chosen = decided(&paths, max_paths);
        for (index, fate) in explain(&paths, max_paths).iter().enumerate() {
            let (best, multipath) = match fate {
                Fate::Only | Fate::Best(_) => (true, true),
                Fate::Multipath => (false, true),
                Fate::BeyondMaxPaths(_) | Fate::Lost { .. } => (false, false),
            };
            prop_assert_eq!(chosen.first() == Some(&index), best);
            prop_assert_eq!(chosen.contains(&index), multipath);
        }
    }
}
