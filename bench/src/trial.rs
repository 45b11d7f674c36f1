//! One trial: a fresh testbed, one daemon, one scenario, and what was measured.

mod fib;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use serde::Serialize;

use crate::daemon::Daemon;
use crate::fib::limit;
use crate::interrupt::Interrupt;
use crate::load::{Changes, Load};
use crate::process::{Process, Usage, machine_cpu};
use crate::testbed::Testbed;
use crate::workload::Workload;

/// What trials have in common.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// linnetd.
    pub(crate) linnetd: PathBuf,
    /// From the last session's start to the first UPDATE; `None`: by [`settle_time`].
    pub(crate) settle: Option<Duration>,
    /// How long a delivery may take.
    pub(crate) timeout: Duration,
    /// Leave the daemons' folders.
    pub(crate) keep: bool,
    /// What stands before a daemon's command, to run it.
    pub(crate) before: Vec<String>,
}

/// What one trial gave. Times are wall seconds from the first UPDATE sent, if nothing else is said.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Figures {
    /// From the daemon's first open port to all sessions Established.
    pub(crate) up_s: f64,
    /// To the first UPDATE received.
    pub(crate) first_s: f64,
    /// To the last receiver complete, or the last route in the kernel.
    pub(crate) wall_s: f64,
    /// To the last UPDATE received by anybody.
    pub(crate) quiet_s: f64,
    /// To the last octet sent.
    pub(crate) sent_s: f64,
    /// CPU seconds of the daemon, user and system, all its processes, until it was quiet and idle; in a scenario with idle
    /// seconds, in these.
    pub(crate) cpu_s: f64,
    /// The daemon's peak memory, the sum of its processes' VmHWM, MiB.
    pub(crate) memory_mib: f64,
    /// UPDATEs that receivers got.
    pub(crate) updates: u64,
    /// Prefixes announced to receivers.
    pub(crate) announced: u64,
    /// Prefixes withdrawn from receivers.
    pub(crate) withdrawn: u64,
    /// CPU seconds of the load.
    pub(crate) load_cpu_s: f64,
    /// Share of the machine's CPUs that others used meanwhile, 0 to 1. Above 0.1, believe no wall time.
    pub(crate) foreign_share: f64,
    /// Single changes, where the scenario has them.
    pub(crate) changes: Option<ChangeFigures>,
    /// What came of the routes in the kernel, where they go there.
    pub(crate) fib: Option<FibFigures>,
}

/// Routes in the kernel.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct FibFigures {
    /// Seconds from the first withdrawal sent to the last route gone.
    pub(crate) gone_s: Option<f64>,
    /// Milliseconds from the loss of session or link until every route is gone, or uses the other link.
    pub(crate) lost_ms: Option<f64>,
    /// Resident memory of the daemon once it has installed all and is idle, MiB.
    pub(crate) held_mib: Option<f64>,
    /// CPU seconds of the daemon in the idle seconds after that.
    pub(crate) held_cpu_s: Option<f64>,
}

/// Latency of single changes, milliseconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ChangeFigures {
    /// How many arrived.
    pub(crate) count: usize,
    /// How many did not.
    pub(crate) lost: usize,
    /// Half of the announcements took no longer.
    pub(crate) announce_p50_ms: f64,
    /// 99 of 100 announcements took no longer.
    pub(crate) announce_p99_ms: f64,
    /// Half of the withdrawals took no longer.
    pub(crate) withdraw_p50_ms: f64,
    /// 99 of 100 withdrawals took no longer.
    pub(crate) withdraw_p99_ms: f64,
    /// CPU seconds of the daemon for all of them.
    pub(crate) cpu_s: f64,
}

/// Runs one trial.
///
/// # Errors
/// Whatever kept the daemon from doing what was asked, with the end of what it said.
pub(crate) fn run(daemon: Daemon, workload: &Workload, settings: &Settings, interrupt: &Interrupt) -> Result<Figures> {
    let directory = Directory::new(daemon, settings.keep)?;
    let mut programs = daemon.prepare(&workload.scenario, &directory.path, &settings.linnetd)?;
    if let Some(program) = programs.last_mut() {
        program.command.splice(0..0, settings.before.iter().cloned());
    }
    let testbed = Testbed::new(&workload.scenario)?;
    let mut process = Process::start(&testbed.daemon, &programs, &directory.path, interrupt)?;
    process.wait_until_it_listens(interrupt)?;
    // A thread of its own enters the peers' namespace and ends with the trial; this one stays where it can clean up.
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            testbed.enter_peers()?;
            let mut load = Load::new(workload, interrupt)?;
            // While the sessions are still there: what a daemon says of their end is not what went wrong.
            let measured = match workload.scenario.fib {
                None => measure(&process, &mut load, workload, settings),
                Some(scenario) => fib::measure(&process, &mut load, workload, settings, &testbed, scenario),
            };
            measured.map_err(|error| anyhow!("{error:#}; the last that the daemon said: {}", process.last_words()))
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn measure(process: &Process, load: &mut Load, workload: &Workload, settings: &Settings) -> Result<Figures> {
    let settle = settings.settle.unwrap_or_else(|| settle_time(workload.scenario.peers()));
    let up = load.establish(settle)?;

    let meter = Meter::start(process);
    let delivery = load.deliver(settings.timeout)?;
    wait_until_idle(process, load)?;
    let busy = process.usage().cpu;
    load.turn_for(Duration::from_secs(workload.scenario.idle_seconds))?;
    let used = meter.stop(process);
    let after = process.usage().cpu;
    let cpu_s = if workload.scenario.idle_seconds == 0 { used.cpu_s } else { after - busy };

    let changes = match workload.scenario.changes {
        0 => None,
        count => {
            let changes = load.change_one_by_one(count)?;
            Some(ChangeFigures::new(changes, process.usage().cpu - after))
        }
    };
    Ok(Figures {
        up_s: up.as_secs_f64(),
        first_s: delivery.first.as_secs_f64(),
        wall_s: delivery.complete.as_secs_f64(),
        quiet_s: delivery.quiet.as_secs_f64(),
        sent_s: delivery.sent.as_secs_f64(),
        cpu_s,
        memory_mib: process.usage().peak_memory,
        updates: delivery.updates,
        announced: delivery.announced,
        withdrawn: delivery.withdrawn,
        load_cpu_s: used.load_cpu_s,
        foreign_share: used.foreign_share,
        changes,
        fib: None,
    })
}

/// What the kernel alone takes for the routes of a scenario, in a testbed like the daemons'.
///
/// # Errors
/// The kernel refused something, or somebody interrupted.
pub(crate) fn run_limit(workload: &Workload, interrupt: &Interrupt) -> Result<Figures> {
    interrupt.check()?;
    let testbed = Testbed::new(&workload.scenario)?;
    let (started, machine, own) = (Instant::now(), machine_cpu(), Usage::own().cpu);
    let limit = limit::measure(&testbed, workload)?;
    let (elapsed, used) = (started.elapsed(), Usage::own().cpu - own);
    Ok(Figures {
        wall_s: limit.added.as_secs_f64(),
        cpu_s: limit.cpu_s,
        foreign_share: share(machine_cpu() - machine - used, elapsed),
        fib: Some(FibFigures { gone_s: Some(limit.removed.as_secs_f64()), ..FibFigures::default() }),
        ..Figures::default()
    })
}

/// Clocks of the daemon, of the load and of the machine, started together.
struct Meter {
    started: Instant,
    machine: f64,
    load: f64,
    daemon: f64,
}

/// What was used meanwhile.
struct Used {
    cpu_s: f64,
    load_cpu_s: f64,
    foreign_share: f64,
}

impl Meter {
    fn start(process: &Process) -> Self {
        let (started, machine) = (Instant::now(), machine_cpu());
        Self { started, machine, load: Usage::own().cpu, daemon: process.usage().cpu }
    }

    fn stop(&self, process: &Process) -> Used {
        let (cpu_s, load_cpu_s) = (process.usage().cpu - self.daemon, Usage::own().cpu - self.load);
        let foreign = machine_cpu() - self.machine - cpu_s - load_cpu_s;
        Used { cpu_s, load_cpu_s, foreign_share: share(foreign, self.started.elapsed()) }
    }
}

/// CPU seconds as a share of what all CPUs have in `time`, 0 to 1: in a few milliseconds a tick of the kernel's is more.
fn share(seconds: f64, time: Duration) -> f64 {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as f64;
    (seconds / (cpus * time.as_secs_f64())).clamp(0.0, 1.0)
}

/// How long every daemon rests between its sessions and the first UPDATE. FRR holds a new peer's first advertisement back
/// for 1 s and 50 ms more per peer, 10 s at most (update groups' coalesce-time): sooner, that timer is what is measured.
fn settle_time(peers: usize) -> Duration {
    Duration::from_millis((1_000 + 50 * peers as u64).min(10_000) + 1_500)
}

/// Until the daemon used less than a tenth of a CPU for a moment: what it does behind the last UPDATE is its cost too.
fn wait_until_idle(process: &Process, load: &mut Load) -> Result<()> {
    const WINDOW: Duration = Duration::from_millis(200);
    const AT_MOST: Duration = Duration::from_secs(15);
    let started = Instant::now();
    while started.elapsed() < AT_MOST {
        let before = process.usage().cpu;
        load.turn_for(WINDOW)?;
        if process.usage().cpu - before <= WINDOW.as_secs_f64() / 10.0 {
            break;
        }
    }
    Ok(())
}

impl ChangeFigures {
    fn new(mut changes: Changes, cpu_s: f64) -> Self {
        let (withdrawals, announcements) = (&mut changes.withdrawals, &mut changes.announcements);
        Self {
            count: withdrawals.len() + announcements.len(),
            lost: changes.lost,
            announce_p50_ms: percentile(announcements, 50),
            announce_p99_ms: percentile(announcements, 99),
            withdraw_p50_ms: percentile(withdrawals, 50),
            withdraw_p99_ms: percentile(withdrawals, 99),
            cpu_s,
        }
    }
}

/// The value, in milliseconds, that `percent` of `times` do not exceed (nearest rank); 0 of none.
fn percentile(times: &mut [Duration], percent: usize) -> f64 {
    times.sort_unstable();
    let rank = (times.len() * percent).div_ceil(100).saturating_sub(1);
    times.get(rank).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}

/// A folder for one daemon's files, removed when dropped.
#[derive(Debug)]
struct Directory {
    path: PathBuf,
    keep: bool,
}

impl Directory {
    fn new(daemon: Daemon, keep: bool) -> Result<Self> {
        static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("linnet-bench-{}-{count}-{}", std::process::id(), daemon.name());
        let path = std::env::temp_dir().join(name);
        for folder in [&path, &path.join("policy.d"), &path.join("state")] {
            std::fs::create_dir(folder).with_context(|| format!("{}", folder.display()))?;
        }
        open_to_all(&path)?;
        Ok(Self { path, keep })
    }
}

/// Daemons that give up root must still get in.
fn open_to_all(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
        .with_context(|| format!("{}", path.display()))
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.keep {
            eprintln!("kept {}", self.path.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.path); // what is left in a temporary folder harms nobody
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_nearest_rank() {
        let mut times: Vec<Duration> = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile(&mut times, 50), 100.0);
        assert_eq!(percentile(&mut times, 99), 198.0);
        assert_eq!(percentile(&mut [], 50), 0.0);
    }

    #[test]
    fn every_daemon_rests_until_frrs_timer_is_over() {
        assert_eq!(settle_time(2), Duration::from_millis(2_600));
        assert_eq!(settle_time(500), Duration::from_millis(11_500));
    }
}
