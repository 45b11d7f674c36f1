//! The harness end to end, on a table of a hundred prefixes: it measures, tells, and leaves nothing behind.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn bench(scenario: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.args(["run", "--scenarios", scenario, "--runs", "1"]).args(arguments).stdin(Stdio::null());
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

/// Runs to the end, which is a good one and leaves nothing behind.
fn run_to_the_end(bench: &mut Command) -> Output {
    let child = bench.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("bench starts");
    let id = child.id();
    let output = child.wait_with_output().expect("bench ends");
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(left_behind(id), Vec::<PathBuf>::new());
    output
}

/// What a run reports.
fn report(scenario: &str, daemons: &str) -> serde_json::Value {
    let json = std::env::temp_dir().join(format!("bench-{scenario}-{}.json", std::process::id()));
    run_to_the_end(bench(scenario, &["--daemons", daemons, "--settle", "0", "--json"]).arg(&json));
    let report = std::fs::read_to_string(&json).expect("a report");
    std::fs::remove_file(&json).expect("the report goes");
    serde_json::from_str(&report).expect("JSON")
}

#[test]
fn linnet_and_bird_are_measured_side_by_side() {
    let report = report("smoke", "linnet,bird");
    for trial in 0..2 {
        assert_eq!(report["trials"][trial]["announced"], 100, "{report:#}");
        assert_eq!(report["trials"][trial]["changes"]["lost"], 0, "{report:#}");
    }
}

#[test]
fn routes_go_into_the_kernel_and_out_by_linnet_bird_frr_and_without_any() {
    // GoBGP writes none, and is passed over.
    let report = report("fib-smoke", "linnet,bird,frr,gobgp");
    let trials = report["trials"].as_array().expect("trials");
    let daemons: Vec<_> = trials.iter().map(|trial| trial["daemon"].as_str().unwrap_or_default()).collect();
    assert_eq!(daemons, ["linnet", "bird", "frr", "kernel"], "{report:#}");
    assert!(trials.iter().all(|trial| trial["fib"]["gone_s"].as_f64().is_some()), "{report:#}");
}

#[test]
fn what_befalls_routes_in_the_kernel_is_measured_with_linnet_and_bird() {
    let report = report("fc-smoke,fd-smoke,fdl-smoke,fn-smoke", "linnet,bird");
    let trials = report["trials"].as_array().expect("trials");
    let ran: Vec<_> = trials.iter().map(|trial| (trial["scenario"].as_str(), trial["daemon"].as_str())).collect();
    let scenarios = ["fc-smoke", "fd-smoke", "fdl-smoke", "fn-smoke"].into_iter();
    let wanted: Vec<_> =
        scenarios.flat_map(|scenario| ["linnet", "bird"].map(|daemon| (Some(scenario), Some(daemon)))).collect();
    assert_eq!(ran, wanted, "{report:#}");
    for trial in trials {
        assert!(trial["error"].is_null(), "{trial:#}");
        if trial["scenario"] == "fc-smoke" {
            // Three withdrawals and three announcements.
            assert_eq!((&trial["changes"]["count"], &trial["changes"]["lost"]), (&6.into(), &0.into()), "{trial:#}");
        } else {
            assert!(trial["fib"]["lost_ms"].as_f64().is_some_and(|lost| lost > 0.0), "{trial:#}");
        }
    }
}

/// By BIRD: before a linnetd that is not built for release listens, valgrind takes longer than any daemon is waited for.
#[test]
fn what_a_change_touches_is_counted_from_what_valgrind_tells() {
    let mut touched = Command::new(env!("CARGO_BIN_EXE_bench"));
    touched.args(["touched", "--scenarios", "smoke", "--daemons", "bird"]).stdin(Stdio::null());
    let output = run_to_the_end(&mut touched);
    let table = String::from_utf8_lossy(&output.stdout);
    let numbers =
        |row: &str| -> Vec<usize> { row.split(['|', '/']).filter_map(|cell| cell.trim().parse().ok()).collect() };
    let row = |change: &str| {
        let head = format!("| smoke | bird | {change} |");
        table.lines().find(|line| line.starts_with(&head)).map(numbers).unwrap_or_default()
    };
    let [withdrawn, announced] = ["withdrawn", "announced"].map(row);
    for change in [&withdrawn, &announced] {
        let [instructions, code_lines, code_pages, data_lines, data_pages] = change[..] else { panic!("{table}") };
        assert!(instructions > 1_000, "no daemon reads, decides and writes in so few instructions: {table}");
        assert!(instructions > code_lines && code_lines > code_pages && code_pages > 0, "{table}");
        assert!(data_lines > data_pages && data_pages > 0, "{table}");
    }
    assert!(announced > withdrawn, "to announce takes more: {table}");
}

#[test]
fn an_interrupted_run_leaves_nothing_behind() {
    // A rest of an hour: only the signal can end it.
    let mut child = bench("smoke", &["--daemons", "bird", "--settle", "3600"])
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
