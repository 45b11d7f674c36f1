//! `vm`: runs a script on a kernel of Debian's, in QEMU.

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use topology_tests::vm::{Kernel, Machine};

/// Boots a kernel of Debian's in QEMU, runs a script in it with programs of this machine, and ends with its exit status.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  echo 'uname -r; modprobe ipip && ip link' | vm -
  vm --kernel 6.12 --program linnetd --program ping try.sh
  echo 'lab demo' | vm --labs --deadline 900 -"
)]
struct Arguments {
    /// What bash runs inside; `-` reads it from standard input
    script: PathBuf,
    /// Which kernel: 6.1 or 6.12, as Debian has them, or 6.12-tcp-ao, built of Debian's source
    #[arg(long, default_value_t = Kernel::V6_1)]
    kernel: Kernel,
    /// A program to take along with its libraries: its name or path
    #[arg(long)]
    program: Vec<String>,
    /// A file or folder to take along, to the same path or to another
    #[arg(long, value_name = "PATH[:INSIDE]")]
    file: Vec<String>,
    /// A module to load before the script runs
    #[arg(long)]
    module: Vec<String>,
    /// Take along `lab`, its topology files and what they need
    #[arg(long)]
    labs: bool,
    /// Memory, in MiB
    #[arg(long)]
    memory: Option<u32>,
    /// Processors
    #[arg(long)]
    processors: Option<u32>,
    /// Seconds after which it is killed
    #[arg(long, default_value_t = 120)]
    deadline: u64,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("vm: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<u8> {
    let script = if arguments.script.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("standard input")?;
        text
    } else {
        let path = arguments.script.display().to_string();
        std::fs::read_to_string(&arguments.script).with_context(|| format!("{path}: there is no script to run"))?
    };
    let mut machine =
        Machine::debian(arguments.kernel).script(script).deadline(Duration::from_secs(arguments.deadline));
    if arguments.labs {
        machine = machine.with_labs();
    }
    machine = arguments.program.into_iter().fold(machine, Machine::program);
    machine = arguments.module.into_iter().fold(machine, Machine::module);
    machine = arguments.file.iter().fold(machine, |machine, file| match file.split_once(':') {
        Some((path, inside)) => machine.file_as(path, inside),
        None => match std::path::absolute(file) {
            Ok(path) => machine.file(path),
            Err(_) => machine.file(file),
        },
    });
    machine = arguments.memory.into_iter().fold(machine, Machine::memory_mib);
    machine = arguments.processors.into_iter().fold(machine, Machine::processors);
    let status = machine.run()?.status;
    // A shell's exit status has one byte.
    Ok(u8::try_from(status).unwrap_or(u8::MAX))
}
