//! Path attributes (RFC 4271 section 5), canonical: two equal sets of attributes are equal values.
//!
//! This file holds what they mean and how they are written. How they are read, with a verdict on each that is malformed,
//! is in `attribute_list.rs`.

use std::fmt;

use bytes::Bytes;

use super::aspath::AsPath;
use super::community::{Community, ExtendedCommunity, LargeCommunity};
use super::tunnel::Tunnel;
use crate::hints::Hints;
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

impl Origin {
    pub(super) const ALL: [Self; 3] = [Self::Igp, Self::Egp, Self::Incomplete];

    /// The name that the command line shows: `igp`, `egp` or `incomplete`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Igp => "igp",
            Self::Egp => "egp",
            Self::Incomplete => "incomplete",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
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
    /// Only to Customer (RFC 9234 section 5): the AS that began to send the route down.
    pub otc: Option<Asn>,
    /// No attribute: a preference of this speaker alone, set by its filters and compared before anything else. Never sent.
    pub weight: u32,
    /// No attribute either: how this speaker's owner is to write the route, set by its filters; never empty. Never sent.
    pub hints: Option<Box<Hints>>,
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
            otc: None,
            weight: 0,
            hints: None,
            unknown: Box::default(),
        }
    }

    /// The link bandwidth that the route carries, in octets a second: the community that stays in its AS before the other.
    #[must_use]
    pub fn link_bandwidth(&self) -> Option<f32> {
        let of = |transitive: bool| {
            let mut kind = self.extended_communities.iter().filter(|known| known.is_transitive() == transitive);
            kind.find_map(|community| community.bandwidth())
        };
        of(false).or_else(|| of(true))
    }

    /// Appends all of them but MP_REACH_NLRI, in ascending order of their types (RFC 4271 section 5).
    ///
    /// `four_octet_as`: the session carries AS numbers in four octets; otherwise AS4_PATH and AS4_AGGREGATOR are added where
    /// two do not do (RFC 6793 section 4.2.2). `with_next_hop`: write NEXT_HOP, if the next hop is IPv4.
    pub(crate) fn encode(&self, four_octet_as: bool, with_next_hop: bool, out: &mut Vec<u8>) {
        let mut list = Ascending { out, unknown: &self.unknown };
        list.put(WELL_KNOWN, code::ORIGIN, |out| out.push(self.origin as u8));
        list.put(WELL_KNOWN, code::AS_PATH, |out| self.as_path.encode(four_octet_as, out));
        if let (true, NextHop::V4(address)) = (with_next_hop, self.next_hop) {
            list.put(WELL_KNOWN, code::NEXT_HOP, |out| out.extend_from_slice(&address.octets()));
        }
        if let Some(med) = self.med {
            list.put(OPTIONAL, code::MULTI_EXIT_DISC, |out| out.extend_from_slice(&med.to_be_bytes()));
        }
        if let Some(local_pref) = self.local_pref {
            list.put(WELL_KNOWN, code::LOCAL_PREF, |out| out.extend_from_slice(&local_pref.to_be_bytes()));
        }
        if self.atomic_aggregate {
            list.put(WELL_KNOWN, code::ATOMIC_AGGREGATE, |_| {});
        }
        if let Some(aggregator) = self.aggregator {
            list.put(OPTIONAL_TRANSITIVE, code::AGGREGATOR, |out| aggregator.encode(four_octet_as, out));
        }
        list.put_each(OPTIONAL_TRANSITIVE, code::COMMUNITIES, &self.communities, |community| community.0.to_be_bytes());
        if let Some(originator_id) = self.originator_id {
            list.put(OPTIONAL, code::ORIGINATOR_ID, |out| out.extend_from_slice(&originator_id.0.octets()));
        }
        list.put_each(OPTIONAL, code::CLUSTER_LIST, &self.cluster_list, |cluster_id| cluster_id.0.octets());
        list.put_each(OPTIONAL_TRANSITIVE, code::EXTENDED_COMMUNITIES, &self.extended_communities, |community| {
            community.0
        });
        if !four_octet_as && !self.as_path.fits_two_octets() {
            list.put(OPTIONAL_TRANSITIVE, code::AS4_PATH, |out| self.as_path.encode(true, out));
        }
        if let Some(aggregator) = self.aggregator.filter(|aggregator| !four_octet_as && !aggregator.fits_two_octets()) {
            list.put(OPTIONAL_TRANSITIVE, code::AS4_AGGREGATOR, |out| aggregator.encode(true, out));
        }
        if !self.tunnels.is_empty() {
            list.put(OPTIONAL_TRANSITIVE, code::TUNNEL_ENCAPSULATION, |out| {
                self.tunnels.iter().for_each(|tunnel| tunnel.encode(out));
            });
        }
        list.put_each(OPTIONAL_TRANSITIVE, code::LARGE_COMMUNITY, &self.large_communities, |community| {
            community.octets()
        });
        if let Some(asn) = self.otc {
            list.put(OPTIONAL_TRANSITIVE, code::ONLY_TO_CUSTOMER, |out| out.extend_from_slice(&asn.0.to_be_bytes()));
        }
        list.put_unknown_below(None);
    }
}

impl Aggregator {
    fn fits_two_octets(self) -> bool {
        self.asn.0 <= u32::from(u16::MAX)
    }

    fn encode(self, four_octet_as: bool, out: &mut Vec<u8>) {
        if four_octet_as {
            out.extend_from_slice(&self.asn.0.to_be_bytes());
        } else {
            out.extend_from_slice(&self.asn.as_two_octets().to_be_bytes());
        }
        out.extend_from_slice(&self.router_id.0.octets());
    }
}

/// Attribute type codes (IANA "BGP Path Attributes").
pub(super) mod code {
    pub(in crate::wire) const ORIGIN: u8 = 1;
    pub(in crate::wire) const AS_PATH: u8 = 2;
    pub(in crate::wire) const NEXT_HOP: u8 = 3;
    pub(in crate::wire) const MULTI_EXIT_DISC: u8 = 4;
    pub(in crate::wire) const LOCAL_PREF: u8 = 5;
    pub(in crate::wire) const ATOMIC_AGGREGATE: u8 = 6;
    pub(in crate::wire) const AGGREGATOR: u8 = 7;
    pub(in crate::wire) const COMMUNITIES: u8 = 8;
    pub(in crate::wire) const ORIGINATOR_ID: u8 = 9;
    pub(in crate::wire) const CLUSTER_LIST: u8 = 10;
    pub(in crate::wire) const MP_REACH_NLRI: u8 = 14;
    pub(in crate::wire) const MP_UNREACH_NLRI: u8 = 15;
    pub(in crate::wire) const EXTENDED_COMMUNITIES: u8 = 16;
    pub(in crate::wire) const AS4_PATH: u8 = 17;
    pub(in crate::wire) const AS4_AGGREGATOR: u8 = 18;
    pub(in crate::wire) const TUNNEL_ENCAPSULATION: u8 = 23;
    pub(in crate::wire) const AIGP: u8 = 26;
    pub(in crate::wire) const BGP_LS: u8 = 29;
    pub(in crate::wire) const LARGE_COMMUNITY: u8 = 32;
    pub(in crate::wire) const ONLY_TO_CUSTOMER: u8 = 35;
}

/// Attribute Flags (RFC 4271 section 4.3).
pub(super) mod flag {
    pub(in crate::wire) const OPTIONAL: u8 = 0x80;
    pub(in crate::wire) const TRANSITIVE: u8 = 0x40;
    pub(in crate::wire) const PARTIAL: u8 = 0x20;
    pub(in crate::wire) const EXTENDED_LENGTH: u8 = 0x10;
}

/// Flags of well-known attributes.
pub(super) const WELL_KNOWN: u8 = flag::TRANSITIVE;
/// Flags of optional non-transitive attributes.
pub(super) const OPTIONAL: u8 = flag::OPTIONAL;
/// Flags of optional transitive attributes.
pub(super) const OPTIONAL_TRANSITIVE: u8 = flag::OPTIONAL | flag::TRANSITIVE;

/// Attributes being written in ascending order, those that are not known in between.
struct Ascending<'a> {
    out: &'a mut Vec<u8>,
    unknown: &'a [UnknownAttribute],
}

impl Ascending<'_> {
    fn put(&mut self, flags: u8, code: u8, value: impl FnOnce(&mut Vec<u8>)) {
        self.put_unknown_below(Some(code));
        put(flags, code, self.out, value);
    }

    /// An attribute that is a list of values of one size; none if the list is empty.
    fn put_each<T: Copy, const N: usize>(&mut self, flags: u8, code: u8, values: &[T], octets: impl Fn(T) -> [u8; N]) {
        if !values.is_empty() {
            self.put(flags, code, |out| values.iter().for_each(|value| out.extend_from_slice(&octets(*value))));
        }
    }

    fn put_unknown_below(&mut self, limit: Option<u8>) {
        while let [next, rest @ ..] = self.unknown
            && limit.is_none_or(|limit| next.code < limit)
        {
            // RFC 4271 section 5: one that is passed on without being known gets Partial.
            put(OPTIONAL_TRANSITIVE | flag::PARTIAL, next.code, self.out, |out| out.extend_from_slice(&next.value));
            self.unknown = rest;
        }
    }
}

/// Appends one attribute, with a length of two octets where one does not do.
///
/// A value of more than 65535 octets gets a wrong length: the caller refuses a set of that size before it is sent.
fn put(flags: u8, code: u8, out: &mut Vec<u8>, value: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[flags, code, 0]);
    value(out);
    let length = out.len() - start - 3;
    match u8::try_from(length) {
        Ok(length) => out[start + 2] = length,
        Err(_) => {
            let [high, low] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
            out[start] |= flag::EXTENDED_LENGTH;
            out[start + 2] = low;
            out.insert(start + 2, high);
        }
    }
}
