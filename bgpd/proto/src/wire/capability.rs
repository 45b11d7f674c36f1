//! Capabilities (RFC 5492): what one side of a session can do.

use bytes::Bytes;
use nom::bytes::complete::take;
use nom::number::complete::{be_u8, be_u16, be_u32};
use nom::{IResult, Parser};

use crate::types::{Asn, Family, FamilySet};

/// One capability of an OPEN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Code 1 (RFC 4760 section 8), a family that Linnet speaks.
    Multiprotocol(Family),
    /// Code 1, a family that it does not.
    UnknownFamily {
        /// Address Family Identifier.
        afi: u16,
        /// Subsequent Address Family Identifier.
        safi: u8,
    },
    /// Code 2 (RFC 2918).
    RouteRefresh,
    /// Code 5 (RFC 8950 section 4): families whose prefixes may have IPv6 next hops. Others that it names are left out.
    ExtendedNextHop(FamilySet),
    /// Code 6 (RFC 8654 section 3).
    ExtendedMessage,
    /// Code 9 (RFC 9234 section 4.1): the sender's role, known or not.
    Role(u8),
    /// Code 64 (RFC 4724 section 3).
    GracefulRestart(GracefulRestart),
    /// Code 65 (RFC 6793).
    FourOctetAs(Asn),
    /// Code 69 (RFC 7911 section 4). Families that Linnet does not speak are left out.
    AddPath(Vec<(Family, AddPath)>),
    /// Code 70 (RFC 7313 section 3.1).
    EnhancedRouteRefresh,
    /// Code 71 (RFC 9494 section 3.1). Families that Linnet does not speak are left out.
    LongLivedGracefulRestart(Vec<LongLived>),
    /// Any other, or a known one whose length is wrong: kept to be shown, otherwise ignored.
    Unknown {
        /// The capability code.
        code: u8,
        /// Its value.
        value: Bytes,
    },
}

/// The Graceful Restart capability (RFC 4724 section 3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GracefulRestart {
    /// R: the sender has restarted; its peer must not wait for its End-of-RIB.
    pub restarting: bool,
    /// N (RFC 8538).
    pub notification: bool,
    /// Seconds the sender asks its peer to wait for the session to come back, 0 to 4095.
    pub restart_seconds: u16,
    /// Families, and for each F: whether the sender kept forwarding across its restart. Those that Linnet does not speak
    /// are left out.
    pub families: Vec<(Family, bool)>,
}

/// What the Long-Lived Graceful Restart capability says of one family (RFC 9494 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongLived {
    /// Whose routes may become long-lived stale ones.
    pub family: Family,
    /// F: the sender kept forwarding across its restart.
    pub forwarding: bool,
    /// Seconds that its peer may keep stale routes beyond the restart time; 24 bits of them are sent.
    pub stale_seconds: u32,
}

/// Whether a speaker sends and takes several paths to one prefix of a family (RFC 7911 section 4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AddPath {
    /// It can send them.
    pub send: bool,
    /// It can receive them.
    pub receive: bool,
}

const MULTIPROTOCOL: u8 = 1;
const ROUTE_REFRESH: u8 = 2;
const EXTENDED_NEXT_HOP: u8 = 5;
const EXTENDED_MESSAGE: u8 = 6;
const ROLE: u8 = 9;
const GRACEFUL_RESTART: u8 = 64;
const FOUR_OCTET_AS: u8 = 65;
const ADD_PATH: u8 = 69;
const ENHANCED_ROUTE_REFRESH: u8 = 70;
const LONG_LIVED_GRACEFUL_RESTART: u8 = 71;

/// R, N and F of RFC 4724 section 3 and RFC 8538 section 2.
const RESTARTING: u16 = 0x8000;
const NOTIFICATION: u16 = 0x4000;
const FORWARDING: u8 = 0x80;

impl Capability {
    /// The capability code.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Multiprotocol(_) | Self::UnknownFamily { .. } => MULTIPROTOCOL,
            Self::RouteRefresh => ROUTE_REFRESH,
            Self::ExtendedNextHop(_) => EXTENDED_NEXT_HOP,
            Self::ExtendedMessage => EXTENDED_MESSAGE,
            Self::Role(_) => ROLE,
            Self::GracefulRestart(_) => GRACEFUL_RESTART,
            Self::FourOctetAs(_) => FOUR_OCTET_AS,
            Self::AddPath(_) => ADD_PATH,
            Self::EnhancedRouteRefresh => ENHANCED_ROUTE_REFRESH,
            Self::LongLivedGracefulRestart(_) => LONG_LIVED_GRACEFUL_RESTART,
            Self::Unknown { code, .. } => *code,
        }
    }

    /// Parses the value of a Capabilities optional parameter; `None` if a capability runs over its end.
    pub(super) fn parse_all(mut value: &[u8], into: &mut Vec<Self>) -> Option<()> {
        while !value.is_empty() {
            let (rest, capability) = tlv(value).ok()?;
            into.push(capability);
            value = rest;
        }
        Some(())
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Multiprotocol(family) => encode_family(family.afi(), family.safi(), out),
            Self::UnknownFamily { afi, safi } => encode_family(*afi, *safi, out),
            Self::RouteRefresh => out.extend_from_slice(&[ROUTE_REFRESH, 0]),
            Self::ExtendedNextHop(families) => encode_extended_next_hop(*families, out),
            Self::ExtendedMessage => out.extend_from_slice(&[EXTENDED_MESSAGE, 0]),
            Self::Role(role) => out.extend_from_slice(&[ROLE, 1, *role]),
            Self::GracefulRestart(restart) => restart.encode(out),
            Self::FourOctetAs(asn) => {
                out.extend_from_slice(&[FOUR_OCTET_AS, 4]);
                out.extend_from_slice(&asn.0.to_be_bytes());
            }
            Self::AddPath(families) => encode_add_path(families, out),
            Self::EnhancedRouteRefresh => out.extend_from_slice(&[ENHANCED_ROUTE_REFRESH, 0]),
            Self::LongLivedGracefulRestart(families) => encode_long_lived(families, out),
            // A longer value has no encoding; none can have been received either.
            Self::Unknown { value, .. } if value.len() > 255 => {}
            Self::Unknown { code, value } => {
                out.extend_from_slice(&[*code, value.len() as u8]);
                out.extend_from_slice(value);
            }
        }
    }
}

fn tlv(input: &[u8]) -> IResult<&[u8], Capability> {
    let (rest, (code, length)) = (be_u8, be_u8).parse(input)?;
    let (rest, value) = take(length)(rest)?;
    // RFC 5492 has no word for a capability that is malformed in itself. It is not a reason to refuse a session.
    let capability =
        known(code, value).unwrap_or_else(|| Capability::Unknown { code, value: Bytes::copy_from_slice(value) });
    Ok((rest, capability))
}

fn known(code: u8, value: &[u8]) -> Option<Capability> {
    match (code, value) {
        // The third octet is reserved: not looked at (RFC 4760 section 8).
        (MULTIPROTOCOL, &[afi_high, afi_low, _, safi]) => {
            let afi = u16::from_be_bytes([afi_high, afi_low]);
            Some(match Family::from_afi_safi(afi, safi) {
                Some(family) => Capability::Multiprotocol(family),
                None => Capability::UnknownFamily { afi, safi },
            })
        }
        (ROUTE_REFRESH, []) => Some(Capability::RouteRefresh),
        (ROLE, &[role]) => Some(Capability::Role(role)),
        (GRACEFUL_RESTART, value) => GracefulRestart::parse(value).map(Capability::GracefulRestart),
        (FOUR_OCTET_AS, value) => {
            let (rest, asn) = be_u32::<_, nom::error::Error<&[u8]>>(value).ok()?;
            rest.is_empty().then_some(Capability::FourOctetAs(Asn(asn)))
        }
        (ADD_PATH, value) => parse_add_path(value).map(Capability::AddPath),
        (EXTENDED_NEXT_HOP, value) => parse_extended_next_hop(value).map(Capability::ExtendedNextHop),
        (EXTENDED_MESSAGE, []) => Some(Capability::ExtendedMessage),
        (ENHANCED_ROUTE_REFRESH, []) => Some(Capability::EnhancedRouteRefresh),
        (LONG_LIVED_GRACEFUL_RESTART, value) => parse_long_lived(value).map(Capability::LongLivedGracefulRestart),
        _ => None,
    }
}

fn encode_family(afi: u16, safi: u8, out: &mut Vec<u8>) {
    let [high, low] = afi.to_be_bytes();
    out.extend_from_slice(&[MULTIPROTOCOL, 4, high, low, 0, safi]);
}

impl AddPath {
    /// Neither.
    pub const NONE: Self = Self { send: false, receive: false };

    /// 0 where there is nothing to say, which has no encoding.
    fn code(self) -> u8 {
        u8::from(self.receive) | u8::from(self.send) << 1
    }
}

/// A value other than 1, 2 and 3 makes the capability one that is not understood (RFC 7911 section 4).
fn parse_add_path(value: &[u8]) -> Option<Vec<(Family, AddPath)>> {
    let (tuples, rest) = value.as_chunks::<4>();
    let all_known = tuples.iter().all(|[.., send_receive]| (1..=3).contains(send_receive));
    let family = |&[afi_high, afi_low, safi, send_receive]: &[u8; 4]| {
        let family = Family::from_afi_safi(u16::from_be_bytes([afi_high, afi_low]), safi)?;
        Some((family, AddPath { send: send_receive & 2 != 0, receive: send_receive & 1 != 0 }))
    };
    (rest.is_empty() && all_known).then(|| tuples.iter().filter_map(family).collect())
}

fn encode_add_path(families: &[(Family, AddPath)], out: &mut Vec<u8>) {
    let said = families.iter().filter(|(_, what)| what.code() != 0).take(255 / 4);
    let start = out.len();
    out.extend_from_slice(&[ADD_PATH, 0]);
    for (family, what) in said {
        out.extend_from_slice(&family.afi().to_be_bytes());
        out.extend_from_slice(&[family.safi(), what.code()]);
    }
    out[start + 1] = (out.len() - start - 2) as u8;
}

/// Tuples of AFI, SAFI, flags and a stale time of 24 bits (RFC 9494 section 3.1).
fn parse_long_lived(value: &[u8]) -> Option<Vec<LongLived>> {
    let (tuples, rest) = value.as_chunks::<7>();
    let long_lived = |&[afi_high, afi_low, safi, flags, a, b, c]: &[u8; 7]| {
        let family = Family::from_afi_safi(u16::from_be_bytes([afi_high, afi_low]), safi)?;
        let stale_seconds = u32::from_be_bytes([0, a, b, c]);
        Some(LongLived { family, forwarding: flags & FORWARDING != 0, stale_seconds })
    };
    rest.is_empty().then(|| tuples.iter().filter_map(long_lived).collect())
}

fn encode_long_lived(families: &[LongLived], out: &mut Vec<u8>) {
    let families = &families[..families.len().min(255 / 7)];
    out.extend_from_slice(&[LONG_LIVED_GRACEFUL_RESTART, (7 * families.len()) as u8]);
    for said in families {
        let [_, a, b, c] = said.stale_seconds.min(0x00ff_ffff).to_be_bytes();
        out.extend_from_slice(&said.family.afi().to_be_bytes());
        out.extend_from_slice(&[said.family.safi(), if said.forwarding { FORWARDING } else { 0 }, a, b, c]);
    }
}

/// Triples of AFI, SAFI (both of the prefixes, two octets each) and the AFI of their next hops (RFC 8950 section 4).
fn parse_extended_next_hop(value: &[u8]) -> Option<FamilySet> {
    let (triples, rest) = value.as_chunks::<6>();
    let ipv6_next_hop = |[afi_high, afi_low, safi_high, safi_low, next_high, next_low]: &[u8; 6]| {
        let safi = u8::try_from(u16::from_be_bytes([*safi_high, *safi_low])).ok()?;
        let family = Family::from_afi_safi(u16::from_be_bytes([*afi_high, *afi_low]), safi)?;
        (u16::from_be_bytes([*next_high, *next_low]) == Family::Ipv6Unicast.afi()).then_some(family)
    };
    rest.is_empty().then(|| triples.iter().filter_map(ipv6_next_hop).collect())
}

fn encode_extended_next_hop(families: FamilySet, out: &mut Vec<u8>) {
    out.extend_from_slice(&[EXTENDED_NEXT_HOP, (6 * families.iter().count()) as u8]);
    for family in families.iter() {
        out.extend_from_slice(&family.afi().to_be_bytes());
        out.extend_from_slice(&u16::from(family.safi()).to_be_bytes());
        out.extend_from_slice(&Family::Ipv6Unicast.afi().to_be_bytes());
    }
}

impl GracefulRestart {
    fn parse(value: &[u8]) -> Option<Self> {
        let (mut rest, flags) = be_u16::<_, nom::error::Error<&[u8]>>(value).ok()?;
        let mut families = Vec::new();
        while !rest.is_empty() {
            let (behind, (afi, safi, flags)) =
                (be_u16::<_, nom::error::Error<&[u8]>>, be_u8, be_u8).parse(rest).ok()?;
            rest = behind;
            if let Some(family) = Family::from_afi_safi(afi, safi) {
                families.push((family, flags & FORWARDING != 0));
            }
        }
        Some(Self {
            restarting: flags & RESTARTING != 0,
            notification: flags & NOTIFICATION != 0,
            restart_seconds: flags & 0x0fff,
            families,
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let families = &self.families[..self.families.len().min((255 - 2) / 4)];
        out.extend_from_slice(&[GRACEFUL_RESTART, (2 + 4 * families.len()) as u8]);
        let flags = if self.restarting { RESTARTING } else { 0 }
            | if self.notification { NOTIFICATION } else { 0 }
            | self.restart_seconds.min(0x0fff);
        out.extend_from_slice(&flags.to_be_bytes());
        for (family, forwarding) in families {
            out.extend_from_slice(&family.afi().to_be_bytes());
            out.extend_from_slice(&[family.safi(), if *forwarding { FORWARDING } else { 0 }]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &[u8]) -> Option<Vec<Capability>> {
        let mut capabilities = Vec::new();
        Capability::parse_all(value, &mut capabilities).map(|()| capabilities)
    }

    fn unknown(code: u8, value: &'static [u8]) -> Capability {
        Capability::Unknown { code, value: Bytes::from_static(value) }
    }

    #[test]
    fn each_capability_reads_as_its_rfc_writes_it() {
        let ipv4 = || Capability::ExtendedNextHop([Family::Ipv4Unicast].into_iter().collect());
        let restart = GracefulRestart {
            restarting: true,
            notification: false,
            restart_seconds: 120,
            families: vec![(Family::Ipv4Unicast, true), (Family::Ipv6Unicast, false)],
        };
        for (octets, expected) in [
            (&b"\x01\x04\x00\x01\x00\x01"[..], Capability::Multiprotocol(Family::Ipv4Unicast)),
            (b"\x01\x04\x00\x02\xff\x01", Capability::Multiprotocol(Family::Ipv6Unicast)),
            (b"\x01\x04\x00\x19\x00\x46", Capability::UnknownFamily { afi: 25, safi: 70 }),
            (b"\x02\x00", Capability::RouteRefresh),
            (b"\x41\x04\x00\x01\x00\x00", Capability::FourOctetAs(Asn(65536))),
            (b"\x46\x00", Capability::EnhancedRouteRefresh),
            (b"\x06\x00", Capability::ExtendedMessage),
            (
                b"\x45\x10\x00\x01\x01\x01\x00\x02\x01\x02\x00\x19\x46\x03\x00\x01\x01\x03",
                Capability::AddPath(vec![
                    (Family::Ipv4Unicast, AddPath { send: false, receive: true }),
                    (Family::Ipv6Unicast, AddPath { send: true, receive: false }),
                    (Family::Ipv4Unicast, AddPath { send: true, receive: true }),
                ]),
            ),
            (
                b"\x47\x15\x00\x01\x01\x80\x01\x51\x80\x00\x19\x46\x80\x00\x00\x01\x00\x02\x01\x7f\xff\xff\xff",
                Capability::LongLivedGracefulRestart(vec![
                    LongLived { family: Family::Ipv4Unicast, forwarding: true, stale_seconds: 86_400 },
                    LongLived { family: Family::Ipv6Unicast, forwarding: false, stale_seconds: 0x00ff_ffff },
                ]),
            ),
            (b"\x47\x00", Capability::LongLivedGracefulRestart(Vec::new())),
            (b"\x09\x01\x03", Capability::Role(3)),
            (b"\x09\x01\xff", Capability::Role(255)),
            (b"\x05\x06\x00\x01\x00\x01\x00\x02", ipv4()),
            // Labelled and VPN prefixes, and IPv4 with an IPv4 next hop: nothing that is spoken here.
            (
                b"\x05\x18\x00\x01\x00\x04\x00\x02\x00\x01\x00\x80\x00\x02\x00\x01\x00\x01\x00\x02\x00\x01\x00\x01\x00\x01",
                ipv4(),
            ),
            (b"\x05\x06\x00\x01\x01\x01\x00\x02", Capability::ExtendedNextHop(FamilySet::EMPTY)),
            (b"\x05\x00", Capability::ExtendedNextHop(FamilySet::EMPTY)),
            (b"\x40\x0a\x80\x78\x00\x01\x01\x80\x00\x02\x01\x00", Capability::GracefulRestart(restart)),
            (
                b"\x40\x06\x4f\xff\x00\x01\x80\x80",
                Capability::GracefulRestart(GracefulRestart {
                    restarting: false,
                    notification: true,
                    restart_seconds: 4095,
                    families: Vec::new(),
                }),
            ),
        ] {
            assert_eq!(parse(octets), Some(vec![expected]), "{octets:02x?}");
        }
    }

    #[test]
    fn a_capability_of_a_wrong_length_is_kept_as_unknown() {
        for (octets, code, value) in [
            (&b"\x01\x03\x00\x01\x00"[..], 1, &b"\x00\x01\x00"[..]),
            (b"\x02\x01\x00", 2, b"\x00"),
            (b"\x40\x01\x80", 64, b"\x80"),
            (b"\x46\x02\x00\x01", 70, b"\x00\x01"),
            (b"\x06\x01\x00", 6, b"\x00"),
            // RFC 7911 section 4: a Send/Receive of 0 or above 3, in whichever tuple, and whatever the family.
            (b"\x45\x04\x00\x01\x01\x00", 69, b"\x00\x01\x01\x00"),
            (b"\x45\x08\x00\x01\x01\x03\x00\x19\x46\x04", 69, b"\x00\x01\x01\x03\x00\x19\x46\x04"),
            (b"\x45\x03\x00\x01\x01", 69, b"\x00\x01\x01"),
            (b"\x45\x05\x00\x01\x01\x01\x00", 69, b"\x00\x01\x01\x01\x00"),
            (b"\x47\x06\x00\x01\x01\x80\x00\x00", 71, b"\x00\x01\x01\x80\x00\x00"),
            (b"\x09\x00", 9, b""),
            (b"\x09\x02\x03\x03", 9, b"\x03\x03"),
            (b"\x40\x05\x80\x78\x00\x01\x01", 64, b"\x80\x78\x00\x01\x01"),
            (b"\x05\x05\x00\x01\x00\x01\x00", 5, b"\x00\x01\x00\x01\x00"),
            (b"\x41\x02\xfd\xe9", 65, b"\xfd\xe9"),
            (b"\x41\x05\x00\x00\x00\x01\x00", 65, b"\x00\x00\x00\x01\x00"),
            // Software version (draft-abraitis-bgp-version-capability) of length 0.
            (b"\x4b\x00", 75, b""),
        ] {
            assert_eq!(parse(octets), Some(vec![unknown(code, value)]), "{octets:02x?}");
        }
    }

    #[test]
    fn capabilities_cut_at_any_octet_but_between_two_do_not_parse() {
        let whole = b"\x01\x04\x00\x01\x00\x01\x02\x00\x41\x04\x00\x01\x00\x00";
        for cut in 0..=whole.len() {
            assert_eq!(parse(&whole[..cut]).is_some(), [0, 6, 8, 14].contains(&cut), "cut at {cut}");
        }
    }
}
