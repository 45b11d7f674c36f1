//! Whatever comes, in whatever pieces.

use proptest::prelude::*;

use super::super::*;
use super::pair::{A, B, END_OF_RIB, Pair, address, config, keepalive, open, with_restart};
use crate::types::Asn;
use crate::wire::notification::Cease;

/// Anything that can befall a session.
#[derive(Clone, Debug)]
enum Doing {
    Start,
    Stop,
    /// So that routes are kept, or not.
    Reset(bool),
    Silent,
    Connected(bool),
    ConnectFailed,
    Closed(bool),
    Bytes(bool, Vec<u8>),
    Sent(usize),
    Send,
    Refresh,
    Unread,
    Wait(u64),
}

fn direction(outgoing: bool) -> Direction {
    if outgoing { Direction::Outgoing } else { Direction::Incoming }
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => Just(open(&with_restart(B)).to_vec()),
        1 => Just(open(&SessionConfig { local_as: Asn(1), ..config(B) }).to_vec()),
        6 => Just(keepalive().to_vec()),
        2 => Just(END_OF_RIB.repeat(3)),
        1 => Just([&[0xff; 16][..], &[0, 23, 5, 0, 1, 0, 1]].concat()),
        1 => Just([&[0xff; 16][..], &[0, 21, 3, 6, 4]].concat()),
        1 => proptest::collection::vec(any::<u8>(), 0..80),
        // A header that promises more.
        1 => (19u16..5000, 0u8..8).prop_map(|(length, kind)| {
            [&[0xff; 16][..], &length.to_be_bytes(), &[kind], &[0; 40]].concat()
        }),
    ]
}

fn doing() -> impl Strategy<Value = Doing> {
    prop_oneof![
        2 => Just(Doing::Start),
        1 => Just(Doing::Stop),
        1 => any::<bool>().prop_map(Doing::Reset),
        1 => Just(Doing::Silent),
        6 => any::<bool>().prop_map(Doing::Connected),
        1 => Just(Doing::ConnectFailed),
        2 => any::<bool>().prop_map(Doing::Closed),
        16 => (any::<bool>(), bytes()).prop_map(|(outgoing, bytes)| Doing::Bytes(outgoing, bytes)),
        1 => (0..3usize).prop_map(Doing::Sent),
        1 => Just(Doing::Send),
        1 => Just(Doing::Refresh),
        1 => Just(Doing::Unread),
        3 => (0..300u64).prop_map(Doing::Wait),
    ]
}

/// How far a session has come when its course begins: nowhere, OpenSent, OpenConfirm or Established.
const BEGINNINGS: [usize; 4] = [0, 2, 3, 4];

fn beginning(steps: usize) -> Vec<Doing> {
    let bytes = |bytes: Bytes| Doing::Bytes(true, bytes.to_vec());
    let all = [Doing::Start, Doing::Connected(true), bytes(open(&with_restart(B))), bytes(keepalive())];
    all.into_iter().take(steps).collect()
}

fn befall(session: &mut Session, now: &mut Instant, doing: Doing) {
    match doing {
        Doing::Start => session.start(*now),
        Doing::Stop => session.stop(*now, Stop::Cease(Notification::cease(Cease::AdministrativeShutdown))),
        Doing::Reset(plain) => {
            let cease = Notification::cease(Cease::AdministrativeReset);
            session.stop(*now, if plain { Stop::PlainReset(cease) } else { Stop::Reset(cease) });
        }
        Doing::Silent => session.stop(*now, Stop::Silent),
        Doing::Connected(outgoing) => {
            session.handle_connected(*now, direction(outgoing), address(A), address(B));
        }
        Doing::ConnectFailed => session.handle_connect_failed(*now, "refused".to_owned()),
        Doing::Closed(outgoing) => session.handle_closed(*now, direction(outgoing), "reset".to_owned()),
        Doing::Bytes(outgoing, bytes) => session.handle_bytes(*now, direction(outgoing), &bytes),
        Doing::Sent(pending) => session.handle_sent(*now, pending),
        Doing::Send => session.send(*now, Bytes::from_static(&END_OF_RIB)),
        Doing::Refresh => {
            session.request_refresh(*now, Family::Ipv4Unicast);
        }
        Doing::Unread => session.handle_unread(*now),
        Doing::Wait(seconds) => {
            *now = *now + Duration::from_secs(seconds);
            session.handle_timeout(*now);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_befalls_a_session_it_keeps_its_word_to_its_owner(
        begin in proptest::sample::select(BEGINNINGS.to_vec()),
        course in proptest::collection::vec(doing(), 0..60),
        graceful: bool,
        delays: bool,
    ) {
        let config = if graceful { with_restart(A) } else { config(A) };
        let config = SessionConfig { delay_open: delays.then_some(Duration::from_secs(60)), ..config };
        let mut session = Session::new(config, 7);
        let mut now = Instant::START + Duration::from_secs(1000);
        let mut up = false;
        for doing in beginning(begin).into_iter().chain(course) {
            befall(&mut session, &mut now, doing);
            while let Some(output) = session.poll() {
                match output {
                    Output::Up(_) => prop_assert!(!std::mem::replace(&mut up, true), "Up while up"),
                    Output::Down(_) => prop_assert!(std::mem::replace(&mut up, false), "Down while down"),
                    Output::Updates(updates) => prop_assert!(up && !updates.is_empty()),
                    Output::Refresh(_) => prop_assert!(up),
                    Output::Connect | Output::Close(_) | Output::Send(..) => {}
                }
            }
            prop_assert_eq!(session.established().is_some(), up);
            prop_assert_eq!(session.state() == State::Established, up);
            // Nothing is due that `handle_timeout` would leave due for ever.
            session.handle_timeout(now);
            prop_assert!(session.poll_timeout().is_none_or(|due| due > now), "a timer that is always due");
            while let Some(output) = session.poll() {
                prop_assert!(!matches!(output, Output::Up(_) | Output::Updates(_)));
                up &= !matches!(output, Output::Down(_));
            }
            let kept = session.outgoing.begun.len().max(session.incoming.as_ref().map_or(0, |one| one.begun.len()));
            prop_assert!(kept < 4096, "{kept} octets kept");
        }
        if session.started && session.state() != State::Established {
            prop_assert!(session.poll_timeout().is_some(), "a started session that waits for nothing: {session:?}");
        }
    }
}

#[test]
fn one_byte_at_a_time_is_as_good_as_all_at_once() {
    for segment in [1, 7, 19, 4096] {
        let mut pair = Pair::new(config(A), config(B));
        pair.segment = segment;
        pair.start(A);
        pair.start(B);
        pair.run_until("both Established", |pair| pair.states() == [State::Established; 2]);
        pair.sessions[A].send(pair.now, Bytes::from(END_OF_RIB.repeat(10)));
        pair.take(A);
        pair.settle();
        assert_eq!(pair.sessions[B].counters().received[1], 10, "{segment}");
    }
}

/// An OPEN of B with these capabilities, in one parameter of either kind.
fn open_with(capabilities: &[u8], extended: bool) -> Vec<u8> {
    let fixed = &open(&config(B))[19..28];
    let length = u16::try_from(capabilities.len()).unwrap();
    let parameters = if extended {
        [&[255, 255][..], &(length + 3).to_be_bytes(), &[2], &length.to_be_bytes()].concat()
    } else {
        let length = u8::try_from(length).unwrap();
        vec![length + 2, 2, length]
    };
    let body = [fixed, &parameters, capabilities].concat();
    let total = 19 + u16::try_from(body.len()).unwrap();
    [&[0xff; 16][..], &total.to_be_bytes(), &[1], &body].concat()
}

#[test]
fn unknown_empty_and_repeated_capabilities_change_nothing_of_what_is_agreed_on() {
    let agreed = |open: &[u8]| {
        let mut pair = Pair::new(config(A), config(B));
        pair.partition = true;
        pair.start(A);
        pair.sessions[A].handle_connected(pair.now, Direction::Outgoing, address(A), address(B));
        pair.inject(A, Direction::Outgoing, &[open, &keepalive()].concat());
        pair.sessions[A].established().cloned()
    };
    let plain = open(&config(B));
    let known = &plain[31..];
    let expected = agreed(&plain);
    assert!(expected.is_some());
    let unknown: Vec<u8> =
        [0u8, 3, 4, 66, 74, 128, 131, 255].into_iter().flat_map(|code| [code, 0, code, 1, 7]).collect();
    let other_as = [&b"\x41\x04"[..], &64999u32.to_be_bytes()].concat();
    for (what, capabilities) in [
        ("as they are", known.to_vec()),
        ("unknown ones before", [&unknown, known].concat()),
        ("unknown ones behind", [known, &unknown].concat()),
        (
            "empty ones of types that have a value",
            [known, b"\x01\x00\x41\x00\x40\x00\x45\x00\x05\x00\x09\x00\x47\x00"].concat(),
        ),
        ("each of them three times", known.repeat(3)),
        ("a hundred times", known.repeat(100)),
        ("another AS number behind", [known, &other_as].concat()),
    ] {
        for extended in [false, true] {
            if extended || capabilities.len() <= 253 {
                assert_eq!(agreed(&open_with(&capabilities, extended)), expected, "{what}, extended: {extended}");
            }
        }
    }
}

#[test]
fn what_follows_a_fatal_error_is_dropped() {
    let mut pair = Pair::established(config(A), config(B));
    let direction = pair.sessions[A].established().unwrap().direction;
    let bad = [0u8; 19];
    pair.inject(A, direction, &[&END_OF_RIB[..], &bad, &END_OF_RIB].concat());
    let batches: Vec<_> = pair.said[A]
        .iter()
        .filter_map(|output| match output {
            Output::Updates(updates) => Some(updates.len()),
            Output::Down(_) => Some(0),
            _ => None,
        })
        .collect();
    assert_eq!(batches, [1, 0], "one UPDATE, then down");
    assert_eq!(pair.sessions[A].counters().received[1], 1);
}

#[test]
fn a_session_that_waits_keeps_no_buffer() {
    let mut pair = Pair::established(config(A), config(B));
    let direction = pair.sessions[A].established().unwrap().direction;
    pair.inject(A, direction, &keepalive().repeat(3000));
    assert_eq!(pair.sessions[A].connection_mut(direction).unwrap().begun.capacity(), 0);
}
