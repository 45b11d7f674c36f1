//! YAML (and so JSON) as a tree in which every node knows its line and column.
//!
//! A tree of our own because the text may be hostile: its depth and the number of its nodes, with every alias
//! counted as often as it is used, are bounded while it is built.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

/// Deeper than any document that Kubernetes has.
const MAX_DEPTH: usize = 64;
/// More than a file of [`super::MAX_FILE_BYTES`] has without aliases.
const MAX_NODES: usize = 1 << 20;

/// Line and column, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: u32,
    pub(super) column: u32,
}

impl Place {
    fn of(span: Span) -> Place {
        Place::of_marker(span.start)
    }

    fn of_marker(marker: saphyr_parser::Marker) -> Place {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Place { line: number(marker.line()), column: number(marker.col()).saturating_add(1) }
    }
}

/// A value and where it begins.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: Place,
    pub(super) value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    /// Keys in the order of the text, with where each stands.
    Map(Vec<(Key, Node)>),
}

#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) at: Place,
    pub(super) text: String,
}

#[derive(Clone, Debug)]
pub(super) struct Scalar {
    pub(super) text: String,
    /// Quoted, a block, or tagged `!!str`: a string whatever it looks like.
    quoted: bool,
}

/// What a scalar is, as Kubernetes' own reader (YAML 1.1's booleans included) takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Boolean,
    Integer,
    Fraction,
    Text,
}

impl Scalar {
    pub(super) fn kind(&self) -> Kind {
        if self.quoted {
            return Kind::Text;
        }
        let text = self.text.as_str();
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return Kind::Null,
            _ => {}
        }
        if ["true", "false", "yes", "no", "on", "off"].iter().any(|word| {
            text == *word
                || text == word.to_ascii_uppercase()
                || (text.len() == word.len() && is_capitalised(text, word))
        }) {
            return Kind::Boolean;
        }
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        let based = |prefix: &str, radix: u32| {
            digits.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_digit(radix)))
        };
        if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) || based("0x", 16) || based("0o", 8) {
            return Kind::Integer;
        }
        if digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') && digits.parse::<f64>().is_ok() {
            return Kind::Fraction;
        }
        Kind::Text
    }
}

fn is_capitalised(text: &str, word: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|first| first.is_ascii_uppercase())
        && text.eq_ignore_ascii_case(word)
        && chars.all(|c| c.is_ascii_lowercase())
}

/// The first thing in the text that is not YAML, or is too much of it.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub(super) at: Place,
    pub(super) message: String,
}

/// The documents of `text`; empty ones are left out.
pub(super) fn documents(text: &str) -> Result<Vec<Node>, SyntaxError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder::new();
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| SyntaxError {
            at: Place::of_marker(*error.marker()),
            message: format!("this is not YAML: {}", error.info()),
        })?;
        builder.event(event, Place::of(span))?;
    }
    Ok(builder.documents)
}

/// What is being built, outermost first.
enum Open {
    List { node: Vec<Node> },
    Map { node: Vec<(Key, Node)>, key: Option<Key> },
}

struct Frame {
    open: Open,
    at: Place,
    anchor: usize,
    /// Nodes counted when it was opened.
    began: usize,
}

struct Builder {
    documents: Vec<Node>,
    frames: Vec<Frame>,
    /// Complete anchored nodes of the present document, with the number of nodes in each.
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
}

impl Builder {
    fn new() -> Builder {
        Builder { documents: Vec::new(), frames: Vec::new(), anchors: HashMap::new(), nodes: 0 }
    }

    fn event(&mut self, event: Event<'_>, at: Place) -> Result<(), SyntaxError> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => {
                self.anchors.clear();
                Ok(())
            }
            Event::Alias(anchor) => {
                let Some((node, size)) = self.anchors.get(&anchor) else {
                    return Err(SyntaxError { at, message: "this alias is part of what it stands for".into() });
                };
                let (node, size) = (Node { at, value: node.value.clone() }, *size);
                // Counted before the next clone can happen, so that at most one clone of a bounded size is in excess.
                self.count(size, at)?;
                self.value(node, 0, 0)
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.count(1, at)?;
                let tagged = known_tag(tag.as_deref(), "str", at)?;
                let quoted = tagged || style != ScalarStyle::Plain;
                self.value(Node { at, value: Value::Scalar(Scalar { text: text.into_owned(), quoted }) }, anchor, 1)
            }
            Event::SequenceStart(anchor, tag) => {
                known_tag(tag.as_deref(), "seq", at)?;
                self.open(Open::List { node: Vec::new() }, at, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                known_tag(tag.as_deref(), "map", at)?;
                self.open(Open::Map { node: Vec::new(), key: None }, at, anchor)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
        }
    }

    fn count(&mut self, nodes: usize, at: Place) -> Result<(), SyntaxError> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            return Err(SyntaxError {
                at,
                message: format!("the file has more than {MAX_NODES} values once its aliases are written out"),
            });
        }
        Ok(())
    }

    fn open(&mut self, open: Open, at: Place, anchor: usize) -> Result<(), SyntaxError> {
        if self.frames.len() >= MAX_DEPTH {
            return Err(SyntaxError { at, message: format!("nested deeper than {MAX_DEPTH} levels") });
        }
        if let Some(Frame { open: Open::Map { key: None, .. }, .. }) = self.frames.last() {
            return Err(not_a_key(at));
        }
        let began = self.nodes;
        self.count(1, at)?;
        self.frames.push(Frame { open, at, anchor, began });
        Ok(())
    }

    fn close(&mut self) -> Result<(), SyntaxError> {
        let Some(frame) = self.frames.pop() else { return Ok(()) };
        let value = match frame.open {
            Open::List { node } => Value::List(node),
            Open::Map { node, .. } => Value::Map(node),
        };
        self.value(Node { at: frame.at, value }, frame.anchor, self.nodes - frame.began)
    }

    /// Puts a complete node where it belongs.
    fn value(&mut self, node: Node, anchor: usize, size: usize) -> Result<(), SyntaxError> {
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), size));
            self.count(size, node.at)?;
        }
        match self.frames.last_mut().map(|frame| &mut frame.open) {
            None => {
                if !matches!(&node.value, Value::Scalar(scalar) if scalar.kind() == Kind::Null) {
                    self.documents.push(node);
                }
            }
            Some(Open::List { node: list }) => list.push(node),
            Some(Open::Map { node: map, key }) => match (key.take(), node) {
                (Some(key), node) => map.push((key, node)),
                (None, Node { at, value: Value::Scalar(scalar) }) => *key = Some(Key { at, text: scalar.text }),
                (None, Node { at, .. }) => return Err(not_a_key(at)),
            },
        }
        Ok(())
    }
}

fn not_a_key(at: Place) -> SyntaxError {
    SyntaxError { at, message: "a key must be a word, not a list or a mapping".into() }
}

/// Whether there is a tag; any other than the one of YAML's core schema that changes nothing is refused.
fn known_tag(tag: Option<&Tag>, expected: &str, at: Place) -> Result<bool, SyntaxError> {
    match tag {
        None => Ok(false),
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == expected => Ok(true),
        Some(tag) => {
            let message = format!("the tag {}{} is not read: policy documents have none", tag.handle, tag.suffix);
            Err(SyntaxError { at, message })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scalar_is_what_kubernetes_takes_it_for() {
        for (text, kind) in [
            ("", Kind::Null),
            ("~", Kind::Null),
            ("Null", Kind::Null),
            ("true", Kind::Boolean),
            ("Yes", Kind::Boolean),
            ("OFF", Kind::Boolean),
            ("oFf", Kind::Text),
            ("80", Kind::Integer),
            ("-1", Kind::Integer),
            ("0x1f", Kind::Integer),
            ("1.5", Kind::Fraction),
            (".5", Kind::Fraction),
            ("1e3", Kind::Fraction),
            ("10.0.0.0/8", Kind::Text),
            ("http", Kind::Text),
            ("-", Kind::Text),
            ("infinity", Kind::Text),
            ("2026-01-01", Kind::Text),
        ] {
            assert_eq!(Scalar { text: text.into(), quoted: false }.kind(), kind, "{text:?}");
            assert_eq!(Scalar { text: text.into(), quoted: true }.kind(), Kind::Text, "quoted {text:?}");
        }
    }

    #[test]
    fn a_billion_laughs_end_at_the_bound() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let alias = format!("*a{}", level - 1);
            text += &format!("a{level}: &a{level} [{}]\n", vec![alias; 10].join(", "));
        }
        let error = documents(&text).unwrap_err();
        assert!(error.message.contains("aliases"), "{error:?}");
    }

    #[test]
    fn depth_is_bounded() {
        let error = documents(&"[".repeat(100)).unwrap_err();
        assert!(error.message.contains("nested deeper"), "{error:?}");
    }

    #[test]
    fn an_alias_inside_its_own_anchor_is_refused() {
        assert!(documents("a: &a [ *a ]\n").is_err());
    }

    #[test]
    fn an_alias_stands_for_its_value_at_its_own_place() {
        let documents = documents("a: &x {k: v}\nb: *x\n").unwrap();
        let Value::Map(map) = &documents[0].value else { panic!("{documents:?}") };
        assert_eq!(map[1].1.at, Place { line: 2, column: 4 });
        assert!(matches!(&map[1].1.value, Value::Map(inner) if inner[0].0.text == "k"));
    }
}
