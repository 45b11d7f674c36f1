//! How bytes get from one node to another: connections open, queues move, segments arrive, readers read, ends close.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use bgp_proto::session::Direction;
use bytes::{Bytes, BytesMut};

use crate::network::{Death, Event, Network};
use crate::tcp::{Connection, ConnectionId, End, Item, Unread};
use crate::topology::NodeId;
use crate::two_octets;

/// Most octets that a speaker may hand out for a peer that does not read: the RIB's limit of 1 MiB, and what one run may
/// add before it looks at that again, 8192 routes in an UPDATE each.
const MOST_QUEUED: usize = 3 << 20;

/// How long a close may wait for what is queued to leave.
const LINGER: Duration = Duration::from_secs(10);

impl Network {
    /// What a speaker asks for.
    pub(crate) fn open(&mut self, node: NodeId, peer: NodeId) {
        let Some((link, side)) = self.side(node, peer) else { return };
        if let Some(id) = self.find(link, side, Direction::Outgoing) {
            self.violation(format!("{node} opens a connection to {peer} although it has {id:?}"));
            return;
        }
        let Some(to) = self.located(node, peer) else {
            let reason = "nobody has been found".to_owned();
            self.tell(node, |speaker, now| speaker.handle_connect_failed(peer.as_peer(), reason, now));
            return;
        };
        let mut between = [self.topology.link_local(node, link); 2];
        let unnumbered = self.topology.links[link].unnumbered;
        if let IpAddr::V6(to) = to {
            between[1 - side] = to;
        }
        let id = ConnectionId(self.next_connection);
        self.next_connection += 1;
        self.note(format_args!("{node} connects to {peer} as c{}", id.0));
        self.connections.insert(id, Connection::opening(link, side, unnumbered.then_some(between)));
        self.put(id, side, Item::Syn);
    }

    pub(crate) fn close(&mut self, node: NodeId, peer: NodeId, direction: Direction) {
        let Some((link, side)) = self.side(node, peer) else { return };
        let Some(id) = self.find(link, side, direction) else {
            self.violation(format!("{node} closes its {direction:?} connection with {peer}, and there is none"));
            return;
        };
        self.note(format_args!("{node} closes c{} ({direction:?}, {peer})", id.0));
        let blocked = self.is_blocked(link);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.ends[side] == End::Opening {
            connection.ends[side] = End::Gone;
            // Nobody repeats the SYN any more.
            if blocked && connection.ends[1 - side] == End::Waiting {
                self.connections.remove(&id);
            }
            self.tidy(id);
            return;
        }
        connection.ends[side] = End::Closing;
        connection.pipes[1 - side].unread.clear();
        self.sending.insert((id, side));
        self.schedule(self.now + LINGER, Event::Linger(id, side));
    }

    pub(crate) fn send(&mut self, node: NodeId, peer: NodeId, direction: Direction, bytes: Bytes) {
        let Some((link, side)) = self.side(node, peer) else { return };
        let of_old = self.topology.node(node).two_octets || self.topology.node(peer).two_octets;
        let bytes = two_octets::carry(bytes, of_old, self.topology.way(node, peer));
        self.transcript.stir(&bytes);
        let kinds = Kinds::of(&bytes);
        if kinds.0[1] > 0 {
            self.stir();
        }
        let open = self.find(link, side, direction).and_then(|id| {
            let connection = self.connections.get_mut(&id).filter(|one| one.ends[side] == End::Open)?;
            Some((id, connection))
        });
        let Some((id, connection)) = open else {
            self.violation(format!("{node} sends to {peer} ({direction:?}, {kinds}) without a connection"));
            return;
        };
        connection.pipes[side].push(bytes);
        let queued = connection.pipes[side].queued;
        self.sending.insert((id, side));
        if queued > MOST_QUEUED {
            self.violation(format!("{node} has {queued} octets queued for {peer}: a slow reader costs too much"));
        }
        self.note(format_args!("{node} sends {kinds} to {peer} on c{}", id.0));
    }

    /// Moves a piece of what the window lets through from the queue to the wire.
    pub(crate) fn pump(&mut self, id: ConnectionId, side: usize) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let (end, link) = (connection.ends[side], connection.link);
        if !matches!(end, End::Open | End::Closing) {
            return;
        }
        let pipe = &mut connection.pipes[side];
        let room = self.topology.links[link].window.saturating_sub(pipe.flight);
        let most = room.min(pipe.queued);
        if most == 0 {
            if end == End::Closing && pipe.queued == 0 {
                connection.ends[side] = End::Gone;
                self.put(id, side, Item::Fin);
                self.tidy(id);
            }
            return;
        }
        // Mostly all that there is, as TCP does; sometimes little, to find where a message may be cut.
        let octets = if self.random.percent(70) { most } else { 1 + self.random.below(most.min(100)) };
        let bytes = pipe.take(octets);
        pipe.flight += octets;
        self.put(id, side, Item::Bytes(bytes));
        if end == End::Open {
            let (node, peer) = self.ends_of(link, side);
            let pending = self.queued_for(link, side);
            self.tell(node, |speaker, now| speaker.handle_sent(peer.as_peer(), octets, pending, now));
        }
        // The rest when the speaker has said what it has to say to that.
        self.sending.insert((id, side));
    }

    /// Puts something on the wire.
    fn put(&mut self, id: ConnectionId, from: usize, item: Item) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let link = &self.topology.links[connection.link];
        let due = self.now + link.delay + self.random.between(Duration::ZERO, link.jitter);
        let pipe = &mut connection.pipes[from];
        pipe.last = pipe.last.max(due);
        let due = pipe.last;
        pipe.wire.push_back((due, item));
        self.schedule(due, Event::Arrive(id, 1 - from));
    }

    /// Takes off the wire what is due at this side.
    pub(crate) fn arrive(&mut self, id: ConnectionId, to: usize) {
        loop {
            let Some(connection) = self.connections.get(&id) else { return };
            if self.is_blocked(connection.link) {
                return;
            }
            let Some(connection) = self.connections.get_mut(&id) else { return };
            let wire = &mut connection.pipes[1 - to].wire;
            if wire.front().is_none_or(|(due, _)| *due > self.now) {
                return;
            }
            if let Some((_, item)) = wire.pop_front() {
                self.deliver(id, to, item);
                self.tidy(id);
                self.settle();
            }
        }
    }

    fn deliver(&mut self, id: ConnectionId, to: usize, item: Item) {
        let Some(connection) = self.connections.get(&id) else { return };
        let (end, link, between) = (connection.ends[to], connection.link, connection.between);
        let (node, peer) = self.ends_of(link, to);
        let runs = self.speaker(node).is_some();
        if let Some(address) = between.map(|between| between[to])
            && address != self.topology.link_local(node, link)
        {
            let is_strangers = self.stranger_is(link, address);
            match (item, end) {
                // An attempt from an address that is gone fails by itself.
                (_, End::Opening | End::Open) => {}
                (Item::Rst, _) => self.set_end(id, to, End::Gone),
                (_, End::Waiting | End::Closing | End::Gone) if is_strangers => self.refuse(id, to),
                (_, End::Waiting | End::Closing | End::Gone) => self.set_end(id, to, End::Gone),
            }
            return;
        }
        match (item, end) {
            (Item::Syn, End::Waiting) if runs => self.put(id, to, Item::SynAck),
            (Item::SynAck, End::Opening) => {
                self.set_end(id, to, End::Open);
                self.put(id, to, Item::Ack);
                self.note(format_args!("{node} c{} to {peer} is open", id.0));
                self.connected(id, to);
            }
            (Item::Ack, End::Waiting) if runs => self.accept(id, to),
            (Item::Bytes(bytes), End::Open) => self.hold(id, to, Unread::Bytes(bytes)),
            (Item::Fin, End::Open) => self.hold(id, to, Unread::Fin),
            (Item::Rst, End::Opening) => {
                self.set_end(id, to, End::Gone);
                self.note(format_args!("{node} c{} to {peer} is refused", id.0));
                self.tell(node, |speaker, now| {
                    speaker.handle_connect_failed(peer.as_peer(), "connection refused".to_owned(), now);
                });
            }
            (Item::Rst, End::Open) => self.lost(id, to, "connection reset by the peer"),
            (Item::Rst, End::Waiting | End::Closing | End::Gone) => self.set_end(id, to, End::Gone),
            (Item::Taken(octets), _) => {
                if let Some(connection) = self.connections.get_mut(&id) {
                    let pipe = &mut connection.pipes[to];
                    pipe.flight = pipe.flight.saturating_sub(octets);
                    self.sending.insert((id, to));
                }
            }
            // Half of it is closed already, in one order or the other.
            (Item::Fin, End::Closing | End::Gone) => {}
            (Item::Syn | Item::Ack, End::Waiting)
            | (Item::Syn | Item::SynAck | Item::Ack | Item::Bytes(_), End::Gone | End::Closing)
            | (Item::Bytes(_) | Item::Fin | Item::SynAck, End::Waiting)
            | (Item::Syn | Item::Ack | Item::Bytes(_) | Item::Fin, End::Opening)
            | (Item::Syn | Item::SynAck | Item::Ack, End::Open) => self.refuse(id, to),
        }
    }

    /// Answers with RST. A close under way goes on only if the other end still listens, which it now does not.
    fn refuse(&mut self, id: ConnectionId, side: usize) {
        self.set_end(id, side, End::Gone);
        self.put(id, side, Item::Rst);
    }

    pub(crate) fn accept(&mut self, id: ConnectionId, side: usize) {
        let known = self.connections.get(&id).map(|connection| (connection.link, connection.between));
        let Some((link, between)) = known else { return };
        let (node, peer) = self.ends_of(link, side);
        let admitted = between.is_none_or(|between| self.admits(node, peer, between[1 - side]));
        self.settle();
        if !admitted || !self.speaker(node).is_some_and(|speaker| speaker.accepts_incoming(peer.as_peer())) {
            self.note(format_args!("{node} does not want c{} from {peer}", id.0));
            self.set_end(id, side, End::Gone);
            self.put(id, side, Item::Fin);
            return;
        }
        if let Some(old) = self.find(link, side, Direction::Incoming) {
            self.note(format_args!("{node} has c{} in the place of c{}", id.0, old.0));
            self.refuse(old, side);
            self.tidy(old);
        }
        self.set_end(id, side, End::Open);
        self.note(format_args!("{node} accepts c{} from {peer}", id.0));
        self.connected(id, side);
    }

    fn connected(&mut self, id: ConnectionId, side: usize) {
        let Some(connection) = self.connections.get(&id) else { return };
        let (link, direction) = (connection.link, connection.direction(side));
        let (node, peer) = self.ends_of(link, side);
        let (local, remote) = match connection.between {
            Some(between) => (between[side].into(), between[1 - side].into()),
            None => (self.topology.address(node, link), self.topology.address(peer, link)),
        };
        self.tell(node, |speaker, now| speaker.handle_connected(peer.as_peer(), direction, local, remote, now));
    }

    /// Keeps what arrived until the reader comes.
    fn hold(&mut self, id: ConnectionId, side: usize, what: Unread) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let lag = self.topology.links[connection.link].reader_lag;
        let pipe = &mut connection.pipes[1 - side];
        pipe.unread.push_back(what);
        if !std::mem::replace(&mut pipe.read_due, true) {
            let due = self.now + self.random.between(Duration::ZERO, lag);
            self.schedule(due, Event::Read(id, side));
        }
    }

    /// Gives a session what has come, in pieces that know nothing of messages.
    pub(crate) fn read(&mut self, id: ConnectionId, side: usize) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let (link, direction) = (connection.link, connection.direction(side));
        connection.pipes[1 - side].read_due = false;
        let (node, peer) = self.ends_of(link, side);
        if self.nodes[node.index()].deaf_to.contains(&peer) {
            return;
        }
        let (mut bytes, mut fin) = (BytesMut::new(), false);
        if let Some(connection) = self.connections.get_mut(&id).filter(|one| one.ends[side] == End::Open) {
            for unread in connection.pipes[1 - side].unread.drain(..) {
                match unread {
                    Unread::Bytes(part) => bytes.extend_from_slice(&part),
                    Unread::Fin => fin = true,
                }
            }
        }
        let total = bytes.len();
        while !bytes.is_empty() && self.is_open(id, side) {
            let octets = if self.random.percent(60) { bytes.len() } else { 1 + self.random.below(bytes.len()) };
            let piece = bytes.split_to(octets);
            self.tell(node, |speaker, now| speaker.handle_bytes(peer.as_peer(), direction, &piece, now));
            self.settle();
        }
        if total > 0 && self.is_open(id, side) {
            self.put(id, side, Item::Taken(total));
        }
        if fin && self.is_open(id, side) {
            self.lost(id, side, "closed by the peer");
        }
        self.tidy(id);
    }

    fn lost(&mut self, id: ConnectionId, side: usize, reason: &str) {
        let Some(connection) = self.connections.get(&id) else { return };
        let (link, direction) = (connection.link, connection.direction(side));
        let (node, peer) = self.ends_of(link, side);
        self.set_end(id, side, End::Gone);
        self.note(format_args!("{node} c{} ({peer}): {reason}", id.0));
        self.tell(node, |speaker, now| speaker.handle_closed(peer.as_peer(), direction, reason.to_owned(), now));
    }

    pub(crate) fn give_up(&mut self, id: ConnectionId, side: usize) {
        if self.connections.get(&id).is_some_and(|connection| connection.ends[side] == End::Closing) {
            self.refuse(id, side);
            self.tidy(id);
        }
    }

    // What befalls the network.

    /// Nothing moves on a link, or all that was held up goes on.
    pub fn partition(&mut self, link: usize, cut: bool) {
        let changed = if cut { self.cut.insert(link, self.now).is_none() } else { self.cut.remove(&link).is_some() };
        if changed {
            let [a, b] = self.topology.links[link].ends;
            self.note(format_args!("link {a} {b} is {}", if cut { "cut" } else { "mended" }));
            if !cut {
                self.unblock(link);
            }
        }
    }

    pub(crate) fn unblock(&mut self, link: usize) {
        let again = self.now + self.topology.links[link].delay;
        let held: Vec<_> = self.connections.iter().filter(|(_, one)| one.link == link).map(|(id, _)| *id).collect();
        for id in held {
            self.schedule(again, Event::Arrive(id, 0));
            self.schedule(again, Event::Arrive(id, 1));
        }
    }

    /// One end of each of a link's connections is reset; the other learns of it when a packet says so, at the latest when
    /// it sends something itself. `told`: a packet says so.
    pub fn reset(&mut self, node: NodeId, peer: NodeId, told: bool) {
        let Some((link, side)) = self.side(node, peer) else { return };
        let open: Vec<_> = self
            .connections
            .iter()
            .filter(|(_, one)| one.link == link && one.ends[side] == End::Open)
            .map(|(id, _)| *id)
            .collect();
        for id in open {
            self.lost(id, side, "connection reset");
            if told {
                self.put(id, side, Item::Rst);
            }
            self.tidy(id);
            self.settle();
        }
    }

    /// A node reads nothing of what a neighbour sends, or reads again.
    pub fn deafen(&mut self, node: NodeId, peer: NodeId, deaf: bool) {
        let deaf_to = &mut self.nodes[node.index()].deaf_to;
        let changed = if deaf { deaf_to.insert(peer) } else { deaf_to.remove(&peer) };
        let Some((link, side)) = self.side(node, peer).filter(|_| changed) else { return };
        self.note(format_args!("{node} {} {peer}", if deaf { "is deaf to" } else { "hears" }));
        if !deaf {
            let held: Vec<_> = self.connections.iter().filter(|(_, one)| one.link == link).map(|(id, _)| *id).collect();
            for id in held {
                self.read(id, side);
                self.settle();
            }
        }
    }

    pub(crate) fn drop_connections_of(&mut self, node: NodeId, death: Death) {
        for link in self.links_of(node) {
            let side = usize::from(self.topology.links[link].ends[1] == node);
            let known: Vec<_> =
                self.connections.iter().filter(|(_, one)| one.link == link).map(|(id, _)| *id).collect();
            for id in known {
                let Some(connection) = self.connections.get_mut(&id) else { continue };
                let end = connection.ends[side];
                // The kernel goes on with a close that the process began, if there is a kernel.
                if end == End::Gone || (end == End::Closing && death != Death::Power) {
                    continue;
                }
                // A connection that nobody has been told of is the listener's; its SYN may not even be here.
                if end == End::Waiting && death != Death::Power {
                    continue;
                }
                let unread = !connection.pipes[1 - side].unread.is_empty();
                self.set_end(id, side, End::Gone);
                match death {
                    Death::Power => {}
                    Death::Reset => self.put(id, side, Item::Rst),
                    Death::Silent | Death::Cease | Death::Killed if unread => self.put(id, side, Item::Rst),
                    Death::Silent | Death::Cease | Death::Killed => self.put(id, side, Item::Fin),
                }
                self.tidy(id);
            }
        }
    }

    /// A session's owner drops a connection, or the attempt to open one. Of an open one the other end hears if the address that it
    /// was opened from is still there, and else by chance.
    pub(crate) fn drop_connection(&mut self, link: usize, side: usize, direction: Direction) {
        let Some(id) = self.find(link, side, direction) else { return };
        let here = self.topology.link_local(self.ends_of(link, side).0, link);
        let Some(connection) = self.connections.get(&id) else { return };
        let open = connection.ends[side] == End::Open;
        let unread = !connection.pipes[1 - side].unread.is_empty();
        let heard = connection.between.is_none_or(|between| between[side] == here) || self.air.percent(50);
        self.set_end(id, side, End::Gone);
        if open && heard {
            self.put(id, side, if unread { Item::Rst } else { Item::Fin });
        }
        self.tidy(id);
    }

    /// What is left of connections from an address that a node has no more: nothing can be said on them.
    pub(crate) fn forget_address(&mut self, link: usize, side: usize) {
        let here = self.topology.link_local(self.ends_of(link, side).0, link);
        let of_old = |one: &Connection| one.link == link && one.between.is_some_and(|between| between[side] != here);
        let known: Vec<_> = self.connections.iter().filter(|(_, one)| of_old(one)).map(|(id, _)| *id).collect();
        for id in known {
            if self.connections.get(&id).is_some_and(|one| matches!(one.ends[side], End::Closing | End::Waiting)) {
                self.set_end(id, side, End::Gone);
                self.tidy(id);
            }
        }
    }

    fn set_end(&mut self, id: ConnectionId, side: usize, end: End) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.ends[side] = end;
            if end == End::Gone {
                connection.pipes[side].forget_queue();
                connection.pipes[1 - side].unread.clear();
            }
        }
    }

    fn tidy(&mut self, id: ConnectionId) {
        if self.connections.get(&id).is_some_and(Connection::is_over) {
            self.connections.remove(&id);
        }
    }

    fn is_open(&self, id: ConnectionId, side: usize) -> bool {
        self.connections.get(&id).is_some_and(|connection| connection.ends[side] == End::Open)
    }

    pub(crate) fn is_blocked(&self, link: usize) -> bool {
        let unplugged = [0, 1].iter().any(|side| self.is_unplugged(link, *side));
        self.cut.contains_key(&link)
            || unplugged
            || self.topology.links[link].ends.iter().any(|node| self.nodes[node.index()].dark)
    }

    /// The link to a neighbour, and which of its sides the node is.
    pub(crate) fn side(&self, node: NodeId, peer: NodeId) -> Option<(usize, usize)> {
        let link = self.topology.link(node, peer)?;
        Some((link, usize::from(self.topology.links[link].ends[1] == node)))
    }

    /// The node at this side, and its neighbour.
    pub(crate) fn ends_of(&self, link: usize, side: usize) -> (NodeId, NodeId) {
        let ends = self.topology.links[link].ends;
        (ends[side], ends[1 - side])
    }

    /// The connection that the session at this side calls by this direction.
    fn find(&self, link: usize, side: usize, direction: Direction) -> Option<ConnectionId> {
        let mut known = self.connections.iter();
        known
            .find(|(_, one)| {
                one.link == link
                    && one.direction(side) == direction
                    && matches!(one.ends[side], End::Open | End::Opening)
            })
            .map(|(id, _)| *id)
    }

    /// Octets queued for a neighbour on all connections of its session.
    fn queued_for(&self, link: usize, side: usize) -> usize {
        let open = self.connections.values().filter(|one| one.link == link && one.ends[side] == End::Open);
        open.map(|one| one.pipes[side].queued).sum()
    }
}

/// How many messages of each type some bytes hold.
struct Kinds([usize; 5]);

impl Kinds {
    fn of(bytes: &[u8]) -> Self {
        let (mut kinds, mut rest) = ([0; 5], bytes);
        while let Some(header) = rest.first_chunk::<19>() {
            if let Some(count) = kinds.get_mut(usize::from(header[18]).wrapping_sub(1)) {
                *count += 1;
            }
            let length = usize::from(u16::from_be_bytes([header[16], header[17]])).max(19);
            rest = rest.get(length..).unwrap_or_default();
        }
        Self(kinds)
    }
}

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = ["OPEN", "UPDATE", "NOTIFICATION", "KEEPALIVE", "ROUTE-REFRESH"];
        let mut first = true;
        for (name, count) in names.iter().zip(self.0).filter(|(_, count)| *count > 0) {
            let gap = if std::mem::take(&mut first) { "" } else { " " };
            write!(f, "{gap}{name}")?;
            if count > 1 {
                write!(f, "×{count}")?;
            }
        }
        Ok(())
    }
}
