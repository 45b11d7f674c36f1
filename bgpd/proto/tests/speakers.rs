//! Whole speakers, session and RIB together: routes and withdrawals flow from one to the next.

#[path = "speakers/net.rs"]
mod net;

use std::time::Duration;

use bgp_proto::filter::community::CommunityPattern;
use bgp_proto::filter::{Condition, Filter, PrefixMatch, Rule, Set};
use bgp_proto::rib::Scope;
use bgp_proto::session::{DownReason, State, Stop};
use bgp_proto::types::{ClusterId, Family, RouterId};
use bgp_proto::wire::Notification;
use bgp_proto::wire::community::Community;
use bgp_proto::wire::notification::Cease;
use net::{Net, Peering, accept, prefix};

fn shutdown() -> Stop {
    Stop::Cease(Notification::cease(Cease::AdministrativeShutdown))
}

#[test]
fn two_external_speakers_exchange_routes_of_both_families() {
    let mut net = Net::new(&[65001, 65002]);
    net.originate(0, "10.1.0.0/16");
    net.originate(0, "fd00:1::/48");
    net.join(0, 1, Peering::open(), Peering::open());
    net.originate(1, "10.2.0.0/16");
    assert_eq!([net.state(0, 1), net.state(1, 0)], [State::Established; 2]);
    assert_eq!(net.path(1, "10.1.0.0/16"), Some(("10.0.0.1".to_owned(), "65001".to_owned())));
    assert_eq!(net.path(1, "fd00:1::/48"), Some(("fd00::1".to_owned(), "65001".to_owned())));
    assert_eq!(net.path(0, "10.2.0.0/16"), Some(("10.0.0.2".to_owned(), "65002".to_owned())));
    assert_eq!(net.told(1), ["10.1.0.0/16", "10.2.0.0/16", "fd00:1::/48"]);
    net.withdraw(0, "10.1.0.0/16");
    net.withdraw(0, "fd00:1::/48");
    assert_eq!(net.told(1), ["10.2.0.0/16"]);
    assert_eq!(net.path(1, "10.1.0.0/16"), None);
}

#[test]
fn an_external_speaker_without_filters_neither_accepts_nor_sends() {
    for (exports, imports, arrives, kept) in [(true, true, true, 1), (true, false, false, 1), (false, true, false, 0)] {
        let mut net = Net::new(&[65001, 65002]);
        net.originate(0, "10.1.0.0/16");
        let sender = Peering { export: exports.then(accept), ..Peering::open() };
        let receiver = Peering { import: imports.then(accept), ..Peering::open() };
        net.join(0, 1, sender, receiver);
        assert_eq!(net.best(1, "10.1.0.0/16").is_some(), arrives, "{exports} {imports}");
        // What was rejected is kept, to be shown (RFC 8212).
        let peer = net.peer(1, 0);
        assert_eq!(net.speaker(1).rib().counts(peer).received, kept, "{exports} {imports}");
    }
}

#[test]
fn along_a_chain_the_as_path_grows_and_each_hop_is_its_own_next_hop() {
    let mut net = Net::new(&[65001, 65002, 65003]);
    net.join(0, 1, Peering::open(), Peering::open());
    net.join(1, 2, Peering::open(), Peering::open());
    net.originate(0, "10.1.0.0/16");
    assert_eq!(net.path(1, "10.1.0.0/16"), Some(("10.0.0.1".to_owned(), "65001".to_owned())));
    assert_eq!(net.path(2, "10.1.0.0/16"), Some(("10.0.0.2".to_owned(), "65002 65001".to_owned())));
    net.withdraw(0, "10.1.0.0/16");
    assert_eq!((net.told(1).len(), net.told(2).len()), (0, 0));
}

#[test]
fn filters_choose_and_change_what_passes_along_a_chain() {
    let community = Community(65002 << 16 | 7);
    let only = |text: &str| PrefixMatch { prefix: prefix(text), ge: 16, le: 24 };
    let import = Filter {
        name: "from-0".to_owned(),
        rules: vec![Rule {
            set: Set { local_pref: Some(200.into()), add_communities: vec![community.into()], ..Set::default() },
            ..Rule::accept(vec![Condition::Prefix(vec![only("10.0.0.0/8")])])
        }],
    };
    let export = Filter {
        name: "to-2".to_owned(),
        rules: vec![Rule {
            set: Set { prepend: 2, med: Some(50.into()), ..Set::default() },
            ..Rule::accept(vec![Condition::Community(vec![CommunityPattern::exactly(community.into())])])
        }],
    };
    let mut net = Net::new(&[65001, 65002, 65003]);
    net.join(0, 1, Peering::open(), Peering { import: Some(import), ..Peering::open() });
    net.join(1, 2, Peering { export: Some(export), ..Peering::open() }, Peering::open());
    for text in ["10.1.0.0/16", "10.1.1.0/25", "192.168.0.0/24"] {
        net.originate(0, text);
    }
    net.originate(1, "10.2.0.0/16");
    assert_eq!(net.told(1), ["10.1.0.0/16", "10.2.0.0/16"]);
    let at_1 = net.best(1, "10.1.0.0/16").expect("accepted");
    assert_eq!((at_1.attributes.local_pref, &at_1.attributes.communities[..]), (Some(200), &[community][..]));
    assert_eq!(net.told(2), ["10.1.0.0/16"], "without the community, nothing passes");
    assert_eq!(net.path(2, "10.1.0.0/16").expect("passed").1, "65002 65002 65002 65001");
    let at_2 = net.best(2, "10.1.0.0/16").expect("passed");
    assert_eq!((at_2.attributes.med, at_2.attributes.local_pref), (Some(50), None), "LOCAL_PREF stays inside its AS");
    let rejected = net.speaker(1).rib().routes(Scope::Rejected, None, 10, net.now);
    assert_eq!(rejected.len(), 2);
    assert!(rejected.iter().all(|route| route.reason.contains("from-0")), "{rejected:?}");
}

#[test]
fn a_route_reflector_passes_routes_between_its_clients_and_leaves_the_next_hop_alone() {
    // 0 reflects for 1 and 2; 3 and 4 are not clients.
    let mut net = Net::new(&[64512; 5]);
    let client = || Peering { client: true, ..Peering::closed() };
    net.join(0, 1, client(), Peering::closed());
    net.join(0, 2, client(), Peering::closed());
    net.join(0, 3, Peering::closed(), Peering::closed());
    net.join(0, 4, Peering::closed(), Peering::closed());
    net.originate(1, "10.1.0.0/16");
    net.originate(3, "10.3.0.0/16");
    let reflected = net.best(2, "10.1.0.0/16").expect("reflected from client to client");
    assert_eq!(net.path(2, "10.1.0.0/16"), Some(("10.0.0.2".to_owned(), String::new())));
    assert_eq!(reflected.attributes.originator_id, Some(RouterId([10, 0, 0, 2].into())));
    assert_eq!(&reflected.attributes.cluster_list[..], [ClusterId([10, 0, 0, 1].into())]);
    assert!(net.best(3, "10.1.0.0/16").is_some(), "from a client to a non-client");
    assert!(net.best(2, "10.3.0.0/16").is_some(), "from a non-client to a client");
    assert!(net.best(4, "10.3.0.0/16").is_none(), "never from a non-client to a non-client");
    net.withdraw(1, "10.1.0.0/16");
    assert_eq!((net.told(2), net.told(3)), (vec!["10.3.0.0/16".to_owned()], vec!["10.3.0.0/16".to_owned()]));
}

#[test]
fn a_session_that_ends_withdraws_everything_it_brought_and_brings_it_back_when_it_returns() {
    let mut net = Net::new(&[65001, 65002, 65003]);
    net.join(0, 1, Peering::open(), Peering::open());
    net.join(1, 2, Peering::open(), Peering::open());
    net.originate(0, "10.1.0.0/16");
    let peer = net.peer(0, 1);
    net.at(0, |speaker, now| speaker.stop_peer(peer, shutdown(), now));
    assert_eq!((net.told(1).len(), net.told(2).len()), (0, 0));
    assert!(matches!(net.downs(1), [(_, DownReason::Received(_))]), "{:?}", net.downs(1));
    net.advance(Duration::from_secs(60));
    net.at(0, |speaker, now| speaker.start_peer(peer, now));
    net.advance(Duration::from_secs(60));
    assert_eq!((net.told(1), net.told(2)), (vec!["10.1.0.0/16".to_owned()], vec!["10.1.0.0/16".to_owned()]));
}

#[test]
fn a_peer_that_is_removed_leaves_nothing_behind() {
    let mut net = Net::new(&[65001, 65002]);
    net.join(0, 1, Peering::open(), Peering::open());
    net.originate(0, "10.1.0.0/16");
    let peer = net.peer(1, 0);
    net.at(1, |speaker, now| speaker.remove_peer(peer, now));
    assert_eq!(net.told(1).len(), 0);
    assert!(net.speaker(1).session(peer).is_none());
    let [(_, DownReason::Received(said))] = net.downs(0) else { panic!("{:?}", net.downs(0)) };
    assert_eq!(said.to_string(), "Cease / Peer De-configured");
}

#[test]
fn with_graceful_restart_a_lost_connection_takes_no_route_away() {
    let graceful = || Peering { graceful_restart: true, ..Peering::open() };
    let mut net = Net::new(&[65001, 65002]);
    net.join(0, 1, graceful(), graceful());
    net.originate(0, "10.1.0.0/16");
    net.originate(0, "10.2.0.0/16");
    net.advance(Duration::from_secs(60));
    let peer = net.peer(0, 1);
    net.at(0, |speaker, now| speaker.stop_peer(peer, Stop::Silent, now));
    assert_eq!(net.told(1).len(), 2);
    assert!(net.best(1, "10.1.0.0/16").expect("kept").stale);
    // While it is away, one of the two goes.
    net.withdraw(0, "10.2.0.0/16");
    net.at(0, |speaker, now| speaker.start_peer(peer, now));
    net.advance(Duration::from_secs(30));
    assert_eq!(net.told(1), ["10.1.0.0/16"], "End-of-RIB swept what did not come again");
    assert!(!net.best(1, "10.1.0.0/16").expect("back").stale);
}

#[test]
fn with_graceful_restart_a_peer_that_does_not_return_loses_its_routes_in_time() {
    let graceful = || Peering { graceful_restart: true, ..Peering::open() };
    let mut net = Net::new(&[65001, 65002]);
    net.join(0, 1, graceful(), graceful());
    net.originate(0, "10.1.0.0/16");
    let peer = net.peer(0, 1);
    net.at(0, |speaker, now| speaker.stop_peer(peer, Stop::Silent, now));
    net.advance(Duration::from_secs(59));
    assert_eq!(net.told(1).len(), 1);
    net.advance(Duration::from_secs(2));
    assert_eq!(net.told(1).len(), 0);
}

#[test]
fn a_cut_connection_without_graceful_restart_withdraws_and_heals() {
    let mut net = Net::new(&[65001, 65002]);
    net.join(0, 1, Peering::open(), Peering::open());
    net.originate(0, "10.1.0.0/16");
    net.cut(0, 1);
    assert!(matches!(net.downs(1), [(_, DownReason::ConnectionLost(_))]), "{:?}", net.downs(1));
    net.advance(Duration::from_secs(60));
    assert_eq!(net.told(1), ["10.1.0.0/16"]);
}

#[test]
fn a_peer_that_sends_too_many_prefixes_is_told_why_and_stays_down() {
    let mut net = Net::new(&[65001, 65002]);
    net.join(0, 1, Peering::open(), Peering { max_prefixes: Some(2), ..Peering::open() });
    for text in ["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"] {
        net.originate(0, text);
    }
    net.advance(Duration::from_secs(600));
    assert_eq!((net.state(1, 0), net.told(1).len()), (State::Idle, 0));
    let (_, DownReason::Received(said)) = &net.downs(0)[0] else { panic!("{:?}", net.downs(0)) };
    assert_eq!(said.to_string(), "Cease / Maximum Number of Prefixes Reached");
}

#[test]
fn a_refresh_brings_every_route_again() {
    let mut net = Net::new(&[65001, 65002]);
    net.join(0, 1, Peering::open(), Peering::open());
    for text in ["10.1.0.0/16", "10.2.0.0/16"] {
        net.originate(0, text);
    }
    let peer = net.peer(1, 0);
    let updates = |net: &Net| net.speaker(1).session(peer).expect("there").counters().received[1];
    let before = updates(&net);
    net.at(1, |speaker, now| assert!(speaker.request_refresh(peer, Family::Ipv4Unicast, now)));
    assert!(updates(&net) > before);
    assert_eq!(net.told(1).len(), 2);
}

#[test]
fn what_the_network_has_taken_is_not_counted_against_a_peer() {
    let mut net = Net::new(&[65001, 65002]);
    net.join(0, 1, Peering::open(), Peering::open());
    for third in 0..250 {
        net.originate(0, &format!("10.1.{third}.0/24"));
    }
    net.advance(Duration::from_secs(300));
    let peer = net.peer(0, 1);
    assert_eq!(net.speaker(0).rib().counts(peer).advertised, 250);
    assert_eq!(net.speaker(0).rib().counts(peer).unsent_bytes, 0);
    assert_eq!(net.told(1).len(), 250);
}
