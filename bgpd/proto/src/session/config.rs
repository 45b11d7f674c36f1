//! What a session is told before it starts.

use std::time::Duration;

use super::SendHoldTime;
use crate::role::LocalRole;
use crate::types::{Asn, Family, FamilySet, HoldTime, Interface, RouterId};
use crate::wire::capability::AddPath;

/// Which AS the peer may be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteAs {
    /// This one.
    Exactly(Asn),
    /// The same as ours.
    Internal,
    /// Any but ours.
    External,
}

/// What a session is told before it starts. Of these, what its OPEN says changes only with a reset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// Our AS towards this peer.
    pub local_as: Asn,
    /// Our BGP Identifier.
    pub router_id: RouterId,
    /// The peer's AS.
    pub remote_as: RemoteAs,
    /// Families to announce.
    pub families: FamilySet,
    /// What we propose.
    pub hold_time: HoldTime,
    /// RFC 4271 section 10 suggests 120 s; a node that must be up soon wants 5.
    pub connect_retry: Duration,
    /// How long to rest in Idle after the first of several failures, refusing the peer's connections too (IdleHoldTime, RFC 4271
    /// section 8.1.1). Each further failure doubles it, up to `connect_retry` if that is longer.
    pub idle_hold: Duration,
    /// How long to wait on a new connection for the peer's OPEN before ours is sent (DelayOpenTime, RFC 4271 section 8.1.1):
    /// one that comes meanwhile is answered at once. `None`: ours is sent as soon as there is a connection (DelayOpen is off).
    pub delay_open: Option<Duration>,
    /// Never open a connection, only accept one.
    pub passive: bool,
    /// How long the peer may take nothing of what is queued for it (RFC 9687).
    pub send_hold: SendHoldTime,
    /// The link that the session is bound to, whose link-local addresses the peer's next hops are; `None`: it may go anywhere.
    pub link: Option<Interface>,
    /// Announce RFC 4724; `None` to leave the capability out.
    pub graceful_restart: Option<LocalRestart>,
    /// Several paths to one prefix (RFC 7911), alike for each family.
    pub add_path: AddPath,
    /// Our role towards an external peer (RFC 9234); `None` to leave the capability out.
    pub role: Option<LocalRole>,
    /// What else to announce.
    pub extensions: Extensions,
}

impl SessionConfig {
    /// [`SessionConfig::idle_hold`] where nothing else is said.
    pub const IDLE_HOLD: Duration = Duration::from_secs(1);

    /// A session of both families with what most neighbours want: everything optional is off, every capability without a
    /// parameter is on.
    #[must_use]
    pub fn new(local_as: Asn, router_id: RouterId, remote_as: RemoteAs) -> Self {
        Self {
            local_as,
            router_id,
            remote_as,
            families: Family::ALL.into_iter().collect(),
            hold_time: HoldTime::default(),
            connect_retry: Duration::from_secs(5),
            idle_hold: Self::IDLE_HOLD,
            delay_open: None,
            passive: false,
            send_hold: SendHoldTime::default(),
            link: None,
            graceful_restart: None,
            add_path: AddPath::NONE,
            role: None,
            extensions: Extensions::default(),
        }
    }
}

/// Capabilities without parameters that our OPEN may have or leave out. All of them are in use only where both sides
/// announce them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extensions {
    /// Enhanced route refresh (RFC 7313): a refresh says where it begins and ends, and mends what was lost.
    pub enhanced_refresh: bool,
    /// Extended messages (RFC 8654): up to 65535 octets and not 4096.
    pub extended_messages: bool,
    /// IPv6 next hops of IPv4 prefixes (RFC 8950).
    pub extended_next_hop: bool,
}

impl Default for Extensions {
    /// Everything: who does not know a capability ignores it (RFC 5492 section 3).
    fn default() -> Self {
        Self { enhanced_refresh: true, extended_messages: true, extended_next_hop: true }
    }
}

/// What our Graceful Restart capability says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalRestart {
    /// Seconds to ask the peer to wait for us, 1 to 4095.
    pub seconds: u16,
    /// R, and F for every family: this speaker has just restarted and its kernel forwarded on.
    pub restarted: bool,
    /// F for every family from the first session on, without R: nobody forwards by this speaker (a route reflector), so
    /// nothing is lost with it.
    pub off_path: bool,
    /// N: keep routes across NOTIFICATIONs that are no hard resets, if the peer does too (RFC 8538).
    pub notification: bool,
    /// Seconds to ask the peer to keep our routes beyond that as the last choice (RFC 9494), 24 bits; 0: do not have that.
    pub long_lived_seconds: u32,
}
