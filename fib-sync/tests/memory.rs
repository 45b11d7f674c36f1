//! A kernel that has no memory for what it is asked. A file of its own, because the limit is the whole process's.
#![allow(missing_docs)]

mod support;

use std::time::{Duration, Instant};

use fib_sync::{Fib, FibConfig};
use support::memory::MemoryGroup;
use support::*;

/// Of each family.
const ROUTES: u32 = 600;

fn prefixes(net: u32) -> impl Iterator<Item = String> {
    (0..ROUTES).flat_map(move |n| {
        let (high, low) = (n / 256, n % 256);
        [format!("10.{}.{low}.0/24", net + high), format!("fd00:{net:x}:{n:x}::/64")]
    })
}

/// Routes by a router of the first link, or of the second.
fn by(link: u32, net: u32) -> Vec<Wish> {
    let hop = |prefix: &str| if prefix.contains(':') { format!("fd00:{link}::2") } else { format!("10.0.{link}.2") };
    prefixes(net).map(|prefix| put(&prefix, via(&[&hop(&prefix)]))).collect()
}

fn gone(net: u32) -> Vec<Wish> {
    prefixes(net).map(|prefix| remove(&prefix)).collect()
}

/// Waits until each route is in the kernel and nothing is wrong with it.
async fn until_all_is_well(fib: &Fib, routes: usize) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let status = fib.status().await;
        let wrong = status.iter().find(|status| !status.installed || status.error.is_some());
        if wrong.is_none() && status.len() == routes && support::routes().len() == routes {
            return;
        }
        assert!(Instant::now() < deadline, "{} of {routes} routes: {wrong:?}", support::routes().len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn routes_that_the_kernel_has_no_memory_for_wait_with_its_words_and_those_that_are_there_stay() {
    let Some(memory) = MemoryGroup::enter() else { return };
    let memory = std::sync::Arc::new(memory);
    for next_hop_objects in [true, false] {
        let memory = memory.clone();
        in_namespace(move || async move {
            link("up1", &["10.0.1.1/24", "fd00:1::1/64"]);
            link("up2", &["10.0.2.1/24", "fd00:2::1/64"]);
            let (fib, _events) = Fib::start(FibConfig { next_hop_objects, ..CONFIG }).expect("the engine");
            fib.wish(by(1, 100)).await;
            // What this process itself needs for twice as many, it has from here on.
            for _ in 0..2 {
                fib.wish(by(1, 200)).await;
                assert_eq!(fib.status().await.len(), 4 * ROUTES as usize);
                fib.wish(gone(200)).await;
            }
            until_all_is_well(&fib, 2 * ROUTES as usize).await;
            let (moved, new) = (by(2, 100), by(1, 200));
            let exhausted = memory.exhaust();
            fib.wish(new).await;
            fib.wish(moved).await;
            let (status, check) = (fib.status().await, fib.check().await);
            drop(exhausted);
            // ENOBUFS is what the IPv4 trie says, ENOMEM all else.
            let words = ["No buffer space available", "Cannot allocate memory"];
            let refused = |error: &str| words.iter().any(|words| error.contains(words));
            let waiting: Vec<_> = status.iter().filter(|status| status.error.is_some()).collect();
            assert!(waiting.len() > 100, "{} of {} routes wait", waiting.len(), status.len());
            assert!(waiting.iter().all(|it| !it.installed && it.error.as_deref().is_some_and(refused)), "{waiting:#?}");
            let check = check.expect("reading takes no memory that counts");
            assert!(check.count() > 0, "what is not there differs: {check:#?}");
            let moved = |line: &String| {
                (100..104).any(|net| line.starts_with(&format!("10.{net}."))) || line.starts_with("fd00:64:")
            };
            let there = routes().into_iter().filter(moved).count();
            assert_eq!(there, 2 * ROUTES as usize, "what could not be moved is where it was");
            until_all_is_well(&fib, 4 * ROUTES as usize).await;
            let check = fib.check().await.expect("a compare");
            assert_eq!(check.count(), 0, "{check:#?}");
            assert_eq!(routes().iter().filter(|line| line.contains("dev up2")).count(), 2 * ROUTES as usize);
        });
    }
}
