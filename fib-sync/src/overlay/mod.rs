//! The overlay: one tunnel device. VXLAN needs entries that tell it where each other node is, WireGuard a peer for each; IP in
//! IP finds that in the routes, be it the gateway or the next hop's own tunnel.

pub mod checksum;
pub(crate) mod conduct;
pub(crate) mod ip6tnl;
mod ipip;
mod mtu;
mod neighbours;
mod own;
mod vxlan;
pub(crate) mod wireguard;

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

pub(crate) use mtu::{towards, underlay};
pub(crate) use neighbours::Neighbours;
use netlink_packet_route::link::LinkMessage;
pub(crate) use wireguard::{Control, Peers};
pub use wireguard::{PeerStatus, PrivateKey, PublicKey};

use self::{ip6tnl::Ip6Tnl, ipip::IpIp, vxlan::Vxlan, wireguard::WireGuard};
use crate::{FibError, device, links::Links, netlink::Socket};

/// How packets are wrapped, with what both ends have to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encapsulation {
    /// VXLAN (RFC 7348): IPv4 and IPv6, over either.
    Vxlan {
        /// VNI of this node, 1..=0xffffff.
        vni: u32,
        /// UDP port of all nodes, 1..=65535.
        port: u16,
    },
    /// IP in IP (RFC 2003): IPv4 over IPv4.
    IpIp,
    /// IP in IPv6 (RFC 2473): IPv4 and IPv6 over IPv6.
    Ip6Tnl,
    /// WireGuard: IPv4 and IPv6, over either, encrypted.
    WireGuard {
        /// UDP port of this node, 1..=65535; others say their own.
        port: u16,
    },
}

impl Encapsulation {
    /// Its name, as people write it: `vxlan`, `ipip` over either, `wireguard`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Vxlan { .. } => "vxlan",
            Self::IpIp | Self::Ip6Tnl => "ipip",
            Self::WireGuard { .. } => "wireguard",
        }
    }

    /// Whether IPv6 packets go into it.
    #[must_use]
    pub fn carries_ipv6(self) -> bool {
        match self {
            Self::IpIp => false,
            Self::Vxlan { .. } | Self::Ip6Tnl | Self::WireGuard { .. } => true,
        }
    }

    /// The name of its device.
    #[must_use]
    pub fn device(self) -> &'static str {
        match self {
            Self::Vxlan { .. } => VXLAN_DEVICE,
            Self::IpIp => IPIP_DEVICE,
            Self::Ip6Tnl => IP6TNL_DEVICE,
            Self::WireGuard { .. } => WIREGUARD_DEVICE,
        }
    }
}

/// Name of the VXLAN device.
pub const VXLAN_DEVICE: &str = "linnet.vxlan";
/// Name of the IP-in-IP device.
pub const IPIP_DEVICE: &str = "linnet.ipip";
/// Name of the device for IP in IPv6.
pub const IP6TNL_DEVICE: &str = "linnet.ip6tnl";
/// Name of the WireGuard device.
pub const WIREGUARD_DEVICE: &str = "linnet.wg";
/// Of all encapsulations.
const DEVICES: [&str; 4] = [VXLAN_DEVICE, IPIP_DEVICE, IP6TNL_DEVICE, WIREGUARD_DEVICE];

/// What the overlay should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverlaySpec {
    /// How packets are wrapped.
    pub encapsulation: Encapsulation,
    /// Outer source address.
    pub local: IpAddr,
    /// MTU of the device; `None`: the underlay device's less the tunnel's cost (VXLAN: 50 octets over IPv4, 70 over IPv6; IP
    /// in IP: 20 and 40; WireGuard: 60 and 80).
    pub mtu: Option<u32>,
    /// WireGuard's, and needed there.
    pub key: Option<Arc<PrivateKey>>,
    /// WireGuard's: sessions with all peers are held while nothing is sent, so that a path can move into its tunnel at any time
    /// and no packet has to wait for a handshake. One of two nodes, each of which wants it, sends a keepalive now and then.
    pub hold_sessions: bool,
}

/// What the overlay is: also what the node announces about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverlayStatus {
    /// Name of the device.
    pub device: String,
    /// How packets are wrapped.
    pub encapsulation: Encapsulation,
    /// Its MTU, octets.
    pub mtu: u32,
    /// Outer source address.
    pub local: IpAddr,
    /// This node's public key, of WireGuard.
    pub key: Option<PublicKey>,
}

impl OverlayStatus {
    /// How long a packet becomes on the wire that is so long when it enters the tunnel, octets.
    #[must_use]
    pub fn outside(&self, inside: u32) -> u32 {
        inside + mtu::cost(self.encapsulation, self.local)
    }

    /// The MAC of a VXLAN device: the same after each restart. `None`: the encapsulation has none.
    #[must_use]
    pub fn mac(&self) -> Option<[u8; 6]> {
        match self.encapsulation {
            Encapsulation::Vxlan { vni, .. } => Some(mac(self.local, vni)),
            Encapsulation::IpIp | Encapsulation::Ip6Tnl | Encapsulation::WireGuard { .. } => None,
        }
    }
}

/// The overlay as the engine knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Overlay {
    pub(crate) spec: OverlaySpec,
    pub(crate) status: OverlayStatus,
    /// Interface index.
    pub(crate) link: u32,
    /// Somebody has made something else of the device, which only a new one mends.
    pub(crate) altered: bool,
}

/// Makes the device as wanted, keeping what is there if it is the same: a device made anew loses every route by it.
/// Returns its interface index and what it is.
pub(crate) fn ensure(
    socket: &mut Socket,
    control: &mut Control,
    spec: &OverlaySpec,
    mtu: u32,
) -> Result<(u32, OverlayStatus), FibError> {
    let name = spec.encapsulation.device();
    let mut key = None;
    let made = match spec.encapsulation {
        Encapsulation::Vxlan { vni, port } => own::ensure(&Vxlan::new(vni, port, spec.local)?, mtu, socket)?,
        Encapsulation::IpIp => own::ensure(&IpIp::new(spec.local)?, mtu, socket)?,
        Encapsulation::Ip6Tnl => own::ensure(&Ip6Tnl::new(spec.local)?, mtu, socket)?,
        Encapsulation::WireGuard { port } => {
            let Some(private) = spec.key.as_deref().filter(|_| port != 0) else {
                return Err(FibError::Invalid(format!(
                    "WireGuard's port {port} is out of range, or this node has no key; the overlay is not made; set overlay.port to \
                     1..65535"
                )));
            };
            let made = own::ensure(&WireGuard, mtu, socket)?;
            key = Some(control.identify(private, port)?);
            made
        }
    };
    conduct::ensure(socket, name, made.index)?;
    if made.mtu != mtu || !made.up {
        device::set(socket, name, made.index, Some(mtu), true)?;
    }
    let status = OverlayStatus { device: name.into(), encapsulation: spec.encapsulation, mtu, local: spec.local, key };
    Ok((made.index, status))
}

/// Whether the device is there with all that [`ensure`] would make anew, were it otherwise.
pub(crate) fn stands(socket: &mut Socket, spec: &OverlaySpec) -> Result<bool, FibError> {
    match spec.encapsulation {
        Encapsulation::Vxlan { vni, port } => own::stands(&Vxlan::new(vni, port, spec.local)?, socket),
        Encapsulation::IpIp => own::stands(&IpIp::new(spec.local)?, socket),
        Encapsulation::Ip6Tnl => own::stands(&Ip6Tnl::new(spec.local)?, socket),
        Encapsulation::WireGuard { .. } => own::stands(&WireGuard, socket),
    }
}

/// Whether what the kernel tells of the device is anything that [`ensure`] would make anew.
pub(crate) fn is_altered(spec: &OverlaySpec, link: &LinkMessage) -> bool {
    let serves = match spec.encapsulation {
        Encapsulation::Vxlan { vni, port } => Vxlan::new(vni, port, spec.local).map(|kind| own::serves(&kind, link)),
        Encapsulation::IpIp => IpIp::new(spec.local).map(|kind| own::serves(&kind, link)),
        Encapsulation::Ip6Tnl => Ip6Tnl::new(spec.local).map(|kind| own::serves(&kind, link)),
        Encapsulation::WireGuard { .. } => Ok(own::serves(&WireGuard, link)),
    };
    matches!(serves, Ok(Some(false)))
}

/// A device as it was found or made.
#[derive(Clone, Copy, Debug)]
struct Made {
    index: u32,
    mtu: u32,
    up: bool,
}

/// Removes the devices of all encapsulations; done already is done.
pub(crate) fn remove(socket: &mut Socket) -> Result<(), FibError> {
    DEVICES.into_iter().try_for_each(|name| remove_named(socket, name))
}

fn remove_named(socket: &mut Socket, name: &str) -> Result<(), FibError> {
    match device::find(socket, name)? {
        Some(found) => device::remove(socket, name, found.index),
        None => Ok(()),
    }
}

/// The devices of other encapsulations than this, by interface index: what stands when another is configured.
pub(crate) fn others(wanted: Encapsulation, links: &Links) -> Vec<(u32, &'static str)> {
    let others = DEVICES.into_iter().filter(|name| *name != wanted.device());
    others.filter_map(|name| Some((links.by_name(name)?.0, name))).collect()
}

/// The interface indexes of all of Linnet's overlay devices that there are.
pub(crate) fn all(links: &Links) -> Vec<u32> {
    DEVICES.into_iter().filter_map(|name| Some(links.by_name(name)?.0)).collect()
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
