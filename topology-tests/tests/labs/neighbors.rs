//! What a host can be to its neighbours: roles, paths, next hops, defaults, aggregates and limits, with FRR, BIRD, OpenBGPD and
//! GoBGP on one segment. Needs root.
//!
//! One lab for all of it: to start it takes as long as all else.

#![allow(clippy::unwrap_used, reason = "the panic of a test is its verdict")]

use serde_json::{Value, json};
use topology_tests::expect::{holds, json, up, wait, without_objects};
use topology_tests::lab::Lab;
use topology_tests::words::{neighbor, reload, routes};

const OF_FRR: &str = "198.51.100.0/24";
const OF_BIRD: &str = "192.0.2.0/26";
const OF_SITE_B: &str = "192.0.2.64/26";
const OF_OPENBGPD: &str = "192.0.2.128/26";
const AGGREGATE: &str = "100.64.0.0/16";

/// Our only path to a prefix.
fn path(lab: &Lab, prefix: &str) -> Result<Value, String> {
    Ok(json(lab.node("linnet").unwrap(), &["linnet", "bgp", "routes", prefix, "-o", "json"])?["routes"][0].clone())
}

/// FRR's view of a prefix: path, next hop, and the rest.
fn at_frr(lab: &Lab, prefix: &str) -> Result<Value, String> {
    json(lab.node("frr").unwrap(), &["vtysh", "-c", &format!("show bgp ipv4 unicast {prefix} json")])
}

/// BIRD's view of a prefix by one of its sessions.
fn at_bird(lab: &Lab, protocol: &str, prefix: &str) -> String {
    lab.node("bird").unwrap().shell(&format!("birdc show route {prefix} protocol {protocol} all 2>&1 || true")).unwrap()
}

fn at_openbgpd(lab: &Lab, prefix: &str) -> String {
    lab.node("openbgpd").unwrap().shell(&format!("bgpctl show rib detail {prefix} 2>&1 || true")).unwrap()
}

fn at_gobgp(lab: &Lab, prefix: &str) -> String {
    // It says so with an exit status when there is none.
    lab.node("gobgp").unwrap().shell(&format!("gobgp global rib {prefix} 2>&1 || true")).unwrap()
}

fn gobgp(lab: &Lab, arguments: &str) {
    lab.node("gobgp").unwrap().shell(&format!("gobgp global rib {arguments}")).unwrap();
}

#[test]
fn a_host_is_something_else_to_each_of_its_neighbours() {
    let lab = up("neighbors");
    roles_are_agreed_with_three_speakers_and_refused_where_they_contradict(&lab);
    a_providers_route_goes_to_customers_alone_and_a_leak_is_rejected(&lab);
    next_hops_are_the_announcers_ours_or_unchanged(&lab);
    paths_are_rewritten_for_each_neighbour(&lab);
    a_default_route_goes_to_whom_it_is_meant_for(&lab);
    a_default_route_is_originated_always_or_while_another_is_there_as_a_reload_says(&lab);
    an_aggregate_stands_for_what_is_inside(&lab);
    limits_warn_or_end_the_session(&lab);
    an_open_waits_for_frrs_and_for_its_own_time_where_frr_waits_too(&lab);
}

fn roles_are_agreed_with_three_speakers_and_refused_where_they_contradict(lab: &Lab) {
    // Far more than any wait of this test: FRR's OPEN comes at once, and ours has not waited any longer.
    assert_eq!(neighbor(lab, "frr").unwrap()["delay_open_seconds"], 240);
    for (name, ours, theirs) in [
        ("frr", "customer", Some("provider")),
        ("bird", "provider", Some("customer")),
        ("openbgpd", "peer", Some("peer")),
        ("leaker", "provider", None),
    ] {
        wait(lab, &format!("the session with {name} and its role"), || {
            let shown = neighbor(lab, name)?;
            holds(shown["state"] == "Established", &shown)?;
            holds(shown["role"] == ours && shown["remote_role"].as_str() == theirs, &shown)
        });
    }
    for name in ["gobgp", "site-b"] {
        wait(lab, &format!("the session with {name}"), || {
            let shown = neighbor(lab, name)?;
            holds(shown["state"] == "Established", &shown)
        });
    }
    wait(lab, "the session with two providers to be refused, in words", || {
        let shown = neighbor(lab, "mismatch")?;
        let error = shown["last_error"].as_str().unwrap_or_default();
        holds(shown["state"] != "Established" && error.to_lowercase().contains("role mismatch"), &shown)
    });
}

fn a_providers_route_goes_to_customers_alone_and_a_leak_is_rejected(lab: &Lab) {
    wait(lab, "BIRD, our customer, to have FRR's route with the OTC that FRR gave it", || {
        let seen = at_bird(lab, "linnet", OF_FRR);
        holds(seen.contains("BGP.otc: 65001"), seen)
    });
    let ours = path(lab, OF_FRR).unwrap();
    assert_eq!(ours["otc"], 65001, "{ours}");
    wait(lab, "FRR, our provider, to have our customer's route, and not our peer's", || {
        let (customers, peers) = (at_frr(lab, OF_BIRD)?, at_frr(lab, OF_OPENBGPD)?);
        holds(customers["paths"][0]["valid"] == true, &customers)?;
        holds(peers["paths"].is_null(), &peers)
    });
    wait(lab, "OpenBGPD, our peer, to have our customer's route, and not our provider's", || {
        let seen = at_openbgpd(lab, OF_BIRD);
        holds(seen.contains("Last update"), seen)?;
        let seen = at_openbgpd(lab, OF_FRR);
        holds(!seen.contains("Last update"), seen)
    });
    wait(lab, "the leak to be rejected with its reason", || {
        let rejected = routes(lab, &["--rejected"])?;
        let leak = rejected.iter().find(|route| route["peer"] == "leaker").cloned().unwrap_or_default();
        let reason = leak["reason"].as_str().unwrap_or_default();
        holds(reason.contains("a route leak (RFC 9234)") && reason.contains("a customer sent it"), &rejected)
    });
}

fn next_hops_are_the_announcers_ours_or_unchanged(lab: &Lab) {
    wait(lab, "BIRD and FRR to be sent straight to each other", || {
        let bird = at_bird(lab, "linnet", OF_FRR);
        holds(bird.contains("BGP.next_hop: 10.5.0.2"), bird)?;
        let frr = at_frr(lab, OF_BIRD)?;
        holds(frr["paths"][0]["nexthops"][0]["ip"] == "10.5.0.3", &frr)
    });
    wait(lab, "OpenBGPD to be sent to us, and GoBGP to where the route came from", || {
        let openbgpd = at_openbgpd(lab, OF_BIRD);
        holds(openbgpd.contains("Nexthop 10.5.0.1 "), openbgpd)?;
        let gobgp = at_gobgp(lab, OF_OPENBGPD);
        holds(gobgp.contains("10.5.0.4"), gobgp)
    });
}

fn paths_are_rewritten_for_each_neighbour(lab: &Lab) {
    wait(lab, "two sites of one AS to have each other's route (as-override)", || {
        let frr = at_frr(lab, OF_SITE_B)?;
        holds(frr["paths"][0]["aspath"]["string"] == "64500 64999 64500", &frr)?;
        let gobgp = at_gobgp(lab, OF_BIRD);
        holds(gobgp.contains("64500 64500"), gobgp)
    });
    wait(lab, "OpenBGPD to see no private number but ours", || {
        let seen = at_openbgpd(lab, OF_BIRD);
        // Ours is private too, and is put there behind the others are gone.
        holds(seen.lines().any(|line| line.trim() == "64500"), seen)
    });
    wait(lab, "site-b to see our local AS before the real one, and we before what it sends", || {
        let seen = at_bird(lab, "site_b", OF_OPENBGPD);
        holds(seen.contains("BGP.as_path: 64999 64500 65003"), seen)?;
        let ours = routes(lab, &[OF_SITE_B])?;
        holds(ours.iter().any(|route| route["peer"] == "site-b" && route["as_path"] == "64999 65001"), &ours)
    });
    gobgp(lab, "add 198.18.0.0/24 aspath 64500,65077");
    gobgp(lab, "add 198.18.1.0/24 aspath 64500,64500");
    wait(lab, "a path with our AS in it once, and not twice (allow-as-in)", || {
        let once = routes(lab, &["198.18.0.0/24"])?;
        holds(once.iter().any(|route| route["best"] == true), &once)?;
        let twice = routes(lab, &["--rejected"])?;
        let twice = twice.iter().find(|route| route["prefix"] == "198.18.1.0/24").cloned().unwrap_or_default();
        holds(twice["reason"] == "rejected: our own AS is in the AS path", &twice)
    });
}

fn a_default_route_goes_to_whom_it_is_meant_for(lab: &Lab) {
    const DEFAULT: &str = "0.0.0.0/0";
    wait(lab, "BIRD to have it, and OpenBGPD and FRR not", || {
        let bird = at_bird(lab, "linnet", DEFAULT);
        holds(bird.contains("BGP.as_path: 64500") && bird.contains("BGP.next_hop: 10.5.0.1"), bird)?;
        let openbgpd = at_openbgpd(lab, DEFAULT);
        holds(!openbgpd.contains("Last update"), openbgpd)?;
        let frr = at_frr(lab, DEFAULT)?;
        holds(frr["paths"].is_null(), frr)
    });
    gobgp(lab, "add 203.0.113.0/24");
    wait(lab, "OpenBGPD to have it while the condition holds", || {
        let seen = at_openbgpd(lab, DEFAULT);
        holds(seen.contains("Nexthop 10.5.0.1 "), seen)
    });
    gobgp(lab, "del 203.0.113.0/24");
    wait(lab, "OpenBGPD to have it no more", || {
        let seen = at_openbgpd(lab, DEFAULT);
        holds(!seen.contains("Last update"), seen)
    });
}

/// Each of three routers with both conditions, one behind the other, under its running session.
fn a_default_route_is_originated_always_or_while_another_is_there_as_a_reload_says(lab: &Lab) {
    const DEFAULT: &str = "0.0.0.0/0";
    const WHILE: &str = "{ while = \"203.0.113.0/24\" }";
    const ROUTERS: [&str; 3] = ["frr", "bird", "openbgpd"];
    let has = |router: &str| {
        let (has, seen) = match router {
            "frr" => {
                let seen = at_frr(lab, DEFAULT)?;
                let path = &seen["paths"][0];
                (path["aspath"]["string"] == "64500" && path["nexthops"][0]["ip"] == "10.5.0.1", seen.to_string())
            }
            "bird" => {
                let seen = at_bird(lab, "linnet", DEFAULT);
                (seen.contains("BGP.as_path: 64500") && seen.contains("BGP.next_hop: 10.5.0.1"), seen)
            }
            _ => {
                let seen = at_openbgpd(lab, DEFAULT);
                (seen.contains("Nexthop 10.5.0.1 "), seen)
            }
        };
        Ok::<_, String>((has, seen))
    };
    let all = |what: &str, wanted: [bool; 3]| {
        for (router, wanted) in ROUTERS.into_iter().zip(wanted) {
            wait(lab, &format!("the default route at {router}, {what}"), || {
                let (has, seen) = has(router)?;
                holds(has == wanted, seen)
            });
        }
    };
    let set = |router: &str, value: &str| {
        let script = format!(
            "/^name = \"{router}\"/,/^$/ {{ /^default-originate/d; s|^import|default-originate = {value}\\nimport|; }}"
        );
        let said = reload(lab, &script).unwrap();
        assert!(said.contains(&format!("peer {router}: default-originate changed, in place")), "{said}");
    };
    let sessions = || ROUTERS.map(|name| neighbor(lab, name).unwrap()["times_established"].clone());
    let before = sessions();
    set("frr", WHILE);
    set("bird", WHILE);
    set("openbgpd", "true");
    all("always at OpenBGPD alone", [false, false, true]);
    gobgp(lab, "add 203.0.113.0/24");
    all("while the other route is there", [true, true, true]);
    set("openbgpd", "false");
    all("no more at OpenBGPD", [true, true, false]);
    gobgp(lab, "del 203.0.113.0/24");
    all("when the other route is gone", [false, false, false]);
    set("frr", "true");
    all("always at FRR", [true, false, false]);
    assert_eq!(sessions(), before, "no session was reset");
}

fn an_aggregate_stands_for_what_is_inside(lab: &Lab) {
    let kernel = || without_objects(&lab.node("linnet").unwrap().shell("ip route show proto 76").unwrap());
    gobgp(lab, "add 100.64.1.0/24");
    gobgp(lab, "add 100.64.2.0/24 origin incomplete");
    wait(lab, "FRR and BIRD to have the aggregate, and nothing of what is inside", || {
        let frr = at_frr(lab, AGGREGATE)?;
        let path = &frr["paths"][0];
        holds(path["aspath"]["string"] == "64500" && path["atomicAggregate"] == true, &frr)?;
        holds(path["aggregatorAs"] == 64500 && path["community"]["string"] == "64500:16", &frr)?;
        holds(path["origin"] == "incomplete", &frr)?;
        holds(at_frr(lab, "100.64.1.0/24")?["paths"].is_null(), "what is inside, at FRR")?;
        let bird = at_bird(lab, "linnet", AGGREGATE);
        holds(bird.contains("BGP.atomic_aggr") && bird.contains("BGP.aggregator: 10.5.0.1 AS64500"), bird)?;
        let inside = at_bird(lab, "linnet", "100.64.1.0/24");
        holds(!inside.contains("BGP.as_path"), inside)
    });
    let ours = path(lab, AGGREGATE).unwrap();
    assert_eq!(ours["aggregator"], json!({"asn": 64500, "router_id": "10.5.0.1"}), "{ours}");
    assert_eq!(ours["atomic_aggregate"], true, "{ours}");
    wait(lab, "our kernel to have what is inside, and to refuse the rest", || {
        let routes = kernel();
        holds(routes.contains("unreachable 100.64.0.0/16") && routes.contains("100.64.1.0/24 via 10.5.0.5"), &routes)
    });
    let shown = routes(lab, &[AGGREGATE]).unwrap();
    assert!(shown[0]["reason"].as_str().unwrap().starts_with("an aggregate of 2 prefixes"), "{shown:?}");
    gobgp(lab, "del 100.64.2.0/24");
    gobgp(lab, "del 100.64.1.0/24");
    wait(lab, "the aggregate to go with its last contributor", || {
        let frr = at_frr(lab, AGGREGATE)?;
        holds(frr["paths"].is_null(), &frr)?;
        let bird = at_bird(lab, "linnet", AGGREGATE);
        holds(!bird.contains("BGP.as_path"), bird)?;
        let routes = kernel();
        holds(!routes.contains("100.64."), routes)
    });
}

fn limits_warn_or_end_the_session(lab: &Lab) {
    wait(lab, "GoBGP to be warned of and left alone", || {
        let shown = neighbor(lab, "gobgp")?;
        holds(shown["state"] == "Established" && shown["max_prefixes_warned"] == true, &shown)
    });
    wait(lab, "BIRD's session with too many prefixes to be down for an hour", || {
        let shown = neighbor(lab, "many")?;
        let error = shown["last_error"].as_str().unwrap_or_default();
        holds(error.contains("Maximum Number of Prefixes Reached") && error.contains("starts again in"), &shown)?;
        holds(shown["prefix_limit_reached"] == 1 && shown["restarts_in_seconds"].as_u64() > Some(3000), &shown)?;
        let bird = lab.node("bird").unwrap().shell("birdc show protocols all many").unwrap();
        holds(!bird.contains("Established"), bird)
    });
    lab.node("linnet").unwrap().exec(&["linnet", "bgp", "reset", "many"]).unwrap().checked().unwrap();
    wait(lab, "a person's reset to start it at once, and the limit to end it again", || {
        let shown = neighbor(lab, "many")?;
        holds(shown["prefix_limit_reached"] == 2, &shown)
    });
}

/// RFC 4271 section 8.1.1, with FRR's `timers delayopen`. Who waits for the other waits for four minutes, which no wait of this
/// test does.
fn an_open_waits_for_frrs_and_for_its_own_time_where_frr_waits_too(lab: &Lab) {
    let (linnet, frr) = (lab.node("linnet").unwrap(), lab.node("frr").unwrap());
    let delay = |seconds: u32| {
        let line = format!("neighbor 10.5.0.1 timers delayopen {seconds}");
        frr.exec(&["vtysh", "-c", "conf t", "-c", "router bgp 65001", "-c", &line]).unwrap().checked().unwrap();
    };
    let opens =
        |shown: &Value| shown["messages"].as_array().into_iter().flatten().find(|it| it["kind"] == "OPEN").cloned();
    let both_wait = || {
        let before = opens(&neighbor(lab, "frr").unwrap());
        linnet.exec(&["linnet", "bgp", "reset", "frr"]).unwrap().checked().unwrap();
        wait(lab, "a connection with FRR on which nobody says anything", || {
            let shown = neighbor(lab, "frr")?;
            let waits = shown["open_in_seconds"].as_u64().is_some_and(|left| (1..=240).contains(&left));
            holds(waits && ["Connect", "Active"].iter().any(|state| shown["state"] == *state), &shown)?;
            holds(opens(&shown) == before, &shown)?;
            let connected =
                linnet.shell("ss -tnH state established dst 10.5.0.2").map_err(|error| error.to_string())?;
            holds(!connected.is_empty(), connected)?;
            let theirs = json(frr, &["vtysh", "-c", "show bgp neighbors 10.5.0.1 json"])?["10.5.0.1"].clone();
            holds(["Connect", "Active"].iter().any(|state| theirs["bgpState"] == *state), &theirs["bgpState"])
        });
    };
    let up = |what: &str| {
        wait(lab, what, || {
            let shown = neighbor(lab, "frr")?;
            holds(shown["state"] == "Established", &shown)
        });
    };
    delay(240);
    both_wait();
    // FRR's new connection has its new time, and ours would be over long after it.
    delay(1);
    frr.exec(&["vtysh", "-c", "clear bgp 10.5.0.1"]).unwrap().checked().unwrap();
    up("our OPEN to follow FRR's");

    delay(240);
    both_wait();
    reload(lab, "s/^delay-open = 240/delay-open = 1/").unwrap();
    linnet.exec(&["linnet", "bgp", "reset", "frr"]).unwrap().checked().unwrap();
    up("our OPEN to come by itself, and FRR's to follow it");
}
