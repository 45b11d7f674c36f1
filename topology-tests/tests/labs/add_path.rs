//! Several paths to one prefix (RFC 7911) between `linnetd`, FRR, BIRD and GoBGP, and a host that forwards by all of them: of
//! IPv4 (`labs/add-path.clab.yml`) and of IPv6 (`labs/add-path-ipv6.clab.yml`). Needs root.

#![allow(clippy::unwrap_used, reason = "the panic of a test is its verdict")]

use std::ops::Deref;

use serde_json::{Value, json};
use topology_tests::expect::{holds, json, up, wait};
use topology_tests::lab::{Lab, Node};
use topology_tests::watch::Watch;
use topology_tests::words::routes;

/// A lab, and what is in its family.
struct Paths {
    lab: Lab,
    family: &'static str,
    /// What stands before the number of a node in its address.
    address: &'static str,
    /// Around the number of a prefix.
    prefix: [&'static str; 2],
}

impl Paths {
    fn up(name: &str, family: &'static str, address: &'static str, prefix: [&'static str; 2]) -> Self {
        Self { lab: up(name), family, address, prefix }
    }

    fn address(&self, node: u8) -> String {
        format!("{}{node}", self.address)
    }

    fn prefix(&self, number: u8) -> String {
        format!("{}{number}{}", self.prefix[0], self.prefix[1])
    }

    /// What FRR, BIRD and GoBGP all announce, each as its own.
    fn shared(&self) -> String {
        self.prefix(30)
    }

    /// What a client announces by two paths, and their next hops.
    fn twice(&self) -> [(&'static str, String, [String; 2]); 3] {
        [("frr", 32, [2, 72]), ("bird", 31, [61, 62]), ("gobgp", 33, [81, 82])]
            .map(|(name, prefix, hops)| (name, self.prefix(prefix), hops.map(|hop| self.address(hop))))
    }

    /// The address of each node that announces.
    fn clients(&self) -> [(&'static str, String); 3] {
        [("frr", 2), ("bird", 3), ("gobgp", 4)].map(|(name, number)| (name, self.address(number)))
    }
}

impl Deref for Paths {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.lab
    }
}

/// The next hops of routes, sorted.
fn next_hops(routes: &[Value]) -> Vec<String> {
    let mut hops: Vec<String> =
        routes.iter().map(|route| route["next_hop"].as_str().unwrap_or_default().to_owned()).collect();
    hops.sort_unstable();
    hops
}

/// The next hops of all paths that a client holds of a prefix from the reflector, sorted, in the client's own words.
fn learned(lab: &Paths, client: &Node, prefix: &str) -> Result<Vec<String>, String> {
    let mut hops: Vec<String> = match client.name() {
        "frr" => {
            let shown = json(client, &["vtysh", "-c", &format!("show bgp {} unicast {prefix} json", lab.family)])?;
            let paths = shown["paths"].as_array().cloned().unwrap_or_default();
            let reflected = paths.iter().filter(|path| path["clusterList"].is_object());
            // One of IPv6 may have an address of the link beside the one that counts here.
            let is_global = |hop: &&Value| hop["scope"] != "link-local";
            let hops = |path: &Value| path["nexthops"].as_array().cloned().unwrap_or_default();
            let hop =
                |path: &Value| hops(path).iter().find(is_global).and_then(|hop| hop["ip"].as_str().map(str::to_owned));
            reflected.filter_map(hop).collect()
        }
        "bird" => {
            let command = format!("birdc show route {prefix} protocol reflector all");
            let shown = client.shell(&command).map_err(|error| error.to_string())?;
            let hop = |line: &str| line.trim().strip_prefix("BGP.next_hop: ")?.split(' ').next().map(str::to_owned);
            shown.lines().filter_map(hop).collect()
        }
        "gobgp" => {
            let shown = json(client, &["gobgp", "-j", "global", "rib", "-a", lab.family])?;
            let paths = shown[prefix].as_array().cloned().unwrap_or_default();
            let value = |path: &Value, code: u64| {
                let attributes = path["attrs"].as_array().cloned().unwrap_or_default();
                attributes.into_iter().find(|attribute| attribute["type"] == code)
            };
            // CLUSTER_LIST: what came from the reflector.
            let reflected = paths.iter().filter(|path| value(path, 10).is_some());
            // NEXT_HOP, or MP_REACH_NLRI.
            let hop = |path: &Value| {
                let holder = value(path, 3).or_else(|| value(path, 14));
                holder.and_then(|hop| hop["nexthop"].as_str().map(str::to_owned))
            };
            reflected.filter_map(hop).collect()
        }
        _ => return routes(client, &[prefix]).map(|routes| next_hops(&routes)),
    };
    hops.sort_unstable();
    Ok(hops)
}

fn wait_for_paths(lab: &Paths, client: &str, prefix: &str, hops: &[String]) {
    wait(lab, &format!("{client} to hold {prefix} by {hops:?}"), || {
        let seen = learned(lab, lab.node(client).unwrap(), prefix)?;
        holds(seen == hops, seen)
    });
}

/// The next hops of the kernel's route.
fn in_kernel(lab: &Paths, host: &Node, prefix: &str) -> Result<Vec<String>, String> {
    let shown = json(host, &["ip", if lab.family == "ipv4" { "-4" } else { "-6" }, "-j", "route", "show", prefix])?;
    let route = &shown[0];
    let several = route["nexthops"].as_array().cloned().unwrap_or_else(|| vec![route.clone()]);
    let mut hops: Vec<String> = several.iter().filter_map(|hop| hop["gateway"].as_str().map(str::to_owned)).collect();
    hops.sort_unstable();
    Ok(hops)
}

fn wait_for_kernel(lab: &Paths, nodes: &[u8]) {
    let (shared, hops) = (lab.shared(), nodes.iter().map(|node| lab.address(*node)).collect::<Vec<_>>());
    wait(lab, &format!("the host's kernel to reach {shared} by {hops:?}"), || {
        let seen = in_kernel(lab, lab.node("host").unwrap(), &shared)?;
        holds(seen == hops, seen)
    });
}

#[test]
fn a_reflector_passes_on_every_path_and_a_host_forwards_by_all_of_them() {
    every_path_is_passed_on(&Paths::up("add-path", "ipv4", "10.3.0.", ["10.", ".0.0/24"]));
}

#[test]
fn a_reflector_passes_on_every_path_of_ipv6_and_a_host_forwards_by_all_of_them() {
    every_path_is_passed_on(&Paths::up("add-path-ipv6", "ipv6", "fd00:3::", ["2001:db8:", "::/48"]));
}

fn every_path_is_passed_on(lab: &Paths) {
    let (reflector, gobgp) = (lab.node("reflector").unwrap(), lab.node("gobgp").unwrap());
    wait(lab, "GoBGP to take its own routes", || {
        for path in [
            format!("{} origin igp nexthop {}", lab.shared(), lab.address(4)),
            format!("{} identifier 1 origin igp nexthop {}", lab.prefix(33), lab.address(81)),
            format!("{} identifier 2 origin igp nexthop {}", lab.prefix(33), lab.address(82)),
        ] {
            gobgp
                .shell(&format!("gobgp global rib add -a {} {path}", lab.family))
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    });

    what_was_negotiated_is_shown(lab);

    // The paths of the three: each hears the two others', the host all.
    let all = lab.clients().map(|(_, address)| address);
    for (name, own) in lab.clients() {
        let others: Vec<_> = all.iter().filter(|address| **address != own).cloned().collect();
        wait_for_paths(lab, name, &lab.shared(), &others);
    }
    wait_for_paths(lab, "host", &lab.shared(), &all);
    wait_for_kernel(lab, &[2, 3, 4]);

    // Several paths of one peer go to the others and not back.
    for (from, prefix, hops) in lab.twice() {
        wait(lab, &format!("the reflector to hold both paths of {from}"), || {
            let received = routes(reflector, &[&prefix])?;
            holds(next_hops(&received) == hops, &received)
        });
        let received = routes(reflector, &[&prefix]).unwrap();
        assert_ne!(received[0]["path_id"], received[1]["path_id"], "{received:?}");
        for (name, _) in lab.clients().into_iter().filter(|(name, _)| *name != from) {
            wait_for_paths(lab, name, &prefix, &hops);
        }
        wait_for_paths(lab, "host", &prefix, &hops);
        wait_for_paths(lab, from, &prefix, &[]);
    }
    identifiers_are_the_same_on_both_sides(lab);
    a_path_that_goes_takes_no_other_with_it(lab);
}

fn what_was_negotiated_is_shown(lab: &Paths) {
    let (reflector, host) = (lab.node("reflector").unwrap(), lab.node("host").unwrap());
    let family = format!("{}-unicast", lab.family);
    let both = json!([{"family": family, "send": true, "receive": true}]);
    for (name, address) in lab.clients() {
        wait(lab, &format!("{name} and the reflector to agree on several paths"), || {
            let shown = json(reflector, &["linnet", "bgp", "neighbor", &address, "-o", "json"])?;
            holds(shown["neighbors"][0]["add_path"] == both, &shown)
        });
    }
    wait(lab, "the host and the reflector to agree on several paths", || {
        let shown = json(host, &["linnet", "bgp", "neighbor", "reflector", "-o", "json"])?;
        let neighbor = &shown["neighbors"][0];
        let it_receives = json!({"family": family, "send": false, "receive": true});
        holds(neighbor["add_path"].as_array().is_some_and(|all| all.contains(&it_receives)), neighbor)?;
        holds(neighbor["configured_add_path"] == "receive" && neighbor["add_path_send"].is_null(), neighbor)
    });
}

/// What the reflector says it sent the host is what the host says it received, by path identifier.
fn identifiers_are_the_same_on_both_sides(lab: &Paths) {
    let (reflector, host) = (lab.node("reflector").unwrap(), lab.node("host").unwrap());
    wait(lab, "both sides to name the same paths", || {
        let paths = |routes: Vec<Value>| {
            let path = |route: Value| format!("{} {} {}", route["prefix"], route["path_id"], route["next_hop"]);
            let mut paths: Vec<String> = routes.into_iter().map(path).collect();
            paths.sort_unstable();
            paths
        };
        let sent = paths(routes(reflector, &["--advertised", &lab.address(5)])?);
        let received = paths(routes(host, &["--received", "reflector"])?);
        holds(sent.len() == 9 && sent == received, (&sent, &received))
    });
}

/// The next hop of whoever withdraws leaves, and no session and no other path is touched.
fn a_path_that_goes_takes_no_other_with_it(lab: &Paths) {
    let (frr, bird, host) = (lab.node("frr").unwrap(), lab.node("bird").unwrap(), lab.node("host").unwrap());
    let watch = Watch::begin(host).unwrap();
    bird.shell("birdc disable path_b").unwrap();
    for name in ["frr", "gobgp", "host"] {
        wait_for_paths(lab, name, &lab.prefix(31), &[lab.address(61)]);
    }
    let network = |no: &str| {
        let family = format!("address-family {} unicast", lab.family);
        let lines = ["configure terminal", "router bgp 64512", &family];
        let last = format!("{no}network {}", lab.shared());
        let command: Vec<&str> =
            std::iter::once("vtysh").chain(lines.into_iter().chain([&*last]).flat_map(|line| ["-c", line])).collect();
        frr.exec(&command).and_then(|output| output.checked()).unwrap();
    };
    network("no ");
    wait_for_kernel(lab, &[3, 4]);
    wait_for_paths(lab, "bird", &lab.shared(), &[lab.address(4)]);
    network("");
    wait_for_kernel(lab, &[2, 3, 4]);
    // Whatever its prefix.
    let lost = watch.removed(&[""]).unwrap();
    assert!(lost.is_empty(), "routes were removed and not replaced: {lost:?}\n{}", lab.dump());
    let summary = json(lab.node("reflector").unwrap(), &["linnet", "bgp", "neighbor", "-o", "json"]).unwrap();
    for neighbor in summary["neighbors"].as_array().unwrap() {
        assert_eq!(neighbor["times_established"], 1, "{neighbor}");
    }
}
