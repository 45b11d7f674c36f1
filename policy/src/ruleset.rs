//! The compiled ruleset as a value. What is in force is this value, never what was read back from nft.
//!
//! ```text
//! forward-egress   (forward, filter)      from a pod's interface -> from-pods
//! forward-ingress  (forward, filter + 1)  to a pod's interface   -> to-pods
//! input-egress     (input, filter)        from a pod's interface -> from-pods
//! from-pods / to-pods     spoofed sources, established flows, then by interface to
//! pod-egress/IF / pod-ingress/IF          one an endpoint: jumps to the policies that select it, and no other, to
//! policy-egress/NS/NAME / policy-ingress/NS/NAME    accepts what its rules allow, else returns
//! ```
//!
//! Egress and ingress are base chains of their own, so that `accept` in the first only ends the first: a packet
//! between two pods of one host passes both. The host's own traffic to its pods leaves by the output hook, where no
//! chain is: it is always allowed, as Kubernetes demands for probes.

mod difference;
pub(crate) mod json;
mod text;

use std::collections::BTreeSet;
use std::net::IpAddr;

pub(crate) use difference::{Difference, Steps};

use crate::Protocol;

/// The family and name of everything that this room owns in the kernel.
pub(crate) const TABLE: &str = "linnet";

/// The content of the table `inet linnet`. `Display` writes it as nft reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruleset {
    pub(crate) sets: Vec<Set>,
    pub(crate) chains: Vec<Chain>,
}

/// A named set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Set {
    pub(crate) name: String,
    /// `None`: it holds no addresses.
    pub(crate) family: Option<Family>,
    pub(crate) elements: Elements,
    /// What it stands for, for a person.
    pub(crate) comment: String,
}

/// All addresses in it are of the set's family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Elements {
    /// A pod's interface with an address that it may send from.
    Sources(BTreeSet<(String, IpAddr)>),
    /// Pods' addresses: hashed, so membership can change alone.
    Addresses(BTreeSet<IpAddr>),
    /// Disjoint ranges in order, both ends included.
    Blocks(Vec<(IpAddr, IpAddr)>),
    /// A pod's address with the number of the port that it gave a name.
    NamedPorts(BTreeSet<(IpAddr, u16)>),
    /// Disjoint ranges of ports in order, both ends included.
    Ports(Vec<(u16, u16)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const BOTH: [Family; 2] = [Family::V4, Family::V6];

    pub(crate) fn of(address: IpAddr) -> Family {
        match address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }

    /// The last character of a set's name.
    pub(crate) fn digit(self) -> char {
        match self {
            Family::V4 => '4',
            Family::V6 => '6',
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) name: String,
    pub(crate) hook: Option<Hook>,
    pub(crate) rules: Vec<Rule>,
}

/// A base chain's place. Its policy is accept: what is not a pod's is none of our business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    ForwardEgress,
    ForwardIngress,
    InputEgress,
}

impl Hook {
    /// Relative to priority `filter`, which is 0.
    pub(crate) fn priority(self) -> i32 {
        match self {
            Hook::ForwardEgress | Hook::InputEgress => 0,
            Hook::ForwardIngress => 1,
        }
    }
}

/// All matches must hold for the verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) matches: Vec<Match>,
    pub(crate) verdict: Verdict,
    /// Whose rule it is: `NAMESPACE/NAME ingress[0] FILE:LINE`.
    pub(crate) comment: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Match {
    /// The interface of that side is a pod's by its name: `lin*`, but not `linnet.*`, which is the overlay's.
    PodInterface(Side),
    /// The pair of interface and source address is not in the set.
    ForeignSource { family: Family, set: String },
    /// The packet belongs to a flow that was allowed before, or is an error about one (conntrack).
    Established,
    /// Neighbour and router solicitation, neighbour advertisement (RFC 4861), multicast listener reports (RFC 3810).
    NeighbourDiscovery,
    /// The address of that end is in the set.
    Address { end: End, family: Family, set: String },
    /// The address of that end is from `first` to `last`, both included and of one family.
    ///
    /// Beside the sets because what is needed once is cheaper said in the rule: with ten thousand sets in a table, nft
    /// and the kernel, who search them one by one, take seconds for a change.
    Within { end: End, first: IpAddr, last: IpAddr },
    /// The transport protocol, whatever the port.
    Transport(Protocol),
    /// The destination port is from `first` to `last`, both included.
    Port { protocol: Protocol, first: u16, last: u16 },
    /// The destination port is in the set.
    Ports { protocol: Protocol, set: String },
    /// The pair of destination address and port is in the set.
    NamedPort { protocol: Protocol, family: Family, set: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The interface that the packet came in by.
    In,
    /// The interface that it goes out by.
    Out,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Source,
    Destination,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accept,
    Drop,
    Jump(String),
    Goto(String),
    /// To the chain of the interface by one look-up; on, when the interface has none. Never empty.
    Dispatch(Side, Vec<(String, String)>),
}

/// How an interface of a pod begins (invariant 4) ...
pub(crate) const POD_INTERFACE_PREFIX: &str = "lin";
/// ... unless it is one of the overlay's, which begin so: those carry packets to and from other hosts.
pub(crate) const OVERLAY_INTERFACE_PREFIX: &str = "linnet.";

/// Types of [`Match::NeighbourDiscovery`], as nft calls them.
pub(crate) const NEIGHBOUR_DISCOVERY: [&str; 4] =
    ["nd-router-solicit", "nd-neighbor-solicit", "nd-neighbor-advert", "mld2-listener-report"];

pub(crate) fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}
