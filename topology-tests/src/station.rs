//! What a BMP station has been told: the log of pmacct's pmbmpd, replayed.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::lab::Node;

/// pmbmpd's log, as `bmp_daemon_msglog_file` of its configuration in the labs says.
const LOG: &str = "cat /run/bmp.log";

/// Everything that was logged, in order.
///
/// # Errors
/// When there is no log yet.
pub fn logged(station: &Node) -> Result<Vec<Value>, String> {
    let log = station.shell(LOG).map_err(|error| error.to_string())?;
    Ok(log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// The routes that the station has of one table of one peer, by prefix: the last word on each.
///
/// # Errors
/// When there is no log yet.
pub fn routes(station: &Node, peer: &str, table: impl Fn(&Value) -> bool) -> Result<BTreeMap<String, Value>, String> {
    let mut routes = BTreeMap::new();
    for entry in logged(station)? {
        if entry["bmp_msg_type"] != "route_monitor" || entry["peer_ip"] != peer || !table(&entry) {
            continue;
        }
        let prefix = entry["ip_prefix"].as_str().unwrap_or_default().to_owned();
        match entry["log_type"].as_str() {
            Some("update") => drop(routes.insert(prefix, entry)),
            Some("withdraw") => drop(routes.remove(&prefix)),
            _ => {}
        }
    }
    Ok(routes)
}

/// What came, before any filter.
#[must_use]
pub fn pre_policy(entry: &Value) -> bool {
    entry["is_post"] == 0 && entry["is_loc"] != 1
}

/// What the import filter has made of it.
#[must_use]
pub fn post_policy(entry: &Value) -> bool {
    entry["is_post"] == 1
}

/// The best paths.
#[must_use]
pub fn loc_rib(entry: &Value) -> bool {
    entry["is_loc"] == 1
}
