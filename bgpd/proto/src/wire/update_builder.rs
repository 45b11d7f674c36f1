//! Packs prefixes that share a set of attributes into as few UPDATEs as fit.
//!
//! A message holds prefixes in one place only, and MP_REACH_NLRI or MP_UNREACH_NLRI is its first attribute: RFC 7606 section
//! 5.1 asks for both, so that a receiver which stumbles over another attribute has found the prefixes already.

use bytes::Bytes;

use super::attribute_list::AttributeList;
use super::attributes::{Attributes, OPTIONAL, code, flag};
use super::frame::{MessageType, begin, end, next_frame};
use super::update::{Update, UpdateContext};
use super::{HEADER_LEN, MAX_MESSAGE_LEN, RefreshMark, RouteRefresh, mp, nlri};
use crate::types::{Family, NextHop, Nlri, PathId};

/// Packs prefixes that share a set of attributes into as few UPDATEs as fit, the attributes encoded once.
#[derive(Debug)]
pub struct UpdateBuilder {
    context: UpdateContext,
}

/// A set of attributes that no message may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsendable {
    /// It fits into no message of the negotiated size.
    #[error("attributes of {octets} octets leave no room for a prefix in a message of {limit}")]
    TooLarge {
        /// Octets of the encoded attributes.
        octets: usize,
        /// The largest message.
        limit: usize,
    },
    /// Our own parser finds a fault in it.
    #[error("attribute {code}: {reason}; a receiver might end the session for it")]
    Unsound {
        /// The attribute type code; 0 when it is the message as a whole.
        code: u8,
        /// What is wrong.
        reason: &'static str,
    },
}

/// Octets of an UPDATE without attributes and prefixes: header and two length fields.
const EMPTY: usize = HEADER_LEN + 4;
/// Flags, type and length of an MP attribute whose length has two octets. It has them even where one would do, because
/// how many prefixes fit is known only behind the last one.
const MP_HEADER: usize = 4;

impl UpdateBuilder {
    /// A builder for sessions that negotiated `context`.
    #[must_use]
    pub fn new(context: UpdateContext) -> Self {
        Self { context }
    }

    /// Whole messages, one behind the other, that announce `nlri` (all of one family) with `attributes`.
    ///
    /// IPv4 prefixes with an IPv4 next hop go into the classic field, everything else into MP_REACH_NLRI. The attributes
    /// are written as they are: what an external peer does not get, the caller takes out.
    ///
    /// # Errors
    /// [`Unsendable`] when the attributes leave no room for a prefix, or when this crate's own parser would find a fault in
    /// them: nothing is appended, and the caller withdraws the prefixes instead.
    pub fn announce(&self, attributes: &Attributes, nlri: &[Nlri], out: &mut Vec<u8>) -> Result<(), Unsendable> {
        let start = out.len();
        for part in of_one_family(nlri) {
            self.announce_family::<true>(part[0].prefix.family(), attributes, part, out)
                .inspect_err(|_| out.truncate(start))?;
        }
        debug_assert!(self.say(&out[start..], nlri, &[]), "{nlri:?} with {attributes:?} is {:?}", &out[start..]);
        Ok(())
    }

    /// As [`Self::announce`], with attributes that no peer may be sent too: for whoever is told what is held. The next hop of what this
    /// speaker originates is none.
    ///
    /// # Errors
    /// [`Unsendable::TooLarge`]: nothing is appended.
    pub fn announce_as_held(
        &self,
        attributes: &Attributes,
        nlri: &[Nlri],
        out: &mut Vec<u8>,
    ) -> Result<(), Unsendable> {
        let start = out.len();
        for part in of_one_family(nlri) {
            self.announce_family::<false>(part[0].prefix.family(), attributes, part, out)
                .inspect_err(|_| out.truncate(start))?;
        }
        Ok(())
    }

    /// Whole messages, one behind the other, that withdraw `nlri` (all of one family).
    pub fn withdraw(&self, nlri: &[Nlri], out: &mut Vec<u8>) {
        let start = out.len();
        for part in of_one_family(nlri) {
            match part[0].prefix.family() {
                Family::Ipv4Unicast => self.withdraw_classic(part, out),
                family @ Family::Ipv6Unicast => self.withdraw_mp(family, part, out),
            }
        }
        debug_assert!(self.say(&out[start..], &[], nlri), "without {nlri:?} is {:?}", &out[start..]);
    }

    /// The End-of-RIB marker of `family` (RFC 4724 section 2).
    #[must_use]
    pub fn end_of_rib(&self, family: Family) -> Bytes {
        let mut out = Vec::with_capacity(EMPTY + 6);
        let start = begin(MessageType::Update, &mut out);
        match family {
            Family::Ipv4Unicast => out.extend_from_slice(&[0, 0, 0, 0]),
            Family::Ipv6Unicast => {
                out.extend_from_slice(&[0, 0, 0, 6, OPTIONAL, code::MP_UNREACH_NLRI, 3]);
                mp::encode_unreach(family, &mut out);
            }
        }
        end(start, &mut out);
        Bytes::from(out)
    }

    /// Where a refresh of `family` begins or ends (RFC 7313 section 3.2).
    #[must_use]
    pub fn refresh_mark(&self, family: Family, mark: RefreshMark) -> Bytes {
        RouteRefresh::Mark(family, mark).encode()
    }

    /// `SOUND`: only what our own parser finds no fault in.
    fn announce_family<const SOUND: bool>(
        &self,
        family: Family,
        attributes: &Attributes,
        nlri: &[Nlri],
        out: &mut Vec<u8>,
    ) -> Result<(), Unsendable> {
        if family == Family::Ipv4Unicast && matches!(attributes.next_hop, NextHop::V4(_)) {
            self.announce_classic::<SOUND>(attributes, nlri, out)
        } else {
            self.announce_mp::<SOUND>(family, attributes, nlri, out)
        }
    }

    fn announce_classic<const SOUND: bool>(
        &self,
        attributes: &Attributes,
        nlri: &[Nlri],
        out: &mut Vec<u8>,
    ) -> Result<(), Unsendable> {
        let family = Family::Ipv4Unicast;
        // The attributes are encoded where the first message has them, and copied from there into the others: most sets of
        // a full table need one message, and it costs no buffer besides `out`.
        let (mut block, mut room) = (0..0, 0);
        let mut rest = nlri;
        while !rest.is_empty() {
            let start = begin(MessageType::Update, out);
            out.extend_from_slice(&[0, 0, 0, 0]);
            let attributes_start = out.len();
            if block.is_empty() {
                attributes.encode(self.context.four_octet_as, true, out);
                block = attributes_start..out.len();
                room = self.room(family, block.len())?;
                if SOUND {
                    self.proofread(&out[block.clone()], true)?;
                }
            } else {
                out.extend_from_within(block.clone());
            }
            set_length(out, attributes_start - 2, block.len());
            rest = self.fill(family, rest, room, out);
            end(start, out);
        }
        Ok(())
    }

    fn announce_mp<const SOUND: bool>(
        &self,
        family: Family,
        attributes: &Attributes,
        nlri: &[Nlri],
        out: &mut Vec<u8>,
    ) -> Result<(), Unsendable> {
        let mut block = Vec::with_capacity(256);
        block.extend_from_slice(&[OPTIONAL | flag::EXTENDED_LENGTH, code::MP_REACH_NLRI, 0, 0]);
        mp::encode_reach(family, attributes.next_hop, &mut block);
        let reach = block.len();
        set_length(&mut block, 2, reach - MP_HEADER);
        attributes.encode(self.context.four_octet_as, false, &mut block);
        let room = self.room(family, block.len())?;
        if SOUND {
            self.proofread(&block, false)?;
        }

        let mut rest = nlri;
        while !rest.is_empty() {
            let start = begin(MessageType::Update, out);
            out.extend_from_slice(&[0, 0, 0, 0]);
            let attributes_start = out.len();
            out.extend_from_slice(&block[..reach]);
            rest = self.fill(family, rest, room, out);
            let value = out.len() - attributes_start - MP_HEADER;
            set_length(out, attributes_start + 2, value);
            out.extend_from_slice(&block[reach..]);
            let attributes = out.len() - attributes_start;
            set_length(out, attributes_start - 2, attributes);
            end(start, out);
        }
        Ok(())
    }

    /// Reads the attributes of a message, MP_REACH_NLRI still without prefixes, as strictly as its receiver may. `classic`:
    /// the prefixes stand in the NLRI field.
    fn proofread(&self, attributes: &[u8], classic: bool) -> Result<(), Unsendable> {
        let unreadable = |_| Unsendable::Unsound { code: 0, reason: "the attributes do not read" };
        let mut list = AttributeList::empty();
        list.parse(attributes, &self.context).map_err(unreadable)?;
        list.check_complete(classic);
        match list.faults.first() {
            None => Ok(()),
            Some(fault) => Err(Unsendable::Unsound { code: fault.code, reason: fault.reason }),
        }
    }

    /// Whether the messages say this and nothing else to our own parser, which finds no fault in them. Of what reaches peers, attributes
    /// alone come from others and are read again each time ([`Self::proofread`]); all else is read in debug builds, and with them
    /// in every test.
    fn say(&self, messages: &[u8], announced: &[Nlri], withdrawn: &[Nlri]) -> bool {
        let context = UpdateContext { families: Family::ALL.into_iter().collect(), ..self.context };
        let (mut rest, mut said) = (messages, (Vec::new(), Vec::new()));
        while let Ok(Some(frame)) = next_frame(&mut rest, self.limit()) {
            let Ok(update) = Update::parse(frame.body, &context) else { return false };
            if !update.faults.is_empty() {
                return false;
            }
            said.0.extend(update.announced.into_iter().flat_map(|announcement| announcement.nlri));
            said.1.extend(update.withdrawn);
        }
        let add_path = |entry: &Nlri| self.context.add_path.contains(entry.prefix.family());
        let told = |entry: &Nlri| if add_path(entry) { *entry } else { Nlri { path_id: PathId(0), ..*entry } };
        let told = |all: &[Nlri]| all.iter().map(told).collect::<Vec<_>>();
        rest.is_empty() && said == (told(announced), told(withdrawn))
    }

    /// Octets for prefixes in a message whose attributes take `octets`, if they hold one.
    fn room(&self, family: Family, octets: usize) -> Result<usize, Unsendable> {
        let limit = self.limit();
        let room = limit.saturating_sub(EMPTY + octets);
        if room < nlri::longest(family, self.context.add_path.contains(family)) {
            return Err(Unsendable::TooLarge { octets, limit });
        }
        Ok(room)
    }

    fn withdraw_classic(&self, nlri: &[Nlri], out: &mut Vec<u8>) {
        let mut rest = nlri;
        while !rest.is_empty() {
            let start = begin(MessageType::Update, out);
            out.extend_from_slice(&[0, 0]);
            let field = out.len();
            rest = self.fill(Family::Ipv4Unicast, rest, self.limit() - EMPTY, out);
            let length = out.len() - field;
            set_length(out, field - 2, length);
            out.extend_from_slice(&[0, 0]);
            end(start, out);
        }
    }

    fn withdraw_mp(&self, family: Family, nlri: &[Nlri], out: &mut Vec<u8>) {
        let mut rest = nlri;
        while !rest.is_empty() {
            let start = begin(MessageType::Update, out);
            out.extend_from_slice(&[0, 0, 0, 0]);
            let attributes_start = out.len();
            out.extend_from_slice(&[OPTIONAL | flag::EXTENDED_LENGTH, code::MP_UNREACH_NLRI, 0, 0]);
            mp::encode_unreach(family, out);
            rest = self.fill(family, rest, self.limit() - EMPTY - MP_HEADER - 3, out);
            let attributes = out.len() - attributes_start;
            set_length(out, attributes_start + 2, attributes - MP_HEADER);
            set_length(out, attributes_start - 2, attributes);
            end(start, out);
        }
    }

    /// Appends as many prefixes as `room` octets hold, of which there is enough for one; returns the others.
    fn fill<'a>(&self, family: Family, nlri: &'a [Nlri], room: usize, out: &mut Vec<u8>) -> &'a [Nlri] {
        let add_path = self.context.add_path.contains(family);
        let full = out.len() + room;
        for (index, entry) in nlri.iter().enumerate() {
            if out.len() + nlri::encoded_len(entry, add_path) > full {
                return &nlri[index..];
            }
            nlri::encode(entry, add_path, out);
        }
        &[]
    }

    /// The largest message, within what RFC 4271 and RFC 8654 know.
    fn limit(&self) -> usize {
        self.context.max_message_len.clamp(MAX_MESSAGE_LEN, usize::from(u16::MAX))
    }
}

/// A set of prefixes that is not of one family against the contract becomes messages of one family each.
fn of_one_family(nlri: &[Nlri]) -> impl Iterator<Item = &[Nlri]> {
    nlri.chunk_by(|one, other| one.prefix.family() == other.prefix.family())
}

/// Writes a length field of two octets. No message is longer than what it holds.
fn set_length(out: &mut [u8], at: usize, length: usize) {
    out[at..at + 2].copy_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
}

#[cfg(test)]
mod tests;
