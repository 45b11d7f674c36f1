//! One session, packet by packet.

use super::*;

const MS: Duration = Duration::from_millis(1);

fn at(millis: u64) -> Instant {
    Instant::from_start(Duration::from_millis(millis))
}

fn config(millis: u64, detect_mult: u8) -> SessionConfig {
    SessionConfig { min_interval: Duration::from_millis(millis), detect_mult, passive: false }
}

fn session(config: SessionConfig) -> Session {
    Session::new(config, NonZeroU32::new(7).unwrap(), 1, at(0))
}

/// A peer that sends and takes a packet each 200 ms, three of which may be lost.
fn from_peer(state: State) -> Packet {
    Packet {
        diagnostic: Diagnostic::NONE,
        state,
        poll: false,
        final_: false,
        control_plane_independent: false,
        demand: false,
        detect_mult: 3,
        my_discriminator: 9,
        your_discriminator: 7,
        desired_min_tx: 200_000,
        required_min_rx: 200_000,
        required_min_echo_rx: 0,
    }
}

fn sent(session: &mut Session) -> Vec<Packet> {
    std::iter::from_fn(|| session.poll_send()).collect()
}

fn changes(session: &mut Session) -> Vec<Change> {
    std::iter::from_fn(|| session.poll_change()).collect()
}

/// Runs its timers up to `until`, and says when it sent what.
fn run(session: &mut Session, until: Instant) -> Vec<(Instant, Packet)> {
    let mut log: Vec<_> = Vec::new();
    while let Some(now) = session.poll_timeout().filter(|now| *now <= until) {
        session.handle_timeout(now);
        log.extend(sent(session).into_iter().map(|packet| (now, packet)));
    }
    log
}

/// A session that is Up since 10 ms, its Poll Sequence answered.
fn up(config: SessionConfig) -> Session {
    let mut session = session(config);
    session.handle_packet(at(5), &from_peer(State::Init)).unwrap();
    session.handle_packet(at(10), &Packet { final_: true, ..from_peer(State::Up) }).unwrap();
    assert_eq!(session.status().state, State::Up);
    assert_eq!(changes(&mut session), [Change::Up]);
    sent(&mut session);
    session
}

#[test]
fn a_session_that_is_not_up_sends_once_a_second_less_jitter_and_says_so() {
    let mut session = session(config(300, 3));
    let first = sent(&mut session);
    assert_eq!(first.len(), 1);
    assert_eq!((first[0].state, first[0].desired_min_tx, first[0].required_min_rx), (State::Down, 1_000_000, 300_000));
    assert_eq!((first[0].your_discriminator, first[0].required_min_echo_rx), (0, 0));
    assert!(!first[0].control_plane_independent && !first[0].poll && !first[0].demand);
    let log = run(&mut session, at(60_000));
    let mut last = at(0);
    for (now, _) in &log {
        assert!((750 * MS..=1000 * MS).contains(&(*now - last)), "{:?}", *now - last);
        last = *now;
    }
    assert!((60..=80).contains(&log.len()), "{}", log.len());
}

#[test]
fn a_passive_session_is_silent_until_it_is_spoken_to() {
    let mut session = session(SessionConfig { passive: true, ..config(300, 3) });
    assert_eq!(session.poll_timeout(), None);
    assert!(sent(&mut session).is_empty());
    session.handle_packet(at(100), &Packet { your_discriminator: 0, ..from_peer(State::Down) }).unwrap();
    let answer = sent(&mut session);
    assert_eq!((answer[0].state, answer[0].your_discriminator), (State::Init, 9));
}

#[test]
fn a_session_comes_up_speeds_up_and_has_that_confirmed_by_a_poll_sequence() {
    let mut session = session(config(300, 3));
    sent(&mut session);
    session.handle_packet(at(5), &Packet { your_discriminator: 0, ..from_peer(State::Down) }).unwrap();
    let init = sent(&mut session);
    assert_eq!((init.len(), init[0].state, init[0].poll), (1, State::Init, false));
    session.handle_packet(at(10), &from_peer(State::Up)).unwrap();
    assert_eq!(changes(&mut session), [Change::Up]);
    let up = sent(&mut session);
    assert_eq!((up.len(), up[0].state, up[0].poll, up[0].desired_min_tx), (1, State::Up, true, 300_000));
    // Each packet polls until the answer is there.
    let log = run(&mut session, at(500));
    assert!(!log.is_empty() && log.iter().all(|(_, packet)| packet.poll), "{log:?}");
    session.handle_packet(at(500), &Packet { final_: true, ..from_peer(State::Up) }).unwrap();
    let log = run(&mut session, at(1000));
    assert!(!log.is_empty() && log.iter().all(|(_, packet)| !packet.poll), "{log:?}");
    assert!(!session.status().polling);
}

#[test]
fn packets_of_an_up_session_leave_within_75_to_100_percent_of_what_both_want_and_90_with_a_multiplier_of_1() {
    for (mult, ours, theirs, most) in [(3, 300, 200, 300), (3, 100, 200, 200), (1, 300, 200, 270)] {
        let mut session = up(config(ours, mult));
        let peer = Packet { required_min_rx: theirs * 1000, desired_min_tx: 60_000_000, ..from_peer(State::Up) };
        session.handle_packet(at(20), &peer).unwrap();
        sent(&mut session);
        let log = run(&mut session, at(60_000));
        let gaps: Vec<_> = log.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        let interval = ours.max(u64::from(theirs)) as u32 * MS;
        assert!(gaps.len() > 100);
        for gap in &gaps {
            assert!((interval / 4 * 3..=most * MS).contains(gap), "{mult} {ours} {theirs}: {gap:?}");
        }
        let spread = *gaps.iter().max().unwrap() - *gaps.iter().min().unwrap();
        assert!(spread > (most * MS - interval / 4 * 3) / 2, "{spread:?}");
    }
}

#[test]
fn silence_for_the_detection_time_and_no_shorter_takes_it_down() {
    // Theirs 200 ms and ours 300 ms: they send each 300 ms, and three may be lost.
    let mut session = up(config(300, 5));
    assert_eq!(session.status().detection_time, 900 * MS);
    run(&mut session, at(909));
    assert_eq!(session.status().state, State::Up);
    let log = run(&mut session, at(910));
    let down = Change::Down { cause: Cause::Expired, control_plane_independent: false };
    assert_eq!(changes(&mut session), [down]);
    // That is news, told at once, and the other end's number is forgotten (section 6.8.1).
    let last = log.last().unwrap();
    assert_eq!(
        (last.0, last.1.state, last.1.diagnostic.code(), last.1.your_discriminator),
        (at(910), State::Down, 1, 0)
    );
    assert_eq!(last.1.desired_min_tx, 1_000_000);
}

#[test]
fn the_other_end_says_why_it_is_down_and_whether_its_control_plane_may_be() {
    let mut session = up(config(300, 3));
    let diagnostic = Diagnostic::CONTROL_DETECTION_TIME_EXPIRED;
    let packet = Packet { diagnostic, control_plane_independent: true, ..from_peer(State::Down) };
    session.handle_packet(at(100), &packet).unwrap();
    let cause = Cause::Signaled(diagnostic);
    assert_eq!(changes(&mut session), [Change::Down { cause, control_plane_independent: true }]);
    assert!(cause.is_failure());
    assert_eq!(sent(&mut session)[0].diagnostic, Diagnostic::NEIGHBOR_SIGNALED_DOWN);
}

#[test]
fn admin_down_of_either_end_is_no_failure() {
    let mut session = up(config(300, 3));
    session.handle_packet(at(100), &from_peer(State::AdminDown)).unwrap();
    let [Change::Down { cause, .. }] = changes(&mut session)[..] else { panic!() };
    assert_eq!((cause, cause.is_failure()), (Cause::RemoteAdminDown, false));

    let mut session = up(config(300, 3));
    session.disable(at(100));
    let [Change::Down { cause, .. }] = changes(&mut session)[..] else { panic!() };
    assert_eq!((cause, cause.is_failure()), (Cause::LocalAdminDown, false));
    let said = sent(&mut session);
    assert_eq!((said[0].state, said[0].diagnostic), (State::AdminDown, Diagnostic::ADMINISTRATIVELY_DOWN));
    assert_eq!(session.farewell(), 3 * 1000 * MS);
    assert_eq!(session.handle_packet(at(110), &from_peer(State::Up)), Err(Discard::AdminDown));
    session.enable(at(5000));
    assert_eq!(session.status().state, State::Down);
    assert_eq!(sent(&mut session)[0].your_discriminator, 0);
}

#[test]
fn a_session_of_the_other_end_that_is_new_or_ends_is_no_failure_unless_it_says_that_it_lost_us() {
    let expired = Diagnostic::CONTROL_DETECTION_TIME_EXPIRED;
    let signaled = Diagnostic::NEIGHBOR_SIGNALED_DOWN;
    for (my_discriminator, diagnostic, failure) in [
        (9, Diagnostic::NONE, true),
        (9, expired, true),
        (9, signaled, false),
        (10, Diagnostic::NONE, false),
        (10, expired, true),
        (10, signaled, false),
    ] {
        let mut session = up(config(300, 3));
        session.handle_packet(at(100), &Packet { my_discriminator, diagnostic, ..from_peer(State::Down) }).unwrap();
        let [Change::Down { cause, .. }] = changes(&mut session)[..] else { panic!() };
        assert_eq!(cause.is_failure(), failure, "{my_discriminator} {diagnostic}");
        assert_eq!(session.status().state, State::Down);
    }
}

#[test]
fn a_slower_interval_waits_for_the_answer_and_a_faster_one_does_not() {
    let mut session = up(config(300, 3));
    // From 300 ms to 2 s: until F, we send as before and expect as before the change or after, whichever is longer.
    run(&mut session, at(800));
    session.handle_packet(at(800), &from_peer(State::Up)).unwrap();
    session.set_config(at(1000), config(2000, 3));
    assert_eq!(changes(&mut session), []);
    let said = sent(&mut session);
    assert_eq!((said[0].poll, said[0].desired_min_tx, said[0].required_min_rx), (true, 2_000_000, 2_000_000));
    let status = session.status();
    assert_eq!((status.transmit_interval, status.detection_time), (Some(300 * MS), 6000 * MS));
    session.handle_packet(at(1100), &Packet { final_: true, ..from_peer(State::Up) }).unwrap();
    assert_eq!(session.status().transmit_interval, Some(2000 * MS));
    sent(&mut session);

    // Back to 100 ms: we send faster at once, and expect more of them only when they have heard it. The poll begins when no
    // answer to the first can be under way any more.
    session.set_config(at(1200), config(100, 3));
    let status = session.status();
    assert_eq!((status.transmit_interval, status.detection_time), (Some(200 * MS), 6000 * MS));
    assert!(!sent(&mut session)[0].poll);
    session.handle_packet(at(1300), &Packet { final_: true, ..from_peer(State::Up) }).unwrap();
    assert_eq!(session.status().detection_time, 6000 * MS, "that F answers nothing");
    let log = run(&mut session, at(7299));
    assert!(log.last().unwrap().1.poll && !log[0].1.poll);
    session.handle_packet(at(7299), &Packet { final_: true, ..from_peer(State::Up) }).unwrap();
    assert_eq!(session.status().detection_time, 600 * MS);
}

#[test]
fn the_first_packet_after_an_answer_leaves_by_the_old_interval_for_an_older_one_may_have_come_late() {
    let mut session = up(config(300, 3));
    run(&mut session, at(800));
    session.handle_packet(at(800), &from_peer(State::Up)).unwrap();
    session.set_config(at(1000), config(1000, 3));
    sent(&mut session);
    session.handle_packet(at(1010), &Packet { final_: true, ..from_peer(State::Up) }).unwrap();
    let log = run(&mut session, at(3500));
    let gaps: Vec<_> = log.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert!(log[0].0 <= at(1300), "{:?}", log.iter().map(|it| it.0).collect::<Vec<_>>());
    assert!(!gaps.is_empty() && gaps.iter().all(|gap| *gap >= 750 * MS), "{gaps:?}");
}

#[test]
fn a_change_during_a_poll_sequence_is_followed_by_another_sequence() {
    let mut session = up(config(300, 3));
    session.handle_packet(at(2000), &from_peer(State::Up)).unwrap();
    session.set_config(at(2000), config(1000, 3));
    session.set_config(at(2001), config(500, 3));
    sent(&mut session);
    // It may answer the first of the two.
    session.handle_packet(at(2010), &Packet { final_: true, ..from_peer(State::Up) }).unwrap();
    let status = session.status();
    assert_eq!((status.transmit_interval, status.detection_time, status.polling), (Some(300 * MS), 3000 * MS, true));
    for millis in (2100..5000).step_by(100) {
        run(&mut session, at(millis));
        session.handle_packet(at(millis), &from_peer(State::Up)).unwrap();
    }
    let log = run(&mut session, at(5500));
    assert!(log.last().unwrap().1.poll, "{log:?}");
    session.handle_packet(at(5500), &Packet { final_: true, ..from_peer(State::Up) }).unwrap();
    let status = session.status();
    assert_eq!((status.transmit_interval, status.detection_time, status.polling), (Some(500 * MS), 1500 * MS, false));
}

#[test]
fn a_poll_is_answered_at_once_and_is_not_polled_back() {
    let mut session = up(config(300, 3));
    session.handle_packet(at(100), &Packet { poll: true, ..from_peer(State::Up) }).unwrap();
    let answer = sent(&mut session);
    assert_eq!((answer.len(), answer[0].final_, answer[0].poll), (1, true, false));
    // Not even while a sequence of our own is under way.
    session.set_config(at(2000), config(400, 3));
    sent(&mut session);
    session.handle_packet(at(2001), &Packet { poll: true, ..from_peer(State::Up) }).unwrap();
    let answer = sent(&mut session);
    assert_eq!((answer.len(), answer[0].final_, answer[0].poll), (1, true, false));
}

#[test]
fn a_peer_that_floods_is_answered_no_faster_than_anybody_needs() {
    let mut session = up(config(300, 3));
    let mut answers = 0;
    for n in 0..100_000u64 {
        let now = Instant::from_start(Duration::from_millis(1000) + Duration::from_micros(n * 10));
        let state = if n % 2 == 0 { State::Down } else { State::Init };
        session.handle_packet(now, &Packet { poll: true, ..from_peer(state) }).unwrap();
        answers += sent(&mut session).len();
        changes(&mut session);
    }
    assert!(answers <= 130, "{answers} in a second");
}

#[test]
fn a_peer_in_demand_mode_is_sent_nothing_while_both_are_up() {
    let mut session = up(config(300, 3));
    session.handle_packet(at(100), &Packet { demand: true, ..from_peer(State::Up) }).unwrap();
    assert_eq!(session.status().transmit_interval, None);
    // A poll of its own, and one of ours, are exchanged all the same (sections 6.5 and 6.6).
    session.handle_packet(at(200), &Packet { demand: true, poll: true, ..from_peer(State::Up) }).unwrap();
    assert!(sent(&mut session)[0].final_);
    session.handle_packet(at(900), &Packet { demand: true, ..from_peer(State::Up) }).unwrap();
    session.set_config(at(1000), config(500, 3));
    assert!(sent(&mut session)[0].poll);
    session.handle_packet(at(1010), &Packet { demand: true, final_: true, ..from_peer(State::Up) }).unwrap();
    assert_eq!(session.status().transmit_interval, None);
    // It is still expected to send: Demand mode is one end's.
    assert!(run(&mut session, at(2509)).is_empty());
    assert_eq!(session.status().state, State::Up);
    run(&mut session, at(2511));
    assert_eq!(session.status().state, State::Down);
}

#[test]
fn a_peer_that_wants_nothing_is_sent_nothing_but_answers() {
    let mut session = up(config(300, 3));
    session.handle_packet(at(100), &Packet { required_min_rx: 0, ..from_peer(State::Up) }).unwrap();
    assert_eq!(session.status().transmit_interval, None);
    session.handle_packet(at(200), &Packet { required_min_rx: 0, poll: true, ..from_peer(State::Up) }).unwrap();
    assert!(sent(&mut session)[0].final_);
}

#[test]
fn a_peer_that_takes_more_is_sent_more_at_once() {
    let mut session = up(config(100, 3));
    let slow = Packet { required_min_rx: 10_000_000, desired_min_tx: 10_000_000, ..from_peer(State::Up) };
    session.handle_packet(at(100), &slow).unwrap();
    let log = run(&mut session, at(5000));
    assert!(log.len() <= 1, "{log:?}");
    // The last packet left long ago, by the new interval: the next one is due now (section 6.8.3).
    let fast = Packet { required_min_rx: 100_000, desired_min_tx: 10_000_000, ..from_peer(State::Up) };
    session.handle_packet(at(5000), &fast).unwrap();
    assert!(session.poll_timeout().unwrap() <= at(5000));
}
