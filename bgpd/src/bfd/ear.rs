//! What a peer's task makes of what it is told: which loss of the path is its session's.

use std::time::Duration;

use bgp_proto::bfd::Cause;
use bgp_proto::time::Instant;
use tokio::sync::watch;

use super::Told;
use crate::clock::Clock;

/// The path to the peer is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PathLoss {
    pub(crate) cause: Cause,
    /// The peer's BFD would have outlived its control plane (C).
    pub(crate) control_plane_independent: bool,
}

/// A peer's task listens by it.
#[derive(Debug)]
pub(crate) struct BfdEar {
    told: watch::Receiver<Told>,
    clock: Clock,
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

impl BfdEar {
    pub(crate) fn new(told: watch::Receiver<Told>, clock: Clock) -> Self {
        Self { told, clock, downs: 0, doubt: None }
    }

    /// A session of BGP has ended, for whatever reason.
    pub(crate) fn session_ended(&mut self) {
        let told = *self.told.borrow();
        self.doubt = (told.up && !told.control_plane_independent)
            .then(|| Doubt { ups: told.ups, until: self.clock.now() + told.detection_time + SLACK });
    }

    /// Waits for the path to be lost. May be dropped and called again.
    pub(crate) async fn hear(&mut self) -> PathLoss {
        loop {
            // Never an error for long: a task whose roster is gone ends.
            if self.told.changed().await.is_err() {
                return std::future::pending().await;
            }
            let told = *self.told.borrow_and_update();
            let now = self.clock.now();
            if let Some(loss) = self.judge(told, now) {
                return loss;
            }
        }
    }

    fn judge(&mut self, told: Told, now: Instant) -> Option<PathLoss> {
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
    use bgp_proto::bfd::Diagnostic;

    use super::*;

    const DETECTION: Duration = Duration::from_secs(3);

    fn ear() -> (watch::Sender<Told>, BfdEar) {
        let (teller, told) = watch::channel(Told::default());
        (teller, BfdEar::new(told, Clock::start()))
    }

    fn up(ups: u64) -> Told {
        Told { up: true, ups, downs: ups - 1, detection_time: DETECTION, ..Told::default() }
    }

    fn down(ups: u64, cause: Cause) -> Told {
        Told { up: false, downs: ups, down: Some((cause, false)), ..up(ups) }
    }

    #[tokio::test]
    async fn a_loss_is_heard_once_and_what_a_person_did_is_none() {
        let (_teller, mut ear) = ear();
        let now = ear.clock.now();
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
            assert_eq!(ear.judge(told, now).map(|loss| loss.cause), expected, "{told:?}");
        }
    }

    #[tokio::test]
    async fn the_loss_of_a_session_that_outlived_its_bgp_session_is_not_believed_for_a_detection_time() {
        for (told, wait, believed) in [
            (down(1, Cause::Expired), Duration::ZERO, false),
            (down(1, Cause::Expired), DETECTION + SLACK + Duration::from_secs(1), true),
            // It has come up anew since: that one is the new session's.
            (down(2, Cause::Expired), Duration::ZERO, true),
        ] {
            let (teller, mut ear) = ear();
            ear.judge(up(1), ear.clock.now());
            teller.send_replace(up(1));
            ear.session_ended();
            let now = ear.clock.now() + wait;
            assert_eq!(ear.judge(told, now).is_some(), believed, "{told:?} {wait:?}");
        }
    }

    #[tokio::test]
    async fn a_bfd_that_outlives_its_control_plane_is_believed_at_once() {
        let (teller, mut ear) = ear();
        let independent = |told: Told| Told { control_plane_independent: true, ..told };
        teller.send_replace(independent(up(1)));
        ear.session_ended();
        assert!(ear.judge(independent(down(1, Cause::Expired)), ear.clock.now()).is_some());
    }
}
