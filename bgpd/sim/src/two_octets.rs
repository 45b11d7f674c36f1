//! Nodes whose AS numbers have two octets: OLD speakers, as RFC 6793 calls them.
//!
//! The speakers are all NEW. One becomes OLD by what happens to its messages on their way: it neither says nor hears the
//! capability for four octets, and AS4_PATH and AS4_AGGREGATOR come to it under types that it does not know, so that it does with
//! them what an OLD speaker does: it passes them on. Nothing changes its length.

use bgp_proto::types::Asn;
use bgp_proto::wire::aspath::{AsPath, SegmentKind};
use bgp_proto::wire::attributes::{Aggregator, Attributes, UnknownAttribute};
use bytes::{Bytes, BytesMut};

/// The capability for AS numbers of four octets, and one for private use (RFC 8810 section 3).
const CAPABILITY: [u8; 2] = [65, 239];
/// AS4_PATH, and a type that nobody has.
const PATH: [u8; 2] = [17, 217];
/// AS4_AGGREGATOR, and a type that nobody has.
const AGGREGATOR: [u8; 2] = [18, 218];

/// An OLD speaker knows by AS_TRANS whoever is in no AS of two octets; ours, being NEW, take no OPEN from there. This is what one is told
/// instead, in OPEN alone.
const NEIGHBOUR: Asn = Asn(23_457);

const HEADER: usize = 19;

/// Who of two neighbours is OLD: the sender of something, its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Both, or neither.
    Plain,
    /// From a NEW speaker to an OLD one.
    ToOld,
    /// From an OLD speaker to a NEW one.
    FromOld,
}

impl Way {
    /// Whether the sender is OLD, and the receiver.
    pub(crate) fn between(from_old: bool, to_old: bool) -> Self {
        match (from_old, to_old) {
            (false, true) => Self::ToOld,
            (true, false) => Self::FromOld,
            (true, true) | (false, false) => Self::Plain,
        }
    }
}

/// The AS of a neighbour, as an OLD speaker has it in its configuration.
pub(crate) fn neighbour(asn: Asn) -> Asn {
    if short(asn) == Asn::TRANS { NEIGHBOUR } else { asn }
}

/// The number as two octets have it.
pub(crate) fn short(asn: Asn) -> Asn {
    if asn.0 > 0xffff { Asn::TRANS } else { asn }
}

// What happens to messages.

/// Whole messages, as they are read at the other end. `of_old`: the sender or the receiver is OLD.
pub(crate) fn carry(messages: Bytes, of_old: bool, way: Way) -> Bytes {
    if !of_old {
        return messages;
    }
    let mut all = BytesMut::from(messages);
    let mut rest: &mut [u8] = &mut all;
    while rest.len() >= HEADER {
        let length = usize::from(u16::from_be_bytes([rest[16], rest[17]])).clamp(HEADER, rest.len());
        let (message, behind) = rest.split_at_mut(length);
        match message[18] {
            1 => carry_open(&mut message[HEADER..]),
            2 => carry_update(&mut message[HEADER..], way),
            _ => {}
        }
        rest = behind;
    }
    all.freeze()
}

/// Version, AS, hold time, identifier; then parameters, of which type 2 is a list of capabilities.
fn carry_open(body: &mut [u8]) {
    let [trans, instead] = [Asn::TRANS, NEIGHBOUR].map(|asn| (asn.0 as u16).to_be_bytes());
    if body[1..3] == trans {
        body[1..3].copy_from_slice(&instead);
    }
    for_each(body.get_mut(10..).unwrap_or_default(), |kind, value| {
        if *kind == 2 {
            for_each(value, |code, _| swap(code, CAPABILITY));
        }
    });
}

/// Each of a list of types, lengths and values.
fn for_each(mut list: &mut [u8], mut what: impl FnMut(&mut u8, &mut [u8])) {
    while let [kind, length, rest @ ..] = list {
        let (value, behind) = rest.split_at_mut(usize::from(*length).min(rest.len()));
        what(kind, value);
        list = behind;
    }
}

fn carry_update(body: &mut [u8], way: Way) {
    let number = |octets: &[u8]| octets.iter().fold(0, |number, octet| number << 8 | usize::from(*octet));
    let withdrawn = number(&body[..2]);
    let attributes = number(&body[2 + withdrawn..4 + withdrawn]);
    let mut rest = &mut body[4 + withdrawn..][..attributes];
    while rest.len() >= 3 {
        let extended = rest[0] & 0x10 != 0;
        let length = if extended { 4 + number(&rest[2..4]) } else { 3 + number(&rest[2..3]) };
        for names in [PATH, AGGREGATOR] {
            match way {
                Way::Plain => {}
                Way::ToOld => swap(&mut rest[1], names),
                Way::FromOld => swap(&mut rest[1], [names[1], names[0]]),
            }
        }
        rest = &mut rest[length..];
    }
}

fn swap(code: &mut u8, [from, to]: [u8; 2]) {
    if *code == from {
        *code = to;
    }
}

// What it comes to, for the oracle: RFC 6793 once more.

/// What one side says, as the other takes it.
pub(crate) fn heard(mut said: Attributes, way: Way) -> Attributes {
    match way {
        Way::Plain => {}
        Way::ToOld => abridge(&mut said),
        Way::FromOld => restore(&mut said),
    }
    said
}

/// RFC 6793 section 4.2.2.
fn abridge(said: &mut Attributes) {
    let whole: Vec<Asn> = said.as_path.asns().collect();
    let mut unknown = said.unknown.to_vec();
    if whole.iter().any(|asn| short(*asn) != *asn) {
        let mut value = Vec::new();
        for part in whole.chunks(255) {
            value.extend([2, part.len() as u8]);
            part.iter().for_each(|asn| value.extend(asn.0.to_be_bytes()));
        }
        unknown.push(UnknownAttribute { code: PATH[1], value: value.into() });
        said.as_path = AsPath::sequence(whole.into_iter().map(short));
    }
    if let Some(aggregator) = said.aggregator.filter(|aggregator| short(aggregator.asn) != aggregator.asn) {
        let mut value = aggregator.asn.0.to_be_bytes().to_vec();
        value.extend(aggregator.router_id.0.octets());
        unknown.push(UnknownAttribute { code: AGGREGATOR[1], value: value.into() });
        said.aggregator = Some(Aggregator { asn: Asn::TRANS, ..aggregator });
    }
    said.unknown = unknown.into();
}

/// RFC 6793 section 4.2.3.
fn restore(said: &mut Attributes) {
    let value = |code: u8| said.unknown.iter().find(|one| one.code == code).map(|one| one.value.clone());
    let (path, aggregator) = (value(PATH[1]), value(AGGREGATOR[1]));
    said.unknown =
        said.unknown.iter().filter(|one| one.code != PATH[1] && one.code != AGGREGATOR[1]).cloned().collect();
    if let Some((value, known)) = aggregator.zip(said.aggregator) {
        if known.asn != Asn::TRANS {
            return;
        }
        said.aggregator = Some(Aggregator { asn: Asn(number(&value[..4])), ..known });
    }
    if let Some(value) = path {
        let mut numbers: Vec<Asn> = Vec::new();
        let mut rest = &value[..];
        while let [_, count, members @ ..] = rest {
            let (members, behind) = members.split_at(usize::from(*count) * 4);
            numbers.extend(members.chunks(4).map(|octets| Asn(number(octets))));
            rest = behind;
        }
        let short: Vec<Asn> = said.as_path.asns().collect();
        debug_assert!(said.as_path.segments.iter().all(|(kind, _)| *kind == SegmentKind::Sequence));
        if let Some(more) = short.len().checked_sub(numbers.len()) {
            said.as_path = AsPath::sequence(short[..more].iter().copied().chain(numbers));
        }
    }
}

fn number(octets: &[u8]) -> u32 {
    octets.iter().fold(0, |number, octet| number << 8 | u32::from(*octet))
}
