//! How soon what others undo is put back, by the engine's own clock: from its waking to the kernel's answer.

use std::time::{Duration, Instant};

use super::{support::*, tests::engine};

/// Beside so many others.
const HELD: u32 = 100_000;

fn held(n: u32) -> String {
    format!("10.{}.{}.{}/32", n >> 16, (n >> 8) & 255, n & 255)
}

/// A table of some size, by two next hops.
fn table() -> Vec<Wish> {
    (0..HELD).map(|n| put(&held(n + (64 << 16)), via(&[["10.0.1.2", "10.0.1.3"][n as usize % 2]]))).collect()
}

/// Routes that others undo, a new one for each round: no fight.
fn undone() -> Vec<String> {
    (0..5).flat_map(|n| [format!("10.244.{n}.0/24"), format!("fd00:244:{n}::/64")]).collect()
}

fn gateway(prefix: &str, last: u8) -> String {
    if prefix.contains(':') { format!("fd00:1::{last}") } else { format!("10.0.1.{last}") }
}

#[test]
fn what_others_remove_replace_or_change_is_put_back_within_100_ms_of_being_heard_beside_100_000_routes() {
    in_namespace(|| async {
        link("up1", &["10.0.1.1/24", "fd00:1::1/64"]);
        let (mut engine, _events) = engine();
        let wishes = undone().into_iter().map(|prefix| put(&prefix, via(&[&gateway(&prefix, 2)])));
        engine.wish(wishes.chain(table()).collect());
        assert_eq!(engine.totals().installed, HELD as usize + undone().len());
        for undo in ["del", "replace", "change"] {
            let mut took = Vec::new();
            for prefix in undone() {
                let family = if prefix.contains(':') { "-6" } else { "-4" };
                let show = || ip(&format!("{family} route show {prefix} proto 76"));
                let right = show();
                let other = if undo == "del" { String::new() } else { format!("via {} proto 76", gateway(&prefix, 9)) };
                ip(&format!("{family} route {undo} {prefix} metric 76 {other}"));
                assert_ne!(show(), right, "{undo} {prefix}");
                engine.monitor.ready().await;
                let heard = Instant::now();
                engine.heard();
                took.push(heard.elapsed());
                assert_eq!(show(), right, "{undo} {prefix}");
                engine.tell();
            }
            println!("{undo}: {took:?}");
            // The best of ten: whoever is slow on each of them is slow, whatever else the machine does.
            assert!(took.iter().min().is_some_and(|best| *best < Duration::from_millis(100)), "{undo}: {took:?}");
        }
        assert_eq!(engine.totals().repairs, 3 * undone().len() as u64);
        assert!(engine.compare(true).is_ok_and(|compared| compared.count() == 0));
    });
}

#[test]
fn what_others_undo_while_a_table_is_written_is_put_back_before_all_of_it_is_there() {
    in_namespace(|| async {
        link("up1", &["10.0.1.1/24", "fd00:1::1/64"]);
        let (fib, _events) = start().await;
        fib.wish(undone().into_iter().map(|prefix| put(&prefix, via(&[&gateway(&prefix, 2)]))).collect()).await;
        // It starts in this thread's namespace and waits until the table comes.
        let meddler = std::thread::spawn(|| {
            let deadline = Instant::now() + Duration::from_secs(60);
            // One look-up: to list routes takes long beside a large table.
            let is_there = |address: &str| {
                assert!(Instant::now() < deadline, "{address}: {}", foreign());
                run("ip", &["route", "get", address]).is_ok()
            };
            let [first, last] = [0, HELD - 1].map(|n| held(n + (64 << 16)).replace("/32", ""));
            while !is_there(&first) {}
            let mut before = 0;
            for prefix in undone() {
                let (family, address) = match prefix.split_once("::") {
                    Some((net, _)) => ("-6", format!("{net}::1")),
                    None => ("-4", prefix.replace("0/24", "1")),
                };
                ip(&format!("{family} route del {prefix} metric 76"));
                let gone = Instant::now();
                while !is_there(&address) {}
                let took = gone.elapsed();
                // Routes are written by address.
                if !is_there(&last) {
                    println!("put back while a table is written, after {took:?} with the time of `ip`");
                    before += 1;
                }
            }
            before
        });
        fib.change(changes(table())).await;
        // The engine works while this waits.
        until("all is put back", || meddler.is_finished()).await;
        assert!(meddler.join().expect("no panic") > 0, "each waited for the whole table");
        assert_eq!(fib.totals().await.repairs, undone().len() as u64);
        let check = fib.check().await.expect("a compare");
        assert_eq!((check.count(), check.routes), (0, HELD as usize + undone().len()));
    });
}
