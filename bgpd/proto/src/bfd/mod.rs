//! Bidirectional Forwarding Detection (RFC 5880), in the asynchronous mode, over one hop (RFC 5881) and over many (RFC 5883).
//!
//! Pure like the rest of this crate: datagrams and time come in, datagrams and events go out.
//!
//! * [`packet`]: the control packet, and why one is discarded (RFC 5880 section 6.8.6);
//! * [`state`]: the state machine, as a table;
//! * [`session::Session`]: one session: state, Poll Sequences, intervals, both timers;
//! * [`sessions::Sessions`]: all sessions of a host: which one a datagram belongs to, and when the next one is due;
//! * [`ear::Ear`]: what a session of BGP makes of the one of BFD beside it.
//!
//! Left out: echo (Required Min Echo RX Interval is 0, so that no peer sends any), Demand mode of our own (the peer's is
//! honoured), and authentication: what the RFC has of it is MD5 and SHA-1 in a fixed sequence number space, which no
//! single-hop session needs beside the TTL. A packet with it is discarded, and counted as what it is.

pub mod ear;
pub mod packet;
pub mod session;
pub mod sessions;
pub mod state;

pub use ear::{Ear, PathLoss, Told};
pub use packet::{Diagnostic, Discard, Packet, State};
pub use session::{Cause, Change, Session, SessionConfig, Status};
pub use sessions::{Hops, Output, Received, Sessions, Target};
