//! Two sessions and the network between them.

use std::collections::VecDeque;

use super::super::*;

/// Which of the two: A has the lower router id.
pub(super) const A: usize = 0;
pub(super) const B: usize = 1;

pub(super) const KEEPALIVE: u8 = 4;

/// An UPDATE without routes: End-of-RIB of IPv4 unicast (RFC 4724 section 2).
pub(super) const END_OF_RIB: [u8; 23] = {
    let mut message = [0xff; 23];
    (message[16], message[17], message[18]) = (0, 23, 2);
    (message[19], message[20], message[21], message[22]) = (0, 0, 0, 0);
    message
};

/// A TCP connection, by who opened it: one end's Outgoing is the other's Incoming.
#[derive(Debug, Default)]
struct Tcp {
    up: bool,
    /// Bytes on their way to each side; `None` is the end of the stream.
    on_the_way: [VecDeque<Option<Bytes>>; 2],
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
}

pub(super) fn config(side: usize) -> SessionConfig {
    let asn = |side| Asn(if side == A { 64512 } else { 65001 });
    SessionConfig {
        local_as: asn(side),
        router_id: RouterId([192, 0, 2, 1 + side as u8].into()),
        remote_as: RemoteAs::Exactly(asn(1 - side)),
        families: Family::ALL.into_iter().collect(),
        hold_time: HoldTime::default(),
        connect_retry: Duration::from_secs(5),
        passive: false,
        send_hold: None,
        graceful_restart: None,
    }
}

pub(super) fn with_restart(side: usize) -> SessionConfig {
    SessionConfig { graceful_restart: Some(LocalRestart { seconds: 60, restarted: false }), ..config(side) }
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

    /// A connection that `from` opens, without its session's doing: its machine stays as it is.
    pub(super) fn raw_connection(&mut self, from: usize) -> bool {
        let to = 1 - from;
        let accepted = self.sessions[to].accepts_incoming();
        if accepted {
            self.tcp[from] = Tcp { up: true, ..Tcp::default() };
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
        self.tcp[opened_by].up = false;
        for side in [A, B] {
            self.closed(side, opened_by, "connection reset");
        }
    }

    fn closed(&mut self, side: usize, opened_by: usize, reason: &str) {
        self.tcp[opened_by].on_the_way[side].clear();
        self.sessions[side].handle_closed(self.now, direction(side, opened_by), reason.to_owned());
        self.take(side);
    }

    /// Takes what a session said into the network.
    pub(super) fn take(&mut self, side: usize) {
        while let Some(output) = self.sessions[side].poll() {
            match output {
                Output::Connect => self.attempts[side] = true,
                Output::Close(direction) => {
                    if direction == Direction::Outgoing {
                        self.attempts[side] = false;
                    }
                    let opened_by = opened_by(side, direction);
                    if self.tcp[opened_by].up {
                        self.tcp[opened_by].on_the_way[side].clear();
                        self.tcp[opened_by].on_the_way[1 - side].push_back(None);
                    }
                }
                Output::Send(direction, bytes) => {
                    let mut rest = &bytes[..];
                    while let Some(header) = rest.first_chunk::<19>() {
                        self.sent[side].push((self.now, header[18]));
                        rest = &rest[usize::from(u16::from_be_bytes([header[16], header[17]]))..];
                    }
                    let tcp = &mut self.tcp[opened_by(side, direction)];
                    assert!(tcp.up, "bytes for a connection that is not there");
                    tcp.on_the_way[1 - side].push_back(Some(bytes));
                }
                other => self.said[side].push(other),
            }
        }
    }

    /// Moves one thing, in a fixed order; `false` if nothing is on its way.
    fn step(&mut self) -> bool {
        if self.partition {
            return false;
        }
        for side in [A, B] {
            if std::mem::take(&mut self.attempts[side]) {
                self.connect(side);
                return true;
            }
        }
        for opened_by in [A, B] {
            for side in [A, B] {
                match self.tcp[opened_by].on_the_way[side].pop_front() {
                    Some(Some(mut bytes)) => {
                        let piece = bytes.split_to(self.segment.min(bytes.len()));
                        if !bytes.is_empty() {
                            self.tcp[opened_by].on_the_way[side].push_front(Some(bytes));
                        }
                        self.sessions[side].handle_bytes(self.now, direction(side, opened_by), &piece);
                        self.take(side);
                        self.sessions[side].handle_sent(self.now, 0);
                        self.sessions[1 - side].handle_sent(self.now, 0);
                        return true;
                    }
                    Some(None) => {
                        self.tcp[opened_by].up = false;
                        self.closed(side, opened_by, "peer closed the connection");
                        return true;
                    }
                    None => {}
                }
            }
        }
        false
    }

    fn connect(&mut self, from: usize) {
        let to = 1 - from;
        if !self.listening[to] {
            self.sessions[from].handle_connect_failed(self.now, "connection refused".to_owned());
            return self.take(from);
        }
        self.tcp[from] = Tcp { up: true, ..Tcp::default() };
        self.sessions[from].handle_connected(self.now, Direction::Outgoing, address(from), address(to));
        self.take(from);
        if !self.sessions[to].accepts_incoming() {
            self.tcp[from].on_the_way[from].push_back(None);
            return;
        }
        if self.tcp[from].on_the_way[to].front() == Some(&None) {
            return; // Closed again before the other side saw it.
        }
        self.sessions[to].handle_connected(self.now, Direction::Incoming, address(to), address(from));
        self.take(to);
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
