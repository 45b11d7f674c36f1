//! What a RIB is told: at its start, and of each peer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use super::{Aggregates, Drain};
use crate::conduct::Conduct;
use crate::filter::Filter;
use crate::types::{Asn, ClusterId, RouterId};

/// What a RIB is told at the start.
#[derive(Clone, Debug)]
pub struct RibConfig {
    /// Our AS.
    pub local_as: Asn,
    /// Our BGP Identifier.
    pub router_id: RouterId,
    /// Our cluster as a route reflector (RFC 4456).
    pub cluster_id: ClusterId,
    /// Most paths of one multipath set.
    pub max_paths: usize,
    /// What is originated for what is inside of it.
    pub aggregates: Aggregates,
    /// After our own restart: how long to wait for every peer's End-of-RIB before deciding and announcing (RFC 4724
    /// section 4.1); what we originate ourselves is announced at once all the same. `None`: decide and announce at once,
    /// because we have not restarted or peers did not wait for us.
    pub deferral: Option<Duration>,
    /// Whom [`Output::Converged`] waits for, and, unless it is [`Awaited::Up`], what we say of End-of-RIB: who hears that
    /// drops what it kept of us and we have not told it again (RFC 4724 section 4.2).
    ///
    /// [`Output::Converged`]: super::Output::Converged
    pub awaited: Awaited,
    /// The longest that [`Output::Converged`] waits for a peer when nothing is deferred, and that the stale routes of a
    /// peer that is back wait for its End-of-RIB (RFC 4724 section 4.2 asks for such a bound). 60 s is a good value.
    ///
    /// [`Output::Converged`]: super::Output::Converged
    pub convergence: Duration,
    /// How far this speaker is drained at the start (RFC 8326); [`Rib::set_drain`](super::Rib::set_drain) changes it.
    pub drain: Drain,
    /// Whether the owner wants [`Output::Best`](super::Output::Best). Who programs no kernel does not, and saves the work;
    /// see also [`Rib::watch_best`](super::Rib::watch_best).
    pub tell_best: bool,
    /// Whether it wants [`BestChange::backup`](super::BestChange::backup) too.
    pub tell_backup: bool,
}

impl RibConfig {
    /// One best path, nothing deferred, everything optional off, and the cluster named by the router ID.
    #[must_use]
    pub fn new(local_as: Asn, router_id: RouterId) -> Self {
        Self {
            local_as,
            router_id,
            cluster_id: ClusterId(router_id.0),
            max_paths: 1,
            aggregates: Aggregates::default(),
            deferral: None,
            awaited: Awaited::Up,
            convergence: Duration::from_secs(60),
            drain: Drain::default(),
            tell_best: false,
            tell_backup: false,
        }
    }
}

/// Whose routes must be here, or be late, before what is not in the RIB may be taken not to exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// Of the peers that are up, and of the first of them: there is nothing from before that could be lost.
    Up,
    /// Of every peer that is known, up or not: routes of an earlier run are in use.
    Known,
    /// Of peers too that are known only once they come: the whole time has to pass.
    Anybody,
}

/// What the RIB must know of a peer before its session comes up.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerPolicy {
    /// The peer's name, for people.
    pub name: String,
    /// The peer's address; with its session down, what shows its routes' source.
    pub address: IpAddr,
    /// Our AS towards this peer.
    pub local_as: Asn,
    /// A route reflector client (internal peers only).
    pub client: bool,
    /// Most paths to one prefix that it is sent where it takes several (RFC 7911), the best first; at least one.
    pub add_path_most: usize,
    /// Our address as the next hop of IPv4 prefixes on a session that runs over IPv6.
    pub own_address4: Option<Ipv4Addr>,
    /// Our address as the next hop of IPv6 prefixes on a session that runs over IPv4.
    pub own_address6: Option<Ipv6Addr>,
    /// What else is between us.
    pub conduct: Conduct,
    /// Filter of what it sends. `None`: an external peer's routes are all rejected (RFC 8212), an internal one's all accepted.
    pub import: Option<Arc<Filter>>,
    /// Filter of what it hears. `None`: an external peer hears nothing (RFC 8212), an internal one everything it may.
    pub export: Option<Arc<Filter>>,
    /// What it sends with the community BLACKHOLE, and is accepted, is to be discarded (RFC 7999).
    pub blackhole: bool,
    /// Most prefixes it may send, all families together: above, the owner ends the session (RFC 4486 subcode 1).
    pub max_prefixes: Option<u32>,
    /// An external peer's routes with GRACEFUL_SHUTDOWN are used only where there is no other (RFC 8326 section 4.1).
    pub graceful_shutdown: bool,
    /// So many are worth a warning ([`Output::ManyPrefixes`](super::Output::ManyPrefixes)), once a session.
    pub warn_prefixes: Option<u32>,
}

impl PeerPolicy {
    /// A peer without filters or limits that is sent one path to each prefix; GRACEFUL_SHUTDOWN counts.
    #[must_use]
    pub fn new(name: String, address: IpAddr, local_as: Asn) -> Self {
        Self {
            name,
            address,
            local_as,
            client: false,
            add_path_most: 1,
            own_address4: None,
            own_address6: None,
            conduct: Conduct::default(),
            import: None,
            export: None,
            blackhole: false,
            max_prefixes: None,
            graceful_shutdown: true,
            warn_prefixes: None,
        }
    }
}
