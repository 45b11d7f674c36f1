//! Graceful shutdown (RFC 8326), sent and received.

use super::world::*;
use crate::rib::{Drain, PeerPolicy};
use crate::types::PeerId;
use crate::wire::community::Community;

const EBGP: Role = Role::External(65001);

#[test]
fn a_speaker_that_is_drained_says_all_once_more_as_the_last_resort_then_withdraws_it_and_comes_back() {
    let mut world = World::new();
    world.up(1, EBGP);
    world.up(2, Role::Internal);
    world.rib.originate(prefix("10.9.0.0/16"), local(), world.now);
    world.hear(1, vec![announce(route(1, &[65001]), &[prefix("10.1.0.0/16")])]);
    world.settle();
    let shown = |world: &World, peer: u16, net: &str| {
        let held = world.ears[&peer].holds[&prefix(net)].clone();
        (held.local_pref, held.communities.to_vec())
    };

    let behind = |world: &World| [1, 2].map(|peer| world.rib.counts(PeerId(peer)).behind);
    assert_eq!(behind(&world), [false, false]);
    world.rib.set_drain(Drain::LastResort);
    assert_eq!(behind(&world), [true, true], "nobody has been told yet");
    world.settle();
    assert_eq!(behind(&world), [false, false]);
    assert_eq!(shown(&world, 1, "10.9.0.0/16"), (None, vec![Community::GRACEFUL_SHUTDOWN]));
    assert_eq!(shown(&world, 2, "10.9.0.0/16"), (Some(0), vec![Community::GRACEFUL_SHUTDOWN]));
    assert_eq!(shown(&world, 2, "10.1.0.0/16"), (Some(0), vec![Community::GRACEFUL_SHUTDOWN]));
    assert_eq!(world.best[&prefix("10.1.0.0/16")][0].attributes.local_pref, None, "what it uses itself is as before");

    world.rib.set_drain(Drain::Withdrawn);
    world.settle();
    assert_eq!((world.holds(1).len(), world.holds(2).len()), (0, 0));
    assert_eq!(world.rib.counts(PeerId(2)).advertised, 0);
    assert_eq!(world.best.len(), 2, "it still has its routes");

    // A peer that comes meanwhile hears End-of-RIB, and nothing before it.
    world.up(3, Role::Internal);
    world.settle();
    assert_eq!((world.holds(3).len(), world.ears[&3].ended.len()), (0, 2));

    world.rib.set_drain(Drain::Off);
    world.settle();
    assert_eq!(shown(&world, 2, "10.9.0.0/16"), (Some(100), vec![]));
    assert_eq!((world.holds(1).len(), world.holds(3).len()), (1, 2));
    assert_eq!(world.ears[&1].ended.len(), 2, "End-of-RIB is said once for each family");
}

#[test]
fn an_external_route_that_is_about_to_go_is_used_only_where_there_is_no_other() {
    let mut world = World::new();
    world.up(1, EBGP);
    world.up(2, Role::External(65002));
    world.up(3, Role::Internal);
    let net = prefix("10.1.0.0/16");
    let mut leaving = route(1, &[65001]);
    leaving.communities = [Community::GRACEFUL_SHUTDOWN].into();
    world.hear(1, vec![announce(leaving.clone(), &[net])]);
    world.settle();
    assert_eq!(world.best[&net][0].attributes.local_pref, Some(0));
    assert_eq!(world.ears[&3].holds[&net].local_pref, Some(0), "and so it is for the whole AS");
    world.hear(2, vec![announce(route(2, &[65002, 65003, 65004]), &[net])]);
    world.settle();
    assert_eq!(world.best[&net][0].peer, PeerId(2));

    // Switched off, the community is one among others.
    world.rib.set_peer(PeerId(1), PeerPolicy { graceful_shutdown: false, ..policy(1, EBGP) }, world.now);
    world.settle();
    assert_eq!((world.best[&net][0].peer, world.best[&net][0].attributes.local_pref), (PeerId(1), None));

    // From an internal peer, LOCAL_PREF itself says what is wanted.
    world.down(1, None);
    leaving.local_pref = Some(100);
    world.hear(3, vec![announce(leaving, &[prefix("10.2.0.0/16")])]);
    world.settle();
    assert_eq!(world.best[&prefix("10.2.0.0/16")][0].attributes.local_pref, Some(100));
}
