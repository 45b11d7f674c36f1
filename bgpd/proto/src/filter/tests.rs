use std::sync::Arc;

use super::community::CommunityPattern;
use super::number::{Adjust, NumberMatch};
use super::*;
use crate::hints::{Hint, Hints, OverlayMode};
use crate::types::NextHop;
use crate::wire::aspath::AsPath;
use crate::wire::attributes::Origin;
use crate::wire::community::{Community, ExtendedCommunity, LargeCommunity};

const US: Asn = Asn(64512);

fn route(asns: &[u32], communities: &[&str]) -> Attributes {
    let path = AsPath::sequence(asns.iter().copied().map(Asn));
    let mut attributes = Attributes::new(Origin::Igp, path, NextHop::V4([192, 0, 2, 1].into()));
    let set = Set { add_communities: many(communities), ..Set::default() };
    set.apply(&mut attributes, US);
    attributes
}

fn many<T: std::str::FromStr<Err: std::fmt::Debug>>(texts: &[&str]) -> Vec<T> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn context<'a>(prefix: &str, attributes: &'a Attributes) -> MatchContext<'a> {
    MatchContext {
        prefix: prefix.parse().unwrap(),
        attributes,
        peer: "tor-a",
        source: Source::External,
        validation: Validation::NotFound,
    }
}

fn prefixes(texts: &[&str]) -> Condition {
    Condition::Prefix(many(texts))
}

fn communities(texts: &[&str]) -> Condition {
    Condition::Community(many(texts))
}

#[test]
fn each_condition_looks_at_what_it_names() {
    let mut attributes = route(&[65001, 7, 65003], &["65001:100", "no-export", "64512:1:2", "rt:65001:9"]);
    attributes.med = Some(50);
    let empty = route(&[], &[]);
    let list = |texts: &[&str]| Condition::PrefixList(vec![Arc::new(PrefixList::new("l".into(), many(texts)))]);
    let range = |text: &str| text.parse::<NumberMatch>().unwrap();
    for (condition, holds, of_empty) in [
        (prefixes(&["11.0.0.0/8", "10.0.0.0/8 le 24"]), true, true),
        (prefixes(&["10.0.0.0/8"]), false, false),
        (list(&["10.0.0.0/8 ge 16"]), true, true),
        (list(&["10.0.0.0/8 ge 17"]), false, false),
        (Condition::Family(vec![crate::types::Family::Ipv4Unicast]), true, true),
        (Condition::Family(vec![crate::types::Family::Ipv6Unicast]), false, false),
        (Condition::AsPath(many(&["^9", "65003$"])), true, false),
        (Condition::AsPath(many(&["^$"])), false, true),
        (Condition::AsPathLength(range("le 3")), true, true),
        (Condition::AsPathLength(range("ge 4")), false, false),
        (Condition::OriginAs(many(&["65000-65009"])), true, false),
        (Condition::OriginAs(many(&["65001"])), false, false),
        (Condition::NeighborAs(many(&["65001"])), true, false),
        (Condition::NeighborAs(many(&["65003"])), false, false),
        (communities(&["65001:*", "64512:*:2", "rt:*", "no-export"]), true, false),
        (communities(&["65001:*", "65002:*"]), false, false),
        (Condition::NextHop(many(&["192.0.2.0/24"])), true, true),
        (Condition::NextHop(many(&["192.0.3.0/24", "::/0"])), false, false),
        (Condition::Peer(vec!["tor-a".into()]), true, true),
        (Condition::Peer(vec!["tor".into()]), false, false),
        (Condition::Origin(vec![Origin::Incomplete, Origin::Igp]), true, true),
        (Condition::Origin(vec![Origin::Egp]), false, false),
        (Condition::Source(vec![Source::External]), true, true),
        (Condition::Source(vec![Source::Local, Source::Internal]), false, false),
        (Condition::Med(range("50")), true, false),
        (Condition::Med(range("le 10")), false, true),
        (Condition::LocalPref(range("100")), true, true),
        (Condition::Validation(vec![Validation::NotFound]), true, true),
        (Condition::Validation(vec![Validation::Valid, Validation::Invalid]), false, false),
    ] {
        assert_eq!(condition.holds(&context("10.1.0.0/16", &attributes)), holds, "{condition}");
        assert_eq!(condition.holds(&context("10.1.0.0/16", &empty)), of_empty, "{condition}, of an empty route");
    }
}

#[test]
fn a_dynamic_peer_goes_by_its_own_name_and_by_that_of_its_range() {
    let attributes = route(&[1], &[]);
    let of = |peer| MatchContext { peer, ..context("10.0.0.0/8", &attributes) };
    let condition = Condition::Peer(vec!["racks".into()]);
    for (peer, holds) in [("racks", true), ("racks/192.0.2.1", true), ("racks-2", false), ("", false)] {
        assert_eq!(condition.holds(&of(peer)), holds, "{peer}");
    }
}

#[test]
fn the_first_rule_that_matches_decides_and_the_end_rejects() {
    let filter = Filter {
        name: "f".into(),
        rules: vec![
            Rule::reject(vec![communities(&["65001:666"])]),
            Rule::accept(vec![prefixes(&["10.0.0.0/8 le 24"])]),
            Rule {
                except: vec![communities(&["65001:3"]), communities(&["65001:4"])],
                ..Rule::accept(vec![communities(&["65001:1", "65001:2"])])
            },
        ],
    };
    let accept = |rule| Decision::Accept(Accepted { rule, passed: 0 });
    for (prefix, communities, decision) in [
        ("10.1.0.0/16", &[][..], accept(1)),
        ("10.1.0.0/16", &["65001:666"][..], Decision::Reject(Some(0))),
        ("11.0.0.0/16", &["65001:1", "65001:2"][..], accept(2)),
        ("11.0.0.0/16", &["65001:1", "65001:2", "65001:3"][..], Decision::Reject(None)),
        ("11.0.0.0/16", &["65001:1", "65001:2", "65001:4"][..], Decision::Reject(None)),
        ("11.0.0.0/16", &["65001:1"][..], Decision::Reject(None)),
    ] {
        let attributes = route(&[1], communities);
        assert_eq!(filter.decide(&context(prefix, &attributes), US), decision, "{prefix} {communities:?}");
    }
    assert!(filter.looks_at_prefix());
}

#[test]
fn a_rule_that_says_next_changes_what_the_rules_behind_it_see() {
    let set = |local_pref: Adjust| Set { local_pref: Some(local_pref), ..Set::default() };
    let tag = |text: &str| Set { add_communities: many(&[text]), ..Set::default() };
    let next = |conditions, set| Rule { conditions, set, then: Then::Next, ..Rule::default() };
    let filter = Filter {
        name: "f".into(),
        rules: vec![
            next(vec![communities(&["65001:1"])], set(Adjust::Up(10))),
            next(vec![communities(&["65001:2"])], set(Adjust::Up(100))),
            next(vec![Condition::LocalPref("ge 200".parse().unwrap())], tag("65001:9")),
            Rule { set: set(Adjust::Down(1)), ..Rule::accept(vec![communities(&["65001:9"])]) },
            Rule::accept(vec![]),
        ],
    };
    for (communities, local_pref, changes) in [
        (&[][..], None, false),
        (&["65001:1"][..], Some(110), true),
        (&["65001:2"][..], Some(199), true),
        (&["65001:1", "65001:2"][..], Some(209), true),
    ] {
        let mut attributes = route(&[1], communities);
        let Decision::Accept(accepted) = filter.decide(&context("10.0.0.0/8", &attributes), US) else { panic!() };
        filter.apply(accepted, &mut attributes, US);
        assert_eq!((attributes.local_pref, filter.changes(accepted)), (local_pref, changes), "{communities:?}");
    }
    assert!(!filter.looks_at_prefix());
}

#[test]
fn rules_beyond_the_most_that_say_next_match_nothing() {
    let next = Rule { then: Then::Next, set: Set { prepend: 1, ..Set::default() }, ..Rule::default() };
    let mut rules = vec![next; 40];
    rules.push(Rule::accept(vec![]));
    let filter = Filter { name: "f".into(), rules };
    let mut attributes = route(&[], &[]);
    let Decision::Accept(accepted) = filter.decide(&context("10.0.0.0/8", &attributes), US) else { panic!() };
    filter.apply(accepted, &mut attributes, US);
    assert_eq!(attributes.as_path.hops(), Filter::MOST_NEXT);
}

#[test]
fn what_depends_on_the_prefix_is_known_to() {
    let looks = |condition: Condition| {
        let rule = Rule { except: vec![condition], ..Rule::default() };
        Filter { name: "f".into(), rules: vec![Rule::accept(vec![]), rule] }.looks_at_prefix()
    };
    assert!(looks(prefixes(&["10.0.0.0/8"])));
    assert!(looks(Condition::PrefixList(vec![])));
    assert!(looks(Condition::Family(vec![])));
    assert!(looks(Condition::Validation(vec![])));
    for condition in [
        Condition::AsPath(vec![]),
        Condition::NextHop(vec![]),
        Condition::Peer(vec![]),
        Condition::Source(vec![]),
        communities(&["*"]),
    ] {
        assert!(!looks(condition));
    }
}

#[test]
fn set_leaves_attributes_canonical() {
    let mut attributes = route(&[65001, 64512, 65002], &["0:3", "0:5", "1:2:3", "rt:1:1", "lb:1:10G"]);
    attributes.med = Some(7);
    let set = Set {
        weight: Some(9),
        local_pref: Some(Adjust::Down(1)),
        med: Some(Adjust::Up(3)),
        origin: Some(Origin::Egp),
        replace_communities: many(&["9:9:9", "8:8:8"]),
        remove_communities: many(&["0:4-9", "rt:*"]),
        add_communities: many(&["0:1", "0:3", "soo:2:2"]),
        link_bandwidth: Some("400M".parse().unwrap()),
        remove_as: many(&["64512-65000", "65002"]),
        prepend_as: vec![Asn(7), Asn(8)],
        prepend: 2,
        next_hop: Some(SetNextHop::Address([192, 0, 2, 9].into())),
        hints: Hints { mtu: Some(Hint::Is(1400)), overlay: Some(OverlayMode::Never), ..Hints::default() },
    };
    set.apply(&mut attributes, US);
    assert_eq!((attributes.weight, attributes.local_pref, attributes.med), (9, Some(99), Some(10)));
    assert_eq!(attributes.origin, Origin::Egp);
    assert_eq!(*attributes.communities, [Community(1), Community(3)]);
    let large = |n| LargeCommunity { global: n, local1: n, local2: n };
    assert_eq!(*attributes.large_communities, [large(8), large(9)]);
    let extended: [ExtendedCommunity; 2] = ["soo:2:2".parse().unwrap(), "lb:64512:400M".parse().unwrap()];
    assert_eq!(*attributes.extended_communities, extended);
    assert_eq!(attributes.as_path.to_string(), "64512 64512 7 8 65001");
    assert_eq!(attributes.next_hop, NextHop::V4([192, 0, 2, 9].into()));
    // A later rule's hints count, each by itself.
    let later = Hints { mtu: Some(Hint::Auto), source: Some(Hint::Is([10, 0, 0, 1].into())), ..Hints::default() };
    Set { hints: later, ..Set::default() }.apply(&mut attributes, US);
    assert_eq!(attributes.hints.as_deref(), Some(&Hints { overlay: Some(OverlayMode::Never), ..later }));
    // An address of the other family is for other routes.
    let before = attributes.next_hop;
    let six = Set { next_hop: Some(SetNextHop::Address("fd00::1".parse().unwrap())), ..Set::default() };
    six.apply(&mut attributes, US);
    assert_eq!(attributes.next_hop, before);
    assert!(Set::default().is_empty() && !set.is_empty());
}

#[test]
fn as_numbers_go_from_sequences_and_sets_and_what_is_left_is_a_path() {
    for (path, remove, left) in [
        ("65001 65002 65001 65003", vec!["65001"], "65002 65003"),
        ("65001 64512 65534 1", vec!["64512-65534"], "1"),
        ("65001 65002", vec!["1", "3-9"], "65001 65002"),
        ("65001 {65002,65003} 4", vec!["65002"], "65001 {65003} 4"),
        ("65001 {65002,65003} 4", vec!["65002", "65003"], "65001 4"),
        ("{65002} {65003}", vec!["65002"], "{65003}"),
        ("65001 {65002}", vec!["0-4294967295"], ""),
        ("", vec!["65001"], ""),
    ] {
        let mut attributes = Attributes { as_path: path.parse().unwrap(), ..route(&[], &[]) };
        let set = Set { remove_as: many(&remove), ..Set::default() };
        set.apply(&mut attributes, US);
        // Parsing joins sequences that stand side by side: so does removing what was between them.
        assert_eq!(attributes.as_path, left.parse().unwrap(), "{path} without {remove:?}");
        // What goes in front comes after that.
        let both = Set { prepend: 1, prepend_as: vec![Asn(65001)], ..set };
        both.apply(&mut attributes, US);
        assert_eq!(attributes.as_path.to_string(), format!("64512 65001 {left}").trim_end().to_owned());
    }
}

#[test]
fn a_decision_is_explained_by_the_code_that_decides() {
    let filter = Filter {
        name: "f".into(),
        rules: vec![
            Rule::reject(vec![prefixes(&["10.0.0.0/8 le 24"]), communities(&["65001:666"])]),
            Rule {
                set: Set { local_pref: Some(200.into()), ..Set::default() },
                except: vec![Condition::AsPath(many(&["65002$"]))],
                ..Rule::accept(vec![Condition::NeighborAs(many(&["65001"]))])
            },
            Rule::accept(vec![]),
        ],
    };
    let attributes = route(&[65001], &["65001:1"]);
    let seen = context("10.1.0.0/16", &attributes);
    let explained = filter.explain(&seen, US);
    assert_eq!(explained.decision, filter.decide(&seen, US));
    assert_eq!(explained.result.unwrap().local_pref, Some(200));
    let shown: Vec<String> = explained
        .rules
        .iter()
        .flat_map(|rule| {
            let checks =
                rule.checks.iter().map(|check| format!("{} {}: {}", check.passed, check.condition, check.found));
            std::iter::once(format!("rule {} {}", rule.index, rule.matches)).chain(checks).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(
        shown,
        [
            "rule 0 false",
            "true prefix = [\"10.0.0.0/8 le 24\"]: 10.1.0.0/16 by \"10.0.0.0/8 le 24\"",
            "false community = [\"65001:666\"]: 65001:1",
            "rule 1 true",
            "true neighbor-as = [65001]: 65001",
            "true not as-path = [\"65002$\"]: 65001",
        ]
    );
}

#[test]
fn a_rule_shows_as_it_is_written() {
    let hints = Hints { mtu: Some(Hint::Is(1400)), source: Some(Hint::Auto), ..Hints::default() };
    let rule = Rule {
        conditions: vec![prefixes(&["10.0.0.0/8 le 24"]), Condition::Med("le 5".parse().unwrap())],
        except: vec![Condition::OriginAs(many(&["65001", "64512-64999"]))],
        set: Set {
            origin: Some(Origin::Incomplete),
            remove_as: many(&["65001", "64512-64999"]),
            prepend: 2,
            remove_communities: vec![CommunityPattern::Any],
            hints,
            ..Set::default()
        },
        then: Then::Next,
    };
    assert_eq!(
        rule.to_string(),
        "{ match = { prefix = [\"10.0.0.0/8 le 24\"], med = \"le 5\", not = { origin-as = [65001, \"64512-64999\"] } }, \
         set = { origin = \"incomplete\", remove-community = [\"*\"], remove-as = [65001, \"64512-64999\"], prepend = 2, mtu = 1400, source = \"auto\" }, then = \"next\" }"
    );
}
