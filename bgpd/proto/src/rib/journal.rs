//! What befell Adj-RIB-In, for whoever watches it: monitoring stations (BMP) and files (MRT). Off unless somebody does.
//!
//! It holds what peers that are up have sent: that a session ended takes all of its paths with it, and is said by whoever
//! ends it.

use std::net::IpAddr;
use std::sync::Arc;

use super::attrs::AttrStore;
use super::peers::{Peer, at};
use super::table::{Path, PathFlags};
use super::{PageStart, Rib};
use crate::types::{Family, Nlri, PeerId, Prefix, RouterId};
use crate::wire::attributes::Attributes;

/// One thing that happened, in the order in which it did.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// Paths came, or are other than they were.
    Announced {
        /// From whom.
        peer: PeerId,
        /// As they came.
        received: Arc<Attributes>,
        /// Behind the import filter, if they were accepted.
        accepted: Option<Arc<Attributes>>,
        /// Which.
        nlri: Vec<Nlri>,
    },
    /// Paths are gone.
    Withdrawn {
        /// Whose.
        peer: PeerId,
        /// Which.
        nlri: Vec<Nlri>,
    },
    /// The peer has said everything.
    EndOfRib {
        /// Which.
        peer: PeerId,
        /// Of this family.
        family: Family,
    },
}

/// A path as a walk through the RIB finds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// From whom; [`PeerId::LOCAL`] if we originate it.
    pub peer: PeerId,
    /// Which.
    pub nlri: Nlri,
    /// As it came.
    pub received: Arc<Attributes>,
    /// Behind the import filter, if it was accepted.
    pub accepted: Option<Arc<Attributes>>,
    /// It is the best path.
    pub best: bool,
    /// Kept for a peer that is restarting, or not announced again yet.
    pub stale: bool,
    /// When it came or last changed, in seconds since the start.
    pub since: u32,
}

/// Who a peer is, for a list of peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownPeer {
    /// Its number.
    pub id: PeerId,
    /// Its address.
    pub address: IpAddr,
    /// Its BGP Identifier; 0.0.0.0 until its first session.
    pub router_id: RouterId,
}

/// What was seen since it was last taken.
#[derive(Debug, Default)]
pub(super) struct Journal {
    on: bool,
    seen: Vec<Seen>,
    /// Of what the last entry is, if it is an announcement.
    last: Option<(PeerId, u32, PathFlags)>,
}

impl Journal {
    pub(super) fn is_on(&self) -> bool {
        self.on
    }

    pub(super) fn announced(&mut self, nlri: Nlri, path: &Path, store: &mut AttrStore) {
        if !self.on {
            return;
        }
        let key = (path.peer, path.attrs, path.flags.outcome());
        if self.last == Some(key)
            && let Some(Seen::Announced { nlri: all, .. }) = self.seen.last_mut()
        {
            return all.push(nlri);
        }
        let effective = store.effective(path);
        let accepted = if path.flags.accepted() { store.recent(effective) } else { None };
        let original = store.original(path);
        let Some(received) = store.recent(original) else { return };
        self.seen.push(Seen::Announced { peer: path.peer, received, accepted, nlri: vec![nlri] });
        self.last = Some(key);
    }

    pub(super) fn withdrawn(&mut self, peer: PeerId, gone: Nlri) {
        if !self.on {
            return;
        }
        self.last = None;
        match self.seen.last_mut() {
            Some(Seen::Withdrawn { peer: same, nlri }) if *same == peer => nlri.push(gone),
            _ => self.seen.push(Seen::Withdrawn { peer, nlri: vec![gone] }),
        }
    }

    pub(super) fn end_of_rib(&mut self, peer: PeerId, family: Family) {
        if self.on {
            self.last = None;
            self.seen.push(Seen::EndOfRib { peer, family });
        }
    }
}

impl Rib {
    /// Whether what befalls Adj-RIB-In is written down. Off is how a RIB starts; turned on, [`Rib::take_seen`] has to be
    /// called after each call that may change it, or memory grows.
    pub fn set_watched(&mut self, on: bool) {
        if self.journal.on != on {
            self.journal = Journal { on, ..Journal::default() };
        }
    }

    /// What was seen since the last call.
    pub fn take_seen(&mut self) -> Vec<Seen> {
        self.journal.last = None;
        std::mem::take(&mut self.journal.seen)
    }

    /// A page of all paths, about `limit` of them (never a part of a prefix's); the next page begins at what is returned.
    pub fn walk(&mut self, start: PageStart, limit: usize) -> (Vec<Held>, Option<PageStart>) {
        let mut page = Vec::new();
        let mut looked_at = 0;
        for family in Family::ALL.into_iter().skip(start.family) {
            let from = if at(family) == start.family { start.prefix } else { 0 };
            let table = &self.tables[at(family)];
            for id in table.occupied(from) {
                if page.len() >= limit || looked_at >= 16 * limit {
                    return (page, Some(PageStart { family: at(family), prefix: id.0 }));
                }
                looked_at += 1;
                let prefix = table.prefix(id);
                page.extend(table.paths(id).as_slice().iter().filter_map(|path| held(prefix, path, &mut self.store)));
            }
        }
        (page, None)
    }

    /// Every peer that is known.
    #[must_use]
    pub fn known_peers(&self) -> Vec<KnownPeer> {
        let known = |(id, peer): (PeerId, &Peer)| KnownPeer { id, address: peer.address(), router_id: peer.router_id };
        self.peers.iter().map(known).collect()
    }

    /// Paths held of a peer, and those of them that were accepted, by family in the order of [`Family::ALL`].
    #[must_use]
    pub fn held_by_family(&self, peer: PeerId) -> [(usize, usize); 2] {
        let Some(peer) = self.peers.get(peer) else { return [(0, 0); 2] };
        [(peer.received[0], peer.accepted[0]), (peer.received[1], peer.accepted[1])]
    }
}

fn held(prefix: Prefix, path: &Path, store: &mut AttrStore) -> Option<Held> {
    let (original, effective) = (store.original(path), store.effective(path));
    let received = store.recent(original)?;
    let accepted = match path.flags.accepted() {
        false => None,
        true if original == effective => Some(received.clone()),
        true => store.recent(effective),
    };
    Some(Held {
        peer: path.peer,
        nlri: Nlri { prefix, path_id: path.path_id },
        received,
        accepted,
        best: path.flags.contains(PathFlags::BEST),
        stale: path.flags.contains(PathFlags::STALE),
        since: path.since,
    })
}
