//! IP in IPv6 on the real kernel: one device, and the tunnel in the next hop. Where the kernel has no such devices, what is looked at is
//! that it says so; `topology-tests` runs all of it on a kernel that has them.
#![allow(missing_docs)]

mod support;

use fib_sync::{
    Encapsulation, Fib, FibError, FibEvent, Hop, Path, Target, TunnelEnd, Weight,
    overlay::{IP6TNL_DEVICE, VXLAN_DEVICE},
};
use support::{
    node::{Node, has_ip6tnl, spec, spec_of, tunnel},
    *,
};
use tokio::sync::mpsc::Receiver;

const LOCAL: &str = "fd00:10::1";

fn end_at(endpoint: &str) -> TunnelEnd {
    TunnelEnd::IpIp { endpoint: endpoint.parse().expect("an address") }
}

/// Runs a test in a namespace with an uplink, by which a router leads to other nodes: not by the default route.
fn with_ip6tnl<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    in_namespace(|| async {
        link("up1", &["fd00:10::1/64"]);
        ip("route add fd00:20::/32 via fd00:10::9");
        if has_ip6tnl() {
            test().await;
        } else {
            let (fib, _events) = start().await;
            let error = fib.overlay(Some(spec_of(Encapsulation::Ip6Tnl, LOCAL))).await.expect_err("no ip6tnl");
            assert!(matches!(error, FibError::NoIp6Tnl), "{error}");
            fib.wish(vec![put("10.1.0.0/16", tunnel(end_at("fd00:20::2")))]).await;
            let status = fib.status().await;
            assert!(status[0].error.as_deref().is_some_and(|error| error.contains("no overlay device")), "{status:?}");
            // And back: what could be made can be made again.
            fib.overlay(Some(spec(LOCAL))).await.expect("the overlay");
            assert!(run("ip", &["link", "show", VXLAN_DEVICE]).is_ok());
        }
    });
}

async fn started(objects: bool) -> (Fib, Receiver<FibEvent>) {
    let (fib, events) = if objects { start().await } else { start_without_objects().await };
    let made = fib.overlay(Some(spec_of(Encapsulation::Ip6Tnl, LOCAL))).await.expect("the overlay");
    let made = made.expect("the overlay");
    assert_eq!((made.mtu, made.device.as_str()), (1460, IP6TNL_DEVICE));
    (fib, events)
}

/// In both families: by one end, by two with weights, by one with another in reserve, and by one beside a router.
fn wishes() -> Vec<Wish> {
    let end = |last: &str| Hop::Tunnel(end_at(&format!("fd00:20::{last}")));
    let weight = |weight| Weight::new(weight).expect("a weight");
    let paths: [Path; 4] = [
        Target::Forward(vec![end("2")]).into(),
        Target::Weighted(vec![(end("2"), weight(3)), (end("3"), weight(1))]).into(),
        Path { backup: Some(end("5")), ..Target::Forward(vec![end("4")]).into() },
        Target::Forward(vec![
            end("6"),
            Hop::Direct { via: "fd00:10::9".parse().expect("an address"), device: Some("up1".into()), onlink: false },
        ])
        .into(),
    ];
    let routes = (1..)
        .zip(paths)
        .flat_map(|(n, path)| [put(&format!("10.{n}.0.0/16"), path.clone()), put(&format!("fd00:244:{n}::/64"), path)]);
    routes.collect()
}

async fn all_is_well(fib: &Fib) {
    let status = fib.status().await;
    assert_eq!(status.len(), 8);
    assert!(status.iter().all(|status| status.installed && status.error.is_none()), "{status:#?}");
    for status in &status {
        let tunnels = status.hops.iter().filter(|hop| hop.tunnel.is_some()).count();
        let direct = status.hops.iter().filter(|hop| &*hop.device == "up1").count();
        assert_eq!(tunnels + direct, status.hops.len(), "{status:#?}");
        assert!(tunnels > 0, "{status:#?}");
        assert_eq!(status.mtu, Some(1460));
    }
    let check = fib.check().await.expect("a compare");
    assert!(check.differences.is_empty(), "{check:#?}");
}

fn marks() -> String {
    let shown = ["-o link show linnet.ip6tnl", "-4 route show proto 76", "-6 route show proto 76"];
    let mut marks: Vec<String> = shown.map(ip).to_vec();
    marks.push(run("ip", &["nexthop", "show", "protocol", "76"]).expect("ip"));
    marks.join("\n")
}

#[test]
fn one_device_leads_to_all_ends_in_both_families_by_routes_and_by_next_hop_objects() {
    for objects in [true, false] {
        with_ip6tnl(move || async move {
            let (fib, _events) = started(objects).await;
            let shown = ip("-d link show linnet.ip6tnl");
            for part in ["ip6tnl external", "mtu 1460", "addrgenmode none", "UP"] {
                assert!(shown.contains(part), "{part}: {shown}");
            }
            fib.wish(wishes()).await;
            all_is_well(&fib).await;
            for address in ["10.1.0.1", "fd00:244:1::1"] {
                let answer = ip(&format!("route get {address}"));
                assert!(answer.contains("src fd00:10::1 dst fd00:20::2 hoplimit 64"), "{answer}");
                assert!(answer.contains("dev linnet.ip6tnl"), "{answer}");
            }
            for question in ["-4 route show 10.2.0.0/16", "-6 route show fd00:244:2::/64"] {
                let shown = ip(question);
                let hop = |end: &str, weight| {
                    let wanted = |line: &&str| line.contains(end) && line.contains(weight);
                    shown.lines().filter(wanted).count()
                };
                assert_eq!((hop("dst fd00:20::2 ", "weight 3"), hop("dst fd00:20::3 ", "weight 1")), (1, 1), "{shown}");
            }
            // An end of IPv4 is not reached by this device, and the route says so.
            fib.wish(vec![put("10.9.0.0/16", tunnel(end_at("192.0.2.9")))]).await;
            let status = fib.status().await;
            let error = status.iter().find_map(|status| status.error.clone()).unwrap_or_default();
            assert!(error.contains("it is not of the family of this node's end fd00:10::1"), "{error}");
        });
    }
}

#[test]
fn a_restart_takes_device_routes_and_objects_over_and_touches_none() {
    for objects in [true, false] {
        with_ip6tnl(move || async move {
            let (fib, events) = started(objects).await;
            fib.wish(wishes()).await;
            let before = marks();
            end(fib, events).await;
            let monitor = RouteMonitor::start().await;
            let (fib, _events) = started(objects).await;
            fib.wish(wishes()).await;
            fib.sweep(false).await;
            fib.sweep(true).await;
            all_is_well(&fib).await;
            assert_eq!(marks(), before);
            let heard = monitor.stop();
            assert!(!heard.lines().any(|line| line.contains("linnet.ip6tnl")), "{heard}");
        });
    }
}

#[test]
fn a_hop_that_somebody_leads_to_another_end_is_put_back() {
    with_ip6tnl(|| async {
        let elsewhere = "encap ip6 dst fd00:20::66 src fd00:10::1 hoplimit 64";
        let (fib, _events) = started(false).await;
        fib.wish(vec![put("10.1.0.0/16", tunnel(end_at("fd00:20::2")))]).await;
        let before = routes();
        ip(&format!("route replace 10.1.0.0/16 {elsewhere} via inet6 fe80::1 dev linnet.ip6tnl proto 76 metric 76"));
        until("the route is put back", || routes() == before).await;
    });
    with_ip6tnl(|| async {
        let elsewhere = "encap ip6 dst fd00:20::66 src fd00:10::1 hoplimit 64";
        let (fib, _events) = started(true).await;
        fib.wish(vec![put("10.1.0.0/16", tunnel(end_at("fd00:20::2")))]).await;
        let before = routes();
        let shown = run("ip", &["nexthop", "show", "protocol", "76"]).expect("ip");
        let hop = shown.lines().find(|line| line.contains("encap")).and_then(|line| line.split(' ').nth(1));
        ip(&format!("nexthop replace id {} {elsewhere} via fe80::1 dev linnet.ip6tnl proto 76", hop.expect(&shown)));
        until("the route leads where it did", || routes() == before).await;
    });
}

#[test]
fn the_device_comes_back_with_its_routes_and_goes_with_all_when_it_is_cleared() {
    with_ip6tnl(|| async {
        let before = foreign();
        let (fib, _events) = started(true).await;
        fib.wish(wishes()).await;
        let routed = routes();
        ip("link del linnet.ip6tnl");
        until("the device comes back", || run("ip", &["link", "show", IP6TNL_DEVICE]).is_ok() && routes() == routed)
            .await;
        fib.clear().await;
        assert_eq!(routes(), [""; 0]);
        assert_eq!(foreign(), before);
    });
}

#[test]
fn where_somebody_else_takes_all_of_ip_in_ipv6_that_device_is_named() {
    with_ip6tnl(|| async {
        ip("link add theirs type ip6tnl external");
        let (fib, _events) = start().await;
        let error = fib.overlay(Some(spec_of(Encapsulation::Ip6Tnl, LOCAL))).await.expect_err("no room");
        assert!(matches!(&error, FibError::DeviceInTheWay { device, .. } if device == "theirs"), "{error}");
    });
}

#[test]
fn pods_of_two_nodes_talk_in_both_families_with_packets_of_full_size() {
    with_ip6tnl(|| async {
        ip("link add one type veth peer name two");
        let pods = |n: u8| [format!("10.244.{n}.5"), format!("fd00:244:{n}::5")];
        let (of_one, of_two) = (pods(1), pods(2));
        let of_one: Vec<&str> = of_one.iter().map(String::as_str).collect();
        let of_two: Vec<&str> = of_two.iter().map(String::as_str).collect();
        let one = Node::new(Encapsulation::Ip6Tnl, "one", &["fd00:10::1/64"], &of_one).await;
        let two = Node::new(Encapsulation::Ip6Tnl, "two", &["fd00:10::2/64"], &of_two).await;
        one.knows(&["10.244.2.0/24", "fd00:244:2::/64"], &two.overlay).await;
        two.knows(&["10.244.1.0/24", "fd00:244:1::/64"], &one.overlay).await;
        until("the underlay works", || one.pod.pings("10.244.2.5").is_ok()).await;
        for arguments in ["-M do -s 1432 10.244.2.5", "-M do -s 1412 fd00:244:2::5"] {
            one.pod.pings(arguments).unwrap_or_else(|error| panic!("{arguments}: {error}"));
        }
        assert!(one.pod.pings("-M do -s 1433 10.244.2.5").is_err());
    });
}

#[test]
fn the_mtu_follows_the_underlay_on_the_device_and_on_routes() {
    for objects in [true, false] {
        with_ip6tnl(move || async move {
            let (fib, _events) = started(objects).await;
            fib.wish(wishes()).await;
            for (underlay, within) in [(9000, 8960), (1400, 1360)] {
                ip(&format!("link set up1 mtu {underlay}"));
                let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
                while fib.status().await.iter().any(|status| !status.installed || status.mtu != Some(within)) {
                    assert!(std::time::Instant::now() < end, "{:#?}", fib.status().await);
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
                let device = ip(&format!("link show {IP6TNL_DEVICE}"));
                assert!(device.contains(&format!("mtu {within} ")), "{device}");
                for family in ["-4", "-6"] {
                    let shown = ip(&format!("-o {family} route show proto 76"));
                    let told = shown.lines().filter(|line| line.contains(&format!("mtu {within}"))).count();
                    assert_eq!(told, 4, "{shown}");
                }
                let check = fib.check().await.expect("a compare");
                assert!(check.differences.is_empty(), "{check:#?}");
            }
        });
    }
}
