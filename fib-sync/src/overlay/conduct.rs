//! How the kernel treats what comes by an overlay device, as far as it is a matter of settings and not of the device itself.
//!
//! A packet may come by the tunnel and its answer go by a link: a host sends from its own address, which others reach
//! beside the tunnel, because tunnels themselves go by it; and nodes change from one to the other. So the reverse path of
//! what comes by the device must not be checked strictly. The kernel takes the greater of the device's `rp_filter` and that
//! of `all`, where 1 is strict and 2 is loose: with 2 the device is loose whatever the host says of all. But loosely is
//! strictly on a device without any IPv4 address (net/ipv4/fib_frontend.c, `__fib_validate_source`), so it has one that
//! means nothing.

use std::net::Ipv4Addr;

use netlink_packet_route::address::AddressScope;

use super::{VXLAN_DEVICE, checksum};
use crate::{FibError, address, host, netlink::Socket, sysctl};

/// The IPv4 dummy address (RFC 7600, section 4.8; IANA's registry of special addresses): nobody's, and no destination. Its
/// scope is the host, so that nothing is sent from it.
pub(crate) const DUMMY: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);

/// Settings below `/proc/sys/net`. No address is wanted on the device but the above, nor anything that others announce there.
const SETTINGS: [(&str, &str, &str); 3] =
    [("ipv4", "rp_filter", "2"), ("ipv6", "addr_gen_mode", "1"), ("ipv6", "accept_ra", "0")];

/// Sees to all of it. Returns what was otherwise, in words; what cannot be put right is logged and stays as it is.
pub(crate) fn ensure(socket: &mut Socket, name: &str, link: u32) -> Result<Vec<String>, FibError> {
    let mut done = Vec::new();
    for (family, setting, wanted) in SETTINGS {
        let key = format!("{family}/conf/{name}/{setting}");
        // A kernel without IPv6 has none of its settings.
        let Ok(now) = sysctl::get(&key) else { continue };
        if now == wanted {
            continue;
        }
        match sysctl::set(&key, wanted) {
            Ok(()) => done.push(format!("its {setting} is {now}, wanted {wanted}")),
            Err(error) => tracing::warn!(%error, "a setting of the overlay device stays as it is"),
        }
    }
    if !address::on(socket, link)?.iter().any(|(address, _, _)| *address == DUMMY) {
        match address::add(socket, name, link, DUMMY.into(), 32, AddressScope::Host) {
            Ok(()) => done.push(format!("its address {DUMMY} is missing")),
            Err(error) => tracing::warn!(%error, "what hosts send to pods of others by the overlay may be dropped"),
        }
    }
    if name == VXLAN_DEVICE {
        match host::kernel_release().and_then(|release| checksum::settle(name, &release)) {
            Ok(true) => done.push("it left checksums to devices, which this kernel gets wrong".into()),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "whether checksums are right in VXLAN is not known"),
        }
    }
    Ok(done)
}
