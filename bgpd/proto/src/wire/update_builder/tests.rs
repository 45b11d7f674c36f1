//! What is packed comes out again, and no message is larger than it may be.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::types::{Asn, FamilySet, Ipv4Prefix, Ipv6Prefix, PathId, Prefix};
use crate::wire::aspath::AsPath;
use crate::wire::attributes::{Origin, UnknownAttribute};
use crate::wire::tests::{plain, read_all};
use crate::wire::{Message, Update, arbitrary};

fn v4_routes(count: u32) -> Vec<Nlri> {
    let prefix = |index: u32| Ipv4Prefix::new(Ipv4Addr::from(0x0a00_0000 + (index << 8)), 24).map(Prefix::V4);
    (0..count).filter_map(prefix).map(|prefix| Nlri { prefix, path_id: PathId(0) }).collect()
}

fn v6_routes(count: u128) -> Vec<Nlri> {
    let prefix = |index: u128| Ipv6Prefix::new(Ipv6Addr::from(0x2001_0db8 << 96 | index << 80), 48).map(Prefix::V6);
    (0..count).filter_map(prefix).map(|prefix| Nlri { prefix, path_id: PathId(0) }).collect()
}

fn attributes(next_hop: NextHop) -> Attributes {
    Attributes::new(Origin::Igp, AsPath::sequence([Asn(65001)]), next_hop)
}

const V4: NextHop = NextHop::V4(Ipv4Addr::new(192, 0, 2, 1));
const V6: NextHop = NextHop::V6 { global: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), link_local: None };

fn updates(stream: &[u8], context: &UpdateContext) -> Vec<Update> {
    let update = |message| match message {
        Message::Update(update) => update,
        other => panic!("not an UPDATE: {other:?}"),
    };
    read_all(stream, context).into_iter().map(update).collect()
}

#[test]
fn an_ipv4_announcement_is_the_octets_of_rfc_4271() {
    let mut out = Vec::new();
    UpdateBuilder::new(plain()).announce(&attributes(V4), &v4_routes(1), &mut out).unwrap();
    let expected = [
        &[0xff; 16][..],
        b"\x00\x2f\x02\x00\x00\x00\x14",
        b"\x40\x01\x01\x00",
        b"\x40\x02\x06\x02\x01\x00\x00\xfd\xe9",
        b"\x40\x03\x04\xc0\x00\x02\x01",
        b"\x18\x0a\x00\x00",
    ]
    .concat();
    assert_eq!(out, expected);
}

#[test]
fn an_ipv6_announcement_begins_with_mp_reach_nlri() {
    let mut out = Vec::new();
    UpdateBuilder::new(plain()).announce(&attributes(V6), &v6_routes(1), &mut out).unwrap();
    let expected = [
        &[0xff; 16][..],
        b"\x00\x44\x02\x00\x00\x00\x2d",
        b"\x90\x0e\x00\x1c\x00\x02\x01\x10\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00",
        b"\x30\x20\x01\x0d\xb8\x00\x00",
        b"\x40\x01\x01\x00",
        b"\x40\x02\x06\x02\x01\x00\x00\xfd\xe9",
    ]
    .concat();
    assert_eq!(out, expected);
}

#[test]
fn end_of_rib_markers_are_those_of_rfc_4724() {
    let builder = UpdateBuilder::new(plain());
    assert_eq!(builder.end_of_rib(Family::Ipv4Unicast)[16..], *b"\x00\x17\x02\x00\x00\x00\x00");
    assert_eq!(builder.end_of_rib(Family::Ipv6Unicast)[16..], *b"\x00\x1d\x02\x00\x00\x00\x06\x80\x0f\x03\x00\x02\x01");
    for family in Family::ALL {
        let expected = Update { end_of_rib: Some(family), ..Update::default() };
        assert_eq!(updates(&builder.end_of_rib(family), &plain()), [expected]);
    }
}

#[test]
fn full_messages_are_as_few_as_fit() {
    // 4096 - 23 - 20 octets of attributes, 4 a prefix; and 4096 - 23 - 13 - 25 octets, 7 a prefix.
    for (next_hop, nlri, a_message) in [(V4, v4_routes(5000), 1013), (V6, v6_routes(5000), 576)] {
        let mut out = Vec::new();
        UpdateBuilder::new(plain()).announce(&attributes(next_hop), &nlri, &mut out).unwrap();
        let counts: Vec<usize> = updates(&out, &plain()).iter().map(|update| update.announced[0].nlri.len()).collect();
        let (last, full) = counts.split_last().unwrap();
        assert!(full.iter().all(|count| *count == a_message), "{counts:?}");
        assert_eq!(full.len() * a_message + last, 5000);
    }
}

#[test]
fn attributes_that_leave_no_room_are_refused_and_nothing_is_written() {
    let with = |octets: usize| Attributes {
        unknown: Box::new([UnknownAttribute { code: 99, value: vec![7; octets].into() }]),
        ..attributes(V4)
    };
    let builder = UpdateBuilder::new(plain());
    // 4096 - 23 - 20 - 4 - 5: what a /32 needs is left.
    for (octets, fits) in [(4044, true), (4045, false), (70_000, false)] {
        let mut out = vec![1, 2, 3];
        let answer = builder.announce(&with(octets), &v4_routes(2), &mut out);
        if fits {
            assert_eq!(answer, Ok(()));
            assert_eq!(updates(&out[3..], &plain()).len(), 2);
        } else {
            assert!(matches!(answer, Err(Unsendable::TooLarge { limit: 4096, .. })));
            assert_eq!(out, [1, 2, 3]);
        }
    }
}

#[test]
fn a_two_octet_session_gets_as4_path_only_where_it_is_needed() {
    let context = UpdateContext { four_octet_as: false, ..plain() };
    for (asn, as4_path) in [(65535, false), (65536, true)] {
        let attributes = Attributes::new(Origin::Igp, AsPath::sequence([Asn(asn)]), V4);
        let mut out = Vec::new();
        UpdateBuilder::new(context).announce(&attributes, &v4_routes(1), &mut out).unwrap();
        assert_eq!(out.windows(3).any(|octets| octets == [0xc0, 17, 6]), as4_path, "AS {asn}");
        assert_eq!(*updates(&out, &context)[0].announced[0].attributes, attributes);
    }
}

#[test]
fn what_our_own_parser_would_fault_is_not_sent() {
    let good = Attributes::new(Origin::Igp, AsPath::sequence([Asn(65001)]), V4);
    let context = UpdateContext { external: true, ..plain() };
    let builder = UpdateBuilder::new(context);
    for (why, attributes, code) in [
        ("LOCAL_PREF to an external peer", Attributes { local_pref: Some(100), ..good.clone() }, code::LOCAL_PREF),
        (
            "no address as next hop",
            Attributes { next_hop: NextHop::V4([0, 0, 0, 0].into()), ..good.clone() },
            code::NEXT_HOP,
        ),
        ("AS 0 in the path", Attributes { as_path: AsPath::sequence([Asn(0)]), ..good.clone() }, code::AS_PATH),
        (
            "a known attribute among those that are passed on unread",
            Attributes {
                unknown: [UnknownAttribute { code: code::ONLY_TO_CUSTOMER, value: Bytes::from_static(&[0; 5]) }].into(),
                ..good.clone()
            },
            code::ONLY_TO_CUSTOMER,
        ),
    ] {
        let mut out = b"what stood there".to_vec();
        let error = builder.announce(&attributes, &v4_routes(1), &mut out).unwrap_err();
        assert!(matches!(error, Unsendable::Unsound { code: found, .. } if found == code), "{why}: {error}");
        assert_eq!(out, b"what stood there", "{why}");
    }
    assert_eq!(builder.announce(&good, &v4_routes(1), &mut Vec::new()), Ok(()));
}

proptest! {
    #[test]
    fn everything_announced_comes_out_again_with_its_attributes(
        (family, attributes) in arbitrary::family().prop_flat_map(|family| (Just(family), arbitrary::attributes(family))),
        seed in prop::collection::vec(any::<prop::sample::Index>(), 0..2000),
        pool in arbitrary::family().prop_flat_map(|_| prop::collection::vec(arbitrary::nlri(Family::Ipv4Unicast), 30)),
        pool6 in prop::collection::vec(arbitrary::nlri(Family::Ipv6Unicast), 30),
        context in arbitrary::context(),
    ) {
        let pool = if family == Family::Ipv4Unicast { pool } else { pool6 };
        let add_path = context.add_path.contains(family);
        let nlri: Vec<Nlri> = seed.iter().map(|index| *index.get(&pool))
            .map(|nlri| if add_path { nlri } else { Nlri { path_id: PathId(0), ..nlri } }).collect();
        let builder = UpdateBuilder::new(context);

        let mut announced = Vec::new();
        match builder.announce(&attributes, &nlri, &mut announced) {
            Ok(()) => {
                let updates = updates(&announced, &context);
                for update in &updates {
                    prop_assert_eq!((update.announced.len(), update.withdrawn.len()), (1, 0));
                    prop_assert_eq!(&*update.announced[0].attributes, &attributes);
                    prop_assert!(update.faults.is_empty(), "{:?}", update.faults);
                }
                let back: Vec<Nlri> = updates.iter().flat_map(|update| &update.announced[0].nlri).copied().collect();
                prop_assert_eq!(&back, &nlri);
            }
            Err(Unsendable::TooLarge { octets, limit }) => prop_assert!(octets + 23 + 21 > limit, "{octets} in {limit}"),
            Err(error @ Unsendable::Unsound { .. }) => prop_assert!(false, "{error}"),
        }

        let mut withdrawn = Vec::new();
        builder.withdraw(&nlri, &mut withdrawn);
        let back: Vec<Nlri> = updates(&withdrawn, &context).into_iter().flat_map(|update| {
            assert!(update.announced.is_empty() && update.end_of_rib.is_none());
            update.withdrawn
        }).collect();
        prop_assert_eq!(back, nlri);
    }

    #[test]
    fn an_update_that_is_encoded_whole_says_the_same(
        withdrawn in arbitrary::nlri_of_any_family(),
        family in arbitrary::family(),
        end_of_rib in arbitrary::family(),
    ) {
        let context = UpdateContext { add_path: FamilySet::from_iter(Family::ALL), ..plain() };
        let update = Update { withdrawn, end_of_rib: Some(end_of_rib), ..Update::default() };
        let back = updates(&Message::Update(update.clone()).encode(&context), &context);
        let count = |wanted: Family| back.iter().flat_map(|update| &update.withdrawn)
            .filter(|nlri| nlri.prefix.family() == wanted).count();
        let sent = update.withdrawn.iter().filter(|nlri| nlri.prefix.family() == family).count();
        prop_assert_eq!(count(family), sent);
        prop_assert_eq!(back.last().and_then(|update| update.end_of_rib), Some(end_of_rib));
    }
}
