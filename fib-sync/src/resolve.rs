//! From what is wanted to what the kernel can take now: names become numbers, next hops find their link, and hops
//! whose link carries nothing are left out.

use std::net::IpAddr;

use crate::{
    encap::Encap,
    kernel_route::{KernelHop, KernelPath, Kind},
    links::Links,
    overlay::{self, Encapsulation, Overlay},
    paths::{is_sealed, tunnels},
    reach::{Answer, Answers},
    route::{Hop, Path, Target, TunnelEnd},
};

/// What became of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolution {
    /// What to write; `None`: nothing can be written now, and what is there stays.
    pub(crate) path: Option<KernelPath>,
    /// Whom to take once the only hop is lost, where there is one and the kernel can be told so.
    pub(crate) backup: Option<KernelHop>,
    /// What is not as it should be.
    pub(crate) complaint: Option<String>,
}

/// All that resolution looks at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) links: &'a Links,
    pub(crate) answers: &'a Answers,
    pub(crate) overlay: Option<&'a Overlay>,
}

/// Resolves a path for routes of one family.
pub(crate) fn resolve(path: &Path, v6: bool, view: View<'_>) -> Resolution {
    let wanted = path.source.filter(|source| source.is_ipv6() == v6);
    // The kernel refuses an address that is not there, and drops a route whose address goes.
    let source = wanted.filter(|source| view.links.owner(*source).is_some());
    let made = |kind, hops, mtu| Some(KernelPath { kind, hops, object: None, mtu, source });
    match &path.target {
        Target::Unreachable => written(made(Kind::Unreachable, Vec::new(), path.mtu)),
        Target::Blackhole => written(made(Kind::Blackhole, Vec::new(), path.mtu)),
        Target::Device(name) => match view.links.by_name(name) {
            None => nothing(format!("device {name} does not exist; the route waits for it")),
            Some((_, link)) if !link.up => nothing(format!("device {name} is down; the route waits for it")),
            Some((link, _)) => {
                let hop = KernelHop { via: None, link, onlink: false, encap: None, weight: 0 };
                written(made(Kind::Unicast, vec![hop], path.mtu))
            }
        },
        target @ (Target::Forward(_) | Target::Weighted(_)) => {
            let (mut hops, mut complaints): (Vec<KernelHop>, _) = (Vec::new(), Vec::new());
            for (hop, weight) in target.hops() {
                match resolve_hop(hop, v6, view) {
                    Ok(hop) => hops.push(KernelHop { weight: weight.less_one(), ..hop }),
                    Err(complaint) => complaints.push(complaint),
                }
            }
            hops.sort();
            // Two ways that turn out to be one: the larger weight, which is the later one.
            hops.reverse();
            hops.dedup_by_key(|hop| (hop.via, hop.link, hop.onlink, hop.encap));
            hops.reverse();
            if let [only] = hops.as_mut_slice() {
                // Where there is no choice the kernel keeps no weight.
                only.weight = 0;
            }
            if target.hops().next().is_none() {
                complaints.push("it has no next hop".into());
            }
            let mut backup = path.backup.as_ref().and_then(|hop| resolve_hop(hop, v6, view).ok());
            match (hops.as_slice(), &backup) {
                ([], Some(_)) => {
                    complaints.push("its backup is used".into());
                    hops.extend(backup.take());
                }
                ([only], Some(other)) if only != other => {}
                _ => backup = None,
            }
            if let (Some(wanted), None) = (wanted, source) {
                complaints.push(format!("source address {wanted} is on no device; the route goes without it"));
            }
            // The kernel's path MTU is a route's, not a hop's: one tunnel among several decides for all.
            let outside = |end: TunnelEnd| view.answers.get(end.endpoint()).and_then(Answer::mtu);
            let inside = |end| Some(overlay::towards(view.overlay?, outside(end)));
            let mtu = tunnels(path).map(inside).chain([path.mtu]).flatten().min();
            let made = if !hops.is_empty() {
                let source = tunnel_source(path, source, view).filter(|source| source.is_ipv6() == v6).or(source);
                made(Kind::Unicast, hops, mtu).map(|made| KernelPath { source, ..made })
            } else if is_sealed(path) && view.overlay.is_none_or(|overlay| overlay.status.key.is_some()) {
                // What is to be encrypted must not take another way, such as a default route, while it cannot be.
                made(Kind::Unreachable, Vec::new(), path.mtu)
            } else {
                None
            };
            Resolution { path: made, backup, complaint: (!complaints.is_empty()).then(|| complaints.join("; ")) }
        }
    }
}

/// What this host sends into a tunnel itself comes from the tunnel's own end, which the other node can answer: the device has
/// no address that means anything, and the kernel would take one of any other. `wanted` goes before it, but not with
/// WireGuard, which takes from a peer what comes from its prefixes or its end and nothing else.
fn tunnel_source(path: &Path, wanted: Option<IpAddr>, view: View<'_>) -> Option<IpAddr> {
    let local = view.overlay?.spec.local;
    let chosen = if is_sealed(path) { None } else { wanted };
    let tunnelled = tunnels(path).next().is_some() && view.links.owner(local).is_some();
    chosen.or(tunnelled.then_some(local))
}

fn written(path: Option<KernelPath>) -> Resolution {
    Resolution { path, backup: None, complaint: None }
}

fn nothing(complaint: String) -> Resolution {
    Resolution { path: None, backup: None, complaint: Some(complaint) }
}

fn resolve_hop(hop: &Hop, v6: bool, view: View<'_>) -> Result<KernelHop, String> {
    let (gateway, link) = match hop {
        Hop::Direct { via, .. } if v6 && via.is_ipv4() => {
            return Err(format!("an IPv6 route cannot go by next hop {via}, which is IPv4"));
        }
        Hop::Direct { via, device: Some(name), onlink } => match view.links.by_name(name) {
            Some((link, _)) => (Gateway { onlink: *onlink, ..Gateway::on_link(*via) }, link),
            None => return Err(format!("next hop {via}: device {name} does not exist")),
        },
        Hop::Direct { via, device: None, .. } => (Gateway::on_link(*via), link_of(*via, view.answers)?),
        Hop::Tunnel(end) => match view.overlay {
            None => return Err(format!("tunnel to {}: there is no overlay device", end.endpoint())),
            Some(overlay) => (resolve_tunnel(end, v6, overlay)?, overlay.link),
        },
    };
    let Gateway { via, onlink, encap } = gateway;
    let Some(device) = view.links.by_index(link) else {
        return Err(format!("next hop {via}: its device (number {link}) is gone"));
    };
    if !device.up {
        return Err(format!("next hop {via}: device {} is down", device.name));
    }
    if !device.running {
        return Err(format!("next hop {via}: device {} has no carrier", device.name));
    }
    Ok(KernelHop { via: Some(via), link, onlink, encap, weight: 0 })
}

/// A hop but for its device.
#[derive(Clone, Copy, Debug)]
struct Gateway {
    via: IpAddr,
    /// The kernel has to be told that it is there.
    onlink: bool,
    encap: Option<Encap>,
}

impl Gateway {
    /// As its address says, it is on the link.
    fn on_link(via: impl Into<IpAddr>) -> Self {
        Self { via: via.into(), onlink: false, encap: None }
    }

    /// It is the other end of the device, whatever the addresses say.
    fn end(via: impl Into<IpAddr>) -> Self {
        Self { via: via.into(), onlink: true, encap: None }
    }
}

/// What on the overlay device stands for a tunnel's end.
fn resolve_tunnel(end: &TunnelEnd, v6: bool, overlay: &Overlay) -> Result<Gateway, String> {
    match (*end, overlay.status.encapsulation) {
        (TunnelEnd::Vxlan { endpoint: IpAddr::V4(endpoint), .. }, Encapsulation::Vxlan { .. }) if !v6 => {
            Ok(Gateway::end(endpoint))
        }
        (TunnelEnd::Vxlan { mac, .. }, Encapsulation::Vxlan { .. }) => Ok(Gateway::on_link(overlay::link_local(mac))),
        (TunnelEnd::IpIp { endpoint: IpAddr::V4(endpoint) }, Encapsulation::IpIp) if !v6 => Ok(Gateway::end(endpoint)),
        (TunnelEnd::IpIp { endpoint: IpAddr::V4(endpoint) }, Encapsulation::IpIp) => {
            Err(format!("tunnel to {endpoint}: IP in IP over IPv4 carries no IPv6"))
        }
        (TunnelEnd::IpIp { endpoint: IpAddr::V6(endpoint) }, Encapsulation::Ip6Tnl) => match overlay.spec.local {
            IpAddr::V6(local) => {
                let encap = Some(Encap::new(local, endpoint));
                Ok(Gateway { encap, ..Gateway::on_link(overlay::ip6tnl::gateway(endpoint)) })
            }
            IpAddr::V4(local) => Err(format!("tunnel to {endpoint}: this node's end {local} is IPv4")),
        },
        (TunnelEnd::IpIp { endpoint }, Encapsulation::IpIp | Encapsulation::Ip6Tnl) => Err(format!(
            "tunnel to {endpoint}: it is not of the family of this node's end {}; give both nodes a node.address of one family",
            overlay.spec.local
        )),
        (TunnelEnd::WireGuard { endpoint, key, .. }, Encapsulation::WireGuard { .. })
            if overlay.status.key == Some(key) =>
        {
            Err(format!(
                "tunnel to {endpoint}: it announces the public key of this node itself; if one was copied from the other, remove \
                 wireguard.key from the state directory of one of them and restart it"
            ))
        }
        (TunnelEnd::WireGuard { endpoint: IpAddr::V4(endpoint), .. }, Encapsulation::WireGuard { .. }) if !v6 => {
            Ok(Gateway::end(endpoint))
        }
        (TunnelEnd::WireGuard { key, .. }, Encapsulation::WireGuard { .. }) => {
            Ok(Gateway::on_link(overlay::wireguard::gateway(key)))
        }
        (
            TunnelEnd::Vxlan { endpoint, .. } | TunnelEnd::IpIp { endpoint } | TunnelEnd::WireGuard { endpoint, .. },
            ours,
        ) => Err(format!(
            "tunnel to {endpoint}: it is {}, and this node's overlay is {}",
            end.encapsulation(),
            ours.name()
        )),
    }
}

fn link_of(via: IpAddr, answers: &Answers) -> Result<u32, String> {
    match answers.get(via) {
        Some(Answer::Adjacent { link, .. }) => Ok(*link),
        Some(Answer::Routed { via: router, .. }) => {
            Err(format!("next hop {via} is on no link of this host (it is reached by {router})"))
        }
        Some(Answer::Local) => Err(format!("next hop {via} is this host's own address")),
        Some(Answer::Unreachable(error)) => Err(format!("next hop {via}: {error}")),
        None => Err(format!("next hop {via}: the kernel has not been asked yet")),
    }
}
