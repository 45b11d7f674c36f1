//! `[[bgp.import-kernel]]`: routes of other programs on this host that are announced.

use std::fmt::{self, Formatter};

use fib_sync::{PROTOCOL, protocol};

use super::ImportKernel;
use super::peer::{Defaults, filter_name};
use super::print::string;
use super::reader::{Field, Section, nearest};
use super::rooms::{all, routing_table};

/// `limit` unless set.
const LIMIT: u32 = 10_000;

pub(super) fn imports(section: &Section<'_>, defaults: &Defaults<'_>) -> Option<Vec<ImportKernel>> {
    let mut read = Vec::new();
    for table in section.sections("import-kernel", "[[bgp.import-kernel]]") {
        let protocols = table.required("protocols", "[\"static\"]").and_then(|field| protocols(&field));
        let number = table.field("table").map_or(Some(254), |field| routing_table(&field));
        let filter = match table.field("filter") {
            Some(_) => filter_name(&table, "filter", defaults).flatten(),
            None => {
                table.report.error(
                    table.span.clone(),
                    "[[bgp.import-kernel]] has no \"filter\"",
                    "without one nothing would be announced (as RFC 8212 has it for peers), so nothing of this file is applied",
                    "name a [[bgp.filter]] that says what is announced",
                );
                None
            }
        };
        let metric_as_med = table.field("metric-as-med").map_or(Some(false), |field| field.boolean());
        let limit = table.field("limit").map_or(Some(LIMIT), |field| field.integer(1..=1_000_000));
        table.finish();
        read.push((|| {
            Some(ImportKernel {
                protocols: protocols?,
                table: number?,
                filter: filter?,
                metric_as_med: metric_as_med?,
                limit: limit?,
            })
        })());
    }
    read.into_iter().collect()
}

/// At least one, each once, in the file's order.
fn protocols(field: &Field<'_>) -> Option<Vec<u8>> {
    let mut read = all(field, one)?;
    if read.is_empty() {
        field.refuse("\"protocols\" is empty", "name at least one, like [\"static\", \"ospf\"]");
        return None;
    }
    let mut seen = Vec::new();
    read.retain(|number| {
        !seen.contains(number) && {
            seen.push(*number);
            true
        }
    });
    Some(read)
}

fn one(field: &Field<'_>) -> Option<u8> {
    let number = if field.is_integer() {
        field.integer(0..=255)?
    } else {
        let text = field.string()?;
        let Some(number) = protocol::number(text) else {
            let next = match nearest(text, protocol::NAMES.iter().map(|(name, _)| *name)) {
                Some(word) => format!("did you mean \"{word}\"?"),
                None => "write a name that `ip route` shows behind \"proto\", or its number".into(),
            };
            field.refuse(&format!("\"{text}\" is no protocol of the kernel's routes"), &next);
            return None;
        };
        number
    };
    if number == PROTOCOL {
        field.refuse("protocol 76 marks the routes that Linnet wrote itself", "name those of other programs");
        return None;
    }
    Some(number)
}

pub(super) fn print(f: &mut Formatter<'_>, import: &ImportKernel) -> fmt::Result {
    let protocols: Vec<String> = import
        .protocols
        .iter()
        .map(|number| {
            let name = protocol::name(*number);
            if name.parse::<u8>().is_ok() { name } else { string(name) }
        })
        .collect();
    writeln!(f, "\n[[bgp.import-kernel]]")?;
    writeln!(f, "protocols = [{}]", protocols.join(", "))?;
    writeln!(f, "table = {}", import.table)?;
    writeln!(f, "filter = {}", string(&import.filter))?;
    writeln!(f, "metric-as-med = {}", import.metric_as_med)?;
    writeln!(f, "limit = {}", import.limit)
}
