//! Desired state against the kernel's: routes, next hops, devices, neighbours, overlays and pods' interfaces.
//!
//! [`Fib`] is the face: it is told what the kernel should hold ([`Fib::change`], [`Fib::overlay`]) and makes it so,
//! over netlink, in batches; it watches the kernel and mends what others change. Everything that it owns carries its
//! name: routes by protocol [`PROTOCOL`] in one table, overlay devices by `linnet.`, pods' interfaces by `lin`.
//! Nothing else in the kernel is ever touched.
//!
//! Order of calls: [`Fib::start`] reads the kernel and adopts what an earlier run left, removing nothing;
//! [`Fib::overlay`] makes or adopts the tunnel device; [`Fib::change`] states routes, as often as needed; once a
//! family is complete, [`Fib::sweep`] lets the adopted routes go that nobody asked for. Dropping the last handle
//! ends the engine and leaves the kernel as it is; [`Fib::clear`] removes what is Linnet's.
//!
//! All of it works in the network namespace of the thread that calls [`Fib::start`].

mod address;
pub mod comparison;
mod culprit;
mod device;
mod encap;
mod engine;
mod error;
mod fib;
mod fight;
mod foreign;
mod forwarding;
mod hash;
pub mod host;
mod kernel_paths;
mod kernel_route;
mod ledger;
mod links;
mod netlink;
mod netns;
mod next_hops;
pub mod overlay;
pub mod path_probe;
mod paths;
mod plan;
pub mod pod;
pub mod protocol;
mod reach;
mod resolve;
mod route;
mod rules;
mod sysctl;
mod table;

pub use comparison::{Comparison, Comparisons};
pub use engine::AtRest;
pub use error::FibError;
pub use fib::{Fib, FibConfig, FibEvent, KernelAnswer, Landed, Queued, RoutePlace, Submitted, Totals};
pub use foreign::{Accept, Choice, ForeignChanges, ForeignRoute, Selection, watch_foreign};
pub use forwarding::{enable_forwarding, forwarding_enabled};
pub use overlay::{Encapsulation, OverlaySpec, OverlayStatus, PeerStatus, PrivateKey, PublicKey};
pub use reach::Reach;
pub use route::{Change, Hop, Path, PathId, ResolvedHop, RouteStatus, Target, TunnelEnd, Weight};
pub use rules::{Rule, RuleStatus, Rules, clear_rules, rules_to};

/// The route protocol number that marks every route of Linnet's (`rtm_protocol`, linux/rtnetlink.h); 76 is `L`.
pub const PROTOCOL: u8 = 76;

// The tests' words for namespaces (tests/support) serve those inside the crate, too.
#[cfg(test)]
extern crate self as fib_sync;
