//! BGP sessions that are configured and not established.

use bgp_proto::session::State;
use bgpd::PeerStatus;

use super::{Finding, Section, counted};
use crate::daemon::Daemon;

pub(super) async fn examine(daemon: &Daemon) -> Section {
    let peers = daemon.bgp().peers().await;
    let up = peers.iter().filter(|peer| peer.state == State::Established).count();
    let sessions: Vec<Session> = peers.iter().map(Session::from).collect();
    Section {
        about: "sessions",
        looked_at: format!("{}, {up} established", counted(peers.len(), "session")),
        findings: sessions.iter().filter_map(judge).collect(),
    }
}

/// What is judged.
#[derive(Debug)]
struct Session {
    name: String,
    remote: String,
    port: u16,
    state: State,
    disabled: bool,
    passive: bool,
    /// Why it went down, or did not come up.
    why: Option<String>,
    /// It is down for its prefixes, and starts again in so many seconds; `None`: until it is reset.
    restarts_in: Option<u64>,
}

impl From<&PeerStatus> for Session {
    fn from(peer: &PeerStatus) -> Self {
        Self {
            name: peer.config.name.clone(),
            remote: peer.remote.clone(),
            port: peer.config.port,
            state: peer.state,
            disabled: peer.disabled,
            passive: peer.config.passive,
            why: peer.last_error.clone().or_else(|| peer.discovery.clone()),
            restarts_in: peer.restarts_in.map(|left| left.as_secs()),
        }
    }
}

fn judge(session: &Session) -> Option<Finding> {
    let Session { name, remote, port, state, why, .. } = session;
    if *state == State::Established {
        return None;
    }
    let consequence = "no route comes from it or goes to it";
    if session.disabled {
        let culprit = format!("the session with {name} ({remote}) was disabled by a person");
        return Some(Finding::note(culprit, consequence, format!("linnet bgp enable {name}, when it may come back")));
    }
    let why = why.as_deref().unwrap_or("nothing has been heard from it");
    let next = match (state, session.restarts_in) {
        (_, Some(seconds)) => format!("it starts again in {seconds} s; linnet bgp reset {name} starts it now"),
        (State::OpenSent | State::OpenConfirm, None) => {
            "look again in some seconds: it is being negotiated; if that does not end, the other end's log says what it objects to"
                .into()
        }
        (_, None) if session.passive => {
            format!("let {remote} connect (passive = true waits for it), and look at its log for why it does not")
        }
        (_, None) => format!(
            "see that {remote} answers on TCP port {port} (firewalls, its daemon) and is configured for this node's address and AS; \
             linnet bgp neighbor {name} shows what this node uses"
        ),
    };
    Some(Finding::fault(format!("the session with {name} ({remote}) is {state:?}: {why}"), consequence, next))
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::*;

    fn session(state: State) -> Session {
        Session {
            name: "tor-a".into(),
            remote: "192.0.2.1".into(),
            port: 179,
            state,
            disabled: false,
            passive: false,
            why: Some("connection refused".into()),
            restarts_in: None,
        }
    }

    #[test]
    fn a_session_that_is_down_is_a_fault_with_its_reason_and_one_that_a_person_disabled_a_note() {
        assert_eq!(judge(&session(State::Established)), None);
        let found = judge(&session(State::Active)).unwrap();
        assert_eq!(found.severity, Severity::Fault);
        assert_eq!(found.culprit, "the session with tor-a (192.0.2.1) is Active: connection refused");
        let disabled = judge(&Session { disabled: true, ..session(State::Idle) }).unwrap();
        assert_eq!(disabled.severity, Severity::Note);
        let passive = judge(&Session { passive: true, ..session(State::Active) }).unwrap();
        assert!(passive.next_step.contains("let 192.0.2.1 connect"), "{passive:?}");
    }
}
