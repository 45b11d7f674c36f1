//! Runs containerlab topology files (`*.clab.yml`, <https://containerlab.dev>) on network namespaces.
//!
//! Under containerlab a node is a container of its image. Here a node is a network, mount, process and host-name
//! namespace, and the programs that an image would bring are Debian's own ([`daemon`]). The same file works in both.
//!
//! - [`topology`]: the file, parsed and checked.
//! - [`lab`]: a running lab: [`lab::Lab::up`], its nodes, and what a test does with them.
//! - [`expect`]: what a test says of it.
//! - [`words`]: what a test says to Linnet in it, and reads of it.
//! - [`watch`]: what happens to a node's kernel routes meanwhile.
//! - [`station`]: what a BMP station in it has been told.
//! - [`daemon`]: which programs stand in for which image, and how each is started.
//! - [`demo`]: what `lab demo` shows of the lab [`two_racks`].
//! - [`vm`]: a virtual machine with a kernel of Debian's, for what the running kernel cannot do.
//!
//! A lab touches nothing outside its namespaces but its own directory under `/run/linnet-lab`; it ends with the
//! process that started it, however that ends, unless it was told to stay ([`lab::Options::keep`]).

pub mod daemon;
pub mod demo;
pub mod expect;
pub mod lab;
pub mod poll;
pub mod probe;
pub mod progress;
pub mod station;
pub mod topology;
pub mod two_racks;
pub mod vm;
pub mod watch;
pub mod words;
