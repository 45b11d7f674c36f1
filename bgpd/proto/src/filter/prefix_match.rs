//! A prefix with lengths, and a named list of them.

use std::fmt;
use std::str::FromStr;

use crate::types::{Family, Prefix};

/// A prefix with the lengths that may match it: `10.0.0.0/8 ge 16 le 24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixMatch {
    /// What must contain the route's prefix.
    pub prefix: Prefix,
    /// Shortest length that matches.
    pub ge: u8,
    /// Longest length that matches.
    pub le: u8,
}

/// A named list of prefixes with lengths, `[[bgp.prefix-list]]`: matches what one of them matches. A look-up takes one
/// binary search for each length that the list has, however long the list is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixList {
    name: String,
    entries: Vec<PrefixMatch>,
    /// The same by length, family and prefix.
    sorted: Vec<PrefixMatch>,
    /// Where each length and family begins in `sorted`, and ends.
    lengths: Vec<(u8, Family, usize, usize)>,
}

impl PrefixList {
    /// A list with this name.
    #[must_use]
    pub fn new(name: String, entries: Vec<PrefixMatch>) -> Self {
        let mut sorted = entries.clone();
        sorted.sort_by_key(|entry| (entry.prefix.length(), entry.prefix));
        let mut lengths: Vec<(u8, Family, usize, usize)> = Vec::new();
        for (at, entry) in sorted.iter().enumerate() {
            let (length, family) = (entry.prefix.length(), entry.prefix.family());
            match lengths.last_mut() {
                Some((known, of, _, end)) if (*known, *of) == (length, family) => *end = at + 1,
                _ => lengths.push((length, family, at, at + 1)),
            }
        }
        Self { name, entries, sorted, lengths }
    }

    /// Its name in configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// As they were written.
    #[must_use]
    pub fn entries(&self) -> &[PrefixMatch] {
        &self.entries
    }

    /// The entry that matches `prefix`, if one does: of several, one with the shortest prefix.
    #[must_use]
    pub fn find(&self, prefix: Prefix) -> Option<PrefixMatch> {
        let fitting = |(length, family, ..): &&(u8, Family, usize, usize)| {
            *length <= prefix.length() && *family == prefix.family()
        };
        self.lengths.iter().filter(fitting).find_map(|&(length, _, start, end)| {
            let covering = Prefix::new(prefix.address(), length)?;
            let of_length = self.sorted.get(start..end)?;
            let first = of_length.partition_point(|entry| entry.prefix < covering);
            let same = of_length.get(first..)?.iter().take_while(|entry| entry.prefix == covering);
            same.into_iter().find(|entry| entry.matches(prefix)).copied()
        })
    }
}

impl PrefixMatch {
    /// Matches this prefix and nothing else.
    #[must_use]
    pub fn exact(prefix: Prefix) -> Self {
        Self { prefix, ge: prefix.length(), le: prefix.length() }
    }

    /// Whether `prefix` lies in ours and is as long as it may be.
    #[must_use]
    pub fn matches(&self, prefix: Prefix) -> bool {
        (self.ge..=self.le).contains(&prefix.length()) && self.prefix.contains(prefix)
    }
}

impl fmt::Display for PrefixMatch {
    /// The shortest text that parses to the same value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.prefix.fmt(f)?;
        let (own, longest) = (self.prefix.length(), self.prefix.family().bits());
        if self.ge != own {
            write!(f, " ge {}", self.ge)?;
        }
        // Without "le", "ge" reaches to the longest prefix there is, and a lone prefix matches only itself.
        let implied = if self.ge == own { own } else { longest };
        if self.le != implied { write!(f, " le {}", self.le) } else { Ok(()) }
    }
}

/// A text that is no prefix match.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixMatchError {
    /// Its first word is no prefix.
    #[error("\"{0}\" is not a prefix; write one as 10.0.0.0/8 or fd00::/16")]
    Prefix(String),
    /// A prefix without a length means a host route, which is hardly ever meant.
    #[error("\"{0}\" has no length; write {0}/{1} for this address alone")]
    NoLength(String, u8),
    /// A word other than `ge` and `le`, one of them twice, or `le` before `ge`.
    #[error(
        "\"{0}\" is not understood here; write \"PREFIX\", \"PREFIX le 24\", \"PREFIX ge 16\" or \"PREFIX ge 16 le 24\""
    )]
    Word(String),
    /// `ge` or `le` without a number.
    #[error("\"{0}\" needs a length behind it: a number from {1} to {2}")]
    Length(String, u8, u8),
    /// Lengths that no prefix inside this one can have.
    #[error("no prefix in {prefix} is {ge} to {le} bits long; lengths here go from {shortest} to {longest}, ge not above le", shortest = prefix.length(), longest = prefix.family().bits())]
    Range {
        /// The prefix.
        prefix: Prefix,
        /// Shortest length asked for.
        ge: u8,
        /// Longest length asked for.
        le: u8,
    },
}

impl FromStr for PrefixMatch {
    type Err = PrefixMatchError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.split_whitespace();
        let first = words.next().unwrap_or("");
        let prefix = first.parse::<Prefix>().map_err(|_| PrefixMatchError::Prefix(first.to_owned()))?;
        let (shortest, longest) = (prefix.length(), prefix.family().bits());
        if !first.contains('/') {
            return Err(PrefixMatchError::NoLength(first.to_owned(), longest));
        }
        let (mut ge, mut le) = (None, None);
        while let Some(word) = words.next() {
            let bound = match word {
                "ge" if ge.is_none() && le.is_none() => &mut ge,
                "le" if le.is_none() => &mut le,
                _ => return Err(PrefixMatchError::Word(word.to_owned())),
            };
            let length = words.next().and_then(|number| number.parse::<u8>().ok());
            *bound = Some(length.ok_or_else(|| PrefixMatchError::Length(word.to_owned(), shortest, longest))?);
        }
        let (ge, le) = match (ge, le) {
            (None, None) => (shortest, shortest),
            (Some(ge), None) => (ge, longest),
            (ge, Some(le)) => (ge.unwrap_or(shortest), le),
        };
        if ge < shortest || le < ge || le > longest {
            return Err(PrefixMatchError::Range { prefix, ge, le });
        }
        Ok(Self { prefix, ge, le })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn a_prefix_match_takes_the_lengths_it_names_and_no_others() {
        for (pattern, candidate, matches) in [
            ("10.0.0.0/8", "10.0.0.0/8", true),
            ("10.0.0.0/8", "10.1.0.0/16", false),
            ("10.0.0.0/8 le 24", "10.0.0.0/8", true),
            ("10.0.0.0/8 le 24", "10.1.2.0/24", true),
            ("10.0.0.0/8 le 24", "10.1.2.0/25", false),
            ("10.0.0.0/8 le 24", "11.0.0.0/16", false),
            ("10.0.0.0/8 ge 16", "10.0.0.0/15", false),
            ("10.0.0.0/8 ge 16", "10.1.2.3/32", true),
            ("10.0.0.0/8 ge 16 le 24", "10.1.0.0/16", true),
            ("0.0.0.0/0", "0.0.0.0/0", true),
            ("0.0.0.0/0", "10.0.0.0/8", false),
            ("0.0.0.0/0 le 32", "::/0", false),
            ("fd00::/16 le 64", "fd00:0:1::/48", true),
        ] {
            assert_eq!(
                pattern.parse::<PrefixMatch>().unwrap().matches(prefix(candidate)),
                matches,
                "{pattern} {candidate}"
            );
        }
    }

    #[test]
    fn a_wrong_prefix_match_is_answered_with_what_to_write() {
        for (text, part) in [
            ("", "\"\" is not a prefix"),
            ("ten/8", "write one as 10.0.0.0/8"),
            ("10.0.0.1", "write 10.0.0.1/32 for this address alone"),
            ("10.0.0.0/8 to 24", "\"to\" is not understood"),
            ("10.0.0.0/8 le 24 ge 16", "\"ge\" is not understood"),
            ("10.0.0.0/8 le 24 le 25", "\"le\" is not understood"),
            ("10.0.0.0/8 le", "\"le\" needs a length behind it: a number from 8 to 32"),
            ("10.0.0.0/8 le x", "\"le\" needs a length"),
            ("10.0.0.0/8 le 33", "8 to 33 bits long; lengths here go from 8 to 32"),
            ("10.0.0.0/8 ge 4", "lengths here go from 8 to 32"),
            ("10.0.0.0/8 ge 24 le 16", "ge not above le"),
        ] {
            let error = text.parse::<PrefixMatch>().unwrap_err().to_string();
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn a_prefix_match_prints_as_text_that_parses_back(address: u32, length in 0u8..=32, a in 0u8..=32, b in 0u8..=32) {
            let prefix = Prefix::new(std::net::Ipv4Addr::from(address).into(), length).unwrap();
            let (ge, le) = (a.min(b).max(length), a.max(b).max(length));
            let entry = PrefixMatch { prefix, ge, le };
            prop_assert_eq!(entry.to_string().parse::<PrefixMatch>(), Ok(entry));
        }
    }

    proptest! {
        #[test]
        fn a_list_finds_what_looking_at_each_entry_finds(
            entries in prop::collection::vec((any::<u32>(), 0u8..=32, 0u8..=32, any::<bool>()), 0..20),
            candidate: u32, length in 0u8..=32, six: bool,
        ) {
            // Few bits, so that prefixes cover one another.
            let make = |bits: u32, length: u8, six: bool| match six {
                true => Prefix::new(std::net::Ipv6Addr::from(u128::from(bits & 0xc000_0003) << 96).into(), length),
                false => Prefix::new(std::net::Ipv4Addr::from(bits & 0xc000_0003).into(), length),
            };
            let entries: Vec<PrefixMatch> = entries.into_iter().map(|(bits, length, le, six)| {
                PrefixMatch { prefix: make(bits, length, six).unwrap(), ge: length, le: le.max(length) }
            }).collect();
            let list = PrefixList::new("l".into(), entries.clone());
            let candidate = make(candidate, length, six).unwrap();
            let naive = entries.iter().any(|entry| entry.matches(candidate));
            prop_assert_eq!(list.find(candidate).is_some(), naive);
            prop_assert!(list.find(candidate).is_none_or(|found| found.matches(candidate)));
        }
    }
}
