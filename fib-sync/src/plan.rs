//! The difference between what is wanted and what is there, as operations. Pure: no kernel, no clock.

use std::sync::Arc;

use ipnetwork::IpNetwork;

use crate::{kernel_route::KernelPath, observed::Entry};

/// What should stand under one key, as far as it can be said now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    /// This route.
    Route(Arc<KernelPath>),
    /// A route that cannot be written now (its device is away, its next hop on no link): what is there stays.
    Hold,
    /// None, by request.
    Gone,
    /// Nobody asked: a route of Linnet's is an earlier run's.
    Unasked,
}

/// What to do under one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing: it is as it should be, or has to wait.
    Settled,
    /// To do.
    Do(Operation),
    /// Somebody else's route, of this protocol, has the key. It is not touched.
    Conflict(u8),
}

/// One operation on the kernel's routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Nothing is there.
    Create(Arc<KernelPath>),
    /// A route of Linnet's is there.
    Replace(Arc<KernelPath>),
    /// A route of Linnet's is there.
    Remove,
}

/// Decides for one key. `swept`: routes that nobody asked for go.
pub(crate) fn decide(intent: &Intent, entry: &Entry, swept: bool) -> Verdict {
    match (intent, &entry.ours, entry.foreign) {
        (Intent::Route(path), Some(ours), _) if path == ours => Verdict::Settled,
        (Intent::Route(_), Some(_) | None, Some(protocol)) => Verdict::Conflict(protocol),
        (Intent::Route(path), Some(_), None) => Verdict::Do(Operation::Replace(path.clone())),
        (Intent::Route(path), None, None) => Verdict::Do(Operation::Create(path.clone())),
        (Intent::Hold, Some(_) | None, Some(_) | None) => Verdict::Settled,
        (Intent::Gone, Some(_), Some(_) | None) => Verdict::Do(Operation::Remove),
        (Intent::Unasked, Some(_), Some(_) | None) if swept => Verdict::Do(Operation::Remove),
        (Intent::Unasked, Some(_), Some(_) | None) => Verdict::Settled,
        (Intent::Gone | Intent::Unasked, None, Some(_) | None) => Verdict::Settled,
    }
}

/// Puts operations into the order in which they are sent: what is added comes before what is removed, so that a
/// prefix that moves from one route to a shorter or longer one is covered throughout.
pub(crate) fn order(operations: &mut [(IpNetwork, Operation)]) {
    operations.sort_by_key(|(_, operation)| match operation {
        Operation::Create(_) | Operation::Replace(_) => 0,
        Operation::Remove => 1,
    });
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
