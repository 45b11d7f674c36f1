//! What the engine tells when asked.

use std::{net::IpAddr, time::Instant};

use ipnetwork::IpNetwork;
use netlink_packet_route::{
    RouteNetlinkMessage,
    route::{RouteAttribute, RouteVia},
};

use super::Engine;
use crate::{
    FibError, KernelAnswer, PROTOCOL, PathId, ResolvedHop, RouteStatus, Totals,
    kernel_route::{KernelHop, KernelPath, Kind, ip, mtu_of, read, type_word},
    overlay::{ip6tnl, link_local, wireguard},
    paths::{self, Resolved, tunnels},
    reach::question,
    route::{TunnelEnd, Weight},
    table::{Slot, Want},
};

impl Engine {
    /// Each desired route and how it fares.
    pub(super) fn status(&self) -> Vec<RouteStatus> {
        let now = Instant::now();
        let wanted = self.ledger.table.iter().filter_map(|(prefix, slot)| match slot.want() {
            Want::Path(path) => Some(self.status_of(prefix, path, slot, now)),
            Want::Unasked | Want::Gone => None,
        });
        let mut status: Vec<RouteStatus> = wanted.collect();
        status.sort_by_key(|status| status.prefix);
        status
    }

    pub(super) fn totals(&self) -> Totals {
        let comparisons = self.comparisons.told(Instant::now());
        let mut totals = Totals { repairs: self.troubles.all_repairs(), comparisons, ..Totals::default() };
        for (prefix, slot) in self.ledger.table.iter() {
            if let Want::Path(path) = slot.want() {
                let resolved = self.ledger.paths.resolved((path, prefix.is_ipv6()));
                totals.wanted += 1;
                totals.installed += usize::from(is_installed(slot, resolved));
            }
        }
        totals
    }

    fn status_of(&self, prefix: IpNetwork, path_id: PathId, slot: Slot, now: Instant) -> RouteStatus {
        let path = self.ledger.paths.get(path_id).cloned();
        let resolved = self.ledger.paths.resolved((path_id, prefix.is_ipv6()));
        let installed = is_installed(slot, resolved);
        let shown = self.ledger.path_of(slot);
        let ends: Vec<TunnelEnd> = path.iter().flat_map(|path| tunnels(path).collect::<Vec<_>>()).collect();
        let entry = |end: &TunnelEnd| match *end {
            TunnelEnd::WireGuard { key, .. } => self.peers.as_ref().and_then(|peers| peers.complaint(key)),
            TunnelEnd::Vxlan { .. } | TunnelEnd::IpIp { .. } => self.neighbours.complaint(end),
        };
        let refused = path
            .iter()
            .flat_map(|path| paths::ends(path))
            .find_map(|end| entry(&end).map(|why| format!("the kernel refused the overlay's entry for it: {why}")));
        let told = |hop: &KernelHop| ResolvedHop {
            via: hop.via,
            device: self.links.name(hop.link),
            tunnel: ends.iter().find(|end| self.is_tunnel(hop.link) && leads_to(hop.via, end)).copied(),
            weight: Weight::from_less_one(hop.weight),
        };
        let (hops, backup) = shown.map_or((&[][..], None), |kernel| self.hops(kernel));
        let complaint = resolved.and_then(|resolved| resolved.resolution.complaint.clone());
        let overlay = if ends.is_empty() { None } else { self.overlay_complaint(now) };
        let by_gateway =
            shown.is_some_and(|kernel| kernel.object.is_some() || kernel.hops.iter().any(|hop| hop.via.is_some()));
        let objects = self.objects_complaint(now).filter(|_| by_gateway);
        RouteStatus {
            prefix,
            path_id,
            installed,
            error: self.troubles.why(prefix, now).or(overlay).or(complaint).or(refused).or(objects),
            hops: hops.iter().map(told).collect(),
            backup: backup.map(told),
            mtu: shown.and_then(|kernel| kernel.mtu),
            repairs: self.troubles.repairs(prefix),
            path,
        }
    }

    /// The hops of a route, its own or its object's, and who takes over from the only one.
    fn hops<'a>(&'a self, path: &'a KernelPath) -> (&'a [KernelHop], Option<&'a KernelHop>) {
        match path.object {
            Some(object) => {
                self.next_hops.group(object).map_or((&[], None), |group| (&group.hops, group.backup.as_ref()))
            }
            None => (&path.hops, None),
        }
    }

    fn is_tunnel(&self, link: u32) -> bool {
        self.overlay.as_ref().is_some_and(|overlay| overlay.link == link)
    }

    /// Two questions: what the kernel would do with a packet, and which route says so.
    pub(super) fn get(&mut self, address: IpAddr) -> Result<KernelAnswer, FibError> {
        let mut answers = self.socket.ask(&[question(address, false), question(address, true)])?.into_iter();
        let (Some(answer), matched) = (answers.next(), answers.next()) else {
            return Err(FibError::Lost("no answer".into()));
        };
        let matched = match matched {
            Some(Ok(RouteNetlinkMessage::NewRoute(message))) => read(&message),
            _ => None,
        };
        let message = match answer {
            Ok(RouteNetlinkMessage::NewRoute(message)) => message,
            Ok(_) => return Err(FibError::Lost("an answer that is no route".into())),
            // An unreachable or blackhole route of Linnet's own makes the kernel answer with an error: the route says more.
            Err(refusal) => {
                return match matched {
                    Some(route) if route.protocol == PROTOCOL => Ok(KernelAnswer {
                        prefix: Some(route.prefix),
                        kind: if route.path.kind == Kind::Blackhole { "blackhole" } else { "unreachable" }.into(),
                        via: None,
                        device: None,
                        source: None,
                        mtu: None,
                        protocol: Some(route.protocol),
                    }),
                    _ => Err(FibError::Kernel {
                        what: format!("find a route to {address}"),
                        source: refusal.error(),
                        message: refusal.message,
                    }),
                };
            }
        };
        let mut known = KernelAnswer {
            prefix: matched.as_ref().map(|route| route.prefix),
            kind: type_word(message.header.kind),
            via: None,
            device: None,
            source: None,
            mtu: None,
            protocol: matched.as_ref().map(|route| route.protocol),
        };
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Gateway(address) => known.via = ip(address),
                RouteAttribute::Via(RouteVia::Inet6(address)) => known.via = Some((*address).into()),
                RouteAttribute::PrefSource(address) => known.source = ip(address),
                RouteAttribute::Metrics(metrics) => known.mtu = mtu_of(metrics),
                RouteAttribute::Oif(link) => {
                    known.device = Some(self.links.name(*link).to_string());
                    known.mtu = known.mtu.or_else(|| self.links.by_index(*link).map(|link| link.mtu));
                }
                _ => {}
            }
        }
        // A route's own MTU comes before or after its device, and counts in either case.
        if let Some(mtu) = matched.and_then(|route| route.path.mtu) {
            known.mtu = Some(mtu);
        }
        Ok(known)
    }
}

fn is_installed(slot: Slot, resolved: Option<&Resolved>) -> bool {
    slot.have().is_some() && slot.have() == resolved.and_then(|resolved| resolved.kernel)
}

fn leads_to(via: Option<IpAddr>, end: &TunnelEnd) -> bool {
    let by_identity = match *end {
        TunnelEnd::Vxlan { mac, .. } => Some(link_local(mac).into()),
        TunnelEnd::WireGuard { key, .. } => Some(wireguard::gateway(key).into()),
        TunnelEnd::IpIp { endpoint: IpAddr::V6(endpoint) } => Some(ip6tnl::gateway(endpoint).into()),
        TunnelEnd::IpIp { endpoint: IpAddr::V4(_) } => None,
    };
    via.is_some() && (via == Some(end.endpoint()) || via == by_identity)
}
