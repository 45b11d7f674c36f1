//! Next-hop objects as they are written and read (linux/nexthop.h); `netlink-packet-route` has none.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NlaBuffer, NlasIterator};

use super::group::Kind;
use crate::{
    PROTOCOL,
    encap::{Encap, LWTUNNEL_ENCAP_IP6},
    kernel_route::KernelHop,
    netlink::{Answer, Message},
};

/// Message types of linux/rtnetlink.h.
pub(crate) const RTM_NEWNEXTHOP: u16 = 104;
pub(crate) const RTM_DELNEXTHOP: u16 = 105;
const RTM_GETNEXTHOP: u16 = 106;
const RTM_GETNEXTHOPBUCKET: u16 = 118;
/// Attributes of linux/nexthop.h.
const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_GROUP_TYPE: u16 = 3;
const NHA_BLACKHOLE: u16 = 4;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;
const NHA_ENCAP_TYPE: u16 = 7;
const NHA_ENCAP: u16 = 8;
const NHA_FDB: u16 = 11;
const NHA_RES_GROUP: u16 = 12;
const NHA_RES_GROUP_BUCKETS: u16 = 1;
const NHA_RES_GROUP_IDLE_TIMER: u16 = 2;
const NEXTHOP_GRP_TYPE_RES: u16 = 1;
/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;
/// Octets of `struct nhmsg` and of `struct nexthop_grp`.
const HEADER: usize = 8;
const MEMBER: usize = 8;
/// `RTNH_F_ONLINK`.
const ONLINK: u32 = 4;
/// An object as the kernel tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) id: u32,
    pub(crate) protocol: u8,
    pub(super) content: Content,
}

/// What it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Hop(KernelHop),
    /// Numbers of hops, and weights less one.
    Group(Kind, Vec<(u32, u8)>),
    /// What Linnet never makes.
    Other,
}

/// RTM_GETNEXTHOP for all.
pub(super) fn question() -> Message {
    Message { kind: RTM_GETNEXTHOP, payload: vec![0; HEADER] }
}

/// RTM_GETNEXTHOPBUCKET for all: what resilient groups made of their members.
pub(super) fn buckets_question() -> Message {
    Message { kind: RTM_GETNEXTHOPBUCKET, payload: vec![0; HEADER] }
}

/// `struct nhmsg`: family, scope, protocol, a reserved octet, flags.
fn header(kind: u16, family: u8, flags: u32) -> Message {
    let mut payload = vec![family, 0, PROTOCOL, 0];
    payload.extend(flags.to_ne_bytes());
    Message { kind, payload }
}

fn attribute(message: &mut Message, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    message.payload.extend(length.to_ne_bytes());
    message.payload.extend(kind.to_ne_bytes());
    message.payload.extend(value);
    message.payload.resize(message.payload.len().next_multiple_of(4), 0);
}

/// RTM_NEWNEXTHOP for a gateway.
pub(super) fn gateway(id: u32, hop: &KernelHop) -> Message {
    let family = if hop.via.is_some_and(|via| via.is_ipv6()) { libc::AF_INET6 } else { libc::AF_INET };
    let mut message = header(RTM_NEWNEXTHOP, family as u8, if hop.onlink { ONLINK } else { 0 });
    attribute(&mut message, NHA_ID, &id.to_ne_bytes());
    attribute(&mut message, NHA_OIF, &hop.link.to_ne_bytes());
    match hop.via {
        Some(IpAddr::V4(via)) => attribute(&mut message, NHA_GATEWAY, &via.octets()),
        Some(IpAddr::V6(via)) => attribute(&mut message, NHA_GATEWAY, &via.octets()),
        None => {}
    }
    if let Some(encap) = hop.encap {
        attribute(&mut message, NHA_ENCAP_TYPE, &LWTUNNEL_ENCAP_IP6.to_ne_bytes());
        attribute(&mut message, NESTED | NHA_ENCAP, &encap.octets());
    }
    message
}

/// RTM_NEWNEXTHOP for a group of gateways, by number, with weights less one.
pub(super) fn group(id: u32, kind: Kind, members: &[(u32, u8)]) -> Message {
    let mut message = header(RTM_NEWNEXTHOP, libc::AF_UNSPEC as u8, 0);
    attribute(&mut message, NHA_ID, &id.to_ne_bytes());
    let mut value = Vec::with_capacity(members.len() * MEMBER);
    for (id, weight) in members {
        value.extend(id.to_ne_bytes());
        value.extend([*weight, 0, 0, 0]);
    }
    attribute(&mut message, NHA_GROUP, &value);
    if kind == Kind::Failover {
        attribute(&mut message, NHA_GROUP_TYPE, &NEXTHOP_GRP_TYPE_RES.to_ne_bytes());
        // One bucket, which goes back to the first hop at once when that is back, and not when no flow uses it.
        let mut buckets = Message { kind: 0, payload: Vec::new() };
        attribute(&mut buckets, NHA_RES_GROUP_BUCKETS, &1u16.to_ne_bytes());
        attribute(&mut buckets, NHA_RES_GROUP_IDLE_TIMER, &0u32.to_ne_bytes());
        attribute(&mut message, NESTED | NHA_RES_GROUP, &buckets.payload);
    }
    message
}

/// RTM_DELNEXTHOP.
pub(super) fn deletion(id: u32) -> Message {
    let mut message = Message { kind: RTM_DELNEXTHOP, payload: vec![0; HEADER] };
    attribute(&mut message, NHA_ID, &id.to_ne_bytes());
    message
}

/// Reads RTM_NEWNEXTHOP or RTM_DELNEXTHOP; `None` for what is neither, or cut off.
pub(crate) fn read(answer: &Answer<'_>) -> Option<Object> {
    if !matches!(answer.kind, RTM_NEWNEXTHOP | RTM_DELNEXTHOP) {
        return None;
    }
    let (header, attributes) = answer.payload.split_first_chunk::<HEADER>()?;
    let [_, _, protocol, _, flags @ ..] = *header;
    let onlink = u32::from_ne_bytes(flags) & ONLINK != 0;
    let (mut id, mut link, mut via, mut members, mut other) = (None, None, None, None, false);
    let (mut encap_type, mut encap) = (None, None);
    let mut group_kind = Kind::Shared;
    for attribute in NlasIterator::new(attributes).map_while(Result::ok) {
        let value = attribute.value();
        match NlaBuffer::kind(&attribute) {
            NHA_ID => id = number(value),
            NHA_OIF => link = number(value),
            NHA_GATEWAY => via = address(value),
            NHA_GROUP => {
                members = Some(value.chunks_exact(MEMBER).filter_map(|one| Some((number(one)?, one[4]))).collect())
            }
            NHA_RES_GROUP if buckets(value) == Some(1) => group_kind = Kind::Failover,
            NHA_ENCAP_TYPE => encap_type = short(value),
            NHA_ENCAP => encap = Encap::read(value),
            NHA_BLACKHOLE | NHA_FDB | NHA_RES_GROUP => other = true,
            _ => {}
        }
    }
    // A tunnel of another kind than Linnet's.
    other |= encap_type.is_some_and(|kind| kind != LWTUNNEL_ENCAP_IP6 || encap.is_none());
    let content = match (members, link) {
        (Some(members), None) if !other => Content::Group(group_kind, members),
        (None, Some(link)) if !other && via.is_some() => {
            Content::Hop(KernelHop { via, link, onlink, encap, weight: 0 })
        }
        _ => Content::Other,
    };
    Some(Object { id: id?, protocol, content })
}

/// Of a resilient group.
fn buckets(nested: &[u8]) -> Option<u16> {
    let mut attributes = NlasIterator::new(nested).map_while(Result::ok);
    let found = attributes.find(|attribute| NlaBuffer::kind(attribute) == NHA_RES_GROUP_BUCKETS)?;
    short(found.value())
}

fn short(value: &[u8]) -> Option<u16> {
    value.first_chunk().map(|octets| u16::from_ne_bytes(*octets))
}

fn number(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|octets| u32::from_ne_bytes(*octets))
}

fn address(value: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(value) {
        return Some(Ipv4Addr::from(octets).into());
    }
    <[u8; 16]>::try_from(value).ok().map(|octets| Ipv6Addr::from(octets).into())
}

#[cfg(test)]
mod tests {
    use super::super::group::{FIRST as MAIN, SECOND};
    use super::*;

    const FIRST: u32 = 0x4c00_0000;
    const LAST: u32 = 0x4cff_ffff;

    fn hop(via: &str) -> KernelHop {
        KernelHop { via: Some(via.parse().expect("an address")), link: 3, onlink: false, encap: None, weight: 0 }
    }

    fn said(message: &Message) -> Option<Object> {
        read(&Answer { kind: message.kind, flags: 0, sequence: 0, port: 0, payload: &message.payload })
    }

    #[test]
    fn what_is_written_is_read_again() {
        let encap = Some(Encap::new(Ipv6Addr::LOCALHOST, "fd00:2::2".parse().expect("an address")));
        let tunnel = KernelHop { encap, ..hop("fe80::1") };
        for hop in [hop("10.0.0.1"), hop("fe80::1"), KernelHop { onlink: true, ..hop("10.0.0.1") }, tunnel] {
            let object = Object { id: FIRST, protocol: PROTOCOL, content: Content::Hop(hop.clone()) };
            assert_eq!(said(&gateway(FIRST, &hop)), Some(object));
        }
        for (kind, members) in [
            (Kind::Shared, vec![(FIRST, 0), (FIRST + 1, 255)]),
            (Kind::Failover, vec![(FIRST, MAIN), (FIRST + 1, SECOND)]),
        ] {
            let object = Object { id: LAST, protocol: PROTOCOL, content: Content::Group(kind, members.clone()) };
            assert_eq!(said(&group(LAST, kind, &members)), Some(object));
        }
    }

    #[test]
    fn a_message_cut_anywhere_neither_panics_nor_loops() {
        for kind in [Kind::Shared, Kind::Failover] {
            let whole = group(FIRST, kind, &[(FIRST + 1, 0)]);
            for end in 0..whole.payload.len() {
                let _ = said(&Message { payload: whole.payload[..end].to_vec(), ..whole });
            }
        }
    }

    #[test]
    fn what_linnet_never_makes_is_nothing_that_it_would_take_for_its_own() {
        let mut blackhole = header(RTM_NEWNEXTHOP, libc::AF_INET as u8, 0);
        attribute(&mut blackhole, NHA_ID, &FIRST.to_ne_bytes());
        attribute(&mut blackhole, NHA_BLACKHOLE, &[]);
        assert_eq!(said(&blackhole).map(|object| object.content), Some(Content::Other));
        let mut many_buckets = group(FIRST, Kind::Shared, &[(FIRST + 1, 0)]);
        let mut buckets = Message { kind: 0, payload: Vec::new() };
        attribute(&mut buckets, NHA_RES_GROUP_BUCKETS, &64u16.to_ne_bytes());
        attribute(&mut many_buckets, NESTED | NHA_RES_GROUP, &buckets.payload);
        assert_eq!(said(&many_buckets).map(|object| object.content), Some(Content::Other));
    }
}
