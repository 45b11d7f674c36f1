//! Two sessions and the network between them.

use std::collections::VecDeque;

use super::super::*;
use crate::types::{Asn, RouterId};
use crate::wire::UpdateContext;

/// Which of the two: A has the lower router id.
pub(super) const A: usize = 0;
pub(super) const B: usize = 1;

pub(super) const OPEN: u8 = 1;
pub(super) const NOTIFICATION: u8 = 3;
pub(super) const KEEPALIVE: u8 = 4;

/// An UPDATE without routes: End-of-RIB of IPv4 unicast (RFC 4724 section 2).
pub(super) const END_OF_RIB: [u8; 23] = {
    let mut message = [0xff; 23];
    (message[16], message[17], message[18]) = (0, 23, 2);
    (message[19], message[20], message[21], message[22]) = (0, 0, 0, 0);
    message
};

/// What is on its way to one end of a TCP connection.
#[derive(Debug)]
enum Item {
    /// Its own attempt has succeeded.
    Connected,
    /// The other end's connection waits in the listener.
    Accept,
    Bytes(Bytes),
    End,
}

/// A TCP connection, by who opened it: one end's Outgoing is the other's Incoming.
#[derive(Debug, Default)]
struct Tcp {
    /// Whether each side may still send.
    open: [bool; 2],
    on_the_way: [VecDeque<(u64, Item)>; 2],
}

pub(super) struct Pair {
    pub(super) now: Instant,
    pub(super) sessions: [Session; 2],
    /// What each session said, but for what the network takes.
    pub(super) said: [Vec<Output>; 2],
    /// Every message that each side sent: its type and when.
    pub(super) sent: [Vec<(Instant, u8)>; 2],
    tcp: [Tcp; 2],
    /// Connection attempts under way, by who makes them.
    attempts: [bool; 2],
    /// Whether each side's listener is there.
    pub(super) listening: [bool; 2],
    /// Bytes move in pieces of this many.
    pub(super) segment: usize,
    /// Nothing moves.
    pub(super) partition: bool,
    /// With a seed, things that are on their way move in an order of its making; without, the oldest first.
    pub(super) shuffle: Option<u64>,
    /// How many things have been sent on their way.
    sequence: u64,
}

pub(super) fn config(side: usize) -> SessionConfig {
    let asn = |side| Asn(if side == A { 64512 } else { 65001 });
    let router_id = RouterId([192, 0, 2, 1 + side as u8].into());
    SessionConfig::new(asn(side), router_id, RemoteAs::Exactly(asn(1 - side)))
}

pub(super) fn with_restart(side: usize) -> SessionConfig {
    SessionConfig {
        graceful_restart: Some(LocalRestart {
            seconds: 60,
            restarted: false,
            off_path: false,
            notification: false,
            long_lived_seconds: 0,
        }),
        ..config(side)
    }
}

/// With routes kept across NOTIFICATIONs (RFC 8538).
pub(super) fn with_notification(side: usize) -> SessionConfig {
    let graceful_restart = with_restart(side).graceful_restart;
    let graceful_restart = graceful_restart.map(|restart| LocalRestart { notification: true, ..restart });
    SessionConfig { graceful_restart, ..config(side) }
}

pub(super) fn address(side: usize) -> IpAddr {
    IpAddr::from([10, 0, 0, 1 + side as u8])
}

impl Pair {
    pub(super) fn new(a: SessionConfig, b: SessionConfig) -> Self {
        Self {
            now: Instant::START + Duration::from_secs(1000),
            sessions: [Session::new(a, 1), Session::new(b, 2)],
            said: Default::default(),
            sent: Default::default(),
            tcp: Default::default(),
            attempts: [false; 2],
            listening: [true; 2],
            segment: usize::MAX,
            partition: false,
            shuffle: None,
            sequence: 0,
        }
    }

    /// Both started and run until both are Established.
    pub(super) fn established(a: SessionConfig, b: SessionConfig) -> Self {
        let mut pair = Self::new(a, b);
        pair.start(A);
        pair.start(B);
        pair.run_until("both Established", |pair| pair.states() == [State::Established; 2]);
        pair
    }

    pub(super) fn start(&mut self, side: usize) {
        self.sessions[side].start(self.now);
        self.take(side);
    }

    pub(super) fn stop(&mut self, side: usize, how: Stop) {
        self.sessions[side].stop(self.now, how);
        self.take(side);
    }

    pub(super) fn lose_path(&mut self, side: usize, reason: &str, may_keep_routes: bool) {
        self.sessions[side].handle_path_loss(self.now, reason.to_owned(), may_keep_routes);
        self.take(side);
    }

    pub(super) fn states(&self) -> [State; 2] {
        [self.sessions[A].state(), self.sessions[B].state()]
    }

    pub(super) fn downs(&self, side: usize) -> Vec<DownReason> {
        let down = |output: &Output| if let Output::Down(reason) = output { Some(reason.clone()) } else { None };
        self.said[side].iter().filter_map(down).collect()
    }

    pub(super) fn ups(&self, side: usize) -> Vec<Established> {
        let up = |output: &Output| if let Output::Up(up) = output { Some((**up).clone()) } else { None };
        self.said[side].iter().filter_map(up).collect()
    }

    /// How many messages of a type a side has sent.
    pub(super) fn sent(&self, side: usize, kind: u8) -> usize {
        self.sent[side].iter().filter(|(_, sent)| *sent == kind).count()
    }

    /// A connection that `from` opens without its session's doing; whether the other side takes it.
    pub(super) fn raw_connection(&mut self, from: usize) -> bool {
        let to = 1 - from;
        let accepted = self.sessions[to].accepts_incoming();
        if accepted {
            self.tcp[from] = Tcp { open: [true; 2], ..Tcp::default() };
            self.sessions[to].handle_connected(self.now, Direction::Incoming, address(to), address(from));
            self.take(to);
        }
        accepted
    }

    /// Bytes from nowhere, on a connection of `to`.
    pub(super) fn inject(&mut self, to: usize, direction: Direction, bytes: &[u8]) {
        self.sessions[to].handle_bytes(self.now, direction, bytes);
        self.take(to);
    }

    /// A connection is cut: both sides learn of it.
    pub(super) fn cut(&mut self, opened_by: usize) {
        for side in [A, B] {
            self.closed(side, opened_by, "connection reset");
        }
    }

    fn closed(&mut self, side: usize, opened_by: usize, reason: &str) {
        self.tcp[opened_by].open[side] = false;
        self.sessions[side].handle_closed(self.now, direction(side, opened_by), reason.to_owned());
        self.take(side);
    }

    /// Takes what a session said into the network.
    pub(super) fn take(&mut self, side: usize) {
        while let Some(output) = self.sessions[side].poll() {
            match output {
                Output::Connect => self.attempts[side] = true,
                Output::Close(direction) => {
                    let opened_by = opened_by(side, direction);
                    if direction == Direction::Outgoing {
                        self.attempts[side] = false;
                    }
                    self.tcp[opened_by].on_the_way[side].clear();
                    if std::mem::take(&mut self.tcp[opened_by].open[side]) {
                        self.put(opened_by, 1 - side, Item::End);
                    }
                }
                Output::Send(direction, bytes) => {
                    let mut rest = &bytes[..];
                    while let Some(header) = rest.first_chunk::<19>() {
                        self.sent[side].push((self.now, header[18]));
                        rest = &rest[usize::from(u16::from_be_bytes([header[16], header[17]]))..];
                    }
                    let opened_by = opened_by(side, direction);
                    if self.tcp[opened_by].open[side] {
                        self.put(opened_by, 1 - side, Item::Bytes(bytes));
                    }
                }
                other => self.said[side].push(other),
            }
        }
    }

    fn put(&mut self, opened_by: usize, to: usize, item: Item) {
        self.sequence += 1;
        self.tcp[opened_by].on_the_way[to].push_back((self.sequence, item));
    }

    /// Moves one thing; `false` if nothing is on its way.
    pub(super) fn step(&mut self) -> bool {
        // When it was sent on its way, whom it is for, and by which connection (none for an attempt).
        let attempts = [A, B].into_iter().filter(|side| self.attempts[*side]).map(|side| (0, side, None));
        let items = [(A, A), (A, B), (B, A), (B, B)].into_iter().filter_map(|(opened_by, side)| {
            let (sequence, _) = self.tcp[opened_by].on_the_way[side].front()?;
            Some((*sequence, side, Some(opened_by)))
        });
        let mut ready: Vec<_> = attempts.chain(items).collect();
        ready.sort_unstable();
        if self.partition || ready.is_empty() {
            return false;
        }
        let chosen = self.shuffle.as_mut().map_or(0, |seed| {
            // The linear congruential generator of Knuth, TAOCP volume 2, section 3.3.4.
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (*seed >> 33) as usize % ready.len()
        });
        match ready[chosen] {
            (_, side, None) => self.connect(side),
            (_, side, Some(opened_by)) => self.arrive(side, opened_by),
        }
        true
    }

    fn connect(&mut self, from: usize) {
        self.attempts[from] = false;
        if !self.listening[1 - from] {
            self.sessions[from].handle_connect_failed(self.now, "connection refused".to_owned());
            return self.take(from);
        }
        self.tcp[from].open = [true; 2];
        // What the other side has not read of an earlier connection, it reads first.
        self.tcp[from].on_the_way[from].clear();
        self.put(from, from, Item::Connected);
        self.put(from, 1 - from, Item::Accept);
    }

    fn arrive(&mut self, side: usize, opened_by: usize) {
        let direction = direction(side, opened_by);
        let (local, remote) = (address(side), address(1 - side));
        let Some((sequence, item)) = self.tcp[opened_by].on_the_way[side].pop_front() else { return };
        match item {
            Item::Accept if !self.sessions[side].accepts_incoming() => {
                self.tcp[opened_by].open[side] = false;
                self.put(opened_by, 1 - side, Item::End);
            }
            Item::Connected | Item::Accept => {
                self.sessions[side].handle_connected(self.now, direction, local, remote);
            }
            Item::Bytes(mut bytes) => {
                let piece = bytes.split_to(self.segment.min(bytes.len()));
                if !bytes.is_empty() {
                    self.tcp[opened_by].on_the_way[side].push_front((sequence, Item::Bytes(bytes)));
                }
                self.sessions[side].handle_bytes(self.now, direction, &piece);
                self.sessions[1 - side].handle_sent(self.now, 0);
            }
            Item::End => return self.closed(side, opened_by, "peer closed the connection"),
        }
        self.take(side);
    }

    /// Moves everything that is on its way.
    pub(super) fn settle(&mut self) {
        let mut steps = 0;
        while self.step() {
            steps += 1;
            assert!(steps < 1_000_000, "the two never come to rest");
        }
    }

    /// Lets time go on, timer by timer.
    pub(super) fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        self.settle();
        while let Some(next) = self.next_timeout().filter(|next| *next <= end) {
            self.fire(next);
        }
        self.now = end;
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.sessions.iter().filter_map(Session::poll_timeout).min()
    }

    fn fire(&mut self, at: Instant) {
        self.now = self.now.max(at);
        for side in [A, B] {
            if self.sessions[side].poll_timeout().is_some_and(|due| due <= self.now) {
                self.sessions[side].handle_timeout(self.now);
                self.take(side);
            }
        }
        self.settle();
    }

    /// Lets time go on until `condition` holds, an hour at most.
    pub(super) fn run_until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        let end = self.now + Duration::from_secs(3600);
        self.settle();
        while !condition(self) {
            let next = self.next_timeout().filter(|next| *next <= end);
            let errors = [self.sessions[A].last_error(), self.sessions[B].last_error()];
            let Some(next) = next else { panic!("never {what}: {:?}, {errors:?}", self.states()) };
            self.fire(next);
        }
    }
}

/// A side's name for the connection that `opened_by` opened.
fn direction(side: usize, opened_by: usize) -> Direction {
    if side == opened_by { Direction::Outgoing } else { Direction::Incoming }
}

/// Who opened a side's connection.
fn opened_by(side: usize, direction: Direction) -> usize {
    match direction {
        Direction::Outgoing => side,
        Direction::Incoming => 1 - side,
    }
}

/// A side's OPEN.
pub(super) fn open(config: &SessionConfig) -> Bytes {
    Message::Open(negotiate::local_open(config, false)).encode(&UpdateContext::before_open())
}

pub(super) fn keepalive() -> Bytes {
    Message::Keepalive.encode(&UpdateContext::before_open())
}
