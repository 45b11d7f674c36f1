//! Properties of the plan, on a model of the kernel.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// A prefix; which one does not matter here.
type Key = u8;

/// What stands under a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entry {
    ours: Option<KernelPathId>,
    foreign: Option<u8>,
}

fn intent() -> impl Strategy<Value = Intent> {
    prop_oneof![
        4 => (0u32..4).prop_map(|path| Intent::Route(KernelPathId(path))),
        1 => Just(Intent::Hold),
        1 => Just(Intent::Gone),
        2 => Just(Intent::Unasked),
    ]
}

fn entry() -> impl Strategy<Value = Entry> {
    (proptest::option::of(0u32..4), proptest::option::weighted(0.2, 1u8..20))
        .prop_map(|(ours, foreign)| Entry { ours: ours.map(KernelPathId), foreign })
}

type Intents = BTreeMap<Key, Intent>;
type Kernel = BTreeMap<Key, Entry>;

fn world() -> impl Strategy<Value = (Intents, Kernel, bool)> {
    let intents = proptest::collection::btree_map(0u8..12, intent(), 0..12);
    let kernel = proptest::collection::btree_map(0u8..12, entry(), 0..12);
    (intents, kernel, any::<bool>())
}

fn plan(intents: &Intents, kernel: &Kernel, swept: bool) -> Vec<(Key, Operation)> {
    let keys: BTreeSet<_> = intents.keys().chain(kernel.keys()).collect();
    let mut operations: Vec<_> = keys
        .into_iter()
        .filter_map(|key| {
            let intent = intents.get(key).copied().unwrap_or(Intent::Unasked);
            let Entry { ours, foreign } = kernel.get(key).cloned().unwrap_or_default();
            match decide(intent, ours, foreign, swept) {
                Verdict::Do(operation) => Some((*key, operation)),
                Verdict::Settled | Verdict::Conflict(_) => None,
            }
        })
        .collect();
    operations.sort_by_key(|(_, operation)| *operation == Operation::Remove);
    operations
}

/// Does what the kernel would; says so if an operation could have hit what is not there or not Linnet's.
fn apply(operations: Vec<(Key, Operation)>, kernel: &mut Kernel) -> Result<(), String> {
    for (key, operation) in operations {
        let entry = kernel.entry(key).or_default();
        match operation {
            Operation::Create(path) if *entry == Entry::default() => entry.ours = Some(path),
            Operation::Replace(path) if entry.ours.is_some() && entry.foreign.is_none() => entry.ours = Some(path),
            Operation::Remove if entry.ours.is_some() => entry.ours = None,
            other => return Err(format!("{other:?} on {key} with {entry:?}")),
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn applying_the_plan_gives_what_is_wanted((intents, mut kernel, swept) in world()) {
        let before = kernel.clone();
        apply(plan(&intents, &kernel, swept), &mut kernel).map_err(TestCaseError::fail)?;
        for key in 0..12 {
            let was = before.get(&key).cloned().unwrap_or_default();
            let is = kernel.get(&key).cloned().unwrap_or_default();
            prop_assert_eq!(is.foreign, was.foreign, "a foreign route was touched");
            let expected = match intents.get(&key).unwrap_or(&Intent::Unasked) {
                Intent::Route(_) if was.foreign.is_some() => was.ours,
                Intent::Route(path) => Some(*path),
                Intent::Hold => was.ours,
                Intent::Gone => None,
                Intent::Unasked if swept => None,
                Intent::Unasked => was.ours,
            };
            prop_assert_eq!(is.ours, expected);
        }
    }

    #[test]
    fn planning_again_gives_nothing((intents, mut kernel, swept) in world()) {
        apply(plan(&intents, &kernel, swept), &mut kernel).map_err(TestCaseError::fail)?;
        prop_assert_eq!(plan(&intents, &kernel, swept), vec![]);
    }

    #[test]
    fn before_the_sweep_only_what_was_asked_to_go_goes((intents, kernel, _) in world()) {
        for (key, operation) in plan(&intents, &kernel, false) {
            if operation == Operation::Remove {
                prop_assert_eq!(intents.get(&key), Some(&Intent::Gone));
            }
        }
    }
}
