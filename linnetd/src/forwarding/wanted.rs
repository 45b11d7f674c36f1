//! What the configuration wants of the overlay.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bgp_proto::types::Prefix;
use fib_sync::{Encapsulation, OverlaySpec};

use crate::config::{self, Config, OverlayMode};
use crate::overlay_key::{self, KeyError};
use crate::routes::Settings;

/// What the configuration wants of the overlay.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    overlay: config::Overlay,
    local: IpAddr,
    /// Where this node's key is.
    state_directory: PathBuf,
    /// `bgp.cluster-cidrs`.
    cluster: Vec<Prefix>,
}

impl Wanted {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            overlay: config.overlay,
            local: config.node.address,
            state_directory: config.state_directory.clone(),
            cluster: config.bgp.cluster_cidrs.clone(),
        }
    }

    pub(super) fn is_any(&self) -> bool {
        self.overlay.mode != OverlayMode::Never
    }

    /// For the engine. With WireGuard this reads the node's key, or makes it.
    pub(super) fn spec(&self) -> Result<Option<OverlaySpec>, KeyError> {
        if !self.is_any() {
            return Ok(None);
        }
        let config::Overlay { vni, port, mtu, .. } = self.overlay;
        let (encapsulation, key) = match self.overlay.encapsulation {
            config::Encapsulation::Vxlan => (Encapsulation::Vxlan { vni, port }, None),
            config::Encapsulation::IpIp if self.local.is_ipv6() => (Encapsulation::Ip6Tnl, None),
            config::Encapsulation::IpIp => (Encapsulation::IpIp, None),
            config::Encapsulation::WireGuard => {
                let key = overlay_key::load_or_make(&self.state_directory)?;
                (Encapsulation::WireGuard { port }, Some(Arc::new(key)))
            }
        };
        let hold_sessions = self.overlay.mode == OverlayMode::Auto;
        Ok(Some(OverlaySpec { encapsulation, local: self.local, mtu, key, hold_sessions }))
    }

    /// What ways are judged by, with this device, or with one that lingers.
    pub(super) fn settings(&self, device: Option<Encapsulation>, lingering: Option<Encapsulation>) -> Settings {
        let config::Overlay { mode, encapsulation, .. } = self.overlay;
        Settings {
            mode,
            overlay: device.filter(|_| self.is_any()),
            lingering,
            sealed: encapsulation == config::Encapsulation::WireGuard,
            cluster: self.cluster.clone(),
        }
    }
}
