//! What a route says beside where it leads.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fib_sync::{Path, Target};

/// The same for all that BGP leads to, by family where it depends on that. `None`: the kernel's choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// Source of IPv4 packets that this host itself sends (RTA_PREFSRC).
    pub source: Option<Ipv4Addr>,
    /// Likewise of IPv6.
    pub source6: Option<Ipv6Addr>,
    /// Octets of the largest packet (RTAX_MTU).
    pub mtu: Option<u32>,
}

impl Hints {
    /// The path to a target for prefixes of one family.
    pub(super) fn path(&self, target: Target, v6: bool) -> Path {
        let source = if v6 { self.source6.map(IpAddr::V6) } else { self.source.map(IpAddr::V4) };
        Path { mtu: self.mtu, source, ..Path::from(target) }
    }
}
