//! An engine that is killed 200 times in the middle of a storm of routes, while packets are forwarded by routes that the storm
//! leaves alone.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    net::{SocketAddr, UdpSocket},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use fib_sync::{
    Comparison, Fib, Hop, Path, Target, TunnelEnd, Weight, comparison::DifferenceKind, enable_forwarding,
    overlay::VXLAN_DEVICE,
};
use support::{
    chance::{Chance, seed},
    node::{spec, tunnel},
    stream::{Stream, told},
    *,
};

const KILLS: u32 = 200;
/// Destinations of the storm, half of them of each family, and changes of one round.
const ROUTES: u64 = 200;
const CHANGES: usize = 600;
/// The longest time from the first change to the kill; the whole storm takes longer.
const LONGEST: Duration = Duration::from_millis(40);
/// What the storm never changes, and packets go to.
const STEADY: [(&str, &str); 2] = [("10.200.0.0/24", "10.0.2.2"), ("fd00:200::/64", "fd00:2::2")];
const TARGETS: [&str; 2] = ["10.200.0.1:7000", "[fd00:200::1]:7000"];

/// The overlay's own end.
const LOCAL: &str = "10.0.1.1";

const CHILD: &str = "LINNET_TEST_STORM_ROUND";

fn prefix(number: u64) -> String {
    let half = 1 + number / 2;
    if number.is_multiple_of(2) { format!("10.100.{half}.0/24") } else { format!("fd00:100:{half:x}::/64") }
}

/// Each twentieth is somebody else's, with just the key that Linnet's would have.
fn is_taken(number: u64) -> bool {
    (1 + number / 2).is_multiple_of(20)
}

fn taken() -> BTreeSet<String> {
    (0..ROUTES).filter(|number| is_taken(*number)).map(prefix).collect()
}

/// A node beyond the overlay.
fn far(number: u8) -> TunnelEnd {
    TunnelEnd::Vxlan { endpoint: [192, 168, 7, number].into(), vni: 4096, mac: [2, 0, 0, 0, 0, number] }
}

fn path(v6: bool, chance: &mut Chance) -> Path {
    let gateways = if v6 { ["fd00:1::2", "fd00:2::2", "fd00:2::3"] } else { ["10.0.1.2", "10.0.2.2", "10.0.2.3"] };
    let guarded = |one: usize, two: usize| Path { backup: Some(hop(gateways[two])), ..via(&[gateways[one]]).into() };
    match chance.below(13) {
        0 => guarded(0, 1),
        1 => guarded(0, 2),
        2 => guarded(1, 0),
        number @ 3..5 => tunnel(far(number as u8)).into(),
        _ => target(v6, chance).into(),
    }
}

fn target(v6: bool, chance: &mut Chance) -> Target {
    let gateways = if v6 { ["fd00:1::2", "fd00:2::2", "fd00:2::3"] } else { ["10.0.1.2", "10.0.2.2", "10.0.2.3"] };
    let [one, two, three] = gateways;
    match chance.below(9) {
        0 => via(&[one]),
        1 => via(&[two]),
        2 => via(&[three]),
        3 => via(&[one, two]),
        4 => via(&[one, two, three]),
        5 => Target::Weighted(vec![(hop(one), Weight::new(2).unwrap()), (hop(two), Weight::new(5).unwrap())]),
        6 => Target::Blackhole,
        7 => Target::Unreachable,
        _ => Target::Device("up1".into()),
    }
}

fn hop(via: &str) -> Hop {
    Hop::Direct { via: via.parse().unwrap(), device: None, onlink: false }
}

/// What is wanted, by prefix.
type Wanted = BTreeMap<String, Path>;

fn steady() -> Wanted {
    STEADY.iter().map(|(prefix, gateway)| ((*prefix).to_owned(), via(&[gateway]).into())).collect()
}

fn all(wanted: &Wanted) -> Vec<Wish> {
    wanted.iter().map(|(prefix, path)| put(prefix, path.clone())).collect()
}

/// The changes of one round, in batches, and what is wanted after all of them.
fn storm(seed: u64, round: u32, wanted: &mut Wanted) -> Vec<Vec<Wish>> {
    let mut chance = Chance::of(seed, round);
    let (mut batches, mut left) = (Vec::new(), CHANGES);
    while left > 0 {
        let size = (1 + chance.below(40) as usize).min(left);
        left -= size;
        let batch = (0..size).map(|_| {
            let prefix = prefix(chance.below(ROUTES));
            if chance.below(4) == 0 {
                wanted.remove(&prefix);
                remove(&prefix)
            } else {
                let path = path(prefix.contains(':'), &mut chance);
                wanted.insert(prefix.clone(), path.clone());
                put(&prefix, path)
            }
        });
        batches.push(batch.collect());
    }
    batches
}

/// What was wanted before a round: the outcome of those before it.
fn before(seed: u64, round: u32) -> Wanted {
    let mut wanted = steady();
    // The last rounds overwrite nearly all of the earlier ones; what matters is that both processes know the same.
    (round.saturating_sub(3)..round).for_each(|earlier| drop(storm(seed, earlier, &mut wanted)));
    wanted
}

/// The process that is killed.
fn child(seed: u64, round: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        println!("born");
        let (fib, _events) = start().await;
        fib.overlay(Some(spec(LOCAL))).await.unwrap();
        let mut wanted = before(seed, round);
        fib.wish(all(&wanted)).await;
        println!("storm");
        let (mut sweeps, mut chance) = ([false, true].into_iter(), Chance::of(!seed, round));
        loop {
            for batch in storm(seed, round, &mut wanted) {
                fib.wish(batch).await;
                if chance.below(8) == 0
                    && let Some(v6) = sweeps.next()
                {
                    fib.sweep(v6).await;
                }
            }
        }
    });
}

/// Routes of Linnet's as a test compares them: a destination's kind and hops.
fn held() -> BTreeMap<String, Vec<String>> {
    let mut held: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut current = String::new();
    for line in routes().into_iter().filter(|line| !line.contains(" table 100 ")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let after = |word: &str| words.iter().skip_while(|other| **other != word).nth(1).copied();
        let kind = words.iter().find(|word| ["blackhole", "unreachable"].contains(*word));
        if words[0] != "nexthop" {
            current = words[usize::from(kind.is_some())].to_owned();
        }
        let hops = held.entry(current.clone()).or_default();
        match (kind, after("dev")) {
            (Some(kind), _) => hops.push((*kind).to_owned()),
            (None, Some(device)) => {
                let weight = after("weight").unwrap_or("1");
                hops.push(format!("{} {device} {weight}", after("via").unwrap_or("-")));
            }
            (None, None) => {}
        }
        hops.sort();
    }
    held
}

/// What [`held`] says when all is as wanted.
fn expected(wanted: &Wanted) -> BTreeMap<String, Vec<String>> {
    let shown = |v6: bool, path: &Path| {
        let mut hops: Vec<String> = match &path.target {
            Target::Blackhole => vec!["blackhole".into()],
            Target::Unreachable => vec!["unreachable".into()],
            Target::Device(device) => vec![format!("- {device} 1")],
            forward => {
                // A hop with a backup has nearly all of the weight, as long as its link is there.
                let weight_of = |weight: Weight| if path.backup.is_some() { 255 } else { weight.get() };
                let hops = forward.hops().map(|(hop, weight)| (hop, weight_of(weight)));
                hops.chain(path.backup.iter().map(|hop| (hop, 1))).map(|(hop, weight)| way(hop, weight, v6)).collect()
            }
        };
        hops.sort();
        hops
    };
    let taken = taken();
    let ours = wanted.iter().filter(|(prefix, _)| !taken.contains(*prefix));
    ours.map(|(prefix, path)| (prefix.clone(), shown(prefix.contains(':'), path))).collect()
}

/// A hop as [`held`] has it.
fn way(hop: &Hop, weight: u16, v6: bool) -> String {
    match hop {
        Hop::Direct { via, .. } => {
            let device = if [".1.2", ":1::2"].iter().any(|end| via.to_string().ends_with(end)) { 1 } else { 2 };
            format!("{via} up{device} {weight}")
        }
        // In IPv6 the address of a node on the overlay's link is made from its MAC.
        Hop::Tunnel(TunnelEnd::Vxlan { mac: [.., last], .. }) if v6 => {
            format!("fe80::ff:fe00:{last} {VXLAN_DEVICE} {weight}")
        }
        Hop::Tunnel(end) => format!("{} {VXLAN_DEVICE} {weight}", end.endpoint()),
    }
}

/// What differs where somebody else has the place: that, and nothing more.
fn conflicts(check: &Comparison) -> BTreeSet<String> {
    let conflict = |kind| kind == DifferenceKind::Conflict;
    check.differences.iter().filter(|found| conflict(found.kind)).map(|found| found.subject.to_string()).collect()
}

/// What differs, a line each.
fn differing(held: &BTreeMap<String, Vec<String>>, wanted: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let all: BTreeSet<&String> = held.keys().chain(wanted.keys()).collect();
    let differing = all.into_iter().filter(|prefix| held.get(*prefix) != wanted.get(*prefix));
    differing.map(|prefix| format!("{prefix}: {:?}, wanted {:?}", held.get(prefix), wanted.get(prefix))).collect()
}

#[test]
fn killed_200_times_in_a_storm_it_leaves_no_wrong_route_touches_nothing_foreign_and_loses_no_packet() {
    if let Some(told) = std::env::var(CHILD).ok().filter(|told| !told.is_empty()) {
        let (seed, round) = told.split_once(' ').unwrap();
        return child(seed.parse().unwrap(), round.parse().unwrap());
    }
    let seed = seed();
    let (client, server) = (Other::new(), Other::new());
    in_namespace(move || async move {
        link("in0", &["10.0.0.1/24", "fd00::1/64"]);
        link("up1", &["10.0.1.1/24", "fd00:1::1/64"]);
        link("up2", &["10.0.2.1/24", "fd00:2::1/64"]);
        enable_forwarding().unwrap();
        client.take("in0-peer");
        server.take("up2-peer");
        for (host, device, addresses, router) in [
            (&client, "in0-peer", ["10.0.0.2/24", "fd00::2/64"], ["10.0.0.1", "fd00::1"]),
            (&server, "up2-peer", ["10.0.2.2/24", "fd00:2::2/64"], ["10.0.2.1", "fd00:2::1"]),
        ] {
            host.ip(&format!("link set {device} up"));
            addresses.iter().for_each(|address| drop(host.ip(&format!("addr add {address} dev {device} nodad"))));
            router.iter().for_each(|router| drop(host.ip(&format!("route add default via {router}"))));
        }
        server.ip("addr add 10.200.0.1/32 dev lo");
        server.ip("addr add fd00:200::1/128 dev lo");
        // What is not Linnet's: of another owner with the same destinations, of its protocol in another table, an object.
        for n in 1..20 {
            ip(&format!("route add 10.100.{n}.0/24 via 10.0.1.9 proto bird metric 77"));
            ip(&format!("-6 route add fd00:100:{n:x}::/64 via fd00:1::9 proto bird metric 77"));
        }
        for prefix in taken() {
            let (family, gateway) = if prefix.contains(':') { ("-6", "fd00:1::9") } else { ("-4", "10.0.1.9") };
            ip(&format!("{family} route add {prefix} via {gateway} proto bird metric 76"));
        }
        ip("route add 10.100.0.0/16 via 10.0.1.9 proto 76 metric 76 table 100");
        ip("nexthop add id 1275068420 via 10.0.1.8 dev up1 protocol 12");
        let strange = || format!("{}{}{}", foreign(), ip("route show table 100"), ip("nexthop show protocol 12"));
        let strange_before = strange();

        let (fib, events) = start().await;
        fib.overlay(Some(spec(LOCAL))).await.unwrap();
        fib.wish(all(&before(seed, 0))).await;
        end(fib, events).await;
        let monitor = RouteMonitor::start().await;
        let streams = TARGETS.map(|to| {
            let bound: SocketAddr = to.parse().unwrap();
            let any = if bound.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
            let receiver = server.run(move || UdpSocket::bind(bound).unwrap());
            Stream::start(client.run(move || UdpSocket::bind(any).unwrap()), receiver, bound)
        });
        let began = Instant::now();
        let mut moments: Vec<(Instant, String)> = vec![(began, "the beginning".into())];
        let mut chance = Chance::of(seed, u32::MAX);
        let mut storms = 0;
        for round in 0..KILLS {
            let mut killed = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "--nocapture"])
                .arg("killed_200_times_in_a_storm_it_leaves_no_wrong_route_touches_nothing_foreign_and_loses_no_packet")
                .env(CHILD, format!("{seed} {round}"))
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            // One in eight dies while it starts.
            let moment = if chance.below(8) == 0 { "born" } else { "storm" };
            storms += u32::from(moment == "storm");
            moments.push((Instant::now(), format!("the start of round {round}'s child")));
            let mut said = killed.stdout.take().unwrap();
            let mut heard = String::new();
            while !heard.contains(moment) {
                let mut some = [0; 64];
                let length = said.read(&mut some).unwrap();
                assert!(length > 0, "seed {seed}, round {round}: the child ended by itself");
                heard.push_str(&String::from_utf8_lossy(&some[..length]));
            }
            // This is no waiting for anything: it is the moment of death.
            std::thread::sleep(Duration::from_micros(chance.below(LONGEST.as_micros() as u64)));
            killed.kill().unwrap();
            killed.wait().unwrap();
            moments.push((Instant::now(), format!("the kill of round {round}")));

            let (fib, events) = start().await;
            fib.overlay(Some(spec(LOCAL))).await.unwrap();
            let mut wanted = before(seed, round);
            storm(seed, round, &mut wanted);
            settle(&fib, &wanted).await;
            moments.push((Instant::now(), format!("the sweeps of round {round}")));
            let at = format!("seed {seed}, round {round}");
            assert_eq!(differing(&held(), &expected(&wanted)), [""; 0], "{at}: kernel and wanted");
            let check = fib.check().await.unwrap();
            let in_the_way: BTreeSet<String> =
                taken().into_iter().filter(|prefix| wanted.contains_key(prefix)).collect();
            let there = (check.count(), check.routes);
            assert_eq!(there, (in_the_way.len(), wanted.len()), "{at}: {check:#?}");
            assert_eq!(conflicts(&check), in_the_way, "{at}: {check:#?}");
            assert_eq!(strange(), strange_before, "{at}: what is not Linnet's");
            end(fib, events).await;
        }
        let took = began.elapsed();
        let heard = monitor.stop();
        for ((prefix, _), (to, stream)) in STEADY.iter().zip(TARGETS.iter().zip(streams)) {
            let (sent, missing) = stream.end();
            println!(
                "{to}: {sent} packets, {} missing; {KILLS} kills ({storms} in a storm) in {took:?}",
                missing.len()
            );
            assert!(sent > 1000, "seed {seed}: {to}: {sent} packets only");
            assert!(missing.is_empty(), "seed {seed}: {to}: of {sent} packets:{}", told(&missing, &moments));
            let prefix = prefix.trim_end_matches("/24").trim_end_matches("/64");
            let touched: Vec<&str> = heard.lines().filter(|line| line.contains(prefix)).collect();
            assert_eq!(touched, [""; 0], "seed {seed}: the steady route was touched");
        }
    });
}

/// Says what is wanted and that this is all.
async fn settle(fib: &Fib, wanted: &Wanted) {
    fib.wish(all(wanted)).await;
    fib.sweep(false).await;
    fib.sweep(true).await;
}
