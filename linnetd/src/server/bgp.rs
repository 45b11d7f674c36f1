//! Service Bgp: peers and routes.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bgp_proto::bfd::Diagnostic;
use bgp_proto::conduct::{DefaultOriginate, NextHopMode};
use bgp_proto::session::{Established, State};
use bgp_proto::types::{Family, HoldTime, PeerId, Prefix};
use bgpd::{
    AoKey, Authentication, BfdStatus, LimitAction, PeerConfig, PeerStatus, PrefixLimit, ResetError, RouteQuery,
    RouteScope, SetEnabledError, Ttl, UnknownPeer,
};
use futures_util::{Stream, stream};
use linnet_api::bgp_routes_request::Scope;
use linnet_api::bgp_server::Bgp;
use linnet_api::{
    AddPathFamily, BfdDiscard, BfdReply, BfdRequest, BfdSession, BgpMonitoringReply, BgpMonitoringRequest,
    BgpMrtDumpPart, BgpMrtDumpRequest, BgpResetReply, BgpResetRequest, BgpRoutesPage, BgpRoutesRequest, BgpRpkiReply,
    BgpRpkiRequest, BgpSetEnabledReply, BgpSetEnabledRequest, BgpSummaryReply, BgpSummaryRequest, Capability,
    FilterListReply, FilterListRequest, FilterTestReply, FilterTestRequest, MessageCount, Neighbor, NeighborReply,
    NeighborRequest, Peer, TcpAoKey,
};
use tonic::{Request, Response, Status};

use super::{filter, notation, restart, watch};
use crate::config::add_path_word;
use crate::config::bfd::ON_DOWN;
use crate::config::conduct::{LOCAL_AS_PREPEND, NEXT_HOP, REMOVE_PRIVATE_AS, word};
use crate::daemon::Daemon;

/// Octets of one message of a dump.
const MRT_PIECE: usize = 256 * 1024;
/// Routes of one message of the stream: about 100 KiB.
const PAGE: usize = 500;

/// In the order of [`bgp_proto::session::Counters`].
const MESSAGES: [&str; 5] = ["OPEN", "UPDATE", "NOTIFICATION", "KEEPALIVE", "ROUTE-REFRESH"];

pub(super) struct BgpService(pub(super) Arc<Daemon>);

#[tonic::async_trait]
impl Bgp for BgpService {
    async fn summary(&self, _: Request<BgpSummaryRequest>) -> Result<Response<BgpSummaryReply>, Status> {
        let config = self.0.config().await;
        Ok(Response::new(BgpSummaryReply {
            router_id: config.bgp.router_id.to_string(),
            local_asn: config.bgp.asn.0,
            peers: self.0.bgp().peers().await.iter().map(peer).collect(),
            refused_connections: self.0.bgp().refused(),
            drain: Some(super::node::drain(&self.0).await),
        }))
    }

    async fn neighbor(&self, request: Request<NeighborRequest>) -> Result<Response<NeighborReply>, Status> {
        let wanted = request.into_inner().peer;
        let mut peers = self.0.bgp().peers().await;
        if !wanted.is_empty() {
            let known = peers.iter().map(|peer| peer.config.name.clone()).collect();
            peers.retain(|peer| named(peer, &wanted));
            if peers.is_empty() {
                return Err(unknown(&UnknownPeer { name: wanted, known }));
            }
        }
        let hold_time = self.0.config().await.bgp.hold_time;
        let neighbors = peers.iter().map(|peer| neighbor(peer, hold_time)).collect();
        let deferral = self.0.bgp().deferral().await.map(restart::deferral);
        let drain = Some(super::node::drain(&self.0).await);
        Ok(Response::new(NeighborReply { neighbors, deferral, drain }))
    }

    type RoutesStream = Pin<Box<dyn Stream<Item = Result<BgpRoutesPage, Status>> + Send>>;

    async fn routes(&self, request: Request<BgpRoutesRequest>) -> Result<Response<Self::RoutesStream>, Status> {
        let BgpRoutesRequest { prefix, scope } = request.into_inner();
        let prefix = (!prefix.is_empty()).then(|| parse_prefix(&prefix)).transpose()?;
        let scope = match scope {
            None | Some(Scope::Rejected(false)) => RouteScope::Local,
            Some(Scope::Rejected(true)) => RouteScope::Rejected,
            Some(Scope::Received(peer)) => RouteScope::Received(self.peer_name(peer).await),
            Some(Scope::Advertised(peer)) => RouteScope::Advertised(self.peer_name(peer).await),
        };
        let query = RouteQuery { scope, prefix, limit: usize::MAX };
        let routes = self.0.bgp().routes(query).await.map_err(|error| unknown(&error))?;
        let mut routes = routes.into_iter();
        let daemon = self.0.clone();
        let shown =
            move |view: bgpd::RouteView| notation::route(source(&daemon, &view).unwrap_or(view.peer), &view.route);
        let pages = std::iter::from_fn(move || {
            let page: Vec<_> = routes.by_ref().take(PAGE).map(&shown).collect();
            (!page.is_empty()).then_some(Ok(BgpRoutesPage { routes: page }))
        });
        Ok(Response::new(Box::pin(stream::iter(pages))))
    }

    async fn reset(&self, request: Request<BgpResetRequest>) -> Result<Response<BgpResetReply>, Status> {
        let BgpResetRequest { peer, soft, communication, keep_routes } = request.into_inner();
        let peer = self.peer_name(peer).await;
        let done = match (soft, keep_routes) {
            (true, _) => self.0.bgp().refresh(&peer).await.map_err(ResetError::from),
            (false, false) => self.0.bgp().reset(&peer, Some(&communication)).await.map_err(ResetError::from),
            (false, true) => self.0.bgp().reset_keeping_routes(&peer, Some(&communication)).await,
        };
        done.map_err(|error| match error {
            ResetError::Unknown(error) => unknown(&error),
            ResetError::CostsRoutes { .. } => Status::failed_precondition(error.to_string()),
        })?;
        Ok(Response::new(BgpResetReply {}))
    }

    async fn bfd(&self, _: Request<BfdRequest>) -> Result<Response<BfdReply>, Status> {
        let (report, peers) = (self.0.bgp().bfd().await, self.0.bgp().peers().await);
        let peer = |session: &BfdStatus| {
            let is_its = |peer: &&PeerStatus| peer.bfd.as_ref().is_some_and(|bfd| bfd.target == session.target);
            peers.iter().find(is_its).map(|peer| &peer.config)
        };
        Ok(Response::new(BfdReply {
            sessions: report.sessions.iter().map(|session| bfd(peer(session), session)).collect(),
            discards: report
                .discards
                .into_iter()
                .map(|(reason, packets)| BfdDiscard { reason: reason.word().into(), packets })
                .collect(),
        }))
    }

    async fn set_enabled(
        &self,
        request: Request<BgpSetEnabledRequest>,
    ) -> Result<Response<BgpSetEnabledReply>, Status> {
        let BgpSetEnabledRequest { peer, enabled, communication } = request.into_inner();
        let peer = self.peer_name(peer).await;
        self.0.bgp().set_enabled(&peer, enabled, Some(&communication)).await.map_err(|error| match error {
            SetEnabledError::Unknown(error) => unknown(&error),
            SetEnabledError::Dynamic { .. } => Status::failed_precondition(error.to_string()),
        })?;
        Ok(Response::new(BgpSetEnabledReply {}))
    }

    async fn filter_test(&self, request: Request<FilterTestRequest>) -> Result<Response<FilterTestReply>, Status> {
        filter::test(&self.0, request.into_inner()).await.map(Response::new)
    }

    async fn filter_list(&self, _: Request<FilterListRequest>) -> Result<Response<FilterListReply>, Status> {
        Ok(Response::new(filter::list(&self.0).await))
    }

    async fn monitoring(&self, _: Request<BgpMonitoringRequest>) -> Result<Response<BgpMonitoringReply>, Status> {
        let config = self.0.config().await;
        let directory = config.bgp.mrt.as_ref().map(|mrt| mrt.directory.display().to_string());
        let mrt = self.0.bgp().mrt().await.map(|status| watch::mrt(directory.unwrap_or_default(), &status));
        let stations = self.0.bgp().stations().await.iter().map(watch::station).collect();
        Ok(Response::new(BgpMonitoringReply { stations, mrt }))
    }

    type MrtDumpStream = Pin<Box<dyn Stream<Item = Result<BgpMrtDumpPart, Status>> + Send>>;

    async fn mrt_dump(&self, _: Request<BgpMrtDumpRequest>) -> Result<Response<Self::MrtDumpStream>, Status> {
        let config = self.0.config().await;
        let parts = self.0.bgp().table_dump(config.bgp.router_id, config.bgp.asn);
        // A part of the table may be longer than a message may be.
        let pieces = stream::unfold((parts, Vec::new()), |(mut parts, mut rest)| async move {
            while rest.is_empty() {
                rest = parts.recv().await?;
            }
            let later = rest.split_off(rest.len().min(MRT_PIECE));
            Some((Ok(BgpMrtDumpPart { data: rest }), (parts, later)))
        });
        Ok(Response::new(Box::pin(pieces)))
    }

    async fn rpki(&self, request: Request<BgpRpkiRequest>) -> Result<Response<BgpRpkiReply>, Status> {
        let BgpRpkiRequest { prefix } = request.into_inner();
        let vrps = match prefix.is_empty() {
            true => Vec::new(),
            false => self.0.bgp().vrps(parse_prefix(&prefix)?).await,
        };
        let caches = self.0.bgp().caches().await;
        Ok(Response::new(BgpRpkiReply {
            caches: caches.iter().map(watch::cache).collect(),
            vrps: vrps.iter().map(watch::vrp).collect(),
        }))
    }
}

impl BgpService {
    /// The name of the peer that a person calls by its name or address; else what the person wrote.
    async fn peer_name(&self, wanted: String) -> String {
        let peers = self.0.bgp().peers().await;
        peers.into_iter().find(|peer| named(peer, &wanted)).map_or(wanted, |peer| peer.config.name)
    }
}

/// Who told this speaker of what it originates, where that is another program on this host.
fn source(daemon: &Daemon, view: &bgpd::RouteView) -> Option<String> {
    let aggregate = view.route.attributes.aggregator.is_some();
    let local = view.route.peer == PeerId::LOCAL && !aggregate;
    let protocol = local.then(|| daemon.imports().protocol(view.route.prefix)).flatten()?;
    Some(format!("kernel: {}", fib_sync::protocol::name(protocol)))
}

pub(super) fn named(peer: &PeerStatus, wanted: &str) -> bool {
    let address = || peer.config.interface.is_none() && wanted.parse() == Ok(peer.address());
    peer.config.name == wanted || peer.remote == wanted || address()
}

fn unknown(error: &UnknownPeer) -> Status {
    Status::not_found(error.to_string())
}

/// A prefix; a lone address is its host route.
pub(super) fn parse_prefix(text: &str) -> Result<Prefix, Status> {
    text.parse().map_err(|_| {
        Status::invalid_argument(format!(
            "\"{text}\" is not a prefix; no route was looked for; write it like 10.244.1.0/24"
        ))
    })
}

fn state(state: State) -> &'static str {
    match state {
        State::Idle => "Idle",
        State::Connect => "Connect",
        State::Active => "Active",
        State::OpenSent => "OpenSent",
        State::OpenConfirm => "OpenConfirm",
        State::Established => "Established",
    }
}

fn peer(status: &PeerStatus) -> Peer {
    let established = status.established.as_ref();
    let known = match status.config.remote_as {
        bgp_proto::session::RemoteAs::Exactly(asn) => asn.0,
        bgp_proto::session::RemoteAs::Internal => status.config.local_as.0,
        bgp_proto::session::RemoteAs::External => 0,
    };
    Peer {
        name: status.config.name.clone(),
        address: status.remote.clone(),
        asn: established.map_or(known, |established| established.remote_as.0),
        state: if status.disabled { "Disabled" } else { state(status.state) }.into(),
        uptime_seconds: status.uptime.unwrap_or_default().as_secs(),
        received: status.counts.received as u64,
        accepted: status.counts.accepted as u64,
        advertised: status.counts.advertised as u64,
        last_error: status.last_error.clone().unwrap_or_default(),
        down_seconds: status.down.map_or(0, down_seconds),
        families: established
            .map(|established| established.send.families.iter().map(|family| family.to_string()).collect())
            .unwrap_or_default(),
    }
}

/// 0 is for a session that never was, so one that has just ended has been down for a second.
fn down_seconds(down: Duration) -> u64 {
    down.as_secs().max(1)
}

/// What was negotiated of several paths to one prefix, by family.
fn add_path(established: &Established) -> Vec<AddPathFamily> {
    let of_family = |family: Family| AddPathFamily {
        family: family.to_string(),
        send: established.send.add_path.contains(family),
        receive: established.receive.add_path.contains(family),
    };
    established.send.families.iter().map(of_family).collect()
}

fn bfd(peer: Option<&PeerConfig>, session: &BfdStatus) -> BfdSession {
    let status = &session.status;
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let diagnostic = |diagnostic: Diagnostic| match diagnostic {
        Diagnostic::NONE => String::new(),
        some => some.to_string(),
    };
    BfdSession {
        peer: peer.map(|peer| peer.name.clone()).unwrap_or_default(),
        on_down: peer.and_then(|peer| peer.bfd).map_or("", |bfd| word(&ON_DOWN, &bfd.on_down)).into(),
        address: session.remote(),
        state: status.state.to_string(),
        remote_state: status.remote_state.to_string(),
        diagnostic: diagnostic(status.diagnostic),
        remote_diagnostic: diagnostic(status.remote_diagnostic),
        multihop: !session.hops.is_single(),
        passive: session.config.passive,
        local_discriminator: status.local_discriminator,
        remote_discriminator: status.remote_discriminator,
        transmit_interval_us: status.transmit_interval.map_or(0, micros),
        receive_interval_us: micros(status.receive_interval),
        detection_time_us: micros(status.detection_time),
        min_interval_us: micros(session.config.min_interval),
        multiplier: u32::from(session.config.detect_mult),
        remote_multiplier: u32::from(status.remote_detect_mult),
        control_plane_independent: status.control_plane_independent,
        polling: status.polling,
        seconds: session.since.as_secs(),
        times_up: status.ups,
        times_down: status.downs,
        last_down: session.last_down.map(|cause| cause.to_string()).unwrap_or_default(),
        sent: session.sent,
        received: session.received,
        discarded: session.discarded,
        last_discard: session.last_discard.map(|reason| reason.word().to_owned()).unwrap_or_default(),
        problem: session.problem.clone().unwrap_or_default(),
    }
}

fn tcp_ao(status: &PeerStatus) -> Vec<TcpAoKey> {
    let keys = status.config.authentication.as_ref().and_then(Authentication::tcp_ao);
    let key = |key: &AoKey| TcpAoKey {
        send_id: key.send_id.into(),
        receive_id: key.receive_id.into(),
        algorithm: key.algorithm.name().into(),
        signs: status.tcp_ao_send_id == Some(key.send_id),
    };
    keys.into_iter().flat_map(|keys| keys.iter()).map(key).collect()
}

fn whole_seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

fn neighbor(status: &PeerStatus, hold_time: HoldTime) -> Neighbor {
    let config = &status.config;
    let established = status.established.as_ref();
    let internal = match established {
        Some(established) => established.remote_as == config.local_as,
        None => config.is_internal(),
    };
    let kind = match (internal, config.client) {
        (false, _) => "external",
        (true, true) => "client",
        (true, false) => "internal",
    };
    let (ttl_security_hops, multihop) = match config.ttl {
        Ttl::Default => (0, 0),
        Ttl::Security { hops } => (hops, 0),
        Ttl::Multihop { hops } => (0, hops),
    };
    let filter = |filter: &Option<Arc<bgp_proto::filter::Filter>>| {
        filter.as_ref().map(|filter| filter.name.clone()).unwrap_or_default()
    };
    let local = established.map(|established| established.local_address).or(config.local_address);
    Neighbor {
        peer: Some(peer(status)),
        local_address: local.map(|address| address.to_string()).unwrap_or_default(),
        local_asn: config.local_as.0,
        router_id: established.map(|established| established.remote_id.to_string()).unwrap_or_default(),
        kind: kind.into(),
        hold_time_seconds: established.map_or(0, |established| u32::from(established.hold_time.seconds())),
        configured_hold_time_seconds: config.hold_time.unwrap_or(hold_time).seconds().into(),
        send_hold_seconds: status.send_hold(hold_time).map_or(0, whole_seconds),
        untaken_seconds: status.untaken.map_or(0, whole_seconds),
        capabilities: status
            .capabilities()
            .into_iter()
            .map(|capability| Capability {
                name: capability.name.into(),
                sent: capability.sent,
                received: capability.received,
            })
            .collect(),
        messages: MESSAGES
            .iter()
            .zip(status.counters.sent.iter().zip(&status.counters.received))
            .map(|(kind, (sent, received))| MessageCount { kind: (*kind).into(), sent: *sent, received: *received })
            .collect(),
        import_filter: filter(&config.import),
        export_filter: filter(&config.export),
        md5: matches!(config.authentication, Some(Authentication::Md5(_))),
        tcp_ao: tcp_ao(status),
        ttl_security_hops: u32::from(ttl_security_hops),
        multihop: u32::from(multihop),
        passive: config.passive,
        attributes_discarded: status.counters.attributes_discarded,
        treated_as_withdraw: status.counters.treated_as_withdraw,
        times_established: status.counters.established,
        unsent_bytes: status.unsent_bytes as u64,
        withheld: status.counts.withheld as u64,
        graceful_restart: restart::said(&status.restart),
        announced_restart: restart::said(&status.announced),
        deferral_seconds: status.graceful_restart.map(|restart| whole_seconds(restart.deferral())),
        stale: status.retained.iter().map(restart::stale).collect(),
        connect_retry_seconds: whole_seconds(config.connect_retry),
        idle_hold_seconds: whole_seconds(config.idle_hold),
        delay_open_seconds: config.delay_open.map_or(0, whole_seconds),
        open_in_seconds: status.open_in.map(whole_seconds),
        next_hop_self: config.conduct.next_hop == NextHopMode::Own,
        blackhole: config.blackhole,
        max_prefixes: config.max_prefixes.map_or(0, |limit| limit.limit),
        max_prefixes_action: match config.max_prefixes.map(|limit| limit.action) {
            None => String::new(),
            Some(LimitAction::Stop) => "stop".into(),
            Some(LimitAction::Restart(_)) => "restart".into(),
            Some(LimitAction::Warn) => "warn".into(),
        },
        max_prefixes_warn_at: config.max_prefixes.map_or(0, PrefixLimit::warn_at),
        max_prefixes_restart_after_seconds: match config.max_prefixes.map(|limit| limit.action) {
            Some(LimitAction::Restart(Some(after))) => whole_seconds(after),
            Some(LimitAction::Restart(None) | LimitAction::Stop | LimitAction::Warn) | None => 0,
        },
        max_prefixes_warned: status.counts.warned,
        prefix_limit_reached: status.prefix_limit_reached,
        restarts_in_seconds: status.restarts_in.map_or(0, whole_seconds),
        communication: status.communication.clone().unwrap_or_default(),
        last_down: status.last_down.as_ref().map(|last| last.reason.clone()).unwrap_or_default(),
        last_down_seconds: status.last_down.as_ref().map_or(0, |last| last.ago.as_secs()),
        default_originate: match config.conduct.default_originate {
            DefaultOriginate::No => String::new(),
            DefaultOriginate::Always => "always".into(),
            DefaultOriginate::While(prefix) => format!("while {prefix}"),
        },
        next_hop: word(&NEXT_HOP, &config.conduct.next_hop).into(),
        allow_as_in: config.conduct.allow_as_in.into(),
        as_override: config.conduct.as_override,
        local_asn_prepend: word(&LOCAL_AS_PREPEND, &config.conduct.local_as_prepend).into(),
        remove_private_asn: word(&REMOVE_PRIVATE_AS, &config.conduct.remove_private_as).into(),
        add_path: established.map(add_path).unwrap_or_default(),
        configured_add_path: add_path_word(config.add_path).into(),
        add_path_send: if config.add_path.send { u32::from(config.add_path_send) } else { 0 },
        interface: config.interface.map(|interface| interface.to_string()).unwrap_or_default(),
        discovery: status.discovery.clone().unwrap_or_default(),
        role: config.conduct.role.map(|local| local.role.name().into()).unwrap_or_default(),
        role_strict: config.conduct.role.is_some_and(|local| local.strict),
        remote_role: established.and_then(|it| it.remote_role).map(|role| role.name().into()).unwrap_or_default(),
        graceful_shutdown: config.graceful_shutdown && !internal,
        bfd: status.bfd.as_ref().map(|session| bfd(Some(config), session)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_has_just_ended_is_not_one_that_never_was() {
        assert_eq!([0, 999, 1000, 2500].map(|millis| down_seconds(Duration::from_millis(millis))), [1, 1, 1, 2]);
    }
}
