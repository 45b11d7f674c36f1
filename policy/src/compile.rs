//! From documents and endpoints to a [`Ruleset`]: a pure function.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::blocks;
use crate::index::{Index, PodScope, selects};
use crate::ruleset::{Chain, Elements, End, Family, Hook, Match, Rule, Ruleset, Set, Side, Verdict, protocol_name};
use crate::{Default, Direction, IpBlock, Namespace, NetworkPolicy, Peer, Pod, Port, PortNumber, Protocol};

/// A pod on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The host's end of its interface, `lin…`.
    pub interface: String,
    /// Its addresses, both families.
    pub addresses: Vec<IpAddr>,
}

/// All that [`compile`] looks at.
#[derive(Clone, Debug)]
pub struct Input {
    /// The pods on this host.
    pub endpoints: Vec<Endpoint>,
    /// Pods on any host. An endpoint with the same namespace and name is the better source of labels and addresses.
    pub pods: Vec<Pod>,
    /// Namespaces; one that is not here has the label `kubernetes.io/metadata.name` alone.
    pub namespaces: Vec<Namespace>,
    /// The policies.
    pub policies: Vec<NetworkPolicy>,
    /// For the directions of an endpoint in which no policy selects it.
    pub default: Default,
}

/// The ruleset that enforces `input` on this host. Equal inputs give equal rulesets, whatever their order.
///
/// Interfaces of endpoints must be distinct; of two with the same one the first by namespace and name counts.
pub fn compile(input: &Input) -> Ruleset {
    let mut endpoints: BTreeMap<&str, &Endpoint> = BTreeMap::new();
    let mut by_name: Vec<&Endpoint> = input.endpoints.iter().collect();
    by_name.sort_by_key(|endpoint| (&endpoint.namespace, &endpoint.name));
    for endpoint in by_name {
        endpoints.entry(&endpoint.interface).or_insert(endpoint);
    }
    let mut policies: Vec<&NetworkPolicy> = input.policies.iter().collect();
    policies.sort_by_key(|policy| (&policy.namespace, &policy.name, &policy.origin));

    let mut compiler = Compiler { index: Index::new(input), sets: Sets::default() };
    let mut chains = gates(&endpoints);
    let mut policy_chains = Vec::new();
    for direction in [Direction::Egress, Direction::Ingress] {
        // Only policies that select a pod of this host in this direction become chains.
        let mut names: BTreeMap<usize, String> = BTreeMap::new();
        for endpoint in endpoints.values() {
            let selecting: Vec<usize> = (0..policies.len())
                .filter(|&at| policies[at].rules(direction).is_some() && selects(policies[at], endpoint))
                .collect();
            for &at in &selecting {
                names.entry(at).or_insert_with(|| policy_chain_name(policies[at], direction));
            }
            let jumps = selecting.iter().filter_map(|at| names.get(at)).map(String::as_str);
            chains.push(endpoint_chain(endpoint, direction, jumps, input.default));
        }
        for (at, name) in names {
            policy_chains.push(compiler.policy_chain(name, policies[at], direction));
        }
    }
    chains.extend(policy_chains);

    let mut sets = source_sets(&endpoints);
    sets.extend(compiler.sets.sets);
    Ruleset { sets, chains }
}

/// What parsed but cannot do what its author meant, a sentence each.
pub(crate) fn warnings(input: &Input) -> Vec<String> {
    let index = Index::new(input);
    let mut warnings = BTreeSet::new();
    for policy in &input.policies {
        if !input.endpoints.iter().any(|endpoint| selects(policy, endpoint)) {
            continue;
        }
        let rules = policy.ingress.iter().chain(&policy.egress).flatten();
        for (rule, port) in rules.flat_map(|rule| rule.ports.iter().map(move |port| (rule, port))) {
            if let PortNumber::Named(name) = &port.number
                && index.named_port(port.protocol, name).is_empty()
            {
                warnings.insert(format!(
                    "{}:{}: policy {}/{} allows the {} port {name:?}, but no pod that is known here gives a port that name, \
                     so this allows nothing: write its number, or add the pods' documents (kind: Pod, \
                     spec.containers[].ports[])",
                    policy.origin.file,
                    rule.line,
                    policy.namespace,
                    policy.name,
                    protocol_name(port.protocol).to_uppercase(),
                ));
            }
        }
    }
    warnings.into_iter().collect()
}

const FROM_PODS: &str = "from-pods";
const TO_PODS: &str = "to-pods";
const SOURCES: [(Family, &str); 2] = [(Family::V4, "sources-v4"), (Family::V6, "sources-v6")];

fn rule(matches: Vec<Match>, verdict: Verdict) -> Rule {
    Rule { matches, verdict, comment: None }
}

/// The base chains and the two that dispatch by interface.
fn gates(endpoints: &BTreeMap<&str, &Endpoint>) -> Vec<Chain> {
    let from = rule(vec![Match::PodInterface(Side::In)], Verdict::Goto(FROM_PODS.into()));
    let to = rule(vec![Match::PodInterface(Side::Out)], Verdict::Goto(TO_PODS.into()));
    let discovery = rule(vec![Match::PodInterface(Side::In), Match::NeighbourDiscovery], Verdict::Accept);
    let base = |name: &str, hook: Hook, rules: Vec<Rule>| Chain { name: name.into(), hook: Some(hook), rules };
    // Of an established flow each packet passes, without being measured against today's policies. Nothing is said of
    // packets that conntrack calls invalid: they are not established, so the policies decide by their addresses.
    let established = || rule(vec![Match::Established], Verdict::Accept);

    let mut from_rules: Vec<Rule> = SOURCES
        .iter()
        .map(|&(family, set)| rule(vec![Match::ForeignSource { family, set: set.into() }], Verdict::Drop))
        .collect();
    from_rules.push(established());
    from_rules.extend(dispatch(endpoints, Side::In, Direction::Egress));
    from_rules.push(rule(vec![], Verdict::Drop));

    let mut to_rules = vec![established()];
    to_rules.extend(dispatch(endpoints, Side::Out, Direction::Ingress));
    to_rules.push(rule(vec![], Verdict::Drop));

    vec![
        base("forward-egress", Hook::ForwardEgress, vec![from.clone()]),
        base("forward-ingress", Hook::ForwardIngress, vec![to]),
        base("input-egress", Hook::InputEgress, vec![discovery, from]),
        Chain { name: FROM_PODS.into(), hook: None, rules: from_rules },
        Chain { name: TO_PODS.into(), hook: None, rules: to_rules },
    ]
}

/// One look-up, however many endpoints; nft has no empty verdict map.
fn dispatch(endpoints: &BTreeMap<&str, &Endpoint>, side: Side, direction: Direction) -> Option<Rule> {
    let targets: Vec<(String, String)> =
        endpoints.keys().map(|name| ((*name).to_owned(), endpoint_chain_name(name, direction))).collect();
    (!targets.is_empty()).then(|| rule(vec![], Verdict::Dispatch(side, targets)))
}

fn source_sets(endpoints: &BTreeMap<&str, &Endpoint>) -> Vec<Set> {
    SOURCES
        .iter()
        .map(|&(family, name)| Set {
            name: name.into(),
            family: Some(family),
            comment: "the addresses that each pod may send from".into(),
            elements: Elements::Sources(
                endpoints
                    .iter()
                    .flat_map(|(name, endpoint)| endpoint.addresses.iter().map(move |a| ((*name).to_owned(), *a)))
                    .filter(|(_, address)| Family::of(*address) == family)
                    .collect(),
            ),
        })
        .collect()
}

fn endpoint_chain_name(interface: &str, direction: Direction) -> String {
    match direction {
        Direction::Ingress => format!("pod-ingress/{interface}"),
        Direction::Egress => format!("pod-egress/{interface}"),
    }
}

/// What happens to one direction of one endpoint.
fn endpoint_chain<'n>(
    endpoint: &Endpoint,
    direction: Direction,
    policies: impl Iterator<Item = &'n str>,
    default: Default,
) -> Chain {
    let who = format!("{}/{}", endpoint.namespace, endpoint.name);
    let mut rules: Vec<Rule> = policies.map(|name| rule(vec![], Verdict::Jump(name.into()))).collect();
    let (verdict, why) = match (rules.is_empty(), default) {
        (false, _) => (Verdict::Drop, "no policy that selects it allows this"),
        (true, Default::Allow) => (Verdict::Accept, "no policy selects it: default allow"),
        (true, Default::Deny) => (Verdict::Drop, "no policy selects it: default deny"),
    };
    rules.push(Rule { matches: vec![], verdict, comment: Some(comment(&format!("{why}; {who}"))) });
    Chain { name: endpoint_chain_name(&endpoint.interface, direction), hook: None, rules }
}

/// Kernel names end at 255 bytes, and a policy's may have 253.
const MAX_POLICY_NAME: usize = 150;

fn policy_chain_name(policy: &NetworkPolicy, direction: Direction) -> String {
    let prefix = match direction {
        Direction::Ingress => "policy-ingress",
        Direction::Egress => "policy-egress",
    };
    let (namespace, name) = (&policy.namespace, &policy.name);
    match name.char_indices().nth(MAX_POLICY_NAME) {
        None => format!("{prefix}/{namespace}/{name}"),
        // An underscore is in no policy's name, so this is nobody else's.
        Some((end, _)) => format!("{prefix}/{namespace}/{}_{:016x}", &name[..end], fnv(name)),
    }
}

/// nft keeps at most 128 bytes of a comment, and quotes have no escape.
fn comment(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() || matches!(c, '"' | '\\') { '?' } else { c });
    let mut short = String::new();
    for c in clean {
        if short.len() + c.len_utf8() > 120 {
            break;
        }
        short.push(c);
    }
    short
}

/// What is asked of a packet, for one family or for both.
type Condition = (Option<Family>, Vec<Match>);

struct Compiler<'a> {
    index: Index<'a>,
    sets: Sets<'a>,
}

impl<'a> Compiler<'a> {
    fn policy_chain(&mut self, name: String, policy: &'a NetworkPolicy, direction: Direction) -> Chain {
        let (end, field) = match direction {
            Direction::Ingress => (End::Source, "ingress"),
            Direction::Egress => (End::Destination, "egress"),
        };
        let mut rules = Vec::new();
        for (at, allowed) in policy.rules(direction).unwrap_or_default().iter().enumerate() {
            let origin = comment(&format!("{field}[{at}] {}:{}", policy.origin.file, allowed.line));
            let who = self.peers(&allowed.peers, &policy.namespace, end);
            let what = self.ports(&allowed.ports);
            for (peer_family, peer) in &who {
                for (port_family, port) in &what {
                    if peer_family.is_none() || port_family.is_none() || peer_family == port_family {
                        let matches = peer.iter().chain(port).cloned().collect();
                        rules.push(Rule { matches, verdict: Verdict::Accept, comment: Some(origin.clone()) });
                    }
                }
            }
        }
        Chain { name, hook: None, rules }
    }

    /// One of these must hold for the other end. All blocks of a rule become one set a family.
    fn peers(&mut self, peers: &'a [Peer], namespace: &'a str, end: End) -> Vec<Condition> {
        if peers.is_empty() {
            return vec![(None, vec![])];
        }
        let mut conditions = Vec::new();
        let scopes: BTreeSet<PodScope<'a>> = peers.iter().filter_map(|peer| PodScope::of(peer, namespace)).collect();
        for scope in scopes {
            for (family, set) in self.sets.pods(&self.index, scope) {
                conditions.push((Some(family), vec![Match::Address { end, family, set }]));
            }
        }
        let blocks: Vec<&IpBlock> = peers
            .iter()
            .filter_map(|peer| match peer {
                Peer::Block(block) => Some(block),
                Peer::Pods { .. } => None,
            })
            .collect();
        for family in Family::BOTH {
            let ranges = blocks::ranges(&blocks, family);
            let condition = match ranges[..] {
                [] => continue,
                [(first, last)] => Match::Within { end, first, last },
                [..] => Match::Address { end, family, set: self.sets.blocks(family, ranges) },
            };
            conditions.push((Some(family), vec![condition]));
        }
        conditions
    }

    /// One of these must hold for protocol and destination port.
    fn ports(&mut self, ports: &'a [Port]) -> Vec<Condition> {
        if ports.is_empty() {
            return vec![(None, vec![])];
        }
        let mut conditions = Vec::new();
        for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
            let mut any = false;
            let mut ranges = Vec::new();
            let mut names = BTreeSet::new();
            for port in ports.iter().filter(|port| port.protocol == protocol) {
                match &port.number {
                    PortNumber::Any => any = true,
                    PortNumber::Range(first, last) => ranges.push((*first, *last)),
                    PortNumber::Named(name) => _ = names.insert(name.as_str()),
                }
            }
            if any {
                conditions.push((None, vec![Match::Transport(protocol)]));
                continue;
            }
            let ranges = blocks::port_ranges(ranges);
            match ranges[..] {
                [] => {}
                [(first, last)] => conditions.push((None, vec![Match::Port { protocol, first, last }])),
                [..] => conditions.push((None, vec![Match::Ports { protocol, set: self.sets.ports(ranges) }])),
            }
            for name in names {
                for (family, set) in self.sets.named_port(&self.index, protocol, name) {
                    conditions.push((Some(family), vec![Match::NamedPort { protocol, family, set }]));
                }
            }
        }
        conditions
    }
}

/// The sets that rules name, each once. A set's name follows from what it stands for and from nothing else, so that
/// no name stands for one thing before a transaction and for another after it: a packet that is being looked at while
/// the kernel commits meets the old rules and the new members.
#[derive(std::default::Default)]
struct Sets<'a> {
    sets: Vec<Set>,
    names: BTreeSet<String>,
    pods: BTreeMap<PodScope<'a>, [(Family, String); 2]>,
    blocks: BTreeMap<(Family, Vec<(IpAddr, IpAddr)>), String>,
    ports: BTreeMap<Vec<(u16, u16)>, String>,
    named_ports: BTreeMap<(Protocol, &'a str), [(Family, String); 2]>,
}

impl<'a> Sets<'a> {
    fn pods(&mut self, index: &Index<'a>, scope: PodScope<'a>) -> [(Family, String); 2] {
        if let Some(known) = self.pods.get(&scope) {
            return known.clone();
        }
        let addresses = index.addresses(&scope);
        let text = scope.to_string();
        let both = Family::BOTH.map(|family| {
            let elements = addresses.iter().copied().filter(|address| Family::of(*address) == family).collect();
            (family, self.add(&text, Some(family), Elements::Addresses(elements)))
        });
        self.pods.insert(scope, both.clone());
        both
    }

    fn blocks(&mut self, family: Family, ranges: Vec<(IpAddr, IpAddr)>) -> String {
        if let Some(known) = self.blocks.get(&(family, ranges.clone())) {
            return known.clone();
        }
        let text: Vec<String> = ranges.iter().map(|(first, last)| format!("{first}-{last}")).collect();
        let name = self.add(&format!("blocks {}", text.join(",")), Some(family), Elements::Blocks(ranges.clone()));
        self.blocks.insert((family, ranges), name.clone());
        name
    }

    fn ports(&mut self, ranges: Vec<(u16, u16)>) -> String {
        if let Some(known) = self.ports.get(&ranges) {
            return known.clone();
        }
        let text: Vec<String> = ranges.iter().map(|(first, last)| format!("{first}-{last}")).collect();
        let name = self.add(&format!("ports {}", text.join(",")), None, Elements::Ports(ranges.clone()));
        self.ports.insert(ranges, name.clone());
        name
    }

    fn named_port(&mut self, index: &Index<'a>, protocol: Protocol, name: &'a str) -> [(Family, String); 2] {
        if let Some(known) = self.named_ports.get(&(protocol, name)) {
            return known.clone();
        }
        let ports = index.named_port(protocol, name);
        let both = Family::BOTH.map(|family| {
            let elements = ports.iter().copied().filter(|(address, _)| Family::of(*address) == family).collect();
            let text = format!("{} ports named {name}", protocol_name(protocol));
            (family, self.add(&text, Some(family), Elements::NamedPorts(elements)))
        });
        self.named_ports.insert((protocol, name), both.clone());
        both
    }

    /// Adds a set that stands for what `text` says, and gives its name.
    fn add(&mut self, text: &str, family: Option<Family>, elements: Elements) -> String {
        let mut base = name_for(text);
        if let Some(family) = family {
            base += &format!("-v{}", family.digit());
        }
        let mut name = base.clone();
        let mut more = 2;
        // Two texts with one hash: possible, if only for somebody who looked for them.
        while !self.names.insert(name.clone()) {
            name = format!("{base}-{more}");
            more += 1;
        }
        self.sets.push(Set { name: name.clone(), family, elements, comment: comment(text) });
        name
    }
}

/// A name for nft that a person can guess the text from, and that differs where the text does.
fn name_for(text: &str) -> String {
    let mut slug = String::new();
    for c in text.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_') { c } else { '-' }) {
        if slug.len() < 48 && !(c == '-' && slug.ends_with('-')) {
            slug.push(c);
        }
    }
    format!("{}-{:016x}", slug.trim_end_matches('-'), fnv(text))
}

/// FNV-1a with 64 bits: the same in every version of the program, which the standard library does not promise of its own.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;
