//! Communities: standard (RFC 1997), extended (RFC 4360) and large (RFC 8092), as octets and as people write them.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// A standard community. Written `65001:100`, or by name if it is well known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Community(pub u32);

/// An extended community, eight octets as they stand on the wire. Written `rt:65001:1` (route target) or `soo:65001:1`
/// (site of origin), where the first number may be an AS, an AS with an `L` behind it (four octets though two would do) or
/// an IPv4 address; all others as `0x` and 16 hexadecimal digits.
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
    (Community(0xffff_0006), "llgr-stale"),
    (Community(0xffff_0007), "no-llgr"),
    (Community::BLACKHOLE, "blackhole"),
    (Community::NO_EXPORT, "no-export"),
    (Community::NO_ADVERTISE, "no-advertise"),
    (Community::NO_EXPORT_SUBCONFED, "no-export-subconfed"),
    (Community(0xffff_ff04), "no-peer"),
];

impl Community {
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
            _ => write!(f, "0x{:016x}", u64::from_be_bytes(self.0)),
        }
    }
}

impl FromStr for ExtendedCommunity {
    type Err = NotACommunity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        hexadecimal(text).or_else(|| named(text)).map(Self).ok_or_else(|| NotACommunity {
            text: text.to_owned(),
            wanted: "an extended community (`rt:65001:1`, `soo:192.0.2.1:1` or `0x` and 16 hexadecimal digits)",
        })
    }
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
fn decimal<T: FromStr>(text: &str) -> Option<T> {
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
        ] {
            assert_eq!(text.parse(), Ok(ExtendedCommunity(octets)));
            assert_eq!(ExtendedCommunity(octets).to_string(), text);
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
        for text in ["rt:1", "rt:1:2:3", "xx:1:2", "rt:70000:65536", "rt:1.2.3.4:65536", "0x1", "0x+30c00000000008a"] {
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
            for extended in [extended, [kind, subtype, a, b, c, d, e, f], [kind, subtype, 0, 0, c, d, e, f]] {
                let extended = ExtendedCommunity(extended);
                prop_assert_eq!(extended.to_string().parse(), Ok(extended));
            }
        }
    }
}
