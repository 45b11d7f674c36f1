//! Reading a tree into types: every error is kept, each with its place, its path and, for a field that nobody knows,
//! the one that was probably meant.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::tree::{Key, Kind, Node, Place, Scalar, Value};
use super::{DocumentError, Origin};

/// A file with more errors than this is a file of another kind.
const MAX_ERRORS: usize = 100;

/// Collects what is wrong in one file.
pub(super) struct Reader {
    pub(super) file: Arc<str>,
    errors: Vec<DocumentError>,
}

impl Reader {
    pub(super) fn new(file: &str) -> Reader {
        Reader { file: file.into(), errors: Vec::new() }
    }

    /// In the order of the text.
    pub(super) fn into_errors(mut self) -> Vec<DocumentError> {
        self.errors.sort_by_key(|error| (error.line, error.column));
        self.errors
    }

    pub(super) fn error_count(&self) -> usize {
        self.errors.len()
    }

    pub(super) fn origin(&self, node: &Node) -> Origin {
        Origin { file: self.file.clone(), line: node.at.line }
    }

    pub(super) fn error(&mut self, at: Place, message: impl Into<String>) {
        if self.errors.len() < MAX_ERRORS {
            let (line, column) = (at.line, at.column);
            self.errors.push(DocumentError { file: self.file.to_string(), line, column, message: message.into() });
        }
    }

    /// A mapping in which only the fields of `known` may stand.
    pub(super) fn fields<'n>(&mut self, node: &'n Node, path: &str, known: &[&str]) -> Option<Fields<'n>> {
        let fields = self.open_fields(node, path)?;
        for (key, _) in fields.map {
            if !known.contains(&key.text.as_str()) {
                self.unknown(key, path, known);
            }
        }
        Some(fields)
    }

    /// A mapping of which only the fields of `known` are read and others are let be, unless one differs from a known
    /// one in upper and lower case alone.
    pub(super) fn some_fields<'n>(&mut self, node: &'n Node, path: &str, known: &[&str]) -> Option<Fields<'n>> {
        let fields = self.open_fields(node, path)?;
        for (key, _) in fields.map {
            if !known.contains(&key.text.as_str()) && known.iter().any(|k| k.eq_ignore_ascii_case(&key.text)) {
                self.unknown(key, path, known);
            }
        }
        Some(fields)
    }

    fn open_fields<'n>(&mut self, node: &'n Node, path: &str) -> Option<Fields<'n>> {
        let Value::Map(map) = &node.value else {
            self.error(node.at, format!("{path} must be a mapping, not {}", describe(node)));
            return None;
        };
        let mut seen = BTreeMap::new();
        for (key, _) in map {
            if let Some(first) = seen.insert(key.text.as_str(), key.at) {
                self.error(key.at, format!("{:?} stands here a second time, first in line {}", key.text, first.line));
            }
        }
        Some(Fields { at: node.at, map })
    }

    fn unknown(&mut self, key: &Key, path: &str, known: &[&str]) {
        let place = if path.is_empty() { String::new() } else { format!(" in {path}") };
        let advice = match nearest(&key.text, known) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => format!("known here: {}", known.join(", ")),
        };
        self.error(key.at, format!("unknown field {:?}{place}; {advice}", key.text));
    }

    /// A string, or nothing for null.
    pub(super) fn text<'n>(&mut self, node: &'n Node, path: &str) -> Option<&'n str> {
        match &node.value {
            Value::Scalar(scalar) if scalar.kind() == Kind::Text => Some(&scalar.text),
            Value::Scalar(scalar) if scalar.kind() != Kind::Null => {
                let text = &scalar.text;
                self.error(
                    node.at,
                    format!("{path} must be a string, not {}: put it in quotes, \"{text}\"", describe(node)),
                );
                None
            }
            _ => {
                self.error(node.at, format!("{path} must be a string, not {}", describe(node)));
                None
            }
        }
    }

    /// A port number, 1 to 65535.
    pub(super) fn port(&mut self, node: &Node, path: &str) -> Option<u16> {
        let number = match &node.value {
            Value::Scalar(scalar) if scalar.kind() == Kind::Integer => scalar.text.parse::<u16>().ok(),
            _ => {
                self.error(node.at, format!("{path} must be a number from 1 to 65535, not {}", describe(node)));
                return None;
            }
        };
        let number = number.filter(|&n| n > 0);
        if number.is_none() {
            self.error(node.at, format!("{path} must be a number from 1 to 65535, not {}", describe(node)));
        }
        number
    }

    /// The items of a list, each with its path. Null is an empty list.
    pub(super) fn list<'n>(&mut self, node: &'n Node, path: &str) -> Vec<(&'n Node, String)> {
        match &node.value {
            Value::List(items) => {
                items.iter().enumerate().map(|(index, item)| (item, format!("{path}[{index}]"))).collect()
            }
            _ => {
                self.error(node.at, format!("{path} must be a list, not {}", describe(node)));
                Vec::new()
            }
        }
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&mut self, node: &Node, path: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(node, path)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let advice = match nearest(text, &known) {
                Some(meant) => format!("did you mean {meant:?}?"),
                None => format!("it is one of {}", known.join(", ")),
            };
            self.error(node.at, format!("{path} cannot be {text:?}; {advice}"));
        }
        found
    }
}

/// The fields of a mapping.
#[derive(Clone, Copy)]
pub(super) struct Fields<'n> {
    pub(super) at: Place,
    map: &'n [(Key, Node)],
}

impl<'n> Fields<'n> {
    /// A field's value; null counts as absent, as for Kubernetes.
    pub(super) fn get(&self, name: &str) -> Option<&'n Node> {
        let (_, node) = self.map.iter().find(|(key, _)| key.text == name)?;
        (!is_null(node)).then_some(node)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'n Key, &'n Node)> + use<'n> {
        self.map.iter().map(|(key, node)| (key, node))
    }
}

pub(super) fn is_null(node: &Node) -> bool {
    matches!(&node.value, Value::Scalar(scalar) if scalar.kind() == Kind::Null)
}

/// What a person would call it.
fn describe(node: &Node) -> String {
    match &node.value {
        Value::List(_) => "a list".into(),
        Value::Map(_) => "a mapping".into(),
        Value::Scalar(scalar) => describe_scalar(scalar),
    }
}

fn describe_scalar(scalar: &Scalar) -> String {
    let text: String = scalar.text.chars().take(60).collect();
    match scalar.kind() {
        Kind::Null => "nothing".into(),
        Kind::Boolean => format!("the truth value {text}"),
        Kind::Integer | Kind::Fraction => format!("the number {text}"),
        Kind::Text => format!("the string {text:?}"),
    }
}

/// The known word that `word` is a slip of, if one is near.
pub(super) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let word = word.to_lowercase();
    if word.len() > 64 {
        return None;
    }
    known
        .iter()
        .map(|candidate| (distance(&word, &candidate.to_lowercase()), *candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 5)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours from one to the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let swapped = if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    rows[i - 2][j - 2] + 1
                } else {
                    usize::MAX
                };
                replaced.min(swapped).min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1)
            };
        }
    }
    rows[a.len()][b.len()]
}
