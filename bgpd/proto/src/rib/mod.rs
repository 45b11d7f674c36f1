//! The RIB: what every peer sent, which path is best and why, and what every peer is to hear.
//!
//! One value, one thread. Commands and `handle_*` only mark prefixes dirty; [`Rib::run`] decides each dirty prefix once,
//! reports changed best paths and packs UPDATEs for each update group; [`Rib::poll`] hands them out: call `run`, then
//! `poll` until it gives `None`. [`Rib::poll_timeout`] says when to call [`Rib::handle_timeout`].
//!
//! Memory is bounded for a peer that does not read: bytes handed out by [`Output::Send`] count against the peer until
//! [`Rib::handle_sent`] takes them back; above a limit the peer's changes conflate to the newest until it has caught up.

pub mod decision;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::filter::Filter;
use crate::session::Established;
use crate::time::Instant;
use crate::types::{Asn, ClusterId, Family, NextHop, PathId, PeerId, Prefix, RouterId};
use crate::wire::Update;
use crate::wire::attributes::Attributes;

/// What a RIB is told at the start.
#[derive(Clone, Debug)]
pub struct RibConfig {
    /// Our AS.
    pub local_as: Asn,
    /// Our BGP Identifier.
    pub router_id: RouterId,
    /// Our cluster as a route reflector (RFC 4456).
    pub cluster_id: ClusterId,
    /// Most paths of one multipath set.
    pub max_paths: usize,
    /// After our own restart: how long to wait for every peer's End-of-RIB before deciding and announcing (RFC 4724
    /// section 4.1). `None`: not restarted, do not wait.
    pub deferral: Option<Duration>,
    /// The longest that [`Output::Converged`] waits for a peer when nothing is deferred, and that the stale routes of a
    /// peer that is back wait for its End-of-RIB (RFC 4724 section 4.2 asks for such a bound). 60 s is a good value.
    pub convergence: Duration,
}

/// What the RIB must know of a peer before its session comes up.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerPolicy {
    /// The peer's name, for people.
    pub name: String,
    /// The peer's address; with its session down, what shows its routes' source.
    pub address: IpAddr,
    /// Our AS towards this peer.
    pub local_as: Asn,
    /// A route reflector client (internal peers only).
    pub client: bool,
    /// Send ourselves as the next hop of what we pass on. Towards external peers this is so anyway.
    pub next_hop_self: bool,
    /// Our address as the next hop of IPv4 prefixes on a session that runs over IPv6.
    pub own_address4: Option<Ipv4Addr>,
    /// Our address as the next hop of IPv6 prefixes on a session that runs over IPv4.
    pub own_address6: Option<Ipv6Addr>,
    /// Filter of what it sends. `None`: an external peer's routes are all rejected (RFC 8212), an internal one's all accepted.
    pub import: Option<Arc<Filter>>,
    /// Filter of what it hears. `None`: an external peer hears nothing (RFC 8212), an internal one everything it may.
    pub export: Option<Arc<Filter>>,
    /// Most prefixes it may send, all families together: above, the owner ends the session (RFC 4486 subcode 1).
    pub max_prefixes: Option<u32>,
}

/// What the owner of the RIB is to do.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send these whole messages to the peer: shared bytes, encoded once for its update group.
    Send(PeerId, Bytes),
    /// Best paths changed: one batch for one `run`.
    Best(Vec<BestChange>),
    /// Every peer that was awaited has sent End-of-RIB for this family, or its timer has passed: what is not in the
    /// RIB now does not exist any more. Said once for each family.
    Converged(Family),
    /// The peer sent more prefixes than it may: end its session.
    TooManyPrefixes(PeerId),
}

/// A prefix whose best path or multipath set changed.
#[derive(Clone, Debug, PartialEq)]
pub struct BestChange {
    /// Which.
    pub prefix: Prefix,
    /// The best path first, then the paths equal to it; empty: the prefix is gone. What the speaker originates itself is
    /// here too, with [`PeerId::LOCAL`].
    pub paths: Vec<BestPath>,
}

/// One path of a multipath set.
#[derive(Clone, Debug, PartialEq)]
pub struct BestPath {
    /// Who sent it.
    pub peer: PeerId,
    /// Its attributes behind the import filter.
    pub attributes: Arc<Attributes>,
}

/// A route as a person sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteView {
    /// The prefix.
    pub prefix: Prefix,
    /// Who sent it; [`PeerId::LOCAL`] if we originate it.
    pub peer: PeerId,
    /// 0 without ADD-PATH.
    pub path_id: PathId,
    /// Attributes: behind the import filter if it was accepted, else as they came; as sent for [`Scope::Advertised`].
    pub attributes: Arc<Attributes>,
    /// The best path.
    pub best: bool,
    /// In the multipath set (the best path too).
    pub multipath: bool,
    /// Kept for a peer that is restarting (RFC 4724).
    pub stale: bool,
    /// The step of the decision process, the filter's rule or the check that decided, with what it compared.
    pub reason: String,
    /// How long we have had it.
    pub age: Duration,
}

/// Which routes to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All accepted paths, best first.
    Local,
    /// What this peer sent, accepted or not.
    Received(PeerId),
    /// What this peer has been sent.
    Advertised(PeerId),
    /// All rejected paths, with the reason.
    Rejected,
}

/// Counts for one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerCounts {
    /// Paths it sent that we hold.
    pub received: usize,
    /// Of these, accepted.
    pub accepted: usize,
    /// Prefixes that it has been sent.
    pub advertised: usize,
    /// Prefixes that it may hear but cannot be sent: there is no next hop of ours in their family, or their attributes
    /// fit into no message.
    pub withheld: usize,
    /// Bytes handed out for it and not yet taken by its socket.
    pub unsent_bytes: usize,
}

/// The RIB.
#[derive(Debug)]
pub struct Rib {
    config: RibConfig,
}

impl Rib {
    /// An empty RIB.
    #[must_use]
    pub fn new(config: RibConfig, now: Instant) -> Self {
        let _ = now;
        Self { config }
    }

    /// Makes a peer known, or changes its policy; with its session up, both filters are applied again to every route it
    /// sent and hears (what an import filter rejected was kept).
    pub fn set_peer(&mut self, peer: PeerId, policy: PeerPolicy, now: Instant) {
        let _ = (peer, policy, now, &self.config);
        todo!("R")
    }

    /// Forgets a peer and everything it sent.
    pub fn remove_peer(&mut self, peer: PeerId, now: Instant) {
        let _ = (peer, now);
        todo!("R")
    }

    /// Originates a prefix. `attributes.next_hop`: unspecified stands for "ourselves, as each session's own address".
    pub fn originate(&mut self, prefix: Prefix, attributes: Attributes, now: Instant) {
        let _ = (prefix, attributes, now);
        todo!("R")
    }

    /// No longer originates a prefix.
    pub fn withdraw(&mut self, prefix: Prefix) {
        let _ = prefix;
        todo!("R")
    }

    /// The peer's session is up: it gets the whole table, then End-of-RIB; stale routes wait for its own.
    pub fn handle_up(&mut self, peer: PeerId, established: &Established, now: Instant) {
        let _ = (peer, established, now);
        todo!("R")
    }

    /// The peer's session is down. `retain`: keep its routes as stale this long (RFC 4724 section 4.2).
    pub fn handle_down(&mut self, peer: PeerId, retain: Option<Duration>, now: Instant) {
        let _ = (peer, retain, now);
        todo!("R")
    }

    /// A batch of the peer's UPDATEs.
    pub fn handle_updates(&mut self, peer: PeerId, updates: Vec<Update>, now: Instant) {
        let _ = (peer, updates, now);
        todo!("R")
    }

    /// The peer asks to hear everything again.
    pub fn handle_refresh(&mut self, peer: PeerId, family: Family) {
        let _ = (peer, family);
        todo!("R")
    }

    /// The peer's socket took this many bytes of what [`Output::Send`] handed out.
    pub fn handle_sent(&mut self, peer: PeerId, bytes: usize) {
        let _ = (peer, bytes);
        todo!("R")
    }

    /// Time has come: stale routes go, the deferral ends.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
        todo!("R")
    }

    /// When to call [`Rib::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        todo!("R")
    }

    /// Decides every dirty prefix and packs what each group is to hear, up to a bounded amount of work.
    /// Returns whether work is left: call it again, after looking at what else has come in.
    pub fn run(&mut self, now: Instant) -> bool {
        let _ = now;
        todo!("R")
    }

    /// What to do next.
    pub fn poll(&mut self) -> Option<Output> {
        todo!("R")
    }

    /// Routes for a person: of one prefix (exact), or of all, at most `limit`.
    #[must_use]
    pub fn routes(&self, scope: Scope, prefix: Option<Prefix>, limit: usize, now: Instant) -> Vec<RouteView> {
        let _ = (scope, prefix, limit, now);
        todo!("R")
    }

    /// Counts for one peer.
    #[must_use]
    pub fn counts(&self, peer: PeerId) -> PeerCounts {
        let _ = peer;
        todo!("R")
    }

    /// Best paths of every prefix, as one change each: for an owner that starts anew.
    #[must_use]
    pub fn best(&self) -> Vec<BestChange> {
        let _ = NextHop::V4(Ipv4Addr::UNSPECIFIED);
        todo!("R")
    }
}
