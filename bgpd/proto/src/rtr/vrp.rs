//! A validated ROA payload: an AS that may originate a prefix, up to a length (RFC 6811 section 2).

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::types::{Asn, Ipv4Prefix, Ipv6Prefix, Prefix};

/// A validated ROA payload, in 24 bytes. They are ordered by family, prefix, longest length and AS.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vrp {
    v6: bool,
    /// An IPv4 address stands in the first four octets.
    address: [u8; 16],
    length: u8,
    max_length: u8,
    asn: Asn,
}

impl Vrp {
    /// `None` if `max_length` is shorter than the prefix or longer than an address. AS 0 is allowed: nobody may originate
    /// the prefix (RFC 6483 section 4).
    #[must_use]
    pub fn new(prefix: Prefix, max_length: u8, asn: Asn) -> Option<Self> {
        let mut address = [0; 16];
        match prefix {
            Prefix::V4(prefix) => address[..4].copy_from_slice(&prefix.address().octets()),
            Prefix::V6(prefix) => address = prefix.address().octets(),
        }
        let (length, v6) = (prefix.length(), matches!(prefix, Prefix::V6(_)));
        (length..=prefix.family().bits()).contains(&max_length).then_some(Self { v6, address, length, max_length, asn })
    }

    /// The prefix.
    #[must_use]
    pub fn prefix(&self) -> Prefix {
        let [a, b, c, d, ..] = self.address;
        // No longer than an address, which was checked when the value was made: the default route stands for nothing.
        if self.v6 {
            Prefix::V6(Ipv6Prefix::new(Ipv6Addr::from(self.address), self.length).unwrap_or_default())
        } else {
            Prefix::V4(Ipv4Prefix::new(Ipv4Addr::new(a, b, c, d), self.length).unwrap_or_default())
        }
    }

    /// The longest prefix that the AS may originate.
    #[must_use]
    pub fn max_length(&self) -> u8 {
        self.max_length
    }

    /// Who may.
    #[must_use]
    pub fn asn(&self) -> Asn {
        self.asn
    }
}

impl fmt::Display for Vrp {
    /// `10.0.0.0/8-24 AS64512`; without the longest length where it is the prefix's own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.prefix().fmt(f)?;
        if self.max_length != self.length {
            write!(f, "-{}", self.max_length)?;
        }
        write!(f, " AS{}", self.asn)
    }
}

impl fmt::Debug for Vrp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
