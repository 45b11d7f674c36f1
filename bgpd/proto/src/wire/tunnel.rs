//! The Tunnel Encapsulation attribute (RFC 9012): how to reach a next hop that is not adjacent.

use std::net::IpAddr;

use bytes::Bytes;

/// One tunnel that a node offers for reaching what it announces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tunnel {
    /// Tunnel type 8 (RFC 9012 section 3.2.1).
    Vxlan {
        /// The tunnel egress endpoint (section 3.1).
        endpoint: IpAddr,
        /// VXLAN network identifier, 24 bits.
        vni: u32,
        /// The MAC address of the far end's VXLAN device.
        mac: [u8; 6],
        /// The UDP destination port (section 3.3.1), if it is not 4789.
        udp_port: Option<u16>,
        /// Sub-TLVs that Linnet does not use, as they came: they are passed on (RFC 9012 section 13). Empty for our own.
        other: Bytes,
    },
    /// Tunnel type 7, IP in IP.
    IpIp {
        /// The tunnel egress endpoint.
        endpoint: IpAddr,
        /// As for VXLAN.
        other: Bytes,
    },
    /// Any other type, or one that lacks what Linnet needs: passed on as it came, not used.
    Unknown {
        /// The tunnel type.
        kind: u16,
        /// The TLV's value.
        value: Bytes,
    },
}
