//! How sessions end, what is said then, and how they start again.

use super::super::*;
use super::pair::{A, B, NOTIFICATION, Pair, address, config, keepalive, open, with_notification, with_restart};
use crate::types::{Asn, HoldTime, RouterId};
use crate::wire::UpdateContext;
use crate::wire::capability::Capability;
use crate::wire::notification::Cease;

fn shutdown() -> Notification {
    Notification::cease(Cease::AdministrativeShutdown)
}

#[test]
fn silence_ends_a_session_after_the_hold_time_and_it_comes_back() {
    let mut pair = Pair::established(config(A), config(B));
    let before = pair.sent(A, NOTIFICATION);
    pair.partition = true;
    pair.run_until("down", |pair| !pair.downs(A).is_empty());
    assert_eq!(pair.downs(A), [DownReason::HoldTimerExpired]);
    assert_eq!(pair.sessions[A].last_error(), Some("hold timer expired (90 s without a message)"));
    assert_eq!(pair.sent(A, NOTIFICATION), before + 1);
    pair.partition = false;
    pair.run_until("both Established", |pair| pair.states() == [State::Established; 2]);
}

#[test]
fn a_peer_that_never_sends_an_open_is_given_up_after_four_minutes() {
    let mut pair = Pair::new(config(A), config(B));
    pair.partition = true;
    pair.start(A);
    pair.sessions[A].handle_connected(pair.now, Direction::Outgoing, address(A), address(B));
    pair.take(A);
    pair.advance(Duration::from_secs(239));
    assert_eq!(pair.states()[A], State::OpenSent);
    pair.advance(Duration::from_secs(1));
    assert_eq!(pair.states()[A], State::Idle);
    assert_eq!(pair.sessions[A].last_error(), Some("no OPEN within 240 s"));
}

#[test]
fn a_session_that_is_stopped_says_so_and_stays_down_until_it_is_started() {
    let mut pair = Pair::established(config(A), config(B));
    pair.stop(A, Stop::Cease(shutdown()));
    pair.settle();
    assert_eq!(pair.downs(A), [DownReason::Stopped { silent: false }]);
    assert_eq!(pair.downs(B), [DownReason::Received(shutdown())]);
    assert_eq!(pair.sessions[A].last_error(), Some("sent Cease / Administrative Shutdown"));
    assert_eq!(pair.sessions[B].last_error(), Some("received Cease / Administrative Shutdown"));
    pair.advance(Duration::from_secs(1000));
    assert_eq!((pair.states()[A], pair.ups(A).len()), (State::Idle, 1));
    pair.start(A);
    pair.run_until("both Established", |pair| pair.states() == [State::Established; 2]);
}

#[test]
fn a_session_that_waits_for_an_open_begins_anew_when_its_peer_is_found_elsewhere_and_no_other_does() {
    let mut pair = Pair::new(config(A), config(B));
    pair.start(A);
    pair.sessions[A].handle_connected(pair.now, Direction::Outgoing, address(A), address(B));
    assert_eq!(pair.states()[A], State::OpenSent);
    while pair.sessions[A].poll().is_some() {}
    pair.sessions[A].handle_found(pair.now);
    let said: Vec<_> = std::iter::from_fn(|| pair.sessions[A].poll()).collect();
    assert!(matches!(&said[..], [Output::Close(Direction::Outgoing), Output::Connect]), "{said:?}");
    pair.stop(A, Stop::Silent);
    pair.sessions[A].handle_found(pair.now);
    assert_eq!(pair.states()[A], State::Idle, "nobody has started it");
    let mut pair = Pair::established(config(A), config(B));
    pair.sessions[A].handle_found(pair.now);
    assert_eq!((pair.states()[A], pair.sessions[A].poll().is_none()), (State::Established, true));
}

#[test]
fn when_a_peer_is_lost_on_its_link_so_are_its_connections_and_the_attempt_to_open_one() {
    let mut pair = Pair::new(config(A), config(B));
    pair.start(A);
    assert_eq!(pair.states()[A], State::Connect);
    pair.sessions[A].handle_lost(pair.now, "interface eth0 is down");
    assert_eq!((pair.states()[A], pair.sessions[A].last_error()), (State::Active, Some("interface eth0 is down")));
    let mut pair = Pair::established(config(A), config(B));
    pair.sessions[A].handle_lost(pair.now, "interface eth0 is down");
    pair.take(A);
    assert_eq!(pair.downs(A), [DownReason::ConnectionLost("interface eth0 is down".to_owned())]);
}

#[test]
fn a_session_that_is_reset_comes_back_by_itself() {
    let mut pair = Pair::established(config(A), config(B));
    let reset = Notification::cease(Cease::AdministrativeReset);
    pair.stop(A, Stop::Reset(reset.clone()));
    pair.settle();
    assert_eq!(pair.downs(B), [DownReason::Received(reset)]);
    pair.run_until("both Established", |pair| pair.states() == [State::Established; 2]);
}

#[test]
fn a_silent_stop_sends_nothing_and_lets_the_peer_keep_routes() {
    let mut pair = Pair::established(with_restart(A), with_restart(B));
    let established = pair.sessions[B].established().cloned().unwrap();
    let before = pair.sent(A, NOTIFICATION);
    pair.stop(A, Stop::Silent);
    pair.settle();
    assert_eq!(pair.sent(A, NOTIFICATION), before);
    assert_eq!(pair.downs(A), [DownReason::Stopped { silent: true }]);
    let [down] = &pair.downs(B)[..] else { panic!("{:?}", pair.said[B]) };
    assert_eq!(established.retain(down), Some(Duration::from_secs(60)));
    assert_eq!(pair.sessions[B].last_error(), Some("peer closed the connection"));
}

#[test]
fn a_session_that_was_good_and_lost_its_connection_tries_again_at_once() {
    for (lasted, at_once) in [(60, true), (1, false)] {
        let mut pair = Pair::established(SessionConfig { passive: true, ..config(A) }, config(B));
        pair.advance(Duration::from_secs(lasted));
        pair.partition = true;
        pair.cut(B);
        assert_eq!(pair.states()[B] == State::Connect, at_once, "after {lasted} s: {:?}", pair.states());
        assert_eq!(pair.states()[A] == State::Active, at_once, "after {lasted} s: {:?}", pair.states());
    }
}

#[test]
fn a_session_that_keeps_failing_waits_longer_each_time() {
    for (idle_hold, waits) in [(1, [1, 2, 4, 5, 5, 5]), (3, [3, 5, 5, 5, 5, 5]), (20, [20; 6])] {
        a_session_rests(Duration::from_secs(idle_hold), waits);
    }
}

/// After one failure, two, and so on, with a connect retry time of 5 seconds.
fn a_session_rests(idle_hold: Duration, expected: [u64; 6]) {
    let mut pair = Pair::new(SessionConfig { idle_hold, ..config(A) }, config(B));
    pair.partition = true;
    pair.start(A);
    let mut waits = Vec::new();
    for _ in 0..6 {
        pair.sessions[A].handle_connected(pair.now, Direction::Outgoing, address(A), address(B));
        pair.inject(A, Direction::Outgoing, &open(&SessionConfig { local_as: Asn(64999), ..config(B) }));
        assert_eq!(pair.states()[A], State::Idle);
        let due = pair.sessions[A].poll_timeout().unwrap();
        waits.push(due - pair.now);
        pair.advance(due - pair.now);
        assert_eq!(pair.states()[A], State::Connect);
    }
    for (wait, most) in waits.iter().zip(expected) {
        let most = Duration::from_secs(most);
        assert!((most * 3 / 4..=most).contains(wait), "{waits:?}");
    }
    let said = "AS 65001 expected, AS 64999 in OPEN (sent OPEN Message Error / Bad Peer AS)";
    assert_eq!(pair.sessions[A].last_error(), Some(said));
}

/// Established sessions whose first one has a message waiting that nobody takes.
fn stuck(hold_time: u16, send_hold: SendHoldTime) -> Pair {
    let hold_time = HoldTime::from_seconds(hold_time).unwrap();
    let [a, b] = [A, B].map(|side| SessionConfig { hold_time, send_hold, ..config(side) });
    let mut pair = Pair::established(a, b);
    pair.sessions[A].handle_sent(pair.now, 0);
    pair.partition = true;
    pair.sessions[A].send(pair.now, Bytes::copy_from_slice(&keepalive()));
    pair
}

/// Lets time pass in which the peer takes nothing, and is never silent.
fn pass(pair: &mut Pair, seconds: u64) {
    for _ in 0..seconds {
        let Some(direction) = pair.sessions[A].established().map(|up| up.direction) else { return };
        pair.inject(A, direction, &keepalive());
        pair.advance(Duration::from_secs(1));
    }
}

#[test]
fn a_peer_that_takes_nothing_is_given_up_after_the_send_hold_time_without_a_word() {
    let minute = SendHoldTime::Exactly(Duration::from_secs(60));
    for (hold_time, send_hold, seconds) in [
        (90, SendHoldTime::Recommended, 480),
        (600, SendHoldTime::Recommended, 1200),
        (30, minute, 60),
        (0, minute, 60),
    ] {
        let mut pair = stuck(hold_time, send_hold);
        let before = pair.sent(A, NOTIFICATION);
        // It takes a little once, half way through.
        pass(&mut pair, seconds / 2);
        assert_eq!(pair.sessions[A].untaken_for(pair.now), Some(Duration::from_secs(seconds / 2)));
        pair.sessions[A].handle_sent(pair.now, 1);
        pass(&mut pair, seconds - 1);
        assert_eq!(pair.states()[A], State::Established, "{seconds}: {:?}", pair.sessions[A].last_error());
        pass(&mut pair, 1);
        assert_eq!(pair.downs(A), [DownReason::SendHoldTimerExpired], "{seconds}");
        assert_eq!(pair.sent(A, NOTIFICATION), before);
    }
}

#[test]
fn a_peer_that_takes_nothing_is_kept_where_there_is_no_send_hold_time() {
    for (hold_time, send_hold) in [(90, SendHoldTime::Off), (0, SendHoldTime::Off), (0, SendHoldTime::Recommended)] {
        let mut pair = stuck(hold_time, send_hold);
        pass(&mut pair, 5000);
        assert_eq!(pair.states()[A], State::Established, "{hold_time} {send_hold:?}");
        assert_eq!(pair.sessions[A].untaken_for(pair.now), None);
    }
}

#[test]
fn a_send_hold_timer_that_runs_goes_on_with_the_time_that_it_is_given() {
    let seconds = |seconds| SendHoldTime::Exactly(Duration::from_secs(seconds));
    for (to, left) in
        [(seconds(100), Some(70)), (seconds(40), Some(10)), (seconds(20), Some(0)), (SendHoldTime::Off, None::<u64>)]
    {
        let mut pair = stuck(0, seconds(60));
        pass(&mut pair, 30);
        let changed = SessionConfig { send_hold: to, ..pair.sessions[A].config().clone() };
        pair.sessions[A].set_config(changed);
        pass(&mut pair, left.unwrap_or(1000).saturating_sub(1));
        assert_eq!(pair.states()[A], State::Established, "{to:?}");
        pass(&mut pair, 1);
        assert_eq!(pair.downs(A).len(), usize::from(left.is_some()), "{to:?}");
    }
}

/// Whole messages by type and body.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xff; 16];
    bytes.extend_from_slice(&(19 + body.len() as u16).to_be_bytes());
    bytes.push(kind);
    bytes.extend_from_slice(body);
    bytes
}

fn changed(config: SessionConfig, at: usize, to: u8) -> Vec<u8> {
    let mut bytes = open(&config).to_vec();
    bytes[at] = to;
    bytes
}

#[test]
fn every_fault_is_answered_with_the_notification_that_the_rfc_asks_for() {
    use State::{Established, OpenConfirm, OpenSent};
    let peer = || config(B);
    let internal = SessionConfig { local_as: config(A).local_as, ..config(B) };
    let same_id = SessionConfig { router_id: config(A).router_id, ..internal.clone() };
    let only = |family: Family| SessionConfig { families: [family].into_iter().collect(), ..config(B) };
    let no_family = {
        let mut open = negotiate::local_open(&peer(), false);
        open.capabilities.retain(|capability| !matches!(capability, Capability::Multiprotocol(_)));
        open.capabilities.push(Capability::UnknownFamily { afi: 25, safi: 70 });
        Message::Open(open).encode(&UpdateContext::before_open()).to_vec()
    };
    let refresh = message(5, &[0, 1, 0, 1]);
    let update = message(2, &[0; 4]);
    let marker = [&[0xfe][..], &keepalive()[1..]].concat();
    let header = |length: u16, kind: u8| [&[0xff; 16][..], &length.to_be_bytes(), &[kind]].concat();
    let headers = [OpenSent, OpenConfirm, Established].into_iter().flat_map(|state| {
        let lengths = [(0, 1), (0, 2), (18, 2), (18, 4), (4097, 1), (4097, 4), (65535, 1), (65535, 4), (20, 4)];
        let lengths = lengths.map(|(length, kind)| ("length", state, header(length, kind), 1, 2));
        let kinds = [0, 6, 255].map(|kind| ("type", state, header(19, kind), 1, 3));
        lengths.into_iter().chain(kinds)
    });
    // OPEN: version at 19, hold time at 22, identifier at 24.
    for (what, state, bytes, code, subcode) in [
        ("marker", OpenSent, marker.clone(), 1, 1),
        ("marker", Established, marker, 1, 1),
        ("KEEPALIVE with a body", OpenConfirm, message(4, &[0]), 1, 2),
        ("UPDATE too short", Established, message(2, &[0; 3]), 1, 2),
        ("type 6", Established, message(6, &[]), 1, 3),
        ("version 3", OpenSent, changed(peer(), 19, 3), 2, 1),
        ("another AS", OpenSent, open(&SessionConfig { local_as: Asn(64999), ..peer() }).to_vec(), 2, 2),
        (
            "identifier 0",
            OpenSent,
            open(&SessionConfig { router_id: RouterId([0; 4].into()), ..peer() }).to_vec(),
            2,
            3,
        ),
        ("our own identifier", OpenSent, open(&same_id).to_vec(), 2, 3),
        ("hold time 1", OpenSent, [&open(&peer())[..22], &[0, 1], &open(&peer())[24..]].concat(), 2, 6),
        ("no common family", OpenSent, no_family, 2, 7),
        ("KEEPALIVE", OpenSent, keepalive().to_vec(), 5, 1),
        ("UPDATE", OpenSent, update.clone(), 5, 1),
        ("ROUTE-REFRESH", OpenSent, refresh.clone(), 5, 1),
        ("an OPEN of 4097 octets", OpenSent, [&[0xff; 16][..], &[16, 1, 1]].concat(), 1, 2),
        ("a NOTIFICATION of 4097 octets", OpenSent, [&[0xff; 16][..], &[16, 1, 3]].concat(), 1, 2),
        ("an OPEN of 4097 octets", Established, [&[0xff; 16][..], &[16, 1, 1]].concat(), 1, 2),
        ("a second OPEN", OpenConfirm, open(&peer()).to_vec(), 5, 2),
        ("UPDATE", OpenConfirm, update, 5, 2),
        ("ROUTE-REFRESH", OpenConfirm, refresh, 5, 2),
        ("BoRR too long", Established, message(5, &[0, 1, 1, 1, 0]), 7, 1),
        ("EoRR too short", Established, message(5, &[0, 1, 2]), 7, 1),
        ("a request too long", Established, message(5, &[0, 1, 0, 1, 0]), 1, 2),
        ("OPEN", Established, open(&only(Family::Ipv4Unicast)).to_vec(), 5, 3),
        ("AS 0", OpenSent, open(&SessionConfig { local_as: Asn(0), ..peer() }).to_vec(), 2, 2),
        ("AS_TRANS", OpenSent, open(&SessionConfig { local_as: Asn::TRANS, ..peer() }).to_vec(), 2, 2),
        ("hold time 2", OpenSent, [&open(&peer())[..22], &[0, 2], &open(&peer())[24..]].concat(), 2, 6),
    ]
    .into_iter()
    .chain(headers)
    {
        let ours = if what == "our own identifier" {
            SessionConfig { remote_as: RemoteAs::Internal, ..config(A) }
        } else {
            config(A)
        };
        let mut pair = Pair::new(ours, config(B));
        pair.partition = true;
        pair.start(A);
        pair.sessions[A].handle_connected(pair.now, Direction::Outgoing, address(A), address(B));
        pair.take(A);
        if state != OpenSent {
            pair.inject(A, Direction::Outgoing, &open(&peer()));
        }
        if state == Established {
            pair.inject(A, Direction::Outgoing, &keepalive());
        }
        assert_eq!(pair.sessions[A].state(), state, "{what}");
        let valid_rest = keepalive().repeat(3);
        pair.sessions[A].handle_bytes(pair.now, Direction::Outgoing, &[bytes, valid_rest].concat());
        let said: Vec<_> = std::iter::from_fn(|| pair.sessions[A].poll()).collect();
        let [Output::Send(_, notification), Output::Close(Direction::Outgoing), rest @ ..] = &said[..] else {
            panic!("{what} in {state:?}: {said:?}")
        };
        assert_eq!(notification[18..21], [3, code, subcode], "{what} in {state:?}");
        assert_eq!(rest.len(), usize::from(state == Established), "{what} in {state:?}: {rest:?}");
        assert_eq!(pair.sessions[A].state(), State::Idle, "{what} in {state:?}");
    }
}

#[test]
fn a_notification_is_never_answered() {
    let cease = Message::Notification(shutdown()).encode(&UpdateContext::before_open());
    for messages in 0..3 {
        let mut pair = Pair::new(config(A), config(B));
        pair.partition = true;
        pair.start(A);
        pair.sessions[A].handle_connected(pair.now, Direction::Outgoing, address(A), address(B));
        for message in [open(&config(B)), keepalive()].iter().take(messages) {
            pair.inject(A, Direction::Outgoing, message);
        }
        pair.inject(A, Direction::Outgoing, &cease);
        assert_eq!(pair.sent(A, NOTIFICATION), 0, "{messages}");
        assert_eq!(pair.sessions[A].last_error(), Some("received Cease / Administrative Shutdown"));
    }
}

#[test]
fn what_the_other_end_said_stays_until_the_session_is_up_again() {
    let mut pair = Pair::established(config(A), config(B));
    pair.stop(A, Stop::Cease(Notification::cease_saying(Cease::AdministrativeShutdown, "back at 5")));
    pair.listening[A] = false;
    pair.advance(Duration::from_secs(60));
    assert_eq!(pair.sessions[B].last_error(), Some("connection refused"));
    assert_eq!(pair.sessions.each_ref().map(Session::communication), [None, Some("back at 5")]);
    pair.listening[A] = true;
    pair.start(A);
    pair.run_until("both Established", |pair| pair.states() == [State::Established; 2]);
    assert_eq!(pair.sessions[B].communication(), None);
}

/// RFC 8538: what ends a session, and whether each side then keeps the other's routes.
#[test]
fn with_notification_support_only_a_hard_reset_costs_routes() {
    let kept = Some(Duration::from_secs(60));
    let cease = |subcode| Stop::Reset(Notification::cease(subcode));
    for (how, other, ours, theirs) in [
        (cease(Cease::AdministrativeReset), with_notification(B), None, None),
        (Stop::Cease(shutdown()), with_notification(B), None, None),
        (cease(Cease::PeerDeConfigured), with_notification(B), None, None),
        (cease(Cease::OutOfResources), with_notification(B), None, kept),
        (Stop::Silent, with_notification(B), kept, kept),
        (Stop::PlainReset(Notification::cease(Cease::AdministrativeReset)), with_notification(B), kept, kept),
        // A peer that does not keep routes across NOTIFICATIONs is sent what it understands.
        (cease(Cease::AdministrativeReset), with_restart(B), None, None),
        (cease(Cease::OutOfResources), with_restart(B), None, None),
        (Stop::PlainReset(Notification::cease(Cease::AdministrativeReset)), with_restart(B), None, None),
    ] {
        let both = other == with_notification(B);
        let mut pair = Pair::established(with_notification(A), other);
        let agreed = [A, B].map(|side| pair.sessions[side].established().cloned().unwrap());
        let plain = matches!(how, Stop::PlainReset(_));
        let sent = match &how {
            Stop::Reset(sent) | Stop::Cease(sent) | Stop::PlainReset(sent) => Some(sent.clone()),
            Stop::Silent => None,
        };
        pair.stop(A, how);
        pair.settle();
        let (at_a, at_b) = (pair.downs(A).remove(0), pair.downs(B).remove(0));
        assert_eq!((agreed[A].retain(&at_a), agreed[B].retain(&at_b)), (ours, theirs), "{at_a} | {at_b}");
        if let (Some(sent), DownReason::Received(heard)) = (sent, at_b) {
            let hard = both && !plain && sent.ends_routes();
            assert_eq!(heard, if hard { sent.hard_reset() } else { sent }, "hard: {hard}");
        }
    }
}

#[test]
fn with_notification_support_silence_and_a_malformed_message_cost_no_route() {
    for both in [true, false] {
        let other = if both { with_notification(B) } else { with_restart(B) };
        let kept = both.then_some(Duration::from_secs(60));
        let mut pair = Pair::established(with_notification(A), other.clone());
        let agreed = pair.sessions[A].established().cloned().unwrap();
        pair.partition = true;
        pair.run_until("down", |pair| !pair.downs(A).is_empty());
        assert_eq!(pair.downs(A), [DownReason::HoldTimerExpired]);
        assert_eq!(agreed.retain(&pair.downs(A)[0]), kept);

        let mut pair = Pair::established(with_notification(A), other);
        let agreed = [A, B].map(|side| pair.sessions[side].established().cloned().unwrap());
        pair.inject(A, agreed[A].direction, &[0; 19]);
        pair.settle();
        let (at_a, at_b) = (pair.downs(A).remove(0), pair.downs(B).remove(0));
        assert!(matches!((&at_a, &at_b), (DownReason::Sent(_), DownReason::Received(_))), "{at_a} | {at_b}");
        assert_eq!((agreed[A].retain(&at_a), agreed[B].retain(&at_b)), (kept, kept));
    }
}

#[test]
fn what_a_person_said_is_read_out_of_a_hard_reset() {
    let mut pair = Pair::established(with_notification(A), with_notification(B));
    pair.stop(A, Stop::Cease(Notification::cease_saying(Cease::AdministrativeShutdown, "back at 5")));
    pair.settle();
    assert_eq!(pair.sessions[B].communication(), Some("back at 5"));
    let said = "received Cease / Hard Reset (Cease / Administrative Shutdown: \"back at 5\")";
    assert_eq!(pair.sessions[B].last_error(), Some(said));
}

#[test]
fn a_lost_path_ends_a_session_at_once_and_keeps_routes_only_where_both_the_owner_and_the_peer_let_it() {
    let cease = Notification::cease(Cease::BfdDown);
    let lost = DownReason::ConnectionLost("BFD: gone".to_owned());
    for (restart, may_keep, expected) in [
        (false, false, DownReason::Sent(cease.clone())),
        (false, true, DownReason::Sent(cease.clone())),
        (true, false, DownReason::Sent(cease.clone())),
        (true, true, lost),
    ] {
        let configs = if restart { [with_restart(A), with_restart(B)] } else { [config(A), config(B)] };
        let [a, b] = configs;
        let mut pair = Pair::established(a, b);
        let established = pair.sessions[A].established().cloned().unwrap();
        let notifications = pair.sent(A, NOTIFICATION);
        pair.lose_path(A, "BFD: gone", may_keep);
        assert_eq!(pair.downs(A), std::slice::from_ref(&expected), "{restart} {may_keep}");
        let kept = restart && may_keep;
        assert_eq!(established.retain(&expected).is_some(), kept);
        // A Cease would make the peer drop our routes too.
        assert_eq!(pair.sent(A, NOTIFICATION) - notifications, usize::from(!kept));
        let said = pair.sessions[A].last_error().unwrap();
        assert!(said.starts_with("BFD: gone") && said.contains("BFD Down") != kept, "{said}");
        pair.run_until("both Established", |pair| pair.states() == [State::Established; 2]);
    }
}

#[test]
fn a_lost_path_whose_routes_may_not_be_kept_is_a_hard_reset_to_a_peer_that_keeps_them_across_notifications() {
    let mut pair = Pair::established(with_notification(A), with_notification(B));
    let established = pair.sessions[B].established().cloned().unwrap();
    pair.lose_path(A, "BFD: gone", false);
    pair.settle();
    let heard = DownReason::Received(Notification::cease(Cease::BfdDown).hard_reset());
    assert_eq!(pair.downs(B), std::slice::from_ref(&heard));
    assert_eq!(established.retain(&heard), None);
}

#[test]
fn a_lost_path_leaves_a_session_that_is_not_up_alone() {
    let mut pair = Pair::new(config(A), config(B));
    pair.start(A);
    let state = pair.states()[A];
    pair.lose_path(A, "BFD: gone", false);
    assert_eq!((pair.states()[A], pair.downs(A)), (state, vec![]));
}
