//! The table as a whole: what replaces it, what it leaves alone, what brings it back.

mod support;

use std::io::Write;
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use policy::Default::{Allow, Deny};
use policy::{PolicyConfig, State};
use support::{DEADLINE, Host};

#[test]
fn no_packet_that_old_and_new_forbid_passes_a_change_of_policy_and_none_that_both_allow_is_lost() {
    let mut host = Host::new(&["app=server", "app=friend", "app=foe"]);
    let document = |port: u16| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p{port}}}\nspec:\n  \
             podSelector: {{matchLabels: {{app: server}}}}\n  ingress:\n  \
             - {{from: [{{podSelector: {{matchLabels: {{app: friend}}}}}}], ports: [{{port: 99, protocol: UDP}}, {{port: {port}}}]}}\n"
        )
    };
    host.write("a.yaml", &document(80));
    host.start(Allow);
    let server = host.pods[0].run(|| UdpSocket::bind("10.244.0.1:99").unwrap());
    server.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    // Each datagram by a socket of its own: a new flow, on which the policy must decide anew.
    let mut senders = Vec::new();
    for (pod, word) in [(1, "friend"), (2, "foe")] {
        let (stop, sent) = (stop.clone(), Arc::new(AtomicU64::new(0)));
        senders.push(sent.clone());
        host.pods[pod].run(move || {
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
                    socket.send_to(word.as_bytes(), "10.244.0.1:99").unwrap();
                    sent.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(1));
                }
            });
        });
    }
    let receiver = thread::spawn(move || {
        let (mut friend, mut foe, mut buffer) = (0u64, 0u64, [0; 16]);
        while let Ok((length, _)) = server.recv_from(&mut buffer) {
            match &buffer[..length] {
                b"friend" => friend += 1,
                _ => foe += 1,
            }
        }
        (friend, foe)
    });
    let directory = host.directory.clone();
    for round in 0..30 {
        // Structure changes each time: a rule's port.
        std::fs::write(directory.join("a.yaml"), document(81 + round)).unwrap();
        let config = PolicyConfig { directory: directory.clone(), default: Allow };
        host.ask(async |policy| policy.reconfigure(config).await).unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    let (friend, foe) = receiver.join().unwrap();
    assert!(senders[1].load(Ordering::Relaxed) > 100, "the foe hardly tried");
    assert_eq!(foe, 0);
    assert_eq!(friend, senders[0].load(Ordering::Relaxed));
}

#[test]
fn other_tables_are_not_touched_by_start_change_and_clear() {
    let mut host = Host::new(&["app=web"]);
    host.namespace.sh(
        "nft 'table inet other { chain forward { type filter hook forward priority 5; policy accept; counter; }; }
              table ip linnet { set s { type ipv4_addr; elements = { 192.0.2.1 }; }; }
              table bridge linnet { chain c { }; }'",
    );
    let foreign = "nft -s list table inet other; nft list table ip linnet; nft list table bridge linnet";
    let before = host.namespace.sh(foreign);
    host.start(Deny);
    host.set_endpoints().unwrap();
    assert_eq!(host.namespace.sh(foreign), before);
    host.ask(async |policy| policy.clear().await).unwrap();
    assert_eq!(host.namespace.sh(foreign), before);
    let tables = host.namespace.sh("nft list tables");
    assert!(!tables.contains("inet linnet"), "{tables}");
    assert_eq!(host.set_endpoints().unwrap_err(), policy::PolicyError::Stopped);
}

#[test]
fn a_table_of_an_earlier_run_is_replaced_and_remove_table_ends_it() {
    let mut host = Host::new(&["app=web"]);
    host.namespace.sh("nft 'table inet linnet { set old { type mark; }; chain from-pods { drop; }; }'");
    host.start(Allow);
    let table = host.namespace.sh("nft list table inet linnet");
    assert!(!table.contains("old") && table.contains("pod-egress/lin1"), "{table}");
    host.ask(async |_| policy::remove_table().await).unwrap();
    assert!(!host.namespace.sh("nft list tables").contains("linnet"));
    host.ask(async |_| policy::remove_table().await).expect("nothing to remove is no error");
}

#[test]
fn a_table_that_somebody_flushed_comes_back() {
    let mut host = Host::new(&["app=web"]);
    host.start(Deny);
    host.pods[0].serve(80);
    host.namespace.sh("nft flush ruleset");
    let deadline = Instant::now() + DEADLINE;
    while !host.namespace.sh("nft list tables").contains("inet linnet") {
        assert!(Instant::now() < deadline, "{:#?}", host.status());
    }
    assert!(!host.outside.tcp("10.244.0.1", 80));
}

#[test]
fn rules_that_somebody_changed_in_the_table_are_put_right() {
    let mut host = Host::new(&["", ""]);
    host.pods[0].serve(80);
    host.start(Deny);
    assert!(!host.pods[1].tcp("10.244.0.1", 80));
    for change in ["nft flush table inet linnet", "nft insert rule inet linnet forward-ingress accept"] {
        let before = host.namespace.sh("nft list table inet linnet");
        host.namespace.sh(change);
        host.until("the rules to be back", |_| host.namespace.sh("nft list table inet linnet") == before);
        assert!(!host.pods[1].tcp("10.244.0.1", 80), "{change}");
    }
}

#[test]
fn what_somebody_changes_in_a_table_of_their_own_replaces_nothing_of_ours() {
    let mut host = Host::new(&[""]);
    host.start(Deny);
    let handles = || host.namespace.sh("nft -a list table inet linnet");
    let before = handles();
    host.namespace.sh("nft add table inet other");
    host.namespace.sh("nft add table ip linnet");
    // What is heard is heard in order: once this is mended, the others were judged.
    host.namespace.sh("nft flush table inet linnet");
    host.until("the rules to be back", |_| handles() != before && handles().contains("drop"));
    let mended = handles();
    host.namespace.sh("nft delete table inet other");
    host.namespace.sh("nft delete table ip linnet");
    host.set_endpoints().unwrap();
    assert_eq!(handles(), mended);
}

#[test]
fn a_ruleset_that_the_kernel_refuses_leaves_the_old_one_and_is_tried_again() {
    let mut host = Host::new(&["app=web"]);
    // A table that another process owns can be neither changed nor removed while that process lives.
    let mut owner = host.namespace.run(|| {
        let mut owner = Command::new("nft").arg("-i").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        owner.stdin.as_mut().unwrap().write_all(b"add table inet linnet { flags owner; }\n").unwrap();
        owner
    });
    let deadline = Instant::now() + DEADLINE;
    while !host.namespace.sh("nft list tables").contains("inet linnet") {
        assert!(Instant::now() < deadline);
    }
    host.start(Allow);
    let status = host.status();
    assert!(
        matches!(&status.state, State::Degraded { error }
            if error.contains("Operation not permitted; what was in force before stays in force")),
        "{status:#?}"
    );
    assert!(matches!(host.set_endpoints(), Err(policy::PolicyError::Kernel { .. })));
    owner.kill().unwrap();
    owner.wait().unwrap();
    host.until("in force once the owner is gone", |status| status.state == State::InForce);
}

#[test]
fn what_the_ruleset_prints_is_what_is_in_the_kernel() {
    let mut host = Host::new(&["app=web", "app=client,tier=1"]);
    let document = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: all, namespace: default}
spec:
  podSelector: {matchExpressions: [{key: app, operator: In, values: [web, client]}]}
  policyTypes: [Ingress, Egress]
  ingress:
  - from:
    - podSelector: {matchExpressions: [{key: tier, operator: Exists}]}
    - namespaceSelector: {}
    - ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}
    - ipBlock: {cidr: '::/0'}
    ports: [{port: 80}, {port: 90, endPort: 99}, {protocol: UDP}, {protocol: SCTP, port: 5}, {port: http}]
  - {}
  egress:
  - to: [{ipBlock: {cidr: 0.0.0.0/0}}, {ipBlock: {cidr: 192.0.2.9/32}}]
  - ports: [{port: 1}, {port: 65535}]
";
    host.write("all.yaml", document);
    host.start(Allow);
    let policies = policy::parse("all.yaml", document)
        .unwrap()
        .into_iter()
        .filter_map(|document| match document {
            policy::Document::NetworkPolicy(policy) => Some(policy),
            policy::Document::Namespace(_) | policy::Document::Pod(_) => None,
        })
        .collect();
    let endpoints = host.endpoints.clone();
    let input = policy::Input { endpoints, pods: vec![], namespaces: vec![], policies, default: Allow };
    let text = policy::compile(&input).to_string();
    // nft's JSON takes no comments of sets.
    let list = || {
        let listed = host.namespace.sh("nft list ruleset");
        let lines: Vec<&str> = listed.lines().filter(|line| !line.trim_start().starts_with("comment \"")).collect();
        lines.join("\n")
    };
    let by_json = list();
    let file = host.directory.join("ruleset.nft");
    std::fs::write(&file, format!("delete table inet linnet\n{text}")).unwrap();
    host.namespace.sh(&format!("nft -f {}", file.display()));
    assert_eq!(list(), by_json);
}

/// What `nft list` says, without order.
fn listing(namespace: &support::Namespace) -> Vec<String> {
    let listed = namespace.sh("nft list table inet linnet");
    let lines: Vec<&str> =
        listed.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("comment \"")).collect();
    let mut blocks: Vec<String> = lines.join(" ").split(" } ").map(sorted_elements).collect();
    blocks.sort();
    blocks
}

/// A hashed set lists its elements in any order.
fn sorted_elements(block: &str) -> String {
    let block = block.trim_matches([' ', '}']);
    let Some((head, elements)) = block.split_once("elements = {") else { return block.to_owned() };
    let mut elements: Vec<&str> = elements.split(',').map(str::trim).collect();
    elements.sort_unstable();
    format!("{head}{}", elements.join(","))
}

#[test]
fn a_table_that_was_changed_step_by_step_is_the_one_that_a_fresh_start_makes() {
    let policy = |n: u64, variant: u64| {
        let peer =
            ["podSelector: {matchLabels: {app: a0}}", "podSelector: {}", "namespaceSelector: {}"][variant as usize % 3];
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p{n}}}\nspec:\n  \
             podSelector: {{matchExpressions: [{{key: app, operator: In, values: [a{}, a{}]}}]}}\n  \
             policyTypes: [Ingress, Egress]\n  ingress:\n  \
             - {{from: [{{{peer}}}, {{ipBlock: {{cidr: 10.{n}.0.0/16, except: [10.{n}.{variant}.0/24]}}}}], ports: [{{port: 80}}, {{port: {}}}, {{port: http}}]}}\n  \
             egress: [{{to: [{{ipBlock: {{cidr: 10.{variant}.0.0/16}}}}]}}]\n---\n",
            n % 4,
            (n + variant) % 4,
            90 + variant,
        )
    };
    let mut host = Host::new(&[]);
    let fresh = support::Namespace::new();
    host.start(Allow);
    let handle = |listed: &str| {
        listed.lines().find(|line| line.contains("chain forward-egress")).map(|line| line.trim().to_owned())
    };
    let base_chain = handle(&host.namespace.sh("nft -a list table inet linnet"));
    assert!(base_chain.is_some());
    // xorshift64 with a fixed seed: one run is as another.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    for step in 0..25 {
        let mut text = String::new();
        for n in 0..5 {
            if random(3) > 0 {
                text += &policy(n, random(4));
            }
        }
        for n in 0..3 {
            text += &format!(
                "{{apiVersion: v1, kind: Pod, metadata: {{name: e{n}, labels: {{app: a{}}}}}, status: {{podIP: 10.9.0.{}}}, \
                 spec: {{containers: [{{ports: [{{name: http, containerPort: {}}}]}}]}}}}\n---\n",
                random(2),
                random(5),
                1 + random(3)
            );
        }
        std::fs::write(host.directory.join("all.yaml"), &text).unwrap();
        host.endpoints.clear();
        for n in 0..5 {
            if random(2) > 0 {
                host.endpoints.push(policy::Endpoint {
                    namespace: "default".into(),
                    name: format!("e{n}"),
                    labels: [("app".to_owned(), format!("a{}", random(4)))].into(),
                    interface: format!("lin{n}"),
                    addresses: vec![format!("10.244.0.{n}").parse().unwrap(), format!("fd00::{n}").parse().unwrap()],
                });
            }
        }
        let config = PolicyConfig { directory: host.directory.clone(), default: Allow };
        host.set_endpoints().unwrap();
        host.ask(async |policy| policy.reconfigure(config).await).unwrap();
        let mut input = policy::Input {
            endpoints: host.endpoints.clone(),
            pods: vec![],
            namespaces: vec![],
            policies: vec![],
            default: Allow,
        };
        for document in policy::parse("all.yaml", &text).unwrap() {
            match document {
                policy::Document::NetworkPolicy(policy) => input.policies.push(policy),
                policy::Document::Namespace(namespace) => input.namespaces.push(namespace),
                policy::Document::Pod(pod) => input.pods.push(pod),
            }
        }
        let file = host.directory.join("fresh.nft");
        std::fs::write(&file, format!("flush ruleset\n{}", policy::compile(&input))).unwrap();
        fresh.sh(&format!("nft -f {}", file.display()));
        assert_eq!(listing(&host.namespace), listing(&fresh), "step {step}\n{text}");
    }
    let after = handle(&host.namespace.sh("nft -a list table inet linnet"));
    assert_eq!(after, base_chain, "the handle tells that the table was never replaced");
}
