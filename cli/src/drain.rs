//! `linnet drain` and `linnet undrain`.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use linnet_api as api;
use serde::Serialize;

use crate::Answer;
use crate::client::Client;
use crate::error::Error;
use crate::output::{Page, Present, Printer};

/// How often the daemon is asked how far it is.
const PAUSE: Duration = Duration::from_millis(250);

/// How far a node is drained, as every command shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Drain {
    state: String,
    remaining_seconds: u64,
    /// While draining: peers that have not been told all of it yet.
    untold: Vec<String>,
}

impl From<Option<api::Drain>> for Drain {
    fn from(drain: Option<api::Drain>) -> Self {
        let drain = drain.unwrap_or_default();
        let state = if drain.state.is_empty() { "no".to_owned() } else { drain.state };
        Self { state, remaining_seconds: drain.remaining_seconds, untold: drain.untold }
    }
}

impl Drain {
    /// A line for a person; `None` where there is nothing to say.
    pub(crate) fn line(&self) -> Option<String> {
        match (self.state.as_str(), self.remaining_seconds) {
            ("no", _) => None,
            ("draining", 0) => Some(format!("draining: every route is being withdrawn{}", self.told())),
            ("draining", seconds) => Some(format!(
                "draining: every route is the last resort (GRACEFUL_SHUTDOWN, 65535:0), and is withdrawn in {seconds} s{}",
                self.told()
            )),
            _ => Some("drained: no route is announced; `linnet undrain` ends that".to_owned()),
        }
    }
}

impl Drain {
    /// Who has heard of it.
    fn told(&self) -> String {
        match &self.untold[..] {
            [] => "; all peers that are up have been told".to_owned(),
            [peer] => format!("; {peer} has not been told yet"),
            peers => format!("; not told yet: {}", peers.join(", ")),
        }
    }
}

impl Present for Drain {
    fn draw(&self, page: &mut Page) {
        page.line(self.line().unwrap_or_else(|| "not drained".to_owned()));
    }
}

pub(crate) async fn drain(client: &Client, print: &Printer, wait: bool) -> Result<Answer, Error> {
    let reply = client.node().drain(api::DrainRequest {}).await.map_err(|status| client.refused(status))?;
    let mut drain = Drain::from(reply.into_inner().drain);
    let mut progress = Progress::default();
    while wait && drain.state == "draining" {
        progress.show(&drain)?;
        tokio::time::sleep(PAUSE).await;
        let status = client.node().status(api::StatusRequest {}).await.map_err(|status| client.refused(status))?;
        drain = Drain::from(status.into_inner().drain);
    }
    progress.end()?;
    print.print(&drain)?;
    // Somebody else may have ended it meanwhile.
    Ok((drain.state != "no").into())
}

pub(crate) async fn undrain(client: &Client) -> Result<Answer, Error> {
    client.node().undrain(api::UndrainRequest {}).await.map_err(|status| client.refused(status))?;
    Ok(Answer::Yes)
}

/// What a person sees while it lasts: one line on a terminal, written over and over; elsewhere nothing.
#[derive(Default)]
struct Progress {
    width: usize,
}

impl Progress {
    fn show(&mut self, drain: &Drain) -> std::io::Result<()> {
        let mut screen = std::io::stderr();
        if !screen.is_terminal() {
            return Ok(());
        }
        let line = drain.line().unwrap_or_default();
        write!(screen, "\r{line:<width$}", width = self.width)?;
        self.width = line.chars().count();
        screen.flush()
    }

    fn end(self) -> std::io::Result<()> {
        if self.width > 0 {
            write!(std::io::stderr(), "\r{:width$}\r", "", width = self.width)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{json, plain};

    #[test]
    fn each_state_has_its_line() {
        const LAST: &str =
            "draining: every route is the last resort (GRACEFUL_SHUTDOWN, 65535:0), and is withdrawn in 7 s";
        for (state, remaining_seconds, untold, line) in [
            ("", 0, vec![], "not drained".to_owned()),
            ("no", 0, vec![], "not drained".to_owned()),
            ("draining", 7, vec![], format!("{LAST}; all peers that are up have been told")),
            ("draining", 7, vec!["tor-a"], format!("{LAST}; tor-a has not been told yet")),
            ("draining", 7, vec!["tor-a", "tor-b"], format!("{LAST}; not told yet: tor-a, tor-b")),
            (
                "draining",
                0,
                vec!["tor-a"],
                "draining: every route is being withdrawn; tor-a has not been told yet".to_owned(),
            ),
            ("drained", 0, vec![], "drained: no route is announced; `linnet undrain` ends that".to_owned()),
        ] {
            let untold = untold.into_iter().map(str::to_owned).collect();
            let drain = Drain::from(Some(api::Drain { state: state.into(), remaining_seconds, untold }));
            assert_eq!(plain(&drain, false).trim_end(), line);
        }
    }

    #[test]
    fn a_drain_is_a_contract() {
        let drain = Drain::from(Some(api::Drain {
            state: "draining".into(),
            remaining_seconds: 7,
            untold: vec!["tor-a".into()],
        }));
        insta::assert_snapshot!(json(&drain));
    }
}
