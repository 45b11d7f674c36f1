//! Who our peers are: matches incoming connections to them, starts and ends their tasks, and applies a changed
//! configuration.

mod changes;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bgp_proto::bfd::{Target, Told};
use bgp_proto::prefix_limit::{MOST_PREFIXES, PrefixLimit};
use bgp_proto::rib::{Awaited, PeerPolicy, RibConfig};
use bgp_proto::time::Instant;
use bgp_proto::types::{PeerId, Prefix};
use bgp_proto::wire::Notification;
use bgp_proto::wire::notification::Cease;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::{Id, JoinError, JoinSet};

use crate::bfd::{self, Bfd, Teller};
use crate::clock::Clock;
use crate::config::{Config, GracefulRestart, PeerConfig, PeerKey};
use crate::key_ring::{Fault, Keys};
use crate::link::{Located, Whereabouts};
use crate::listener::{Accepted, Listener};
use crate::peer::{Peer, PeerCommand};
use crate::reconfigure::session_config;
use crate::rib_port::{Envelope, RibPort};
use crate::rib_task::{Desk, FromRib, Order};
use crate::socket_options::KeyScope;
use crate::strangers::Strangers;
use crate::{Shutdown, StartError};

/// Commands that wait in a peer's queue; connections that its task has not taken by then are closed.
const COMMANDS: usize = 16;
/// What peers are told when this speaker ends for good (RFC 9003).
const STOPS: &str = "this speaker was stopped";
/// Why a connection of a peer is refused that we could not ask for a signature.
const NO_KEY: &str = "its key could not be set where it connected to";
/// How long all sessions together may take to say their last words.
const FAREWELL: Duration = Duration::from_millis(2500);
/// What [`RibConfig::convergence`] suggests.
const CONVERGENCE: Duration = Duration::from_secs(60);
/// Tasks that no peer has any more and that still deliver last words, above which no dynamic peer is let in: each holds a
/// descriptor, for two seconds at most.
const MOST_ENDING: usize = 256;
/// A peer's number is given to another one only when so many others are free too.
const IDS_AT_REST: usize = 64;

/// What the handle asks.
pub(crate) enum Command {
    Reconfigure(Box<Config>, oneshot::Sender<Vec<String>>),
    List(oneshot::Sender<Listing>),
    /// Ends a peer's session with `disable` and keeps it down, or starts it again.
    SetEnabled {
        peer: PeerId,
        disable: Option<Notification>,
        answer: oneshot::Sender<()>,
    },
    Stop(Shutdown, oneshot::Sender<()>),
}

/// Everybody, and where we listen.
#[derive(Default)]
pub(crate) struct Listing {
    pub(crate) peers: Vec<ListedPeer>,
    pub(crate) listening: Vec<SocketAddr>,
    pub(crate) graceful_restart: Option<GracefulRestart>,
    pub(crate) bfd: Option<mpsc::UnboundedSender<bfd::Command>>,
}

/// One of them.
pub(crate) struct ListedPeer {
    pub(crate) id: PeerId,
    pub(crate) config: PeerConfig,
    pub(crate) dynamic: bool,
    pub(crate) disabled: bool,
    pub(crate) at: Option<Target>,
    /// Why its connections are refused, if its key could not be set where we listen.
    pub(crate) key_fault: Option<(SocketAddr, Fault)>,
    pub(crate) commands: mpsc::Sender<PeerCommand>,
}

/// A peer and its task.
struct Entry {
    config: PeerConfig,
    /// The prefix that let it in.
    dynamic: Option<Prefix>,
    /// A person keeps its session down.
    disabled: bool,
    /// Tells its task from a later one with the same number.
    task: u64,
    runtime_task: Id,
    commands: mpsc::Sender<PeerCommand>,
    to_rib: mpsc::UnboundedSender<FromRib>,
    /// By which BFD tells its task.
    teller: Teller,
    /// Where its BFD session goes: nowhere while an unnumbered peer is not found.
    at: Option<Target>,
}

impl Entry {
    /// Whose key its connections are signed with.
    fn key_scope(&self) -> KeyScope {
        self.dynamic.map_or(KeyScope::Address(self.config.address), KeyScope::Prefix)
    }
}

/// The way to the RIB.
#[derive(Clone)]
pub(crate) struct ToRib {
    pub(crate) orders: mpsc::UnboundedSender<Order>,
    pub(crate) reports: mpsc::UnboundedSender<Envelope>,
    pub(crate) desk: Arc<Desk>,
    pub(crate) budget: Arc<Semaphore>,
}

/// The roster.
pub(crate) struct Roster {
    config: Config,
    clock: Clock,
    /// Until then OPENs say that we have restarted.
    restarted_until: Option<Instant>,
    rib: ToRib,
    entries: BTreeMap<PeerId, Entry>,
    by_key: HashMap<PeerKey, PeerId>,
    free_ids: VecDeque<PeerId>,
    next_id: u16,
    next_task: u64,
    tasks: JoinSet<()>,
    listeners: Vec<Listener>,
    accepted: mpsc::Receiver<Accepted>,
    /// For listeners that are yet to come.
    accepting: mpsc::Sender<Accepted>,
    strangers: Strangers,
    bfd: Bfd,
    /// Unnumbered peers that were found or lost.
    located: mpsc::UnboundedReceiver<Located>,
    /// For tasks that are yet to come.
    locating: mpsc::UnboundedSender<Located>,
}

/// A peer that the RIB knows and that has no task yet.
struct Known {
    id: PeerId,
    task: u64,
    config: PeerConfig,
    to_rib: mpsc::UnboundedSender<FromRib>,
    from_rib: mpsc::UnboundedReceiver<FromRib>,
}

/// How long peers are asked to wait for us across a restart.
fn restart_time(config: &Config) -> Option<Duration> {
    config.graceful_restart.map(|restart| Duration::from_secs(u64::from(restart.restart_time)))
}

/// What the RIB is told at its start. Whatever graceful restart is configured to, a restarted speaker has routes in the
/// kernel that must not be given up before those who announced them have spoken.
pub(crate) fn rib_config(config: &Config, restarted: bool) -> RibConfig {
    let awaited = match (restarted || config.off_path, config.dynamic_peers.is_empty()) {
        (false, _) => Awaited::Up,
        (true, true) => Awaited::Known,
        (true, false) => Awaited::Anybody,
    };
    RibConfig {
        local_as: config.local_as,
        router_id: config.router_id,
        cluster_id: config.cluster_id,
        max_paths: config.max_paths,
        aggregates: config.aggregates.clone(),
        deferral: config.graceful_restart.filter(|_| restarted).map(|restart| restart.deferral()),
        awaited,
        convergence: CONVERGENCE,
        drain: config.drain,
        tell_best: !config.off_path,
        tell_backup: !config.off_path && config.backups,
    }
}

/// Whether two peers could not be told apart.
pub(crate) fn check(config: &Config) -> Result<(), StartError> {
    let mut names = HashMap::new();
    let mut keys = HashMap::new();
    for peer in &config.peers {
        if names.insert(&peer.name, ()).is_some() {
            return Err(StartError::Duplicate { what: format!("the name {:?}", peer.name) });
        }
        if keys.insert(peer.key(), ()).is_some() {
            return Err(StartError::Duplicate { what: peer.key().to_string() });
        }
    }
    let (mut names, mut addresses) = (HashMap::new(), HashMap::new());
    for cache in &config.rpki {
        let address = SocketAddr::new(cache.address, cache.port);
        if names.insert(&cache.name, ()).is_some() || addresses.insert(address, ()).is_some() {
            return Err(StartError::DuplicateCache { name: cache.name.clone() });
        }
    }
    Ok(())
}

impl Roster {
    /// Opens the listening sockets and starts all peers.
    pub(crate) fn start(config: Config, clock: Clock, restarted: bool, rib: ToRib) -> Result<Self, StartError> {
        // One waits here while the next one is accepted; the rest wait in the kernel.
        let (accepting, accepted) = mpsc::channel(1);
        let (locating, located) = mpsc::unbounded_channel();
        let restart_time = restart_time(&config).filter(|_| restarted);
        let mut roster = Self {
            config,
            clock,
            restarted_until: restart_time.map(|asked| clock.now() + asked),
            rib,
            entries: BTreeMap::new(),
            by_key: HashMap::new(),
            free_ids: VecDeque::new(),
            next_id: 0,
            next_task: 0,
            tasks: JoinSet::new(),
            listeners: Vec::new(),
            accepted,
            accepting,
            strangers: Strangers::default(),
            bfd: Bfd::new(clock),
            located,
            locating,
        };
        let keys = keys(&roster.config);
        for address in roster.config.listen.clone() {
            roster.listen(address, &keys).map_err(|source| StartError::Listen { address, source })?;
        }
        // The RIB waits for those that it knows: all of them, before the first can say that it has said all.
        let known: Vec<Known> =
            roster.config.peers.clone().into_iter().filter_map(|peer| roster.make_known(peer)).collect();
        for peer in known {
            roster.begin(peer, None, None);
        }
        Ok(roster)
    }

    pub(crate) fn refused(&self) -> Arc<AtomicU64> {
        self.strangers.count()
    }

    /// Runs until told to stop, or until all handles are gone.
    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        loop {
            let restarted_until = self.restarted_until.map(|at| self.clock.deadline(at));
            let restart_over = async {
                match restarted_until {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Reconfigure(config, answer)) => {
                        let _ = answer.send(self.reconfigure(*config).await);
                    }
                    Some(Command::List(answer)) => drop(answer.send(self.list())),
                    Some(Command::SetEnabled { peer, disable, answer }) => {
                        self.set_enabled(peer, disable).await;
                        let _ = answer.send(());
                    }
                    Some(Command::Stop(how, answer)) => {
                        self.stop(how).await;
                        let _ = answer.send(());
                        return;
                    }
                    None => return self.stop(Shutdown::Silent).await,
                },
                Some(accepted) = self.accepted.recv() => self.take_connection(accepted),
                Some(located) = self.located.recv() => self.take_located(located),
                Some(ended) = self.tasks.join_next_with_id() => self.take_end(ended).await,
                () = restart_over => self.end_restart().await,
            }
        }
    }

    fn list(&self) -> Listing {
        let listed = |(id, entry): (&PeerId, &Entry)| ListedPeer {
            id: *id,
            config: entry.config.clone(),
            dynamic: entry.dynamic.is_some(),
            disabled: entry.disabled,
            at: entry.at,
            key_fault: self.listeners.iter().find_map(|listener| {
                let fault = listener.key_fault(entry.key_scope())?;
                Some((listener.local, fault.clone()))
            }),
            commands: entry.commands.clone(),
        };
        Listing {
            peers: self.entries.iter().map(listed).collect(),
            listening: self.listeners.iter().map(|listener| listener.local).collect(),
            graceful_restart: self.config.graceful_restart,
            bfd: self.bfd.asker(),
        }
    }

    async fn stop(&mut self, how: Shutdown) {
        self.listeners.clear();
        let cease = match how {
            Shutdown::Silent => None,
            Shutdown::Cease => Some(Notification::cease_saying(Cease::AdministrativeShutdown, STOPS)),
        };
        for entry in self.entries.values() {
            let _ = entry.commands.send(PeerCommand::Stop(cease.clone())).await;
        }
        self.bfd.stop().await;
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(FAREWELL, all).await.is_err() {
            tracing::warn!("a peer has not taken our last words; its connection is cut");
            self.tasks.shutdown().await;
        }
        let (stopped, done) = oneshot::channel();
        if self.rib.orders.send(Order::Stop(stopped)).is_ok() {
            let _ = done.await;
        }
    }

    /// Nobody waits for us any more: a session from now on is not the first one after a restart (RFC 4724 section 4.1).
    async fn end_restart(&mut self) {
        self.restarted_until = None;
        for entry in self.entries.values() {
            let session = session_config(&self.config, &entry.config, false);
            let command = PeerCommand::Reconfigure(Box::new(entry.config.clone()), Box::new(session));
            let _ = entry.commands.send(command).await;
        }
    }

    fn listen(&mut self, address: SocketAddr, keys: &Keys) -> std::io::Result<()> {
        self.listeners.push(Listener::open(address, keys, self.accepting.clone())?);
        Ok(())
    }

    fn policy(&self, peer: &PeerConfig) -> PeerPolicy {
        PeerPolicy {
            name: peer.name.clone(),
            address: peer.address,
            local_as: peer.local_as,
            client: peer.client,
            conduct: peer.conduct,
            add_path_most: usize::from(peer.add_path_send),
            own_address4: self.config.own_address4,
            own_address6: self.config.own_address6,
            import: peer.import.clone(),
            export: peer.export.clone(),
            blackhole: peer.blackhole,
            graceful_shutdown: peer.graceful_shutdown,
            max_prefixes: Some(peer.max_prefixes.map_or(MOST_PREFIXES, PrefixLimit::hard)),
            warn_prefixes: peer.max_prefixes.map(PrefixLimit::warn_at),
        }
    }

    /// Makes a peer known to the RIB and starts its task; `false` if there are no numbers left.
    fn add(&mut self, config: PeerConfig, dynamic: Option<Prefix>, first: Option<TcpStream>) -> bool {
        let known = self.make_known(config);
        known.map(|peer| self.begin(peer, dynamic, first)).is_some()
    }

    /// Makes a peer known to the RIB; `None` if there are no numbers left.
    fn make_known(&mut self, config: PeerConfig) -> Option<Known> {
        let fresh = PeerId(self.next_id);
        let id = match self.free_ids.pop_front() {
            Some(id) if self.free_ids.len() >= IDS_AT_REST || fresh == PeerId::LOCAL => id,
            rested => {
                if let Some(id) = rested {
                    self.free_ids.push_front(id);
                }
                if fresh == PeerId::LOCAL {
                    return None;
                }
                self.next_id += 1;
                fresh
            }
        };
        self.next_task += 1;
        let task = self.next_task;
        let (to_rib, from_rib) = mpsc::unbounded_channel();
        let order = Order::SetPeer { peer: id, task, policy: self.policy(&config), to: to_rib.clone() };
        // The RIB's task ends only after this roster.
        let _ = self.rib.orders.send(order);
        Some(Known { id, task, config, to_rib, from_rib })
    }

    /// Starts the task of a peer.
    fn begin(&mut self, peer: Known, dynamic: Option<Prefix>, first: Option<TcpStream>) {
        let Known { id, task, config, to_rib, from_rib } = peer;
        let (commands, received) = mpsc::channel(COMMANDS);
        let session = session_config(&self.config, &config, self.restarted_until.is_some());
        let port = RibPort::new(
            self.rib.reports.clone(),
            Some(Arc::clone(&self.rib.desk)),
            Arc::clone(&self.rib.budget),
            id,
            task,
        );
        let (teller, told) = watch::channel(Told::default());
        let teller = Arc::new(teller);
        let at = bfd::target(&config);
        self.bfd.set(at, &config, true, &teller);
        let whereabouts = Whereabouts { task, to: self.locating.clone() };
        let peer = Peer::new(config.clone(), session, dynamic, self.clock, received, from_rib, told, whereabouts, port);
        let runtime_task = self.tasks.spawn(peer.run(first)).id();
        self.by_key.insert(config.key(), id);
        self.entries
            .insert(id, Entry { config, dynamic, disabled: false, task, runtime_task, commands, to_rib, teller, at });
    }

    /// Forgets a peer; its task ends by itself.
    fn forget(&mut self, id: PeerId) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        self.by_key.remove(&entry.config.key());
        self.free_ids.push_back(id);
        let _ = self.rib.orders.send(Order::RemovePeer { peer: id });
        // Whoever follows has to find the neighbour first, which may be gone or another.
        if entry.config.interface.is_some() {
            self.bfd.remove(entry.at);
        }
        Some(entry)
    }

    /// A task has found its neighbour, or lost it: its BFD session goes there from now on.
    fn take_located(&mut self, located: Located) {
        let Some(entry) = self.entries.values_mut().find(|entry| entry.task == located.task) else { return };
        let at = located.at.map(|at| Target { address: (*at.ip()).into(), scope: at.scope_id() });
        if entry.at != at {
            self.bfd.remove(entry.at);
        }
        entry.at = at;
        self.bfd.set(at, &entry.config, !entry.disabled, &entry.teller);
    }

    async fn set_enabled(&mut self, id: PeerId, disable: Option<Notification>) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.disabled = disable.is_some();
        self.bfd.set(entry.at, &entry.config, !entry.disabled, &entry.teller);
        let command = disable.map_or(PeerCommand::Enable, PeerCommand::Disable);
        let _ = entry.commands.send(command).await;
    }

    async fn remove(&mut self, id: PeerId, cease: Cease) {
        if let Some(entry) = self.entries.get(&id) {
            let _ = entry.commands.send(PeerCommand::Stop(Some(Notification::cease(cease)))).await;
        }
        // Its BFD session stays for now, if we know where: who is about to be added again has one that does not flap.
        self.forget(id);
    }

    fn take_connection(&mut self, accepted: Accepted) {
        let Accepted { mut stream, remote, link, listener } = accepted;
        let now = self.clock.now();
        let unnumbered = link.and_then(|link| self.by_key.get(&PeerKey::Interface(link)));
        if let Some(id) = unnumbered.or_else(|| self.by_key.get(&PeerKey::Address(remote))).copied()
            && let Some(entry) = self.entries.get(&id)
        {
            if self.has_key_fault(listener, entry.key_scope()) {
                return self.strangers.refuse(remote, NO_KEY, now);
            }
            match entry.commands.try_send(PeerCommand::Incoming(stream)) {
                Ok(()) => return,
                // So many connections at once that its task has not come to look at them.
                Err(mpsc::error::TrySendError::Full(_)) => return,
                Err(mpsc::error::TrySendError::Closed(PeerCommand::Incoming(back))) => {
                    // A dynamic peer whose task has just ended: it starts anew.
                    if entry.dynamic.is_none() {
                        return;
                    }
                    stream = back;
                    self.forget(id);
                }
                Err(mpsc::error::TrySendError::Closed(_)) => return,
            }
        }
        let ranges = self.config.dynamic_peers.iter();
        let range = ranges
            .filter(|range| Prefix::from(ipnetwork::IpNetwork::from(remote)).family() == range.prefix.family())
            .filter(|range| range.prefix.contains(Prefix::from(ipnetwork::IpNetwork::from(remote))))
            .max_by_key(|range| range.prefix.length());
        let Some(range) = range else {
            return self.strangers.refuse(remote, "no peer has this address", now);
        };
        if self.has_key_fault(listener, KeyScope::Prefix(range.prefix)) {
            return self.strangers.refuse(remote, NO_KEY, now);
        }
        let members = self.entries.values().filter(|entry| entry.dynamic == Some(range.prefix)).count();
        if self.tasks.len() >= self.entries.len() + MOST_ENDING {
            return self.strangers.refuse(remote, "too many sessions of dynamic peers are just ending", now);
        }
        if members >= range.limit {
            return self.strangers.refuse(remote, "its dynamic-peer prefix is at its limit", now);
        }
        let config = dynamic_peer(&range.template, remote);
        let prefix = range.prefix;
        if !self.add(config, Some(prefix), Some(stream)) {
            self.strangers.refuse(remote, "there are 65,535 peers", now);
        }
    }

    fn has_key_fault(&self, listener: SocketAddr, scope: KeyScope) -> bool {
        // A listener that was closed meanwhile cannot be asked any more.
        let listener = self.listeners.iter().find(|it| it.configured == listener);
        listener.is_none_or(|listener| listener.key_fault(scope).is_some())
    }

    /// A task ended by itself: a dynamic peer has gone. No other ends unless it was told to, or has a fault.
    async fn take_end(&mut self, ended: Result<(Id, ()), JoinError>) {
        let (runtime_task, fault) = match ended {
            Ok((id, ())) => (id, None),
            Err(error) => (error.id(), Some(error)),
        };
        let Some(id) = self.entries.iter().find(|(_, entry)| entry.runtime_task == runtime_task).map(|(id, _)| *id)
        else {
            return;
        };
        let Some(entry) = self.forget(id) else { return };
        self.bfd.remove(entry.at);
        if let Some(fault) = fault {
            tracing::error!(peer = entry.config.name, %fault, "a session's task failed, which is a fault of this program; please report it; it starts anew");
        }
        if entry.dynamic.is_none() {
            let key = entry.config.key();
            self.add(entry.config, None, None);
            if let Some(id) = self.by_key.get(&key).copied().filter(|_| entry.disabled) {
                self.set_enabled(id, Some(Notification::cease(Cease::AdministrativeShutdown))).await;
            }
        }
    }
}

/// The keys of all peers, as a listening socket wants them.
fn keys(config: &Config) -> Keys {
    let peers = config.peers.iter().map(|peer| (KeyScope::Address(peer.address), peer));
    let dynamic = config.dynamic_peers.iter().map(|it| (KeyScope::Prefix(it.prefix), &it.template));
    peers.chain(dynamic).filter_map(|(scope, peer)| Some((scope, peer.authentication.clone()?))).collect()
}

/// What a peer from a dynamic prefix is like.
fn dynamic_peer(template: &PeerConfig, address: IpAddr) -> PeerConfig {
    PeerConfig { name: format!("{}/{address}", template.name), address, passive: true, ..template.clone() }
}

#[cfg(test)]
mod tests {
    use bgp_proto::types::{Asn, RouterId};

    use super::*;

    #[test]
    fn after_a_restart_every_peer_is_waited_for_and_decisions_are_held_back_only_if_peers_wait_for_us() {
        let seconds = Duration::from_secs;
        for (graceful_restart, restarted, off_path, expected) in [
            (None, false, false, (None, Awaited::Up)),
            (Some(120), false, false, (None, Awaited::Up)),
            (None, true, false, (None, Awaited::Known)),
            (Some(30), true, false, (Some(seconds(30)), Awaited::Known)),
            (Some(4095), true, false, (Some(seconds(60)), Awaited::Known)),
            (Some(120), false, true, (None, Awaited::Known)),
        ] {
            let config = Config::new(Asn(64512), RouterId([192, 0, 2, 1].into()));
            let restart = |restart_time| GracefulRestart { restart_time, ..GracefulRestart::default() };
            let config = Config { graceful_restart: graceful_restart.map(restart), off_path, ..config };
            let rib = rib_config(&config, restarted);
            assert_eq!((rib.deferral, rib.awaited), expected, "{graceful_restart:?} {restarted}");
        }
        let deferring = GracefulRestart { deferral_time: Some(seconds(300)), ..GracefulRestart::default() };
        let config = Config::new(Asn(64512), RouterId([192, 0, 2, 1].into()));
        let config = Config { graceful_restart: Some(deferring), ..config };
        assert_eq!(rib_config(&config, true).deferral, Some(seconds(300)));
    }
}
