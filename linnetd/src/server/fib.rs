//! Service Fib: what the kernel holds, what it would do with a packet, and how each next hop is reached.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bgp_proto::rib::BestPath;
use bgp_proto::types::Prefix;
use bgpd::{RouteQuery, RouteScope, RouteView};
use fib_sync::{
    Encapsulation, Hop, PathId, PeerStatus, PublicKey, ResolvedHop, RouteStatus, Target, TunnelEnd, Weight,
};
use ipnetwork::IpNetwork;
use linnet_api::fib_server::Fib;
use linnet_api::{
    FibCheckReply, FibCheckRequest, FibDifference, FibGetReply, FibGetRequest, FibNextHop, FibRoute, FibRoutesReply,
    FibRoutesRequest, OverlayPeer, OverlayReply, OverlayRequest,
};
use tonic::{Request, Response, Status};

use super::{ending, kernel, notation};
use crate::config;
use crate::daemon::{Daemon, Kernel};
use crate::forwarding::State;
use crate::routes::{Offer, Verdict, Way, WayStatus};

pub(super) struct FibService(pub(super) Arc<Daemon>);

#[tonic::async_trait]
impl Fib for FibService {
    async fn routes(&self, _: Request<FibRoutesRequest>) -> Result<Response<FibRoutesReply>, Status> {
        let routes = all(&self.0, kernel(&self.0)?).await?;
        Ok(Response::new(FibRoutesReply { routes: routes.into_values().collect() }))
    }

    async fn get(&self, request: Request<FibGetRequest>) -> Result<Response<FibGetReply>, Status> {
        let text = request.into_inner().address;
        let address: IpAddr = text.parse().map_err(|_| {
            Status::invalid_argument(format!(
                "\"{text}\" is not an IP address; the kernel was not asked; write it like 10.244.1.2"
            ))
        })?;
        let kernel = kernel(&self.0)?;
        let followed = longest(kernel, address).await;
        let mut reply = match kernel.forwarding.fib().get(address).await {
            Ok(answer) => FibGetReply {
                prefix: answer.prefix.map(|prefix| prefix.to_string()).unwrap_or_default(),
                next_hop: Some(next_hop(
                    answer.via.map(|via| via.to_string()).unwrap_or_default(),
                    answer.device.unwrap_or_default(),
                    "",
                    0,
                )),
                source_address: answer.source.map(|source| source.to_string()).unwrap_or_default(),
                mtu: answer.mtu.unwrap_or_default(),
                ..FibGetReply::default()
            },
            Err(error) => FibGetReply { error: error.to_string(), ..FibGetReply::default() },
        };
        if let Some((status, ways)) = followed {
            // A route of Linnet's explains the answer only if it is the one that the kernel used, or nothing more precise is.
            let precise = reply.prefix.parse::<ipnetwork::IpNetwork>().ok();
            if precise.is_none_or(|prefix| prefix == status.prefix) {
                if let (Some(next_hop), Some(end)) = (&mut reply.next_hop, tunnelled(&status)) {
                    next_hop.encap = end.encapsulation().into();
                }
                if let Some(path) = &status.path {
                    reply.why = why(&path.target, ways.as_deref());
                    reply.route = Some(route(&status, &path.target));
                }
            }
        }
        if reply.why.is_empty() {
            let bits = reply.prefix.parse::<IpNetwork>().map_or(0, |prefix| prefix.prefix());
            let missing = all(&self.0, kernel)
                .await?
                .into_iter()
                .filter(|(prefix, route)| prefix.contains(address) && prefix.prefix() >= bits && !route.installed);
            let missing =
                missing.max_by_key(|(prefix, _)| prefix.prefix()).map(|(prefix, route)| (prefix, route.error));
            reply.why = elsewhere(reply.error.is_empty(), missing);
        }
        Ok(Response::new(reply))
    }

    async fn check(&self, _: Request<FibCheckRequest>) -> Result<Response<FibCheckReply>, Status> {
        let checked = kernel(&self.0)?.forwarding.fib().check().await;
        let checked = checked.map_err(|error| Status::unavailable(error.to_string()))?;
        let differences = checked.differences.into_iter().map(|difference| FibDifference {
            what: difference.subject.word().into(),
            name: difference.subject.to_string(),
            kind: difference.kind.word().into(),
            detail: difference.detail,
            repaired: difference.repaired,
            error: difference.error.unwrap_or_default(),
        });
        Ok(Response::new(FibCheckReply {
            routes: checked.routes as u64,
            objects: checked.objects as u64,
            entries: checked.entries as u64,
            unconfirmed: checked.unconfirmed as u64,
            differences: differences.collect(),
            more: checked.more as u64,
            unrepaired: checked.unrepaired as u64,
            took_us: u64::try_from(checked.took.as_micros()).unwrap_or(u64::MAX),
        }))
    }

    async fn overlay(&self, _: Request<OverlayRequest>) -> Result<Response<OverlayReply>, Status> {
        let kernel = kernel(&self.0)?;
        let config = self.0.config().await;
        let device = kernel.forwarding.overlay().borrow().clone();
        let users = kernel.forwarding.fib().users().await;
        let ways = kernel.forwarding.ask(move |state| state.routes.all_ways(&users)).await.ok_or_else(ending)?;
        // Where they cannot be read, what is known of them otherwise is told all the same.
        let peers = kernel.forwarding.fib().peers().await.unwrap_or_default();
        let peers: HashMap<PublicKey, PeerStatus> = peers.into_iter().map(|peer| (peer.key, peer)).collect();
        let mut reply = OverlayReply {
            mode: config.overlay.mode.name().into(),
            encapsulation: match config.overlay.encapsulation {
                config::Encapsulation::Vxlan => "vxlan",
                config::Encapsulation::IpIp => "ipip",
                config::Encapsulation::WireGuard => "wireguard",
            }
            .into(),
            peers: ways
                .iter()
                .map(|way| overlay_peer(way, device.as_ref().map(|device| device.encapsulation), &peers))
                .collect(),
            ..OverlayReply::default()
        };
        if let Some(device) = device {
            reply.mac = device.mac().map(notation::mac).unwrap_or_default();
            reply.device = device.device;
            reply.local_endpoint = device.local.to_string();
            match device.encapsulation {
                Encapsulation::Vxlan { vni, port } => (reply.vni, reply.port) = (vni, port.into()),
                Encapsulation::WireGuard { port } => reply.port = port.into(),
                Encapsulation::IpIp | Encapsulation::Ip6Tnl => {}
            }
            reply.public_key = device.key.map(|key| key.to_string()).unwrap_or_default();
            reply.mtu = device.mtu;
        }
        Ok(Response::new(reply))
    }
}

/// All routes of Linnet's, and those that are not in the kernel, with the reason.
async fn all(daemon: &Daemon, kernel: &Kernel) -> Result<BTreeMap<IpNetwork, FibRoute>, Status> {
    let statuses = kernel.forwarding.fib().status().await;
    let unusable: BTreeSet<PathId> =
        statuses.iter().filter(|status| leads_nowhere(status)).map(|status| status.path_id).collect();
    let ways = |state: &mut State| unusable.into_iter().map(|path| (path, state.routes.ways(path))).collect();
    let ways: HashMap<PathId, Option<Vec<(Way, Verdict)>>> = kernel.forwarding.ask(ways).await.ok_or_else(ending)?;
    let of_status = |status: &RouteStatus| {
        let ways = ways.get(&status.path_id).and_then(Option::as_deref);
        match (&status.path, ways) {
            (Some(path), None) => route(status, &path.target),
            (Some(_) | None, ways) => unusable_route(status, ways.unwrap_or_default()),
        }
    };
    let mut routes: BTreeMap<IpNetwork, FibRoute> = unresolved(daemon, kernel).await?.collect();
    // The engine's word counts: it has what BGP has come to use again meanwhile, and what this host has of its own.
    routes.extend(statuses.iter().map(|status| (status.prefix, of_status(status))));
    Ok(routes)
}

/// Why the kernel answers with no route of Linnet's, if it answers. `missing`: what Linnet has for the address, and why the kernel has not.
fn elsewhere(answered: bool, missing: Option<(IpNetwork, String)>) -> String {
    let theirs = if answered { "not a route of Linnet's" } else { "" };
    match missing {
        None => theirs.into(),
        Some((prefix, why)) => {
            let why = if why.is_empty() { "it waits to be written" } else { &why };
            let theirs = if theirs.is_empty() { String::new() } else { format!("{theirs}; ") };
            format!("{theirs}{prefix} is not in the kernel: {why}")
        }
    }
}

/// The desired route that covers an address most precisely, with its ways if it is of BGP.
async fn longest(kernel: &Kernel, address: IpAddr) -> Option<(RouteStatus, Option<Vec<(Way, Verdict)>>)> {
    let routes = kernel.forwarding.fib().status().await;
    let covering = routes.into_iter().filter(|status| status.installed && status.prefix.contains(address));
    let status = covering.max_by_key(|status| status.prefix.prefix())?;
    let path = status.path_id;
    let ways = kernel.forwarding.ask(move |state| state.routes.ways(path)).await.flatten();
    Some((status, ways))
}

/// The first tunnel of a route of which every hop is one.
fn tunnelled(status: &RouteStatus) -> Option<TunnelEnd> {
    let ends: Option<Vec<TunnelEnd>> = status.hops.iter().map(|hop| hop.tunnel).collect();
    ends?.first().copied()
}

/// No way of it can be used, or what is here has no pod.
fn leads_nowhere(status: &RouteStatus) -> bool {
    status.path.as_ref().is_none_or(|path| path.target == Target::Unreachable)
}

fn why(target: &Target, ways: Option<&[(Way, Verdict)]>) -> String {
    match (target, ways) {
        (Target::Device(device), _) => format!("the address of a pod on this host, on {device}"),
        (Target::Unreachable, Some(ways)) => reasons(ways),
        (Target::Unreachable, None) => "one of this node's pod-cidrs; no pod here has this address".into(),
        (Target::Blackhole, _) => "a peer asks for its packets to be dropped (RFC 7999)".into(),
        (Target::Forward(_) | Target::Weighted(_), Some(ways)) => reasons(ways),
        (Target::Forward(_) | Target::Weighted(_), None) => "a route of BGP that is being withdrawn".into(),
    }
}

fn reasons(ways: &[(Way, Verdict)]) -> String {
    let reasons = ways.iter().map(|(way, verdict)| format!("{}: {}", way.shown(), verdict.reason));
    reasons.collect::<Vec<_>>().join("; ")
}

fn next_hop(via: String, dev: String, encap: &str, weight: u32) -> FibNextHop {
    FibNextHop { via, dev, encap: encap.into(), weight }
}

/// 0 where all are taken alike.
fn weight(target: &Target, weight: Weight) -> u32 {
    if matches!(target, Target::Weighted(_)) { u32::from(weight.get()) } else { 0 }
}

fn resolved(hop: &ResolvedHop, weight: u32) -> FibNextHop {
    let device = hop.device.to_string();
    match hop.tunnel {
        Some(end) => next_hop(end.endpoint().to_string(), device, end.encapsulation(), weight),
        None => next_hop(hop.via.map(|via| via.to_string()).unwrap_or_default(), device, "", weight),
    }
}

fn wanted(hop: &Hop, weight: u32) -> FibNextHop {
    match hop {
        Hop::Direct { via, device, .. } => next_hop(via.to_string(), device.clone().unwrap_or_default(), "", weight),
        Hop::Tunnel(end) => next_hop(end.endpoint().to_string(), String::new(), end.encapsulation(), weight),
    }
}

fn route(status: &RouteStatus, target: &Target) -> FibRoute {
    let (kind, source) = match target {
        Target::Forward(_) | Target::Weighted(_) => ("unicast", "bgp"),
        Target::Blackhole => ("blackhole", "bgp"),
        Target::Unreachable => ("unreachable", "local"),
        Target::Device(_) => ("unicast", "endpoint"),
    };
    let next_hops = match target {
        Target::Forward(_) | Target::Weighted(_) if status.hops.is_empty() => {
            target.hops().map(|(hop, of)| wanted(hop, weight(target, of))).collect()
        }
        Target::Device(device) if status.hops.is_empty() => vec![next_hop(String::new(), device.clone(), "", 0)],
        Target::Forward(_) | Target::Weighted(_) | Target::Device(_) => {
            status.hops.iter().map(|hop| resolved(hop, weight(target, hop.weight))).collect()
        }
        Target::Unreachable | Target::Blackhole => Vec::new(),
    };
    FibRoute {
        prefix: status.prefix.to_string(),
        next_hops,
        installed: status.installed,
        error: status.error.clone().unwrap_or_default(),
        source: source.into(),
        mtu: status.mtu.unwrap_or_default(),
        kind: kind.into(),
        backup: status.backup.as_ref().map(|hop| resolved(hop, 0)),
    }
}

fn unused_hop(way: &Way) -> FibNextHop {
    next_hop(way.next_hop.to_string(), way.link.map(|link| link.to_string()).unwrap_or_default(), "", 0)
}

/// A route of which no way can be used.
fn unusable_route(status: &RouteStatus, ways: &[(Way, Verdict)]) -> FibRoute {
    FibRoute {
        prefix: status.prefix.to_string(),
        next_hops: ways.iter().map(|(way, _)| unused_hop(way)).collect(),
        installed: status.installed,
        error: ways.iter().map(|(_, verdict)| verdict.reason.as_str()).collect::<Vec<_>>().join("; "),
        source: "bgp".into(),
        mtu: 0,
        kind: if status.path.is_some() { "unreachable" } else { "unicast" }.into(),
        backup: None,
    }
}

/// What peers announce and BGP uses no path of, because no next hop is in reach (RFC 4271 section 9.1.2.1): the engine has
/// never heard of these, or no longer has them.
async fn unresolved(
    daemon: &Daemon,
    kernel: &Kernel,
) -> Result<impl Iterator<Item = (IpNetwork, FibRoute)> + use<>, Status> {
    let query = RouteQuery { scope: RouteScope::Unresolved, prefix: None, limit: usize::MAX };
    // Only a query that names a peer is ever refused.
    let views = daemon.bgp().routes(query).await.unwrap_or_default();
    let path = |view: &RouteView| BestPath {
        peer: view.route.peer,
        attributes: view.route.attributes.clone(),
        discard: false,
    };
    let of_one = |views: &[RouteView]| (views[0].route.prefix, views.iter().map(path).collect());
    let all: Vec<(Prefix, Vec<BestPath>)> =
        views.chunk_by(|one, next| one.route.prefix == next.route.prefix).map(of_one).collect();
    let judge = move |state: &mut State| {
        let ways = all.into_iter().map(|(prefix, paths)| (prefix, state.unresolved(prefix, &paths)));
        ways.collect::<Vec<_>>()
    };
    let judged = kernel.forwarding.ask(judge).await.ok_or_else(ending)?;
    Ok(judged.into_iter().map(|(prefix, ways)| (prefix.into(), unresolved_route(prefix, &ways))))
}

fn unresolved_route(prefix: Prefix, ways: &[(Way, String)]) -> FibRoute {
    let reasons: Vec<&str> = ways.iter().map(|(_, reason)| reason.as_str()).collect();
    FibRoute {
        prefix: prefix.to_string(),
        next_hops: ways.iter().map(|(way, _)| unused_hop(way)).collect(),
        error: format!("unreachable: {}", reasons.join("; ")),
        source: "bgp".into(),
        kind: "unicast".into(),
        ..FibRoute::default()
    }
}

fn overlay_peer(
    status: &WayStatus,
    ours: Option<Encapsulation>,
    peers: &HashMap<PublicKey, PeerStatus>,
) -> OverlayPeer {
    let end = status.way.offer(ours).map(Offer::end);
    let mut told = OverlayPeer::default();
    match end {
        Some(TunnelEnd::Vxlan { vni, mac, .. }) => (told.vni, told.mac) = (vni, notation::mac(mac)),
        Some(TunnelEnd::WireGuard { port, key, .. }) => {
            (told.port, told.public_key) = (port.into(), key.to_string());
            if let Some(peer) = peers.get(&key) {
                told.heard_at = peer.endpoint.map(|at| at.to_string()).unwrap_or_default();
                if let Some(at) = peer.handshake {
                    let ago = (UNIX_EPOCH + at).elapsed();
                    told.last_handshake_seconds = ago.as_ref().map_or(0, Duration::as_secs) + 1;
                    told.last_handshake_ahead_seconds = ago.err().map_or(0, |ahead| ahead.duration().as_secs());
                }
                (told.received_octets, told.sent_octets) = (peer.received, peer.sent);
            }
        }
        Some(TunnelEnd::IpIp { .. }) | None => {}
    }
    OverlayPeer {
        next_hop: status.way.shown(),
        encap: match &status.verdict.hop {
            Some(Hop::Direct { .. }) => "direct",
            Some(Hop::Tunnel(end)) => end.encapsulation(),
            None => "none",
        }
        .into(),
        endpoint: end.map(|end| end.endpoint().to_string()).unwrap_or_default(),
        reason: status.verdict.reason.clone(),
        routes: u32::try_from(status.routes).unwrap_or(u32::MAX),
        ..told
    }
}
