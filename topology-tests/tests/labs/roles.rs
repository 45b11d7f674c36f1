//! Route servers and their clients (RFC 9234; `labs/roles.clab.yml`): Linnet as either, with FRR, BIRD and OpenBGPD at the other
//! end, and what no two can be to each other. `neighbors.rs` has providers, customers and peers. Needs root.

#![allow(clippy::unwrap_used, reason = "the panic of a test is its verdict")]

use serde_json::Value;
use topology_tests::expect::{holds, json, up, wait};
use topology_tests::lab::Lab;
use topology_tests::words::{neighbor, reload, routes, shell};

const US: u64 = 64500;

/// What somebody announces to us.
struct Route {
    prefix: &'static str,
    from: &'static str,
    /// Its OTC as we have it.
    otc: Option<u64>,
}

/// From above: RFC 9234 section 5 has it marked, by whoever does it first.
const OF_SERVERS: [Route; 5] = [
    Route { prefix: "198.51.100.0/26", from: "frr-server", otc: Some(65001) },
    Route { prefix: "192.0.2.0/26", from: "bird-server", otc: Some(65003) },
    Route { prefix: "198.51.100.128/26", from: "openbgpd-server", otc: Some(65012) },
    Route { prefix: "192.0.2.128/26", from: "silent-server", otc: Some(65005) },
    Route { prefix: "192.0.2.192/26", from: "silent-server", otc: Some(65099) },
];
const OF_CLIENTS: [Route; 3] = [
    Route { prefix: "198.51.100.64/26", from: "frr-client", otc: None },
    Route { prefix: "192.0.2.64/26", from: "bird-client", otc: None },
    Route { prefix: "203.0.113.0/26", from: "silent-client", otc: None },
];
/// What `silent-client` had for its customers alone.
const LEAK: &str = "203.0.113.64/26";

const SERVERS: [&str; 2] = ["frr-server", "bird-server"];
const CLIENTS: [&str; 2] = ["frr-client", "bird-client"];

/// A router's path to a prefix by us: none, or its OTC if it has any.
fn path_at(lab: &Lab, router: &str, prefix: &str) -> Result<Option<Option<u64>>, String> {
    if let Some(name) = router.strip_prefix("frr-") {
        let seen = json(lab.node(name).unwrap(), &["vtysh", "-c", &format!("show bgp ipv4 unicast {prefix} json")])?;
        let path = seen["paths"].as_array().into_iter().flatten().find(|path| path["peer"]["peerId"] == "10.13.0.1");
        return Ok(path.map(|path| path["otc"].as_u64()));
    }
    let protocol = router.replace('-', "_");
    let line = format!("birdc show route {prefix} protocol {protocol} all 2>&1 || true");
    let seen = shell(lab.node("bird").unwrap(), &line)?;
    let otc = seen.lines().find_map(|line| line.trim().strip_prefix("BGP.otc: ")?.parse().ok());
    Ok(seen.contains("BGP.as_path:").then_some(otc))
}

/// Whether a router has these routes and no other of those above, each with the OTC that `otc` says.
fn has_only<'a>(
    lab: &Lab,
    router: &str,
    wanted: impl Iterator<Item = &'a Route>,
    otc: impl Fn(&Route) -> Option<u64>,
) -> Result<(), String> {
    let wanted: Vec<_> = wanted.filter(|route| route.from != router).collect();
    for route in &wanted {
        let path = path_at(lab, router, route.prefix)?;
        holds(path == Some(otc(route)), format!("{} of {} at {router}: {path:?}", route.prefix, route.from))?;
    }
    let all = OF_SERVERS.iter().chain(&OF_CLIENTS).filter(|route| route.from != router).map(|route| route.prefix);
    for prefix in all.chain([LEAK]).filter(|prefix| wanted.iter().all(|route| route.prefix != *prefix)) {
        let path = path_at(lab, router, prefix)?;
        holds(path.is_none(), format!("{prefix} at {router}: {path:?}"))?;
    }
    Ok(())
}

fn protocol(lab: &Lab, name: &str) -> Result<String, String> {
    shell(lab.node("bird").unwrap(), &format!("birdc show protocols all {name}"))
}

/// FRR's session with one of our addresses.
fn frrs(lab: &Lab, node: &str, ours: &str) -> Result<Value, String> {
    let shown = json(lab.node(node).unwrap(), &["vtysh", "-c", &format!("show bgp neighbors {ours} json")])?;
    Ok(shown[ours].clone())
}

#[test]
fn a_host_is_a_route_server_and_a_route_servers_client_to_frr_bird_and_openbgpd() {
    let lab = up("roles");
    either_role_is_agreed_with_three_speakers(&lab);
    roles_that_contradict_or_are_missing_are_refused_by_whoever_minds(&lab);
    routes_of_a_route_server_are_marked_and_go_to_clients_alone(&lab);
    a_marked_route_from_below_is_ineligible_here(&lab);
    a_marked_route_of_ours_from_below_is_ineligible_at_frr_and_bird(&lab);
}

fn either_role_is_agreed_with_three_speakers(lab: &Lab) {
    for (name, ours, theirs) in [
        ("frr-server", "rs-client", Some("rs")),
        ("bird-server", "rs-client", Some("rs")),
        ("silent-server", "rs-client", None),
        ("frr-client", "rs", Some("rs-client")),
        ("bird-client", "rs", Some("rs-client")),
        ("openbgpd-server", "rs-client", Some("rs")),
        ("openbgpd-client", "rs", Some("rs-client")),
        ("silent-client", "rs", None),
    ] {
        wait(lab, &format!("the session with {name} and its role"), || {
            let shown = neighbor(lab, name)?;
            holds(shown["state"] == "Established", &shown)?;
            holds(shown["role"] == ours && shown["remote_role"].as_str() == theirs, &shown)
        });
    }
    for (node, role) in [("server", ["rs-server", "rs-client"]), ("client", ["rs-client", "rs-server"])] {
        let shown = frrs(lab, node, "10.13.0.1").unwrap();
        assert_eq!([&shown["localRole"], &shown["remoteRole"]], role, "{shown}");
    }
    for (name, role) in [("bird_server", ["rs_server", "rs_client"]), ("bird_client", ["rs_client", "rs_server"])] {
        let shown = protocol(lab, name).unwrap();
        let roles: Vec<_> = shown.lines().filter_map(|line| line.trim().strip_prefix("Role: ")).collect();
        // What it says, and what it heard.
        assert_eq!(roles, role, "{shown}");
    }
}

/// RFC 9234 section 4.2: OPEN Message Error (2), Role Mismatch (11). Where both ends see that their roles contradict, either may
/// say so first; a role that is missing is minded by one end alone.
fn roles_that_contradict_or_are_missing_are_refused_by_whoever_minds(lab: &Lab) {
    let is_refused = |name: &str, sides: &[&str]| {
        wait(lab, &format!("{name} to be refused for its role"), || {
            let shown = neighbor(lab, name)?;
            let error = shown["last_error"].as_str().unwrap_or_default();
            holds(shown["state"] != "Established" && shown["times_established"] == 0, &shown)?;
            holds(sides.iter().any(|side| error.contains(&format!("{side} OPEN Message Error / Role Mismatch"))), error)
        });
    };
    for name in ["frr-two-servers", "bird-two-servers", "bird-two-clients", "bird-of-a-provider"] {
        is_refused(name, &["sent", "received"]);
    }
    is_refused("bird-says-none", &["sent"]);
    is_refused("bird-asks-for-one", &["received"]);
    is_refused("frr-asks-for-one", &["received"]);
    wait(lab, "BIRD to have been told of the role that it does not say", || {
        let log = lab.node("bird").unwrap().log("bird");
        holds(log.contains("says_none: Received: Role mismatch"), log)
    });
    wait(lab, "FRR to show the subcode for either", || {
        for (node, ours) in [("server", "10.13.0.11"), ("client", "10.13.0.11")] {
            let shown = frrs(lab, node, ours)?;
            holds(shown["lastErrorCodeSubcode"] == "020B", &shown)?;
        }
        Ok(())
    });
}

fn routes_of_a_route_server_are_marked_and_go_to_clients_alone(lab: &Lab) {
    for route in OF_SERVERS.iter().chain(&OF_CLIENTS) {
        wait(lab, &format!("{} of {}", route.prefix, route.from), || {
            let shown = routes(lab, &[route.prefix])?;
            let ours = shown.iter().find(|path| path["peer"] == route.from && path["best"] == true);
            holds(ours.is_some_and(|path| path["otc"].as_u64() == route.otc), &shown)
        });
    }
    for router in CLIENTS {
        wait(lab, &format!("{router}, our client, to have all that is sound, marked, by us where nobody had"), || {
            has_only(lab, router, OF_SERVERS.iter().chain(&OF_CLIENTS), |route| Some(route.otc.unwrap_or(US)))
        });
    }
    wait(
        lab,
        "OpenBGPD to have what its route server gives it, and nothing from its client but what is our clients'",
        || {
            let seen = |neighbor: &str| {
                shell(lab.node("openbgpd").unwrap(), &format!("bgpctl show rib in neighbor {neighbor} 2>&1 || true"))
            };
            let (given, of_client) = (seen("to-server")?, seen("to-client")?);
            let of_others = OF_SERVERS.iter().filter(|route| route.from != "openbgpd-server");
            for route in of_others {
                holds(given.contains(route.prefix) && !of_client.contains(route.prefix), (&given, &of_client))?;
            }
            let mut both = OF_CLIENTS.iter();
            holds(
                both.all(|route| given.contains(route.prefix) && of_client.contains(route.prefix)),
                (&given, &of_client),
            )?;
            holds(!given.contains(LEAK) && !of_client.contains(LEAK), (&given, &of_client))
        },
    );
    for router in SERVERS {
        wait(lab, &format!("{router}, our route server, to have what is our clients', and nothing else"), || {
            has_only(lab, router, OF_CLIENTS.iter(), |_| None)
        });
    }
}

fn a_marked_route_from_below_is_ineligible_here(lab: &Lab) {
    let rejected = routes(lab, &["--rejected"]).unwrap();
    let of_roles = rejected.iter().filter(|route| route["reason"].as_str().unwrap_or_default().contains("9234"));
    let reasons: Vec<_> = of_roles.map(|route| [&route["peer"], &route["prefix"], &route["reason"]]).collect();
    let reason = "rejected: a route leak (RFC 9234): it is only for customers (OTC), and a customer sent it";
    assert_eq!(reasons, [["silent-client", LEAK, reason]], "{rejected:?}");
}

/// We say no role any more, and so pass on what we would keep back.
fn a_marked_route_of_ours_from_below_is_ineligible_at_frr_and_bird(lab: &Lab) {
    let of_the_servers = |script: &str| {
        let of = |name: &str| format!("/name = \"{name}\"/,/^$/{script}");
        reload(lab, &SERVERS.map(of).join("\n")).unwrap();
    };
    let marked = |path: &Value| OF_SERVERS.iter().any(|route| path["prefix"] == route.prefix && !path["otc"].is_null());
    of_the_servers("s/^role/# role/");
    for name in SERVERS {
        wait(lab, &format!("{name} to be sent marked routes"), || {
            let sent = routes(lab, &["--advertised", name])?;
            holds(sent.iter().filter(|path| marked(path)).count() == OF_SERVERS.len() - 1, &sent)
        });
        wait(lab, &format!("{name} to have none of them, and what is our clients'"), || {
            let shown = neighbor(lab, name)?;
            holds(shown["state"] == "Established" && shown["role"].is_null(), &shown)?;
            has_only(lab, name, OF_CLIENTS.iter(), |_| None)
        });
    }
    wait(lab, "BIRD to say why", || {
        let log = lab.node("bird").unwrap().log("bird");
        holds(log.contains("bird_server: Route leak detected - OTC attribute from downstream"), log)
    });
    of_the_servers("s/^# role/role/");
    for name in SERVERS {
        wait(lab, &format!("{name} to be sent none of them any more"), || {
            let shown = neighbor(lab, name)?;
            holds(shown["state"] == "Established" && shown["role"] == "rs-client", &shown)?;
            let sent = routes(lab, &["--advertised", name])?;
            holds(!sent.is_empty() && !sent.iter().any(marked), &sent)
        });
    }
}
