//! Whether the kernel drops packets for where they come from (`rp_filter`), which go through a tunnel one way and beside it
//! the other.

use std::collections::BTreeMap;

use fib_sync::host::{ReversePath, reverse_path};

use super::{Finding, Section, View, counted};

/// Tunnels whose way out is asked for.
const ENDS: usize = 256;

pub(super) async fn examine(view: &View<'_>) -> Section {
    let mut section = Section { about: "reverse paths", looked_at: "no tunnel is in use".into(), findings: Vec::new() };
    let Some(overlay) = view.kernel.forwarding.overlay().borrow().clone() else { return section };
    let ipv4 = view.routes.iter().filter(|route| route.prefix.is_ipv4());
    let ends: std::collections::BTreeSet<_> =
        ipv4.flat_map(|route| &route.hops).filter_map(|hop| Some(hop.tunnel?.endpoint())).collect();
    if ends.is_empty() {
        return section;
    }
    let mut uplinks = BTreeMap::new();
    for end in ends.into_iter().take(ENDS) {
        let answer = view.kernel.forwarding.fib().get(end).await;
        if let Some(device) = answer.ok().and_then(|answer| answer.device) {
            // A device that went away meanwhile checks nothing.
            let checked = reverse_path(&device).unwrap_or(ReversePath::Unchecked);
            uplinks.insert(device, checked);
        }
    }
    section.looked_at = format!("{} and {}", overlay.device, counted(uplinks.len(), "uplink"));
    let tunnel = reverse_path(&overlay.device).unwrap_or(ReversePath::Loose);
    section.findings = judge(&overlay.device, tunnel, &uplinks);
    section
}

fn judge(overlay: &str, tunnel: ReversePath, uplinks: &BTreeMap<String, ReversePath>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if tunnel == ReversePath::Strict {
        findings.push(Finding::fault(
            format!("net.ipv4.conf.{overlay}.rp_filter is not 2, and reverse paths are checked strictly there"),
            "what other hosts send to pods here, and their answers to pods, is dropped",
            "find who sets it (sysctl.d by systemd-udevd, as a rule): linnetd puts it back within a second",
        ));
    }
    for (device, _) in uplinks.iter().filter(|(_, checked)| **checked == ReversePath::Strict) {
        findings.push(Finding::fault(
            format!("reverse paths are checked strictly on {device} (net.ipv4.conf.all.rp_filter or net.ipv4.conf.{device}.rp_filter is 1)"),
            "what pods of other nodes send to this host's own address is dropped, because the way back is the tunnel; pods reach pods",
            format!("sysctl -w net.ipv4.conf.{device}.rp_filter=2, and the same in /etc/sysctl.d; it counts before the 1 of all"),
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strict_check_is_a_fault_on_the_tunnel_and_on_uplinks_and_a_loose_one_is_none() {
        let uplinks = |checked| BTreeMap::from([("eth0".to_owned(), checked)]);
        assert!(judge("linnet.vxlan", ReversePath::Loose, &uplinks(ReversePath::Loose)).is_empty());
        assert!(judge("linnet.vxlan", ReversePath::Unchecked, &uplinks(ReversePath::Unchecked)).is_empty());
        let found = judge("linnet.vxlan", ReversePath::Loose, &uplinks(ReversePath::Strict));
        assert!(found.len() == 1 && found[0].next_step.contains("conf.eth0.rp_filter=2"), "{found:?}");
        assert_eq!(judge("linnet.vxlan", ReversePath::Strict, &uplinks(ReversePath::Strict)).len(), 2);
    }
}
