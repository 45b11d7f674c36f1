//! Connections from addresses that no peer has: counted, and told of without letting them fill the log.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bgp_proto::time::Instant;

/// One warning in this time, however many come.
const WARNING_EVERY: Duration = Duration::from_secs(60);

/// How many there were, and when somebody was last told.
#[derive(Debug, Default)]
pub(crate) struct Strangers {
    count: Arc<AtomicU64>,
    told: Option<(Instant, u64)>,
}

impl Strangers {
    /// The count, for whoever shows it.
    pub(crate) fn count(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.count)
    }

    /// One was refused.
    pub(crate) fn refuse(&mut self, address: IpAddr, why: &str, now: Instant) {
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        tracing::debug!(%address, why, "refused a connection");
        if let Some(refused) = self.due(count, now) {
            tracing::warn!(
                %address,
                refused,
                why,
                "refused connections, the last one from this address; configure it as a peer if it is one"
            );
        }
    }

    /// How many to tell of, if it is time to tell.
    fn due(&mut self, count: u64, now: Instant) -> Option<u64> {
        match self.told {
            Some((at, _)) if now.saturating_since(at) < WARNING_EVERY => None,
            told => {
                self.told = Some((now, count));
                Some(count - told.map_or(0, |(_, count)| count))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_strangers_in_a_minute_are_one_warning_and_the_rest_are_summed_up_in_the_next() {
        let mut strangers = Strangers::default();
        let told = |strangers: &mut Strangers, count, seconds| {
            strangers.due(count, Instant::from_start(Duration::from_secs(seconds)))
        };
        assert_eq!(told(&mut strangers, 1, 5), Some(1));
        for count in 2..=1000 {
            assert_eq!(told(&mut strangers, count, 20), None);
        }
        assert_eq!(told(&mut strangers, 1001, 65), Some(1000));
    }
}
