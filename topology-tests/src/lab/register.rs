//! What a lab leaves on disk while it runs: one folder under `/run/linnet-lab`, so that another process can enter or
//! end it. A lab whose processes are gone is stale, and its folder is all that is left of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::LabError;
use crate::poll::poll;

/// Where labs are registered.
pub const ROOT: &str = "/run/linnet-lab";
const FILE: &str = "lab.json";

/// A lab as it is registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its own name: the topology's, and what makes it unique.
    pub lab: String,
    /// The topology's name.
    pub topology: String,
    /// The process that started it.
    pub runner: Process,
    /// Whether it stays when that process ends.
    pub kept: bool,
    /// The folder of the programs that come first in its nodes' PATH.
    pub programs: PathBuf,
    /// Its rooms.
    pub rooms: Vec<Member>,
}

/// One room of a lab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The node's name; empty: the room of the lab's bridges.
    pub node: String,
    /// Process 1 of the room.
    pub process: Process,
    /// The node's environment.
    pub env: std::collections::BTreeMap<String, String>,
}

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number outside of the lab.
    pub pid: u32,
    /// When it started, in clock ticks since boot (proc(5), stat, field 22).
    pub started: u64,
}

impl Process {
    /// The process with this number, if it lives.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in brackets, may hold anything; what follows its end starts with field 3, the state.
        let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let (state, started) = (fields.first()?, fields.get(19)?.parse().ok()?);
        (*state != "Z").then_some(Self { pid, started })
    }

    /// Whether it still runs.
    #[must_use]
    pub fn lives(&self) -> bool {
        Self::of(self.pid) == Some(*self)
    }
}

impl Entry {
    /// Whether any of it still runs.
    #[must_use]
    pub fn lives(&self) -> bool {
        self.rooms.iter().any(|room| room.process.lives()) || (!self.kept && self.runner.lives())
    }

    /// The lab's folder.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        Path::new(ROOT).join(&self.lab)
    }

    pub(super) fn write(&self) -> Result<(), LabError> {
        let path = self.directory().join(FILE);
        let failed = |reason: String| LabError::Register { path: path.clone(), reason };
        let text = serde_json::to_string_pretty(self).map_err(|error| failed(error.to_string()))?;
        // Another process that lists labs must not see half a file.
        let unfinished = path.with_extension("new");
        std::fs::write(&unfinished, text).map_err(|error| failed(error.to_string()))?;
        std::fs::rename(&unfinished, &path).map_err(|error| failed(error.to_string()))
    }

    /// Ends every process of the lab and removes its folder.
    ///
    /// # Errors
    /// When a process does not end within ten seconds.
    pub fn end(&self) -> Result<(), LabError> {
        for room in &self.rooms {
            if room.process.lives() {
                super::signal(room.process.pid, "KILL")?;
            }
        }
        poll(&format!("the end of lab {}", self.lab), Duration::from_secs(10), || {
            match self.rooms.iter().find(|room| room.process.lives()) {
                Some(room) => Err(format!("process {} of {} still runs", room.process.pid, room.node)),
                None => Ok(()),
            }
        })?;
        remove(&self.directory())
    }
}

/// Makes a lab's folder.
pub(super) fn make(lab: &str) -> Result<PathBuf, LabError> {
    let path = Path::new(ROOT).join(lab);
    // The last lab that ends takes the folder above along, which may be just now.
    let made = (0..10).find_map(|_| std::fs::create_dir_all(&path).ok());
    match made.map_or_else(|| std::fs::create_dir_all(&path), Ok) {
        Ok(()) => Ok(path),
        Err(error) => Err(LabError::Register { path, reason: error.to_string() }),
    }
}

/// Removes a lab's folder, and the one above with the last of them.
pub(super) fn remove(path: &Path) -> Result<(), LabError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(LabError::Register { path: path.to_owned(), reason: error.to_string() })
        }
        _ => {
            // Fails while other labs are there, which is what is wanted.
            let _ = std::fs::remove_dir(ROOT);
            Ok(())
        }
    }
}

/// Every lab that is registered, by name.
///
/// # Errors
/// When the folder cannot be read.
pub fn list() -> Result<Vec<Entry>, LabError> {
    let root = Path::new(ROOT);
    let folders = match std::fs::read_dir(root) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        folders => folders.map_err(|error| LabError::Register { path: root.to_owned(), reason: error.to_string() })?,
    };
    // A folder without a readable file is a lab that is just being made or ended.
    let texts = folders.flatten().filter_map(|folder| std::fs::read_to_string(folder.path().join(FILE)).ok());
    let mut entries: Vec<Entry> = texts.filter_map(|text| serde_json::from_str(&text).ok()).collect();
    entries.sort_by(|a, b| a.lab.cmp(&b.lab));
    Ok(entries)
}

/// The labs of this name: one lab by its own name, or all of a topology.
///
/// # Errors
/// When the folder cannot be read.
pub fn find(name: &str) -> Result<Vec<Entry>, LabError> {
    Ok(list()?.into_iter().filter(|entry| entry.lab == name || entry.topology == name).collect())
}

/// Removes what labs that no longer run left behind; their names.
///
/// # Errors
/// When something cannot be removed.
pub fn sweep() -> Result<Vec<String>, LabError> {
    let mut swept = Vec::new();
    for entry in list()?.into_iter().filter(|entry| !entry.lives() || (!entry.kept && !entry.runner.lives())) {
        entry.end()?;
        swept.push(entry.lab);
    }
    Ok(swept)
}
