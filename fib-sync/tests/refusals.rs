//! What the kernel refuses, loses and takes away: each route waits with the kernel's words, and comes back by itself when the
//! cause is gone. What it loses of its answers and announcements: `src/engine/tests.rs`.
#![allow(missing_docs)]

mod support;

use std::time::{Duration, Instant};

use fib_sync::{Fib, FibConfig, Hop, Path, Reach, RouteStatus, Target};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use support::*;

fn uplinks() {
    link("up1", &["10.0.1.1/24", "fd00:1::1/64"]);
    link("up2", &["10.0.2.1/24", "fd00:2::1/64"]);
}

/// With next-hop objects and without: what the kernel takes along differs.
fn both() -> [FibConfig; 2] {
    [CONFIG, FibConfig { next_hop_objects: false, ..CONFIG }]
}

/// Waits until each route is in the kernel and nothing is wrong with it.
async fn until_all_is_well(what: &str, fib: &Fib, routes: usize) {
    let well = |status: &&RouteStatus| status.installed && status.error.is_none();
    let all = |status: &[RouteStatus]| status.iter().filter(well).count() == routes;
    until_status(what, fib, |status| all(status) && support::routes().len() >= routes).await;
}

/// Waits until each route says why it is not as it should be, in these words.
async fn until_each_says(what: &str, fib: &Fib, words: &[&str]) {
    let wanted = |status: &[RouteStatus]| {
        let said = |word: &&str| status.iter().any(|status| status.error.as_deref().is_some_and(|e| e.contains(word)));
        words.iter().all(said) && status.iter().all(|status| status.error.is_some())
    };
    until_status(&format!("{what}: {words:?}"), fib, wanted).await;
}

/// The right to change routes, of this thread alone; programs that it runs have it all the same.
fn may_administrate(may: bool) {
    let mut sets = capabilities(None).expect("a thread's own capabilities");
    sets.effective.set(CapabilitySet::NET_ADMIN, may);
    set_capabilities(None, sets).expect("what is permitted may be dropped and taken");
}

#[test]
fn without_the_right_to_change_routes_they_wait_with_the_kernels_words_until_it_is_back() {
    in_namespace(|| async {
        uplinks();
        let (fib, _events) = start().await;
        fib.wish(vec![put("10.1.0.0/16", via(&["10.0.1.2"])), put("10.2.0.0/16", via(&["10.0.1.2"]))]).await;
        may_administrate(false);
        fib.wish(vec![
            remove("10.1.0.0/16"),
            put("10.2.0.0/16", via(&["10.0.2.2"])),
            put("10.3.0.0/16", via(&["10.0.2.3"])),
            put("fd00:3::/64", Target::Unreachable),
        ])
        .await;
        until_each_says("EPERM", &fib, &["Operation not permitted"]).await;
        assert_eq!(routes().len(), 2, "what was there stays: {:?}", routes());
        let check = fib.check().await.expect("reading needs no right");
        assert_eq!((check.count(), check.unrepaired), (4, 4), "{check:#?}");
        may_administrate(true);
        until_all_is_well("the right is back", &fib, 3).await;
        until("and what was withdrawn is gone", || routes().len() == 3).await;
    });
}

#[test]
fn a_gateway_on_no_net_of_its_device_waits_with_the_kernels_words_until_it_is_on_one() {
    for config in both() {
        in_namespace(|| async {
            uplinks();
            let by = |via: &str| {
                let hop =
                    Hop::Direct { via: via.parse().expect("an address"), device: Some("up1".into()), onlink: false };
                Target::Forward(vec![hop])
            };
            let (fib, _events) = Fib::start(config).expect("the engine");
            fib.wish(vec![put("10.3.0.0/16", by("192.0.2.1")), put("fd00:3::/64", by("2001:db8::1"))]).await;
            // ENETUNREACH and EHOSTUNREACH.
            until_each_says("refused", &fib, &["invalid gateway (Network is unreachable", "No route to host"]).await;
            ip("addr add 192.0.2.2/24 dev up1");
            ip("addr add 2001:db8::2/64 dev up1 nodad");
            until_all_is_well("its net is there", &fib, 2).await;
        });
    }
}

#[test]
fn an_interface_that_vanishes_takes_its_routes_along_and_they_come_back_with_it() {
    for config in both() {
        in_namespace(|| async {
            uplinks();
            let (fib, _events) = Fib::start(config).expect("the engine");
            fib.wish(vec![
                put("10.1.0.0/16", via(&["10.0.1.2"])),
                put("10.2.0.0/16", via(&["10.0.1.2", "10.0.2.2"])),
                put("10.3.0.7/32", Target::Device("up1".into())),
                put("fd00:11::/64", via(&["fd00:1::2"])),
                put("fd00:12::/64", via(&["fd00:1::2", "fd00:2::2"])),
            ])
            .await;
            until_all_is_well("written", &fib, 5).await;
            for round in 0..3 {
                ip("link del up1");
                until_each_says("it is gone", &fib, &["device up1 does not exist", "10.0.1.2", "fd00:1::2"]).await;
                let by = |device: &str| routes().join(" ").matches(device).count();
                until("what has another way takes it", || (by("dev up1"), by("dev up2")) == (0, 2)).await;
                // It has another number from now on.
                link("up1", &["10.0.1.1/24", "fd00:1::1/64"]);
                until_all_is_well(&format!("it is back, {round}"), &fib, 5).await;
                let check = fib.check().await.expect("a compare");
                assert_eq!(check.count(), 0, "{check:#?}");
            }
        });
    }
}

#[test]
fn routes_follow_an_address_that_is_taken_away_and_given_again() {
    for config in both() {
        in_namespace(|| async {
            uplinks();
            // As many distributions have it: an address outlives the one before it of its net.
            std::fs::write("/proc/sys/net/ipv4/conf/up1/promote_secondaries", "1").expect("a setting");
            let (fib, _events) = Fib::start(config).expect("the engine");
            let from = |via: Target, source: &str| {
                let source = Some(source.parse().expect("an address"));
                Path { source, ..Path::from(via) }
            };
            fib.wish(vec![
                put("10.1.0.0/16", via(&["10.0.1.2"])),
                put("10.2.0.0/16", from(via(&["10.0.2.2"]), "10.0.1.1")),
                put("fd00:11::/64", via(&["fd00:1::2"])),
                put("fd00:12::/64", from(via(&["fd00:2::2"]), "fd00:1::1")),
            ])
            .await;
            until_all_is_well("written", &fib, 4).await;
            let written = routes();
            for round in 0..2 {
                // The net goes with its only address; what names the address as a source goes without it.
                ip("addr del 10.0.1.1/24 dev up1");
                ip("addr del fd00:1::1/64 dev up1");
                until_each_says("gone", &fib, &["next hop 10.0.1.2", "next hop fd00:1::2", "goes without it"]).await;
                // Another of the same nets: next hops are there again, the source is not.
                ip("addr add 10.0.1.9/24 dev up1");
                ip("addr add fd00:1::9/64 dev up1 nodad");
                let two = |status: &[RouteStatus]| status.iter().filter(|status| status.error.is_none()).count() == 2;
                until_status("the next hops are there again", &fib, two).await;
                ip("addr add 10.0.1.1/24 dev up1");
                ip("addr add fd00:1::1/64 dev up1 nodad");
                until_all_is_well(&format!("given again, {round}"), &fib, 4).await;
                until("as before", || routes() == written).await;
                ip("addr del 10.0.1.9/24 dev up1");
                ip("addr del fd00:1::9/64 dev up1");
                until_all_is_well(&format!("the other one is gone, {round}"), &fib, 4).await;
            }
        });
    }
}

#[test]
fn routes_wait_while_a_device_is_renumbered_to_another_net_and_follow_it_back() {
    let nets = [("10.0.1.1/24", "fd00:1::1/64"), ("10.0.7.1/24", "fd00:7::1/64")];
    // The new net before the old one goes, and after.
    for new_first in [true, false] {
        for config in both() {
            in_namespace(move || async move {
                link("up1", &[nets[0].0, nets[0].1]);
                std::fs::write("/proc/sys/net/ipv4/conf/up1/promote_secondaries", "1").expect("a setting");
                let (fib, _events) = Fib::start(config).expect("the engine");
                fib.wish(vec![
                    put("10.1.0.0/16", via(&["10.0.1.2"])),
                    put("fd00:11::/64", via(&["fd00:1::2"])),
                    // Of the other net, which is not there yet.
                    put("10.7.0.0/16", via(&["10.0.7.2"])),
                    put("fd00:17::/64", via(&["fd00:7::2"])),
                ])
                .await;
                let renumber = |(old4, old6): (&str, &str), (new4, new6): (&str, &str)| {
                    let old = || [old4, old6].iter().for_each(|old| drop(ip(&format!("addr del {old} dev up1"))));
                    if !new_first {
                        old();
                    }
                    [new4, new6].iter().for_each(|new| drop(ip(&format!("addr add {new} dev up1 nodad"))));
                    if new_first {
                        old();
                    }
                };
                for round in 0..2 {
                    let at = format!("new first: {new_first}, round {round}");
                    until_it_is(&format!("{at}, the first net"), &fib, &["10.1.0.0/16", "fd00:11::/64"]).await;
                    renumber(nets[0], nets[1]);
                    until_it_is(&format!("{at}, the other net"), &fib, &["10.7.0.0/16", "fd00:17::/64"]).await;
                    renumber(nets[1], nets[0]);
                }
            });
        }
    }
}

/// Waits until these routes are in the kernel and fine, and all others said to wait for their next hop, which is out of reach.
async fn until_it_is(what: &str, fib: &Fib, there: &[&str]) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let gateways = ["10.0.1.2", "fd00:1::2", "10.0.7.2", "fd00:7::2"].map(|via| via.parse().expect("an address"));
    loop {
        let status = fib.status().await;
        let reach = fib.reach(gateways.to_vec()).await;
        let is_right = status.iter().all(|status| {
            let error = status.error.as_deref().unwrap_or_default();
            if there.contains(&&*status.prefix.to_string()) {
                status.installed && error.is_empty()
            } else {
                !status.installed && error.starts_with("next hop ") && error.contains("Network is unreachable")
            }
        });
        let lost = reach.iter().filter(|reach| matches!(reach, Reach::Unreachable { .. })).count();
        let held = there.iter().filter(|prefix| routes().iter().any(|route| route.starts_with(*prefix)));
        if is_right && lost == 2 && held.count() == there.len() {
            return;
        }
        assert!(Instant::now() < deadline, "{what}: {status:#?}\n{reach:?}\n{}", routes().join("\n"));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
