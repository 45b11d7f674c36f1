//! Two hosts without L2 adjacency, behind a router that speaks no BGP and knows no pod prefix. Needs root.

#![allow(clippy::unwrap_used)] // a panic is a test's verdict, here as in the tests

mod support;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use support::stream::{Stream, told};
use support::{Namespace, Process, spawn};

/// A host with a daemon; its number is in its addresses: 10.9N.0.1 on the link, 10.244.N.1 as a pod would have it.
struct Host {
    namespace: Namespace,
    number: u8,
    directory: PathBuf,
}

impl Host {
    /// Wired to `router`, which gets 10.9N.0.2.
    fn new(number: u8, router: &Namespace) -> Self {
        let namespace = Namespace::new("o");
        let directory = std::env::temp_dir().join(&namespace.name);
        fs::create_dir_all(&directory).unwrap();
        namespace.run(&format!("ip link add eth0 type veth peer name eth{number} netns {}", router.name));
        namespace.run(&format!("ip addr add 10.9{number}.0.1/24 dev eth0"));
        namespace.run("ip link set eth0 up");
        namespace.run(&format!("ip route add default via 10.9{number}.0.2"));
        // Stands for a pod: an address inside the host's block.
        namespace.run(&format!("ip addr add 10.244.{number}.1/32 dev lo"));
        namespace.run(&format!("ip -6 addr add fd00:244:{number}::1/128 dev lo nodad"));
        router.run(&format!("ip addr add 10.9{number}.0.2/24 dev eth{number}"));
        router.run(&format!("ip link set eth{number} up"));
        Self { namespace, number, directory }
    }

    fn configure(&self, peer: u8, mode: &str) {
        let (number, directory) = (self.number, self.directory.display());
        let text = format!(
            r#"
[node]
name = "host-{number}"
pod-cidrs = ["10.244.{number}.0/24", "fd00:244:{number}::/64"]
[bgp]
asn = 64512
[[bgp.peer]]
name = "host-{peer}"
address = "10.9{peer}.0.1"
asn = "internal"
connect-retry = 1
[overlay]
mode = "{mode}"
[policy]
directory = "{directory}/policy.d"
[api]
socket = "{directory}/linnetd.sock"
[state]
directory = "{directory}/state"
"#
        );
        fs::write(self.directory.join("linnetd.toml"), text).unwrap();
    }

    fn start(&self) -> Process {
        let mut command = self.namespace.command(env!("CARGO_BIN_EXE_linnetd"));
        command.arg("--config").arg(self.directory.join("linnetd.toml"));
        spawn(&mut command, &self.directory.join("linnetd.log"))
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("linnetd.log")).unwrap_or_default()
    }

    /// Whether the route to a prefix has this in it.
    fn leads(&self, prefix: &str, way: &str) -> bool {
        self.namespace.run(&format!("ip route show {prefix}")).contains(way)
    }

    fn has_device(&self) -> bool {
        self.namespace.run("ip -br link").contains("linnet.vxlan")
    }

    /// A stream from its pod's address to that of another.
    fn stream(&self, other: &Self) -> Stream {
        let pod = |host: &Self, port| SocketAddr::from(([10, 244, host.number, 1], port));
        let to = pod(other, 7000 + u16::from(self.number));
        Stream::start(self.namespace.udp(pod(self, 0)), other.namespace.udp(to), to)
    }

    fn dump(&self) -> String {
        let log = self.log();
        let shown: Vec<String> = ["ip -d -br link", "ip route", "ip -6 route", "ip neigh", "bridge fdb"]
            .into_iter()
            .map(|words| self.namespace.run(words))
            .collect();
        format!("--- host {}\n{}\n{log}", self.number, shown.join("\n"))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Two hosts that are to use the overlay so, and a router between them.
fn routed(mode: &str) -> (Namespace, Host, Host) {
    let router = Namespace::new("r");
    router.run("sysctl -qw net.ipv4.ip_forward=1");
    let (one, two) = (Host::new(1, &router), Host::new(2, &router));
    one.configure(2, mode);
    two.configure(1, mode);
    (router, one, two)
}

fn until(what: &str, hosts: &[&Host], mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while !done() {
        let dumps = || hosts.iter().map(|host| host.dump()).collect::<String>();
        assert!(Instant::now() < deadline, "waited for: {what}\n{}", dumps());
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn hosts_behind_a_router_that_knows_no_pod_reach_one_another_by_vxlan() {
    let (_router, one, two) = routed("auto");
    let daemons = [one.start(), two.start()];
    let ping = |to: &str, from: &str| one.namespace.try_run(&format!("ping -c1 -W1 -I {from} {to}")).status.success();
    until("IPv4 through the tunnel", &[&one, &two], || ping("10.244.2.1", "10.244.1.1"));
    until("IPv6 through the tunnel over IPv4", &[&one, &two], || ping("fd00:244:2::1", "fd00:244:1::1"));
    let routes = one.namespace.run("ip route show proto 76");
    assert!(
        routes.lines().any(|line| line.contains("10.244.2.0/24") && line.contains("linnet.vxlan")),
        "{}",
        one.dump()
    );

    // A filter takes one prefix out of the tunnel, and the other stays in it.
    let filter = "import = \"mine\"\n[[bgp.filter]]\nname = \"mine\"\nrules = [\n\
                  { match = { family = \"ipv4-unicast\" }, set = { overlay = \"never\", mtu = 1400 }, then = \"accept\" },\n\
                  { then = \"accept\" }]\n[overlay]";
    let file = one.directory.join("linnetd.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("[overlay]", filter)).unwrap();
    daemons[0].signal("HUP");
    until("the IPv4 route goes by the router", &[&one], || {
        let route = one.namespace.run("ip route show 10.244.2.0/24");
        route.contains("via 10.91.0.2 dev eth0") && route.contains("mtu 1400")
    });
    assert!(one.namespace.run("ip -6 route show fd00:244:2::/64").contains("linnet.vxlan"), "{}", one.dump());
    fs::write(&file, text).unwrap();
    daemons[0].signal("HUP");
    until("the IPv4 route goes by the tunnel again", &[&one, &two], || ping("10.244.2.1", "10.244.1.1"));

    // The other mode, applied in place on one side: the route follows the kernel's own to the host.
    one.configure(2, "never");
    daemons[0].signal("HUP");
    until("the route leaves the tunnel", &[&one], || one.leads("10.244.2.0/24", "via 10.91.0.2 dev eth0"));
    one.configure(2, "auto");
    daemons[0].signal("HUP");
    until("the tunnel comes back", &[&one, &two], || ping("10.244.2.1", "10.244.1.1"));
}

#[test]
fn a_tunnel_that_is_switched_off_takes_packets_until_peers_have_heard_of_it_and_none_is_lost() {
    let (router, one, two) = routed("always");
    for host in [1, 2] {
        router.run(&format!("ip route add 10.244.{host}.0/24 via 10.9{host}.0.1"));
    }
    let daemons = [one.start(), two.start()];
    until("both go by the tunnel", &[&one, &two], || {
        one.leads("10.244.2.0/24", "linnet.vxlan") && two.leads("10.244.1.0/24", "linnet.vxlan")
    });
    let streams = [one.stream(&two), two.stream(&one)];

    // What BGP has to say comes late.
    for words in [
        "add table ip late",
        "add chain ip late forward { type filter hook forward priority 0 ; }",
        "add rule ip late forward tcp dport 179 drop",
        "add rule ip late forward tcp sport 179 drop",
    ] {
        router.run(&format!("nft {words}"));
    }
    one.configure(2, "never");
    daemons[0].signal("HUP");
    until("what leaves this host goes by the router", &[&one], || one.leads("10.244.2.0/24", "via 10.91.0.2 dev eth0"));
    until("all of the reload is applied", &[&one], || one.log().contains("overlay.mode: \"always\" -> \"never\""));
    assert!(two.leads("10.244.1.0/24", "linnet.vxlan"), "the peer has not heard of it yet\n{}", two.dump());
    assert!(one.has_device(), "the peer sends into the tunnel\n{}", one.dump());
    router.run("nft delete table ip late");
    until("the peer goes by the router", &[&one, &two], || two.leads("10.244.1.0/24", "via 10.92.0.2 dev eth0"));
    until("the device goes", &[&one], || !one.has_device());
    lose_nothing(streams, &one, &two);
}

fn lose_nothing(streams: [Stream; 2], one: &Host, two: &Host) {
    for stream in streams {
        let (sent, lost) = stream.end();
        let missing = lost.len();
        assert!(
            lost.is_empty(),
            "{missing} of {sent} packets were lost:{}\n{}{}",
            told(&lost, &[]),
            one.dump(),
            two.dump()
        );
    }
}

#[test]
fn auto_follows_a_link_on_which_the_other_host_is_adjacent_there_and_back_and_no_packet_is_lost() {
    let (_router, one, two) = routed("auto");
    let daemons = [one.start(), two.start()];
    until("both go by the tunnel", &[&one, &two], || {
        one.leads("10.244.2.0/24", "linnet.vxlan") && two.leads("10.244.1.0/24", "linnet.vxlan")
    });
    let streams = [one.stream(&two), two.stream(&one)];
    // A cable between the two. Only a route says that the address that the other announces as next hop is on it.
    one.namespace.run(&format!("ip link add eth1 type veth peer name eth1 netns {}", two.namespace.name));
    for host in [&one, &two] {
        host.namespace.run(&format!("ip addr add 10.94.0.{}/24 dev eth1", host.number));
        host.namespace.run("ip link set eth1 up");
    }
    let works = || one.namespace.try_run("ping -c1 -W1 10.94.0.2").status.success();
    until("the cable works", &[&one, &two], works);
    for round in 1..=5 {
        for (host, other) in [(&one, &two), (&two, &one)] {
            host.namespace.run(&format!("ip route add 10.9{}.0.1/32 dev eth1", other.number));
        }
        until(&format!("both go by the cable, round {round}"), &[&one, &two], || {
            one.leads("10.244.2.0/24", "via 10.92.0.1 dev eth1") && two.leads("10.244.1.0/24", "via 10.91.0.1 dev eth1")
        });
        for (host, other) in [(&one, &two), (&two, &one)] {
            host.namespace.run(&format!("ip route del 10.9{}.0.1/32 dev eth1", other.number));
        }
        until(&format!("both go by the tunnel again, round {round}"), &[&one, &two], || {
            one.leads("10.244.2.0/24", "linnet.vxlan") && two.leads("10.244.1.0/24", "linnet.vxlan")
        });
    }
    drop(daemons);
    lose_nothing(streams, &one, &two);
}

#[test]
fn a_node_that_is_renumbered_follows_its_hosts_new_address_and_is_reached_there() {
    let (router, one, two) = routed("auto");
    let daemons = [one.start(), two.start()];
    let reached = || {
        ["10.244.2.1 -I 10.244.1.1", "fd00:244:2::1 -I fd00:244:1::1"]
            .iter()
            .all(|way| one.namespace.try_run(&format!("ping -c1 -W1 {way}")).status.success())
    };
    until("pods reach each other", &[&one, &two], reached);

    // Taken away and given back it is the same.
    two.namespace.run("ip addr del 10.92.0.1/24 dev eth0");
    until("pods are cut off by an address that is gone", &[&one, &two], || !reached());
    two.namespace.run("ip addr add 10.92.0.1/24 dev eth0");
    two.namespace.run("ip route add default via 10.92.0.2");
    until("pods reach each other as before", &[&one, &two], reached);

    router.run("ip addr add 10.93.0.2/24 dev eth1");
    router.run("ip addr del 10.91.0.2/24 dev eth1");
    one.namespace.run("ip addr del 10.91.0.1/24 dev eth0");
    one.namespace.run("ip addr add 10.93.0.1/24 dev eth0");
    one.namespace.run("ip route add default via 10.93.0.2");
    until("pods are cut off", &[&one, &two], || !reached());
    let file = two.directory.join("linnetd.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("10.91.0.1", "10.93.0.1")).unwrap();
    // Of the other, the file says nothing of the address: it is that of the default route, and followed.
    daemons[1].signal("HUP");
    until("pods reach each other again", &[&one, &two], reached);
    let device = one.namespace.run("ip -d link show linnet.vxlan");
    assert!(device.contains("local 10.93.0.1"), "{}", one.dump());
    until("the other node sends to the new address alone", &[&one, &two], || {
        let entries = two.namespace.run("bridge fdb show dev linnet.vxlan");
        entries.contains("dst 10.93.0.1") && !entries.contains("10.91.0.1")
    });

    // Another uplink is no other number: the address stays for as long as the host has it.
    one.namespace.run("ip link add eth9 type veth peer name far9");
    one.namespace.run("ip addr add 10.99.9.1/24 dev eth9");
    one.namespace.run("ip link set eth9 up");
    one.namespace.run("ip link set far9 up");
    one.namespace.run("ip route replace default via 10.99.9.2");
    one.namespace.run("ip route add 10.92.0.0/24 via 10.93.0.2");
    // So long it would have taken to follow.
    std::thread::sleep(Duration::from_secs(4));
    let device = one.namespace.run("ip -d link show linnet.vxlan");
    assert!(device.contains("local 10.93.0.1"), "{}", one.dump());
    until("pods still reach each other", &[&one, &two], reached);
}
