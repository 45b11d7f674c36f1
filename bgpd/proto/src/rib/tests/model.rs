//! Random histories against a model that knows no groups, cursors, words or reference counts: for each prefix it lists
//! the paths that peers sent and nobody withdrew, and asks the decision process and the export rules, which have tests of
//! their own, what follows from them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::world::*;
use crate::conduct::{Conduct, NextHopMode};
use crate::filter::number::Adjust;
use crate::filter::{Condition, Decision, Filter, MatchContext, Rule, Set, Then, Validation};
use crate::rib::adj_out::Limits;
use crate::rib::decision::{Candidate, Choice, Merit};
use crate::rib::export::{GroupKey, Source, permits, transform};
use crate::rib::peers::at;
use crate::rib::{Drain, Held, PageStart, PeerPolicy, Scope, Seen};
use crate::types::{Family, FamilySet, Nlri, PathId, PeerId, Prefix};
use crate::wire::attributes::Attributes;
use crate::wire::community::Community;

const PEERS: [(u16, Role); 6] = [
    (1, Role::External(65001)),
    (2, Role::External(65002)),
    (3, Role::Internal),
    (4, Role::Internal),
    (5, Role::Client),
    (6, Role::Client),
];

fn prefixes() -> Vec<Prefix> {
    let v4 = (0..12).map(|number| format!("10.{number}.0.0/16"));
    v4.chain((0..4).map(|number| format!("fd00:{number}::/32"))).map(|text| prefix(&text)).collect()
}

/// One thing that happens. Peers and prefixes are places in the lists above.
#[derive(Clone, Debug)]
enum Event {
    Announce {
        peer: usize,
        prefix: usize,
        count: usize,
        variant: u32,
        path_id: u32,
    },
    Withdraw {
        peer: usize,
        prefix: usize,
        count: usize,
        path_id: u32,
    },
    Originate {
        prefix: usize,
        variant: u32,
    },
    Unoriginate {
        prefix: usize,
    },
    /// `several`: in which families it sends and takes several paths to one prefix, a bit each.
    Up {
        peer: usize,
        restart: Option<bool>,
        several: u8,
    },
    Down {
        peer: usize,
        retain: bool,
    },
    EndOfRib {
        peer: usize,
        family: usize,
    },
    Refresh {
        peer: usize,
        family: usize,
    },
    Read {
        peer: usize,
        reads: bool,
    },
    Policy {
        peer: usize,
        import: usize,
        export: usize,
        flags: [bool; 3],
        most: usize,
    },
    Drain {
        to: Drain,
    },
    /// Whether the next hop of a peer's routes of one family is out of reach.
    Reach {
        peer: usize,
        v6: bool,
        unreachable: bool,
    },
    Step,
    Settle,
}

fn event() -> impl Strategy<Value = Event> {
    let (peer, prefix, family) = (0..PEERS.len(), 0..16usize, 0..2usize);
    prop_oneof![
        10 => (peer.clone(), prefix.clone(), 1..6usize, 0..60u32, 0..3u32).prop_map(
            |(peer, prefix, count, variant, path_id)| Event::Announce { peer, prefix, count, variant, path_id }
        ),
        6 => (peer.clone(), prefix.clone(), 1..8usize, 0..3u32)
            .prop_map(|(peer, prefix, count, path_id)| Event::Withdraw { peer, prefix, count, path_id }),
        2 => (prefix.clone(), 0..60u32).prop_map(|(prefix, variant)| Event::Originate { prefix, variant }),
        2 => prefix.prop_map(|prefix| Event::Unoriginate { prefix }),
        5 => (peer.clone(), prop::option::of(any::<bool>()), prop_oneof![Just(0), 0..16u8])
            .prop_map(|(peer, restart, several)| Event::Up { peer, restart, several }),
        2 => (peer.clone(), any::<bool>()).prop_map(|(peer, retain)| Event::Down { peer, retain }),
        1 => (peer.clone(), family.clone()).prop_map(|(peer, family)| Event::EndOfRib { peer, family }),
        2 => (peer.clone(), family).prop_map(|(peer, family)| Event::Refresh { peer, family }),
        3 => (peer.clone(), any::<bool>()).prop_map(|(peer, reads)| Event::Read { peer, reads }),
        2 => (peer, 0..4usize, 0..4usize, any::<[bool; 3]>(), 1..5usize).prop_map(
            |(peer, import, export, flags, most)| {
                Event::Policy { peer, import, export, flags, most }
            }
        ),
        1 => prop_oneof![2 => Just(Drain::Off), 1 => Just(Drain::LastResort), 1 => Just(Drain::Withdrawn)]
            .prop_map(|to| Event::Drain { to }),
        3 => (0..PEERS.len(), any::<bool>(), any::<bool>())
            .prop_map(|(peer, v6, unreachable)| Event::Reach { peer, v6, unreachable }),
        8 => Just(Event::Step),
        2 => Just(Event::Settle),
    ]
}

fn filter(number: usize) -> Option<Arc<Filter>> {
    let accept = |set: Set| Rule { set, ..Rule::accept(vec![]) };
    let rules = match number {
        0 => return None,
        1 => vec![accept(Set::default())],
        2 => {
            let first = Rule {
                conditions: vec![Condition::Prefix(vec!["10.0.0.0/13 le 16".parse().unwrap()])],
                ..accept(Set {
                    local_pref: Some(150.into()),
                    add_communities: vec![Community(9).into()],
                    ..Set::default()
                })
            };
            vec![first, Rule::accept(vec![Condition::Prefix(vec!["fd00::/16 le 64".parse().unwrap()])])]
        }
        _ => vec![
            Rule::reject(vec![Condition::Community(vec!["0:3".parse().unwrap()])]),
            Rule {
                set: Set { weight: Some(3), remove_communities: vec!["0:4".parse().unwrap()], ..Set::default() },
                then: Then::Next,
                ..Rule::accept(vec![Condition::Community(vec!["0:4".parse().unwrap()])])
            },
            Rule {
                set: Set { med: Some(Adjust::Up(4)), ..Set::default() },
                then: Then::Next,
                ..Rule::accept(vec![Condition::AsPathLength("ge 2".parse().unwrap())])
            },
            accept(Set { med: Some(Adjust::Up(5)), prepend: 1, ..Set::default() }),
        ],
    };
    Some(Arc::new(Filter { name: format!("filter-{number}"), rules }))
}

fn attributes(peer: u16, role: Option<Role>, family: Family, variant: u32) -> Attributes {
    let path: Vec<u32> = match role {
        Some(Role::External(asn)) => [asn, 7, 7][..1 + (variant % 3) as usize].to_vec(),
        Some(Role::Internal | Role::Client) => [7, 7][..(variant % 3) as usize].to_vec(),
        None => vec![],
    };
    let mut made = match (family, role) {
        (_, None) => local(),
        (Family::Ipv4Unicast, Some(_)) => route(peer, &path),
        (Family::Ipv6Unicast, Some(_)) => route6(peer, &path),
    };
    made.med = [None, Some(1)][(variant / 3 % 2) as usize];
    if !matches!(role, Some(Role::External(_))) {
        made.local_pref = [None, Some(120)][(variant / 6 % 2) as usize];
    }
    made.communities = match variant / 12 {
        0 => Box::default(),
        1 => [Community(3)].into(),
        2 => [Community::NO_EXPORT].into(),
        3 => [Community(4), Community::NO_ADVERTISE].into(),
        _ => [Community(4), Community::GRACEFUL_SHUTDOWN].into(),
    };
    if variant == 47 {
        // Our own AS: a loop.
        made.as_path.prepend(OUR_AS, u16::from(role.is_some()).into());
    }
    made
}

struct ModelPeer {
    role: Role,
    policy: PeerPolicy,
    up: bool,
    restartable: bool,
    /// Families in which it sends path identifiers.
    sends: FamilySet,
    /// Families in which it takes them.
    takes: FamilySet,
    /// With whether it is stale.
    routes: BTreeMap<(Prefix, PathId), (Attributes, bool)>,
}

struct Model {
    world: World,
    peers: BTreeMap<u16, ModelPeer>,
    local: BTreeMap<Prefix, Attributes>,
    /// Next hops.
    unreachable: BTreeSet<IpAddr>,
    /// What somebody who watches has: as it came, and behind the import filter.
    watched: BTreeMap<(PeerId, Nlri), (Attributes, Option<Attributes>)>,
}

impl Model {
    fn new() -> Self {
        let mut world = World::new();
        world.rib.groups.limits = Limits { high: 300, low: 100, window: 3, decisions: 4 };
        let mut peers = BTreeMap::new();
        for (peer, role) in PEERS {
            world.rib.set_peer(PeerId(peer), policy(peer, role), world.now);
            let known = ModelPeer {
                role,
                policy: policy(peer, role),
                up: false,
                restartable: false,
                sends: FamilySet::EMPTY,
                takes: FamilySet::EMPTY,
                routes: BTreeMap::new(),
            };
            peers.insert(peer, known);
        }
        let mut world = world;
        world.rib.set_watched(true);
        Self { world, peers, local: BTreeMap::new(), unreachable: BTreeSet::new(), watched: BTreeMap::new() }
    }

    /// What somebody who watches has seen by now.
    fn watch(&mut self) {
        for seen in self.world.rib.take_seen() {
            match seen {
                Seen::Announced { peer, received, accepted, nlri } => {
                    let made = ((*received).clone(), accepted.map(|accepted| (*accepted).clone()));
                    self.watched.extend(nlri.into_iter().map(|nlri| ((peer, nlri), made.clone())));
                }
                Seen::Withdrawn { peer, nlri } => {
                    nlri.into_iter().for_each(|nlri| drop(self.watched.remove(&(peer, nlri))))
                }
                Seen::EndOfRib { .. } => {}
            }
        }
        // That a session ended is said by whoever ends it.
        let peers = &self.peers;
        self.watched.retain(|(peer, _), _| peers.get(&peer.0).is_some_and(|peer| peer.up));
    }

    fn happen(&mut self, event: &Event) {
        let all = prefixes();
        let slice = |from: usize, count: usize| -> Vec<Prefix> { all.iter().skip(from).take(count).copied().collect() };
        let world = &mut self.world;
        match *event {
            Event::Announce { peer, prefix, count, variant, path_id } => {
                let (number, role) = PEERS[peer];
                let known = self.peers.get_mut(&number).unwrap();
                for family in Family::ALL {
                    let made = attributes(number, Some(role), family, variant);
                    let mut nets = slice(prefix, count);
                    nets.retain(|net| net.family() == family);
                    let path_id = if known.sends.contains(family) { path_id } else { 0 };
                    if known.up {
                        let of = |net: &Prefix| ((*net, PathId(path_id)), (made.clone(), false));
                        known.routes.extend(nets.iter().map(of));
                    }
                    world.hear(number, vec![announce_path(made, &nets, path_id)]);
                }
            }
            Event::Withdraw { peer, prefix, count, path_id } => {
                let known = self.peers.get_mut(&PEERS[peer].0).unwrap();
                for family in Family::ALL {
                    let mut nets = slice(prefix, count);
                    nets.retain(|net| net.family() == family);
                    let path_id = if known.sends.contains(family) { path_id } else { 0 };
                    if known.up {
                        nets.iter().for_each(|net| drop(known.routes.remove(&(*net, PathId(path_id)))));
                    }
                    world.hear(PEERS[peer].0, vec![withdraw_path(&nets, path_id)]);
                }
            }
            Event::Originate { prefix, variant } => {
                let made = attributes(0, None, all[prefix].family(), variant);
                self.local.insert(all[prefix], made.clone());
                world.rib.originate(all[prefix], made, world.now);
            }
            Event::Unoriginate { prefix } => {
                self.local.remove(&all[prefix]);
                world.rib.withdraw(all[prefix]);
            }
            Event::Up { peer, restart, several } => {
                let (number, role) = PEERS[peer];
                let known = self.peers.get_mut(&number).unwrap();
                if known.up {
                    return;
                }
                known.up = true;
                known.restartable = restart.is_some();
                if restart != Some(true) {
                    known.routes.retain(|_, (_, stale)| !*stale);
                }
                let bits = |shift: u8| {
                    Family::ALL.into_iter().filter(|family| several >> shift >> at(*family) & 1 == 1).collect()
                };
                (known.sends, known.takes) = (bits(0), bits(2));
                let mut up = established(number, role, restart.and_then(|forwards| restarts(false, forwards)));
                (up.receive.add_path, up.send.add_path) = (known.sends, known.takes);
                world.connect_as(number, up);
            }
            Event::Down { peer, retain } => {
                let known = self.peers.get_mut(&PEERS[peer].0).unwrap();
                if known.up {
                    known.up = false;
                    let keep = retain && known.restartable;
                    known.routes.retain(|_, (_, stale)| keep && !std::mem::replace(stale, true));
                    world.down(PEERS[peer].0, retain.then_some(Duration::from_secs(120)));
                }
            }
            Event::EndOfRib { peer, family } => {
                let known = self.peers.get_mut(&PEERS[peer].0).unwrap();
                if known.up {
                    known.routes.retain(|(net, _), (_, stale)| net.family() != Family::ALL[family] || !*stale);
                }
                world.hear(PEERS[peer].0, vec![end_of_rib(Family::ALL[family])]);
            }
            Event::Refresh { peer, family } => world.rib.handle_refresh(PeerId(PEERS[peer].0), Family::ALL[family]),
            Event::Read { peer, reads } => {
                if let Some(ear) = world.ears.get_mut(&PEERS[peer].0) {
                    ear.reads = reads;
                }
            }
            Event::Policy { peer, import, export, flags: [client, next_hop_self, graceful_shutdown], most } => {
                let number = PEERS[peer].0;
                let known = self.peers.get_mut(&number).unwrap();
                known.policy = PeerPolicy {
                    import: filter(import),
                    export: filter(export),
                    client,
                    graceful_shutdown,
                    add_path_most: most,
                    conduct: Conduct {
                        next_hop: if next_hop_self { NextHopMode::Own } else { NextHopMode::Auto },
                        ..known.policy.conduct
                    },
                    ..known.policy.clone()
                };
                world.rib.set_peer(PeerId(number), known.policy.clone(), world.now);
            }
            Event::Drain { to } => world.rib.set_drain(to),
            Event::Reach { peer, v6, unreachable } => {
                let number = PEERS[peer].0;
                let next_hop = if v6 { route6(number, &[]).next_hop } else { route(number, &[]).next_hop }.address();
                if unreachable {
                    self.unreachable.insert(next_hop);
                } else {
                    self.unreachable.remove(&next_hop);
                }
                world.rib.set_unreachable(&[(next_hop, unreachable)]);
            }
            Event::Step => drop(world.step()),
            Event::Settle => world.settle(),
        }
    }

    /// What the peer's route is behind import, if it is accepted.
    fn imported(peer: &ModelPeer, net: Prefix, sent: &Attributes) -> Option<Attributes> {
        if sent.as_path.contains(OUR_AS) {
            return None;
        }
        let external = matches!(peer.role, Role::External(_));
        let Some(filter) = &peer.policy.import else {
            return (!external).then(|| sent.clone());
        };
        let source = match peer.role {
            Role::External(_) => crate::filter::Source::External,
            Role::Internal | Role::Client => crate::filter::Source::Internal,
        };
        let route = MatchContext {
            prefix: net,
            attributes: sent,
            peer: &peer.policy.name,
            source,
            validation: Validation::NotFound,
        };
        match filter.decide(&route, OUR_AS) {
            Decision::Accept(accepted) => {
                let mut made = sent.clone();
                filter.apply(accepted, &mut made, OUR_AS);
                let leaving = sent.communities.contains(&Community::GRACEFUL_SHUTDOWN);
                if external && peer.policy.graceful_shutdown && leaving {
                    (made.weight, made.local_pref) = (0, Some(0));
                }
                Some(made)
            }
            Decision::Reject(_) => None,
        }
    }

    /// All accepted paths of a prefix that are decided about, by peer and path identifier, and how many are not, because their
    /// next hop is out of reach.
    fn resolved(&self, net: Prefix) -> (Vec<(u16, PathId, Attributes)>, usize) {
        let of_peer = |(&number, peer): (&u16, &_)| {
            let ModelPeer { routes, .. } = peer;
            let of_net = routes.range((net, PathId(0))..=(net, PathId(u32::MAX)));
            let imported = of_net.filter_map(|((_, id), (sent, _))| Some((*id, Self::imported(peer, net, sent)?)));
            imported.map(|(id, made)| (number, id, made)).collect::<Vec<_>>()
        };
        let local = self.local.get(&net).map(|made| (PeerId::LOCAL.0, PathId(0), made.clone()));
        let reachable = |(_, _, made): &(_, _, Attributes)| !self.unreachable.contains(&made.next_hop.address());
        let (mut resolved, others): (Vec<_>, Vec<_>) = self.peers.iter().flat_map(of_peer).partition(reachable);
        resolved.extend(local);
        (resolved, others.len())
    }

    fn accepted(&self, net: Prefix) -> Vec<(u16, PathId, Attributes)> {
        self.resolved(net).0
    }

    fn candidates(&self, paths: &[(u16, PathId, Attributes)]) -> Vec<Candidate> {
        paths
            .iter()
            .map(|(number, path_id, made)| Candidate {
                merit: Merit::of(made),
                local: *number == PeerId::LOCAL.0,
                external: self.peers.get(number).is_some_and(|peer| matches!(peer.role, Role::External(_))),
                router_id: crate::types::RouterId([10, 0, 0, *number as u8].into()),
                address: address(*number).into(),
                path_id: *path_id,
            })
            .collect()
    }

    /// The multipath set of a prefix: the best path first, then by peer.
    fn best(&self, net: Prefix) -> Vec<(PeerId, Attributes)> {
        let paths = self.accepted(net);
        let candidates = self.candidates(&paths);
        let mut choice = Choice::default();
        choice.decide(&candidates, 4);
        if let Some(others) = choice.paths.get_mut(1..) {
            others.sort_unstable();
        }
        choice.paths.iter().map(|&index| (PeerId(paths[index].0), paths[index].2.clone())).collect()
    }

    /// Where there is one best path and it was learned: the best of those that lead elsewhere.
    fn backup(&self, net: Prefix) -> Option<(PeerId, Attributes)> {
        let best = self.best(net);
        let [(peer, best)] = best.as_slice() else { return None };
        let mut others = self.accepted(net);
        others.retain(|(_, _, made)| (made.next_hop, &made.tunnels) != (best.next_hop, &best.tunnels));
        let mut choice = Choice::default();
        choice.decide(&self.candidates(&others), 1);
        let (number, _, made) = others.get(*choice.paths.first()?)?;
        (*peer != PeerId::LOCAL).then(|| (PeerId(*number), made.clone()))
    }

    /// What a peer is to hold: of each prefix the best path, and in families with several, the best that it may hear.
    fn due(&self, number: u16) -> BTreeMap<(Prefix, Option<(PeerId, PathId)>), Attributes> {
        let peer = self.world.rib.peers.get(PeerId(number));
        let key = peer.and_then(|peer| GroupKey::of(peer, self.world.rib.drain())).expect("a session");
        let takes = self.peers[&number].takes;
        let exported = |net: Prefix, from: u16, made: &Attributes| {
            let source = match self.peers.get(&from) {
                None => Source::Local,
                Some(peer) if matches!(peer.role, Role::External(_)) => {
                    Source::External { address: peer.policy.address }
                }
                Some(peer) => Source::Internal {
                    client: peer.policy.client,
                    router_id: crate::types::RouterId([10, 0, 0, from as u8].into()),
                    address: peer.policy.address,
                },
            };
            let accepted =
                permits(&self.world.rib.config, &key, None, net, made, source, self.world.rib.peers.get(PeerId(from)))
                    .ok()?;
            transform(&self.world.rib.config, &key, net.family(), made, source, accepted).ok()
        };
        let mut due = BTreeMap::new();
        for net in prefixes() {
            let paths = self.accepted(net);
            let several = takes.contains(net.family());
            let ranked = Choice::default().rank(&self.candidates(&paths));
            let (seen, most) = if several { (ranked.len(), self.peers[&number].policy.add_path_most) } else { (1, 1) };
            let sent = ranked.into_iter().take(seen).filter_map(|index| {
                let (from, theirs, made) = &paths[index];
                Some((*from, *theirs, exported(net, *from, made)?))
            });
            // One of the best may be the peer's own, which it does not hear again.
            for (from, theirs, made) in sent.take(most).filter(|(from, ..)| *from != number) {
                due.insert((net, several.then_some((PeerId(from), theirs))), made);
            }
        }
        due
    }

    /// What a peer holds, with what our path identifiers stand for.
    fn held(&self, number: u16) -> BTreeMap<(Prefix, Option<(PeerId, PathId)>), Attributes> {
        let Ear { holds, paths, .. } = &self.world.ears[&number];
        let single = holds.iter().map(|(net, made)| ((*net, None), (**made).clone()));
        let several = paths.iter().map(|((net, id), made)| {
            let path = self.world.rib.store.path_ids.path(*id);
            ((*net, Some(path.expect("an identifier in use"))), (**made).clone())
        });
        single.chain(several).collect()
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        for net in prefixes() {
            let known = self
                .world
                .best
                .get(&net)
                .map(|paths| paths.iter().map(|path| (path.peer, (*path.attributes).clone())).collect::<Vec<_>>());
            prop_assert_eq!(known.unwrap_or_default(), self.best(net), "best paths of {}", net);
            let backup = self.world.backups.get(&net).map(|path| (path.peer, (*path.attributes).clone()));
            prop_assert_eq!(backup, self.backup(net), "backup of {}", net);
            let (resolved, others) = self.resolved(net);
            let shown = self.world.rib.routes(Scope::Unresolved, Some(net), usize::MAX, self.world.now).len();
            prop_assert_eq!(shown, if resolved.is_empty() { others } else { 0 }, "paths of {} that lead nowhere", net);
        }
        for number in self.peers.keys() {
            let sent = self.world.rib.routes(Scope::Received(PeerId(*number)), None, usize::MAX, self.world.now);
            let stale = sent.iter().filter(|view| view.stale).count();
            let counted: usize = retained(&self.world, *number).iter().map(|(paths, ..)| paths).sum();
            prop_assert_eq!(counted, stale, "stale paths of peer {}", number);
        }
        for (number, peer) in self.peers.iter().filter(|(_, peer)| peer.up) {
            let held = self.held(*number);
            let due = self.due(*number);
            prop_assert_eq!(&held, &due, "what peer {} holds, and should", number);
            prop_assert_eq!(self.world.ears[number].vain, 0, "withdrawn from peer {} that it did not hold", number);
            let counts = self.world.rib.counts(PeerId(*number));
            prop_assert_eq!((counts.received, counts.advertised), (peer.routes.len(), due.len()), "peer {}", number);
            let accepted =
                peer.routes.iter().filter(|((net, _), (sent, _))| Self::imported(peer, *net, sent).is_some());
            prop_assert_eq!(counts.accepted, accepted.count(), "accepted of peer {}", number);
            prop_assert_eq!(self.world.ears[number].ended.len(), 2, "End-of-RIB to peer {}", number);
        }
        let (walked, rest) = self.world.rib.walk(PageStart::default(), usize::MAX / 16);
        prop_assert!(rest.is_none());
        let up = |peer: PeerId| self.peers.get(&peer.0).is_some_and(|peer| peer.up);
        let made = |held: &Held| ((*held.received).clone(), held.accepted.as_deref().cloned());
        let walked: BTreeMap<_, _> = walked
            .iter()
            .filter(|held| up(held.peer) && !held.stale)
            .map(|held| ((held.peer, held.nlri), made(held)))
            .collect();
        prop_assert_eq!(&self.watched, &walked, "what somebody who watches has, and a walk finds");
        let prefixes_held: usize = self.world.rib.tables.iter().map(|table| table.len()).sum();
        let mut listed: Vec<Prefix> =
            self.peers.values().flat_map(|peer| peer.routes.keys()).map(|(net, _)| *net).collect();
        listed.extend(self.local.keys());
        listed.sort();
        listed.dedup();
        prop_assert_eq!(prefixes_held, listed.len(), "prefixes in the tables");
        Ok(())
    }

    fn read_all(&mut self) {
        self.world.ears.values_mut().for_each(|ear| ear.reads = true);
        self.world.settle();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn after_any_history_best_paths_and_what_peers_hold_are_what_the_model_says(
        events in prop::collection::vec(event(), 1..120),
    ) {
        let mut model = Model::new();
        for event in &events {
            model.happen(event);
            model.watch();
        }
        model.read_all();
        model.watch();
        model.check()?;

        // And nothing is left behind once all of it is undone.
        for (number, _) in PEERS {
            model.world.ears.remove(&number);
            model.world.rib.remove_peer(PeerId(number), model.world.now);
        }
        prefixes().into_iter().for_each(|net| model.world.rib.withdraw(net));
        model.world.settle();
        let rib = &mut model.world.rib;
        let left = (rib.tables[0].len(), rib.tables[1].len(), rib.store.len(), rib.groups.adverts());
        prop_assert_eq!(left, (0, 0, 0, 0), "prefixes, prefixes, sets of attributes, adverts");
        prop_assert_eq!(rib.store.path_ids.len(), 0, "path identifiers");
        prop_assert_eq!(rib.forget_unreachable(), Vec::from_iter(model.unreachable), "next hops");
        prop_assert_eq!(rib.unresolved_prefixes(), 0);
        prop_assert!(model.world.best.is_empty());
    }
}
