//! A host between FRR and BIRD on links that carry no IPv4 (`labs/ipv6-links.clab.yml`). Needs root.

use std::time::Duration;

use topology_tests::expect::{json, up};
use topology_tests::lab::{Lab, LabError, Node};
use topology_tests::probe::ping;

const DEADLINE: Duration = Duration::from_secs(90);
const OURS: &str = "10.244.9.0/24";
const OF_FRR: &str = "198.51.100.0/24";
const OF_BIRD: &str = "192.0.2.0/24";

type Outcome = Result<(), LabError>;

/// The kernel's IPv4 routes to a prefix.
fn kernel(node: &Node, prefix: &str) -> Result<String, String> {
    node.shell(&format!("ip -4 route show {prefix}")).map_err(|error| error.to_string())
}

/// All of `wanted` in `seen`, or what was seen.
fn shows(seen: String, wanted: &[&str]) -> Result<(), String> {
    if wanted.iter().all(|wanted| seen.contains(wanted)) { Ok(()) } else { Err(format!("{seen}, not {wanted:?}")) }
}

/// IPv4 between a pod and both routers, each way.
fn pods_and_routers_reach_each_other(lab: &Lab) -> Outcome {
    let linnet = lab.node("linnet")?;
    for address in ["198.51.100.1", "192.0.2.1"] {
        let pings = ping(linnet, Some("client-9"), address, 5, Duration::from_millis(20))?;
        assert_eq!(pings.lost(), 0, "{address}: {pings:?}\n{}", lab.dump());
    }
    lab.node("frr")?.shell("ping -c 1 -W 2 -I 198.51.100.1 10.244.9.20")?;
    Ok(())
}

#[test]
fn ipv4_prefixes_cross_links_that_have_only_ipv6_addresses() -> Outcome {
    let lab = up("ipv6-links");
    let linnet = lab.node("linnet")?;
    for (router, prefix, theirs, device, ours) in [
        ("frr", OF_FRR, "fd00:1::2", "eth1", "via inet6 fd00:1::1 dev eth1"),
        ("bird", OF_BIRD, "fd00:2::2", "eth2", "via inet6 fd00:2::1 dev eth1"),
    ] {
        lab.poll(&format!("our kernel's route to {prefix}"), DEADLINE, || {
            shows(kernel(linnet, prefix)?, &[&format!("via inet6 {theirs} dev {device}"), "metric 76"])
        })?;
        lab.poll(&format!("{router}'s kernel route to our pods"), DEADLINE, || {
            shows(kernel(lab.node(router).map_err(|error| error.to_string())?, OURS)?, &[ours])
        })?;
        let shown = json(linnet, &["linnet", "bgp", "neighbor", router, "-o", "json"]).expect("a neighbor");
        let capabilities = shown["neighbors"][0]["capabilities"].as_array().cloned().unwrap_or_default();
        let extended = capabilities.iter().find(|one| one["name"] == "extended-next-hop").expect("the capability");
        assert!(extended["sent"] == true && extended["received"] == true, "{shown}");
        let routes = json(linnet, &["linnet", "route", "list", "-o", "json"]).expect("the routes");
        let route = routes["routes"].as_array().into_iter().flatten().find(|route| route["prefix"] == prefix);
        let route = route.expect("the route");
        assert!(route["installed"] == true && route["next_hops"][0]["via"] == theirs, "{route}");
    }
    pods_and_routers_reach_each_other(&lab)
}
