//! What a person sees of a peer beside a real router: by the API, and by the metrics. Needs root.

#![allow(clippy::unwrap_used)] // a panic is a test's verdict, here as in the tests

mod support;

use std::time::{Duration, Instant};

use linnet_api::{BgpSummaryRequest, DrainRequest, Neighbor, NeighborRequest, ReloadRequest, UndrainRequest};
use support::{HOST, Rack, shown, wait_for_both_sides};

/// The router announces 198.51.100.0/24 with 400 communities, 1,600 octets of the 4,096 that a message may have. A second
/// session with it, between other addresses, hears of it.
fn long_route() -> String {
    let communities: String = (0..400).map(|number| format!("bgp_community.add((65001,{number}));\n")).collect();
    format!(
        "
protocol static many {{ ipv4; route 198.51.100.0/24 blackhole {{ {communities} }}; }}
protocol bgp second {{
  local 10.99.0.3 as 65002;
  neighbor 10.99.0.4 as 64512;
  connect retry time 1;
  connect delay time 1;
  error wait time 1, 2;
  ipv4 {{ import all; export none; }};
}}
"
    )
}

/// The second session; our AS and `more` communities are added to what it is sent.
fn second_session(more: u16) -> String {
    let communities: Vec<String> = (0..more).map(|number| format!("\"64512:{number}\"")).collect();
    let communities = communities.join(", ");
    format!(
        r#"
[metrics]
listen = "127.0.0.1:9476"
[[bgp.filter]]
name = "adding"
rules = [{{ set = {{ prepend = 1, add-community = [{communities}] }}, then = "accept" }}]
[[bgp.peer]]
name = "second"
address = "10.99.0.3"
local-address = "10.99.0.4"
asn = 65002
connect-retry = 1
import = "all"
export = "adding"
next-hop-self = true
"#
    )
}

async fn neighbor(rack: &Rack, name: &str) -> Neighbor {
    let request = NeighborRequest { peer: name.into() };
    rack.bgp().await.neighbor(request).await.unwrap().into_inner().neighbors.remove(0)
}

async fn reload(rack: &Rack) {
    let applied = rack.node().await.reload(ReloadRequest {}).await.unwrap().into_inner();
    assert!(applied.errors.is_empty(), "{}", shown(&applied));
}

#[tokio::test]
async fn a_route_that_we_make_too_long_for_a_message_is_withdrawn_and_counted_and_the_session_stays() {
    let rack = Rack::new(&long_route());
    rack.router.run("ip addr add 10.99.0.3/24 dev eth0");
    rack.host.run("ip addr add 10.99.0.4/24 dev eth0");
    rack.configure("", &second_session(10));
    let _daemon = rack.start();
    wait_for_both_sides(&rack);
    let hears = |prefix: &str| rack.birdc(&format!("show route {prefix} protocol second")).contains("[second");
    rack.until("the second session hears of the long route", || hears("198.51.100.0/24").then_some(()));
    assert_eq!(neighbor(&rack, "second").await.withheld, 0);
    let metric =
        |count: u8| rack.http("/metrics").contains(&format!("bgp_peer_withheld_paths{{peer=\"second\"}} {count}"));
    assert!(metric(0), "{}", rack.http("/metrics"));

    // 2,600 octets more.
    rack.configure("", &second_session(650));
    reload(&rack).await;
    rack.until("it is withdrawn", || (!hears("198.51.100.0/24")).then_some(()));
    let now = neighbor(&rack, "second").await;
    assert_eq!((now.withheld, now.times_established), (1, 1), "{}", shown(&now));
    assert!(metric(1), "{}", rack.http("/metrics"));
    assert!(hears("203.0.113.0/24"), "{}", rack.dump());
    assert_eq!(neighbor(&rack, "router").await.withheld, 0);

    rack.configure("", &second_session(10));
    reload(&rack).await;
    rack.until("it is announced again", || hears("198.51.100.0/24").then_some(()));
    let now = neighbor(&rack, "second").await;
    assert_eq!((now.withheld, now.times_established), (0, 1), "{}", shown(&now));
}

#[tokio::test]
async fn connections_of_nobody_configured_are_counted_in_the_summary_and_the_metrics() {
    let rack = Rack::new("");
    rack.configure("", "[metrics]\nlisten = \"127.0.0.1:9476\"\n");
    let _daemon = rack.start();
    wait_for_both_sides(&rack);
    let mut bgp = rack.bgp().await;
    for strangers in 0..=2 {
        if strangers > 0 {
            // From the host's own address, which is no peer's; it reads until it is closed.
            let connect = format!("timeout 30 cat < /dev/tcp/{HOST}/179");
            rack.host.command("bash").args(["-c", &connect]).output().unwrap();
        }
        let summary = bgp.summary(BgpSummaryRequest {}).await.unwrap().into_inner();
        assert_eq!(summary.refused_connections, strangers, "{}", rack.dump());
        let metrics = rack.http("/metrics");
        for counted in [
            format!("linnet_bgp_connections_refused_total {strangers}\n"),
            "linnet_bgp_peer_attributes_discarded_total{peer=\"router\"} 0\n".into(),
        ] {
            assert!(metrics.contains(&counted), "{counted} is not in\n{metrics}");
        }
    }
}

#[tokio::test]
async fn that_the_node_drains_and_that_its_peers_have_been_told_is_shown_with_them() {
    let rack = Rack::new("");
    rack.configure("drain-time = 600", "");
    let _daemon = rack.start();
    wait_for_both_sides(&rack);
    let mut bgp = rack.bgp().await;
    let mut drain = async || {
        let reply = bgp.neighbor(NeighborRequest { peer: "router".into() }).await.unwrap().into_inner();
        reply.drain.unwrap()
    };
    assert_eq!(drain().await.state, "no");
    rack.node().await.drain(DrainRequest {}).await.unwrap();
    let graceful_shutdown = || rack.birdc("show route 10.244.1.0/24 all").contains("(65535,0)").then_some(());
    rack.until("BIRD hears that our routes are the last resort", graceful_shutdown);
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut now = drain().await;
    while !now.untold.is_empty() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
        now = drain().await;
    }
    assert_eq!((now.state.as_str(), &now.untold[..]), ("draining", &[][..]), "{}", shown(&now));
    assert!((500..=600).contains(&now.remaining_seconds), "{}", shown(&now));
    rack.node().await.undrain(UndrainRequest {}).await.unwrap();
    assert_eq!(drain().await.state, "no");
}
