//! The difference between what is wanted and what is there, as operations. Pure: no kernel, no clock.

use crate::kernel_paths::KernelPathId;

/// What should stand under one key, as far as it can be said now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    /// A route by this path.
    Route(KernelPathId),
    /// A route that cannot be written now (its device is away, its next hop on no link): what is there stays.
    Hold,
    /// None, by request.
    Gone,
    /// Nobody asked: a route of Linnet's is an earlier run's.
    Unasked,
}

/// What to do under one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing: it is as it should be, or has to wait.
    Settled,
    /// To do.
    Do(Operation),
    /// Somebody else's route, of this protocol, has the key. It is not touched.
    Conflict(u8),
}

/// One operation on the kernel's routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Nothing is there.
    Create(KernelPathId),
    /// A route of Linnet's is there.
    Replace(KernelPathId),
    /// A route of Linnet's is there. Goes behind all of the others, so that a prefix that moves from one route to a shorter
    /// or longer one is covered throughout.
    Remove,
}

/// Decides for one key. `ours`: Linnet's route; `foreign`: the protocol of somebody else's; `swept`: routes that nobody
/// asked for go.
pub(crate) fn decide(intent: Intent, ours: Option<KernelPathId>, foreign: Option<u8>, swept: bool) -> Verdict {
    match (intent, ours, foreign) {
        (Intent::Route(path), Some(ours), _) if path == ours => Verdict::Settled,
        (Intent::Route(_), Some(_) | None, Some(protocol)) => Verdict::Conflict(protocol),
        (Intent::Route(path), Some(_), None) => Verdict::Do(Operation::Replace(path)),
        (Intent::Route(path), None, None) => Verdict::Do(Operation::Create(path)),
        (Intent::Hold, Some(_) | None, Some(_) | None) => Verdict::Settled,
        (Intent::Gone, Some(_), Some(_) | None) => Verdict::Do(Operation::Remove),
        (Intent::Unasked, Some(_), Some(_) | None) if swept => Verdict::Do(Operation::Remove),
        (Intent::Unasked, Some(_), Some(_) | None) => Verdict::Settled,
        (Intent::Gone | Intent::Unasked, None, Some(_) | None) => Verdict::Settled,
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
