//! What an earlier run with another table or another metric left is found where one says that it was, and nowhere else.
#![allow(missing_docs)]

mod support;

use fib_sync::{Fib, FibConfig, RoutePlace};
use support::*;

/// Routes that are not Linnet's: of another owner in the same place, and with Linnet's protocol where no run had any.
const OTHERS: [&str; 6] = [
    "route add 10.9.0.0/16 via 10.0.1.9 proto static metric 76 table 100",
    "-6 route add fd00:9::/64 via fd00:1::9 proto static metric 76 table 100",
    "route add 10.8.0.0/16 via 10.0.1.9 proto 76 metric 77 table 100",
    "-6 route add fd00:8::/64 via fd00:1::9 proto 76 metric 77 table 100",
    "route add 10.8.0.0/16 via 10.0.1.9 proto 76 metric 76 table 101",
    "route add 10.7.0.0/16 via 10.0.1.9 proto 76 metric 77",
];

fn all() -> String {
    ["-4", "-6"].map(|family| ip(&format!("-o {family} route show table all"))).concat()
}

fn wishes() -> Vec<Wish> {
    let several = via(&["10.0.1.2", "10.0.2.2"]);
    let several6 = via(&["fd00:1::2", "fd00:2::2"]);
    vec![
        put("10.1.0.0/16", via(&["10.0.1.2"])),
        put("10.2.0.0/16", several),
        put("10.3.0.0/16", fib_sync::Target::Blackhole),
        put("fd00:a1::/64", via(&["fd00:1::2"])),
        put("fd00:a2::/64", several6),
        put("fd00:a3::/64", fib_sync::Target::Unreachable),
    ]
}

#[test]
fn what_a_run_with_another_table_or_metric_left_is_counted_and_removed_and_nothing_else_is_touched() {
    for objects in [true, false] {
        in_namespace(move || async move {
            link("up1", &["10.0.1.1/24", "fd00:1::1/64"]);
            link("up2", &["10.0.2.1/24", "fd00:2::1/64"]);
            OTHERS.iter().for_each(|words| drop(ip(words)));
            let strange = all();
            let config = FibConfig { table: 100, next_hop_objects: objects, ..CONFIG };
            let (first, events) = Fib::start(config).expect("the engine");
            first.wish(wishes()).await;
            let there = all();
            end(first, events).await;

            let (second, _events) =
                Fib::start(FibConfig { metric: 50, next_hop_objects: objects, ..CONFIG }).expect("the engine");
            assert_eq!(second.adopted(), 0);
            let (here, earlier) = (RoutePlace { table: 254, metric: 50 }, RoutePlace { table: 100, metric: 76 });
            second.wish(wishes()).await;
            assert_eq!(second.left(earlier).await.expect("an answer"), 6);
            assert_eq!(second.left(here).await.expect("an answer"), 0, "its own");
            assert_eq!(second.vacate(here).await.expect("an answer"), 0, "its own");
            let nowhere = RoutePlace { table: 7777, metric: 76 };
            assert_eq!(second.vacate(nowhere).await.expect("an answer"), 0, "a table that there is not");
            assert!(there.lines().all(|line| all().contains(line)), "nothing has moved");

            assert_eq!(second.vacate(earlier).await.expect("an answer"), 6);
            assert_eq!(second.left(earlier).await.expect("an answer"), 0);
            second.wish(vec![]).await;
            let status = second.status().await;
            assert!(status.iter().all(|status| status.installed && status.error.is_none()), "{status:#?}");
            second.clear().await;
            assert_eq!(all(), strange);
        });
    }
}
