//! Others who write where Linnet writes: what they undo is put back, not for ever, and they are named; what is theirs stays.
#![allow(missing_docs)]

mod support;

use std::{
    path::PathBuf,
    process::{Child, Command},
    time::{Duration, Instant},
};

use fib_sync::{Fib, TunnelEnd, overlay::VXLAN_DEVICE};
use support::{
    meddler::Meddler,
    node::{spec, tunnel},
    *,
};

/// What is wrong with the first route.
async fn error(fib: &Fib) -> String {
    fib.status().await[0].error.clone().unwrap_or_default()
}

/// The engine works while this waits.
async fn pass() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[test]
fn what_is_undone_is_put_back_within_100_ms_of_the_kernels_word() {
    in_namespace(|| async {
        link("up1", &["10.0.1.1/24", "fd00:1::1/64"]);
        let (fib, _events) = start().await;
        fib.wish(vec![put("10.244.1.0/24", via(&["10.0.1.2"])), put("fd00:244:1::/64", via(&["fd00:1::2"]))]).await;
        let mut took = Vec::new();
        for (family, prefix) in [("-4", "10.244.1.0/24"), ("-6", "fd00:244:1::/64")] {
            for _ in 0..5 {
                ip(&format!("{family} route del {prefix} metric 76"));
                let gone = Instant::now();
                while !ip(&format!("{family} route show {prefix}")).contains("proto 76") {
                    assert!(gone.elapsed() < Duration::from_secs(5), "{:?}", fib.status().await);
                    pass().await;
                }
                took.push(gone.elapsed());
            }
        }
        took.sort_unstable();
        // Each includes a run of `ip`; a machine that is busy elsewhere may hold up some of them.
        assert!(took[took.len() / 2] < Duration::from_millis(100), "{took:?}");
        assert!(fib.status().await.iter().all(|status| status.repairs == 5 && status.installed));
    });
}

#[test]
fn a_program_that_undoes_a_route_in_a_loop_is_named_with_how_often_and_left_alone_for_longer_and_longer() {
    in_namespace(|| async {
        link("up1", &["10.0.1.1/24"]);
        let (fib, _events) = start().await;
        fib.wish(vec![put("10.244.1.0/24", via(&["10.0.1.2"]))]).await;
        let mut meddler = Meddler::start();
        let began = Instant::now();
        let mut said = String::new();
        // Through two truces: of one second and of two.
        while !(said.contains("next attempt") && began.elapsed() > Duration::from_millis(1500)) {
            meddler.tell("route del 10.244.1.0/24 metric 76");
            pass().await;
            said = error(&fib).await;
            assert!(began.elapsed() < Duration::from_secs(10), "{said}");
        }
        assert!(said.contains(&meddler.name()), "{said}");
        assert!(said.contains("it was put back 10 times"), "{said}");
        let status = &fib.status().await[0];
        assert_eq!((status.installed, status.repairs), (false, 10));
        drop(meddler);
        until("peace brings the route back", || routes().len() == 1).await;
        assert!(fib.status().await[0].installed);
    });
}

#[test]
fn who_writes_by_a_socket_whose_port_is_not_its_process_number_is_named_all_the_same() {
    in_namespace(|| async {
        link("up1", &["10.0.1.1/24"]);
        let (fib, mut events) = start().await;
        fib.wish(vec![put("10.244.1.0/24", via(&["10.0.1.2"]))]).await;
        let (mut meddler, _taken) = Meddler::start_by_another_port();
        meddler.tell("route del 10.244.1.0/24 metric 76");
        let what = event(&mut events, |event| match event {
            fib_sync::FibEvent::Repaired { what, .. } => Some(what),
            _ => None,
        });
        assert_eq!(what.await, format!("removed, by {}", meddler.name()));
        assert_eq!(routes().len(), 1);
    });
}

#[test]
fn who_changes_a_route_now_and_then_is_told_though_it_is_in_its_place() {
    in_namespace(|| async {
        link("up1", &["10.0.1.1/24"]);
        let (fib, _events) = start().await;
        fib.wish(vec![put("10.244.1.0/24", via(&["10.0.1.2"]))]).await;
        let mut meddler = Meddler::start();
        for change in 1..=3 {
            assert_eq!(error(&fib).await, "", "before change {change}");
            meddler.tell("route replace 10.244.1.0/24 via 10.0.1.9 metric 76 proto 76");
            until_status("it is put back", &fib, |status| status[0].repairs >= change).await;
            assert_eq!(routes(), ["10.244.1.0/24 via 10.0.1.2 dev up1 metric 76"]);
        }
        let said = error(&fib).await;
        assert!(said.contains(&format!("{}, 3 times in ", meddler.name())), "{said}");
        assert!(said.contains("it was put back 3 times; stop"), "{said}");
        assert!(fib.status().await[0].installed);
        assert_eq!(fib.totals().await.repairs, 3);
    });
}

#[test]
fn a_withdrawn_route_is_removed_though_a_truce_holds() {
    in_namespace(|| async {
        link("up1", &["10.0.1.1/24"]);
        let (fib, _events) = start().await;
        fib.wish(vec![put("10.244.1.0/24", via(&["10.0.1.2"]))]).await;
        let mut meddler = Meddler::start();
        let began = Instant::now();
        while !error(&fib).await.contains("next attempt") {
            meddler.tell("route replace 10.244.1.0/24 via 10.0.1.9 metric 76 proto 76");
            pass().await;
            assert!(began.elapsed() < Duration::from_secs(5), "{:?}", fib.status().await);
        }
        assert_eq!(routes(), ["10.244.1.0/24 via 10.0.1.9 dev up1 metric 76"]);
        drop(meddler);
        fib.wish(vec![remove("10.244.1.0/24")]).await;
        assert_eq!(routes(), [""; 0]);
    });
}

#[test]
fn who_fights_over_next_hop_objects_is_named_and_routes_do_without_them_for_a_while() {
    in_namespace(|| async {
        link("up1", &["10.0.1.1/24"]);
        let (fib, _events) = start().await;
        fib.wish((0..20).map(|n| put(&format!("10.244.{n}.0/24"), via(&["10.0.1.2"]))).collect()).await;
        let objects = || ip("nexthop show protocol 76").lines().count();
        let group = || {
            let shown = ip("nexthop show protocol 76");
            let line = shown.lines().find(|line| line.contains(" group "));
            line.and_then(|line| line.split_whitespace().nth(1)).unwrap_or("1").to_owned()
        };
        assert_eq!(objects(), 2);
        let mut meddler = Meddler::start();
        let began = Instant::now();
        while !error(&fib).await.contains("next attempt") {
            meddler.tell(&format!("nexthop del id {}", group()));
            pass().await;
            assert!(began.elapsed() < Duration::from_secs(5), "{:?}", fib.status().await);
        }
        let said = error(&fib).await;
        assert!(said.contains(&meddler.name()), "{said}");
        // Whatever it does now, the routes are there.
        meddler.tell("nexthop flush protocol 76");
        pass().await;
        assert!(fib.status().await.iter().all(|status| status.installed), "{:?}", fib.status().await);
        assert_eq!(routes().len(), 20);
        drop(meddler);
        until("peace brings the objects back", || objects() == 2).await;
        let status = fib.status().await;
        // What was is told for some time.
        let told = |error: &str| error.contains(" s ago; it was put back ") && !error.contains("next attempt");
        assert!(
            status.iter().all(|status| status.installed && status.error.as_deref().is_some_and(told)),
            "{status:?}"
        );
        assert_eq!(routes().len(), 20);
    });
}

#[test]
fn who_fights_over_entries_or_the_device_of_the_overlay_is_named_and_left_alone_for_a_while() {
    in_namespace(|| async {
        link("up1", &["192.168.0.1/24"]);
        let (fib, _events) = start().await;
        fib.overlay(Some(spec("192.168.0.1"))).await.expect("the overlay");
        let end = TunnelEnd::Vxlan { endpoint: [192, 168, 7, 1].into(), vni: 4096, mac: [2, 0, 0, 0, 0, 1] };
        fib.wish(vec![put("10.1.0.0/16", tunnel(end))]).await;
        let routed = routes();
        let entry = || ip(&format!("neigh show 192.168.7.1 dev {VXLAN_DEVICE}")).contains("00:01 PERMANENT");
        let is_up = || run("ip", &["link", "show", VXLAN_DEVICE, "up"]).is_ok_and(|shown| !shown.is_empty());
        for (about, undo) in [
            ("the overlay's entries", format!("neigh replace 192.168.7.1 lladdr 2:0:0:0:0:9 dev {VXLAN_DEVICE}")),
            ("the overlay device", format!("link set {VXLAN_DEVICE} down")),
        ] {
            let mut meddler = Meddler::start();
            let began = Instant::now();
            while !(error(&fib).await.contains("next attempt") && error(&fib).await.contains(about)) {
                meddler.tell(&undo);
                pass().await;
                assert!(began.elapsed() < Duration::from_secs(10), "{about}: {:?}", fib.status().await);
            }
            // Older kernels do not say who changed a device.
            let said = error(&fib).await;
            assert!(said.contains(&meddler.name()) || said.contains("device: an unknown program"), "{said}");
            drop(meddler);
            until("peace brings all back", || is_up() && entry() && routes() == routed).await;
            let said = error(&fib).await;
            assert!(said.contains("it was put back 5 times; stop"), "{said}");
        }
    });
}

/// BIRD in the namespace of the test.
struct Bird {
    child: Child,
    directory: PathBuf,
}

impl Bird {
    fn start(name: &str, configuration: &str) -> Bird {
        let directory = std::env::temp_dir().join(format!("linnet-fights-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a folder");
        let file = |name: &str| directory.join(name);
        let log = file("bird.log").display().to_string();
        let configuration = format!("log \"{log}\" all;\n{configuration}");
        std::fs::write(file("bird.conf"), configuration).expect("its configuration");
        let mut command = Command::new("bird");
        command.arg("-f").arg("-c").arg(file("bird.conf")).arg("-s").arg(file("bird.ctl"));
        let child = command.arg("-P").arg(file("bird.pid")).spawn().expect("BIRD is installed");
        Bird { child, directory }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("bird.log")).unwrap_or_default()
    }

    /// Ends it as a person does: it takes its routes along.
    fn stop(&mut self) {
        run("kill", &[&self.child.id().to_string()]).expect("a process");
        let _ = self.child.wait();
    }
}

impl Drop for Bird {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn beside_bird_with_the_same_keys_neither_replaces_the_others_routes_and_both_recover() {
    in_namespace(|| async {
        link("up1", &["10.0.1.1/24", "fd00:1::1/64"]);
        let (fib, _events) = start().await;
        // Linnet is first under two keys, BIRD under the two others.
        let first = ["10.1.0.0/16", "fd00:a1::/64"];
        let second = ["10.2.0.0/16", "fd00:a2::/64"];
        let wish =
            |prefix: &str| put(prefix, if prefix.contains(':') { via(&["fd00:1::2"]) } else { via(&["10.0.1.2"]) });
        fib.wish(first.map(wish).to_vec()).await;
        let monitor = RouteMonitor::start().await;
        let mut bird = Bird::start(
            "same-keys",
            "router id 10.0.1.1;
             protocol device { scan time 1; }
             protocol static { ipv4; route 10.1.0.0/16 via 10.0.1.9; route 10.2.0.0/16 via 10.0.1.9; }
             protocol static { ipv6; route fd00:a1::/64 via fd00:1::9; route fd00:a2::/64 via fd00:1::9; }
             protocol kernel { scan time 1; metric 76; ipv4 { export all; }; }
             protocol kernel { scan time 1; metric 76; ipv6 { export all; }; }",
        );
        let theirs = |prefix: &str| {
            let family = if prefix.contains(':') { "-6" } else { "-4" };
            ip(&format!("{family} route show {prefix} proto bird")).lines().count()
        };
        let count = |prefixes: [&str; 2]| prefixes.map(theirs).iter().sum::<usize>();
        until("BIRD writes where there is room", || count(second) == 2).await;
        fib.wish(second.map(wish).to_vec()).await;
        for prefix in second {
            let status = fib.status().await;
            let status = status.iter().find(|status| status.prefix.to_string() == prefix).expect("the route");
            let conflict = status.error.as_deref().is_some_and(|error| error.contains("protocol 12 (bird)"));
            assert!(!status.installed && conflict, "{status:?}");
        }
        // It tries again at every scan, and so does Linnet.
        until("BIRD has tried more than once", || bird.log().matches("File exists").count() >= 4).await;
        let status = fib.status().await;
        assert_eq!(status.iter().map(|status| status.installed).collect::<Vec<_>>(), [true, false, true, false]);
        assert!(status.iter().all(|status| status.repairs == 0), "{status:?}");
        assert_eq!((routes().len(), count(first), count(second)), (2, 0, 2));
        let heard = monitor.stop();
        let gone: Vec<&str> =
            heard.lines().filter(|line| line.starts_with("Deleted") && line.contains("proto")).collect();
        let ours = gone.iter().filter(|line| !line.contains("192.0.2.0") && !line.contains("198.51.100.0"));
        assert_eq!(ours.count(), 0, "{gone:?}");

        // Linnet's go, and BIRD's come in; BIRD goes, and Linnet's come in.
        fib.wish(first.map(remove).to_vec()).await;
        until("BIRD takes what is free", || count(first) == 2).await;
        bird.stop();
        until("Linnet takes what is free", || routes().len() == 2 && count(first) + count(second) == 0).await;
        let status = fib.status().await;
        assert!(status.iter().all(|status| status.installed && status.error.is_none()), "{status:?}");
    });
}
