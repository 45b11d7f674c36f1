//! `[[bgp.filter]]`: names, rules, and the small languages in them.

use bgp_proto::filter::{Filter, PrefixMatch, PrefixMatchError, Rule, Set};
use bgp_proto::wire::community::{Community, LargeCommunity};

use super::reader::{Field, Section};
use super::rooms::{all, warn_host_bits};

/// Well-known communities that have a name in the file (RFC 1997, RFC 7999, RFC 8326).
const NAMED: [(&str, u32); 5] = [
    ("no-export", 0xffff_ff01),
    ("no-advertise", 0xffff_ff02),
    ("no-export-subconfed", 0xffff_ff03),
    ("blackhole", 0xffff_029a),
    ("graceful-shutdown", 0xffff_0000),
];

pub(super) fn filter(section: &Section<'_>) -> Option<Filter> {
    let name = section.required("name", "\"from-tor\"").and_then(|field| name(&field));
    let rules = section.required("rules", "[{ then = \"accept\" }]").and_then(|field| all(&field, rule));
    section.finish();
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

fn rule(field: &Field<'_>) -> Option<Rule> {
    let section = field.section("the rule")?;
    let mut rule = Rule::default();
    let conditions = section.field("match").map_or(Some(()), |field| conditions(&field, &mut rule));
    let set = section.field("set");
    let changes = set.as_ref().map_or(Some(()), |field| changes(field, &mut rule.set));
    let accept =
        section.required("then", "\"accept\"").and_then(|field| field.word(&[("accept", true), ("reject", false)]));
    if let (Some(set), Some(false)) = (&set, accept) {
        set.refuse("a rule that rejects sets something", "drop \"set\", or write then = \"accept\"");
    }
    section.finish();
    conditions.and(changes)?;
    rule.accept = accept?;
    Some(rule)
}

fn conditions(field: &Field<'_>, rule: &mut Rule) -> Option<()> {
    let section = field.section("match")?;
    let prefixes = section.field("prefix").map_or(Some(Vec::new()), |field| all(&field, prefix_match));
    let communities = section.field("community").map_or(Some(Vec::new()), |field| all(&field, community));
    let large = section.field("large-community").map_or(Some(Vec::new()), |field| all(&field, large_community));
    let local = section.field("local").map_or(Some(None), |field| field.boolean().map(Some));
    section.finish();
    rule.prefixes = prefixes?;
    rule.communities = communities?;
    rule.large_communities = large?;
    rule.local = local?;
    Some(())
}

fn changes(field: &Field<'_>, set: &mut Set) -> Option<()> {
    let section = field.section("set")?;
    let local_pref = section.field("local-pref").map_or(Some(None), |field| field.integer(0..=u32::MAX).map(Some));
    let med = section.field("med").map_or(Some(None), |field| field.integer(0..=u32::MAX).map(Some));
    let communities = section.field("add-community").map_or(Some(Vec::new()), |field| all(&field, community));
    let large = section.field("add-large-community").map_or(Some(Vec::new()), |field| all(&field, large_community));
    let prepend = section.field("prepend").map_or(Some(0), |field| field.integer(0..=32));
    section.finish();
    set.local_pref = local_pref?;
    set.med = med?;
    set.add_communities = communities?;
    set.add_large_communities = large?;
    set.prepend = prepend?;
    Some(())
}

/// `10.0.0.0/8`, `10.0.0.0/8 le 24`, `10.0.0.0/8 ge 16 le 24`.
fn prefix_match(field: &Field<'_>) -> Option<PrefixMatch> {
    let text = field.string()?;
    let wanted: PrefixMatch = match text.parse() {
        Ok(wanted) => wanted,
        Err(error) => {
            let error: PrefixMatchError = error;
            let error = error.to_string();
            let (culprit, next) =
                error.split_once("; ").unwrap_or((&error, "write it like \"10.0.0.0/8 ge 16 le 24\""));
            field.refuse(culprit, next);
            return None;
        }
    };
    let written = text.split_whitespace().next().unwrap_or_default();
    warn_host_bits(field, written, wanted.prefix);
    Some(wanted)
}

fn community(field: &Field<'_>) -> Option<Community> {
    let text = field.string()?;
    let value = NAMED.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).or_else(|| {
        let (high, low) = text.split_once(':')?;
        Some(u32::from(high.parse::<u16>().ok()?) << 16 | u32::from(low.parse::<u16>().ok()?))
    });
    if value.is_none() {
        let names = NAMED.map(|(name, _)| name).join(", ");
        field.refuse(
            &format!("\"{text}\" is not a community"),
            &format!("write two numbers up to 65535 like \"65001:100\", or one of {names}"),
        );
    }
    value.map(Community)
}

fn large_community(field: &Field<'_>) -> Option<LargeCommunity> {
    let text = field.string()?;
    let numbers: Option<Vec<u32>> = text.split(':').map(|part| part.parse().ok()).collect();
    match numbers.as_deref() {
        Some(&[global, local1, local2]) => Some(LargeCommunity { global, local1, local2 }),
        _ => {
            field.refuse(&format!("\"{text}\" is not a large community"), "write three numbers like \"64512:1:2\"");
            None
        }
    }
}

/// How a community stands in the file.
pub(super) fn community_text(community: Community) -> String {
    match NAMED.iter().find(|(_, value)| *value == community.0) {
        Some((name, _)) => (*name).to_owned(),
        None => format!("{}:{}", community.0 >> 16, community.0 & 0xffff),
    }
}
