//! The runner of virtual machines: what a script in one says and how it ends, and that nothing of a machine is left.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use topology_tests::poll::poll;
use topology_tests::vm::{Kernel, Machine, MachineError};

#[test]
fn a_script_runs_on_debians_kernel_with_what_it_was_given_and_its_status_comes_out() -> Result<(), MachineError> {
    let machine = Machine::debian(Kernel::V6_1).text("/etc/word", "given").module("dummy").program("nft").quiet();
    let ran =
        machine.script("uname -r; cat /etc/word; echo; ls -d /sys/module/dummy; nft add table t; sleep 1000 & exit 7");
    let ran = ran.run()?;
    let lines: Vec<_> = ran.output.lines().collect();
    assert!(lines[0].starts_with("6.1.") && lines[0].ends_with("-cloud-amd64"), "{}", ran.output);
    assert_eq!((&lines[1..], ran.status), (&["given", "/sys/module/dummy"][..], 7), "{}", ran.output);
    Ok(())
}

#[test]
fn a_script_that_takes_too_long_is_ended_with_its_machine() {
    let machine = Machine::debian(Kernel::V6_1).deadline(Duration::from_secs(1)).script("sleep 1000");
    let error = machine.run().expect_err("no machine boots in a second and sleeps for a thousand");
    assert!(matches!(error, MachineError::Late { .. }), "{error}");
}

#[test]
fn a_kernel_that_panics_is_an_error_with_its_last_words() {
    let machine = Machine::debian(Kernel::V6_1).script("echo c > /proc/sysrq-trigger; sleep 1000");
    let error = machine.run().expect_err("it cannot have run to its end").to_string();
    assert!(error.contains("Kernel panic"), "{error}");
}

#[test]
fn a_program_that_is_not_here_is_named_with_what_to_do() {
    let error = Machine::debian(Kernel::V6_1).program("no-such-program").run().expect_err("there is none").to_string();
    assert!(error.contains("`no-such-program`") && error.contains("apt-file search"), "{error}");
}

#[test]
fn a_machine_ends_with_its_runner_even_by_kill_9() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vm"));
    let mut runner = command.arg("-").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("vm was built");
    let mut stdin = runner.stdin.take().expect("it is piped");
    std::io::Write::write_all(&mut stdin, b"echo booted; sleep 1000").expect("vm reads its script");
    drop(stdin);
    let mut line = String::new();
    BufReader::new(runner.stdout.take().expect("it is piped")).read_line(&mut line).expect("vm prints text");
    let folder = std::env::temp_dir().join(format!("linnet-vm-{}-0", runner.id()));
    let there = folder.exists();
    runner.kill().expect("it runs");
    runner.wait().expect("it was killed");
    assert_eq!((line.as_str(), there), ("booted\n", true));
    let qemu = || {
        let found = Command::new("pgrep").args(["--full", &format!("qemu.*{}", folder.display())]).output();
        found.is_ok_and(|found| !found.stdout.is_empty())
    };
    poll("the machine's end", Duration::from_secs(20), || match (qemu(), folder.exists()) {
        (false, false) => Ok(()),
        left => Err(format!("QEMU and its folder: {left:?}")),
    })
    .expect("nothing is left");
}
