//! Says on standard error what takes longer than two seconds.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// From when on a person wonders.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a line is written where it cannot be overwritten.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// One piece of work. What was shown of it on a terminal goes when it ends.
#[derive(Debug)]
pub struct Progress {
    what: String,
    began: Instant,
    shown: Option<Instant>,
    terminal: bool,
}

impl Progress {
    /// Starts counting; nothing is shown yet.
    #[must_use]
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), began: Instant::now(), shown: None, terminal: std::io::stderr().is_terminal() }
    }

    /// How long it has taken.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Called as often as one likes; `detail` is where the work stands.
    pub fn tick(&mut self, detail: &str) {
        let every = if self.terminal { Duration::from_millis(200) } else { LINE_EVERY };
        if self.began.elapsed() < PATIENCE || self.shown.is_some_and(|shown| shown.elapsed() < every) {
            return;
        }
        let detail: String = detail.lines().next().unwrap_or_default().chars().take(100).collect();
        let (seconds, what) = (self.began.elapsed().as_secs(), &self.what);
        let mut stderr = std::io::stderr().lock();
        // Progress that cannot be written is no reason to stop the work.
        let _ = match self.terminal {
            true => write!(stderr, "\r\x1b[K  … {what} ({seconds} s) {detail}"),
            false => writeln!(stderr, "  … {what} ({seconds} s) {detail}"),
        };
        let _ = stderr.flush();
        self.shown = Some(Instant::now());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal && self.shown.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
