//! Monitoring stations (BMP, RFC 7854): a task for each, which connects, tells, and begins anew.
//!
//! A station that takes nothing costs what [`crate::watch`] holds for it, and then its connection: the next one begins with
//! the table as it is then.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bgp_proto::bmp;
use bgp_proto::monitor::station::Voice;
use bgp_proto::monitor::{What, Witness};
use bgp_proto::rib::PeerCounts;
use bgp_proto::types::{Asn, RouterId};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use crate::config::StationConfig;
use crate::connection::{Connection, Read};
use crate::rib_task::Order;
use crate::watch::{Sight, Watch, Wish};

/// Octets that a connection holds before the station's task takes no more from the RIB.
const QUEUE: usize = 256 * 1024;
/// Sights taken before the socket is written.
const SIGHTS_A_WRITE: usize = 64;
/// The first wait after a failure; it doubles up to the longest.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How long a connection may take to come up.
const CONNECT: Duration = Duration::from_secs(10);
/// A connection that lasted this long was no failure.
const STABLE: Duration = Duration::from_secs(30);

/// Where a station stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StationState {
    /// Waits for the next attempt, or makes it.
    Down,
    /// Is being told the table.
    Telling,
    /// Has the table, and hears what changes.
    Up,
}

/// One station, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StationStatus {
    /// Its configuration.
    pub config: StationConfig,
    /// Where it stands.
    pub state: StationState,
    /// How long its connection has been up.
    pub uptime: Option<Duration>,
    /// Connections since the start.
    pub connections: u64,
    /// Of these, ended because the station was too slow.
    pub behind: u64,
    /// Messages handed to the current connection and those before.
    pub messages: u64,
    /// Octets that wait for it.
    pub waiting: usize,
    /// Why the last connection ended or was not made.
    pub last_error: Option<String>,
}

/// What the handle asks.
pub(crate) enum Command {
    Configure(Speaker, Vec<StationConfig>, oneshot::Sender<Vec<String>>),
    Status(oneshot::Sender<Vec<StationStatus>>),
    /// Ends all sessions with Termination.
    Stop(oneshot::Sender<()>),
}

/// Who we are, for a station.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Speaker {
    pub(crate) name: String,
    pub(crate) local_as: Asn,
    pub(crate) router_id: RouterId,
}

/// A session's numbers, for a Stats Report.
pub(crate) type Counted = (Arc<Witness>, PeerCounts, [(usize, usize); 2]);

#[derive(Clone, Debug)]
struct Known {
    state: StationState,
    since: Option<Instant>,
    connections: u64,
    behind: u64,
    messages: u64,
    /// Octets that its connection holds.
    held: usize,
    /// Octets that the RIB has told and it has not taken.
    told: Arc<AtomicUsize>,
    last_error: Option<String>,
}

struct Entry {
    config: StationConfig,
    known: watch::Receiver<Known>,
    stop: Option<oneshot::Sender<()>>,
    task: AbortHandle,
}

struct Stations {
    orders: mpsc::UnboundedSender<Order>,
    speaker: Speaker,
    entries: Vec<Entry>,
    tasks: JoinSet<()>,
}

/// Starts the task, which ends when the handles are gone.
pub(crate) fn start(
    speaker: Speaker,
    stations: Vec<StationConfig>,
    orders: mpsc::UnboundedSender<Order>,
) -> mpsc::Sender<Command> {
    let (commands, mut received) = mpsc::channel(4);
    let mut all = Stations { orders, speaker, entries: Vec::new(), tasks: JoinSet::new() };
    tokio::spawn(async move {
        let speaker = all.speaker.clone();
        all.configure(speaker, stations);
        loop {
            tokio::select! {
                command = received.recv() => match command {
                    Some(Command::Configure(speaker, stations, answer)) => {
                        let _ = answer.send(all.configure(speaker, stations));
                    }
                    Some(Command::Status(answer)) => drop(answer.send(all.status())),
                    Some(Command::Stop(answer)) => {
                        all.stop().await;
                        let _ = answer.send(());
                    }
                    None => return,
                },
                Some(_) = all.tasks.join_next() => {}
            }
        }
    });
    commands
}

impl Stations {
    fn configure(&mut self, speaker: Speaker, wanted: Vec<StationConfig>) -> Vec<String> {
        let mut lines = Vec::new();
        let renewed = speaker != self.speaker;
        self.speaker = speaker;
        self.entries.retain_mut(|entry| {
            let stays = !renewed && wanted.contains(&entry.config);
            if !stays {
                if !wanted.iter().any(|station| station.name == entry.config.name) {
                    lines.push(format!("bmp station {}: removed", entry.config.name));
                }
                // It says Termination and ends.
                entry.stop.take();
            }
            stays
        });
        for config in wanted {
            if self.entries.iter().any(|entry| entry.config == config) {
                continue;
            }
            lines.push(format!("bmp station {}: begins anew with this configuration", config.name));
            let known = Known {
                state: StationState::Down,
                since: None,
                connections: 0,
                behind: 0,
                messages: 0,
                held: 0,
                told: Arc::default(),
                last_error: None,
            };
            let (sender, receiver) = watch::channel(known);
            let (stop, stopped) = oneshot::channel();
            let station = Station {
                config: config.clone(),
                speaker: self.speaker.clone(),
                orders: self.orders.clone(),
                known: sender,
                stopped,
            };
            let task = self.tasks.spawn(station.run());
            self.entries.push(Entry { config, known: receiver, stop: Some(stop), task });
        }
        lines
    }

    fn status(&self) -> Vec<StationStatus> {
        let status = |entry: &Entry| {
            let known = entry.known.borrow().clone();
            StationStatus {
                config: entry.config.clone(),
                state: known.state,
                uptime: known.since.map(|since| since.elapsed()),
                connections: known.connections,
                behind: known.behind,
                messages: known.messages,
                waiting: known.held + known.told.load(Ordering::Relaxed),
                last_error: known.last_error,
            }
        };
        self.entries.iter().map(status).collect()
    }

    /// Within the time that last words may take.
    async fn stop(&mut self) {
        for entry in &mut self.entries {
            entry.stop.take();
        }
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(Duration::from_millis(2500), all).await.is_err() {
            self.entries.iter().for_each(|entry| entry.task.abort());
        }
        self.entries.clear();
    }
}

struct Station {
    config: StationConfig,
    speaker: Speaker,
    orders: mpsc::UnboundedSender<Order>,
    known: watch::Sender<Known>,
    /// Ends when the station is to.
    stopped: oneshot::Receiver<()>,
}

/// Why a connection to a station ended.
enum End {
    Stopped,
    Lost(String),
    Behind,
}

impl Station {
    async fn run(mut self) {
        let mut wait = FIRST_WAIT;
        loop {
            let began = Instant::now();
            let end = match self.connect().await {
                Some(Ok(stream)) => self.serve(stream).await,
                Some(Err(error)) => End::Lost(format!("cannot connect: {error}")),
                None => End::Stopped,
            };
            if began.elapsed() >= STABLE {
                wait = FIRST_WAIT;
            }
            let (reason, behind) = match end {
                End::Stopped => return,
                End::Lost(reason) => (reason, false),
                End::Behind => ("it was too slow; it begins anew with the table as it is".to_owned(), true),
            };
            tracing::warn!(station = self.config.name, reason, "BMP session ended");
            self.known.send_modify(|known| {
                known.state = StationState::Down;
                known.since = None;
                known.held = 0;
                known.told = Arc::default();
                known.behind += u64::from(behind);
                known.last_error = Some(reason);
            });
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = &mut self.stopped => return,
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// `None`: the station is to end.
    async fn connect(&mut self) -> Option<io::Result<TcpStream>> {
        let address = SocketAddr::new(self.config.address, self.config.port);
        let connect: Pin<Box<dyn Future<Output = _> + Send>> =
            Box::pin(tokio::time::timeout(CONNECT, TcpStream::connect(address)));
        tokio::select! {
            outcome = connect => Some(outcome.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)))),
            _ = &mut self.stopped => None,
        }
    }

    async fn serve(&mut self, stream: TcpStream) -> End {
        let mut connection = Connection::new(stream);
        let description = concat!("Linnet ", env!("CARGO_PKG_VERSION"));
        connection.push(bmp::initiation(&self.speaker.name, description).into());
        if let Some(up) = self.voice().loc_rib_up(since_epoch(SystemTime::now())) {
            connection.push(up.into());
        }
        let wish = Wish { stages: self.config.stages.clone(), table: true };
        let mut sights = Watch::begin(&self.orders, wish);
        self.known.send_modify(|known| {
            known.state = StationState::Telling;
            known.since = Some(Instant::now());
            known.connections += 1;
            known.told = sights.waiting();
            known.last_error = None;
        });
        tracing::info!(station = self.config.name, address = %self.config.address, "BMP session up");
        let mut statistics = self.config.statistics.map(tokio::time::interval);
        if let Some(interval) = &mut statistics {
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            interval.reset();
        }
        loop {
            let tick = async {
                match &mut statistics {
                    Some(interval) => drop(interval.tick().await),
                    None => std::future::pending().await,
                }
            };
            let room = connection.queued() < QUEUE;
            tokio::select! {
                sight = sights.next_if(room) => {
                    let Some(sight) = sight else { return End::Behind };
                    self.tell(&mut connection, &sight);
                    for _ in 0..SIGHTS_A_WRITE {
                        match sights.try_next() {
                            Some(sight) => self.tell(&mut connection, &sight),
                            None => break,
                        }
                    }
                    if let Err(error) = connection.write() {
                        return End::Lost(error.to_string());
                    }
                }
                () = connection.ready(true) => {
                    // A station has nothing to say (RFC 7854 section 3.2); what it says all the same is dropped.
                    if let Read::End(_) = connection.read(|_| ()) {
                        return End::Lost("the station closed the connection".to_owned());
                    }
                    if let Err(error) = connection.write() {
                        return End::Lost(error.to_string());
                    }
                    connection.acknowledge();
                }
                () = tick => {
                    let (answer, counted) = oneshot::channel();
                    let _ = self.orders.send(Order::Statistics(answer));
                    self.report(&mut connection, counted.await.unwrap_or_default());
                }
                _ = &mut self.stopped => {
                    connection.push(bmp::termination("stopped or configured otherwise").into());
                    connection.finish().await;
                    return End::Stopped;
                }
            }
            self.known.send_modify(|known| known.held = connection.queued());
        }
    }

    fn tell(&self, connection: &mut Connection, sight: &Sight) {
        let messages = self.voice().say(since_epoch(sight.at), &sight.what);
        if matches!(sight.what, What::Told) {
            self.known.send_modify(|known| known.state = StationState::Up);
        }
        if !messages.is_empty() {
            self.known.send_modify(|known| known.messages += messages.len() as u64);
        }
        messages.into_iter().for_each(|message| connection.push(message.into()));
    }

    fn voice(&self) -> Voice<'_> {
        let Speaker { local_as, router_id, .. } = self.speaker;
        Voice { stages: &self.config.stages, local_as, router_id }
    }

    fn report(&self, connection: &mut Connection, counted: Vec<Counted>) {
        let at = since_epoch(SystemTime::now());
        for (of, counts, by_family) in counted {
            if let Some(report) = self.voice().statistics(at, &of, &counts, by_family) {
                connection.push(report.into());
                self.known.send_modify(|known| known.messages += 1);
            }
        }
    }
}

fn since_epoch(at: SystemTime) -> Duration {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
