//! Routes that others put into the kernel, for whoever wants to announce them: static ones, a DHCP client's, those of an
//! OSPF daemon on the same host.
//!
//! It is a task of its own beside the engine, with sockets of its own, because it is wanted also where no route is written.
//! Of all the routes of the kernel only those are kept that somebody asked for, and no more of them than he said: a full table
//! of another daemon's costs no memory here.

mod book;
mod filter;
mod watch;

use std::{fmt, sync::Arc};

use ipnetwork::IpNetwork;

pub use watch::watch_foreign;

/// A route of somebody else's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForeignRoute {
    /// Destination.
    pub prefix: IpNetwork,
    /// Its owner (`rtm_protocol`); never [`crate::PROTOCOL`].
    pub protocol: u8,
    /// The kernel's priority: the lowest is used.
    pub metric: u32,
}

/// Whether a route is wanted.
#[derive(Clone)]
pub struct Accept(pub Arc<dyn Fn(&ForeignRoute) -> bool + Send + Sync>);

impl fmt::Debug for Accept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Accept")
    }
}

/// Which routes are wanted: unicast, unreachable and blackhole routes of one table and some owners.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Routing table, 1..=0xffffffff.
    pub table: u32,
    /// Owners; [`crate::PROTOCOL`] among them is ignored.
    pub protocols: Vec<u8>,
    /// Asked of each of their routes.
    pub accept: Accept,
    /// Most routes that are kept; what comes on top is left out until there is room.
    pub limit: usize,
}

/// The route that stands for its prefix: of the first selection that has one, the one with the lowest metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The number of the selection, in the order in which they were given.
    pub selection: usize,
    /// The route.
    pub route: ForeignRoute,
}

/// What changed since the last time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForeignChanges {
    /// Prefixes with the route that stands for each now; `None`: there is none any more.
    pub changes: Vec<(IpNetwork, Option<Choice>)>,
    /// Of each selection, how many routes are left out for its limit, at least.
    pub left_out: Vec<usize>,
}
