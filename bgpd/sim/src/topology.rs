//! What a network is meant to be: nodes, links, and what each node says of itself and its neighbours.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use bgp_proto::bfd;
use bgp_proto::conduct::Conduct;
use bgp_proto::filter::Filter;
use bgp_proto::prefix_limit::{MOST_PREFIXES, PrefixLimit};
use bgp_proto::rib::{Aggregate, Awaited, Drain, PeerPolicy, RibConfig};
use bgp_proto::rtr::Vrp;
use bgp_proto::session::{Extensions, LocalRestart, RemoteAs, SendHoldTime, SessionConfig};
use bgp_proto::types::{Asn, ClusterId, Family, FamilySet, HoldTime, Interface, PeerId, Prefix, RouterId};
use bgp_proto::wire::attributes::Attributes;
use bgp_proto::wire::capability::AddPath;

use crate::cache::CacheSpec;
use crate::two_octets::{self, Way};

/// A node: its place in [`Topology::nodes`], and the number by which its neighbours know it as a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u16);

impl NodeId {
    /// Its place in a list of all nodes.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// It, as its neighbours' peer.
    #[must_use]
    pub fn as_peer(self) -> PeerId {
        PeerId(self.0)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

/// Nodes and the links between them.
#[derive(Clone, Debug, Default)]
pub struct Topology {
    /// By [`NodeId`].
    pub nodes: Vec<NodeSpec>,
    /// At most one for each pair of nodes; a session runs over each.
    pub links: Vec<LinkSpec>,
}

/// What a node is configured to be.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// Its AS.
    pub asn: Asn,
    /// It knows AS numbers of two octets and no others: an OLD speaker (RFC 6793). Its own ones fit.
    pub two_octets: bool,
    /// Its BGP Identifier.
    pub router_id: RouterId,
    /// Its cluster as a route reflector.
    pub cluster_id: ClusterId,
    /// Its address on links that run over IPv4, and its next hop for IPv4 prefixes on all.
    pub address4: Ipv4Addr,
    /// The same for IPv6.
    pub address6: Ipv6Addr,
    /// Most paths of a multipath set.
    pub max_paths: usize,
    /// Seconds to ask for after a restart (RFC 4724); `None`: no graceful restart.
    pub graceful_restart: Option<u16>,
    /// It keeps routes across NOTIFICATIONs (RFC 8538).
    pub notification: bool,
    /// Seconds to ask for beyond the restart time (RFC 9494); 0: it does not do that.
    pub long_lived: u32,
    /// How long it waits for End-of-RIB after a graceful restart.
    pub deferral: Duration,
    /// How far it is drained; outlives its process.
    pub drain: Drain,
    /// A monitoring station is told of it (RFC 7854).
    pub monitored: bool,
    /// Its BFD outlives its process, as one in hardware does, and says so (C).
    pub bfd_outlives: bool,
    /// What it validates origins against (RFC 6811); `None`: it does not.
    pub vrps: Option<BTreeSet<Vrp>>,
    /// The cache that tells it so (RFC 8210); `None`: it knows by itself.
    pub cache: Option<CacheSpec>,
    /// The cache does not run, and what was heard from it counts no more when all is at rest.
    pub cache_gone: bool,
    /// Next hops that its kernel does not reach (RFC 4271 section 9.1.2.1); outlives its process.
    pub unreachable: BTreeSet<IpAddr>,
    /// What it aggregates.
    pub aggregates: Vec<Aggregate>,
    /// What it originates.
    pub originated: BTreeMap<Prefix, Attributes>,
    /// By neighbour.
    pub peers: BTreeMap<NodeId, PeerSpec>,
}

/// What a node is told of a neighbour.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerSpec {
    /// Families it offers.
    pub families: FamilySet,
    /// What it proposes.
    pub hold_time: HoldTime,
    /// How long the neighbour may take nothing of what is sent (RFC 9687).
    pub send_hold: SendHoldTime,
    /// The longest wait between two attempts to connect.
    pub connect_retry: Duration,
    /// It only listens.
    pub passive: bool,
    /// The neighbour is a route reflector client.
    pub client: bool,
    /// Several paths to one prefix (RFC 7911).
    pub add_path: AddPath,
    /// The AS that the external neighbour knows the node by (RFC 7705), where that is not its own.
    pub local_as: Option<Asn>,
    /// Most prefixes of the neighbour, and what happens above; `None`: [`MOST_PREFIXES`].
    pub max_prefixes: Option<PrefixLimit>,
    /// How it watches the path to the neighbour (RFC 5880); `None`: it does not.
    pub bfd: Option<bfd::SessionConfig>,
    /// The neighbour may have packets dropped here (RFC 7999).
    pub blackhole: bool,
    /// What else is between the two.
    pub conduct: Conduct,
    /// See [`PeerPolicy::graceful_shutdown`].
    pub graceful_shutdown: bool,
    /// See [`PeerPolicy::add_path_most`].
    pub add_path_most: usize,
    /// The node takes the link for a subnet that all nodes are on (RFC 4271 section 5.1.3).
    pub segment: bool,
    /// What its OPEN to the neighbour has.
    pub extensions: Extensions,
    /// Filter of what the neighbour sends.
    pub import: Option<Arc<Filter>>,
    /// Filter of what the neighbour hears.
    pub export: Option<Arc<Filter>>,
}

/// A link between two nodes.
#[derive(Clone, Debug)]
pub struct LinkSpec {
    /// Its two ends.
    pub ends: [NodeId; 2],
    /// The session runs over IPv6.
    pub over_ipv6: bool,
    /// It runs between link-local addresses, which are the next hops too, and the link is all that is configured; `over_ipv6` as well.
    pub unnumbered: bool,
    /// How often each end has had another link-local address.
    pub renumbered: [u16; 2],
    /// The least that a packet takes.
    pub delay: Duration,
    /// The most that it takes longer.
    pub jitter: Duration,
    /// The longest that bytes wait for their reader.
    pub reader_lag: Duration,
    /// Most octets of one direction that are on their way or wait for their reader.
    pub window: usize,
}

impl NodeSpec {
    /// What counts of what it validates against.
    pub fn counting_vrps(&self) -> impl Iterator<Item = &Vrp> {
        self.vrps.iter().flatten().filter(|_| !self.cache_gone)
    }
}

impl Topology {
    /// All nodes.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.nodes.len()).map(|index| NodeId(index as u16))
    }

    /// A node.
    #[must_use]
    pub fn node(&self, id: NodeId) -> &NodeSpec {
        &self.nodes[id.index()]
    }

    /// The link between two nodes.
    #[must_use]
    pub fn link(&self, a: NodeId, b: NodeId) -> Option<usize> {
        self.links.iter().position(|link| link.ends == [a, b] || link.ends == [b, a])
    }

    /// What a node knows of a neighbour, if it has it.
    #[must_use]
    pub fn peer(&self, node: NodeId, peer: NodeId) -> Option<&PeerSpec> {
        self.node(node).peers.get(&peer)
    }

    /// The AS of a node as a neighbour knows it.
    #[must_use]
    pub fn asn_towards(&self, node: NodeId, peer: NodeId) -> Asn {
        self.peer(node, peer).and_then(|known| known.local_as).unwrap_or(self.node(node).asn)
    }

    /// The AS of `peer` as `node` writes it.
    #[must_use]
    pub fn asn_as_known(&self, node: NodeId, peer: NodeId) -> Asn {
        let asn = self.asn_towards(peer, node);
        if self.node(node).two_octets { two_octets::neighbour(asn) } else { asn }
    }

    /// Who of two neighbours has AS numbers of four octets.
    pub(crate) fn way(&self, from: NodeId, to: NodeId) -> Way {
        Way::between(self.node(from).two_octets, self.node(to).two_octets)
    }

    /// A node's link-local address on a link.
    #[must_use]
    pub fn link_local(&self, node: NodeId, link: usize) -> Ipv6Addr {
        let [.., host] = self.node(node).address6.segments();
        let LinkSpec { ends, renumbered, .. } = &self.links[link];
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, renumbered[usize::from(ends[1] == node)], host)
    }

    /// A node's address on a link.
    #[must_use]
    pub fn address(&self, node: NodeId, link: usize) -> IpAddr {
        let spec = self.node(node);
        if self.links[link].unnumbered {
            return self.link_local(node, link).into();
        }
        if self.links[link].over_ipv6 { spec.address6.into() } else { spec.address4.into() }
    }

    /// The interface of both ends of the link between two neighbours, where that is all that a session knows of it.
    #[must_use]
    pub fn interface(&self, a: NodeId, b: NodeId) -> Option<Interface> {
        let link = self.link(a, b).filter(|link| self.links[*link].unnumbered)?;
        Interface::new(&format!("link{link}"))
    }

    /// Families of the session between two neighbours.
    #[must_use]
    pub fn families(&self, a: NodeId, b: NodeId) -> FamilySet {
        match (self.peer(a, b), self.peer(b, a)) {
            (Some(there), Some(back)) => there.families.intersection(back.families),
            (Some(_) | None, _) => FamilySet::EMPTY,
        }
    }

    /// Whether a node sends its neighbour several paths to one prefix of the family.
    #[must_use]
    pub fn sends_several(&self, node: NodeId, peer: NodeId, family: Family) -> bool {
        let sends = self.peer(node, peer).is_some_and(|known| known.add_path.send);
        let takes = self.peer(peer, node).is_some_and(|known| known.add_path.receive);
        sends && takes && self.families(node, peer).contains(family)
    }

    /// Whether two neighbours take IPv6 next hops for IPv4 prefixes from each other (RFC 8950).
    #[must_use]
    pub fn extended_next_hop(&self, a: NodeId, b: NodeId) -> bool {
        [self.peer(a, b), self.peer(b, a)].iter().all(|peer| peer.is_some_and(|peer| peer.extensions.extended_next_hop))
    }

    /// For the node's speaker.
    #[must_use]
    pub fn rib_config(&self, node: NodeId, restarted: bool) -> RibConfig {
        let spec = self.node(node);
        RibConfig {
            local_as: spec.asn,
            router_id: spec.router_id,
            cluster_id: spec.cluster_id,
            max_paths: spec.max_paths,
            aggregates: spec.aggregates.iter().cloned().collect(),
            deferral: spec.graceful_restart.filter(|_| restarted).map(|_| spec.deferral),
            awaited: if restarted { Awaited::Known } else { Awaited::Up },
            convergence: Duration::from_secs(60),
            drain: spec.drain,
            tell_best: true,
            tell_backup: true,
        }
    }

    /// For a session of the node's speaker; `None` if it does not have this neighbour.
    #[must_use]
    pub fn session_config(&self, node: NodeId, peer: NodeId, restarted: bool) -> Option<SessionConfig> {
        let (spec, known) = (self.node(node), self.peer(node, peer)?);
        let (exactly, interface) = (RemoteAs::Exactly(self.asn_as_known(node, peer)), self.interface(node, peer));
        Some(SessionConfig {
            local_as: self.asn_towards(node, peer),
            router_id: spec.router_id,
            remote_as: match interface {
                Some(_) if spec.asn == self.node(peer).asn => RemoteAs::Internal,
                Some(_) => RemoteAs::External,
                None => exactly,
            },
            families: known.families,
            hold_time: known.hold_time,
            connect_retry: known.connect_retry,
            idle_hold: SessionConfig::IDLE_HOLD,
            // Some, without taking a number from the seed.
            delay_open: (node.0 % 3 == 1).then_some(Duration::from_secs(2)),
            passive: known.passive,
            send_hold: known.send_hold,
            link: interface,
            graceful_restart: spec.graceful_restart.map(|seconds| LocalRestart {
                seconds,
                restarted,
                off_path: false,
                notification: spec.notification,
                long_lived_seconds: spec.long_lived,
            }),
            add_path: known.add_path,
            role: known.conduct.role,
            extensions: known.extensions,
        })
    }

    /// The subnet that the node takes its link to a neighbour for.
    #[must_use]
    pub fn segment(&self, node: NodeId, peer: NodeId) -> Option<Prefix> {
        let link = self.link(node, peer).filter(|_| self.peer(node, peer).is_some_and(|known| known.segment))?;
        if self.links[link].over_ipv6 { "2001:db8::/64" } else { "192.0.2.0/24" }.parse().ok()
    }

    /// What a node lets a neighbour send.
    #[must_use]
    pub fn prefix_limit(&self, node: NodeId, peer: NodeId) -> PrefixLimit {
        let known = self.peer(node, peer).and_then(|known| known.max_prefixes);
        known.unwrap_or(PrefixLimit::new(MOST_PREFIXES))
    }

    /// For the RIB of the node's speaker; `None` if it does not have this neighbour.
    #[must_use]
    pub fn peer_policy(&self, node: NodeId, peer: NodeId) -> Option<PeerPolicy> {
        let (spec, known, link) = (self.node(node), self.peer(node, peer)?, self.link(node, peer)?);
        let (over_ipv6, unnumbered) = (self.links[link].over_ipv6, self.links[link].unnumbered);
        Some(PeerPolicy {
            name: peer.to_string(),
            // Nobody knows it before it is found.
            address: if unnumbered { Ipv6Addr::UNSPECIFIED.into() } else { self.address(peer, link) },
            local_as: self.asn_towards(node, peer),
            client: known.client,
            conduct: known.conduct,
            add_path_most: known.add_path_most,
            own_address4: over_ipv6.then_some(spec.address4),
            own_address6: (!over_ipv6).then_some(spec.address6),
            import: known.import.clone(),
            export: known.export.clone(),
            blackhole: known.blackhole,
            max_prefixes: Some(self.prefix_limit(node, peer).hard()),
            graceful_shutdown: known.graceful_shutdown,
            warn_prefixes: known.max_prefixes.map(PrefixLimit::warn_at),
        })
    }
}
