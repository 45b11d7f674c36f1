//! The handle by which the rest of Linnet speaks to the engine.
#![expect(clippy::todo, reason = "the face lands before the flesh")]

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use tokio::sync::mpsc;

use crate::{Change, FibError, OverlaySpec, OverlayStatus, Reach, RouteStatus};

/// Where the routes go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FibConfig {
    /// Routing table, 1..=0xffffffff; main is 254.
    pub table: u32,
    /// Metric of every route: part of the kernel's key, so a constant.
    pub metric: u32,
}

/// What the engine tells without being asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FibEvent {
    /// The kernel now reaches these next hops otherwise.
    ReachChanged(Vec<(IpAddr, Reach)>),
    /// Somebody else touched a route of Linnet's and it was put back.
    Repaired {
        /// The route's destination.
        prefix: IpNetwork,
        /// What had been done to it.
        what: String,
    },
    /// Messages of the kernel's were lost; everything was read again and compared.
    Resynced,
    /// The overlay's MTU changed with its underlay.
    OverlayChanged(OverlayStatus),
}

/// The kernel's answer for one destination, and the route that gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelAnswer {
    /// The route that matched; `None` when the kernel does not say.
    pub prefix: Option<IpNetwork>,
    /// `unicast`, `local`, `unreachable`, `blackhole` ...
    pub kind: String,
    /// Gateway.
    pub via: Option<IpAddr>,
    /// Device.
    pub device: Option<String>,
    /// Source address that this host would use.
    pub source: Option<IpAddr>,
    /// Octets of the largest packet.
    pub mtu: Option<u32>,
    /// Owner of the route (`rtm_protocol`); [`crate::PROTOCOL`] is Linnet.
    pub protocol: Option<u8>,
}

/// A handle to the engine. Clones speak to the same one; it ends with the last of them.
#[derive(Clone, Debug)]
pub struct Fib {}

impl Fib {
    /// Reads the kernel and starts to watch it. Routes of protocol [`crate::PROTOCOL`] in the table are adopted, nothing is removed.
    pub async fn start(config: FibConfig) -> Result<(Fib, mpsc::Receiver<FibEvent>), FibError> {
        let _ = config;
        todo!()
    }

    /// How many routes of an earlier run there were at the start; more than none: this is a restart.
    pub fn adopted(&self) -> usize {
        todo!()
    }

    /// Applies one batch of changes; returns when the kernel has answered. What it refused stays pending: see [`Fib::status`].
    pub async fn change(&self, changes: Vec<Change>) {
        let _ = changes;
        todo!()
    }

    /// From now on, routes of Linnet's of this family that nobody desires are removed.
    pub async fn sweep(&self, v6: bool) {
        let _ = v6;
        todo!()
    }

    /// How the kernel reaches each address, in the order asked. Later changes come by [`FibEvent::ReachChanged`].
    pub async fn reach(&self, next_hops: Vec<IpAddr>) -> Vec<Reach> {
        let _ = next_hops;
        todo!()
    }

    /// Makes, adopts, updates or (with `None`) removes the overlay device.
    pub async fn overlay(&self, spec: Option<OverlaySpec>) -> Result<Option<OverlayStatus>, FibError> {
        let _ = spec;
        todo!()
    }

    /// Each desired route and how it fares, sorted by prefix.
    pub async fn status(&self) -> Vec<RouteStatus> {
        todo!()
    }

    /// The kernel's own answer for a destination.
    pub async fn get(&self, address: IpAddr) -> Result<KernelAnswer, FibError> {
        let _ = address;
        todo!()
    }

    /// Removes everything that is Linnet's: its routes in the table and its overlay devices. Desired routes are forgotten.
    pub async fn clear(&self) {
        todo!()
    }
}
