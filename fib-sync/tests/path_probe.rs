//! How long packets may be on the way to an address, on the real kernel: a router whose far link takes less than the near one.
#![allow(missing_docs)]

mod support;

use std::net::IpAddr;

use fib_sync::path_probe::{Passage, Said, probe};
use support::*;

const FAR: [&str; 2] = ["10.2.0.2", "fd00:2::2"];
const ROUTER: [&str; 2] = ["10.1.0.1", "fd00:1::1"];

/// The test's namespace, a router, a far host; `mtu`: of the link between the latter two.
struct Way {
    router: Other,
    far: Other,
}

async fn way(mtu: u32) -> Way {
    let (router, far) = (Other::new(), Other::new());
    ip("link add near type veth peer name to-near");
    ip("link add far type veth peer name to-far");
    router.take("to-near");
    router.take("to-far");
    far.take("far");
    let address = |of: &dyn Fn(&str) -> String, device: &str, addresses: [&str; 2]| {
        of(&format!("link set {device} up"));
        of(&format!("addr add {} dev {device}", addresses[0]));
        of(&format!("addr add {} dev {device} nodad", addresses[1]));
    };
    address(&ip, "near", ["10.1.0.2/24", "fd00:1::2/64"]);
    address(&|words| router.ip(words), "to-near", ["10.1.0.1/24", "fd00:1::1/64"]);
    address(&|words| router.ip(words), "to-far", ["10.2.0.1/24", "fd00:2::1/64"]);
    address(&|words| far.ip(words), "far", ["10.2.0.2/24", "fd00:2::2/64"]);
    router.ip(&format!("link set to-far mtu {mtu}"));
    far.ip(&format!("link set far mtu {mtu}"));
    router.run(fib_sync::enable_forwarding).expect("forwarding");
    ip("route add default via 10.1.0.1");
    ip("-6 route add default via fd00:1::1");
    far.ip("route add default via 10.2.0.1");
    far.ip("-6 route add default via fd00:2::1");
    until("the way is open", || FAR.iter().all(|address| run("ping", &["-c", "1", "-W", "1", address]).is_ok())).await;
    Way { router, far }
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

async fn probed(destination: &str, octets: u32) -> Passage {
    probe(address(destination), None, octets).await.expect("a probe")
}

#[test]
fn packets_that_pass_are_found_to_pass() {
    in_namespace(|| async {
        let _way = way(1500).await;
        for far in FAR {
            assert_eq!(probed(far, 1500).await, Passage::Whole);
        }
    });
}

#[test]
fn where_less_passes_it_is_said_how_much_and_which_router_says_so() {
    in_namespace(|| async {
        let _way = way(1397).await;
        for (far, router) in FAR.into_iter().zip(ROUTER) {
            let said = Said::Router(address(router), 1397);
            assert_eq!(probed(far, 1500).await, Passage::Less { octets: 1397, said });
            // What the kernel has learned from that does not count, nor is it needed.
            assert_eq!(probed(far, 1397).await, Passage::Whole);
            assert_eq!(probed(far, 1500).await, Passage::Less { octets: 1397, said });
        }
    });
}

#[test]
fn where_packets_vanish_without_a_word_the_largest_that_passes_is_found_all_the_same() {
    in_namespace(|| async {
        let way = way(1397).await;
        let mute = "add table inet mute; add chain inet mute out { type filter hook output priority 0; }; \
            add rule inet mute out icmp type destination-unreachable drop; add rule inet mute out icmpv6 type packet-too-big drop";
        way.router.run(|| run("nft", &[mute])).expect("nft");
        for far in FAR {
            assert_eq!(probed(far, 1500).await, Passage::Less { octets: 1397, said: Said::Nobody });
        }
    });
}

#[test]
fn a_device_that_takes_less_than_is_asked_for_is_told_from_a_way_that_does() {
    in_namespace(|| async {
        let _way = way(1500).await;
        for far in FAR {
            assert_eq!(probed(far, 9000).await, Passage::Less { octets: 1500, said: Said::ThisHost(1500) });
        }
    });
}

#[test]
fn who_answers_no_echo_leaves_nothing_known_and_what_has_no_route_is_an_error() {
    in_namespace(|| async {
        let way = way(1500).await;
        way.far.run(|| {
            for key in ["ipv4/icmp_echo_ignore_all", "ipv6/icmp/echo_ignore_all"] {
                std::fs::write(format!("/proc/sys/net/{key}"), "1").expect("a setting");
            }
        });
        for far in FAR {
            assert_eq!(probed(far, 1500).await, Passage::Silent);
        }
        ip("route del default");
        assert!(probe(address(FAR[0]), None, 1500).await.is_err());
    });
}

#[test]
fn a_neighbour_is_probed_by_its_link_local_address_on_the_link_that_is_named() {
    in_namespace(|| async {
        let way = way(1500).await;
        let shown = way.router.ip("-o -6 addr show dev to-near scope link");
        let local = shown.split_whitespace().nth(3).and_then(|word| word.split('/').next()).expect("an address");
        let passage = probe(address(local), Some("near".into()), 1500).await.expect("a probe");
        assert_eq!(passage, Passage::Whole);
    });
}
