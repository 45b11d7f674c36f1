//! A containerlab topology file: what it says, checked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

mod parse;
mod words;

#[cfg(test)]
mod tests;

pub use words::words;

/// A whole file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// The lab's name.
    pub name: String,
    /// The folder of the file: what relative paths are relative to.
    pub directory: PathBuf,
    /// In the order of the file.
    pub nodes: Vec<Node>,
    /// In the order of the file.
    pub links: Vec<Link>,
    /// Keys that mean something to containerlab and nothing here, one line each.
    pub notes: Vec<String>,
}

/// One node, with what `defaults`, its kind and its group say already merged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name in the file.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Its image; empty for a bridge.
    pub image: String,
    /// What runs in place of the image's own entry point.
    pub entrypoint: Option<Vec<String>>,
    /// Arguments for the entry point.
    pub cmd: Option<Vec<String>>,
    /// Commands that run once, in order, when the node and its links are up.
    pub exec: Vec<Vec<String>>,
    /// Files and folders of the host that the node sees.
    pub binds: Vec<Bind>,
    /// Environment of everything in the node.
    pub env: BTreeMap<String, String>,
    /// Kernel parameters of the node's namespaces, set before anything runs in it.
    pub sysctls: BTreeMap<String, String>,
}

/// The kinds of containerlab that work here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A container.
    Linux,
    /// A bridge of the host; here, of a namespace of the lab.
    Bridge,
}

/// A bind mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Absolute path on the host.
    pub source: PathBuf,
    /// Absolute path in the node.
    pub target: PathBuf,
    /// Whether the node may not write to it.
    pub read_only: bool,
}

/// A cable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its two ends.
    pub ends: [End; 2],
    /// Bytes; absent: the kernel's default.
    pub mtu: Option<u32>,
}

/// One end of a cable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct End {
    /// The node's name.
    pub node: String,
    /// The interface's name in it.
    pub interface: String,
}

/// Something in the file that cannot be done: what, what follows, what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct Fault {
    /// The file as it was named.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
    /// One sentence or two.
    pub message: String,
}

/// Why there is no topology.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// The file cannot be read.
    #[error("{path}: {source}; there is no lab without its file: name a *.clab.yml that exists")]
    Unreadable {
        /// As it was named.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Everything that is wrong with it, at once.
    #[error("{}", .0.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n"))]
    Faults(Vec<Fault>),
}

impl Topology {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// When it cannot be read, and everything in it that this runner cannot do as containerlab would.
    pub fn read(path: &Path) -> Result<Self, TopologyError> {
        let unreadable = |source| TopologyError::Unreadable { path: path.to_owned(), source };
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let directory = path.canonicalize().map_err(unreadable)?.parent().map(Path::to_owned).unwrap_or_default();
        Self::parse(&path.display().to_string(), &directory, &text).map_err(TopologyError::Faults)
    }

    /// Checks a file's text; `file` is only a name for faults.
    ///
    /// # Errors
    /// Everything in it that this runner cannot do as containerlab would, in the order of the file.
    pub fn parse(file: &str, directory: &Path, text: &str) -> Result<Self, Vec<Fault>> {
        parse::parse(file, directory, text)
    }

    /// A node by its name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }
}
