//! The VXLAN device: made, adopted, changed, removed.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{InfoData, InfoKind, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
};
use rtnetlink::LinkVxlan;

use super::{Made, VXLAN_DEVICE as DEVICE, mac, remove_named};
use crate::{
    FibError,
    netlink::{Request, Socket},
};

/// What the kernel says of a VXLAN device.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    index: u32,
    name: String,
    mac: Vec<u8>,
    mtu: u32,
    up: bool,
    vni: u32,
    port: u16,
    local: Option<IpAddr>,
    learning: bool,
    collect_metadata: bool,
}

/// Makes the device as wanted, keeping what is there if it is the same: a device made anew loses every route by it.
pub(super) fn ensure(socket: &mut Socket, vni: u32, port: u16, local: IpAddr, mtu: u32) -> Result<Made, FibError> {
    if vni == 0 || vni > 0xff_ffff || port == 0 {
        return Err(FibError::Invalid(format!(
            "the overlay's VNI {vni} or port {port} is out of range; the overlay is not made; set overlay.vni to 1..16777215 \
             and overlay.port to 1..65535"
        )));
    }
    let wanted = mac(local, vni);
    let mut found = find(socket)?;
    let ours = found.iter().position(|device| device.name == DEVICE).map(|at| found.swap_remove(at));
    let made = match ours {
        Some(device)
            if device.vni == vni
                && device.port == port
                && device.local == Some(local)
                && !device.learning
                && !device.collect_metadata
                && device.mac == wanted =>
        {
            device
        }
        Some(_) | None => {
            // By its name it is Linnet's, whatever it is.
            remove_named(socket, DEVICE)?;
            // The kernel's own answer to this is a bare EEXIST.
            if let Some(twin) = found.iter().find(|device| device.vni == vni && device.port == port) {
                return Err(FibError::DeviceInTheWay {
                    device: twin.name.clone(),
                    why: format!("it has VNI {vni} on port {port} already"),
                });
            }
            create(socket, vni, port, local, mtu)?;
            let made = find(socket)?.into_iter().find(|device| device.name == DEVICE);
            made.ok_or_else(|| FibError::Lost(format!("device {DEVICE} vanished while it was made")))?
        }
    };
    Ok(Made { index: made.index, mtu: made.mtu, up: made.up })
}

fn create(socket: &mut Socket, vni: u32, port: u16, local: IpAddr, mtu: u32) -> Result<(), FibError> {
    let builder = LinkVxlan::new(DEVICE, vni).port(port).learning(false).address(mac(local, vni).to_vec()).mtu(mtu);
    let builder = match local {
        IpAddr::V4(local) => builder.local(local),
        IpAddr::V6(local) => builder.local6(local),
    };
    let request = Request { message: RouteNetlinkMessage::NewLink(builder.build()), flags: NLM_F_CREATE | NLM_F_EXCL };
    socket.perform(&format!("add device {DEVICE} (VXLAN, VNI {vni}, port {port})"), request)
}

/// All VXLAN devices.
fn find(socket: &mut Socket) -> Result<Vec<Found>, FibError> {
    socket.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()), |message| match message {
        RouteNetlinkMessage::NewLink(link) => read(&link),
        _ => None,
    })
}

fn read(link: &LinkMessage) -> Option<Found> {
    let mut found =
        Found { index: link.header.index, up: link.header.flags.contains(LinkFlags::Up), ..Found::default() };
    let mut vxlan = false;
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => found.name.clone_from(name),
            LinkAttribute::Address(mac) => found.mac.clone_from(mac),
            LinkAttribute::Mtu(mtu) => found.mtu = *mtu,
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    match info {
                        LinkInfo::Kind(kind) => vxlan = *kind == InfoKind::Vxlan,
                        LinkInfo::Data(InfoData::Vxlan(data)) => {
                            for datum in data {
                                match datum {
                                    InfoVxlan::Id(vni) => found.vni = *vni,
                                    InfoVxlan::Port(port) => found.port = *port,
                                    InfoVxlan::Local(local) => found.local = Some((*local).into()),
                                    InfoVxlan::Local6(local) => found.local = Some((*local).into()),
                                    InfoVxlan::Learning(learning) => found.learning = *learning,
                                    InfoVxlan::CollectMetadata(metadata) => found.collect_metadata = *metadata,
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
    vxlan.then_some(found)
}
