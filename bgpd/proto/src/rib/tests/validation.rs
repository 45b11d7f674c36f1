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
use crate::wire::attributes::Attributes;

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

/// A RIB that validates, with peer 1 in AS 65001 whose import filter asks for the state, and peer 2 whose export filter does;
/// what peer 3 sends is taken unasked.
fn world() -> World {
    let mut world = World::new();
    let role = Role::External(65001);
    world.rib.set_validation(true);
    world.rib.set_peer(PeerId(1), PeerPolicy { import: judging(), ..policy(1, role) }, world.now);
    world.connect(1, role, None);
    let role = Role::External(65002);
    world.rib.set_peer(PeerId(2), PeerPolicy { export: judging(), ..policy(2, role) }, world.now);
    world.connect(2, role, None);
    world.up(3, Role::External(65003));
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

#[test]
fn an_export_filter_judges_what_others_sent_and_what_is_ours() {
    let mut world = world();
    let (theirs, ours) = (prefix("10.1.0.0/16"), prefix("10.2.0.0/16"));
    world.hear(3, vec![announce(route(3, &[65003, 65020]), &[theirs])]);
    world.rib.originate(ours, local(), world.now);
    world.settle();
    assert_eq!(world.holds(2), ["10.1.0.0/16", "10.2.0.0/16"]);
    let forbids = vrp("10.0.0.0/8", 16, 65099);
    world.rib.change_vrps(&announced(&[forbids]));
    world.settle();
    assert_eq!(world.holds(2), [""; 0]);
    assert_eq!(world.holds(1), ["10.1.0.0/16", "10.2.0.0/16"], "nobody asks on its behalf");
    world.rib.change_vrps(&announced(&[vrp("10.0.0.0/8", 16, OUR_AS.0)]));
    world.settle();
    assert_eq!(world.holds(2), ["10.2.0.0/16"]);
    world.rib.change_vrps(&withdrawn(&[forbids, vrp("10.0.0.0/8", 16, OUR_AS.0)]));
    world.settle();
    assert_eq!(world.holds(2), ["10.1.0.0/16", "10.2.0.0/16"]);
}

/// Something that happens.
#[derive(Clone, Debug)]
enum Event {
    Vrp(bool, Vrp),
    /// From peer 1 or 3.
    Route(u16, Prefix, u32),
    Gone(u16, Prefix),
    /// One run, which may leave a walk half way.
    Step,
    Settle,
}

fn nets() -> impl Strategy<Value = Prefix> {
    (0u32..16, 4u8..=8)
        .prop_map(|(bits, length)| Prefix::new((bits << 24 | 0x0a00_0000).to_be_bytes().into(), length).unwrap())
}

fn sender() -> impl Strategy<Value = u16> {
    prop_oneof![Just(1), Just(3)]
}

fn sent(peer: u16, asn: u32) -> Attributes {
    route(peer, &[65000 + u32::from(peer), asn])
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (any::<bool>(), nets(), 0u8..3, 65020u32..65023).prop_map(|(new, net, more, asn)| {
            Event::Vrp(new, Vrp::new(net, net.length() + more, Asn(asn)).unwrap())
        }),
        3 => (sender(), nets(), 65020u32..65023).prop_map(|(peer, net, asn)| Event::Route(peer, net, asn)),
        1 => (sender(), nets()).prop_map(|(peer, net)| Event::Gone(peer, net)),
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
                Event::Route(peer, net, asn) => {
                    routes.insert((peer, net), asn);
                    world.hear(peer, vec![announce(sent(peer, asn), &[net])]);
                }
                Event::Gone(peer, net) => {
                    routes.remove(&(peer, net));
                    world.hear(peer, vec![withdraw(&[net])]);
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
        for ((peer, net), asn) in routes {
            fresh.hear(peer, vec![announce(sent(peer, asn), &[net])]);
        }
        fresh.settle();
        prop_assert_eq!(outcome(&world), outcome(&fresh));
        for peer in 1..=3 {
            prop_assert_eq!(&world.ears[&peer].holds, &fresh.ears[&peer].holds, "peer {}", peer);
        }
        prop_assert_eq!(world.rib.counts(PeerId(1)).accepted, fresh.rib.counts(PeerId(1)).accepted);
    }
}
