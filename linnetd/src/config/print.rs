//! The canonical file: every key with its value, in the order of the design. It parses back to the same configuration.

use std::fmt::{self, Display, Formatter};

use bgp_proto::filter::{Filter, PrefixList};
use bgp_proto::session::{RemoteAs, SendHoldTime};

use super::add_path;
use super::aggregate;
use super::authentication;
use super::conduct;
use super::import_kernel;
use super::prefix_limit;
use super::rule;
use super::{BmpStation, Config, DynamicPeer, Encapsulation, Mrt, Peer, PeerSettings, Remote, RpkiCache, Ttl};

impl Display for Config {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { node, bgp, overlay, fib, policy, api_socket, metrics_listen, state_directory } = self;
        writeln!(f, "[node]")?;
        writeln!(f, "name = {}", string(&node.name))?;
        writeln!(f, "address = {}", string(node.address))?;
        if let Some(address) = node.address6 {
            writeln!(f, "address6 = {}", string(address))?;
        }
        writeln!(f, "pod-cidrs = {}", list(&node.pod_cidrs))?;

        writeln!(f, "\n[bgp]")?;
        writeln!(f, "asn = {}", bgp.asn)?;
        writeln!(f, "router-id = {}", string(bgp.router_id))?;
        writeln!(f, "listen = {}", list(&bgp.listen))?;
        writeln!(f, "hold-time = {}", bgp.hold_time.seconds())?;
        writeln!(f, "cluster-id = {}", string(bgp.cluster_id.0))?;
        writeln!(f, "max-paths = {}", bgp.max_paths)?;
        writeln!(f, "networks = {}", list(&bgp.networks))?;
        writeln!(f, "cluster-cidrs = {}", list(&bgp.cluster_cidrs))?;
        writeln!(f, "drain-time = {}", bgp.drain_time.as_secs())?;
        match bgp.graceful_restart {
            Some(restart) => writeln!(
                f,
                "graceful-restart = {{ enabled = true, restart-time = {}, deferral-time = {}, notification = {}, \
                 long-lived-stale-time = {} }}",
                restart.restart_time,
                restart.deferral_time.as_secs(),
                restart.notification,
                restart.long_lived_stale_time
            )?,
            None => writeln!(f, "graceful-restart = {{ enabled = false }}")?,
        }
        bgp.aggregates.iter().try_for_each(|it| aggregate::print(f, it))?;
        bgp.import_kernel.iter().try_for_each(|it| import_kernel::print(f, it))?;
        bgp.peers.iter().try_for_each(|peer| print_peer(f, peer))?;
        bgp.dynamic_peers.iter().try_for_each(|peer| print_dynamic_peer(f, peer))?;
        bgp.prefix_lists.iter().try_for_each(|list| print_prefix_list(f, list))?;
        bgp.filters.iter().try_for_each(|filter| print_filter(f, filter))?;
        bgp.rpki.iter().try_for_each(|cache| print_cache(f, cache))?;
        bgp.bmp.iter().try_for_each(|station| print_station(f, station))?;
        bgp.mrt.iter().try_for_each(|mrt| print_mrt(f, mrt))?;

        let encapsulation = match overlay.encapsulation {
            Encapsulation::Vxlan => "vxlan",
            Encapsulation::IpIp => "ipip",
            Encapsulation::WireGuard => "wireguard",
        };
        writeln!(f, "\n[overlay]")?;
        writeln!(f, "mode = \"{}\"", overlay.mode.name())?;
        writeln!(f, "encapsulation = \"{encapsulation}\"")?;
        writeln!(f, "vni = {}", overlay.vni)?;
        writeln!(f, "port = {}", overlay.port)?;
        match overlay.mtu {
            Some(mtu) => writeln!(f, "mtu = {mtu}")?,
            None => writeln!(f, "mtu = \"auto\"")?,
        }

        writeln!(f, "\n[fib]")?;
        writeln!(f, "install = {}", fib.install)?;
        writeln!(f, "table = {}", fib.table)?;
        writeln!(f, "metric = {}", fib.metric)?;
        writeln!(f, "next-hop-objects = {}", fib.next_hop_objects)?;
        let auto = || string("auto");
        writeln!(f, "source = {}", fib.source.map_or_else(auto, string))?;
        writeln!(f, "source6 = {}", fib.source6.map_or_else(auto, string))?;
        writeln!(f, "mtu = {}", fib.mtu.map_or_else(auto, |mtu| mtu.to_string()))?;
        writeln!(f, "rules = [{}]", fib.rules.iter().map(rule::text).collect::<Vec<_>>().join(", "))?;

        writeln!(f, "\n[policy]")?;
        writeln!(f, "directory = {}", string(policy.directory.display()))?;
        writeln!(f, "default = \"{}\"", if policy.deny { "deny" } else { "allow" })?;

        writeln!(f, "\n[store]\nkind = \"files\"")?;
        writeln!(f, "\n[api]\nsocket = {}", string(api_socket.display()))?;
        match metrics_listen {
            Some(listen) => writeln!(f, "\n[metrics]\nlisten = {}", string(listen))?,
            None => writeln!(f, "\n[metrics]\nlisten = \"off\"")?,
        }
        writeln!(f, "\n[state]\ndirectory = {}", string(state_directory.display()))
    }
}

fn print_peer(f: &mut Formatter<'_>, peer: &Peer) -> fmt::Result {
    writeln!(f, "\n[[bgp.peer]]")?;
    writeln!(f, "name = {}", string(&peer.name))?;
    match peer.remote {
        Remote::Address(address) => writeln!(f, "address = {}", string(address))?,
        Remote::Interface(interface) => writeln!(f, "interface = {}", string(interface))?,
    }
    writeln!(f, "port = {}", peer.port)?;
    print_settings(f, &peer.settings, false)
}

fn print_dynamic_peer(f: &mut Formatter<'_>, peer: &DynamicPeer) -> fmt::Result {
    writeln!(f, "\n[[bgp.dynamic-peer]]")?;
    writeln!(f, "name = {}", string(&peer.name))?;
    writeln!(f, "prefix = {}", string(peer.prefix))?;
    writeln!(f, "limit = {}", peer.limit)?;
    print_settings(f, &peer.settings, true)
}

fn print_settings(f: &mut Formatter<'_>, settings: &PeerSettings, dynamic: bool) -> fmt::Result {
    match settings.remote_as {
        RemoteAs::Exactly(asn) => writeln!(f, "asn = {asn}")?,
        RemoteAs::Internal => writeln!(f, "asn = \"internal\"")?,
        RemoteAs::External => writeln!(f, "asn = \"external\"")?,
    }
    writeln!(f, "local-asn = {}", settings.local_as)?;
    if let Some(address) = settings.local_address {
        writeln!(f, "local-address = {}", string(address))?;
    }
    writeln!(f, "families = {}", list(settings.families.iter()))?;
    authentication::print(f, settings.authentication.as_ref())?;
    match settings.ttl {
        Ttl::Default => {}
        Ttl::Security(hops) => writeln!(f, "ttl-security = {hops}")?,
        Ttl::Multihop(hops) => writeln!(f, "multihop = {hops}")?,
    }
    if !dynamic {
        writeln!(f, "passive = {}", settings.passive)?;
    }
    writeln!(f, "route-reflector-client = {}", settings.client)?;
    conduct::print(f, &settings.conduct)?;
    add_path::print(f, settings)?;
    writeln!(f, "enhanced-route-refresh = {}", settings.enhanced_refresh)?;
    writeln!(f, "extended-messages = {}", settings.extended_messages)?;
    writeln!(f, "extended-next-hop = {}", settings.extended_next_hop)?;
    writeln!(f, "blackhole = {}", settings.blackhole)?;
    if let Some(limit) = settings.max_prefixes {
        writeln!(f, "max-prefixes = {}", prefix_limit::text(limit))?;
    }
    if let Some(hold) = settings.hold_time {
        writeln!(f, "hold-time = {}", hold.seconds())?;
    }
    match settings.send_hold {
        SendHoldTime::Recommended => {}
        SendHoldTime::Off => writeln!(f, "send-hold-time = 0")?,
        SendHoldTime::Exactly(time) => writeln!(f, "send-hold-time = {}", time.as_secs())?,
    }
    writeln!(f, "connect-retry = {}", settings.connect_retry.as_secs())?;
    writeln!(f, "idle-hold-time = {}", settings.idle_hold.as_secs())?;
    writeln!(f, "delay-open = {}", settings.delay_open.unwrap_or_default().as_secs())?;
    writeln!(f, "graceful-shutdown = {}", settings.graceful_shutdown)?;
    if let Some(bfd) = &settings.bfd {
        writeln!(f, "bfd = {}", super::bfd::text(bfd))?;
    }
    for (key, name) in [("import", &settings.import), ("export", &settings.export)] {
        if let Some(name) = name {
            writeln!(f, "{key} = {}", string(name))?;
        }
    }
    Ok(())
}

fn print_station(f: &mut Formatter<'_>, station: &BmpStation) -> fmt::Result {
    writeln!(f, "\n[[bgp.bmp]]")?;
    writeln!(f, "name = {}", string(&station.name))?;
    writeln!(f, "address = {}", string(station.address))?;
    writeln!(f, "port = {}", station.port)?;
    writeln!(f, "monitor = {}", list(station.stages.iter().map(|stage| stage.name())))?;
    writeln!(f, "statistics-interval = {}", station.statistics.unwrap_or_default().as_secs())
}

fn print_mrt(f: &mut Formatter<'_>, mrt: &Mrt) -> fmt::Result {
    writeln!(f, "\n[bgp.mrt]")?;
    writeln!(f, "directory = {}", string(mrt.directory.display()))?;
    writeln!(f, "table-interval = {}", mrt.table_interval.unwrap_or_default().as_secs())?;
    writeln!(f, "updates-interval = {}", mrt.updates_interval.unwrap_or_default().as_secs())?;
    writeln!(f, "keep = {}", mrt.keep)
}

fn print_cache(f: &mut Formatter<'_>, cache: &RpkiCache) -> fmt::Result {
    writeln!(f, "\n[[bgp.rpki]]")?;
    writeln!(f, "name = {}", string(&cache.name))?;
    writeln!(f, "address = {}", string(cache.address))?;
    writeln!(f, "port = {}", cache.port)?;
    writeln!(f, "preference = {}", cache.preference)?;
    for (key, time) in [("refresh", cache.refresh), ("retry", cache.retry), ("expire", cache.expire)] {
        if let Some(time) = time {
            writeln!(f, "{key} = {}", time.as_secs())?;
        }
    }
    writeln!(f, "max-vrps = {}", cache.max_vrps)
}

fn print_prefix_list(f: &mut Formatter<'_>, list: &PrefixList) -> fmt::Result {
    writeln!(f, "\n[[bgp.prefix-list]]")?;
    writeln!(f, "name = {}", string(list.name()))?;
    if list.entries().is_empty() {
        return writeln!(f, "prefixes = []");
    }
    writeln!(f, "prefixes = [")?;
    for entry in list.entries() {
        writeln!(f, "  {},", string(entry))?;
    }
    writeln!(f, "]")
}

fn print_filter(f: &mut Formatter<'_>, filter: &Filter) -> fmt::Result {
    writeln!(f, "\n[[bgp.filter]]")?;
    writeln!(f, "name = {}", string(&filter.name))?;
    if filter.rules.is_empty() {
        return writeln!(f, "rules = []");
    }
    writeln!(f, "rules = [")?;
    for rule in &filter.rules {
        writeln!(f, "  {rule},")?;
    }
    writeln!(f, "]")
}

pub(super) fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    format!("[{}]", items.into_iter().map(string).collect::<Vec<_>>().join(", "))
}

/// A TOML basic string.
pub(super) fn string(value: impl Display) -> String {
    let mut quoted = String::from("\"");
    for c in value.to_string().chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
