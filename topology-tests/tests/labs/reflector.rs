//! `linnetd` as a route reflector between FRR, BIRD and GoBGP. Needs root.

#![allow(clippy::unwrap_used, reason = "the panic of a test is its verdict")]

use serde_json::Value;
use topology_tests::expect::{holds, json, up, wait};
use topology_tests::lab::{Lab, Node};
use topology_tests::watch::Watch;

/// What each client originates.
const CLIENTS: [(&str, &str, [&str; 2]); 3] = [
    ("frr", "10.2.0.2", ["10.20.2.0/24", "fd00:20:2::/48"]),
    ("bird", "10.2.0.3", ["10.20.3.0/24", "fd00:20:3::/48"]),
    ("gobgp", "10.2.0.4", ["10.20.4.0/24", "fd00:20:4::/48"]),
];
const CLUSTER: &str = "10.2.0.99";

/// Whether the client holds `prefix` with the originator, the cluster, and the originator's own next hop.
fn holds_reflected(client: &Node, prefix: &str, originator: &str) -> Result<(), String> {
    let v6 = prefix.contains(':');
    let last = originator.rsplit('.').next().unwrap_or_default();
    let next_hop = if v6 { format!("fd00:2::{last}") } else { originator.to_owned() };
    match client.name() {
        "frr" => {
            let family = if v6 { "ipv6" } else { "ipv4" };
            let shown = json(client, &["vtysh", "-c", &format!("show bgp {family} unicast {prefix} json")])?;
            let path = &shown["paths"][0];
            holds(path["originatorId"] == originator, &shown)?;
            holds(path["clusterList"]["list"] == serde_json::json!([CLUSTER]), path)?;
            let hops = path["nexthops"].as_array().cloned().unwrap_or_default();
            holds(hops.iter().any(|hop| hop["ip"] == next_hop.as_str()), &hops)?;
            holds(path["valid"] == true, path)
        }
        "bird" => {
            let shown = client.shell(&format!("birdc show route {prefix} all")).map_err(|error| error.to_string())?;
            let wanted = [
                format!("BGP.originator_id: {originator}"),
                format!("BGP.cluster_list: {CLUSTER}"),
                format!("BGP.next_hop: {next_hop}"),
            ];
            holds(wanted.iter().all(|line| shown.contains(line)), &shown)
        }
        _ => {
            let family = if v6 { "ipv6" } else { "ipv4" };
            let shown = json(client, &["gobgp", "-j", "global", "rib", "-a", family])?;
            let attributes = shown[prefix][0]["attrs"].as_array().cloned().unwrap_or_default();
            let value =
                |code: u64| attributes.iter().find(|attribute| attribute["type"] == code).cloned().unwrap_or_default();
            holds(value(9)["value"] == originator, &shown[prefix])?;
            holds(value(10)["value"] == serde_json::json!([CLUSTER]), &shown[prefix])?;
            holds(value(3)["nexthop"] == next_hop.as_str() || value(14)["nexthop"] == next_hop.as_str(), &shown[prefix])
        }
    }
}

/// What `linnet bgp neighbor` shows of a client.
fn neighbor(lab: &Lab, address: &str) -> Result<Value, String> {
    let shown = json(lab.node("reflector").unwrap(), &["linnet", "bgp", "neighbor", address, "-o", "json"])?;
    Ok(shown["neighbors"][0].clone())
}

/// Whether both sides have a capability.
fn has(neighbor: &Value, capability: &str) -> bool {
    let capabilities = neighbor["capabilities"].as_array().cloned().unwrap_or_default();
    capabilities.iter().any(|one| one["name"] == capability && one["sent"] == true && one["received"] == true)
}

/// What each of two originates with 240 large communities and 240 route targets: 4800 octets. FRR takes no more words in a line.
const LONG: [(&str, &str); 2] = [("frr", "10.21.2.0/24"), ("bird", "10.21.3.0/24")];

fn many(one: impl Fn(u32) -> String) -> String {
    (0..240).map(one).collect()
}

/// RFC 8654: BIRD and FRR have it, GoBGP has not. One route by each of them whose attributes alone are longer than a message may be
/// without it: both come here, each goes to the other, and neither to GoBGP.
fn routes_longer_than_other_messages_come_from_frr_and_bird_and_go_to_both(lab: &Lab) {
    let [reflector, frr, bird, gobgp] = ["reflector", "frr", "bird", "gobgp"].map(|name| lab.node(name).unwrap());
    let clients = CLIENTS.map(|(_, address, _)| address);
    let before = clients.map(|address| neighbor(lab, address).unwrap());
    assert_eq!(before.each_ref().map(|neighbor| has(neighbor, "extended-messages")), [true, true, false], "{before:?}");
    let [(_, of_frr), (_, of_bird)] = LONG;
    let large = many(|number| format!(" 1:{}:{}", number / 16, number % 16));
    let targets = many(|number| format!(" 1:{number}"));
    frr.shell(&format!(
        "vtysh -c 'conf t' -c 'ip route {of_frr} blackhole' -c 'route-map long permit 10' -c 'set large-community{large}' \
               -c 'set extcommunity rt{targets}'
         vtysh -c 'conf t' -c 'router bgp 64512' -c 'address-family ipv4' -c 'network {of_frr} route-map long'"
    ))
    .unwrap();
    let large = many(|number| format!("bgp_large_community.add((1,{},{}));", number / 16, number % 16));
    let targets = many(|number| format!("bgp_ext_community.add((rt,1,{number}));"));
    bird.shell(&format!(
        "{{ cat /etc/bird/bird.conf
            echo 'protocol static {{ ipv4; route {of_bird} unreachable {{ {large} {targets} }}; }}'; }} > /run/long.conf
         birdc configure '\"/run/long.conf\"'"
    ))
    .unwrap();
    for (name, prefix) in LONG {
        wait(lab, &format!("the long route of {name} to come here whole"), || {
            let seen = json(reflector, &["linnet", "bgp", "routes", prefix, "-o", "json"])?;
            let path = &seen["routes"][0];
            holds(path["communities"].as_array().map(Vec::len) == Some(480) && path["best"] == true, &seen)
        });
    }
    wait(lab, "FRR to have BIRD's", || {
        let seen = json(frr, &["vtysh", "-c", &format!("show bgp ipv4 unicast {of_bird} json")])?;
        let path = &seen["paths"][0];
        let targets = path["extendedCommunity"]["string"].as_str().unwrap_or_default();
        let large = path["largeCommunity"]["list"].as_array().map(Vec::len);
        holds(large == Some(240) && targets.matches("RT:").count() == 240, &seen)
    });
    wait(lab, "BIRD to have FRR's", || {
        let seen = bird.shell(&format!("birdc show route {of_frr} all")).map_err(|error| error.to_string())?;
        // Over many lines.
        holds(["(1, ", "(rt, 1, "].iter().all(|begin| seen.matches(begin).count() == 240), &seen)
    });
    wait(lab, "both to be too long for GoBGP", || {
        let shown = neighbor(lab, clients[2])?;
        holds(shown["withheld"] == 2, &shown)?;
        let seen = gobgp.shell("gobgp global rib").map_err(|error| error.to_string())?;
        holds(LONG.iter().all(|(_, prefix)| !seen.contains(prefix)), seen)
    });
    let after = clients.map(|address| neighbor(lab, address).unwrap()["times_established"].clone());
    assert_eq!(after, before.map(|neighbor| neighbor["times_established"].clone()));
}

#[test]
fn clients_of_three_makes_hear_one_another_with_originator_and_cluster() {
    let lab = up("reflector");
    let (reflector, gobgp) = (lab.node("reflector").unwrap(), lab.node("gobgp").unwrap());
    wait(&lab, "GoBGP to take its own routes", || {
        for (prefix, family, next_hop) in
            [("10.20.4.0/24", "ipv4", "10.2.0.4"), ("fd00:20:4::/48", "ipv6", "fd00:2::4")]
        {
            let add = ["gobgp", "global", "rib", "add", "-a", family, prefix, "nexthop", next_hop];
            gobgp.exec(&add).and_then(|output| output.checked()).map_err(|error| error.to_string())?;
        }
        Ok(())
    });
    for (name, ..) in CLIENTS {
        let client = lab.node(name).unwrap();
        for (other, originator, prefixes) in CLIENTS.into_iter().filter(|(other, ..)| *other != name) {
            for prefix in prefixes {
                wait(&lab, &format!("{name} to hold {prefix} of {other}"), || {
                    holds_reflected(client, prefix, originator)
                });
            }
        }
    }
    // Every client is there by the prefix alone, and no route of theirs is in this node's kernel.
    let summary = json(reflector, &["linnet", "bgp", "summary", "-o", "json"]).unwrap();
    let mut names: Vec<_> =
        summary["peers"].as_array().unwrap().iter().map(|peer| peer["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["client/10.2.0.2", "client/10.2.0.3", "client/10.2.0.4"]);
    let kernel = reflector.shell("ip route; ip -6 route").unwrap();
    assert!(!kernel.contains("10.20.") && !kernel.contains("fd00:20:"), "{kernel}");

    a_reflector_that_is_killed_and_started_again_costs_no_client_a_route(&lab);

    // A client that withdraws takes its routes away from the others.
    gobgp.shell("gobgp global rib del -a ipv6 fd00:20:4::/48").unwrap();
    wait(&lab, "BIRD to lose what GoBGP withdrew", || {
        let shown =
            lab.node("bird").unwrap().shell("birdc show route fd00:20:4::/48").map_err(|error| error.to_string());
        holds(shown.as_ref().is_err() || shown.as_ref().is_ok_and(|shown| !shown.contains("fd00:2::4")), shown)
    });
    routes_longer_than_other_messages_come_from_frr_and_bird_and_go_to_both(&lab);
}

/// It is on nobody's way: what its clients forward by stays until each of the others has told it everything again.
fn a_reflector_that_is_killed_and_started_again_costs_no_client_a_route(lab: &Lab) {
    let (reflector, frr) = (lab.node("reflector").unwrap(), lab.node("frr").unwrap());
    let of_others = ["10.20.3.0/24", "10.20.4.0/24"];
    let in_kernel = || {
        let routes = frr.shell("ip route show proto bgp").map_err(|error| error.to_string())?;
        holds(of_others.iter().all(|prefix| routes.contains(prefix)), routes)
    };
    wait(lab, "the other clients' routes in the kernel of FRR's node", in_kernel);
    let watch = Watch::begin(frr).unwrap();
    reflector.signal("linnetd", "KILL").unwrap();
    wait(lab, "FRR to see the session lost", || {
        let seen = json(frr, &["vtysh", "-c", "show bgp neighbors 10.2.0.1 json"])?;
        holds(seen["10.2.0.1"]["bgpState"] != "Established", &seen["10.2.0.1"]["bgpState"])
    });
    reflector.start("linnetd").unwrap();
    wait(lab, "every client to be back with its routes", || {
        let summary = json(reflector, &["linnet", "bgp", "summary", "-o", "json"])?;
        let peers = summary["peers"].as_array().cloned().unwrap_or_default();
        let back = peers.iter().filter(|peer| peer["state"] == "Established" && peer["received"] == 2).count();
        holds(back == 3, &peers)
    });
    wait(lab, "FRR to have everything afresh", || {
        for prefix in of_others {
            let shown = json(frr, &["vtysh", "-c", &format!("show bgp ipv4 unicast {prefix} json")])?;
            holds(shown["paths"][0]["valid"] == true && shown["paths"][0]["stale"].is_null(), &shown)?;
        }
        in_kernel()
    });
    let lost = watch.removed(&of_others).unwrap();
    assert!(lost.is_empty(), "{lost:?}\n{}", lab.dump());
}
