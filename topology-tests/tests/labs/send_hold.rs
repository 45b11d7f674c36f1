//! The send hold timer (RFC 9687) with BIRD and FRR, each of which is stopped in the middle of a session, beside the other one
//! (`labs/send-hold.clab.yml`). Needs root.

#![allow(clippy::unwrap_used, reason = "the panic of a test is its verdict")]

use topology_tests::expect::{holds, json, up, wait};
use topology_tests::lab::Lab;
use topology_tests::words::{neighbor, path, reload, routes, shell};

const OF_BIRD: &str = "192.0.2.0/24";
const OF_FRR: &str = "198.51.100.0/24";
/// More than a socket of either router's and one of ours take together, at five octets or more each.
const ROUTES: u64 = 40_000;

/// A router that is stopped: its daemon, what it announces, and who goes on beside it.
struct Stopped<'a> {
    router: &'a str,
    daemon: &'a str,
    prefix: &'a str,
    beside: &'a str,
}

#[test]
fn a_router_that_takes_nothing_is_given_up_alone_and_is_back_when_it_goes_on() {
    let lab = up("send-hold");
    for (name, seconds) in [("bird", 3600), ("frr", 3000)] {
        wait(&lab, &format!("the session with {name}"), || {
            let shown = neighbor(&lab, name)?;
            holds(shown["state"] == "Established" && shown["send_hold_seconds"] == seconds, &shown)
        });
    }
    let bird = Stopped { router: "bird", daemon: "bird", prefix: OF_BIRD, beside: "frr" };
    is_given_up_alone(&lab, &bird, "add", ROUTES);
    let frr = Stopped { router: "frr", daemon: "bgpd", prefix: OF_FRR, beside: "bird" };
    is_given_up_alone(&lab, &frr, "del", 0);
}

/// Stops a router while there is more for it than its socket and ours have room for: afterwards so many of the routes are there.
fn is_given_up_alone(lab: &Lab, Stopped { router, daemon, prefix, beside }: &Stopped, change: &str, left: u64) {
    let [linnet, stopped] = ["linnet", router].map(|name| lab.node(name).unwrap());
    wait(lab, &format!("{router}'s route"), || path(lab, prefix, router).map(drop));
    let before = [router, beside].map(|name| neighbor(lab, name).unwrap()["times_established"].as_u64().unwrap());

    stopped.signal(daemon, "STOP").unwrap();
    linnet
        .shell(&format!(
            "seq 0 {} | while read n; do echo \"route {change} blackhole 10.$((128 + n / 65536)).$((n / 256 % 256)).$((n % 256))/32 \
             proto static\"; done | ip -batch -",
            ROUTES - 1
        ))
        .unwrap();
    wait(lab, &format!("what {router} does not take to wait"), || {
        let shown = neighbor(lab, router)?;
        let waits = shown["unsent_bytes"].as_u64() > Some(0) && shown["untaken_seconds"].as_u64() > Some(1);
        holds(waits && shown["state"] == "Established", &shown)
    });
    wait(lab, &format!("{beside} to have all of it"), || has_heard(lab, beside, left));

    // Nobody waits for an hour: it is to be a second, and at once, since more than that has passed.
    let of_the_router = |script: &str| reload(lab, &format!("/name = \"{router}\"/,/^$/{script}")).unwrap();
    let said = of_the_router("s/^send-hold-time = /&1 # /");
    assert!(said.contains(&format!("peer {router}: send-hold-time changed, in place")), "{said}");
    wait(lab, &format!("the session to end for what {router} does not take"), || {
        let shown = neighbor(lab, router)?;
        let error = shown["last_error"].as_str().unwrap_or_default();
        holds(shown["state"] != "Established" && error.contains("send hold timer expired"), &shown)
    });
    of_the_router("s/1 # //");
    wait(lab, &format!("{router}'s route to be gone"), || {
        let path = path(lab, prefix, router);
        holds(path.as_ref().is_err_and(|error| error.contains("no path by")), path)
    });
    let other = neighbor(lab, beside).unwrap();
    assert_eq!((&other["state"], &other["times_established"]), (&"Established".into(), &before[1].into()), "{other}");

    stopped.signal(daemon, "CONT").unwrap();
    wait(lab, &format!("the session with {router} to be back"), || {
        let shown = neighbor(lab, router)?;
        holds(shown["state"] == "Established" && shown["times_established"] == before[0] + 1, &shown)
    });
    wait(lab, &format!("{router} to have all of it, and we what is {router}'s"), || {
        has_heard(lab, router, left)?;
        path(lab, prefix, router).map(drop)
    });
}

/// Whether a router has so many of the routes, what is ours, and the other router's if that is there.
fn has_heard(lab: &Lab, router: &str, left: u64) -> Result<(), String> {
    let node = lab.node(router).unwrap();
    let (heard, of_the_other, seen) = if router == "frr" {
        let seen = json(node, &["vtysh", "-c", "show bgp ipv4 unicast summary json"])?;
        (seen["peers"]["10.1.2.1"]["pfxRcd"].as_u64(), OF_BIRD, seen.to_string())
    } else {
        let seen = shell(node, "birdc show route protocol linnet count | tail -1")?;
        (seen.split_whitespace().next().and_then(|count| count.parse().ok()), OF_FRR, seen)
    };
    let of_the_other = routes(lab, &[of_the_other])?.len() as u64;
    holds(heard == Some(left + 1 + of_the_other), seen)
}
