//! What comes and goes by a peer's two sockets, and how they begin and end.

use std::io;

use bgp_proto::session::Direction;
use tokio::net::TcpStream;

use super::Peer;
use crate::authentication::Authentication;
use crate::connection::{Connection, Read};
use crate::{socket_options, tcp_ao};

/// A connection that cannot be written any more may still hold what the peer said last: so many reads for it.
const READS_OF_A_BROKEN_CONNECTION: usize = 4;
impl Peer {
    pub(super) fn take_incoming(&mut self, stream: TcpStream) {
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

    pub(super) fn take_connected(&mut self, outcome: io::Result<TcpStream>) {
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
    pub(super) fn take_ready(&mut self, direction: Direction, reading: bool) {
        if reading && let Read::End(reason) = self.read(direction) {
            self.lose(direction, reason);
        }
    }

    pub(super) fn read(&mut self, direction: Direction) -> Read {
        let now = self.clock.now();
        // Not by `connection`, which would borrow the session too.
        let connection = match direction {
            Direction::Outgoing => &mut self.outgoing,
            Direction::Incoming => &mut self.incoming,
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
    pub(super) fn lose(&mut self, direction: Direction, reason: String) {
        self.hear_of_aside();
        *self.slot(direction) = None;
        self.session.handle_closed(self.clock.now(), direction, reason);
    }

    /// Behind all that was read, and what it brought about.
    pub(super) fn acknowledge(&mut self) {
        [&mut self.outgoing, &mut self.incoming].into_iter().flatten().for_each(Connection::acknowledge);
    }

    pub(super) fn write(&mut self, direction: Direction) {
        let Some(connection) = self.slot(direction).as_mut().filter(|connection| connection.queued() > 0) else {
            return;
        };
        match connection.write() {
            Ok((0, _)) => {}
            Ok((octets, queued)) => self.took(direction, octets, queued),
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
    pub(super) fn took(&mut self, direction: Direction, octets: usize, queued: usize) {
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

    pub(super) fn close(&mut self, direction: Direction) {
        if direction == Direction::Outgoing {
            self.connecting = None;
        }
        self.hear_of_aside();
        if let Some(connection) = self.slot(direction).take() {
            self.farewells.spawn(connection.finish());
        }
    }
}
