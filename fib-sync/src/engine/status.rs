//! What the engine tells when asked.

use std::{net::IpAddr, sync::Arc, time::Instant};

use ipnetwork::IpNetwork;
use netlink_packet_route::{
    RouteNetlinkMessage,
    route::{RouteAttribute, RouteVia},
};

use super::Engine;
use crate::{
    FibError, KernelAnswer, PROTOCOL, ResolvedHop, Route, RouteStatus,
    desired::{Path, Want},
    kernel_route::{Kind, ip, mtu_of, read, type_word},
    overlay::link_local,
    reach::question,
    route::{TunnelEnd, Weight},
};

impl Engine {
    /// Each desired route and how it fares.
    pub(super) fn status(&mut self) -> Vec<RouteStatus> {
        let now = Instant::now();
        let wanted: Vec<(IpNetwork, Arc<Path>)> = self
            .desired
            .iter()
            .filter_map(|(prefix, want)| match want {
                Want::Path(path) => Some((prefix, path.clone())),
                Want::Gone => None,
            })
            .collect();
        let mut status: Vec<RouteStatus> =
            wanted.into_iter().map(|(prefix, path)| self.status_of(prefix, &path, now)).collect();
        status.sort_by_key(|status| status.route.prefix);
        status
    }

    fn status_of(&mut self, prefix: IpNetwork, path: &Arc<Path>, now: Instant) -> RouteStatus {
        let resolution = self.resolution(path, prefix.is_ipv6());
        let entry = self.observed.entry(prefix);
        let installed = entry.ours.is_some() && entry.ours == resolution.path;
        let shown = entry.ours.as_ref();
        let hops = shown.map_or_else(Vec::new, |kernel| {
            let hops = kernel.hops.iter().map(|hop| ResolvedHop {
                via: hop.via,
                device: self.links.name(hop.link),
                tunnel: path.tunnels().find(|end| self.is_tunnel(hop.link) && leads_to(hop.via, end)),
                weight: Weight::from_less_one(hop.weight),
            });
            hops.collect()
        });
        let refused = path.tunnels().find_map(|end| {
            self.neighbours.complaint(&end).map(|why| format!("the kernel refused the overlay's entry for it: {why}"))
        });
        RouteStatus {
            installed,
            error: self.troubles.why(prefix, now).or(resolution.complaint).or(refused),
            hops,
            mtu: shown.and_then(|kernel| kernel.mtu),
            repairs: self.troubles.repairs(prefix),
            route: Route { prefix, target: path.target.clone(), mtu: path.mtu, source: path.source },
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

fn leads_to(via: Option<IpAddr>, end: &TunnelEnd) -> bool {
    via == Some(end.endpoint) || via == Some(link_local(end.mac).into())
}
