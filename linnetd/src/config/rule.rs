//! `rules` of `[fib]`: what is looked up in the routing table of Linnet's.

use bgp_proto::types::{Interface, Prefix};

use super::FibRule;
use super::print::string;
use super::reader::Field;
use super::rooms::{all, prefix};

/// `table`: of `[fib]`.
pub(super) fn rules(field: &Field<'_>, table: Option<u32>) -> Option<Vec<FibRule>> {
    let rules = all(field, rule)?;
    if table == Some(254) && !rules.is_empty() {
        field.refuse(
            "\"rules\" lead to fib.table, and that is the main table, which every packet is looked up in",
            "set table to one of Linnet's own, like 100, or leave the rules out",
        );
        return None;
    }
    for (number, rule) in rules.iter().enumerate() {
        if rules[..number].contains(rule) {
            field.refuse(&format!("the rule {} is there twice", text(rule)), "leave one of them out");
            return None;
        }
    }
    Some(rules)
}

fn rule(field: &Field<'_>) -> Option<FibRule> {
    let section = field.section("a rule")?;
    // Main's own is 32766.
    let priority = section.field("priority").map_or(Some(1000), |field| field.integer(1..=u32::MAX));
    let read_prefix = |key| match section.field(key) {
        Some(field) => prefix(&field).map(Some),
        None => Some(None),
    };
    let (from, to) = (read_prefix("from"), read_prefix("to"));
    let iif = section.field("iif").map_or(Some(None), |field| device(&field).map(Some));
    let fwmark = section.field("fwmark").map_or(Some(None), |field| mark(&field).map(Some));
    section.finish();
    let rule = FibRule { priority: priority?, from: from?, to: to?, iif: iif?, fwmark: fwmark? };
    if let (Some(from), Some(to)) = (rule.from, rule.to)
        && from.family() != to.family()
    {
        field.refuse(&format!("a rule from {from} to {to} is of two families"), "write two rules");
        return None;
    }
    Some(rule)
}

fn device(field: &Field<'_>) -> Option<Interface> {
    let name = field.string()?;
    let device = Interface::new(name);
    if device.is_none() {
        field.refuse(&format!("\"{name}\" is not a device's name"), "write it as `ip link` shows it, like \"eth0\"");
    }
    device
}

/// `16`, `"0x10"` or `"0x10/0xf0"`: the bits, and those that are looked at.
fn mark(field: &Field<'_>) -> Option<(u32, u32)> {
    if field.is_integer() {
        return Some((field.integer(0..=u32::MAX)?, u32::MAX));
    }
    let written = field.string()?;
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    let read = match written.split_once('/') {
        Some((bits, mask)) => number(bits).zip(number(mask)),
        None => number(written).map(|bits| (bits, u32::MAX)),
    };
    match read {
        Some((bits, mask)) if mask != 0 && bits & !mask == 0 => read,
        _ => {
            field.refuse(
                &format!("\"{written}\" is not a firewall mark"),
                "write it like \"0x10\" or, with the bits that are looked at, \"0x10/0xf0\"",
            );
            None
        }
    }
}

/// As configuration has it.
pub(super) fn text(rule: &FibRule) -> String {
    let mut parts = vec![format!("priority = {}", rule.priority)];
    let prefixes = [("from", rule.from), ("to", rule.to)];
    parts.extend(
        prefixes
            .iter()
            .filter_map(|(key, prefix): &(&str, Option<Prefix>)| Some(format!("{key} = {}", string((*prefix)?)))),
    );
    parts.extend(rule.iif.iter().map(|device| format!("iif = {}", string(device))));
    parts.extend(rule.fwmark.map(|(bits, mask)| match mask {
        u32::MAX => format!("fwmark = \"{bits:#x}\""),
        mask => format!("fwmark = \"{bits:#x}/{mask:#x}\""),
    }));
    format!("{{ {} }}", parts.join(", "))
}
