//! Filters: a list of rules, of which the first that matches decides; the end rejects.

use crate::types::Prefix;
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
        let _ = (prefix, attributes, local);
        todo!("R")
    }
}
