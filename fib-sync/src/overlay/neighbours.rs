//! Who is at the other ends of VXLAN: for each, a neighbour entry (next hop to inner MAC) and a forwarding entry (inner MAC to
//! outer address). All come from what the nodes announced; nothing is learned or flooded. Everything on the device is
//! Linnet's, so that what nobody wants may go, once the routes of both families are complete.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::IpAddr,
};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourHeader, NeighbourMessage, NeighbourState,
    },
    route::RouteProtocol,
};

use super::{Encapsulation, Overlay, link_local};
use crate::{
    FibError, PROTOCOL,
    comparison::{DifferenceKind, Subject},
    netlink::{Request, Socket},
    route::TunnelEnd,
};

/// The key of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Key {
    /// A neighbour on the overlay device.
    Neighbour(IpAddr),
    /// An inner MAC in the device's forwarding table.
    Forwarding([u8; 6]),
}

/// What stands under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    Mac([u8; 6]),
    /// The outer address, and the VNI where it is not the device's own.
    Outer(IpAddr, Option<u32>),
}

impl Key {
    fn subject(self) -> Subject {
        match self {
            Key::Neighbour(address) => Subject::Neighbour(address),
            Key::Forwarding(mac) => Subject::Forwarding(mac),
        }
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Value::Mac(mac) => Subject::Forwarding(mac).fmt(f),
            Value::Outer(address, None) => write!(f, "{address}"),
            Value::Outer(address, Some(vni)) => write!(f, "{address} VNI {vni}"),
        }
    }
}

type Entries = BTreeMap<Key, Value>;

/// The entries of the overlay device, wanted and there.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    observed: Entries,
    /// Entries that this run has written: these go as soon as nobody wants them, the others are an earlier run's.
    written: HashSet<Key>,
    /// Entries that the kernel refused, and why.
    refused: BTreeMap<Key, String>,
}

impl Neighbours {
    /// Reads what is there.
    pub(crate) fn read(&mut self, socket: &mut Socket, overlay: &Overlay) -> Result<(), FibError> {
        let link = match overlay.status.encapsulation {
            Encapsulation::Vxlan { .. } => overlay.link,
            // They have none, and the kernel refuses the question.
            Encapsulation::IpIp | Encapsulation::Ip6Tnl | Encapsulation::WireGuard { .. } => return Ok(()),
        };
        let mut observed = Entries::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6, AddressFamily::Bridge] {
            let mut question = NeighbourMessage::default();
            question.header.family = family;
            // The kernel filters by device where it can: by the header for forwarding entries, by an attribute else.
            if family == AddressFamily::Bridge {
                question.header.ifindex = link;
            } else {
                question.attributes.push(NeighbourAttribute::IfIndex(link));
            }
            observed.extend(socket.dump(RouteNetlinkMessage::GetNeighbour(question), |message| match message {
                RouteNetlinkMessage::NewNeighbour(entry) if entry.header.ifindex == link => read(&entry),
                _ => None,
            })?);
        }
        self.observed = observed;
        Ok(())
    }

    /// Forgets everything: the device is gone, and its entries with it.
    pub(crate) fn forget(&mut self) {
        *self = Neighbours::default();
    }

    /// What is wrong with an end's entries.
    pub(crate) fn complaint(&self, end: &TunnelEnd) -> Option<&str> {
        let TunnelEnd::Vxlan { endpoint, mac, .. } = *end else { return None };
        let keys = [Key::Neighbour(endpoint), Key::Neighbour(link_local(mac).into()), Key::Forwarding(mac)];
        keys.iter().find_map(|key| self.refused.get(key)).map(String::as_str)
    }

    /// How many entries are wanted, and which of those that were read or written differ from them.
    pub(crate) fn compare(
        &self,
        ends: &BTreeSet<TunnelEnd>,
        overlay: &Overlay,
        swept: bool,
    ) -> (usize, Vec<(Subject, DifferenceKind, String)>) {
        let wanted = wanted(ends, overlay);
        let mut different = Vec::new();
        for (key, value) in &wanted {
            match self.observed.get(key) {
                Some(there) if there == value => {}
                Some(there) => {
                    different.push((key.subject(), DifferenceKind::Changed, format!("{there}, wanted {value}")));
                }
                None => different.push((key.subject(), DifferenceKind::Missing, format!("wanted {value}"))),
            }
        }
        let surplus = self.observed.iter().filter(|(key, _)| !wanted.contains_key(key));
        let surplus = surplus.filter(|(key, _)| swept || self.written.contains(key));
        different.extend(
            surplus.map(|(key, there)| (key.subject(), DifferenceKind::Extra, format!("{there}, wanted none"))),
        );
        (wanted.len(), different)
    }

    /// The kernel refused the entry.
    pub(crate) fn is_refused(&self, subject: &Subject) -> bool {
        self.refused.keys().any(|key| key.subject() == *subject)
    }

    /// Why an entry is not as wanted.
    pub(crate) fn refusal(&self, subject: &Subject) -> String {
        let refused = self.refused.iter().find(|(key, _)| key.subject() == *subject);
        refused.map_or_else(|| "it is tried again".into(), |(_, why)| format!("the kernel refused it: {why}"))
    }

    /// Writes what is missing or different. Before the routes that need it.
    pub(crate) fn add(
        &mut self,
        ends: &BTreeSet<TunnelEnd>,
        overlay: &Overlay,
        socket: &mut Socket,
    ) -> Result<(), FibError> {
        let missing: Vec<(Key, Value)> =
            wanted(ends, overlay).into_iter().filter(|(key, value)| self.observed.get(key) != Some(value)).collect();
        let requests: Vec<Request> = missing
            .iter()
            .map(|(key, value)| Request {
                message: RouteNetlinkMessage::NewNeighbour(message(*key, Some(*value), overlay.link)),
                flags: NLM_F_CREATE | NLM_F_REPLACE,
            })
            .collect();
        for ((key, value), verdict) in missing.into_iter().zip(socket.batch(&requests)?) {
            match verdict {
                Ok(()) => {
                    self.observed.insert(key, value);
                    self.written.insert(key);
                    self.refused.remove(&key);
                }
                Err(refusal) => {
                    tracing::warn!(?key, %refusal, "the kernel refused an entry of the overlay's");
                    self.refused.insert(key, refusal.to_string());
                }
            }
        }
        Ok(())
    }

    /// Removes what nobody wants. After the routes that needed it. `swept`: an earlier run's too.
    pub(crate) fn remove(
        &mut self,
        ends: &BTreeSet<TunnelEnd>,
        overlay: &Overlay,
        swept: bool,
        socket: &mut Socket,
    ) -> Result<(), FibError> {
        let wanted = wanted(ends, overlay);
        self.refused.retain(|key, _| wanted.contains_key(key));
        let surplus: Vec<Key> = self
            .observed
            .keys()
            .filter(|key| !wanted.contains_key(key) && (swept || self.written.contains(key)))
            .copied()
            .collect();
        let requests: Vec<Request> = surplus
            .iter()
            .map(|key| Request {
                message: RouteNetlinkMessage::DelNeighbour(message(*key, None, overlay.link)),
                flags: 0,
            })
            .collect();
        for (key, verdict) in surplus.into_iter().zip(socket.batch(&requests)?) {
            if let Err(refusal) = &verdict
                && refusal.errno != libc::ENOENT
            {
                tracing::warn!(?key, %refusal, "the kernel kept an entry of the overlay's that nobody wants");
            }
            self.observed.remove(&key);
            self.written.remove(&key);
        }
        Ok(())
    }
}

/// The entries for these ends. Where two nodes claim one address or MAC, the greater wins, here as at every restart.
fn wanted(ends: &BTreeSet<TunnelEnd>, overlay: &Overlay) -> Entries {
    let mut entries = Entries::new();
    let Encapsulation::Vxlan { vni: ours, .. } = overlay.status.encapsulation else { return entries };
    for end in ends {
        let TunnelEnd::Vxlan { endpoint, vni, mac } = *end else { continue };
        if endpoint.is_ipv4() {
            entries.insert(Key::Neighbour(endpoint), Value::Mac(mac));
        }
        entries.insert(Key::Neighbour(link_local(mac).into()), Value::Mac(mac));
        entries.insert(Key::Forwarding(mac), Value::Outer(endpoint, (vni != ours).then_some(vni)));
    }
    entries
}

fn message(key: Key, value: Option<Value>, link: u32) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header = NeighbourHeader {
        ifindex: link,
        state: NeighbourState::Permanent,
        family: match key {
            Key::Neighbour(IpAddr::V4(_)) => AddressFamily::Inet,
            Key::Neighbour(IpAddr::V6(_)) => AddressFamily::Inet6,
            Key::Forwarding(_) => AddressFamily::Bridge,
        },
        ..NeighbourHeader::default()
    };
    match key {
        Key::Neighbour(address) => {
            message.attributes.push(NeighbourAttribute::Destination(address.into()));
            message.attributes.push(NeighbourAttribute::Protocol(RouteProtocol::from(PROTOCOL)));
        }
        Key::Forwarding(mac) => {
            message.header.flags = NeighbourFlags::Own;
            message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
        }
    }
    match value {
        Some(Value::Mac(mac)) => message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.to_vec())),
        Some(Value::Outer(address, vni)) => {
            message.attributes.push(NeighbourAttribute::Destination(address.into()));
            message.attributes.extend(vni.map(NeighbourAttribute::Vni));
        }
        None => {}
    }
    message
}

fn read(message: &NeighbourMessage) -> Option<(Key, Value)> {
    let (mut address, mut mac, mut vni) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => address = Some(IpAddr::V4(*ip)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => address = Some(IpAddr::V6(*ip)),
            // In the bridge family the crate cannot know the address's family from the message's.
            NeighbourAttribute::Destination(NeighbourAddress::Other(octets)) => {
                address = <[u8; 4]>::try_from(octets.as_slice())
                    .map(IpAddr::from)
                    .or_else(|_| <[u8; 16]>::try_from(octets.as_slice()).map(IpAddr::from))
                    .ok();
            }
            NeighbourAttribute::LinkLayerAddress(octets) => mac = <[u8; 6]>::try_from(octets.as_slice()).ok(),
            NeighbourAttribute::Vni(number) => vni = Some(*number),
            _ => {}
        }
    }
    if message.header.family == AddressFamily::Bridge {
        Some((Key::Forwarding(mac?), Value::Outer(address?, vni)))
    } else if message.header.state == NeighbourState::Permanent {
        Some((Key::Neighbour(address?), Value::Mac(mac?)))
    } else {
        // What the kernel made of a packet for an address that nobody announced.
        None
    }
}
