//! [`Speaker`]: sessions and a RIB composed into one BGP speaker, still without I/O.
//!
//! The simulator runs many of these on one virtual clock; a small program can run one by itself. The order of calls is a
//! session's own: commands and `handle_*`, then [`Speaker::poll`] until `None`, then [`Speaker::poll_timeout`]. What a call
//! changes in the RIB is there once `poll` has given `None`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use bytes::Bytes;

use crate::prefix_limit::{Hold, LimitAction, MOST_PREFIXES, PrefixHistory, PrefixLimit};
use crate::rib::{self, BestChange, Drain, Held, PageStart, PeerPolicy, Rib, RibConfig, Seen};
use crate::rtr::Changes;
use crate::session::{self, Direction, DownReason, Established, Session, SessionConfig, State, Stop};
use crate::time::Instant;
use crate::types::{Family, PeerId, Prefix};
use crate::wire::Notification;
use crate::wire::attributes::Attributes;
use crate::wire::notification::Cease;

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
    /// What befell Adj-RIB-In, between the [`Output::Up`] and the [`Output::Down`] of its session; only if that was asked for.
    Seen(Vec<Seen>),
    /// See [`crate::rib::Output::ManyPrefixes`].
    ManyPrefixes(PeerId),
    /// A peer sent more than it may: its session ends, for as long as [`Speaker::held`] says.
    TooManyPrefixes(PeerId),
}

/// A BGP speaker.
#[derive(Debug)]
pub struct Speaker {
    rib: Rib,
    seed: u64,
    peers: BTreeMap<PeerId, Peer>,
    /// Peers whose session may have something to say.
    ready: BTreeSet<PeerId>,
    /// The RIB has something to do.
    dirty: bool,
    outputs: VecDeque<Output>,
}

#[derive(Debug)]
struct Peer {
    session: Session,
    /// While Established: what was agreed on, for when it is over.
    established: Option<Box<Established>>,
    /// When it last came up.
    up: Option<Instant>,
    limit: PrefixLimit,
    prefixes: PrefixHistory,
    unsent: Unsent,
}

impl Peer {
    /// Starts a session again that is down for its prefixes; whether it was.
    fn release(&mut self, now: Instant) -> bool {
        let held = self.prefixes.hold.take().is_some();
        if held {
            self.session.start(now);
        }
        held
    }
}

/// What was handed out for a peer and not yet reported as sent, oldest first. The RIB counts the bytes of its own UPDATEs
/// against a peer that does not read, and must get back exactly those; the session's messages stand between them.
#[derive(Debug, Default)]
struct Unsent {
    /// Octets, and whether they are the RIB's. Neighbours of one kind are one entry.
    runs: VecDeque<(usize, bool)>,
}

impl Unsent {
    fn push(&mut self, octets: usize, of_rib: bool) {
        match self.runs.back_mut() {
            Some((last, kind)) if *kind == of_rib => *last += octets,
            _ => self.runs.push_back((octets, of_rib)),
        }
    }

    /// Takes `octets` off the front; with nothing `pending`, everything. How many of them are the RIB's.
    fn take(&mut self, octets: usize, pending: usize) -> usize {
        let mut left = if pending == 0 { usize::MAX } else { octets };
        let mut of_rib = 0;
        while let Some((run, kind)) = self.runs.front_mut().filter(|_| left > 0) {
            let taken = left.min(*run);
            of_rib += if *kind { taken } else { 0 };
            *run -= taken;
            left -= taken;
            if *run == 0 {
                self.runs.pop_front();
            }
        }
        of_rib
    }
}

impl Speaker {
    /// A speaker without peers. `seed` feeds the jitter of all its timers.
    #[must_use]
    pub fn new(config: RibConfig, seed: u64, now: Instant) -> Self {
        Self {
            rib: Rib::new(config, now),
            seed,
            peers: BTreeMap::new(),
            ready: BTreeSet::new(),
            dirty: true,
            outputs: VecDeque::new(),
        }
    }

    /// Adds a peer and starts its session. A peer that is there already gets the new policy, and its session the new
    /// configuration, which a session that is up says with its next OPEN.
    pub fn add_peer(&mut self, peer: PeerId, session: SessionConfig, policy: PeerPolicy, now: Instant) {
        self.rib.set_peer(peer, policy, now);
        self.dirty = true;
        self.ready.insert(peer);
        if let Some(known) = self.peers.get_mut(&peer) {
            known.session.set_config(session);
            return;
        }
        let mut session = Session::new(session, self.seed ^ (u64::from(peer.0) << 32));
        session.start(now);
        let limit = PrefixLimit { action: LimitAction::Stop, ..PrefixLimit::new(MOST_PREFIXES) };
        let (prefixes, unsent) = (PrefixHistory::default(), Unsent::default());
        self.peers.insert(peer, Peer { session, established: None, up: None, limit, prefixes, unsent });
    }

    /// Says what happens above the limit of the peer's policy; until it is said, the session ends and stays down. Another one than
    /// before starts a session again that the old one keeps down.
    pub fn set_prefix_limit(&mut self, peer: PeerId, limit: PrefixLimit, now: Instant) {
        let Some(known) = self.peers.get_mut(&peer) else { return };
        if std::mem::replace(&mut known.limit, limit) != limit && known.release(now) {
            self.ready.insert(peer);
        }
    }

    /// For how long the peer's session is kept down because it sent more prefixes than it may; `None`: it is not.
    #[must_use]
    pub fn held(&self, peer: PeerId) -> Option<Hold> {
        self.peers.get(&peer)?.prefixes.hold
    }

    /// See [`Rib::set_segment`].
    pub fn set_segment(&mut self, peer: PeerId, segment: Option<Prefix>) {
        self.rib.set_segment(peer, segment);
    }

    /// Ends a peer's session with Cease / Peer De-configured and forgets the peer and its routes.
    pub fn remove_peer(&mut self, peer: PeerId, now: Instant) {
        self.stop_peer(peer, Stop::Cease(Notification::cease(Cease::PeerDeConfigured)), now);
        self.drain(peer, now);
        self.peers.remove(&peer);
        self.ready.remove(&peer);
        self.rib.remove_peer(peer, now);
        self.dirty = true;
    }

    /// Ends a peer's session. To reset one that is down for its prefixes is to start it.
    pub fn stop_peer(&mut self, peer: PeerId, how: Stop, now: Instant) {
        let Some(known) = self.peers.get_mut(&peer) else { return };
        let released = match how {
            Stop::Reset(_) | Stop::PlainReset(_) => known.release(now),
            Stop::Cease(_) | Stop::Silent => {
                known.prefixes.hold = None;
                false
            }
        };
        if !released {
            known.session.stop(now, how);
        }
        self.ready.insert(peer);
    }

    /// Starts a stopped peer's session again, one that is down for its prefixes too.
    pub fn start_peer(&mut self, peer: PeerId, now: Instant) {
        let Some(known) = self.peers.get_mut(&peer) else { return };
        known.prefixes.hold = None;
        known.session.start(now);
        self.ready.insert(peer);
    }

    /// See [`Session::request_refresh`].
    pub fn request_refresh(&mut self, peer: PeerId, family: Family, now: Instant) -> bool {
        let mut can = false;
        self.with_session(peer, |session| can = session.request_refresh(now, family));
        can
    }

    /// See [`Rib::originate`].
    pub fn originate(&mut self, prefix: Prefix, attributes: Attributes, now: Instant) {
        self.rib.originate(prefix, attributes, now);
        self.dirty = true;
    }

    /// See [`Rib::withdraw`].
    pub fn withdraw(&mut self, prefix: Prefix, now: Instant) {
        let _ = now;
        self.rib.withdraw(prefix);
        self.dirty = true;
    }

    /// See [`Rib::set_drain`].
    pub fn set_drain(&mut self, drain: Drain, now: Instant) {
        let _ = now;
        self.rib.set_drain(drain);
        self.dirty = true;
    }

    /// See [`Rib::set_validation`].
    pub fn set_validation(&mut self, on: bool) {
        self.rib.set_validation(on);
        self.dirty = true;
    }

    /// See [`Rib::change_vrps`].
    pub fn change_vrps(&mut self, changes: &Changes, now: Instant) {
        let _ = now;
        self.rib.change_vrps(changes);
        self.dirty = true;
    }

    /// See [`Rib::set_unreachable`].
    pub fn set_unreachable(&mut self, changes: &[(IpAddr, bool)]) {
        self.rib.set_unreachable(changes);
        self.dirty = true;
    }

    /// Whether [`Output::Seen`] is told.
    pub fn set_watched(&mut self, on: bool) {
        self.rib.set_watched(on);
    }

    /// See [`Rib::walk`].
    pub fn walk(&mut self, start: PageStart, limit: usize) -> (Vec<Held>, Option<PageStart>) {
        self.rib.walk(start, limit)
    }

    /// See [`Session::accepts_incoming`]; `false` for a peer that is not there.
    #[must_use]
    pub fn accepts_incoming(&self, peer: PeerId) -> bool {
        self.session(peer).is_some_and(Session::accepts_incoming)
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
        self.with_session(peer, |session| session.handle_connected(now, direction, local, remote));
    }

    /// See [`Session::handle_connect_failed`].
    pub fn handle_connect_failed(&mut self, peer: PeerId, reason: String, now: Instant) {
        self.with_session(peer, |session| session.handle_connect_failed(now, reason));
    }

    /// See [`Session::handle_closed`].
    pub fn handle_closed(&mut self, peer: PeerId, direction: Direction, reason: String, now: Instant) {
        self.with_session(peer, |session| session.handle_closed(now, direction, reason));
    }

    /// See [`Session::handle_found`].
    pub fn handle_found(&mut self, peer: PeerId, now: Instant) {
        self.with_session(peer, |session| session.handle_found(now));
    }

    /// See [`Session::handle_lost`].
    pub fn handle_lost(&mut self, peer: PeerId, reason: &str, now: Instant) {
        self.with_session(peer, |session| session.handle_lost(now, reason));
    }

    /// See [`Session::handle_bytes`].
    pub fn handle_bytes(&mut self, peer: PeerId, direction: Direction, bytes: &[u8], now: Instant) {
        self.with_session(peer, |session| session.handle_bytes(now, direction, bytes));
    }

    /// The network took `bytes` of what was sent to the peer, in the order in which it was handed out; `pending` are still
    /// queued for it. Not called for a connection that was closed.
    pub fn handle_sent(&mut self, peer: PeerId, bytes: usize, pending: usize, now: Instant) {
        let Some(known) = self.peers.get_mut(&peer) else { return };
        known.session.handle_sent(now, pending);
        let of_rib = known.unsent.take(bytes, pending);
        if of_rib > 0 {
            self.rib.handle_sent(peer, of_rib);
            self.dirty = true;
        }
    }

    /// BFD has lost the path to the peer. A session that is up ends, and its routes go or stay as RFC 5882 section 4.3 has it: if the
    /// peer's BFD is `control_plane_independent` (its C bit), forwarding has failed and nothing is kept, of a peer that is
    /// restarting neither; else it may only restart.
    pub fn handle_path_loss(&mut self, peer: PeerId, reason: String, control_plane_independent: bool, now: Instant) {
        let Some(known) = self.peers.get(&peer) else { return };
        if known.session.state() == State::Established {
            self.with_session(peer, |session| session.handle_path_loss(now, reason, !control_plane_independent));
        } else if control_plane_independent {
            self.rib.drop_retained(peer);
            self.dirty = true;
        }
    }

    /// Time has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        for (peer, known) in &mut self.peers {
            if known.session.poll_timeout().is_some_and(|due| due <= now) {
                known.session.handle_timeout(now);
                self.ready.insert(*peer);
            }
            if known.prefixes.until().is_some_and(|due| due <= now) && known.release(now) {
                self.ready.insert(*peer);
            }
        }
        if self.rib.poll_timeout().is_some_and(|due| due <= now) {
            self.rib.handle_timeout(now);
            self.dirty = true;
        }
    }

    /// When to call [`Speaker::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let of_peer = |known: &Peer| known.session.poll_timeout().into_iter().chain(known.prefixes.until()).min();
        self.peers.values().filter_map(of_peer).chain(self.rib.poll_timeout()).min()
    }

    /// What to do next. Sessions go before the RIB, and the RIB decides only when no session has anything left to say, so
    /// that one decision sees all that came in.
    pub fn poll(&mut self, now: Instant) -> Option<Output> {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return Some(output);
            }
            if let Some(peer) = self.ready.pop_first() {
                self.drain(peer, now);
            } else if let Some(output) = self.rib.poll() {
                self.handle_rib(output, now);
            } else if self.dirty {
                self.dirty = self.rib.run(now);
            } else {
                self.tell_seen();
                return self.outputs.pop_front();
            }
        }
    }

    fn tell_seen(&mut self) {
        let seen = self.rib.take_seen();
        if !seen.is_empty() {
            self.outputs.push_back(Output::Seen(seen));
        }
    }

    /// The RIB, to look at.
    #[must_use]
    pub fn rib(&self) -> &Rib {
        &self.rib
    }

    /// A peer's session, to look at.
    #[must_use]
    pub fn session(&self, peer: PeerId) -> Option<&Session> {
        self.peers.get(&peer).map(|known| &known.session)
    }

    fn with_session(&mut self, peer: PeerId, act: impl FnOnce(&mut Session)) {
        if let Some(known) = self.peers.get_mut(&peer) {
            act(&mut known.session);
            self.ready.insert(peer);
        }
    }

    /// Takes all that a session has to say to the RIB and to the owner.
    fn drain(&mut self, peer: PeerId, now: Instant) {
        while let Some(output) = self.peers.get_mut(&peer).and_then(|known| known.session.poll()) {
            self.handle_session(peer, output, false, now);
        }
    }

    fn handle_session(&mut self, peer: PeerId, output: session::Output, of_rib: bool, now: Instant) {
        if matches!(output, session::Output::Up(_) | session::Output::Down(_)) {
            self.tell_seen();
        }
        let Some(known) = self.peers.get_mut(&peer) else { return };
        match output {
            session::Output::Connect => self.outputs.push_back(Output::Connect(peer)),
            session::Output::Close(direction) => self.outputs.push_back(Output::Close(peer, direction)),
            session::Output::Send(direction, bytes) => {
                known.unsent.push(bytes.len(), of_rib);
                self.outputs.push_back(Output::Send(peer, direction, bytes));
            }
            session::Output::Up(established) => {
                self.rib.handle_up(peer, &established, now);
                self.dirty = true;
                (known.established, known.up) = (Some(established), Some(now));
                self.outputs.push_back(Output::Up(peer));
            }
            session::Output::Down(reason) => {
                let retain = known.established.take().and_then(|established| established.retain(&reason));
                self.rib.handle_down(peer, retain, now);
                self.dirty = true;
                known.unsent = Unsent::default();
                self.outputs.push_back(Output::Down(peer, reason));
            }
            session::Output::Updates(updates) => {
                self.rib.handle_updates(peer, updates, now);
                self.dirty = true;
            }
            session::Output::Refresh(family) => {
                self.rib.handle_refresh(peer, family);
                self.dirty = true;
            }
        }
    }

    fn handle_rib(&mut self, output: rib::Output, now: Instant) {
        match output {
            rib::Output::Send(peer, bytes) => {
                // No session had anything left to say, so what comes out now is these bytes, or nothing if it is down.
                let Some(known) = self.peers.get_mut(&peer) else { return };
                known.session.send(now, bytes);
                if let Some(output) = known.session.poll() {
                    self.handle_session(peer, output, true, now);
                }
            }
            rib::Output::Best(changes) => self.outputs.push_back(Output::Best(changes)),
            rib::Output::Converged(family) => self.outputs.push_back(Output::Converged(family)),
            rib::Output::ManyPrefixes(peer) => self.outputs.push_back(Output::ManyPrefixes(peer)),
            rib::Output::TooManyPrefixes(peer, excess) => {
                let Some(known) = self.peers.get_mut(&peer) else { return };
                let cease = Notification::cease(Cease::MaximumNumberOfPrefixesReached);
                known.session.stop(now, Stop::Cease(cease));
                known.prefixes.exceeded(excess, known.limit, false, known.up, now);
                self.ready.insert(peer);
                self.outputs.push_back(Output::TooManyPrefixes(peer));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rib_gets_back_its_own_bytes_and_only_those() {
        let mut unsent = Unsent::default();
        for (octets, of_rib) in [(19, false), (100, true), (50, true), (19, false), (7, true)] {
            unsent.push(octets, of_rib);
        }
        for (taken, of_rib) in [(10, 0), (10, 1), (149, 149), (19, 0), (3, 3)] {
            assert_eq!(unsent.take(taken, 1), of_rib, "{taken}");
        }
        unsent.push(19, false);
        assert_eq!(unsent.take(1, 0), 4, "with nothing pending, everything is taken");
        assert_eq!(unsent.take(1000, 1), 0, "more than was handed out");
    }
}
