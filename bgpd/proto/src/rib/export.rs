//! What a group of peers may hear of a best path, and with which attributes.
//!
//! Peers for which every answer is the same form one update group ([`GroupKey`]); what it is sent is worked out once.

use std::net::IpAddr;
use std::sync::Arc;

use super::RibConfig;
use super::decision::DEFAULT_LOCAL_PREF;
use super::drain::Drain;
use super::outward::Outward;
use super::peers::Peer;
use super::table::{Path, PrefixId, Table};
use crate::conduct::NextHopMode;
use crate::filter::{self, Accepted, Decision, Filter, MatchContext, SetNextHop, Validation};
use crate::rtr::VrpTable;
use crate::types::{Asn, Family, NextHop, Prefix, RouterId};
use crate::wire::UpdateContext;
use crate::wire::aspath::AsPath;
use crate::wire::attributes::Attributes;
use crate::wire::community::Community;

/// Everything that an export depends on, of the peers' side.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GroupKey {
    pub(crate) local_as: Asn,
    pub(crate) kind: Kind,
    /// Ourselves as the next hop of prefixes of each family.
    pub(crate) own4: Option<NextHop>,
    pub(crate) own6: Option<NextHop>,
    pub(crate) outward: Outward,
    pub(crate) filter: Option<Arc<Filter>>,
    /// The filter asks for the validation state.
    pub(crate) looks_at_validation: bool,
    /// Most paths to one prefix, in families in which there are several; 0 where there are none.
    pub(crate) add_path_most: usize,
    pub(crate) context: UpdateContext,
    pub(crate) drain: Drain,
    /// Its members know what LLGR_STALE is (RFC 9494).
    pub(crate) long_lived: bool,
}

/// What a group's members are to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// In another AS.
    External,
    /// In ours, not a client.
    Internal,
    /// In ours, our route reflector client.
    Client,
}

impl GroupKey {
    /// Of a peer whose session is up.
    pub(crate) fn of(peer: &Peer, drain: Drain) -> Option<Self> {
        let established = &peer.session.as_ref()?.established;
        let session = session_next_hop(established.local_address);
        let session4 = matches!(session, NextHop::V4(_)).then_some(session);
        let session6 = matches!(session, NextHop::V6 { .. }).then_some(session);
        // RFC 8950 is there for links without IPv4: on a session over IPv6 that has agreed on it, the session's own address
        // is the one that the peer reaches for sure.
        let extended = session6.filter(|_| established.send.extended_next_hop.contains(Family::Ipv4Unicast));
        let kind = match (peer.external, peer.policy.client) {
            (true, _) => Kind::External,
            (false, true) => Kind::Client,
            (false, false) => Kind::Internal,
        };
        Some(Self {
            local_as: peer.policy.local_as,
            kind,
            own4: session4.or(extended).or(peer.policy.own_address4.map(NextHop::V4)),
            own6: session6.or(peer.policy.own_address6.map(|address| NextHop::from(IpAddr::V6(address)))),
            outward: Outward::of(peer),
            filter: peer.policy.export.clone(),
            looks_at_validation: peer.export_looks_at_validation,
            long_lived: established.long_lived_received,
            add_path_most: if established.send.add_path.is_empty() { 0 } else { peer.policy.add_path_most.max(1) },
            context: established.send,
            drain,
        })
    }

    /// Equal at less cost: filters are mostly the same value.
    pub(crate) fn same(&self, other: &Self) -> bool {
        // Each field by its name: a new one has to be compared before this compiles.
        let Self {
            local_as,
            kind,
            own4,
            own6,
            outward,
            filter,
            looks_at_validation,
            add_path_most,
            context,
            drain,
            long_lived,
        } = self;
        let filters = match (filter, &other.filter) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        filters
            && (*local_as, *kind) == (other.local_as, other.kind)
            && (*own4, *own6) == (other.own4, other.own6)
            && (*outward, *add_path_most) == (other.outward, other.add_path_most)
            && (*context, *drain) == (other.context, other.drain)
            && (*looks_at_validation, *long_lived) == (other.looks_at_validation, other.long_lived)
    }

    /// The default route that is originated for the members alone, if this is its prefix.
    pub(crate) fn default_path<'t>(&self, table: &'t Table, id: PrefixId) -> Option<&'t Path> {
        if self.drain == Drain::Withdrawn { None } else { self.outward.default_originate.path(table, id) }
    }

    fn own(&self, family: Family) -> Option<NextHop> {
        match family {
            Family::Ipv4Unicast => self.own4,
            Family::Ipv6Unicast => self.own6,
        }
    }
}

/// Our end of a session as a next hop. A link-local address goes alone: it means our end of this link to the peer, and a
/// global address beside it would have to be one that the peer reaches (RFC 2545 section 3), which is not known.
fn session_next_hop(local: IpAddr) -> NextHop {
    match local.to_canonical() {
        IpAddr::V6(address) if address.is_unicast_link_local() => NextHop::link_local(address, None),
        address => NextHop::from(address),
    }
}

/// Where a best path came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// This speaker originates it.
    Local,
    /// From a peer in another AS.
    External {
        /// Its address.
        address: IpAddr,
    },
    /// From a peer in ours.
    Internal {
        /// It is our route reflector client.
        client: bool,
        /// Its BGP Identifier.
        router_id: RouterId,
        /// Its address.
        address: IpAddr,
    },
}

/// What the group's export filter is asked about. `peer`: whom the route was learned from, `None` for our own.
fn context<'a>(
    config: &RibConfig,
    group: &GroupKey,
    vrps: Option<&VrpTable>,
    prefix: Prefix,
    attributes: &'a Attributes,
    source: Source,
    peer: Option<&'a Peer>,
) -> MatchContext<'a> {
    MatchContext {
        prefix,
        attributes,
        peer: peer.map_or("", |peer| &peer.policy.name),
        source: match source {
            Source::Local => filter::Source::Local,
            Source::External { .. } => filter::Source::External,
            Source::Internal { .. } => filter::Source::Internal,
        },
        validation: match group.looks_at_validation {
            true => effective_validity(config, group, vrps, prefix, &attributes.as_path),
            false => Validation::NotFound,
        },
    }
}

/// By the origin that the peer will see, whatever becomes of the path on its way out (RFC 8893 section 3).
pub(crate) fn effective_validity(
    config: &RibConfig,
    group: &GroupKey,
    vrps: Option<&VrpTable>,
    prefix: Prefix,
    path: &AsPath,
) -> Validation {
    let mut path = path.clone();
    if group.kind == Kind::External {
        group.outward.rewrite(group.local_as, &mut path);
        group.outward.prepend(config, group.local_as, &mut path);
    }
    vrps.map_or(Validation::NotFound, |vrps| vrps.validity_of(prefix, &path, group.local_as))
}

impl Source {
    pub(crate) fn of(peer: &Peer) -> Self {
        let address = peer.address();
        match peer.external {
            true => Self::External { address },
            false => Self::Internal { client: peer.is_client(), router_id: peer.router_id, address },
        }
    }

    fn address(self) -> Option<IpAddr> {
        match self {
            Self::Local => None,
            Self::External { address } | Self::Internal { address, .. } => Some(address),
        }
    }
}

/// Why a group does not hear of a path that its rules would let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Withheld {
    /// There is no address of ours in the prefix's family to be the next hop, or the next hop is of another family.
    NoNextHop,
    /// The attributes leave no room for a prefix in a message of the negotiated size, or do not pass our own parser.
    Unsendable,
}

impl Withheld {
    /// For a person.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::NoNextHop => {
                "nothing can be its next hop: the one it has is of another family, or no address of ours is of its"
            }
            Self::Unsendable => "its attributes leave no room for a prefix in a message",
        }
    }
}

/// By which rules of the export filter the path goes through to the group: `Ok(None)` where there is no filter. `peer`: whom
/// it was learned from.
///
/// # Errors
/// Why the group does not hear of it, for a person.
pub(crate) fn permits(
    config: &RibConfig,
    group: &GroupKey,
    vrps: Option<&VrpTable>,
    prefix: Prefix,
    attributes: &Attributes,
    source: Source,
    peer: Option<&Peer>,
) -> Result<Option<Accepted>, &'static str> {
    gates(group, attributes, source)?;
    // 4. The export filter; an external peer without one hears nothing (RFC 8212 section 2).
    match (&group.filter, group.kind) {
        (Some(filter), _) => {
            let route = context(config, group, vrps, prefix, attributes, source, peer);
            match filter.decide(&route, group.local_as) {
                Decision::Accept(accepted) => Ok(Some(accepted)),
                Decision::Reject(_) => Err("rejected by the export filter"),
            }
        }
        (None, Kind::External) => Err("an external peer without an export filter (RFC 8212)"),
        (None, Kind::Internal | Kind::Client) => Ok(None),
    }
}

/// What stands before the export filter.
///
/// # Errors
/// Why the group does not hear of the path, for a person.
pub(crate) fn gates(group: &GroupKey, attributes: &Attributes, source: Source) -> Result<(), &'static str> {
    // 0. A drained speaker says nothing (RFC 8326 section 4.2).
    if group.drain == Drain::Withdrawn {
        return Err("this speaker is drained");
    }
    // 1. Well-known communities (RFC 1997).
    for community in &attributes.communities {
        match (*community, group.kind) {
            (Community::NO_ADVERTISE, _) => return Err("community no-advertise"),
            (Community::NO_EXPORT | Community::NO_EXPORT_SUBCONFED, Kind::External) => {
                return Err("community no-export");
            }
            // RFC 9494 section 4.3: who does not know it would not take it for the last choice.
            (Community::LLGR_STALE, _) if !group.long_lived => {
                return Err("community llgr-stale, and the peer has no long-lived graceful restart (RFC 9494)");
            }
            _ => {}
        }
    }
    // 2. From an internal peer to another only by reflection: from and to a client (RFC 4456 section 6).
    match (source, group.kind) {
        (Source::Internal { client: false, .. }, Kind::Internal) => {
            return Err("learned from an internal peer, and neither is a route reflector client");
        }
        (Source::Internal { .. }, Kind::Client | Kind::External)
        | (Source::Internal { client: true, .. }, Kind::Internal)
        | (Source::Local | Source::External { .. }, _) => {}
    }
    // 3. What is only for customers (RFC 9234 section 5).
    group.outward.permits(group.local_as, attributes)
}

/// The attributes as the group hears them. `accepted` is what [`permits`] said.
pub(crate) fn transform(
    config: &RibConfig,
    group: &GroupKey,
    family: Family,
    attributes: &Attributes,
    source: Source,
    accepted: Option<Accepted>,
) -> Result<Attributes, Withheld> {
    let filter = accepted.zip(group.filter.as_deref());
    let mut sent = attributes.clone();
    (sent.weight, sent.hints) = (0, None);
    // 1. The next hop (RFC 4271 section 5.1.3), or what the filter says of it.
    let wanted = filter.and_then(|(accepted, filter)| filter.next_hop(accepted));
    sent.next_hop = next_hop(group, family, attributes.next_hop, source, wanted)?;
    let replaced = takes_over(group, attributes.next_hop, source, wanted)
        || sent.next_hop.address() != attributes.next_hop.address();
    if source != Source::Local && replaced {
        // RFC 9012 section 8: the tunnels lead to the old next hop.
        sent.tunnels = Box::default();
    }
    // 2. MULTI_EXIT_DISC of a neighbouring AS goes no further than our own (RFC 4271 section 5.1.4), nor do extended
    // communities that are not transitive (RFC 4360 section 6), unless the filter sets them.
    if group.kind == Kind::External && source != Source::Local {
        sent.med = None;
    }
    if group.kind == Kind::External && sent.extended_communities.iter().any(|community| !community.is_transitive()) {
        sent.extended_communities =
            sent.extended_communities.iter().copied().filter(|community| community.is_transitive()).collect();
    }
    // 3. Reflection (RFC 4456 section 8).
    match (source, group.kind) {
        (Source::Internal { router_id, .. }, Kind::Internal | Kind::Client) => {
            sent.originator_id.get_or_insert(router_id);
            let clusters = std::iter::once(config.cluster_id).chain(sent.cluster_list.iter().copied());
            sent.cluster_list = clusters.collect();
        }
        (Source::Internal { .. }, Kind::External) | (Source::Local | Source::External { .. }, _) => {}
    }
    // 4. Only to Customer (RFC 9234 section 5), and the numbers that the path came with.
    sent.otc = group.outward.otc(group.local_as, sent.otc);
    if group.kind == Kind::External {
        group.outward.rewrite(group.local_as, &mut sent.as_path);
    }
    // 5. What the filter's rules set.
    if let Some((accepted, filter)) = filter {
        filter.apply(accepted, &mut sent, group.local_as);
        (sent.weight, sent.hints) = (0, None);
    }
    // 6. What belongs to one side of the border only.
    match group.kind {
        Kind::External => {
            sent.local_pref = None;
            sent.originator_id = None;
            sent.cluster_list = Box::default();
            group.outward.prepend(config, group.local_as, &mut sent.as_path);
        }
        Kind::Internal | Kind::Client => sent.local_pref = sent.local_pref.or(Some(DEFAULT_LOCAL_PREF)),
    }
    // 6. Graceful shutdown.
    group.drain.apply(&mut sent);
    Ok(sent)
}

/// Whether we stand as the next hop in place of the one that was learned. `wanted`: what the filter says of it.
fn takes_over(group: &GroupKey, learned: NextHop, source: Source, wanted: Option<SetNextHop>) -> bool {
    // A lone link-local next hop means nothing behind the link it came from (RFC 2545 section 3).
    let only_here = match learned {
        NextHop::V4(address) => address.is_unspecified(),
        NextHop::V6 { global, .. } => global.is_unspecified(),
    };
    let usual = || match (group.outward.next_hop, group.kind) {
        (NextHopMode::Own, _) => true,
        (NextHopMode::Unchanged, _) | (NextHopMode::Auto, Kind::Internal | Kind::Client) => false,
        (NextHopMode::Auto, Kind::External) => !group.outward.is_third_party(learned.address(), source.address()),
    };
    only_here
        || match wanted {
            Some(SetNextHop::Own) => true,
            Some(SetNextHop::Unchanged) => false,
            Some(SetNextHop::Address(_)) | None => usual(),
        }
}

fn next_hop(
    group: &GroupKey,
    family: Family,
    learned: NextHop,
    source: Source,
    wanted: Option<SetNextHop>,
) -> Result<NextHop, Withheld> {
    if let Some(SetNextHop::Address(address)) = wanted
        && address.is_ipv4() == (family == Family::Ipv4Unicast)
    {
        return Ok(NextHop::from(address));
    }
    if takes_over(group, learned, source, wanted) {
        return group.own(family).ok_or(Withheld::NoNextHop);
    }
    match (family, learned) {
        (Family::Ipv4Unicast, NextHop::V4(address)) => Ok(NextHop::V4(address)),
        (Family::Ipv6Unicast, NextHop::V6 { global, .. }) => Ok(NextHop::V6 { global, link_local: None }),
        // RFC 8950 section 4: only to a peer that has said that it takes them.
        (Family::Ipv4Unicast, NextHop::V6 { global, .. }) if group.context.extended_next_hop.contains(family) => {
            Ok(NextHop::V6 { global, link_local: None })
        }
        (Family::Ipv4Unicast, NextHop::V6 { .. }) | (Family::Ipv6Unicast, NextHop::V4(_)) => Err(Withheld::NoNextHop),
    }
}

#[cfg(test)]
#[path = "export_tests.rs"]
mod tests;
