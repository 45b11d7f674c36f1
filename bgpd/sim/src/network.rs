//! The network as it runs: a heap of timed events, a clock that jumps from one to the next, and what can be done to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use bgp_proto::prefix_limit::PrefixLimit;
use bgp_proto::rib::Drain;
use bgp_proto::rtr::{Changes, Vrp};
use bgp_proto::session::{State, Stop};
use bgp_proto::speaker::{Output, Speaker};
use bgp_proto::time::Instant;
use bgp_proto::types::{Family, PeerId, Prefix};
use bgp_proto::wire::Notification;
use bgp_proto::wire::attributes::Attributes;
use bgp_proto::wire::notification::Cease;

use crate::bfd::Datagram;
use crate::faults::Action;
use crate::limits::Limits;
use crate::monitor::Monitor;
use crate::node::Node;
use crate::random::Random;
use crate::rtr::Item;
use crate::tcp::{Connection, ConnectionId, End};
use crate::topology::{NodeId, PeerSpec, Topology};
use crate::transcript::Transcript;
use crate::unnumbered::{Letter, Stranger};

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// It closes its sessions without a word, so that its peers keep its routes, and exits.
    Silent,
    /// It closes its sessions with Cease and exits.
    Cease,
    /// It is killed, and its kernel closes its connections.
    Killed,
    /// It is killed, and its kernel resets its connections.
    Reset,
    /// The host loses power: nobody is told.
    Power,
}

/// What happens at a moment.
#[derive(Debug)]
pub(crate) enum Event {
    /// Something may have come to this side of a connection.
    Arrive(ConnectionId, usize),
    /// This side reads.
    Read(ConnectionId, usize),
    /// A close that could not send what was queued gives up.
    Linger(ConnectionId, usize),
    /// A speaker's timer.
    Wake(NodeId),
    /// A node's BFD.
    WakeBfd(NodeId),
    /// A datagram comes to this side of a link.
    Datagram(usize, usize, Datagram),
    /// A node's search for a neighbour.
    WakeSearch(NodeId, NodeId),
    /// A message of ICMPv6 comes to a link.
    Letter(Box<Letter>),
    /// A stranger advertises itself on a link, if it is still this one.
    Stranger(usize, u64),
    /// A node's client of its RPKI cache.
    WakeRtr(NodeId),
    /// Something comes to a node or its RPKI cache on this connection.
    Rtr(NodeId, u64, Item),
    /// A node tells its station the next page of the table.
    Page(NodeId),
    /// A session that was down for its prefixes starts again.
    LimitOver(NodeId, NodeId),
    /// Something is done to the network.
    Act(Action),
}

/// A running network.
#[derive(Debug)]
pub struct Network {
    pub(crate) topology: Topology,
    pub(crate) now: Instant,
    pub(crate) nodes: Vec<Node>,
    /// Links on which nothing moves, and since when.
    pub(crate) cut: BTreeMap<usize, Instant>,
    /// Sides of links whose interface is down.
    pub(crate) unplugged: BTreeSet<(usize, usize)>,
    /// Who else is on a link without addresses.
    pub(crate) strangers: BTreeMap<usize, Stranger>,
    pub(crate) next_stranger: u64,
    /// Of a hundred datagrams on a link, how many are lost.
    pub(crate) lossy: BTreeMap<usize, usize>,
    pub(crate) connections: BTreeMap<ConnectionId, Connection>,
    pub(crate) next_connection: u64,
    pub(crate) random: Random,
    /// For what is beside the streams of TCP.
    pub(crate) chance: Random,
    /// For router advertisements.
    pub(crate) air: Random,
    pub(crate) transcript: Transcript,
    /// Sides of connections that may have something to send.
    pub(crate) sending: BTreeSet<(ConnectionId, usize)>,
    /// What must never happen, and did.
    pub(crate) violations: Vec<String>,
    pub(crate) limits: Limits,
    seed: u64,
    events: BTreeMap<(Instant, u64), Event>,
    sequence: u64,
    /// Nodes whose speakers may have something to say.
    dirty: BTreeSet<NodeId>,
    /// When a route or a session last changed.
    active: Instant,
    /// When a session last came up, and how many have gone down.
    last_up: Instant,
    downs: u64,
    handled: u64,
}

/// The stream of chance for datagrams.
const DATAGRAMS: u64 = 24;
/// The stream of chance for router advertisements.
const ADVERTISEMENTS: u64 = 31;
/// Most events of one simulation: more is a loop.
const MOST_EVENTS: u64 = 20_000_000;
/// Most times that a speaker may ask to be woken at one moment.
const MOST_WAKES: u32 = 100;
/// What an operator who stops a session says to the one at the other end (RFC 9003).
pub const OPERATORS_WORDS: &str = "Rack 7 gets new power supplies, größere, until 18:00";

impl Network {
    /// A network in which nothing runs yet. `seed` feeds the speakers' jitter and the network's.
    #[must_use]
    pub fn new(topology: Topology, seed: u64, transcript: Transcript) -> Self {
        let nodes = topology.nodes.iter().map(|_| Node::default()).collect();
        let mut network = Self {
            topology,
            now: Instant::from_start(Duration::from_secs(1)),
            nodes,
            cut: BTreeMap::new(),
            unplugged: BTreeSet::new(),
            strangers: BTreeMap::new(),
            next_stranger: 0,
            lossy: BTreeMap::new(),
            connections: BTreeMap::new(),
            next_connection: 0,
            random: Random::new(seed, 1),
            chance: Random::new(seed, DATAGRAMS),
            air: Random::new(seed, ADVERTISEMENTS),
            transcript,
            sending: BTreeSet::new(),
            violations: Vec::new(),
            limits: Limits::default(),
            seed,
            events: BTreeMap::new(),
            sequence: 0,
            dirty: BTreeSet::new(),
            active: Instant::START,
            last_up: Instant::START,
            downs: 0,
            handled: 0,
        };
        network.topology.ids().for_each(|node| network.run_cache(node, true, true));
        network
    }

    /// What it is meant to be, with every change that was made since.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The virtual clock.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// What happened.
    #[must_use]
    pub fn transcript(&self) -> &Transcript {
        &self.transcript
    }

    /// What must never happen, and did.
    #[must_use]
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// A node's speaker, while it runs.
    #[must_use]
    pub fn speaker(&self, node: NodeId) -> Option<&Speaker> {
        self.nodes[node.index()].speaker.as_ref()
    }

    /// The nodes that run.
    #[must_use]
    pub fn running(&self) -> BTreeSet<NodeId> {
        self.topology.ids().filter(|node| self.speaker(*node).is_some()).collect()
    }

    /// When a session last came up, and how many have gone down since the beginning.
    #[must_use]
    pub fn ups_and_downs(&self) -> (Instant, u64) {
        (self.last_up, self.downs)
    }

    /// TCP connections of which some process knows, and octets that wait in their queues.
    #[must_use]
    pub fn connections(&self) -> (usize, usize) {
        let known = |one: &&Connection| one.ends.iter().any(|end| !matches!(end, End::Waiting | End::Gone));
        let queued = self.connections.values().flat_map(|one| &one.pipes).map(|pipe| pipe.queued).sum();
        (self.connections.values().filter(known).count(), queued)
    }

    /// Does something to the network at a later moment.
    pub fn at(&mut self, time: Instant, action: Action) {
        self.schedule(time, Event::Act(action));
    }

    /// Runs until nothing has changed for `still` and no RIB waits for a time, but not beyond `limit`. Whether it came to rest.
    pub fn run_until_quiet(&mut self, still: Duration, limit: Instant) -> bool {
        self.active = self.now;
        self.settle();
        while let Some((&(time, _), _)) = self.events.first_key_value() {
            if time - self.active > still {
                if !self.routes_wait() && !self.caches_wait() {
                    self.now = self.now.max(self.active + still);
                    self.dump_tables();
                    return self.violations.is_empty();
                }
                self.stir();
            }
            if time > limit || !self.violations.is_empty() {
                return false;
            }
            self.step();
        }
        true
    }

    /// Runs until this moment.
    pub fn run_until(&mut self, end: Instant) {
        self.settle();
        while self.violations.is_empty() && self.events.first_key_value().is_some_and(|((time, _), _)| *time <= end) {
            self.step();
        }
        self.now = self.now.max(end);
    }

    /// Whether time alone changes a RIB: long-lived stale routes (RFC 9494) go after longer than anything else takes.
    fn routes_wait(&self) -> bool {
        let speakers = self.nodes.iter().filter_map(|node| node.speaker.as_ref());
        speakers.map(Speaker::rib).any(|rib| rib.poll_timeout().is_some())
    }

    fn step(&mut self) {
        let Some(((time, _), event)) = self.events.pop_first() else { return };
        self.now = time;
        self.handled += 1;
        if self.handled > MOST_EVENTS {
            self.violations.push(format!("more than {MOST_EVENTS} events: something goes in a loop"));
            return;
        }
        match event {
            Event::Arrive(id, to) => self.arrive(id, to),
            Event::Read(id, side) => self.read(id, side),
            Event::Linger(id, side) => self.give_up(id, side),
            Event::Wake(node) => self.wake(node),
            Event::WakeRtr(node) => self.wake_rtr(node),
            Event::Rtr(node, connection, item) => self.take_rtr(node, connection, item),
            Event::Page(node) => self.next_page(node),
            Event::WakeBfd(node) => self.wake_bfd(node),
            Event::Datagram(link, side, datagram) => self.take_datagram(link, side, &datagram),
            Event::WakeSearch(node, peer) => self.wake_search(node, peer),
            Event::Letter(letter) => self.take_letter(&letter),
            Event::Stranger(link, number) => self.stranger_speaks(link, number),
            Event::LimitOver(node, peer) => self.limit_over(node, peer),
            Event::Act(action) => self.act(action),
        }
        self.settle();
    }

    pub(crate) fn schedule(&mut self, time: Instant, event: Event) {
        self.sequence += 1;
        self.events.insert((time.max(self.now), self.sequence), event);
    }

    pub(crate) fn note(&mut self, what: fmt::Arguments<'_>) {
        self.transcript.note(self.now, what);
    }

    pub(crate) fn violation(&mut self, what: String) {
        self.note(format_args!("VIOLATION {what}"));
        self.violations.push(what);
    }

    /// Something about a route or a session changed.
    pub(crate) fn stir(&mut self) {
        self.active = self.now;
    }

    /// Tells a speaker something, if it runs.
    pub(crate) fn tell(&mut self, node: NodeId, what: impl FnOnce(&mut Speaker, Instant)) {
        if let Some(speaker) = &mut self.nodes[node.index()].speaker {
            what(speaker, self.now);
            self.dirty.insert(node);
        }
    }

    /// Until no speaker has anything to say and no queue can move.
    pub(crate) fn settle(&mut self) {
        loop {
            if let Some(node) = self.dirty.pop_first() {
                while let Some(output) = self.poll(node) {
                    self.obey(node, output);
                }
                self.arm(node);
            } else if let Some((id, side)) = self.sending.pop_first() {
                self.pump(id, side);
            } else {
                return;
            }
        }
    }

    fn poll(&mut self, node: NodeId) -> Option<Output> {
        self.nodes[node.index()].speaker.as_mut()?.poll(self.now)
    }

    fn arm(&mut self, node: NodeId) {
        let state = &mut self.nodes[node.index()];
        let Some(due) = state.speaker.as_ref().and_then(Speaker::poll_timeout) else { return };
        let due = due.max(self.now);
        if state.wake.is_none_or(|wake| due < wake) {
            state.wake = Some(due);
            self.schedule(due, Event::Wake(node));
        }
    }

    pub(crate) fn wake(&mut self, node: NodeId) {
        let state = &mut self.nodes[node.index()];
        if state.wake.is_none_or(|wake| wake > self.now) {
            return;
        }
        state.wake = None;
        let Some(speaker) = &mut state.speaker else { return };
        if speaker.poll_timeout().is_some_and(|due| due <= self.now) {
            let count = if state.woken.0 == self.now { state.woken.1 + 1 } else { 1 };
            state.woken = (self.now, count);
            speaker.handle_timeout(self.now);
            if count > MOST_WAKES {
                self.violation(format!("{node} asks to be woken again and again at one moment"));
                return;
            }
        }
        self.dirty.insert(node);
    }

    fn obey(&mut self, node: NodeId, output: Output) {
        match output {
            Output::Connect(peer) => {
                self.is_to_be_free(node, neighbour(peer));
                self.open(node, neighbour(peer));
            }
            Output::Close(peer, direction) => self.close(node, neighbour(peer), direction),
            Output::Send(peer, direction, bytes) => self.send(node, neighbour(peer), direction, bytes),
            Output::Up(peer) => {
                self.stir();
                self.last_up = self.now;
                self.note(format_args!("{node} up {}", neighbour(peer)));
                self.search_hears(node, neighbour(peer), true);
                self.came_up(node, neighbour(peer));
                self.station_hears_up(node, neighbour(peer));
            }
            Output::Down(peer, reason) => {
                self.stir();
                self.downs += 1;
                self.note(format_args!("{node} down {}: {reason}", neighbour(peer)));
                self.search_hears(node, neighbour(peer), false);
                self.path_is_doubtful(node, neighbour(peer));
                self.station_hears_down(node, neighbour(peer), reason);
            }
            Output::Converged(family) => {
                self.stir();
                self.note(format_args!("{node} converged {family}"));
            }
            Output::Seen(seen) => self.station_hears(node, &seen),
            Output::ManyPrefixes(peer) => self.warned(node, neighbour(peer)),
            Output::TooManyPrefixes(peer) => self.exceeded(node, neighbour(peer)),
            Output::Best(changes) => {
                self.stir();
                self.note(format_args!("{node} best: {} changes", changes.len()));
                for change in changes.iter().take(100) {
                    let from: Vec<_> = change.paths.iter().map(|path| path.peer.0).collect();
                    self.transcript.note(self.now, format_args!("{node}   {} by {from:?}", change.prefix));
                }
                self.station_hears_best(node, &changes);
                self.nodes[node.index()].hear(changes);
            }
        }
    }

    // What can be done to it.

    /// Starts a node's process. `restarted`: it finds the forwarding state of an earlier one.
    pub fn start(&mut self, node: NodeId, restarted: bool) {
        let was_dark = std::mem::take(&mut self.nodes[node.index()].dark);
        if self.speaker(node).is_none() {
            let state = &mut self.nodes[node.index()];
            state.starts += 1;
            let seed = self.seed_of(node);
            let mut speaker = Speaker::new(self.topology.rib_config(node, restarted), seed, self.now);
            for (prefix, attributes) in &self.topology.node(node).originated {
                speaker.originate(*prefix, attributes.clone(), self.now);
            }
            if let Some(vrps) = &self.topology.node(node).vrps {
                speaker.set_validation(true);
                if self.topology.node(node).cache.is_none() {
                    let announced = vrps.iter().copied().collect();
                    speaker.change_vrps(&Changes { announced, withdrawn: Vec::new() }, self.now);
                }
            }
            let unreachable = self.topology.node(node).unreachable.iter().map(|next_hop| (*next_hop, true));
            speaker.set_unreachable(&unreachable.collect::<Vec<_>>());
            let removed = &self.nodes[node.index()].removed;
            for peer in self.topology.node(node).peers.keys().filter(|peer| !removed.contains(peer)) {
                let session = self.topology.session_config(node, *peer, restarted);
                if let Some((session, policy)) = session.zip(self.topology.peer_policy(node, *peer)) {
                    speaker.add_peer(peer.as_peer(), session, policy, self.now);
                    speaker.set_segment(peer.as_peer(), self.topology.segment(node, *peer));
                    speaker.set_prefix_limit(peer.as_peer(), self.topology.prefix_limit(node, *peer), self.now);
                }
            }
            let state = &mut self.nodes[node.index()];
            state.disabled.clear();
            state.speaker = Some(speaker);
            self.dirty.insert(node);
            self.note(format_args!("{node} starts"));
            let removed = self.nodes[node.index()].removed.clone();
            for peer in self.topology.node(node).peers.keys().copied().collect::<Vec<_>>() {
                self.look_for(node, peer, !removed.contains(&peer));
            }
            self.watch_paths(node);
            self.start_rtr(node);
            self.connect_station(node);
        }
        if was_dark {
            for link in self.links_of(node) {
                self.unblock(link);
            }
        }
        self.settle();
    }

    /// Ends a node's process.
    pub fn kill(&mut self, node: NodeId, death: Death) {
        self.note(format_args!("{node} dies: {death:?}"));
        let stop = match death {
            Death::Silent => Some(Stop::Silent),
            Death::Cease => Some(Stop::Cease(Notification::cease(Cease::AdministrativeShutdown))),
            Death::Killed | Death::Reset | Death::Power => None,
        };
        if let Some(stop) = &stop {
            let peers: Vec<_> = self.topology.node(node).peers.keys().copied().collect();
            self.tell(node, |speaker, now| {
                peers.iter().for_each(|peer| speaker.stop_peer(peer.as_peer(), stop.clone(), now));
            });
            self.settle();
        }
        self.stop_rtr(node);
        self.watch_no_more(node, stop.is_some(), death == Death::Power);
        let state = &mut self.nodes[node.index()];
        state.speaker = None;
        state.searches.clear();
        state.wake = None;
        state.reported.clear();
        state.monitor = Monitor::default();
        self.limits.forget(node);
        let state = &mut self.nodes[node.index()];
        state.dark |= death == Death::Power;
        self.drop_connections_of(node, death);
        self.stir();
        self.settle();
    }

    /// A neighbour's session as an operator stops it, or starts it again.
    pub fn enable(&mut self, node: NodeId, peer: NodeId, enabled: bool) {
        let disabled = &mut self.nodes[node.index()].disabled;
        let changed = if enabled { disabled.remove(&peer) } else { disabled.insert(peer) };
        if !changed {
            return;
        }
        self.note(format_args!("{node} {} {peer}", if enabled { "enables" } else { "disables" }));
        self.limits.release(node, peer);
        self.tell(node, |speaker, now| {
            if enabled {
                speaker.start_peer(peer.as_peer(), now);
            } else {
                let cease = Notification::cease_saying(Cease::AdministrativeShutdown, OPERATORS_WORDS);
                let cease = Stop::Cease(cease);
                speaker.stop_peer(peer.as_peer(), cease, now);
            }
        });
        self.watch_path(node, peer, enabled);
        self.settle();
    }

    /// Ends a session that then starts again by itself.
    pub fn reset_session(&mut self, node: NodeId, peer: NodeId) {
        self.note(format_args!("{node} resets its session with {peer}"));
        self.limits.release(node, peer);
        let reset = Stop::Reset(Notification::cease(Cease::AdministrativeReset));
        self.tell(node, |speaker, now| speaker.stop_peer(peer.as_peer(), reset, now));
        self.settle();
    }

    /// A node's BFD loses the path to a neighbour; `independent`: the neighbour's BFD has said that it does not go down with its
    /// process (C).
    pub fn lose_path(&mut self, node: NodeId, peer: NodeId, independent: bool) {
        let bit = if independent { "set" } else { "clear" };
        self.note(format_args!("{node} loses the path to {peer}, whose C is {bit}"));
        self.tell(node, |speaker, now| {
            speaker.handle_path_loss(peer.as_peer(), "BFD: no packet came in time".to_owned(), independent, now);
        });
        self.settle();
    }

    /// Takes a neighbour out of a node's configuration, or puts it back.
    pub fn configure(&mut self, node: NodeId, peer: NodeId, present: bool) {
        let removed = &mut self.nodes[node.index()].removed;
        let changed = if present { removed.remove(&peer) } else { removed.insert(peer) };
        if !changed {
            return;
        }
        self.note(format_args!("{node} {} {peer}", if present { "adds" } else { "removes" }));
        let session = self.topology.session_config(node, peer, false);
        let Some((session, policy)) = session.zip(self.topology.peer_policy(node, peer)) else { return };
        let (segment, limit) = (self.topology.segment(node, peer), self.topology.prefix_limit(node, peer));
        self.limits.forget_peer(node, peer);
        self.look_for(node, peer, present);
        self.tell(node, |speaker, now| {
            if present {
                speaker.add_peer(peer.as_peer(), session, policy, now);
                speaker.set_segment(peer.as_peer(), segment);
                speaker.set_prefix_limit(peer.as_peer(), limit, now);
            } else {
                speaker.remove_peer(peer.as_peer(), now);
            }
        });
        self.watch_path(node, peer, present);
        self.settle();
    }

    /// Changes what a node's policy says of a neighbour, with its session up: filters, client, next-hop-self. What the OPEN
    /// says stays as it is, and so does its limit.
    pub fn set_policy(&mut self, node: NodeId, peer: NodeId, policy: PeerSpec) {
        let Some(known) = self.topology.nodes[node.index()].peers.get_mut(&peer) else { return };
        let PeerSpec {
            families,
            hold_time,
            send_hold,
            connect_retry,
            passive,
            local_as,
            add_path,
            extensions,
            max_prefixes,
            ..
        } = *known;
        *known = PeerSpec {
            families,
            hold_time,
            send_hold,
            connect_retry,
            passive,
            local_as,
            add_path,
            extensions,
            max_prefixes,
            ..policy
        };
        self.note(format_args!("{node} has another policy for {peer}"));
        self.set_terms(node, peer);
    }

    /// Changes what a node lets a neighbour send, with its session up.
    pub fn set_limit(&mut self, node: NodeId, peer: NodeId, limit: Option<PrefixLimit>) {
        let before = self.topology.prefix_limit(node, peer);
        let Some(known) = self.topology.nodes[node.index()].peers.get_mut(&peer) else { return };
        known.max_prefixes = limit;
        if self.topology.prefix_limit(node, peer) != before {
            self.note(format_args!("{node} has another limit for {peer}: {limit:?}"));
            self.limits.release(node, peer);
            self.set_terms(node, peer);
        }
    }

    fn set_terms(&mut self, node: NodeId, peer: NodeId) {
        if self.nodes[node.index()].removed.contains(&peer) {
            return;
        }
        let Some(policy) = self.topology.peer_policy(node, peer) else { return };
        let (segment, limit) = (self.topology.segment(node, peer), self.topology.prefix_limit(node, peer));
        self.tell(node, |speaker, now| {
            if let Some(config) = speaker.session(peer.as_peer()).map(|session| session.config().clone()) {
                speaker.add_peer(peer.as_peer(), config, policy, now);
                speaker.set_segment(peer.as_peer(), segment);
                speaker.set_prefix_limit(peer.as_peer(), limit, now);
            }
        });
        self.settle();
    }

    /// Originates prefixes, or changes their attributes.
    pub fn originate(&mut self, node: NodeId, routes: &[(Prefix, Attributes)]) {
        self.note(format_args!("{node} originates {} prefixes", routes.len()));
        self.topology.nodes[node.index()].originated.extend(routes.iter().cloned());
        self.tell(node, |speaker, now| {
            for (prefix, attributes) in routes {
                speaker.originate(*prefix, attributes.clone(), now);
            }
        });
        self.settle();
    }

    /// A node that validates learns of a VRP, or that there is none any more; from its cache, if it has one.
    pub fn change_vrp(&mut self, node: NodeId, vrp: Vrp, there: bool) {
        let Some(vrps) = &mut self.topology.nodes[node.index()].vrps else { return };
        let mut changes = Changes::default();
        match there {
            true if vrps.insert(vrp) => changes.announced.push(vrp),
            false if vrps.remove(&vrp) => changes.withdrawn.push(vrp),
            true | false => return,
        }
        self.note(format_args!("{node} is to hear of {changes:?}"));
        match self.topology.node(node).cache {
            Some(_) => self.publish(node),
            None => self.tell(node, |speaker, now| speaker.change_vrps(&changes, now)),
        }
        self.settle();
    }

    /// A node's kernel no longer reaches a next hop, or does so again.
    pub fn set_unreachable(&mut self, node: NodeId, next_hop: IpAddr, unreachable: bool) {
        let known = &mut self.topology.nodes[node.index()].unreachable;
        let changed = if unreachable { known.insert(next_hop) } else { known.remove(&next_hop) };
        if !changed {
            return;
        }
        self.note(format_args!("{node} {} {next_hop}", if unreachable { "loses" } else { "reaches" }));
        self.tell(node, |speaker, _| speaker.set_unreachable(&[(next_hop, unreachable)]));
        self.settle();
    }

    /// Withdraws prefixes.
    pub fn withdraw(&mut self, node: NodeId, prefixes: &[Prefix]) {
        self.note(format_args!("{node} withdraws {} prefixes", prefixes.len()));
        for prefix in prefixes {
            self.topology.nodes[node.index()].originated.remove(prefix);
        }
        self.tell(node, |speaker, now| prefixes.iter().for_each(|prefix| speaker.withdraw(*prefix, now)));
        self.settle();
    }

    /// A node asks a neighbour for all its routes again.
    pub fn refresh(&mut self, node: NodeId, peer: NodeId, family: Family) {
        self.note(format_args!("{node} asks {peer} for {family} again"));
        self.tell(node, |speaker, now| {
            speaker.request_refresh(peer.as_peer(), family, now);
        });
        self.settle();
    }

    /// Drains a node, or ends that.
    pub fn drain(&mut self, node: NodeId, drain: Drain) {
        if std::mem::replace(&mut self.topology.nodes[node.index()].drain, drain) == drain {
            return;
        }
        self.note(format_args!("{node} drains: {drain:?}"));
        self.tell(node, |speaker, now| speaker.set_drain(drain, now));
        self.stir();
        self.settle();
    }

    /// For what a process draws in its present life.
    pub(crate) fn seed_of(&self, node: NodeId) -> u64 {
        self.seed ^ (u64::from(node.0) << 48) ^ (self.nodes[node.index()].starts << 56)
    }

    /// Whether the session is up, at this side.
    #[must_use]
    pub fn is_up(&self, node: NodeId, peer: NodeId) -> bool {
        let session = self.speaker(node).and_then(|speaker| speaker.session(peer.as_peer()));
        session.is_some_and(|session| session.state() == State::Established)
    }

    pub(crate) fn links_of(&self, node: NodeId) -> Vec<usize> {
        let links = self.topology.links.iter().enumerate();
        links.filter(|(_, link)| link.ends.contains(&node)).map(|(index, _)| index).collect()
    }
}

/// A peer's number is its node's.
pub(crate) fn neighbour(peer: PeerId) -> NodeId {
    NodeId(peer.0)
}
