//! Coming up, staying up, keeping time.

use super::super::*;
use super::pair::{A, B, END_OF_RIB, KEEPALIVE, Pair, address, config, with_restart};
use crate::types::{Asn, HoldTime, RouterId};

#[test]
fn a_session_comes_up_over_the_connection_of_the_side_that_opens_one() {
    for (active, seen_by_a) in [(A, Direction::Outgoing), (B, Direction::Incoming)] {
        let mut configs = [config(A), config(B)];
        configs[1 - active].passive = true;
        let [a, b] = configs;
        let pair = Pair::established(a, b);
        let up = pair.sessions[A].established().unwrap();
        assert_eq!(up.direction, seen_by_a);
        assert_eq!((up.remote_as, up.remote_id), (Asn(65001), RouterId([192, 0, 2, 2].into())));
        assert_eq!((up.local_address, up.remote_address), (address(A), address(B)));
        assert_eq!(pair.ups(A).len(), 1);
        assert_eq!(pair.sessions[A].counters().established, 1);
    }
}

#[test]
fn a_passive_session_never_opens_a_connection() {
    let mut pair = Pair::new(SessionConfig { passive: true, ..config(A) }, config(B));
    pair.start(A);
    pair.advance(Duration::from_secs(600));
    assert_eq!(pair.states(), [State::Active, State::Idle]);
    assert_eq!(pair.sent(A, 1), 0);
}

#[test]
fn the_smaller_hold_time_holds_and_each_side_sends_a_keepalive_within_a_third_of_it() {
    let hold_time = HoldTime::from_seconds(30).unwrap();
    let mut pair = Pair::established(config(A), SessionConfig { hold_time, ..config(B) });
    pair.advance(Duration::from_secs(300));
    assert_eq!(pair.states(), [State::Established; 2]);
    for side in [A, B] {
        assert_eq!(pair.sessions[side].established().unwrap().hold_time, hold_time);
        let times: Vec<_> = pair.sent[side].iter().filter(|(_, kind)| *kind == KEEPALIVE).map(|(at, _)| *at).collect();
        assert!(times.len() >= 30, "{}", times.len());
        // The first answers the OPEN; jitter takes up to a quarter off (RFC 4271 section 10).
        for gap in times.windows(2).map(|pair| pair[1] - pair[0]) {
            assert!((Duration::from_millis(7500)..=Duration::from_secs(10)).contains(&gap), "{gap:?}");
        }
    }
}

#[test]
fn with_a_hold_time_of_zero_nobody_sends_keepalives_and_silence_ends_nothing() {
    let hold_time = HoldTime::from_seconds(0).unwrap();
    let mut pair = Pair::established(config(A), SessionConfig { hold_time, ..config(B) });
    pair.advance(Duration::from_secs(100_000));
    assert_eq!(pair.states(), [State::Established; 2]);
    assert_eq!((pair.sent(A, KEEPALIVE), pair.sent(B, KEEPALIVE)), (1, 1));
}

#[test]
fn messages_are_sent_in_order_and_counted_by_their_headers() {
    let mut pair = Pair::established(config(A), config(B));
    pair.sessions[A].send(pair.now, Bytes::from(END_OF_RIB.repeat(3)));
    pair.sessions[A].send(pair.now, Bytes::from_static(&END_OF_RIB));
    let sent: Vec<_> = std::iter::from_fn(|| pair.sessions[A].poll()).collect();
    let lengths: Vec<_> = sent
        .iter()
        .map(|output| if let Output::Send(_, bytes) = output { bytes.len() } else { panic!("{output:?}") })
        .collect();
    assert_eq!(lengths, [69, 23]);
    assert_eq!(pair.sessions[A].counters().sent[1], 4);
}

#[test]
fn nothing_is_sent_for_the_rib_before_the_session_is_up_or_after_it_is_down() {
    let mut pair = Pair::new(config(A), config(B));
    pair.start(A);
    pair.sessions[A].send(pair.now, Bytes::from_static(&END_OF_RIB));
    pair.take(A);
    assert_eq!(pair.sent(A, 2), 0);
    let mut pair = Pair::established(config(A), config(B));
    pair.stop(A, Stop::Silent);
    pair.sessions[A].send(pair.now, Bytes::from_static(&END_OF_RIB));
    pair.take(A);
    assert_eq!(pair.sent(A, 2), 0);
}

#[test]
fn a_refresh_is_asked_for_and_heard_where_both_can() {
    let mut pair = Pair::established(config(A), config(B));
    assert!(pair.sessions[A].request_refresh(pair.now, Family::Ipv6Unicast));
    pair.take(A);
    pair.settle();
    assert!(pair.said[B].contains(&Output::Refresh(Family::Ipv6Unicast)));
    let only_v4 = SessionConfig { families: [Family::Ipv4Unicast].into_iter().collect(), ..config(B) };
    let mut pair = Pair::established(config(A), only_v4);
    assert!(!pair.sessions[A].request_refresh(pair.now, Family::Ipv6Unicast));
}

#[test]
fn a_flood_of_refreshes_in_one_read_is_one_request_for_each_family() {
    let mut pair = Pair::established(config(A), config(B));
    let mut refresh = vec![0xff; 16];
    refresh.extend_from_slice(&[0, 23, 5, 0, 1, 0, 1]);
    pair.inject(A, pair.sessions[A].established().unwrap().direction, &refresh.repeat(1000));
    assert_eq!(pair.said[A].iter().filter(|output| matches!(output, Output::Refresh(_))).count(), 1);
}

#[test]
fn attempts_that_fail_come_at_growing_intervals_up_to_the_configured_one() {
    let mut pair = Pair::new(config(A), config(B));
    pair.listening[B] = false;
    pair.start(A);
    let mut attempts = vec![pair.now];
    let end = pair.now + Duration::from_secs(120);
    while pair.now < end {
        pair.run_until("Active", |pair| pair.states()[A] == State::Active);
        let due = pair.sessions[A].poll_timeout().unwrap();
        pair.advance(due - pair.now);
        attempts.push(due);
    }
    let gaps: Vec<_> = attempts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (gap, most) in gaps.iter().zip([1, 2, 4, 5, 5, 5]) {
        let most = Duration::from_secs(most);
        assert!((most * 3 / 4..=most).contains(gap), "{gaps:?}");
    }
    assert!(gaps.iter().all(|gap| *gap <= Duration::from_secs(5)), "{gaps:?}");
    assert_eq!(pair.sessions[A].last_error(), Some("connection refused"));
}

#[test]
fn a_peer_that_starts_later_is_found() {
    let mut pair = Pair::new(config(A), config(B));
    pair.listening[B] = false;
    pair.start(A);
    pair.advance(Duration::from_secs(1000));
    pair.listening[B] = true;
    pair.start(B);
    pair.run_until("both Established", |pair| pair.states() == [State::Established; 2]);
}

#[test]
fn an_attempt_that_gets_no_answer_is_given_up_and_made_again() {
    let mut pair = Pair::new(config(A), config(B));
    pair.partition = true;
    pair.start(A);
    let due = pair.sessions[A].poll_timeout().unwrap();
    pair.sessions[A].handle_timeout(due);
    let said: Vec<_> = std::iter::from_fn(|| pair.sessions[A].poll()).collect();
    assert_eq!(said, [Output::Close(Direction::Outgoing), Output::Connect]);
    assert_eq!(pair.sessions[A].state(), State::Connect);
    assert_eq!(pair.sessions[A].last_error(), Some("connection attempt timed out"));
}

#[test]
fn graceful_restart_is_agreed_on_where_both_have_it() {
    let pair = Pair::established(with_restart(A), with_restart(B));
    let lost = DownReason::ConnectionLost("gone".to_owned());
    assert_eq!(pair.sessions[A].established().unwrap().retain(&lost), Some(Duration::from_secs(60)));
    let expired = DownReason::HoldTimerExpired;
    assert_eq!(pair.sessions[A].established().unwrap().retain(&expired), None);
    let pair = Pair::established(config(A), with_restart(B));
    assert_eq!(pair.sessions[A].established().unwrap().retain(&lost), None);
}

#[test]
fn one_seed_gives_one_course() {
    let course = || {
        let mut pair = Pair::established(config(A), config(B));
        pair.advance(Duration::from_secs(1000));
        pair.sent
    };
    assert_eq!(course(), course());
}

#[test]
fn unread_bytes_keep_a_session_alive() {
    let mut pair = Pair::established(config(A), config(B));
    pair.partition = true;
    for _ in 0..7 {
        pair.advance(Duration::from_secs(60));
        pair.sessions[A].handle_unread(pair.now);
    }
    assert_eq!(pair.states(), [State::Established, State::Connect]);
}

#[test]
fn a_session_that_is_no_longer_passive_opens_a_connection() {
    let mut pair =
        Pair::new(SessionConfig { passive: true, ..config(A) }, SessionConfig { passive: true, ..config(B) });
    pair.start(A);
    pair.start(B);
    pair.sessions[A].set_config(config(A));
    pair.run_until("both Established", |pair| pair.states() == [State::Established; 2]);
}
