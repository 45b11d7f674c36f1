//! `[bgp]`; its peers are in `peer.rs`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bgp_proto::types::{Asn, ClusterId, HoldTime, RouterId};

use super::aggregate::aggregates;
use super::authentication::check_prefixes;
use super::filter::{Around, filters, prefix_lists};
use super::import_kernel::imports;
use super::peer::{Defaults, dynamic_peers, peers};
use super::reader::{Field, NOT_APPLIED, Section};
use super::rooms::{all, prefix};
use super::rpki::caches;
use super::watch::{mrt, stations};
use super::{Bgp, GracefulRestart, Node, OverlayMode};

/// An address with a port. An IPv6 address without its brackets is understood, because the port must be there: what
/// stands behind the last colon.
fn listen_address(item: &Field<'_>) -> Option<SocketAddr> {
    let text = item.string()?;
    let bare = text
        .rsplit_once(':')
        .and_then(|(address, port)| Some(SocketAddr::new(IpAddr::V6(address.parse().ok()?), port.parse().ok()?)));
    let Some(address) = bare else { return item.parsed("an address with a port", "0.0.0.0:179") };
    item.report.warning(
        item.span.clone(),
        &format!("\"{text}\" is an IPv6 address without brackets"),
        &format!("it is read as {address}"),
        &format!("write \"{address}\""),
    );
    Some(address)
}

pub(super) fn bgp(section: Section<'_>, node: Option<&Node>, overlay: Option<OverlayMode>) -> Option<Bgp> {
    let asn = section.required("asn", "64512").and_then(|field| as_number(&field));
    let router_id = match section.field("router-id") {
        Some(field) => identifier(&field, "router id"),
        None => default_router_id(&section, node),
    };
    let listen = section.field("listen").map_or_else(
        || Some(vec![([0, 0, 0, 0], 179).into(), ([0u16; 8], 179).into()]),
        |field| all(&field, listen_address),
    );
    let hold_time = section.field("hold-time").map_or(Some(HoldTime::default()), |field| hold_time(&field));
    let cluster_id = match section.field("cluster-id") {
        Some(field) => identifier(&field, "cluster id"),
        None => router_id,
    };
    let max_paths = section.field("max-paths").map_or(Some(16), |field| field.integer::<u16>(1..=256));
    let networks = section.field("networks").map_or(Some(Vec::new()), |field| all(&field, prefix));
    let aggregates = aggregates(&section);
    let cluster_cidrs = section.field("cluster-cidrs").map_or(Some(Vec::new()), |field| all(&field, prefix));
    let drain_time = section.field("drain-time").map_or(Some(10u32), |field| field.integer(0..=3600));
    let graceful_restart =
        section.field("graceful-restart").map_or(Some(Some(DEFAULT)), |field| graceful_restart(&field));
    let prefix_lists = prefix_lists(&section);
    let filters = filters(&section, &Around { lists: prefix_lists.as_deref().unwrap_or_default(), node, overlay });
    let mut defaults = Defaults {
        asn,
        node,
        hold_time,
        filters: filters.as_deref().unwrap_or_default(),
        filters_read: filters.is_some(),
    };
    let import_kernel = imports(&section, &defaults);
    let peers = peers(&section, &mut defaults);
    let dynamic_peers = dynamic_peers(&section, &defaults);
    if let (Some(peers), Some(dynamic_peers)) = (&peers, &dynamic_peers) {
        check_prefixes(&section, peers, dynamic_peers);
    }
    let (rpki, bmp, mrt) = (caches(&section), stations(&section), mrt(&section));
    if rpki.as_ref().is_some_and(Vec::is_empty)
        && let Some(asking) = filters.iter().flatten().find(|filter| filter.looks_at_validation())
    {
        section.report.warning(
            section.span.clone(),
            &format!("filter \"{}\" asks for the validation state, and there is no RPKI cache", asking.name),
            "every route is \"not-found\"",
            "add [[bgp.rpki]] with the address of a cache",
        );
    }
    let settings = || {
        let static_peers = peers.iter().flatten().map(|peer| &peer.settings);
        static_peers.chain(dynamic_peers.iter().flatten().map(|peer| &peer.settings))
    };
    for filter in filters.iter().flatten() {
        let hint = filter.rules.iter().find_map(|rule| rule.set.hints.entries().first().map(|(key, _)| *key));
        let is_named = |name: &Option<String>| name.as_ref() == Some(&filter.name);
        if let Some(key) = hint
            && settings().any(|peer| is_named(&peer.export))
            && !settings().any(|peer| is_named(&peer.import))
        {
            section.report.warning(
                section.span.clone(),
                &format!("filter \"{}\" sets \"{key}\", and is for exports alone", filter.name),
                "nothing follows from it: what this node writes into its kernel is what it has imported",
                "name it as \"import\" of the peers whose routes are meant",
            );
        }
    }
    section.finish();
    Some(Bgp {
        asn: asn?,
        router_id: RouterId(router_id?),
        listen: listen?,
        hold_time: hold_time?,
        cluster_id: ClusterId(cluster_id?),
        max_paths: usize::from(max_paths?),
        networks: networks?,
        aggregates: aggregates?,
        import_kernel: import_kernel?,
        cluster_cidrs: cluster_cidrs?,
        drain_time: Duration::from_secs(u64::from(drain_time?)),
        graceful_restart: graceful_restart?,
        peers: peers?,
        dynamic_peers: dynamic_peers?,
        prefix_lists: prefix_lists?,
        filters: filters?,
        rpki: rpki?,
        bmp: bmp?,
        mrt: mrt?,
    })
}

/// AS 0 is nobody's (RFC 7607), 23456 stands for numbers that do not fit (RFC 6793), the last of each range is reserved (RFC 7300).
pub(super) fn as_number(field: &Field<'_>) -> Option<Asn> {
    let number: u32 = field.integer(1..=u32::MAX - 1)?;
    if number == 23456 || number == 65535 {
        field.refuse(&format!("AS {number} is reserved"), "use a number of your own; 64512 to 65534 are private");
        return None;
    }
    Some(Asn(number))
}

fn identifier(field: &Field<'_>, what: &str) -> Option<Ipv4Addr> {
    let id: Ipv4Addr = field.parsed(&format!("a {what} (an IPv4 address)"), "192.168.10.11")?;
    if id.is_unspecified() {
        field.refuse(&format!("a {what} of 0.0.0.0 is not allowed (RFC 6286)"), "use the node's address");
        return None;
    }
    Some(id)
}

fn default_router_id(section: &Section<'_>, node: Option<&Node>) -> Option<Ipv4Addr> {
    match node?.address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => {
            section.report.error(
                section.span.clone(),
                "bgp.router-id is not set, and the node's address is IPv6",
                NOT_APPLIED,
                "set router-id to an IPv4 address that no other node of this AS uses; it need not be reachable",
            );
            None
        }
    }
}

pub(super) fn hold_time(field: &Field<'_>) -> Option<HoldTime> {
    let seconds: u16 = field.integer(0..=65535)?;
    let time = HoldTime::from_seconds(seconds);
    if time.is_none() {
        field.refuse(
            &format!("a hold time of {seconds} seconds is not allowed (RFC 4271)"),
            "write 0 (off), or 3 or more",
        );
    }
    time
}

/// What `graceful-restart` is where nothing is said.
const DEFAULT: GracefulRestart = GracefulRestart {
    restart_time: 120,
    deferral_time: Duration::from_secs(60),
    notification: true,
    long_lived_stale_time: 0,
};

fn graceful_restart(field: &Field<'_>) -> Option<Option<GracefulRestart>> {
    let section = field.section("graceful-restart")?;
    let enabled = section.field("enabled").map_or(Some(true), |field| field.boolean());
    let restart: Option<u16> =
        section.field("restart-time").map_or(Some(DEFAULT.restart_time), |field| field.integer(1..=4095));
    let deferral: Option<u32> = match section.field("deferral-time") {
        Some(field) => field.integer(0..=3600),
        // Peers wait no longer than that, and a minute is enough for all that can be waited for.
        None => restart.map(|seconds| u32::from(seconds).min(60)),
    };
    let notification = section.field("notification").map_or(Some(DEFAULT.notification), |field| field.boolean());
    let long_lived = section.field("long-lived-stale-time").map_or(Some(0), |field| field.integer(0..=0x00ff_ffff));
    section.finish();
    let read = GracefulRestart {
        restart_time: restart?,
        deferral_time: Duration::from_secs(u64::from(deferral?)),
        notification: notification?,
        long_lived_stale_time: long_lived?,
    };
    Some(enabled?.then_some(read))
}
