//! The daemon's parts: configuration, wiring, and the only place where the rooms meet. `main.rs` is the program.

pub mod config;
pub mod endpoints;
pub mod forwarding;
pub mod originate;
pub mod policy_input;
pub mod routes;
pub mod speaker;
