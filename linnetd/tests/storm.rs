//! The whole daemon, killed again and again in the middle of a storm of routes from two routers. Needs root.

#![allow(clippy::unwrap_used)] // a panic is a test's verdict

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use linnet_api::{EndpointAddRequest, EndpointListRequest};
use serde_json::Value;
use support::chance::{Chance, seed};
use support::stream::{Stream, told};
use support::{Namespace, Process, Rack, spawn, wait_for_both_sides};

/// Each round has one of them or two.
const KILLS: u32 = 200;
/// Prefixes of the storm, of each family.
const PREFIXES: u64 = 150;
/// The longest time from the beginning of a storm, or of the daemon, to a kill: until then its sessions are up and all is decided.
const LONGEST: Duration = Duration::from_millis(150);

/// In the place of these, of each family, others have routes with Linnet's very key.
const TAKEN: RangeInclusive<u64> = 20..=25;

/// Which router is used where both announce a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Preference {
    /// Both.
    None,
    /// The first, and the second is its backup.
    First,
}

impl Preference {
    /// Of a round: the daemon that is started in it is told so.
    fn of(round: u32) -> Self {
        if round.is_multiple_of(2) { Self::None } else { Self::First }
    }
}

/// The daemon's file.
fn configure(rack: &Rack, routers: &[Router; 2], preference: Preference) {
    let filter = "[[bgp.filter]]\nname = \"second\"\nrules = [{ set = { local-pref = 50 }, then = \"accept\" }]\n";
    let [first, second] = routers;
    let second = match preference {
        Preference::None => second.peer("all"),
        Preference::First => second.peer("second"),
    };
    rack.configure("", &format!("{}{second}{filter}", first.peer("all")));
}

/// Prefixes, and the next hops that lead to them, with their weights where there are any.
type Table = BTreeMap<String, BTreeSet<String>>;

/// A router with a link to the host, whose routes are a storm.
struct Router {
    number: u32,
    namespace: Namespace,
    directory: PathBuf,
    bird: Option<Process>,
}

impl Router {
    /// On the link `ethNUMBER`. It runs BIRD, and holds in its own kernel what it announces.
    fn new(rack: &Rack, number: u32) -> Self {
        let namespace = Namespace::new(&format!("s{number}"));
        let directory = rack.directory.join(format!("s{number}"));
        fs::create_dir_all(&directory).unwrap();
        let device = format!("eth{number}");
        rack.host.run(&format!("ip link add {device} type veth peer name eth0 netns {}", namespace.name));
        for (host, device, end) in [(&rack.host, &*device, 1), (&namespace, "eth0", 2)] {
            host.run(&format!("ip addr add 10.99.{number}.{end}/24 dev {device}"));
            host.run(&format!("ip addr add fd00:99:{number}::{end}/64 dev {device} nodad"));
            host.run(&format!("ip link set {device} up"));
        }
        let mut router = Self { number, namespace, directory, bird: None };
        router.write(&BTreeSet::new());
        let mut bird = router.namespace.command("bird");
        bird.arg("-f").arg("-c").arg(router.file()).arg("-s").arg(router.directory.join("bird.ctl"));
        bird.arg("-P").arg(router.directory.join("bird.pid"));
        router.bird = Some(spawn(&mut bird, &rack.directory.join("bird.log")));
        router
    }

    fn file(&self) -> PathBuf {
        self.directory.join("bird.conf")
    }

    /// What the host's file says of it.
    fn peer(&self, import: &str) -> String {
        let number = self.number;
        format!(
            "[[bgp.peer]]\nname = \"storm-{number}\"\naddress = \"10.99.{number}.2\"\nasn = 65002\nconnect-retry = 1\n\
             families = [\"ipv4-unicast\", \"ipv6-unicast\"]\nimport = \"{import}\"\nexport = \"all\"\n"
        )
    }

    /// What never changes: a destination of each family, which is the router itself.
    fn steady(&self) -> [String; 2] {
        let number = self.number;
        [format!("10.20{number}.0.0/24"), format!("fd00:20{number}::/64")]
    }

    fn write(&self, announced: &BTreeSet<String>) {
        let number = self.number;
        let steady = self.steady();
        let routes = |v6: bool| {
            let all = announced.iter().chain(&steady).filter(|prefix| prefix.contains(':') == v6);
            all.map(|prefix| format!("  route {prefix} blackhole;\n")).collect::<String>()
        };
        let (v4, v6) = (routes(false), routes(true));
        let text = format!(
            "router id 10.99.{number}.2;
protocol device {{}}
protocol kernel {{ ipv4 {{ export where source = RTS_STATIC; }}; }}
protocol kernel {{ ipv6 {{ export where source = RTS_STATIC; }}; }}
protocol static {{ ipv4;
{v4}}}
protocol static {{ ipv6;
{v6}}}
protocol bgp host {{
  local 10.99.{number}.2 as 65002;
  neighbor 10.99.{number}.1 as 64512;
  connect retry time 1;
  connect delay time 1;
  error wait time 1, 2;
  ipv4 {{ import all; export where source = RTS_STATIC; }};
  ipv6 {{ import all; export where source = RTS_STATIC; next hop address fd00:99:{number}::2; }};
}}
"
        );
        fs::write(self.file(), text).unwrap();
    }

    /// Announces this, and nothing else.
    fn announce(&self, announced: &BTreeSet<String>) {
        self.write(announced);
        let mut command = Command::new("birdc");
        let output = command.arg("-s").arg(self.directory.join("bird.ctl")).arg("configure").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("Reconfig"), "BIRD said: {said}");
    }

    /// What its kernel says that it announces, by the next hops that the host has to have.
    fn truth(&self, table: &mut Table) {
        let number = self.number;
        for (words, via) in [
            ("ip -j -4 route show proto bird", format!("10.99.{number}.2 eth{number}")),
            ("ip -j -6 route show proto bird", format!("fd00:99:{number}::2 eth{number}")),
        ] {
            for route in json(&self.namespace, words) {
                assert_eq!(route["type"], "blackhole", "{route}");
                let prefix = route["dst"].as_str().unwrap().to_owned();
                table.entry(prefix).or_default().insert(via.clone());
            }
        }
    }
}

fn json(namespace: &Namespace, words: &str) -> Vec<Value> {
    serde_json::from_str(&namespace.run(words)).unwrap_or_default()
}

/// Linnet's routes in the host's kernel but for its own pods.
fn held(rack: &Rack) -> Table {
    // What is replaced while the kernel is read may be read twice.
    const READINGS: usize = 10;
    let mut twice = String::new();
    for _ in 0..READINGS {
        match read(rack) {
            Ok(table) => return table,
            Err(prefix) => twice = prefix,
        }
    }
    panic!("{twice} is there twice\n{}", rack.dump())
}

/// One reading; a prefix that is there twice is an error.
fn read(rack: &Rack) -> Result<Table, String> {
    let mut table = Table::new();
    for words in ["ip -j -4 route show proto 76", "ip -j -6 route show proto 76"] {
        for route in json(&rack.host, words) {
            let prefix = route["dst"].as_str().unwrap();
            if prefix.starts_with("10.244.1.") || prefix.starts_with("fd00:244:1:") {
                continue;
            }
            let hops = route["nexthops"].as_array().cloned().unwrap_or_else(|| vec![route.clone()]);
            let shown = |hop: &Value| {
                let via = hop["gateway"].as_str().or(hop["via"]["host"].as_str()).unwrap_or("-");
                let weight = hop["weight"].as_u64().filter(|weight| *weight > 1);
                let weight = weight.map(|weight| format!(" weight {weight}")).unwrap_or_default();
                format!("{via} {}{weight}", hop["dev"].as_str().unwrap_or("-"))
            };
            let hops = hops.iter().map(shown).collect();
            if table.insert(prefix.to_owned(), hops).is_some() {
                return Err(prefix.to_owned());
            }
        }
    }
    Ok(table)
}

/// What the host has to have.
fn wanted(routers: &[Router; 2], preference: Preference) -> Table {
    let mut table = Table::from([("203.0.113.0/24".to_owned(), ["10.99.0.2 eth0".to_owned()].into())]);
    routers.iter().for_each(|router| router.truth(&mut table));
    if preference == Preference::First {
        // A group in which the first has all, and the second stands by.
        for hops in table.values_mut().filter(|hops| hops.len() == 2) {
            let first = hops.pop_first().unwrap();
            hops.insert(format!("{first} weight 255"));
        }
    }
    table
}

/// What differs, a line each.
fn differing(held: &Table, wanted: &Table) -> Vec<String> {
    let all: BTreeSet<&String> = held.keys().chain(wanted.keys()).collect();
    let differing = all.into_iter().filter(|prefix| held.get(*prefix) != wanted.get(*prefix));
    differing.map(|prefix| format!("{prefix}: {:?}, wanted {:?}", held.get(prefix), wanted.get(prefix))).collect()
}

/// Routers that change what they announce as fast as they can.
struct Storm {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(Vec<BTreeSet<String>>, u32)>,
}

impl Storm {
    fn start(routers: &Arc<[Router; 2]>, mut announced: Vec<BTreeSet<String>>, mut chance: Chance) -> Self {
        let (stop, routers) = (Arc::new(AtomicBool::new(false)), Arc::clone(routers));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut turns = 0;
            while turns == 0 || !stopped.load(Ordering::Relaxed) {
                for (router, announced) in routers.iter().zip(&mut announced) {
                    change(announced, &mut chance);
                    router.announce(announced);
                }
                turns += 1;
            }
            (announced, turns)
        });
        Self { stop, thread }
    }

    /// What is announced in the end, and how often that has changed.
    fn end(self) -> (Vec<BTreeSet<String>>, u32) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn storm_prefixes(number: u64) -> [String; 2] {
    [format!("10.100.{number}.0/24"), format!("fd00:100:{number:x}::/64")]
}

/// A third of all prefixes comes or goes.
fn change(announced: &mut BTreeSet<String>, chance: &mut Chance) {
    for number in 1..=PREFIXES {
        for prefix in storm_prefixes(number) {
            if chance.below(3) == 0 && !announced.remove(&prefix) {
                announced.insert(prefix);
            }
        }
    }
}

/// Of others: routes with the same prefixes, some in the very place of Linnet's; with Linnet's protocol in another table; and one each of
/// whatever else Linnet makes.
fn put_foreign(host: &Namespace) {
    let others = (1..20).map(|number| (number, 77)).chain(TAKEN.map(|number| (number, 76)));
    for (number, metric) in others {
        host.run(&format!("ip route add 10.100.{number}.0/24 via 10.99.0.9 proto static metric {metric}"));
        host.run(&format!("ip -6 route add fd00:100:{number:x}::/64 via fd00:99:1::9 proto static metric {metric}"));
    }
    for words in [
        "ip route add 10.100.0.0/16 via 10.99.0.9 proto 76 metric 76 table 100",
        "ip nexthop add id 1275068420 via 10.99.0.8 dev eth0 protocol 12",
        "ip rule add from 10.100.0.0/16 lookup 100 priority 900 protocol 12",
        "ip -6 rule add from fd00:100::/32 lookup 100 priority 900",
        "ip link add theirs type vxlan id 5 dstport 4790 local 10.99.0.1",
        "ip link set theirs up",
        "bridge fdb add 02:00:00:00:00:77 dev theirs dst 10.99.0.9",
        "ip neigh add 10.99.0.77 lladdr 02:00:00:00:00:77 dev eth0 nud permanent",
        "nft add table inet theirs",
        "nft add chain inet theirs input { type filter hook input priority 0 ; }",
    ] {
        host.run(words);
    }
}

fn is_taken(prefix: &str) -> bool {
    TAKEN.flat_map(storm_prefixes).any(|taken| taken == prefix)
}

/// All of that, and whatever else is not Linnet's, a line each.
fn foreign(host: &Namespace) -> BTreeSet<String> {
    const SHOW: &str = "
        { ip -o -4 route show table all; ip -o -6 route show table all; } | grep -v -e 'proto 76' -e linnet -e 'dev lin'
        ip route show table 100
        ip -4 rule show; ip -6 rule show
        ip nexthop show protocol 12
        { ip -br link; ip -br addr; } | grep -v '^lin'
        bridge fdb show dev theirs
        ip neigh show dev eth0 nud permanent
        nft list table inet theirs";
    let output = host.command("sh").args(["-c", SHOW]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// What the daemon has written to its log from there on.
fn logged(rack: &Rack, from: u64) -> String {
    let mut file = fs::File::open(rack.directory.join("linnetd.log")).unwrap();
    file.seek(SeekFrom::Start(from)).unwrap();
    let mut text = Vec::new();
    file.read_to_end(&mut text).unwrap();
    String::from_utf8_lossy(&text).into_owned()
}

/// Routes are what the routers say, when the daemon has said that they are complete.
fn until_settled(
    rack: &Rack,
    (routers, preference): (&[Router; 2], Preference),
    announced: &[BTreeSet<String>],
    before: u64,
    at: &str,
) {
    let mut seen = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let complete = logged(rack, before).lines().filter(|line| line.contains("routes are complete")).count();
        if complete >= 2 {
            let mut wanted = wanted(routers, preference);
            let said: BTreeSet<&String> = announced.iter().flatten().collect();
            let steady = 1 + 2 * routers.len();
            let all_is_said = wanted.len() == said.len() + steady;
            wanted.retain(|prefix, _| !is_taken(prefix));
            seen = differing(&held(rack), &wanted);
            if all_is_said && seen.is_empty() {
                return;
            }
        }
        assert!(Instant::now() < deadline, "{at}: {complete} families complete; {seen:#?}\n{}", rack.dump());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test]
async fn killed_200_times_in_a_storm_the_daemon_has_what_the_routers_announce_touches_nothing_foreign_and_loses_no_packet()
 {
    let seed = seed();
    let rack = Rack::new("");
    let routers = Arc::new([Router::new(&rack, 1), Router::new(&rack, 2)]);
    configure(&rack, &routers, Preference::None);
    let (client, pod) = (Namespace::new("c"), Namespace::new("p"));
    rack.host.run(&format!("ip link add in0 type veth peer name eth0 netns {}", client.name));
    for (host, device, end) in [(&rack.host, "in0", 1), (&client, "eth0", 2)] {
        host.run(&format!("ip addr add 10.99.9.{end}/24 dev {device}"));
        host.run(&format!("ip addr add fd00:99:9::{end}/64 dev {device} nodad"));
        host.run(&format!("ip link set {device} up"));
    }
    client.run("ip route add default via 10.99.9.1");
    client.run("ip -6 route add default via fd00:99:9::1");
    rack.host.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
    put_foreign(&rack.host);
    rack.until("no address is tentative", || rack.host.run("ip -6 addr show tentative").is_empty().then_some(()));
    let strange = foreign(&rack.host);

    let mut daemon = rack.start();
    wait_for_both_sides(&rack);
    let mut announced = vec![BTreeSet::new(); routers.len()];
    until_settled(&rack, (&routers, Preference::None), &announced, 0, "before the storm");
    let request = EndpointAddRequest {
        name: "web".into(),
        netns: pod.name.clone(),
        addresses: vec!["10.244.1.2".into(), "fd00:244:1::2".into()],
        ..EndpointAddRequest::default()
    };
    let added = rack.endpoints().await.add(request).await.unwrap().into_inner().endpoint;
    let ruleset = || rack.host.run("nft -s list table inet linnet");
    let ruled = ruleset();

    rack.router.run("ip addr add 203.0.113.1/32 dev lo");
    let mut targets: Vec<(&Namespace, String)> = vec![(&rack.router, "203.0.113.1:7000".into())];
    for router in routers.iter() {
        let number = router.number;
        router.namespace.run(&format!("ip addr add 10.20{number}.0.1/32 dev lo"));
        router.namespace.run(&format!("ip addr add fd00:20{number}::1/128 dev lo nodad"));
        targets.push((&router.namespace, format!("10.20{number}.0.1:7000")));
        targets.push((&router.namespace, format!("[fd00:20{number}::1]:7000")));
    }
    let streams: Vec<(&str, Stream)> = targets
        .iter()
        .map(|(server, to)| {
            let bound: SocketAddr = to.parse().unwrap();
            let any = if bound.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
            (to.as_str(), Stream::start(client.udp(any.parse().unwrap()), server.udp(bound), bound))
        })
        .collect();

    let heard = rack.directory.join("monitor.log");
    let _monitor = spawn(rack.host.command("ip").args(["-ts", "monitor", "route"]), &heard);
    let began = Instant::now();
    let mut moments: Vec<(Instant, String)> = vec![(began, "the beginning".into())];
    let (mut kills, mut starting, mut turns) = (0, 0, 0);
    for round in 0.. {
        if kills >= KILLS {
            break;
        }
        let preference = Preference::of(round);
        let at = format!("seed {seed}, round {round}, {preference:?} preferred");
        let mut chance = Chance::of(seed, round);
        // These are no waiting for anything: they are the moments of death.
        let mut moment = || std::thread::sleep(Duration::from_micros(chance.below(LONGEST.as_micros() as u64)));
        configure(&rack, &routers, preference);
        let storm = Storm::start(&routers, announced, Chance::of(!seed, round));
        moment();
        daemon.signal("KILL");
        daemon.end();
        moments.push((Instant::now(), format!("the kill of round {round}")));
        kills += 1;
        if round.is_multiple_of(2) && kills < KILLS {
            let born = rack.launch();
            moment();
            born.signal("KILL");
            born.end();
            (kills, starting) = (kills + 1, starting + 1);
        }
        let before = fs::metadata(rack.directory.join("linnetd.log")).unwrap().len();
        moments.push((Instant::now(), format!("the last start of round {round}")));
        daemon = rack.start();
        moment();
        let changed;
        (announced, changed) = storm.end();
        turns += changed;
        until_settled(&rack, (&routers, preference), &announced, before, &at);
        moments.push((Instant::now(), format!("all was right in round {round}")));
        let now = foreign(&rack.host);
        let (gone, come) = (&strange - &now, &now - &strange);
        assert!(gone.is_empty() && come.is_empty(), "{at}: what is not Linnet's: gone {gone:#?}, come {come:#?}");
        assert_eq!(ruleset(), ruled, "{at}: the policy's table");
        let listed = rack.endpoints().await.list(EndpointListRequest {}).await.unwrap().into_inner().endpoints;
        assert_eq!(listed, added.iter().cloned().collect::<Vec<_>>(), "{at}: the pod's record");
    }
    let took = began.elapsed();
    println!("{kills} kills, {starting} of them of a daemon that had just begun, in {took:?}; {turns} changes of all");
    let touched = fs::read_to_string(&heard).unwrap();
    let steady = |line: &&str| {
        ["203.0.113.", " 10.20", " fd00:20", " 10.244.1.2", " fd00:244:1::2"].iter().any(|start| line.contains(start))
    };
    let touched: Vec<&str> = touched.lines().filter(steady).collect();
    for (to, stream) in streams {
        let (sent, missing) = stream.end();
        println!("{to}: {sent} packets, {} missing", missing.len());
        assert!(sent > 1000, "seed {seed}: {to}: {sent} packets only");
        let told = told(&missing, &moments);
        assert!(missing.is_empty(), "seed {seed}: {to}: of {sent} packets:{told}\n{touched:#?}\n{}", rack.dump());
    }
    assert_eq!(touched, [""; 0], "seed {seed}: routes that do not change were touched");
}
