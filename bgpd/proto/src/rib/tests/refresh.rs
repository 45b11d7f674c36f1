//! Refreshes that say where they begin and end (RFC 7313), sent and received.

use std::time::Duration;

use super::world::*;
use crate::rib::Scope;
use crate::session::Established;
use crate::types::{Family, PeerId, Prefix};
use crate::wire::RefreshMark::{Begin, End};

const EBGP: Role = Role::External(65001);
const V4: Family = Family::Ipv4Unicast;
const V6: Family = Family::Ipv6Unicast;

fn nets() -> [Prefix; 2] {
    [prefix("10.1.0.0/16"), prefix("10.2.0.0/16")]
}

/// Peer 1 has sent two prefixes and its End-of-RIB.
fn world_with_two_routes() -> World {
    let mut world = World::new();
    world.up(1, EBGP);
    world.hear(1, vec![announce(route(1, &[65001]), &nets()), end_of_rib(V4)]);
    world.settle();
    world
}

fn held(world: &World) -> Vec<Prefix> {
    world.best.keys().copied().collect()
}

#[test]
fn a_refresh_stands_between_its_marks_and_each_family_has_its_own() {
    let mut world = World::new();
    world.up(1, EBGP);
    world.rib.originate(nets()[0], local(), world.now);
    world.rib.originate(prefix("fd01::/64"), local(), world.now);
    world.settle();
    assert_eq!(world.ears[&1].marks, [], "the first table ends with End-of-RIB alone");
    for (family, count) in [(V6, 2), (V4, 4)] {
        let said = world.ears[&1].said;
        world.rib.handle_refresh(PeerId(1), family);
        world.settle();
        // That all was said again in between, the ear checks at each end.
        assert_eq!((world.ears[&1].said, world.ears[&1].marks.len()), (said + 1, count));
        assert_eq!(world.ears[&1].marks[count - 2..], [(family, Begin), (family, End)]);
    }
}

#[test]
fn a_peer_without_the_capability_is_sent_no_marks() {
    let mut world = World::new();
    world.rib.set_peer(PeerId(1), policy(1, EBGP), world.now);
    world.connect_as(1, Established { enhanced_refresh: false, ..established(1, EBGP, None) });
    world.rib.originate(nets()[0], local(), world.now);
    world.settle();
    let said = world.ears[&1].said;
    world.rib.handle_refresh(PeerId(1), V4);
    world.settle();
    assert_eq!((world.ears[&1].said, world.ears[&1].marks.len()), (said + 1, 0));
}

#[test]
fn a_refresh_before_end_of_rib_has_no_marks() {
    let mut world = World::new();
    world.rib.originate(nets()[0], local(), world.now);
    world.up(1, EBGP);
    world.rib.handle_refresh(PeerId(1), V4);
    world.settle();
    assert_eq!((world.ears[&1].marks.len(), world.ears[&1].ended.len()), (0, 2));
}

#[test]
fn a_peer_that_asks_and_does_not_read_is_owed_one_beginning() {
    let mut world = World::new();
    world.up(1, EBGP);
    world.rib.groups.limits.low = 0;
    world.rib.originate(nets()[0], local(), world.now);
    world.step();
    world.step();
    world.ears.get_mut(&1).unwrap().reads = false;
    for _ in 0..100 {
        world.rib.handle_refresh(PeerId(1), V4);
        world.step();
    }
    let marks = world.ears[&1].marks.clone();
    assert!(marks.len() <= 2, "{} marks", marks.len());
    world.ears.get_mut(&1).unwrap().reads = true;
    world.settle();
    assert_eq!(world.ears[&1].marks.last(), Some(&(V4, End)));
}

#[test]
fn what_is_not_announced_again_between_the_marks_is_removed() {
    let mut world = world_with_two_routes();
    world.hear(1, vec![mark(V4, Begin)]);
    world.settle();
    assert_eq!(held(&world), nets(), "until the end, all of it stays in use");
    assert!(world.rib.routes(Scope::Received(PeerId(1)), None, 9, world.now).iter().all(|view| view.stale));
    let before = world.best_changes;
    world.hear(1, vec![announce(route(1, &[65001]), &nets()[..1]), mark(V4, End)]);
    world.settle();
    assert_eq!(held(&world), nets()[..1]);
    assert_eq!(world.best_changes, before + 1, "what was announced again has not changed");
    assert_eq!(world.rib.counts(PeerId(1)).received, 1);
}

#[test]
fn marks_and_updates_of_one_batch_count_in_their_order() {
    let mut world = world_with_two_routes();
    let (first, second) = (announce(route(1, &[65001]), &nets()[..1]), announce(route(1, &[65001]), &nets()[1..]));
    world.hear(1, vec![first, mark(V4, Begin), second, mark(V4, End)]);
    world.settle();
    assert_eq!(held(&world), nets()[1..]);
}

#[test]
fn the_other_family_and_other_peers_are_not_touched() {
    let mut world = world_with_two_routes();
    world.up(2, EBGP);
    world.hear(1, vec![announce(route6(1, &[65001]), &[prefix("fd01::/64")])]);
    world.hear(2, vec![announce(route(2, &[65001, 7]), &nets())]);
    world.settle();
    world.hear(1, vec![mark(V4, Begin), mark(V4, End)]);
    world.settle();
    assert_eq!(held(&world), [&nets()[..], &[prefix("fd01::/64")]].concat());
    assert_eq!(world.rib.counts(PeerId(1)).received, 1);
}

#[test]
fn an_end_without_a_beginning_removes_nothing() {
    let mut world = world_with_two_routes();
    world.hear(1, vec![mark(V4, End)]);
    world.settle();
    assert_eq!(held(&world), nets());
}

#[test]
fn a_beginning_before_the_end_of_rib_of_a_restarting_peer_is_ignored() {
    for (restart, ended, ignored) in
        [(restarts(false, true), false, true), (restarts(false, true), true, false), (None, false, false)]
    {
        let mut world = World::new();
        world.up_with(1, EBGP, policy(1, EBGP), restart);
        world.hear(1, vec![announce(route(1, &[65001]), &nets())]);
        world.hear(1, if ended { vec![end_of_rib(V4)] } else { vec![] });
        world.hear(1, vec![mark(V4, Begin), mark(V4, End)]);
        world.settle();
        assert_eq!(held(&world).is_empty(), !ignored);
    }
}

#[test]
fn a_refresh_that_never_ends_removes_what_is_stale_when_its_time_is_over() {
    let mut world = world_with_two_routes();
    world.hear(1, vec![mark(V4, Begin), announce(route(1, &[65001]), &nets()[..1])]);
    world.pass(Duration::from_secs(359));
    world.settle();
    assert_eq!(held(&world), nets());
    assert!(world.rib.poll_timeout().is_some());
    world.pass(Duration::from_secs(1));
    world.settle();
    assert_eq!(held(&world), nets()[..1]);
    world.hear(1, vec![mark(V4, End)]);
    world.settle();
    assert_eq!(held(&world), nets()[..1], "an end that comes too late ends nothing");
}

#[test]
fn a_refresh_that_a_lost_session_cuts_short_costs_no_route_of_a_restarting_peer() {
    let mut world = World::new();
    world.up_with(1, EBGP, policy(1, EBGP), restarts(false, true));
    world.hear(1, vec![announce(route(1, &[65001]), &nets()), end_of_rib(V4), end_of_rib(V6), mark(V4, Begin)]);
    world.settle();
    world.down(1, Some(Duration::from_secs(120)));
    world.settle();
    assert_eq!(held(&world), nets());
    world.connect(1, EBGP, restarts(true, true));
    world.hear(1, vec![announce(route(1, &[65001]), &nets()[..1]), end_of_rib(V4), end_of_rib(V6)]);
    world.settle();
    assert_eq!(held(&world), nets()[..1]);
}

#[test]
fn a_flood_of_beginnings_in_one_batch_is_one() {
    let mut world = world_with_two_routes();
    let again = announce(route(1, &[65001]), &nets());
    world.hear(1, vec![mark(V4, Begin), again, mark(V4, Begin), mark(V4, End), mark(V4, Begin), mark(V4, End)]);
    world.settle();
    assert_eq!(held(&world), nets());
    assert!(world.rib.routes(Scope::Received(PeerId(1)), None, 9, world.now).iter().all(|view| !view.stale));
}
