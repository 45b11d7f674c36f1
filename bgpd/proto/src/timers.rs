//! The timers of a session in one small table: set, clear, which is next; and the jitter that they are set with.

use std::time::Duration;

use crate::time::Instant;

/// A timer of the state machine (RFC 4271 section 8.1.3). Of two that are due at one moment, the first here goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// How long a connection attempt may take, or when to make the next.
    ConnectRetry,
    /// How long to wait for the peer's OPEN before ours is sent (RFC 4271 section 8.1.1, DelayOpen).
    DelayOpen,
    /// How long to stay in Idle after a failure (RFC 4271 section 8.1.1, DampPeerOscillations).
    IdleHold,
    /// How long the peer may be silent.
    Hold,
    /// When to say that we are alive.
    Keepalive,
    /// How long the peer may take nothing of what is queued for it (RFC 9687).
    SendHold,
}

impl Timer {
    /// All of them, in order.
    pub const ALL: [Self; 6] =
        [Self::ConnectRetry, Self::DelayOpen, Self::IdleHold, Self::Hold, Self::Keepalive, Self::SendHold];
}

/// When each timer is due; `None` where it does not run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timers {
    due: [Option<Instant>; Timer::ALL.len()],
}

impl Timers {
    /// Starts a timer, or starts it anew.
    pub fn set(&mut self, timer: Timer, due: Instant) {
        self.due[timer as usize] = Some(due);
    }

    /// Stops a timer.
    pub fn clear(&mut self, timer: Timer) {
        self.due[timer as usize] = None;
    }

    /// Whether a timer runs.
    #[must_use]
    pub fn runs(&self, timer: Timer) -> bool {
        self.due[timer as usize].is_some()
    }

    /// When this one is due.
    #[must_use]
    pub fn due(&self, timer: Timer) -> Option<Instant> {
        self.due[timer as usize]
    }

    /// When the first of them is due.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.due.iter().flatten().min().copied()
    }

    /// Takes the timer that is due first and not after `now`; call it until `None`.
    pub fn expire(&mut self, now: Instant) -> Option<Timer> {
        let (_, timer) = Timer::ALL
            .into_iter()
            .filter_map(|timer| self.due[timer as usize].filter(|due| *due <= now).map(|due| (due, timer)))
            .min()?;
        self.clear(timer);
        Some(timer)
    }
}

/// The jitter of RFC 4271 section 10: a factor between 0.75 and 1.0 for each setting of a timer.
///
/// Splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014): its quality is far above
/// what jitter needs, any seed will do, and it is seven lines.
#[derive(Clone, Debug)]
pub struct Jitter(u64);

impl Jitter {
    /// The same seed gives the same sequence.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits, for what is not a time.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// `time` times a factor between 0.75 and 1.0.
    pub fn apply(&mut self, time: Duration) -> Duration {
        let quarter = time / 4;
        let part = u32::try_from(self.bits() >> 32).unwrap_or(u32::MAX);
        quarter * 3 + Duration::from_secs_f64(quarter.as_secs_f64() * f64::from(part) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_start(Duration::from_secs(seconds))
    }

    #[test]
    fn timers_expire_by_time_and_at_one_moment_in_the_order_of_the_table() {
        let mut timers = Timers::default();
        timers.set(Timer::SendHold, at(5));
        timers.set(Timer::Keepalive, at(9));
        timers.set(Timer::Hold, at(9));
        timers.set(Timer::IdleHold, at(11));
        assert_eq!(timers.next(), Some(at(5)));
        assert_eq!(timers.expire(at(4)), None);
        let expired: Vec<_> = std::iter::from_fn(|| timers.expire(at(10))).collect();
        assert_eq!(expired, [Timer::SendHold, Timer::Hold, Timer::Keepalive]);
        assert_eq!(timers.next(), Some(at(11)));
    }

    #[test]
    fn a_cleared_timer_does_not_expire() {
        let mut timers = Timers::default();
        timers.set(Timer::Hold, at(1));
        assert!(timers.runs(Timer::Hold));
        timers.clear(Timer::Hold);
        assert_eq!((timers.runs(Timer::Hold), timers.next(), timers.expire(at(2))), (false, None, None));
    }

    #[test]
    fn jitter_stays_in_its_bounds_uses_them_and_repeats_with_its_seed() {
        let time = Duration::from_secs(100);
        let draw = |seed| {
            let mut jitter = Jitter::new(seed);
            (0..1000).map(|_| jitter.apply(time)).collect::<Vec<_>>()
        };
        let drawn = draw(7);
        assert!(drawn.iter().all(|one| (Duration::from_secs(75)..=time).contains(one)));
        assert!(drawn.iter().any(|one| *one < Duration::from_secs(77)));
        assert!(drawn.iter().any(|one| *one > Duration::from_secs(98)));
        assert_eq!(drawn, draw(7));
        assert_ne!(drawn, draw(8));
    }
}
