//! Links without addresses: neighbours that find each other, and whatever keeps them from it.

use bgp_proto::session::State;
use bgp_proto::types::Interface;
use bgp_sim::faults::STRANGER;

use super::*;

/// A chain of links without addresses, down which a route of each family goes.
fn bare_chain() -> Topology {
    let mut topology = chain();
    topology.links.iter_mut().for_each(|link| (link.over_ipv6, link.unnumbered) = (true, true));
    let own = Attributes { next_hop: NextHop::V6 { global: Ipv6Addr::UNSPECIFIED, link_local: None }, ..own_route() };
    topology.nodes[0].originated.insert("2001:db8:1::/48".parse().expect("a prefix"), own);
    topology
}

/// The link-local address of a node that has been renumbered so often.
fn address(node: u16, renumbered: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, renumbered, node)
}

fn are_up(network: &Network, a: u16, b: u16) -> [bool; 2] {
    [network.is_up(NodeId(a), NodeId(b)), network.is_up(NodeId(b), NodeId(a))]
}

/// Where both routes lead at a node.
fn gateways(network: &Network, node: u16) -> Vec<(std::net::IpAddr, Option<Interface>)> {
    let best = network.speaker(NodeId(node)).expect("it runs").rib().best();
    best.iter().map(|change| change.paths[0].attributes.next_hop.gateway()).collect()
}

fn run_for(network: &mut Network, milliseconds: u64) {
    network.run_until(network.now() + Duration::from_millis(milliseconds));
}

fn at_rest(network: &mut Network, what: &str) {
    rest(network);
    assert_eq!(checks::all(network), Ok(()), "{what}");
}

/// RFC 8950 over RFC 2545: each node passes on its own end of the next link, since the end of another means nothing there.
#[test]
fn routes_of_both_families_go_down_a_chain_of_links_without_addresses() {
    let mut network = running(bare_chain());
    at_rest(&mut network, "after the start");
    assert!(network.ups_and_downs().0.since_start() < Duration::from_secs(3), "nobody waits for a timer");
    for node in [1, 2] {
        let through = (address(node - 1, 0).into(), Interface::new(&format!("link{}", node - 1)));
        assert_eq!(gateways(&network, node), [through; 2]);
    }
}

#[test]
fn neighbours_find_each_other_although_most_advertisements_are_lost_and_others_come_late_or_twice() {
    let mut network = Network::new(bare_chain(), 7, Transcript::new(None));
    network.lose_datagrams(0, 70);
    network.topology().ids().for_each(|node| network.start(node, false));
    at_rest(&mut network, "on a lossy link");
    network.lose_datagrams(0, 100);
    run_for(&mut network, 100_000);
    assert_eq!(
        (are_up(&network, 0, 1), network.ups_and_downs().1),
        ([true; 2], 0),
        "a session needs no advertisements"
    );
    network.reset_session(NodeId(0), NodeId(1));
    at_rest(&mut network, "who was found stays found, and by its connection");
}

/// RFC 4861 section 6.1.2.
#[test]
fn what_is_to_be_discarded_finds_nobody_and_costs_no_session() {
    let mut network = Network::new(bare_chain(), 7, Transcript::new(None));
    network.start(NodeId(0), false);
    network.forge(0);
    run_for(&mut network, 100);
    assert_eq!(network.found(NodeId(0), NodeId(1)), None);
    [1, 2].into_iter().for_each(|node| network.start(NodeId(node), false));
    run_for(&mut network, 5_000);
    network.forge(0);
    at_rest(&mut network, "after forgeries");
    assert_eq!(network.ups_and_downs().1, 0);
}

#[test]
fn a_stranger_that_is_heard_first_is_taken_for_the_neighbour_until_it_has_been_silent_for_thirty_seconds() {
    let mut network = Network::new(bare_chain(), 7, Transcript::new(None));
    // It is heard by the first node; the second one comes when it has found that.
    network.set_stranger(0, Some(STRANGER));
    network.start(NodeId(0), false);
    run_for(&mut network, 4_500);
    [1, 2].into_iter().for_each(|node| network.start(NodeId(node), false));
    at_rest(&mut network, "with a stranger");
    assert_eq!(network.found(NodeId(0), NodeId(1)), Some(STRANGER));
    assert_eq!((are_up(&network, 0, 1), are_up(&network, 1, 2)), ([false; 2], [true; 2]));
    network.set_stranger(0, None);
    let gone = network.now();
    run_for(&mut network, 25_000);
    assert_eq!(network.found(NodeId(0), NodeId(1)), Some(STRANGER), "it was heard at most 4 s ago when it went");
    network.run_until(gone + Duration::from_secs(45));
    assert_eq!(are_up(&network, 0, 1), [true; 2]);
    at_rest(&mut network, "without the stranger");
}

#[test]
fn a_stranger_that_comes_later_or_knocks_changes_nothing_and_one_that_knocks_first_is_in_the_way() {
    let mut network = running(bare_chain());
    at_rest(&mut network, "after the start");
    network.set_stranger(0, Some(STRANGER));
    for side in [0, 1] {
        run_for(&mut network, 40_000);
        network.knock(0, side);
    }
    at_rest(&mut network, "with a stranger");
    assert_eq!((are_up(&network, 0, 1), network.ups_and_downs().1), ([true; 2], 0));
    for side in [0, 1] {
        network.unplug(0, side, true);
    }
    network.unplug(0, 0, false);
    network.knock(0, 0);
    assert_eq!(network.found(NodeId(0), NodeId(1)), None, "nothing comes through while the other end is down");
    network.unplug(0, 1, false);
    network.knock(0, 1);
    assert_eq!(network.found(NodeId(1), NodeId(0)), Some(STRANGER));
    at_rest(&mut network, "behind one that knocked first");
    network.set_stranger(0, None);
    at_rest(&mut network, "without the stranger");
    assert_eq!(are_up(&network, 0, 1), [true; 2]);
}

#[test]
fn a_neighbour_with_another_address_is_found_by_it_and_routes_lead_there() {
    for seed in [7, 8, 9, 10] {
        let mut network = Network::new(bare_chain(), seed, Transcript::new(None));
        network.topology().ids().for_each(|node| network.start(node, false));
        at_rest(&mut network, "after the start");
        for times in 1..=2 {
            network.renumber(0, 0);
            assert!(!network.is_up(NodeId(0), NodeId(1)), "its own address is gone");
            at_rest(&mut network, "renumbered");
            assert_eq!(network.found(NodeId(1), NodeId(0)), Some(address(0, times)));
            let through = (address(0, times).into(), Interface::new("link0"));
            assert_eq!((gateways(&network, 1), are_up(&network, 0, 1)), (vec![through; 2], [true; 2]));
        }
    }
}

#[test]
fn an_interface_that_goes_down_ends_the_session_at_once_and_is_up_again_soon_after_it() {
    let mut network = running(bare_chain());
    at_rest(&mut network, "after the start");
    // Behind a switch the other end sees nothing of it.
    network.unplug(0, 0, true);
    assert_eq!(are_up(&network, 0, 1), [false, true]);
    network.unplug(0, 0, false);
    run_for(&mut network, 3_000);
    assert_eq!(are_up(&network, 0, 1), [true; 2]);
    [0, 1].into_iter().for_each(|side| network.unplug(0, side, true));
    assert_eq!((are_up(&network, 0, 1), network.found(NodeId(1), NodeId(0))), ([false; 2], None));
    run_for(&mut network, 10);
    assert!(!holds(&network, 2), "its route is withdrawn");
    run_for(&mut network, 60_000);
    [0, 1].into_iter().for_each(|side| network.unplug(0, side, false));
    run_for(&mut network, 3_000);
    assert_eq!(are_up(&network, 0, 1), [true; 2]);
    at_rest(&mut network, "with the link up");
}

/// A chain in which only one of the first two nodes opens connections.
fn with_a_passive_node(passive: usize) -> Topology {
    let mut topology = bare_chain();
    topology.nodes[passive].peers.get_mut(&NodeId(1 - passive as u16)).expect("a neighbour").passive = true;
    topology
}

/// A chain of which the first node waits for the OPEN of the second, which has lost power.
fn half_open() -> Network {
    let mut network = running(with_a_passive_node(1));
    let state = |network: &Network| {
        let speaker = network.speaker(NodeId(0)).expect("it runs");
        speaker.session(NodeId(1).as_peer()).expect("a neighbour").state()
    };
    while state(&network) != State::OpenSent {
        network.run_until(network.now() + Duration::from_micros(500));
        assert!(network.now().since_start() < Duration::from_secs(10), "{:?}", state(&network));
    }
    network.kill(NodeId(1), Death::Power);
    run_for(&mut network, 35_000);
    assert_eq!(state(&network), State::OpenSent);
    network
}

#[test]
fn a_session_that_waits_for_an_open_from_where_the_neighbour_was_begins_anew_where_it_is_now() {
    let mut network = half_open();
    network.renumber(0, 1);
    network.start(NodeId(1), false);
    run_for(&mut network, 10_000);
    assert_eq!(network.found(NodeId(0), NodeId(1)), Some(address(1, 1)));
    assert_eq!(are_up(&network, 0, 1), [true; 2]);
    at_rest(&mut network, "with another address");
}

#[test]
fn an_attempt_that_was_under_way_when_the_link_went_down_makes_no_session_without_a_neighbour() {
    let mut network = running(with_a_passive_node(0));
    while network.found(NodeId(1), NodeId(0)).is_none() {
        network.run_until(network.now() + Duration::from_micros(500));
    }
    [0, 1].into_iter().for_each(|side| network.unplug(0, side, true));
    run_for(&mut network, 500);
    network.lose_datagrams(0, 100);
    [0, 1].into_iter().for_each(|side| network.unplug(0, side, false));
    for _ in 0..5000 {
        run_for(&mut network, 1);
        assert_eq!(checks::neighbours_are_the_first_heard(&network), Ok(()));
    }
    network.lose_datagrams(0, 0);
    at_rest(&mut network, "when advertisements come through");
}

/// RFC 4271 section 9.1.2.2 g.
#[test]
fn of_two_neighbours_with_one_identifier_and_no_address_the_lower_link_local_one_counts() {
    let mut topology = nodes(&[65001, 65002, 65003]);
    join(&mut topology, 0, 1, false);
    join(&mut topology, 1, 2, false);
    topology.links.iter_mut().for_each(|link| (link.over_ipv6, link.unnumbered) = (true, true));
    [0, 2].into_iter().for_each(|node| originate(&mut topology, node));
    topology.nodes[2].router_id = topology.nodes[0].router_id;
    let mut network = running(topology);
    for (link, side, counts) in [(0, 0, 2), (1, 1, 0), (1, 1, 0), (0, 0, 0), (0, 0, 2)] {
        network.renumber(link, side);
        at_rest(&mut network, "with another address");
        let lower = u16::from(counts == 2);
        assert_eq!(gateways(&network, 1)[0].1, Interface::new(&format!("link{lower}")));
    }
}
