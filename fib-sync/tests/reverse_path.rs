//! Packets between hosts and pods of other nodes, through the tunnel one way and beside it the other, whatever the kernel is
//! told to think of that (`rp_filter`).
#![allow(missing_docs)]

mod support;

use fib_sync::Encapsulation;
use support::{
    node::{Node, VXLAN, has_ip6tnl, has_ipip, has_wireguard},
    *,
};

fn set(key: &str, value: &str) {
    std::fs::write(format!("/proc/sys/net/ipv4/conf/{key}/rp_filter"), value).expect("a setting");
}

/// A host whose kernel checks so: its `all`, and what its own devices have when they are made.
fn host(all: &'static str, default: &'static str) -> Other {
    let host = Other::new();
    host.run(move || {
        set("all", all);
        set("default", default);
    });
    host
}

/// Two nodes with a router between them that knows no pod.
async fn routed(encapsulation: Encapsulation, all: &'static str, default: &'static str) -> (Other, Node, Node) {
    let router = Other::new();
    ip("link add one type veth peer name to-one");
    ip("link add two type veth peer name to-two");
    for (end, addresses) in [("to-one", ["10.1.0.1/24", "fd00:1::1/64"]), ("to-two", ["10.2.0.1/24", "fd00:2::1/64"])] {
        router.take(end);
        router.ip(&format!("link set {end} up"));
        router.ip(&format!("addr add {} dev {end}", addresses[0]));
        router.ip(&format!("addr add {} dev {end} nodad", addresses[1]));
    }
    router.run(fib_sync::enable_forwarding).expect("forwarding");
    let (one, two) = (host(all, default), host(all, default));
    // A second address and device, older than the uplink, which the kernel would take as the source if left to it.
    for node in [&one, &two] {
        node.ip("link add older type veth peer name nowhere");
        node.ip("link set older up");
        node.ip("addr add 172.17.0.1/16 dev older");
    }
    let (pod1, pod2) = (["10.244.1.5", "fd00:244:1::5"], ["10.244.2.5", "fd00:244:2::5"]);
    let (mut of_one, mut of_two) = (["10.1.0.2/24", "fd00:1::2/64"], ["10.2.0.2/24", "fd00:2::2/64"]);
    if encapsulation == Encapsulation::Ip6Tnl {
        of_one.reverse();
        of_two.reverse();
    }
    let one = Node::inside(one, encapsulation, "one", &of_one, &pod1).await;
    let two = Node::inside(two, encapsulation, "two", &of_two, &pod2).await;
    for (node, device, net) in [(&one, "one", 1), (&two, "two", 2)] {
        // A strict check of an uplink's own is the host's affair, and drops what other nodes' pods send to the host itself.
        node.host.run(move || set(device, "2"));
        node.host.ip(&format!("route add default via 10.{net}.0.1"));
        node.host.ip(&format!("-6 route add default via fd00:{net}::1"));
    }
    let both = if encapsulation == Encapsulation::IpIp { 1 } else { 2 };
    one.knows(&["10.244.2.0/24", "fd00:244:2::/64"][..both], &two.overlay).await;
    two.knows(&["10.244.1.0/24", "fd00:244:1::/64"][..both], &one.overlay).await;
    (router, one, two)
}

/// What is lost of: host to pod, pod to host, pod to pod, in the families that the tunnel carries.
async fn lost(encapsulation: Encapsulation, all: &'static str, default: &'static str) -> Vec<String> {
    let (_router, one, two) = routed(encapsulation, all, default).await;
    until("the underlay works", || one.host.pings("10.2.0.2").is_ok() && one.host.pings("fd00:2::2").is_ok()).await;
    let mut lost = Vec::new();
    let pairs = [("10.244.2.5", "10.2.0.2"), ("fd00:244:2::5", "fd00:2::2")];
    let families = if encapsulation == Encapsulation::IpIp { 1 } else { 2 };
    for (pod, host) in pairs.into_iter().take(families) {
        for (what, from, to) in
            [("pod to pod", &one.pod, pod), ("host to pod", &one.host, pod), ("pod to host", &one.pod, host)]
        {
            // A peer of WireGuard takes from a host what comes from its node's own address, which is IPv4 here.
            let refused =
                matches!(encapsulation, Encapsulation::WireGuard { .. }) && to.contains(':') && what != "pod to pod";
            // What a host sends over an IPv6 underlay to IPv4 pods comes from what the kernel takes, as `fib.source` does not say it:
            // here the older device's.
            let of_no_node = encapsulation == Encapsulation::Ip6Tnl && !to.contains(':') && what == "host to pod";
            if !refused && !of_no_node && from.pings(to).is_err() {
                lost.push(format!("{}: {what} {to}", encapsulation.name()));
            }
        }
    }
    if !lost.is_empty() {
        let settings =
            "grep -H . /proc/sys/net/ipv4/conf/*/rp_filter; ip addr; ip route; nstat -az TcpExtIPReversePathFilter";
        lost.push(two.host.run(|| run("sh", &["-c", settings]).unwrap_or_default()));
    }
    lost
}

fn all_pass(all: &'static str, default: &'static str) {
    in_namespace(move || async move {
        assert_eq!(lost(VXLAN, all, default).await.join("\n"), "");
    });
    in_namespace(move || async move {
        if has_ipip() {
            assert_eq!(lost(Encapsulation::IpIp, all, default).await.join("\n"), "");
        }
    });
    in_namespace(move || async move {
        if has_ip6tnl() {
            assert_eq!(lost(Encapsulation::Ip6Tnl, all, default).await.join("\n"), "");
        }
    });
    in_namespace(move || async move {
        if has_wireguard() {
            assert_eq!(lost(Encapsulation::WireGuard { port: 51820 }, all, default).await.join("\n"), "");
        }
    });
}

#[test]
fn hosts_and_pods_of_two_nodes_reach_each_other_where_reverse_paths_are_not_checked() {
    all_pass("0", "0");
}

#[test]
fn hosts_and_pods_of_two_nodes_reach_each_other_where_reverse_paths_are_checked_strictly() {
    all_pass("1", "1");
}

#[test]
fn hosts_and_pods_of_two_nodes_reach_each_other_where_reverse_paths_are_checked_loosely() {
    all_pass("2", "2");
}

#[test]
fn hosts_and_pods_of_two_nodes_reach_each_other_where_new_devices_are_checked_strictly() {
    all_pass("0", "1");
}

#[test]
fn settings_and_address_of_the_device_come_back_when_another_program_changes_them() {
    in_namespace(|| async {
        link("up1", &["192.168.0.1/24"]);
        let (fib, events) = start().await;
        fib.overlay(Some(node::spec("192.168.0.1"))).await.expect("the overlay");
        let setting = "/proc/sys/net/ipv4/conf/linnet.vxlan/rp_filter";
        let right = || {
            std::fs::read_to_string(setting).expect("a setting").trim() == "2"
                && ip("addr show dev linnet.vxlan").contains("inet 192.0.0.8/32 scope host linnet.vxlan")
        };
        assert!(right());
        // As systemd-udevd does when a device appears, where /usr/lib/sysctl.d says so.
        set("linnet.vxlan", "1");
        until("the setting comes back", right).await;
        ip("addr flush dev linnet.vxlan");
        until("the address comes back", right).await;
        // What happens while nobody runs.
        end(fib, events).await;
        set("linnet.vxlan", "1");
        let (fib, _events) = start().await;
        fib.overlay(Some(node::spec("192.168.0.1"))).await.expect("the overlay");
        assert!(right());
    });
}
