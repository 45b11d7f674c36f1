//! How BGP's values are written for people and for JSON, as every router writes them.

use std::net::Ipv4Addr;

use bgp_proto::rib::RouteView;
use bgp_proto::types::NextHop;
use bgp_proto::wire::aspath::{AsPath, SegmentKind};
use bgp_proto::wire::attributes::{Attributes, Origin};
use bgp_proto::wire::community::{Community, ExtendedCommunity, LargeCommunity};
use bgp_proto::wire::tunnel::Tunnel;

/// `65001 65002 {65003,65004}`; empty for a path that has not left its AS.
pub(super) fn as_path(path: &AsPath) -> String {
    let segment = |(kind, numbers): &(SegmentKind, Box<[bgp_proto::types::Asn]>)| {
        let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
        match kind {
            SegmentKind::Sequence => numbers.join(" "),
            SegmentKind::Set => format!("{{{}}}", numbers.join(",")),
        }
    };
    path.segments.iter().map(segment).collect::<Vec<_>>().join(" ")
}

pub(super) fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Igp => "igp",
        Origin::Egp => "egp",
        Origin::Incomplete => "incomplete",
    }
}

/// Standard, large and extended, in this order.
pub(super) fn communities(attributes: &Attributes) -> Vec<String> {
    let standard = attributes.communities.iter().map(|community| standard(*community));
    let large = attributes.large_communities.iter().map(|community| large(*community));
    let extended = attributes.extended_communities.iter().map(|community| extended(*community));
    standard.chain(large).chain(extended).collect()
}

fn standard(Community(value): Community) -> String {
    format!("{}:{}", value >> 16, value & 0xffff)
}

fn large(community: LargeCommunity) -> String {
    format!("{}:{}:{}", community.global, community.local1, community.local2)
}

/// `rt:65001:100` and `ro:...` (RFC 4360, RFC 5668), everything else as its bytes.
fn extended(ExtendedCommunity(bytes): ExtendedCommunity) -> String {
    let [kind, subtype, a, b, c, d, e, f] = bytes;
    let name = match subtype {
        2 => "rt",
        3 => "ro",
        _ => "",
    };
    if name.is_empty() || kind & 0x3f > 2 {
        return bytes.map(|byte| format!("{byte:02x}")).concat();
    }
    match kind & 0x3f {
        0 => format!("{name}:{}:{}", u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, f])),
        1 => format!("{name}:{}:{}", Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([e, f])),
        _ => format!("{name}:{}:{}", u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes([e, f])),
    }
}

/// `vxlan 10.0.0.5 vni 4096 02:00:00:00:00:07`
pub(super) fn tunnel(tunnel: &Tunnel) -> String {
    match tunnel {
        Tunnel::Vxlan { endpoint, vni, mac: address, udp_port, .. } => {
            let port = udp_port.map(|port| format!(" port {port}")).unwrap_or_default();
            format!("vxlan {endpoint} vni {vni} {}{port}", mac(*address))
        }
        Tunnel::IpIp { endpoint, .. } => format!("ipip {endpoint}"),
        Tunnel::Unknown { kind, .. } => format!("type {kind}"),
    }
}

pub(super) fn mac(address: [u8; 6]) -> String {
    address.map(|byte| format!("{byte:02x}")).join(":")
}

/// Empty where the speaker stands for itself.
fn next_hop(next_hop: NextHop) -> String {
    if next_hop.address().is_unspecified() { String::new() } else { next_hop.to_string() }
}

pub(super) fn route(peer: String, route: &RouteView) -> linnet_api::BgpRoute {
    let attributes = &route.attributes;
    linnet_api::BgpRoute {
        prefix: route.prefix.to_string(),
        next_hop: next_hop(attributes.next_hop),
        peer,
        as_path: as_path(&attributes.as_path),
        local_pref: attributes.local_pref,
        med: attributes.med,
        communities: communities(attributes),
        origin: origin(attributes.origin).into(),
        best: route.best,
        multipath: route.multipath,
        reason: route.reason.clone(),
        age_seconds: route.age.as_secs(),
        stale: route.stale,
        path_id: route.path_id.0,
        tunnels: attributes.tunnels.iter().map(tunnel).collect(),
        validation: route.validation.map(|state| state.to_string()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use bgp_proto::types::Asn;

    use super::*;

    #[test]
    fn paths_and_communities_read_as_on_every_router() {
        let path = AsPath {
            segments: vec![
                (SegmentKind::Sequence, [Asn(65001), Asn(4_200_000_000)].into()),
                (SegmentKind::Set, [Asn(1), Asn(2)].into()),
            ],
        };
        assert_eq!(as_path(&path), "65001 4200000000 {1,2}");
        assert_eq!(as_path(&AsPath::default()), "");
        assert_eq!(standard(Community(0xfde9_0064)), "65001:100");
        for (bytes, text) in [
            ([0, 2, 0xfd, 0xe9, 0, 0, 0, 100], "rt:65001:100"),
            ([1, 3, 10, 0, 0, 1, 0, 7], "ro:10.0.0.1:7"),
            ([2, 2, 0, 1, 0, 0, 0, 7], "rt:65536:7"),
            ([3, 0x0c, 0, 0, 0, 0, 0, 8], "030c000000000008"),
        ] {
            assert_eq!(extended(ExtendedCommunity(bytes)), text);
        }
    }
}
