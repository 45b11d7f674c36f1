//! UPDATE (RFC 4271 section 4.3): parsing with a verdict for each attribute (RFC 7606), and building.

use std::sync::Arc;

use bytes::Bytes;

use super::Notification;
use super::attributes::Attributes;
use crate::types::{Family, FamilySet, Nlri};

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
    /// The largest message, 4096 or 65535 (RFC 8654).
    pub max_message_len: usize,
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
    /// What was wrong and did not reset the session, for counters and for people.
    pub faults: Vec<AttributeFault>,
}

impl Update {
    /// Parses the body of an UPDATE.
    ///
    /// # Errors
    /// What RFC 7606 still resets a session for.
    pub(super) fn parse(body: &Bytes, context: &UpdateContext) -> Result<Self, Notification> {
        let _ = (body, context);
        todo!("W")
    }

    pub(super) fn encode(&self, context: &UpdateContext) -> Bytes {
        let _ = context;
        todo!("W")
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

/// Packs prefixes that share a set of attributes into as few UPDATEs as fit, the attributes encoded once.
#[derive(Debug)]
pub struct UpdateBuilder {
    context: UpdateContext,
}

impl UpdateBuilder {
    /// A builder for sessions that negotiated `context`.
    #[must_use]
    pub fn new(context: UpdateContext) -> Self {
        Self { context }
    }

    /// Whole messages, one behind the other, that announce `nlri` (all of one family) with `attributes`.
    ///
    /// IPv4 prefixes with an IPv4 next hop go into the classic field, everything else into MP_REACH_NLRI.
    ///
    /// # Errors
    /// [`TooLarge`] when the attributes leave no room for a prefix: the caller withdraws the prefixes instead.
    pub fn announce(&self, attributes: &Attributes, nlri: &[Nlri], out: &mut Vec<u8>) -> Result<(), TooLarge> {
        let _ = (self.context, attributes, nlri, out);
        todo!("W")
    }

    /// Whole messages, one behind the other, that withdraw `nlri` (all of one family).
    pub fn withdraw(&self, nlri: &[Nlri], out: &mut Vec<u8>) {
        let _ = (self.context, nlri, out);
        todo!("W")
    }

    /// The End-of-RIB marker of `family`.
    #[must_use]
    pub fn end_of_rib(&self, family: Family) -> Bytes {
        let _ = (self.context, family);
        todo!("W")
    }
}

/// A set of attributes that fits into no message of the negotiated size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("attributes of {octets} octets leave no room for a prefix in a message of {limit}")]
pub struct TooLarge {
    /// Octets of the encoded attributes.
    pub octets: usize,
    /// The largest message.
    pub limit: usize,
}
