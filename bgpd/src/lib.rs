//! The tokio shell around `bgp-proto`: listeners, connections, socket options, and the thread that owns the RIB.
//!
//! [`Bgp::start`] makes a speaker and returns a handle, which can be cloned, and the stream of [`Event`]s.

#![allow(clippy::todo, dead_code)]

pub mod config;
pub mod status;

use std::net::SocketAddr;

use bgp_proto::rib::BestChange;
use bgp_proto::types::{Family, PeerId, Prefix};
use bgp_proto::wire::attributes::Attributes;
use tokio::sync::mpsc;

pub use config::{Config, DynamicPeerConfig, Password, PeerConfig, Ttl};
pub use status::{CapabilityStatus, PeerStatus, RouteQuery, RouteScope, RouteView};

/// What a speaker tells its owner, in the order in which it happened.
///
/// The channel is bounded: while its receiver is behind, the RIB takes no routes in, peers are read no further, and
/// sessions stay up. Questions ([`Bgp::peers`], [`Bgp::routes`]) are answered all the same.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Best paths changed.
    Best(Vec<BestChange>),
    /// See [`bgp_proto::rib::Output::Converged`].
    Converged(Family),
    /// A session came up.
    Up {
        /// The peer's name.
        peer: String,
    },
    /// A session went down.
    Down {
        /// The peer's name.
        peer: String,
        /// Why, for a person.
        reason: String,
    },
}

/// How a speaker stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Connections close without a word, so that peers keep our routes while we restart (RFC 4724).
    Silent,
    /// Each peer is sent Cease / Administrative Shutdown and drops our routes.
    Cease,
}

/// Why a speaker could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listening socket could not be made.
    #[error("cannot listen on {address}: {source}; no peer could connect to it: free the port or change `listen`")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// Two peers have one address or one name.
    #[error("two peers have {what}; an incoming connection could belong to either: remove one of them")]
    Duplicate {
        /// `the name "tor-a"` or `the address 192.0.2.1`.
        what: String,
    },
    /// The thread of the RIB could not be made.
    #[error("cannot start the RIB's thread: {0}; raise the limit of threads of this process")]
    Thread(std::io::Error),
}

/// No peer has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no peer is named {name:?}; there are: {}", .known.join(", "))]
pub struct UnknownPeer {
    /// What was asked for.
    pub name: String,
    /// All names.
    pub known: Vec<String>,
}

/// A running speaker. Dropping the last handle stops it like [`Shutdown::Silent`].
#[derive(Clone, Debug)]
pub struct Bgp {}

impl Bgp {
    /// Opens the listening sockets and starts all sessions. `restarted`: this process found forwarding state of an earlier
    /// run, so peers are told that it was kept, and nothing is decided until they have sent their routes (RFC 4724).
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running.
    pub async fn start(config: Config, restarted: bool) -> Result<(Self, mpsc::Receiver<Event>), StartError> {
        let _ = (config, restarted);
        todo!()
    }

    /// Applies a changed configuration in place: what changed, a line each. A session is reset only if what its OPEN says,
    /// its address, port, local address or TTL changed; filters and keys are changed under it.
    pub async fn reconfigure(&self, config: Config) -> Vec<String> {
        let _ = config;
        todo!()
    }

    /// Everything that this speaker originates: the difference to the last call is applied.
    pub async fn originate(&self, routes: Vec<(Prefix, Attributes)>) {
        let _ = routes;
        todo!()
    }

    /// All peers, by name.
    pub async fn peers(&self) -> Vec<PeerStatus> {
        todo!()
    }

    /// Routes for a person.
    ///
    /// # Errors
    /// The query names a peer that is not there.
    pub async fn routes(&self, query: RouteQuery) -> Result<Vec<RouteView>, UnknownPeer> {
        let _ = query;
        todo!()
    }

    /// The name of the peer with this number; `local` for [`PeerId::LOCAL`].
    pub async fn peer_name(&self, id: PeerId) -> Option<String> {
        let _ = id;
        todo!()
    }

    /// Resets a session; `soft`: asks the peer for its routes again and sends it ours again, without a reset.
    ///
    /// # Errors
    /// No peer has this name.
    pub async fn reset(&self, peer: &str, soft: bool) -> Result<(), UnknownPeer> {
        let _ = (peer, soft);
        todo!()
    }

    /// Stops the speaker; returns when the last word has left or a peer has not taken it within two seconds.
    pub async fn stop(&self, how: Shutdown) {
        let _ = how;
        todo!()
    }
}
