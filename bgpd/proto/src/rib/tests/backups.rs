//! The path that takes over from the only best one. Histories at random are in `model.rs`.

use super::world::*;
use crate::types::Prefix;

fn net() -> Prefix {
    prefix("10.1.0.0/16")
}

/// The best path's and the backup's peer.
fn used(world: &World) -> (Vec<u16>, Option<u16>) {
    let best = world.best.get(&net()).into_iter().flatten().map(|path| path.peer.0).collect();
    (best, world.backups.get(&net()).map(|path| path.peer.0))
}

/// External peers 1 to 3, who announce the prefix by paths of 1, 2 and 3 hops, and an ear.
fn three() -> World {
    let mut world = World::new();
    for peer in 1..=4u16 {
        world.up(peer, Role::External(65000 + u32::from(peer)));
    }
    world.hear(1, vec![announce(route(1, &[65001]), &[net()])]);
    world.hear(2, vec![announce(route(2, &[65002, 7]), &[net()])]);
    world.hear(3, vec![announce(route(3, &[65003, 7, 7]), &[net()])]);
    world.settle();
    world
}

#[test]
fn it_is_the_best_of_the_others_and_moves_up_when_it_is_needed() {
    let mut world = three();
    assert_eq!(used(&world), (vec![1], Some(2)));
    world.hear(1, vec![withdraw(&[net()])]);
    world.settle();
    assert_eq!(used(&world), (vec![2], Some(3)));
    world.hear(3, vec![withdraw(&[net()])]);
    world.settle();
    assert_eq!(used(&world), (vec![2], None));
}

#[test]
fn what_becomes_of_it_is_told_to_the_owner_and_to_no_peer() {
    let mut world = three();
    let said = world.ears[&4].said;
    let changes = world.best_changes;
    // Announced anew with another path, withdrawn, and back.
    world.hear(2, vec![announce(route(2, &[65002, 8]), &[net()])]);
    world.settle();
    assert_eq!(world.backups[&net()].attributes.as_path.to_string(), "65002 8");
    world.hear(2, vec![withdraw(&[net()])]);
    world.settle();
    assert_eq!(used(&world), (vec![1], Some(3)));
    world.hear(2, vec![announce(route(2, &[65002, 7]), &[net()])]);
    world.settle();
    assert_eq!(used(&world), (vec![1], Some(2)));
    assert_eq!((world.best_changes, world.ears[&4].said), (changes + 3, said));
    // What is worse than the backup is nobody's business.
    world.hear(3, vec![withdraw(&[net()])]);
    world.settle();
    assert_eq!(world.best_changes, changes + 3);
}

#[test]
fn a_path_by_the_same_next_hop_is_none() {
    let mut world = three();
    world.hear(2, vec![announce(route(1, &[65002, 7]), &[net()])]);
    world.settle();
    assert_eq!(used(&world), (vec![1], Some(3)));
}

#[test]
fn of_several_best_paths_each_is_the_others_backup() {
    let mut world = three();
    world.hear(2, vec![announce(route(2, &[65002]), &[net()])]);
    world.settle();
    assert_eq!(used(&world), (vec![1, 2], None));
}
