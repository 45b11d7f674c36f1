//! A host with FRR (by two links) and BIRD on links without configured addresses (`labs/unnumbered.clab.yml`). Needs root.

use std::path::Path;
use std::time::{Duration, Instant};

use topology_tests::expect::{holds, json};
use topology_tests::lab::{Lab, LabError, Node, Options};
use topology_tests::probe::ping;
use topology_tests::words::neighbor;

const DEADLINE: Duration = Duration::from_secs(90);
/// The detection time is 600 ms and the hold time 30 s. Much more than the first is a busy machine, and no hold timer.
const SOON: Duration = Duration::from_secs(5);
const OURS: &str = "10.244.9.0/24";
const OF_FRR: &str = "198.51.100.0/24";
const OF_BIRD: &str = "192.0.2.0/24";

type Outcome = Result<(), LabError>;

fn state(lab: &Lab, name: &str, wanted: &str) -> Outcome {
    let linnet = lab.node("linnet")?;
    lab.poll(&format!("{name} to be {wanted}"), DEADLINE, || {
        let seen = neighbor(linnet, name)?;
        let is = (seen["state"] == "Established") == (wanted == "Established");
        if is { Ok(()) } else { Err(seen.to_string()) }
    })
}

/// Waits until the kernel's IPv4 route to a prefix has all that is wanted and nothing of what is not.
fn kernel(lab: &Lab, node: &str, prefix: &str, wanted: &[&str], unwanted: &[&str]) -> Outcome {
    let node = lab.node(node)?;
    lab.poll(&format!("{}'s kernel route to {prefix}", node.name()), DEADLINE, || {
        let seen = node.shell(&format!("ip -4 route show {prefix}")).map_err(|error| error.to_string())?;
        let right =
            wanted.iter().all(|wanted| seen.contains(wanted)) && !unwanted.iter().any(|word| seen.contains(word));
        if right { Ok(()) } else { Err(format!("{seen}, not {wanted:?} without {unwanted:?}")) }
    })
}

/// Waits until BFD beside a session is so, with the address that the session is with.
fn bfd(lab: &Lab, name: &str, wanted: &str) -> Outcome {
    let linnet = lab.node("linnet")?;
    lab.poll(&format!("{name}'s BFD to be {wanted}"), DEADLINE, || {
        let seen = neighbor(linnet, name)?;
        let bfd = &seen["bfd"];
        holds(bfd["state"] == wanted && bfd["address"] == seen["address"] && bfd["multihop"] == false, &seen)?;
        let all = json(linnet, &["linnet", "bfd", "list", "-o", "json"])?;
        let listed = all["sessions"].as_array().into_iter().flatten().find(|session| session["peer"] == name);
        holds(listed.is_some_and(|session| session["address"] == seen["address"]), all.to_string())
    })
}

/// Drops everything that comes in on a node's interface or goes out; its carrier stays.
fn cut(node: &Node, interface: &str) -> Outcome {
    node.shell(&format!(
        "nft add table inet cut
         nft add chain inet cut in '{{ type filter hook prerouting priority -300; }}'
         nft add chain inet cut out '{{ type filter hook postrouting priority 300; }}'
         nft add rule inet cut out oifname {interface} drop
         nft add rule inet cut in iifname {interface} drop"
    ))
    .map(drop)
}

fn pods_and_routers_reach_each_other(lab: &Lab) -> Outcome {
    for address in ["198.51.100.1", "192.0.2.1"] {
        let pings = ping(lab.node("linnet")?, Some("client-9"), address, 5, Duration::from_millis(20))?;
        assert_eq!(pings.lost(), 0, "{address}: {pings:?}\n{}", lab.dump());
    }
    for (router, source) in [("frr", "198.51.100.1"), ("bird", "192.0.2.1")] {
        lab.node(router)?.shell(&format!("ping -c 1 -W 2 -I {source} 10.244.9.20"))?;
    }
    Ok(())
}

#[test]
fn neighbours_on_links_without_addresses_find_each_other_and_pods_ipv4_crosses_them() -> Outcome {
    let lab = Lab::up(&Path::new(env!("CARGO_MANIFEST_DIR")).join("labs/unnumbered.clab.yml"), &Options::default())?;
    let linnet = lab.node("linnet")?;
    for (name, interface, how) in [
        ("frr-1", "eth1", "router advertisement"),
        ("frr-2", "eth2", "router advertisement"),
        ("bird", "eth3", "a connection that it opened"),
    ] {
        state(&lab, name, "Established")?;
        let seen = neighbor(linnet, name).expect("a neighbor");
        let address = seen["address"].as_str().unwrap_or_default();
        assert!(address.starts_with("fe80::") && address.ends_with(&format!("%{interface}")), "{seen}");
        assert_eq!(seen["interface"], interface, "{seen}");
        // Whoever was faster: FRR opens connections too.
        let discovery = seen["discovery"].as_str().unwrap_or_default();
        assert!(discovery.contains(how) || name.starts_with("frr") && discovery.contains("found by"), "{seen}");
        bfd(&lab, name, "Up")?;
        let by_address = neighbor(linnet, address).expect("the same by its address");
        assert_eq!(by_address["name"], name);
    }
    kernel(&lab, "linnet", OF_FRR, &["via inet6 fe80::", "dev eth1", "dev eth2", "metric 76"], &[])?;
    kernel(&lab, "linnet", OF_BIRD, &["via inet6 fe80::", "dev eth3", "metric 76"], &[])?;
    kernel(&lab, "frr", OURS, &["dev eth1", "dev eth2"], &[])?;
    kernel(&lab, "bird", OURS, &["via inet6 fe80::9 dev eth1"], &[])?;
    pods_and_routers_reach_each_other(&lab)?;

    // A link that goes takes its session at once and not after the hold time, and the other one carries on.
    lab.node("frr")?.link("eth2", false)?;
    state(&lab, "frr-2", "down")?;
    kernel(&lab, "linnet", OF_FRR, &["via inet6 fe80::", "dev eth1"], &["eth2"])?;
    // The kernel may say up to a second late that a carrier went, so BFD may have been first; what is on the link goes by that word.
    lab.poll("frr-2 and its BFD to go with the carrier", DEADLINE, || {
        let seen = neighbor(linnet, "frr-2")?;
        let why = seen["discovery"].as_str().unwrap_or_default();
        holds(seen["address"] == "eth2" && why.contains("no carrier") && seen["bfd"].is_null(), &seen)
    })?;
    pods_and_routers_reach_each_other(&lab)?;

    // It comes back with another address.
    lab.node("frr")?.shell("ip link set eth2 address 02:00:00:00:00:77")?;
    lab.node("frr")?.link("eth2", true)?;
    state(&lab, "frr-2", "Established")?;
    let seen = neighbor(linnet, "frr-2").expect("a neighbor");
    assert_eq!(seen["address"], "fe80::ff:fe00:77%eth2", "{seen}");
    kernel(&lab, "linnet", OF_FRR, &["dev eth1", "dev eth2", "fe80::ff:fe00:77"], &[])?;
    pods_and_routers_reach_each_other(&lab)?;

    // BFD went there too, and a path that breaks without a word, its carrier up, ends a session long before its hold timer.
    for (router, name, interface, remote) in [("frr", "frr-2", "eth2", "eth2"), ("bird", "bird", "eth3", "eth1")] {
        bfd(&lab, name, "Up")?;
        let router = lab.node(router)?;
        cut(router, remote)?;
        let since = Instant::now();
        state(&lab, name, "down")?;
        let took = since.elapsed();
        println!("{name}: the session is down {} ms after the cut", took.as_millis());
        assert!(took < SOON, "{took:?}\n{}", lab.dump());
        let seen = neighbor(linnet, name).expect("a neighbor");
        assert!(seen["last_error"].as_str().unwrap_or_default().contains("BFD"), "{seen}");
        assert!(seen["address"].as_str().unwrap_or_default().ends_with(&format!("%{interface}")), "{seen}");
        router.shell("nft delete table inet cut")?;
        state(&lab, name, "Established")?;
        bfd(&lab, name, "Up")?;
    }
    pods_and_routers_reach_each_other(&lab)
}
