//! RPKI caches that are not to be had, and what still counts of what they said.

use bgp_proto::rtr::CacheState;
use bgpd::CacheStatus;

use super::{Finding, Section, counted};
use crate::daemon::Daemon;

/// Nothing to look at where none is configured.
pub(super) async fn examine(daemon: &Daemon) -> Option<Section> {
    let caches = daemon.bgp().caches().await;
    (!caches.is_empty()).then(|| Section {
        about: "caches",
        looked_at: counted(caches.len(), "RPKI cache"),
        findings: caches.iter().filter_map(|cache| judge(cache, &caches)).collect(),
    })
}

fn judge(cache: &CacheStatus, all: &[CacheStatus]) -> Option<Finding> {
    let why = cache.last_error.as_ref().filter(|_| cache.state != CacheState::Synchronised)?;
    let (name, address, port) = (&cache.config.name, cache.config.address, cache.config.port);
    let culprit = format!("the RPKI cache {name} ({address}, TCP port {port}) is not to be had: {why}");
    let next = "see that it runs and answers there, and speaks RPKI-RTR; linnet bgp rpki -o wide shows how far it is";
    let [.., expire] = cache.intervals;
    let another = all.iter().find(|other| other.in_use && other.config.name != *name);
    Some(match (cache.in_use.then_some(cache.updated).flatten(), another) {
        (None, Some(another)) => {
            Finding::note(culprit, format!("nothing for now: what {} says counts", another.config.name), next)
        }
        (Some(ago), _) => {
            let left = expire.saturating_sub(ago).as_secs();
            Finding::fault(
                culprit,
                format!("what it said {} s ago counts for {left} s more, and then no more", ago.as_secs()),
                next,
            )
        }
        (None, None) => Finding::fault(
            culprit,
            "no cache has said anything that counts: every route is not-found, and a filter that rejects what is invalid rejects nothing",
            next,
        ),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bgp_proto::rtr::ClientConfig;

    use super::super::Severity;
    use super::*;

    fn cache(name: &str, in_use: bool, why: Option<&str>) -> CacheStatus {
        CacheStatus {
            config: bgpd::CacheConfig {
                name: name.into(),
                address: [192, 0, 2, 10].into(),
                port: 323,
                preference: 1,
                client: ClientConfig { refresh: None, retry: None, expire: None, max_vrps: 10 },
            },
            state: if why.is_some() { CacheState::Down } else { CacheState::Synchronised },
            in_use,
            version: None,
            serial: None,
            vrps: 3,
            updated: in_use.then_some(Duration::from_secs(40)),
            intervals: [300, 300, 600].map(Duration::from_secs),
            last_error: why.map(str::to_owned),
        }
    }

    #[test]
    fn a_cache_that_is_away_is_a_fault_unless_another_one_counts() {
        let refused = Some("connection refused");
        let [well, counts, empty] = [cache("a", true, None), cache("b", true, refused), cache("c", false, refused)];
        assert_eq!(judge(&well, &[well.clone(), empty.clone()]), None);
        let found = judge(&counts, &[]).unwrap();
        assert_eq!(found.severity, Severity::Fault);
        assert_eq!(found.culprit, "the RPKI cache b (192.0.2.10, TCP port 323) is not to be had: connection refused");
        assert_eq!(found.consequence, "what it said 40 s ago counts for 560 s more, and then no more");
        let found = judge(&empty, &[]).unwrap();
        assert_eq!(found.severity, Severity::Fault);
        assert!(found.consequence.contains("every route is not-found"), "{found:?}");
        let found = judge(&empty, &[well, empty.clone()]).unwrap();
        assert_eq!(
            (found.severity, found.consequence.as_str()),
            (Severity::Note, "nothing for now: what a says counts")
        );
    }
}
