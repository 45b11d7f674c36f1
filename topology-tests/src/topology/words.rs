//! A command line cut into words, as containerlab cuts those of `exec` and `cmd` (its library is google/shlex):
//! blanks separate, quotes join, a backslash takes the next character as it is, `#` starts a comment. No shell runs.

/// The words of a line.
///
/// # Errors
/// What is not closed: a quote, or a backslash at the end.
pub fn words(line: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match letters.next().ok_or("a single quote is not closed")? {
                        '\'' => break,
                        letter => word.push(letter),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match letters.next().ok_or("a double quote is not closed")? {
                        '"' => break,
                        '\\' => word.push(letters.next().ok_or("a double quote is not closed")?),
                        letter => word.push(letter),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(letters.next().ok_or("nothing follows the last backslash")?),
            '#' if word.is_none() => break,
            letter => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    Ok(words)
}
