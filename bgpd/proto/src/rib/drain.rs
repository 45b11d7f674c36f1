//! Graceful shutdown of this speaker as a whole (RFC 8326): first everything it says is the last resort, then it says nothing.
//!
//! The sessions stay up all the while, and what peers say is taken and decided as ever: only the way out changes.

use super::Rib;
use super::export::GroupKey;
use crate::types::PeerId;
use crate::wire::attributes::Attributes;
use crate::wire::community::Community;

/// How far this speaker has withdrawn from carrying traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Drain {
    /// Not at all.
    #[default]
    Off,
    /// All that is announced carries GRACEFUL_SHUTDOWN, and LOCAL_PREF 0 where it carries one (RFC 8326 section 4.2), so that
    /// peers find other ways while this one still works.
    LastResort,
    /// Nothing is announced.
    Withdrawn,
}

impl Drain {
    /// The last change of what a group is told, behind its filter: nothing that a rule sets undoes it.
    pub(crate) fn apply(self, sent: &mut Attributes) {
        if self == Self::LastResort {
            add_graceful_shutdown(sent);
            sent.local_pref = sent.local_pref.map(|_| 0);
        }
    }
}

fn add_graceful_shutdown(attributes: &mut Attributes) {
    if let Err(place) = attributes.communities.binary_search(&Community::GRACEFUL_SHUTDOWN) {
        let mut communities = attributes.communities.to_vec();
        communities.insert(place, Community::GRACEFUL_SHUTDOWN);
        attributes.communities = communities.into();
    }
}

impl Rib {
    /// Changes how far this speaker is drained: every peer is told what follows from it. Call [`Rib::run`] next.
    pub fn set_drain(&mut self, drain: Drain) {
        if std::mem::replace(&mut self.config.drain, drain) == drain {
            return;
        }
        let peers: Vec<PeerId> = self.peers.iter().map(|(id, _)| id).collect();
        for id in peers {
            if let Some(key) = self.peers.get(id).and_then(|peer| GroupKey::of(peer, drain)) {
                self.groups.move_member(id, key, &mut self.store);
            }
        }
    }

    /// How far this speaker is drained.
    #[must_use]
    pub fn drain(&self) -> Drain {
        self.config.drain
    }
}
