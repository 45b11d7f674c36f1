//! The overlay's device.

use fib_sync::OverlayStatus;
use fib_sync::host::DeviceState;

use super::{Finding, Section, View};
use crate::config::OverlayMode;

pub(super) async fn examine(view: &View<'_>) -> Section {
    let mut section = Section { about: "overlay", looked_at: String::new(), findings: Vec::new() };
    if view.config.overlay.mode == OverlayMode::Never {
        section.looked_at = "overlay.mode is \"never\"".into();
        return section;
    }
    let error = view.kernel.forwarding.ask(|state| state.overlay_error.clone()).await.flatten();
    let wanted = view.kernel.forwarding.overlay().borrow().clone();
    let Some(wanted) = wanted else {
        section.looked_at = "there is no device".into();
        section.findings.push(Finding::fault(
            error.unwrap_or_else(|| "there is no overlay device yet".into()),
            "nodes without L2 adjacency are reached by routers that know the pods, or not at all",
            "mend what it says; it is tried again every few seconds",
        ));
        return section;
    };
    section.looked_at = format!("{}, {} octets", wanted.device, wanted.mtu);
    match fib_sync::host::device_state(&wanted.device) {
        Ok(found) => {
            section.findings = judge(&wanted, found);
            section.findings.extend(untunnelled(&wanted, view.config.node.has_ipv6_pods()));
        }
        Err(error) => section.findings.push(Finding::fault(
            error.to_string(),
            "what state the overlay device is in is not known",
            "look at it with `ip -d link show`",
        )),
    }
    section
}

fn judge(wanted: &OverlayStatus, found: Option<DeviceState>) -> Vec<Finding> {
    let device = &wanted.device;
    let lost = "what pods send through the tunnel is lost";
    let who =
        "find who does that (linnetd puts it right at once, and logs it): its log and `ip monitor link` show when";
    match found {
        None => vec![Finding::fault(format!("device {device} is gone"), lost, who)],
        Some(found) if !found.up => vec![Finding::fault(format!("device {device} is switched off"), lost, who)],
        Some(found) if found.mtu != wanted.mtu => vec![Finding::fault(
            format!("the MTU of {device} is {}, wanted {}", found.mtu, wanted.mtu),
            "packets are dropped or split where they need not be",
            who,
        )],
        Some(_) => Vec::new(),
    }
}

/// Pods that the overlay does nothing for.
fn untunnelled(wanted: &OverlayStatus, has_ipv6_pods: bool) -> Option<Finding> {
    let culprit = format!("{} carries no IPv6, and this node has IPv6 pods", wanted.device);
    let consequence =
        "IPv6 pods have no tunnel: routers between nodes have to know their prefixes, or drop what goes to them";
    let next = "set overlay.encapsulation = \"vxlan\" on all nodes, or give node.address the nodes' IPv6 addresses, over which \"ipip\" carries both";
    (has_ipv6_pods && !wanted.encapsulation.carries_ipv6()).then(|| Finding::note(culprit, consequence, next))
}

#[cfg(test)]
mod tests {
    use fib_sync::Encapsulation;

    use super::*;

    fn status(encapsulation: Encapsulation) -> OverlayStatus {
        let (device, local) = (encapsulation.device().into(), [10, 0, 0, 1].into());
        OverlayStatus { device, encapsulation, mtu: 1450, local, key: None }
    }

    #[test]
    fn ipv6_pods_that_the_device_carries_nothing_of_are_noted() {
        let vxlan = status(Encapsulation::Vxlan { vni: 4096, port: 4789 });
        assert_eq!(untunnelled(&vxlan, true), None);
        assert_eq!(untunnelled(&status(Encapsulation::Ip6Tnl), true), None);
        assert_eq!(untunnelled(&status(Encapsulation::IpIp), false), None);
        let found = untunnelled(&status(Encapsulation::IpIp), true).unwrap();
        assert_eq!(found.culprit, "linnet.ipip carries no IPv6, and this node has IPv6 pods");
    }

    #[test]
    fn a_device_that_is_gone_off_or_of_another_mtu_is_a_fault() {
        let wanted = status(Encapsulation::Vxlan { vni: 4096, port: 4789 });
        let found = |mtu, up| judge(&wanted, Some(DeviceState { mtu, up }));
        assert!(found(1450, true).is_empty());
        assert!(found(1400, true)[0].culprit.contains("is 1400, wanted 1450"));
        assert!(found(1450, false)[0].culprit.contains("switched off"));
        assert!(judge(&wanted, None)[0].culprit.contains("gone"));
    }
}
