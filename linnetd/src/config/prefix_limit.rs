//! `max-prefixes`: a number, or a table that says what happens above it.

use std::time::Duration;

use bgpd::{LimitAction, PrefixLimit};

use super::reader::Field;

#[derive(Clone, Copy, PartialEq)]
enum Word {
    Stop,
    Restart,
    Warn,
}

pub(super) fn prefix_limit(field: &Field<'_>) -> Option<PrefixLimit> {
    if field.is_integer() {
        return field.integer(1..=u32::MAX).map(PrefixLimit::new);
    }
    let section = field.section("max-prefixes")?;
    let limit = section.required("limit", "10000").and_then(|field| field.integer(1..=u32::MAX));
    let words = [("stop", Word::Stop), ("restart", Word::Restart), ("warn", Word::Warn)];
    let word = section.field("action").map_or(Some(Word::Restart), |field| field.word(&words));
    let percent = section.field("warn-at-percent").map_or(Some(None), |field| field.integer(1..=100).map(Some));
    let after = section.field("restart-after").map_or(Some(None), |field| {
        if word.is_some_and(|word| word != Word::Restart) {
            field.refuse(
                "restart-after of a session that does not start again",
                "drop it, or write action = \"restart\"",
            );
            return None;
        }
        field.integer::<u32>(1..=86_400).map(Some)
    });
    section.finish();
    let (word, after) = (word?, after?);
    let action = match word {
        Word::Stop => LimitAction::Stop,
        Word::Restart => LimitAction::Restart(after.map(|seconds| Duration::from_secs(u64::from(seconds)))),
        Word::Warn => LimitAction::Warn,
    };
    let usual = if word == Word::Warn { 100 } else { 75 };
    Some(PrefixLimit { limit: limit?, warn_at_percent: percent?.unwrap_or(usual), action })
}

/// As it stands in the file.
pub(super) fn text(limit: PrefixLimit) -> String {
    if limit == PrefixLimit::new(limit.limit) {
        return limit.limit.to_string();
    }
    let action = match limit.action {
        LimitAction::Stop => "action = \"stop\"".to_owned(),
        LimitAction::Restart(None) => "action = \"restart\"".to_owned(),
        LimitAction::Restart(Some(after)) => format!("action = \"restart\", restart-after = {}", after.as_secs()),
        LimitAction::Warn => "action = \"warn\"".to_owned(),
    };
    format!("{{ limit = {}, warn-at-percent = {}, {action} }}", limit.limit, limit.warn_at_percent)
}
