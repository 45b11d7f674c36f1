//! Filters, weighted ECMP and blackholes beside FRR and BIRD (`labs/filters.clab.yml`). Needs root.

#![allow(clippy::unwrap_used, reason = "the panic of a test is its verdict")]

use serde_json::Value;
use topology_tests::expect::{answer, holds, json, up, wait};
use topology_tests::lab::{Lab, Node};
use topology_tests::words::{path, routes, shell};

/// What both FRRs announce.
const SHARED: &str = "198.51.100.0/24";
/// What one of them and BIRD announce.
const SHARED_WITH_BIRD: &str = "198.51.101.0/24";

#[test]
fn filters_weights_and_blackholes_beside_frr_and_bird() {
    let lab = up("filters");
    link_bandwidths_of_frr_and_bird_become_weights_in_the_kernel(&lab);
    communities_of_all_kinds_are_matched_and_removed(&lab);
    each_condition_holds_for_the_one_route_that_it_is_for(&lab);
    what_we_put_in_place_of_next_hop_and_communities_counts_here_and_reaches_both(&lab);
    an_as_path_pattern_rejects_and_says_so(&lab);
    what_we_set_reaches_bird(&lab);
    what_we_set_reaches_frr(&lab);
    a_blackhole_of_either_kind_of_router_is_in_the_kernel_and_goes_no_further(&lab);
    a_filter_explains_itself(&lab);
}

fn link_bandwidths_of_frr_and_bird_become_weights_in_the_kernel(lab: &Lab) {
    let linnet = lab.node("linnet").unwrap();
    for (prefix, said, hops) in [
        (SHARED, "1 Gbit/s of one FRR and 2.5 Gbit/s of another", [("10.1.1.2", 2), ("10.1.2.2", 5)]),
        (SHARED_WITH_BIRD, "1 Gbit/s of FRR and 4 Gbit/s of BIRD", [("10.1.1.2", 1), ("10.1.3.2", 4)]),
    ] {
        wait(lab, &format!("weights as {said} are"), || {
            let kernel = linnet.shell(&format!("ip route show {prefix}")).map_err(|error| error.to_string())?;
            let is_there = |(via, weight): (&str, u64)| {
                let hop = kernel.lines().find(|line| line.contains(&format!("via {via} ")));
                hop.is_some_and(|hop| hop.contains(&format!("weight {weight} ")))
            };
            holds(hops.into_iter().all(is_there), &kernel)?;
            let list = json(linnet, &["linnet", "route", "list", "-o", "json"])?;
            let route =
                list["routes"].as_array().into_iter().flatten().find(|route| route["prefix"] == prefix).cloned();
            let route = route.unwrap_or_default();
            let weights: Vec<_> =
                route["next_hops"].as_array().into_iter().flatten().map(|hop| hop["weight"].as_u64()).collect();
            holds(weights == hops.map(|(_, weight)| Some(weight)) && route["installed"] == true, &route)
        });
    }
}

fn communities_of_all_kinds_are_matched_and_removed(lab: &Lab) {
    let linnet = lab.node("linnet").unwrap();
    for (router, prefix, left) in [
        ("BIRD", "192.0.2.0/25", serde_json::json!(["64512:1", "65003:7:1", "soo:64512:5"])),
        ("FRR", "192.0.3.0/25", serde_json::json!(["65001:7:1"])),
    ] {
        wait(lab, &format!("{router}'s route behind the import filter"), || {
            let paths = routes(linnet, &[prefix])?;
            let path = paths.first().cloned().unwrap_or_default();
            holds(path["local_pref"] == 150 && path["weight"] == 7, &path)?;
            holds(path["communities"] == left, &path)
        });
    }
}

/// Each rule of the filter adds a community of its own, so that a route says which of them it met: origin 1, MED 2, next hop 3, length
/// of the AS path 4, origin AS 5, family 6, neighbour AS 101 or 103.
fn each_condition_holds_for_the_one_route_that_it_is_for(lab: &Lab) {
    for (peer, routes, prefix6, neighbor) in [
        ("frr-conditions", "100.65", "fd00:65::/48", "64512:101"),
        ("bird-conditions", "100.64", "fd00:64::/48", "64512:103"),
    ] {
        let expected: [(String, &[&str]); 6] = [
            (format!("{routes}.0.0/24"), &[]),
            (format!("{routes}.1.0/24"), &["64512:1"]),
            (format!("{routes}.2.0/24"), &["64512:2"]),
            (format!("{routes}.3.0/24"), &["64512:3"]),
            (format!("{routes}.4.0/24"), &["64512:4", "64512:5"]),
            (prefix6.to_owned(), &["64512:6"]),
        ];
        for (prefix, met) in expected {
            wait(lab, &format!("what {prefix} of {peer} meets"), || {
                let path = path(lab, &prefix, peer)?;
                holds(path["communities"] == serde_json::json!([met, &[neighbor]].concat()), &path)
            });
        }
    }
}

/// On import and on export: the routes have a community of each of two kinds, and the one that is put in place is of the first.
fn what_we_put_in_place_of_next_hop_and_communities_counts_here_and_reaches_both(lab: &Lab) {
    let [linnet, frr, bird] = ["linnet", "frr-a", "bird"].map(|name| lab.node(name).unwrap());
    for (peer, prefix, next_hop, left) in [
        ("frr-conditions", "100.65.5.0/24", "10.2.1.3", ["64512:9", "64512:101", "65001:5:5"]),
        ("bird-conditions", "100.64.5.0/24", "10.2.3.3", ["64512:9", "64512:103", "65003:5:5"]),
    ] {
        wait(lab, &format!("{prefix} with another next hop, and its large community alone"), || {
            let path = path(lab, prefix, peer)?;
            holds(path["next_hop"] == next_hop && path["communities"] == serde_json::json!(left), &path)?;
            let kernel = shell(linnet, &format!("ip route show {prefix}"))?;
            holds(kernel.contains(&format!("via {next_hop} ")), kernel)
        });
    }
    wait(lab, "BIRD's route at FRR", || {
        let seen = json(frr, &["vtysh", "-c", "show bgp ipv4 unicast 100.64.5.0/24 json"])?;
        let paths = seen["paths"].as_array().cloned().unwrap_or_default();
        let path = paths.iter().find(|path| path["peer"]["peerId"] == "10.2.1.1").cloned().unwrap_or_default();
        holds(path["nexthops"][0]["ip"] == "10.2.1.5" && path["community"]["string"] == "64512:200", &seen)?;
        holds(path["largeCommunity"]["string"] == "65003:5:5", &path)
    });
    wait(lab, "FRR's route at BIRD", || {
        let seen = shell(bird, "birdc show route 100.65.5.0/24 table one_by_one all")?;
        let lines = ["BGP.next_hop: 10.2.3.5", "BGP.community: (64512,200)", "BGP.large_community: (65001, 5, 5)"];
        holds(lines.iter().all(|line| seen.lines().any(|seen| seen.trim() == *line)), &seen)
    });
}

fn an_as_path_pattern_rejects_and_says_so(lab: &Lab) {
    let linnet = lab.node("linnet").unwrap();
    wait(lab, "what the AS-path pattern rejects", || {
        let paths = routes(linnet, &["192.0.2.128/25", "--rejected"])?;
        let path = paths.first().cloned().unwrap_or_default();
        holds(path["as_path"] == "65003 65031 65030", &path)?;
        holds(path["reason"] == "rejected by import filter \"from-bird\", rule 2", &path)
    });
}

fn what_we_set_reaches_bird(lab: &Lab) {
    let bird = lab.node("bird").unwrap();
    wait(lab, "BIRD's view of our route", || {
        let seen = bird.shell("birdc show route 10.244.9.0/24 all").map_err(|error| error.to_string())?;
        holds(seen.contains("BGP.as_path: 64512 64999") && seen.contains("BGP.origin: Incomplete"), &seen)?;
        holds(seen.contains("BGP.med: 30"), &seen)?;
        holds(seen.contains("BGP.community: (64512,77)"), &seen)?;
        holds(seen.contains("BGP.large_community: (64512, 7, 7)"), &seen)?;
        // 25 Gbit/s are 3.125e9 octets a second, in four octets of floating point.
        holds(seen.contains("(rt, 64512, 7)") && seen.contains("(unknown 0x4004, 64512, 1329218487)"), &seen)?;
        // FRR's transitive link bandwidth is passed on, and its AS number is taken out.
        let seen = bird.shell(&format!("birdc show route {SHARED} all")).map_err(|error| error.to_string())?;
        holds(seen.contains("BGP.as_path: 64512\n") && seen.contains("BGP.origin: EGP"), &seen)
    });
}

fn what_we_set_reaches_frr(lab: &Lab) {
    let frr = lab.node("frr-a").unwrap();
    wait(lab, "FRR's view of our route", || {
        let seen = json(frr, &["vtysh", "-c", "show bgp ipv4 unicast 10.244.9.0/24 json"])?;
        let path = &seen["paths"][0];
        holds(path["aspath"]["string"] == "64512 64999" && path["metric"] == 30, &seen)?;
        holds(path["origin"] == "incomplete", &seen)?;
        holds(path["community"]["string"] == "64512:77", &seen)?;
        holds(path["largeCommunity"]["string"] == "64512:7:7", &seen)?;
        let extended = path["extendedCommunity"]["string"].as_str().unwrap_or_default();
        // In octets a second, what four octets of floating point hold of 3.125e9.
        holds(extended.contains("RT:64512:7") && extended.contains("LB:64512:3124999936 "), &seen)
    });
}

fn a_blackhole_of_either_kind_of_router_is_in_the_kernel_and_goes_no_further(lab: &Lab) {
    a_blackhole_of_frrs_goes_to_nobody(lab);
    let (linnet, frr) = (lab.node("linnet").unwrap(), lab.node("frr-a").unwrap());
    wait(lab, "the blackhole", || {
        let kernel = linnet.shell("ip route show 203.0.113.9").map_err(|error| error.to_string())?;
        holds(kernel.starts_with("blackhole 203.0.113.9"), &kernel)?;
        let paths = routes(linnet, &["203.0.113.9/32"])?;
        let path = paths.first().cloned().unwrap_or_default();
        holds(path["communities"] == serde_json::json!(["65535:666", "65535:65281"]), &path)?;
        // By then FRR has BIRD's other route, without BIRD's AS number.
        let other = json(frr, &["vtysh", "-c", "show bgp ipv4 unicast 192.0.2.0/25 json"])?;
        let path = &other["paths"][0];
        holds(path["aspath"]["string"] == "64512" && path["origin"] == "EGP", &other)?;
        let seen = frr.shell("vtysh -c 'show bgp ipv4 unicast 203.0.113.9/32'").map_err(|error| error.to_string())?;
        holds(!seen.contains("64512"), &seen)
    });
}

fn a_blackhole_of_frrs_goes_to_nobody(lab: &Lab) {
    let (linnet, bird) = (lab.node("linnet").unwrap(), lab.node("bird").unwrap());
    wait(lab, "FRR's blackhole", || {
        let kernel = linnet.shell("ip route show 203.0.113.77").map_err(|error| error.to_string())?;
        holds(kernel.starts_with("blackhole 203.0.113.77"), &kernel)?;
        // By then BIRD has FRR's other route.
        let other = bird.shell(&format!("birdc show route {SHARED} all")).map_err(|error| error.to_string())?;
        holds(other.contains("BGP.as_path"), &other)?;
        let seen =
            bird.shell("birdc show route 203.0.113.77/32 all 2>&1 || true").map_err(|error| error.to_string())?;
        holds(!seen.contains("BGP.as_path"), &seen)
    });
}

fn a_filter_explains_itself(lab: &Lab) {
    let linnet = lab.node("linnet").unwrap();
    let test = ["linnet", "bgp", "filter", "test", "from-bird", "192.0.2.0/25", "-o", "json"];
    let from_rib = json(linnet, &[&test[..], &["--from-rib"]].concat()).unwrap();
    let trace = &from_rib["routes"][0];
    assert_eq!((&trace["accepted"], &trace["rule"]), (&Value::from(true), &Value::from(4)), "{from_rib}");
    assert_eq!(trace["rules"][2]["matches"], true, "{from_rib}");
    assert_eq!(trace["result"]["local_pref"], 150, "{from_rib}");
    let told = answer(linnet, &[&test[..], &["--as-path", "65003 65030", "--peer", "bird"]].concat()).unwrap();
    let trace = &told["routes"][0];
    assert_eq!((&trace["accepted"], &trace["rule"]), (&Value::from(false), &Value::from(2)), "{told}");
    assert_eq!(trace["rules"][1]["checks"][0]["found"], "65003 65030", "{told}");
    what_a_peer_would_be_sent_is_judged_with_all_that_is_on_the_way_to_it(linnet);
    let status = linnet.exec(&["linnet", "bgp", "filter", "test", "form-bird", "192.0.2.0/25"]).unwrap();
    assert!(status.stderr.contains("did you mean \"from-bird\"?"), "{status:?}");
    let list = json(linnet, &["linnet", "bgp", "filter", "list", "-o", "json"]).unwrap();
    assert_eq!(list["filters"][1]["imports"], serde_json::json!(["bird"]), "{list}");
}

fn what_a_peer_would_be_sent_is_judged_with_all_that_is_on_the_way_to_it(linnet: &Node) {
    let test = |filter: &str, prefix: &str, to: &str| {
        let command = ["linnet", "bgp", "filter", "test", filter, prefix, "--from-rib", "--to", to, "-o", "json"];
        answer(linnet, &command).unwrap()
    };
    let told = test("to-bird", "10.244.9.0/24", "bird");
    let advertised = routes(linnet, &["10.244.9.0/24", "--advertised", "bird"]).unwrap();
    let keys = ["next_hop", "as_path", "med", "communities"];
    let of = |route: &Value| keys.map(|key| route[key].clone());
    assert_eq!(of(&told["routes"][0]["sent"]), of(&advertised[0]), "{told}\n{advertised:?}");
    // Not by BIRD itself, which sent it, nor the blackhole by anybody: its community keeps it in this AS.
    let back = test("everything", "192.0.2.0/25", "bird");
    assert_eq!(back["routes"][0]["withheld"], "it was learned from this peer", "{back}");
    let blackhole = test("everything", "203.0.113.9/32", "frr-a");
    let trace = &blackhole["routes"][0];
    assert_eq!((&trace["accepted"], &trace["sent"]), (&Value::from(true), &Value::Null), "{blackhole}");
    assert_eq!(trace["withheld"], "community no-export", "{blackhole}");
    // One that is described, by what the session with FRR has agreed on.
    for (arguments, status, said) in [
        (
            ["everything", "10.2.0.0/16", "--source=local", "--to=frr-a"],
            0,
            "next hop 10.1.1.1, as-path 64512, origin igp",
        ),
        (["everything", "203.0.113.9/32", "--from-rib", "--to=frr-a"], 1, "not sent to frr-a: community no-export"),
        (["everything", "203.0.113.9/32", "--from-rib", "--to=fr-a"], 1, "did you mean \"frr-a\"?"),
    ] {
        let output = linnet.exec(&[&["linnet", "bgp", "filter", "test"][..], &arguments].concat()).unwrap();
        assert_eq!(output.status, Some(status), "{output:?}");
        assert!(format!("{}{}", output.stdout, output.stderr).contains(said), "{said}: {output:?}");
    }
}
