//! Full compares of what nobody was told of: the listener's messages are thrown away.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Instant,
};

use tokio::sync::oneshot;

use super::{
    Command, Engine,
    support::{bridge, in_namespace, ip, link, put, routes, via},
    tests::engine,
};
use crate::{
    Comparison, Encapsulation, Hop, OverlaySpec, Target, TunnelEnd,
    comparison::{DifferenceKind, Subject},
    overlay::{VXLAN_DEVICE, link_local},
};

impl Engine {
    /// Compares without having heard what happened.
    async fn compare_unawares(&mut self) -> Comparison {
        self.monitor.ready().await;
        self.monitor.hear();
        self.compare(true).expect("a compare")
    }
}

/// What was found, a line each, without details.
fn found(comparison: &Comparison) -> Vec<String> {
    let words = |difference: &crate::comparison::Difference| {
        let (subject, kind) = (&difference.subject, difference.kind.word());
        format!("{} {subject} {kind} repaired {}", subject.word(), difference.repaired)
    };
    comparison.differences.iter().map(words).collect()
}

#[test]
fn what_went_by_without_a_word_is_found_named_and_repaired() {
    in_namespace(|| async {
        link("up1", &["10.0.1.1/24", "fd00:1::1/64"]);
        let (mut engine, _events) = engine();
        engine.wish(vec![
            put("10.244.1.0/24", via(&["10.0.1.2"])),
            put("10.244.2.0/24", via(&["10.0.1.2"])),
            put("10.244.3.0/24", Target::Blackhole),
            put("fd00:244:1::/64", via(&["fd00:1::2"])),
        ]);
        let right = routes();
        engine.monitor.hear();
        let comparison = engine.compare(true).expect("a compare");
        assert_eq!((comparison.routes, comparison.count(), comparison.unrepaired), (4, 0, 0), "{comparison:?}");

        ip("route del 10.244.1.0/24 metric 76");
        ip("route replace 10.244.2.0/24 via 10.0.1.9 metric 76 proto 76");
        ip("route add unreachable 10.244.9.0/24 metric 76 proto 76");
        ip("-6 route del fd00:244:1::/64 metric 76");
        let comparison = engine.compare_unawares().await;
        assert_eq!(
            found(&comparison),
            [
                "route 10.244.1.0/24 missing repaired true",
                "route 10.244.2.0/24 changed repaired true",
                "route 10.244.9.0/24 extra repaired true",
                "route fd00:244:1::/64 missing repaired true",
            ],
            "{comparison:#?}"
        );
        assert!(comparison.differences[1].detail.contains("via 10.0.1.9 dev up1, wanted via 10.0.1.2 dev up1"));
        assert_eq!(routes(), right);
        assert_eq!(engine.compare(true).map(|again| again.count()).ok(), Some(0));
        assert_eq!(engine.totals().comparisons.found, 4);
    });
}

#[test]
fn a_next_hop_object_that_changed_without_a_word_is_put_right_with_its_routes() {
    in_namespace(|| async {
        link("up1", &["10.0.1.1/24"]);
        link("up2", &["10.0.2.1/24"]);
        let (mut engine, _events) = engine();
        engine.wish((0..50).map(|n| put(&format!("10.244.{n}.0/24"), via(&["10.0.1.2", "10.0.2.2"]))).collect());
        let (right, count) = (routes(), engine.next_hops.count());
        let group = engine.next_hops.owned().next().expect("a group");
        let member =
            ip("nexthop show protocol 76 dev up1").split_whitespace().nth(1).map(str::to_owned).expect("a hop");

        ip(&format!("nexthop replace id {group} group {member} protocol 76"));
        ip("nexthop add id 77 via 10.0.1.77 dev up1 protocol 76");
        let comparison = engine.compare_unawares().await;
        let expected =
            ["next-hop 77 extra repaired true".to_owned(), format!("next-hop {group} changed repaired true")];
        assert_eq!(found(&comparison), expected, "{comparison:#?}");
        assert_eq!((routes(), engine.next_hops.count()), (right.clone(), count));

        ip(&format!("nexthop del id {group}"));
        assert_eq!(routes(), [""; 0]);
        let comparison = engine.compare_unawares().await;
        assert_eq!((comparison.count(), comparison.unrepaired), (51, 0), "{comparison:#?}");
        assert!(found(&comparison).contains(&format!("next-hop {group} missing repaired true")), "{comparison:#?}");
        assert_eq!(routes(), right);
    });
}

#[test]
fn the_overlays_device_and_entries_are_compared_as_well() {
    in_namespace(|| async {
        link("up1", &["10.0.1.1/24"]);
        let (mut engine, _events) = engine();
        let encapsulation = Encapsulation::Vxlan { vni: 4096, port: 4789 };
        let spec = OverlaySpec {
            encapsulation,
            local: IpAddr::from([10, 0, 1, 1]),
            mtu: None,
            key: None,
            hold_sessions: false,
        };
        engine.obey(Command::Overlay(Some(spec), oneshot::channel().0));
        let mac = [2, 0, 0, 0, 0, 7];
        let endpoint = IpAddr::from(Ipv4Addr::new(10, 0, 1, 7));
        let end = TunnelEnd::Vxlan { endpoint, vni: 4096, mac };
        engine.wish(vec![put("10.244.7.0/24", Target::Forward(vec![Hop::Tunnel(end)]))]);
        let entries =
            || (ip(&format!("neigh show dev {VXLAN_DEVICE}")), bridge(&format!("fdb show dev {VXLAN_DEVICE}")));
        let (right, wanted) = (routes(), entries());
        let comparison = engine.compare(true).expect("a compare");
        assert_eq!((comparison.entries, comparison.count()), (3, 0), "{comparison:#?}");

        let by_mac = link_local(mac);
        ip(&format!("neigh replace 10.0.1.7 lladdr 02:00:00:00:00:08 dev {VXLAN_DEVICE} nud permanent"));
        ip(&format!("neigh add 10.0.1.9 lladdr 02:00:00:00:00:09 dev {VXLAN_DEVICE} nud permanent"));
        ip(&format!("neigh del {by_mac} dev {VXLAN_DEVICE}"));
        bridge(&format!("fdb del 02:00:00:00:00:07 dev {VXLAN_DEVICE}"));
        let comparison = engine.compare_unawares().await;
        assert_eq!(
            found(&comparison),
            [
                "neighbour 10.0.1.7 changed repaired true".to_owned(),
                format!("neighbour {by_mac} missing repaired true"),
                "forwarding 02:00:00:00:00:07 missing repaired true".to_owned(),
                "neighbour 10.0.1.9 extra repaired true".to_owned(),
            ],
            "{comparison:#?}"
        );
        assert_eq!((routes(), entries()), (right.clone(), wanted.clone()));

        ip(&format!("link set {VXLAN_DEVICE} type vxlan learning"));
        let comparison = engine.compare_unawares().await;
        let kinds: Vec<_> = comparison.differences.iter().map(|found| (&found.subject, found.kind)).collect();
        assert!(kinds.contains(&(&Subject::Device(VXLAN_DEVICE.into()), DifferenceKind::Changed)), "{comparison:#?}");
        assert_eq!((comparison.unrepaired, routes(), entries()), (0, right, wanted), "{comparison:#?}");
    });
}

#[test]
fn a_full_compare_comes_by_itself_and_what_it_found_is_told() {
    in_namespace(|| async {
        link("up1", &["10.0.1.1/24"]);
        let (mut engine, _events) = engine();
        engine.wish(vec![put("10.244.1.0/24", via(&["10.0.1.2"]))]);
        let due = engine.comparisons.next() - Instant::now();
        assert!((539..=661).contains(&due.as_secs()), "{due:?}");
        ip("route del 10.244.1.0/24 metric 76");
        engine.monitor.ready().await;
        engine.monitor.hear();
        assert!(engine.wake() <= engine.comparisons.next());
        engine.tick(engine.comparisons.next());
        assert_eq!(routes().len(), 1);
        let told = engine.totals().comparisons;
        let last = told.last.expect("a compare");
        assert_eq!((told.count, told.found, last.differences, last.unrepaired), (1, 1, 1, 0));
        assert!(engine.comparisons.next() > Instant::now());
    });
}
