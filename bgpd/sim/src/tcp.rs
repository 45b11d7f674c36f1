//! A TCP connection: two ordered streams of bytes, each with a queue at its sender, a wire, and what waits to be read.

use std::collections::VecDeque;
use std::net::Ipv6Addr;

use bgp_proto::session::Direction;
use bgp_proto::time::Instant;
use bytes::{Bytes, BytesMut};

/// Which connection. Numbers are not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConnectionId(pub(crate) u64);

/// How one end of a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Its SYN is on its way.
    Opening,
    /// Nobody has accepted it yet.
    Waiting,
    /// A session has it.
    Open,
    /// The session is done with it; what is queued still leaves, and then a FIN.
    Closing,
    /// Nobody knows of it. What arrives is answered with RST.
    Gone,
}

/// What travels.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    Syn,
    SynAck,
    /// The end of the handshake.
    Ack,
    Bytes(Bytes),
    Fin,
    Rst,
    /// The reader has taken so many octets: room in the window.
    Taken(usize),
}

/// What has arrived and was not read.
#[derive(Clone, Debug)]
pub(crate) enum Unread {
    Bytes(Bytes),
    Fin,
}

/// One direction.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    queue: VecDeque<Bytes>,
    /// Octets in the queue.
    pub(crate) queued: usize,
    /// Octets that left the queue and were not read.
    pub(crate) flight: usize,
    /// In order, with the time of arrival.
    pub(crate) wire: VecDeque<(Instant, Item)>,
    /// When the last item arrives: nothing overtakes it.
    pub(crate) last: Instant,
    pub(crate) unread: VecDeque<Unread>,
    /// A read is scheduled.
    pub(crate) read_due: bool,
}

impl Pipe {
    pub(crate) fn push(&mut self, bytes: Bytes) {
        self.queued += bytes.len();
        self.queue.push_back(bytes);
    }

    /// Takes the first `octets` off the queue, wherever messages begin and end.
    pub(crate) fn take(&mut self, octets: usize) -> Bytes {
        let mut taken = BytesMut::with_capacity(octets);
        while taken.len() < octets {
            let Some(mut first) = self.queue.pop_front() else { break };
            let part = first.split_to(first.len().min(octets - taken.len()));
            taken.extend_from_slice(&part);
            if !first.is_empty() {
                self.queue.push_front(first);
            }
        }
        self.queued -= taken.len();
        taken.freeze()
    }

    pub(crate) fn forget_queue(&mut self) {
        self.queue.clear();
        self.queued = 0;
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) link: usize,
    /// Which side of the link opened it.
    pub(crate) opener: usize,
    /// By side: the addresses that it was opened between, on a link on which they come and go.
    pub(crate) between: Option<[Ipv6Addr; 2]>,
    /// By side.
    pub(crate) ends: [End; 2],
    /// By the side that sends.
    pub(crate) pipes: [Pipe; 2],
}

impl Connection {
    pub(crate) fn opening(link: usize, opener: usize, between: Option<[Ipv6Addr; 2]>) -> Self {
        let mut ends = [End::Waiting; 2];
        ends[opener] = End::Opening;
        Self { link, opener, between, ends, pipes: Default::default() }
    }

    /// As [`Connection::opening`], by somebody at this side of the link who is not the neighbour and forgets it at once.
    pub(crate) fn strangers(link: usize, opener: usize, between: [Ipv6Addr; 2]) -> Self {
        let mut ends = [End::Waiting; 2];
        ends[opener] = End::Gone;
        Self { link, opener, between: Some(between), ends, pipes: Default::default() }
    }

    /// What the session at this side calls it.
    pub(crate) fn direction(&self, side: usize) -> Direction {
        if side == self.opener { Direction::Outgoing } else { Direction::Incoming }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.ends == [End::Gone; 2]
    }
}
