//! The sections that are not about BGP: `[node]`, `[overlay]`, `[fib]`, `[policy]`, `[store]`, and the lone keys.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use bgp_proto::types::Prefix;
use ipnetwork::IpNetwork;

use super::environment::Environment;
use super::reader::{Field, NOT_APPLIED, Section};
use super::rule::rules;
use super::{Encapsulation, Fib, Node, Overlay, OverlayMode, Policy};

pub(super) fn node(section: Section<'_>, environment: &Environment) -> Option<Node> {
    let name = match section.field("name") {
        Some(field) => node_name(&field),
        None => environment.host_name.clone().or_else(|| {
            section.report.error(
                section.span.clone(),
                "node.name is not set and this host has no name",
                NOT_APPLIED,
                "set [node] name = \"node-1\"",
            );
            None
        }),
    };
    let address = match section.field("address") {
        Some(field) => unicast(&field),
        None => environment.address.or_else(|| {
            section.report.error(
                section.span.clone(),
                "node.address is not set and this host has no default route to take it from",
                NOT_APPLIED,
                "set [node] address to the address by which the other hosts reach this one",
            );
            None
        }),
    };
    let address6 = section.field("address6").map(|field| match unicast(&field) {
        Some(IpAddr::V6(address)) => Some(address),
        Some(IpAddr::V4(_)) => {
            field
                .refuse("node.address6 is an IPv4 address", "write an IPv6 address, or put this one under \"address\"");
            None
        }
        None => None,
    });
    let pod_cidrs = section.field("pod-cidrs").map_or(Some(Vec::new()), |field| pod_cidrs(&field, address));
    section.finish();
    Some(Node { name: name?, address: address?, address6: transpose(address6)?, pod_cidrs: pod_cidrs? })
}

/// `None` inside means "was written wrongly"; outside, "was not written".
fn transpose<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    match read {
        None => Some(None),
        Some(None) => None,
        Some(value) => Some(value),
    }
}

fn node_name(field: &Field<'_>) -> Option<String> {
    let name = field.string()?;
    let fits = (1..=253).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    if !fits {
        field.refuse(&format!("\"{name}\" is not a node's name"), "use 1 to 253 letters, digits, '-', '.' and '_'");
    }
    fits.then(|| name.to_owned())
}

/// An address that one host can have.
pub(super) fn unicast(field: &Field<'_>) -> Option<IpAddr> {
    let address: IpAddr = field.parsed("an IP address", "192.168.10.11")?;
    let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    if address.is_unspecified() || address.is_multicast() || broadcast {
        field.refuse(&format!("{address} is not an address that a host can have"), "write a unicast address");
        return None;
    }
    Some(address)
}

/// A prefix in canonical form; host bits are cleared with a warning.
pub(super) fn prefix(field: &Field<'_>) -> Option<Prefix> {
    let text = field.string()?;
    let network: Option<IpNetwork> = if text.contains('/') { text.parse().ok() } else { None };
    let Some(network) = network else {
        field.refuse(&format!("\"{text}\" is not a prefix"), "write it like \"10.244.1.0/24\" or \"fd00:244:1::/64\"");
        return None;
    };
    let prefix = Prefix::from(network);
    warn_host_bits(field, text, prefix);
    Some(prefix)
}

/// Says so when `prefix` is not what was `written` because host bits were cleared.
pub(super) fn warn_host_bits(field: &Field<'_>, written: &str, prefix: Prefix) {
    if written.parse::<IpNetwork>().is_ok_and(|network| network.ip() != prefix.address()) {
        field.report.warning(
            field.span.clone(),
            &format!("\"{written}\" has host bits"),
            &format!("it is read as {prefix}"),
            &format!("write \"{prefix}\""),
        );
    }
}

/// Every item of a list, or `None` if one of them was refused.
pub(super) fn all<'a, T>(field: &Field<'a>, read: impl Fn(&Field<'a>) -> Option<T>) -> Option<Vec<T>> {
    let items: Vec<Option<T>> = field.list()?.iter().map(read).collect();
    items.into_iter().collect()
}

fn pod_cidrs(field: &Field<'_>, node: Option<IpAddr>) -> Option<Vec<Prefix>> {
    let items = field.list()?;
    let mut read: Vec<Prefix> = Vec::new();
    let mut sound = true;
    for item in &items {
        let Some(cidr) = prefix(item) else {
            sound = false;
            continue;
        };
        let host = node.and_then(|address| Prefix::new(address, if address.is_ipv4() { 32 } else { 128 }));
        if let Some(other) = read.iter().find(|other| other.contains(cidr) || cidr.contains(**other)) {
            item.refuse(&format!("pod-cidrs {cidr} and {other} overlap"), "leave one of them out");
            sound = false;
        } else if host.is_some_and(|host| cidr.contains(host)) {
            let culprit = format!("pod-cidrs {cidr} contains the node's own address");
            item.refuse(&culprit, "give the pods a block that no host has addresses in");
            sound = false;
        } else if cidr.length() == 0 || unusable(cidr) {
            item.refuse(
                &format!("pod-cidrs {cidr} is not a block for hosts"),
                "use a unicast block such as 10.244.1.0/24",
            );
            sound = false;
        }
        read.push(cidr);
    }
    sound.then_some(read)
}

/// Multicast, loopback and link-local blocks.
fn unusable(prefix: Prefix) -> bool {
    match prefix.address() {
        IpAddr::V4(address) => address.is_multicast() || address.is_loopback() || address.is_link_local(),
        IpAddr::V6(address) => address.is_multicast() || address.is_loopback() || address.is_unicast_link_local(),
    }
}

pub(super) fn overlay(section: Section<'_>, node: Option<&Node>) -> Option<Overlay> {
    let encapsulations =
        [("vxlan", Encapsulation::Vxlan), ("ipip", Encapsulation::IpIp), ("wireguard", Encapsulation::WireGuard)];
    let encapsulation =
        section.field("encapsulation").map_or(Some(Encapsulation::Vxlan), |field| field.word(&encapsulations));
    let wireguard = encapsulation == Some(Encapsulation::WireGuard);
    // Who wants encryption wants it between neighbours too.
    let default = if wireguard { OverlayMode::Always } else { OverlayMode::Auto };
    let mode = section.field("mode").map_or(Some(default), |field| {
        let mode = overlay_mode(&field)?;
        if wireguard && mode == OverlayMode::Auto {
            field.report.warning(
                field.span.clone(),
                "mode \"auto\" with encapsulation \"wireguard\"",
                "what goes to pods of hosts on the same link is not encrypted, nor what no tunnel leads to",
                "leave mode out, or write \"always\"",
            );
        }
        Some(mode)
    });
    let vni = section.field("vni").map_or(Some(4096), |field| field.integer(1..=0x00ff_ffff));
    let port =
        section.field("port").map_or(Some(if wireguard { 51820 } else { 4789 }), |field| field.integer(1..=65535));
    let mtu = section.field("mtu").map_or(Some(None), |field| mtu(&field));
    if encapsulation == Some(Encapsulation::IpIp)
        && mode != Some(OverlayMode::Never)
        && let Some(node) = node.filter(|node| node.address.is_ipv4())
        && node.has_ipv6_pods()
    {
        section.report.warning(
            section.span.clone(),
            &format!("encapsulation \"ipip\" with node.address {} and IPv6 pods", node.address),
            "IP in IP over IPv4 carries no IPv6: IPv6 pods have no tunnel, and routers on the way have to know their prefixes",
            "write \"vxlan\", or the node's IPv6 address as node.address, over which \"ipip\" carries both",
        );
    }
    section.finish();
    Some(Overlay { mode: mode?, encapsulation: encapsulation?, vni: vni?, port: port?, mtu: mtu? })
}

/// When to tunnel.
pub(super) fn overlay_mode(field: &Field<'_>) -> Option<OverlayMode> {
    field.word(&OverlayMode::ALL.map(|mode| (mode.name(), mode)))
}

/// Octets, or `"auto"`: `None` inside.
pub(super) fn mtu(field: &Field<'_>) -> Option<Option<u32>> {
    if field.is_integer() { field.integer(1280..=65535).map(Some) } else { field.word(&[("auto", None)]) }
}

/// The number of a routing table that is not the kernel's own.
pub(super) fn routing_table(field: &Field<'_>) -> Option<u32> {
    match field.integer(1..=u32::MAX) {
        Some(255) => {
            field.refuse("table 255 is the kernel's own (local)", "use 254, the main table, or one of your own");
            None
        }
        table => table,
    }
}

pub(super) fn fib(section: Section<'_>, node: Option<&Node>) -> Option<Fib> {
    let install = section.field("install").map_or(Some(true), |field| field.boolean());
    let table = section.field("table").map_or(Some(254), |field| routing_table(&field));
    let metric = section.field("metric").map_or(Some(76), |field| field.integer(1..=u32::MAX));
    let next_hop_objects = section.field("next-hop-objects").map_or(Some(true), |field| field.boolean());
    let source = section.field("source").map_or(Some(None), |field| source(&field, node));
    let source6 = section.field("source6").map_or(Some(None), |field| source6(&field, node));
    let mtu = section.field("mtu").map_or(Some(None), |field| mtu(&field));
    let rules = section.field("rules").map_or(Some(Vec::new()), |field| rules(&field, table));
    section.finish();
    Some(Fib {
        install: install?,
        table: table?,
        metric: metric?,
        next_hop_objects: next_hop_objects?,
        source: source?,
        source6: source6?,
        mtu: mtu?,
        rules: rules?,
    })
}

/// Of IPv4 routes; `"auto"` is `None` inside.
pub(super) fn source(field: &Field<'_>, node: Option<&Node>) -> Option<Option<Ipv4Addr>> {
    let wanted = |address| if let IpAddr::V4(address) = address { Some(address) } else { None };
    preferred_source(field, node, "an IPv4", wanted)
}

/// Likewise of IPv6 routes.
pub(super) fn source6(field: &Field<'_>, node: Option<&Node>) -> Option<Option<Ipv6Addr>> {
    let wanted = |address| if let IpAddr::V6(address) = address { Some(address) } else { None };
    preferred_source(field, node, "an IPv6", wanted)
}

/// `"auto"`, `"node"` for the node's own address of that family, or an address.
fn preferred_source<T>(
    field: &Field<'_>,
    node: Option<&Node>,
    what: &str,
    wanted: impl Fn(IpAddr) -> Option<T>,
) -> Option<Option<T>> {
    match field.string()? {
        "auto" => Some(None),
        "node" => {
            let node = node?;
            let own = [Some(node.address), node.address6.map(IpAddr::V6)].into_iter().flatten().find_map(&wanted);
            if own.is_none() {
                let culprit = format!("the node has not {what} address");
                field.refuse(&culprit, "set node.address or node.address6, or write the address here");
            }
            own.map(Some)
        }
        _ => {
            let address = unicast(field)?;
            let fits = wanted(address);
            if fits.is_none() {
                field.refuse(
                    &format!("{address} is not {what} address"),
                    "\"source\" is for IPv4 routes, \"source6\" for IPv6 routes",
                );
            }
            fits.map(Some)
        }
    }
}

pub(super) fn policy(section: Section<'_>) -> Option<Policy> {
    let directory = directory(&section, "directory", "/etc/linnet/policy.d");
    let deny = section.field("default").map_or(Some(false), |field| field.word(&[("allow", false), ("deny", true)]));
    section.finish();
    Some(Policy { directory: directory?, deny: deny? })
}

pub(super) fn store(section: Section<'_>) {
    if let Some(field) = section.field("kind")
        && field.word(&[("files", true), ("etcd", false), ("kubernetes", false)]) == Some(false)
    {
        field.not_yet("write \"files\"");
    }
    section.finish();
}

/// `off`, or where to listen.
pub(super) fn metrics(section: Section<'_>) -> Option<Option<SocketAddr>> {
    let listen = section.field("listen").map_or(Some(Some(SocketAddr::from(([127, 0, 0, 1], 9476)))), |field| {
        if field.string()? == "off" {
            return Some(None);
        }
        field.parsed("an address with a port, or \"off\"", "127.0.0.1:9476").map(Some)
    });
    section.finish();
    listen
}

/// A section that holds one path.
pub(super) fn path(section: Section<'_>, key: &'static str, default: &str) -> Option<PathBuf> {
    let path = directory(&section, key, default);
    section.finish();
    path
}

fn directory(section: &Section<'_>, key: &'static str, default: &str) -> Option<PathBuf> {
    match section.field(key) {
        None => Some(PathBuf::from(default)),
        Some(field) => absolute(&field),
    }
}

/// A daemon's working directory is nobody's business, so paths start at the root.
pub(super) fn absolute(field: &Field<'_>) -> Option<PathBuf> {
    let path = PathBuf::from(field.string()?);
    if !path.is_absolute() {
        field.refuse(&format!("\"{}\" is not an absolute path", path.display()), "start it with /");
        return None;
    }
    Some(path)
}
