//! BFD with FRR, BIRD and another Linnet: paths that break without a word, and restarts that break none. Needs root.
//!
//! One lab for all of it, in an order that leaves what comes later as it was.

#![allow(clippy::unwrap_used, reason = "the panic of a test is its verdict")]

use std::path::Path;
use std::time::{Duration, Instant};

use topology_tests::expect::{holds, json, wait};
use topology_tests::lab::{Lab, Node, Options};
use topology_tests::watch::Watch;
use topology_tests::words::{neighbor, reload};

/// The detection time is 600 ms and the hold time 90 s. Much more than the first is a busy machine, and no hold timer.
const SOON: Duration = Duration::from_secs(5);
const OF_FRR: [&str; 2] = ["198.51.100.0/24", "2001:db8:1::/48"];
const OF_BIRD: [&str; 2] = ["192.0.2.0/24", "2001:db8:2::/48"];
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

fn up(lab: &Lab, node: &Node, names: &[&str]) {
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

/// How long after `since` the kernel has lost all of `prefixes`.
fn gone(lab: &Lab, node: &Node, prefixes: &[&str], since: Instant) -> Duration {
    loop {
        let left: Vec<_> = prefixes.iter().map(|prefix| kernel(node, prefix)).filter(|it| !it.is_empty()).collect();
        if left.is_empty() {
            return since.elapsed();
        }
        assert!(since.elapsed() < SOON, "still in the kernel: {left:?}\n{}", lab.dump());
        std::thread::yield_now();
    }
}

fn counts(node: &Node, name: &str) -> (u64, u64) {
    let shown = neighbor(node, name).unwrap();
    (shown["bfd"]["times_down"].as_u64().unwrap(), shown["times_established"].as_u64().unwrap())
}

#[test]
fn paths_that_break_without_a_word_are_noticed_and_restarts_break_none() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("labs/bfd.clab.yml");
    let lab = Lab::up(&file, &Options::default()).unwrap_or_else(|error| panic!("{error}"));
    sessions_come_up_and_agree_on_intervals(&lab);
    intervals_change_by_a_reload_and_nothing_flaps(&lab);
    admin_down_of_either_end_ends_no_session_of_ours(&lab);
    a_path_that_breaks_without_a_word_loses_its_routes_at_once(&lab);
    routers_keep_the_routes_of_a_host_whose_daemon_is_killed(&lab);
    another_hosts_routes_outlive_its_daemon_and_its_bfd(&lab);
    a_peer_whose_bfd_dies_with_its_control_plane_keeps_its_routes_unless_they_are_to_be_dropped(&lab);
}

fn sessions_come_up_and_agree_on_intervals(lab: &Lab) {
    let linnet = lab.node("linnet").unwrap();
    up(lab, linnet, &[&FRR[..], &BIRD[..], &["other"]].concat());
    for name in FRR.iter().chain(&BIRD) {
        let bfd = &neighbor(linnet, name).unwrap()["bfd"];
        let seen = ["transmit_interval_us", "receive_interval_us", "detection_time_us"].map(|key| bfd[key].as_u64());
        assert_eq!(seen, [200_000, 200_000, 600_000].map(Some), "{name}: {bfd}");
        assert_eq!(bfd["multihop"], name.ends_with("-far"), "{bfd}");
        // FRR's `check-control-plane-failure` sets C.
        assert_eq!(bfd["control_plane_independent"], name.starts_with("frr"), "{bfd}");
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
    // FRR makes its sessions anew while it starts, which may have cost one of ours then.
    let ended = || linnet.log("linnetd").matches("sent Cease / BFD Down").count();
    let before = ended();
    frr.shell(&shutdown("shutdown")).unwrap();
    wait(lab, "FRR's AdminDown", || {
        let shown = neighbor(linnet, "frr4")?;
        holds(shown["bfd"]["remote_state"] == "AdminDown" && shown["bfd"]["state"] == "Down", &shown)?;
        let cause = shown["bfd"]["last_down"].as_str().unwrap_or_default();
        holds(cause.contains("disabled by a person"), &shown)
    });
    frr.shell(&shutdown("no shutdown")).unwrap();
    up(lab, linnet, &FRR);
    assert_eq!(ended(), before, "{}", linnet.log("linnetd"));

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
    up(lab, linnet, &["other"]);
    assert_eq!(counts(other, "linnet").1, before);
}

fn a_path_that_breaks_without_a_word_loses_its_routes_at_once(lab: &Lab) {
    let linnet = lab.node("linnet").unwrap();
    for (router, names, prefixes) in [("frr", FRR, OF_FRR), ("bird", BIRD, OF_BIRD)] {
        let node = lab.node(router).unwrap();
        up(lab, linnet, &names);
        wait(lab, "the routes before", || {
            holds(prefixes.iter().all(|prefix| !kernel(linnet, prefix).is_empty()), prefixes)
        });
        let since = Instant::now();
        cut(node);
        let took = gone(lab, linnet, &prefixes, since);
        println!("{router}: routes gone from the kernel {} ms after the cut", took.as_millis());
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
        up(lab, linnet, &names);
    }
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
    up(lab, linnet, &[&FRR[..], &BIRD[..], &["other"]].concat());
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
    up(lab, linnet, &["other"]);
    let established = counts(linnet, "other").1;
    let lost = watch.removed(&[OF_OTHER]).unwrap();
    assert!(lost.is_empty(), "{lost:?}\n{}", lab.dump());

    // So soon that its BFD is not noticed as gone before the new one speaks: no session is ended for the old one's death.
    other.signal("linnetd", "KILL").unwrap();
    other.start("linnetd").unwrap();
    up(lab, linnet, &["other"]);
    assert_eq!(counts(linnet, "other").1, established + 1, "{}", lab.dump());
}

/// BIRD's C is clear, and with graceful restart agreed on, it may only restart: RFC 5882 section 4.3.2.
fn a_peer_whose_bfd_dies_with_its_control_plane_keeps_its_routes_unless_they_are_to_be_dropped(lab: &Lab) {
    let (linnet, bird) = (lab.node("linnet").unwrap(), lab.node("bird").unwrap());
    reload(linnet, "/name = \"bird/,/^$/s/\"drop\"/\"auto\"/").unwrap();
    up(lab, linnet, &BIRD);
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
    up(lab, linnet, &BIRD);
}
