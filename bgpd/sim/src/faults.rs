//! What befalls a network, drawn from a seed.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use bgp_proto::prefix_limit::{LimitAction, PrefixLimit};
use bgp_proto::rib::Drain;
use bgp_proto::rtr::Vrp;
use bgp_proto::time::Instant;
use bgp_proto::types::{Family, Prefix};
use bgp_proto::wire::attributes::Attributes;

use crate::network::{Death, Network};
use crate::random::Random;
use crate::scenario::{Scenario, TUNNEL_END};
use crate::topology::{NodeId, PeerSpec};

/// Something done to a network.
#[derive(Clone, Debug)]
pub enum Action {
    /// See [`Network::start`].
    Start(NodeId, bool),
    /// See [`Network::kill`].
    Kill(NodeId, Death),
    /// See [`Network::partition`].
    Partition(usize, bool),
    /// See [`Network::reset`].
    Reset(NodeId, NodeId, bool),
    /// See [`Network::deafen`].
    Deafen(NodeId, NodeId, bool),
    /// See [`Network::enable`].
    Enable(NodeId, NodeId, bool),
    /// See [`Network::reset_session`].
    ResetSession(NodeId, NodeId),
    /// See [`Network::lose_path`].
    LosePath(NodeId, NodeId, bool),
    /// See [`Network::lose_datagrams`].
    LoseDatagrams(usize, usize),
    /// See [`Network::unplug`].
    Unplug(usize, usize, bool),
    /// See [`Network::renumber`].
    Renumber(usize, usize),
    /// See [`Network::set_stranger`].
    SetStranger(usize, Option<Ipv6Addr>),
    /// See [`Network::knock`].
    Knock(usize, usize),
    /// See [`Network::forge`].
    Forge(usize),
    /// See [`Network::configure`].
    Configure(NodeId, NodeId, bool),
    /// See [`Network::set_policy`].
    SetPolicy(NodeId, NodeId, PeerSpec),
    /// See [`Network::set_limit`].
    SetLimit(NodeId, NodeId, Option<PrefixLimit>),
    /// See [`Network::originate`].
    Originate(NodeId, Vec<(Prefix, Attributes)>),
    /// See [`Network::withdraw`].
    Withdraw(NodeId, Vec<Prefix>),
    /// See [`Network::refresh`].
    Refresh(NodeId, NodeId, Family),
    /// See [`Network::drain`].
    Drain(NodeId, Drain),
    /// See [`Network::change_vrp`].
    ChangeVrp(NodeId, Vrp, bool),
    /// See [`Network::run_cache`].
    RunCache(NodeId, bool, bool),
    /// See [`Network::cut_cache`].
    CutCache(NodeId),
    /// See [`Network::connect_station`].
    ConnectStation(NodeId),
    /// See [`Network::cache_forgets`].
    CacheForgets(NodeId),
    /// See [`Network::set_unreachable`].
    SetUnreachable(NodeId, IpAddr, bool),
}

impl Network {
    pub(crate) fn act(&mut self, action: Action) {
        match action {
            Action::Start(node, restarted) => self.start(node, restarted),
            Action::Kill(node, death) => {
                if self.speaker(node).is_some() {
                    self.kill(node, death);
                }
            }
            Action::Partition(link, cut) => self.partition(link, cut),
            Action::Reset(node, peer, told) => self.reset(node, peer, told),
            Action::Deafen(node, peer, deaf) => self.deafen(node, peer, deaf),
            Action::Enable(node, peer, enabled) => self.enable(node, peer, enabled),
            Action::ResetSession(node, peer) => self.reset_session(node, peer),
            Action::LosePath(node, peer, independent) => self.lose_path(node, peer, independent),
            Action::LoseDatagrams(link, percent) => self.lose_datagrams(link, percent),
            Action::Unplug(link, side, down) => self.unplug(link, side, down),
            Action::Renumber(link, side) => self.renumber(link, side),
            Action::SetStranger(link, address) => self.set_stranger(link, address),
            Action::Knock(link, side) => self.knock(link, side),
            Action::Forge(link) => self.forge(link),
            Action::Configure(node, peer, present) => self.configure(node, peer, present),
            Action::SetPolicy(node, peer, policy) => self.set_policy(node, peer, policy),
            Action::SetLimit(node, peer, limit) => self.set_limit(node, peer, limit),
            Action::Originate(node, routes) => self.originate(node, &routes),
            Action::Withdraw(node, prefixes) => self.withdraw(node, &prefixes),
            Action::Refresh(node, peer, family) => self.refresh(node, peer, family),
            Action::Drain(node, drain) => self.drain(node, drain),
            Action::ChangeVrp(node, vrp, there) => self.change_vrp(node, vrp, there),
            Action::RunCache(node, running, has_data) => self.run_cache(node, running, has_data),
            Action::CutCache(node) => self.cut_cache(node),
            Action::CacheForgets(node) => self.cache_forgets(node),
            Action::ConnectStation(node) => self.connect_station(node),
            Action::SetUnreachable(node, next_hop, unreachable) => self.set_unreachable(node, next_hop, unreachable),
        }
    }

    /// Undoes every fault that still lasts.
    pub fn heal(&mut self) {
        for link in 0..self.topology().links.len() {
            self.partition(link, false);
            self.lose_datagrams(link, 0);
            self.set_stranger(link, None);
            [0, 1].iter().for_each(|side| self.unplug(link, *side, false));
        }
        for node in self.topology().ids() {
            self.drain(node, Drain::Off);
            self.run_cache(node, true, true);
            self.fill_cache(node);
            let restarted = self.topology().node(node).graceful_restart.is_some();
            self.start(node, restarted);
            let peers: Vec<NodeId> = self.topology().node(node).peers.keys().copied().collect();
            for peer in peers {
                self.deafen(node, peer, false);
                self.set_limit(node, peer, None);
                self.configure(node, peer, true);
                self.enable(node, peer, true);
            }
        }
    }
}

/// Schedules faults over the `span` that begins now.
pub fn schedule(network: &mut Network, scenario: &mut Scenario, random: &mut Random, span: Duration) {
    let count = 3 + random.below(25);
    for _ in 0..count {
        let time = network.now() + random.between(Duration::ZERO, span);
        draw(network, scenario, random, time);
    }
}

/// Schedules drains over the `span` that begins now: each runs its course, or is ended, or stays until all is healed. From a
/// stream of chance of their own, so that the seeds of old go on to stand for the same faults.
pub fn schedule_drains(network: &mut Network, random: &mut Random, span: Duration) {
    let nodes: Vec<NodeId> = network.topology().ids().collect();
    for _ in 0..random.below(4) {
        let node = random.pick(&nodes);
        let mut time = network.now() + random.between(Duration::ZERO, span);
        for drain in [Drain::LastResort, Drain::Withdrawn, Drain::Off] {
            if random.percent(80) {
                network.at(time, Action::Drain(node, drain));
            }
            time = time + random.between(Duration::from_millis(1), Duration::from_secs(20));
        }
    }
}

/// Schedules next hops that nodes no longer reach: each comes back, or stays away for good, for the oracle to know. From a
/// stream of chance of their own, as drains.
pub fn schedule_unreachable(network: &mut Network, random: &mut Random, span: Duration) {
    let nodes: Vec<NodeId> = network.topology().ids().collect();
    for _ in 0..random.below(12) {
        let (node, other) = (random.pick(&nodes), network.topology().node(random.pick(&nodes)));
        let addresses = [IpAddr::V4(other.address4), IpAddr::V6(other.address6), TUNNEL_END];
        let next_hop = random.pick(&addresses);
        let time = network.now() + random.between(Duration::ZERO, span);
        network.at(time, Action::SetUnreachable(node, next_hop, true));
        if random.percent(60) {
            let back = time + random.between(Duration::from_millis(1), Duration::from_secs(60));
            network.at(back, Action::SetUnreachable(node, next_hop, false));
        }
    }
}

/// Schedules losses of paths that BFD sees: one side of a session, or both, the one soon after the other; some while the neighbour is
/// restarting. From a stream of chance of their own, as drains.
pub fn schedule_path_losses(network: &mut Network, random: &mut Random, span: Duration) {
    for _ in 0..random.below(8) {
        let links = network.topology().links.len();
        let mut ends = network.topology().links[random.below(links)].ends;
        random.shuffle(&mut ends);
        let [node, peer] = ends;
        let mut time = network.now() + random.between(Duration::ZERO, span);
        let independent = random.percent(50);
        if random.percent(30) {
            network.at(time, Action::Kill(peer, Death::Killed));
            time = time + random.between(Duration::from_millis(1), Duration::from_secs(3));
            let back = time + random.between(Duration::from_millis(1), Duration::from_secs(20));
            network.at(back, Action::Start(peer, random.percent(80)));
        }
        network.at(time, Action::LosePath(node, peer, independent));
        if random.percent(50) {
            let later = time + random.between(Duration::ZERO, Duration::from_millis(300));
            network.at(later, Action::LosePath(peer, node, independent));
        }
    }
}

/// Schedules times in which links lose datagrams, few or all of them. From a stream of chance of their own, as drains.
pub fn schedule_datagram_losses(network: &mut Network, random: &mut Random, span: Duration) {
    for _ in 0..random.below(8) {
        let link = random.below(network.topology().links.len());
        let time = network.now() + random.between(Duration::ZERO, span);
        network.at(time, Action::LoseDatagrams(link, random.pick(&[5, 30, 60, 100])));
        let back = time + random.between(Duration::from_millis(1), Duration::from_secs(60));
        network.at(back, Action::LoseDatagrams(link, 0));
    }
}

/// Schedules what befalls links without addresses: interfaces go down, at one end or at both, and come up; ends are renumbered; strangers
/// come, knock, and leave or stay until all is healed; somebody forges. From a stream of chance of their own, as drains.
pub fn schedule_link_faults(network: &mut Network, random: &mut Random, span: Duration) {
    let links: Vec<usize> = unnumbered(network);
    if links.is_empty() {
        return;
    }
    for _ in 0..random.below(12) {
        let (link, side) = (random.pick(&links), random.below(2));
        let time = network.now() + random.between(Duration::ZERO, span);
        let most = random.pick(&[2, 20, 80]);
        let back = time + random.between(Duration::from_millis(1), Duration::from_secs(most));
        match random.below(6) {
            0 => {
                network.at(time, Action::Unplug(link, side, true));
                network.at(back, Action::Unplug(link, side, false));
            }
            1 => {
                for side in [0, 1] {
                    network.at(time, Action::Unplug(link, side, true));
                    let back = back + random.between(Duration::ZERO, Duration::from_millis(500));
                    network.at(back, Action::Unplug(link, side, false));
                }
            }
            2 => network.at(time, Action::Renumber(link, side)),
            3 => network.at(time, Action::Forge(link)),
            _ => {
                network.at(time, Action::SetStranger(link, Some(STRANGER)));
                // Mostly it would come too late.
                if random.percent(60) {
                    let soon = time + random.between(Duration::ZERO, Duration::from_secs(5));
                    network.at(soon, Action::Unplug(link, side, true));
                    let up = soon + random.between(Duration::from_millis(1), Duration::from_secs(10));
                    network.at(up, Action::Unplug(link, side, false));
                }
                for _ in 0..random.below(3) {
                    let knocks = random.between(time.since_start(), back.since_start() + Duration::from_secs(20));
                    network.at(Instant::from_start(knocks), Action::Knock(link, random.below(2)));
                }
                if random.percent(70) {
                    network.at(back, Action::SetStranger(link, None));
                }
            }
        }
    }
}

/// Links without addresses.
pub(crate) fn unnumbered(network: &Network) -> Vec<usize> {
    let links = network.topology().links.iter().enumerate();
    links.filter(|(_, link)| link.unnumbered).map(|(link, _)| link).collect()
}

/// Whoever is on a link without addresses and has no BGP.
pub const STRANGER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xbad, 1);

/// Schedules limits that neighbours may be above already, or come to be, and their end: each in force for a while, or until all is
/// healed. From a stream of chance of their own, as drains.
pub fn schedule_limits(network: &mut Network, random: &mut Random, span: Duration) {
    for _ in 0..random.below(8) {
        let mut ends = network.topology().links[random.below(network.topology().links.len())].ends;
        random.shuffle(&mut ends);
        let [node, peer] = ends;
        let waits = [None, Some(Duration::from_secs(5)), Some(Duration::from_secs(45))];
        let action = match random.below(100) {
            0..20 => LimitAction::Stop,
            20..90 => LimitAction::Restart(random.pick(&waits)),
            90.. => LimitAction::Warn,
        };
        let limit =
            PrefixLimit { limit: 1 + random.below(12) as u32, warn_at_percent: random.pick(&[1, 50, 75, 100]), action };
        let time = network.now() + random.between(Duration::ZERO, span);
        network.at(time, Action::SetLimit(node, peer, Some(limit)));
        let later = time + random.between(Duration::from_millis(1), Duration::from_secs(100));
        let more = Some(PrefixLimit { limit: limit.limit + 2, ..limit }).filter(|_| random.percent(50));
        if random.percent(40) && later < network.now() + span {
            network.at(later, Action::SetLimit(node, peer, more));
        }
    }
}

/// Schedules changes of what nodes validate against, from the scenario's own stream.
pub fn schedule_vrps(network: &mut Network, scenario: &mut Scenario, span: Duration) {
    let nodes: Vec<NodeId> = network.topology().ids().collect();
    for turn in 0..24 {
        let Some((vrp, share, chance)) = scenario.vrp_news() else { return };
        let time = network.now() + span.mul_f64(share);
        let known = network.topology().node(nodes[turn % nodes.len()]).vrps.iter().flatten().nth(turn / nodes.len());
        let (vrp, there) = match known {
            Some(known) if chance => (*known, false),
            Some(_) | None => (vrp, true),
        };
        network.at(time, Action::ChangeVrp(nodes[turn % nodes.len()], vrp, there));
    }
}

/// Schedules what befalls RPKI caches: they stop for a while, begin anew with another session and maybe with nothing to say, lose
/// their connection, or what they remember of the past.
pub fn schedule_cache_faults(network: &mut Network, random: &mut Random, span: Duration) {
    let nodes = network.topology().ids().filter(|node| network.topology().node(*node).cache.is_some());
    let nodes: Vec<NodeId> = nodes.collect();
    if nodes.is_empty() {
        return;
    }
    for _ in 0..random.below(12) {
        let node = random.pick(&nodes);
        let time = network.now() + random.between(Duration::ZERO, span);
        match random.below(4) {
            0 | 1 => {
                network.at(time, Action::RunCache(node, false, false));
                let back = time + random.between(Duration::from_millis(1), Duration::from_secs(100));
                network.at(back, Action::RunCache(node, true, random.percent(70)));
            }
            2 => network.at(time, Action::CutCache(node)),
            _ => network.at(time, Action::CacheForgets(node)),
        }
    }
}

/// Schedules stations that begin anew, amid all else.
pub fn schedule_stations(network: &mut Network, random: &mut Random, span: Duration) {
    let nodes: Vec<NodeId> = network.topology().ids().filter(|node| network.topology().node(*node).monitored).collect();
    for node in nodes {
        for _ in 0..random.below(4) {
            let time = network.now() + random.between(Duration::ZERO, span);
            network.at(time, Action::ConnectStation(node));
        }
    }
}

fn draw(network: &mut Network, scenario: &mut Scenario, random: &mut Random, time: Instant) {
    let links = network.topology().links.len();
    let link = random.below(links);
    let mut ends = network.topology().links[link].ends;
    random.shuffle(&mut ends);
    let [node, peer] = ends;
    let short = random.percent(60);
    let most = Duration::from_secs(if short { 10 } else { 200 });
    let back = time + random.between(Duration::from_millis(1), most);
    if scenario.is_big() && random.percent(40) {
        // Someone who is far behind, and in the meantime much changes and is asked for again.
        let back = time + random.between(Duration::from_millis(1), Duration::from_secs(40));
        network.at(time, Action::Deafen(peer, node, true));
        network.at(back, Action::Deafen(peer, node, false));
        for _ in 0..random.below(6) {
            let meanwhile = random.between(time.since_start(), back.since_start() + Duration::from_secs(1));
            let meanwhile = Instant::from_start(meanwhile);
            match random.below(3) {
                0 => network.at(meanwhile, Action::Refresh(peer, node, Family::Ipv4Unicast)),
                1 => network.at(meanwhile, Action::Originate(NodeId(0), scenario.routes(random, NodeId(0)))),
                _ => network.at(meanwhile, Action::Withdraw(NodeId(0), scenario.some_prefixes(random, NodeId(0)))),
            }
        }
        return;
    }
    match random.below(100) {
        0..15 => {
            network.at(time, Action::Partition(link, true));
            network.at(back, Action::Partition(link, false));
        }
        15..20 => {
            for link in network.links_of(node) {
                network.at(time, Action::Partition(link, true));
                network.at(back, Action::Partition(link, false));
            }
        }
        20..32 => network.at(time, Action::Reset(node, peer, random.percent(70))),
        32..47 => {
            let deaths = [Death::Silent, Death::Cease, Death::Killed, Death::Killed, Death::Reset, Death::Power];
            network.at(time, Action::Kill(node, random.pick(&deaths)));
            network.at(back, Action::Start(node, random.percent(80)));
        }
        47..52 => {
            network.at(time, Action::Enable(node, peer, false));
            network.at(back, Action::Enable(node, peer, true));
        }
        52..57 => network.at(time, Action::ResetSession(node, peer)),
        57..60 => {
            network.at(time, Action::Configure(node, peer, false));
            network.at(back, Action::Configure(node, peer, true));
        }
        60..67 => {
            network.at(time, Action::Deafen(node, peer, true));
            network.at(back, Action::Deafen(node, peer, false));
        }
        67..75 => {
            if let Some(policy) = scenario.policy(random, node, peer) {
                network.at(time, Action::SetPolicy(node, peer, policy));
            }
        }
        75..79 => network.at(time, Action::Refresh(node, peer, random.pick(&Family::ALL))),
        79..92 => {
            let routes = scenario.routes(random, node);
            network.at(time, Action::Originate(node, routes));
        }
        92.. => {
            let prefixes = scenario.some_prefixes(random, node);
            network.at(time, Action::Withdraw(node, prefixes));
        }
    }
}
