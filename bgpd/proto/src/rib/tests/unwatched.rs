//! A RIB whose owner wants no best paths.

use super::world::*;

#[test]
fn best_paths_are_told_to_an_owner_that_wants_none_only_while_somebody_watches_them() {
    let mut world = World::new();
    world.rib.config.tell_best = false;
    world.up(1, Role::External(65001));
    world.up(2, Role::External(65002));
    world.hear(1, vec![announce(route(1, &[65001]), &[prefix("10.1.0.0/16")])]);
    world.settle();
    assert_eq!(world.holds(2), ["10.1.0.0/16"]);
    assert_eq!(world.best_changes, 0);
    for (on, net, told) in [(true, "10.2.0.0/16", 1), (false, "10.3.0.0/16", 1)] {
        world.rib.watch_best(on);
        world.hear(1, vec![announce(route(1, &[65001]), &[prefix(net)])]);
        world.settle();
        assert_eq!(world.best_changes, told, "{net}");
    }
}
