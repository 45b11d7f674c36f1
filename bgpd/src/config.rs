//! What a speaker is told: itself, its peers, and whom it lets in without knowing them by address.
//!
//! Everything here is checked and typed by the owner (`linnetd` reads it from its file); what this crate still refuses is
//! what only it can see, and [`crate::StartError`] says it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bgp_proto::bfd;
use bgp_proto::bmp::Stage;
use bgp_proto::conduct::Conduct;
use bgp_proto::filter::Filter;
use bgp_proto::prefix_limit::PrefixLimit;
use bgp_proto::rib::{Aggregates, Drain};
use bgp_proto::rtr::ClientConfig;
use bgp_proto::session::{RemoteAs, SendHoldTime, SessionConfig};
use bgp_proto::types::{Asn, ClusterId, Family, FamilySet, HoldTime, Interface, Prefix, RouterId};
use bgp_proto::wire::capability::AddPath;

use crate::authentication::Authentication;

/// A BGP speaker.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Our AS.
    pub local_as: Asn,
    /// Our BGP Identifier.
    pub router_id: RouterId,
    /// Our cluster as a route reflector (RFC 4456).
    pub cluster_id: ClusterId,
    /// Where to accept connections. Empty: only open them. An IPv6 address here never takes IPv4 connections.
    pub listen: Vec<SocketAddr>,
    /// Our own IPv4 address: the next hop of what we originate or take over, on sessions over IPv6.
    pub own_address4: Option<Ipv4Addr>,
    /// Our own IPv6 address: the next hop of what we originate or take over, on sessions over IPv4.
    pub own_address6: Option<Ipv6Addr>,
    /// Most paths of one multipath set.
    pub max_paths: usize,
    /// What is originated for what is inside of it (RFC 4271 section 9.2.2.2).
    pub aggregates: Aggregates,
    /// What peers without a hold time of their own are offered.
    pub hold_time: HoldTime,
    /// `None`: no graceful restart.
    pub graceful_restart: Option<GracefulRestart>,
    /// Nobody forwards by this speaker, which programs no kernel (a route reflector, a collector): to its peers nothing is
    /// lost with it, and each start may be a restart. It decides and announces at once, but says End-of-RIB, on which they
    /// drop what they kept of it, only when it has heard them all. Best paths are told
    /// ([`crate::Event::Best`]) only while a station or a file watches them.
    pub off_path: bool,
    /// Whether best paths are told with their backup ([`bgp_proto::rib::BestChange::backup`]).
    pub backups: bool,
    /// How far the speaker is drained when it starts; [`crate::Bgp::set_drain`] changes it, a changed configuration does not.
    pub drain: Drain,
    /// Peers by address. Two must not share an address or a name.
    pub peers: Vec<PeerConfig>,
    /// Peers by prefix: whoever connects from inside becomes one. The longest prefix wins; a peer by address wins over it.
    pub dynamic_peers: Vec<DynamicPeerConfig>,
    /// RPKI caches, by which routes are validated. Two must not share an address and port, or a name. Empty: routes are not
    /// validated.
    pub rpki: Vec<CacheConfig>,
    /// The name under which stations know us.
    pub name: String,
    /// Monitoring stations. Two must not share a name.
    pub bmp: Vec<StationConfig>,
    /// Files of routes; `None`: none are written.
    pub mrt: Option<MrtConfig>,
}

/// A monitoring station (BMP, RFC 7854).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StationConfig {
    /// Its name, for people and for the API.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// Its TCP port.
    pub port: u16,
    /// Which tables it is told of, each once.
    pub stages: Vec<Stage>,
    /// How often it is sent a Stats Report; `None`: never.
    pub statistics: Option<Duration>,
}

/// Files of routes (MRT, RFC 6396).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MrtConfig {
    /// Where they are.
    pub directory: PathBuf,
    /// How often the table is written; `None`: never.
    pub table_interval: Option<Duration>,
    /// How long one file of updates goes on; `None`: updates are not written.
    pub updates_interval: Option<Duration>,
    /// Files that stay, of each of both kinds; at least 1.
    pub keep: usize,
}

/// An RPKI cache that speaks RPKI-RTR (RFC 8210).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheConfig {
    /// Its name, for people and for the API.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// Its TCP port; 323 is the one assigned.
    pub port: u16,
    /// Those of the lowest preference that have data count, together.
    pub preference: u32,
    /// Intervals and bounds.
    pub client: ClientConfig,
}

/// Graceful restart (RFC 4724), as this speaker asks for it and grants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GracefulRestart {
    /// Seconds to ask peers to wait for us across a restart, 1 to 4095.
    pub restart_time: u16,
    /// The longest that a restarted speaker waits for its peers' End-of-RIB before it decides. `None`: the restart time, and
    /// no more than a minute.
    pub deferral_time: Option<Duration>,
    /// Keep routes across NOTIFICATIONs that are no hard resets, with peers that do too (RFC 8538).
    pub notification: bool,
    /// Seconds to ask peers to keep our routes beyond that, as the last choice (RFC 9494), at most 2^24 - 1; with 0 neither
    /// that is asked for nor are peers' routes kept for longer.
    pub long_lived_stale_time: u32,
}

impl GracefulRestart {
    /// How long a restarted speaker waits at most for its peers' End-of-RIB.
    #[must_use]
    pub fn deferral(&self) -> Duration {
        let asked = Duration::from_secs(u64::from(self.restart_time));
        self.deferral_time.unwrap_or(asked.min(LONGEST_DEFERRAL))
    }
}

impl Default for GracefulRestart {
    fn default() -> Self {
        Self { restart_time: 120, deferral_time: None, notification: true, long_lived_stale_time: 0 }
    }
}

/// The longest that a restarted speaker waits for its peers' routes unless it is told otherwise.
const LONGEST_DEFERRAL: Duration = Duration::from_secs(60);

/// One peer.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerConfig {
    /// Its name, for people and for the API.
    pub name: String,
    /// Its address. With an interface it is found, and this is the unspecified IPv6 address.
    pub address: IpAddr,
    /// The interface on which it is looked for: an unnumbered peer.
    pub interface: Option<Interface>,
    /// Its TCP port, 179 by default.
    pub port: u16,
    /// Its AS.
    pub remote_as: RemoteAs,
    /// Our AS towards it.
    pub local_as: Asn,
    /// The address that we open connections from. `None`: the kernel's choice.
    pub local_address: Option<IpAddr>,
    /// Families to announce.
    pub families: FamilySet,
    /// What signs its connections. `None`: nothing does.
    pub authentication: Option<Authentication>,
    /// How far away it may be.
    pub ttl: Ttl,
    /// Only accept connections, never open one.
    pub passive: bool,
    /// A route reflector client.
    pub client: bool,
    /// Several paths to one prefix (RFC 7911), in every family of the session.
    pub add_path: AddPath,
    /// What else is between us.
    pub conduct: Conduct,
    /// Most paths to one prefix that it is sent where it takes several, the best first; at least one.
    pub add_path_send: u8,
    /// Announce that a refresh has a beginning and an end (RFC 7313).
    pub enhanced_refresh: bool,
    /// Announce that messages may have up to 65535 octets (RFC 8654).
    pub extended_messages: bool,
    /// Announce that IPv4 prefixes may have IPv6 next hops (RFC 8950). Where the peer does too, a session over IPv6 has its
    /// own address as our next hop of both families.
    pub extended_next_hop: bool,
    /// What it sends with the community BLACKHOLE, and is accepted, is to be discarded (RFC 7999).
    pub blackhole: bool,
    /// Most prefixes it may send, all families together, those that the import filter rejects too, because they are kept
    /// with the reason. `None`: [`bgp_proto::prefix_limit::MOST_PREFIXES`].
    pub max_prefixes: Option<PrefixLimit>,
    /// In place of the speaker's.
    pub hold_time: Option<HoldTime>,
    /// How long it may take nothing of what it is sent (RFC 9687).
    pub send_hold: SendHoldTime,
    /// Longest wait between two attempts to connect.
    pub connect_retry: Duration,
    /// How long its session rests after its first failure ([`SessionConfig::idle_hold`]).
    pub idle_hold: Duration,
    /// How long our OPEN waits for the peer's ([`SessionConfig::delay_open`]).
    pub delay_open: Option<Duration>,
    /// Its routes with GRACEFUL_SHUTDOWN are used only where there is no other (RFC 8326), if it is in another AS.
    pub graceful_shutdown: bool,
    /// Watch the path to it (RFC 5880).
    pub bfd: Option<BfdConfig>,
    /// Filter of what it sends. `None`: RFC 8212 for an external peer, everything from an internal one.
    pub import: Option<Arc<Filter>>,
    /// Filter of what it hears. `None`: RFC 8212 for an external peer, everything it may hear for an internal one.
    pub export: Option<Arc<Filter>>,
}

/// BFD beside a session of BGP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BfdConfig {
    /// Intervals, multiplier, role.
    pub session: bfd::SessionConfig,
    /// Over one hop or over many.
    pub hops: BfdHops,
    /// What becomes of the peer's routes when the path is lost.
    pub on_down: OnBfdDown,
}

/// Which kind of BFD session a peer has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BfdHops {
    /// As its BGP session: over one hop if that is limited to one, or if the peer's address is on a link of this host.
    #[default]
    Auto,
    /// RFC 5881.
    Single,
    /// RFC 5883.
    Multi,
}

/// What becomes of a peer's routes when BFD loses the path to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnBfdDown {
    /// If the peer's BFD shares the fate of its control plane (its C bit is clear), it may only restart: where graceful
    /// restart was agreed on, its routes are kept as it says (RFC 5882 section 4.3.2). Else they go at once.
    #[default]
    Auto,
    /// They go at once.
    Drop,
}

/// What tells peers apart: no two have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PeerKey {
    Address(IpAddr),
    Interface(Interface),
}

impl fmt::Display for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "the address {address}"),
            Self::Interface(interface) => write!(f, "the interface {interface}"),
        }
    }
}

/// Whoever connects from inside a prefix.
#[derive(Clone, Debug, PartialEq)]
pub struct DynamicPeerConfig {
    /// Where they connect from.
    pub prefix: Prefix,
    /// Most of them at one time; the next is refused.
    pub limit: usize,
    /// What each of them is like: the address is ignored, the name becomes `NAME/ADDRESS`, and they are always passive.
    pub template: PeerConfig,
}

/// How far away a peer may be, by the TTL (hop limit) of packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ttl {
    /// An external peer is on the same link (we send 1), an internal one anywhere (we send 64).
    #[default]
    Default,
    /// GTSM (RFC 5082): we send 255, and the kernel drops what has come over more than this many hops, 1 to 254.
    Security {
        /// 1: on the same link.
        hops: u8,
    },
    /// We send this TTL, 1 to 255.
    Multihop {
        /// Routers between, plus one.
        hops: u8,
    },
}

impl Config {
    /// A speaker that listens nowhere and has no peers: 16 paths, hold time 90 s, graceful restart 120 s.
    #[must_use]
    pub fn new(local_as: Asn, router_id: RouterId) -> Self {
        Self {
            local_as,
            router_id,
            cluster_id: ClusterId(router_id.0),
            listen: Vec::new(),
            own_address4: None,
            own_address6: None,
            max_paths: 16,
            backups: true,
            aggregates: Aggregates::default(),
            hold_time: HoldTime::default(),
            graceful_restart: Some(GracefulRestart::default()),
            off_path: false,
            drain: Drain::Off,
            peers: Vec::new(),
            dynamic_peers: Vec::new(),
            rpki: Vec::new(),
            name: String::new(),
            bmp: Vec::new(),
            mrt: None,
        }
    }
}

impl PeerConfig {
    /// A peer with both families, port 179, 5 s between attempts to connect, and nothing else.
    #[must_use]
    pub fn new(name: &str, address: IpAddr, remote_as: RemoteAs, local_as: Asn) -> Self {
        Self {
            name: name.to_owned(),
            address,
            interface: None,
            port: 179,
            remote_as,
            local_as,
            local_address: None,
            families: Family::ALL.into_iter().collect(),
            authentication: None,
            ttl: Ttl::Default,
            passive: false,
            client: false,
            add_path: AddPath::NONE,
            conduct: Conduct::default(),
            add_path_send: 16,
            enhanced_refresh: true,
            extended_messages: true,
            extended_next_hop: false,
            blackhole: false,
            max_prefixes: None,
            hold_time: None,
            send_hold: SendHoldTime::default(),
            connect_retry: Duration::from_secs(5),
            idle_hold: SessionConfig::IDLE_HOLD,
            delay_open: None,
            graceful_shutdown: true,
            bfd: None,
            import: None,
            export: None,
        }
    }

    /// A peer that is found on an interface, with IPv6 next hops of IPv4 prefixes, which such links are for; else as
    /// [`PeerConfig::new`].
    #[must_use]
    pub fn unnumbered(name: &str, interface: Interface, remote_as: RemoteAs, local_as: Asn) -> Self {
        let anywhere = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let interface = Some(interface);
        Self { interface, extended_next_hop: true, ..Self::new(name, anywhere, remote_as, local_as) }
    }

    /// What makes it the same peer, whatever else of it changes.
    pub(crate) fn key(&self) -> PeerKey {
        self.interface.map_or(PeerKey::Address(self.address), PeerKey::Interface)
    }

    /// Whether the peer is in our AS.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        match self.remote_as {
            RemoteAs::Exactly(asn) => asn == self.local_as,
            RemoteAs::Internal => true,
            RemoteAs::External => false,
        }
    }
}
