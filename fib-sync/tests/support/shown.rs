//! What `ip` prints, as tests compare it. One file for the tests of all rooms.

/// Without the numbers of next-hop objects (`nhid 7`), which nobody chooses.
#[must_use]
pub fn without_objects(shown: &str) -> String {
    let mut parts = shown.split("nhid ");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push_str(part.split_once(' ').map_or("", |(_, rest)| rest));
    }
    text
}
