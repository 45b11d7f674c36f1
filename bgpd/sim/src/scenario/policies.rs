//! What nodes do with routes: filters drawn for each neighbour, under which there is one stable state.

use std::sync::Arc;

use bgp_proto::conduct::DefaultOriginate;
use bgp_proto::filter::community::{AnyCommunity, CommunityPattern};
use bgp_proto::filter::number::{Adjust, AsnRange, NumberMatch};
use bgp_proto::filter::{Condition, Filter, PrefixList, PrefixMatch, Rule, Set, SetNextHop, Source, Then, Validation};
use bgp_proto::types::{Asn, Family, Prefix};
use bgp_proto::wire::attributes::Origin;
use bgp_proto::wire::community::{Community, LargeCommunity};

use super::{Scenario, Shape, next_hop, own_prefix};
use crate::random::Random;
use crate::topology::{NodeId, PeerSpec};

/// No node's AS.
const NOBODY: Asn = Asn(65500);

impl Scenario {
    /// Rules that ask for the state: they refuse by it, or tag.
    fn judge(&mut self, rules: &mut Vec<Rule>) {
        let Some(random) = &mut self.validation else { return };
        for _ in 0..random.below(3) {
            let conditions = vec![Condition::Validation(vec![random.pick(&Validation::ALL)])];
            let (mut set, mut then) = (Set::default(), Then::Reject);
            if random.percent(60) {
                let tag: Option<AnyCommunity> = random.pick(&["65000:1", "65000:3:1", "rt:65000:1"]).parse().ok();
                set.add_communities.extend(tag);
                then = Then::Next;
            }
            rules.push(Rule { conditions, set, then, ..Rule::default() });
        }
    }

    /// Another policy of a node for a neighbour.
    pub fn policy(&mut self, random: &mut Random, node: NodeId, peer: NodeId) -> Option<PeerSpec> {
        let mut policy = self.topology.peer(node, peer)?.clone();
        (policy.import, policy.export) = self.filters(random, node, peer);
        policy.conduct.next_hop = next_hop(random.percent(30)).next_hop;
        // Without chance, so that no other draw is another.
        policy.conduct.default_originate = match policy.conduct.default_originate {
            DefaultOriginate::While(_) => DefaultOriginate::Always,
            DefaultOriginate::Always | DefaultOriginate::No => DefaultOriginate::No,
        };
        policy.client ^= random.percent(20) && self.is_inside([node, peer]);
        if self.is_one_as() {
            policy.add_path_most = policy.add_path_most * 2 % 31;
        }
        Some(policy)
    }

    /// Filters of a node for a neighbour: import and export.
    pub(super) fn filters(
        &mut self,
        random: &mut Random,
        node: NodeId,
        peer: NodeId,
    ) -> (Option<Arc<Filter>>, Option<Arc<Filter>>) {
        let external = !self.is_inside([node, peer]);
        let (ours, theirs) = (self.topology.node(node).asn, self.topology.node(peer).asn);
        let mut import = self.refusals(random);
        let mut export = self.refusals(random);
        let mut taken = self.set(random);
        let mut given = self.set(random);
        // A tag that nobody else sets says that a route came from a provider.
        let from_provider = Community(ours.0 << 16 | 0xfff0);
        if external && self.tiers {
            let provider = theirs < ours;
            taken.local_pref = Some(if provider { 90.into() } else { 200.into() });
            if provider {
                taken.add_communities.push(from_provider.into());
                export.insert(0, Rule::reject(vec![is(from_provider)]));
            }
        }
        if external {
            given.prepend = random.pick(&[0, 0, 0, 1, 2]);
            let alone = self.topology.nodes.iter().filter(|other| other.asn == theirs).count() == 1;
            given.med = (alone && random.percent(40)).then(|| Adjust::To(random.below(3) as u32));
        }
        self.enrich([&mut import, &mut export], [&mut taken, &mut given], node, peer);
        import.push(Rule { set: taken, ..Rule::accept(vec![]) });
        export.push(Rule { set: given, ..Rule::accept(vec![]) });
        let filter = |name: &str, rules| Some(Arc::new(Filter { name: name.to_owned(), rules }));
        let (import, export) = (filter("in", import), filter("out", export));
        // RFC 8212: an external peer without filters hears and says nothing; an internal one everything.
        let without = if external { 4 } else { 60 };
        (import.filter(|_| !random.percent(without)), export.filter(|_| !random.percent(without)))
    }

    /// What filters can beyond prefixes and communities: rules of every kind of condition, some of which tag or untag a route
    /// and go on, and changes of every kind that leave one stable state.
    fn enrich(&mut self, rules: [&mut Vec<Rule>; 2], sets: [&mut Set; 2], node: NodeId, peer: NodeId) {
        let external = !self.is_inside([node, peer]);
        let alone = self.topology.links.iter().all(|link| !self.is_inside(link.ends));
        let [import, export] = rules;
        let [taken, given] = sets;
        for (rules, set) in [(import, &mut *taken), (export, &mut *given)] {
            // Numbers of nobody, which the rules behind see and nobody else does: a path that is shorter than where it came from
            // could be better than it, and there would be no one stable state.
            if self.rules.percent(15) {
                let marks = Set { prepend_as: vec![NOBODY; 1 + self.rules.below(2)], ..Set::default() };
                rules.push(Rule { set: marks, then: Then::Next, ..Rule::default() });
                set.remove_as = vec![AsnRange::from(NOBODY)];
            }
            for _ in 0..self.rules.below(4) {
                let (conditions, except) = (self.conditions(node), self.rules.percent(30));
                let except = if except { self.conditions(node) } else { Vec::new() };
                let (set, then) = match self.rules.percent(25) {
                    true => (Set::default(), Then::Reject),
                    false => (self.tags(), Then::Next),
                };
                // Behind what hides a provider's routes from other providers.
                rules.push(Rule { conditions, except, set, then });
            }
            self.judge(rules);
        }
        if self.shape == Shape::Mesh && self.rules.percent(30) {
            taken.weight = Some(self.rules.below(3) as u32);
        }
        if let Some(Adjust::To(preference)) = taken.local_pref {
            // The same in other words.
            if self.rules.percent(50) {
                let up = preference > 100;
                taken.local_pref = Some(if up { Adjust::Up(preference - 100) } else { Adjust::Down(100 - preference) });
            }
            // Of providers it would outdo a customer's preference, where that has none.
            if alone && self.rules.percent(50) && preference > 100 {
                taken.weight = Some(preference);
            }
        }
        if let Some(Adjust::To(med)) = given.med
            && self.rules.percent(50)
        {
            given.med = Some(Adjust::Up(med));
        }
        if external {
            if self.rules.percent(20) {
                // Our end of the session, where it is not known by its link alone.
                let end = self.topology.link(node, peer).filter(|_| self.topology.interface(node, peer).is_none());
                let end = end.map(|link| SetNextHop::Address(self.topology.address(node, link)));
                given.next_hop =
                    Some(self.rules.pick(&[SetNextHop::Own, SetNextHop::Unchanged, end.unwrap_or(SetNextHop::Own)]));
            }
            if self.rules.percent(15) {
                given.prepend_as = vec![self.topology.node(node).asn; 1 + self.rules.below(2)];
            }
            // Before it come weight, preference and the length of the path, which grows with each AS.
            if self.rules.percent(15) {
                given.origin = Some(self.rules.pick(&[Origin::Igp, Origin::Egp, Origin::Incomplete]));
            }
        }
        if self.rules.percent(15) {
            given.link_bandwidth = ["10G", "25G", "400M"][self.rules.below(3)].parse().ok();
        }
        if self.rules.percent(10) {
            given.replace_communities.push(LargeCommunity { global: 65000, local1: 9, local2: 9 }.into());
        }
    }

    fn conditions(&mut self, node: NodeId) -> Vec<Condition> {
        let any = NodeId(self.rules.below(self.topology.nodes.len()) as u16);
        let other = self.topology.node(any);
        let (asn, address) = (other.asn, other.address4);
        let neighbours: Vec<NodeId> = self.topology.node(node).peers.keys().copied().collect();
        let second = self.topology.nodes[self.rules.below(self.topology.nodes.len())].asn;
        let pattern = match self.rules.below(6) {
            0 => format!("^{asn}"),
            1 => format!("{asn}$"),
            2 => format!("{asn}"),
            3 => "^.{1,2}$".to_owned(),
            4 => "^$".to_owned(),
            _ => format!("^{asn} .* {second}$"),
        };
        let condition = match self.rules.below(15) {
            0 => Condition::Prefix(own_prefix(any, self.rules.below(8)).map(PrefixMatch::exact).into_iter().collect()),
            1 => Condition::Family(vec![self.rules.pick(&Family::ALL)]),
            2 | 3 => Condition::AsPath(pattern.parse().into_iter().collect()),
            4 => Condition::AsPathLength(NumberMatch { ge: self.rules.below(3) as u32, le: 3 }),
            5 => Condition::OriginAs(vec![AsnRange::from(asn)]),
            6 => Condition::NeighborAs(vec![AsnRange::from(asn)]),
            7 => {
                let texts = ["65000:*", "65000:2", "65000:*:9", "rt:*", "lb:*", "*"];
                Condition::Community(self.rules.pick(&texts).parse().into_iter().collect())
            }
            8 => Condition::NextHop(Prefix::new(address.into(), 32).into_iter().collect()),
            9 => Condition::Peer(vec![neighbours[self.rules.below(neighbours.len())].to_string()]),
            10 => Condition::Origin(vec![self.rules.pick(&[Origin::Igp, Origin::Egp, Origin::Incomplete])]),
            11 => Condition::Source(vec![self.rules.pick(&Source::ALL)]),
            12 => Condition::Med(NumberMatch { ge: self.rules.below(3) as u32, le: 2 }),
            13 => Condition::LocalPref(NumberMatch { ge: self.rules.pick(&[90, 100, 101]), le: 200 }),
            _ => Condition::PrefixList(vec![self.prefix_list(any)]),
        };
        if self.rules.percent(15) { Vec::new() } else { vec![condition] }
    }

    /// One prefix of a node, and those of a length in which it has some.
    fn prefix_list(&mut self, node: NodeId) -> Arc<PrefixList> {
        let one = own_prefix(node, self.rules.below(8)).map(PrefixMatch::exact);
        let some = own_prefix(node, 0).and_then(|prefix| {
            let around = Prefix::new(prefix.address(), self.rules.pick(&[8, 16, 24]))?;
            Some(PrefixMatch { prefix: around, ge: 24, le: self.rules.pick(&[24, 32]) })
        });
        Arc::new(PrefixList::new("some".to_owned(), one.into_iter().chain(some).collect()))
    }

    /// Tags that no other rule relies on, to add and to remove.
    fn tags(&mut self) -> Set {
        let mut set = Set::default();
        let tags = ["65000:1", "65000:2", "65000:3:1", "rt:65000:1", "lb:65000:1G"];
        let tag: Option<AnyCommunity> = self.rules.pick(&tags).parse().ok();
        let gone: Option<CommunityPattern> =
            self.rules.pick(&["65000:*", "65000:1", "65000:*:*", "rt:*", "lb:*"]).parse().ok();
        if self.rules.percent(60) {
            set.add_communities.extend(tag);
        }
        if self.rules.percent(40) {
            set.remove_communities.extend(gone);
        }
        set
    }

    fn refusals(&self, random: &mut Random) -> Vec<Rule> {
        let mut rules = Vec::new();
        if random.percent(15) {
            rules.push(Rule::reject(vec![is(Community(65000 << 16 | random.below(4) as u32))]));
        }
        if random.percent(15) {
            let node = NodeId(random.below(self.topology.nodes.len()) as u16);
            let prefixes = own_prefix(node, random.below(8)).map(PrefixMatch::exact).into_iter().collect();
            rules.push(Rule::reject(vec![Condition::Prefix(prefixes)]));
        }
        rules
    }

    fn set(&self, random: &mut Random) -> Set {
        let mut set = Set::default();
        if random.percent(20) {
            set.add_communities.push(Community(65000 << 16 | random.below(4) as u32).into());
        }
        if random.percent(10) {
            let large = LargeCommunity { global: 65000, local1: 3, local2: random.below(2) as u32 };
            set.add_communities.push(large.into());
        }
        set
    }
}

/// A route has this community.
fn is(community: Community) -> Condition {
    Condition::Community(vec![CommunityPattern::exactly(community.into())])
}
