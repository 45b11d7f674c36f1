//! Best paths in, changes out.

use std::net::IpAddr;
use std::sync::Arc;

use bgp_proto::rib::{BestChange, BestPath};
use bgp_proto::types::{Interface, NextHop, PeerId, Prefix};
use bgp_proto::wire::aspath::AsPath;
use bgp_proto::wire::attributes::{Attributes, Origin};
use bgp_proto::wire::tunnel::Tunnel;
use bytes::Bytes;
use fib_sync::{Change, Hop, Reach, Target, Weight};

use super::{Routes, Settings};
use crate::config::OverlayMode;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];

fn settings(mode: OverlayMode) -> Settings {
    Settings { mode, overlay_port: (mode != OverlayMode::Never).then_some(4789) }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn path(next_hop: &str, endpoint: Option<&str>) -> BestPath {
    let mut attributes = Attributes::new(Origin::Igp, AsPath::default(), NextHop::from(ip(next_hop)));
    attributes.tunnels = endpoint
        .map(|end| Tunnel::Vxlan { endpoint: ip(end), vni: 4096, mac: MAC, udp_port: None, other: Bytes::new() })
        .into_iter()
        .collect();
    BestPath { peer: PeerId(1), attributes: Arc::new(attributes), discard: false }
}

fn best(to: &str, paths: Vec<BestPath>) -> BestChange {
    BestChange { prefix: prefix(to), paths }
}

fn reach(text: &str) -> Reach {
    match text.split_once(' ') {
        Some(("link", device)) => Reach::Adjacent { device: device.into(), mtu: 1500 },
        Some(("via", via)) => Reach::Routed { via: ip(via), device: "eth0".into(), mtu: 1500 },
        _ if text == "local" => Reach::Local,
        _ => Reach::Unreachable { error: "network is unreachable".into() },
    }
}

/// A change as a person writes it.
fn shown(changes: &[Change]) -> Vec<String> {
    let hop = |hop: &Hop| match hop {
        Hop::Direct { via, device } => format!("via {via} dev {}", device.as_deref().unwrap_or("?")),
        Hop::Tunnel(end) => format!("vxlan {} vni {}", end.endpoint, end.vni),
    };
    changes
        .iter()
        .map(|change| match change {
            Change::Remove(prefix) => format!("- {prefix}"),
            Change::Put(route) => match &route.target {
                Target::Forward(hops) => {
                    format!("{} {}", route.prefix, hops.iter().map(hop).collect::<Vec<_>>().join(", "))
                }
                Target::Weighted(hops) => {
                    let hop = |(to, weight): &(Hop, Weight)| format!("{} weight {}", hop(to), weight.get());
                    format!("{} {}", route.prefix, hops.iter().map(hop).collect::<Vec<_>>().join(", "))
                }
                Target::Blackhole => format!("{} blackhole", route.prefix),
                Target::Unreachable => format!("{} unreachable", route.prefix),
                Target::Device(device) => format!("{} dev {device}", route.prefix),
            },
        })
        .collect()
}

fn answer(routes: &mut Routes, answers: &[(&str, &str)]) {
    routes.handle_reach(answers.iter().map(|(address, how)| (ip(address), reach(how))));
}

#[test]
fn mode_adjacency_and_offer_decide_between_direct_tunnel_and_recursion() {
    use OverlayMode::{Always, Auto, Never};
    let direct = Some("10.9.0.0/16 via 10.0.0.2 dev eth1");
    let tunnel = Some("10.9.0.0/16 vxlan 10.0.0.2 vni 4096");
    let recursive = Some("10.9.0.0/16 via 10.0.0.1 dev eth0");
    for (mode, how, offered, wanted) in [
        (Auto, "link eth1", true, direct),
        (Auto, "link eth1", false, direct),
        (Auto, "via 10.0.0.1", true, tunnel),
        (Auto, "via 10.0.0.1", false, recursive),
        (Auto, "unreachable", true, None),
        (Auto, "local", true, None),
        (Always, "link eth1", true, tunnel),
        (Always, "link eth1", false, direct),
        (Always, "via 10.0.0.1", true, tunnel),
        (Always, "via 10.0.0.1", false, recursive),
        (Always, "unreachable", true, None),
        (Never, "link eth1", true, direct),
        (Never, "via 10.0.0.1", true, recursive),
        (Never, "unreachable", true, None),
    ] {
        let mut routes = Routes::new(settings(mode));
        routes.take_in(&[best("10.9.0.0/16", vec![path("10.0.0.2", offered.then_some("10.0.0.2"))])]);
        assert_eq!(routes.unknown(), [ip("10.0.0.2")]);
        answer(&mut routes, &[("10.0.0.2", how)]);
        let plan = shown(&routes.plan());
        assert_eq!(plan.first().map(String::as_str), wanted, "{mode:?} {how} offered: {offered}");
        assert_eq!(routes.pending().len(), usize::from(wanted.is_none()));
        assert_eq!(routes.pending_count(), usize::from(wanted.is_none()));
    }
}

#[test]
fn an_ipv4_prefix_goes_by_an_ipv6_next_hop_and_an_ipv6_prefix_by_no_ipv4_one() {
    use OverlayMode::{Always, Auto, Never};
    for (mode, to, next_hop, how, offered, wanted) in [
        (Auto, "10.9.0.0/16", "fd00::2", "link eth1", true, Some("via fd00::2 dev eth1")),
        (Auto, "10.9.0.0/16", "fd00::2", "link eth1", false, Some("via fd00::2 dev eth1")),
        (Auto, "10.9.0.0/16", "fd00::2", "via fe80::1", false, Some("via fe80::1 dev eth0")),
        (Auto, "10.9.0.0/16", "fd00::2", "via fe80::1", true, Some("vxlan 10.0.0.2 vni 4096")),
        (Always, "10.9.0.0/16", "fd00::2", "link eth1", true, Some("vxlan 10.0.0.2 vni 4096")),
        (Never, "10.9.0.0/16", "fd00::2", "link eth1", true, Some("via fd00::2 dev eth1")),
        (Never, "10.9.0.0/16", "fd00::2", "unreachable", true, None),
        (Auto, "fd09::/64", "10.0.0.9", "link eth1", false, None),
        (Auto, "fd09::/64", "10.0.0.9", "link eth1", true, Some("vxlan 10.0.0.2 vni 4096")),
    ] {
        let mut routes = Routes::new(settings(mode));
        routes.take_in(&[best(to, vec![path(next_hop, offered.then_some("10.0.0.2"))])]);
        answer(&mut routes, &[(next_hop, how), ("10.0.0.2", "via 10.0.0.1")]);
        let plan = shown(&routes.plan());
        let wanted = wanted.map(|wanted| format!("{to} {wanted}"));
        assert_eq!(plan.first(), wanted.as_ref(), "{mode:?} {to} {next_hop} {how} offered: {offered}");
    }
}

#[test]
fn a_link_local_next_hop_is_on_its_link_and_nobody_is_asked() {
    let local = |link: &str| {
        let mut path = path("fe80::1", None);
        let next_hop = NextHop::link_local("fe80::1".parse().unwrap(), Interface::new(link));
        Arc::make_mut(&mut path.attributes).next_hop = next_hop;
        path
    };
    let mut routes = Routes::new(settings(OverlayMode::Auto));
    routes.take_in(&[best("10.9.0.0/16", vec![local("eth1"), local("eth0")]), best("fd09::/64", vec![local("eth1")])]);
    assert!(routes.unknown().is_empty());
    assert_eq!(
        shown(&routes.plan()),
        ["10.9.0.0/16 via fe80::1 dev eth0, via fe80::1 dev eth1", "fd09::/64 via fe80::1 dev eth1"]
    );
    let ways = routes.ways(prefix("fd09::/64")).unwrap();
    assert_eq!((ways[0].0.shown(), &*ways[0].1.reason), ("fe80::1%eth1".into(), "the next hop is on link eth1"));
}

#[test]
fn every_path_of_a_multipath_set_is_a_hop_and_the_same_next_hop_is_one() {
    let mut routes = Routes::new(settings(OverlayMode::Auto));
    let paths = vec![path("10.0.0.2", None), path("10.0.1.2", None), path("10.0.0.2", None)];
    routes.take_in(&[best("10.9.0.0/16", paths)]);
    answer(&mut routes, &[("10.0.0.2", "link eth0"), ("10.0.1.2", "link eth1")]);
    assert_eq!(shown(&routes.plan()), ["10.9.0.0/16 via 10.0.0.2 dev eth0, via 10.0.1.2 dev eth1"]);
}

#[test]
fn a_next_hop_that_changes_moves_its_routes_and_no_others() {
    let mut routes = Routes::new(settings(OverlayMode::Auto));
    routes.take_in(&[
        best("10.8.0.0/16", vec![path("10.0.0.2", Some("10.0.0.2"))]),
        best("10.9.0.0/16", vec![path("10.0.0.3", Some("10.0.0.3"))]),
    ]);
    answer(&mut routes, &[("10.0.0.2", "link eth0"), ("10.0.0.3", "link eth0")]);
    assert_eq!(routes.plan().len(), 2);
    answer(&mut routes, &[("10.0.0.2", "via 10.0.0.1")]);
    assert_eq!(shown(&routes.plan()), ["10.8.0.0/16 vxlan 10.0.0.2 vni 4096"]);
    answer(&mut routes, &[("10.0.0.2", "gone")]);
    assert_eq!(shown(&routes.plan()), ["- 10.8.0.0/16"]);
    assert_eq!(routes.pending()[0].0, prefix("10.8.0.0/16"));
    answer(&mut routes, &[("10.0.0.2", "link eth1")]);
    assert_eq!(shown(&routes.plan()), ["10.8.0.0/16 via 10.0.0.2 dev eth1"]);
    assert!(routes.plan().is_empty());
}

#[test]
fn one_hop_of_two_that_is_lost_leaves_the_other() {
    let mut routes = Routes::new(settings(OverlayMode::Auto));
    routes.take_in(&[best("0.0.0.0/0", vec![path("10.0.0.2", None), path("10.0.1.2", None)])]);
    answer(&mut routes, &[("10.0.0.2", "link eth0"), ("10.0.1.2", "link eth1")]);
    routes.plan();
    answer(&mut routes, &[("10.0.0.2", "gone")]);
    assert_eq!(shown(&routes.plan()), ["0.0.0.0/0 via 10.0.1.2 dev eth1"]);
}

#[test]
fn what_the_speaker_originates_itself_is_not_installed() {
    let mut routes = Routes::new(settings(OverlayMode::Auto));
    let local = BestPath { peer: PeerId::LOCAL, ..path("0.0.0.0", None) };
    routes.take_in(&[best("10.244.1.0/24", vec![local])]);
    assert!(routes.unknown().is_empty());
    assert!(routes.plan().is_empty());
}

#[test]
fn this_hosts_own_blocks_and_pods_go_before_any_path() {
    let mut routes = Routes::new(settings(OverlayMode::Auto));
    routes.take_in(&[best("10.244.1.0/24", vec![path("10.0.0.2", None)])]);
    answer(&mut routes, &[("10.0.0.2", "link eth0")]);
    routes.set_local(
        &[prefix("10.244.1.0/24")],
        [(ip("10.244.1.7"), "lin1".to_owned()), (ip("fd00::7"), "lin1".to_owned())],
    );
    assert_eq!(shown(&routes.plan()), ["10.244.1.0/24 unreachable", "10.244.1.7/32 dev lin1", "fd00::7/128 dev lin1"]);
    routes.set_local(&[], [(ip("fd00::7"), "lin2".to_owned())]);
    assert_eq!(
        shown(&routes.plan()),
        ["10.244.1.0/24 via 10.0.0.2 dev eth0", "- 10.244.1.7/32", "fd00::7/128 dev lin2"]
    );
}

#[test]
fn an_ipv6_prefix_behind_an_ipv4_next_hop_takes_the_tunnel_even_where_the_next_hop_is_adjacent() {
    let mut routes = Routes::new(settings(OverlayMode::Auto));
    routes.take_in(&[
        best("fd00:8::/64", vec![path("::ffff:10.0.0.2", Some("10.0.0.2"))]),
        best("fd00:9::/64", vec![path("::ffff:10.0.0.2", None)]),
    ]);
    assert_eq!(routes.unknown(), [ip("10.0.0.2")]);
    answer(&mut routes, &[("10.0.0.2", "link eth0")]);
    assert_eq!(shown(&routes.plan()), ["fd00:8::/64 vxlan 10.0.0.2 vni 4096"]);
    let pending = routes.pending();
    assert!(pending[0].1[0].1.reason.contains("without a tunnel"), "{pending:?}");
}

#[test]
fn a_tunnel_end_that_is_not_the_next_hop_is_asked_for_too() {
    let mut routes = Routes::new(settings(OverlayMode::Auto));
    routes.take_in(&[best("fd00:8::/64", vec![path("fd00::2", Some("10.0.0.2"))])]);
    assert_eq!(routes.unknown(), [ip("10.0.0.2"), ip("fd00::2")]);
    answer(&mut routes, &[("10.0.0.2", "via 10.0.0.1"), ("fd00::2", "gone")]);
    assert_eq!(shown(&routes.plan()), ["fd00:8::/64 vxlan 10.0.0.2 vni 4096"]);
}

#[test]
fn a_path_whose_router_is_cut_off_is_not_used_though_the_tunnel_that_it_passed_on_could_be() {
    let mut routes = Routes::new(settings(OverlayMode::Auto));
    routes.take_in(&[best("10.9.0.0/16", vec![path("10.1.1.0", Some("10.0.0.2")), path("10.1.2.0", None)])]);
    answer(&mut routes, &[("10.0.0.2", "via 10.1.2.0"), ("10.1.1.0", "link eth1"), ("10.1.2.0", "link eth2")]);
    assert_eq!(shown(&routes.plan()), ["10.9.0.0/16 via 10.1.1.0 dev eth1, via 10.1.2.0 dev eth2"]);
    answer(&mut routes, &[("10.1.1.0", "gone")]);
    assert_eq!(shown(&routes.plan()), ["10.9.0.0/16 via 10.1.2.0 dev eth2"]);
}

#[test]
fn a_route_to_the_end_of_a_tunnel_does_not_go_through_it() {
    let mut routes = Routes::new(settings(OverlayMode::Always));
    routes.take_in(&[best("10.0.0.2/32", vec![path("10.0.0.2", Some("10.0.0.2"))])]);
    answer(&mut routes, &[("10.0.0.2", "via 10.0.0.1")]);
    assert_eq!(shown(&routes.plan()), ["10.0.0.2/32 via 10.0.0.1 dev eth0"]);
}

#[test]
fn a_change_of_mode_moves_the_routes_in_place() {
    let mut routes = Routes::new(settings(OverlayMode::Auto));
    routes.take_in(&[best("10.9.0.0/16", vec![path("10.0.0.2", Some("10.0.0.2"))])]);
    answer(&mut routes, &[("10.0.0.2", "link eth0")]);
    routes.plan();
    routes.set_settings(settings(OverlayMode::Always));
    assert_eq!(shown(&routes.plan()), ["10.9.0.0/16 vxlan 10.0.0.2 vni 4096"]);
    routes.set_settings(settings(OverlayMode::Never));
    assert_eq!(shown(&routes.plan()), ["10.9.0.0/16 via 10.0.0.2 dev eth0"]);
}

#[test]
fn a_tunnel_on_another_port_is_not_used_and_says_so() {
    let mut routes = Routes::new(Settings { mode: OverlayMode::Auto, overlay_port: Some(8472) });
    routes.take_in(&[best("10.9.0.0/16", vec![path("10.0.0.2", Some("10.0.0.2"))])]);
    answer(&mut routes, &[("10.0.0.2", "via 10.0.0.1")]);
    assert_eq!(shown(&routes.plan()), ["10.9.0.0/16 via 10.0.0.1 dev eth0"]);
    assert!(routes.all_ways()[0].verdict.reason.contains("4789"));
}

#[test]
fn withdrawn_prefixes_leave_no_group_behind() {
    let mut routes = Routes::new(settings(OverlayMode::Auto));
    for round in 0..3 {
        let changes: Vec<_> = (0..50u8)
            .map(|n| best(&format!("10.{n}.0.0/16"), vec![path(&format!("10.0.{round}.{n}"), None)]))
            .collect();
        routes.take_in(&changes);
    }
    assert_eq!(routes.all_ways().len(), 50);
    let gone: Vec<_> = (0..50u8).map(|n| best(&format!("10.{n}.0.0/16"), vec![])).collect();
    routes.take_in(&gone);
    assert!(routes.all_ways().is_empty() && routes.numbers.is_empty() && routes.chosen.is_empty());
    assert_eq!(routes.free.len(), routes.groups.len());
}

#[test]
fn bandwidths_become_weights_where_every_way_has_one() {
    let with = |next_hop: &str, bandwidth: Option<&str>| {
        let mut path = path(next_hop, None);
        let community = |text: &str| format!("lb:65001:{text}").parse().unwrap();
        Arc::make_mut(&mut path.attributes).extended_communities = bandwidth.map(community).into_iter().collect();
        path
    };
    let mut routes = Routes::new(settings(OverlayMode::Never));
    answer(&mut routes, &[("10.0.0.1", "link eth1"), ("10.0.0.2", "link eth2")]);
    for (one, other, expected) in [
        (Some("10G"), Some("25G"), "10.9.0.0/16 via 10.0.0.1 dev eth1 weight 2, via 10.0.0.2 dev eth2 weight 5"),
        (Some("10G"), Some("10G"), "10.9.0.0/16 via 10.0.0.1 dev eth1, via 10.0.0.2 dev eth2"),
        (Some("25G"), Some("10G"), "10.9.0.0/16 via 10.0.0.1 dev eth1 weight 5, via 10.0.0.2 dev eth2 weight 2"),
        (Some("10G"), None, "10.9.0.0/16 via 10.0.0.1 dev eth1, via 10.0.0.2 dev eth2"),
    ] {
        routes.take_in(&[best("10.9.0.0/16", vec![with("10.0.0.1", one), with("10.0.0.2", other)])]);
        answer(&mut routes, &[("10.0.0.1", "link eth1"), ("10.0.0.2", "link eth2")]);
        assert_eq!(shown(&routes.plan()), [expected], "{one:?} {other:?}");
    }
    // Several paths by one hop count together.
    let three = vec![with("10.0.0.1", Some("10G")), with("10.0.0.1", Some("30G")), with("10.0.0.2", Some("10G"))];
    routes.take_in(&[best("10.9.0.0/16", three)]);
    answer(&mut routes, &[("10.0.0.1", "link eth1"), ("10.0.0.2", "link eth2")]);
    let expected = "10.9.0.0/16 via 10.0.0.1 dev eth1 weight 4, via 10.0.0.2 dev eth2 weight 1";
    assert_eq!(shown(&routes.plan()), [expected]);
}

#[test]
fn what_is_to_be_discarded_is_a_blackhole_for_as_long_as_it_is_the_best_path() {
    let mut routes = Routes::new(settings(OverlayMode::Never));
    let discard = || BestPath { discard: true, ..path("10.0.0.1", None) };
    routes.take_in(&[best("203.0.113.9/32", vec![discard()])]);
    assert!(routes.unknown().is_empty(), "where it leads does not matter");
    assert_eq!(shown(&routes.plan()), ["203.0.113.9/32 blackhole"]);
    routes.take_in(&[best("203.0.113.9/32", vec![discard()])]);
    assert_eq!(shown(&routes.plan()), [""; 0]);
    routes.take_in(&[best("203.0.113.9/32", vec![path("10.0.0.1", None)])]);
    answer(&mut routes, &[("10.0.0.1", "link eth1")]);
    assert_eq!(shown(&routes.plan()), ["203.0.113.9/32 via 10.0.0.1 dev eth1"]);
    routes.take_in(&[best("203.0.113.9/32", vec![discard()])]);
    assert_eq!(shown(&routes.plan()), ["203.0.113.9/32 blackhole"]);
    routes.take_in(&[best("203.0.113.9/32", vec![])]);
    assert_eq!(shown(&routes.plan()), ["- 203.0.113.9/32"]);
}
