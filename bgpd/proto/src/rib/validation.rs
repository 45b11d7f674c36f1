//! Origin validation (RFC 6811): what the VRPs say of a route, and what is looked at again when they change.

use super::Rib;
use super::peers::{Peer, at};
use super::table::{News, Path, PrefixId};
use crate::filter::Validation;
use crate::rtr::{Changes, Vrp, VrpTable};
use crate::types::{Asn, Family, Ipv4Prefix, Ipv6Prefix, PeerId, Prefix};
use crate::wire::attributes::Attributes;

/// VRPs that have come or gone, and how far the walk over what they cover has come. It is made in steps, so that it keeps
/// nobody waiting.
#[derive(Debug, Default)]
pub(super) struct Revalidation {
    changed: VrpTable,
    /// The first prefix of each family that the walk has not come to.
    next: [u32; 2],
    /// What changed after it began: for the next walk, so that however often VRPs change each walk comes to its end.
    later: VrpTable,
}

impl Rib {
    /// Whether routes are validated; without it they have no state to show, and filters see not-found. Off is how a RIB starts.
    pub fn set_validation(&mut self, on: bool) {
        if on == self.vrps.is_some() {
            return;
        }
        let before = std::mem::replace(&mut self.vrps, on.then(VrpTable::default));
        if before.is_some_and(|before| !before.is_empty()) {
            let everything = [Prefix::V4(Ipv4Prefix::default()), Prefix::V6(Ipv6Prefix::default())];
            self.look_again(everything.into_iter().filter_map(|prefix| Vrp::new(prefix, 0, Asn(0))));
        }
    }

    /// Applies a change of the VRPs. [`Rib::run`] looks again at the routes that it covers, if filters ask for the state: it
    /// imports those of peers whose import filter does, and exports them all where an export filter does.
    pub fn change_vrps(&mut self, changes: &Changes) {
        if let Some(vrps) = &mut self.vrps {
            vrps.apply(changes);
            self.look_again(changes.announced.iter().chain(&changes.withdrawn).copied());
        }
    }

    /// The VRPs, for an owner that makes a new RIB and gives it to [`Rib::put_vrps`].
    pub fn take_vrps(&mut self) -> Option<VrpTable> {
        self.vrps.take()
    }

    /// Gives a new RIB what [`Rib::take_vrps`] took from the old one.
    pub fn put_vrps(&mut self, vrps: Option<VrpTable>) {
        self.vrps = vrps;
    }

    /// The VRPs that count; `None` while routes are not validated.
    #[must_use]
    pub fn vrps(&self) -> Option<&VrpTable> {
        self.vrps.as_ref()
    }

    /// What the VRPs say of a path; `None` while routes are not validated, and for what we originate ourselves.
    pub(super) fn path_validity(&self, prefix: Prefix, path: &Path) -> Option<Validation> {
        let peer = self.peers.get(path.peer).filter(|_| path.peer != PeerId::LOCAL)?;
        let attributes = self.store.attributes(self.store.original(path))?;
        self.vrps.as_ref().map(|vrps| validity(Some(vrps), prefix, &attributes, peer.policy.local_as))
    }

    fn look_again(&mut self, changed: impl Iterator<Item = Vrp>) {
        let asks = |peer: &Peer| peer.import_looks_at_validation || peer.export_looks_at_validation;
        if !self.peers.iter().any(|(_, peer)| asks(peer)) {
            return;
        }
        let work = self.revalidation.get_or_insert_default();
        let begun = work.next != [0; 2];
        changed.for_each(|vrp| if begun { work.later.insert(vrp) } else { work.changed.insert(vrp) });
    }

    /// Imports and exports again what a change of the VRPs covers, up to a bounded amount of work. Whether there is more.
    pub(super) fn revalidate(&mut self) -> bool {
        let Some(mut work) = self.revalidation.take() else { return false };
        let exports = self.peers.iter().any(|(_, peer)| peer.export_looks_at_validation);
        let mut left = u32::try_from(self.groups.limits.decisions).unwrap_or(u32::MAX);
        for family in Family::ALL {
            let (from, end) = (work.next[at(family)], self.tables[at(family)].end());
            let to = end.min(from.saturating_add(left));
            for id in (from..to).map(PrefixId) {
                let paths = self.tables[at(family)].paths(id).as_slice().len();
                if paths > 0 && work.changed.covers(self.tables[at(family)].prefix(id)) {
                    (0..paths).for_each(|slot| self.revalidate_path(family, id, slot));
                    if exports {
                        self.tables[at(family)].mark(id, News::Chosen);
                    }
                }
            }
            left -= to.saturating_sub(from);
            work.next[at(family)] = to;
            if to < end {
                self.revalidation = Some(work);
                return true;
            }
        }
        if work.later.is_empty() {
            return false;
        }
        let Revalidation { later, .. } = *work;
        self.revalidation = Some(Box::new(Revalidation { changed: later, ..Revalidation::default() }));
        true
    }

    fn revalidate_path(&mut self, family: Family, id: PrefixId, slot: usize) {
        let Some(path) = self.tables[at(family)].paths(id).as_slice().get(slot).copied() else { return };
        if !self.peers.get(path.peer).is_some_and(|peer| peer.import_looks_at_validation) {
            return;
        }
        let accepted = self.import_path(family, id, slot, path);
        if let Some(peer) = self.peers.get_mut(path.peer) {
            let change = isize::from(accepted) - isize::from(path.flags.accepted());
            peer.accepted[at(family)] = peer.accepted[at(family)].saturating_add_signed(change);
        }
    }
}

/// What a filter sees: without VRPs nothing is found.
pub(super) fn validity(vrps: Option<&VrpTable>, prefix: Prefix, attributes: &Attributes, local_as: Asn) -> Validation {
    vrps.map_or(Validation::NotFound, |vrps| vrps.validity_of(prefix, &attributes.as_path, local_as))
}
