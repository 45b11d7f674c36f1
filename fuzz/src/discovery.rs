//! The neighbour on an unnumbered link, by ICMPv6 messages: what RFC 4861 tells to discard is discarded, and whatever comes there
//! is one neighbour, who is not replaced while there is a session.

use std::net::Ipv6Addr;
use std::time::Duration;

use bgp_proto::discovery::packet::{ADVERTISEMENT, Packet, SOLICITATION};
use bgp_proto::discovery::{Discovery, End, Output, SILENCE};
use bgp_proto::time::Instant;

const OWN: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// Messages, each behind three octets: who sends it, how it comes and what else happens; how long nothing came before; its
/// length.
pub fn router_discovery(data: &[u8]) {
    let mut now = Instant::START + Duration::from_secs(1);
    let begun = now;
    let mut discovery = Discovery::new();
    discovery.handle_end(now, End::Up(OWN));
    let mut seen = Seen { neighbour: None, session: false, heard: now, sent: 0 };
    let (mut rest, mut steps) = (data, 0u64);
    while let [how, wait, length, after @ ..] = rest {
        let (message, next) = after.split_at(usize::from(*length).min(after.len()));
        (rest, steps) = (next, steps + 1);
        let end = now + Duration::from_millis(u64::from(*wait) * 200);
        while let Some(due) = discovery.poll_timeout().filter(|due| *due <= end) {
            now = now.max(due);
            discovery.handle_timeout(now);
            seen.take(&mut discovery, now);
        }
        now = end;
        let source = source(how & 7);
        match how >> 3 & 7 {
            0 => {
                discovery.handle_session(now, true);
                (seen.session, seen.heard) = (seen.neighbour.is_some(), now);
                // Without a neighbour nobody has a session.
                if !seen.session {
                    discovery.handle_session(now, false);
                }
            }
            1 => {
                discovery.handle_session(now, false);
                (seen.session, seen.heard) = (false, now);
            }
            2 => {
                let admitted = discovery.handle_connection(now, source);
                seen.take(&mut discovery, now);
                assert_eq!(admitted, seen.neighbour == Some(source) && source != OWN);
            }
            way => {
                let hop_limit = if way == 3 { 254 } else { 255 };
                one_message(message, source, hop_limit);
                discovery.handle_message(now, source, hop_limit, message);
            }
        }
        seen.take(&mut discovery, now);
        assert_eq!(discovery.neighbour().map(|neighbour| neighbour.address), seen.neighbour);
        assert!(!discovery.status(now).is_empty());
        assert!(discovery.poll_timeout().is_none_or(|due| due >= now));
    }
    // The first ones, one in 3 s (those that answer too), and with each of the first three a solicitation.
    let most = 8 + (now - begun).as_secs() / 3 + steps.min(3);
    assert!(seen.sent <= most, "{} messages in {:?}, {most} at most", seen.sent, now - begun);
}

/// A message that is understood is what RFC 4861 sections 6.1.1 and 6.1.2 let through.
fn one_message(message: &[u8], source: Ipv6Addr, hop_limit: u8) {
    let Some(packet) = Packet::parse(message, source, hop_limit) else { return };
    let (kind, fixed) = match packet {
        Packet::Solicitation => (SOLICITATION, 8),
        Packet::Advertisement => (ADVERTISEMENT, 16),
    };
    assert_eq!((message[0], message[1], hop_limit), (kind, 0, 255));
    assert!(source.is_unicast_link_local() || packet == Packet::Solicitation && source.is_unspecified());
    let mut at = fixed;
    while at < message.len() {
        let units = usize::from(message[at + 1]);
        assert!(units > 0, "an option of length 0 at {at}");
        assert!(!source.is_unspecified() || message[at] != 1, "the link-layer address of nobody at {at}");
        at += 8 * units;
    }
    assert_eq!(at, message.len(), "the options end where the message does");
    assert_eq!(Packet::parse(&packet.encode(), source, hop_limit), Some(packet));
}

/// What the owner was told.
struct Seen {
    neighbour: Option<Ipv6Addr>,
    session: bool,
    /// When the neighbour was found, or its session began or ended.
    heard: Instant,
    sent: u64,
}

impl Seen {
    fn take(&mut self, discovery: &mut Discovery, now: Instant) {
        while let Some(output) = discovery.poll() {
            match output {
                Output::Send(_) => self.sent += 1,
                Output::Found(address) => {
                    assert_ne!(address, OWN);
                    assert!(!self.session, "another neighbour while there is a session");
                    assert!(self.neighbour.is_none() || now - self.heard >= SILENCE, "another neighbour so soon");
                    (self.neighbour, self.heard) = (Some(address), now);
                }
                Output::Refused(address) => assert!(self.neighbour.is_some_and(|known| known != address)),
                Output::Lost(reason) => panic!("the link is there: {reason}"),
            }
        }
    }
}

/// Two on the link, ourselves, nobody, and some who are not on it.
fn source(number: u8) -> Ipv6Addr {
    match number {
        0 => OWN,
        1 => Ipv6Addr::UNSPECIFIED,
        2 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7),
        3 => Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
        other => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 10 + u16::from(other)),
    }
}
