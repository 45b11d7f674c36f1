//! Pods' interfaces on the real kernel.
#![allow(missing_docs)]

mod support;

use std::net::IpAddr;

use fib_sync::{
    FibError, Target, enable_forwarding, forwarding_enabled,
    pod::{self, PodInterface},
};
use support::*;

fn interface(name: &str, pod: &Other, addresses: &[&str]) -> PodInterface {
    PodInterface {
        host_name: pod::host_name(name),
        netns: pod.path().to_owned(),
        pod_name: "eth0".into(),
        addresses: addresses.iter().map(|address| address.parse().expect("an address")).collect(),
        mtu: 1450,
    }
}

fn host_routes(interface: &PodInterface) -> Vec<Wish> {
    let to_pod = |address: &IpAddr| put(&address.to_string(), Target::Device(interface.host_name.clone()));
    interface.addresses.iter().map(to_pod).collect()
}

#[test]
fn names_are_stable_short_and_differ() {
    assert_eq!(pod::host_name("default/web-0"), pod::host_name("default/web-0"));
    assert_ne!(pod::host_name("default/web-0"), pod::host_name("default/web-1"));
    let names: std::collections::HashSet<_> = (0..10_000).map(|n| pod::host_name(&format!("pod-{n}"))).collect();
    assert!(names.len() == 10_000 && names.iter().all(|name| name.len() == 14 && name.starts_with("lin")));
}

#[test]
fn both_ends_of_an_interface_get_another_mtu_in_place() {
    in_namespace(|| async {
        let pod = Other::new();
        let wanted = interface("default/a", &pod, &["10.244.1.5"]);
        let name = wanted.host_name.clone();
        let numbers = || (ip(&format!("-o link show {name}")), pod.ip("-o link show eth0"));
        pod::add(&wanted).await.expect("an interface");
        pod::up(&wanted.host_name).await.expect("up");
        for mtu in [8950, 1400, 1450] {
            pod::add(&PodInterface { mtu, ..wanted.clone() }).await.expect("another MTU");
            let (host, inside) = numbers();
            let part = format!("mtu {mtu} ");
            assert!(host.contains(&part) && inside.contains(&part), "{host}{inside}");
            assert!(inside.contains("UP") && pod.ip("route").contains("default via 169.254.1.1"), "{inside}");
        }
    });
}

#[test]
fn two_pods_of_a_host_reach_each_other_once_both_are_up() {
    in_namespace(|| async {
        enable_forwarding().expect("forwarding");
        assert_eq!(forwarding_enabled().expect("forwarding"), (true, true));
        let (fib, _events) = start().await;
        let pods = [Other::new(), Other::new()];
        let interfaces = [
            interface("default/a", &pods[0], &["10.244.1.5", "fd00:244:1::5"]),
            interface("default/b", &pods[1], &["10.244.1.6", "fd00:244:1::6"]),
        ];
        for interface in &interfaces {
            pod::add(interface).await.expect("an interface");
            fib.wish(host_routes(interface)).await;
            assert!(pods[0].pings("10.244.1.6").is_err(), "packets flowed before the interface was up");
            pod::up(&interface.host_name).await.expect("up");
        }
        until("the host routes follow their interfaces", || routes().len() == 4).await;
        until("IPv4", || pods[0].pings("10.244.1.6").is_ok()).await;
        pods[0].pings("fd00:244:1::6").expect("IPv6");
        pods[1].pings("fe80::1%eth0").expect("the host's end");
        assert!(pods[0].ip("link show eth0").contains("mtu 1450"));
    });
}

#[test]
fn adding_again_changes_nothing_and_mends_what_differs() {
    in_namespace(|| async {
        let pod = Other::new();
        let mut wanted = interface("default/a", &pod, &["10.244.1.5", "fd00:244:1::5"]);
        pod::add(&wanted).await.expect("an interface");
        pod::up(&wanted.host_name).await.expect("up");
        let state = |host: &str| {
            let inside = ["link show eth0", "-4 addr show eth0", "-6 addr show eth0", "route", "-6 route", "neigh"];
            let outside = ip(&format!("addr show {host}"));
            let all = format!("{outside}\n{}", inside.map(|arguments| pod.ip(arguments)).join("\n"));
            // The kernel looks for doubles of its own link-local address in its own time.
            all.replace(" tentative", "")
        };
        let before = state(&wanted.host_name);
        pod::add(&wanted).await.expect("again");
        assert_eq!(state(&wanted.host_name), before);

        pod.ip("route flush default");
        pod.ip("-6 route flush default");
        pod.ip("addr del 10.244.1.5/32 dev eth0");
        pod::add(&wanted).await.expect("again");
        assert_eq!(state(&wanted.host_name), before);

        (wanted.addresses, wanted.mtu) = (vec![IpAddr::from([10, 244, 1, 9])], 1400);
        pod::add(&wanted).await.expect("with other addresses");
        let addresses = pod.ip("addr show eth0");
        assert!(addresses.contains("10.244.1.9/32") && addresses.contains("mtu 1400"), "{addresses}");
        assert!(!addresses.contains("10.244.1.5") && !addresses.contains("fd00:244:1::5"), "{addresses}");
    });
}

#[test]
fn removing_takes_both_ends_and_is_done_once() {
    in_namespace(|| async {
        let pod = Other::new();
        let wanted = interface("default/a", &pod, &["10.244.1.5"]);
        pod::add(&wanted).await.expect("an interface");
        pod::remove(&wanted.host_name).await.expect("removed");
        pod::remove(&wanted.host_name).await.expect("removed already");
        assert!(!ip("link").contains(&wanted.host_name));
        assert!(!pod.ip("link").contains("eth0"));
        assert!(matches!(pod::up(&wanted.host_name).await, Err(FibError::Invalid(_))));
    });
}

#[test]
fn a_pod_that_comes_again_in_a_new_namespace_gets_a_new_pair() {
    in_namespace(|| async {
        let (first, second) = (Other::new(), Other::new());
        pod::add(&interface("default/a", &first, &["10.244.1.5"])).await.expect("an interface");
        pod::add(&interface("default/a", &second, &["10.244.1.5"])).await.expect("an interface");
        assert!(second.ip("addr show eth0").contains("10.244.1.5"));
        assert!(!first.ip("link").contains("eth0"));
    });
}

#[test]
fn what_cannot_be_made_is_refused_and_leaves_nothing() {
    in_namespace(|| async {
        let pod = Other::new();
        pod.ip("link add eth0 type bridge");
        let before = devices();
        let taken = interface("default/a", &pod, &["10.244.1.5"]);
        let error = pod::add(&taken).await.expect_err("the pod's name is taken").to_string();
        assert!(error.contains("eth0"), "{error}");

        let mut nowhere = taken.clone();
        nowhere.netns = "/run/netns/linnet-test-nowhere".into();
        assert!(matches!(pod::add(&nowhere).await, Err(FibError::Namespace { .. })));
        nowhere.netns = "/etc/hostname".into();
        assert!(matches!(pod::add(&nowhere).await, Err(FibError::Namespace { .. })));
        nowhere.netns = "/proc/thread-self/ns/net".into();
        assert!(matches!(pod::add(&nowhere).await, Err(FibError::Invalid(_))));

        let mut undone = taken.clone();
        (undone.pod_name, undone.addresses) = ("eth1".into(), vec!["ff02::1".parse().expect("an address")]);
        assert!(matches!(pod::add(&undone).await, Err(FibError::Kernel { .. })), "a group's address is no pod's");

        assert_eq!(devices(), before);
        assert!(!pod.ip("link").contains("eth1"));
    });
}

#[test]
fn devices_of_others_are_not_touched() {
    in_namespace(|| async {
        link("up1", &[]);
        let name = pod::host_name("default/a");
        ip(&format!("link add {name} type bridge"));
        let before = devices();
        for name in ["up1", "linux0", "lo", name.as_str()] {
            assert!(matches!(pod::remove(name).await, Err(FibError::Invalid(_))), "{name}");
            assert!(matches!(pod::up(name).await, Err(FibError::Invalid(_))), "{name}");
        }
        assert_eq!(devices(), before);
    });
}
