//! What `[fib]` has routes say beside where they lead, and a path made with it and what filters set of its ways.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bgp_proto::hints::Hint;
use fib_sync::{Path, Target};

use super::Way;

/// The same for all that BGP leads to and filters say nothing else of, by family where it depends on that. `None`: the kernel's
/// choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// Source of IPv4 packets that this host itself sends (RTA_PREFSRC).
    pub source: Option<Ipv4Addr>,
    /// Likewise of IPv6.
    pub source6: Option<Ipv6Addr>,
    /// Octets of the largest packet (RTAX_MTU).
    pub mtu: Option<u32>,
}

impl Defaults {
    /// The path to a target by these ways, for prefixes of one family.
    pub(super) fn path<'w>(&self, target: Target, v6: bool, ways: impl Iterator<Item = &'w Way> + Clone) -> Path {
        // Of ways that differ, the least: what is larger would not pass by all of them.
        let mtu = ways.clone().filter_map(|way| way.hints.mtu.map_or(self.mtu, Hint::value)).min();
        // All ways have the same.
        let mut ways = ways;
        let set = ways.next().map(|way| way.hints).unwrap_or_default();
        let source = if v6 {
            set.source6.map_or(self.source6, Hint::value).map(IpAddr::V6)
        } else {
            set.source.map_or(self.source, Hint::value).map(IpAddr::V4)
        };
        Path { mtu, source, ..Path::from(target) }
    }
}
