//! What kind of session it is, by two octets: who the peer is, and what both sides say in their OPENs. Two zeros are an external peer
//! that has what most neighbours have.

use std::net::Ipv4Addr;

use bgp_proto::role::{LocalRole, Role};
use bgp_proto::session::{Extensions, LocalRestart, RemoteAs, SessionConfig};
use bgp_proto::types::{Asn, Family, FamilySet, HoldTime, Interface, RouterId};
use bgp_proto::wire::Open;
use bgp_proto::wire::capability::{AddPath, Capability, GracefulRestart, LongLived};

const OURS: Asn = Asn(64512);
const THEIRS: Asn = Asn(65001);
const RESTART_SECONDS: u16 = 120;
const STALE_SECONDS: u32 = 86_400;

#[derive(Clone, Copy, Debug)]
pub(super) struct Kind([u8; 2]);

impl Kind {
    /// Bits of the first octet: 0 the peer is internal; 1 we have IPv4 alone, 2 the peer has IPv6 alone, if not IPv4 alone too; 3 both send
    /// and take several paths; 4 we take no extended messages; 5 the peer has AS numbers of two octets; 6 and 7 our role: none,
    /// provider, peer (strict), route server client.
    ///
    /// Bits of the second: 0 no graceful restart; 1 we have restarted; 2 routes go with a NOTIFICATION; 3 the session is bound to a link;
    /// 4 no IPv6 next hops of IPv4 prefixes; 5 no hold time; 6 the peer only takes several paths; 7 no enhanced refresh.
    pub(super) const LEN: usize = 2;

    /// The kind that stands at the start of an input, and what is behind it.
    pub(super) fn split(data: &[u8]) -> Option<(Self, &[u8])> {
        data.split_first_chunk::<{ Self::LEN }>().map(|(octets, rest)| (Self(*octets), rest))
    }

    /// The bytes that [`Kind::split`] reads.
    #[cfg(test)]
    pub(super) fn octets(self) -> [u8; Self::LEN] {
        self.0
    }

    /// Two zeros, each bit alone, and all that may go together.
    #[cfg(test)]
    pub(super) fn each() -> impl Iterator<Item = Self> {
        let single = (0..16).map(|bit| (1u16 << bit).to_be_bytes());
        let several = [[0xc0, 0], [0x09, 0x08], [0x28, 0], [0x29, 0x40], [0x38, 0x95], [0x41, 0x0a], [0x88, 0x48]];
        [[0, 0]].into_iter().chain(single).chain(several).map(Self)
    }

    fn has(self, octet: usize, bit: u8) -> bool {
        self.0[octet] & 1 << bit != 0
    }

    fn asn(self) -> Asn {
        if self.has(0, 0) { OURS } else { THEIRS }
    }

    fn families(self) -> [FamilySet; 2] {
        let all: FamilySet = Family::ALL.into_iter().collect();
        let only = |family| [family].into_iter().collect();
        match (self.has(0, 1), self.has(0, 2)) {
            (false, false) => [all, all],
            (false, true) => [all, only(Family::Ipv6Unicast)],
            (true, false) => [only(Family::Ipv4Unicast), all],
            (true, true) => [only(Family::Ipv4Unicast), only(Family::Ipv4Unicast)],
        }
    }

    fn add_path(self) -> [AddPath; 2] {
        let both = AddPath { send: true, receive: true };
        match (self.has(0, 3), self.has(1, 6)) {
            (false, _) => [AddPath::NONE, both],
            (true, false) => [both, both],
            (true, true) => [both, AddPath { send: false, receive: true }],
        }
    }

    fn role(self) -> Option<LocalRole> {
        let (role, strict) = match self.0[0] >> 6 {
            0 => return None,
            1 => (Role::Provider, false),
            2 => (Role::Peer, true),
            _ => (Role::RouteServerClient, false),
        };
        Some(LocalRole { role, strict })
    }

    fn hold_time(self) -> HoldTime {
        let seconds = if self.has(1, 5) { 0 } else { 90 };
        HoldTime::from_seconds(seconds).unwrap_or_default()
    }

    pub(super) fn config(self) -> SessionConfig {
        let router_id = RouterId(Ipv4Addr::new(192, 0, 2, 1));
        let remote_as = if self.has(0, 0) { RemoteAs::Internal } else { RemoteAs::External };
        SessionConfig {
            passive: true,
            families: self.families()[0],
            hold_time: self.hold_time(),
            link: Interface::new("eth0").filter(|_| self.has(1, 3)),
            graceful_restart: (!self.has(1, 0)).then_some(LocalRestart {
                seconds: RESTART_SECONDS,
                restarted: self.has(1, 1),
                off_path: false,
                notification: !self.has(1, 2),
                long_lived_seconds: STALE_SECONDS,
            }),
            add_path: self.add_path()[0],
            role: self.role(),
            extensions: Extensions {
                enhanced_refresh: !self.has(1, 7),
                extended_messages: !self.has(0, 4),
                extended_next_hop: !self.has(1, 4),
            },
            ..SessionConfig::new(OURS, router_id, remote_as)
        }
    }

    /// With which the peer is let in.
    pub(super) fn peers_open(self) -> Open {
        let families = self.families()[1];
        let mut capabilities: Vec<_> = families.iter().map(Capability::Multiprotocol).collect();
        capabilities.extend([Capability::RouteRefresh, Capability::EnhancedRouteRefresh, Capability::ExtendedMessage]);
        let classic = families.iter().filter(|family| *family == Family::Ipv4Unicast).collect();
        capabilities.push(Capability::ExtendedNextHop(classic));
        capabilities.push(Capability::AddPath(families.iter().map(|family| (family, self.add_path()[1])).collect()));
        capabilities.extend(self.role().map(|local| Capability::Role(local.role.counterpart().code())));
        capabilities.push(Capability::GracefulRestart(GracefulRestart {
            restarting: false,
            notification: true,
            restart_seconds: RESTART_SECONDS,
            families: families.iter().map(|family| (family, true)).collect(),
        }));
        let long_lived = |family| LongLived { family, forwarding: true, stale_seconds: STALE_SECONDS };
        capabilities.push(Capability::LongLivedGracefulRestart(families.iter().map(long_lived).collect()));
        if !self.has(0, 5) {
            capabilities.push(Capability::FourOctetAs(self.asn()));
        }
        Open {
            asn: self.asn(),
            hold_time: HoldTime::default(),
            router_id: RouterId(Ipv4Addr::new(192, 0, 2, 2)),
            capabilities,
        }
    }
}
