//! BGP-4 as a pure core: bytes in, bytes and events out, time is an argument.
//!
//! Nothing in this crate opens a socket, reads a clock, draws a random number or depends on a runtime; what it needs of
//! those comes in as an argument. The two halves are plain values that a test can hold:
//!
//! * [`session::Session`], one for each peer: framing, parsing, the state machine, timers, encoding;
//! * [`rib::Rib`], one for all: Adj-RIB-In, the decision process, Adj-RIB-Out.
//!
//! [`bfd`] stands beside them: it watches the paths to peers, and a session is told when one breaks.
//!
//! [`speaker::Speaker`] composes them for the simulator and for small uses. The tokio shell (crate `bgpd`) runs sessions
//! on its I/O threads and the RIB on a thread of its own.
//!
//! No input from the network can make a function of this crate panic, hang, or grow memory without bound.

pub mod bfd;
pub mod bmp;
pub mod conduct;
pub mod discovery;
pub mod filter;
pub mod hints;
pub mod monitor;
pub mod mrt;
pub mod prefix_limit;
pub mod rib;
pub mod role;
pub mod rtr;
pub mod session;
pub mod shares;
pub mod speaker;
pub mod time;
pub mod timers;
pub mod types;
pub mod wire;
