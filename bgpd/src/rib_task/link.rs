//! A peer, as the RIB's task knows it, and the two ways to it: into its socket, or by its task.

use std::sync::Weak;

use bgp_proto::types::Asn;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::FromRib;
use crate::clock::Clock;
use crate::outlet::{Outlet, Written};
use crate::place::Place;

/// A peer, as this task knows it.
pub(super) struct Link {
    pub(super) task: u64,
    pub(super) name: String,
    /// Our AS towards it.
    pub(super) local_as: Asn,
    /// Its session that is up.
    pub(super) session: Option<u32>,
    /// Where it was in the last one.
    pub(super) place: Option<Place>,
    /// The way out of the session's connection.
    pub(super) outlet: Weak<Outlet>,
    /// Octets that its task was given and that its socket has not taken, as far as we have heard.
    pub(super) handed: usize,
    pub(super) to: mpsc::UnboundedSender<FromRib>,
}

impl Link {
    /// Messages of the RIB go to a peer: into its socket at once if they may go `aside`, or by its task. How many octets the
    /// socket has taken.
    pub(super) fn send(&mut self, messages: Bytes, aside: bool, clock: Clock) -> usize {
        let Some(session) = self.session else { return 0 };
        let octets = messages.len();
        // What was said before goes before.
        let outlet = if aside && self.handed == 0 { self.outlet.upgrade() } else { None };
        let (left, message) = match outlet.map_or(Written::Nothing, |outlet| outlet.write_aside(&messages, clock)) {
            Written::All => return octets,
            Written::AllBut { left } => (left, FromRib::Begun { session, left }),
            Written::Nothing => (octets, FromRib::Send { session, messages }),
        };
        self.handed += left;
        // A task that has just ended is about to be removed here too.
        let _ = self.to.send(message);
        octets - left
    }
}
