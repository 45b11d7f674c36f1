//! A running lab.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::daemon::{NoPlan, Plan, package, plan};
use crate::poll::{Late, poll};
use crate::topology::{Kind, Topology, TopologyError};

mod node;
mod register;
mod room;
mod wires;

pub use node::{Background, Node, Output};
pub use register::{Entry, Member, Process, ROOT, find, list, sweep};
pub use room::enter;
use room::{Room, Stay};

/// How a lab is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The lab stays when this process ends; [`Entry::end`] ends it.
    pub keep: bool,
    /// The folder with `linnetd` and `linnet`.
    pub programs: PathBuf,
}

impl Default for Options {
    /// A lab that ends with this process, with the programs that were built beside it: those in the folder of this
    /// program, or, for a test (in `deps`), in the folder above. `LINNET_PROGRAMS` names another folder.
    fn default() -> Self {
        let beside = || {
            let folder = std::env::current_exe().ok()?.parent()?.to_owned();
            if folder.ends_with("deps") { folder.parent().map(Path::to_owned) } else { Some(folder) }
        };
        let programs = std::env::var_os("LINNET_PROGRAMS").map(PathBuf::from).or_else(beside).unwrap_or_default();
        Self { keep: false, programs }
    }
}

/// Why a lab does not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Something in the file.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// Something that no program stands in for.
    #[error(transparent)]
    Plan(#[from] NoPlan),
    /// Namespaces need root.
    #[error("user {0} cannot make namespaces, so no lab can run; run this as root")]
    NotRoot(String),
    /// A program that a node runs is not on this machine.
    #[error("node {node}: there is no program `{program}` on this machine, so the node cannot run; install {package}")]
    NoProgram {
        /// The node.
        node: String,
        /// The program.
        program: String,
        /// Where it comes from.
        package: String,
    },
    /// A node's namespaces.
    #[error("node {node}: its namespaces could not be made, so the lab did not start: {reason}")]
    Room {
        /// The node.
        node: String,
        /// What the system said and what to do.
        reason: String,
    },
    /// A lab's links.
    #[error("the lab's links could not be made: {reason}; the commands were:\n{batch}")]
    Wires {
        /// What `ip` said.
        reason: String,
        /// What it was asked.
        batch: String,
    },
    /// A daemon that does not run as it should.
    #[error("node {node}: {daemon} did not start: {reason}; the end of its log:\n{log}")]
    Daemon {
        /// The node.
        node: String,
        /// The daemon.
        daemon: String,
        /// What happened.
        reason: String,
        /// What it said.
        log: String,
    },
    /// A daemon that is not there.
    #[error("node {node}: no {daemon} runs there; `lab list` shows what does")]
    NoDaemon {
        /// The node.
        node: String,
        /// The daemon.
        daemon: String,
    },
    /// A command in a node.
    #[error("`{command}` failed ({}): {said}", status.map_or_else(|| "killed".to_owned(), |status| format!("exit status {status}")))]
    Command {
        /// Node and command.
        command: String,
        /// Its exit status, if it ended by itself.
        status: Option<i32>,
        /// What it said.
        said: String,
    },
    /// A node that is not in the topology.
    #[error("there is no node `{name}` in lab {lab}; its nodes are {nodes}")]
    NoNode {
        /// The lab.
        lab: String,
        /// The name.
        name: String,
        /// The names that there are.
        nodes: String,
    },
    /// A condition that did not come true.
    #[error(transparent)]
    Late(#[from] Late),
    /// As [`LabError::Late`], with the state of every node.
    #[error("{late}\n{dump}\n(again: {late})")]
    Dumped {
        /// What was waited for.
        late: Late,
        /// Every node's dump.
        dump: String,
    },
    /// The lab's folder.
    #[error("{path}: {reason}; other processes cannot find the lab; make the folder writable")]
    Register {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// A signal that did not reach its process.
    #[error("process {pid} cannot be ended: {reason}")]
    Signal {
        /// The process.
        pid: u32,
        /// What `kill` said.
        reason: String,
    },
}

/// A running lab. Dropped, it ends and leaves nothing behind, unless it is to be kept.
#[derive(Debug)]
pub struct Lab {
    entry: Entry,
    directory: PathBuf,
    topology: Topology,
    nodes: BTreeMap<String, Node>,
    /// Held for their Drop, nodes first and the bridges' room last.
    rooms: Vec<Room>,
    /// Removes the folder when this process ends without having done so.
    sentinel: Option<Child>,
    /// Whether it came up. One that did not is not kept.
    complete: bool,
}

/// Labs of one process.
static COUNT: AtomicU32 = AtomicU32::new(0);

impl Lab {
    /// Runs a topology file: namespaces, links, daemons, `exec`. Returns when the last line of `exec` has ended.
    ///
    /// # Errors
    /// When anything of that fails; what had been made is gone again.
    pub fn up(path: &Path, options: &Options) -> Result<Self, LabError> {
        let topology = Topology::read(path)?;
        let mut plans = BTreeMap::new();
        for node in topology.nodes.iter().filter(|node| node.kind == Kind::Linux) {
            plans.insert(node.name.clone(), plan(node)?);
        }
        may_run()?;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let lab = format!("{}-{:x}-{count}", topology.name, std::process::id());
        let directory = register::make(&lab)?;
        let this = std::process::id();
        let entry = Entry {
            topology: topology.name.clone(),
            runner: Process::of(this).unwrap_or(Process { pid: this, started: 0 }),
            kept: options.keep,
            programs: options.programs.clone(),
            rooms: Vec::new(),
            lab,
        };
        let (nodes, rooms) = (BTreeMap::new(), Vec::new());
        let mut lab = Self { entry, directory, topology, nodes, rooms, sentinel: None, complete: false };
        if !options.keep {
            lab.sentinel = Some(sentinel(&lab.directory)?);
        }
        lab.furnish(plans, options)?;
        lab.entry.write()?;
        let pids: BTreeMap<_, _> = lab.entry.rooms.iter().map(|room| (room.node.clone(), room.process.pid)).collect();
        let is_bridge = |name: &str| lab.topology.node(name).is_some_and(|node| node.kind == Kind::Bridge);
        wires::wire(&lab.topology, |name| pids.get(if is_bridge(name) { "" } else { name }).copied())?;
        lab.start()?;
        lab.complete = true;
        Ok(lab)
    }

    /// Makes every room.
    fn furnish(&mut self, mut plans: BTreeMap<String, Plan>, options: &Options) -> Result<(), LabError> {
        let stay = if options.keep { Stay::Forever } else { Stay::WithRunner };
        let bridges = self.topology.nodes.iter().any(|node| node.kind == Kind::Bridge);
        let nodes = self.topology.nodes.clone();
        for node in nodes.iter().filter(|node| node.kind == Kind::Linux) {
            let plan = plans.remove(&node.name).unwrap_or_default();
            let room = Room::new(&node.name, &plan.folders, &node.binds, stay)?;
            let pid = room.pid();
            let running = Node {
                name: node.name.clone(),
                pid,
                programs: options.programs.clone(),
                env: node.env.clone(),
                logs: self.directory.join(&node.name),
                daemons: plan.programs,
            };
            self.enlist(&node.name, room, node.env.clone());
            for program in &running.daemons {
                let name = program.command.first().map_or("", String::as_str);
                if !running.exec(&["sh", "-c", "command -v \"$0\"", name])?.ok() {
                    let package = package(&node.image).unwrap_or("what brings it").to_owned();
                    return Err(LabError::NoProgram { node: node.name.clone(), program: name.to_owned(), package });
                }
            }
            self.nodes.insert(node.name.clone(), running);
        }
        if bridges {
            let room = Room::new("bridges", &[], &[], stay)?;
            self.enlist("", room, BTreeMap::new());
        }
        Ok(())
    }

    fn enlist(&mut self, node: &str, room: Room, env: BTreeMap<String, String>) {
        let pid = room.pid();
        let process = Process::of(pid).unwrap_or(Process { pid, started: 0 });
        self.entry.rooms.push(Member { node: node.to_owned(), process, env });
        self.rooms.push(room);
    }

    /// Starts every node's daemons, all nodes at once, and then runs each node's `exec`, as containerlab does.
    fn start(&self) -> Result<(), LabError> {
        self.each(|node| {
            let run = |command: &Vec<String>| {
                let words: Vec<_> = command.iter().map(String::as_str).collect();
                node.exec(&words)?.checked().map(drop)
            };
            let Some(described) = self.topology.node(node.name()) else { return Ok(()) };
            let plan = plan(described)?;
            for (name, value) in &described.sysctls {
                node.exec(&["sysctl", "-q", "-w", &format!("{name}={value}")])?.checked()?;
            }
            plan.first.iter().try_for_each(run)?;
            node.daemons().try_for_each(|daemon| node.start(daemon))?;
            plan.then.iter().chain(&described.exec).try_for_each(run)?;
            Ok(())
        })
    }

    /// Does one thing in every node at once. The first error, in the order of the nodes' names, is the answer.
    fn each(&self, work: impl Fn(&Node) -> Result<(), LabError> + Sync) -> Result<(), LabError> {
        let what = format!("lab {}: {} nodes start", self.entry.topology, self.nodes.len());
        std::thread::scope(|scope| {
            let work = &work;
            let threads: Vec<_> =
                self.nodes.values().map(|node| (node.name(), scope.spawn(move || work(node)))).collect();
            let _ = poll(&what, Duration::from_secs(300), || {
                let busy: Vec<_> = threads.iter().filter(|(_, t)| !t.is_finished()).map(|(name, _)| *name).collect();
                if busy.is_empty() { Ok(()) } else { Err(format!("not yet: {}", busy.join(" "))) }
            });
            threads.into_iter().try_for_each(|(name, thread)| {
                let died =
                    |_| LabError::Room { node: name.to_owned(), reason: "the thread that started it died".to_owned() };
                thread.join().unwrap_or_else(|panic| Err(died(panic)))
            })
        })
    }

    /// Its own name: the topology's with what makes it unique.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.entry.lab
    }

    /// What it runs.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// A node.
    ///
    /// # Errors
    /// When the topology has none of that name.
    pub fn node(&self, name: &str) -> Result<&Node, LabError> {
        self.nodes.get(name).ok_or_else(|| LabError::NoNode {
            lab: self.entry.lab.clone(),
            name: name.to_owned(),
            nodes: self.nodes.keys().cloned().collect::<Vec<_>>().join(", "),
        })
    }

    /// Every node but the bridges, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// Looks until `look` has an answer.
    ///
    /// # Errors
    /// When the deadline passes first: with the last look's reason and every node's state.
    pub fn poll<T>(
        &self,
        what: &str,
        deadline: Duration,
        look: impl FnMut() -> Result<T, String>,
    ) -> Result<T, LabError> {
        poll(what, deadline, look).map_err(|late| LabError::Dumped { late, dump: self.dump() })
    }

    /// Every node's state.
    #[must_use]
    pub fn dump(&self) -> String {
        self.nodes.values().map(Node::dump).collect()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.entry.kept && self.complete {
            return;
        }
        self.rooms.clear();
        // What cannot be ended or removed here, `lab sweep` finds; a Drop has nobody to tell.
        let _ = self.entry.end();
        let _ = register::remove(&self.directory);
        if let Some(mut sentinel) = self.sentinel.take() {
            drop(sentinel.stdin.take());
            let _ = sentinel.wait();
        }
    }
}

/// A small process in a group of its own that removes the lab's folder when this process is gone, even by `kill -9`.
fn sentinel(directory: &Path) -> Result<Child, LabError> {
    let line = r#"while read -r _; do :; done; rm -rf -- "$1"; rmdir "$2" 2> /dev/null"#;
    let mut command = Command::new("sh");
    command.args(["-c", line, "linnet-lab-sentinel"]).arg(directory).arg(ROOT);
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let failed = |error: std::io::Error| LabError::Register { path: directory.to_owned(), reason: error.to_string() };
    command.spawn().map_err(failed)
}

/// Whether this user may make namespaces.
fn may_run() -> Result<(), LabError> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    match ids.split_whitespace().nth(1) {
        Some("0") => Ok(()),
        other => Err(LabError::NotRoot(other.unwrap_or("unknown").to_owned())),
    }
}

/// Sends a signal by name.
fn signal(pid: u32, kind: &str) -> Result<(), LabError> {
    let failed = |reason: String| LabError::Signal { pid, reason };
    let output = Command::new("kill").args(["-s", kind, &pid.to_string()]).output();
    let output = output.map_err(|error| failed(error.to_string()))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}
