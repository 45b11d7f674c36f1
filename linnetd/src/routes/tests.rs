//! Best paths in, changes out.

mod backups;
mod hints;
mod recursion;
mod sealed;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use bgp_proto::rib::{BestChange, BestPath};
use bgp_proto::types::{Interface, NextHop, PeerId, Prefix};
use bgp_proto::wire::aspath::AsPath;
use bgp_proto::wire::attributes::{Attributes, Origin};
use bgp_proto::wire::tunnel::Tunnel;
use bytes::Bytes;
use fib_sync::{Change, Encapsulation, Hop, PathId, Reach, Target, TunnelEnd, Weight};
use ipnetwork::IpNetwork;

use super::{Local, Routes, Settings, Verdict, Way, WayStatus};
use crate::config::OverlayMode;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];
const VXLAN: Encapsulation = Encapsulation::Vxlan { vni: 4096, port: 4789 };

fn settings(mode: OverlayMode) -> Settings {
    with_overlay(mode, (mode != OverlayMode::Never).then_some(VXLAN))
}

fn with_overlay(mode: OverlayMode, overlay: Option<Encapsulation>) -> Settings {
    Settings { mode, overlay, lingering: None, sealed: false, cluster: Vec::new() }
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
    BestChange { prefix: prefix(to), paths, backup: None, only_backup: false }
}

fn reach(text: &str) -> Reach {
    match text.split_once(' ') {
        Some(("link", device)) => Reach::Adjacent { device: device.into(), mtu: 1500 },
        Some(("onlink", via)) => Reach::Routed { via: ip(via), device: "eth0".into(), onlink: true, mtu: 1500 },
        Some(("via", via)) => Reach::Routed { via: ip(via), device: "eth0".into(), onlink: false, mtu: 1500 },
        _ if text == "local" => Reach::Local,
        _ => Reach::Unreachable { error: "network is unreachable".into() },
    }
}

/// The translation with an engine that does what it is told, and knows routes by what they lead to.
struct World {
    routes: Routes,
    paths: BTreeMap<PathId, Target>,
    backups: BTreeMap<PathId, Hop>,
    idle_tunnels: BTreeMap<PathId, TunnelEnd>,
    wants: BTreeMap<IpNetwork, PathId>,
    held: BTreeMap<IpNetwork, String>,
}

impl World {
    fn new(settings: Settings) -> Self {
        Self {
            routes: Routes::new(settings),
            paths: BTreeMap::new(),
            backups: BTreeMap::new(),
            idle_tunnels: BTreeMap::new(),
            wants: BTreeMap::new(),
            held: BTreeMap::new(),
        }
    }

    /// Carries the plan out; what changed in the kernel, as a person writes it, by prefix.
    fn settle(&mut self) -> Vec<String> {
        let (plan, changes) = self.routes.plan();
        let mut left = BTreeSet::new();
        for change in changes {
            match change {
                Change::Path(path, target) => {
                    self.paths.remove(&path);
                    self.backups.remove(&path);
                    self.idle_tunnels.remove(&path);
                    self.backups.extend(target.as_ref().and_then(|target| Some((path, target.backup.clone()?))));
                    self.idle_tunnels.extend(target.as_ref().and_then(|target| Some((path, target.idle_tunnel?))));
                    self.paths.extend(target.map(|target| (path, target.target)));
                }
                Change::Put(prefix, path) => left.extend(self.wants.insert(prefix, path)),
                Change::Remove(prefix) => left.extend(self.wants.remove(&prefix)),
            }
        }
        let unused: Vec<PathId> =
            left.into_iter().filter(|path| !self.wants.values().any(|used| used == path)).collect();
        self.routes.handle_unused(plan, &unused);
        let shown = |path: &PathId| {
            let backup = self.backups.get(path).map(|hop| format!(" backup {}", shown_hop(hop)));
            Some(format!("{}{}", shown(self.paths.get(path)?), backup.unwrap_or_default()))
        };
        let held: BTreeMap<IpNetwork, String> =
            self.wants.iter().filter_map(|(prefix, path)| Some((*prefix, shown(path)?))).collect();
        let before = std::mem::replace(&mut self.held, held);
        let all: BTreeSet<&IpNetwork> = before.keys().chain(self.held.keys()).collect();
        all.into_iter()
            .filter(|prefix| before.get(prefix) != self.held.get(prefix))
            .map(|prefix| match self.held.get(prefix) {
                Some(target) => format!("{prefix} {target}"),
                None => format!("- {prefix}"),
            })
            .collect()
    }

    /// Routes that have no way that could be used, with how each is judged.
    fn pending(&self) -> Vec<(IpNetwork, Vec<(Way, Verdict)>)> {
        let idle = self.wants.iter().filter(|(_, path)| !self.paths.contains_key(path));
        idle.map(|(prefix, path)| (*prefix, self.routes.ways(*path).unwrap_or_default())).collect()
    }

    fn ways_of(&self, to: &str) -> Vec<(Way, Verdict)> {
        self.routes.ways(self.wants[&to.parse().unwrap()]).unwrap()
    }

    fn all_ways(&self) -> Vec<WayStatus> {
        let mut users: BTreeMap<PathId, usize> = BTreeMap::new();
        self.wants.values().for_each(|path| *users.entry(*path).or_default() += 1);
        self.routes.all_ways(&users.into_iter().collect::<Vec<_>>())
    }

    fn set_local(&mut self, blocks: &[Prefix], pods: impl IntoIterator<Item = (IpAddr, String)>) {
        let local = Local::new(blocks, pods);
        let asked = self.routes.not_local(&local).into_iter();
        let chosen = asked.filter_map(|prefix| Some((prefix, *self.wants.get(&prefix.into())?))).collect();
        self.routes.set_local(local, &chosen);
    }
}

impl std::ops::Deref for World {
    type Target = Routes;
    fn deref(&self) -> &Routes {
        &self.routes
    }
}

impl std::ops::DerefMut for World {
    fn deref_mut(&mut self) -> &mut Routes {
        &mut self.routes
    }
}

/// Where a route leads, as a person writes it.
fn shown_hop(hop: &Hop) -> String {
    match hop {
        Hop::Direct { via, device, onlink } => {
            let onlink = if *onlink { " onlink" } else { "" };
            format!("via {via} dev {}{onlink}", device.as_deref().unwrap_or("?"))
        }
        Hop::Tunnel(TunnelEnd::Vxlan { endpoint, vni, .. }) => format!("vxlan {endpoint} vni {vni}"),
        Hop::Tunnel(TunnelEnd::IpIp { endpoint }) => format!("ipip {endpoint}"),
        Hop::Tunnel(TunnelEnd::WireGuard { endpoint, port, .. }) => format!("wireguard {endpoint}:{port}"),
    }
}

fn shown(target: &Target) -> String {
    match target {
        Target::Forward(hops) => hops.iter().map(shown_hop).collect::<Vec<_>>().join(", "),
        Target::Weighted(hops) => {
            let hop = |(to, weight): &(Hop, Weight)| format!("{} weight {}", shown_hop(to), weight.get());
            hops.iter().map(hop).collect::<Vec<_>>().join(", ")
        }
        Target::Blackhole => "blackhole".into(),
        Target::Unreachable => "unreachable".into(),
        Target::Device(device) => format!("dev {device}"),
    }
}

fn answer(routes: &mut World, answers: &[(&str, &str)]) {
    routes.handle_reach(answers.iter().map(|(address, how)| (ip(address), reach(how))));
}

#[test]
fn mode_adjacency_and_offer_decide_between_direct_tunnel_and_recursion() {
    use OverlayMode::{Always, Auto, Never};
    let direct = Some("10.9.0.0/16 via 10.0.0.2 dev eth1");
    let tunnel = Some("10.9.0.0/16 vxlan 10.0.0.2 vni 4096");
    let recursive = Some("10.9.0.0/16 via 10.0.0.1 dev eth0");
    let onlink = Some("10.9.0.0/16 via 10.0.0.1 dev eth0 onlink");
    let itself = Some("10.9.0.0/16 via 10.0.0.2 dev eth0 onlink");
    for (mode, how, offered, wanted) in [
        (Auto, "link eth1", true, direct),
        (Auto, "link eth1", false, direct),
        (Auto, "via 10.0.0.1", true, tunnel),
        (Auto, "via 10.0.0.1", false, recursive),
        (Auto, "onlink 10.0.0.1", true, tunnel),
        (Auto, "onlink 10.0.0.1", false, onlink),
        (Auto, "onlink 10.0.0.2", true, itself),
        (Never, "onlink 10.0.0.1", true, onlink),
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
        let mut routes = World::new(settings(mode));
        routes.take_in(&[best("10.9.0.0/16", vec![path("10.0.0.2", offered.then_some("10.0.0.2"))])]);
        assert_eq!(routes.unknown(), [ip("10.0.0.2")]);
        answer(&mut routes, &[("10.0.0.2", how)]);
        let plan = routes.settle();
        assert_eq!(plan.first().map(String::as_str), wanted, "{mode:?} {how} offered: {offered}");
        assert_eq!(routes.pending().len(), usize::from(wanted.is_none()));
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
        let mut routes = World::new(settings(mode));
        routes.take_in(&[best(to, vec![path(next_hop, offered.then_some("10.0.0.2"))])]);
        answer(&mut routes, &[(next_hop, how), ("10.0.0.2", "via 10.0.0.1")]);
        let plan = routes.settle();
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
    let mut routes = World::new(settings(OverlayMode::Auto));
    routes.take_in(&[best("10.9.0.0/16", vec![local("eth1"), local("eth0")]), best("fd09::/64", vec![local("eth1")])]);
    assert!(routes.unknown().is_empty());
    assert_eq!(
        routes.settle(),
        ["10.9.0.0/16 via fe80::1 dev eth0, via fe80::1 dev eth1", "fd09::/64 via fe80::1 dev eth1"]
    );
    let ways = routes.ways_of("fd09::/64");
    assert_eq!((ways[0].0.shown(), &*ways[0].1.reason), ("fe80::1%eth1".into(), "the next hop is on link eth1"));
}

#[test]
fn every_path_of_a_multipath_set_is_a_hop_and_the_same_next_hop_is_one() {
    let mut routes = World::new(settings(OverlayMode::Auto));
    let paths = vec![path("10.0.0.2", None), path("10.0.1.2", None), path("10.0.0.2", None)];
    routes.take_in(&[best("10.9.0.0/16", paths)]);
    answer(&mut routes, &[("10.0.0.2", "link eth0"), ("10.0.1.2", "link eth1")]);
    assert_eq!(routes.settle(), ["10.9.0.0/16 via 10.0.0.2 dev eth0, via 10.0.1.2 dev eth1"]);
}

#[test]
fn a_next_hop_that_changes_moves_its_routes_and_no_others() {
    let mut routes = World::new(settings(OverlayMode::Auto));
    routes.take_in(&[
        best("10.8.0.0/16", vec![path("10.0.0.2", Some("10.0.0.2"))]),
        best("10.9.0.0/16", vec![path("10.0.0.3", Some("10.0.0.3"))]),
    ]);
    answer(&mut routes, &[("10.0.0.2", "link eth0"), ("10.0.0.3", "link eth0")]);
    assert_eq!(routes.settle().len(), 2);
    answer(&mut routes, &[("10.0.0.2", "via 10.0.0.1")]);
    assert_eq!(routes.settle(), ["10.8.0.0/16 vxlan 10.0.0.2 vni 4096"]);
    answer(&mut routes, &[("10.0.0.2", "gone")]);
    assert_eq!(routes.settle(), ["- 10.8.0.0/16"]);
    assert_eq!(routes.pending()[0].0.to_string(), "10.8.0.0/16");
    answer(&mut routes, &[("10.0.0.2", "link eth1")]);
    assert_eq!(routes.settle(), ["10.8.0.0/16 via 10.0.0.2 dev eth1"]);
    assert!(routes.settle().is_empty());
}

#[test]
fn one_hop_of_two_that_is_lost_leaves_the_other() {
    let mut routes = World::new(settings(OverlayMode::Auto));
    routes.take_in(&[best("0.0.0.0/0", vec![path("10.0.0.2", None), path("10.0.1.2", None)])]);
    answer(&mut routes, &[("10.0.0.2", "link eth0"), ("10.0.1.2", "link eth1")]);
    routes.settle();
    answer(&mut routes, &[("10.0.0.2", "gone")]);
    assert_eq!(routes.settle(), ["0.0.0.0/0 via 10.0.1.2 dev eth1"]);
}

#[test]
fn what_the_speaker_originates_itself_is_not_installed() {
    let mut routes = World::new(settings(OverlayMode::Auto));
    let local = BestPath { peer: PeerId::LOCAL, ..path("0.0.0.0", None) };
    routes.take_in(&[best("10.244.1.0/24", vec![local])]);
    assert!(routes.unknown().is_empty());
    assert!(routes.settle().is_empty());
}

#[test]
fn this_hosts_own_blocks_and_pods_go_before_any_path() {
    let mut routes = World::new(settings(OverlayMode::Auto));
    routes.take_in(&[best("10.244.1.0/24", vec![path("10.0.0.2", None)])]);
    answer(&mut routes, &[("10.0.0.2", "link eth0")]);
    assert_eq!(routes.settle(), ["10.244.1.0/24 via 10.0.0.2 dev eth0"]);
    routes.set_local(
        &[prefix("10.244.1.0/24")],
        [(ip("10.244.1.7"), "lin1".to_owned()), (ip("fd00::7"), "lin1".to_owned())],
    );
    assert_eq!(routes.settle(), ["10.244.1.0/24 unreachable", "10.244.1.7/32 dev lin1", "fd00::7/128 dev lin1"]);
    routes.set_local(&[], [(ip("fd00::7"), "lin2".to_owned())]);
    assert_eq!(routes.settle(), ["10.244.1.0/24 via 10.0.0.2 dev eth0", "- 10.244.1.7/32", "fd00::7/128 dev lin2"]);
}

#[test]
fn what_bgp_chose_or_gave_up_while_this_host_had_the_prefix_itself_counts_when_it_has_it_no_more() {
    let mut routes = World::new(settings(OverlayMode::Auto));
    let (one, other) = (prefix("10.244.1.0/24"), prefix("10.244.2.0/24"));
    let by = |to: &str, next_hop: &str| best(to, vec![path(next_hop, None)]);
    routes.take_in(&[by("10.244.1.0/24", "10.0.0.2"), by("10.244.2.0/24", "10.0.0.2")]);
    answer(&mut routes, &[("10.0.0.2", "link eth0"), ("10.0.0.3", "link eth0")]);
    routes.settle();
    routes.set_local(&[one, other], []);
    assert_eq!(routes.settle(), ["10.244.1.0/24 unreachable", "10.244.2.0/24 unreachable"]);
    routes.take_in(&[by("10.244.1.0/24", "10.0.0.3"), best("10.244.2.0/24", vec![])]);
    assert!(routes.settle().is_empty());
    routes.set_local(&[], []);
    assert_eq!(routes.settle(), ["10.244.1.0/24 via 10.0.0.3 dev eth0", "- 10.244.2.0/24"]);
    routes.take_in(&[best("10.244.1.0/24", vec![])]);
    routes.settle();
    assert!(routes.numbers.is_empty(), "{:?}", routes.numbers);
}

#[test]
fn a_path_that_is_put_again_before_the_engine_has_said_that_nobody_has_it_is_kept() {
    let mut routes = World::new(settings(OverlayMode::Never));
    answer(&mut routes, &[("10.0.0.2", "link eth0")]);
    let change = |paths| [best("10.9.0.0/16", paths)];
    routes.take_in(&change(vec![path("10.0.0.2", None)]));
    let (_, put) = routes.plan();
    routes.take_in(&change(vec![]));
    let (removing, _) = routes.plan();
    routes.take_in(&change(vec![path("10.0.0.2", None)]));
    let (_, again) = routes.plan();
    // The engine's answer to the removal comes when the path has been put once more.
    routes.handle_unused(removing, &[PathId(0)]);
    assert_eq!((put.len(), again.len()), (2, 1), "told once: {put:?} {again:?}");
    assert_eq!(routes.plan().1, []);
    assert_eq!(routes.numbers.len(), 1);
}

#[test]
fn an_ipv6_prefix_behind_an_ipv4_next_hop_takes_the_tunnel_even_where_the_next_hop_is_adjacent() {
    let mut routes = World::new(settings(OverlayMode::Auto));
    routes.take_in(&[
        best("fd00:8::/64", vec![path("::ffff:10.0.0.2", Some("10.0.0.2"))]),
        best("fd00:9::/64", vec![path("::ffff:10.0.0.2", None)]),
    ]);
    assert_eq!(routes.unknown(), [ip("10.0.0.2")]);
    answer(&mut routes, &[("10.0.0.2", "link eth0")]);
    assert_eq!(routes.settle(), ["fd00:8::/64 vxlan 10.0.0.2 vni 4096"]);
    let pending = routes.pending();
    assert!(pending[0].1[0].1.reason.contains("without a tunnel"), "{pending:?}");
}

#[test]
fn a_tunnel_end_that_is_not_the_next_hop_is_asked_for_too() {
    let mut routes = World::new(settings(OverlayMode::Auto));
    routes.take_in(&[best("fd00:8::/64", vec![path("fd00::2", Some("10.0.0.2"))])]);
    assert_eq!(routes.unknown(), [ip("10.0.0.2"), ip("fd00::2")]);
    answer(&mut routes, &[("10.0.0.2", "via 10.0.0.1"), ("fd00::2", "gone")]);
    assert_eq!(routes.settle(), ["fd00:8::/64 vxlan 10.0.0.2 vni 4096"]);
}

#[test]
fn a_path_whose_router_is_cut_off_is_not_used_though_the_tunnel_that_it_passed_on_could_be() {
    let mut routes = World::new(settings(OverlayMode::Auto));
    routes.take_in(&[best("10.9.0.0/16", vec![path("10.1.1.0", Some("10.0.0.2")), path("10.1.2.0", None)])]);
    answer(&mut routes, &[("10.0.0.2", "via 10.1.2.0"), ("10.1.1.0", "link eth1"), ("10.1.2.0", "link eth2")]);
    assert_eq!(routes.settle(), ["10.9.0.0/16 via 10.1.1.0 dev eth1, via 10.1.2.0 dev eth2"]);
    answer(&mut routes, &[("10.1.1.0", "gone")]);
    assert_eq!(routes.settle(), ["10.9.0.0/16 via 10.1.2.0 dev eth2"]);
}

#[test]
fn a_route_to_the_end_of_a_tunnel_does_not_go_through_it() {
    let mut routes = World::new(settings(OverlayMode::Always));
    routes.take_in(&[best("10.0.0.2/32", vec![path("10.0.0.2", Some("10.0.0.2"))])]);
    answer(&mut routes, &[("10.0.0.2", "via 10.0.0.1")]);
    assert_eq!(routes.settle(), ["10.0.0.2/32 via 10.0.0.1 dev eth0"]);
}

#[test]
fn a_change_of_mode_moves_the_routes_in_place() {
    let mut routes = World::new(settings(OverlayMode::Auto));
    routes.take_in(&[best("10.9.0.0/16", vec![path("10.0.0.2", Some("10.0.0.2"))])]);
    answer(&mut routes, &[("10.0.0.2", "link eth0")]);
    routes.settle();
    routes.set_settings(settings(OverlayMode::Always));
    assert_eq!(routes.settle(), ["10.9.0.0/16 vxlan 10.0.0.2 vni 4096"]);
    routes.set_settings(settings(OverlayMode::Never));
    assert_eq!(routes.settle(), ["10.9.0.0/16 via 10.0.0.2 dev eth0"]);
}

#[test]
fn a_tunnel_on_another_port_is_not_used_and_says_so() {
    let mut routes = World::new(with_overlay(OverlayMode::Auto, Some(Encapsulation::Vxlan { vni: 4096, port: 8472 })));
    routes.take_in(&[best("10.9.0.0/16", vec![path("10.0.0.2", Some("10.0.0.2"))])]);
    answer(&mut routes, &[("10.0.0.2", "via 10.0.0.1")]);
    assert_eq!(routes.settle(), ["10.9.0.0/16 via 10.0.0.1 dev eth0"]);
    assert!(routes.all_ways()[0].verdict.reason.contains("4789"));
}

#[test]
fn withdrawn_prefixes_leave_no_group_behind() {
    let mut routes = World::new(settings(OverlayMode::Auto));
    for round in 0..3 {
        let changes: Vec<_> = (0..50u8)
            .map(|n| best(&format!("10.{n}.0.0/16"), vec![path(&format!("10.0.{round}.{n}"), None)]))
            .collect();
        routes.take_in(&changes);
        routes.settle();
    }
    assert_eq!(routes.all_ways().len(), 50);
    let gone: Vec<_> = (0..50u8).map(|n| best(&format!("10.{n}.0.0/16"), vec![])).collect();
    routes.take_in(&gone);
    routes.settle();
    assert!(routes.all_ways().is_empty() && routes.numbers.is_empty() && routes.shadowed.is_empty());
    assert_eq!((routes.free.len(), routes.groups.len()), (100, 100), "those of one round are free when the next comes");
}

#[test]
fn bandwidths_become_weights_where_every_way_has_one() {
    let with = |next_hop: &str, bandwidth: Option<&str>| {
        let mut path = path(next_hop, None);
        let community = |text: &str| format!("lb:65001:{text}").parse().unwrap();
        Arc::make_mut(&mut path.attributes).extended_communities = bandwidth.map(community).into_iter().collect();
        path
    };
    let mut routes = World::new(settings(OverlayMode::Never));
    answer(&mut routes, &[("10.0.0.1", "link eth1"), ("10.0.0.2", "link eth2")]);
    for (one, other, expected) in [
        (Some("10G"), Some("25G"), "10.9.0.0/16 via 10.0.0.1 dev eth1 weight 2, via 10.0.0.2 dev eth2 weight 5"),
        (Some("10G"), Some("10G"), "10.9.0.0/16 via 10.0.0.1 dev eth1, via 10.0.0.2 dev eth2"),
        (Some("25G"), Some("10G"), "10.9.0.0/16 via 10.0.0.1 dev eth1 weight 5, via 10.0.0.2 dev eth2 weight 2"),
        (Some("10G"), None, "10.9.0.0/16 via 10.0.0.1 dev eth1, via 10.0.0.2 dev eth2"),
    ] {
        routes.take_in(&[best("10.9.0.0/16", vec![with("10.0.0.1", one), with("10.0.0.2", other)])]);
        answer(&mut routes, &[("10.0.0.1", "link eth1"), ("10.0.0.2", "link eth2")]);
        assert_eq!(routes.settle(), [expected], "{one:?} {other:?}");
    }
    // Several paths by one hop count together.
    let three = vec![with("10.0.0.1", Some("10G")), with("10.0.0.1", Some("30G")), with("10.0.0.2", Some("10G"))];
    routes.take_in(&[best("10.9.0.0/16", three)]);
    answer(&mut routes, &[("10.0.0.1", "link eth1"), ("10.0.0.2", "link eth2")]);
    let expected = "10.9.0.0/16 via 10.0.0.1 dev eth1 weight 4, via 10.0.0.2 dev eth2 weight 1";
    assert_eq!(routes.settle(), [expected]);
}

#[test]
fn what_is_to_be_discarded_is_a_blackhole_for_as_long_as_it_is_the_best_path() {
    let mut routes = World::new(settings(OverlayMode::Never));
    let discard = || BestPath { discard: true, ..path("10.0.0.1", None) };
    routes.take_in(&[best("203.0.113.9/32", vec![discard()])]);
    assert!(routes.unknown().is_empty(), "where it leads does not matter");
    assert_eq!(routes.settle(), ["203.0.113.9/32 blackhole"]);
    routes.take_in(&[best("203.0.113.9/32", vec![discard()])]);
    assert_eq!(routes.settle(), [""; 0]);
    routes.take_in(&[best("203.0.113.9/32", vec![path("10.0.0.1", None)])]);
    answer(&mut routes, &[("10.0.0.1", "link eth1")]);
    assert_eq!(routes.settle(), ["203.0.113.9/32 via 10.0.0.1 dev eth1"]);
    routes.take_in(&[best("203.0.113.9/32", vec![discard()])]);
    assert_eq!(routes.settle(), ["203.0.113.9/32 blackhole"]);
    routes.take_in(&[best("203.0.113.9/32", vec![])]);
    assert_eq!(routes.settle(), ["- 203.0.113.9/32"]);
}

/// A path from 10.0.0.2 with these tunnels to it.
fn offering(encapsulations: &[&str]) -> BestPath {
    let endpoint = ip("10.0.0.2");
    let mut path = path("10.0.0.2", None);
    let tunnel = |name: &&str| match *name {
        "ipip" => Tunnel::IpIp { endpoint, other: Bytes::new() },
        _ => Tunnel::Vxlan { endpoint, vni: 4096, mac: MAC, udp_port: None, other: Bytes::new() },
    };
    Arc::make_mut(&mut path.attributes).tunnels = encapsulations.iter().map(tunnel).collect();
    path
}

#[test]
fn of_the_tunnels_that_a_path_offers_the_one_of_our_own_kind_is_taken() {
    let (direct, vxlan, ipip) = ("via 10.0.0.1 dev eth0", "vxlan 10.0.0.2 vni 4096", "ipip 10.0.0.2");
    for (ours, offered, wanted, why) in [
        (VXLAN, &["vxlan"][..], vxlan, "no L2 adjacency"),
        (VXLAN, &["ipip", "vxlan"], vxlan, "no L2 adjacency"),
        (VXLAN, &["ipip"], direct, "10.0.0.2 offers ipip, and this node's overlay.encapsulation is \"vxlan\""),
        (Encapsulation::IpIp, &["ipip"], ipip, "no L2 adjacency"),
        (Encapsulation::IpIp, &["vxlan", "ipip"], ipip, "no L2 adjacency"),
        (Encapsulation::IpIp, &["vxlan"], direct, "10.0.0.2 offers vxlan"),
        (Encapsulation::IpIp, &[], direct, "no tunnel is used"),
    ] {
        let mut routes = World::new(with_overlay(OverlayMode::Auto, Some(ours)));
        routes.take_in(&[best("10.9.0.0/16", vec![offering(offered)])]);
        answer(&mut routes, &[("10.0.0.2", "via 10.0.0.1")]);
        assert_eq!(routes.settle(), [format!("10.9.0.0/16 {wanted}")], "{ours:?} {offered:?}");
        let ways = routes.ways_of("10.9.0.0/16");
        assert!(ways[0].1.reason.contains(why), "{ours:?} {offered:?}: {}", ways[0].1.reason);
    }
}

#[test]
fn another_encapsulation_of_our_own_moves_the_routes_in_place() {
    let mut routes = World::new(settings(OverlayMode::Auto));
    routes.take_in(&[best("10.9.0.0/16", vec![offering(&["vxlan", "ipip"])])]);
    answer(&mut routes, &[("10.0.0.2", "via 10.0.0.1")]);
    assert_eq!(routes.settle(), ["10.9.0.0/16 vxlan 10.0.0.2 vni 4096"]);
    routes.set_settings(with_overlay(OverlayMode::Auto, Some(Encapsulation::IpIp)));
    assert_eq!(routes.settle(), ["10.9.0.0/16 ipip 10.0.0.2"]);
}

#[test]
fn ipv6_has_no_tunnel_with_ipip_and_is_told_so() {
    for offered in [&["ipip"][..], &[]] {
        let mut routes = World::new(with_overlay(OverlayMode::Auto, Some(Encapsulation::IpIp)));
        routes.take_in(&[best("fd09::/64", vec![offering(offered)])]);
        answer(&mut routes, &[("10.0.0.2", "via 10.0.0.1")]);
        assert_eq!(routes.settle(), [""; 0]);
        let reason = &routes.ways_of("fd09::/64")[0].1.reason;
        assert!(reason.contains("IP in IP over IPv4 carries no IPv6"), "{offered:?}: {reason}");
    }
}

#[test]
fn ip_in_ip_leads_to_ends_of_the_family_of_our_own_and_over_ipv6_carries_both() {
    let other = |theirs: &str, ours: &str| format!("takes IP in {theirs}, and this node's device is for IP in {ours}");
    let (over4, over6) = (Encapsulation::IpIp, Encapsulation::Ip6Tnl);
    for (ours, end, prefix, wanted) in [
        (over6, "fd00::2", "10.9.0.0/16", Ok("ipip fd00::2")),
        (over6, "fd00::2", "fd09::/64", Ok("ipip fd00::2")),
        (over4, "fd00::2", "10.9.0.0/16", Err(other("IPv6", "IPv4"))),
        (over6, "10.0.0.2", "10.9.0.0/16", Err(other("IPv4", "IPv6"))),
    ] {
        let mut routes = World::new(with_overlay(OverlayMode::Always, Some(ours)));
        let mut path = path(end, None);
        let tunnel = Tunnel::IpIp { endpoint: ip(end), other: Bytes::new() };
        Arc::make_mut(&mut path.attributes).tunnels = [tunnel].into_iter().collect();
        routes.take_in(&[best(prefix, vec![path])]);
        answer(&mut routes, &[(end, if end.contains(':') { "via fd00:1::1" } else { "via 10.0.0.1" })]);
        let settled = routes.settle();
        match wanted {
            Ok(hop) => assert_eq!(settled, [format!("{prefix} {hop}")], "{ours:?}"),
            Err(why) => {
                assert_eq!(settled, [""; 0], "{ours:?}");
                let reason = &routes.ways_of(prefix)[0].1.reason;
                assert!(reason.contains(&why), "{reason}");
            }
        }
    }
}
