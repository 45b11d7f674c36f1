//! What the kernel need not even wake us for: classic BPF on the listening socket.
//!
//! Another daemon may move a full table while ten static routes are wanted. Its announcements are dropped by their owner,
//! except where a route takes another's place: that one may have been wanted.

use netlink_packet_core::NLM_F_REPLACE;
use socket2::SockFilter;

use crate::{
    PROTOCOL,
    next_hops::{RTM_DELNEXTHOP, RTM_NEWNEXTHOP},
};

/// Message types of linux/rtnetlink.h.
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
/// Where things are in a message: type and flags in the netlink header, the protocol in `struct rtmsg` and `struct nhmsg`.
const TYPE: u32 = 4;
const FLAGS: u32 = 6;
const ROUTE_PROTOCOL: u32 = 16 + 5;
const NEXT_HOP_PROTOCOL: u32 = 16 + 2;
/// Owners that are looked for by the filter; with more, everybody's announcements are heard.
const MOST: usize = 64;

/// Lets pass what may concern routes of these owners.
pub(super) fn concerning(protocols: &[u8]) -> Vec<SockFilter> {
    let code = |bits: u32| bits as u16;
    // BPF loads half words in network order, the header has the host's.
    let host = |half: u16| u32::from(u16::from_be_bytes(half.to_ne_bytes()));
    let load_half = |at| SockFilter::new(code(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS), 0, 0, at);
    let load_octet = |at| SockFilter::new(code(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS), 0, 0, at);
    let equal = |value, yes, no| SockFilter::new(code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K), yes, no, value);
    let has = |bits, yes, no| SockFilter::new(code(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K), yes, no, bits);
    let pass = || SockFilter::new(code(libc::BPF_RET | libc::BPF_K), 0, 0, u32::MAX);
    let drop = || SockFilter::new(code(libc::BPF_RET | libc::BPF_K), 0, 0, 0);
    let mut program = vec![
        load_half(TYPE),
        equal(host(RTM_NEWNEXTHOP), 5, 0),
        equal(host(RTM_DELNEXTHOP), 2, 0),
        equal(host(RTM_NEWROUTE), 5, 0),
        equal(host(RTM_DELROUTE), 4, 3),
        // An object of Linnet's own that goes takes routes of Linnet's own with it.
        load_octet(NEXT_HOP_PROTOCOL),
        equal(u32::from(PROTOCOL), 0, 1),
        drop(),
        pass(),
        // A route.
        load_octet(ROUTE_PROTOCOL),
        equal(u32::from(PROTOCOL), 0, 1),
        drop(),
    ];
    if protocols.len() <= MOST {
        for protocol in protocols {
            program.extend([equal(u32::from(*protocol), 0, 1), pass()]);
        }
        program.extend([
            load_half(TYPE),
            equal(host(RTM_DELROUTE), 2, 0),
            load_half(FLAGS),
            has(host(NLM_F_REPLACE), 1, 0),
            drop(),
        ]);
    }
    program.push(pass());
    program
}
