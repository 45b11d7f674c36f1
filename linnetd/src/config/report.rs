//! What is wrong with a configuration file: every finding at once, each with its line.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file is not applied.
    Error,
    /// The file is applied, and a person should know something about it.
    Warning,
}

/// One finding, as a person reads it: `file:line:column: culprit; consequence; next step`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file, as the caller named it.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// Whether it keeps the file from being applied.
    pub severity: Severity,
    /// Culprit; consequence; next step.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let warning = if self.severity == Severity::Warning { "warning: " } else { "" };
        write!(f, "{}:{}:{}: {warning}{}", self.file, self.line, self.column, self.text)
    }
}

/// Where readers of a file leave what they find; they go on reading.
#[derive(Debug, Default)]
pub(super) struct Report {
    found: RefCell<Vec<(Range<usize>, Severity, String)>>,
}

impl Report {
    /// Notes an error: the three parts of which every message consists.
    pub(super) fn error(&self, span: Range<usize>, culprit: &str, consequence: &str, next: &str) {
        self.note(span, Severity::Error, format!("{culprit}; {consequence}; {next}"));
    }

    /// Notes a warning.
    pub(super) fn warning(&self, span: Range<usize>, culprit: &str, consequence: &str, next: &str) {
        self.note(span, Severity::Warning, format!("{culprit}; {consequence}; {next}"));
    }

    fn note(&self, span: Range<usize>, severity: Severity, text: String) {
        let entry = (span, severity, text);
        let mut found = self.found.borrow_mut();
        if !found.contains(&entry) {
            found.push(entry);
        }
    }

    /// The findings in the order of the file.
    pub(super) fn into_findings(self, file: &str, text: &str) -> Vec<Finding> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|(span, severity, _)| (span.start, *severity));
        found
            .into_iter()
            .map(|(span, severity, message)| {
                let (line, column) = position(text, span.start);
                Finding { file: file.to_owned(), line, column, severity, text: message }
            })
            .collect()
    }
}

/// Line and column of a byte, both from 1; the column in characters.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let mut end = byte.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}
