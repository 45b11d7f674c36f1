//! Names and labels: what Kubernetes lets them be (RFC 1123 and its "Labels and Selectors" page).

use std::collections::BTreeMap;

use super::read::Reader;
use super::tree::Node;

/// The label that every namespace has.
pub(crate) const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// What `metadata` says.
pub(super) struct Metadata {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
}

/// Fields of ObjectMeta; those that a server sets are let be.
const FIELDS: [&str; 15] = [
    "name",
    "namespace",
    "labels",
    "annotations",
    "generateName",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "finalizers",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

impl Reader {
    /// `metadata`. `namespaced`: the kind lives in a namespace.
    pub(super) fn metadata(&mut self, node: &Node, namespaced: bool) -> Option<Metadata> {
        let fields = self.fields(node, "metadata", &FIELDS)?;
        let name = match fields.get("name") {
            Some(node) => self.text(node, "metadata.name").map(|name| (node, name)),
            None => {
                self.error(fields.at, "metadata.name is missing: every document has a name of its own");
                None
            }
        };
        if let Some((node, name)) = name {
            let good = if namespaced { is_subdomain(name) } else { is_dns_label(name) };
            if !good {
                self.error(node.at, format!("metadata.name {name:?} is not a name: {NAME_RULE}"));
            }
        }
        let namespace = match fields.get("namespace") {
            None => "default".to_owned(),
            Some(node) if !namespaced => {
                self.error(node.at, "metadata.namespace: this kind is in no namespace; leave it out");
                String::new()
            }
            Some(node) => match self.text(node, "metadata.namespace") {
                Some(text) => {
                    if !is_dns_label(text) {
                        self.error(node.at, format!("metadata.namespace {text:?} is not a name: {NAME_RULE}"));
                    }
                    text.to_owned()
                }
                None => String::new(),
            },
        };
        let labels = fields.get("labels").map(|node| self.labels(node, "metadata.labels")).unwrap_or_default();
        Some(Metadata { namespace, name: name?.1.to_owned(), labels })
    }

    /// A mapping of labels.
    pub(super) fn labels(&mut self, node: &Node, path: &str) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        // Any key may stand here, so that no key is unknown.
        let Some(fields) = self.some_fields(node, path, &[]) else { return labels };
        for (key, value) in fields.iter() {
            if !is_label_key(&key.text) {
                self.error(key.at, format!("{:?} in {path} is not a label's key: {KEY_RULE}", key.text));
            }
            if let Some(value) = self.label_value(value, &format!("{path}.{}", key.text)) {
                labels.insert(key.text.clone(), value);
            }
        }
        labels
    }

    /// A label's value.
    pub(super) fn label_value(&mut self, node: &Node, path: &str) -> Option<String> {
        // A label without a value is written "" or as nothing at all.
        if super::read::is_null(node) {
            return Some(String::new());
        }
        let text = self.text(node, path)?;
        if !is_label_value(text) {
            self.error(node.at, format!("{path} {text:?} is not a label's value: {VALUE_RULE}"));
        }
        Some(text.to_owned())
    }

    /// A label's key in an expression.
    pub(super) fn label_key(&mut self, node: &Node, path: &str) -> Option<String> {
        let text = self.text(node, path)?;
        if !is_label_key(text) {
            self.error(node.at, format!("{path} {text:?} is not a label's key: {KEY_RULE}"));
        }
        Some(text.to_owned())
    }
}

const NAME_RULE: &str = "lower-case letters, digits and '-', beginning and ending with a letter or digit";
const KEY_RULE: &str = "letters, digits, '-', '_' and '.', at most 63, after an optional DNS name and '/'";
const VALUE_RULE: &str = "letters, digits, '-', '_' and '.', at most 63, beginning and ending with a letter or digit";

/// RFC 1123 label: at most 63 of `[a-z0-9-]`, no `-` at the ends.
fn is_dns_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| inner(b) || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// RFC 1123 subdomain: labels with dots between, at most 253.
fn is_subdomain(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=253).contains(&text.len())
        && text.split('.').all(|label| {
            !label.is_empty()
                && label.bytes().all(|b| inner(b) || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

fn is_qualified(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_alphanumeric();
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && text.starts_with(alphanumeric)
        && text.ends_with(alphanumeric)
}

fn is_label_key(text: &str) -> bool {
    match text.split_once('/') {
        None => is_qualified(text),
        Some((prefix, name)) => is_subdomain(prefix) && is_qualified(name),
    }
}

fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_qualified(text)
}

/// IANA_SVC_NAME as Kubernetes' port names are checked: at most 15, a letter in it, no `-` at the ends or doubled.
pub(super) fn is_port_name(text: &str) -> bool {
    (1..=15).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && text.bytes().any(|b| b.is_ascii_lowercase())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && !text.contains("--")
}
