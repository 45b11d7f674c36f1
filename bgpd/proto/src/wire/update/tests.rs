//! Whole UPDATEs: what is announced and withdrawn once RFC 7606 has judged them.

use proptest::prelude::*;

use super::*;
use crate::types::{Interface, NextHop};
use crate::wire::tests::plain;

/// A body of the three fields.
fn body(withdrawn: &[u8], attributes: &[&[u8]], nlri: &[u8]) -> Vec<u8> {
    let attributes = attributes.concat();
    let length = |field: &[u8]| (field.len() as u16).to_be_bytes();
    [&length(withdrawn)[..], withdrawn, &length(&attributes), &attributes, nlri].concat()
}

fn parse(body: &[u8]) -> Result<Update, Notification> {
    Update::parse(body, &plain())
}

fn shown<'a>(nlri: impl IntoIterator<Item = &'a Nlri>) -> Vec<String> {
    nlri.into_iter().map(|nlri| nlri.prefix.to_string()).collect()
}

/// Announced prefixes, each with its next hop, and withdrawn ones.
fn outcome(update: &Update) -> (Vec<(String, String)>, Vec<String>) {
    let announced = update.announced.iter().flat_map(|announcement| {
        let next_hop = announcement.attributes.next_hop.address().to_string();
        shown(&announcement.nlri).into_iter().map(move |prefix| (prefix, next_hop.clone()))
    });
    (announced.collect(), shown(&update.withdrawn))
}

fn withdrawn_only(update: &Update) -> Vec<String> {
    assert!(update.announced.is_empty(), "{update:?}");
    shown(&update.withdrawn)
}

const ORIGIN: &[u8] = b"\x40\x01\x01\x00";
const AS_PATH: &[u8] = b"\x40\x02\x06\x02\x01\x00\x00\xfd\xe9";
const NEXT_HOP: &[u8] = b"\x40\x03\x04\xc0\x00\x02\x01";
const NO_NEXT_HOP: &[u8] = b"\x40\x03\x04\x00\x00\x00\x00";
const MED: &[u8] = b"\x80\x04\x04\x00\x00\x00\x07";
const BAD_MED: &[u8] = b"\x80\x04\x03\x00\x00\x00";
const BAD_ATOMIC_AGGREGATE: &[u8] = b"\x40\x06\x01\x00";
const COMMUNITIES: &[u8] = b"\xc0\x08\x04\xfd\xe9\x00\x01";
const UNKNOWN: &[u8] = b"\xc0\x63\x02\x01\x02";
/// 2001:db8:1::/48 by 2001:db8::1.
const REACH: &[u8] =
    b"\x80\x0e\x1c\x00\x02\x01\x10\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x30\x20\x01\x0d\xb8\x00\x01";
/// 2001:db8:2::/48.
const UNREACH: &[u8] = b"\x80\x0f\x0a\x00\x02\x01\x30\x20\x01\x0d\xb8\x00\x02";
/// 10.1.0.0/16 and 10.2.0.0/16.
const ONE: &[u8] = b"\x10\x0a\x01";
const TWO: &[u8] = b"\x10\x0a\x02";

fn pair(prefix: &str, next_hop: &str) -> (String, String) {
    (prefix.to_owned(), next_hop.to_owned())
}

#[test]
fn one_message_announces_and_withdraws_in_both_families() {
    let update = parse(&body(TWO, &[UNREACH, REACH, ORIGIN, AS_PATH, NEXT_HOP], ONE)).unwrap();
    let announced = vec![pair("10.1.0.0/16", "192.0.2.1"), pair("2001:db8:1::/48", "2001:db8::1")];
    assert_eq!(outcome(&update), (announced, vec!["10.2.0.0/16".into(), "2001:db8:2::/48".into()]));
    assert!(update.faults.is_empty());
}

#[test]
fn lengths_that_do_not_fit_the_message_reset_the_session() {
    let whole = body(TWO, &[ORIGIN, AS_PATH, NEXT_HOP], b"");
    for cut in 0..whole.len() {
        assert_eq!(parse(&whole[..cut]).unwrap_err(), Notification::new(3, 1, &[]), "cut at {cut}");
    }
    for (withdrawn, attributes) in [(1, 0), (0xffff, 0), (0, 1), (0, 0xffff), (0xffff, 0xffff)] {
        let [a, b, c, d] = (withdrawn << 16 | attributes as u32).to_be_bytes();
        assert_eq!(parse(&[a, b, c, d]).unwrap_err(), Notification::new(3, 1, &[]));
    }
}

#[test]
fn prefixes_that_cannot_be_read_reset_the_session() {
    for bad in [&b"\x21\x0a\x00\x00\x00\x00"[..], b"\x18\x0a\x01", b"\x10\x0a\x01\x08"] {
        assert_eq!(parse(&body(bad, &[], b"")).unwrap_err(), Notification::new(3, 10, &[]));
        assert_eq!(parse(&body(b"", &[ORIGIN, AS_PATH, NEXT_HOP], bad)).unwrap_err(), Notification::new(3, 10, &[]));
    }
}

#[test]
fn a_missing_mandatory_attribute_withdraws_what_the_message_announces() {
    for missing in 0..3 {
        let mut attributes = vec![ORIGIN, AS_PATH, NEXT_HOP];
        attributes.remove(missing);
        let update = parse(&body(b"", &attributes, ONE)).unwrap();
        assert_eq!(withdrawn_only(&update), ["10.1.0.0/16"]);
        assert_eq!(update.faults[0].code, missing as u8 + 1);

        attributes.push(REACH);
        let update = parse(&body(b"", &attributes, b"")).unwrap();
        if missing == 2 {
            assert_eq!(outcome(&update).0, [pair("2001:db8:1::/48", "2001:db8::1")], "NEXT_HOP is not needed there");
        } else {
            assert_eq!(withdrawn_only(&update), ["2001:db8:1::/48"]);
        }
    }
    let update = parse(&body(b"", &[], ONE)).unwrap();
    assert_eq!(withdrawn_only(&update), ["10.1.0.0/16"], "not even one attribute");
}

#[test]
fn the_prefixes_are_found_by_the_total_length_wherever_an_attribute_claims_to_end() {
    for liar in
        [&b"\x80\x04\xff\x00\x00\x00\x07"[..], b"\x90\x04\x00", b"\x80\x04", b"\x80", b"\xc0\x08\x05\xfd\xe9\x00\x01"]
    {
        let update = parse(&body(TWO, &[ORIGIN, AS_PATH, NEXT_HOP, liar], ONE)).unwrap();
        assert_eq!(withdrawn_only(&update), ["10.2.0.0/16", "10.1.0.0/16"], "{liar:02x?}");
    }
}

#[test]
fn a_malformed_attribute_withdraws_the_prefixes_of_both_families() {
    let update = parse(&body(TWO, &[REACH, UNREACH, ORIGIN, AS_PATH, NEXT_HOP, BAD_MED], ONE)).unwrap();
    assert_eq!(withdrawn_only(&update), ["10.2.0.0/16", "2001:db8:2::/48", "10.1.0.0/16", "2001:db8:1::/48"]);
}

#[test]
fn a_discarded_attribute_leaves_the_routes() {
    let update = parse(&body(b"", &[ORIGIN, AS_PATH, NEXT_HOP, BAD_ATOMIC_AGGREGATE], ONE)).unwrap();
    assert_eq!(outcome(&update).0, [pair("10.1.0.0/16", "192.0.2.1")]);
    assert!(!update.announced[0].attributes.atomic_aggregate);
    assert_eq!(update.faults[0].verdict, Verdict::DiscardAttribute);
}

#[test]
fn an_error_in_attributes_without_prefixes_resets_the_session() {
    let reset = Notification::new(3, 1, &[]);
    // RFC 7606 section 5.2: the prefixes may be what was lost.
    for attributes in [&[BAD_MED][..], &[ORIGIN, AS_PATH, BAD_MED], &[UNREACH, BAD_MED], &[b"\x80\x0e\xff\x00"]] {
        assert_eq!(parse(&body(TWO, attributes, b"")).unwrap_err(), reset, "{attributes:02x?}");
    }
    let update = parse(&body(b"", &[ORIGIN, AS_PATH, BAD_ATOMIC_AGGREGATE], b"")).unwrap();
    assert_eq!(outcome(&update), (vec![], vec![]), "a discarded attribute is not such an error");
    let update = parse(&body(b"", &[b"\xc0\x0f\x0a\x00\x02\x01\x30\x20\x01\x0d\xb8\x00\x02"], b"")).unwrap();
    assert_eq!(withdrawn_only(&update), ["2001:db8:2::/48"], "MP_UNREACH_NLRI alone announces nothing");
}

#[test]
fn a_next_hop_that_no_host_has_withdraws_unless_no_prefix_needs_it() {
    for last in [[0, 0, 0, 0], [224, 0, 0, 1], [240, 0, 0, 1], [255, 255, 255, 255]] {
        let next_hop = [&b"\x40\x03\x04"[..], &last].concat();
        let update = parse(&body(b"", &[ORIGIN, AS_PATH, &next_hop], ONE)).unwrap();
        assert_eq!(withdrawn_only(&update), ["10.1.0.0/16"], "{last:?}");
    }
    let update = parse(&body(b"", &[REACH, ORIGIN, AS_PATH, NO_NEXT_HOP], b"")).unwrap();
    assert_eq!(outcome(&update).0, [pair("2001:db8:1::/48", "2001:db8::1")]);
    let reach_by_nobody = [&REACH[..7], &[0; 16], &REACH[23..]].concat();
    let update = parse(&body(b"", &[&reach_by_nobody, ORIGIN, AS_PATH], b"")).unwrap();
    assert_eq!(withdrawn_only(&update), ["2001:db8:1::/48"]);
}

#[test]
fn withdrawals_need_no_attributes() {
    assert_eq!(withdrawn_only(&parse(&body(TWO, &[], b"")).unwrap()), ["10.2.0.0/16"]);
    assert_eq!(withdrawn_only(&parse(&body(b"", &[UNREACH], b"")).unwrap()), ["2001:db8:2::/48"]);
}

#[test]
fn only_a_message_that_holds_nothing_else_is_an_end_of_rib_marker() {
    use Family::{Ipv4Unicast, Ipv6Unicast};
    let (empty4, empty6): (&[u8], &[u8]) = (b"\x80\x0f\x03\x00\x01\x01", b"\x80\x0f\x03\x00\x02\x01");
    let long6: &[u8] = b"\x90\x0f\x00\x03\x00\x02\x01";
    for (withdrawn, attributes, nlri, marker) in [
        (&b""[..], &[][..], &b""[..], Some(Ipv4Unicast)),
        (b"", &[empty4], b"", Some(Ipv4Unicast)),
        (b"", &[empty6], b"", Some(Ipv6Unicast)),
        (b"", &[long6], b"", Some(Ipv6Unicast)),
        (TWO, &[], b"", None),
        (TWO, &[empty6], b"", None),
        (b"", &[empty6, ORIGIN], b"", None),
        (b"", &[UNREACH], b"", None),
        (b"", &[ORIGIN, AS_PATH, NEXT_HOP], ONE, None),
    ] {
        let update = parse(&body(withdrawn, attributes, nlri)).unwrap();
        assert_eq!(update.end_of_rib, marker, "{attributes:02x?}");
    }
}

#[test]
fn what_was_not_negotiated_is_neither_announced_nor_withdrawn_nor_ended() {
    let only = |family| UpdateContext { families: FamilySet::from_iter([family]), ..plain() };
    let all = body(TWO, &[REACH, UNREACH, ORIGIN, AS_PATH, NEXT_HOP], ONE);
    let update = Update::parse(&all, &only(Family::Ipv4Unicast)).unwrap();
    assert_eq!(outcome(&update), (vec![pair("10.1.0.0/16", "192.0.2.1")], vec!["10.2.0.0/16".into()]));
    let update = Update::parse(&all, &only(Family::Ipv6Unicast)).unwrap();
    assert_eq!(outcome(&update), (vec![pair("2001:db8:1::/48", "2001:db8::1")], vec!["2001:db8:2::/48".into()]));
    let empty = body(b"", &[], b"");
    assert_eq!(Update::parse(&empty, &only(Family::Ipv6Unicast)), Ok(Update::default()));
    let empty6 = body(b"", &[b"\x80\x0f\x03\x00\x02\x01"], b"");
    assert_eq!(Update::parse(&empty6, &only(Family::Ipv4Unicast)).unwrap().end_of_rib, None);
}

#[test]
fn path_identifiers_are_read_where_they_were_negotiated() {
    let context = UpdateContext { add_path: FamilySet::from_iter([Family::Ipv4Unicast]), ..plain() };
    let with_id = [b"\x00\x00\x00\x09", ONE].concat();
    let update = Update::parse(&body(&with_id, &[REACH, ORIGIN, AS_PATH, NEXT_HOP], &with_id), &context).unwrap();
    let ids = |nlri: &[Nlri]| nlri.iter().map(|nlri| nlri.path_id.0).collect::<Vec<_>>();
    assert_eq!(ids(&update.withdrawn), [9]);
    assert_eq!(ids(&update.announced[0].nlri), [9]);
    assert_eq!(ids(&update.announced[1].nlri), [0], "not in the other family");
}

#[test]
fn an_ipv4_prefix_may_have_an_ipv6_next_hop() {
    let reach: &[u8] =
        b"\x80\x0e\x18\x00\x01\x01\x10\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x10\x0a\x01";
    let update = parse(&body(b"", &[reach, ORIGIN, AS_PATH], b"")).unwrap();
    assert_eq!(outcome(&update).0, [pair("10.1.0.0/16", "2001:db8::1")]);
    assert!(matches!(update.announced[0].attributes.next_hop, NextHop::V6 { link_local: None, .. }));
}

#[test]
fn an_ipv6_next_hop_that_was_not_negotiated_withdraws_the_ipv4_prefixes_and_resets_nothing() {
    let reach: &[u8] =
        b"\x80\x0e\x18\x00\x01\x01\x10\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x10\x0a\x01";
    let without = UpdateContext { extended_next_hop: FamilySet::EMPTY, ..plain() };
    let update = Update::parse(&body(b"", &[reach, ORIGIN, AS_PATH], b""), &without).unwrap();
    let (announced, withdrawn) = outcome(&update);
    assert_eq!((announced, withdrawn), (vec![], vec!["10.1.0.0/16".to_owned()]));
    assert!(update.faults[0].reason.contains("RFC 8950"), "{:?}", update.faults);
}

#[test]
fn a_link_local_next_hop_is_on_the_link_of_the_session() {
    let reach: &[u8] =
        b"\x80\x0e\x18\x00\x01\x01\x10\xfe\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07\x00\x10\x0a\x01";
    for link in [Interface::new("eth0"), None] {
        let context = UpdateContext { link, ..plain() };
        let update = Update::parse(&body(b"", &[reach, ORIGIN, AS_PATH], b""), &context).unwrap();
        let address = std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 7);
        assert_eq!(update.announced[0].attributes.next_hop, NextHop::link_local(address, link));
    }
}

#[test]
fn an_external_peer_sets_no_local_pref() {
    let context = UpdateContext { external: true, ..plain() };
    let message = body(b"", &[ORIGIN, AS_PATH, NEXT_HOP, b"\x40\x05\x04\x00\x00\x00\xff"], ONE);
    let update = Update::parse(&message, &context).unwrap();
    assert_eq!(update.announced[0].attributes.local_pref, None);
    assert_eq!(parse(&message).unwrap().announced[0].attributes.local_pref, Some(255));
}

#[test]
fn an_unknown_attribute_is_passed_on_with_partial_set() {
    let update = parse(&body(b"", &[ORIGIN, AS_PATH, NEXT_HOP, UNKNOWN], ONE)).unwrap();
    let sent = update.encode(&plain());
    assert!(sent.windows(5).any(|octets| octets == b"\xe0\x63\x02\x01\x02"), "{sent:02x?}");
}

/// How often an attribute stands in a message, and how.
#[derive(Clone, Copy, Debug)]
enum Stands {
    Nowhere,
    Well,
    Badly,
    WellThenBadly,
    BadlyThenWell,
}

const STANDS: [Stands; 5] =
    [Stands::Nowhere, Stands::Well, Stands::Badly, Stands::WellThenBadly, Stands::BadlyThenWell];

proptest! {
    #[test]
    fn damaged_repeated_and_missing_attributes_in_any_order_cost_routes_or_nothing_in_every_kind_of_session(
        stands in prop::array::uniform7(prop::sample::select(STANDS.to_vec())),
        order in Just((0..14).collect::<Vec<usize>>()).prop_shuffle(),
        external: bool,
        four_octet_as: bool,
    ) {
        let context = UpdateContext { external, four_octet_as, ..plain() };
        let (as_path, aggregator): (&[u8], &[u8]) = if four_octet_as {
            (AS_PATH, b"\xc0\x07\x08\x00\x00\xfd\xe9\xc0\x00\x02\x01")
        } else {
            (b"\x40\x02\x04\x02\x01\xfd\xe9", b"\xc0\x07\x06\xfd\xe9\xc0\x00\x02\x01")
        };
        // Well, badly, whether it is mandatory, and whether it is only discarded where it is malformed.
        let parts: [(&[u8], &[u8], bool, bool); 7] = [
            (ORIGIN, b"\x40\x01\x01\x03", true, false),
            (as_path, b"\x40\x02\x03\x02\x01\x00", true, false),
            (NEXT_HOP, b"\x40\x03\x05\xc0\x00\x02\x01\x00", true, false),
            (MED, BAD_MED, false, false),
            (COMMUNITIES, b"\xc0\x08\x00", false, false),
            (aggregator, b"\xc0\x07\x01\x00", false, true),
            (b"\x40\x06\x00", BAD_ATOMIC_AGGREGATE, false, true),
        ];
        // Each has two places in the order, of which the first is where its first stands.
        let mut seen = [false; 7];
        let mut field = Vec::new();
        for place in order {
            let part = place / 2;
            let second = std::mem::replace(&mut seen[part], true);
            let (well, badly, ..) = parts[part];
            field.extend_from_slice(match (stands[part], second) {
                (Stands::Nowhere, _) | (Stands::Well | Stands::Badly, true) => &[],
                (Stands::Well | Stands::WellThenBadly, false) | (Stands::BadlyThenWell, true) => well,
                (Stands::Badly | Stands::BadlyThenWell, false) | (Stands::WellThenBadly, true) => badly,
            });
        }
        let (mut withdraw, mut faults) = (false, 0);
        for (stands, (_, _, mandatory, discarded)) in stands.iter().zip(parts) {
            let (fault, loss) = match stands {
                Stands::Nowhere => (usize::from(mandatory), mandatory),
                Stands::Well => (0, false),
                Stands::Badly => (1, !discarded),
                Stands::WellThenBadly => (1, false),
                Stands::BadlyThenWell => (2, !discarded),
            };
            faults += fault;
            withdraw |= loss;
        }
        let update = Update::parse(&body(TWO, &[&field], ONE), &context).expect("the session stays");
        let (announced, withdrawn) = outcome(&update);
        if withdraw {
            prop_assert_eq!((announced, withdrawn), (vec![], vec!["10.2.0.0/16".to_owned(), "10.1.0.0/16".to_owned()]));
        } else {
            prop_assert_eq!((announced, withdrawn), (vec![pair("10.1.0.0/16", "192.0.2.1")], vec!["10.2.0.0/16".to_owned()]));
        }
        prop_assert_eq!(update.faults.len(), faults, "{:?}", update.faults);
    }

    #[test]
    fn the_order_of_attributes_changes_nothing(
        order in Just(vec![ORIGIN, AS_PATH, NEXT_HOP, MED, COMMUNITIES, UNKNOWN, REACH, UNREACH]).prop_shuffle(),
    ) {
        let expected = parse(&body(TWO, &[REACH, UNREACH, ORIGIN, AS_PATH, NEXT_HOP, MED, COMMUNITIES, UNKNOWN], ONE));
        prop_assert_eq!(parse(&body(TWO, &order, ONE)), expected);
    }

    #[test]
    fn no_prefix_of_a_message_is_lost_whatever_happens_to_its_attributes(
        at in any::<prop::sample::Index>(),
        octet: u8,
    ) {
        let mut attributes = [ORIGIN, AS_PATH, NEXT_HOP, MED, COMMUNITIES, UNKNOWN].concat();
        let at = at.index(attributes.len());
        attributes[at] = octet;
        match parse(&body(TWO, &[&attributes], ONE)) {
            Ok(update) => {
                let (announced, mut withdrawn) = outcome(&update);
                withdrawn.extend(announced.into_iter().map(|(prefix, _)| prefix));
                withdrawn.sort();
                prop_assert_eq!(withdrawn, ["10.1.0.0/16", "10.2.0.0/16"]);
            }
            // An attribute turned into a well-known one that nobody knows, or into an MP attribute.
            Err(notification) => prop_assert!(matches!((notification.code, notification.subcode), (3, 2 | 9))),
        }
    }
}
