//! Where the fuzzer begins: of each kind of session all that a peer may say in it, well-formed, in as few messages as do; and what it may
//! say in another.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bgp_proto::types::{Asn, ClusterId, Family, NextHop, Nlri, PathId, Prefix, RouterId};
use bgp_proto::wire::aspath::AsPath;
use bgp_proto::wire::attributes::{Aggregator, Attributes, Origin, UnknownAttribute};
use bgp_proto::wire::community::{Community, ExtendedCommunity, LargeCommunity};
use bgp_proto::wire::notification::Cease;
use bgp_proto::wire::update::{UpdateBuilder, UpdateContext};
use bgp_proto::wire::{Message, Notification, RefreshMark, RouteRefresh};

use super::kind::Kind;
use super::{established, plain};

/// By name: what [`super::session`] reads.
fn seeds() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for kind in Kind::each() {
        let context = established(kind).established().expect("it was let in").receive;
        let said = conversation(&context);
        let [a, b] = kind.octets();
        let other = conversation(&UpdateContext {
            external: false,
            extended_next_hop: Family::ALL.into_iter().collect(),
            ..plain()
        });
        seeds.push((format!("kind-{a:02x}{b:02x}-other"), [&[0xff, a, b], &other[..]].concat()));
        // Established, in pieces of 13 octets; and from the OPEN on, in one piece of up to 127.
        seeds.push((format!("kind-{a:02x}{b:02x}-routes"), [&[27, a, b], &said[..]].concat()));
        let open = Message::Open(kind.peers_open()).encode(&plain());
        let keepalive = Message::Keepalive.encode(&plain());
        seeds.push((format!("kind-{a:02x}{b:02x}-open"), [&[254, a, b], &open[..], &keepalive, &said[..200]].concat()));
    }
    seeds
}

/// What a peer says that has agreed on this.
fn conversation(context: &UpdateContext) -> Vec<u8> {
    let mut said = Vec::new();
    let builder = UpdateBuilder::new(UpdateContext { link: None, ..*context });
    for family in context.families.iter() {
        for (number, route) in routes(context, family).into_iter().enumerate() {
            let nlri = nlri(context, family, number as u8);
            builder.announce(&route, &nlri, &mut said).expect("it is sound and fits");
            if number == 0 {
                builder.withdraw(&nlri[..1], &mut said);
            }
        }
        said.extend(builder.end_of_rib(family));
        said.extend(Message::RouteRefresh(RouteRefresh::Request(family)).encode(context));
        for mark in [RefreshMark::Begin, RefreshMark::End] {
            said.extend(builder.refresh_mark(family, mark));
        }
    }
    said.extend(Message::Keepalive.encode(context));
    let cease = Notification::cease_saying(Cease::AdministrativeReset, "gone");
    said.extend(Message::Notification(cease).encode(context));
    said
}

/// One with all attributes, one with few; one with an IPv6 next hop for IPv4, one that is long, where they may be.
fn routes(context: &UpdateContext, family: Family) -> Vec<Attributes> {
    let global = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
    let next_hop = match family {
        Family::Ipv4Unicast => NextHop::V4(Ipv4Addr::new(192, 0, 2, 2)),
        Family::Ipv6Unicast if context.link.is_some() => {
            NextHop::link_local(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2), None)
        }
        Family::Ipv6Unicast => NextHop::from(IpAddr::V6(global)),
    };
    let neighbour = context.external.then_some(Asn(65001));
    let mut few = Attributes::new(Origin::Igp, AsPath::sequence(neighbour), next_hop);
    few.local_pref = (!context.external).then_some(100);
    // Of four octets and of two.
    let path = AsPath::sequence(neighbour.into_iter().chain([Asn(4_200_000_001), Asn(64999)]));
    let mut all = Attributes { as_path: path, ..few.clone() };
    (all.origin, all.med, all.atomic_aggregate) = (Origin::Incomplete, Some(7), true);
    all.aggregator = Some(Aggregator { asn: Asn(4_200_000_001), router_id: RouterId(Ipv4Addr::new(10, 0, 0, 9)) });
    all.communities = [Community(65000 << 16 | 1), Community::GRACEFUL_SHUTDOWN].into();
    all.large_communities = [LargeCommunity { global: 65000, local1: 1, local2: 2 }].into();
    all.extended_communities = [ExtendedCommunity([0, 2, 0xfd, 0xe8, 0, 0, 0, 1])].into();
    if !context.external {
        all.originator_id = Some(RouterId(Ipv4Addr::new(10, 0, 0, 8)));
        all.cluster_list = [ClusterId(Ipv4Addr::new(10, 0, 0, 7))].into();
    }
    all.otc = Some(Asn(65001));
    all.unknown = [UnknownAttribute { code: 99, value: b"what nobody knows"[..].into() }].into();
    let mut routes = vec![few.clone(), all];
    if family == Family::Ipv4Unicast && context.extended_next_hop.contains(family) {
        routes.push(Attributes { next_hop: NextHop::from(IpAddr::V6(global)), ..few.clone() });
    }
    // Once is enough to be found.
    if context.max_message_len > 4096 && !context.external {
        routes.push(Attributes { communities: (0..1200).map(Community).collect(), ..few });
    }
    routes
}

fn nlri(context: &UpdateContext, family: Family, number: u8) -> Vec<Nlri> {
    let prefixes = match family {
        Family::Ipv4Unicast => ["10.2.0.0/16", "10.2.3.128/25"],
        Family::Ipv6Unicast => ["2001:db8::/32", "2001:db8:1:2::/64"],
    };
    let path_id = PathId(if context.add_path.contains(family) { 1 + u32::from(number) } else { 0 });
    let prefixes = prefixes.iter().filter_map(|text| text.parse::<Prefix>().ok());
    prefixes.map(|prefix| Nlri { prefix, path_id }).collect()
}

/// With `LINNET_WRITE_SEEDS` in the environment, writes them.
#[test]
fn the_corpus_has_a_seed_of_each_kind_of_session() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/session");
    let write = std::env::var_os("LINNET_WRITE_SEEDS").is_some();
    for (name, seed) in seeds() {
        let path = folder.join(&name);
        if write {
            std::fs::write(&path, &seed).expect("a folder that can be written to");
        }
        let kept = std::fs::read(&path).unwrap_or_default();
        assert!(
            kept == seed,
            "{name} is another than it was: LINNET_WRITE_SEEDS=1 cargo test -p linnet-fuzz writes it"
        );
    }
}

#[test]
fn nothing_is_wrong_with_a_seed() {
    for kind in Kind::each() {
        let context = established(kind).established().expect("it was let in").receive;
        let [_, told] = super::told(kind, true, &[&conversation(&context)]);
        let text = told.join("\n");
        // It went down for the NOTIFICATION at the end, and not for what stands before it.
        assert!(text.contains("Down(Received(") && text.contains("gone"), "{kind:?} {text}");
        assert!(text.contains("attributes_discarded: 0, treated_as_withdraw: 0"), "{kind:?} {text}");
    }
}
