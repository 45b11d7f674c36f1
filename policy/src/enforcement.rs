//! The running room: folder, endpoints and kernel kept in agreement.

use std::path::PathBuf;

use crate::{Default, Direction, DocumentError, Endpoint};

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

/// A handle; clones speak to the same room.
#[derive(Clone, Debug)]
pub struct Policy {}

impl Policy {
    /// Loads the folder, applies, and watches it from then on. A table of an earlier run is replaced in one transaction.
    ///
    /// A folder or a kernel that refuses does not end the program: the ruleset in the kernel stays, the state is
    /// degraded, and applying is tried again.
    ///
    /// # Errors
    /// [`PolicyError::Endpoint`] when an endpoint cannot be enforced.
    pub async fn start(config: PolicyConfig, endpoints: Vec<Endpoint>) -> Result<Policy, PolicyError> {
        let _ = (config, endpoints);
        todo!()
    }

    /// Replaces the whole set of endpoints. Returns when the kernel holds a ruleset that covers them (invariant 7).
    ///
    /// # Errors
    /// Why it does not. A set that the kernel refused is remembered and tried again; one with an endpoint that cannot
    /// be enforced is not.
    pub async fn set_endpoints(&self, endpoints: Vec<Endpoint>) -> Result<(), PolicyError> {
        let _ = endpoints;
        todo!()
    }

    /// What is in force, and what is not.
    pub async fn status(&self) -> Status {
        todo!()
    }

    /// Changes folder and default in place.
    ///
    /// # Errors
    /// Why the kernel does not hold the outcome.
    pub async fn reconfigure(&self, config: PolicyConfig) -> Result<(), PolicyError> {
        let _ = config;
        todo!()
    }

    /// Removes table `inet linnet`: nothing is enforced any more. The room stops.
    ///
    /// # Errors
    /// Why nft did not remove it.
    pub async fn clear(&self) -> Result<(), PolicyError> {
        todo!()
    }
}
