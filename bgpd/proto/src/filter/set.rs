//! What a rule changes of a route.

use std::net::IpAddr;

use super::community::{AnyCommunity, CommunityPattern, all_of};
use super::number::{Adjust, AsnRange};
use crate::hints::Hints;
use crate::rib::decision::DEFAULT_LOCAL_PREF;
use crate::types::{Asn, NextHop};
use crate::wire::attributes::{Attributes, Origin};
use crate::wire::community::{Bandwidth, ExtendedCommunity};

/// Changes to a route's attributes, made in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// The weight, which no other speaker hears of.
    pub weight: Option<u32>,
    /// LOCAL_PREF; a change of one that is not there starts from 100.
    pub local_pref: Option<Adjust>,
    /// MULTI_EXIT_DISC; a change of one that is not there starts from 0.
    pub med: Option<Adjust>,
    /// ORIGIN.
    pub origin: Option<Origin>,
    /// In place of all communities of their kinds.
    pub replace_communities: Vec<AnyCommunity>,
    /// Communities that go.
    pub remove_communities: Vec<CommunityPattern>,
    /// Communities that come.
    pub add_communities: Vec<AnyCommunity>,
    /// The link bandwidth, said by our own AS, in place of any other.
    pub link_bandwidth: Option<Bandwidth>,
    /// AS numbers that go from the AS path, wherever they stand in it; a set loses its members, and goes with the last one.
    /// Who finds itself in the path rejects the route before any filter sees it; others cannot find a number that is gone.
    pub remove_as: Vec<AsnRange>,
    /// AS numbers to put in front, in this order.
    pub prepend_as: Vec<Asn>,
    /// Times to put our own AS in front of that.
    pub prepend: u8,
    /// The next hop.
    pub next_hop: Option<SetNextHop>,
    /// How the route is written into the kernel, which no other speaker hears of.
    pub hints: Hints,
}

/// A next hop to be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetNextHop {
    /// Ourselves. It means something to an export only, as the next.
    Own,
    /// The one that the route came with.
    Unchanged,
    /// This one, of routes whose next hop is of its family.
    Address(IpAddr),
}

impl Set {
    /// Whether it changes anything at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Changes `attributes`. `local_as` is what `prepend` puts in front and who says a link bandwidth. Of next hops only an
    /// address is set: the others depend on the session, and the export sees to them.
    pub fn apply(&self, attributes: &mut Attributes, local_as: Asn) {
        attributes.weight = self.weight.unwrap_or(attributes.weight);
        let adjusted = |change: Option<Adjust>, value: Option<u32>, absent: u32| match change {
            Some(change) => Some(change.apply(value.unwrap_or(absent))),
            None => value,
        };
        attributes.local_pref = adjusted(self.local_pref, attributes.local_pref, DEFAULT_LOCAL_PREF);
        attributes.med = adjusted(self.med, attributes.med, 0);
        attributes.origin = self.origin.unwrap_or(attributes.origin);
        self.change_communities(attributes, local_as);
        if !self.remove_as.is_empty() {
            let goes = |asn| self.remove_as.iter().any(|range| range.contains(asn));
            attributes.as_path = attributes.as_path.rewritten(|asn| (!goes(asn)).then_some(asn));
        }
        attributes.as_path.prepend_all(&self.prepend_as);
        attributes.as_path.prepend(local_as, usize::from(self.prepend));
        if let Some(SetNextHop::Address(address)) = self.next_hop
            && attributes.next_hop.address().is_ipv4() == address.is_ipv4()
        {
            attributes.next_hop = NextHop::from(address);
        }
        if !self.hints.is_empty() {
            let hints = attributes.hints.get_or_insert_default();
            **hints = hints.or_later(&self.hints);
        }
    }

    fn change_communities(&self, attributes: &mut Attributes, local_as: Asn) {
        let bandwidth = self.link_bandwidth.map(|bandwidth| ExtendedCommunity::link_bandwidth(local_as, bandwidth));
        let changes = (&self.replace_communities, &self.remove_communities, &self.add_communities);
        if bandwidth.is_none() && changes.0.is_empty() && changes.1.is_empty() && changes.2.is_empty() {
            return;
        }
        let replaced = |community: &AnyCommunity| {
            let same = |other: &AnyCommunity| std::mem::discriminant(other) == std::mem::discriminant(community);
            self.replace_communities.iter().any(same)
        };
        let outdone = |community: &AnyCommunity| match community {
            AnyCommunity::Extended(extended) => bandwidth.is_some() && extended.bandwidth().is_some(),
            AnyCommunity::Standard(_) | AnyCommunity::Large(_) => false,
        };
        let mut kept: Vec<AnyCommunity> = all_of(attributes).filter(|community| !replaced(community)).collect();
        kept.extend(&self.replace_communities);
        kept.retain(|community| !self.remove_communities.iter().any(|pattern| pattern.matches(*community)));
        kept.extend(&self.add_communities);
        kept.retain(|community| !outdone(community));
        kept.extend(bandwidth.map(AnyCommunity::Extended));
        // Canonical: sorted, each once.
        kept.sort_unstable();
        kept.dedup();
        attributes.communities = kept
            .iter()
            .filter_map(|community| match community {
                AnyCommunity::Standard(community) => Some(*community),
                AnyCommunity::Large(_) | AnyCommunity::Extended(_) => None,
            })
            .collect();
        attributes.large_communities = kept
            .iter()
            .filter_map(|community| match community {
                AnyCommunity::Large(community) => Some(*community),
                AnyCommunity::Standard(_) | AnyCommunity::Extended(_) => None,
            })
            .collect();
        attributes.extended_communities = kept
            .iter()
            .filter_map(|community| match community {
                AnyCommunity::Extended(community) => Some(*community),
                AnyCommunity::Standard(_) | AnyCommunity::Large(_) => None,
            })
            .collect();
    }

    /// Each change by its key in configuration with its value, as it is written there.
    #[must_use]
    pub fn entries(&self) -> Vec<(&'static str, String)> {
        use super::text::{list, number_or_string, numbers_or_strings, quoted};
        let mut entries = Vec::new();
        entries.extend(self.weight.map(|weight| ("weight", weight.to_string())));
        entries.extend(self.local_pref.map(|change| ("local-pref", number_or_string(change))));
        entries.extend(self.med.map(|change| ("med", number_or_string(change))));
        entries.extend(self.origin.map(|origin| ("origin", quoted(origin))));
        let mut lists = |key, list: String, empty: bool| {
            if !empty {
                entries.push((key, list));
            }
        };
        lists("replace-community", list(&self.replace_communities), self.replace_communities.is_empty());
        lists("remove-community", list(&self.remove_communities), self.remove_communities.is_empty());
        lists("add-community", list(&self.add_communities), self.add_communities.is_empty());
        entries.extend(self.link_bandwidth.map(|bandwidth| ("link-bandwidth", quoted(bandwidth))));
        if !self.remove_as.is_empty() {
            entries.push(("remove-as", numbers_or_strings(&self.remove_as)));
        }
        if !self.prepend_as.is_empty() {
            entries.push(("prepend-as", numbers_or_strings(&self.prepend_as)));
        }
        if self.prepend > 0 {
            entries.push(("prepend", self.prepend.to_string()));
        }
        entries.extend(self.next_hop.map(|next_hop| {
            let value = match next_hop {
                SetNextHop::Own => quoted("self"),
                SetNextHop::Unchanged => quoted("unchanged"),
                SetNextHop::Address(address) => quoted(address),
            };
            ("next-hop", value)
        }));
        entries.extend(self.hints.entries().into_iter().map(|(key, value)| (key, number_or_string(value))));
        entries
    }
}
