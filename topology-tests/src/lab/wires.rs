//! Cables and bridges, made where they belong: no device ever stands in the host's own namespace.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use super::LabError;
use crate::topology::{Kind, Link, Topology};

/// Makes every link of the topology. `pid` gives the process that holds a node's network namespace.
pub(super) fn wire(topology: &Topology, pid: impl Fn(&str) -> Option<u32>) -> Result<(), LabError> {
    let mut batch = String::new();
    for Link { ends: [a, b], mtu } in &topology.links {
        let (Some(room_a), Some(room_b)) = (pid(&a.node), pid(&b.node)) else { continue };
        let mtu = mtu.map(|mtu| format!(" mtu {mtu}")).unwrap_or_default();
        let ends = [(a, room_a), (b, room_b)].map(|(end, room)| format!("name {} netns {room}{mtu}", end.interface));
        // Writing to a String cannot fail.
        let _ = writeln!(batch, "link add {} type veth peer {}", ends[0], ends[1]);
    }
    ip(None, &batch)?;
    let is_bridge = |name: &str| topology.node(name).is_some_and(|node| node.kind == Kind::Bridge);
    for node in &topology.nodes {
        let Some(room) = pid(&node.name) else { continue };
        let mut batch = String::new();
        if is_bridge(&node.name) {
            let _ = writeln!(batch, "link add {0} type bridge\nlink set {0} up", node.name);
        }
        for end in topology.links.iter().flat_map(|link| &link.ends).filter(|end| end.node == node.name) {
            let port = if is_bridge(&node.name) { format!(" master {}", node.name) } else { String::new() };
            let _ = writeln!(batch, "link set {}{port} up", end.interface);
        }
        ip(Some(room), &batch)?;
    }
    Ok(())
}

/// Runs a batch of `ip` commands, in the network namespace of a process or here.
fn ip(room: Option<u32>, batch: &str) -> Result<(), LabError> {
    if batch.is_empty() {
        return Ok(());
    }
    let failed = |reason: String| LabError::Wires { reason, batch: batch.to_owned() };
    let mut command = match room {
        Some(pid) => {
            let mut command = Command::new("nsenter");
            command.args([&format!("--net=/proc/{pid}/ns/net"), "--", "ip"]);
            command
        }
        None => Command::new("ip"),
    };
    let command = command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| failed(format!("ip: {error}; install iproute2")))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(batch.as_bytes()).map_err(|error| failed(error.to_string()))?;
    }
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}
