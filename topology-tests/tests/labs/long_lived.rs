//! Long-lived graceful restart with FRR and BIRD (`labs/long-lived.clab.yml`): who does not come back is the last choice, and
//! so is this node when it does not. Needs root.

#![allow(clippy::unwrap_used, reason = "the panic of a test is its verdict")]

use serde_json::{Value, json};
use topology_tests::expect::{holds, json, up, wait};
use topology_tests::lab::Node;

const OF_FRR: &str = "198.51.100.0/24";
const OF_BIRD: &str = "192.0.2.0/24";
/// BIRD sends it with NO_LLGR.
const NOT_KEPT: &str = "203.0.113.0/24";
const OURS: &str = "10.244.9.0/24";

/// The only path to a prefix that the host has.
fn path(linnet: &Node, prefix: &str) -> Result<Value, String> {
    Ok(json(linnet, &["linnet", "bgp", "routes", prefix, "-o", "json"])?["routes"][0].clone())
}

/// Whether the path is there, a long-lived stale one or not.
fn is_kept(linnet: &Node, prefix: &str, long_lived: bool) -> Result<(), String> {
    let path = path(linnet, prefix)?;
    holds(path["communities"].to_string().contains("65535:6") == long_lived, &path)
}

fn is_in_kernel(linnet: &Node, prefix: &str) -> Result<(), String> {
    let route = linnet.shell(&format!("ip route show {prefix} proto 76")).map_err(|error| error.to_string())?;
    holds(!route.is_empty(), route)
}

/// Whether `linnet bgp neighbor` says that all there is of the peer is kept, for the stale time that both agreed on.
fn is_counted(linnet: &Node, peer: &str) -> Result<(), String> {
    let shown = json(linnet, &["linnet", "bgp", "neighbor", peer, "-o", "json"])?["neighbors"][0].clone();
    let (stale, said) = (shown["stale"].as_array().cloned().unwrap_or_default(), &shown["graceful_restart"]);
    let [stale] = &stale[..] else { return Err(shown.to_string()) };
    holds(stale["family"] == "ipv4-unicast" && stale["long_lived"] == true, stale)?;
    holds(stale["routes"] == shown["received"] && stale["routes"] != 0, &shown)?;
    holds(stale["remaining_seconds"].as_u64().is_some_and(|left| (1..=600).contains(&left)), stale)?;
    holds(said["restart_seconds"] == 3 && said["families"][0]["long_lived_stale_seconds"] == 600, said)?;
    holds(shown["announced_restart"].is_null(), &shown)?;
    let agreed = "  long-lived graceful restart (RFC 9494): ipv4-unicast 600 s more";
    let kept = format!("  long-lived stale: {} route", stale["routes"]);
    says(linnet, &format!("linnet bgp neighbor {peer}"), &[agreed, &kept])
}

/// What this node's OPEN asks a peer for. `restarted`: it says that this node has restarted (R).
fn is_asked(linnet: &Node, peer: &str, restarted: bool) -> Result<(), String> {
    let shown = json(linnet, &["linnet", "bgp", "neighbor", peer, "-o", "json"])?["neighbors"][0].clone();
    let (asked, family) = (&shown["announced_restart"], &shown["announced_restart"]["families"][0]);
    holds(asked["restart_seconds"] == 3 && asked["restarting"] == restarted, asked)?;
    holds(family["family"] == "ipv4-unicast" && family["long_lived_stale_seconds"] == 600, asked)?;
    holds(family["forwarding"] == restarted && shown["deferral_seconds"] == 20, &shown)
}

/// Whom this node waits for after its own restart.
fn waits_for(linnet: &Node, peers: &Value) -> Result<(), String> {
    let deferral = json(linnet, &["linnet", "bgp", "neighbor", "-o", "json"])?["deferral"].clone();
    let left = deferral["remaining_seconds"].as_u64().unwrap_or(0);
    holds(deferral["peers"] == *peers && deferral["holds_decisions"] == true && (1..=20).contains(&left), &deferral)
}

fn says(node: &Node, command: &str, wanted: &[&str]) -> Result<(), String> {
    let said = node.shell(command).map_err(|error| error.to_string())?;
    holds(wanted.iter().all(|part| said.contains(part)), said)
}

#[test]
fn who_stays_away_for_longer_than_it_restarts_is_the_last_choice_and_stays_in_the_kernel() {
    let lab = up("long-lived");
    let [linnet, frr, bird] = ["linnet", "frr", "bird"].map(|name| lab.node(name).unwrap());
    for name in ["frr", "bird"] {
        wait(&lab, &format!("{name} with the capability"), || {
            let shown = json(linnet, &["linnet", "bgp", "neighbor", name, "-o", "json"])?["neighbors"][0].clone();
            let has = |capability: &Value| {
                capability["name"] == "long-lived-graceful-restart"
                    && capability["sent"] == true
                    && capability["received"] == true
            };
            let capabilities = shown["capabilities"].as_array().cloned().unwrap_or_default();
            holds(shown["state"] == "Established" && capabilities.iter().any(has), &shown)
        });
    }
    for name in ["frr", "bird"] {
        is_asked(linnet, name, false).unwrap();
    }
    for prefix in [OF_FRR, OF_BIRD, NOT_KEPT] {
        wait(&lab, &format!("{prefix} in the kernel"), || is_in_kernel(linnet, prefix));
    }
    wait(&lab, "BIRD to hear of FRR's route", || says(bird, &format!("birdc show route {OF_FRR} all"), &["65001"]));

    // FRR goes, and BIRD, which knows what that means, is told.
    frr.signal("bgpd", "KILL").unwrap();
    wait(&lab, "FRR's route to be long-lived stale", || is_kept(linnet, OF_FRR, true));
    is_in_kernel(linnet, OF_FRR).unwrap();
    is_counted(linnet, "frr").unwrap();
    wait(&lab, "BIRD to hear that it is", || {
        says(bird, &format!("birdc show route {OF_FRR} all"), &["65001", "(65535,6)"])
    });

    // BIRD goes, but for what it wanted not to be kept.
    bird.signal("bird", "KILL").unwrap();
    wait(&lab, "BIRD's route to be long-lived stale", || is_kept(linnet, OF_BIRD, true));
    is_in_kernel(linnet, OF_BIRD).unwrap();
    is_counted(linnet, "bird").unwrap();
    assert!(path(linnet, NOT_KEPT).is_err_and(|error| error.contains("no such path")));

    // BIRD is back, and says everything again.
    bird.start("bird").unwrap();
    wait(&lab, "BIRD's route to be as it was", || is_kept(linnet, OF_BIRD, false));
    wait(&lab, "what BIRD did not want to be kept", || is_kept(linnet, NOT_KEPT, false));

    // So is FRR.
    frr.start("bgpd").unwrap();
    frr.exec(&["vtysh", "-b"]).unwrap().checked().unwrap();
    wait(&lab, "FRR's route to be as it was", || is_kept(linnet, OF_FRR, false));
    let at_frr = || {
        Ok::<_, String>(json(frr, &["vtysh", "-c", &format!("show bgp ipv4 unicast {OURS} json")])?["paths"][0].clone())
    };
    wait(&lab, "FRR to have our route", || {
        let path = at_frr()?;
        holds(path["valid"] == true && path["stale"].is_null() && path["community"].is_null(), &path)
    });

    // This node goes, and both keep its route as the last choice.
    wait(&lab, "BIRD to have our route", || says(bird, &format!("birdc show route {OURS} all"), &["64512"]));
    linnet.signal("linnetd", "KILL").unwrap();
    wait(&lab, "BIRD to keep our route for the long-lived stale time", || {
        says(bird, "birdc show protocols all linnet | tr -s ' '", &["Neighbor GR: Long-lived", "LL stale timer: 5"])?;
        says(bird, &format!("birdc show route {OURS} all"), &["64512", "(65535,6)"])
    });
    wait(&lab, "FRR to keep it as long, and to forward by it", || {
        let path = at_frr()?;
        holds(path["stale"] == true && path["community"]["string"] == "llgr-stale", &path)?;
        holds(path["llgrSecondsRemaining"].as_u64().is_some_and(|left| (1..=600).contains(&left)), &path)?;
        says(frr, &format!("ip route show {OURS}"), &["via 10.1.1.1"])
    });

    // It is back, while FRR is away.
    frr.signal("bgpd", "KILL").unwrap();
    linnet.start("linnetd").unwrap();
    wait(&lab, "this node to wait for FRR, which is away, and not for BIRD", || waits_for(linnet, &json!(["frr"])));
    wait(&lab, "BIRD to have heard it again", || {
        says(bird, "birdc show protocols linnet", &["Established"])?;
        let route = bird.shell(&format!("birdc show route {OURS} all")).map_err(|error| error.to_string())?;
        holds(route.contains("64512") && !route.contains("(65535,6)"), route)
    });
}
