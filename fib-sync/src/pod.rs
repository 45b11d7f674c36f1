//! Pods' interfaces: a veth pair between this host and a pod's network namespace.
#![expect(clippy::todo, reason = "the face lands before the flesh")]

use std::{net::IpAddr, path::PathBuf};

use crate::FibError;

/// A pod's interface, wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodInterface {
    /// Name of the host's end: from [`host_name`].
    pub host_name: String,
    /// The pod's network namespace: `/run/netns/NAME` or `/proc/PID/ns/net`.
    pub netns: PathBuf,
    /// Name of the pod's end: `eth0`.
    pub pod_name: String,
    /// The pod's addresses, given to it as /32 and /128.
    pub addresses: Vec<IpAddr>,
    /// MTU of both ends, octets.
    pub mtu: u32,
}

/// Name of the host's end for an endpoint (`namespace/name`, or what else is unique on this host): `lin` and 11
/// hexadecimal digits, always the same.
pub fn host_name(endpoint: &str) -> String {
    let _ = endpoint;
    todo!()
}

/// Makes the interface. The host's end exists but is down until [`up`], so that no packet flows before the pod's policy is in force.
/// Doing it again changes nothing; a step that fails undoes those before it.
pub async fn add(interface: &PodInterface) -> Result<(), FibError> {
    let _ = interface;
    todo!()
}

/// Lets packets flow.
pub async fn up(host_name: &str) -> Result<(), FibError> {
    let _ = host_name;
    todo!()
}

/// Removes both ends. Done already is done.
pub async fn remove(host_name: &str) -> Result<(), FibError> {
    let _ = host_name;
    todo!()
}
