//! What the ruleset looks like, and what makes it change how much.

use super::*;
use crate::ruleset::{Difference, Steps};
use crate::{Document, parse};

fn endpoint(n: u8, namespace: &str, labels: &[(&str, &str)]) -> Endpoint {
    Endpoint {
        namespace: namespace.into(),
        name: format!("pod{n}"),
        labels: labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
        interface: format!("lin{n}"),
        addresses: vec![format!("10.244.0.{n}").parse().unwrap(), format!("fd00::{n}").parse().unwrap()],
    }
}

fn input(endpoints: Vec<Endpoint>, text: &str, default: Default) -> Input {
    let mut input = Input { endpoints, pods: vec![], namespaces: vec![], policies: vec![], default };
    for document in parse("shop.yaml", text).unwrap_or_else(|errors| panic!("{errors:#?}")) {
        match document {
            Document::NetworkPolicy(policy) => input.policies.push(policy),
            Document::Namespace(namespace) => input.namespaces.push(namespace),
            Document::Pod(pod) => input.pods.push(pod),
        }
    }
    input
}

const SHOP: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress, Egress]
  ingress:
  - from:
    - namespaceSelector: {matchLabels: {team: blue}}
      podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [batch]}]}
    - ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.128/25]}
    ports: [{port: http}, {port: 8000, endPort: 8010}, {port: 53, protocol: UDP}]
  egress:
  - to: [{podSelector: {matchLabels: {app: db}}}]
    ports: [{port: 5432}]
  - ports: [{protocol: UDP}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: not-on-this-host, namespace: shop}
spec: {podSelector: {matchLabels: {app: db}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: far, labels: {team: blue}}}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: far, labels: {app: client}}
status: {podIP: 10.244.9.1}
---
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: shop, labels: {app: db}}
status: {podIP: 10.244.9.2}
---
apiVersion: v1
kind: Pod
metadata: {name: pod1, namespace: shop}
spec: {containers: [{ports: [{name: http, containerPort: 8080}]}]}
";

fn shop() -> Vec<Endpoint> {
    vec![endpoint(1, "shop", &[("app", "web")]), endpoint(2, "other", &[("app", "web")])]
}

#[test]
fn the_ruleset_reads_as_nft_writes_it() {
    insta::assert_snapshot!(compile(&input(shop(), SHOP, Default::Allow)));
}

#[test]
fn a_host_without_pods_has_a_table_that_knows_no_interface() {
    insta::assert_snapshot!(compile(&input(vec![], SHOP, Default::Deny)));
}

#[test]
fn pods_elsewhere_change_members_alone() {
    let before = input(shop(), SHOP, Default::Allow);
    let ruleset = compile(&before);
    assert_eq!(ruleset.difference(&compile(&before)), Difference::None);

    let mut moved = before;
    moved.pods[1].addresses = vec!["10.244.9.3".parse().unwrap()];
    let moved = compile(&moved);
    let Difference::Steps(steps) = ruleset.difference(&moved) else { panic!("{moved}") };
    let addresses = |text: &str| Elements::Addresses(BTreeSet::from([text.parse().unwrap()]));
    assert_eq!(steps, Steps { members: steps.members.clone(), ..Steps::default() });
    let [change] = &steps.members[..] else { panic!("{steps:#?}") };
    assert_eq!((&change.removed, &change.added), (&addresses("10.244.9.2"), &addresses("10.244.9.3")));
}

#[test]
fn a_new_endpoint_leaves_the_chains_of_the_others_as_they_are() {
    let before = input(shop(), SHOP, Default::Allow);
    let mut grown = before.clone();
    grown.endpoints.push(endpoint(3, "other", &[]));
    let (before, grown) = (compile(&before), compile(&grown));
    let Difference::Steps(steps) = before.difference(&grown) else { panic!("{grown}") };
    let written: Vec<&str> = steps.written_chains.iter().map(|chain| chain.name.as_str()).collect();
    assert_eq!(written, ["from-pods", "to-pods", "pod-egress/lin3", "pod-ingress/lin3"]);
    assert_eq!(steps.emptied_chains, ["from-pods", "to-pods"]);
}

#[test]
fn a_changed_rule_changes_its_chain_and_the_sets_that_it_names() {
    let two = SHOP.replace("{port: 5432}", "{port: 5432}, {port: 5434}");
    let three = SHOP.replace("{port: 5432}", "{port: 5432}, {port: 5434}, {port: 5436}");
    let (two, three) = (compile(&input(shop(), &two, Default::Allow)), compile(&input(shop(), &three, Default::Allow)));
    let Difference::Steps(steps) = two.difference(&three) else { panic!("{three}") };
    assert_eq!(steps.emptied_chains, ["policy-egress/shop/web"]);
    assert_eq!((steps.new_sets.len(), steps.old_sets.len(), steps.members.len()), (1, 1, 0), "{steps:#?}");
}

#[test]
fn policies_that_ask_for_the_same_pods_share_a_set() {
    let policy = |name: &str| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}, namespace: shop}}\n\
             spec: {{podSelector: {{}}, ingress: [{{from: [{{podSelector: {{matchLabels: {{app: a, tier: b}}}}}}]}}]}}\n---\n"
        )
    };
    let text: String = (0..50).map(|n| policy(&format!("p{n}"))).collect();
    let ruleset = compile(&input(shop(), &text, Default::Allow));
    assert_eq!(ruleset.sets.len(), 4, "{:#?}", ruleset.sets);
}

#[test]
fn an_endpoints_chain_jumps_to_the_policies_that_select_it_alone() {
    let policy = |n: u8| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p{n}}}\n\
             spec: {{podSelector: {{matchLabels: {{n: '{n}'}}}}}}\n---\n"
        )
    };
    let text: String = (1..=100).map(policy).collect();
    let endpoints = (1..=100).map(|n| endpoint(n, "default", &[("n", &n.to_string())])).collect();
    let ruleset = compile(&input(endpoints, &text, Default::Allow));
    for chain in ruleset.chains.iter().filter(|chain| chain.name.starts_with("pod-ingress/")) {
        assert_eq!(chain.rules.len(), 2, "{chain:#?}");
    }
}

#[test]
fn names_of_any_length_give_names_that_the_kernel_takes() {
    let long = vec!["a".repeat(63); 3].join(".");
    let policy = |last: char| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {long}.{last}, namespace: {}}}\n\
             spec: {{podSelector: {{}}}}\n---\n",
            "n".repeat(63)
        )
    };
    let text = policy('x') + &policy('y');
    let ruleset = compile(&input(vec![endpoint(1, &"n".repeat(63), &[])], &text, Default::Allow));
    let names: BTreeSet<&str> = ruleset.chains.iter().map(|chain| chain.name.as_str()).collect();
    assert_eq!(names.len(), ruleset.chains.len(), "{names:#?}");
    assert!(names.iter().all(|name| name.len() <= 255), "{names:#?}");
}

#[test]
fn comments_hold_no_quotes_and_end_in_time() {
    assert_eq!(comment("a\"b\\c\nd"), "a?b?c?d");
    assert_eq!(comment(&"ä".repeat(100)).len(), 120);
}
