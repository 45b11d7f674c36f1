//! Waiting on a condition, with a deadline.

use std::time::{Duration, Instant};

use crate::progress::Progress;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// A condition that did not come true in time.
#[derive(Debug, thiserror::Error)]
#[error("waited {} s for: {what}; the last look said: {last}", .waited.as_secs())]
pub struct Late {
    /// What was waited for.
    pub what: String,
    /// How long.
    pub waited: Duration,
    /// Why not yet, when last asked.
    pub last: String,
}

/// Looks until `look` has an answer; its error is why not yet.
///
/// # Errors
/// When the deadline passes first. There is always one last look after it.
pub fn poll<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Result<T, String>) -> Result<T, Late> {
    let (until, mut progress) = (Instant::now() + deadline, Progress::new(what));
    loop {
        let last_look = Instant::now() >= until;
        match look() {
            Ok(answer) => return Ok(answer),
            Err(last) if last_look => return Err(Late { what: what.to_owned(), waited: deadline, last }),
            Err(last) => progress.tick(&last),
        }
        std::thread::sleep(PAUSE);
    }
}
