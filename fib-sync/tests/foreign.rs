//! Routes of others, followed in a real kernel. Needs root.
#![allow(clippy::expect_used)]

mod support;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use fib_sync::{Accept, ForeignChanges, ForeignRoute, Selection, protocol, watch_foreign};
use support::{in_namespace, ip, link, run};
use tokio::sync::mpsc::Receiver;

fn selection(protocols: &[&str], table: u32, limit: usize) -> Selection {
    Selection {
        table,
        protocols: protocols.iter().map(|name| protocol::number(name).expect("a protocol")).collect(),
        accept: Accept(Arc::new(|route: &ForeignRoute| !route.prefix.to_string().starts_with("198.18."))),
        limit,
    }
}

/// What a reader knows by now.
struct Seen {
    heard: Receiver<ForeignChanges>,
    /// By prefix: selection, protocol and metric.
    routes: BTreeMap<String, String>,
    left_out: Vec<usize>,
}

impl Seen {
    fn start(selections: Vec<Selection>) -> Seen {
        let mut heard = watch_foreign(selections).expect("the kernel");
        let first = heard.try_recv().expect("all that there is, at once");
        let mut seen = Seen { heard, routes: BTreeMap::new(), left_out: Vec::new() };
        seen.take(first);
        seen
    }

    fn take(&mut self, news: ForeignChanges) {
        for (prefix, choice) in news.changes {
            match choice {
                Some(choice) => {
                    let owner = protocol::name(choice.route.protocol);
                    let shown = format!("{} {owner} {}", choice.selection, choice.route.metric);
                    self.routes.insert(prefix.to_string(), shown);
                }
                None => {
                    self.routes.remove(&prefix.to_string());
                }
            }
        }
        self.left_out = news.left_out;
    }

    fn shown(&self) -> Vec<String> {
        self.routes.iter().map(|(prefix, route)| format!("{prefix}: {route}")).collect()
    }

    async fn becomes(&mut self, wanted: &[&str]) {
        let until = tokio::time::Instant::now() + Duration::from_secs(5);
        while self.shown() != wanted {
            match tokio::time::timeout_at(until, self.heard.recv()).await {
                Ok(Some(news)) => self.take(news),
                _ => {
                    panic!("wanted {wanted:?}, seen {:?}; the kernel has\n{}", self.shown(), ip("route show table all"))
                }
            }
        }
    }
}

#[test]
fn routes_of_the_owners_that_are_wanted_come_and_go_as_in_the_kernel() {
    in_namespace(|| async {
        link("eth0", &["10.0.0.1/24", "fd00::1/64"]);
        ip("route add 192.0.2.0/24 via 10.0.0.2 proto static");
        ip("route add 203.0.113.0/24 via 10.0.0.2 proto zebra");
        ip("route add 198.18.0.0/24 via 10.0.0.2 proto static");
        let mut seen = Seen::start(vec![selection(&["ospf"], 254, 100), selection(&["static", "dhcp"], 254, 100)]);
        assert_eq!(seen.shown(), ["192.0.2.0/24: 1 static 0"]);
        ip("route add 192.0.2.0/24 via 10.0.0.3 proto ospf metric 20");
        ip("-6 route add fd00:1::/64 via fd00::2 proto ospf");
        ip("route add blackhole 198.51.100.0/24 proto dhcp metric 7");
        ip("route add 10.9.0.0/16 via 10.0.0.2 proto 76");
        ip("route add 10.8.0.0/16 via 10.0.0.2 proto ospf table 100");
        let all = ["192.0.2.0/24: 0 ospf 20", "198.51.100.0/24: 1 dhcp 7", "fd00:1::/64: 0 ospf 1024"];
        seen.becomes(&all).await;
        ip("route del 192.0.2.0/24 proto ospf metric 20");
        ip("route replace unreachable 198.51.100.0/24 proto boot metric 7");
        ip("-6 route del fd00:1::/64");
        seen.becomes(&["192.0.2.0/24: 1 static 0"]).await;
    });
}

#[test]
fn what_the_kernel_takes_away_without_a_word_is_noticed() {
    in_namespace(|| async {
        link("eth0", &["10.0.0.1/24", "10.0.1.1/24"]);
        link("eth1", &["10.1.0.1/24"]);
        ip("nexthop add id 7 via 10.1.0.2 dev eth1");
        ip("route add 192.0.2.0/24 via 10.0.0.2 proto static");
        ip("route add 198.51.100.0/24 dev eth1 src 10.0.1.1 proto static");
        ip("route add 203.0.113.0/24 nhid 7 proto static");
        let mut seen = Seen::start(vec![selection(&["static"], 254, 100)]);
        let [one, two, three] =
            ["192.0.2.0/24: 0 static 0", "198.51.100.0/24: 0 static 0", "203.0.113.0/24: 0 static 0"];
        assert_eq!(seen.shown(), [one, two, three]);
        ip("addr del 10.0.1.1/24 dev eth0");
        seen.becomes(&[one, three]).await;
        ip("nexthop del id 7");
        seen.becomes(&[one]).await;
        ip("link set eth0 down");
        seen.becomes(&[]).await;
    });
}

#[test]
fn a_route_with_several_next_hops_is_there_until_the_last_of_them_is_gone() {
    in_namespace(|| async {
        link("eth0", &["10.0.0.1/24", "fd00::1/64"]);
        let mut seen = Seen::start(vec![selection(&["static"], 254, 100)]);
        ip("-6 route add fd00:1::/64 proto static nexthop via fd00::2 nexthop via fd00::3");
        ip("route add 192.0.2.0/24 via 10.0.0.2 proto static");
        ip("route append 192.0.2.0/24 via 10.0.0.3 proto static");
        let both = ["192.0.2.0/24: 0 static 0", "fd00:1::/64: 0 static 1024"];
        seen.becomes(&both).await;
        ip("-6 route del fd00:1::/64 via fd00::2");
        ip("route del 192.0.2.0/24 via 10.0.0.2");
        ip("route add 203.0.113.0/24 via 10.0.0.2 proto static");
        seen.becomes(&[both[0], "203.0.113.0/24: 0 static 0", both[1]]).await;
        ip("-6 route del fd00:1::/64 via fd00::3");
        ip("route del 192.0.2.0/24 via 10.0.0.3");
        seen.becomes(&["203.0.113.0/24: 0 static 0"]).await;
    });
}

#[test]
fn no_more_than_the_limit_is_kept_and_what_was_left_out_follows_when_there_is_room() {
    in_namespace(|| async {
        link("eth0", &["10.0.0.1/24"]);
        for third in 1..=4 {
            ip(&format!("route add 192.168.{third}.0/24 via 10.0.0.2 proto static"));
        }
        let mut seen = Seen::start(vec![selection(&["static"], 254, 3)]);
        assert_eq!((seen.routes.len(), &seen.left_out[..]), (3, &[1][..]), "{:?}", seen.shown());
        let gone = seen.routes.keys().next().cloned().expect("one of three");
        let out = (1..=4).map(|third| format!("192.168.{third}.0/24")).find(|prefix| !seen.routes.contains_key(prefix));
        ip(&format!("route del {gone}"));
        let mut wanted: Vec<String> = seen.routes.keys().filter(|prefix| **prefix != gone).cloned().collect();
        wanted.extend(out);
        wanted.sort();
        let wanted: Vec<String> = wanted.iter().map(|prefix| format!("{prefix}: 0 static 0")).collect();
        seen.becomes(&wanted.iter().map(String::as_str).collect::<Vec<_>>()).await;
        assert_eq!(seen.left_out, [0]);
    });
}

#[test]
fn a_flood_that_cannot_be_heard_leads_to_a_reading() {
    in_namespace(|| async {
        link("eth0", &["10.0.0.1/24"]);
        let mut seen = Seen::start(vec![selection(&["static"], 254, 100_000)]);
        // On one thread: nobody listens while this is written, and the buffer holds some thousand announcements.
        let lines: Vec<String> = (0..30_000u32)
            .map(|n| {
                format!("route add 172.{}.{}.{}/32 via 10.0.0.2 proto static", 16 + (n >> 16), n >> 8 & 255, n & 255)
            })
            .collect();
        let file = std::env::temp_dir().join(format!("linnet-foreign-{}", std::process::id()));
        std::fs::write(&file, lines.join("\n")).expect("a file");
        let written = run("ip", &["-batch", &file.to_string_lossy()]);
        std::fs::remove_file(&file).expect("it is ours");
        written.expect("30,000 routes");
        let until = tokio::time::Instant::now() + Duration::from_secs(20);
        while seen.routes.len() < 30_000 {
            match tokio::time::timeout_at(until, seen.heard.recv()).await {
                Ok(Some(news)) => seen.take(news),
                _ => panic!("{} of 30000 routes were seen", seen.routes.len()),
            }
        }
    });
}
