//! The shape of a network: its nodes, who is whose neighbour, and the links between them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use bgp_proto::rib::Drain;
use bgp_proto::session::{Extensions, SendHoldTime};
use bgp_proto::types::{Asn, ClusterId, Family, FamilySet, HoldTime, RouterId};
use bgp_proto::wire::capability::AddPath;

use super::{Scenario, Shape, next_hop};
use crate::random::Random;
use crate::topology::{LinkSpec, NodeId, NodeSpec, PeerSpec};

/// Between two nodes of one AS, what each is to the other.
#[derive(Clone, Copy)]
enum Inside {
    /// Neither reflects to the other.
    Peers,
    /// The first reflects to the second.
    Client,
}

impl Scenario {
    pub(super) fn lay_out(&mut self, random: &mut Random) {
        match self.shape {
            Shape::Mesh => {
                let count = 2 + random.below(5);
                let nodes = self.nodes(random, count, |_| 64512);
                self.mesh(random, &nodes);
            }
            Shape::Reflector => {
                let count = 3 + random.below(5);
                let nodes = self.nodes(random, count, |_| 64512);
                for client in &nodes[1..nodes.len() - 1] {
                    self.inside(random, nodes[0], *client, Inside::Client);
                }
                let last = if random.percent(50) { Inside::Peers } else { Inside::Client };
                self.inside(random, nodes[0], nodes[nodes.len() - 1], last);
            }
            Shape::Reflectors => {
                let count = 4 + random.below(5);
                let nodes = self.nodes(random, count, |_| 64512);
                self.inside(random, nodes[0], nodes[1], Inside::Peers);
                if random.percent(40) {
                    self.topology.nodes[1].cluster_id = self.topology.nodes[0].cluster_id;
                }
                for client in &nodes[2..] {
                    let both = random.percent(60);
                    let one = random.below(2);
                    for reflector in [0, 1].into_iter().filter(|reflector| both || *reflector == one) {
                        self.inside(random, nodes[reflector], *client, Inside::Client);
                    }
                }
            }
            Shape::Chain | Shape::Ring => {
                let count = 3 + random.below(4);
                let nodes = self.nodes(random, count, |index| 65001 + index as u32 * 70_000);
                for pair in nodes.windows(2) {
                    self.outside(random, pair[0], pair[1]);
                }
                if self.shape == Shape::Ring {
                    self.outside(random, nodes[0], nodes[nodes.len() - 1]);
                }
            }
            Shape::Clos => {
                let one_as = random.percent(50);
                let asn = |index: usize| if one_as && index < 2 { 65000 } else { 65001 + index as u32 };
                let count = 4 + random.below(4);
                let nodes = self.nodes(random, count, asn);
                for leaf in &nodes[2..] {
                    self.outside(random, nodes[0], *leaf);
                    self.outside(random, nodes[1], *leaf);
                }
            }
            Shape::Mixed => self.lay_out_mixed(random),
            Shape::Big => {
                let external = random.percent(50);
                let asn = |index: usize| if external { 65001 + index as u32 } else { 64512 };
                let count = 2 + random.below(2);
                let nodes = self.nodes(random, count, asn);
                for (at, node) in nodes.iter().enumerate() {
                    for other in &nodes[at + 1..] {
                        if external {
                            self.outside(random, *node, *other);
                        } else {
                            self.inside(random, *node, *other, Inside::Peers);
                        }
                    }
                }
            }
        }
    }

    /// Two to four ASes of one to three routers, with links between many of their routers.
    fn lay_out_mixed(&mut self, random: &mut Random) {
        let sizes: Vec<usize> = (0..2 + random.below(3)).map(|_| 1 + random.below(3)).collect();
        let of: Vec<usize> =
            sizes.iter().enumerate().flat_map(|(group, size)| std::iter::repeat_n(group, *size)).take(8).collect();
        let nodes = self.nodes(random, of.len(), |index| 65001 + of[index] as u32);
        let groups: Vec<Vec<NodeId>> = (0..sizes.len())
            .map(|group| nodes.iter().copied().filter(|node| of[node.index()] == group).collect())
            .collect();
        for group in &groups {
            if group.len() == 3 && random.percent(50) {
                self.inside(random, group[0], group[1], Inside::Client);
                self.inside(random, group[0], group[2], Inside::Client);
            } else {
                self.mesh(random, group);
            }
        }
        for (at, group) in groups.iter().enumerate() {
            for other in groups[at + 1..].iter().filter(|other| !other.is_empty() && !group.is_empty()) {
                let mut pairs: Vec<(NodeId, NodeId)> =
                    group.iter().flat_map(|a| other.iter().map(move |b| (*a, *b))).collect();
                random.shuffle(&mut pairs);
                for (a, b) in pairs.into_iter().take(1 + random.below(2)) {
                    self.outside(random, a, b);
                }
            }
        }
    }

    fn nodes(&mut self, random: &mut Random, count: usize, asn: impl Fn(usize) -> u32) -> Vec<NodeId> {
        // In another order than the nodes', so that lowest identifier, lowest address and first node are not the same.
        let (mut ids, mut hosts): (Vec<u8>, Vec<u8>) = ((1..=count as u8).collect(), (1..=count as u8).collect());
        random.shuffle(&mut ids);
        random.shuffle(&mut hosts);
        for index in 0..count {
            let router_id = Ipv4Addr::new(10, 0, 0, ids[index]);
            self.topology.nodes.push(NodeSpec {
                asn: Asn(asn(index)),
                two_octets: false,
                router_id: RouterId(router_id),
                cluster_id: ClusterId(router_id),
                address4: Ipv4Addr::new(192, 0, 2, hosts[index]),
                address6: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, hosts[index].into()),
                max_paths: random.pick(&[1, 1, 2, 4]),
                graceful_restart: random.percent(50).then(|| 20 + random.below(100) as u16),
                deferral: random.between(Duration::from_secs(20), Duration::from_secs(90)),
                notification: false,
                long_lived: 0,
                bfd_outlives: false,
                monitored: false,
                vrps: None,
                cache: None,
                cache_gone: false,
                drain: Drain::Off,
                unreachable: BTreeSet::new(),
                aggregates: Vec::new(),
                originated: BTreeMap::new(),
                peers: BTreeMap::new(),
            });
        }
        self.topology.ids().collect()
    }

    fn mesh(&mut self, random: &mut Random, nodes: &[NodeId]) {
        for (at, node) in nodes.iter().enumerate() {
            for other in &nodes[at + 1..] {
                self.inside(random, *node, *other, Inside::Peers);
            }
        }
    }

    fn inside(&mut self, random: &mut Random, a: NodeId, b: NodeId, relation: Inside) {
        self.join(random, a, b);
        if let (Inside::Client, Some(peer)) = (relation, self.topology.nodes[a.index()].peers.get_mut(&b)) {
            peer.client = true;
        }
    }

    fn outside(&mut self, random: &mut Random, a: NodeId, b: NodeId) {
        self.join(random, a, b);
    }

    /// A link with a session.
    fn join(&mut self, random: &mut Random, a: NodeId, b: NodeId) {
        // A handshake must fit into the least time that a session gives a connection attempt, 3.75 s.
        let delays = [(0, 1_000), (5_000, 50_000), (300_000, 1_200_000)];
        let (least, most) = if self.big { delays[0] } else { random.pick(&delays) };
        let delay = random.between(Duration::from_micros(least), Duration::from_micros(most));
        let windows = if self.big { [1 << 14, 1 << 16, 1 << 18] } else { [512, 4096, 1 << 16] };
        self.topology.links.push(LinkSpec {
            ends: [a, b],
            over_ipv6: random.percent(30),
            unnumbered: false,
            renumbered: [0; 2],
            delay,
            jitter: delay.mul_f64(random.pick(&[0.0, 0.1, 0.5])),
            reader_lag: Duration::from_millis(random.pick(&[0, 1, 100])),
            window: random.pick(&windows),
        });
        let hold_times: [HoldTime; 2] = [(); 2].map(|()| {
            let seconds = if self.big { 180 } else { random.pick(&[9, 30, 90, 180]) };
            HoldTime::from_seconds(seconds).unwrap_or_default()
        });
        let all: FamilySet = Family::ALL.into_iter().collect();
        let mut families = [all; 2];
        if random.percent(20) {
            families[random.below(2)].remove(random.pick(&Family::ALL));
        }
        let passive = random.percent(20).then(|| random.below(2));
        for (side, (node, peer)) in [(a, b), (b, a)].into_iter().enumerate() {
            let spec = PeerSpec {
                families: families[side],
                hold_time: hold_times[side],
                send_hold: SendHoldTime::default(),
                connect_retry: Duration::from_secs(5),
                passive: passive == Some(side),
                client: false,
                add_path: AddPath::NONE,
                conduct: next_hop(random.percent(20)),
                graceful_shutdown: true,
                add_path_most: 16,
                segment: false,
                local_as: None,
                max_prefixes: None,
                bfd: None,
                blackhole: false,
                extensions: Extensions::default(),
                import: None,
                export: None,
            };
            self.topology.nodes[node.index()].peers.insert(peer, spec);
        }
    }
}
