//! The one clock of a speaker, and where its seeds come from: the core has neither.

use std::hash::{BuildHasher, Hasher, RandomState};

use bgp_proto::time::Instant;

/// Counts from the moment the speaker was made. The clock is the kernel's monotonic one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: tokio::time::Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { start: tokio::time::Instant::now() }
    }

    pub(crate) fn now(self) -> Instant {
        Instant::from_start(self.start.elapsed())
    }

    /// The moment for a runtime's timer.
    pub(crate) fn deadline(self, at: Instant) -> tokio::time::Instant {
        // Some 30 years from now stand for "never", where the sum would overflow.
        let never = self.start + std::time::Duration::from_secs(1_000_000_000);
        self.start.checked_add(at.since_start()).unwrap_or(never).min(never)
    }
}

/// A seed for timer jitter. The standard library's hash keys are random for each process and differ for each call; jitter
/// needs no more.
pub(crate) fn seed() -> u64 {
    RandomState::new().build_hasher().finish()
}
