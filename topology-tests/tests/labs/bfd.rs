//! BFD with FRR, BIRD and another Linnet: paths that break without a word, and restarts that break none. Needs root.
//!
//! One lab for all of it, in an order that leaves what comes later as it was.

#![allow(clippy::unwrap_used, reason = "the panic of a test is its verdict")]

use std::time::{Duration, Instant};

use topology_tests::expect::{holds, json, up, wait};
use topology_tests::lab::{Lab, Node};
use topology_tests::watch::Watch;
use topology_tests::words::{established, neighbor, path, reload, shell};

/// The detection time is 300 ms and the hold time 90 s. Who was no faster than this in any attempt has not failed over at once.
const AT_ONCE: Duration = Duration::from_secs(1);
/// A busy machine is late at times, and not as often as this.
const ATTEMPTS: usize = 3;
/// What is no failover any more, and no hold timer yet.
const FOR_GOOD: Duration = Duration::from_secs(60);
const OF_FRR: [&str; 2] = ["198.51.100.0/24", "2001:db8:1::/48"];
const OF_BIRD: [&str; 2] = ["192.0.2.0/24", "2001:db8:2::/48"];
/// Both announce these two, each the other one's by a longer path.
const RATHER_BY_FRR: &str = "203.0.113.0/25";
const RATHER_BY_BIRD: &str = "203.0.113.128/25";
const OF_OTHER: &str = "10.244.3.0/24";
const OURS: [&str; 2] = ["10.244.9.0/24", "fd00:244:9::/64"];
const FRR: [&str; 4] = ["frr4", "frr6", "frr4-far", "frr6-far"];
const BIRD: [&str; 4] = ["bird4", "bird6", "bird4-far", "bird6-far"];

/// The kernel's route to a prefix.
fn route(node: &Node, prefix: &str) -> String {
    let family = if prefix.contains(':') { "-6" } else { "-4" };
    node.shell(&format!("ip {family} route show {prefix}")).unwrap()
}

/// The same, if it is Linnet's.
fn kernel(node: &Node, prefix: &str) -> String {
    Some(route(node, prefix)).filter(|route| route.contains("proto 76")).unwrap_or_default()
}

fn sessions_up(lab: &Lab, node: &Node, names: &[&str]) {
    for name in names {
        wait(lab, &format!("BGP and BFD with {name}"), || {
            let shown = neighbor(node, name)?;
            let bfd = &shown["bfd"];
            let is_up = shown["state"] == "Established" && bfd["state"] == "Up" && bfd["remote_state"] == "Up";
            holds(is_up && bfd["polling"] == false, &shown)
        });
    }
}

/// Drops everything on a node's interface, both ways; its carrier stays.
fn cut(node: &Node) {
    node.shell(
        "nft add table inet cut
         nft add chain inet cut in '{ type filter hook prerouting priority -300; }'
         nft add chain inet cut out '{ type filter hook postrouting priority 300; }'
         nft add rule inet cut out oifname eth1 drop
         nft add rule inet cut in iifname eth1 drop",
    )
    .unwrap();
}

fn mend(node: &Node) {
    node.shell("nft delete table inet cut").unwrap();
}

fn counts(node: &Node, name: &str) -> (u64, u64) {
    let shown = neighbor(node, name).unwrap();
    (shown["bfd"]["times_down"].as_u64().unwrap(), shown["times_established"].as_u64().unwrap())
}

/// How many sessions of BGP have ended because a path was lost.
fn ended_by_bfd(node: &Node) -> usize {
    node.log("linnetd")
        .lines()
        .filter(|line| line.contains("session down peer=") && line.contains("reason=\"BFD: "))
        .count()
}

#[test]
fn paths_that_break_without_a_word_are_noticed_and_restarts_break_none() {
    let lab = up("bfd");
    sessions_come_up_and_agree_on_intervals(&lab);
    intervals_change_by_a_reload_and_nothing_flaps(&lab);
    admin_down_of_either_end_ends_no_session_of_ours(&lab);
    our_admin_down_is_no_failure_to_frr_and_costs_bird_no_route(&lab);
    a_path_that_breaks_without_a_word_is_replaced_within_a_second(&lab);
    routers_keep_the_routes_of_a_host_whose_daemon_is_killed(&lab);
    another_hosts_routes_outlive_its_daemon_and_its_bfd(&lab);
    a_peer_whose_bfd_dies_with_its_control_plane_keeps_its_routes_unless_they_are_to_be_dropped(&lab);
}

fn sessions_come_up_and_agree_on_intervals(lab: &Lab) {
    let linnet = lab.node("linnet").unwrap();
    sessions_up(lab, linnet, &[&FRR[..], &BIRD[..], &["other"]].concat());
    // FRR takes its BFD sessions away and makes them anew when its sessions of BGP come up, which is no loss of a path.
    assert_eq!(ended_by_bfd(linnet), 0, "{}", linnet.log("linnetd"));
    for name in FRR.iter().chain(&BIRD) {
        let bfd = &neighbor(linnet, name).unwrap()["bfd"];
        let seen = ["transmit_interval_us", "receive_interval_us", "detection_time_us"].map(|key| bfd[key].as_u64());
        assert_eq!(seen, [200_000, 200_000, 600_000].map(Some), "{name}: {bfd}");
        assert_eq!(bfd["multihop"], name.ends_with("-far"), "{bfd}");
        // FRR's `check-control-plane-failure` sets C.
        assert_eq!(bfd["control_plane_independent"], name.starts_with("frr"), "{bfd}");
        assert_eq!(bfd["on_down"], if BIRD.contains(name) { "drop" } else { "auto" }, "{bfd}");
    }
    let frr = json(lab.node("frr").unwrap(), &["vtysh", "-c", "show bfd peers json"]).unwrap();
    let states: Vec<_> = frr.as_array().unwrap().iter().map(|peer| peer["status"].clone()).collect();
    assert_eq!(states, ["up"; 4], "{frr}");
    let bird = lab.node("bird").unwrap().shell("birdc show bfd sessions").unwrap();
    assert_eq!(bird.matches(" Up ").count(), 4, "{bird}");
    wait(lab, "all routes", || {
        let missing: Vec<_> =
            OF_FRR.iter().chain(&OF_BIRD).chain(&[OF_OTHER]).filter(|it| kernel(linnet, it).is_empty()).collect();
        holds(missing.is_empty(), missing)
    });
}

fn intervals_change_by_a_reload_and_nothing_flaps(lab: &Lab) {
    let linnet = lab.node("linnet").unwrap();
    let names = [&FRR[..], &BIRD[..]].concat();
    let before: Vec<_> = names.iter().map(|name| counts(linnet, name)).collect();
    for (from, to) in [(200, 350), (350, 200)] {
        let said = reload(linnet, &format!("s/min-interval-ms = {from},/min-interval-ms = {to},/")).unwrap();
        assert!(said.contains("peer frr4: bfd changed, in place"), "{said}");
        for name in &names {
            wait(lab, &format!("{to} ms with {name}"), || {
                let bfd = &neighbor(linnet, name)?["bfd"];
                let agreed = bfd["transmit_interval_us"] == to * 1000 && bfd["detection_time_us"] == to * 3000;
                holds(agreed && bfd["polling"] == false && bfd["state"] == "Up", bfd)
            });
        }
    }
    let after: Vec<_> = names.iter().map(|name| counts(linnet, name)).collect();
    assert_eq!(after, before, "times down, times established of {names:?}");
}

fn admin_down_of_either_end_ends_no_session_of_ours(lab: &Lab) {
    let linnet = lab.node("linnet").unwrap();
    let (frr, other) = (lab.node("frr").unwrap(), lab.node("other").unwrap());
    // Theirs: FRR's profile is shut down.
    let shutdown = |word: &str| format!("vtysh -c 'conf t' -c bfd -c 'profile fast' -c '{word}'");
    frr.shell(&shutdown("shutdown")).unwrap();
    wait(lab, "FRR's AdminDown", || {
        let shown = neighbor(linnet, "frr4")?;
        holds(shown["bfd"]["remote_state"] == "AdminDown" && shown["bfd"]["state"] == "Down", &shown)?;
        let cause = shown["bfd"]["last_down"].as_str().unwrap_or_default();
        holds(cause.contains("disabled by a person"), &shown)
    });
    frr.shell(&shutdown("no shutdown")).unwrap();
    sessions_up(lab, linnet, &FRR);
    assert_eq!(ended_by_bfd(linnet), 0, "{}", linnet.log("linnetd"));

    // Ours: the other host hears AdminDown and keeps its session.
    let before = counts(other, "linnet").1;
    let said = reload(linnet, "/name = \"other\"/,/^$/s/^bfd = .*/bfd = false/").unwrap();
    assert!(said.contains("peer other: bfd changed, in place"), "{said}");
    wait(lab, "our AdminDown at the other host", || {
        let shown = neighbor(other, "linnet")?;
        let cause = shown["bfd"]["last_down"].as_str().unwrap_or_default();
        holds(shown["bfd"]["state"] == "Down" && cause.contains("disabled by a person"), &shown)
    });
    reload(linnet, "/name = \"other\"/,/^$/s/^bfd = .*/bfd = { min-interval-ms = 200 }/").unwrap();
    sessions_up(lab, linnet, &["other"]);
    assert_eq!(counts(other, "linnet").1, before);
}

/// RFC 5882 section 3.2 says that it is none. BIRD 2.0.12 ends its session all the same, gracefully by its `bfd graceful`, and
/// has the next one without BFD.
fn our_admin_down_is_no_failure_to_frr_and_costs_bird_no_route(lab: &Lab) {
    let [linnet, frr, bird] = ["linnet", "frr", "bird"].map(|name| lab.node(name).unwrap());
    wait(lab, "our route in BIRD's kernel", || holds(!route(bird, OURS[0]).is_empty(), OURS[0]));
    let before = neighbor(linnet, "frr4").unwrap()["times_established"].clone();
    let watch = Watch::begin(bird).unwrap();
    for name in ["frr4", "bird4"] {
        let said = reload(linnet, &format!("/name = \"{name}\"/,/^$/s/^bfd = /bfd = false # /")).unwrap();
        assert!(said.contains(&format!("peer {name}: bfd changed, in place")), "{said}");
    }
    wait(lab, "FRR to be told that it is a person's will", || {
        let peer = json(frr, &["vtysh", "-c", "show bfd peer 10.1.1.1 json"])?;
        holds(peer["status"] == "down" && peer["remote-diagnostic"] == "administratively down", &peer)
    });
    wait(lab, "BIRD to be told that our BFD is down, and to have a session all the same", || {
        let (bfd, bgp) = (shell(bird, "birdc show bfd sessions")?, shell(bird, "birdc show protocols linnet4")?);
        let is_down = bfd.lines().any(|line| line.starts_with("10.1.2.1 ") && line.contains(" Down "));
        holds(is_down && bgp.contains("Established"), (&bfd, &bgp))
    });
    established(lab, &["frr4", "bird4"]);
    assert_eq!(neighbor(linnet, "frr4").unwrap()["times_established"], before, "FRR's session was reset");
    let lost = watch.removed(&OURS).unwrap();
    assert!(lost.is_empty(), "BIRD lost {lost:?}\n{}", lab.dump());
    reload(linnet, "s/^bfd = false # /bfd = /").unwrap();
    sessions_up(lab, linnet, &["frr4", "bird4"]);
}

fn a_path_that_breaks_without_a_word_is_replaced_within_a_second(lab: &Lab) {
    all_change_their_intervals(lab, 200, 100);
    for (router, names, alone, shared, ways) in [
        ("frr", FRR, OF_FRR, RATHER_BY_FRR, ["10.1.1.2", "10.1.2.2"]),
        ("bird", BIRD, OF_BIRD, RATHER_BY_BIRD, ["10.1.2.2", "10.1.1.2"]),
    ] {
        let attempt = |_| failover(lab, (router, &names, alone, shared, ways)) < AT_ONCE;
        assert!((0..ATTEMPTS).any(attempt), "{router}: none of {ATTEMPTS} failovers took less than {AT_ONCE:?}");
        sessions_up(lab, lab.node("linnet").unwrap(), &names);
    }
    all_change_their_intervals(lab, 100, 200);
}

fn all_change_their_intervals(lab: &Lab, from: u64, to: u64) {
    let [linnet, frr, bird] = ["linnet", "frr", "bird"].map(|name| lab.node(name).unwrap());
    let profile = format!("-c bfd -c 'profile fast' -c 'transmit-interval {to}' -c 'receive-interval {to}'");
    frr.shell(&format!("vtysh -c 'conf t' {profile}")).unwrap();
    let next = format!("sed 's/interval 200 ms/interval {to} ms/g' /etc/bird/bird.conf > /run/intervals.conf");
    bird.shell(&format!("{next} && birdc configure '\"/run/intervals.conf\"'")).unwrap();
    reload(linnet, &format!("s/min-interval-ms = {from},/min-interval-ms = {to},/")).unwrap();
    for name in FRR.iter().chain(&BIRD) {
        wait(lab, &format!("{name} to be missed after three times {to} ms"), || {
            let bfd = &neighbor(linnet, name)?["bfd"];
            let agreed = bfd["transmit_interval_us"] == to * 1000 && bfd["detection_time_us"] == to * 3000;
            holds(agreed && bfd["polling"] == false && bfd["state"] == "Up", bfd)
        });
    }
}

/// A router, its sessions, the prefixes that it alone has, one that both have, and by whom that goes before and after.
type CutOff<'a> = (&'a str, &'a [&'a str], [&'a str; 2], &'a str, [&'a str; 2]);

/// How long after the cut our kernel has lost what it lost, and has the other way.
fn failover(lab: &Lab, (router, names, alone, shared, [before, after]): CutOff) -> Duration {
    let (linnet, node) = (lab.node("linnet").unwrap(), lab.node(router).unwrap());
    let is_by = |by: &str, not_by: &str| {
        let seen = kernel(linnet, shared);
        let has = |way: &str| seen.contains(&format!("via {way} "));
        holds(has(by) && !has(not_by), seen)
    };
    sessions_up(lab, linnet, names);
    wait(lab, "the routes before", || {
        holds(alone.iter().all(|prefix| !kernel(linnet, prefix).is_empty()), alone)?;
        // Both have said it again since the last cut.
        FRR.iter()
            .chain(&BIRD)
            .filter(|name| name.contains('4'))
            .try_for_each(|name| path(linnet, shared, name).map(drop))?;
        is_by(before, after)
    });
    let since = Instant::now();
    cut(node);
    let took = loop {
        let lost = alone.iter().try_for_each(|prefix| holds(kernel(linnet, prefix).is_empty(), kernel(linnet, prefix)));
        match lost.and_then(|()| is_by(after, before)) {
            Ok(()) => break since.elapsed(),
            Err(seen) => assert!(since.elapsed() < FOR_GOOD, "still in the kernel: {seen}\n{}", lab.dump()),
        }
        std::thread::yield_now();
    };
    println!("{router}: gone from the kernel, or by the other router, {} ms after the cut", took.as_millis());
    let links = linnet.shell("ip -brief link show up").unwrap();
    assert!(["eth1", "eth2"].iter().all(|link| links.contains(link)) && !links.contains("NO-CARRIER"), "{links}");
    for name in names {
        wait(lab, &format!("the end of the session with {name}"), || {
            let shown = neighbor(linnet, name)?;
            let error = shown["last_error"].as_str().unwrap_or_default();
            holds(shown["state"] != "Established" && error.contains("BFD"), &shown)
        });
    }
    mend(node);
    took
}

fn routers_keep_the_routes_of_a_host_whose_daemon_is_killed(lab: &Lab) {
    let linnet = lab.node("linnet").unwrap();
    let routers = [lab.node("frr").unwrap(), lab.node("bird").unwrap()];
    let ours = |router: &Node| OURS.map(|prefix| route(router, prefix));
    for router in routers {
        wait(lab, "our routes", || holds(ours(router).iter().all(|route| route.contains("via")), ours(router)));
    }
    let watches = routers.map(|router| Watch::begin(router).unwrap());
    linnet.signal("linnetd", "KILL").unwrap();
    wait(lab, "both routers' BFD to notice", || {
        let frr = json(routers[0], &["vtysh", "-c", "show bfd peers json"])?;
        holds(frr.as_array().into_iter().flatten().all(|peer| peer["status"] == "down"), &frr)?;
        let bird = routers[1].shell("birdc show bfd sessions").unwrap();
        holds(!bird.contains(" Up "), bird)
    });
    linnet.start("linnetd").unwrap();
    sessions_up(lab, linnet, &[&FRR[..], &BIRD[..], &["other"]].concat());
    for (router, watch) in routers.into_iter().zip(watches) {
        let lost = watch.removed(&OURS).unwrap();
        assert!(lost.is_empty(), "{}: {lost:?}\n{}", router.name(), lab.dump());
        assert!(ours(router).iter().all(|route| route.contains("via")), "{:?}", ours(router));
    }
}

fn another_hosts_routes_outlive_its_daemon_and_its_bfd(lab: &Lab) {
    let (linnet, other) = (lab.node("linnet").unwrap(), lab.node("other").unwrap());
    wait(lab, "the other host's route", || holds(!kernel(linnet, OF_OTHER).is_empty(), OF_OTHER));
    let watch = Watch::begin(linnet).unwrap();
    let before = counts(linnet, "other").0;
    other.signal("linnetd", "KILL").unwrap();
    wait(lab, "BFD to notice", || {
        let now = counts(linnet, "other").0;
        holds(now > before, now)
    });
    assert!(!kernel(linnet, OF_OTHER).is_empty(), "{}", lab.dump());
    other.start("linnetd").unwrap();
    sessions_up(lab, linnet, &["other"]);
    let established = counts(linnet, "other").1;
    let lost = watch.removed(&[OF_OTHER]).unwrap();
    assert!(lost.is_empty(), "{lost:?}\n{}", lab.dump());

    // So soon that its BFD is not noticed as gone before the new one speaks: no session is ended for the old one's death.
    other.signal("linnetd", "KILL").unwrap();
    other.start("linnetd").unwrap();
    sessions_up(lab, linnet, &["other"]);
    assert_eq!(counts(linnet, "other").1, established + 1, "{}", lab.dump());
}

/// BIRD's C is clear, and with graceful restart agreed on, it may only restart: RFC 5882 section 4.3.2.
fn a_peer_whose_bfd_dies_with_its_control_plane_keeps_its_routes_unless_they_are_to_be_dropped(lab: &Lab) {
    let (linnet, bird) = (lab.node("linnet").unwrap(), lab.node("bird").unwrap());
    reload(linnet, "/name = \"bird/,/^$/s/\"drop\"/\"auto\"/").unwrap();
    sessions_up(lab, linnet, &BIRD);
    wait(lab, "BIRD's routes", || holds(OF_BIRD.iter().all(|it| !kernel(linnet, it).is_empty()), OF_BIRD));
    cut(bird);
    for name in BIRD {
        wait(lab, &format!("the loss of {name}"), || {
            let shown = neighbor(linnet, name)?;
            let error = shown["last_error"].as_str().unwrap_or_default();
            holds(shown["state"] != "Established" && !error.contains("Cease"), &shown)
        });
    }
    let stale = json(linnet, &["linnet", "bgp", "routes", OF_BIRD[0], "-o", "json"]).unwrap();
    assert!(stale["routes"].as_array().unwrap().iter().all(|route| route["stale"] == true), "{stale}");
    for prefix in OF_BIRD {
        assert!(!kernel(linnet, prefix).is_empty(), "{prefix} is gone\n{}", lab.dump());
    }
    mend(bird);
    sessions_up(lab, linnet, &BIRD);
}
