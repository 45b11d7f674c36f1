//! Next hops that the speaker is told are out of reach, so that it decides without them (pure).
//!
//! [`Tracking::hear`] takes in how the kernel reaches next hops; [`Tracking::news`] says what to tell the speaker, and
//! [`Tracking::due`] when to ask again without having heard anything. A next hop stays here when its routes have moved to
//! other paths: nobody else would notice that it is back.
//!
//! A next hop that is lost again and again is taken back later each time. Links flap; and a next hop may depend on what is
//! decided with it: one in an aggregate of our own, whose unreachable route is there for as long as there are paths by that
//! next hop, comes and goes for as long as anybody follows it at once. Most that depend on themselves settle at once:
//! more next hops in reach make more routes, and these bring more next hops in reach.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use fib_sync::Reach;

/// Most next hops that the speaker is told are out of reach: a part of those that [`fib_sync::Fib::reach`] goes on watching.
/// Paths by others stay best and pending.
const MOST: usize = 16_384;

/// So often a next hop may be lost, each time within [`CALM`] of the last, before it is taken back with a pause.
const FREE: u32 = 3;
/// The first pause; each is twice the last one.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST: Duration = Duration::from_secs(256);
/// What was lost longer ago than this was not lost again and again.
const CALM: Duration = Duration::from_secs(600);

#[derive(Debug)]
struct Tracked {
    /// The speaker decides without it.
    told: bool,
    /// It is back, and is taken back at this time.
    back: Option<Instant>,
    /// How often it was lost, each time within [`CALM`].
    losses: u32,
    /// When it was lost last.
    lost: Instant,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Tracking {
    next_hops: BTreeMap<IpAddr, Tracked>,
    /// How many of these are told.
    told: usize,
    /// Those that are back and wait to be taken back.
    waiting: BTreeSet<(Instant, IpAddr)>,
    /// What to tell: out of reach, or no longer.
    news: Vec<(IpAddr, bool)>,
    /// There was no room for some.
    full: bool,
}

impl Tracking {
    /// How the kernel reaches a next hop now.
    pub(crate) fn hear(&mut self, next_hop: IpAddr, reach: &Reach, now: Instant) {
        match reach {
            Reach::Unreachable { .. } => self.lose(next_hop, now),
            Reach::Adjacent { .. } | Reach::Routed { .. } | Reach::Local => self.find(next_hop, now),
        }
    }

    fn lose(&mut self, next_hop: IpAddr, now: Instant) {
        let known = self.next_hops.get_mut(&next_hop);
        if known.as_ref().is_none_or(|tracked| !tracked.told) && self.told == MOST {
            self.full = true;
            return;
        }
        let Some(tracked) = known else {
            self.next_hops.insert(next_hop, Tracked { told: true, back: None, losses: 1, lost: now });
            self.told += 1;
            self.news.push((next_hop, true));
            return;
        };
        if let Some(back) = tracked.back.take() {
            self.waiting.remove(&(back, next_hop));
        }
        if !tracked.told {
            tracked.losses = if now - tracked.lost < CALM { tracked.losses + 1 } else { 1 };
            tracked.told = true;
            self.told += 1;
            self.news.push((next_hop, true));
        }
        tracked.lost = now;
    }

    fn find(&mut self, next_hop: IpAddr, now: Instant) {
        if let Some(tracked) = self.next_hops.get_mut(&next_hop)
            && tracked.told
            && tracked.back.is_none()
        {
            let back = now + pause(tracked.losses);
            tracked.back = Some(back);
            self.waiting.insert((back, next_hop));
        }
    }

    /// What the speaker is to be told, in this order: out of reach (`true`), or no longer.
    pub(crate) fn news(&mut self, now: Instant) -> Vec<(IpAddr, bool)> {
        while let Some((back, next_hop)) = self.waiting.first().copied().filter(|(back, _)| *back <= now) {
            self.waiting.remove(&(back, next_hop));
            if let Some(tracked) = self.next_hops.get_mut(&next_hop) {
                (tracked.told, tracked.back) = (false, None);
                self.told -= 1;
                self.news.push((next_hop, false));
            }
        }
        if !self.news.is_empty() {
            self.forget_calm(now);
        }
        std::mem::take(&mut self.news)
    }

    /// What was lost long ago and is back need not be remembered; nor, where very many flap, that they do.
    fn forget_calm(&mut self, now: Instant) {
        if self.next_hops.len() > 1024 + 2 * self.told {
            self.next_hops.retain(|_, tracked| tracked.told || now - tracked.lost < CALM);
        }
        if self.next_hops.len() > 2 * MOST {
            self.next_hops.retain(|_, tracked| tracked.told);
        }
    }

    /// When the next one that waits is taken back.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.waiting.first().map(|(back, _)| *back)
    }

    /// All that the speaker decides without.
    pub(crate) fn told(&self) -> impl Iterator<Item = IpAddr> {
        self.next_hops.iter().filter(|(_, tracked)| tracked.told).map(|(next_hop, _)| *next_hop)
    }

    /// Why the speaker decides without a next hop that the kernel reaches, for a person.
    pub(crate) fn why_waiting(&self, next_hop: IpAddr, now: Instant) -> Option<String> {
        let tracked = self.next_hops.get(&next_hop)?;
        let wait = tracked.back?.saturating_duration_since(now).as_secs() + 1;
        Some(format!(
            "the next hop {next_hop} was lost {} times in a row and is used again if it stays for {wait} s more",
            tracked.losses
        ))
    }

    /// There are many: it is worth asking the speaker which of them no path has.
    pub(crate) fn is_crowded(&self) -> bool {
        self.full || self.told >= MOST / 16
    }

    /// The speaker has forgotten these, because no path has them.
    pub(crate) fn forget(&mut self, next_hops: &[IpAddr]) {
        for next_hop in next_hops {
            let Some(tracked) = self.next_hops.remove(next_hop) else { continue };
            self.told -= usize::from(tracked.told);
            if let Some(back) = tracked.back {
                self.waiting.remove(&(back, *next_hop));
            }
        }
        self.full = false;
    }
}

/// How long a next hop that has been lost so often must be back before it is used.
fn pause(losses: u32) -> Duration {
    match losses.checked_sub(FREE + 1) {
        None => Duration::ZERO,
        Some(further) => PAUSE.saturating_mul(1 << further.min(30)).min(LONGEST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn next_hop(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    fn gone() -> Reach {
        Reach::Unreachable { error: "network is unreachable".into() }
    }

    fn there() -> Reach {
        Reach::Adjacent { device: "eth0".into(), mtu: 1500 }
    }

    #[test]
    fn what_is_lost_and_what_is_back_is_told_once_and_what_was_never_lost_not_at_all() {
        let (mut tracking, now, one) = (Tracking::default(), Instant::now(), next_hop(1));
        tracking.hear(one, &there(), now);
        assert_eq!(tracking.news(now), []);
        for _ in 0..2 {
            tracking.hear(one, &gone(), now);
        }
        assert_eq!(tracking.news(now), [(one, true)]);
        assert_eq!(tracking.news(now), []);
        assert_eq!(tracking.told().collect::<Vec<_>>(), [one]);
        for _ in 0..2 {
            tracking.hear(one, &there(), now);
        }
        assert_eq!(tracking.news(now), [(one, false)]);
        assert_eq!((tracking.told().count(), tracking.due()), (0, None));
    }

    /// Loses it and finds it again, and lets it be taken back. Returns the pause in seconds, and when that was.
    fn flap(tracking: &mut Tracking, next_hop: IpAddr, now: Instant) -> (u64, Instant) {
        tracking.hear(next_hop, &gone(), now);
        assert_eq!(tracking.news(now), [(next_hop, true)]);
        tracking.hear(next_hop, &there(), now);
        let back = tracking.due().unwrap();
        if back > now {
            assert_eq!(tracking.news(back - SECOND / 2), []);
        }
        assert_eq!(tracking.news(back), [(next_hop, false)]);
        ((back - now).as_secs(), back)
    }

    #[test]
    fn what_is_lost_again_and_again_is_taken_back_later_each_time_and_at_once_after_a_calm() {
        let (mut tracking, mut now, one) = (Tracking::default(), Instant::now(), next_hop(1));
        let mut pauses = Vec::new();
        for _ in 0..13 {
            let pause;
            (pause, now) = flap(&mut tracking, one, now);
            pauses.push(pause);
        }
        assert_eq!(pauses, [0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 256]);
        assert_eq!(flap(&mut tracking, one, now + CALM).0, 0);
    }

    #[test]
    fn what_is_lost_while_it_waits_to_be_taken_back_stays_out() {
        let (mut tracking, mut now, one) = (Tracking::default(), Instant::now(), next_hop(1));
        for _ in 0..5 {
            (_, now) = flap(&mut tracking, one, now);
        }
        for reach in [gone(), there(), gone()] {
            tracking.hear(one, &reach, now);
        }
        assert_eq!(tracking.news(now + SECOND * 60), [(one, true)]);
        assert_eq!((tracking.due(), tracking.why_waiting(one, now)), (None, None));
        tracking.hear(one, &there(), now);
        let why = tracking.why_waiting(one, now).unwrap();
        assert!(why.contains("lost 6 times in a row") && why.ends_with("stays for 5 s more"), "{why}");
    }

    #[test]
    fn no_more_than_so_many_are_told_and_room_comes_when_the_speaker_forgets_some() {
        let (mut tracking, now) = (Tracking::default(), Instant::now());
        let most = u32::try_from(MOST).unwrap();
        for number in 0..most + 5 {
            tracking.hear(next_hop(number), &gone(), now);
        }
        assert_eq!((tracking.news(now).len(), tracking.told().count()), (MOST, MOST));
        assert!(tracking.is_crowded());
        tracking.forget(&[next_hop(0), next_hop(1)]);
        tracking.hear(next_hop(most), &gone(), now);
        assert_eq!(tracking.news(now), [(next_hop(most), true)]);
    }

    #[test]
    fn that_something_was_lost_is_not_remembered_for_ever() {
        let (mut tracking, mut now) = (Tracking::default(), Instant::now());
        for number in 0..10_000 {
            now += SECOND;
            tracking.hear(next_hop(number), &gone(), now);
            tracking.hear(next_hop(number), &there(), now);
            tracking.news(now);
        }
        assert!(tracking.next_hops.len() <= 1025, "{}", tracking.next_hops.len());
    }
}
