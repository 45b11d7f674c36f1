//! The RIB as a person sees it: each route with the reason why it is used or not.

use std::sync::Arc;

use super::adverts::{Learned, Told};
use super::decision::{Fate, explain};
use super::export::{Source, permits};
use super::import::{self, Rejection};
use super::inward::Inward;
use super::loc::candidate;
use super::peers::at;
use super::table::{Path, PathFlags, PrefixId};
use super::{Rib, RouteView, Scope};
use crate::filter::{Decision, Filter};
use crate::time::{Duration, Instant};
use crate::types::{Family, PeerId, Prefix};

/// Where the next page of routes begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageStart {
    pub(super) family: usize,
    pub(super) prefix: u32,
}

/// Prefixes looked at for one page at most, so that a page of few routes among many takes no longer than another.
const LOOKED_AT: usize = 1 << 16;

impl Rib {
    pub(super) fn views_of(&self, scope: Scope, prefix: Prefix, now: Instant) -> Vec<RouteView> {
        let family = prefix.family();
        match self.tables[at(family)].find(prefix) {
            Some(id) => self.views(scope, family, id, now),
            None => Vec::new(),
        }
    }

    pub(super) fn view_page(
        &self,
        scope: Scope,
        start: PageStart,
        limit: usize,
        now: Instant,
    ) -> (Vec<RouteView>, Option<PageStart>) {
        let mut views = Vec::new();
        let mut looked_at = 0;
        for family in Family::ALL.into_iter().skip(start.family) {
            if scope == Scope::Unresolved && self.tables[at(family)].unresolved() == 0 {
                continue;
            }
            let from = if at(family) == start.family { start.prefix } else { 0 };
            for id in self.tables[at(family)].occupied(from) {
                if views.len() >= limit || looked_at >= LOOKED_AT {
                    return (views, Some(PageStart { family: at(family), prefix: id.0 }));
                }
                views.extend(self.views(scope, family, id, now));
                looked_at += 1;
            }
        }
        (views, None)
    }

    fn views(&self, scope: Scope, family: Family, id: PrefixId, now: Instant) -> Vec<RouteView> {
        let paths = self.tables[at(family)].paths(id).as_slice();
        let shown = |path: &&Path| match scope {
            Scope::Local | Scope::Unresolved => path.flags.accepted(),
            Scope::Received(peer) => path.peer == peer,
            Scope::Rejected => !path.flags.accepted(),
            Scope::Advertised(_) => false,
        };
        if scope == Scope::Unresolved && !self.tables[at(family)].is_unresolved(id) {
            return Vec::new();
        }
        if let Scope::Advertised(peer) = scope {
            return self.advertised_views(peer, family, id, now);
        }
        let mut chosen: Vec<&Path> = paths.iter().filter(shown).collect();
        if chosen.is_empty() {
            return Vec::new();
        }
        chosen.sort_by_key(|path| (!path.flags.contains(PathFlags::BEST), !path.flags.chosen()));
        let fates = self.fates(paths);
        let view = |path: &Path| {
            let (original, effective) = (self.store.original(path), self.store.effective(path));
            let attributes = Arc::new(self.store.attributes(effective)?);
            let received = match original == effective {
                true => attributes.clone(),
                false => Arc::new(self.store.attributes(original)?),
            };
            let fate = fates.iter().find(|(of, _)| std::ptr::eq(*of, path)).map(|(_, fate)| fate);
            Some(RouteView {
                prefix: self.tables[at(family)].prefix(id),
                peer: path.peer,
                path_id: path.path_id,
                received,
                attributes,
                best: path.flags.contains(PathFlags::BEST),
                multipath: path.flags.contains(PathFlags::MULTIPATH),
                stale: path.flags.contains(PathFlags::STALE),
                validation: self.path_validity(self.tables[at(family)].prefix(id), path),
                reason: self.reason(family, id, path, fate),
                age: age(path, now),
            })
        };
        chosen.into_iter().filter_map(view).collect()
    }

    /// What became of each accepted path of a prefix that is decided about.
    fn fates<'a>(&self, paths: &'a [Path]) -> Vec<(&'a Path, Fate)> {
        let accepted = paths.iter().filter(|path| path.flags.accepted());
        let (paths, candidates): (Vec<_>, Vec<_>) =
            accepted.filter_map(|path| Some((path, candidate(path, &self.store, &self.peers)?))).unzip();
        paths.into_iter().zip(explain(&candidates, self.config.max_paths)).collect()
    }

    fn reason(&self, family: Family, id: PrefixId, path: &Path, fate: Option<&Fate>) -> String {
        match (Rejection::from_code(path.flags.rejection()), fate) {
            (Some(Rejection::Filter), _) => self.filter_reason(family, id, path),
            (Some(rejection), _) => rejection.to_string(),
            (None, _) if self.convergence.defers(family) => {
                "not decided yet: after our restart we wait for every peer's End-of-RIB".to_owned()
            }
            (None, Some(fate)) => match self.aggregate_note(self.tables[at(family)].prefix(id), path) {
                Some(note) => format!("{note}; {fate}"),
                None => fate.to_string(),
            },
            (None, None) => self.unresolved(path).unwrap_or_else(|| "not decided yet".to_owned()),
        }
    }

    /// Which rule of the import filter refused the path: asked again of the code that decided.
    fn filter_reason(&self, family: Family, id: PrefixId, path: &Path) -> String {
        let original = self.store.attributes(self.store.original(path));
        let peer = self.peers.get(path.peer);
        let Some((filter, attributes)) = peer.and_then(|peer| peer.policy.import.as_ref()).zip(original) else {
            return Rejection::Filter.to_string();
        };
        let prefix = self.tables[at(family)].prefix(id);
        let Some(peer) = peer else { return Rejection::Filter.to_string() };
        let entered = Inward::of(&self.config, peer).enter(&attributes).ok();
        let route = import::context(peer, self.vrps.as_ref(), prefix, entered.as_deref().unwrap_or(&attributes));
        let decision = filter.decide(&route, peer.policy.local_as);
        format!("rejected by import filter {}", decisive_rule(filter, decision))
    }

    fn advertised_views(&self, peer: PeerId, family: Family, id: PrefixId, now: Instant) -> Vec<RouteView> {
        let sent = self.groups.sent_paths(peer, family, id);
        sent.into_iter().filter_map(|told| self.advertised_view(peer, family, id, told, now)).collect()
    }

    fn advertised_view(
        &self,
        peer: PeerId,
        family: Family,
        id: PrefixId,
        told: Told,
        now: Instant,
    ) -> Option<RouteView> {
        let learned = Learned { family, store: &self.store, peers: &self.peers, config: &self.config };
        let attributes = Arc::new(self.groups.sent_attributes(peer, told, learned)?);
        let table = &self.tables[at(family)];
        let prefix = table.prefix(id);
        let key = self.groups.key_of(peer)?;
        let several = key.context.add_path.contains(family);
        let path = match self.store.path_ids.path(told.path_id).filter(|_| several) {
            Some((from, theirs)) => {
                let paths = table.paths(id);
                paths.find(from, theirs).ok().and_then(|slot| paths.as_slice().get(slot))
            }
            None => table.best(id),
        };
        let best = path.is_none_or(|path| path.flags.contains(PathFlags::BEST));
        let default = key.default_path(table, id);
        let path = default.or(path);
        let best = best || default.is_some();
        let reason = path.and_then(|path| {
            if default.is_some() {
                return Some("originated for this peer (default-originate)".to_owned());
            }
            let learned = self.store.attributes(self.store.effective(path))?;
            let learned_from = self.peers.get(path.peer);
            let source = learned_from.map_or(Source::Local, Source::of);
            Some(
                match (
                    permits(&self.config, key, self.vrps.as_ref(), prefix, &learned, source, learned_from),
                    &key.filter,
                ) {
                    (Ok(Some(accepted)), Some(filter)) => {
                        format!("accepted by export filter {}", decisive_rule(filter, Decision::Accept(accepted)))
                    }
                    (Ok(_), _) if !best => "a further path, for a peer that takes several; no export filter".to_owned(),
                    (Ok(_), _) => "the best path; no export filter".to_owned(),
                    (Err(why), _) => format!("about to be withdrawn: {why}"),
                },
            )
        });
        Some(RouteView {
            prefix,
            peer: path.map_or(PeerId::LOCAL, |path| path.peer),
            path_id: told.path_id,
            received: attributes.clone(),
            attributes,
            best,
            multipath: path.is_none_or(|path| path.flags.chosen()),
            stale: path.is_some_and(|path| path.flags.contains(PathFlags::STALE)),
            validation: None,
            reason: reason.unwrap_or_else(|| "about to be withdrawn: we no longer have this path".to_owned()),
            age: path.map_or(Duration::ZERO, |path| age(path, now)),
        })
    }
}

/// A filter's name with the rule that decided, counted from 1 as a person counts.
fn decisive_rule(filter: &Filter, decision: Decision) -> String {
    match decision {
        Decision::Accept(accepted) => format!("\"{}\", rule {}", filter.name, accepted.rule + 1),
        Decision::Reject(Some(rule)) => format!("\"{}\", rule {}", filter.name, rule + 1),
        Decision::Reject(None) => format!("\"{}\": no rule matches, and the end rejects", filter.name),
    }
}

fn age(path: &Path, now: Instant) -> Duration {
    Duration::from_secs(u64::from(now.seconds().saturating_sub(path.since)))
}
