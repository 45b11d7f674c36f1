//! What this node announces: its pods' blocks and `bgp.networks`, with the tunnel by which it can be reached (RFC 9012).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bgp_proto::types::{NextHop, Prefix};
use bgp_proto::wire::aspath::AsPath;
use bgp_proto::wire::attributes::{Attributes, Origin};
use bgp_proto::wire::tunnel::Tunnel;
use bytes::Bytes;
use fib_sync::overlay::mac;
use fib_sync::{Encapsulation, OverlayStatus};

use crate::config::Config;
use crate::routes::covers;

/// The whole set of routes to originate. `overlay`: our device, which exists before anyone hears of it.
#[must_use]
pub fn originate(config: &Config, overlay: Option<&OverlayStatus>) -> Vec<(Prefix, Attributes)> {
    let tunnel = overlay.and_then(|device| match device.encapsulation {
        Encapsulation::Vxlan { vni, port } => Some(Tunnel::Vxlan {
            endpoint: device.local,
            vni,
            mac: mac(device.local, vni),
            udp_port: (port != 4789).then_some(port),
            other: Bytes::new(),
        }),
        Encapsulation::IpIp | Encapsulation::Ip6Tnl => {
            Some(Tunnel::IpIp { endpoint: device.local, other: Bytes::new() })
        }
        Encapsulation::WireGuard { port } => device.key.map(|key| Tunnel::WireGuard {
            endpoint: device.local,
            key: key.0,
            udp_port: port,
            other: Bytes::new(),
        }),
    });
    let mut prefixes: Vec<Prefix> = config.node.pod_cidrs.iter().chain(&config.bgp.networks).copied().collect();
    prefixes.sort_unstable();
    prefixes.dedup();
    prefixes
        .into_iter()
        .map(|prefix| {
            // Unspecified: each session says its own address (see `Rib::originate`).
            let ourselves = match prefix.address() {
                IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            };
            let mut attributes = Attributes::new(Origin::Igp, AsPath::default(), NextHop::from(ourselves));
            // What leads to this node's address, the tunnel's end, does not go through the tunnel, nor IPv6 through IP in IPv4.
            let carries =
                |device: &OverlayStatus| device.encapsulation != Encapsulation::IpIp || prefix.address().is_ipv4();
            let through = overlay.is_some_and(|device| carries(device) && !covers(prefix, device.local));
            attributes.tunnels = tunnel.iter().filter(|_| through).cloned().collect();
            (prefix, attributes)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, parse};

    fn config() -> Config {
        let text = "[node]\nname = \"n\"\naddress = \"192.168.10.11\"\npod-cidrs = [\"fd00:244:1::/64\", \"10.244.1.0/24\"]\n[bgp]\nasn = 64512\nnetworks = [\"203.0.113.0/24\", \"10.244.1.0/24\"]\n";
        parse("f", text, &Environment { host_name: None, address: None }).unwrap().config
    }

    #[test]
    fn each_block_and_network_is_announced_once_by_ourselves() {
        let routes = originate(&config(), None);
        let prefixes: Vec<String> = routes.iter().map(|(prefix, _)| prefix.to_string()).collect();
        assert_eq!(prefixes, ["10.244.1.0/24", "203.0.113.0/24", "fd00:244:1::/64"]);
        assert!(routes.iter().all(|(_, attributes)| attributes.next_hop.address().is_unspecified()));
        assert!(routes.iter().all(|(_, attributes)| attributes.tunnels.is_empty()));
    }

    #[test]
    fn the_tunnel_that_is_announced_is_the_device_that_exists() {
        for (port, announced) in [(4789, None), (8472, Some(8472))] {
            let device = OverlayStatus {
                device: "linnet.vxlan".into(),
                encapsulation: Encapsulation::Vxlan { vni: 4096, port },
                mtu: 1450,
                local: "192.168.10.11".parse().unwrap(),
                key: None,
            };
            let wanted = Tunnel::Vxlan {
                endpoint: device.local,
                vni: 4096,
                mac: device.mac().unwrap(),
                udp_port: announced,
                other: Bytes::new(),
            };
            let mut config = config();
            config.bgp.networks.push("192.168.10.11/32".parse().unwrap());
            for (prefix, attributes) in originate(&config, Some(&device)) {
                if prefix.to_string() == "192.168.10.11/32" {
                    assert!(attributes.tunnels.is_empty(), "the tunnel's own end is not reached through it");
                    continue;
                }
                assert_eq!(&*attributes.tunnels, std::slice::from_ref(&wanted), "{prefix}");
            }
        }
    }

    #[test]
    fn ipip_is_announced_with_ipv4_alone() {
        let local: IpAddr = "192.168.10.11".parse().unwrap();
        let device = OverlayStatus {
            device: "linnet.ipip".into(),
            encapsulation: Encapsulation::IpIp,
            mtu: 1480,
            local,
            key: None,
        };
        for (prefix, attributes) in originate(&config(), Some(&device)) {
            let wanted = Tunnel::IpIp { endpoint: local, other: Bytes::new() };
            let wanted: Vec<Tunnel> = if prefix.address().is_ipv4() { vec![wanted] } else { Vec::new() };
            assert_eq!(&*attributes.tunnels, wanted, "{prefix}");
        }
    }

    #[test]
    fn ip_in_ipv6_is_announced_for_both_families_but_not_for_what_leads_to_its_end() {
        let local: IpAddr = "fd00:10::11".parse().unwrap();
        let device = OverlayStatus {
            device: "linnet.ip6tnl".into(),
            encapsulation: Encapsulation::Ip6Tnl,
            mtu: 1460,
            local,
            key: None,
        };
        let mut config = config();
        config.bgp.networks.push("fd00:10::11/128".parse().unwrap());
        for (prefix, attributes) in originate(&config, Some(&device)) {
            let wanted = Tunnel::IpIp { endpoint: local, other: Bytes::new() };
            let wanted: Vec<Tunnel> = if covers(prefix, local) { Vec::new() } else { vec![wanted] };
            assert_eq!(&*attributes.tunnels, wanted, "{prefix}");
        }
    }

    #[test]
    fn wireguard_is_announced_with_key_and_port_for_both_families() {
        let local: IpAddr = "192.168.10.11".parse().unwrap();
        let device = OverlayStatus {
            device: "linnet.wg".into(),
            encapsulation: Encapsulation::WireGuard { port: 51820 },
            mtu: 1440,
            local,
            key: Some(fib_sync::PublicKey([7; 32])),
        };
        for (prefix, attributes) in originate(&config(), Some(&device)) {
            let wanted = Tunnel::WireGuard { endpoint: local, key: [7; 32], udp_port: 51820, other: Bytes::new() };
            assert_eq!(&*attributes.tunnels, [wanted], "{prefix}");
        }
        let keyless = OverlayStatus { key: None, ..device };
        assert!(originate(&config(), Some(&keyless)).iter().all(|(_, attributes)| attributes.tunnels.is_empty()));
    }
}
