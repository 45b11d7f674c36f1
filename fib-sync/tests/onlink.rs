//! Routers that are on no subnet of this host's: its own routes name them `onlink`, and Linnet's do too.
#![allow(missing_docs)]

mod support;

use std::net::IpAddr;

use fib_sync::{Fib, FibEvent, Hop, Reach, Target};
use support::*;

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A host as clouds have them: one address, and a router that is on the link because a route says so.
fn with_routers() {
    link("up1", &["192.0.2.10/32", "2001:db8::10/128"]);
    ip("route add default via 172.31.1.1 dev up1 onlink");
    ip("-6 route add default via 2001:db8:1::1 dev up1 onlink");
}

/// What linnetd makes of such an answer.
fn by(reach: &Reach) -> Target {
    let Reach::Routed { via, device, onlink, .. } = reach else { panic!("{reach:?}") };
    Target::Forward(vec![Hop::Direct { via: *via, device: Some(device.clone()), onlink: *onlink }])
}

async fn reach(fib: &Fib, of: &str) -> Reach {
    fib.reach(vec![address(of)]).await.remove(0)
}

#[test]
fn routes_by_a_router_that_is_on_the_link_by_word_alone_say_so_too() {
    for objects in [true, false] {
        in_namespace(move || async move {
            with_routers();
            let started = || async { if objects { start().await } else { start_without_objects().await } };
            let (fib, events) = started().await;
            let (four, six) = (reach(&fib, "198.51.100.7").await, reach(&fib, "2001:db8:ffff::7").await);
            let router = |via: &str| Reach::Routed { via: address(via), device: "up1".into(), onlink: true, mtu: 1500 };
            assert_eq!((&four, &six), (&router("172.31.1.1"), &router("2001:db8:1::1")));
            // The router itself too, which a peer may be.
            assert_eq!(reach(&fib, "172.31.1.1").await, four);
            let wishes =
                || vec![put("10.1.0.0/16", by(&four)), put("10.2.0.0/16", by(&six)), put("fd00:1::/64", by(&six))];
            fib.wish(wishes()).await;
            let held = routes();
            let status = fib.status().await;
            assert!(status.iter().all(|route| route.installed && route.error.is_none()), "{status:?}");
            assert_eq!(held.iter().filter(|route| route.contains("onlink")).count(), 3, "{held:?}");
            let checked = fib.check().await.expect("a comparison");
            assert!(checked.differences.is_empty(), "{checked:?}");
            // A restart finds them as they are to be.
            end(fib, events).await;
            let monitor = RouteMonitor::start().await;
            let (fib, _events) = started().await;
            assert_eq!(fib.adopted(), 3);
            fib.wish(wishes()).await;
            let checked = fib.check().await.expect("a comparison");
            assert!(checked.differences.is_empty(), "{checked:?}");
            assert_eq!(routes(), held);
            let heard = monitor.stop();
            assert!(["10.1.0.0", "10.2.0.0", "fd00:1:"].iter().all(|ours| !heard.contains(ours)), "{heard}");
        });
    }
}

#[test]
fn a_router_that_comes_to_be_on_a_subnet_is_told_of_and_nobody_has_to_say_so_any_more() {
    in_namespace(|| async {
        with_routers();
        let (fib, mut events) = start().await;
        let before = reach(&fib, "198.51.100.7").await;
        assert!(matches!(before, Reach::Routed { onlink: true, .. }), "{before:?}");
        ip("addr add 172.31.1.9/24 dev up1");
        ip("route replace default via 172.31.1.1 dev up1");
        let told = event(&mut events, |event| match event {
            FibEvent::ReachChanged(changed) => Some(changed),
            _ => None,
        });
        let wanted = Reach::Routed { via: address("172.31.1.1"), device: "up1".into(), onlink: false, mtu: 1500 };
        assert_eq!(told.await, [(address("198.51.100.7"), wanted)]);
    });
}
