//! A daemon under test as the kernel sees it: started, watched in /proc, ended with all its children.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
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

/// One program of a daemon.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// Program and arguments.
    pub(crate) command: Vec<String>,
    /// What is there once the next program may start.
    pub(crate) ready: Option<PathBuf>,
}

/// A running daemon: its programs, in the order in which they were started. Ended when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    children: Vec<Child>,
    log: PathBuf,
}

impl Process {
    /// Starts `programs` in the network namespace `namespace`. What they say goes to the file `output`.
    pub(crate) fn start(
        namespace: &str,
        programs: &[Program],
        directory: &Path,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let log = directory.join("output");
        let output = File::create(&log).with_context(|| format!("{}", log.display()))?;
        let mut process = Self { children: Vec::new(), log };
        for program in programs {
            let child = Command::new("ip")
                .args(["netns", "exec", namespace])
                .args(&program.command)
                .current_dir(directory)
                .stdin(Stdio::null())
                .stdout(output.try_clone()?)
                .stderr(output.try_clone()?)
                .spawn()
                .context("ip netns exec")?;
            process.children.push(child);
            if let Some(path) = &program.ready {
                process.wait_until(interrupt, &format!("{} is not there", path.display()), |_| path.exists())?;
            }
        }
        Ok(process)
    }

    /// The program that was started last: the one that speaks BGP.
    pub(crate) fn id(&self) -> u32 {
        self.children.last().map_or(0, Child::id)
    }

    /// Waits until something in the daemon's namespace listens on TCP port 179.
    pub(crate) fn wait_until_it_listens(&mut self, interrupt: &Interrupt) -> Result<()> {
        self.wait_until(interrupt, "nothing listens on port 179", |process| {
            ["tcp", "tcp6"].into_iter().any(|table| process.listens(table))
        })
    }

    fn wait_until(&mut self, interrupt: &Interrupt, what: &str, done: impl Fn(&Self) -> bool) -> Result<()> {
        let started = Instant::now();
        loop {
            interrupt.check()?;
            for child in &mut self.children {
                if let Some(status) = child.try_wait()? {
                    bail!("it ended at once ({status}): {}", self.last_words());
                }
            }
            if done(self) {
                return Ok(());
            }
            if started.elapsed() > LISTEN_WITHIN {
                bail!("after {} s {what}: {}", LISTEN_WITHIN.as_secs(), self.last_words());
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
        let path = format!("/proc/{}/net/{table}", self.id());
        let sockets = fs::read_to_string(path).unwrap_or_default();
        sockets.lines().any(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let (local, state) = (fields.next(), fields.nth(1));
            local.is_some_and(|address| address.ends_with(":00B3")) && state == Some("0A")
        })
    }

    fn has_moved(&self) -> bool {
        let own = fs::read_link("/proc/self/ns/net").ok();
        let its = fs::read_link(format!("/proc/{}/ns/net", self.id())).ok();
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
        self.families().into_iter().map(Usage::of).fold(Usage::default(), |sum, one| Usage {
            cpu: sum.cpu + one.cpu,
            memory: sum.memory + one.memory,
            peak_memory: sum.peak_memory + one.peak_memory,
        })
    }

    /// Every process of the daemon. FRR's programs leave none behind that is nobody's child.
    fn families(&self) -> Vec<u32> {
        self.children.iter().flat_map(|child| family(child.id())).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let family = self.families();
        signal(&family, Signal::SIGTERM);
        let asked = Instant::now();
        while asked.elapsed() < END_WITHIN && family.iter().any(|process| is_alive(*process)) {
            for child in &mut self.children {
                let _ = child.try_wait(); // a child that nobody waits for looks alive
            }
            sleep(Duration::from_millis(20));
        }
        signal(&family, Signal::SIGKILL);
        for child in &mut self.children {
            let _ = child.wait();
        }
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
    /// MiB: the resident set now (VmRSS).
    pub(crate) memory: f64,
    /// MiB: the highest resident set so far (VmHWM).
    pub(crate) peak_memory: f64,
}

impl Usage {
    /// What one process has used; nothing if it is gone.
    pub(crate) fn of(process: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let mib = |name: &str| {
            let mut lines = status.lines();
            let kib =
                lines.find_map(|line| line.strip_prefix(name)?.split_ascii_whitespace().next()?.parse::<f64>().ok());
            kib.unwrap_or(0.0) / 1024.0
        };
        let cpu = stat(process).map_or(0.0, |stat| (number(&stat, 11) + number(&stat, 12)) / TICKS);
        Self { cpu, memory: mib("VmRSS:"), peak_memory: mib("VmHWM:") }
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
