//! `bench` measures BGP daemons as black boxes, side by side in one run: Linnet, BIRD, FRR, GoBGP and OpenBGPD.
//!
//! From the bottom up: `message` is the wire, `scenario` and `workload` say what is sent, `tally` what must come back;
//! `peer` is one session and `load` all of them; `daemon` and `process` are what is measured, `testbed` where, `fib` the kernel's routes there. `trial`
//! puts them together, `report` tells. `touched` has valgrind watch one.

mod daemon;
mod fib;
mod interrupt;
mod load;
mod message;
mod peer;
mod process;
mod report;
mod scenario;
mod tally;
mod testbed;
mod touched;
mod trial;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::{Args, Parser, Subcommand};

use daemon::Daemon;
use interrupt::Interrupt;
use report::{KERNEL, Machine, Median, Report, Trial, Version};
use scenario::{Fib, SCENARIOS, Scenario};
use trial::Settings;
use workload::Workload;

/// Measure BGP daemons side by side, in network namespaces of their own (root).
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the scenarios
    List,
    /// Run scenarios; prints a table of medians
    Run(Run),
    /// What a single change touches from the wake to the write: code and data in lines and pages (with valgrind)
    Touched(Touched),
    /// Count what valgrind says on the standard input
    #[command(hide = true)]
    Count { process: u32, result: PathBuf },
}

#[derive(Debug, Args)]
struct Touched {
    /// Which daemons
    #[arg(long, value_delimiter = ',', default_value = "linnet,bird")]
    daemons: Vec<Daemon>,
    /// Which scenarios, of those with single changes
    #[arg(long, value_delimiter = ',', default_value = "S7,FC", value_parser = parse_scenario)]
    scenarios: Vec<Scenario>,
    /// The linnetd to look at [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    linnetd: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Run {
    /// Which daemons, in the order in which they take turns
    #[arg(long, value_delimiter = ',', default_value = "linnet,bird,frr,gobgp,openbgpd")]
    daemons: Vec<Daemon>,
    /// Which scenarios (`bench list`)
    #[arg(long, value_delimiter = ',', default_value = "S1,S2,S3,S4,S5,S6,S7,idle,F1,F5,FC,FD,FN,FN5", value_parser = parse_scenario)]
    scenarios: Vec<Scenario>,
    /// Runs of each scenario and daemon
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Write everything as JSON to this file, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The linnetd to measure [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    linnetd: Option<PathBuf>,
    /// Seconds from the last session's start to the first UPDATE [default: long enough for FRR's coalesce timer]
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    settle: Option<Duration>,
    /// Seconds until a trial is given up
    #[arg(long, value_name = "SECONDS", default_value = "120", value_parser = parse_seconds)]
    timeout: Duration,
    /// A daemon that took more seconds than this in its first run of a scenario gets no further runs of it
    #[arg(long, value_name = "SECONDS", default_value = "40", value_parser = parse_seconds)]
    patience: Duration,
    /// Keep the daemons' folders with their configuration and output
    #[arg(long)]
    keep: bool,
}

fn parse_scenario(name: &str) -> Result<Scenario, String> {
    Scenario::named(name).ok_or_else(|| {
        format!("no scenario is called {name}; there are {}", SCENARIOS.map(|scenario| scenario.name).join(", "))
    })
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text} is no number of seconds"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| format!("{text}: {error}"))
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::List => {
            for scenario in SCENARIOS {
                println!("{:9} {}", scenario.name, scenario.title);
            }
            Ok(true)
        }
        Command::Run(run) => measure(&run),
        Command::Touched(run) => look(&run),
        Command::Count { process, result } => touched::count(process, &result).map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Runs everything that was asked for; false when Linnet failed in a trial. That another daemon did is a finding, and in
/// the table.
fn measure(run: &Run) -> Result<bool> {
    let interrupt = Interrupt::listen()?;
    let settings =
        Settings { settle: run.settle, timeout: run.timeout, keep: run.keep, ..settings(run.linnetd.as_ref())? };
    let version = |daemon: &Daemon| Ok(Version { daemon: daemon.name(), version: daemon.version(&settings.linnetd)? });
    let mut report = Report {
        machine: Machine {
            cpus: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
        },
        daemons: run.daemons.iter().map(version).collect::<Result<_>>()?,
        trials: Vec::new(),
        medians: Vec::new(),
    };
    testbed::remove_leftovers()?;
    for scenario in &run.scenarios {
        run_scenario(run, *scenario, &settings, &interrupt, &mut report);
        if interrupt.is_set() {
            break;
        }
    }
    print!("{}", report::table(&report.medians));
    if let Some(path) = &run.json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, text + "\n").with_context(|| format!("{}", path.display()))?;
    }
    if interrupt.is_set() {
        return Err(anyhow!("interrupted; the table holds what was measured until then"));
    }
    Ok(!report.trials.iter().any(|trial| trial.daemon == Daemon::Linnet.name() && trial.error.is_some()))
}

/// What changes touch, daemon by daemon.
fn look(run: &Touched) -> Result<bool> {
    let interrupt = Interrupt::listen()?;
    let settings = Settings { settle: Some(Duration::ZERO), ..settings(run.linnetd.as_ref())? };
    testbed::remove_leftovers()?;
    let mut rows = Vec::new();
    for scenario in &run.scenarios {
        for daemon in &run.daemons {
            eprintln!("{}: {}, watched by valgrind (half a minute)", scenario.name, daemon.name());
            rows.push((scenario.name, daemon.name(), touched::run(*daemon, *scenario, &settings, &interrupt)?));
        }
    }
    print!("{}", touched::table(&rows));
    Ok(true)
}

/// What is usual.
fn settings(linnetd: Option<&PathBuf>) -> Result<Settings> {
    let beside = std::env::current_exe()?.with_file_name("linnetd");
    // A daemon is started in a folder of its own.
    let linnetd = std::path::absolute(linnetd.unwrap_or(&beside))?;
    Ok(Settings { linnetd, settle: None, timeout: Duration::from_secs(120), keep: false, before: Vec::new() })
}

/// All runs of one scenario. The daemons take turns, so that what the machine does meanwhile meets all of them alike.
fn run_scenario(run: &Run, scenario: Scenario, settings: &Settings, interrupt: &Interrupt, report: &mut Report) {
    eprintln!("{}: {}", scenario.name, scenario.title);
    let workload = Workload::new(scenario);
    let mut given_up: Vec<Daemon> = Vec::new();
    let first = report.trials.len();
    for number in 1..=run.runs as usize {
        for daemon in &run.daemons {
            if given_up.contains(daemon) || (scenario.fib.is_some() && !daemon.installs()) {
                continue;
            }
            let done = trial::run(*daemon, &workload, settings, interrupt);
            if interrupt.is_set() {
                break; // a trial that was cut short says nothing
            }
            let trial = Trial::new(&scenario, daemon.name(), number, done);
            tell(&trial, run.runs);
            if trial.figures.as_ref().is_none_or(|figures| figures.wall_s > run.patience.as_secs_f64()) {
                given_up.push(*daemon);
            }
            report.trials.push(trial);
        }
        // What is left when no daemon is in the way, in turn with them.
        if scenario.fib == Some(Fib::Table) && !interrupt.is_set() {
            let trial = Trial::new(&scenario, KERNEL, number, trial::run_limit(&workload, interrupt));
            tell(&trial, run.runs);
            report.trials.push(trial);
        }
    }
    for daemon in run.daemons.iter().map(|daemon| daemon.name()).chain([KERNEL]) {
        let its: Vec<&Trial> = report.trials[first..].iter().filter(|trial| trial.daemon == daemon).collect();
        if !its.is_empty() {
            report.medians.push(Median::of(&scenario, daemon, &its));
        }
    }
}

/// One line on the standard error, so that nobody waits in the dark.
fn tell(trial: &Trial, runs: u32) {
    let what = match (&trial.figures, &trial.error) {
        (Some(figures), _) => format!(
            "wall {:.3} s, CPU {:.2} s, {:.1} MiB, up in {:.2} s, others used {:.0} % of the machine",
            figures.wall_s,
            figures.cpu_s,
            figures.memory_mib,
            figures.up_s,
            figures.foreign_share * 100.0
        ),
        (None, error) => format!("failed: {}", error.as_deref().unwrap_or_default()),
    };
    eprintln!("  {} {}/{runs}: {what}", trial.daemon, trial.run);
}
