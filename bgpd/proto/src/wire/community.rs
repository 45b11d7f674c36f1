//! Communities: standard (RFC 1997), extended (RFC 4360) and large (RFC 8092), as octets and as people write them.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use crate::types::Asn;

/// A standard community. Written `65001:100`, or by name if it is well known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Community(pub u32);

/// An extended community, eight octets as they stand on the wire. Written `rt:65001:1` (route target) or `soo:65001:1`
/// (site of origin), where the first number may be an AS, an AS with an `L` behind it (four octets though two would do) or
/// an IPv4 address; `lb:65001:10G` (link bandwidth in bits per second; `lb-transitive:` for its transitive type); all others
/// as `0x` and 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtendedCommunity(pub [u8; 8]);

/// A large community. Written `65001:1:2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LargeCommunity {
    /// Global Administrator, an AS number.
    pub global: u32,
    /// Local Data Part 1.
    pub local1: u32,
    /// Local Data Part 2.
    pub local2: u32,
}

/// Text that is no community of the wanted kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {wanted}")]
pub struct NotACommunity {
    /// What was written.
    pub text: String,
    /// What it should have been, with an example.
    pub wanted: &'static str,
}

/// IANA "BGP Well-known Communities", of those that change what a speaker does.
const WELL_KNOWN: [(Community, &str); 9] = [
    (Community::GRACEFUL_SHUTDOWN, "graceful-shutdown"),
    (Community(0xffff_0001), "accept-own"),
    (Community::LLGR_STALE, "llgr-stale"),
    (Community::NO_LLGR, "no-llgr"),
    (Community::BLACKHOLE, "blackhole"),
    (Community::NO_EXPORT, "no-export"),
    (Community::NO_ADVERTISE, "no-advertise"),
    (Community::NO_EXPORT_SUBCONFED, "no-export-subconfed"),
    (Community::NO_PEER, "no-peer"),
];

impl Community {
    /// A route of a peer that has been away for longer than it restarts: the last choice (RFC 9494 section 3.2).
    pub const LLGR_STALE: Self = Self(0xffff_0006);
    /// A route that is not to become a long-lived stale one (RFC 9494 section 3.3).
    pub const NO_LLGR: Self = Self(0xffff_0007);
    /// RFC 8326: the route is about to go; prefer any other.
    pub const GRACEFUL_SHUTDOWN: Self = Self(0xffff_0000);
    /// RFC 7999: drop what goes there.
    pub const BLACKHOLE: Self = Self(0xffff_029a);
    /// RFC 1997: not to external peers.
    pub const NO_EXPORT: Self = Self(0xffff_ff01);
    /// RFC 1997: to no peer.
    pub const NO_ADVERTISE: Self = Self(0xffff_ff02);
    /// RFC 1997: not to external peers, those of a confederation included.
    pub const NO_EXPORT_SUBCONFED: Self = Self(0xffff_ff03);
    /// RFC 3765: need not go to bilateral peers. Only filters look at it.
    pub const NO_PEER: Self = Self(0xffff_ff04);
}

impl ExtendedCommunity {
    /// RFC 4360 section 2: one that stays in its AS has this bit.
    #[must_use]
    pub fn is_transitive(self) -> bool {
        self.0[0] & 0x40 == 0
    }

    /// Link bandwidth (draft-ietf-idr-link-bandwidth section 2), non-transitive. `asn`: who says so.
    #[must_use]
    pub fn link_bandwidth(asn: Asn, bandwidth: Bandwidth) -> Self {
        let ([a, b], [c, d, e, g]) = (asn.as_two_octets().to_be_bytes(), bandwidth.octets_a_second().to_be_bytes());
        Self([NON_TRANSITIVE, LINK_BANDWIDTH, a, b, c, d, e, g])
    }

    /// Octets a second, if it is a link bandwidth, of either type, that makes sense: more than nothing, and finite.
    #[must_use]
    pub fn bandwidth(self) -> Option<f32> {
        let [kind, subtype, _, _, c, d, e, g] = self.0;
        let bandwidth = f32::from_be_bytes([c, d, e, g]);
        ((kind | NON_TRANSITIVE, subtype) == (NON_TRANSITIVE, LINK_BANDWIDTH)
            && bandwidth.is_finite()
            && bandwidth > 0.0)
            .then_some(bandwidth)
    }

    /// Its parts, if it is one of those with a name.
    #[must_use]
    pub fn parts(self) -> Option<ExtendedParts> {
        let [kind, subtype, a, b, c, d, e, g] = self.0;
        let (short, long) = (u32::from(u16::from_be_bytes([a, b])), u32::from_be_bytes([a, b, c, d]));
        let name = match SUBTYPES.iter().find(|(code, _)| *code == subtype) {
            Some((_, name)) => *name,
            None if (kind | NON_TRANSITIVE, subtype) == (NON_TRANSITIVE, LINK_BANDWIDTH) => {
                return Some(ExtendedParts { name: "lb", administrator: Administrator::As(Asn(short)), number: None });
            }
            None => return None,
        };
        let number = u32::from(u16::from_be_bytes([e, g]));
        let (administrator, number) = match kind {
            TWO_OCTET_AS => (Administrator::As(Asn(short)), u32::from_be_bytes([c, d, e, g])),
            IPV4 => (Administrator::Address(Ipv4Addr::from(long)), number),
            FOUR_OCTET_AS => (Administrator::As(Asn(long)), number),
            _ => return None,
        };
        Some(ExtendedParts { name, administrator, number: Some(number) })
    }
}

/// What a named extended community says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtendedParts {
    /// `rt`, `soo` or `lb`.
    pub name: &'static str,
    /// Who gave the number its meaning.
    pub administrator: Administrator,
    /// `None` for a link bandwidth, which is no whole number.
    pub number: Option<u32>,
}

/// The Global Administrator of an extended community.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Administrator {
    /// An AS, in two octets or four.
    As(Asn),
    /// An IPv4 address.
    Address(Ipv4Addr),
}

/// A bandwidth in bits a second, as people write it: `10G`, `400M`, `1500000`. At most [`Bandwidth::MOST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bandwidth(u64);

impl Bandwidth {
    /// A thousand terabits a second.
    pub const MOST: u64 = 1_000_000_000_000_000;

    /// `None` for 0 and above [`Bandwidth::MOST`].
    #[must_use]
    pub fn from_bits(bits: u64) -> Option<Self> {
        (1..=Self::MOST).contains(&bits).then_some(Self(bits))
    }

    /// Bits a second.
    #[must_use]
    pub fn bits(self) -> u64 {
        self.0
    }

    /// As the community has it.
    #[must_use]
    pub fn octets_a_second(self) -> f32 {
        (self.0 as f64 / 8.0) as f32
    }
}

/// Suffixes of a bandwidth, the largest first.
const SUFFIXES: [(u64, char); 4] = [(1_000_000_000_000, 'T'), (1_000_000_000, 'G'), (1_000_000, 'M'), (1_000, 'K')];

impl fmt::Display for Bandwidth {
    /// With the largest suffix that leaves a whole number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SUFFIXES.iter().find(|(unit, _)| self.0.is_multiple_of(*unit)) {
            Some((unit, suffix)) => write!(f, "{}{suffix}", self.0 / unit),
            None => self.0.fmt(f),
        }
    }
}

impl FromStr for Bandwidth {
    type Err = NotACommunity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let suffix = SUFFIXES.iter().find_map(|(unit, suffix)| Some((text.strip_suffix(*suffix)?, *unit)));
        let (digits, unit) = suffix.unwrap_or((text, 1));
        let bits = decimal::<u64>(digits).and_then(|number| number.checked_mul(unit));
        bits.and_then(Self::from_bits).ok_or_else(|| NotACommunity {
            text: text.to_owned(),
            wanted: "a bandwidth in bits a second (`10G`, `400M`, `1500000`; at most `1000T`)",
        })
    }
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match WELL_KNOWN.iter().find(|(community, _)| community == self) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "{}:{}", self.0 >> 16, self.0 & 0xffff),
        }
    }
}

impl FromStr for Community {
    type Err = NotACommunity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some((community, _)) = WELL_KNOWN.iter().find(|(_, name)| *name == text) {
            return Ok(*community);
        }
        let parts = |(high, low): (&str, &str)| {
            Some(Self(u32::from(decimal::<u16>(high)?) << 16 | u32::from(decimal::<u16>(low)?)))
        };
        text.split_once(':').and_then(parts).ok_or_else(|| NotACommunity {
            text: text.to_owned(),
            wanted: "a community: two numbers up to 65535 (`65001:100`) or a well-known name (`no-export`)",
        })
    }
}

impl fmt::Display for LargeCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.global, self.local1, self.local2)
    }
}

impl FromStr for LargeCommunity {
    type Err = NotACommunity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let mut parts = text.split(':').map(decimal::<u32>);
            let community = Self { global: parts.next()??, local1: parts.next()??, local2: parts.next()?? };
            parts.next().is_none().then_some(community)
        };
        parse().ok_or_else(|| NotACommunity {
            text: text.to_owned(),
            wanted: "a large community: three numbers up to 4294967295 (`65001:1:2`)",
        })
    }
}

impl LargeCommunity {
    pub(crate) fn from_octets(octets: [u8; 12]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = octets;
        Self {
            global: u32::from_be_bytes([a, b, c, d]),
            local1: u32::from_be_bytes([e, f, g, h]),
            local2: u32::from_be_bytes([i, j, k, l]),
        }
    }

    pub(crate) fn octets(self) -> [u8; 12] {
        let mut octets = [0; 12];
        octets[..4].copy_from_slice(&self.global.to_be_bytes());
        octets[4..8].copy_from_slice(&self.local1.to_be_bytes());
        octets[8..].copy_from_slice(&self.local2.to_be_bytes());
        octets
    }
}

/// Subtypes that have a name, for the three types whose value is an administrator and a number (RFC 4360 section 4 and 5).
const SUBTYPES: [(u8, &str); 2] = [(0x02, "rt"), (0x03, "soo")];
/// Type 0x00: an AS of two octets, a number of four (RFC 4360 section 3.1).
const TWO_OCTET_AS: u8 = 0x00;
/// Type 0x01: an IPv4 address, a number of two octets (RFC 4360 section 3.2).
const IPV4: u8 = 0x01;
/// Type 0x02: an AS of four octets, a number of two (RFC 5668 section 2).
const FOUR_OCTET_AS: u8 = 0x02;
/// Type 0x40: as 0x00, and stays in its AS (RFC 4360 section 2).
const NON_TRANSITIVE: u8 = 0x40;
/// Subtype of types 0x40 and 0x00 (draft-ietf-idr-link-bandwidth): an AS of two octets, octets a second as a float.
const LINK_BANDWIDTH: u8 = 0x04;

impl fmt::Display for ExtendedCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [kind, subtype, a, b, c, d, e, g] = self.0;
        let name = SUBTYPES.iter().find(|(code, _)| *code == subtype).map(|(_, name)| *name);
        let (administrator, number) = (u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes([e, g]));
        match (kind, name) {
            (TWO_OCTET_AS, Some(name)) => {
                write!(f, "{name}:{}:{}", u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, g]))
            }
            (IPV4, Some(name)) => write!(f, "{name}:{}:{number}", Ipv4Addr::from(administrator)),
            (FOUR_OCTET_AS, Some(name)) => {
                // Without the mark a small number would read back as type 0x00.
                let mark = if administrator <= u32::from(u16::MAX) { "L" } else { "" };
                write!(f, "{name}:{administrator}{mark}:{number}")
            }
            _ => match whole_bandwidth(*self) {
                Some(bandwidth) => {
                    let name = if kind == NON_TRANSITIVE { "lb" } else { "lb-transitive" };
                    write!(f, "{name}:{}:{bandwidth}", u16::from_be_bytes([a, b]))
                }
                None => write!(f, "0x{:016x}", u64::from_be_bytes(self.0)),
            },
        }
    }
}

impl FromStr for ExtendedCommunity {
    type Err = NotACommunity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        hexadecimal(text).or_else(|| bandwidth(text)).or_else(|| named(text)).map(Self).ok_or_else(|| NotACommunity {
            text: text.to_owned(),
            wanted: "an extended community (`rt:65001:1`, `soo:192.0.2.1:1`, `lb:65001:10G`, or `0x` and 16 hexadecimal digits)",
        })
    }
}

/// A link bandwidth that is a whole number of bits a second, so that its text reads back to it. A float has 24 bits: what was
/// written as `25G` is 24,999,999,488 bits a second there, and of what reads back to it, the roundest is meant.
fn whole_bandwidth(community: ExtendedCommunity) -> Option<Bandwidth> {
    let octets = community.bandwidth()?;
    let bits = f64::from(octets) * 8.0;
    let whole = bits.fract() == 0.0 && bits <= Bandwidth::MOST as f64;
    let exact = whole.then(|| Bandwidth::from_bits(bits as u64))??;
    let rounded = |unit: u64| Bandwidth::from_bits((bits / unit as f64).round() as u64 * unit);
    let round = SUFFIXES.iter().find_map(|(unit, _)| rounded(*unit).filter(|it| it.octets_a_second() == octets));
    Some(round.unwrap_or(exact))
}

fn bandwidth(text: &str) -> Option<[u8; 8]> {
    let (name, rest) = text.split_once(':')?;
    let (asn, bandwidth) = rest.split_once(':')?;
    let asn = Asn(u32::from(decimal::<u16>(asn)?));
    let ExtendedCommunity([kind, rest @ ..]) = ExtendedCommunity::link_bandwidth(asn, bandwidth.parse().ok()?);
    let kind = match name {
        "lb" => kind,
        "lb-transitive" => TWO_OCTET_AS,
        _ => return None,
    };
    let [subtype, a, b, c, d, e, g] = rest;
    Some([kind, subtype, a, b, c, d, e, g])
}

fn hexadecimal(text: &str) -> Option<[u8; 8]> {
    let digits = text.strip_prefix("0x").filter(|digits| digits.len() == 16)?;
    let plain = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    plain.then(|| u64::from_str_radix(digits, 16).ok().map(u64::to_be_bytes))?
}

fn named(text: &str) -> Option<[u8; 8]> {
    let mut parts = text.split(':');
    let (name, administrator, number) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let (subtype, _) = SUBTYPES.iter().find(|(_, known)| *known == name)?;
    let with_short_number = |kind: u8, administrator: [u8; 4]| {
        let ([a, b, c, d], [e, g]) = (administrator, decimal::<u16>(number)?.to_be_bytes());
        Some([kind, *subtype, a, b, c, d, e, g])
    };
    if let Ok(address) = administrator.parse::<Ipv4Addr>() {
        return with_short_number(IPV4, address.octets());
    }
    if let Some(asn) = administrator.strip_suffix('L') {
        return with_short_number(FOUR_OCTET_AS, decimal::<u32>(asn)?.to_be_bytes());
    }
    match u16::try_from(decimal::<u32>(administrator)?) {
        Ok(asn) => {
            let ([a, b], [c, d, e, g]) = (asn.to_be_bytes(), decimal::<u32>(number)?.to_be_bytes());
            Some([TWO_OCTET_AS, *subtype, a, b, c, d, e, g])
        }
        Err(_) => with_short_number(FOUR_OCTET_AS, decimal::<u32>(administrator)?.to_be_bytes()),
    }
}

/// A number of digits alone: `str::parse` takes a sign as well.
pub(crate) fn decimal<T: FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|digit| digit.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn well_known_communities_have_names_and_numbers() {
        for (text, value, shown) in [
            ("no-export", 0xffff_ff01, "no-export"),
            ("65535:65281", 0xffff_ff01, "no-export"),
            ("graceful-shutdown", 0xffff_0000, "graceful-shutdown"),
            ("blackhole", 0xffff_029a, "blackhole"),
            ("65535:666", 0xffff_029a, "blackhole"),
            ("65001:100", 0xfde9_0064, "65001:100"),
            ("0:0", 0, "0:0"),
        ] {
            let community: Community = text.parse().unwrap();
            assert_eq!((community.0, community.to_string()), (value, shown.to_owned()));
        }
    }

    #[test]
    fn extended_communities_read_as_engineers_write_them() {
        for (text, octets) in [
            ("rt:65001:1", [0x00, 0x02, 0xfd, 0xe9, 0, 0, 0, 1]),
            ("soo:65001:4294967295", [0x00, 0x03, 0xfd, 0xe9, 0xff, 0xff, 0xff, 0xff]),
            ("rt:192.0.2.1:7", [0x01, 0x02, 192, 0, 2, 1, 0, 7]),
            ("rt:4200000000:9", [0x02, 0x02, 0xfa, 0x56, 0xea, 0x00, 0, 9]),
            ("rt:65001L:9", [0x02, 0x02, 0, 0, 0xfd, 0xe9, 0, 9]),
            ("0x030c000000000008", [0x03, 0x0c, 0, 0, 0, 0, 0, 8]),
            ("lb:65001:10G", [0x40, 0x04, 0xfd, 0xe9, 0x4e, 0x95, 0x02, 0xf9]),
            // 24,999,999,488 and 99,999,997,952: the floats that are nearest.
            ("lb:65001:25G", [0x40, 0x04, 0xfd, 0xe9, 0x4f, 0x3a, 0x43, 0xb7]),
            ("lb:65001:100G", [0x40, 0x04, 0xfd, 0xe9, 0x50, 0x3a, 0x43, 0xb7]),
            ("lb-transitive:65001:8", [0x00, 0x04, 0xfd, 0xe9, 0x3f, 0x80, 0, 0]),
            // Not a number, and less than nothing.
            ("0x4004fde97fc00000", [0x40, 0x04, 0xfd, 0xe9, 0x7f, 0xc0, 0, 0]),
            ("0x4004fde9bf800000", [0x40, 0x04, 0xfd, 0xe9, 0xbf, 0x80, 0, 0]),
        ] {
            assert_eq!(text.parse(), Ok(ExtendedCommunity(octets)));
            assert_eq!(ExtendedCommunity(octets).to_string(), text);
        }
    }

    #[test]
    fn a_bandwidth_is_in_bits_for_people_and_in_octets_on_the_wire() {
        for (text, octets) in [("10G", 1.25e9), ("8", 1.0), ("400M", 5e7), ("1000T", 1.25e14)] {
            let bandwidth: Bandwidth = text.parse().unwrap();
            assert_eq!(bandwidth.octets_a_second(), octets);
            assert_eq!(bandwidth.to_string(), text);
            assert_eq!(ExtendedCommunity::link_bandwidth(Asn(70_000), bandwidth).bandwidth(), Some(octets));
        }
        for text in ["", "G", "0", "-1", "1.5G", "1001T", "10g", "10 G", "99999999999999999999"] {
            assert!(text.parse::<Bandwidth>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_community_is_refused_with_its_text() {
        for text in ["", "1", "65536:1", "1:65536", "-1:1", "+1:1", "1:2:3", "No-Export", "1:", ":1", " 1:1"] {
            assert_eq!(text.parse::<Community>().unwrap_err().text, text);
        }
        for text in ["1:2", "1:2:3:4", "1:2:4294967296", "1::2", "a:1:2"] {
            assert_eq!(text.parse::<LargeCommunity>().unwrap_err().text, text);
        }
        for text in [
            "rt:1",
            "rt:1:2:3",
            "xx:1:2",
            "rt:70000:65536",
            "rt:1.2.3.4:65536",
            "0x1",
            "0x+30c00000000008a",
            "lb:65001:0",
            "lb:65536:1",
        ] {
            assert_eq!(text.parse::<ExtendedCommunity>().unwrap_err().text, text);
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(standard: u32, large: [u32; 3], extended: [u8; 8], kind in 0..4u8, subtype in 1..5u8) {
            prop_assert_eq!(Community(standard).to_string().parse(), Ok(Community(standard)));
            let [global, local1, local2] = large;
            let large = LargeCommunity { global, local1, local2 };
            prop_assert_eq!(large.to_string().parse(), Ok(large));
            prop_assert_eq!(LargeCommunity::from_octets(large.octets()), large);
            let [.., a, b, c, d, e, f] = extended;
            let lb = [kind << 6 & 0x40, 4, a, b, c, d, e, f];
            for extended in [extended, [kind, subtype, a, b, c, d, e, f], [kind, subtype, 0, 0, c, d, e, f], lb] {
                let extended = ExtendedCommunity(extended);
                prop_assert_eq!(extended.to_string().parse(), Ok(extended));
            }
        }
    }
}
