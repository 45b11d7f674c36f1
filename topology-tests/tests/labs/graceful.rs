//! Ends with notice, with FRR, BIRD, OpenBGPD and GoBGP: graceful shutdown (RFC 8326), NOTIFICATIONs that cost no route
//! (RFC 8538), what a person says (RFC 9003), a restart that a peer does not answer, and blackholes. Needs root.
//!
//! One lab for all of it, in an order that leaves what comes later as it was.

#![allow(clippy::unwrap_used, reason = "the panic of a test is its verdict")]

use serde_json::Value;
use topology_tests::expect::{holds, json, up, wait};
use topology_tests::lab::{Lab, Node};
use topology_tests::watch::Watch;
use topology_tests::words::{established, neighbor, path, shell};

const OF_FRR: &str = "192.0.2.0/26";
const OF_BIRD: &str = "192.0.2.64/26";
const OF_OPENBGPD: &str = "192.0.2.128/26";
const OURS: &str = "10.244.9.0/24";
const OF_GOBGP: &str = "192.0.2.192/26";
/// What all four routers announce.
const SHARED: &str = "198.51.100.0/24";
const ROUTERS: [&str; 4] = ["frr", "bird", "openbgpd", "gobgp"];

fn linnet<'a>(lab: &'a Lab, arguments: &[&str]) -> (&'a Node, String) {
    let node = lab.node("linnet").unwrap();
    (node, node.exec(&[&["linnet"], arguments].concat()).unwrap().checked().unwrap())
}

/// What a router says of our route; empty when it has none.
fn ours_at(lab: &Lab, router: &str) -> Result<String, String> {
    let node = lab.node(if router == "inside" { "bird" } else { router }).unwrap();
    let said = shell(
        node,
        &match router {
            "frr" => format!("vtysh -c 'show bgp ipv4 unicast {OURS}'"),
            "bird" => format!("birdc show route {OURS} protocol linnet all 2>&1 || true"),
            "inside" => format!("birdc show route {OURS} protocol inside all 2>&1 || true"),
            "openbgpd" => format!("bgpctl show rib detail {OURS} 2>&1 || true"),
            // It says so with an exit status when there is none.
            _ => format!("gobgp global rib {OURS} 2>&1 || true"),
        },
    )?;
    let is_there = ["64500", "BGP.origin"].iter().any(|mark| said.contains(mark));
    Ok(if is_there { said } else { String::new() })
}

/// A new configuration of BIRD's, by a script of sed's.
fn reconfigure_bird(lab: &Lab, script: &str) {
    let line = format!(
        "sed '{script}' /etc/bird/bird.conf > /run/next.conf && cp /run/next.conf /run/bird.conf &&
         mount --bind /run/bird.conf /etc/bird/bird.conf && birdc configure"
    );
    lab.node("bird").unwrap().shell(&line).unwrap();
}

fn configure_frr(lab: &Lab, command: &str) {
    let line = format!("vtysh -c 'configure terminal' -c 'router bgp 65001' -c '{command}'");
    lab.node("frr").unwrap().shell(&line).unwrap();
}

#[test]
fn what_ends_with_notice_costs_nothing_beside_four_routers() {
    let lab = up("graceful");
    for prefix in [OF_GOBGP, SHARED] {
        lab.node("gobgp").unwrap().shell(&format!("gobgp global rib add {prefix} origin igp")).unwrap();
    }
    established(&lab, &[&ROUTERS[..], &["bird-internal"]].concat());
    a_drained_node_is_the_last_resort_and_then_nobodys(&lab);
    a_router_that_shuts_down_is_used_where_there_is_no_other(&lab);
    a_hold_timer_that_expires_costs_no_route_at_either_end(&lab);
    a_hard_reset_costs_routes_and_a_plain_one_does_not(&lab);
    our_hard_reset_takes_our_routes_from_gobgp_at_once(&lab);
    what_a_person_says_is_heard_at_the_other_end(&lab);
    a_restarted_node_waits_for_silent_peers_no_longer_than_it_may(&lab);
    a_blackhole_is_one_whoever_asks_for_it(&lab);
}

fn a_drained_node_is_the_last_resort_and_then_nobodys(lab: &Lab) {
    let everywhere = |what: &str, wanted: &dyn Fn(&str, &str) -> bool| {
        for router in ["frr", "bird", "inside", "openbgpd", "gobgp"] {
            wait(lab, &format!("{router}: {what}"), || {
                let seen = ours_at(lab, router)?;
                holds(wanted(router, &seen), seen)
            });
        }
    };
    let is_last_resort = |router: &str, seen: &str| match router {
        // An external session has no LOCAL_PREF: FRR sets it by itself.
        "frr" => seen.contains("Community: graceful-shutdown") && seen.contains("localpref 0"),
        "bird" => seen.contains("BGP.community: (65535,0)"),
        "inside" => seen.contains("BGP.community: (65535,0)") && seen.contains("BGP.local_pref: 0"),
        "openbgpd" => seen.contains("Communities: GRACEFUL_SHUTDOWN"),
        _ => seen.contains("planned-shut"),
    };
    let is_as_ever = |router: &str, seen: &str| {
        let marks = ["shutdown", "(65535,0)", "SHUTDOWN", "planned-shut"];
        let preferred = router != "inside" || seen.contains("BGP.local_pref: 100");
        !seen.is_empty() && preferred && !marks.iter().any(|mark| seen.contains(mark))
    };
    let drain =
        || Ok::<_, String>(json(lab.node("linnet").unwrap(), &["linnet", "status", "-o", "json"])?["drain"].clone());
    let sessions = || ROUTERS.map(|name| neighbor(lab, name).unwrap()["times_established"].clone());
    everywhere("our route before", &is_as_ever);
    let before = sessions();

    linnet(lab, &["drain"]);
    everywhere("our route as the last resort", &is_last_resort);
    let shown = drain().unwrap();
    assert_eq!(shown["state"], "draining", "the routers were looked at too late: {shown}");
    everywhere("our route withdrawn", &|_, seen| seen.is_empty());
    wait(lab, "the node to be drained", || holds(drain()?["state"] == "drained", drain()?));
    // What peers send is taken as ever, and the sessions stay.
    assert_eq!(path(lab, OF_GOBGP, "gobgp").unwrap()["best"], true);
    assert_eq!(sessions(), before);

    // Traffic does not come back with the daemon: one after whose start nothing is announced, until it is undrained.
    let node = lab.node("linnet").unwrap();
    node.signal("linnetd", "KILL").unwrap();
    node.start("linnetd").unwrap();
    established(lab, &[&ROUTERS[..], &["bird-internal"]].concat());
    wait(lab, "the routes that are taken as ever", || path(lab, OF_GOBGP, "gobgp").map(drop));
    assert_eq!(drain().unwrap()["state"], "drained");
    everywhere("nothing of ours after a restart", &|_, seen| seen.is_empty());

    linnet(lab, &["undrain"]);
    everywhere("our route as ever", &is_as_ever);
    assert_eq!(drain().unwrap()["state"], "no");
}

/// RFC 8326 section 4.2, and back.
fn a_router_that_shuts_down_is_used_where_there_is_no_other(lab: &Lab) {
    let tell = |router: &str, shuts_down: bool| match (router, shuts_down) {
        ("frr", true) => configure_frr(lab, "bgp graceful-shutdown"),
        ("frr", false) => configure_frr(lab, "no bgp graceful-shutdown"),
        ("bird", true) => reconfigure_bird(lab, "s/SHUTDOWN = false/SHUTDOWN = true/"),
        ("bird", false) => reconfigure_bird(lab, "s/SHUTDOWN = true/SHUTDOWN = false/"),
        (name, shuts_down) => {
            let line = match (name, shuts_down) {
                ("openbgpd", true) => "bgpctl network add 198.51.100.0/24 community GRACEFUL_SHUTDOWN",
                ("openbgpd", false) => "bgpctl network delete 198.51.100.0/24 && bgpctl network add 198.51.100.0/24",
                (_, true) => "gobgp global rib add 198.51.100.0/24 origin igp community 65535:0",
                (_, false) => "gobgp global rib add 198.51.100.0/24 origin igp",
            };
            lab.node(name).unwrap().shell(line).unwrap();
        }
    };
    let in_use = |path: &Value| path["best"] == true || path["multipath"] == true;
    let is_one_of_four = |router: &str| {
        wait(lab, &format!("the way by {router} to be one of four"), || {
            let path = path(lab, SHARED, router)?;
            holds(in_use(&path) && path["local_pref"].is_null() && path["communities"] == serde_json::json!([]), &path)
        });
    };
    ROUTERS.iter().for_each(|router| is_one_of_four(router));
    for router in ROUTERS {
        tell(router, true);
        wait(lab, &format!("the way by {router} to be the last resort"), || {
            let path = path(lab, SHARED, router)?;
            holds(path["communities"] == serde_json::json!(["65535:0"]) && path["local_pref"] == 0, &path)?;
            holds(!in_use(&path) && path["reason"] == "lost at 2 local-pref: 0 < 100", &path)
        });
        tell(router, false);
        is_one_of_four(router);
    }
    for router in ROUTERS {
        tell(router, true);
    }
    wait(lab, "a way to be used although every router of it shuts down", || {
        let paths: Result<Vec<_>, _> = ROUTERS.map(|router| path(lab, SHARED, router)).into_iter().collect();
        let paths = paths?;
        holds(paths.iter().all(|path| path["local_pref"] == 0 && in_use(path)), &paths)
    });
    for router in ROUTERS {
        tell(router, false);
    }
    ROUTERS.iter().for_each(|router| is_one_of_four(router));
}

fn times(lab: &Lab, name: &str) -> Result<u64, String> {
    let shown = neighbor(lab, name)?;
    holds(shown["state"] == "Established", &shown)?;
    shown["times_established"].as_u64().ok_or_else(|| shown.to_string())
}

fn router(lab: &Lab, name: &str, line: &str) {
    lab.node(name).unwrap().shell(line).unwrap();
}

fn at_frr(lab: &Lab) -> Result<Value, String> {
    Ok(json(lab.node("frr").unwrap(), &["vtysh", "-c", "show bgp neighbors 10.6.0.1 json"])?["10.6.0.1"].clone())
}

/// Ends a session and waits until it is up again and all routes are fresh: whether our kernel lost the router's route
/// meanwhile, and whether the router's kernel lost ours.
fn lost(lab: &Lab, name: &str, end: impl FnOnce()) -> [bool; 2] {
    let of = |name: &str| match name {
        "frr" => OF_FRR,
        "bird" => OF_BIRD,
        "openbgpd" => OF_OPENBGPD,
        _ => OF_GOBGP,
    };
    let whole = || {
        let path = path(lab, of(name), name)?;
        holds(path["best"] == true && path["stale"] == false, &path)?;
        let kernel = shell(lab.node("linnet").unwrap(), &format!("ip route show {}", of(name)))?;
        holds(!kernel.is_empty(), "the kernel's route")?;
        let theirs = ours_at(lab, name)?;
        holds(!theirs.is_empty() && !theirs.contains("stale") && !theirs.contains("S*"), theirs)?;
        let kernel = shell(lab.node(name).unwrap(), &format!("ip route show {OURS}"))?;
        holds(!kernel.is_empty() || !["frr", "bird"].contains(&name), "the router's route in its kernel")
    };
    wait(lab, &format!("the routes of and to {name}, before"), whole);
    let before = times(lab, name).unwrap();
    let watched = [(lab.node("linnet").unwrap(), of(name)), (lab.node(name).unwrap(), OURS)];
    let watched = watched.map(|(node, prefix)| (Watch::begin(node).unwrap(), prefix));
    end();
    wait(lab, &format!("another session with {name}"), || holds(times(lab, name)? > before, before));
    wait(lab, &format!("the routes of and to {name}, after"), whole);
    watched.map(|(watch, prefix)| !watch.removed(&[prefix]).unwrap().is_empty())
}

/// RFC 8538 section 4. FRR's and GoBGP's hold time is nine seconds.
fn a_hold_timer_that_expires_costs_no_route_at_either_end(lab: &Lab) {
    let (host, frr) = (lab.node("linnet").unwrap(), lab.node("frr").unwrap());
    let ours = || {
        frr.signal("bgpd", "STOP").unwrap();
        wait(lab, "our hold timer to expire and FRR's route to be stale", || {
            let path = path(lab, OF_FRR, "frr")?;
            holds(path["stale"] == true && path["best"] == true, &path)?;
            let shown = neighbor(lab, "frr")?;
            holds(shown["last_error"].as_str().unwrap_or_default().contains("hold timer expired"), &shown)
        });
        frr.signal("bgpd", "CONT").unwrap();
    };
    assert_eq!(lost(lab, "frr", ours), [false, false], "our hold timer");
    let theirs = || {
        host.signal("linnetd", "STOP").unwrap();
        let down = |what: &str, look: &mut dyn FnMut() -> Result<(), String>| {
            let seen = lab.poll(what, std::time::Duration::from_secs(60), look);
            if seen.is_err() {
                host.signal("linnetd", "CONT").unwrap();
            }
            seen.unwrap();
        };
        down("FRR's hold timer to expire, and our route to be stale there", &mut || {
            let shown = at_frr(lab)?;
            holds(shown["bgpState"] != "Established", &shown["bgpState"])?;
            let seen = ours_at(lab, "frr")?;
            holds(seen.contains("stale"), seen)
        });
        down("GoBGP's hold timer to expire, and our route to be stale there", &mut || {
            let seen = ours_at(lab, "gobgp")?;
            holds(seen.contains("S*"), seen)
        });
        host.signal("linnetd", "CONT").unwrap();
    };
    assert_eq!(lost(lab, "frr", theirs), [false, false], "FRR's hold timer");
    established(lab, &ROUTERS);
}

/// RFC 8538 section 3 and 4: what a person resets at FRR with its `bgp hard-administrative-reset`, which it has unless it is
/// told otherwise, and without it; and what a person resets here.
fn a_hard_reset_costs_routes_and_a_plain_one_does_not(lab: &Lab) {
    let shown = neighbor(lab, "frr").unwrap();
    let capabilities = shown["capabilities"].as_array().cloned().unwrap_or_default();
    let notification = capabilities.iter().find(|one| one["name"] == "graceful-notification").unwrap();
    assert!(notification["sent"] == true && notification["received"] == true, "{shown}");
    let down = || neighbor(lab, "frr").unwrap()["last_down"].clone();
    let clear = || router(lab, "frr", "vtysh -c 'clear bgp 10.6.0.1'");

    assert_eq!(lost(lab, "frr", clear), [true, true], "FRR's hard reset");
    assert_eq!(down(), "received Cease / Hard Reset (Cease / Administrative Reset)");

    configure_frr(lab, "no bgp hard-administrative-reset");
    // FRR drops our routes all the same when it says it.
    assert_eq!(lost(lab, "frr", clear), [false, true], "FRR's plain reset");
    assert_eq!(down(), "received Cease / Administrative Reset");
    configure_frr(lab, "bgp hard-administrative-reset");

    assert_eq!(lost(lab, "frr", || drop(linnet(lab, &["bgp", "reset", "frr"]))), [true, true], "our hard reset");
    assert_eq!(down(), "stopped here: Cease / Administrative Reset");
    // Its table shows what the next attempt met with by now.
    let heard = || {
        let log = lab.node("frr").unwrap().log("bgpd");
        let is_it = |line: &&str| line.contains("NOTIFICATION") && line.contains("received from neighbor 10.6.0.1");
        log.lines().rfind(is_it).unwrap_or_default().to_owned()
    };
    assert!(heard().contains("Hard Reset") && heard().contains("Administrative Reset"), "{}", heard());

    let plain = |name: &'static str| move || drop(linnet(lab, &["bgp", "reset", name, "--keep-routes"]));
    assert_eq!(lost(lab, "frr", plain("frr")), [false, false], "our plain reset of FRR");
    assert_eq!(down(), "sent Cease / Administrative Reset");
    assert!(!heard().contains("Hard Reset") && heard().contains("Administrative Reset"), "{}", heard());
    gobgp_keeps_our_route_over(lab, plain("gobgp"));
    // The others would lose ours, and we theirs: nobody is asked to.
    for name in ["bird", "openbgpd"] {
        let before = times(lab, name).unwrap();
        let said = lab.node("linnet").unwrap().exec(&["linnet", "bgp", "reset", name, "--keep-routes"]).unwrap();
        assert!(!said.ok() && said.stderr.contains("would cost them"), "{said:?}");
        assert_eq!(times(lab, name), Ok(before), "{name}");
    }
}

/// It keeps ours. What it announced may go here for a moment: its OPEN says of no family that it has forwarded by our routes
/// meanwhile, so its own are not waited for when it is back (RFC 4724 section 4.2).
fn gobgp_keeps_our_route_over(lab: &Lab, reset: impl FnOnce()) {
    let before = times(lab, "gobgp").unwrap();
    reset();
    wait(lab, "another session with gobgp", || {
        let seen = ours_at(lab, "gobgp")?;
        assert!(!seen.is_empty(), "GoBGP has lost our route");
        holds(times(lab, "gobgp")? > before, before)
    });
    wait(lab, "our route to be fresh at GoBGP, and its own here", || {
        let seen = ours_at(lab, "gobgp")?;
        holds(!seen.is_empty() && !seen.contains("S*"), seen)?;
        let path = path(lab, OF_GOBGP, "gobgp")?;
        holds(path["best"] == true && path["stale"] == false, &path)
    });
}

/// What GoBGP keeps over a hold timer, as it does above, it must not keep now, and does not for a moment.
fn our_hard_reset_takes_our_routes_from_gobgp_at_once(lab: &Lab) {
    wait(lab, "GoBGP to have our route", || {
        let seen = ours_at(lab, "gobgp")?;
        holds(!seen.is_empty() && !seen.contains("S*"), seen)
    });
    linnet(lab, &["bgp", "disable", "gobgp"]);
    wait(lab, "our route to leave GoBGP", || {
        let seen = ours_at(lab, "gobgp")?;
        assert!(!seen.contains("S*"), "it is kept as stale: {seen}");
        holds(seen.is_empty(), seen)
    });
    linnet(lab, &["bgp", "enable", "gobgp"]);
    established(lab, &["gobgp"]);
}

/// RFC 9003, by FRR also within a hard reset (RFC 8538 section 3.1).
fn what_a_person_says_is_heard_at_the_other_end(lab: &Lab) {
    for (name, down, up) in [
        (
            "frr",
            "vtysh -c 'conf t' -c 'router bgp 65001' -c 'neighbor 10.6.0.1 shutdown message back at 5'",
            "vtysh -c 'conf t' -c 'router bgp 65001' -c 'no neighbor 10.6.0.1 shutdown'",
        ),
        ("bird", "birdc 'disable linnet \"back at 5\"'", "birdc enable linnet"),
        ("openbgpd", "bgpctl neighbor linnet down 'back at 5'", "bgpctl neighbor linnet up"),
    ] {
        router(lab, name, down);
        wait(lab, &format!("what was said at {name}"), || {
            let shown = neighbor(lab, name)?;
            holds(shown["state"] != "Established" && shown["communication"] == "back at 5", &shown)?;
            // The last error is what the next attempt met with.
            let down = shown["last_down"].as_str().unwrap_or_default();
            holds(down.contains("Cease / Administrative Shutdown: \"back at 5\""), &shown)
        });
        router(lab, name, up);
        established(lab, &[name]);
        assert_eq!(neighbor(lab, name).unwrap()["communication"], Value::Null, "{name}: it is over");
    }
    // GoBGP says it with a reset alone, and is back soon.
    router(lab, "gobgp", "gobgp neighbor 10.6.0.1 reset --reason 'new optics'");
    wait(lab, "what was said at GoBGP", || {
        let log = lab.node("linnet").unwrap().log("linnetd");
        let down = log.lines().rfind(|line| line.contains("session down") && line.contains("peer=\"gobgp\""));
        holds(down.is_some_and(|down| down.contains("Administrative Reset") && down.contains("new optics")), down)
    });
    established(lab, &["gobgp"]);
    for (command, text) in [("disable", "zurück um 5"), ("reset", "new optics")] {
        for name in ["frr", "bird", "openbgpd"] {
            linnet(lab, &["bgp", command, name, "--message", text]);
            wait(lab, &format!("{name} to hear what was said with {command}"), || match name {
                "frr" => {
                    let shown = at_frr(lab)?;
                    // Said while the session is down.
                    holds(command == "reset" || shown["lastNotificationHardReset"] == true, &shown)?;
                    // It shows octets that are not ASCII by their numbers.
                    holds(shown["lastShutdownDescription"] == text.replace('ü', r"\xc3\xbc"), &shown)
                }
                "bird" => {
                    let log = lab.node("bird").unwrap().log("bird");
                    holds(log.contains(text), log)
                }
                _ => {
                    let shown = shell(lab.node(name).unwrap(), "bgpctl show neighbor linnet")?;
                    let last = shown.lines().find(|line| line.contains("Last received shutdown reason"));
                    holds(last.is_some_and(|last| last.contains(&text[text.len() - 5..])), shown)
                }
            });
            if command == "disable" {
                linnet(lab, &["bgp", "enable", name]);
            }
            if name == "openbgpd" {
                // Left alone it waits for longer and longer each time.
                router(lab, name, "bgpctl neighbor linnet up");
            }
            established(lab, &[name]);
        }
    }
}

/// RFC 4724 section 4.1: the kernels of BIRD and FRR answer, and they do not. What is ours is announced at once, what was learned
/// when the deferral time is over.
fn a_restarted_node_waits_for_silent_peers_no_longer_than_it_may(lab: &Lab) {
    const SILENT: [(&str, &str, &str); 2] = [("bird", "bird", OF_BIRD), ("frr", "bgpd", OF_FRR)];
    let (host, gobgp) = (lab.node("linnet").unwrap(), lab.node("gobgp").unwrap());
    let at_gobgp = |prefix: &str| shell(gobgp, &format!("gobgp global rib {prefix} 2>&1 || true"));
    let is_stale = |prefix: &str, stale: bool| {
        let seen = at_gobgp(prefix)?;
        holds(seen.contains("64500") && seen.contains("S*") == stale, seen)
    };
    let complete =
        |log: &str| log.lines().filter(|it| it.contains("routes are complete") && it.contains("ipv4")).count();
    for prefix in [OURS, OF_OPENBGPD, OF_FRR, OF_BIRD] {
        wait(lab, &format!("GoBGP to have {prefix}"), || is_stale(prefix, false));
    }
    let watch = Watch::begin(host).unwrap();
    let before = complete(&host.log("linnetd"));
    for (name, daemon, _) in SILENT {
        lab.node(name).unwrap().signal(daemon, "STOP").unwrap();
    }
    host.signal("linnetd", "KILL").unwrap();
    host.start("linnetd").unwrap();
    established(lab, &["openbgpd", "gobgp"]);
    wait(lab, "GoBGP to have ours afresh", || is_stale(OURS, false));
    // So far the deferral time is not over, and nothing that was learned is said or removed.
    is_stale(OF_OPENBGPD, true).unwrap();
    let kernel = host.shell("ip route show proto 76").unwrap();
    assert!([OF_OPENBGPD, OF_FRR, OF_BIRD].iter().all(|prefix| kernel.contains(prefix)), "{kernel}");
    let deferral = json(host, &["linnet", "bgp", "neighbor", "-o", "json"]).unwrap()["deferral"].clone();
    let waits_for = deferral["peers"].as_array().cloned().unwrap_or_default();
    assert!(SILENT.iter().all(|(name, ..)| waits_for.iter().any(|peer| peer == name)), "{deferral}");
    assert_eq!(complete(&host.log("linnetd")), before, "the silent peers were not waited for");
    wait(lab, "GoBGP to have what OpenBGPD said, without the others' word", || is_stale(OF_OPENBGPD, false));
    for (name, _, prefix) in SILENT {
        wait(lab, &format!("what {name} did not announce to leave our kernel and GoBGP's table"), || {
            let kernel = shell(host, "ip route show proto 76")?;
            holds(kernel.contains(OF_OPENBGPD) && !kernel.contains(prefix), kernel)?;
            let seen = at_gobgp(prefix)?;
            holds(!seen.contains("64500"), seen)
        });
        assert!(neighbor(lab, name).unwrap()["state"] != "Established", "{name} is not silent");
    }
    for (name, daemon, prefix) in SILENT {
        lab.node(name).unwrap().signal(daemon, "CONT").unwrap();
        established(lab, &[name]);
        wait(lab, &format!("the route of {name} to be back"), || is_stale(prefix, false));
    }
    established(lab, &["bird-internal"]);
    let gone = watch.removed(&[OF_OPENBGPD]).unwrap();
    assert!(gone.is_empty(), "{gone:?}\n{}", lab.dump());
}

/// RFC 7999, from FRR, GoBGP and OpenBGPD; filters.rs has it from BIRD, too.
fn a_blackhole_is_one_whoever_asks_for_it(lab: &Lab) {
    configure_frr(lab, "address-family ipv4 unicast' -c 'network 203.0.113.1/32 route-map blackhole");
    router(lab, "gobgp", "gobgp global rib add 203.0.113.2/32 origin igp community 65535:666");
    router(lab, "openbgpd", "bgpctl network add 203.0.113.3/32 community BLACKHOLE");
    for (name, prefix) in [("frr", "203.0.113.1"), ("gobgp", "203.0.113.2"), ("openbgpd", "203.0.113.3")] {
        wait(lab, &format!("the blackhole of {name}"), || {
            let kernel = shell(lab.node("linnet").unwrap(), &format!("ip route show {prefix}"))?;
            holds(kernel.starts_with(&format!("blackhole {prefix}")), kernel)?;
            let path = path(lab, &format!("{prefix}/32"), name)?;
            holds(path["communities"] == serde_json::json!(["65535:666", "65535:65281"]), &path)
        });
        // GoBGP is sent everything else.
        let seen = shell(lab.node("gobgp").unwrap(), &format!("gobgp global rib {prefix}/32 2>&1 || true")).unwrap();
        assert!(!seen.contains("64500"), "{seen}");
    }
}
