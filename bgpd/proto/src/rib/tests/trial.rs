//! What is said of a route on trial is what peers are really sent.

use std::sync::Arc;

use super::world::*;
use crate::conduct::{Conduct, LocalAsPrepend, NextHopMode, RemovePrivateAs};
use crate::filter::{self, Condition, Filter, Rule, Set, Validation};
use crate::rib::{Aggregate, Aggregates, Drain, ExportTrial, ExportVerdict, PeerPolicy};
use crate::rtr::{Changes, Vrp};
use crate::types::{Asn, PeerId, Prefix};
use crate::wire::attributes::Attributes;
use crate::wire::community::Community;

const NET: &str = "10.1.0.0/16";

/// A route of peer 1, as it stands in the table.
fn trial(to: u16, filter: Option<Arc<Filter>>, attributes: Attributes) -> ExportTrial {
    ExportTrial {
        to: PeerId(to),
        filter: filter.unwrap(),
        prefix: prefix(NET),
        attributes,
        source: filter::Source::External,
        from: Some(PeerId(1)),
        name: "peer-1".to_owned(),
        validation: None,
    }
}

fn verdict(world: &World, trial: &ExportTrial) -> ExportVerdict {
    world.rib.try_export(trial).unwrap()
}

/// Peers that are each told the same route in another way.
fn peers() -> Vec<(Role, PeerPolicy)> {
    let conducts = [
        Conduct::default(),
        Conduct { remove_private_as: RemovePrivateAs::All, ..Conduct::default() },
        Conduct { as_override: true, ..Conduct::default() },
        Conduct { next_hop: NextHopMode::Unchanged, ..Conduct::default() },
        Conduct { local_as_prepend: LocalAsPrepend::Both, ..Conduct::default() },
    ];
    let external = (2u16..).zip(conducts).map(|(peer, conduct)| {
        let role = Role::External(65000 + u32::from(peer));
        (role, PeerPolicy { conduct, local_as: Asn(64512 + u32::from(peer % 2)), ..policy(peer, role) })
    });
    let internal = [(7, Role::Internal), (8, Role::Client)].map(|(peer, role)| (role, policy(peer, role)));
    external.chain(internal).collect()
}

#[test]
fn what_a_peer_would_be_sent_is_what_it_is_sent() {
    let mut world = World::new();
    world.up(1, Role::External(65001));
    for (peer, (role, policy)) in (2..).zip(peers()) {
        world.up_with(peer, role, policy, None);
    }
    let attributes = Attributes { med: Some(7), ..route(1, &[65001, 65004, 64999, 3356]) };
    world.hear(1, vec![announce(attributes.clone(), &[prefix(NET)])]);
    world.settle();
    let net: Prefix = prefix(NET);
    for peer in 2..=8 {
        let would = verdict(&world, &trial(peer, accept_all("out"), attributes.clone())).sent.unwrap();
        assert_eq!(would, *world.ears[&peer].holds[&net], "peer {peer}");
    }
}

#[test]
fn what_no_filter_decides_is_said_beside_what_the_filter_says() {
    let mut world = World::new();
    for (peer, role) in [(1, Role::External(65001)), (2, Role::External(65002)), (3, Role::Internal)] {
        world.up(peer, role);
    }
    let plain = route(1, &[65001]);
    let kept_inside = Attributes { communities: vec![Community::NO_EXPORT].into(), ..plain.clone() };
    let none = Some(Arc::new(Filter { name: "none".to_owned(), rules: Vec::new() }));
    let other = Attributes { next_hop: route6(1, &[]).next_hop, ..plain.clone() };
    let mut unchanged = trial(2, accept_all("out"), other);
    unchanged.filter = Arc::new(Filter {
        name: "out".to_owned(),
        rules: vec![Rule {
            set: Set { next_hop: Some(filter::SetNextHop::Unchanged), ..Set::default() },
            ..Rule::accept(vec![])
        }],
    });
    for (trial, said) in [
        (trial(2, accept_all("out"), kept_inside.clone()), Err("community no-export")),
        (trial(3, accept_all("out"), kept_inside), Ok(())),
        (trial(1, accept_all("out"), plain.clone()), Err("learned from this peer")),
        (trial(2, none, plain.clone()), Err("the filter rejects")),
        (unchanged, Err("next hop")),
    ] {
        let seen = verdict(&world, &trial);
        match said {
            Ok(()) => assert!(seen.sent.is_ok(), "{seen:?}"),
            Err(why) => assert!(seen.sent.as_ref().unwrap_err().contains(why), "{why}: {seen:?}"),
        }
    }
    let summary = Aggregate {
        prefix: prefix("10.0.0.0/8"),
        summary_only: true,
        med: None,
        local_pref: None,
        communities: Vec::new(),
        large_communities: Vec::new(),
    };
    world.rib.set_aggregates(Aggregates::from_iter([summary]), world.now);
    let seen = verdict(&world, &trial(2, accept_all("out"), plain.clone()));
    assert!(seen.sent.unwrap_err().contains("summary-only"));
    assert!(matches!(seen.explanation.decision, filter::Decision::Accept(_)));
    world.rib.set_aggregates(Aggregates::default(), world.now);
    world.rib.set_drain(Drain::Withdrawn);
    assert!(verdict(&world, &trial(2, accept_all("out"), plain.clone())).sent.unwrap_err().contains("drained"));
    world.down(2, None);
    assert_eq!(world.rib.try_export(&trial(2, accept_all("out"), plain)), None, "its session is down");
}

#[test]
fn the_state_of_a_route_is_that_of_the_path_which_the_peer_would_see() {
    let mut world = World::new();
    world.rib.set_validation(true);
    world.up(1, Role::External(65001));
    let role = Role::External(65002);
    let conduct = Conduct { remove_private_as: RemovePrivateAs::All, ..Conduct::default() };
    world.up_with(2, role, PeerPolicy { conduct, ..policy(2, role) }, None);
    world.up(3, Role::External(65003));
    let vrp = Vrp::new(prefix(NET), 16, Asn(65001)).unwrap();
    world.rib.change_vrps(&Changes { announced: vec![vrp], withdrawn: Vec::new() });
    let valid_only = Some(Arc::new(Filter {
        name: "valid".to_owned(),
        rules: vec![Rule::accept(vec![Condition::Validation(vec![Validation::Valid])])],
    }));
    // With the private number removed, the origin is our own AS.
    for (to, state) in [(2, Validation::Invalid), (3, Validation::Valid)] {
        let seen = verdict(&world, &trial(to, valid_only.clone(), route(1, &[65001])));
        assert_eq!((seen.validation, seen.sent.is_ok()), (Some(state), state == Validation::Valid), "peer {to}");
    }
    let told = ExportTrial { validation: Some(Validation::Valid), ..trial(2, valid_only, route(1, &[65001])) };
    assert!(verdict(&world, &told).sent.is_ok(), "a state that is said counts");
}
