//! Only to Customer (RFC 9234 section 5): what a role makes of the routes that come and go, step by step.
//!
//! A route that a provider, a peer or a route server gave may go to customers alone. The attribute says so, and names the
//! AS where the way down began; who sees it come back up knows a leak.

use super::import::Rejection;
use crate::role::Role;
use crate::types::Asn;

/// Why a provider, a peer or a route server does not hear of a route.
pub(crate) const ONLY_TO_CUSTOMER: &str = "it is only for customers (OTC, RFC 9234), and the peer is none";

/// A route on its way in. `role` is ours towards the peer, `remote_as` the peer's AS. Returns what OTC is to be set to,
/// if it is to be added.
///
/// # Errors
/// Why the route is a leak, and ineligible.
pub(crate) fn ingress(role: Role, remote_as: Asn, otc: Option<Asn>) -> Result<Option<Asn>, Rejection> {
    // 1. "If a route with the OTC Attribute is received from a Customer or an RS-Client, then it is a route leak."
    if role.gives_transit() && otc.is_some() {
        return Err(Rejection::LeakFromCustomer);
    }
    // 2. From a Peer, with a value that is not the remote AS: a leak.
    if role == Role::Peer && otc.is_some_and(|asn| asn != remote_as) {
        return Err(Rejection::LeakFromPeer);
    }
    // 3. From a Provider, a Peer or an RS, without the attribute: it is added, with the remote AS.
    let from_above = role.takes_transit() || role == Role::Peer;
    Ok(otc.is_none().then_some(remote_as).filter(|_| from_above))
}

/// A route on its way out. `local_as` is our AS towards the peer. Returns what OTC is to be set to, if it is to be added.
///
/// # Errors
/// Why the peer must not hear of the route.
pub(crate) fn egress(role: Role, local_as: Asn, otc: Option<Asn>) -> Result<Option<Asn>, &'static str> {
    // 2. "If a route already contains the OTC Attribute, it MUST NOT be propagated to Providers, Peers, or RSes."
    let up = role.takes_transit() || role == Role::Peer;
    if up && otc.is_some() {
        return Err(ONLY_TO_CUSTOMER);
    }
    // 1. To a Customer, a Peer or an RS-Client, without the attribute: it is added, with the local AS.
    let down = role.gives_transit() || role == Role::Peer;
    Ok(otc.is_none().then_some(local_as).filter(|_| down))
}

#[cfg(test)]
mod tests {
    use super::*;

    const THEM: Asn = Asn(65001);
    const US: Asn = Asn(64512);
    const OTHER: Asn = Asn(65009);

    #[test]
    fn what_comes_in_is_a_leak_or_gets_the_attribute_as_section_5_says() {
        use Rejection::{LeakFromCustomer, LeakFromPeer};
        for (ours, otc, expected) in [
            (Role::Provider, None, Ok(None)),
            (Role::Provider, Some(THEM), Err(LeakFromCustomer)),
            (Role::RouteServer, None, Ok(None)),
            (Role::RouteServer, Some(OTHER), Err(LeakFromCustomer)),
            (Role::Customer, None, Ok(Some(THEM))),
            (Role::Customer, Some(OTHER), Ok(None)),
            (Role::RouteServerClient, None, Ok(Some(THEM))),
            (Role::RouteServerClient, Some(OTHER), Ok(None)),
            (Role::Peer, None, Ok(Some(THEM))),
            (Role::Peer, Some(THEM), Ok(None)),
            (Role::Peer, Some(OTHER), Err(LeakFromPeer)),
            (Role::Peer, Some(US), Err(LeakFromPeer)),
        ] {
            assert_eq!(ingress(ours, THEM, otc), expected, "we are {ours}, OTC {otc:?}");
        }
    }

    #[test]
    fn what_goes_out_is_kept_back_or_gets_the_attribute_as_section_5_says() {
        let kept_back = Err(ONLY_TO_CUSTOMER);
        for (ours, otc, expected) in [
            (Role::Provider, None, Ok(Some(US))),
            (Role::Provider, Some(OTHER), Ok(None)),
            (Role::RouteServer, None, Ok(Some(US))),
            (Role::RouteServer, Some(OTHER), Ok(None)),
            (Role::Customer, None, Ok(None)),
            (Role::Customer, Some(OTHER), kept_back),
            (Role::RouteServerClient, None, Ok(None)),
            (Role::RouteServerClient, Some(US), kept_back),
            (Role::Peer, None, Ok(Some(US))),
            (Role::Peer, Some(US), kept_back),
        ] {
            assert_eq!(egress(ours, US, otc), expected, "we are {ours}, OTC {otc:?}");
        }
    }
}
