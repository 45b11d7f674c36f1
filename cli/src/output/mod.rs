//! Printing: tables for people, JSON and YAML for programs. What programs read is a contract: fields are added, never renamed.

pub(crate) mod duration;
pub(crate) mod table;

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use serde::Serialize;

use table::{Table, Tone};

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table.
    Table,
    /// A table with more columns.
    Wide,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// Something that a person reads as text and a program as data.
pub(crate) trait Present: Serialize {
    /// The text, drawn line by line.
    fn draw(&self, page: &mut Page);
}

/// What a person reads: lines and tables, in order.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) wide: bool,
    colour: bool,
    text: String,
}

impl Page {
    pub(crate) fn line(&mut self, line: impl AsRef<str>) {
        self.text.push_str(line.as_ref().trim_end());
        self.text.push('\n');
    }

    /// A line that begins with a word in its tone; the rest begins at this column.
    pub(crate) fn toned(&mut self, tone: Tone, word: &str, column: usize, rest: &str) {
        let gap = " ".repeat(column.saturating_sub(word.chars().count()));
        self.line(format!("{}{gap}{rest}", tone.dye(word, self.colour)));
    }

    pub(crate) fn table(&mut self, table: &Table) {
        self.text.push_str(&table.render(self.colour));
    }
}

/// Prints in the format that was asked for.
pub(crate) struct Printer {
    pub(crate) format: Format,
    colour: bool,
}

impl Printer {
    pub(crate) fn new(format: Format) -> Self {
        let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { format, colour }
    }

    pub(crate) fn print<T: Present>(&self, value: &T) -> io::Result<()> {
        let text = match self.format {
            Format::Table | Format::Wide => draw(value, self.format == Format::Wide, self.colour),
            Format::Json => serde_json::to_string_pretty(value).map_err(io::Error::other)? + "\n",
            Format::Yaml => serde_yaml_ng::to_string(value).map_err(io::Error::other)?,
        };
        io::stdout().write_all(text.as_bytes())
    }
}

fn draw<T: Present>(value: &T, wide: bool, colour: bool) -> String {
    let mut page = Page { wide, colour, text: String::new() };
    value.draw(&mut page);
    page.text
}

/// The text that a person reads, without colour: what tests hold.
#[cfg(test)]
pub(crate) fn plain<T: Present>(value: &T, wide: bool) -> String {
    draw(value, wide, false)
}

/// What a program reads: what tests hold.
#[cfg(test)]
pub(crate) fn json<T: Present>(value: &T) -> String {
    serde_json::to_string_pretty(value).unwrap()
}

/// An empty string of the API is an absent value.
pub(crate) fn present(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// The text, or a dash where there is none.
pub(crate) fn dash(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or("-").to_owned()
}
