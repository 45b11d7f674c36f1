//! What routes say beside where they lead: preferred source and MTU, in a real kernel. Needs root.
#![allow(clippy::expect_used)]

mod support;

use fib_sync::{FibConfig, Path};
use support::{CONFIG, RouteMonitor, Wishes, end, in_namespace, ip, link, put, routes, until, via};

fn path(gateway: &str, source: &str) -> Path {
    Path { mtu: Some(1400), source: Some(source.parse().expect("an address")), ..Path::from(via(&[gateway])) }
}

/// Runs a test on a kernel that has next-hop objects, and as on one that has none.
fn both_ways(test: impl AsyncFn(FibConfig) + Clone + Send + Sync + 'static) {
    for next_hop_objects in [true, false] {
        let test = test.clone();
        in_namespace(move || async move { test(FibConfig { next_hop_objects, ..CONFIG }).await });
    }
}

const V4: &str = "192.0.2.0/24 via 10.0.0.2 dev eth0 src 10.9.9.9 metric 76 mtu 1400";
const V6: &str = "2001:db8::/32 via fd00::2 dev eth0 src fd09::9 metric 76 mtu 1400 pref medium";

#[test]
fn source_and_mtu_are_in_the_kernels_routes_and_a_restart_touches_none() {
    both_ways(async |config: FibConfig| {
        link("eth0", &["10.0.0.1/24", "fd00::1/64"]);
        ip("addr add 10.9.9.9/32 dev lo");
        ip("addr add fd09::9/128 dev lo nodad");
        let wishes = || {
            vec![put("192.0.2.0/24", path("10.0.0.2", "10.9.9.9")), put("2001:db8::/32", path("fd00::2", "fd09::9"))]
        };
        let (fib, events) = fib_sync::Fib::start(config.clone()).expect("the engine");
        fib.wish(wishes()).await;
        assert_eq!(routes(), [V4, V6]);
        let answer = fib.get("192.0.2.7".parse().expect("an address")).await.expect("a route");
        assert_eq!((answer.source, answer.mtu), (Some([10, 9, 9, 9].into()), Some(1400)));
        end(fib, events).await;

        let monitor = RouteMonitor::start().await;
        let (fib, _events) = fib_sync::Fib::start(config).expect("the engine");
        fib.wish(wishes()).await;
        fib.sweep(false).await;
        fib.sweep(true).await;
        let heard = monitor.stop();
        assert!(!heard.contains("dev eth0"), "{heard}");
        assert_eq!(routes(), [V4, V6]);
        // Another source or MTU is another path, and its routes are replaced.
        fib.wish(vec![put("192.0.2.0/24", Path { mtu: None, ..path("10.0.0.2", "10.0.0.1") })]).await;
        assert_eq!(routes()[0], "192.0.2.0/24 via 10.0.0.2 dev eth0 src 10.0.0.1 metric 76");
    });
}

#[test]
fn while_no_device_has_the_source_routes_go_without_it_and_say_so() {
    both_ways(async |config: FibConfig| {
        link("eth0", &["10.0.0.1/24", "fd00::1/64"]);
        let (fib, _events) = fib_sync::Fib::start(config).expect("the engine");
        fib.wish(vec![
            put("192.0.2.0/24", path("10.0.0.2", "10.9.9.9")),
            put("2001:db8::/32", path("fd00::2", "fd09::9")),
        ])
        .await;
        let without = |route: &str| route.replace(" src 10.9.9.9", "").replace(" src fd09::9", "");
        assert_eq!(routes(), [without(V4), without(V6)]);
        let status = fib.status().await;
        assert!(status.iter().all(|route| route.installed), "{status:#?}");
        let error = status[0].error.clone().unwrap_or_default();
        assert_eq!(error, "source address 10.9.9.9 is on no device; the route goes without it");
        for _ in 0..2 {
            ip("addr add 10.9.9.9/32 dev lo");
            ip("addr add fd09::9/128 dev lo nodad");
            until("the source is used", || routes() == [V4, V6]).await;
            ip("addr del 10.9.9.9/32 dev lo");
            ip("addr del fd09::9/128 dev lo");
            until("the source is given up", || routes() == [without(V4), without(V6)]).await;
        }
        ip("addr add 10.9.9.9/32 dev lo");
        ip("addr add fd09::9/128 dev lo nodad");
        until("the source is used", || routes() == [V4, V6]).await;
        // In one burst the addresses are what they were, and the kernel's routes are not.
        ip("addr del 10.9.9.9/32 dev lo");
        ip("addr del fd09::9/128 dev lo");
        ip("addr add 10.9.9.9/32 dev lo");
        ip("addr add fd09::9/128 dev lo nodad");
        until("the source is back", || routes() == [V4, V6]).await;
        assert!(fib.status().await.iter().all(|route| route.error.is_none()));
    });
}
