//! MRT (RFC 6396, RFC 8050): records of a routing table and of what peers sent, as bytes.

use std::net::IpAddr;

use crate::session::State;
use crate::types::{Asn, Family, NextHop, PathId, Prefix, RouterId};
use crate::wire::attributes::Attributes;
use crate::wire::mp::{encode_next_hop, next_hop_len};

/// Most peers of a table, and most paths of one prefix: what two octets count.
pub const MOST: usize = u16::MAX as usize;

const TABLE_DUMP_V2: u16 = 13;
const BGP4MP: u16 = 16;

/// A peer of a table, by its place in the list of peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexedPeer {
    /// Its BGP Identifier.
    pub router_id: RouterId,
    /// Its address.
    pub address: IpAddr,
    /// Its AS.
    pub asn: Asn,
}

/// One path to a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Whose: its place in the list of peers.
    pub peer: u16,
    /// When it came, in seconds since the epoch.
    pub originated: u32,
    /// 0 without ADD-PATH.
    pub path_id: PathId,
    /// What it says.
    pub attributes: &'a Attributes,
}

/// The two ends of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The peer's AS.
    pub peer_as: Asn,
    /// Our AS towards it.
    pub local_as: Asn,
    /// The peer's address.
    pub peer: IpAddr,
    /// Ours; of the same family.
    pub local: IpAddr,
}

/// `PEER_INDEX_TABLE`, the first record of a table. Of `peers`, the first [`MOST`] count.
#[must_use]
pub fn peer_index_table(time: u32, collector: RouterId, view: &str, peers: &[IndexedPeer]) -> Vec<u8> {
    let peers = &peers[..peers.len().min(MOST)];
    let view = &view.as_bytes()[..view.len().min(MOST)];
    let mut out = begin(time, TABLE_DUMP_V2, 1);
    out.extend_from_slice(&collector.0.octets());
    out.extend_from_slice(&(view.len() as u16).to_be_bytes());
    out.extend_from_slice(view);
    out.extend_from_slice(&(peers.len() as u16).to_be_bytes());
    for peer in peers {
        // Bit 0: an IPv6 address; bit 1: the AS has four octets (RFC 6396 section 4.3.1).
        out.push(2 | u8::from(peer.address.is_ipv6()));
        out.extend_from_slice(&peer.router_id.0.octets());
        put_address(&mut out, peer.address);
        out.extend_from_slice(&peer.asn.0.to_be_bytes());
    }
    end(out)
}

/// The paths to one prefix: RIB_IPV4_UNICAST or RIB_IPV6_UNICAST; with `add_path` the record of RFC 8050 that has path
/// identifiers. Of `entries`, the first [`MOST`] count.
#[must_use]
pub fn rib(time: u32, sequence: u32, prefix: Prefix, add_path: bool, entries: &[Entry<'_>]) -> Vec<u8> {
    let subtype = match (prefix.family(), add_path) {
        (Family::Ipv4Unicast, false) => 2,
        (Family::Ipv6Unicast, false) => 4,
        (Family::Ipv4Unicast, true) => 8,
        (Family::Ipv6Unicast, true) => 10,
    };
    let entries = &entries[..entries.len().min(MOST)];
    let mut out = begin(time, TABLE_DUMP_V2, subtype);
    out.extend_from_slice(&sequence.to_be_bytes());
    out.push(prefix.length());
    let octets = usize::from(prefix.length().div_ceil(8));
    match prefix.address() {
        IpAddr::V4(address) => out.extend_from_slice(&address.octets()[..octets]),
        IpAddr::V6(address) => out.extend_from_slice(&address.octets()[..octets]),
    }
    out.extend_from_slice(&(entries.len() as u16).to_be_bytes());
    for entry in entries {
        out.extend_from_slice(&entry.peer.to_be_bytes());
        out.extend_from_slice(&entry.originated.to_be_bytes());
        if add_path {
            out.extend_from_slice(&entry.path_id.0.to_be_bytes());
        }
        put_attributes(&mut out, entry.attributes, prefix.family());
    }
    end(out)
}

/// The attributes, AS numbers in four octets. Of MP_REACH_NLRI only the next hop is there (RFC 6396 section 4.3.4).
fn put_attributes(out: &mut Vec<u8>, attributes: &Attributes, family: Family) {
    let start = out.len();
    out.extend_from_slice(&[0, 0]);
    let classic = family == Family::Ipv4Unicast && matches!(attributes.next_hop, NextHop::V4(_));
    attributes.encode(true, classic, out);
    if !classic {
        let length = next_hop_len(family, attributes.next_hop) as u8;
        out.extend_from_slice(&[0x80, 14, length + 1]);
        encode_next_hop(family, attributes.next_hop, out);
    }
    let length = u16::try_from(out.len() - start - 2).unwrap_or(u16::MAX);
    out[start..start + 2].copy_from_slice(&length.to_be_bytes());
}

/// BGP4MP_STATE_CHANGE_AS4 (RFC 6396 section 4.4.4).
#[must_use]
pub fn state_change(time: u32, ends: &Ends, old: State, new: State) -> Vec<u8> {
    let mut out = begin(time, BGP4MP, 5);
    put_ends(&mut out, ends);
    out.extend_from_slice(&state_number(old).to_be_bytes());
    out.extend_from_slice(&state_number(new).to_be_bytes());
    end(out)
}

/// BGP4MP_MESSAGE_AS4, or with path identifiers BGP4MP_MESSAGE_AS4_ADDPATH (RFC 8050 section 3): one whole message.
#[must_use]
pub fn message(time: u32, ends: &Ends, add_path: bool, message: &[u8]) -> Vec<u8> {
    let mut out = begin(time, BGP4MP, if add_path { 9 } else { 4 });
    put_ends(&mut out, ends);
    out.extend_from_slice(message);
    end(out)
}

fn begin(time: u32, kind: u16, subtype: u16) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    out.extend_from_slice(&time.to_be_bytes());
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&subtype.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out
}

/// The length counts what stands behind it.
fn end(mut out: Vec<u8>) -> Vec<u8> {
    let length = (out.len() - 12) as u32;
    out[8..12].copy_from_slice(&length.to_be_bytes());
    out
}

fn put_ends(out: &mut Vec<u8>, ends: &Ends) {
    out.extend_from_slice(&ends.peer_as.0.to_be_bytes());
    out.extend_from_slice(&ends.local_as.0.to_be_bytes());
    // The interface's index: not known.
    out.extend_from_slice(&[0, 0, 0, if ends.peer.is_ipv6() { 2 } else { 1 }]);
    put_address(out, ends.peer);
    put_address(out, ends.local);
}

fn put_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => out.extend_from_slice(&address.octets()),
        IpAddr::V6(address) => out.extend_from_slice(&address.octets()),
    }
}

/// RFC 6396 section 4.4.1.
fn state_number(state: State) -> u16 {
    match state {
        State::Idle => 1,
        State::Connect => 2,
        State::Active => 3,
        State::OpenSent => 4,
        State::OpenConfirm => 5,
        State::Established => 6,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;
    use crate::types::LinkLocal;
    use crate::wire::aspath::AsPath;
    use crate::wire::attributes::Origin;

    fn attributes(next_hop: &str) -> Attributes {
        let next_hop: IpAddr = next_hop.parse().unwrap();
        Attributes::new(Origin::Igp, AsPath::sequence([Asn(70_000)]), next_hop.into())
    }

    fn head(record: &[u8]) -> (u16, u16, usize) {
        let number = |at: usize| u16::from_be_bytes([record[at], record[at + 1]]);
        (number(4), number(6), u32::from_be_bytes([record[8], record[9], record[10], record[11]]) as usize)
    }

    #[test]
    fn a_record_says_its_type_and_its_length() {
        let ends = |peer: &str, local: &str| Ends {
            peer_as: Asn(1),
            local_as: Asn(2),
            peer: peer.parse().unwrap(),
            local: local.parse().unwrap(),
        };
        let (v4, v6) = (ends("192.0.2.1", "192.0.2.2"), ends("fd00::1", "fd00::2"));
        let peer = |address: &str| IndexedPeer {
            router_id: RouterId([192, 0, 2, 1].into()),
            address: address.parse().unwrap(),
            asn: Asn(70_000),
        };
        let set = attributes("192.0.2.1");
        let entry = Entry { peer: 0, originated: 5, path_id: PathId(7), attributes: &set };
        // ORIGIN 4, AS_PATH 9, NEXT_HOP 7.
        for (record, kind, subtype, length) in [
            (
                peer_index_table(1, RouterId([192, 0, 2, 1].into()), "v", &[peer("192.0.2.1"), peer("fd00::1")]),
                13,
                1,
                9 + 13 + 25,
            ),
            (
                rib(1, 0, "10.1.0.0/17".parse().unwrap(), false, std::slice::from_ref(&entry)),
                13,
                2,
                4 + 1 + 3 + 2 + 8 + 20,
            ),
            (rib(1, 0, "10.1.0.0/17".parse().unwrap(), true, &[entry]), 13, 8, 4 + 1 + 3 + 2 + 12 + 20),
            (state_change(1, &v4, State::OpenConfirm, State::Established), 16, 5, 20 + 4),
            (message(1, &v4, false, &[9; 23]), 16, 4, 20 + 23),
            (message(1, &v6, true, &[9; 23]), 16, 9, 44 + 23),
        ] {
            assert_eq!(head(&record), (kind, subtype, length));
            assert_eq!(record.len(), 12 + length);
        }
    }

    #[test]
    fn of_mp_reach_only_the_next_hop_is_there() {
        let set = attributes("fd00::9");
        let entry = Entry { peer: 3, originated: 5, path_id: PathId(0), attributes: &set };
        let record = rib(1, 0, "fd00::/16".parse().unwrap(), false, &[entry]);
        assert_eq!(head(&record).1, 4);
        let tail = [&[0x80, 14, 17, 16, 0xfd][..], &[0; 14], &[9]].concat();
        assert!(record.ends_with(&tail), "{record:02x?}");

        // As in an UPDATE of an unnumbered peer: no :: before it.
        let link_local = Some(LinkLocal { address: "fe80::2".parse().unwrap(), link: None });
        let set = Attributes { next_hop: NextHop::V6 { global: Ipv6Addr::UNSPECIFIED, link_local }, ..set };
        let entry = Entry { peer: 3, originated: 5, path_id: PathId(0), attributes: &set };
        let record = rib(1, 0, "fd00::/16".parse().unwrap(), false, &[entry]);
        let tail = [&[0x80, 14, 17, 16, 0xfe, 0x80][..], &[0; 13], &[2]].concat();
        assert!(record.ends_with(&tail), "{record:02x?}");
    }
}
