//! Two judges of a packet that know nothing of one another: one reads the policies as Kubernetes' documentation
//! words them, the other walks the compiled ruleset as the kernel would. They must agree.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use proptest::prelude::*;
use proptest::sample::select;

use super::{Input, compile};
use crate::document::{IpBlock, Operator, PodPort, Requirement, Rule};
use crate::ruleset::{Chain, Elements, End, Family, Hook, Match, Ruleset, Side, Verdict};
use crate::{
    Default, Direction, Endpoint, Namespace, NetworkPolicy, Origin, Peer, Pod, Port, PortNumber, Protocol, Selector,
};

/// The first packet of a flow.
#[derive(Clone, Debug)]
struct Packet {
    from: IpAddr,
    to: IpAddr,
    /// `None`: another protocol, as ICMP, that has no ports.
    transport: Option<(Protocol, u16)>,
    /// The interface that it comes in by; `None`: one that is none of Linnet's.
    inward: Option<String>,
    /// The interface that it leaves by, likewise.
    outward: Option<String>,
}

// The first judge.

fn allowed(input: &Input, packet: &Packet) -> bool {
    let end = |interface: &Option<String>| {
        interface
            .as_ref()
            .filter(|name| *name != "linnet.vxlan")
            .map(|name| input.endpoints.iter().find(|endpoint| &endpoint.interface == name))
    };
    let out = match end(&packet.inward) {
        None => true,
        Some(None) => false,
        Some(Some(endpoint)) => {
            endpoint.addresses.contains(&packet.from) && direction_allows(input, endpoint, Direction::Egress, packet)
        }
    };
    let into = match end(&packet.outward) {
        None => true,
        Some(None) => false,
        Some(Some(endpoint)) => direction_allows(input, endpoint, Direction::Ingress, packet),
    };
    out && into
}

fn direction_allows(input: &Input, endpoint: &Endpoint, direction: Direction, packet: &Packet) -> bool {
    let other = match direction {
        Direction::Ingress => packet.from,
        Direction::Egress => packet.to,
    };
    let selecting: Vec<&NetworkPolicy> = input
        .policies
        .iter()
        .filter(|policy| policy.namespace == endpoint.namespace && fits(&policy.pods, &endpoint.labels))
        .filter(|policy| policy.rules(direction).is_some())
        .collect();
    if selecting.is_empty() {
        return input.default == Default::Allow;
    }
    selecting.iter().any(|policy| {
        policy.rules(direction).unwrap().iter().any(|rule| {
            let peer = rule.peers.is_empty() || rule.peers.iter().any(|peer| is_peer(input, policy, peer, other));
            let port = rule.ports.is_empty() || rule.ports.iter().any(|port| is_port(input, port, packet));
            peer && port
        })
    })
}

fn fits(selector: &Selector, labels: &BTreeMap<String, String>) -> bool {
    selector.requirements.iter().all(|Requirement { key, operator }| match (operator, labels.get(key)) {
        (Operator::In(values), Some(value)) => values.contains(value),
        (Operator::NotIn(values), Some(value)) => !values.contains(value),
        (Operator::Exists | Operator::In(_), None) | (Operator::DoesNotExist, Some(_)) => false,
        (Operator::Exists, Some(_)) | (Operator::DoesNotExist | Operator::NotIn(_), None) => true,
    })
}

/// Namespace, labels, addresses and named ports.
type Known<'a> = (&'a str, &'a BTreeMap<String, String>, &'a [IpAddr], Vec<PodPort>);

/// Every pod that is known, once.
fn population(input: &Input) -> Vec<Known<'_>> {
    let ports = |namespace: &str, name: &str| {
        let pod = input.pods.iter().find(|pod| pod.namespace == namespace && pod.name == name);
        pod.map(|pod| pod.ports.clone()).unwrap_or_default()
    };
    let local = input
        .endpoints
        .iter()
        .map(|e| (e.namespace.as_str(), &e.labels, &e.addresses[..], ports(&e.namespace, &e.name)));
    let elsewhere = input
        .pods
        .iter()
        .filter(|pod| !input.endpoints.iter().any(|e| e.namespace == pod.namespace && e.name == pod.name))
        .map(|pod| (pod.namespace.as_str(), &pod.labels, &pod.addresses[..], pod.ports.clone()));
    local.chain(elsewhere).collect()
}

fn is_peer(input: &Input, policy: &NetworkPolicy, peer: &Peer, address: IpAddr) -> bool {
    match peer {
        Peer::Block(block) => {
            block.cidr.contains(address) && !block.except.iter().any(|except| except.contains(address))
        }
        Peer::Pods { namespaces, pods } => population(input).into_iter().any(|(namespace, labels, addresses, _)| {
            let mut of_namespace = input
                .namespaces
                .iter()
                .find(|known| known.name == namespace)
                .map(|known| known.labels.clone())
                .unwrap_or_default();
            of_namespace.insert("kubernetes.io/metadata.name".into(), namespace.into());
            let in_namespace = match namespaces {
                None => namespace == policy.namespace,
                Some(selector) => fits(selector, &of_namespace),
            };
            in_namespace && fits(pods, labels) && addresses.contains(&address)
        }),
    }
}

fn is_port(input: &Input, port: &Port, packet: &Packet) -> bool {
    let Some((protocol, number)) = packet.transport else { return false };
    protocol == port.protocol
        && match &port.number {
            PortNumber::Any => true,
            PortNumber::Range(first, last) => (*first..=*last).contains(&number),
            PortNumber::Named(name) => population(input).into_iter().any(|(_, _, addresses, ports)| {
                addresses.contains(&packet.to)
                    && ports.iter().any(|p| p.protocol == protocol && &p.name == name && p.number == number)
            }),
        }
}

// The second judge.

impl Ruleset {
    /// Whether the packet gets through all base chains of the forward hook.
    fn forwards(&self, packet: &Packet) -> bool {
        [Hook::ForwardEgress, Hook::ForwardIngress].into_iter().all(|hook| {
            let base = self.chains.iter().find(|chain| chain.hook == Some(hook)).unwrap();
            self.walk(base, packet, 0).unwrap_or(true)
        })
    }

    /// Accepted, dropped, or neither.
    fn walk(&self, chain: &Chain, packet: &Packet, depth: usize) -> Option<bool> {
        assert!(depth < 16, "deeper than the kernel's stack");
        for rule in &chain.rules {
            if !rule.matches.iter().all(|one| self.holds(one, packet)) {
                continue;
            }
            match &rule.verdict {
                Verdict::Accept => return Some(true),
                Verdict::Drop => return Some(false),
                Verdict::Jump(name) => match self.walk(self.chain(name), packet, depth + 1) {
                    None => {}
                    end => return end,
                },
                Verdict::Goto(name) => return self.walk(self.chain(name), packet, depth),
                Verdict::Dispatch(side, targets) => {
                    let name = side_of(*side, packet);
                    if let Some((_, chain)) = targets.iter().find(|(target, _)| Some(target) == name) {
                        return self.walk(self.chain(chain), packet, depth);
                    }
                }
            }
        }
        None
    }

    fn chain(&self, name: &str) -> &Chain {
        self.chains.iter().find(|chain| chain.name == name).unwrap()
    }

    fn holds(&self, one: &Match, packet: &Packet) -> bool {
        let elements = |name: &str| &self.sets.iter().find(|set| set.name == name).unwrap().elements;
        match one {
            Match::PodInterface(side) => {
                side_of(*side, packet).is_some_and(|name| name.starts_with("lin") && !name.starts_with("linnet."))
            }
            Match::ForeignSource { family, set } => {
                let Elements::Sources(pairs) = elements(set) else { panic!("{set} is not of sources") };
                let pair = (packet.inward.clone().unwrap_or_default(), packet.from);
                Family::of(packet.from) == *family && !pairs.contains(&pair)
            }
            Match::Established | Match::NeighbourDiscovery => false,
            Match::Address { end, family, set } => {
                let address = match end {
                    End::Source => packet.from,
                    End::Destination => packet.to,
                };
                Family::of(address) == *family
                    && match elements(set) {
                        Elements::Addresses(addresses) => addresses.contains(&address),
                        Elements::Blocks(ranges) => {
                            ranges.iter().any(|(first, last)| (first..=last).contains(&&address))
                        }
                        Elements::Sources(_) | Elements::NamedPorts(_) | Elements::Ports(_) => {
                            panic!("{set} is not of addresses")
                        }
                    }
            }
            Match::Transport(protocol) => packet.transport.is_some_and(|(of, _)| of == *protocol),
            Match::Within { end, first, last } => {
                let address = match end {
                    End::Source => packet.from,
                    End::Destination => packet.to,
                };
                Family::of(address) == Family::of(*first) && (first..=last).contains(&&address)
            }
            Match::Port { protocol, first, last } => {
                packet.transport.is_some_and(|(of, port)| of == *protocol && (*first..=*last).contains(&port))
            }
            Match::Ports { protocol, set } => {
                let Elements::Ports(ranges) = elements(set) else { panic!("{set} is not of ports") };
                packet.transport.is_some_and(|(of, port)| {
                    of == *protocol && ranges.iter().any(|(first, last)| (*first..=*last).contains(&port))
                })
            }
            Match::NamedPort { protocol, family, set } => {
                let Elements::NamedPorts(pairs) = elements(set) else { panic!("{set} is not of ports") };
                packet.transport.is_some_and(|(of, port)| {
                    of == *protocol && Family::of(packet.to) == *family && pairs.contains(&(packet.to, port))
                })
            }
        }
    }
}

fn side_of(side: Side, packet: &Packet) -> Option<&String> {
    match side {
        Side::In => packet.inward.as_ref(),
        Side::Out => packet.outward.as_ref(),
    }
}

// Small worlds, so that things meet.

const ADDRESSES: [&str; 9] =
    ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.1.1", "192.0.2.1", "fd00::1", "fd00::2", "fd00::3", "2001:db8::1"];

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    proptest::collection::btree_map(
        select(vec!["app", "tier"]).prop_map(String::from),
        select(vec!["a", "b"]).prop_map(String::from),
        0..3,
    )
}

fn selector() -> impl Strategy<Value = Selector> {
    let key = select(vec!["app", "tier", "kubernetes.io/metadata.name"]).prop_map(String::from);
    let values = || proptest::collection::vec(select(vec!["a", "b", "red"]).prop_map(String::from), 1..3);
    let operator = prop_oneof![
        values().prop_map(Operator::In),
        values().prop_map(Operator::NotIn),
        Just(Operator::Exists),
        Just(Operator::DoesNotExist),
    ];
    proptest::collection::vec((key, operator), 0..3).prop_map(|requirements| Selector {
        requirements: requirements.into_iter().map(|(key, operator)| Requirement { key, operator }).collect(),
    })
}

fn block() -> impl Strategy<Value = IpBlock> {
    let network = |text: &str| text.parse::<IpNetwork>().unwrap();
    let choices = vec![
        ("10.0.0.0/8", vec!["10.0.0.0/24", "10.0.0.2/32", "10.0.0.0/31"]),
        ("10.0.0.0/24", vec!["10.0.0.1/32", "10.0.0.2/31"]),
        ("0.0.0.0/0", vec!["10.0.0.0/8", "192.0.2.0/24"]),
        ("::/0", vec!["fd00::/64", "fd00::1/128"]),
        ("fd00::/126", vec!["fd00::2/127"]),
    ];
    select(choices).prop_flat_map(move |(cidr, except)| {
        proptest::sample::subsequence(except.clone(), 0..=except.len())
            .prop_map(move |except| IpBlock { cidr: network(cidr), except: except.into_iter().map(network).collect() })
    })
}

fn protocol() -> impl Strategy<Value = Protocol> {
    select(vec![Protocol::Tcp, Protocol::Udp, Protocol::Sctp])
}

fn port() -> impl Strategy<Value = Port> {
    let number = prop_oneof![
        Just(PortNumber::Any),
        select(vec![(80, 80), (81, 81), (79, 82), (82, 65535), (1, 1)]).prop_map(|(a, b)| PortNumber::Range(a, b)),
        select(vec!["http", "dns"]).prop_map(|name| PortNumber::Named(name.into())),
    ];
    (protocol(), number).prop_map(|(protocol, number)| Port { protocol, number })
}

fn rules() -> impl Strategy<Value = Option<Vec<Rule>>> {
    let peer = prop_oneof![
        (proptest::option::of(selector()), selector()).prop_map(|(namespaces, pods)| Peer::Pods { namespaces, pods }),
        block().prop_map(Peer::Block),
    ];
    let rule = (proptest::collection::vec(peer, 0..3), proptest::collection::vec(port(), 0..4))
        .prop_map(|(peers, ports)| Rule { line: 1, peers, ports });
    proptest::option::weighted(0.7, proptest::collection::vec(rule, 0..3))
}

fn namespace_name() -> impl Strategy<Value = String> {
    select(vec!["red", "blue"]).prop_map(String::from)
}

fn origin() -> Origin {
    Origin { file: "x.yaml".into(), line: 1 }
}

fn policy() -> impl Strategy<Value = NetworkPolicy> {
    (namespace_name(), selector(), rules(), rules()).prop_map(|(namespace, pods, ingress, egress)| NetworkPolicy {
        origin: origin(),
        namespace,
        name: String::new(),
        pods,
        ingress,
        egress,
    })
}

fn input() -> impl Strategy<Value = Input> {
    let who = || (namespace_name(), labels());
    let ports = proptest::collection::vec(
        (select(vec!["http", "dns"]), protocol(), select(vec![80u16, 81, 82]))
            .prop_map(|(name, protocol, number)| PodPort { name: name.into(), protocol, number }),
        0..3,
    );
    (
        proptest::collection::vec(who(), 3),
        proptest::collection::vec((who(), ports), 4),
        proptest::collection::vec(labels(), 0..2),
        proptest::collection::vec(policy(), 0..4),
        select(vec![Default::Allow, Default::Deny]),
    )
        .prop_map(|(endpoints, pods, namespaces, mut policies, default)| {
            let address = |text: &str| text.parse::<IpAddr>().unwrap();
            for (at, policy) in policies.iter_mut().enumerate() {
                policy.name = format!("policy{at}");
            }
            let endpoints: Vec<Endpoint> = endpoints
                .into_iter()
                .enumerate()
                .map(|(at, (namespace, labels))| Endpoint {
                    namespace,
                    name: format!("pod{at}"),
                    labels,
                    interface: format!("lin{at}"),
                    addresses: vec![address(ADDRESSES[at]), address(ADDRESSES[at + 5])],
                })
                .collect();
            let pods = pods
                .into_iter()
                .enumerate()
                .map(|(at, ((mut namespace, labels), ports))| {
                    // The first ones tell of ports of this host's pods, and something stale of their labels.
                    if let Some(endpoint) = endpoints.get(at) {
                        namespace.clone_from(&endpoint.namespace);
                    }
                    let addresses = vec![address(["10.0.9.9", "10.0.9.8", "10.0.9.7", "10.0.1.1"][at])];
                    Pod { origin: origin(), namespace, name: format!("pod{at}"), labels, addresses, ports }
                })
                .collect();
            let namespaces = namespaces
                .into_iter()
                .zip(["red", "blue"])
                .map(|(labels, name)| Namespace { origin: origin(), name: name.into(), labels })
                .collect();
            Input { endpoints, pods, namespaces, policies, default }
        })
}

fn packet() -> impl Strategy<Value = Packet> {
    let interface =
        || proptest::option::of(select(vec!["lin0", "lin1", "lin2", "lin9", "linnet.vxlan"]).prop_map(String::from));
    let transport = proptest::option::weighted(0.9, (protocol(), select(vec![1u16, 79, 80, 81, 82, 83, 65535])));
    (select(ADDRESSES.to_vec()), select(ADDRESSES.to_vec()), transport, interface(), interface())
        .prop_filter("one family", |(from, to, ..)| from.contains(':') == to.contains(':'))
        .prop_map(|(from, to, transport, inward, outward)| {
            let (from, to): (IpAddr, IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
            Packet { from, to, transport, inward, outward }
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_ruleset_passes_what_the_documents_allow_and_nothing_else(
        input in input(),
        packets in proptest::collection::vec(packet(), 60),
    ) {
        let ruleset = compile(&input);
        for packet in packets {
            prop_assert_eq!(ruleset.forwards(&packet), allowed(&input, &packet), "{:#?}\n{}", packet, ruleset);
            // From its true source, so that the policies have their say.
            let source = packet.inward.as_ref()
                .and_then(|name| input.endpoints.iter().find(|endpoint| &endpoint.interface == name))
                .and_then(|endpoint| endpoint.addresses.iter().find(|a| a.is_ipv4() == packet.to.is_ipv4()));
            if let Some(&from) = source {
                let honest = Packet { from, ..packet };
                prop_assert_eq!(ruleset.forwards(&honest), allowed(&input, &honest), "{:#?}\n{}", honest, ruleset);
            }
        }
    }

    #[test]
    fn order_of_the_input_makes_no_difference(input in input()) {
        let mut reversed = input.clone();
        reversed.endpoints.reverse();
        reversed.policies.reverse();
        prop_assert_eq!(compile(&input), compile(&reversed));
    }
}
