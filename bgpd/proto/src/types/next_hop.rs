//! Next hops, and the link that a link-local one is on.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The name of a network interface of this host, and so of the link behind it: the zone of a link-local address (RFC 4007
/// section 6). 1 to 15 octets, as Linux's `IFNAMSIZ` has it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interface {
    /// Zeros behind the name.
    octets: [u8; Self::MAX_LEN],
}

impl Interface {
    /// Octets of the longest name.
    pub const MAX_LEN: usize = 15;

    /// `None` for what Linux takes as no name: empty, too long, `.` and `..`, or with a slash, a colon or white space in it.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let fits = (1..=Self::MAX_LEN).contains(&name.len()) && !matches!(name, "." | "..");
        let sound = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '/' | ':');
        if !fits || !name.chars().all(sound) {
            return None;
        }
        let mut octets = [0; Self::MAX_LEN];
        octets[..name.len()].copy_from_slice(name.as_bytes());
        Some(Self { octets })
    }

    /// The name with zeros behind it, for [`Interface::from_octets`].
    pub(crate) fn octets(self) -> [u8; Self::MAX_LEN] {
        self.octets
    }

    /// What [`Interface::octets`] gave.
    pub(crate) fn from_octets(octets: [u8; Self::MAX_LEN]) -> Self {
        Self { octets }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        let end = self.octets.iter().position(|octet| *octet == 0).unwrap_or(Self::MAX_LEN);
        // It was made from a string and cut at that string's end.
        str::from_utf8(&self.octets[..end]).unwrap_or_default()
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.name(), f)
    }
}

/// A link-local address. It means something only together with its link (RFC 4007 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkLocal {
    /// Of fe80::/10.
    pub address: Ipv6Addr,
    /// The link; `None` in what a session brought that is bound to none, and in what is sent, where the session says it.
    pub link: Option<Interface>,
}

/// A BGP next hop. An IPv4 prefix may have an IPv6 one (RFC 8950).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NextHop {
    /// From NEXT_HOP, or from MP_REACH_NLRI.
    V4(Ipv4Addr),
    /// From MP_REACH_NLRI, 16 or 32 octets (RFC 2545 section 3).
    V6 {
        /// The global address; with a lone link-local next hop, the unspecified address.
        global: Ipv6Addr,
        /// The link-local address, if one was sent.
        link_local: Option<LinkLocal>,
    },
}

impl NextHop {
    /// A lone link-local next hop.
    #[must_use]
    pub fn link_local(address: Ipv6Addr, link: Option<Interface>) -> Self {
        Self::V6 { global: Ipv6Addr::UNSPECIFIED, link_local: Some(LinkLocal { address, link }) }
    }

    /// The address by which a person knows it: IPv4, else the global address, else the link-local one.
    #[must_use]
    pub fn address(self) -> IpAddr {
        match self {
            Self::V4(address) => IpAddr::V4(address),
            Self::V6 { global, link_local } if global.is_unspecified() => {
                IpAddr::V6(link_local.map_or(global, |link_local| link_local.address))
            }
            Self::V6 { global, .. } => IpAddr::V6(global),
        }
    }

    /// Where packets go, with the link if the address is link-local: the link-local address, which RFC 2545 section 2 has
    /// hosts and routers forward to, where its link is known; else the global one.
    #[must_use]
    pub fn gateway(self) -> (IpAddr, Option<Interface>) {
        match self {
            Self::V6 { link_local: Some(LinkLocal { address, link: Some(link) }), .. } => {
                (IpAddr::V6(address), Some(link))
            }
            Self::V4(_) | Self::V6 { .. } => (self.address(), None),
        }
    }

    /// It, as a session heard it that is bound to `link`.
    #[must_use]
    pub fn on(self, link: Option<Interface>) -> Self {
        match self {
            Self::V6 { global, link_local: Some(LinkLocal { address, .. }) } => {
                Self::V6 { global, link_local: Some(LinkLocal { address, link }) }
            }
            Self::V4(_) | Self::V6 { link_local: None, .. } => self,
        }
    }
}

impl From<IpAddr> for NextHop {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(global) => Self::V6 { global, link_local: None },
        }
    }
}

impl fmt::Display for NextHop {
    /// `192.0.2.1`, `2001:db8::1`, `fe80::1%eth0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lone = match self {
            Self::V6 { global, link_local: Some(LinkLocal { link, .. }) } if global.is_unspecified() => *link,
            Self::V4(_) | Self::V6 { .. } => None,
        };
        match lone {
            Some(link) => write!(f, "{}%{link}", self.address()),
            None => self.address().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_has_a_name_that_linux_takes() {
        for name in ["eth0", "e", "enp0s31f6.4094", "a-b_c", "fifteen-octets!"] {
            assert_eq!(Interface::new(name).map(|interface| interface.to_string()).as_deref(), Some(name));
        }
        for name in ["", ".", "..", "eth 0", "eth/0", "eth0:1", "sixteen-octets!!", "eth\n"] {
            assert_eq!(Interface::new(name), None, "{name:?}");
        }
    }

    #[test]
    fn packets_go_to_the_link_local_address_only_where_its_link_is_known() {
        let (global, local): (Ipv6Addr, Ipv6Addr) = ("fd00::1".parse().unwrap(), "fe80::1".parse().unwrap());
        let eth0 = Interface::new("eth0");
        let both = |link| NextHop::V6 { global, link_local: Some(LinkLocal { address: local, link }) };
        for (next_hop, gateway, shown) in [
            (NextHop::V4([192, 0, 2, 1].into()), (IpAddr::from([192, 0, 2, 1]), None), "192.0.2.1"),
            (NextHop::from(IpAddr::V6(global)), (global.into(), None), "fd00::1"),
            (both(None), (global.into(), None), "fd00::1"),
            (both(eth0), (local.into(), eth0), "fd00::1"),
            (both(None).on(eth0), (local.into(), eth0), "fd00::1"),
            (NextHop::link_local(local, None), (local.into(), None), "fe80::1"),
            (NextHop::link_local(local, eth0), (local.into(), eth0), "fe80::1%eth0"),
        ] {
            assert_eq!(next_hop.gateway(), gateway, "{next_hop:?}");
            assert_eq!(next_hop.to_string(), shown);
        }
    }
}
