//! Small networks with an outcome that a person can work out: they hold the oracle and the checks to account.

mod unnumbered;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use bgp_proto::bfd;
use bgp_proto::conduct::DefaultOriginate;
use bgp_proto::filter::{Condition, Filter, PrefixMatch, Rule, Set, Validation};
use bgp_proto::prefix_limit::{LimitAction, PrefixLimit};
use bgp_proto::rib::Drain;
use bgp_proto::rtr::Vrp;
use bgp_proto::session::{Extensions, SendHoldTime};
use bgp_proto::shares::Shares;
use bgp_proto::types::{Asn, ClusterId, Family, HoldTime, NextHop, Prefix, RouterId};
use bgp_proto::wire::aspath::AsPath;
use bgp_proto::wire::attributes::{Aggregator, Attributes, Origin};
use bgp_proto::wire::capability::AddPath;
use bgp_proto::wire::community::Community;
use bgp_sim::cache::CacheSpec;
use bgp_sim::network::{Death, Network, OPERATORS_WORDS};
use bgp_sim::topology::{LinkSpec, NodeId, NodeSpec, PeerSpec, Topology};
use bgp_sim::transcript::Transcript;
use bgp_sim::{checks, oracle};

fn node(number: u8, asn: u32) -> NodeSpec {
    let router_id = Ipv4Addr::new(10, 0, 0, number);
    NodeSpec {
        asn: Asn(asn),
        two_octets: false,
        router_id: RouterId(router_id),
        cluster_id: ClusterId(router_id),
        address4: Ipv4Addr::new(192, 0, 2, number),
        address6: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into()),
        max_paths: 1,
        graceful_restart: None,
        deferral: Duration::from_secs(60),
        notification: false,
        long_lived: 0,
        drain: Drain::Off,
        unreachable: BTreeSet::new(),
        bfd_outlives: false,
        monitored: false,
        vrps: None,
        cache: None,
        cache_gone: false,
        aggregates: Vec::new(),
        originated: BTreeMap::new(),
        peers: BTreeMap::new(),
    }
}

/// Nodes 0, 1, 2 ... in these ASes.
fn nodes(asns: &[u32]) -> Topology {
    let nodes = asns.iter().zip(0..).map(|(asn, number)| node(number, *asn)).collect();
    Topology { nodes, links: Vec::new() }
}

/// A session between two nodes; external peers let everything through. `client`: the second is the first's.
fn join(topology: &mut Topology, a: u16, b: u16, client: bool) {
    let ends = [NodeId(a), NodeId(b)];
    let external = topology.node(ends[0]).asn != topology.node(ends[1]).asn;
    let open = || external.then(|| Arc::new(Filter::accept_all("open")));
    for (node, peer, client) in [(a, b, client), (b, a, false)] {
        let spec = PeerSpec {
            families: Family::ALL.into_iter().collect(),
            hold_time: HoldTime::default(),
            send_hold: SendHoldTime::default(),
            connect_retry: Duration::from_secs(5),
            passive: false,
            client,
            add_path: AddPath::NONE,
            conduct: Default::default(),
            graceful_shutdown: true,
            add_path_most: 16,
            segment: false,
            local_as: None,
            max_prefixes: None,
            bfd: None,
            blackhole: false,
            extensions: Extensions::default(),
            import: open(),
            export: open(),
        };
        topology.nodes[usize::from(node)].peers.insert(NodeId(peer), spec);
    }
    topology.links.push(LinkSpec {
        ends,
        over_ipv6: false,
        unnumbered: false,
        renumbered: [0; 2],
        delay: Duration::from_millis(2),
        jitter: Duration::ZERO,
        reader_lag: Duration::ZERO,
        window: 1 << 16,
    });
}

fn prefix() -> Prefix {
    "10.1.0.0/16".parse().expect("a prefix")
}

fn own_route() -> Attributes {
    Attributes::new(Origin::Igp, AsPath::default(), NextHop::V4(Ipv4Addr::UNSPECIFIED))
}

fn originate(topology: &mut Topology, node: usize) {
    topology.nodes[node].originated.insert(prefix(), own_route());
}

fn running(topology: Topology) -> Network {
    let mut network = Network::new(topology, 7, Transcript::new(None));
    for node in network.topology().ids() {
        network.start(node, false);
    }
    network
}

fn rest(network: &mut Network) {
    assert!(network.run_until_quiet(Duration::from_secs(300), network.now() + Duration::from_secs(3600)));
}

/// What the oracle says that a node uses.
fn solved(topology: &Topology, node: u16) -> oracle::Route {
    let ribs = oracle::solve(topology, &topology.ids().collect()).expect("a stable state");
    ribs[&NodeId(node)][&prefix()][0].clone()
}

fn chain() -> Topology {
    let mut topology = nodes(&[65001, 65002, 65003]);
    join(&mut topology, 0, 1, false);
    join(&mut topology, 1, 2, false);
    originate(&mut topology, 0);
    topology
}

#[test]
fn the_oracle_passes_a_route_down_a_chain_of_ases() {
    let route = solved(&chain(), 2);
    assert_eq!(route.from, Some(NodeId(1)));
    let path = AsPath::sequence([Asn(65002), Asn(65001)]);
    assert_eq!(route.attributes, Attributes::new(Origin::Igp, path, NextHop::V4([192, 0, 2, 1].into())));
}

#[test]
fn the_oracle_reflects_from_client_to_client_with_originator_and_cluster() {
    let mut topology = nodes(&[64512; 4]);
    join(&mut topology, 0, 1, true);
    join(&mut topology, 0, 2, true);
    join(&mut topology, 0, 3, false);
    originate(&mut topology, 1);
    for other in [2, 3] {
        let route = solved(&topology, other).attributes;
        assert_eq!(route.originator_id, Some(RouterId([10, 0, 0, 1].into())));
        assert_eq!(*route.cluster_list, [ClusterId([10, 0, 0, 0].into())]);
        assert_eq!((route.next_hop, route.local_pref), (NextHop::V4([192, 0, 2, 1].into()), Some(100)));
    }
}

#[test]
fn the_oracle_does_not_pass_on_between_internal_peers_without_a_client() {
    let mut topology = nodes(&[64512; 3]);
    join(&mut topology, 0, 1, false);
    join(&mut topology, 0, 2, false);
    originate(&mut topology, 1);
    let ribs = oracle::solve(&topology, &topology.ids().collect()).expect("a stable state");
    assert!(ribs[&NodeId(0)].contains_key(&prefix()));
    assert!(!ribs[&NodeId(2)].contains_key(&prefix()));
}

#[test]
fn the_oracle_takes_the_shorter_way_round_a_ring() {
    let mut topology = nodes(&[65001, 65002, 65003, 65004]);
    for (a, b) in [(0, 1), (1, 2), (2, 3), (0, 3)] {
        join(&mut topology, a, b, false);
    }
    originate(&mut topology, 0);
    assert_eq!(solved(&topology, 3).from, Some(NodeId(0)));
    // Two ways of two hops: the lower router id.
    assert_eq!(solved(&topology, 2).from, Some(NodeId(1)));
}

#[test]
fn the_oracle_takes_no_way_by_a_next_hop_that_is_not_reached() {
    let mut topology = nodes(&[65001, 65002, 65003, 65004]);
    for (a, b) in [(0, 1), (1, 2), (2, 3), (0, 3)] {
        join(&mut topology, a, b, false);
    }
    originate(&mut topology, 0);
    topology.nodes[2].unreachable.insert(Ipv4Addr::new(192, 0, 2, 1).into());
    assert_eq!(solved(&topology, 2).from, Some(NodeId(3)));
}

#[test]
fn a_route_whose_next_hop_is_lost_is_withdrawn_down_the_chain_and_back_when_it_is_reached() {
    let mut network = running(chain());
    rest(&mut network);
    for unreachable in [true, false] {
        network.set_unreachable(NodeId(1), Ipv4Addr::new(192, 0, 2, 0).into(), unreachable);
        rest(&mut network);
        assert_eq!((holds(&network, 1), holds(&network, 2)), (!unreachable, !unreachable));
        assert_eq!(checks::all(&network), Ok(()));
    }
}

#[test]
fn speakers_in_a_chain_come_to_what_the_oracle_says() {
    let mut network = running(chain());
    rest(&mut network);
    assert_eq!(checks::all(&network), Ok(()));
}

#[test]
fn the_checks_see_a_session_that_is_missing() {
    let mut network = running(chain());
    network.partition(1, true);
    rest(&mut network);
    let error = checks::sessions_are_up(&network).expect_err("the link is cut");
    assert!(error.contains("n1 with n2"), "{error}");
}

#[test]
fn the_checks_see_a_route_that_is_on_its_way() {
    let mut network = running(chain());
    rest(&mut network);
    network.withdraw(NodeId(0), &[prefix()]);
    assert!(checks::loc_ribs_are_the_oracles(&network).is_err(), "n1 cannot know yet");
    assert!(checks::what_is_sent_is_held(&network).is_err(), "n0 has withdrawn it and n1 still has it");
    rest(&mut network);
    assert_eq!(checks::all(&network), Ok(()));
}

#[test]
fn a_host_that_loses_power_is_noticed_by_the_hold_timer_and_by_nothing_sooner() {
    let mut network = running(chain());
    rest(&mut network);
    let died = network.now();
    network.kill(NodeId(0), Death::Power);
    network.run_until(died + Duration::from_secs(59));
    assert!(network.is_up(NodeId(1), NodeId(0)), "the last message came at most 30 s before it died");
    network.run_until(died + Duration::from_secs(91));
    assert!(!network.is_up(NodeId(1), NodeId(0)));
}

/// A chain without hold times whose first node reads nothing of what the second sends, and more is sent than
/// there is room for on the way.
fn with_a_node_that_reads_nothing(send_hold: SendHoldTime) -> Network {
    let mut topology = chain();
    for spec in topology.nodes.iter_mut().flat_map(|node| node.peers.values_mut()) {
        (spec.hold_time, spec.send_hold) = (HoldTime::from_seconds(0).expect("none"), send_hold);
    }
    topology.links[0].window = 256;
    let mut network = running(topology);
    rest(&mut network);
    network.deafen(NodeId(0), NodeId(1), true);
    let prefixes = (0..200).map(|number| Prefix::new([10, 2, number, 0].into(), 24).expect("a prefix"));
    network.originate(NodeId(1), &prefixes.map(|prefix| (prefix, own_route())).collect::<Vec<_>>());
    network
}

#[test]
fn a_node_that_reads_nothing_is_given_up_after_the_send_hold_time_and_is_back_when_it_reads() {
    let mut network = with_a_node_that_reads_nothing(SendHoldTime::Exactly(Duration::from_secs(20)));
    let deaf = network.now();
    network.run_until(deaf + Duration::from_secs(19));
    assert!(network.is_up(NodeId(1), NodeId(0)) && holds(&network, 2));
    network.run_until(deaf + Duration::from_secs(21));
    assert!(!network.is_up(NodeId(1), NodeId(0)));
    assert!(!holds(&network, 2), "what it had announced is withdrawn");
    assert!(network.is_up(NodeId(1), NodeId(2)), "its other session has nothing to do with it");
    network.run_until(deaf + Duration::from_secs(120));
    network.deafen(NodeId(0), NodeId(1), false);
    rest(&mut network);
    assert_eq!(checks::all(&network), Ok(()));
}

#[test]
fn a_node_that_reads_nothing_is_kept_without_a_send_hold_time_and_hears_everything_when_it_reads() {
    let mut network = with_a_node_that_reads_nothing(SendHoldTime::Off);
    network.run_until(network.now() + Duration::from_secs(5000));
    assert!(network.is_up(NodeId(1), NodeId(0)) && holds(&network, 2));
    network.deafen(NodeId(0), NodeId(1), false);
    rest(&mut network);
    assert_eq!(network.ups_and_downs().1, 0);
    assert_eq!(checks::all(&network), Ok(()));
}

#[test]
fn a_process_that_is_killed_is_noticed_as_soon_as_a_packet_can_say_so() {
    for death in [Death::Silent, Death::Cease, Death::Killed, Death::Reset] {
        let mut network = running(chain());
        rest(&mut network);
        network.kill(NodeId(0), death);
        network.run_until(network.now() + Duration::from_millis(3));
        assert!(!network.is_up(NodeId(1), NodeId(0)), "{death:?}");
    }
}

/// How long a node that was away for long waits for its neighbour, which connects, at the longest of ten times.
fn longest_wait_for_a_neighbour(connect_retry: Duration) -> Duration {
    let mut topology = chain();
    topology.nodes[0].peers.get_mut(&NodeId(1)).expect("a neighbour").passive = true;
    topology.nodes[1].peers.get_mut(&NodeId(0)).expect("a neighbour").connect_retry = connect_retry;
    let mut network = running(topology);
    rest(&mut network);
    let waits = (0..10).map(|_| {
        network.kill(NodeId(0), Death::Killed);
        network.run_until(network.now() + Duration::from_secs(1000));
        let back = network.now();
        network.start(NodeId(0), false);
        while !network.is_up(NodeId(1), NodeId(0)) {
            network.run_until(network.now() + Duration::from_millis(100));
            assert!(network.now() < back + Duration::from_secs(1000));
        }
        network.now() - back
    });
    waits.max().unwrap_or_default()
}

#[test]
fn a_neighbour_that_is_back_is_connected_to_within_the_connect_retry_time() {
    for seconds in [5, 60] {
        let wait = longest_wait_for_a_neighbour(Duration::from_secs(seconds));
        // An OPEN of node 1 waits two seconds for the neighbour's.
        assert!(wait <= Duration::from_secs(seconds + 3), "{seconds}: {wait:?}");
        assert!(wait >= Duration::from_secs(seconds) / 2, "{seconds}: {wait:?}");
    }
}

#[test]
fn a_short_partition_costs_no_session() {
    let mut network = running(chain());
    rest(&mut network);
    network.partition(0, true);
    network.originate(NodeId(0), &[("10.2.0.0/16".parse().expect("a prefix"), own_route())]);
    network.run_until(network.now() + Duration::from_secs(40));
    network.partition(0, false);
    rest(&mut network);
    assert_eq!(network.ups_and_downs().1, 0);
    assert_eq!(checks::all(&network), Ok(()));
}

fn holds(network: &Network, node: u16) -> bool {
    let best = network.speaker(NodeId(node)).map(|speaker| speaker.rib().best()).unwrap_or_default();
    best.iter().any(|change| change.prefix == prefix())
}

/// Kills a node of a chain, starts it again five seconds later, and says whether `watched` held the route all the time.
fn kept_over_a_restart(graceful: bool, restarts: u16, watched: u16, death: Death) -> bool {
    let mut topology = chain();
    for spec in &mut topology.nodes {
        spec.graceful_restart = graceful.then_some(60);
    }
    let mut network = running(topology);
    rest(&mut network);
    network.kill(NodeId(restarts), death);
    let back = network.now() + Duration::from_secs(5);
    let end = back + Duration::from_secs(200);
    let mut always = true;
    while network.now() < end {
        network.run_until(network.now() + Duration::from_millis(50));
        if network.now() >= back && network.speaker(NodeId(restarts)).is_none() {
            network.start(NodeId(restarts), graceful);
        }
        always &= holds(&network, watched);
    }
    rest(&mut network);
    assert_eq!(checks::all(&network), Ok(()));
    always
}

#[test]
fn neighbours_keep_the_routes_of_a_node_that_restarts_gracefully() {
    for death in [Death::Silent, Death::Killed, Death::Reset, Death::Power] {
        // The origin restarts, and the node in the middle; the end of the chain must not notice.
        for (restarts, watched) in [(0, 1), (0, 2), (1, 2)] {
            assert!(kept_over_a_restart(true, restarts, watched, death), "n{restarts} restarts: {death:?}, n{watched}");
        }
    }
}

#[test]
fn neighbours_drop_the_routes_of_a_node_that_restarts_otherwise() {
    for (graceful, death) in [(false, Death::Killed), (false, Death::Silent), (true, Death::Cease)] {
        assert!(!kept_over_a_restart(graceful, 0, 2, death), "{death:?}, graceful restart is on: {graceful}");
    }
}

#[test]
fn a_node_that_never_comes_back_is_forgotten_when_its_restart_time_is_over() {
    let mut topology = chain();
    for spec in &mut topology.nodes {
        spec.graceful_restart = Some(60);
    }
    let mut network = running(topology);
    rest(&mut network);
    let died = network.now();
    network.kill(NodeId(0), Death::Killed);
    network.run_until(died + Duration::from_secs(59));
    assert!(holds(&network, 1) && holds(&network, 2));
    network.run_until(died + Duration::from_secs(62));
    assert!(!holds(&network, 1) && !holds(&network, 2));
}

#[test]
fn a_network_that_holds_long_lived_stale_routes_has_not_come_to_rest() {
    let mut topology = chain();
    for spec in &mut topology.nodes {
        (spec.graceful_restart, spec.long_lived) = (Some(60), 900);
    }
    let mut network = running(topology);
    rest(&mut network);
    let died = network.now();
    network.kill(NodeId(0), Death::Killed);
    rest(&mut network);
    assert!(network.now() > died + Duration::from_secs(960), "{} s", (network.now() - died).as_secs());
    assert_eq!(checks::all(&network), Ok(()));
}

#[test]
fn what_an_operator_says_who_stops_a_session_is_known_at_the_other_end_until_it_is_up_again() {
    let mut network = running(chain());
    rest(&mut network);
    let heard = |network: &Network| {
        let session = network.speaker(NodeId(1))?.session(NodeId(0).as_peer())?;
        session.communication().map(str::to_owned)
    };
    assert_eq!(heard(&network), None);
    network.enable(NodeId(0), NodeId(1), false);
    // In which it tries to connect again and again, and fails.
    network.run_until(network.now() + Duration::from_secs(600));
    assert!(!network.is_up(NodeId(1), NodeId(0)));
    assert_eq!(heard(&network).as_deref(), Some(OPERATORS_WORDS));
    network.enable(NodeId(0), NodeId(1), true);
    rest(&mut network);
    assert_eq!((heard(&network), checks::all(&network)), (None, Ok(())));
}

/// How many ASes the route has passed that a node uses.
fn hops(network: &Network, node: u16) -> Option<usize> {
    let best = network.speaker(NodeId(node))?.rib().best();
    let change = best.into_iter().find(|change| change.prefix == prefix())?;
    Some(change.paths.first()?.attributes.as_path.asns().count())
}

#[test]
fn a_path_is_used_while_its_neighbour_restarts_and_then_only_where_there_is_no_other() {
    // The last node hears of the route from the first, and by way of the second.
    let mut topology = nodes(&[65001, 65002, 65003]);
    for (a, b) in [(0, 2), (0, 1), (1, 2)] {
        join(&mut topology, a, b, false);
    }
    originate(&mut topology, 0);
    for spec in &mut topology.nodes {
        (spec.graceful_restart, spec.notification, spec.long_lived) = (Some(60), true, 900);
    }
    let mut network = running(topology);
    rest(&mut network);
    // The hold timer expires 60 to 90 s after the link went, and the first may take 60 s to restart.
    let after = |network: &mut Network, link: usize, wait: Duration| {
        network.partition(link, true);
        network.run_until(network.now() + wait);
        hops(network, 2)
    };
    assert_eq!(after(&mut network, 0, Duration::from_secs(110)), Some(1), "it may restart");
    assert_eq!(after(&mut network, 0, Duration::from_secs(45)), Some(2), "it is no last choice (RFC 9494 section 4.3)");
    // Both are stale now, and the shorter is the better one again.
    assert_eq!(after(&mut network, 2, Duration::from_secs(155)), Some(1), "what is stale does not stay");
    network.partition(0, false);
    network.partition(2, false);
    rest(&mut network);
    assert_eq!(checks::all(&network), Ok(()));
}

/// A chain whose nodes keep routes across NOTIFICATIONs or not, with its last node's view of the first one's route while
/// `happens` and for two minutes after: whether it was there all the time.
fn kept_while(notification: bool, happens: impl FnOnce(&mut Network)) -> bool {
    let mut topology = chain();
    for spec in &mut topology.nodes {
        (spec.graceful_restart, spec.notification) = (Some(120), notification);
    }
    let mut network = running(topology);
    rest(&mut network);
    happens(&mut network);
    let end = network.now() + Duration::from_secs(120);
    let mut always = true;
    while network.now() < end {
        network.run_until(network.now() + Duration::from_millis(50));
        always &= holds(&network, 2);
    }
    network.partition(0, false);
    rest(&mut network);
    assert_eq!(checks::all(&network), Ok(()));
    always
}

#[test]
fn with_notification_support_a_link_that_is_silent_for_longer_than_the_hold_time_costs_no_route() {
    for notification in [true, false] {
        let kept = kept_while(notification, |network| network.partition(0, true));
        assert_eq!(kept, notification);
    }
}

#[test]
fn a_session_that_a_person_resets_costs_its_routes_with_notification_support_too() {
    for notification in [true, false] {
        assert!(!kept_while(notification, |network| network.reset_session(NodeId(0), NodeId(1))));
    }
}

fn with_communities(number: u32) -> Attributes {
    // None of them is well-known.
    Attributes { communities: (0..number).map(Community).collect(), ..own_route() }
}

/// The chain, in which only the first link may take extended messages (RFC 8654).
fn chain_with_short_messages(first_link_extended: bool) -> Topology {
    let mut topology = chain();
    for (node, peer) in [(0, 1), (1, 0), (1, 2), (2, 1)] {
        let spec = topology.nodes[node].peers.get_mut(&NodeId(peer)).expect("they are joined");
        spec.extensions.extended_messages = first_link_extended && node + usize::from(peer) == 1;
    }
    topology
}

fn withheld(network: &Network, node: u16, from: u16) -> usize {
    network.speaker(NodeId(node)).expect("it runs").rib().counts(NodeId(from).as_peer()).withheld
}

/// Has node 0 announce the prefix with so many communities in place of what it was announced with; says which of the other
/// two hold it and who withholds it from its next, when all is at rest and no session was lost.
fn after_communities(network: &mut Network, number: u32) -> ([bool; 2], [usize; 2]) {
    network.originate(NodeId(0), &[(prefix(), with_communities(number))]);
    rest(network);
    assert_eq!(network.ups_and_downs().1, 0, "{number} communities cost a session");
    for check in [checks::sessions_are_up, checks::reports_add_up, checks::what_is_sent_is_held, checks::nothing_waits]
    {
        assert_eq!(check(network), Ok(()), "{number} communities");
    }
    ([1, 2].map(|node| holds(network, node)), [withheld(network, 0, 1), withheld(network, 1, 2)])
}

/// RFC 4271 section 9.2. Of 4096 octets, 1011 communities leave room for a path of one AS, and not for one of two.
#[test]
fn a_route_that_outgrows_a_message_is_withdrawn_from_there_on_and_costs_no_session() {
    let mut network = running(chain_with_short_messages(false));
    rest(&mut network);
    for (communities, held, withheld) in [
        (1010, [true, true], [0, 0]),
        (1011, [true, false], [0, 1]),
        (1012, [false, false], [1, 0]),
        (1011, [true, false], [0, 1]),
        (1010, [true, true], [0, 0]),
    ] {
        assert_eq!(after_communities(&mut network, communities), (held, withheld), "{communities} communities");
    }
}

#[test]
fn a_route_of_an_extended_message_ends_before_the_link_that_takes_none() {
    let mut network = running(chain_with_short_messages(true));
    rest(&mut network);
    assert_eq!(after_communities(&mut network, 2000), ([true, false], [0, 1]));
    assert_eq!(after_communities(&mut network, 1), ([true, true], [0, 0]));
}

/// The chain, in which the first node has one prefix more than the second lets it send; those beside the one that is always there.
fn above_its_limit(limit: PrefixLimit) -> (Network, Vec<Prefix>) {
    let mut topology = chain();
    let more: Vec<Prefix> = (1..=limit.limit).map(|n| format!("10.2.{n}.0/24").parse().expect("a prefix")).collect();
    topology.nodes[0].originated.extend(more.iter().map(|prefix| (*prefix, own_route())));
    topology.nodes[1].peers.get_mut(&NodeId(0)).expect("a neighbour").max_prefixes = Some(limit);
    (running(topology), more)
}

/// When, in seconds from the first time, the second node's session with the first ends within this time.
fn ends(network: &mut Network, within: Duration) -> Vec<u64> {
    let (mut ends, mut up, last) = (Vec::new(), network.ups_and_downs().1, network.now() + within);
    while network.now() < last {
        network.run_until(network.now() + Duration::from_millis(100));
        let downs = network.ups_and_downs().1;
        if std::mem::replace(&mut up, downs) != downs {
            ends.push(network.now());
        }
    }
    assert!(network.violations().is_empty(), "{:?}", network.violations());
    ends.iter().map(|at| (*at - ends[0]).as_secs_f64().round() as u64).collect()
}

#[test]
fn a_session_above_its_prefix_limit_starts_again_when_and_as_often_as_its_limit_says() {
    let seconds = Duration::from_secs;
    for (action, expected) in [
        (LimitAction::Stop, &[0][..]),
        (LimitAction::Restart(Some(seconds(300))), &[0, 300, 600, 900, 1200, 1500]),
        (LimitAction::Restart(None), &[0, 60, 180, 420, 900]),
        (LimitAction::Warn, &[]),
    ] {
        let (mut network, _) = above_its_limit(PrefixLimit { action, ..PrefixLimit::new(3) });
        assert_eq!(ends(&mut network, seconds(1700)), expected, "{action:?}");
        let warns = if action == LimitAction::Warn { 1 } else { expected.len() as u64 };
        assert_eq!(network.warnings(), warns, "once a session, {action:?}");
        assert_eq!(holds(&network, 2), action == LimitAction::Warn, "{action:?}");
        // Whoever allows more has the session at once.
        network.set_limit(NodeId(1), NodeId(0), Some(PrefixLimit { action, ..PrefixLimit::new(4) }));
        network.run_until(network.now() + seconds(10));
        assert!(network.is_up(NodeId(1), NodeId(0)) && holds(&network, 2), "{action:?}");
        rest(&mut network);
        assert_eq!(checks::all(&network), Ok(()));
    }
}

#[test]
fn a_good_session_makes_a_neighbour_above_its_limit_wait_the_shortest_time_again() {
    let (mut network, more) = above_its_limit(PrefixLimit::new(3));
    assert_eq!(ends(&mut network, Duration::from_secs(300)), [0, 60, 180]);
    network.withdraw(NodeId(0), &more[..1]);
    assert_eq!(ends(&mut network, Duration::from_secs(1000)), [0; 0], "three are no more than it may send");
    network.originate(NodeId(0), &[(more[0], own_route())]);
    assert_eq!(ends(&mut network, Duration::from_secs(230)), [0, 60, 180]);
}

#[test]
fn a_neighbour_above_its_prefix_limit_is_ended_alone_each_time_until_it_says_less() {
    let stop = PrefixLimit { action: LimitAction::Stop, ..PrefixLimit::new(3) };
    let (mut network, more) = above_its_limit(stop);
    // It stays down until somebody starts it again.
    let start_again = |network: &mut Network| {
        [false, true].into_iter().for_each(|enabled| network.enable(NodeId(1), NodeId(0), enabled));
    };
    for _ in 0..3 {
        rest(&mut network);
        assert!(!network.is_up(NodeId(1), NodeId(0)), "one prefix too many");
        assert!(network.is_up(NodeId(1), NodeId(2)), "others have nothing to do with it");
        assert!(!holds(&network, 1) && !holds(&network, 2), "nothing of it is left");
        start_again(&mut network);
    }
    rest(&mut network);
    network.withdraw(NodeId(0), &more[..1]);
    start_again(&mut network);
    rest(&mut network);
    assert!(holds(&network, 1) && holds(&network, 2));
    assert_eq!(checks::all(&network), Ok(()));
}

/// RFC 6793: n1 knows two octets only, and its neighbours on both sides have numbers of four.
#[test]
fn a_path_is_whole_again_behind_a_speaker_of_two_octets() {
    let mut topology = nodes(&[70_001, 65002, 70_003, 70_004]);
    topology.nodes[1].two_octets = true;
    for (a, b) in [(0, 1), (1, 2), (2, 3)] {
        join(&mut topology, a, b, false);
    }
    let aggregator = Aggregator { asn: Asn(70_001), router_id: RouterId([10, 9, 9, 9].into()) };
    topology.nodes[0].originated.insert(prefix(), Attributes { aggregator: Some(aggregator), ..own_route() });
    let mut network = running(topology);
    rest(&mut network);
    assert_eq!(checks::all(&network), Ok(()));
    let best = |node: u16| {
        let best = network.speaker(NodeId(node)).expect("it runs").rib().best();
        best.iter().find(|change| change.prefix == prefix()).expect("it has it").paths[0].attributes.clone()
    };
    let (old, new) = (best(1), best(3));
    assert_eq!((old.as_path.to_string(), old.aggregator.map(|it| it.asn)), ("23456".to_owned(), Some(Asn::TRANS)));
    assert_eq!((new.as_path.to_string(), new.aggregator), ("70003 65002 70001".to_owned(), Some(aggregator)));
    assert!(new.unknown.is_empty(), "{new:?}");
}

#[test]
fn a_default_route_for_one_neighbour_is_passed_on_by_it_and_comes_and_goes_with_its_condition() {
    let default: Prefix = "0.0.0.0/0".parse().expect("a prefix");
    let mut topology = chain();
    let told = topology.nodes[1].peers.get_mut(&NodeId(2)).expect("they are joined");
    // It is told whatever the filter says.
    told.export = None;
    told.conduct.default_originate = DefaultOriginate::While(prefix());
    join(&mut topology, 2, 0, false);
    let mut network = running(topology);
    let path = |network: &Network, node: u16| {
        let best = network.speaker(NodeId(node)).expect("it runs").rib().best();
        let default = best.iter().find(|change| change.prefix == default);
        default.map(|change| change.paths[0].attributes.as_path.to_string())
    };
    for there in [true, false, true] {
        if there {
            network.originate(NodeId(0), &[(prefix(), own_route())]);
        } else {
            network.withdraw(NodeId(0), &[prefix()]);
        }
        rest(&mut network);
        assert_eq!(checks::all(&network), Ok(()));
        let expected = [Some("65003 65002"), None, Some("65002")].map(|path| path.filter(|_| there).map(str::to_owned));
        assert_eq!([0, 1, 2].map(|node| path(&network, node)), expected, "the condition holds: {there}");
    }
}

/// Kills the first node of a chain, or does not, and has BFD lose the path to it from the second, whose view of the route it says:
/// before that, right after it, and a minute later.
fn held_around_a_path_loss(graceful: bool, restarting: bool, independent: bool) -> [bool; 3] {
    let mut topology = chain();
    for spec in &mut topology.nodes {
        spec.graceful_restart = graceful.then_some(60);
    }
    let mut network = running(topology);
    rest(&mut network);
    if restarting {
        network.kill(NodeId(0), Death::Killed);
        network.run_until(network.now() + Duration::from_secs(1));
    }
    let before = holds(&network, 2);
    let lost = network.now();
    network.partition(0, true);
    network.lose_path(NodeId(1), NodeId(0), independent);
    network.run_until(lost + Duration::from_millis(100));
    assert!(!network.is_up(NodeId(1), NodeId(0)), "a session ends with its path");
    let after = holds(&network, 2);
    network.run_until(lost + Duration::from_secs(62));
    let last = holds(&network, 2);
    network.partition(0, false);
    network.start(NodeId(0), graceful);
    rest(&mut network);
    assert_eq!(checks::all(&network), Ok(()));
    [before, after, last]
}

/// RFC 5882 section 4.3.
#[test]
fn a_path_that_bfd_loses_costs_its_routes_unless_the_neighbour_may_only_restart() {
    for (graceful, restarting, independent, held) in [
        // Nothing was agreed on.
        (false, false, false, [true, false, false]),
        (false, false, true, [true, false, false]),
        // The neighbour's BFD may have gone down with its process, and its routes stay for the restart time.
        (true, false, false, [true, true, false]),
        // It has not, so the path is broken.
        (true, false, true, [true, false, false]),
        // The neighbour restarts, and its BFD with it.
        (true, true, false, [true, true, false]),
        // It restarts, and its path breaks meanwhile.
        (true, true, true, [true, false, false]),
    ] {
        let case = format!("graceful {graceful}, restarting {restarting}, C {independent}");
        assert_eq!(held_around_a_path_loss(graceful, restarting, independent), held, "{case}");
    }
}

/// Two ways to the first node's route at the last one, by neighbours that say what they can carry.
#[test]
fn traffic_is_shared_as_link_bandwidths_say_where_every_path_has_one() {
    let mut topology = nodes(&[65001, 65002, 65003, 65004]);
    for (a, b) in [(0, 1), (0, 2), (1, 3), (2, 3)] {
        join(&mut topology, a, b, false);
    }
    topology.nodes[3].max_paths = 2;
    originate(&mut topology, 0);
    let mut network = running(topology);
    for (said, weights) in [
        ([Some("10G"), Some("25G")], Some(vec![2, 5])),
        ([Some("10G"), None], None),
        ([Some("400M"), Some("10G")], Some(vec![1, 25])),
        ([Some("10G"), Some("10G")], None),
        ([None, None], None),
    ] {
        for (node, said) in [1u16, 2].into_iter().zip(said) {
            let mut policy = network.topology().peer(NodeId(node), NodeId(3)).expect("a neighbour").clone();
            let set = Set { link_bandwidth: said.map(|said| said.parse().expect("a bandwidth")), ..Set::default() };
            let rules = vec![Rule { set, ..Rule::accept(vec![]) }];
            policy.export = Some(Arc::new(Filter { name: "out".to_owned(), rules }));
            network.set_policy(NodeId(node), NodeId(3), policy);
        }
        rest(&mut network);
        assert_eq!(checks::all(&network), Ok(()), "{said:?}");
        let best = network.speaker(NodeId(3)).expect("it runs").rib().best();
        let paths = &best.iter().find(|change| change.prefix == prefix()).expect("it has it").paths;
        assert_eq!(paths.len(), 2);
        let shares = Shares::of(paths.iter().map(|path| (path.attributes.next_hop, path.bandwidth())));
        assert_eq!(shares.weights, weights, "{said:?}");
    }
}

/// RFC 8210, of a cache of either version, that says when there is news or is asked now and then.
#[test]
fn routes_come_and_go_with_what_an_rpki_cache_says_and_outlive_it_by_the_expire_interval() {
    let vrp = |asn: u32| Vrp::new(prefix(), 16, Asn(asn)).expect("a VRP");
    let (middle, seconds) = (NodeId(1), Duration::from_secs);
    for (old, notifies) in [(false, true), (false, false), (true, true), (true, false)] {
        let cache = CacheSpec { old, notifies, intervals: [50, 10, 600], expire: Some(120) };
        let mut topology = chain();
        let reject = Rule::reject(vec![Condition::Validation(vec![Validation::Invalid])]);
        let filter = Filter { name: "in".to_owned(), rules: vec![reject, Rule::accept(vec![])] };
        topology.nodes[1].peers.get_mut(&NodeId(0)).expect("a neighbour").import = Some(Arc::new(filter));
        (topology.nodes[1].vrps, topology.nodes[1].cache) = (Some([vrp(65009)].into()), Some(cache));
        let mut network = running(topology);
        let at_rest = |network: &mut Network, held: bool, what: &str| {
            rest(network);
            assert_eq!((holds(network, 1), holds(network, 2)), (held, held), "{what}, {cache:?}");
            assert_eq!(checks::all(network), Ok(()), "{what}, {cache:?}");
        };
        at_rest(&mut network, false, "another AS may originate it");
        network.change_vrp(middle, vrp(65001), true);
        at_rest(&mut network, true, "this one as well");
        network.change_vrp(middle, vrp(65001), false);
        network.cache_forgets(middle);
        at_rest(&mut network, false, "no longer, by a cache that cannot say what changed");
        // A cache that stops leaves behind what it said, until that is too old.
        network.run_until(network.now() + seconds(60));
        network.run_cache(middle, false, false);
        let stopped = network.now();
        network.run_until(stopped + seconds(55));
        assert!(!holds(&network, 1), "it is at most a minute old, and counts for two");
        network.run_until(stopped + seconds(125));
        assert!(holds(&network, 1), "what is that old does not count");
        at_rest(&mut network, true, "nobody says anything");
        network.run_cache(middle, true, false);
        network.run_until(network.now() + seconds(100));
        assert!(holds(&network, 1), "it has nothing to say yet");
        network.fill_cache(middle);
        at_rest(&mut network, false, "it has, in another session");
        // One that is back soon is asked for what has changed since its former life, and cannot say.
        network.change_vrp(middle, vrp(65001), true);
        network.run_cache(middle, false, false);
        network.run_until(network.now() + seconds(20));
        network.run_cache(middle, true, true);
        at_rest(&mut network, true, "it has changed its mind meanwhile");
        assert_eq!(network.known_vrps(middle), Some(2));
        network.cut_cache(middle);
        network.change_vrp(middle, vrp(65001), false);
        at_rest(&mut network, false, "it said so while the connection was lost");
    }
}

/// The chain, with a station and an archive of the node in the middle, which takes of the first node all but 10.2.0.0/16 and marks what it takes.
fn monitored_chain() -> Topology {
    let mut topology = chain();
    topology.nodes.iter_mut().for_each(|node| node.graceful_restart = Some(60));
    topology.nodes[1].monitored = true;
    // Some of its own, in both families, which has no next hop.
    let none = NextHop::V6 { global: Ipv6Addr::UNSPECIFIED, link_local: None };
    for (own, attributes) in
        [("10.9.0.0/16", own_route()), ("2001:db8:9::/48", Attributes { next_hop: none, ..own_route() })]
    {
        topology.nodes[1].originated.insert(own.parse().expect("a prefix"), attributes);
    }
    let refused = vec!["10.2.0.0/16".parse().expect("a prefix")];
    let mark = Set { add_communities: vec![Community(7).into()], ..Set::default() };
    let reject = Rule::reject(vec![Condition::Prefix(refused.into_iter().map(PrefixMatch::exact).collect())]);
    let rules = vec![reject, Rule { set: mark, ..Rule::accept(vec![]) }];
    let filter = Arc::new(Filter { name: "in".to_owned(), rules });
    topology.nodes[1].peers.get_mut(&NodeId(0)).expect("a neighbour").import = Some(filter);
    for other in ["10.2.0.0/16", "10.3.0.0/16", "10.4.0.0/16", "10.5.0.0/16"] {
        topology.nodes[0].originated.insert(other.parse().expect("a prefix"), own_route());
    }
    topology
}

#[test]
fn what_a_station_and_an_archive_are_told_comes_to_the_tables_of_their_node_whatever_befalls_them() {
    let mut network = running(monitored_chain());
    let refused: Prefix = "10.2.0.0/16".parse().expect("a prefix");
    let know = |network: &mut Network, what: &str| {
        rest(network);
        assert_eq!(checks::all(network), Ok(()), "{what}");
    };
    know(&mut network, "after the start");
    network.withdraw(NodeId(0), &[refused]);
    know(&mut network, "a refused path is gone");
    network.originate(NodeId(0), &[(refused, own_route()), (prefix(), with_communities(3))]);
    know(&mut network, "it is back, and another one has changed");
    let open = network.topology().peer(NodeId(1), NodeId(2)).expect("a neighbour").clone();
    network.set_policy(NodeId(1), NodeId(0), open);
    know(&mut network, "another filter takes all as it is");
    // It restarts gracefully, and says the same again, but for one path.
    network.kill(NodeId(0), Death::Killed);
    network.run_until(network.now() + Duration::from_secs(3));
    network.withdraw(NodeId(0), &[prefix()]);
    network.start(NodeId(0), true);
    know(&mut network, "a neighbour has restarted");
    // One that comes while paths change is told the table page by page, and what changes meanwhile.
    network.connect_station(NodeId(1));
    network.originate(NodeId(0), &[(prefix(), own_route())]);
    network.run_until(network.now() + Duration::from_millis(25));
    network.withdraw(NodeId(0), &["10.3.0.0/16", "10.5.0.0/16"].map(|text| text.parse().expect("a prefix")));
    know(&mut network, "it came amid changes");
    // One that comes while a neighbour restarts.
    network.kill(NodeId(0), Death::Killed);
    network.run_until(network.now() + Duration::from_secs(1));
    network.connect_station(NodeId(1));
    network.run_until(network.now() + Duration::from_secs(1));
    network.start(NodeId(0), true);
    know(&mut network, "it came while routes were kept for a neighbour");
    network.reset_session(NodeId(1), NodeId(0));
    know(&mut network, "a session was reset");
}

/// The chain, whose first two nodes watch the path between them: 300 ms, three times.
fn watched_chain(restart_time: Option<u16>) -> Topology {
    let mut topology = chain();
    for (node, peer) in [(0, 1), (1, 0)] {
        topology.nodes[node].graceful_restart = restart_time;
        topology.nodes[node].peers.get_mut(&NodeId(peer)).expect("they are joined").bfd = Some(Default::default());
    }
    topology
}

#[test]
fn bfd_notices_a_cut_link_in_its_detection_time_and_loses_nothing_to_a_lossy_one() {
    let mut topology = watched_chain(None);
    topology.nodes[1].peers.get_mut(&NodeId(0)).expect("a neighbour").bfd =
        Some(bfd::SessionConfig { detect_mult: 8, ..Default::default() });
    topology.nodes[0].peers.get_mut(&NodeId(1)).expect("a neighbour").bfd =
        Some(bfd::SessionConfig { detect_mult: 8, ..Default::default() });
    let mut network = running(topology);
    rest(&mut network);
    assert_eq!(checks::all(&network), Ok(()));
    network.lose_datagrams(0, 20);
    network.run_until(network.now() + Duration::from_secs(200));
    assert_eq!(network.ups_and_downs().1, 0, "one of five is lost, and eight would have to be");
    network.lose_datagrams(0, 0);
    network.run_until(network.now() + Duration::from_secs(1));
    let cut = network.now();
    network.partition(0, true);
    // Eight intervals, of which the last packet may be one old; jitter makes them shorter for the sender alone.
    network.run_until(cut + Duration::from_millis(8 * 300 - 310));
    assert!(network.is_up(NodeId(0), NodeId(1)) && network.is_up(NodeId(1), NodeId(0)));
    network.run_until(cut + Duration::from_millis(8 * 300 + 10));
    assert!(!network.is_up(NodeId(0), NodeId(1)) && !network.is_up(NodeId(1), NodeId(0)));
    assert!(!holds(&network, 2), "its route is withdrawn");
    network.partition(0, false);
    rest(&mut network);
    assert_eq!(checks::all(&network), Ok(()));
}

/// How the route of a chain's first node fares at the last one: two seconds after its death, two seconds after the link to it is
/// cut as well, and when a restart would have taken too long.
fn held_around_a_death(graceful: bool, outlives: bool, death: Death) -> [bool; 3] {
    let mut topology = watched_chain(graceful.then_some(60));
    topology.nodes[0].bfd_outlives = outlives;
    let mut network = running(topology);
    rest(&mut network);
    let died = network.now();
    network.kill(NodeId(0), death);
    let seen = |network: &mut Network, seconds: u64| {
        network.run_until(died + Duration::from_secs(seconds));
        holds(network, 2)
    };
    let after = seen(&mut network, 2);
    assert!(!network.is_up(NodeId(1), NodeId(0)), "{death:?} is noticed at once");
    seen(&mut network, 10);
    network.partition(0, true);
    let held = [after, seen(&mut network, 12), seen(&mut network, 64)];
    network.partition(0, false);
    network.start(NodeId(0), graceful);
    rest(&mut network);
    assert_eq!(checks::all(&network), Ok(()));
    held
}

/// RFC 5882 section 4.3: what the other end's BFD says of the path depends on whether it dies with its process.
#[test]
fn a_bfd_that_dies_with_its_process_costs_no_route_of_a_graceful_restart_and_one_that_outlives_it_does() {
    for (graceful, outlives, death, held) in [
        (false, false, Death::Killed, [false, false, false]),
        (false, true, Death::Killed, [false, false, false]),
        (true, false, Death::Killed, [true, true, false]),
        // Its host goes on forwarding and says so, until the link breaks.
        (true, true, Death::Killed, [true, false, false]),
        // A host without power could be one whose process restarts, unless its BFD would have outlived that.
        (true, false, Death::Power, [true, true, false]),
        (true, true, Death::Power, [false, false, false]),
        (false, false, Death::Power, [false, false, false]),
    ] {
        let case = format!("graceful {graceful}, outlives {outlives}, {death:?}");
        assert_eq!(held_around_a_death(graceful, outlives, death), held, "{case}");
    }
}

#[test]
fn the_late_death_of_an_old_bfd_session_costs_no_new_session_of_bgp() {
    let mut network = running(watched_chain(Some(60)));
    rest(&mut network);
    network.kill(NodeId(0), Death::Killed);
    // It is back before anybody could miss its BFD, of which nothing comes through for a while.
    network.lose_datagrams(0, 100);
    network.start(NodeId(0), true);
    network.run_until(network.now() + Duration::from_millis(500));
    assert!(network.is_up(NodeId(1), NodeId(0)), "the new session is up");
    assert_eq!(network.path_is_up(NodeId(1), NodeId(0)), Some(true), "the old BFD session is not missed yet");
    let downs = network.ups_and_downs().1;
    network.run_until(network.now() + Duration::from_secs(3));
    assert_eq!(network.path_is_up(NodeId(1), NodeId(0)), Some(false));
    assert_eq!(network.ups_and_downs().1, downs, "the new session pays for the old one's death");
    network.lose_datagrams(0, 0);
    rest(&mut network);
    assert_eq!(checks::all(&network), Ok(()));
}

/// RFC 5882 section 3.2.
#[test]
fn a_bfd_that_a_person_takes_away_says_nothing_about_the_path() {
    let mut network = running(watched_chain(None));
    rest(&mut network);
    network.set_bfd(NodeId(0), NodeId(1), None);
    network.run_until(network.now() + Duration::from_secs(5));
    assert_eq!(network.path_is_up(NodeId(1), NodeId(0)), Some(false), "it was told AdminDown");
    rest(&mut network);
    assert_eq!((network.ups_and_downs().1, checks::all(&network)), (0, Ok(())));
    network.set_bfd(NodeId(0), NodeId(1), Some(Default::default()));
    rest(&mut network);
    assert_eq!((network.path_is_up(NodeId(1), NodeId(0)), network.ups_and_downs().1), (Some(true), 0));
}
