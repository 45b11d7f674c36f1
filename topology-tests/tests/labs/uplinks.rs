//! A host whose uplinks fail, and come back, under sessions that notice nothing (`labs/uplinks.clab.yml`). Needs root.

#![allow(clippy::unwrap_used, reason = "the panic of a test is its verdict")]

use std::time::{Duration, Instant};

use serde_json::Value;
use topology_tests::expect::{holds, json, up, wait, without_objects};
use topology_tests::lab::{Lab, Node};

/// Preferred by FRR, on its link.
const BY_FRR: &str = "198.51.100.0/24";
/// Preferred by BIRD, over its loopback address.
const BY_BIRD: &str = "203.0.113.0/24";
/// Where the kernel sends what goes by either.
const FRR: &str = "via 10.1.1.2 dev eth1";
const BIRD: &str = "via 10.1.2.2 dev eth2";
/// How `linnet route list` begins to say why a prefix has no route.
const NO_WAY: &str = "unreachable: the kernel has no way to the next hop ";
/// How long routes may take to come by a session that is up.
const SESSION_IS_UP: Duration = Duration::from_secs(8);
/// How long a route may take to follow its next hop: a small part of the hold time.
const SOON: Duration = Duration::from_secs(2);

fn linnet(lab: &Lab) -> &Node {
    lab.node("linnet").unwrap()
}

fn run(node: &Node, command: &str) {
    node.shell(command).unwrap_or_else(|error| panic!("{command}: {error}"));
}

/// The kernel's route, as `ip` shows it.
fn kernel(lab: &Lab, prefix: &str) -> Result<String, String> {
    let shown = linnet(lab).shell(&format!("ip route show {prefix}")).map_err(|error| error.to_string())?;
    Ok(without_objects(&shown))
}

/// Waits until the kernel has the routes to both prefixes; an empty one: none.
fn reached(lab: &Lab, what: &str, deadline: Duration, by: [&str; 2]) {
    let begin = Instant::now();
    let looked = lab.poll(what, deadline, || {
        for (prefix, wanted) in [BY_FRR, BY_BIRD].into_iter().zip(by) {
            let shown = kernel(lab, prefix)?;
            holds(if wanted.is_empty() { shown.is_empty() } else { shown.contains(wanted) }, (prefix, shown))?;
        }
        Ok(())
    });
    looked.unwrap_or_else(|error| panic!("{error}"));
    println!("{what}: after {} ms", begin.elapsed().as_millis());
}

/// By next hop, why each path to a prefix is used or not.
fn reasons(lab: &Lab, prefix: &str) -> Result<Vec<(String, String)>, String> {
    let shown = json(linnet(lab), &["linnet", "bgp", "routes", prefix, "-o", "json"])?;
    let text = |route: &Value, key: &str| route[key].as_str().unwrap_or_default().to_owned();
    let routes = shown["routes"].as_array().cloned().unwrap_or_default();
    Ok(routes.iter().map(|route| (text(route, "next_hop"), text(route, "reason"))).collect())
}

fn sessions_are_up(lab: &Lab) -> Result<(), String> {
    let shown = json(linnet(lab), &["linnet", "bgp", "summary", "-o", "json"])?;
    let peers = shown["peers"].as_array().cloned().unwrap_or_default();
    let up = peers.iter().filter(|peer| peer["state"] == "Established").count();
    holds(up == 3, shown)
}

#[test]
fn routes_follow_their_next_hops_long_before_a_hold_timer_expires() {
    let lab = up("uplinks");
    wait(&lab, "all sessions", || sessions_are_up(&lab));
    reached(&lab, "each prefix by its preferred router", Duration::from_secs(60), [FRR, BIRD]);

    each_uplink_stands_by_for_the_other(&lab);
    a_link_that_is_switched_off_and_on(&lab);
    a_cable_that_is_pulled_and_put_back(&lab);
    a_loopback_address_that_loses_its_route_and_has_it_again(&lab);
    a_router_that_is_on_the_link_by_word_alone(&lab);
    a_router_whose_session_ends_and_comes_back(&lab);
    no_uplink_at_all(&lab);
}

fn each_uplink_stands_by_for_the_other(lab: &Lab) {
    wait(lab, "the backup of each", || {
        let shown = json(linnet(lab), &["linnet", "route", "list", "-o", "json"])?;
        let backup = |prefix: &str| {
            let mut routes = shown["routes"].as_array().into_iter().flatten();
            routes
                .find(|route| route["prefix"] == prefix)
                .map(|route| (&route["backup"]["via"], &route["backup"]["dev"]))
        };
        let found = (backup(BY_FRR), backup(BY_BIRD));
        let wanted = (Some((&"10.1.2.2".into(), &"eth2".into())), Some((&"10.1.1.2".into(), &"eth1".into())));
        holds(found == wanted, found)
    });
}

fn a_link_that_is_switched_off_and_on(lab: &Lab) {
    run(linnet(lab), "ip link set eth1 down");
    reached(lab, "with FRR's link off", SOON, [BIRD, BIRD]);
    let why = reasons(lab, BY_FRR).unwrap();
    assert_eq!(why[0], ("10.255.0.2".to_owned(), "best: the only path".to_owned()), "{why:?}");
    // FRR's session is up all the same.
    assert_eq!(why[1], ("10.1.1.2".to_owned(), "the next hop 10.1.1.2 is not reachable".to_owned()));
    // The kernel may tell of a lost carrier a second later: were the link up before, FRR's word of it would come at any time.
    wait(lab, "FRR to notice", || {
        let shown =
            lab.node("frr").unwrap().shell("vtysh -c 'show interface eth1'").map_err(|error| error.to_string())?;
        holds(shown.contains("line protocol is down"), shown)
    });
    run(linnet(lab), "ip link set eth1 up");
    reached(lab, "with FRR's link on", Duration::from_secs(60), [FRR, BIRD]);
    wait(lab, "all sessions again", || sessions_are_up(lab));
}

fn a_cable_that_is_pulled_and_put_back(lab: &Lab) {
    let bird = lab.node("bird").unwrap();
    run(bird, "ip link set eth1 down");
    reached(lab, "without BIRD's cable", SOON, [FRR, FRR]);
    assert!(linnet(lab).shell("ip -br link show eth2").unwrap().contains("NO-CARRIER"));
    // What its kernel had with the link.
    run(bird, "ip link set eth1 up && ip route replace 10.255.0.1/32 via 10.1.2.1");
    reached(lab, "with BIRD's cable", Duration::from_secs(60), [FRR, BIRD]);
}

fn a_loopback_address_that_loses_its_route_and_has_it_again(lab: &Lab) {
    // As an IGP would.
    run(linnet(lab), "ip route del 10.255.0.2/32");
    reached(lab, "without a route to BIRD's loopback", SOON, [FRR, FRR]);
    wait_for_reason(lab, BY_BIRD, "10.255.0.2");
    run(linnet(lab), "ip route add 10.255.0.2/32 via 10.1.2.2");
    reached(lab, "with a route to BIRD's loopback", SOON, [FRR, BIRD]);
}

fn a_router_that_is_on_the_link_by_word_alone(lab: &Lab) {
    run(lab.node("bird").unwrap(), "ip addr add 172.31.1.1/32 dev eth1");
    run(linnet(lab), "ip route replace 10.255.0.2/32 via 172.31.1.1 dev eth2 onlink");
    reached(lab, "by a router on no subnet", SOON, [FRR, "via 172.31.1.1 dev eth2"]);
    let shown = kernel(lab, BY_BIRD).unwrap();
    assert!(shown.contains("onlink"), "{shown}");
    let shown = json(linnet(lab), &["linnet", "route", "list", "-o", "json"]).unwrap();
    let route = shown["routes"].as_array().unwrap().iter().find(|route| route["prefix"] == BY_BIRD).unwrap();
    assert_eq!((&route["installed"], &route["error"]), (&Value::Bool(true), &Value::Null), "{route}");
    run(linnet(lab), "ip route replace 10.255.0.2/32 via 10.1.2.2");
    reached(lab, "by one on a subnet again", SOON, [FRR, BIRD]);
}

fn a_router_whose_session_ends_and_comes_back(lab: &Lab) {
    run(linnet(lab), "linnet bgp disable frr");
    reached(lab, "with FRR's session down", SOON, [BIRD, BIRD]);
    run(linnet(lab), "linnet bgp enable frr");
    wait(lab, "all sessions", || sessions_are_up(lab));
    reached(lab, "with FRR's session up again", SESSION_IS_UP, [FRR, BIRD]);
}

fn wait_for_reason(lab: &Lab, prefix: &str, next_hop: &str) {
    wait(lab, &format!("why {next_hop} is not used"), || {
        let why = reasons(lab, prefix)?;
        let wanted = (next_hop.to_owned(), format!("the next hop {next_hop} is not reachable"));
        holds(why.contains(&wanted), why)
    });
}

fn no_uplink_at_all(lab: &Lab) {
    let collector = lab.node("collector").unwrap();
    let heard = |wanted: bool| {
        wait(lab, &format!("the collector to hear the prefixes: {wanted}"), || {
            let shown = collector.shell("birdc show route").map_err(|error| error.to_string())?;
            holds([BY_FRR, BY_BIRD].iter().all(|prefix| shown.contains(prefix) == wanted), shown)
        });
    };
    heard(true);
    run(linnet(lab), "ip link set eth1 down && ip link set eth2 down");
    reached(lab, "without uplinks", SOON, ["", ""]);
    heard(false);
    // The sessions go on: what their routers announced is known, and leads nowhere.
    wait(lab, "both prefixes to be listed as unreachable", || {
        let shown = json(linnet(lab), &["linnet", "route", "list", "-o", "json"])?;
        let lost = |prefix: &str| {
            let routes = shown["routes"].as_array().into_iter().flatten();
            let error = routes.filter(|route| route["prefix"] == prefix && route["installed"] == false);
            error.filter_map(|route| route["error"].as_str()).any(|error| error.starts_with(NO_WAY))
        };
        holds(lost(BY_FRR) && lost(BY_BIRD), &shown)
    });
    run(linnet(lab), "ip link set eth1 up && ip link set eth2 up && ip route replace 10.255.0.2/32 via 10.1.2.2");
    reached(lab, "with both uplinks", Duration::from_secs(60), [FRR, BIRD]);
    heard(true);
}
