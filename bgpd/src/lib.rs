//! The tokio shell around `bgp-proto`: listeners, connections, socket options, and the task that owns the RIB.
//!
//! [`Bgp::start`] makes a speaker and returns a handle, which can be cloned, and the stream of [`Event`]s.
//!
//! Who runs where: the roster (one task) knows who the peers are and takes what the listeners accepted; each peer has one
//! task, which owns its session and its connections; the RIB has a task of its own. A session tells the RIB what one read
//! of its socket brought, within a budget of bytes that all share; the RIB tells a session what to send, within what it
//! knows the session's socket has not taken yet. No task waits for one thing alone, and none holds a lock while it waits: what finds
//! the next one at rest is done in its place, and everything else queues.

pub mod authentication;
pub mod bfd;
mod bmp;
mod clock;
pub mod config;
mod connection;
mod forward;
mod key_ring;
mod link;
mod listener;
mod mrt;
mod outlet;
mod own;
mod peer;
mod place;
mod reconfigure;
mod rib_port;
mod rib_task;
mod roster;
mod rpki;
mod segment;
mod socket_options;
pub mod status;
mod strangers;
mod tcp_ao;
mod watch;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bgp_proto::rib::{self, BestChange, ExportTrial, ExportVerdict, PageStart, PeerCounts, Retained, Scope};
use bgp_proto::rtr::Vrp;
use bgp_proto::session::{DownReason, State, Stop};
use bgp_proto::types::{Asn, Family, Interface, PeerId, Prefix, RouterId};
use bgp_proto::wire::Notification;
use bgp_proto::wire::attributes::Attributes;
use bgp_proto::wire::notification::Cease;
use tokio::sync::{mpsc, oneshot};

use clock::Clock;
use key_ring::Fault;
use peer::PeerCommand;
use rib_port::RibPort;
use rib_task::Order;
use roster::{Command, ListedPeer, Listing, Roster, ToRib};

pub use authentication::{AoAlgorithm, AoKey, AoKeys, Authentication, Secret};
pub use bfd::{BfdReport, BfdStatus};
pub use bgp_proto::prefix_limit::{LimitAction, PrefixLimit};
pub use bgp_proto::rib::Drain;
pub use bmp::{StationState, StationStatus};
pub use config::{
    BfdConfig, BfdHops, CacheConfig, Config, DynamicPeerConfig, GracefulRestart, MrtConfig, OnBfdDown, PeerConfig,
    StationConfig, Ttl,
};
pub use forward::Forward;
pub use mrt::MrtStatus;
pub use rpki::CacheStatus;
pub use status::{CapabilityStatus, DeferralStatus, LastDown, PeerStatus, Restarts, RouteQuery, RouteScope, RouteView};

/// What a speaker tells its owner, in the order in which it happened.
///
/// The channel is bounded: while its receiver is behind, the RIB takes no routes in, peers are read no further, and
/// sessions stay up. Questions ([`Bgp::peers`], [`Bgp::routes`]) are answered all the same.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Best paths changed.
    Best(Vec<BestChange>),
    /// See [`bgp_proto::rib::Output::Converged`].
    Converged(Family),
    /// A session came up.
    Up {
        /// The peer's name.
        peer: String,
    },
    /// What a peer announced is dropped, which may take a while: until then, paths by the peer itself lead to somebody who is
    /// gone. Said before anything is done about it.
    Dropped {
        /// The peer's address.
        next_hop: IpAddr,
        /// The link that it is on, of a link-local one: the same address may be somebody else's on another link.
        link: Option<Interface>,
    },
    /// All prefixes are decided about as things are now, also those of peers that were [dropped](Event::Dropped): said once after
    /// each time that some were.
    Decided,
    /// A session went down.
    Down {
        /// The peer's name.
        peer: String,
        /// Why, for a person.
        reason: String,
    },
}

/// Events that wait for the owner before the RIB stands still.
const EVENTS: usize = 16;

/// How a speaker stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Connections close without a word, so that peers keep our routes while we restart (RFC 4724).
    Silent,
    /// Each peer is sent Cease / Administrative Shutdown and drops our routes.
    Cease,
}

/// Why a speaker could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listening socket could not be made.
    #[error("cannot listen on {address}: {source}; no peer could connect to it: free the port or change `listen`")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// Two peers have one address or one name.
    #[error("two peers have {what}; an incoming connection could belong to either: remove one of them")]
    Duplicate {
        /// `the name "tor-a"` or `the address 192.0.2.1`.
        what: String,
    },
    /// Two RPKI caches have one address and port, or one name.
    #[error("the RPKI cache {name:?} has the name, or the address and port, of another one: remove one of them")]
    DuplicateCache {
        /// Which.
        name: String,
    },
    /// The thread that writes MRT files could not be made.
    #[error("cannot start the thread that writes MRT files: {0}; raise the limit of threads of this process")]
    Thread(std::io::Error),
}

/// No peer has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no peer is named {name:?}; there are: {}", .known.join(", "))]
pub struct UnknownPeer {
    /// What was asked for.
    pub name: String,
    /// All names.
    pub known: Vec<String>,
}

/// Why a peer's session was not disabled or enabled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetEnabledError {
    /// No peer has this name.
    #[error(transparent)]
    Unknown(#[from] UnknownPeer),
    /// It is there only for as long as it has a session.
    #[error(
        "{name:?} is a dynamic peer: its session was left as it is, because it would come back with the next connection; \
         give it a [[bgp.peer]] of its own, or lower the limit of its [[bgp.dynamic-peer]]"
    )]
    Dynamic {
        /// Which.
        name: String,
    },
}

/// Why a peer's session was not reset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResetError {
    /// No peer has this name.
    #[error(transparent)]
    Unknown(#[from] UnknownPeer),
    /// Its routes were to be kept, and would not be.
    #[error(
        "{name:?} and this node have not agreed on keeping routes across a NOTIFICATION (RFC 8538), so this reset would cost \
         them: its session was left as it is; switch graceful restart with notifications on at both ends \
         (graceful-restart = {{ notification = true }}), or reset it without keeping routes"
    )]
    CostsRoutes {
        /// Which.
        name: String,
    },
}

/// A running speaker. Dropping the last handle stops it like [`Shutdown::Silent`].
#[derive(Clone, Debug)]
pub struct Bgp {
    commands: mpsc::Sender<Command>,
    orders: mpsc::UnboundedSender<Order>,
    rpki: mpsc::Sender<rpki::Command>,
    bmp: mpsc::Sender<bmp::Command>,
    mrt: mpsc::Sender<mrt::Command>,
    refused: Arc<AtomicU64>,
}

impl Bgp {
    /// Opens the listening sockets and starts all sessions. `restarted`: this process found forwarding state of an earlier
    /// run, so peers are told that it was kept, and nothing is decided until they have sent their routes (RFC 4724).
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running.
    pub async fn start(config: Config, restarted: bool) -> Result<(Self, mpsc::Receiver<Event>), StartError> {
        roster::check(&config)?;
        let (caches, stations, files) = (config.rpki.clone(), config.bmp.clone(), config.mrt.clone());
        let identity = identity(&config);
        let clock = Clock::start();
        let (orders, orders_received) = mpsc::unbounded_channel();
        let (reports, reports_received) = mpsc::unbounded_channel();
        let (events, events_received) = mpsc::channel(EVENTS);
        let rib_config = roster::rib_config(&config, restarted);
        // The task ends by itself when a fault below drops the senders of orders.
        let desk = rib_task::start(rib_config, clock, orders_received, reports_received, events);
        let rib = ToRib { orders: orders.clone(), reports, desk, budget: RibPort::budget() };
        let roster = Roster::start(config, clock, restarted, rib)?;
        let refused = roster.refused();
        let (commands, commands_received) = mpsc::channel(16);
        tokio::spawn(roster.run(commands_received));
        let rpki = rpki::start(caches, clock, orders.clone());
        let mrt =
            mrt::start(files, identity.router_id, identity.local_as, orders.clone()).map_err(StartError::Thread)?;
        let bmp = bmp::start(identity, stations, orders.clone());
        Ok((Self { commands, orders, rpki, bmp, mrt, refused }, events_received))
    }

    /// Applies a changed configuration in place: what changed, a line each. A session is reset only if what its OPEN says,
    /// its address, port, local address or TTL changed; filters and keys are changed under it. A change of our AS, router id
    /// or cluster id resets all sessions. A configuration that [`Bgp::start`] would refuse changes nothing.
    pub async fn reconfigure(&self, config: Config) -> Vec<String> {
        let sound = roster::check(&config).is_ok();
        let beside = sound.then(|| (identity(&config), config.rpki.clone(), config.bmp.clone(), config.mrt.clone()));
        let mut lines = self.ask(|answer| Command::Reconfigure(Box::new(config), answer)).await.unwrap_or_default();
        if let Some((identity, caches, stations, files)) = beside {
            let (answer, answered) = oneshot::channel();
            let _ = self.rpki.send(rpki::Command::Configure(caches, answer)).await;
            lines.extend(answered.await.unwrap_or_default());
            let (answer, answered) = oneshot::channel();
            let (router_id, local_as) = (identity.router_id, identity.local_as);
            let _ = self.bmp.send(bmp::Command::Configure(identity, stations, answer)).await;
            lines.extend(answered.await.unwrap_or_default());
            let (answer, answered) = oneshot::channel();
            let _ = self.mrt.send(mrt::Command::Configure(files, router_id, local_as, answer)).await;
            lines.extend(answered.await.unwrap_or_default());
        }
        lines
    }

    /// From now on, what is decided about a few prefixes may go past the queue of events.
    pub fn forward_by(&self, forward: Arc<dyn Forward>) {
        // A speaker that has ended decides nothing.
        let _ = self.orders.send(Order::ForwardBy(forward));
    }

    /// The monitoring stations.
    pub async fn stations(&self) -> Vec<StationStatus> {
        let (answer, answered) = oneshot::channel();
        let _ = self.bmp.send(bmp::Command::Status(answer)).await;
        answered.await.unwrap_or_default()
    }

    /// What the writer of MRT files has done; `None` where none are written.
    pub async fn mrt(&self) -> Option<MrtStatus> {
        let (answer, answered) = oneshot::channel();
        let _ = self.mrt.send(mrt::Command::Status(answer)).await;
        answered.await.ok().flatten()
    }

    /// The table as an MRT file (RFC 6396, TABLE_DUMP_V2), part by part: the accepted paths, as the import filter left them.
    pub fn table_dump(&self, router_id: RouterId, local_as: Asn) -> mpsc::Receiver<Vec<u8>> {
        mrt::dump(self.orders.clone(), router_id, local_as)
    }

    /// The RPKI caches, in the order of the configuration.
    pub async fn caches(&self) -> Vec<CacheStatus> {
        let (answer, answered) = oneshot::channel();
        let _ = self.rpki.send(rpki::Command::Status(answer)).await;
        answered.await.unwrap_or_default()
    }

    /// The VRPs that count and cover a prefix, the shortest prefix first.
    pub async fn vrps(&self, prefix: Prefix) -> Vec<Vrp> {
        let (answer, answered) = oneshot::channel();
        let _ = self.orders.send(Order::Vrps(prefix, answer));
        answered.await.unwrap_or_default()
    }

    /// What a peer would hear of a route through a filter; `None` while its session is not up.
    pub async fn try_export(&self, trial: ExportTrial) -> Option<ExportVerdict> {
        let (answer, answered) = oneshot::channel();
        let _ = self.orders.send(Order::TryExport(Box::new(trial), answer));
        answered.await.ok().flatten()
    }

    /// Everything that this speaker originates: the difference to the last call is applied.
    pub async fn originate(&self, routes: Vec<(Prefix, Attributes)>) {
        let _ = self.orders.send(Order::Originate(routes));
    }

    /// What this speaker originates beside that because another program on this host knows a way: a difference, `None` for
    /// what it knows no more. A prefix that [`Bgp::originate`] has is that one's for as long as it has it.
    pub async fn redistribute(&self, changes: Vec<(Prefix, Option<Attributes>)>) {
        let _ = self.orders.send(Order::Redistribute(changes));
    }

    /// Drains this speaker, or ends that (RFC 8326): every peer is told what follows from it, and the sessions stay up.
    pub async fn set_drain(&self, drain: Drain) {
        let _ = self.orders.send(Order::SetDrain(drain));
    }

    /// Some next hops are out of reach (`true`), or are no longer: paths by them are not used (RFC 4271 section 9.1.2.1). See
    /// [`bgp_proto::rib::Rib::set_unreachable`]. What was said stays in force whatever is reconfigured.
    pub async fn set_unreachable(&self, changes: Vec<(IpAddr, bool)>) {
        let _ = self.orders.send(Order::SetUnreachable(changes));
    }

    /// Next hops that were said to be out of reach and that no path has any more: they count as reachable from now on.
    pub async fn forget_unreachable(&self) -> Vec<IpAddr> {
        let (answer, answered) = oneshot::channel();
        let _ = self.orders.send(Order::ForgetUnreachable(answer));
        answered.await.unwrap_or_default()
    }

    /// How many prefixes have accepted paths of which none has a next hop in reach: those of [`RouteScope::Unresolved`].
    pub async fn unresolved_prefixes(&self) -> usize {
        let (answer, answered) = oneshot::channel();
        let _ = self.orders.send(Order::UnresolvedPrefixes(answer));
        answered.await.unwrap_or_default()
    }

    /// All peers, by name.
    pub async fn peers(&self) -> Vec<PeerStatus> {
        let Listing { peers, graceful_restart, bfd, .. } = self.list().await;
        let bfd = ask_bfd(bfd).await.sessions;
        let ids = peers.iter().map(|peer| peer.id).collect();
        let (answer, counts) = oneshot::channel();
        let _ = self.orders.send(Order::Counts(ids, answer));
        let mut questions = Vec::new();
        for peer in peers {
            let (answer, status) = oneshot::channel();
            let _ = peer.commands.send(PeerCommand::Status(answer)).await;
            questions.push((peer, status));
        }
        let counts: Vec<(PeerCounts, Vec<Retained>)> = counts.await.unwrap_or_default();
        let mut statuses = Vec::new();
        for ((peer, status), (counts, retained)) in questions.into_iter().zip(counts) {
            // No answer: a dynamic peer has gone meanwhile.
            let Ok(status) = status.await else { continue };
            let session = bfd.iter().find(|session| Some(session.target) == peer.at).cloned();
            statuses.push(PeerStatus {
                id: peer.id,
                remote: status.remote,
                discovery: status.discovery,
                config: peer.config,
                dynamic: peer.dynamic,
                disabled: peer.disabled,
                state: status.state,
                open_in: status.open_in,
                established: status.established,
                uptime: status.uptime,
                down: status.down,
                last_error: with_fault(status.last_error, peer.key_fault, status.state),
                last_down: status.last_down,
                communication: status.communication,
                tcp_ao_send_id: status.tcp_ao_send_id,
                counters: status.counters,
                counts,
                unsent_bytes: status.unsent_bytes,
                untaken: status.untaken,
                prefix_limit_reached: status.prefix_limit_reached,
                restarts_in: status.restarts_in,
                graceful_restart,
                announced: status.announced,
                restart: status.restart,
                retained,
                bfd: session,
            });
        }
        statuses.sort_by(|one, other| one.config.name.cmp(&other.config.name));
        statuses
    }

    /// Whom this speaker waits for after its own restart; `None` when that is over, and without a restart.
    pub async fn deferral(&self) -> Option<DeferralStatus> {
        let (answer, deferral) = oneshot::channel();
        let _ = self.orders.send(Order::Deferral(answer));
        let rib::Deferral { left, holds_decisions, awaited, awaits_anybody } = deferral.await.ok()??;
        let peers = self.list().await.peers.into_iter();
        let mut names: Vec<_> = peers.filter(|peer| awaited.contains(&peer.id)).map(|peer| peer.config.name).collect();
        names.sort();
        Some(DeferralStatus { left, holds_decisions, awaited: names, awaits_anybody })
    }

    /// All BFD sessions, those that are just ending too, and what was discarded.
    pub async fn bfd(&self) -> BfdReport {
        ask_bfd(self.list().await.bfd).await
    }

    /// Routes for a person.
    ///
    /// # Errors
    /// The query names a peer that is not there.
    pub async fn routes(&self, query: RouteQuery) -> Result<Vec<RouteView>, UnknownPeer> {
        let peers = self.list().await.peers;
        let names: BTreeMap<PeerId, String> = peers.into_iter().map(|peer| (peer.id, peer.config.name)).collect();
        let id = |name: &str| {
            let found = names.iter().find(|(_, known)| *known == name).map(|(id, _)| *id);
            found.ok_or_else(|| UnknownPeer { name: name.to_owned(), known: names.values().cloned().collect() })
        };
        let scope = match &query.scope {
            RouteScope::Local => Scope::Local,
            RouteScope::Received(name) => Scope::Received(id(name)?),
            RouteScope::Advertised(name) => Scope::Advertised(id(name)?),
            RouteScope::Rejected => Scope::Rejected,
            RouteScope::Unresolved => Scope::Unresolved,
        };
        let mut routes = match query.prefix {
            Some(prefix) => {
                let (answer, routes) = oneshot::channel();
                let _ = self.orders.send(Order::Routes { scope, prefix, answer });
                routes.await.unwrap_or_default()
            }
            None => self.all_routes(scope, query.limit).await,
        };
        routes.truncate(query.limit);
        // Stable: the paths of one prefix stay in their order, the best one first.
        routes.sort_by_key(|route| route.prefix);
        Ok(routes.into_iter().map(|route| RouteView { peer: name_of(&names, route.peer), route }).collect())
    }

    /// Page by page, so that the RIB serves sessions in between; what changes meanwhile may be there in its old or its new
    /// state.
    async fn all_routes(&self, scope: Scope, limit: usize) -> Vec<rib::RouteView> {
        let mut routes = Vec::new();
        let mut next = Some(PageStart::default());
        while let Some(start) = next.filter(|_| routes.len() < limit) {
            let (answer, page) = oneshot::channel();
            let _ = self.orders.send(Order::Page { scope, start, answer });
            let Ok((page, rest)) = page.await else { break };
            routes.extend(page);
            next = rest;
        }
        routes
    }

    /// The name of the peer with this number; `local` for [`PeerId::LOCAL`].
    pub async fn peer_name(&self, id: PeerId) -> Option<String> {
        if id == PeerId::LOCAL {
            return Some(LOCAL.to_owned());
        }
        self.list().await.peers.into_iter().find(|peer| peer.id == id).map(|peer| peer.config.name)
    }

    /// Ends a session and starts it again. `communication`: what the person at the other end is told (RFC 9003), cut at 255
    /// octets.
    ///
    /// # Errors
    /// No peer has this name.
    pub async fn reset(&self, peer: &str, communication: Option<&str>) -> Result<(), UnknownPeer> {
        let cease = administrative(Cease::AdministrativeReset, communication);
        let _ = self.find(peer).await?.commands.send(PeerCommand::Reset(Stop::Reset(cease))).await;
        Ok(())
    }

    /// As [`Bgp::reset`], but never by a hard reset: both ends keep the other's routes, as stale, until the session is back (RFC
    /// 8538 section 4). One that is not up has none to lose, and is only started again.
    ///
    /// # Errors
    /// No peer has this name, or the two have not agreed on that: nothing is done.
    pub async fn reset_keeping_routes(&self, peer: &str, communication: Option<&str>) -> Result<(), ResetError> {
        let found = self.find(peer).await?;
        let cease = administrative(Cease::AdministrativeReset, communication);
        let (answer, status) = oneshot::channel();
        let _ = found.commands.send(PeerCommand::Status(answer)).await;
        let agreed = status.await.ok().and_then(|status| status.established);
        if agreed.is_some_and(|agreed| agreed.retain(&DownReason::Sent(cease.clone())).is_none()) {
            return Err(ResetError::CostsRoutes { name: peer.to_owned() });
        }
        let _ = found.commands.send(PeerCommand::Reset(Stop::PlainReset(cease))).await;
        Ok(())
    }

    /// Ends a session with Cease / Administrative Shutdown and keeps it down, or starts it again. Not kept anywhere: a
    /// changed configuration ([`Bgp::reconfigure`]) and the next start enable every peer. `communication`: what the person at
    /// the other end is told (RFC 9003), cut at 255 octets.
    ///
    /// # Errors
    /// No peer has this name, or it is dynamic.
    pub async fn set_enabled(
        &self,
        peer: &str,
        enabled: bool,
        communication: Option<&str>,
    ) -> Result<(), SetEnabledError> {
        let found = self.find(peer).await?;
        if found.dynamic {
            return Err(SetEnabledError::Dynamic { name: peer.to_owned() });
        }
        let disable = (!enabled).then(|| administrative(Cease::AdministrativeShutdown, communication));
        self.ask(|answer| Command::SetEnabled { peer: found.id, disable, answer }).await;
        Ok(())
    }

    /// Asks the peer for its routes again and sends it ours again, without a reset.
    ///
    /// # Errors
    /// No peer has this name.
    pub async fn refresh(&self, peer: &str) -> Result<(), UnknownPeer> {
        let found = self.find(peer).await?;
        let _ = self.orders.send(Order::Refresh(found.id));
        let _ = found.commands.send(PeerCommand::Refresh).await;
        Ok(())
    }

    async fn find(&self, name: &str) -> Result<ListedPeer, UnknownPeer> {
        let mut peers = self.list().await.peers;
        match peers.iter().position(|listed| listed.config.name == name) {
            Some(place) => Ok(peers.swap_remove(place)),
            None => {
                let known = peers.into_iter().map(|listed| listed.config.name).collect();
                Err(UnknownPeer { name: name.to_owned(), known })
            }
        }
    }

    /// Where the speaker listens, as the kernel says: a configured port of 0 is a real one here.
    pub async fn listening(&self) -> Vec<SocketAddr> {
        self.list().await.listening
    }

    /// Connections refused since the start, because no peer has their address or a dynamic prefix was at its limit.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Stops the speaker; returns when the last word has left or a peer has not taken it within two seconds.
    pub async fn stop(&self, how: Shutdown) {
        let (answer, answered) = oneshot::channel();
        if self.bmp.send(bmp::Command::Stop(answer)).await.is_ok() {
            let _ = answered.await;
        }
        self.ask(|answer| Command::Stop(how, answer)).await;
    }

    async fn list(&self) -> Listing {
        self.ask(Command::List).await.unwrap_or_default()
    }

    /// `None` when the speaker has stopped.
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(command(answer)).await.ok()?;
        answered.await.ok()
    }
}

/// A peer's last error, with what is wrong with its key: whoever connects in vain hears nothing of that.
fn with_fault(error: Option<String>, fault: Option<(SocketAddr, Fault)>, state: State) -> Option<String> {
    let Some((listener, fault)) = fault.filter(|_| state != State::Established) else { return error };
    Some(match error {
        // What we open fails for the same reason, which is long enough once.
        Some(error) if error.contains(&fault.cause) => {
            format!("{error}; connections to {listener} are refused for it too")
        }
        Some(error) => format!("{error}; connections to {listener} are refused: {fault}"),
        None => format!("connections to {listener} are refused: {fault}"),
    })
}

async fn ask_bfd(asker: Option<mpsc::UnboundedSender<bfd::Command>>) -> BfdReport {
    let Some(asker) = asker else { return BfdReport::default() };
    let (answer, report) = oneshot::channel();
    let _ = asker.send(bfd::Command::Report(answer));
    report.await.unwrap_or_default()
}

/// Administrative Shutdown or Administrative Reset, with what a person wants to say (RFC 9003 section 2).
fn administrative(subcode: Cease, communication: Option<&str>) -> Notification {
    match communication {
        Some(text) if !text.is_empty() => Notification::cease_saying(subcode, text),
        Some(_) | None => Notification::cease(subcode),
    }
}

/// Who we are, for those who watch.
fn identity(config: &Config) -> bmp::Speaker {
    bmp::Speaker { name: config.name.clone(), local_as: config.local_as, router_id: config.router_id }
}

/// What stands for ourselves where a peer's name stands.
const LOCAL: &str = "local";

fn name_of(names: &BTreeMap<PeerId, String>, id: PeerId) -> String {
    let local = (id == PeerId::LOCAL).then(|| LOCAL.to_owned());
    local.or_else(|| names.get(&id).cloned()).unwrap_or_else(|| "a peer that has gone".to_owned())
}
