//! Backups on the real kernel, which takes them by itself: no route is touched, and no daemon is needed.
#![allow(missing_docs)]

mod support;

use fib_sync::{Change, Hop, Path, PathId, RouteStatus};
use support::*;

fn uplinks() {
    link("up1", &["10.0.1.1/24", "fd00:1::1/64"]);
    link("up2", &["10.0.2.1/24", "fd00:2::1/64"]);
}

/// By one gateway, and by the other once that is lost.
fn guarded(gateway: &str, backup: &str) -> Path {
    let backup = Hop::Direct { via: backup.parse().expect("an address"), device: None, onlink: false };
    Path { backup: Some(backup), ..via(&[gateway]).into() }
}

/// The device by which the kernel sends to this address.
fn device_to(address: &str) -> String {
    let answer = ip(&format!("route get {address}"));
    let mut words = answer.split_whitespace().skip_while(|word| *word != "dev").skip(1);
    words.next().expect("a device").into()
}

/// Fifty IPv4 routes and one of IPv6, by `up1`, with `up2` as the backup.
fn fifty() -> Vec<Wish> {
    let routes = (0..50).map(|n| put(&format!("10.100.{n}.0/24"), guarded("10.0.1.2", "10.0.2.2")));
    routes.chain([put("fd00:244::/64", guarded("fd00:1::2", "fd00:2::2"))]).collect()
}

/// Where packets to the first and the last IPv4 route and to the IPv6 route leave.
fn leave_by() -> [String; 3] {
    ["10.100.0.1", "10.100.49.1", "fd00:244::1"].map(device_to)
}

fn groups() -> String {
    ip("nexthop show protocol 76").lines().filter(|line| line.contains(" group ")).collect()
}

#[test]
fn when_the_only_link_is_lost_the_kernel_takes_the_backup_without_anybody_and_no_route_is_touched() {
    in_namespace(|| async {
        uplinks();
        let (fib, events) = start().await;
        fib.wish(fifty()).await;
        assert_eq!(leave_by(), ["up1"; 3]);
        end(fib, events).await;
        let monitor = RouteMonitor::start().await;
        ip("link set up1-peer down");
        // The kernel looks at a carrier in its own time, some milliseconds later.
        until("packets leave by the backup", || leave_by() == ["up2"; 3]).await;
        let heard = monitor.stop();
        assert!(!heard.lines().any(|line| line.contains("10.10") || line.contains("fd00:244")), "{heard}");
    });
}

#[test]
fn a_hop_that_is_back_carries_all_again_and_a_backup_that_goes_is_no_loss() {
    in_namespace(|| async {
        uplinks();
        let (fib, _events) = start().await;
        fib.wish(fifty()).await;
        let wanted = routes();
        let monitor = RouteMonitor::start().await;
        for (lost, other) in [("up1-peer", "up2"), ("up2-peer", "up1")] {
            ip(&format!("link set {lost} down"));
            until("packets leave by the other", || routes() != wanted && leave_by() == [other; 3]).await;
            ip(&format!("link set {lost} up"));
            until("all is as it was", || routes() == wanted && leave_by() == ["up1"; 3]).await;
        }
        let heard = monitor.stop();
        assert!(!heard.lines().any(|line| line.starts_with("Deleted 10.10")), "{heard}");
        let status = fib.status().await;
        assert!(status.iter().all(|status| status.installed && status.error.is_none()), "{:?}", status[0]);
        assert!(status.iter().all(|status| status.backup.as_ref().is_some_and(|backup| &*backup.device == "up2")));
    });
}

#[test]
fn while_the_backup_is_used_the_route_says_why() {
    for objects in [true, false] {
        in_namespace(move || async move {
            uplinks();
            let (fib, _events) = if objects { start().await } else { start_without_objects().await };
            fib.wish(vec![put("10.8.0.0/16", guarded("10.0.1.2", "10.0.2.2"))]).await;
            ip("link set up1-peer down");
            until("packets leave by the backup", || device_to("10.8.0.1") == "up2").await;
            let why = "next hop 10.0.1.2: device up1 has no carrier; its backup is used";
            let says_why = |status: &[RouteStatus]| status[0].error.as_deref() == Some(why);
            let status = until_status(why, &fib, says_why).await.remove(0);
            assert!(status.installed && status.backup.is_none(), "{status:?}");
            assert_eq!(&*status.hops[0].device, "up2");
        });
    }
}

#[test]
fn the_next_run_adopts_groups_with_their_backup_and_those_that_lost_a_hop_meanwhile() {
    in_namespace(|| async {
        uplinks();
        let (first, events) = start().await;
        first.wish(fifty()).await;
        let wanted = routes();
        let number = |shown: String| shown.split_whitespace().nth(1).map(str::to_owned);
        let id = number(groups());
        end(first, events).await;
        let monitor = RouteMonitor::start().await;
        let (second, events) = start().await;
        second.wish(fifty()).await;
        assert_eq!((number(groups()), routes()), (id, wanted.clone()));
        end(second, events).await;
        ip("link set up1-peer down");
        until("a hop is lost", || routes() != wanted).await;
        ip("link set up1-peer up");
        until("the link is back", || ip("link show up1").contains("LOWER_UP")).await;
        let (third, _events) = start().await;
        third.wish(fifty()).await;
        third.sweep(false).await;
        third.sweep(true).await;
        until("all is as it was", || routes() == wanted).await;
        let heard = monitor.stop();
        assert!(!heard.lines().any(|line| line.starts_with("Deleted 10.10")), "{heard}");
    });
}

#[test]
fn a_path_gets_and_loses_its_backup_and_a_second_hop() {
    in_namespace(|| async {
        uplinks();
        let (fib, _events) = start().await;
        let change = |path: Path| vec![Change::Path(PathId(0), Some(path))];
        fib.change(change(via(&["10.0.1.2"]).into())).await;
        fib.change(vec![Change::Put("10.8.0.0/16".parse().expect("a prefix"), PathId(0))]).await;
        let monitor = RouteMonitor::start().await;
        fib.change(change(guarded("10.0.1.2", "10.0.2.2"))).await;
        assert!(groups().contains("type resilient buckets 1"), "{}", groups());
        let guarded_group = groups();
        // The way that a failover goes: the backup becomes the only hop, and a route is not written for it.
        fib.change(change(via(&["10.0.2.2"]).into())).await;
        assert_eq!(
            (device_to("10.8.0.1"), guarded_group.split("group").next()),
            ("up2".into(), groups().split("group").next())
        );
        // Two that share what comes cannot be such a group.
        fib.change(change(via(&["10.0.1.2", "10.0.2.2"]).into())).await;
        assert!(!groups().contains("resilient"), "{}", groups());
        assert_eq!(
            routes(),
            ["10.8.0.0/16 metric 76", "nexthop via 10.0.1.2 dev up1 weight 1", "nexthop via 10.0.2.2 dev up2 weight 1"]
        );
        let heard = monitor.stop();
        assert!(!heard.lines().any(|line| line.starts_with("Deleted 10.")), "{heard}");
    });
}

#[test]
fn the_compare_finds_and_mends_a_backup_that_somebody_took_away() {
    in_namespace(|| async {
        uplinks();
        let (fib, _events) = start().await;
        fib.wish(vec![put("10.8.0.0/16", guarded("10.0.1.2", "10.0.2.2"))]).await;
        let shown = groups();
        let id = shown.split_whitespace().nth(1).expect("a number");
        let first = shown.split("group ").nth(1).and_then(|rest| rest.split(',').next()).expect("a member");
        ip(&format!("nexthop replace id {id} group {first} type resilient buckets 1 idle_timer 0"));
        until("it is back", || groups() == shown).await;
        assert!(fib.check().await.expect("an answer").differences.is_empty());
    });
}
