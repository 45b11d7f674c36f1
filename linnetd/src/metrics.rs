//! Metrics and health over HTTP/1: `/metrics` (OpenMetrics text), `/healthz`, `/readyz`.
//!
//! Values are read from the rooms at each request, so that an idle node does no work for them.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bgp_proto::rtr::CacheState;
use bgp_proto::session::State;
use bgpd::StationState;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tracing::debug;

use crate::daemon::{Daemon, Kernel};

/// Connections at one time; more wait.
const CONNECTIONS: usize = 64;
/// For a client to send its request's head.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves until the program ends.
pub async fn serve(listener: TcpListener, daemon: Arc<Daemon>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let connection = match listener.accept().await {
            Ok((connection, _)) => connection,
            Err(error) => {
                debug!(%error, "a connection for metrics could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let daemon = daemon.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, daemon.clone()));
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .keep_alive(false)
                .serve_connection(TokioIo::new(connection), service);
            if let Err(error) = served.await {
                debug!(%error, "a connection for metrics ended early");
            }
            drop(permit);
        });
    }
}

async fn answer(request: Request<Incoming>, daemon: Arc<Daemon>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, kind, body) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => {
            (StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", text(&daemon).await)
        }
        (&Method::GET | &Method::HEAD, "/healthz") => (StatusCode::OK, "text/plain", "ok\n".to_owned()),
        (&Method::GET | &Method::HEAD, "/readyz") => match not_ready(&daemon).await {
            None => (StatusCode::OK, "text/plain", "ready\n".to_owned()),
            Some(why) => (StatusCode::SERVICE_UNAVAILABLE, "text/plain", format!("not ready: {why}\n")),
        },
        (&Method::GET | &Method::HEAD, _) => {
            (StatusCode::NOT_FOUND, "text/plain", "there are /metrics, /healthz and /readyz\n".to_owned())
        }
        _ => (StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n".to_owned()),
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    Ok(response)
}

/// Why pods should not be sent here yet: routes of an earlier run wait to be confirmed, or policy is not in force.
async fn not_ready(daemon: &Daemon) -> Option<String> {
    let kernel = daemon.kernel()?;
    if let policy::State::Degraded { error } = kernel.policy.status().await.state {
        return Some(format!("policy is not in force: {error}"));
    }
    let unswept = kernel.forwarding.ask(|state| state.unswept.len()).await?;
    (unswept > 0).then(|| "peers have not confirmed all routes of the earlier run".into())
}

type PeerLabel = [(&'static str, String); 1];
type PeerGauges = Family<PeerLabel, Gauge>;
type PeerCounters = Family<PeerLabel, Counter<u64, AtomicU64>>;

async fn text(daemon: &Daemon) -> String {
    let mut registry = Registry::with_prefix("linnet");
    gauge(&mut registry, "uptime_seconds", "Seconds since linnetd started", daemon.uptime().as_secs());
    register_peers(&mut registry, daemon).await;
    let help = "Connections refused because no peer has their address, or a dynamic prefix was at its limit";
    counter(&mut registry, "bgp_connections_refused", help, daemon.bgp().refused());
    register_caches(&mut registry, daemon).await;
    register_watchers(&mut registry, daemon).await;
    if let Some(kernel) = daemon.kernel() {
        register_kernel(&mut registry, kernel).await;
        let unresolved = daemon.bgp().unresolved_prefixes().await as u64;
        let help = "Prefixes with paths of which none has a next hop in reach: they are not in the kernel";
        gauge(&mut registry, "fib_routes_unreachable", help, unresolved);
    }
    let refused = u64::from(!daemon.refused().await.is_empty());
    gauge(&mut registry, "configuration_refused", "1 if the file on disk was refused at the last reload", refused);
    let mut text = String::new();
    // Writing into a String does not fail.
    let _ = encode(&mut text, &registry);
    text
}

async fn register_peers(registry: &mut Registry, daemon: &Daemon) {
    let (up, received, accepted, advertised) =
        (PeerGauges::default(), PeerGauges::default(), PeerGauges::default(), PeerGauges::default());
    let (stale, withheld, unsent) = (PeerGauges::default(), PeerGauges::default(), PeerGauges::default());
    let (established, withdrawn, discarded) =
        (PeerCounters::default(), PeerCounters::default(), PeerCounters::default());
    for peer in daemon.bgp().peers().await {
        let label = [("peer", peer.config.name.clone())];
        let set = |family: &PeerGauges, value: usize| {
            family.get_or_create(&label).set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&up, usize::from(peer.state == State::Established));
        set(&received, peer.counts.received);
        set(&accepted, peer.counts.accepted);
        set(&advertised, peer.counts.advertised);
        set(&stale, peer.retained.iter().map(|retained| retained.paths).sum());
        set(&withheld, peer.counts.withheld);
        set(&unsent, peer.unsent_bytes);
        established.get_or_create(&label).inc_by(peer.counters.established);
        withdrawn.get_or_create(&label).inc_by(peer.counters.treated_as_withdraw);
        discarded.get_or_create(&label).inc_by(peer.counters.attributes_discarded);
    }
    register_bfd(registry, daemon).await;
    registry.register("bgp_peer_up", "1 if the session is Established", up);
    registry.register("bgp_peer_received_paths", "Paths that the peer sent and we hold", received);
    registry.register("bgp_peer_accepted_paths", "Of these, accepted", accepted);
    registry.register("bgp_peer_advertised_prefixes", "Prefixes that the peer has been sent", advertised);
    registry.register("bgp_peer_stale_paths", "Of the paths received, kept while the peer restarts", stale);
    registry.register("bgp_peer_withheld_paths", "Paths that fit into no message to the peer", withheld);
    registry.register("bgp_peer_unsent_bytes", "Bytes that wait for the peer to read", unsent);
    registry.register("bgp_peer_established", "Times the session came up", established);
    registry.register("bgp_peer_treated_as_withdraw", "UPDATEs treated as withdraw (RFC 7606)", withdrawn);
    let help = "Attributes that were malformed and left out of the routes that they came with (RFC 7606)";
    registry.register("bgp_peer_attributes_discarded", help, discarded);
}

async fn register_watchers(registry: &mut Registry, daemon: &Daemon) {
    let stations = daemon.bgp().stations().await;
    if !stations.is_empty() {
        let gauges = [
            ("bmp_station_up", "1 while this BMP station has the table and hears what changes"),
            ("bmp_station_waiting_bytes", "Bytes that wait for this BMP station"),
        ]
        .map(|(name, help)| {
            let gauges = Family::<[(&'static str, String); 1], Gauge>::default();
            registry.register(name, help, gauges.clone());
            gauges
        });
        let counters = [
            ("bmp_station_messages", "Messages to this BMP station"),
            ("bmp_station_connections", "Connections to this BMP station"),
            ("bmp_station_behind", "Connections that ended because this BMP station was too slow"),
        ]
        .map(|(name, help)| {
            let counters = PeerCounters::default();
            registry.register(name, help, counters.clone());
            counters
        });
        for station in stations {
            let label = [("station", station.config.name.clone())];
            let up = station.state == StationState::Up;
            for (gauge, value) in gauges.iter().zip([u64::from(up), station.waiting as u64]) {
                gauge.get_or_create(&label).set(i64::try_from(value).unwrap_or(i64::MAX));
            }
            for (counter, value) in counters.iter().zip([station.messages, station.connections, station.behind]) {
                counter.get_or_create(&label).inner().store(value, Ordering::Relaxed);
            }
        }
    }
    if let Some(mrt) = daemon.bgp().mrt().await {
        for (name, help, value) in [
            ("mrt_files", "MRT files finished", mrt.files),
            ("mrt_bytes", "Bytes in finished MRT files", mrt.octets),
            ("mrt_lost", "Times that updates are missing in MRT files because the disk was too slow", mrt.lost),
        ] {
            counter(registry, name, help, value);
        }
        let failing = u64::from(mrt.last_error.is_some());
        gauge(registry, "mrt_failing", "1 while MRT files cannot be written", failing);
    }
}

async fn register_caches(registry: &mut Registry, daemon: &Daemon) {
    let caches = daemon.bgp().caches().await;
    if caches.is_empty() {
        return;
    }
    let gauges = [
        ("rpki_cache_synchronised", "1 while this RPKI cache's data is complete and current"),
        ("rpki_cache_in_use", "1 while this RPKI cache's data counts"),
        ("rpki_cache_vrps", "VRPs that this RPKI cache holds"),
        ("rpki_cache_serial", "Serial of this RPKI cache's data"),
        ("rpki_cache_age_seconds", "Seconds since this RPKI cache's data was last complete"),
    ]
    .map(|(name, help)| {
        let gauges = Family::<[(&'static str, String); 1], Gauge>::default();
        registry.register(name, help, gauges.clone());
        gauges
    });
    for cache in caches {
        let label = [("cache", cache.config.name.clone())];
        let values = [
            u64::from(cache.state == CacheState::Synchronised),
            u64::from(cache.in_use),
            cache.vrps as u64,
            cache.serial.map_or(0, |(_, serial)| u64::from(serial)),
            cache.updated.map_or(0, |ago| ago.as_secs()),
        ];
        for (gauge, value) in gauges.iter().zip(values) {
            gauge.get_or_create(&label).set(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }
}

async fn register_bfd(registry: &mut Registry, daemon: &Daemon) {
    let report = daemon.bgp().bfd().await;
    if report.discards.is_empty() {
        return; // no peer has BFD
    }
    let (up, downs) = (PeerGauges::default(), PeerCounters::default());
    let (sent, received, discarded) = (PeerCounters::default(), PeerCounters::default(), PeerCounters::default());
    for peer in daemon.bgp().peers().await {
        let Some(session) = &peer.bfd else { continue };
        let label = [("peer", peer.config.name.clone())];
        let is_up = session.status.state == bgp_proto::bfd::State::Up;
        up.get_or_create(&label).set(i64::from(is_up));
        downs.get_or_create(&label).inc_by(session.status.downs);
        sent.get_or_create(&label).inc_by(session.sent);
        received.get_or_create(&label).inc_by(session.received);
    }
    for (reason, packets) in report.discards {
        discarded.get_or_create(&[("reason", reason.word().to_owned())]).inc_by(packets);
    }
    registry.register("bfd_session_up", "1 if the BFD session beside the peer's is Up", up);
    registry.register("bfd_session_downs", "Times that it left Up", downs);
    registry.register("bfd_packets_sent", "BFD packets sent to the peer", sent);
    registry.register("bfd_packets_received", "BFD packets of the peer that were taken in", received);
    registry.register("bfd_packets_discarded", "BFD packets that were discarded (RFC 5880 section 6.8.6)", discarded);
}

async fn register_kernel(registry: &mut Registry, kernel: &Kernel) {
    let routes = kernel.forwarding.fib().totals().await;
    let pending = routes.wanted - routes.installed;
    gauge(registry, "fib_routes_installed", "Routes that the kernel holds", routes.installed as u64);
    gauge(registry, "fib_routes_pending", "Routes that wait for a next hop or for the kernel", pending as u64);
    gauge(
        registry,
        "fib_repairs",
        "Times that routes were put back that another program had changed or removed",
        routes.repairs,
    );
    let compared = routes.comparisons;
    for (name, help, value) in [
        ("fib_comparisons", "Full compares of the kernel with what is wanted", compared.count),
        ("fib_differences_found", "Differences that full compares found", compared.found),
    ] {
        counter(registry, name, help, value);
    }
    let unrepaired = compared.last.map_or(0, |last| last.unrepaired as u64);
    gauge(registry, "fib_differences_unrepaired", "Differences that the last full compare left", unrepaired);
    let overlay = kernel.forwarding.overlay().borrow().is_some();
    gauge(registry, "overlay_up", "1 if the overlay device is there", u64::from(overlay));
    let policy = kernel.policy.status().await;
    let in_force = u64::from(policy.state == policy::State::InForce);
    gauge(registry, "policy_in_force", "1 if the kernel holds what the documents say", in_force);
    gauge(registry, "policy_documents", "Documents in force", policy.documents.len() as u64);
    gauge(registry, "policy_document_errors", "Documents that do not parse", policy.errors.len() as u64);
    let endpoints = kernel.endpoints.list().await;
    let ready = endpoints.iter().filter(|endpoint| endpoint.error.is_none()).count();
    gauge(registry, "endpoints", "Endpoints on this host", endpoints.len() as u64);
    gauge(registry, "endpoints_ready", "Of these, ready", ready as u64);
}

fn counter(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let counter = Counter::<u64, AtomicU64>::default();
    counter.inner().store(value, Ordering::Relaxed);
    registry.register(name, help, counter);
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let gauge = Gauge::<i64>::default();
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    registry.register(name, help, gauge);
}
