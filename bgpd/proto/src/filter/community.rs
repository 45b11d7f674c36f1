//! Communities of all three kinds in filters: values to set, and patterns with `*` and ranges to match and remove.
//!
//! The kind is told by the shape: `65001:100` standard, `64512:1:2` large, `rt:…`, `soo:…`, `lb:…` or `0x…` extended.

use std::fmt;
use std::str::FromStr;

use super::number::decimal;
use crate::types::Asn;
use crate::wire::attributes::Attributes;
use crate::wire::community::{Administrator, Community, ExtendedCommunity, LargeCommunity};

/// A community of any kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AnyCommunity {
    /// `65001:100`
    Standard(Community),
    /// `64512:1:2`
    Large(LargeCommunity),
    /// `rt:65001:1`
    Extended(ExtendedCommunity),
}

impl From<Community> for AnyCommunity {
    fn from(community: Community) -> Self {
        Self::Standard(community)
    }
}

impl From<LargeCommunity> for AnyCommunity {
    fn from(community: LargeCommunity) -> Self {
        Self::Large(community)
    }
}

impl From<ExtendedCommunity> for AnyCommunity {
    fn from(community: ExtendedCommunity) -> Self {
        Self::Extended(community)
    }
}

impl fmt::Display for AnyCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standard(community) => community.fmt(f),
            Self::Large(community) => community.fmt(f),
            Self::Extended(community) => community.fmt(f),
        }
    }
}

/// Text that is no community, or no pattern for them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not a community; write {wanted}")]
pub struct NotACommunity {
    /// What was written.
    pub text: String,
    /// What to write instead.
    pub wanted: &'static str,
}

const VALUES: &str = "65001:100 or a name like no-export (standard), 64512:1:2 (large), rt:65001:1, soo:65001:1 or lb:65001:10G (extended)";
const PATTERNS: &str = "65001:100, 65001:* or 65001:100-199 (standard), 64512:*:1 (large), rt:65001:* or lb:* (extended), or * for any; standard numbers end at 65535";

impl FromStr for AnyCommunity {
    type Err = NotACommunity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let standard = text.parse().map(Self::Standard).ok();
        let large = || text.parse().map(Self::Large).ok();
        let extended = || text.parse().map(Self::Extended).ok();
        let known = standard.or_else(large).or_else(extended);
        known.ok_or_else(|| NotACommunity { text: text.to_owned(), wanted: VALUES })
    }
}

/// A number of a community.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `*`
    Any,
    /// `100`, `100-199`: from the first to the last, both included.
    Range(u32, u32),
}

impl Part {
    fn matches(self, number: u32) -> bool {
        match self {
            Self::Any => true,
            Self::Range(first, last) => (first..=last).contains(&number),
        }
    }

    fn parse(text: &str, most: u32) -> Option<Self> {
        if text == "*" {
            return Some(Self::Any);
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = decimal(first).zip(decimal(last)).filter(|(first, last)| first <= last && *last <= most)?;
        Some(Self::Range(first, last))
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Range(first, last) if first == last => first.fmt(f),
            Self::Range(first, last) => write!(f, "{first}-{last}"),
        }
    }
}

/// Communities that match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommunityPattern {
    /// `*`: any of any kind.
    Any,
    /// `65001:*`
    Standard([Part; 2]),
    /// `64512:*:1`
    Large([Part; 3]),
    /// `rt:65001:*`; the administrator is an AS, of two octets or four, or with [`Part::Any`] an address too.
    Extended {
        /// `rt`, `soo` or `lb`.
        name: &'static str,
        /// Whose number it is.
        administrator: Part,
        /// The number; any for a link bandwidth.
        number: Part,
    },
    /// `rt:192.0.2.1:7`: this one.
    Exactly(ExtendedCommunity),
}

impl CommunityPattern {
    /// This community and no other.
    #[must_use]
    pub fn exactly(community: AnyCommunity) -> Self {
        let one = |number| Part::Range(number, number);
        match community {
            AnyCommunity::Standard(Community(value)) => Self::Standard([one(value >> 16), one(value & 0xffff)]),
            AnyCommunity::Large(large) => Self::Large([one(large.global), one(large.local1), one(large.local2)]),
            AnyCommunity::Extended(extended) => Self::Exactly(extended),
        }
    }

    /// Whether the community is one of those.
    #[must_use]
    pub fn matches(&self, community: AnyCommunity) -> bool {
        match (self, community) {
            (Self::Any, _) => true,
            (Self::Standard([high, low]), AnyCommunity::Standard(Community(value))) => {
                high.matches(value >> 16) && low.matches(value & 0xffff)
            }
            (Self::Large([global, local1, local2]), AnyCommunity::Large(large)) => {
                global.matches(large.global) && local1.matches(large.local1) && local2.matches(large.local2)
            }
            (Self::Exactly(wanted), AnyCommunity::Extended(extended)) => *wanted == extended,
            (Self::Extended { name, administrator, number }, AnyCommunity::Extended(extended)) => {
                extended.parts().is_some_and(|parts| {
                    let administrator = match parts.administrator {
                        Administrator::As(Asn(asn)) => administrator.matches(asn),
                        Administrator::Address(_) => *administrator == Part::Any,
                    };
                    let number = parts.number.is_none_or(|value| number.matches(value));
                    parts.name == *name && administrator && number
                })
            }
            (Self::Standard(_) | Self::Large(_) | Self::Extended { .. } | Self::Exactly(_), _) => false,
        }
    }

    /// Whether the route has a community that is one of those.
    #[must_use]
    pub fn is_in(&self, attributes: &Attributes) -> bool {
        all_of(attributes).any(|community| self.matches(community))
    }
}

/// The route's communities, standard, large, extended.
pub(super) fn all_of(attributes: &Attributes) -> impl Iterator<Item = AnyCommunity> {
    let standard = attributes.communities.iter().map(|community| AnyCommunity::Standard(*community));
    let large = attributes.large_communities.iter().map(|community| AnyCommunity::Large(*community));
    let extended = attributes.extended_communities.iter().map(|community| AnyCommunity::Extended(*community));
    standard.chain(large).chain(extended)
}

impl fmt::Display for CommunityPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Standard([Part::Range(a, b), Part::Range(c, d)]) if a == b && c == d => {
                // By its name, if it has one.
                Community(a << 16 | c).fmt(f)
            }
            Self::Standard([high, low]) => write!(f, "{high}:{low}"),
            Self::Large([global, local1, local2]) => write!(f, "{global}:{local1}:{local2}"),
            Self::Extended { name, administrator: Part::Any, number: Part::Any } => write!(f, "{name}:*"),
            Self::Extended { name, administrator, number } => write!(f, "{name}:{administrator}:{number}"),
            Self::Exactly(extended) => extended.fmt(f),
        }
    }
}

impl FromStr for CommunityPattern {
    type Err = NotACommunity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(exact) = text.parse::<AnyCommunity>() {
            return Ok(Self::exactly(exact));
        }
        let parts: Vec<&str> = text.split(':').collect();
        let standard = |text: &str| Part::parse(text, u32::from(u16::MAX));
        let large = |text: &str| Part::parse(text, u32::MAX);
        let named = |name: &str| ["rt", "soo", "lb"].into_iter().find(|known| *known == name);
        let pattern = (|| match *parts.as_slice() {
            ["*"] => Some(Self::Any),
            [name, "*"] if named(name).is_some() => {
                Some(Self::Extended { name: named(name)?, administrator: Part::Any, number: Part::Any })
            }
            [high, low] => Some(Self::Standard([standard(high)?, standard(low)?])),
            [name, administrator, number] if named(name).is_some() => {
                let (administrator, number) = (large(administrator)?, large(number)?);
                // A bandwidth is no whole number: only all of them can be meant.
                let sound = name != "lb" || number == Part::Any;
                sound.then_some(Self::Extended { name: named(name)?, administrator, number })
            }
            [global, local1, local2] => Some(Self::Large([large(global)?, large(local1)?, large(local2)?])),
            _ => None,
        })();
        pattern.ok_or_else(|| NotACommunity { text: text.to_owned(), wanted: PATTERNS })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_pattern_takes_what_it_names_of_its_kind_alone() {
        for (pattern, community, matches) in [
            ("65001:*", "65001:100", true),
            ("65001:*", "65002:100", false),
            ("65001:*", "65001:1:2", false),
            ("65001:100-199", "65001:199", true),
            ("65001:100-199", "65001:200", false),
            ("*:666", "65001:666", true),
            ("no-export", "65535:65281", true),
            ("65535:*", "no-export", true),
            ("64512:*:1", "64512:9:1", true),
            ("64512:*:1", "64512:9:2", false),
            ("*:*:*", "1:2:3", true),
            ("*:*:*", "1:2", false),
            ("*", "1:2", true),
            ("*", "1:2:3", true),
            ("*", "0x0102030405060708", true),
            ("rt:65001:*", "rt:65001:7", true),
            ("rt:65001:*", "rt:65001L:7", true),
            ("rt:65001:*", "soo:65001:7", false),
            ("rt:*", "rt:192.0.2.1:7", true),
            ("rt:1-9:*", "rt:192.0.2.1:7", false),
            ("rt:192.0.2.1:7", "rt:192.0.2.1:7", true),
            ("rt:*:5-9", "rt:4200000000:7", true),
            ("lb:*", "lb:65001:10G", true),
            ("lb:*", "lb-transitive:65001:10G", true),
            ("lb:65002:*", "lb:65001:10G", false),
            ("lb:65001:10G", "lb:65001:10G", true),
            ("0x030c000000000008", "0x030c000000000008", true),
        ] {
            let pattern: CommunityPattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(community.parse().unwrap()), matches, "{pattern} {community}");
        }
    }

    #[test]
    fn what_is_neither_community_nor_pattern_is_refused() {
        for text in
            ["", "1", "**", "1:2:3:4", "65536:*", "1:9-2", "rt", "rt:1", "xx:*", "lb:1:5-6", "rt:1.2.3.4:*", "1:*x"]
        {
            assert!(text.parse::<CommunityPattern>().is_err(), "{text}");
        }
        assert!("65001:*".parse::<AnyCommunity>().is_err());
    }

    fn part(most: u32) -> impl Strategy<Value = Part> {
        prop_oneof![
            Just(Part::Any),
            (0..=most, 0..=most).prop_map(|(a, b)| Part::Range(a.min(b), a.max(b))),
            (0..=most).prop_map(|a| Part::Range(a, a)),
        ]
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(a in part(65535), b in part(65535), c in part(u32::MAX), d in part(u32::MAX), raw: [u8; 8]) {
            let name = ["rt", "soo"][usize::from(raw[0] & 1)];
            for pattern in [
                CommunityPattern::Standard([a, b]),
                CommunityPattern::Large([a, c, d]),
                CommunityPattern::Extended { name: "lb", administrator: c, number: Part::Any },
                CommunityPattern::exactly(ExtendedCommunity(raw).into()),
            ] {
                prop_assert_eq!(pattern.to_string().parse(), Ok(pattern));
            }
            // One of one administrator and one number is that community.
            let pattern = CommunityPattern::Extended { name, administrator: Part::Any, number: d };
            prop_assert_eq!(pattern.to_string().parse(), Ok(pattern));
        }

        #[test]
        fn an_exact_pattern_matches_its_community(raw: [u8; 8], standard: u32, large: [u32; 3]) {
            let [global, local1, local2] = large;
            let all: [AnyCommunity; 3] = [
                Community(standard).into(), LargeCommunity { global, local1, local2 }.into(), ExtendedCommunity(raw).into(),
            ];
            for community in all {
                prop_assert!(CommunityPattern::exactly(community).matches(community));
                prop_assert_eq!(community.to_string().parse(), Ok(community));
            }
        }
    }
}
