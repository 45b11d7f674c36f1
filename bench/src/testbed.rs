//! Two network namespaces and a wire: the daemon in one, every peer of its in the other.
//!
//! They carry the number of the process that made them, and are gone when the testbed is dropped. What a run left that
//! was killed outright is removed by the next one.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, setns};

use crate::scenario::Scenario;

const PREFIX: &str = "linnet-bench-";

/// The two namespaces.
#[derive(Debug)]
pub(crate) struct Testbed {
    /// The daemon's namespace.
    pub(crate) daemon: String,
    peers: String,
}

impl Testbed {
    /// Makes both namespaces with every address that `scenario` needs.
    pub(crate) fn new(scenario: &Scenario) -> Result<Self> {
        let name = format!("{PREFIX}{}", std::process::id());
        let bed = Self { daemon: format!("{name}-daemon"), peers: format!("{name}-peers") };
        let made = || -> Result<()> {
            ip(&["netns", "add", &bed.daemon], "")?;
            ip(&["netns", "add", &bed.peers], "")?;
            ip(
                &[
                    "-n",
                    &bed.daemon,
                    "link",
                    "add",
                    "wire",
                    "type",
                    "veth",
                    "peer",
                    "name",
                    "wire",
                    "netns",
                    &bed.peers,
                ],
                "",
            )?;
            let length = if scenario.is_v6() { 64 } else { 15 };
            let address = |address| {
                format!("address add {address}/{length} dev wire{}\n", if scenario.is_v6() { " nodad" } else { "" })
            };
            let up = "link set lo up\nlink set wire up\n";
            ip(&["-n", &bed.daemon, "-batch", "-"], &format!("{up}{}", address(scenario.local_address())))?;
            let peers: String = (0..scenario.peers()).map(|peer| address(scenario.peer_address(peer))).collect();
            ip(&["-n", &bed.peers, "-batch", "-"], &format!("{up}{peers}"))
        };
        made().context("the namespaces of the testbed (root and iproute2 are needed)")?;
        Ok(bed)
    }

    /// Moves the calling thread, and no other, to where the peers live.
    pub(crate) fn enter_peers(&self) -> Result<()> {
        let namespace = File::open(Path::new("/run/netns").join(&self.peers)).context("the peers' namespace")?;
        setns(namespace, CloneFlags::CLONE_NEWNET).context("entering the peers' namespace")
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        for namespace in [&self.daemon, &self.peers] {
            // One that was never made cannot be removed; there is nobody left to tell about others.
            let _ = ip(&["netns", "delete", namespace], "");
        }
    }
}

/// Removes the namespaces of runs whose process is no more.
pub(crate) fn remove_leftovers() -> Result<()> {
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return Ok(()) };
    for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'));
        if process.is_some_and(|(id, _)| !Path::new("/proc").join(id).exists()) {
            ip(&["netns", "delete", &name], "")?;
        }
    }
    Ok(())
}

/// Runs `ip`, with `input` on its standard input.
fn ip(arguments: &[&str], input: &str) -> Result<()> {
    let mut child = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("ip (Debian package iproute2)")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {}: {}", arguments.join(" "), said.trim());
    Ok(())
}
