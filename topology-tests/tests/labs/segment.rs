//! Two hosts, a route reflector and FRR on one segment (`labs/segment.clab.yml`). Needs root.

use std::time::Duration;

use topology_tests::expect::up;
use topology_tests::lab::{Lab, LabError};
use topology_tests::probe::ping;
use topology_tests::two_racks::{routes, sessions};

const DEADLINE: Duration = Duration::from_secs(60);

type Outcome = Result<(), LabError>;

/// The lab with every session established and every host's routes there.
fn lab() -> Result<Lab, LabError> {
    let lab = up("segment");
    lab.poll("every session", DEADLINE, || {
        for (name, wanted) in [("rr", 2), ("h1", 2), ("h2", 2), ("router", 2)] {
            let speaker = lab.node(name).and_then(sessions::speaker).map_err(|error| error.to_string())?;
            let up = speaker.iter().flat_map(|speaker| &speaker.sessions).filter(|session| session.established());
            if up.count() != wanted {
                return Err(format!("{name}: {speaker:?}"));
            }
        }
        Ok(())
    })?;
    for (host, prefixes) in [
        ("h1", ["10.244.2.0/24", "fd00:244:2::/64", "default"]),
        ("h2", ["10.244.1.0/24", "fd00:244:1::/64", "default"]),
    ] {
        for (prefix, v6) in prefixes.into_iter().zip([false, true, false]) {
            lab.poll(&format!("the route of {host} to {prefix}"), DEADLINE, || {
                let held = lab.node(host).and_then(|host| routes::of(host, v6)).map_err(|error| error.to_string())?;
                if held.iter().any(|route| route.prefix == prefix) { Ok(()) } else { Err(format!("{held:?}")) }
            })?;
        }
    }
    Ok(lab)
}

#[test]
fn hosts_behind_a_reflector_reach_each_others_pods_and_the_world_directly() -> Outcome {
    let lab = lab()?;
    let host = lab.node("h1")?;
    for (v6, prefix, next_hop) in [(false, "10.244.2.0/24", "192.168.0.2"), (true, "fd00:244:2::/64", "fd00:1::2")] {
        let held = routes::of(host, v6)?;
        let route = held.iter().find(|route| route.prefix == prefix).expect("the route is there");
        // The reflector leaves the next hop as it is: RFC 4456 section 10.
        assert_eq!(route.to, routes::To::NextHops(vec![(next_hop.to_owned(), "eth1".to_owned())]));
    }
    for address in ["10.244.2.20", "fd00:244:2::20", "203.0.113.1"] {
        let pings = ping(host, Some("client-1"), address, 5, Duration::from_millis(20))?;
        assert_eq!(pings.lost(), 0, "{address}: {pings:?}");
    }
    let reflector = lab.node("rr")?;
    assert_eq!((routes::of(reflector, false)?, routes::of(reflector, true)?), (vec![], vec![]));
    Ok(())
}

#[test]
fn a_filter_that_changes_takes_a_route_back_and_leaves_the_session_alone() -> Outcome {
    let lab = lab()?;
    let (host, router) = (lab.node("h1")?, lab.node("router")?);
    let known = || router.shell("ip route show 10.244.1.0/24").map_err(|error| error.to_string());
    lab.poll("the route on the router", DEADLINE, || if known()?.is_empty() { Err("none".into()) } else { Ok(()) })?;
    let established = || host.shell("linnet bgp neighbor router | grep Established");
    let sessions_before = established()?;
    host.shell(
        "sed '/name = \"to-router\"/,$s/then = \"accept\"/then = \"reject\"/' /etc/linnet/linnetd.toml > /run/changed.toml
         mount --bind /run/changed.toml /etc/linnet/linnetd.toml
         linnet reload",
    )?;
    lab.poll("the route to go", DEADLINE, || match known()? {
        none if none.is_empty() => Ok(()),
        route => Err(route),
    })?;
    // "Established for TIME, 1 session so far"
    let count = |text: &str| text.split(", ").nth(1).map(str::to_owned);
    assert_eq!(count(&established()?), count(&sessions_before));
    Ok(())
}

#[test]
fn a_session_without_the_key_does_not_come_about() -> Outcome {
    let lab = lab()?;
    let (host, router) = (lab.node("h1")?, lab.node("router")?);
    let state = || -> Result<String, String> {
        let speaker = sessions::speaker(host).map_err(|error| error.to_string())?;
        let session = speaker.and_then(|speaker| speaker.sessions.into_iter().find(|session| session.peer == "router"));
        session.map(|session| session.state).ok_or_else(|| "no such session".to_owned())
    };
    let key = |key: &str| {
        let line = format!("neighbor hosts password {key}");
        router.exec(&["vtysh", "-c", "configure", "-c", "router bgp 65000", "-c", &line])?.checked()
    };
    key("wrong")?;
    lab.poll("the session to end", DEADLINE, || match state()?.as_str() {
        "Established" => Err("Established".to_owned()),
        _ => Ok(()),
    })?;
    // Both sides try each second; the kernel counts what it refuses for its key.
    let refused = || -> Result<u64, String> {
        let counters = host.shell("nstat -az TcpExtTCPMD5Failure | tail -n 1").map_err(|error| error.to_string())?;
        counters.split_whitespace().nth(1).and_then(|count| count.parse().ok()).ok_or(counters)
    };
    lab.poll("three refused segments", DEADLINE, || match refused()? {
        count if count >= 3 => Ok(()),
        count => Err(format!("{count} so far")),
    })?;
    assert_ne!(state(), Ok("Established".to_owned()));
    key("not-a-secret")?;
    lab.poll("the session to come back with the right key", DEADLINE, || match state()?.as_str() {
        "Established" => Ok(()),
        other => Err(other.to_owned()),
    })
}
