//! The handle by which the rest of Linnet speaks to the engine.

use std::{net::IpAddr, sync::Arc};

use ipnetwork::IpNetwork;
use tokio::sync::{mpsc, oneshot};

use crate::{
    AtRest, Change, Comparison, Comparisons, FibError, OverlaySpec, OverlayStatus, PathId, PeerStatus, Reach,
    RouteStatus,
    engine::{self, Command, Desk},
};

/// Where the routes go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FibConfig {
    /// Routing table, 1..=0xffffffff; main is 254.
    pub table: u32,
    /// Metric of every route: part of the kernel's key, so a constant.
    pub metric: u32,
    /// Routes go by next-hop objects, where the kernel has them (Linux 5.3): a next hop that is lost then moves all of its
    /// routes in one message.
    pub next_hop_objects: bool,
}

/// Where routes of Linnet's are: a routing table, and the metric that they have in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoutePlace {
    /// Routing table.
    pub table: u32,
    /// Metric of every route.
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
    /// The overlay's device is gone or of no use, and cannot be set up again; that is tried ever more rarely, up to every 30 s,
    /// and when links change.
    OverlayLost {
        /// Why.
        error: String,
    },
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

/// How many routes there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Desired.
    pub wanted: usize,
    /// Of these, in the kernel as desired.
    pub installed: usize,
    /// How often any of them was put back.
    pub repairs: u64,
    /// Full compares with the kernel.
    pub comparisons: Comparisons,
}

/// Events that wait for their reader; what comes on top is conflated, or, for repairs, dropped.
const EVENTS: usize = 256;
/// Requests that wait for the engine.
const COMMANDS: usize = 64;

/// What became of a batch of changes.
#[derive(Debug, Default)]
pub struct Landed {
    /// Paths that lost their last route by it. What they are is kept until the engine is told otherwise.
    pub unused: Vec<PathId>,
    /// The kernel has answered. If not, the batch waits with others in the engine's book: see [`Fib::written`].
    pub written: bool,
}

/// A batch of changes.
#[derive(Debug)]
pub enum Submitted {
    /// It is in the kernel, or refused.
    Landed(Landed),
    /// It is on its way to the engine.
    Queued(Queued),
}

impl Submitted {
    async fn landed(self) -> Landed {
        match self {
            Submitted::Landed(landed) => landed,
            Submitted::Queued(mut queued) => queued.landed().await,
        }
    }
}

/// A batch of changes on its way to the engine.
#[derive(Debug)]
pub struct Queued(oneshot::Receiver<Landed>);

impl Queued {
    /// Waits until the engine has taken the batch in, a small one also until the kernel has answered. May be dropped and called
    /// again before; says what became of it once.
    pub async fn landed(&mut self) -> Landed {
        (&mut self.0).await.unwrap_or_default()
    }
}

/// A handle to the engine. Clones speak to the same one; it ends with the last of them.
#[derive(Clone, Debug)]
pub struct Fib {
    commands: mpsc::Sender<Command>,
    desk: Arc<Desk>,
    adopted: usize,
}

impl Fib {
    /// Reads the kernel and starts to watch it, from a task of the runtime in which this is called. Routes of protocol [`crate::PROTOCOL`] in the table are adopted,
    /// nothing is removed.
    ///
    /// # Errors
    /// [`FibError::Socket`] without the right to change routes, [`FibError::Kernel`] when it cannot be read.
    pub fn start(config: FibConfig) -> Result<(Fib, mpsc::Receiver<FibEvent>), FibError> {
        let (commands, requests) = mpsc::channel(COMMANDS);
        let (events, heard) = mpsc::channel(EVENTS);
        let (desk, adopted) = engine::spawn(config, requests, events)?;
        Ok((Fib { commands, desk, adopted }, heard))
    }

    /// How many routes of an earlier run there were at the start; more than none: this is a restart.
    pub fn adopted(&self) -> usize {
        self.adopted
    }

    /// Applies one batch of changes, in their order; returns when the kernel has answered. What it refused stays pending,
    /// and is tried again after a while and when links change: see [`Fib::status`].
    ///
    /// Returns the paths that lost their last route by it. What they are is kept until the engine is told otherwise.
    pub async fn change(&self, changes: Vec<Change>) -> Vec<PathId> {
        let landed = self.submit(changes).await.landed().await;
        if !landed.written {
            self.written().await;
        }
        landed.unused
    }

    /// As [`Fib::change`], but returns when the engine has room for the batch, which lands while the caller goes on.
    ///
    /// A few routes are written at once, also while many others wait; by the caller, if the engine is at rest.
    pub async fn submit(&self, changes: Vec<Change>) -> Submitted {
        let changes = match self.desk.change(changes) {
            Ok(landed) => return Submitted::Landed(landed),
            Err(changes) => changes,
        };
        let (answer, answered) = oneshot::channel();
        // An engine that has ended drops the batch and with it the sender of the answer.
        let _ = self.commands.send(Command::Change(changes, answer, self.desk.place())).await;
        Submitted::Queued(Queued(answered))
    }

    /// The engine, if it has nothing to do: then a few changes need neither wait nor be handed over. It stands still until this
    /// is gone.
    #[must_use]
    pub fn at_rest(&self) -> Option<AtRest<'_>> {
        self.desk.at_rest()
    }

    /// Waits until the kernel has answered to all that was submitted until now.
    pub async fn written(&self) {
        self.call(Command::Written).await.unwrap_or_default();
    }

    /// The path of the desired route to each of these destinations, in the order asked.
    pub async fn wanted(&self, prefixes: Vec<IpNetwork>) -> Vec<Option<PathId>> {
        let count = prefixes.len();
        self.call(|answer| Command::Wanted(prefixes, answer)).await.unwrap_or_else(|_| vec![None; count])
    }

    /// Every path that routes have, and how many.
    pub async fn users(&self) -> Vec<(PathId, usize)> {
        self.call(Command::Users).await.unwrap_or_default()
    }

    /// From now on, routes of Linnet's of this family that nobody desires are removed: a few at once, many as
    /// [`Fib::written`] says. Once both families are swept, so are entries of the overlay.
    pub async fn sweep(&self, v6: bool) {
        self.call(|answer| Command::Sweep(v6, answer)).await.unwrap_or_default();
    }

    /// How the kernel reaches each address, in the order asked. Later changes come by [`FibEvent::ReachChanged`].
    pub async fn reach(&self, next_hops: Vec<IpAddr>) -> Vec<Reach> {
        let count = next_hops.len();
        self.call(|answer| Command::Reach(next_hops, answer))
            .await
            .unwrap_or_else(|error| vec![Reach::Unreachable { error: error.to_string() }; count])
    }

    /// Makes, adopts, updates or (with `None`) removes the overlay device. One of another encapsulation, from before
    /// or an earlier run, stays until [`Fib::retire_overlays`]: other nodes may still send into it.
    ///
    /// # Errors
    /// [`FibError::NoUnderlay`], [`FibError::DeviceInTheWay`], [`FibError::Invalid`] for a VNI, port or address that
    /// cannot be, [`FibError::NoIpIp`], [`FibError::NoIp6Tnl`], [`FibError::NoWireGuard`], [`FibError::Kernel`]. The overlay is then absent, and asked for again it is tried again.
    pub async fn overlay(&self, spec: Option<OverlaySpec>) -> Result<Option<OverlayStatus>, FibError> {
        self.call(|answer| Command::Overlay(spec, answer)).await?
    }

    /// Nobody sends any more into the overlay devices of other encapsulations than the wanted one: each goes when no route leaves
    /// by it either.
    pub async fn retire_overlays(&self) {
        self.call(Command::RetireOverlays).await.unwrap_or_default();
    }

    /// The peers of the WireGuard device, as the kernel has them now; none where the overlay is another.
    ///
    /// # Errors
    /// [`FibError::Kernel`] when they cannot be read.
    pub async fn peers(&self) -> Result<Vec<PeerStatus>, FibError> {
        self.call(Command::Peers).await?
    }

    /// Each desired route and how it fares, sorted by prefix.
    pub async fn status(&self) -> Vec<RouteStatus> {
        self.call(Command::Status).await.unwrap_or_default()
    }

    /// How many routes there are. Cheaper by far than [`Fib::status`], where there are very many.
    pub async fn totals(&self) -> Totals {
        self.call(Command::Totals).await.unwrap_or_default()
    }

    /// Reads all that is Linnet's in the kernel, says what is not as wanted, and repairs it; also what was left to another
    /// program for a while because that fought over it. The engine does the same by itself every ten minutes or so.
    ///
    /// # Errors
    /// [`FibError::Kernel`], [`FibError::Socket`] and [`FibError::Lost`] when the kernel cannot be read; it is tried again.
    pub async fn check(&self) -> Result<Comparison, FibError> {
        self.call(Command::Check).await?
    }

    /// The kernel's own answer for a destination.
    ///
    /// # Errors
    /// [`FibError::Kernel`] when it has no route, or one that refuses.
    pub async fn get(&self, address: IpAddr) -> Result<KernelAnswer, FibError> {
        self.call(|answer| Command::Get(address, answer)).await?
    }

    /// How many routes of Linnet's an earlier run left in a place that is not this engine's; none in its own.
    ///
    /// # Errors
    /// [`FibError::Kernel`], [`FibError::Socket`] and [`FibError::Lost`] when the kernel cannot be read.
    pub async fn left(&self, place: RoutePlace) -> Result<usize, FibError> {
        self.call(|answer| Command::Left(place, answer)).await?
    }

    /// Removes these. Returns how many there were.
    ///
    /// # Errors
    /// As [`Fib::left`], and [`FibError::Kernel`] for one that cannot be removed.
    pub async fn vacate(&self, place: RoutePlace) -> Result<usize, FibError> {
        self.call(|answer| Command::Vacate(place, answer)).await?
    }

    /// Removes everything that is Linnet's: its routes in the table and its overlay devices. Desired routes are
    /// forgotten.
    pub async fn clear(&self) {
        self.call(Command::Clear).await.unwrap_or_default();
    }

    async fn call<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, FibError> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(command(answer)).await.map_err(|_| FibError::Ended)?;
        answered.await.map_err(|_| FibError::Ended)
    }
}
