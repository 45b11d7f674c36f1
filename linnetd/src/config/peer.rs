//! `[[bgp.peer]]` and `[[bgp.dynamic-peer]]`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use bgp_proto::filter::{Filter, Rule, SetNextHop};
use bgp_proto::session::{RemoteAs, SendHoldTime};
use bgp_proto::types::{Asn, Family, FamilySet, HoldTime, Prefix};

use super::add_path;
use super::authentication::authentication;
use super::bgp::{as_number, hold_time};
use super::conduct;
use super::filter::name;
use super::prefix_limit::prefix_limit;
use super::reader::{Field, Section, nearest, quoted};
use super::remote::remote;
use super::rooms::{all, prefix, unicast};
use super::{DynamicPeer, Node, Peer, PeerSettings, Remote, Ttl};

const FAMILIES: [(&str, Family); 2] = [("ipv4-unicast", Family::Ipv4Unicast), ("ipv6-unicast", Family::Ipv6Unicast)];

/// What peers take from the rest of the file.
pub(super) struct Defaults<'c> {
    pub(super) asn: Option<Asn>,
    pub(super) node: Option<&'c Node>,
    pub(super) hold_time: Option<HoldTime>,
    pub(super) filters: &'c [Filter],
    /// Otherwise a name may be missing only because its filter was refused.
    pub(super) filters_read: bool,
}

pub(super) fn peers(section: &Section<'_>, defaults: &mut Defaults<'_>) -> Option<Vec<Peer>> {
    let mut names = BTreeMap::new();
    let mut taken = BTreeMap::new();
    let tables = section.sections("peer", "[[bgp.peer]]");
    let mut peers = Vec::new();
    for table in &tables {
        let name_field = table.required("name", "\"tor-a\"");
        let name = name_field.as_ref().and_then(name);
        if let (Some(field), Some(name)) = (&name_field, &name)
            && names.insert(name.clone(), ()).is_some()
        {
            field.refuse(&format!("two peers are named \"{name}\""), "rename one of them");
        }
        let remote = remote(table, name.as_deref(), defaults.node, &mut taken);
        // The link is IPv6's, whatever prefixes cross it.
        let address = remote.map(|remote| match remote {
            Remote::Address(address) => address,
            Remote::Interface(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        });
        let port = table.field("port").map_or(Some(179), |field| field.integer(1..=65535));
        let settings = settings(table, address, false, defaults);
        table.finish();
        peers.push((|| Some(Peer { name: name?, remote: remote?, port: port?, settings: settings? }))());
    }
    peers.into_iter().collect()
}

pub(super) fn dynamic_peers(section: &Section<'_>, defaults: &Defaults<'_>) -> Option<Vec<DynamicPeer>> {
    let tables = section.sections("dynamic-peer", "[[bgp.dynamic-peer]]");
    let mut seen: Vec<Prefix> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    let mut peers = Vec::new();
    for table in &tables {
        let prefix_field = table.required("prefix", "\"192.168.10.0/24\"");
        let prefix = prefix_field.as_ref().and_then(prefix);
        if let (Some(field), Some(prefix)) = (&prefix_field, prefix) {
            if seen.contains(&prefix) {
                field.refuse(&format!("two dynamic peers have the prefix {prefix}"), "remove one of them");
            }
            seen.push(prefix);
        }
        let name_field = table.field("name");
        let name = match &name_field {
            Some(field) => name(field),
            None => prefix.map(|prefix| prefix.to_string()),
        };
        if let (Some(field), Some(name)) = (&name_field, &name) {
            if names.contains(name) {
                field.refuse(&format!("two dynamic peers are named \"{name}\""), "rename one of them");
            }
            names.push(name.clone());
        }
        let limit = table.field("limit").map_or(Some(1000), |field| field.integer::<u16>(1..=10_000));
        let settings = settings(table, prefix.map(Prefix::address), true, defaults);
        table.finish();
        peers.push((|| {
            Some(DynamicPeer { name: name?, prefix: prefix?, limit: usize::from(limit?), settings: settings? })
        })());
    }
    peers.into_iter().collect()
}

fn settings(
    table: &Section<'_>,
    address: Option<IpAddr>,
    dynamic: bool,
    defaults: &Defaults<'_>,
) -> Option<PeerSettings> {
    let remote_as = table.required("asn", "65001").and_then(|field| remote_as(&field));
    let local_as = table.field("local-asn").map_or(defaults.asn, |field| as_number(&field));
    let local_address = table.field("local-address").map_or(Some(None), |field| {
        let local = unicast(&field)?;
        if let Some(peer) = address
            && peer.is_ipv4() != local.is_ipv4()
        {
            let culprit = format!("local-address {local} and the peer's {peer} are of two families");
            field.refuse(&culprit, "write both as IPv4 or both as IPv6");
            return None;
        }
        Some(Some(local))
    });
    let families =
        table.field("families").map_or_else(|| default_families(address, defaults.node), |field| families(&field));
    let authentication = authentication(table);
    let ttl = ttl(table);
    let passive = if dynamic { Some(true) } else { flag(table, "passive") };
    let client_field = table.field("route-reflector-client");
    let client = client_field.as_ref().map_or(Some(false), Field::boolean);
    let conduct = conduct::conduct(table);
    // Of a dynamic peer it is its prefix's, which may be 0.0.0.0/0.
    let unnumbered = !dynamic && address.is_some_and(|address| address.is_unspecified());
    let enhanced_refresh = table.field("enhanced-route-refresh").map_or(Some(true), |field| field.boolean());
    let extended_messages = table.field("extended-messages").map_or(Some(true), |field| field.boolean());
    let extended_next_hop = table.field("extended-next-hop").map_or(Some(unnumbered), |field| field.boolean());
    let blackhole = flag(table, "blackhole");
    let several = add_path::add_path(table);
    let max_prefixes = table.field("max-prefixes").map_or(Some(None), |field| prefix_limit(&field).map(Some));
    let hold = table.field("hold-time").map_or(Some(None), |field| hold_time(&field).map(Some));
    let send_hold = send_hold(table, hold.and_then(|hold| hold.or(defaults.hold_time)));
    let retry = table.field("connect-retry").map_or(Some(5u32), |field| field.integer(1..=65535));
    // Not longer than the peer waits for our OPEN with the hold time that RFC 4271 section 8.2.2 suggests for that: 4 minutes.
    let delay_open = table.field("delay-open").map_or(Some(0u64), |field| field.integer(0..=240));
    let idle_hold = table.field("idle-hold-time").map_or(Some(1u32), |field| field.integer(1..=3600));
    let graceful_shutdown = table.field("graceful-shutdown").map_or(Some(true), |field| field.boolean());
    let bfd = table.field("bfd").map_or(Some(None), |field| super::bfd::bfd(&field, unnumbered));
    let import =
        filter_name(table, "import", defaults).filter(|name| sets_no_way_out(table, name.as_deref(), defaults));
    let export = filter_name(table, "export", defaults);
    let (add_path, add_path_send) = several?;
    let settings = PeerSettings {
        remote_as: remote_as?,
        local_as: local_as?,
        local_address: local_address?,
        families: families?,
        authentication: authentication?,
        ttl: ttl?,
        passive: passive?,
        client: client?,
        add_path,
        add_path_send,
        conduct: conduct?,
        enhanced_refresh: enhanced_refresh?,
        extended_messages: extended_messages?,
        extended_next_hop: extended_next_hop?,
        blackhole: blackhole?,
        max_prefixes: max_prefixes?,
        hold_time: hold?,
        send_hold: send_hold?,
        connect_retry: Duration::from_secs(u64::from(retry?)),
        idle_hold: Duration::from_secs(u64::from(idle_hold?)),
        delay_open: Some(delay_open?).filter(|seconds| *seconds > 0).map(Duration::from_secs),
        graceful_shutdown: graceful_shutdown?,
        bfd: bfd?,
        import: import?,
        export: export?,
    };
    cross_check(table, client_field.as_ref(), &settings)?;
    conduct::check(table, &settings, defaults.asn)?;
    Some(settings)
}

/// What one key says about another.
fn cross_check(table: &Section<'_>, client: Option<&Field<'_>>, settings: &PeerSettings) -> Option<()> {
    if let Some(field) = client.filter(|_| settings.client && !settings.internal()) {
        field.refuse(
            "a route reflector client of another AS",
            "clients are internal peers (RFC 4456): drop the key, or mend \"asn\"",
        );
        return None;
    }
    if let Some(field) = table.field("multihop").filter(|_| settings.internal()) {
        field.report.warning(
            field.span.clone(),
            "multihop on an internal peer",
            "it limits how far its packets go, which internal sessions need not",
            "leave it out",
        );
    }
    if !settings.internal() && (settings.import.is_none() || settings.export.is_none()) {
        let (without, consequence) = match (&settings.import, &settings.export) {
            (None, None) => ("an import and an export filter", "it accepts and sends no route (RFC 8212)"),
            (None, _) => ("an import filter", "no route of this peer is accepted (RFC 8212)"),
            _ => ("an export filter", "this peer is sent no route (RFC 8212)"),
        };
        table.report.warning(
            table.span.clone(),
            &format!("an external peer without {without}"),
            consequence,
            "name a [[bgp.filter]] under \"import\" and \"export\"",
        );
    }
    Some(())
}

/// With the hold time that we propose, if it is right: what is negotiated is no longer.
fn send_hold(table: &Section<'_>, hold_time: Option<HoldTime>) -> Option<SendHoldTime> {
    let Some(field) = table.field("send-hold-time") else { return Some(SendHoldTime::Recommended) };
    let seconds: u32 = field.integer(0..=86_400)?;
    if seconds == 0 {
        return Some(SendHoldTime::Off);
    }
    if let Some(hold_time) = hold_time.filter(|hold_time| seconds <= u32::from(hold_time.seconds())) {
        let hold = hold_time.seconds();
        field.refuse(
            &format!("a send hold time of {seconds} seconds, and a hold time of {hold}"),
            &format!(
                "write more than {hold} (RFC 9687 section 4.4), or 0 (off), or leave it out: then it is 480 or more"
            ),
        );
        return None;
    }
    Some(SendHoldTime::Exactly(Duration::from_secs(seconds.into())))
}

fn flag(table: &Section<'_>, key: &'static str) -> Option<bool> {
    table.field(key).map_or(Some(false), |field| field.boolean())
}

fn remote_as(field: &Field<'_>) -> Option<RemoteAs> {
    if field.is_integer() {
        return as_number(field).map(RemoteAs::Exactly);
    }
    field.word(&[("internal", RemoteAs::Internal), ("external", RemoteAs::External)])
}

/// The family of the peer's address, and the other one if this node has an address or pods in it.
fn default_families(address: Option<IpAddr>, node: Option<&Node>) -> Option<FamilySet> {
    let (address, node) = (address?, node?);
    let has = |v4: bool| {
        address.is_ipv4() == v4
            || node.address.is_ipv4() == v4
            || (!v4 && node.address6.is_some())
            || node.pod_cidrs.iter().any(|cidr| cidr.address().is_ipv4() == v4)
    };
    Some(FAMILIES.iter().map(|(_, family)| *family).filter(|family| has(*family == Family::Ipv4Unicast)).collect())
}

fn families(field: &Field<'_>) -> Option<FamilySet> {
    let families: FamilySet = all(field, |item| item.word(&FAMILIES))?.into_iter().collect();
    if families.is_empty() {
        field.refuse(
            "a peer of no family",
            &format!("write at least one of {}", quoted(FAMILIES.iter().map(|(name, _)| name))),
        );
        return None;
    }
    Some(families)
}

fn ttl(table: &Section<'_>) -> Option<Ttl> {
    let security = table.field("ttl-security");
    let multihop = table.field("multihop");
    match (security, multihop) {
        (None, None) => Some(Ttl::Default),
        (Some(field), None) => field.integer(1..=254).map(Ttl::Security),
        (None, Some(field)) => field.integer(1..=255).map(Ttl::Multihop),
        (Some(_), Some(field)) => {
            field.refuse("both ttl-security and multihop", "ttl-security alone says how many hops are allowed");
            None
        }
    }
}

/// Whether an import filter sets no next hop that only an export knows.
fn sets_no_way_out(table: &Section<'_>, name: Option<&str>, defaults: &Defaults<'_>) -> bool {
    let filter = name.and_then(|name| defaults.filters.iter().find(|filter| filter.name == name));
    let of_export = |rule: &Rule| matches!(rule.set.next_hop, Some(SetNextHop::Own | SetNextHop::Unchanged));
    let culprit = filter.filter(|filter| filter.rules.iter().any(of_export));
    if let (Some(filter), Some(field)) = (culprit, table.field("import")) {
        field.refuse(
            &format!(
                "filter \"{}\" sets the next hop to \"self\" or \"unchanged\", which means nothing on import",
                filter.name
            ),
            "use it as an export filter, or set an address",
        );
    }
    culprit.is_none()
}

/// A filter's name; `None` inside: there is none.
pub(super) fn filter_name(table: &Section<'_>, key: &'static str, defaults: &Defaults<'_>) -> Option<Option<String>> {
    let Some(field) = table.field(key) else { return Some(None) };
    let name = field.string()?;
    if defaults.filters.iter().any(|filter| filter.name == name) || !defaults.filters_read {
        return Some(Some(name.to_owned()));
    }
    let known = || defaults.filters.iter().map(|filter| filter.name.as_str());
    let next = match nearest(name, known()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None if defaults.filters.is_empty() => format!("define it with [[bgp.filter]] name = \"{name}\""),
        None => format!("define it with [[bgp.filter]], or use one of {}", quoted(known())),
    };
    field.refuse(&format!("filter \"{name}\" is not defined"), &next);
    None
}
