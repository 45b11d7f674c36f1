//! Routes that other programs put into the kernel, announced to a real router. Needs root.

#![allow(clippy::unwrap_used)] // a panic is a test's verdict, here as in the tests

mod support;

use std::fs;

use linnet_api::{BgpRoutesRequest, ReloadRequest, StatusRequest};
use support::{HOST, Namespace, Process, ROUTER, Rack, shown, six, spawn, wait_for_both_sides};

/// Static routes and an OSPF daemon's, within what the filter lets pass.
const IMPORT: &str = r#"
[[bgp.import-kernel]]
protocols = ["static", "bird"]
filter = "kernel"
metric-as-med = true
limit = 100
[[bgp.filter]]
name = "kernel"
rules = [
  { match = { prefix = ["198.51.100.0/24"] }, set = { add-community = ["64512:7"] }, then = "accept" },
  { match = { prefix = ["192.168.0.0/16 le 24", "fd00:7::/32 le 64"] }, then = "accept" },
]
"#;

/// What BIRD on the router has from the host, a line for each prefix.
fn heard(rack: &Rack) -> Vec<String> {
    heard_by(rack, "host")
}

/// Likewise, on this session of BIRD's.
fn heard_by(rack: &Rack, session: &str) -> Vec<String> {
    let shown = rack.birdc(&format!("show route protocol {session} all"));
    let mut lines: Vec<String> = Vec::new();
    for line in shown.lines() {
        let first = line.split_whitespace().next().unwrap_or_default();
        if line.contains(&format!("[{session} ")) && first.contains('/') {
            lines.push(first.to_owned());
        }
        if let (Some(last), true) = (lines.last_mut(), line.contains("BGP.med:") || line.contains("BGP.community:")) {
            last.push_str(&format!(" {}", line.trim().trim_start_matches("BGP.")));
        }
    }
    lines.retain(|line| !line.starts_with("10.244.") && !line.starts_with("fd00:244:"));
    lines.sort();
    lines
}

fn until_heard(rack: &Rack, wanted: &[&str]) {
    rack.until(&format!("BIRD has {wanted:?} and no more; it has {:?}", heard(rack)), || {
        (heard(rack) == wanted).then_some(())
    });
}

/// A router behind the host that speaks OSPF with a BIRD on the host, which writes what it learns into the host's kernel.
struct Interior {
    inner: Namespace,
    control: std::path::PathBuf,
    _birds: [Process; 2],
}

impl Interior {
    fn new(rack: &Rack) -> Self {
        let inner = Namespace::new("i");
        rack.host.run(&format!("ip link add eth1 type veth peer name eth1 netns {}", inner.name));
        rack.host.run("ip addr add 10.98.0.1/24 dev eth1");
        rack.host.run("ip link set eth1 up");
        inner.run("ip addr add 10.98.0.2/24 dev eth1");
        inner.run("ip link set eth1 up");
        let bird = |namespace: &Namespace, name: &str, router_id: &str, rest: &str| {
            let file = rack.directory.join(format!("{name}.conf"));
            let text = format!(
                "router id {router_id};\nprotocol device {{}}\n{rest}\nprotocol ospf v2 inner {{ ipv4 {{ import all; export \
                 where source = RTS_STATIC; }}; area 0 {{ interface \"eth1\" {{ type ptp; hello 1; dead 4; }}; }}; }}\n"
            );
            fs::write(&file, text).unwrap();
            let mut command = namespace.command("bird");
            command.arg("-f").arg("-c").arg(&file).arg("-s").arg(rack.directory.join(format!("{name}.ctl")));
            command.arg("-P").arg(rack.directory.join(format!("{name}.pid")));
            spawn(&mut command, &rack.directory.join(format!("{name}.log")))
        };
        let kernel = "protocol kernel { ipv4 { export where source ~ [RTS_OSPF, RTS_OSPF_EXT1, RTS_OSPF_EXT2]; }; metric 32; scan time 1; }";
        let networks = "protocol static one { ipv4; route 192.168.1.0/24 blackhole; }\n\
                        protocol static two { ipv4; route 192.168.2.0/24 blackhole; }\n\
                        protocol static three { ipv4; route 172.20.0.0/16 blackhole; }";
        let _birds = [bird(&rack.host, "host-ospf", "10.98.0.1", kernel), bird(&inner, "inner", "10.98.0.2", networks)];
        Self { control: rack.directory.join("inner.ctl"), inner, _birds }
    }

    fn birdc(&self, words: &str) {
        let mut command = self.inner.command("birdc");
        let output = command.arg("-s").arg(&self.control).args(words.split_whitespace()).output().unwrap();
        assert!(output.status.success(), "{}", shown(&output));
    }
}

#[tokio::test]
async fn a_host_that_takes_part_in_ospf_announces_what_it_learns_there_and_what_is_static_within_its_filter() {
    let rack = Rack::new("");
    let interior = Interior::new(&rack);
    rack.host.run(&format!("ip route add 198.51.100.0/24 via {ROUTER} proto static metric 5"));
    rack.host.run(&format!("ip route add 203.0.112.0/24 via {ROUTER} proto static"));
    rack.host.run(&format!("ip route add 192.168.9.0/24 via {ROUTER} proto boot"));
    rack.configure("", IMPORT);
    let _daemon = rack.start();
    wait_for_both_sides(&rack);
    let static_route = "198.51.100.0/24 med: 5 community: (64512,7)";
    let both = [static_route, "192.168.1.0/24 med: 32", "192.168.2.0/24 med: 32"];
    let sorted = |mut all: Vec<&'static str>| {
        all.sort_unstable();
        all
    };
    until_heard(&rack, &sorted(both.to_vec()));

    let mut bgp = rack.bgp().await;
    let request = BgpRoutesRequest { prefix: "192.168.1.0/24".into(), ..BgpRoutesRequest::default() };
    let page = bgp.routes(request).await.unwrap().into_inner().message().await.unwrap().unwrap();
    let route = &page.routes[0];
    assert_eq!((route.peer.as_str(), route.origin.as_str()), ("kernel: bird", "incomplete"), "{}", shown(&page));
    let status = rack.node().await.status(StatusRequest {}).await.unwrap().into_inner();
    let import = status.components.iter().find(|component| component.name == "import-kernel").unwrap();
    assert_eq!(import.detail, "prefixes announced: 3 of protocols static, bird of table 254", "{}", shown(&status));
    // Linnet writes none of them a second time.
    let own = rack.host.run("ip route show proto 76");
    assert!(!own.contains("192.168.") && !own.contains("198.51.100.0"), "{own}");

    interior.birdc("disable two");
    rack.host.run("ip route del 198.51.100.0/24");
    until_heard(&rack, &["192.168.1.0/24 med: 32"]);
    rack.host.run("ip -4 link set eth1 down");
    until_heard(&rack, &[]);
    rack.host.run("ip link set eth1 up");
    until_heard(&rack, &["192.168.1.0/24 med: 32"]);
    let neighbor = rack.birdc("show protocols all host");
    assert!(neighbor.contains(HOST), "{neighbor}");
}

#[tokio::test]
async fn a_reload_withdraws_what_is_not_to_be_announced_any_more_and_a_limit_is_kept_and_said() {
    let rack = Rack::new("");
    for third in 1..=5 {
        rack.host.run(&format!("ip route add 192.168.{third}.0/24 via {ROUTER} proto static"));
    }
    rack.host.run(&format!("ip route add 192.168.9.0/24 via {ROUTER} proto static table 100"));
    rack.configure("", IMPORT);
    let _daemon = rack.start();
    wait_for_both_sides(&rack);
    rack.until("BIRD has all five", || (heard(&rack).len() == 5).then_some(()));

    let mut node = rack.node().await;
    rack.configure("", &IMPORT.replace("limit = 100", "limit = 3\ntable = 254"));
    let applied = node.reload(ReloadRequest {}).await.unwrap().into_inner();
    assert!(applied.errors.is_empty(), "{}", shown(&applied));
    assert!(applied.changes.iter().any(|line| line.contains("bgp.import-kernel")), "{}", shown(&applied));
    rack.until("BIRD has three", || (heard(&rack).len() == 3).then_some(()));
    let status = node.status(StatusRequest {}).await.unwrap().into_inner();
    let import = status.components.iter().find(|component| component.name == "import-kernel").unwrap();
    assert_eq!(import.state, "degraded", "{}", shown(&status));
    assert!(import.detail.contains("at least 2 beyond its limit of 3"), "{}", shown(&status));

    rack.configure("", &IMPORT.replace("limit = 100", "table = 100"));
    node.reload(ReloadRequest {}).await.unwrap();
    until_heard(&rack, &["192.168.9.0/24 med: 0"]);
    rack.configure("", "");
    node.reload(ReloadRequest {}).await.unwrap();
    until_heard(&rack, &[]);
    assert!(rack.birdc("show protocols all host").contains("Established"), "{}", rack.dump());
}

#[tokio::test]
async fn routes_of_ipv6_and_the_subnets_of_the_hosts_own_addresses_are_announced_too() {
    let rack = Rack::new(six::BIRD);
    six::address(&rack);
    rack.host.run("ip link add eth1 type veth peer name far");
    rack.host.run("ip link set eth1 up");
    rack.host.run("ip link set far up");
    let subnets = "[[bgp.import-kernel]]\nprotocols = [\"kernel\"]\nfilter = \"subnets\"\n[[bgp.filter]]\nname = \"subnets\"\n\
                   rules = [{ match = { prefix = [\"10.97.0.0/16 le 24\", \"fd00:8::/32 le 64\"] }, then = \"accept\" }]\n";
    rack.configure("", &format!("{IMPORT}{subnets}"));
    six::configure(&rack);
    let _daemon = rack.start();
    wait_for_both_sides(&rack);
    let until_heard = |v4: &[&str], v6: &[&str]| {
        rack.until(&format!("BIRD has {v4:?}, {v6:?} and no more"), || {
            let heard = (heard_by(&rack, "host"), heard_by(&rack, "host6"));
            (heard.0 == v4 && heard.1 == v6).then_some(())
        });
    };
    rack.host.run("ip addr add 10.97.1.1/24 dev eth1");
    rack.host.run("ip -6 addr add fd00:8:1::1/64 dev eth1 nodad");
    rack.host.run("ip -6 route add fd00:7:1::/64 via fd00:99::2 proto static metric 9");
    // By others' filters: neither of them is this node's own to say.
    rack.host.run("ip -6 route add fd00:9:1::/64 via fd00:99::2 proto static");
    rack.host.run("ip -6 addr add fd00:9:2::1/64 dev eth1 nodad");
    until_heard(&["10.97.1.0/24"], &["fd00:7:1::/64 med: 9", "fd00:8:1::/64"]);
    let own = rack.host.run("ip -6 route show proto 76");
    assert!(!own.contains("fd00:7:") && !own.contains("fd00:8:"), "{own}");

    rack.host.run("ip -6 route del fd00:7:1::/64");
    rack.host.run("ip -6 addr del fd00:8:1::1/64 dev eth1");
    until_heard(&["10.97.1.0/24"], &[]);
    rack.host.run("ip -6 route add unreachable fd00:7:2::/48 proto static metric 10");
    rack.host.run("ip -4 addr flush dev eth1");
    until_heard(&[], &["fd00:7:2::/48 med: 10"]);
}
