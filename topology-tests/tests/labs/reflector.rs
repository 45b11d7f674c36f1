//! `linnetd` as a route reflector between FRR, BIRD and GoBGP. Needs root.

#![allow(clippy::unwrap_used, reason = "the panic of a test is its verdict")]

use std::path::Path;

use serde_json::Value;
use topology_tests::expect::{holds, json, wait};
use topology_tests::lab::{Lab, Node, Options};
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

/// Messages of a kind, by `sent` or `received`.
fn messages(neighbor: &Value, kind: &str, way: &str) -> u64 {
    let kinds = neighbor["messages"].as_array().cloned().unwrap_or_default();
    kinds.iter().find(|one| one["kind"] == kind).and_then(|one| one[way].as_u64()).unwrap_or_default()
}

/// RFC 8654: BIRD and FRR have it, GoBGP has not, and needs more UPDATEs for the same prefixes.
fn long_messages_come_from_bird_and_go_to_frr(lab: &Lab) {
    let clients = ["10.2.0.2", "10.2.0.3", "10.2.0.4"];
    let before = clients.map(|address| neighbor(lab, address).unwrap());
    assert_eq!(before.each_ref().map(|neighbor| has(neighbor, "extended-messages")), [true, true, false], "{before:?}");
    let bird = lab.node("bird").unwrap();
    bird.shell(
        "{ cat /etc/bird/bird.conf; echo 'protocol static many { ipv4;'
           for a in 0 1 2 3 4 5 6 7; do for b in $(seq 0 249); do echo \"route 10.21$a.$b.0/24 unreachable;\"; done; done
           echo '}'; } > /run/many.conf
         birdc configure '\"/run/many.conf\"'",
    )
    .unwrap();
    let advertised = |neighbor: &Value| neighbor["advertised"].as_u64().unwrap_or_default();
    let [frr, _, gobgp] = before.each_ref().map(|before| (advertised(before), messages(before, "UPDATE", "sent")));
    let all = |address: &str, had: u64| {
        wait(lab, &format!("2000 more prefixes to {address}"), || {
            let now = neighbor(lab, address)?;
            holds(advertised(&now) == had + 2000, &now)
        });
        messages(&neighbor(lab, address).unwrap(), "UPDATE", "sent")
    };
    let (to_frr, to_gobgp) = (all(clients[0], frr.0) - frr.1, all(clients[2], gobgp.0) - gobgp.1);
    assert!(to_frr < to_gobgp, "{to_frr} UPDATEs to FRR, {to_gobgp} to GoBGP");
    wait(lab, "FRR to hold what came in long messages", || {
        let shown = json(lab.node("frr").unwrap(), &["vtysh", "-c", "show bgp ipv4 unicast summary json"])?;
        let peer = &shown["peers"]["10.2.0.1"];
        holds(peer["state"] == "Established" && peer["pfxRcd"].as_u64() >= Some(2000), peer)
    });
    let after = clients.map(|address| neighbor(lab, address).unwrap()["times_established"].clone());
    assert_eq!(after, before.map(|neighbor| neighbor["times_established"].clone()));
}

#[test]
fn clients_of_three_makes_hear_one_another_with_originator_and_cluster() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("labs/reflector.clab.yml");
    let lab = Lab::up(&file, &Options::default()).unwrap_or_else(|error| panic!("{error}"));
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
    long_messages_come_from_bird_and_go_to_frr(&lab);
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
