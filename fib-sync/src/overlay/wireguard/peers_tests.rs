//! Peers against a model of the kernel's.

use proptest::prelude::*;

use super::*;
use crate::overlay::wireguard::wire::FoundPeer;

/// What the kernel holds: each peer with its end point, each prefix with its peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Kernel {
    peers: BTreeMap<PublicKey, Option<SocketAddr>>,
    allowed: BTreeMap<IpNetwork, PublicKey>,
    keepalives: BTreeMap<PublicKey, u16>,
}

impl Kernel {
    fn change(&mut self, changes: &[PeerChange]) {
        for change in changes {
            match change {
                PeerChange::Put { key, endpoint, allowed } => {
                    let there = self.peers.entry(*key).or_default();
                    *there = endpoint.or(*there);
                    self.allowed.extend(allowed.iter().map(|prefix| (*prefix, *key)));
                }
                PeerChange::Keepalive(key, 0) => drop(self.keepalives.remove(key)),
                PeerChange::Keepalive(key, seconds) => {
                    assert!(self.peers.contains_key(key), "a peer is there before it is sent keepalives");
                    self.keepalives.insert(*key, *seconds);
                }
                PeerChange::Remove(key) => {
                    self.peers.remove(key);
                    self.keepalives.remove(key);
                    self.allowed.retain(|_, owner| owner != key);
                }
            }
        }
    }

    fn device(&self) -> FoundDevice {
        let peer = |(key, endpoint): (&PublicKey, &Option<SocketAddr>)| FoundPeer {
            key: *key,
            endpoint: *endpoint,
            handshake: None,
            received: 0,
            sent: 0,
            strange: false,
            keepalive: self.keepalives.get(key).copied().unwrap_or(0),
            allowed: self.allowed.iter().filter(|(_, owner)| *owner == key).map(|(prefix, _)| *prefix).collect(),
        };
        FoundDevice { peers: self.peers.iter().map(peer).collect(), ..FoundDevice::default() }
    }
}

fn key(number: u8) -> PublicKey {
    PublicKey([number; 32])
}

fn endpoint(number: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, number], 51820))
}

fn prefix(number: u8) -> IpNetwork {
    IpNetwork::new([10, number, 0, 0].into(), 16).expect("a prefix")
}

/// The routes: which peer each prefix leads to.
type Routes = BTreeMap<IpNetwork, PublicKey>;

/// What the kernel should hold for these routes.
fn expected(routes: &Routes) -> Kernel {
    let mut kernel = Kernel::default();
    for (prefix, key) in routes {
        kernel.peers.insert(*key, Some(endpoint(key.0[0])));
        kernel.allowed.insert(*prefix, *key);
        kernel.allowed.insert(IpNetwork::from(endpoint(key.0[0]).ip()), *key);
    }
    kernel
}

/// Moves to these routes, of which `touched` may differ from those before.
fn follow(peers: &mut Peers, kernel: &mut Kernel, routes: &Routes, touched: &[IpNetwork], swept: bool) {
    let owner = |prefix| routes.get(&prefix).copied();
    peers.want(routes.values().map(|key| (*key, endpoint(key.0[0]))));
    let additions = peers.additions(touched, owner, true);
    kernel.change(&additions);
    peers.note(&additions, Vec::new());
    for (prefix, key) in routes {
        assert_eq!(kernel.allowed.get(prefix), Some(key), "{prefix} is its peer's before the route is written");
    }
    let removals = peers.removals(touched, |prefix| owner(prefix).is_some() || !swept, true, swept);
    kernel.change(&removals);
    peers.note(&removals, Vec::new());
}

proptest! {
    #[test]
    fn peers_and_prefixes_are_those_of_the_routes_after_each_change_and_of_a_moved_prefix_all_the_while(
        steps in prop::collection::vec(prop::collection::vec((1..8u8, prop::option::of(1..5u8)), 1..6), 1..12)
    ) {
        let (mut peers, mut kernel, mut routes) = (Peers::default(), Kernel::default(), Routes::new());
        peers.read(kernel.device());
        for step in steps {
            for (number, to) in &step {
                match to {
                    Some(to) => routes.insert(prefix(*number), key(*to)),
                    None => routes.remove(&prefix(*number)),
                };
            }
            let touched: Vec<IpNetwork> = step.iter().map(|(number, _)| prefix(*number)).collect();
            follow(&mut peers, &mut kernel, &routes, &touched, true);
            prop_assert_eq!(&kernel, &expected(&routes));
            let mut again = Peers::default();
            again.read(kernel.device());
            prop_assert_eq!(&peers.allowed, &again.allowed);
            let all: Vec<IpNetwork> = routes.keys().copied().collect();
            let owner = |prefix: IpNetwork| routes.get(&prefix).copied();
            prop_assert_eq!(peers.additions(&all, owner, true), []);
            prop_assert_eq!(peers.removals(&all, |prefix| owner(prefix).is_some(), true, true), []);
        }
    }

    #[test]
    fn what_an_earlier_run_left_stays_until_routes_are_complete(
        before in prop::collection::btree_map(1..8u8, 1..5u8, 0..6),
        after in prop::collection::btree_map(1..8u8, 1..5u8, 0..6),
    ) {
        let named = |routes: &BTreeMap<u8, u8>| -> Routes {
            routes.iter().map(|(number, to)| (prefix(*number), key(*to))).collect()
        };
        let (before, after) = (named(&before), named(&after));
        let mut kernel = expected(&before);
        let mut peers = Peers::default();
        prop_assert_eq!(peers.read(kernel.device()), []);
        let touched: Vec<IpNetwork> = after.keys().copied().collect();
        follow(&mut peers, &mut kernel, &after, &touched, false);
        for (prefix, owner) in &before {
            prop_assert_eq!(kernel.allowed.get(prefix), Some(after.get(prefix).unwrap_or(owner)));
        }
        let all: Vec<IpNetwork> = peers.allowed().collect();
        follow(&mut peers, &mut kernel, &after, &all, true);
        prop_assert_eq!(kernel, expected(&after));
    }
}

#[test]
fn a_peer_that_moved_by_itself_is_left_where_it_is_and_one_that_is_announced_elsewhere_is_moved() {
    let (mut peers, mut kernel) = (Peers::default(), Kernel::default());
    let routes = Routes::from([(prefix(1), key(1))]);
    follow(&mut peers, &mut kernel, &routes, &[prefix(1)], true);
    // The kernel heard it from elsewhere.
    kernel.peers.insert(key(1), Some(endpoint(77)));
    assert_eq!(peers.read(kernel.device()), []);
    follow(&mut peers, &mut kernel, &routes, &[prefix(1)], true);
    assert_eq!(kernel.peers[&key(1)], Some(endpoint(77)));
    peers.want([(key(1), endpoint(9))].into_iter());
    let put =
        PeerChange::Put { key: key(1), endpoint: Some(endpoint(9)), allowed: vec![IpNetwork::from(endpoint(9).ip())] };
    assert_eq!(peers.additions(&[], |_| None, true), [put]);
}

#[test]
fn what_somebody_else_did_to_peers_is_noticed_and_undone() {
    let (mut peers, mut kernel) = (Peers::default(), Kernel::default());
    let routes = Routes::from([(prefix(1), key(1)), (prefix(2), key(2))]);
    peers.read(kernel.device());
    let touched = [prefix(1), prefix(2), prefix(3)];
    follow(&mut peers, &mut kernel, &routes, &touched, true);
    let right = kernel.clone();
    // A peer more, which took a prefix and brought one; a peer less.
    kernel.change(&[PeerChange::Put { key: key(9), endpoint: None, allowed: vec![prefix(1), prefix(3)] }]);
    kernel.change(&[PeerChange::Remove(key(2))]);
    let mut touchers = peers.read(kernel.device());
    touchers.sort();
    assert_eq!(touchers, [key(1), key(2), key(9)]);
    let all: Vec<IpNetwork> = peers.allowed().chain(routes.keys().copied()).collect();
    follow(&mut peers, &mut kernel, &routes, &all, true);
    assert_eq!(kernel, right);
}

#[test]
fn a_change_of_one_prefix_among_very_many_is_one_change_of_one_peer() {
    let (mut peers, mut kernel) = (Peers::default(), Kernel::default());
    let mut routes = Routes::new();
    for number in 0..20_000u32 {
        let prefix = IpNetwork::new((0x0a00_0000 + (number << 8)).to_be_bytes().into(), 24).expect("a prefix");
        routes.insert(prefix, key((number % 250 + 1) as u8));
    }
    let all: Vec<IpNetwork> = routes.keys().copied().collect();
    follow(&mut peers, &mut kernel, &routes, &all, true);
    routes.insert(all[7], key(200));
    let owner = |prefix| routes.get(&prefix).copied();
    let changes = peers.additions(&all[7..8], owner, false);
    assert_eq!(changes, [PeerChange::Put { key: key(200), endpoint: None, allowed: vec![all[7]] }]);
    kernel.change(&changes);
    peers.note(&changes, Vec::new());
    assert_eq!(peers.removals(&all[7..8], |prefix| owner(prefix).is_some(), false, true), []);
}

#[test]
fn where_sessions_are_held_the_node_with_the_lesser_key_sends_keepalives_and_nobody_else_can_stop_or_start_them() {
    let (mut peers, mut kernel) = (Peers::default(), Kernel::default());
    let routes = Routes::from([(prefix(1), key(1)), (prefix(2), key(3))]);
    peers.read(kernel.device());
    peers.hold(Some(key(2)));
    let touched = [prefix(1), prefix(2)];
    follow(&mut peers, &mut kernel, &routes, &touched, true);
    assert_eq!(kernel.keepalives, BTreeMap::from([(key(3), KEEPALIVE)]));
    let right = kernel.clone();
    assert_eq!(peers.read(kernel.device()), []);
    kernel.change(&[PeerChange::Keepalive(key(1), 25), PeerChange::Keepalive(key(3), 0)]);
    let mut touchers = peers.read(kernel.device());
    touchers.sort();
    assert_eq!(touchers, [key(1), key(3)]);
    follow(&mut peers, &mut kernel, &routes, &[], true);
    assert_eq!(kernel, right);
    // Made anew, it is sent them again.
    kernel.change(&[PeerChange::Remove(key(3))]);
    peers.read(kernel.device());
    follow(&mut peers, &mut kernel, &routes, &touched, true);
    assert_eq!(kernel, right);
    peers.hold(None);
    follow(&mut peers, &mut kernel, &routes, &[], true);
    assert_eq!(kernel, Kernel { keepalives: BTreeMap::new(), ..right });
}
