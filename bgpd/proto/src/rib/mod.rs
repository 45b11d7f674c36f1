//! The RIB: what every peer sent, which path is best and why, and what every peer is to hear.
//!
//! One value, one thread. Commands and `handle_*` only mark prefixes dirty; [`Rib::run`] decides each dirty prefix once,
//! reports changed best paths and packs UPDATEs for each update group; [`Rib::poll`] hands them out: call `run`, then
//! `poll` until it gives `None`. [`Rib::poll_timeout`] says when to call [`Rib::handle_timeout`].
//!
//! Memory is bounded for a peer that does not read: bytes handed out by [`Output::Send`] count against the peer until
//! [`Rib::handle_sent`] takes them back; above a limit the peer's changes conflate to the newest until it has caught up.

mod adj_in;
mod adj_out;
mod adverts;
mod aggregates;
mod attrs;
mod config;
mod convergence;
pub mod decision;
mod defaults;
mod drain;
mod export;
mod import;
mod inward;
mod journal;
mod lag;
mod loc;
mod otc;
mod outward;
mod pack;
mod packed;
mod path_sets;
mod peers;
mod query;
mod reachable;
mod resolvability;
mod retained;
mod table;
mod trial;
mod validation;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::filter::Validation;
use crate::prefix_limit::Excess;
use crate::rtr::VrpTable;
use crate::session::Established;
use crate::time::Instant;
use crate::types::{Family, PathId, PeerId, Prefix};
use crate::wire::Update;
use crate::wire::attributes::Attributes;

use adj_out::Groups;
use adverts::View;
use aggregates::Contributions;
pub use aggregates::{Aggregate, Aggregates};
use attrs::AttrStore;
pub use config::{Awaited, PeerPolicy, RibConfig};
use convergence::Convergence;
pub use convergence::Deferral;
pub use drain::Drain;
use export::GroupKey;
use journal::Journal;
pub use journal::{Held, KnownPeer, Seen};
use loc::{Scratch, best_change};
use peers::{ImportPolicies, ImportPolicy, Live, Peer, Peers, at};
pub use query::PageStart;
pub use retained::Retained;
use table::{News, Path, PrefixId, Table};
pub use trial::{ExportTrial, ExportVerdict};
use validation::Revalidation;

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
    /// The peer has sent as many prefixes as are worth a warning.
    ManyPrefixes(PeerId),
    /// The peer sent more prefixes than it may, or paths to one: end its session.
    TooManyPrefixes(PeerId, Excess),
}

/// A prefix whose best path, multipath set or backup changed.
#[derive(Clone, Debug, PartialEq)]
pub struct BestChange {
    /// Which.
    pub prefix: Prefix,
    /// The best path first, then the paths equal to it; empty: the prefix is gone. What the speaker originates itself is
    /// here too, with [`PeerId::LOCAL`].
    pub paths: Vec<BestPath>,
    /// Where there is one path: the one that takes over should its next hop be lost, which is the best of those that lead
    /// elsewhere.
    pub backup: Option<BestPath>,
    /// Nothing changed but the backup.
    pub only_backup: bool,
}

/// One path of a multipath set.
#[derive(Clone, Debug, PartialEq)]
pub struct BestPath {
    /// Who sent it.
    pub peer: PeerId,
    /// Its attributes behind the import filter.
    pub attributes: Arc<Attributes>,
    /// Packets are to be dropped: it has the community BLACKHOLE, from a peer that may say so (RFC 7999).
    pub discard: bool,
}

impl BestPath {
    /// What it can carry, in octets a second, if it says so.
    #[must_use]
    pub fn bandwidth(&self) -> Option<u64> {
        // Less than one octet is more than nothing.
        self.attributes.link_bandwidth().map(|bandwidth| (bandwidth as u64).max(1))
    }
}

/// A route as a person sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteView {
    /// The prefix.
    pub prefix: Prefix,
    /// Who sent it; [`PeerId::LOCAL`] if we originate it.
    pub peer: PeerId,
    /// The peer's, and ours for [`Scope::Advertised`]; 0 without ADD-PATH.
    pub path_id: PathId,
    /// Attributes: behind the import filter if it was accepted, else as they came; as sent for [`Scope::Advertised`].
    pub attributes: Arc<Attributes>,
    /// As they came, before the import filter; as sent for [`Scope::Advertised`].
    pub received: Arc<Attributes>,
    /// The best path.
    pub best: bool,
    /// In the multipath set (the best path too).
    pub multipath: bool,
    /// Kept for a peer that is restarting (RFC 4724), or not announced again yet in a refresh that is under way (RFC 7313).
    pub stale: bool,
    /// What the VRPs say of it (RFC 6811); `None` while routes are not validated, and for what we originate or sent.
    pub validation: Option<Validation>,
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
    /// The accepted paths of prefixes of which no path has a next hop in reach: nothing leads there (RFC 4271 section
    /// 9.1.2.1).
    Unresolved,
}

/// Counts for one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerCounts {
    /// Paths it sent that we hold.
    pub received: usize,
    /// Of these, accepted.
    pub accepted: usize,
    /// In this session they were once as many as are worth a warning.
    pub warned: bool,
    /// Paths that it has been sent: one a prefix without ADD-PATH.
    pub advertised: usize,
    /// Paths that it may hear but cannot be sent: there is no next hop of ours in their family, or their attributes fit
    /// into no message.
    pub withheld: usize,
    /// Bytes handed out for it and not yet taken by its socket.
    pub unsent_bytes: usize,
    /// Its session is up, and it has not been handed all that it is to hear, or its socket has not taken it.
    pub behind: bool,
}

/// The RIB.
#[derive(Debug)]
pub struct Rib {
    config: RibConfig,
    peers: Peers,
    policies: ImportPolicies,
    /// Our addresses on all sessions, sorted. A path is checked against them when it comes, not again when they change.
    own_addresses: Vec<IpAddr>,
    store: AttrStore,
    /// By family, as everything of two elements here.
    tables: [Table; 2],
    /// Prefixes that we originate, or no longer do, to be decided although the family is deferred.
    own: [Vec<PrefixId>; 2],
    /// Prefixes that have lost their last path in this run.
    empty: [Vec<PrefixId>; 2],
    /// What was decided and the update groups were not told yet, with whether what is chosen is other than before.
    groups_untold: Vec<(Family, PrefixId, bool)>,
    /// Prefixes without a path whose number a peer that is behind still needs.
    remembered: [Vec<PrefixId>; 2],
    groups: Groups,
    convergence: Convergence,
    /// What routes are validated against; `None`: they are not.
    vrps: Option<VrpTable>,
    revalidation: Option<Box<Revalidation>>,
    journal: Journal,
    contributions: Contributions,
    /// Prefixes on which some peer's default route depends.
    conditions: Vec<Prefix>,
    scratch: Scratch,
    outputs: VecDeque<Output>,
    best_watched: bool,
}

impl Rib {
    /// An empty RIB.
    #[must_use]
    pub fn new(config: RibConfig, now: Instant) -> Self {
        let limit = now + config.deferral.unwrap_or(config.convergence);
        Self {
            convergence: Convergence::new(limit, config.deferral.is_some(), config.awaited, now),
            config,
            peers: Peers::default(),
            policies: ImportPolicies::default(),
            own_addresses: Vec::new(),
            store: AttrStore::default(),
            tables: Family::ALL.map(Table::new),
            own: Default::default(),
            empty: Default::default(),
            groups_untold: Vec::new(),
            remembered: Default::default(),
            groups: Groups::default(),
            vrps: None,
            revalidation: None,
            journal: Journal::default(),
            contributions: Contributions::default(),
            conditions: Vec::new(),
            scratch: Scratch::default(),
            outputs: VecDeque::new(),
            best_watched: false,
        }
    }

    /// Makes a peer known, or changes its policy; with its session up, both filters are applied again to every route it
    /// sent and hears (what an import filter rejected was kept). [`PeerId::LOCAL`] is no peer and is ignored.
    pub fn set_peer(&mut self, peer: PeerId, policy: PeerPolicy, now: Instant) {
        match self.peers.get(peer) {
            _ if peer == PeerId::LOCAL => return,
            None => {
                self.peers.insert(peer, Peer::new(policy));
                self.number_import(peer);
            }
            Some(known) if known.policy == policy => return,
            Some(_) => self.change_policy(peer, policy),
        }
        self.refresh_defaults(now);
        self.own_addresses = self.peers.own_addresses();
    }

    /// Finds the number of the peer's import policy; whether it is another than before.
    fn number_import(&mut self, id: PeerId) -> bool {
        let Some(peer) = self.peers.get(id) else { return false };
        let peers = &self.peers;
        let used = |number| peers.iter().any(|(_, peer)| peer.import == number);
        let number = self.policies.number(ImportPolicy::of(&self.config, peer), used);
        self.peers.get_mut(id).is_some_and(|peer| std::mem::replace(&mut peer.import, number) != number)
    }

    fn change_policy(&mut self, id: PeerId, policy: PeerPolicy) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        // A filter may ask for the name.
        let renamed = peer.policy.name != policy.name;
        let seen = |policy: &PeerPolicy| (policy.client, policy.address, policy.blackhole);
        let source_changed = seen(&peer.policy) != seen(&policy) || renamed;
        // What an export says of a source has its address in it.
        peer.generation = peer.generation.wrapping_add(u32::from(source_changed));
        peer.set_policy(policy);
        if self.number_import(id) || renamed {
            self.import_again(id);
        }
        if source_changed {
            self.source_changed(id);
        }
        let drain = self.config.drain;
        if let Some(key) = self.peers.get(id).and_then(|peer| GroupKey::of(peer, drain)) {
            self.groups.move_member(id, key, &mut self.store);
        }
        self.check_limit(id);
    }

    /// A limit set below what is already here, or a share of it that is reached.
    pub(super) fn check_limit(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let many = peer.policy.warn_prefixes.is_some_and(|many| peer.received_total() >= many as usize);
        if let Some(live) = peer.session.as_mut().filter(|live| many && !live.warned) {
            live.warned = true;
            self.outputs.push_back(Output::ManyPrefixes(id));
        }
        let above = peer.policy.max_prefixes.is_some_and(|most| peer.received_total() > most as usize);
        if let Some(live) = peer.session.as_mut().filter(|live| above && !live.too_many) {
            live.too_many = true;
            self.outputs.push_back(Output::TooManyPrefixes(id, Excess::Prefixes));
        }
    }

    /// Forgets a peer and everything it sent.
    pub fn remove_peer(&mut self, peer: PeerId, now: Instant) {
        self.handle_down(peer, None, now);
        for family in Family::ALL {
            self.remove_paths(peer, family, false);
        }
        self.peers.remove(peer);
        self.refresh_defaults(now);
        self.own_addresses = self.peers.own_addresses();
    }

    /// Whether somebody else wants [`Output::Best`] of what changes from now on, whatever [`RibConfig::tell_best`] says.
    pub fn watch_best(&mut self, on: bool) {
        self.best_watched = on;
    }

    /// Changes how many paths a multipath set may have; every prefix is decided again.
    pub fn set_max_paths(&mut self, max_paths: usize) {
        if std::mem::replace(&mut self.config.max_paths, max_paths) == max_paths {
            return;
        }
        for table in &mut self.tables {
            for id in table.occupied(0).collect::<Vec<_>>() {
                table.mark(id, News::Nothing);
            }
        }
    }

    /// Originates a prefix. `attributes.next_hop`: unspecified stands for "ourselves, as each session's own address".
    pub fn originate(&mut self, prefix: Prefix, attributes: Attributes, now: Instant) {
        self.originate_path(prefix, attributes, now);
    }

    /// No longer originates a prefix.
    pub fn withdraw(&mut self, prefix: Prefix) {
        self.withdraw_path(prefix);
    }

    /// The subnet of one of our interfaces that both ends of the peer's next session are in; `None`: they share none. Say it
    /// before [`Rib::handle_up`].
    pub fn set_segment(&mut self, peer: PeerId, segment: Option<Prefix>) {
        if let Some(known) = self.peers.get_mut(peer) {
            known.segment = segment;
        }
    }

    /// The peer's session is up: it gets the whole table, then End-of-RIB; stale routes wait for its own.
    pub fn handle_up(&mut self, peer: PeerId, established: &Established, now: Instant) {
        self.handle_down(peer, None, now);
        let Some(known) = self.peers.get_mut(peer) else { return };
        let (external, router_id) = (established.receive.external, established.remote_id);
        let before = (known.external, known.router_id, known.address());
        known.found = Some(established.remote_address);
        let source_changed = before != (external, router_id, known.address());
        let border_changed = (known.external, known.remote_as) != (external, established.remote_as);
        known.generation = known.generation.wrapping_add(u32::from(source_changed));
        (known.external, known.router_id, known.remote_as) = (external, router_id, established.remote_as);
        known.begin_session(established, now);
        self.own_addresses = self.peers.own_addresses();
        self.keep_stale_after_restart(peer, now);
        if border_changed {
            self.number_import(peer);
            self.import_again(peer);
        }
        if source_changed {
            self.source_changed(peer);
        }
        let drain = self.config.drain;
        if let Some(key) = self.peers.get(peer).and_then(|peer| GroupKey::of(peer, drain)) {
            self.groups.join(peer, key, established.enhanced_refresh);
        }
    }

    /// The peer's session is down. `retain`: keep its routes as stale this long (RFC 4724 section 4.2), those of the
    /// families that its Graceful Restart capability named.
    pub fn handle_down(&mut self, peer: PeerId, retain: Option<Duration>, now: Instant) {
        if self.live(peer).is_none() {
            return;
        }
        self.groups.leave(peer, &mut self.store);
        // What was meant for the old session must not reach the next.
        self.outputs.retain(|output| !matches!(output, Output::Send(to, _) if *to == peer));
        self.lose_session(peer, retain, now);
        self.own_addresses = self.peers.own_addresses();
    }

    /// A peer that is down does not forward what it was said to keep (RFC 5882 section 4.3.1): its stale routes go now.
    pub fn drop_retained(&mut self, peer: PeerId) {
        if self.peers.get(peer).is_some_and(|peer| peer.session.is_none() && peer.retains()) {
            self.drop_stale(peer);
        }
    }

    /// A batch of the peer's UPDATEs, with the marks of refreshes between them.
    pub fn handle_updates(&mut self, peer: PeerId, updates: Vec<Update>, now: Instant) {
        self.take_updates(peer, updates, now);
    }

    /// The peer asks to hear everything again, or the owner wants it to: where both sides have RFC 7313, between BoRR and EoRR.
    pub fn handle_refresh(&mut self, peer: PeerId, family: Family) {
        self.groups.refresh(peer, family, &mut self.store, &mut self.outputs);
    }

    /// The peer's socket took this many bytes of what [`Output::Send`] handed out.
    pub fn handle_sent(&mut self, peer: PeerId, bytes: usize) {
        self.groups.sent(peer, bytes);
    }

    /// Time has come: stale routes go, the deferral ends. Call [`Rib::run`] next.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.expire_stale(now);
        self.expire_refreshes(now);
        self.update_convergence(now);
    }

    /// When to call [`Rib::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let stale = self.peers.iter().filter_map(|(_, peer)| peer.stale_until);
        let long_lived = self.peers.iter().flat_map(|(_, peer)| peer.long_lived_until).flatten();
        stale.chain(long_lived).chain(self.refresh_timeout()).chain(self.convergence_timeout()).min()
    }

    /// [`Rib::decide`], [`Rib::advertise`] and [`Rib::feed`], with nothing in between. Returns whether work is left.
    pub fn run(&mut self, now: Instant) -> bool {
        let more = self.decide(now);
        self.advertise();
        self.feed() || more
    }

    /// Decides every dirty prefix, up to a bounded amount of work. [`Rib::advertise`] is to follow before anything else
    /// changes this value, and [`Rib::feed`] then. Returns whether work is left: call it again, after looking at what else has come in.
    pub fn decide(&mut self, now: Instant) -> bool {
        self.update_convergence(now);
        let revalidates = self.revalidate();
        let mut news = Vec::new();
        let mut budget = self.groups.limits.decisions;
        for family in Family::ALL {
            if self.convergence.defers(family) {
                self.decide_own(family, &mut news);
            } else {
                budget -= self.decide_dirty(family, budget, &mut news);
            }
        }
        if !news.is_empty() {
            self.outputs.push_back(Output::Best(news));
        }
        // Before any End-of-RIB, which may wait for it.
        self.say_converged();
        revalidates
    }

    /// Packs what each group is to hear of what was decided. [`Rib::feed`] is to follow.
    pub fn advertise(&mut self) {
        self.catch_up_groups();
        for family in Family::ALL {
            let (table, deferred) = (&self.tables[at(family)], self.convergence.defers(family));
            let (peers, config, vrps) = (&self.peers, &self.config, self.vrps.as_ref());
            let mut view = View { family, table, store: &mut self.store, peers, config, vrps, deferred, ranked: None };
            self.groups.flush(&mut view, &mut self.outputs);
        }
    }

    /// Packs what members of groups lack that are behind, up to a bounded amount of work, and lets go of what nobody needs any
    /// more. Returns whether work is left, in deciding too.
    pub fn feed(&mut self) -> bool {
        let mut more = false;
        for family in Family::ALL {
            let (table, deferred) = (&self.tables[at(family)], self.convergence.defers(family));
            let settled = !deferred && !table.has_dirty();
            let (peers, config, vrps) = (&self.peers, &self.config, self.vrps.as_ref());
            let mut view = View { family, table, store: &mut self.store, peers, config, vrps, deferred, ranked: None };
            let complete = settled && self.convergence.may_end(family);
            let hungry = self.groups.feed(&mut view, complete, &mut self.outputs);
            more |= hungry || !(settled || deferred);
        }
        self.forget_empty();
        more
    }

    /// Whether as many prefixes wait to be decided about as one call of [`Rib::decide`] decides.
    #[must_use]
    pub fn has_its_fill(&self) -> bool {
        let undecided =
            |family: &Family| if self.convergence.defers(*family) { 0 } else { self.tables[at(*family)].dirty() };
        Family::ALL.iter().map(undecided).sum::<usize>() >= self.groups.limits.decisions
    }

    /// Whether a prefix waits to be decided about; also for as long as its family waits for peers that restart.
    #[must_use]
    pub fn has_undecided(&self) -> bool {
        self.tables.iter().any(Table::has_dirty)
    }

    /// Whether [`Rib::decide`] would decide about a prefix now.
    #[must_use]
    pub fn has_decidable(&self) -> bool {
        Family::ALL.iter().any(|family| !self.convergence.defers(*family) && self.tables[at(*family)].has_dirty())
    }

    /// What to do next.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Routes for a person: of one prefix (exact), or of all, at most `limit`, sorted by prefix.
    #[must_use]
    pub fn routes(&self, scope: Scope, prefix: Option<Prefix>, limit: usize, now: Instant) -> Vec<RouteView> {
        let mut views = match prefix {
            Some(prefix) => self.views_of(scope, prefix, now),
            None => {
                let mut all = Vec::new();
                let mut next = Some(PageStart::default());
                while let Some(start) = next.filter(|_| all.len() < limit) {
                    let (page, rest) = self.view_page(scope, start, limit - all.len(), now);
                    all.extend(page);
                    next = rest;
                }
                all
            }
        };
        views.truncate(limit);
        views.sort_by_key(|view| view.prefix);
        views
    }

    /// A page of all routes, about `limit` of them (never a part of a prefix's), in no order that a person would know:
    /// for an owner that must not keep the RIB busy for long. The next page begins at what is returned.
    #[must_use]
    pub fn routes_page(
        &self,
        scope: Scope,
        start: PageStart,
        limit: usize,
        now: Instant,
    ) -> (Vec<RouteView>, Option<PageStart>) {
        self.view_page(scope, start, limit.max(1), now)
    }

    /// Counts for one peer.
    #[must_use]
    pub fn counts(&self, peer: PeerId) -> PeerCounts {
        let Some(known) = self.peers.get(peer) else { return PeerCounts::default() };
        let (advertised, withheld) = self.groups.counts(peer);
        PeerCounts {
            received: known.received_total(),
            accepted: known.accepted.iter().sum(),
            warned: known.session.as_ref().is_some_and(|live| live.warned),
            advertised,
            withheld,
            unsent_bytes: self.groups.unsent(peer),
            behind: self.groups.is_behind(peer),
        }
    }

    /// Best paths of every prefix, as one change each: for an owner that starts anew.
    #[must_use]
    pub fn best(&self) -> Vec<BestChange> {
        let of_table = |table: &'_ Table| -> Vec<BestChange> {
            let chosen = table.occupied(0).filter(|id| table.best(*id).is_some());
            let attributes = |path: &Path| self.store.attributes(self.store.effective(path)).map(Arc::new);
            chosen.map(|id| best_change(table, id, &self.peers, attributes, false)).collect()
        };
        self.tables.iter().flat_map(of_table).collect()
    }

    fn live(&self, peer: PeerId) -> Option<&Live> {
        self.peers.get(peer)?.session.as_ref()
    }
}

#[cfg(test)]
mod tests;
