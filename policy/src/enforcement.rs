//! The running room: folder, endpoints and kernel kept in agreement.

mod folder;
mod kernel;
mod presence;
mod task;
mod watch;

use std::path::PathBuf;

use tokio::sync::{mpsc, oneshot, watch as published};

use crate::ruleset::{OVERLAY_INTERFACE_PREFIX, POD_INTERFACE_PREFIX};
use crate::{Default, Direction, DocumentError, Endpoint};
use task::{Command, Task};

/// Configuration of the room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyConfig {
    /// The folder of documents: `*.yaml`, `*.yml` and `*.json`. Absent: no policies until it appears.
    pub directory: PathBuf,
    /// For endpoints that no policy selects.
    pub default: Default,
}

/// Why a change is not in force. What was in force before still is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// nft, or the kernel, refused the ruleset.
    #[error("{message}")]
    Kernel {
        /// nft's own words and what to do.
        message: String,
    },
    /// An endpoint that cannot be enforced.
    #[error("endpoint {endpoint}: {message}")]
    Endpoint {
        /// `namespace/name`.
        endpoint: String,
        /// What is wrong with it.
        message: String,
    },
    /// The room has stopped.
    #[error("network policy is no longer enforced anew: its task has ended; restart linnetd")]
    Stopped,
}

/// What the room has to say for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The configured default.
    pub default: Default,
    /// Whether what the folder and the endpoints say is in force.
    pub state: State,
    /// The documents that are in force, by file and line.
    pub documents: Vec<DocumentStatus>,
    /// What did not parse. The last good version of such a file, if there was one, is among `documents`.
    pub errors: Vec<DocumentError>,
    /// What parsed and was applied but cannot do what its author meant, a sentence each.
    pub warnings: Vec<String>,
}

/// In force or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The kernel holds what the folder and the endpoints say.
    InForce,
    /// It does not; it holds what was good before.
    Degraded {
        /// Why, and what to do.
        error: String,
    },
}

/// A document in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentStatus {
    /// Empty for a Namespace.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `NetworkPolicy`, `Namespace` or `Pod`.
    pub kind: &'static str,
    /// Its file, by its name inside the folder.
    pub file: String,
    /// Its first line.
    pub line: u32,
    /// What a policy governs.
    pub directions: Vec<Direction>,
    /// The endpoints of this host that a policy selects, `namespace/name`, sorted.
    pub endpoints: Vec<String>,
}

/// A handle; clones speak to the same room. When the last is dropped the room stops, and the table stays.
#[derive(Clone, Debug)]
pub struct Policy {
    commands: mpsc::Sender<Command>,
    status: published::Receiver<Status>,
}

impl Policy {
    /// Loads the folder, applies, and watches it from then on. A table of an earlier run is replaced in one transaction.
    ///
    /// A folder or a kernel that refuses does not end the program: the ruleset in the kernel stays, the state is
    /// degraded, and applying is tried again.
    ///
    /// # Errors
    /// [`PolicyError::Endpoint`] when an endpoint cannot be enforced.
    pub async fn start(config: PolicyConfig, endpoints: Vec<Endpoint>) -> Result<Policy, PolicyError> {
        validate(&endpoints)?;
        let (commands, received) = mpsc::channel(16);
        let (task, status) = Task::start(config, endpoints).await;
        tokio::spawn(task.run(received));
        Ok(Policy { commands, status })
    }

    /// Replaces the whole set of endpoints. Returns when the kernel holds a ruleset that covers them (invariant 7).
    ///
    /// # Errors
    /// Why it does not. A set that the kernel refused is remembered and tried again; one with an endpoint that cannot
    /// be enforced is not.
    pub async fn set_endpoints(&self, endpoints: Vec<Endpoint>) -> Result<(), PolicyError> {
        validate(&endpoints)?;
        self.command(|reply| Command::SetEndpoints(endpoints, reply)).await
    }

    /// What is in force, and what is not.
    pub async fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Changes folder and default in place. The new folder is read as at a start.
    ///
    /// # Errors
    /// Why the kernel does not hold the outcome.
    pub async fn reconfigure(&self, config: PolicyConfig) -> Result<(), PolicyError> {
        self.command(|reply| Command::Reconfigure(config, reply)).await
    }

    /// Removes table `inet linnet`: nothing is enforced any more. The room stops.
    ///
    /// # Errors
    /// Why nft did not remove it.
    pub async fn clear(&self) -> Result<(), PolicyError> {
        self.command(Command::Clear).await
    }

    async fn command(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<(), PolicyError>>) -> Command,
    ) -> Result<(), PolicyError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| PolicyError::Stopped)?;
        answer.await.map_err(|_| PolicyError::Stopped)?
    }
}

/// Removes what an earlier run left, without starting the room: the table `inet linnet`.
///
/// # Errors
/// Why nft did not remove it.
pub async fn remove_table() -> Result<(), PolicyError> {
    tokio::task::spawn_blocking(kernel::remove).await.unwrap_or(Err(PolicyError::Stopped))
}

/// Interfaces become keys of verdict maps and parts of chains' names.
fn validate(endpoints: &[Endpoint]) -> Result<(), PolicyError> {
    let mut seen = std::collections::HashMap::new();
    for endpoint in endpoints {
        let refuse = |message: String| {
            let endpoint = format!("{}/{}", endpoint.namespace, endpoint.name);
            Err(PolicyError::Endpoint { endpoint, message })
        };
        let interface = endpoint.interface.as_str();
        let good = interface.strip_prefix(POD_INTERFACE_PREFIX).is_some_and(|rest| {
            !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        });
        // IFNAMSIZ is 16 with the end (linux/if.h).
        if !good || interface.len() > 15 || interface.starts_with(OVERLAY_INTERFACE_PREFIX) {
            return refuse(format!(
                "its interface {interface:?} cannot be a pod's: at most 15 letters, digits, '-', '_' and '.', \
                 beginning with \"{POD_INTERFACE_PREFIX}\" and not with \"{OVERLAY_INTERFACE_PREFIX}\""
            ));
        }
        if let Some(other) = seen.insert(interface, endpoint) {
            return refuse(format!(
                "its interface {interface} is also that of {}/{}: remove one of them",
                other.namespace, other.name
            ));
        }
    }
    Ok(())
}
