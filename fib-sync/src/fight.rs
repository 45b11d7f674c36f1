//! Somebody else changes again and again what is Linnet's: it is put back, but not for ever. Times are arguments.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// So many repairs of one thing within so long are a fight.
pub(crate) const FIGHT: u32 = 5;
const ROUND: Duration = Duration::from_secs(10);
/// The longest truce.
const TRUCE: Duration = Duration::from_secs(60);
/// Changes that follow each other within so long belong together.
pub(crate) const QUIET: Duration = Duration::from_secs(600);
/// From so many changes on a person is told, for as long as another one is to be expected.
const OFTEN: u32 = 3;
/// Programs that are remembered by name, of each fight.
const NAMES: usize = 3;

/// What to do about a change by somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Response {
    /// Put it back now.
    PutBack,
    /// It is a fight: leave it alone for so long.
    Leave(Duration),
    /// A truce holds.
    Wait,
}

/// What others did to one thing of Linnet's. Where it happens now and then it is put back for ever, and a person sees it; where it
/// happens often there are truces as well.
#[derive(Debug)]
pub(crate) struct Fight {
    /// How often it was put back.
    total: u32,
    /// In this round, and since when.
    recent: u32,
    since: Instant,
    /// Truces so far, and until when this one holds.
    truces: u32,
    until: Option<Instant>,
    /// How often it was changed, and when first and last.
    changes: u32,
    first: Instant,
    last: Instant,
    /// By whom, and whether by more than these.
    culprits: Vec<Arc<str>>,
    crowd: bool,
}

impl Fight {
    pub(crate) fn new(now: Instant) -> Fight {
        Fight {
            total: 0,
            recent: 0,
            since: now,
            truces: 0,
            until: None,
            changes: 0,
            first: now,
            last: now,
            culprits: Vec::new(),
            crowd: false,
        }
    }

    /// Somebody changed it.
    pub(crate) fn meddled(&mut self, now: Instant) -> Response {
        if self.is_over(now) {
            *self = Fight::new(now);
        }
        self.changes = self.changes.saturating_add(1);
        self.last = now;
        if self.truce(now).is_some() {
            return Response::Wait;
        }
        if now.duration_since(self.since) > ROUND {
            (self.recent, self.since) = (0, now);
            if self.until.is_none_or(|until| now.duration_since(until) > TRUCE) {
                self.truces = 0;
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
    pub(crate) fn blame(&mut self, who: &Arc<str>) {
        if self.culprits.contains(who) {
            return;
        }
        if self.culprits.len() < NAMES {
            self.culprits.push(who.clone());
        } else {
            self.crowd = true;
        }
    }

    /// How long a truce still holds.
    pub(crate) fn truce(&self, now: Instant) -> Option<Duration> {
        self.until.and_then(|until| until.checked_duration_since(now)).filter(|left| !left.is_zero())
    }

    /// When the last truce ended or this one does. Remembered, because how long ago that was decides how long the next one is.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Ends a truce early.
    pub(crate) fn end_truce(&mut self, now: Instant) {
        self.until = self.until.map(|until| until.min(now));
    }

    /// Nothing was heard of it for so long that the next change is the first one.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) > QUIET
    }

    /// How often it was put back.
    pub(crate) fn repairs(&self) -> u32 {
        self.total
    }

    /// Who changes it again and again, how often, and what to do: while a truce holds, and while another change is to be
    /// expected. `what`: the thing.
    pub(crate) fn why(&self, what: &str, now: Instant) -> Option<String> {
        let truce = self.truce(now);
        if truce.is_none() && !self.is_expected(now) {
            return None;
        }
        let who =
            if self.culprits.is_empty() { "programs that were not seen".to_owned() } else { self.culprits.join(", ") };
        let others = if self.crowd { " and others" } else { "" };
        let (changes, total) = (self.changes, self.total);
        let (during, ago) = ((self.last - self.first).as_secs(), now.saturating_duration_since(self.last).as_secs());
        let next = truce.map_or_else(String::new, |left| format!("; next attempt in {} s", left.as_secs() + 1));
        Some(format!(
            "another program keeps changing or removing {what}: {who}{others}, {changes} times in {during} s, last {ago} s ago; it \
             was put back {total} times{next}; stop that program or keep it from this, or find it with `ip monitor`"
        ))
    }

    /// It happened often, and no longer ago than three times its usual pause.
    fn is_expected(&self, now: Instant) -> bool {
        let pause = (self.last - self.first) / self.changes.saturating_sub(1).max(1);
        let patience = pause.saturating_mul(3).clamp(TRUCE, QUIET);
        self.changes >= OFTEN && now.saturating_duration_since(self.last) < patience
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
        assert!(
            why.contains("bird (process 0), bird (process 1), bird (process 2) and others, 100 times in 0 s"),
            "{why}"
        );
        assert!(why.contains("put back 5 times; next attempt in 2 s"), "{why}");
        let why = fight.why("this route", now + Duration::from_secs(50)).expect("what was");
        assert!(why.contains("last 50 s ago; it was put back 5 times; stop"), "{why}");
        assert_eq!(fight.why("this route", now + TRUCE), None);
    }

    #[test]
    fn what_is_changed_slowly_is_put_back_for_ever_and_a_person_sees_by_whom_and_how_often() {
        for pause in [3, 60, 300].map(Duration::from_secs) {
            let mut now = Instant::now();
            let mut fight = Fight::new(now);
            for change in 1..=100 {
                assert_eq!(fight.meddled(now), Response::PutBack, "{pause:?}");
                fight.blame(&"bird (process 7)".into());
                assert_eq!(fight.why("this route", now).is_some(), change >= OFTEN, "{pause:?}, {change}");
                now += pause;
            }
            let why = fight.why("this route", now).expect("it is to be expected again");
            let (times, ago) = (99 * pause.as_secs(), pause.as_secs());
            let said = format!("bird (process 7), 100 times in {times} s, last {ago} s ago; it was put back 100 times");
            assert!(why.contains(&said), "{why}");
            now += 2 * pause + TRUCE;
            assert_eq!(fight.why("this route", now), None, "{pause:?}");
        }
    }

    #[test]
    fn after_a_long_quiet_a_change_is_the_first() {
        let mut now = Instant::now();
        let mut fight = Fight::new(now);
        while fight.meddled(now) == Response::PutBack {}
        now += QUIET;
        assert!(!fight.is_over(now));
        now += Duration::from_secs(1);
        assert!(fight.is_over(now));
        assert_eq!(fight.meddled(now), Response::PutBack);
        assert_eq!((fight.repairs(), fight.why("this route", now)), (1, None));
    }
}
