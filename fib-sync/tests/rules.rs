//! Rules that lead to Linnet's table, in a real kernel. Needs root.
#![allow(clippy::expect_used)]

mod support;

use std::time::Duration;

use fib_sync::{Rule, Rules, clear_rules};
use support::{in_namespace, ip, meddler::Meddler, until};

fn rule(priority: u32) -> Rule {
    Rule { priority, from: None, to: None, iif: None, fwmark: None, table: 100 }
}

fn from(priority: u32, prefix: &str) -> Rule {
    Rule { from: Some(prefix.parse().expect("a prefix")), ..rule(priority) }
}

/// Rules as `ip` shows them, without those of the kernel.
fn shown() -> Vec<String> {
    let both = ["-4", "-6"].map(|family| ip(&format!("{family} rule show")));
    let lines = both.iter().flat_map(|text| text.lines());
    let words = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    words
        .filter(|line| !["local", "main", "default"].iter().any(|own| line.ends_with(&format!("lookup {own}"))))
        .collect()
}

const POLICY: [&str; 5] = [
    "1000: from 10.244.0.0/16 lookup 100 proto 76",
    "1001: from all to 10.245.0.0/16 iif eth0 [detached] lookup 100 proto 76",
    "1002: from all fwmark 0x10/0xf0 lookup 100 proto 76",
    "1000: from fd00:244::/32 lookup 100 proto 76",
    "1002: from all fwmark 0x10/0xf0 lookup 100 proto 76",
];

fn wanted() -> Vec<Rule> {
    vec![
        from(1000, "10.244.0.0/16"),
        from(1000, "fd00:244::/32"),
        Rule { to: Some("10.245.0.0/16".parse().expect("a prefix")), iif: Some("eth0".into()), ..rule(1001) },
        Rule { fwmark: Some((0x10, 0xf0)), ..rule(1002) },
    ]
}

#[test]
fn rules_are_made_kept_changed_and_removed_and_those_of_others_are_not_touched() {
    in_namespace(|| async {
        let foreign = "999: from 10.244.0.0/16 lookup 7";
        ip("rule add from 10.244.0.0/16 lookup 7 priority 999");
        // Of an earlier run, with another configuration; the last is of a kind that Linnet never makes.
        ip("rule add from 10.1.0.0/16 lookup 100 priority 5 protocol 76");
        ip("-6 rule add from all lookup 100 priority 6 protocol 76");
        ip("rule add from 10.2.0.0/16 prohibit priority 7 protocol 76");
        let rules = Rules::start(&wanted()).expect("the kernel");
        let all: Vec<&str> = [foreign].into_iter().chain(POLICY).collect();
        assert_eq!(shown(), all);
        assert!(rules.status().len() == 5 && rules.status().iter().all(|rule| rule.error.is_none()));

        ip("rule del priority 1000");
        ip("-6 rule del priority 1002");
        ip("rule add from 10.3.0.0/16 lookup 100 priority 8 protocol 76");
        until("they are put back", || shown() == all).await;

        let gone = vec![from(1000, "10.244.0.0/16")];
        rules.change(gone.clone()).await;
        assert_eq!(shown(), [foreign, POLICY[0]]);
        drop(rules);
        // A restart finds what is right.
        let rules = Rules::start(&gone).expect("the kernel");
        assert_eq!(shown(), [foreign, POLICY[0]]);
        drop(rules);
        assert_eq!(clear_rules().expect("the kernel"), 1);
        assert_eq!(shown(), [foreign]);
    });
}

#[test]
fn rules_of_one_priority_are_told_apart_from_each_other_and_from_those_of_another_owner() {
    in_namespace(|| async {
        ip("rule add from 10.244.0.0/16 lookup 100 priority 1000");
        let foreign = "1000: from 10.244.0.0/16 lookup 100";
        let own = |prefix: &str| format!("1000: from {prefix} lookup 100 proto 76");
        let (a, b, all) = (from(1000, "10.244.0.0/16"), from(1000, "10.245.0.0/16"), rule(1000));
        let rules = Rules::start(&[a.clone(), b.clone()]).expect("the kernel");
        assert_eq!(shown(), [foreign, &own("10.244.0.0/16"), &own("10.245.0.0/16")]);
        // One that asks for less beside those that ask for more, and in place of them.
        rules.change(vec![a.clone(), b.clone(), all.clone()]).await;
        assert_eq!(
            shown(),
            [foreign, &own("10.244.0.0/16"), &own("10.245.0.0/16"), &own("all"), &own("all")],
            "the last is of IPv6"
        );
        rules.change(vec![all]).await;
        assert_eq!(shown(), [foreign, &own("all"), &own("all")]);
        rules.change(vec![a, b]).await;
        let mut left = shown();
        left.sort();
        assert_eq!(left, [foreign, &own("10.244.0.0/16"), &own("10.245.0.0/16")]);
        rules.change(Vec::new()).await;
        assert_eq!(shown(), [foreign]);
    });
}

#[test]
fn who_removes_a_rule_again_and_again_is_named_and_not_fought_for_ever() {
    in_namespace(|| async {
        let rules = Rules::start(&[from(1000, "10.244.0.0/16")]).expect("the kernel");
        let mut meddler = Meddler::start();
        let error = || rules.status()[0].error.clone().unwrap_or_default();
        let said = async {
            while error().is_empty() {
                if shown() == [POLICY[0]] {
                    meddler.tell("rule del priority 1000");
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            error()
        };
        let said = tokio::time::timeout(Duration::from_secs(20), said).await.expect("a truce");
        assert!(said.contains(&format!("rules of Linnet's: {}, 6 times", meddler.name())), "{said}");
        assert!(shown().is_empty(), "{:?}", shown());
        drop(meddler);
        until("it is put back at last", || shown() == [POLICY[0]] && error().is_empty()).await;
    });
}
