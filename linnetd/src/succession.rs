//! Taking over from a process that is just ending: what it held, it may hold for a moment longer.
//!
//! A killed process counts as dead before the last of its threads has closed its sockets, and an upgrade starts the new
//! program while the old one stops. So a name or a port in use is asked for again for a while before it is an error.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::info;

/// For how long.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(50);

/// Repeats `attempt` as long as its error is one that a predecessor causes (`held`), but no longer than three seconds.
///
/// # Errors
/// The last attempt's.
pub async fn succeed<T, E>(
    what: &str,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
    held: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let deadline = Instant::now() + PATIENCE;
    let mut said = false;
    loop {
        match attempt().await {
            Err(error) if held(&error) && Instant::now() < deadline => {
                if !said {
                    info!("{what} is in use; waiting for another linnetd to end");
                    said = true;
                }
                sleep(PAUSE).await;
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_predecessor_lets_go_of_is_taken_and_any_other_error_is_returned_at_once() {
        let mut attempts = 0;
        let attempt = async || {
            attempts += 1;
            if attempts < 4 { Err("held") } else { Ok(attempts) }
        };
        assert_eq!(succeed("a name", attempt, |error| *error == "held").await, Ok(4));
        let mut asked = 0;
        let broken = async || {
            asked += 1;
            Err::<(), _>("broken")
        };
        assert_eq!(succeed("a name", broken, |error| *error == "held").await, Err("broken"));
        assert_eq!(asked, 1);
    }

    #[tokio::test]
    async fn what_is_never_let_go_of_is_an_error_in_the_end() {
        tokio::time::pause();
        assert_eq!(succeed("a name", async || Err::<(), _>("held"), |_| true).await, Err("held"));
    }
}
