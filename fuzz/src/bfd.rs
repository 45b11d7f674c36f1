//! BFD by datagrams: what is read is what was written, and whatever comes the sessions keep to their table, their pace and their
//! owner.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bgp_proto::bfd::packet::LEN;
use bgp_proto::bfd::state::{self, Event};
use bgp_proto::bfd::{Change, Hops, Output, Packet, Received, SessionConfig, Sessions, State, Target};
use bgp_proto::time::Instant;

/// A datagram's payload. What it is read as is written as it came, but for octets that nobody reads.
pub fn bfd_packet(payload: &[u8]) {
    let Ok(packet) = Packet::decode(payload) else { return };
    let mut written = packet.encode();
    assert_eq!(Packet::decode(&written), Ok(packet));
    // The length may have counted what is behind the packet.
    written[3] = payload[3];
    assert_eq!(written[..], payload[..LEN]);
}

/// Octets of one step: how it comes, and a packet.
const STEP: usize = 2 + LEN;
/// What our own BFD sends at most beside what an interval of 10 ms allows: some at once, and news and answers each 10 ms.
const AT_ONCE: u128 = 24;

/// Datagrams to two sessions, one over a single hop and one over many, behind an octet that says what the sessions are told.
/// Each step's two octets say how long nothing came, from whom and how the datagram came, and what of it is forged so well that
/// it is taken.
pub fn bfd_sessions(data: &[u8]) {
    let Some((how, steps)) = data.split_first() else { return };
    let config = SessionConfig {
        min_interval: Duration::from_millis(10 + 40 * u64::from(how & 0x0f)),
        detect_mult: 1 + (how >> 4 & 3),
        passive: how & 0x40 != 0,
    };
    let begun = Instant::START + Duration::from_secs(1);
    let mut now = begun;
    let mut sessions = Sessions::new(7);
    sessions.set(now, target(0), Hops::Single, config);
    sessions.set(now, target(1), Hops::Multi { least_ttl: 250 }, config);
    let mut owner = Owner::default();
    owner.take(&mut sessions);
    for step in steps.chunks(STEP) {
        let [wait, way, payload @ ..] = step else { break };
        let end = now + Duration::from_millis(u64::from(*wait) * 4);
        now = run(&mut sessions, &mut owner, now, end);
        befall(&mut sessions, now, *way, payload);
        owner.take(&mut sessions);
        owner.check(&sessions);
    }
    let elapsed = (now - begun).as_millis();
    // Two sessions; with jitter, a packet at three quarters of the interval.
    let most = 2 * (AT_ONCE + elapsed / 10 + elapsed * 4 / (3 * config.min_interval.as_millis()));
    assert!(owner.sent <= most, "{} packets in {elapsed} ms, {most} at most", owner.sent);
    silence(&mut sessions, now);
}

/// Lets time go on, timer by timer.
fn run(sessions: &mut Sessions, owner: &mut Owner, mut now: Instant, end: Instant) -> Instant {
    while let Some(due) = sessions.poll_timeout().filter(|due| *due <= end) {
        now = now.max(due);
        sessions.handle_timeout(now);
        owner.take(sessions);
        assert!(sessions.poll_timeout().is_none_or(|due| due > now), "due once more at once");
    }
    end
}

fn befall(sessions: &mut Sessions, now: Instant, way: u8, payload: &[u8]) {
    let (from, bit) = (way & 1, |number: u8| way & 1 << number != 0);
    let other = SessionConfig { min_interval: Duration::from_millis(10 * u64::from(way)), ..SessionConfig::default() };
    match (payload.is_empty(), bit(1)) {
        (false, _) => {}
        (true, true) => return sessions.remove(now, target(from)),
        (true, false) => return sessions.set(now, target(from), hops(from), other),
    }
    let mut octets = payload.to_vec();
    let id = sessions.status(target(from)).map_or(0, |status| status.local_discriminator);
    if bit(2) && octets.len() == LEN {
        // A sound packet of this session.
        (octets[0], octets[3]) = (0x20 | octets[0] & 0x1f, 24);
        octets[1] &= 0xfa;
        octets[2] = octets[2].max(1);
        octets[7] |= 1;
        octets[8..12].copy_from_slice(&id.to_be_bytes());
    }
    let ttl = if bit(3) { None } else { Some(255 - (way >> 5)) };
    let datagram = Received { source: target(from), ttl, single_hop: (from == 0) != bit(4), payload: &octets };
    let before = sessions.status(target(from)).map(|status| status.state);
    let taken = sessions.handle_datagram(now, &datagram);
    let after = sessions.status(target(from)).map(|status| status.state);
    match taken {
        // Section 6.8.6, by the table.
        Ok(()) => {
            let packet = Packet::decode(&octets).expect("taken, so it reads");
            let expected = before.map(|state| state::step(state, Event::Received(packet.state)).next);
            assert_eq!(after, expected, "{before:?} by {packet:?}");
            assert!(packet.your_discriminator == 0 || packet.your_discriminator == id);
            assert!(ttl.is_some_and(|ttl| ttl >= if from == 0 { 255 } else { 250 }));
        }
        Err(_) => assert_eq!(after, before, "a discarded packet changes nothing"),
    }
}

/// Nobody is believed to be there for ever.
fn silence(sessions: &mut Sessions, now: Instant) {
    for from in [0, 1] {
        let Some(status) = sessions.status(target(from)) else { continue };
        sessions.handle_timeout(now + status.detection_time);
        let state = sessions.status(target(from)).map(|status| status.state);
        assert!(
            !matches!(state, Some(State::Up | State::Init)),
            "{state:?} after {:?} of silence",
            status.detection_time
        );
    }
}

/// What the owner of the sessions was told.
#[derive(Default)]
struct Owner {
    up: [bool; 2],
    sent: u128,
}

impl Owner {
    fn take(&mut self, sessions: &mut Sessions) {
        while let Some(output) = sessions.poll() {
            match output {
                Output::Send { target, octets, .. } => {
                    let packet = Packet::decode(&octets).expect("our own packet");
                    assert!(!(packet.demand || packet.poll && packet.final_), "{packet:?}");
                    let status = sessions.status(target);
                    assert!(status.is_none_or(|status| status.local_discriminator == packet.my_discriminator));
                    self.sent += 1;
                }
                Output::Change { target, change } => {
                    let up = change == Change::Up;
                    assert_ne!(std::mem::replace(&mut self.up[number(target)], up), up, "{change:?} twice");
                }
                Output::Gone { target } => assert!(!self.up[number(target)], "gone while it is up"),
            }
        }
    }

    fn check(&self, sessions: &Sessions) {
        for (target, _, status, _, _) in sessions.iter() {
            assert_eq!(status.state == State::Up, self.up[number(target)]);
            assert_eq!(status.ups - status.downs, u64::from(self.up[number(target)]));
        }
    }
}

fn target(last: u8) -> Target {
    Target { address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)), scope: 0 }
}

fn number(target: Target) -> usize {
    usize::from(target != self::target(0))
}

fn hops(last: u8) -> Hops {
    if last == 0 { Hops::Single } else { Hops::Multi { least_ttl: 250 } }
}
