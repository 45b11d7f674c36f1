//! What lies between two rulesets, so that the cheapest sufficient transaction can be chosen.

use std::collections::BTreeSet;

use super::{Elements, Ruleset, Set};

/// What it takes to get from one ruleset to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    /// Nothing.
    None,
    /// Members of sets come and go; chains and rules stay.
    Membership(Vec<SetChange>),
    /// More than that: the table is replaced.
    Structure,
}

/// Members of one set that come and go; both of the set's own kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SetChange {
    pub(crate) set: String,
    pub(crate) removed: Elements,
    pub(crate) added: Elements,
}

impl Ruleset {
    /// What it takes to get from `self` to `next`.
    pub(crate) fn difference(&self, next: &Ruleset) -> Difference {
        if self.chains != next.chains || self.sets.len() != next.sets.len() {
            return Difference::Structure;
        }
        let mut changes = Vec::new();
        for (old, new) in self.sets.iter().zip(&next.sets) {
            match set_change(old, new) {
                None => return Difference::Structure,
                Some(change) if change.removed.is_empty() && change.added.is_empty() => {}
                Some(change) => changes.push(change),
            }
        }
        if changes.is_empty() { Difference::None } else { Difference::Membership(changes) }
    }
}

/// `None` when membership alone does not explain it.
fn set_change(old: &Set, new: &Set) -> Option<SetChange> {
    if (&old.name, old.family, &old.comment) != (&new.name, new.family, &new.comment) {
        return None;
    }
    let (removed, added) = match (&old.elements, &new.elements) {
        (Elements::Sources(old), Elements::Sources(new)) => {
            (Elements::Sources(minus(old, new)), Elements::Sources(minus(new, old)))
        }
        (Elements::Addresses(old), Elements::Addresses(new)) => {
            (Elements::Addresses(minus(old, new)), Elements::Addresses(minus(new, old)))
        }
        (Elements::NamedPorts(old), Elements::NamedPorts(new)) => {
            (Elements::NamedPorts(minus(old, new)), Elements::NamedPorts(minus(new, old)))
        }
        // Ranges come from documents alone, and changing some of them beside others that touch them is where nft has
        // had its bugs: the table is replaced.
        (Elements::Blocks(old), Elements::Blocks(new)) if old == new => {
            (Elements::Blocks(Vec::new()), Elements::Blocks(Vec::new()))
        }
        (Elements::Ports(old), Elements::Ports(new)) if old == new => {
            (Elements::Ports(Vec::new()), Elements::Ports(Vec::new()))
        }
        (
            Elements::Sources(_)
            | Elements::Addresses(_)
            | Elements::Blocks(_)
            | Elements::NamedPorts(_)
            | Elements::Ports(_),
            _,
        ) => return None,
    };
    Some(SetChange { set: old.name.clone(), removed, added })
}

fn minus<T: Ord + Clone>(a: &BTreeSet<T>, b: &BTreeSet<T>) -> BTreeSet<T> {
    a.difference(b).cloned().collect()
}

impl Elements {
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Elements::Sources(elements) => elements.is_empty(),
            Elements::Addresses(elements) => elements.is_empty(),
            Elements::Blocks(elements) => elements.is_empty(),
            Elements::NamedPorts(elements) => elements.is_empty(),
            Elements::Ports(elements) => elements.is_empty(),
        }
    }

    /// Whether its set must know of intervals.
    pub(crate) fn are_ranges(&self) -> bool {
        match self {
            Elements::Blocks(_) | Elements::Ports(_) => true,
            Elements::Sources(_) | Elements::Addresses(_) | Elements::NamedPorts(_) => false,
        }
    }
}
