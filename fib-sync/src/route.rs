//! What is wanted: routes as the rest of Linnet says them, and how each of them fares.

use std::{net::IpAddr, sync::Arc};

use ipnetwork::IpNetwork;

/// One desired route. Its table and metric are the engine's ([`crate::FibConfig`]), never BGP's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destination; host bits are cut off.
    pub prefix: IpNetwork,
    /// Where packets go.
    pub target: Target,
    /// Path MTU in octets (RTAX_MTU). `None`: the device's; for a tunnel the overlay's.
    pub mtu: Option<u32>,
    /// Source address for packets that this host itself sends (RTA_PREFSRC).
    pub source: Option<IpAddr>,
}

/// Where a route's packets go.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// To one of these, chosen by flow, with equal weights. Not empty; an empty one is reported as an error.
    Forward(Vec<Hop>),
    /// Nowhere: the sender gets an ICMP unreachable.
    Unreachable,
    /// Onto this device, the destination itself being on its link: a pod's host route.
    Device(String),
}

/// One way out of several.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hop {
    /// A router on a link of this host.
    Direct {
        /// Its address on that link.
        via: IpAddr,
        /// The link; `None`: the one by which the kernel reaches `via` without a gateway.
        device: Option<String>,
    },
    /// The other end of the overlay.
    Tunnel(TunnelEnd),
}

/// The other end of a VXLAN tunnel, as announced by that node (RFC 9012).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TunnelEnd {
    /// Outer destination address.
    pub endpoint: IpAddr,
    /// VNI that the other end expects, 1..=0xffffff.
    pub vni: u32,
    /// Inner destination MAC: the other end's overlay device.
    pub mac: [u8; 6],
}

/// A change of what is desired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// This route is desired, in place of any other for its prefix.
    Put(Route),
    /// No route is desired for this prefix.
    Remove(IpNetwork),
}

/// How a desired route fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteStatus {
    /// As asked for.
    pub route: Route,
    /// The kernel holds it, as far as its links allow.
    pub installed: bool,
    /// Why not, or what is not as it should be; `None` when all is well.
    pub error: Option<String>,
    /// What it became: gateways and devices that carry traffic now.
    pub hops: Vec<ResolvedHop>,
    /// MTU in the kernel's route, octets.
    pub mtu: Option<u32>,
    /// How often somebody else removed or changed it and it was put back.
    pub repairs: u32,
}

/// A hop as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedHop {
    /// Gateway; `None` for a destination on the link itself.
    pub via: Option<IpAddr>,
    /// Name of the device.
    pub device: Arc<str>,
    /// The tunnel, if the device is the overlay's.
    pub tunnel: Option<TunnelEnd>,
}
