//! What is announced before it happens, with FRR, BIRD, OpenBGPD and GoBGP: graceful shutdown (RFC 8326). Needs root.
//!
//! One lab for all of it, in an order that leaves what comes later as it was.

#![allow(clippy::unwrap_used, reason = "the panic of a test is its verdict")]

use std::path::Path;

use serde_json::Value;
use topology_tests::expect::{holds, json, wait};
use topology_tests::lab::{Lab, Node, Options};

const OURS: &str = "10.244.9.0/24";
const OF_GOBGP: &str = "192.0.2.192/26";
/// What all four routers announce.
const SHARED: &str = "198.51.100.0/24";
const ROUTERS: [&str; 4] = ["frr", "bird", "openbgpd", "gobgp"];

fn linnet<'a>(lab: &'a Lab, arguments: &[&str]) -> (&'a Node, String) {
    let node = lab.node("linnet").unwrap();
    (node, node.exec(&[&["linnet"], arguments].concat()).unwrap().checked().unwrap())
}

/// A peer as `linnet bgp neighbor` shows it.
fn neighbor(lab: &Lab, name: &str) -> Result<Value, String> {
    let shown = json(lab.node("linnet").unwrap(), &["linnet", "bgp", "neighbor", name, "-o", "json"])?;
    Ok(shown["neighbors"][0].clone())
}

fn established(lab: &Lab, names: &[&str]) {
    for name in names {
        wait(lab, &format!("the session with {name}"), || {
            let shown = neighbor(lab, name)?;
            holds(shown["state"] == "Established", shown)
        });
    }
}

/// A peer's path to a prefix, as `linnet bgp routes` shows it.
fn path(lab: &Lab, prefix: &str, peer: &str) -> Result<Value, String> {
    let command = ["linnet", "bgp", "routes", prefix, "-o", "json"];
    // Exit status 1 says that there are none.
    let said = lab.node("linnet").unwrap().exec(&command).map_err(|error| error.to_string())?;
    let shown: Value = serde_json::from_str(&said.stdout).map_err(|error| format!("{error}: {said:?}"))?;
    let mut paths = shown["routes"].as_array().into_iter().flatten();
    paths.find(|path| path["peer"] == peer).cloned().ok_or_else(|| format!("no path by {peer}: {shown}"))
}

fn shell(node: &Node, line: &str) -> Result<String, String> {
    node.shell(line).map_err(|error| error.to_string())
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
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("labs/graceful.clab.yml");
    let lab = Lab::up(&file, &Options::default()).unwrap_or_else(|error| panic!("{error}"));
    for prefix in [OF_GOBGP, SHARED] {
        lab.node("gobgp").unwrap().shell(&format!("gobgp global rib add {prefix} origin igp")).unwrap();
    }
    established(&lab, &[&ROUTERS[..], &["bird-internal"]].concat());
    a_drained_node_is_the_last_resort_and_then_nobodys(&lab);
    a_router_that_shuts_down_is_used_where_there_is_no_other(&lab);
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
