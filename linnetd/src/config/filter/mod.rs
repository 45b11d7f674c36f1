//! `[[bgp.filter]]` and `[[bgp.prefix-list]]`: names, rules, and the small languages in them.

mod changes;
mod conditions;

use std::sync::Arc;

use bgp_proto::filter::{Filter, PrefixList, PrefixMatch, PrefixMatchError, Rule, Then};

use super::reader::{Field, NOT_APPLIED, Section};
use super::rooms::{all, warn_host_bits};
use super::{Node, OverlayMode};

/// What rules depend on outside of their filter.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    /// The lists that they may name.
    pub(super) lists: &'a [Arc<PrefixList>],
    /// `[node]`, if it was read.
    pub(super) node: Option<&'a Node>,
    /// `overlay.mode`, if it was read.
    pub(super) overlay: Option<OverlayMode>,
}

/// All filters, with the lists that they name.
pub(super) fn filters(section: &Section<'_>, around: &Around<'_>) -> Option<Vec<Filter>> {
    let mut read: Vec<Filter> = Vec::new();
    let mut sound = true;
    for table in section.sections("filter", "[[bgp.filter]]") {
        match filter(&table, around) {
            Some(filter) if read.iter().any(|other| other.name == filter.name) => {
                let culprit = format!("filter \"{}\" is defined twice", filter.name);
                table.report.error(table.span.clone(), &culprit, NOT_APPLIED, "rename one of them");
                sound = false;
            }
            Some(filter) => read.push(filter),
            None => sound = false,
        }
    }
    sound.then_some(read)
}

/// All prefix lists.
pub(super) fn prefix_lists(section: &Section<'_>) -> Option<Vec<Arc<PrefixList>>> {
    let mut read: Vec<Arc<PrefixList>> = Vec::new();
    let mut sound = true;
    for table in section.sections("prefix-list", "[[bgp.prefix-list]]") {
        let name = table.required("name", "\"bogons\"").and_then(|field| name(&field));
        let prefixes = table.required("prefixes", "[\"10.0.0.0/8 le 32\"]").and_then(|field| all(&field, prefix_match));
        table.finish();
        match name.zip(prefixes) {
            Some((name, _)) if read.iter().any(|other| other.name() == name) => {
                let culprit = format!("prefix list \"{name}\" is defined twice");
                table.report.error(table.span.clone(), &culprit, NOT_APPLIED, "rename one of them");
                sound = false;
            }
            Some((name, prefixes)) => read.push(Arc::new(PrefixList::new(name, prefixes))),
            None => sound = false,
        }
    }
    sound.then_some(read)
}

fn filter(section: &Section<'_>, around: &Around<'_>) -> Option<Filter> {
    let name = section.required("name", "\"from-tor\"").and_then(|field| name(&field));
    let rules_field = section.required("rules", "[{ then = \"accept\" }]");
    let rules = rules_field.as_ref().and_then(|field| all(field, |field| rule(field, around)));
    section.finish();
    let nexts = rules.iter().flatten().filter(|rule: &&Rule| rule.then == Then::Next).count();
    if let Some(field) = rules_field.filter(|_| nexts > Filter::MOST_NEXT) {
        field.refuse(
            &format!("{nexts} rules of one filter say then = \"next\""),
            &format!("at most {} may: write two rules in one, or another filter", Filter::MOST_NEXT),
        );
        return None;
    }
    Some(Filter { name: name?, rules: rules? })
}

/// A name that a person can type on a command line.
pub(super) fn name(field: &Field<'_>) -> Option<String> {
    let name = field.string()?;
    let fits = (1..=64).contains(&name.len()) && name.chars().all(|c| c.is_ascii_graphic() && !"\"'\\`".contains(c));
    if !fits {
        field.refuse(&format!("\"{name}\" is not a name"), "use 1 to 64 visible ASCII characters without quotes");
    }
    fits.then(|| name.to_owned())
}

fn rule(field: &Field<'_>, around: &Around<'_>) -> Option<Rule> {
    let section = field.section("the rule")?;
    let matched =
        section.field("match").map_or_else(|| Some(Default::default()), |field| conditions::read(&field, around.lists));
    let set_field = section.field("set");
    let set = set_field.as_ref().map_or_else(|| Some(Default::default()), |field| changes::read(field, around));
    let then = section
        .required("then", "\"accept\"")
        .and_then(|field| field.word(&[("accept", Then::Accept), ("reject", Then::Reject), ("next", Then::Next)]));
    if let (Some(set), Some(Then::Reject)) = (&set_field, then) {
        set.refuse("a rule that rejects sets something", "drop \"set\", or write then = \"accept\" or \"next\"");
    }
    section.finish();
    let (conditions, except) = matched?;
    Some(Rule { conditions, except, set: set?, then: then? })
}

/// `10.0.0.0/8`, `10.0.0.0/8 le 24`, `10.0.0.0/8 ge 16 le 24`.
fn prefix_match(field: &Field<'_>) -> Option<PrefixMatch> {
    let text = field.string()?;
    let wanted: PrefixMatch = text.parse().map_err(|error: PrefixMatchError| refuse(field, &error)).ok()?;
    let written = text.split_whitespace().next().unwrap_or_default();
    warn_host_bits(field, written, wanted.prefix);
    Some(wanted)
}

/// An error of a value says what is wrong and, behind a semicolon, what to write.
fn refuse(field: &Field<'_>, error: &impl ToString) {
    let error = error.to_string();
    let (culprit, next) = error.split_once("; ").unwrap_or((&error, "see docs/filters.md"));
    field.refuse(culprit, next);
}

/// A string that reads as a `T`, whose error says what to write.
fn spoken<T: std::str::FromStr<Err: ToString>>(field: &Field<'_>) -> Option<T> {
    let text = field.string()?;
    text.parse().map_err(|error: T::Err| refuse(field, &error)).ok()
}

/// A list, or one value alone.
fn some<'a, T>(field: &Field<'a>, read: impl Fn(&Field<'a>) -> Option<T>) -> Option<Vec<T>> {
    if field.is_list() { all(field, read) } else { Some(vec![read(field)?]) }
}
