//! A daemon under test as the kernel sees it: started, watched in /proc, ended with all its children.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::interrupt::Interrupt;

/// Clock ticks per second in /proc: USER_HZ, which is 100 on every architecture that Debian has.
const TICKS: f64 = 100.0;
/// How long a daemon may take from its start until it listens.
const LISTEN_WITHIN: Duration = Duration::from_secs(30);
/// How long a daemon may take to end once it was asked to, before it is killed.
const END_WITHIN: Duration = Duration::from_secs(3);

/// A running daemon; ended when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: std::path::PathBuf,
}

impl Process {
    /// Starts `command` in the network namespace `namespace`. What it says goes to the file `log`.
    pub(crate) fn start(namespace: &str, command: &[String], directory: &Path) -> Result<Self> {
        let log = directory.join("output");
        let output = File::create(&log).with_context(|| format!("{}", log.display()))?;
        let child = Command::new("ip")
            .args(["netns", "exec", namespace])
            .args(command)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("ip netns exec")?;
        Ok(Self { child, log })
    }

    /// Waits until something in the daemon's namespace listens on TCP port 179.
    pub(crate) fn wait_until_it_listens(&mut self, interrupt: &Interrupt) -> Result<()> {
        let started = Instant::now();
        loop {
            interrupt.check()?;
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended at once ({status}): {}", self.last_words());
            }
            if ["tcp", "tcp6"].into_iter().any(|table| self.listens(table)) {
                return Ok(());
            }
            if started.elapsed() > LISTEN_WITHIN {
                bail!("after {} s nothing listens on port 179: {}", LISTEN_WITHIN.as_secs(), self.last_words());
            }
            sleep(Duration::from_millis(20));
        }
    }

    /// Whether /proc/PID/net/TABLE has a socket in state LISTEN (0A) on port 179 (00B3).
    fn listens(&self, table: &str) -> bool {
        // Before `ip netns exec` has changed namespaces this shows the machine's own sockets, where the port may be open.
        if !self.has_moved() {
            return false;
        }
        let path = format!("/proc/{}/net/{table}", self.child.id());
        let sockets = fs::read_to_string(path).unwrap_or_default();
        sockets.lines().any(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let (local, state) = (fields.next(), fields.nth(1));
            local.is_some_and(|address| address.ends_with(":00B3")) && state == Some("0A")
        })
    }

    fn has_moved(&self) -> bool {
        let own = fs::read_link("/proc/self/ns/net").ok();
        let its = fs::read_link(format!("/proc/{}/ns/net", self.child.id())).ok();
        its.is_some() && own != its
    }

    /// The end of what the daemon said, for an error.
    pub(crate) fn last_words(&self) -> String {
        let said = fs::read(&self.log).unwrap_or_default();
        let end = String::from_utf8_lossy(&said[said.len().saturating_sub(600)..]).trim().to_owned();
        if end.is_empty() { "it said nothing".to_owned() } else { end }
    }

    /// What the daemon and all its children have used so far.
    pub(crate) fn usage(&self) -> Usage {
        family(self.child.id()).into_iter().map(Usage::of).fold(Usage::default(), |sum, one| Usage {
            cpu: sum.cpu + one.cpu,
            peak_memory: sum.peak_memory + one.peak_memory,
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let family = family(self.child.id());
        signal(&family, Signal::SIGTERM);
        let asked = Instant::now();
        while asked.elapsed() < END_WITHIN && family.iter().any(|process| is_alive(*process)) {
            let _ = self.child.try_wait(); // a child that nobody waits for looks alive
            sleep(Duration::from_millis(20));
        }
        signal(&family, Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

fn signal(processes: &[u32], what: Signal) {
    for process in processes.iter().filter(|process| is_alive(**process)) {
        if let Ok(process) = i32::try_from(*process) {
            let _ = kill(Pid::from_raw(process), what); // it may have ended just now
        }
    }
}

/// CPU time and memory.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Seconds, user and system, of all threads.
    pub(crate) cpu: f64,
    /// MiB: the highest resident set so far (VmHWM).
    pub(crate) peak_memory: f64,
}

impl Usage {
    /// What one process has used; nothing if it is gone.
    pub(crate) fn of(process: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.split_ascii_whitespace().next()?.parse::<f64>().ok());
        let cpu = stat(process).map_or(0.0, |stat| (number(&stat, 11) + number(&stat, 12)) / TICKS);
        Self { cpu, peak_memory: peak.unwrap_or(0.0) / 1024.0 }
    }

    /// What this process has used.
    pub(crate) fn own() -> Self {
        Self::of(std::process::id())
    }
}

/// Busy CPU seconds of the whole machine, waits and idling left out, since it was started.
pub(crate) fn machine_cpu() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.lines().next().unwrap_or_default().split_ascii_whitespace().collect();
    // cpu user nice system idle iowait irq softirq
    [1, 2, 3, 6, 7].into_iter().map(|place| number(&fields, place)).sum::<f64>() / TICKS
}

fn number(fields: &[impl AsRef<str>], place: usize) -> f64 {
    fields.get(place).and_then(|field| field.as_ref().parse().ok()).unwrap_or(0.0)
}

/// The fields of /proc/PID/stat behind the name: state, parent, ...
fn stat(process: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    Some(fields.split_ascii_whitespace().map(str::to_owned).collect())
}

fn is_alive(process: u32) -> bool {
    stat(process).is_some_and(|fields| fields.first().is_some_and(|state| state != "Z"))
}

/// A process and all that descend from it.
fn family(root: u32) -> Vec<u32> {
    let all: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|process| Some((process, stat(process)?.get(1)?.parse().ok()?)))
        .collect();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        let children = all.iter().filter(|(process, its)| *its == parent && *process != parent);
        found.extend(children.map(|(process, _)| *process));
        next += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_is_alive() {
        assert!(Usage::own().peak_memory > 0.5);
        assert!(is_alive(std::process::id()));
        assert!(machine_cpu() > 0.0);
    }

    #[test]
    fn a_family_holds_children_and_ends_with_them() {
        let mut parent = Command::new("sh").args(["-c", "sleep 60 & wait"]).spawn().expect("sh");
        let deadline = Instant::now() + Duration::from_secs(10);
        while family(parent.id()).len() < 2 {
            assert!(Instant::now() < deadline, "the child never showed up");
            sleep(Duration::from_millis(10));
        }
        let family = family(parent.id());
        signal(&family, Signal::SIGKILL);
        parent.wait().expect("sh ends");
        while family.iter().any(|process| is_alive(*process)) {
            assert!(Instant::now() < deadline, "somebody outlived the signal");
            sleep(Duration::from_millis(10));
        }
    }
}
