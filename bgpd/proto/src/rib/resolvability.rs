//! Next hops that lead nowhere, as the owner says, and the paths that are not decided about because of them.
//!
//! RFC 4271 section 9.1.2 excludes a path from the decision process while its NEXT_HOP cannot be resolved (the Route
//! Resolvability Condition of section 9.1.2.1), so that the next best one is used; section 9.1.3 lets only routes of the
//! Loc-RIB be advertised, so that a prefix of which no path is left is withdrawn from peers. The path stays in its
//! Adj-RIB-In and comes back with its next hop: its peer has said all that it has to say of it.
//!
//! Nothing here knows the routing table. Who does, says so by [`Rib::set_unreachable`]; what nobody has spoken of yet counts
//! as reachable, because a path is asked about only once it is best.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Rib;
use super::attrs::AttrId;
use super::packed::Packed;
use super::table::{News, Path, PrefixId, Table};
use crate::types::{NextHop, PeerId};
use crate::wire::tunnel::Tunnel;

/// What a path is reached by: its next hop, and the ends of its tunnels of the other family, each of which stands for the next
/// hop (RFC 9012 section 6): IPv6 prefixes cross a network of IPv4. One of the same family does not: a router that passed the
/// tunnel on may be cut off while the tunnel's end is not. Which encapsulation this node has is not known here, so that any
/// end in reach keeps the path. Nothing: a link-local next hop is on its link, and no routing table says anything of it.
fn resolvers(next_hop: NextHop, tunnels: &[Tunnel]) -> impl Iterator<Item = IpAddr> {
    let (address, link) = next_hop.gateway();
    let next_hop = Some(address.to_canonical()).filter(|_| link.is_none());
    let ends = tunnels.iter().filter_map(|tunnel| match tunnel {
        Tunnel::Vxlan { endpoint, .. } | Tunnel::IpIp { endpoint, .. } | Tunnel::WireGuard { endpoint, .. } => {
            Some(endpoint.to_canonical())
        }
        Tunnel::Unknown { .. } => None,
    });
    let stands_in = move |end: &IpAddr| next_hop.is_some_and(|next_hop| next_hop.is_ipv6() != end.is_ipv6());
    next_hop.into_iter().chain(ends.filter(stands_in))
}

/// The addresses that are out of reach.
#[derive(Debug, Default)]
pub(crate) struct Unreachable(BTreeSet<IpAddr>);

impl Unreachable {
    /// Whether a path with these cannot be resolved.
    pub(crate) fn concerns(&self, next_hop: NextHop, tunnels: &[Tunnel]) -> bool {
        let mut resolvers = resolvers(next_hop, tunnels).peekable();
        !self.0.is_empty() && resolvers.peek().is_some() && resolvers.all(|address| self.0.contains(&address))
    }

    /// Takes in what changed; `true`: out of reach.
    pub(crate) fn change(&mut self, changes: &[(IpAddr, bool)]) {
        for (address, unreachable) in changes {
            let address = address.to_canonical();
            if *unreachable {
                self.0.insert(address);
            } else {
                self.0.remove(&address);
            }
        }
    }

    /// Forgets what none of these sets depends on, and says what it was.
    pub(crate) fn forget_unused<'a>(&mut self, sets: impl Iterator<Item = &'a Packed>) -> Vec<IpAddr> {
        let used: BTreeSet<IpAddr> = sets.flat_map(|set| resolvers(set.next_hop(), set.tunnels())).collect();
        let mut forgotten = Vec::new();
        self.0.retain(|address| {
            let kept = used.contains(address);
            if !kept {
                forgotten.push(*address);
            }
            kept
        });
        forgotten
    }
}

impl Rib {
    /// Some next hops are out of reach (`true`), or are no longer; all others stay as they are. Addresses only: IPv4-mapped
    /// ones count as IPv4, and link-local next hops whose link is known are never out of reach.
    ///
    /// Costs one look at every set of attributes, and one at every path if that changed any; only prefixes with a path by
    /// one of these next hops are decided again. Call [`Rib::run`] next.
    pub fn set_unreachable(&mut self, changes: &[(IpAddr, bool)]) {
        let changed = self.store.set_unreachable(changes);
        if !changed.contains(&true) {
            return;
        }
        let store = &self.store;
        let is_concerned = |path: &Path| {
            let AttrId(set) = store.effective(path);
            path.peer != PeerId::LOCAL && path.flags.accepted() && changed.get(set as usize) == Some(&true)
        };
        for table in &mut self.tables {
            let concerned: Vec<PrefixId> =
                table.occupied(0).filter(|id| table.paths(*id).as_slice().iter().any(is_concerned)).collect();
            concerned.into_iter().for_each(|id| table.mark(id, News::Nothing));
        }
    }

    /// The next hops that are out of reach, for an owner that makes a new RIB.
    #[must_use]
    pub fn unreachable(&self) -> Vec<IpAddr> {
        self.store.unreachable().0.iter().copied().collect()
    }

    /// Forgets next hops that are out of reach and that no path has, and says which: they count as reachable from now on, so
    /// that peers that name ever new ones do not make this grow without bound.
    pub fn forget_unreachable(&mut self) -> Vec<IpAddr> {
        self.store.forget_unreachable()
    }

    /// How many prefixes have accepted paths of which none has a next hop in reach: what [`super::Scope::Unresolved`] shows.
    #[must_use]
    pub fn unresolved_prefixes(&self) -> usize {
        self.tables.iter().map(Table::unresolved).sum()
    }

    /// For a person: why a path that was accepted is not decided about.
    pub(super) fn unresolved(&self, path: &Path) -> Option<String> {
        let set = self.store.effective(path);
        let unreachable = self.store.merit(set).is_some_and(|merit| merit.unreachable);
        let attributes = self.store.attributes(set).filter(|_| unreachable)?;
        Some(format!("the next hop {} is not reachable", attributes.next_hop.gateway().0.to_canonical()))
    }
}
