//! BMP, the side of a router (RFC 7854; RFC 9069 for Loc-RIB): messages as bytes. What is sent when is its owner's.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::types::{Asn, RouterId};

const VERSION: u8 = 3;
const COMMON_HEADER: usize = 6;

/// Which table a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Adj-RIB-In as it came (RFC 7854).
    PrePolicy,
    /// What the import filter made of it (RFC 7854 section 4.2, the L flag).
    PostPolicy,
    /// The best paths (RFC 9069).
    LocRib,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::PrePolicy, Self::PostPolicy, Self::LocRib];

    /// The name that configuration and the command line use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PrePolicy => "pre-policy",
            Self::PostPolicy => "post-policy",
            Self::LocRib => "loc-rib",
        }
    }
}

/// Whom a message is about: the Per-Peer Header (RFC 7854 section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerHeader {
    /// The table.
    pub stage: Stage,
    /// The peer's address; ignored for Loc-RIB.
    pub address: IpAddr,
    /// The peer's AS; for Loc-RIB ours.
    pub asn: Asn,
    /// The peer's BGP Identifier; for Loc-RIB ours.
    pub router_id: RouterId,
    /// Since the epoch.
    pub time: Duration,
}

/// Why a session ended (RFC 7854 section 4.9, RFC 9069 section 5.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerDown {
    /// 1: we sent this NOTIFICATION, a whole message.
    Notified(Vec<u8>),
    /// 2: we closed without one, for this event of the state machine (0: none of them).
    Closed(u16),
    /// 3: the peer sent this NOTIFICATION, a whole message.
    RemoteNotified(Vec<u8>),
    /// 4: the connection ended.
    RemoteClosed,
    /// 5: the peer is monitored no more.
    Deconfigured,
    /// 6: Loc-RIB is monitored no more.
    LocRib,
}

/// A value of a Stats Report (RFC 7854 section 4.8, RFC 8671 section 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistic {
    /// 0: prefixes that the import filter rejects.
    Rejected(u32),
    /// 7: routes in Adj-RIB-In.
    AdjRibIn(u64),
    /// 8: routes in Loc-RIB.
    LocRib(u64),
    /// 9: routes in Adj-RIB-In of a family.
    AdjRibInOf(u16, u8, u64),
    /// 15: routes in Adj-RIB-Out behind the export filter.
    AdjRibOut(u64),
}

/// Initiation: who is speaking.
#[must_use]
pub fn initiation(system_name: &str, system_description: &str) -> Vec<u8> {
    let mut out = begin(4);
    put_tlv(&mut out, 1, system_description.as_bytes());
    put_tlv(&mut out, 2, system_name.as_bytes());
    end(out)
}

/// Termination: the session was closed by a person, or the speaker stops (reason 0).
#[must_use]
pub fn termination(text: &str) -> Vec<u8> {
    let mut out = begin(5);
    put_tlv(&mut out, 0, text.as_bytes());
    put_tlv(&mut out, 1, &0u16.to_be_bytes());
    end(out)
}

/// Route Monitoring: one whole UPDATE.
#[must_use]
pub fn route_monitoring(peer: &PeerHeader, update: &[u8]) -> Vec<u8> {
    let mut out = begin(0);
    put_peer(&mut out, peer);
    out.extend_from_slice(update);
    end(out)
}

/// Peer Up: our end of the connection, both ports, both OPENs as they were.
#[must_use]
pub fn peer_up(peer: &PeerHeader, local: IpAddr, ports: (u16, u16), sent_open: &[u8], received_open: &[u8]) -> Vec<u8> {
    let mut out = begin(3);
    put_peer(&mut out, peer);
    match peer.stage {
        // RFC 9069 section 5.1: no address, no ports, and the table's name.
        Stage::LocRib => out.extend_from_slice(&[0; 20]),
        Stage::PrePolicy | Stage::PostPolicy => {
            out.extend_from_slice(&address_octets(local));
            out.extend_from_slice(&ports.0.to_be_bytes());
            out.extend_from_slice(&ports.1.to_be_bytes());
        }
    }
    out.extend_from_slice(sent_open);
    out.extend_from_slice(received_open);
    if peer.stage == Stage::LocRib {
        put_tlv(&mut out, 3, TABLE);
    }
    end(out)
}

/// The name of the only table that there is.
const TABLE: &[u8] = b"global";

/// Peer Down.
#[must_use]
pub fn peer_down(peer: &PeerHeader, reason: &PeerDown) -> Vec<u8> {
    let mut out = begin(2);
    put_peer(&mut out, peer);
    match reason {
        PeerDown::Notified(message) => put(&mut out, 1, message),
        PeerDown::Closed(event) => put(&mut out, 2, &event.to_be_bytes()),
        PeerDown::RemoteNotified(message) => put(&mut out, 3, message),
        PeerDown::RemoteClosed => put(&mut out, 4, &[]),
        PeerDown::Deconfigured => put(&mut out, 5, &[]),
        PeerDown::LocRib => {
            put(&mut out, 6, &[]);
            put_tlv(&mut out, 3, TABLE);
        }
    }
    end(out)
}

/// Stats Report.
#[must_use]
pub fn stats_report(peer: &PeerHeader, statistics: &[Statistic]) -> Vec<u8> {
    let mut out = begin(1);
    put_peer(&mut out, peer);
    out.extend_from_slice(&(statistics.len() as u32).to_be_bytes());
    for statistic in statistics {
        match statistic {
            Statistic::Rejected(count) => put_tlv(&mut out, 0, &count.to_be_bytes()),
            Statistic::AdjRibIn(count) => put_tlv(&mut out, 7, &count.to_be_bytes()),
            Statistic::LocRib(count) => put_tlv(&mut out, 8, &count.to_be_bytes()),
            Statistic::AdjRibInOf(afi, safi, count) => {
                put_tlv(&mut out, 9, &[&afi.to_be_bytes()[..], &[*safi], &count.to_be_bytes()].concat());
            }
            Statistic::AdjRibOut(count) => put_tlv(&mut out, 15, &count.to_be_bytes()),
        }
    }
    end(out)
}

fn begin(kind: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    out.extend_from_slice(&[VERSION, 0, 0, 0, 0, kind]);
    debug_assert_eq!(out.len(), COMMON_HEADER);
    out
}

fn end(mut out: Vec<u8>) -> Vec<u8> {
    let length = out.len() as u32;
    out[1..5].copy_from_slice(&length.to_be_bytes());
    out
}

fn put(out: &mut Vec<u8>, first: u8, rest: &[u8]) {
    out.push(first);
    out.extend_from_slice(rest);
}

/// A value longer than its length can say is cut.
fn put_tlv(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let value = &value[..value.len().min(usize::from(u16::MAX))];
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&(value.len() as u16).to_be_bytes());
    out.extend_from_slice(value);
}

fn put_peer(out: &mut Vec<u8>, peer: &PeerHeader) {
    let v6 = if peer.address.is_ipv6() { 0x80 } else { 0 };
    let (kind, flags, address) = match peer.stage {
        Stage::PrePolicy => (0, v6, peer.address),
        Stage::PostPolicy => (0, v6 | 0x40, peer.address),
        Stage::LocRib => (3, 0, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
    };
    out.extend_from_slice(&[kind, flags]);
    // The Peer Distinguisher: there are no VRFs.
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&address_octets(address));
    out.extend_from_slice(&peer.asn.0.to_be_bytes());
    out.extend_from_slice(&peer.router_id.0.octets());
    out.extend_from_slice(&u32::try_from(peer.time.as_secs()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(&peer.time.subsec_micros().to_be_bytes());
}

/// 16 octets; an IPv4 address is the last four of them.
fn address_octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let mut octets = [0; 16];
            octets[12..].copy_from_slice(&address.octets());
            octets
        }
        IpAddr::V6(address) => address.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(stage: Stage, address: &str) -> PeerHeader {
        PeerHeader {
            stage,
            address: address.parse().unwrap(),
            asn: Asn(65001),
            router_id: RouterId([192, 0, 2, 1].into()),
            time: Duration::new(0x0102_0304, 5_000),
        }
    }

    #[test]
    fn a_message_says_its_own_length_and_its_type() {
        let header = peer(Stage::PrePolicy, "192.0.2.9");
        for (message, kind, length) in [
            (route_monitoring(&header, &[7; 23]), 0, 6 + 42 + 23),
            (stats_report(&header, &[Statistic::Rejected(1), Statistic::AdjRibInOf(2, 1, 9)]), 1, 6 + 42 + 4 + 8 + 15),
            (peer_down(&header, &PeerDown::RemoteClosed), 2, 6 + 42 + 1),
            (peer_down(&header, &PeerDown::Closed(9)), 2, 6 + 42 + 3),
            (peer_up(&header, header.address, (179, 4000), &[1; 29], &[2; 31]), 3, 6 + 42 + 20 + 29 + 31),
            (initiation("node", "Linnet"), 4, 6 + 4 + 4 + 4 + 6),
            (termination("bye"), 5, 6 + 4 + 3 + 4 + 2),
        ] {
            assert_eq!((message[0], message[5], message.len()), (3, kind, length));
            assert_eq!(message[1..5], (length as u32).to_be_bytes());
        }
    }

    #[test]
    fn the_per_peer_header_has_its_flags_and_addresses_where_rfc_7854_has_them() {
        for (stage, address, kind, flags, last) in [
            (Stage::PrePolicy, "192.0.2.9", 0, 0, [192, 0, 2, 9]),
            (Stage::PostPolicy, "192.0.2.9", 0, 0x40, [192, 0, 2, 9]),
            (Stage::PrePolicy, "fd00::9", 0, 0x80, [0, 0, 0, 9]),
            (Stage::PostPolicy, "fd00::9", 0, 0xc0, [0, 0, 0, 9]),
            (Stage::LocRib, "192.0.2.9", 3, 0, [0, 0, 0, 0]),
        ] {
            let message = route_monitoring(&peer(stage, address), &[]);
            let header = &message[6..];
            assert_eq!((header[0], header[1]), (kind, flags));
            assert_eq!(header[22..26], last);
            assert_eq!(header[26..34], [0, 0, 0xfd, 0xe9, 192, 0, 2, 1]);
            assert_eq!(header[34..], [1, 2, 3, 4, 0, 0, 0, 5]);
        }
    }

    #[test]
    fn loc_rib_comes_up_and_goes_down_by_its_name() {
        let header = peer(Stage::LocRib, "192.0.2.9");
        let up = peer_up(&header, header.address, (179, 4000), &[1; 29], &[1; 29]);
        assert_eq!(up[48..68], [0; 20]);
        let table = [&[0, 3, 0, 6][..], b"global"].concat();
        assert!(up.ends_with(&table));
        assert!(peer_down(&header, &PeerDown::LocRib).ends_with(&[&[6][..], &table].concat()));
    }
}
