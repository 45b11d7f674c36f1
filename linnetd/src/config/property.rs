//! Whatever a configuration says, its canonical file says the same.
//!
//! The larger strategies are boxed: a generator of a whole configuration in one value is more than a test's stack holds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bgp_proto::bmp::Stage;
use bgp_proto::conduct::DefaultOriginate;
use bgp_proto::filter::as_path::AsPathPattern;
use bgp_proto::filter::community::{AnyCommunity, CommunityPattern, Part};
use bgp_proto::filter::number::{Adjust, AsnRange, NumberMatch};
use bgp_proto::filter::{Condition, Filter, PrefixList, PrefixMatch, Rule, Set, SetNextHop, Source, Then, Validation};
use bgp_proto::hints::{Hint, Hints};
use bgp_proto::role::{LocalRole, Role};
use bgp_proto::session::{RemoteAs, SendHoldTime};
use bgp_proto::types::{Asn, ClusterId, Family, FamilySet, HoldTime, Interface, Prefix, RouterId};
use bgp_proto::wire::attributes::Origin;
use bgp_proto::wire::community::{Bandwidth, Community, ExtendedCommunity, LargeCommunity};
use bgpd::{AoAlgorithm, AoKey, AoKeys, LimitAction, PrefixLimit, Secret};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::conduct::{LOCAL_AS_PREPEND, NEXT_HOP, REMOVE_PRIVATE_AS};
use super::*;

fn address_v4() -> impl Strategy<Value = Ipv4Addr> {
    (1u8..=223, any::<[u8; 3]>()).prop_map(|(a, [b, c, d])| Ipv4Addr::new(a, b, c, d))
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        address_v4().prop_map(IpAddr::V4),
        (0x2000u16..0x3fff, any::<[u16; 7]>())
            .prop_map(|(a, [b, c, d, e, f, g, h])| IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h))),
    ]
}

fn prefix() -> impl Strategy<Value = Prefix> {
    (address(), 1u8..=128).prop_map(|(address, length)| {
        Prefix::new(address, if address.is_ipv4() { 1 + length % 32 } else { length }).unwrap()
    })
}

fn asn() -> impl Strategy<Value = Asn> {
    prop_oneof![1u32..23456, 64512u32..65535, 65536u32..u32::MAX].prop_map(Asn)
}

fn path() -> impl Strategy<Value = PathBuf> {
    "/[a-z \\\\\"é.]{1,12}".prop_map(PathBuf::from)
}

fn prefix_match() -> impl Strategy<Value = PrefixMatch> {
    (prefix(), any::<u8>(), any::<u8>()).prop_map(|(prefix, a, b)| {
        let room = prefix.family().bits() - prefix.length() + 1;
        let (a, b) = (prefix.length() + a % room, prefix.length() + b % room);
        PrefixMatch { prefix, ge: a.min(b), le: a.max(b) }
    })
}

fn number() -> impl Strategy<Value = NumberMatch> {
    (any::<u32>(), any::<u32>()).prop_map(|(a, b)| NumberMatch { ge: a.min(b), le: a.max(b) })
}

fn as_ranges() -> impl Strategy<Value = Vec<AsnRange>> {
    vec((any::<u32>(), any::<u32>()).prop_map(|(a, b)| AsnRange { first: Asn(a.min(b)), last: Asn(a.max(b)) }), 1..3)
}

fn community() -> impl Strategy<Value = AnyCommunity> {
    prop_oneof![
        any::<u32>().prop_map(|value| Community(value).into()),
        any::<[u32; 3]>().prop_map(|[global, local1, local2]| LargeCommunity { global, local1, local2 }.into()),
        any::<[u8; 8]>().prop_map(|octets| ExtendedCommunity(octets).into()),
    ]
}

fn pattern() -> impl Strategy<Value = CommunityPattern> {
    prop_oneof![
        community().prop_map(CommunityPattern::exactly),
        Just(CommunityPattern::Any),
        (0u32..=65535).prop_map(|high| CommunityPattern::Standard([Part::Range(high, 65535), Part::Any])),
        any::<u32>().prop_map(|last| CommunityPattern::Large([Part::Any, Part::Range(0, last), Part::Any])),
        Just(CommunityPattern::Extended { name: "lb", administrator: Part::Any, number: Part::Any }),
    ]
}

/// Each condition may be there once, in the order in which they are read.
fn conditions() -> impl Strategy<Value = Vec<Condition>> {
    let as_path = prop_oneof![Just("^65001 .* (65002|65003)$"), Just("^$"), Just("64512-65534{2,3}")]
        .prop_map(|text| text.parse::<AsPathPattern>().unwrap());
    let first = (
        option::of(vec(prefix_match(), 1..3).prop_map(Condition::Prefix)),
        option::of(Just(Condition::PrefixList(vec![]))),
        option::of(Just(Condition::Family(vec![Family::Ipv6Unicast]))),
        option::of(vec(as_path, 1..3).prop_map(Condition::AsPath)),
        option::of(number().prop_map(Condition::AsPathLength)),
        option::of(as_ranges().prop_map(Condition::OriginAs)),
        option::of(as_ranges().prop_map(Condition::NeighborAs)),
        option::of(vec(pattern(), 1..3).prop_map(Condition::Community)),
    );
    let second = (
        option::of(vec(prefix(), 1..3).prop_map(Condition::NextHop)),
        option::of(Just(Condition::Peer(vec!["tor-a".into(), "racks".into()]))),
        option::of(Just(Condition::Origin(vec![Origin::Igp, Origin::Egp, Origin::Incomplete]))),
        option::of(Just(Condition::Source(Source::ALL.to_vec()))),
        option::of(number().prop_map(Condition::Med)),
        option::of(number().prop_map(Condition::LocalPref)),
        option::of(Just(Condition::Validation(Validation::ALL.to_vec()))),
    );
    (first, second).prop_map(|((a, b, c, d, e, f, g, h), (i, j, k, l, m, n, o))| {
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o].into_iter().flatten().collect()
    })
}

fn set() -> impl Strategy<Value = Set> {
    let adjust = || {
        option::of(prop_oneof![
            any::<u32>().prop_map(Adjust::To),
            any::<u32>().prop_map(Adjust::Up),
            any::<u32>().prop_map(Adjust::Down),
        ])
    };
    let next_hop = option::of(address().prop_map(SetNextHop::Address));
    let bandwidth = option::of((1u64..=Bandwidth::MOST).prop_map(|bits| Bandwidth::from_bits(bits).unwrap()));
    let communities = (vec(community(), 0..3), vec(pattern(), 0..3), vec(community(), 0..3));
    let origin = option::of(prop_oneof![Just(Origin::Igp), Just(Origin::Egp), Just(Origin::Incomplete)]);
    let path = (prop_oneof![Just(Vec::new()), as_ranges()], vec(1u32.., 0..3), 0u8..=32);
    let numbers = (option::of(any::<u32>()), adjust(), adjust(), origin, path);
    (numbers, communities, bandwidth, next_hop, set_hints()).prop_map(
        |(
            (weight, local_pref, med, origin, (remove_as, asns, prepend)),
            (replace, remove, add),
            link_bandwidth,
            next_hop,
            hints,
        )| Set {
            weight,
            local_pref,
            med,
            origin,
            replace_communities: replace,
            remove_communities: remove,
            add_communities: add,
            link_bandwidth,
            remove_as,
            prepend_as: asns.into_iter().map(Asn).collect(),
            prepend,
            next_hop,
            hints,
        },
    )
}

/// Any overlay mode but `"never"` needs another one under `[overlay]`.
fn set_hints() -> impl Strategy<Value = Hints> {
    fn hint<T: std::fmt::Debug + Clone>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Option<Hint<T>>> {
        option::of(option::of(value).prop_map(|value| value.map_or(Hint::Auto, Hint::Is)))
    }
    let source = any::<u16>().prop_map(|low| Ipv4Addr::from(0x0a00_0000 | u32::from(low)));
    let source6 = any::<u64>().prop_map(|low| Ipv6Addr::from(0xfd00_u128 << 112 | u128::from(low)));
    (hint(1280u32..=65535), hint(source), hint(source6), option::of(Just(OverlayMode::Never)))
        .prop_map(|(mtu, source, source6, overlay)| Hints { mtu, source, source6, overlay })
}

fn rule() -> impl Strategy<Value = Rule> {
    let then = prop_oneof![Just(Then::Accept), Just(Then::Reject), Just(Then::Next)];
    (conditions(), conditions(), set(), then)
        .prop_map(|(conditions, except, set, then)| Rule {
            conditions,
            except,
            set: if then == Then::Reject { Set::default() } else { set },
            then,
        })
        .boxed()
}

fn prefix_limit() -> impl Strategy<Value = PrefixLimit> {
    let action = prop_oneof![
        Just(LimitAction::Stop),
        Just(LimitAction::Restart(None)),
        (1u64..=86_400).prop_map(|seconds| LimitAction::Restart(Some(Duration::from_secs(seconds)))),
        Just(LimitAction::Warn),
    ];
    (1u32.., 1u8..=100, action).prop_map(|(limit, warn_at_percent, action)| PrefixLimit {
        limit,
        warn_at_percent,
        action,
    })
}

fn aggregate() -> impl Strategy<Value = Aggregate> {
    let community = || any::<u32>().prop_map(Community);
    let large = || any::<[u32; 3]>().prop_map(|[global, local1, local2]| LargeCommunity { global, local1, local2 });
    let number = || option::of(any::<u32>());
    (prefix(), any::<bool>(), number(), number(), vec(community(), 0..3), vec(large(), 0..3))
        .prop_map(|(prefix, summary_only, med, local_pref, communities, large_communities)| Aggregate {
            prefix,
            summary_only,
            med,
            local_pref,
            communities,
            large_communities,
        })
        .boxed()
}

fn import_kernel() -> impl Strategy<Value = ImportKernel> {
    let protocol = (0u8..=255).prop_filter("somebody else's", |number| *number != fib_sync::PROTOCOL);
    let protocols = prop::collection::btree_set(protocol, 1..4).prop_map(|set| set.into_iter().collect());
    (protocols, 256u32.., any::<bool>(), 1u32..=1_000_000)
        .prop_map(|(protocols, table, metric_as_med, limit)| ImportKernel {
            protocols,
            table,
            filter: "f-0".into(),
            metric_as_med,
            limit,
        })
        .boxed()
}

fn fib_rule() -> impl Strategy<Value = FibRule> {
    let fwmark = option::of((any::<u32>(), 1u32..).prop_map(|(bits, mask)| (bits & mask, mask)));
    let prefixes = (option::of(prefix()), option::of(prefix()));
    (1u32.., prefixes, any::<bool>(), fwmark)
        .prop_map(|(priority, (from, to), device, fwmark)| FibRule {
            priority,
            from,
            to: to.filter(|to| from.is_none_or(|from: Prefix| from.family() == to.family())),
            iif: device.then(|| Interface::new("eth0.7").unwrap()),
            fwmark,
        })
        .boxed()
}

fn conduct() -> impl Strategy<Value = Conduct> {
    let role = option::of(
        (prop::sample::select(&Role::ALL[..]), any::<bool>()).prop_map(|(role, strict)| LocalRole { role, strict }),
    );
    let prepend = prop::sample::select(&LOCAL_AS_PREPEND[..]);
    let private = prop::sample::select(&REMOVE_PRIVATE_AS[..]);
    let next_hop = prop::sample::select(&NEXT_HOP[..]);
    let default = prop_oneof![
        Just(DefaultOriginate::No),
        Just(DefaultOriginate::Always),
        prefix().prop_map(DefaultOriginate::While),
    ];
    (role, 0u8..=10, any::<bool>(), prepend, private, next_hop, default)
        .prop_map(
            |(
                role,
                allow_as_in,
                as_override,
                (_, local_as_prepend),
                (_, remove_private_as),
                (_, next_hop),
                default_originate,
            )| Conduct {
                role,
                allow_as_in,
                as_override,
                local_as_prepend,
                remove_private_as,
                next_hop,
                default_originate,
            },
        )
        .boxed()
}

fn bfd() -> impl Strategy<Value = bgpd::BfdConfig> {
    let hops = prop_oneof![Just(bgpd::BfdHops::Auto), Just(bgpd::BfdHops::Single), Just(bgpd::BfdHops::Multi)];
    let on_down = prop_oneof![Just(bgpd::OnBfdDown::Auto), Just(bgpd::OnBfdDown::Drop)];
    (10u64..=60_000, 1u8.., any::<bool>(), hops, on_down).prop_map(|(millis, detect_mult, passive, hops, on_down)| {
        let min_interval = Duration::from_millis(millis);
        let session = bgp_proto::bfd::SessionConfig { min_interval, detect_mult, passive };
        bgpd::BfdConfig { session, hops, on_down }
    })
}

/// The file is there, as it must be to be read.
fn secret() -> (PathBuf, Secret) {
    let file = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src/config/property.key"));
    (file, Secret::new(include_str!("property.key").trim_end().as_bytes()).unwrap())
}

fn password() -> Authentication {
    let (file, secret) = secret();
    Authentication::Password { file, secret }
}

fn tcp_ao() -> impl Strategy<Value = Authentication> {
    (vec(0..AoAlgorithm::ALL.len(), 1..=AoKeys::MOST), any::<(u8, u8)>()).prop_map(|(algorithms, (send, receive))| {
        let key = |(index, algorithm): (u8, &usize)| AoKey {
            send_id: send.wrapping_add(index),
            receive_id: receive.wrapping_add(index),
            algorithm: AoAlgorithm::ALL[*algorithm].1,
            secret: secret().1,
        };
        let keys = AoKeys::new((0..).zip(&algorithms).map(key).collect()).unwrap();
        Authentication::TcpAo { keys, files: vec![secret().0; algorithms.len()] }
    })
}

fn settings() -> impl Strategy<Value = PeerSettings> {
    let remote = prop_oneof![asn().prop_map(RemoteAs::Exactly), Just(RemoteAs::Internal), Just(RemoteAs::External)];
    let families =
        prop_oneof![Just(vec![Family::Ipv4Unicast]), Just(vec![Family::Ipv6Unicast]), Just(Family::ALL.to_vec())]
            .prop_map(|families| families.into_iter().collect::<FamilySet>());
    let ttl = prop_oneof![Just(Ttl::Default), (1u8..=254).prop_map(Ttl::Security), (1u8..=255).prop_map(Ttl::Multihop)];
    let hold = option::of((3u16..).prop_map(|seconds| HoldTime::from_seconds(seconds).unwrap()));
    // Longer than any hold time.
    let send_hold = prop_oneof![
        Just(SendHoldTime::Recommended),
        Just(SendHoldTime::Off),
        (65_536u64..=86_400).prop_map(|seconds| SendHoldTime::Exactly(Duration::from_secs(seconds))),
    ];
    let authentication = prop_oneof![Just(None), Just(Some(password())), tcp_ao().prop_map(Some)];
    let filter = || option::of(Just("f 0".replace(' ', "-")));
    (
        (remote, asn(), families, ttl, any::<[bool; 8]>(), conduct(), option::of(bfd()), authentication),
        (
            option::of(prefix_limit()),
            (hold, send_hold),
            (1u64..=65535, 1u64..=3600, option::of(1u64..=240)),
            filter(),
            filter(),
            1u8..,
        ),
    )
        .prop_map(
            |(
                (remote_as, local_as, families, ttl, flags, conduct, bfd, authentication),
                (max_prefixes, (hold_time, send_hold), (retry, idle_hold, delay_open), import, export, add_path_send),
            )| {
                let mut settings = PeerSettings {
                    remote_as,
                    local_as,
                    local_address: None,
                    families,
                    authentication,
                    ttl,
                    passive: flags[0],
                    client: flags[1],
                    enhanced_refresh: flags[6],
                    extended_messages: flags[7],
                    extended_next_hop: flags[3],
                    blackhole: flags[0] ^ flags[1],
                    add_path: AddPath { send: flags[4], receive: flags[5] },
                    add_path_send: if flags[4] { add_path_send } else { PeerSettings::ADD_PATH_SEND },
                    conduct,
                    max_prefixes,
                    hold_time,
                    send_hold,
                    connect_retry: Duration::from_secs(retry),
                    idle_hold: Duration::from_secs(idle_hold),
                    delay_open: delay_open.map(Duration::from_secs),
                    graceful_shutdown: flags[2],
                    bfd,
                    import,
                    export,
                };
                settings.client &= settings.internal();
                if settings.internal() {
                    let Conduct { allow_as_in, next_hop, default_originate, .. } = settings.conduct;
                    settings.conduct = Conduct { allow_as_in, next_hop, default_originate, ..Conduct::default() };
                }
                settings
            },
        )
        .boxed()
}

fn bmp() -> impl Strategy<Value = Vec<BmpStation>> {
    let stages = proptest::sample::subsequence(Stage::ALL.to_vec(), 1..=3);
    vec((address(), 1u16.., stages, option::of(1u64..=86_400)), 0..3)
        .prop_map(|stations| {
            let station = |(index, (address, port, stages, statistics))| BmpStation {
                name: format!("station-{index}"),
                address,
                port,
                stages,
                statistics: Option::map(statistics, Duration::from_secs),
            };
            stations.into_iter().enumerate().map(station).collect()
        })
        .boxed()
}

fn mrt() -> impl Strategy<Value = Option<Mrt>> {
    option::of((path(), option::of(1u64..=604_800), option::of(1u64..=86_400), 1u32..=100_000))
        .prop_map(|mrt| {
            mrt.map(|(directory, table, updates, keep)| Mrt {
                directory,
                table_interval: table.map(Duration::from_secs),
                updates_interval: updates.map(Duration::from_secs),
                keep,
            })
        })
        .boxed()
}

fn rpki() -> impl Strategy<Value = Vec<RpkiCache>> {
    let seconds = |range| option::of(range).prop_map(|time: Option<u64>| time.map(Duration::from_secs));
    let times = (seconds(1u64..=599), seconds(1u64..=599), seconds(600u64..=172_800));
    vec((1u16.., 1u32..=255, times, 1u32..=10_000_000), 0..3)
        .prop_map(|caches| {
            let cache = |(index, (port, preference, (refresh, retry, expire), max_vrps))| RpkiCache {
                name: format!("cache-{index}"),
                address: Ipv4Addr::new(198, 51, 100, u8::try_from(index).unwrap()).into(),
                port,
                preference,
                refresh,
                retry,
                expire,
                max_vrps,
            };
            caches.into_iter().enumerate().map(cache).collect()
        })
        .boxed()
}

prop_compose! {
    fn bgp()(
        asn in asn(),
        router_id in address_v4(),
        cluster_id in address_v4(),
        listen in vec((address(), 1u16..), 0..3),
        hold in 3u16..,
        max_paths in 1usize..=256,
        networks in vec(prefix(), 0..3),
        (aggregates, import_kernel) in (vec(aggregate(), 0..3), vec(import_kernel(), 0..3)),
        cluster_cidrs in vec(prefix(), 0..3),
        drain in 0u64..=3600,
        graceful_restart in option::of((1u16..=4095, 0u64..=3600, any::<bool>(), 0u32..=0x00ff_ffff)),
        peers in vec((any::<u16>(), settings()), 0..4),
        dynamic in option::of((prefix(), 1usize..=10_000, settings())),
        entries in vec(prefix_match(), 0..5),
        rules in vec(vec(rule(), 0..4), 1..3),
        rpki in rpki(),
        (bmp, mrt) in (bmp(), mrt()),
    ) -> Bgp {
        let peer = |(index, (port, settings)): (usize, (u16, PeerSettings))| {
            let unnumbered = port % 3 == 0;
            let address = Ipv4Addr::new(198, 51, 100, u8::try_from(index).unwrap()).into();
            let interface = Interface::new(&format!("eth{index}.7")).unwrap();
            let ttl = if unnumbered { Ttl::Security(1) } else { settings.ttl };
            let bfd = settings.bfd.filter(|bfd| !unnumbered || bfd.hops != bgpd::BfdHops::Multi);
            let local_address = (!unnumbered).then(|| Ipv4Addr::new(10, 0, 0, 9).into());
            Peer {
                name: format!("peer-{index}"),
                remote: if unnumbered { Remote::Interface(interface) } else { Remote::Address(address) },
                port: port.max(1),
                settings: PeerSettings {
                    local_address,
                    ttl,
                    bfd,
                    authentication: settings.authentication.filter(|_| !unnumbered),
                    ..settings
                },
            }
        };
        let list = Arc::new(PrefixList::new("list".into(), entries.clone()));
        let filter = |(index, mut rules): (usize, Vec<Rule>)| {
            for condition in rules.iter_mut().flat_map(|rule| rule.conditions.iter_mut().chain(&mut rule.except)) {
                if let Condition::PrefixList(lists) = condition {
                    *lists = vec![list.clone()];
                }
            }
            Filter { name: format!("f-{index}"), rules }
        };
        Bgp {
            asn,
            router_id: RouterId(router_id),
            listen: listen.into_iter().map(|(address, port)| SocketAddr::new(address, port)).collect(),
            hold_time: HoldTime::from_seconds(hold).unwrap(),
            cluster_id: ClusterId(cluster_id),
            max_paths,
            networks,
            aggregates: {
                let mut seen = std::collections::BTreeSet::new();
                aggregates.into_iter().filter(|it| seen.insert(it.prefix)).collect()
            },
            import_kernel,
            cluster_cidrs,
            drain_time: Duration::from_secs(drain),
            graceful_restart: graceful_restart.map(|(restart_time, deferral, notification, long_lived_stale_time)| GracefulRestart {
                restart_time,
                deferral_time: Duration::from_secs(deferral),
                notification,
                long_lived_stale_time,
            }),
            peers: peers.into_iter().enumerate().map(peer).collect(),
            dynamic_peers: dynamic.into_iter().map(|(prefix, limit, settings)| DynamicPeer {
                name: prefix.to_string(),
                prefix,
                limit,
                // Peers inside it are only those of a prefix without keys.
                settings: PeerSettings {
                    passive: true,
                    authentication: settings.authentication.filter(|_| !prefix.contains("198.51.100.0/30".parse().unwrap())),
                    ..settings
                },
            }).collect(),
            prefix_lists: vec![Arc::new(PrefixList::new("list".into(), entries.clone()))],
            filters: rules.into_iter().enumerate().map(filter).collect(),
            rpki,
            bmp,
            mrt,
        }
    }
}

prop_compose! {
    fn config()(
        bgp in bgp(),
        name in "[a-zA-Z0-9._-]{1,30}",
        address6 in option::of(any::<u64>()),
        pods in any::<u8>(),
        mode in prop_oneof![Just(OverlayMode::Auto), Just(OverlayMode::Always), Just(OverlayMode::Never)],
        overlay in (0..3u8, 1u32..=0x00ff_ffff, 1u16.., option::of(1280u32..=65535)),
        fib in (any::<bool>(), 256u32.., 1u32.., any::<bool>()),
        hints in (option::of(any::<u16>()), option::of(any::<u64>()), option::of(1280u32..=65535)),
        rules in vec(fib_rule(), 0..3),
        paths in [path(), path(), path()],
        deny in any::<bool>(),
        metrics in option::of((address(), any::<u16>())),
    ) -> Config {
        let [directory, api_socket, state_directory] = paths;
        let encapsulation = [Encapsulation::Vxlan, Encapsulation::IpIp, Encapsulation::WireGuard][usize::from(overlay.0)];
        Config {
            node: Node {
                name,
                address: Ipv4Addr::new(240, 0, 0, 1).into(),
                address6: address6.map(|low| Ipv6Addr::from(0xfd00_u128 << 112 | u128::from(low))),
                pod_cidrs: vec![Prefix::new(Ipv4Addr::new(10, 244, pods, 0).into(), 24).unwrap()],
            },
            bgp,
            overlay: Overlay { mode, encapsulation, vni: overlay.1, port: overlay.2, mtu: overlay.3 },
            fib: Fib { install: fib.0, table: fib.1, metric: fib.2, next_hop_objects: fib.3,
                source: hints.0.map(|low| Ipv4Addr::from(0x0a00_0000 | u32::from(low))),
                source6: hints.1.map(|low| Ipv6Addr::from(0xfd00_u128 << 112 | u128::from(low))),
                mtu: hints.2,
                rules,
            },
            policy: Policy { directory, deny },
            api_socket,
            metrics_listen: metrics.map(|(address, port)| SocketAddr::new(address, port)),
            state_directory,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_printed_configuration_parses_back_to_itself(config in config()) {
        let environment = Environment { host_name: None, address: None };
        let text = config.to_string();
        match parse("printed", &text, &environment) {
            Ok(parsed) => prop_assert_eq!(parsed.config, config, "{}", text),
            Err(findings) => prop_assert!(false, "{}\n{:?}", text, findings.iter().map(ToString::to_string).collect::<Vec<_>>()),
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "(\\[[a-z.]{0,6}\\]?|[a-z-]{1,8} ?= ?|[\"\\[\\]{}0-9,]|\n|é){0,60}") {
        let environment = Environment { host_name: Some("n".into()), address: Some(Ipv4Addr::new(10, 0, 0, 1).into()) };
        let _ = parse("noise", &text, &environment);
    }
}
