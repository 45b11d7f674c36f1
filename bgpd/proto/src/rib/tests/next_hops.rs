//! Next hops of one family for prefixes of the other (RFC 8950), and on links without addresses.

use std::net::IpAddr;

use super::world::*;
use crate::rib::{PeerPolicy, Scope};
use crate::session::Established;
use crate::types::{Family, FamilySet, Interface, LinkLocal, NextHop, PeerId};
use crate::wire::UpdateContext;
use crate::wire::attributes::Attributes;

const EBGP: Role = Role::External(65001);

fn eth(number: u16) -> Interface {
    Interface::new(&format!("eth{number}")).unwrap()
}

/// A session over IPv6 from our `local`, with RFC 8950 if `extended`, bound to a link if `local` is link-local.
fn over_ipv6(peer: u16, role: Role, local: &str, extended: bool) -> Established {
    let plain = established(peer, role, None);
    let local: std::net::Ipv6Addr = local.parse().unwrap();
    let families = [Family::Ipv4Unicast].into_iter().filter(|_| extended);
    let send = UpdateContext { extended_next_hop: families.collect::<FamilySet>(), ..plain.send };
    let link = local.is_unicast_link_local().then(|| eth(peer));
    Established { send, receive: UpdateContext { link, ..send }, local_address: local.into(), ..plain }
}

fn connect(world: &mut World, peer: u16, role: Role, local: &str, extended: bool) {
    let policy = PeerPolicy { own_address4: Some(our_address()), ..policy(peer, role) };
    world.rib.set_peer(PeerId(peer), policy, world.now);
    world.connect_as(peer, over_ipv6(peer, role, local, extended));
}

fn link_local(text: &str, link: Option<Interface>) -> NextHop {
    NextHop::link_local(text.parse().unwrap(), link)
}

fn global(text: &str) -> NextHop {
    NextHop::from(text.parse::<IpAddr>().unwrap())
}

#[test]
fn each_session_has_its_own_address_as_our_next_hop() {
    let mut world = World::new();
    world.up(1, EBGP);
    connect(&mut world, 2, EBGP, "fd00::200", true);
    connect(&mut world, 3, EBGP, "fd00::200", false);
    connect(&mut world, 4, EBGP, "fe80::4", true);
    connect(&mut world, 5, EBGP, "fe80::5", true);
    let (net4, net6) = (prefix("10.1.0.0/16"), prefix("fd01::/64"));
    world.rib.originate(net4, local(), world.now);
    world.rib.originate(net6, Attributes { next_hop: global("::"), ..local() }, world.now);
    world.settle();
    let ours = NextHop::V4(our_address());
    for (peer, next_hop4, next_hop6) in [
        (1, ours, global("fd00::200")),
        (2, global("fd00::200"), global("fd00::200")),
        (3, ours, global("fd00::200")),
        (4, link_local("fe80::4", None), link_local("fe80::4", None)),
        (5, link_local("fe80::5", None), link_local("fe80::5", None)),
    ] {
        let holds = &world.ears[&peer].holds;
        assert_eq!((holds[&net4].next_hop, holds[&net6].next_hop), (next_hop4, next_hop6), "peer {peer}");
    }
}

#[test]
fn an_ipv6_next_hop_is_passed_on_inside_only_to_whom_takes_it() {
    let mut world = World::new();
    connect(&mut world, 1, EBGP, "fd00::200", true);
    connect(&mut world, 2, Role::Internal, "fd00::200", true);
    connect(&mut world, 3, Role::Internal, "fd00::200", false);
    world.hear(
        1,
        vec![announce(Attributes { next_hop: global("fd00::1"), ..route(1, &[65001]) }, &[prefix("10.1.0.0/16")])],
    );
    world.settle();
    assert_eq!(world.ears[&2].holds[&prefix("10.1.0.0/16")].next_hop, global("fd00::1"));
    assert_eq!((world.holds(3).len(), world.rib.counts(PeerId(3)).withheld), (0, 1));
}

#[test]
fn a_link_local_next_hop_keeps_its_link_here_and_goes_no_further() {
    let mut world = World::new();
    connect(&mut world, 1, EBGP, "fe80::1", true);
    connect(&mut world, 2, Role::Internal, "fd00::200", true);
    let net = prefix("10.1.0.0/16");
    let heard = LinkLocal { address: "fe80::7".parse().unwrap(), link: Some(eth(1)) };
    let next_hop = NextHop::V6 { global: "::".parse().unwrap(), link_local: Some(heard) };
    world.hear(1, vec![announce(Attributes { next_hop, ..route(1, &[65001]) }, &[net])]);
    world.settle();
    assert_eq!(world.best[&net][0].attributes.next_hop.gateway(), ("fe80::7".parse().unwrap(), Some(eth(1))));
    assert_eq!(world.ears[&2].holds[&net].next_hop, global("fd00::200"));
}

#[test]
fn our_own_end_of_the_link_is_no_next_hop_but_the_same_address_on_another_link_is() {
    let mut world = World::new();
    connect(&mut world, 1, EBGP, "fe80::1", true);
    connect(&mut world, 2, EBGP, "fe80::2", true);
    for (peer, next_hop, accepted) in
        [(1, "fe80::1", false), (1, "fe80::2", true), (2, "fe80::1", true), (2, "fe80::2", false)]
    {
        let net = prefix(&format!("10.{peer}.0.0/16"));
        let next_hop = link_local(next_hop, Some(eth(peer)));
        world.hear(peer, vec![announce(Attributes { next_hop, ..route(peer, &[65001]) }, &[net])]);
        world.settle();
        assert_eq!(world.best.contains_key(&net), accepted, "{next_hop} from {peer}");
    }
    // By a session that is bound to no link, nobody knows where it is.
    connect(&mut world, 3, EBGP, "fd00::200", true);
    let nowhere = Attributes { next_hop: link_local("fe80::9", None), ..route(3, &[65001]) };
    world.hear(3, vec![announce(nowhere, &[prefix("10.3.0.0/16")])]);
    world.settle();
    let rejected = world.rib.routes(Scope::Received(PeerId(3)), None, 9, world.now);
    assert!(rejected[0].reason.contains("next hop"), "{rejected:?}");
}
