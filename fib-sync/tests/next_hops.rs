//! Next-hop objects on the real kernel: shared by routes, changed in place, adopted, mended, and gone with their last route.
#![allow(missing_docs)]

mod support;

use std::net::IpAddr;

use fib_sync::{Change, FibEvent, Path, PathId, Reach, Target};
use support::*;

fn uplinks() {
    link("up1", &["10.0.1.1/24", "fd00:1::1/64"]);
    link("up2", &["10.0.2.1/24", "fd00:2::1/64"]);
}

/// The numbers of Linnet's groups, and how many gateways it has.
fn objects() -> (Vec<u32>, usize) {
    let shown = ip("nexthop show protocol 76");
    let number = |line: &str| line.split_whitespace().nth(1).and_then(|number| number.parse().ok());
    let (groups, gateways): (Vec<&str>, Vec<&str>) = shown.lines().partition(|line| line.contains(" group "));
    (groups.into_iter().filter_map(number).collect(), gateways.len())
}

/// How many of the routes that begin with `10.` leave by each uplink. `ip` shows a group's hops in a line each.
fn by_link() -> (usize, usize) {
    let text = routes().join("\n");
    (text.matches("dev up1").count(), text.matches("dev up2").count())
}

fn prefix(n: u32) -> String {
    format!("10.{}.{}.0/24", 100 + n / 256, n % 256)
}

#[test]
fn routes_by_the_same_hops_share_one_object_and_the_last_one_takes_it_along() {
    in_namespace(|| async {
        uplinks();
        let (fib, _events) = start().await;
        let wishes = |target: fn() -> Target| (0..100).map(|n| put(&prefix(n), target())).collect::<Vec<_>>();
        fib.wish(wishes(|| via(&["10.0.1.2", "10.0.2.2"]))).await;
        assert_eq!((objects().0.len(), objects().1), (1, 2));
        fib.wish(vec![put(&prefix(0), via(&["10.0.1.2"]))]).await;
        assert_eq!((objects().0.len(), objects().1), (2, 2), "the gateway is shared");
        fib.wish((0..100).map(|n| remove(&prefix(n))).collect()).await;
        assert_eq!(objects(), (vec![], 0));
    });
}

/// A recursive next hop is reached by a route of Linnet's own, which moves: no route is written then.
#[test]
fn whoever_asked_for_a_next_hop_behind_a_route_of_linnets_hears_that_the_routes_object_has_moved() {
    in_namespace(|| async {
        uplinks();
        let (fib, mut events) = start().await;
        let path = |gateway: &str| Change::Path(PathId(0), Some(Path::from(via(&[gateway]))));
        let put = Change::Put("10.62.0.0/24".parse().expect("a prefix"), PathId(0));
        fib.change(vec![path("10.0.1.2"), put]).await;
        let next_hop: IpAddr = "10.62.0.1".parse().expect("an address");
        let by = |via: &str, device: &str| Reach::Routed {
            via: via.parse().expect("an address"),
            device: device.into(),
            onlink: false,
            mtu: 1500,
        };
        assert_eq!(fib.reach(vec![next_hop]).await, [by("10.0.1.2", "up1")]);
        for (gateway, device) in [("10.0.2.2", "up2"), ("10.0.1.2", "up1")] {
            fib.change(vec![path(gateway)]).await;
            let told = event(&mut events, |event| match event {
                FibEvent::ReachChanged(changed) => Some(changed),
                _ => None,
            });
            assert_eq!(told.await, [(next_hop, by(gateway, device))]);
        }
    });
}

#[test]
fn a_path_that_leads_elsewhere_moves_all_of_its_routes_and_touches_none() {
    in_namespace(|| async {
        uplinks();
        let (fib, _events) = start().await;
        let path = |gateways: &[&str]| Some(Path::from(via(gateways)));
        let mut changes = vec![Change::Path(PathId(0), path(&["10.0.1.2"]))];
        changes.extend((0..500).map(|n| Change::Put(prefix(n).parse().expect("a prefix"), PathId(0))));
        fib.change(changes).await;
        let (before, numbers) = (by_link(), objects().0);
        assert_eq!(before, (500, 0));
        let monitor = RouteMonitor::start().await;
        fib.change(vec![Change::Path(PathId(0), path(&["10.0.2.2"]))]).await;
        assert_eq!((by_link(), objects().0), ((0, 500), numbers));
        let heard = monitor.stop();
        assert!(!heard.lines().any(|line| line.starts_with("Deleted 10.")), "{heard}");
        assert!(fib.status().await.iter().all(|status| status.installed && status.repairs == 0));
        // What cannot be used has no route, and has them all again when it can.
        fib.change(vec![Change::Path(PathId(0), None)]).await;
        assert_eq!((routes().len(), objects()), (0, (vec![], 0)));
        fib.change(vec![Change::Path(PathId(0), path(&["10.0.1.2"]))]).await;
        assert_eq!(by_link(), (500, 0));
        fib.change(vec![Change::Path(PathId(0), Some(Target::Unreachable.into()))]).await;
        assert_eq!((routes().len(), by_link(), objects()), (500, (0, 0), (vec![], 0)));
    });
}

#[test]
fn when_one_link_of_two_is_lost_no_route_is_gone_for_a_moment() {
    in_namespace(|| async {
        uplinks();
        let (fib, _events) = start().await;
        fib.wish((0..500).map(|n| put(&prefix(n), via(&["10.0.1.2", "10.0.2.2"]))).collect()).await;
        let monitor = RouteMonitor::start().await;
        ip("link set up1-peer down");
        until("the routes have left it", || by_link() == (0, 500)).await;
        ip("link set up1-peer up");
        until("the routes are back on it", || by_link() == (500, 500)).await;
        ip("link set up2 down");
        until("the routes have left the other", || by_link() == (500, 0)).await;
        let heard = monitor.stop();
        let gone = heard.lines().find(|line| line.starts_with("Deleted 10.1"));
        assert_eq!(gone, None);
    });
}

#[test]
fn an_object_that_somebody_deletes_or_changes_is_put_right_with_its_routes() {
    in_namespace(|| async {
        uplinks();
        let (fib, _events) = start().await;
        for (prefix, hops) in
            [("10.244.1.0/24", ["10.0.1.2", "10.0.2.2"]), ("fd00:244:1::/64", ["fd00:1::2", "fd00:2::2"])]
        {
            fib.wish(vec![put(prefix, via(&hops))]).await;
            let wanted = routes();
            for meddling in ["del id GROUP", "del id MEMBER", "replace id GROUP group MEMBER"] {
                let group = objects().0[0].to_string();
                let shown = ip(&format!("nexthop show id {group}"));
                let members = shown.split_once("group ").map(|(_, members)| members).unwrap_or_default();
                let member = members.split('/').next().expect("a member");
                ip(&format!("nexthop {}", meddling.replace("GROUP", &group).replace("MEMBER", member)));
                until(meddling, || routes() == wanted && objects().1 == 2).await;
            }
            fib.wish(vec![remove(prefix)]).await;
            assert_eq!(objects(), (vec![], 0));
        }
    });
}

#[test]
fn the_next_run_adopts_the_objects_and_what_nobody_wants_goes_with_the_sweep() {
    in_namespace(|| async {
        uplinks();
        let (first, events) = start().await;
        first.wish(vec![put("10.8.0.0/16", via(&["10.0.1.2"])), put("10.9.0.0/16", via(&["10.0.2.2"]))]).await;
        let (before, numbers) = (routes(), objects().0);
        end(first, events).await;
        let (second, events) = start().await;
        second.wish(vec![put("10.8.0.0/16", via(&["10.0.1.2"]))]).await;
        assert_eq!((routes(), objects().0), (before, numbers.clone()));
        second.sweep(false).await;
        second.sweep(true).await;
        assert_eq!((objects().0, objects().1), (numbers[..1].to_vec(), 1));
        end(second, events).await;
        // And one that wants none writes the hops into the routes.
        let (third, _events) = start_without_objects().await;
        third.wish(vec![put("10.8.0.0/16", via(&["10.0.1.2"]))]).await;
        third.sweep(false).await;
        third.sweep(true).await;
        assert_eq!((routes(), objects()), (vec!["10.8.0.0/16 via 10.0.1.2 dev up1 metric 76".into()], (vec![], 0)));
    });
}

#[test]
fn objects_of_others_are_left_alone_whatever_their_number() {
    in_namespace(|| async {
        uplinks();
        // The first two numbers of Linnet's range.
        ip("nexthop add id 1275068416 via 10.0.1.9 dev up1 protocol 12");
        ip("nexthop add id 1275068417 via 10.0.1.8 dev up1 protocol 12");
        let theirs = ip("nexthop show protocol 12");
        let (fib, _events) = start().await;
        ip("nexthop add id 1275068418 via 10.0.1.7 dev up1 protocol 12");
        fib.wish(vec![put("10.8.0.0/16", via(&["10.0.1.2"]))]).await;
        assert!(fib.status().await[0].installed);
        fib.clear().await;
        assert_eq!(objects(), (vec![], 0));
        ip("nexthop del id 1275068418");
        assert_eq!(ip("nexthop show protocol 12"), theirs);
    });
}

#[test]
fn the_next_run_gives_each_family_the_object_that_its_routes_have_whichever_comes_first() {
    in_namespace(|| async {
        uplinks();
        // IPv4 by a neighbour of IPv6 (RFC 8950), so that both families have hops that are equal.
        let wishes = || ["10.8.0.0/16", "fd00:244::/64"].map(|prefix| put(prefix, via(&["fd00:1::2"])));
        let shown = || ["-4", "-6"].map(|family| run("ip", &[family, "route", "show", "proto", "76"]).expect("ip"));
        let (first, events) = start().await;
        for wish in wishes() {
            first.wish(vec![wish]).await;
        }
        let before = shown();
        end(first, events).await;
        let (second, _events) = start().await;
        for wish in wishes().into_iter().rev() {
            second.wish(vec![wish]).await;
        }
        assert_eq!(shown(), before);
    });
}
