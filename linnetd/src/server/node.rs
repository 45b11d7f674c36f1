//! Service Node: how each room is, and reload.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bgp_proto::session::State;
use fib_sync::Encapsulation;
use linnet_api::node_server::Node;
use linnet_api::{
    Component, DoctorRequest, Drain, DrainReply, DrainRequest, ReloadReply, ReloadRequest, StatusReply, StatusRequest,
    UndrainReply, UndrainRequest,
};
use policy::State as PolicyState;
use tonic::{Request, Response, Status};

use super::doctor;
use crate::config::OverlayMode;
use crate::daemon::{Daemon, Kernel, host_has};
use crate::drain::DrainState;
use crate::imports::ImportStatus;

pub(super) struct NodeService(pub(super) Arc<Daemon>);

#[tonic::async_trait]
impl Node for NodeService {
    type DoctorStream = doctor::Steps;

    async fn doctor(&self, _: Request<DoctorRequest>) -> Result<Response<Self::DoctorStream>, Status> {
        Ok(Response::new(doctor::steps(self.0.clone())))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        let config = self.0.config().await;
        Ok(Response::new(StatusReply {
            node: config.node.name.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_seconds: self.0.uptime().as_secs(),
            router_id: config.bgp.router_id.to_string(),
            local_asn: config.bgp.asn.0,
            pod_cidrs: config.node.pod_cidrs.iter().map(ToString::to_string).collect(),
            components: components(&self.0).await,
            drain: Some(drain(&self.0).await),
        }))
    }

    async fn drain(&self, _: Request<DrainRequest>) -> Result<Response<DrainReply>, Status> {
        let time = self.0.config().await.bgp.drain_time;
        self.0.draining().begin(time).await.map_err(|error| Status::failed_precondition(error.to_string()))?;
        Ok(Response::new(DrainReply { drain: Some(drain(&self.0).await) }))
    }

    async fn undrain(&self, _: Request<UndrainRequest>) -> Result<Response<UndrainReply>, Status> {
        self.0.draining().end().await.map_err(|error| Status::failed_precondition(error.to_string()))?;
        Ok(Response::new(UndrainReply {}))
    }

    async fn reload(&self, _: Request<ReloadRequest>) -> Result<Response<ReloadReply>, Status> {
        let (changes, errors) = match self.0.reload().await {
            Ok(changes) => (changes, Vec::new()),
            Err(errors) => (Vec::new(), errors),
        };
        Ok(Response::new(ReloadReply { changes, errors }))
    }
}

/// How far the node is drained.
pub(super) async fn drain(daemon: &Daemon) -> Drain {
    let (state, remaining) = match daemon.draining().state().await {
        DrainState::No => ("no", Duration::ZERO),
        DrainState::Draining(remaining) => ("draining", remaining),
        DrainState::Drained => ("drained", Duration::ZERO),
    };
    let untold = if state == "draining" { daemon.draining().untold().await } else { Vec::new() };
    // Rounded up: as long as something is left it is not zero.
    Drain { state: state.into(), remaining_seconds: remaining.as_millis().div_ceil(1000) as u64, untold }
}

fn component(name: &str, state: &str, detail: String) -> Component {
    Component { name: name.into(), state: state.into(), detail }
}

fn ok_if(sound: bool) -> &'static str {
    if sound { "ok" } else { "degraded" }
}

/// One entry a room.
pub(crate) async fn components(daemon: &Daemon) -> Vec<Component> {
    let mut components = vec![bgp(daemon).await];
    match daemon.kernel() {
        Some(kernel) => {
            components.push(address(daemon, kernel).await);
            components.push(fib(daemon, kernel).await);
            components.extend(rules(kernel));
            components.push(overlay(daemon, kernel).await);
            components.push(policy(kernel).await);
            components.push(endpoints(kernel).await);
        }
        None => components.push(component("fib", "ok", "fib.install is false: nothing is programmed".into())),
    }
    components.extend(imports(daemon));
    components.push(configuration(daemon).await);
    components
}

async fn bgp(daemon: &Daemon) -> Component {
    let peers = daemon.bgp().peers().await;
    let up = peers.iter().filter(|peer| peer.state == State::Established).count();
    let detail = format!("{up} of {} sessions established", peers.len());
    component("bgp", ok_if(up == peers.len()), detail)
}

/// What is announced of other programs' routes; `None`: nothing is to be.
fn imports(daemon: &Daemon) -> Option<Component> {
    let status = daemon.imports().status();
    let one = |import: &ImportStatus| {
        let ImportStatus { title, announced, limit, left_out } = import;
        match left_out {
            0 => format!("{announced} of {title}"),
            _ => format!("{announced} of {title}, and at least {left_out} beyond its limit of {limit} left out"),
        }
    };
    let all: Vec<String> = status.iter().map(one).collect();
    let sound = status.iter().all(|import| import.left_out == 0);
    (!all.is_empty())
        .then(|| component("import-kernel", ok_if(sound), format!("prefixes announced: {}", all.join("; "))))
}

async fn fib(daemon: &Daemon, kernel: &Kernel) -> Component {
    let routes = kernel.forwarding.fib().totals().await;
    let unswept = kernel.forwarding.ask(|state| state.unswept.clone()).await.unwrap_or_default();
    let unresolved = daemon.bgp().unresolved_prefixes().await;
    let mut detail = format!("{} routes, {} in the kernel", routes.wanted, routes.installed);
    if unresolved > 0 {
        detail += &format!(", {unresolved} more without a next hop in reach");
    }
    if let Some(last) = routes.comparisons.last {
        let ago = last.ago.as_secs();
        detail += &match (last.differences, last.unrepaired) {
            (0, _) => format!(", compared {ago} s ago: all equal"),
            (differed, 0) => format!(", compared {ago} s ago: {differed} differed and were repaired"),
            (differed, left) => format!(", compared {ago} s ago: {differed} differed, {left} not repaired"),
        };
    }
    if !unswept.is_empty() {
        detail += ", waiting for peers to confirm those of an earlier run";
    }
    let state = if routes.installed < routes.wanted || unresolved > 0 {
        "degraded"
    } else if !unswept.is_empty() {
        "starting"
    } else {
        "ok"
    };
    component("fib", state, detail)
}

/// Whether this host has the addresses that others know the node by.
async fn address(daemon: &Daemon, kernel: &Kernel) -> Component {
    let config = daemon.config().await;
    let (mut all, mut lost) = (Vec::new(), Vec::new());
    for address in [Some(config.node.address), config.node.address6.map(IpAddr::V6)].into_iter().flatten() {
        all.push(address.to_string());
        if !host_has(kernel.forwarding.fib(), address).await {
            lost.push(address.to_string());
        }
    }
    if lost.is_empty() {
        return component("address", "ok", all.join(", "));
    }
    let next = if daemon.follows_host().await {
        "when the default route comes from another one, that is taken up by itself"
    } else {
        "or, if the host is renumbered, set node.address to the new one and run `linnet reload`"
    };
    let lost = lost.join(", ");
    let detail = format!(
        "{lost} is on no device of this host: nobody reaches the node by it, and nothing goes through the tunnel; give it back; {next}"
    );
    component("address", "degraded", detail)
}

/// Rules that lead to Linnet's table; `None`: there are to be none.
fn rules(kernel: &Kernel) -> Option<Component> {
    let rules = kernel.rules.status();
    let in_kernel = rules.iter().filter(|rule| rule.error.is_none()).count();
    let mut detail = format!("{} rules for routing tables, {in_kernel} in the kernel", rules.len());
    if let Some((rule, error)) = rules.iter().find_map(|rule| Some((rule, rule.error.as_ref()?))) {
        detail += &format!("; {}: {error}", rule.rule);
    }
    (!rules.is_empty()).then(|| component("rules", ok_if(in_kernel == rules.len()), detail))
}

async fn overlay(daemon: &Daemon, kernel: &Kernel) -> Component {
    let config = daemon.config().await;
    let (mode, has_ipv6_pods) = (config.overlay.mode, config.node.has_ipv6_pods());
    let device = kernel.forwarding.overlay().borrow().clone();
    match (mode, device) {
        (OverlayMode::Never, _) => component("overlay", "ok", "overlay.mode is \"never\"".into()),
        (_, Some(device)) => {
            let vni = match device.encapsulation {
                Encapsulation::Vxlan { vni, .. } => format!(", VNI {vni}"),
                Encapsulation::IpIp | Encapsulation::Ip6Tnl | Encapsulation::WireGuard { .. } => String::new(),
            };
            let key = device.key.map(|key| format!(", public key {key}")).unwrap_or_default();
            let untunnelled = if device.encapsulation.carries_ipv6() || !has_ipv6_pods {
                ""
            } else {
                "; it carries no IPv6, and IPv6 pods have no tunnel"
            };
            let (name, local, mtu) = (&device.device, device.local, device.mtu);
            let detail = format!("{name}{vni}, end point {local}, MTU {mtu}{key}{untunnelled}");
            component("overlay", "ok", detail)
        }
        (_, None) => {
            let error = kernel.forwarding.ask(|state| state.overlay_error.clone()).await.flatten();
            component("overlay", "degraded", error.unwrap_or_else(|| "there is no device yet".into()))
        }
    }
}

async fn policy(kernel: &Kernel) -> Component {
    let status = kernel.policy.status().await;
    match status.state {
        PolicyState::Degraded { error } => component("policy", "degraded", error),
        PolicyState::InForce if !status.errors.is_empty() => {
            component("policy", "degraded", format!("{} documents do not parse", status.errors.len()))
        }
        PolicyState::InForce => component("policy", "ok", format!("{} documents in force", status.documents.len())),
    }
}

async fn endpoints(kernel: &Kernel) -> Component {
    let endpoints = kernel.endpoints.list().await;
    let failed = endpoints.iter().filter(|endpoint| endpoint.error.is_some()).count();
    let detail = format!("{} endpoints, {} ready", endpoints.len(), endpoints.len() - failed);
    component("endpoints", ok_if(failed == 0), detail)
}

async fn configuration(daemon: &Daemon) -> Component {
    let refused = daemon.refused().await;
    match refused.first() {
        None => component("configuration", "ok", "the file as it was last read is in force".into()),
        Some(first) => {
            let more = refused.len() - 1;
            let more = if more > 0 { format!(" (and {more} more errors)") } else { String::new() };
            component("configuration", "degraded", format!("the changed file was refused: {first}{more}"))
        }
    }
}
