//! What can go wrong between this crate and the kernel, said so that a person knows what to do.

use std::{io, net::IpAddr, path::PathBuf};

/// An error of this crate's. Each names the culprit, what follows from it and the next step.
#[derive(Debug, thiserror::Error)]
pub enum FibError {
    /// A netlink socket could not be opened or used.
    #[error("netlink socket: {what}: {source}; nothing was changed; run as root or with CAP_NET_ADMIN")]
    Socket {
        /// Which step failed.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel does not know NETLINK_GET_STRICT_CHK.
    #[error(
        "this kernel sends all of its tables where it is asked for one (it has no NETLINK_GET_STRICT_CHK); nothing was changed; use \
         Linux 4.20 or newer"
    )]
    OldKernel,
    /// The kernel refused a request.
    #[error("the kernel refused to {what}: {source}{}", extended(.message))]
    Kernel {
        /// The request, as a verb and its object: `add device linnet.vxlan`.
        what: String,
        /// The kernel's error number.
        source: io::Error,
        /// The kernel's own words (extended acknowledgement), empty if it gave none.
        message: String,
    },
    /// Netlink messages were lost or unreadable; what the kernel holds is not known until it is read again.
    #[error("netlink: {0}; the kernel's state is read again")]
    Lost(String),
    /// Another device stands in the way of the overlay's.
    #[error(
        "device {device} is in the way of the overlay: {why}; remove it, or choose another VNI, port or encapsulation"
    )]
    DeviceInTheWay {
        /// The name of that device.
        device: String,
        /// What is wrong with it.
        why: String,
    },
    /// The kernel has no IP-in-IP devices.
    #[error(
        "this kernel has no ipip (CONFIG_NET_IPIP); there is no overlay; run `modprobe ipip`, or set overlay.encapsulation to \"vxlan\""
    )]
    NoIpIp,
    /// The kernel has no devices for IP in IPv6.
    #[error(
        "this kernel has no ip6tnl (CONFIG_IPV6_TUNNEL); there is no overlay; run `modprobe ip6_tunnel`, or set overlay.encapsulation to \"vxlan\""
    )]
    NoIp6Tnl,
    /// The kernel has no WireGuard.
    #[error(
        "this kernel has no WireGuard (CONFIG_WIREGUARD); there is no overlay; run `modprobe wireguard`, or set overlay.encapsulation to \"vxlan\", which does not encrypt"
    )]
    NoWireGuard,
    /// The overlay's local address is on no device of this host.
    #[error("the overlay's local address {0} is on no device of this host; set node.address to one that is")]
    NoUnderlay(IpAddr),
    /// A network namespace could not be entered.
    #[error("network namespace {}: {source}; the interface was not made; give a path such as /run/netns/NAME or /proc/PID/ns/net", .path.display())]
    Namespace {
        /// The path that was given.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A request that contradicts itself, or names what is not Linnet's.
    #[error("{0}")]
    Invalid(String),
    /// A setting below /proc/sys could not be read or written.
    #[error("{}: {source}; is /proc/sys mounted and writable?", .path.display())]
    Sysctl {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The engine has ended.
    #[error("the FIB engine has ended; see the log for why, and restart linnetd")]
    Ended,
}

fn extended(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(" ({message})") }
}
