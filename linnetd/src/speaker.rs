//! From `[bgp]` to what the speaker is told, with the filter that closes import from the mesh (invariant 8).

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use bgp_proto::filter::{Condition, Filter, PrefixMatch, Rule};
use bgp_proto::rtr::ClientConfig;
use bgp_proto::types::{Family, Prefix};

use crate::config::{Authentication, BmpStation, Config, PeerSettings, Remote, RpkiCache, Ttl};

/// The name of the filter that applies to internal peers without an import filter.
pub const MESH: &str = "mesh";

/// Prefixes that no peer can have a host in (RFC 6890): this host, loopback, link-local, multicast, reserved.
const MARTIANS: [&str; 9] = [
    "0.0.0.0/8 le 32",
    "127.0.0.0/8 le 32",
    "169.254.0.0/16 le 32",
    "224.0.0.0/3 le 32",
    "::/128",
    "::1/128",
    "::ffff:0:0/96 le 128",
    "fe80::/10 le 128",
    "ff00::/8 le 128",
];

/// Prefixes that are never routed.
pub(crate) fn martians() -> Vec<PrefixMatch> {
    MARTIANS.iter().filter_map(|text| text.parse().ok()).collect()
}

/// What the speaker is told.
#[must_use]
pub fn speaker(config: &Config) -> bgpd::Config {
    let Config { node, bgp, .. } = config;
    let mesh = Arc::new(mesh_filter(config));
    let filters: Vec<Arc<Filter>> = bgp.filters.iter().cloned().map(Arc::new).collect();
    let named = |name: &Option<String>| {
        let name = name.as_ref()?;
        filters.iter().find(|filter| filter.name == *name).cloned()
    };
    let peer = |name: &str, address: IpAddr, port: u16, settings: &PeerSettings| bgpd::PeerConfig {
        name: name.to_owned(),
        address,
        interface: None,
        port,
        remote_as: settings.remote_as,
        local_as: settings.local_as,
        local_address: settings.local_address,
        families: settings.families,
        authentication: settings.authentication.as_ref().map(Authentication::of_speaker),
        ttl: match settings.ttl {
            Ttl::Default => bgpd::Ttl::Default,
            Ttl::Security(hops) => bgpd::Ttl::Security { hops },
            Ttl::Multihop(hops) => bgpd::Ttl::Multihop { hops },
        },
        passive: settings.passive,
        client: settings.client,
        add_path: settings.add_path,
        conduct: settings.conduct,
        add_path_send: settings.add_path_send,
        enhanced_refresh: settings.enhanced_refresh,
        extended_messages: settings.extended_messages,
        extended_next_hop: settings.extended_next_hop,
        blackhole: settings.blackhole,
        max_prefixes: settings.max_prefixes,
        hold_time: settings.hold_time,
        send_hold: settings.send_hold,
        connect_retry: settings.connect_retry,
        idle_hold: settings.idle_hold,
        delay_open: settings.delay_open,
        graceful_shutdown: settings.graceful_shutdown,
        bfd: settings.bfd,
        import: named(&settings.import).or_else(|| settings.internal().then(|| mesh.clone())),
        export: named(&settings.export),
    };
    let own_v4 = match node.address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    };
    // A node without an IPv6 address announces its IPv6 pods by its IPv4 one, as 6PE does (RFC 4798 section 2): another
    // Linnet reaches them by the tunnel, and a router that cannot use such a next hop says so.
    let own_v6 = node.address6.unwrap_or(match node.address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    });
    bgpd::Config {
        local_as: bgp.asn,
        router_id: bgp.router_id,
        cluster_id: bgp.cluster_id,
        listen: bgp.listen.clone(),
        own_address4: own_v4,
        own_address6: Some(own_v6),
        max_paths: bgp.max_paths,
        aggregates: bgp.aggregates.iter().cloned().collect(),
        hold_time: bgp.hold_time,
        graceful_restart: bgp.graceful_restart.map(|restart| bgpd::GracefulRestart {
            restart_time: restart.restart_time,
            deferral_time: Some(restart.deferral_time),
            notification: restart.notification,
            long_lived_stale_time: restart.long_lived_stale_time,
        }),
        off_path: !config.fib.install,
        // One that takes over is of use only where the kernel can be told of it.
        backups: config.fib.next_hop_objects,
        drain: bgpd::Drain::Off,
        peers: bgp
            .peers
            .iter()
            .map(|p| match p.remote {
                Remote::Address(address) => peer(&p.name, address, p.port, &p.settings),
                Remote::Interface(interface) => bgpd::PeerConfig {
                    interface: Some(interface),
                    ..peer(&p.name, IpAddr::V6(Ipv6Addr::UNSPECIFIED), p.port, &p.settings)
                },
            })
            .collect(),
        dynamic_peers: bgp
            .dynamic_peers
            .iter()
            .map(|dynamic| bgpd::DynamicPeerConfig {
                prefix: dynamic.prefix,
                limit: dynamic.limit,
                template: peer(&dynamic.name, dynamic.prefix.address(), 179, &dynamic.settings),
            })
            .collect(),
        rpki: bgp.rpki.iter().map(cache).collect(),
        name: node.name.clone(),
        bmp: bgp.bmp.iter().map(station).collect(),
        mrt: bgp.mrt.as_ref().map(|mrt| bgpd::MrtConfig {
            directory: mrt.directory.clone(),
            table_interval: mrt.table_interval,
            updates_interval: mrt.updates_interval,
            keep: mrt.keep as usize,
        }),
    }
}

fn station(station: &BmpStation) -> bgpd::StationConfig {
    bgpd::StationConfig {
        name: station.name.clone(),
        address: station.address,
        port: station.port,
        stages: station.stages.clone(),
        statistics: station.statistics,
    }
}

fn cache(cache: &RpkiCache) -> bgpd::CacheConfig {
    bgpd::CacheConfig {
        name: cache.name.clone(),
        address: cache.address,
        port: cache.port,
        preference: cache.preference,
        client: ClientConfig {
            refresh: cache.refresh,
            retry: cache.retry,
            expire: cache.expire,
            max_vrps: cache.max_vrps as usize,
        },
    }
}

/// What internal peers without an import filter may announce.
///
/// In order: nothing that would take over this node's own pods or address; then, with `bgp.cluster-cidrs`, only what lies
/// in them; without, everything but the default route and prefixes that no host can have.
#[must_use]
pub fn mesh_filter(config: &Config) -> Filter {
    let mut own: Vec<PrefixMatch> = Vec::new();
    for cidr in &config.node.pod_cidrs {
        own.extend(supernets(*cidr));
        own.push(inside(*cidr));
    }
    let addresses = [Some(config.node.address), config.node.address6.map(IpAddr::V6)];
    for address in addresses.into_iter().flatten() {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        own.extend(Prefix::new(address, bits).into_iter().flat_map(supernets));
    }
    own.sort_by_key(|wanted| (wanted.prefix, wanted.ge, wanted.le));
    own.dedup();
    let reject = |prefixes| Rule::reject(vec![Condition::Prefix(prefixes)]);
    let accept = |prefixes| Rule::accept(vec![Condition::Prefix(prefixes)]);
    let mut rules = vec![reject(own)];
    if config.bgp.cluster_cidrs.is_empty() {
        let defaults = Family::ALL.into_iter().filter_map(|family| match family {
            Family::Ipv4Unicast => "0.0.0.0/0".parse().ok(),
            Family::Ipv6Unicast => "::/0".parse().ok(),
        });
        rules.push(reject(defaults.map(PrefixMatch::exact).collect()));
        rules.push(reject(martians()));
        rules.push(Rule::accept(Vec::new()));
    } else {
        rules.push(accept(config.bgp.cluster_cidrs.iter().map(|cidr| inside(*cidr)).collect()));
    }
    Filter { name: MESH.into(), rules }
}

/// The prefix and everything that contains it.
fn supernets(prefix: Prefix) -> impl Iterator<Item = PrefixMatch> {
    (0..=prefix.length()).filter_map(move |length| Prefix::new(prefix.address(), length)).map(PrefixMatch::exact)
}

/// The prefix and everything in it.
fn inside(prefix: Prefix) -> PrefixMatch {
    PrefixMatch { prefix, ge: prefix.length(), le: prefix.family().bits() }
}

#[cfg(test)]
mod tests {
    use bgp_proto::filter::{Decision, MatchContext, Source, Validation};
    use bgp_proto::types::{Asn, NextHop};
    use bgp_proto::wire::aspath::AsPath;
    use bgp_proto::wire::attributes::{Attributes, Origin};

    use super::*;
    use crate::config::{Environment, parse};

    fn config(extra: &str) -> Config {
        let text = format!(
            "[node]\nname = \"n\"\naddress = \"192.168.10.11\"\npod-cidrs = [\"10.244.1.0/24\", \"fd00:244:1::/64\"]\n[bgp]\nasn = 64512\n{extra}"
        );
        parse("f", &text, &Environment { host_name: None, address: None }).unwrap().config
    }

    fn accepts(filter: &Filter, prefix: &str) -> bool {
        let attributes = Attributes::new(Origin::Igp, AsPath::default(), NextHop::V4([10, 0, 0, 1].into()));
        let route = MatchContext {
            prefix: prefix.parse().unwrap(),
            attributes: &attributes,
            peer: "node-2",
            source: Source::Internal,
            validation: Validation::NotFound,
        };
        matches!(filter.decide(&route, Asn(64512)), Decision::Accept(_))
    }

    #[test]
    fn every_martian_is_a_prefix_match() {
        for text in MARTIANS {
            assert!(text.parse::<PrefixMatch>().is_ok(), "{text}");
        }
    }

    #[test]
    fn the_mesh_may_announce_other_nodes_pods_and_nothing_that_would_take_over_this_node() {
        let filter = mesh_filter(&config(""));
        for (prefix, wanted) in [
            ("10.244.2.0/24", true),
            ("10.244.2.7/32", true),
            ("fd00:244:2::/64", true),
            ("203.0.113.0/24", true),
            ("10.244.1.0/24", false),
            ("10.244.1.128/25", false),
            ("10.244.0.0/16", false),
            ("192.168.10.11/32", false),
            ("192.168.0.0/16", false),
            ("0.0.0.0/0", false),
            ("::/0", false),
            ("0.0.0.0/1", false),
            ("127.0.0.0/8", false),
            ("224.0.0.0/4", false),
            ("fe80::/64", false),
            ("fd00:244::/32", false),
            ("fd00:244:1:0:8000::/65", false),
        ] {
            assert_eq!(accepts(&filter, prefix), wanted, "{prefix}");
        }
    }

    #[test]
    fn with_cluster_cidrs_the_mesh_may_announce_only_what_lies_in_them() {
        let filter = mesh_filter(&config("cluster-cidrs = [\"10.244.0.0/16\"]\n"));
        for (prefix, wanted) in [
            ("10.244.2.0/24", true),
            ("10.244.1.0/24", false),
            ("10.245.2.0/24", false),
            ("10.244.0.0/16", false),
            ("fd00:244:2::/64", false),
        ] {
            assert_eq!(accepts(&filter, prefix), wanted, "{prefix}");
        }
    }

    #[test]
    fn only_internal_peers_without_a_filter_get_the_mesh_filter() {
        let text = r#"
[[bgp.peer]]
name = "mesh"
address = "192.168.10.12"
asn = "internal"
[[bgp.peer]]
name = "named"
address = "192.168.10.13"
asn = 64512
import = "all"
[[bgp.peer]]
name = "tor"
address = "192.168.10.1"
asn = 65001
[[bgp.filter]]
name = "all"
rules = [{ then = "accept" }]
"#;
        let config = speaker(&config(text));
        let imports: Vec<_> =
            config.peers.iter().map(|peer| peer.import.as_ref().map(|filter| filter.name.as_str())).collect();
        assert_eq!(imports, [Some(MESH), Some("all"), None]);
    }
}
