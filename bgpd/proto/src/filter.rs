//! Filters: a list of rules, of which the first that matches decides; the end rejects.

use std::fmt;
use std::str::FromStr;

use crate::types::{Asn, Prefix};
use crate::wire::attributes::Attributes;
use crate::wire::community::{Community, LargeCommunity};

/// A named list of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Its name in configuration.
    pub name: String,
    /// In order.
    pub rules: Vec<Rule>,
}

/// One rule: all of its conditions must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// One of these must match; empty: any prefix.
    pub prefixes: Vec<PrefixMatch>,
    /// All of these must be there.
    pub communities: Vec<Community>,
    /// All of these must be there.
    pub large_communities: Vec<LargeCommunity>,
    /// Only routes that this speaker originates (`Some(true)`), only learned ones (`Some(false)`), or both.
    pub local: Option<bool>,
    /// What an accepted route gets.
    pub set: Set,
    /// Whether the rule accepts.
    pub accept: bool,
}

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

/// Changes to the attributes of an accepted route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// Communities to add.
    pub add_communities: Vec<Community>,
    /// Large communities to add.
    pub add_large_communities: Vec<LargeCommunity>,
    /// Times to prepend our own AS.
    pub prepend: u8,
}

/// What a filter makes of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Accepted by the rule with this index.
    Accept(usize),
    /// Rejected by the rule with this index, or by the end (`None`).
    Reject(Option<usize>),
}

impl Filter {
    /// Which rule decides. `local`: this speaker originates the route.
    #[must_use]
    pub fn decide(&self, prefix: Prefix, attributes: &Attributes, local: bool) -> Decision {
        match self.rules.iter().position(|rule| rule.matches(prefix, attributes, local)) {
            Some(index) if self.rules[index].accept => Decision::Accept(index),
            decisive => Decision::Reject(decisive),
        }
    }

    /// Whether some rule looks at the prefix. If none does, one decision holds for every prefix with the same attributes.
    #[must_use]
    pub fn looks_at_prefix(&self) -> bool {
        self.rules.iter().any(|rule| !rule.prefixes.is_empty())
    }
}

impl Rule {
    /// Whether all conditions hold.
    #[must_use]
    pub fn matches(&self, prefix: Prefix, attributes: &Attributes, local: bool) -> bool {
        self.local.is_none_or(|wanted| wanted == local)
            && (self.prefixes.is_empty() || self.prefixes.iter().any(|entry| entry.matches(prefix)))
            && self.communities.iter().all(|community| attributes.communities.contains(community))
            && self.large_communities.iter().all(|community| attributes.large_communities.contains(community))
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

impl Set {
    /// Whether it changes anything at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Changes `attributes`. `local_as` is what `prepend` puts in front.
    pub fn apply(&self, attributes: &mut Attributes, local_as: Asn) {
        attributes.local_pref = self.local_pref.or(attributes.local_pref);
        attributes.med = self.med.or(attributes.med);
        add_sorted(&mut attributes.communities, &self.add_communities);
        add_sorted(&mut attributes.large_communities, &self.add_large_communities);
        attributes.as_path.prepend(local_as, usize::from(self.prepend));
    }
}

/// Keeps `list` as the attributes' canonical form has it: sorted, each once.
fn add_sorted<T: Copy + Ord>(list: &mut Box<[T]>, added: &[T]) {
    if added.is_empty() {
        return;
    }
    let mut all: Vec<T> = list.iter().chain(added).copied().collect();
    all.sort_unstable();
    all.dedup();
    *list = all.into();
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::NextHop;
    use crate::wire::aspath::{AsPath, SegmentKind};
    use crate::wire::attributes::Origin;

    fn route(communities: &[u32]) -> Attributes {
        let mut attributes = Attributes::new(
            Origin::Igp,
            AsPath { segments: vec![(SegmentKind::Sequence, vec![Asn(65001)].into())] },
            NextHop::V4([192, 0, 2, 1].into()),
        );
        attributes.communities = communities.iter().copied().map(Community).collect();
        attributes
    }

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

    #[test]
    fn the_first_rule_that_matches_decides_and_the_end_rejects() {
        let filter = Filter {
            name: "f".into(),
            rules: vec![
                Rule { communities: vec![Community(666)], ..Rule::default() },
                Rule { prefixes: vec!["10.0.0.0/8 le 24".parse().unwrap()], accept: true, ..Rule::default() },
                Rule {
                    local: Some(true),
                    communities: vec![Community(1), Community(2)],
                    accept: true,
                    ..Rule::default()
                },
            ],
        };
        for (candidate, communities, local, decision) in [
            ("10.1.0.0/16", &[][..], false, Decision::Accept(1)),
            ("10.1.0.0/16", &[666][..], false, Decision::Reject(Some(0))),
            ("11.0.0.0/16", &[1, 2][..], true, Decision::Accept(2)),
            ("11.0.0.0/16", &[1, 2][..], false, Decision::Reject(None)),
            ("11.0.0.0/16", &[1][..], true, Decision::Reject(None)),
        ] {
            assert_eq!(filter.decide(prefix(candidate), &route(communities), local), decision, "{candidate}");
        }
        assert!(filter.looks_at_prefix());
    }

    #[test]
    fn set_leaves_attributes_canonical() {
        let set = Set {
            local_pref: Some(200),
            med: None,
            add_communities: vec![Community(5), Community(1)],
            add_large_communities: vec![],
            prepend: 2,
        };
        let mut attributes = route(&[3, 5]);
        attributes.med = Some(7);
        set.apply(&mut attributes, Asn(64512));
        assert_eq!((attributes.local_pref, attributes.med), (Some(200), Some(7)));
        assert_eq!(*attributes.communities, [Community(1), Community(3), Community(5)]);
        let hops = vec![Asn(64512), Asn(64512), Asn(65001)];
        assert_eq!(attributes.as_path.segments, [(SegmentKind::Sequence, hops.into())]);
    }
}
