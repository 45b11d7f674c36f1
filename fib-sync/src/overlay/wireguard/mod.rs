//! WireGuard: packets between nodes are encrypted. Beside a device it needs a key of this node's and, for each other node, a
//! peer: its public key, where it is, and the prefixes that are its own.

mod control;
mod device;
mod keys;
mod peers;
mod wire;

use std::{
    net::{Ipv6Addr, SocketAddr},
    time::Duration,
};

pub(crate) use control::Control;
pub(super) use device::WireGuard;
pub use keys::{PrivateKey, PublicKey};
pub(crate) use peers::Peers;

/// A peer as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Its public key.
    pub key: PublicKey,
    /// Where packets for it are sent: where it was announced, or where it was last heard from.
    pub endpoint: Option<SocketAddr>,
    /// When the last handshake was, by the wall clock, since 1970 began (UTC); `None`: there has been none.
    pub handshake: Option<Duration>,
    /// Octets that came from it.
    pub received: u64,
    /// Octets that were sent to it.
    pub sent: u64,
    /// How many prefixes it has, its own address among them.
    pub prefixes: usize,
}

impl From<wire::FoundPeer> for PeerStatus {
    fn from(peer: wire::FoundPeer) -> Self {
        Self {
            key: peer.key,
            endpoint: peer.endpoint,
            handshake: peer.handshake,
            received: peer.received,
            sent: peer.sent,
            prefixes: peer.allowed.len(),
        }
    }
}

/// What stands for a peer where a route needs a gateway of IPv6: a link-local address made from its key. The device looks at
/// the destination alone, so that it only tells routes of one peer from those of another.
pub(crate) fn gateway(key: PublicKey) -> Ipv6Addr {
    let [a, b, c, d, e, f, g, h] = crate::hash::stable(key.0).to_be_bytes();
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a, b, c, d, e, f, g, h])
}
