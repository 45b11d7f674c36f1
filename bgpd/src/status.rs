//! What a person may ask a speaker: its peers and its routes, typed.

use std::net::IpAddr;
use std::time::Duration;

use bgp_proto::rib;
use bgp_proto::session::{Counters, Established, Opens, State};
use bgp_proto::types::{Family, HoldTime, PeerId, Prefix};
use bgp_proto::wire::capability::{self, AddPath};

use crate::bfd::BfdStatus;
use crate::config::{GracefulRestart, PeerConfig};

/// One peer, as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerStatus {
    /// Its number in [`rib::BestPath`] and [`RouteView`].
    pub id: PeerId,
    /// Its address for a person: `192.0.2.1`, `fe80::1%eth0`; of an unnumbered peer that is not found yet, its interface.
    pub remote: String,
    /// How the search for an unnumbered peer stands, for a person.
    pub discovery: Option<String>,
    /// Its configuration; of a dynamic peer, with its own name and address.
    pub config: PeerConfig,
    /// It came from a [`crate::DynamicPeerConfig`] and goes when its session does.
    pub dynamic: bool,
    /// A person has disabled it.
    pub disabled: bool,
    /// Where its session stands.
    pub state: State,
    /// In how long our OPEN is sent at the latest, while it waits for the peer's.
    pub open_in: Option<Duration>,
    /// What was agreed on, while Established.
    pub established: Option<Established>,
    /// How long it has been Established.
    pub uptime: Option<Duration>,
    /// How long ago it went down; `None` while it is up, and before it was ever up.
    pub down: Option<Duration>,
    /// Why it last went down or failed to come up.
    pub last_error: Option<String>,
    /// How its last session ended: [`PeerStatus::last_error`] is soon what the next attempt met with.
    pub last_down: Option<LastDown>,
    /// What the person at the other end said when ending the session (RFC 9003), until it is up again; as it came, control
    /// characters too.
    pub communication: Option<String>,
    /// The [`crate::AoKey::send_id`] of the key that signs what the session sends, while it is up and signed by TCP-AO.
    pub tcp_ao_send_id: Option<u8>,
    /// Messages, and what RFC 7606 did.
    pub counters: Counters,
    /// Routes.
    pub counts: rib::PeerCounts,
    /// Bytes that wait for its socket to take them.
    pub unsent_bytes: usize,
    /// For how long it has taken nothing of what waits for it, while there is a send hold timer (RFC 9687).
    pub untaken: Option<Duration>,
    /// How often its session ended for its prefixes (`max_prefixes`).
    pub prefix_limit_reached: u32,
    /// In how long it starts again after that, while it is down for it; `None` too while it is down until a person resets it.
    pub restarts_in: Option<Duration>,
    /// What our OPEN says of graceful restart, if it has it.
    pub graceful_restart: Option<GracefulRestart>,
    /// What our OPEN of this session said of restarts; nothing while it is down.
    pub announced: Restarts,
    /// What its OPEN said of restarts, of the last session while it is down.
    pub restart: Restarts,
    /// What of it is stale, by family; nothing of a family that has nothing stale.
    pub retained: Vec<rib::Retained>,
    /// BFD beside the session, if the peer has it.
    pub bfd: Option<BfdStatus>,
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastDown {
    /// Why, for a person: what a NOTIFICATION said, escaped, is the longest.
    pub reason: String,
    /// How long ago.
    pub ago: Duration,
}

/// What an OPEN says of its sender's restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restarts {
    /// Its Graceful Restart capability (RFC 4724, RFC 8538); of a peer's, if both sides have one.
    pub graceful: Option<capability::GracefulRestart>,
    /// A family each of RFC 9494; of a peer's, what both sides have.
    pub long_lived: Vec<capability::LongLived>,
}

impl Restarts {
    /// Of the peer.
    pub(crate) fn of(established: &Established) -> Self {
        Self { graceful: established.graceful_restart.clone(), long_lived: established.long_lived.clone() }
    }

    /// Of ours.
    pub(crate) fn announced(opens: &Opens) -> Self {
        let open = opens.announced();
        Self {
            graceful: open.as_ref().and_then(|open| open.graceful_restart().cloned()),
            long_lived: open.as_ref().and_then(|open| open.long_lived()).unwrap_or_default().to_vec(),
        }
    }
}

/// What this speaker waits for after its own restart (RFC 4724 section 4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeferralStatus {
    /// In how long it ends at the latest.
    pub left: Duration,
    /// What peers sent is neither decided nor announced before.
    pub holds_decisions: bool,
    /// The names of the peers that are down, or have not said End-of-RIB of every family, sorted.
    pub awaited: Vec<String>,
    /// So are dynamic peers that may still come.
    pub awaits_anybody: bool,
}

/// One capability, as both sides have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapabilityStatus {
    /// What people call it.
    pub name: &'static str,
    /// In our OPEN.
    pub sent: bool,
    /// In the peer's; `false` while the session is down.
    pub received: bool,
}

impl PeerStatus {
    /// How long it may take nothing of what it is sent (RFC 9687), with the hold time that was agreed on or, while the session
    /// is down, that we propose; `None`: for ever.
    #[must_use]
    pub fn send_hold(&self, proposed: HoldTime) -> Option<Duration> {
        let agreed = self.established.as_ref().map(|established| established.hold_time);
        self.config.send_hold.of(agreed.or(self.config.hold_time).unwrap_or(proposed))
    }

    /// The peer's address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.config.address
    }

    /// Capability by capability: what we send, what the peer sent.
    #[must_use]
    pub fn capabilities(&self) -> Vec<CapabilityStatus> {
        let peer = self.established.as_ref();
        let family = |family: Family, name| CapabilityStatus {
            name,
            sent: self.config.families.contains(family),
            received: peer.is_some_and(|peer| peer.receive.families.contains(family)),
        };
        vec![
            family(Family::Ipv4Unicast, "ipv4-unicast"),
            family(Family::Ipv6Unicast, "ipv6-unicast"),
            CapabilityStatus {
                name: "four-octet-as",
                sent: true,
                received: peer.is_some_and(|peer| peer.receive.four_octet_as),
            },
            CapabilityStatus {
                name: "route-refresh",
                sent: true,
                received: peer.is_some_and(|peer| peer.route_refresh),
            },
            CapabilityStatus {
                name: "enhanced-route-refresh",
                sent: self.config.enhanced_refresh,
                received: peer.is_some_and(|peer| peer.remote_extensions.enhanced_refresh),
            },
            CapabilityStatus {
                name: "extended-messages",
                sent: self.config.extended_messages,
                received: peer.is_some_and(|peer| peer.remote_extensions.extended_messages),
            },
            CapabilityStatus {
                name: "role",
                sent: self.config.conduct.role.is_some(),
                received: peer.is_some_and(|peer| peer.remote_role.is_some()),
            },
            CapabilityStatus {
                name: "extended-next-hop",
                sent: self.config.extended_next_hop && self.config.families.contains(Family::Ipv4Unicast),
                received: peer.is_some_and(|peer| peer.remote_extensions.extended_next_hop),
            },
            CapabilityStatus {
                name: "add-path",
                sent: self.config.add_path != AddPath::NONE,
                received: peer.is_some_and(|peer| peer.add_path_received),
            },
            CapabilityStatus {
                name: "graceful-restart",
                sent: self.graceful_restart.is_some(),
                received: peer.is_some_and(|peer| peer.graceful_restart.is_some()),
            },
            CapabilityStatus {
                name: "graceful-notification",
                sent: self.graceful_restart.is_some_and(|restart| restart.notification),
                received: peer
                    .and_then(|peer| peer.graceful_restart.as_ref())
                    .is_some_and(|restart| restart.notification),
            },
            CapabilityStatus {
                name: "long-lived-graceful-restart",
                sent: self.graceful_restart.is_some_and(|restart| restart.long_lived_stale_time > 0),
                received: peer.is_some_and(|peer| peer.long_lived_received),
            },
        ]
    }
}

/// Which routes to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteQuery {
    /// Of which table.
    pub scope: RouteScope,
    /// Only this prefix, exactly.
    pub prefix: Option<Prefix>,
    /// At most this many.
    pub limit: usize,
}

/// Which table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteScope {
    /// All accepted paths, best first.
    Local,
    /// What the peer with this name sent, accepted or not.
    Received(String),
    /// What the peer with this name has been sent.
    Advertised(String),
    /// All rejected paths, with the reason.
    Rejected,
    /// The accepted paths of prefixes of which no path has a next hop in reach.
    Unresolved,
}

/// A route, with its peer's name.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteView {
    /// The peer's name; `local` for what we originate.
    pub peer: String,
    /// The route.
    pub route: rib::RouteView,
}
