//! The nouns of BGP, each parsed once at the door and never checked again inside.

mod next_hop;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnetwork::IpNetwork;

pub use next_hop::{Interface, LinkLocal, NextHop};

/// An autonomous system number, four octets (RFC 6793).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asn(pub u32);

impl Asn {
    /// What a two-octet field holds in place of a number that does not fit (RFC 6793 section 2).
    pub const TRANS: Self = Self(23456);

    /// Whether it is for private use (RFC 6996 section 5).
    #[must_use]
    pub fn is_private(self) -> bool {
        matches!(self.0, 64512..=65534 | 4_200_000_000..=4_294_967_294)
    }

    /// The number as a two-octet field carries it: itself, or `AS_TRANS`.
    #[must_use]
    pub fn as_two_octets(self) -> u16 {
        u16::try_from(self.0).unwrap_or(23456)
    }
}

impl fmt::Display for Asn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A BGP Identifier: four octets, not zero, unique in its AS (RFC 6286).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouterId(pub Ipv4Addr);

impl fmt::Display for RouterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A route reflector's cluster (RFC 4456 section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub Ipv4Addr);

/// Tells apart several paths to one prefix from one peer (RFC 7911); 0 where ADD-PATH is not negotiated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathId(pub u32);

/// Which configured peer: a small number that its owner gives and keeps for as long as the peer is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u16);

impl PeerId {
    /// The speaker itself, as the source of what it originates.
    pub const LOCAL: Self = Self(u16::MAX);
}

/// A hold time: 0 (no keepalives) or 3 to 65535 seconds (RFC 4271 section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HoldTime(u16);

impl HoldTime {
    /// `None` for 1 and 2, which RFC 4271 forbids.
    #[must_use]
    pub fn from_seconds(seconds: u16) -> Option<Self> {
        (seconds == 0 || seconds >= 3).then_some(Self(seconds))
    }

    /// Seconds; 0 means that neither side sends keepalives.
    #[must_use]
    pub fn seconds(self) -> u16 {
        self.0
    }
}

impl Default for HoldTime {
    /// 90 seconds, the value RFC 4271 section 10 suggests.
    fn default() -> Self {
        Self(90)
    }
}

/// An address family that Linnet speaks. The parser is closed to all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// AFI 1, SAFI 1.
    Ipv4Unicast,
    /// AFI 2, SAFI 1.
    Ipv6Unicast,
}

impl Family {
    /// All of them, in the order in which tables and messages list them.
    pub const ALL: [Self; 2] = [Self::Ipv4Unicast, Self::Ipv6Unicast];

    /// The Address Family Identifier (IANA "Address Family Numbers").
    #[must_use]
    pub fn afi(self) -> u16 {
        match self {
            Self::Ipv4Unicast => 1,
            Self::Ipv6Unicast => 2,
        }
    }

    /// The Subsequent Address Family Identifier (IANA "SAFI Namespace").
    #[must_use]
    pub fn safi(self) -> u8 {
        1
    }

    /// The family that this pair names, if Linnet speaks it.
    #[must_use]
    pub fn from_afi_safi(afi: u16, safi: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.afi() == afi && family.safi() == safi)
    }

    /// The name that configuration and the command line use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ipv4Unicast => "ipv4-unicast",
            Self::Ipv6Unicast => "ipv6-unicast",
        }
    }

    /// Bits of an address of this family.
    #[must_use]
    pub fn bits(self) -> u8 {
        match self {
            Self::Ipv4Unicast => 32,
            Self::Ipv6Unicast => 128,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of families.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FamilySet(u8);

impl FamilySet {
    /// None.
    pub const EMPTY: Self = Self(0);

    /// Whether `family` is in the set.
    #[must_use]
    pub fn contains(self, family: Family) -> bool {
        self.0 & (1 << family as u8) != 0
    }

    /// Adds `family`.
    pub fn insert(&mut self, family: Family) {
        self.0 |= 1 << family as u8;
    }

    /// Takes `family` out.
    pub fn remove(&mut self, family: Family) {
        self.0 &= !(1 << family as u8);
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The families, in the order of [`Family::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Family> {
        Family::ALL.into_iter().filter(move |family| self.contains(*family))
    }
}

impl FromIterator<Family> for FamilySet {
    fn from_iter<I: IntoIterator<Item = Family>>(families: I) -> Self {
        let mut set = Self::EMPTY;
        families.into_iter().for_each(|family| set.insert(family));
        set
    }
}

/// An IPv4 or IPv6 prefix in canonical form: all bits behind its length are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Prefix {
    /// An IPv4 prefix, 0 to 32 bits.
    V4(Ipv4Prefix),
    /// An IPv6 prefix, 0 to 128 bits.
    V6(Ipv6Prefix),
}

/// An IPv4 prefix in canonical form; by default the default route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ipv4Prefix {
    address: u32,
    length: u8,
}

/// An IPv6 prefix in canonical form; by default the default route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ipv6Prefix {
    // Two words and not a u128, whose 16-byte alignment would make every prefix 32 bytes long.
    high: u64,
    low: u64,
    length: u8,
}

impl Ipv4Prefix {
    /// The prefix of `address` that is `length` bits long, host bits cleared; `None` above 32 bits.
    #[must_use]
    pub fn new(address: Ipv4Addr, length: u8) -> Option<Self> {
        let mask = u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0);
        (length <= 32).then_some(Self { address: u32::from(address) & mask, length })
    }

    /// The network address.
    #[must_use]
    pub fn address(self) -> Ipv4Addr {
        Ipv4Addr::from(self.address)
    }

    /// 0 to 32 bits.
    #[must_use]
    pub fn length(self) -> u8 {
        self.length
    }
}

impl Ipv6Prefix {
    /// The prefix of `address` that is `length` bits long, host bits cleared; `None` above 128 bits.
    #[must_use]
    pub fn new(address: Ipv6Addr, length: u8) -> Option<Self> {
        let mask = u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0);
        let bits = u128::from(address) & mask;
        (length <= 128).then_some(Self { high: (bits >> 64) as u64, low: bits as u64, length })
    }

    /// The network address.
    #[must_use]
    pub fn address(self) -> Ipv6Addr {
        Ipv6Addr::from(u128::from(self.high) << 64 | u128::from(self.low))
    }

    /// 0 to 128 bits.
    #[must_use]
    pub fn length(self) -> u8 {
        self.length
    }
}

impl Prefix {
    /// The prefix of `address` that is `length` bits long, host bits cleared; `None` if the address has fewer bits.
    #[must_use]
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        match address {
            IpAddr::V4(address) => Ipv4Prefix::new(address, length).map(Self::V4),
            IpAddr::V6(address) => Ipv6Prefix::new(address, length).map(Self::V6),
        }
    }

    /// The network address.
    #[must_use]
    pub fn address(self) -> IpAddr {
        match self {
            Self::V4(prefix) => IpAddr::V4(prefix.address()),
            Self::V6(prefix) => IpAddr::V6(prefix.address()),
        }
    }

    /// Length in bits.
    #[must_use]
    pub fn length(self) -> u8 {
        match self {
            Self::V4(prefix) => prefix.length,
            Self::V6(prefix) => prefix.length,
        }
    }

    /// The unicast family that the prefix belongs to.
    #[must_use]
    pub fn family(self) -> Family {
        match self {
            Self::V4(_) => Family::Ipv4Unicast,
            Self::V6(_) => Family::Ipv6Unicast,
        }
    }

    /// Whether every address of `other` is in this prefix (a prefix contains itself).
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.length() <= other.length()
            && self.family() == other.family()
            && Self::new(other.address(), self.length()) == Some(self)
    }
}

impl From<Prefix> for IpNetwork {
    fn from(prefix: Prefix) -> Self {
        // The length was checked when the prefix was made, so the fallback (a host route) is never taken.
        IpNetwork::new(prefix.address(), prefix.length()).unwrap_or_else(|_| IpNetwork::from(prefix.address()))
    }
}

impl From<IpNetwork> for Prefix {
    /// Clears host bits, which `IpNetwork` keeps.
    fn from(network: IpNetwork) -> Self {
        let bits = network.prefix();
        match network.ip() {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
                Self::V4(Ipv4Prefix { address: u32::from(address) & mask, length: bits })
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
                let kept = u128::from(address) & mask;
                Self::V6(Ipv6Prefix { high: (kept >> 64) as u64, low: kept as u64, length: bits })
            }
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address(), self.length())
    }
}

impl FromStr for Prefix {
    type Err = ipnetwork::IpNetworkError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<IpNetwork>().map(Self::from)
    }
}

/// One entry of network layer reachability information: a prefix and, under ADD-PATH, which of its paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nlri {
    /// What is reached or withdrawn.
    pub prefix: Prefix,
    /// 0 where ADD-PATH is not negotiated.
    pub path_id: PathId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_has_no_host_bits_however_it_was_made() {
        for (text, shown) in
            [("10.0.0.1/24", "10.0.0.0/24"), ("1.2.3.4/0", "0.0.0.0/0"), ("fd00::1/64", "fd00::/64"), ("::1/0", "::/0")]
        {
            assert_eq!(text.parse::<Prefix>().unwrap().to_string(), shown);
        }
        assert_eq!(Prefix::new("10.0.0.1".parse().unwrap(), 33), None);
    }

    #[test]
    fn the_private_numbers_are_those_of_rfc_6996() {
        for (number, private) in [
            (64511, false),
            (64512, true),
            (65534, true),
            (65535, false),
            (4_199_999_999, false),
            (4_200_000_000, true),
            (4_294_967_294, true),
            (4_294_967_295, false),
        ] {
            assert_eq!(Asn(number).is_private(), private, "{number}");
        }
    }

    #[test]
    fn a_prefix_is_as_small_as_the_rib_counts_on() {
        assert_eq!(size_of::<Ipv4Prefix>(), 8);
        assert_eq!(size_of::<Ipv6Prefix>(), 24);
    }

    #[test]
    fn containment_is_by_bits_and_family() {
        let prefix = |text: &str| text.parse::<Prefix>().unwrap();
        for (outer, inner, holds) in [
            ("10.0.0.0/8", "10.2.0.0/16", true),
            ("10.0.0.0/8", "10.0.0.0/8", true),
            ("10.0.0.0/16", "10.0.0.0/8", false),
            ("0.0.0.0/0", "fd00::/64", false),
            ("fd00::/16", "fd00:1::/32", true),
        ] {
            assert_eq!(prefix(outer).contains(prefix(inner)), holds, "{outer} {inner}");
        }
    }
}
