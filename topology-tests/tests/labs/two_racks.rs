//! Linnet beside BIRD, FRR and GoBGP on `labs/two-racks.clab.yml`: what `lab demo` shows, asserted. Needs root.
//!
//! One lab serves all of these tests, one test at a time; each leaves it as it found it. It ends with the test program.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use topology_tests::lab::{Lab, LabError, Options};
use topology_tests::probe::{INTERVAL, Stream, ping};
use topology_tests::two_racks::{self, client, routes, sessions, traffic, web};

/// How long anything may take that has no deadline of its own.
const DEADLINE: Duration = Duration::from_secs(90);

type Outcome = Result<(), LabError>;

/// The lab, converged.
fn lab() -> MutexGuard<'static, Lab> {
    static LAB: OnceLock<Mutex<Lab>> = OnceLock::new();
    let lab = LAB.get_or_init(|| {
        Mutex::new(Lab::up(&two_racks::file(), &Options::default()).unwrap_or_else(|error| panic!("{error}")))
    });
    // A test that failed says so itself; the next one waits for the lab to be whole again.
    let lab = lab.lock().unwrap_or_else(PoisonError::into_inner);
    converged(&lab).unwrap_or_else(|error| panic!("{error}"));
    lab
}

fn converged(lab: &Lab) -> Outcome {
    lab.poll("every session and every route", DEADLINE, || {
        sessions::all_established(lab)?;
        routes::all_there(lab)
    })
}

#[test]
fn the_collector_hears_what_the_fabric_knows_and_nothing_of_the_clouds_pods() -> Outcome {
    let lab = lab();
    let collector = lab.node("collector")?;
    let heard = collector.shell("gobgp global rib; gobgp global rib -a ipv6")?;
    for number in 1..=4 {
        for subnet in routes::pod_subnets(number) {
            assert!(heard.contains(&subnet), "{subnet}\n{heard}");
        }
    }
    for subnet in routes::pod_subnets(5) {
        assert!(!heard.contains(&subnet), "{subnet}\n{heard}");
    }
    Ok(())
}

#[test]
fn no_router_knows_a_pod_of_the_cloud_host() -> Outcome {
    let lab = lab();
    for router in ["spine", "tor1a", "tor1b", "tor2", "cloudgw"] {
        let table = lab.node(router)?.shell("ip route; ip -6 route")?;
        assert!(!table.contains("10.244.5.") && !table.contains("fd00:244:5:"), "{router}\n{table}");
    }
    Ok(())
}

#[test]
fn pods_reach_each_other_directly_in_and_across_racks_and_the_cloud_by_vxlan() -> Outcome {
    let lab = lab();
    let cases = [
        (client(1), client(2), false),
        (client(1), client(3), false),
        (client(4), client(2), false),
        (client(1), client(5), true),
        (client(5), client(3), true),
    ];
    for (from, to, tunnel) in cases {
        for address in [to.address(), to.address6()] {
            let passage = traffic::passage(&lab, from, &address, 10)?;
            assert_eq!(passage.pings.lost(), 0, "{} to {address}: {passage:?}", from.name());
            assert_eq!(passage.tunnelled >= 10, tunnel, "{} to {address}: {passage:?}", from.name());
        }
    }
    Ok(())
}

#[test]
fn a_packet_as_big_as_the_pods_mtu_passes_the_tunnel_unfragmented() -> Outcome {
    let lab = lab();
    let host = lab.node("h1")?;
    let shown = host.exec_in(Some("client-1"), &["ip", "-oneline", "link", "show", "eth0"])?.checked()?;
    let words: Vec<_> = shown.split_whitespace().collect();
    let mtu: u32 =
        words.windows(2).find(|pair| pair[0] == "mtu").and_then(|pair| pair[1].parse().ok()).expect("an MTU");
    let size = (mtu - 28).to_string();
    for address in [client(3).address(), client(5).address()] {
        let output =
            host.exec_in(Some("client-1"), &["ping", "-n", "-M", "do", "-c3", "-i0.1", "-s", &size, &address])?;
        assert!(output.ok(), "{address} with {size} bytes: {output:?}");
    }
    Ok(())
}

#[test]
fn policy_lets_clients_in_on_the_port_that_it_names_and_nobody_else() -> Outcome {
    let lab = lab();
    let cases = [
        (client(1), false, web(3), 8080, true),
        (client(1), false, web(3), 9090, false),
        (client(3), false, web(3), 8080, true),
        (web(2), false, web(3), 8080, false),
        (web(4), false, web(3), 8080, false),
        (client(3), true, web(3), 9090, true),
        (client(5), false, web(1), 8080, true),
        (web(5), false, web(1), 8080, false),
    ];
    for (from, as_host, to, port, allowed) in cases {
        let got = traffic::connects(&lab, from, as_host, &to.address(), port)?;
        assert_eq!(got, allowed, "{} (as its host: {as_host}) to {}:{port}", from.name(), to.name());
    }
    Ok(())
}

#[test]
fn flows_out_of_rack_1_use_both_of_its_routers() -> Outcome {
    let lab = lab();
    let spread = traffic::spread(&lab, client(1), &client(3).address(), 64)?;
    assert_eq!(spread.len(), 2, "{spread:?}");
    assert!(spread.iter().all(|(_, count)| *count >= 10), "{spread:?}");
    Ok(())
}

#[test]
fn a_pulled_cable_costs_less_than_a_second_and_is_used_again_when_it_is_back() -> Outcome {
    let lab = lab();
    // In the rack and across racks: the kernel chooses the cable by addresses, so that either router may be the one.
    for to in [client(3), client(4), client(2)] {
        let failover = traffic::failover(&lab, client(1), &to.address())?;
        println!("{failover:?}");
        assert!(failover.pings.outage < Duration::from_secs(1), "{failover:?}");
        assert!(failover.by_the_other >= 50, "{failover:?}");
        converged(&lab)?;
    }
    Ok(())
}

#[test]
fn a_killed_linnetd_costs_no_packet_and_leaves_what_others_put_into_the_kernel() -> Outcome {
    let lab = lab();
    let host = lab.node("h1")?;
    host.shell("ip route replace 198.51.100.0/24 dev lo protocol static")?;
    let held = || Ok::<_, LabError>((routes::of(host, false)?, routes::of(host, true)?));
    let before = held()?;
    let streams = [client(3), client(5)].map(|to| Stream::start(host, "client-1", &to.address()));
    host.signal("linnetd", "KILL")?;
    let without = held()?;
    host.start("linnetd")?;
    converged(&lab)?;
    lab.poll("the routes to be the same again", DEADLINE, || match held() {
        Ok(now) if now == before => Ok(()),
        Ok(now) => Err(format!("{now:?}")),
        Err(error) => Err(error.to_string()),
    })?;
    for stream in streams {
        let pings = stream?.stop()?;
        assert!(pings.sent > 10 && pings.lost() == 0, "{pings:?}");
    }
    assert_eq!(without, before);
    let foreign = host.shell("ip route show 198.51.100.0/24")?;
    assert!(foreign.contains("proto static"), "{foreign}");
    host.shell("ip route del 198.51.100.0/24")?;
    Ok(())
}

#[test]
fn a_linnetd_that_is_killed_again_and_again_before_it_is_whole_is_not_cut_off() -> Outcome {
    let lab = lab();
    let host = lab.node("h3")?;
    let streams = [client(1), client(5)].map(|to| Stream::start(host, "client-3", &to.address()));
    for _ in 0..6 {
        host.signal("linnetd", "KILL")?;
        host.start("linnetd")?;
        // At an odd moment: its sessions come up about now, and its routes some time later.
        lab.poll("a session of the new process", DEADLINE, || {
            let speaker = sessions::speaker(host).map_err(|error| error.to_string())?;
            let up = speaker.iter().flat_map(|speaker| &speaker.sessions).any(sessions::Session::established);
            if up { Ok(()) } else { Err("none".to_owned()) }
        })?;
    }
    converged(&lab)?;
    for stream in streams {
        let pings = stream?.stop()?;
        // Killed a second time before it could say its routes, it is forgotten by its peers (RFC 4724 section 4.2): until
        // it has said them, and no longer.
        assert!(pings.outage < Duration::from_secs(10), "{pings:?}");
    }
    Ok(())
}

#[test]
fn a_linnetd_that_stops_gracefully_and_starts_again_costs_no_packet() -> Outcome {
    let lab = lab();
    let host = lab.node("h3")?;
    let stream = Stream::start(host, "client-3", &client(1).address())?;
    host.signal("linnetd", "TERM")?;
    host.start("linnetd")?;
    converged(&lab)?;
    let pings = stream.stop()?;
    assert!(pings.sent > 10 && pings.lost() == 0, "{pings:?}");
    Ok(())
}

#[test]
fn a_route_that_somebody_removes_comes_back() -> Outcome {
    let lab = lab();
    let host = lab.node("h1")?;
    host.shell("ip route del 10.244.3.0/24 proto 76")?;
    lab.poll("the route to be repaired", DEADLINE, || routes::all_there(&lab))
}

#[test]
fn an_endpoint_that_is_removed_takes_its_interface_and_its_route_along() -> Outcome {
    let lab = lab();
    let host = lab.node("h2")?;
    host.shell("ip netns add extra")?;
    let add = "linnet endpoint add --name extra --netns /run/netns/extra --ip 10.244.2.77 --label role=client";
    host.shell(add)?;
    let reached = ping(lab.node("h1")?, Some("client-1"), "10.244.2.77", 5, INTERVAL)?;
    assert_eq!(reached.lost(), 0, "{reached:?}");
    host.shell("linnet endpoint remove extra")?;
    let left =
        host.shell("ip route show 10.244.2.77; linnet endpoint list -o json; ip netns exec extra ip -brief link")?;
    assert!(!left.contains("10.244.2.77") && !left.contains("eth0"), "{left}");
    host.shell("ip netns del extra")?;
    Ok(())
}
