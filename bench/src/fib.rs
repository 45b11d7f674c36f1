//! The kernel's IPv4 routes in the daemon's namespace: how many there are, which use a link, when one came or went.

pub(crate) mod limit;
mod roll;
mod sample;
mod watch;
mod wire;

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Instant;

use anyhow::{Context, Result};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{MsgFlags, recv};

use crate::testbed::Testbed;
pub(crate) use roll::Roll;
pub(crate) use sample::Sample;
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

/// How many routes of others than the kernel itself go by `interface` in the daemon's namespace.
pub(crate) fn by_interface(testbed: &Testbed, interface: &str) -> Result<usize> {
    testbed.in_daemon(|| {
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
        }
    })
}

/// Takes the peers' end of a link down, as a cable that is pulled: the daemon's end loses its carrier. Says when.
pub(crate) fn cut(testbed: &Testbed, link: &str) -> Result<Instant> {
    testbed.in_peers(|| {
        let mut socket = Socket::new(NETLINK_ROUTE).context("netlink")?;
        socket.bind_auto()?;
        let index = if_nametoindex(link).with_context(|| format!("no interface {link}"))?;
        let (since, mut answer) = (Instant::now(), vec![0; 1 << 12]);
        socket.send(&wire::take_down(index), 0)?;
        let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty()).context("netlink")?;
        match wire::messages(&answer[..length]).find_map(|message| message.error()) {
            None => Ok(since),
            Some(errno) => Err(io::Error::from_raw_os_error(errno)).with_context(|| format!("taking {link} down")),
        }
    })
}
