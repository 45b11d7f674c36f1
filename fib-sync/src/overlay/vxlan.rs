//! The VXLAN device.

use std::net::IpAddr;

use netlink_packet_route::link::{InfoData, InfoKind, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage};
use rtnetlink::{LinkUnspec, LinkVxlan};

use super::{
    VXLAN_DEVICE, mac,
    own::{Found, Kind},
};
use crate::FibError;

/// What Linnet wants.
#[derive(Debug)]
pub(super) struct Vxlan {
    vni: u32,
    port: u16,
    local: IpAddr,
}

impl Vxlan {
    pub(super) fn new(vni: u32, port: u16, local: IpAddr) -> Result<Vxlan, FibError> {
        if vni == 0 || vni > 0xff_ffff || port == 0 {
            return Err(FibError::Invalid(format!(
                "the overlay's VNI {vni} or port {port} is out of range; the overlay is not made; set overlay.vni to 1..16777215 \
                 and overlay.port to 1..65535"
            )));
        }
        Ok(Vxlan { vni, port, local })
    }

    /// What cannot be changed of a device is as it should be.
    fn has_ends(&self, detail: &Detail) -> bool {
        (detail.vni, detail.port, detail.local) == (self.vni, self.port, Some(self.local)) && !detail.collect_metadata
    }
}

/// What the kernel says of such a device.
#[derive(Debug, Default)]
pub(super) struct Detail {
    vni: u32,
    port: u16,
    local: Option<IpAddr>,
    learning: bool,
    collect_metadata: bool,
}

impl Kind for Vxlan {
    const DEVICE: &'static str = VXLAN_DEVICE;
    const KIND: InfoKind = InfoKind::Vxlan;
    type Detail = Detail;

    fn read(data: &InfoData, detail: &mut Detail) {
        let InfoData::Vxlan(data) = data else { return };
        for datum in data {
            match datum {
                InfoVxlan::Id(vni) => detail.vni = *vni,
                InfoVxlan::Port(port) => detail.port = *port,
                InfoVxlan::Local(local) => detail.local = Some((*local).into()),
                InfoVxlan::Local6(local) => detail.local = Some((*local).into()),
                InfoVxlan::Learning(learning) => detail.learning = *learning,
                InfoVxlan::CollectMetadata(metadata) => detail.collect_metadata = *metadata,
                _ => {}
            }
        }
    }

    fn serves(&self, device: &Found<Detail>) -> bool {
        self.has_ends(&device.detail) && !device.detail.learning && device.mac == mac(self.local, self.vni)
    }

    fn mending(&self, device: &Found<Detail>) -> Option<LinkMessage> {
        let mut message = LinkUnspec::new_with_index(device.index).build();
        let own = mac(self.local, self.vni);
        // The kernel lets neighbours go also where it is given the one that it has.
        if device.mac != own {
            message.attributes.push(LinkAttribute::Address(own.to_vec()));
        }
        if device.detail.learning {
            let changed = LinkInfo::Data(InfoData::Vxlan(vec![InfoVxlan::Learning(false)]));
            message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(Self::KIND), changed]));
        }
        self.has_ends(&device.detail).then_some(message)
    }

    fn obstacle(&self, Found { detail, .. }: &Found<Detail>) -> Option<String> {
        let Vxlan { vni, port, .. } = self;
        (detail.vni == *vni && detail.port == *port).then(|| format!("it has VNI {vni} on port {port} already"))
    }

    fn request(&self, mtu: u32) -> (LinkMessage, String) {
        let Vxlan { vni, port, local } = *self;
        let builder =
            LinkVxlan::new(Self::DEVICE, vni).port(port).learning(false).address(mac(local, vni).to_vec()).mtu(mtu);
        let builder = match local {
            IpAddr::V4(local) => builder.local(local),
            IpAddr::V6(local) => builder.local6(local),
        };
        (builder.build(), format!("VXLAN, VNI {vni}, port {port}"))
    }
}
