//! Trials become medians, medians a table and JSON.

use std::fmt::Write as _;

use serde::Serialize;

use crate::daemon::Daemon;
use crate::scenario::Scenario;
use crate::trial::Figures;

/// The row of the kernel without a daemon.
pub(crate) const KERNEL: &str = "kernel";

/// Everything that one run of the harness found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Where it ran.
    pub(crate) machine: Machine,
    /// What ran: each daemon's name and what it says of its version.
    pub(crate) daemons: Vec<Version>,
    /// Every trial, in the order in which they ran.
    pub(crate) trials: Vec<Trial>,
    /// A line for each scenario and daemon.
    pub(crate) medians: Vec<Median>,
}

/// Where it ran.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    /// CPUs that this process may use.
    pub(crate) cpus: usize,
    /// The kernel's release.
    pub(crate) kernel: String,
}

/// A daemon and its version.
#[derive(Debug, Serialize)]
pub(crate) struct Version {
    /// Its name.
    pub(crate) daemon: &'static str,
    /// What it says of itself.
    pub(crate) version: String,
}

/// One trial: figures, or what went wrong.
#[derive(Debug, Serialize)]
pub(crate) struct Trial {
    /// The scenario.
    pub(crate) scenario: &'static str,
    /// The daemon.
    pub(crate) daemon: &'static str,
    /// Which run of it, from 1.
    pub(crate) run: usize,
    /// What was measured.
    #[serde(flatten)]
    pub(crate) figures: Option<Figures>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

impl Trial {
    /// One run's outcome.
    pub(crate) fn new(scenario: &Scenario, daemon: &'static str, run: usize, done: anyhow::Result<Figures>) -> Self {
        let error = done.as_ref().err().map(|error| format!("{error:#}"));
        Self { scenario: scenario.name, daemon, run, figures: done.ok(), error }
    }
}

/// The medians of one daemon in one scenario, over the trials that succeeded.
#[derive(Debug, Serialize)]
pub(crate) struct Median {
    scenario: &'static str,
    daemon: &'static str,
    #[serde(skip)]
    in_kernel: bool,
    runs: usize,
    succeeded: usize,
    up_s: Option<f64>,
    first_s: Option<f64>,
    wall_s: Option<f64>,
    quiet_s: Option<f64>,
    cpu_s: Option<f64>,
    memory_mib: Option<f64>,
    announce_p50_ms: Option<f64>,
    announce_p99_ms: Option<f64>,
    withdraw_p50_ms: Option<f64>,
    withdraw_p99_ms: Option<f64>,
    gone_s: Option<f64>,
    lost_ms: Option<f64>,
    held_mib: Option<f64>,
    held_cpu_s: Option<f64>,
    foreign_share: Option<f64>,
}

/// One figure out of a trial's, where it has it.
type Figure = fn(&Figures) -> Option<f64>;

impl Median {
    /// The medians of `trials`, which are all of this scenario and daemon.
    pub(crate) fn of(scenario: &Scenario, daemon: &'static str, trials: &[&Trial]) -> Self {
        let figures: Vec<&Figures> = trials.iter().filter_map(|trial| trial.figures.as_ref()).collect();
        let of = |figure: Figure| median(figures.iter().filter_map(|figures| figure(figures)).collect());
        Self {
            scenario: scenario.name,
            daemon,
            in_kernel: scenario.fib.is_some(),
            runs: trials.len(),
            succeeded: figures.len(),
            up_s: of(|figures| Some(figures.up_s)),
            first_s: of(|figures| Some(figures.first_s)),
            wall_s: of(|figures| Some(figures.wall_s)),
            quiet_s: of(|figures| Some(figures.quiet_s)),
            cpu_s: of(|figures| Some(figures.cpu_s)),
            // The kernel alone has none of its own.
            memory_mib: of(|figures| Some(figures.memory_mib).filter(|mib| *mib > 0.0)),
            announce_p50_ms: of(|figures| figures.changes.as_ref().map(|changes| changes.announce_p50_ms)),
            announce_p99_ms: of(|figures| figures.changes.as_ref().map(|changes| changes.announce_p99_ms)),
            withdraw_p50_ms: of(|figures| figures.changes.as_ref().map(|changes| changes.withdraw_p50_ms)),
            withdraw_p99_ms: of(|figures| figures.changes.as_ref().map(|changes| changes.withdraw_p99_ms)),
            gone_s: of(|figures| figures.fib.as_ref()?.gone_s),
            lost_ms: of(|figures| figures.fib.as_ref()?.lost_ms),
            held_mib: of(|figures| figures.fib.as_ref()?.held_mib),
            held_cpu_s: of(|figures| figures.fib.as_ref()?.held_cpu_s),
            foreign_share: of(|figures| Some(figures.foreign_share)),
        }
    }
}

/// The middle value, or the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len().is_multiple_of(2) { Some(f64::midpoint(values[middle - 1], upper)) } else { Some(upper) }
}

/// The medians as tables in Markdown, each also as a ratio to BIRD's where BIRD ran: what receivers got, and what came of
/// routes in the kernel, there also as a ratio to the kernel's own limit.
pub(crate) fn table(medians: &[Median]) -> String {
    let (kernel, receivers): (Vec<&Median>, Vec<&Median>) = medians.iter().partition(|median| median.in_kernel);
    let all = [
        (receivers_table(&receivers), &receivers),
        (kernel_table(&kernel), &kernel),
        (kernel_ratios_table(&kernel), &kernel),
    ];
    let some = all.into_iter().filter(|(_, medians)| !medians.is_empty()).map(|(table, _)| table);
    some.collect::<Vec<_>>().join("\n")
}

/// One figure out of the medians of a row, where it has it.
type Column = fn(&Median) -> Option<f64>;

/// One figure as a ratio to that of the row `whose` in the same scenario.
fn ratio(medians: &[&Median], own: &Median, whose: &str, of: Column) -> Option<f64> {
    let other = medians.iter().find(|other| other.scenario == own.scenario && other.daemon == whose)?;
    of(other).filter(|theirs| *theirs > 0.0).and_then(|theirs| Some(of(own)? / theirs))
}

fn pair(p50: Option<f64>, p99: Option<f64>, decimals: usize) -> String {
    match (p50, p99) {
        (Some(p50), Some(p99)) => format!("{p50:.decimals$} / {p99:.decimals$}"),
        _ => "-".to_owned(),
    }
}

fn receivers_table(medians: &[&Median]) -> String {
    let head = [
        "scenario",
        "daemon",
        "runs",
        "up s",
        "wall s",
        "quiet s",
        "CPU s",
        "MiB",
        "ann p50/p99 ms",
        "wdr p50/p99 ms",
        "wall/bird",
        "CPU/bird",
        "MiB/bird",
        "foreign",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    for median in medians {
        let bird = |of: Column| shown(ratio(medians, median, Daemon::Bird.name(), of), 2);
        rows.push([
            median.scenario.to_owned(),
            median.daemon.to_owned(),
            format!("{}/{}", median.succeeded, median.runs),
            shown(median.up_s, 2),
            shown(median.wall_s, 3),
            shown(median.quiet_s, 3),
            shown(median.cpu_s, 2),
            shown(median.memory_mib, 1),
            pair(median.announce_p50_ms, median.announce_p99_ms, 3),
            pair(median.withdraw_p50_ms, median.withdraw_p99_ms, 3),
            bird(|median| median.wall_s),
            bird(|median| median.cpu_s),
            bird(|median| median.memory_mib),
            shown(median.foreign_share, 2),
        ]);
    }
    aligned(&rows)
}

fn kernel_table(medians: &[&Median]) -> String {
    let head = [
        "scenario",
        "daemon",
        "runs",
        "wall s",
        "CPU s",
        "gone s",
        "lost ms",
        "ann p50/p99 ms",
        "wdr p50/p99 ms",
        "MiB",
        "held MiB",
        "held CPU s",
        "foreign",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    for median in medians {
        rows.push([
            median.scenario.to_owned(),
            median.daemon.to_owned(),
            format!("{}/{}", median.succeeded, median.runs),
            shown(median.wall_s, 3),
            shown(median.cpu_s, 2),
            shown(median.gone_s, 3),
            shown(median.lost_ms, 1),
            pair(median.announce_p50_ms, median.announce_p99_ms, 3),
            pair(median.withdraw_p50_ms, median.withdraw_p99_ms, 3),
            shown(median.memory_mib, 1),
            shown(median.held_mib, 1),
            shown(median.held_cpu_s, 2),
            shown(median.foreign_share, 2),
        ]);
    }
    aligned(&rows)
}

/// What the bars are about: each figure of the table before as a ratio to BIRD's, and what the kernel itself limits as a
/// ratio to the kernel's.
fn kernel_ratios_table(medians: &[&Median]) -> String {
    let head = [
        "scenario",
        "daemon",
        "wall/bird",
        "gone/bird",
        "lost/bird",
        "ann/bird",
        "wdr/bird",
        "CPU/bird",
        "MiB/bird",
        "held/bird",
        "wall/kernel",
        "gone/kernel",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    for median in medians {
        let bird = |of: Column| ratio(medians, median, Daemon::Bird.name(), of);
        let kernel = |of: Column| ratio(medians, median, KERNEL, of);
        rows.push([
            median.scenario.to_owned(),
            median.daemon.to_owned(),
            shown(bird(|median| median.wall_s), 2),
            shown(bird(|median| median.gone_s), 2),
            shown(bird(|median| median.lost_ms), 2),
            pair(bird(|median| median.announce_p50_ms), bird(|median| median.announce_p99_ms), 2),
            pair(bird(|median| median.withdraw_p50_ms), bird(|median| median.withdraw_p99_ms), 2),
            shown(bird(|median| median.cpu_s), 2),
            shown(bird(|median| median.memory_mib), 2),
            shown(bird(|median| median.held_mib), 2),
            shown(kernel(|median| median.wall_s), 2),
            shown(kernel(|median| median.gone_s), 2),
        ]);
    }
    aligned(&rows)
}

fn shown(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.decimals$}"))
}

/// Rows with their columns padded; the first row is the head. Names stand left, figures right.
fn aligned<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let widths: [usize; COLUMNS] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0));
    let mut text = String::new();
    for (line, row) in rows.iter().enumerate() {
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            let _ = if column < 2 { write!(text, "| {cell:<width$} ") } else { write!(text, "| {cell:>width$} ") };
        }
        text.push_str("|\n");
        if line == 0 {
            for (column, width) in widths.into_iter().enumerate() {
                let dashes = "-".repeat(width + 1);
                let _ = if column < 2 { write!(text, "|{dashes}-") } else { write!(text, "|{dashes}:") };
            }
            text.push_str("|\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::{ChangeFigures, FibFigures};

    #[test]
    fn a_median_is_the_middle_and_of_an_even_number_the_mean_of_two() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
        assert_eq!(median(vec![]), None);
    }

    fn trial(daemon: &'static str, wall_s: f64) -> Trial {
        let figures = Figures { wall_s, cpu_s: 1.0, memory_mib: 10.0, ..Figures::default() };
        Trial { scenario: "S1", daemon, run: 1, figures: Some(figures), error: None }
    }

    #[test]
    fn the_table_shows_each_daemon_against_bird() {
        let scenario = Scenario::named("S1").expect("S1");
        let medians = [
            Median::of(&scenario, Daemon::Bird.name(), &[&trial("bird", 2.0)]),
            Median::of(&scenario, Daemon::Linnet.name(), &[&trial("linnet", 1.0)]),
        ];
        let table = table(&medians);
        let linnet = table.lines().last().expect("a row");
        assert!(linnet.contains("| linnet |") && linnet.contains(" 0.50 |"), "{table}");
        assert!(table.lines().all(|line| line.len() == linnet.len()), "{table}");
    }

    /// The medians of one trial of a scenario in the kernel.
    fn in_kernel(scenario: &str, daemon: &'static str, figures: Figures) -> Median {
        let scenario = Scenario::named(scenario).expect("a scenario");
        let trial = Trial { scenario: scenario.name, daemon, run: 1, figures: Some(figures), error: None };
        Median::of(&scenario, daemon, &[&trial])
    }

    /// A table in and out, and held between.
    fn held(wall_s: f64, gone_s: f64, mib: f64) -> Figures {
        let fib = FibFigures { gone_s: Some(gone_s), held_mib: Some(mib), held_cpu_s: Some(0.0), lost_ms: None };
        Figures { wall_s, cpu_s: wall_s, memory_mib: mib * 1.5, fib: Some(fib), ..Figures::default() }
    }

    fn lost(lost_ms: f64) -> Figures {
        let fib = FibFigures { lost_ms: Some(lost_ms), ..FibFigures::default() };
        Figures { wall_s: 0.01, cpu_s: 0.0, memory_mib: 8.0, fib: Some(fib), ..Figures::default() }
    }

    fn changes(announce: [f64; 2], withdraw: [f64; 2]) -> Figures {
        let changes = ChangeFigures {
            count: 300,
            lost: 0,
            announce_p50_ms: announce[0],
            announce_p99_ms: announce[1],
            withdraw_p50_ms: withdraw[0],
            withdraw_p99_ms: withdraw[1],
            cpu_s: 0.0,
        };
        Figures { wall_s: 0.01, memory_mib: 8.0, changes: Some(changes), ..Figures::default() }
    }

    #[test]
    fn whether_a_bar_is_met_is_read_off_a_table_of_ratios_to_bird_and_to_the_kernel() {
        let limit = FibFigures { gone_s: Some(0.5), ..FibFigures::default() };
        let limit = Figures { wall_s: 1.0, cpu_s: 1.0, fib: Some(limit), ..Figures::default() };
        let medians = [
            in_kernel("F5", "linnet", held(2.0, 2.0, 60.0)),
            in_kernel("F5", "bird", held(4.0, 5.0, 75.0)),
            in_kernel("F5", KERNEL, limit),
            in_kernel("FC", "linnet", changes([0.18, 0.24], [0.16, 0.18])),
            in_kernel("FC", "bird", changes([0.2, 0.3], [0.2, 0.2])),
            in_kernel("FN", "linnet", lost(1.0)),
            in_kernel("FN", "bird", lost(4.0)),
            in_kernel("FD", "linnet", lost(2.0)),
        ];
        assert_eq!(
            kernel_ratios_table(&medians.iter().collect::<Vec<_>>()),
            "\
| scenario | daemon | wall/bird | gone/bird | lost/bird |    ann/bird |    wdr/bird | CPU/bird | MiB/bird | held/bird | wall/kernel | gone/kernel |
|----------|--------|----------:|----------:|----------:|------------:|------------:|---------:|---------:|----------:|------------:|------------:|
| F5       | linnet |      0.50 |      0.40 |         - |           - |           - |     0.50 |     0.80 |      0.80 |        2.00 |        4.00 |
| F5       | bird   |      1.00 |      1.00 |         - |           - |           - |     1.00 |     1.00 |      1.00 |        4.00 |       10.00 |
| F5       | kernel |      0.25 |      0.10 |         - |           - |           - |     0.25 |        - |         - |        1.00 |        1.00 |
| FC       | linnet |      1.00 |         - |         - | 0.90 / 0.80 | 0.80 / 0.90 |        - |     1.00 |         - |           - |           - |
| FC       | bird   |      1.00 |         - |         - | 1.00 / 1.00 | 1.00 / 1.00 |        - |     1.00 |         - |           - |           - |
| FN       | linnet |      1.00 |         - |      0.25 |           - |           - |        - |     1.00 |         - |           - |           - |
| FN       | bird   |      1.00 |         - |      1.00 |           - |           - |        - |     1.00 |         - |           - |           - |
| FD       | linnet |         - |         - |         - |           - |           - |        - |        - |         - |           - |           - |
"
        );
        let both = table(&medians);
        assert_eq!(both.matches("| F5       | linnet |").count(), 2, "figures, and their ratios:\n{both}");
    }

    #[test]
    fn a_trial_that_failed_is_counted_and_has_no_figures() {
        let scenario = Scenario::named("S1").expect("S1");
        let failed = Trial { scenario: "S1", daemon: "bird", run: 2, figures: None, error: Some("gone".to_owned()) };
        let median = Median::of(&scenario, Daemon::Bird.name(), &[&failed]);
        assert_eq!((median.runs, median.succeeded, median.wall_s), (1, 0, None));
        let json = serde_json::to_value(&failed).expect("JSON");
        assert_eq!(json["error"], "gone");
    }
}
