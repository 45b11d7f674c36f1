//! UPDATEs through a session.

use super::super::*;
use super::pair::{A, B, END_OF_RIB, KEEPALIVE, Pair, config};
use crate::wire::RefreshMark;

#[test]
fn an_update_that_is_sent_stands_for_a_keepalive() {
    let mut pair = Pair::established(config(A), config(B));
    let before = pair.sent(A, KEEPALIVE);
    let end_of_rib = Bytes::from_static(&END_OF_RIB);
    for _ in 0..20 {
        pair.advance(Duration::from_secs(20));
        pair.sessions[A].send(pair.now, end_of_rib.clone());
        pair.take(A);
    }
    assert_eq!(pair.sent(A, KEEPALIVE), before);
    assert_eq!(pair.states(), [State::Established; 2]);
}

#[test]
fn an_update_that_the_owner_wrote_itself_is_counted_and_stands_for_a_keepalive() {
    let mut pair = Pair::established(config(A), config(B));
    let (before, updates) = (pair.sent(A, KEEPALIVE), pair.sessions[A].counters().sent[1]);
    for _ in 0..20 {
        pair.sessions[A].handle_written(pair.now, &[0, 2, 0, 0, 0]);
        pair.inject(B, pair.sessions[B].established().unwrap().direction, &END_OF_RIB);
        pair.advance(Duration::from_secs(20));
    }
    assert_eq!(pair.sent(A, KEEPALIVE), before);
    assert_eq!(pair.sessions[A].counters().sent[1], updates + 40);
    assert_eq!(pair.states(), [State::Established; 2]);
}

#[test]
fn what_one_read_brought_is_one_batch_and_counted() {
    let mut pair = Pair::established(config(A), config(B));
    pair.inject(A, pair.sessions[A].established().unwrap().direction, &END_OF_RIB.repeat(50));
    let batches: Vec<_> = pair.said[A]
        .iter()
        .filter_map(|output| if let Output::Updates(updates) = output { Some(updates.len()) } else { None })
        .collect();
    assert_eq!(batches, [50]);
    assert_eq!(pair.sessions[A].counters().received[1], 50);
}

/// A ROUTE-REFRESH of IPv4 unicast.
fn route_refresh(subtype: u8) -> Vec<u8> {
    [&[0xff; 16][..], &[0, 23, 5, 0, 1, subtype, 1]].concat()
}

/// What came, in order: marks, and `None` for anything else.
fn marks(pair: &Pair, side: usize) -> Vec<Option<(Family, RefreshMark)>> {
    let batches = pair.said[side].iter();
    batches
        .filter_map(|one| if let Output::Updates(batch) = one { Some(batch) } else { None })
        .flatten()
        .map(|one| one.mark)
        .collect()
}

#[test]
fn marks_of_a_refresh_keep_their_place_among_the_updates() {
    let mut pair = Pair::established(config(A), config(B));
    let bytes = [&route_refresh(1)[..], &END_OF_RIB, &route_refresh(2), &END_OF_RIB].concat();
    pair.inject(A, pair.sessions[A].established().unwrap().direction, &bytes);
    let mark = |mark| Some((Family::Ipv4Unicast, mark));
    assert_eq!(marks(&pair, A), [mark(RefreshMark::Begin), None, mark(RefreshMark::End), None]);
    assert_eq!(pair.states(), [State::Established; 2]);
}

#[test]
fn marks_are_ignored_where_one_side_does_not_have_them_and_of_a_family_that_is_not_in_use() {
    let without = Extensions { enhanced_refresh: false, ..Extensions::default() };
    let only_v6 = [Family::Ipv6Unicast].into_iter().collect();
    for ours in [SessionConfig { extensions: without, ..config(A) }, SessionConfig { families: only_v6, ..config(A) }] {
        let mut pair = Pair::established(ours, config(B));
        let bytes = [route_refresh(1), route_refresh(2), route_refresh(3)].concat();
        pair.inject(A, pair.sessions[A].established().unwrap().direction, &bytes);
        assert_eq!(marks(&pair, A), []);
        assert_eq!(pair.states(), [State::Established; 2]);
    }
}

/// An UPDATE of `length` octets that withdraws prefixes of IPv4.
fn long_update(length: usize) -> Vec<u8> {
    let withdrawn = (length - 23) / 4 * 4;
    assert_eq!(withdrawn + 23, length, "prefixes of three octets fill it");
    let mut message = vec![0xff; 16];
    message.extend_from_slice(&(length as u16).to_be_bytes());
    message.push(2);
    message.extend_from_slice(&(withdrawn as u16).to_be_bytes());
    (0..withdrawn / 4).for_each(|number| message.extend_from_slice(&[24, 10, (number >> 8) as u8, number as u8]));
    message.extend_from_slice(&[0, 0]);
    message
}

#[test]
fn a_long_message_is_taken_where_we_have_announced_that_and_ends_the_session_where_not() {
    let plain = Extensions { extended_messages: false, ..Extensions::default() };
    for (ours, theirs, length, taken) in [
        (Extensions::default(), Extensions::default(), 65535, true),
        (Extensions::default(), Extensions::default(), 4099, true),
        (Extensions::default(), plain, 65535, true),
        (plain, Extensions::default(), 4099, false),
        (plain, Extensions::default(), 4095, true),
    ] {
        let mut pair = Pair::established(
            SessionConfig { extensions: ours, ..config(A) },
            SessionConfig { extensions: theirs, ..config(B) },
        );
        pair.inject(A, pair.sessions[A].established().unwrap().direction, &long_update(length));
        let withdrawn: usize = pair.said[A]
            .iter()
            .filter_map(|output| if let Output::Updates(updates) = output { Some(updates) } else { None })
            .flatten()
            .map(|update| update.withdrawn.len())
            .sum();
        assert_eq!(withdrawn, if taken { (length - 23) / 4 } else { 0 }, "{length}");
        assert_eq!(pair.sessions[A].state() == State::Established, taken, "{length}");
        if !taken {
            let error = pair.sessions[A].last_error().unwrap();
            assert!(error.contains("Bad Message Length"), "{error}");
        }
    }
}
