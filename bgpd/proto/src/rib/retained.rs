//! What is kept of a peer's earlier session, and for how long, for a person.

use super::Rib;
use super::peers::{Peer, at};
use crate::time::{Duration, Instant};
use crate::types::{Family, PeerId};

/// Stale paths of one peer and family: of a session that is gone (RFC 4724 section 4.2), or not announced again yet in a
/// refresh that is under way (RFC 7313 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retained {
    /// Whose they are.
    pub family: Family,
    /// How many, at least one.
    pub paths: usize,
    /// They stay beyond the restart time, as the last choice (RFC 9494).
    pub long_lived: bool,
    /// In how long they go, or become long-lived ones, unless the peer announces them again. `None`: there is no restart;
    /// the peer says when it has announced everything once more.
    pub left: Option<Duration>,
}

impl Rib {
    /// What of a peer's is stale, by family; nothing of a family that has nothing stale.
    #[must_use]
    pub fn retained(&self, peer: PeerId, now: Instant) -> Vec<Retained> {
        let Some(peer) = self.peers.get(peer) else { return Vec::new() };
        let of_family = |family: Family| {
            let (paths, long_lived) = (peer.stale[at(family)], peer.long_lived_until[at(family)]);
            let left = long_lived.or(peer.stale_until).map(|until| until.saturating_since(now));
            Retained { family, paths, long_lived: long_lived.is_some(), left }
        };
        Family::ALL.into_iter().map(of_family).filter(|retained| retained.paths > 0).collect()
    }

    /// Peers that are away and of whom nothing stays, now that this time has come: ask before [`Rib::handle_timeout`].
    #[must_use]
    pub fn expiring(&self, now: Instant) -> Vec<PeerId> {
        let over = |until: Option<Instant>| until.is_some_and(|until| until <= now);
        let goes = |peer: &Peer, family: Family| match peer.long_lived_until[at(family)] {
            None => over(peer.stale_until) && peer.long_lived_time[at(family)].is_zero(),
            long_lived => over(long_lived),
        };
        let all_goes = |peer: &Peer| {
            let mut held = Family::ALL.into_iter().filter(|family| peer.received[at(*family)] > 0).peekable();
            peer.session.is_none() && held.peek().is_some() && held.all(|family| goes(peer, family))
        };
        self.peers.iter().filter(|(_, peer)| all_goes(peer)).map(|(id, _)| id).collect()
    }
}
