//! When to send: the periodic packet with its jitter, and how many others may leave beside it.

use std::time::Duration;

use crate::time::Instant;
use crate::timers::Jitter;

/// Packets that may leave beside the periodic ones at one time: news and answers to polls.
const BURST: u32 = 10;
/// One more may leave after this time: an answer costs as much as its question, and no more questions are answered than
/// a peer at the shortest interval that the configuration takes (10 ms) has of them.
const REFILL: Duration = Duration::from_millis(10);

/// The transmit timer.
#[derive(Debug)]
pub(super) struct Pace {
    jitter: Jitter,
    interval: Option<Duration>,
    /// When the last packet left that counts as periodic.
    last: Option<Instant>,
    /// Drawn anew for each packet.
    wait: Duration,
    beside: u32,
    refilled: Instant,
}

impl Pace {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            jitter: Jitter::new(seed),
            interval: None,
            last: None,
            wait: Duration::ZERO,
            beside: BURST,
            refilled: Instant::START,
        }
    }

    /// Forgets when something was sent.
    pub(super) fn restart(&mut self, now: Instant) {
        self.last = None;
        self.refilled = now;
    }

    /// Follows a changed interval: from the last packet on, not from now (RFC 5880 section 6.8.3). `single`: the other end
    /// must miss only one packet to lose us, so each comes early (section 6.8.7).
    pub(super) fn follow(&mut self, now: Instant, interval: Option<Duration>, single: bool) {
        if self.interval != interval || self.wait.is_zero() {
            self.interval = interval;
            self.draw(single);
        }
        self.last = self.last.or_else(|| interval.map(|_| now));
    }

    /// Follows a longer interval from the next packet on: that one leaves when it was to.
    pub(super) fn lengthen(&mut self, interval: Option<Duration>) {
        if !self.wait.is_zero() {
            self.interval = interval;
        }
    }

    /// 75 % to 100 % of the interval, to 90 % with a multiplier of 1.
    fn draw(&mut self, single: bool) {
        let interval = self.interval.unwrap_or_default();
        let drawn = self.jitter.apply(interval);
        let least = interval / 4 * 3;
        self.wait = if single { least + drawn.saturating_sub(least) * 3 / 5 } else { drawn };
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.interval.and(self.last).map(|last| last + self.wait)
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.next().is_some_and(|at| at <= now)
    }

    /// A packet leaves. An answer to a poll leaves the periodic ones as they are.
    pub(super) fn sent(&mut self, now: Instant, is_final: bool) {
        if !is_final {
            self.last = Some(now);
            self.wait = Duration::ZERO; // drawn by the `follow` that comes next
        }
    }

    /// Whether one more may leave beside the periodic ones; it is taken as sent.
    pub(super) fn may_send_beside(&mut self, now: Instant) -> bool {
        let since = now.saturating_since(self.refilled);
        let more = u32::try_from(since.as_nanos() / REFILL.as_nanos()).unwrap_or(u32::MAX);
        if more > 0 {
            self.refilled = now;
            self.beside = self.beside.saturating_add(more).min(BURST);
        }
        let may = self.beside > 0;
        self.beside -= u32::from(may);
        may
    }
}
