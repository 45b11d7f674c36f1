//! What is read, and what is said about what is not.

use super::*;

/// A NetworkPolicy with this `spec`, in flow style.
fn policy(spec: &str) -> String {
    format!("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p}}\nspec:\n{spec}\n")
}

fn read(spec: &str) -> NetworkPolicy {
    let mut documents = parse("p.yaml", &policy(spec)).unwrap_or_else(|errors| panic!("{errors:#?}"));
    match documents.remove(0) {
        Document::NetworkPolicy(policy) => policy,
        other => panic!("{other:?}"),
    }
}

fn errors(text: &str) -> String {
    let errors = parse("p.yaml", text).expect_err(text);
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn each_mistake_is_named_with_its_place_and_what_to_do() {
    let cases = [
        "  podSelecter: {}",
        "  podSelector: {matchlabels: {a: b}}",
        "  policyTypes: [Ingress]",
        "  podSelector: {}\n  policyTypes: [ingress, Both]",
        "  podSelector: {}\n  ingress: {}",
        "  podSelector: {}\n  ingress:\n  - form: []",
        "  podSelector: {}\n  ingress:\n  - from: [{}]",
        "  podSelector: {}\n  ingress:\n  - from: [{podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}]",
        "  podSelector: {}\n  ingress:\n  - from: [{ipBlock: {cidr: 10.0.0.0}}]",
        "  podSelector: {}\n  ingress:\n  - from: [{ipBlock: {cidr: '::ffff:10.0.0.0/104'}}]",
        "  podSelector: {}\n  ingress:\n  - from: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16, 10.0.0.0/8]}}]",
        "  podSelector: {}\n  egress:\n  - from: []",
        "  podSelector: {}\n  ingress:\n  - ports: [{port: 0}, {port: 65536}, {port: '80'}, {port: 80.5}, {port: Http}]",
        "  podSelector: {}\n  ingress:\n  - ports: [{endPort: 5}, {port: 5, endPort: 4}, {port: http, endPort: 99}]",
        "  podSelector: {}\n  ingress:\n  - ports: [{protocol: tcp}, {protocol: ICMP}, {Port: 80}]",
        "  podSelector: {matchLabels: {app: 1, tier: yes, 'a b': c, x: 'ä'}}",
        "  podSelector: {matchExpressions: [{key: a, operator: in, values: [x]}, {key: a, operator: In}, {key: a, operator: Exists, values: [x]}]}",
        "  podSelector: {}\n  podSelector: {}",
        "  podSelector: {}\n  ingress:\n  - <<: {}",
        "  podSelector: !selector {}",
    ];
    let mut said = String::new();
    for case in cases {
        said += &format!("{case}\n=> {}\n\n", errors(&policy(case)).replace('\n', "\n=> "));
    }
    insta::assert_snapshot!(said);
}

#[test]
fn each_mistake_around_the_spec_is_named_too() {
    let cases = [
        "kind: NetworkPolicies\napiVersion: networking.k8s.io/v1",
        "kind: GlobalNetworkPolicy\napiVersion: projectcalico.org/v3",
        "kind: NetworkPolicy\napiVersion: extensions/v1beta1",
        "kind: Pod",
        "apiVersion: v1",
        "just words",
        "kind: Pod\napiVersion: v1\nmetadata: {name: Pod_1, namespace: a.b, lables: {}}",
        "kind: Pod\napiVersion: v1\nmetadata: {}",
        "kind: Namespace\napiVersion: v1\nmetadata: {name: x, namespace: y}",
        "kind: Pod\napiVersion: v1\nmetadata: {name: x}\nstatus: {podIp: 10.0.0.1, podIPs: [{ip: 10.0.0}]}",
        "kind: Pod\napiVersion: v1\nmetadata: {name: x}\nspec: {containers: [{ports: [{name: '80', containerPort: 80}, {name: x}]}]}",
        "kind: List\napiVersion: v1\nitems:\n- kind: Pod\n  apiVersion: v1\n  metadata: {name: x}\n- kind: Service\n  apiVersion: v1",
        "kind: Pod\napiVersion: v1\nmetadata: {name: x}\n---\nkind: Pod\napiVersion: v1\nmetadata: {name: x}",
        "a: [",
        "a: b\n c: d",
        "\tkind: Pod",
        "a: *nobody",
    ];
    let mut said = String::new();
    for case in cases {
        said += &format!("{case}\n=> {}\n\n", errors(case).replace('\n', "\n=> "));
    }
    insta::assert_snapshot!(said);
}

#[test]
fn all_mistakes_of_a_file_come_at_once_in_the_order_of_the_text() {
    let text = format!("{}---\n{}", policy("  podSelecter: {}"), policy("  podSelector: 5"));
    let places: Vec<(u32, u32)> = parse("p.yaml", &text).unwrap_err().iter().map(|e| (e.line, e.column)).collect();
    assert_eq!(places, [(5, 3), (5, 3), (11, 16)]);
}

#[test]
fn policy_types_default_as_in_kubernetes() {
    use Direction::{Egress, Ingress};
    for (spec, directions) in [
        ("  podSelector: {}", vec![Ingress]),
        ("  podSelector: {}\n  ingress:", vec![Ingress]),
        ("  podSelector: {}\n  egress: []", vec![Ingress]),
        ("  podSelector: {}\n  egress: [{}]", vec![Ingress, Egress]),
        ("  podSelector: {}\n  policyTypes: []\n  egress: [{}]", vec![Ingress, Egress]),
        ("  podSelector: {}\n  policyTypes: [Egress]", vec![Egress]),
        ("  podSelector: {}\n  policyTypes: [Egress]\n  ingress: [{}]", vec![Egress]),
        ("  podSelector: {}\n  policyTypes: [Ingress]\n  egress: [{}]", vec![Ingress]),
        ("  podSelector: {}\n  policyTypes: [Ingress, Egress]", vec![Ingress, Egress]),
    ] {
        assert_eq!(read(spec).directions(), directions, "{spec}");
    }
}

#[test]
fn an_absent_list_is_everyone_and_an_empty_rule_list_is_no_one() {
    let nothing = read("  podSelector: {}\n  ingress: []").ingress;
    assert_eq!(nothing, Some(vec![]));
    for rule in ["{}", "{from: [], ports: []}", "{from: , ports: null}"] {
        let everyone = read(&format!("  podSelector: {{}}\n  ingress: [{rule}]")).ingress;
        assert_eq!(everyone, Some(vec![Rule { line: 6, peers: vec![], ports: vec![] }]), "{rule}");
    }
}

#[test]
fn a_whole_policy_is_read() {
    let policy = read(
        "  podSelector: {matchLabels: {app: web}, matchExpressions: [{key: old, operator: DoesNotExist}]}
  ingress:
  - from:
    - podSelector: {}
    - namespaceSelector: {matchLabels: {team: a}}
    - {namespaceSelector: {}, podSelector: {matchLabels: {x: ''}}}
    - ipBlock: {cidr: 10.1.2.3/8, except: [10.9.0.0/16]}
    ports: [{}, {port: 53, protocol: UDP}, {port: 1, endPort: 65535, protocol: SCTP}, {port: http}]",
    );
    let label = |key: &str, value: &str| Selector {
        requirements: vec![Requirement { key: key.into(), operator: Operator::In(vec![value.into()]) }],
    };
    assert_eq!((policy.namespace.as_str(), policy.name.as_str()), ("default", "p"));
    assert_eq!(policy.pods.to_string(), "app in (web),!old");
    assert_eq!(
        policy.ingress.unwrap(),
        [Rule {
            line: 7,
            peers: vec![
                Peer::Pods { namespaces: None, pods: Selector::default() },
                Peer::Pods { namespaces: Some(label("team", "a")), pods: Selector::default() },
                Peer::Pods { namespaces: Some(Selector::default()), pods: label("x", "") },
                // Host bits are cleared.
                Peer::Block(IpBlock {
                    cidr: "10.0.0.0/8".parse().unwrap(),
                    except: vec!["10.9.0.0/16".parse().unwrap()]
                }),
            ],
            ports: vec![
                Port { protocol: Protocol::Tcp, number: PortNumber::Any },
                Port { protocol: Protocol::Udp, number: PortNumber::Range(53, 53) },
                Port { protocol: Protocol::Sctp, number: PortNumber::Range(1, 65535) },
                Port { protocol: Protocol::Tcp, number: PortNumber::Named("http".into()) },
            ],
        }]
    );
}

#[test]
fn what_kubectl_prints_is_read() {
    let text = r#"
apiVersion: v1
items:
- apiVersion: v1
  kind: Pod
  metadata:
    annotations: {a: b}
    creationTimestamp: "2026-01-01T00:00:00Z"
    labels: {app: web}
    name: web-1
    namespace: shop
    ownerReferences: [{kind: ReplicaSet, name: web}]
    resourceVersion: "5"
    uid: x
  spec:
    containers:
    - image: nginx
      name: nginx
      ports: [{containerPort: 80, name: http, protocol: TCP}, {containerPort: 9}]
    hostNetwork: false
    nodeName: node-7
  status:
    hostIP: 192.0.2.7
    phase: Running
    podIP: 10.244.7.2
    podIPs: [{ip: 10.244.7.2}, {ip: "fd00::2"}]
- apiVersion: v1
  kind: Namespace
  metadata: {name: shop, labels: {team: a}}
  spec: {finalizers: [kubernetes]}
  status: {phase: Active}
kind: List
metadata: {resourceVersion: ""}
"#;
    let documents = parse("dump.yaml", text).unwrap();
    let [Document::Pod(pod), Document::Namespace(namespace)] = &documents[..] else { panic!("{documents:?}") };
    assert_eq!(pod.origin.to_string(), "dump.yaml:4");
    assert_eq!(pod.addresses, ["10.244.7.2".parse::<IpAddr>().unwrap(), "fd00::2".parse().unwrap()]);
    assert_eq!(pod.ports, [PodPort { name: "http".into(), protocol: Protocol::Tcp, number: 80 }]);
    assert_eq!(namespace.labels["kubernetes.io/metadata.name"], "shop");
    assert_eq!(namespace.labels["team"], "a");
}

#[test]
fn a_pod_on_its_hosts_network_or_ended_has_no_address_of_its_own() {
    for (spec, status) in [("{hostNetwork: true}", "{podIP: 192.0.2.1}"), ("{}", "{podIP: 10.0.0.1, phase: Failed}")] {
        let text = format!("{{apiVersion: v1, kind: Pod, metadata: {{name: x}}, spec: {spec}, status: {status}}}");
        let documents = parse("x", &text).unwrap();
        let [Document::Pod(pod)] = &documents[..] else { panic!("{documents:?}") };
        assert!(pod.addresses.is_empty(), "{text}");
    }
}

#[test]
fn json_and_empty_documents_are_read() {
    let json = r#"{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"j"},"spec":{"podSelector":{}}}"#;
    assert_eq!(parse("x.json", json).unwrap().len(), 1);
    assert_eq!(parse("x.yaml", &format!("# nothing\n---\n---\n{json}\n---\n")).unwrap().len(), 1);
    assert_eq!(parse("x.yaml", "").unwrap(), []);
    assert_eq!(parse("x.yaml", "\u{feff}# with a mark\n").unwrap(), []);
}

#[test]
fn a_file_beyond_the_limit_is_refused_as_a_whole() {
    let text = format!("# {}", "x".repeat(MAX_FILE_BYTES));
    let errors = parse("big.yaml", &text).unwrap_err();
    assert!(errors[0].to_string().starts_with("big.yaml:0:0: the file has 1048578 bytes"), "{errors:?}");
}

proptest::proptest! {
    /// Cut, repeated and garbled documents are refused, or read; they never end the program.
    #[test]
    fn no_text_makes_the_reader_panic(
        cut in 0usize..600,
        junk in "[\\[\\]{}:,&*!|>'\"%@`#\\-? \n\ta-z0-9]{0,40}",
        keep in 0usize..600,
    ) {
        let text = policy("  podSelector: &a {matchLabels: {app: web}}\n  ingress:\n  - from: [{podSelector: *a}, {ipBlock: {cidr: 10.0.0.0/8}}]\n    ports: [{port: 80, endPort: 90}]");
        let head = &text[..cut.min(text.len())];
        let tail = &text[keep.min(text.len())..];
        _ = parse("x.yaml", &format!("{head}{junk}{tail}"));
    }
}
