//! Whether this host forwards packets at all.

use crate::{FibError, sysctl};

const IPV4: &str = "ipv4/ip_forward";
const IPV6: &str = "ipv6/conf/all/forwarding";

/// Whether the kernel forwards (IPv4, IPv6). A kernel without IPv6 does not forward it.
pub fn forwarding_enabled() -> Result<(bool, bool), FibError> {
    Ok((sysctl::get(IPV4)? != "0", sysctl::get(IPV6).is_ok_and(|value| value != "0")))
}

/// Makes the kernel forward packets of both families between all of its devices. Devices that accept router
/// advertisements no longer do so by default then (`accept_ra`, Documentation/networking/ip-sysctl).
pub fn enable_forwarding() -> Result<(), FibError> {
    sysctl::set(IPV4, "1")?;
    if sysctl::get(IPV6).is_ok() { sysctl::set(IPV6, "1") } else { Ok(()) }
}
