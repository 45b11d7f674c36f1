//! What a machine takes along to run labs: their runner, topology files, routers, and the programs that all of them call.

use std::path::Path;

use super::Machine;

/// The runner's and Linnet's own, what a room is made with, what topology files and probes call.
const PROGRAMS: &[&str] = &[
    "lab",
    "linnetd",
    "linnet", // of this workspace
    "unshare",
    "nsenter",
    "mount",
    "setpriv", // util-linux
    "timeout",
    "chown",
    "install",
    "mkdir",
    "rm",
    "cat",
    "sleep",
    "touch",
    "dirname",
    "env",
    "kill",
    "sysctl",
    "stat",
    "ping",
    "nc",
    "nft",
    "bridge",
    "ss",
    "jq", // a node's
    "bird",
    "birdc",
    "gobgpd",
    "gobgp",
    "vtysh",
    "/usr/lib/frr/zebra",
    "/usr/lib/frr/staticd",
    "/usr/lib/frr/bgpd", // routers
];

impl Machine {
    /// Takes all along that `lab` needs to run the topology files of `topology-tests/labs`, which are at the path where
    /// they are here. Two processors and 2 GiB.
    #[must_use]
    pub fn with_labs(self) -> Self {
        let labs = Path::new(env!("CARGO_MANIFEST_DIR")).join("labs");
        let machine = self.file(labs).processors(2).memory_mib(2048).module("overlay");
        PROGRAMS.iter().fold(machine, |machine, &name| machine.program(name))
    }
}
