//! Who carries which labels: selectors become addresses here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use crate::document::NAMESPACE_NAME_LABEL;
use crate::{Endpoint, Input, Operator, Peer, PodPort, Protocol, Selector};

type Labels = BTreeMap<String, String>;

impl Selector {
    /// Whether all requirements hold for these labels.
    pub(crate) fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            match &requirement.operator {
                Operator::In(values) => value.is_some_and(|value| values.contains(value)),
                Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
                Operator::Exists => value.is_some(),
                Operator::DoesNotExist => value.is_none(),
            }
        })
    }
}

/// Which pods a peer means, whichever policy it stands in: equal scopes share one set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PodScope<'a> {
    pub(crate) namespaces: NamespaceScope<'a>,
    pub(crate) pods: &'a Selector,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum NamespaceScope<'a> {
    Named(&'a str),
    Matching(&'a Selector),
}

impl<'a> PodScope<'a> {
    /// The scope of a peer in a policy of `namespace`; none for a block.
    pub(crate) fn of(peer: &'a Peer, namespace: &'a str) -> Option<PodScope<'a>> {
        match peer {
            Peer::Pods { namespaces: None, pods } => {
                Some(PodScope { namespaces: NamespaceScope::Named(namespace), pods })
            }
            Peer::Pods { namespaces: Some(namespaces), pods } => {
                Some(PodScope { namespaces: NamespaceScope::Matching(namespaces), pods })
            }
            Peer::Block(_) => None,
        }
    }
}

impl fmt::Display for PodScope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pods {} in ", self.pods)?;
        match self.namespaces {
            NamespaceScope::Named(name) => write!(f, "namespace {name}"),
            NamespaceScope::Matching(selector) => write!(f, "namespaces {selector}"),
        }
    }
}

/// A pod that is known, wherever it runs.
struct Member<'a> {
    labels: &'a Labels,
    addresses: &'a [IpAddr],
    ports: &'a [PodPort],
}

/// Pods by namespace, and the namespaces' labels.
pub(crate) struct Index<'a> {
    pods: BTreeMap<&'a str, BTreeMap<&'a str, Member<'a>>>,
    namespaces: BTreeMap<&'a str, Labels>,
}

impl<'a> Index<'a> {
    pub(crate) fn new(input: &'a Input) -> Index<'a> {
        let mut pods: BTreeMap<&str, BTreeMap<&str, Member<'_>>> = BTreeMap::new();
        for pod in &input.pods {
            pods.entry(&pod.namespace)
                .or_default()
                .insert(&pod.name, Member { labels: &pod.labels, addresses: &pod.addresses, ports: &pod.ports });
        }
        for endpoint in &input.endpoints {
            // What this host knows of its own pod is fresher than a document; only the ports' names are there alone.
            let of_namespace = pods.entry(&endpoint.namespace).or_default();
            let ports = of_namespace.get(endpoint.name.as_str()).map_or(&[][..], |member| member.ports);
            let (labels, addresses) = (&endpoint.labels, &endpoint.addresses[..]);
            of_namespace.insert(&endpoint.name, Member { labels, addresses, ports });
        }
        let mut namespaces: BTreeMap<&str, Labels> = pods.keys().map(|name| (*name, Labels::new())).collect();
        for namespace in &input.namespaces {
            namespaces.insert(&namespace.name, namespace.labels.clone());
        }
        for (name, labels) in &mut namespaces {
            labels.insert(NAMESPACE_NAME_LABEL.into(), (*name).into());
        }
        Index { pods, namespaces }
    }

    /// The addresses of the pods in `scope`.
    pub(crate) fn addresses(&self, scope: &PodScope<'_>) -> BTreeSet<IpAddr> {
        let empty = BTreeMap::new();
        let namespaces: Vec<&BTreeMap<&str, Member<'_>>> = match scope.namespaces {
            NamespaceScope::Named(name) => vec![self.pods.get(name).unwrap_or(&empty)],
            NamespaceScope::Matching(selector) => self
                .pods
                .iter()
                .filter(|(name, _)| self.namespaces.get(*name).is_some_and(|labels| selector.matches(labels)))
                .map(|(_, pods)| pods)
                .collect(),
        };
        namespaces
            .into_iter()
            .flat_map(BTreeMap::values)
            .filter(|member| scope.pods.matches(member.labels))
            .flat_map(|member| member.addresses.iter().copied())
            .collect()
    }

    /// Where a port of this name is, over all pods.
    pub(crate) fn named_port(&self, protocol: Protocol, name: &str) -> BTreeSet<(IpAddr, u16)> {
        let members = self.pods.values().flat_map(BTreeMap::values);
        members
            .flat_map(|member| {
                let ports = member.ports.iter().filter(move |port| port.protocol == protocol && port.name == name);
                ports.flat_map(|port| member.addresses.iter().map(|address| (*address, port.number)))
            })
            .collect()
    }
}

/// Whether a policy selects an endpoint.
pub(crate) fn selects(policy: &crate::NetworkPolicy, endpoint: &Endpoint) -> bool {
    policy.namespace == endpoint.namespace && policy.pods.matches(&endpoint.labels)
}
