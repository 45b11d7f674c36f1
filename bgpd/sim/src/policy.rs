//! What filters mean, once more and naively: by the texts of their conditions, with nothing compiled, indexed or remembered.

use std::collections::BTreeSet;

use bgp_proto::filter::number::Adjust;
use bgp_proto::filter::{Condition, Filter, PrefixMatch, Set, SetNextHop, Source, Then, Validation};
use bgp_proto::types::{Asn, NextHop, Prefix};
use bgp_proto::wire::aspath::{AsPath, SegmentKind};
use bgp_proto::wire::attributes::Attributes;
use bgp_proto::wire::community::ExtendedCommunity;

/// What an accepted route gets, in order; `None`: it is rejected.
pub fn ask<'f>(
    filter: &'f Filter,
    prefix: Prefix,
    attributes: &Attributes,
    peer: &str,
    source: Source,
    validation: Validation,
    local_as: Asn,
) -> Option<Vec<&'f Set>> {
    let mut now = attributes.clone();
    let mut sets = Vec::new();
    for rule in &filter.rules {
        let holds = |condition: &Condition| match condition {
            Condition::Validation(states) => states.contains(&validation),
            other => holds(other, prefix, &now, peer, source),
        };
        if !rule.conditions.iter().all(holds) || rule.except.iter().any(holds) {
            continue;
        }
        sets.push(&rule.set);
        match rule.then {
            Then::Accept => return Some(sets),
            Then::Reject => return None,
            Then::Next => change(&rule.set, &mut now, local_as),
        }
    }
    None
}

fn holds(condition: &Condition, prefix: Prefix, attributes: &Attributes, peer: &str, source: Source) -> bool {
    let asns: Vec<u32> = attributes.as_path.asns().map(|asn| asn.0).collect();
    let is_among = |entries: &[PrefixMatch]| {
        entries.iter().any(|entry| {
            let length = prefix.length();
            entry.ge <= length && length <= entry.le && entry.prefix.contains(prefix)
        })
    };
    let one_of = |texts: Vec<String>, text: &str| texts.iter().any(|known| known == text);
    match condition {
        Condition::Prefix(entries) => is_among(entries),
        Condition::PrefixList(lists) => lists.iter().any(|list| is_among(list.entries())),
        Condition::Validation(_) => false,
        Condition::Family(families) => {
            one_of(families.iter().map(ToString::to_string).collect(), &prefix.family().to_string())
        }
        Condition::AsPath(patterns) => patterns.iter().any(|pattern| path_is(&pattern.to_string(), &asns)),
        Condition::AsPathLength(range) => range.ge as usize <= asns.len() && asns.len() <= range.le as usize,
        Condition::OriginAs(ranges) => {
            asns.last().is_some_and(|asn| ranges.iter().any(|range| range.first.0 <= *asn && *asn <= range.last.0))
        }
        Condition::NeighborAs(ranges) => {
            asns.first().is_some_and(|asn| ranges.iter().any(|range| range.first.0 <= *asn && *asn <= range.last.0))
        }
        Condition::Community(patterns) => patterns
            .iter()
            .all(|pattern| communities(attributes).iter().any(|community| is_like(community, &pattern.to_string()))),
        Condition::NextHop(prefixes) => prefixes.iter().any(|prefix| prefix.address() == attributes.next_hop.address()),
        Condition::Peer(names) => one_of(names.clone(), peer),
        Condition::Origin(origins) => origins.contains(&attributes.origin),
        Condition::Source(sources) => sources.contains(&source),
        Condition::Med(range) => (range.ge..=range.le).contains(&attributes.med.unwrap_or(0)),
        Condition::LocalPref(range) => (range.ge..=range.le).contains(&attributes.local_pref.unwrap_or(100)),
    }
}

/// Patterns of numbers, `.*` and `.{1,2}`, by trying every way. Paths here have no sets.
fn path_is(pattern: &str, asns: &[u32]) -> bool {
    let (start, end) = (pattern.starts_with('^'), pattern.ends_with('$'));
    let words: Vec<&str> = pattern.trim_matches(|c| "^$".contains(c)).split_whitespace().collect();
    let starts = if start { 0..=0 } else { 0..=asns.len() };
    starts.into_iter().any(|from| words_are(&words, &asns[from..], end))
}

fn words_are(words: &[&str], asns: &[u32], to_end: bool) -> bool {
    let (least, most) = match words.first() {
        None => return !to_end || asns.is_empty(),
        Some(&".*") => (0, asns.len()),
        Some(&".{1,2}") => (1, 2),
        Some(number) => {
            return asns.first().is_some_and(|asn| asn.to_string() == **number)
                && words_are(&words[1..], &asns[1..], to_end);
        }
    };
    (least..=most.min(asns.len())).any(|taken| words_are(&words[1..], &asns[taken..], to_end))
}

fn communities(attributes: &Attributes) -> BTreeSet<String> {
    let standard = attributes.communities.iter().map(|c| format!("{}:{}", c.0 >> 16, c.0 & 0xffff));
    let large = attributes.large_communities.iter().map(ToString::to_string);
    let extended = attributes.extended_communities.iter().map(ToString::to_string);
    standard.chain(large).chain(extended).collect()
}

/// Part by part; `*` alone is everything, and behind the name of an extended one all that follows.
fn is_like(community: &str, pattern: &str) -> bool {
    let (community, pattern): (Vec<&str>, Vec<&str>) = (community.split(':').collect(), pattern.split(':').collect());
    let numeric = |part: &str| part.starts_with(|c: char| c.is_ascii_digit());
    match *pattern.as_slice() {
        ["*"] => true,
        [name, "*"] if !numeric(name) => community[0] == name,
        _ => {
            let same = |(part, wanted): (&&str, &&str)| *wanted == "*" && numeric(part) || part == wanted;
            community.len() == pattern.len() && community.iter().zip(&pattern).all(same)
        }
    }
}

/// Makes a rule's changes.
pub fn change(set: &Set, attributes: &mut Attributes, local_as: Asn) {
    let adjusted = |change: Option<Adjust>, value: Option<u32>, absent: u64| match change {
        None => value,
        Some(Adjust::To(new)) => Some(new),
        Some(Adjust::Up(by)) => Some((value.map_or(absent, u64::from) + u64::from(by)).min(u64::from(u32::MAX)) as u32),
        Some(Adjust::Down(by)) => Some(value.map_or(absent, u64::from).saturating_sub(u64::from(by)) as u32),
    };
    if let Some(weight) = set.weight {
        attributes.weight = weight;
    }
    attributes.local_pref = adjusted(set.local_pref, attributes.local_pref, 100);
    attributes.med = adjusted(set.med, attributes.med, 0);
    if let Some(origin) = set.origin {
        attributes.origin = origin;
    }
    change_communities(set, attributes, local_as);
    let mut asns = vec![local_as; usize::from(set.prepend)];
    asns.extend(&set.prepend_as);
    let goes = |asn: u32| set.remove_as.iter().any(|range| range.first.0 <= asn && asn <= range.last.0);
    asns.extend(attributes.as_path.asns().filter(|asn| !goes(asn.0)));
    let unset = attributes.as_path.segments.iter().all(|(kind, _)| *kind == SegmentKind::Sequence);
    if unset {
        attributes.as_path = AsPath::sequence(asns);
    }
    if let Some(SetNextHop::Address(address)) = set.next_hop
        && attributes.next_hop.address().is_ipv4() == address.is_ipv4()
    {
        attributes.next_hop = NextHop::from(address);
    }
}

fn change_communities(set: &Set, attributes: &mut Attributes, local_as: Asn) {
    let kind = |text: &str| match text.split(':').count() {
        2 => 0,
        3 if text.starts_with(|c: char| c.is_ascii_digit()) => 1,
        _ => 2,
    };
    let mut texts = communities(attributes);
    let replaced: Vec<String> = set.replace_communities.iter().map(ToString::to_string).collect();
    texts.retain(|text| !replaced.iter().any(|new| kind(new) == kind(text)));
    texts.extend(replaced);
    let removed: Vec<String> = set.remove_communities.iter().map(ToString::to_string).collect();
    texts.retain(|text| !removed.iter().any(|pattern| is_like(text, pattern)));
    texts.extend(set.add_communities.iter().map(ToString::to_string));
    if let Some(bandwidth) = set.link_bandwidth {
        texts.retain(|text| !text.starts_with("lb:"));
        texts.insert(ExtendedCommunity::link_bandwidth(local_as, bandwidth).to_string());
    }
    let mut standard: Vec<_> =
        texts.iter().filter(|text| kind(text) == 0).filter_map(|text| text.parse().ok()).collect();
    let mut large: Vec<_> = texts.iter().filter(|text| kind(text) == 1).filter_map(|text| text.parse().ok()).collect();
    let mut extended: Vec<_> =
        texts.iter().filter(|text| kind(text) == 2).filter_map(|text| text.parse().ok()).collect();
    standard.sort_unstable();
    large.sort_unstable();
    extended.sort_unstable();
    attributes.communities = standard.into();
    attributes.large_communities = large.into();
    attributes.extended_communities = extended.into();
}
