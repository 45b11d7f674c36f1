//! `[[bgp.aggregate]]`.

use std::fmt::{self, Formatter};

use bgp_proto::rib::Aggregate;
use bgp_proto::types::Prefix;

use bgp_proto::wire::community::{Community, LargeCommunity};

use super::print::{list, string};
use super::reader::{Field, Section};
use super::rooms::{all, prefix};

pub(super) fn aggregates(section: &Section<'_>) -> Option<Vec<Aggregate>> {
    let mut seen: Vec<Prefix> = Vec::new();
    let mut read = Vec::new();
    for table in section.sections("aggregate", "[[bgp.aggregate]]") {
        let field = table.required("prefix", "\"10.0.0.0/8\"");
        let prefix = field.as_ref().and_then(prefix);
        if let (Some(field), Some(prefix)) = (&field, prefix) {
            if seen.contains(&prefix) {
                field.refuse(&format!("{prefix} is aggregated twice"), "remove one of the two");
            }
            seen.push(prefix);
        }
        let summary_only = table.field("summary-only").map_or(Some(false), |field| field.boolean());
        if let Some(field) = table.field("as-set")
            && field.boolean() == Some(true)
        {
            field.refuse(
                "as-set = true asks for AS_SET in paths, which RFC 9774 forbids to send",
                "leave it out: the aggregate's path begins with this AS, and ATOMIC_AGGREGATE says that more is behind it",
            );
        }
        let med = table.field("med").map_or(Some(None), |field| field.integer(0..=u32::MAX).map(Some));
        let local_pref = table.field("local-pref").map_or(Some(None), |field| field.integer(0..=u32::MAX).map(Some));
        let communities = table.field("community").map_or(Some(Vec::new()), |field| all(&field, community));
        let large = table.field("large-community").map_or(Some(Vec::new()), |field| all(&field, large_community));
        table.finish();
        read.push((|| {
            Some(Aggregate {
                prefix: prefix?,
                summary_only: summary_only?,
                med: med?,
                local_pref: local_pref?,
                communities: communities?,
                large_communities: large?,
            })
        })());
    }
    read.into_iter().collect()
}

pub(super) fn print(f: &mut Formatter<'_>, aggregate: &Aggregate) -> fmt::Result {
    writeln!(f, "\n[[bgp.aggregate]]")?;
    writeln!(f, "prefix = {}", string(aggregate.prefix))?;
    writeln!(f, "summary-only = {}", aggregate.summary_only)?;
    if let Some(med) = aggregate.med {
        writeln!(f, "med = {med}")?;
    }
    if let Some(local_pref) = aggregate.local_pref {
        writeln!(f, "local-pref = {local_pref}")?;
    }
    if !aggregate.communities.is_empty() {
        writeln!(
            f,
            "community = {}",
            list(aggregate.communities.iter().map(|it| format!("{}:{}", it.0 >> 16, it.0 & 0xffff)))
        )?;
    }
    if !aggregate.large_communities.is_empty() {
        let large = aggregate.large_communities.iter().map(|c| format!("{}:{}:{}", c.global, c.local1, c.local2));
        writeln!(f, "large-community = {}", list(large))?;
    }
    Ok(())
}

fn community(field: &Field<'_>) -> Option<Community> {
    let text = field.string()?;
    let numbers = text.split_once(':').and_then(|(high, low)| Some((high.parse().ok()?, low.parse().ok()?)));
    let Some((high, low)): Option<(u16, u16)> = numbers else {
        field.refuse(&format!("\"{text}\" is not a community"), "write two numbers up to 65535 like \"65001:100\"");
        return None;
    };
    Some(Community(u32::from(high) << 16 | u32::from(low)))
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
