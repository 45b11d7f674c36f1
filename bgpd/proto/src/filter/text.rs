//! How conditions and changes are written: as in the configuration file, which is also how they are explained.

use std::fmt::Display;

/// A string in quotes. What filters hold has neither quotes nor backslashes.
pub(super) fn quoted(value: impl Display) -> String {
    format!("\"{value}\"")
}

/// Strings in brackets.
pub(super) fn list<T: Display>(items: &[T]) -> String {
    format!("[{}]", items.iter().map(quoted).collect::<Vec<_>>().join(", "))
}

/// The same, of what may be plain numbers.
pub(super) fn numbers_or_strings<T: Display>(items: &[T]) -> String {
    format!("[{}]", items.iter().map(number_or_string).collect::<Vec<_>>().join(", "))
}

/// A plain number as a number, anything else as a string.
pub(super) fn number_or_string(value: impl Display) -> String {
    let text = value.to_string();
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text } else { quoted(text) }
}
