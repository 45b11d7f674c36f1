//! How BGP's values are written for people and for JSON, as every router writes them.

use bgp_proto::rib::RouteView;
use bgp_proto::types::{NextHop, Prefix};
use bgp_proto::wire::aspath::{AsPath, SegmentKind};
use bgp_proto::wire::attributes::{Aggregator, Attributes, Origin};
use bgp_proto::wire::community::{Community, LargeCommunity};
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
    let extended = attributes.extended_communities.iter().map(ToString::to_string);
    standard.chain(large).chain(extended).collect()
}

fn standard(Community(value): Community) -> String {
    format!("{}:{}", value >> 16, value & 0xffff)
}

fn large(community: LargeCommunity) -> String {
    format!("{}:{}:{}", community.global, community.local1, community.local2)
}

/// `vxlan 10.0.0.5 vni 4096 02:00:00:00:00:07`
pub(super) fn tunnel(tunnel: &Tunnel) -> String {
    match tunnel {
        Tunnel::Vxlan { endpoint, vni, mac: address, udp_port, .. } => {
            let port = udp_port.map(|port| format!(" port {port}")).unwrap_or_default();
            format!("vxlan {endpoint} vni {vni} {}{port}", mac(*address))
        }
        Tunnel::IpIp { endpoint, .. } => format!("ipip {endpoint}"),
        Tunnel::WireGuard { endpoint, udp_port, key, .. } => {
            format!("wireguard {endpoint} port {udp_port} key {}", fib_sync::PublicKey(*key))
        }
        Tunnel::Unknown { kind, .. } => format!("type {kind}"),
    }
}

pub(super) fn mac(address: [u8; 6]) -> String {
    address.map(|byte| format!("{byte:02x}")).join(":")
}

fn aggregator(aggregator: Aggregator) -> linnet_api::Aggregator {
    linnet_api::Aggregator { asn: aggregator.asn.0, router_id: aggregator.router_id.to_string() }
}

/// Empty where the speaker stands for itself.
fn next_hop(next_hop: NextHop) -> String {
    if next_hop.address().is_unspecified() { String::new() } else { next_hop.to_string() }
}

pub(super) fn route(peer: String, route: &RouteView) -> linnet_api::BgpRoute {
    linnet_api::BgpRoute {
        best: route.best,
        multipath: route.multipath,
        reason: route.reason.clone(),
        age_seconds: route.age.as_secs(),
        stale: route.stale,
        path_id: route.path_id.0,
        validation: route.validation.map(|state| state.to_string()).unwrap_or_default(),
        ..bare_route(route.prefix, &peer, &route.attributes)
    }
}

/// A route of which nothing is known but what it says.
pub(super) fn bare_route(prefix: Prefix, peer: &str, attributes: &Attributes) -> linnet_api::BgpRoute {
    linnet_api::BgpRoute {
        prefix: prefix.to_string(),
        next_hop: next_hop(attributes.next_hop),
        peer: peer.to_owned(),
        as_path: as_path(&attributes.as_path),
        local_pref: attributes.local_pref,
        med: attributes.med,
        communities: communities(attributes),
        origin: origin(attributes.origin).into(),
        otc: attributes.otc.map(|asn| asn.0),
        originator_id: attributes.originator_id.map(|id| id.to_string()).unwrap_or_default(),
        cluster_list: attributes.cluster_list.iter().map(|cluster| cluster.0.to_string()).collect(),
        aggregator: attributes.aggregator.map(aggregator),
        atomic_aggregate: attributes.atomic_aggregate,
        tunnels: attributes.tunnels.iter().map(tunnel).collect(),
        weight: attributes.weight,
        hints: attributes
            .hints
            .iter()
            .flat_map(|hints| hints.entries())
            .map(|(key, value)| format!("{key} {value}"))
            .collect(),
        link_bandwidth: attributes.link_bandwidth().map_or(0.0, f64::from),
        ..linnet_api::BgpRoute::default()
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use bgp_proto::types::{Asn, ClusterId, RouterId};

    use super::*;

    #[test]
    fn what_reflectors_and_aggregates_say_of_a_route_is_told_and_nothing_of_one_without() {
        let bare = Attributes::new(Origin::Igp, AsPath::default(), NextHop::from(IpAddr::from([192, 0, 2, 1])));
        let attributes = Attributes {
            atomic_aggregate: true,
            aggregator: Some(Aggregator { asn: Asn(65001), router_id: RouterId([192, 0, 2, 9].into()) }),
            originator_id: Some(RouterId([192, 0, 2, 7].into())),
            cluster_list: [[10, 0, 0, 1], [10, 0, 0, 2]].map(|id| ClusterId(id.into())).into(),
            otc: Some(Asn(4_200_000_000)),
            ..bare.clone()
        };
        let told = |attributes| {
            let route = bare_route("10.0.0.0/8".parse().unwrap(), "a", attributes);
            let aggregator = route.aggregator.map(|it| (it.asn, it.router_id));
            (route.atomic_aggregate, aggregator, route.originator_id, route.cluster_list, route.otc)
        };
        assert_eq!(told(&bare), (false, None, String::new(), vec![], None));
        let aggregator = Some((65001, "192.0.2.9".into()));
        let clusters = vec!["10.0.0.1".into(), "10.0.0.2".into()];
        assert_eq!(told(&attributes), (true, aggregator, "192.0.2.7".into(), clusters, Some(4_200_000_000)));
    }

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
    }
}
