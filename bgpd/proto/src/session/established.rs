//! What a session that is up has agreed on.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;

use super::{Direction, DownReason, Extensions};
use crate::role::Role;
use crate::types::{Asn, HoldTime, RouterId};
use crate::wire::capability::{GracefulRestart, LongLived};
use crate::wire::frame::next_frame;
use crate::wire::{MAX_MESSAGE_LEN, Message, Open, UpdateContext};

/// What both sides agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Established {
    /// Which connection carries the session.
    pub direction: Direction,
    /// The peer's AS.
    pub remote_as: Asn,
    /// The peer's BGP Identifier.
    pub remote_id: RouterId,
    /// The smaller of both proposals.
    pub hold_time: HoldTime,
    /// How UPDATEs from the peer read.
    pub receive: UpdateContext,
    /// How UPDATEs to the peer are built.
    pub send: UpdateContext,
    /// The peer takes ROUTE-REFRESH.
    pub route_refresh: bool,
    /// Both sides say where a refresh begins and ends (RFC 7313).
    pub enhanced_refresh: bool,
    /// What of this the peer's OPEN has, whatever ours has.
    pub remote_extensions: Extensions,
    /// The peer sends or takes several paths to one prefix (RFC 7911), in some family that both sides have; what is in use
    /// is in `receive` and `send`.
    pub add_path_received: bool,
    /// The peer's role (RFC 9234), if it said one.
    pub remote_role: Option<Role>,
    /// The peer's graceful restart capability; `None` also when we sent none.
    pub graceful_restart: Option<GracefulRestart>,
    /// Both sides keep routes across a NOTIFICATION that is no hard reset (RFC 8538 section 2).
    pub graceful_notification: bool,
    /// The peer knows what a long-lived stale route is (RFC 9494).
    pub long_lived_received: bool,
    /// For how long the peer's routes stay when it does not come back in its restart time, where both sides have RFC 9494.
    pub long_lived: Vec<LongLived>,
    /// Our end of the connection.
    pub local_address: IpAddr,
    /// The peer's end.
    pub remote_address: IpAddr,
}

impl Established {
    /// A session that we opened, of two ends that announced nothing but what `context` says, and route refresh: for who has a
    /// RIB and no sessions.
    #[must_use]
    pub fn new(
        remote_as: Asn,
        remote_id: RouterId,
        context: UpdateContext,
        local_address: IpAddr,
        remote_address: IpAddr,
    ) -> Self {
        Self {
            direction: Direction::Outgoing,
            remote_as,
            remote_id,
            hold_time: HoldTime::default(),
            receive: context,
            send: context,
            route_refresh: true,
            enhanced_refresh: true,
            remote_extensions: Extensions::default(),
            add_path_received: false,
            remote_role: None,
            graceful_restart: None,
            graceful_notification: false,
            long_lived_received: false,
            long_lived: Vec::new(),
            local_address,
            remote_address,
        }
    }

    /// How long to keep the peer's routes as stale after a session that ended like this (RFC 4724 section 4.2): what
    /// [`crate::rib::Rib::handle_down`] asks for.
    ///
    /// Where both sides have RFC 9494 some of them may stay for longer: [`Established::long_lived`].
    #[must_use]
    pub fn retain(&self, reason: &DownReason) -> Option<Duration> {
        let restart = self.graceful_restart.as_ref()?;
        let kept = reason.allows_graceful_restart(self.graceful_notification);
        let kept = kept && (restart.restart_seconds > 0 && !restart.families.is_empty() || !self.long_lived.is_empty());
        kept.then(|| Duration::from_secs(u64::from(restart.restart_seconds)))
    }
}

/// The OPENs of a connection as they were, whole messages: what a monitoring station is told (RFC 7854 section 4.10).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opens {
    /// Ours.
    pub sent: Bytes,
    /// The peer's.
    pub received: Bytes,
}

impl Opens {
    /// What ours says; `None` before it was sent.
    #[must_use]
    pub fn announced(&self) -> Option<Open> {
        let frame = next_frame(&mut &self.sent[..], MAX_MESSAGE_LEN).ok()??;
        match Message::parse(frame, &UpdateContext::before_open()) {
            Ok(Message::Open(open)) => Some(open),
            _ => None,
        }
    }
}
