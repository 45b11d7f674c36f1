//! The configuration file: what it means as types, and the doors by which it comes in and goes out.
//!
//! [`parse`] reads a whole file and either gives a [`Config`] in which everything was checked, with warnings, or every
//! error at once. [`Config`]'s `Display` prints the canonical file, defaults written out; it parses back to the same value.

mod add_path;
mod aggregate;
mod authentication;
pub mod bfd;
mod bgp;
pub mod conduct;
mod environment;
mod filter;
mod import_kernel;
mod peer;
mod prefix_limit;
mod print;
mod reader;
mod remote;
mod report;
mod rooms;
mod rpki;
mod rule;
mod watch;

#[cfg(test)]
mod conduct_tests;
#[cfg(test)]
mod example_tests;
#[cfg(test)]
mod property;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bgp_proto::conduct::Conduct;
use bgp_proto::filter::{Filter, PrefixList};
use bgp_proto::rib::Aggregate;
use bgp_proto::session::{RemoteAs, SendHoldTime};
use bgp_proto::types::{Asn, ClusterId, FamilySet, HoldTime, Interface, Prefix, RouterId};
use bgp_proto::wire::capability::AddPath;
use bgpd::PrefixLimit;
use toml::de::DeTable;

pub use add_path::word as add_path_word;
pub use authentication::Authentication;
pub use bgp_proto::hints::OverlayMode;
pub use environment::Environment;
pub(crate) use reader::nearest;
pub use remote::Remote;
pub use report::{Finding, Severity};
pub use rpki::RpkiCache;
pub use watch::{BmpStation, Mrt};

use reader::{NOT_APPLIED, Section};
use report::Report;

/// A checked configuration. Defaults are filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[node]`
    pub node: Node,
    /// `[bgp]`
    pub bgp: Bgp,
    /// `[overlay]`
    pub overlay: Overlay,
    /// `[fib]`
    pub fib: Fib,
    /// `[policy]`
    pub policy: Policy,
    /// `api.socket`
    pub api_socket: PathBuf,
    /// `metrics.listen`; `None`: off.
    pub metrics_listen: Option<SocketAddr>,
    /// `state.directory`
    pub state_directory: PathBuf,
}

/// `[node]`: who this host is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name; the host name unless set.
    pub name: String,
    /// The address by which others reach it, and its tunnel end point.
    pub address: IpAddr,
    /// A second, IPv6 address.
    pub address6: Option<Ipv6Addr>,
    /// The blocks of addresses of its pods; none overlaps another.
    pub pod_cidrs: Vec<Prefix>,
}

impl Node {
    /// Whether some of its pods have IPv6 addresses.
    #[must_use]
    pub fn has_ipv6_pods(&self) -> bool {
        self.pod_cidrs.iter().any(|block| block.address().is_ipv6())
    }
}

/// `[bgp]`
#[derive(Clone, Debug, PartialEq)]
pub struct Bgp {
    /// Our AS.
    pub asn: Asn,
    /// Our BGP Identifier.
    pub router_id: RouterId,
    /// Where to accept connections.
    pub listen: Vec<SocketAddr>,
    /// What we propose.
    pub hold_time: HoldTime,
    /// Our cluster as a route reflector.
    pub cluster_id: ClusterId,
    /// Most next hops of one route, 1 to 256.
    pub max_paths: usize,
    /// Prefixes to originate beside the pods'.
    pub networks: Vec<Prefix>,
    /// `[[bgp.aggregate]]`, in the file's order.
    pub aggregates: Vec<Aggregate>,
    /// `[[bgp.import-kernel]]`, likewise.
    pub import_kernel: Vec<ImportKernel>,
    /// What internal peers without an import filter may announce; empty: see [`crate::speaker::mesh_filter`].
    pub cluster_cidrs: Vec<Prefix>,
    /// `drain-time`: how long a node that is drained is the last resort before it withdraws everything (RFC 8326); whole
    /// seconds, 0 to 3600.
    pub drain_time: Duration,
    /// `None`: not announced.
    pub graceful_restart: Option<GracefulRestart>,
    /// `[[bgp.peer]]`, in the file's order.
    pub peers: Vec<Peer>,
    /// `[[bgp.dynamic-peer]]`, likewise.
    pub dynamic_peers: Vec<DynamicPeer>,
    /// `[[bgp.prefix-list]]`, likewise.
    pub prefix_lists: Vec<Arc<PrefixList>>,
    /// `[[bgp.filter]]`, likewise.
    pub filters: Vec<Filter>,
    /// `[[bgp.rpki]]`, likewise. Empty: routes are not validated.
    pub rpki: Vec<RpkiCache>,
    /// `[[bgp.bmp]]`, likewise.
    pub bmp: Vec<BmpStation>,
    /// `[bgp.mrt]`; `None`: no files are written.
    pub mrt: Option<Mrt>,
}

impl Bgp {
    /// The filter with this name.
    #[must_use]
    pub fn filter(&self, name: &str) -> Option<&Filter> {
        self.filters.iter().find(|filter| filter.name == name)
    }
}

/// `[[bgp.import-kernel]]`: routes of other programs on this host that are announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportKernel {
    /// Whose, by `rtm_protocol`; at least one, none of them Linnet's.
    pub protocols: Vec<u8>,
    /// In which routing table.
    pub table: u32,
    /// Name of the filter that says which; it is defined.
    pub filter: String,
    /// MULTI_EXIT_DISC is the route's metric.
    pub metric_as_med: bool,
    /// Most routes, 1 to 1000000.
    pub limit: u32,
}

/// `graceful-restart`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GracefulRestart {
    /// `restart-time`: seconds that peers keep our routes while we restart (RFC 4724), 1 to 4095.
    pub restart_time: u16,
    /// `deferral-time`: whole seconds that a restarted node waits for End-of-RIB before it decides; the restart time, and at
    /// most a minute, unless set.
    pub deferral_time: Duration,
    /// `notification`: routes are kept across NOTIFICATIONs that are no hard resets (RFC 8538).
    pub notification: bool,
    /// `long-lived-stale-time`: seconds that peers keep our routes beyond `restart-time` (RFC 9494), 0 to 16777215; 0: off.
    pub long_lived_stale_time: u32,
}

/// `[[bgp.peer]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Unique; what the command line calls it.
    pub name: String,
    /// Unique.
    pub remote: Remote,
    /// TCP port, 179 unless set.
    pub port: u16,
    /// Everything that a dynamic peer has too.
    pub settings: PeerSettings,
}

/// `[[bgp.dynamic-peer]]`: whoever connects from `prefix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynamicPeer {
    /// Unique among dynamic peers; its prefix unless set.
    pub name: String,
    /// Whose connections are accepted.
    pub prefix: Prefix,
    /// Most sessions at one time.
    pub limit: usize,
    /// What each session gets; always passive.
    pub settings: PeerSettings,
}

/// What configured and dynamic peers have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSettings {
    /// `asn`
    pub remote_as: RemoteAs,
    /// `local-asn`, the node's own unless set.
    pub local_as: Asn,
    /// `local-address`
    pub local_address: Option<IpAddr>,
    /// `families`, at least one.
    pub families: FamilySet,
    /// `password-file` or `tcp-ao`.
    pub authentication: Option<Authentication>,
    /// `ttl-security` or `multihop`.
    pub ttl: Ttl,
    /// Only accept connections.
    pub passive: bool,
    /// `route-reflector-client`
    pub client: bool,
    /// `add-path`
    pub add_path: AddPath,
    /// `add-path-send`: 1 to 255; [`PeerSettings::ADD_PATH_SEND`] where no paths are sent.
    pub add_path_send: u8,
    /// `role`, `next-hop` and others, see `conduct.rs`.
    pub conduct: Conduct,
    /// `enhanced-route-refresh`
    pub enhanced_refresh: bool,
    /// `extended-messages`
    pub extended_messages: bool,
    /// `extended-next-hop`
    pub extended_next_hop: bool,
    /// `blackhole`
    pub blackhole: bool,
    /// `max-prefixes`
    pub max_prefixes: Option<PrefixLimit>,
    /// `hold-time`, `bgp.hold-time` unless set.
    pub hold_time: Option<HoldTime>,
    /// `send-hold-time`: of 0, whole seconds up to a day, or unset.
    pub send_hold: SendHoldTime,
    /// `connect-retry`, whole seconds, 1 to 65535.
    pub connect_retry: Duration,
    /// `idle-hold-time`
    pub idle_hold: Duration,
    /// `delay-open`; `None`: 0, which is off.
    pub delay_open: Option<Duration>,
    /// `graceful-shutdown`: what an external peer says is about to go is used only where there is no other (RFC 8326).
    pub graceful_shutdown: bool,
    /// `bfd`
    pub bfd: Option<bgpd::BfdConfig>,
    /// Name of a filter that is defined.
    pub import: Option<String>,
    /// Name of a filter that is defined.
    pub export: Option<String>,
}

impl PeerSettings {
    /// `add-path-send` unless set: as many as a multipath set has by default.
    pub const ADD_PATH_SEND: u8 = 16;

    /// Whether the peer is in our AS.
    #[must_use]
    pub fn internal(&self) -> bool {
        match self.remote_as {
            RemoteAs::Exactly(asn) => asn == self.local_as,
            RemoteAs::Internal => true,
            RemoteAs::External => false,
        }
    }
}

/// How far away a peer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// External peers: one hop. Internal: any.
    Default,
    /// `ttl-security`: RFC 5082, packets from more than this many hops away are dropped; 1 to 254.
    Security(u8),
    /// `multihop`: an external peer this many hops away; 1 to 255.
    Multihop(u8),
}

/// How packets are wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encapsulation {
    /// RFC 7348.
    Vxlan,
    /// RFC 2003: IPv4 pods over IPv4; RFC 2473: both over IPv6.
    IpIp,
    /// WireGuard: encrypted.
    WireGuard,
}

/// `[overlay]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// When to tunnel.
    pub mode: OverlayMode,
    /// How packets are wrapped.
    pub encapsulation: Encapsulation,
    /// VXLAN's, 1 to 16777215.
    pub vni: u32,
    /// UDP port, of VXLAN and of WireGuard.
    pub port: u16,
    /// Bytes, 1280 to 65535; `None`: worked out from the underlay's device.
    pub mtu: Option<u32>,
}

/// One of `rules` of `[fib]`: what is looked up in Linnet's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FibRule {
    /// Its place among all rules, lowest first; at least 1.
    pub priority: u32,
    /// Source of packets.
    pub from: Option<Prefix>,
    /// Destination, of the same family.
    pub to: Option<Prefix>,
    /// Device that they come in by.
    pub iif: Option<Interface>,
    /// Firewall mark, and the bits of it that are looked at.
    pub fwmark: Option<(u32, u32)>,
}

/// `[fib]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fib {
    /// Whether the kernel is programmed at all.
    pub install: bool,
    /// Routing table, not 0 and not 255 (local).
    pub table: u32,
    /// Metric of every route, at least 1.
    pub metric: u32,
    /// Routes go by next-hop objects, where the kernel has them.
    pub next_hop_objects: bool,
    /// Source address of what this host sends along IPv4 routes; `None`: the kernel's choice.
    pub source: Option<Ipv4Addr>,
    /// Likewise along IPv6 routes.
    pub source6: Option<Ipv6Addr>,
    /// Octets of the largest packet along a route, 1280 to 65535; `None`: the device's, or the overlay's.
    pub mtu: Option<u32>,
    /// What is looked up in `table`, where that is not the main one.
    pub rules: Vec<FibRule>,
}

/// `[policy]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Where documents are.
    pub directory: PathBuf,
    /// Whether a pod that no policy selects is closed.
    pub deny: bool,
}

/// A file that was understood.
#[derive(Debug)]
pub struct Parsed {
    /// What it says.
    pub config: Config,
    /// What a person should know about it all the same.
    pub warnings: Vec<Finding>,
    /// It says nothing of `node.address`, which is the host's affair.
    pub leaves_address: bool,
}

/// Reads a configuration. `file` is only the name that findings carry; what the file leaves to the host comes from
/// `environment`.
///
/// # Errors
/// Every error of the file (and its warnings among them), in the file's order.
pub fn parse(file: &str, text: &str, environment: &Environment) -> Result<Parsed, Vec<Finding>> {
    let report = Report::default();
    let (table, syntax) = DeTable::parse_recoverable(text);
    for error in &syntax {
        let message = error.message().replace('\n', ", ");
        report.error(error.span().unwrap_or(0..0), &message, NOT_APPLIED, "correct the TOML here");
    }
    // What a file with broken syntax lacks may only be unreadable: findings about it would mislead.
    let leaves_address = table.get_ref().get("node").is_none_or(|node| node.get_ref().get("address").is_none());
    let config = if syntax.is_empty() { read(&Section::root(&table, &report), environment) } else { None };
    let findings = report.into_findings(file, text);
    let failed = findings.iter().any(|finding| finding.severity == Severity::Error);
    match config {
        Some(config) if !failed => Ok(Parsed { config, warnings: findings, leaves_address }),
        _ => Err(findings),
    }
}

/// Reads every section before giving up, so that all errors are found.
fn read(root: &Section<'_>, environment: &Environment) -> Option<Config> {
    let node = rooms::node(root.section("node"), environment);
    let overlay = rooms::overlay(root.section("overlay"), node.as_ref());
    let bgp = bgp::bgp(root.section("bgp"), node.as_ref(), overlay.map(|overlay| overlay.mode));
    let fib = rooms::fib(root.section("fib"), node.as_ref());
    let policy = rooms::policy(root.section("policy"));
    rooms::store(root.section("store"));
    let api_socket = rooms::path(root.section("api"), "socket", "/run/linnet/linnetd.sock");
    let metrics_listen = rooms::metrics(root.section("metrics"));
    let state_directory = rooms::path(root.section("state"), "directory", "/var/lib/linnet");
    root.finish();
    Some(Config {
        node: node?,
        bgp: bgp?,
        overlay: overlay?,
        fib: fib?,
        policy: policy?,
        api_socket: api_socket?,
        metrics_listen: metrics_listen?,
        state_directory: state_directory?,
    })
}
