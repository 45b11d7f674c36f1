//! Messages that have brought other speakers down, or that other speakers have sent: what Linnet makes of each. The table
//! with their stories is docs/hostile-input.md; a row there names a test here.

use bytes::Bytes;

use super::plain;
use crate::types::Asn;
use crate::wire::attributes::{UnknownAttribute, flag};
use crate::wire::capability::Capability;
use crate::wire::frame::{Frame, MessageType};
use crate::wire::update::{UpdateContext, Verdict};
use crate::wire::{Message, Update};

const ORIGIN: &[u8] = b"\x40\x01\x01\x00";
const AS_PATH: &[u8] = b"\x40\x02\x06\x02\x01\x00\x00\xfd\xe9";
const NEXT_HOP: &[u8] = b"\x40\x03\x04\xc0\x00\x02\x01";
/// 10.1.0.0/16.
const NLRI: &[u8] = b"\x10\x0a\x01";

fn external() -> UpdateContext {
    UpdateContext { external: true, ..plain() }
}

fn two_octet_as() -> UpdateContext {
    UpdateContext { four_octet_as: false, ..external() }
}

/// The body of an UPDATE with these attributes, nothing withdrawn, and this NLRI field.
fn body(attributes: &[&[u8]], nlri: &[u8]) -> Bytes {
    let attributes = attributes.concat();
    Bytes::from([&[0, 0][..], &(attributes.len() as u16).to_be_bytes(), &attributes, nlri].concat())
}

fn read(body: Bytes, context: &UpdateContext) -> Result<Update, (u8, u8)> {
    match Message::parse(Frame { kind: MessageType::Update, body: &body }, context) {
        Ok(Message::Update(update)) => Ok(update),
        Ok(other) => panic!("{other:?}"),
        Err(notification) => Err((notification.code, notification.subcode)),
    }
}

/// What is announced and withdrawn, and which attributes were at fault.
fn outcome(attributes: &[&[u8]], context: &UpdateContext) -> (Vec<String>, Vec<String>, Vec<(u8, Verdict)>) {
    let update = read(body(attributes, NLRI), context).expect("the session stays up");
    let prefixes = |nlri: &[crate::types::Nlri]| nlri.iter().map(|one| one.prefix.to_string()).collect::<Vec<_>>();
    let announced = update.announced.iter().flat_map(|one| prefixes(&one.nlri)).collect();
    let faults = update.faults.iter().map(|fault| (fault.code, fault.verdict)).collect();
    (announced, prefixes(&update.withdrawn), faults)
}

fn announced(attributes: &[&[u8]], context: &UpdateContext) -> crate::wire::attributes::Attributes {
    let (announced, withdrawn, faults) = outcome(attributes, context);
    assert_eq!((announced, withdrawn, faults), (vec!["10.1.0.0/16".to_owned()], vec![], vec![]));
    let update = read(body(attributes, NLRI), context).unwrap();
    (*update.announced[0].attributes).clone()
}

fn withdrawn(attributes: &[&[u8]], context: &UpdateContext, culprit: u8) {
    let (announced, withdrawn, faults) = outcome(attributes, context);
    assert_eq!((announced, withdrawn), (vec![], vec!["10.1.0.0/16".to_owned()]));
    assert!(faults.contains(&(culprit, Verdict::TreatAsWithdraw)), "{faults:?}");
}

#[test]
fn a_corrupted_tunnel_encapsulation_attribute_withdraws_its_routes_and_no_more() {
    for value in [&b"\xff"[..], b"\x00\x01\xbd\xc6", b"\x00\x08\x00\x02\x01\xff", &[0xec; 28]] {
        let attribute = [&[0xc0, 23, value.len() as u8], value].concat();
        withdrawn(&[ORIGIN, AS_PATH, NEXT_HOP, &attribute], &external(), 23);
    }
}

#[test]
fn an_experimental_attribute_of_three_thousand_octets_is_passed_on_whole_with_partial() {
    let value = vec![0x5a; 3000];
    let attribute = [&[0xd0, 99][..], &3000u16.to_be_bytes(), &value].concat();
    let attributes = announced(&[ORIGIN, AS_PATH, NEXT_HOP, &attribute], &external());
    assert_eq!(*attributes.unknown, [UnknownAttribute { code: 99, value: value.into() }]);
    let update = read(body(&[ORIGIN, AS_PATH, NEXT_HOP, &attribute], NLRI), &external()).unwrap();
    let sent = Message::Update(update).encode(&external());
    let passed_on = sent.windows(4).find(|window| window[1] == 99 && window[2..] == 3000u16.to_be_bytes());
    assert_eq!(passed_on.map(|window| window[0]), Some(0xd0 | flag::PARTIAL));
}

#[test]
fn attribute_255_is_passed_on_as_any_other_that_nobody_knows() {
    for value in [&b""[..], b"\x00", &[0xff; 255]] {
        let attribute = [&[0xc0, 255, value.len() as u8], value].concat();
        let attributes = announced(&[ORIGIN, AS_PATH, NEXT_HOP, &attribute], &external());
        assert_eq!(*attributes.unknown, [UnknownAttribute { code: 255, value: Bytes::copy_from_slice(value) }]);
        let sent = Message::Update(read(body(&[ORIGIN, AS_PATH, NEXT_HOP, &attribute], NLRI), &external()).unwrap());
        let again = super::read_all(&sent.encode(&external()), &external());
        assert_eq!(again, [sent]);
    }
}

#[test]
fn an_aigp_or_bgp_ls_attribute_that_says_it_is_transitive_is_not_passed_on() {
    for code in [26, 29] {
        for value in
            [&b""[..], b"\x06\x2d\xe5\x04\x72\x2e", b"\x01\x00\x0b\x00\x00\x00\x00\x00\x00\x00\x01", &[0xff; 255]]
        {
            for (flags, discarded) in [(0xc0, true), (0xe0, true), (0x80, false)] {
                let attribute = [&[flags, code, value.len() as u8], value].concat();
                let attributes = [ORIGIN, AS_PATH, NEXT_HOP, &attribute];
                let faults = if discarded { vec![(code, Verdict::DiscardAttribute)] } else { vec![] };
                assert_eq!(outcome(&attributes, &external()), (vec!["10.1.0.0/16".to_owned()], vec![], faults));
                let update = read(body(&attributes, NLRI), &external()).unwrap();
                assert!(update.announced[0].attributes.unknown.is_empty(), "{code} with flags {flags:#x}");
            }
        }
    }
}

#[test]
fn confederation_segments_in_an_as4_path_are_left_out_and_cost_nothing() {
    let as_path: &[u8] = b"\x40\x02\x06\x02\x02\x5b\xa0\xfd\xe9";
    for (as4_path, expected) in [
        (&b"\xc0\x11\x10\x03\x01\x00\x00\xfc\x00\x02\x02\x00\x01\x00\x00\x00\x00\xfd\xe9"[..], "65536 65001"),
        (b"\xc0\x11\x06\x04\x01\x00\x00\xfc\x00", "23456 65001"),
    ] {
        let attributes = announced(&[ORIGIN, as_path, NEXT_HOP, as4_path], &two_octet_as());
        assert_eq!(attributes.as_path.to_string(), expected);
    }
}

#[test]
fn confederation_segments_in_an_as_path_withdraw_their_routes() {
    for kind in [3, 4] {
        for count in [0u8, 1, 63] {
            let segment = [&[kind, count][..], &[0, 0, 0xfd, 0xe9].repeat(usize::from(count))].concat();
            let path = [&[0x40, 2, segment.len() as u8][..], &segment].concat();
            withdrawn(&[ORIGIN, &path, NEXT_HOP], &external(), 2);
            withdrawn(&[ORIGIN, &path, NEXT_HOP], &plain(), 2);
        }
        // 255 AS numbers, one short of what the count holds, and no octet more.
        let segment = [&[kind, 255][..], &[0, 0, 0xfd, 0xe9].repeat(255)].concat();
        let path = [&[0x50, 2][..], &(segment.len() as u16).to_be_bytes(), &segment].concat();
        withdrawn(&[ORIGIN, &path, NEXT_HOP], &external(), 2);
    }
}

#[test]
fn an_internal_route_without_local_pref_is_a_route() {
    assert_eq!(announced(&[ORIGIN, AS_PATH, NEXT_HOP], &plain()).local_pref, None);
}

#[test]
fn attributes_in_any_order_say_the_same() {
    let as_path: &[u8] = b"\x40\x02\x06\x02\x02\x5b\xa0\xfd\xe9";
    let as4_path: &[u8] = b"\xc0\x11\x0a\x02\x02\x00\x01\x00\x00\x00\x00\xfd\xe9";
    let mut orders = Vec::new();
    let parts = [ORIGIN, as_path, NEXT_HOP, as4_path];
    for a in 0..4 {
        for b in (0..4).filter(|b| *b != a) {
            for c in (0..4).filter(|c| ![a, b].contains(c)) {
                orders.push([a, b, c, 6 - a - b - c].map(|part| parts[part]));
            }
        }
    }
    assert_eq!(orders.len(), 24);
    for order in orders {
        assert_eq!(announced(&order, &two_octet_as()).as_path.to_string(), "65536 65001");
    }
}

#[test]
fn an_as4_path_that_is_longer_than_the_as_path_is_ignored() {
    let as4_path: &[u8] = b"\xc0\x11\x0a\x02\x02\x00\x01\x00\x00\x00\x00\xfd\xe9";
    let short: &[u8] = b"\x40\x02\x04\x02\x01\xfd\xe9";
    assert_eq!(announced(&[ORIGIN, short, NEXT_HOP, as4_path], &two_octet_as()).as_path.to_string(), "65001");
}

#[test]
fn an_aggregator_of_the_other_kind_of_session_is_discarded_and_the_route_stays() {
    let six: &[u8] = b"\xc0\x07\x06\xfd\xe9\xc0\x00\x02\x01";
    let eight: &[u8] = b"\xc0\x07\x08\x00\x00\xfd\xe9\xc0\x00\x02\x01";
    let short_path: &[u8] = b"\x40\x02\x04\x02\x01\xfd\xe9";
    for (path, context, right, wrong) in [(AS_PATH, external(), eight, six), (short_path, two_octet_as(), six, eight)] {
        assert!(announced(&[ORIGIN, path, NEXT_HOP, right], &context).aggregator.is_some());
        let (announced, _, faults) = outcome(&[ORIGIN, path, NEXT_HOP, wrong], &context);
        assert_eq!((announced.len(), faults), (1, vec![(7, Verdict::DiscardAttribute)]));
    }
}

#[test]
fn an_as_path_of_length_zero_is_an_empty_path_and_a_segment_of_no_as_is_malformed() {
    let attributes = announced(&[ORIGIN, b"\x40\x02\x00", NEXT_HOP], &plain());
    assert!(attributes.as_path.segments.is_empty());
    withdrawn(&[ORIGIN, b"\x40\x02\x02\x02\x00", NEXT_HOP], &plain(), 2);
}

#[test]
fn a_next_hop_that_is_not_four_octets_long_withdraws_its_routes() {
    for length in [0u8, 1, 3, 5, 16] {
        let next_hop = [&[0x40, 3, length][..], &vec![1; usize::from(length)]].concat();
        withdrawn(&[ORIGIN, AS_PATH, &next_hop], &external(), 3);
    }
}

#[test]
fn prefixes_behind_an_mp_unreach_without_any_other_attribute_are_withdrawn() {
    let unreach: &[u8] = b"\x80\x0f\x08\x00\x02\x01\x20\x20\x01\x0d\xb8";
    let update = read(body(&[unreach], NLRI), &external()).expect("the session stays up");
    assert!(update.announced.is_empty());
    let shown: Vec<_> = update.withdrawn.iter().map(|nlri| nlri.prefix.to_string()).collect();
    assert_eq!(shown, ["2001:db8::/32", "10.1.0.0/16"]);
    // An empty one, which alone would be End-of-RIB, is none with prefixes behind it.
    let update = read(body(&[b"\x80\x0f\x03\x00\x02\x01"], NLRI), &external()).expect("the session stays up");
    assert_eq!((update.end_of_rib, update.announced.len(), update.withdrawn.len()), (None, 0, 1));
}

#[test]
fn prefixes_with_nothing_but_an_unknown_attribute_are_withdrawn() {
    withdrawn(&[b"\xc0\x1f\x02\x01\x02"], &external(), 1);
}

#[test]
fn an_unknown_well_known_attribute_ends_the_session_with_its_own_subcode() {
    let answer = read(body(&[ORIGIN, AS_PATH, NEXT_HOP, b"\x40\x63\x01\x00"], NLRI), &external());
    assert_eq!(answer, Err((3, 2)), "RFC 4271 section 6.3: the neighbour itself made it");
}

#[test]
fn a_prefix_sid_attribute_of_any_content_is_only_passed_on() {
    for value in [&b""[..], b"\x01", b"\x01\x00\xff", b"\x05\x00\x00", &[0xff; 255]] {
        let attribute = [&[0xc0, 40, value.len() as u8], value].concat();
        let attributes = announced(&[ORIGIN, AS_PATH, NEXT_HOP, &attribute], &external());
        assert_eq!(*attributes.unknown, [UnknownAttribute { code: 40, value: Bytes::copy_from_slice(value) }]);
    }
}

#[test]
fn an_entropy_label_attribute_that_is_malformed_is_only_passed_on() {
    let attributes = announced(&[ORIGIN, AS_PATH, NEXT_HOP, b"\xc0\x1c\x03\x00\x01\x02"], &external());
    assert_eq!(attributes.unknown.len(), 1);
}

#[test]
fn an_otc_attribute_of_any_length_but_four_withdraws_its_routes_and_is_never_said_again() {
    // RFC 9234 section 5. A length of another kind of number, and one that takes the next attribute's octets with it.
    for value in [&b""[..], b"\xfd\xe9", b"\x00\x00\xfd", b"\x00\x00\xfd\xe9\x00", b"\x00\x00\xfd\xe9\x00\x00\xfd\xe9"]
    {
        for flags in [0xc0, 0xe0] {
            let attribute = [&[flags, 35, value.len() as u8], value].concat();
            withdrawn(&[ORIGIN, AS_PATH, NEXT_HOP, &attribute], &external(), 35);
            withdrawn(&[&attribute, ORIGIN, AS_PATH, NEXT_HOP], &plain(), 35);
        }
    }
    // With a length of two octets (Extended Length) it is the same attribute, and is said again as four octets.
    for attribute in [&b"\xc0\x23\x04\x00\x00\xfd\xe9"[..], b"\xd0\x23\x00\x04\x00\x00\xfd\xe9"] {
        let attributes = announced(&[ORIGIN, AS_PATH, NEXT_HOP, attribute], &external());
        assert_eq!((attributes.otc, attributes.unknown.len()), (Some(Asn(65001)), 0));
        let update = read(body(&[ORIGIN, AS_PATH, NEXT_HOP, attribute], NLRI), &external()).unwrap();
        let said = Message::Update(update).encode(&external());
        assert!(said.windows(7).any(|window| window == b"\xc0\x23\x04\x00\x00\xfd\xe9"), "{said:?}");
    }
}

#[test]
fn an_mp_reach_that_promises_more_than_it_holds_ends_the_session_and_nothing_else() {
    let reach: &[u8] = b"\x80\x0e\x05\x00\x02\x01\xff\x20";
    assert_eq!(read(body(&[ORIGIN, AS_PATH, reach], b""), &external()), Err((3, 9)));
}

fn open(parameters: &[u8]) -> Result<Vec<Capability>, (u8, u8)> {
    let fixed = [4, 0xfd, 0xe9, 0, 90, 192, 0, 2, 2];
    let body = [&fixed[..], parameters].concat();
    match Message::parse(Frame { kind: MessageType::Open, body: &body }, &plain()) {
        Ok(Message::Open(open)) => Ok(open.capabilities),
        Ok(other) => panic!("{other:?}"),
        Err(notification) => Err((notification.code, notification.subcode)),
    }
}

#[test]
fn a_software_version_of_length_zero_or_too_long_is_read_past() {
    for (capability, what) in
        [(&b"\x4b\x00"[..], "empty"), (b"\x4b\x01\x00", "its length is 0"), (b"\x4b\x01\xff", "too long")]
    {
        let parameter = [&[2, capability.len() as u8], capability].concat();
        let read = open(&[&[parameter.len() as u8], &parameter[..]].concat());
        assert_eq!(read.map(|capabilities| capabilities.len()), Ok(1), "{what}");
    }
}

#[test]
fn extended_parameters_without_their_length_are_malformed() {
    for parameters in
        [&b"\xff\xff"[..], b"\xff\xff\x00", b"\xff\xff\x00\x03\x02\x00", b"\xff\xff\xff\xff\x02\x00\x01\x00"]
    {
        assert_eq!(open(parameters), Err((2, 0)), "{parameters:02x?}");
    }
}

#[test]
fn a_path_of_a_thousand_ases_is_read_and_said_again_with_one_more() {
    let segment = |count: u16| {
        let ases: Vec<u8> = (1..=u32::from(count)).flat_map(u32::to_be_bytes).collect();
        [&[2, count as u8], &ases[..]].concat()
    };
    let value = [segment(255), segment(255), segment(255), segment(235)].concat();
    let path = [&[0x50, 2][..], &(value.len() as u16).to_be_bytes(), &value].concat();
    let context = UpdateContext { max_message_len: crate::wire::MAX_EXTENDED_MESSAGE_LEN, ..external() };
    let mut update = read(body(&[ORIGIN, &path, NEXT_HOP], NLRI), &context).unwrap();
    let attributes = std::sync::Arc::make_mut(&mut update.announced[0].attributes);
    assert_eq!(attributes.as_path.hops(), 1000);
    attributes.as_path.prepend(crate::types::Asn(64512), 1);
    let again = super::read_all(&Message::Update(update.clone()).encode(&context), &context);
    assert_eq!(again, [Message::Update(update)], "1001 ASes, in segments of 255 at most");
}
