//! Path attributes (RFC 4271 section 5), canonical: two equal sets of attributes are equal values.

use bytes::Bytes;

use super::aspath::AsPath;
use super::community::{Community, ExtendedCommunity, LargeCommunity};
use super::tunnel::Tunnel;
use crate::types::{Asn, ClusterId, NextHop, RouterId};

/// ORIGIN (RFC 4271 section 5.1.1). Lower is preferred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// 0
    #[default]
    Igp,
    /// 1
    Egp,
    /// 2
    Incomplete,
}

/// AGGREGATOR (RFC 4271 section 5.1.7), with AS4_AGGREGATOR merged in by the parser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Aggregator {
    /// The AS that formed the aggregate.
    pub asn: Asn,
    /// The speaker that formed it.
    pub router_id: RouterId,
}

/// The attributes of a route: what the RIB interns, compares, filters and sends on.
///
/// The next hop is one of them whatever attribute carried it (NEXT_HOP or MP_REACH_NLRI), so one UPDATE that announces
/// two families has two sets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attributes {
    /// Well-known, mandatory.
    pub origin: Origin,
    /// Well-known, mandatory; four-octet whatever the session.
    pub as_path: AsPath,
    /// Mandatory.
    pub next_hop: NextHop,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF; the parser drops it when it comes from an external peer.
    pub local_pref: Option<u32>,
    /// ATOMIC_AGGREGATE.
    pub atomic_aggregate: bool,
    /// AGGREGATOR.
    pub aggregator: Option<Aggregator>,
    /// COMMUNITIES, sorted, each once.
    pub communities: Box<[Community]>,
    /// EXTENDED COMMUNITIES, sorted, each once.
    pub extended_communities: Box<[ExtendedCommunity]>,
    /// LARGE_COMMUNITY, sorted, each once.
    pub large_communities: Box<[LargeCommunity]>,
    /// ORIGINATOR_ID (RFC 4456 section 8); dropped when it comes from an external peer.
    pub originator_id: Option<RouterId>,
    /// CLUSTER_LIST (RFC 4456 section 8), nearest first; dropped when it comes from an external peer.
    pub cluster_list: Box<[ClusterId]>,
    /// Tunnel Encapsulation (RFC 9012), in the sender's order.
    pub tunnels: Box<[Tunnel]>,
    /// Optional transitive attributes that Linnet does not know, sorted by type; sent on with Partial set (RFC 4271 section 5).
    pub unknown: Box<[UnknownAttribute]>,
}

/// An optional transitive attribute that Linnet does not know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnknownAttribute {
    /// The attribute type code.
    pub code: u8,
    /// Its value.
    pub value: Bytes,
}

impl Attributes {
    /// The least a route has: everything else absent or empty.
    #[must_use]
    pub fn new(origin: Origin, as_path: AsPath, next_hop: NextHop) -> Self {
        Self {
            origin,
            as_path,
            next_hop,
            med: None,
            local_pref: None,
            atomic_aggregate: false,
            aggregator: None,
            communities: Box::default(),
            extended_communities: Box::default(),
            large_communities: Box::default(),
            originator_id: None,
            cluster_list: Box::default(),
            tunnels: Box::default(),
            unknown: Box::default(),
        }
    }
}
