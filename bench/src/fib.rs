//! The kernel's IPv4 routes in the daemon's namespace: how many there are, which use a link, when one came or went.

pub(crate) mod limit;
mod watch;
mod wire;

use std::fs;

use anyhow::{Context, Result};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{MsgFlags, recv};
use std::os::fd::AsRawFd;

use crate::testbed::Testbed;
pub(crate) use watch::{Event, Watch};

/// Routes of the main table, by the trie's own statistics: counting them so costs the kernel no message.
///
/// `process` is any process in the namespace: its number, or `thread-self`.
pub(crate) fn count(process: &str) -> Result<usize> {
    let path = format!("/proc/{process}/net/fib_triestat");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    // "Main:" or, where there are no rules but the kernel's, one trie for all tables; the others are small.
    let counts = text.lines().filter_map(|line| line.trim().strip_prefix("Prefixes:")?.trim().parse().ok());
    counts.max().with_context(|| format!("{path} says nothing of prefixes; the kernel lacks CONFIG_IP_FIB_TRIE_STATS"))
}

/// How many routes of others than the kernel itself go by `interface` in the daemon's namespace; `most` are enough.
pub(crate) fn by_interface(testbed: &Testbed, interface: &str, most: usize) -> Result<usize> {
    testbed.in_daemon(|| {
        // A socket for each look: one that is closed early ends the kernel's listing.
        let mut socket = Socket::new(NETLINK_ROUTE).context("netlink")?;
        socket.bind_auto()?;
        // The kernel leaves out what does not match, instead of telling all.
        socket.set_netlink_get_strict_chk(true)?;
        let index = if_nametoindex(interface).with_context(|| format!("no interface {interface}"))?;
        socket.send(&wire::list(index), 0)?;
        let (mut found, mut buffer) = (0, vec![0; 1 << 17]);
        loop {
            let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()).context("netlink")?;
            for message in wire::messages(&buffer[..length]) {
                if message.is_end() {
                    return Ok(found);
                }
                if message.route().is_some_and(|route| route.protocol != wire::OF_THE_KERNEL) {
                    found += 1;
                }
            }
            if found >= most {
                return Ok(found);
            }
        }
    })
}
