//! Policy documents as validated types: what YAML says is checked once, here at the door, and never again inside.
//!
//! Read are Kubernetes' `NetworkPolicy` (networking.k8s.io/v1), and, as the sources of labels and addresses of what
//! runs on other hosts, `Namespace` and `Pod` (v1). Several documents in a file, JSON, and `kind: List` are fine.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnetwork::IpNetwork;

use read::Reader;
use tree::{Node, Place};

mod inventory;
mod names;
mod network_policy;
mod read;
mod tree;

pub(crate) use names::NAMESPACE_NAME_LABEL;

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
    /// Its first line, counted from 1.
    pub line: u32,
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

/// As `kubectl -l` takes it: `app in (web),!legacy`; `{}` matches everything.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.requirements.is_empty() {
            return f.write_str("{}");
        }
        for (at, Requirement { key, operator }) in self.requirements.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            match operator {
                Operator::In(values) => write!(f, "{key} in ({})", values.join(","))?,
                Operator::NotIn(values) => write!(f, "{key} notin ({})", values.join(","))?,
                Operator::Exists => write!(f, "{key}")?,
                Operator::DoesNotExist => write!(f, "!{key}")?,
            }
        }
        Ok(())
    }
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

/// A larger file is refused: nobody writes it by hand, and reading it would hold up the others.
pub(crate) const MAX_FILE_BYTES: usize = 1 << 20;

/// Reads all documents of `text`; `file` is how errors and origins call it.
///
/// # Errors
/// Everything that is wrong in the file, in the order of the text. A file with one error gives no documents.
pub fn parse(file: &str, text: &str) -> Result<Vec<Document>, Vec<DocumentError>> {
    let mut reader = Reader::new(file);
    if text.len() > MAX_FILE_BYTES {
        let message = format!("the file has {} bytes; the limit is {MAX_FILE_BYTES}: split it", text.len());
        return Err(vec![DocumentError { file: file.into(), line: 0, column: 0, message }]);
    }
    let trees = match tree::documents(text) {
        Ok(trees) => trees,
        Err(tree::SyntaxError { at, message }) => {
            reader.error(at, message);
            return Err(reader.into_errors());
        }
    };
    let mut documents = Vec::new();
    for tree in &trees {
        reader.document(tree, &mut documents);
    }
    reader.refuse_doubles(&documents);
    let errors = reader.into_errors();
    if errors.is_empty() { Ok(documents) } else { Err(errors) }
}

/// Kinds that are read, with the `apiVersion` of each.
const KINDS: [(&str, &str); 4] =
    [("NetworkPolicy", "networking.k8s.io/v1"), ("Namespace", "v1"), ("Pod", "v1"), ("List", "v1")];

impl Reader {
    fn refuse_doubles(&mut self, documents: &[Document]) {
        let mut seen = HashMap::new();
        for document in documents {
            let key = (document.kind(), document.namespace(), document.name());
            if let Some(first) = seen.insert(key, document.origin()) {
                let (kind, name) = (document.kind(), document.name());
                let message = format!("{kind} {name} is already in line {}: rename or remove one of them", first.line);
                self.error(Place { line: document.origin().line, column: 1 }, message);
            }
        }
    }

    fn document(&mut self, node: &Node, documents: &mut Vec<Document>) {
        let Some(fields) = self.some_fields(node, "the document", &["apiVersion", "kind"]) else { return };
        let Some(kind) = self.required(&fields, "kind", "") else { return };
        let words = KINDS.map(|(kind, version)| (kind, (kind, version)));
        let Some((kind, version)) = self.word(kind, "kind", &words) else { return };
        let Some(given) = self.required(&fields, "apiVersion", "") else { return };
        match self.text(given, "apiVersion") {
            None => return,
            Some(text) if text != version => {
                self.error(given.at, format!("apiVersion {text:?} of a {kind} is not read: write {version:?}"));
                return;
            }
            Some(_) => {}
        }
        let origin = self.origin(node);
        match kind {
            "NetworkPolicy" => documents.extend(self.network_policy(node, origin).map(Document::NetworkPolicy)),
            "Namespace" => documents.extend(self.namespace(node, origin).map(Document::Namespace)),
            "Pod" => documents.extend(self.pod(node, origin).map(Document::Pod)),
            _ => self.items(node, documents),
        }
    }

    /// `kind: List`, as `kubectl get -o yaml` prints it. Lists in lists end at the depth that a tree may have.
    fn items(&mut self, node: &Node, documents: &mut Vec<Document>) {
        let Some(fields) = self.fields(node, "", &["apiVersion", "kind", "metadata", "items"]) else { return };
        let Some(items) = fields.get("items") else { return };
        for (item, _) in self.list(items, "items") {
            self.document(item, documents);
        }
    }
}

#[cfg(test)]
mod tests;
