//! Next hops that are reached by the routes that go by them: the RIB, the translation and a kernel, in a circle.

use std::time::{Duration, Instant};

use bgp_proto::filter::Filter;
use bgp_proto::rib::{Aggregate, Aggregates, Output, PeerPolicy, Rib, RibConfig, Scope};
use bgp_proto::session::Established;
use bgp_proto::types::{Asn, Family, FamilySet, Nlri, RouterId};
use bgp_proto::wire::community::Community;
use bgp_proto::wire::update::Announcement;
use bgp_proto::wire::{Update, UpdateContext};

use super::super::Tracking;
use super::*;

/// A host with routes that others have made, and its speaker with two external peers.
struct Host {
    world: World,
    rib: Rib,
    tracking: Tracking,
    fixed: Vec<(Prefix, &'static str)>,
    asked: BTreeMap<IpAddr, Reach>,
    now: Instant,
    /// How often the speaker was told anything.
    told: usize,
}

/// The RIB's clock, which stands still.
fn begin() -> bgp_proto::time::Instant {
    bgp_proto::time::Instant::from_start(Duration::ZERO)
}

impl Host {
    fn new(aggregate: Option<&str>, fixed: &[(&str, &'static str)]) -> Self {
        let aggregate = aggregate.map(|text| Aggregate {
            prefix: prefix(text),
            summary_only: false,
            med: None,
            local_pref: None,
            communities: Vec::new(),
            large_communities: Vec::new(),
        });
        let config = RibConfig {
            max_paths: 4,
            aggregates: aggregate.into_iter().collect::<Aggregates>(),
            tell_best: true,
            tell_backup: true,
            ..RibConfig::new(Asn(64512), RouterId([10, 0, 0, 9].into()))
        };
        let mut rib = Rib::new(config, begin());
        for peer in [1, 2] {
            rib.set_peer(PeerId(peer), policy(peer), begin());
            rib.handle_up(PeerId(peer), &established(peer), begin());
        }
        Self {
            world: World::new(settings(OverlayMode::Never)),
            rib,
            tracking: Tracking::default(),
            fixed: fixed.iter().map(|(to, how)| (prefix(to), *how)).collect(),
            asked: BTreeMap::new(),
            now: Instant::now(),
            told: 0,
        }
    }

    /// A peer announces a prefix; the second one's paths are longer.
    fn hear(&mut self, peer: u16, to: &str, next_hop: &str, communities: &[Community]) {
        let ases = [64512 + u32::from(peer), 7].into_iter().take(peer.into()).map(Asn);
        let mut attributes = Attributes::new(Origin::Igp, AsPath::sequence(ases), NextHop::from(ip(next_hop)));
        attributes.communities = communities.into();
        let nlri = vec![Nlri { prefix: prefix(to), path_id: bgp_proto::types::PathId(0) }];
        let announced = vec![Announcement { attributes: Arc::new(attributes), nlri }];
        self.rib.handle_updates(PeerId(peer), vec![Update { announced, ..Update::default() }], begin());
    }

    /// The most precise of what others have made and what we have installed.
    fn kernel(&self, address: IpAddr) -> Reach {
        let ours = self.world.held.iter().map(|(to, target)| (Prefix::from(*to), target.as_str()));
        let all = self.fixed.iter().copied().chain(ours).filter(|(to, _)| super::super::covers(*to, address));
        match all.max_by_key(|(to, _)| to.length()) {
            // As the kernel says it of a route by a gateway.
            Some((_, target)) if target.contains(" dev ") => reach(target.split(" dev ").next().unwrap_or_default()),
            Some((_, target)) => reach(target),
            None => reach("unreachable"),
        }
    }

    /// One turn of everybody; whether anything has changed.
    fn turn(&mut self) -> bool {
        let mut changed = self.rib.run(begin());
        while let Some(output) = self.rib.poll() {
            if let Output::Best(changes) = output {
                self.world.take_in(&changes);
                changed = true;
            }
        }
        let unknown = self.world.unknown();
        let news: Vec<IpAddr> = self
            .asked
            .iter()
            .filter(|(address, reach)| self.kernel(**address) != **reach)
            .map(|(address, _)| *address)
            .collect();
        let answers: Vec<(IpAddr, Reach)> =
            unknown.into_iter().chain(news).map(|address| (address, self.kernel(address))).collect();
        changed |= !answers.is_empty();
        for (address, reach) in &answers {
            self.tracking.hear(*address, reach, self.now);
            self.asked.insert(*address, reach.clone());
        }
        self.world.handle_reach(answers);
        let told = self.tracking.news(self.now);
        self.told += told.len();
        changed |= !told.is_empty();
        self.rib.set_unreachable(&told);
        changed | !self.world.settle().is_empty()
    }

    /// Turns until nothing changes but by time.
    fn settle(&mut self) {
        assert!((0..200).any(|_| !self.turn()), "it does not come to rest: {:?}", self.world.held);
    }

    fn held(&self) -> Vec<String> {
        self.world.held.iter().map(|(to, target)| format!("{to} {target}")).collect()
    }

    fn reason(&self, to: &str) -> String {
        self.rib.routes(Scope::Local, Some(prefix(to)), 1, begin())[0].reason.clone()
    }
}

fn policy(peer: u16) -> PeerPolicy {
    PeerPolicy {
        import: Some(Arc::new(Filter::accept_all("in"))),
        blackhole: true,
        ..PeerPolicy::new(format!("peer-{peer}"), address(peer), Asn(64512))
    }
}

fn address(peer: u16) -> IpAddr {
    IpAddr::from([192, 0, 2, peer as u8])
}

fn established(peer: u16) -> Established {
    let families = FamilySet::from_iter(Family::ALL);
    let context = UpdateContext { external: true, families, ..UpdateContext::PLAIN };
    let (asn, id) = (Asn(64512 + u32::from(peer)), RouterId([10, 0, 0, peer as u8].into()));
    Established::new(asn, id, context, ip("192.0.2.9"), address(peer))
}

/// The links to both peers.
const LINKS: (&str, &str) = ("192.0.2.0/24", "link eth0");

#[test]
fn a_next_hop_that_only_its_own_route_would_cover_is_out_of_reach_and_stays_so() {
    let mut host = Host::new(None, &[LINKS]);
    host.hear(1, "10.9.0.0/16", "10.9.0.1", &[]);
    host.settle();
    assert_eq!((host.held(), host.told), (vec![], 1));
    assert_eq!(host.reason("10.9.0.0/16"), "the next hop 10.9.0.1 is not reachable");
}

#[test]
fn two_prefixes_that_would_bring_each_others_next_hop_in_reach_do_not() {
    let mut host = Host::new(None, &[LINKS]);
    host.hear(1, "10.8.0.0/16", "10.9.0.1", &[]);
    host.hear(1, "10.9.0.0/16", "10.8.0.1", &[]);
    host.settle();
    assert_eq!((host.held(), host.told), (vec![], 2));
}

#[test]
fn a_next_hop_that_another_path_to_the_same_prefix_brings_in_reach_comes_to_rest() {
    let mut host = Host::new(None, &[LINKS]);
    host.hear(1, "10.9.0.0/16", "10.9.0.1", &[]);
    host.hear(2, "10.9.0.0/16", "192.0.2.2", &[]);
    host.settle();
    assert_eq!(host.held(), ["10.9.0.0/16 via 192.0.2.2 dev eth0"]);
    assert_eq!(host.told, 2, "out of reach, and back");
}

#[test]
fn a_next_hop_behind_another_route_of_bgps_follows_it() {
    let mut host = Host::new(None, &[LINKS]);
    host.hear(1, "10.9.0.0/16", "10.1.0.1", &[]);
    host.settle();
    assert_eq!(host.held(), [""; 0]);
    host.hear(2, "10.1.0.0/24", "192.0.2.2", &[]);
    host.settle();
    assert_eq!(host.held(), ["10.1.0.0/24 via 192.0.2.2 dev eth0", "10.9.0.0/16 via 192.0.2.2 dev eth0"]);
}

#[test]
fn a_blackhole_that_covers_its_own_next_hop_stays() {
    let mut host = Host::new(None, &[LINKS]);
    host.hear(1, "192.0.2.1/32", "192.0.2.1", &[Community::BLACKHOLE]);
    host.hear(1, "10.9.0.0/16", "192.0.2.1", &[]);
    host.settle();
    assert_eq!(host.held(), ["192.0.2.1/32 blackhole"]);
    assert_eq!(host.reason("10.9.0.0/16"), "the next hop 192.0.2.1 is not reachable");
}

/// The aggregate's unreachable route takes the next hop of its only contributor away, without which there is no aggregate.
/// There is no state at rest; but the changes become rare.
#[test]
fn what_makes_its_own_next_hop_unreachable_comes_and_goes_ever_more_slowly() {
    let mut host = Host::new(Some("10.9.0.0/16"), &[LINKS, ("0.0.0.0/0", "via 192.0.2.2")]);
    host.hear(1, "10.9.1.0/24", "10.9.0.1", &[]);
    let begin = host.now;
    host.settle();
    while let Some(due) = host.tracking.due() {
        if due - begin > Duration::from_secs(3600) {
            break;
        }
        host.now = due;
        host.settle();
    }
    assert!(host.now - begin > Duration::from_secs(3000), "it goes on: this test is of what never rests");
    assert!(host.told < 60, "told {} times in an hour", host.told);
}
