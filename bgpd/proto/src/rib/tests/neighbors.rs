//! What is between us and single peers, and aggregates: the RIB as a whole.

use super::world::*;
use crate::conduct::{Conduct, DefaultOriginate, LocalAsPrepend, NextHopMode, RemovePrivateAs};
use crate::rib::{Aggregate, Aggregates, PeerPolicy, Scope};
use crate::role::{LocalRole, Role as Relation};
use crate::types::{Asn, NextHop, PeerId, Prefix};
use crate::wire::aspath::AsPath;
use crate::wire::attributes::{Aggregator, Origin};
use crate::wire::community::Community;

const EBGP: Role = Role::External(65001);
const OTHER: Role = Role::External(65002);

fn with(peer: u16, role: Role, conduct: Conduct) -> PeerPolicy {
    PeerPolicy { conduct, ..policy(peer, role) }
}

fn we_are(role: Relation) -> Conduct {
    Conduct { role: Some(LocalRole { role, strict: false }), ..Conduct::default() }
}

fn path(asns: &[u32]) -> AsPath {
    AsPath::sequence(asns.iter().copied().map(Asn))
}

/// The reasons for which what a peer sent is not used.
fn rejections(world: &World) -> Vec<String> {
    let views = world.rib.routes(Scope::Rejected, None, usize::MAX, world.now);
    views.into_iter().map(|view| view.reason).collect()
}

#[test]
fn a_route_from_our_provider_goes_to_customers_alone_and_says_so() {
    let net = prefix("10.1.0.0/16");
    let mut world = World::new();
    world.up_with(1, EBGP, with(1, EBGP, we_are(Relation::Customer)), None);
    for (peer, relation) in [(2, Relation::Customer), (3, Relation::Peer), (4, Relation::Provider)] {
        let role = Role::External(65000 + u32::from(peer));
        world.up_with(peer, role, with(peer, role, we_are(relation)), None);
    }
    world.up(5, Role::Internal);
    world.hear(1, vec![announce(route(1, &[65001]), &[net])]);
    world.settle();
    assert_eq!(world.best[&net][0].attributes.otc, Some(Asn(65001)), "added as it came in");
    assert_eq!((world.holds(2), world.holds(3)), (vec![], vec![]), "to another provider, to a peer");
    assert_eq!(world.ears[&4].holds[&net].otc, Some(Asn(65001)), "to a customer");
    assert_eq!(world.ears[&5].holds[&net].otc, Some(Asn(65001)), "inside of our AS");
    // With another role the same route is told anew, by the other rules.
    world.rib.set_peer(PeerId(3), with(3, Role::External(65003), Conduct::default()), world.now);
    world.settle();
    assert_eq!(world.ears[&3].holds[&net].otc, Some(Asn(65001)), "to a peer without a role");
}

#[test]
fn a_leak_is_kept_with_its_reason_and_used_when_the_role_goes() {
    let net = prefix("10.1.0.0/16");
    let mut leak = route(1, &[65001, 3356]);
    leak.otc = Some(Asn(3356));
    for (relation, reason) in [
        (Relation::Provider, "a customer sent it"),
        (Relation::RouteServer, "a customer sent it"),
        (Relation::Peer, "a peer sent what another AS gave it"),
    ] {
        let mut world = World::new();
        world.up_with(1, EBGP, with(1, EBGP, we_are(relation)), None);
        world.hear(1, vec![announce(leak.clone(), &[net])]);
        world.settle();
        assert!(world.best.is_empty(), "{relation}");
        let [why] = &rejections(&world)[..] else { panic!("{relation}: one rejected route") };
        assert!(why.contains("a route leak (RFC 9234)") && why.contains(reason), "{relation}: {why}");
        world.rib.set_peer(PeerId(1), policy(1, EBGP), world.now);
        world.settle();
        assert_eq!(world.best[&net][0].attributes.otc, Some(Asn(3356)), "{relation}");
    }
}

#[test]
fn our_as_may_stand_in_a_path_as_often_as_the_peer_is_allowed() {
    let net = prefix("10.1.0.0/16");
    let own = OUR_AS.0;
    for (allowed, asns, accepted) in [
        (0, vec![65001, own], false),
        (1, vec![65001, own], true),
        (1, vec![65001, own, own], false),
        (2, vec![65001, own, 65001, own], true),
    ] {
        let mut world = World::new();
        let conduct = Conduct { allow_as_in: allowed, ..Conduct::default() };
        world.up_with(1, EBGP, with(1, EBGP, conduct), None);
        world.hear(1, vec![announce(route(1, &asns), &[net])]);
        world.settle();
        assert_eq!(world.best.contains_key(&net), accepted, "{allowed} {asns:?}");
        if !accepted {
            assert_eq!(rejections(&world), ["rejected: our own AS is in the AS path"]);
        }
    }
}

#[test]
fn paths_are_rewritten_for_each_peer_as_it_asks() {
    let net = prefix("10.1.0.0/16");
    let own = OUR_AS.0;
    let conduct = Conduct::default;
    for (conduct, local_as, expected) in [
        (conduct(), own, vec![own, 65001, 65002]),
        (Conduct { as_override: true, ..conduct() }, own, vec![own, 65001, own]),
        (Conduct { remove_private_as: RemovePrivateAs::All, ..conduct() }, own, vec![own, 65002]),
        (Conduct { remove_private_as: RemovePrivateAs::Replace, ..conduct() }, own, vec![own, own, 65002]),
        (conduct(), 64700, vec![64700, 65001, 65002]),
        (Conduct { local_as_prepend: LocalAsPrepend::Sent, ..conduct() }, 64700, vec![64700, own, 65001, 65002]),
        (Conduct { as_override: true, ..conduct() }, 64700, vec![64700, 65001, 64700]),
    ] {
        let mut world = World::new();
        world.up(1, EBGP);
        world.up_with(2, OTHER, PeerPolicy { local_as: Asn(local_as), ..with(2, OTHER, conduct) }, None);
        world.hear(1, vec![announce(route(1, &[65001, 65002]), &[net])]);
        world.settle();
        assert_eq!(world.ears[&2].holds[&net].as_path, path(&expected), "{conduct:?}");
    }
}

#[test]
fn the_local_as_is_put_before_what_comes_where_both_ways_are_asked_for() {
    let net = prefix("10.1.0.0/16");
    for (prepend, expected) in [
        (LocalAsPrepend::None, vec![65001]),
        (LocalAsPrepend::Sent, vec![65001]),
        (LocalAsPrepend::Both, vec![64700, 65001]),
    ] {
        let mut world = World::new();
        let conduct = Conduct { local_as_prepend: prepend, ..Conduct::default() };
        world.up_with(1, EBGP, PeerPolicy { local_as: Asn(64700), ..with(1, EBGP, conduct) }, None);
        world.hear(1, vec![announce(route(1, &[65001]), &[net])]);
        world.settle();
        assert_eq!(world.best[&net][0].attributes.as_path, path(&expected), "{prepend:?}");
    }
}

#[test]
fn on_a_shared_segment_a_peer_is_sent_straight_to_the_announcer() {
    let net = prefix("10.1.0.0/16");
    let ours = NextHop::V4(our_address());
    let theirs = NextHop::V4(address(1));
    for (mode, segment, expected) in [
        (NextHopMode::Auto, None, ours),
        (NextHopMode::Auto, Some("192.0.2.0/24"), theirs),
        (NextHopMode::Auto, Some("192.0.2.128/25"), ours),
        (NextHopMode::Own, Some("192.0.2.0/24"), ours),
        (NextHopMode::Unchanged, None, theirs),
    ] {
        let mut world = World::new();
        world.up(1, EBGP);
        world.rib.set_peer(PeerId(2), with(2, OTHER, Conduct { next_hop: mode, ..Conduct::default() }), world.now);
        world.rib.set_segment(PeerId(2), segment.map(prefix));
        world.connect(2, OTHER, None);
        world.hear(1, vec![announce(route(1, &[65001]), &[net])]);
        world.settle();
        assert_eq!(world.ears[&2].holds[&net].next_hop, expected, "{mode:?} {segment:?}");
    }
}

#[test]
fn a_default_route_is_originated_for_the_peers_that_are_to_have_it_and_for_nobody_else() {
    let mut world = World::new();
    let always = Conduct { default_originate: DefaultOriginate::Always, ..Conduct::default() };
    // RFC 8212 keeps everything else back: the key itself is the policy.
    world.up_with(1, EBGP, PeerPolicy { export: None, ..with(1, EBGP, always) }, None);
    world.up(2, OTHER);
    world.hear(2, vec![announce(route(2, &[65002]), &[prefix("10.2.0.0/16")])]);
    world.settle();
    assert_eq!((world.holds(1), world.holds(2)), (vec!["0.0.0.0/0".into(), "::/0".into()], vec![]));
    let sent = &world.ears[&1].holds[&prefix("0.0.0.0/0")];
    assert_eq!((&sent.as_path, sent.next_hop), (&path(&[OUR_AS.0]), NextHop::V4(our_address())));
    assert!(!world.best.contains_key(&prefix("0.0.0.0/0")), "nothing is forwarded by it here");
    let shown = world.rib.routes(Scope::Advertised(PeerId(1)), None, usize::MAX, world.now);
    assert!(shown.iter().all(|view| view.reason.contains("default-originate")), "{shown:?}");
    // A real one does not take its place, and is what others hear.
    world.hear(2, vec![announce(route(2, &[65002, 3356]), &[prefix("0.0.0.0/0")])]);
    world.settle();
    assert_eq!(world.ears[&1].holds[&prefix("0.0.0.0/0")].as_path, path(&[OUR_AS.0]));
    assert_eq!(world.best[&prefix("0.0.0.0/0")][0].peer, PeerId(2));
    world.rib.set_peer(PeerId(1), policy(1, EBGP), world.now);
    world.settle();
    assert_eq!(world.holds(1), ["0.0.0.0/0", "10.2.0.0/16"]);
    assert_eq!(world.ears[&1].holds[&prefix("0.0.0.0/0")].as_path, path(&[OUR_AS.0, 65002, 3356]));
    assert!(rejections(&world).is_empty(), "nobody wants it any more");
}

#[test]
fn a_conditional_default_route_comes_and_goes_with_its_condition() {
    let condition = prefix("10.2.0.0/16");
    let mut world = World::new();
    let wish = DefaultOriginate::While(condition);
    world.up_with(1, EBGP, with(1, EBGP, Conduct { default_originate: wish, ..Conduct::default() }), None);
    world.up(2, OTHER);
    world.settle();
    assert!(world.holds(1).is_empty());
    for _ in 0..2 {
        world.hear(2, vec![announce(route(2, &[65002]), &[condition])]);
        world.settle();
        assert_eq!(world.holds(1), ["0.0.0.0/0", "10.2.0.0/16"]);
        world.hear(2, vec![withdraw(&[condition])]);
        world.settle();
        assert!(world.holds(1).is_empty());
    }
    world.rib.remove_peer(PeerId(1), world.now);
    world.ears.remove(&1);
    world.settle();
    assert!(rejections(&world).is_empty());
}

fn aggregate(text: &str, summary_only: bool) -> Aggregate {
    Aggregate {
        prefix: prefix(text),
        summary_only,
        med: None,
        local_pref: None,
        communities: vec![Community(7), Community(3)],
        large_communities: Vec::new(),
    }
}

fn nets(texts: &[&str]) -> Vec<Prefix> {
    texts.iter().map(|text| prefix(text)).collect()
}

#[test]
fn an_aggregate_comes_with_its_first_contributor_and_goes_with_its_last() {
    let mut world = World::new();
    world.rib.set_aggregates([aggregate("10.0.0.0/8", false)].into_iter().collect(), world.now);
    world.up(1, EBGP);
    world.up(2, OTHER);
    world.settle();
    assert!(world.holds(2).is_empty());
    let mut incomplete = route(1, &[65001]);
    incomplete.origin = Origin::Incomplete;
    world.hear(1, vec![announce(route(1, &[65001]), &nets(&["10.1.0.0/16", "11.0.0.0/16"]))]);
    world.hear(1, vec![announce(incomplete, &nets(&["10.2.0.0/16"]))]);
    world.settle();
    assert_eq!(world.holds(2), ["10.0.0.0/8", "10.1.0.0/16", "10.2.0.0/16", "11.0.0.0/16"]);
    let sent = &world.ears[&2].holds[&prefix("10.0.0.0/8")];
    assert_eq!((&sent.as_path, sent.origin), (&path(&[OUR_AS.0]), Origin::Incomplete));
    assert!(sent.atomic_aggregate);
    assert_eq!(sent.aggregator, Some(Aggregator { asn: OUR_AS, router_id: OUR_ID }));
    assert_eq!(*sent.communities, [Community(3), Community(7)]);
    let view = world.rib.routes(Scope::Local, Some(prefix("10.0.0.0/8")), 9, world.now);
    assert!(view[0].reason.starts_with("an aggregate of 2 prefixes; "), "{}", view[0].reason);
    assert_eq!(world.best[&prefix("10.0.0.0/8")][0].peer, PeerId::LOCAL);

    world.hear(1, vec![withdraw(&nets(&["10.2.0.0/16"]))]);
    world.settle();
    assert_eq!(world.ears[&2].holds[&prefix("10.0.0.0/8")].origin, Origin::Igp);
    world.hear(1, vec![withdraw(&nets(&["10.1.0.0/16"]))]);
    world.settle();
    assert_eq!(world.holds(2), ["11.0.0.0/16"]);
    assert!(!world.best.contains_key(&prefix("10.0.0.0/8")));
}

#[test]
fn a_summary_keeps_its_contributors_from_peers_and_from_nobody_else() {
    let mut world = World::new();
    let both: Aggregates = [aggregate("10.0.0.0/8", true), aggregate("10.1.0.0/16", false)].into_iter().collect();
    world.rib.set_aggregates(both, world.now);
    world.up(1, EBGP);
    world.up(2, OTHER);
    world.up(3, Role::Internal);
    world.hear(1, vec![announce(route(1, &[65001]), &nets(&["10.1.2.0/24", "192.0.2.0/24"]))]);
    world.settle();
    for peer in [2, 3] {
        assert_eq!(world.holds(peer), ["10.0.0.0/8", "192.0.2.0/24"], "{peer}");
    }
    assert_eq!(world.best.len(), 4, "both aggregates, what is inside, and the other one are in the RIB");
    // Without the summary they are told.
    world.rib.set_aggregates([aggregate("10.1.0.0/16", false)].into_iter().collect(), world.now);
    world.settle();
    assert_eq!(world.holds(2), ["10.1.0.0/16", "10.1.2.0/24", "192.0.2.0/24"]);
    world.rib.set_aggregates(Aggregates::default(), world.now);
    world.settle();
    assert_eq!(world.holds(2), ["10.1.2.0/24", "192.0.2.0/24"]);
    // And a summary that comes late takes them back.
    world.rib.set_aggregates([aggregate("10.0.0.0/8", true)].into_iter().collect(), world.now);
    world.settle();
    assert_eq!(world.holds(2), ["10.0.0.0/8", "192.0.2.0/24"]);
}

#[test]
fn what_is_originated_under_the_same_prefix_stands_for_the_aggregate() {
    let net = prefix("10.0.0.0/8");
    let mut world = World::new();
    world.rib.set_aggregates([aggregate("10.0.0.0/8", false)].into_iter().collect(), world.now);
    world.up(1, EBGP);
    world.hear(1, vec![announce(route(1, &[65001]), &nets(&["10.1.0.0/16"]))]);
    world.settle();
    assert!(world.best[&net][0].attributes.atomic_aggregate);
    world.rib.originate(net, local(), world.now);
    world.settle();
    assert_eq!((world.best[&net].len(), world.best[&net][0].attributes.atomic_aggregate), (1, false));
    world.rib.withdraw(net);
    world.settle();
    assert!(world.best[&net][0].attributes.atomic_aggregate);
}

#[test]
fn as_many_prefixes_as_are_worth_a_warning_are_told_once_a_session() {
    let mut world = World::new();
    let warned = PeerPolicy { warn_prefixes: Some(2), ..policy(1, EBGP) };
    world.up_with(1, EBGP, warned, None);
    for (texts, expected) in [(["10.1.0.0/16"], 0), (["10.2.0.0/16"], 1), (["10.3.0.0/16"], 1)] {
        world.hear(1, vec![announce(route(1, &[65001]), &nets(&texts))]);
        world.settle();
        assert_eq!(world.many.len(), expected);
        assert_eq!(world.rib.counts(PeerId(1)).warned, expected == 1);
    }
    assert!(world.too_many.is_empty());
}
