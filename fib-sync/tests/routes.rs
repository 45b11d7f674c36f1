//! Routes on the real kernel: written, replaced, adopted, swept, repaired, and never somebody else's.
#![allow(missing_docs)]

mod support;

use std::net::IpAddr;

use fib_sync::{Fib, FibEvent, Hop, Path, Reach, RouteStatus, Target, Weight};
use support::*;

/// Two uplinks, each with a router's address on its net.
fn uplinks() {
    link("up1", &["10.0.1.1/24", "fd00:1::1/64"]);
    link("up2", &["10.0.2.1/24", "fd00:2::1/64"]);
}

#[test]
fn a_route_by_one_next_hop_is_written_for_both_families() {
    in_namespace(|| async {
        uplinks();
        let (fib, _events) = start().await;
        fib.wish(vec![put("10.244.1.0/24", via(&["10.0.1.2"])), put("fd00:244:1::/64", via(&["fd00:1::2"]))]).await;
        assert_eq!(
            routes(),
            [
                "10.244.1.0/24 via 10.0.1.2 dev up1 metric 76",
                "fd00:244:1::/64 via fd00:1::2 dev up1 metric 76 pref medium"
            ]
        );
        assert!(fib.status().await.iter().all(|status| status.installed && status.error.is_none()));
    });
}

fn weighted(gateways: &[(&str, u16)]) -> Target {
    let hop = |(via, weight): &(&str, u16)| {
        let hop = Hop::Direct { via: via.parse().expect("an address"), device: None, onlink: false };
        (hop, Weight::new(*weight).expect("a weight"))
    };
    Target::Weighted(gateways.iter().map(hop).collect())
}

/// As `ip` shows them, in its order.
fn weights(text: &str) -> Vec<u16> {
    let behind = text.split(" weight ").skip(1);
    behind.filter_map(|rest| rest.split_whitespace().next()?.parse().ok()).collect()
}

#[test]
fn weights_are_adopted_and_put_back_and_a_hop_alone_has_none() {
    in_namespace(|| async {
        uplinks();
        let wanted = || put("10.9.0.0/16", weighted(&[("10.0.1.2", 2), ("10.0.2.2", 5)]));
        let (fib, events) = start().await;
        fib.wish(vec![wanted()]).await;
        assert_eq!(weights(&routes().join(" ")), [2, 5]);
        end(fib, events).await;
        let (fib, _events) = start().await;
        fib.wish(vec![wanted()]).await;
        let status = fib.status().await;
        let shown: Vec<u16> = status[0].hops.iter().map(|hop| hop.weight.get()).collect();
        assert_eq!((shown, status[0].installed, status[0].repairs), (vec![2, 5], true, 0));
        ip("route replace 10.9.0.0/16 proto 76 metric 76 nexthop via 10.0.1.2 weight 9 nexthop via 10.0.2.2 weight 5");
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while weights(&routes().join(" ")) != [2, 5] {
            assert!(std::time::Instant::now() < deadline, "{:?}", routes());
            let _ = fib.status().await;
        }
        fib.wish(vec![put("10.9.0.0/16", weighted(&[("10.0.1.2", 7)]))]).await;
        assert!(fib.status().await[0].installed, "{:?}", fib.status().await);
        assert_eq!(weights(&routes().join(" ")), [0u16; 0]);
    });
}

#[test]
fn each_kind_of_route_turns_into_each_other_kind() {
    in_namespace(|| async {
        uplinks();
        let (fib, _events) = start().await;
        for (prefix, one, two) in
            [("10.244.1.0/24", "10.0.1.2", "10.0.2.2"), ("fd00:244:1::/64", "fd00:1::2", "fd00:2::2")]
        {
            let kinds = [
                ("one", via(&[one])),
                ("other", via(&[two])),
                ("both", via(&[one, two])),
                ("weighted", weighted(&[(one, 1), (two, 3)])),
                ("other weights", weighted(&[(one, 256), (two, 1)])),
                ("blackhole", Target::Blackhole),
                ("unreachable", Target::Unreachable),
                ("device", Target::Device("up1".into())),
            ];
            let shown = |name: &str, lines: &[String]| {
                let text = lines.join(" ");
                let count = text.matches("metric 76").count();
                let hops = (text.contains(&format!("via {one} dev up1")), text.contains(&format!("via {two} dev up2")));
                count == 1
                    && match name {
                        "one" => hops == (true, false),
                        "other" => hops == (false, true),
                        "both" => hops == (true, true),
                        "weighted" => hops == (true, true) && weights(&text) == [1, 3],
                        "other weights" => hops == (true, true) && weights(&text) == [256, 1],
                        "unreachable" => text.starts_with("unreachable") && hops == (false, false),
                        "blackhole" => text.starts_with("blackhole") && hops == (false, false),
                        "device" => text.contains("dev up1") && hops == (false, false),
                        _ => false,
                    }
            };
            for (from, first) in &kinds {
                for (to, second) in &kinds {
                    fib.wish(vec![put(prefix, first.clone())]).await;
                    assert!(shown(from, &routes()), "{from}: {:?} {:?}", routes(), fib.status().await);
                    fib.wish(vec![put(prefix, second.clone())]).await;
                    assert!(shown(to, &routes()), "{from} to {to}: {:?} {:?}", routes(), fib.status().await);
                }
            }
            fib.wish(vec![remove(prefix)]).await;
            assert_eq!(routes(), [""; 0]);
        }
    });
}

/// RFC 8950: by one, by several of both families, adopted, diffed, repaired and removed.
#[test]
fn an_ipv4_route_goes_by_ipv6_next_hops_and_is_known_again() {
    in_namespace(|| async {
        uplinks();
        let by = |via: &str, device: &str| Hop::Direct {
            via: via.parse().expect("an address"),
            device: Some(device.into()),
            onlink: false,
        };
        let one = Target::Forward(vec![by("fe80::2", "up1")]);
        let both = Target::Forward(vec![by("fe80::2", "up1"), by("fe80::2", "up2")]);
        let mixed = Target::Forward(vec![by("fe80::2", "up1"), by("10.0.2.2", "up2")]);
        let (fib, events) = start().await;
        for (target, hops) in [
            (&one, &["via inet6 fe80::2 dev up1"][..]),
            (&both, &["via inet6 fe80::2 dev up1", "via inet6 fe80::2 dev up2"]),
            (&mixed, &["via inet6 fe80::2 dev up1", "via 10.0.2.2 dev up2"]),
            (&via(&["fd00:1::2"]), &["via inet6 fd00:1::2 dev up1"]),
            (&both, &["via inet6 fe80::2 dev up1", "via inet6 fe80::2 dev up2"]),
        ] {
            fib.wish(vec![put("10.244.1.0/24", target.clone())]).await;
            let shown = routes().join(" ");
            assert!(hops.iter().all(|hop| shown.contains(hop)), "{hops:?}: {shown}");
            assert_eq!((shown.matches("via").count(), shown.matches("metric 76").count()), (hops.len(), 1), "{shown}");
            let status = fib.status().await;
            assert!(status[0].installed && status[0].error.is_none(), "{status:?}");
            assert_eq!(status[0].hops.len(), hops.len());
        }
        end(fib, events).await;

        // The next run adopts it and finds nothing to do.
        let mut monitor = std::process::Command::new("ip");
        let mut monitor = monitor.args(["monitor", "route"]).stdout(std::process::Stdio::piped()).spawn().expect("ip");
        let (fib, _events) = start().await;
        assert_eq!(fib.adopted(), 1);
        fib.wish(vec![put("10.244.1.0/24", both.clone())]).await;
        fib.sweep(false).await;
        monitor.kill().expect("a monitor");
        let said = monitor.wait_with_output().expect("its words").stdout;
        assert!(!String::from_utf8_lossy(&said).contains("10.244.1.0/24"), "{}", String::from_utf8_lossy(&said));

        // Somebody removes it, or points it elsewhere.
        ip("route del 10.244.1.0/24 proto 76 metric 76");
        until("put back", || routes().join(" ").matches("via inet6 fe80::2").count() == 2).await;
        ip("route replace 10.244.1.0/24 proto 76 metric 76 via inet6 fe80::9 dev up1");
        until("mended", || routes().join(" ").matches("via inet6 fe80::2").count() == 2).await;
        fib.wish(vec![remove("10.244.1.0/24")]).await;
        assert_eq!(routes(), [""; 0]);
    });
}

#[test]
fn mtu_and_source_address_are_written_and_dropped_again() {
    in_namespace(|| async {
        uplinks();
        let (fib, _events) = start().await;
        let mut wanted = Path::from(via(&["10.0.1.2"]));
        (wanted.mtu, wanted.source) = (Some(1400), Some(IpAddr::from([10, 0, 2, 1])));
        fib.wish(vec![put("10.244.1.0/24", wanted.clone())]).await;
        assert_eq!(routes(), ["10.244.1.0/24 via 10.0.1.2 dev up1 src 10.0.2.1 metric 76 mtu 1400"]);
        assert_eq!(fib.get(IpAddr::from([10, 244, 1, 1])).await.expect("a route").mtu, Some(1400));
        (wanted.mtu, wanted.source) = (None, None);
        fib.wish(vec![put("10.244.1.0/24", wanted)]).await;
        assert_eq!(routes(), ["10.244.1.0/24 via 10.0.1.2 dev up1 metric 76"]);
    });
}

#[test]
fn host_bits_are_cut_off() {
    in_namespace(|| async {
        uplinks();
        let (fib, _events) = start().await;
        fib.wish(vec![put("10.244.1.77/24", via(&["10.0.1.2"]))]).await;
        assert_eq!(routes(), ["10.244.1.0/24 via 10.0.1.2 dev up1 metric 76"]);
        fib.wish(vec![remove("10.244.1.99/24")]).await;
        assert_eq!(routes(), [""; 0]);
    });
}

#[test]
fn a_restart_adopts_what_is_there_and_only_the_sweep_removes_the_rest() {
    in_namespace(|| async {
        uplinks();
        let all = ["10.244.1.0/24", "10.244.2.0/24"];
        let all6 = ["fd00:244:1::/64", "fd00:244:2::/64"];
        let both = || {
            let v4 = all.iter().map(|prefix| put(prefix, via(&["10.0.1.2", "10.0.2.2"])));
            v4.chain(all6.iter().map(|prefix| put(prefix, via(&["fd00:1::2", "fd00:2::2"])))).collect::<Vec<_>>()
        };
        let (first, events) = start().await;
        assert_eq!(first.adopted(), 0);
        first.wish(both()).await;
        let before = routes();
        assert_eq!(before.iter().filter(|line| line.contains("metric 76")).count(), 4, "{before:?}");
        end(first, events).await;

        let (second, _events) = start().await;
        assert_eq!(second.adopted(), 4);
        assert_eq!(routes(), before);
        let monitor = RouteMonitor::start().await;
        second
            .wish(
                both()
                    .into_iter()
                    .filter(|change| {
                        !format!("{change:?}").contains("244.2") && !format!("{change:?}").contains("244:2")
                    })
                    .collect(),
            )
            .await;
        assert_eq!(routes(), before, "what nobody asked for went before the sweep");
        second.sweep(false).await;
        assert!(!routes().iter().any(|line| line.starts_with("10.244.2.0/24")));
        assert!(routes().iter().any(|line| line.starts_with("fd00:244:2::/64")), "the other family was swept as well");
        second.sweep(true).await;
        assert_eq!(routes().iter().filter(|line| line.contains("metric 76")).count(), 2, "{:?}", routes());
        let heard = monitor.stop();
        assert!(
            !heard.contains("10.244.1.0/24") && !heard.contains("fd00:244:1::/64"),
            "touched without need:\n{heard}"
        );
    });
}

#[test]
fn foreign_routes_and_devices_survive_everything() {
    in_namespace(|| async {
        uplinks();
        ip("link add foreign0 type vxlan id 4095 dstport 4790 local 10.0.1.1");
        ip("route add 10.244.1.0/24 via 10.0.2.9 proto static metric 100");
        ip("route add 10.9.0.0/16 via 10.0.2.9 proto bird metric 76");
        ip("-6 route add fd00:9::/64 via fd00:2::9 proto bird metric 76");
        ip("route add 10.8.0.0/16 via 10.0.2.9 proto 76 metric 76 table 100");
        let (before, other_table) = (foreign(), ip("route show table 100"));
        let (fib, _events) = start().await;
        assert_eq!(fib.adopted(), 0, "a route of another table is not Linnet's");
        fib.wish(vec![
            put("10.244.1.0/24", via(&["10.0.1.2"])),
            put("10.9.0.0/16", via(&["10.0.1.2"])),
            put("fd00:9::/64", via(&["fd00:1::2"])),
            remove("10.9.0.0/16"),
            put("10.9.0.0/16", via(&["10.0.1.2"])),
        ])
        .await;
        fib.sweep(false).await;
        fib.sweep(true).await;
        assert_eq!(foreign(), before);
        fib.wish(vec![remove("10.244.1.0/24"), remove("10.9.0.0/16"), remove("fd00:9::/64")]).await;
        fib.clear().await;
        assert_eq!(routes(), ["10.8.0.0/16 via 10.0.2.9 dev up2 table 100 metric 76"]);
        assert_eq!((foreign(), ip("route show table 100")), (before, other_table));
    });
}

#[test]
fn a_foreign_route_with_the_same_key_is_a_conflict_until_it_goes() {
    in_namespace(|| async {
        uplinks();
        for (family, prefix, theirs, ours) in
            [("-4", "10.9.0.0/16", "10.0.2.9", "10.0.1.2"), ("-6", "fd00:9::/64", "fd00:2::9", "fd00:1::2")]
        {
            ip(&format!("{family} route add {prefix} via {theirs} proto bird metric 76"));
            let (fib, _events) = start().await;
            fib.wish(vec![put(prefix, via(&[ours]))]).await;
            let status = fib.status().await;
            assert!(!status[0].installed);
            assert!(status[0].error.as_deref().is_some_and(|error| error.contains("protocol 12")), "{status:?}");
            ip(&format!("{family} route del {prefix} via {theirs} proto bird metric 76"));
            until("the route is written once the other one is gone", || routes().len() == 1).await;
            assert_eq!(fib.status().await[0].error, None);
            fib.clear().await;
        }
    });
}

#[test]
fn a_foreign_route_that_takes_the_place_of_ours_is_left_alone() {
    in_namespace(|| async {
        uplinks();
        let (fib, _events) = start().await;
        fib.wish(vec![put("10.9.0.0/16", via(&["10.0.1.2"]))]).await;
        ip("route replace 10.9.0.0/16 via 10.0.2.9 proto bird metric 76");
        let named =
            |status: &[RouteStatus]| status[0].error.as_deref().is_some_and(|error| error.contains("protocol 12"));
        until_status("the other owner is named", &fib, named).await;
        assert!(ip("route show 10.9.0.0/16").contains("proto bird"));
        assert_eq!(routes(), [""; 0]);
    });
}

#[test]
fn what_another_program_removes_or_changes_is_put_back_and_reported() {
    in_namespace(|| async {
        uplinks();
        let (fib, mut events) = start().await;
        for (family, prefix, hops, other) in [
            ("-4", "10.244.1.0/24", ["10.0.1.2", "10.0.2.2"], "10.0.1.9"),
            ("-6", "fd00:244:1::/64", ["fd00:1::2", "fd00:2::2"], "fd00:1::9"),
        ] {
            fib.wish(vec![put(prefix, via(&hops))]).await;
            let wanted = ip(&format!("{family} route show {prefix}"));
            let [one, _] = hops;
            let mut meddling = vec![
                format!("{family} route del {prefix} metric 76"),
                format!("{family} route replace {prefix} via {other} metric 76 proto 76"),
            ];
            if family == "-6" {
                meddling.push(format!("-6 route del {prefix} via {one} dev up1 metric 76"));
                meddling.push(format!("-6 route append {prefix} via {other} metric 76 proto 76"));
            }
            for meddling in &meddling {
                ip(meddling);
                let repaired = event(&mut events, |event| match event {
                    FibEvent::Repaired { prefix, .. } => Some(prefix),
                    _ => None,
                });
                assert_eq!(repaired.await, prefix.parse().expect("a prefix"), "{meddling}");
                until(meddling, || ip(&format!("{family} route show {prefix}")) == wanted).await;
            }
            let status = fib.status().await;
            let status = status.iter().find(|status| status.prefix.to_string() == prefix).expect("the route");
            assert_eq!((status.installed, status.repairs as usize), (true, meddling.len()), "{status:?}");
        }
    });
}

#[test]
fn a_program_that_fights_over_a_route_is_named_in_the_status_and_not_fought_for_ever() {
    in_namespace(|| async {
        uplinks();
        let (fib, _events) = start().await;
        fib.wish(vec![put("10.244.1.0/24", via(&["10.0.1.2"]))]).await;
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while !fib.status().await[0].error.as_deref().is_some_and(|error| error.contains("another program")) {
            let _ = run("ip", &["route", "del", "10.244.1.0/24", "metric", "76"]);
            assert!(std::time::Instant::now() < deadline, "{:?}", fib.status().await);
        }
        until("peace brings the route back", || routes().len() == 1).await;
    });
}

#[test]
fn a_next_hop_on_no_link_waits_with_a_reason_and_follows_its_link() {
    in_namespace(|| async {
        link("up1", &["10.0.1.1/24"]);
        let (fib, _events) = start().await;
        fib.wish(vec![put("10.244.1.0/24", via(&["10.0.7.2"]))]).await;
        let status = fib.status().await;
        assert!(
            !status[0].installed && status[0].error.as_deref().is_some_and(|e| e.contains("10.0.7.2")),
            "{status:?}"
        );
        ip("addr add 10.0.7.1/24 dev up1");
        until("the route is written once its next hop is on a link", || routes().len() == 1).await;
        assert_eq!(fib.status().await[0].error, None);
    });
}

#[test]
fn a_route_comes_back_with_its_link() {
    in_namespace(|| async {
        uplinks();
        let (fib, _events) = start().await;
        fib.wish(vec![
            put("10.244.1.0/24", via(&["10.0.1.2"])),
            put("10.244.1.7/32", Target::Device("up1".into())),
            put("fd00:244:1::/64", via(&["fd00:1::2"])),
        ])
        .await;
        assert_eq!(routes().len(), 3);
        ip("link set up1 down");
        until("the kernel drops the routes of a link that is down", || routes().is_empty()).await;
        ip("link set up1 up");
        ip("addr replace fd00:1::1/64 dev up1 nodad");
        until("they come back", || routes().len() == 3).await;
    });
}

fn hops_by_link() -> (usize, usize) {
    let text = routes().join(" ");
    (text.matches("dev up1").count(), text.matches("dev up2").count())
}

/// Two routes by both uplinks; then the hop of one has no carrier, then no hop has.
async fn lose_hops(fib: &Fib, last: (usize, usize)) {
    let wanted = vec![
        put("10.244.1.0/24", via(&["10.0.1.2", "10.0.2.2"])),
        put("fd00:244:1::/64", via(&["fd00:1::2", "fd00:2::2"])),
    ];
    fib.wish(wanted).await;
    assert_eq!(hops_by_link(), (2, 2));
    // The other end goes down: this one is still switched on, but has no carrier.
    ip("link set up1-peer down");
    until("only the living hop is left", || hops_by_link() == (0, 2)).await;
    let told = std::time::Instant::now() + std::time::Duration::from_secs(5);
    loop {
        let status = fib.status().await;
        let said = status[0].error.as_deref().is_some_and(|error| error.contains("no carrier"));
        if status[0].installed && said {
            break;
        }
        assert!(std::time::Instant::now() < told, "{status:?}");
    }
    ip("link set up2-peer down");
    until("with no hop", || hops_by_link() == last).await;
    ip("link set up1-peer up");
    ip("link set up2-peer up");
    until("both hops are back", || hops_by_link() == (2, 2)).await;
    ip("link set up2 down");
    until("only the hop on a link that is up is left", || hops_by_link() == (2, 0)).await;
}

#[test]
fn traffic_leaves_a_dead_hop_at_once_and_returns_when_it_lives() {
    in_namespace(|| async {
        uplinks();
        let (fib, _events) = start().await;
        // The kernel deletes an object whose link is lost, and the routes of a group that has none left.
        lose_hops(&fib, (0, 0)).await;
    });
}

#[test]
fn without_next_hop_objects_traffic_leaves_a_dead_hop_and_the_last_hop_is_kept() {
    in_namespace(|| async {
        uplinks();
        let (fib, _events) = start_without_objects().await;
        lose_hops(&fib, (0, 2)).await;
    });
}

#[test]
fn reach_is_the_kernels_own_answer_and_its_changes_are_told() {
    in_namespace(|| async {
        uplinks();
        ip("route add 172.16.0.0/12 via 10.0.1.2");
        ip("link set up2 mtu 1400");
        let (fib, mut events) = start().await;
        let ask = ["10.0.1.2", "172.16.3.3", "10.0.2.1", "192.0.2.1", "fd00:2::2"];
        let ask: Vec<IpAddr> = ask.iter().map(|address| address.parse().expect("an address")).collect();
        let reach = fib.reach(ask.clone()).await;
        assert_eq!(reach[0], Reach::Adjacent { device: "up1".into(), mtu: 1500 });
        assert_eq!(reach[1], Reach::Routed { via: ask[0], device: "up1".into(), onlink: false, mtu: 1500 });
        assert_eq!(reach[2], Reach::Local);
        assert!(matches!(&reach[3], Reach::Unreachable { error } if error.contains("unreachable")), "{reach:?}");
        assert_eq!(reach[4], Reach::Adjacent { device: "up2".into(), mtu: 1400 });
        ip("route replace 172.16.0.0/12 dev up2");
        let changed = event(&mut events, |event| match event {
            FibEvent::ReachChanged(changed) => Some(changed),
            _ => None,
        });
        assert_eq!(changed.await, [(ask[1], Reach::Adjacent { device: "up2".into(), mtu: 1400 })]);
    });
}

#[test]
fn a_next_hop_behind_a_link_without_a_carrier_is_out_of_reach_until_the_carrier_is_back() {
    in_namespace(|| async {
        uplinks();
        let (fib, mut events) = start().await;
        let next_hop = IpAddr::from([10, 0, 1, 2]);
        let reach = fib.reach(vec![next_hop]).await;
        for (command, wanted) in [
            ("down", Reach::Unreachable { error: "device up1 has no carrier".into() }),
            ("up", reach.into_iter().next().expect("an answer")),
        ] {
            ip(&format!("link set up1-peer {command}"));
            let changed = event(&mut events, |event| match event {
                FibEvent::ReachChanged(changed) => Some(changed),
                _ => None,
            });
            assert_eq!(changed.await, [(next_hop, wanted)]);
        }
    });
}

#[test]
fn a_batch_of_many_routes_is_written_whole_and_one_refusal_stops_nothing() {
    in_namespace(|| async {
        uplinks();
        let (fib, _events) = start().await;
        let prefix = |n: u32| format!("10.{}.{}.0/24", 100 + n / 256, n % 256);
        let mut changes: Vec<_> = (0..3000).map(|n| put(&prefix(n), via(&["10.0.1.2"]))).collect();
        // The kernel takes no gateway that is on no net of the device.
        let wrong =
            fib_sync::Hop::Direct { via: IpAddr::from([192, 0, 2, 1]), device: Some("up1".into()), onlink: false };
        changes[1500] = put(&prefix(1500), Target::Forward(vec![wrong]));
        fib.wish(changes).await;
        assert_eq!(routes().len(), 2999);
        let status = fib.status().await;
        let refused: Vec<_> = status.iter().filter(|status| !status.installed).collect();
        assert_eq!(refused.len(), 1);
        assert_eq!(refused[0].prefix.to_string(), prefix(1500));
        assert!(refused[0].error.as_deref().is_some_and(|error| error.contains("gateway")), "{refused:?}");
    });
}

#[test]
fn a_table_of_its_own_is_written_and_swept_and_main_is_left_alone() {
    in_namespace(|| async {
        uplinks();
        ip("route add 10.7.0.0/16 via 10.0.1.2 proto 76 metric 76");
        ip("route add 10.6.0.0/16 via 10.0.1.2 proto 76 metric 9 table 1000");
        ip("route add 10.7.0.0/16 via 10.0.1.2 proto 76 metric 9 table 1000");
        let config = fib_sync::FibConfig { table: 1000, metric: 9, next_hop_objects: true };
        let (fib, _events) = Fib::start(config).expect("the engine");
        assert_eq!(fib.adopted(), 2);
        fib.wish(vec![put("10.7.0.0/16", via(&["10.0.1.2"]))]).await;
        fib.sweep(false).await;
        assert_eq!(ip("route show table 1000").trim(), "10.7.0.0/16 via 10.0.1.2 dev up1 proto 76 metric 9");
        assert!(ip("route show").contains("10.7.0.0/16 via 10.0.1.2 dev up1 proto 76 metric 76"));
    });
}

#[test]
fn batches_land_in_their_order_though_a_small_one_may_go_past_the_queue() {
    in_namespace(|| async {
        uplinks();
        let (fib, _events) = start().await;
        let prefix = |n: u32| format!("10.{}.{}.0/24", 100 + n / 256, n % 256);
        let all = |router: &str| changes((0..200).map(|n| put(&prefix(n), via(&[router]))).collect());
        for (router, other) in [("10.0.1.2", "10.0.2.2"), ("10.0.2.2", "10.0.1.2")] {
            fib.submit(all(router)).await;
            fib.submit(changes(vec![put(&prefix(7), via(&[other])), remove(&prefix(9))])).await;
            fib.written().await;
            assert_eq!(routes().len(), 199);
            let [exception] = &by(other)[..] else { panic!("{:?}", routes()) };
            assert!(exception.starts_with("10.100.7.0/24 "), "{exception}");
        }
    });
}

/// The routes by a router.
fn by(router: &str) -> Vec<String> {
    routes().into_iter().filter(|route| route.contains(&format!("via {router} "))).collect()
}

#[test]
fn questions_are_answered_while_very_many_routes_wait_for_the_kernel() {
    const ROUTES: u32 = 20_000;
    in_namespace(|| async {
        uplinks();
        let (fib, _events) = start().await;
        let prefix = |n: u32| format!("20.{}.{}.0/24", n / 256, n % 256);
        fib.submit(changes((0..ROUTES).map(|n| put(&prefix(n), via(&["10.0.1.2"]))).collect())).await;
        for _ in 0..10 {
            let totals = fib.totals().await;
            assert!(totals.installed < totals.wanted, "no answer came before all was written");
        }
        fib.written().await;
        assert_eq!(fib.totals().await.installed, ROUTES as usize);
    });
}

/// The routes of the storm, in the order in which they are written.
fn storm() -> Vec<Wish> {
    let prefixes = (0..4000).map(|n| format!("10.{}.{}.0/24", 100 + n / 256, n % 256));
    prefixes.map(|prefix| put(&prefix, via(&["10.0.1.2", "10.0.2.2"]))).collect()
}

#[test]
fn an_engine_killed_in_the_middle_is_followed_by_one_that_completes_its_work_and_removes_nothing() {
    const CHILD: &str = "LINNET_TEST_STORM";
    if std::env::var_os(CHILD).is_some() {
        // The process that is killed: this same test, started below, in the namespace of the thread that starts it.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        return runtime.block_on(async {
            let (fib, _events) = start().await;
            for changes in storm().chunks(20) {
                fib.wish(changes.to_vec()).await;
            }
            std::future::pending::<()>().await;
        });
    }
    in_namespace(|| async {
        uplinks();
        for enough in [1, 700, 2500] {
            let monitor = RouteMonitor::start().await;
            let name = "an_engine_killed_in_the_middle_is_followed_by_one_that_completes_its_work_and_removes_nothing";
            let mut child = std::process::Command::new(std::env::current_exe().expect("this test"))
                .args(["--exact", name])
                .env(CHILD, "1")
                .stdout(std::process::Stdio::null())
                .spawn()
                .expect("this test");
            // A multipath route has three lines.
            until("the storm has begun", || routes().len() / 3 >= enough).await;
            child.kill().expect("kill -9");
            child.wait().expect("its end");
            let written = routes().len() / 3;
            let (fib, events) = start().await;
            assert_eq!(fib.adopted(), written);
            fib.wish(storm()).await;
            fib.sweep(false).await;
            assert_eq!(routes().len() / 3, storm().len());
            let heard = monitor.stop();
            let gone = heard.lines().find(|line| line.starts_with("Deleted 10."));
            assert_eq!(gone, None);
            fib.clear().await;
            end(fib, events).await;
        }
    });
}
