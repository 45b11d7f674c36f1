//! How one way is used: direct, by tunnel, or not at all, and why.

use std::net::IpAddr;

use fib_sync::{Encapsulation, Hop, Reach, TunnelEnd};

use super::{Offer, Settings, Way};
use crate::config::OverlayMode;

/// How a way is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What the kernel is told; `None`: the way cannot be used.
    pub hop: Option<Hop>,
    /// The tunnel that the way may change to and the other node may use already, where the hop leads past it.
    pub idle_tunnel: Option<TunnelEnd>,
    /// Why, for a person.
    pub reason: String,
}

impl Verdict {
    fn none(reason: String) -> Self {
        Self { hop: None, idle_tunnel: None, reason }
    }

    fn tunnel(end: TunnelEnd, reason: String) -> Self {
        Self { hop: Some(Hop::Tunnel(end)), idle_tunnel: None, reason }
    }
}

/// Judges a way for prefixes of one family, in this order:
///
/// 1. a next hop that is this host itself is never used;
/// 2. nor is one that the kernel cannot reach (RFC 4271 section 9.1.2.1): a router that passed the tunnel on may be cut off
///    while the tunnel's end is not. Only where next hop and tunnel are of two families does the tunnel's end stand for
///    the next hop: IPv6 pods over an IPv4 underlay. Of several tunnels, the one of our overlay's encapsulation counts;
/// 3. `overlay.mode`, or what a filter sets in its place: `always` takes a tunnel that can be used, `never` none. With WireGuard and `always`, what leads to pods
///    goes by such a tunnel or not at all;
/// 4. `auto` goes direct where the kernel has the next hop on a link, and leaves open a tunnel that could be used: the other node
///    finds out when its way changes at a time of its own;
/// 5. else it takes a tunnel that can be used;
/// 6. else it follows the kernel's own route to the next hop.
pub(super) fn judge<'r>(
    way: &Way,
    v6: bool,
    settings: &Settings,
    reach: impl Fn(IpAddr) -> Option<&'r Reach>,
) -> Verdict {
    let link = way.link.map(|link| Reach::Adjacent { device: link.to_string(), mtu: 0 });
    let next_hop = link.as_ref().or_else(|| reach(way.next_hop));
    // What others still send by a tunnel that this node has left.
    let left = settings.lingering.and_then(|device| {
        let offer = way.offer(Some(device))?;
        tunnel(offer, v6, Some(device), reach(offer.end().endpoint())).ok()
    });
    let direct = || Verdict { idle_tunnel: left, ..direct(way.next_hop, v6, next_hop) };
    let untunnelled = || {
        let mut verdict = direct();
        if v6 && settings.overlay == Some(Encapsulation::IpIp) {
            verdict.reason = format!("{}; IP in IP over IPv4 carries no IPv6", verdict.reason);
        }
        verdict
    };
    let offer = way.offer(settings.overlay);
    if let Some(Reach::Local) = next_hop {
        return Verdict::none(format!("the next hop {} is this host itself", way.next_hop));
    }
    let one_family = offer.is_none_or(|offer| offer.end().endpoint().is_ipv6() == way.next_hop.is_ipv6());
    if let (true, Some(Reach::Unreachable { .. })) = (one_family, next_hop) {
        return direct();
    }
    let tunnel = offer.map(|offer| tunnel(offer, v6, settings.overlay, reach(offer.end().endpoint())));
    let (mode, says) = match way.hints.overlay {
        Some(mode) => (mode, "a filter sets overlay ="),
        None => (settings.mode, "overlay.mode is"),
    };
    match mode {
        OverlayMode::Never if way.hints.overlay.is_some() => {
            let mut verdict = direct();
            verdict.reason = format!("{}; {says} \"never\"", verdict.reason);
            verdict
        }
        OverlayMode::Never => direct(),
        OverlayMode::Always => match tunnel {
            Some(Ok(end)) => Verdict::tunnel(end, format!("{says} \"always\"")),
            Some(Err(why)) => Verdict::none(format!("{says} \"always\", and {why}")),
            None if way.is_sealed(settings) => Verdict::none(format!(
                "{says} \"always\", and {} announces no WireGuard key for its pods: nothing is sent there in the \
                 clear; set overlay.encapsulation = \"wireguard\" there",
                way.next_hop
            )),
            None => untunnelled(),
        },
        OverlayMode::Auto => match (next_hop, tunnel) {
            (Some(reach), tunnel) if is_on_link(way.next_hop, reach) && carries(way.next_hop, v6) => {
                Verdict { idle_tunnel: tunnel.and_then(Result::ok), ..direct() }
            }
            (_, None) => untunnelled(),
            (_, Some(Ok(end))) => Verdict::tunnel(end, not_adjacent(way.next_hop, next_hop)),
            (_, Some(Err(why))) => {
                let mut verdict = direct();
                verdict.reason = format!("{}; its tunnel cannot be used: {why}", verdict.reason);
                verdict
            }
        },
    }
}

/// A router that is reached by itself is on the link of a route that says so: `default via 172.31.1.1 dev eth0 onlink`.
fn is_its_own_router(next_hop: IpAddr, via: IpAddr, onlink: bool) -> bool {
    onlink && via == next_hop
}

/// Whether there is L2 adjacency.
fn is_on_link(next_hop: IpAddr, reach: &Reach) -> bool {
    match reach {
        Reach::Adjacent { .. } => true,
        Reach::Routed { via, onlink, .. } => is_its_own_router(next_hop, *via, *onlink),
        Reach::Local | Reach::Unreachable { .. } => false,
    }
}

/// Straight to the next hop, or by the router that the kernel has for it.
fn direct(next_hop: IpAddr, v6: bool, reach: Option<&Reach>) -> Verdict {
    let (via, device, onlink, reason) = match reach {
        None => return Verdict::none(format!("how the kernel reaches {next_hop} is not known yet")),
        Some(Reach::Local) => return Verdict::none(format!("the next hop {next_hop} is this host itself")),
        Some(Reach::Unreachable { error }) => {
            return Verdict::none(format!("the kernel has no way to the next hop {next_hop}: {error}"));
        }
        Some(Reach::Adjacent { device, .. }) => (next_hop, device, false, format!("the next hop is on link {device}")),
        Some(Reach::Routed { via, device, onlink, .. }) if is_its_own_router(next_hop, *via, *onlink) => (
            next_hop,
            device,
            true,
            format!("the next hop is on link {device}, as a route of this host's says (onlink)"),
        ),
        Some(Reach::Routed { via, device, onlink, .. }) => {
            let how = if *onlink { " (onlink)" } else { "" };
            let reason = format!("the kernel reaches the next hop by {via} on {device}{how}, and no tunnel is used");
            (*via, device, *onlink, reason)
        }
    };
    if !carries(via, v6) {
        return Verdict::none(format!("an IPv6 prefix cannot be forwarded to {via}, which is IPv4, without a tunnel"));
    }
    Verdict { hop: Some(Hop::Direct { via, device: Some(device.clone()), onlink }), idle_tunnel: None, reason }
}

/// Whether the kernel forwards by this neighbour: IPv4 by an IPv6 one too (RFC 8950, `via inet6`), and not the other way round.
fn carries(via: IpAddr, v6: bool) -> bool {
    via.is_ipv6() || !v6
}

/// The tunnel, or why it cannot be used.
fn tunnel(offer: Offer, v6: bool, ours: Option<Encapsulation>, reach: Option<&Reach>) -> Result<TunnelEnd, String> {
    let end = offer.end();
    let endpoint = end.endpoint();
    match (offer, ours) {
        (_, None) => return Err("this node has no overlay device".into()),
        (Offer::Vxlan { port: theirs, .. }, Some(Encapsulation::Vxlan { port: ours, .. })) => {
            if theirs != ours {
                return Err(format!("{endpoint} takes VXLAN on UDP port {theirs}, ours is {ours}"));
            }
        }
        (Offer::IpIp { .. }, Some(Encapsulation::IpIp)) => {
            if endpoint.is_ipv6() {
                return Err(other_family(endpoint));
            }
            if v6 {
                return Err("IP in IP over IPv4 carries no IPv6".into());
            }
        }
        (Offer::IpIp { .. }, Some(Encapsulation::Ip6Tnl)) => {
            if endpoint.is_ipv4() {
                return Err(other_family(endpoint));
            }
        }
        // Each node has a port of its own.
        (Offer::WireGuard { .. }, Some(Encapsulation::WireGuard { .. })) => {}
        (Offer::Vxlan { .. } | Offer::IpIp { .. } | Offer::WireGuard { .. }, Some(ours)) => {
            let (theirs, ours) = (end.encapsulation(), ours.name());
            return Err(format!("{endpoint} offers {theirs}, and this node's overlay.encapsulation is \"{ours}\""));
        }
    }
    match reach {
        Some(Reach::Adjacent { .. } | Reach::Routed { .. }) => Ok(end),
        Some(Reach::Local) => Err(format!("the tunnel's end {endpoint} is this host itself")),
        Some(Reach::Unreachable { error }) => Err(format!("the tunnel's end {endpoint} is out of reach: {error}")),
        None => Err(format!("how the kernel reaches the tunnel's end {endpoint} is not known yet")),
    }
}

/// IP in IP goes over one family, which is that of `node.address`.
fn other_family(endpoint: IpAddr) -> String {
    let (theirs, ours) = if endpoint.is_ipv6() { ("IPv6", "IPv4") } else { ("IPv4", "IPv6") };
    format!(
        "{endpoint} takes IP in {theirs}, and this node's device is for IP in {ours}; give both nodes a node.address of one family"
    )
}

/// Why `auto` takes the tunnel.
fn not_adjacent(next_hop: IpAddr, reach: Option<&Reach>) -> String {
    match reach {
        Some(Reach::Routed { via, .. }) => format!("no L2 adjacency: the kernel reaches {next_hop} by {via}"),
        Some(Reach::Adjacent { device, .. }) => {
            format!("{next_hop} is on link {device}, but an IPv6 prefix cannot be forwarded to it without a tunnel")
        }
        Some(Reach::Unreachable { .. }) => format!("the kernel has no way to {next_hop}, and one to the tunnel's end"),
        Some(Reach::Local) | None => format!("how the kernel reaches {next_hop} is not known yet"),
    }
}
