//! With WireGuard and mode "always": what leads to pods of other nodes goes encrypted, or not at all. With "auto": what comes
//! encrypted is taken, also where nothing is sent so.

use fib_sync::PublicKey;

use super::*;

const WIREGUARD: Encapsulation = Encapsulation::WireGuard { port: 51820 };
const KEY: [u8; 32] = [7; 32];

fn sealed(overlay: Option<Encapsulation>, cluster: &[&str]) -> Settings {
    let cluster = cluster.iter().map(|block| prefix(block)).collect();
    Settings { mode: OverlayMode::Always, overlay, lingering: None, sealed: true, cluster }
}

fn with_key(next_hop: &str) -> BestPath {
    let mut path = path(next_hop, None);
    let tunnel = Tunnel::WireGuard { endpoint: ip(next_hop), key: KEY, udp_port: 4500, other: Bytes::new() };
    Arc::make_mut(&mut path.attributes).tunnels = [tunnel].into();
    path
}

/// Learned from a router of another AS.
fn from_outside(next_hop: &str) -> BestPath {
    let mut path = path(next_hop, None);
    Arc::make_mut(&mut path.attributes).as_path = AsPath::sequence([bgp_proto::types::Asn(65001)]);
    path
}

fn world(settings: Settings, reachable: &[(&str, &str)]) -> World {
    let mut world = World::new(settings);
    world.handle_reach(reachable.iter().map(|(address, how)| (ip(address), reach(how))));
    world
}

#[test]
fn pods_are_reached_by_wireguard_on_the_same_link_too_in_both_families_and_on_the_others_port() {
    let mut world = world(sealed(Some(WIREGUARD), &[]), &[("10.0.0.5", "link eth0")]);
    world.take_in(&[
        best("10.244.5.0/24", vec![with_key("10.0.0.5")]),
        best("fd00:244:5::/64", vec![with_key("10.0.0.5")]),
    ]);
    world.settle();
    let end = TunnelEnd::WireGuard { endpoint: ip("10.0.0.5"), port: 4500, key: PublicKey(KEY) };
    let wanted = Target::Forward(vec![Hop::Tunnel(end)]);
    assert!(world.wants.len() == 2 && world.paths.values().all(|target| *target == wanted), "{:?}", world.paths);
}

#[test]
fn pods_of_a_node_without_a_key_are_unreachable_and_what_is_no_pods_goes_as_ever() {
    let mut world = world(sealed(Some(WIREGUARD), &[]), &[("10.0.0.5", "link eth0"), ("10.0.0.1", "link eth0")]);
    world.take_in(&[
        best("10.244.5.0/24", vec![path("10.0.0.5", None)]),
        // It offers what is not encrypted.
        best("10.244.6.0/24", vec![path("10.0.0.5", Some("10.0.0.5"))]),
        // Nodes' own addresses, which tunnels go by.
        best("192.0.2.7/32", vec![path("10.0.0.5", None)]),
        best("10.0.0.0/24", vec![path("10.0.0.5", None)]),
        best("0.0.0.0/0", vec![from_outside("10.0.0.1")]),
    ]);
    world.settle();
    let to = |prefix: &str| world.paths[&world.wants[&prefix.parse().unwrap()]].clone();
    let direct =
        |via: &str| Target::Forward(vec![Hop::Direct { via: ip(via), device: Some("eth0".into()), onlink: false }]);
    assert_eq!(to("10.244.5.0/24"), Target::Unreachable);
    assert_eq!(to("10.244.6.0/24"), Target::Unreachable);
    assert_eq!(to("192.0.2.7/32"), direct("10.0.0.5"));
    assert_eq!(to("10.0.0.0/24"), direct("10.0.0.5"));
    assert_eq!(to("0.0.0.0/0"), direct("10.0.0.1"));
    let why = |prefix| world.ways_of(prefix)[0].1.reason.clone();
    assert!(why("10.244.5.0/24").contains("10.0.0.5 announces no WireGuard key"), "{}", why("10.244.5.0/24"));
    assert!(why("10.244.6.0/24").contains("10.0.0.5 offers vxlan"), "{}", why("10.244.6.0/24"));
}

#[test]
fn cluster_cidrs_say_what_is_pods_whoever_announces_it() {
    let mut world = world(sealed(Some(WIREGUARD), &["10.244.0.0/16"]), &[("10.0.0.5", "link eth0")]);
    world.take_in(&[
        best("10.244.5.0/24", vec![from_outside("10.0.0.5")]),
        best("10.244.6.1/32", vec![path("10.0.0.5", None)]),
        best("10.245.0.0/24", vec![path("10.0.0.5", None)]),
    ]);
    world.settle();
    let to = |prefix: &str| world.paths[&world.wants[&prefix.parse().unwrap()]].clone();
    assert_eq!((to("10.244.5.0/24"), to("10.244.6.1/32")), (Target::Unreachable, Target::Unreachable));
    assert!(matches!(to("10.245.0.0/24"), Target::Forward(_)));
}

#[test]
fn without_a_device_or_a_way_to_the_node_nothing_goes_in_the_clear_and_it_comes_back_by_itself() {
    let mut world = world(sealed(None, &[]), &[("10.0.0.5", "link eth0")]);
    world.take_in(&[best("10.244.5.0/24", vec![with_key("10.0.0.5")])]);
    world.settle();
    let to = |world: &World| world.paths[&world.wants[&"10.244.5.0/24".parse().unwrap()]].clone();
    assert_eq!(to(&world), Target::Unreachable);
    world.set_settings(sealed(Some(WIREGUARD), &[]));
    world.settle();
    assert!(matches!(to(&world), Target::Forward(hops) if matches!(hops[..], [Hop::Tunnel(_)])));
    world.handle_reach([(ip("10.0.0.5"), reach("unreachable"))]);
    world.settle();
    assert_eq!(to(&world), Target::Unreachable);
    // Not asked to encrypt any more.
    world.set_settings(settings(OverlayMode::Never));
    world.handle_reach([(ip("10.0.0.5"), reach("link eth0"))]);
    world.settle();
    assert!(matches!(to(&world), Target::Forward(hops) if matches!(hops[..], [Hop::Direct { .. }])));
}

#[test]
fn a_filter_decides_for_its_routes_whether_pods_are_reached_in_the_clear() {
    use bgp_proto::hints::Hints;
    let with = |mut path: BestPath, overlay: OverlayMode| {
        let hints = Hints { overlay: Some(overlay), ..Hints::default() };
        Arc::make_mut(&mut path.attributes).hints = Some(Box::new(hints));
        path
    };
    for (configured, said, key, wanted) in [
        (OverlayMode::Always, OverlayMode::Never, true, "via 10.0.0.5 dev eth0"),
        (OverlayMode::Always, OverlayMode::Never, false, "via 10.0.0.5 dev eth0"),
        (OverlayMode::Auto, OverlayMode::Always, true, "wireguard 10.0.0.5"),
        (OverlayMode::Auto, OverlayMode::Always, false, "unreachable"),
    ] {
        let settings = Settings { mode: configured, ..sealed(Some(WIREGUARD), &[]) };
        let mut world = world(settings, &[("10.0.0.5", "link eth0")]);
        let path = if key { with_key("10.0.0.5") } else { path("10.0.0.5", None) };
        world.take_in(&[best("10.244.5.0/24", vec![with(path, said)])]);
        let settled = world.settle();
        assert!(
            settled[0].starts_with(&format!("10.244.5.0/24 {wanted}")),
            "{configured:?} {said:?} {key}: {settled:?}"
        );
    }
}

/// Where the path to a prefix leads, and the tunnel that is left open beside it.
fn ways_open(world: &World, prefix: &str) -> (String, Option<IpAddr>) {
    let path = world.wants[&prefix.parse().unwrap()];
    (shown(&world.paths[&path]), world.idle_tunnels.get(&path).map(TunnelEnd::endpoint))
}

#[test]
fn with_auto_a_tunnel_is_left_open_while_the_way_is_direct_and_with_never_and_always_none_is() {
    let on_one_link = &[("10.0.0.5", "link eth0")];
    let end = Some(ip("10.0.0.5"));
    for (mode, wanted) in [
        (OverlayMode::Auto, ("via 10.0.0.5 dev eth0", end)),
        (OverlayMode::Never, ("via 10.0.0.5 dev eth0", None)),
        (OverlayMode::Always, ("wireguard 10.0.0.5:4500", None)),
    ] {
        let mut world = world(Settings { mode, ..sealed(Some(WIREGUARD), &[]) }, on_one_link);
        world.take_in(&[best("10.244.5.0/24", vec![with_key("10.0.0.5")])]);
        world.settle();
        let (leads, open) = ways_open(&world, "10.244.5.0/24");
        assert_eq!((leads.as_str(), open), wanted, "{mode:?}");
    }
    // There is no device of ours, or none of theirs.
    for (overlay, best_path) in [(None, with_key("10.0.0.5")), (Some(WIREGUARD), path("10.0.0.5", None))] {
        let mut world = world(Settings { mode: OverlayMode::Auto, ..sealed(overlay, &[]) }, on_one_link);
        world.take_in(&[best("10.244.5.0/24", vec![best_path])]);
        world.settle();
        assert_eq!(ways_open(&world, "10.244.5.0/24"), ("via 10.0.0.5 dev eth0".to_owned(), None));
    }
}

#[test]
fn a_way_that_moves_between_link_and_tunnel_has_the_same_tunnel_open_all_the_while() {
    let mut world = world(
        Settings { mode: OverlayMode::Auto, ..sealed(Some(WIREGUARD), &[]) },
        &[("10.0.0.5", "link eth0"), ("10.0.0.6", "link eth0")],
    );
    world.take_in(&[
        best("10.244.5.0/24", vec![with_key("10.0.0.5")]),
        best("10.244.6.0/24", vec![with_key("10.0.0.6"), with_key("10.0.0.5")]),
    ]);
    world.settle();
    let open = |world: &World| ways_open(world, "10.244.5.0/24");
    assert_eq!(open(&world), ("via 10.0.0.5 dev eth0".to_owned(), Some(ip("10.0.0.5"))));
    // A prefix is one peer's: that of the lowest end point.
    assert_eq!(ways_open(&world, "10.244.6.0/24").1, Some(ip("10.0.0.5")));
    world.handle_reach([(ip("10.0.0.5"), reach("via 10.0.0.1"))]);
    world.settle();
    assert_eq!(open(&world), ("wireguard 10.0.0.5:4500".to_owned(), None));
    world.handle_reach([(ip("10.0.0.5"), reach("link eth0"))]);
    world.settle();
    assert_eq!(open(&world), ("via 10.0.0.5 dev eth0".to_owned(), Some(ip("10.0.0.5"))));
    world.take_in(&[best("10.244.5.0/24", vec![path("10.0.0.5", None)])]);
    world.settle();
    assert_eq!(open(&world), ("via 10.0.0.5 dev eth0".to_owned(), None));
}

#[test]
fn a_device_that_is_left_takes_what_comes_for_as_long_as_it_lingers() {
    let mut world = world(sealed(Some(WIREGUARD), &[]), &[("10.0.0.5", "via 10.0.0.1")]);
    world.take_in(&[best("10.244.5.0/24", vec![with_key("10.0.0.5")])]);
    world.settle();
    let open = |world: &World| ways_open(world, "10.244.5.0/24");
    assert_eq!(open(&world), ("wireguard 10.0.0.5:4500".to_owned(), None));
    let never = Settings { mode: OverlayMode::Never, ..sealed(None, &[]) };
    world.set_settings(Settings { lingering: Some(WIREGUARD), ..never.clone() });
    world.settle();
    assert_eq!(open(&world), ("via 10.0.0.1 dev eth0".to_owned(), Some(ip("10.0.0.5"))));
    world.set_settings(never);
    world.settle();
    assert_eq!(open(&world), ("via 10.0.0.1 dev eth0".to_owned(), None));
}
