//! What a rule asks of a route, and what it is asked about.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::as_path::AsPathPattern;
use super::community::{CommunityPattern, all_of};
use super::number::{AsnRange, NumberMatch};
use super::prefix_match::{PrefixList, PrefixMatch};
use super::text::{list, number_or_string, numbers_or_strings, quoted};
use crate::rib::decision::DEFAULT_LOCAL_PREF;
use crate::types::{Family, Prefix};
use crate::wire::attributes::{Attributes, Origin};

/// A route that a filter is asked about: everything that a condition may look at.
///
/// What is the same for every prefix with these attributes from this peer is looked at once for all of them;
/// [`Condition::looks_at_prefix`] names the others.
#[derive(Clone, Copy, Debug)]
pub struct MatchContext<'a> {
    /// Where it leads.
    pub prefix: Prefix,
    /// On import as the peer sent them; on export as they stand in the table. Behind a rule that says `next`, as changed.
    pub attributes: &'a Attributes,
    /// The name of the peer that it was learned from, on import and on export; empty for what this speaker originates.
    pub peer: &'a str,
    /// From where it was learned.
    pub source: Source,
    /// Whether its origin AS may announce the prefix (RFC 6811; on export RFC 8893).
    pub validation: Validation,
}

/// From where a route was learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// This speaker originates it.
    Local,
    /// A peer in our AS sent it.
    Internal,
    /// A peer in another AS sent it.
    External,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Local, Self::Internal, Self::External];

    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Internal => "internal",
            Self::External => "external",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The state of a route's origin (RFC 6811 section 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Validation {
    /// A ROA covers the prefix and allows the origin AS.
    Valid,
    /// ROAs cover the prefix, and none allows the origin AS with this length.
    Invalid,
    /// No ROA covers the prefix, or nobody was asked.
    #[default]
    NotFound,
}

impl Validation {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Valid, Self::Invalid, Self::NotFound];

    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Invalid => "invalid",
            Self::NotFound => "not-found",
        }
    }
}

impl fmt::Display for Validation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One condition. Of a list, one entry is enough, except for communities, all of which must be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The prefix is one of these.
    Prefix(Vec<PrefixMatch>),
    /// The prefix is in one of these lists.
    PrefixList(Vec<Arc<PrefixList>>),
    /// Its family is one of these.
    Family(Vec<Family>),
    /// The AS path is like one of these patterns.
    AsPath(Vec<AsPathPattern>),
    /// The AS path has so many hops, a set being one.
    AsPathLength(NumberMatch),
    /// The last AS of the path is one of these; a path that is empty or ends with a set has none.
    OriginAs(Vec<AsnRange>),
    /// The first AS of the path is one of these; a path that is empty or begins with a set has none.
    NeighborAs(Vec<AsnRange>),
    /// For each pattern, a community of the route is one of those.
    Community(Vec<CommunityPattern>),
    /// The next hop lies in one of these.
    NextHop(Vec<Prefix>),
    /// The peer that sent it has one of these names; a dynamic peer also that of its `[[bgp.dynamic-peer]]`.
    Peer(Vec<String>),
    /// Its ORIGIN is one of these.
    Origin(Vec<Origin>),
    /// It was learned from one of these.
    Source(Vec<Source>),
    /// MULTI_EXIT_DISC; absent counts as 0.
    Med(NumberMatch),
    /// LOCAL_PREF; absent counts as 100.
    LocalPref(NumberMatch),
    /// Its origin's state is one of these.
    Validation(Vec<Validation>),
}

impl Condition {
    /// Whether the route is as the condition says.
    #[must_use]
    pub fn holds(&self, route: &MatchContext<'_>) -> bool {
        let attributes = route.attributes;
        match self {
            Self::Prefix(entries) => entries.iter().any(|entry| entry.matches(route.prefix)),
            Self::PrefixList(lists) => lists.iter().any(|list| list.find(route.prefix).is_some()),
            Self::Family(families) => families.contains(&route.prefix.family()),
            Self::AsPath(patterns) => patterns.iter().any(|pattern| pattern.matches(&attributes.as_path)),
            Self::AsPathLength(range) => range.matches(hops(attributes)),
            Self::OriginAs(ranges) => {
                attributes.as_path.origin().is_some_and(|asn| ranges.iter().any(|range| range.contains(asn)))
            }
            Self::NeighborAs(ranges) => {
                attributes.as_path.first().is_some_and(|asn| ranges.iter().any(|range| range.contains(asn)))
            }
            Self::Community(patterns) => patterns.iter().all(|pattern| pattern.is_in(attributes)),
            Self::NextHop(prefixes) => {
                let address = attributes.next_hop.address().to_canonical();
                host(address).is_some_and(|host| prefixes.iter().any(|prefix| prefix.contains(host)))
            }
            Self::Peer(names) => names.iter().any(|name| is_called(route.peer, name)),
            Self::Origin(origins) => origins.contains(&attributes.origin),
            Self::Source(sources) => sources.contains(&route.source),
            Self::Med(range) => range.matches(attributes.med.unwrap_or(0)),
            Self::LocalPref(range) => range.matches(attributes.local_pref.unwrap_or(DEFAULT_LOCAL_PREF)),
            Self::Validation(states) => states.contains(&route.validation),
        }
    }

    /// Whether two prefixes with the same attributes from the same peer may get two answers.
    #[must_use]
    pub fn looks_at_prefix(&self) -> bool {
        match self {
            Self::Prefix(_) | Self::PrefixList(_) | Self::Family(_) | Self::Validation(_) => true,
            Self::AsPath(_)
            | Self::AsPathLength(_)
            | Self::OriginAs(_)
            | Self::NeighborAs(_)
            | Self::Community(_)
            | Self::NextHop(_)
            | Self::Peer(_)
            | Self::Origin(_)
            | Self::Source(_)
            | Self::Med(_)
            | Self::LocalPref(_) => false,
        }
    }

    /// Its key in configuration.
    #[must_use]
    pub fn key(&self) -> &'static str {
        match self {
            Self::Prefix(_) => "prefix",
            Self::PrefixList(_) => "prefix-list",
            Self::Family(_) => "family",
            Self::AsPath(_) => "as-path",
            Self::AsPathLength(_) => "as-path-length",
            Self::OriginAs(_) => "origin-as",
            Self::NeighborAs(_) => "neighbor-as",
            Self::Community(_) => "community",
            Self::NextHop(_) => "next-hop",
            Self::Peer(_) => "peer",
            Self::Origin(_) => "origin",
            Self::Source(_) => "source",
            Self::Med(_) => "med",
            Self::LocalPref(_) => "local-pref",
            Self::Validation(_) => "validation",
        }
    }

    /// Its value as configuration has it.
    #[must_use]
    pub fn value(&self) -> String {
        match self {
            Self::Prefix(entries) => list(entries),
            Self::PrefixList(lists) => list(&lists.iter().map(|list| list.name()).collect::<Vec<_>>()),
            Self::Family(families) => list(families),
            Self::AsPath(patterns) => list(patterns),
            Self::AsPathLength(range) | Self::Med(range) | Self::LocalPref(range) => number_or_string(range),
            Self::OriginAs(ranges) | Self::NeighborAs(ranges) => numbers_or_strings(ranges),
            Self::Community(patterns) => list(patterns),
            Self::NextHop(prefixes) => list(prefixes),
            Self::Peer(names) => list(names),
            Self::Origin(origins) => list(origins),
            Self::Source(sources) => list(sources),
            Self::Validation(states) => list(states),
        }
    }

    /// What the route has of that which the condition looks at, for a person.
    #[must_use]
    pub fn found(&self, route: &MatchContext<'_>) -> String {
        let attributes = route.attributes;
        let or = |absent: &str, text: Option<String>| text.unwrap_or_else(|| absent.to_owned());
        match self {
            Self::Prefix(entries) => match entries.iter().find(|entry| entry.matches(route.prefix)) {
                Some(entry) => format!("{} by {}", route.prefix, quoted(entry)),
                None => route.prefix.to_string(),
            },
            Self::PrefixList(lists) => {
                let by = lists.iter().find_map(|list| Some((list.name(), list.find(route.prefix)?)));
                match by {
                    Some((name, entry)) => format!("{} by {} of {}", route.prefix, quoted(entry), quoted(name)),
                    None => route.prefix.to_string(),
                }
            }
            Self::Family(_) => route.prefix.family().to_string(),
            Self::AsPath(patterns) => {
                let path = attributes.as_path.to_string();
                let path = if path.is_empty() { "the empty path".to_owned() } else { path };
                match patterns.iter().find(|pattern| pattern.matches(&attributes.as_path)) {
                    Some(pattern) if patterns.len() > 1 => format!("{path} by {}", quoted(pattern)),
                    Some(_) | None => path,
                }
            }
            Self::AsPathLength(_) => hops(attributes).to_string(),
            Self::OriginAs(_) => or("none", attributes.as_path.origin().map(|asn| asn.to_string())),
            Self::NeighborAs(_) => or("none", attributes.as_path.first().map(|asn| asn.to_string())),
            Self::Community(patterns) => match patterns.iter().find(|pattern| !pattern.is_in(attributes)) {
                Some(missing) if patterns.len() > 1 => format!("{}; nothing is {missing}", communities(attributes)),
                Some(_) | None => communities(attributes),
            },
            Self::NextHop(_) => attributes.next_hop.address().to_canonical().to_string(),
            Self::Peer(_) => if route.peer.is_empty() { "none" } else { route.peer }.to_owned(),
            Self::Origin(_) => attributes.origin.to_string(),
            Self::Source(_) => route.source.to_string(),
            Self::Med(_) => or("none, which counts as 0", attributes.med.map(|med| med.to_string())),
            Self::LocalPref(_) => or("none, which counts as 100", attributes.local_pref.map(|pref| pref.to_string())),
            Self::Validation(_) => route.validation.to_string(),
        }
    }
}

impl fmt::Display for Condition {
    /// As configuration has it: `prefix = ["10.0.0.0/8 le 24"]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.key(), self.value())
    }
}

fn hops(attributes: &Attributes) -> u32 {
    u32::try_from(attributes.as_path.hops()).unwrap_or(u32::MAX)
}

fn host(address: IpAddr) -> Option<Prefix> {
    Prefix::new(address, if address.is_ipv4() { 32 } else { 128 })
}

/// A session of a dynamic peer is named `NAME/ADDRESS`.
fn is_called(peer: &str, name: &str) -> bool {
    !peer.is_empty() && peer.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn communities(attributes: &Attributes) -> String {
    let all: Vec<String> = all_of(attributes).map(|community| community.to_string()).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(" ") }
}
