//! Long-lived graceful restart (RFC 9494): routes of a peer that does not come back in its restart time are the last choice.

use std::time::Duration;

use super::world::*;
use crate::rib::PeerPolicy;
use crate::session::Established;
use crate::types::{Family, PeerId};
use crate::wire::attributes::Attributes;
use crate::wire::capability::LongLived;
use crate::wire::community::Community;

const RESTART: Duration = Duration::from_secs(120);
const STALE: Duration = Duration::from_secs(1000);

/// The peer that goes away; one that does not know RFC 9494; one that does.
const GONE: u16 = 1;
const PLAIN: u16 = 2;
const KNOWS: u16 = 3;
const OTHER: u16 = 4;

fn long_lived(peer: u16, forwarding: bool) -> Established {
    let said = LongLived { family: Family::Ipv4Unicast, forwarding, stale_seconds: 1000 };
    Established {
        long_lived_received: true,
        long_lived: vec![said],
        ..established(peer, Role::External(65000 + u32::from(peer)), restarts(false, true))
    }
}

fn with(community: Community) -> Attributes {
    Attributes { communities: [community].into(), ..route(GONE, &[65001]) }
}

fn world() -> World {
    let mut world = World::new();
    for peer in [GONE, PLAIN, KNOWS, OTHER] {
        let role = Role::External(65000 + u32::from(peer));
        world.rib.set_peer(PeerId(peer), policy(peer, role), world.now);
        if peer == PLAIN {
            world.connect(peer, role, None);
        } else {
            world.connect_as(peer, long_lived(peer, true));
        }
    }
    let end = || end_of_rib(Family::Ipv4Unicast);
    world.hear(GONE, vec![announce(route(GONE, &[65001]), &[prefix("10.1.0.0/16")])]);
    world.hear(GONE, vec![announce(with(Community::NO_LLGR), &[prefix("10.2.0.0/16")]), end()]);
    world.settle();
    world
}

/// With the peer gone for longer than it restarts.
fn stale() -> World {
    let mut world = world();
    world.down(GONE, Some(RESTART));
    world.pass(RESTART);
    world.settle();
    world
}

fn communities(world: &World, peer: u16, net: &str) -> Option<Vec<Community>> {
    world.ears[&peer].holds.get(&prefix(net)).map(|attributes| attributes.communities.to_vec())
}

#[test]
fn behind_the_restart_time_routes_stay_as_the_last_choice_for_those_who_know_it_and_then_go() {
    let mut world = world();
    world.down(GONE, Some(RESTART));
    world.pass(RESTART - Duration::from_secs(1));
    world.settle();
    assert_eq!(world.holds(PLAIN), ["10.1.0.0/16", "10.2.0.0/16"]);
    assert_eq!(communities(&world, KNOWS, "10.1.0.0/16"), Some(vec![]));

    assert_eq!(world.rib.expiring(world.now + Duration::from_secs(1)), [], "one route stays");
    world.pass(Duration::from_secs(1));
    world.settle();
    assert_eq!(world.holds(PLAIN), [""; 0], "who does not know LLGR_STALE hears of no such route");
    assert_eq!(world.holds(KNOWS), ["10.1.0.0/16"], "NO_LLGR is not kept");
    assert_eq!(communities(&world, KNOWS, "10.1.0.0/16"), Some(vec![Community::LLGR_STALE]));
    assert_eq!(retained(&world, GONE), [(1, true, Some(1000))]);

    world.pass(STALE - Duration::from_secs(1));
    world.settle();
    assert_eq!(world.holds(KNOWS), ["10.1.0.0/16"]);
    assert_eq!(world.rib.expiring(world.now), []);
    assert_eq!(world.rib.expiring(world.now + Duration::from_secs(1)), [PeerId(GONE)]);
    world.pass(Duration::from_secs(1));
    world.settle();
    assert!(world.holds(KNOWS).is_empty());
    assert_eq!(world.rib.counts(PeerId(GONE)).received, 0);
}

#[test]
fn any_other_route_is_better_than_a_long_lived_stale_one() {
    let mut world = stale();
    world.hear(OTHER, vec![announce(route(OTHER, &[65004, 65100, 65101, 65102]), &[prefix("10.1.0.0/16")])]);
    world.settle();
    assert_eq!(communities(&world, KNOWS, "10.1.0.0/16"), Some(vec![]));
    assert_eq!(world.holds(PLAIN), ["10.1.0.0/16"]);
    // Also when another speaker has said so.
    let said = Attributes { communities: [Community::LLGR_STALE].into(), ..route(OTHER, &[65004]) };
    world.hear(OTHER, vec![announce(said, &[prefix("10.3.0.0/16")])]);
    world.hear(KNOWS, vec![announce(route(KNOWS, &[65003, 65100, 65101]), &[prefix("10.3.0.0/16")])]);
    world.settle();
    assert_eq!(world.holds(PLAIN), ["10.1.0.0/16", "10.3.0.0/16"]);
}

#[test]
fn a_peer_that_is_back_and_forwarded_on_has_until_end_of_rib_to_say_it_again() {
    let mut world = stale();
    world.connect_as(GONE, long_lived(GONE, true));
    world.settle();
    assert_eq!(communities(&world, KNOWS, "10.1.0.0/16"), Some(vec![Community::LLGR_STALE]));
    world.hear(GONE, vec![announce(route(GONE, &[65001]), &[prefix("10.1.0.0/16")]), end_of_rib(Family::Ipv4Unicast)]);
    world.settle();
    assert_eq!(communities(&world, KNOWS, "10.1.0.0/16"), Some(vec![]));
    assert_eq!(world.holds(PLAIN), ["10.1.0.0/16"]);
    world.pass(STALE);
    world.settle();
    assert_eq!(world.holds(PLAIN), ["10.1.0.0/16"], "nothing is stale any more");

    let mut silent = stale();
    silent.connect_as(GONE, long_lived(GONE, true));
    silent.hear(GONE, vec![end_of_rib(Family::Ipv4Unicast)]);
    silent.settle();
    assert!(silent.holds(KNOWS).is_empty());
}

#[test]
fn a_peer_that_is_back_and_did_not_forward_on_loses_what_was_kept() {
    for back in [long_lived(GONE, false), established(GONE, Role::External(65001), restarts(false, true))] {
        let mut world = stale();
        world.connect_as(GONE, back);
        world.settle();
        assert!(world.holds(KNOWS).is_empty());
    }
}

#[test]
fn a_session_that_is_lost_again_prolongs_nothing() {
    let mut world = stale();
    world.pass(Duration::from_secs(500));
    world.connect_as(GONE, long_lived(GONE, true));
    world.down(GONE, Some(RESTART));
    world.pass(Duration::from_secs(499));
    world.settle();
    assert_eq!(world.holds(KNOWS), ["10.1.0.0/16"]);
    world.pass(Duration::from_secs(1));
    world.settle();
    assert!(world.holds(KNOWS).is_empty());
}

#[test]
fn a_restart_time_of_zero_makes_routes_long_lived_at_once() {
    let mut world = world();
    world.down(GONE, Some(Duration::ZERO));
    world.pass(Duration::ZERO);
    world.settle();
    assert_eq!(communities(&world, KNOWS, "10.1.0.0/16"), Some(vec![Community::LLGR_STALE]));
}

#[test]
fn a_changed_filter_and_a_lost_path_meet_long_lived_routes_too() {
    let mut world = stale();
    world.rib.set_peer(
        PeerId(GONE),
        PeerPolicy { import: accept_all("other"), ..policy(GONE, Role::External(65001)) },
        world.now,
    );
    world.settle();
    assert_eq!(communities(&world, KNOWS, "10.1.0.0/16"), Some(vec![Community::LLGR_STALE]));
    world.rib.drop_retained(PeerId(GONE));
    world.settle();
    assert!(world.holds(KNOWS).is_empty());
    assert_eq!(world.rib.poll_timeout(), None);
}
