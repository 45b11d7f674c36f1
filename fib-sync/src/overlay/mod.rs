//! The overlay: one VXLAN device, and the entries that tell it where each other node is.

mod mtu;
mod neighbours;
mod vxlan;

use std::net::{IpAddr, Ipv6Addr};

pub(crate) use mtu::underlay;
pub(crate) use neighbours::Neighbours;
pub(crate) use vxlan::{ensure, remove};

/// Name of the VXLAN device.
pub const DEVICE: &str = "linnet.vxlan";

/// What the overlay should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverlaySpec {
    /// VNI of this node, 1..=0xffffff.
    pub vni: u32,
    /// UDP port of all nodes, 1..=65535.
    pub port: u16,
    /// Outer source address.
    pub local: IpAddr,
    /// MTU of the device; `None`: the underlay device's less the tunnel's cost (50 octets over IPv4, 70 over IPv6).
    pub mtu: Option<u32>,
}

/// What the overlay is: also what the node announces about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverlayStatus {
    /// Name of the device.
    pub device: String,
    /// Its MAC: the same after each restart.
    pub mac: [u8; 6],
    /// Its MTU, octets.
    pub mtu: u32,
    /// VNI.
    pub vni: u32,
    /// UDP port.
    pub port: u16,
    /// Outer source address.
    pub local: IpAddr,
}

/// The overlay as the engine knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Overlay {
    pub(crate) spec: OverlaySpec,
    pub(crate) status: OverlayStatus,
    /// Interface index.
    pub(crate) link: u32,
}

/// MAC of a node's overlay device: a hash of its address and VNI, locally administered, so that a node that starts
/// again, or anew from its configuration alone, is the one that its peers have entries for.
pub fn mac(local: IpAddr, vni: u32) -> [u8; 6] {
    let octets = match local {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    };
    let hash = crate::hash::stable(octets.iter().copied().chain(vni.to_be_bytes()));
    let [a, b, c, d, e, f, ..] = hash.to_be_bytes();
    // IEEE 802: bit 0 of the first octet marks a group, bit 1 a locally administered address.
    [a & !1 | 2, b, c, d, e, f]
}

/// The link-local IPv6 address made from a MAC (RFC 4291, appendix A: modified EUI-64).
pub fn link_local([a, b, c, d, e, f]: [u8; 6]) -> Ipv6Addr {
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_is_locally_administered_stable_and_its_nodes_own() {
        let one = mac(IpAddr::from([192, 168, 10, 11]), 4096);
        assert_eq!(one, mac(IpAddr::from([192, 168, 10, 11]), 4096));
        assert_ne!(one, mac(IpAddr::from([192, 168, 10, 12]), 4096));
        assert_ne!(one, mac(IpAddr::from([192, 168, 10, 11]), 4097));
        assert_eq!(one[0] & 3, 2);
    }

    #[test]
    fn a_link_local_address_is_the_modified_eui_64_of_its_mac() {
        let expected: Ipv6Addr = "fe80::a8bb:ccff:fedd:eeff".parse().expect("an address");
        assert_eq!(link_local([0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff]), expected);
    }
}
