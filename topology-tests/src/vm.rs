//! Boots a kernel of Debian's in QEMU, with programs of this machine aboard, and runs a script in it.
//!
//! For what the running kernel cannot do: a continuous-integration machine's often has no modules for IPIP, WireGuard or
//! dummy devices, Debian's have all of them; TCP-AO none of these has, so that one kernel is built ([`Kernel::TcpAo`]). A
//! package is downloaded and unpacked, never installed, and nothing of the machine outside is reachable from inside: the
//! file system is an archive in memory, made anew for each run.
//!
//! ```no_run
//! use topology_tests::vm::{Kernel, Machine};
//!
//! let machine = Machine::debian(Kernel::V6_1).program("linnetd").program("ping");
//! let ran = machine.script("ip link add name t0 type ipip remote 192.0.2.1 local 192.0.2.2").run()?;
//! assert_eq!(ran.status, 0, "{}", ran.output);
//! # Ok::<(), topology_tests::vm::MachineError>(())
//! ```
//!
//! A machine ends with the process that started it, however that ends, and its files with it. Without KVM it is some ten
//! times slower than this machine: deadlines inside have to be generous.

mod archive;
mod kernel;
mod lab;
mod machine;
mod program;
mod qemu;
mod source;

pub use kernel::Kernel;
pub use machine::{Machine, MachineError, Ran};

/// Bash: `within SECONDS COMMAND…` repeats it until it succeeds; its last words are shown when it does not in time.
pub const WITHIN: &str = r#"
within() {
    local until=$((SECONDS + $1)) said
    shift
    until said=$("$@" 2>&1); do
        [ "$SECONDS" -lt "$until" ] || { echo "not in time: $*: $said" >&2; return 1; }
        sleep 0.2
    done
}
"#;
