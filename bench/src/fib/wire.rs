//! Messages about IPv4 routes as rtnetlink has them (`linux/netlink.h`, `linux/rtnetlink.h`; numbers in the host's order).

use std::net::Ipv4Addr;

use crate::message::Prefix;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;
const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const DUMP: u16 = 0x300;
/// `NLM_F_CREATE | NLM_F_EXCL`.
const CREATE: u16 = 0x600;
const AF_INET: u8 = 2;
const TABLE_MAIN: u8 = 254;
const PROTOCOL_BGP: u8 = 186;
const TYPE_UNICAST: u8 = 1;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
/// The route that a packet meets is told as it is in the table, instead of what is made of it for that packet.
const RTM_F_FIB_MATCH: u32 = 0x2000;
/// `IFF_UP`.
const UP: u32 = 1;
/// Octets of `struct nlmsghdr` and of `struct rtmsg`.
const HEADER: usize = 16;
const ROUTE: usize = 12;

/// `RTPROT_KERNEL`: routes that come with addresses.
pub(super) const OF_THE_KERNEL: u8 = 2;

/// Appends a request to add a route, which must not be there. No answer comes but an error.
pub(super) fn add(prefix: Prefix, gateway: Ipv4Addr, interface: u32, out: &mut Vec<u8>) {
    let start = begin(RTM_NEWROUTE, REQUEST | CREATE, out);
    out.extend_from_slice(&[AF_INET, prefix.length, 0, 0, TABLE_MAIN, PROTOCOL_BGP, 0, TYPE_UNICAST, 0, 0, 0, 0]);
    attribute(RTA_DST, address(prefix), out);
    attribute(RTA_GATEWAY, gateway.octets(), out);
    attribute(RTA_OIF, interface.to_ne_bytes(), out);
    end(start, out);
}

/// Appends a request to remove a route. No answer comes but an error.
pub(super) fn remove(prefix: Prefix, out: &mut Vec<u8>) {
    let start = begin(RTM_DELROUTE, REQUEST, out);
    out.extend_from_slice(&[AF_INET, prefix.length, 0, 0, TABLE_MAIN, PROTOCOL_BGP, 0, TYPE_UNICAST, 0, 0, 0, 0]);
    attribute(RTA_DST, address(prefix), out);
    end(start, out);
}

/// A request to list the routes by one interface.
pub(super) fn list(interface: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let start = begin(RTM_GETROUTE, REQUEST | DUMP, &mut out);
    out.extend_from_slice(&[AF_INET, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    attribute(RTA_OIF, interface.to_ne_bytes(), &mut out);
    end(start, &mut out);
    out
}

/// Appends a question where a packet to the first host of `prefix` would go.
pub(super) fn look_up(prefix: Prefix, out: &mut Vec<u8>) {
    let start = begin(RTM_GETROUTE, REQUEST, out);
    out.extend_from_slice(&[AF_INET, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let host = Prefix { bits: prefix.bits | u64::from(prefix.length < 32) << 32, length: 32 };
    attribute(RTA_DST, address(host), out);
    end(start, out);
}

/// Appends a question which route a packet to `host` would meet.
pub(super) fn which(host: Ipv4Addr, out: &mut Vec<u8>) {
    let start = begin(RTM_GETROUTE, REQUEST, out);
    out.extend_from_slice(&[AF_INET, 32, 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(&RTM_F_FIB_MATCH.to_ne_bytes());
    attribute(RTA_DST, host.octets(), out);
    end(start, out);
}

/// A request to take an interface down, which is answered.
pub(super) fn take_down(interface: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let start = begin(RTM_NEWLINK, REQUEST | ACK, &mut out);
    // struct ifinfomsg: family, type, index, flags, and which of them change.
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&interface.to_ne_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&UP.to_ne_bytes());
    end(start, &mut out);
    out
}

fn begin(kind: u16, flags: u16, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(&flags.to_ne_bytes());
    out.extend_from_slice(&[0; 8]);
    start
}

fn end(start: usize, out: &mut [u8]) {
    let length = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&length.to_ne_bytes());
}

/// All attributes here have four octets, and so need no padding.
fn attribute(kind: u16, value: [u8; 4], out: &mut Vec<u8>) {
    out.extend_from_slice(&8_u16.to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(&value);
}

fn address(prefix: Prefix) -> [u8; 4] {
    ((prefix.bits >> 32) as u32).to_be_bytes()
}

/// One message of the kernel's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    kind: u16,
    body: &'a [u8],
}

/// A route that a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    /// Where to.
    pub(super) prefix: Prefix,
    /// Who made it (`rtm_protocol`).
    pub(super) protocol: u8,
    /// Whether it came, instead of going.
    pub(super) added: bool,
    /// The link that it uses; `None`: no single one.
    pub(super) interface: Option<u32>,
}

impl Message<'_> {
    /// Whether nothing of a listing comes behind it.
    pub(super) fn is_end(&self) -> bool {
        matches!(self.kind, NLMSG_DONE | NLMSG_ERROR)
    }

    /// The errno of a request that was refused.
    pub(super) fn error(&self) -> Option<i32> {
        let errno = i32::from_ne_bytes(self.body.first_chunk().copied()?);
        (self.kind == NLMSG_ERROR && errno != 0).then_some(-errno)
    }

    /// The IPv4 route that it is about.
    pub(super) fn route(&self) -> Option<Route> {
        let added = match self.kind {
            RTM_NEWROUTE => true,
            RTM_DELROUTE => false,
            _ => return None,
        };
        let (fixed, mut attributes) = self.body.split_at_checked(ROUTE)?;
        if fixed[0] != AF_INET {
            return None;
        }
        // A default route has no destination.
        let (mut bits, mut interface) = (0, None);
        while let Some(&[low, high, kind, other]) = attributes.first_chunk() {
            let length = usize::from(u16::from_ne_bytes([low, high]));
            let value = || attributes.get(4..8)?.first_chunk().copied();
            match u16::from_ne_bytes([kind, other]) {
                RTA_DST => bits = u64::from(u32::from_be_bytes(value()?)) << 32,
                RTA_OIF => interface = Some(u32::from_ne_bytes(value()?)),
                _ => {}
            }
            attributes = attributes.get(length.max(4).next_multiple_of(4)..).unwrap_or_default();
        }
        Some(Route { prefix: Prefix { bits, length: fixed[1] }, protocol: fixed[5], added, interface })
    }
}

/// The messages in what one read brought.
pub(super) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let header: [u8; HEADER] = bytes.first_chunk().copied()?;
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let body = bytes.get(HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message { kind: u16::from_ne_bytes([header[4], header[5]]), body })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_as_it_was_meant() {
        let prefix = Prefix { bits: 0x0102_0300 << 32, length: 24 };
        let mut bytes = Vec::new();
        add(prefix, Ipv4Addr::LOCALHOST, 7, &mut bytes);
        remove(prefix, &mut bytes);
        let read: Vec<_> = messages(&bytes).filter_map(|message| message.route()).collect();
        let route = |added, interface| Route { prefix, protocol: PROTOCOL_BGP, added, interface };
        assert_eq!(read, [route(true, Some(7)), route(false, None)]);
    }

    #[test]
    fn octets_that_are_no_message_are_none() {
        for length in 0..40 {
            assert_eq!(messages(&vec![0xff; length]).count(), 0);
        }
        let mut cut = list(7);
        cut.pop();
        assert_eq!(messages(&cut).count(), 0);
    }
}
