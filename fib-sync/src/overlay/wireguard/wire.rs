//! Generic netlink's family `wireguard` (linux/wireguard.h): messages from and to octets.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use ipnetwork::IpNetwork;
use netlink_packet_core::{Emitable, NetlinkSerializable, NlaBuffer, NlasIterator, ParseableParametrized};
use netlink_packet_generic::{GenlHeader, GenlMessage};
use netlink_packet_wireguard::{
    WireguardAddressFamily, WireguardAllowedIp, WireguardAllowedIpAttr, WireguardAttribute, WireguardCmd,
    WireguardMessage, WireguardPeer, WireguardPeerAttribute, WireguardPeerFlags,
};

use super::{
    PublicKey,
    keys::{PrivateKey, wipe},
};
use crate::{
    netlink::{Answer, Message},
    overlay::WIREGUARD_DEVICE,
};

/// Message type of the family that knows the other families' types (linux/genetlink.h, GENL_ID_CTRL).
const GENL_ID_CTRL: u16 = 16;
/// linux/genetlink.h.
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
/// Octets of `struct genlmsghdr`: command, version, two reserved.
const HEADER: usize = 4;

/// A peer, in one message of a device's dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundPeer {
    pub(crate) key: PublicKey,
    pub(crate) endpoint: Option<SocketAddr>,
    pub(crate) handshake: Option<Duration>,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    /// It has a preshared key, which Linnet gives none.
    pub(crate) strange: bool,
    /// Seconds between keepalives that are sent to it; 0: none.
    pub(crate) keepalive: u16,
    pub(crate) allowed: Vec<IpNetwork>,
}

/// A device, or one message of its dump.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct FoundDevice {
    pub(super) private: Option<PrivateKey>,
    pub(crate) public: Option<PublicKey>,
    pub(super) port: u16,
    pub(super) mark: u32,
    pub(crate) peers: Vec<FoundPeer>,
}

impl FoundDevice {
    /// Whether it has this key and port, and marks no packets.
    pub(crate) fn is(&self, key: &PrivateKey, port: u16) -> bool {
        self.private.as_ref() == Some(key) && self.port == port && self.mark == 0
    }
}

/// One thing to do to a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PeerChange {
    /// Make the peer if it is not there; give it this end point, unless there is none to give, and these prefixes, which are
    /// taken from the peers that have them.
    Put { key: PublicKey, endpoint: Option<SocketAddr>, allowed: Vec<IpNetwork> },
    /// Send the peer a keepalive after so many seconds of silence, the first at once; 0: never.
    Keepalive(PublicKey, u16),
    /// Remove the peer with its prefixes.
    Remove(PublicKey),
}

impl PeerChange {
    pub(crate) fn key(&self) -> PublicKey {
        match self {
            Self::Put { key, .. } | Self::Keepalive(key, _) | Self::Remove(key) => *key,
        }
    }

    fn attributes(&self) -> WireguardPeer {
        match self {
            Self::Put { key, endpoint, allowed } => {
                let mut attributes = vec![WireguardPeerAttribute::PublicKey(key.0)];
                attributes.extend(endpoint.map(WireguardPeerAttribute::Endpoint));
                if !allowed.is_empty() {
                    attributes.push(WireguardPeerAttribute::AllowedIps(allowed.iter().map(allowed_ip).collect()));
                }
                WireguardPeer(attributes)
            }
            Self::Keepalive(key, seconds) => WireguardPeer(vec![
                WireguardPeerAttribute::PublicKey(key.0),
                WireguardPeerAttribute::Flags(WireguardPeerFlags::UpdateOnly),
                WireguardPeerAttribute::PersistentKeepalive(*seconds),
            ]),
            Self::Remove(key) => WireguardPeer(vec![
                WireguardPeerAttribute::PublicKey(key.0),
                WireguardPeerAttribute::Flags(WireguardPeerFlags::RemoveMe | WireguardPeerFlags::UpdateOnly),
            ]),
        }
    }

    /// At most so many octets, in a message.
    pub(super) fn octets(&self) -> usize {
        match self {
            Self::Put { allowed, .. } => 80 + allowed.len() * 44,
            Self::Keepalive(..) | Self::Remove(_) => 64,
        }
    }
}

fn allowed_ip(prefix: &IpNetwork) -> WireguardAllowedIp {
    let family = if prefix.is_ipv4() { WireguardAddressFamily::Ipv4 } else { WireguardAddressFamily::Ipv6 };
    WireguardAllowedIp(vec![
        WireguardAllowedIpAttr::Family(family),
        WireguardAllowedIpAttr::IpAddr(prefix.network()),
        WireguardAllowedIpAttr::Cidr(prefix.prefix()),
    ])
}

/// Asks for all families.
pub(super) fn families() -> Message {
    Message { kind: GENL_ID_CTRL, payload: vec![CTRL_CMD_GETFAMILY, 1, 0, 0] }
}

/// The message type of the family `wireguard`, if this entry is about it.
pub(super) fn family(answer: &Answer<'_>) -> Option<u16> {
    let (mut id, mut ours) = (None, false);
    for attribute in NlasIterator::new(answer.payload.get(HEADER..)?).map_while(Result::ok) {
        match NlaBuffer::kind(&attribute) {
            CTRL_ATTR_FAMILY_ID => id = attribute.value().first_chunk().map(|octets| u16::from_ne_bytes(*octets)),
            CTRL_ATTR_FAMILY_NAME => ours = attribute.value() == b"wireguard\0",
            _ => {}
        }
    }
    id.filter(|_| ours)
}

fn message(family: u16, cmd: WireguardCmd, mut attributes: Vec<WireguardAttribute>) -> Message {
    attributes.insert(0, WireguardAttribute::IfName(WIREGUARD_DEVICE.into()));
    let message = GenlMessage::from_payload(WireguardMessage { cmd, attributes });
    let mut payload = vec![0; Emitable::buffer_len(&message)];
    message.serialize(&mut payload);
    Message { kind: family, payload }
}

/// Asks for all of Linnet's device.
pub(super) fn question(family: u16) -> Message {
    message(family, WireguardCmd::GetDevice, Vec::new())
}

/// Sets its key and port. The answer holds the secret.
pub(super) fn identity(family: u16, key: &PrivateKey, port: u16) -> Message {
    let attributes = vec![
        WireguardAttribute::PrivateKey(key.octets()),
        WireguardAttribute::ListenPort(port),
        WireguardAttribute::Fwmark(0),
    ];
    message(family, WireguardCmd::SetDevice, attributes)
}

/// Changes its peers, in this order.
pub(super) fn changes(family: u16, changes: &[PeerChange]) -> Message {
    let peers = changes.iter().map(PeerChange::attributes).collect();
    message(family, WireguardCmd::SetDevice, vec![WireguardAttribute::Peers(peers)])
}

/// Reads one message of a device's dump.
pub(super) fn read(answer: &Answer<'_>) -> Option<FoundDevice> {
    let (header, rest) = answer.payload.split_first_chunk::<HEADER>()?;
    let header = GenlHeader { cmd: header[0], version: header[1] };
    let message = WireguardMessage::parse_with_param(rest, header).ok()?;
    let mut device = FoundDevice::default();
    for attribute in message.attributes {
        match attribute {
            WireguardAttribute::PrivateKey(mut octets) => {
                device.private = Some(PrivateKey::new(octets));
                wipe(&mut octets);
            }
            WireguardAttribute::PublicKey(octets) => device.public = Some(PublicKey(octets)),
            WireguardAttribute::ListenPort(port) => device.port = port,
            WireguardAttribute::Fwmark(mark) => device.mark = mark,
            WireguardAttribute::Peers(peers) => device.peers = peers.iter().filter_map(read_peer).collect(),
            _ => {}
        }
    }
    Some(device)
}

fn read_peer(peer: &WireguardPeer) -> Option<FoundPeer> {
    let mut key = None;
    let mut found = FoundPeer {
        key: PublicKey([0; 32]),
        endpoint: None,
        handshake: None,
        received: 0,
        sent: 0,
        strange: false,
        keepalive: 0,
        allowed: Vec::new(),
    };
    for attribute in &peer.0 {
        match attribute {
            WireguardPeerAttribute::PublicKey(octets) => key = Some(PublicKey(*octets)),
            WireguardPeerAttribute::PresharedKey(octets) => found.strange |= *octets != [0; 32],
            WireguardPeerAttribute::PersistentKeepalive(seconds) => found.keepalive = *seconds,
            WireguardPeerAttribute::Endpoint(address) => found.endpoint = Some(*address),
            WireguardPeerAttribute::LastHandshake(time) => {
                let seconds = u64::try_from(time.seconds).ok().filter(|seconds| *seconds != 0);
                found.handshake = seconds.map(Duration::from_secs);
            }
            WireguardPeerAttribute::RxBytes(octets) => found.received = *octets,
            WireguardPeerAttribute::TxBytes(octets) => found.sent = *octets,
            WireguardPeerAttribute::AllowedIps(allowed) => found.allowed = allowed.iter().filter_map(prefix).collect(),
            _ => {}
        }
    }
    Some(FoundPeer { key: key?, ..found })
}

fn prefix(allowed: &WireguardAllowedIp) -> Option<IpNetwork> {
    let (mut address, mut length): (Option<IpAddr>, _) = (None, None);
    for attribute in &allowed.0 {
        match attribute {
            WireguardAllowedIpAttr::IpAddr(ip) => address = Some(*ip),
            WireguardAllowedIpAttr::Cidr(bits) => length = Some(*bits),
            _ => {}
        }
    }
    IpNetwork::new(address?, length?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(message: &Message) -> Answer<'_> {
        Answer { kind: message.kind, flags: 0, sequence: 0, port: 0, payload: &message.payload }
    }

    fn network() -> impl Strategy<Value = IpNetwork> {
        let canonical = |address: IpAddr, bits: u8| {
            let network = IpNetwork::new(address, bits).expect("a prefix");
            IpNetwork::new(network.network(), bits).expect("a prefix")
        };
        prop_oneof![
            (any::<[u8; 4]>(), 0..=32u8).prop_map(move |(octets, bits)| canonical(octets.into(), bits)),
            (any::<[u8; 16]>(), 0..=128u8).prop_map(move |(octets, bits)| canonical(octets.into(), bits)),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_about_a_peer_is_what_the_kernel_would_read(
            key in any::<[u8; 32]>(),
            endpoint in prop::option::of((any::<[u8; 4]>(), 1u16..)),
            allowed in prop::collection::vec(network(), 0..20),
        ) {
            let endpoint = endpoint.map(|(octets, port)| SocketAddr::from((octets, port)));
            let put = PeerChange::Put { key: PublicKey(key), endpoint, allowed: allowed.clone() };
            let made = changes(40, std::slice::from_ref(&put));
            prop_assert!(made.payload.len() <= put.octets() + 40);
            let device = read(&answer(&made)).expect("a device");
            let [peer] = device.peers.as_slice() else { panic!("{device:?}") };
            prop_assert_eq!((peer.key, peer.endpoint, &peer.allowed), (PublicKey(key), endpoint, &allowed));
        }

        #[test]
        fn keepalives_are_written_as_the_kernel_would_read_them(key in any::<[u8; 32]>(), seconds: u16) {
            let change = PeerChange::Keepalive(PublicKey(key), seconds);
            let made = changes(40, std::slice::from_ref(&change));
            prop_assert!(made.payload.len() <= change.octets() + 40);
            let device = read(&answer(&made)).expect("a device");
            let [peer] = device.peers.as_slice() else { panic!("{device:?}") };
            prop_assert_eq!((peer.key, peer.keepalive), (PublicKey(key), seconds));
        }

        #[test]
        fn an_answer_cut_anywhere_does_not_panic(
            key in any::<[u8; 32]>(), allowed in prop::collection::vec(network(), 0..3), cut in 0usize..200
        ) {
            let mut made = changes(40, &[PeerChange::Put { key: PublicKey(key), endpoint: None, allowed }]);
            made.payload.truncate(cut);
            let _ = read(&answer(&made));
            let _ = family(&answer(&made));
        }
    }

    #[test]
    fn a_private_key_that_is_read_is_not_shown() {
        let key = PrivateKey::new([7; 32]);
        let made = identity(40, &key, 51820);
        let device = read(&answer(&made)).expect("a device");
        assert_eq!((device.private.as_ref(), device.port), (Some(&key), 51820));
        assert!(format!("{device:?}").contains("PrivateKey(…)"), "{device:?}");
    }
}
