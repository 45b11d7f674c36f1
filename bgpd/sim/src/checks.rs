//! What must hold when a network has come to rest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bgp_proto::rib::{BestPath, RouteView, Scope};
use bgp_proto::types::{PathId, PeerId, Prefix};
use bgp_proto::wire::attributes::Attributes;

use crate::network::{Network, neighbour};
use crate::oracle::{self, LocRib};
use crate::topology::NodeId;

/// The longest that sessions may take to come up: a few connection attempts over the slowest links.
const SMOOTH: Duration = Duration::from_secs(20);

/// All checks, in an order in which the first that fails says the most.
///
/// # Errors
/// What is wrong, for a person.
pub fn all(network: &Network) -> Result<(), String> {
    neighbours_are_found(network)?;
    sessions_are_up(network)?;
    paths_are_watched(network)?;
    caches_are_followed(network)?;
    loc_ribs_are_the_oracles(network)?;
    reports_add_up(network)?;
    what_is_sent_is_held(network)?;
    stations_know(network)?;
    archives_know(network)?;
    nothing_waits(network)
}

/// Two neighbours that both run have a session, if links without addresses do not keep them apart, and nobody has one with a node
/// that does not run.
///
/// # Errors
/// Which session.
pub fn sessions_are_up(network: &Network) -> Result<(), String> {
    let running = network.running();
    for (node, peer) in pairs(network) {
        let wanted = running.contains(&peer) && network.should_meet(node, peer);
        if network.is_up(node, peer) != wanted {
            let session = network.speaker(node).and_then(|speaker| speaker.session(peer.as_peer()));
            let shown = session.map(|session| (session.state(), session.last_error().map(str::to_owned)));
            return Err(format!("the session of {node} with {peer} should be up: {wanted}; it is {shown:?}"));
        }
    }
    Ok(())
}

/// Every Loc-RIB holds what the oracle says, and nothing else, and what has several paths is shared among them as they say.
///
/// # Errors
/// The first prefix that differs.
pub fn loc_ribs_are_the_oracles(network: &Network) -> Result<(), String> {
    let expected = oracle::solve(&network.met(), &network.running())
        .map_err(|prefix| format!("the oracle finds no stable state for {prefix}: the scenario is unfit"))?;
    for (node, expected) in &expected {
        let Some(speaker) = network.speaker(*node) else { continue };
        let held = speaker.rib().best().into_iter().map(|change| (change.prefix, change.paths)).collect();
        differ(*node, expected, &held)?;
    }
    network.shares_are_the_oracles(&expected)
}

fn differ(node: NodeId, expected: &LocRib, held: &BTreeMap<Prefix, Vec<BestPath>>) -> Result<(), String> {
    let prefixes: BTreeSet<&Prefix> = expected.keys().chain(held.keys()).collect();
    for prefix in prefixes {
        let source = |peer: PeerId| (peer != PeerId::LOCAL).then(|| neighbour(peer));
        let mut wanted: Vec<_> = expected.get(prefix).into_iter().flatten().map(|r| (r.from, &r.attributes)).collect();
        let mut have: Vec<_> =
            held.get(prefix).into_iter().flatten().map(|path| (source(path.peer), &*path.attributes)).collect();
        // Only the first has a place of its own. Of several from one neighbour, only their attributes say which is which.
        for list in [&mut wanted, &mut have] {
            if let [_, rest @ ..] = list.as_mut_slice() {
                rest.sort_by_cached_key(|(from, attributes)| (*from, format!("{attributes:?}")));
            }
        }
        if wanted != have {
            return Err(format!("{node} holds for {prefix}\n  {have:?}\nand the oracle says\n  {wanted:?}"));
        }
    }
    Ok(())
}

/// The changes that a speaker reported add up to its Loc-RIB.
///
/// # Errors
/// The first prefix that differs.
pub fn reports_add_up(network: &Network) -> Result<(), String> {
    for node in network.running() {
        let Some(speaker) = network.speaker(node) else { continue };
        let held: BTreeMap<_, _> = speaker.rib().best().into_iter().map(|change| (change.prefix, change)).collect();
        let reported = &network.nodes[node.index()].reported;
        let differs = |prefix: &&Prefix| held.get(*prefix) != reported.get(*prefix);
        if let Some(prefix) = held.keys().chain(reported.keys()).find(differs) {
            let (held, reported) = (held.get(prefix), reported.get(prefix));
            return Err(format!("{node} reported for {prefix}\n  {reported:?}\nand holds\n  {held:?}"));
        }
    }
    Ok(())
}

/// Nobody has more of a neighbour than its limit lets through, or was not warned in time.
///
/// # Errors
/// Who of whom.
pub fn limits_hold(network: &Network) -> Result<(), String> {
    network.limits_hold()
}

/// Paths whose two ends watch them are up, and no others.
///
/// # Errors
/// Which one is not.
pub fn paths_are_watched(network: &Network) -> Result<(), String> {
    network.paths_are_watched()
}

/// What monitoring stations were told comes to the tables that the nodes have.
///
/// # Errors
/// The first path that differs.
pub fn stations_know(network: &Network) -> Result<(), String> {
    network.stations_know()
}

/// At every moment each node takes for its neighbour, on a link without addresses, whom it should.
///
/// # Errors
/// Who does not.
pub fn neighbours_are_the_first_heard(network: &Network) -> Result<(), String> {
    network.neighbours_are_the_first_heard()
}

/// The same, and that nobody is left without a neighbour who has one.
///
/// # Errors
/// Who is.
pub fn neighbours_are_found(network: &Network) -> Result<(), String> {
    network.neighbours_are_found()
}

/// What archives were given comes to the tables that the nodes have.
///
/// # Errors
/// The first path that differs.
pub fn archives_know(network: &Network) -> Result<(), String> {
    network.archives_know()
}

/// Everybody validates by what its cache has, or by nothing if that has been away for too long.
///
/// # Errors
/// Who does not.
pub fn caches_are_followed(network: &Network) -> Result<(), String> {
    network.caches_are_followed()
}

/// Nobody believes in a path that has been cut for longer than the longest detection time.
///
/// # Errors
/// Who does.
pub fn cut_paths_are_noticed(network: &Network) -> Result<(), String> {
    network.cut_paths_are_noticed()
}

/// What one side of a session believes to have sent, the other holds as received, by path identifier, rejected paths
/// included.
///
/// # Errors
/// The first prefix that differs.
pub fn what_is_sent_is_held(network: &Network) -> Result<(), String> {
    let views = |node: NodeId, scope: Scope| -> Vec<RouteView> {
        let rib = network.speaker(node).map(bgp_proto::speaker::Speaker::rib);
        rib.map(|rib| rib.routes(scope, None, usize::MAX, network.now())).unwrap_or_default()
    };
    for (node, peer) in pairs(network) {
        let sent = views(peer, Scope::Advertised(node.as_peer()));
        let held = views(node, Scope::Received(peer.as_peer()));
        if let Some(stale) = held.iter().find(|view| view.stale) {
            return Err(format!("{node} still holds {} from {peer} as stale", stale.prefix));
        }
        // A received route is shown behind the import filter if that accepted it.
        let as_shown = |view: &RouteView| -> Arc<Attributes> {
            let heard = oracle::carried(network.topology(), peer, node, (*view.attributes).clone());
            Arc::new(oracle::accept(network.topology(), node, peer, view.prefix, &heard).unwrap_or(heard))
        };
        let path = |view: &RouteView| (view.prefix, view.path_id);
        let sent: BTreeMap<(Prefix, PathId), Arc<Attributes>> =
            sent.iter().map(|view| (path(view), as_shown(view))).collect();
        let shown: BTreeMap<(Prefix, PathId), Arc<Attributes>> =
            held.iter().map(|view| (path(view), view.attributes.clone())).collect();
        if let Some(path) = sent.keys().chain(shown.keys()).find(|path| sent.get(path) != shown.get(path)) {
            let ((prefix, PathId(id)), sent, held) = (path, sent.get(path), shown.get(path));
            return Err(format!("{peer} sent path {id} of {prefix} to {node} as\n  {sent:?}\nwhich holds\n  {held:?}"));
        }
        let Some((ours, theirs)) = network.speaker(node).zip(network.speaker(peer)) else { continue };
        let (received, advertised) =
            (ours.rib().counts(peer.as_peer()).received, theirs.rib().counts(node.as_peer()).advertised);
        if (received, advertised) != (held.len(), sent.len()) {
            let lengths = (held.len(), sent.len());
            return Err(format!("{peer} to {node}: counted {:?}, held and sent {lengths:?}", (received, advertised)));
        }
    }
    Ok(())
}

/// No byte waits to be sent, and there is one connection for each session.
///
/// # Errors
/// Whose bytes, or how many connections.
pub fn nothing_waits(network: &Network) -> Result<(), String> {
    for (node, peer) in pairs(network) {
        let unsent = network.speaker(node).map_or(0, |speaker| speaker.rib().counts(peer.as_peer()).unsent_bytes);
        if unsent > 0 {
            return Err(format!("{unsent} octets from {node} to {peer} count as unsent"));
        }
    }
    let sessions = pairs(network).filter(|(node, peer)| network.is_up(*node, *peer)).count() / 2;
    let in_vain =
        |(node, peer): &(NodeId, NodeId)| network.speaker(*peer).is_none() || !network.should_meet(*node, *peer);
    let attempts = pairs(network).filter(in_vain).count();
    match network.connections() {
        (known, 0) if (sessions..=sessions + attempts).contains(&known) => Ok(()),
        (known, queued) => Err(format!("{known} connections with {queued} octets queued, for {sessions} sessions")),
    }
}

/// Since the beginning, in which nothing went wrong, no session that came up has gone down, and none took long: of two
/// connections that cross, one stays.
///
/// # Errors
/// How many went down, or when the last came up.
pub fn start_was_smooth(network: &Network) -> Result<(), String> {
    match network.ups_and_downs() {
        (last, 0) if last.since_start() <= SMOOTH => Ok(()),
        (last, downs) => {
            let last = last.since_start().as_secs();
            Err(format!("a start without faults: {downs} sessions went down, the last came up after {last} s"))
        }
    }
}

/// Running nodes with each neighbour that they should have.
fn pairs(network: &Network) -> impl Iterator<Item = (NodeId, NodeId)> {
    let neighbours = |node: NodeId| network.topology().node(node).peers.keys().map(move |peer| (node, *peer));
    network.running().into_iter().flat_map(neighbours)
}
