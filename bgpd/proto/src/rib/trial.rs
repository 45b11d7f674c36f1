//! What a peer would hear of a route through a filter: one route, asked of the code that exports.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::Rib;
use super::export::{GroupKey, Source, Withheld, effective_validity, gates, transform};
use super::peers::Peer;
use crate::filter::{self, Decision, Explanation, Filter, MatchContext, Validation};
use crate::types::{PeerId, Prefix, RouterId};
use crate::wire::attributes::Attributes;

/// The BGP Identifier of whom a route is said to be learned from, if no peer of ours is meant: an address of documentation
/// (RFC 5737).
const STRANGER: RouterId = RouterId(Ipv4Addr::new(192, 0, 2, 1));

/// A route on its way to a peer.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportTrial {
    /// Who would hear it.
    pub to: PeerId,
    /// In place of that peer's export filter.
    pub filter: Arc<Filter>,
    /// The route's prefix.
    pub prefix: Prefix,
    /// As they stand in the table, behind the import filter.
    pub attributes: Attributes,
    /// From where it was learned.
    pub source: filter::Source,
    /// From whom; `None`: our own, or from somebody who is no peer.
    pub from: Option<PeerId>,
    /// That one's name, as filters know it; empty for our own.
    pub name: String,
    /// In place of what the VRPs say of the path as the peer would see it (RFC 8893).
    pub validation: Option<Validation>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportVerdict {
    /// The state that the filter saw; `None`: routes are not validated, and it saw not-found.
    pub validation: Option<Validation>,
    /// How the filter decided, whether it would have been asked or not.
    pub explanation: Explanation,
    /// What the peer would hear, or why it would not.
    pub sent: Result<Attributes, &'static str>,
    /// It takes several paths to one prefix (RFC 7911).
    pub several: bool,
}

impl Rib {
    /// What a peer would hear of a route if it had this export filter, were it the best one. `None`: its session is not up,
    /// and what it hears depends on what that agrees on.
    #[must_use]
    pub fn try_export(&self, trial: &ExportTrial) -> Option<ExportVerdict> {
        let ExportTrial { to, filter, prefix, attributes, source, from, name, validation } = trial;
        let (prefix, family) = (*prefix, prefix.family());
        let group = GroupKey::of(self.peers.get(*to)?, self.config.drain)?;
        let group = GroupKey { filter: Some(Arc::clone(filter)), looks_at_validation: true, ..group };
        let peer = from.and_then(|from| self.peers.get(from));
        let address = peer.map_or(attributes.next_hop.address(), Peer::address);
        let learned = match source {
            filter::Source::Local => Source::Local,
            filter::Source::External => Source::External { address },
            filter::Source::Internal => Source::Internal {
                client: peer.is_some_and(|peer| peer.policy.client),
                router_id: peer.map_or(STRANGER, |peer| peer.router_id),
                address,
            },
        };
        let vrps = self.vrps.as_ref();
        let validation = validation
            .or_else(|| vrps.map(|_| effective_validity(&self.config, &group, vrps, prefix, &attributes.as_path)));
        let context = MatchContext {
            prefix,
            attributes,
            peer: name,
            source: *source,
            validation: validation.unwrap_or(Validation::NotFound),
        };
        let explanation = filter.explain(&context, group.local_as);
        let sent = (|| {
            if !group.context.families.contains(family) {
                return Err("its session has not agreed on this family");
            }
            if *from == Some(*to) {
                return Err("it was learned from this peer");
            }
            if self.config.aggregates.suppress(prefix) {
                return Err("inside of an aggregate with summary-only");
            }
            gates(&group, attributes, learned)?;
            let Decision::Accept(accepted) = explanation.decision else { return Err("the filter rejects it") };
            transform(&self.config, &group, family, attributes, learned, Some(accepted)).map_err(Withheld::text)
        })();
        Some(ExportVerdict { validation, explanation, sent, several: group.context.add_path.contains(family) })
    }
}
