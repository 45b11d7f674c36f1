//! The engine when the kernel announces or answers more than it can hear, or refuses what it asks.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use netlink_packet_route::RouteNetlinkMessage;
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use tokio::sync::{mpsc, oneshot};

use super::{
    Command, Engine, MONITOR, SETTLE, SOME,
    support::{
        node::{spec, tunnel},
        *,
    },
};
use crate::{
    Change, FibEvent, Hop, Path, PathId, Target, TunnelEnd,
    kernel_route::removal,
    netlink::{Monitor, Notice, Request, Socket, all_but},
};

/// An engine that is asked and told by hand.
pub(super) fn engine() -> (Engine, mpsc::Receiver<FibEvent>) {
    let (events, heard) = mpsc::channel(64);
    let mut engine = Engine::start(CONFIG, MONITOR, events).expect("the engine");
    engine.swept = [true; 2];
    (engine, heard)
}

impl Engine {
    pub(super) fn wish(&mut self, wishes: Vec<Wish>) {
        self.land(changes(wishes));
        self.catch_up();
    }
}

#[test]
fn after_lost_messages_everything_is_read_again_and_repaired() {
    in_namespace(|| async {
        link("up1", &["10.0.1.1/24"]);
        // Room for a few messages only, and nobody listens until all is over.
        let (events, mut heard) = mpsc::channel(8);
        let mut engine = Engine::start(CONFIG, 4096, events).expect("the engine");
        let prefix = |n: u32| format!("10.{}.{}.0/24", 100 + n / 256, n % 256);
        let wishes = (0..1000).map(|n| put(&prefix(n), via(&["10.0.1.2"]))).collect();
        engine.wish(wishes);
        let before = routes();
        assert_eq!(before.len(), 1000);
        let deletions: Vec<Request> = (0..1000)
            .map(|n| {
                let message = removal(prefix(n).parse().expect("a prefix"), CONFIG.table, CONFIG.metric);
                Request { message: RouteNetlinkMessage::DelRoute(message), flags: 0 }
            })
            .collect();
        Socket::open().expect("a socket").batch(&deletions).expect("deletions");
        assert_eq!(routes(), [""; 0]);
        engine.monitor.ready().await;
        engine.heard();
        assert_eq!(routes(), before);
        assert!(engine.outbox.flush());
        assert_eq!(heard.try_recv(), Ok(FibEvent::Resynced));
    });
}

#[test]
fn a_foreign_route_that_took_the_place_of_ours_a_moment_ago_is_not_replaced_by_a_change() {
    in_namespace(|| async {
        link("up1", &["10.0.1.1/24"]);
        let (mut engine, _events) = engine();
        engine.wish(vec![put("10.9.0.0/16", via(&["10.0.1.2"]))]);
        ip("route replace 10.9.0.0/16 via 10.0.1.9 proto static metric 76");
        // The engine has heard of nothing yet.
        engine.wish(vec![put("10.9.0.0/16", via(&["10.0.1.3"]))]);
        assert_eq!(ip("route show 10.9.0.0/16").trim(), "10.9.0.0/16 via 10.0.1.9 dev up1 proto static metric 76");
        let why = engine.status()[0].error.clone().unwrap_or_default();
        assert!(why.contains("protocol 4 (static)"), "{why}");
    });
}

#[test]
fn a_route_that_came_unheard_is_found_by_the_kernels_refusal_and_left_alone() {
    in_namespace(|| async {
        link("up1", &["10.0.1.1/24", "fd00:1::1/64"]);
        let (mut engine, _events) = engine();
        for (family, prefix, theirs, ours) in
            [("-4", "10.9.0.0/16", "10.0.1.9", "10.0.1.2"), ("-6", "fd00:9::/64", "fd00:1::9", "fd00:1::2")]
        {
            ip(&format!("{family} route add {prefix} via {theirs} proto static metric 76"));
            engine.monitor.ready().await;
            engine.monitor.hear();
            // EEXIST.
            engine.wish(vec![put(prefix, via(&[ours]))]);
            assert!(engine.status()[0].error.as_deref().is_some_and(|why| why.contains("reading it")));
            engine.tick(Instant::now() + SETTLE);
            assert!(engine.status()[0].error.as_deref().is_some_and(|why| why.contains("protocol 4 (static)")));
            ip(&format!("{family} route del {prefix} via {theirs} proto static metric 76"));
            engine.monitor.ready().await;
            engine.heard();
            assert!(engine.status()[0].installed, "{:?}", engine.status());
            engine.wish(vec![remove(prefix)]);
        }
    });
}

#[test]
fn answers_that_the_kernel_could_not_deliver_are_made_up_for_by_reading() {
    in_namespace(|| async {
        link("up1", &["10.0.1.1/24"]);
        let (mut engine, _events) = engine();
        let prefix = |n: u32| format!("10.100.{n}.0/24");
        // Every other one is refused, in more words than there is room for: ENOBUFS.
        let wrong = Hop::Direct { via: IpAddr::from([192, 0, 2, 1]), device: Some("up1".into()), onlink: false };
        let wrong = Target::Forward(vec![wrong]);
        engine.next_hops.pause();
        let wishes = (0..200).map(|n| put(&prefix(n), if n % 2 == 0 { via(&["10.0.1.2"]) } else { wrong.clone() }));
        engine.socket.set_receive_buffer(4096);
        engine.wish(wishes.collect());
        let lost = engine.status().iter().filter(|status| !status.installed).count();
        assert_eq!(lost, 200, "nothing is taken for done whose answer was lost");
        assert!(engine.status()[0].error.as_deref().is_some_and(|why| why.contains("overflowed")));
        engine.socket.set_receive_buffer(4 << 20);
        let later = Instant::now() + Duration::from_secs(2);
        engine.tick(later);
        let (held, status) = (routes().len(), engine.status());
        let installed = status.iter().filter(|status| status.installed).count();
        assert_eq!((held, installed), (100, 100));
        let refused = status.iter().filter(|status| status.error.as_deref().is_some_and(|e| e.contains("gateway")));
        assert_eq!(refused.count(), 100);
    });
}

#[test]
fn a_batch_that_the_kernel_does_not_even_take_changes_nothing_in_the_book_and_is_sent_again() {
    in_namespace(|| async {
        link("up1", &["10.0.1.1/24", "fd00:1::1/64"]);
        let (mut engine, _events) = engine();
        let of = |n: u32, last: u32| match n % 2 {
            0 => put(&format!("10.100.{n}.0/24"), via(&[&format!("10.0.1.{last}")])),
            _ => put(&format!("fd00:100:{n:x}::/64"), via(&[&format!("fd00:1::{last}")])),
        };
        // Without objects, so that each change of a route is written.
        engine.next_hops.pause();
        engine.wish((0..200).map(|n| of(n, 2)).collect());
        let before = routes();
        assert_eq!(before.len(), 200);
        // EMSGSIZE, as it would be ENOMEM or ENOBUFS of a kernel in need; what is small passes.
        engine.socket.set_send_buffer(0);
        let gone = (0..200).filter(|n| n % 4 < 2).map(|n| match n % 2 {
            0 => remove(&format!("10.100.{n}.0/24")),
            _ => remove(&format!("fd00:100:{n:x}::/64")),
        });
        let moved = (0..200).filter(|n| n % 4 >= 2).map(|n| of(n, 3));
        let new = (200..250).map(|n| of(n, 2));
        engine.wish(gone.chain(moved).chain(new).collect());
        let status = engine.status();
        assert!(status.iter().all(|status| !status.installed), "{status:?}");
        assert!(status[0].error.as_deref().is_some_and(|why| why.contains("Message too long")), "{:?}", status[0]);
        assert_eq!(routes(), before, "what was there stays");
        engine.socket.set_send_buffer(1 << 20);
        engine.tick(Instant::now() + Duration::from_secs(2));
        let status = engine.status();
        assert!(status.iter().all(|status| status.installed && status.error.is_none()), "{status:?}");
        assert_eq!((status.len(), routes().len()), (150, 150), "{}", routes().join("\n"));
        assert!(engine.compare(true).is_ok_and(|compared| compared.count() == 0));
    });
}

#[test]
fn a_next_hop_object_that_was_refused_is_tried_again_and_its_routes_go_by_it_then() {
    in_namespace(|| async {
        link("up1", &["10.0.1.1/24"]);
        let (mut engine, _events) = engine();
        let may = |may| {
            let mut sets = capabilities(None).expect("a thread's own capabilities");
            sets.effective.set(CapabilitySet::NET_ADMIN, may);
            set_capabilities(None, sets).expect("what is permitted may be dropped and taken");
        };
        may(false);
        engine.wish(vec![put("10.9.0.0/16", via(&["10.0.1.2"]))]);
        may(true);
        let why = engine.status()[0].error.clone().unwrap_or_default();
        assert!(why.contains("Operation not permitted"), "{why}");
        engine.tick(Instant::now() + Duration::from_secs(1));
        assert_eq!((routes().len(), engine.next_hops.count()), (1, 0));
        engine.tick(Instant::now() + Duration::from_secs(31));
        assert_eq!((routes().len(), engine.next_hops.count()), (1, 2));
        assert!(engine.status()[0].installed && engine.status()[0].error.is_none());
    });
}

#[test]
fn entries_of_a_tunnel_are_there_before_a_path_moves_to_it_and_go_after_it_moved_away() {
    in_namespace(|| async {
        /// Groups of linux/rtnetlink.h: neigh, nexthop.
        const GROUPS: [u32; 2] = [3, 32];
        link("up1", &["192.168.0.1/24", "fd00:10::1/64"]);
        let (mut engine, _events) = engine();
        engine.obey(Command::Overlay(Some(spec("192.168.0.1")), oneshot::channel().0));
        let link = engine.overlay.as_ref().expect("an overlay").link;
        let path = PathId(0);
        let end = TunnelEnd::Vxlan { endpoint: [192, 168, 7, 1].into(), vni: 4096, mac: [2, 0, 0, 0, 0, 1] };
        let direct = Change::Path(path, Some(via(&["192.168.0.2", "fd00:10::2"]).into()));
        let prefixes = ["10.1.0.0/16", "fd00:1::/64"].map(|prefix| prefix.parse().expect("a prefix"));
        let mut changes = vec![direct.clone()];
        changes.extend(prefixes.map(|prefix| Change::Put(prefix, path)));
        engine.land(changes);
        for (way, first, last) in [(Change::Path(path, Some(tunnel(end).into())), 'e', 'o'), (direct, 'o', 'e')] {
            let mut monitor = Monitor::listen(&GROUPS, &all_but(u32::MAX), MONITOR).expect("a monitor");
            engine.land(vec![way]);
            let heard = monitor.hear().into_iter().filter_map(|notice| match notice {
                Notice::NextHop { .. } => Some('o'),
                Notice::Message { message: RouteNetlinkMessage::NewNeighbour(entry), .. }
                | Notice::Message { message: RouteNetlinkMessage::DelNeighbour(entry), .. } => {
                    (entry.header.ifindex == link).then_some('e')
                }
                _ => None,
            });
            let mut heard: Vec<char> = heard.collect();
            heard.dedup();
            // The objects of gateways that nobody has any more go at the very end.
            heard.truncate(2);
            assert_eq!(heard, [first, last]);
        }
    });
}

/// One gateway with a backup.
fn guarded(main: &str, backup: &str) -> Path {
    let hop = |via: &str| Hop::Direct { via: via.parse().expect("an address"), device: None, onlink: false };
    Path { backup: Some(hop(backup)), ..via(&[main]).into() }
}

#[test]
fn a_refused_group_of_which_a_member_went_with_its_link_says_nothing_about_backups() {
    in_namespace(|| async {
        link("up1", &["10.0.1.1/24"]);
        link("up2", &["10.0.2.1/24"]);
        let (mut engine, _events) = engine();
        let one = guarded("10.0.1.2", "10.0.2.2");
        engine.wish(vec![put("10.8.0.0/16", one.clone()), put("10.7.0.0/16", via(&["10.0.2.2"]))]);
        ip("link del up2");
        engine.monitor.ready().await;
        let unheard = engine.monitor.hear();
        assert!(!unheard.is_empty());
        engine.wish(vec![put("10.9.0.0/16", guarded("10.0.2.2", "10.0.1.2"))]);
        assert!(!engine.status()[2].installed, "{:?}", engine.status());
        // The link is back.
        link("up2", &["10.0.2.1/24"]);
        engine.monitor.ready().await;
        engine.heard();
        engine.tick(Instant::now() + SETTLE);
        let status = engine.status();
        assert!(status.iter().all(|status| status.installed), "{status:?}");
        let groups = ip("nexthop show");
        assert_eq!(groups.matches("type resilient").count(), 2, "{groups}");
    });
}

#[test]
fn on_a_kernel_without_groups_with_a_backup_routes_go_without() {
    in_namespace(|| async {
        link("up1", &["10.0.1.1/24"]);
        link("up2", &["10.0.2.1/24"]);
        let (mut engine, _events) = engine();
        engine.next_hops.without_backups();
        engine.wish(vec![put("10.8.0.0/16", guarded("10.0.1.2", "10.0.2.2"))]);
        assert_eq!(routes(), ["10.8.0.0/16 via 10.0.1.2 dev up1 metric 76"]);
        let groups = ip("nexthop show");
        assert!(groups.contains("group") && !groups.contains("resilient"), "{groups}");
        assert_eq!(engine.next_hops.count(), 2, "{groups}");
    });
}

/// A device with another end, as a pod has it, and what leads there.
fn pod(number: u32) -> Vec<Wish> {
    let name = format!("pod{number}");
    ip(&format!("link add {name} type veth peer name {name}-peer"));
    ip(&format!("addr add fe80::1/64 dev {name} nodad"));
    ip(&format!("link set {name} up"));
    let to = |prefix: String| put(&prefix, Target::Device(name.clone()));
    vec![to(format!("10.244.1.{number}/32")), to(format!("fd00:244:1::{number}/128"))]
}

#[test]
fn pods_that_come_and_go_cost_no_reading_of_all_routes() {
    in_namespace(|| async {
        link("up1", &["10.0.1.1/24"]);
        let (mut engine, _events) = engine();
        engine.wish(
            (0..1000).map(|n| put(&format!("10.{}.{}.0/24", 100 + n / 256, n % 256), via(&["10.0.1.2"]))).collect(),
        );
        engine.wish((1..=20).flat_map(pod).collect());
        engine.tick(Instant::now() + SETTLE);
        let before = engine.readings;
        let all = routes();
        for number in 1..=20 {
            match number % 3 {
                0 => ip(&format!("link set pod{number} down")),
                1 => ip(&format!("addr flush dev pod{number}")),
                _ => ip(&format!("link del pod{number}")),
            };
            engine.heard();
            engine.tick(Instant::now() + SETTLE);
        }
        let left = |status: &crate::RouteStatus| status.prefix.to_string().starts_with("10.244") && status.installed;
        assert_eq!(engine.status().iter().filter(|status| left(status)).count(), 7);
        let held = engine.compare(false).expect("a compare").differences;
        // Those that wait for their device are told, and the book is right about all others.
        assert_eq!(held.len(), 26, "{held:?}");
        assert!(held.iter().all(|difference| difference.detail.contains("waits")), "{held:?}");
        // Back again, also within what is heard in one go.
        (1..=20).filter(|number| number % 3 == 2).for_each(|number| drop(pod(number)));
        for number in (1..=20).filter(|number| number % 3 != 2) {
            ip(&format!("link set pod{number} down"));
            ip(&format!("link set pod{number} up"));
        }
        engine.heard();
        engine.tick(Instant::now() + SETTLE);
        assert_eq!(routes(), all);
        assert_eq!(engine.readings, before);
    });
}

#[test]
fn a_route_that_no_reading_explains_is_looked_for_ever_more_rarely() {
    in_namespace(|| async {
        link("up1", &["10.0.1.1/24"]);
        let (mut engine, _events) = engine();
        ip("route add 10.9.0.0/16 via 10.0.1.9 proto static metric 76 table 100");
        // The book is of another table than what is written, so that it never learns what is in the way.
        engine.config.table = 100;
        engine.wish(vec![put("10.9.0.0/16", via(&["10.0.1.2"]))]);
        let before = engine.readings[0];
        for (attempt, least) in [1, 2, 4, 8, 16, 30].into_iter().enumerate() {
            let now = Instant::now();
            let due = engine.timers.read[0].expect("a reading");
            engine.tick(due);
            assert_eq!(engine.readings[0], before + 1 + attempt);
            let pause = engine.timers.read[0].expect("a reading").duration_since(now);
            assert!(pause >= Duration::from_secs(least), "{pause:?}, at least {least} s");
        }
    });
}

#[test]
fn a_foreign_route_that_came_and_was_replaced_before_it_was_heard_of_is_no_conflict() {
    in_namespace(|| async {
        link("up1", &["10.0.1.1/24", "fd00:1::1/64"]);
        let (mut engine, _events) = engine();
        let to = |last: u8| {
            let [v4, v6] = [format!("10.0.1.{last}"), format!("fd00:1::{last}")];
            changes(vec![put("10.9.0.0/16", via(&[&v4])), put("fd00:9::/64", via(&[&v6]))])
        };
        engine.change(to(2));
        ip("route replace 10.9.0.0/16 via 10.0.1.9 proto static metric 76");
        ip("-6 route replace fd00:9::/64 via fd00:1::9 proto static metric 76");
        engine.change(to(3));
        engine.heard();
        engine.tick(Instant::now() + SETTLE);
        let status = engine.status();
        assert!(status.iter().all(|status| status.installed && status.error.is_none()), "{status:?}");
        assert_eq!(engine.compare(false).expect("a compare").count(), 0);
    });
}

#[test]
fn what_is_read_again_while_many_routes_wait_is_written_in_their_rounds() {
    in_namespace(|| async {
        link("up1", &["10.0.1.1/24"]);
        let (mut engine, _events) = engine();
        let prefix = |n: u32| format!("10.{}.{}.0/24", 100 + n / 256, n % 256);
        let many = (0..4 * SOME as u32).map(|n| put(&prefix(n), via(&["10.0.1.2"]))).collect();
        engine.land(changes(many));
        engine.write_some(SOME);
        ip("route del 10.100.0.0/24");
        ip("route add 10.9.0.0/16 via 10.0.1.2 proto 76 metric 76");
        engine.resync();
        assert_eq!(routes().len(), SOME, "no more is written at once");
        engine.catch_up();
        assert_eq!((routes().len(), engine.totals().installed), (4 * SOME, 4 * SOME));
        assert!(!ip("route show").contains("10.9.0.0/16"), "nobody wants it");
        engine.land(changes((0..4 * SOME as u32).map(|n| put(&prefix(n), via(&["10.0.1.3"]))).collect()));
        engine.clear();
        assert_eq!(routes(), [""; 0]);
    });
}

#[test]
fn a_few_routes_do_not_wait_for_many_others() {
    in_namespace(|| async {
        link("up1", &["10.0.1.1/24"]);
        let (mut engine, _events) = engine();
        let prefix = |n: u32| format!("10.{}.{}.0/24", 100 + n / 256, n % 256);
        let change = |engine: &mut Engine, wishes| engine.land(changes(wishes)).written;
        let many = |wish: fn(&str) -> Wish| (0..4 * SOME as u32).map(|n| wish(&prefix(n))).collect::<Vec<_>>();
        assert!(!change(&mut engine, many(|prefix| put(prefix, via(&["10.0.1.2"])))));
        let (tell, mut told) = oneshot::channel();
        engine.obey(Command::Written(tell));
        engine.write_some(SOME);
        assert!(change(&mut engine, vec![put("10.9.0.0/16", via(&["10.0.1.2"]))]));
        assert_eq!((routes().len(), engine.totals().installed), (SOME + 1, SOME + 1));
        assert!(told.try_recv().is_err(), "it is told when all are written");
        let waiting: Vec<_> = engine.status().into_iter().filter(|status| !status.installed).collect();
        assert_eq!(waiting.len(), 3 * SOME);
        // `linnet route` calls them pending.
        assert!(waiting.iter().all(|status| status.error.is_none()), "{:?}", waiting[0]);
        // One of them goes before it has come.
        assert!(change(&mut engine, vec![remove(&prefix(4 * SOME as u32 - 1))]));
        engine.catch_up();
        assert!(told.try_recv().is_ok());
        assert_eq!((routes().len(), engine.totals().wanted), (4 * SOME, 4 * SOME));
        assert!(!change(&mut engine, many(remove)));
        assert_eq!(engine.compare(false).expect("a compare").count(), 0, "what waits is no difference");
        assert_eq!(routes().len(), 1);
    });
}
