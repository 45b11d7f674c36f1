//! What can be observed of the lab `labs/two-racks.clab.yml`: what the demo shows and its tests assert.

use std::path::PathBuf;

use crate::lab::{Lab, LabError, Node};
use serde_json::Value;

pub mod routes;
pub mod sessions;
pub mod traffic;

/// The hosts. Host N announces 10.244.N.0/24 and fd00:244:N::/64.
pub const HOSTS: [&str; 5] = ["h1", "h2", "h3", "h4", "h5"];
/// The host without a router that speaks BGP.
pub const CLOUD_HOST: &str = "h5";

/// The topology file, where it was when this was compiled.
#[must_use]
pub fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("labs/two-racks.clab.yml")
}

/// A pod of the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its host's number, 1 to 5.
    pub host: u8,
    /// What it is there for.
    pub role: Role,
}

/// What a pod is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Connects.
    Client,
    /// Serves TCP 8080 and 9090; policy lets clients in on 8080.
    Web,
}

/// The client of a host.
#[must_use]
pub fn client(host: u8) -> Pod {
    Pod { host, role: Role::Client }
}

/// The server of a host.
#[must_use]
pub fn web(host: u8) -> Pod {
    Pod { host, role: Role::Web }
}

impl Pod {
    /// Its name, and that of its network namespace in its host.
    #[must_use]
    pub fn name(self) -> String {
        match self.role {
            Role::Client => format!("client-{}", self.host),
            Role::Web => format!("web-{}", self.host),
        }
    }

    /// The name of its host.
    #[must_use]
    pub fn host_name(self) -> String {
        format!("h{}", self.host)
    }

    /// Its IPv4 address.
    #[must_use]
    pub fn address(self) -> String {
        format!("10.244.{}.{}", self.host, self.last())
    }

    /// Its IPv6 address.
    #[must_use]
    pub fn address6(self) -> String {
        format!("fd00:244:{}::{}", self.host, self.last())
    }

    fn last(self) -> u8 {
        match self.role {
            Role::Client => 20,
            Role::Web => 10,
        }
    }

    /// Its host.
    ///
    /// # Errors
    /// When this is not that lab.
    pub fn node(self, lab: &Lab) -> Result<&Node, LabError> {
        lab.node(&self.host_name())
    }
}

/// What a command prints, as JSON.
fn json(node: &Node, arguments: &[&str]) -> Result<Value, LabError> {
    let output = node.exec(arguments)?;
    let (command, status) = (output.command.clone(), output.status);
    let text = output.checked()?;
    // Some print nothing where there is nothing.
    let text = if text.trim().is_empty() { "[]" } else { text.trim() };
    serde_json::from_str(text).map_err(|error| {
        let said = format!("its output is not JSON ({error}): {}", text.chars().take(200).collect::<String>());
        LabError::Command { command, status, said }
    })
}
