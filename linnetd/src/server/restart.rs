//! Restarts, a peer's and our own, as the API tells of them (RFC 4724, RFC 8538, RFC 9494).

use std::time::Duration;

use bgp_proto::rib::Retained;
use bgp_proto::types::Family;
use bgpd::{DeferralStatus, Restarts};
use linnet_api::{Deferral, GracefulRestart, RestartFamily, StaleRoutes};

pub(super) fn deferral(status: DeferralStatus) -> Deferral {
    Deferral {
        remaining_seconds: seconds(status.left),
        holds_decisions: status.holds_decisions,
        peers: status.awaited,
        dynamic_peers: status.awaits_anybody,
    }
}

/// What an OPEN says; `None` if that is nothing.
pub(super) fn said(restart: &Restarts) -> Option<GracefulRestart> {
    let graceful = restart.graceful.as_ref()?;
    let of_family = |family: Family| {
        let named = graceful.families.iter().find(|(named, _)| *named == family);
        let long_lived = restart.long_lived.iter().find(|said| said.family == family);
        (named.is_some() || long_lived.is_some()).then(|| RestartFamily {
            family: family.to_string(),
            graceful: named.is_some(),
            forwarding: named.is_some_and(|(_, forwarding)| *forwarding),
            long_lived_stale_seconds: long_lived.map_or(0, |said| said.stale_seconds),
            long_lived_forwarding: long_lived.is_some_and(|said| said.forwarding),
        })
    };
    Some(GracefulRestart {
        restart_seconds: graceful.restart_seconds.into(),
        notification: graceful.notification,
        restarting: graceful.restarting,
        families: Family::ALL.into_iter().filter_map(of_family).collect(),
    })
}

pub(super) fn stale(retained: &Retained) -> StaleRoutes {
    StaleRoutes {
        family: retained.family.to_string(),
        routes: retained.paths as u64,
        long_lived: retained.long_lived,
        remaining_seconds: retained.left.map(seconds),
    }
}

/// Begun seconds count: what is not over is not told as 0.
fn seconds(left: Duration) -> u32 {
    u32::try_from(left.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
}
