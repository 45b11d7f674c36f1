//! What a peer's conduct means for what it hears: part of what peers of one update group have in common.

use std::net::IpAddr;

use super::RibConfig;
use super::otc;
use super::peers::Peer;
use crate::conduct::{Conduct, DefaultOriginate, LocalAsPrepend, NextHopMode, RemovePrivateAs};
use crate::role::Role;
use crate::types::{Asn, Prefix};
use crate::wire::aspath::AsPath;
use crate::wire::attributes::Attributes;

/// The rules beside the export filter. What is not in use is left at its default, so that a peer is in no group of its own
/// without need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outward {
    /// Our role towards the peer.
    pub(super) role: Option<Role>,
    /// The AS in whose place ours stands: the peer's.
    pub(super) overridden: Option<Asn>,
    /// What becomes of private numbers, and the peer's AS, which stays.
    pub(super) private: Option<(RemovePrivateAs, Asn)>,
    /// Our real AS stands behind the one that the peer knows us by.
    pub(super) shows_real_as: bool,
    /// Whose address is the next hop.
    pub(super) next_hop: NextHopMode,
    /// The subnet that we share with the peer, where a third router's address means the same to it as to us.
    pub(super) segment: Option<Prefix>,
    /// Whether the peer has a default route of its own.
    pub(super) default_originate: DefaultOriginate,
}

impl Outward {
    pub(crate) fn of(peer: &Peer) -> Self {
        let conduct = peer.policy.conduct;
        if !peer.external {
            let Conduct { next_hop, default_originate, .. } = conduct;
            return Self { next_hop, default_originate, ..Self::default() };
        }
        let private = conduct.remove_private_as;
        Self {
            role: conduct.role.map(|local| local.role),
            overridden: conduct.as_override.then_some(peer.remote_as),
            private: (private != RemovePrivateAs::No).then_some((private, peer.remote_as)),
            // RFC 7705 section 3.2: whether the local AS takes the place of the real one, or stands before it.
            shows_real_as: conduct.local_as_prepend != LocalAsPrepend::None,
            next_hop: conduct.next_hop,
            default_originate: conduct.default_originate,
            segment: peer.segment.filter(|_| conduct.next_hop == NextHopMode::Auto),
        }
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

    /// The path that came, before anything of ours is put in front.
    pub(crate) fn rewrite(&self, local_as: Asn, path: &mut AsPath) {
        // 1. Private numbers (RFC 6996 section 4).
        if let Some((mode, theirs)) = self.private {
            let goes = |asn: Asn| asn.is_private() && asn != theirs;
            let instead = match mode {
                RemovePrivateAs::No => return,
                RemovePrivateAs::Yes if !path.asns().all(Asn::is_private) => None,
                RemovePrivateAs::Yes | RemovePrivateAs::All => Some(None),
                RemovePrivateAs::Replace => Some(Some(local_as)),
            };
            if let Some(instead) = instead.filter(|_| path.asns().any(goes)) {
                *path = path.rewritten(|asn| if goes(asn) { instead } else { Some(asn) });
            }
        }
        // 2. The peer's own.
        if let Some(theirs) = self.overridden.filter(|theirs| path.contains(*theirs)) {
            *path = path.rewritten(|asn| Some(if asn == theirs { local_as } else { asn }));
        }
    }

    /// Puts in front what an external peer is to see of us (RFC 4271 section 5.1.2).
    pub(crate) fn prepend(&self, config: &RibConfig, local_as: Asn, path: &mut AsPath) {
        if self.shows_real_as && local_as != config.local_as {
            path.prepend(config.local_as, 1);
        }
        path.prepend(local_as, 1);
    }

    /// Whether the peer may be sent straight to the router that announced the route to us, as we are (RFC 4271 section
    /// 5.1.3, third party next hop): it stands on the segment that we share. A next hop that is some other router's might be
    /// the peer's own, which the section forbids, so only the announcer's own address passes.
    pub(crate) fn is_third_party(&self, next_hop: IpAddr, announcer: Option<IpAddr>) -> bool {
        let bits = if next_hop.is_ipv4() { 32 } else { 128 };
        let on_it = |segment: Prefix| Prefix::new(next_hop, bits).is_some_and(|host| segment.contains(host));
        announcer == Some(next_hop) && self.segment.is_some_and(on_it)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Asn = Asn(65100);
    const THEM: Asn = Asn(64999);

    fn path(text: &str) -> AsPath {
        AsPath::sequence(text.split_whitespace().map(|number| Asn(number.parse().unwrap())))
    }

    #[test]
    fn private_numbers_go_as_each_mode_says_and_the_peers_own_stays() {
        use RemovePrivateAs::{All, No, Replace, Yes};
        for (mode, before, after) in [
            (No, "64512 3356", "64512 3356"),
            (Yes, "64512 64513", ""),
            (Yes, "64512 3356 64513", "64512 3356 64513"),
            (Yes, "64512 64999", "64999"),
            (All, "64512 3356 4200000000", "3356"),
            (All, "64512 64999 3356", "64999 3356"),
            (All, "3356 65535 64511", "3356 65535 64511"),
            (Replace, "64512 3356 65534", "65100 3356 65100"),
            (Replace, "64999 64512", "64999 65100"),
            (Yes, "", ""),
            (All, "", ""),
        ] {
            let outward = Outward { private: Some((mode, THEM)), ..Outward::default() };
            let mut rewritten = path(before);
            outward.rewrite(US, &mut rewritten);
            assert_eq!(rewritten, path(after), "{mode:?} {before}");
        }
    }

    #[test]
    fn our_as_stands_in_the_place_of_the_peers_wherever_that_is() {
        let outward = Outward { overridden: Some(THEM), ..Outward::default() };
        for (before, after) in
            [("64999", "65100"), ("3356 64999 64999 1", "3356 65100 65100 1"), ("3356", "3356"), ("", "")]
        {
            let mut rewritten = path(before);
            outward.rewrite(US, &mut rewritten);
            assert_eq!(rewritten, path(after), "{before}");
        }
    }

    #[test]
    fn only_the_announcers_own_address_on_the_shared_segment_is_a_third_partys() {
        let address = |text: &str| -> IpAddr { text.parse().unwrap() };
        let outward = |segment: &str| Outward { segment: segment.parse().ok(), ..Outward::default() };
        for (segment, next_hop, announcer, passes) in [
            ("192.0.2.0/24", "192.0.2.7", "192.0.2.7", true),
            ("192.0.2.0/24", "192.0.2.7", "192.0.2.8", false),
            ("192.0.2.0/24", "198.51.100.7", "198.51.100.7", false),
            ("none", "192.0.2.7", "192.0.2.7", false),
            ("fd00::/64", "fd00::7", "fd00::7", true),
            ("192.0.2.0/24", "fd00::7", "fd00::7", false),
        ] {
            let third = outward(segment).is_third_party(address(next_hop), Some(address(announcer)));
            assert_eq!(third, passes, "{next_hop} of {announcer} on {segment}");
        }
        assert!(!outward("192.0.2.0/24").is_third_party(address("192.0.2.7"), None));
    }
}
