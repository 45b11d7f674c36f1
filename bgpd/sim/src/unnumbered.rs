//! Links without addresses: whom each end takes for its neighbour, by router advertisements that get lost, come twice, late, from
//! strangers or broken; and, by hand, whom it should take.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use bgp_proto::discovery::packet::{HOP_LIMIT, Packet};
use bgp_proto::discovery::{self, Discovery, Output};
use bgp_proto::session::Direction;
use bgp_proto::time::Instant;

use crate::network::{Event, Network};
use crate::tcp::{Connection, ConnectionId};
use crate::topology::{NodeId, Topology};

/// A neighbour without a session may be silent for so long before another takes its place.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two advertisements of a stranger.
const STRANGERS_INTERVAL: Duration = Duration::from_secs(4);
/// The most by which a message of a lossy link comes late: later than the one that follows it.
const LATENESS: Duration = Duration::from_secs(12);

/// One node's search for one neighbour; it dies with the process.
#[derive(Debug)]
pub(crate) struct Search {
    discovery: Discovery,
    wake: Option<Instant>,
    book: Book,
}

/// What somebody writes down who sees what really comes in, and knows the rule: the first who is heard is the neighbour, until it has
/// been silent for [`PATIENCE`] without a session.
#[derive(Debug, Default)]
struct Book {
    neighbour: Option<Ipv6Addr>,
    session: bool,
    /// When the neighbour was last heard, or its session came or went.
    last: Instant,
}

impl Book {
    fn hear(&mut self, now: Instant, who: Ipv6Addr) {
        let gives_way = !self.session && now - self.last >= PATIENCE;
        if self.neighbour.is_none_or(|known| known == who || gives_way) {
            (self.neighbour, self.last) = (Some(who), now);
        }
    }
}

/// What is on its way to one side of a link.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    link: usize,
    to: usize,
    source: Ipv6Addr,
    hop_limit: u8,
    octets: Vec<u8>,
    /// It is what a router on the link says, and no forgery or wreck.
    advertises: bool,
}

/// Somebody on a link who says that it is a router, and has no BGP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stranger {
    address: Ipv6Addr,
    /// Which of those that have been on the link: the events of an old one are nobody's.
    number: u64,
}

/// Messages that RFC 4861 tells to discard, from an address that should get no attention by them: hop limit, source, octets.
fn forgeries(from: Ipv6Addr, own: Ipv6Addr) -> Vec<(Ipv6Addr, u8, Vec<u8>)> {
    let sound = Packet::Advertisement.encode();
    let with = |more: &[u8]| [&sound[..], more].concat();
    let global = Ipv6Addr::new(0x2001, 0xdb8, 0xbad, 0, 0, 0, 0, 1);
    vec![
        (from, HOP_LIMIT - 1, sound.clone()),
        (global, HOP_LIMIT, sound.clone()),
        (Ipv6Addr::UNSPECIFIED, HOP_LIMIT, sound.clone()),
        // Ours, come back from the link.
        (own, HOP_LIMIT, sound.clone()),
        (from, HOP_LIMIT, sound[..15].to_vec()),
        (from, HOP_LIMIT, with(&[1, 0, 0, 0, 0, 0, 0, 0])),
        (from, HOP_LIMIT, with(&[1, 2, 0, 0, 0, 0, 0, 0])),
        (from, HOP_LIMIT, [&[134, 1][..], &sound[2..]].concat()),
        // A neighbour advertisement, and a solicitation, which says nothing about routers.
        (from, HOP_LIMIT, [&[136, 0][..], &sound[2..]].concat()),
        (from, HOP_LIMIT, Packet::Solicitation.encode()),
    ]
}

impl Topology {
    /// The address of a node on its link with a neighbour, if the link has no others.
    fn unnumbered(&self, node: NodeId, peer: NodeId) -> Option<Ipv6Addr> {
        let link = self.link(node, peer).filter(|link| self.links[*link].unnumbered)?;
        Some(self.link_local(node, link))
    }
}

impl Network {
    /// Whom a node takes for its neighbour on a link without addresses.
    #[must_use]
    pub fn found(&self, node: NodeId, peer: NodeId) -> Option<Ipv6Addr> {
        let search = self.nodes[node.index()].searches.get(&peer)?;
        Some(search.discovery.neighbour()?.address)
    }

    /// Where a node's session with a neighbour goes; `None`: nobody has been found.
    pub(crate) fn located(&self, node: NodeId, peer: NodeId) -> Option<IpAddr> {
        let link = self.topology.link(node, peer)?;
        match self.topology.links[link].unnumbered {
            true => self.found(node, peer).map(IpAddr::V6),
            false => Some(self.topology.address(peer, link)),
        }
    }

    /// A node begins to look for a neighbour, or looks for it no more.
    pub(crate) fn look_for(&mut self, node: NodeId, peer: NodeId, wanted: bool) {
        self.nodes[node.index()].searches.remove(&peer);
        if !wanted || self.speaker(node).is_none() || self.topology.unnumbered(node, peer).is_none() {
            return;
        }
        let search = Search { discovery: Discovery::new(), wake: None, book: Book::default() };
        self.nodes[node.index()].searches.insert(peer, search);
        self.look(node, peer);
    }

    /// A node looks at its end of the link.
    fn look(&mut self, node: NodeId, peer: NodeId) {
        let (now, own) = (self.now, self.topology.unnumbered(node, peer));
        let Some((link, side)) = self.side(node, peer) else { return };
        let end = match own.filter(|_| !self.is_unplugged(link, side)) {
            Some(own) => discovery::End::Up(own),
            None => discovery::End::Down("the interface is down".to_owned()),
        };
        if let Some(search) = self.nodes[node.index()].searches.get_mut(&peer) {
            search.book = Book::default();
            search.discovery.handle_end(now, end);
            self.follow_search(node, peer);
        }
    }

    pub(crate) fn wake_search(&mut self, node: NodeId, peer: NodeId) {
        let now = self.now;
        let Some(search) = self.nodes[node.index()].searches.get_mut(&peer) else { return };
        if search.wake.is_none_or(|wake| wake > now) {
            return;
        }
        search.wake = None;
        search.discovery.handle_timeout(now);
        self.follow_search(node, peer);
    }

    /// Does what a search asks for.
    fn follow_search(&mut self, node: NodeId, peer: NodeId) {
        let next = |network: &mut Self| network.nodes[node.index()].searches.get_mut(&peer)?.discovery.poll();
        while let Some(output) = next(self) {
            match output {
                Output::Send(packet) => self.send_letter(node, peer, packet),
                Output::Found(address) => {
                    self.stir();
                    self.note(format_args!("{node} finds {address} where {peer} should be"));
                    self.watch_path(node, peer, !self.nodes[node.index()].disabled.contains(&peer));
                    self.tell(node, |speaker, now| speaker.handle_found(peer.as_peer(), now));
                }
                Output::Lost(reason) => {
                    self.stir();
                    self.note(format_args!("{node} loses who was where {peer} should be: {reason}"));
                    self.watch_path(node, peer, false);
                    self.lose_connections(node, peer, &reason);
                }
                Output::Refused(address) => self.note(format_args!("{node} refuses {address} in the place of {peer}")),
            }
        }
        let Some(search) = self.nodes[node.index()].searches.get_mut(&peer) else { return };
        let Some(due) = search.discovery.poll_timeout() else { return };
        if search.wake.is_none_or(|wake| due < wake) {
            search.wake = Some(due);
            self.schedule(due, Event::WakeSearch(node, peer));
        }
    }

    /// A session came up, or is over.
    pub(crate) fn search_hears(&mut self, node: NodeId, peer: NodeId, up: bool) {
        let now = self.now;
        let Some(search) = self.nodes[node.index()].searches.get_mut(&peer) else { return };
        search.discovery.handle_session(now, up);
        (search.book.session, search.book.last) = (up, now);
        let (found, held) = (search.book.neighbour.map(IpAddr::V6), self.far_end(node, peer));
        if up && held.is_some_and(|held| found != Some(held)) {
            self.violation(format!("{node} has a session with {held:?}, and its neighbour is {found:?}"));
        }
    }

    /// The other end of a session that is up.
    pub(crate) fn far_end(&self, node: NodeId, peer: NodeId) -> Option<IpAddr> {
        let session = self.speaker(node)?.session(peer.as_peer())?;
        Some(session.established()?.remote_address)
    }

    /// Somebody has opened a connection; whether it is the neighbour, by whom it is known if there was none.
    pub(crate) fn admits(&mut self, node: NodeId, peer: NodeId, source: Ipv6Addr) -> bool {
        let now = self.now;
        let Some(search) = self.nodes[node.index()].searches.get_mut(&peer) else { return false };
        search.book.hear(now, source);
        let admitted = search.discovery.handle_connection(now, source);
        self.follow_search(node, peer);
        admitted
    }

    // What is on the link.

    fn send_letter(&mut self, node: NodeId, peer: NodeId, packet: Packet) {
        let Some((link, side)) = self.side(node, peer) else { return };
        let source = self.topology.link_local(node, link);
        let advertises = packet == Packet::Advertisement;
        let letter = Letter { link, to: 1 - side, source, hop_limit: HOP_LIMIT, octets: packet.encode(), advertises };
        self.post(&letter);
        // A link that loses some also says some twice.
        if self.air.percent(self.lossy.get(&link).copied().unwrap_or(0)) {
            self.post(&letter);
        }
    }

    fn post(&mut self, letter: &Letter) {
        let loses = self.lossy.get(&letter.link).copied().unwrap_or(0);
        if self.air.percent(loses) || self.is_blocked(letter.link) {
            return;
        }
        let spec = &self.topology.links[letter.link];
        let late = if self.air.percent(loses) { LATENESS } else { Duration::ZERO };
        let due = self.now + spec.delay + self.air.between(Duration::ZERO, spec.jitter + late);
        self.schedule(due, Event::Letter(Box::new(letter.clone())));
    }

    pub(crate) fn take_letter(&mut self, letter: &Letter) {
        let (node, peer) = self.ends_of(letter.link, letter.to);
        let (now, own) = (self.now, self.topology.link_local(node, letter.link));
        if self.is_blocked(letter.link) {
            return;
        }
        let Some(search) = self.nodes[node.index()].searches.get_mut(&peer) else { return };
        if letter.advertises && letter.source != own {
            search.book.hear(now, letter.source);
        }
        search.discovery.handle_message(now, letter.source, letter.hop_limit, &letter.octets);
        self.follow_search(node, peer);
    }

    /// Somebody comes to a link, says that it is a router, and knocks at both ends; `None`: it leaves without a word.
    pub fn set_stranger(&mut self, link: usize, address: Option<Ipv6Addr>) {
        let [a, b] = self.topology.links[link].ends;
        if !self.topology.links[link].unnumbered || (address.is_none() && !self.strangers.contains_key(&link)) {
            return;
        }
        self.note(format_args!("the stranger between {a} and {b} is {address:?}"));
        self.next_stranger += 1;
        match address {
            None => drop(self.strangers.remove(&link)),
            Some(address) => {
                let number = self.next_stranger;
                self.strangers.insert(link, Stranger { address, number });
                self.stranger_speaks(link, number);
            }
        }
    }

    pub(crate) fn stranger_is(&self, link: usize, address: Ipv6Addr) -> bool {
        self.strangers.get(&link).is_some_and(|stranger| stranger.address == address)
    }

    pub(crate) fn stranger_speaks(&mut self, link: usize, number: u64) {
        let Some(stranger) = self.strangers.get(&link).filter(|known| known.number == number) else { return };
        let source = stranger.address;
        for to in [0, 1] {
            let octets = Packet::Advertisement.encode();
            self.post(&Letter { link, to, source, hop_limit: HOP_LIMIT, octets, advertises: true });
        }
        self.schedule(self.now + STRANGERS_INTERVAL, Event::Stranger(link, number));
    }

    /// The stranger opens a connection to one end, and cares no more.
    pub fn knock(&mut self, link: usize, side: usize) {
        let Some(stranger) = self.strangers.get(&link).copied() else { return };
        let (node, _) = self.ends_of(link, side);
        if self.is_blocked(link) || self.speaker(node).is_none() {
            return;
        }
        let id = ConnectionId(self.next_connection);
        self.next_connection += 1;
        let mut between = [stranger.address; 2];
        between[side] = self.topology.link_local(node, link);
        self.note(format_args!("the stranger {} knocks at {node} as c{}", stranger.address, id.0));
        self.connections.insert(id, Connection::strangers(link, 1 - side, between));
        self.accept(id, side);
        self.settle();
    }

    /// Everything that RFC 4861 tells to discard comes to both ends of a link.
    pub fn forge(&mut self, link: usize) {
        if !self.topology.links[link].unnumbered {
            return;
        }
        self.note(format_args!("somebody sends forged advertisements on link {link}"));
        for to in [0, 1] {
            let own = self.topology.link_local(self.ends_of(link, to).0, link);
            for (source, hop_limit, octets) in forgeries(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xbad, 0xbad), own) {
                self.post(&Letter { link, to, source, hop_limit, octets, advertises: false });
            }
        }
    }

    /// An interface goes down, and its owner sees it; or it comes up.
    pub fn unplug(&mut self, link: usize, side: usize, down: bool) {
        let changed = if down { self.unplugged.insert((link, side)) } else { self.unplugged.remove(&(link, side)) };
        if !changed {
            return;
        }
        let (node, peer) = self.ends_of(link, side);
        self.note(format_args!("{node}'s interface to {peer} is {}", if down { "down" } else { "up" }));
        self.look(node, peer);
        if !self.is_blocked(link) {
            self.unblock(link);
        }
        self.settle();
    }

    pub(crate) fn is_unplugged(&self, link: usize, side: usize) -> bool {
        self.unplugged.contains(&(link, side))
    }

    /// A node has another link-local address on a link from now on.
    pub fn renumber(&mut self, link: usize, side: usize) {
        if !self.topology.links[link].unnumbered {
            return;
        }
        let (node, peer) = self.ends_of(link, side);
        self.topology.links[link].renumbered[side] += 1;
        self.note(format_args!("{node} is {} to {peer} now", self.topology.link_local(node, link)));
        self.look(node, peer);
        self.forget_address(link, side);
        self.settle();
    }

    /// Loses what a session has, as its owner does when the link goes.
    fn lose_connections(&mut self, node: NodeId, peer: NodeId, reason: &str) {
        let Some((link, side)) = self.side(node, peer) else { return };
        self.drop_connection(link, side, Direction::Outgoing);
        self.drop_connection(link, side, Direction::Incoming);
        self.tell(node, |speaker, now| speaker.handle_lost(peer.as_peer(), reason, now));
    }

    // What must hold.

    /// Whether two neighbours should have a session if both run, as far as finding each other goes: each is whom the other should
    /// have found.
    pub(crate) fn should_meet(&self, node: NodeId, peer: NodeId) -> bool {
        let takes = |node: NodeId, peer: NodeId| {
            let Some(wanted) = self.topology.unnumbered(peer, node) else { return true };
            let search = self.nodes[node.index()].searches.get(&peer);
            search.is_some_and(|search| search.book.neighbour == Some(wanted))
        };
        takes(node, peer) && takes(peer, node)
    }

    /// What is left of the topology without links on which the two have not found each other.
    pub(crate) fn met(&self) -> Topology {
        let mut topology = self.topology.clone();
        let running = self.running();
        for node in topology.ids() {
            let meets =
                |peer: &NodeId| !running.contains(peer) || !running.contains(&node) || self.should_meet(node, *peer);
            topology.nodes[node.index()].peers.retain(|peer, _| meets(peer));
        }
        topology
    }

    /// At every moment each node takes for its neighbour whom it should.
    ///
    /// # Errors
    /// Who does not.
    pub(crate) fn neighbours_are_the_first_heard(&self) -> Result<(), String> {
        for node in self.running() {
            for (peer, search) in &self.nodes[node.index()].searches {
                let (found, wanted) = (self.found(node, *peer), search.book.neighbour);
                if found != wanted {
                    return Err(format!(
                        "{node} has found {found:?} where {peer} should be, and should have {wanted:?}"
                    ));
                }
                let far_end = self.far_end(node, *peer);
                if far_end.is_some() && far_end != wanted.map(IpAddr::V6) {
                    return Err(format!("{node} has a session with {far_end:?}, and its neighbour is {wanted:?}"));
                }
            }
        }
        Ok(())
    }

    /// At rest, whoever is alone with its neighbour has found it, and on a link with a stranger it has found the one or the other.
    ///
    /// # Errors
    /// Who has not.
    pub(crate) fn neighbours_are_found(&self) -> Result<(), String> {
        self.neighbours_are_the_first_heard()?;
        for node in self.running() {
            for peer in self.nodes[node.index()].searches.keys().copied() {
                let Some(link) = self.topology.link(node, peer).filter(|link| !self.is_blocked(*link)) else {
                    continue;
                };
                let there = self.topology.unnumbered(peer, node).filter(|_| self.speaks_to(peer, node));
                let stranger = self.strangers.get(&link).map(|stranger| stranger.address);
                let found = self.found(node, peer);
                let alone = [there, stranger].into_iter().flatten().count() < 2;
                let right = found.is_some() && (found == there || found == stranger);
                if (there.is_some() || stranger.is_some()) && !right {
                    return Err(format!("{node} has found {found:?}; there are {peer} as {there:?} and {stranger:?}"));
                }
                if alone && there.is_some() && found != there {
                    return Err(format!("{node} is alone with {peer} and has found {found:?}"));
                }
            }
        }
        Ok(())
    }

    /// Whether a node runs and advertises itself to a neighbour.
    fn speaks_to(&self, node: NodeId, peer: NodeId) -> bool {
        self.nodes[node.index()].searches.contains_key(&peer)
    }
}
