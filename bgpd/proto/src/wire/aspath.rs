//! AS_PATH (RFC 4271 section 4.3, RFC 6793), with AS4_PATH merged in by the parser.
//!
//! Every function takes time in proportion to the path's length: paths of a thousand hops are seen in the wild.

use std::fmt;
use std::str::FromStr;

use crate::types::Asn;

/// A kind of AS_PATH segment (RFC 4271 section 4.3).
///
/// The confederation segments of RFC 5065 (types 3 and 4) are not here: Linnet is in no confederation, and from a peer
/// outside of its own a speaker may not receive them (RFC 5065 section 5.3), so a path that holds them is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SegmentKind {
    /// 1: unordered, counts as one hop.
    Set,
    /// 2: ordered.
    Sequence,
}

/// A path of autonomous systems, nearest first: segments of any number of AS numbers (the encoder splits at 255).
///
/// The parser joins neighbouring sequences, so that equal paths are equal values however they were split.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AsPath {
    /// The segments; none for a path that has not left its AS.
    pub segments: Vec<(SegmentKind, Box<[Asn]>)>,
}

/// Most AS numbers of one segment on the wire.
const SEGMENT_LIMIT: usize = 255;

impl AsPath {
    /// A path of one sequence; the empty path if `asns` is empty.
    #[must_use]
    pub fn sequence(asns: impl IntoIterator<Item = Asn>) -> Self {
        let asns: Box<[Asn]> = asns.into_iter().collect();
        let segments = if asns.is_empty() { Vec::new() } else { vec![(SegmentKind::Sequence, asns)] };
        Self { segments }
    }

    /// Its length as the decision process counts it: a set is one hop (RFC 4271 section 9.1.2.2).
    #[must_use]
    pub fn hops(&self) -> usize {
        self.segments.iter().map(|(kind, asns)| hops_of(*kind, asns)).sum()
    }

    /// Whether `asn` stands anywhere in it, sets included: a loop, if it is our own (RFC 4271 section 9.1.2).
    #[must_use]
    pub fn contains(&self, asn: Asn) -> bool {
        self.asns().any(|member| member == asn)
    }

    /// Every AS number, nearest first, those of a set in the order in which they came.
    pub fn asns(&self) -> impl Iterator<Item = Asn> {
        self.segments.iter().flat_map(|(_, asns)| asns.iter().copied())
    }

    /// The neighbour AS: the first number of a path that begins with a sequence (RFC 4271 section 9.1.2.2). `None` for the
    /// empty path, which our own AS originated, and for one that begins with a set.
    #[must_use]
    pub fn first(&self) -> Option<Asn> {
        match self.segments.first() {
            Some((SegmentKind::Sequence, asns)) => asns.first().copied(),
            Some((SegmentKind::Set, _)) | None => None,
        }
    }

    /// The AS that originated the route: the last number of a path that ends with a sequence.
    #[must_use]
    pub fn origin(&self) -> Option<Asn> {
        match self.segments.last() {
            Some((SegmentKind::Sequence, asns)) => asns.last().copied(),
            Some((SegmentKind::Set, _)) | None => None,
        }
    }

    /// Puts `asn` in front, `times` times (RFC 4271 section 5.1.2).
    pub fn prepend(&mut self, asn: Asn, times: usize) {
        self.put_in_front(std::iter::repeat_n(asn, times));
    }

    /// Puts these numbers in front, in their order.
    pub fn prepend_all(&mut self, asns: &[Asn]) {
        self.put_in_front(asns.iter().copied());
    }

    fn put_in_front(&mut self, asns: impl Iterator<Item = Asn>) {
        let mut asns = asns.peekable();
        if asns.peek().is_none() {
            return;
        }
        match self.segments.first_mut() {
            Some((SegmentKind::Sequence, known)) => *known = asns.chain(known.iter().copied()).collect(),
            Some((SegmentKind::Set, _)) | None => self.segments.insert(0, (SegmentKind::Sequence, asns.collect())),
        }
    }

    /// The path with each number as `keep` says: another one, or none at all.
    #[must_use]
    pub fn rewritten(&self, keep: impl Fn(Asn) -> Option<Asn>) -> Self {
        let mut path = Joined::default();
        for (kind, asns) in &self.segments {
            let mut kept = asns.iter().filter_map(|asn| keep(*asn)).peekable();
            if kept.peek().is_some() {
                path.push(*kind, kept);
            }
        }
        path.finish()
    }

    /// Parses the value of AS_PATH, or of AS4_PATH with `four_octet`.
    ///
    /// # Errors
    /// What makes it malformed by RFC 7606 section 7.2 or RFC 7607 section 2.
    pub(super) fn parse(value: &[u8], four_octet: bool) -> Result<Self, &'static str> {
        Self::parse_segments(value, four_octet, |_| Err("it has a segment of a type that only a confederation knows"))
    }

    /// Parses the value of AS4_PATH, of which confederation segments are left out (RFC 6793 section 3).
    ///
    /// # Errors
    /// What makes it malformed by RFC 6793 section 6.
    pub(super) fn parse_as4(value: &[u8]) -> Result<Self, &'static str> {
        if value.is_empty() {
            return Err("it holds no AS number");
        }
        Self::parse_segments(value, true, |_| Ok(()))
    }

    fn parse_segments(
        mut value: &[u8],
        four_octet: bool,
        confederation: impl Fn(u8) -> Result<(), &'static str>,
    ) -> Result<Self, &'static str> {
        let width = if four_octet { 4 } else { 2 };
        let mut path = Joined::default();
        while !value.is_empty() {
            let [code, count, rest @ ..] = value else { return Err("an octet is left behind its last segment") };
            if *count == 0 {
                return Err("it has a segment without AS numbers");
            }
            let Some((members, rest)) = rest.split_at_checked(usize::from(*count) * width) else {
                return Err("a segment runs over its end");
            };
            value = rest;
            let kind = match code {
                1 => SegmentKind::Set,
                2 => SegmentKind::Sequence,
                3 | 4 => {
                    confederation(*code)?;
                    continue;
                }
                _ => return Err("it has a segment of an unknown type"),
            };
            let number = |octets: &[u8]| Asn(octets.iter().fold(0, |number, octet| number << 8 | u32::from(*octet)));
            let members = members.chunks_exact(width).map(number);
            path.push(kind, members);
        }
        let path = path.finish();
        if path.contains(Asn(0)) { Err("it has AS 0") } else { Ok(path) }
    }

    /// Appends the value of AS_PATH, with `AS_TRANS` for what two octets do not hold.
    pub(super) fn encode(&self, four_octet: bool, out: &mut Vec<u8>) {
        for (kind, asns) in &self.segments {
            for part in asns.chunks(SEGMENT_LIMIT) {
                let code = match kind {
                    SegmentKind::Set => 1,
                    SegmentKind::Sequence => 2,
                };
                out.extend_from_slice(&[code, part.len() as u8]);
                if four_octet {
                    part.iter().for_each(|asn| out.extend_from_slice(&asn.0.to_be_bytes()));
                } else {
                    part.iter().for_each(|asn| out.extend_from_slice(&asn.as_two_octets().to_be_bytes()));
                }
            }
        }
    }

    /// Whether two octets hold every number, so that AS4_PATH is not needed (RFC 6793 section 4.2.2).
    pub(super) fn fits_two_octets(&self) -> bool {
        self.asns().all(|asn| asn.0 <= u32::from(u16::MAX))
    }

    /// The path that an AS_PATH of two octets and its AS4_PATH stand for (RFC 6793 section 4.2.3): as many leading hops of
    /// AS_PATH as AS4_PATH lacks, then AS4_PATH; AS_PATH alone if it is the shorter one.
    pub(super) fn merge_as4(self, as4_path: &Self) -> Self {
        let Some(mut missing) = self.hops().checked_sub(as4_path.hops()) else { return self };
        let mut merged = Joined::default();
        for (kind, asns) in &self.segments {
            let taken = match kind {
                _ if missing == 0 => break,
                SegmentKind::Set => asns,
                SegmentKind::Sequence => &asns[..missing.min(asns.len())],
            };
            missing -= hops_of(*kind, taken);
            merged.push(*kind, taken.iter().copied());
        }
        as4_path.segments.iter().for_each(|(kind, asns)| merged.push(*kind, asns.iter().copied()));
        merged.finish()
    }
}

fn hops_of(kind: SegmentKind, asns: &[Asn]) -> usize {
    match kind {
        SegmentKind::Set => usize::from(!asns.is_empty()),
        SegmentKind::Sequence => asns.len(),
    }
}

/// Segments being collected, neighbouring sequences joined.
#[derive(Default)]
struct Joined {
    done: Vec<(SegmentKind, Box<[Asn]>)>,
    open: Option<(SegmentKind, Vec<Asn>)>,
}

impl Joined {
    fn push(&mut self, kind: SegmentKind, asns: impl Iterator<Item = Asn>) {
        match &mut self.open {
            Some((SegmentKind::Sequence, members)) if kind == SegmentKind::Sequence => members.extend(asns),
            _ => {
                let next = (kind, asns.collect());
                self.done.extend(self.open.replace(next).map(|(kind, asns)| (kind, asns.into_boxed_slice())));
            }
        }
    }

    fn finish(mut self) -> AsPath {
        self.done.extend(self.open.take().map(|(kind, asns)| (kind, asns.into_boxed_slice())));
        AsPath { segments: self.done }
    }
}

/// Text that is no AS path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a part of an AS path; write AS numbers with spaces between, and sets like {{65003,65004}}")]
pub struct NotAnAsPath(pub String);

impl FromStr for AsPath {
    type Err = NotAnAsPath;

    /// What `Display` writes.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut path = Joined::default();
        for word in text.split_whitespace() {
            let set = word.strip_prefix('{').and_then(|word| word.strip_suffix('}'));
            let kind = if set.is_some() { SegmentKind::Set } else { SegmentKind::Sequence };
            let asn = |text: &str| {
                let plain = text.bytes().all(|digit| digit.is_ascii_digit());
                plain.then(|| text.parse().ok().map(Asn))?
            };
            let asns: Option<Vec<Asn>> = match (kind, set) {
                (SegmentKind::Set, Some(members)) => members.split(',').map(asn).collect(),
                _ => asn(word).map(|asn| vec![asn]),
            };
            path.push(kind, asns.ok_or_else(|| NotAnAsPath(word.to_owned()))?.into_iter());
        }
        Ok(path.finish())
    }
}

impl fmt::Display for AsPath {
    /// As routers show it: `65001 65002 {65003,65004}`; nothing for the empty path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut space = "";
        for (kind, asns) in &self.segments {
            f.write_str(space)?;
            let (open, between, close) = match kind {
                SegmentKind::Set => ("{", ",", "}"),
                SegmentKind::Sequence => ("", " ", ""),
            };
            f.write_str(open)?;
            for (index, asn) in asns.iter().enumerate() {
                write!(f, "{}{asn}", if index == 0 { "" } else { between })?;
            }
            f.write_str(close)?;
            space = " ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::arbitrary;

    fn path(text: &str) -> AsPath {
        text.parse().unwrap()
    }

    #[test]
    fn a_path_reads_as_routers_show_it() {
        for text in ["", "65001", "65001 65002 {65003,65004}", "{1,2} 3 4 {5} {6,7}"] {
            assert_eq!(path(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_path_is_refused_at_the_word() {
        for (text, word) in
            [("1 x", "x"), ("1 {}", "{}"), ("{1,}", "{1,}"), ("1,2", "1,2"), ("+1", "+1"), ("4294967296", "4294967296")]
        {
            assert_eq!(text.parse::<AsPath>(), Err(NotAnAsPath(word.into())), "{text}");
        }
    }

    #[test]
    fn length_neighbour_and_origin_are_those_of_rfc_4271() {
        for (text, hops, first, origin) in [
            ("", 0, None, None),
            ("1 2 3", 3, Some(1), Some(3)),
            ("1 2 {3,4,5}", 3, Some(1), None),
            ("{3,4,5} 6", 2, None, Some(6)),
            ("{3} {4}", 2, None, None),
        ] {
            let path = path(text);
            assert_eq!((path.hops(), path.first(), path.origin()), (hops, first.map(Asn), origin.map(Asn)), "{text}");
        }
    }

    #[test]
    fn an_as_is_found_in_sequences_and_sets() {
        let path = path("1 2 {3,4}");
        for (asn, there) in [(1, true), (2, true), (4, true), (5, false)] {
            assert_eq!(path.contains(Asn(asn)), there, "{asn}");
        }
    }

    #[test]
    fn prepending_extends_a_leading_sequence_and_never_a_set() {
        for (before, times, after) in
            [("", 0, ""), ("", 2, "9 9"), ("1 2", 1, "9 1 2"), ("{1,2}", 1, "9 {1,2}"), ("1", 0, "1")]
        {
            let mut path = path(before);
            path.prepend(Asn(9), times);
            assert_eq!(path.to_string(), after);
        }
    }

    #[test]
    fn what_rfc_7606_calls_malformed_is_malformed() {
        for (value, four_octet) in [
            (&b"\x02"[..], true),
            (b"\x02\x01\x00\x00\x00", true),
            (b"\x02\x02\x00\x00\x00\x01", true),
            (b"\x02\x01\x00\x00\x00\x01\x02", true),
            (b"\x02\x00", true),
            (b"\x02\x01\x00\x00\x00\x01\x01\x00", true),
            (b"\x00\x01\x00\x00\x00\x01", true),
            (b"\x03\x01\x00\x00\x00\x01", true),
            (b"\x04\x01\x00\x00\x00\x01", true),
            (b"\x05\x01\x00\x00\x00\x01", true),
            (b"\x02\x01\x00\x00\x00\x00", true),
            (b"\x02\x01\x00\x00", false),
            (b"\x02\x02\x00\x01\x00", false),
        ] {
            assert!(AsPath::parse(value, four_octet).is_err(), "{value:02x?} parsed");
        }
    }

    #[test]
    fn sequences_that_stand_side_by_side_are_one() {
        let parsed = AsPath::parse(b"\x02\x01\x00\x01\x02\x01\x00\x02\x01\x01\x00\x03", false).unwrap();
        assert_eq!(parsed, path("1 2 {3}"));
    }

    #[test]
    fn as4_path_loses_its_confederation_segments() {
        let value = b"\x03\x01\x00\x00\x00\x09\x02\x01\x00\x01\x00\x00";
        assert_eq!(AsPath::parse_as4(value), Ok(path("65536")));
    }

    #[test]
    fn as_path_and_as4_path_merge_as_rfc_6793_says() {
        for (as_path, as4_path, merged) in [
            ("1 23456 23456", "65536 65537", "1 65536 65537"),
            ("1 2 3", "", "1 2 3"),
            ("23456", "65536 65537", "23456"),
            ("1 {2,3} 23456", "65536", "1 {2,3} 65536"),
            ("1 {2,3} 23456", "{7,8} 65536", "1 {7,8} 65536"),
            ("23456 {4}", "65536 {65537}", "65536 {65537}"),
            ("1 2 23456 23456", "65536", "1 2 23456 65536"),
        ] {
            assert_eq!(path(as_path).merge_as4(&path(as4_path)).to_string(), merged, "{as_path} + {as4_path}");
        }
    }

    #[test]
    fn a_path_longer_than_a_segment_comes_back_whole() {
        let long = AsPath::sequence((1..=1000).map(Asn));
        let mut value = Vec::new();
        long.encode(true, &mut value);
        assert_eq!(value.len(), 4 * 2 + 1000 * 4);
        assert_eq!(AsPath::parse(&value, true), Ok(long));
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(path in arbitrary::as_path()) {
            let mut value = Vec::new();
            path.encode(true, &mut value);
            prop_assert_eq!(AsPath::parse(&value, true), Ok(path));
        }

        #[test]
        fn what_is_left_of_a_path_is_one_that_reads_as_it_is(path in arbitrary::as_path(), gone: u32) {
            let left = path.rewritten(|asn| (asn.0 & 3 != gone & 3).then_some(asn));
            let wanted: Vec<Asn> = path.asns().filter(|asn| asn.0 & 3 != gone & 3).collect();
            prop_assert_eq!(left.asns().collect::<Vec<_>>(), wanted);
            let mut value = Vec::new();
            left.encode(true, &mut value);
            prop_assert_eq!(AsPath::parse(&value, true), Ok(left));
        }

        #[test]
        fn two_octets_and_as4_path_together_lose_nothing(path in arbitrary::as_path()) {
            // An empty path fits into two octets: no AS4_PATH goes with it.
            prop_assume!(!path.segments.is_empty());
            let (mut short, mut long) = (Vec::new(), Vec::new());
            path.encode(false, &mut short);
            path.encode(true, &mut long);
            let merged = AsPath::parse(&short, false).unwrap().merge_as4(&AsPath::parse_as4(&long).unwrap());
            prop_assert_eq!(merged, path);
        }

        #[test]
        fn random_bytes_never_panic(value in prop::collection::vec(any::<u8>(), 0..64), four_octet: bool) {
            let _ = AsPath::parse(&value, four_octet);
            let _ = AsPath::parse_as4(&value);
        }
    }
}
