//! The tunnel that a next hop itself names (a lightweight tunnel, linux/lwtunnel.h): IPv6 in front of what goes by it, for a device that
//! takes its ends from there.

use std::net::Ipv6Addr;

use netlink_packet_core::{Emitable, NlasIterator, Parseable};
use netlink_packet_route::route::{RouteAttribute, RouteIp6Tunnel, RouteLwEnCapType, RouteLwTunnelEncap};

/// `LWTUNNEL_ENCAP_IP6`.
pub(crate) const LWTUNNEL_ENCAP_IP6: u16 = 4;

/// The outer header, as far as it is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Encap {
    pub(crate) from: Ipv6Addr,
    pub(crate) to: Ipv6Addr,
    pub(crate) hop_limit: u8,
}

impl Encap {
    /// What the kernel gives packets of its own that nobody says otherwise of (RFC 1700: 64).
    const HOP_LIMIT: u8 = 64;

    /// What Linnet asks for.
    pub(crate) fn new(from: Ipv6Addr, to: Ipv6Addr) -> Self {
        Self { from, to, hop_limit: Self::HOP_LIMIT }
    }

    /// For a route or one of its hops (`RTA_ENCAP_TYPE`, `RTA_ENCAP`).
    pub(crate) fn of_route(self) -> [RouteAttribute; 2] {
        [RouteAttribute::EncapType(RouteLwEnCapType::Ip6), RouteAttribute::Encap(self.attributes())]
    }

    /// What is in `RTA_ENCAP` and `NHA_ENCAP`.
    pub(crate) fn octets(self) -> Vec<u8> {
        octets(&self.attributes())
    }

    fn attributes(self) -> Vec<RouteLwTunnelEncap> {
        let Self { from, to, hop_limit } = self;
        let said = [RouteIp6Tunnel::Destination(to), RouteIp6Tunnel::Source(from), RouteIp6Tunnel::Hoplimit(hop_limit)];
        said.into_iter().map(RouteLwTunnelEncap::Ip6).collect()
    }

    /// Of a route or one of its hops; `None`: it has none of this kind.
    pub(crate) fn read_route(attributes: &[RouteAttribute]) -> Option<Self> {
        let of_ip6 = |attribute: &RouteAttribute| *attribute == RouteAttribute::EncapType(RouteLwEnCapType::Ip6);
        let inside = attributes.iter().find_map(|attribute| match attribute {
            // In a hop of several the crate does not look for the kind, and leaves the rest as it came.
            RouteAttribute::Encap(inside) => Some(octets(inside)),
            _ => None,
        });
        attributes.iter().any(of_ip6).then_some(inside).flatten().and_then(|inside| Self::read(&inside))
    }

    /// What [`Encap::octets`] wrote, and the kernel with more; `None`: no end is in it.
    pub(crate) fn read(octets: &[u8]) -> Option<Self> {
        let (mut from, mut to, mut hop_limit) = (Ipv6Addr::UNSPECIFIED, None, 0);
        for attribute in NlasIterator::new(octets).map_while(Result::ok) {
            match RouteIp6Tunnel::parse(&attribute) {
                Ok(RouteIp6Tunnel::Destination(address)) => to = Some(address),
                Ok(RouteIp6Tunnel::Source(address)) => from = address,
                Ok(RouteIp6Tunnel::Hoplimit(limit)) => hop_limit = limit,
                _ => {}
            }
        }
        Some(Self { from, to: to?, hop_limit })
    }
}

fn octets(attributes: &[RouteLwTunnelEncap]) -> Vec<u8> {
    let mut octets = vec![0; attributes.buffer_len()];
    attributes.emit(&mut octets);
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_cut_anywhere_it_does_not_panic() {
        let encap = Encap::new("fd00:1::1".parse().expect("an address"), "fd00:2::1".parse().expect("an address"));
        assert_eq!(Encap::read(&encap.octets()), Some(encap));
        assert_eq!(Encap::read_route(&encap.of_route()), Some(encap));
        for end in 0..encap.octets().len() {
            let _ = Encap::read(&encap.octets()[..end]);
        }
        let [kind, _] = encap.of_route();
        assert_eq!(Encap::read_route(&[kind]), None);
    }
}
