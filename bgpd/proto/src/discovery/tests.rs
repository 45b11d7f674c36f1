//! Scripts with time stamps.

use proptest::prelude::*;

use super::packet::HOP_LIMIT;
use super::*;

const OWN: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const A: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xa);
const B: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xb);

fn at(seconds: u64) -> Instant {
    Instant::from_start(Duration::from_secs(1000 + seconds))
}

fn said(discovery: &mut Discovery) -> Vec<Output> {
    std::iter::from_fn(|| discovery.poll()).collect()
}

/// What is said but messages.
fn news(discovery: &mut Discovery) -> Vec<Output> {
    said(discovery).into_iter().filter(|output| !matches!(output, Output::Send(_))).collect()
}

fn up() -> Discovery {
    let mut discovery = Discovery::new();
    discovery.handle_end(at(0), End::Up(OWN));
    said(&mut discovery);
    discovery
}

fn advertise(discovery: &mut Discovery, seconds: u64, source: Ipv6Addr) {
    discovery.handle_message(at(seconds), source, HOP_LIMIT, &Packet::Advertisement.encode());
}

#[test]
fn a_link_that_comes_up_is_asked_for_its_routers_and_hears_of_us_often_at_first() {
    let mut discovery = Discovery::new();
    assert_eq!(discovery.poll_timeout(), None);
    discovery.handle_end(at(0), End::Up(OWN));
    let mut sent = vec![(0, said(&mut discovery))];
    while let Some(next) = discovery.poll_timeout().filter(|next| *next < at(36)) {
        discovery.handle_timeout(next);
        sent.push((next.saturating_since(at(0)).as_secs(), said(&mut discovery)));
    }
    let (ra, rs) = (Output::Send(Packet::Advertisement), Output::Send(Packet::Solicitation));
    let both = vec![rs, ra.clone()];
    let wanted = [0, 1, 3]
        .map(|second| (second, both.clone()))
        .into_iter()
        .chain([7, 15, 25, 35].map(|second| (second, vec![ra.clone()])));
    assert_eq!(sent, wanted.collect::<Vec<_>>());
}

#[test]
fn a_solicitation_is_answered_at_once_but_not_more_often_than_every_three_seconds() {
    let mut discovery = up();
    discovery.handle_timeout(at(15));
    discovery.handle_timeout(at(30));
    said(&mut discovery);
    let ask = |discovery: &mut Discovery, second| {
        discovery.handle_message(at(second), A, HOP_LIMIT, &Packet::Solicitation.encode());
        said(discovery).len()
    };
    assert_eq!((ask(&mut discovery, 31), ask(&mut discovery, 33), ask(&mut discovery, 34)), (0, 1, 0));
    assert!(discovery.poll_timeout() <= Some(at(36)), "the one that came too early is answered a little later");
}

#[test]
fn the_first_router_that_is_heard_is_the_neighbour_and_a_second_one_is_refused_once() {
    let mut discovery = up();
    advertise(&mut discovery, 1, OWN);
    assert_eq!(news(&mut discovery), []);
    advertise(&mut discovery, 2, A);
    assert_eq!(news(&mut discovery), [Output::Found(A)]);
    for second in [3, 13, 23] {
        advertise(&mut discovery, second, A);
        advertise(&mut discovery, second, B);
        assert!(!discovery.handle_connection(at(second), B));
    }
    assert_eq!(news(&mut discovery), [Output::Refused(B)]);
    assert!(discovery.status(at(25)).contains("fe80::b is on the link too"), "{}", discovery.status(at(25)));
    assert!(discovery.handle_connection(at(26), A));
}

#[test]
fn a_flood_from_many_routers_moves_no_neighbour_with_a_session_and_is_told_once_a_minute() {
    let mut discovery = up();
    advertise(&mut discovery, 0, A);
    discovery.handle_session(at(0), true);
    assert_eq!(news(&mut discovery), [Output::Found(A)]);
    let mut told = 0;
    for second in 1..=120 {
        for stranger in 0x100..0x164 {
            let source = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, stranger);
            advertise(&mut discovery, second, source);
            discovery.handle_message(at(second), source, HOP_LIMIT, &Packet::Solicitation.encode());
        }
        let said = said(&mut discovery);
        told += said.iter().filter(|output| matches!(output, Output::Refused(_))).count();
        assert!(said.len() <= 2, "{said:?}");
        assert_eq!(discovery.neighbour().map(|neighbour| neighbour.address), Some(A));
    }
    assert_eq!(told, 2);
}

#[test]
fn a_neighbour_whose_address_has_changed_is_found_again_when_its_old_one_is_silent_and_without_a_session() {
    let mut discovery = up();
    advertise(&mut discovery, 0, A);
    discovery.handle_session(at(1), true);
    advertise(&mut discovery, 100, B);
    discovery.handle_session(at(101), false);
    advertise(&mut discovery, 110, B);
    assert_eq!(news(&mut discovery), [Output::Found(A), Output::Refused(B)]);
    advertise(&mut discovery, 132, B);
    assert_eq!(news(&mut discovery), [Output::Found(B)]);
    assert!(!discovery.status(at(132)).contains("refused"));
}

#[test]
fn a_neighbour_is_lost_with_the_link_or_with_our_address_and_found_anew() {
    let mut discovery = up();
    advertise(&mut discovery, 0, A);
    said(&mut discovery);
    for end in [End::Down("interface eth0 is gone".to_owned()), End::Up(B)] {
        discovery.handle_end(at(5), end.clone());
        assert!(matches!(news(&mut discovery).as_slice(), [Output::Lost(_)]), "{end:?}");
        advertise(&mut discovery, 6, A);
        assert_eq!(discovery.handle_connection(at(6), A), end == End::Up(B));
        discovery.handle_end(at(7), End::Up(OWN));
        assert!(said(&mut discovery).contains(&Output::Send(Packet::Advertisement)));
        advertise(&mut discovery, 8, A);
        assert!(news(&mut discovery).contains(&Output::Found(A)));
    }
    discovery.handle_end(at(9), End::Up(OWN));
    assert_eq!(said(&mut discovery), []);
}

proptest! {
    /// Whoever says what: there is a neighbour exactly between `Found` and `Lost`, it is never ourselves, and with a session
    /// it stays.
    #[test]
    fn there_is_one_neighbour_at_a_time(events in prop::collection::vec((0u8..7, 0u64..40), 0..60)) {
        let mut discovery = Discovery::new();
        let (mut now, mut known, mut session, mut sent) = (0, None, false, 0u64);
        for (event, pause) in events {
            now += pause;
            let before = discovery.neighbour().map(|neighbour| neighbour.address);
            let link_changed = event < 2;
            match event {
                0 => discovery.handle_end(at(now), End::Up(OWN)),
                1 => discovery.handle_end(at(now), End::Down("gone".to_owned())),
                2 => advertise(&mut discovery, now, A),
                3 => advertise(&mut discovery, now, B),
                4 => { discovery.handle_connection(at(now), [A, B, OWN][(pause % 3) as usize]); }
                5 => { session = known.is_some() && pause % 2 == 0; discovery.handle_session(at(now), session); }
                _ => discovery.handle_timeout(at(now)),
            }
            for output in said(&mut discovery) {
                match output {
                    Output::Found(address) => known = Some(address),
                    Output::Lost(_) => (known, session) = (None, false),
                    Output::Send(_) => sent += 1,
                    Output::Refused(address) => prop_assert_ne!(Some(address), known),
                }
            }
            prop_assert_eq!(discovery.neighbour().map(|neighbour| neighbour.address), known);
            prop_assert_ne!(known, Some(OWN));
            prop_assert!(!session || link_changed || known == before);
        }
        prop_assert!(sent <= 200);
    }
}
