//! A node as it runs: its speaker, and what its owner has heard from it.

use std::collections::{BTreeMap, BTreeSet};

use bgp_proto::rib::BestChange;
use bgp_proto::speaker::Speaker;
use bgp_proto::time::Instant;
use bgp_proto::types::Prefix;

use crate::bfd::Watch;
use crate::monitor::Monitor;
use crate::rtr::Rpki;
use crate::topology::NodeId;
use crate::unnumbered::Search;

/// A host and the process on it.
#[derive(Debug, Default)]
pub(crate) struct Node {
    /// `None`: the process does not run.
    pub(crate) speaker: Option<Speaker>,
    /// The host is without power: nothing answers.
    pub(crate) dark: bool,
    /// How often the process was started.
    pub(crate) starts: u64,
    /// When it is to be woken.
    pub(crate) wake: Option<Instant>,
    /// The moment of the last wake, and how many there were in it.
    pub(crate) woken: (Instant, u32),
    /// Its monitoring station.
    pub(crate) monitor: Monitor,
    /// Its RPKI cache.
    pub(crate) rpki: Rpki,
    /// The BFD of the host.
    pub(crate) watch: Watch,
    /// By neighbour: the search for those that have no address of their own.
    pub(crate) searches: BTreeMap<NodeId, Search>,
    /// Neighbours whose sessions an operator has stopped.
    pub(crate) disabled: BTreeSet<NodeId>,
    /// Neighbours that an operator has taken out.
    pub(crate) removed: BTreeSet<NodeId>,
    /// Neighbours whose bytes it leaves unread.
    pub(crate) deaf_to: BTreeSet<NodeId>,
    /// Loc-RIB as its reports of changes add up.
    pub(crate) reported: BTreeMap<Prefix, BestChange>,
}

impl Node {
    pub(crate) fn hear(&mut self, changes: Vec<BestChange>) {
        for change in changes {
            if change.paths.is_empty() {
                self.reported.remove(&change.prefix);
            } else {
                self.reported.insert(change.prefix, BestChange { only_backup: false, ..change });
            }
        }
    }
}
