//! What lies between two rulesets, so that the cheapest sufficient transaction can be chosen.

use std::collections::{BTreeMap, BTreeSet};

use super::{Chain, Elements, Ruleset, Set};

/// What it takes to get from one ruleset to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Difference<'a> {
    /// Nothing.
    None,
    /// These steps, in one transaction: what is the same in both stays as it is in the kernel.
    Steps(Steps<'a>),
    /// One thing became another under the same name: the table is replaced.
    Structure,
}

/// Taken in the order of the fields, each is possible when the ones before are done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Steps<'a> {
    pub(crate) new_sets: Vec<&'a Set>,
    pub(crate) members: Vec<SetChange>,
    pub(crate) new_chains: Vec<&'a Chain>,
    /// Chains whose rules go away: those that change, and those that go away themselves.
    pub(crate) emptied_chains: Vec<&'a str>,
    /// Chains whose rules are written: those that change, and new ones.
    pub(crate) written_chains: Vec<&'a Chain>,
    pub(crate) old_chains: Vec<&'a str>,
    pub(crate) old_sets: Vec<&'a str>,
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
    pub(crate) fn difference<'a>(&'a self, next: &'a Ruleset) -> Difference<'a> {
        let mut steps = Steps::default();
        let mut old_sets: BTreeMap<&str, &Set> = self.sets.iter().map(|set| (set.name.as_str(), set)).collect();
        for set in &next.sets {
            match old_sets.remove(set.name.as_str()) {
                None => steps.new_sets.push(set),
                Some(old) => match set_change(old, set) {
                    None => return Difference::Structure,
                    Some(change) if change.removed.is_empty() && change.added.is_empty() => {}
                    Some(change) => steps.members.push(change),
                },
            }
        }
        steps.old_sets.extend(old_sets.into_keys());

        let mut old_chains: BTreeMap<&str, &Chain> =
            self.chains.iter().map(|chain| (chain.name.as_str(), chain)).collect();
        for chain in &next.chains {
            match old_chains.remove(chain.name.as_str()) {
                None => {
                    steps.new_chains.push(chain);
                    steps.written_chains.push(chain);
                }
                Some(old) if old.hook != chain.hook => return Difference::Structure,
                Some(old) if old.rules != chain.rules => {
                    steps.emptied_chains.push(&chain.name);
                    steps.written_chains.push(chain);
                }
                Some(_) => {}
            }
        }
        steps.emptied_chains.extend(old_chains.keys());
        steps.old_chains.extend(old_chains.into_keys());
        if steps == Steps::default() { Difference::None } else { Difference::Steps(steps) }
    }
}

/// `None` when membership alone does not explain it.
fn set_change(old: &Set, new: &Set) -> Option<SetChange> {
    if old.family != new.family {
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
        // Sets of ranges are named after their content, so this is as good as never.
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
