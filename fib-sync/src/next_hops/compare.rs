//! Next-hop objects as they were thought to be, against what the kernel has.

use std::collections::{BTreeMap, BTreeSet};

use super::{Group, NextHops};
use crate::{FibError, comparison::DifferenceKind, netlink::Socket};

/// An object that is not what it was thought to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Different {
    pub(crate) id: u32,
    pub(crate) kind: DifferenceKind,
    /// What it was thought to lead to, and what it does. One hop without a weight: a gateway.
    pub(crate) before: Group,
    pub(crate) there: Group,
}

impl NextHops {
    /// How many objects there are.
    pub(crate) fn count(&self) -> usize {
        self.groups.len() + self.hops.len()
    }

    /// Whether the object is there.
    pub(crate) fn has(&self, id: u32) -> bool {
        self.groups.contains_key(&id) || self.hops.values().any(|hop| *hop == id)
    }

    /// As [`NextHops::read`], and says what was not as expected. `swept`: objects that were not known are nobody's.
    pub(crate) fn compare(&mut self, swept: bool, socket: &mut Socket) -> Result<(Vec<u32>, Vec<Different>), FibError> {
        let before = self.all();
        let lost = self.read(socket)?;
        let there = self.all();
        let numbers: BTreeSet<u32> = before.keys().chain(there.keys()).copied().collect();
        let different = numbers.into_iter().filter_map(|id| {
            let kind = match (before.get(&id), there.get(&id)) {
                (Some(before), Some(there)) if before == there => return None,
                (Some(_), Some(_)) => DifferenceKind::Changed,
                (Some(_), None) => DifferenceKind::Missing,
                (None, _) if swept => DifferenceKind::Extra,
                (None, _) => return None,
            };
            let group = |all: &BTreeMap<u32, Group>| all.get(&id).cloned().unwrap_or_default();
            Some(Different { id, kind, before: group(&before), there: group(&there) })
        });
        Ok((lost, different.collect()))
    }

    /// What every object leads to, a gateway being a group of one.
    fn all(&self) -> BTreeMap<u32, Group> {
        let gateways = self.hops.iter().map(|(hop, id)| (*id, Group::of(vec![hop.clone()])));
        gateways.chain(self.groups.iter().map(|(id, (_, group))| (*id, group.clone()))).collect()
    }
}
