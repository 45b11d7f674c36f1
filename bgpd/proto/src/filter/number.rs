//! Numbers in conditions and changes: a range that matches, and a value that is set, raised or lowered.

use std::fmt;
use std::str::FromStr;

use crate::types::Asn;

/// Numbers that match: `100`, `ge 10`, `le 20`, `ge 10 le 20`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumberMatch {
    /// The lowest.
    pub ge: u32,
    /// The highest.
    pub le: u32,
}

impl NumberMatch {
    /// This number and no other.
    #[must_use]
    pub fn exactly(number: u32) -> Self {
        Self { ge: number, le: number }
    }

    /// Whether `number` is in the range.
    #[must_use]
    pub fn matches(self, number: u32) -> bool {
        (self.ge..=self.le).contains(&number)
    }
}

impl fmt::Display for NumberMatch {
    /// The shortest text that parses to the same value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.ge, self.le) {
            (ge, le) if ge == le => write!(f, "{ge}"),
            (ge, u32::MAX) => write!(f, "ge {ge}"),
            (0, le) => write!(f, "le {le}"),
            (ge, le) => write!(f, "ge {ge} le {le}"),
        }
    }
}

/// Text that is none of the small values of this file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not {wanted}")]
pub struct NotANumber {
    /// What was written.
    pub text: String,
    /// What it should have been, with examples.
    pub wanted: &'static str,
}

impl FromStr for NumberMatch {
    type Err = NotANumber;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let range = match *words.as_slice() {
            [number] => decimal(number).map(|number| (number, number)),
            ["ge", ge] => decimal(ge).map(|ge| (ge, u32::MAX)),
            ["le", le] => decimal(le).map(|le| (0, le)),
            ["ge", ge, "le", le] => decimal(ge).zip(decimal(le)),
            _ => None,
        };
        range.filter(|(ge, le)| ge <= le).map(|(ge, le)| Self { ge, le }).ok_or_else(|| NotANumber {
            text: text.to_owned(),
            wanted: "a number or a range of them (100, \"ge 10\", \"le 20\", \"ge 10 le 20\")",
        })
    }
}

/// A value to be set, or by how much to change the one that is there; it stops at 0 and at the largest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adjust {
    /// This value.
    To(u32),
    /// That much more.
    Up(u32),
    /// That much less.
    Down(u32),
}

impl Adjust {
    /// What becomes of `value`.
    #[must_use]
    pub fn apply(self, value: u32) -> u32 {
        match self {
            Self::To(new) => new,
            Self::Up(by) => value.saturating_add(by),
            Self::Down(by) => value.saturating_sub(by),
        }
    }
}

impl From<u32> for Adjust {
    fn from(value: u32) -> Self {
        Self::To(value)
    }
}

impl fmt::Display for Adjust {
    /// `200`, `+10`, `-10`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::To(value) => write!(f, "{value}"),
            Self::Up(by) => write!(f, "+{by}"),
            Self::Down(by) => write!(f, "-{by}"),
        }
    }
}

impl FromStr for Adjust {
    type Err = NotANumber;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let adjust = match (text.strip_prefix('+'), text.strip_prefix('-')) {
            (Some(by), _) => decimal(by).map(Self::Up),
            (None, Some(by)) => decimal(by).map(Self::Down),
            (None, None) => decimal(text).map(Self::To),
        };
        adjust.ok_or_else(|| NotANumber {
            text: text.to_owned(),
            wanted: "a number or a change of one (200, \"+10\", \"-10\")",
        })
    }
}

/// AS numbers from one to another, both included: `65001`, `64512-65534`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsnRange {
    /// The lowest.
    pub first: Asn,
    /// The highest.
    pub last: Asn,
}

impl AsnRange {
    /// Whether `asn` is in the range.
    #[must_use]
    pub fn contains(self, asn: Asn) -> bool {
        (self.first..=self.last).contains(&asn)
    }
}

impl From<Asn> for AsnRange {
    fn from(asn: Asn) -> Self {
        Self { first: asn, last: asn }
    }
}

impl fmt::Display for AsnRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { self.first.fmt(f) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

impl FromStr for AsnRange {
    type Err = NotANumber;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let range = match text.split_once('-') {
            None => decimal(text).map(|asn| (asn, asn)),
            Some((first, last)) => decimal(first).zip(decimal(last)),
        };
        let range = range.filter(|(first, last)| first <= last);
        range.map(|(first, last)| Self { first: Asn(first), last: Asn(last) }).ok_or_else(|| NotANumber {
            text: text.to_owned(),
            wanted: "an AS number or a range of them (65001, \"64512-65534\")",
        })
    }
}

/// A number of digits alone: `str::parse` takes a sign as well.
pub(super) fn decimal(text: &str) -> Option<u32> {
    text.bytes().all(|digit| digit.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_range_takes_what_it_names() {
        for (text, number, matches) in [
            ("5", 5, true),
            ("5", 6, false),
            ("ge 5", 5, true),
            ("ge 5", 4, false),
            ("le 5", 0, true),
            ("le 5", 6, false),
            ("ge 5 le 7", 7, true),
            ("ge 5 le 7", 8, false),
        ] {
            assert_eq!(text.parse::<NumberMatch>().unwrap().matches(number), matches, "{text} {number}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", "x", "-1", "+1", "ge", "le 5 ge 3", "ge 5 le 4", "5 6", "4294967296"] {
            assert!(text.parse::<NumberMatch>().is_err(), "{text}");
        }
        for text in ["", "+", "-", "++1", "1+", "4294967296"] {
            assert!(text.parse::<Adjust>().is_err(), "{text}");
        }
        for text in ["", "1-", "-1", "2-1", "a", "1-2-3"] {
            assert!(text.parse::<AsnRange>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_change_stops_at_both_ends() {
        assert_eq!(Adjust::Up(10).apply(u32::MAX - 1), u32::MAX);
        assert_eq!(Adjust::Down(10).apply(9), 0);
        assert_eq!(Adjust::To(7).apply(9), 7);
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(a: u32, b: u32) {
            let (ge, le) = (a.min(b), a.max(b));
            for range in [NumberMatch { ge, le }, NumberMatch { ge: 0, le }, NumberMatch { ge, le: u32::MAX }] {
                prop_assert_eq!(range.to_string().parse(), Ok(range));
            }
            for adjust in [Adjust::To(a), Adjust::Up(a), Adjust::Down(a)] {
                prop_assert_eq!(adjust.to_string().parse(), Ok(adjust));
            }
            let range = AsnRange { first: Asn(ge), last: Asn(le) };
            prop_assert_eq!(range.to_string().parse(), Ok(range));
        }
    }
}
