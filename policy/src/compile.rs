//! From documents and endpoints to a [`Ruleset`]: a pure function.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::ruleset::Ruleset;
use crate::{Default, Namespace, NetworkPolicy, Pod};

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

/// The ruleset that enforces `input` on this host.
pub fn compile(input: &Input) -> Ruleset {
    let _ = input;
    todo!()
}
