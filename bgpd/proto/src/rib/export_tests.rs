//! Tables of the export rules.

use super::*;
use crate::conduct::RemovePrivateAs;
use crate::filter::{Condition, Rule, Set};
use std::net::Ipv4Addr;

use crate::rtr::Vrp;
use crate::types::{ClusterId, FamilySet, LinkLocal};
use crate::wire::attributes::Origin;
use crate::wire::tunnel::Tunnel;

const OUR_CLUSTER: ClusterId = ClusterId(Ipv4Addr::new(9, 9, 9, 9));
const ANNOUNCER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const FROM_OUTSIDE: Source = Source::External { address: ANNOUNCER };
const FROM_CLIENT: Source =
    Source::Internal { client: true, router_id: RouterId(Ipv4Addr::new(10, 0, 0, 1)), address: ANNOUNCER };
const FROM_OTHER: Source =
    Source::Internal { client: false, router_id: RouterId(Ipv4Addr::new(10, 0, 0, 2)), address: ANNOUNCER };

fn config() -> RibConfig {
    RibConfig { tell_best: true, tell_backup: true, ..RibConfig::new(Asn(64512), RouterId(OUR_CLUSTER.0)) }
}

fn filter(set: Set) -> Option<Arc<Filter>> {
    Some(Arc::new(Filter { name: "out".into(), rules: vec![Rule { set, ..Rule::accept(vec![]) }] }))
}

fn group(kind: Kind) -> GroupKey {
    let families = FamilySet::from_iter(Family::ALL);
    let context = UpdateContext { external: kind == Kind::External, families, ..UpdateContext::PLAIN };
    GroupKey {
        local_as: Asn(64512),
        kind,
        own4: Some(NextHop::V4(Ipv4Addr::new(192, 0, 2, 200))),
        own6: None,
        outward: Outward::default(),
        filter: filter(Set::default()),
        looks_at_validation: false,
        add_path_most: 0,
        context,
        drain: Drain::Off,
        long_lived: false,
    }
}

/// A route with everything that an export might touch.
fn learned() -> Attributes {
    let mut attributes =
        Attributes::new(Origin::Igp, AsPath::sequence([Asn(65001)]), NextHop::V4(Ipv4Addr::new(192, 0, 2, 1)));
    attributes.med = Some(7);
    attributes.local_pref = Some(300);
    attributes.originator_id = Some(RouterId(Ipv4Addr::new(10, 0, 0, 77)));
    attributes.cluster_list = [ClusterId(Ipv4Addr::new(8, 8, 8, 8))].into();
    attributes.tunnels = [Tunnel::Unknown { kind: 3, value: bytes::Bytes::new() }].into();
    attributes
}

fn sent(group: &GroupKey, attributes: &Attributes, source: Source) -> Attributes {
    let route = context(&config(), group, None, "10.0.0.0/8".parse().unwrap(), attributes, source, None);
    let accepted = match group.filter.as_ref().unwrap().decide(&route, group.local_as) {
        Decision::Accept(accepted) => accepted,
        Decision::Reject(_) => panic!("rejected"),
    };
    transform(&config(), group, Family::Ipv4Unicast, attributes, source, Some(accepted)).unwrap()
}

#[test]
fn who_hears_whom() {
    use Kind::{Client, External, Internal};
    for (source, kind, hears) in [
        (Source::Local, External, true),
        (Source::Local, Internal, true),
        (Source::Local, Client, true),
        (FROM_OUTSIDE, External, true),
        (FROM_OUTSIDE, Internal, true),
        (FROM_OUTSIDE, Client, true),
        (FROM_CLIENT, External, true),
        (FROM_CLIENT, Internal, true),
        (FROM_CLIENT, Client, true),
        (FROM_OTHER, External, true),
        (FROM_OTHER, Internal, false),
        (FROM_OTHER, Client, true),
    ] {
        let net = "10.0.0.0/8".parse().unwrap();
        assert_eq!(
            permits(&config(), &group(kind), None, net, &learned(), source, None).is_ok(),
            hears,
            "{source:?} to {kind:?}"
        );
    }
}

#[test]
fn well_known_communities_stop_a_route_where_rfc_1997_says() {
    for (community, external, internal) in [
        (Community::NO_ADVERTISE, false, false),
        (Community::NO_EXPORT, false, true),
        (Community::NO_EXPORT_SUBCONFED, false, true),
        (Community(7), true, true),
    ] {
        let mut attributes = learned();
        attributes.communities = [community].into();
        for (kind, hears) in [(Kind::External, external), (Kind::Internal, internal)] {
            let net = "10.0.0.0/8".parse().unwrap();
            let permitted = permits(&config(), &group(kind), None, net, &attributes, FROM_OUTSIDE, None).is_ok();
            assert_eq!(permitted, hears, "{community} to {kind:?}");
        }
    }
}

#[test]
fn an_external_group_without_a_filter_hears_nothing_and_an_internal_one_everything() {
    for (kind, hears) in [(Kind::External, false), (Kind::Internal, true), (Kind::Client, true)] {
        let open = GroupKey { filter: None, ..group(kind) };
        let net = "10.0.0.0/8".parse().unwrap();
        assert_eq!(permits(&config(), &open, None, net, &learned(), Source::Local, None).is_ok(), hears, "{kind:?}");
    }
}

#[test]
fn an_external_peer_hears_our_as_our_next_hop_and_nothing_of_our_inside() {
    let result = sent(&group(Kind::External), &learned(), FROM_CLIENT);
    assert_eq!(result.as_path, AsPath::sequence([Asn(64512), Asn(65001)]));
    assert_eq!(result.next_hop, NextHop::V4(Ipv4Addr::new(192, 0, 2, 200)));
    assert_eq!((result.med, result.local_pref, result.originator_id), (None, None, None));
    assert!(result.cluster_list.is_empty() && result.tunnels.is_empty());
}

#[test]
fn med_reaches_another_as_only_if_it_is_ours_or_the_filter_sets_it() {
    let sets = GroupKey { filter: filter(Set { med: Some(9.into()), ..Set::default() }), ..group(Kind::External) };
    assert_eq!(sent(&group(Kind::External), &learned(), Source::Local).med, Some(7));
    assert_eq!(sent(&group(Kind::External), &learned(), FROM_OUTSIDE).med, None);
    assert_eq!(sent(&sets, &learned(), FROM_OUTSIDE).med, Some(9));
    assert_eq!(sent(&group(Kind::Internal), &learned(), FROM_OUTSIDE).med, Some(7));
}

#[test]
fn reflection_keeps_the_originator_and_puts_our_cluster_in_front() {
    let result = sent(&group(Kind::Client), &learned(), FROM_OTHER);
    assert_eq!(result.originator_id, learned().originator_id);
    assert_eq!(*result.cluster_list, [OUR_CLUSTER, ClusterId(Ipv4Addr::new(8, 8, 8, 8))]);
    assert_eq!((result.next_hop, result.tunnels), (learned().next_hop, learned().tunnels));
    let first = Attributes { originator_id: None, cluster_list: Box::default(), ..learned() };
    let result = sent(&group(Kind::Client), &first, FROM_OTHER);
    assert_eq!(result.originator_id, Some(RouterId(Ipv4Addr::new(10, 0, 0, 2))));
    assert_eq!(sent(&group(Kind::Client), &first, FROM_OUTSIDE).originator_id, None);
}

#[test]
fn an_internal_peer_always_hears_a_local_pref() {
    let none = Attributes { local_pref: None, ..learned() };
    assert_eq!(sent(&group(Kind::Internal), &none, FROM_OUTSIDE).local_pref, Some(100));
    assert_eq!(sent(&group(Kind::Internal), &learned(), FROM_OUTSIDE).local_pref, Some(300));
}

#[test]
fn tunnels_go_with_the_next_hop_that_they_lead_to() {
    let own = NextHop::V4(Ipv4Addr::new(192, 0, 2, 200));
    let outward = Outward { next_hop: NextHopMode::Own, ..Outward::default() };
    let myself = GroupKey { outward, ..group(Kind::Internal) };
    let result = sent(&myself, &learned(), FROM_OUTSIDE);
    assert_eq!((result.next_hop, result.tunnels.len()), (own, 0));
    // What we originate announces our own tunnels.
    let ours = Attributes { next_hop: NextHop::V4(Ipv4Addr::UNSPECIFIED), ..learned() };
    for kind in [Kind::External, Kind::Internal] {
        let result = sent(&group(kind), &ours, Source::Local);
        assert_eq!((result.next_hop, result.tunnels.len()), (own, 1), "{kind:?}");
    }
}

#[test]
fn a_next_hop_is_of_the_prefixs_family_or_the_route_is_withheld() {
    let v6 = |global: &str, link_local: Option<&str>| NextHop::V6 {
        global: global.parse().unwrap(),
        link_local: link_local.map(|address| LinkLocal { address: address.parse().unwrap(), link: None }),
    };
    let own6 = GroupKey { own6: Some(v6("fd00::200", None)), ..group(Kind::Internal) };
    let external6 = GroupKey { kind: Kind::External, ..own6.clone() };
    let v4 = NextHop::V4(Ipv4Addr::new(192, 0, 2, 1));
    let context = UpdateContext { extended_next_hop: FamilySet::from_iter([Family::Ipv4Unicast]), ..own6.context };
    let extended = GroupKey { context, own4: Some(v6("::", Some("fe80::200"))), ..own6.clone() };
    let cases = [
        (group(Kind::Internal), Family::Ipv6Unicast, v6("fd00::1", Some("fe80::1")), Ok(v6("fd00::1", None))),
        (own6.clone(), Family::Ipv6Unicast, v6("::", Some("fe80::1")), Ok(v6("fd00::200", None))),
        (own6.clone(), Family::Ipv6Unicast, NextHop::V4(Ipv4Addr::UNSPECIFIED), Ok(v6("fd00::200", None))),
        (external6, Family::Ipv6Unicast, v6("fd00::1", None), Ok(v6("fd00::200", None))),
        (group(Kind::External), Family::Ipv6Unicast, v6("fd00::1", None), Err(Withheld::NoNextHop)),
        (group(Kind::Internal), Family::Ipv4Unicast, v6("fd00::1", None), Err(Withheld::NoNextHop)),
        (own6, Family::Ipv6Unicast, v4, Err(Withheld::NoNextHop)),
        // RFC 8950.
        (extended.clone(), Family::Ipv4Unicast, v6("fd00::1", Some("fe80::1")), Ok(v6("fd00::1", None))),
        (extended.clone(), Family::Ipv4Unicast, v6("::", Some("fe80::1")), Ok(v6("::", Some("fe80::200")))),
        (extended.clone(), Family::Ipv4Unicast, v4, Ok(v4)),
        (extended, Family::Ipv6Unicast, v4, Err(Withheld::NoNextHop)),
    ];
    for (number, (group, family, learned, expected)) in cases.into_iter().enumerate() {
        assert_eq!(next_hop(&group, family, learned, FROM_OUTSIDE, None), expected, "case {number}");
    }
}

#[test]
fn the_next_hop_is_whose_the_mode_says() {
    use NextHopMode::{Auto, Own, Unchanged};
    let v4 = |text: &str| NextHop::V4(text.parse().unwrap());
    let (own, theirs, other) = (v4("192.0.2.200"), v4("192.0.2.1"), v4("192.0.2.99"));
    let segment = "192.0.2.0/24".parse().ok();
    for (kind, mode, segment, learned, source, expected) in [
        (Kind::External, Auto, None, theirs, FROM_OUTSIDE, own),
        (Kind::External, Auto, segment, theirs, FROM_OUTSIDE, theirs),
        (Kind::External, Auto, segment, theirs, FROM_CLIENT, theirs),
        (Kind::External, Auto, segment, other, FROM_OUTSIDE, own),
        (Kind::External, Auto, segment, v4("0.0.0.0"), Source::Local, own),
        (Kind::External, Auto, segment, theirs, Source::Local, own),
        (Kind::External, Own, segment, theirs, FROM_OUTSIDE, own),
        (Kind::External, Unchanged, None, other, FROM_OUTSIDE, other),
        (Kind::External, Unchanged, None, v4("0.0.0.0"), Source::Local, own),
        (Kind::Internal, Auto, None, other, FROM_OUTSIDE, other),
        (Kind::Internal, Own, None, other, FROM_OUTSIDE, own),
        (Kind::Client, Unchanged, None, other, FROM_OTHER, other),
    ] {
        let outward = Outward { next_hop: mode, segment, ..Outward::default() };
        let group = GroupKey { outward, ..group(kind) };
        let result = next_hop(&group, Family::Ipv4Unicast, learned, source, None);
        assert_eq!(result, Ok(expected), "{kind:?} {mode:?} {segment:?} {learned:?} {source:?}");
    }
}

#[test]
fn a_local_as_is_seen_alone_or_before_our_own() {
    for (shows_real_as, path) in [(false, &[64700, 65001][..]), (true, &[64700, 64512, 65001][..])] {
        let outward = Outward { shows_real_as, ..Outward::default() };
        let group = GroupKey { local_as: Asn(64700), outward, ..group(Kind::External) };
        let result = sent(&group, &learned(), FROM_OUTSIDE);
        assert_eq!(result.as_path, AsPath::sequence(path.iter().copied().map(Asn)));
    }
    let same = GroupKey { outward: Outward { shows_real_as: true, ..Outward::default() }, ..group(Kind::External) };
    assert_eq!(sent(&same, &learned(), FROM_OUTSIDE).as_path, AsPath::sequence([64512, 65001].map(Asn)));
}

#[test]
fn what_the_rule_sets_is_set_before_what_may_not_leave_is_taken_away() {
    let set =
        Set { local_pref: Some(5.into()), prepend: 2, add_communities: vec![Community(1).into()], ..Set::default() };
    let result = sent(&GroupKey { filter: filter(set), ..group(Kind::External) }, &learned(), FROM_OUTSIDE);
    assert_eq!(result.local_pref, None);
    assert_eq!(result.as_path, AsPath::sequence([64512, 64512, 64512, 65001].map(Asn)));
    assert_eq!(*result.communities, [Community(1)]);
}

#[test]
fn a_draining_speaker_is_the_last_resort_whatever_its_filter_sets_and_a_drained_one_says_nothing() {
    let set = Set { local_pref: Some(500.into()), ..Set::default() };
    for (kind, local_pref) in [(Kind::External, None), (Kind::Internal, Some(0)), (Kind::Client, Some(0))] {
        let draining = GroupKey { drain: Drain::LastResort, filter: filter(set.clone()), ..group(kind) };
        let result = sent(&draining, &learned(), FROM_CLIENT);
        assert_eq!(result.local_pref, local_pref, "{kind:?}");
        assert_eq!(*result.communities, [Community::GRACEFUL_SHUTDOWN], "{kind:?}");
        let drained = GroupKey { drain: Drain::Withdrawn, ..group(kind) };
        let net: Prefix = "10.0.0.0/8".parse().unwrap();
        assert_eq!(
            permits(&config(), &drained, None, net, &learned(), Source::Local, None),
            Err("this speaker is drained"),
            "{kind:?}"
        );
    }
}

#[test]
fn a_filter_has_the_last_word_on_the_next_hop() {
    let other = Ipv4Addr::new(192, 0, 2, 77);
    let own = NextHop::V4(Ipv4Addr::new(192, 0, 2, 200));
    let (address, six) = (SetNextHop::Address(other.into()), SetNextHop::Address("fd00::1".parse().unwrap()));
    for (kind, wanted, expected) in [
        (Kind::External, SetNextHop::Unchanged, learned().next_hop),
        (Kind::External, SetNextHop::Own, own),
        (Kind::External, address, NextHop::V4(other)),
        (Kind::External, six, own),
        (Kind::Internal, SetNextHop::Own, own),
        (Kind::Internal, SetNextHop::Unchanged, learned().next_hop),
        (Kind::Internal, six, learned().next_hop),
    ] {
        let sets = GroupKey { filter: filter(Set { next_hop: Some(wanted), ..Set::default() }), ..group(kind) };
        let result = sent(&sets, &learned(), FROM_CLIENT);
        assert_eq!(result.next_hop, expected, "{wanted:?} to {kind:?}");
        assert_eq!(result.tunnels.is_empty(), expected != learned().next_hop, "tunnels lead to the old one");
    }
    // What we originate has no other next hop than ourselves.
    let ours = Attributes { next_hop: NextHop::V4(Ipv4Addr::UNSPECIFIED), ..learned() };
    let unchanged = Set { next_hop: Some(SetNextHop::Unchanged), ..Set::default() };
    let group = GroupKey { filter: filter(unchanged), ..group(Kind::External) };
    assert_eq!(sent(&group, &ours, Source::Local).next_hop, own);
}

#[test]
fn a_weight_is_never_passed_on_and_what_is_not_transitive_stays_in_its_as_unless_the_filter_sets_it() {
    let mut attributes = learned();
    attributes.weight = 7;
    attributes.extended_communities = ["rt:1:1", "lb:65001:10G"].map(|text| text.parse().unwrap()).into();
    let set = Set { weight: Some(9), link_bandwidth: Some("1G".parse().unwrap()), ..Set::default() };
    let sets = GroupKey { filter: filter(set), ..group(Kind::External) };
    for (group, shown) in [
        (group(Kind::Internal), vec!["rt:1:1", "lb:65001:10G"]),
        (group(Kind::External), vec!["rt:1:1"]),
        (sets, vec!["rt:1:1", "lb:64512:1G"]),
    ] {
        let result = sent(&group, &attributes, FROM_OUTSIDE);
        assert_eq!(result.weight, 0);
        let extended: Vec<String> = result.extended_communities.iter().map(ToString::to_string).collect();
        assert_eq!(extended, shown);
    }
}

#[test]
fn an_export_filter_sees_the_validity_of_the_path_as_it_goes_out() {
    let private = |mode| Outward { private: Some((mode, Asn(65002))), ..Outward::default() };
    let mut vrps = VrpTable::default();
    vrps.insert(Vrp::new("10.0.0.0/8".parse().unwrap(), 8, Asn(64512)).unwrap());
    let rule = |state| Rule::accept(vec![Condition::Validation(vec![state])]);
    for (path, outward, kind, state) in [
        (&[][..], Outward::default(), Kind::External, Validation::Valid),
        (&[], Outward::default(), Kind::Internal, Validation::Valid),
        (&[65001], Outward::default(), Kind::External, Validation::Invalid),
        (&[65001], private(RemovePrivateAs::Replace), Kind::External, Validation::Valid),
        (&[65001], private(RemovePrivateAs::All), Kind::External, Validation::Valid),
        (&[65001], private(RemovePrivateAs::All), Kind::Internal, Validation::Invalid),
    ] {
        let attributes = Attributes { as_path: AsPath::sequence(path.iter().copied().map(Asn)), ..learned() };
        let key = |filter| GroupKey { filter, outward, looks_at_validation: true, ..group(kind) };
        for asked in Validation::ALL {
            let filter = Filter { name: "judging".to_owned(), rules: vec![rule(asked)] };
            let key = key(Some(Arc::new(filter)));
            let net = "10.0.0.0/8".parse().unwrap();
            let passes = permits(&config(), &key, Some(&vrps), net, &attributes, FROM_OUTSIDE, None).is_ok();
            assert_eq!(passes, asked == state, "{path:?} {outward:?} {kind:?} {asked}");
        }
    }
}
