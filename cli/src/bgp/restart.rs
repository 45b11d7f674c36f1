//! Restarts in `linnet bgp neighbor`: what a peer says of its own and we say of ours, what of it is stale, and whom this node
//! waits for after its own.

use linnet_api as api;
use serde::Serialize;

use super::neighbor::count;

/// What this node waits for after its own restart (RFC 4724 section 4.1).
#[derive(Debug, Serialize)]
pub(super) struct Deferral {
    remaining_seconds: u32,
    holds_decisions: bool,
    peers: Vec<String>,
    dynamic_peers: bool,
}

impl From<api::Deferral> for Deferral {
    fn from(deferral: api::Deferral) -> Self {
        let api::Deferral { remaining_seconds, holds_decisions, peers, dynamic_peers } = deferral;
        Self { remaining_seconds, holds_decisions, peers, dynamic_peers }
    }
}

impl Deferral {
    pub(super) fn line(&self) -> String {
        let mut awaited = self.peers.clone();
        awaited.extend(self.dynamic_peers.then(|| "dynamic peers".to_owned()));
        let until = match awaited.is_empty() {
            true => String::new(),
            false => format!(" until End-of-RIB of {}", awaited.join(", ")),
        };
        let what = match self.holds_decisions {
            true => "what peers send is not decided",
            false => "routes of the earlier run stay",
        };
        format!("this node has restarted (RFC 4724): {what}{until}, for {} s at most", self.remaining_seconds)
    }
}

/// What one side says of its restarts.
#[derive(Debug, Serialize)]
pub(super) struct GracefulRestart {
    restart_seconds: u32,
    notification: bool,
    restarting: bool,
    families: Vec<RestartFamily>,
}

#[derive(Debug, Serialize)]
struct RestartFamily {
    family: String,
    graceful: bool,
    forwarding: bool,
    long_lived_stale_seconds: u32,
    long_lived_forwarding: bool,
}

impl From<api::GracefulRestart> for GracefulRestart {
    fn from(restart: api::GracefulRestart) -> Self {
        let family = |it: api::RestartFamily| RestartFamily {
            family: it.family,
            graceful: it.graceful,
            forwarding: it.forwarding,
            long_lived_stale_seconds: it.long_lived_stale_seconds,
            long_lived_forwarding: it.long_lived_forwarding,
        };
        let api::GracefulRestart { restart_seconds, notification, restarting, families } = restart;
        Self { restart_seconds, notification, restarting, families: families.into_iter().map(family).collect() }
    }
}

impl GracefulRestart {
    /// Of the peer's.
    pub(super) fn lines(&self) -> Vec<String> {
        self.told("", "it")
    }

    /// Of ours. `deferral`: how long the peer's End-of-RIB is awaited after a restart, in seconds.
    pub(super) fn our_lines(&self, deferral: Option<u32>) -> Vec<String> {
        let mut lines = self.told("our ", "we");
        if let (Some(line), Some(seconds)) = (lines.first_mut(), deferral) {
            line.push_str(&format!("; after a restart we wait {seconds} s at most for its End-of-RIB"));
        }
        lines
    }

    fn told(&self, whose: &str, who: &str) -> Vec<String> {
        let preserved = |yes: bool| if yes { " (forwarding preserved)" } else { "" };
        let graceful = self.families.iter().filter(|family| family.graceful);
        let graceful: Vec<_> =
            graceful.map(|family| format!("{}{}", family.family, preserved(family.forwarding))).collect();
        let mut words = vec![match graceful.is_empty() {
            true => "it keeps no routes of its own".to_owned(),
            false => format!("asks for {} s, {}", self.restart_seconds, graceful.join(", ")),
        }];
        words.extend(self.notification.then(|| "also across NOTIFICATIONs (RFC 8538)".to_owned()));
        words.extend(self.restarting.then(|| format!("{who} had restarted")));
        let mut lines = vec![format!("{whose}graceful restart (RFC 4724): {}", words.join(", "))];
        let long_lived = self.families.iter().filter(|family| family.long_lived_stale_seconds > 0);
        let long_lived: Vec<_> = long_lived
            .map(|family| {
                let preserved = preserved(family.long_lived_forwarding);
                format!("{} {} s more{preserved}", family.family, family.long_lived_stale_seconds)
            })
            .collect();
        if !long_lived.is_empty() {
            lines.push(format!("{whose}long-lived graceful restart (RFC 9494): {}", long_lived.join(", ")));
        }
        lines
    }
}

/// Routes of a family that are kept and not announced again yet.
#[derive(Debug, Serialize)]
pub(super) struct Stale {
    family: String,
    routes: u64,
    long_lived: bool,
    remaining_seconds: Option<u32>,
}

impl From<api::StaleRoutes> for Stale {
    fn from(stale: api::StaleRoutes) -> Self {
        let api::StaleRoutes { family, routes, long_lived, remaining_seconds } = stale;
        Self { family, routes, long_lived, remaining_seconds }
    }
}

impl Stale {
    /// `up`: the peer is back, and may announce them again.
    pub(super) fn line(&self, up: bool) -> String {
        let (routes, long_lived) = (count(self.routes, "route"), if self.long_lived { "long-lived " } else { "" });
        let until = match (up, self.remaining_seconds) {
            (_, None) => ", until it has announced everything once more".to_owned(),
            (true, Some(left)) => format!(", until its End-of-RIB, {left} s at most"),
            (false, Some(left)) => format!(", for {left} s more"),
        };
        format!("{long_lived}stale: {routes} of {}{until}", self.family)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_node_waits_for_is_one_line() {
        for (holds_decisions, peers, dynamic_peers, line) in [
            (
                true,
                vec!["tor-a", "tor-b"],
                false,
                "what peers send is not decided until End-of-RIB of tor-a, tor-b, for 42 s at most",
            ),
            (
                false,
                vec!["tor-a"],
                true,
                "routes of the earlier run stay until End-of-RIB of tor-a, dynamic peers, for 42 s at most",
            ),
            (false, vec![], false, "routes of the earlier run stay, for 42 s at most"),
        ] {
            let peers = peers.into_iter().map(str::to_owned).collect();
            let deferral = api::Deferral { remaining_seconds: 42, holds_decisions, peers, dynamic_peers };
            let line = format!("this node has restarted (RFC 4724): {line}");
            assert_eq!(Deferral::from(deferral).line(), line);
        }
    }

    #[test]
    fn stale_routes_have_the_end_that_awaits_them() {
        for (long_lived, up, remaining_seconds, line) in [
            (false, false, Some(53), "stale: 2 routes of ipv4-unicast, for 53 s more"),
            (true, false, Some(3500), "long-lived stale: 2 routes of ipv4-unicast, for 3500 s more"),
            (false, true, Some(53), "stale: 2 routes of ipv4-unicast, until its End-of-RIB, 53 s at most"),
            (false, true, None, "stale: 2 routes of ipv4-unicast, until it has announced everything once more"),
        ] {
            let stale = api::StaleRoutes { family: "ipv4-unicast".into(), routes: 2, long_lived, remaining_seconds };
            assert_eq!(Stale::from(stale).line(up), line);
        }
    }

    #[test]
    fn a_peer_that_only_helps_others_to_restart_is_said_so() {
        let restart = api::GracefulRestart { restart_seconds: 120, notification: true, ..Default::default() };
        let lines = GracefulRestart::from(restart).lines();
        assert_eq!(
            lines,
            ["graceful restart (RFC 4724): it keeps no routes of its own, also across NOTIFICATIONs (RFC 8538)"]
        );
    }
}
