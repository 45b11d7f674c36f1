//! One node of a running lab: what a test or a person does with it.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use super::room::enter;
use super::{LabError, Process, signal};
use crate::daemon::Program;
use crate::poll::poll;

/// No command of a test needs longer; one that hangs must not hang the test.
const LONGEST: &str = "120";
/// How long a daemon may take to serve.
const READY: Duration = Duration::from_secs(30);

/// A running node.
#[derive(Clone, Debug)]
pub struct Node {
    pub(super) name: String,
    pub(super) pid: u32,
    pub(super) programs: PathBuf,
    pub(super) env: BTreeMap<String, String>,
    pub(super) daemons: Vec<Program>,
    /// Where the daemons' logs are.
    pub(super) logs: PathBuf,
}

/// What a command in a node said.
#[derive(Clone, Debug)]
pub struct Output {
    /// Node and command, for messages.
    pub command: String,
    /// Its exit status; none when a signal ended it.
    pub status: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Whether it ended with 0.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.status == Some(0)
    }

    /// Its standard output, if it ended with 0.
    ///
    /// # Errors
    /// Otherwise: the command and what it said.
    pub fn checked(self) -> Result<String, LabError> {
        if self.ok() {
            return Ok(self.stdout);
        }
        let said = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        Err(LabError::Command { command: self.command, status: self.status, said: said.trim().to_owned() })
    }
}

impl Node {
    /// Its name in the topology.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that, when spawned, runs in the node; or in a network namespace that somebody made in it (a pod's).
    #[must_use]
    pub fn command(&self, netns: Option<&str>, arguments: &[&str]) -> Command {
        let mut command = enter(self.pid, netns, &self.programs);
        command.args(arguments).envs(&self.env);
        command
    }

    /// Runs a command in the node to its end; after two minutes it is killed (status 137).
    ///
    /// # Errors
    /// When it cannot be started. A command that fails is not an error here: see [`Output::checked`].
    pub fn exec(&self, arguments: &[&str]) -> Result<Output, LabError> {
        self.exec_in(None, arguments)
    }

    /// As [`Node::exec`], in a network namespace of the node (`/run/netns/NAME`).
    ///
    /// # Errors
    /// As [`Node::exec`].
    pub fn exec_in(&self, netns: Option<&str>, arguments: &[&str]) -> Result<Output, LabError> {
        let bounded: Vec<_> = ["timeout", "--signal=KILL", LONGEST].iter().chain(arguments).copied().collect();
        let label =
            format!("{}{}: {}", self.name, netns.map(|n| format!(":{n}")).unwrap_or_default(), arguments.join(" "));
        let failed =
            |error: std::io::Error| LabError::Command { command: label.clone(), status: None, said: error.to_string() };
        let output = self.command(netns, &bounded).stdin(Stdio::null()).output().map_err(failed)?;
        Ok(Output {
            status: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            command: label,
        })
    }

    /// Runs a shell's line in the node.
    ///
    /// # Errors
    /// When it cannot be started, or fails.
    pub fn shell(&self, line: &str) -> Result<String, LabError> {
        self.exec(&["sh", "-c", line])?.checked()
    }

    /// Starts a command in the node and leaves it running; it ends with the lab at the latest.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, netns: Option<&str>, arguments: &[&str]) -> Result<Background, LabError> {
        let label = format!("{}: {}", self.name, arguments.join(" "));
        let failed =
            |error: std::io::Error| LabError::Command { command: label.clone(), status: None, said: error.to_string() };
        let mut command = self.command(netns, arguments);
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().map_err(failed)?;
        Ok(Background::new(label, child))
    }

    /// Takes a cable's end away or puts it back.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn link(&self, interface: &str, up: bool) -> Result<(), LabError> {
        self.exec(&["ip", "link", "set", interface, if up { "up" } else { "down" }])?.checked().map(drop)
    }

    /// The living process of this name in the node, as the outside knows it. The oldest, if there are more.
    #[must_use]
    pub fn pid(&self, name: &str) -> Option<u32> {
        let namespace = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let ours = namespace(self.pid)?;
        let all = std::fs::read_dir("/proc").ok()?;
        let mut found: Vec<_> = all
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
            .filter(|&pid| namespace(pid).as_ref() == Some(&ours))
            // The kernel cuts a process's name to 15 bytes.
            .filter(|pid| {
                std::fs::read_to_string(format!("/proc/{pid}/comm"))
                    .is_ok_and(|comm| name.starts_with(comm.trim()) && !comm.trim().is_empty())
            })
            .filter_map(Process::of)
            .collect();
        found.sort_by_key(|process| process.started);
        found.first().map(|process| process.pid)
    }

    /// Sends a signal (`KILL`, `TERM`, `HUP`) to the daemon of this name and, if it is one that ends it, waits for its end.
    ///
    /// # Errors
    /// When it does not run, or not end within ten seconds.
    pub fn signal(&self, daemon: &str, kind: &str) -> Result<(), LabError> {
        let not_there = || LabError::NoDaemon { node: self.name.clone(), daemon: daemon.to_owned() };
        let process = self.pid(daemon).and_then(Process::of).ok_or_else(not_there)?;
        signal(process.pid, kind)?;
        if matches!(kind, "KILL" | "TERM" | "INT") {
            let what = format!("the end of {daemon} in {}", self.name);
            poll(&what, Duration::from_secs(10), || match process.lives() {
                true => Err(format!("process {} runs", process.pid)),
                false => Ok(()),
            })?;
        }
        Ok(())
    }

    /// Starts a daemon of the node (again) and waits until it serves.
    ///
    /// # Errors
    /// When the node has no such daemon, or it ends, or is not ready within half a minute.
    pub fn start(&self, daemon: &str) -> Result<(), LabError> {
        let known = self.daemons.iter().find(|program| program.name == daemon);
        let program = known.ok_or_else(|| LabError::NoDaemon { node: self.name.clone(), daemon: daemon.to_owned() })?;
        let log = self.logs.join(format!("{}.log", program.name));
        let failed = |reason: String| LabError::Daemon {
            node: self.name.clone(),
            daemon: program.name.clone(),
            reason,
            log: tail(&log),
        };
        std::fs::create_dir_all(&self.logs).map_err(|error| failed(error.to_string()))?;
        let file = File::options().create(true).append(true).open(&log).map_err(|error| failed(error.to_string()))?;
        let copy = file.try_clone().map_err(|error| failed(error.to_string()))?;
        // A socket that a killed daemon left says nothing about the new one.
        if let Some(ready) = &program.ready {
            let _ = std::fs::remove_file(self.path(ready));
        }
        let arguments: Vec<_> = program.command.iter().map(String::as_str).collect();
        let mut command = self.command(None, &arguments);
        command.process_group(0).stdin(Stdio::null()).stdout(file).stderr(copy);
        let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
        let mut ended = None;
        let waited = poll(&format!("{daemon} in {} to start", self.name), READY, || {
            if let Ok(Some(status)) = child.try_wait() {
                ended = Some(status);
                return Ok(());
            }
            let there = program.ready.as_ref().is_none_or(|ready| self.path(ready).exists());
            if there && self.pid(daemon).is_some() { Ok(()) } else { Err("it does not serve yet".to_owned()) }
        });
        match (waited, ended) {
            (Ok(()), None) => {}
            (Ok(()), Some(status)) => return Err(failed(format!("it ended at once ({status})"))),
            (Err(late), _) => return Err(failed(late.to_string())),
        }
        // Somebody has to take the exit status of nsenter, whenever that comes.
        std::thread::spawn(move || child.wait());
        Ok(())
    }

    /// A path of the node, as this process sees it.
    #[must_use]
    pub fn path(&self, inside: &Path) -> PathBuf {
        let relative = inside.strip_prefix("/").unwrap_or(inside);
        Path::new("/proc").join(self.pid.to_string()).join("root").join(relative)
    }

    /// The names of its daemons.
    pub fn daemons(&self) -> impl Iterator<Item = &str> {
        self.daemons.iter().map(|program| program.name.as_str())
    }

    /// What a person needs to see when something went wrong: interfaces, routes, ruleset, the daemons' own tables, logs.
    #[must_use]
    pub fn dump(&self) -> String {
        let mut commands = vec![
            "ip -brief address",
            "ip -4 route",
            "ip -6 route",
            "ip neighbor",
            "ip -details link show type vxlan",
            "bridge fdb show",
            "nft list ruleset",
        ];
        for daemon in self.daemons() {
            commands.extend_from_slice(match daemon {
                // FRR's or OpenBGPD's.
                "bgpd" => &[
                    "test ! -e /run/frr/bgpd.vty || vtysh -c 'show bgp summary' -c 'show bgp ipv4' -c 'show bgp ipv6'",
                    "test ! -e /run/openbgpd/bgpd.sock.0 || { bgpctl show; bgpctl show rib; }",
                ],
                "bird" => &["birdc show protocols all", "birdc show route all"],
                "gobgpd" => &["gobgp neighbor", "gobgp global rib", "gobgp global rib -a ipv6"],
                "linnetd" => &[
                    "linnet status",
                    "linnet bgp summary -o wide",
                    "linnet bgp routes -o wide",
                    "linnet route list -o wide",
                    "linnet overlay list -o wide",
                    "linnet endpoint list -o wide",
                    "linnet policy list -o wide",
                ],
                _ => &[],
            });
        }
        let mut text = format!("===== {}\n", self.name);
        for line in commands {
            let said = match self.exec(&["timeout", "5", "sh", "-c", line]) {
                Ok(output) => format!("{}{}", output.stdout, output.stderr),
                Err(error) => error.to_string(),
            };
            if !said.trim().is_empty() {
                text += &format!("--- {}: {line}\n{}\n", self.name, said.trim_end());
            }
        }
        for daemon in self.daemons() {
            text +=
                &format!("--- {}: log of {daemon}\n{}\n", self.name, tail(&self.logs.join(format!("{daemon}.log"))));
        }
        text
    }

    /// The whole log of a daemon.
    #[must_use]
    pub fn log(&self, daemon: &str) -> String {
        std::fs::read_to_string(self.logs.join(format!("{daemon}.log"))).unwrap_or_default()
    }
}

/// The end of a log: enough to see why.
fn tail(path: &Path) -> String {
    let text = std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// A command that runs in a node. Dropped, it is killed.
#[derive(Debug)]
pub struct Background {
    label: String,
    child: Child,
    /// What it says is read as it comes: a full pipe would stop it.
    said: [Option<JoinHandle<Vec<u8>>>; 2],
    ended: bool,
}

impl Background {
    fn new(label: String, mut child: Child) -> Self {
        fn read(mut pipe: impl std::io::Read + Send + 'static) -> JoinHandle<Vec<u8>> {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                // What was read before an error is what there is.
                let _ = pipe.read_to_end(&mut bytes);
                bytes
            })
        }
        let said = [child.stdout.take().map(read), child.stderr.take().map(read)];
        Self { label, child, said, ended: false }
    }

    /// Sends SIGINT, as Ctrl-C would, and waits for the end.
    ///
    /// # Errors
    /// When its end cannot be waited for.
    pub fn interrupt(self) -> Result<Output, LabError> {
        // It may have ended already; then there is nobody to tell, and its output says why.
        self.signal("INT");
        self.finish()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When its end cannot be waited for.
    pub fn finish(mut self) -> Result<Output, LabError> {
        let status = self.child.wait().map_err(|error| LabError::Command {
            command: self.label.clone(),
            status: None,
            said: error.to_string(),
        })?;
        self.ended = true;
        let [stdout, stderr] = self.said.each_mut().map(|reader| {
            let bytes = reader.take().and_then(|reader| reader.join().ok()).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        });
        Ok(Output { command: self.label.clone(), status: status.code(), stdout, stderr })
    }

    /// nsenter passes nothing on; its child, in the group that was made for it, gets the signal too.
    fn signal(&self, kind: &str) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-s", kind, "--", &group]).stderr(Stdio::null()).status();
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if !self.ended {
            self.signal("KILL");
            let _ = self.child.wait();
        }
    }
}
