//! Filters: a list of rules, of which the first that matches and says `accept` or `reject` decides; the end rejects.
//!
//! A rule that says `next` changes the route and lets the rules behind it look at it as changed. A filter is asked in one
//! place, `Filter::walk`: what decides is what explains.

pub mod as_path;
pub mod community;
pub mod condition;
mod explain;
pub mod number;
mod prefix_match;
mod set;
mod text;

use std::fmt;

use crate::types::Asn;
use crate::wire::attributes::Attributes;

pub use condition::{Condition, MatchContext, Source, Validation};
pub use explain::{Check, Explanation, RuleReport};
pub use prefix_match::{PrefixList, PrefixMatch, PrefixMatchError};
pub use set::{Set, SetNextHop};

/// A named list of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Its name in configuration.
    pub name: String,
    /// In order. At most [`Filter::MOST_NEXT`] of them say `next`.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// All of these must hold.
    pub conditions: Vec<Condition>,
    /// None of these may hold.
    pub except: Vec<Condition>,
    /// What the route gets, unless the rule rejects.
    pub set: Set,
    /// What then.
    pub then: Then,
}

/// What a rule that matches does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Then {
    /// The route is accepted.
    Accept,
    /// The route is rejected.
    #[default]
    Reject,
    /// The next rule is asked.
    Next,
}

impl Then {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Reject => "reject",
            Self::Next => "next",
        }
    }
}

/// What a filter makes of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Accepted.
    Accept(Accepted),
    /// Rejected by the rule with this index, or by the end (`None`).
    Reject(Option<usize>),
}

/// By which rules a route was accepted: what it becomes depends on this and on nothing else of the filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Accepted {
    /// The rule with this index accepted it.
    pub rule: u32,
    /// Of the rules that say `next`, counted from 0, those that matched before.
    passed: u32,
}

impl Filter {
    /// Rules of one filter that may say `next`. Those beyond match nothing.
    pub const MOST_NEXT: usize = 32;

    /// Accepts everything.
    #[must_use]
    pub fn accept_all(name: &str) -> Self {
        Self { name: name.to_owned(), rules: vec![Rule::accept(Vec::new())] }
    }

    /// Which rule decides. `local_as`: see [`Set::apply`].
    #[must_use]
    pub fn decide(&self, route: &MatchContext<'_>, local_as: Asn) -> Decision {
        self.walk(route, local_as, |_, _, _| ())
    }

    /// Asks one rule after the other; `asked` hears of each that was asked: its index, the route as it stood before it, and
    /// whether it matched.
    fn walk(
        &self,
        route: &MatchContext<'_>,
        local_as: Asn,
        mut asked: impl FnMut(usize, &MatchContext<'_>, bool),
    ) -> Decision {
        let mut changed: Option<Box<Attributes>> = None;
        let (mut nexts, mut passed) = (0, 0u32);
        for (index, rule) in self.rules.iter().enumerate() {
            let now = MatchContext { attributes: changed.as_deref().unwrap_or(route.attributes), ..*route };
            let bit = 1u32.checked_shl(nexts).unwrap_or(0);
            nexts += u32::from(rule.then == Then::Next);
            let matches = (rule.then != Then::Next || bit != 0) && rule.matches(&now);
            asked(index, &now, matches);
            match rule.then {
                _ if !matches => {}
                Then::Accept => return Decision::Accept(Accepted { rule: index as u32, passed }),
                Then::Reject => return Decision::Reject(Some(index)),
                Then::Next => {
                    passed |= bit;
                    if !rule.set.is_empty() {
                        let attributes = changed.get_or_insert_with(|| Box::new(route.attributes.clone()));
                        rule.set.apply(attributes, local_as);
                    }
                }
            }
        }
        Decision::Reject(None)
    }

    /// What an accepted route gets, rule by rule.
    pub fn sets(&self, accepted: Accepted) -> impl Iterator<Item = &Set> {
        let before = self.rules.iter().take(accepted.rule as usize).filter(|rule| rule.then == Then::Next);
        let passed = move |at: &usize| 1u32.checked_shl(*at as u32).is_some_and(|bit| accepted.passed & bit != 0);
        let before = before.enumerate().filter(move |(at, _)| passed(at)).map(|(_, rule)| rule);
        before.chain(self.rules.get(accepted.rule as usize)).map(|rule| &rule.set)
    }

    /// Whether an accepted route becomes another.
    #[must_use]
    pub fn changes(&self, accepted: Accepted) -> bool {
        self.sets(accepted).any(|set| !set.is_empty())
    }

    /// Changes `attributes` of an accepted route.
    pub fn apply(&self, accepted: Accepted, attributes: &mut Attributes, local_as: Asn) {
        self.sets(accepted).for_each(|set| set.apply(attributes, local_as));
    }

    /// The next hop that an accepted route gets; the last rule's counts.
    #[must_use]
    pub fn next_hop(&self, accepted: Accepted) -> Option<SetNextHop> {
        self.sets(accepted).filter_map(|set| set.next_hop).last()
    }

    /// Whether some rule looks at the validation state, which changes when VRPs do.
    #[must_use]
    pub fn looks_at_validation(&self) -> bool {
        let mut conditions = self.rules.iter().flat_map(|rule| rule.conditions.iter().chain(&rule.except));
        conditions.any(|condition| matches!(condition, Condition::Validation(_)))
    }

    /// Whether some rule looks at the prefix, or at what may be another for each prefix. If none does, one decision holds
    /// for every prefix with the same attributes from the same peer.
    #[must_use]
    pub fn looks_at_prefix(&self) -> bool {
        self.rules.iter().flat_map(|rule| rule.conditions.iter().chain(&rule.except)).any(Condition::looks_at_prefix)
    }
}

impl Rule {
    /// Accepts what is as `conditions` say.
    #[must_use]
    pub fn accept(conditions: Vec<Condition>) -> Self {
        Self { conditions, then: Then::Accept, ..Self::default() }
    }

    /// Rejects what is as `conditions` say.
    #[must_use]
    pub fn reject(conditions: Vec<Condition>) -> Self {
        Self { conditions, then: Then::Reject, ..Self::default() }
    }

    /// Whether all conditions hold, and none of those that may not.
    #[must_use]
    pub fn matches(&self, route: &MatchContext<'_>) -> bool {
        self.conditions.iter().all(|condition| condition.holds(route))
            && !self.except.iter().any(|condition| condition.holds(route))
    }
}

impl fmt::Display for Rule {
    /// As configuration has it, on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut conditions: Vec<String> = self.conditions.iter().map(ToString::to_string).collect();
        if !self.except.is_empty() {
            let except: Vec<String> = self.except.iter().map(ToString::to_string).collect();
            conditions.push(format!("not = {{ {} }}", except.join(", ")));
        }
        f.write_str("{ ")?;
        if !conditions.is_empty() {
            write!(f, "match = {{ {} }}, ", conditions.join(", "))?;
        }
        let changes: Vec<String> =
            self.set.entries().into_iter().map(|(key, value)| format!("{key} = {value}")).collect();
        if !changes.is_empty() {
            write!(f, "set = {{ {} }}, ", changes.join(", "))?;
        }
        write!(f, "then = \"{}\" }}", self.then.name())
    }
}

#[cfg(test)]
mod tests;
