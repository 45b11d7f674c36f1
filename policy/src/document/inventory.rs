//! `Namespace` and `Pod` (v1): who carries which labels and addresses. Of a pod only what policy needs is read.

use std::net::IpAddr;

use super::names::{NAMESPACE_NAME_LABEL, is_port_name};
use super::read::Reader;
use super::tree::Node;
use super::{Namespace, Origin, Pod, PodPort, Protocol};

const TOP: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];

impl Reader {
    pub(super) fn namespace(&mut self, node: &Node, origin: Origin) -> Option<Namespace> {
        let fields = self.fields(node, "", &TOP)?;
        let metadata = self.required(&fields, "metadata", "").and_then(|node| self.metadata(node, false))?;
        let mut labels = metadata.labels;
        labels.insert(NAMESPACE_NAME_LABEL.into(), metadata.name.clone());
        Some(Namespace { origin, name: metadata.name, labels })
    }

    pub(super) fn pod(&mut self, node: &Node, origin: Origin) -> Option<Pod> {
        let fields = self.fields(node, "", &TOP)?;
        let metadata = self.required(&fields, "metadata", "").and_then(|node| self.metadata(node, true));
        let (mut ports, mut host_network) = (Vec::new(), false);
        if let Some(spec) = fields.get("spec") {
            let spec = self.some_fields(spec, "spec", &["containers", "initContainers", "hostNetwork"])?;
            // Sidecars are init containers that keep running, and their ports are the pod's.
            for list in ["containers", "initContainers"] {
                if let Some(node) = spec.get(list) {
                    self.containers(node, &format!("spec.{list}"), &mut ports);
                }
            }
            if let Some(node) = spec.get("hostNetwork") {
                host_network = self.truth(node, "spec.hostNetwork")?;
            }
        }
        let (mut addresses, mut ended) = (Vec::new(), false);
        if let Some(status) = fields.get("status") {
            let status = self.some_fields(status, "status", &["podIP", "podIPs", "phase", "hostIP", "hostIPs"])?;
            if let Some(node) = status.get("podIP") {
                addresses.extend(self.address(node, "status.podIP"));
            }
            if let Some(node) = status.get("podIPs") {
                for (item, path) in self.list(node, "status.podIPs") {
                    let Some(entry) = self.fields(item, &path, &["ip"]) else { continue };
                    if let Some(node) = self.required(&entry, "ip", &path) {
                        addresses.extend(self.address(node, &format!("{path}.ip")));
                    }
                }
            }
            if let Some(node) = status.get("phase") {
                // An ended pod's address may be another's by now.
                ended = matches!(self.text(node, "status.phase")?, "Succeeded" | "Failed");
            }
        }
        addresses.sort();
        addresses.dedup();
        if host_network || ended {
            addresses.clear();
        }
        ports.sort();
        ports.dedup();
        let metadata = metadata?;
        Some(Pod {
            origin,
            namespace: metadata.namespace,
            name: metadata.name,
            labels: metadata.labels,
            addresses,
            ports,
        })
    }

    fn containers(&mut self, node: &Node, path: &str, ports: &mut Vec<PodPort>) {
        for (container, path) in self.list(node, path) {
            let Some(container) = self.some_fields(container, &path, &["ports"]) else { continue };
            let Some(node) = container.get("ports") else { continue };
            for (item, path) in self.list(node, &format!("{path}.ports")) {
                ports.extend(self.container_port(item, &path));
            }
        }
    }

    fn container_port(&mut self, node: &Node, path: &str) -> Option<PodPort> {
        let fields = self.fields(node, path, &["name", "containerPort", "protocol", "hostPort", "hostIP"])?;
        let number = self
            .required(&fields, "containerPort", path)
            .and_then(|node| self.port(node, &format!("{path}.containerPort")));
        let protocol = match fields.get("protocol") {
            None => Some(Protocol::Tcp),
            Some(node) => self.protocol(node, &format!("{path}.protocol")),
        };
        let node = fields.get("name")?;
        let name = self.text(node, &format!("{path}.name"))?;
        if !is_port_name(name) {
            self.error(
                node.at,
                format!(
                    "{path}.name {name:?} is not a port's name: at most 15 lower-case letters, digits and '-', with a letter among them"
                ),
            );
            return None;
        }
        Some(PodPort { name: name.to_owned(), protocol: protocol?, number: number? })
    }

    fn address(&mut self, node: &Node, path: &str) -> Option<IpAddr> {
        let text = self.text(node, path)?;
        let address = text.parse().ok();
        if address.is_none() {
            self.error(node.at, format!("{path} {text:?} is not an address"));
        }
        address
    }

    fn truth(&mut self, node: &Node, path: &str) -> Option<bool> {
        use super::tree::{Kind, Value};
        match &node.value {
            Value::Scalar(scalar) if scalar.kind() == Kind::Boolean => {
                Some(["true", "yes", "on"].iter().any(|word| scalar.text.eq_ignore_ascii_case(word)))
            }
            _ => {
                self.error(node.at, format!("{path} must be true or false"));
                None
            }
        }
    }
}
