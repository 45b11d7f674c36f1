//! RPKI caches: a task for each, and one that knows whose data counts and tells the RIB what changed.
//!
//! A cache is trusted for what it says and for nothing else: its client bounds what it may send, its task waits for
//! nothing but its own socket, timer and owner, and the RIB takes a change in parts, with sessions served in between.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bgp_proto::rtr::{CacheId, CacheState, Caches, Changes, Client, Output, Version, Vrp};
use bgp_proto::time::Instant;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};

use crate::clock::Clock;
use crate::config::CacheConfig;
use crate::connection::{Connection, Read};
use crate::rib_task::Order;

/// VRPs of one order to the RIB, which takes some milliseconds.
const VRPS_AN_ORDER: usize = 1 << 14;

/// One RPKI cache, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheStatus {
    /// Its configuration.
    pub config: CacheConfig,
    /// Where its session stands.
    pub state: CacheState,
    /// Its data counts.
    pub in_use: bool,
    /// Version of the protocol, once the cache has settled it.
    pub version: Option<Version>,
    /// Session and serial of its data.
    pub serial: Option<(u16, u32)>,
    /// VRPs that it holds.
    pub vrps: usize,
    /// How long ago its data was last complete.
    pub updated: Option<Duration>,
    /// Refresh, retry and expire.
    pub intervals: [Duration; 3],
    /// Why it last failed; `None` once it has answered again.
    pub last_error: Option<String>,
}

/// What the handle asks.
pub(crate) enum Command {
    Configure(Vec<CacheConfig>, oneshot::Sender<Vec<String>>),
    Status(oneshot::Sender<Vec<CacheStatus>>),
}

/// What a cache's task knows of it.
#[derive(Clone, Debug)]
struct Known {
    state: CacheState,
    version: Option<Version>,
    serial: Option<(u16, u32)>,
    vrps: usize,
    updated: Option<Instant>,
    intervals: [Duration; 3],
    last_error: Option<String>,
}

impl Known {
    fn of(client: &Client) -> Self {
        Self {
            state: client.state(),
            version: client.version(),
            serial: client.serial(),
            vrps: client.len(),
            updated: client.updated(),
            intervals: client.intervals(),
            last_error: client.last_error().map(str::to_owned),
        }
    }
}

/// A cache's data, from its task.
type Report = (CacheId, Option<Arc<[Vrp]>>);

struct Entry {
    config: watch::Sender<CacheConfig>,
    known: watch::Receiver<Known>,
    task: AbortHandle,
}

struct Rpki {
    clock: Clock,
    orders: mpsc::UnboundedSender<Order>,
    /// In the order of the configuration.
    listed: Vec<CacheId>,
    entries: BTreeMap<CacheId, Entry>,
    next_id: u32,
    caches: Caches,
    tasks: JoinSet<()>,
    reports: mpsc::Sender<Report>,
}

/// Starts the task, which ends when the handles are gone.
pub(crate) fn start(
    caches: Vec<CacheConfig>,
    clock: Clock,
    orders: mpsc::UnboundedSender<Order>,
) -> mpsc::Sender<Command> {
    let (commands, received) = mpsc::channel(4);
    let (reports, reported) = mpsc::channel(1);
    let rpki = Rpki {
        clock,
        orders,
        listed: Vec::new(),
        entries: BTreeMap::new(),
        next_id: 0,
        caches: Caches::default(),
        tasks: JoinSet::new(),
        reports,
    };
    tokio::spawn(rpki.run(caches, received, reported));
    commands
}

impl Rpki {
    async fn run(
        mut self,
        caches: Vec<CacheConfig>,
        mut commands: mpsc::Receiver<Command>,
        mut reported: mpsc::Receiver<Report>,
    ) {
        self.configure(caches).await;
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Configure(caches, answer)) => drop(answer.send(self.configure(caches).await)),
                    Some(Command::Status(answer)) => drop(answer.send(self.status())),
                    None => return,
                },
                Some((id, data)) = reported.recv() => {
                    let changes = self.caches.update(id, data);
                    self.tell(changes).await;
                }
                Some(_) = self.tasks.join_next() => {}
            }
        }
    }

    async fn configure(&mut self, wanted: Vec<CacheConfig>) -> Vec<String> {
        let mut lines = Vec::new();
        let _ = self.orders.send(Order::SetValidation(!wanted.is_empty()));
        let mut listed = Vec::new();
        for config in wanted {
            let same =
                |id: &&CacheId| self.entries.get(id).is_some_and(|entry| is_same(&entry.config.borrow(), &config));
            let id = match self.listed.iter().find(same) {
                Some(id) => *id,
                None => self.add(&config, &mut lines),
            };
            if let Some(entry) = self.entries.get(&id) {
                let name = config.name.clone();
                let changed = entry.config.send_if_modified(|known| {
                    let changed = *known != config;
                    *known = config.clone();
                    changed
                });
                if changed {
                    lines.push(format!("rpki cache {name}: changed in place"));
                }
            }
            let changes = self.caches.set(id, config.preference);
            self.tell(changes).await;
            listed.push(id);
        }
        for id in std::mem::replace(&mut self.listed, listed) {
            if !self.listed.contains(&id)
                && let Some(entry) = self.entries.remove(&id)
            {
                entry.task.abort();
                lines.push(format!("rpki cache {}: removed", entry.config.borrow().name));
                let changes = self.caches.remove(id);
                self.tell(changes).await;
            }
        }
        lines
    }

    fn add(&mut self, config: &CacheConfig, lines: &mut Vec<String>) -> CacheId {
        let id = CacheId(self.next_id);
        self.next_id += 1;
        let client = Client::new(config.client.clone(), self.clock.now());
        let (known, watched) = watch::channel(Known::of(&client));
        let (sender, receiver) = watch::channel(config.clone());
        let task = CacheTask {
            id,
            config: receiver,
            client,
            clock: self.clock,
            known,
            reports: self.reports.clone(),
            connecting: None,
            connection: None,
            farewells: JoinSet::new(),
        };
        let task = self.tasks.spawn(task.run());
        self.entries.insert(id, Entry { config: sender, known: watched, task });
        lines.push(format!("rpki cache {}: added", config.name));
        id
    }

    /// What comes goes in before what goes, so that no route is without the VRP that replaces its own.
    async fn tell(&self, changes: Changes) {
        let announced = changes
            .announced
            .chunks(VRPS_AN_ORDER)
            .map(|part| Changes { announced: part.to_vec(), withdrawn: Vec::new() });
        let withdrawn = changes
            .withdrawn
            .chunks(VRPS_AN_ORDER)
            .map(|part| Changes { announced: Vec::new(), withdrawn: part.to_vec() });
        for part in announced.chain(withdrawn) {
            let (done, is_done) = oneshot::channel();
            if self.orders.send(Order::ChangeVrps(part, done)).is_err() || is_done.await.is_err() {
                return;
            }
        }
    }

    fn status(&self) -> Vec<CacheStatus> {
        let now = self.clock.now();
        let status = |id: &CacheId| {
            let entry = self.entries.get(id)?;
            let known = entry.known.borrow().clone();
            Some(CacheStatus {
                config: entry.config.borrow().clone(),
                state: known.state,
                in_use: self.caches.counts(*id),
                version: known.version,
                serial: known.serial,
                vrps: known.vrps,
                updated: known.updated.map(|at| now.saturating_since(at)),
                intervals: known.intervals,
                last_error: known.last_error,
            })
        };
        self.listed.iter().filter_map(status).collect()
    }
}

/// Whether both are one cache: name, preference and intervals change in place.
fn is_same(one: &CacheConfig, other: &CacheConfig) -> bool {
    (one.address, one.port) == (other.address, other.port)
}

type Connecting = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

struct CacheTask {
    id: CacheId,
    config: watch::Receiver<CacheConfig>,
    client: Client,
    clock: Clock,
    known: watch::Sender<Known>,
    reports: mpsc::Sender<Report>,
    connecting: Option<Connecting>,
    connection: Option<Connection>,
    farewells: JoinSet<()>,
}

impl CacheTask {
    async fn run(mut self) {
        loop {
            self.drain().await;
            self.known.send_replace(Known::of(&self.client));
            let due = self.client.poll_timeout().unwrap_or_else(|| Instant::from_start(Duration::MAX));
            tokio::select! {
                changed = self.config.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let config = self.config.borrow_and_update().client.clone();
                    self.client.set_config(config);
                }
                outcome = connected(&mut self.connecting) => {
                    self.connecting = None;
                    match outcome {
                        Ok(stream) => {
                            self.connection = Some(Connection::new(stream));
                            self.client.handle_connected(self.clock.now());
                        }
                        Err(error) => self.client.handle_closed(self.clock.now(), format!("cannot connect: {error}")),
                    }
                }
                () = ready(self.connection.as_ref()) => self.serve(),
                () = tokio::time::sleep_until(self.clock.deadline(due)) => self.client.handle_timeout(self.clock.now()),
                Some(_) = self.farewells.join_next() => {}
            }
        }
    }

    async fn drain(&mut self) {
        while let Some(output) = self.client.poll() {
            let name = || self.config.borrow().name.clone();
            match output {
                Output::Connect => {
                    let address = SocketAddr::new(self.config.borrow().address, self.config.borrow().port);
                    self.connecting = Some(Box::pin(TcpStream::connect(address)));
                }
                Output::Send(bytes) => {
                    if let Some(connection) = &mut self.connection {
                        connection.push(bytes);
                    }
                }
                Output::Close => {
                    self.connecting = None;
                    if let Some(connection) = self.connection.take() {
                        self.farewells.spawn(connection.finish());
                    }
                    tracing::warn!(cache = name(), reason = self.client.last_error(), "RPKI session ended");
                }
                Output::Data(data) => {
                    match &data {
                        Some(data) => tracing::info!(cache = name(), vrps = data.len(), "RPKI data is complete"),
                        None => tracing::warn!(cache = name(), "RPKI data does not count any more"),
                    }
                    // The collecting task ends last.
                    let _ = self.reports.send((self.id, data)).await;
                }
            }
        }
    }

    fn serve(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        let now = self.clock.now();
        let client = &mut self.client;
        let ended = match connection.read(|bytes| client.handle_bytes(now, bytes)) {
            Read::Bytes(_) | Read::Nothing => connection.write().err().map(|error| error.to_string()),
            Read::End(reason) => Some(reason),
        };
        connection.acknowledge();
        if let Some(reason) = ended {
            self.connection = None;
            self.client.handle_closed(now, reason);
        }
    }
}

async fn connected(connecting: &mut Option<Connecting>) -> io::Result<TcpStream> {
    match connecting {
        Some(connecting) => connecting.await,
        None => std::future::pending().await,
    }
}

async fn ready(connection: Option<&Connection>) {
    match connection {
        Some(connection) => connection.ready(true).await,
        None => std::future::pending().await,
    }
}
