//! Two connections at one time: collisions (RFC 4271 section 6.8), and a peer that is back from a restart (RFC 4724).

use proptest::prelude::*;

use super::super::*;
use super::pair::{A, B, NOTIFICATION, OPEN, Pair, address, config, keepalive, open, with_restart};
use crate::types::{Asn, RouterId};
use crate::wire::UpdateContext;
use crate::wire::notification::Cease;

/// A's router id, and which of its connections wins against B's 192.0.2.2.
const ORDERS: [([u8; 4], Direction); 2] =
    [([192, 0, 2, 1], Direction::Incoming), ([192, 0, 2, 200], Direction::Outgoing)];

fn with_id(id: [u8; 4]) -> SessionConfig {
    SessionConfig { router_id: RouterId(id.into()), ..config(A) }
}

#[test]
fn of_two_simultaneous_connections_the_one_of_the_higher_identifier_stays() {
    for (id, stays) in ORDERS {
        let pair = Pair::established(with_id(id), config(B));
        assert_eq!(pair.sessions[A].established().unwrap().direction, stays, "{id:?}");
        assert_eq!((pair.sent(A, OPEN), pair.sent(B, OPEN)), (2, 2), "both connections were there");
        assert!(pair.sent(A, NOTIFICATION) + pair.sent(B, NOTIFICATION) > 0);
        assert_eq!((pair.ups(A).len(), pair.ups(B).len()), (1, 1));
        assert_eq!((pair.sessions[A].last_error(), pair.sessions[B].last_error()), (None, None));
    }
}

#[test]
fn in_every_state_a_connection_that_the_peer_opens_has_one_outcome() {
    use State::{Active, Connect, Established, OpenConfirm, OpenSent};
    for (id, wins) in ORDERS {
        for (state, stays) in [
            (Connect, Direction::Incoming),
            (Active, Direction::Incoming),
            (OpenSent, wins),
            (OpenConfirm, wins),
            (Established, Direction::Outgoing),
        ] {
            let mut pair = Pair::new(with_id(id), config(B));
            pair.partition = true;
            pair.start(A);
            if state == Active {
                pair.sessions[A].handle_connect_failed(pair.now, "connection refused".to_owned());
            } else if state != Connect {
                pair.sessions[A].handle_connected(pair.now, Direction::Outgoing, address(A), address(B));
            }
            pair.take(A);
            let said: &[Bytes] = match state {
                OpenConfirm => &[open(&config(B))],
                Established => &[open(&config(B)), keepalive()],
                _ => &[],
            };
            said.iter().for_each(|bytes| pair.inject(A, Direction::Outgoing, bytes));
            assert_eq!(pair.sessions[A].state(), state, "{id:?}");

            // RFC 4271 section 6.8: while Established it is closed; else the identifiers decide as soon as both OPENs are there.
            assert_eq!(pair.raw_connection(B), state != Established, "{id:?} in {state:?}");
            pair.inject(A, Direction::Incoming, &open(&config(B)));
            let two = matches!(state, OpenSent | OpenConfirm);
            assert_eq!(pair.sent(A, NOTIFICATION), usize::from(two), "{id:?} in {state:?}");

            // Of the one that was given up nothing is heard any more; the other one comes up.
            let gone = machine::opposite(stays);
            pair.inject(A, gone, &[open(&config(B)), keepalive()].concat());
            assert_eq!(pair.ups(A).len(), usize::from(state == Established), "{id:?} in {state:?}");
            if stays == Direction::Outgoing && state == OpenSent {
                pair.inject(A, stays, &open(&config(B)));
            }
            pair.inject(A, stays, &keepalive());
            assert_eq!(pair.ups(A).len(), 1, "{id:?} in {state:?}");
            assert_eq!(pair.sessions[A].established().unwrap().direction, stays, "{id:?} in {state:?}");
            assert_eq!(pair.downs(A), [], "{id:?} in {state:?}");
        }
    }
}

#[test]
fn equal_identifiers_of_different_ases_are_told_apart_by_the_as() {
    let id = config(B).router_id;
    let pair = Pair::established(SessionConfig { router_id: id, ..config(A) }, config(B));
    // B is in the higher AS, 65001.
    assert_eq!(pair.sessions[A].established().unwrap().direction, Direction::Incoming);
}

proptest! {
    #[test]
    fn in_whatever_order_things_arrive_both_come_up_once_and_on_the_same_connection(
        seed: u64, higher: bool, graceful: bool, segment in 1..60usize
    ) {
        let (id, _) = ORDERS[usize::from(higher)];
        let [a, b] = if graceful { [with_restart(A), with_restart(B)] } else { [config(A), config(B)] };
        let mut pair = Pair::new(SessionConfig { router_id: RouterId(id.into()), ..a }, b);
        pair.shuffle = Some(seed);
        pair.segment = segment;
        pair.start(A);
        pair.start(B);
        pair.run_until("both Established", |pair| pair.states() == [State::Established; 2]);
        pair.advance(Duration::from_secs(1000));
        let direction = |side: usize| pair.sessions[side].established().map(|up| up.direction);
        prop_assert!(direction(A).is_some() && direction(A) != direction(B), "{:?}", pair.states());
        prop_assert_eq!((pair.ups(A).len(), pair.ups(B).len()), (1, 1));
    }

    #[test]
    fn a_loss_at_any_moment_is_mended(seed: u64, steps in 1..40usize, graceful: bool) {
        let configs = if graceful { [with_restart(A), with_restart(B)] } else { [config(A), config(B)] };
        let [a, b] = configs;
        let mut pair = Pair::new(a, b);
        pair.shuffle = Some(seed);
        pair.start(A);
        pair.start(B);
        for _ in 0..steps {
            pair.step();
        }
        pair.cut(if seed % 2 == 0 { A } else { B });
        pair.run_until("both Established", |pair| pair.states() == [State::Established; 2]);
        pair.advance(Duration::from_secs(1000));
        prop_assert_eq!(pair.states(), [State::Established; 2]);
        for side in [A, B] {
            prop_assert_eq!(pair.ups(side).len(), pair.downs(side).len() + 1);
        }
    }
}

#[test]
fn a_second_connection_is_refused_while_established() {
    for active in [A, B] {
        let mut configs = [config(A), config(B)];
        configs[1 - active].passive = true;
        let [a, b] = configs;
        let mut pair = Pair::established(a, b);
        assert!(!pair.raw_connection(B));
        assert_eq!(pair.states(), [State::Established; 2]);
    }
}

#[test]
fn a_connection_is_refused_while_stopped_and_during_the_idle_hold_time() {
    let mut pair = Pair::established(config(A), config(B));
    pair.stop(A, Stop::Cease(Notification::cease(Cease::AdministrativeShutdown)));
    assert!(!pair.raw_connection(B));
    let mut pair = Pair::established(config(A), config(B));
    pair.stop(A, Stop::Reset(Notification::cease(Cease::AdministrativeReset)));
    assert!(!pair.raw_connection(B));
    // The owner did not ask: the connection is closed all the same.
    pair.sessions[A].handle_connected(pair.now, Direction::Incoming, address(A), address(B));
    assert_eq!(pair.sessions[A].poll(), Some(Output::Close(Direction::Incoming)));
}

/// A is Established, over a connection of this direction, with a peer that does graceful restart.
fn restarting(direction: Direction) -> Pair {
    let passive =
        |side, direction, passive_when| SessionConfig { passive: direction == passive_when, ..with_restart(side) };
    let a = passive(A, direction, Direction::Incoming);
    let b = passive(B, direction, Direction::Outgoing);
    let mut pair = Pair::established(a, b);
    pair.advance(Duration::from_secs(10));
    pair.said = Default::default();
    // B has forgotten all: nothing moves between the two any more.
    pair.partition = true;
    pair
}

#[test]
fn a_peer_back_from_its_restart_replaces_its_old_connection_and_its_routes_are_kept() {
    for old in [Direction::Outgoing, Direction::Incoming] {
        let mut pair = restarting(old);
        let established = pair.sessions[A].established().cloned().unwrap();
        assert!(pair.raw_connection(B), "{old:?}");
        pair.inject(A, Direction::Incoming, &open(&with_restart(B)));
        pair.inject(A, Direction::Incoming, &keepalive());
        let [down] = &pair.downs(A)[..] else { panic!("{old:?}: {:?}", pair.said[A]) };
        assert!(matches!(down, DownReason::ConnectionLost(_)), "{old:?}: {down:?}");
        assert_eq!(established.retain(down), Some(Duration::from_secs(60)));
        assert_eq!(pair.ups(A).len(), 1, "{old:?}");
        assert_eq!(pair.sessions[A].established().unwrap().direction, Direction::Incoming);
        assert_eq!(pair.sent(A, NOTIFICATION), 0, "{old:?}");
    }
}

#[test]
fn a_crossed_connection_that_arrives_late_is_not_a_peer_back_from_its_restart() {
    let passive = SessionConfig { passive: true, ..with_restart(B) };
    let mut pair = Pair::established(with_restart(A), passive);
    assert!(pair.raw_connection(B));
    pair.inject(A, Direction::Incoming, &open(&with_restart(B)));
    assert_eq!(pair.downs(A), []);
    assert_eq!(pair.sessions[A].established().map(|up| up.direction), Some(Direction::Outgoing));
    assert_eq!(pair.sent(A, NOTIFICATION), 1, "the new one is ended as a collision");
}

#[test]
fn a_new_connection_with_a_wrong_open_leaves_the_session_alone() {
    let mut pair = restarting(Direction::Outgoing);
    assert!(pair.raw_connection(B));
    let stranger = SessionConfig { local_as: Asn(64999), ..with_restart(B) };
    pair.inject(A, Direction::Incoming, &open(&stranger));
    assert_eq!(pair.sessions[A].state(), State::Established);
    assert_eq!(pair.downs(A), []);
    assert_eq!(pair.sessions[A].last_error(), None);
}

#[test]
fn a_connection_that_is_long_without_an_open_gives_way_to_one_that_is_not() {
    for (waited, comes_up) in [(1, false), (60, true)] {
        // A's identifier is the higher one: its own connection wins while it is young.
        let mut pair = Pair::new(with_id(ORDERS[1].0), config(B));
        pair.start(A);
        pair.take(A);
        pair.sessions[A].handle_connected(pair.now, Direction::Outgoing, address(A), address(B));
        pair.partition = true;
        pair.advance(Duration::from_secs(waited));
        assert!(pair.raw_connection(B));
        pair.inject(A, Direction::Incoming, &open(&config(B)));
        pair.inject(A, Direction::Incoming, &keepalive());
        assert_eq!(pair.sessions[A].state() == State::Established, comes_up, "after {waited} s");
    }
}

#[test]
fn a_peer_that_keeps_its_own_connection_finds_this_side_listening() {
    let mut pair = Pair::new(config(A), config(B));
    pair.start(A);
    pair.take(A);
    pair.sessions[A].handle_connected(pair.now, Direction::Outgoing, address(A), address(B));
    let cease = Message::Notification(Notification::cease(Cease::ConnectionCollisionResolution));
    pair.inject(A, Direction::Outgoing, &cease.encode(&UpdateContext::before_open()));
    assert_eq!(pair.sessions[A].state(), State::Active);
    assert!(pair.raw_connection(B));
    // And if that connection never comes, it tries again.
    assert!(pair.sessions[A].poll_timeout().is_some());
}
