//! The device for IPv4 and IPv6 in IPv6.
//!
//! It has no address of either end (`external`): the outer header comes from the next hop by which a packet left, which is a lightweight
//! tunnel, so that one device reaches all nodes. As with IPv4 the gateway could be the end, were it not that the kernel
//! refuses an IPv6 gateway on the device when a route to it leads elsewhere (net/ipv6/route.c, `ip6_route_check_nh_onlink`), which is
//! just where a tunnel's end lies: only by the default route could an end be reached. In this mode the kernel adds no
//! encapsulation limit (RFC 2473, section 4.1.1), so that the outer header is 40 octets and nothing more.

use std::net::{IpAddr, Ipv6Addr};

use netlink_packet_route::link::{InfoData, InfoIpTunnel, InfoKind, LinkAttribute, LinkInfo, LinkMessage};

use super::{
    IP6TNL_DEVICE,
    own::{Found, Kind},
};
use crate::FibError;

/// What Linnet wants.
#[derive(Debug)]
pub(super) struct Ip6Tnl;

impl Ip6Tnl {
    pub(super) fn new(local: IpAddr) -> Result<Ip6Tnl, FibError> {
        match local {
            IpAddr::V6(_) => Ok(Ip6Tnl),
            IpAddr::V4(local) => Err(FibError::Invalid(format!(
                "the overlay's local address {local} is IPv4, and IP in IPv6 goes over IPv6; the overlay is not made; set node.address \
                 to an IPv6 address"
            ))),
        }
    }
}

/// What the kernel says of such a device.
#[derive(Debug, Default)]
pub(super) struct Detail {
    collect_metadata: bool,
}

impl Kind for Ip6Tnl {
    const DEVICE: &'static str = IP6TNL_DEVICE;
    const KIND: InfoKind = InfoKind::Ip6Tnl;
    type Detail = Detail;

    fn read(data: &InfoData, detail: &mut Detail) {
        let InfoData::IpTunnel(data) = data else { return };
        detail.collect_metadata |= data.contains(&InfoIpTunnel::CollectMetadata);
    }

    fn serves(&self, Found { detail, .. }: &Found<Detail>) -> bool {
        detail.collect_metadata
    }

    fn obstacle(&self, other: &Found<Detail>) -> Option<String> {
        self.serves(other).then(|| "it takes IP in IPv6 from everywhere already (external)".into())
    }

    fn request(&self, mtu: u32) -> (LinkMessage, String) {
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(Self::DEVICE.into()),
            LinkAttribute::Mtu(mtu),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(Self::KIND),
                LinkInfo::Data(InfoData::IpTunnel(vec![InfoIpTunnel::CollectMetadata])),
            ]),
        ];
        (message, "IP in IPv6, external".into())
    }

    fn refused(error: FibError) -> FibError {
        match error {
            FibError::Kernel { source, .. } if source.raw_os_error() == Some(libc::EOPNOTSUPP) => FibError::NoIp6Tnl,
            error => error,
        }
    }
}

/// What stands for an end where a route needs a gateway: a link-local address made from the end's. The next hop says itself where the
/// packet goes, but the kernel takes a hop without a gateway neither as one of several of an IPv6 route's nor beside a backup.
pub(crate) fn gateway(end: Ipv6Addr) -> Ipv6Addr {
    let [a, b, c, d, e, f, g, h] = crate::hash::stable(end.octets()).to_be_bytes();
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a, b, c, d, e, f, g, h])
}
