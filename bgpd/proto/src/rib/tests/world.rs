//! A RIB with peers that read what they are sent, through the real codec.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use crate::filter::Filter;
use crate::prefix_limit::Excess;
use crate::rib::{Awaited, BestPath, Output, PeerPolicy, Rib, RibConfig};
use crate::session::Established;
use crate::time::Instant;
use crate::types::{Asn, Family, FamilySet, NextHop, Nlri, PathId, PeerId, Prefix, RouterId};
use crate::wire::aspath::AsPath;
use crate::wire::attributes::{Attributes, Origin};
use crate::wire::capability::GracefulRestart;
use crate::wire::frame::next_frame;
use crate::wire::update::Announcement;
use crate::wire::{Message, RefreshMark, RouteRefresh, Update, UpdateContext};

pub(super) const OUR_AS: Asn = Asn(64512);
pub(super) const OUR_ID: RouterId = RouterId(Ipv4Addr::new(10, 0, 0, 100));

/// What a peer is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    External(u32),
    Internal,
    Client,
}

pub(super) fn address(peer: u16) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, peer as u8)
}

pub(super) fn our_address() -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, 200)
}

pub(super) fn accept_all(name: &str) -> Option<Arc<Filter>> {
    Some(Arc::new(Filter::accept_all(name)))
}

pub(super) fn policy(peer: u16, role: Role) -> PeerPolicy {
    let open = matches!(role, Role::External(_));
    PeerPolicy {
        client: role == Role::Client,
        add_path_most: 16,
        own_address6: Some("fd00::200".parse().unwrap()),
        import: accept_all("in").filter(|_| open),
        export: accept_all("out").filter(|_| open),
        ..PeerPolicy::new(format!("peer-{peer}"), address(peer).into(), OUR_AS)
    }
}

pub(super) fn context(role: Role) -> UpdateContext {
    let families = FamilySet::from_iter(Family::ALL);
    UpdateContext { external: matches!(role, Role::External(_)), families, ..UpdateContext::PLAIN }
}

pub(super) fn established(peer: u16, role: Role, graceful_restart: Option<GracefulRestart>) -> Established {
    let remote_as = if let Role::External(asn) = role { Asn(asn) } else { OUR_AS };
    let id = RouterId(Ipv4Addr::new(10, 0, 0, peer as u8));
    Established {
        graceful_notification: graceful_restart.as_ref().is_some_and(|restart| restart.notification),
        graceful_restart,
        ..Established::new(remote_as, id, context(role), our_address().into(), address(peer).into())
    }
}

pub(super) fn restarts(restarting: bool, forwards: bool) -> Option<GracefulRestart> {
    let families = Family::ALL.into_iter().map(|family| (family, forwards)).collect();
    Some(GracefulRestart { restarting, notification: false, restart_seconds: 120, families })
}

pub(super) fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

/// A route as `peer` announces it.
pub(super) fn route(peer: u16, as_path: &[u32]) -> Attributes {
    let path = AsPath::sequence(as_path.iter().copied().map(Asn));
    Attributes::new(Origin::Igp, path, NextHop::V4(address(peer)))
}

pub(super) fn route6(peer: u16, as_path: &[u32]) -> Attributes {
    let global = format!("fd00::{peer}").parse().unwrap();
    Attributes { next_hop: NextHop::V6 { global, link_local: None }, ..route(peer, as_path) }
}

pub(super) fn local() -> Attributes {
    Attributes::new(Origin::Igp, AsPath::default(), NextHop::V4(Ipv4Addr::UNSPECIFIED))
}

pub(super) fn announce(attributes: Attributes, prefixes: &[Prefix]) -> Update {
    announce_path(attributes, prefixes, 0)
}

/// As a peer announces it that sends path identifiers.
pub(super) fn announce_path(attributes: Attributes, prefixes: &[Prefix], path_id: u32) -> Update {
    let nlri = prefixes.iter().map(|&prefix| Nlri { prefix, path_id: PathId(path_id) }).collect();
    Update { announced: vec![Announcement { attributes: Arc::new(attributes), nlri }], ..Update::default() }
}

pub(super) fn withdraw(prefixes: &[Prefix]) -> Update {
    withdraw_path(prefixes, 0)
}

pub(super) fn withdraw_path(prefixes: &[Prefix], path_id: u32) -> Update {
    let withdrawn = prefixes.iter().map(|&prefix| Nlri { prefix, path_id: PathId(path_id) }).collect();
    Update { withdrawn, ..Update::default() }
}

pub(super) fn end_of_rib(family: Family) -> Update {
    Update { end_of_rib: Some(family), ..Update::default() }
}

pub(super) fn mark(family: Family, mark: RefreshMark) -> Update {
    Update { mark: Some((family, mark)), ..Update::default() }
}

/// The far end of a session.
#[derive(Debug)]
pub(super) struct Ear {
    context: UpdateContext,
    pub(super) holds: BTreeMap<Prefix, Arc<Attributes>>,
    /// In families with several paths to one prefix, in place of `holds`.
    pub(super) paths: BTreeMap<(Prefix, PathId), Arc<Attributes>>,
    pub(super) ended: Vec<Family>,
    /// What it was told of refreshes.
    pub(super) marks: Vec<(Family, RefreshMark)>,
    /// Of a refresh under way: what it holds and has not heard again.
    stale: BTreeSet<(Prefix, PathId)>,
    /// UPDATEs received.
    pub(super) messages: usize,
    /// Paths announced and withdrawn, in all.
    pub(super) said: usize,
    /// Of these, withdrawn although it did not hold them.
    pub(super) vain: usize,
    pub(super) reads: bool,
    unread: usize,
}

/// A RIB and the far ends.
#[derive(Debug)]
pub(super) struct World {
    pub(super) rib: Rib,
    pub(super) now: Instant,
    pub(super) ears: BTreeMap<u16, Ear>,
    pub(super) best: BTreeMap<Prefix, Vec<BestPath>>,
    /// Of the prefixes that have one.
    pub(super) backups: BTreeMap<Prefix, BestPath>,
    pub(super) best_changes: usize,
    pub(super) converged: Vec<Family>,
    pub(super) too_many: Vec<u16>,
    /// Of the last of them.
    pub(super) excess: Option<Excess>,
    pub(super) many: Vec<u16>,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with_start(None, Awaited::Up)
    }

    pub(super) fn with_deferral(deferral: Option<Duration>) -> Self {
        Self::with_start(deferral, Awaited::Known)
    }

    pub(super) fn with_start(deferral: Option<Duration>, awaited: Awaited) -> Self {
        let config = RibConfig {
            max_paths: 4,
            deferral,
            awaited,
            tell_best: true,
            tell_backup: true,
            ..RibConfig::new(OUR_AS, OUR_ID)
        };
        let now = Instant::from_start(Duration::from_secs(1000));
        Self {
            rib: Rib::new(config, now),
            now,
            ears: BTreeMap::new(),
            best: BTreeMap::new(),
            backups: BTreeMap::new(),
            best_changes: 0,
            converged: Vec::new(),
            too_many: Vec::new(),
            excess: None,
            many: Vec::new(),
        }
    }

    /// Makes a peer known and brings its session up.
    pub(super) fn up(&mut self, peer: u16, role: Role) {
        self.up_with(peer, role, policy(peer, role), None);
    }

    pub(super) fn up_with(&mut self, peer: u16, role: Role, policy: PeerPolicy, restart: Option<GracefulRestart>) {
        self.rib.set_peer(PeerId(peer), policy, self.now);
        self.connect(peer, role, restart);
    }

    pub(super) fn connect(&mut self, peer: u16, role: Role, restart: Option<GracefulRestart>) {
        self.connect_as(peer, established(peer, role, restart));
    }

    pub(super) fn connect_as(&mut self, peer: u16, established: Established) {
        let ear = Ear {
            context: established.send,
            holds: BTreeMap::new(),
            paths: BTreeMap::new(),
            ended: Vec::new(),
            marks: Vec::new(),
            stale: BTreeSet::new(),
            messages: 0,
            said: 0,
            vain: 0,
            reads: true,
            unread: 0,
        };
        self.ears.insert(peer, ear);
        self.rib.handle_up(PeerId(peer), &established, self.now);
    }

    pub(super) fn down(&mut self, peer: u16, retain: Option<Duration>) {
        self.ears.remove(&peer);
        self.rib.handle_down(PeerId(peer), retain, self.now);
    }

    pub(super) fn hear(&mut self, peer: u16, updates: Vec<Update>) {
        self.rib.handle_updates(PeerId(peer), updates, self.now);
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        if self.rib.poll_timeout().is_some_and(|due| due <= self.now) {
            self.rib.handle_timeout(self.now);
        }
    }

    /// One run, and what it brought. Returns whether there is more.
    pub(super) fn step(&mut self) -> bool {
        let more = self.rib.run(self.now);
        while let Some(output) = self.rib.poll() {
            self.take(output);
        }
        more
    }

    /// Runs, with every peer that reads reading, until nothing is left to do.
    pub(super) fn settle(&mut self) {
        for _ in 0..100_000 {
            let more = self.step();
            let mut read = false;
            for (&peer, ear) in self.ears.iter_mut().filter(|(_, ear)| ear.reads && ear.unread > 0) {
                self.rib.handle_sent(PeerId(peer), std::mem::take(&mut ear.unread));
                read = true;
            }
            if !more && !read {
                return;
            }
        }
        panic!("the RIB always says that work is left");
    }

    pub(super) fn holds(&self, peer: u16) -> Vec<String> {
        self.ears[&peer].holds.keys().map(ToString::to_string).collect()
    }

    pub(super) fn unread(&self, peer: u16) -> usize {
        self.ears[&peer].unread
    }

    fn take(&mut self, output: Output) {
        match output {
            Output::Send(peer, bytes) => {
                let ear = self.ears.get_mut(&peer.0).expect("nothing is sent to a peer whose session is down");
                ear.unread += bytes.len();
                let (mut rest, mut messages) = (&bytes[..], 0);
                while let Some(frame) = next_frame(&mut rest, ear.context.max_message_len).expect("whole messages") {
                    match Message::parse(frame, &ear.context).expect("a sound message") {
                        Message::Update(update) => ear.take(update),
                        Message::RouteRefresh(RouteRefresh::Mark(family, mark)) => ear.take_mark(family, mark),
                        other => panic!("the RIB sends UPDATEs and marks, and not {other:?}"),
                    }
                    messages += 1;
                }
                assert!(rest.is_empty(), "{messages} messages, and then a part of one");
            }
            Output::Best(changes) => {
                for change in changes {
                    self.best_changes += 1;
                    match change.backup {
                        Some(backup) => self.backups.insert(change.prefix, backup),
                        None => self.backups.remove(&change.prefix),
                    };
                    if change.paths.is_empty() {
                        self.best.remove(&change.prefix);
                    } else {
                        self.best.insert(change.prefix, change.paths);
                    }
                }
            }
            Output::Converged(family) => self.converged.push(family),
            Output::ManyPrefixes(peer) => self.many.push(peer.0),
            Output::TooManyPrefixes(peer, excess) => {
                self.too_many.push(peer.0);
                self.excess = Some(excess);
            }
        }
    }
}

impl Ear {
    fn take(&mut self, update: Update) {
        assert!(update.faults.is_empty(), "{:?}", update.faults);
        self.messages += 1;
        for nlri in update.withdrawn {
            let held = if self.context.add_path.contains(nlri.prefix.family()) {
                self.paths.remove(&(nlri.prefix, nlri.path_id)).is_some()
            } else {
                self.holds.remove(&nlri.prefix).is_some()
            };
            self.vain += usize::from(!held);
            self.stale.remove(&(nlri.prefix, nlri.path_id));
            self.said += 1;
        }
        for announcement in update.announced {
            for nlri in announcement.nlri {
                if self.context.add_path.contains(nlri.prefix.family()) {
                    self.paths.insert((nlri.prefix, nlri.path_id), announcement.attributes.clone());
                } else {
                    self.holds.insert(nlri.prefix, announcement.attributes.clone());
                }
                self.stale.remove(&(nlri.prefix, nlri.path_id));
                self.said += 1;
            }
        }
        self.ended.extend(update.end_of_rib);
    }

    /// RFC 7313 section 4, as a receiver sees it.
    fn take_mark(&mut self, family: Family, mark: RefreshMark) {
        assert!(self.ended.contains(&family), "{mark:?} of {family} before its End-of-RIB");
        self.marks.push((family, mark));
        let of_family = |(prefix, _): &(Prefix, PathId)| prefix.family() == family;
        let single = self.holds.keys().map(|prefix| (*prefix, PathId(0)));
        match mark {
            RefreshMark::Begin => self.stale.extend(single.chain(self.paths.keys().copied()).filter(of_family)),
            RefreshMark::End => {
                let left: Vec<_> = self.stale.iter().filter(|path| of_family(path)).collect();
                assert!(left.is_empty(), "neither announced again nor withdrawn between BoRR and EoRR: {left:?}");
            }
        }
    }
}

/// What is stale of a peer, by family: how many paths, long-lived ones or not, and for how many seconds more.
pub(super) fn retained(world: &World, peer: u16) -> Vec<(usize, bool, Option<u64>)> {
    let retained = world.rib.retained(PeerId(peer), world.now).into_iter();
    retained.map(|it| (it.paths, it.long_lived, it.left.map(|left| left.as_secs()))).collect()
}
