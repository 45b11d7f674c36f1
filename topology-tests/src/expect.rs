//! What a test says of a lab: what a program there prints as JSON, a condition with what was seen, and that it comes true.

use std::fmt::Debug;
use std::time::Duration;

use serde_json::Value;

use crate::lab::{Lab, Node};

#[path = "../../fib-sync/tests/support/shown.rs"]
mod shown;

pub use shown::without_objects;

/// How long [`wait`] waits: far more than anything takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// What a command prints, which ends well.
///
/// # Errors
/// In words, for [`wait`]: it does not run, it fails, or it prints something else.
pub fn json(node: &Node, command: &[&str]) -> Result<Value, String> {
    let said = node.exec(command).and_then(|output| output.checked()).map_err(|error| error.to_string())?;
    serde_json::from_str(&said).map_err(|error| format!("{error}: {said}"))
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
pub fn wait(lab: &Lab, what: &str, look: impl FnMut() -> Result<(), String>) {
    if let Err(error) = lab.poll(what, DEADLINE, look) {
        panic!("{error}");
    }
}
