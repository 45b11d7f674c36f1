//! What else `linnet status` calls degraded: the node's address, policy, endpoints, rules, imports, the configuration.

use linnet_api::Component;

use super::{Finding, Section};
use crate::daemon::Daemon;

pub(super) async fn examine(daemon: &Daemon) -> Section {
    let components = crate::server::components(daemon).await;
    let names: Vec<&str> = components.iter().map(|room| room.name.as_str()).filter(|name| !told(name)).collect();
    Section {
        about: "rooms",
        looked_at: names.join(", "),
        findings: components.iter().filter(|room| !told(&room.name)).filter_map(judge).collect(),
    }
}

/// Looked at more closely elsewhere.
fn told(name: &str) -> bool {
    matches!(name, "bgp" | "fib" | "overlay")
}

fn judge(room: &Component) -> Option<Finding> {
    if room.state != "degraded" {
        return None;
    }
    let (consequence, next) = match room.name.as_str() {
        "policy" => ("what was in force before stays in force", "linnet policy list names files, lines and reasons"),
        "endpoints" => ("pods that failed are not reached", "linnet endpoint list says why, pod by pod"),
        "configuration" => (
            "the configuration in force is the old one",
            "mend the file (linnetd --check --config FILE), then linnet reload",
        ),
        "address" => (
            "pods here and pods behind tunnels do not reach each other, and sessions by it are lost",
            "do what it says; all comes back by itself then",
        ),
        "rules" => (
            "packets are looked up in other tables than fib.rules says",
            "mend what it says; it is tried again by itself",
        ),
        _ => ("not all of it does what is configured", "linnet status, and the log, say more"),
    };
    Some(Finding::fault(format!("{}: {}", room.name, room.detail), consequence, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_that_is_degraded_is_a_fault_with_its_own_words() {
        let room = |state: &str| Component {
            name: "policy".into(),
            state: state.into(),
            detail: "2 documents do not parse".into(),
        };
        assert_eq!(judge(&room("ok")), None);
        assert_eq!(judge(&room("degraded")).unwrap().culprit, "policy: 2 documents do not parse");
    }
}
