//! The kernel's side: transactions through nft, in the network namespace of the calling thread.

use std::io::{self, Write};
use std::process::{Command, Stdio};

use nftables::schema::Nftables;

use crate::PolicyError;
use crate::ruleset::{Difference, Ruleset, json};

/// Brings the kernel from `old` (`None`: not known, nothing, or an earlier run's) to `new`, in one transaction, or
/// without one if nothing differs. Whether there was one.
pub(super) fn apply(old: Option<&Ruleset>, new: &Ruleset) -> Result<bool, PolicyError> {
    match old.map_or(Difference::Structure, |old| old.difference(new)) {
        Difference::None => return Ok(false),
        Difference::Steps(steps) => commit(&json::transaction(&steps)).or_else(|error| {
            // The table is not what we left, or nft stumbles over its own cache: say it all anew.
            tracing::warn!(%error, "the table could not be changed; it is replaced instead");
            commit(&new.replacement())
        }),
        Difference::Structure => commit(&new.replacement()),
    }
    .map(|()| true)
}

/// Removes the table.
pub(super) fn remove() -> Result<(), PolicyError> {
    commit(&json::removal())
}

/// The transaction in libnftables' JSON, by way of the nft program. Not by `nftables::helper`, which lets nft's words
/// of explanation go to this program's standard error instead of into its own.
fn commit(transaction: &Nftables<'_>) -> Result<(), PolicyError> {
    run(transaction).map_err(|reason| PolicyError::Kernel { message: reason })
}

const STAYS: &str = "what was in force before stays in force";

fn run(transaction: &Nftables<'_>) -> Result<(), String> {
    let json = serde_json::to_string(transaction).map_err(|error| {
        format!("the ruleset cannot be written as JSON ({error}); {STAYS}. This is a bug of Linnet")
    })?;
    let not_run = |error: io::Error| format!("nft cannot be run ({error}); {STAYS}. Install the package nftables");
    let mut nft = Command::new("nft")
        .args(["-j", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(not_run)?;
    let mut input = nft.stdin.take();
    // nft says nothing before it has read everything, so this cannot wait for an unread answer. Should it end early,
    // what it says about that is better than the broken pipe.
    let written = input.as_mut().map_or(Ok(()), |input| input.write_all(json.as_bytes()));
    drop(input);
    let output = nft.wait_with_output().map_err(not_run)?;
    if output.status.success() {
        return written.map_err(not_run);
    }
    let said = if output.stderr.trim_ascii().is_empty() { output.stdout } else { output.stderr };
    let said = first_lines(&String::from_utf8_lossy(&said));
    let advice = if said.contains("Operation not permitted") {
        "Either the program lacks the capability CAP_NET_ADMIN, or another process owns the table (nft list tables)"
    } else {
        "It is tried again; linnetd --log debug shows the ruleset"
    };
    Err(format!("nft refused the ruleset ({}): {said}; {STAYS}. {advice}", output.status))
}

/// nft repeats itself for each object of a transaction that failed as a whole.
fn first_lines(said: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in said.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if lines.len() < 5 && !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines.join("; ").chars().take(600).collect()
}
