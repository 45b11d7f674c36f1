//! BGP sessions, as each speaker of the lab reports them.

use serde_json::Value;

use super::json;
use crate::lab::{Lab, LabError, Node};

/// One end of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// What this end calls the other.
    pub peer: String,
    /// As this end calls it.
    pub state: String,
    /// Prefixes received, where this end counts them.
    pub received: Option<u64>,
}

impl Session {
    /// Whether routes can be exchanged.
    #[must_use]
    pub fn established(&self) -> bool {
        self.state == "Established"
    }
}

/// A speaker and its sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Speaker {
    /// The node.
    pub node: String,
    /// The program.
    pub program: &'static str,
    /// All that are configured.
    pub sessions: Vec<Session>,
}

/// The ends of sessions that each speaker of the lab has: IPv4 and IPv6 with each router and rack host by a cable, one
/// for both between the spine and the collector, and one for both between the cloud host and each other host.
pub const WANTED: [(&str, usize); 10] = [
    ("collector", 1),
    ("h1", 5),
    ("h2", 5),
    ("h3", 3),
    ("h4", 3),
    ("h5", 4),
    ("spine", 7),
    ("tor1a", 6),
    ("tor1b", 6),
    ("tor2", 6),
];

/// Every speaker of the lab, by name.
///
/// # Errors
/// When a speaker does not answer.
pub fn speakers(lab: &Lab) -> Result<Vec<Speaker>, LabError> {
    lab.nodes().filter_map(|node| speaker(node).transpose()).collect()
}

/// The speaker of a node, if it has one.
///
/// # Errors
/// When it does not answer.
pub fn speaker(node: &Node) -> Result<Option<Speaker>, LabError> {
    for daemon in node.daemons() {
        let (program, sessions) = match daemon {
            "linnetd" => ("Linnet", linnet(node)?),
            "bgpd" => ("FRR", frr(node)?),
            "bird" => ("BIRD", bird(node)?),
            "gobgpd" => ("GoBGP", gobgp(node)?),
            _ => continue,
        };
        return Ok(Some(Speaker { node: node.name().to_owned(), program, sessions }));
    }
    Ok(None)
}

/// Why not every session of the lab is established, if that is so.
///
/// # Errors
/// The first speaker that lacks a session, and which.
pub fn all_established(lab: &Lab) -> Result<Vec<Speaker>, String> {
    let speakers = speakers(lab).map_err(|error| error.to_string())?;
    for (name, wanted) in WANTED {
        let Some(speaker) = speakers.iter().find(|speaker| speaker.node == name) else {
            return Err(format!("{name} has no speaker"));
        };
        let down: Vec<_> = speaker.sessions.iter().filter(|session| !session.established()).collect();
        if let Some(session) = down.first() {
            return Err(format!("{name}: {} with {} is {}", speaker.program, session.peer, session.state));
        }
        if speaker.sessions.len() != wanted {
            return Err(format!("{name} has {} sessions and not {wanted}", speaker.sessions.len()));
        }
    }
    Ok(speakers)
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

fn linnet(node: &Node) -> Result<Vec<Session>, LabError> {
    let summary = json(node, &["linnet", "bgp", "summary", "-o", "json"])?;
    let peers = summary["peers"].as_array().cloned().unwrap_or_default();
    let session = |peer: &Value| Session {
        peer: text(peer, "name"),
        state: text(peer, "state"),
        received: peer["received"].as_u64(),
    };
    Ok(peers.iter().map(session).collect())
}

/// A session of two families is listed with each; it is one session.
fn frr(node: &Node) -> Result<Vec<Session>, LabError> {
    let summary = json(node, &["vtysh", "-c", "show bgp summary json"])?;
    let mut sessions: Vec<Session> = Vec::new();
    for family in ["ipv4Unicast", "ipv6Unicast"] {
        for (address, peer) in summary[family]["peers"].as_object().into_iter().flatten() {
            let name = peer["desc"].as_str().unwrap_or(address);
            let name = if address.contains(':') { format!("{name}-v6") } else { name.to_owned() };
            let received = peer["pfxRcd"].as_u64();
            match sessions.iter_mut().find(|session| session.peer == name) {
                Some(known) => known.received = known.received.zip(received).map(|(a, b)| a + b),
                None => sessions.push(Session { peer: name, state: text(peer, "state"), received }),
            }
        }
    }
    Ok(sessions)
}

/// `birdc show protocols all`: a line a protocol ("h1 BGP --- up TIME Established"), details indented below it.
fn bird(node: &Node) -> Result<Vec<Session>, LabError> {
    let shown = node.exec(&["birdc", "show", "protocols", "all"])?.checked()?;
    let mut sessions: Vec<Session> = Vec::new();
    let mut in_bgp = false;
    for line in shown.lines() {
        let fields: Vec<_> = line.split_whitespace().collect();
        if !line.starts_with(' ') && fields.len() >= 5 {
            in_bgp = fields[1] == "BGP";
            if in_bgp {
                let state = fields.get(5).copied().unwrap_or("Idle").to_owned();
                sessions.push(Session { peer: fields[0].replace('_', "-"), state, received: None });
            }
        } else if let (true, ["Routes:", imported, ..]) = (in_bgp, fields.as_slice())
            && let Some(session) = sessions.last_mut()
        {
            session.received = imported.parse().ok();
        }
    }
    Ok(sessions)
}

/// The states of GoBGP's interface, by number (its `PeerState.SessionState`).
fn gobgp(node: &Node) -> Result<Vec<Session>, LabError> {
    let peers = json(node, &["gobgp", "-j", "neighbor"])?;
    let states = ["Unknown", "Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established"];
    let session = |peer: &Value| {
        let state = peer["state"]["session_state"].as_u64().and_then(|state| states.get(usize::try_from(state).ok()?));
        let families = peer["afi_safis"].as_array().cloned().unwrap_or_default();
        let received = families.iter().filter_map(|family| family["state"]["received"].as_u64()).sum();
        Session {
            peer: text(&peer["state"], "neighbor_address"),
            state: (*state.unwrap_or(&"Unknown")).to_owned(),
            received: Some(received),
        }
    };
    Ok(peers.as_array().cloned().unwrap_or_default().iter().map(session).collect())
}
