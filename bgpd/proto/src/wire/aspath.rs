//! AS_PATH (RFC 4271 section 4.3, RFC 6793), with AS4_PATH merged in by the parser.

use crate::types::Asn;

/// A kind of AS_PATH segment (RFC 4271 section 4.3, RFC 5065).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SegmentKind {
    /// 1: unordered, counts as one hop.
    Set,
    /// 2: ordered.
    Sequence,
}

/// A path of autonomous systems, nearest first: segments of any number of AS numbers (the encoder splits at 255).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AsPath {
    /// The segments; none for a path that has not left its AS.
    pub segments: Vec<(SegmentKind, Box<[Asn]>)>,
}
