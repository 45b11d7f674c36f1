//! ROUTE-REFRESH (RFC 2918): a request for all routes of a family; and where such a refresh begins and ends (RFC 7313).

use bytes::Bytes;

use super::Notification;
use super::frame::{MessageType, enclose};
use super::notification::{HeaderError, RefreshError};
use crate::types::{Family, FamilySet};

/// A ROUTE-REFRESH message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteRefresh {
    /// Subtype 0 (RFC 2918 section 3): send all routes of this family again.
    Request(Family),
    /// Subtypes 1 and 2 (RFC 7313 section 3.2).
    Mark(Family, RefreshMark),
    /// Of a family that Linnet does not speak (RFC 2918 section 4), or of a subtype that nobody has given a meaning (RFC
    /// 7313 section 5).
    Ignored,
}

/// Where a refresh stands in the stream of UPDATEs (RFC 7313 section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshMark {
    /// BoRR: from here on everything is announced once more.
    Begin,
    /// EoRR: what was not announced since the beginning does not exist any more.
    End,
}

/// AFI, subtype, SAFI.
const BODY_LEN: usize = 4;
const REQUEST: u8 = 0;
const BEGIN: u8 = 1;
const END: u8 = 2;

impl RouteRefresh {
    /// Parses the body. `enhanced`: both sides sent the Enhanced Route Refresh capability (RFC 7313).
    ///
    /// # Errors
    /// The message is not of the length that it has to have: Invalid Message Length with the whole message as its data for
    /// BoRR and EoRR where `enhanced` (RFC 7313 section 5), Bad Message Length for everything else (RFC 4271 section 6.1).
    pub(crate) fn parse(body: &[u8], enhanced: bool) -> Result<Self, Notification> {
        let &[high, low, subtype, safi] = body else { return Err(wrong_length(body, enhanced)) };
        let family = Family::from_afi_safi(u16::from_be_bytes([high, low]), safi);
        Ok(match (family, subtype) {
            (Some(family), REQUEST) => Self::Request(family),
            (Some(family), BEGIN) if enhanced => Self::Mark(family, RefreshMark::Begin),
            (Some(family), END) if enhanced => Self::Mark(family, RefreshMark::End),
            (_, _) => Self::Ignored,
        })
    }

    /// The same, without what belongs to families that are not in use on this session (RFC 2918 section 4).
    #[must_use]
    pub(crate) fn within(self, families: FamilySet) -> Self {
        match self {
            Self::Request(family) | Self::Mark(family, _) if families.contains(family) => self,
            Self::Request(_) | Self::Mark(..) | Self::Ignored => Self::Ignored,
        }
    }

    pub(super) fn encode(self) -> Bytes {
        let (afi, subtype, safi) = match self {
            Self::Request(family) => (family.afi(), REQUEST, family.safi()),
            Self::Mark(family, RefreshMark::Begin) => (family.afi(), BEGIN, family.safi()),
            Self::Mark(family, RefreshMark::End) => (family.afi(), END, family.safi()),
            // What it was is not known any more, and Linnet never sends one: AFI 0 is reserved.
            Self::Ignored => (0, REQUEST, 0),
        };
        let [high, low] = afi.to_be_bytes();
        enclose(MessageType::RouteRefresh, &[high, low, subtype, safi])
    }
}

fn wrong_length(body: &[u8], enhanced: bool) -> Notification {
    let message = enclose(MessageType::RouteRefresh, body);
    match body.get(2) {
        Some(&(BEGIN | END)) if enhanced && body.len() != BODY_LEN => {
            Notification::refresh(RefreshError::InvalidMessageLength, &message)
        }
        _ => Notification::header(HeaderError::BadMessageLength, &message[16..18]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_where_both_sides_have_them_and_what_has_no_meaning_is_ignored() {
        use RefreshMark::{Begin, End};
        use RouteRefresh::{Ignored, Mark, Request};
        let (v4, v6) = (Family::Ipv4Unicast, Family::Ipv6Unicast);
        for (body, enhanced, plain) in [
            (b"\x00\x01\x00\x01", Request(v4), Request(v4)),
            (b"\x00\x02\x00\x01", Request(v6), Request(v6)),
            (b"\x00\x01\x01\x01", Mark(v4, Begin), Ignored),
            (b"\x00\x02\x02\x01", Mark(v6, End), Ignored),
            (b"\x00\x01\x03\x01", Ignored, Ignored),
            (b"\x00\x01\xff\x01", Ignored, Ignored),
            (b"\x00\x01\x00\x80", Ignored, Ignored),
            (b"\x00\x19\x01\x46", Ignored, Ignored),
        ] {
            assert_eq!(RouteRefresh::parse(body, true), Ok(enhanced), "{body:02x?}");
            assert_eq!(RouteRefresh::parse(body, false), Ok(plain), "{body:02x?}");
        }
    }

    #[test]
    fn a_mark_of_a_wrong_length_is_answered_with_the_whole_message() {
        for (body, enhanced, code, subcode) in [
            (&b"\x00\x01\x01\x01\x00"[..], true, 7, 1),
            (b"\x00\x01\x02", true, 7, 1),
            (b"\x00\x01\x02\x01\x00", false, 1, 2),
            (b"\x00\x01\x00\x01\x00", true, 1, 2),
            (b"\x00\x01\x03\x01\x00", true, 1, 2),
            (b"\x00\x01", true, 1, 2),
            (b"", true, 1, 2),
        ] {
            let answer = RouteRefresh::parse(body, enhanced).unwrap_err();
            assert_eq!((answer.code, answer.subcode), (code, subcode), "{body:02x?}");
            let length = 19 + body.len() as u8;
            let data = if code == 7 { [&[0xff; 16][..], &[0, length, 5], body].concat() } else { vec![0, length] };
            assert_eq!(answer.data, data, "{body:02x?}");
        }
    }
}
