//! How long a peer may take nothing of what is sent to it (RFC 9687).

use std::time::Duration;

use crate::types::HoldTime;

/// A peer's SendHoldTime (RFC 9687 section 4.1). Its timer runs while octets wait that the peer's socket does not take, and
/// starts again with each that it takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SendHoldTime {
    /// What section 6 gives as the default: the greater of 8 minutes and twice the negotiated hold time. None where that is
    /// zero (section 4.3).
    #[default]
    Recommended,
    /// Zero: nothing ends a session of which the peer takes nothing.
    Off,
    /// As long as this, which is more than the hold time (section 4.4). It counts where the negotiated hold time is zero, too:
    /// the RFC has no timer there because no message need be sent for that long, and ours does not run while none waits.
    Exactly(Duration),
}

impl SendHoldTime {
    const LEAST_RECOMMENDED: Duration = Duration::from_secs(480);

    /// For a session with this negotiated hold time; `None`: it has no send hold timer.
    #[must_use]
    pub fn of(self, hold_time: HoldTime) -> Option<Duration> {
        match (self, hold_time.seconds()) {
            (Self::Off, _) | (Self::Recommended, 0) => None,
            (Self::Exactly(time), _) => Some(time),
            (Self::Recommended, seconds) => {
                Some(Self::LEAST_RECOMMENDED.max(Duration::from_secs(2 * u64::from(seconds))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unless_it_is_set_the_rfc_says_how_long_it_is() {
        let minute = SendHoldTime::Exactly(Duration::from_secs(60));
        for (configured, hold_time, seconds) in [
            (SendHoldTime::Recommended, 90, Some(480)),
            (SendHoldTime::Recommended, 240, Some(480)),
            (SendHoldTime::Recommended, 241, Some(482)),
            (SendHoldTime::Recommended, 65535, Some(131_070)),
            (SendHoldTime::Recommended, 0, None),
            (SendHoldTime::Off, 90, None),
            (SendHoldTime::Off, 0, None),
            (minute, 30, Some(60)),
            (minute, 0, Some(60)),
        ] {
            let time = configured.of(HoldTime::from_seconds(hold_time).unwrap());
            assert_eq!(time, seconds.map(Duration::from_secs), "{configured:?} {hold_time}");
        }
    }
}
