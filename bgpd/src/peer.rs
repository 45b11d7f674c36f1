//! One peer's task: it owns the session and its connections, and never waits for anything but all of them at once.
//!
//! A peer whose RIB reports wait ([`RibPort::is_behind`]) is read no further, so its socket fills and TCP slows it down.
//! Nothing else of the session stops: keepalives leave on time, and bytes that wait in the socket count as life of the
//! peer, or a busy RIB would let its hold timer expire.

mod unnumbered;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

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
use crate::bfd::{BfdEar, PathLoss, Told};
use crate::clock::{self, Clock};
use crate::config::{MOST_PREFIXES, OnBfdDown, PeerConfig};
use crate::connection::{Connection, Read};
use crate::link::{Link, Whereabouts};
use crate::prefix_limit::{PrefixHistory, PrefixLimit};
use crate::rib_port::{Report, RibPort};
use crate::rib_task::FromRib;
use crate::socket_options::{self, KeyScope};
use crate::tcp_ao::{self, InUse};
use crate::watch::Carrier;

/// A connection that cannot be written any more may still hold what the peer said last: so many reads for it.
const READS_OF_A_BROKEN_CONNECTION: usize = 4;
/// Most messages of the RIB that go into the queue of a connection before it is written.
const MESSAGES_A_WRITE: usize = 32;

/// What the roster tells a peer's task.
pub(crate) enum PeerCommand {
    /// The peer opened this connection.
    Incoming(TcpStream),
    /// Changes that need no reset.
    Reconfigure(Box<PeerConfig>, Box<SessionConfig>),
    /// Asks for the peer's routes again.
    Refresh,
    /// Ends the session with this Cease and starts it again.
    Reset(Notification),
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
    pub(crate) communication: Option<String>,
    pub(crate) counters: Counters,
    pub(crate) unsent_bytes: usize,
    pub(crate) prefix_limit_reached: u32,
    pub(crate) restarts_in: Option<Duration>,
    /// The number of the TCP-AO key that signs what the session sends.
    pub(crate) tcp_ao_send_id: Option<u8>,
    /// The peer's address for a person, with its link.
    pub(crate) remote: String,
    /// How the search for an unnumbered peer stands.
    pub(crate) discovery: Option<String>,
}

type Connecting = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

/// When the session came up and went down.
#[derive(Clone, Copy, Debug, Default)]
struct History {
    up: Option<Instant>,
    down: Option<Instant>,
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
    /// Octets of the RIB that the session's socket has not taken yet.
    owed: usize,
    /// Octets that were read since the RIB was last told of UPDATEs: a long message takes many reads, and all of them count.
    unbilled: usize,
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
            owed: 0,
            unbilled: 0,
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
            self.ring();
            self.settle();
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
        tokio::select! {
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
            _ = ready(self.outgoing.as_ref(), reading) => self.take_ready(Direction::Outgoing, reading),
            _ = ready(self.incoming.as_ref(), reading) => self.take_ready(Direction::Incoming, reading),
            () = self.port.room() => {}
            loss = self.bfd.hear() => self.take_bfd(loss),
            Some(_) = self.farewells.join_next() => {}
            () = timer => {}
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
            PeerCommand::Reset(cease) => self.session.stop(now, Stop::Reset(cease)),
            PeerCommand::Disable(cease) => {
                self.disabled = true;
                self.prefixes.hold = None;
                self.session.stop(now, Stop::Cease(cease));
            }
            PeerCommand::Enable => {
                self.disabled = false;
                self.session.start(now);
            }
            PeerCommand::Refresh => {
                for family in Family::ALL {
                    self.session.request_refresh(now, family);
                }
            }
            PeerCommand::Stop(cease) => self.stop(cease),
            PeerCommand::Status(answer) => {
                let _ = answer.send(self.status());
            }
        }
    }

    /// Ends the session of a peer that sent too many prefixes, and keeps it down as its limit says: at once it would send
    /// them all again.
    fn hold(&mut self) {
        let now = self.clock.now();
        let limit = self.prefix_limit();
        self.prefixes.exceeded(limit, self.dynamic.is_some(), self.history.up, now);
        tracing::warn!(
            peer = self.config.name,
            limit = limit.hard(),
            "{}",
            self.prefixes.reason(limit, now).unwrap_or_default()
        );
        self.session.stop(now, Stop::Cease(Notification::cease(Cease::MaximumNumberOfPrefixesReached)));
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
        self.session.stop(self.clock.now(), how);
        self.stopping = true;
    }

    /// Changes the keys of the running connections (RFC 2385 says nothing against it, and Linux takes it; RFC 5925 section
    /// 6.1). One that keeps a key of TCP-AO that it is not to trust any more is ended.
    fn change_keys(&mut self, before: Option<&Authentication>) {
        let connections = [&self.outgoing, &self.incoming].into_iter().flatten();
        let changes = connections.map(|connection| self.change_keys_of(connection.socket(), before));
        let Some(error) = changes.filter_map(Result::err).last() else { return };
        let what = match &self.config.authentication {
            Some(Authentication::TcpAo(_)) => "the session is reset, and the next one has the new keys",
            _ => "the session will end with the hold timer, and the next one has the new key",
        };
        tracing::warn!(peer = self.config.name, %error, "cannot change the keys of the running connection; {what}");
        if self.config.authentication.as_ref().is_some_and(|it| it.tcp_ao().is_some()) {
            let cease = Notification::cease(Cease::OtherConfigurationChange);
            self.session.stop(self.clock.now(), Stop::Reset(cease));
        }
    }

    fn change_keys_of(&self, socket: &TcpStream, before: Option<&Authentication>) -> io::Result<()> {
        let scope = KeyScope::Address(self.config.address);
        match (before, &self.config.authentication) {
            (before, new) if before == new.as_ref() => Ok(()),
            (Some(Authentication::TcpAo(before)), Some(Authentication::TcpAo(new))) => {
                tcp_ao::change(socket, self.key_scope(), before, new)
            }
            // The roster resets the session of a peer that gets TCP-AO, or loses it.
            (Some(Authentication::TcpAo(_)), _) | (_, Some(Authentication::TcpAo(_))) => {
                Err(io::Error::other("a connection is signed by TCP-AO from its first segment on or not at all"))
            }
            (_, Some(Authentication::Md5(secret))) => socket_options::set_md5_key(socket, scope, Some(secret)),
            (_, None) => socket_options::set_md5_key(socket, scope, None),
        }
    }

    /// Whom the TCP-AO keys of a connection are for: those of one that was accepted are the listening socket's.
    fn key_scope(&self) -> KeyScope {
        self.dynamic.map_or(KeyScope::Address(self.config.address), KeyScope::Prefix)
    }

    /// Of the connection that has the session.
    fn tcp_ao_in_use(&self) -> Option<InUse> {
        self.config.authentication.as_ref()?.tcp_ao()?;
        let carrier = self.session.established()?.direction;
        tcp_ao::in_use(self.connection(carrier)?.socket()).ok()
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
            communication: self.session.communication().map(str::to_owned),
            counters: *self.session.counters(),
            prefix_limit_reached: self.prefixes.times,
            restarts_in: self.prefixes.until().map(|at| at.saturating_since(now)),
            tcp_ao_send_id: self.tcp_ao_in_use().map(|keys| keys.current),
            remote: self.remote(),
            discovery: self.link.as_ref().map(|link| link.status(now)),
            unsent_bytes: [&self.outgoing, &self.incoming].into_iter().flatten().map(Connection::queued).sum(),
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
            FromRib::TooManyPrefixes { session } if session == current && self.session.established().is_some() => {
                self.hold();
            }
            // For a session that is gone; the RIB has heard so and counts anew.
            FromRib::Send { .. } | FromRib::TooManyPrefixes { .. } => {}
        }
    }

    /// BFD has lost the path to the peer (RFC 5882 section 3.2).
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

    fn take_incoming(&mut self, stream: TcpStream) {
        if !self.is_from_neighbour(&stream) {
            return;
        }
        if !self.session.accepts_incoming() {
            tracing::debug!(peer = self.config.name, "closed a connection that the session has no use for");
            return;
        }
        if !socket_options::is_near_enough(&stream, &self.config) {
            tracing::debug!(
                peer = self.config.name,
                "closed a connection that came over more hops than ttl-security allows"
            );
            return;
        }
        if let Some(Authentication::TcpAo(keys)) = &self.config.authentication
            && let Err(error) = tcp_ao::take_over(&stream, self.key_scope(), keys)
        {
            tracing::warn!(peer = self.config.name, %error, "closed a connection; the peer will open another one");
            return;
        }
        let prepared = socket_options::prepare_connection(&stream, &self.config);
        let connection = Connection::new(stream);
        match prepared.and_then(|()| connection.addresses()) {
            Ok((local, remote)) => {
                self.incoming = Some(connection);
                self.session.handle_connected(self.clock.now(), Direction::Incoming, local, remote);
            }
            Err(error) => tracing::debug!(peer = self.config.name, %error, "a connection ended before it began"),
        }
    }

    fn take_connected(&mut self, outcome: io::Result<TcpStream>) {
        self.connecting = None;
        let now = self.clock.now();
        let opened = outcome.and_then(|stream| {
            // Its keys may have changed while it was being opened.
            self.change_keys_of(&stream, self.connecting_with.as_ref())?;
            let connection = Connection::new(stream);
            connection.addresses().map(|addresses| (connection, addresses))
        });
        match opened {
            Ok((connection, (local, remote))) => {
                self.outgoing = Some(connection);
                self.session.handle_connected(now, Direction::Outgoing, local, remote);
            }
            Err(error) => {
                let reason = format!("cannot connect to {} port {}: {error}", self.remote(), self.config.port);
                tracing::debug!(peer = self.config.name, reason, "no connection");
                self.session.handle_connect_failed(now, reason);
            }
        }
    }

    /// One read, if we are `reading`; what wants to be written is written by [`Peer::settle`].
    fn take_ready(&mut self, direction: Direction, reading: bool) {
        if reading && let Read::End(reason) = self.read(direction) {
            self.lose(direction, reason);
        }
    }

    fn read(&mut self, direction: Direction) -> Read {
        let now = self.clock.now();
        // Not by `connection`, which would borrow the session too.
        let connection = match direction {
            Direction::Outgoing => &self.outgoing,
            Direction::Incoming => &self.incoming,
        };
        let Some(connection) = connection else { return Read::Nothing };
        let session = &mut self.session;
        let read = connection.read(|bytes| session.handle_bytes(now, direction, bytes));
        if let Read::Bytes(octets) = read {
            self.unbilled += octets;
            self.drain();
        }
        read
    }

    /// The connection is gone.
    fn lose(&mut self, direction: Direction, reason: String) {
        *self.slot(direction) = None;
        self.session.handle_closed(self.clock.now(), direction, reason);
    }

    /// Does what the session asks for and writes what its sockets take, until there is no more of either.
    fn settle(&mut self) {
        self.follow_link();
        self.drain();
        for direction in [Direction::Outgoing, Direction::Incoming] {
            self.write(direction);
        }
    }

    fn write(&mut self, direction: Direction) {
        let Some(connection) = self.slot(direction).as_mut().filter(|connection| connection.queued() > 0) else {
            return;
        };
        let written = connection.write();
        let queued = connection.queued();
        match written {
            Ok(0) => {}
            Ok(octets) => self.took(direction, octets, queued),
            Err(error) => {
                // The peer may have said why before it closed, and that is worth more than our failure to write.
                let mut reason = error.to_string();
                for _ in 0..READS_OF_A_BROKEN_CONNECTION {
                    match self.read(direction) {
                        Read::Bytes(_) => {}
                        Read::Nothing => break,
                        Read::End(said) => {
                            reason = said;
                            break;
                        }
                    }
                }
                if self.connection(direction).is_some() {
                    self.lose(direction, reason);
                }
            }
        }
        self.drain();
    }

    /// The socket took `octets`, and `queued` more wait.
    fn took(&mut self, direction: Direction, octets: usize, queued: usize) {
        let carrier = self.session.established().map(|established| established.direction);
        if carrier == Some(direction) {
            // OPEN, KEEPALIVE and the like are counted as if they were the RIB's, until nothing of it is left.
            let paid = if queued == 0 { self.owed } else { octets.min(self.owed) };
            self.owed -= paid;
            if paid > 0 {
                self.port.sent(paid);
            }
        }
        if carrier.is_none_or(|carrier| carrier == direction) {
            self.session.handle_sent(self.clock.now(), queued);
        }
    }

    /// Does what the session asks for.
    fn drain(&mut self) {
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
                    self.port.push(Report::Updates(updates), std::mem::take(&mut self.unbilled));
                }
                Output::Refresh(family) => self.port.push(Report::Refresh(family), 1),
            }
        }
    }

    fn close(&mut self, direction: Direction) {
        if direction == Direction::Outgoing {
            self.connecting = None;
        }
        if let Some(connection) = self.slot(direction).take() {
            self.farewells.spawn(connection.finish());
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
        self.agreed = Some(established.clone());
        let carrier = self.carrier(established.direction);
        self.port.up(established, Box::new(carrier));
    }

    fn down(&mut self, reason: &DownReason) {
        let now = self.clock.now();
        let text = match reason {
            // The last error is an earlier one's.
            DownReason::Stopped { .. } if self.prefixes.hold.is_some() => {
                Some("the peer sent more prefixes than it may (max-prefixes)")
            }
            DownReason::Stopped { .. } => None,
            _ => self.session.last_error(),
        }
        .map_or_else(|| reason.to_string(), str::to_owned);
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

async fn ready(connection: Option<&Connection>, reading: bool) {
    match connection {
        // An error here is told by the read or the write that follows.
        Some(connection) => drop(connection.ready(reading).await),
        None => std::future::pending().await,
    }
}

async fn connected(connecting: &mut Option<Connecting>) -> io::Result<TcpStream> {
    match connecting {
        Some(connecting) => connecting.await,
        None => std::future::pending().await,
    }
}
