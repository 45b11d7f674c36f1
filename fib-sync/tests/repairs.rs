//! What others change behind the daemon's back is put right within 100 ms of the kernel's word, whatever it is: routes are in
//! `fights.rs`, all else is here. Times are those of the kernel's announcements, as another program hears them.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use fib_sync::{Fib, FibEvent, Rule, Rules, TunnelEnd, overlay::VXLAN_DEVICE};
use support::{
    node::{spec, tunnel},
    *,
};
use tokio::sync::mpsc::Receiver;

/// How often each is tried, in a namespace of its own: of several times the middle one counts, as a machine that is busy elsewhere may
/// hold up some.
const TRIES: usize = 3;
const AT_ONCE: Duration = Duration::from_millis(100);

/// A line of the kernel's announcements: what it has to have in it. That something is gone is said with `Deleted`.
type Line = &'static [&'static str];

/// What one does behind the daemon's back, and the announcements by which one knows that it is done and that it is put right.
#[derive(Clone, Copy)]
struct Change {
    what: &'static str,
    undo: fn(),
    undone: Line,
    back: &'static [Line],
}

const ROUTE: Line = &["10.2.0.0/16"];
const GATEWAY: Line = &["id ", " via 192.168.0.2 dev up1"];
const GROUP: Line = &["id ", " group "];
const TUNNELED: Line = &["10.1.0.0/16"];
const NEIGHBOUR: Line = &["192.168.7.1 dev linnet.vxlan lladdr 02:00:00:00:00:01 PERMANENT proto 76"];
const NEIGHBOUR6: Line = &["fe80::ff:fe00:1 dev linnet.vxlan lladdr 02:00:00:00:00:01 PERMANENT proto 76"];
/// Forwarding entries are shown as neighbours that nobody has made; `$` is the end of the line.
const FORWARDING: Line = &["192.168.7.1 dev linnet.vxlan lladdr 02:00:00:00:00:01 PERMANENT $"];
const UP: Line = &[": linnet.vxlan: <", "UP,LOWER_UP>", " mtu 1450 ", " nolearning "];
const ADDRESS: Line = &[" linnet.vxlan ", "inet 192.0.0.8/32"];

const CHANGES: [Change; 19] = [
    Change {
        what: "a next-hop object is removed",
        undo: || drop(ip(&format!("nexthop del id {}", object("via 192.168.0.2")))),
        undone: &["Deleted id ", " via 192.168.0.2 "],
        back: &[GATEWAY, GROUP, ROUTE],
    },
    Change {
        what: "a next-hop object leads elsewhere",
        undo: || {
            drop(ip(&format!("nexthop replace id {} via 192.168.0.9 dev up1 protocol 76", object("via 192.168.0.2"))));
        },
        undone: &["id ", " via 192.168.0.9 "],
        back: &[GATEWAY, GROUP],
    },
    Change {
        what: "a group of next hops is removed",
        undo: || drop(ip(&format!("nexthop del id {}", group("via 192.168.0.2")))),
        undone: &["Deleted id ", " group "],
        back: &[GROUP, ROUTE],
    },
    Change {
        what: "a rule is removed",
        undo: || drop(ip("rule del priority 1000")),
        undone: &["Deleted 1000:"],
        back: &[&["1000:", "lookup 100"]],
    },
    Change {
        what: "a rule of IPv6 is removed",
        undo: || drop(ip("-6 rule del priority 1001")),
        undone: &["Deleted 1001:"],
        back: &[&["1001:", "lookup 100"]],
    },
    Change {
        what: "a rule is made that has Linnet's mark",
        undo: || drop(ip("rule add from 10.3.0.0/16 lookup 100 priority 8 protocol 76")),
        undone: &["8:", "from 10.3.0.0/16"],
        back: &[&["Deleted 8:"]],
    },
    Change {
        what: "a neighbour of the overlay is removed",
        undo: || drop(ip("neigh del 192.168.7.1 dev linnet.vxlan")),
        undone: &["Deleted 192.168.7.1 dev linnet.vxlan FAILED"],
        back: &[NEIGHBOUR],
    },
    Change {
        what: "a neighbour of the overlay has another MAC",
        undo: || drop(ip("neigh replace fe80::ff:fe00:1 lladdr 02:00:00:00:00:09 dev linnet.vxlan")),
        undone: &["fe80::ff:fe00:1 dev linnet.vxlan lladdr 02:00:00:00:00:09"],
        back: &[NEIGHBOUR6],
    },
    Change {
        what: "a forwarding entry is removed",
        undo: || drop(bridge("fdb del 02:00:00:00:00:01 dev linnet.vxlan")),
        undone: &["Deleted 192.168.7.1 dev linnet.vxlan lladdr 02:00:00:00:00:01 PERMANENT $"],
        back: &[FORWARDING],
    },
    Change {
        what: "a forwarding entry leads elsewhere",
        undo: || drop(bridge("fdb replace 02:00:00:00:00:01 dev linnet.vxlan dst 192.168.7.9")),
        undone: &["192.168.7.9 dev linnet.vxlan lladdr 02:00:00:00:00:01 NOARP"],
        back: &[FORWARDING],
    },
    Change {
        what: "a forwarding entry comes that nobody wants",
        undo: || drop(bridge("fdb add 02:00:00:00:00:09 dev linnet.vxlan dst 192.168.7.9")),
        undone: &["192.168.7.9 dev linnet.vxlan lladdr 02:00:00:00:00:09 NOARP"],
        back: &[&["Deleted 192.168.7.9 dev linnet.vxlan lladdr 02:00:00:00:00:09 NOARP"]],
    },
    Change {
        what: "the overlay device is removed",
        undo: || drop(ip("link del linnet.vxlan")),
        undone: &["Deleted ", ": linnet.vxlan: <"],
        back: &[UP, ADDRESS, NEIGHBOUR, NEIGHBOUR6, FORWARDING, TUNNELED],
    },
    Change {
        what: "the overlay device is switched off",
        undo: || drop(ip("link set linnet.vxlan down")),
        undone: &[": linnet.vxlan: <BROADCAST,MULTICAST>"],
        back: &[UP, NEIGHBOUR, NEIGHBOUR6, TUNNELED],
    },
    Change {
        what: "the overlay device has another MTU",
        undo: || drop(ip("link set linnet.vxlan mtu 1300")),
        undone: &[": linnet.vxlan: <", " mtu 1300 "],
        back: &[UP],
    },
    Change {
        what: "the overlay device has another MAC",
        undo: || drop(ip("link set linnet.vxlan address 02:00:00:00:00:55")),
        undone: &[": linnet.vxlan: <", "link/ether 02:00:00:00:00:55"],
        // The kernel takes neighbours along, and forwarding entries not.
        back: &[UP, NEIGHBOUR, NEIGHBOUR6],
    },
    Change {
        what: "the overlay device learns from what it is sent",
        undo: || drop(ip("link set linnet.vxlan type vxlan learning")),
        undone: &[": linnet.vxlan: <", " dstport 4789 ttl auto "],
        back: &[UP],
    },
    Change {
        what: "the overlay device makes addresses of its own",
        undo: || drop(ip("link set linnet.vxlan addrgenmode eui64")),
        undone: &[": linnet.vxlan: <"],
        // Which the kernel does not tell.
        back: &[],
    },
    Change {
        what: "the overlay device has lost its address",
        undo: || drop(ip("addr del 192.0.0.8/32 dev linnet.vxlan")),
        undone: &["Deleted ", " linnet.vxlan ", "inet 192.0.0.8/32"],
        back: &[ADDRESS],
    },
    Change {
        what: "the overlay device checks reverse paths",
        undo: || std::fs::write("/proc/sys/net/ipv4/conf/linnet.vxlan/rp_filter", "1").unwrap(),
        undone: &["linnet.vxlan ", "rp_filter strict"],
        back: &[&["linnet.vxlan ", "rp_filter loose"]],
    },
];

/// The number of Linnet's next-hop object with this gateway.
fn object(gateway: &str) -> String {
    let shown = ip("nexthop show protocol 76");
    let line = shown.lines().find(|line| line.contains(gateway)).unwrap_or_else(|| panic!("{gateway}: {shown}"));
    line.split_whitespace().nth(1).unwrap().to_owned()
}

/// The number of Linnet's group with this gateway.
fn group(gateway: &str) -> String {
    object(&format!("group {}", object(gateway)))
}

/// A program that listens to the kernel.
struct Watch {
    child: Child,
    reader: Option<JoinHandle<()>>,
    /// Each line with its time of the day, in seconds.
    heard: Arc<Mutex<Vec<(f64, String)>>>,
}

impl Watch {
    async fn start() -> Watch {
        let mut command = Command::new("ip");
        let command = command.args("-ts -o -d monitor link address route nexthop rule neigh netconf".split(' '));
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let heard: Arc<Mutex<Vec<(f64, String)>>> = Arc::default();
        let (lines, kept) = (BufReader::new(child.stdout.take().unwrap()), Arc::clone(&heard));
        let reader = std::thread::spawn(move || {
            // `[2026-01-31T12:34:56.789012] WORDS`
            let stamped = |line: &str| {
                line.strip_prefix('[').and_then(|line| line.split_once("] ")).map(|(stamp, words)| {
                    let clock = stamp.split_once('T').unwrap().1.split(':');
                    (clock.fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap()), format!("{words}$"))
                })
            };
            let lines = lines.lines().map_while(Result::ok).filter_map(|line| stamped(&line));
            lines.for_each(|line| kept.lock().unwrap().push(line));
        });
        let watch = Watch { child, reader: Some(reader), heard };
        until("it listens", || {
            ip("route replace unreachable 192.0.2.0/24");
            ip("route del unreachable 192.0.2.0/24");
            watch.heard.lock().unwrap().iter().any(|(_, line)| line.contains("192.0.2.0/24"))
        })
        .await;
        watch
    }

    /// What it has heard since it had heard so much.
    fn since(&self, before: usize) -> Vec<(f64, String)> {
        self.heard.lock().unwrap()[before..].to_vec()
    }

    fn count(&self) -> usize {
        self.heard.lock().unwrap().len()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = self.reader.take().unwrap().join();
    }
}

fn says(line: &str, wanted: Line) -> bool {
    let deleted = |line: &str| line.contains("Deleted ");
    wanted.iter().all(|part| line.contains(part)) && deleted(line) == deleted(&wanted.concat())
}

/// How long it took from the announcement of the change to the last one of what is put right.
fn time_of(change: &Change, heard: &[(f64, String)]) -> Option<Duration> {
    let at = heard.iter().position(|(_, line)| says(line, change.undone))?;
    let (began, _) = heard[at];
    let mut last = began;
    for wanted in change.back {
        let (when, _) = heard[at + 1..].iter().find(|(_, line)| says(line, wanted))?;
        last = last.max(*when);
    }
    Some(Duration::from_secs_f64(last - began))
}

/// An engine with everything that others may change.
async fn world() -> (Fib, Receiver<FibEvent>, Rules) {
    link("up1", &["192.168.0.1/24"]);
    let rule = |priority, from: &str| Rule {
        priority,
        from: Some(from.parse().unwrap()),
        to: None,
        iif: None,
        fwmark: None,
        table: 100,
    };
    let rules = Rules::start(&[rule(1000, "10.244.0.0/16"), rule(1001, "fd00:244::/32")]).unwrap();
    let (fib, events) = start().await;
    fib.overlay(Some(spec("192.168.0.1"))).await.unwrap();
    let far = TunnelEnd::Vxlan { endpoint: [192, 168, 7, 1].into(), vni: 4096, mac: [2, 0, 0, 0, 0, 1] };
    fib.wish(vec![put("10.1.0.0/16", tunnel(far)), put("10.2.0.0/16", via(&["192.168.0.2"]))]).await;
    fib.sweep(false).await;
    fib.sweep(true).await;
    (fib, events, rules)
}

fn setting(family: &str, name: &str) -> String {
    std::fs::read_to_string(format!("/proc/sys/net/{family}/conf/{VXLAN_DEVICE}/{name}")).unwrap_or_default()
}

/// What is Linnet's, and what stands on its device.
fn held() -> String {
    let all = [
        ip("nexthop show protocol 76").lines().count().to_string(),
        routes().join("\n"),
        ip("rule show"),
        ip("-6 rule show"),
        ip(&format!("neigh show dev {VXLAN_DEVICE} nud permanent")),
        ip(&format!("-6 neigh show dev {VXLAN_DEVICE} nud permanent")),
        bridge(&format!("fdb show dev {VXLAN_DEVICE}")),
        ip(&format!("-4 addr show dev {VXLAN_DEVICE} up")).lines().skip(1).collect(),
        ip(&format!("-br link show dev {VXLAN_DEVICE}")),
        setting("ipv4", "rp_filter"),
        setting("ipv6", "addr_gen_mode"),
    ];
    all.join("\n")
}

/// Does it and waits until it is put right. Returns how long that took.
async fn try_once(change: &Change) -> Duration {
    let (fib, _events, _rules) = world().await;
    let watch = Watch::start().await;
    let wanted = held();
    let before = watch.count();
    (change.undo)();
    let deadline = Instant::now() + Duration::from_secs(10);
    let took = loop {
        let heard = watch.since(before);
        if let Some(took) = time_of(change, &heard) {
            break took;
        }
        let shown = || format!("{heard:#?}\n{}\nwanted:\n{wanted}", held());
        assert!(Instant::now() < deadline, "{}: it is not put right: {}", change.what, shown());
        // The engine works meanwhile.
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    until(&format!("{}: all is as it was", change.what), || held() == wanted).await;
    until_status("nothing is wrong", &fib, |status| status.iter().all(|status| status.installed)).await;
    took
}

#[test]
fn whatever_of_linnets_others_change_is_put_right_within_100_ms_of_the_kernels_word() {
    let mut late = Vec::new();
    for change in CHANGES {
        let what = change.what;
        let took: Arc<Mutex<Vec<Duration>>> = Arc::default();
        for _ in 0..TRIES {
            let took = Arc::clone(&took);
            in_namespace(move || async move {
                let one = try_once(&change).await;
                took.lock().unwrap().push(one);
            });
        }
        let mut took = took.lock().unwrap().clone();
        took.sort_unstable();
        println!("{what}: {took:?}");
        if took[TRIES / 2] >= AT_ONCE {
            late.push(format!("{what}: {took:?}"));
        }
    }
    assert_eq!(late, [""; 0]);
}
