//! The WireGuard device, as other links are made. What makes it WireGuard's (key, port, peers) goes by [`super::Control`].

use netlink_packet_route::link::{InfoData, InfoKind, LinkAttribute, LinkInfo, LinkMessage};

use crate::{
    FibError,
    overlay::{
        WIREGUARD_DEVICE,
        own::{Found, Kind},
    },
};

/// What Linnet wants.
#[derive(Debug)]
pub(in crate::overlay) struct WireGuard;

impl Kind for WireGuard {
    const DEVICE: &'static str = WIREGUARD_DEVICE;
    const KIND: InfoKind = InfoKind::Wireguard;
    type Detail = ();

    fn read(_: &InfoData, (): &mut ()) {}

    /// Every device of the kind does: key and port are changed in place, which keeps its peers and routes.
    fn serves(&self, _: &Found<()>) -> bool {
        true
    }

    fn obstacle(&self, _: &Found<()>) -> Option<String> {
        None
    }

    fn request(&self, mtu: u32) -> (LinkMessage, String) {
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(Self::DEVICE.into()),
            LinkAttribute::Mtu(mtu),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(Self::KIND)]),
        ];
        (message, "WireGuard".into())
    }

    fn refused(error: FibError) -> FibError {
        match error {
            FibError::Kernel { source, .. } if source.raw_os_error() == Some(libc::EOPNOTSUPP) => FibError::NoWireGuard,
            error => error,
        }
    }
}
