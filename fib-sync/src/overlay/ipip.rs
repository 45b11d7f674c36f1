//! The IP-in-IP device: made, adopted, changed, removed.
//!
//! It has a local address and no remote one. The kernel then sends to the gateway of the route that led to it, so that one
//! device reaches all nodes, and what names the ends are routes (`via NODE dev linnet.ipip onlink`).

use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{InfoData, InfoIpTunnel, InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
};

use super::{IPIP_DEVICE as DEVICE, Made, remove_named};
use crate::{
    FibError,
    netlink::{Request, Socket},
};

/// What the kernel says of an IP-in-IP device.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    index: u32,
    name: String,
    mtu: u32,
    up: bool,
    /// `None`, as for the remote one: any.
    local: Option<IpAddr>,
    remote: Option<IpAddr>,
    collect_metadata: bool,
}

impl Found {
    /// Whether it takes what a device of Linnet's own would take.
    fn serves(&self, local: Ipv4Addr) -> bool {
        self.local == Some(local.into()) && self.remote.is_none() && !self.collect_metadata
    }
}

/// Makes the device as wanted, keeping what is there if it is the same: a device made anew loses every route by it.
pub(super) fn ensure(socket: &mut Socket, local: IpAddr, mtu: u32) -> Result<Made, FibError> {
    let IpAddr::V4(local) = local else {
        return Err(FibError::Invalid(format!(
            "the overlay's local address {local} is IPv6, and IP in IP goes over IPv4; the overlay is not made; set \
             node.address to an IPv4 address, or overlay.encapsulation to \"vxlan\""
        )));
    };
    let mut found = find(socket)?;
    let ours = found.iter().position(|device| device.name == DEVICE).map(|at| found.swap_remove(at));
    let made = match ours {
        Some(device) if device.serves(local) => device,
        Some(_) | None => {
            // By its name it is Linnet's, whatever it is.
            remove_named(socket, DEVICE)?;
            // The kernel's own answer to this is a bare EEXIST.
            if let Some(twin) = found.iter().find(|device| device.serves(local)) {
                return Err(FibError::DeviceInTheWay {
                    device: twin.name.clone(),
                    why: format!("it takes IP in IP for {local} from everywhere already"),
                });
            }
            create(socket, local, mtu)?;
            let made = find(socket)?.into_iter().find(|device| device.name == DEVICE);
            made.ok_or_else(|| FibError::Lost(format!("device {DEVICE} vanished while it was made")))?
        }
    };
    Ok(Made { index: made.index, mtu: made.mtu, up: made.up })
}

fn create(socket: &mut Socket, local: Ipv4Addr, mtu: u32) -> Result<(), FibError> {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(DEVICE.into()),
        LinkAttribute::Mtu(mtu),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::IpIp),
            LinkInfo::Data(InfoData::IpTunnel(vec![InfoIpTunnel::Local(local.into())])),
        ]),
    ];
    let request = Request { message: RouteNetlinkMessage::NewLink(message), flags: NLM_F_CREATE | NLM_F_EXCL };
    match socket.perform(&format!("add device {DEVICE} (IP in IP, local {local})"), request) {
        Err(FibError::Kernel { source, .. }) if source.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            Err(FibError::NoIpIp)
        }
        done => done,
    }
}

/// All IP-in-IP devices.
fn find(socket: &mut Socket) -> Result<Vec<Found>, FibError> {
    socket.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()), |message| match message {
        RouteNetlinkMessage::NewLink(link) => read(&link),
        _ => None,
    })
}

fn read(link: &LinkMessage) -> Option<Found> {
    let mut found =
        Found { index: link.header.index, up: link.header.flags.contains(LinkFlags::Up), ..Found::default() };
    let mut ipip = false;
    let given = |address: &IpAddr| Some(*address).filter(|address| !address.is_unspecified());
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => found.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => found.mtu = *mtu,
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    match info {
                        LinkInfo::Kind(kind) => ipip = *kind == InfoKind::IpIp,
                        LinkInfo::Data(InfoData::IpTunnel(data)) => {
                            for datum in data {
                                match datum {
                                    InfoIpTunnel::Local(local) => found.local = given(local),
                                    InfoIpTunnel::Remote(remote) => found.remote = given(remote),
                                    InfoIpTunnel::CollectMetadata => found.collect_metadata = true,
                                    _ => {}
                                }
                            }
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    ipip.then_some(found)
}
