//! A route as the kernel has it, in one normal form: however it was written, dumped or announced, equal is equal.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use netlink_packet_route::{
    AddressFamily,
    route::{
        RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteNextHop,
        RouteNextHopFlags, RouteProtocol, RouteScope, RouteType, RouteVia,
    },
};

use crate::{PROTOCOL, encap::Encap};

/// What many routes share: everything but the prefix.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct KernelPath {
    pub(crate) kind: Kind,
    /// Sorted; empty unless unicast, and where a next-hop object says them.
    pub(crate) hops: Vec<KernelHop>,
    /// The number of the next-hop object by which it goes (RTA_NH_ID).
    pub(crate) object: Option<u32>,
    pub(crate) mtu: Option<u32>,
    pub(crate) source: Option<IpAddr>,
}

/// `rtm_type`, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Unicast,
    Unreachable,
    Blackhole,
    /// A type that Linnet never makes: a route of protocol 76 with one is somebody's change.
    Other(u8),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct KernelHop {
    pub(crate) via: Option<IpAddr>,
    /// Interface index.
    pub(crate) link: u32,
    /// The gateway is taken to be on the link, whatever the addresses say.
    pub(crate) onlink: bool,
    /// The tunnel into which it goes, where the device leaves that to the hop.
    pub(crate) encap: Option<Encap>,
    /// `rtnh_hops`: weight less one.
    pub(crate) weight: u8,
}

/// A route, its key and its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KernelRoute {
    pub(crate) prefix: IpNetwork,
    pub(crate) table: u32,
    pub(crate) metric: u32,
    pub(crate) tos: u8,
    pub(crate) protocol: u8,
    pub(crate) path: KernelPath,
}

/// The family as netlink names it.
pub(crate) fn family(v6: bool) -> AddressFamily {
    if v6 { AddressFamily::Inet6 } else { AddressFamily::Inet }
}

/// The prefix without host bits.
pub(crate) fn canonical(prefix: IpNetwork) -> IpNetwork {
    IpNetwork::new(prefix.network(), prefix.prefix()).unwrap_or(prefix)
}

/// The message that names a route by its key, and by its owner so that nobody else's can be meant.
fn keyed(prefix: IpNetwork, table: u32, metric: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: family(prefix.is_ipv6()),
        destination_prefix_length: prefix.prefix(),
        table: u8::try_from(table).unwrap_or(libc::RT_TABLE_UNSPEC),
        protocol: RouteProtocol::from(PROTOCOL),
        ..RouteHeader::default()
    };
    message.attributes = vec![
        RouteAttribute::Destination(prefix.network().into()),
        RouteAttribute::Table(table),
        RouteAttribute::Priority(metric),
    ];
    message
}

/// RTM_DELROUTE for a route of Linnet's, whatever its hops.
pub(crate) fn removal(prefix: IpNetwork, table: u32, metric: u32) -> RouteMessage {
    let mut message = keyed(prefix, table, metric);
    message.header.scope = RouteScope::NoWhere;
    message
}

/// RTM_NEWROUTE for a route of Linnet's.
pub(crate) fn addition(prefix: IpNetwork, table: u32, metric: u32, path: &KernelPath) -> RouteMessage {
    let mut message = keyed(prefix, table, metric);
    message.header.kind = match path.kind {
        Kind::Unicast => RouteType::Unicast,
        Kind::Unreachable => RouteType::Unreachable,
        Kind::Blackhole => RouteType::BlackHole,
        Kind::Other(other) => RouteType::from(other),
    };
    let on_link = path.hops.iter().any(|hop| hop.via.is_none());
    message.header.scope = if on_link { RouteScope::Link } else { RouteScope::Universe };
    if let Some(source) = path.source {
        message.attributes.push(RouteAttribute::PrefSource(source.into()));
    }
    if let Some(mtu) = path.mtu {
        message.attributes.push(RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)]));
    }
    let gateway = |via: IpAddr| match (prefix, via) {
        (IpNetwork::V4(_), IpAddr::V6(via)) => RouteAttribute::Via(RouteVia::Inet6(via)),
        (_, via) => RouteAttribute::Gateway(via.into()),
    };
    message.attributes.extend(path.object.map(RouteAttribute::NhId));
    match path.hops.as_slice() {
        [] => {}
        [only] => {
            if only.onlink {
                message.header.flags |= RouteFlags::Onlink;
            }
            message.attributes.push(RouteAttribute::Oif(only.link));
            message.attributes.extend(only.via.map(gateway));
            message.attributes.extend(only.encap.into_iter().flat_map(Encap::of_route));
        }
        several => {
            let hops = several.iter().map(|hop| {
                let mut next = RouteNextHop::default();
                next.interface_index = hop.link;
                next.hops = hop.weight;
                if hop.onlink {
                    next.flags |= RouteNextHopFlags::Onlink;
                }
                next.attributes.extend(hop.via.map(gateway));
                next.attributes.extend(hop.encap.into_iter().flat_map(Encap::of_route));
                next
            });
            message.attributes.push(RouteAttribute::MultiPath(hops.collect()));
        }
    }
    message
}

/// Where the address of the destination begins in the message of a route, behind `struct rtmsg` and an attribute's header.
const DESTINATION: usize = 16;

/// Writes another destination into the message of a route, made by [`addition`] or [`removal`] for one of its family.
pub(crate) fn set_destination(message: &mut [u8], prefix: IpNetwork) {
    let (octets, length): (&[u8], usize) = match prefix.network() {
        IpAddr::V4(address) => (&address.octets(), 4),
        IpAddr::V6(address) => (&address.octets(), 16),
    };
    message[1] = prefix.prefix();
    message[DESTINATION..DESTINATION + length].copy_from_slice(octets);
}

/// Reads a route; `None` for what is no unicast-family route or makes no sense.
pub(crate) fn read(message: &RouteMessage) -> Option<KernelRoute> {
    let header = &message.header;
    let any = match header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    if header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    let (mut destination, mut table, mut metric) = (any, u32::from(header.table), 0);
    let (mut mtu, mut source, mut object, mut hops) = (None, None, None, Vec::new());
    let mut single = KernelHop {
        via: None,
        link: 0,
        onlink: header.flags.contains(RouteFlags::Onlink),
        encap: Encap::read_route(&message.attributes),
        weight: 0,
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = ip(address)?,
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Priority(number) => metric = *number,
            RouteAttribute::PrefSource(address) => source = ip(address),
            RouteAttribute::NhId(number) => object = Some(*number),
            RouteAttribute::Oif(link) => single.link = *link,
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => single.via = gateway_of(attribute),
            // The kernel dumps 0 for what is not set.
            RouteAttribute::Metrics(metrics) => mtu = mtu_of(metrics),
            RouteAttribute::MultiPath(several) => {
                hops.extend(several.iter().map(|hop| KernelHop {
                    via: hop.attributes.iter().find_map(gateway_of),
                    link: hop.interface_index,
                    onlink: hop.flags.contains(RouteNextHopFlags::Onlink),
                    encap: Encap::read_route(&hop.attributes),
                    weight: hop.hops,
                }));
            }
            _ => {}
        }
    }
    let kind = match header.kind {
        RouteType::Unicast => Kind::Unicast,
        RouteType::Unreachable => Kind::Unreachable,
        RouteType::BlackHole => Kind::Blackhole,
        other => Kind::Other(other.into()),
    };
    if kind != Kind::Unicast || object.is_some() {
        // IPv6 shows routes that lead nowhere as routes on `lo`; with an object, the hops shown are the object's.
        hops.clear();
    } else if hops.is_empty() && single.link != 0 {
        hops.push(single);
    }
    hops.sort();
    Some(KernelRoute {
        prefix: canonical(IpNetwork::new(destination, header.destination_prefix_length).ok()?),
        table,
        metric,
        tos: header.tos,
        protocol: header.protocol.into(),
        path: KernelPath { kind, hops, object, mtu, source },
    })
}

/// The kernel's word for a type of route.
pub(crate) fn type_word(kind: RouteType) -> String {
    format!("{kind:?}").to_ascii_lowercase()
}

fn gateway_of(attribute: &RouteAttribute) -> Option<IpAddr> {
    match attribute {
        RouteAttribute::Gateway(address) => ip(address),
        RouteAttribute::Via(RouteVia::Inet(via)) => Some((*via).into()),
        RouteAttribute::Via(RouteVia::Inet6(via)) => Some((*via).into()),
        _ => None,
    }
}

pub(crate) fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

pub(crate) fn mtu_of(metrics: &[RouteMetric]) -> Option<u32> {
    metrics.iter().find_map(|metric| match metric {
        RouteMetric::Mtu(mtu) if *mtu != 0 => Some(*mtu),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::RouteNetlinkMessage;

    use super::*;
    use crate::netlink::{Answer, Message, parse};

    #[test]
    fn a_route_by_hops_that_name_their_tunnel_is_read_as_it_was_written() {
        let hop = |via: &str, link, encap| KernelHop {
            via: Some(via.parse().expect("an address")),
            link,
            onlink: false,
            encap,
            weight: 0,
        };
        let to = |end: &str| Encap::new(Ipv6Addr::LOCALHOST, end.parse().expect("an address"));
        let one = hop("fe80::2", 7, Some(to("fd00:2::2")));
        let router = hop("fe80::1", 3, None);
        let other = KernelHop { weight: 2, ..hop("fe80::3", 7, Some(to("fd00:2::3"))) };
        for hops in [vec![one.clone()], vec![router, one, other]] {
            for prefix in ["10.0.0.0/8", "fd00::/8"].map(|prefix| prefix.parse().expect("a prefix")) {
                let path =
                    KernelPath { kind: Kind::Unicast, hops: hops.clone(), object: None, mtu: None, source: None };
                let written = Message::new(&RouteNetlinkMessage::NewRoute(addition(prefix, 1000, 76, &path)));
                let answer = Answer { kind: written.kind, flags: 0, sequence: 0, port: 0, payload: &written.payload };
                let Ok(RouteNetlinkMessage::NewRoute(message)) = parse(&answer) else { panic!("{written:?}") };
                assert_eq!(read(&message).expect("a route").path, path, "{prefix}");
            }
        }
    }

    #[test]
    fn a_message_with_another_destination_written_into_it_is_the_message_for_that_destination() {
        let path = KernelPath { kind: Kind::Unicast, hops: Vec::new(), object: Some(7), mtu: Some(1400), source: None };
        for (one, other) in [("10.0.0.0/8", "192.0.2.1/32"), ("0.0.0.0/0", "10.0.0.0/8"), ("fd00::/8", "::/0")] {
            let (one, other): (IpNetwork, IpNetwork) =
                (one.parse().expect("a prefix"), other.parse().expect("a prefix"));
            let made = |prefix| {
                let addition = Message::new(&RouteNetlinkMessage::NewRoute(addition(prefix, 1000, 76, &path)));
                let removal = Message::new(&RouteNetlinkMessage::DelRoute(removal(prefix, 1000, 76)));
                [addition, removal]
            };
            for (mut patched, expected) in made(one).into_iter().zip(made(other)) {
                set_destination(&mut patched.payload, other);
                assert_eq!(patched, expected);
            }
        }
    }
}
