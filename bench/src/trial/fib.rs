//! A trial in which the daemon writes its routes into the kernel, and the kernel is where they are counted.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::{ChangeFigures, FibFigures, Figures, Meter, Settings, settle_time, wait_until_idle};
use crate::fib::{self, Roll, Sample, Watch};
use crate::load::{Changes, Load};
use crate::process::Process;
use crate::scenario::Fib;
use crate::testbed::{LINKS, Testbed};
use crate::workload::Workload;

/// How long one change may take before it counts as lost.
const CHANGE_WITHIN: Duration = Duration::from_secs(5);
/// Between two looks at the kernel.
const PAUSE: Duration = Duration::from_millis(1);
/// Tables up to this size are counted at every look.
const SMALL: usize = 10_000;
/// Prefixes of a larger table that are asked for before it is counted, and that are looked at when a next hop is lost.
const MANY: usize = 1_000;

/// What the kernel is to hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    /// Every route.
    All,
    /// None of them.
    None,
}

/// One daemon's namespace and what is in it.
struct Kernel<'a> {
    process: String,
    testbed: &'a Testbed,
    /// Routes that were there before the first UPDATE.
    base: usize,
    /// Routes that are to come.
    routes: usize,
    /// Some of them.
    roll: Roll,
    timeout: Duration,
}

impl Kernel<'_> {
    /// Waits until the kernel holds what is wanted beyond the routes that were there before.
    fn wait(&mut self, load: &mut Load, since: Instant, wanted: Held) -> Result<Duration> {
        loop {
            let now = Instant::now();
            if self.holds(wanted)? {
                return Ok(now - since);
            }
            if now - since > self.timeout {
                let (limit, held, routes) = (self.timeout.as_secs(), self.count()?, self.routes);
                match wanted {
                    Held::All => bail!("after {limit} s the kernel holds {held} of {routes} routes"),
                    Held::None => bail!("after {limit} s the kernel still holds {held} routes"),
                }
            }
            load.turn_for(PAUSE)?;
        }
    }

    fn holds(&mut self, wanted: Held) -> Result<bool> {
        if self.routes > SMALL && !self.roll.are_there(wanted == Held::All)? {
            return Ok(false);
        }
        let held = self.count()?;
        Ok(if wanted == Held::All { held >= self.routes } else { held == 0 })
    }

    fn count(&self) -> Result<usize> {
        Ok(fib::count(&self.process)?.saturating_sub(self.base))
    }
}

/// Measures one trial of a scenario whose routes go into the kernel.
pub(super) fn measure(
    process: &Process,
    load: &mut Load,
    workload: &Workload,
    settings: &Settings,
    testbed: &Testbed,
    scenario: Fib,
) -> Result<Figures> {
    let settle = settings.settle.unwrap_or_else(|| settle_time(workload.scenario.peers()));
    let up = load.establish(settle)?;
    let process_number = process.id().to_string();
    let mut kernel = Kernel {
        base: fib::count(&process_number)?,
        process: process_number,
        testbed,
        routes: workload.len(),
        roll: Roll::new(testbed, workload.prefixes(), MANY)?,
        timeout: settings.timeout,
    };

    let meter = Meter::start(process);
    let started = Instant::now();
    load.send_tables();
    let installed = kernel.wait(load, started, Held::All)?;
    wait_until_idle(process, load)?;
    load.check_sessions()?;
    let used = meter.stop(process);

    let mut figures = FibFigures::default();
    let seconds = workload.scenario.idle_seconds;
    if seconds > 0 {
        let before = process.usage().cpu;
        load.turn_for(Duration::from_secs(seconds))?;
        let usage = process.usage();
        (figures.held_mib, figures.held_cpu_s) = (Some(usage.memory), Some(usage.cpu - before));
    }
    let mut changes = None;
    match scenario {
        Fib::Table => {
            let since = Instant::now();
            load.send(0, workload.withdrawals().into());
            let gone = kernel.wait(load, since, Held::None)?;
            figures.gone_s = Some(gone.as_secs_f64());
        }
        Fib::Changes => {
            let before = process.usage().cpu;
            let made = change_one_by_one(load, workload, testbed)?;
            changes = Some(ChangeFigures::new(made, process.usage().cpu - before));
        }
        Fib::SessionLost => {
            let since = Instant::now();
            load.close(0);
            let gone = kernel.wait(load, since, Held::None)?;
            figures.lost_ms = Some(milliseconds(gone));
        }
        Fib::LinkLost => {
            let since = fib::cut(testbed, LINKS[0])?;
            let gone = kernel.wait(load, since, Held::None)?;
            figures.lost_ms = Some(milliseconds(gone));
        }
        Fib::NextHopLost => figures.lost_ms = Some(milliseconds(lose_next_hop(load, &kernel, workload)?)),
    }
    Ok(Figures {
        up_s: up.as_secs_f64(),
        wall_s: installed.as_secs_f64(),
        quiet_s: installed.as_secs_f64(),
        cpu_s: used.cpu_s,
        memory_mib: process.usage().peak_memory,
        load_cpu_s: used.load_cpu_s,
        foreign_share: used.foreign_share,
        changes,
        fib: Some(figures),
        ..Figures::default()
    })
}

/// Cuts the link that every route uses, and waits until packets to all prefixes looked at use the other.
fn lose_next_hop(load: &mut Load, kernel: &Kernel<'_>, workload: &Workload) -> Result<Duration> {
    let ([first, other], routes) = (LINKS, workload.len());
    let used = fib::by_interface(kernel.testbed, first)?;
    ensure!(used >= routes, "only {used} of {routes} routes use the link that is to be cut, so its loss shows nothing");
    let mut moved = Sample::new(kernel.testbed, workload.prefixes(), MANY, other)?;
    ensure!(moved.arrive()? == 0, "packets use the other link before the first is cut");
    let since = fib::cut(kernel.testbed, first)?;
    let took = loop {
        if moved.arrive()? == moved.len() {
            break since.elapsed();
        }
        let limit = kernel.timeout.as_secs();
        ensure!(since.elapsed() < kernel.timeout, "after {limit} s not all packets use the other link");
        load.turn_for(PAUSE)?;
    };
    let uses_other = fib::by_interface(kernel.testbed, other)?;
    ensure!(uses_other >= routes, "packets used the other link, and of {routes} routes only {uses_other} do");
    Ok(took)
}

/// Withdraws and announces again single prefixes, the next only when the kernel has told of the last.
fn change_one_by_one(load: &mut Load, workload: &Workload, testbed: &Testbed) -> Result<Changes> {
    let watch = Watch::start(testbed)?;
    let mut changes = Changes::default();
    for turn in 0..workload.scenario.changes {
        let number = (turn * 6_151 + 17) % workload.len(); // a prime, so that the whole table is walked
        for (announce, bytes) in [(false, workload.withdrawal(number)), (true, workload.announcement(number))] {
            let _ = watch.events().count(); // what came before this change is not its doing
            let sent = Instant::now();
            load.send(0, bytes.into());
            let arrived = loop {
                load.turn_for(Duration::from_millis(1))?;
                load.check_sessions()?;
                let wanted =
                    |event: &fib::Event| event.added == announce && event.prefix == workload.prefixes()[number];
                let event = watch.events().find(wanted);
                if event.is_some() || sent.elapsed() > CHANGE_WITHIN {
                    break event;
                }
            };
            match arrived {
                Some(event) if announce => changes.announcements.push(event.at - sent),
                Some(event) => changes.withdrawals.push(event.at - sent),
                None => changes.lost += 1,
            }
            load.turn_for(workload.scenario.gap)?;
        }
    }
    Ok(changes)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
