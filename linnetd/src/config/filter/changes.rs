//! `set`: what a rule changes of a route.

use std::net::IpAddr;

use bgp_proto::filter::community::AnyCommunity;
use bgp_proto::filter::number::Adjust;
use bgp_proto::filter::{Set, SetNextHop};
use bgp_proto::hints::{Hint, Hints};
use bgp_proto::types::Asn;

use super::conditions::{ORIGINS, as_range};
use super::{Around, some, spoken};
use crate::config::OverlayMode;
use crate::config::reader::{Field, Section};
use crate::config::rooms::{mtu, overlay_mode, source, source6, unicast};

/// AS numbers of one `prepend-as`.
const MOST_PREPENDED: usize = 32;

pub(super) fn read(field: &Field<'_>, around: &Around<'_>) -> Option<Set> {
    let section = field.section("set")?;
    let weight = section.field("weight").map_or(Some(None), |field| field.integer(0..=u32::MAX).map(Some));
    let local_pref = section.field("local-pref").map_or(Some(None), |field| adjust(&field).map(Some));
    let med = section.field("med").map_or(Some(None), |field| adjust(&field).map(Some));
    let origin = section.field("origin").map_or(Some(None), |field| field.word(&ORIGINS).map(Some));
    let replace = section.field("replace-community").map_or(Some(Vec::new()), |field| replacement(&field));
    let remove = section.field("remove-community").map_or(Some(Vec::new()), |field| some(&field, spoken));
    // `add-community` has all kinds; `add-large-community` is from before it had.
    let add = section.field("add-community").map_or(Some(Vec::new()), |field| some(&field, spoken));
    let add_large = section.field("add-large-community").map_or(Some(Vec::new()), |field| some(&field, spoken));
    let link_bandwidth = section.field("link-bandwidth").map_or(Some(None), |field| {
        let text = field.string()?;
        let bandwidth = text.parse().ok();
        if bandwidth.is_none() {
            let next = "write bits a second like \"10G\", \"400M\" or \"1500000\", at most \"1000T\"";
            field.refuse(&format!("\"{text}\" is not a bandwidth"), next);
        }
        bandwidth.map(Some)
    });
    let remove_as = section.field("remove-as").map_or(Some(Vec::new()), |field| some(&field, as_range));
    let prepend_as = section.field("prepend-as").map_or(Some(Vec::new()), |field| numbers(&field));
    let prepend = section.field("prepend").map_or(Some(0), |field| field.integer(0..=32));
    let next_hop = section.field("next-hop").map_or(Some(None), |field| next_hop(&field).map(Some));
    let hints = hints(&section, around);
    section.finish();
    let (mut add_communities, add_large): (Vec<AnyCommunity>, Vec<AnyCommunity>) = (add?, add_large?);
    add_communities.extend(add_large);
    Some(Set {
        weight: weight?,
        local_pref: local_pref?,
        med: med?,
        origin: origin?,
        replace_communities: replace?,
        remove_communities: remove?,
        add_communities,
        link_bandwidth: link_bandwidth?,
        remove_as: remove_as?,
        prepend_as: prepend_as?,
        prepend: prepend?,
        next_hop: next_hop?,
        hints: hints?,
    })
}

/// What `[fib]` and `[overlay]` have for all routes, for these.
fn hints(section: &Section<'_>, around: &Around<'_>) -> Option<Hints> {
    fn hint<T>(value: Option<T>) -> Hint<T> {
        value.map_or(Hint::Auto, Hint::Is)
    }
    let mtu = section.field("mtu").map_or(Some(None), |field| mtu(&field).map(|mtu| Some(hint(mtu))));
    let four = |field: Field<'_>| source(&field, around.node).map(|source| Some(hint(source)));
    let source = section.field("source").map_or(Some(None), four);
    let six = |field: Field<'_>| source6(&field, around.node).map(|source| Some(hint(source)));
    let source6 = section.field("source6").map_or(Some(None), six);
    let overlay = section.field("overlay").map_or(Some(None), |field| {
        let mode = overlay_mode(&field)?;
        if mode != OverlayMode::Never && around.overlay == Some(OverlayMode::Never) {
            let culprit = format!("overlay = \"{}\" in a filter, and overlay.mode is \"never\"", mode.name());
            let next = "there is no overlay device then: set overlay.mode = \"auto\", and overlay = \"never\" in filters for the rest";
            field.refuse(&culprit, next);
            return None;
        }
        Some(Some(mode))
    });
    Some(Hints { mtu: mtu?, source: source?, source6: source6?, overlay: overlay? })
}

/// `200`, `"+10"`, `"-10"`.
fn adjust(field: &Field<'_>) -> Option<Adjust> {
    if field.is_integer() { field.integer(0..=u32::MAX).map(Adjust::To) } else { spoken(field) }
}

fn replacement(field: &Field<'_>) -> Option<Vec<AnyCommunity>> {
    let communities: Vec<AnyCommunity> = some(field, spoken)?;
    if communities.is_empty() {
        field.refuse(
            "\"replace-community\" names none, so that it says not which kind to replace",
            "write remove-community = [\"*\"] to drop all communities, \"*:*\" for the standard ones",
        );
        return None;
    }
    Some(communities)
}

fn numbers(field: &Field<'_>) -> Option<Vec<Asn>> {
    let numbers: Vec<Asn> = some(field, |item| item.integer(1..=u32::MAX).map(Asn))?;
    if numbers.len() > MOST_PREPENDED {
        field.refuse(
            &format!("{} AS numbers are prepended", numbers.len()),
            &format!("write at most {MOST_PREPENDED}; routers drop long paths"),
        );
        return None;
    }
    Some(numbers)
}

fn next_hop(field: &Field<'_>) -> Option<SetNextHop> {
    match field.string()? {
        "self" => return Some(SetNextHop::Own),
        "unchanged" => return Some(SetNextHop::Unchanged),
        text if text.parse::<IpAddr>().is_err() => {
            let culprit = format!("\"{text}\" is not a next hop");
            field.refuse(&culprit, "write \"self\", \"unchanged\" or an address like \"192.0.2.1\"");
            return None;
        }
        _ => {}
    }
    unicast(field).map(SetNextHop::Address)
}
