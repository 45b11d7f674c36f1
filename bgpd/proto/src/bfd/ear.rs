//! What a session of BGP makes of the one of BFD beside it: which loss of the path is its own.

use std::time::Duration;

use super::{Cause, Change, Status};
use crate::time::Instant;

/// What a session of BGP is told of the one of BFD beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// It is Up.
    pub up: bool,
    /// Times it came up.
    pub ups: u64,
    /// Times it went down.
    pub downs: u64,
    /// How it last went down, and whether the peer's BFD would have outlived its control plane (C).
    pub down: Option<(Cause, bool)>,
    /// The detection time when it last came up, which is the longest that it has while it is.
    pub detection_time: Duration,
    /// The peer's last C.
    pub control_plane_independent: bool,
}

impl Told {
    /// What is told when this has happened; `status` is how the session stands now.
    #[must_use]
    pub fn after(self, change: Change, status: &Status) -> Self {
        match change {
            Change::Up => self.of_a_session_up(status),
            Change::Down { cause, control_plane_independent } => Self {
                up: false,
                downs: self.downs + 1,
                down: Some((cause, control_plane_independent)),
                control_plane_independent,
                ..self
            },
        }
    }

    /// What is told of a session that is Up.
    #[must_use]
    pub fn of_a_session_up(self, status: &Status) -> Self {
        Self {
            up: true,
            ups: self.ups + 1,
            detection_time: status.detection_time,
            control_plane_independent: status.control_plane_independent,
            ..self
        }
    }
}

/// The path to the peer is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathLoss {
    /// How that was found out.
    pub cause: Cause,
    /// The peer's BFD would have outlived its control plane (C).
    pub control_plane_independent: bool,
}

/// A session of BGP listens by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ear {
    downs: u64,
    doubt: Option<Doubt>,
}

/// A BFD session that lived when its BGP session ended may have died with it, which shows only later. Had the peer's process
/// come back meanwhile, its new session of BGP would be ended for the death of the old one. So for a detection time, the
/// loss of that session is not believed, unless its BFD does not die with its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Doubt {
    /// Which session of BFD: they are counted.
    ups: u64,
    until: Instant,
}

/// A peer that was started again speaks within this time.
const SLACK: Duration = Duration::from_secs(1);

impl Ear {
    /// The session of BGP has ended, for whatever reason.
    pub fn session_ended(&mut self, told: Told, now: Instant) {
        self.doubt = (told.up && !told.control_plane_independent)
            .then(|| Doubt { ups: told.ups, until: now + told.detection_time + SLACK });
    }

    /// It is told something; whether that is a loss of its path.
    pub fn judge(&mut self, told: Told, now: Instant) -> Option<PathLoss> {
        let went_down = told.downs > self.downs;
        self.downs = told.downs;
        let (cause, control_plane_independent) = told.down.filter(|_| went_down)?;
        // Up again already counts as down once: who was not heard for so long has lost what we sent.
        let ups = if told.up { told.ups - 1 } else { told.ups };
        let doubted = self.doubt.is_some_and(|doubt| doubt.ups == ups && now <= doubt.until);
        (cause.is_failure() && !doubted).then_some(PathLoss { cause, control_plane_independent })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Diagnostic;
    use super::*;

    const DETECTION: Duration = Duration::from_secs(3);
    const NOW: Instant = Instant::START;

    fn up(ups: u64) -> Told {
        Told { up: true, ups, downs: ups - 1, detection_time: DETECTION, ..Told::default() }
    }

    fn down(ups: u64, cause: Cause) -> Told {
        Told { up: false, downs: ups, down: Some((cause, false)), ..up(ups) }
    }

    #[test]
    fn a_loss_is_heard_once_and_what_a_person_did_is_none() {
        let mut ear = Ear::default();
        let signaled = Cause::Signaled(Diagnostic::NONE);
        for (told, expected) in [
            (up(1), None),
            (down(1, Cause::Expired), Some(Cause::Expired)),
            (down(1, Cause::Expired), None),
            (up(2), None),
            (down(2, Cause::RemoteAdminDown), None),
            (up(3), None),
            (down(3, Cause::LocalAdminDown), None),
            (up(4), None),
            (down(4, signaled), Some(signaled)),
            // Down and up between two looks.
            (Told { up: true, ups: 6, ..down(5, Cause::Expired) }, Some(Cause::Expired)),
        ] {
            assert_eq!(ear.judge(told, NOW).map(|loss| loss.cause), expected, "{told:?}");
        }
    }

    #[test]
    fn the_loss_of_a_session_that_outlived_its_bgp_session_is_not_believed_for_a_detection_time() {
        for (told, wait, believed) in [
            (down(1, Cause::Expired), Duration::ZERO, false),
            (down(1, Cause::Expired), DETECTION + SLACK + Duration::from_secs(1), true),
            // It has come up anew since: that one is the new session's.
            (down(2, Cause::Expired), Duration::ZERO, true),
        ] {
            let mut ear = Ear::default();
            ear.judge(up(1), NOW);
            ear.session_ended(up(1), NOW);
            assert_eq!(ear.judge(told, NOW + wait).is_some(), believed, "{told:?} {wait:?}");
        }
    }

    #[test]
    fn a_bfd_that_outlives_its_control_plane_is_believed_at_once() {
        let mut ear = Ear::default();
        let independent = |told: Told| Told { control_plane_independent: true, ..told };
        ear.session_ended(independent(up(1)), NOW);
        assert!(ear.judge(independent(down(1, Cause::Expired)), NOW).is_some());
    }
}
