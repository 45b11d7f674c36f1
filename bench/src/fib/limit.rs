//! The kernel's own limit: the routes of a workload written and removed by nobody but this program, a thousand requests
//! to a `send`, no answer asked for, in the order that costs its trie the least. What a daemon takes longer is the daemon's.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::sockopt::{RcvBufForce, SndBufForce};
use nix::sys::socket::{MsgFlags, recv, setsockopt};
use std::os::fd::AsRawFd;

use super::wire;
use crate::message::Prefix;
use crate::process::Usage;
use crate::scenario::peer_address4;
use crate::testbed::{LINKS, Testbed};
use crate::workload::Workload;

/// Requests in one `send`.
const BATCH: usize = 1_000;

/// What the kernel alone takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    /// To add all routes.
    pub(crate) added: Duration,
    /// To remove them.
    pub(crate) removed: Duration,
    /// CPU seconds of the first.
    pub(crate) cpu_s: f64,
}

/// Adds and removes every route of `workload` in the daemon's namespace, where no daemon runs.
pub(crate) fn measure(testbed: &Testbed, workload: &Workload) -> Result<Limit> {
    testbed.in_daemon(|| {
        let mut socket = Socket::new(NETLINK_ROUTE).context("netlink")?;
        socket.bind_auto()?;
        setsockopt(&socket, SndBufForce, &(16 << 20))?;
        setsockopt(&socket, RcvBufForce, &(16 << 20))?;
        let index = if_nametoindex(LINKS[0]).context("the wire")?;
        let batches = |prefixes: &[Prefix], write: &dyn Fn(Prefix, &mut Vec<u8>)| -> Vec<Vec<u8>> {
            let batch = |prefixes: &[Prefix]| {
                let mut out = Vec::with_capacity(64 * BATCH);
                prefixes.iter().for_each(|prefix| write(*prefix, &mut out));
                out
            };
            prefixes.chunks(BATCH).map(batch).collect()
        };
        let gateway = peer_address4(0);
        // Short ones first, and last when they go: docs/performance.md.
        let mut prefixes = workload.prefixes().to_vec();
        prefixes.sort_unstable_by_key(|prefix| (prefix.length, prefix.bits));
        let add = batches(&prefixes, &|prefix, out| wire::add(prefix, gateway, index, out));
        prefixes.sort_unstable_by_key(|prefix| (Reverse(prefix.length), prefix.bits));
        let remove = batches(&prefixes, &|prefix, out| wire::remove(prefix, out));
        let base = super::count("thread-self")?;
        let cpu = Usage::own().cpu;
        let added = send(&socket, &add)?;
        let cpu_s = Usage::own().cpu - cpu;
        let held = super::count("thread-self")?;
        ensure!(held == base + workload.len(), "the kernel holds {held} routes and not {}", base + workload.len());
        let removed = send(&socket, &remove)?;
        let held = super::count("thread-self")?;
        ensure!(held == base, "the kernel holds {held} routes and not {base}");
        Ok(Limit { added, removed, cpu_s })
    })
}

/// Sends all; the kernel has done a batch when `send` returns.
fn send(socket: &Socket, batches: &[Vec<u8>]) -> Result<Duration> {
    let started = Instant::now();
    for batch in batches {
        socket.send(batch, 0).context("netlink")?;
    }
    let took = started.elapsed();
    let mut buffer = vec![0; 1 << 16];
    if let Ok(length) = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
        let refused = wire::messages(&buffer[..length]).find_map(|message| message.error());
        ensure!(refused.is_none(), "the kernel refused a route: {}", nix::errno::Errno::from_raw(refused.unwrap_or(0)));
    }
    Ok(took)
}
