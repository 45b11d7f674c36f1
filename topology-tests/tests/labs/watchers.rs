//! What a BMP station and readers of MRT files see of a node is what the node shows itself (`labs/watchers.clab.yml`). Needs root.

#![allow(clippy::unwrap_used, reason = "the panic of a test is its verdict")]

use std::collections::BTreeSet;

use serde_json::Value;
use topology_tests::expect::{json, up, wait};
use topology_tests::lab::Node;
use topology_tests::station::{self, loc_rib, logged, post_policy, pre_policy};

/// A route as every party shows it: prefix, next hop, AS path.
type Route = (String, String, String);

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn shown(node: &Node, arguments: &[&str]) -> Result<Vec<Value>, String> {
    let command = [&["linnet", "bgp", "routes", "-o", "json"], arguments].concat();
    Ok(json(node, &command)?["routes"].as_array().cloned().unwrap_or_default())
}

fn route(value: &Value) -> Route {
    (text(&value["prefix"]), text(&value["next_hop"]), text(&value["as_path"]))
}

/// What the node has of both sessions: 41 IPv4 and 12 IPv6 routes each.
fn received(node: &Node, peer: &str) -> Result<BTreeSet<Route>, String> {
    let routes: BTreeSet<Route> = shown(node, &["--received", peer])?.iter().map(route).collect();
    if routes.len() == 53 { Ok(routes) } else { Err(format!("{} routes of {peer}", routes.len())) }
}

/// What the station has of one table of one peer.
fn seen(station: &Node, peer: &str, table: impl Fn(&Value) -> bool) -> Result<BTreeSet<Route>, String> {
    let routes = station::routes(station, peer, table)?.into_iter();
    Ok(routes.map(|(prefix, entry)| (prefix, text(&entry["bgp_nexthop"]), text(&entry["as_path"]))).collect())
}

fn same(ours: &BTreeSet<Route>, theirs: &BTreeSet<Route>) -> Result<(), String> {
    if ours == theirs {
        return Ok(());
    }
    let only =
        |one: &BTreeSet<Route>, other: &BTreeSet<Route>| one.difference(other).take(3).cloned().collect::<Vec<_>>();
    Err(format!(
        "{} here, {} there; only here {:?}; only there {:?}",
        ours.len(),
        theirs.len(),
        only(ours, theirs),
        only(theirs, ours)
    ))
}

#[test]
fn a_station_sees_what_the_node_shows_before_and_behind_its_filters_and_best() {
    let lab = up("watchers");
    let [linnet, feeder, station] = ["linnet", "feeder", "station"].map(|name| lab.node(name).unwrap());
    let before =
        wait(&lab, "the routes of both sessions", || received(linnet, "feeder6").and(received(linnet, "feeder")));
    wait(&lab, "the station to have the table", || {
        let status = json(linnet, &["linnet", "bgp", "bmp", "-o", "json"])?;
        if status["stations"][0]["state"] == "up" { Ok(()) } else { Err(status.to_string()) }
    });
    wait(&lab, "the station to see what came", || same(&before, &seen(station, "10.9.1.10", pre_policy)?));
    wait(&lab, "the same over IPv6", || {
        same(&received(linnet, "feeder6")?, &seen(station, "fd00:9:1::10", pre_policy)?)
    });
    wait(&lab, "the station to see what was accepted", || {
        let accepted = shown(linnet, &[])?.iter().filter(|one| one["peer"] == "feeder").map(route).collect();
        same(&accepted, &seen(station, "10.9.1.10", post_policy)?)
    });
    wait(&lab, "the station to see the best paths", || {
        // What the node originates has a next hop of its own in each: its address here, none there.
        let alike = |route: Route| if route.2.is_empty() { (route.0, String::new(), route.2) } else { route };
        let best = shown(linnet, &[])?.iter().filter(|one| one["best"] == true).map(route).map(alike).collect();
        let loc_rib = seen(station, "0.0.0.0", loc_rib)?;
        same(&best, &loc_rib.into_iter().map(alike).collect())
    });

    // A route goes, another session ends and comes back.
    feeder.shell("birdc disable passing").unwrap();
    wait(&lab, "the withdrawal", || {
        let left = seen(station, "10.9.1.10", pre_policy)?;
        if left.len() == 52 && !left.iter().any(|route| route.0 == "192.0.2.0/24") {
            Ok(())
        } else {
            Err(format!("{}", left.len()))
        }
    });
    feeder.shell("birdc disable linnet6").unwrap();
    let said = |what: &str, peer: &str| {
        let is = |entry: &Value| entry["bmp_msg_type"] == what && entry["peer_ip"] == peer;
        Ok::<_, String>(logged(station)?.into_iter().filter(is).collect::<Vec<_>>())
    };
    wait(&lab, "the end of the session by a NOTIFICATION of the peer (reason 3)", || {
        let downs = said("peer_down", "fd00:9:1::10")?;
        if downs.len() == 1 && downs[0]["reason_type"] == 3 { Ok(()) } else { Err(format!("{downs:?}")) }
    });
    feeder.shell("birdc enable linnet6").unwrap();
    wait(&lab, "the session to be up again", || {
        let ups = said("peer_up", "fd00:9:1::10")?;
        if ups.len() >= 2 { Ok(()) } else { Err(format!("{ups:?}")) }
    });
    wait(&lab, "a report of numbers", || {
        let reports = said("stats", "10.9.1.10")?;
        if reports.len() > 2 { Ok(()) } else { Err(format!("{reports:?}")) }
    });

    // A station that was away begins with the table as it is.
    station.signal("pmbmpd", "KILL").unwrap();
    station.shell("rm /run/bmp.log").unwrap();
    station.start("pmbmpd").unwrap();
    wait(&lab, "the table once more", || {
        let now: BTreeSet<Route> = shown(linnet, &["--received", "feeder"])?.iter().map(route).collect();
        same(&now, &seen(station, "10.9.1.10", pre_policy)?)
    });
    let status = json(linnet, &["linnet", "bgp", "bmp", "-o", "json"]).unwrap();
    assert!(status["stations"][0]["connections"].as_u64() >= Some(2), "{status}");
}

/// The lines of `bgpdump -m`, cut at their bars.
fn bgpdump(node: &Node, file: &str) -> Result<Vec<Vec<String>>, String> {
    let said =
        node.exec(&["bgpdump", "-m", file]).and_then(|said| said.checked()).map_err(|error| error.to_string())?;
    Ok(said.lines().map(|line| line.split('|').map(str::to_owned).collect()).collect())
}

/// What `bgpctl show mrt` shows of a table: prefix, next hop, local preference, MED and path, without flags.
fn bgpctl(node: &Node, file: &str) -> Result<BTreeSet<[String; 5]>, String> {
    let said = node
        .exec(&["bgpctl", "show", "mrt", "file", file])
        .and_then(|said| said.checked())
        .map_err(|error| error.to_string())?;
    let route = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let at = words.iter().position(|word| word.contains('/'))?;
        let [prefix, next_hop, local_pref, med, path @ .., _origin] = &words[at..] else { return None };
        Some([
            (*prefix).to_owned(),
            (*next_hop).to_owned(),
            (*local_pref).to_owned(),
            (*med).to_owned(),
            path.join(" "),
        ])
    };
    said.lines().map(|line| route(line).ok_or_else(|| line.to_owned())).collect()
}

#[test]
fn readers_of_mrt_files_see_the_table_and_what_changed_and_old_files_go() {
    let lab = up("watchers");
    let (linnet, feeder) = (lab.node("linnet").unwrap(), lab.node("feeder").unwrap());
    wait(&lab, "the routes of both sessions", || received(linnet, "feeder6").and(received(linnet, "feeder")));
    linnet.exec(&["linnet", "bgp", "mrt", "dump", "/run/table.mrt"]).unwrap().checked().unwrap();
    let lines = bgpdump(linnet, "/run/table.mrt").unwrap();
    // TABLE_DUMP2|time|B|peer|peer's AS|prefix|path|origin|next hop|local pref|MED|communities|...
    let read: BTreeSet<Vec<String>> = lines
        .iter()
        .filter(|line| line[3] != "0.0.0.0")
        .map(|line| [3, 5, 6, 7, 8, 9, 10].map(|at| line[at].clone()).to_vec())
        .collect();
    let number = |value: &Value| value.as_u64().unwrap_or(0).to_string();
    let peer = |name: &Value| if name == "feeder" { "10.9.1.10" } else { "fd00:9:1::10" }.to_owned();
    let ours: BTreeSet<Vec<String>> = shown(linnet, &[])
        .unwrap()
        .iter()
        .filter(|route| route["peer"] != "local")
        .map(|route| {
            let (prefix, next_hop, path) = self::route(route);
            let origin = text(&route["origin"]).to_uppercase();
            vec![
                peer(&route["peer"]),
                prefix,
                path,
                origin,
                next_hop,
                number(&route["local_pref"]),
                number(&route["med"]),
            ]
        })
        .collect();
    assert_eq!(read, ours, "only read: {:?}", read.difference(&ours).collect::<Vec<_>>());
    assert!(ours.len() > 70, "{}", ours.len());
    let dumped: BTreeSet<_> = lines.iter().map(|line| [5, 8, 9, 10, 6].map(|at| line[at].clone())).collect();
    assert_eq!(bgpctl(linnet, "/run/table.mrt").unwrap(), dumped);
    let own = lines.iter().filter(|line| line[3] == "0.0.0.0").map(|line| line[5].as_str()).collect::<Vec<_>>();
    assert_eq!(own, ["10.244.9.0/24"]);

    feeder.shell("birdc disable passing").unwrap();
    let files = |kind: &str| {
        let said = linnet.shell(&format!("ls /var/lib/linnet/mrt/{kind}.*.mrt")).map_err(|error| error.to_string())?;
        Ok::<_, String>(said.lines().map(str::to_owned).collect::<Vec<_>>())
    };
    wait(&lab, "updates, a withdrawal and a session's state in files", || {
        let mut kinds = BTreeSet::new();
        for file in files("updates")? {
            for line in bgpdump(linnet, &file)? {
                let gone = line[2] == "W" && line.get(5).is_some_and(|prefix| prefix == "192.0.2.0/24");
                kinds.insert(if gone { "gone".to_owned() } else { line[2].clone() });
            }
        }
        if ["A", "gone", "STATE"].iter().all(|kind| kinds.contains(*kind)) { Ok(()) } else { Err(format!("{kinds:?}")) }
    });
    wait(&lab, "three tables", || {
        let tables = files("table")?;
        if tables.len() == 3 { Ok(()) } else { Err(format!("{tables:?}")) }
    });
    let first = files("table").unwrap()[0].clone();
    wait(&lab, "the oldest table to give way to a new one", || {
        let tables = files("table")?;
        if tables.len() <= 3 && !tables.contains(&first) { Ok(()) } else { Err(format!("{tables:?}")) }
    });
    let table = bgpdump(linnet, &files("table").unwrap()[0]).unwrap();
    assert!(table.len() > 70, "{table:?}");
    let status = json(linnet, &["linnet", "bgp", "mrt", "status", "-o", "json"]).unwrap();
    assert!(status["mrt"]["files"].as_u64() > Some(3) && status["mrt"]["last_error"].is_null(), "{status}");
}
