//! One peer's task: it owns the session and its connections, and never waits for anything but all of them at once. While
//! the session is up, the RIB may write into its socket past this task ([`crate::outlet`]).
//!
//! A peer whose RIB reports wait ([`RibPort::is_behind`]) is read no further, so its socket fills and TCP slows it down.
//! Nothing else of the session stops: keepalives leave on time, and bytes that wait in the socket count as life of the
//! peer, or a busy RIB would let its hold timer expire.

mod keys;
mod sockets;
mod unnumbered;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bgp_proto::bfd::{PathLoss, Told};
use bgp_proto::prefix_limit::{Excess, MOST_PREFIXES, PrefixHistory, PrefixLimit};
use bgp_proto::session::{Counters, Direction, DownReason, Established, Output, Session, SessionConfig, State, Stop};
use bgp_proto::time::Instant;
use bgp_proto::types::{Family, Prefix};
use bgp_proto::wire::Notification;
use bgp_proto::wire::notification::Cease;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Sleep;

use crate::authentication::Authentication;
use crate::bfd::BfdEar;
use crate::clock::{self, Clock};
use crate::config::{OnBfdDown, PeerConfig};
use crate::connection::Connection;
use crate::link::{Link, Whereabouts};
use crate::outlet::Aside;
use crate::rib_port::{Report, RibPort};
use crate::rib_task::FromRib;
use crate::status::{LastDown, Restarts};
use crate::watch::Carrier;

/// Most messages of the RIB that go into the queue of a connection before it is written.
const MESSAGES_A_WRITE: usize = 32;
/// Octets of UPDATEs that come alone: what a peer has much to say brings more in one read.
const LITTLE: usize = 4096;

/// What the roster tells a peer's task.
pub(crate) enum PeerCommand {
    /// The peer opened this connection.
    Incoming(TcpStream),
    /// Changes that need no reset.
    Reconfigure(Box<PeerConfig>, Box<SessionConfig>),
    /// Asks for the peer's routes again.
    Refresh,
    /// Ends the session like this, by [`Stop::Reset`] or [`Stop::PlainReset`].
    Reset(Stop),
    /// Ends the session with this Cease; it stays down until `Enable`.
    Disable(Notification),
    /// Starts it again.
    Enable,
    /// Ends the session and the task, with this Cease or without a word.
    Stop(Option<Notification>),
    /// How it is.
    Status(oneshot::Sender<TaskStatus>),
}

/// What the task knows of a peer's status.
pub(crate) struct TaskStatus {
    pub(crate) state: State,
    pub(crate) open_in: Option<Duration>,
    pub(crate) established: Option<Established>,
    pub(crate) uptime: Option<Duration>,
    pub(crate) down: Option<Duration>,
    pub(crate) last_error: Option<String>,
    pub(crate) last_down: Option<LastDown>,
    pub(crate) communication: Option<String>,
    pub(crate) counters: Counters,
    pub(crate) unsent_bytes: usize,
    /// For how long the peer has taken nothing of them.
    pub(crate) untaken: Option<Duration>,
    pub(crate) prefix_limit_reached: u32,
    pub(crate) restarts_in: Option<Duration>,
    /// The number of the TCP-AO key that signs what the session sends.
    pub(crate) tcp_ao_send_id: Option<u8>,
    /// The peer's address for a person, with its link.
    pub(crate) remote: String,
    /// How the search for an unnumbered peer stands.
    pub(crate) discovery: Option<String>,
    /// What our OPEN said of restarts.
    pub(crate) announced: Restarts,
    pub(crate) restart: Restarts,
}

type Connecting = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

/// When the session came up and went down.
#[derive(Clone, Debug, Default)]
struct History {
    up: Option<Instant>,
    down: Option<Instant>,
    /// Why it went down.
    reason: String,
    /// What this speaker says as it ends it.
    cease: Option<Notification>,
}

/// A peer's task.
pub(crate) struct Peer {
    config: PeerConfig,
    /// Where an unnumbered peer is looked for; its address in `config` is the neighbour's once that is found.
    link: Option<Link>,
    /// The number of the interface that its address is on.
    scope: u32,
    whereabouts: Whereabouts,
    /// The prefix that let it in: it ends when its session has ended and nothing of it is retained.
    dynamic: Option<Prefix>,
    session: Session,
    clock: Clock,
    commands: mpsc::Receiver<PeerCommand>,
    from_rib: mpsc::UnboundedReceiver<FromRib>,
    bfd: BfdEar,
    port: RibPort,
    connecting: Option<Connecting>,
    /// What signs the connection that is being opened.
    connecting_with: Option<Authentication>,
    outgoing: Option<Connection>,
    incoming: Option<Connection>,
    /// What the session agreed on, kept until it is down.
    agreed: Option<Box<Established>>,
    /// What it said of restarts, kept beyond that.
    restart: Restarts,
    /// Octets of the RIB that the session's socket has not taken yet.
    owed: usize,
    /// Octets that were read since the RIB was last told of UPDATEs: a long message takes many reads, and all of them count.
    unbilled: usize,
    /// A connection had its turn, so that now all else has one.
    others_first: bool,
    /// The RIB was told of UPDATEs, more of them is not to be expected at once, and whoever goes on with them waits for a turn.
    others_next: bool,
    farewells: JoinSet<()>,
    history: History,
    prefixes: PrefixHistory,
    /// A dynamic peer's routes are kept until then.
    retained_until: Option<Instant>,
    /// A person keeps the session down.
    disabled: bool,
    stopping: bool,
}

impl Peer {
    #[allow(clippy::too_many_arguments, reason = "all of them are its ways to others, each of a type of its own")]
    pub(crate) fn new(
        config: PeerConfig,
        session: SessionConfig,
        dynamic: Option<Prefix>,
        clock: Clock,
        commands: mpsc::Receiver<PeerCommand>,
        from_rib: mpsc::UnboundedReceiver<FromRib>,
        bfd: watch::Receiver<Told>,
        whereabouts: Whereabouts,
        port: RibPort,
    ) -> Self {
        let link = config.interface.map(|interface| Link::open(interface, clock.now()));
        Self {
            config,
            link,
            scope: 0,
            whereabouts,
            dynamic,
            session: Session::new(session, clock::seed()),
            clock,
            commands,
            from_rib,
            bfd: BfdEar::new(bfd, clock),
            port,
            connecting: None,
            connecting_with: None,
            outgoing: None,
            incoming: None,
            agreed: None,
            restart: Restarts::default(),
            owed: 0,
            unbilled: 0,
            others_first: false,
            others_next: false,
            farewells: JoinSet::new(),
            history: History::default(),
            prefixes: PrefixHistory::default(),
            retained_until: None,
            disabled: false,
            stopping: false,
        }
    }

    /// Runs until it is told to stop, its roster is gone, or, for a dynamic peer, nothing is left to do. `first`: the
    /// connection that a dynamic peer came with.
    pub(crate) async fn run(mut self, first: Option<TcpStream>) {
        self.session.start(self.clock.now());
        if let Some(stream) = first {
            self.take_incoming(stream);
        }
        self.settle();
        // Armed anew only when it must ring earlier than it would: most of what moves a deadline moves it away.
        let mut timer = Box::pin(tokio::time::sleep_until(self.clock.deadline(self.next_timeout())));
        while !self.is_done() {
            let wake = self.clock.deadline(self.next_timeout());
            if timer.is_elapsed() || wake < timer.deadline() {
                timer.as_mut().reset(wake);
            }
            self.turn(timer.as_mut()).await;
            if std::mem::take(&mut self.others_next) {
                // The RIB, or whom it has told, is next on this worker and goes first: all that is left to do here is to wait.
                // Not without need: with two tasks that want a turn, the runtime wakes another thread for one of them, and that
                // on a processor on which whoever waits for our word wakes just now.
                tokio::task::yield_now().await;
                self.port.follow_up();
            }
            self.ring();
            self.settle();
            self.acknowledge();
        }
        // The last words of a session that was ended. Nobody waits for them: whoever asks or sends something now hears at
        // once that this task takes no more, and a dynamic peer that is back already is heard by the next one.
        let Self { commands, from_rib, mut farewells, .. } = self;
        drop((commands, from_rib));
        while farewells.join_next().await.is_some() {}
    }

    /// Waits for one thing to happen, and takes it in.
    async fn turn(&mut self, timer: Pin<&mut Sleep>) {
        let reading = !self.port.is_behind();
        let others_first = std::mem::take(&mut self.others_first);
        tokio::select! {
            biased;
            // Most of what wakes a session is its peer, so that is looked at first, and what else there is not before it is
            // decided and written: after a rest all of it comes from memory. What floods us is then passed over once.
            direction = ready(self.outgoing.as_ref(), self.incoming.as_ref(), reading), if !others_first => {
                self.others_first = true;
                self.take_ready(direction, reading);
            }
            command = self.commands.recv() => match command {
                Some(command) => self.take_command(command),
                None => self.stop(None),
            },
            message = self.from_rib.recv() => {
                let mut message = message;
                for _ in 0..MESSAGES_A_WRITE {
                    let Some(one) = message else { break };
                    self.take_from_rib(one);
                    message = self.from_rib.try_recv().ok();
                }
                if let Some(last) = message {
                    self.take_from_rib(last);
                }
            }
            happening = unnumbered::happening(self.link.as_ref()) => {
                let now = self.clock.now();
                if let Some(link) = &mut self.link {
                    link.take(now, happening);
                }
            }
            outcome = connected(&mut self.connecting) => self.take_connected(outcome),
            () = self.port.room() => {}
            loss = self.bfd.hear() => self.take_bfd(loss),
            Some(_) = self.farewells.join_next() => {}
            () = timer => {}
            () = std::future::ready(()), if others_first => {}
        }
    }

    fn next_timeout(&self) -> Instant {
        let never = Instant::from_start(Duration::MAX);
        let session = self.session.poll_timeout().unwrap_or(never);
        let link = self.link.as_ref().and_then(Link::poll_timeout).unwrap_or(never);
        let prefixes = self.prefixes.until().unwrap_or(never);
        session.min(self.retained_until.unwrap_or(never)).min(prefixes).min(link)
    }

    /// Lets timers that are due have their say.
    fn ring(&mut self) {
        let now = self.clock.now();
        if self.session.poll_timeout().is_some_and(|at| at <= now) {
            self.hear_of_aside();
            let carrier = self.session.established().map(|established| established.direction);
            let waits =
                carrier.and_then(|direction| self.connection(direction)).is_some_and(Connection::has_unread_bytes);
            if waits {
                self.session.handle_unread(now);
            }
            self.session.handle_timeout(now);
        }
        if let Some(link) = &mut self.link {
            link.handle_timeout(now);
        }
        if self.retained_until.is_some_and(|at| at <= now) {
            self.retained_until = None;
        }
        if self.prefixes.until().is_some_and(|at| at <= now) {
            self.release();
        }
    }

    fn is_done(&self) -> bool {
        let quiet = self.outgoing.is_none() && self.incoming.is_none();
        self.stopping
            || (self.dynamic.is_some() && quiet && self.retained_until.is_none() && self.prefixes.hold.is_none())
    }

    /// Has the session count what the RIB has written past this task. That may be late: it matters when a timer that it moves
    /// is due, when somebody asks, and before the connection goes.
    fn hear_of_aside(&mut self) {
        for connection in [&self.outgoing, &self.incoming].into_iter().flatten() {
            if let Some(Aside { counts, at }) = connection.outlet().take_aside() {
                self.session.handle_written(at, &counts);
            }
        }
    }

    fn connections(&self) -> impl Iterator<Item = &Connection> {
        [&self.outgoing, &self.incoming].into_iter().flatten()
    }

    fn connection(&self, direction: Direction) -> Option<&Connection> {
        match direction {
            Direction::Outgoing => self.outgoing.as_ref(),
            Direction::Incoming => self.incoming.as_ref(),
        }
    }

    fn slot(&mut self, direction: Direction) -> &mut Option<Connection> {
        match direction {
            Direction::Outgoing => &mut self.outgoing,
            Direction::Incoming => &mut self.incoming,
        }
    }

    fn take_command(&mut self, command: PeerCommand) {
        let now = self.clock.now();
        match command {
            PeerCommand::Incoming(stream) => self.take_incoming(stream),
            PeerCommand::Reconfigure(config, session) => {
                let other_limit = self.config.max_prefixes != config.max_prefixes;
                let found = self.config.address;
                let before = std::mem::replace(&mut self.config, *config);
                if self.link.is_some() {
                    self.config.address = found;
                }
                self.session.set_config(*session);
                if before.authentication != self.config.authentication {
                    self.change_keys(before.authentication.as_ref());
                }
                if other_limit {
                    self.release();
                }
            }
            PeerCommand::Reset(_) if self.prefixes.hold.is_some() => self.release(),
            PeerCommand::Reset(how) => self.end_session(how),
            PeerCommand::Disable(cease) => {
                self.disabled = true;
                self.prefixes.hold = None;
                self.end_session(Stop::Cease(cease));
            }
            PeerCommand::Enable => {
                self.disabled = false;
                // Whoever enables a peer that is held down for its prefixes means that one too.
                self.prefixes.hold = None;
                self.session.start(now);
            }
            PeerCommand::Refresh => {
                for family in Family::ALL {
                    self.session.request_refresh(now, family);
                }
            }
            PeerCommand::Stop(cease) => self.stop(cease),
            PeerCommand::Status(answer) => {
                self.hear_of_aside();
                let _ = answer.send(self.status());
            }
        }
    }

    /// Ends the session of a peer that sent too much, and keeps it down as its limit says: at once it would send
    /// them all again.
    fn hold(&mut self, excess: Excess) {
        let now = self.clock.now();
        let limit = self.prefix_limit();
        self.prefixes.exceeded(excess, limit, self.dynamic.is_some(), self.history.up, now);
        tracing::warn!(
            peer = self.config.name,
            limit = limit.hard(),
            "{}",
            self.prefixes.reason(limit, now).unwrap_or_default()
        );
        self.end_session(Stop::Cease(Notification::cease(Cease::MaximumNumberOfPrefixesReached)));
    }

    /// Starts a session again that was held down for its prefixes.
    fn release(&mut self) {
        if self.prefixes.hold.take().is_some() {
            self.session.start(self.clock.now());
        }
    }

    fn prefix_limit(&self) -> PrefixLimit {
        self.config.max_prefixes.unwrap_or(PrefixLimit::new(MOST_PREFIXES))
    }

    fn stop(&mut self, cease: Option<Notification>) {
        let how = cease.map_or(Stop::Silent, Stop::Cease);
        self.end_session(how);
        self.stopping = true;
    }

    /// Ends the session. What is said with it is kept for whoever asks later why it went down.
    fn end_session(&mut self, how: Stop) {
        self.history.cease = match &how {
            Stop::Cease(cease) | Stop::Reset(cease) => Some(cease.clone()),
            // The reason that the session gives tells of it.
            Stop::PlainReset(_) | Stop::Silent => None,
        };
        self.session.stop(self.clock.now(), how);
    }

    fn status(&self) -> TaskStatus {
        let now = self.clock.now();
        let established = self.session.established().cloned();
        let held = self
            .prefixes
            .reason(self.prefix_limit(), now)
            .map(|why| format!("sent {}: {why}", Notification::cease(Cease::MaximumNumberOfPrefixesReached)));
        let since = |at: Option<Instant>| at.map(|at| now.saturating_since(at));
        TaskStatus {
            state: self.session.state(),
            open_in: self.session.open_in(now),
            uptime: established.as_ref().and_then(|_| since(self.history.up)),
            down: if established.is_none() { since(self.history.down) } else { None },
            established,
            last_error: held.or_else(|| self.session.last_error().map(str::to_owned)),
            last_down: since(self.history.down).map(|ago| LastDown { reason: self.history.reason.clone(), ago }),
            communication: self.session.communication().map(str::to_owned),
            counters: *self.session.counters(),
            prefix_limit_reached: self.prefixes.times,
            restarts_in: self.prefixes.until().map(|at| at.saturating_since(now)),
            tcp_ao_send_id: self.tcp_ao_in_use().map(|keys| keys.current),
            remote: self.remote(),
            discovery: self.link.as_ref().map(|link| link.status(now)),
            untaken: self.session.untaken_for(now),
            announced: self.session.opens().map(Restarts::announced).unwrap_or_default(),
            restart: self.restart.clone(),
            unsent_bytes: self.connections().map(Connection::queued).sum(),
        }
    }

    fn take_from_rib(&mut self, message: FromRib) {
        let now = self.clock.now();
        let current = self.port.tag().session;
        match message {
            FromRib::Send { session, messages } if session == current && self.session.established().is_some() => {
                self.owed += messages.len();
                self.session.send(now, messages);
            }
            FromRib::Begun { session, left } if session == current => {
                if let Some(direction) = self.session.established().map(|established| established.direction) {
                    self.owed += left;
                    // They may have left meanwhile, with what this task had to say.
                    self.took(direction, 0, self.connection(direction).map_or(0, Connection::queued));
                }
            }
            FromRib::TooManyPrefixes { session, excess }
                if session == current && self.session.established().is_some() =>
            {
                self.hold(excess);
            }
            // For a session that is gone; the RIB has heard so and counts anew.
            FromRib::Send { .. } | FromRib::Begun { .. } | FromRib::TooManyPrefixes { .. } => {}
        }
    }

    /// BFD has lost the path to the peer (RFC 5882 section 4.2).
    fn take_bfd(&mut self, loss: PathLoss) {
        let now = self.clock.now();
        let keep = match self.config.bfd.map(|bfd| bfd.on_down) {
            Some(OnBfdDown::Auto) => !loss.control_plane_independent,
            Some(OnBfdDown::Drop) => false,
            None => return,
        };
        let reason = format!("BFD: {}", loss.cause);
        if self.session.state() == State::Established {
            self.session.handle_path_loss(now, reason, keep);
        } else if loss.control_plane_independent {
            // Section 4.3.1: it forwards no more, whatever it said about a restart.
            tracing::info!(
                peer = self.config.name,
                reason,
                "routes that were kept while the peer restarts are dropped"
            );
            self.port.drop_retained();
            self.retained_until = None;
        }
    }

    /// Does what the session asks for and writes what its sockets take, until there is no more of either.
    fn settle(&mut self) {
        self.follow_link();
        self.drain();
        for direction in [Direction::Outgoing, Direction::Incoming] {
            self.write(direction);
        }
    }

    /// Does what the session asks for.
    fn drain(&mut self) {
        if self.session.established().is_none() {
            // Nothing of the RIB may follow our last words.
            self.connections().for_each(|connection| connection.outlet().let_rib_write(false));
        }
        while let Some(output) = self.session.poll() {
            match output {
                Output::Connect => {
                    self.connecting_with.clone_from(&self.config.authentication);
                    self.connecting = Some(self.connect());
                }
                Output::Close(direction) => self.close(direction),
                Output::Send(direction, bytes) => {
                    if let Some(connection) = self.slot(direction) {
                        connection.push(bytes);
                    }
                }
                Output::Up(established) => self.up(established),
                Output::Down(reason) => self.down(&reason),
                Output::Updates(updates) => {
                    let octets = std::mem::take(&mut self.unbilled);
                    if octets <= LITTLE {
                        self.others_next |= self.port.hand_over(updates, octets);
                    } else {
                        self.port.push(Report::Updates(updates), octets);
                    }
                }
                Output::Refresh(family) => self.port.push(Report::Refresh(family), 1),
            }
        }
    }

    fn up(&mut self, established: Box<Established>) {
        tracing::info!(
            peer = self.config.name,
            address = self.remote(),
            asn = established.remote_as.0,
            router_id = %established.remote_id,
            "session up"
        );
        let now = self.clock.now();
        if let Some(link) = &mut self.link {
            link.handle_session(now, true);
        }
        self.history.up = Some(now);
        self.retained_until = None;
        (self.owed, self.unbilled) = (0, 0);
        self.restart = Restarts::of(&established);
        self.agreed = Some(established.clone());
        let carrier = self.carrier(established.direction);
        let outlet = self.connection(established.direction).map(|connection| {
            connection.outlet().let_rib_write(true);
            Arc::downgrade(connection.outlet())
        });
        self.port.up(established, Box::new(carrier), outlet.unwrap_or_default());
    }

    fn down(&mut self, reason: &DownReason) {
        let now = self.clock.now();
        let text = match reason {
            // The last error is an earlier one's.
            DownReason::Stopped { .. } if self.prefixes.hold.is_some() => self.prefixes.ended_for(self.prefix_limit()),
            DownReason::Stopped { .. } => self.history.cease.take().map(|cease| format!("{reason} here: {cease}")),
            _ => self.session.last_error().map(str::to_owned),
        }
        .unwrap_or_else(|| reason.to_string());
        let agreed = self.agreed.take();
        let retain = agreed.as_ref().and_then(|agreed| agreed.retain(reason));
        let long_lived = agreed.iter().flat_map(|agreed| &agreed.long_lived).map(|said| said.stale_seconds).max();
        let long_lived = Duration::from_secs(u64::from(long_lived.unwrap_or(0)));
        tracing::info!(
            peer = self.config.name,
            address = self.remote(),
            reason = text,
            retained_seconds = retain.map_or(0, |retain| retain.as_secs()),
            "session down"
        );
        if let Some(link) = &mut self.link {
            link.handle_session(now, false);
        }
        self.history.down = Some(now);
        self.history.reason.clone_from(&text);
        self.bfd.session_ended();
        self.owed = 0;
        self.retained_until = retain.filter(|_| self.dynamic.is_some()).map(|retain| now + retain + long_lived);
        self.port.down(retain, text, reason.clone());
    }

    /// What began the session on this connection.
    fn carrier(&self, direction: Direction) -> Carrier {
        let opens = self.session.opens().cloned().unwrap_or_default();
        let socket = self.connection(direction).map(Connection::socket);
        let port = |address: io::Result<SocketAddr>| address.map_or(0, |address| address.port());
        Carrier {
            local_port: socket.map_or(0, |socket| port(socket.local_addr())),
            remote_port: socket.map_or(0, |socket| port(socket.peer_addr())),
            sent_open: opens.sent,
            received_open: opens.received,
        }
    }
}

/// The one of the two connections that has something for us, or takes something from us.
async fn ready(outgoing: Option<&Connection>, incoming: Option<&Connection>, reading: bool) -> Direction {
    match (outgoing, incoming) {
        (Some(outgoing), Some(incoming)) => tokio::select! {
            () = outgoing.ready(reading) => Direction::Outgoing,
            () = incoming.ready(reading) => Direction::Incoming,
        },
        (Some(outgoing), None) => {
            outgoing.ready(reading).await;
            Direction::Outgoing
        }
        (None, Some(incoming)) => {
            incoming.ready(reading).await;
            Direction::Incoming
        }
        (None, None) => std::future::pending().await,
    }
}

async fn connected(connecting: &mut Option<Connecting>) -> io::Result<TcpStream> {
    match connecting {
        Some(connecting) => connecting.await,
        None => std::future::pending().await,
    }
}
