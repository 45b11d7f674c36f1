//! What is wanted: routes as the rest of Linnet says them, and how each of them fares.

use std::{net::IpAddr, sync::Arc};

use ipnetwork::IpNetwork;

use crate::PublicKey;

/// The number of a path, the caller's to choose: small, without large gaps, and free to be used again once
/// [`crate::Fib::change`] says that no route has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathId(pub u32);

/// What many routes share: all but the prefix. Their table and metric are the engine's ([`crate::FibConfig`]), never BGP's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// Where packets go.
    pub target: Target,
    /// Where they go once no hop of the target can be used, until something else is said: where the kernel has groups with a
    /// backup (Linux 5.13), it moves them by itself the moment the link of the only hop is lost. Not beside WireGuard, where a
    /// prefix is one peer's.
    pub backup: Option<Hop>,
    /// A tunnel by which nothing is sent now, because the hops lead past it, while the other node may still or already send by
    /// it: what comes that way is taken all the same, and the routes can move to it at any time. WireGuard has to be told, by a
    /// peer with the prefixes of the routes; a hop of WireGuard's goes before it, as a prefix is one peer's. Other
    /// encapsulations take what comes, and for them this means nothing.
    pub idle_tunnel: Option<TunnelEnd>,
    /// Path MTU in octets (RTAX_MTU). `None`: the device's. For a tunnel no more than the overlay's.
    pub mtu: Option<u32>,
    /// Source address for packets that this host itself sends (RTA_PREFSRC). While no device has it, routes go without.
    pub source: Option<IpAddr>,
}

impl From<Target> for Path {
    fn from(target: Target) -> Self {
        Self { target, backup: None, idle_tunnel: None, mtu: None, source: None }
    }
}

/// Where a route's packets go.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// To one of these, chosen by flow, with equal weights. Not empty; an empty one is reported as an error.
    Forward(Vec<Hop>),
    /// To one of these, chosen by flow, each as often as its weight says. Not empty either.
    Weighted(Vec<(Hop, Weight)>),
    /// Nowhere: the sender gets an ICMP unreachable.
    Unreachable,
    /// Nowhere, and nobody is told.
    Blackhole,
    /// Onto this device, the destination itself being on its link: a pod's host route.
    Device(String),
}

impl Target {
    /// Its hops with their weights.
    pub fn hops(&self) -> impl Iterator<Item = (&Hop, Weight)> {
        let (equal, weighted): (&[Hop], &[(Hop, Weight)]) = match self {
            Self::Forward(hops) => (hops, &[]),
            Self::Weighted(hops) => (&[], hops),
            Self::Unreachable | Self::Blackhole | Self::Device(_) => (&[], &[]),
        };
        let equal = equal.iter().map(|hop| (hop, Weight::ONE));
        equal.chain(weighted.iter().map(|(hop, weight)| (hop, *weight)))
    }
}

/// How often a hop is taken, beside the others: 1 to 256, which is what the kernel has room for (`rtnh_hops`, less one).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Weight(u8);

impl Weight {
    /// The least, and what hops have that were given none.
    pub const ONE: Self = Self(0);

    /// `None` for 0 and above 256.
    #[must_use]
    pub fn new(weight: u16) -> Option<Self> {
        u8::try_from(weight.checked_sub(1)?).ok().map(Self)
    }

    /// 1 to 256.
    #[must_use]
    pub fn get(self) -> u16 {
        u16::from(self.0) + 1
    }

    /// As the kernel writes it.
    pub(crate) fn less_one(self) -> u8 {
        self.0
    }

    pub(crate) fn from_less_one(weight: u8) -> Self {
        Self(weight)
    }
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
        /// It is on that link, whatever the host's addresses say: the kernel does not look.
        onlink: bool,
    },
    /// The other end of the overlay.
    Tunnel(TunnelEnd),
}

/// The other end of a tunnel, as announced by that node (RFC 9012).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TunnelEnd {
    /// Of VXLAN.
    Vxlan {
        /// Outer destination address.
        endpoint: IpAddr,
        /// VNI that the other end expects, 1..=0xffffff.
        vni: u32,
        /// Inner destination MAC: the other end's overlay device.
        mac: [u8; 6],
    },
    /// Of IP in IP.
    IpIp {
        /// Outer destination address.
        endpoint: IpAddr,
    },
    /// Of WireGuard. Of several in a path the least counts, alone: a prefix is one peer's at a time.
    WireGuard {
        /// Outer destination address: the other node's own.
        endpoint: IpAddr,
        /// Outer destination port.
        port: u16,
        /// The other node's public key.
        key: PublicKey,
    },
}

impl TunnelEnd {
    /// Outer destination address.
    #[must_use]
    pub fn endpoint(&self) -> IpAddr {
        match *self {
            Self::Vxlan { endpoint, .. } | Self::IpIp { endpoint } | Self::WireGuard { endpoint, .. } => endpoint,
        }
    }

    /// The name of its encapsulation: `vxlan`, `ipip`, `wireguard`.
    #[must_use]
    pub fn encapsulation(&self) -> &'static str {
        match self {
            Self::Vxlan { .. } => "vxlan",
            Self::IpIp { .. } => "ipip",
            Self::WireGuard { .. } => "wireguard",
        }
    }
}

/// A change of what is desired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// What this path is from now on, for all routes that have it, however many. `None`: it cannot be used; its routes leave
    /// the kernel until it can.
    Path(PathId, Option<Path>),
    /// A route by this path is desired, in place of any other for its destination, of which host bits are cut off.
    Put(IpNetwork, PathId),
    /// No route is desired for this destination.
    Remove(IpNetwork),
}

/// How a desired route fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteStatus {
    /// Destination.
    pub prefix: IpNetwork,
    /// The number of its path.
    pub path_id: PathId,
    /// Its path, as asked for; `None`: one that cannot be used.
    pub path: Option<Arc<Path>>,
    /// The kernel holds it, as far as its links allow.
    pub installed: bool,
    /// Why not, or what is not as it should be; `None` when all is well.
    pub error: Option<String>,
    /// What it became: gateways and devices that carry traffic now.
    pub hops: Vec<ResolvedHop>,
    /// Whom the kernel takes when it loses the only one of them.
    pub backup: Option<ResolvedHop>,
    /// MTU in the kernel's route, octets.
    pub mtu: Option<u32>,
    /// How often somebody else removed or changed it and it was put back; again from 0 after ten minutes without.
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
    /// How often it is taken beside the others.
    pub weight: Weight,
}
