//! The harness end to end, on a table of a hundred prefixes: it measures, tells, and leaves nothing behind.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn bench(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.args(["run", "--scenarios", "smoke", "--runs", "1"]).args(arguments).stdin(Stdio::null());
    command
}

/// Namespaces and folders that the run of process `id` made and that are still there.
fn left_behind(id: u32) -> Vec<PathBuf> {
    let name = format!("linnet-bench-{id}-");
    [Path::new("/run/netns").to_owned(), std::env::temp_dir()]
        .iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flat_map(|entries| entries.flatten().map(|entry| entry.path()))
        .filter(|path| path.file_name().is_some_and(|own| own.to_string_lossy().starts_with(&name)))
        .collect()
}

fn told(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn linnet_and_bird_are_measured_side_by_side() {
    let json = std::env::temp_dir().join(format!("bench-smoke-{}.json", std::process::id()));
    let child = bench(&["--daemons", "linnet,bird", "--settle", "0", "--json"])
        .arg(&json)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("bench starts");
    let id = child.id();
    let output = child.wait_with_output().expect("bench ends");
    assert!(output.status.success(), "{}", told(&output));
    let report = std::fs::read_to_string(&json).expect("a report");
    std::fs::remove_file(&json).expect("the report goes");
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    for trial in 0..2 {
        assert_eq!(report["trials"][trial]["announced"], 100, "{report:#}");
        assert_eq!(report["trials"][trial]["changes"]["lost"], 0, "{report:#}");
    }
    assert_eq!(left_behind(id), Vec::<PathBuf>::new());
}

#[test]
fn an_interrupted_run_leaves_nothing_behind() {
    // A rest of an hour: only the signal can end it.
    let mut child = bench(&["--daemons", "bird", "--settle", "3600"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("bench starts");
    let deadline = Instant::now() + Duration::from_secs(60);
    while left_behind(child.id()).len() < 3 {
        assert!(Instant::now() < deadline, "two namespaces and a folder never came: {:?}", left_behind(child.id()));
        std::thread::sleep(Duration::from_millis(20));
    }
    kill(Pid::from_raw(i32::try_from(child.id()).expect("a process id")), Signal::SIGINT).expect("a signal");
    while child.try_wait().expect("bench can be waited for").is_none() {
        assert!(Instant::now() < deadline, "the signal did not end it");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(left_behind(child.id()), Vec::<PathBuf>::new());
}
