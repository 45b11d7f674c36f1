//! Routes that are not as they should be: why, and when to try again. Times are arguments.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use ipnetwork::IpNetwork;

use crate::fight::{Fight, QUIET, Response};

/// First pause after a refusal, and the longest.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);
/// Why a route is not in the kernel.
#[derive(Debug)]
struct Trouble {
    why: String,
    attempts: u32,
    retry: Instant,
}

/// All routes in trouble.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    troubles: HashMap<IpNetwork, Trouble>,
    fights: HashMap<IpNetwork, Fight>,
    /// Those in which a truce may hold.
    truces: HashSet<IpNetwork>,
    /// When fights that are over are forgotten.
    forget: Option<Instant>,
    /// Repairs, also of fights that are forgotten.
    repairs: u64,
    /// No later than the earliest time to try something again.
    next: Option<Instant>,
}

impl Troubles {
    /// A new wish: earlier failures say nothing about it, and it waits for the end of no truce.
    pub(super) fn asked(&mut self, prefixes: &[IpNetwork], now: Instant) {
        for prefix in prefixes {
            self.settled(*prefix);
            if !self.truces.is_empty()
                && let Some(fight) = self.fights.get_mut(prefix)
            {
                fight.end_truce(now);
            }
        }
    }

    /// Whether it failed before, and has not been as it should be since.
    pub(super) fn has(&self, prefix: IpNetwork) -> bool {
        self.troubles.contains_key(&prefix)
    }

    /// It failed. Returns when it is tried again.
    pub(super) fn failed(&mut self, prefix: IpNetwork, why: String, now: Instant) -> Instant {
        let trouble = self.troubles.entry(prefix).or_insert(Trouble { why: String::new(), attempts: 0, retry: now });
        let pause = PAUSE.saturating_mul(1 << trouble.attempts.min(6)).min(LONGEST);
        trouble.attempts += 1;
        trouble.why = why;
        trouble.retry = now + pause;
        let retry = trouble.retry;
        self.next = Some(self.next.map_or(retry, |next| next.min(retry)));
        retry
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
        if !self.fights.is_empty() {
            self.fights.remove(&prefix);
            self.truces.remove(&prefix);
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
        for prefix in &self.truces {
            if let Some(fight) = self.fights.get_mut(prefix) {
                fight.end_truce(now);
            }
        }
    }

    /// Somebody else changed the route. If it is not put back now, there is a truce first.
    pub(super) fn meddled(&mut self, prefix: IpNetwork, now: Instant) -> Response {
        let fight = self.fights.entry(prefix).or_insert_with(|| Fight::new(now));
        let response = fight.meddled(now);
        self.forget.get_or_insert(now + QUIET);
        match response {
            Response::PutBack => self.repairs += 1,
            Response::Leave(truce) => {
                let until = now + truce;
                self.truces.insert(prefix);
                self.next = Some(self.next.map_or(until, |next| next.min(until)));
            }
            Response::Wait => {}
        }
        response
    }

    /// It was `who` that changed the route.
    pub(super) fn blame(&mut self, prefix: IpNetwork, who: &Arc<str>) {
        if let Some(fight) = self.fights.get_mut(&prefix) {
            fight.blame(who);
        }
    }

    /// Whether a truce holds.
    pub(super) fn truce(&self, prefix: IpNetwork, now: Instant) -> bool {
        !self.truces.is_empty() && self.fights.get(&prefix).is_some_and(|fight| fight.truce(now).is_some())
    }

    /// Why a route is not as it should be.
    pub(super) fn why(&self, prefix: IpNetwork, now: Instant) -> Option<String> {
        let fight = self.fights.get(&prefix).and_then(|fight| fight.why("this route", now));
        fight.or_else(|| self.troubles.get(&prefix).map(|trouble| trouble.why.clone()))
    }

    pub(super) fn repairs(&self, prefix: IpNetwork) -> u32 {
        self.fights.get(&prefix).map_or(0, Fight::repairs)
    }

    pub(super) fn all_repairs(&self) -> u64 {
        self.repairs
    }

    /// When something is due next, at the latest.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next.into_iter().chain(self.forget).min()
    }

    /// Forgets fights that are over: a table that somebody emptied once leaves one for each of its routes.
    fn forget_fights(&mut self, now: Instant) {
        if self.forget.take_if(|at| *at <= now).is_some() {
            self.fights.retain(|_, fight| !fight.is_over(now));
            self.fights.shrink_to(2 * self.fights.len());
            self.forget = (!self.fights.is_empty()).then(|| now + QUIET);
        }
    }

    /// What to try again now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<IpNetwork> {
        self.forget_fights(now);
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
        self.truces.retain(|prefix| match self.fights.get(prefix).and_then(Fight::until) {
            Some(until) if until > now => {
                later(until);
                true
            }
            Some(_) | None => {
                due.push(*prefix);
                false
            }
        });
        self.next = next;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fight::FIGHT;

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
    fn a_fight_becomes_a_truce_at_whose_end_the_route_is_due() {
        let mut troubles = Troubles::default();
        let now = Instant::now();
        let back = (0..20).take_while(|_| troubles.meddled(prefix(), now) == Response::PutBack).count();
        assert_eq!(back, FIGHT as usize);
        assert!(troubles.truce(prefix(), now));
        assert!(troubles.why(prefix(), now).is_some_and(|why| why.contains("put back 5 times")));
        let end = troubles.next().expect("an end of the truce");
        assert_eq!(end - now, Duration::from_secs(1));
        assert_eq!(troubles.due(end), [prefix()]);
        assert!(!troubles.truce(prefix(), end));
    }

    #[test]
    fn fights_that_are_over_are_forgotten_and_what_was_repaired_stays_counted() {
        let mut troubles = Troubles::default();
        let start = Instant::now();
        let other: IpNetwork = "10.244.1.0/24".parse().expect("a prefix");
        assert_eq!(troubles.meddled(other, start), Response::PutBack);
        let later = start + QUIET / 2;
        assert_eq!(troubles.meddled(prefix(), later), Response::PutBack);
        let at = troubles.next().expect("a time to forget");
        assert_eq!((at - start, troubles.due(start + Duration::from_secs(1))), (QUIET, Vec::new()));
        // The first one is a moment too young at first.
        let mut now = at;
        let mut left = Vec::new();
        while let Some(next) = troubles.next() {
            now = next.max(now + Duration::from_secs(1));
            assert_eq!(troubles.due(now), []);
            left.push((troubles.repairs(other), troubles.repairs(prefix())));
        }
        assert_eq!(left, [(0, 1), (0, 0)]);
        assert!(now - later < 2 * QUIET, "{:?}", now - later);
        assert_eq!((troubles.all_repairs(), troubles.fights.capacity()), (2, 0));
    }

    #[test]
    fn a_new_wish_waits_for_no_truce() {
        let mut troubles = Troubles::default();
        let now = Instant::now();
        while troubles.meddled(prefix(), now) == Response::PutBack {}
        troubles.asked(&[prefix()], now);
        assert!(!troubles.truce(prefix(), now));
    }
}
