//! Aggregates (RFC 4271 section 9.2.2.2): a prefix that is originated for as long as there is a route inside of it.
//!
//! The path begins anew with us and never holds an AS_SET (RFC 9774): what the contributors' paths held is lost, which
//! ATOMIC_AGGREGATE says, and AGGREGATOR says who did it. What a change of one route costs goes with the number of
//! different lengths of aggregates, and not with the size of the table.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustc_hash::FxHashMap;

use super::peers::at;
use super::table::{News, Path, PathFlags, PrefixId};
use super::{Rib, RibConfig};
use crate::time::Instant;
use crate::types::{Family, NextHop, Nlri, PathId, PeerId, Prefix};
use crate::wire::aspath::AsPath;
use crate::wire::attributes::{Aggregator, Attributes, Origin};
use crate::wire::community::{Community, LargeCommunity};

/// The path of an aggregate, beside what is originated under the same prefix.
pub(super) const AGGREGATE: PathId = PathId(1);

/// One aggregate, as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aggregate {
    /// What is originated while a longer prefix in it has a route.
    pub prefix: Prefix,
    /// Peers do not hear of what is inside.
    pub summary_only: bool,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// COMMUNITIES.
    pub communities: Vec<Community>,
    /// LARGE_COMMUNITY.
    pub large_communities: Vec<LargeCommunity>,
}

/// All aggregates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aggregates {
    by_prefix: BTreeMap<Prefix, Aggregate>,
    /// By family, the lengths that aggregates have.
    lengths: [BTreeSet<u8>; 2],
}

impl FromIterator<Aggregate> for Aggregates {
    fn from_iter<I: IntoIterator<Item = Aggregate>>(aggregates: I) -> Self {
        let mut all = Self::default();
        for aggregate in aggregates {
            all.lengths[at(aggregate.prefix.family())].insert(aggregate.prefix.length());
            all.by_prefix.insert(aggregate.prefix, aggregate);
        }
        all
    }
}

impl Aggregates {
    /// The aggregates that `prefix` contributes to.
    fn above(&self, prefix: Prefix) -> impl Iterator<Item = &Aggregate> {
        let shorter = self.lengths[at(prefix.family())].range(..prefix.length());
        shorter.filter_map(move |&length| self.by_prefix.get(&Prefix::new(prefix.address(), length)?))
    }

    /// Whether peers do not hear of the prefix because an aggregate stands for it.
    pub(crate) fn suppress(&self, prefix: Prefix) -> bool {
        !self.by_prefix.is_empty() && self.above(prefix).any(|aggregate| aggregate.summary_only)
    }
}

/// What each aggregate has inside.
#[derive(Debug, Default)]
pub(crate) struct Contributions {
    /// By family, prefixes that have a route and are in some aggregate.
    known: [FxHashMap<PrefixId, Origin>; 2],
    /// Of each aggregate, how many contributors have which origin.
    counts: BTreeMap<Prefix, [usize; 3]>,
}

impl Contributions {
    /// The origin of an aggregate's route; `None`: it has none.
    fn origin(&self, aggregate: Prefix) -> Option<Origin> {
        // RFC 4271 section 9.2.2.2: the worst of them.
        let counts = self.counts.get(&aggregate)?;
        [Origin::Incomplete, Origin::Egp, Origin::Igp].into_iter().find(|origin| counts[*origin as usize] > 0)
    }

    fn count(&self, aggregate: Prefix) -> usize {
        self.counts.get(&aggregate).map_or(0, |counts| counts.iter().sum())
    }

    /// A prefix has a route of this origin now, or none. Returns the aggregates whose own route is another by that.
    fn note(&mut self, all: &Aggregates, prefix: Prefix, id: PrefixId, origin: Option<Origin>) -> Vec<Prefix> {
        let mut above = all.above(prefix).map(|aggregate| aggregate.prefix).peekable();
        if above.peek().is_none() {
            return Vec::new();
        }
        let known = &mut self.known[at(prefix.family())];
        let before = match origin {
            Some(origin) => known.insert(id, origin),
            None => known.remove(&id),
        };
        if before == origin {
            return Vec::new();
        }
        let mut changed = Vec::new();
        for aggregate in above {
            let was = self.origin(aggregate);
            let counts = self.counts.entry(aggregate).or_default();
            if let Some(before) = before {
                counts[before as usize] = counts[before as usize].saturating_sub(1);
            }
            if let Some(origin) = origin {
                counts[origin as usize] += 1;
            }
            if self.origin(aggregate) != was {
                changed.push(aggregate);
            }
        }
        changed
    }
}

impl Rib {
    /// Changes what is aggregated: the routes of aggregates come and go, and peers hear anew of what is inside.
    pub fn set_aggregates(&mut self, aggregates: Aggregates, now: Instant) {
        if self.config.aggregates == aggregates {
            return;
        }
        let before = std::mem::replace(&mut self.config.aggregates, aggregates);
        self.contributions = Contributions::default();
        let after = self.config.aggregates.clone();
        for family in Family::ALL {
            for id in self.tables[at(family)].occupied(0).collect::<Vec<_>>() {
                let prefix = self.tables[at(family)].prefix(id);
                if before.above(prefix).chain(after.above(prefix)).next().is_some() {
                    let origin = self.origin_of_best(family, id);
                    self.contributions.note(&after, prefix, id, origin);
                    self.tables[at(family)].mark(id, News::Chosen);
                }
            }
        }
        for prefix in before.by_prefix.keys().chain(after.by_prefix.keys()) {
            self.refresh_aggregate(*prefix, now);
        }
    }

    /// The outcome for a prefix is another: what does that make of the aggregates that it is in?
    pub(super) fn note_contributor(&mut self, family: Family, id: PrefixId, now: Instant) {
        if self.config.aggregates.by_prefix.is_empty() {
            return;
        }
        let prefix = self.tables[at(family)].prefix(id);
        let origin = self.origin_of_best(family, id);
        for aggregate in self.contributions.note(&self.config.aggregates, prefix, id, origin) {
            self.refresh_aggregate(aggregate, now);
        }
    }

    fn origin_of_best(&mut self, family: Family, id: PrefixId) -> Option<Origin> {
        let best = self.store.effective(self.tables[at(family)].best(id)?);
        self.store.recent(best).map(|attributes| attributes.origin)
    }

    /// Puts an aggregate's path where it belongs, or takes it away.
    pub(super) fn refresh_aggregate(&mut self, prefix: Prefix, now: Instant) {
        let originated = self.holds_local(prefix, PathId(0));
        let aggregate = self.config.aggregates.by_prefix.get(&prefix).filter(|_| !originated);
        let route = aggregate.and_then(|aggregate| {
            let origin = self.contributions.origin(prefix)?;
            Some(route(&self.config, aggregate, origin))
        });
        match route {
            Some(attributes) => self.put_local(prefix, AGGREGATE, attributes, PathFlags::NONE, now),
            None if self.holds_local(prefix, AGGREGATE) => self.take_local(prefix, AGGREGATE),
            None => {}
        }
    }

    /// For a person: what an aggregate's path stands for.
    pub(super) fn aggregate_note(&self, prefix: Prefix, path: &Path) -> Option<String> {
        let is = path.peer == PeerId::LOCAL && path.path_id == AGGREGATE;
        let count = self.contributions.count(prefix);
        is.then(|| format!("an aggregate of {count} prefix{}", if count == 1 { "" } else { "es" }))
    }

    fn holds_local(&self, prefix: Prefix, path_id: PathId) -> bool {
        let table = &self.tables[at(prefix.family())];
        table.find(prefix).is_some_and(|id| table.paths(id).find(PeerId::LOCAL, path_id).is_ok())
    }

    pub(super) fn take_local(&mut self, prefix: Prefix, path_id: PathId) {
        self.remove_path(PeerId::LOCAL, Nlri { prefix, path_id });
        let family = at(prefix.family());
        if self.convergence.defers(prefix.family())
            && let Some(id) = self.tables[family].find(prefix)
        {
            self.own[family].push(id);
        }
    }
}

/// The attributes of an aggregate with contributors of this origin at worst.
fn route(config: &RibConfig, aggregate: &Aggregate, origin: Origin) -> Attributes {
    let mut route = Attributes::new(origin, AsPath::default(), ourselves(aggregate.prefix.family()));
    route.atomic_aggregate = true;
    route.aggregator = Some(Aggregator { asn: config.local_as, router_id: config.router_id });
    route.med = aggregate.med;
    route.local_pref = aggregate.local_pref;
    route.communities = sorted(&aggregate.communities);
    route.large_communities = sorted(&aggregate.large_communities);
    route
}

fn sorted<T: Copy + Ord>(values: &[T]) -> Box<[T]> {
    values.iter().copied().collect::<BTreeSet<T>>().into_iter().collect()
}

/// The next hop that stands for each session's own address.
pub(super) fn ourselves(family: Family) -> NextHop {
    NextHop::from(match family {
        Family::Ipv4Unicast => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::Ipv6Unicast => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(texts: &[(&str, bool)]) -> Aggregates {
        let aggregate = |&(text, summary_only): &(&str, bool)| Aggregate {
            prefix: text.parse().unwrap(),
            summary_only,
            med: None,
            local_pref: None,
            communities: Vec::new(),
            large_communities: Vec::new(),
        };
        texts.iter().map(aggregate).collect()
    }

    #[test]
    fn what_is_inside_of_a_summary_is_suppressed_and_the_summary_itself_is_not() {
        let all = all(&[("10.0.0.0/8", true), ("10.1.0.0/16", false), ("fd00::/32", true), ("192.0.2.0/24", false)]);
        for (prefix, suppressed) in [
            ("10.0.0.0/8", false),
            ("10.1.0.0/16", true),
            ("10.255.255.255/32", true),
            ("11.0.0.0/16", false),
            ("0.0.0.0/0", false),
            ("192.0.2.128/25", false),
            ("fd00::/32", false),
            ("fd00:0:1::/48", true),
            ("fd01::/48", false),
        ] {
            assert_eq!(all.suppress(prefix.parse().unwrap()), suppressed, "{prefix}");
        }
    }

    #[test]
    fn an_aggregate_has_the_worst_origin_of_its_contributors_and_goes_with_the_last() {
        use Origin::{Egp, Igp, Incomplete};
        let all = all(&[("10.0.0.0/8", false), ("10.1.0.0/16", false)]);
        let (outer, inner): (Prefix, Prefix) = ("10.0.0.0/8".parse().unwrap(), "10.1.0.0/16".parse().unwrap());
        let mut contributions = Contributions::default();
        for (prefix, id, origin, changed, of_outer, of_inner) in [
            ("10.1.2.0/24", 1, Some(Igp), vec![outer, inner], Some(Igp), Some(Igp)),
            ("10.2.0.0/24", 2, Some(Incomplete), vec![outer], Some(Incomplete), Some(Igp)),
            ("10.2.0.0/24", 2, Some(Incomplete), vec![], Some(Incomplete), Some(Igp)),
            ("10.2.0.0/24", 2, Some(Egp), vec![outer], Some(Egp), Some(Igp)),
            ("10.3.0.0/24", 3, Some(Egp), vec![], Some(Egp), Some(Igp)),
            ("10.0.0.0/8", 4, Some(Igp), vec![], Some(Egp), Some(Igp)),
            ("11.0.0.0/24", 5, Some(Igp), vec![], Some(Egp), Some(Igp)),
            ("10.1.2.0/24", 1, None, vec![inner], Some(Egp), None),
            ("10.1.2.0/24", 1, None, vec![], Some(Egp), None),
            ("10.2.0.0/24", 2, None, vec![], Some(Egp), None),
            ("10.3.0.0/24", 3, None, vec![outer], None, None),
        ] {
            assert_eq!(contributions.note(&all, prefix.parse().unwrap(), PrefixId(id), origin), changed, "{prefix}");
            assert_eq!((contributions.origin(outer), contributions.origin(inner)), (of_outer, of_inner), "{prefix}");
        }
    }
}
