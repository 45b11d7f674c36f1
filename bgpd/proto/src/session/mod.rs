//! One peer's session: framing, parsing, the state machine, timers, encoding. A value without I/O.
//!
//! Its methods come in four sorts. Commands ([`Session::start`], [`Session::stop`], [`Session::send`]) say what the owner
//! wants. `handle_*` tell it what happened outside. [`Session::poll`] says what to do: call it until it gives `None` after
//! every command and every `handle_*`. [`Session::poll_timeout`] says when to call [`Session::handle_timeout`] next; ask
//! again after every call. The rest are getters.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;

use crate::time::Instant;
use crate::types::{Asn, Family, FamilySet, HoldTime, RouterId};
use crate::wire::{Notification, Update, UpdateContext};

/// Which AS the peer may be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteAs {
    /// This one.
    Exactly(Asn),
    /// The same as ours.
    Internal,
    /// Any but ours.
    External,
}

/// What a session is told before it starts. Of these, what its OPEN says changes only with a reset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// Our AS towards this peer.
    pub local_as: Asn,
    /// Our BGP Identifier.
    pub router_id: RouterId,
    /// The peer's AS.
    pub remote_as: RemoteAs,
    /// Families to announce.
    pub families: FamilySet,
    /// What we propose.
    pub hold_time: HoldTime,
    /// RFC 4271 section 10 suggests 120 s; a node that must be up soon wants 5.
    pub connect_retry: Duration,
    /// Never open a connection, only accept one.
    pub passive: bool,
    /// How long the peer may take nothing of what is queued for it (RFC 9687). `None`: what that RFC recommends, 8 minutes
    /// or twice the negotiated hold time if that is longer.
    pub send_hold: Option<Duration>,
    /// Announce RFC 4724; `None` to leave the capability out.
    pub graceful_restart: Option<LocalRestart>,
}

/// What our Graceful Restart capability says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalRestart {
    /// Seconds to ask the peer to wait for us, 1 to 4095.
    pub seconds: u16,
    /// R, and F for every family: this speaker has just restarted and its kernel forwarded on.
    pub restarted: bool,
}

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

/// What both sides agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Established {
    /// Which connection carries the session.
    pub direction: Direction,
    /// The peer's AS.
    pub remote_as: Asn,
    /// The peer's BGP Identifier.
    pub remote_id: RouterId,
    /// The smaller of both proposals.
    pub hold_time: HoldTime,
    /// How UPDATEs from the peer read.
    pub receive: UpdateContext,
    /// How UPDATEs to the peer are built.
    pub send: UpdateContext,
    /// The peer takes ROUTE-REFRESH.
    pub route_refresh: bool,
    /// The peer's graceful restart capability; `None` also when we sent none.
    pub graceful_restart: Option<crate::wire::capability::GracefulRestart>,
    /// Our end of the connection.
    pub local_address: IpAddr,
    /// The peer's end.
    pub remote_address: IpAddr,
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

impl Established {
    /// How long to keep the peer's routes as stale after a session that ended like this (RFC 4724 section 4.2): what
    /// [`crate::rib::Rib::handle_down`] asks for.
    #[must_use]
    pub fn retain(&self, reason: &DownReason) -> Option<Duration> {
        let restart = self.graceful_restart.as_ref()?;
        let kept = reason.allows_graceful_restart() && restart.restart_seconds > 0 && !restart.families.is_empty();
        kept.then(|| Duration::from_secs(u64::from(restart.restart_seconds)))
    }
}

impl DownReason {
    /// Whether RFC 4724 section 4.2 lets the peer's routes be kept for its restart time.
    #[must_use]
    pub fn allows_graceful_restart(&self) -> bool {
        matches!(self, Self::ConnectionLost(_) | Self::Stopped { silent: true })
    }
}

/// How the owner ends a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Send this Cease and stay in Idle until [`Session::start`].
    Cease(Notification),
    /// Send this Cease and start again after the idle hold time.
    Reset(Notification),
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
    /// What one call of `handle_bytes` brought, as one batch.
    Updates(Vec<Update>),
    /// The peer asks for all routes of this family (RFC 2918).
    Refresh(Family),
}

/// Counters of a session since its owner made it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages received, by type: OPEN, UPDATE, NOTIFICATION, KEEPALIVE, ROUTE-REFRESH.
    pub received: [u64; 5],
    /// Messages sent, likewise.
    pub sent: [u64; 5],
    /// Times the session came up.
    pub established: u64,
    /// Attributes that RFC 7606 discarded.
    pub attributes_discarded: u64,
    /// UPDATEs that RFC 7606 treated as withdraw.
    pub treated_as_withdraw: u64,
}

/// One peer's session.
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
}

impl Session {
    /// A session in Idle. `seed` feeds the jitter of its timers (RFC 4271 section 10).
    #[must_use]
    pub fn new(config: SessionConfig, seed: u64) -> Self {
        let _ = seed;
        Self { config }
    }

    /// ManualStart or ManualStart_with_PassiveTcpEstablishment.
    pub fn start(&mut self, now: Instant) {
        let _ = (now, &self.config);
        todo!("S")
    }

    /// Ends the session.
    pub fn stop(&mut self, now: Instant, how: Stop) {
        let _ = (now, how);
        todo!("S")
    }

    /// Queues whole messages that the RIB encoded. Dropped when the session is not Established.
    pub fn send(&mut self, now: Instant, messages: Bytes) {
        let _ = (now, messages);
        todo!("S")
    }

    /// Asks the peer for all its routes of `family`; `false` if it cannot.
    pub fn request_refresh(&mut self, now: Instant, family: Family) -> bool {
        let _ = (now, family);
        todo!("S")
    }

    /// Whether a connection that the peer has just opened is welcome. Ask before [`Session::handle_connected`] with
    /// [`Direction::Incoming`]; if not, close the new connection and say nothing to the session.
    #[must_use]
    pub fn accepts_incoming(&self) -> bool {
        todo!("S")
    }

    /// A TCP connection is up: ours, or one that the peer opened and the listener accepted. If there was one of the same
    /// direction, the new one has taken its place: the owner has dropped the old one, and no `Close` is said for it.
    pub fn handle_connected(&mut self, now: Instant, direction: Direction, local: IpAddr, remote: IpAddr) {
        let _ = (now, direction, local, remote);
        todo!("S")
    }

    /// Our connection could not be made.
    pub fn handle_connect_failed(&mut self, now: Instant, reason: String) {
        let _ = (now, reason);
        todo!("S")
    }

    /// A connection ended.
    pub fn handle_closed(&mut self, now: Instant, direction: Direction, reason: String) {
        let _ = (now, direction, reason);
        todo!("S")
    }

    /// Bytes came.
    pub fn handle_bytes(&mut self, now: Instant, direction: Direction, bytes: &[u8]) {
        let _ = (now, direction, bytes);
        todo!("S")
    }

    /// The connection's socket took bytes (at least one); `pending` are still queued for it. Feeds the send hold timer,
    /// which runs from the first [`Output::Send`] until nothing is pending.
    pub fn handle_sent(&mut self, now: Instant, pending: usize) {
        let _ = (now, pending);
        todo!("S")
    }

    /// Bytes of the Established connection's peer wait unread, because its owner reads no further for now: the peer is
    /// alive, and its hold timer starts again. Nothing else changes.
    pub fn handle_unread(&mut self, now: Instant) {
        let _ = now;
        todo!("S")
    }

    /// Changes the configuration without a reset: what an OPEN says is said by the next one.
    pub fn set_config(&mut self, config: SessionConfig) {
        self.config = config;
    }

    /// Time has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
        todo!("S")
    }

    /// When to call [`Session::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        todo!("S")
    }

    /// What to do next.
    pub fn poll(&mut self) -> Option<Output> {
        todo!("S")
    }

    /// The further of its connections' states.
    #[must_use]
    pub fn state(&self) -> State {
        todo!("S")
    }

    /// What was agreed on, while Established.
    #[must_use]
    pub fn established(&self) -> Option<&Established> {
        todo!("S")
    }

    /// Counters.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        todo!("S")
    }

    /// Why it last went down or failed to come up.
    #[must_use]
    pub fn last_error(&self) -> Option<&str> {
        todo!("S")
    }
}
