//! Routes are judged again when VRPs change: those that a change covers, and no others.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::world::*;
use crate::filter::number::Adjust;
use crate::filter::{Condition, Filter, Rule, Set, Then, Validation};
use crate::rib::{PeerPolicy, Scope};
use crate::rtr::{Changes, Vrp};
use crate::types::{Asn, PeerId, Prefix};

/// Refuses what is invalid, and prefers what is valid.
fn judging() -> Option<Arc<Filter>> {
    let valid = Set { local_pref: Some(Adjust::To(200)), ..Set::default() };
    let rules = vec![
        Rule::reject(vec![Condition::Validation(vec![Validation::Invalid])]),
        Rule {
            conditions: vec![Condition::Validation(vec![Validation::Valid])],
            set: valid,
            then: Then::Accept,
            ..Rule::default()
        },
        Rule::accept(Vec::new()),
    ];
    Some(Arc::new(Filter { name: "judging".to_owned(), rules }))
}

fn vrp(text: &str, max_length: u8, asn: u32) -> Vrp {
    Vrp::new(prefix(text), max_length, Asn(asn)).unwrap()
}

fn announced(vrps: &[Vrp]) -> Changes {
    Changes { announced: vrps.to_vec(), withdrawn: Vec::new() }
}

fn withdrawn(vrps: &[Vrp]) -> Changes {
    Changes { announced: Vec::new(), withdrawn: vrps.to_vec() }
}

/// A RIB that validates, with peer 1 in AS 65001 whose filter asks for the state.
fn world() -> World {
    let mut world = World::new();
    let role = Role::External(65001);
    world.rib.set_validation(true);
    world.rib.set_peer(PeerId(1), PeerPolicy { import: judging(), ..policy(1, role) }, world.now);
    world.connect(1, role, None);
    world
}

/// What became of each prefix: accepted, with LOCAL_PREF and state.
fn outcome(world: &World) -> BTreeMap<Prefix, (bool, Option<u32>, Option<Validation>)> {
    let rejected: Vec<Prefix> =
        world.rib.routes(Scope::Rejected, None, usize::MAX, world.now).iter().map(|view| view.prefix).collect();
    let views = world.rib.routes(Scope::Received(PeerId(1)), None, usize::MAX, world.now);
    let of = |view: &crate::rib::RouteView| {
        (view.prefix, (!rejected.contains(&view.prefix), view.attributes.local_pref, view.validation))
    };
    views.iter().map(of).collect()
}

#[test]
fn a_route_is_accepted_preferred_and_refused_as_vrps_come_and_go() {
    let mut world = world();
    let (net, other) = (prefix("10.1.0.0/16"), prefix("11.0.0.0/8"));
    world.hear(1, vec![announce(route(1, &[65001, 65020]), &[net, other])]);
    world.settle();
    let not_found = (true, None, Some(Validation::NotFound));
    assert_eq!(outcome(&world), [(net, not_found), (other, not_found)].into());

    let (allows, forbids) = (vrp("10.0.0.0/8", 16, 65020), vrp("10.1.0.0/16", 16, 65099));
    world.rib.change_vrps(&announced(&[forbids]));
    world.settle();
    assert_eq!(outcome(&world)[&net], (false, None, Some(Validation::Invalid)));
    assert!(!world.best.contains_key(&net) && world.best.contains_key(&other));
    assert_eq!(world.rib.counts(PeerId(1)).accepted, 1);

    world.rib.change_vrps(&announced(&[allows]));
    world.settle();
    assert_eq!(outcome(&world), [(net, (true, Some(200), Some(Validation::Valid))), (other, not_found)].into());
    assert_eq!(world.best[&net][0].attributes.local_pref, Some(200));

    world.rib.change_vrps(&withdrawn(&[allows, forbids]));
    world.settle();
    assert_eq!(outcome(&world), [(net, not_found), (other, not_found)].into());
    assert_eq!(world.rib.counts(PeerId(1)).accepted, 2);

    world.rib.change_vrps(&announced(&[forbids]));
    world.rib.set_validation(false);
    world.settle();
    assert_eq!(outcome(&world)[&net], (true, None, None));
}

/// Something that happens.
#[derive(Clone, Debug)]
enum Event {
    Vrp(bool, Vrp),
    Route(Prefix, u32),
    Gone(Prefix),
    /// One run, which may leave a walk half way.
    Step,
    Settle,
}

fn nets() -> impl Strategy<Value = Prefix> {
    (0u32..16, 4u8..=8)
        .prop_map(|(bits, length)| Prefix::new((bits << 24 | 0x0a00_0000).to_be_bytes().into(), length).unwrap())
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (any::<bool>(), nets(), 0u8..3, 65020u32..65023).prop_map(|(new, net, more, asn)| {
            Event::Vrp(new, Vrp::new(net, net.length() + more, Asn(asn)).unwrap())
        }),
        2 => (nets(), 65020u32..65023).prop_map(|(net, asn)| Event::Route(net, asn)),
        1 => nets().prop_map(Event::Gone),
        2 => Just(Event::Step),
        1 => Just(Event::Settle),
    ]
}

proptest! {
    #[test]
    fn after_any_history_routes_are_as_if_the_vrps_had_been_there_before_them(
        events in prop::collection::vec(event(), 1..60),
    ) {
        let (mut world, mut vrps, mut routes) = (world(), std::collections::BTreeSet::new(), BTreeMap::new());
        world.rib.groups.limits.decisions = 3;
        for event in events {
            match event {
                Event::Vrp(true, vrp) => {
                    vrps.insert(vrp);
                    world.rib.change_vrps(&announced(&[vrp]));
                }
                Event::Vrp(false, vrp) => {
                    vrps.remove(&vrp);
                    world.rib.change_vrps(&withdrawn(&[vrp]));
                }
                Event::Route(net, asn) => {
                    routes.insert(net, asn);
                    world.hear(1, vec![announce(route(1, &[65001, asn]), &[net])]);
                }
                Event::Gone(net) => {
                    routes.remove(&net);
                    world.hear(1, vec![withdraw(&[net])]);
                }
                Event::Step => {
                    world.step();
                }
                Event::Settle => world.settle(),
            }
        }
        world.settle();
        let mut fresh = super::validation::world();
        fresh.rib.change_vrps(&announced(&vrps.into_iter().collect::<Vec<_>>()));
        for (net, asn) in routes {
            fresh.hear(1, vec![announce(route(1, &[65001, asn]), &[net])]);
        }
        fresh.settle();
        prop_assert_eq!(outcome(&world), outcome(&fresh));
        prop_assert_eq!(world.rib.counts(PeerId(1)).accepted, fresh.rib.counts(PeerId(1)).accepted);
    }
}
