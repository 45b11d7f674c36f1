//! Whether packets as long as routes announce reach tunnels' ends and next hops: some are sent.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use fib_sync::path_probe::{Passage, Said, probe};
use fib_sync::{OverlayStatus, RouteStatus};
use futures_util::StreamExt;

use super::{Finding, Progress, Section, View, counted};

/// Ways that are probed, those with most routes first, and how many at a time: with the bounds of one probe, half a minute and
/// some 9,000 packets where all of them are bad, and 128 packets where they are good.
const PATHS: usize = 64;
const AT_A_TIME: usize = 8;
/// Names that are listed.
const NAMED: usize = 4;
/// What overlay.mtu and fib.mtu may be at the least.
const SMALLEST: u32 = 1280;

/// A way out, by what it is probed at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    address: IpAddr,
    device: String,
    /// `None`: a next hop on a link.
    tunnel: Option<&'static str>,
}

/// How long packets may be there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Promise {
    /// Of the whole packet on the wire, octets.
    outside: u32,
    /// Of what pods send, octets.
    inside: u32,
    routes: usize,
}

pub(super) async fn examine(view: &View<'_>) -> Section {
    let overlay = view.kernel.forwarding.overlay().borrow().clone();
    let device = |name: &str| fib_sync::host::device_state(name).ok().flatten().map(|device| device.mtu);
    let promises = promises(view.routes, overlay.as_ref(), device);
    let all = promises.len();
    let mut ways: Vec<(Key, Promise)> = promises.into_iter().collect();
    ways.sort_by_key(|(_, promise)| std::cmp::Reverse(promise.routes));
    ways.truncate(PATHS);
    let of = ways.len();
    let tell = |done| {
        let _ = view.tell.try_send(Progress { about: "paths", done, of });
    };
    tell(0);
    let mut probed: Vec<(Key, Promise, io::Result<Passage>)> = futures_util::stream::iter(ways)
        .map(|(key, promise)| async {
            let link_local = matches!(key.address, IpAddr::V6(address) if address.is_unicast_link_local());
            let passage = probe(key.address, link_local.then(|| key.device.clone()), promise.outside).await;
            (key, promise, passage)
        })
        .buffer_unordered(AT_A_TIME)
        .enumerate()
        .map(|(done, probed)| {
            tell(done + 1);
            probed
        })
        .collect()
        .await;
    probed.sort_by(|(one, ..), (other, ..)| one.cmp(other));
    let left_out = if all > of { format!(", {} more not probed", all - of) } else { String::new() };
    Section { about: "paths", looked_at: format!("{} probed{left_out}", counted(of, "way")), findings: judge(&probed) }
}

/// What routes say of each way out. `device`: the MTU of one, by its name.
fn promises(
    routes: &[RouteStatus],
    overlay: Option<&OverlayStatus>,
    device: impl Fn(&str) -> Option<u32>,
) -> BTreeMap<Key, Promise> {
    let mut promises: BTreeMap<Key, Promise> = BTreeMap::new();
    let mut devices: BTreeMap<String, Option<u32>> = BTreeMap::new();
    for route in routes.iter().filter(|route| route.installed) {
        for hop in &route.hops {
            let name = hop.device.to_string();
            let (key, inside, outside) = match (hop.tunnel, hop.via, overlay) {
                (Some(end), _, Some(overlay)) => {
                    let inside = route.mtu.unwrap_or(overlay.mtu);
                    let key = Key { address: end.endpoint(), device: name, tunnel: Some(end.encapsulation()) };
                    (key, inside, overlay.outside(inside))
                }
                (None, Some(via), _) => {
                    let takes = *devices.entry(name.clone()).or_insert_with_key(|name| device(name));
                    let Some(inside) = route.mtu.or(takes) else { continue };
                    (Key { address: via, device: name, tunnel: None }, inside, inside)
                }
                // A pod's own device, or a tunnel whose device went away just now.
                (None, None, _) | (Some(_), _, None) => continue,
            };
            let promise = promises.entry(key).or_insert(Promise { outside, inside, routes: 0 });
            promise.outside = promise.outside.max(outside);
            promise.inside = promise.inside.max(inside);
            promise.routes += 1;
        }
    }
    promises
}

fn judge(probed: &[(Key, Promise, io::Result<Passage>)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (mut silent, mut failed): (Vec<String>, BTreeMap<String, Vec<String>>) = (Vec::new(), BTreeMap::new());
    for (key, promise, passage) in probed {
        match passage {
            Ok(Passage::Whole) => {}
            Ok(Passage::Less { octets, said }) => findings.push(liar(key, promise, *octets, *said)),
            Ok(Passage::Silent) => silent.push(key.address.to_string()),
            Err(error) => failed.entry(error.to_string()).or_default().push(key.address.to_string()),
        }
    }
    if !silent.is_empty() {
        findings.push(Finding::note(
            format!("no answer to echo requests from {}", named(&silent)),
            "how long packets may be on the way there is not known",
            "let ICMP echo pass between nodes, if it is to be known",
        ));
    }
    for (error, addresses) in failed {
        findings.push(Finding::note(
            format!("no echo request could be sent to {}: {error}", named(&addresses)),
            "how long packets may be on the way there is not known",
            "give linnetd CAP_NET_RAW if it says that it is not permitted; else look at `linnet route get` for the address",
        ));
    }
    findings
}

/// A way on which less passes than is said.
fn liar(key: &Key, promise: &Promise, passes: u32, said: Said) -> Finding {
    let Key { address, device, tunnel } = key;
    let Promise { outside, inside, routes } = promise;
    let what = match tunnel {
        Some(encapsulation) => format!("{address}, the end of a tunnel ({encapsulation})"),
        None => format!("the next hop {address} on {device}"),
    };
    let who = match said {
        Said::Router(router, octets) => format!("router {router} says that it takes {octets}"),
        Said::ThisHost(octets) => format!("this host's device that leads there takes {octets}"),
        Said::Nobody => "and nobody says why".to_owned(),
    };
    let routes = counted(*routes, "route");
    let inner = passes.saturating_sub(outside - inside);
    let fate = match said {
        Said::Nobody => "vanish without a word: connections open, and hang as soon as they carry much",
        Said::Router(..) | Said::ThisHost(_) => {
            "are split on the way, or dropped until their sender has learned better"
        }
    };
    let key = match tunnel {
        Some(_) => format!("overlay.mtu = {inner} on the nodes at both ends"),
        None => format!("fib.mtu = {inner} on this node and those behind it"),
    };
    let lower = if inner >= SMALLEST { format!(", or set {key}") } else { String::new() };
    Finding::fault(
        format!("packets of {outside} octets do not reach {what}; those of {passes} do, {who}"),
        format!("{routes} by it announce {inside} octets, and packets of more than {inner} {fate}"),
        format!("let everything on the way carry {outside} octets{lower}"),
    )
}

/// The first few of them.
fn named(names: &[String]) -> String {
    let first = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fib_sync::{Encapsulation, PathId, ResolvedHop, Target, TunnelEnd, Weight};

    use super::super::Severity;
    use super::*;

    fn overlay() -> OverlayStatus {
        OverlayStatus {
            device: "linnet.vxlan".into(),
            encapsulation: Encapsulation::Vxlan { vni: 4096, port: 4789 },
            mtu: 1450,
            local: [10, 1, 0, 2].into(),
            key: None,
        }
    }

    fn route(
        prefix: &str,
        mtu: Option<u32>,
        via: Option<&str>,
        device: &str,
        tunnel: Option<TunnelEnd>,
    ) -> RouteStatus {
        let via = via.map(|via| via.parse().unwrap());
        RouteStatus {
            prefix: prefix.parse().unwrap(),
            path_id: PathId(0),
            path: Some(Arc::new(Target::Forward(Vec::new()).into())),
            installed: true,
            error: None,
            hops: vec![ResolvedHop { via, device: device.into(), tunnel, weight: Weight::ONE }],
            backup: None,
            mtu,
            repairs: 0,
        }
    }

    fn end() -> TunnelEnd {
        TunnelEnd::Vxlan { endpoint: [10, 2, 0, 2].into(), vni: 4096, mac: [2, 0, 0, 0, 0, 1] }
    }

    #[test]
    fn ways_are_probed_with_the_longest_packets_that_any_route_by_them_announces() {
        let routes = [
            route("10.244.2.0/24", Some(1400), Some("10.2.0.2"), "linnet.vxlan", Some(end())),
            route("10.244.3.0/24", Some(1450), Some("10.2.0.2"), "linnet.vxlan", Some(end())),
            route("203.0.113.0/24", None, Some("10.1.0.1"), "eth0", None),
            route("10.244.1.5/32", None, None, "lin0123456789a", None),
        ];
        let found = promises(&routes, Some(&overlay()), |name| (name == "eth0").then_some(9000));
        let shown: Vec<String> = found
            .iter()
            .map(|(key, promise)| format!("{} {} {} {}", key.address, promise.outside, promise.inside, promise.routes))
            .collect();
        assert_eq!(shown, ["10.1.0.1 9000 9000 1", "10.2.0.2 1500 1450 2"]);
    }

    fn judged(tunnel: bool, passage: io::Result<Passage>) -> Vec<Finding> {
        let tunnel = tunnel.then_some("vxlan");
        let key = Key { address: [10, 2, 0, 2].into(), device: "eth0".into(), tunnel };
        let (inside, outside) = if tunnel.is_some() { (1450, 1500) } else { (9000, 9000) };
        judge(&[(key, Promise { outside, inside, routes: 3 }, passage)])
    }

    #[test]
    fn a_way_that_takes_less_is_a_fault_that_says_how_much_who_says_so_and_what_to_set() {
        let router = Said::Router([10, 1, 0, 1].into(), 1400);
        insta::assert_debug_snapshot!([
            judged(true, Ok(Passage::Less { octets: 1400, said: router })),
            judged(true, Ok(Passage::Less { octets: 1300, said: Said::Nobody })),
            judged(false, Ok(Passage::Less { octets: 1500, said: Said::ThisHost(1500) })),
        ]);
    }

    #[test]
    fn what_passes_is_nothing_to_tell_and_what_is_not_known_a_note() {
        assert!(judged(true, Ok(Passage::Whole)).is_empty());
        for unknown in [Ok(Passage::Silent), Err(io::Error::from_raw_os_error(1))] {
            let found = judged(true, unknown);
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].severity, Severity::Note, "{found:?}");
        }
    }
}
