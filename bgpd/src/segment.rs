//! The subnet that a session's two ends share, as this host's interfaces have it: where a third router's address may be
//! passed on as a next hop (RFC 4271 section 5.1.3).

#![allow(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bgp_proto::types::Prefix;

/// The prefix of the interface that has the address `local`, if it has `remote` in it too.
pub(crate) fn shared(local: IpAddr, remote: IpAddr) -> Option<Prefix> {
    let remote = host(remote)?;
    networks(local).into_iter().find(|prefix| prefix.contains(remote) && *prefix != remote)
}

fn host(address: IpAddr) -> Option<Prefix> {
    Prefix::new(address.to_canonical(), if address.to_canonical().is_ipv4() { 32 } else { 128 })
}

/// The prefixes of `address` on this host's interfaces.
fn networks(address: IpAddr) -> Vec<Prefix> {
    let mut found = Vec::new();
    let mut first: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: getifaddrs writes one pointer where it is told to.
    if unsafe { libc::getifaddrs(&raw mut first) } != 0 {
        return found;
    }
    let mut next = first;
    while !next.is_null() {
        // SAFETY: an entry of the list, which lives until freeifaddrs below.
        let entry = unsafe { &*next };
        // SAFETY: each of the two is null or points to a socket address of the family that it names.
        let (here, mask) = unsafe { (read(entry.ifa_addr), read(entry.ifa_netmask)) };
        if here == Some(address.to_canonical()) {
            found.extend(mask.and_then(|mask| Prefix::new(address.to_canonical(), ones(mask))));
        }
        next = entry.ifa_next;
    }
    // SAFETY: what getifaddrs gave, and nothing refers to it any more.
    unsafe { libc::freeifaddrs(first) };
    found
}

fn ones(mask: IpAddr) -> u8 {
    let ones = match mask {
        IpAddr::V4(mask) => u32::from(mask).leading_ones(),
        IpAddr::V6(mask) => u128::from(mask).leading_ones(),
    };
    u8::try_from(ones).unwrap_or(128)
}

/// # Safety
/// `address` is null, or points to a socket address of the family that it names.
unsafe fn read(address: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: the caller's word.
    let family = i32::from(unsafe { address.as_ref() }?.sa_family);
    match family {
        libc::AF_INET => {
            // SAFETY: the family says which structure it is.
            let v4 = unsafe { &*address.cast::<libc::sockaddr_in>() };
            Some(IpAddr::V4(Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr))))
        }
        libc::AF_INET6 => {
            // SAFETY: the family says which structure it is.
            let v6 = unsafe { &*address.cast::<libc::sockaddr_in6>() };
            Some(IpAddr::V6(Ipv6Addr::from(v6.sin6_addr.s6_addr)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_has_its_own_segment_and_no_other() {
        let text = |text: &str| -> IpAddr { text.parse().unwrap() };
        assert_eq!(shared(text("127.0.0.1"), text("127.0.0.9")), "127.0.0.0/8".parse().ok());
        assert_eq!(shared(text("127.0.0.1"), text("192.0.2.9")), None);
        assert_eq!(shared(text("192.0.2.1"), text("192.0.2.9")), None);
        assert_eq!(shared(text("::1"), text("::1")), None, "a host route is no segment");
    }
}
