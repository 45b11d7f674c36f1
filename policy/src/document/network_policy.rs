//! `NetworkPolicy` (networking.k8s.io/v1), whole, with the API server's own checks.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::names::is_port_name;
use super::read::{Fields, Reader};
use super::tree::{Kind, Node, Value};
use super::{
    Direction, IpBlock, NetworkPolicy, Operator, Origin, Peer, Port, PortNumber, Protocol, Requirement, Rule, Selector,
};

impl Reader {
    /// A document of this kind; `None` when something in it is wrong.
    pub(super) fn network_policy(&mut self, node: &Node, origin: Origin) -> Option<NetworkPolicy> {
        let fields = self.fields(node, "", &["apiVersion", "kind", "metadata", "spec", "status"])?;
        let metadata = self.required(&fields, "metadata", "").and_then(|node| self.metadata(node, true));
        let spec = self.required(&fields, "spec", "")?;
        let spec = self.fields(spec, "spec", &["podSelector", "policyTypes", "ingress", "egress"])?;
        let pods = match spec.get("podSelector") {
            Some(node) => self.selector(node, "spec.podSelector"),
            None => {
                self.error(
                    spec.at,
                    "spec.podSelector is missing: it says which pods are meant; {} means all of the namespace",
                );
                None
            }
        };
        let ingress = spec.get("ingress").map(|node| self.rules(node, "spec.ingress", "from"));
        let egress = spec.get("egress").map(|node| self.rules(node, "spec.egress", "to"));
        let types = match spec.get("policyTypes") {
            Some(node) => self.policy_types(node),
            None => Vec::new(),
        };
        // No types: Ingress always, Egress when it has rules (NetworkPolicySpec.policyTypes).
        let governs = |direction| match direction {
            _ if !types.is_empty() => types.contains(&direction),
            Direction::Ingress => true,
            Direction::Egress => egress.as_ref().is_some_and(|rules| !rules.is_empty()),
        };
        let (governs_ingress, governs_egress) = (governs(Direction::Ingress), governs(Direction::Egress));
        let metadata = metadata?;
        Some(NetworkPolicy {
            origin,
            namespace: metadata.namespace,
            name: metadata.name,
            pods: pods?,
            ingress: governs_ingress.then(|| ingress.unwrap_or_default()),
            egress: governs_egress.then(|| egress.unwrap_or_default()),
        })
    }

    /// A field that must be there.
    pub(super) fn required<'n>(&mut self, fields: &Fields<'n>, name: &str, path: &str) -> Option<&'n Node> {
        let found = fields.get(name);
        if found.is_none() {
            let dot = if path.is_empty() { "" } else { "." };
            self.error(fields.at, format!("{path}{dot}{name} is missing"));
        }
        found
    }

    fn policy_types(&mut self, node: &Node) -> Vec<Direction> {
        let words = [("Ingress", Direction::Ingress), ("Egress", Direction::Egress)];
        self.list(node, "spec.policyTypes")
            .into_iter()
            .filter_map(|(item, path)| self.word(item, &path, &words))
            .collect()
    }

    fn rules(&mut self, node: &Node, path: &str, peers: &str) -> Vec<Rule> {
        self.list(node, path).into_iter().filter_map(|(item, path)| self.rule(item, &path, peers)).collect()
    }

    fn rule(&mut self, node: &Node, path: &str, peers: &str) -> Option<Rule> {
        let fields = self.fields(node, path, &[peers, "ports"])?;
        let mut rule = Rule { line: node.at.line, peers: Vec::new(), ports: Vec::new() };
        if let Some(node) = fields.get(peers) {
            for (item, path) in self.list(node, &format!("{path}.{peers}")) {
                rule.peers.extend(self.peer(item, &path));
            }
        }
        if let Some(node) = fields.get("ports") {
            for (item, path) in self.list(node, &format!("{path}.ports")) {
                rule.ports.extend(self.policy_port(item, &path));
            }
        }
        Some(rule)
    }

    fn peer(&mut self, node: &Node, path: &str) -> Option<Peer> {
        let fields = self.fields(node, path, &["podSelector", "namespaceSelector", "ipBlock"])?;
        let pods = fields.get("podSelector").map(|node| self.selector(node, &format!("{path}.podSelector")));
        let namespaces =
            fields.get("namespaceSelector").map(|node| self.selector(node, &format!("{path}.namespaceSelector")));
        let block = fields.get("ipBlock");
        match (pods, namespaces, block) {
            (None, None, None) => {
                self.error(
                    node.at,
                    format!(
                        "{path} names no one: give it podSelector, namespaceSelector or ipBlock ({{}} selects all)"
                    ),
                );
                None
            }
            (None, None, Some(block)) => self.ip_block(block, &format!("{path}.ipBlock")).map(Peer::Block),
            (_, _, Some(block)) => {
                self.error(
                    block.at,
                    format!("{path}.ipBlock cannot stand beside a selector: give it an entry of its own"),
                );
                None
            }
            (pods, namespaces, None) => {
                let pods = pods.unwrap_or_else(|| Some(Selector::default()))?;
                let namespaces = match namespaces {
                    None => None,
                    Some(selector) => Some(selector?),
                };
                Some(Peer::Pods { namespaces, pods })
            }
        }
    }

    fn ip_block(&mut self, node: &Node, path: &str) -> Option<IpBlock> {
        let fields = self.fields(node, path, &["cidr", "except"])?;
        let cidr = self.required(&fields, "cidr", path).and_then(|node| self.cidr(node, &format!("{path}.cidr")));
        let mut except = Vec::new();
        if let Some(node) = fields.get("except") {
            for (item, path) in self.list(node, &format!("{path}.except")) {
                let Some(inner) = self.cidr(item, &path) else { continue };
                if let Some(outer) = cidr
                    && !(is_within(inner, outer) && inner.prefix() > outer.prefix())
                {
                    self.error(
                        item.at,
                        format!("{path} {inner} is not a smaller part of {outer}: except only what the block covers"),
                    );
                }
                except.push(inner);
            }
        }
        except.sort();
        except.dedup();
        Some(IpBlock { cidr: cidr?, except })
    }

    fn cidr(&mut self, node: &Node, path: &str) -> Option<IpNetwork> {
        let text = self.text(node, path)?;
        let network = parse_cidr(text);
        if network.is_none() {
            self.error(
                node.at,
                format!("{path} {text:?} is not a prefix: write it like \"192.0.2.0/24\" or \"2001:db8::/64\""),
            );
        }
        network
    }

    fn policy_port(&mut self, node: &Node, path: &str) -> Option<Port> {
        let fields = self.fields(node, path, &["protocol", "port", "endPort"])?;
        let protocol = match fields.get("protocol") {
            None => Some(Protocol::Tcp),
            Some(node) => self.protocol(node, &format!("{path}.protocol")),
        };
        let end = fields.get("endPort");
        let number = match (fields.get("port"), end) {
            (None, None) => Some(PortNumber::Any),
            (None, Some(end)) => {
                self.error(end.at, format!("{path}.endPort needs a port to begin the range"));
                None
            }
            (Some(port), None) => self.port_or_name(port, &format!("{path}.port")),
            (Some(port), Some(end)) => {
                let first = self.port(port, &format!("{path}.port"));
                let last = self.port(end, &format!("{path}.endPort"));
                match (first, last) {
                    (Some(first), Some(last)) if first > last => {
                        self.error(end.at, format!("{path}.endPort {last} is below port {first}: the range is empty"));
                        None
                    }
                    (first, last) => Some(PortNumber::Range(first?, last?)),
                }
            }
        };
        Some(Port { protocol: protocol?, number: number? })
    }

    fn port_or_name(&mut self, node: &Node, path: &str) -> Option<PortNumber> {
        match &node.value {
            Value::Scalar(scalar) if scalar.kind() == Kind::Text => {
                let name = &scalar.text;
                if !is_port_name(name) {
                    let advice = match name.parse::<u16>() {
                        Ok(_) => "write a number without quotes",
                        Err(_) => "at most 15 lower-case letters, digits and '-', with a letter among them",
                    };
                    self.error(node.at, format!("{path} {name:?} is not a port's name: {advice}"));
                    return None;
                }
                Some(PortNumber::Named(name.clone()))
            }
            _ => self.port(node, path).map(|number| PortNumber::Range(number, number)),
        }
    }

    pub(super) fn protocol(&mut self, node: &Node, path: &str) -> Option<Protocol> {
        self.word(node, path, &[("TCP", Protocol::Tcp), ("UDP", Protocol::Udp), ("SCTP", Protocol::Sctp)])
    }

    fn selector(&mut self, node: &Node, path: &str) -> Option<Selector> {
        let before = self.error_count();
        let fields = self.fields(node, path, &["matchLabels", "matchExpressions"])?;
        let mut requirements = Vec::new();
        if let Some(node) = fields.get("matchLabels") {
            let labels = self.labels(node, &format!("{path}.matchLabels"));
            requirements.extend(
                labels.into_iter().map(|(key, value)| Requirement { key, operator: Operator::In(vec![value]) }),
            );
        }
        if let Some(node) = fields.get("matchExpressions") {
            for (item, path) in self.list(node, &format!("{path}.matchExpressions")) {
                requirements.extend(self.requirement(item, &path));
            }
        }
        requirements.sort();
        requirements.dedup();
        (self.error_count() == before).then_some(Selector { requirements })
    }

    fn requirement(&mut self, node: &Node, path: &str) -> Option<Requirement> {
        #[derive(Clone, Copy)]
        enum Word {
            In,
            NotIn,
            Exists,
            DoesNotExist,
        }
        let words =
            [("In", Word::In), ("NotIn", Word::NotIn), ("Exists", Word::Exists), ("DoesNotExist", Word::DoesNotExist)];
        let fields = self.fields(node, path, &["key", "operator", "values"])?;
        let key = self.required(&fields, "key", path).and_then(|node| self.label_key(node, &format!("{path}.key")));
        let operator = self
            .required(&fields, "operator", path)
            .and_then(|node| self.word(node, &format!("{path}.operator"), &words));
        let mut values = Vec::new();
        if let Some(node) = fields.get("values") {
            for (item, path) in self.list(node, &format!("{path}.values")) {
                values.extend(self.label_value(item, &path));
            }
        }
        values.sort();
        values.dedup();
        let operator = match operator? {
            Word::In | Word::NotIn if values.is_empty() => {
                self.error(node.at, format!("{path}.values is missing: In and NotIn compare with at least one value"));
                return None;
            }
            Word::Exists | Word::DoesNotExist if !values.is_empty() => {
                self.error(node.at, format!("{path}.values: Exists and DoesNotExist have none; leave it out"));
                return None;
            }
            Word::In => Operator::In(values),
            Word::NotIn => Operator::NotIn(values),
            Word::Exists => Operator::Exists,
            Word::DoesNotExist => Operator::DoesNotExist,
        };
        Some(Requirement { key: key?, operator })
    }
}

/// `ADDRESS/LENGTH` with its host bits cleared. IPv4 written as IPv6 (`::ffff:…`) is refused: no packet matches it.
fn parse_cidr(text: &str) -> Option<IpNetwork> {
    let (address, length) = text.split_once('/')?;
    if length.is_empty() || length.len() > 3 || !length.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let address: IpAddr = address.parse().ok()?;
    if let IpAddr::V6(v6) = address
        && v6.to_ipv4_mapped().is_some()
    {
        return None;
    }
    let network = IpNetwork::new(address, length.parse().ok()?).ok()?;
    IpNetwork::new(network.network(), network.prefix()).ok()
}

fn is_within(inner: IpNetwork, outer: IpNetwork) -> bool {
    inner.is_ipv4() == outer.is_ipv4() && outer.contains(inner.network()) && inner.prefix() >= outer.prefix()
}
