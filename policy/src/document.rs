//! Policy documents as validated types: what YAML says is checked once, here at the door, and never again inside.
//!
//! Read are Kubernetes' `NetworkPolicy` (networking.k8s.io/v1), and, as the sources of labels and addresses of what
//! runs on other hosts, `Namespace` and `Pod` (v1). Several documents in a file, JSON, and `kind: List` are fine.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnetwork::IpNetwork;

/// Where a document begins.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// The file as it was named to [`parse`].
    pub file: Arc<str>,
    /// Counted from 1.
    pub line: u32,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// What is wrong in a document, and where. Its `Display` is `FILE:LINE:COLUMN: MESSAGE`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct DocumentError {
    /// The file as it was named to [`parse`].
    pub file: String,
    /// Counted from 1; 0 when the whole file is meant.
    pub line: u32,
    /// Counted from 1, in characters; 0 when the whole file is meant.
    pub column: u32,
    /// Culprit, consequence and next step.
    pub message: String,
}

/// One document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// networking.k8s.io/v1 NetworkPolicy.
    NetworkPolicy(NetworkPolicy),
    /// v1 Namespace: labels for namespace selectors.
    Namespace(Namespace),
    /// v1 Pod: labels, addresses and named ports of a pod on any host.
    Pod(Pod),
}

impl Document {
    /// `NetworkPolicy`, `Namespace` or `Pod`.
    pub fn kind(&self) -> &'static str {
        match self {
            Document::NetworkPolicy(_) => "NetworkPolicy",
            Document::Namespace(_) => "Namespace",
            Document::Pod(_) => "Pod",
        }
    }

    /// The namespace that it is in; a Namespace is in none.
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Document::NetworkPolicy(policy) => Some(&policy.namespace),
            Document::Namespace(_) => None,
            Document::Pod(pod) => Some(&pod.namespace),
        }
    }

    /// `metadata.name`.
    pub fn name(&self) -> &str {
        match self {
            Document::NetworkPolicy(policy) => &policy.name,
            Document::Namespace(namespace) => &namespace.name,
            Document::Pod(pod) => &pod.name,
        }
    }

    /// Where it begins.
    pub fn origin(&self) -> &Origin {
        match self {
            Document::NetworkPolicy(policy) => &policy.origin,
            Document::Namespace(namespace) => &namespace.origin,
            Document::Pod(pod) => &pod.origin,
        }
    }

    /// The directions that a policy isolates the pods it selects in; none for other kinds.
    pub fn directions(&self) -> Vec<Direction> {
        match self {
            Document::NetworkPolicy(policy) => policy.directions(),
            Document::Namespace(_) | Document::Pod(_) => Vec::new(),
        }
    }
}

/// Seen from the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// To the pod.
    Ingress,
    /// From the pod.
    Egress,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Direction::Ingress => "Ingress",
            Direction::Egress => "Egress",
        })
    }
}

/// A NetworkPolicy. `policyTypes` is already applied: a direction that it does not govern is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// Where it begins.
    pub origin: Origin,
    /// `metadata.namespace`, `default` when absent.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// Which pods of its namespace it selects.
    pub pods: Selector,
    /// What may come in: any rule is enough, no rule denies all. `None`: ingress is not governed.
    pub ingress: Option<Vec<Rule>>,
    /// What may go out, likewise.
    pub egress: Option<Vec<Rule>>,
}

impl NetworkPolicy {
    /// The rules of one direction, if the policy governs it.
    pub fn rules(&self, direction: Direction) -> Option<&[Rule]> {
        match direction {
            Direction::Ingress => self.ingress.as_deref(),
            Direction::Egress => self.egress.as_deref(),
        }
    }

    /// The directions that it governs.
    pub fn directions(&self) -> Vec<Direction> {
        [Direction::Ingress, Direction::Egress].into_iter().filter(|&d| self.rules(d).is_some()).collect()
    }
}

/// One rule: a peer and a port must both match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The other end. Empty: anyone.
    pub peers: Vec<Peer>,
    /// Empty: every protocol and port.
    pub ports: Vec<Port>,
}

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Pods that `pods` matches, in the namespaces that `namespaces` matches (`None`: the policy's own).
    Pods {
        /// `namespaceSelector`.
        namespaces: Option<Selector>,
        /// `podSelector`; absent in the document means all pods.
        pods: Selector,
    },
    /// Addresses.
    Block(IpBlock),
}

/// `ipBlock`. Host bits are cleared.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IpBlock {
    /// What it covers ...
    pub cidr: IpNetwork,
    /// ... except these, each inside `cidr`.
    pub except: Vec<IpNetwork>,
}

/// An entry of `ports`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Port {
    /// TCP when the document names none.
    pub protocol: Protocol,
    /// Which ports of it.
    pub number: PortNumber,
}

/// Which ports.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PortNumber {
    /// All of the protocol.
    Any,
    /// `first..=last`, both 1 to 65535.
    Range(u16, u16),
    /// A port that the destination pod names in `spec.containers[].ports[]`.
    Named(String),
}

/// A transport protocol that policies know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// A label selector: all requirements must hold; none at all matches everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Selector {
    /// `matchLabels` (as `In` with one value) and `matchExpressions`, sorted.
    pub requirements: Vec<Requirement>,
}

/// One requirement on a label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// What must hold for it.
    pub operator: Operator,
}

/// What must hold for a label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operator {
    /// It is there, with one of these values.
    In(Vec<String>),
    /// It is absent, or has none of these values.
    NotIn(Vec<String>),
    /// It is there.
    Exists,
    /// It is absent.
    DoesNotExist,
}

/// A Namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Where it begins.
    pub origin: Origin,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.labels`, `kubernetes.io/metadata.name` included.
    pub labels: BTreeMap<String, String>,
}

/// A Pod, as far as policy cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Where it begins.
    pub origin: Origin,
    /// `metadata.namespace`, `default` when absent.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `status.podIP` and `status.podIPs`. Empty for a pod on its host's network and for one that has ended:
    /// selectors do not reach those.
    pub addresses: Vec<IpAddr>,
    /// `spec.containers[].ports[]` that have a name.
    pub ports: Vec<PodPort>,
}

/// A named port of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodPort {
    /// `name`.
    pub name: String,
    /// `protocol`, TCP when absent.
    pub protocol: Protocol,
    /// `containerPort`, 1 to 65535.
    pub number: u16,
}

/// Reads all documents of `text`; `file` is how errors and origins call it.
///
/// # Errors
/// Everything that is wrong in the file, in the order of the text. A file with one error gives no documents.
pub fn parse(file: &str, text: &str) -> Result<Vec<Document>, Vec<DocumentError>> {
    let _ = (file, text);
    todo!()
}
