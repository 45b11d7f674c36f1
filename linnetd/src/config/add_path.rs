//! `add-path` and `add-path-send` of a peer: several paths to one prefix (RFC 7911).

use std::fmt::{self, Formatter};

use bgp_proto::wire::capability::AddPath;

use super::PeerSettings;
use super::reader::Section;

const MODES: [(&str, AddPath); 4] = [
    ("none", AddPath::NONE),
    ("receive", AddPath { send: false, receive: true }),
    ("send", AddPath { send: true, receive: false }),
    ("both", AddPath { send: true, receive: true }),
];

/// The word for it, as in the file.
#[must_use]
pub fn word(mode: AddPath) -> &'static str {
    MODES.iter().find(|(_, known)| *known == mode).map_or("none", |(word, _)| word)
}

/// Reads both keys: the directions, and the most paths to one prefix to send.
pub(super) fn add_path(table: &Section<'_>) -> Option<(AddPath, u8)> {
    let mode = table.field("add-path").map_or(Some(AddPath::NONE), |field| field.word(&MODES));
    let most = table.field("add-path-send").map_or(Some(PeerSettings::ADD_PATH_SEND), |field| {
        if mode.is_some_and(|mode| !mode.send) {
            field.refuse(
                "add-path-send, and add-path sends nothing",
                "write add-path = \"send\" or \"both\", or leave it out",
            );
            return None;
        }
        field.integer(1..=255)
    });
    Some((mode?, most?))
}

pub(super) fn print(f: &mut Formatter<'_>, settings: &PeerSettings) -> fmt::Result {
    writeln!(f, "add-path = \"{}\"", word(settings.add_path))?;
    if settings.add_path.send {
        writeln!(f, "add-path-send = {}", settings.add_path_send)?;
    }
    Ok(())
}
