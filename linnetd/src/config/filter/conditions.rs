//! `match`: what a rule asks of a route.

use std::sync::Arc;

use bgp_proto::filter::number::{AsnRange, NumberMatch};
use bgp_proto::filter::{Condition, PrefixList, Source, Validation};
use bgp_proto::types::{Asn, Family, Prefix};
use bgp_proto::wire::attributes::Origin;

use super::{name, prefix_match, refuse, some, spoken};
use crate::config::reader::{Field, Section, nearest, quoted};
use crate::config::rooms::warn_host_bits;

const FAMILIES: [(&str, Family); 2] = [("ipv4-unicast", Family::Ipv4Unicast), ("ipv6-unicast", Family::Ipv6Unicast)];
pub(super) const ORIGINS: [(&str, Origin); 3] =
    [("igp", Origin::Igp), ("egp", Origin::Egp), ("incomplete", Origin::Incomplete)];

/// What must hold, and what may not.
pub(super) fn read(field: &Field<'_>, lists: &[Arc<PrefixList>]) -> Option<(Vec<Condition>, Vec<Condition>)> {
    let section = field.section("match")?;
    let except = section.field("not").map_or(Some(Vec::new()), |field| {
        let section = field.section("not")?;
        let conditions = conditions(&section, lists);
        section.finish();
        conditions
    });
    let conditions = conditions(&section, lists);
    section.finish();
    Some((conditions?, except?))
}

/// In the order of [`Condition`]. Every key is read, so that all errors are found.
fn conditions(section: &Section<'_>, lists: &[Arc<PrefixList>]) -> Option<Vec<Condition>> {
    let at = |key: &'static str, read: &dyn Fn(&Field<'_>) -> Option<Condition>| {
        section.field(key).map(|field| read(&field))
    };
    let validation = |field: &Field<'_>| {
        Some(Condition::Validation(several(field, |item| {
            item.word(&Validation::ALL.map(|state| (state.name(), state)))
        })?))
    };
    let read = [
        at("prefix", &|field| Some(Condition::Prefix(several(field, prefix_match)?))),
        at("prefix-list", &|field| Some(Condition::PrefixList(several(field, |item| list(item, lists))?))),
        at("family", &|field| Some(Condition::Family(several(field, |item| item.word(&FAMILIES))?))),
        at("as-path", &|field| Some(Condition::AsPath(several(field, spoken)?))),
        at("as-path-length", &|field| Some(Condition::AsPathLength(number(field)?))),
        at("origin-as", &|field| Some(Condition::OriginAs(several(field, as_range)?))),
        at("neighbor-as", &|field| Some(Condition::NeighborAs(several(field, as_range)?))),
        communities(section),
        at("next-hop", &|field| Some(Condition::NextHop(several(field, block)?))),
        at("peer", &|field| Some(Condition::Peer(several(field, name)?))),
        at("origin", &|field| Some(Condition::Origin(several(field, |item| item.word(&ORIGINS))?))),
        source(section),
        at("med", &|field| Some(Condition::Med(number(field)?))),
        at("local-pref", &|field| Some(Condition::LocalPref(number(field)?))),
        at("validation", &validation),
    ];
    read.into_iter().flatten().collect()
}

/// `community` has all kinds; `large-community` is from before it had.
fn communities(section: &Section<'_>) -> Option<Option<Condition>> {
    let fields = ["community", "large-community"].map(|key| section.field(key));
    if fields.iter().all(Option::is_none) {
        return None;
    }
    let read: Vec<_> = fields.iter().flatten().map(|field| several(field, spoken)).collect();
    let patterns = read.into_iter().collect::<Option<Vec<_>>>().map(|patterns| patterns.concat());
    Some(patterns.map(Condition::Community))
}

/// `source`; `local` is from before it was there.
fn source(section: &Section<'_>) -> Option<Option<Condition>> {
    let all = Source::ALL.map(|source| (source.name(), source));
    match (section.field("source"), section.field("local")) {
        (None, None) => None,
        (Some(_), Some(local)) => {
            local.refuse(
                "both \"source\" and \"local\"",
                "write source = \"local\" for local = true, and drop \"local\"",
            );
            Some(None)
        }
        (Some(field), None) => Some(several(&field, |item| item.word(&all)).map(Condition::Source)),
        (None, Some(field)) => Some(field.boolean().map(|local| match local {
            true => Condition::Source(vec![Source::Local]),
            false => Condition::Source(vec![Source::Internal, Source::External]),
        })),
    }
}

/// At least one value: a condition that names none would hold for no route, which nobody means.
fn several<'a, T>(field: &Field<'a>, read: impl Fn(&Field<'a>) -> Option<T>) -> Option<Vec<T>> {
    let values = some(field, read)?;
    if values.is_empty() {
        field.refuse(&format!("\"{}\" names nothing that could match", field.key), "drop it to match every route");
        return None;
    }
    Some(values)
}

fn list(field: &Field<'_>, lists: &[Arc<PrefixList>]) -> Option<Arc<PrefixList>> {
    let wanted = field.string()?;
    if let Some(list) = lists.iter().find(|list| list.name() == wanted) {
        return Some(list.clone());
    }
    let known = || lists.iter().map(|list| list.name());
    let next = match nearest(wanted, known()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None if lists.is_empty() => format!("define it with [[bgp.prefix-list]] name = \"{wanted}\""),
        None => format!("define it with [[bgp.prefix-list]], or use one of {}", quoted(known())),
    };
    field.refuse(&format!("prefix list \"{wanted}\" is not defined"), &next);
    None
}

fn number(field: &Field<'_>) -> Option<NumberMatch> {
    if field.is_integer() { field.integer(0..=u32::MAX).map(NumberMatch::exactly) } else { spoken(field) }
}

pub(super) fn as_range(field: &Field<'_>) -> Option<AsnRange> {
    if field.is_integer() {
        return field.integer(0..=u32::MAX).map(|number| AsnRange::from(Asn(number)));
    }
    spoken(field)
}

/// A block of addresses, or one address.
fn block(field: &Field<'_>) -> Option<Prefix> {
    let text = field.string()?;
    let Ok(block) = text.parse::<Prefix>() else {
        refuse(field, &format!("\"{text}\" is no address and no block of them; write 192.0.2.1 or 192.0.2.0/24"));
        return None;
    };
    warn_host_bits(field, text, block);
    Some(block)
}
