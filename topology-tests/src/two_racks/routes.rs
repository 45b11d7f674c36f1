//! What the kernels of the hosts hold.

use serde_json::Value;

use super::{CLOUD_HOST, HOSTS, json};
use crate::lab::{Lab, LabError, Node};

/// The device that carries tunnels.
pub const TUNNEL: &str = "linnet.vxlan";

/// A route that Linnet put into a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// As the kernel writes it; a host's is without a length.
    pub prefix: String,
    /// Where to.
    pub to: To,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// Next hop and device of each path.
    NextHops(Vec<(String, String)>),
    /// A pod of this host.
    Pod(String),
    /// Nowhere: the host's own subnet, for addresses that no pod has.
    Unreachable,
}

impl To {
    /// Whether every path is a tunnel.
    #[must_use]
    pub fn tunnelled(&self) -> bool {
        matches!(self, Self::NextHops(hops) if !hops.is_empty() && hops.iter().all(|(_, device)| device == TUNNEL))
    }

    /// Paths that are no tunnel.
    #[must_use]
    pub fn direct(&self) -> usize {
        match self {
            Self::NextHops(hops) => hops.iter().filter(|(_, device)| device != TUNNEL).count(),
            Self::Pod(_) | Self::Unreachable => 0,
        }
    }
}

impl std::fmt::Display for To {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NextHops(hops) if self.tunnelled() => {
                // IPv6 goes by a link-local next hop made from the end point's MAC, which tells a reader nothing.
                let ends = hops.iter().map(|(via, _)| via.as_str()).filter(|via| !via.starts_with("fe80:"));
                f.write_str(["vxlan"].into_iter().chain(ends).collect::<Vec<_>>().join(" ").as_str())
            }
            Self::NextHops(hops) => {
                let devices: Vec<_> = hops.iter().map(|(_, device)| device.as_str()).collect();
                f.write_str(&devices.join(" + "))
            }
            Self::Pod(_) => f.write_str("pod"),
            Self::Unreachable => f.write_str("own subnet"),
        }
    }
}

/// What Linnet put into a host's kernel: routes of protocol 76.
///
/// # Errors
/// When `ip` fails.
pub fn of(host: &Node, v6: bool) -> Result<Vec<Route>, LabError> {
    let family = if v6 { "-6" } else { "-4" };
    let shown = json(host, &["ip", "-json", family, "route", "show", "protocol", "76"])?;
    Ok(shown.as_array().into_iter().flatten().map(route).collect())
}

fn route(value: &Value) -> Route {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let via = |hop: &Value| match hop["gateway"].as_str() {
        Some(gateway) => gateway.to_owned(),
        None => text(&hop["via"]["host"]),
    };
    let to = match (value["type"].as_str(), value["nexthops"].as_array()) {
        (Some("unreachable"), _) => To::Unreachable,
        (_, Some(hops)) => To::NextHops(hops.iter().map(|hop| (via(hop), text(&hop["dev"]))).collect()),
        (_, None) if via(value).is_empty() => To::Pod(text(&value["dev"])),
        (_, None) => To::NextHops(vec![(via(value), text(&value["dev"]))]),
    };
    Route { prefix: text(&value["dst"]), to }
}

/// The subnets of host `number`'s pods: IPv4, IPv6.
#[must_use]
pub fn pod_subnets(number: usize) -> [String; 2] {
    [format!("10.244.{number}.0/24"), format!("fd00:244:{number}::/64")]
}

/// How many paths the host should have to that subnet: hosts of rack 1 have two routers.
fn paths(host: &str) -> usize {
    if matches!(host, "h1" | "h2") { 2 } else { 1 }
}

/// Whether every host reaches every other host's pods as it should: by its routers, all of them, within and across
/// racks; by a tunnel to and from the cloud.
///
/// # Errors
/// The first that is not so.
pub fn all_there(lab: &Lab) -> Result<(), String> {
    for host in HOSTS {
        let node = lab.node(host).map_err(|error| error.to_string())?;
        for (family, v6) in [false, true].into_iter().enumerate() {
            let routes = of(node, v6).map_err(|error| error.to_string())?;
            for (number, other) in (1..).zip(HOSTS) {
                let subnet = &pod_subnets(number)[family];
                let Some(route) = routes.iter().find(|route| route.prefix == *subnet) else {
                    return Err(format!("{host} has no route to {subnet}, {other}'s pods"));
                };
                let good = match (host == other, host == CLOUD_HOST || other == CLOUD_HOST) {
                    (true, _) => route.to == To::Unreachable,
                    (false, true) => route.to.tunnelled(),
                    (false, false) => route.to.direct() == paths(host),
                };
                if !good {
                    return Err(format!("{host} reaches {subnet}, {other}'s pods, by: {:?}", route.to));
                }
            }
        }
    }
    Ok(())
}
