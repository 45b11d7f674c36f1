//! The kernel's own answer to the question how a next hop is reached.

use std::net::IpAddr;

/// How this host reaches an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// On a link of this host.
    Adjacent {
        /// The link's device.
        device: String,
        /// Octets of the largest packet on the way there.
        mtu: u32,
    },
    /// By a router.
    Routed {
        /// The router.
        via: IpAddr,
        /// The device towards it.
        device: String,
        /// Octets of the largest packet on the way there.
        mtu: u32,
    },
    /// It is this host's own.
    Local,
    /// Not at all.
    Unreachable {
        /// What the kernel said.
        error: String,
    },
}
