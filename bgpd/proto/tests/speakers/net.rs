//! Speakers on a virtual clock, joined by connections without latency.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bgp_proto::filter::Filter;
use bgp_proto::rib::{BestChange, PeerPolicy, RibConfig, RouteView, Scope};
use bgp_proto::session::{Direction, DownReason, LocalRestart, RemoteAs, SessionConfig, State};
use bgp_proto::speaker::{Output, Speaker};
use bgp_proto::time::Instant;
use bgp_proto::types::{Asn, Family, NextHop, PeerId, Prefix, RouterId};
use bgp_proto::wire::aspath::AsPath;
use bgp_proto::wire::attributes::{Attributes, Origin};
use bytes::Bytes;

/// What one end of a session is told.
#[derive(Clone)]
pub(crate) struct Peering {
    pub(crate) client: bool,
    pub(crate) import: Option<Filter>,
    pub(crate) export: Option<Filter>,
    pub(crate) max_prefixes: Option<u32>,
    pub(crate) graceful_restart: bool,
}

impl Peering {
    /// Everything in and everything out.
    pub(crate) fn open() -> Self {
        Self { import: Some(accept()), export: Some(accept()), ..Self::closed() }
    }

    /// No filter: what an external session does then, RFC 8212 says.
    pub(crate) fn closed() -> Self {
        Self { client: false, import: None, export: None, max_prefixes: None, graceful_restart: false }
    }
}

/// A filter that accepts all.
pub(crate) fn accept() -> Filter {
    Filter::accept_all("all")
}

struct Node {
    asn: Asn,
    speaker: Speaker,
    /// Best paths as `Output::Best` told them.
    best: Vec<BestChange>,
    downs: Vec<(PeerId, DownReason)>,
    peers: u16,
}

/// What is on its way to one end of a link's connection.
enum Item {
    Connected,
    Accept,
    Bytes(Bytes),
    End,
}

struct Link {
    /// The two ends: which node, and its name for the other.
    ends: [(usize, PeerId); 2],
    /// By who opened the connection, then by who may send.
    open: [[bool; 2]; 2],
}

pub(crate) struct Net {
    pub(crate) now: Instant,
    nodes: Vec<Node>,
    links: Vec<Link>,
    /// Link, who opened the connection, to which end.
    on_the_way: VecDeque<(usize, usize, usize, Item)>,
}

fn direction(end: usize, opened_by: usize) -> Direction {
    if end == opened_by { Direction::Outgoing } else { Direction::Incoming }
}

fn address(node: usize) -> IpAddr {
    IpAddr::from([10, 0, 0, 1 + node as u8])
}

pub(crate) fn prefix(text: &str) -> Prefix {
    text.parse().expect("a prefix")
}

impl Net {
    /// Nodes 0, 1, 2 ... in these ASes.
    pub(crate) fn new(asns: &[u32]) -> Self {
        let now = Instant::START + Duration::from_secs(1000);
        let node = |(index, asn): (usize, &u32)| {
            let id = RouterId([10, 0, 0, 1 + index as u8].into());
            let config =
                RibConfig { max_paths: 4, tell_best: true, tell_backup: true, ..RibConfig::new(Asn(*asn), id) };
            let speaker = Speaker::new(config, index as u64, now);
            Node { asn: Asn(*asn), speaker, best: Vec::new(), downs: Vec::new(), peers: 0 }
        };
        let nodes = asns.iter().enumerate().map(node).collect();
        Self { now, nodes, links: Vec::new(), on_the_way: VecDeque::new() }
    }

    /// Peers two nodes with each other.
    pub(crate) fn join(&mut self, a: usize, b: usize, a_says: Peering, b_says: Peering) {
        let ends = [a, b].map(|node| {
            self.nodes[node].peers += 1;
            (node, PeerId(self.nodes[node].peers))
        });
        self.links.push(Link { ends, open: Default::default() });
        for (node, other, peer, says) in [(a, b, ends[0].1, a_says), (b, a, ends[1].1, b_says)] {
            let (asn, remote) = (self.nodes[node].asn, self.nodes[other].asn);
            let router_id = RouterId([10, 0, 0, 1 + node as u8].into());
            let session = SessionConfig {
                graceful_restart: says.graceful_restart.then_some(LocalRestart {
                    seconds: 60,
                    restarted: false,
                    off_path: false,
                    notification: false,
                    long_lived_seconds: 0,
                }),
                ..SessionConfig::new(asn, router_id, RemoteAs::Exactly(remote))
            };
            let policy = PeerPolicy {
                client: says.client,
                add_path_most: 16,
                own_address6: Some([0xfd00, 0, 0, 0, 0, 0, 0, 1 + node as u16].into()),
                import: says.import.map(Arc::new),
                export: says.export.map(Arc::new),
                max_prefixes: says.max_prefixes,
                ..PeerPolicy::new(format!("node-{other}"), address(other), asn)
            };
            let now = self.now;
            self.nodes[node].speaker.add_peer(peer, session, policy, now);
        }
        self.settle();
    }

    /// Does something to a node, and lets the consequences play out.
    pub(crate) fn at(&mut self, node: usize, act: impl FnOnce(&mut Speaker, Instant)) {
        act(&mut self.nodes[node].speaker, self.now);
        self.settle();
    }

    pub(crate) fn originate(&mut self, node: usize, text: &str) {
        let prefix = prefix(text);
        let ourselves = match prefix.family() {
            Family::Ipv4Unicast => IpAddr::from([0; 4]),
            Family::Ipv6Unicast => IpAddr::from([0; 16]),
        };
        let attributes = Attributes::new(Origin::Igp, AsPath::default(), NextHop::from(ourselves));
        self.at(node, |speaker, now| speaker.originate(prefix, attributes, now));
    }

    pub(crate) fn withdraw(&mut self, node: usize, text: &str) {
        self.at(node, |speaker, now| speaker.withdraw(prefix(text), now));
    }

    pub(crate) fn speaker(&self, node: usize) -> &Speaker {
        &self.nodes[node].speaker
    }

    /// The name that `node` has for `other`.
    pub(crate) fn peer(&self, node: usize, other: usize) -> PeerId {
        let joined = |link: &Link, a: usize, b: usize| link.ends[0].0 == a && link.ends[1].0 == b;
        let found = self.links.iter().find_map(|link| {
            if joined(link, node, other) {
                Some(link.ends[0].1)
            } else if joined(link, other, node) {
                Some(link.ends[1].1)
            } else {
                None
            }
        });
        found.expect("the two are joined")
    }

    pub(crate) fn state(&self, node: usize, other: usize) -> State {
        self.speaker(node).session(self.peer(node, other)).map_or(State::Idle, |session| session.state())
    }

    /// What a node's best path to a prefix is.
    pub(crate) fn best(&self, node: usize, text: &str) -> Option<RouteView> {
        let routes = self.speaker(node).rib().routes(Scope::Local, Some(prefix(text)), 10, self.now);
        routes.into_iter().find(|route| route.best)
    }

    /// The next hop and the ASes on the path of a node's best path, for a person.
    pub(crate) fn path(&self, node: usize, text: &str) -> Option<(String, String)> {
        let route = self.best(node, text)?;
        Some((route.attributes.next_hop.address().to_string(), route.attributes.as_path.to_string()))
    }

    /// All prefixes for which a node has a best path, as `Output::Best` told them.
    pub(crate) fn told(&self, node: usize) -> Vec<String> {
        let mut known = std::collections::BTreeSet::new();
        for change in &self.nodes[node].best {
            if change.paths.is_empty() {
                known.remove(&change.prefix);
            } else {
                known.insert(change.prefix);
            }
        }
        known.into_iter().map(|prefix| prefix.to_string()).collect()
    }

    pub(crate) fn downs(&self, node: usize) -> &[(PeerId, DownReason)] {
        &self.nodes[node].downs
    }

    /// Cuts every connection between two nodes.
    pub(crate) fn cut(&mut self, a: usize, b: usize) {
        for link in 0..self.links.len() {
            let nodes = self.links[link].ends.map(|(node, _)| node);
            if nodes == [a, b] || nodes == [b, a] {
                for opened_by in [0, 1] {
                    for end in [0, 1] {
                        if self.links[link].open[opened_by][end] {
                            self.on_the_way.push_back((link, opened_by, end, Item::End));
                        }
                    }
                }
            }
        }
        self.settle();
    }

    /// Lets time go on, timer by timer.
    pub(crate) fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        self.settle();
        while let Some(next) = self.nodes.iter().filter_map(|node| node.speaker.poll_timeout()).min() {
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            for node in &mut self.nodes {
                if node.speaker.poll_timeout().is_some_and(|due| due <= self.now) {
                    node.speaker.handle_timeout(self.now);
                }
            }
            self.settle();
        }
        self.now = end;
    }

    fn settle(&mut self) {
        for _ in 0..1_000_000 {
            for node in 0..self.nodes.len() {
                self.poll(node);
            }
            let Some((link, opened_by, end, item)) = self.on_the_way.pop_front() else { return };
            self.arrive(link, opened_by, end, item);
        }
        panic!("the speakers never come to rest");
    }

    fn poll(&mut self, node: usize) {
        while let Some(output) = self.nodes[node].speaker.poll(self.now) {
            match output {
                Output::Connect(peer) => {
                    let (link, end) = self.end_of(node, peer);
                    self.links[link].open[end] = [true; 2];
                    self.on_the_way.push_back((link, end, end, Item::Connected));
                    self.on_the_way.push_back((link, end, 1 - end, Item::Accept));
                }
                Output::Close(peer, direction) => {
                    let (link, end) = self.end_of(node, peer);
                    let opened_by = if direction == Direction::Outgoing { end } else { 1 - end };
                    self.on_the_way.retain(|(on, by, to, _)| (*on, *by, *to) != (link, opened_by, end));
                    if std::mem::take(&mut self.links[link].open[opened_by][end]) {
                        self.on_the_way.push_back((link, opened_by, 1 - end, Item::End));
                    }
                }
                Output::Send(peer, direction, bytes) => {
                    let (link, end) = self.end_of(node, peer);
                    let opened_by = if direction == Direction::Outgoing { end } else { 1 - end };
                    if self.links[link].open[opened_by][end] {
                        self.on_the_way.push_back((link, opened_by, 1 - end, Item::Bytes(bytes)));
                    }
                }
                Output::Best(changes) => self.nodes[node].best.extend(changes),
                Output::Down(peer, reason) => self.nodes[node].downs.push((peer, reason)),
                Output::Up(_)
                | Output::Converged(_)
                | Output::Seen(_)
                | Output::ManyPrefixes(_)
                | Output::TooManyPrefixes(_) => {}
            }
        }
    }

    fn end_of(&self, node: usize, peer: PeerId) -> (usize, usize) {
        let found = self.links.iter().enumerate().find_map(|(link, link_ends)| {
            link_ends.ends.iter().position(|end| *end == (node, peer)).map(|end| (link, end))
        });
        found.expect("a peer of this node")
    }

    fn arrive(&mut self, link: usize, opened_by: usize, end: usize, item: Item) {
        let ends = self.links[link].ends;
        let ((node, peer), (other, other_peer)) = (ends[end], ends[1 - end]);
        let direction = direction(end, opened_by);
        let now = self.now;
        match item {
            Item::Accept if !self.nodes[node].speaker.accepts_incoming(peer) => {
                self.links[link].open[opened_by][end] = false;
                self.on_the_way.push_back((link, opened_by, 1 - end, Item::End));
            }
            Item::Connected | Item::Accept => {
                let (local, remote) = (address(node), address(other));
                self.nodes[node].speaker.handle_connected(peer, direction, local, remote, now);
            }
            Item::Bytes(bytes) => {
                self.nodes[node].speaker.handle_bytes(peer, direction, &bytes, now);
                let left = |way: &(usize, usize, usize, Item)| match way {
                    (on, by, to, Item::Bytes(bytes)) if (*on, *by, *to) == (link, opened_by, end) => bytes.len(),
                    _ => 0,
                };
                let pending = self.on_the_way.iter().map(left).sum();
                self.nodes[other].speaker.handle_sent(other_peer, bytes.len(), pending, now);
            }
            Item::End => {
                self.links[link].open[opened_by][end] = false;
                let reason = "peer closed the connection".to_owned();
                self.nodes[node].speaker.handle_closed(peer, direction, reason, now);
            }
        }
    }
}
