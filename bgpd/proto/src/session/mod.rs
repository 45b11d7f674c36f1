//! One peer's session: framing, parsing, the state machine, timers, encoding. A value without I/O.
//!
//! Its methods come in four sorts. Commands ([`Session::start`], [`Session::stop`], [`Session::send`]) say what the owner
//! wants. `handle_*` tell it what happened outside. [`Session::poll`] says what to do: call it until it gives `None` after
//! every command and every `handle_*`. [`Session::poll_timeout`] says when to call [`Session::handle_timeout`] next; ask
//! again after every call. The rest are getters.

mod collision;
mod config;
mod connection;
mod counters;
mod established;
mod fsm;
mod machine;
mod negotiate;
mod receive;
mod send_hold;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;

use crate::time::Instant;
use crate::timers::{Jitter, Timer};
use crate::types::{Family, FamilySet};
use crate::wire::notification::Cease;
use crate::wire::{Message, Notification, RouteRefresh, Update};
pub use config::{Extensions, LocalRestart, RemoteAs, SessionConfig};
use connection::{Connection, Transport};
pub use counters::{Counters, count_messages};
pub use established::{Established, Opens};
use fsm::Event;
use machine::{Again, Detail};
pub use send_hold::SendHoldTime;

/// The state machine's states (RFC 4271 section 8.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Refuses connections.
    Idle,
    /// Waits for its own connection to come up.
    Connect,
    /// Listens for one.
    Active,
    /// Has sent its OPEN.
    OpenSent,
    /// Has received the peer's OPEN.
    OpenConfirm,
    /// Exchanges routes.
    Established,
}

/// Which of the two connections a session may have at one time: who opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// We did.
    Outgoing,
    /// The peer did.
    Incoming,
}

/// Why a session went down, for the RIB (which keeps or drops routes) and for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DownReason {
    /// We sent this.
    Sent(Notification),
    /// The peer sent this.
    Received(Notification),
    /// The connection closed or failed, in the words of the shell.
    ConnectionLost(String),
    /// No message for the hold time (a NOTIFICATION was sent).
    HoldTimerExpired,
    /// The peer took nothing for the send hold time (RFC 9687).
    SendHoldTimerExpired,
    /// The owner stopped the session; `silent` if by closing without a NOTIFICATION, so that the peer keeps our routes.
    Stopped {
        /// No NOTIFICATION was sent.
        silent: bool,
    },
}

impl DownReason {
    /// Whether the peer's routes are kept for its restart time: by RFC 4724 section 4.2 when the connection went without a
    /// word; with `notification`, by RFC 8538 section 4, also after a NOTIFICATION that is no hard reset, whoever sent it.
    #[must_use]
    pub fn allows_graceful_restart(&self, notification: bool) -> bool {
        match self {
            Self::ConnectionLost(_) | Self::Stopped { silent: true } => true,
            Self::HoldTimerExpired | Self::SendHoldTimerExpired => notification,
            Self::Sent(what) | Self::Received(what) => notification && !what.is_hard_reset(),
            Self::Stopped { silent: false } => false,
        }
    }
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sent(notification) => write!(f, "sent {notification}"),
            Self::Received(notification) => write!(f, "received {notification}"),
            Self::ConnectionLost(reason) => f.write_str(reason),
            Self::HoldTimerExpired => f.write_str("hold timer expired"),
            Self::SendHoldTimerExpired => f.write_str("send hold timer expired"),
            Self::Stopped { silent: true } => f.write_str("stopped without a NOTIFICATION"),
            Self::Stopped { silent: false } => f.write_str("stopped"),
        }
    }
}

/// How the owner ends a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Send this Cease and stay in Idle until [`Session::start`].
    Cease(Notification),
    /// Send this Cease and start again after the idle hold time.
    Reset(Notification),
    /// As [`Stop::Reset`], and never as a hard reset: both ends keep the other's routes if they have RFC 8538.
    PlainReset(Notification),
    /// Close without a word: this process is about to restart, and the peer is to keep our routes (RFC 4724).
    Silent,
}

/// What the owner of a session is to do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Open a TCP connection to the peer; answer with `handle_connected` or `handle_connect_failed`.
    Connect,
    /// Close this connection once what was sent has left (a NOTIFICATION may be on its way). The session is done with it:
    /// `handle_closed` is not needed. Of [`Direction::Outgoing`], it also ends an attempt that [`Output::Connect`] began.
    Close(Direction),
    /// Send these bytes. `Bytes` of an UPDATE are shared by all sessions of an update group.
    Send(Direction, Bytes),
    /// The session is up.
    Up(Box<Established>),
    /// The session is down.
    Down(DownReason),
    /// What one call of `handle_bytes` brought, as one batch: UPDATEs, and between them where refreshes begin and end.
    Updates(Vec<Update>),
    /// The peer asks for all routes of this family (RFC 2918).
    Refresh(Family),
}

/// One peer's session.
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    /// Lives as long as the session; in Idle, it waits for IdleHold or for a start.
    outgoing: Connection,
    /// From Active on, as long as it has a connection.
    incoming: Option<Connection>,
    /// Between `start` and `stop`.
    started: bool,
    /// Some session came up since this value was made.
    came_up: bool,
    /// When the session came up.
    up_since: Option<Instant>,
    /// RFC 4271's ConnectRetryCounter: failures in a row, for the time to the next attempt.
    failures: u32,
    /// How it starts again.
    again: Again,
    jitter: Jitter,
    outputs: VecDeque<Output>,
    /// UPDATEs of the call under way.
    updates: Vec<Update>,
    /// Requests for routes of the call under way.
    refreshes: FamilySet,
    counters: Counters,
    last_error: Option<String>,
    /// See [`Session::communication`].
    communication: Option<String>,
}

impl Session {
    /// A session in Idle. `seed` feeds the jitter of its timers (RFC 4271 section 10).
    #[must_use]
    pub fn new(config: SessionConfig, seed: u64) -> Self {
        Self {
            config,
            outgoing: Connection::new(Direction::Outgoing, State::Idle),
            incoming: None,
            started: false,
            came_up: false,
            up_since: None,
            failures: 0,
            again: Again::default(),
            jitter: Jitter::new(seed),
            outputs: VecDeque::new(),
            updates: Vec::new(),
            refreshes: FamilySet::EMPTY,
            counters: Counters::default(),
            last_error: None,
            communication: None,
        }
    }

    /// ManualStart or ManualStart_with_PassiveTcpEstablishment. Ends the idle hold time, if the session is waiting.
    pub fn start(&mut self, now: Instant) {
        self.started = true;
        if self.incoming.is_some() {
            return;
        }
        self.outgoing.timers.clear(Timer::IdleHold);
        let event = if self.config.passive { Event::ManualStartPassive } else { Event::ManualStart };
        self.raise(now, Direction::Outgoing, event, Detail::None);
        self.settle(now);
    }

    /// Ends the session.
    pub fn stop(&mut self, now: Instant, how: Stop) {
        let (event, detail) = match how {
            Stop::Cease(cease) => (Event::ManualStop, Detail::Stop(cease)),
            Stop::Reset(cease) => (Event::AutomaticStop, Detail::Stop(cease)),
            Stop::PlainReset(cease) => (Event::AutomaticStop, Detail::PlainStop(cease)),
            Stop::Silent => (Event::SilentStop, Detail::None),
        };
        if event == Event::AutomaticStop {
            self.failures = self.failures.max(1);
        } else {
            self.started = false;
            self.outgoing.timers.clear(Timer::IdleHold);
        }
        self.raise(now, Direction::Incoming, event, detail.clone());
        self.raise(now, Direction::Outgoing, event, detail);
        self.settle(now);
    }

    /// Queues whole messages that the RIB encoded. Dropped when the session is not Established.
    pub fn send(&mut self, now: Instant, messages: Bytes) {
        let Some(up) = self.established_connection() else { return };
        let direction = up.direction;
        count_messages(&messages, &mut self.counters.sent);
        self.outputs.push_back(Output::Send(direction, messages));
        // RFC 4271 section 8.2.2: each UPDATE restarts the KeepaliveTimer.
        self.arm_keepalive(now, direction);
        self.arm_send_hold(now, direction);
    }

    /// The owner has written whole messages that the RIB encoded to the Established connection's socket by itself, the last
    /// of them `at`: as [`Session::send`], for nothing of them waits.
    pub fn handle_written(&mut self, at: Instant, counts: &[u64; 5]) {
        self.counters.sent.iter_mut().zip(counts).for_each(|(sent, more)| *sent += more);
        if let Some(direction) = self.established_connection().map(|one| one.direction) {
            self.arm_keepalive(at, direction);
        }
    }

    /// Asks the peer for all its routes of `family`; `false` if it cannot.
    pub fn request_refresh(&mut self, now: Instant, family: Family) -> bool {
        let can = self.established().is_some_and(|up| up.route_refresh && up.receive.families.contains(family));
        if can && let Some(context) = self.established().map(|up| up.send) {
            self.send(now, Message::RouteRefresh(RouteRefresh::Request(family)).encode(&context));
        }
        can
    }

    /// Whether a connection that the peer has just opened is welcome. Ask before [`Session::handle_connected`] with
    /// [`Direction::Incoming`]; if not, close the new connection and say nothing to the session.
    ///
    /// In Established, a second connection is refused (RFC 4271 section 6.8), unless the peer does graceful restart: then
    /// it is the peer back from a restart that this side has not noticed yet (RFC 4724 section 4.2).
    #[must_use]
    pub fn accepts_incoming(&self) -> bool {
        match self.established() {
            Some(up) => up.may_be_replaced(),
            // A peer has one connection of its own: a second one means that it has given up the first.
            None => self.started && (self.incoming.is_some() || self.outgoing.state != State::Idle),
        }
    }

    /// A TCP connection is up: ours, or one that the peer opened and the listener accepted. If there was one of the same
    /// direction, the new one has taken its place: the owner has dropped the old one, and no `Close` is said for it.
    pub fn handle_connected(&mut self, now: Instant, direction: Direction, local: IpAddr, remote: IpAddr) {
        match direction {
            Direction::Outgoing => self.outgoing_connected(now, local, remote),
            Direction::Incoming => self.incoming_connected(now, local, remote),
        }
        self.settle(now);
    }

    fn outgoing_connected(&mut self, now: Instant, local: IpAddr, remote: IpAddr) {
        if self.outgoing.transport == Transport::Up {
            self.supersede(now, Direction::Outgoing);
        }
        self.outgoing.attach(now, local, remote);
        self.raise(now, Direction::Outgoing, self.tcp_up(Event::TcpCrAcked), Detail::None);
    }

    fn incoming_connected(&mut self, now: Instant, local: IpAddr, remote: IpAddr) {
        let welcome = self.accepts_incoming();
        if self.incoming.is_some() {
            self.supersede(now, Direction::Incoming);
        }
        if !welcome {
            self.outputs.push_back(Output::Close(Direction::Incoming));
            return;
        }
        let mut connection = Connection::new(Direction::Incoming, State::Active);
        connection.attach(now, local, remote);
        self.incoming = Some(connection);
        self.raise(now, Direction::Incoming, self.tcp_up(Event::TcpConnectionConfirmed), Detail::None);
    }

    fn tcp_up(&self, event: Event) -> Event {
        if self.config.delay_open.is_some() { Event::TcpUpDelayOpen } else { event }
    }

    /// The owner has put a new connection in the place of this one.
    fn supersede(&mut self, now: Instant, direction: Direction) {
        if let Some(connection) = self.connection_mut(direction) {
            connection.transport = Transport::None;
        }
        let reason = "replaced by a new connection from the peer".to_owned();
        self.raise(now, direction, Event::TcpConnectionFails, Detail::Lost(reason));
    }

    /// Our connection could not be made.
    pub fn handle_connect_failed(&mut self, now: Instant, reason: String) {
        if self.outgoing.transport == Transport::Attempt {
            self.handle_closed(now, Direction::Outgoing, reason);
        }
    }

    /// A connection ended.
    pub fn handle_closed(&mut self, now: Instant, direction: Direction, reason: String) {
        let Some(connection) = self.connection_mut(direction) else { return };
        if connection.transport == Transport::None {
            return;
        }
        connection.transport = Transport::None;
        self.raise(now, direction, Event::TcpConnectionFails, Detail::Lost(reason));
        self.settle(now);
    }

    /// A peer that is looked for on its link was found, or is at another address now. What leads to where it was is closed, and a
    /// session that was started begins anew, so that nobody waits for a timer. One that is up stays.
    pub fn handle_found(&mut self, now: Instant) {
        if self.started && self.established().is_none() {
            self.stop(now, Stop::Silent);
            self.start(now);
        }
    }

    /// A peer that was found on its link is there no more: the owner has dropped both connections, and an attempt to open one.
    pub fn handle_lost(&mut self, now: Instant, reason: &str) {
        self.handle_closed(now, Direction::Outgoing, reason.to_owned());
        self.handle_closed(now, Direction::Incoming, reason.to_owned());
    }

    /// Bytes came. What is kept of them is less than one message.
    pub fn handle_bytes(&mut self, now: Instant, direction: Direction, bytes: &[u8]) {
        self.receive(now, direction, bytes);
        self.deliver();
        self.settle(now);
    }

    /// The connection's socket took bytes (at least one); `pending` are still queued for it. Feeds the send hold timer,
    /// which runs from the first [`Output::Send`] until nothing is pending.
    pub fn handle_sent(&mut self, now: Instant, pending: usize) {
        let Some(up) = self.established_connection_mut() else { return };
        let direction = up.direction;
        up.timers.clear(Timer::SendHold);
        if pending > 0 {
            self.arm_send_hold(now, direction);
        }
    }

    /// Bytes of the Established connection's peer wait unread, because its owner reads no further for now: the peer is
    /// alive, and its hold timer starts again. Nothing else changes.
    pub fn handle_unread(&mut self, now: Instant) {
        if let Some(direction) = self.established_connection().map(|one| one.direction) {
            self.arm_hold(now, direction);
        }
    }

    /// BFD has lost the path to the peer (RFC 5882 section 4.2), and says so in `reason`. An Established session ends at once:
    /// with Cease / BFD Down (RFC 9384); or, if routes may be kept and the peer said for how long, like one whose connection
    /// was lost, without a word that would make the peer drop ours (RFC 5882 section 4.3.2).
    pub fn handle_path_loss(&mut self, now: Instant, reason: String, may_keep_routes: bool) {
        let Some(up) = self.established_connection() else { return };
        let direction = up.direction;
        let lost = DownReason::ConnectionLost(reason.clone());
        let kept = may_keep_routes && self.established().is_some_and(|up| up.retain(&lost).is_some());
        if kept {
            self.raise(now, direction, Event::TcpConnectionFails, Detail::Lost(reason));
        } else {
            let cease = self.final_word(direction, Notification::cease(Cease::BfdDown));
            let detail = Detail::Fault(cease, Some(reason));
            self.raise(now, direction, Event::AutomaticStop, detail);
        }
        self.settle(now);
    }

    /// Changes the configuration without a reset: what an OPEN says is said by the next one. A send hold timer that runs
    /// goes on with its new time, from when the peer last took something.
    pub fn set_config(&mut self, config: SessionConfig) {
        let before = std::mem::replace(&mut self.config, config);
        self.change_send_hold(before.send_hold);
        let waits = self.outgoing.state == State::Active
            && self.outgoing.transport == Transport::None
            && !self.outgoing.timers.runs(Timer::ConnectRetry);
        if waits && !self.config.passive {
            // It was passive: its first attempt is due.
            self.outgoing.timers.set(Timer::ConnectRetry, Instant::START);
        }
    }

    /// Time has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        for direction in [Direction::Outgoing, Direction::Incoming] {
            // Whatever a timer starts is due later than `now`.
            while let Some(timer) = self.connection_mut(direction).and_then(|one| one.timers.expire(now)) {
                let event = match timer {
                    Timer::ConnectRetry => Event::ConnectRetryTimerExpires,
                    Timer::DelayOpen => Event::DelayOpenTimerExpires,
                    Timer::IdleHold => Event::IdleHoldTimerExpires,
                    Timer::Hold => Event::HoldTimerExpires,
                    Timer::Keepalive => Event::KeepaliveTimerExpires,
                    Timer::SendHold => Event::SendHoldTimerExpires,
                };
                self.raise(now, direction, event, Detail::None);
            }
        }
        self.settle(now);
    }

    /// When to call [`Session::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.connections().filter_map(|one| one.timers.next()).min()
    }

    /// What to do next.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The further of its connections' states.
    #[must_use]
    pub fn state(&self) -> State {
        self.connections().map(|one| one.state).max_by_key(|state| *state as u8).unwrap_or(State::Idle)
    }

    /// In how long our OPEN is sent at the latest, on a connection that waits for the peer's.
    #[must_use]
    pub fn open_in(&self, now: Instant) -> Option<Duration> {
        let due = self.connections().filter_map(|one| one.timers.due(Timer::DelayOpen)).min()?;
        Some(due.saturating_since(now))
    }

    /// For how long the peer has taken nothing of what waits for it, while something does and there is a send hold timer.
    #[must_use]
    pub fn untaken_for(&self, now: Instant) -> Option<Duration> {
        let up = self.established_connection()?;
        let time = up.send_hold(self.config.send_hold)?;
        Some(time.saturating_sub(up.timers.due(Timer::SendHold)?.saturating_since(now)))
    }

    /// What was agreed on, while Established.
    #[must_use]
    pub fn established(&self) -> Option<&Established> {
        self.established_connection()?.agreed.as_deref()
    }

    /// The OPENs of the session, while Established.
    #[must_use]
    pub fn opens(&self) -> Option<&Opens> {
        self.established_connection().map(|connection| &connection.opens)
    }

    /// What it was told before it started.
    #[must_use]
    pub fn config(&self) -> &SessionConfig {
        &self.config
    }

    /// Counters.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Why it last went down or failed to come up.
    #[must_use]
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// What the person at the other end said when the session was ended there (RFC 9003), until it is up again: later
    /// failures to connect say nothing about why.
    #[must_use]
    pub fn communication(&self) -> Option<&str> {
        self.communication.as_deref()
    }

    fn connections(&self) -> impl Iterator<Item = &Connection> {
        std::iter::once(&self.outgoing).chain(&self.incoming)
    }

    fn connection_mut(&mut self, direction: Direction) -> Option<&mut Connection> {
        match direction {
            Direction::Outgoing => Some(&mut self.outgoing),
            Direction::Incoming => self.incoming.as_mut(),
        }
    }

    fn established_connection(&self) -> Option<&Connection> {
        self.connections().find(|one| one.state == State::Established)
    }

    fn established_connection_mut(&mut self) -> Option<&mut Connection> {
        let direction = self.established_connection()?.direction;
        self.connection_mut(direction)
    }
}
