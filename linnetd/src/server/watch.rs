//! What stands beside the sessions, as the API says it: RPKI caches, monitoring stations, MRT files.

use bgp_proto::rtr::{CacheState, Vrp};
use bgpd::{CacheStatus, MrtStatus, StationState, StationStatus};

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

pub(super) fn station(status: &StationStatus) -> linnet_api::BmpStation {
    linnet_api::BmpStation {
        name: status.config.name.clone(),
        address: status.config.address.to_string(),
        port: status.config.port.into(),
        monitor: status.config.stages.iter().map(|stage| stage.name().to_owned()).collect(),
        state: match status.state {
            StationState::Down => "down",
            StationState::Telling => "telling",
            StationState::Up => "up",
        }
        .into(),
        uptime_seconds: status.uptime.unwrap_or_default().as_secs(),
        connections: status.connections,
        behind: status.behind,
        messages: status.messages,
        waiting_bytes: status.waiting as u64,
        last_error: status.last_error.clone().unwrap_or_default(),
    }
}

pub(super) fn mrt(directory: String, status: &MrtStatus) -> linnet_api::MrtFiles {
    linnet_api::MrtFiles {
        directory,
        files: status.files,
        tables: status.tables,
        bytes: status.octets,
        lost: status.lost,
        newest: status.newest.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
        last_error: status.last_error.clone().unwrap_or_default(),
    }
}
