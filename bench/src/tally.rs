//! What one receiver holds, and when it held all of it.

use std::time::Instant;

use crate::message::Update;
use crate::scenario::{LOCAL_AS, Overlap};
use crate::workload::Workload;

/// One receiver's account.
#[derive(Debug)]
pub(crate) struct Tally {
    /// By number of the prefix: held, and by the best path where that can be told.
    right: Vec<bool>,
    /// How many are right.
    pub(crate) count: usize,
    /// How many make it complete.
    pub(crate) target: usize,
    /// A receiver that also sends is not told what it sent, and is not counted on if it is.
    own: std::ops::Range<usize>,
    /// When the first UPDATE came.
    pub(crate) first: Option<Instant>,
    /// When it last became complete.
    pub(crate) complete: Option<Instant>,
    /// UPDATEs with a prefix in them.
    pub(crate) updates: u64,
    /// Prefixes announced, again and again counted.
    pub(crate) announced: u64,
    /// Prefixes withdrawn.
    pub(crate) withdrawn: u64,
}

/// An UPDATE that cannot be read, or that speaks of prefixes that nobody sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wrong(pub(crate) &'static str);

impl Tally {
    /// The account of receiver `peer`, with nothing in it.
    pub(crate) fn new(workload: &Workload, peer: usize) -> Self {
        let scenario = &workload.scenario;
        let sends = peer < scenario.senders && scenario.overlap == Overlap::Distinct;
        let own = if sends { scenario.prefixes_of(peer) } else { 0..0 };
        Self {
            right: vec![false; workload.len()],
            count: 0,
            target: workload.len() - own.len(),
            own,
            first: None,
            complete: None,
            updates: 0,
            announced: 0,
            withdrawn: 0,
        }
    }

    /// Whether nothing is missing.
    pub(crate) fn is_complete(&self) -> bool {
        self.count == self.target
    }

    /// Whether one prefix is held as it should be.
    pub(crate) fn is_right(&self, number: usize) -> bool {
        self.right[number]
    }

    /// Books an UPDATE that came at `now`; true if it had a prefix in it.
    pub(crate) fn book(&mut self, workload: &Workload, body: &[u8], now: Instant) -> Result<bool, Wrong> {
        let update = Update::read(body).ok_or(Wrong("an UPDATE whose lengths do not fit together"))?;
        let neighbour = match workload.scenario.overlap {
            Overlap::Distinct => None,
            Overlap::Competing | Overlap::Backup => update.neighbour_as(LOCAL_AS),
        };
        let before = self.announced + self.withdrawn;
        for prefix in update.withdrawn() {
            self.withdrawn += 1;
            let number = prefix.and_then(|prefix| workload.number(prefix)).ok_or(UNKNOWN)?;
            self.set(number, false, now);
        }
        for prefix in update.reachable() {
            self.announced += 1;
            let number = prefix.and_then(|prefix| workload.number(prefix)).ok_or(UNKNOWN)?;
            let best = workload.best_as(number);
            self.set(number, best.is_none() || best == neighbour, now);
        }
        let some = self.announced + self.withdrawn > before;
        if some {
            self.updates += 1;
            self.first.get_or_insert(now);
        }
        Ok(some)
    }

    fn set(&mut self, number: usize, right: bool, now: Instant) {
        if self.own.contains(&number) || self.right[number] == right {
            return;
        }
        self.right[number] = right;
        if right {
            self.count += 1;
            if self.is_complete() {
                self.complete = Some(now);
            }
        } else {
            self.count -= 1;
        }
    }
}

const UNKNOWN: Wrong = Wrong("an UPDATE with a prefix that nobody sent");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{self, HEADER};
    use crate::scenario::Scenario;

    fn book_all(tally: &mut Tally, workload: &Workload, mut bytes: &[u8]) {
        while let Some(frame) = message::next(bytes).expect("a length") {
            tally.book(workload, frame.body, Instant::now()).expect("a good UPDATE");
            bytes = frame.rest;
        }
    }

    #[test]
    fn a_sink_is_complete_when_it_has_heard_every_prefix() {
        let workload = Workload::new(Scenario::named("smoke").expect("smoke"));
        let mut tally = Tally::new(&workload, 1);
        book_all(&mut tally, &workload, &workload.feeds[0]);
        assert!(tally.is_complete() && tally.complete.is_some());
    }

    #[test]
    fn a_withdrawal_makes_it_incomplete_and_the_announcement_complete_again() {
        let workload = Workload::new(Scenario::named("smoke").expect("smoke"));
        let mut tally = Tally::new(&workload, 1);
        book_all(&mut tally, &workload, &workload.feeds[0]);
        book_all(&mut tally, &workload, &workload.withdrawal(7));
        assert!(!tally.is_complete() && !tally.is_right(7));
        book_all(&mut tally, &workload, &workload.announcement(7));
        assert!(tally.is_complete());
    }

    #[test]
    fn where_senders_compete_only_the_best_paths_count() {
        let scenario = Scenario { prefixes_each: 500, ..Scenario::named("S3").expect("S3") };
        let workload = Workload::new(scenario);
        let mut tally = Tally::new(&workload, 10);
        for feed in &workload.feeds {
            assert!(!tally.is_complete());
            let before = tally.count;
            // What a daemon would tell after this sender alone: its paths, of which only some are the best.
            let mut bytes = &feed[..];
            while let Some(frame) = message::next(bytes).expect("a length") {
                let update = Update::read(frame.body).expect("a good UPDATE");
                let best = |prefix: Option<message::Prefix>| {
                    let number = workload.number(prefix.expect("whole")).expect("known");
                    workload.best_as(number) == update.neighbour_as(LOCAL_AS)
                };
                if update.reachable().all(best) {
                    tally.book(&workload, frame.body, Instant::now()).expect("a good UPDATE");
                }
                bytes = frame.rest;
            }
            assert!(tally.count > before);
        }
        assert!(tally.is_complete());
    }

    #[test]
    fn a_prefix_that_nobody_sent_is_a_fault() {
        let workload = Workload::new(Scenario::named("smoke").expect("smoke"));
        let mut bytes = Vec::new();
        message::withdraw(&[message::Prefix { bits: 0xdf << 56, length: 8 }], false, &mut bytes);
        assert_eq!(Tally::new(&workload, 1).book(&workload, &bytes[HEADER..], Instant::now()), Err(UNKNOWN));
    }
}
