//! Loc-RIB: decides dirty prefixes, each once, and says what changed.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::adverts::View;
use super::attrs::AttrStore;
use super::decision::{Candidate, Choice};
use super::peers::{Peer, Peers, at};
use super::table::{News, Path, PathFlags, PrefixId, Table};
use super::{BestChange, BestPath, Rib, RibConfig};
use crate::types::{Family, PeerId, RouterId};
use crate::wire::attributes::Attributes;
use crate::wire::community::Community;

/// Buffers of the decision process, used again for each prefix.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    candidates: Vec<Candidate>,
    /// For each candidate, its place among the prefix's paths.
    places: Vec<usize>,
    choice: Choice,
    /// Candidates for the backup.
    others: Vec<Candidate>,
}

/// Prefixes that a quiet network brings at once.
const FEW: usize = 64;

impl Rib {
    /// Decides up to `budget` dirty prefixes of a family, and tells the update groups. Returns how many it decided.
    pub(super) fn decide_dirty(&mut self, family: Family, budget: usize, news: &mut Vec<BestChange>) -> usize {
        for decided in 0..budget {
            let Some((id, changed)) = self.tables[at(family)].take_dirty() else { return decided };
            self.decide_one(family, id, changed, news);
            if self.tables[at(family)].paths(id).as_slice().is_empty() {
                self.empty[at(family)].push(id);
            }
        }
        budget
    }

    /// Decides what we originate ourselves, or do no more, while the rest of the family is deferred: no peer's End-of-RIB
    /// can change that, and a peer may have to hear of it to find the way back to us. All stays dirty for when the
    /// deferral is over.
    pub(super) fn decide_own(&mut self, family: Family, news: &mut Vec<BestChange>) {
        // One may bring another: the first route in an aggregate.
        while let Some(id) = self.own[at(family)].pop() {
            let paths = self.tables[at(family)].paths_mut(id);
            let ours = paths.of_peer(PeerId::LOCAL);
            if paths.as_slice()[ours].iter().any(|path| path.flags.accepted()) {
                self.decide_one(family, id, News::Chosen, news);
                continue;
            }
            // What peers have said of it has to wait like all that they say.
            for path in paths.as_mut_slice() {
                let flags = path.flags.with(PathFlags::BEST, false).with(PathFlags::MULTIPATH, false);
                path.flags = flags.with(PathFlags::BACKUP, false);
            }
            self.tell(family, id, news);
        }
    }

    fn decide_one(&mut self, family: Family, id: PrefixId, changed: News, news: &mut Vec<BestChange>) {
        let table = &mut self.tables[at(family)];
        let changed = choose(table, id, &self.store, &self.peers, &self.config, &mut self.scratch).max(changed);
        if changed == News::Chosen {
            return self.tell(family, id, news);
        }
        if changed == News::Backup {
            self.tell_owner(family, id, true, news);
        }
        if self.groups.take_several_paths(family) {
            self.tell_groups(family, id, false);
        }
    }

    fn tell_owner(&mut self, family: Family, id: PrefixId, only_backup: bool, news: &mut Vec<BestChange>) {
        let table = &self.tables[at(family)];
        if self.config.tell_best || self.best_watched {
            let (store, peers) = (&mut self.store, &self.peers);
            news.push(best_change(table, id, peers, |path| store.recent(store.effective(path)), only_backup));
        }
    }

    fn tell(&mut self, family: Family, id: PrefixId, news: &mut Vec<BestChange>) {
        self.tell_owner(family, id, false, news);
        self.tell_groups(family, id, true);
        let now = self.convergence.now();
        self.note_contributor(family, id, now);
        self.note_condition(family, id);
    }

    /// At once, while the prefix is at hand. Where the owner waits for what was decided, later, by [`Rib::advertise`].
    fn tell_groups(&mut self, family: Family, id: PrefixId, chosen_changed: bool) {
        if self.config.tell_best {
            self.groups_untold.push((family, id, chosen_changed));
        } else {
            self.prefix_changed(family, id, chosen_changed);
        }
    }

    /// Tells the update groups what they were not told as it was decided.
    pub(super) fn catch_up_groups(&mut self) {
        let mut untold = std::mem::take(&mut self.groups_untold);
        for (family, id, chosen_changed) in untold.drain(..) {
            self.prefix_changed(family, id, chosen_changed);
        }
        // As after any other work: what a table took is not kept for a single change.
        untold.shrink_to(FEW);
        self.groups_untold = untold;
    }

    fn prefix_changed(&mut self, family: Family, id: PrefixId, chosen_changed: bool) {
        let (table, peers, config) = (&self.tables[at(family)], &self.peers, &self.config);
        let (vrps, deferred) = (self.vrps.as_ref(), self.convergence.defers(family));
        let mut view = View { family, table, store: &mut self.store, peers, config, vrps, deferred, ranked: None };
        self.groups.prefix_changed(id, chosen_changed, &mut view);
    }

    /// Lets go of prefixes that have no path, unless a peer that is behind must still hear that they are gone.
    pub(super) fn forget_empty(&mut self) {
        let progress = self.groups.take_progress();
        for family in Family::ALL {
            let mut candidates = std::mem::take(&mut self.empty[at(family)]);
            if progress {
                candidates.append(&mut self.remembered[at(family)]);
            }
            let table = &mut self.tables[at(family)];
            for id in candidates {
                if !table.paths(id).as_slice().is_empty() || table.is_dirty(id) {
                    continue;
                }
                if self.groups.remembers(family, id) {
                    self.remembered[at(family)].push(id);
                } else {
                    table.remove(id);
                }
            }
        }
    }
}

/// Decides one prefix and writes the outcome into its paths. Returns what is other than before.
fn choose(
    table: &mut Table,
    id: PrefixId,
    store: &AttrStore,
    peers: &Peers,
    config: &RibConfig,
    scratch: &mut Scratch,
) -> News {
    let paths = table.paths_mut(id).as_mut_slice();
    candidates(paths, store, peers, scratch);
    scratch.choice.decide(&scratch.candidates, config.max_paths);
    let mut changed = News::Nothing;
    for (place, path) in paths.iter_mut().enumerate() {
        let rank = scratch.choice.paths.iter().position(|&index| scratch.places[index] == place);
        let flags = path.flags.with(PathFlags::BEST, rank == Some(0)).with(PathFlags::MULTIPATH, rank.is_some());
        if flags != path.flags {
            changed = News::Chosen;
        }
        path.flags = flags;
    }
    if config.tell_backup {
        let backup = backup(scratch);
        for (place, path) in paths.iter_mut().enumerate() {
            let flags = path.flags.with(PathFlags::BACKUP, backup == Some(place));
            if flags != path.flags {
                changed = changed.max(News::Backup);
            }
            path.flags = flags;
        }
    }
    let unresolved = scratch.candidates.is_empty() && paths.iter().any(|path| path.flags.accepted());
    table.set_unresolved(id, unresolved);
    changed
}

/// The place of the path that takes over from the only chosen one: the best of those that lead elsewhere. Of several chosen
/// paths the others take over, and what this speaker originates is not lost with a next hop.
fn backup(scratch: &mut Scratch) -> Option<usize> {
    let Scratch { candidates, places, choice, others } = scratch;
    let &[best] = choice.paths.as_slice() else { return None };
    let best = candidates[best];
    if candidates.len() < 2 || best.local {
        return None;
    }
    others.clear();
    let mut places_of_others = places.iter().zip(candidates.iter()).filter(|(_, other)| other.leads_elsewhere(&best));
    others.extend(candidates.iter().filter(|other| other.leads_elsewhere(&best)));
    if others.is_empty() {
        return None;
    }
    choice.decide(others, 1);
    let found = choice.paths.first().copied()?;
    places_of_others.nth(found).map(|(place, _)| *place)
}

fn candidates(paths: &[Path], store: &AttrStore, peers: &Peers, scratch: &mut Scratch) {
    scratch.candidates.clear();
    scratch.places.clear();
    for (place, path) in paths.iter().enumerate().filter(|(_, path)| path.flags.accepted()) {
        if let Some(candidate) = candidate(path, store, peers) {
            scratch.candidates.push(candidate);
            scratch.places.push(place);
        }
    }
}

/// The accepted paths of a prefix that has been decided, the best first. With `deferred`, only what is chosen: what peers
/// say counts only when everybody has said it.
pub(super) fn ranked(table: &Table, id: PrefixId, store: &AttrStore, peers: &Peers, deferred: bool) -> Vec<Path> {
    let paths = table.paths(id).as_slice();
    if table.best(id).is_none() {
        return Vec::new();
    }
    let usable = paths.iter().filter(|path| path.flags.accepted() && (path.flags.chosen() || !deferred));
    let (paths, candidates): (Vec<Path>, Vec<Candidate>) =
        usable.filter_map(|path| Some((*path, candidate(path, store, peers)?))).unzip();
    if paths.len() < 2 {
        return paths;
    }
    Choice::default().rank(&candidates).into_iter().map(|index| paths[index]).collect()
}

/// What the decision process knows of a path; `None`: it is not decided about, because its next hop cannot be resolved
/// (RFC 4271 section 9.1.2.1). What this speaker originates needs none, and neither does what is dropped here (RFC 7999): if
/// such a path followed its next hop, a blackhole that covers it would come and go for ever.
pub(super) fn candidate(path: &Path, store: &AttrStore, peers: &Peers) -> Option<Candidate> {
    let merit = store.merit(store.effective(path))?;
    let peer = peers.get(path.peer);
    let local = path.peer == PeerId::LOCAL;
    let discards = merit.blackhole && peer.is_some_and(|peer| peer.policy.blackhole);
    if merit.unreachable && !local && !discards {
        return None;
    }
    Some(Candidate {
        merit,
        local,
        external: peer.is_some_and(|peer| peer.external),
        router_id: peer.map_or(RouterId(Ipv4Addr::UNSPECIFIED), |peer| peer.router_id),
        address: peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), Peer::address),
        path_id: path.path_id,
    })
}

/// The chosen paths, the best first, and the backup.
pub(super) fn best_change(
    table: &Table,
    id: PrefixId,
    peers: &Peers,
    mut attributes: impl FnMut(&Path) -> Option<Arc<Attributes>>,
    only_backup: bool,
) -> BestChange {
    let mut chosen: Vec<&Path> = table.paths(id).as_slice().iter().filter(|path| path.flags.chosen()).collect();
    chosen.sort_by_key(|path| !path.flags.contains(PathFlags::BEST));
    let mut best_path = |path: &Path| {
        let attributes = attributes(path)?;
        let may_discard = peers.get(path.peer).is_some_and(|peer| peer.policy.blackhole);
        let discard = may_discard && attributes.communities.contains(&Community::BLACKHOLE);
        Some(BestPath { peer: path.peer, attributes, discard })
    };
    let paths = chosen.into_iter().filter_map(&mut best_path).collect();
    let backup = table.paths(id).as_slice().iter().find(|path| path.flags.contains(PathFlags::BACKUP));
    BestChange { prefix: table.prefix(id), paths, backup: backup.and_then(best_path), only_backup }
}
