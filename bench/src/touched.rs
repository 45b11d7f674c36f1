//! What a daemon touches from a wake to what it then writes: instructions, and lines of 64 octets and pages of 4 KiB of code
//! and of data.
//!
//! A single change finds a daemon asleep and nothing of it in a cache, so that what it touches is what it waits for
//! (docs/performance.md). How long it waits differs by a tenth from run to run and more from hour to hour; what it touches
//! does not. valgrind's tool lackey tells of each access (`--trace-mem=yes`), fifty times slower than the daemon is.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustc_hash::FxHashSet;

use crate::daemon::Daemon;
use crate::interrupt::Interrupt;
use crate::scenario::Scenario;
use crate::trial::{self, Settings};
use crate::workload::Workload;

/// Most prefixes in the table; it matters little how many they are.
const PREFIXES: usize = 2_000;
/// How often one of them is withdrawn and announced again.
const CHANGES: usize = 20;
/// Behind each: a daemon that is so slow must be done with all that follows a change.
const GAP: Duration = Duration::from_millis(250);
/// After the daemon's end.
const COUNTED_WITHIN: Duration = Duration::from_secs(60);

/// Runs changes of a scenario with a daemon that valgrind watches; what a withdrawal touches, and an announcement.
///
/// # Errors
/// The scenario has no single changes, valgrind is not there, or the trial went wrong.
pub(crate) fn run(
    daemon: Daemon,
    scenario: Scenario,
    settings: &Settings,
    interrupt: &Interrupt,
) -> Result<[Touched; 2]> {
    if scenario.changes == 0 {
        bail!("{} has no single changes", scenario.name);
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        bail!("valgrind is missing, which tells what is touched; install the Debian package valgrind");
    }
    let prefixes_each = PREFIXES.min(scenario.prefixes_each);
    let scenario = Scenario { prefixes_each, changes: CHANGES, gap: GAP, ..scenario };
    // Whoever still counts when this is given up finds no folder any more, and leaves nothing behind.
    let folder = std::env::temp_dir().join(format!("linnet-bench-{}-touched-{}", std::process::id(), daemon.name()));
    std::fs::create_dir(&folder).with_context(|| format!("{}", folder.display()))?;
    let result = folder.join("counted");
    let script = r#"exec valgrind --tool=lackey --trace-mem=yes --basic-counts=no --log-fd=9 "${@:3}" 9> >(exec setsid --fork "$1" count $$ "$2")"#;
    let own = std::env::current_exe()?;
    let before = ["bash", "-c", script, "--"].map(str::to_owned).into_iter();
    let before = before.chain([own.display().to_string(), result.display().to_string()]).collect();
    let done = trial::run(daemon, &Workload::new(scenario), &Settings { before, ..settings.clone() }, interrupt);
    let told = done.and_then(|_| wait_for(&result, interrupt));
    let _ = std::fs::remove_dir_all(&folder); // what is left in a temporary folder harms nobody
    of_changes(&told?)
}

/// What was counted, once all of it is: the daemon has ended, and what valgrind said of it is still being read.
fn wait_for(result: &Path, interrupt: &Interrupt) -> Result<String> {
    let since = Instant::now();
    while !result.exists() {
        interrupt.check()?;
        if since.elapsed() > COUNTED_WITHIN {
            bail!("nothing was counted {} s after the daemon's end", COUNTED_WITHIN.as_secs());
        }
        sleep(Duration::from_millis(20));
    }
    std::fs::read_to_string(result).with_context(|| format!("{}", result.display()))
}

/// The table for people.
pub(crate) fn table(rows: &[(&'static str, &'static str, [Touched; 2])]) -> String {
    let mut text =
        "| scenario | daemon | change | instructions | code: lines / pages | data: lines / pages |\n|---|---|---|---|---|---|\n"
            .to_owned();
    for (scenario, daemon, changes) in rows {
        for (change, touched) in ["withdrawn", "announced"].into_iter().zip(changes) {
            let Touched { instructions, code, data } = touched;
            let _ = writeln!(
                text,
                "| {scenario} | {daemon} | {change} | {instructions} | {} / {} | {} / {} |",
                code.lines, code.pages, data.lines, data.pages
            );
        }
    }
    text
}

/// How much of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Extent {
    lines: usize,
    pages: usize,
}

/// What was touched from a wake to a write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Touched {
    instructions: usize,
    code: Extent,
    data: Extent,
}

/// Of withdrawals and of announcements, the median. What was counted last are the changes, a withdrawal and an announcement in
/// turn, of which the latter takes more instructions.
fn of_changes(told: &str) -> Result<[Touched; 2]> {
    let all: Vec<Touched> = told.lines().map(parse).collect::<Option<_>>().context("what was counted does not read")?;
    // Neither the first changes, which find less in place, nor the sessions' ends.
    let Some(window) = all.len().checked_sub(2 * CHANGES - 8).map(|from| &all[from..all.len() - 4]) else {
        bail!("only {} writes followed a read, for {CHANGES} changes of either kind", all.len());
    };
    let mut kinds = [0, 1].map(|first| {
        let mut kind: Vec<Touched> = window.iter().skip(first).step_by(2).copied().collect();
        kind.sort_unstable();
        kind[kind.len() / 2]
    });
    kinds.sort_unstable();
    Ok(kinds)
}

fn parse(line: &str) -> Option<Touched> {
    let numbers: Vec<usize> = line.split(' ').map(|number| number.parse().ok()).collect::<Option<_>>()?;
    let [instructions, code_lines, code_pages, data_lines, data_pages] = numbers[..] else { return None };
    let extent = |lines, pages| Extent { lines, pages };
    Some(Touched { instructions, code: extent(code_lines, code_pages), data: extent(data_lines, data_pages) })
}

/// Reads what lackey tells of `process`, which is not the parent and may end first, and writes a line into `result` for each
/// wake after which it read and then wrote. The file is there when all of it is.
///
/// # Errors
/// The process has no C library, or what is told does not read.
pub(crate) fn count(process: u32, result: &Path) -> Result<()> {
    let mut told = BufReader::with_capacity(1 << 20, std::io::stdin());
    let (mut counter, mut counted) = (None, String::new());
    let mut line = Vec::new();
    let mut waited = 0u64;
    while told.read_until(b'\n', &mut line)? > 0 {
        // The library is there a little after the first accesses.
        if counter.is_none() && waited.is_multiple_of(10_000) {
            counter = Marks::of(&PathBuf::from(format!("/proc/{process}/maps")))?.map(Counter::new);
        }
        waited += 1;
        if let Some(touched) = counter.as_mut().and_then(|counter| counter.take(&line)) {
            let Touched { instructions, code, data } = touched;
            let _ = writeln!(counted, "{instructions} {} {} {} {}", code.lines, code.pages, data.lines, data.pages);
        }
        line.clear();
    }
    let part = result.with_extension("part");
    std::fs::write(&part, counted)
        .and_then(|()| std::fs::rename(&part, result))
        .context(format!("{}", result.display()))
}

/// What the entry of a function of the C library means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// It is about to wait.
    Wait,
    Read,
    Write,
}

/// Where these are.
struct Marks(BTreeMap<u64, Mark>);

impl Marks {
    /// Of a process, once the library is in its memory.
    fn of(maps: &Path) -> Result<Option<Self>> {
        // A process that is ending has none.
        let maps = std::fs::read_to_string(maps).unwrap_or_default();
        let first = |line: &&str| line.ends_with("/libc.so.6") && line.split(' ').nth(2) == Some("00000000");
        let Some(line) = maps.lines().find(first) else { return Ok(None) };
        let (base, library) =
            (line.split('-').next().unwrap_or_default(), line.split(' ').next_back().unwrap_or_default());
        let base = u64::from_str_radix(base, 16).context("/proc/PID/maps")?;
        let symbols = Command::new("nm")
            .args(["--dynamic", "--defined-only", library])
            .output()
            .context("nm (Debian package binutils)")?;
        Ok(Some(Self::parse(&String::from_utf8_lossy(&symbols.stdout), base)))
    }

    fn parse(symbols: &str, base: u64) -> Self {
        let mark = |line: &str| {
            let (address, name) = (line.split(' ').next()?, line.split(' ').next_back()?);
            let mark = match name.split('@').next()? {
                "epoll_wait" | "poll" => Mark::Wait,
                "recv" | "recvfrom" | "recvmsg" | "read" => Mark::Read,
                "send" | "sendto" | "sendmsg" | "writev" | "write" => Mark::Write,
                _ => return None,
            };
            Some((base + u64::from_str_radix(address, 16).ok()?, mark))
        };
        Self(symbols.lines().filter_map(mark).collect())
    }
}

#[derive(Default)]
struct Memory {
    lines: FxHashSet<u64>,
    pages: FxHashSet<u64>,
}

impl Memory {
    fn touch(&mut self, address: u64) {
        if self.lines.insert(address >> 6) {
            self.pages.insert(address >> 12);
        }
    }

    fn extent(&self) -> Extent {
        Extent { lines: self.lines.len(), pages: self.pages.len() }
    }
}

struct Counter {
    marks: Marks,
    instructions: usize,
    code: Memory,
    data: Memory,
    /// Since the wake.
    progress: Progress,
}

/// How far a daemon has come since it woke.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Progress {
    #[default]
    Woken,
    Read,
    Wrote,
}

impl Counter {
    fn new(marks: Marks) -> Self {
        Self { marks, instructions: 0, code: Memory::default(), data: Memory::default(), progress: Progress::Woken }
    }

    /// A line of lackey's; what was touched, if it is the first write after a read.
    fn take(&mut self, line: &[u8]) -> Option<Touched> {
        let address = std::str::from_utf8(line.get(3..)?).ok()?.split(',').next()?;
        let address = u64::from_str_radix(address, 16).ok()?;
        if !line.starts_with(b"I  ") {
            if matches!(line, [b' ', b'L' | b'S' | b'M', b' ', ..]) {
                self.data.touch(address);
            }
            return None;
        }
        let mut wrote = None;
        match self.marks.0.get(&address) {
            Some(Mark::Wait) => *self = Self::new(Marks(std::mem::take(&mut self.marks.0))),
            Some(Mark::Read) if self.progress == Progress::Woken => self.progress = Progress::Read,
            Some(Mark::Write) if self.progress == Progress::Read => {
                self.progress = Progress::Wrote;
                let (code, data) = (self.code.extent(), self.data.extent());
                wrote = Some(Touched { instructions: self.instructions, code, data });
            }
            Some(Mark::Read | Mark::Write) | None => {}
        }
        self.instructions += 1;
        self.code.touch(address);
        wrote
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_touched_from_a_wake_to_the_write_that_follows_a_read_is_counted() {
        let symbols = "0000000000000100 T epoll_wait@@GLIBC_2.3.2\n0000000000000200 W recv@@GLIBC_2.2.5\n0000000000000300 T writev@@GLIBC_2.2.5\n                 U malloc\n";
        let mut counter = Counter::new(Marks::parse(symbols, 0x1000));
        let mut told = |text: &str| text.lines().fold(None, |wrote, line| counter.take(line.as_bytes()).or(wrote));
        // A write after a wake that brought nothing is of something else.
        assert_eq!(told("I  00001100,5\nI  00001300,5"), None);
        // Two lines of data on one page; code on two pages, one line of it twice.
        let change = "==7== lackey\nI  00001100,5\nI  00001104,2\n L 1ffe0000,8\n S 1ffe0008,8\n M 1ffe0040,4\nI  00001200,5\nI  00004000,1\nI  00001300,5";
        let touched = told(change).expect("a write");
        assert_eq!(
            touched,
            Touched { instructions: 4, code: Extent { lines: 3, pages: 2 }, data: Extent { lines: 2, pages: 1 } }
        );
        // The kernel's answer, and a task that is told of it.
        assert_eq!(told("I  00001200,5\nI  00001300,5"), None, "a second write");
    }

    #[test]
    fn withdrawals_and_announcements_are_told_apart_and_the_sessions_ends_left_out() {
        let line = |instructions: usize| format!("{instructions} 10 2 5 1\n");
        let mut told = line(99).repeat(7);
        (0..CHANGES).for_each(|turn| told += &[line(100 + turn), line(200 + turn)].concat());
        told += &line(9000);
        let [withdrawn, announced] = of_changes(&told).expect("changes");
        assert!((100..200).contains(&withdrawn.instructions), "{withdrawn:?}");
        assert!((200..300).contains(&announced.instructions), "{announced:?}");
        assert!(of_changes(&line(1)).is_err());
    }
}
