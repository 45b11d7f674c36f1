//! The overlay: one VXLAN device, and the entries that tell it where each other node is.

use std::net::IpAddr;

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
