//! Two network namespaces and a wire, or two: the daemon in one, every peer of its in the other.
//!
//! They carry the number of the process that made them, and are gone when the testbed is dropped. What a run left that
//! was killed outright is removed by the next one.

use std::fs::File;
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, setns};

use crate::scenario::Scenario;

const PREFIX: &str = "linnet-bench-";

/// The links' names in both namespaces.
pub(crate) const LINKS: [&str; 2] = ["wire", "spare"];

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
            let (daemon, peers) = (&bed.daemon, &bed.peers);
            let mut own = "link set lo up\n".to_owned();
            let mut theirs = own.clone();
            let nodad = if scenario.is_v6() { " nodad" } else { "" };
            let address = |address: IpAddr, link: &str| {
                format!("address add {address}/{} dev {link}{nodad}\n", scenario.subnet_length())
            };
            for (number, link) in LINKS.into_iter().enumerate().take(scenario.links()) {
                // A pair whose ends have one number counts as no pair, and the kernel keeps the loss of its carrier to itself
                // for up to a second (linkwatch_urgent_event in net/core/link_watch.c).
                let (one, other) = (number + 11, number + 21);
                let line =
                    format!("link add {link} index {one} type veth peer name {link} index {other} netns {peers}");
                ip(&["-n", daemon, "-batch", "-"], &line)?;
                own += &format!("link set {link} up\n{}", address(scenario.local_address_on(number), link));
                theirs += &format!("link set {link} up\n");
            }
            for peer in 0..scenario.peers() {
                theirs += &address(scenario.peer_address(peer), LINKS[scenario.link_of(peer)]);
            }
            ip(&["-n", daemon, "-batch", "-"], &own)?;
            ip(&["-n", peers, "-batch", "-"], &theirs)
        };
        made().context("the namespaces of the testbed (root and iproute2 are needed)")?;
        Ok(bed)
    }

    /// Moves the calling thread, and no other, to where the peers live.
    pub(crate) fn enter_peers(&self) -> Result<()> {
        enter(&self.peers)
    }

    /// Does some work where the daemon lives, in a thread of its own.
    pub(crate) fn in_daemon<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        within(&self.daemon, work)
    }

    /// The same where the peers live.
    pub(crate) fn in_peers<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        within(&self.peers, work)
    }
}

fn within<T: Send>(namespace: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter(namespace)?;
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Moves the calling thread, and no other, to a network namespace.
fn enter(name: &str) -> Result<()> {
    let namespace = File::open(Path::new("/run/netns").join(name)).with_context(|| format!("namespace {name}"))?;
    setns(namespace, CloneFlags::CLONE_NEWNET).with_context(|| format!("entering the namespace {name}"))
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
