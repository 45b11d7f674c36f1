//! Next hops that are out of reach (RFC 4271 section 9.1.2.1). Histories at random are in `model.rs`.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;

use super::world::*;
use crate::rib::{PeerPolicy, Scope};
use crate::session::Established;
use crate::types::{Family, FamilySet, Interface, NextHop, PeerId, Prefix};
use crate::wire::attributes::Attributes;
use crate::wire::community::Community;
use crate::wire::tunnel::Tunnel;

const EBGP: Role = Role::External(65001);

fn net() -> Prefix {
    prefix("10.1.0.0/16")
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn set(world: &mut World, peer: u16, unreachable: bool) {
    world.rib.set_unreachable(&[(address(peer).into(), unreachable)]);
    world.settle();
}

/// Who sent the paths that are used for a prefix, the best first.
fn used(world: &World, net: Prefix) -> Vec<u16> {
    world.best.get(&net).into_iter().flatten().map(|path| path.peer.0).collect()
}

/// What is shown of prefixes that nothing leads to, by peer; of as many prefixes as are counted.
fn unresolved(world: &World) -> Vec<(u16, Prefix)> {
    let views = world.rib.routes(Scope::Unresolved, None, usize::MAX, world.now);
    let shown: Vec<_> = views.iter().map(|view| (view.peer.0, view.prefix)).collect();
    let prefixes: BTreeSet<Prefix> = shown.iter().map(|(_, net)| *net).collect();
    assert_eq!(world.rib.unresolved_prefixes(), prefixes.len());
    shown
}

/// Two peers of ours announce a prefix, the first with a shorter path; the third, in another AS, hears what we use.
fn preferred_and_other() -> World {
    let mut world = World::new();
    world.up(1, EBGP);
    world.up(2, Role::External(65002));
    world.up(3, Role::External(65003));
    world.hear(1, vec![announce(route(1, &[65001]), &[net()])]);
    world.hear(2, vec![announce(route(2, &[65002, 7]), &[net()])]);
    world.settle();
    assert_eq!(used(&world, net()), [1]);
    world
}

#[test]
fn a_path_whose_next_hop_is_out_of_reach_makes_way_for_the_next_best_and_comes_back_with_it() {
    let mut world = preferred_and_other();
    set(&mut world, 1, true);
    assert_eq!(used(&world, net()), [2]);
    assert_eq!(world.ears[&3].holds[&net()].as_path.to_string(), "64512 65002 7");
    assert_eq!(world.rib.counts(PeerId(1)).accepted, 1, "it stays in its Adj-RIB-In");
    set(&mut world, 1, false);
    assert_eq!(used(&world, net()), [1]);
    assert_eq!(world.ears[&3].holds[&net()].as_path.to_string(), "64512 65001");
}

#[test]
fn a_prefix_of_which_every_next_hop_is_out_of_reach_is_withdrawn_and_every_path_says_why() {
    let mut world = preferred_and_other();
    world.rib.set_unreachable(&[(address(1).into(), true), (address(2).into(), true)]);
    world.settle();
    assert!(world.best.is_empty(), "{:?}", world.best);
    assert!(world.holds(3).is_empty(), "{:?}", world.holds(3));
    let views = world.rib.routes(Scope::Local, Some(net()), 9, world.now);
    let shown: Vec<_> = views.iter().map(|view| (view.peer.0, view.best, &*view.reason)).collect();
    assert_eq!(
        shown,
        [(1, false, "the next hop 192.0.2.1 is not reachable"), (2, false, "the next hop 192.0.2.2 is not reachable")]
    );
    assert!(world.rib.best().is_empty());
    assert_eq!(unresolved(&world), [(1, net()), (2, net())]);
    set(&mut world, 2, false);
    assert_eq!(unresolved(&world), [], "the first is still out of reach, and the prefix is not");
    assert_eq!((used(&world, net()), world.holds(3)), (vec![2], vec!["10.1.0.0/16".to_owned()]));
    let views = world.rib.routes(Scope::Local, Some(net()), 9, world.now);
    assert_eq!((views[0].peer.0, &*views[0].reason), (2, "best: the only path"), "of those that count");
}

#[test]
fn ecmp_loses_the_member_whose_next_hop_is_out_of_reach_and_the_best_path_stays() {
    let mut world = World::new();
    for peer in [1, 2, 3] {
        world.up(peer, EBGP);
        world.hear(peer, vec![announce(route(peer, &[65001]), &[net()])]);
    }
    world.settle();
    assert_eq!(used(&world, net()), [1, 2, 3]);
    set(&mut world, 2, true);
    assert_eq!(used(&world, net()), [1, 3]);
    set(&mut world, 2, false);
    assert_eq!(used(&world, net()), [1, 2, 3]);
}

#[test]
fn a_peer_that_takes_several_paths_is_not_told_of_one_that_leads_nowhere() {
    let mut world = World::new();
    let mut reader = established(3, Role::Client, None);
    reader.send.add_path = FamilySet::from_iter([Family::Ipv4Unicast]);
    for peer in [1, 2] {
        world.up(peer, Role::Client);
        let preference = Attributes { local_pref: Some(100 + u32::from(peer)), ..route(peer, &[]) };
        world.hear(peer, vec![announce(preference, &[net()])]);
    }
    world.rib.set_peer(PeerId(3), policy(3, Role::Client), world.now);
    world.connect_as(3, Established { add_path_received: false, ..reader });
    world.settle();
    assert_eq!(world.ears[&3].paths.len(), 2);
    // The best path is the other one, and stays it.
    set(&mut world, 1, true);
    assert_eq!((used(&world, net()), world.ears[&3].paths.len()), (vec![2], 1));
    set(&mut world, 1, false);
    assert_eq!(world.ears[&3].paths.len(), 2);
}

#[test]
fn only_prefixes_with_a_path_by_the_next_hop_are_decided_again() {
    let mut world = preferred_and_other();
    let others: Vec<Prefix> = (0..50).map(|number| prefix(&format!("10.{}.0.0/16", 100 + number))).collect();
    world.hear(2, vec![announce(route(2, &[65002]), &others)]);
    world.settle();
    world.rib.set_unreachable(&[(address(1).into(), true), (ip("192.0.2.99"), true)]);
    let dirty = |world: &mut World| std::iter::from_fn(|| world.rib.tables[0].take_dirty()).count();
    assert_eq!(dirty(&mut world), 1);
    world.rib.set_unreachable(&[(address(1).into(), true), (ip("192.0.2.99"), false)]);
    assert_eq!(dirty(&mut world), 0, "nothing that a path depends on has changed");
}

#[test]
fn what_comes_later_by_a_next_hop_that_is_out_of_reach_is_not_used_either() {
    let mut world = preferred_and_other();
    set(&mut world, 1, true);
    let later = prefix("10.2.0.0/16");
    world.hear(1, vec![announce(Attributes { med: Some(9), ..route(1, &[65001]) }, &[later])]);
    world.settle();
    assert_eq!(used(&world, later), [0; 0]);
    set(&mut world, 1, false);
    assert_eq!(used(&world, later), [1]);
}

#[test]
fn what_we_originate_and_what_is_dropped_here_needs_no_next_hop() {
    let mut world = World::new();
    let policy = PeerPolicy { blackhole: true, ..policy(1, EBGP) };
    world.up_with(1, EBGP, policy, None);
    world.up(2, Role::External(65002));
    let (ours, dropped, asked) = (prefix("10.1.0.0/16"), prefix("10.2.0.9/32"), prefix("10.3.0.9/32"));
    let next_hop = NextHop::V4(address(1));
    world.rib.originate(ours, Attributes { next_hop, ..local() }, world.now);
    let blackhole = |peer, asn| Attributes { communities: [Community::BLACKHOLE].into(), ..route(peer, &[asn]) };
    world.hear(1, vec![announce(blackhole(1, 65001), &[dropped])]);
    // Its word does not count: what it sends is forwarded.
    world.hear(2, vec![announce(blackhole(2, 65002), &[asked])]);
    world.rib.set_unreachable(&[(address(1).into(), true), (address(2).into(), true)]);
    world.settle();
    assert_eq!([ours, dropped, asked].map(|net| used(&world, net)), [vec![PeerId::LOCAL.0], vec![1], vec![]]);
}

#[test]
fn the_end_of_any_tunnel_stands_for_a_next_hop_of_the_other_family_and_for_no_other() {
    let mut world = World::new();
    world.up(1, Role::Internal);
    let (across, along) = (prefix("fd01::/64"), prefix("fd02::/64"));
    let by = |end: &str| {
        let endpoint = ip(end);
        let vxlan = Tunnel::Vxlan { endpoint, vni: 7, mac: [2; 6], udp_port: None, other: Bytes::new() };
        Attributes { tunnels: [vxlan].into(), ..route6(1, &[]) }
    };
    world.hear(1, vec![announce(by("10.0.0.1"), &[across])]);
    world.hear(1, vec![announce(by("fd00::9"), &[along])]);
    world.rib.set_unreachable(&[(ip("fd00::1"), true)]);
    world.settle();
    assert_eq!((used(&world, across), used(&world, along)), (vec![1], vec![]));
    // A second one, of another encapsulation and with an end of its own.
    let mut both = by("10.0.0.1");
    let second = Tunnel::IpIp { endpoint: ip("10.0.0.3"), other: Bytes::new() };
    both.tunnels = both.tunnels.iter().cloned().chain([second]).collect();
    let twice = prefix("fd03::/64");
    world.hear(1, vec![announce(both, &[twice])]);
    world.rib.set_unreachable(&[(ip("10.0.0.1"), true)]);
    world.settle();
    assert_eq!((used(&world, across), used(&world, twice)), (vec![], vec![1]));
    world.rib.set_unreachable(&[(ip("10.0.0.3"), true)]);
    world.settle();
    assert_eq!(used(&world, twice), [0; 0]);
    world.rib.set_unreachable(&[(ip("fd00::1"), false)]);
    world.settle();
    assert_eq!((used(&world, across), used(&world, along)), (vec![1], vec![1]));
}

#[test]
fn a_next_hop_is_one_address_however_it_is_written_and_a_link_local_one_is_on_its_link() {
    let mut world = World::new();
    world.up(1, EBGP);
    let (mapped, on_link) = (prefix("fd01::/64"), prefix("fd02::/64"));
    let link = Interface::new("eth1");
    let receive = crate::wire::UpdateContext { link, ..context(EBGP) };
    world.connect_as(1, Established { receive, ..established(1, EBGP, None) });
    let by = |next_hop| Attributes { next_hop, ..route6(1, &[65001]) };
    world.hear(1, vec![announce(by(NextHop::from(ip("::ffff:192.0.2.9"))), &[mapped])]);
    world.hear(1, vec![announce(by(NextHop::link_local("fe80::9".parse().unwrap(), link)), &[on_link])]);
    world.rib.set_unreachable(&[(ip("192.0.2.9"), true), (ip("fe80::9"), true)]);
    world.settle();
    assert_eq!((used(&world, mapped), used(&world, on_link)), (vec![], vec![1]));
    let reason = &world.rib.routes(Scope::Local, Some(mapped), 1, world.now)[0].reason;
    assert_eq!(reason, "the next hop 192.0.2.9 is not reachable");
}

#[test]
fn next_hops_that_no_path_has_any_more_are_forgotten_and_the_others_are_not() {
    let mut world = preferred_and_other();
    world.rib.set_unreachable(&[(address(1).into(), true), (address(2).into(), true)]);
    world.hear(2, vec![withdraw(&[net()])]);
    world.settle();
    assert_eq!(world.rib.forget_unreachable(), [IpAddr::from(address(2))]);
    assert_eq!(world.rib.unreachable(), [IpAddr::from(address(1))]);
}

#[test]
fn stale_routes_of_a_peer_that_is_away_are_not_used_by_a_next_hop_that_is_out_of_reach() {
    let mut world = World::new();
    world.up_with(1, EBGP, policy(1, EBGP), restarts(false, true));
    world.up(2, Role::External(65002));
    world.hear(1, vec![announce(route(1, &[65001]), &[net()])]);
    world.hear(2, vec![announce(route(2, &[65002, 7]), &[net()])]);
    world.down(1, Some(Duration::from_secs(120)));
    world.settle();
    assert_eq!(used(&world, net()), [1], "it is restarting, and forwards");
    set(&mut world, 1, true);
    assert_eq!(used(&world, net()), [2]);
}
