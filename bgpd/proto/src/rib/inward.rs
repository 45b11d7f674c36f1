//! What a peer's conduct does to a route before any filter sees it.

use std::borrow::Cow;

use super::RibConfig;
use super::import::Rejection;
use super::otc;
use super::peers::Peer;
use crate::conduct::LocalAsPrepend;
use crate::role::Role;
use crate::types::Asn;
use crate::wire::attributes::Attributes;
use crate::wire::community::Community;

/// Changes that every route of a peer gets at the door: part of what an import's result depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inward {
    /// Our role towards the peer, and the peer's AS.
    role: Option<(Role, Asn)>,
    /// GRACEFUL_SHUTDOWN is honoured (RFC 8326).
    graceful_shutdown: bool,
    /// Our AS towards the peer, to stand in front of what it sends.
    prepend: Option<Asn>,
}

impl Inward {
    /// Of an internal peer, none.
    pub(crate) fn of(config: &RibConfig, peer: &Peer) -> Self {
        if !peer.external {
            return Self::default();
        }
        let (conduct, local_as) = (peer.policy.conduct, peer.policy.local_as);
        // RFC 7705 section 3.1: unless it is told not to, a router puts the AS that the peer knows it by into what it hears.
        let prepends = conduct.local_as_prepend == LocalAsPrepend::Both && local_as != config.local_as;
        Self {
            role: conduct.role.map(|local| (local.role, peer.remote_as)),
            graceful_shutdown: peer.policy.graceful_shutdown,
            prepend: prepends.then_some(local_as),
        }
    }

    /// Whether the peer says that the route is about to go, and is believed.
    pub(crate) fn is_leaving(&self, received: &Attributes) -> bool {
        self.graceful_shutdown && received.communities.contains(&Community::GRACEFUL_SHUTDOWN)
    }

    /// The attributes as the import filter and the decision process see them; borrowed if they are what came.
    ///
    /// # Errors
    /// Why the route is not let in at all.
    pub(crate) fn enter<'a>(&self, received: &'a Attributes) -> Result<Cow<'a, Attributes>, Rejection> {
        let mut entered = Cow::Borrowed(received);
        // 1. Only to Customer (RFC 9234 section 5).
        if let Some((role, remote_as)) = self.role
            && let Some(asn) = otc::ingress(role, remote_as, received.otc)?
        {
            entered.to_mut().otc = Some(asn);
        }
        // 2. The AS that the peer knows us by is one that the route has passed.
        if let Some(asn) = self.prepend {
            entered.to_mut().as_path.prepend(asn, 1);
        }
        Ok(entered)
    }
}
