//! Whether a path may be used: the checks that no policy can switch off, then the peer's import filter.
//!
//! A path that is refused is kept with the reason, so that a person sees it and a changed policy can take it.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::RibConfig;
use super::attrs::{AttrId, AttrStore, ImportKey};
use super::inward::Inward;
use super::peers::Peer;
use super::reachable;
use super::table::PathFlags;
use super::validation::validity;
use crate::filter::{Accepted, Decision, Filter, MatchContext, Source, Validation};
use crate::rtr::VrpTable;
use crate::types::{Asn, NextHop, Prefix};
use crate::wire::attributes::Attributes;
use crate::wire::community::Community;

/// Why a path is not used. The codes stand in a path's flags; 0 means accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Rejection {
    /// Our AS is in the AS_PATH (RFC 4271 section 9.1.2), more often than the peer is allowed.
    OwnAs = 1,
    /// We are its ORIGINATOR_ID (RFC 4456 section 8).
    OwnOriginator = 2,
    /// Our cluster is in its CLUSTER_LIST (RFC 4456 section 8).
    OwnCluster = 3,
    /// The next hop is an address of ours (RFC 4271 section 6.3).
    OwnNextHop = 4,
    /// The prefix is never to be routed.
    Martian = 5,
    /// An external peer without an import filter (RFC 8212 section 2).
    NoImportPolicy = 6,
    /// The import filter.
    Filter = 7,
    /// Our customer, or a client of our route server, sent what is only for customers (RFC 9234 section 5).
    LeakFromCustomer = 8,
    /// A peer sent what somebody else gave it for its customers only (RFC 9234 section 5).
    LeakFromPeer = 9,
    /// A default route that some peers are told, and that nothing is forwarded by.
    PeersOnly = 10,
    /// The next hop is the unspecified address, or in 0.0.0.0/8.
    NextHopUnspecified = 11,
    /// The next hop is a loopback address.
    NextHopLoopback = 12,
    /// The next hop is a multicast address.
    NextHopMulticast = 13,
    /// The next hop is the broadcast address.
    NextHopBroadcast = 14,
    /// The next hop is a link-local address, and the session does not say of which link.
    NextHopLinkLocal = 15,
}

impl Rejection {
    const ALL: [Self; 15] = [
        Self::OwnAs,
        Self::OwnOriginator,
        Self::OwnCluster,
        Self::OwnNextHop,
        Self::Martian,
        Self::NoImportPolicy,
        Self::Filter,
        Self::LeakFromCustomer,
        Self::LeakFromPeer,
        Self::PeersOnly,
        Self::NextHopUnspecified,
        Self::NextHopLoopback,
        Self::NextHopMulticast,
        Self::NextHopBroadcast,
        Self::NextHopLinkLocal,
    ];

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|rejection| *rejection as u8 == code)
    }

    pub(crate) fn flags(self) -> PathFlags {
        PathFlags::rejected(self as u8)
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OwnAs => "rejected: our own AS is in the AS path",
            Self::OwnOriginator => "rejected: we are its originator (RFC 4456)",
            Self::OwnCluster => "rejected: our own cluster is in the cluster list (RFC 4456)",
            Self::OwnNextHop => "rejected: the next hop is an address of ours",
            Self::NextHopUnspecified => "rejected: the next hop is the unspecified address",
            Self::NextHopLoopback => "rejected: the next hop is a loopback address",
            Self::NextHopMulticast => "rejected: the next hop is a multicast address",
            Self::NextHopBroadcast => "rejected: the next hop is the broadcast address",
            Self::NextHopLinkLocal => {
                "rejected: the next hop is a link-local address, and the session runs over none, so its link is not known"
            }
            Self::Martian => "rejected: this prefix is never routed (loopback, link-local, multicast)",
            Self::NoImportPolicy => {
                "rejected: an external peer without an import filter (RFC 8212); name one to accept"
            }
            Self::Filter => "rejected by the import filter",
            Self::LeakFromCustomer => {
                "rejected: a route leak (RFC 9234): it is only for customers (OTC), and a customer sent it"
            }
            Self::PeersOnly => "not used here: only told to peers with default-originate",
            Self::LeakFromPeer => {
                "rejected: a route leak (RFC 9234): a peer sent what another AS gave it only for customers (OTC)"
            }
        })
    }
}

/// The checks on attributes, alike for every prefix of an announcement.
pub(crate) fn check_attributes(
    config: &RibConfig,
    peer: &Peer,
    own_addresses: &[IpAddr],
    attributes: &Attributes,
) -> Result<(), Rejection> {
    let ours = |asn: &Asn| *asn == config.local_as || *asn == peer.policy.local_as;
    if attributes.as_path.asns().filter(ours).count() > usize::from(peer.policy.conduct.allow_as_in) {
        return Err(Rejection::OwnAs);
    }
    if attributes.originator_id == Some(config.router_id) {
        return Err(Rejection::OwnOriginator);
    }
    if attributes.cluster_list.contains(&config.cluster_id) {
        return Err(Rejection::OwnCluster);
    }
    let far_end = peer.session.as_ref().map(|live| live.established.remote_address);
    reachable::check(attributes.next_hop, own_addresses, far_end)?;
    if is_session_end(attributes.next_hop, peer) {
        return Err(Rejection::OwnNextHop);
    }
    if peer.external && peer.policy.import.is_none() {
        return Err(Rejection::NoImportPolicy);
    }
    Ok(())
}

/// Whether it is our end of the session that it came by. Only there is our link-local address known to be ours: a neighbour
/// on another link may have the same.
fn is_session_end(next_hop: NextHop, peer: &Peer) -> bool {
    let end = peer.session.as_ref().map(|live| live.established.local_address.to_canonical());
    end.is_some_and(|end| is_link_local(end) && (next_hop.address() == end || next_hop.gateway().0 == end))
}

pub(crate) fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// Prefixes that are never routed: loopback, link-local, multicast (IANA's special-purpose address registries).
pub(crate) fn martian(prefix: Prefix) -> bool {
    // A shorter prefix, as the default route, is none although it covers some.
    match prefix {
        Prefix::V4(prefix) => {
            let [a, b, ..] = prefix.address().octets();
            let length = prefix.length();
            (a == 127 && length >= 8) || (a >> 4 == 0xe && length >= 4) || ((a, b) == (169, 254) && length >= 16)
        }
        Prefix::V6(prefix) => {
            let (first, length) = (prefix.address().segments()[0], prefix.length());
            (first >> 8 == 0xff && length >= 8)
                || (first & 0xffc0 == 0xfe80 && length >= 10)
                || (prefix.address() == Ipv6Addr::LOCALHOST && length == 128)
        }
    }
}

/// An announcement on its way in: what holds for all of its prefixes is worked out once.
pub(crate) struct Import<'a> {
    peer: &'a Peer,
    /// What routes are validated against.
    vrps: Option<&'a VrpTable>,
    inward: Inward,
    /// As they are behind the door.
    entered: Cow<'a, Attributes>,
    original: AttrId,
    /// What the checks say, or the filter if it does not look at prefixes.
    whole: Option<Result<Option<Accepted>, Rejection>>,
    /// It is a long-lived stale route (RFC 9494).
    pub(super) long_lived: bool,
}

/// What an import filter is asked about.
pub(crate) fn context<'a>(
    peer: &'a Peer,
    vrps: Option<&VrpTable>,
    prefix: Prefix,
    attributes: &'a Attributes,
) -> MatchContext<'a> {
    MatchContext {
        prefix,
        attributes,
        peer: &peer.policy.name,
        source: if peer.external { Source::External } else { Source::Internal },
        validation: match peer.import_looks_at_validation {
            true => validity(vrps, prefix, attributes, peer.policy.local_as),
            false => Validation::NotFound,
        },
    }
}

fn decide(
    peer: &Peer,
    vrps: Option<&VrpTable>,
    filter: &Filter,
    prefix: Prefix,
    attributes: &Attributes,
) -> Result<Option<Accepted>, Rejection> {
    match filter.decide(&context(peer, vrps, prefix, attributes), peer.policy.local_as) {
        Decision::Accept(accepted) => Ok(Some(accepted)),
        Decision::Reject(_) => Err(Rejection::Filter),
    }
}

impl<'a> Import<'a> {
    pub(crate) fn new(
        config: &RibConfig,
        peer: &'a Peer,
        own_addresses: &[IpAddr],
        vrps: Option<&'a VrpTable>,
        attributes: &'a Attributes,
        original: AttrId,
    ) -> Self {
        let inward = Inward::of(config, peer);
        let checked = check_attributes(config, peer, own_addresses, attributes);
        let (entered, checked) = match checked.and_then(|()| inward.enter(attributes)) {
            Ok(entered) => (entered, Ok(())),
            Err(rejection) => (Cow::Borrowed(attributes), Err(rejection)),
        };
        let whole = match (checked, &peer.policy.import) {
            (Err(rejection), _) => Some(Err(rejection)),
            (Ok(()), None) => Some(Ok(None)),
            (Ok(()), Some(_)) if peer.import_looks_at_prefix => None,
            (Ok(()), Some(filter)) => {
                // Without a rule that looks at it, any prefix stands for all.
                let any = Prefix::from(ipnetwork::IpNetwork::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
                Some(decide(peer, vrps, filter, any, &entered))
            }
        };
        Self { peer, vrps, inward, entered, original, whole, long_lived: false }
    }

    /// The outcome for one prefix: by which rules it is accepted (`None`: there is no filter), or why it is refused.
    pub(crate) fn decide(&self, prefix: Prefix) -> Result<Option<Accepted>, Rejection> {
        if martian(prefix) {
            return Err(Rejection::Martian);
        }
        match (self.whole, &self.peer.policy.import) {
            (Some(whole), _) => whole,
            (None, Some(filter)) => decide(self.peer, self.vrps, filter, prefix, &self.entered),
            (None, None) => Ok(None),
        }
    }

    /// The attribute word and flags of the path, with one more reference in the store.
    pub(crate) fn apply(&self, prefix: Prefix, store: &mut AttrStore) -> (u32, PathFlags) {
        let accepted = match self.decide(prefix) {
            Ok(accepted) => accepted,
            Err(rejection) => {
                store.retain(self.original);
                return (self.original.0, rejection.flags());
            }
        };
        let policy = &self.peer.policy;
        let changing = accepted.zip(policy.import.as_deref()).filter(|(accepted, filter)| filter.changes(*accepted));
        // RFC 8326 section 4.1: behind the filter, whose weight and LOCAL_PREF it takes the place of.
        let leaving = self.inward.is_leaving(&self.entered);
        let kept_in = policy.blackhole && self.entered.communities.contains(&Community::BLACKHOLE);
        if changing.is_none() && !leaving && !kept_in && !self.long_lived && matches!(self.entered, Cow::Borrowed(_)) {
            store.retain(self.original);
            return (self.original.0, PathFlags::NONE);
        }
        let accepted = changing.map(|(accepted, _)| accepted);
        let key =
            ImportKey { original: self.original, policy: self.peer.import, accepted, long_lived: self.long_lived };
        let id = store.import(key, |_| {
            let mut result = self.entered.clone().into_owned();
            if let Some((accepted, filter)) = changing {
                filter.apply(accepted, &mut result, policy.local_as);
            }
            if policy.blackhole {
                keep_in(&mut result);
            }
            if self.long_lived {
                add_community(&mut result, Community::LLGR_STALE);
            }
            if leaving {
                (result.weight, result.local_pref) = (0, Some(0));
            }
            result
        });
        (id, PathFlags::TRANSFORMED)
    }
}

/// RFC 7999 section 3.2: who honours BLACKHOLE adds NO_ADVERTISE or NO_EXPORT. The latter lets the rest of our AS discard, too.
fn keep_in(attributes: &mut Attributes) {
    let communities = &attributes.communities;
    if communities.contains(&Community::BLACKHOLE) && !communities.contains(&Community::NO_ADVERTISE) {
        add_community(attributes, Community::NO_EXPORT);
    }
}

fn add_community(attributes: &mut Attributes, community: Community) {
    let mut all: Vec<Community> = attributes.communities.iter().copied().chain([community]).collect();
    all.sort_unstable();
    all.dedup();
    attributes.communities = all.into();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn martians_are_what_lies_in_a_special_block_and_not_what_covers_one() {
        for (text, expected) in [
            ("127.0.0.0/8", true),
            ("127.1.0.0/16", true),
            ("126.0.0.0/7", false),
            ("224.0.0.0/4", true),
            ("239.1.2.3/32", true),
            ("240.0.0.0/4", false),
            ("169.254.0.0/16", true),
            ("169.254.1.0/24", true),
            ("169.0.0.0/8", false),
            ("0.0.0.0/0", false),
            ("10.0.0.0/8", false),
            ("::1/128", true),
            ("::/0", false),
            ("fe80::/10", true),
            ("fe80::/64", true),
            ("fe00::/7", false),
            ("ff02::/16", true),
            ("fd00::/8", false),
        ] {
            assert_eq!(martian(text.parse().unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn a_rejection_is_found_by_its_code() {
        for rejection in Rejection::ALL {
            assert_eq!(Rejection::from_code(rejection.flags().rejection()), Some(rejection));
        }
        assert_eq!(Rejection::from_code(0), None);
    }
}
