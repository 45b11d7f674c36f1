//! DelayOpen (RFC 4271 section 8.1.1): an OPEN that waits for the peer's.

use super::super::*;
use super::pair::{A, B, KEEPALIVE, NOTIFICATION, OPEN, Pair, address, config, keepalive, open};
use crate::types::Asn;

const DELAY: Duration = Duration::from_secs(10);

fn delaying(side: usize) -> SessionConfig {
    SessionConfig { delay_open: Some(DELAY), ..config(side) }
}

/// A session of A's own connection that waits for an OPEN.
fn waiting() -> Pair {
    let mut pair = Pair::new(delaying(A), SessionConfig { passive: true, ..delaying(B) });
    pair.start(A);
    pair.start(B);
    pair.settle();
    assert_eq!((pair.states(), pair.sent[A].len()), ([State::Connect, State::Active], 0));
    assert_eq!(pair.sessions[A].open_in(pair.now), Some(DELAY));
    pair
}

fn is_up(pair: &Pair) -> bool {
    pair.states() == [State::Established; 2]
}

#[test]
fn an_open_that_waits_is_sent_when_its_time_is_over() {
    let mut pair = waiting();
    let began = pair.now;
    pair.advance(DELAY - Duration::from_millis(1));
    assert_eq!((pair.sent[A].len(), pair.sent[B].len()), (0, 0));
    pair.run_until("both Established", is_up);
    assert_eq!(pair.now - began, DELAY);
    assert_eq!((pair.sent(A, OPEN), pair.sent(B, OPEN)), (1, 1));
    assert_eq!(pair.sessions[A].open_in(pair.now), None);
    assert_eq!((pair.ups(A).len(), pair.ups(B).len()), (1, 1));
}

#[test]
fn an_open_that_comes_meanwhile_is_answered_at_once_whoever_opened_the_connection() {
    for active in [A, B] {
        let mut configs = [delaying(A), config(B)];
        configs[1 - active].passive = true;
        let [a, b] = configs;
        let mut pair = Pair::new(a, b);
        let began = pair.now;
        pair.start(A);
        pair.start(B);
        pair.run_until("both Established", is_up);
        assert_eq!(pair.now, began);
        let said: Vec<u8> = pair.sent[A].iter().map(|(_, kind)| *kind).collect();
        assert_eq!(said, [OPEN, KEEPALIVE], "RFC 4271 section 8.2.2, event 20");
        let opens = pair.sessions[A].opens().unwrap();
        assert_eq!((&opens.sent, &opens.received), (&open(&config(A)), &open(&config(B))));
        assert_eq!(opens.announced(), Some(negotiate::local_open(&config(A), false)));
    }
}

#[test]
fn two_that_open_connections_at_once_and_wait_come_up_once_and_over_one_of_them() {
    for seed in std::iter::once(None).chain((0..200).map(Some)) {
        for (a, b) in [(delaying(A), delaying(B)), (delaying(A), config(B)), (config(A), delaying(B))] {
            let mut pair = Pair::new(a, b);
            pair.shuffle = seed;
            pair.start(A);
            pair.start(B);
            pair.run_until("both Established", is_up);
            pair.advance(Duration::from_secs(120));
            assert!(is_up(&pair), "seed {seed:?}");
            let directions = [A, B].map(|side| pair.sessions[side].established().unwrap().direction);
            assert_ne!(directions[A], directions[B], "seed {seed:?}: each side's own is the other's incoming");
            assert_eq!((pair.downs(A), pair.downs(B)), (vec![], vec![]), "seed {seed:?}");
            // Where nothing overtakes, neither gives up the connection that the other keeps.
            let opens = [A, B].map(|side| pair.sent(side, OPEN));
            assert!(seed.is_some() || opens.iter().all(|sent| *sent <= 2), "{:?}", pair.sent);
        }
    }
}

#[test]
fn a_connection_that_ends_while_an_open_waits_leaves_nothing_behind_and_another_is_opened() {
    let mut pair = waiting();
    // The beginning of a message is not the beginning of the next connection.
    pair.inject(A, Direction::Outgoing, &keepalive()[..10]);
    pair.cut(A);
    assert_eq!(pair.states()[A], State::Active);
    assert_eq!(pair.sessions[A].open_in(pair.now), None);
    pair.run_until("both Established", is_up);
    assert_eq!(pair.sent(A, NOTIFICATION), 0);
}

#[test]
fn a_new_connection_of_the_peer_takes_the_place_of_one_that_waits() {
    let mut pair = Pair::new(SessionConfig { passive: true, ..delaying(A) }, config(B));
    pair.start(A);
    for _ in 0..3 {
        assert!(pair.raw_connection(B));
        pair.advance(DELAY / 2);
        assert_eq!((pair.states()[A], pair.sent[A].len()), (State::Active, 0));
    }
    pair.inject(A, Direction::Incoming, &open(&config(B)));
    assert_eq!(pair.states()[A], State::OpenConfirm);
    pair.inject(A, Direction::Incoming, &keepalive());
    assert_eq!(pair.states()[A], State::Established);
}

#[test]
fn an_open_that_is_refused_while_ours_waits_is_answered_with_the_reason_alone() {
    let mut pair = waiting();
    pair.inject(A, Direction::Outgoing, &open(&SessionConfig { local_as: Asn(7), ..config(B) }));
    assert_eq!(pair.states()[A], State::Idle);
    assert_eq!(pair.sent[A].iter().map(|(_, kind)| *kind).collect::<Vec<_>>(), [NOTIFICATION]);
    let error = pair.sessions[A].last_error().unwrap();
    assert!(error.contains("AS 7") && error.contains("sent OPEN Message Error"), "{error}");
}

#[test]
fn anything_but_an_open_ends_a_connection_that_waits_for_one() {
    for (message, answers) in [(keepalive().to_vec(), 0), ([&[0xff; 16][..], &[0, 19, 9]].concat(), 1)] {
        let mut pair = waiting();
        pair.inject(A, Direction::Outgoing, &message);
        assert_eq!(pair.states()[A], State::Idle, "{message:?}");
        assert_eq!((pair.sent(A, NOTIFICATION), pair.sent[A].len()), (answers, answers), "{message:?}");
    }
}

#[test]
fn a_session_that_is_stopped_while_its_open_waits_says_nothing() {
    let mut pair = waiting();
    pair.stop(A, Stop::Cease(Notification::cease(Cease::AdministrativeShutdown)));
    assert_eq!((pair.states()[A], pair.sent[A].len()), (State::Idle, 0));
    assert_eq!(pair.sessions[A].poll_timeout(), None);
}

#[test]
fn a_change_of_the_delay_is_for_the_next_connection() {
    let mut pair = waiting();
    pair.sessions[A].set_config(config(A));
    assert_eq!(pair.sessions[A].open_in(pair.now), Some(DELAY));
    pair.sessions[A].handle_connected(pair.now, Direction::Outgoing, address(A), address(B));
    assert_eq!((pair.sessions[A].state(), pair.sessions[A].open_in(pair.now)), (State::OpenSent, None));
}

#[test]
fn of_two_connections_that_cross_the_identifiers_decide_while_our_open_waits_on_both() {
    let now = Instant::START + Duration::from_secs(1000);
    // B has the higher identifier, so that its own connection stays; the peer has sent its OPEN on both, and decides likewise.
    for (side, closed, state) in
        [(B, Direction::Incoming, State::Connect), (A, Direction::Outgoing, State::OpenConfirm)]
    {
        let mut session = Session::new(delaying(side), 1);
        session.start(now);
        for direction in [Direction::Outgoing, Direction::Incoming] {
            session.handle_connected(now, direction, address(side), address(1 - side));
        }
        session.handle_bytes(now, Direction::Incoming, &open(&config(1 - side)));
        let close = |output| if let Output::Close(direction) = output { Some(direction) } else { None };
        let closes: Vec<_> = std::iter::from_fn(|| session.poll()).filter_map(close).collect();
        assert_eq!((closes, session.state()), (vec![closed], state));
    }
}
