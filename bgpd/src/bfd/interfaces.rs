//! Whether an address is on a link of this host.

// getifaddrs(3) has no safe binding among this crate's dependencies.
#![allow(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bgp_proto::types::Prefix;

/// Prefixes of the addresses of this host's interfaces; none if the kernel does not say.
pub(super) fn links() -> Vec<Prefix> {
    let mut first: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: the pointer is to a live variable, which the call fills on success.
    if unsafe { libc::getifaddrs(&raw mut first) } != 0 {
        return Vec::new();
    }
    let mut links = Vec::new();
    let mut next = first;
    // SAFETY: a null pointer ends the list; every other one is to an element of it, which lives until freeifaddrs.
    while let Some(element) = unsafe { next.as_ref() } {
        // SAFETY: both are null, or pointers to socket addresses of the list.
        let (address, mask) = unsafe { (address(element.ifa_addr), address(element.ifa_netmask)) };
        if let (Some(address), Some(mask)) = (address, mask) {
            let ones = match mask {
                IpAddr::V4(mask) => mask.to_bits().count_ones(),
                IpAddr::V6(mask) => mask.to_bits().count_ones(),
            };
            links.extend(u8::try_from(ones).ok().and_then(|length| Prefix::new(address, length)));
        }
        next = element.ifa_next;
    }
    // SAFETY: the list that getifaddrs made, freed once; nothing refers to it any more.
    unsafe { libc::freeifaddrs(first) };
    links
}

/// # Safety
/// The pointer is null or to a socket address that is as long as its family says.
unsafe fn address(pointer: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: by the function's contract.
    let family = unsafe { pointer.as_ref() }?.sa_family;
    match i32::from(family) {
        libc::AF_INET => {
            // SAFETY: an AF_INET address is a sockaddr_in; it is read as bytes may lie, aligned or not.
            let address = unsafe { pointer.cast::<libc::sockaddr_in>().read_unaligned() };
            Some(Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: likewise a sockaddr_in6.
            let address = unsafe { pointer.cast::<libc::sockaddr_in6>().read_unaligned() };
            Some(Ipv6Addr::from(address.sin6_addr.s6_addr).into())
        }
        _ => None,
    }
}

/// Whether `address` is in one of them. A host route (a loopback's address) is no link.
pub(super) fn on_a_link(links: &[Prefix], address: IpAddr) -> bool {
    let host = Prefix::from(ipnetwork::IpNetwork::from(address));
    links.iter().any(|link| link.family() == host.family() && link.length() < host.length() && link.contains(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbour_on_a_link_is_told_from_one_behind_a_router_and_from_a_loopback() {
        let links: Vec<Prefix> =
            ["192.0.2.0/30", "10.255.0.1/32", "2001:db8:1::/64"].iter().map(|text| text.parse().unwrap()).collect();
        for (address, expected) in [
            ("192.0.2.2", true),
            ("192.0.2.5", false),
            ("10.255.0.1", false),
            ("2001:db8:1::9", true),
            ("2001:db8:2::9", false),
        ] {
            assert_eq!(on_a_link(&links, address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn the_kernel_says_which_prefixes_its_loopback_has() {
        assert!(on_a_link(&links(), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9))), "{:?}", links());
    }
}
