//! What filters say of how a route is written goes before what is configured for all.

use bgp_proto::hints::{Hint, Hints};
use fib_sync::Path;

use super::*;
use crate::routes::Defaults;

fn said(next_hop: &str, endpoint: Option<&str>, hints: Hints) -> BestPath {
    let mut path = path(next_hop, endpoint);
    Arc::make_mut(&mut path.attributes).hints = (!hints.is_empty()).then(|| Box::new(hints));
    path
}

/// What becomes of a route by these paths, each of which is on link eth0.
fn written(to: &str, settings: Settings, paths: Vec<BestPath>) -> Path {
    let mut routes = Routes::new(settings);
    routes.set_defaults(Defaults { source: Some([10, 0, 0, 1].into()), source6: None, mtu: Some(1450) });
    routes.take_in(&[best(to, paths)]);
    let unknown = routes.unknown();
    routes.handle_reach(unknown.into_iter().map(|address| (address, reach("link eth0"))));
    let paths: Vec<Path> = routes
        .plan()
        .1
        .into_iter()
        .filter_map(|change| match change {
            Change::Path(_, path) => path,
            Change::Put(..) | Change::Remove(_) => None,
        })
        .collect();
    let [path] = &paths[..] else { panic!("{paths:?}") };
    path.clone()
}

fn mtu(octets: Hint<u32>) -> Hints {
    Hints { mtu: Some(octets), ..Hints::default() }
}

#[test]
fn of_ways_that_differ_the_least_mtu_and_the_best_paths_source_count() {
    let auto = || settings(OverlayMode::Auto);
    let (none, least, more) = (Hints::default(), mtu(Hint::Is(1300)), mtu(Hint::Is(9000)));
    let source = |last: u8| Hints { source: Some(Hint::Is([10, 0, 0, last].into())), ..Hints::default() };
    let at = |last: u8| Some(IpAddr::from([10, 0, 0, last]));
    for (hints, octets, from) in [
        (&[none][..], Some(1450), at(1)),
        (&[least], Some(1300), at(1)),
        (&[more], Some(9000), at(1)),
        (&[mtu(Hint::Auto)], None, at(1)),
        (&[more, least], Some(1300), at(1)),
        // What no filter speaks of has what is configured for all.
        (&[more, none], Some(1450), at(1)),
        (&[more, mtu(Hint::Auto)], Some(9000), at(1)),
        (&[source(7)], Some(1450), at(7)),
        (&[source(7), source(6)], Some(1450), at(7)),
        (&[none, source(6)], Some(1450), at(1)),
        (&[Hints { source: Some(Hint::Auto), ..none }], Some(1450), None),
        // Of the other family.
        (&[Hints { source6: Some(Hint::Is("fd00::1".parse().unwrap())), ..none }], Some(1450), at(1)),
    ] {
        // The best path's next hop is not the least.
        let paths = hints.iter().zip(["10.0.0.9", "10.0.0.8"]).map(|(hints, via)| said(via, None, *hints)).collect();
        let path = written("10.9.0.0/16", auto(), paths);
        assert_eq!((path.mtu, path.source), (octets, from), "{hints:?}");
    }
    let six = Hints { source6: Some(Hint::Is("fd00::1".parse().unwrap())), ..Hints::default() };
    assert_eq!(written("fd09::/64", auto(), vec![said("fd00::9", None, six)]).source, Some(ip("fd00::1")));
}

#[test]
fn each_way_is_tunnelled_or_not_as_its_filter_says_and_else_as_is_configured() {
    use OverlayMode::{Always, Auto, Never};
    let overlay = |mode: Option<OverlayMode>| Hints { overlay: mode, ..Hints::default() };
    for (configured, one, other, wanted) in [
        (Auto, None, None, "via 10.0.0.8 dev eth0, via 10.0.0.9 dev eth0"),
        (Auto, Some(Always), None, "via 10.0.0.8 dev eth0, vxlan 10.0.0.9 vni 4096"),
        (Auto, Some(Always), Some(Always), "vxlan 10.0.0.8 vni 4096, vxlan 10.0.0.9 vni 4096"),
        (Always, Some(Never), None, "via 10.0.0.9 dev eth0, vxlan 10.0.0.8 vni 4096"),
        (Always, Some(Auto), Some(Never), "via 10.0.0.8 dev eth0, via 10.0.0.9 dev eth0"),
    ] {
        let paths = [("10.0.0.9", one), ("10.0.0.8", other)].map(|(via, mode)| said(via, Some(via), overlay(mode)));
        let path = written("10.9.0.0/16", settings(configured), paths.into());
        assert_eq!(shown(&path.target), wanted, "{configured:?} {one:?} {other:?}");
    }
}

#[test]
fn why_a_way_is_used_as_it_is_names_the_filter() {
    let never = Hints { overlay: Some(OverlayMode::Never), ..Hints::default() };
    let always = Hints { overlay: Some(OverlayMode::Always), ..Hints::default() };
    let mut routes = World::new(settings(OverlayMode::Auto));
    routes.take_in(&[
        best("10.8.0.0/16", vec![said("10.0.0.8", Some("10.0.0.8"), never)]),
        best("10.9.0.0/16", vec![said("10.0.0.9", Some("10.0.0.9"), always)]),
    ]);
    answer(&mut routes, &[("10.0.0.8", "via 10.0.0.1"), ("10.0.0.9", "link eth0")]);
    routes.settle();
    let why = |to: &str| routes.ways_of(to)[0].1.reason.clone();
    assert!(
        why("10.8.0.0/16").ends_with("no tunnel is used; a filter sets overlay = \"never\""),
        "{}",
        why("10.8.0.0/16")
    );
    assert_eq!(why("10.9.0.0/16"), "a filter sets overlay = \"always\"");
}
