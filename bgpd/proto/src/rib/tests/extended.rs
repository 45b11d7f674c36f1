//! Peers that take long messages beside peers that do not (RFC 8654).

use super::world::*;
use crate::session::Established;
use crate::types::{PeerId, Prefix};
use crate::wire::UpdateContext;
use crate::wire::attributes::Attributes;
use crate::wire::community::Community;

const EBGP: Role = Role::External(65001);

fn up_to(peer: u16, max_message_len: usize) -> Established {
    let plain = established(peer, EBGP, None);
    let context = UpdateContext { max_message_len, ..plain.send };
    Established { send: context, receive: context, ..plain }
}

/// Peer 1 says, 2 takes long messages, 3 does not.
fn world() -> World {
    let mut world = World::new();
    for (peer, length) in [(1, 65535), (2, 65535), (3, 4096)] {
        world.rib.set_peer(PeerId(peer), policy(peer, EBGP), world.now);
        world.connect_as(peer, up_to(peer, length));
    }
    world
}

fn with_communities(count: u32) -> Attributes {
    Attributes { communities: (0..count).map(Community).collect(), ..route(1, &[65001]) }
}

#[test]
fn attributes_of_a_long_message_reach_those_who_take_it_and_are_withdrawn_from_the_others() {
    let mut world = world();
    let net = prefix("10.1.0.0/16");
    for (communities, plain_peer_holds) in [(3, true), (2000, false), (4, true), (16_000, false)] {
        world.hear(1, vec![announce(with_communities(communities), &[net])]);
        world.settle();
        let held = &world.ears[&2].holds[&net];
        assert_eq!(held.communities.len(), communities as usize);
        assert_eq!(world.holds(3).len(), usize::from(plain_peer_holds), "{communities}");
        let withheld = [2, 3].map(|peer| world.rib.counts(PeerId(peer)).withheld);
        assert_eq!(withheld, [0, usize::from(!plain_peer_holds)], "{communities}");
    }
}

#[test]
fn attributes_that_fit_into_no_long_message_either_are_withheld_from_all() {
    let mut world = world();
    let net = prefix("10.1.0.0/16");
    world.hear(1, vec![announce(with_communities(16_400), &[net])]);
    world.settle();
    assert_eq!([2, 3].map(|peer| world.rib.counts(PeerId(peer)).withheld), [1, 1]);
}

#[test]
fn many_prefixes_take_fewer_long_messages() {
    let mut world = world();
    let nets: Vec<Prefix> =
        (0..2000).map(|number| prefix(&format!("10.{}.{}.0/24", number >> 8, number & 255))).collect();
    world.hear(1, vec![announce(route(1, &[65001]), &nets)]);
    world.settle();
    // Each beside two End-of-RIB; what a message holds, the ears' framers have checked.
    assert_eq!((world.holds(2).len(), world.ears[&2].messages), (2000, 2 + 1));
    assert_eq!((world.holds(3).len(), world.ears[&3].messages), (2000, 2 + 2));
}
