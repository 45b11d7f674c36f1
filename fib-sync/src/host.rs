//! What this host's kernel is and how it is set, as far as forwarding depends on it and it is not Linnet's to change.

use std::io;

use crate::{FibError, device, netlink::Socket, sysctl};

/// How the kernel checks where packets come from that come by a device (`rp_filter`, Documentation/networking/ip-sysctl). IPv4
/// only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReversePath {
    /// Not at all.
    Unchecked,
    /// Answers have to leave by the same device.
    Strict,
    /// Answers have to have a way.
    Loose,
}

/// What counts for a device: the greater of its own value and that of all.
///
/// # Errors
/// [`FibError::Sysctl`]: there is no such device.
pub fn reverse_path(device: &str) -> Result<ReversePath, FibError> {
    let value = |name: &str| sysctl::get(&format!("ipv4/conf/{name}/rp_filter"));
    Ok(match value("all")?.max(value(device)?).as_str() {
        "0" => ReversePath::Unchecked,
        "1" => ReversePath::Strict,
        _ => ReversePath::Loose,
    })
}

/// A device, as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceState {
    /// Octets.
    pub mtu: u32,
    /// Switched on.
    pub up: bool,
}

/// Looks at a device; `None`: there is none of this name.
///
/// # Errors
/// [`FibError::Socket`], [`FibError::Kernel`].
pub fn device_state(name: &str) -> Result<Option<DeviceState>, FibError> {
    let found = device::find(&mut Socket::open()?, name)?;
    Ok(found.map(|device| DeviceState { mtu: device.mtu, up: device.up }))
}

/// The kernel's release: `6.1.0-18-amd64`.
///
/// # Errors
/// There is no /proc.
pub fn kernel_release() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned())
}

/// Whether the kernel has next-hop objects (Linux 5.3 and newer).
///
/// # Errors
/// [`FibError::Socket`], [`FibError::Kernel`].
pub fn has_next_hop_objects() -> Result<bool, FibError> {
    crate::next_hops::supported(&mut Socket::open()?)
}

/// Octets of its IPv4 table that the kernel replaces before it waits until nobody reads them any more (`fib_sync_mem`,
/// Documentation/networking/ip-sysctl; Linux 5.2 and newer). `None`: it does not say, which is so in every network namespace
/// but the first.
#[must_use]
pub fn fib_backlog() -> Option<u64> {
    sysctl::get("ipv4/fib_sync_mem").ok()?.parse().ok()
}
