//! A full compare on demand, of what it may not or cannot repair. What it finds and repairs: `src/engine/compare_tests.rs`.
#![allow(missing_docs)]

mod support;

use fib_sync::comparison::{DifferenceKind, Subject};
use support::*;

#[test]
fn a_check_names_conflicts_stranded_and_waiting_routes_and_touches_none() {
    in_namespace(|| async {
        link("up1", &["10.0.1.1/24"]);
        ip("route add 10.9.0.0/16 via 10.0.1.9 proto static metric 76");
        ip("route add 10.8.0.0/16 via 10.0.1.9 proto 76 metric 9");
        ip("route add 10.7.0.0/16 via 10.0.1.9 proto 76 metric 76");
        let before = ip("route show");
        let (fib, _events) = start().await;
        fib.wish(vec![put("10.9.0.0/16", via(&["10.0.1.2"])), put("10.6.0.0/16", via(&["10.0.6.2"]))]).await;
        let check = fib.check().await.expect("a compare");
        let found: Vec<_> = check.differences.iter().map(|found| (found.subject.to_string(), found.kind)).collect();
        assert_eq!(
            found,
            [
                ("10.8.0.0/16".to_owned(), DifferenceKind::Stranded),
                ("10.6.0.0/16".to_owned(), DifferenceKind::Missing),
                ("10.9.0.0/16".to_owned(), DifferenceKind::Conflict),
            ]
        );
        assert_eq!((check.routes, check.unrepaired, check.unconfirmed), (2, 3, 1), "{check:#?}");
        let error = |number: usize| check.differences[number].error.clone().unwrap_or_default();
        assert!(error(0).contains("fib.metric"), "{check:#?}");
        assert!(error(1).contains("next hop 10.0.6.2"), "{check:#?}");
        assert!(error(2).contains("protocol 4"), "{check:#?}");
        assert_eq!(ip("route show"), before);
        let last = fib.totals().await.comparisons.last.expect("a compare");
        assert_eq!((last.differences, last.unrepaired), (3, 3));
    });
}

#[test]
fn a_check_puts_back_a_route_that_was_left_to_another_program_for_a_while() {
    in_namespace(|| async {
        link("up1", &["10.0.1.1/24"]);
        let (fib, _events) = start().await;
        fib.wish(vec![put("10.244.1.0/24", via(&["10.0.1.2"]))]).await;
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        let is_left = |error: &Option<String>| error.as_deref().is_some_and(|error| error.contains("next attempt"));
        while !is_left(&fib.status().await[0].error) {
            let _ = run("ip", &["route", "del", "10.244.1.0/24", "metric", "76"]);
            assert!(std::time::Instant::now() < deadline, "{:?}", fib.status().await);
        }
        let check = fib.check().await.expect("a compare");
        assert_eq!((check.count(), check.unrepaired, routes().len()), (1, 0, 1), "{check:#?}");
        assert_eq!(check.differences[0].subject, Subject::Route("10.244.1.0/24".parse().expect("a prefix")));
        assert!(fib.status().await[0].installed);
    });
}

#[test]
fn a_check_of_very_many_differences_lists_some_and_counts_all() {
    in_namespace(|| async {
        link("up1", &["10.0.1.1/24"]);
        let prefix = |n: u32| format!("10.{}.{}.0/24", 100 + n / 256, n % 256);
        let mut batch = String::new();
        (0..1200).for_each(|n| batch += &format!("route add {} via 10.0.1.9 proto static metric 76\n", prefix(n)));
        let mut child = std::process::Command::new("ip");
        let mut child = child.args(["-batch", "-"]).stdin(std::process::Stdio::piped()).spawn().expect("ip");
        std::io::Write::write_all(&mut child.stdin.take().expect("its input"), batch.as_bytes()).expect("its ear");
        assert!(child.wait().expect("its end").success());
        let (fib, _events) = start().await;
        fib.wish((0..1200).map(|n| put(&prefix(n), via(&["10.0.1.2"]))).collect()).await;
        let check = fib.check().await.expect("a compare");
        assert_eq!((check.differences.len(), check.more, check.unrepaired), (1000, 200, 1200));
    });
}
