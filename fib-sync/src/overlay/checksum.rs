//! Who computes checksums of what leaves by the VXLAN device.
//!
//! VXLAN over IPv4 sends its outer UDP header without a checksum, which is written as zero. Kernels before Linux 5.7 "update"
//! that zero when source NAT changes the outer packet while the checksum is left for a device to complete, and the other node
//! drops the packet: connections hang for a minute where kube-proxy or another program masquerades with `--random-fully`. Mended by
//! commit ea64d8d6c675 ("netfilter: nat: never update the UDP checksum when it's 0"), also in stable 5.6.13 and 5.4.41
//! (and in older ones than Linnet runs on). On all others checksums are completed before a packet enters the tunnel. That costs throughput and is right
//! also where a distribution has mended its kernel under an older number.
#![allow(unsafe_code)] // SIOCETHTOOL takes a pointer within a structure; ethtool's netlink sets no features before Linux 5.8.

use std::{io, os::fd::AsRawFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// Commands of linux/ethtool.h for the transmit checksums of a device.
const ETHTOOL_GTXCSUM: u32 = 0x16;
const ETHTOOL_STXCSUM: u32 = 0x17;
/// linux/sockios.h.
const SIOCETHTOOL: libc::Ioctl = 0x8946;

/// Stable series that were mended, and in which release.
const MENDED: [(u32, u32, u32); 2] = [(5, 6, 13), (5, 4, 41)];

/// Whether a kernel of this release (`5.4.0-42-generic`) is one that gets them wrong. One that cannot be read is not.
#[must_use]
pub fn is_wrong_on(release: &str) -> bool {
    let number = |text: &str| -> Option<u32> {
        text.split(|letter: char| !letter.is_ascii_digit()).next().and_then(|digits| digits.parse().ok())
    };
    let mut parts = release.splitn(3, '.');
    let (Some(major), Some(minor)) = (parts.next().and_then(number), parts.next().and_then(number)) else {
        return false;
    };
    let patch = parts.next().and_then(number).unwrap_or(0);
    let mended = MENDED.iter().any(|(a, b, c)| (*a, *b) == (major, minor) && patch >= *c);
    (major, minor) < (5, 7) && !mended
}

/// Whether the device is left to complete checksums.
///
/// # Errors
/// There is no such device, or the kernel does not say.
pub fn is_offloaded(device: &str) -> io::Result<bool> {
    Ok(ethtool(device, ETHTOOL_GTXCSUM, 0)? != 0)
}

/// Switches that off on a kernel of a release that gets them wrong. Returns whether anything was to be done.
///
/// # Errors
/// As [`is_offloaded`], or the kernel refuses.
pub fn settle(device: &str, release: &str) -> io::Result<bool> {
    let wrong = is_wrong_on(release) && is_offloaded(device)?;
    if wrong {
        ethtool(device, ETHTOOL_STXCSUM, 0)?;
    }
    Ok(wrong)
}

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

fn ethtool(device: &str, command: u32, data: u32) -> io::Result<u32> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut value = Value { command, data };
    let mut name = [0; libc::IFNAMSIZ];
    // The last octet stays zero.
    for (to, from) in name.iter_mut().take(libc::IFNAMSIZ - 1).zip(device.bytes()) {
        *to = from as libc::c_char;
    }
    let union = libc::__c_anonymous_ifr_ifru { ifru_data: (&raw mut value).cast() };
    let mut request = libc::ifreq { ifr_name: name, ifr_ifru: union };
    // SAFETY: the request lives to the end of the call, and so does the value that it points to, which has the layout and size
    // that both commands read and write.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if done == 0 { Ok(value.data) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_that_get_checksums_wrong_are_told_by_their_release() {
        for release in ["4.18.0-305.el8.x86_64", "4.20.17", "5.3.18", "5.4.0-42-generic", "5.4.40", "5.6.12"] {
            assert!(is_wrong_on(release), "{release}");
        }
        for release in
            ["5.4.41", "5.6.13", "5.7.0", "5.7-rc1", "5.10.0-28-amd64", "6.1.0-18-cloud-amd64", "10.1", "odd", ""]
        {
            assert!(!is_wrong_on(release), "{release}");
        }
    }
}
