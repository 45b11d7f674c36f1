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
            assert_eq!(client.tcp(to, port), allowed, "tcp {to} {port}");
        }
        assert!(client.udp(to, 53), "{to}");
        assert!(!client.udp(to, 80), "{to}");
        assert!(!client.tcp(to, 53), "{to}");
        assert!(!other.tcp(to, 80), "{to}");
        assert!(!other.udp(to, 53), "{to}");
    }
    // Not selected: everyone may.
    assert!(client.tcp("10.244.0.3", 81));
    assert!(host.outside.udp("10.244.0.3", 53));
    assert!(!host.outside.tcp("10.244.0.1", 80));
}
