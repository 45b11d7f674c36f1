//! Peers that take several paths to one prefix (RFC 7911) beside peers that do not. Histories at random are in `model.rs`.

use std::time::Duration;

use super::world::*;
use crate::prefix_limit::Excess;
use crate::rib::Scope;
use crate::rib::adj_out::Limits;
use crate::session::Established;
use crate::types::{Family, FamilySet, PathId, PeerId, Prefix};
use crate::wire::RefreshMark;
use crate::wire::attributes::Attributes;
use crate::wire::community::Community;

/// A session that sends path identifiers both ways, in IPv4 only.
fn several(peer: u16, role: Role) -> Established {
    let mut up = established(peer, role, None);
    up.receive.add_path = FamilySet::from_iter([Family::Ipv4Unicast]);
    up.send.add_path = up.receive.add_path;
    up
}

/// Hosts 1 to 3 and a reader that takes up to `most` paths to a prefix, all clients; 9 is a client that takes one.
fn reflector(most: usize) -> World {
    let mut world = World::new();
    for peer in [1, 2, 3, 9] {
        world.up(peer, Role::Client);
    }
    let policy = crate::rib::PeerPolicy { add_path_most: most, ..policy(READER, Role::Client) };
    world.rib.set_peer(PeerId(READER), policy, world.now);
    world.connect_as(READER, several(READER, Role::Client));
    world
}

const READER: u16 = 4;

fn net() -> Prefix {
    prefix("10.1.0.0/16")
}

/// By path identifier, the host that each path leads to.
fn paths(world: &World, peer: u16, net: Prefix) -> Vec<(u32, u16)> {
    let of_net = world.ears[&peer].paths.range((net, PathId(0))..=(net, PathId(u32::MAX)));
    of_net
        .map(|((_, id), made)| (id.0, made.next_hop.address().to_string().rsplit('.').next().unwrap().parse().unwrap()))
        .collect()
}

fn hosts(world: &World, peer: u16) -> Vec<u16> {
    let mut hosts: Vec<u16> = paths(world, peer, net()).into_iter().map(|(_, host)| host).collect();
    hosts.sort_unstable();
    hosts
}

#[test]
fn a_reflector_passes_on_the_paths_of_all_hosts_to_whoever_takes_several_and_the_best_to_others() {
    let mut world = reflector(16);
    for host in [1, 2, 3] {
        world.hear(host, vec![announce(route(host, &[]), &[net()])]);
    }
    world.settle();
    assert_eq!(hosts(&world, READER), [1, 2, 3]);
    assert_eq!(world.ears[&9].holds[&net()].next_hop.address(), address(1));
    assert_eq!((world.rib.counts(PeerId(READER)).advertised, world.rib.counts(PeerId(9)).advertised), (3, 1));
    let views = world.rib.routes(Scope::Advertised(PeerId(READER)), None, 10, world.now);
    let shown: Vec<_> = views.iter().map(|view| (view.peer.0, view.best, view.multipath)).collect();
    assert_eq!(shown, [(1, true, true), (2, false, true), (3, false, true)]);
    assert!(views[1].reason.starts_with("a further path"), "{}", views[1].reason);

    // IPv6 has no path identifiers in this session.
    let net6 = prefix("fd00:1::/32");
    for host in [1, 2] {
        world.hear(host, vec![announce(route6(host, &[]), &[net6])]);
    }
    world.settle();
    assert_eq!(world.holds(READER), ["fd00:1::/32"]);
}

#[test]
fn no_more_than_so_many_paths_are_sent_and_these_are_the_best() {
    let mut world = reflector(2);
    for (host, local_pref) in [(1, 100), (2, 300), (3, 200)] {
        world.hear(host, vec![announce(Attributes { local_pref: Some(local_pref), ..route(host, &[]) }, &[net()])]);
    }
    world.settle();
    assert_eq!(hosts(&world, READER), [2, 3]);
    // One that is not best and not even in the multipath set goes, and the next takes its place.
    world.hear(3, vec![withdraw(&[net()])]);
    world.settle();
    assert_eq!(hosts(&world, READER), [1, 2]);
    let more = crate::rib::PeerPolicy { add_path_most: 1, ..policy(READER, Role::Client) };
    world.rib.set_peer(PeerId(READER), more, world.now);
    world.settle();
    assert_eq!(hosts(&world, READER), [2], "the limit was changed under the session");
    assert_eq!(world.ears[&READER].vain, 0, "withdrawn without having been announced");
}

#[test]
fn a_path_keeps_its_identifier_while_others_come_change_and_go() {
    let mut world = reflector(16);
    world.hear(2, vec![announce(route(2, &[]), &[net(), prefix("10.2.0.0/16")])]);
    world.settle();
    let of_2 = paths(&world, READER, net())[0].0;
    assert_eq!(paths(&world, READER, prefix("10.2.0.0/16")), [(of_2, 2)], "alike for every prefix");
    world.hear(1, vec![announce(route(1, &[]), &[net()])]);
    world.hear(3, vec![announce(route(3, &[7]), &[net()])]);
    world.settle();
    assert!(paths(&world, READER, net()).contains(&(of_2, 2)));
    // The same identifier announced again replaces (RFC 7911 section 5).
    let before = world.ears[&READER].said;
    world.hear(2, vec![announce(route(2, &[7, 7]), &[net()])]);
    world.hear(1, vec![withdraw(&[net()])]);
    world.settle();
    assert_eq!(world.ears[&READER].said - before, 2, "one announced, one withdrawn");
    assert!(paths(&world, READER, net()).contains(&(of_2, 2)));
    assert_eq!(hosts(&world, READER), [2, 3]);
}

#[test]
fn several_paths_of_one_peer_are_kept_apart_and_none_of_them_goes_back() {
    let mut world = reflector(16);
    for (path_id, host) in [(7, 1), (8, 2), (u32::MAX, 3)] {
        world.hear(READER, vec![announce_path(route(host, &[]), &[net()], path_id)]);
    }
    world.up(5, Role::Client);
    world.rib.handle_down(PeerId(5), None, world.now);
    world.connect_as(5, several(5, Role::Client));
    world.settle();
    assert_eq!(world.rib.counts(PeerId(READER)).received, 3);
    assert_eq!((hosts(&world, 5), hosts(&world, READER)), (vec![1, 2, 3], vec![]));
    assert_eq!(world.best[&net()].len(), 3, "one multipath set");
    // A path that was never announced is withdrawn: ignored (RFC 7911 section 5).
    world.hear(READER, vec![withdraw_path(&[net()], 9), withdraw_path(&[net()], 8)]);
    world.settle();
    assert_eq!(hosts(&world, 5), [1, 3]);
    let ids: Vec<u32> = world
        .rib
        .routes(Scope::Received(PeerId(READER)), None, 10, world.now)
        .iter()
        .map(|view| view.path_id.0)
        .collect();
    assert_eq!(ids, [7, u32::MAX]);
}

#[test]
fn a_peer_that_does_not_read_is_told_the_newest_of_each_path_once() {
    let mut world = reflector(16);
    world.rib.groups.limits = Limits { high: 200, low: 50, ..Limits::default() };
    let nets: Vec<Prefix> = (0..50).map(|number| prefix(&format!("10.{number}.0.0/16"))).collect();
    for host in [1, 2] {
        world.hear(host, vec![announce(route(host, &[]), &nets)]);
    }
    world.settle();
    world.ears.get_mut(&READER).unwrap().reads = false;
    for round in 1..20 {
        world.hear(1, vec![announce(route(1, &[7, round]), &nets)]);
        world.settle();
    }
    world.hear(2, vec![withdraw(&nets)]);
    world.hear(3, vec![announce(route(3, &[]), &nets[..1])]);
    world.settle();
    let before = world.ears[&READER].said;
    world.ears.get_mut(&READER).unwrap().reads = true;
    world.settle();
    assert_eq!(paths(&world, READER, nets[1]).len(), 1);
    assert_eq!(paths(&world, READER, nets[0]).len(), 2);
    let said = world.ears[&READER].said - before;
    assert!(said <= 50 * 2 + 1, "{said} paths said");
    assert_eq!(world.ears[&READER].vain, 0);
}

#[test]
fn a_refresh_says_every_path_again_and_withdraws_what_went_meanwhile() {
    let mut world = reflector(16);
    for host in [1, 2, 3] {
        world.hear(host, vec![announce(route(host, &[]), &[net()])]);
    }
    world.settle();
    world.rib.handle_refresh(PeerId(READER), Family::Ipv4Unicast);
    world.hear(2, vec![withdraw(&[net()])]);
    // The far end checks that between BoRR and EoRR each path was announced again or withdrawn.
    world.settle();
    assert_eq!(hosts(&world, READER), [1, 3]);
    let ended = (Family::Ipv4Unicast, RefreshMark::End);
    assert_eq!(world.ears[&READER].marks.last(), Some(&ended));
    assert_eq!(world.ears[&READER].vain, 0);
}

#[test]
fn of_several_paths_one_that_fits_into_no_message_is_withheld_alone() {
    let mut world = reflector(16);
    let long = |count: u32| Attributes { communities: (0..count).map(Community).collect(), ..route(2, &[]) };
    world.hear(1, vec![announce(route(1, &[]), &[net()])]);
    for (communities, held) in [(3, vec![1, 2]), (1100, vec![1]), (5, vec![1, 2])] {
        world.hear(2, vec![announce(long(communities), &[net()])]);
        world.settle();
        assert_eq!(hosts(&world, READER), held, "{communities} communities");
        assert_eq!(world.rib.counts(PeerId(READER)).withheld, 2 - held.len());
    }
}

#[test]
fn while_routes_wait_for_everybodys_end_of_rib_only_what_we_originate_is_sent() {
    let mut world = World::with_deferral(Some(Duration::from_secs(120)));
    world.up(1, Role::Client);
    world.rib.set_peer(PeerId(READER), policy(READER, Role::Client), world.now);
    world.connect_as(READER, several(READER, Role::Client));
    world.hear(1, vec![announce(route(1, &[]), &[net()])]);
    world.rib.originate(net(), local(), world.now);
    world.settle();
    assert_eq!(hosts(&world, READER), [200], "ourselves");
    world.pass(Duration::from_secs(121));
    world.settle();
    assert_eq!(hosts(&world, READER), [1, 200]);
}

#[test]
fn prefixes_with_the_same_paths_share_what_is_remembered_of_them() {
    let mut world = reflector(16);
    let nets: Vec<Prefix> = (0..200).map(|number| prefix(&format!("10.{number}.0.0/16"))).collect();
    for host in [1, 2] {
        world.hear(host, vec![announce(route(host, &[]), &nets)]);
    }
    world.settle();
    assert_eq!(world.rib.counts(PeerId(READER)).advertised, 400);
    assert_eq!(world.rib.groups.sets(), 1);
}

#[test]
fn a_peer_that_sends_paths_to_one_prefix_without_end_is_stopped() {
    let mut world = reflector(16);
    let send = |world: &mut World, ids: std::ops::Range<u32>| {
        let paths = ids.map(|path_id| announce_path(route(1, &[]), &[net()], path_id));
        world.hear(READER, paths.collect());
        world.settle();
    };
    send(&mut world, 0..1024);
    assert!(world.too_many.is_empty());
    // One that is there already is no more.
    send(&mut world, 5..6);
    assert!(world.too_many.is_empty());
    send(&mut world, 1024..1030);
    assert_eq!((&world.too_many[..], world.rib.counts(PeerId(READER)).received), (&[READER][..], 1024));
    assert_eq!(world.excess, Some(Excess::Paths(net())));
}
