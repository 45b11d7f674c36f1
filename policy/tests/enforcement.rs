//! Policies on a real kernel, by real packets.

mod support;

use policy::Default::Allow;
use support::Host;

/// Ingress to `app=web` from `app=client` on TCP 80, the range 8000 to 8010, and UDP 53.
const WEB: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: client}}}]
    ports:
    - port: 80
    - {port: 8000, endPort: 8010}
    - {port: 53, protocol: UDP}
";

#[test]
fn a_selected_pod_takes_in_what_is_allowed_and_nothing_else() {
    let mut host = Host::new(&["app=web", "app=client", "app=other"]);
    host.write("web.yaml", WEB);
    host.start(Allow);
    let [web, client, other] = &host.pods[..] else { unreachable!() };
    for port in [53, 80, 81, 8000, 8005, 8010, 8011] {
        web.serve(port);
        other.serve(port);
    }
    for to in ["10.244.0.1", "fd00:244::1"] {
        for (port, allowed) in [(80, true), (8000, true), (8005, true), (8010, true), (81, false), (8011, false)] {
            let passes = if allowed { client.reaches_tcp(to, port) } else { client.tcp(to, port) };
            assert_eq!(passes, allowed, "tcp {to} {port}");
        }
        assert!(client.reaches_udp(to, 53), "{to}");
        assert!(!client.udp(to, 80), "{to}");
        assert!(!client.tcp(to, 53), "{to}");
        assert!(!other.tcp(to, 80), "{to}");
        assert!(!other.udp(to, 53), "{to}");
    }
    // Not selected: everyone may.
    assert!(client.reaches_tcp("10.244.0.3", 81));
    assert!(host.outside.reaches_udp("10.244.0.3", 53));
    assert!(!host.outside.tcp("10.244.0.1", 80));
}

/// `spec` of a policy called `name` that selects all pods of the namespace.
fn everyone(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}}}\nspec:\n  podSelector: {{}}\n{spec}\n"
    )
}

#[test]
fn between_pods_of_one_host_egress_and_ingress_must_both_allow() {
    let mut host = Host::new(&["app=a", "app=b"]);
    host.write(
        "egress.yaml",
        "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: egress-of-a}
spec:
  podSelector: {matchLabels: {app: a}}
  policyTypes: [Egress]
  egress:
  - to: [{podSelector: {matchLabels: {app: b}}}]
    ports: [{port: 80}, {port: 81}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: ingress-of-b}
spec:
  podSelector: {matchLabels: {app: b}}
  ingress:
  - ports: [{port: 81}, {port: 82}]
",
    );
    host.start(Allow);
    let [a, b] = &host.pods[..] else { unreachable!() };
    for port in 80..=82 {
        b.serve(port);
    }
    assert!(a.reaches_tcp("10.244.0.2", 81));
    assert!(!a.tcp("10.244.0.2", 80), "ingress of b does not allow it");
    assert!(!a.tcp("10.244.0.2", 82), "egress of a does not allow it");
    assert!(host.outside.reaches_tcp("10.244.0.2", 82));
}

#[test]
fn a_block_allows_its_addresses_except_its_exceptions() {
    let mut host = Host::new(&["app=web"]);
    let spec = "  ingress: [{from: [{ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.3/32]}}]}]";
    host.write("block.yaml", &everyone("block", spec));
    host.start(Allow);
    host.pods[0].serve(80);
    assert!(host.outside.reaches_tcp("10.244.0.1", 80));
    assert!(!host.outside.tcp("fd00:244::1", 80), "a block of IPv4 says nothing of IPv6");
    host.outside.sh("ip route replace 10.244.0.0/16 via 192.0.2.1 src 192.0.2.3");
    assert!(!host.outside.tcp("10.244.0.1", 80), "from 192.0.2.3");
}

#[test]
fn an_open_connection_outlives_the_policy_that_forbids_new_ones() {
    let mut host = Host::new(&["app=web", "app=client"]);
    host.start(Allow);
    host.pods[0].serve(80);
    let open = host.pods[1].connect_in_time("10.244.0.1", 80);
    host.write("deny.yaml", &everyone("deny", "  policyTypes: [Ingress, Egress]"));
    host.until_in_force("deny.yaml", 1);
    assert!(!host.pods[1].tcp("10.244.0.1", 80));
    open.set_read_timeout(Some(support::DEADLINE)).unwrap();
    assert!(support::answers(&open));
}

#[test]
fn a_removed_document_ends_its_policy() {
    let mut host = Host::new(&["app=web"]);
    host.write("deny.yaml", &everyone("deny", ""));
    host.start(Allow);
    host.pods[0].serve(80);
    assert!(!host.outside.tcp("10.244.0.1", 80));
    std::fs::remove_file(host.directory.join("deny.yaml")).unwrap();
    host.until("no documents", |status| status.documents.is_empty());
    assert!(host.outside.reaches_tcp("10.244.0.1", 80));
}

#[test]
fn a_pods_interface_that_the_ruleset_does_not_know_carries_nothing() {
    let mut host = Host::new(&["app=old"]);
    host.start(Allow);
    host.add_pod("app=new");
    host.pods[0].serve(80);
    host.pods[1].serve(80);
    assert!(!host.pods[1].tcp("10.244.0.1", 80), "from it");
    assert!(!host.pods[0].tcp("10.244.0.2", 80), "to it");
    assert!(!host.pods[1].udp("192.0.2.1", 80), "from it to the host");
    host.set_endpoints().unwrap();
    assert!(host.pods[1].reaches_tcp("10.244.0.1", 80));
    assert!(host.pods[0].reaches_tcp("fd00:244::2", 80));
}

#[test]
fn the_overlays_device_is_no_pods_interface() {
    let mut host = Host::new(&["app=web"]);
    host.namespace.sh("ip link set eth0 down; ip link set eth0 name linnet.vxlan; ip link set linnet.vxlan up");
    host.namespace.sh("ip -6 addr replace 2001:db8::1/64 dev linnet.vxlan nodad");
    host.start(Allow);
    host.pods[0].serve(80);
    host.outside.serve(80);
    assert!(host.outside.reaches_tcp("10.244.0.1", 80), "from the overlay to a pod");
    assert!(host.pods[0].reaches_tcp("192.0.2.2", 80), "from a pod to the overlay");
    host.namespace.serve(81);
    assert!(host.outside.reaches_tcp("192.0.2.1", 81), "from the overlay to the host");
}

#[test]
fn a_pod_cannot_send_from_an_address_that_is_not_its_own() {
    let mut host = Host::new(&["app=honest", "app=liar"]);
    host.start(Allow);
    host.pods[0].serve(80);
    host.namespace.serve(80);
    assert!(host.pods[1].reaches_udp("10.244.0.1", 80));
    // What the servers hear is asked of them, not of the liar, who would never see an answer.
    let heard = host.pods[0].run(|| std::net::UdpSocket::bind("10.244.0.1:99").unwrap());
    let heard_by_host = host.namespace.run(|| std::net::UdpSocket::bind("192.0.2.1:99").unwrap());
    host.pods[1].sh("ip addr add 10.244.0.77/32 dev eth0");
    let lie = |from: &'static str| {
        host.pods[1].run(move || {
            let socket = std::net::UdpSocket::bind((from, 0)).unwrap();
            for to in ["10.244.0.1:99", "192.0.2.1:99"] {
                socket.send_to(from.as_bytes(), to).unwrap();
            }
        });
    };
    lie("10.244.0.77");
    lie("10.244.0.2");
    for socket in [heard, heard_by_host] {
        socket.set_read_timeout(Some(support::DEADLINE)).unwrap();
        let mut buffer = [0; 32];
        // In order: had the lie come through, it would be first.
        let (length, _) = socket.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"10.244.0.2");
    }
}

#[test]
fn the_host_reaches_its_pods_always_and_they_reach_it_as_egress_allows() {
    let mut host = Host::new(&["app=web"]);
    let spec =
        "  policyTypes: [Ingress, Egress]\n  egress: [{to: [{ipBlock: {cidr: 192.0.2.1/32}}], ports: [{port: 80}]}]";
    host.write("deny.yaml", &everyone("deny", spec));
    host.start(Allow);
    host.pods[0].serve(80);
    host.namespace.serve(80);
    host.namespace.serve(81);
    assert!(host.namespace.reaches_tcp("10.244.0.1", 80), "as a probe does");
    assert!(host.namespace.reaches_tcp("fd00:244::1", 80));
    assert!(host.pods[0].reaches_tcp("192.0.2.1", 80));
    assert!(!host.pods[0].tcp("192.0.2.1", 81));
    assert!(!host.pods[0].udp("192.0.2.1", 80));
}

#[test]
fn a_named_port_is_what_the_destination_calls_it() {
    let mut host = Host::new(&["app=web", "app=client"]);
    let spec = "  ingress: [{ports: [{port: http}]}]";
    host.write("http.yaml", &everyone("http", spec));
    host.start(Allow);
    let status = host.status();
    assert!(
        status.warnings[0].starts_with("http.yaml:6: policy default/http allows the TCP port \"http\""),
        "{status:#?}"
    );
    host.pods[0].serve(8080);
    host.pods[0].serve(80);
    assert!(!host.pods[1].tcp("10.244.0.1", 8080));
    host.write(
        "pod.yaml",
        "{apiVersion: v1, kind: Pod, metadata: {name: pod1}, spec: {containers: [{ports: [{name: http, containerPort: 8080}]}]}}",
    );
    host.until_in_force("pod.yaml", 1);
    assert!(host.pods[1].reaches_tcp("10.244.0.1", 8080));
    assert!(host.pods[1].reaches_tcp("fd00:244::1", 8080));
    assert!(!host.pods[1].tcp("10.244.0.1", 80));
    assert!(host.status().warnings.is_empty());
}

#[test]
fn pods_elsewhere_come_and_go_in_sets() {
    let mut host = Host::new(&["app=web"]);
    host.write(
        "web.yaml",
        "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec:
  podSelector: {}
  ingress: [{from: [{namespaceSelector: {matchLabels: {team: blue}}, podSelector: {matchLabels: {app: client}}}]}]
---
{apiVersion: v1, kind: Namespace, metadata: {name: far, labels: {team: blue}}}
",
    );
    host.start(Allow);
    host.pods[0].serve(80);
    assert!(!host.outside.tcp("10.244.0.1", 80));
    let rules = host.namespace.sh("nft -a list chain inet linnet from-pods");
    let pod = |ip: &str| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: c, namespace: far, labels: {{app: client}}}}, status: {{podIP: {ip}}}}}"
        )
    };
    host.write("pods.yaml", &pod("192.0.2.2"));
    host.until_in_force("pods.yaml", 1);
    assert!(host.outside.reaches_tcp("10.244.0.1", 80));
    host.write("pods.yaml", &format!("\n{}", pod("192.0.2.9")));
    host.until_in_force("pods.yaml", 2);
    assert!(!host.outside.tcp("10.244.0.1", 80));
    let after = host.namespace.sh("nft -a list chain inet linnet from-pods");
    assert_eq!(rules, after, "the handles tell that no rule was made anew");
}

#[test]
fn a_document_that_breaks_is_named_and_what_was_in_force_stays() {
    let mut host = Host::new(&["app=web", "app=client"]);
    host.write("web.yaml", WEB);
    host.start(Allow);
    host.pods[0].serve(80);
    host.pods[0].serve(443);
    host.write("web.yaml", &WEB.replace("podSelector: {matchLabels: {app: web}}", "podSelecter: {}"));
    let status = host.until("an error", |status| !status.errors.is_empty());
    assert_eq!(
        status.errors[0].to_string(),
        "web.yaml:5:3: unknown field \"podSelecter\" in spec; did you mean \"podSelector\"?"
    );
    assert!(
        matches!(&status.state, policy::State::Degraded { error } if error.contains("last good version")),
        "{status:#?}"
    );
    assert_eq!(status.documents[0].endpoints, ["default/pod1"]);
    assert!(host.pods[1].reaches_tcp("10.244.0.1", 80));
    assert!(!host.outside.tcp("10.244.0.1", 80));
    // The daemon goes on working with the version that it knows.
    host.add_pod("app=client");
    host.set_endpoints().unwrap();
    assert!(host.pods[2].reaches_tcp("10.244.0.1", 80));
    host.write("web.yaml", &format!("\n{}", WEB.replace("port: 80\n", "port: 443\n")));
    host.until_in_force("web.yaml", 2);
    assert!(host.pods[1].reaches_tcp("10.244.0.1", 443));
    assert!(!host.pods[1].tcp("10.244.0.1", 80));
}

#[test]
fn a_document_that_is_broken_from_the_start_closes_what_it_might_have_closed() {
    let mut host = Host::new(&["app=web", "app=other"]);
    host.write("web.yaml", WEB);
    host.write("broken.yaml", "kind: [");
    host.start(Allow);
    host.pods[0].serve(80);
    host.pods[1].serve(80);
    let status = host.status();
    assert!(matches!(&status.state, policy::State::Degraded { error } if error.contains("broken.yaml")), "{status:#?}");
    assert!(!host.outside.tcp("10.244.0.2", 80));
    // Put right, it closes nothing.
    host.write("broken.yaml", "{apiVersion: v1, kind: Namespace, metadata: {name: x}}");
    host.until_in_force("broken.yaml", 1);
    assert!(host.outside.reaches_tcp("10.244.0.2", 80));
}

#[test]
fn a_folder_that_vanishes_leaves_its_policies_in_force() {
    let mut host = Host::new(&["app=web"]);
    host.write("deny.yaml", &everyone("deny", ""));
    host.start(Allow);
    host.pods[0].serve(80);
    let aside = host.directory.with_extension("aside");
    std::fs::rename(&host.directory, &aside).unwrap();
    host.until("the missing folder", |status| !status.errors.is_empty());
    assert!(!host.outside.tcp("10.244.0.1", 80));
    std::fs::rename(&aside, &host.directory).unwrap();
    host.until_in_force("deny.yaml", 1);
}

#[test]
fn a_folder_that_appears_later_is_read() {
    let mut host = Host::new(&["app=web"]);
    std::fs::remove_dir(&host.directory).unwrap();
    host.start(Allow);
    assert_eq!(host.status().state, policy::State::InForce);
    host.pods[0].serve(80);
    assert!(host.outside.reaches_tcp("10.244.0.1", 80));
    std::fs::create_dir(&host.directory).unwrap();
    host.write("deny.yaml", &everyone("deny", ""));
    host.until_in_force("deny.yaml", 1);
    assert!(!host.outside.tcp("10.244.0.1", 80));
}

#[test]
fn a_folder_mounted_as_a_configmap_changes_by_its_link() {
    let mut host = Host::new(&["app=web"]);
    let directory = host.directory.clone();
    // As the kubelet does: a new folder, then its link renamed over the old one.
    let publish = move |version: &str, text: &str| {
        let folder = directory.join(format!("..{version}"));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("deny.yaml"), text).unwrap();
        std::os::unix::fs::symlink(format!("..{version}"), directory.join("..data_tmp")).unwrap();
        std::fs::rename(directory.join("..data_tmp"), directory.join("..data")).unwrap();
    };
    publish("one", &everyone("deny", ""));
    std::os::unix::fs::symlink("..data/deny.yaml", host.directory.join("deny.yaml")).unwrap();
    host.start(Allow);
    host.until_in_force("deny.yaml", 1);
    publish("two", &format!("\n{}", everyone("deny", "")));
    host.until_in_force("deny.yaml", 2);
}
