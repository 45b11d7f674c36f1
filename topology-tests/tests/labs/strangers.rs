//! Ten thousand connections of strangers at the same time, beside a session with FRR whose hold time is six seconds, and BIRD, which
//! opens its own in the middle of them (`labs/strangers.clab.yml`). Needs root.

#![allow(clippy::unwrap_used, reason = "the panic of a test is its verdict")]

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use topology_tests::expect::{holds, json, up, wait};
use topology_tests::lab::{Background, Lab, Node};
use topology_tests::words::{established, neighbor, path, shell};

const STRANGERS: u32 = 10_000;
/// `limit` of the dynamic peers.
const MEMBERS: u32 = 1_000;
/// Beside members: one that is looked at, one that waits for that, those that a peer's task has not come to look at, and the command
/// line's.
const FEW: usize = 32;
/// What a member may take, which has said nothing yet.
const OF_A_MEMBER: usize = 64 << 10;
/// What strangers may take, who are sent away.
const OF_STRANGERS: usize = 8 << 20;

/// Connections that are held.
struct Crowd {
    states: Vec<String>,
    running: Vec<Background>,
}

/// What has become of them.
#[derive(Debug, Default)]
struct Fate {
    /// How many were held at the same time at most.
    most: u64,
    closed: u64,
    /// How often all were there.
    rounds: u64,
}

impl Crowd {
    /// Holds [`STRANGERS`] connections to Linnet by so many addresses from `first` on; with `again`, anew for ever. In as many
    /// processes as the limit of open files asks for.
    fn gather(crowd: &Node, name: &str, first: Ipv4Addr, sources: u32, again: bool) -> Self {
        let limit: u32 = crowd.shell("ulimit -Hn").unwrap().trim().parse().unwrap_or(u32::MAX);
        let processes = STRANGERS.div_ceil(limit.saturating_sub(FEW as u32).max(1));
        let (count, sources) = (STRANGERS.div_ceil(processes), sources / processes);
        let (mut states, mut running) = (Vec::new(), Vec::new());
        for number in 0..processes {
            let state = format!("/run/{name}-{number}");
            let first = Ipv4Addr::from(u32::from(first) + number * sources);
            let line = format!(
                "exec python3 /etc/crowd.py {state} 10.14.0.1 {count} {first} {}{}",
                sources.max(1),
                if again { " again" } else { "" }
            );
            running.push(crowd.spawn(None, &["sh", "-c", &line]).unwrap());
            states.push(state);
        }
        Self { states, running }
    }

    fn fate(&self, crowd: &Node) -> Result<Fate, String> {
        let mut fate = Fate { rounds: u64::MAX, ..Fate::default() };
        for state in &self.states {
            let seen = json(crowd, &["cat", state])?;
            let number = |key: &str| seen[key].as_u64().unwrap_or_default();
            fate.most += number("most");
            fate.closed += number("closed");
            fate.rounds = fate.rounds.min(number("rounds"));
        }
        Ok(fate)
    }

    /// Closes all of them.
    fn disperse(self) {
        drop(self.running);
    }
}

/// Looks at a process's open files and memory, again and again.
struct Watch {
    over: Arc<AtomicBool>,
    most: JoinHandle<(usize, usize)>,
    before: (usize, usize),
}

impl Watch {
    fn begin(pid: u32) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (before, seen_over) = (taken(pid), over.clone());
        let most = std::thread::spawn(move || {
            let mut most = taken(pid);
            while !seen_over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(10));
                let now = taken(pid);
                most = (most.0.max(now.0), most.1.max(now.1));
            }
            most
        });
        Self { over, most, before }
    }

    /// It never took more than so many files and octets beside what it took at the beginning.
    fn end_within(self, files: usize, octets: usize) {
        self.over.store(true, Ordering::Relaxed);
        let most = self.most.join().unwrap();
        let growth = (most.0.saturating_sub(self.before.0), most.1.saturating_sub(self.before.1));
        println!("linnetd grew by {} files and {} KiB", growth.0, growth.1 >> 10);
        assert!(growth.0 <= files, "{} open files more than before, {files} are due", growth.0);
        assert!(growth.1 <= octets, "{} KiB more than before, {} are due", growth.1 >> 10, octets >> 10);
    }
}

/// Open files and octets in memory.
fn taken(pid: u32) -> (usize, usize) {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    (files, line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10)
}

fn summary(lab: &Lab) -> Result<Value, String> {
    json(lab.node("linnet").unwrap(), &["linnet", "bgp", "summary", "-o", "json"])
}

fn members(lab: &Lab) -> Result<usize, String> {
    let shown = summary(lab)?;
    let peers = shown["peers"].as_array().into_iter().flatten();
    Ok(peers.filter(|peer| peer["address"].as_str().is_some_and(|address| address.starts_with("10.66."))).count())
}

/// KEEPALIVEs that FRR has had of us, in the one session that it has.
fn keepalives(lab: &Lab) -> Result<u64, String> {
    let shown = json(lab.node("frr").unwrap(), &["vtysh", "-c", "show bgp neighbors 10.14.0.1 json"])?;
    let shown = &shown["10.14.0.1"];
    let ours = neighbor(lab, "frr")?;
    assert_eq!((&shown["bgpState"], &shown["connectionsEstablished"]), (&"Established".into(), &1.into()), "{ours}");
    assert_eq!((&ours["state"], &ours["times_established"]), (&"Established".into(), &1.into()), "{shown}");
    shown["messageStats"]["keepalivesRecv"].as_u64().ok_or_else(|| shown.to_string())
}

#[test]
fn ten_thousand_strangers_at_a_time_cost_a_bound_and_no_session() {
    let lab = up("strangers");
    established(&lab, &["frr"]);
    wait(&lab, "FRR's route", || path(&lab, "198.51.100.0/24", "frr").map(drop));
    assert_eq!(neighbor(&lab, "frr").unwrap()["hold_time_seconds"], 6);
    strangers_are_sent_away_however_many_are_there(&lab);
    who_may_connect_is_held_up_to_the_limit_and_no_further(&lab);
    more_connections_from_a_neighbours_own_address_touch_no_session(&lab);
    assert_eq!(neighbor(&lab, "frr").unwrap()["times_established"], 1);
}

fn strangers_are_sent_away_however_many_are_there(lab: &Lab) {
    let [linnet, node] = ["linnet", "crowd"].map(|name| lab.node(name).unwrap());
    let watch = Watch::begin(linnet.pid("linnetd").unwrap());
    let crowd = Crowd::gather(node, "strangers", Ipv4Addr::new(10, 66, 128, 1), 8, true);
    wait(lab, "ten thousand strangers at a time, twice", || {
        let fate = crowd.fate(node)?;
        holds(fate.most >= u64::from(STRANGERS) && fate.rounds >= 2, &fate)
    });
    let before = keepalives(lab).unwrap();
    // BIRD has to get in among them, and FRR's hold time is over several times.
    lab.node("bird").unwrap().shell("birdc enable linnet").unwrap();
    established(lab, &["bird"]);
    wait(lab, "the routes of BIRD here, and of FRR at BIRD", || {
        path(lab, "192.0.2.0/24", "bird")?;
        let seen = shell(lab.node("bird").unwrap(), "birdc show route 198.51.100.0/24 2>&1 || true")?;
        holds(seen.contains("linnet"), seen)
    });
    wait(lab, "twelve seconds of KEEPALIVEs to FRR among strangers", || {
        let now = keepalives(lab)?;
        holds(now >= before + 6, now - before)
    });
    let fate = crowd.fate(node).unwrap();
    println!("{fate:?}");
    assert!(fate.rounds > 2, "the strangers were gone before it was over: {fate:?}");
    crowd.disperse();
    wait(lab, "all strangers to be counted", || {
        let refused = summary(lab)?["refused_connections"].as_u64().unwrap_or_default();
        holds(refused >= fate.closed.max(2 * u64::from(STRANGERS)), (refused, &fate))
    });
    watch.end_within(FEW, OF_STRANGERS);
    assert_eq!(members(lab), Ok(0));
}

/// Each has an address of its own, and says nothing: a session waits for four minutes for its OPEN.
fn who_may_connect_is_held_up_to_the_limit_and_no_further(lab: &Lab) {
    let [linnet, node] = ["linnet", "crowd"].map(|name| lab.node(name).unwrap());
    let pid = linnet.pid("linnetd").unwrap();
    let files = taken(pid).0;
    let watch = Watch::begin(pid);
    let crowd = Crowd::gather(node, "members", Ipv4Addr::new(10, 66, 0, 1), STRANGERS, false);
    wait(lab, "as many of ten thousand as may be there, and the others to be sent away", || {
        let fate = crowd.fate(node)?;
        holds(fate.most >= u64::from(STRANGERS) && fate.closed >= u64::from(STRANGERS - MEMBERS), &fate)?;
        let members = members(lab)?;
        holds(members == MEMBERS as usize, members)
    });
    let before = keepalives(lab).unwrap();
    linnet.exec(&["linnet", "bgp", "reset", "bird"]).unwrap().checked().unwrap();
    wait(lab, "BIRD to be back among them", || {
        let shown = neighbor(lab, "bird")?;
        holds(shown["state"] == "Established" && shown["times_established"] == 2, &shown)
    });
    wait(lab, "twelve seconds of KEEPALIVEs to FRR among members", || {
        let now = keepalives(lab)?;
        holds(now >= before + 6, now - before)
    });
    let fate = crowd.fate(node).unwrap();
    assert_eq!(fate.closed, u64::from(STRANGERS - MEMBERS), "{fate:?}");
    assert_eq!(members(lab), Ok(MEMBERS as usize));
    crowd.disperse();
    wait(lab, "the members to be gone, and what they held", || {
        let left = (members(lab)?, taken(pid).0);
        holds(left.0 == 0 && left.1 <= files + FEW, left)
    });
    watch.end_within(MEMBERS as usize + FEW, MEMBERS as usize * OF_A_MEMBER + OF_STRANGERS);
}

/// RFC 4271 section 6.8: beside a session that is up, each of them is closed.
fn more_connections_from_a_neighbours_own_address_touch_no_session(lab: &Lab) {
    let [linnet, frr] = ["linnet", "frr"].map(|name| lab.node(name).unwrap());
    let watch = Watch::begin(linnet.pid("linnetd").unwrap());
    let before = keepalives(lab).unwrap();
    let crowd = Crowd::gather(frr, "neighbours", Ipv4Addr::new(10, 14, 0, 2), 1, false);
    wait(lab, "ten thousand connections of FRR's host to be closed", || {
        let fate = crowd.fate(frr)?;
        holds(fate.most >= u64::from(STRANGERS) && fate.closed >= u64::from(STRANGERS), &fate)
    });
    wait(lab, "a KEEPALIVE to FRR afterwards", || {
        let now = keepalives(lab)?;
        holds(now > before, now - before)
    });
    crowd.disperse();
    watch.end_within(FEW, OF_STRANGERS);
}
