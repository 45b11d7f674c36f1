//! When the table is whole: every peer that is waited for has said End-of-RIB, or the time for it is over.
//!
//! After our own restart nothing is decided or said before that (RFC 4724 section 4.1), if peers wait for us, but what we
//! originate: a peer beyond others (multihop) may need it to come back and say its End-of-RIB at all. And every
//! configured peer is waited for, up or not, whether they do or not: the kernel forwards by routes of the earlier run, and
//! whoever believes [`super::Output::Converged`] removes them. Without a restart nothing is held back; only `Converged`
//! waits, for the peers that are up, and for the first of them.

use super::{Awaited, Output, Rib};
use crate::time::{Duration, Instant};
use crate::types::{Family, FamilySet, PeerId};

use super::peers::{Live, Peer, at};

/// A peer that does not speak RFC 4724 need not send End-of-RIB, and one that restarts itself (R) may wait for ours first:
/// it has said all once it has been quiet this long. Not at once: FRR sets R in its first two minutes and sends its routes
/// all the same, about a second after the session is up.
const QUIET: Duration = Duration::from_secs(3);

/// How far convergence is.
#[derive(Debug)]
pub(super) struct Convergence {
    /// When waiting ends.
    limit: Instant,
    /// Nothing is decided before.
    deferring: bool,
    awaited: Awaited,
    /// Families that are waited for no more.
    reached: FamilySet,
    /// Families of which the owner was told.
    said: FamilySet,
    /// The last moment that came in.
    clock: Instant,
}

impl Convergence {
    pub(super) fn new(limit: Instant, deferring: bool, awaited: Awaited, now: Instant) -> Self {
        Self { limit, deferring, awaited, reached: FamilySet::EMPTY, said: FamilySet::EMPTY, clock: now }
    }

    /// The last moment that came in.
    pub(super) fn now(&self) -> Instant {
        self.clock
    }

    /// Whether decisions of this family are held back.
    pub(super) fn defers(&self, family: Family) -> bool {
        self.deferring && !self.reached.contains(family)
    }

    /// Whether a peer may be told that it has heard all there is.
    pub(super) fn may_end(&self, family: Family) -> bool {
        self.awaited == Awaited::Up || self.said.contains(family)
    }

    /// Whether somebody may still come whom nobody knows.
    fn awaits_anybody(&self) -> bool {
        self.awaited == Awaited::Anybody && self.clock < self.limit
    }
}

/// What goes on after our own restart until the table is whole again (RFC 4724 section 4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deferral {
    /// In how long it ends at the latest.
    pub left: Duration,
    /// What others sent is neither decided nor announced before, as peers wait for us ([`super::RibConfig::deferral`]).
    /// Else only our End-of-RIB and [`Output::Converged`] wait.
    pub holds_decisions: bool,
    /// The peers that are down, or have not said all of some family.
    pub awaited: Vec<PeerId>,
    /// So are peers that are known only once they come ([`Awaited::Anybody`]).
    pub awaits_anybody: bool,
}

impl Live {
    /// Nothing more of this family is waited for: the session does not have it, or it has ended, or the peer does not
    /// promise an End-of-RIB and has been quiet.
    fn has_said_all(&self, family: Family, now: Instant) -> bool {
        !self.families.contains(family)
            || self.ended.contains(family)
            || self.quiet_from().is_some_and(|quiet| quiet <= now)
    }

    /// When quiet stands for End-of-RIB, if it does.
    fn quiet_from(&self) -> Option<Instant> {
        let promised = self.established.graceful_restart.as_ref().is_some_and(|restart| !restart.restarting);
        (!promised).then_some(self.last_update + QUIET)
    }
}

impl Rib {
    pub(super) fn update_convergence(&mut self, now: Instant) {
        self.convergence.clock = self.convergence.clock.max(now);
        let reached = self.convergence.reached;
        for family in Family::ALL.into_iter().filter(|family| !reached.contains(*family)) {
            if now >= self.convergence.limit || self.everybody_has_said_all(family, now) {
                self.convergence.reached.insert(family);
            }
        }
    }

    fn everybody_has_said_all(&self, family: Family, now: Instant) -> bool {
        let restarted = self.convergence.awaited != Awaited::Up;
        let mut sessions = self.peers.iter().map(|(_, peer)| peer.session.as_ref());
        // Peers become known one after the other, so after a restart nobody at all is no answer.
        let nobody = self.peers.iter().next().is_none();
        let somebody_up = self.peers.iter().any(|(_, peer)| peer.session.is_some());
        let all = sessions.all(|session| session.map_or(!restarted, |live| live.has_said_all(family, now)));
        all && if restarted { !nobody } else { nobody || somebody_up }
    }

    /// Tells the owner, once, of each family that is waited for no more and has nothing left to decide.
    pub(super) fn say_converged(&mut self) {
        if self.convergence.awaits_anybody() {
            return;
        }
        for family in Family::ALL {
            let Convergence { reached, said, .. } = &mut self.convergence;
            if reached.contains(family) && !said.contains(family) && !self.tables[at(family)].has_dirty() {
                said.insert(family);
                self.outputs.push_back(Output::Converged(family));
            }
        }
    }

    /// Whom we wait for after our own restart; `None` when that is over, and without a restart.
    #[must_use]
    pub fn deferral(&self, now: Instant) -> Option<Deferral> {
        let convergence = &self.convergence;
        if convergence.awaited == Awaited::Up || Family::ALL.into_iter().all(|family| convergence.said.contains(family))
        {
            return None;
        }
        let missing = |peer: &Peer, family| match &peer.session {
            _ if convergence.reached.contains(family) => false,
            Some(live) => !live.has_said_all(family, now),
            None => true,
        };
        let awaited = self.peers.iter().filter(|(_, peer)| Family::ALL.into_iter().any(|family| missing(peer, family)));
        Some(Deferral {
            left: convergence.limit.saturating_since(now),
            holds_decisions: Family::ALL.into_iter().any(|family| convergence.defers(family)),
            awaited: awaited.map(|(id, _)| id).collect(),
            awaits_anybody: convergence.awaits_anybody(),
        })
    }

    /// When waiting may end.
    pub(super) fn convergence_timeout(&self) -> Option<Instant> {
        let convergence = &self.convergence;
        if Family::ALL.into_iter().all(|family| convergence.reached.contains(family)) {
            return convergence.awaits_anybody().then_some(convergence.limit);
        }
        let quiet = self.peers.iter().filter_map(|(_, peer)| peer.session.as_ref()?.quiet_from());
        quiet.filter(|time| *time > convergence.clock).chain([convergence.limit]).min()
    }
}
