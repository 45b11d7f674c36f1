//! One host beside FRR, BIRD and OpenBGPD: keys, TTLs, filters, dynamic peers, and restarts on either side; with addresses and
//! prefixes of IPv4 (`labs/routers.clab.yml`), and of IPv6 (`labs/routers-ipv6.clab.yml`). Needs root.
//!
//! One lab for all of it, in an order that leaves what comes later as it was: to start it takes as long as all else.

#![allow(clippy::unwrap_used, reason = "the panic of a test is its verdict")]

use std::ops::Deref;

use serde_json::{Value, json};
use topology_tests::expect::{holds, json, up, wait};
use topology_tests::lab::{Lab, Node};
use topology_tests::watch::Watch;
use topology_tests::words::{established, neighbor, reload, routes};

/// A lab, and what its addresses and prefixes are in its family.
struct Routers {
    lab: Lab,
    family: &'static str,
    /// Linnet's own prefix, FRR's, BIRD's, OpenBGPD's, and one of FRR's that nobody wants.
    ours: &'static str,
    of_frr: &'static str,
    of_bird: &'static str,
    of_openbgpd: &'static str,
    unwanted: &'static str,
    /// An aggregate of Linnet's, and what BIRD has inside of it.
    aggregate: &'static str,
    inside: [&'static str; 2],
    /// What stands before the number of a link, and between that and the number of an end of it.
    link: [&'static str; 2],
    /// What stands before the number of a node.
    loopback: &'static str,
}

impl Routers {
    fn ipv4() -> Self {
        Self {
            lab: up("routers"),
            family: "ipv4",
            ours: "10.244.9.0/24",
            of_frr: "198.51.100.0/24",
            of_bird: "192.0.2.0/24",
            of_openbgpd: "192.0.2.0/25",
            unwanted: "203.0.113.0/24",
            aggregate: "100.64.0.0/16",
            inside: ["100.64.1.0/24", "100.64.2.0/24"],
            link: ["10.1.", "."],
            loopback: "10.255.0.",
        }
    }

    fn ipv6() -> Self {
        Self {
            lab: up("routers-ipv6"),
            family: "ipv6",
            ours: "fd00:244:9::/64",
            of_frr: "2001:db8:51::/48",
            of_bird: "2001:db8:2::/48",
            of_openbgpd: "2001:db8:2::/49",
            unwanted: "2001:db8:113::/48",
            aggregate: "2001:db8:6400::/40",
            inside: ["2001:db8:6401::/48", "2001:db8:6402::/48"],
            link: ["fd00:1:", "::"],
            loopback: "fd00:255::",
        }
    }

    fn address(&self, link: u8, end: u8) -> String {
        format!("{}{link}{}{end}", self.link[0], self.link[1])
    }

    fn loopback(&self, node: u8) -> String {
        format!("{}{node}", self.loopback)
    }

    /// The kernel's routes to a prefix, or by a protocol.
    fn kernel(&self, node: &Node, of: &str) -> String {
        let option = if self.family == "ipv4" { "-4" } else { "-6" };
        node.shell(&format!("ip {option} route show {of}")).unwrap()
    }

    fn at_frr(&self, frr: &Node, prefix: &str) -> Result<Value, String> {
        json(frr, &["vtysh", "-c", &format!("show bgp {} unicast {prefix} json", self.family)])
    }
}

impl Deref for Routers {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.lab
    }
}

/// A peer as `linnet bgp summary` shows it.
fn peer(node: &Node, name: &str) -> Result<Value, String> {
    let summary = json(node, &["linnet", "bgp", "summary", "-o", "json"])?;
    let peer = summary["peers"].as_array().into_iter().flatten().find(|peer| peer["name"] == name);
    peer.cloned().ok_or_else(|| summary.to_string())
}

#[test]
fn a_host_beside_frr_bird_and_openbgpd() {
    all_of_it(&Routers::ipv4());
}

#[test]
fn a_host_beside_frr_bird_and_openbgpd_with_ipv6_alone() {
    all_of_it(&Routers::ipv6());
}

fn all_of_it(lab: &Routers) {
    keys_ttls_and_multihop_let_sessions_up(lab);
    a_wrong_key_is_told_as_what_it_may_be(lab);
    routers_that_send_with_a_low_ttl_are_not_heard_until_they_have_gtsm(lab);
    a_dynamic_peer_has_a_session_and_the_limit_holds(lab);
    filters_change_what_frr_and_linnet_see(lab);
    an_aggregate_of_either_family_stands_for_what_is_inside(lab);
    filters_that_are_reloaded_change_what_all_see_under_running_sessions(lab);
    capabilities_that_are_switched_off_are_not_announced(lab);
    refreshes_with_frr_and_bird_have_marks_and_cost_nothing(lab);
    a_md5_key_changes_under_running_sessions(lab);
    a_router_that_resets_for_its_new_key_finds_ours_changed(lab);
    a_disabled_peer_is_told_why_and_comes_back_when_it_is_enabled(lab);
    routers_forward_to_a_host_whose_daemon_is_killed_and_started_again(lab);
    for (router, daemon, prefix, link, seconds) in
        [("frr", "bgpd", lab.of_frr, 1, 60), ("bird", "bird", lab.of_bird, 2, 15)]
    {
        let next_hop = lab.address(link, 2);
        a_router_that_restarts_keeps_its_routes_in_our_kernel(lab, (router, daemon, prefix, &next_hop, seconds));
    }
    a_router_that_does_not_come_back_loses_its_routes_when_its_time_is_over(lab);
}

fn keys_ttls_and_multihop_let_sessions_up(lab: &Routers) {
    established(lab, &["frr", "bird", "frr-multihop", "bird-multihop"]);
}

/// The kernel drops what has another key without a word, so all that can be said is that nobody answers, and why that is.
fn a_wrong_key_is_told_as_what_it_may_be(lab: &Routers) {
    let linnet = lab.node("linnet").unwrap();
    wait(lab, "what the peer with the wrong key is told as", || {
        let peer = peer(linnet, "frr-wrong-key")?;
        let said = peer["last_error"].as_str().unwrap_or_default();
        let attempt = format!("{} port 179: no answer", lab.address(4, 2));
        holds(said.contains(&attempt) && said.contains("MD5"), &peer)?;
        holds(peer["state"] != "Established", &peer)
    });
}

/// RFC 5082 section 3: they answer with a TTL of 1, and the kernel lets nothing of that through.
fn routers_that_send_with_a_low_ttl_are_not_heard_until_they_have_gtsm(lab: &Routers) {
    let [linnet, frr, bird] = ["linnet", "frr", "bird"].map(|name| lab.node(name).unwrap());
    let dropped = || {
        let seen = linnet.shell("nstat -az TcpExtTCPMinTTLDrop | tail -1").unwrap();
        seen.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let names = ["frr-low-ttl", "bird-low-ttl"];
    bird.shell("birdc enable linnet_low_ttl").unwrap();
    for name in names {
        let before = dropped();
        wait(lab, &format!("{name} to have our OPEN, and us to hear nothing"), || {
            let shown = neighbor(linnet, name)?;
            let kinds = shown["messages"].as_array().cloned().unwrap_or_default();
            let open = kinds.iter().find(|kind| kind["kind"] == "OPEN").cloned().unwrap_or_default();
            holds(
                open["sent"].as_u64() >= Some(1) && open["received"] == 0 && shown["times_established"] == 0,
                &shown,
            )?;
            holds(dropped() > before, before)
        });
    }
    let frr_does = |line: &str| {
        let line = format!("neighbor {} {line}", lab.address(5, 1));
        frr.exec(&["vtysh", "-c", "conf t", "-c", "router bgp 65001", "-c", &line]).unwrap().checked().unwrap();
    };
    let other = "sed 's/ttl security off/ttl security on/; /disabled yes/d' /etc/bird/bird.conf > /run/gtsm.conf";
    frr_does("ttl-security hops 1");
    bird.shell(&format!("{other} && birdc configure '\"/run/gtsm.conf\"'")).unwrap();
    established(lab, &names);
    // They are in nobody's way any more.
    frr_does("shutdown");
    bird.shell("birdc disable linnet_low_ttl").unwrap();
    for name in names {
        linnet.exec(&["linnet", "bgp", "disable", name]).unwrap().checked().unwrap();
    }
}

fn a_dynamic_peer_has_a_session_and_the_limit_holds(lab: &Routers) {
    let (linnet, openbgpd) = (lab.node("linnet").unwrap(), lab.node("openbgpd").unwrap());
    established(lab, &[&format!("rack/{}", lab.address(3, 2))]);
    wait(lab, "OpenBGPD's route and ours, each at the other", || {
        let theirs = routes(linnet, &[lab.of_openbgpd])?;
        holds(theirs.iter().any(|route| route["best"] == true && route["as_path"] == "65003"), theirs)?;
        let ours = openbgpd.shell("bgpctl show rib").unwrap();
        holds(ours.contains(lab.ours) && ours.contains(lab.of_frr), ours)
    });
}

fn filters_change_what_frr_and_linnet_see(lab: &Routers) {
    let (linnet, frr) = (lab.node("linnet").unwrap(), lab.node("frr").unwrap());
    wait(lab, "FRR's view of our route", || {
        let route = lab.at_frr(frr, lab.ours)?;
        let path = &route["paths"][0];
        holds(path["aspath"]["string"] == "64512 64512 64512", path)?;
        // FRR 8.4 shows a MED as `metric`, later versions as `med` too.
        holds(path["metric"] == 50 || path["med"] == 50, path)?;
        holds(path["community"]["string"] == "64512:77", path)?;
        holds(path["largeCommunity"]["string"] == "64512:7:7", path)?;
        let nexthops = path["nexthops"].as_array().into_iter().flatten();
        holds(nexthops.into_iter().any(|hop| hop["ip"] == lab.address(1, 1)), path)
    });
    wait(lab, "our view of FRR's route beside BIRD's", || {
        let paths = routes(linnet, &[lab.of_frr])?;
        let of = |peer: &str| paths.iter().find(|path| path["peer"] == peer).cloned().unwrap_or_default();
        let (frr, bird) = (of("frr"), of("bird"));
        holds(frr["best"] == true && frr["local_pref"] == 200 && frr["med"] == 7, &paths)?;
        holds(frr["communities"] == serde_json::json!(["64512:1"]), &frr)?;
        holds(bird["reason"] == "lost at 2 local-pref: 100 < 200", &bird)
    });
    wait(lab, "the route that the filter rejects, with the reason", || {
        let rejected = routes(linnet, &["--rejected"])?;
        let found = rejected.iter().find(|route| route["prefix"] == lab.unwanted);
        let reason = found.and_then(|route| route["reason"].as_str()).unwrap_or_default();
        holds(reason.contains("filter") && reason.contains("from-frr"), &rejected)
    });
}

/// With `summary-only`; `neighbors.rs` has all that is said of one.
fn an_aggregate_of_either_family_stands_for_what_is_inside(lab: &Routers) {
    let [linnet, frr, bird, openbgpd] = ["linnet", "frr", "bird", "openbgpd"].map(|name| lab.node(name).unwrap());
    let at_openbgpd = |prefix: &str| openbgpd.shell(&format!("bgpctl show rib detail {prefix} 2>&1 || true")).unwrap();
    let is_there = |prefix: &str| at_openbgpd(prefix).contains("Last update");
    bird.shell("birdc enable inside").unwrap();
    wait(lab, "FRR and OpenBGPD to have the aggregate, and nothing of what is inside", || {
        let seen = lab.at_frr(frr, lab.aggregate)?;
        let path = &seen["paths"][0];
        holds(path["atomicAggregate"] == true && path["aggregatorAs"] == 64512, &seen)?;
        let seen = at_openbgpd(lab.aggregate);
        holds(is_there(lab.aggregate) && seen.contains("64512") && !seen.contains("65002"), seen)?;
        for inside in lab.inside {
            holds(!is_there(inside) && lab.at_frr(frr, inside)?["paths"].is_null(), inside)?;
        }
        Ok(())
    });
    wait(lab, "our kernel to have what is inside, and to refuse the rest", || {
        let routes = lab.kernel(linnet, "proto 76");
        holds(routes.contains(&format!("unreachable {}", lab.aggregate)), &routes)?;
        holds(lab.inside.iter().all(|inside| routes.contains(&format!("{inside} "))), &routes)
    });
    bird.shell("birdc disable inside").unwrap();
    wait(lab, "the aggregate to go with its last contributor", || {
        holds(lab.at_frr(frr, lab.aggregate)?["paths"].is_null() && !is_there(lab.aggregate), "it is there")?;
        let routes = lab.kernel(linnet, "proto 76");
        holds(!routes.contains(lab.aggregate) && lab.inside.iter().all(|inside| !routes.contains(inside)), &routes)
    });
}

/// Import and export filters of both, without a reset, and without asking anybody to say again what was rejected (what comes
/// in is kept as it came).
fn filters_that_are_reloaded_change_what_all_see_under_running_sessions(lab: &Routers) {
    let (of_frr, of_bird, unwanted, ours_1) = (lab.of_frr, lab.of_bird, lab.unwanted, lab.address(1, 1));
    let kernel = |node: &Node, prefix: &str| lab.kernel(node, prefix);
    let [linnet, frr, bird] = ["linnet", "frr", "bird"].map(|name| lab.node(name).unwrap());
    let sessions = || {
        let ours = ["frr", "bird"].map(|name| {
            let shown = neighbor(linnet, name).unwrap();
            let kinds = shown["messages"].as_array().cloned().unwrap_or_default();
            let refreshes = kinds.iter().find(|kind| kind["kind"] == "ROUTE-REFRESH").cloned().unwrap_or_default();
            [shown["times_established"].clone(), refreshes["sent"].clone()]
        });
        let at_frr = json(frr, &["vtysh", "-c", &format!("show bgp neighbors {ours_1} json")]).unwrap();
        let at_bird = bird.shell("birdc show protocols linnet | tail -1").unwrap();
        // When it came up is the fifth word.
        let since = at_bird.split_whitespace().nth(4).map(str::to_owned);
        (ours, at_frr[&ours_1]["connectionsEstablished"].clone(), since)
    };
    let uptimes = || ["frr", "bird"].map(|name| neighbor(linnet, name).unwrap()["uptime_seconds"].as_u64().unwrap());
    let change = |script: &str, changed: &str| {
        let said = reload(linnet, script).unwrap();
        assert!(said.contains(&format!("{changed} changed, in place")), "{said}");
    };
    let at_frr = |med: u64, path: &str| {
        let shown = lab.at_frr(frr, lab.ours)?;
        let seen = &shown["paths"][0];
        holds(seen["aspath"]["string"] == path, &shown)?;
        holds(seen["metric"] == med || seen["med"] == med, &shown)
    };
    let at_bird = |wanted: &str| {
        let seen = bird.shell(&format!("birdc show route {} protocol linnet all 2>&1 || true", lab.ours)).unwrap();
        let (route, kernel) = (seen.contains("BGP.as_path: 64512"), kernel(bird, lab.ours));
        match wanted {
            "nothing" => holds(!route && kernel.is_empty(), (seen, kernel)),
            "plain" => holds(route && !seen.contains("BGP.community") && !kernel.is_empty(), (seen, kernel)),
            mark => holds(route && seen.contains(mark) && !kernel.is_empty(), (seen, kernel)),
        }
    };
    let of = |prefix: &str, peer: &str| {
        let paths = routes(linnet, &[prefix])?;
        Ok::<_, String>(paths.iter().find(|path| path["peer"] == peer).cloned().unwrap_or_default())
    };
    wait(lab, "what BIRD has before", || at_bird("plain"));
    wait(lab, "what of BIRD's is in our kernel before", || holds(!kernel(linnet, of_bird).is_empty(), "nothing"));
    let (before, up) = (sessions(), uptimes());
    linnet.shell("cp /etc/linnet/linnetd.toml /run/before.toml").unwrap();

    change("s/med = 50, prepend = 2/med = 60, prepend = 1/", "peer frr: export");
    wait(lab, "FRR to see another MED and a shorter path", || at_frr(60, "64512 64512"));
    change("/name = \"own\"/,/^$/s/then =/set = { add-community = [\"64512:78\"] }, then =/", "peer bird: export");
    wait(lab, "BIRD to see a community", || at_bird("BGP.community: (64512,78)"));
    change("/name = \"own\"/,/^$/s/^rules.*/rules = [{ then = \"reject\" }]/", "peer bird: export");
    wait(lab, "BIRD to see nothing any more", || at_bird("nothing"));

    // Rejected so far, and known all the same.
    let other = ["s|65001:666|65001:667|", "s|local-pref = 200|local-pref = 300|"];
    let both = format!("s|\"{of_frr}\"\\] }}, set|\"{of_frr}\", \"{unwanted}\"] }}, set|");
    change(&format!("{}; {both}", other.join("; ")), "peer frr: import");
    wait(lab, "another LOCAL_PREF of FRR's route, and the one that was rejected", || {
        for prefix in [of_frr, unwanted] {
            let path = of(prefix, "frr")?;
            holds(path["best"] == true && path["local_pref"] == 300, &path)?;
            holds(kernel(linnet, prefix).contains(&format!("via {}", lab.address(1, 2))), kernel(linnet, prefix))?;
        }
        Ok(())
    });
    change(&format!("/name = \"from-bird\"/,/^$/s|\"{of_bird}\", ||"), "peer bird: import");
    wait(lab, "BIRD's route to be rejected, and the other one to stay", || {
        holds(routes(linnet, &[of_bird])?.is_empty() && kernel(linnet, of_bird).is_empty(), kernel(linnet, of_bird))?;
        let path = of(of_frr, "bird")?;
        holds(path["local_pref"] == 100 || path["local_pref"].is_null(), &path)?;
        let rejected = routes(linnet, &["--rejected", of_bird])?;
        holds(rejected.iter().any(|path| path["peer"] == "bird"), &rejected)
    });

    linnet.shell("mount --bind /run/before.toml /etc/linnet/linnetd.toml").unwrap();
    let said = linnet.shell("linnet reload").unwrap();
    for name in ["frr", "bird"] {
        assert!(said.contains(&format!("peer {name}: import, export changed, in place")), "{said}");
    }
    wait(lab, "everything to be as it was", || {
        at_frr(50, "64512 64512 64512")?;
        at_bird("plain")?;
        holds(of(unwanted, "frr")?.is_null() && kernel(linnet, unwanted).is_empty(), kernel(linnet, unwanted))?;
        holds(of(of_frr, "frr")?["local_pref"] == 200 && of(of_bird, "bird")?["best"] == true, "our view")?;
        holds(!kernel(linnet, of_bird).is_empty(), "the kernel")
    });
    assert_eq!(sessions(), before, "no session was reset, and nobody was asked to say everything again");
    assert!(uptimes().iter().zip(up).all(|(now, before)| *now >= before), "{:?}, before {up:?}", uptimes());
}

/// FRR and BIRD say what we announce to each of two addresses, with the two keys and without.
fn capabilities_that_are_switched_off_are_not_announced(lab: &Routers) {
    let [linnet, frr, bird] = ["linnet", "frr", "bird"].map(|name| lab.node(name).unwrap());
    for (name, on) in [("frr", true), ("bird", true), ("frr-multihop", false), ("bird-multihop", false)] {
        let shown = neighbor(linnet, name).unwrap();
        for wanted in ["enhanced-route-refresh", "extended-messages"] {
            let capability = shown["capabilities"].as_array().into_iter().flatten().find(|one| one["name"] == wanted);
            assert_eq!(capability.unwrap()["sent"], on, "{name}: {shown}");
            // FRR announces both, whatever we do; BIRD has the other one off.
            let theirs = name.starts_with("frr") || wanted == "enhanced-route-refresh";
            assert_eq!(capability.unwrap()["received"], theirs, "{name}: {shown}");
        }
    }
    for (address, on) in [(lab.address(1, 1), true), (lab.loopback(9), false)] {
        let said = json(frr, &["vtysh", "-c", &format!("show bgp neighbors {address} json")]).unwrap();
        for capability in ["enhancedRouteRefresh", "extendedMessage"] {
            let both = said[&address]["neighborCapabilities"][capability] == "advertisedAndReceived";
            assert_eq!(both, on, "{address}: {capability}: {said}");
        }
    }
    for (protocol, on) in [("linnet", true), ("linnet_multihop", false)] {
        let said = bird.shell(&format!("birdc show protocols all {protocol}")).unwrap();
        let (_, ours) = said.split_once("Neighbor capabilities").unwrap();
        for capability in ["Enhanced refresh", "Extended message"] {
            assert_eq!(ours.contains(capability), on, "{protocol}: {capability}: {said}");
        }
    }
}

/// RFC 7313: a soft reset asks both ways, and each answer stands between BoRR and EoRR.
fn refreshes_with_frr_and_bird_have_marks_and_cost_nothing(lab: &Routers) {
    let linnet = lab.node("linnet").unwrap();
    for name in ["frr", "bird"] {
        let neighbor = || -> Result<Value, String> {
            let shown = json(linnet, &["linnet", "bgp", "neighbor", name, "-o", "json"])?;
            Ok(shown["neighbors"][0].clone())
        };
        let before = neighbor().unwrap();
        let capabilities = before["capabilities"].as_array().unwrap();
        let enhanced = capabilities.iter().find(|one| one["name"] == "enhanced-route-refresh").unwrap();
        assert!(enhanced["sent"] == true && enhanced["received"] == true, "{before}");
        let count = |neighbor: &Value| {
            let kinds = neighbor["messages"].as_array().cloned().unwrap_or_default();
            let kind = kinds.into_iter().find(|kind| kind["kind"] == "ROUTE-REFRESH").unwrap_or_default();
            ["sent", "received"].map(|way| kind[way].as_u64().unwrap_or_default())
        };
        let ([sent, received], families) = (count(&before), before["families"].as_array().unwrap().len() as u64);
        linnet.exec(&["linnet", "bgp", "reset", name, "--soft"]).unwrap().checked().unwrap();
        wait(lab, &format!("{name} to answer with BoRR and EoRR, as we do"), || {
            let now = neighbor()?;
            let [now_sent, now_received] = count(&now);
            // A request and two marks of ours, two marks of theirs.
            holds(now_sent >= sent + 3 * families && now_received >= received + 2 * families, &now)
        });
        wait(lab, &format!("all that {name} sent to be fresh"), || {
            let shown = routes(linnet, &["--received", name])?;
            let fresh = shown.iter().filter(|route| route["stale"] == false).count();
            holds(fresh == shown.len() && before["received"] == fresh, &shown)
        });
        let after = neighbor().unwrap();
        assert_eq!(after["times_established"], before["times_established"], "{name}: {after}");
    }
    let frr = lab.node("frr").unwrap();
    let ours = lab.at_frr(frr, lab.ours).unwrap();
    assert_eq!(ours["paths"][0]["valid"], true, "{ours}");
}

/// Gives each TCP connection of a process another MD5 key: `struct tcp_md5sig` of linux/tcp.h, which begins with the peer's
/// address.
const REKEY: &str = r#"
import ctypes, os, socket, struct, sys
pid, key = int(sys.argv[1]), sys.argv[2].encode()
process, changed = os.pidfd_open(pid), 0
for number in os.listdir(f"/proc/{pid}/fd"):
    if not os.readlink(f"/proc/{pid}/fd/{number}").startswith("socket:"):
        continue
    descriptor = ctypes.CDLL(None, use_errno=True).syscall(438, process, int(number), 0)  # pidfd_getfd
    if descriptor < 0:
        sys.exit(f"pidfd_getfd: {os.strerror(ctypes.get_errno())}")
    with socket.socket(fileno=descriptor) as connection:
        if connection.type != socket.SOCK_STREAM or connection.family not in (socket.AF_INET, socket.AF_INET6):
            continue
        try:
            address = socket.inet_pton(connection.family, connection.getpeername()[0])
        except OSError:
            continue
        # The port, and what an address of IPv6 has before it.
        before = bytes(2 if connection.family == socket.AF_INET else 6)
        name = (struct.pack("=H", connection.family) + before + address).ljust(128, bytes(1))
        connection.setsockopt(socket.IPPROTO_TCP, 14, name + struct.pack("=BBHi80s", 0, 0, len(key), 0, key))
        changed += 1
print(changed)
"#;

/// Linnet reads its configuration again, with another key in a file.
fn reload_with_key(linnet: &Node, file: &str, key: &str) -> String {
    let mounted = format!("printf '%s\n' '{key}' > /run/{file} && mount --bind /run/{file} /etc/linnet/{file}");
    linnet.shell(&mounted).unwrap();
    linnet.exec(&["linnet", "reload"]).unwrap().checked().unwrap()
}

/// A router whose key is changed: its daemon, its peers, a prefix of its, and what takes that back and announces it again.
struct Rekeyed<'a> {
    router: &'a str,
    daemon: &'a str,
    names: [&'a str; 2],
    prefix: &'a str,
    withdraw: String,
    announce: String,
}

fn rekeyed(lab: &Routers) -> [Rekeyed<'static>; 2] {
    let frr = |network: &str| {
        let family = format!("address-family {} unicast", lab.family);
        format!("vtysh -c 'conf t' -c 'router bgp 65001' -c '{family}' -c '{network} {}'", lab.of_frr)
    };
    [
        Rekeyed {
            router: "bird",
            daemon: "bird",
            names: ["bird", "bird-multihop"],
            prefix: lab.of_bird,
            withdraw: "birdc disable static1".to_owned(),
            announce: "birdc enable static1".to_owned(),
        },
        Rekeyed {
            router: "frr",
            daemon: "bgpd",
            names: ["frr", "frr-multihop"],
            prefix: lab.of_frr,
            withdraw: frr("no network"),
            announce: frr("network"),
        },
    ]
}

/// BIRD and FRR reset a session whose password changes. Routers that do not are stood in for by each of them with a key that is
/// changed in its kernel: within the hold time, after ours.
fn a_md5_key_changes_under_running_sessions(lab: &Routers) {
    const KEY: &str = "a-new-key";
    let linnet = lab.node("linnet").unwrap();
    for Rekeyed { router, daemon, names, prefix, withdraw, announce } in rekeyed(lab) {
        let node = lab.node(router).unwrap();
        let times = || names.map(|name| neighbor(linnet, name).unwrap()["times_established"].clone());
        let before = times();
        let said = reload_with_key(linnet, &format!("{router}.key"), KEY);
        for name in names {
            assert!(said.contains(&format!("peer {name}: password-file changed, in place")), "{said}");
        }
        let pid = node.pid(daemon).unwrap().to_string();
        let rekeyed = std::process::Command::new("python3").args(["-c", REKEY, &pid, KEY]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&rekeyed.stdout).trim(), "2", "{rekeyed:?}");
        for (change, is_there) in [(withdraw, false), (announce, true)] {
            node.shell(&change).unwrap();
            wait(lab, &format!("a change of {router}'s to come over the session with the new key"), || {
                let paths = routes(linnet, &[prefix])?;
                holds(paths.iter().any(|path| path["peer"] == router) == is_there, paths)
            });
        }
        // The other way: it goes on to say that it is there, and by the first session answers what it is asked.
        let heard = |neighbor: &Value, kind: &str| {
            let kinds = neighbor["messages"].as_array().cloned().unwrap_or_default();
            kinds.iter().find(|known| known["kind"] == kind).and_then(|known| known["received"].as_u64())
        };
        for (name, kind) in [(names[0], "ROUTE-REFRESH"), (names[1], "KEEPALIVE")] {
            let before = heard(&neighbor(linnet, name).unwrap(), kind);
            linnet.exec(&["linnet", "bgp", "reset", name, "--soft"]).unwrap().checked().unwrap();
            wait(lab, &format!("{name} to be heard by the session with the new key"), || {
                let shown = neighbor(linnet, name)?;
                holds(heard(&shown, kind) > before, &shown)
            });
        }
        assert_eq!(times(), before, "no session was reset");
    }
    for Rekeyed { router, names, .. } in rekeyed(lab) {
        the_old_key_is_worth_nothing_any_more(lab, router);
        give_key(lab, lab.node(router).unwrap(), &format!("between-{router}-and-linnet"), KEY);
        established(lab, &names);
    }
}

fn the_old_key_is_worth_nothing_any_more(lab: &Routers, router: &str) {
    let linnet = lab.node("linnet").unwrap();
    linnet.exec(&["linnet", "bgp", "reset", router]).unwrap().checked().unwrap();
    wait(lab, &format!("{router}, which begins sessions with the old key, to be let in no more"), || {
        let shown = neighbor(linnet, router)?;
        let error = shown["last_error"].as_str().unwrap_or_default();
        holds(shown["state"] != "Established" && error.contains("no answer") && error.contains("MD5"), &shown)
    });
}

/// Changes a key in a router's configuration, and in the file that it reads when it is started again.
fn give_key(lab: &Routers, router: &Node, old: &str, new: &str) {
    let saved = |file: &str| {
        let next = format!("/run/{new}.conf");
        router.shell(&format!("sed 's/{old}/{new}/' {file} > {next} && mount --bind {next} {file}")).unwrap();
    };
    if router.name() == "bird" {
        saved("/etc/bird/bird.conf");
        router.shell("birdc configure").unwrap();
    } else {
        saved("/etc/frr/frr.conf");
        let commands = [lab.address(1, 1), lab.loopback(9)].map(|peer| format!("-c 'neighbor {peer} password {new}'"));
        router.shell(&format!("vtysh -c 'conf t' -c 'router bgp 65001' {}", commands.join(" "))).unwrap();
    }
}

/// FRR says Cease as its password changes, and comes again with the new one; ours has changed in place meanwhile.
fn a_router_that_resets_for_its_new_key_finds_ours_changed(lab: &Routers) {
    const KEY: &str = "another-new-key";
    let (linnet, frr) = (lab.node("linnet").unwrap(), lab.node("frr").unwrap());
    let before = neighbor(linnet, "frr").unwrap();
    give_key(lab, frr, "a-new-key", KEY);
    let said = reload_with_key(linnet, "frr.key", KEY);
    assert!(said.contains("peer frr: password-file changed, in place"), "{said}");
    wait(lab, "the session with FRR by the new key", || {
        let shown = neighbor(linnet, "frr")?;
        let times = |shown: &Value| shown["times_established"].as_u64();
        holds(shown["state"] == "Established" && times(&shown) > times(&before), &shown)
    });
    established(lab, &["frr", "frr-multihop"]);
}

fn a_disabled_peer_is_told_why_and_comes_back_when_it_is_enabled(lab: &Routers) {
    let (linnet, bird) = (lab.node("linnet").unwrap(), lab.node("bird").unwrap());
    let command = |arguments: &[&str]| linnet.exec(&[&["linnet", "bgp"], arguments].concat()).unwrap();
    command(&["disable", "bird", "--message", "back at 5"]).checked().unwrap();
    wait(lab, "BIRD to be told", || {
        let shown = peer(linnet, "bird")?;
        holds(shown["state"] == "Disabled", shown)?;
        let told = bird.shell("birdc show protocols all linnet").unwrap();
        holds(told.contains("Received: Administrative shutdown"), told)?;
        let log = bird.log("bird");
        holds(log.contains("back at 5"), log)
    });
    assert!(
        command(&["disable", &format!("rack/{}", lab.address(3, 2))]).checked().is_err(),
        "a dynamic peer would come back"
    );
    command(&["enable", "bird"]).checked().unwrap();
    established(lab, &["bird"]);
}

fn routers_forward_to_a_host_whose_daemon_is_killed_and_started_again(lab: &Routers) {
    let linnet = lab.node("linnet").unwrap();
    let routers = [lab.node("frr").unwrap(), lab.node("bird").unwrap()];
    let wait_for_ours = |state: &str| {
        for router in routers {
            wait(lab, &format!("{}'s kernel route to our pods ({state})", router.name()), || {
                let route = lab.kernel(router, lab.ours);
                holds(route.contains("via "), route)
            });
        }
    };
    wait_for_ours("before");
    wait(lab, "our kernel's routes", || {
        let all = lab.kernel(linnet, "proto 76");
        holds([lab.of_frr, lab.of_bird].iter().all(|prefix| all.contains(prefix)), all)
    });
    let watches = [linnet, routers[0], routers[1]].map(|node| (node, Watch::begin(node).unwrap()));

    linnet.signal("linnetd", "KILL").unwrap();
    let ours = lab.address(1, 1);
    wait(lab, "both routers to see the session lost", || {
        let frr = json(routers[0], &["vtysh", "-c", &format!("show bgp neighbors {ours} json")])?;
        holds(frr[&ours]["bgpState"] != "Established", &frr[&ours]["bgpState"])?;
        let bird = routers[1].shell("birdc show protocols all linnet").unwrap();
        holds(!bird.contains("Established"), bird)
    });
    wait_for_ours("while the daemon is dead");
    linnet.start("linnetd").unwrap();
    established(lab, &["frr", "bird"]);
    wait(lab, "the daemon to have confirmed or removed every route", || {
        let log = linnet.log("linnetd");
        let complete = log.lines().filter(|line| line.contains("routes are complete") && line.contains(lab.family));
        holds(complete.count() == 2, log.lines().last())
    });
    wait(lab, "both routers to have our route afresh", || {
        let frr = lab.at_frr(routers[0], lab.ours)?;
        holds(frr["paths"][0]["valid"] == true && frr["paths"][0]["stale"].is_null(), &frr)?;
        let bird = routers[1].shell(&format!("birdc show route {} all", lab.ours)).unwrap();
        holds(bird.contains(&lab.address(2, 1)) && !bird.contains("s)"), bird)
    });
    wait_for_ours("after");
    for (node, watch) in watches {
        let watched = if node.name() == "linnet" { vec![lab.of_frr, lab.of_bird] } else { vec![lab.ours] };
        let lost = watch.removed(&watched).unwrap();
        assert!(lost.is_empty(), "{}: {lost:?}\n{}", node.name(), lab.dump());
    }
}

/// A router, its daemon, a prefix of its, the next hop, and for how long it asks that its routes be kept.
type Restarted<'a> = (&'a str, &'a str, &'a str, &'a str, u64);

fn a_router_that_restarts_keeps_its_routes_in_our_kernel(
    lab: &Routers,
    (router, daemon, prefix, next_hop, seconds): Restarted,
) {
    let (linnet, node) = (lab.node("linnet").unwrap(), lab.node(router).unwrap());
    let its = |state: bool| {
        let paths = routes(linnet, &[prefix])?;
        let is = |path: &Value| path["peer"] == router && path["stale"] == state && path["best"] == true;
        holds(paths.iter().any(is), &paths)
    };
    wait(lab, &format!("the route of {router} to be in use"), || {
        its(false)?;
        holds(lab.kernel(linnet, prefix).contains(next_hop), lab.kernel(linnet, prefix))
    });
    let watch = Watch::begin(linnet).unwrap();
    node.signal(daemon, "KILL").unwrap();
    wait(lab, &format!("the route of {router} to be stale and in use"), || {
        its(true)?;
        let route = lab.kernel(linnet, prefix);
        holds(route.contains(&format!("via {next_hop}")), route)
    });
    let kept = routes(linnet, &["--received", router]).unwrap().len();
    let shown = neighbor(linnet, router).unwrap();
    let (stale, said) = (&shown["stale"][0], &shown["graceful_restart"]);
    assert_eq!(
        (&stale["family"], &stale["routes"], &stale["long_lived"]),
        (&json!(format!("{}-unicast", lab.family)), &json!(kept), &json!(false))
    );
    assert!(stale["remaining_seconds"].as_u64().is_some_and(|left| (1..=seconds).contains(&left)), "{stale}");
    // BIRD says only once it has restarted that it forwarded on.
    let forwards = router == "frr";
    assert_eq!(
        (&said["restart_seconds"], &said["families"][0]["forwarding"]),
        (&json!(seconds), &json!(forwards)),
        "{said}"
    );
    let text = linnet.shell(&format!("linnet bgp neighbor {router}")).unwrap();
    let forwards = if forwards { " (forwarding preserved)" } else { "" };
    let asks = format!("  graceful restart (RFC 4724): asks for {seconds} s, {}-unicast{forwards}", lab.family);
    assert!(text.contains(&asks), "{text}");
    assert!(text.contains(&format!("  stale: {kept} route")), "{text}");
    if router == "frr" {
        node.start(daemon).unwrap();
        node.exec(&["vtysh", "-b"]).unwrap().checked().unwrap();
    } else {
        // Without -R it takes this for its first start, and says that it forwards nothing of before.
        node.shell("bird -R -c /etc/bird/bird.conf -s /run/bird/bird.ctl > /run/bird.log 2>&1").unwrap();
    }
    established(lab, &[router]);
    let said = neighbor(linnet, router).unwrap()["graceful_restart"].clone();
    assert_eq!((&said["restarting"], &said["families"][0]["forwarding"]), (&json!(true), &json!(true)), "{said}");
    wait(lab, &format!("the route of {router} to be fresh"), || its(false));
    wait(lab, &format!("nothing of {router} to be stale"), || {
        let shown = neighbor(linnet, router)?;
        holds(shown["stale"] == json!([]), &shown["stale"])
    });
    let lost = watch.removed(&[prefix]).unwrap();
    assert!(lost.is_empty(), "{lost:?}\n{}", lab.dump());
}

fn a_router_that_does_not_come_back_loses_its_routes_when_its_time_is_over(lab: &Routers) {
    let (linnet, bird) = (lab.node("linnet").unwrap(), lab.node("bird").unwrap());
    bird.signal("bird", "KILL").unwrap();
    wait(lab, "BIRD's route to be stale and in use", || {
        let paths = routes(linnet, &[lab.of_bird])?;
        holds(paths.iter().any(|path| path["peer"] == "bird" && path["stale"] == true), &paths)?;
        let route = lab.kernel(linnet, lab.of_bird);
        holds(route.contains(&format!("via {}", lab.address(2, 2))), route)
    });
    wait(lab, "BIRD's route to be gone after the fifteen seconds that it asked for", || {
        let paths = routes(linnet, &[lab.of_bird])?;
        let route = lab.kernel(linnet, lab.of_bird);
        holds(paths.is_empty() && route.is_empty(), (&paths, &route))
    });
    let paths = routes(linnet, &[lab.of_frr]).unwrap();
    assert!(paths.iter().all(|path| path["peer"] == "frr"), "{paths:?}");
}
