//! A set of attributes as the RIB keeps it: in one piece of memory, as long as what it says.
//!
//! A full table holds about 200,000 sets. As [`Attributes`] one takes some 350 bytes in four pieces, because every field has
//! its place whether it is there or not; packed it takes some 40 in one. Sets are compared and hashed as they are packed, and
//! unpacked where somebody reads what they say.

use std::hash::{Hash, Hasher};
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::hints::Hints;
use crate::types::{Asn, ClusterId, Interface, LinkLocal, NextHop, RouterId};
use crate::wire::aspath::{AsPath, SegmentKind};
use crate::wire::attributes::{Aggregator, Attributes, Origin, UnknownAttribute};
use crate::wire::community::{Community, ExtendedCommunity, LargeCommunity};
use crate::wire::tunnel::Tunnel;

/// A set of attributes. Equal sets are equal, and no others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packed {
    octets: Box<[u8]>,
    rest: Option<Box<Rest>>,
}

/// What few sets have, or what is large anyway, stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Rest {
    tunnels: Box<[Tunnel]>,
    unknown: Box<[UnknownAttribute]>,
}

/// A set that is being looked for: packed into memory that is used again for the next one.
#[derive(Debug, Default)]
pub(crate) struct Packer {
    octets: Vec<u8>,
    rest: Option<Box<Rest>>,
}

/// What a set has, in its first two octets.
mod has {
    pub(super) const ORIGIN: u16 = 3;
    pub(super) const NEXT_HOP_V6: u16 = 1 << 2;
    pub(super) const LINK_LOCAL: u16 = 1 << 3;
    pub(super) const MED: u16 = 1 << 4;
    pub(super) const LOCAL_PREF: u16 = 1 << 5;
    pub(super) const ATOMIC_AGGREGATE: u16 = 1 << 6;
    pub(super) const AGGREGATOR: u16 = 1 << 7;
    pub(super) const ORIGINATOR_ID: u16 = 1 << 8;
    pub(super) const COMMUNITIES: u16 = 1 << 9;
    pub(super) const EXTENDED_COMMUNITIES: u16 = 1 << 10;
    pub(super) const LARGE_COMMUNITIES: u16 = 1 << 11;
    pub(super) const CLUSTER_LIST: u16 = 1 << 12;
    pub(super) const OTC: u16 = 1 << 13;
    pub(super) const LINK: u16 = 1 << 14;
    pub(super) const WEIGHT: u16 = 1 << 15;
}

/// In the place of the kind of a segment of the path, behind the last one: what follows are hints. No flag is left for them,
/// and few sets have any.
const HINTS: u8 = 3;

impl Hash for Packed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash(&self.octets, self.rest.as_deref(), state);
    }
}

impl Hash for Packer {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash(&self.octets, self.rest.as_deref(), state);
    }
}

/// In one write: every write that a hasher is given costs more than the octets in it.
fn hash<H: Hasher>(octets: &[u8], rest: Option<&Rest>, state: &mut H) {
    state.write(octets);
    if let Some(rest) = rest {
        rest.hash(state);
    }
}

impl Packer {
    /// Packs a set. What was packed before is gone.
    pub(crate) fn pack(&mut self, attributes: &Attributes) {
        // Whoever adds a field is to decide where it goes.
        let Attributes {
            origin,
            as_path,
            next_hop,
            med,
            local_pref,
            atomic_aggregate,
            aggregator,
            communities,
            extended_communities,
            large_communities,
            originator_id,
            cluster_list,
            tunnels,
            otc,
            weight,
            hints,
            unknown,
        } = attributes;
        let out = &mut self.octets;
        out.clear();
        let mut flags = *origin as u16;
        out.extend_from_slice(&[0, 0]);
        match *next_hop {
            NextHop::V4(address) => out.extend_from_slice(&address.octets()),
            NextHop::V6 { global, link_local } => {
                flags |= has::NEXT_HOP_V6;
                out.extend_from_slice(&global.octets());
                if let Some(link_local) = link_local {
                    flags |= has::LINK_LOCAL;
                    out.extend_from_slice(&link_local.address.octets());
                }
                if let Some(link) = link_local.and_then(|link_local| link_local.link) {
                    flags |= has::LINK;
                    out.extend_from_slice(&link.octets());
                }
            }
        }
        let mut number = |flag: u16, value: Option<u32>| {
            if let Some(value) = value {
                flags |= flag;
                out.extend_from_slice(&value.to_be_bytes());
            }
        };
        number(has::MED, *med);
        number(has::LOCAL_PREF, *local_pref);
        number(has::AGGREGATOR, aggregator.map(|aggregator| aggregator.asn.0));
        number(has::AGGREGATOR, aggregator.map(|aggregator| aggregator.router_id.0.into()));
        number(has::ORIGINATOR_ID, originator_id.map(|id| id.0.into()));
        number(has::OTC, otc.map(|asn| asn.0));
        number(has::WEIGHT, Some(*weight).filter(|weight| *weight != 0));
        flags |= if *atomic_aggregate { has::ATOMIC_AGGREGATE } else { 0 };
        flags |= list(has::COMMUNITIES, communities, |community| community.0.to_be_bytes(), out);
        flags |= list(has::EXTENDED_COMMUNITIES, extended_communities, |community| community.0, out);
        flags |= list(has::LARGE_COMMUNITIES, large_communities, |community| community.octets(), out);
        flags |= list(has::CLUSTER_LIST, cluster_list, |id| id.0.octets(), out);
        for (kind, asns) in &as_path.segments {
            out.push(match kind {
                SegmentKind::Set => 1,
                SegmentKind::Sequence => 2,
            });
            count(asns.len(), out);
            asns.iter().for_each(|asn| out.extend_from_slice(&asn.0.to_be_bytes()));
        }
        if let Some(hints) = hints {
            out.push(HINTS);
            hints.pack(out);
        }
        out[..2].copy_from_slice(&flags.to_be_bytes());
        self.rest = (!tunnels.is_empty() || !unknown.is_empty())
            .then(|| Box::new(Rest { tunnels: tunnels.clone(), unknown: unknown.clone() }));
    }

    /// Whether this is the set that was packed last.
    pub(crate) fn is(&self, known: &Packed) -> bool {
        *self.octets == *known.octets && self.rest == known.rest
    }

    /// The set that was packed last, in memory of its own.
    pub(crate) fn take(&mut self) -> Packed {
        Packed { octets: self.octets.as_slice().into(), rest: self.rest.take() }
    }
}

/// Appends a list that is not empty; its flag if it did.
fn list<T: Copy, const N: usize>(flag: u16, values: &[T], octets: impl Fn(T) -> [u8; N], out: &mut Vec<u8>) -> u16 {
    if values.is_empty() {
        return 0;
    }
    count(values.len(), out);
    values.iter().for_each(|value| out.extend_from_slice(&octets(*value)));
    flag
}

/// A count in one octet, or in four behind an octet that no shorter one has.
fn count(count: usize, out: &mut Vec<u8>) {
    match u8::try_from(count) {
        Ok(short) if short < u8::MAX => out.push(short),
        _ => {
            out.push(u8::MAX);
            out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
        }
    }
}

impl Packed {
    /// Its next hop alone.
    pub(crate) fn next_hop(&self) -> NextHop {
        let mut rest = Reader(&self.octets);
        let flags = u16::from_be_bytes(rest.octets());
        rest.next_hop(flags)
    }

    /// Its tunnels alone.
    pub(crate) fn tunnels(&self) -> &[Tunnel] {
        self.rest.as_ref().map_or(&[], |rest| &rest.tunnels)
    }

    /// What it says.
    pub(crate) fn unpack(&self) -> Attributes {
        let mut rest = Reader(&self.octets);
        let flags = u16::from_be_bytes(rest.octets());
        let is = |flag: u16| flags & flag != 0;
        let origin = match flags & has::ORIGIN {
            0 => Origin::Igp,
            1 => Origin::Egp,
            _ => Origin::Incomplete,
        };
        let next_hop = rest.next_hop(flags);
        let mut made = Attributes::new(origin, AsPath::default(), next_hop);
        made.med = is(has::MED).then(|| rest.number());
        made.local_pref = is(has::LOCAL_PREF).then(|| rest.number());
        made.aggregator = is(has::AGGREGATOR)
            .then(|| Aggregator { asn: Asn(rest.number()), router_id: RouterId(Ipv4Addr::from(rest.number())) });
        made.originator_id = is(has::ORIGINATOR_ID).then(|| RouterId(Ipv4Addr::from(rest.number())));
        made.otc = is(has::OTC).then(|| Asn(rest.number()));
        made.weight = if is(has::WEIGHT) { rest.number() } else { 0 };
        made.atomic_aggregate = is(has::ATOMIC_AGGREGATE);
        if is(has::COMMUNITIES) {
            made.communities = rest.list(|octets| Community(u32::from_be_bytes(octets)));
        }
        if is(has::EXTENDED_COMMUNITIES) {
            made.extended_communities = rest.list(ExtendedCommunity);
        }
        if is(has::LARGE_COMMUNITIES) {
            made.large_communities = rest.list(LargeCommunity::from_octets);
        }
        if is(has::CLUSTER_LIST) {
            made.cluster_list = rest.list(|octets: [u8; 4]| ClusterId(Ipv4Addr::from(octets)));
        }
        while let [kind, ..] = *rest.0 {
            rest.0 = &rest.0[1..];
            if kind == HINTS {
                made.hints = Some(Box::new(Hints::unpack(|count| rest.some(count))));
                break;
            }
            let kind = if kind == 1 { SegmentKind::Set } else { SegmentKind::Sequence };
            // Most paths are one sequence: no room for more.
            made.as_path.segments.reserve_exact(1);
            made.as_path.segments.push((kind, rest.list(|octets| Asn(u32::from_be_bytes(octets)))));
        }
        if let Some(rest) = &self.rest {
            made.tunnels.clone_from(&rest.tunnels);
            made.unknown.clone_from(&rest.unknown);
        }
        made
    }
}

/// Reads what [`Packer`] wrote; nothing else ever comes here, and what would be missing reads as zero.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn some(&mut self, count: usize) -> &'a [u8] {
        let (octets, rest) = self.0.split_at(self.0.len().min(count));
        self.0 = rest;
        octets
    }

    fn octets<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk::<N>() {
            Some((octets, rest)) => {
                self.0 = rest;
                *octets
            }
            None => [0; N],
        }
    }

    /// What stands behind the flags.
    fn next_hop(&mut self, flags: u16) -> NextHop {
        let is = |flag: u16| flags & flag != 0;
        if !is(has::NEXT_HOP_V6) {
            return NextHop::V4(Ipv4Addr::from(self.octets::<4>()));
        }
        let global = Ipv6Addr::from(self.octets::<16>());
        let address = is(has::LINK_LOCAL).then(|| Ipv6Addr::from(self.octets::<16>()));
        let link = is(has::LINK).then(|| Interface::from_octets(self.octets()));
        NextHop::V6 { global, link_local: address.map(|address| LinkLocal { address, link }) }
    }

    fn number(&mut self) -> u32 {
        u32::from_be_bytes(self.octets())
    }

    fn list<T, const N: usize>(&mut self, read: impl Fn([u8; N]) -> T) -> Box<[T]> {
        let [short] = self.octets::<1>();
        let count = if short == u8::MAX { self.number() as usize } else { usize::from(short) };
        self.some(count * N).as_chunks::<N>().0.iter().map(|octets| read(*octets)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hints::{Hint, OverlayMode};
    use crate::wire::arbitrary;

    fn packed(attributes: &Attributes) -> Packed {
        let mut packer = Packer::default();
        packer.pack(attributes);
        packer.take()
    }

    #[test]
    fn a_common_set_takes_little() {
        let path = AsPath::sequence([65001, 3356, 1299, 400_000].map(Asn));
        let mut set = Attributes::new(Origin::Igp, path, NextHop::V4(Ipv4Addr::new(192, 0, 2, 1)));
        set.communities = [Community(7), Community(8)].into();
        assert_eq!(packed(&set).octets.len(), 2 + 4 + 1 + 8 + 2 + 16);
        assert_eq!(size_of::<Packed>(), 24);
    }

    #[test]
    fn long_lists_and_what_only_a_filter_can_make_come_back() {
        let mut set = Attributes::new(Origin::Incomplete, AsPath::default(), NextHop::V4(Ipv4Addr::UNSPECIFIED));
        set.as_path.prepend(Asn(0), 70_000);
        set.communities = (0..300).map(Community).collect();
        set.weight = 7;
        assert_eq!(packed(&set).unpack(), set);
    }

    #[test]
    fn the_link_of_a_link_local_next_hop_is_a_part_of_the_set() {
        let on = |link| {
            let next_hop = NextHop::link_local(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1), Interface::new(link));
            Attributes { med: Some(7), ..Attributes::new(Origin::Igp, AsPath::sequence([Asn(1)]), next_hop) }
        };
        for link in ["eth0", "fifteen-octets!", ""] {
            assert_eq!(packed(&on(link)).unpack(), on(link));
        }
        assert_ne!(packed(&on("eth0")), packed(&on("eth1")));
    }

    #[test]
    fn every_combination_of_hints_comes_back_and_a_set_without_takes_no_room_for_them() {
        let path = AsPath::sequence([Asn(65001)]);
        let without = Attributes::new(Origin::Igp, path, NextHop::V4(Ipv4Addr::new(192, 0, 2, 1)));
        let mut seen = vec![packed(&without)];
        assert_eq!(seen[0].octets.len(), 2 + 4 + 2 + 4);
        let modes = OverlayMode::ALL.map(Some);
        for mtu in [None, Some(Hint::Auto), Some(Hint::Is(1400))] {
            for source in [None, Some(Hint::Auto), Some(Hint::Is(Ipv4Addr::new(10, 0, 0, 1)))] {
                for source6 in [None, Some(Hint::Auto), Some(Hint::Is(Ipv6Addr::LOCALHOST))] {
                    for overlay in modes.into_iter().chain([None]) {
                        let hints = Hints { mtu, source, source6, overlay };
                        if !hints.is_empty() {
                            let set = Attributes { hints: Some(Box::new(hints)), ..without.clone() };
                            assert_eq!(packed(&set).unpack(), set);
                            seen.push(packed(&set));
                        }
                    }
                }
            }
        }
        assert_eq!(seen.len(), 3 * 3 * 3 * 4);
        for (at, one) in seen.iter().enumerate() {
            assert!(!seen[..at].contains(one), "{:?}", one.unpack());
        }
    }

    proptest! {
        #[test]
        fn unpacking_undoes_packing_and_equal_sets_are_packed_alike(
            one in arbitrary::family().prop_flat_map(arbitrary::attributes),
            other in arbitrary::family().prop_flat_map(arbitrary::attributes),
        ) {
            prop_assert_eq!(&packed(&one).unpack(), &one);
            let set = packed(&one);
            prop_assert_eq!((set.next_hop(), set.tunnels()), (one.next_hop, &*one.tunnels));
            prop_assert_eq!(packed(&one) == packed(&other), one == other);
            let mut packer = Packer::default();
            for set in [&other, &one] {
                packer.pack(set);
                prop_assert!(packer.is(&packed(set)));
                prop_assert_eq!(packer.is(&packed(&one)), set == &one);
            }
        }
    }
}
