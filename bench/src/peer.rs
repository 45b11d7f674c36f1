//! One peer of the daemon: a TCP connection, the little of BGP that keeps a session up, what is to be sent, what came.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};

use crate::message;
use crate::tally::Tally;
use crate::workload::Workload;

/// Between two KEEPALIVEs; far below the hold time.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(30);
/// Between two attempts to connect.
const RETRY_AFTER: Duration = Duration::from_millis(300);
/// How long a session may take until it is Established, before it is tried anew.
const UP_WITHIN: Duration = Duration::from_secs(5);

/// Who a peer is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    /// Its address.
    pub(crate) address: IpAddr,
    /// Its AS.
    pub(crate) asn: u32,
    /// Its router identifier.
    pub(crate) identifier: Ipv4Addr,
}

/// How far a session is.
#[derive(Debug)]
enum Session {
    /// No connection; the next attempt is due at this time.
    Down { retry: Instant },
    /// The connection is being made, since this time.
    Connecting { stream: TcpStream, since: Instant },
    /// OPEN is sent; the daemon's KEEPALIVE is awaited.
    Opening { stream: TcpStream, since: Instant },
    /// Established; a KEEPALIVE is due at this time.
    Up { stream: TcpStream, keepalive: Instant },
    /// No connection, and none will be made.
    Closed,
}

/// Why a session ended.
#[derive(Debug)]
pub(crate) struct Ended(pub(crate) String);

/// One peer.
#[derive(Debug)]
pub(crate) struct Peer {
    identity: Identity,
    session: Session,
    /// Octets of a message whose end has not come yet.
    partial: Vec<u8>,
    outbound: VecDeque<Arc<[u8]>>,
    /// Octets of the first of `outbound` that are sent.
    sent: usize,
    /// The account of a receiver; a peer without one throws away what it hears.
    pub(crate) tally: Option<Tally>,
    /// When the last UPDATE with a prefix came, or any UPDATE for one without an account.
    pub(crate) last_update: Option<Instant>,
}

impl Peer {
    /// A peer that will connect as `identity`.
    pub(crate) fn new(identity: Identity, tally: Option<Tally>) -> Self {
        Self {
            identity,
            session: Session::Down { retry: Instant::now() },
            partial: Vec::new(),
            outbound: VecDeque::new(),
            sent: 0,
            tally,
            last_update: None,
        }
    }

    /// Whether the session is Established.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.session, Session::Up { .. })
    }

    /// Whether there is no connection, nor an attempt at one.
    pub(crate) fn is_down(&self) -> bool {
        matches!(self.session, Session::Down { .. })
    }

    /// Whether there is an attempt, but no session yet.
    pub(crate) fn is_connecting(&self) -> bool {
        matches!(self.session, Session::Connecting { .. } | Session::Opening { .. })
    }

    /// Whether nothing waits to be sent.
    pub(crate) fn has_sent_all(&self) -> bool {
        self.outbound.is_empty()
    }

    /// Sends `bytes`, which are whole messages, behind what waits already.
    pub(crate) fn send(&mut self, bytes: Arc<[u8]>) -> Result<(), Ended> {
        self.outbound.push_back(bytes);
        self.flush()
    }

    /// Does what is due: connects, gives up an attempt that takes too long, sends a KEEPALIVE.
    pub(crate) fn tick(
        &mut self,
        now: Instant,
        daemon: IpAddr,
        registry: &Registry,
        token: Token,
    ) -> Result<(), Ended> {
        match &mut self.session {
            Session::Down { retry } if *retry <= now => match self.connect(daemon, registry, token) {
                Ok(stream) => self.session = Session::Connecting { stream, since: now },
                Err(error) => return Err(Ended(format!("no socket for it: {error}"))),
            },
            Session::Connecting { since, .. } | Session::Opening { since, .. } if now - *since > UP_WITHIN => {
                self.go_down()
            }
            Session::Up { keepalive, .. } if *keepalive <= now => {
                *keepalive = now + KEEPALIVE_EVERY;
                return self.send(message::keepalive().into());
            }
            Session::Down { .. }
            | Session::Connecting { .. }
            | Session::Opening { .. }
            | Session::Up { .. }
            | Session::Closed => {}
        }
        Ok(())
    }

    fn connect(&self, daemon: IpAddr, registry: &Registry, token: Token) -> io::Result<TcpStream> {
        let own = SocketAddr::new(self.identity.address, 0);
        let socket = Socket::new(Domain::for_address(own), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        socket.bind(&own.into())?;
        match socket.connect(&SocketAddr::new(daemon, 179).into()) {
            Err(error) if error.raw_os_error() != Some(nix::libc::EINPROGRESS) => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut stream = TcpStream::from_std(socket.into());
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(stream)
    }

    /// The session is gone, and with it what waited: before the start nothing else can wait, and after it that is the end.
    fn go_down(&mut self) {
        self.session = Session::Down { retry: Instant::now() + RETRY_AFTER };
        self.partial.clear();
        self.outbound.clear();
        self.sent = 0;
    }

    /// Closes the connection; there will be no other.
    pub(crate) fn close(&mut self) {
        self.go_down();
        self.session = Session::Closed;
    }

    /// The socket can be written to.
    pub(crate) fn writable(&mut self) -> Result<(), Ended> {
        if let Session::Connecting { stream, .. } = &self.session {
            match stream.take_error().and_then(|error| error.map_or_else(|| stream.peer_addr().map(drop), Err)) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(()),
                Err(_) => {
                    self.go_down();
                    return Ok(()); // it does not listen yet
                }
            }
            let down = Session::Down { retry: Instant::now() };
            if let Session::Connecting { stream, since } = std::mem::replace(&mut self.session, down) {
                self.session = Session::Opening { stream, since };
            }
            let Identity { address, asn, identifier } = self.identity;
            return self.send(message::open(asn, identifier, address.is_ipv6()).into());
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Ended> {
        let (Session::Opening { stream, .. } | Session::Up { stream, .. }) = &mut self.session else { return Ok(()) };
        while let Some(first) = self.outbound.front() {
            match stream.write(&first[self.sent..]) {
                Ok(octets) => self.sent += octets,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return self.end(format!("it cannot be written to: {error}")),
            }
            if self.sent == first.len() {
                self.sent = 0;
                self.outbound.pop_front();
            }
        }
        Ok(())
    }

    /// The socket can be read. `buffer` is room that all peers share, larger than any message.
    pub(crate) fn readable(&mut self, workload: &Workload, buffer: &mut [u8]) -> Result<(), Ended> {
        loop {
            let (Session::Opening { stream, .. } | Session::Up { stream, .. }) = &mut self.session else {
                return Ok(());
            };
            let kept = self.partial.len();
            buffer[..kept].copy_from_slice(&self.partial);
            let filled = match stream.read(&mut buffer[kept..]) {
                Ok(0) => return self.end("the daemon closed it".to_owned()),
                Ok(octets) => kept + octets,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return self.end(format!("it cannot be read from: {error}")),
            };
            let mut rest = &buffer[..filled];
            loop {
                match message::next(rest) {
                    Ok(Some(frame)) => {
                        self.heard(frame.kind, frame.body, workload)?;
                        rest = frame.rest;
                    }
                    Ok(None) => break,
                    Err(length) => return self.end(format!("a message of {} octets came", length.0)),
                }
            }
            self.partial.clear();
            self.partial.extend_from_slice(rest);
        }
    }

    fn heard(&mut self, kind: u8, body: &[u8], workload: &Workload) -> Result<(), Ended> {
        match kind {
            message::OPEN => self.send(message::keepalive().into()),
            message::KEEPALIVE => {
                let down = Session::Down { retry: Instant::now() };
                self.session = match std::mem::replace(&mut self.session, down) {
                    Session::Opening { stream, .. } => {
                        Session::Up { stream, keepalive: Instant::now() + KEEPALIVE_EVERY }
                    }
                    other @ (Session::Down { .. }
                    | Session::Connecting { .. }
                    | Session::Up { .. }
                    | Session::Closed) => other,
                };
                Ok(())
            }
            message::UPDATE => {
                let now = Instant::now();
                let counts = match &mut self.tally {
                    None => true,
                    Some(tally) => match tally.book(workload, body, now) {
                        Ok(counts) => counts,
                        Err(wrong) => return self.end(format!("{} came", wrong.0)),
                    },
                };
                if counts {
                    self.last_update = Some(now);
                }
                Ok(())
            }
            message::NOTIFICATION => self.end(format!("NOTIFICATION {:?} came", body.get(..2).unwrap_or(body))),
            other => self.end(format!("a message of type {other} came")),
        }
    }

    fn end(&mut self, why: String) -> Result<(), Ended> {
        self.go_down();
        Err(Ended(why))
    }
}
