//! [`Speaker`]: sessions and a RIB composed into one BGP speaker, still without I/O.
//!
//! The simulator runs many of these on one virtual clock; a small program can run one by itself. The order of calls is a
//! session's own: commands and `handle_*`, then [`Speaker::poll`] until `None`, then [`Speaker::poll_timeout`].

use std::collections::BTreeMap;
use std::net::IpAddr;

use bytes::Bytes;

use crate::rib::{BestChange, PeerPolicy, Rib, RibConfig};
use crate::session::{Direction, DownReason, Session, SessionConfig, Stop};
use crate::time::Instant;
use crate::types::{Family, PeerId, Prefix};
use crate::wire::attributes::Attributes;

/// What the owner of a speaker is to do.
#[derive(Clone, Debug)]
pub enum Output {
    /// Open a connection to this peer.
    Connect(PeerId),
    /// Close this connection once what was sent has left.
    Close(PeerId, Direction),
    /// Send these bytes; report with [`Speaker::handle_sent`] when the network has taken them.
    Send(PeerId, Direction, Bytes),
    /// A session came up.
    Up(PeerId),
    /// A session went down.
    Down(PeerId, DownReason),
    /// Best paths changed.
    Best(Vec<BestChange>),
    /// See [`crate::rib::Output::Converged`].
    Converged(Family),
}

/// A BGP speaker.
#[derive(Debug)]
pub struct Speaker {
    rib: Rib,
    sessions: BTreeMap<PeerId, Session>,
}

impl Speaker {
    /// A speaker without peers. `seed` feeds the jitter of all its timers.
    #[must_use]
    pub fn new(config: RibConfig, seed: u64, now: Instant) -> Self {
        let _ = seed;
        Self { rib: Rib::new(config, now), sessions: BTreeMap::new() }
    }

    /// Adds a peer and starts its session.
    pub fn add_peer(&mut self, peer: PeerId, session: SessionConfig, policy: PeerPolicy, now: Instant) {
        let _ = (peer, session, policy, now, &self.sessions);
        todo!("S")
    }

    /// Ends a peer's session.
    pub fn stop_peer(&mut self, peer: PeerId, how: Stop, now: Instant) {
        let _ = (peer, how, now);
        todo!("S")
    }

    /// Starts a stopped peer's session again.
    pub fn start_peer(&mut self, peer: PeerId, now: Instant) {
        let _ = (peer, now);
        todo!("S")
    }

    /// See [`Rib::originate`].
    pub fn originate(&mut self, prefix: Prefix, attributes: Attributes, now: Instant) {
        let _ = (prefix, attributes, now);
        todo!("S")
    }

    /// See [`Rib::withdraw`].
    pub fn withdraw(&mut self, prefix: Prefix, now: Instant) {
        let _ = (prefix, now);
        todo!("S")
    }

    /// See [`Session::accepts_incoming`]; `false` for a peer that is not there.
    #[must_use]
    pub fn accepts_incoming(&self, peer: PeerId) -> bool {
        self.sessions.get(&peer).is_some_and(Session::accepts_incoming)
    }

    /// See [`Session::handle_connected`].
    pub fn handle_connected(
        &mut self,
        peer: PeerId,
        direction: Direction,
        local: IpAddr,
        remote: IpAddr,
        now: Instant,
    ) {
        let _ = (peer, direction, local, remote, now);
        todo!("S")
    }

    /// See [`Session::handle_connect_failed`].
    pub fn handle_connect_failed(&mut self, peer: PeerId, reason: String, now: Instant) {
        let _ = (peer, reason, now);
        todo!("S")
    }

    /// See [`Session::handle_closed`].
    pub fn handle_closed(&mut self, peer: PeerId, direction: Direction, reason: String, now: Instant) {
        let _ = (peer, direction, reason, now);
        todo!("S")
    }

    /// See [`Session::handle_bytes`].
    pub fn handle_bytes(&mut self, peer: PeerId, direction: Direction, bytes: &[u8], now: Instant) {
        let _ = (peer, direction, bytes, now);
        todo!("S")
    }

    /// The network took `bytes` of what was sent to the peer; `pending` are still queued for it.
    pub fn handle_sent(&mut self, peer: PeerId, bytes: usize, pending: usize, now: Instant) {
        let _ = (peer, bytes, pending, now);
        todo!("S")
    }

    /// Time has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
        todo!("S")
    }

    /// When to call [`Speaker::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        todo!("S")
    }

    /// What to do next.
    pub fn poll(&mut self, now: Instant) -> Option<Output> {
        let _ = now;
        todo!("S")
    }

    /// The RIB, to look at.
    #[must_use]
    pub fn rib(&self) -> &Rib {
        &self.rib
    }

    /// A peer's session, to look at.
    #[must_use]
    pub fn session(&self, peer: PeerId) -> Option<&Session> {
        self.sessions.get(&peer)
    }
}
