//! What a test says of a lab: that it is up, what a program there prints as JSON, a condition with what was seen, and that it comes true.

use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::lab::{Lab, Node, Options};

#[path = "../../fib-sync/tests/support/shown.rs"]
mod shown;

pub use shown::without_objects;

/// How long [`wait`] waits: far more than anything takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(90);

/// The lab of this name in `labs/`, up.
///
/// # Panics
/// When it does not come up, with why.
#[must_use]
pub fn up(name: &str) -> Lab {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("labs/{name}.clab.yml"));
    Lab::up(&file, &Options::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// What a command prints, which ends well.
///
/// # Errors
/// In words, for [`wait`]: it does not run, it fails, or it prints something else.
pub fn json(node: &Node, command: &[&str]) -> Result<Value, String> {
    let said = node.exec(command).and_then(|output| output.checked()).map_err(|error| error.to_string())?;
    serde_json::from_str(&said).map_err(|error| format!("{error}: {said}"))
}

/// What a command prints that may end with "no" (exit status 1).
///
/// # Errors
/// In words: it does not run, or it prints something else.
pub fn answer(node: &Node, command: &[&str]) -> Result<Value, String> {
    let said = node.exec(command).map_err(|error| error.to_string())?;
    serde_json::from_str(&said.stdout).map_err(|error| format!("{error}: {said:?}"))
}

/// `condition`, or what was seen.
///
/// # Errors
/// What was seen.
pub fn holds(condition: bool, seen: impl Debug) -> Result<(), String> {
    if condition { Ok(()) } else { Err(format!("{seen:?}")) }
}

/// Waits until `look` is content.
///
/// # Panics
/// When it is not in time, with what it said last and a dump of the lab.
pub fn wait<T>(lab: &Lab, what: &str, look: impl FnMut() -> Result<T, String>) -> T {
    lab.poll(what, DEADLINE, look).unwrap_or_else(|error| panic!("{error}"))
}
