//! The IP-in-IP device.
//!
//! It has a local address and no remote one. The kernel then sends to the gateway of the route that led to it, so that one
//! device reaches all nodes, and what names the ends are routes (`via NODE dev linnet.ipip onlink`).

use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_route::link::{InfoData, InfoIpTunnel, InfoKind, LinkAttribute, LinkInfo, LinkMessage};

use super::{
    IPIP_DEVICE,
    own::{Found, Kind},
};
use crate::FibError;

/// What Linnet wants.
#[derive(Debug)]
pub(super) struct IpIp {
    local: Ipv4Addr,
}

impl IpIp {
    pub(super) fn new(local: IpAddr) -> Result<IpIp, FibError> {
        match local {
            IpAddr::V4(local) => Ok(IpIp { local }),
            IpAddr::V6(local) => Err(FibError::Invalid(format!(
                "the overlay's local address {local} is IPv6, and this device goes over IPv4; the overlay is not made; \
                 set node.address to an IPv4 address, or overlay.encapsulation to \"vxlan\""
            ))),
        }
    }
}

/// What the kernel says of such a device.
#[derive(Debug, Default)]
pub(super) struct Detail {
    /// `None`, as for the remote one: any.
    local: Option<IpAddr>,
    remote: Option<IpAddr>,
    collect_metadata: bool,
}

impl Kind for IpIp {
    const DEVICE: &'static str = IPIP_DEVICE;
    const KIND: InfoKind = InfoKind::IpIp;
    type Detail = Detail;

    fn read(data: &InfoData, detail: &mut Detail) {
        let InfoData::IpTunnel(data) = data else { return };
        let given = |address: &IpAddr| Some(*address).filter(|address| !address.is_unspecified());
        for datum in data {
            match datum {
                InfoIpTunnel::Local(local) => detail.local = given(local),
                InfoIpTunnel::Remote(remote) => detail.remote = given(remote),
                InfoIpTunnel::CollectMetadata => detail.collect_metadata = true,
                _ => {}
            }
        }
    }

    /// Whether it takes what a device of Linnet's own would take.
    fn serves(&self, Found { detail, .. }: &Found<Detail>) -> bool {
        detail.local == Some(self.local.into()) && detail.remote.is_none() && !detail.collect_metadata
    }

    fn obstacle(&self, other: &Found<Detail>) -> Option<String> {
        self.serves(other).then(|| format!("it takes IP in IP for {} from everywhere already", self.local))
    }

    fn request(&self, mtu: u32) -> (LinkMessage, String) {
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(Self::DEVICE.into()),
            LinkAttribute::Mtu(mtu),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(Self::KIND),
                LinkInfo::Data(InfoData::IpTunnel(vec![InfoIpTunnel::Local(self.local.into())])),
            ]),
        ];
        (message, format!("IP in IP, local {}", self.local))
    }

    fn refused(error: FibError) -> FibError {
        match error {
            FibError::Kernel { source, .. } if source.raw_os_error() == Some(libc::EOPNOTSUPP) => FibError::NoIpIp,
            error => error,
        }
    }
}
