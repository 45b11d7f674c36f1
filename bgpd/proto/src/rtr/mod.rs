//! RPKI-RTR, the router's side (RFC 8210 version 1, RFC 6810 version 0), and what it is for: origin validation (RFC 6811).
//!
//! [`Client`] is one session with one cache, a value without I/O. [`Caches`] says which of several caches count and what
//! of their union changed. [`VrpTable`] holds what counts as a trie of prefixes and gives a route's [`Validation`](crate::filter::Validation).

mod caches;
mod client;
mod pdu;
mod table;
#[cfg(test)]
mod tests;
mod trie;
mod vrp;

pub use caches::{CacheId, Caches, Changes};
pub use client::{CacheState, Client, ClientConfig, Output};
pub use pdu::{ErrorCode, Pdu, PduFault, Version, next_pdu};
pub use table::VrpTable;
pub use vrp::Vrp;
