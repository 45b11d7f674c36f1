//! Network policy: documents in a folder become one table in the kernel's nftables.
//!
//! ```text
//! folder -> parse() -> documents -> Index (labels to endpoints) -> compile() -> Ruleset -> one nft transaction
//! ```
//!
//! [`parse`] and [`compile()`] are pure. [`Policy`] is the running room: it watches the folder, keeps the last good
//! version of each file, and changes the table `inet linnet` in one transaction: only the chains and sets that differ,
//! or, at a start and when that fails, the whole. It touches no other table.
//!
//! What is closed, and when:
//! - an endpoint's interface (`lin*`, but not the overlay's `linnet.*`) that the ruleset in force does not know is dropped in both directions;
//! - a document that stops parsing changes nothing: the last good version of its file stays in force;
//! - a file that is already broken when the program starts might select anything, so until it is mended each
//!   direction of an endpoint that no readable policy selects is denied;
//! - a table that somebody removes is put back as soon as the kernel says so;
//! - a ruleset that the kernel refuses changes nothing: the one before stays, and the state says degraded.

mod blocks;
mod compile;
mod document;
mod enforcement;
mod index;
mod ruleset;

pub use compile::{Endpoint, Input, compile};
pub use document::{
    Direction, Document, DocumentError, IpBlock, Namespace, NetworkPolicy, Operator, Origin, Peer, Pod, PodPort, Port,
    PortNumber, Protocol, Requirement, Rule, Selector, parse,
};
pub use enforcement::{DocumentStatus, Policy, PolicyConfig, PolicyError, State, Status, remove_table};
pub use ruleset::Ruleset;

/// What happens to traffic of an endpoint in a direction in which no policy selects it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Default {
    /// It passes, as in Kubernetes.
    Allow,
    /// It is dropped.
    Deny,
}
