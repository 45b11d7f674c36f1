//! Netlink by hand: many requests in one send, dumps, and a listener.
//!
//! `rtnetlink`'s connection waits for one answer a request; a full table would take minutes. Its message builders are
//! used where devices are made.

mod batch;
mod monitor;
mod socket;

pub(crate) use batch::{Answer, Batch, Message, Refusal, Request};
pub(crate) use monitor::{Bell, Monitor, Notice, all_but};
pub(crate) use socket::{DUMPS, Socket, parse};
