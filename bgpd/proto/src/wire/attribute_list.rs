//! The Path Attributes field of an UPDATE, read attribute by attribute with the verdict of RFC 7606 on each.
//!
//! [`RULES`] is that RFC as data: for each attribute its flags, from whom it is accepted, its length, and what is done when
//! it is malformed. Values that only their own syntax can judge are read by a function each, behind the rules.

use std::net::Ipv4Addr;

use bytes::Bytes;

use super::Notification;
use super::aspath::AsPath;
use super::attributes::{
    Aggregator, Attributes, OPTIONAL, OPTIONAL_TRANSITIVE, Origin, UnknownAttribute, WELL_KNOWN, code, flag,
};
use super::community::{Community, ExtendedCommunity, LargeCommunity};
use super::notification::UpdateError;
use super::update::{AttributeFault, UpdateContext, Verdict};
use super::{mp, nlri, tunnel};
use crate::types::{Asn, ClusterId, Family, NextHop, Nlri, RouterId};

/// What RFC 7606 and the attribute's own RFC say about one attribute.
struct Rule {
    code: u8,
    /// Optional and Transitive, as they must be (RFC 7606 section 3 c). The other flags are not looked at.
    flags: u8,
    accepted_from: Sender,
    length: Length,
    /// When its length or its value is wrong. Wrong flags are always treated as withdraw.
    malformed: Verdict,
}

/// From whom an attribute is accepted; from all others it is discarded, however it looks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sender {
    Anyone,
    /// Internal peers (RFC 7606 sections 7.5, 7.9, 7.10).
    Internal,
    /// Speakers without four-octet AS numbers (RFC 6793 section 6).
    TwoOctetAs,
}

#[derive(Clone, Copy)]
enum Length {
    /// As its syntax says.
    Any,
    Exactly(usize),
    /// A multiple of this, and not zero.
    Multiple(usize),
    /// 8 octets with four-octet AS numbers, else 6 (RFC 7606 section 7.7).
    Aggregator,
}

const fn rule(code: u8, flags: u8, accepted_from: Sender, length: Length, malformed: Verdict) -> Rule {
    Rule { code, flags, accepted_from, length, malformed }
}

use Length::{Any, Exactly, Multiple};
use Sender::{Anyone, Internal, TwoOctetAs};
use Verdict::{DiscardAttribute as Discard, TreatAsWithdraw as Withdraw};

/// Every attribute that Linnet knows.
#[rustfmt::skip]
const RULES: [Rule; 18] = [
    rule(code::ORIGIN,               WELL_KNOWN,          Anyone,     Exactly(1),         Withdraw), // RFC 7606 section 7.1
    rule(code::AS_PATH,              WELL_KNOWN,          Anyone,     Any,                Withdraw), // 7.2
    rule(code::NEXT_HOP,             WELL_KNOWN,          Anyone,     Exactly(4),         Withdraw), // 7.3
    rule(code::MULTI_EXIT_DISC,      OPTIONAL,            Anyone,     Exactly(4),         Withdraw), // 7.4
    rule(code::LOCAL_PREF,           WELL_KNOWN,          Internal,   Exactly(4),         Withdraw), // 7.5
    rule(code::ATOMIC_AGGREGATE,     WELL_KNOWN,          Anyone,     Exactly(0),         Discard),  // 7.6
    rule(code::AGGREGATOR,           OPTIONAL_TRANSITIVE, Anyone,     Length::Aggregator, Discard),  // 7.7
    rule(code::COMMUNITIES,          OPTIONAL_TRANSITIVE, Anyone,     Multiple(4),        Withdraw), // 7.8
    rule(code::ORIGINATOR_ID,        OPTIONAL,            Internal,   Exactly(4),         Withdraw), // 7.9
    rule(code::CLUSTER_LIST,         OPTIONAL,            Internal,   Multiple(4),        Withdraw), // 7.10
    // What is wrong inside of these two resets the session, see `read_reach` and `read_unreach`.
    rule(code::MP_REACH_NLRI,        OPTIONAL,            Anyone,     Any,                Withdraw), // 7.11
    rule(code::MP_UNREACH_NLRI,      OPTIONAL,            Anyone,     Any,                Withdraw), // 7.12
    rule(code::EXTENDED_COMMUNITIES, OPTIONAL_TRANSITIVE, Anyone,     Multiple(8),        Withdraw), // 7.14
    rule(code::AS4_PATH,             OPTIONAL_TRANSITIVE, TwoOctetAs, Any,                Discard),  // RFC 6793 section 6
    rule(code::AS4_AGGREGATOR,       OPTIONAL_TRANSITIVE, TwoOctetAs, Exactly(8),         Discard),  // RFC 6793 section 6
    rule(code::TUNNEL_ENCAPSULATION, OPTIONAL_TRANSITIVE, Anyone,     Any,                Withdraw), // RFC 9012 section 13
    rule(code::LARGE_COMMUNITY,      OPTIONAL_TRANSITIVE, Anyone,     Multiple(12),       Withdraw), // RFC 8092 section 6
    rule(code::ONLY_TO_CUSTOMER,     OPTIONAL_TRANSITIVE, Anyone,     Exactly(4),         Withdraw), // RFC 9234 section 5
];

/// What Linnet does not know and is never transitive (RFC 7311 section 3, RFC 9552 section 5.3). From whoever says that it is,
/// it would be passed on malformed, and end the sessions of those who know it.
const NEVER_TRANSITIVE: [u8; 2] = [code::AIGP, code::BGP_LS];

impl Length {
    fn allows(self, length: usize, four_octet_as: bool) -> bool {
        match self {
            Any => true,
            Exactly(wanted) => length == wanted,
            Multiple(of) => length != 0 && length.is_multiple_of(of),
            Self::Aggregator => length == if four_octet_as { 8 } else { 6 },
        }
    }
}

/// The attributes of one UPDATE.
#[derive(Debug)]
pub(super) struct AttributeList {
    /// All but the next hop, which depends on where the prefixes stand.
    attributes: Attributes,
    /// NEXT_HOP, or what is wrong with it.
    next_hop: Option<Result<NextHop, &'static str>>,
    as4_path: Option<AsPath>,
    as4_aggregator: Option<Aggregator>,
    /// MP_REACH_NLRI, if its family was negotiated.
    pub(super) reach: Option<Reach>,
    /// MP_UNREACH_NLRI, if its family was negotiated.
    pub(super) unreach: Option<(Family, Vec<Nlri>)>,
    seen: Seen,
    /// The field did not end with an attribute's end.
    cut: bool,
    pub(super) faults: Vec<AttributeFault>,
}

/// MP_REACH_NLRI.
#[derive(Debug)]
pub(super) struct Reach {
    pub(super) next_hop: Result<NextHop, &'static str>,
    pub(super) nlri: Vec<Nlri>,
}

/// The attribute type codes that have come.
#[derive(Clone, Copy, Debug, Default)]
struct Seen([u64; 4]);

impl Seen {
    fn contains(self, code: u8) -> bool {
        self.0[usize::from(code >> 6)] & (1 << (code & 63)) != 0
    }

    /// Adds `code`; whether it was not there before.
    fn insert(&mut self, code: u8) -> bool {
        let new = !self.contains(code);
        self.0[usize::from(code >> 6)] |= 1 << (code & 63);
        new
    }

    fn is_only(self, code: u8) -> bool {
        let mut only = Self::default();
        only.insert(code);
        self.0 == only.0
    }
}

/// The next hop on the session's link. RFC 8950 section 4: an IPv6 one of an IPv4 prefix comes only where both sides have said
/// that they take it. Its prefixes are found all the same, so the session need not be reset (RFC 7606 section 7.11).
fn negotiated(next_hop: NextHop, family: Family, context: &UpdateContext) -> Result<NextHop, &'static str> {
    match (family, next_hop) {
        (Family::Ipv4Unicast, NextHop::V6 { .. }) if !context.extended_next_hop.contains(family) => {
            Err("an IPv6 next hop of IPv4 prefixes, which was not negotiated (RFC 8950)")
        }
        (Family::Ipv4Unicast | Family::Ipv6Unicast, _) => Ok(next_hop.on(context.link)),
    }
}

/// One attribute as it stands in the field.
struct Attribute<'a> {
    flags: u8,
    code: u8,
    value: &'a [u8],
    /// With flags, type and length: what a NOTIFICATION quotes.
    whole: &'a [u8],
}

impl AttributeList {
    /// Of a field in which nothing stands.
    pub(super) fn empty() -> Self {
        Self {
            attributes: Attributes::new(Origin::Igp, AsPath::default(), NextHop::V4(Ipv4Addr::UNSPECIFIED)),
            next_hop: None,
            as4_path: None,
            as4_aggregator: None,
            reach: None,
            unreach: None,
            seen: Seen::default(),
            cut: false,
            faults: Vec::new(),
        }
    }

    /// Reads the whole field into an empty list, which is too large to be handed from call to call. What is received and what
    /// is sent is read by the same code, which the second of them then finds in the cache.
    ///
    /// # Errors
    /// What RFC 7606 still resets a session for: MP_REACH_NLRI or MP_UNREACH_NLRI twice (section 3 g) or unreadable
    /// (section 5.3, 7.11, 7.12), and a well-known attribute that is not known. RFC 7606 leaves that one as RFC 4271
    /// section 6.3 has it: such an attribute is not passed on by anyone, so the neighbour itself made it.
    #[inline(never)]
    pub(super) fn parse(&mut self, mut field: &[u8], context: &UpdateContext) -> Result<(), Notification> {
        while !field.is_empty() {
            match next_attribute(field) {
                Ok((attribute, rest)) => {
                    self.read(&attribute, context)?;
                    field = rest;
                }
                // RFC 7606 section 4: what is left cannot be read, and the prefixes are found by the total length.
                Err((code, reason)) => {
                    self.cut = true;
                    self.fault(code, Withdraw, reason);
                    break;
                }
            }
        }
        self.merge_four_octet_as();
        // The RIB keeps them sorted by type, so that equal sets are equal values.
        self.attributes.unknown.sort_unstable_by_key(|attribute| attribute.code);
        Ok(())
    }

    /// Whether the routes of the message are to be withdrawn.
    pub(super) fn treat_as_withdraw(&self) -> bool {
        self.faults.iter().any(|fault| fault.verdict == Withdraw)
    }

    /// Whether MP_UNREACH_NLRI is all there is.
    pub(super) fn is_only_unreach(&self) -> bool {
        self.seen.is_only(code::MP_UNREACH_NLRI) && !self.cut
    }

    /// Whether MP_REACH_NLRI is there, of whatever family.
    pub(super) fn has_reach(&self) -> bool {
        self.seen.contains(code::MP_REACH_NLRI)
    }

    /// Notes mandatory attributes that are missing from a message that announces prefixes (RFC 7606 section 3 d), and a
    /// next hop that no route may have. `classic`: prefixes stand in the NLRI field, to which NEXT_HOP belongs; without
    /// them NEXT_HOP is not looked at (RFC 4760 section 3).
    pub(super) fn check_complete(&mut self, classic: bool) {
        let reach = self.reach.is_some();
        let mandatory =
            [(code::ORIGIN, classic || reach), (code::AS_PATH, classic || reach), (code::NEXT_HOP, classic)];
        for (code, needed) in mandatory {
            if needed && !self.seen.contains(code) {
                self.fault(code, Withdraw, "it is mandatory and missing");
            }
        }
        if let (true, Some(Err(reason))) = (classic, self.next_hop) {
            self.fault(code::NEXT_HOP, Withdraw, reason);
        }
        if let Some(Reach { next_hop: Err(reason), .. }) = self.reach {
            self.fault(code::MP_REACH_NLRI, Withdraw, reason);
        }
    }

    /// The attributes of prefixes of the NLRI field.
    pub(super) fn classic_next_hop(&self) -> Option<NextHop> {
        self.next_hop.and_then(Result::ok)
    }

    /// The set for prefixes that have this next hop.
    pub(super) fn with_next_hop(&self, next_hop: NextHop) -> Attributes {
        Attributes { next_hop, ..self.attributes.clone() }
    }

    /// The set for the last prefixes of the message.
    pub(super) fn into_attributes(self, next_hop: NextHop) -> Attributes {
        Attributes { next_hop, ..self.attributes }
    }

    /// Notes a fault.
    pub(super) fn fault(&mut self, code: u8, verdict: Verdict, reason: &'static str) {
        self.faults.push(AttributeFault { code, verdict, reason });
    }

    fn read(&mut self, attribute: &Attribute<'_>, context: &UpdateContext) -> Result<(), Notification> {
        let code = attribute.code;
        if !self.seen.insert(code) {
            return self.read_again(code);
        }
        let Some(rule) = RULES.iter().find(|rule| rule.code == code) else { return self.read_unknown(attribute) };
        let accepted = match rule.accepted_from {
            Anyone => true,
            Internal => !context.external,
            TwoOctetAs => !context.four_octet_as,
        };
        if !accepted {
            self.fault(code, Discard, "this peer may not send it");
            return Ok(());
        }
        let wrong_flags = (attribute.flags ^ rule.flags) & OPTIONAL_TRANSITIVE != 0;
        if wrong_flags {
            self.fault(code, Withdraw, "its flags contradict its type");
        }
        match code {
            // Read whatever their flags say: their prefixes are to be withdrawn.
            code::MP_REACH_NLRI => return self.read_reach(attribute, context),
            code::MP_UNREACH_NLRI => return self.read_unreach(attribute, context),
            _ if wrong_flags => return Ok(()),
            _ => {}
        }
        if !rule.length.allows(attribute.value.len(), context.four_octet_as) {
            self.fault(code, rule.malformed, "its length is wrong");
        } else if let Err(reason) = self.read_value(code, attribute.value, context.four_octet_as) {
            self.fault(code, rule.malformed, reason);
        }
        Ok(())
    }

    /// RFC 7606 section 3 g.
    fn read_again(&mut self, code: u8) -> Result<(), Notification> {
        match code {
            code::MP_REACH_NLRI | code::MP_UNREACH_NLRI => {
                Err(Notification::update(UpdateError::MalformedAttributeList, &[]))
            }
            _ => {
                self.fault(code, Discard, "it stands there more than once; the first one counts");
                Ok(())
            }
        }
    }

    fn read_unknown(&mut self, attribute: &Attribute<'_>) -> Result<(), Notification> {
        if attribute.flags & flag::OPTIONAL == 0 {
            return Err(Notification::update(UpdateError::UnrecognizedWellKnownAttribute, attribute.whole));
        }
        // RFC 4271 section 5: "unrecognized non-transitive optional attributes MUST be quietly ignored".
        let transitive = attribute.flags & flag::TRANSITIVE != 0;
        if transitive && NEVER_TRANSITIVE.contains(&attribute.code) {
            self.fault(attribute.code, Discard, "it is never transitive, and its flags say that it is");
        } else if transitive {
            // Copied, because a slice would keep all that was received with it alive for as long as the route lives.
            let value = Bytes::copy_from_slice(attribute.value);
            let mut unknown = std::mem::take(&mut self.attributes.unknown).into_vec();
            unknown.push(UnknownAttribute { code: attribute.code, value });
            self.attributes.unknown = unknown.into_boxed_slice();
        }
        Ok(())
    }

    fn read_reach(&mut self, attribute: &Attribute<'_>, context: &UpdateContext) -> Result<(), Notification> {
        let unreadable = || Notification::update(UpdateError::OptionalAttributeError, attribute.whole);
        let reach = mp::parse_reach(attribute.value).map_err(|mp::Unlocatable| unreadable())?;
        match reach {
            mp::Parsed::Known(reach) if context.families.contains(reach.family) => {
                let nlri = read_nlri(reach.nlri, reach.family, context).map_err(|_| unreadable())?;
                let next_hop = reach.next_hop.and_then(|next_hop| negotiated(next_hop, reach.family, context));
                self.reach = Some(Reach { next_hop, nlri });
            }
            mp::Parsed::Known(_) | mp::Parsed::OtherFamily => self.fault(attribute.code, Discard, NOT_NEGOTIATED),
        }
        Ok(())
    }

    fn read_unreach(&mut self, attribute: &Attribute<'_>, context: &UpdateContext) -> Result<(), Notification> {
        let unreadable = || Notification::update(UpdateError::OptionalAttributeError, attribute.whole);
        let unreach = mp::parse_unreach(attribute.value).map_err(|mp::Unlocatable| unreadable())?;
        match unreach {
            mp::Parsed::Known((family, field)) if context.families.contains(family) => {
                let nlri = read_nlri(field, family, context).map_err(|_| unreadable())?;
                self.unreach = Some((family, nlri));
            }
            mp::Parsed::Known(_) | mp::Parsed::OtherFamily => self.fault(attribute.code, Discard, NOT_NEGOTIATED),
        }
        Ok(())
    }

    /// Reads a value whose length the rules allow.
    fn read_value(&mut self, code: u8, value: &[u8], four_octet_as: bool) -> Result<(), &'static str> {
        let attributes = &mut self.attributes;
        match code {
            code::ORIGIN => {
                let known = Origin::ALL.into_iter().find(|origin| value == [*origin as u8]);
                attributes.origin = known.ok_or("its value is none of 0, 1 and 2")?;
            }
            code::AS_PATH => attributes.as_path = AsPath::parse(value, four_octet_as)?,
            code::NEXT_HOP => self.next_hop = value.try_into().ok().map(mp::parse_v4_next_hop),
            code::MULTI_EXIT_DISC => attributes.med = number(value),
            code::LOCAL_PREF => attributes.local_pref = number(value),
            code::ATOMIC_AGGREGATE => attributes.atomic_aggregate = true,
            code::AGGREGATOR => attributes.aggregator = Some(read_aggregator(value)?),
            code::COMMUNITIES => {
                attributes.communities = sorted(value, |octets| Community(u32::from_be_bytes(octets)));
            }
            code::ORIGINATOR_ID => {
                attributes.originator_id = number(value).map(|octets| RouterId(Ipv4Addr::from(octets)));
            }
            code::CLUSTER_LIST => {
                attributes.cluster_list = each(value, |octets: [u8; 4]| ClusterId(Ipv4Addr::from(octets))).collect();
            }
            code::EXTENDED_COMMUNITIES => attributes.extended_communities = sorted(value, ExtendedCommunity),
            code::AS4_PATH => self.as4_path = Some(AsPath::parse_as4(value)?),
            code::AS4_AGGREGATOR => self.as4_aggregator = Some(read_aggregator(value)?),
            code::TUNNEL_ENCAPSULATION => {
                let parsed = tunnel::parse(value)?;
                attributes.tunnels = parsed.tunnels;
                if parsed.removed {
                    self.fault(code, Discard, "a tunnel without a good egress endpoint was taken out");
                }
            }
            code::LARGE_COMMUNITY => attributes.large_communities = sorted(value, LargeCommunity::from_octets),
            code::ONLY_TO_CUSTOMER => attributes.otc = number(value).map(Asn),
            // `RULES` names no other.
            _ => {}
        }
        Ok(())
    }

    /// What a two-octet AS_PATH and AGGREGATOR stand for (RFC 6793 section 4.2.3).
    fn merge_four_octet_as(&mut self) {
        if let (Some(aggregator), Some(as4_aggregator)) = (self.attributes.aggregator, self.as4_aggregator) {
            if aggregator.asn != Asn::TRANS {
                // A two-octet speaker aggregated anew and passed on what it did not know: both are out of date.
                return;
            }
            self.attributes.aggregator = Some(as4_aggregator);
        }
        if let Some(as4_path) = self.as4_path.take() {
            self.attributes.as_path = std::mem::take(&mut self.attributes.as_path).merge_as4(&as4_path);
        }
    }
}

const NOT_NEGOTIATED: &str = "its address family was not negotiated";

/// The attribute at the start of `field`, and what stands behind it.
///
/// # Errors
/// Its type (0 if not even that is there), and in which of the two ways of RFC 7606 section 4 the lengths contradict one
/// another.
fn next_attribute(field: &[u8]) -> Result<(Attribute<'_>, &[u8]), (u8, &'static str)> {
    let too_short = (0, "fewer octets are left than the shortest attribute has");
    let (flags, code, length, header) = match *field {
        [flags, code, high, low, ..] if flags & flag::EXTENDED_LENGTH != 0 => {
            (flags, code, usize::from(u16::from_be_bytes([high, low])), 4)
        }
        [flags, code, length, ..] if flags & flag::EXTENDED_LENGTH == 0 => (flags, code, usize::from(length), 3),
        _ => return Err(too_short),
    };
    let (whole, rest) =
        field.split_at_checked(header + length).ok_or((code, "its length runs over the end of the attributes"))?;
    Ok((Attribute { flags, code, value: &whole[header..], whole }, rest))
}

fn read_nlri(field: &[u8], family: Family, context: &UpdateContext) -> Result<Vec<Nlri>, nlri::Malformed> {
    let mut prefixes = Vec::new();
    nlri::parse(field, family, context.add_path.contains(family), &mut prefixes)?;
    Ok(prefixes)
}

fn number(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_be_bytes)
}

/// The value cut into parts of one size; a rest that is shorter was refused by the rules.
fn each<const N: usize, T>(value: &[u8], read: impl Fn([u8; N]) -> T) -> impl Iterator<Item = T> {
    value.as_chunks().0.iter().map(move |octets| read(*octets))
}

fn sorted<const N: usize, T: Ord>(value: &[u8], read: impl Fn([u8; N]) -> T) -> Box<[T]> {
    let mut values: Vec<T> = each(value, read).collect();
    values.sort_unstable();
    values.dedup();
    values.into_boxed_slice()
}

/// AGGREGATOR of either width, or AS4_AGGREGATOR.
fn read_aggregator(value: &[u8]) -> Result<Aggregator, &'static str> {
    let (asn, router_id) = value.split_last_chunk::<4>().ok_or("its length is wrong")?;
    let asn = Asn(asn.iter().fold(0, |number, octet| number << 8 | u32::from(*octet)));
    // RFC 7607 section 2.
    if asn == Asn(0) {
        return Err("it has AS 0");
    }
    Ok(Aggregator { asn, router_id: RouterId(Ipv4Addr::from(*router_id)) })
}

#[cfg(test)]
mod tests;
