//! The way past the queue of events.

use bgp_proto::rib::BestChange;

/// Whoever forwards by what the speaker decides, for changes that need not wait in the queue of its owner.
pub trait Forward: Send + Sync {
    /// Takes what was decided about a few prefixes here and now, in the place of an [`crate::Event::Best`]. `told`: how many events
    /// the owner was sent before; with one of them not handled yet, nothing may be taken. Returns whether it was taken; what was
    /// not comes as an event.
    ///
    /// The speaker stands still meanwhile, so this must not wait.
    fn take(&self, told: u64, changes: &[BestChange]) -> bool;
}
