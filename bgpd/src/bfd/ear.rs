//! How a peer's task hears of the loss of its path.

use bgp_proto::bfd::{Ear, PathLoss, Told};
use tokio::sync::watch;

use crate::clock::Clock;

/// A peer's task listens by it.
#[derive(Debug)]
pub(crate) struct BfdEar {
    told: watch::Receiver<Told>,
    clock: Clock,
    ear: Ear,
}

impl BfdEar {
    pub(crate) fn new(told: watch::Receiver<Told>, clock: Clock) -> Self {
        Self { told, clock, ear: Ear::default() }
    }

    /// A session of BGP has ended, for whatever reason.
    pub(crate) fn session_ended(&mut self) {
        let told = *self.told.borrow();
        self.ear.session_ended(told, self.clock.now());
    }

    /// Waits for the path to be lost. May be dropped and called again.
    pub(crate) async fn hear(&mut self) -> PathLoss {
        loop {
            // Never an error for long: a task whose roster is gone ends.
            if self.told.changed().await.is_err() {
                return std::future::pending().await;
            }
            let told = *self.told.borrow_and_update();
            if let Some(loss) = self.ear.judge(told, self.clock.now()) {
                return loss;
            }
        }
    }
}
