//! How large a packet fits into the tunnel.

use std::net::IpAddr;

use super::{DEVICES, Encapsulation, Overlay, OverlaySpec};
use crate::links::Links;

/// Octets that a tunnel adds: the outer IPv4 20 or IPv6 40, and for VXLAN (RFC 7348, section 5) inner Ethernet 14, VXLAN 8
/// and UDP 8; for WireGuard UDP 8, type, receiver and counter 16, and the authentication tag 16.
pub(super) fn cost(encapsulation: Encapsulation, local: IpAddr) -> u32 {
    let outer = if local.is_ipv6() { 40 } else { 20 };
    match encapsulation {
        Encapsulation::Vxlan { .. } => outer + 30,
        Encapsulation::IpIp | Encapsulation::Ip6Tnl => outer,
        Encapsulation::WireGuard { .. } => outer + 40,
    }
}

/// IPv6's smallest link (RFC 8200, section 5): less would switch IPv6 off on the device.
const SMALLEST: u32 = 1280;

/// What fits into the tunnel where so much fits on the way.
fn inside(spec: &OverlaySpec, outside: u32) -> u32 {
    outside.saturating_sub(cost(spec.encapsulation, spec.local)).max(SMALLEST)
}

/// What fits into the tunnel to an end, where so much fits on the way there: that may lead by another device than the one that
/// the overlay device's MTU comes from. An MTU that the configuration names is for all.
pub(crate) fn towards(overlay: &Overlay, outside: Option<u32>) -> u32 {
    match (overlay.spec.mtu, outside) {
        (None, Some(outside)) => overlay.status.mtu.min(inside(&overlay.spec, outside)),
        (Some(_), _) | (None, None) => overlay.status.mtu,
    }
}

/// MTU for the overlay device: the underlay's less the tunnel's cost. The underlay is the device with the local
/// address; if that is `lo` (a node with a loopback address and several uplinks), the narrowest device with an address.
/// `None`: no device has the address.
pub(crate) fn underlay(spec: &OverlaySpec, links: &Links) -> Option<u32> {
    let (_, owner) = links.owner(spec.local)?;
    let mtu = if owner.loopback {
        links
            .iter()
            .filter(|(index, link)| {
                link.up && !link.loopback && !DEVICES.contains(&&*link.name) && links.has_address(*index)
            })
            .map(|(_, link)| link.mtu)
            .min()
            .unwrap_or(1500)
    } else {
        owner.mtu
    };
    Some(inside(spec, mtu))
}
