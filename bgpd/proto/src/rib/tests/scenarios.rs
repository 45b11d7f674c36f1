//! One behaviour each.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use super::world::*;
use crate::filter::{Condition, Filter, Rule, Set};
use crate::rib::{Awaited, PageStart, PeerPolicy, Rib, Scope};
use crate::session::Established;
use crate::types::{ClusterId, Family, NextHop, PeerId, Prefix, RouterId};
use crate::wire::community::Community;

const EBGP: Role = Role::External(65001);

fn many(count: u32) -> Vec<Prefix> {
    let at = |number: u32| Ipv4Addr::from(0x0a00_0000 + (number << 8));
    (0..count).filter_map(|number| Prefix::new(at(number).into(), 24)).collect()
}

#[test]
fn a_rib_may_live_on_a_thread_of_its_own() {
    fn moves<T: Send>(_: T) {}
    moves::<Rib>(World::new().rib);
}

#[test]
fn a_route_goes_to_everyone_but_the_peer_it_came_from() {
    let mut world = World::new();
    for peer in [1, 2, 3] {
        world.up(peer, EBGP);
    }
    world.settle();
    world.hear(1, vec![announce(route(1, &[65001, 1]), &[prefix("10.1.0.0/16")])]);
    world.settle();
    assert_eq!((world.holds(1), world.holds(2), world.holds(3)).0, Vec::<String>::new());
    for peer in [2, 3] {
        let held = &world.ears[&peer].holds[&prefix("10.1.0.0/16")];
        assert_eq!(held.as_path.asns().map(|asn| asn.0).collect::<Vec<_>>(), [64512, 65001, 1]);
        assert_eq!(held.next_hop, NextHop::V4(our_address()));
    }
    world.hear(1, vec![withdraw(&[prefix("10.1.0.0/16")])]);
    world.settle();
    assert!(world.holds(2).is_empty() && world.best.is_empty());
}

#[test]
fn when_the_best_path_moves_its_old_source_hears_it_and_its_new_source_no_more() {
    let mut world = World::new();
    for peer in [1, 2, 3] {
        world.up(peer, EBGP);
    }
    let net = prefix("10.1.0.0/16");
    world.hear(1, vec![announce(route(1, &[65001, 7]), &[net])]);
    world.settle();
    let said = world.ears[&3].said;
    world.hear(2, vec![announce(route(2, &[65001]), &[net])]);
    world.settle();
    assert_eq!(world.holds(1).len() + world.holds(3).len(), 2);
    assert!(world.holds(2).is_empty());
    assert_eq!(world.ears[&3].said, said + 1);
}

#[test]
fn a_change_of_source_with_the_same_attributes_is_told_only_to_both_sources() {
    let mut world = World::new();
    for peer in [1, 2, 3] {
        world.up(peer, EBGP);
    }
    let net = prefix("10.1.0.0/16");
    // Peer 1 wins by router id; towards other AS both look the same.
    world.hear(2, vec![announce(route(2, &[65001]), &[net])]);
    world.settle();
    let said = world.ears[&3].said;
    world.hear(1, vec![announce(route(1, &[65001]), &[net])]);
    world.settle();
    assert_eq!(world.ears[&3].said, said, "nothing is new to a third peer");
    assert_eq!((world.holds(1).len(), world.holds(2).len()), (0, 1));
}

#[test]
fn an_announcement_that_says_the_same_again_changes_nothing() {
    let mut world = World::new();
    world.up(1, EBGP);
    world.up(2, EBGP);
    let update = announce(route(1, &[65001]), &[prefix("10.1.0.0/16")]);
    world.hear(1, vec![update.clone()]);
    world.settle();
    let before = (world.best_changes, world.ears[&2].said);
    world.hear(1, vec![update]);
    world.settle();
    assert_eq!((world.best_changes, world.ears[&2].said), before);
}

#[test]
fn an_external_peer_without_filters_is_heard_by_nobody_and_hears_nothing() {
    let mut world = World::new();
    let mut closed = policy(1, EBGP);
    (closed.import, closed.export) = (None, None);
    world.up_with(1, EBGP, closed.clone(), None);
    world.up(2, EBGP);
    world.hear(1, vec![announce(route(1, &[65001]), &[prefix("10.1.0.0/16")])]);
    world.rib.originate(prefix("10.9.0.0/16"), local(), world.now);
    world.settle();
    assert_eq!(world.holds(1), Vec::<String>::new());
    assert_eq!(world.holds(2), ["10.9.0.0/16"]);
    let rejected = world.rib.routes(Scope::Rejected, None, 10, world.now);
    assert_eq!(rejected.len(), 1);
    assert!(rejected[0].reason.contains("RFC 8212"), "{}", rejected[0].reason);

    // With filters the kept route is taken without asking the peer, and it hears ours.
    world.rib.set_peer(PeerId(1), policy(1, EBGP), world.now);
    world.settle();
    assert_eq!(world.holds(1), ["10.9.0.0/16"]);
    assert_eq!(world.holds(2), ["10.1.0.0/16", "10.9.0.0/16"]);
}

#[test]
fn a_changed_export_filter_withdraws_what_it_no_longer_lets_through() {
    let mut world = World::new();
    world.up(1, EBGP);
    world.up(2, EBGP);
    for net in ["10.1.0.0/16", "10.2.0.0/16"] {
        world.rib.originate(prefix(net), local(), world.now);
    }
    world.settle();
    let only = Rule::accept(vec![Condition::Prefix(vec!["10.2.0.0/16".parse().unwrap()])]);
    let filter = Filter { name: "only".into(), rules: vec![only] };
    let narrow = PeerPolicy { export: Some(Arc::new(filter)), ..policy(1, EBGP) };
    world.rib.set_peer(PeerId(1), narrow, world.now);
    world.settle();
    assert_eq!((world.holds(1).len(), world.holds(2).len()), (1, 2));
    assert_eq!(world.rib.counts(PeerId(1)).advertised, 1);
    assert_eq!(world.ears[&1].ended.len(), 2, "End-of-RIB is said once for each family");
}

#[test]
fn an_import_filter_sets_attributes_and_what_it_rejects_says_which_rule() {
    let mut world = World::new();
    let rules = vec![
        Rule::reject(vec![Condition::Community(vec!["0:666".parse().unwrap()])]),
        Rule { set: Set { local_pref: Some(300.into()), ..Set::default() }, ..Rule::accept(vec![]) },
    ];
    let filter = Arc::new(Filter { name: "from-tor".into(), rules });
    world.up_with(1, EBGP, PeerPolicy { import: Some(filter), ..policy(1, EBGP) }, None);
    let mut bad = route(1, &[65001]);
    bad.communities = vec![Community(666)].into();
    world.hear(1, vec![announce(bad, &[prefix("10.1.0.0/16")])]);
    world.hear(1, vec![announce(route(1, &[65001]), &[prefix("10.2.0.0/16")])]);
    world.settle();
    assert_eq!(world.best[&prefix("10.2.0.0/16")][0].attributes.local_pref, Some(300));
    let rejected = world.rib.routes(Scope::Rejected, None, 10, world.now);
    assert_eq!(rejected[0].reason, "rejected by import filter \"from-tor\", rule 1");
    let counts = world.rib.counts(PeerId(1));
    assert_eq!((counts.received, counts.accepted), (2, 1));
}

#[test]
fn loops_and_martians_are_rejected_with_their_reason() {
    let mut world = World::new();
    world.up(1, EBGP);
    world.up(2, Role::Internal);
    let cases = [
        (1, route(1, &[65001, 64512]), "10.1.0.0/16", "own AS"),
        (
            2,
            {
                let mut r = route(2, &[]);
                r.originator_id = Some(OUR_ID);
                r
            },
            "10.2.0.0/16",
            "originator",
        ),
        (
            2,
            {
                let mut r = route(2, &[]);
                r.cluster_list = vec![ClusterId(OUR_ID.0)].into();
                r
            },
            "10.3.0.0/16",
            "cluster",
        ),
        (
            1,
            {
                let mut r = route(1, &[65001]);
                r.next_hop = NextHop::V4(our_address());
                r
            },
            "10.4.0.0/16",
            "next hop",
        ),
        (1, route(1, &[65001]), "127.1.0.0/16", "never routed"),
    ];
    for (peer, attributes, net, reason) in cases {
        world.hear(peer, vec![announce(attributes, &[prefix(net)])]);
        world.settle();
        let views = world.rib.routes(Scope::Rejected, Some(prefix(net)), 10, world.now);
        assert!(views.len() == 1 && views[0].reason.contains(reason), "{net}: {views:?}");
    }
    assert!(world.best.is_empty());
}

#[test]
fn equal_paths_make_a_multipath_set_best_first() {
    let mut world = World::new();
    for peer in [3, 1, 2] {
        world.up(peer, Role::External(65000 + u32::from(peer)));
        world.hear(peer, vec![announce(route(peer, &[65000 + u32::from(peer)]), &[prefix("10.1.0.0/16")])]);
    }
    world.settle();
    let peers: Vec<u16> = world.best[&prefix("10.1.0.0/16")].iter().map(|path| path.peer.0).collect();
    assert_eq!(peers, [1, 2, 3]);
    let views = world.rib.routes(Scope::Local, None, 10, world.now);
    assert_eq!(views[0].reason, "best: won at 8 router id");
    assert!(views.iter().all(|view| view.multipath) && views[0].best && !views[1].best);
    world.down(1, None);
    world.settle();
    let peers: Vec<u16> = world.best[&prefix("10.1.0.0/16")].iter().map(|path| path.peer.0).collect();
    assert_eq!(peers, [2, 3]);
}

#[test]
fn a_peer_that_restarts_keeps_its_routes_until_its_end_of_rib() {
    let mut world = World::new();
    world.up_with(1, EBGP, policy(1, EBGP), restarts(false, true));
    let (kept, lost) = (prefix("10.1.0.0/16"), prefix("10.2.0.0/16"));
    world.hear(1, vec![announce(route(1, &[65001]), &[kept, lost])]);
    world.settle();
    let changes = world.best_changes;
    world.down(1, Some(Duration::from_secs(120)));
    world.settle();
    assert!(world.rib.routes(Scope::Local, None, 10, world.now).iter().all(|view| view.stale));
    world.pass(Duration::from_secs(20));
    assert_eq!(retained(&world, 1), [(2, false, Some(100))]);
    world.connect(1, EBGP, restarts(true, true));
    assert_eq!(retained(&world, 1), [(2, false, Some(60))], "now for its End-of-RIB");
    world.hear(1, vec![announce(route(1, &[65001]), &[kept])]);
    world.settle();
    assert_eq!(retained(&world, 1), [(1, false, Some(60))]);
    assert_eq!(world.best_changes, changes, "nothing moves while it restarts");
    world.hear(1, vec![end_of_rib(Family::Ipv4Unicast)]);
    world.settle();
    assert_eq!(world.best.keys().copied().collect::<Vec<_>>(), [kept]);
    assert!(!world.rib.routes(Scope::Local, None, 10, world.now)[0].stale);
    assert_eq!(retained(&world, 1), []);
}

#[test]
fn stale_routes_go_when_the_time_is_over_or_forwarding_was_lost() {
    for back in [None, restarts(true, false)] {
        let mut world = World::new();
        world.up_with(1, EBGP, policy(1, EBGP), restarts(false, true));
        world.hear(1, vec![announce(route(1, &[65001]), &[prefix("10.1.0.0/16")])]);
        world.settle();
        world.down(1, Some(Duration::from_secs(120)));
        world.settle();
        assert_eq!(world.best.len(), 1);
        match back {
            Some(restart) => world.connect(1, EBGP, Some(restart)),
            None => world.pass(Duration::from_secs(121)),
        }
        world.settle();
        assert!(world.best.is_empty());
    }
}

#[test]
fn what_is_kept_of_a_peer_goes_when_its_path_is_lost_and_what_it_has_announced_since_stays() {
    for back in [false, true] {
        let mut world = World::new();
        world.up_with(1, EBGP, policy(1, EBGP), restarts(false, true));
        world.hear(1, vec![announce(route(1, &[65001]), &[prefix("10.1.0.0/16")])]);
        world.down(1, Some(Duration::from_secs(120)));
        if back {
            world.connect(1, EBGP, restarts(true, true));
        }
        world.rib.drop_retained(PeerId(1));
        world.settle();
        assert_eq!(world.best.len(), usize::from(back));
    }
}

#[test]
fn routes_that_were_stale_already_do_not_outlive_a_second_restart() {
    let mut world = World::new();
    world.up_with(1, EBGP, policy(1, EBGP), restarts(false, true));
    world.hear(1, vec![announce(route(1, &[65001]), &[prefix("10.1.0.0/16")])]);
    world.down(1, Some(Duration::from_secs(120)));
    world.connect(1, EBGP, restarts(true, true));
    world.down(1, Some(Duration::from_secs(120)));
    world.settle();
    assert!(world.best.is_empty());
}

#[test]
fn after_our_restart_nothing_but_our_own_is_said_until_every_peer_has_said_end_of_rib() {
    let mut world = World::with_deferral(Some(Duration::from_secs(120)));
    world.rib.set_peer(PeerId(2), policy(2, EBGP), world.now);
    world.up_with(1, EBGP, policy(1, EBGP), restarts(false, true));
    world.hear(1, vec![announce(route(1, &[65001]), &[prefix("10.1.0.0/16")]), end_of_rib(Family::Ipv4Unicast)]);
    world.rib.originate(prefix("10.9.0.0/16"), local(), world.now);
    world.settle();
    assert_eq!((world.best.len(), world.holds(1)), (1, vec!["10.9.0.0/16".to_owned()]), "only what we originate");
    assert!(world.converged.is_empty() && world.ears[&1].ended.is_empty());
    let deferral = world.rib.deferral(world.now).expect("it waits");
    assert_eq!((deferral.holds_decisions, deferral.awaits_anybody), (true, false));
    assert_eq!(deferral.awaited, [PeerId(1), PeerId(2)], "the first has not said all of IPv6");
    assert_eq!(deferral.left, Duration::from_secs(120));
    let waiting = world.rib.routes(Scope::Local, Some(prefix("10.1.0.0/16")), 1, world.now);
    assert!(waiting[0].reason.starts_with("not decided yet"), "{}", waiting[0].reason);
    world.rib.withdraw(prefix("10.9.0.0/16"));
    world.settle();
    assert_eq!((world.best.len(), world.holds(1).len()), (0, 0), "and what we originate no more");
    world.rib.originate(prefix("10.9.0.0/16"), local(), world.now);

    world.connect(2, EBGP, restarts(false, true));
    world.hear(2, vec![end_of_rib(Family::Ipv4Unicast)]);
    world.settle();
    assert_eq!(world.converged, [Family::Ipv4Unicast]);
    assert_eq!((world.best.len(), world.holds(1), world.holds(2).len()), (2, vec!["10.9.0.0/16".to_owned()], 2));
    assert_eq!(world.ears[&1].ended, [Family::Ipv4Unicast], "IPv6 still waits");
    world.pass(Duration::from_secs(119));
    assert_eq!(world.rib.deferral(world.now).map(|deferral| deferral.left), Some(Duration::from_secs(1)));
    world.pass(Duration::from_secs(2));
    world.settle();
    assert_eq!(world.converged, Family::ALL);
    assert_eq!(world.ears[&1].ended, Family::ALL);
    assert_eq!(world.rib.deferral(world.now), None);
}

#[test]
fn after_a_restart_that_no_peer_waited_for_routes_are_said_at_once_but_converged_waits_for_every_peer() {
    let mut world = World::with_start(None, Awaited::Known);
    world.rib.set_peer(PeerId(2), policy(2, EBGP), world.now);
    world.up_with(1, EBGP, policy(1, EBGP), restarts(false, true));
    let both = || vec![end_of_rib(Family::Ipv4Unicast), end_of_rib(Family::Ipv6Unicast)];
    world.rib.originate(prefix("10.9.0.0/16"), local(), world.now);
    world.hear(1, both());
    world.settle();
    assert_eq!((world.holds(1), world.converged.len()), (vec!["10.9.0.0/16".to_owned()], 0));
    let deferral = world.rib.deferral(world.now).expect("it waits");
    assert_eq!((deferral.holds_decisions, deferral.awaited), (false, vec![PeerId(2)]));
    assert!(world.ears[&1].ended.is_empty(), "it would drop what it kept and has not been told again");
    world.connect(2, EBGP, restarts(false, true));
    world.hear(2, both());
    world.settle();
    assert_eq!(world.converged, Family::ALL);
    assert_eq!(world.ears[&1].ended, Family::ALL);
}

#[test]
fn after_a_restart_a_peer_that_does_not_come_back_is_waited_for_until_the_time_is_over() {
    let mut world = World::with_start(None, Awaited::Known);
    world.rib.set_peer(PeerId(2), policy(2, EBGP), world.now);
    world.settle();
    let due = world.rib.poll_timeout().expect("a timer");
    assert_eq!(due - world.now, Duration::from_secs(60));
    world.pass(due - world.now);
    world.settle();
    assert_eq!(world.converged, Family::ALL);
}

#[test]
fn where_unknown_peers_may_come_back_converged_waits_the_whole_time_and_decisions_do_not() {
    let mut world = World::with_start(Some(Duration::from_secs(30)), Awaited::Anybody);
    world.up_with(1, EBGP, policy(1, EBGP), restarts(false, true));
    let ends = vec![end_of_rib(Family::Ipv4Unicast), end_of_rib(Family::Ipv6Unicast)];
    world.hear(1, [vec![announce(route(1, &[65001]), &[prefix("10.1.0.0/16")])], ends].concat());
    world.settle();
    assert_eq!((world.best.len(), world.converged.len()), (1, 0));
    let due = world.rib.poll_timeout().expect("a timer");
    assert_eq!(due - world.now, Duration::from_secs(30));
    world.pass(due - world.now);
    world.settle();
    assert_eq!((world.converged.as_slice(), world.rib.poll_timeout()), (&Family::ALL[..], None));
}

#[test]
fn without_a_restart_only_converged_waits_and_for_a_peer_that_restarts_itself_until_it_is_quiet() {
    let mut world = World::new();
    world.rib.set_peer(PeerId(3), policy(3, EBGP), world.now);
    world.up_with(1, EBGP, policy(1, EBGP), restarts(true, true));
    world.up_with(2, EBGP, policy(2, EBGP), restarts(false, true));
    world.hear(1, vec![announce(route(1, &[65001]), &[prefix("10.1.0.0/16")])]);
    world.settle();
    assert_eq!((world.best.len(), world.converged.len()), (1, 0));
    world.hear(2, vec![end_of_rib(Family::Ipv4Unicast), end_of_rib(Family::Ipv6Unicast)]);
    world.settle();
    // It may wait for our End-of-RIB, and it may not (FRR): its routes have three seconds.
    assert!(world.converged.is_empty());
    let due = world.rib.poll_timeout().expect("a timer");
    assert_eq!(due - world.now, Duration::from_secs(3));
    world.pass(due - world.now);
    world.settle();
    assert_eq!(world.converged, Family::ALL);
}

#[test]
fn a_peer_without_graceful_restart_has_said_all_when_it_is_quiet() {
    let mut world = World::new();
    world.up(1, EBGP);
    world.settle();
    assert!(world.converged.is_empty());
    let due = world.rib.poll_timeout().expect("a timer");
    world.pass(due - world.now);
    world.settle();
    assert_eq!(world.converged, Family::ALL);
    assert_eq!(world.rib.poll_timeout(), None);
}

#[test]
fn a_peer_above_its_limit_is_reported_once_and_no_more_is_kept() {
    let mut world = World::new();
    let limited = PeerPolicy { max_prefixes: Some(2), ..policy(1, EBGP) };
    world.up_with(1, EBGP, limited, None);
    world.hear(1, vec![announce(route(1, &[65001]), &many(5))]);
    world.hear(1, vec![announce(route(1, &[65001, 2]), &many(5))]);
    world.settle();
    assert_eq!((world.too_many.clone(), world.rib.counts(PeerId(1)).received), (vec![1], 2));
    world.down(1, None);
    world.connect(1, EBGP, None);
    world.hear(1, vec![announce(route(1, &[65001]), &many(5))]);
    world.settle();
    assert_eq!(world.too_many, [1, 1]);
}

#[test]
fn a_reflector_passes_on_by_rfc_4456_and_marks_what_it_reflects() {
    let mut world = World::new();
    for (peer, role) in [(1, Role::Client), (2, Role::Client), (3, Role::Internal), (4, Role::Internal), (5, EBGP)] {
        world.up(peer, role);
    }
    let (of_client, of_other, of_external) = (prefix("10.1.0.0/16"), prefix("10.3.0.0/16"), prefix("10.5.0.0/16"));
    world.hear(1, vec![announce(route(1, &[]), &[of_client])]);
    world.hear(3, vec![announce(route(3, &[]), &[of_other])]);
    world.hear(5, vec![announce(route(5, &[65001]), &[of_external])]);
    world.settle();
    assert_eq!(world.holds(1), ["10.3.0.0/16", "10.5.0.0/16"]);
    assert_eq!(world.holds(2), ["10.1.0.0/16", "10.3.0.0/16", "10.5.0.0/16"]);
    assert_eq!(world.holds(3), ["10.1.0.0/16", "10.5.0.0/16"]);
    assert_eq!(world.holds(4), ["10.1.0.0/16", "10.5.0.0/16"]);
    assert_eq!(world.holds(5), ["10.1.0.0/16", "10.3.0.0/16"]);
    let reflected = &world.ears[&2].holds[&of_client];
    assert_eq!(reflected.originator_id.map(|id| id.0), Some([10, 0, 0, 1].into()));
    assert_eq!(*reflected.cluster_list, [ClusterId(OUR_ID.0)]);
    assert_eq!(reflected.next_hop, NextHop::V4(address(1)));
    assert_eq!(world.ears[&2].holds[&of_external].originator_id, None);
}

#[test]
fn routes_of_one_set_of_attributes_share_messages_and_members_share_bytes() {
    let mut world = World::new();
    for peer in [1, 2, 3] {
        world.up(peer, EBGP);
    }
    world.settle();
    world.hear(1, vec![announce(route(1, &[65001]), &many(5000))]);
    world.settle();
    assert_eq!(world.holds(2).len(), 5000);
    // 4 octets a prefix: about a thousand in a message of 4096.
    assert!(world.ears[&2].messages <= 2 + 8, "{} messages", world.ears[&2].messages);
}

#[test]
fn a_peer_that_does_not_read_costs_no_more_the_more_changes_it_misses() {
    let mut world = World::new();
    for peer in [1, 2, 3] {
        world.up(peer, EBGP);
    }
    world.settle();
    world.ears.get_mut(&2).unwrap().reads = false;
    let nets = many(2000);
    let mut most = 0;
    for round in 0..200 {
        world.hear(1, vec![announce(route(1, &[65001, 1000 + round]), &nets)]);
        world.settle();
        most = most.max(world.unread(2));
    }
    assert!(most < 1_200_000, "{most} bytes wait for a peer that does not read");
    world.hear(1, vec![withdraw(&nets[..1000])]);
    world.settle();
    let ear = world.ears.get_mut(&2).unwrap();
    let said = ear.said;
    ear.reads = true;
    world.settle();
    assert_eq!(world.holds(2), world.holds(3));
    assert!(world.ears[&2].said - said <= 2000, "it hears only the difference");
}

#[test]
fn prefixes_that_come_and_go_while_a_peer_does_not_read_leave_nothing_behind() {
    let mut world = World::new();
    (world.rib.groups.limits.high, world.rib.groups.limits.low) = (1000, 500);
    for peer in [1, 2] {
        world.up(peer, EBGP);
    }
    world.settle();
    world.ears.get_mut(&2).unwrap().reads = false;
    for (number, net) in many(3000).into_iter().enumerate() {
        world.hear(1, vec![announce(route(1, &[65001, 1 + number as u32]), &[net])]);
        world.settle();
        world.hear(1, vec![withdraw(&[net])]);
        world.settle();
    }
    // What was in its socket when it stopped must still be withdrawn; the rest it never heard of.
    let (prefixes, sets) = (world.rib.tables[0].len(), world.rib.store.len());
    assert!(prefixes < 20 && sets < 60, "{prefixes} prefixes and {sets} sets of attributes are held for it");
    world.ears.get_mut(&2).unwrap().reads = true;
    world.settle();
    assert!(world.holds(2).is_empty());
    assert_eq!((world.rib.tables[0].len(), world.rib.store.len()), (0, 0));
}

#[test]
fn a_source_that_comes_back_with_another_router_id_is_another_originator() {
    let mut world = World::new();
    world.up_with(1, Role::Client, policy(1, Role::Client), restarts(false, true));
    world.up(2, Role::Client);
    world.hear(1, vec![announce(route(1, &[]), &[prefix("10.1.0.0/16")])]);
    world.settle();
    world.down(1, Some(Duration::from_secs(120)));
    let again = Established {
        remote_id: RouterId([10, 0, 0, 99].into()),
        ..established(1, Role::Client, restarts(true, true))
    };
    world.connect_as(1, again);
    world.settle();
    let held = &world.ears[&2].holds[&prefix("10.1.0.0/16")];
    assert_eq!(held.originator_id.map(|id| id.0), Some([10, 0, 0, 99].into()));
}

/// RFC 4271 section 9.1.2.2 g.
#[test]
fn of_two_sources_with_one_router_id_that_were_found_on_their_links_the_lower_address_counts() {
    let net = prefix("10.1.0.0/16");
    for order in [[1, 2], [2, 1]] {
        let mut world = World::new();
        let found = |world: &mut World, peer: u16, at: &str| {
            let (remote_id, remote_address) = (RouterId([10, 0, 0, 99].into()), at.parse().unwrap());
            let again = Established { remote_id, remote_address, ..established(peer, EBGP, None) };
            world.connect_as(peer, again);
            world.hear(peer, vec![announce(route(peer, &[65001]), &[net])]);
        };
        for peer in order {
            let anywhere = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
            world.up_with(peer, EBGP, PeerPolicy { address: anywhere, ..policy(peer, EBGP) }, None);
            found(&mut world, peer, &format!("fe80::{peer}"));
        }
        world.settle();
        assert_eq!(world.best[&net][0].peer, PeerId(1));
        // It is elsewhere now.
        found(&mut world, 1, "fe80::3");
        world.settle();
        assert_eq!(world.best[&net][0].peer, PeerId(2));
        let addresses: Vec<_> = world.rib.known_peers().iter().map(|known| known.address.to_string()).collect();
        assert_eq!(addresses, ["fe80::3", "fe80::2"]);
    }
}

#[test]
fn attributes_that_fit_into_no_message_are_withheld_and_counted() {
    let mut world = World::new();
    world.up(1, EBGP);
    world.up(2, EBGP);
    let net = prefix("10.1.0.0/16");
    world.hear(1, vec![announce(route(1, &[65001]), &[net])]);
    world.settle();
    assert_eq!(world.holds(2).len(), 1);
    let mut large = route(1, &[65001]);
    large.communities = (0..1100).map(Community).collect();
    world.hear(1, vec![announce(large, &[net, prefix("10.2.0.0/16")])]);
    world.settle();
    assert!(world.holds(2).is_empty());
    let counts = world.rib.counts(PeerId(2));
    assert_eq!((counts.advertised, counts.withheld), (0, 2));
    // A new member hears none of it either, and what is smaller again is announced.
    world.up(3, EBGP);
    world.settle();
    assert!(world.holds(3).is_empty());
    world.hear(1, vec![announce(route(1, &[65001]), &[net])]);
    world.settle();
    assert_eq!((world.holds(2).len(), world.holds(3).len()), (1, 1));
}

#[test]
fn a_refresh_sends_everything_again_and_says_no_second_end_of_rib() {
    let mut world = World::new();
    world.up(1, EBGP);
    world.rib.originate(prefix("10.1.0.0/16"), local(), world.now);
    world.rib.originate(prefix("fd01::/64"), local(), world.now);
    world.settle();
    let said = world.ears[&1].said;
    world.rib.handle_refresh(PeerId(1), Family::Ipv4Unicast);
    world.settle();
    assert_eq!((world.ears[&1].said, world.ears[&1].ended.len()), (said + 1, 2));
}

#[test]
fn what_a_session_was_to_be_sent_does_not_reach_the_next() {
    let mut world = World::new();
    world.up(1, EBGP);
    world.rib.originate(prefix("10.1.0.0/16"), local(), world.now);
    world.rib.run(world.now);
    world.rib.handle_down(PeerId(1), None, world.now);
    world.rib.withdraw(prefix("10.1.0.0/16"));
    world.connect(1, EBGP, None);
    world.settle();
    assert!(world.holds(1).is_empty());
    assert_eq!(world.ears[&1].ended.len(), 2);
}

#[test]
fn nothing_is_left_when_everything_is_withdrawn_and_every_peer_gone() {
    let mut world = World::new();
    for peer in [1, 2] {
        world.up(peer, EBGP);
    }
    world.up(3, Role::Client);
    for round in 1..4 {
        world.hear(1, vec![announce(route(1, &[65001, round]), &many(100))]);
        world.hear(2, vec![announce(route(2, &[65001, 7, round]), &many(150))]);
        world.settle();
    }
    assert_eq!(world.rib.tables[0].len(), 150);
    world.hear(1, vec![withdraw(&many(100))]);
    world.hear(2, vec![withdraw(&many(150))]);
    world.settle();
    assert_eq!((world.rib.tables[0].len(), world.rib.store.len(), world.rib.groups.adverts()), (0, 0, 0));
    world.hear(1, vec![announce(route(1, &[65001]), &many(100))]);
    world.settle();
    for peer in [1, 2, 3] {
        world.ears.remove(&peer);
        world.rib.remove_peer(PeerId(peer), world.now);
    }
    world.settle();
    assert_eq!((world.rib.tables[0].len(), world.rib.store.len(), world.rib.groups.adverts()), (0, 0, 0));
}

#[test]
fn ipv6_routes_travel_over_a_session_on_ipv4_with_our_own_address() {
    let mut world = World::new();
    world.up(1, EBGP);
    world.up(2, EBGP);
    let homeless = PeerPolicy { own_address6: None, ..policy(3, EBGP) };
    world.up_with(3, EBGP, homeless, None);
    world.hear(1, vec![announce(route6(1, &[65001]), &[prefix("fd01::/64")])]);
    world.settle();
    let held = &world.ears[&2].holds[&prefix("fd01::/64")];
    assert_eq!(held.next_hop.address(), "fd00::200".parse::<std::net::IpAddr>().unwrap());
    assert_eq!((world.holds(3).len(), world.rib.counts(PeerId(3)).withheld), (0, 1));
}

#[test]
fn what_a_peer_was_sent_can_be_looked_at_page_by_page() {
    let mut world = World::new();
    world.up(1, EBGP);
    world.up(2, EBGP);
    world.hear(1, vec![announce(route(1, &[65001]), &many(25))]);
    world.settle();
    let (mut start, mut seen) = (PageStart::default(), Vec::new());
    loop {
        let (page, next) = world.rib.routes_page(Scope::Advertised(PeerId(2)), start, 10, world.now);
        assert!(page.len() <= 10);
        seen.extend(page.iter().map(|view| view.prefix));
        assert!(page.iter().all(|view| view.reason == "accepted by export filter \"out\", rule 1"), "{page:?}");
        match next {
            Some(next) => start = next,
            None => break,
        }
    }
    seen.sort();
    assert_eq!(seen, many(25));
    assert!(world.rib.routes(Scope::Advertised(PeerId(1)), None, 100, world.now).is_empty());
}
