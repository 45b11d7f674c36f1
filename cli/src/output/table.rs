//! Tables: columns aligned by spaces, numbers to the right, no lines drawn, nothing behind the last word of a row.
//!
//! Own code and not a crate, because long listings are printed in pages as they arrive (each page keeps the widths of the
//! one before), and because a coloured cell must not count its escape sequences.

/// What a cell says by its colour; on a terminal only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Doubtful,
    Bad,
}

impl Tone {
    /// The text in this tone.
    pub(crate) fn dye(self, text: &str, colour: bool) -> String {
        match self.escape() {
            Some(escape) if colour => format!("{escape}{text}\x1b[0m"),
            _ => text.to_owned(),
        }
    }

    fn escape(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Good => Some("\x1b[32m"),
            Self::Doubtful => Some("\x1b[33m"),
            Self::Bad => Some("\x1b[31m"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Align {
    Left,
    Right,
}

/// A table under construction.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    widths: Vec<usize>,
    rows: Vec<Vec<(String, Tone)>>,
    headed: bool,
}

impl Table {
    /// Columns by their heads; one that starts with `>` is aligned to the right.
    pub(crate) fn new(heads: &[&'static str]) -> Self {
        let columns: Vec<_> = heads
            .iter()
            .map(|head| head.strip_prefix('>').map_or((*head, Align::Left), |head| (head, Align::Right)))
            .collect();
        Self { widths: columns.iter().map(|(head, _)| width(head)).collect(), columns, rows: Vec::new(), headed: true }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.toned(cells.map(|cell| (cell, Tone::Plain)));
    }

    pub(crate) fn toned<const N: usize>(&mut self, cells: [(String, Tone); N]) {
        self.push(cells.into());
    }

    /// A row whose number of cells is known only at run time.
    pub(crate) fn push(&mut self, cells: Vec<(String, Tone)>) {
        for (known, (cell, _)) in self.widths.iter_mut().zip(&cells) {
            *known = (*known).max(width(cell));
        }
        self.rows.push(cells);
    }

    pub(crate) fn render(&self, colour: bool) -> String {
        let heads: Vec<_> = self.columns.iter().map(|(head, _)| ((*head).to_owned(), Tone::Plain)).collect();
        let mut text = String::new();
        for row in self.headed.then_some(&heads).into_iter().chain(&self.rows) {
            let mut line = String::new();
            for (((cell, tone), (_, align)), columns) in row.iter().zip(&self.columns).zip(&self.widths) {
                let pad = " ".repeat(columns.saturating_sub(width(cell)));
                let cell = tone.dye(cell, colour);
                match align {
                    Align::Left => line.extend([cell.as_str(), &pad, "  "]),
                    Align::Right => line.extend([pad.as_str(), &cell, "  "]),
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// Forgets the rows that were printed; the next page has no heads and is at least as wide.
    pub(crate) fn next_page(&mut self) {
        self.rows.clear();
        self.headed = false;
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_to_the_right_and_rows_end_with_their_last_word() {
        let mut table = Table::new(&["PEER", ">AS", "STATE"]);
        table.row(["tor-a".into(), "65001".into(), "Established".into()]);
        table.row(["b".into(), "1".into(), String::new()]);
        assert_eq!(table.render(false), "PEER      AS  STATE\ntor-a  65001  Established\nb          1\n");
    }

    #[test]
    fn a_later_page_keeps_the_widths_and_has_no_heads() {
        let mut table = Table::new(&["A", "B"]);
        table.row(["longer".into(), "x".into()]);
        table.next_page();
        table.row(["s".into(), "y".into()]);
        assert_eq!(table.render(false), "s       y\n");
    }

    #[test]
    fn colour_does_not_move_columns() {
        let mut table = Table::new(&["STATE", "X"]);
        table.toned([("Idle".into(), Tone::Bad), ("x".into(), Tone::Plain)]);
        assert_eq!(table.render(true), "STATE  X\n\x1b[31mIdle\x1b[0m   x\n");
    }
}
