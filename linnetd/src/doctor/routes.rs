//! Routes that are not in the kernel as wanted, and why.

use std::collections::{BTreeMap, BTreeSet};

use fib_sync::{PathId, RouteStatus, Target};

use super::{Finding, Section, View, counted};
use crate::routes::{Verdict, Way};

/// Findings that name a route each; what has the same reason is counted.
const NAMED: usize = 16;

/// IPv4 routes above which it is felt how often the kernel waits while its table is changed.
const MANY: usize = 50_000;
/// Octets of `net.ipv4.fib_sync_mem` with which it waits seldom: all that it takes.
const BACKLOG: u64 = 64 << 20;

/// `unresolved`: prefixes that BGP keeps out of the kernel, because no path has a next hop in reach.
pub(super) async fn examine(view: &View<'_>, unresolved: usize) -> Section {
    let nowhere: BTreeSet<PathId> =
        view.routes.iter().filter(|route| leads_nowhere(route)).map(|route| route.path_id).collect();
    let ways = view.kernel.forwarding.ask(move |state| {
        nowhere.into_iter().filter_map(|path| Some((path, reasons(&state.routes.ways(path)?)))).collect()
    });
    let ways: BTreeMap<PathId, String> = ways.await.unwrap_or_default();
    let installed = view.routes.iter().filter(|route| route.installed).count();
    let mut findings = judge(view.routes, &ways);
    findings.extend(out_of_reach(unresolved));
    let totals = view.kernel.forwarding.fib().totals().await;
    if let Some(last) = totals.comparisons.last.filter(|last| last.unrepaired > 0) {
        findings.push(Finding::fault(
            format!(
                "{} found {} s ago between the kernel and what is wanted",
                counted(last.unrepaired, "difference"),
                last.ago.as_secs()
            ),
            "packets may take other ways than BGP chose",
            "run `linnet route check`, which names each of them",
        ));
    }
    if view.config.fib.next_hop_objects && !fib_sync::host::has_next_hop_objects().unwrap_or(true) {
        findings.push(Finding::note(
            "this kernel has no next-hop objects (Linux 5.3 and newer have)",
            "when a link fails, routes by it are written one by one",
            "use a newer kernel, if there are very many routes",
        ));
    }
    let many = view.routes.iter().filter(|route| route.prefix.is_ipv4()).count();
    findings.extend(fib_sync::host::fib_backlog().and_then(|backlog| slow_table(many, backlog)));
    let looked_at = format!("{}, {installed} in the kernel", counted(view.routes.len(), "route"));
    Section { about: "routes", looked_at, findings }
}

fn leads_nowhere(route: &RouteStatus) -> bool {
    route.path.as_ref().is_none_or(|path| path.target == Target::Unreachable)
}

fn reasons(ways: &[(Way, Verdict)]) -> String {
    let reasons: Vec<&str> = ways.iter().map(|(_, verdict)| verdict.reason.as_str()).collect();
    reasons.join("; ")
}

fn out_of_reach(prefixes: usize) -> Option<Finding> {
    let culprit = format!("no next hop is in reach for {} that peers announce", counted(prefixes, "route"));
    let consequence = "there is no route to them in the kernel, and other peers do not hear of them";
    let next = "`linnet route list` says next hop by next hop why; give this host a way there, or let the peer announce itself as next hop";
    (prefixes > 0).then(|| Finding::fault(culprit, consequence, next))
}

/// `routes`: of IPv4, which alone has such a table.
fn slow_table(routes: usize, backlog: u64) -> Option<Finding> {
    let culprit = format!("net.ipv4.fib_sync_mem is {backlog}, and this host has {routes} IPv4 routes");
    let consequence = "while they are written, the kernel stops again and again until nobody reads what it has replaced: a whole \
                       table takes up to half as long again";
    let next = format!("`sysctl net.ipv4.fib_sync_mem={BACKLOG}`, if the host can spare that much memory for a moment");
    (routes > MANY && backlog < BACKLOG / 4).then(|| Finding::note(culprit, consequence, next))
}

/// `ways`: why paths that lead nowhere do so.
fn judge(routes: &[RouteStatus], ways: &BTreeMap<PathId, String>) -> Vec<Finding> {
    let mut by_reason: BTreeMap<(&str, bool), Vec<&RouteStatus>> = BTreeMap::new();
    for route in routes {
        if let Some(reason) = route.error.as_deref().or_else(|| ways.get(&route.path_id).map(String::as_str)) {
            let there = route.installed && !ways.contains_key(&route.path_id);
            by_reason.entry((reason, there)).or_default().push(route);
        }
    }
    let reasons = by_reason.len();
    let mut findings: Vec<Finding> = by_reason
        .into_iter()
        .take(NAMED)
        .map(|((reason, there), routes)| {
            let first = routes.first().map(|route| route.prefix.to_string()).unwrap_or_default();
            let others = match routes.len() {
                0 | 1 => String::new(),
                some => format!(" and {} more", some - 1),
            };
            let consequence = if there {
                "the route is in the kernel, and not in all as it should be"
            } else {
                "packets to it go by a less precise route, or are refused"
            };
            let next = "mend what it says; it is tried again by itself, and at once by `linnet route check`";
            Finding::fault(format!("{first}{others}: {reason}"), consequence, next)
        })
        .collect();
    if reasons > NAMED {
        findings.push(Finding::fault(
            format!("routes with {} besides", counted(reasons - NAMED, "other reason")),
            "as above",
            "`linnet route list` shows all of them",
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn route(prefix: &str, path: u32, error: Option<&str>) -> RouteStatus {
        RouteStatus {
            prefix: prefix.parse().unwrap(),
            path_id: PathId(path),
            path: Some(Arc::new(Target::Forward(Vec::new()).into())),
            installed: error.is_none(),
            error: error.map(str::to_owned),
            hops: Vec::new(),
            backup: None,
            mtu: None,
            repairs: 0,
        }
    }

    #[test]
    fn prefixes_without_a_next_hop_in_reach_are_one_fault_that_says_how_many() {
        assert_eq!(out_of_reach(0), None);
        let found = out_of_reach(2).unwrap();
        assert_eq!(found.culprit, "no next hop is in reach for 2 routes that peers announce");
    }

    #[test]
    fn a_kernel_that_waits_often_is_noted_where_there_are_very_many_routes() {
        for (routes, backlog, noted) in [
            (MANY, 512 << 10, false),
            (MANY + 1, 512 << 10, true),
            (MANY + 1, 16 << 20, false),
            (MANY + 1, BACKLOG, false),
        ] {
            assert_eq!(slow_table(routes, backlog).is_some(), noted, "{routes} routes, {backlog}");
        }
        let found = slow_table(500_000, 512 << 10).unwrap();
        assert_eq!(found.culprit, "net.ipv4.fib_sync_mem is 524288, and this host has 500000 IPv4 routes");
    }

    #[test]
    fn routes_that_wait_are_named_once_a_reason() {
        let routes = [
            route("10.1.0.0/16", 1, Some("no carrier")),
            route("10.2.0.0/16", 1, Some("no carrier")),
            route("10.3.0.0/16", 2, None),
            route("10.4.0.0/16", 3, None),
        ];
        assert!(judge(&routes[2..3], &BTreeMap::new()).is_empty());
        let found = judge(&routes, &BTreeMap::from([(PathId(3), "it announces no key".to_owned())]));
        let culprits: Vec<&str> = found.iter().map(|finding| finding.culprit.as_str()).collect();
        assert_eq!(culprits, ["10.4.0.0/16: it announces no key", "10.1.0.0/16 and 1 more: no carrier"]);
        assert!(found.iter().all(|finding| finding.consequence.contains("less precise")), "{found:?}");
    }
}
