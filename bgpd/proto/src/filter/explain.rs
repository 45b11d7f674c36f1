//! A filter's decision, told rule by rule by the code that decides.

use super::{Decision, Filter, MatchContext, Then};
use crate::types::Asn;
use crate::wire::attributes::Attributes;

/// How a filter came to its decision.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The rules that were asked, in order; the last one decided, unless the end did.
    pub rules: Vec<RuleReport>,
    /// What came of it.
    pub decision: Decision,
    /// What the filter made of the route's attributes, if it accepted it.
    pub result: Option<Attributes>,
}

/// One rule that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleReport {
    /// Its index.
    pub index: usize,
    /// Whether all of its checks were passed.
    pub matches: bool,
    /// Its conditions, those that must hold before those that may not.
    pub checks: Vec<Check>,
    /// What it does if it matches.
    pub then: Then,
    /// What it sets then, as configuration has it.
    pub sets: Vec<String>,
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// As configuration has it, `not` before it where it may not hold.
    pub condition: String,
    /// Whether the rule may match as far as this is concerned.
    pub passed: bool,
    /// What the route has of that.
    pub found: String,
}

impl Filter {
    /// What [`Filter::decide`] says, and why. Every condition of a rule is asked, where a decision stops at the first that
    /// is not met.
    #[must_use]
    pub fn explain(&self, route: &MatchContext<'_>, local_as: Asn) -> Explanation {
        let mut rules = Vec::new();
        let decision = self.walk(route, local_as, |index, now, matches| {
            let rule = &self.rules[index];
            let must = rule.conditions.iter().map(|condition| Check {
                condition: condition.to_string(),
                passed: condition.holds(now),
                found: condition.found(now),
            });
            let must_not = rule.except.iter().map(|condition| Check {
                condition: format!("not {condition}"),
                passed: !condition.holds(now),
                found: condition.found(now),
            });
            rules.push(RuleReport {
                index,
                matches,
                checks: must.chain(must_not).collect(),
                then: rule.then,
                sets: rule.set.entries().into_iter().map(|(key, value)| format!("{key} = {value}")).collect(),
            });
        });
        let result = match decision {
            Decision::Accept(accepted) => {
                let mut attributes = route.attributes.clone();
                self.apply(accepted, &mut attributes, local_as);
                Some(attributes)
            }
            Decision::Reject(_) => None,
        };
        Explanation { rules, decision, result }
    }
}
