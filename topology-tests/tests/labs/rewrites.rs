//! What each neighbour is shown of a path, and how often it is asked to talk: the keys of a peer, each seen at FRR and at BIRD
//! (`labs/rewrites.clab.yml`). Needs root.
//!
//! One lab for all of it: to start it takes as long as all else.

#![allow(clippy::unwrap_used, reason = "the panic of a test is its verdict")]

use serde_json::Value;
use topology_tests::expect::{holds, json, up, wait};
use topology_tests::lab::Lab;
use topology_tests::words::neighbor;

/// By GoBGP, on the subnet of all; private numbers stand among public ones.
const MIXED: &str = "198.18.1.0/24";
/// Private numbers alone.
const PRIVATE: &str = "198.18.2.0/24";
/// As the first, by a next hop behind GoBGP.
const BEHIND: &str = "198.18.3.0/24";
const BEHIND_GOBGP: &str = "192.0.2.77";
const GOBGP: &str = "10.6.0.5";

/// Each router has three sessions with us, each to another of our addresses.
const SESSIONS: [(&str, &str); 3] = [("one", "10.6.0.1"), ("two", "10.6.0.11"), ("three", "10.6.0.21")];
const ROUTERS: [&str; 2] = ["frr", "bird"];

/// AS path and next hop of a prefix as a router has it by one of its sessions.
fn seen(lab: &Lab, router: &str, (session, ours): (&str, &str), prefix: &str) -> Result<(String, String), String> {
    let node = lab.node(router).unwrap();
    if router == "frr" {
        let shown = json(node, &["vtysh", "-c", &format!("show bgp ipv4 unicast {prefix} json")])?;
        let mut paths = shown["paths"].as_array().into_iter().flatten();
        let path = paths.find(|path| path["peer"]["peerId"] == ours).ok_or_else(|| format!("no path: {shown}"))?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        return Ok((text(&path["aspath"]["string"]), text(&path["nexthops"][0]["ip"])));
    }
    let shown = node.shell(&format!("birdc show route {prefix} protocol {session} all 2>&1 || true")).unwrap();
    let value = |key: &str| {
        let line = shown.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(": "));
        line.map(str::to_owned).ok_or_else(|| format!("no {key}: {shown}"))
    };
    Ok((value("BGP.as_path")?, value("BGP.next_hop")?))
}

#[test]
fn each_neighbour_is_shown_paths_as_its_keys_say_by_two_routers_accounts() {
    let lab = up("rewrites");
    for router in ROUTERS {
        for (session, _) in SESSIONS {
            let name = format!("{router}-{session}");
            wait(&lab, &format!("the session {name}"), || {
                let shown = neighbor(&lab, &name)?;
                holds(shown["state"] == "Established", &shown)
            });
        }
    }
    the_smaller_hold_time_holds(&lab);
    announce(&lab);
    private_numbers_go_and_ours_come(&lab);
    next_hops_are_ours_or_the_ones_that_came(&lab);
    a_local_number_stands_in_front_of_what_is_received_too(&lab);
    our_own_number_may_come_back_so_often(&lab);
    who_does_not_answer_is_asked_again_as_often_as_its_key_says(&lab);
    who_is_refused_rests_as_long_as_its_key_says(&lab);
}

/// RFC 4271 section 4.2. Of session one ours is the smaller, of session two theirs.
fn the_smaller_hold_time_holds(lab: &Lab) {
    for (session, (_, ours), seconds) in [("one", SESSIONS[0], 12), ("two", SESSIONS[1], 15)] {
        let shown =
            json(lab.node("frr").unwrap(), &["vtysh", "-c", &format!("show bgp neighbors {ours} json")]).unwrap();
        assert_eq!(shown[ours]["bgpTimerHoldTimeMsecs"], seconds * 1000, "{session} at FRR");
        let shown = lab.node("bird").unwrap().shell(&format!("birdc show protocols all {session}")).unwrap();
        let timer = shown.lines().find(|line| line.trim().starts_with("Hold timer:")).unwrap_or(&shown);
        assert!(timer.ends_with(&format!("/{seconds}")), "{session} at BIRD: {timer}");
        for router in ROUTERS {
            let shown = neighbor(lab, &format!("{router}-{session}")).unwrap();
            assert_eq!(shown["hold_time_seconds"], seconds, "{router}-{session}: {shown}");
        }
    }
}

fn announce(lab: &Lab) {
    let gobgp = lab.node("gobgp").unwrap();
    wait(lab, "the session with GoBGP", || holds(neighbor(lab, "gobgp")?["state"] == "Established", "GoBGP"));
    for route in [
        format!("{MIXED} aspath 64513,3356,4200000001"),
        format!("{PRIVATE} aspath 64513,64514"),
        format!("{BEHIND} aspath 3356 nexthop {BEHIND_GOBGP}"),
    ] {
        gobgp.shell(&format!("gobgp global rib add {route}")).unwrap();
    }
}

/// `remove-private-asn` (RFC 6996) all, replace and yes; `local-asn` (RFC 7705) with our real number behind it, and alone.
fn private_numbers_go_and_ours_come(lab: &Lab) {
    for (session, mixed, private) in [
        (SESSIONS[0], "64500 3356", "64500"),
        (SESSIONS[1], "64999 64500 64999 64999 3356 64999", "64999 64500 64999 64999 64999"),
        (SESSIONS[2], "64998 65010 64513 3356 4200000001", "64998"),
    ] {
        for router in ROUTERS {
            wait(lab, &format!("{router} to be shown paths by session {}", session.0), || {
                let (first, second) = (seen(lab, router, session, MIXED)?.0, seen(lab, router, session, PRIVATE)?.0);
                holds(first == mixed && second == private, (first, second))
            });
        }
    }
}

/// `next-hop` self, unchanged and auto (RFC 4271 section 5.1.3).
fn next_hops_are_ours_or_the_ones_that_came(lab: &Lab) {
    for (session, on_subnet, behind) in [
        (SESSIONS[0], SESSIONS[0].1, SESSIONS[0].1),
        (SESSIONS[1], GOBGP, BEHIND_GOBGP),
        (SESSIONS[2], GOBGP, SESSIONS[2].1),
    ] {
        for router in ROUTERS {
            wait(lab, &format!("{router} to be sent to whom session {} says", session.0), || {
                let (first, second) = (seen(lab, router, session, MIXED)?.1, seen(lab, router, session, BEHIND)?.1);
                holds(first == on_subnet && second == behind, (first, second))
            });
        }
    }
}

/// A peer's path to a prefix, or why it is rejected.
fn received(lab: &Lab, prefix: &str, peer: &str) -> Result<Value, String> {
    let node = lab.node("linnet").unwrap();
    for arguments in
        [&["linnet", "bgp", "routes", "-o", "json"][..], &["linnet", "bgp", "routes", "--rejected", "-o", "json"]]
    {
        // Exit status 1 says that there are none.
        let said = node.exec(arguments).map_err(|error| error.to_string())?;
        let shown: Value = serde_json::from_str(&said.stdout).map_err(|error| format!("{error}: {said:?}"))?;
        let mut routes = shown["routes"].as_array().into_iter().flatten();
        if let Some(route) = routes.find(|route| route["prefix"] == prefix && route["peer"] == peer) {
            return Ok(route.clone());
        }
    }
    Err(format!("nothing of {peer}'s to {prefix}"))
}

/// `local-asn-prepend = "both"`, and without.
fn a_local_number_stands_in_front_of_what_is_received_too(lab: &Lab) {
    for (router, prefix, asn) in [("frr", "198.18.20.0/24", 65001), ("bird", "198.18.30.0/24", 65002)] {
        for (session, path) in [("two", format!("64999 {asn}")), ("three", asn.to_string())] {
            wait(lab, &format!("{router}'s own path by session {session}"), || {
                let shown = received(lab, prefix, &format!("{router}-{session}"))?;
                holds(shown["as_path"] == path, &shown)
            });
        }
    }
}

/// `allow-as-in = 1`, which counts the number that the peer knows us by.
fn our_own_number_may_come_back_so_often(lab: &Lab) {
    for (router, once, twice) in
        [("frr", "198.18.21.0/24", "198.18.22.0/24"), ("bird", "198.18.31.0/24", "198.18.32.0/24")]
    {
        let peer = format!("{router}-three");
        wait(lab, &format!("{router}'s path with our number once, and not twice"), || {
            let (once, twice) = (received(lab, once, &peer)?, received(lab, twice, &peer)?);
            holds(once["best"] == true, &once)?;
            holds(twice["reason"] == "rejected: our own AS is in the AS path", &twice)
        });
    }
}

/// Counts our attempts to connect to an address from now on, where they arrive.
fn count_attempts(lab: &Lab, node: &str, address: &str) {
    let count = format!(
        "nft add table ip count; nft add chain ip count in '{{ type filter hook input priority 0; }}'
         nft add rule ip count in ip daddr {address} tcp dport '{{ 179, 1799 }}' tcp flags syn / syn,ack counter"
    );
    lab.node(node).unwrap().shell(&count).unwrap();
}

/// What was counted, in the order of the addresses.
fn attempts(lab: &Lab, node: &str) -> Result<Vec<u64>, String> {
    let shown = json(lab.node(node).unwrap(), &["nft", "-j", "list", "chain", "ip", "count", "in"])?;
    let rules = shown["nftables"].as_array().into_iter().flatten().filter_map(|it| it["rule"]["expr"].as_array());
    let packets = |rule: &Vec<Value>| rule.iter().find_map(|part| part["counter"]["packets"].as_u64());
    Ok(rules.filter_map(packets).collect())
}

/// `connect-retry`.
fn who_does_not_answer_is_asked_again_as_often_as_its_key_says(lab: &Lab) {
    for address in ["10.6.0.6", "10.6.0.7"] {
        count_attempts(lab, "gobgp", address);
    }
    wait(lab, "many attempts to connect to one, and few to the other", || {
        let counts = attempts(lab, "gobgp")?;
        let [often, rarely] = counts[..] else { return Err(format!("{counts:?}")) };
        assert!(rarely <= 4, "{rarely} attempts where {often} were made in the same time");
        holds(often >= 12, (often, rarely))
    });
}

/// `idle-hold-time`: two seconds, then four, then five, the longest wait between attempts; and a minute.
fn who_is_refused_rests_as_long_as_its_key_says(lab: &Lab) {
    for router in ROUTERS {
        let shown = neighbor(lab, &format!("{router}-refused")).unwrap();
        assert!(shown["last_error"].as_str().unwrap_or_default().contains("Bad Peer AS"), "{shown}");
    }
    count_attempts(lab, "frr", "10.6.0.32");
    count_attempts(lab, "bird", "10.6.0.33");
    wait(lab, "one that is refused to be asked again, and the other to rest", || {
        let (short, long) = (attempts(lab, "frr")?[0], attempts(lab, "bird")?[0]);
        assert!(long <= 1, "{long} attempts where {short} were made in the same time");
        holds(short >= 4, (short, long))
    });
}
