//! UPDATE (RFC 4271 section 4.3): which prefixes it announces and withdraws once RFC 7606 has judged it.
//!
//! Attributes are read in `attribute_list.rs`; messages are built by [`UpdateBuilder`]. Parsing is by plain slices
//! and not with nom: the fields are few, and a full table of a million prefixes comes through here.

use std::sync::Arc;

use bytes::Bytes;

use super::attribute_list::AttributeList;
use super::attributes::Attributes;
use super::notification::UpdateError;
pub use super::update_builder::{Unsendable, UpdateBuilder};
use super::{MAX_MESSAGE_LEN, Notification, RefreshMark, nlri};
use crate::types::{Family, FamilySet, Interface, Nlri};

/// What was negotiated that changes how an UPDATE reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UpdateContext {
    /// Both sides sent the four-octet AS capability (RFC 6793).
    pub four_octet_as: bool,
    /// The peer is in another AS: RFC 7606 asks for LOCAL_PREF, ORIGINATOR_ID and CLUSTER_LIST to be discarded.
    pub external: bool,
    /// Families that both sides announced.
    pub families: FamilySet,
    /// Families in which the peer sends path identifiers (RFC 7911); when building: in which this side does.
    pub add_path: FamilySet,
    /// Families whose prefixes may have IPv6 next hops although they are not IPv6 (RFC 8950).
    pub extended_next_hop: FamilySet,
    /// The link that the session is bound to, and with it the peer's link-local next hops; when building, `None`.
    pub link: Option<Interface>,
    /// The largest message, 4096 or 65535 (RFC 8654).
    pub max_message_len: usize,
}

impl UpdateContext {
    /// Of an internal session with four-octet AS numbers, and nothing else; not even a family.
    pub const PLAIN: Self = Self {
        four_octet_as: true,
        external: false,
        families: FamilySet::EMPTY,
        add_path: FamilySet::EMPTY,
        extended_next_hop: FamilySet::EMPTY,
        link: None,
        max_message_len: MAX_MESSAGE_LEN,
    };
}

/// What an UPDATE says after RFC 7606 has had its word. Apply `withdrawn` first: a prefix that is in both is announced
/// (RFC 4271 section 4.3).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Update {
    /// Prefixes announced, by their attributes: at most one entry each for the classic field and for MP_REACH_NLRI.
    pub announced: Vec<Announcement>,
    /// Prefixes withdrawn: by the sender, or by RFC 7606's treat-as-withdraw.
    pub withdrawn: Vec<Nlri>,
    /// An End-of-RIB marker (RFC 4724 section 2).
    pub end_of_rib: Option<Family>,
    /// Not of an UPDATE, but a ROUTE-REFRESH that stood between UPDATEs, where its place says what it means (RFC 7313). It
    /// stands alone.
    pub mark: Option<(Family, RefreshMark)>,
    /// What was wrong and did not reset the session, for counters and for people.
    pub faults: Vec<AttributeFault>,
}

impl Update {
    /// Parses the body of an UPDATE, in the steps of RFC 4271 section 6.3 as RFC 7606 revised them.
    ///
    /// # Errors
    /// What RFC 7606 still resets a session for.
    pub(super) fn parse(body: &[u8], context: &UpdateContext) -> Result<Self, Notification> {
        // 1. The lengths of the three fields, from which alone it is known where the NLRI field begins.
        let fields = Fields::split(body)?;
        let ipv4 = context.families.contains(Family::Ipv4Unicast);
        // An UPDATE without anything is the End-of-RIB marker of IPv4 unicast (RFC 4724 section 2).
        if fields.are_empty() {
            return Ok(Self { end_of_rib: ipv4.then_some(Family::Ipv4Unicast), ..Self::default() });
        }

        // 2. The prefixes of both classic fields.
        let withdrawn = classic_nlri(fields.withdrawn, context)?;
        if ipv4 && fields.attributes.is_empty() && fields.nlri.is_empty() {
            return Ok(Self { withdrawn, ..Self::default() });
        }
        Self::parse_rest(&fields, withdrawn, context)
    }

    /// What a message says that does not only withdraw.
    #[inline(never)] // A list of attributes takes a thousand octets of stack, which a withdrawal need not touch.
    fn parse_rest(
        fields: &Fields<'_>,
        mut withdrawn: Vec<Nlri>,
        context: &UpdateContext,
    ) -> Result<Self, Notification> {
        let ipv4 = context.families.contains(Family::Ipv4Unicast);
        let mut nlri = classic_nlri(fields.nlri, context)?;
        // 3. The attributes, with the prefixes that they hold.
        let mut list = AttributeList::empty();
        list.parse(fields.attributes, context)?;
        if !ipv4 && !fields.have_no_classic_prefix() {
            withdrawn.clear();
            nlri.clear();
            list.fault(0, Verdict::DiscardAttribute, "prefixes of IPv4 unicast, which was not negotiated");
        }
        list.check_complete(!nlri.is_empty());

        // 4. With an error in attributes that belong to no prefix, the prefixes may be what was lost: the withdraw that
        // the error asks for cannot be done (RFC 7606 section 5.2).
        let unfounded = fields.nlri.is_empty() && !list.has_reach() && !list.is_only_unreach();
        if list.treat_as_withdraw() && unfounded {
            return Err(Notification::update(UpdateError::MalformedAttributeList, &[]));
        }

        let mut update = Self { withdrawn, ..Self::default() };
        match list.unreach.take() {
            Some((family, nlri)) if nlri.is_empty() && list.is_only_unreach() && fields.have_no_classic_prefix() => {
                update.end_of_rib = Some(family);
            }
            Some((_, nlri)) => append(&mut update.withdrawn, nlri),
            None => {}
        }
        update.faults = std::mem::take(&mut list.faults);
        update.settle(nlri, list);
        Ok(update)
    }

    /// 5. The verdict: announced, or withdrawn.
    fn settle(&mut self, nlri: Vec<Nlri>, mut list: AttributeList) {
        let reach = list.reach.take();
        if self.faults.iter().any(|fault| fault.verdict == Verdict::TreatAsWithdraw) {
            append(&mut self.withdrawn, nlri);
            append(&mut self.withdrawn, reach.map(|reach| reach.nlri).unwrap_or_default());
            return;
        }
        let classic = list.classic_next_hop().filter(|_| !nlri.is_empty());
        let reach =
            reach.and_then(|reach| Some((reach.next_hop.ok()?, reach.nlri))).filter(|(_, nlri)| !nlri.is_empty());
        let mut announce =
            |attributes, nlri| self.announced.push(Announcement { attributes: Arc::new(attributes), nlri });
        match (classic, reach) {
            (Some(next_hop), Some((other, others))) => {
                announce(list.with_next_hop(next_hop), nlri);
                announce(list.into_attributes(other), others);
            }
            (Some(next_hop), None) => announce(list.into_attributes(next_hop), nlri),
            (None, Some((next_hop, nlri))) => announce(list.into_attributes(next_hop), nlri),
            (None, None) => {}
        }
    }

    /// Whole messages that say the same.
    pub(super) fn encode(&self, context: &UpdateContext) -> Bytes {
        let builder = UpdateBuilder::new(*context);
        let mut out = Vec::new();
        builder.withdraw(&self.withdrawn, &mut out);
        for announcement in &self.announced {
            // One that no message may carry is left out, as `Message::encode` says: nothing was appended for it.
            let _ = builder.announce(&announcement.attributes, &announcement.nlri, &mut out);
        }
        if let Some(family) = self.end_of_rib {
            out.extend_from_slice(&builder.end_of_rib(family));
        }
        Bytes::from(out)
    }
}

/// The three fields of variable length (RFC 4271 section 4.3).
struct Fields<'a> {
    withdrawn: &'a [u8],
    attributes: &'a [u8],
    nlri: &'a [u8],
}

impl<'a> Fields<'a> {
    fn split(body: &'a [u8]) -> Result<Self, Notification> {
        // RFC 7606 section 3 a: the two lengths and what they count do not fit into the message.
        let fields = || {
            let (length, rest) = body.split_first_chunk::<2>()?;
            let (withdrawn, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            let (length, rest) = rest.split_first_chunk::<2>()?;
            let (attributes, nlri) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            Some(Self { withdrawn, attributes, nlri })
        };
        fields().ok_or_else(|| Notification::update(UpdateError::MalformedAttributeList, &[]))
    }

    fn are_empty(&self) -> bool {
        self.attributes.is_empty() && self.have_no_classic_prefix()
    }

    fn have_no_classic_prefix(&self) -> bool {
        self.withdrawn.is_empty() && self.nlri.is_empty()
    }
}

/// Withdrawn Routes and NLRI are judged alike (RFC 7606 section 3 i and 5.3).
fn classic_nlri(field: &[u8], context: &UpdateContext) -> Result<Vec<Nlri>, Notification> {
    let mut prefixes = Vec::new();
    nlri::parse(field, Family::Ipv4Unicast, context.add_path.contains(Family::Ipv4Unicast), &mut prefixes)
        .map_err(|nlri::Malformed| Notification::update(UpdateError::InvalidNetworkField, &[]))?;
    Ok(prefixes)
}

/// Appends without copying where there is nothing yet: most messages hold prefixes in one place only.
fn append(all: &mut Vec<Nlri>, mut more: Vec<Nlri>) {
    if all.is_empty() {
        *all = more;
    } else {
        all.append(&mut more);
    }
}

/// Prefixes that share a set of attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Announcement {
    /// The set.
    pub attributes: Arc<Attributes>,
    /// All of one family.
    pub nlri: Vec<Nlri>,
}

/// What RFC 7606 says is to be done about a malformed attribute, mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// The attribute is dropped, the routes stay.
    DiscardAttribute,
    /// The routes of the message are withdrawn.
    TreatAsWithdraw,
}

/// A fault in one attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributeFault {
    /// The attribute type code; 0 when it is the attributes as a whole.
    pub code: u8,
    /// What was done.
    pub verdict: Verdict,
    /// What was wrong, for a person.
    pub reason: &'static str,
}

#[cfg(test)]
mod tests;
