//! The VXLAN device: made, adopted, changed, removed.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{InfoData, InfoKind, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
};
use rtnetlink::LinkVxlan;

use super::{DEVICE, OverlaySpec, OverlayStatus, mac};
use crate::{
    FibError, device,
    netlink::{Request, Socket},
    sysctl,
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
/// Returns its interface index and what it is.
pub(crate) fn ensure(socket: &mut Socket, spec: &OverlaySpec, mtu: u32) -> Result<(u32, OverlayStatus), FibError> {
    if spec.vni == 0 || spec.vni > 0xff_ffff || spec.port == 0 {
        return Err(FibError::Invalid(format!(
            "the overlay's VNI {} or port {} is out of range; the overlay is not made; set overlay.vni to 1..16777215 \
             and overlay.port to 1..65535",
            spec.vni, spec.port
        )));
    }
    let wanted = mac(spec.local, spec.vni);
    let mut found = find(socket)?;
    let ours = found.iter().position(|device| device.name == DEVICE).map(|at| found.swap_remove(at));
    let made = match ours {
        Some(device)
            if device.vni == spec.vni
                && device.port == spec.port
                && device.local == Some(spec.local)
                && !device.learning
                && !device.collect_metadata
                && device.mac == wanted =>
        {
            device
        }
        Some(_) | None => {
            // By its name it is Linnet's, whatever it is.
            remove(socket)?;
            // The kernel's own answer to this is a bare EEXIST.
            if let Some(twin) = found.iter().find(|device| device.vni == spec.vni && device.port == spec.port) {
                return Err(FibError::DeviceInTheWay {
                    device: twin.name.clone(),
                    why: format!("it has VNI {} on port {} already", spec.vni, spec.port),
                });
            }
            create(socket, spec, wanted, mtu)?;
            let made = find(socket)?.into_iter().find(|device| device.name == DEVICE);
            made.ok_or_else(|| FibError::Lost(format!("device {DEVICE} vanished while it was made")))?
        }
    };
    // Each is right for a device of Linnet's own, and of no other: a packet may come by the tunnel and its answer go
    // by a link while nodes change from one to the other, so the reverse path must not be checked strictly; and no
    // address is wanted on the device, nor anything that others announce there.
    for (key, value) in [
        (format!("ipv4/conf/{DEVICE}/rp_filter"), "2"),
        (format!("ipv6/conf/{DEVICE}/addr_gen_mode"), "1"),
        (format!("ipv6/conf/{DEVICE}/accept_ra"), "0"),
    ] {
        if let Err(error) = sysctl::set(&key, value) {
            tracing::warn!(%error, "a setting of the overlay device stays as it is");
        }
    }
    if made.mtu != mtu || !made.up {
        device::set(socket, DEVICE, made.index, Some(mtu), true)?;
    }
    let status =
        OverlayStatus { device: DEVICE.into(), mac: wanted, mtu, vni: spec.vni, port: spec.port, local: spec.local };
    Ok((made.index, status))
}

/// Removes the device; done already is done.
pub(crate) fn remove(socket: &mut Socket) -> Result<(), FibError> {
    match device::find(socket, DEVICE)? {
        Some(found) => device::remove(socket, DEVICE, found.index),
        None => Ok(()),
    }
}

fn create(socket: &mut Socket, spec: &OverlaySpec, mac: [u8; 6], mtu: u32) -> Result<(), FibError> {
    let builder = LinkVxlan::new(DEVICE, spec.vni).port(spec.port).learning(false).address(mac.to_vec()).mtu(mtu);
    let builder = match spec.local {
        IpAddr::V4(local) => builder.local(local),
        IpAddr::V6(local) => builder.local6(local),
    };
    let request = Request { message: RouteNetlinkMessage::NewLink(builder.build()), flags: NLM_F_CREATE | NLM_F_EXCL };
    socket.perform(&format!("add device {DEVICE} (VXLAN, VNI {}, port {})", spec.vni, spec.port), request)
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
