//! OPEN (RFC 4271 section 4.2), with capabilities (RFC 5492) and extended optional parameters (RFC 9072).

use std::net::Ipv4Addr;

use bytes::Bytes;
use nom::bytes::complete::take;
use nom::number::complete::{be_u8, be_u16, be_u32};
use nom::{IResult, Parser};

use super::Notification;
use super::capability::{AddPath, Capability, GracefulRestart, LongLived};
use super::frame::{MessageType, enclose};
use super::notification::OpenError;
use crate::types::{Asn, Family, FamilySet, HoldTime, RouterId};

/// An OPEN message that section 6.2 finds no fault with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The four-octet number if that capability is there, else the two octets of the header.
    pub asn: Asn,
    /// What the sender proposes.
    pub hold_time: HoldTime,
    /// The sender's BGP Identifier, not zero.
    pub router_id: RouterId,
    /// In the order in which they stand in the message.
    pub capabilities: Vec<Capability>,
}

const VERSION: u8 = 4;
/// Optional Parameter Type of Capabilities (RFC 5492 section 4).
const CAPABILITIES: u8 = 2;
/// The type that says "extended" where the first parameter's type would stand (RFC 9072 section 2).
const EXTENDED: u8 = 255;

impl Open {
    /// The families that its Multiprotocol capabilities name; IPv4 unicast alone when it has none (RFC 4760 section 8).
    #[must_use]
    pub fn families(&self) -> FamilySet {
        let mut multiprotocol = self.capabilities.iter().filter(|capability| capability.code() == 1).peekable();
        if multiprotocol.peek().is_none() {
            return FamilySet::from_iter([Family::Ipv4Unicast]);
        }
        multiprotocol
            .filter_map(|capability| match capability {
                Capability::Multiprotocol(family) => Some(*family),
                _ => None,
            })
            .collect()
    }

    /// Whether it has the four-octet AS capability (RFC 6793).
    #[must_use]
    pub fn has_four_octet_as(&self) -> bool {
        self.capabilities.iter().any(|capability| matches!(capability, Capability::FourOctetAs(_)))
    }

    /// Whether it has the route refresh capability (RFC 2918).
    #[must_use]
    pub fn has_route_refresh(&self) -> bool {
        self.capabilities.contains(&Capability::RouteRefresh)
    }

    /// Whether it has the enhanced route refresh capability (RFC 7313).
    #[must_use]
    pub fn has_enhanced_route_refresh(&self) -> bool {
        self.capabilities.contains(&Capability::EnhancedRouteRefresh)
    }

    /// Whether it has the extended message capability (RFC 8654).
    #[must_use]
    pub fn has_extended_messages(&self) -> bool {
        self.capabilities.contains(&Capability::ExtendedMessage)
    }

    /// The codes of its Role capabilities (RFC 9234 section 4.1), which must be one, or the same.
    pub fn roles(&self) -> impl Iterator<Item = u8> {
        self.capabilities.iter().filter_map(|capability| match capability {
            Capability::Role(role) => Some(*role),
            _ => None,
        })
    }

    /// Families whose prefixes it takes with IPv6 next hops (RFC 8950): of all such capabilities together.
    #[must_use]
    pub fn extended_next_hop(&self) -> FamilySet {
        let named = self.capabilities.iter().filter_map(|capability| match capability {
            Capability::ExtendedNextHop(families) => Some(families.iter()),
            _ => None,
        });
        named.flatten().collect()
    }

    /// Its Graceful Restart capability: the last one, where there are several (RFC 4724 section 3).
    #[must_use]
    pub fn graceful_restart(&self) -> Option<&GracefulRestart> {
        self.capabilities.iter().rev().find_map(|capability| match capability {
            Capability::GracefulRestart(restart) => Some(restart),
            _ => None,
        })
    }

    /// What its Long-Lived Graceful Restart capability says, family by family; `None` without one. It counts only beside the
    /// Graceful Restart capability (RFC 9494 section 3.1).
    #[must_use]
    pub fn long_lived(&self) -> Option<&[LongLived]> {
        self.graceful_restart()?;
        self.capabilities.iter().rev().find_map(|capability| match capability {
            Capability::LongLivedGracefulRestart(families) => Some(&families[..]),
            _ => None,
        })
    }

    /// What its ADD-PATH capability says of a family: the last word, where it is said several times. There is to be one
    /// instance of the capability (RFC 7911 section 4); of several, the last counts.
    #[must_use]
    pub fn add_path(&self, family: Family) -> AddPath {
        let last = self.capabilities.iter().rev().find_map(|capability| match capability {
            Capability::AddPath(families) => Some(families),
            _ => None,
        });
        let said = last.and_then(|families| families.iter().rev().find(|(of, _)| *of == family));
        said.map_or(AddPath::NONE, |(_, what)| *what)
    }

    /// Parses the body of an OPEN, with the checks of RFC 4271 section 6.2 in its order. Whether the AS and the BGP
    /// Identifier are the configured ones is the session's to check.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Notification> {
        let malformed = || Notification::open(OpenError::Unspecific, &[]);
        let (parameters, fixed) = fixed_part(body).map_err(|_| malformed())?;
        let (version, short_as, hold_time, router_id) = fixed;

        if version != VERSION {
            return Err(Notification::open(OpenError::UnsupportedVersionNumber, &u16::from(VERSION).to_be_bytes()));
        }
        // RFC 7607 section 2.
        if short_as == 0 {
            return Err(bad_as(Asn(0)));
        }
        let Some(hold_time) = HoldTime::from_seconds(hold_time) else {
            return Err(Notification::open(OpenError::UnacceptableHoldTime, &hold_time.to_be_bytes()));
        };
        // RFC 6286 section 2.1: any four octets but zero.
        if router_id == 0 {
            return Err(Notification::open(OpenError::BadBgpIdentifier, &[0; 4]));
        }
        let capabilities = parse_parameters(parameters)?;

        let open = Self {
            asn: four_octet_as(&capabilities).unwrap_or(Asn(u32::from(short_as))),
            hold_time,
            router_id: RouterId(Ipv4Addr::from(router_id)),
            capabilities,
        };
        // Nobody may have either number (RFC 7607, RFC 6793 section 9).
        if open.asn == Asn(0) || open.asn == Asn::TRANS { Err(bad_as(open.asn)) } else { Ok(open) }
    }

    /// The whole message. The optional parameters are extended (RFC 9072) only where 255 octets do not hold them, because
    /// a speaker that does not know RFC 9072 refuses those.
    pub(super) fn encode(&self) -> Bytes {
        let mut capabilities = Vec::new();
        self.capabilities.iter().for_each(|capability| capability.encode(&mut capabilities));

        let mut body = Vec::with_capacity(16 + capabilities.len());
        body.push(VERSION);
        body.extend_from_slice(&self.asn.as_two_octets().to_be_bytes());
        body.extend_from_slice(&self.hold_time.seconds().to_be_bytes());
        body.extend_from_slice(&self.router_id.0.octets());
        // One parameter for all capabilities, as RFC 5492 section 4 asks.
        let length = capabilities.len();
        if length == 0 {
            body.push(0);
        } else if length + 2 <= 255 {
            body.extend_from_slice(&[length as u8 + 2, CAPABILITIES, length as u8]);
        } else {
            let octets = |length: usize| u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
            body.extend_from_slice(&[255, EXTENDED]);
            body.extend_from_slice(&octets(length + 3));
            body.push(CAPABILITIES);
            body.extend_from_slice(&octets(length));
        }
        body.extend_from_slice(&capabilities);
        enclose(MessageType::Open, &body)
    }
}

fn bad_as(asn: Asn) -> Notification {
    Notification::open(OpenError::BadPeerAs, &asn.0.to_be_bytes())
}

fn four_octet_as(capabilities: &[Capability]) -> Option<Asn> {
    capabilities.iter().find_map(|capability| match capability {
        Capability::FourOctetAs(asn) => Some(*asn),
        _ => None,
    })
}

/// Version, My Autonomous System, Hold Time and BGP Identifier; what is left starts with the length of the parameters.
fn fixed_part(body: &[u8]) -> IResult<&[u8], (u8, u16, u16, u32)> {
    (be_u8, be_u16, be_u16, be_u32).parse(body)
}

/// The optional parameters, from their length on to the end of the message.
fn parse_parameters(field: &[u8]) -> Result<Vec<Capability>, Notification> {
    // RFC 4271 section 6.2: a parameter that is recognized, but malformed.
    let malformed = || Notification::open(OpenError::Unspecific, &[]);
    let (mut rest, extended) = parameters_field(field).map_err(|_| malformed())?;
    let mut capabilities = Vec::new();
    while !rest.is_empty() {
        let (behind, (kind, value)) = parameter(rest, extended).map_err(|_| malformed())?;
        rest = behind;
        if kind != CAPABILITIES {
            return Err(Notification::open(OpenError::UnsupportedOptionalParameter, &[kind]));
        }
        Capability::parse_all(value, &mut capabilities).ok_or_else(malformed)?;
    }
    Ok(capabilities)
}

/// The octets of all parameters, and whether they are extended. What stands behind them, or is missing, is an error.
fn parameters_field(field: &[u8]) -> IResult<&[u8], bool> {
    let (rest, length) = be_u8(field)?;
    // RFC 9072 section 2: the type decides, and the one-octet length, unless it is zero, is not looked at.
    let (rest, length, extended) = match rest {
        [EXTENDED, rest @ ..] if length != 0 => {
            let (rest, length) = be_u16(rest)?;
            (rest, usize::from(length), true)
        }
        _ => (rest, usize::from(length), false),
    };
    let (behind, parameters) = take(length)(rest)?;
    nom::combinator::eof(behind)?;
    Ok((parameters, extended))
}

fn parameter(input: &[u8], extended: bool) -> IResult<&[u8], (u8, &[u8])> {
    let (rest, kind) = be_u8(input)?;
    let (rest, length) = if extended { be_u16(rest)? } else { be_u8.map(u16::from).parse(rest)? };
    let (rest, value) = take(length)(rest)?;
    Ok((rest, (kind, value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Version 4, AS 65001, hold time 90, 192.0.2.1; the parameters follow, with their length.
    fn open_with(parameters: &[u8]) -> Vec<u8> {
        [b"\x04\xfd\xe9\x00\x5a\xc0\x00\x02\x01", parameters].concat()
    }

    fn answer(body: &[u8]) -> (u8, u8, Vec<u8>) {
        let notification = Open::parse(body).unwrap_err();
        (notification.code, notification.subcode, notification.data.to_vec())
    }

    #[test]
    fn each_fault_of_the_fixed_part_has_its_answer() {
        for (body, subcode, data) in [
            (&b"\x03\xfd\xe9\x00\x5a\xc0\x00\x02\x01\x00"[..], 1, &b"\x00\x04"[..]),
            (b"\x05\xfd\xe9\x00\x5a\xc0\x00\x02\x01\x00", 1, b"\x00\x04"),
            (b"\x04\x00\x00\x00\x5a\xc0\x00\x02\x01\x00", 2, b"\x00\x00\x00\x00"),
            (b"\x04\x5b\xa0\x00\x5a\xc0\x00\x02\x01\x00", 2, b"\x00\x00\x5b\xa0"),
            (b"\x04\xfd\xe9\x00\x01\xc0\x00\x02\x01\x00", 6, b"\x00\x01"),
            (b"\x04\xfd\xe9\x00\x02\xc0\x00\x02\x01\x00", 6, b"\x00\x02"),
            (b"\x04\xfd\xe9\x00\x5a\x00\x00\x00\x00\x00", 3, b"\x00\x00\x00\x00"),
            (b"\x04\xfd\xe9\x00\x5a\xc0", 0, b""),
        ] {
            assert_eq!(answer(body), (2, subcode, data.to_vec()), "{body:02x?}");
        }
    }

    #[test]
    fn hold_times_of_zero_and_of_three_and_more_seconds_are_accepted() {
        for seconds in [0, 3, 90, 65535] {
            let mut body = open_with(b"\x00");
            body[3..5].copy_from_slice(&u16::to_be_bytes(seconds));
            assert_eq!(Open::parse(&body).unwrap().hold_time.seconds(), seconds);
        }
    }

    #[test]
    fn the_four_octet_number_counts_and_must_be_one_that_somebody_may_have() {
        let open = Open::parse(&open_with(b"\x08\x02\x06\x41\x04\x00\x01\x00\x00")).unwrap();
        assert_eq!(open.asn, Asn(65536));
        assert!(open.has_four_octet_as());
        for asn in [0u32, 23456] {
            let parameters = [&b"\x08\x02\x06\x41\x04"[..], &asn.to_be_bytes()].concat();
            assert_eq!(answer(&open_with(&parameters)), (2, 2, asn.to_be_bytes().to_vec()));
        }
    }

    #[test]
    fn parameters_read_the_same_in_one_in_several_and_extended() {
        let expected = [Capability::RouteRefresh, Capability::FourOctetAs(Asn(65001)), Capability::RouteRefresh];
        for parameters in [
            &b"\x0c\x02\x0a\x02\x00\x41\x04\x00\x00\xfd\xe9\x02\x00"[..],
            b"\x0e\x02\x02\x02\x00\x02\x08\x41\x04\x00\x00\xfd\xe9\x02\x00",
            b"\x10\x02\x02\x02\x00\x02\x00\x02\x08\x41\x04\x00\x00\xfd\xe9\x02\x00",
            b"\xff\xff\x00\x0d\x02\x00\x0a\x02\x00\x41\x04\x00\x00\xfd\xe9\x02\x00",
            // RFC 9072 section 2: any length but 0 in the place of 255.
            b"\x01\xff\x00\x13\x02\x00\x02\x02\x00\x02\x00\x00\x02\x00\x08\x41\x04\x00\x00\xfd\xe9\x02\x00",
        ] {
            let open = Open::parse(&open_with(parameters)).unwrap();
            assert_eq!(open.capabilities, expected, "{parameters:02x?}");
        }
    }

    #[test]
    fn parameters_cut_at_any_octet_are_malformed_and_never_accepted() {
        for whole in [
            &b"\x0c\x02\x0a\x02\x00\x41\x04\x00\x00\xfd\xe9\x02\x00"[..],
            b"\xff\xff\x00\x0d\x02\x00\x0a\x02\x00\x41\x04\x00\x00\xfd\xe9\x02\x00",
        ] {
            assert!(Open::parse(&open_with(whole)).is_ok());
            for cut in 0..whole.len() {
                assert_eq!(answer(&open_with(&whole[..cut])), (2, 0, Vec::new()), "cut at {cut}");
            }
            let longer = [whole, b"\x00"].concat();
            assert_eq!(answer(&open_with(&longer)), (2, 0, Vec::new()), "an octet behind the parameters");
        }
    }

    #[test]
    fn parameters_that_are_not_capabilities_are_refused() {
        for (parameters, kind) in [
            (&b"\x03\x01\x01\x00"[..], 1),
            (b"\x02\x03\x00", 3),
            (b"\x04\x02\x00\xff\x00", 255),
            (b"\xff\xff\x00\x03\xff\x00\x00", 255),
        ] {
            assert_eq!(answer(&open_with(parameters)), (2, 4, vec![kind]), "{parameters:02x?}");
        }
    }

    #[test]
    fn no_multiprotocol_capability_means_ipv4_unicast() {
        let families =
            |parameters: &[u8]| Open::parse(&open_with(parameters)).unwrap().families().iter().collect::<Vec<_>>();
        assert_eq!(families(b"\x00"), [Family::Ipv4Unicast]);
        assert_eq!(families(b"\x08\x02\x06\x01\x04\x00\x02\x00\x01"), [Family::Ipv6Unicast]);
        assert_eq!(families(b"\x08\x02\x06\x01\x04\x00\x19\x00\x46"), []);
    }

    #[test]
    fn the_last_graceful_restart_capability_counts() {
        let open = Open::parse(&open_with(b"\x0a\x02\x08\x40\x02\x00\x05\x40\x02\x00\x09")).unwrap();
        assert_eq!(open.graceful_restart().map(|restart| restart.restart_seconds), Some(9));
    }

    #[test]
    fn capabilities_beyond_255_octets_are_sent_extended() {
        let unknown = |octets: usize| Capability::Unknown { code: 75, value: vec![b'x'; octets].into() };
        for (octets, extended) in [(245, false), (246, true), (255, true)] {
            let open = Open {
                asn: Asn(4_200_000_000),
                hold_time: HoldTime::default(),
                router_id: RouterId(Ipv4Addr::new(192, 0, 2, 1)),
                capabilities: vec![Capability::FourOctetAs(Asn(4_200_000_000)), unknown(octets)],
            };
            let message = open.encode();
            let body = &message[super::super::HEADER_LEN..];
            assert_eq!(body[1..3], [0x5b, 0xa0], "AS_TRANS stands for what does not fit");
            assert_eq!(body[10] == EXTENDED, extended, "{octets} octets");
            assert_eq!(Open::parse(body), Ok(open));
        }
    }
}
