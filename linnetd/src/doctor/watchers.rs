//! Monitoring stations that hear nothing, and files of routes that cannot be written.

use bgpd::{MrtStatus, StationState, StationStatus};

use super::{Finding, Section, counted};
use crate::daemon::Daemon;

/// Nothing to look at where nobody watches.
pub(super) async fn examine(daemon: &Daemon) -> Option<Section> {
    let (stations, files) = (daemon.bgp().stations().await, daemon.bgp().mrt().await);
    let looked_at = match (stations.len(), &files) {
        (0, None) => return None,
        (0, Some(_)) => "MRT files".to_owned(),
        (count, None) => counted(count, "BMP station"),
        (count, Some(_)) => format!("{}, MRT files", counted(count, "BMP station")),
    };
    let findings = stations.iter().filter_map(deaf).chain(files.as_ref().and_then(unwritten)).collect();
    Some(Section { about: "watchers", looked_at, findings })
}

fn deaf(station: &StationStatus) -> Option<Finding> {
    let why = station.last_error.as_ref().filter(|_| station.state == StationState::Down)?;
    let (name, address, port) = (&station.config.name, station.config.address, station.config.port);
    Some(Finding::fault(
        format!("the BMP station {name} ({address}, TCP port {port}) is not to be had: {why}"),
        "it hears nothing of this node, and begins with the table as it is when it is back",
        "see that it listens there; linnet bgp bmp shows how far it is",
    ))
}

fn unwritten(files: &MrtStatus) -> Option<Finding> {
    let why = files.last_error.as_ref()?;
    Some(Finding::fault(
        format!("no MRT file can be written: {why}"),
        "what happens meanwhile is in none",
        "give bgp.mrt.directory room and linnetd the right to write there; linnet bgp mrt status shows what was written",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_station_that_is_down_for_a_reason_is_found_and_one_that_is_being_told_is_not() {
        let station = |state, why: Option<&str>| StationStatus {
            config: bgpd::StationConfig {
                name: "collector".into(),
                address: [192, 0, 2, 20].into(),
                port: 1790,
                stages: Vec::new(),
                statistics: None,
            },
            state,
            uptime: None,
            connections: 0,
            behind: 0,
            messages: 0,
            waiting: 0,
            last_error: why.map(str::to_owned),
        };
        let refused = Some("connection refused");
        let found = deaf(&station(StationState::Down, refused)).unwrap();
        assert_eq!(
            found.culprit,
            "the BMP station collector (192.0.2.20, TCP port 1790) is not to be had: connection refused"
        );
        assert_eq!(deaf(&station(StationState::Down, None)), None);
        assert_eq!(deaf(&station(StationState::Telling, refused)), None);
        assert_eq!(deaf(&station(StationState::Up, refused)), None);
    }

    #[test]
    fn files_that_cannot_be_written_are_found() {
        let well = MrtStatus { files: 3, tables: 1, octets: 9, lost: 0, newest: None, last_error: None };
        assert_eq!(unwritten(&well), None);
        let full = MrtStatus { last_error: Some("no space left on device".into()), ..well };
        assert_eq!(unwritten(&full).unwrap().culprit, "no MRT file can be written: no space left on device");
    }
}
