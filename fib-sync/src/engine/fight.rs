//! Somebody else changes again and again what is Linnet's: it is put back, but not for ever. Times are arguments.

use std::{
    fmt::Write,
    sync::Arc,
    time::{Duration, Instant},
};

/// So many repairs of one thing within so long are a fight.
pub(super) const FIGHT: u32 = 5;
const ROUND: Duration = Duration::from_secs(10);
/// The longest truce.
const TRUCE: Duration = Duration::from_secs(60);
/// Programs that are remembered by name, of each fight.
const NAMES: usize = 3;

/// What to do about a change by somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Response {
    /// Put it back now.
    PutBack,
    /// It is a fight: leave it alone for so long.
    Leave(Duration),
    /// A truce holds.
    Wait,
}

/// What others did to one thing of Linnet's.
#[derive(Debug)]
pub(super) struct Fight {
    /// How often it was put back.
    total: u32,
    /// In this round, and since when.
    recent: u32,
    since: Instant,
    /// Truces so far, and until when this one holds.
    truces: u32,
    until: Option<Instant>,
    /// How often who changed it.
    changes: u32,
    culprits: Vec<Arc<str>>,
}

impl Fight {
    pub(super) fn new(now: Instant) -> Fight {
        Fight { total: 0, recent: 0, since: now, truces: 0, until: None, changes: 0, culprits: Vec::new() }
    }

    /// Somebody changed it.
    pub(super) fn meddled(&mut self, now: Instant) -> Response {
        self.changes = self.changes.saturating_add(1);
        if self.truce(now).is_some() {
            return Response::Wait;
        }
        if now.duration_since(self.since) > ROUND {
            (self.recent, self.since) = (0, now);
            if self.until.is_none_or(|until| now.duration_since(until) > TRUCE) {
                (self.truces, self.changes) = (0, 1);
                self.culprits.clear();
            }
        }
        self.recent += 1;
        if self.recent > FIGHT {
            let truce = Duration::from_secs(1 << self.truces.min(6)).min(TRUCE);
            self.truces += 1;
            (self.recent, self.since) = (0, now);
            self.until = Some(now + truce);
            return Response::Leave(truce);
        }
        self.total = self.total.saturating_add(1);
        Response::PutBack
    }

    /// It was `who` that changed it.
    pub(super) fn blame(&mut self, who: &Arc<str>) {
        if self.culprits.len() < NAMES && !self.culprits.contains(who) {
            self.culprits.push(who.clone());
        }
    }

    /// How long a truce still holds.
    pub(super) fn truce(&self, now: Instant) -> Option<Duration> {
        self.until.and_then(|until| until.checked_duration_since(now)).filter(|left| !left.is_zero())
    }

    /// When the last truce ended or this one does. Remembered, because how long ago that was decides how long the next one is.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Ends a truce early.
    pub(super) fn end_truce(&mut self, now: Instant) {
        self.until = self.until.map(|until| until.min(now));
    }

    /// How often it was put back.
    pub(super) fn repairs(&self) -> u32 {
        self.total
    }

    /// Who fights, how often, and what to do, while a truce holds. `what`: the thing.
    pub(super) fn why(&self, what: &str, now: Instant) -> Option<String> {
        let left = self.truce(now)?.as_secs() + 1;
        let mut why = format!("another program keeps changing or removing {what}: ");
        for (number, culprit) in self.culprits.iter().enumerate() {
            // Writing into a String does not fail.
            let _ = write!(why, "{}{culprit}", if number > 0 { ", " } else { "" });
        }
        let (changes, total) = (self.changes, self.total);
        let _ = write!(
            why,
            ", {changes} times; it was put back {total} times; next attempt in {left} s; stop that program or keep it from \
             this, or find it with `ip monitor route`"
        );
        Some(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fight_becomes_a_truce_that_ends_and_grows_up_to_a_limit() {
        let mut now = Instant::now();
        let mut fight = Fight::new(now);
        let mut truces = Vec::new();
        for _ in 0..9 {
            let back = (0..20).take_while(|_| fight.meddled(now) == Response::PutBack).count();
            assert_eq!(back, FIGHT as usize);
            let truce = fight.truce(now).expect("a truce");
            assert_eq!(fight.meddled(now), Response::Wait);
            truces.push(truce.as_secs());
            now += truce;
            assert_eq!(fight.truce(now), None);
        }
        assert_eq!(truces, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        // A long peace makes the next truce short again.
        now += TRUCE + ROUND;
        while fight.meddled(now) == Response::PutBack {}
        assert_eq!(fight.truce(now), Some(Duration::from_secs(1)));
    }

    #[test]
    fn who_fights_is_told_with_how_often_and_a_crowd_is_not_listed() {
        let now = Instant::now();
        let mut fight = Fight::new(now);
        for number in 0..100 {
            fight.meddled(now);
            fight.blame(&format!("bird (process {})", number % 5).into());
        }
        let why = fight.why("this route", now).expect("a truce");
        assert!(why.contains("bird (process 0), bird (process 1), bird (process 2), 100 times"), "{why}");
        assert!(why.contains("put back 5 times; next attempt in 2 s"), "{why}");
        assert_eq!(fight.why("this route", now + Duration::from_secs(1)), None);
    }

    #[test]
    fn what_is_mended_now_and_then_is_no_fight() {
        let now = Instant::now();
        let mut fight = Fight::new(now);
        let later = |round| now + round * (ROUND + Duration::from_millis(500));
        assert!((0..100).all(|round| fight.meddled(later(round)) == Response::PutBack));
        assert_eq!(fight.repairs(), 100);
    }
}
