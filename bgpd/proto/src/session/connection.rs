//! One connection of a session: its state, its stream of bytes, its timers.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::{Direction, Established, Opens, SendHoldTime, State};
use crate::time::Instant;
use crate::timers::{Timer, Timers};

/// What there is of TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// Nothing.
    None,
    /// The owner is making a connection.
    Attempt,
    /// A connection.
    Up,
}

/// A connection with a state machine of its own (RFC 4271 section 8.2.1).
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) direction: Direction,
    pub(super) state: State,
    pub(super) transport: Transport,
    pub(super) local: IpAddr,
    pub(super) remote: IpAddr,
    /// What came of a message that is not whole yet.
    pub(super) begun: Vec<u8>,
    pub(super) timers: Timers,
    /// From OpenConfirm on.
    pub(super) agreed: Option<Box<Established>>,
    /// Our OPEN and the peer's, whole messages, once they were said.
    pub(super) opens: Opens,
    /// When our OPEN was sent; before that, when the TCP connection came up.
    pub(super) since: Instant,
}

impl Connection {
    /// Without TCP.
    pub(super) fn new(direction: Direction, state: State) -> Self {
        let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self {
            direction,
            state,
            transport: Transport::None,
            local: nowhere,
            remote: nowhere,
            begun: Vec::new(),
            timers: Timers::default(),
            agreed: None,
            opens: Opens::default(),
            since: Instant::START,
        }
    }

    /// TCP is up.
    pub(super) fn attach(&mut self, now: Instant, local: IpAddr, remote: IpAddr) {
        self.transport = Transport::Up;
        self.local = local;
        self.remote = remote;
        self.since = now;
    }

    /// TCP is gone: nothing of it stays.
    pub(super) fn detach(&mut self) {
        self.transport = Transport::None;
        self.begun = Vec::new();
        self.agreed = None;
        self.opens = Opens::default();
    }

    /// TCP is up, and our OPEN waits for the peer's (RFC 4271 section 8.1.1, DelayOpen).
    pub(super) fn delays_open(&self) -> bool {
        self.timers.runs(Timer::DelayOpen)
    }

    /// Seconds of the negotiated hold time; 0 where none runs.
    pub(super) fn hold_seconds(&self) -> u16 {
        self.agreed.as_ref().map_or(0, |agreed| agreed.hold_time.seconds())
    }

    /// How long the peer may take nothing of what waits for it, by what is configured (RFC 9687); `None`: for ever.
    pub(super) fn send_hold(&self, configured: SendHoldTime) -> Option<Duration> {
        configured.of(self.agreed.as_ref()?.hold_time)
    }
}
