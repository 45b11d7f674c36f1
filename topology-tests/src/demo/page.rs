//! The demo's page: sections, tables and checks, for a person to read.

use std::io::{IsTerminal, Write};

/// Where it is written, and what failed so far.
#[derive(Debug)]
pub(super) struct Page {
    colour: bool,
    sections: u32,
    checks: u32,
    failed: Vec<String>,
}

impl Page {
    /// Colours are for terminals whose owner does not forbid them (<https://no-color.org>).
    #[must_use]
    pub(super) fn new() -> Self {
        let colour =
            std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { colour, sections: 0, checks: 0, failed: Vec::new() }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A heading and what is to be seen under it.
    pub(super) fn section(&mut self, title: &str, explanation: &str) {
        self.sections += 1;
        let heading = self.paint("1;36", &format!("{}. {title}", self.sections));
        print(&format!("\n{heading}\n{explanation}\n\n"));
    }

    /// Lines as they are.
    pub(super) fn text(&self, text: &str) {
        print(&format!("{}\n", text.trim_end()));
    }

    /// Columns, each as wide as its widest cell; one of numbers alone is set to the right.
    pub(super) fn table(&self, heads: &[&str], rows: &[Vec<String>]) {
        let mut lines = lay_out(heads, rows).into_iter();
        print(&format!("  {}\n", self.paint("1", &lines.next().unwrap_or_default())));
        lines.for_each(|line| print(&format!("  {line}\n")));
        print("\n");
    }

    /// Something that must hold.
    pub(super) fn check(&mut self, holds: bool, what: &str) {
        self.checks += 1;
        let mark = if holds { self.paint("32", "ok    ") } else { self.paint("1;31", "FAILED") };
        print(&format!("  {mark} {what}\n"));
        if !holds {
            self.failed.push(what.to_owned());
        }
    }

    /// The last lines; whether everything held.
    #[must_use]
    pub(super) fn end(&self) -> bool {
        let verdict = match self.failed.len() {
            0 => self.paint("1;32", &format!("All {} checks held.", self.checks)),
            failed => self.paint("1;31", &format!("{failed} of {} checks failed:", self.checks)),
        };
        print(&format!("\n{verdict}\n"));
        self.failed.iter().for_each(|what| print(&format!("  {what}\n")));
        self.failed.is_empty()
    }
}

impl Default for Page {
    fn default() -> Self {
        Self::new()
    }
}

/// A reader that went away (`lab demo | head`) is no reason to leave the lab half done.
fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

fn lay_out(heads: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let column = |index: usize| rows.iter().map(move |row| row.get(index).map_or("", String::as_str));
    let number = |text: &str| !text.is_empty() && text.chars().all(|letter| letter.is_ascii_digit() || letter == '.');
    let shapes: Vec<_> = (0..heads.len())
        .map(|index| {
            let width = column(index).chain([heads[index]]).map(|text| text.chars().count()).max().unwrap_or(0);
            (width, column(index).all(number) && !rows.is_empty())
        })
        .collect();
    let line = |cells: Vec<&str>| {
        let cells = cells.iter().zip(&shapes).map(|(cell, (width, right))| match right {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let body = rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
    std::iter::once(line(heads.to_vec())).chain(body).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_numbers_stand_to_the_right() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let lines = lay_out(&["NODE", "SENT", "WAY"], &[row(["h1", "100", "direct"]), row(["a-long-name", "7", "é"])]);
        assert_eq!(lines, ["NODE         SENT  WAY", "h1            100  direct", "a-long-name     7  é"]);
    }
}
