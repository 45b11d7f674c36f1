//! BGP messages as the load needs them: written from parts, and read back no further than to their prefixes.
//!
//! RFC 4271 section 4 and RFC 4760. What a daemon sends may be anything: reading returns `None` and never panics.

use std::net::{IpAddr, Ipv4Addr};

/// Octets of the header.
pub(crate) const HEADER: usize = 19;
/// OPEN.
pub(crate) const OPEN: u8 = 1;
/// UPDATE.
pub(crate) const UPDATE: u8 = 2;
/// NOTIFICATION.
pub(crate) const NOTIFICATION: u8 = 3;
/// KEEPALIVE.
pub(crate) const KEEPALIVE: u8 = 4;

/// Seconds of hold time that the load offers. Longer than any run, so that no timer is part of what is measured.
pub(crate) const HOLD_TIME: u16 = 240;

const AS_TRANS: u16 = 23_456;
const OPTIONAL: u8 = 0x80;
const TRANSITIVE: u8 = 0x40;
const EXTENDED_LENGTH: u8 = 0x10;
const AS_PATH: u8 = 2;
const MP_REACH: u8 = 14;
const MP_UNREACH: u8 = 15;
/// AFI 2 and SAFI 1: IPv6 unicast.
const IPV6_UNICAST: [u8; 3] = [0, 2, 1];

/// A prefix: the first 64 bits of its address, which is all that a table here uses, and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Prefix {
    /// The address, from the top bit on; zero behind `length` bits.
    pub(crate) bits: u64,
    /// Bits, at most 64.
    pub(crate) length: u8,
}

/// What one sender says of a set of prefixes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// One AS_SEQUENCE, or none when empty.
    pub(crate) as_path: Vec<u32>,
    /// The sender's own address. An IPv6 one makes the prefixes travel in MP_REACH_NLRI.
    pub(crate) next_hop: IpAddr,
    /// MULTI_EXIT_DISC.
    pub(crate) med: Option<u32>,
    /// LOCAL_PREF, for internal sessions.
    pub(crate) local_pref: Option<u32>,
    /// RFC 1997.
    pub(crate) communities: Vec<u32>,
}

/// Appends one message.
pub(crate) fn enclose(kind: u8, body: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xff; 16]);
    out.extend_from_slice(&((HEADER + body.len()) as u16).to_be_bytes());
    out.push(kind);
    out.extend_from_slice(body);
}

/// A KEEPALIVE.
pub(crate) fn keepalive() -> Vec<u8> {
    let mut out = Vec::new();
    enclose(KEEPALIVE, &[], &mut out);
    out
}

/// An OPEN with the capabilities that every speaker of today has: the family, four-octet AS numbers, route refresh.
pub(crate) fn open(asn: u32, identifier: Ipv4Addr, v6: bool) -> Vec<u8> {
    let mut capabilities = vec![1, 4, 0, if v6 { 2 } else { 1 }, 0, 1]; // RFC 4760
    capabilities.extend_from_slice(&[2, 0]); // RFC 2918
    capabilities.extend_from_slice(&[65, 4]); // RFC 6793
    capabilities.extend_from_slice(&asn.to_be_bytes());
    let mut body = vec![4];
    body.extend_from_slice(&u16::try_from(asn).unwrap_or(AS_TRANS).to_be_bytes());
    body.extend_from_slice(&HOLD_TIME.to_be_bytes());
    body.extend_from_slice(&identifier.octets());
    let length = capabilities.len() as u8;
    body.extend_from_slice(&[length + 2, 2, length]);
    body.extend_from_slice(&capabilities);
    let mut out = Vec::new();
    enclose(OPEN, &body, &mut out);
    out
}

/// Appends one UPDATE that announces `prefixes`, which must fit into it.
pub(crate) fn announce(attributes: &Attributes, prefixes: &[Prefix], out: &mut Vec<u8>) {
    let mut reachable = Vec::with_capacity(prefixes.len() * 5);
    for prefix in prefixes {
        put_prefix(*prefix, &mut reachable);
    }
    let mut block = Vec::with_capacity(128);
    put_attribute(TRANSITIVE, 1, &[0], &mut block);
    let mut path = Vec::new();
    if !attributes.as_path.is_empty() {
        path.extend_from_slice(&[2, attributes.as_path.len() as u8]);
        path.extend(attributes.as_path.iter().flat_map(|asn| asn.to_be_bytes()));
    }
    put_attribute(TRANSITIVE, AS_PATH, &path, &mut block);
    if let IpAddr::V4(next_hop) = attributes.next_hop {
        put_attribute(TRANSITIVE, 3, &next_hop.octets(), &mut block);
    }
    if let Some(med) = attributes.med {
        put_attribute(OPTIONAL, 4, &med.to_be_bytes(), &mut block);
    }
    if let Some(preference) = attributes.local_pref {
        put_attribute(TRANSITIVE, 5, &preference.to_be_bytes(), &mut block);
    }
    if !attributes.communities.is_empty() {
        let value: Vec<u8> = attributes.communities.iter().flat_map(|community| community.to_be_bytes()).collect();
        put_attribute(OPTIONAL | TRANSITIVE, 8, &value, &mut block);
    }
    if let IpAddr::V6(next_hop) = attributes.next_hop {
        let mut value = IPV6_UNICAST.to_vec();
        value.push(16);
        value.extend_from_slice(&next_hop.octets());
        value.push(0);
        value.append(&mut reachable);
        put_attribute(OPTIONAL, MP_REACH, &value, &mut block);
    }
    put_update(&[], &block, &reachable, out);
}

/// Prefixes that one UPDATE can withdraw, whatever their lengths: 9 octets each of 4096 at most.
pub(crate) const WITHDRAWN_AT_ONCE: usize = 440;

/// Appends one UPDATE that withdraws prefixes, at most [`WITHDRAWN_AT_ONCE`].
pub(crate) fn withdraw(prefixes: &[Prefix], v6: bool, out: &mut Vec<u8>) {
    let mut gone = Vec::new();
    if v6 {
        gone.extend_from_slice(&IPV6_UNICAST);
        prefixes.iter().for_each(|prefix| put_prefix(*prefix, &mut gone));
        let mut block = Vec::new();
        put_attribute(OPTIONAL, MP_UNREACH, &gone, &mut block);
        put_update(&[], &block, &[], out);
    } else {
        prefixes.iter().for_each(|prefix| put_prefix(*prefix, &mut gone));
        put_update(&gone, &[], &[], out);
    }
}

/// Appends the End-of-RIB marker (RFC 4724 section 2).
pub(crate) fn end_of_rib(v6: bool, out: &mut Vec<u8>) {
    let mut block = Vec::new();
    if v6 {
        put_attribute(OPTIONAL, MP_UNREACH, &IPV6_UNICAST, &mut block);
    }
    put_update(&[], &block, &[], out);
}

fn put_update(withdrawn: &[u8], attributes: &[u8], reachable: &[u8], out: &mut Vec<u8>) {
    let mut body = Vec::with_capacity(4 + withdrawn.len() + attributes.len() + reachable.len());
    body.extend_from_slice(&(withdrawn.len() as u16).to_be_bytes());
    body.extend_from_slice(withdrawn);
    body.extend_from_slice(&(attributes.len() as u16).to_be_bytes());
    body.extend_from_slice(attributes);
    body.extend_from_slice(reachable);
    enclose(UPDATE, &body, out);
}

fn put_attribute(flags: u8, code: u8, value: &[u8], out: &mut Vec<u8>) {
    match u8::try_from(value.len()) {
        Ok(length) => out.extend_from_slice(&[flags, code, length]),
        Err(_) => {
            out.extend_from_slice(&[flags | EXTENDED_LENGTH, code]);
            out.extend_from_slice(&(value.len() as u16).to_be_bytes());
        }
    }
    out.extend_from_slice(value);
}

fn put_prefix(prefix: Prefix, out: &mut Vec<u8>) {
    out.push(prefix.length);
    out.extend_from_slice(&prefix.bits.to_be_bytes()[..usize::from(prefix.length).div_ceil(8)]);
}

/// One message out of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    /// The type.
    pub(crate) kind: u8,
    /// What stands behind the header.
    pub(crate) body: &'a [u8],
    /// What stands behind the message.
    pub(crate) rest: &'a [u8],
}

/// A length field that no message can have: the stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ImpossibleLength(pub(crate) u16);

/// The first message in `bytes`; `None`: more is to come.
pub(crate) fn next(bytes: &[u8]) -> Result<Option<Frame<'_>>, ImpossibleLength> {
    let Some(&[high, low, kind]) = bytes.get(16..HEADER) else { return Ok(None) };
    let length = u16::from_be_bytes([high, low]);
    if usize::from(length) < HEADER {
        return Err(ImpossibleLength(length));
    }
    let whole = bytes.split_at_checked(usize::from(length));
    Ok(whole.map(|(message, rest)| Frame { kind, body: &message[HEADER..], rest }))
}

/// An UPDATE, looked into as far as the load needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Update<'a> {
    withdrawn: [&'a [u8]; 2],
    reachable: [&'a [u8]; 2],
    as_path: &'a [u8],
}

impl<'a> Update<'a> {
    /// Finds the parts of an UPDATE's body; `None` when they do not fit into one another.
    pub(crate) fn read(body: &'a [u8]) -> Option<Self> {
        let (withdrawn, rest) = counted(body)?;
        let (mut block, reachable) = counted(rest)?;
        let mut update = Self { withdrawn: [withdrawn, &[]], reachable: [reachable, &[]], as_path: &[] };
        while let [flags, code, rest @ ..] = block {
            let (value, rest) = if flags & EXTENDED_LENGTH == 0 {
                let (length, rest) = rest.split_first()?;
                rest.split_at_checked(usize::from(*length))?
            } else {
                counted(rest)?
            };
            match *code {
                AS_PATH => update.as_path = value,
                MP_REACH => {
                    let behind = 5 + usize::from(*value.get(3)?);
                    update.reachable[1] = value.get(behind..)?;
                }
                MP_UNREACH => update.withdrawn[1] = value.get(3..)?,
                _ => {}
            }
            block = rest;
        }
        block.is_empty().then_some(update)
    }

    /// The prefixes that are withdrawn; one that is cut off is `None` and the last.
    pub(crate) fn withdrawn(&self) -> impl Iterator<Item = Option<Prefix>> + use<'a> {
        self.withdrawn.into_iter().flat_map(Prefixes)
    }

    /// The prefixes that are announced; one that is cut off is `None` and the last.
    pub(crate) fn reachable(&self) -> impl Iterator<Item = Option<Prefix>> + use<'a> {
        self.reachable.into_iter().flat_map(Prefixes)
    }

    /// The first AS of the path's first segment that is not `own`.
    pub(crate) fn neighbour_as(&self, own: u32) -> Option<u32> {
        let numbers = self.as_path.get(2..)?;
        numbers.as_chunks::<4>().0.iter().map(|number| u32::from_be_bytes(*number)).find(|asn| *asn != own)
    }
}

/// A block behind its length of two octets, and what follows it.
fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

struct Prefixes<'a>(&'a [u8]);

impl Iterator for Prefixes<'_> {
    type Item = Option<Prefix>;

    fn next(&mut self) -> Option<Self::Item> {
        let (&length, rest) = self.0.split_first()?;
        let octets = usize::from(length).div_ceil(8);
        let Some((address, rest)) = rest.split_at_checked(octets) else {
            self.0 = &[];
            return Some(None);
        };
        self.0 = rest;
        let mut bits = [0; 8];
        let kept = octets.min(bits.len());
        bits[..kept].copy_from_slice(&address[..kept]);
        Some(Some(Prefix { bits: u64::from_be_bytes(bits), length }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Prefix = Prefix { bits: 10 << 56, length: 8 };
    const DOC6: Prefix = Prefix { bits: 0x2001_0db8_0001_0000, length: 48 };

    fn attributes(next_hop: &str) -> Attributes {
        Attributes {
            as_path: vec![65_000, 4_200_000_003, 7],
            next_hop: next_hop.parse().expect("an address"),
            med: Some(5),
            local_pref: Some(100),
            communities: vec![1; 70],
        }
    }

    #[test]
    fn an_announcement_reads_back_in_both_families() {
        for (next_hop, prefix) in [("198.18.1.1", TEN), ("2001:2::1", DOC6)] {
            let mut bytes = Vec::new();
            announce(&attributes(next_hop), &[prefix], &mut bytes);
            let frame = next(&bytes).expect("a length").expect("whole");
            let update = Update::read(frame.body).expect("well-formed");
            assert_eq!((frame.kind, frame.rest), (UPDATE, &[][..]));
            assert_eq!(update.reachable().collect::<Vec<_>>(), [Some(prefix)]);
            assert_eq!(update.withdrawn().count(), 0);
            assert_eq!(update.neighbour_as(65_000), Some(4_200_000_003));
        }
    }

    #[test]
    fn a_withdrawal_reads_back_in_both_families() {
        for (v6, prefix) in [(false, TEN), (true, DOC6)] {
            let mut bytes = Vec::new();
            withdraw(&[prefix], v6, &mut bytes);
            let update = Update::read(&bytes[HEADER..]).expect("well-formed");
            assert_eq!(update.withdrawn().collect::<Vec<_>>(), [Some(prefix)]);
            assert_eq!(update.reachable().count(), 0);
        }
    }

    #[test]
    fn an_update_cut_anywhere_is_refused_or_ends_in_a_cut_prefix() {
        let mut bytes = Vec::new();
        announce(&attributes("198.18.1.1"), &[TEN, TEN], &mut bytes);
        let body = &bytes[HEADER..];
        for end in 0..body.len() {
            if let Some(update) = Update::read(&body[..end]) {
                assert!(update.reachable().flatten().count() < 2, "cut at {end}");
            }
        }
    }

    #[test]
    fn a_message_that_is_not_whole_waits_and_an_impossible_length_is_an_error() {
        let whole = keepalive();
        assert_eq!(next(&whole[..18]), Ok(None));
        let mut short = whole.clone();
        short[17] = 18;
        assert_eq!(next(&short), Err(ImpossibleLength(18)));
    }
}
