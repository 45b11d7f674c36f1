//! Tables of cases for each attribute: flags, lengths, values, senders, repetition, and lengths that contradict one another.
//! The expectations are written out here from the RFCs and not taken from `RULES`.

use super::*;
use crate::types::FamilySet;
use crate::wire::tests::plain;

/// An attribute whose flags say whether its length has two octets.
fn attribute(flags: u8, code: u8, value: &[u8]) -> Vec<u8> {
    let length = (value.len() as u16).to_be_bytes();
    let length = if flags & flag::EXTENDED_LENGTH != 0 { &length[..] } else { &length[1..] };
    [&[flags, code], length, value].concat()
}

fn parse(field: &[u8], context: &UpdateContext) -> Result<AttributeList, Notification> {
    let mut list = AttributeList::empty();
    list.parse(field, context).map(|()| list)
}

/// Each fault as its type and verdict.
fn faults(field: &[u8], context: &UpdateContext) -> Vec<(u8, Verdict)> {
    parse(field, context).unwrap().faults.iter().map(|fault| (fault.code, fault.verdict)).collect()
}

const TWO_OCTET_AS: UpdateContext = UpdateContext { four_octet_as: false, ..UpdateContext::PLAIN };

fn external() -> UpdateContext {
    UpdateContext { external: true, ..plain() }
}

const VXLAN: &[u8] = b"\x00\x08\x00\x1a\x01\x0c\xc0\x00\x10\x00\x02\x00\x00\x00\x00\x09\x00\x00\
\x06\x0a\x00\x00\x00\x00\x00\x01\xc0\x00\x02\x01";
const REACH: &[u8] =
    b"\x00\x02\x01\x10\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x20\x20\x01\x0d\xb8";
const UNREACH: &[u8] = b"\x00\x02\x01\x20\x20\x01\x0d\xb8";

/// Type, Optional and Transitive as they must be, a good value in a session with four-octet AS numbers.
const GOOD: [(u8, u8, &[u8]); 16] = [
    (1, 0x40, b"\x02"),
    (2, 0x40, b"\x02\x01\x00\x00\xfd\xe9"),
    (3, 0x40, b"\xc0\x00\x02\x01"),
    (4, 0x80, b"\x00\x00\x00\x07"),
    (5, 0x40, b"\x00\x00\x00\x64"),
    (6, 0x40, b""),
    (7, 0xc0, b"\x00\x00\xfd\xe9\xc0\x00\x02\x01"),
    (8, 0xc0, b"\xfd\xe9\x00\x01"),
    (9, 0x80, b"\xc0\x00\x02\x01"),
    (10, 0x80, b"\xc0\x00\x02\x01"),
    (14, 0x80, REACH),
    (15, 0x80, UNREACH),
    (16, 0xc0, b"\x00\x02\xfd\xe9\x00\x00\x00\x01"),
    (23, 0xc0, VXLAN),
    (32, 0xc0, b"\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x03"),
    (35, 0xc0, b"\x00\x00\xfd\xe9"),
];

#[test]
fn every_combination_of_flags_is_judged_by_optional_and_transitive_alone() {
    for (code, right, value) in GOOD {
        for flags in 0..=255u8 {
            let expected = if flags & 0xc0 == right { Vec::new() } else { vec![(code, Withdraw)] };
            assert_eq!(faults(&attribute(flags, code, value), &plain()), expected, "type {code} flags {flags:#04x}");
        }
    }
}

#[test]
fn mp_attributes_with_wrong_flags_are_read_all_the_same() {
    for flags in [0x00, 0x40, 0xc0] {
        let list = parse(&attribute(flags, 14, REACH), &plain()).unwrap();
        assert_eq!(list.reach.map(|reach| reach.nlri.len()), Some(1));
        let list = parse(&attribute(flags, 15, UNREACH), &plain()).unwrap();
        assert_eq!(list.unreach.map(|(_, nlri)| nlri.len()), Some(1));
    }
}

#[test]
fn every_length_up_to_64_gets_the_verdict_of_its_rfc() {
    let multiple_of = |of: usize| (1..=64 / of).map(|times| times * of).collect::<Vec<_>>();
    for (code, flags, good, verdict) in [
        (1, 0x40, vec![1], Withdraw),
        (3, 0x40, vec![4], Withdraw),
        (4, 0x80, vec![4], Withdraw),
        (5, 0x40, vec![4], Withdraw),
        (6, 0x40, vec![0], Discard),
        (7, 0xc0, vec![8], Discard),
        (8, 0xc0, multiple_of(4), Withdraw),
        (9, 0x80, vec![4], Withdraw),
        (10, 0x80, multiple_of(4), Withdraw),
        (16, 0xc0, multiple_of(8), Withdraw),
        (32, 0xc0, multiple_of(12), Withdraw),
        (35, 0xc0, vec![4], Withdraw),
    ] {
        for length in 0..=64 {
            let expected = if good.contains(&length) { Vec::new() } else { vec![(code, verdict)] };
            for extended in [0, flag::EXTENDED_LENGTH] {
                let field = attribute(flags | extended, code, &vec![1; length]);
                assert_eq!(faults(&field, &plain()), expected, "type {code} length {length}");
            }
        }
    }
}

/// Internal and external, with AS numbers of two and of four octets.
fn every_kind_of_session() -> [UpdateContext; 4] {
    [(false, true), (true, true), (false, false), (true, false)].map(|(external, four_octet_as)| UpdateContext {
        external,
        four_octet_as,
        ..plain()
    })
}

/// What the RFCs say of an attribute of `length` ones; `Err`: they end the session.
fn verdicts(code: u8, flags: u8, length: usize, context: &UpdateContext) -> Result<Vec<Verdict>, ()> {
    let (external, four) = (context.external, context.four_octet_as);
    // RFC 7606 sections 7.5, 7.9 and 7.10, RFC 6793 section 6.
    if (external && [5, 9, 10].contains(&code)) || (four && [17, 18].contains(&code)) {
        return Ok(vec![Discard]);
    }
    let due = match code {
        1 | 2 | 3 | 5 | 6 => 0x40,
        4 | 9 | 10 | 14 | 15 => 0x80,
        _ => 0xc0,
    };
    let wrong_flags = flags & 0xc0 != due;
    let good = match code {
        1 => length == 1,
        // Sets of one AS.
        2 => length.is_multiple_of(if four { 6 } else { 4 }),
        3 | 4 | 5 | 9 | 35 => length == 4,
        6 => length == 0,
        7 => length == if four { 8 } else { 6 },
        8 | 10 => length > 0 && length.is_multiple_of(4),
        // A family that nobody has, by a next hop of one octet.
        14 if length < 6 => return Err(()),
        15 if length < 3 => return Err(()),
        14 | 15 => return Ok(if wrong_flags { vec![Withdraw, Discard] } else { vec![Discard] }),
        16 => length > 0 && length.is_multiple_of(8),
        // RFC 6793 section 6: at least one AS number.
        17 => length > 0 && length.is_multiple_of(6),
        18 => length == 8,
        // A tunnel of 257 octets, which are no whole number of sub-TLVs.
        23 => false,
        32 => length > 0 && length.is_multiple_of(12),
        _ => panic!("type {code}"),
    };
    Ok(match code {
        _ if wrong_flags => vec![Withdraw],
        _ if good => Vec::new(),
        6 | 7 | 17 | 18 => vec![Discard],
        _ => vec![Withdraw],
    })
}

#[test]
fn each_attribute_of_any_flags_and_length_gets_the_verdict_of_its_rfc_in_every_kind_of_session() {
    for context in every_kind_of_session() {
        for code in RULES.map(|rule| rule.code) {
            for flags in (0..16).map(|flags| flags << 4) {
                let longest = if flags & flag::EXTENDED_LENGTH != 0 { 300 } else { 255 };
                for length in 0..=longest {
                    let field = attribute(flags, code, &vec![1; length]);
                    let said = parse(&field, &context)
                        .map(|list| list.faults.iter().map(|fault| fault.verdict).collect::<Vec<_>>());
                    let expected =
                        verdicts(code, flags, length, &context).map_err(|()| Notification::new(3, 9, &field));
                    assert_eq!(said, expected, "type {code} flags {flags:#04x} length {length} in {context:?}");
                }
            }
        }
    }
}

#[test]
fn what_stands_behind_the_first_of_its_type_changes_nothing_in_every_kind_of_session() {
    for context in every_kind_of_session() {
        for (code, flags) in RULES.map(|rule| (rule.code, rule.flags)).into_iter().chain([(99, 0xc0)]) {
            if code == code::MP_REACH_NLRI || code == code::MP_UNREACH_NLRI {
                continue;
            }
            let said = |values: &[usize]| {
                let field: Vec<u8> =
                    values.iter().flat_map(|length| attribute(flags, code, &vec![1; *length])).collect();
                let list = parse(&field, &context).unwrap();
                (list.faults.iter().map(|fault| fault.verdict).collect::<Vec<_>>(), list.attributes)
            };
            for first in 0..=24 {
                let alone = said(&[first]);
                for second in 0..=24 {
                    let (mut faults, attributes) = said(&[first, second]);
                    assert_eq!(faults.pop(), Some(Discard), "type {code} lengths {first} {second}");
                    assert_eq!((faults, attributes), alone, "type {code} lengths {first} {second}");
                }
            }
        }
    }
}

#[test]
fn aggregator_has_6_octets_from_a_two_octet_speaker_and_as4_aggregator_8() {
    for length in 0..=12 {
        let value = vec![1; length];
        let verdict = |code, good| if length == good { Vec::new() } else { vec![(code, Discard)] };
        assert_eq!(faults(&attribute(0xc0, 7, &value), &TWO_OCTET_AS), verdict(7, 6), "length {length}");
        assert_eq!(faults(&attribute(0xc0, 18, &value), &TWO_OCTET_AS), verdict(18, 8), "length {length}");
    }
}

#[test]
fn values_that_only_their_syntax_can_judge_are_judged() {
    for (code, flags, value, context, verdict) in [
        (1, 0x40, &b"\x03"[..], plain(), Some(Withdraw)),
        (1, 0x40, b"\xff", plain(), Some(Withdraw)),
        (2, 0x40, b"", plain(), None),
        (2, 0x40, b"\x02\x00", plain(), Some(Withdraw)),
        (2, 0x40, b"\x02\x01\x00\x01", plain(), Some(Withdraw)),
        (2, 0x40, b"\x02\x01\x00\x01", TWO_OCTET_AS, None),
        (2, 0x40, b"\x03\x01\x00\x00\x00\x01", plain(), Some(Withdraw)),
        (2, 0x40, b"\x02\x01\x00\x00\x00\x00", plain(), Some(Withdraw)),
        (7, 0xc0, b"\x00\x00\x00\x00\xc0\x00\x02\x01", plain(), Some(Discard)),
        (7, 0xc0, b"\x00\x00\xc0\x00\x02\x01", TWO_OCTET_AS, Some(Discard)),
        (17, 0xc0, b"\x02\x01\x00\x01\x00\x00", TWO_OCTET_AS, None),
        (17, 0xc0, b"", TWO_OCTET_AS, Some(Discard)),
        (17, 0xc0, b"\x02\x01\x00\x01\x00", TWO_OCTET_AS, Some(Discard)),
        (17, 0xc0, b"\x02\x00", TWO_OCTET_AS, Some(Discard)),
        (17, 0xc0, b"\x09\x01\x00\x01\x00\x00", TWO_OCTET_AS, Some(Discard)),
        (17, 0xc0, b"\x03\x01\x00\x01\x00\x00", TWO_OCTET_AS, None),
        (17, 0xc0, b"\x02\x01\x00\x00\x00\x00", TWO_OCTET_AS, Some(Discard)),
        (18, 0xc0, b"\x00\x00\x00\x00\xc0\x00\x02\x01", TWO_OCTET_AS, Some(Discard)),
        (23, 0xc0, b"", plain(), Some(Withdraw)),
        (23, 0xc0, b"\x00\x08\x00\x01", plain(), Some(Withdraw)),
        (23, 0xc0, b"\x00\x08\x00\x00", plain(), Some(Withdraw)),
        (23, 0xc0, b"\x03\xe7\x00\x00", plain(), None),
    ] {
        let expected: Vec<_> = verdict.map(|verdict| (code, verdict)).into_iter().collect();
        assert_eq!(faults(&attribute(flags, code, value), &context), expected, "type {code} value {value:02x?}");
    }
}

#[test]
fn what_a_peer_may_not_send_is_discarded_however_it_looks() {
    for (code, context) in [(5, external()), (9, external()), (10, external()), (17, plain()), (18, plain())] {
        for flags in [0x00, 0x40, 0x80, 0xc0] {
            for value in [&b""[..], b"\x01", b"\x01\x02\x03\x04", b"\x00\x00\x00\x01\x00\x00\x00\x02"] {
                let list = parse(&attribute(flags, code, value), &context).unwrap();
                let faults: Vec<_> = list.faults.iter().map(|fault| (fault.code, fault.verdict)).collect();
                assert_eq!(faults, [(code, Discard)], "type {code} flags {flags:#04x} value {value:02x?}");
                let attributes = list.with_next_hop(NextHop::V4(Ipv4Addr::UNSPECIFIED));
                assert_eq!((attributes.local_pref, attributes.originator_id), (None, None));
                assert!(attributes.cluster_list.is_empty());
            }
        }
    }
}

#[test]
fn unknown_attributes_are_kept_dropped_or_refused_by_their_flags() {
    for code in [0, 11, 22, 24, 33, 36, 40, 99, 128, 255] {
        for flags in 0..=255u8 {
            let field = attribute(flags, code, b"what");
            let answer = parse(&field, &plain());
            if flags & flag::OPTIONAL == 0 {
                // RFC 4271 section 6.3, which RFC 7606 leaves as it is.
                let expected = Notification::new(3, 2, &field);
                assert_eq!(answer.unwrap_err(), expected, "type {code} flags {flags:#04x}");
                continue;
            }
            let list = answer.unwrap();
            assert!(list.faults.is_empty());
            let kept: Vec<_> = list.attributes.unknown.iter().map(|kept| (kept.code, &kept.value[..])).collect();
            let expected = if flags & flag::TRANSITIVE == 0 { vec![] } else { vec![(code, &b"what"[..])] };
            assert_eq!(kept, expected, "type {code} flags {flags:#04x}");
        }
    }
}

#[test]
fn of_an_attribute_that_stands_twice_the_first_counts() {
    let unknown = (99, 0xc0, &b"what"[..]);
    for (code, flags, value) in GOOD.into_iter().chain([unknown]) {
        let field = attribute(flags, code, value).repeat(2);
        if code == 14 || code == 15 {
            assert_eq!(parse(&field, &plain()).unwrap_err(), Notification::new(3, 1, &[]));
        } else {
            assert_eq!(faults(&field, &plain()), [(code, Discard)], "type {code}");
        }
    }
    let field = [attribute(0x40, 1, &[2]), attribute(0x40, 1, &[9])].concat();
    let list = parse(&field, &plain()).unwrap();
    assert_eq!(list.attributes.origin, Origin::Incomplete, "the second one is not even looked at");
    assert!(!list.treat_as_withdraw());
}

#[test]
fn an_attribute_list_cut_anywhere_keeps_what_stands_before_and_is_treated_as_withdraw() {
    let parts: Vec<Vec<u8>> =
        GOOD.iter().map(|(code, flags, value)| attribute(flags | (code % 2) << 4, *code, value)).collect();
    let whole = parts.concat();
    let ends: Vec<usize> = parts
        .iter()
        .scan(0, |end, part| {
            *end += part.len();
            Some(*end)
        })
        .collect();
    for cut in 1..=whole.len() {
        let list = parse(&whole[..cut], &plain()).unwrap();
        assert_eq!(list.treat_as_withdraw(), !ends.contains(&cut), "cut at {cut}");
        assert_eq!(list.cut, !ends.contains(&cut), "cut at {cut}");
        assert_eq!(list.has_reach(), cut >= ends[10], "cut at {cut}");
    }
}

#[test]
fn an_mp_attribute_that_cannot_be_read_resets_the_session_and_is_quoted() {
    for (code, value) in [
        (14, &b""[..]),
        (14, b"\x00\x02\x01\x10"),
        (14, b"\x00\x02\x01\x00\x00"),
        (14, b"\x00\x02\x01\x04\x0a\x00\x00\x01\x00"),
        (14, b"\x00\x01\x01\x04\x0a\x00\x00\x01\x00\x21\x0a\x00\x00\x00\x00"),
        (14, b"\x00\x01\x01\x04\x0a\x00\x00\x01\x00\x18\x0a\x00"),
        (15, b""),
        (15, b"\x00\x02"),
        (15, b"\x00\x02\x01\x81"),
        (15, b"\x00\x01\x01\x20\x0a\x00\x00"),
    ] {
        let field = attribute(0x90, code, value);
        assert_eq!(parse(&field, &plain()).unwrap_err(), Notification::new(3, 9, &field), "{value:02x?}");
    }
}

#[test]
fn an_mp_attribute_of_a_family_that_was_not_negotiated_is_ignored() {
    let ipv4_only = UpdateContext { families: FamilySet::from_iter([Family::Ipv4Unicast]), ..plain() };
    let vpn: &[u8] = b"\x00\x01\x80\x0c\x00\x00\x00\x00\x00\x00\x00\x00\x0a\x00\x00\x01\x00\xff\xff";
    for (code, value, context) in
        [(14, REACH, ipv4_only), (15, UNREACH, ipv4_only), (14, vpn, plain()), (15, &vpn[..3], plain())]
    {
        let list = parse(&attribute(0x80, code, value), &context).unwrap();
        assert!(list.reach.is_none() && list.unreach.is_none());
        assert_eq!(list.faults.iter().map(|fault| fault.verdict).collect::<Vec<_>>(), [Discard]);
    }
}

#[test]
fn communities_of_all_kinds_come_sorted_and_once() {
    let field = [
        attribute(0xc0, 8, b"\x00\x02\x00\x02\x00\x01\x00\x01\x00\x02\x00\x02"),
        attribute(0xc0, 16, b"\x00\x02\x00\x02\x00\x00\x00\x02\x00\x02\x00\x01\x00\x00\x00\x01"),
        attribute(
            0xc0,
            32,
            b"\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00",
        ),
    ]
    .concat();
    let attributes = parse(&field, &plain()).unwrap().attributes;
    let shown = |values: &[&dyn std::fmt::Display]| values.iter().map(|value| format!("{value} ")).collect::<String>();
    let standard: Vec<&dyn std::fmt::Display> = attributes.communities.iter().map(|value| value as _).collect();
    assert_eq!(shown(&standard), "1:1 2:2 ");
    let extended: Vec<&dyn std::fmt::Display> =
        attributes.extended_communities.iter().map(|value| value as _).collect();
    assert_eq!(shown(&extended), "rt:1:1 rt:2:2 ");
    let large: Vec<&dyn std::fmt::Display> = attributes.large_communities.iter().map(|value| value as _).collect();
    assert_eq!(shown(&large), "1:0:0 2:0:0 ");
}

#[test]
fn as4_path_and_as4_aggregator_replace_what_two_octets_cannot_hold() {
    let as_path = attribute(0x40, 2, b"\x02\x02\x00\x07\x5b\xa0");
    let as4_path = attribute(0xc0, 17, b"\x02\x01\x00\x01\x00\x00");
    let trans = attribute(0xc0, 7, b"\x5b\xa0\xc0\x00\x02\x01");
    let short = attribute(0xc0, 7, b"\x00\x07\xc0\x00\x02\x01");
    let as4 = attribute(0xc0, 18, b"\x00\x01\x00\x00\xc0\x00\x02\x02");
    for (field, path, aggregator) in [
        (vec![&as_path, &as4_path], "7 65536", None),
        (vec![&as4_path, &as_path], "7 65536", None),
        (vec![&as_path, &as4_path, &trans, &as4], "7 65536", Some(65536)),
        (vec![&as4, &trans, &as4_path, &as_path], "7 65536", Some(65536)),
        // The aggregator is a two-octet speaker: both of the others are out of date (RFC 6793 section 4.2.3).
        (vec![&as_path, &as4_path, &short, &as4], "7 23456", Some(7)),
        (vec![&as_path, &as4_path, &short], "7 65536", Some(7)),
        (vec![&as_path, &as4_path, &trans], "7 65536", Some(23456)),
        (vec![&as_path, &as4_path, &as4], "7 65536", None),
    ] {
        let field: Vec<u8> = field.into_iter().flatten().copied().collect();
        let attributes = parse(&field, &TWO_OCTET_AS).unwrap().attributes;
        assert_eq!(attributes.as_path.to_string(), path, "{field:02x?}");
        assert_eq!(attributes.aggregator.map(|aggregator| aggregator.asn.0), aggregator, "{field:02x?}");
    }
}
