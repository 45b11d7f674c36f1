//! What tests say to Linnet in a lab and read of it: neighbours, routes, and a configuration that changes.

use std::fmt::Display;

use serde_json::Value;

use crate::expect::{holds, json, wait};
use crate::lab::{Lab, LabError, Node};

/// Where Linnet is asked: in a node, or in a lab's node `linnet`.
pub trait Host {
    /// The node.
    ///
    /// # Errors
    /// When the lab has no node of that name.
    fn host(&self) -> Result<&Node, LabError>;
}

impl Host for Node {
    fn host(&self) -> Result<&Node, LabError> {
        Ok(self)
    }
}

impl Host for Lab {
    fn host(&self) -> Result<&Node, LabError> {
        self.node("linnet")
    }
}

fn in_words(error: impl Display) -> String {
    error.to_string()
}

/// What a line of a shell prints, which ends well.
///
/// # Errors
/// In words, for [`wait`].
pub fn shell(node: &Node, line: &str) -> Result<String, String> {
    node.shell(line).map_err(in_words)
}

/// A peer as `linnet bgp neighbor` shows it.
///
/// # Errors
/// In words, for [`wait`]: there is none, or nobody answers.
pub fn neighbor(at: &impl Host, name: &str) -> Result<Value, String> {
    let shown = json(at.host().map_err(in_words)?, &["linnet", "bgp", "neighbor", name, "-o", "json"])?;
    Ok(shown["neighbors"][0].clone())
}

/// Waits for the sessions of the lab's node `linnet`.
pub fn established(lab: &Lab, names: &[&str]) {
    for name in names {
        wait(lab, &format!("the session with {name}"), || {
            let shown = neighbor(lab, name)?;
            holds(shown["state"] == "Established", shown)
        });
    }
}

/// The routes that `linnet bgp routes` shows.
///
/// # Errors
/// In words, for [`wait`]. That there are none is no error.
pub fn routes(at: &impl Host, arguments: &[&str]) -> Result<Vec<Value>, String> {
    let command = [&["linnet", "bgp", "routes", "-o", "json"], arguments].concat();
    // Exit status 1 says that there are none.
    let said = at.host().and_then(|node| node.exec(&command)).map_err(in_words)?;
    let shown: Value = serde_json::from_str(&said.stdout).map_err(|error| format!("{error}: {said:?}"))?;
    Ok(shown["routes"].as_array().cloned().unwrap_or_default())
}

/// A peer's path to a prefix.
///
/// # Errors
/// In words, for [`wait`]: the peer has none.
pub fn path(at: &impl Host, prefix: &str, peer: &str) -> Result<Value, String> {
    let paths = routes(at, &[prefix])?;
    let path = paths.iter().find(|path| path["peer"] == peer).cloned();
    path.ok_or_else(|| format!("no path by {peer}: {paths:?}"))
}

/// Changes Linnet's configuration by a script of sed's, and reloads it: what `linnet reload` says. A script that changes
/// nothing is an error: the reload would succeed, and the test would wait for nothing.
///
/// # Errors
/// When it is refused, too.
pub fn reload(at: &impl Host, script: &str) -> Result<String, LabError> {
    at.host()?.shell(&format!(
        "sed '{script}' /etc/linnet/linnetd.toml > /run/next.toml &&
         if cmp -s /run/next.toml /etc/linnet/linnetd.toml; then echo 'the script changes nothing' >&2; exit 1; fi &&
         cp /run/next.toml /run/changed.toml &&
         mount --bind /run/changed.toml /etc/linnet/linnetd.toml &&
         linnet reload"
    ))
}
