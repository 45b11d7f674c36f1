//! Routes that are not as they should be: why, and when to try again. Times are arguments.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use ipnetwork::IpNetwork;

/// First pause after a refusal, and the longest.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);
/// So many repairs of one route within so long are a fight.
const FIGHT: u32 = 5;
const ROUND: Duration = Duration::from_secs(10);
/// The longest truce.
const TRUCE: Duration = Duration::from_secs(60);

/// Why a route is not in the kernel.
#[derive(Debug)]
struct Trouble {
    why: String,
    attempts: u32,
    retry: Instant,
}

/// What others did to a route.
#[derive(Debug)]
struct Repairs {
    total: u32,
    /// In this round, and since when.
    recent: u32,
    since: Instant,
    /// Truces so far, and until when this one holds.
    truces: u32,
    until: Option<Instant>,
}

/// All routes in trouble.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    troubles: HashMap<IpNetwork, Trouble>,
    repairs: HashMap<IpNetwork, Repairs>,
    /// No later than the earliest time to try something again.
    next: Option<Instant>,
}

impl Troubles {
    /// A new wish: earlier failures say nothing about it.
    pub(super) fn asked(&mut self, prefixes: &[IpNetwork]) {
        prefixes.iter().for_each(|prefix| self.settled(*prefix));
    }

    /// It failed.
    pub(super) fn failed(&mut self, prefix: IpNetwork, why: String, now: Instant) {
        let trouble = self.troubles.entry(prefix).or_insert(Trouble { why: String::new(), attempts: 0, retry: now });
        let pause = PAUSE.saturating_mul(1 << trouble.attempts.min(6)).min(LONGEST);
        trouble.attempts += 1;
        trouble.why = why;
        trouble.retry = now + pause;
        self.next = Some(self.next.map_or(trouble.retry, |next| next.min(trouble.retry)));
    }

    /// It is as it should be.
    pub(super) fn settled(&mut self, prefix: IpNetwork) {
        // Mostly there are none, and a full table would pay for hashing each prefix.
        if !self.troubles.is_empty() {
            self.troubles.remove(&prefix);
        }
    }

    /// Nobody wants it any more.
    pub(super) fn forget(&mut self, prefix: IpNetwork) {
        self.settled(prefix);
        if !self.repairs.is_empty() {
            self.repairs.remove(&prefix);
        }
    }

    /// Something changed that may have helped: tries all again at once.
    pub(super) fn hope(&mut self, now: Instant) {
        self.troubles.values_mut().for_each(|trouble| trouble.retry = now);
        if !self.troubles.is_empty() {
            self.next = Some(now);
        }
    }

    /// Ends every truce: somebody asked for it.
    pub(super) fn end_truces(&mut self, now: Instant) {
        let fights = self.repairs.values_mut().filter_map(|repairs| repairs.until.as_mut());
        fights.for_each(|until| *until = now.min(*until));
    }

    /// Somebody else changed the route. Returns whether to put it back now; if not, there is a truce first.
    pub(super) fn meddled(&mut self, prefix: IpNetwork, now: Instant) -> bool {
        let repairs =
            self.repairs.entry(prefix).or_insert(Repairs { total: 0, recent: 0, since: now, truces: 0, until: None });
        if repairs.until.is_some_and(|until| until > now) {
            return false;
        }
        if now.duration_since(repairs.since) > ROUND {
            (repairs.recent, repairs.since) = (0, now);
            if repairs.until.is_none_or(|until| now.duration_since(until) > TRUCE) {
                repairs.truces = 0;
            }
        }
        repairs.recent += 1;
        if repairs.recent > FIGHT {
            let truce = Duration::from_secs(1 << repairs.truces.min(6)).min(TRUCE);
            repairs.truces += 1;
            (repairs.recent, repairs.since) = (0, now);
            let until = now + truce;
            repairs.until = Some(until);
            self.next = Some(self.next.map_or(until, |next| next.min(until)));
            return false;
        }
        repairs.total = repairs.total.saturating_add(1);
        true
    }

    /// Whether a truce holds.
    pub(super) fn truce(&self, prefix: IpNetwork, now: Instant) -> bool {
        !self.repairs.is_empty()
            && self.repairs.get(&prefix).is_some_and(|repairs| repairs.until.is_some_and(|until| until > now))
    }

    /// Why a route is not as it should be.
    pub(super) fn why(&self, prefix: IpNetwork, now: Instant) -> Option<String> {
        if let Some(repairs) = self.repairs.get(&prefix)
            && let Some(until) = repairs.until.filter(|until| *until > now)
        {
            return Some(format!(
                "another program keeps changing or removing this route: it was put back {} times; next attempt in {} s; \
                 find the program with `ip monitor route`",
                repairs.total,
                until.duration_since(now).as_secs() + 1
            ));
        }
        self.troubles.get(&prefix).map(|trouble| trouble.why.clone())
    }

    pub(super) fn repairs(&self, prefix: IpNetwork) -> u32 {
        self.repairs.get(&prefix).map_or(0, |repairs| repairs.total)
    }

    pub(super) fn all_repairs(&self) -> u64 {
        self.repairs.values().map(|repairs| u64::from(repairs.total)).sum()
    }

    /// When something is due next, at the latest.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// What to try again now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<IpNetwork> {
        if self.next.is_none_or(|next| next > now) {
            return Vec::new();
        }
        let mut due = Vec::new();
        let mut next: Option<Instant> = None;
        let mut later = |at: Instant| next = Some(next.map_or(at, |next| next.min(at)));
        for (prefix, trouble) in &mut self.troubles {
            if trouble.retry <= now {
                due.push(*prefix);
                // Tried again at this time unless settled before: a route that must wait for a link has no other clock.
                trouble.retry = now + LONGEST;
            }
            later(trouble.retry);
        }
        for (prefix, repairs) in &mut self.repairs {
            match repairs.until {
                Some(until) if until > now => later(until),
                // Kept: how long ago the last truce ended decides how long the next one is.
                Some(until) if self.next.is_some_and(|next| until >= next) => due.push(*prefix),
                Some(_) | None => {}
            }
        }
        self.next = next;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix() -> IpNetwork {
        "10.244.0.0/24".parse().expect("a prefix")
    }

    #[test]
    fn a_refused_route_is_tried_again_after_growing_pauses_up_to_a_limit() {
        let mut troubles = Troubles::default();
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..9 {
            troubles.failed(prefix(), "no".into(), now);
            let next = troubles.next().expect("a time to try again");
            pauses.push(next - now);
            now = next;
            assert_eq!(troubles.due(now), [prefix()]);
        }
        assert!(pauses.is_sorted() && pauses[0] == PAUSE && pauses[8] == LONGEST, "{pauses:?}");
    }

    #[test]
    fn hope_brings_everything_forward() {
        let mut troubles = Troubles::default();
        let now = Instant::now();
        troubles.failed(prefix(), "no".into(), now);
        assert_eq!(troubles.due(now), []);
        troubles.hope(now);
        assert_eq!(troubles.due(now), [prefix()]);
    }

    #[test]
    fn a_fight_becomes_a_truce_that_ends_and_grows() {
        let mut troubles = Troubles::default();
        let now = Instant::now();
        let back = (0..20).take_while(|_| troubles.meddled(prefix(), now)).count();
        assert_eq!(back, FIGHT as usize);
        assert!(troubles.truce(prefix(), now));
        assert!(troubles.why(prefix(), now).is_some_and(|why| why.contains("put back 5 times")));
        let end = troubles.next().expect("an end of the truce");
        assert_eq!(end - now, Duration::from_secs(1));
        assert_eq!(troubles.due(end), [prefix()]);
        assert!(!troubles.truce(prefix(), end));
        let again = (0..20).take_while(|_| troubles.meddled(prefix(), end)).count();
        assert_eq!(again, FIGHT as usize);
        assert_eq!(troubles.next().map(|next| next - end), Some(Duration::from_secs(2)));
    }

    #[test]
    fn a_route_that_is_mended_now_and_then_is_no_fight() {
        let mut troubles = Troubles::default();
        let now = Instant::now();
        assert!((0..100).all(|round| troubles.meddled(prefix(), now + round * (ROUND + PAUSE))));
    }
}
