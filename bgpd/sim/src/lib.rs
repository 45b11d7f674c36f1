//! A deterministic network of BGP speakers on a virtual clock.
//!
//! The speakers are `bgp-proto`'s own; the network between them is a heap of timed events and a seeded random source.
//! There is no thread, no clock and no runtime: one seed gives one transcript, byte for byte, on every machine.
//!
//! * [`topology`] says what a network is meant to be: nodes, links, policies, what each node originates;
//! * [`network`] runs it: latency, segmentation, back pressure, resets, partitions, crashes, restarts;
//! * [`oracle`] works out, in another and simpler way, what every Loc-RIB must hold in the end;
//! * [`checks`] compares the two, and looks at what each side of a session believes of the other;
//! * [`scenario`] and [`faults`] draw topologies and misfortunes from a seed, and [`trial`] is one whole run.
//!
//! Beside sessions and routes, prefix limits have their timers, BFD its datagrams, which links lose, RPKI its caches ([`cache`]),
//! nodes have monitoring stations and archives, which replay what they are told, and links without addresses router advertisements, by which
//! neighbours find each other.
//!
//! `cargo test -p bgp-sim` runs 200 fixed seeds and those in `seeds.txt`, which failed once. One seed's transcript is shown by
//! `LINNET_SIM_SEED=7 cargo test -p bgp-sim one_seed -- --nocapture`; whoever looks for more runs
//! `LINNET_SIM_RANGE=200..9000 cargo test -p bgp-sim many -- --ignored --nocapture`.
//!
//! What TCP is here: two ordered streams of bytes for each connection, a bounded number of octets in flight, a handshake,
//! FIN and RST. A partition or a dead host delays what is on its way, as retransmission would; it loses nothing.

mod archive;
mod bfd;
pub mod cache;
pub mod checks;
pub mod faults;
mod limits;
mod monitor;
pub mod network;
mod node;
pub mod oracle;
pub mod policy;
pub mod random;
mod relations;
mod replay;
mod rtr;
pub mod scenario;
mod shares;
mod tcp;
pub mod topology;
pub mod transcript;
mod transport;
pub mod trial;
mod two_octets;
mod unnumbered;
