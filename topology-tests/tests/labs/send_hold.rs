//! The send hold timer (RFC 9687) with BIRD, which is stopped in the middle of a session, beside FRR
//! (`labs/send-hold.clab.yml`). Needs root.

#![allow(clippy::unwrap_used, reason = "the panic of a test is its verdict")]

use std::path::Path;

use topology_tests::expect::{holds, wait};
use topology_tests::lab::{Lab, Options};
use topology_tests::words::neighbor;

const OF_BIRD: &str = "192.0.2.0/24";
/// More than a socket of BIRD's and one of ours take together, at four octets or more each.
const ROUTES: u32 = 40_000;

#[test]
fn a_router_that_takes_nothing_is_given_up_alone_and_is_back_when_it_goes_on() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("labs/send-hold.clab.yml");
    let lab = Lab::up(&file, &Options::default()).unwrap_or_else(|error| panic!("{error}"));
    let [linnet, bird] = ["linnet", "bird"].map(|name| lab.node(name).unwrap());
    for (name, seconds) in [("bird", 3600), ("frr", 100)] {
        wait(&lab, &format!("the session with {name}"), || {
            let shown = neighbor(linnet, name)?;
            holds(shown["state"] == "Established" && shown["send_hold_seconds"] == seconds, &shown)
        });
    }
    let has_birds_route = || -> Result<bool, String> {
        let routes =
            linnet.exec(&["linnet", "bgp", "routes", OF_BIRD, "-o", "json"]).map_err(|error| error.to_string())?;
        Ok(routes.stdout.contains("\"bird\""))
    };
    wait(&lab, "BIRD's route", || holds(has_birds_route()?, OF_BIRD));

    // BIRD takes nothing any more, and more is there for it than its socket and ours have room for.
    bird.signal("bird", "STOP").unwrap();
    linnet
        .shell(&format!(
            "seq 0 {} | while read n; do echo \"route add blackhole 10.$((128 + n / 65536)).$((n / 256 % 256)).$((n % 256))/32 \
             proto static\"; done | ip -batch -",
            ROUTES - 1
        ))
        .unwrap();
    wait(&lab, "what BIRD does not take to wait", || {
        let shown = neighbor(linnet, "bird")?;
        let waits = shown["unsent_bytes"].as_u64() > Some(0) && shown["untaken_seconds"].as_u64() > Some(1);
        holds(waits && shown["state"] == "Established", &shown)
    });
    wait(&lab, "FRR to have all of it", || {
        let command = "vtysh -c 'show bgp ipv4 unicast summary json' | tr -d ' \\n'";
        let at_frr = lab.node("frr").unwrap().shell(command).map_err(|error| error.to_string())?;
        holds(at_frr.contains(&format!("\"pfxRcd\":{}", ROUTES + 2)), at_frr)
    });

    // Nobody waits for an hour: it is to be a second, and at once, since more than that has passed.
    let said = linnet
        .shell(
            "sed s/3600/1/ /etc/linnet/linnetd.toml > /run/changed.toml
             umount /etc/linnet/linnetd.toml
             mount --bind /run/changed.toml /etc/linnet/linnetd.toml
             linnet reload",
        )
        .unwrap();
    assert!(said.contains("peer bird: send-hold-time changed, in place"), "{said}");
    wait(&lab, "the session to end for what BIRD does not take", || {
        let shown = neighbor(linnet, "bird")?;
        let error = shown["last_error"].as_str().unwrap_or_default();
        holds(shown["state"] != "Established" && error.contains("send hold timer expired"), &shown)
    });
    wait(&lab, "BIRD's route to be gone", || holds(!has_birds_route()?, OF_BIRD));
    let frr = neighbor(linnet, "frr").unwrap();
    assert_eq!((&frr["state"], &frr["times_established"]), (&"Established".into(), &1.into()), "{frr}");

    bird.signal("bird", "CONT").unwrap();
    wait(&lab, "the session with BIRD to be back", || {
        let shown = neighbor(linnet, "bird")?;
        holds(shown["state"] == "Established" && shown["times_established"] == 2, &shown)
    });
    wait(&lab, "BIRD to have all of it, and we what is BIRD's", || {
        let at_bird = bird.shell("birdc show route protocol linnet count").map_err(|error| error.to_string())?;
        holds(at_bird.contains(&format!("{} of", ROUTES + 1)), at_bird)?;
        holds(has_birds_route()?, OF_BIRD)
    });
}
