//! Every change of an IPv4 route, with the time at which the kernel told it.

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context, Result};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::sockopt::{RcvBufForce, ReceiveTimeout};
use nix::sys::socket::{MsgFlags, recv, setsockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use super::wire;
use crate::message::Prefix;
use crate::testbed::Testbed;

/// `RTMGRP_IPV4_ROUTE`.
const IPV4_ROUTES: u32 = 0x40;

/// A route that came or went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    /// Where to.
    pub(crate) prefix: Prefix,
    /// Whether it came.
    pub(crate) added: bool,
    /// When it was told.
    pub(crate) at: Instant,
}

/// A thread that only waits for changes, so that their time is theirs and not that of whoever looks. Dropped, it ends.
#[derive(Debug)]
pub(crate) struct Watch {
    events: Receiver<Event>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Watches the daemon's namespace from now on.
    pub(crate) fn start(testbed: &Testbed) -> Result<Self> {
        let socket = testbed.in_daemon(|| {
            let mut socket = Socket::new(NETLINK_ROUTE).context("netlink")?;
            socket.bind(&SocketAddr::new(0, IPV4_ROUTES))?;
            setsockopt(&socket, RcvBufForce, &(64 << 20)).context("room for route changes")?;
            setsockopt(&socket, ReceiveTimeout, &TimeVal::milliseconds(100))?;
            Ok(socket)
        })?;
        let (send, events) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            while !told.load(Ordering::Relaxed) {
                // Nothing for a moment, or too much at once: what was lost counts as lost.
                let Ok(length) = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) else { continue };
                let at = Instant::now();
                for route in wire::messages(&buffer[..length]).filter_map(|message| message.route()) {
                    if send.send(Event { prefix: route.prefix, added: route.added, at }).is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Self { events, stop, thread: Some(thread) })
    }

    /// What came since this was last asked.
    pub(crate) fn events(&self) -> impl Iterator<Item = Event> {
        self.events.try_iter()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // one that died has nothing left to stop
        }
    }
}
