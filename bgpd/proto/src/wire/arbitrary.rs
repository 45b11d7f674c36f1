//! Generators for property tests: values that can stand in a message, in the canonical form that the parser gives.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::aspath::{AsPath, SegmentKind};
use super::attributes::{Aggregator, Attributes, Origin, UnknownAttribute};
use super::capability::{AddPath, Capability, GracefulRestart, LongLived};
use super::community::{Community, ExtendedCommunity, LargeCommunity};
use super::tunnel::{Tunnel, WIREGUARD};
use super::{Message, Notification, Open, RefreshMark, RouteRefresh, UpdateContext};
use crate::types::{
    Asn, ClusterId, Family, FamilySet, HoldTime, Ipv4Prefix, Ipv6Prefix, LinkLocal, NextHop, Nlri, PathId, Prefix,
    RouterId,
};

/// One that somebody may have.
pub(crate) fn asn() -> impl Strategy<Value = Asn> {
    prop_oneof![1..23456u32, 23457..65536u32, 65536..=u32::MAX].prop_map(Asn)
}

/// Segments as the parser leaves them: none empty, no two sequences side by side, sets of at most 255.
pub(crate) fn as_path() -> impl Strategy<Value = AsPath> {
    let segment = prop_oneof![
        1 => vec(asn(), 1..=255).prop_map(|asns| (SegmentKind::Set, asns)),
        4 => vec(asn(), 1..6).prop_map(|asns| (SegmentKind::Sequence, asns)),
        1 => vec(asn(), 250..520).prop_map(|asns| (SegmentKind::Sequence, asns)),
    ];
    vec(segment, 0..4).prop_map(|segments| {
        let mut path = AsPath::default();
        for (kind, asns) in segments {
            let joins = path.segments.last().is_some_and(|(last, _)| (*last, kind) == (SegmentKind::Sequence, kind));
            if !joins {
                path.segments.push((kind, asns.into_boxed_slice()));
            }
        }
        path
    })
}

pub(crate) fn family() -> impl Strategy<Value = Family> {
    prop::sample::select(&Family::ALL[..])
}

pub(crate) fn families() -> impl Strategy<Value = FamilySet> {
    vec(family(), 0..3).prop_map(FamilySet::from_iter)
}

/// With or without path identifiers; the first two octets are few, so that prefixes overlap.
pub(crate) fn nlri(family: Family) -> impl Strategy<Value = Nlri> {
    let prefix = (any::<u128>(), 0..=family.bits()).prop_map(move |(bits, length)| match family {
        Family::Ipv4Unicast => Ipv4Prefix::new(Ipv4Addr::from(bits as u32), length).map(Prefix::V4),
        Family::Ipv6Unicast => Ipv6Prefix::new(Ipv6Addr::from(bits), length).map(Prefix::V6),
    });
    (prefix, any::<u32>()).prop_filter_map("a length within the family", |(prefix, id)| {
        Some(Nlri { prefix: prefix?, path_id: PathId(id) })
    })
}

pub(crate) fn nlri_of_any_family() -> impl Strategy<Value = Vec<Nlri>> {
    vec(family().prop_flat_map(nlri), 0..40)
}

fn host4() -> impl Strategy<Value = Ipv4Addr> {
    (1..224u8, any::<[u8; 3]>()).prop_map(|(a, [b, c, d])| Ipv4Addr::new(a, b, c, d))
}

fn global6() -> impl Strategy<Value = Ipv6Addr> {
    (0x2000..0x4000u16, any::<[u16; 7]>()).prop_map(|(a, [b, c, d, e, f, g, h])| Ipv6Addr::new(a, b, c, d, e, f, g, h))
}

fn link_local() -> impl Strategy<Value = Ipv6Addr> {
    any::<u64>().prop_map(|low| Ipv6Addr::from(0xfe80_u128 << 112 | u128::from(low)))
}

/// One that prefixes of `family` can have.
pub(crate) fn next_hop(family: Family) -> BoxedStrategy<NextHop> {
    let v6 = prop_oneof![
        (global6(), option::of(link_local())).prop_map(|(global, link_local)| {
            let link_local = link_local.map(|address| LinkLocal { address, link: None });
            NextHop::V6 { global, link_local }
        }),
        link_local().prop_map(|address| NextHop::link_local(address, None)),
    ];
    match family {
        Family::Ipv4Unicast => prop_oneof![host4().prop_map(NextHop::V4), v6].boxed(),
        Family::Ipv6Unicast => v6.boxed(),
    }
}

pub(crate) fn tunnel() -> impl Strategy<Value = Tunnel> {
    let endpoint = || prop_oneof![host4().prop_map(IpAddr::V4), global6().prop_map(IpAddr::V6)];
    // Color (RFC 9012 section 3.4.2) and a sub-TLV of two octets of length.
    let other = || {
        prop::sample::select(vec![&b""[..], b"\x04\x08\x03\x0b\x00\x00\x00\x00\x00\x07", b"\x80\x00\x01\x07"])
            .prop_map(Bytes::from_static)
    };
    prop_oneof![
        (endpoint(), 0..1u32 << 24, any::<[u8; 6]>(), option::of(1..4789u16), other())
            .prop_map(|(endpoint, vni, mac, udp_port, other)| Tunnel::Vxlan { endpoint, vni, mac, udp_port, other }),
        (endpoint(), other()).prop_map(|(endpoint, other)| Tunnel::IpIp { endpoint, other }),
        (endpoint(), any::<[u8; 32]>(), 1u16.., other()).prop_map(|(endpoint, key, udp_port, other)| {
            // All zero is no key.
            let key = if key == [0; 32] { [1; 32] } else { key };
            Tunnel::WireGuard { endpoint, key, udp_port, other }
        }),
        (9..WIREGUARD, other()).prop_map(|(kind, value)| Tunnel::Unknown { kind, value }),
    ]
}

fn sorted<T: Ord>(mut values: Vec<T>) -> Box<[T]> {
    values.sort_unstable();
    values.dedup();
    values.into_boxed_slice()
}

fn unknown() -> impl Strategy<Value = Box<[UnknownAttribute]>> {
    let code = prop::sample::select(&[0u8, 11, 20, 24, 31, 33, 36, 40, 99, 128, 255][..]);
    vec((code, vec(any::<u8>(), 0..300)), 0..3).prop_map(|values| {
        let mut unknown: Vec<_> =
            values.into_iter().map(|(code, value)| UnknownAttribute { code, value: value.into() }).collect();
        unknown.sort();
        unknown.dedup_by_key(|attribute| attribute.code);
        unknown.into_boxed_slice()
    })
}

/// A set that fits prefixes of `family`, as an internal peer may send it.
pub(crate) fn attributes(family: Family) -> impl Strategy<Value = Attributes> {
    let id = || any::<u32>().prop_map(|id| RouterId(Ipv4Addr::from(id)));
    let large = any::<[u32; 3]>().prop_map(|[global, local1, local2]| LargeCommunity { global, local1, local2 });
    let first = (
        prop::sample::select(&Origin::ALL[..]),
        as_path(),
        next_hop(family),
        option::of(any::<u32>()),
        option::of(any::<u32>()),
        any::<bool>(),
        option::of((asn(), id()).prop_map(|(asn, router_id)| Aggregator { asn, router_id })),
    );
    let second = (
        vec(any::<u32>().prop_map(Community), 0..80).prop_map(sorted),
        vec(any::<[u8; 8]>().prop_map(ExtendedCommunity), 0..4).prop_map(sorted),
        vec(large, 0..4).prop_map(sorted),
        option::of(id()),
        vec(any::<u32>().prop_map(|id| ClusterId(Ipv4Addr::from(id))), 0..4),
        vec(tunnel(), 0..3),
        (option::of(asn()), unknown()),
    );
    (first, second).prop_map(|(first, second)| {
        let (origin, as_path, next_hop, med, local_pref, atomic_aggregate, aggregator) = first;
        let (communities, extended_communities, large_communities, originator_id, clusters, tunnels, (otc, unknown)) =
            second;
        Attributes {
            origin,
            as_path,
            next_hop,
            med,
            local_pref,
            atomic_aggregate,
            aggregator,
            communities,
            extended_communities,
            large_communities,
            originator_id,
            cluster_list: clusters.into_boxed_slice(),
            tunnels: tunnels.into_boxed_slice(),
            otc,
            weight: 0,
            hints: None,
            unknown,
        }
    })
}

/// Of an internal session with both families; path identifiers, AS numbers and message size as they come.
pub(crate) fn context() -> impl Strategy<Value = UpdateContext> {
    (any::<bool>(), families(), prop::sample::select(&[4096usize, 65535][..])).prop_map(
        |(four_octet_as, add_path, max_message_len)| UpdateContext {
            four_octet_as,
            external: false,
            families: FamilySet::from_iter(Family::ALL),
            add_path,
            extended_next_hop: FamilySet::from_iter([Family::Ipv4Unicast]),
            link: None,
            max_message_len,
        },
    )
}

fn capability() -> impl Strategy<Value = Capability> {
    let restart = (any::<bool>(), any::<bool>(), 0..4096u16, vec((family(), any::<bool>()), 0..3)).prop_map(
        |(restarting, notification, restart_seconds, families)| {
            Capability::GracefulRestart(GracefulRestart { restarting, notification, restart_seconds, families })
        },
    );
    let add_path = prop::sample::select(&[(true, false), (false, true), (true, true)][..])
        .prop_map(|(send, receive)| AddPath { send, receive });
    let long_lived = (family(), any::<bool>(), 0..0x0100_0000u32)
        .prop_map(|(family, forwarding, stale_seconds)| LongLived { family, forwarding, stale_seconds });
    prop_oneof![
        vec((family(), add_path), 0..3).prop_map(Capability::AddPath),
        vec(long_lived, 0..3).prop_map(Capability::LongLivedGracefulRestart),
        family().prop_map(Capability::Multiprotocol),
        (3..u16::MAX, any::<u8>()).prop_map(|(afi, safi)| Capability::UnknownFamily { afi, safi }),
        Just(Capability::RouteRefresh),
        Just(Capability::EnhancedRouteRefresh),
        Just(Capability::ExtendedMessage),
        any::<u8>().prop_map(Capability::Role),
        families().prop_map(Capability::ExtendedNextHop),
        restart,
        (72..=255u8, vec(any::<u8>(), 0..=255))
            .prop_map(|(code, value)| Capability::Unknown { code, value: value.into() }),
    ]
}

fn open() -> impl Strategy<Value = Open> {
    let hold_time = prop_oneof![Just(0u16), 3..=u16::MAX].prop_filter_map("legal", HoldTime::from_seconds);
    (asn(), hold_time, 1..=u32::MAX, vec(capability(), 0..6)).prop_map(|(asn, hold_time, id, mut capabilities)| {
        capabilities.push(Capability::FourOctetAs(asn));
        Open { asn, hold_time, router_id: RouterId(Ipv4Addr::from(id)), capabilities }
    })
}

/// Any message but an UPDATE, which becomes several messages.
pub(crate) fn message_but_update() -> impl Strategy<Value = Message> {
    prop_oneof![
        open().prop_map(Message::Open),
        (any::<u8>(), any::<u8>(), vec(any::<u8>(), 0..200))
            .prop_map(|(code, subcode, data)| Message::Notification(Notification::new(code, subcode, &data))),
        Just(Message::Keepalive),
        family().prop_map(|family| Message::RouteRefresh(RouteRefresh::Request(family))),
        (family(), prop::sample::select(&[RefreshMark::Begin, RefreshMark::End][..]))
            .prop_map(|(family, mark)| Message::RouteRefresh(RouteRefresh::Mark(family, mark))),
        Just(Message::RouteRefresh(RouteRefresh::Ignored)),
    ]
}
