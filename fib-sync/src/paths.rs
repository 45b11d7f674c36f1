//! The paths that the rest of Linnet has told of, how many routes have each, and what became of it.

use std::{net::IpAddr, sync::Arc};

use crate::{
    PublicKey,
    kernel_paths::KernelPathId,
    plan::Intent,
    resolve::Resolution,
    route::{Hop, Path, PathId, Target, TunnelEnd},
    table::Want,
};

/// A path for routes of one family.
pub(crate) type FamilyPath = (PathId, bool);

/// What a path is for the kernel now.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    pub(crate) resolution: Resolution,
    /// What its routes are to be; `None`: nothing can be written, and what is there stays.
    pub(crate) kernel: Option<KernelPathId>,
}

#[derive(Debug, Default)]
struct Entry {
    /// `None`: it cannot be used, and its routes leave the kernel.
    path: Option<Arc<Path>>,
    users: [u32; 2],
    resolved: [Option<Resolved>; 2],
}

impl Entry {
    fn has_ends(&self) -> bool {
        self.path.as_ref().is_some_and(|path| ends(path).next().is_some())
    }

    fn is_idle(&self) -> bool {
        self.path.is_none() && self.users == [0; 2]
    }
}

/// All paths, by number.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    entries: Vec<Entry>,
    /// To be resolved before the routes that have them are looked at.
    unresolved: Vec<FamilyPath>,
    /// Told anew while they had routes.
    retold: Vec<FamilyPath>,
    /// What some path was resolved to is void.
    voided: bool,
    /// Without routes since somebody last asked.
    unused: Vec<PathId>,
    tunnels_changed: bool,
    /// Told anew while they had routes, which belong to another WireGuard peer now, or to one at last, or to none.
    rekeyed: Vec<FamilyPath>,
}

impl Paths {
    fn entry(&mut self, id: PathId) -> &mut Entry {
        let index = id.0 as usize;
        if index >= self.entries.len() {
            self.entries.resize_with(index + 1, Entry::default);
        }
        &mut self.entries[index]
    }

    /// What the path is from now on. Returns what it was resolved to, if that is void.
    pub(crate) fn tell(&mut self, id: PathId, path: Option<Path>) -> [Option<Resolved>; 2] {
        let path = path.map(|path| Arc::new(normal(path)));
        let entry = self.entry(id);
        if entry.path == path {
            return [None, None];
        }
        let before = entry.path.iter().flat_map(|path| ends(path));
        let tunnels_changed = !before.eq(path.iter().flat_map(|path| ends(path)));
        let rekeyed = entry.path.as_deref().and_then(peer) != path.as_deref().and_then(peer);
        let void = if path.is_none() { std::mem::take(&mut entry.resolved) } else { [None, None] };
        entry.path = path;
        let users = entry.users;
        self.tunnels_changed |= tunnels_changed;
        self.voided |= void.iter().any(Option::is_some);
        let in_use = [false, true].into_iter().filter(|v6| users[usize::from(*v6)] > 0).map(|v6| (id, v6));
        self.rekeyed.extend(in_use.clone().filter(|_| rekeyed));
        self.retold.extend(in_use);
        // Numbers are used again, but what a fleet that has shrunk once needed should not be kept.
        while self.entries.last().is_some_and(Entry::is_idle) {
            self.entries.pop();
        }
        void
    }

    /// One route more.
    pub(crate) fn add_user(&mut self, id: PathId, v6: bool) {
        let entry = self.entry(id);
        let back = entry.users == [0; 2] && entry.has_ends();
        let users = &mut entry.users[usize::from(v6)];
        *users += 1;
        if *users == 1 && entry.resolved[usize::from(v6)].is_none() {
            self.unresolved.push((id, v6));
        }
        self.tunnels_changed |= back;
    }

    /// One route less. Returns what the path was resolved to, if nobody has it any more.
    pub(crate) fn remove_user(&mut self, id: PathId, v6: bool) -> Option<Resolved> {
        let entry = self.entry(id);
        let users = &mut entry.users[usize::from(v6)];
        *users = users.saturating_sub(1);
        if *users > 0 {
            return None;
        }
        let void = entry.resolved[usize::from(v6)].take();
        let unused = entry.users == [0; 2];
        self.voided |= void.is_some();
        let entry = &self.entries[id.0 as usize];
        if unused {
            self.tunnels_changed |= entry.has_ends();
            self.unused.push(id);
        }
        void
    }

    pub(crate) fn get(&self, id: PathId) -> Option<&Arc<Path>> {
        self.entries.get(id.0 as usize)?.path.as_ref()
    }

    pub(crate) fn resolved(&self, (id, v6): FamilyPath) -> Option<&Resolved> {
        self.entries.get(id.0 as usize)?.resolved[usize::from(v6)].as_ref()
    }

    /// Returns what it was before.
    pub(crate) fn set_resolved(&mut self, (id, v6): FamilyPath, resolved: Resolved) -> Option<Resolved> {
        self.entry(id).resolved[usize::from(v6)].replace(resolved)
    }

    /// What is to stand under a key.
    pub(crate) fn intent(&self, want: Want, v6: bool) -> Intent {
        match want {
            Want::Unasked => Intent::Unasked,
            Want::Gone => Intent::Gone,
            Want::Path(id) => match (self.get(id), self.resolved((id, v6))) {
                (None, _) => Intent::Gone,
                (Some(_), Some(Resolved { kernel: Some(kernel), .. })) => Intent::Route(*kernel),
                (Some(_), Some(Resolved { kernel: None, .. }) | None) => Intent::Hold,
            },
        }
    }

    /// Those that have routes and are not resolved yet.
    pub(crate) fn take_unresolved(&mut self) -> Vec<FamilyPath> {
        let mut unresolved = std::mem::take(&mut self.unresolved);
        unresolved.sort_unstable();
        unresolved.dedup();
        unresolved.retain(|path| {
            let entry = self.entries.get(path.0.0 as usize);
            entry.is_some_and(|entry| entry.path.is_some() && entry.users[usize::from(path.1)] > 0)
                && self.resolved(*path).is_none()
        });
        unresolved
    }

    /// Those that were told anew while they had routes, each once.
    pub(crate) fn take_retold(&mut self) -> Vec<FamilyPath> {
        let mut retold = std::mem::take(&mut self.retold);
        retold.sort_unstable();
        retold.dedup();
        retold
    }

    /// Those whose routes are to move to another WireGuard peer.
    pub(crate) fn take_rekeyed(&mut self) -> Vec<FamilyPath> {
        std::mem::take(&mut self.rekeyed)
    }

    /// Whether what a path was resolved to became void since the last call.
    pub(crate) fn take_voided(&mut self) -> bool {
        std::mem::take(&mut self.voided)
    }

    /// Those that lost their last route since this was asked last and have none now.
    pub(crate) fn take_unused(&mut self) -> Vec<PathId> {
        let mut unused = std::mem::take(&mut self.unused);
        unused.sort_unstable();
        unused.dedup();
        unused.retain(|id| self.users(*id) == 0);
        unused
    }

    fn users(&self, id: PathId) -> usize {
        self.entries.get(id.0 as usize).map_or(0, |entry| entry.users.iter().map(|users| *users as usize).sum())
    }

    /// All that have routes, with how many.
    pub(crate) fn in_use(&self) -> impl Iterator<Item = (PathId, usize)> + '_ {
        (0..).map(PathId).take(self.entries.len()).map(|id| (id, self.users(id))).filter(|(_, users)| *users > 0)
    }

    /// All that have routes of a family and can be used.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = (FamilyPath, &Arc<Path>)> {
        self.entries.iter().zip(0..).flat_map(|(entry, number)| {
            let families = [false, true].into_iter().filter(|v6| entry.users[usize::from(*v6)] > 0);
            families.filter_map(move |v6| Some(((PathId(number), v6), entry.path.as_ref()?)))
        })
    }

    /// Whether the set of tunnel ends may have changed since the last call.
    pub(crate) fn take_tunnels_changed(&mut self) -> bool {
        std::mem::take(&mut self.tunnels_changed)
    }
}

/// The hops of a path, the backup being the last.
fn hops(path: &Path) -> impl Iterator<Item = &Hop> {
    path.target.hops().map(|(hop, _)| hop).chain(&path.backup)
}

/// The tunnels of a path.
pub(crate) fn tunnels(path: &Path) -> impl Iterator<Item = TunnelEnd> + '_ {
    hops(path).filter_map(|hop| match hop {
        Hop::Tunnel(end) => Some(*end),
        Hop::Direct { .. } => None,
    })
}

/// The ends of the tunnels of a path, and of the idle one.
pub(crate) fn ends(path: &Path) -> impl Iterator<Item = TunnelEnd> + '_ {
    tunnels(path).chain(path.idle_tunnel)
}

/// What is sent goes encrypted, by some hop at least.
pub(crate) fn is_sealed(path: &Path) -> bool {
    tunnels(path).any(|end| is_wireguard(&end))
}

/// The WireGuard peer that has the prefixes of a path's routes.
pub(crate) fn peer(path: &Path) -> Option<PublicKey> {
    ends(path).find_map(|end| match end {
        TunnelEnd::WireGuard { key, .. } => Some(key),
        TunnelEnd::Vxlan { .. } | TunnelEnd::IpIp { .. } => None,
    })
}

/// What has to be asked for: the links of next hops, and what fits on the way to ends of tunnels.
pub(crate) fn gateways(path: &Path) -> impl Iterator<Item = IpAddr> + '_ {
    hops(path).filter_map(|hop| match hop {
        Hop::Direct { via, device: None, .. } => Some(*via),
        Hop::Direct { device: Some(_), .. } => None,
        Hop::Tunnel(end) => Some(end.endpoint()),
    })
}

fn is_wireguard(end: &TunnelEnd) -> bool {
    matches!(end, TunnelEnd::WireGuard { .. })
}

/// The order of hops means nothing, nor does naming one twice; a backup is another hop. A prefix is one peer's, and that of a hop
/// goes before the one that is idle.
fn normal(path: Path) -> Path {
    let target = normal_target(path.target);
    let sealed = |hop: &Hop| matches!(hop, Hop::Tunnel(end) if is_wireguard(end));
    let has_peer = target.hops().any(|(hop, _)| sealed(hop));
    let other = |backup: &Hop| !has_peer && !sealed(backup) && target.hops().all(|(hop, _)| hop != backup);
    let backup = path.backup.filter(other);
    let idle_tunnel = path.idle_tunnel.filter(|end| !has_peer && is_wireguard(end));
    Path { target, backup, idle_tunnel, ..path }
}

/// Of WireGuard peers the least stays: a prefix can be one peer's only.
fn normal_target(target: Target) -> Target {
    let mut peers = 0;
    let mut only_one_peer = |hop: &Hop| {
        let is_peer = matches!(hop, Hop::Tunnel(TunnelEnd::WireGuard { .. }));
        peers += usize::from(is_peer);
        !is_peer || peers == 1
    };
    match target {
        Target::Forward(mut hops) => {
            hops.sort();
            hops.dedup();
            hops.retain(only_one_peer);
            Target::Forward(hops)
        }
        Target::Weighted(mut hops) => {
            hops.sort();
            hops.dedup();
            hops.retain(|(hop, _)| only_one_peer(hop));
            Target::Weighted(hops)
        }
        Target::Unreachable | Target::Blackhole | Target::Device(_) => target,
    }
}
