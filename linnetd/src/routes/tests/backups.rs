//! The way that takes over from the only one.

use super::*;

/// By 10.0.1.2, and by 10.0.2.2 once that is lost.
fn guarded(to: &str) -> BestChange {
    BestChange { backup: Some(path("10.0.2.2", None)), ..best(to, vec![path("10.0.1.2", None)]) }
}

/// Two prefixes with a way and a backup, each on a link.
fn world() -> World {
    let mut routes = World::new(settings(OverlayMode::Auto));
    routes.take_in(&[guarded("10.8.0.0/16"), guarded("10.9.0.0/16")]);
    assert_eq!(routes.unknown(), [ip("10.0.1.2"), ip("10.0.2.2")]);
    answer(&mut routes, &[("10.0.1.2", "link eth1"), ("10.0.2.2", "link eth2")]);
    let wanted = "via 10.0.1.2 dev eth1 backup via 10.0.2.2 dev eth2";
    assert_eq!(routes.settle(), [format!("10.8.0.0/16 {wanted}"), format!("10.9.0.0/16 {wanted}")]);
    assert_eq!(routes.paths.len(), 1);
    routes
}

#[test]
fn the_backup_is_used_as_soon_as_the_next_hop_is_out_of_reach_and_until_it_is_back() {
    let mut routes = world();
    answer(&mut routes, &[("10.0.1.2", "unreachable")]);
    assert_eq!(routes.settle(), ["10.8.0.0/16 via 10.0.2.2 dev eth2", "10.9.0.0/16 via 10.0.2.2 dev eth2"]);
    answer(&mut routes, &[("10.0.2.2", "unreachable")]);
    assert_eq!(routes.settle(), ["- 10.8.0.0/16", "- 10.9.0.0/16"]);
    answer(&mut routes, &[("10.0.1.2", "link eth1")]);
    assert_eq!(routes.settle(), ["10.8.0.0/16 via 10.0.1.2 dev eth1", "10.9.0.0/16 via 10.0.1.2 dev eth1"]);
}

#[test]
fn the_backup_is_used_while_a_peer_that_is_gone_is_still_in_the_table() {
    let mut routes = world();
    let before = routes.held.clone();
    routes.set_dropped([(ip("10.0.1.2"), None)].into());
    assert_eq!(routes.settle(), ["10.8.0.0/16 via 10.0.2.2 dev eth2", "10.9.0.0/16 via 10.0.2.2 dev eth2"]);
    // One is decided about and leads there now; the other has the old next hop from somebody else.
    routes.take_in(&[best("10.9.0.0/16", vec![path("10.0.2.2", None)])]);
    assert_eq!(routes.settle(), [""; 0]);
    routes.set_dropped(BTreeSet::new());
    assert_eq!(routes.settle(), [format!("10.8.0.0/16 {}", before[&"10.8.0.0/16".parse().unwrap()])]);
}

#[test]
fn what_has_no_backup_keeps_its_way_while_its_peer_is_gone() {
    let mut routes = world();
    routes.take_in(&[best("10.8.0.0/16", vec![path("10.0.1.2", None)]), guarded("10.9.0.0/16")]);
    assert_eq!(routes.settle(), ["10.8.0.0/16 via 10.0.1.2 dev eth1"]);
    routes.set_dropped([(ip("10.0.1.2"), None)].into());
    assert_eq!(routes.settle(), ["10.9.0.0/16 via 10.0.2.2 dev eth2"]);
}

/// By a neighbour on a link without addresses.
fn on_link(link: &str) -> BestPath {
    let mut path = path("10.0.1.2", None);
    Arc::make_mut(&mut path.attributes).next_hop =
        NextHop::link_local("fe80::1".parse().unwrap(), Interface::new(link));
    path
}

#[test]
fn of_two_links_with_the_same_neighbours_address_the_routes_by_the_one_that_is_gone_use_their_backup() {
    let mut routes = World::new(settings(OverlayMode::Auto));
    let guarded = |to: &str, link: &str, other: &str| BestChange {
        backup: Some(on_link(other)),
        ..best(to, vec![on_link(link)])
    };
    routes.take_in(&[guarded("10.8.0.0/16", "eth1", "eth2"), guarded("10.9.0.0/16", "eth2", "eth1")]);
    let (one, two) = ("via fe80::1 dev eth1", "via fe80::1 dev eth2");
    let before = [format!("10.8.0.0/16 {one} backup {two}"), format!("10.9.0.0/16 {two} backup {one}")];
    assert_eq!(routes.settle(), before);
    routes.set_dropped([(ip("fe80::1"), Interface::new("eth1"))].into());
    assert_eq!(routes.settle(), [format!("10.8.0.0/16 {two}")]);
    routes.set_dropped(BTreeSet::new());
    assert_eq!(routes.settle(), before[..1]);
}

#[test]
fn several_ways_need_no_backup_and_what_is_to_be_discarded_is_none() {
    let mut routes = World::new(settings(OverlayMode::Auto));
    let several = BestChange { paths: vec![path("10.0.1.2", None), path("10.0.3.2", None)], ..guarded("10.8.0.0/16") };
    let discarded = BestPath { discard: true, ..path("10.0.2.2", None) };
    routes.take_in(&[several, BestChange { backup: Some(discarded), ..guarded("10.9.0.0/16") }]);
    answer(&mut routes, &[("10.0.1.2", "link eth1"), ("10.0.3.2", "link eth3")]);
    assert_eq!(
        routes.settle(),
        ["10.8.0.0/16 via 10.0.1.2 dev eth1, via 10.0.3.2 dev eth3", "10.9.0.0/16 via 10.0.1.2 dev eth1"]
    );
}
