//! Linnet's device of one kind: kept if it serves, made anew if not. What differs between kinds, a [`Kind`] says.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{InfoData, InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
};

use super::{Made, remove_named};
use crate::{
    FibError,
    netlink::{Request, Socket},
};

/// A kind of tunnel device, with what Linnet wants of its own.
pub(super) trait Kind {
    /// Name of Linnet's device.
    const DEVICE: &'static str;
    /// As the kernel calls the kind (`IFLA_INFO_KIND`).
    const KIND: InfoKind;
    /// What devices of this kind have and others have not.
    type Detail: Default;

    /// Reads that.
    fn read(data: &InfoData, detail: &mut Self::Detail);
    /// Whether a device that has Linnet's name is what is wanted, but for its MTU and whether it is up.
    fn serves(&self, device: &Found<Self::Detail>) -> bool;
    /// RTM_NEWLINK by which a device of Linnet's that does not serve comes to do so; `None`: only another device does.
    fn mending(&self, _device: &Found<Self::Detail>) -> Option<LinkMessage> {
        None
    }
    /// Why somebody else's device of this kind leaves no room for Linnet's; `None`: it does not. The kernel's own answer is a
    /// bare EEXIST.
    fn obstacle(&self, device: &Found<Self::Detail>) -> Option<String>;
    /// RTM_NEWLINK for it, and what that is, for an error.
    fn request(&self, mtu: u32) -> (LinkMessage, String);
    /// The kernel does not make it.
    fn refused(error: FibError) -> FibError {
        error
    }
}

/// A device as the kernel tells of it.
#[derive(Debug, Default)]
pub(super) struct Found<D> {
    pub(super) index: u32,
    name: String,
    pub(super) mac: Vec<u8>,
    mtu: u32,
    up: bool,
    pub(super) detail: D,
}

/// Keeps what is there if it serves: a device made anew loses every route by it.
pub(super) fn ensure<K: Kind>(kind: &K, mtu: u32, socket: &mut Socket) -> Result<Made, FibError> {
    let mut found = find::<K>(socket)?;
    let ours = found.iter().position(|device| device.name == K::DEVICE).map(|at| found.swap_remove(at));
    let made = match ours {
        Some(device) if kind.serves(&device) || mend(kind, &device, socket) => device,
        Some(_) | None => {
            // By its name it is Linnet's, whatever it is.
            remove_named(socket, K::DEVICE)?;
            for other in found {
                if let Some(why) = kind.obstacle(&other) {
                    return Err(FibError::DeviceInTheWay { device: other.name, why });
                }
            }
            let (message, what) = kind.request(mtu);
            let request = Request { message: RouteNetlinkMessage::NewLink(message), flags: NLM_F_CREATE | NLM_F_EXCL };
            socket.perform(&format!("add device {} ({what})", K::DEVICE), request).map_err(K::refused)?;
            let made = find::<K>(socket)?.into_iter().find(|device| device.name == K::DEVICE);
            made.ok_or_else(|| FibError::Lost(format!("device {} vanished while it was made", K::DEVICE)))?
        }
    };
    Ok(Made { index: made.index, mtu: made.mtu, up: made.up })
}

/// Makes a device serve, if that can be done without another one.
fn mend<K: Kind>(kind: &K, device: &Found<K::Detail>, socket: &mut Socket) -> bool {
    let Some(message) = kind.mending(device) else { return false };
    let request = Request { message: RouteNetlinkMessage::NewLink(message), flags: 0 };
    let mended = socket.perform(&format!("put device {} right", K::DEVICE), request);
    mended.inspect_err(|error| tracing::debug!(%error, "the overlay device is made anew")).is_ok()
}

/// Whether Linnet's device is there and serves.
pub(super) fn stands<K: Kind>(kind: &K, socket: &mut Socket) -> Result<bool, FibError> {
    Ok(find::<K>(socket)?.iter().any(|device| device.name == K::DEVICE && kind.serves(device)))
}

/// Whether a device serves that the kernel tells of; `None`: what it tells is not all of it.
pub(super) fn serves<K: Kind>(kind: &K, link: &LinkMessage) -> Option<bool> {
    read::<K>(link).map(|device| kind.serves(&device))
}

/// All devices of the kind.
fn find<K: Kind>(socket: &mut Socket) -> Result<Vec<Found<K::Detail>>, FibError> {
    socket.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()), |message| match message {
        RouteNetlinkMessage::NewLink(link) => read::<K>(&link),
        _ => None,
    })
}

fn read<K: Kind>(link: &LinkMessage) -> Option<Found<K::Detail>> {
    let mut found =
        Found { index: link.header.index, up: link.header.flags.contains(LinkFlags::Up), ..Found::default() };
    let mut of_this_kind = false;
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => found.name.clone_from(name),
            LinkAttribute::Address(mac) => found.mac.clone_from(mac),
            LinkAttribute::Mtu(mtu) => found.mtu = *mtu,
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    match info {
                        LinkInfo::Kind(kind) => of_this_kind = *kind == K::KIND,
                        LinkInfo::Data(data) => K::read(data, &mut found.detail),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    of_this_kind.then_some(found)
}
