//! What happens when a peer sends too many prefixes, and that it does not happen for ever.

use std::time::Duration;

use crate::time::Instant;
use crate::types::Prefix;

/// What a peer may send that is not told less: some four Internet tables (1.2 million prefixes of both families in 2026).
/// It is there so that no peer can fill the memory with prefixes for ever.
pub const MOST_PREFIXES: u32 = 5_000_000;

/// Most paths to one prefix that a peer may send (RFC 7911). They are compared with one another at each change, so that
/// without a bound a peer could make a single prefix as dear as a table.
pub const MOST_PATHS: usize = 1024;

/// What a peer has sent too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// Prefixes, all families together.
    Prefixes,
    /// Paths to this one, above [`MOST_PATHS`].
    Paths(Prefix),
}

impl Excess {
    /// In words, of a peer with this limit.
    #[must_use]
    pub fn reason(self, limit: PrefixLimit) -> String {
        match self {
            Self::Prefixes => format!("the peer sent more than {} prefixes (max-prefixes)", limit.hard()),
            Self::Paths(prefix) => format!("the peer sent more than {MOST_PATHS} paths to {prefix}"),
        }
    }
}

/// The first wait of a session that was ended for its prefixes; each further one is twice as long as the last.
const FIRST_WAIT: Duration = Duration::from_secs(60);
/// The longest.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// A session that has lasted this long has learned: the next wait is the first one again.
const GOOD: Duration = Duration::from_secs(600);

/// Most prefixes that a peer may send, all families together, those that the import filter rejects too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixLimit {
    /// How many.
    pub limit: u32,
    /// At this share of them, in percent, a warning is logged and shown: 1 to 100.
    pub warn_at_percent: u8,
    /// What happens above.
    pub action: LimitAction,
}

/// What happens to a session above its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitAction {
    /// It ends and stays down until a person resets it, or the limit changes. A dynamic peer's, for an hour.
    Stop,
    /// It ends and starts again after this time; `None`: after a minute, and twice as long each time, up to an hour.
    Restart(Option<Duration>),
    /// Nothing but a warning, at the limit; [`MOST_PREFIXES`] is the limit all the same.
    Warn,
}

impl PrefixLimit {
    /// The limit with a warning at three quarters, above which the session ends and starts again.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self { limit, warn_at_percent: 75, action: LimitAction::Restart(None) }
    }

    /// Above which the session ends.
    #[must_use]
    pub fn hard(self) -> u32 {
        match self.action {
            LimitAction::Stop | LimitAction::Restart(_) => self.limit,
            LimitAction::Warn => MOST_PREFIXES.max(self.limit),
        }
    }

    /// From which on a warning is due.
    #[must_use]
    pub fn warn_at(self) -> u32 {
        let share = u64::from(self.limit) * u64::from(self.warn_at_percent.clamp(1, 100));
        u32::try_from(share.div_ceil(100)).unwrap_or(self.limit)
    }
}

/// How long a session that has ended for its prefixes stays down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Until a person or a changed limit says otherwise.
    Stopped,
    /// Until then.
    Until(Instant),
}

/// A peer's history with its limit.
#[derive(Debug, Default)]
pub struct PrefixHistory {
    /// Sessions that ended for it.
    pub times: u32,
    /// Of these, one behind the other.
    in_a_row: u32,
    /// The session is down for it.
    pub hold: Option<Hold>,
    /// What it is down for, or was last.
    excess: Option<Excess>,
}

impl PrefixHistory {
    /// The peer has sent too much of this; its session had been up since `up`.
    pub fn exceeded(&mut self, excess: Excess, limit: PrefixLimit, dynamic: bool, up: Option<Instant>, now: Instant) {
        self.excess = Some(excess);
        let good = up.is_some_and(|up| now.saturating_since(up) >= GOOD);
        self.times = self.times.saturating_add(1);
        self.in_a_row = if good { 1 } else { self.in_a_row.saturating_add(1) };
        let doubled = FIRST_WAIT.saturating_mul(1 << (self.in_a_row - 1).min(10)).min(LONGEST_WAIT);
        self.hold = Some(match limit.action {
            // It would be back at once as another peer of its prefix.
            LimitAction::Stop if dynamic => Hold::Until(now + LONGEST_WAIT),
            LimitAction::Stop => Hold::Stopped,
            LimitAction::Restart(Some(wait)) => Hold::Until(now + wait),
            // Nobody has more than the limit that is there for everybody.
            LimitAction::Restart(None) | LimitAction::Warn => Hold::Until(now + doubled),
        });
    }

    /// When the session is to start again.
    #[must_use]
    pub fn until(&self) -> Option<Instant> {
        match self.hold {
            Some(Hold::Until(at)) => Some(at),
            Some(Hold::Stopped) | None => None,
        }
    }

    /// What a session that is held down is held down for, in words.
    #[must_use]
    pub fn ended_for(&self, limit: PrefixLimit) -> Option<String> {
        self.hold.and(self.excess).map(|excess| excess.reason(limit))
    }

    /// What a person reads of a session that is held down.
    #[must_use]
    pub fn reason(&self, limit: PrefixLimit, now: Instant) -> Option<String> {
        let ended = self.excess?.reason(limit);
        match self.hold? {
            Hold::Stopped => Some(format!("{ended}: down until it is reset, or max-prefixes changes")),
            Hold::Until(at) => {
                let seconds = at.saturating_since(now).as_secs();
                Some(format!("{ended}: starts again in {seconds} s ({} so far)", times(self.times)))
            }
        }
    }
}

fn times(count: u32) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_start(Duration::from_secs(seconds))
    }

    #[test]
    fn what_a_session_is_held_down_for_is_said() {
        let limit = PrefixLimit { limit: 10, warn_at_percent: 75, action: LimitAction::Stop };
        let mut history = PrefixHistory::default();
        assert_eq!(history.ended_for(limit), None);
        for (excess, said) in [
            (Excess::Prefixes, "the peer sent more than 10 prefixes (max-prefixes)"),
            (Excess::Paths("10.0.0.0/24".parse().unwrap()), "the peer sent more than 1024 paths to 10.0.0.0/24"),
        ] {
            history.exceeded(excess, limit, false, None, at(0));
            assert_eq!(history.ended_for(limit).as_deref(), Some(said));
            let reason = history.reason(limit, at(1)).unwrap();
            assert_eq!(reason, format!("{said}: down until it is reset, or max-prefixes changes"));
        }
    }

    #[test]
    fn a_limit_in_a_loop_waits_twice_as_long_each_time_up_to_an_hour_and_forgets_after_a_good_session() {
        let limit = PrefixLimit::new(10);
        let mut history = PrefixHistory::default();
        for (now, up, wait) in [
            (1000, 995, 60),
            (2000, 1995, 120),
            (3000, 2995, 240),
            (4000, 3995, 480),
            (5000, 4995, 960),
            (6000, 5995, 1920),
            (9000, 8995, 3600),
            (13_000, 12_995, 3600),
            (20_000, 19_000, 60),
            (20_100, 20_095, 120),
        ] {
            history.exceeded(Excess::Prefixes, limit, false, Some(at(up)), at(now));
            assert_eq!(history.until(), Some(at(now + wait)), "at {now}");
        }
        assert_eq!(history.times, 10);
    }

    #[test]
    fn each_action_holds_the_session_as_it_says() {
        for (action, dynamic, hold) in [
            (LimitAction::Stop, false, Hold::Stopped),
            (LimitAction::Stop, true, Hold::Until(at(3700))),
            (LimitAction::Restart(Some(Duration::from_secs(5))), false, Hold::Until(at(105))),
            (LimitAction::Restart(None), true, Hold::Until(at(160))),
        ] {
            let mut history = PrefixHistory::default();
            history.exceeded(Excess::Prefixes, PrefixLimit { action, ..PrefixLimit::new(10) }, dynamic, None, at(100));
            assert_eq!(history.hold, Some(hold), "{action:?}");
        }
    }

    #[test]
    fn a_warning_is_due_at_its_share_and_a_limit_that_only_warns_is_not_the_last_one() {
        for (limit, percent, action, warn_at, hard) in [
            (1000, 75, LimitAction::Stop, 750, 1000),
            (1, 75, LimitAction::Stop, 1, 1),
            (3, 50, LimitAction::Restart(None), 2, 3),
            (1000, 100, LimitAction::Warn, 1000, MOST_PREFIXES),
            (u32::MAX, 100, LimitAction::Warn, u32::MAX, u32::MAX),
        ] {
            let limit = PrefixLimit { limit, warn_at_percent: percent, action };
            assert_eq!((limit.warn_at(), limit.hard()), (warn_at, hard), "{limit:?}");
        }
    }
}
