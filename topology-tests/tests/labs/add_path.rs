//! Several paths to one prefix (RFC 7911) between `linnetd`, FRR, BIRD and GoBGP, and a host that forwards by all of them.
//! Needs root.

#![allow(clippy::unwrap_used, reason = "the panic of a test is its verdict")]

use std::path::Path;

use serde_json::{Value, json};
use topology_tests::expect::{holds, wait};
use topology_tests::lab::{Lab, Node, Options};
use topology_tests::watch::Watch;
use topology_tests::words::routes;

/// What FRR, BIRD and GoBGP all announce, each as its own.
const SHARED: &str = "10.30.0.0/24";
/// The address of each node.
const CLIENTS: [(&str, &str); 3] = [("frr", "10.3.0.2"), ("bird", "10.3.0.3"), ("gobgp", "10.3.0.4")];
/// What a client announces by two paths, and their next hops.
const TWICE: [(&str, &str, [&str; 2]); 3] = [
    ("frr", "10.32.0.0/24", ["10.3.0.2", "10.3.0.72"]),
    ("bird", "10.31.0.0/24", ["10.3.0.61", "10.3.0.62"]),
    ("gobgp", "10.33.0.0/24", ["10.3.0.81", "10.3.0.82"]),
];

fn json_of(node: &Node, command: &[&str]) -> Result<Value, String> {
    let said = node.exec(command).and_then(|output| output.checked()).map_err(|error| error.to_string())?;
    serde_json::from_str(&said).map_err(|error| format!("{error}: {said}"))
}

/// The next hops of routes, sorted.
fn next_hops(routes: &[Value]) -> Vec<String> {
    let mut hops: Vec<String> =
        routes.iter().map(|route| route["next_hop"].as_str().unwrap_or_default().to_owned()).collect();
    hops.sort_unstable();
    hops
}

/// The next hops of all paths that a client holds of a prefix from the reflector, sorted, in the client's own words.
fn learned(client: &Node, prefix: &str) -> Result<Vec<String>, String> {
    let mut hops: Vec<String> = match client.name() {
        "frr" => {
            let shown = json_of(client, &["vtysh", "-c", &format!("show bgp ipv4 unicast {prefix} json")])?;
            let paths = shown["paths"].as_array().cloned().unwrap_or_default();
            let reflected = paths.iter().filter(|path| path["clusterList"].is_object());
            let hop = |path: &Value| path["nexthops"][0]["ip"].as_str().unwrap_or_default().to_owned();
            reflected.map(hop).collect()
        }
        "bird" => {
            let command = format!("birdc show route {prefix} protocol reflector all");
            let shown = client.shell(&command).map_err(|error| error.to_string())?;
            let hop = |line: &str| line.trim().strip_prefix("BGP.next_hop: ").map(str::to_owned);
            shown.lines().filter_map(hop).collect()
        }
        "gobgp" => {
            let shown = json_of(client, &["gobgp", "-j", "global", "rib", "-a", "ipv4"])?;
            let paths = shown[prefix].as_array().cloned().unwrap_or_default();
            let value = |path: &Value, code: u64| {
                let attributes = path["attrs"].as_array().cloned().unwrap_or_default();
                attributes.into_iter().find(|attribute| attribute["type"] == code)
            };
            // CLUSTER_LIST: what came from the reflector.
            let reflected = paths.iter().filter(|path| value(path, 10).is_some());
            let hop = |path: &Value| value(path, 3).and_then(|hop| hop["nexthop"].as_str().map(str::to_owned));
            reflected.filter_map(hop).collect()
        }
        _ => return routes(client, &[prefix]).map(|routes| next_hops(&routes)),
    };
    hops.sort_unstable();
    Ok(hops)
}

fn wait_for_paths(lab: &Lab, client: &str, prefix: &str, hops: &[&str]) {
    wait(lab, &format!("{client} to hold {prefix} by {hops:?}"), || {
        let seen = learned(lab.node(client).unwrap(), prefix)?;
        holds(seen == hops, seen)
    });
}

/// The next hops of the kernel's route.
fn in_kernel(host: &Node, prefix: &str) -> Result<Vec<String>, String> {
    let shown = json_of(host, &["ip", "-j", "route", "show", prefix])?;
    let route = &shown[0];
    let several = route["nexthops"].as_array().cloned().unwrap_or_else(|| vec![route.clone()]);
    let mut hops: Vec<String> = several.iter().filter_map(|hop| hop["gateway"].as_str().map(str::to_owned)).collect();
    hops.sort_unstable();
    Ok(hops)
}

fn wait_for_kernel(lab: &Lab, hops: &[&str]) {
    wait(lab, &format!("the host's kernel to reach {SHARED} by {hops:?}"), || {
        let seen = in_kernel(lab.node("host").unwrap(), SHARED)?;
        holds(seen == hops, seen)
    });
}

#[test]
fn a_reflector_passes_on_every_path_and_a_host_forwards_by_all_of_them() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("labs/add-path.clab.yml");
    let lab = Lab::up(&file, &Options::default()).unwrap_or_else(|error| panic!("{error}"));
    let (reflector, gobgp) = (lab.node("reflector").unwrap(), lab.node("gobgp").unwrap());
    wait(&lab, "GoBGP to take its own routes", || {
        for path in [
            format!("{SHARED} origin igp nexthop 10.3.0.4"),
            "10.33.0.0/24 identifier 1 origin igp nexthop 10.3.0.81".to_owned(),
            "10.33.0.0/24 identifier 2 origin igp nexthop 10.3.0.82".to_owned(),
        ] {
            gobgp.shell(&format!("gobgp global rib add -a ipv4 {path}")).map_err(|error| error.to_string())?;
        }
        Ok(())
    });

    what_was_negotiated_is_shown(&lab);

    // The paths of the three: each hears the two others', the host all.
    for (name, own) in CLIENTS {
        let others: Vec<&str> = CLIENTS.iter().map(|(_, address)| *address).filter(|address| *address != own).collect();
        wait_for_paths(&lab, name, SHARED, &others);
    }
    let all = CLIENTS.map(|(_, address)| address);
    wait_for_paths(&lab, "host", SHARED, &all);
    wait_for_kernel(&lab, &all);

    // Several paths of one peer go to the others and not back.
    for (from, prefix, hops) in TWICE {
        wait(&lab, &format!("the reflector to hold both paths of {from}"), || {
            let received = routes(reflector, &[prefix])?;
            holds(next_hops(&received) == hops, &received)
        });
        let received = routes(reflector, &[prefix]).unwrap();
        assert_ne!(received[0]["path_id"], received[1]["path_id"], "{received:?}");
        for (name, _) in CLIENTS.into_iter().filter(|(name, _)| *name != from) {
            wait_for_paths(&lab, name, prefix, &hops);
        }
        wait_for_paths(&lab, "host", prefix, &hops);
        wait_for_paths(&lab, from, prefix, &[]);
    }
    identifiers_are_the_same_on_both_sides(&lab);
    a_path_that_goes_takes_no_other_with_it(&lab);
}

fn what_was_negotiated_is_shown(lab: &Lab) {
    let (reflector, host) = (lab.node("reflector").unwrap(), lab.node("host").unwrap());
    let both = json!([{"family": "ipv4-unicast", "send": true, "receive": true}]);
    for (name, address) in CLIENTS {
        wait(lab, &format!("{name} and the reflector to agree on several paths"), || {
            let shown = json_of(reflector, &["linnet", "bgp", "neighbor", address, "-o", "json"])?;
            holds(shown["neighbors"][0]["add_path"] == both, &shown)
        });
    }
    wait(lab, "the host and the reflector to agree on several paths", || {
        let shown = json_of(host, &["linnet", "bgp", "neighbor", "reflector", "-o", "json"])?;
        let neighbor = &shown["neighbors"][0];
        holds(neighbor["add_path"][0] == json!({"family": "ipv4-unicast", "send": false, "receive": true}), neighbor)?;
        holds(neighbor["configured_add_path"] == "receive" && neighbor["add_path_send"].is_null(), neighbor)
    });
}

/// What the reflector says it sent the host is what the host says it received, by path identifier.
fn identifiers_are_the_same_on_both_sides(lab: &Lab) {
    let (reflector, host) = (lab.node("reflector").unwrap(), lab.node("host").unwrap());
    wait(lab, "both sides to name the same paths", || {
        let paths = |routes: Vec<Value>| {
            let path = |route: Value| format!("{} {} {}", route["prefix"], route["path_id"], route["next_hop"]);
            let mut paths: Vec<String> = routes.into_iter().map(path).collect();
            paths.sort_unstable();
            paths
        };
        let sent = paths(routes(reflector, &["--advertised", "10.3.0.5"])?);
        let received = paths(routes(host, &["--received", "reflector"])?);
        holds(sent.len() == 9 && sent == received, (&sent, &received))
    });
}

/// The next hop of whoever withdraws leaves, and no session and no other path is touched.
fn a_path_that_goes_takes_no_other_with_it(lab: &Lab) {
    let (frr, bird, host) = (lab.node("frr").unwrap(), lab.node("bird").unwrap(), lab.node("host").unwrap());
    let watch = Watch::begin(host).unwrap();
    bird.shell("birdc disable path_b").unwrap();
    for name in ["frr", "gobgp", "host"] {
        wait_for_paths(lab, name, "10.31.0.0/24", &["10.3.0.61"]);
    }
    let network = |no: &str| {
        let lines = ["configure terminal", "router bgp 64512", "address-family ipv4 unicast"];
        let last = format!("{no}network {SHARED}");
        let command: Vec<&str> =
            std::iter::once("vtysh").chain(lines.into_iter().chain([&*last]).flat_map(|line| ["-c", line])).collect();
        frr.exec(&command).and_then(|output| output.checked()).unwrap();
    };
    network("no ");
    wait_for_kernel(lab, &["10.3.0.3", "10.3.0.4"]);
    wait_for_paths(lab, "bird", SHARED, &["10.3.0.4"]);
    network("");
    wait_for_kernel(lab, &["10.3.0.2", "10.3.0.3", "10.3.0.4"]);
    // Whatever its prefix.
    let lost = watch.removed(&[""]).unwrap();
    assert!(lost.is_empty(), "routes were removed and not replaced: {lost:?}\n{}", lab.dump());
    let summary = json_of(lab.node("reflector").unwrap(), &["linnet", "bgp", "neighbor", "-o", "json"]).unwrap();
    for neighbor in summary["neighbors"].as_array().unwrap() {
        assert_eq!(neighbor["times_established"], 1, "{neighbor}");
    }
}
