//! Whether the kernel drops packets for where they come from (`rp_filter`), which go through a tunnel one way and beside it
//! the other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use fib_sync::host::{ReversePath, reverse_path};

use super::{Finding, Section, View, counted};

/// Tunnels whose way out is asked for.
const ENDS: usize = 256;

/// Only a default route leads to it (RFC 5737).
const ANYWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// Devices, and how each is checked.
type Devices = BTreeMap<String, ReversePath>;

pub(super) async fn examine(view: &View<'_>) -> Section {
    let overlay = view.kernel.forwarding.overlay().borrow().clone();
    let hops = || view.routes.iter().filter(|route| route.prefix.is_ipv4()).flat_map(|route| &route.hops);
    let ends: BTreeSet<IpAddr> = hops().filter_map(|hop| Some(hop.tunnel?.endpoint())).collect();
    let mut outside = Devices::new();
    for end in ends.into_iter().take(ENDS) {
        outside.extend(way_out(view, end).await);
    }
    // Pods' own interfaces have no gateway.
    let by_gateway = hops().filter(|hop| hop.tunnel.is_none() && hop.via.is_some());
    let names: BTreeSet<&str> = by_gateway.map(|hop| &*hop.device).collect();
    let mut ways: Devices = names.into_iter().map(|name| (name.to_owned(), checked(name))).collect();
    if !ways.is_empty() {
        ways.extend(way_out(view, ANYWHERE.into()).await);
    }
    // What only the kernel's answer for a tunnel's end says, which is nothing where none is in use.
    let tunnel = overlay.filter(|_| !outside.is_empty());
    let tunnel = tunnel.map(|overlay| (reverse_path(&overlay.device).unwrap_or(ReversePath::Loose), overlay.device));
    let uplinks = ways.keys().chain(outside.keys()).collect::<BTreeSet<_>>().len();
    let through = tunnel.as_ref().map(|(_, device)| format!("{device} and ")).unwrap_or_default();
    Section {
        about: "reverse paths",
        looked_at: format!("{through}{}", counted(uplinks, "uplink")),
        findings: judge(tunnel.as_ref().map(|(checked, device)| (device.as_str(), *checked)), &outside, &ways),
    }
}

/// By which device the kernel sends there.
async fn way_out(view: &View<'_>, to: IpAddr) -> Option<(String, ReversePath)> {
    let device = view.kernel.forwarding.fib().get(to).await.ok()?.device?;
    let checked = checked(&device);
    Some((device, checked))
}

/// A device that went away meanwhile checks nothing.
fn checked(device: &str) -> ReversePath {
    reverse_path(device).unwrap_or(ReversePath::Unchecked)
}

/// `overlay`: its device. `outside`: by which tunnels leave. `ways`: by which routes and the default route leave without a tunnel.
fn judge(overlay: Option<(&str, ReversePath)>, outside: &Devices, ways: &Devices) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some((overlay, ReversePath::Strict)) = overlay {
        findings.push(Finding::fault(
            format!("net.ipv4.conf.{overlay}.rp_filter is not 2, and reverse paths are checked strictly there"),
            "what other hosts send to pods here, and their answers to pods, is dropped",
            "find who sets it (sysctl.d by systemd-udevd, as a rule): linnetd puts it back within a second",
        ));
    }
    let is_strict = |(_, checked): &(&String, &ReversePath)| **checked == ReversePath::Strict;
    let strictly = |device: &str| {
        format!(
            "reverse paths are checked strictly on {device} (net.ipv4.conf.all.rp_filter or net.ipv4.conf.{device}.rp_filter is 1)"
        )
    };
    let loosen = |device: &str| {
        format!(
            "sysctl -w net.ipv4.conf.{device}.rp_filter=2, and the same in /etc/sysctl.d; it counts before the 1 of all"
        )
    };
    for (device, _) in outside.iter().filter(is_strict) {
        findings.push(Finding::fault(
            strictly(device),
            "what pods of other nodes send to this host's own address is dropped, because the way back is the tunnel; pods reach pods",
            loosen(device),
        ));
    }
    // A host with one uplink has its answers leave by the device by which everything comes.
    for (device, _) in
        ways.iter().filter(is_strict).filter(|(device, _)| ways.len() > 1 && !outside.contains_key(*device))
    {
        let others: Vec<&str> = ways.keys().map(String::as_str).filter(|other| other != device).collect();
        findings.push(Finding::note(
            format!("{}, and routes leave by {} too", strictly(device), others.join(", ")),
            format!(
                "the kernel drops, without a word, what comes by {device} from where its route leads by another device only, as where \
                 others choose another way than this host, and while a way moves; a route that has both (ECMP, a backup) is no such one"
            ),
            loosen(device),
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices<const N: usize>(of: [(&str, ReversePath); N]) -> Devices {
        of.map(|(device, checked)| (device.to_owned(), checked)).into()
    }

    #[test]
    fn a_strict_check_is_a_fault_on_the_tunnel_and_on_uplinks_and_a_loose_one_is_none() {
        let judged = |tunnel, uplink| judge(Some(("linnet.vxlan", tunnel)), &devices([("eth0", uplink)]), &devices([]));
        assert!(judged(ReversePath::Loose, ReversePath::Loose).is_empty());
        assert!(judged(ReversePath::Unchecked, ReversePath::Unchecked).is_empty());
        let found = judged(ReversePath::Loose, ReversePath::Strict);
        assert!(found.len() == 1 && found[0].next_step.contains("conf.eth0.rp_filter=2"), "{found:?}");
        assert_eq!(judged(ReversePath::Strict, ReversePath::Strict).len(), 2);
    }

    #[test]
    fn without_a_tunnel_a_strict_check_is_noted_where_routes_leave_by_several_devices() {
        let (strict, loose) = (ReversePath::Strict, ReversePath::Loose);
        assert_eq!(judge(None, &devices([]), &devices([("eth0", strict)])), []);
        assert_eq!(judge(None, &devices([]), &devices([("eth0", loose), ("eth1", loose)])), []);
        let found = judge(None, &devices([]), &devices([("eth0", loose), ("eth1", strict)]));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].severity, super::super::Severity::Note);
        assert!(found[0].culprit.contains("on eth1") && found[0].culprit.ends_with("leave by eth0 too"), "{found:?}");
        // One finding a device.
        let found = judge(
            Some(("linnet.vxlan", loose)),
            &devices([("eth1", strict)]),
            &devices([("eth0", loose), ("eth1", strict)]),
        );
        assert!(found.len() == 1 && found[0].severity == super::super::Severity::Fault, "{found:?}");
    }
}
