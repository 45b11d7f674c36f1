//! What is wanted, stored so that routes by the same next hops share them: the seam for next-hop objects.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use ipnetwork::IpNetwork;

use crate::{
    kernel_route::canonical,
    route::{Change, Hop, Route, Target, TunnelEnd},
};

/// What many desired routes share: everything but the prefix.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Path {
    pub(crate) target: Target,
    pub(crate) mtu: Option<u32>,
    pub(crate) source: Option<IpAddr>,
}

impl Path {
    pub(crate) fn tunnels(&self) -> impl Iterator<Item = TunnelEnd> + '_ {
        self.target.hops().filter_map(|(hop, _)| match hop {
            Hop::Tunnel(end) => Some(*end),
            Hop::Direct { .. } => None,
        })
    }
}

/// What is wanted for one prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    Path(Arc<Path>),
    /// Nothing, and what is there of Linnet's goes, swept or not. Kept until it is gone.
    Gone,
}

/// All that is wanted.
#[derive(Debug, Default)]
pub(crate) struct Desired {
    wants: HashMap<IpNetwork, Want>,
    /// Each path and how many routes have it.
    paths: HashMap<Arc<Path>, usize>,
    tunnels_changed: bool,
}

impl Desired {
    /// Takes a change in; returns its prefix.
    pub(crate) fn change(&mut self, change: Change) -> IpNetwork {
        let (prefix, want) = match change {
            Change::Put(route) => (canonical(route.prefix), Want::Path(self.share(route))),
            Change::Remove(prefix) => (canonical(prefix), Want::Gone),
        };
        if let Want::Path(path) = &want {
            *self.paths.entry(path.clone()).or_default() += 1;
        }
        if let Some(Want::Path(old)) = self.wants.insert(prefix, want) {
            self.release(&old);
        }
        prefix
    }

    pub(crate) fn want(&self, prefix: IpNetwork) -> Option<&Want> {
        self.wants.get(&prefix)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (IpNetwork, &Want)> {
        self.wants.iter().map(|(prefix, want)| (*prefix, want))
    }

    /// Distinct paths.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Arc<Path>> {
        self.paths.keys()
    }

    /// A removal is done: nothing is left to remember.
    pub(crate) fn settled(&mut self, prefix: IpNetwork) {
        if self.wants.get(&prefix) == Some(&Want::Gone) {
            self.wants.remove(&prefix);
        }
    }

    /// Whether the set of tunnel ends may have changed since the last call.
    pub(crate) fn take_tunnels_changed(&mut self) -> bool {
        std::mem::take(&mut self.tunnels_changed)
    }

    /// Wants nothing any more; what is there goes.
    pub(crate) fn clear(&mut self) {
        self.wants.clear();
        self.paths.clear();
        self.tunnels_changed = true;
    }

    fn share(&mut self, route: Route) -> Arc<Path> {
        let path = Path { target: normal(route.target), mtu: route.mtu, source: route.source };
        if let Some((shared, _)) = self.paths.get_key_value(&path) {
            return shared.clone();
        }
        self.tunnels_changed |= path.tunnels().next().is_some();
        Arc::new(path)
    }

    fn release(&mut self, path: &Arc<Path>) {
        if let Some(count) = self.paths.get_mut(path) {
            *count -= 1;
            if *count == 0 {
                self.paths.remove(path);
                self.tunnels_changed |= path.tunnels().next().is_some();
            }
        }
    }
}

/// The order of hops means nothing, nor does naming one twice.
fn normal(target: Target) -> Target {
    match target {
        Target::Forward(mut hops) => {
            hops.sort();
            hops.dedup();
            Target::Forward(hops)
        }
        Target::Weighted(mut hops) => {
            hops.sort();
            hops.dedup();
            Target::Weighted(hops)
        }
        Target::Unreachable | Target::Blackhole | Target::Device(_) => target,
    }
}
