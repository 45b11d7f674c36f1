//! What the kernel does with packets to some of the prefixes.
//!
//! A listing of 500,000 routes takes the kernel longer than it needs to move them all to another link. Packets meet routes
//! one by one, and so does this.

use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::sockopt::RcvBufForce;
use nix::sys::socket::{MsgFlags, recv, setsockopt};

use super::wire;
use crate::message::Prefix;
use crate::testbed::Testbed;

/// Room for all answers: they are there when the question has been sent.
const ROOM: usize = 16 << 20;

/// Questions to the kernel where packets to some prefixes go, and who they should go to.
#[derive(Debug)]
pub(crate) struct Sample {
    socket: Socket,
    questions: Vec<u8>,
    count: usize,
    interface: u32,
    buffer: Vec<u8>,
}

impl Sample {
    /// Of `count` of `prefixes`, evenly spaced, the last one among them; what is wanted is that they go by `interface`.
    pub(crate) fn new(testbed: &Testbed, prefixes: &[Prefix], count: usize, interface: &str) -> Result<Self> {
        let (socket, interface) = testbed.in_daemon(|| {
            let mut socket = Socket::new(NETLINK_ROUTE).context("netlink")?;
            socket.bind(&SocketAddr::new(0, 0))?;
            setsockopt(&socket, RcvBufForce, &ROOM).context("room for answers")?;
            let index = if_nametoindex(interface).with_context(|| format!("no interface {interface}"))?;
            Ok((socket, index))
        })?;
        let mut questions = Vec::new();
        let spaced = prefixes.iter().rev().step_by(prefixes.len().div_ceil(count).max(1));
        let count = spaced.map(|prefix| wire::look_up(*prefix, &mut questions)).count();
        Ok(Self { socket, questions, count, interface, buffer: vec![0; 1 << 17] })
    }

    /// How many are looked at.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// To how many of them packets go by the interface now.
    pub(crate) fn arrive(&mut self) -> Result<usize> {
        self.socket.send(&self.questions, 0).context("netlink")?;
        let (mut answered, mut by_it) = (0, 0);
        while answered < self.count {
            let length = recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::empty()).context("netlink")?;
            for message in wire::messages(&self.buffer[..length]) {
                answered += 1;
                by_it += usize::from(message.route().is_some_and(|route| route.interface == Some(self.interface)));
            }
        }
        Ok(by_it)
    }
}
