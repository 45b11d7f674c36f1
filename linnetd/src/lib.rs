//! The daemon's parts: configuration, wiring, and the only place where the rooms meet. `main.rs` is the program.
//!
//! [`routes`] is the one module that translates best paths into desired routes; [`policy_input`] the one that turns
//! endpoints into policy's input; [`imports`] announces what other programs on this host know a way to; [`daemon`] starts and stops everything.

pub mod cleanup;
pub mod config;
pub mod daemon;
#[cfg(test)]
mod directory;
pub mod doctor;
pub mod drain;
pub mod endpoints;
pub mod forwarding;
pub mod imports;
pub mod logging;
pub mod metrics;
pub mod originate;
mod overlay_key;
pub mod places;
pub mod policy_input;
pub mod routes;
pub mod server;
pub mod sole;
pub mod speaker;
pub mod succession;
