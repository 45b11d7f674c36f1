//! BFD between nodes: datagrams that a link may lose, and what a session of BGP is told of its path.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use bgp_proto::bfd::packet::LEN;
use bgp_proto::bfd::{Change, Ear, Hops, Output, Received, SessionConfig, Sessions, State, Target, Told};
use bgp_proto::time::Instant;

use crate::network::{Event, Network};
use crate::topology::NodeId;

/// What a datagram was sent with (RFC 5881 section 5); every link is one hop.
const TTL: u8 = 255;
/// Control Plane Independent, in the second octet (RFC 5880 section 4.1).
const INDEPENDENT: u8 = 0x08;
/// While a session is not Up, it sends no faster (RFC 5880 section 6.8.3).
const SLOW: Duration = Duration::from_secs(1);

/// A packet on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Datagram {
    from: IpAddr,
    to: IpAddr,
    octets: [u8; LEN],
}

/// The BFD of a host.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// `None`: nothing runs it.
    sessions: Option<Sessions>,
    wake: Option<Instant>,
    /// When the last datagram arrives that was sent on a link: none overtakes another.
    arrives: BTreeMap<usize, Instant>,
    /// What the process has been told of its neighbours, and what it makes of that.
    ears: BTreeMap<NodeId, (Told, Ear)>,
    /// Where the session with each neighbour goes.
    at: BTreeMap<NodeId, Target>,
    /// Whose sessions are, those too that end because the neighbour is elsewhere now.
    whose: HashMap<Target, NodeId>,
}

impl Network {
    /// Whether BFD says that a node reaches a neighbour; `None`: it has no session with it.
    #[must_use]
    pub fn path_is_up(&self, node: NodeId, peer: NodeId) -> Option<bool> {
        let Watch { sessions, at, .. } = &self.nodes[node.index()].watch;
        Some(sessions.as_ref()?.status(*at.get(&peer)?)?.state == State::Up)
    }

    /// The other end of a node's BFD session with a neighbour, should it have one.
    fn bfd_target(&self, node: NodeId, peer: NodeId) -> Option<Target> {
        Some(Target { address: self.located(node, peer)?, scope: self.scope(self.topology.link(node, peer)?) })
    }

    /// Of addresses on a link.
    fn scope(&self, link: usize) -> u32 {
        if self.topology.links[link].unnumbered { link as u32 + 1 } else { 0 }
    }

    /// So many of a hundred datagrams on a link are lost from now on.
    pub fn lose_datagrams(&mut self, link: usize, percent: usize) {
        if self.lossy.insert(link, percent).unwrap_or(0) != percent {
            let [a, b] = self.topology.links[link].ends;
            self.note(format_args!("link {a} {b} loses {percent} % of datagrams"));
        }
    }

    /// Changes how a node watches the path to a neighbour, with its session up; `None`: it does so no more.
    pub fn set_bfd(&mut self, node: NodeId, peer: NodeId, config: Option<SessionConfig>) {
        let Some(known) = self.topology.nodes[node.index()].peers.get_mut(&peer) else { return };
        known.bfd = config;
        self.note(format_args!("{node} has another BFD for {peer}: {config:?}"));
        self.watch_path(node, peer, true);
        self.settle();
    }

    /// A process starts, and finds the BFD of its host if that outlived another one.
    pub(crate) fn watch_paths(&mut self, node: NodeId) {
        self.nodes[node.index()].watch.ears.clear();
        for peer in self.topology.node(node).peers.keys().copied().collect::<Vec<_>>() {
            let wanted = !self.nodes[node.index()].removed.contains(&peer);
            // Where a session goes is not known before the neighbour is found, and one that outlived another process goes on.
            if self.located(node, peer).is_some() {
                self.watch_path(node, peer, wanted);
            }
        }
    }

    /// A neighbour's session of BFD is as it is configured, or gone.
    pub(crate) fn watch_path(&mut self, node: NodeId, peer: NodeId, wanted: bool) {
        if self.speaker(node).is_none() {
            return;
        }
        let (target, now) = (self.bfd_target(node, peer), self.now);
        let Watch { sessions, at, whose, .. } = &mut self.nodes[node.index()].watch;
        whose.extend(target.map(|target| (target, peer)));
        let before = match target {
            Some(target) => at.insert(peer, target),
            None => at.remove(&peer),
        };
        if let (Some(sessions), Some(before)) = (sessions, before.filter(|_| before != target)) {
            sessions.remove(now, before);
        }
        let Some(target) = target else { return self.follow_bfd(node) };
        let config = self.topology.peer(node, peer).and_then(|known| known.bfd).filter(|_| wanted);
        let seed = self.seed_of(node);
        let Watch { sessions, ears, .. } = &mut self.nodes[node.index()].watch;
        match (config, &mut *sessions) {
            (Some(config), _) => {
                let sessions = sessions.get_or_insert_with(|| Sessions::new(seed));
                sessions.set(now, target, Hops::Single, config);
                let (told, _) = ears.entry(peer).or_default();
                if let Some(status) = sessions.status(target).filter(|status| status.state == State::Up && !told.up) {
                    *told = told.of_a_session_up(&status);
                }
            }
            (None, Some(sessions)) => sessions.remove(now, target),
            (None, None) => {}
        }
        self.follow_bfd(node);
    }

    /// A process ends. `politely`: it says so in BFD too.
    pub(crate) fn watch_no_more(&mut self, node: NodeId, politely: bool, power: bool) {
        if self.topology.node(node).bfd_outlives && !power {
            return;
        }
        if politely {
            for peer in self.topology.node(node).peers.keys().copied().collect::<Vec<_>>() {
                self.watch_path(node, peer, false);
            }
        }
        self.nodes[node.index()].watch = Watch::default();
    }

    /// A session of BGP has ended.
    pub(crate) fn path_is_doubtful(&mut self, node: NodeId, peer: NodeId) {
        let now = self.now;
        if let Some((told, ear)) = self.nodes[node.index()].watch.ears.get_mut(&peer) {
            ear.session_ended(*told, now);
        }
    }

    /// Does what a node's sessions ask for.
    fn follow_bfd(&mut self, node: NodeId) {
        while let Some(output) = self.nodes[node.index()].watch.sessions.as_mut().and_then(Sessions::poll) {
            match output {
                Output::Send { target, octets, .. } => self.send_datagram(node, target, octets),
                Output::Change { target, change } => self.hear_of_path(node, target, change),
                Output::Gone { .. } => {}
            }
        }
        let Watch { sessions, wake, .. } = &mut self.nodes[node.index()].watch;
        let Some(due) = sessions.as_ref().and_then(Sessions::poll_timeout) else { return };
        if wake.is_none_or(|wake| due < wake) {
            *wake = Some(due);
            self.schedule(due, Event::WakeBfd(node));
        }
    }

    pub(crate) fn wake_bfd(&mut self, node: NodeId) {
        let now = self.now;
        let Watch { sessions, wake, .. } = &mut self.nodes[node.index()].watch;
        if wake.is_none_or(|wake| wake > now) {
            return;
        }
        *wake = None;
        if let Some(sessions) = sessions {
            sessions.handle_timeout(now);
        }
        self.follow_bfd(node);
    }

    fn send_datagram(&mut self, node: NodeId, target: Target, mut octets: [u8; LEN]) {
        let Some(link) = self.way_to(node, target) else { return };
        let side = usize::from(self.topology.links[link].ends[1] == node);
        if self.topology.node(node).bfd_outlives {
            octets[1] |= INDEPENDENT;
        }
        let lost = self.chance.percent(self.lossy.get(&link).copied().unwrap_or(0));
        if lost || self.is_blocked(link) {
            return;
        }
        let spec = &self.topology.links[link];
        let due = self.now + spec.delay + self.chance.between(Duration::ZERO, spec.jitter);
        let last = self.nodes[node.index()].watch.arrives.entry(link).or_insert(due);
        *last = due.max(*last);
        let due = *last;
        let datagram = Datagram { from: self.topology.address(node, link), to: target.address, octets };
        self.schedule(due, Event::Datagram(link, 1 - side, datagram));
    }

    /// A datagram comes to this side of a link.
    pub(crate) fn take_datagram(&mut self, link: usize, side: usize, datagram: &Datagram) {
        let (node, _) = self.ends_of(link, side);
        let now = self.now;
        if self.is_blocked(link) || datagram.to != self.topology.address(node, link) {
            return;
        }
        let source = Target { address: datagram.from, scope: self.scope(link) };
        let Some(sessions) = &mut self.nodes[node.index()].watch.sessions else { return };
        let received = Received { source, ttl: Some(TTL), single_hop: true, payload: &datagram.octets };
        // For a session that it does not have, or not any more: counted, and no more.
        let _ = sessions.handle_datagram(now, &received);
        self.follow_bfd(node);
    }

    fn hear_of_path(&mut self, node: NodeId, target: Target, change: Change) {
        let Some(peer) = self.nodes[node.index()].watch.whose.get(&target).copied() else { return };
        self.note(format_args!("{node} BFD with {peer}: {change:?}"));
        let now = self.now;
        let Watch { sessions, ears, .. } = &mut self.nodes[node.index()].watch;
        let Some(status) = sessions.as_ref().and_then(|sessions| sessions.status(target)) else { return };
        let (told, ear) = ears.entry(peer).or_default();
        *told = told.after(change, &status);
        if let Some(loss) = ear.judge(*told, now) {
            self.tell(node, |speaker, now| {
                let (reason, independent) = (format!("BFD: {}", loss.cause), loss.control_plane_independent);
                speaker.handle_path_loss(peer.as_peer(), reason, independent, now);
            });
        }
    }

    /// The link to the other end of a session, one that is just ending too.
    fn way_to(&self, node: NodeId, target: Target) -> Option<usize> {
        if let Some(link) = target.scope.checked_sub(1) {
            return Some(link as usize);
        }
        let mut links = self.links_of(node).into_iter();
        links.find(|link| {
            self.topology.links[*link].ends.iter().any(|end| self.topology.address(*end, *link) == target.address)
        })
    }

    /// Whether a node's session with a neighbour goes where that is.
    fn aims_at(&self, node: NodeId, peer: NodeId) -> bool {
        let wanted = self.topology.link(node, peer).map(|link| self.topology.address(peer, link));
        self.nodes[node.index()].watch.at.get(&peer).map(|at| at.address) == wanted
    }

    /// At rest, paths whose two ends watch them are up, and no others.
    ///
    /// # Errors
    /// Which one is not.
    pub(crate) fn paths_are_watched(&self) -> Result<(), String> {
        for (node, peer) in self.topology.ids().flat_map(|node| self.neighbours_of(node)) {
            let runs = |node: NodeId, peer: NodeId| {
                let is_configured = self.topology.peer(node, peer).is_some_and(|known| known.bfd.is_some());
                is_configured && self.nodes[node.index()].watch.sessions.is_some()
            };
            if runs(node, peer) {
                let wanted = runs(peer, node) && self.aims_at(node, peer) && self.aims_at(peer, node);
                let is = self.path_is_up(node, peer) == Some(true);
                if wanted != is {
                    return Err(format!("the BFD of {node} with {peer} should be up: {wanted}; it is: {is}"));
                }
            }
        }
        Ok(())
    }

    /// Nobody believes in a path that has been cut for longer than the longest detection time.
    ///
    /// # Errors
    /// Who does.
    pub(crate) fn cut_paths_are_noticed(&self) -> Result<(), String> {
        for (link, since) in &self.cut {
            let spec = &self.topology.links[*link];
            let [a, b] = spec.ends;
            let configs =
                [(a, b), (b, a)].map(|(node, peer)| self.topology.peer(node, peer).and_then(|known| known.bfd));
            let [Some(one), Some(other)] = configs else { continue };
            let interval = one.min_interval.max(other.min_interval).max(SLOW);
            let longest = interval * u32::from(one.detect_mult.max(other.detect_mult)) + spec.delay + spec.jitter;
            if self.now - *since <= longest {
                continue;
            }
            if let Some((node, peer)) =
                [(a, b), (b, a)].into_iter().find(|(node, peer)| self.path_is_up(*node, *peer) == Some(true))
            {
                return Err(format!(
                    "the BFD of {node} with {peer} is up, and the link was cut {:?} ago",
                    self.now - *since
                ));
            }
        }
        Ok(())
    }

    fn neighbours_of(&self, node: NodeId) -> impl Iterator<Item = (NodeId, NodeId)> {
        self.topology.node(node).peers.keys().map(move |peer| (node, *peer))
    }
}
