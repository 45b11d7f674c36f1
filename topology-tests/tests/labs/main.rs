//! Topologies with real routers, and machines with other kernels. All in one program: its tests wait most of their time, and
//! two of them at once take half as long.

mod add_path;
mod bfd;
mod debian_kernel;
mod filters;
mod graceful;
mod ipv6_links;
mod limits;
mod long_lived;
mod neighbors;
mod reflector;
mod rewrites;
mod roles;
mod routers;
mod rpki;
mod runner;
mod segment;
mod send_hold;
mod strangers;
mod tcp_ao;
mod two_racks;
mod unnumbered;
mod uplinks;
mod vm;
mod watchers;
