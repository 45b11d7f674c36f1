//! `FilterTest` and `FilterList` of service Bgp: filters asked about a route, by the code that decides.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use bgp_proto::filter::community::AnyCommunity;
use bgp_proto::filter::{Decision, Explanation, Filter, MatchContext, Set, Source, Validation};
use bgp_proto::rib::{ExportTrial, ExportVerdict};
use bgp_proto::rtr::VrpTable;
use bgp_proto::types::{Asn, NextHop, PathId, Prefix};
use bgp_proto::wire::aspath::AsPath;
use bgp_proto::wire::attributes::{Attributes, Origin};
use bgpd::{PeerStatus, RouteQuery, RouteScope};
use linnet_api::{
    Filter as Listed, FilterCheck, FilterListReply, FilterRule, FilterTestReply, FilterTestRequest, FilterTrace,
};
use tonic::Status;

use super::bgp::{named, parse_prefix};
use super::notation;
use crate::config::{Config, nearest};
use crate::daemon::Daemon;
use crate::speaker::{MESH, mesh_filter};

/// What stands for ourselves where a peer's name stands.
const LOCAL: &str = "local";

/// A route that a filter is to be asked about.
struct Question {
    prefix: Prefix,
    attributes: Attributes,
    /// Empty for our own.
    peer: String,
    source: Source,
    /// `None`: nothing says anything of it, and the filter sees not-found.
    validation: Option<Validation>,
    path_id: PathId,
    local_as: Asn,
    /// Of one in the RIB.
    best: bool,
}

pub(super) async fn test(daemon: &Daemon, request: FilterTestRequest) -> Result<FilterTestReply, Status> {
    let config = daemon.config().await;
    let filter = find(&config, &request.filter)?;
    let prefix = parse_prefix(&request.prefix)?;
    let peers = daemon.bgp().peers().await;
    let vrps = vrps(daemon, &config, prefix).await;
    let to = match request.to.as_str() {
        "" => None,
        name => Some(receiver(&peers, name)?),
    };
    let questions = match request.from_rib {
        true => in_rib(daemon, &config, &peers, vrps.as_ref(), &filter.name, prefix, to.is_some()).await?,
        false => vec![told(&config, &peers, vrps.as_ref(), prefix, &request)?],
    };
    let Some(to) = to else {
        return Ok(FilterTestReply { traces: questions.iter().map(|question| ask(&filter, question)).collect() });
    };
    let filter = Arc::new(filter);
    let said = request.validation.as_str();
    let mut traces = Vec::new();
    for question in &questions {
        let trial = ExportTrial {
            to: to.id,
            filter: Arc::clone(&filter),
            prefix,
            attributes: question.attributes.clone(),
            source: question.source,
            from: peers.iter().find(|peer| peer.config.name == question.peer).map(|peer| peer.id),
            name: question.peer.clone(),
            validation: question.validation.filter(|_| !said.is_empty()),
        };
        let verdict = daemon.bgp().try_export(trial).await.ok_or_else(|| down(&to.config.name))?;
        traces.push(judged(question, verdict));
    }
    Ok(FilterTestReply { traces })
}

/// The peer that would be sent it.
fn receiver<'p>(peers: &'p [PeerStatus], name: &str) -> Result<&'p PeerStatus, Status> {
    let found = peers.iter().find(|peer| named(peer, name));
    let found = found.ok_or_else(|| {
        let known = || peers.iter().map(|peer| peer.config.name.as_str());
        let next = match nearest(name, known()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("there are: {}", known().collect::<Vec<_>>().join(", ")),
        };
        Status::not_found(format!("no peer is named \"{name}\"; nothing was tested; {next}"))
    })?;
    if found.established.is_some() { Ok(found) } else { Err(down(name)) }
}

fn down(name: &str) -> Status {
    Status::failed_precondition(format!(
        "the session with \"{name}\" is down, and what it would be sent depends on what that agrees on; nothing was tested; \
         wait for it, or leave out --to to ask the filter alone"
    ))
}

/// What a filter made of a route, and what the peer would hear of it.
fn judged(question: &Question, verdict: ExportVerdict) -> FilterTrace {
    let ExportVerdict { validation, explanation, sent, several } = verdict;
    let shown = |attributes: &Attributes| shown(question, validation, attributes);
    let sent = match (question.best || several, sent) {
        (false, Ok(_)) => Err("another path to this prefix is the best one, and the peer takes one"),
        (_, sent) => sent,
    };
    FilterTrace {
        sent: sent.as_ref().ok().map(shown),
        withheld: sent.err().unwrap_or_default().to_owned(),
        ..trace(question, validation, explanation)
    }
}

pub(super) async fn list(daemon: &Daemon) -> FilterListReply {
    let config = daemon.config().await;
    let peers = daemon.bgp().peers().await;
    let used = |of: &dyn Fn(&PeerStatus) -> Option<Arc<Filter>>, name: &str| -> Vec<String> {
        let with = peers.iter().filter(|peer| of(peer).is_some_and(|filter| filter.name == name));
        with.map(|peer| peer.config.name.clone()).collect()
    };
    let listed = |filter: &Filter| Listed {
        name: filter.name.clone(),
        rules: filter.rules.iter().map(ToString::to_string).collect(),
        imports: used(&|peer| peer.config.import.clone(), &filter.name),
        exports: used(&|peer| peer.config.export.clone(), &filter.name),
    };
    let mesh = mesh_filter(&config);
    FilterListReply { filters: config.bgp.filters.iter().chain([&mesh]).map(listed).collect() }
}

fn find(config: &Config, name: &str) -> Result<Filter, Status> {
    if let Some(filter) = config.bgp.filter(name) {
        return Ok(filter.clone());
    }
    if name == MESH {
        return Ok(mesh_filter(config));
    }
    let known = || config.bgp.filters.iter().map(|filter| filter.name.as_str()).chain([MESH]);
    let next = match nearest(name, known()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("there are: {}", known().collect::<Vec<_>>().join(", ")),
    };
    Err(Status::not_found(format!("no filter is named \"{name}\"; nothing was tested; {next}")))
}

/// A route as the request describes it.
fn told(
    config: &Config,
    peers: &[PeerStatus],
    vrps: Option<&VrpTable>,
    prefix: Prefix,
    request: &FilterTestRequest,
) -> Result<Question, Status> {
    let peer = peers.iter().find(|peer| named(peer, &request.peer));
    let source = match request.source.as_str() {
        "" if request.peer == LOCAL => Source::Local,
        "" => peer.map_or(Source::External, source_of),
        text => one_of(text, "source", &Source::ALL.map(|source| (source.name(), source)))?,
    };
    let origins = [Origin::Igp, Origin::Egp, Origin::Incomplete].map(|origin| (origin.name(), origin));
    let origin = if request.origin.is_empty() { Origin::Igp } else { one_of(&request.origin, "origin", &origins)? };
    let next_hop = match (request.next_hop.as_str(), prefix) {
        // Ourselves.
        ("", _) if source == Source::Local => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        // Addresses of documentation (RFC 5737, RFC 3849).
        ("", Prefix::V4(_)) => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        ("", Prefix::V6(_)) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
        (text, _) => text.parse().map_err(|_| {
            Status::invalid_argument(format!("\"{text}\" is not a next hop; nothing was tested; write an address"))
        })?,
    };
    let mut attributes = Attributes::new(origin, spoken::<AsPath>(&request.as_path)?, NextHop::from(next_hop));
    attributes.med = request.med;
    attributes.local_pref = request.local_pref;
    let communities: Vec<AnyCommunity> =
        request.communities.iter().map(|text| spoken(text)).collect::<Result<_, Status>>()?;
    Set { add_communities: communities, ..Set::default() }.apply(&mut attributes, config.bgp.asn);
    let local_as = peer.map_or(config.bgp.asn, |peer| peer.config.local_as);
    let validation = match request.validation.as_str() {
        "" => vrps.map(|vrps| vrps.validity_of(prefix, &attributes.as_path, local_as)),
        text => Some(one_of(text, "validation state", &Validation::ALL.map(|state| (state.name(), state)))?),
    };
    Ok(Question {
        prefix,
        attributes,
        peer: if source == Source::Local { String::new() } else { peer.map_or(request.peer.clone(), name_of) },
        source,
        validation,
        path_id: PathId::default(),
        local_as,
        best: true,
    })
}

/// Those that cover the prefix; `None` where routes are not validated.
async fn vrps(daemon: &Daemon, config: &Config, prefix: Prefix) -> Option<VrpTable> {
    if config.bgp.rpki.is_empty() {
        return None;
    }
    let mut covering = VrpTable::default();
    daemon.bgp().vrps(prefix).await.into_iter().for_each(|vrp| covering.insert(vrp));
    Some(covering)
}

/// Each path of the prefix: as its peer sent it, where the filter is that peer's import filter; else as it stands in the table.
/// On its way `out`, each accepted path as it stands there.
async fn in_rib(
    daemon: &Daemon,
    config: &Config,
    peers: &[PeerStatus],
    vrps: Option<&VrpTable>,
    filter: &str,
    prefix: Prefix,
    out: bool,
) -> Result<Vec<Question>, Status> {
    let mut questions = Vec::new();
    let scopes: &[RouteScope] = if out { &[RouteScope::Local] } else { &[RouteScope::Local, RouteScope::Rejected] };
    for scope in scopes.iter().cloned() {
        let query = RouteQuery { scope, prefix: Some(prefix), limit: usize::MAX };
        let routes = daemon.bgp().routes(query).await.map_err(|error| Status::not_found(error.to_string()))?;
        for view in routes {
            let peer = peers.iter().find(|peer| peer.config.name == view.peer);
            let imports = peer.and_then(|peer| peer.config.import.as_ref()).is_some_and(|import| import.name == filter);
            let attributes = if imports && !out { &view.route.received } else { &view.route.attributes };
            let local_as = peer.map_or(config.bgp.asn, |peer| peer.config.local_as);
            questions.push(Question {
                prefix,
                attributes: (**attributes).clone(),
                peer: peer.map(name_of).unwrap_or_default(),
                source: peer.map_or(Source::Local, source_of),
                validation: vrps.map(|vrps| vrps.validity_of(prefix, &attributes.as_path, local_as)),
                path_id: view.route.path_id,
                local_as,
                best: view.route.best,
            });
        }
    }
    if questions.is_empty() {
        let next = "leave out --from-rib to describe one, or see `linnet bgp routes`";
        let path = if out { "accepted path" } else { "path" };
        return Err(Status::not_found(format!("the RIB has no {path} to {prefix}; nothing was tested; {next}")));
    }
    Ok(questions)
}

fn name_of(peer: &PeerStatus) -> String {
    peer.config.name.clone()
}

fn source_of(peer: &PeerStatus) -> Source {
    let internal = match &peer.established {
        Some(established) => established.remote_as == peer.config.local_as,
        None => peer.config.is_internal(),
    };
    if internal { Source::Internal } else { Source::External }
}

fn spoken<T: FromStr<Err: ToString>>(text: &str) -> Result<T, Status> {
    text.parse().map_err(|error: T::Err| Status::invalid_argument(format!("{}; nothing was tested", error.to_string())))
}

fn one_of<T: Copy>(text: &str, what: &str, words: &[(&str, T)]) -> Result<T, Status> {
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let known = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        Status::invalid_argument(format!("\"{text}\" is not a {what}; nothing was tested; write one of {known}"))
    })
}

fn ask(filter: &Filter, question: &Question) -> FilterTrace {
    let route = MatchContext {
        prefix: question.prefix,
        attributes: &question.attributes,
        peer: &question.peer,
        source: question.source,
        validation: question.validation.unwrap_or(Validation::NotFound),
    };
    trace(question, question.validation, filter.explain(&route, question.local_as))
}

/// `validation`: what the filter saw of it.
fn shown(question: &Question, validation: Option<Validation>, attributes: &Attributes) -> linnet_api::BgpRoute {
    let peer = if question.source == Source::Local { LOCAL } else { &question.peer };
    linnet_api::BgpRoute {
        path_id: question.path_id.0,
        validation: validation.map(|state| state.to_string()).unwrap_or_default(),
        ..notation::bare_route(question.prefix, peer, attributes)
    }
}

fn trace(question: &Question, validation: Option<Validation>, explained: Explanation) -> FilterTrace {
    let shown = |attributes: &Attributes| shown(question, validation, attributes);
    let rules = explained.rules.into_iter().map(|rule| FilterRule {
        number: u32::try_from(rule.index + 1).unwrap_or(u32::MAX),
        matches: rule.matches,
        checks: rule
            .checks
            .into_iter()
            .map(|check| FilterCheck { condition: check.condition, passed: check.passed, found: check.found })
            .collect(),
        then: rule.then.name().into(),
        sets: rule.sets,
    });
    FilterTrace {
        route: Some(shown(&question.attributes)),
        source: question.source.name().into(),
        rules: rules.collect(),
        accepted: matches!(explained.decision, Decision::Accept(_)),
        rule: match explained.decision {
            Decision::Accept(accepted) => accepted.rule + 1,
            Decision::Reject(Some(rule)) => u32::try_from(rule + 1).unwrap_or(u32::MAX),
            Decision::Reject(None) => 0,
        },
        result: explained.result.as_ref().map(shown),
        ..FilterTrace::default()
    }
}
