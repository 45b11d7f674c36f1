//! What other routers send: streams recorded from BIRD 2.0.12, FRR 8.4.4 and GoBGP 3.10.0 as Debian 12 packages them.
//!
//! Each was AS 65001, 192.0.2.2, and answered the OPEN of a recorder (AS 65000, both families, route refresh, four-octet AS,
//! graceful restart) with two to five routes of its own.

use super::plain;
use crate::wire::frame::next_frame;
use crate::wire::update::UpdateContext;
use crate::wire::{MAX_MESSAGE_LEN, Message};

/// A message a line, its header left out but for the type.
type Recording = &'static [(u8, &'static str)];

const BIRD: Recording = &[
    (1, "04fde900f0c00002022602240104000100010104000200010200400a0078000101000002010041040000fde946004700"),
    (4, ""),
    (2, "000000144001010040020602010000fde9400304c000020200180a0203"),
    (
        2,
        "0000003d4001010040020a02020000fde9fa56ea00400304c0000202c00808fde90064ffffff01c010080002fde900000007c0200c0000fde90000000100000002100a01",
    ),
    (2, "00000000"),
    (
        2,
        "00000034900e001c0002011020010db8000000000000000000000002003020010db800014001010040020602010000fde9c00804fde90064",
    ),
    (2, "0000002f900e001e0002011020010db8000000000000000000000002004020010db8000200004001010040020602010000fde9"),
    (2, "00000006800f03000201"),
];

const FRR: Recording = &[
    (
        1,
        "04fde900b4c00002025d02060104000100010206010400020001020280000202020002024600020641040000fde902020600020a45080001010100020101020749050366727200020c400ac07800010100000201000210470e0001018000000000020180000000",
    ),
    (4, ""),
    (2, "0000001c400101005002000602010000fde9400304c000020280040400000000180a0203180a0901"),
    (
        2,
        "00000037900e001e0002011000000000000000000000ffffc0000202004020010db800020000400101005002000602010000fde980040400000000",
    ),
    (2, "0000002a400101005002000602010000fde9400304c000020280040400000000400600c007080000fde9c0000202100a09"),
    (2, "00000006800f03000201"),
    (2, "00000000"),
];

const GOBGP: Recording = &[
    (
        1,
        "04fde9005ac000020230022e0200490402766d0001040001000101040002000141040000fde9400a007800010100000201000506000100010002",
    ),
    (4, ""),
    (2, "000000144001010240020602010000fde9400304c0000202180a0203"),
    (
        2,
        "000000444001010240020a02020000fde9fa56ea0080040400000032c00808fde90064ffffff01c010080002fde900000007c0200c0000fde90000000100000002400304c0000202100a01",
    ),
    (2, "00000000"),
    (
        2,
        "000000334001010240020602010000fde9c00804fde90064800e1c0002011020010db8000000000000000000000002003020010db80001",
    ),
    (2, "0000002e4001010240020602010000fde9800e1e0002011020010db8000000000000000000000002004020010db800020000"),
    (2, "00000006800f03000201"),
];

fn octets(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

/// The recording as a person would tell it, a line for each thing said.
fn told(recording: Recording) -> Vec<String> {
    let context = UpdateContext { external: true, ..plain() };
    let mut stream = Vec::new();
    for (kind, body) in recording {
        let body = octets(body);
        stream.extend_from_slice(&[0xff; 16]);
        stream.extend_from_slice(&(19 + body.len() as u16).to_be_bytes());
        stream.extend_from_slice(&[*kind]);
        stream.extend_from_slice(&body);
    }
    let (mut stream, mut lines) = (&stream[..], Vec::new());
    while let Some(frame) = next_frame(&mut stream, MAX_MESSAGE_LEN).unwrap() {
        let message = Message::parse(frame, &context).unwrap();
        tell(&message, &mut lines);
        // What is read can be written, and reads the same.
        let again = message.encode(&context);
        if !matches!(&message, Message::Open(_)) {
            let frame = next_frame(&mut &again[..], MAX_MESSAGE_LEN).unwrap().unwrap();
            assert_eq!(Message::parse(frame, &context).unwrap(), message);
        }
    }
    lines
}

fn tell(message: &Message, lines: &mut Vec<String>) {
    match message {
        Message::Open(open) => {
            let families: Vec<_> = open.families().iter().map(|family| family.name()).collect();
            let restart = open.graceful_restart().map(|restart| restart.restart_seconds);
            lines.push(format!("open AS {} id {} hold {}", open.asn, open.router_id, open.hold_time.seconds()));
            lines.push(format!("can {} refresh {} restart {restart:?}", families.join(" "), open.has_route_refresh()));
        }
        Message::Update(update) => {
            assert!(update.faults.is_empty() && update.withdrawn.is_empty(), "{update:?}");
            for announcement in &update.announced {
                let attributes = &announcement.attributes;
                let mut line = String::new();
                announcement.nlri.iter().for_each(|nlri| line += &format!("{} ", nlri.prefix));
                line += &format!("via {} path {}", attributes.next_hop.address(), attributes.as_path);
                attributes.med.iter().for_each(|med| line += &format!(" med {med}"));
                attributes.aggregator.iter().for_each(|by| line += &format!(" aggregator {} {}", by.asn, by.router_id));
                attributes.communities.iter().for_each(|community| line += &format!(" {community}"));
                attributes.extended_communities.iter().for_each(|community| line += &format!(" {community}"));
                attributes.large_communities.iter().for_each(|community| line += &format!(" {community}"));
                lines.push(line);
            }
            lines.extend(update.end_of_rib.map(|family| format!("end of {family}")));
        }
        other => lines.push(format!("{other:?}").to_lowercase()),
    }
}

#[test]
fn bird_is_understood() {
    let expected = [
        "open AS 65001 id 192.0.2.2 hold 240",
        "can ipv4-unicast ipv6-unicast refresh true restart Some(120)",
        "keepalive",
        "0.0.0.0/0 10.2.3.0/24 via 192.0.2.2 path 65001",
        "10.1.0.0/16 via 192.0.2.2 path 65001 4200000000 65001:100 no-export rt:65001:7 65001:1:2",
        "end of ipv4-unicast",
        "2001:db8:1::/48 via 2001:db8::2 path 65001 65001:100",
        "2001:db8:2::/64 via 2001:db8::2 path 65001",
        "end of ipv6-unicast",
    ];
    assert_eq!(told(BIRD), expected);
}

#[test]
fn frr_is_understood() {
    let expected = [
        "open AS 65001 id 192.0.2.2 hold 180",
        "can ipv4-unicast ipv6-unicast refresh true restart Some(120)",
        "keepalive",
        "10.2.3.0/24 10.9.1.0/24 via 192.0.2.2 path 65001 med 0",
        "2001:db8:2::/64 via ::ffff:192.0.2.2 path 65001 med 0",
        "10.9.0.0/16 via 192.0.2.2 path 65001 med 0 aggregator 65001 192.0.2.2",
        "end of ipv6-unicast",
        "end of ipv4-unicast",
    ];
    assert_eq!(told(FRR), expected);
}

#[test]
fn gobgp_is_understood() {
    let expected = [
        "open AS 65001 id 192.0.2.2 hold 90",
        "can ipv4-unicast ipv6-unicast refresh true restart Some(120)",
        "keepalive",
        "10.2.3.0/24 via 192.0.2.2 path 65001",
        "10.1.0.0/16 via 192.0.2.2 path 65001 4200000000 med 50 65001:100 no-export rt:65001:7 65001:1:2",
        "end of ipv4-unicast",
        "2001:db8:1::/48 via 2001:db8::2 path 65001 65001:100",
        "2001:db8:2::/64 via 2001:db8::2 path 65001",
        "end of ipv6-unicast",
    ];
    assert_eq!(told(GOBGP), expected);
}
