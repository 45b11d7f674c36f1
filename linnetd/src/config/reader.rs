//! Reads values out of parsed TOML, and notes whatever does not fit instead of stopping at it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::report::Report;

/// What a refused file means, where nothing more specific is to be said.
pub(super) const NOT_APPLIED: &str = "nothing of this file is applied";

/// One table of the file. Keys that nobody asked for are refused by [`Section::finish`].
pub(super) struct Section<'a> {
    /// How a person writes it: `[bgp]`, `[[bgp.peer]]`, `graceful-restart`.
    pub(super) title: String,
    /// Where to point for a key that is missing.
    pub(super) span: Range<usize>,
    table: Option<&'a DeTable<'a>>,
    asked: RefCell<BTreeSet<&'static str>>,
    pub(super) report: &'a Report,
}

/// One value of the file, with the name under which it stands.
#[derive(Clone)]
pub(super) struct Field<'a> {
    /// The key.
    pub(super) key: String,
    /// The value's place.
    pub(super) span: Range<usize>,
    value: &'a DeValue<'a>,
    pub(super) report: &'a Report,
}

impl<'a> Section<'a> {
    pub(super) fn root(table: &'a Spanned<DeTable<'a>>, report: &'a Report) -> Self {
        Self { title: "the file".into(), span: 0..0, table: Some(table.get_ref()), asked: RefCell::default(), report }
    }

    /// The value of `key`, if it is there.
    pub(super) fn field(&self, key: &'static str) -> Option<Field<'a>> {
        self.asked.borrow_mut().insert(key);
        let (name, value) = self.table?.get_key_value(key)?;
        Some(Field { key: name.get_ref().to_string(), span: value.span(), value: value.get_ref(), report: self.report })
    }

    /// The value of a key without which the section means nothing.
    pub(super) fn required(&self, key: &'static str, example: &str) -> Option<Field<'a>> {
        let field = self.field(key);
        if field.is_none() {
            self.report.error(
                self.span.clone(),
                &format!("{} has no \"{key}\"", self.title),
                NOT_APPLIED,
                &format!("add {key} = {example}"),
            );
        }
        field
    }

    /// The table under `key`; an empty one if it is not there.
    pub(super) fn section(&self, key: &'static str) -> Self {
        let title = format!("[{key}]");
        match self.field(key) {
            Some(field) => field.section(&title).unwrap_or_else(|| self.absent(title)),
            None => self.absent(title),
        }
    }

    fn absent(&self, title: String) -> Self {
        Self { title, span: self.span.clone(), table: None, asked: RefCell::default(), report: self.report }
    }

    /// The tables under `key`, written `[[title]]`.
    pub(super) fn sections(&self, key: &'static str, title: &str) -> Vec<Self> {
        let Some(field) = self.field(key) else { return Vec::new() };
        let Some(items) = field.list() else { return Vec::new() };
        items.iter().filter_map(|item| item.section(title)).collect()
    }

    /// Refuses the keys that no reader asked for.
    pub(super) fn finish(&self) {
        let asked = self.asked.borrow();
        for (key, _) in self.table.into_iter().flatten() {
            let name = key.get_ref().as_ref();
            if asked.contains(name) {
                continue;
            }
            let next = match nearest(name, asked.iter().copied()) {
                Some(known) => format!("did you mean \"{known}\"?"),
                None => format!("known here: {}", asked.iter().copied().collect::<Vec<_>>().join(", ")),
            };
            self.report.error(key.span(), &format!("unknown key \"{name}\" in {}", self.title), NOT_APPLIED, &next);
        }
    }
}

impl<'a> Field<'a> {
    fn refuse_type(&self, wanted: &str) {
        let next = format!("write {wanted}");
        self.refuse(&format!("\"{}\" is {}, not {wanted}", self.key, kind(self.value)), &next);
    }

    /// Notes an error at this value whose consequence is the usual one.
    pub(super) fn refuse(&self, culprit: &str, next: &str) {
        self.report.error(self.span.clone(), culprit, NOT_APPLIED, next);
    }

    /// Refuses a value of the design whose capability this version has not.
    pub(super) fn not_yet(&self, next: &str) {
        self.refuse(&format!("{} is not available in this version", self.shown()), next);
    }

    /// The key with its value, where the value is short.
    fn shown(&self) -> String {
        match self.value {
            DeValue::String(text) => format!("{} = \"{text}\"", self.key),
            DeValue::Boolean(value) => format!("{} = {value}", self.key),
            _ => format!("\"{}\"", self.key),
        }
    }

    pub(super) fn string(&self) -> Option<&'a str> {
        match self.value {
            DeValue::String(text) => Some(text.as_ref()),
            _ => {
                self.refuse_type("a string in quotes");
                None
            }
        }
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        match self.value {
            DeValue::Boolean(value) => Some(*value),
            _ => {
                self.refuse_type("true or false");
                None
            }
        }
    }

    /// A whole number in `range`, which is also what the error names.
    pub(super) fn integer<T>(&self, range: RangeInclusive<u32>) -> Option<T>
    where
        T: TryFrom<u32>,
    {
        let DeValue::Integer(written) = self.value else {
            self.refuse_type(&format!("a number from {} to {}", range.start(), range.end()));
            return None;
        };
        let value =
            i64::from_str_radix(written.as_str(), written.radix()).ok().and_then(|value| u32::try_from(value).ok());
        let fits = value.filter(|value| range.contains(value));
        if fits.is_none() {
            self.refuse(
                &format!("\"{}\" is {written}", self.key),
                &format!("write a number from {} to {}", range.start(), range.end()),
            );
        }
        fits.and_then(|value| T::try_from(value).ok())
    }

    /// Whether the value is a number (where a key takes a number or a word).
    pub(super) fn is_integer(&self) -> bool {
        matches!(self.value, DeValue::Integer(_))
    }

    /// Whether the value is a list (where a key takes one value or several).
    pub(super) fn is_list(&self) -> bool {
        matches!(self.value, DeValue::Array(_))
    }

    /// Whether the value is a table (where a key takes a table or a word).
    pub(super) fn is_table(&self) -> bool {
        matches!(self.value, DeValue::Table(_))
    }

    /// Whether the value is `true` or `false` (where a key takes that or a table).
    pub(super) fn is_boolean(&self) -> bool {
        matches!(self.value, DeValue::Boolean(_))
    }

    /// A string that reads as a `T`; `what` names it, `example` shows one.
    pub(super) fn parsed<T: FromStr>(&self, what: &str, example: &str) -> Option<T> {
        let text = self.string()?;
        let value = text.parse().ok();
        if value.is_none() {
            self.refuse(&format!("\"{text}\" is not {what}"), &format!("write it like \"{example}\""));
        }
        value
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let text = self.string()?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let next = match nearest(text, words.iter().map(|(word, _)| *word)) {
            Some(word) => format!("did you mean \"{word}\"?"),
            None => format!("write one of {}", quoted(words.iter().map(|(word, _)| *word))),
        };
        self.refuse(&format!("\"{text}\" is not a value of \"{}\"", self.key), &next);
        None
    }

    pub(super) fn list(&self) -> Option<Vec<Self>> {
        let DeValue::Array(items) = self.value else {
            self.refuse_type("a list in brackets");
            return None;
        };
        let field = |item: &'a Spanned<DeValue<'a>>| Self {
            key: self.key.clone(),
            span: item.span(),
            value: item.get_ref(),
            report: self.report,
        };
        Some(items.iter().map(field).collect())
    }

    /// The value as a table that a person knows as `title`.
    pub(super) fn section(&self, title: &str) -> Option<Section<'a>> {
        let DeValue::Table(table) = self.value else {
            self.refuse_type("a table");
            return None;
        };
        Some(Section {
            title: title.to_owned(),
            span: self.span.clone(),
            table: Some(table),
            asked: RefCell::default(),
            report: self.report,
        })
    }
}

fn kind(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) if text.chars().count() <= 40 => format!("the string \"{text}\""),
        DeValue::String(_) => "a string".into(),
        DeValue::Integer(number) => format!("the number {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(_) => "a date".into(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

/// The known word that a person most likely meant, if one is near enough.
pub(crate) fn nearest<'w>(word: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    known
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min()
        .map(|(_, candidate)| candidate)
}

/// `"a", "b", "c"`.
pub(super) fn quoted<T: Display>(words: impl Iterator<Item = T>) -> String {
    words.map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
}
