//! Nodes that are monitored: what their stations and archives are told comes to the tables that the nodes have.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bgp_proto::bmp::Stage;
use bgp_proto::monitor::archive::{self, Peers, TableDump};
use bgp_proto::monitor::station::Voice;
use bgp_proto::monitor::{Carrier, Ending, Scribe, What, Witness};
use bgp_proto::rib::{BestChange, PageStart, RouteView, Scope, Seen};
use bgp_proto::session::DownReason;
use bgp_proto::time::Instant;
use bgp_proto::types::{PathId, PeerId, Prefix};
use bgp_proto::wire::attributes::Attributes;

use crate::archive::{Updates, table};
use crate::network::{Event, Network};
use crate::replay::{Replay, Table};
use crate::topology::NodeId;

/// Paths of one page of the table: few, so that much happens between two pages.
const PAGE: usize = 3;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(20);

/// A node's station, and the node's end of it.
#[derive(Debug, Default)]
pub(crate) struct Monitor {
    scribe: Scribe,
    replay: Option<Replay>,
    /// Files of what peers send.
    updates: Updates,
    /// What the last dump of the table came to, and when it was made.
    dumped: Option<(Instant, BTreeMap<IpAddr, Table>)>,
    /// Where the rest of the table begins that the station has not been told.
    next: Option<PageStart>,
}

impl Network {
    /// A node's station connects, if it has one; if it was connected, anew. It is told the table first.
    pub fn connect_station(&mut self, node: NodeId) {
        if !self.topology.node(node).monitored {
            return;
        }
        let Some(speaker) = &mut self.nodes[node.index()].speaker else { return };
        speaker.set_watched(true);
        self.note(format_args!("the station of {node} connects"));
        let up: Vec<What> = self.nodes[node.index()].monitor.scribe.witnesses().cloned().map(What::Up).collect();
        let loc_rib_up = self.voice(node).loc_rib_up(self.now.since_start());
        let monitor = &mut self.nodes[node.index()].monitor;
        (monitor.replay, monitor.next) = (Some(Replay::default()), Some(PageStart::default()));
        self.say(node, &loc_rib_up.into_iter().flatten().collect::<Vec<u8>>());
        up.iter().for_each(|what| self.tell_station(node, what));
        self.schedule(self.now + PAUSE, Event::Page(node));
    }

    pub(crate) fn next_page(&mut self, node: NodeId) {
        let state = &mut self.nodes[node.index()];
        let (Some(speaker), Some(start)) = (&mut state.speaker, state.monitor.next) else { return };
        let (page, next) = speaker.walk(start, PAGE);
        state.monitor.next = next;
        for what in state.monitor.scribe.page(&page, &Stage::ALL, next.is_none()) {
            self.tell_station(node, &what);
        }
        if next.is_some() {
            self.schedule(self.now + PAUSE, Event::Page(node));
        }
    }

    pub(crate) fn station_hears_up(&mut self, node: NodeId, peer: NodeId) {
        let Some(session) = self.speaker(node).and_then(|speaker| speaker.session(peer.as_peer())) else { return };
        // One that is over already is not worth a word.
        let Some((established, opens)) = session.established().zip(session.opens()) else { return };
        let carrier = Carrier {
            local_port: 179,
            remote_port: 1024,
            sent_open: opens.sent.clone(),
            received_open: opens.received.clone(),
        };
        let (established, carrier) = (Box::new(established.clone()), Box::new(carrier));
        let local_as = self.topology.asn_towards(node, peer);
        let witness = Witness { peer: peer.as_peer(), local_as, established, carrier };
        let what = self.nodes[node.index()].monitor.scribe.up(witness);
        self.archive(node, &what);
        self.tell_station(node, &what);
    }

    pub(crate) fn station_hears_down(&mut self, node: NodeId, peer: NodeId, reason: DownReason) {
        let what = self.nodes[node.index()].monitor.scribe.down(peer.as_peer(), Ending::Down(reason));
        if let Some(what) = what {
            self.archive(node, &what);
            self.tell_station(node, &what);
        }
    }

    pub(crate) fn station_hears(&mut self, node: NodeId, seen: &[Seen]) {
        for seen in seen {
            for what in self.nodes[node.index()].monitor.scribe.seen(seen, |_| true) {
                self.archive(node, &what);
                self.tell_station(node, &what);
            }
        }
    }

    pub(crate) fn station_hears_best(&mut self, node: NodeId, changes: &[BestChange]) {
        if self.nodes[node.index()].monitor.replay.is_some() {
            let what = self.nodes[node.index()].monitor.scribe.best(changes);
            self.tell_station(node, &what);
        }
    }

    /// What happens to sessions, and what peers send, goes into a file.
    fn archive(&mut self, node: NodeId, what: &What) {
        let wanted = what.stage().is_none_or(|stage| stage == Stage::PrePolicy);
        if self.topology.node(node).monitored && wanted {
            let records = archive::records(self.now.since_start(), what);
            if let Err(error) = self.nodes[node.index()].monitor.updates.hear(&records) {
                self.violation(format!("the file of updates of {node}: {error}"));
            }
        }
    }

    /// Every monitored node dumps its table.
    pub(crate) fn dump_tables(&mut self) {
        for node in self.running().into_iter().filter(|node| self.topology.node(*node).monitored).collect::<Vec<_>>() {
            let (now, spec) = (self.now, self.topology.node(node));
            let (router_id, local_as) = (spec.router_id, spec.asn);
            let state = &mut self.nodes[node.index()];
            let Some(speaker) = &mut state.speaker else { continue };
            let known = speaker.rib().known_peers();
            let up: Vec<_> = state.monitor.scribe.witnesses().cloned().collect();
            let (at, now_seconds) = (now.since_start(), now.since_start().as_secs() as u32);
            let (mut dump, mut file) =
                TableDump::begin(&Peers { at, now_seconds, router_id, local_as, known: &known, up: &up });
            let mut next = Some(PageStart::default());
            while let Some(start) = next {
                let (page, rest) = speaker.walk(start, PAGE);
                dump.page(&page, &mut file);
                next = rest;
            }
            match table(&file) {
                Ok(tables) => state.monitor.dumped = Some((now, tables)),
                Err(error) => self.violation(format!("the dump of the table of {node}: {error}")),
            }
        }
    }

    fn voice(&self, node: NodeId) -> Voice<'static> {
        let spec = self.topology.node(node);
        Voice { stages: &Stage::ALL, local_as: spec.asn, router_id: spec.router_id }
    }

    fn tell_station(&mut self, node: NodeId, what: &What) {
        if self.nodes[node.index()].monitor.replay.is_some() {
            let messages = self.voice(node).say(self.now.since_start(), what);
            messages.iter().for_each(|message| self.say(node, message));
        }
    }

    fn say(&mut self, node: NodeId, messages: &[u8]) {
        let Some(replay) = &mut self.nodes[node.index()].monitor.replay else { return };
        if let Err(error) = replay.hear(messages) {
            self.violation(format!("the station of {node} hears of {error}"));
        }
    }

    /// What stations were told comes to what their nodes have of their neighbours and use.
    ///
    /// # Errors
    /// The first path that differs.
    pub(crate) fn stations_know(&self) -> Result<(), String> {
        for node in self.running() {
            let monitor = &self.nodes[node.index()].monitor;
            let (Some(speaker), Some(replay)) = (self.speaker(node), &monitor.replay) else { continue };
            if monitor.next.is_some() {
                continue;
            }
            let best = speaker.rib().best();
            let used = best.iter().filter_map(|change| {
                let path = change.paths.first()?;
                Some(((change.prefix, PathId::default()), plain(&path.attributes)))
            });
            same(node, "Loc-RIB", &used.collect(), replay.loc_rib.as_ref().unwrap_or(&Table::new()))?;
            let up: BTreeMap<_, _> = self
                .topology
                .node(node)
                .peers
                .keys()
                .filter(|peer| self.is_up(node, **peer))
                .filter_map(|peer| Some((self.far_end(node, *peer)?, *peer)))
                .collect();
            if up.keys().ne(replay.peers.keys()) {
                return Err(format!(
                    "{node} has sessions with {:?}, and its station knows of {:?}",
                    up,
                    replay.peers.keys()
                ));
            }
            for ((_, peer), known) in up.iter().zip(replay.peers.values()) {
                let held = speaker.rib().routes(Scope::Received(peer.as_peer()), None, usize::MAX, self.now);
                let rejected = self.rejected(node, peer.as_peer());
                let all = held.iter().map(|view| ((view.prefix, view.path_id), plain(&view.received))).collect();
                let accepted = held.iter().filter(|view| !rejected.contains_key(&(view.prefix, view.path_id)));
                let accepted = accepted.map(|view| ((view.prefix, view.path_id), plain(&view.attributes))).collect();
                same(node, &format!("what {peer} sent"), &all, &known.before)?;
                same(node, &format!("what was accepted of {peer}"), &accepted, &known.behind)?;
            }
        }
        Ok(())
    }

    /// What archives were given comes to what their nodes have: files of updates to what neighbours sent, dumps to what was accepted
    /// of it and what nodes originate.
    ///
    /// # Errors
    /// The first path that differs.
    pub(crate) fn archives_know(&self) -> Result<(), String> {
        for node in self.running().into_iter().filter(|node| self.topology.node(*node).monitored) {
            let Some(speaker) = self.speaker(node) else { continue };
            let monitor = &self.nodes[node.index()].monitor;
            let (mut sent, mut accepted) = (BTreeMap::new(), BTreeMap::new());
            for peer in self.topology.node(node).peers.keys() {
                let Some(address) = self.far_end(node, *peer) else { continue };
                let rejected = self.rejected(node, peer.as_peer());
                let held = speaker.rib().routes(Scope::Received(peer.as_peer()), None, usize::MAX, self.now);
                let path = |view: &RouteView| (view.prefix, view.path_id);
                let all: Table = held.iter().map(|view| (path(view), plain(&view.received))).collect();
                let good = held.iter().filter(|view| !rejected.contains_key(&path(view)));
                let good: Table = good.map(|view| (path(view), plain(&view.attributes))).collect();
                sent.insert(address, all);
                accepted.insert(address, good);
            }
            if !sent.keys().eq(monitor.updates.peers.keys()) {
                let (up, known) = (sent.keys(), monitor.updates.peers.keys());
                return Err(format!("{node} has sessions with {up:?}, and its file of updates knows of {known:?}"));
            }
            for (peer, told) in &monitor.updates.peers {
                same(node, &format!("what {peer} sent, by its file"), &sent[peer], told)?;
            }
            let Some((at, dumped)) = &monitor.dumped else { continue };
            if *at != self.now {
                continue;
            }
            let nobody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
            let spec = self.topology.node(node);
            let own = spec.originated.iter().map(|(prefix, own)| ((*prefix, PathId::default()), plain(own))).collect();
            let mut told = dumped.get(&nobody).cloned().unwrap_or_default();
            // An aggregate is worked out beside what is originated, and held against the oracle elsewhere.
            let made = |prefix: &Prefix| spec.aggregates.iter().any(|aggregate| aggregate.prefix == *prefix);
            told.retain(|(prefix, _), _| spec.originated.contains_key(prefix) || !made(prefix));
            same(node, "its own paths, by its dump", &own, &told)?;
            accepted.retain(|_, table| !table.is_empty());
            if let Some(other) = dumped.keys().find(|peer| **peer != nobody && !accepted.contains_key(*peer)) {
                return Err(format!("the dump of {node} has paths of {other}"));
            }
            for (peer, good) in &accepted {
                same(
                    node,
                    &format!("what was accepted of {peer}, by its dump"),
                    good,
                    dumped.get(peer).unwrap_or(&Table::new()),
                )?;
            }
        }
        Ok(())
    }

    fn rejected(&self, node: NodeId, peer: PeerId) -> Table {
        let views = self.speaker(node).map(|speaker| speaker.rib().routes(Scope::Rejected, None, usize::MAX, self.now));
        let views = views.into_iter().flatten().filter(|view| view.peer == peer);
        views.map(|view| ((view.prefix, view.path_id), plain(&view.received))).collect()
    }
}

/// Without what is this node's alone: the link of a next hop, and its own weight.
fn plain(attributes: &Attributes) -> Attributes {
    let mut plain = attributes.clone();
    plain.next_hop = plain.next_hop.on(None);
    (plain.weight, plain.hints) = (0, None);
    plain
}

fn same(node: NodeId, what: &str, held: &Table, told: &Table) -> Result<(), String> {
    let differs = |path: &&(Prefix, PathId)| held.get(*path) != told.get(*path);
    match held.keys().chain(told.keys()).find(differs) {
        None => Ok(()),
        Some(path) => {
            let (held, told) = (held.get(path), told.get(path));
            Err(format!("{node} has of {what} for {path:?}\n  {held:?}\nand it was told as\n  {told:?}"))
        }
    }
}
