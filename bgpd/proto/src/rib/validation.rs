//! Origin validation (RFC 6811): what the VRPs say of a route.

use super::Rib;
use super::table::Path;
use crate::rtr::{Changes, Validity, VrpTable};
use crate::types::{Asn, PeerId, Prefix};
use crate::wire::attributes::Attributes;

impl Rib {
    /// Whether routes are validated; without it they have no state at all. Off is how a RIB starts.
    pub fn set_validation(&mut self, on: bool) {
        if on != self.vrps.is_some() {
            self.vrps = on.then(VrpTable::default);
        }
    }

    /// Applies a change of the VRPs.
    pub fn change_vrps(&mut self, changes: &Changes) {
        if let Some(vrps) = &mut self.vrps {
            vrps.apply(changes);
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
    pub(super) fn path_validity(&self, prefix: Prefix, path: &Path) -> Option<Validity> {
        if path.peer == PeerId::LOCAL {
            return None;
        }
        let local_as = self.peers.get(path.peer).map_or(self.config.local_as, |peer| peer.policy.local_as);
        let attributes = self.store.attributes(self.store.original(path))?;
        self.vrps.as_ref().map(|vrps| validity(vrps, prefix, &attributes, local_as))
    }
}

/// RFC 6811 section 2. `local_as` is the origin of a path that has not left our AS.
pub(super) fn validity(vrps: &VrpTable, prefix: Prefix, attributes: &Attributes, local_as: Asn) -> Validity {
    let path = &attributes.as_path;
    let origin = if path.segments.is_empty() { Some(local_as) } else { path.origin() };
    vrps.validity(prefix, origin)
}
