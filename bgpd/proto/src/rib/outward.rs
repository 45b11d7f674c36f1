//! What a peer's conduct means for what it hears: part of what peers of one update group have in common.

use super::otc;
use super::peers::Peer;
use crate::role::Role;
use crate::types::Asn;
use crate::wire::attributes::Attributes;

/// The rules beside the export filter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outward {
    /// Our role towards the peer.
    pub(crate) role: Option<Role>,
}

impl Outward {
    pub(crate) fn of(peer: &Peer) -> Self {
        let conduct = peer.policy.conduct;
        Self { role: conduct.role.filter(|_| peer.external).map(|local| local.role) }
    }

    /// Whether a route with these attributes may be told at all.
    ///
    /// # Errors
    /// Why not, for a person.
    pub(crate) fn permits(&self, local_as: Asn, attributes: &Attributes) -> Result<(), &'static str> {
        self.role.map_or(Ok(()), |role| otc::egress(role, local_as, attributes.otc).map(drop))
    }

    /// OTC as the peer hears it.
    pub(crate) fn otc(&self, local_as: Asn, otc: Option<Asn>) -> Option<Asn> {
        let added = self.role.and_then(|role| otc::egress(role, local_as, otc).ok()?);
        otc.or(added)
    }
}
