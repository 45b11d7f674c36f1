//! One device by its name: asked for, set, removed. For the few that Linnet makes itself.

use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo},
};
use rtnetlink::LinkUnspec;

use crate::{
    FibError,
    netlink::{Request, Socket},
};

/// A device, as far as it matters to who makes one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) index: u32,
    /// Index of the device behind it: a veth's other end, in whatever namespace that is.
    pub(crate) behind: Option<u32>,
    pub(crate) mtu: u32,
    pub(crate) up: bool,
    /// The kernel has noticed its carrier and sends packets (IFF_RUNNING).
    pub(crate) running: bool,
    pub(crate) veth: bool,
}

/// Asks for a device by its name; `None`: there is none.
pub(crate) fn find(socket: &mut Socket, name: &str) -> Result<Option<Device>, FibError> {
    let question = LinkUnspec::new_with_name(name).build();
    let request = Request { message: RouteNetlinkMessage::GetLink(question), flags: 0 };
    let link = match socket.ask(&[request])?.pop() {
        Some(Ok(RouteNetlinkMessage::NewLink(link))) => link,
        Some(Err(refusal)) if refusal.errno != libc::ENODEV => {
            return Err(FibError::Kernel {
                what: format!("find device {name}"),
                source: refusal.error(),
                message: refusal.message,
            });
        }
        _ => return Ok(None),
    };
    let flags = link.header.flags;
    let mut device = Device {
        index: link.header.index,
        up: flags.contains(LinkFlags::Up),
        running: flags.contains(LinkFlags::Running),
        ..Device::default()
    };
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::Link(index) => device.behind = Some(*index),
            LinkAttribute::Mtu(mtu) => device.mtu = *mtu,
            LinkAttribute::LinkInfo(infos) => {
                device.veth = infos.iter().any(|info| matches!(info, LinkInfo::Kind(InfoKind::Veth)));
            }
            _ => {}
        }
    }
    Ok(Some(device))
}

/// Sets a device's MTU, and switches it on if `up`.
pub(crate) fn set(socket: &mut Socket, name: &str, index: u32, mtu: Option<u32>, up: bool) -> Result<(), FibError> {
    let mut link = LinkUnspec::new_with_index(index);
    if let Some(mtu) = mtu {
        link = link.mtu(mtu);
    }
    if up {
        link = link.up();
    }
    let what = match (mtu, up) {
        (Some(mtu), true) => format!("set device {name} up with MTU {mtu}"),
        (Some(mtu), false) => format!("set the MTU of device {name} to {mtu}"),
        (None, _) => format!("set device {name} up"),
    };
    socket.perform(&what, Request { message: RouteNetlinkMessage::SetLink(link.build()), flags: 0 })
}

/// Removes a device.
pub(crate) fn remove(socket: &mut Socket, name: &str, index: u32) -> Result<(), FibError> {
    let link = LinkUnspec::new_with_index(index).build();
    socket.perform(&format!("remove device {name}"), Request { message: RouteNetlinkMessage::DelLink(link), flags: 0 })
}
