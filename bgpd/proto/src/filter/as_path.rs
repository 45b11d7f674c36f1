//! Patterns over AS paths: small regular expressions whose letters are AS numbers, whole ones.
//!
//! | written | means |
//! |---|---|
//! | `65001`, `64512-65534` | one hop of this AS, or of one in this range |
//! | `.` | any one hop |
//! | `a b` | `a`, then `b` |
//! | `a\|b` | one of them |
//! | `( )` | together |
//! | `*` `+` `?` `{2}` `{2,5}` | what stands before it, any number of times, at least once, at most once, so many times |
//! | `^` at the beginning, `$` at the end | the pattern begins (ends) where the path does; else it may lie anywhere in it |
//!
//! A set of an AS path is one hop that is each of its members. A pattern becomes an automaton of at most
//! [`MOST_POSITIONS`] positions (Glushkov's construction), all of which are followed at once: a path takes time in
//! proportion to its length whatever the pattern, and nothing is tried twice.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::number::AsnRange;
use crate::types::Asn;
use crate::wire::aspath::{AsPath, SegmentKind};

/// Most letters of a pattern, those of `{n}` counted n times.
pub const MOST_POSITIONS: usize = 256;
/// Brackets in brackets.
const DEEPEST: usize = 32;

/// A pattern. Equal texts are equal patterns.
#[derive(Clone)]
pub struct AsPathPattern {
    text: String,
    automaton: Arc<Automaton>,
}

impl AsPathPattern {
    /// Whether the path, or a part of it, is as the pattern says. Time grows with the path's length alone.
    #[must_use]
    pub fn matches(&self, path: &AsPath) -> bool {
        let hops = path.segments.iter().flat_map(|(kind, asns)| match kind {
            SegmentKind::Sequence => asns.chunks(1),
            // One chunk of all: the set is one hop.
            SegmentKind::Set => asns.chunks(asns.len().max(1)),
        });
        self.automaton.run(hops)
    }
}

impl PartialEq for AsPathPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for AsPathPattern {}

impl fmt::Debug for AsPathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AsPathPattern({})", self.text)
    }
}

impl fmt::Display for AsPathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Text that is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AsPathPatternError {
    /// A habit from patterns over characters.
    #[error(
        "\"_\" is not needed: AS numbers are whole words here; write \"65001\" for _65001_ and \"^65001\" for ^65001_"
    )]
    Underscore,
    /// Likewise.
    #[error("\"[\" is not understood; write a range of AS numbers as 64512-65534, and . for any one AS")]
    Class,
    /// A character that means nothing.
    #[error(
        "\"{0}\" is not understood; a pattern has AS numbers, . * + ? | ( ) {{n,m}}, ^ at its beginning and $ at its end"
    )]
    Character(char),
    /// `^` or `$` elsewhere than at its end of the pattern.
    #[error("\"{0}\" stands in the middle; ^ belongs at the very beginning and $ at the very end: write two patterns")]
    Anchor(char),
    /// What is no AS number, or a range that goes down.
    #[error("\"{0}\" is not an AS number or a range of them; write one like 65001 or 64512-65534")]
    Number(String),
    /// `*` and the like behind nothing.
    #[error("\"{0}\" repeats nothing; put an AS number, . or a bracket before it")]
    Nothing(char),
    /// Braces without a number, or from more to fewer.
    #[error("the braces hold no count; write {{2}} or {{2,5}}")]
    Count,
    /// A bracket without its other.
    #[error("a bracket has no other one; write each ( with its )")]
    Bracket,
    /// Nothing between `|`, or in brackets, or at all.
    #[error("there is nothing to match on one side; write .* for any path and ^$ for the empty one")]
    Empty,
    /// Larger than the automaton may be.
    #[error(
        "the pattern is too large; use ranges, shorter counts and fewer brackets: at most {} AS numbers and dots, {{n}} counted n times",
        MOST_POSITIONS
    )]
    TooLarge,
}

impl FromStr for AsPathPattern {
    type Err = AsPathPatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let (body, from_start) = text.strip_prefix('^').map_or((text, false), |rest| (rest, true));
        let (body, to_end) = body.strip_suffix('$').map_or((body, false), |rest| (rest, true));
        let node = if body.trim().is_empty() && from_start && to_end {
            Node::Sequence(Vec::new())
        } else {
            let mut parser = Parser { rest: body, depth: 0 };
            let node = parser.alternatives()?;
            match parser.next_char() {
                None => node,
                Some(_) => return Err(AsPathPatternError::Bracket),
            }
        };
        if node.size() > MOST_POSITIONS {
            return Err(AsPathPatternError::TooLarge);
        }
        let automaton = Arc::new(Automaton::new(&node, from_start, to_end));
        Ok(Self { text: text.split_whitespace().collect::<Vec<_>>().join(" "), automaton })
    }
}

/// One hop of a pattern.
#[derive(Clone, Copy, Debug)]
enum Letter {
    Any,
    Range(AsnRange),
}

impl Letter {
    fn matches(self, hop: &[Asn]) -> bool {
        match self {
            Self::Any => true,
            Self::Range(range) => hop.iter().any(|asn| range.contains(*asn)),
        }
    }
}

#[derive(Debug)]
enum Node {
    Letter(Letter),
    Sequence(Vec<Node>),
    Alternatives(Vec<Node>),
    /// At least so many times, and at most.
    Repeat(Box<Node>, usize, Option<usize>),
}

impl Node {
    /// Positions of its automaton.
    fn size(&self) -> usize {
        match self {
            Self::Letter(_) => 1,
            Self::Sequence(nodes) | Self::Alternatives(nodes) => {
                nodes.iter().fold(0, |sum, node| sum.saturating_add(node.size()))
            }
            Self::Repeat(node, least, most) => node.size().saturating_mul(most.unwrap_or(*least).max(1)),
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl Parser<'_> {
    fn next_char(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    fn take(&mut self, wanted: char) -> bool {
        let there = self.next_char() == Some(wanted);
        if there {
            self.rest = &self.rest[wanted.len_utf8()..];
        }
        there
    }

    fn alternatives(&mut self) -> Result<Node, AsPathPatternError> {
        let mut nodes = vec![self.sequence()?];
        while self.take('|') {
            nodes.push(self.sequence()?);
        }
        Ok(if nodes.len() > 1 { Node::Alternatives(nodes) } else { nodes.remove(0) })
    }

    fn sequence(&mut self) -> Result<Node, AsPathPatternError> {
        let mut nodes = Vec::new();
        while let Some(next) = self.next_char().filter(|next| !"|)".contains(*next)) {
            let node = self.one(next)?;
            nodes.push(self.repeats(node)?);
        }
        if nodes.is_empty() { Err(AsPathPatternError::Empty) } else { Ok(Node::Sequence(nodes)) }
    }

    fn one(&mut self, next: char) -> Result<Node, AsPathPatternError> {
        match next {
            '.' => {
                self.take('.');
                Ok(Node::Letter(Letter::Any))
            }
            '(' => {
                self.take('(');
                self.depth += 1;
                if self.depth > DEEPEST {
                    return Err(AsPathPatternError::TooLarge);
                }
                let node = self.alternatives()?;
                self.depth -= 1;
                if self.take(')') { Ok(node) } else { Err(AsPathPatternError::Bracket) }
            }
            '0'..='9' => {
                let end = self.rest.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(self.rest.len());
                let (number, rest) = self.rest.split_at(end);
                self.rest = rest;
                let range = number.parse().map_err(|_| AsPathPatternError::Number(number.to_owned()))?;
                Ok(Node::Letter(Letter::Range(range)))
            }
            '_' => Err(AsPathPatternError::Underscore),
            '[' => Err(AsPathPatternError::Class),
            '^' | '$' => Err(AsPathPatternError::Anchor(next)),
            '*' | '+' | '?' | '{' => Err(AsPathPatternError::Nothing(next)),
            other => Err(AsPathPatternError::Character(other)),
        }
    }

    fn repeats(&mut self, mut node: Node) -> Result<Node, AsPathPatternError> {
        // Each is a level of the tree, which is walked by recursion.
        for _ in 0..DEEPEST {
            let (least, most) = match self.next_char() {
                Some('*') => (0, None),
                Some('+') => (1, None),
                Some('?') => (0, Some(1)),
                Some('{') => self.count()?,
                _ => return Ok(node),
            };
            if most != Some(1) || least == 0 {
                node = Node::Repeat(Box::new(node), least, most);
            }
            self.rest = self.rest.get(1..).unwrap_or_default();
        }
        Err(AsPathPatternError::TooLarge)
    }

    /// `{n}` or `{n,m}`, up to its last character.
    fn count(&mut self) -> Result<(usize, Option<usize>), AsPathPatternError> {
        let end = self.rest.find('}').ok_or(AsPathPatternError::Count)?;
        let count = |text: &str| super::number::decimal(text.trim()).filter(|_| !text.trim().is_empty());
        let text = &self.rest[1..end];
        let range = match text.split_once(',') {
            None => count(text).map(|number| (number, number)),
            Some((least, most)) => count(least).zip(count(most)),
        };
        let (least, most) =
            range.filter(|(least, most)| least <= most && *most > 0).ok_or(AsPathPatternError::Count)?;
        self.rest = &self.rest[end..];
        Ok((least as usize, Some(most as usize)))
    }
}

/// A set of positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Positions([u64; MOST_POSITIONS / 64]);

impl Positions {
    fn insert(&mut self, position: usize) {
        self.0[position / 64] |= 1 << (position % 64);
    }

    fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(word, more)| *word |= more);
    }

    fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).any(|(a, b)| a & b != 0)
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(at, &word)| {
            let mut left = word;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros() as usize)?;
                left &= left - 1;
                Some(at * 64 + bit)
            })
        })
    }
}

#[derive(Debug)]
struct Automaton {
    letters: Vec<Letter>,
    /// By position, which may come next.
    follow: Vec<Positions>,
    whole: Part,
    from_start: bool,
    to_end: bool,
}

/// What is known of a part of a pattern.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    /// It matches no hop at all.
    nullable: bool,
    first: Positions,
    last: Positions,
}

impl Automaton {
    fn new(node: &Node, from_start: bool, to_end: bool) -> Self {
        let mut made = Self { letters: Vec::new(), follow: Vec::new(), whole: Part::default(), from_start, to_end };
        made.whole = made.add(node);
        made
    }

    fn add(&mut self, node: &Node) -> Part {
        match node {
            Node::Letter(letter) => {
                let position = self.letters.len();
                self.letters.push(*letter);
                self.follow.push(Positions::default());
                let mut only = Positions::default();
                only.insert(position);
                Part { nullable: false, first: only, last: only }
            }
            Node::Sequence(nodes) => {
                let mut whole = Part { nullable: true, ..Part::default() };
                for node in nodes {
                    let part = self.add(node);
                    whole = self.join(&whole, &part);
                }
                whole
            }
            Node::Alternatives(nodes) => {
                let mut whole = Part::default();
                for node in nodes {
                    let part = self.add(node);
                    whole.nullable |= part.nullable;
                    whole.first.add(&part.first);
                    whole.last.add(&part.last);
                }
                whole
            }
            Node::Repeat(node, least, most) => {
                let mut whole = Part { nullable: true, ..Part::default() };
                for copy in 0..most.unwrap_or(*least).max(1) {
                    let mut part = self.add(node);
                    part.nullable |= copy >= *least;
                    if most.is_none() && copy + 1 >= *least {
                        self.link(&part.last, &part.first);
                    }
                    whole = self.join(&whole, &part);
                }
                whole
            }
        }
    }

    fn join(&mut self, left: &Part, right: &Part) -> Part {
        self.link(&left.last, &right.first);
        let mut whole = Part { nullable: left.nullable && right.nullable, first: left.first, last: right.last };
        if left.nullable {
            whole.first.add(&right.first);
        }
        if right.nullable {
            whole.last.add(&left.last);
        }
        whole
    }

    fn link(&mut self, from: &Positions, to: &Positions) {
        for position in from.iter() {
            self.follow[position].add(to);
        }
    }

    fn run<'a>(&self, hops: impl Iterator<Item = &'a [Asn]>) -> bool {
        if self.whole.nullable && !(self.from_start && self.to_end) {
            return true;
        }
        let (mut active, mut begun) = (Positions::default(), false);
        for hop in hops {
            let mut next = if begun && self.from_start { Positions::default() } else { self.whole.first };
            active.iter().for_each(|position| next.add(&self.follow[position]));
            begun = true;
            active = Positions::default();
            next.iter().filter(|&position| self.letters[position].matches(hop)).for_each(|at| active.insert(at));
            if !self.to_end && active.meets(&self.whole.last) {
                return true;
            }
            if active.is_empty() && self.from_start {
                return false;
            }
        }
        self.to_end && (active.meets(&self.whole.last) || (self.whole.nullable && !begun))
    }
}

#[cfg(test)]
#[path = "as_path_tests.rs"]
mod tests;
