//! What stands beside the sessions, as the API says it: RPKI caches.

use bgp_proto::rtr::{CacheState, Vrp};
use bgpd::CacheStatus;

pub(super) fn cache(status: &CacheStatus) -> linnet_api::RpkiCache {
    let [refresh, retry, expire] = status.intervals.map(|time| time.as_secs());
    linnet_api::RpkiCache {
        name: status.config.name.clone(),
        address: status.config.address.to_string(),
        port: status.config.port.into(),
        preference: status.config.preference,
        state: match status.state {
            CacheState::Down => "down",
            CacheState::Connecting => "connecting",
            CacheState::Asking => "asking",
            CacheState::Synchronised => "synchronised",
        }
        .into(),
        in_use: status.in_use,
        version: status.version.map(|version| version as u32),
        session: status.serial.map(|(session, _)| u32::from(session)),
        serial: status.serial.map(|(_, serial)| serial),
        vrps: status.vrps as u64,
        updated_seconds: status.updated.map(|ago| ago.as_secs()),
        refresh_seconds: refresh,
        retry_seconds: retry,
        expire_seconds: expire,
        last_error: status.last_error.clone().unwrap_or_default(),
    }
}

pub(super) fn vrp(vrp: &Vrp) -> linnet_api::Vrp {
    linnet_api::Vrp { prefix: vrp.prefix().to_string(), max_length: vrp.max_length().into(), asn: vrp.asn().0 }
}
