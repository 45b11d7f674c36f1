//! What is wrong with this node, and what to do about it (`linnet doctor`).
//!
//! Each file looks at one thing: it asks, and a function without any asking judges what came back. Looking changes nothing:
//! what Linnet can put right itself, it puts right whether somebody looks or not.

mod caches;
mod checksum;
mod clock;
mod forwarding;
mod overlay;
mod paths;
mod reverse_path;
mod rooms;
mod routes;
mod sessions;
mod watchers;

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::config::Config;
use crate::daemon::{Daemon, Kernel};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something is wrong.
    Fault,
    /// Nothing is, but a person should know.
    Note,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What is as it should not be.
    pub culprit: String,
    /// What follows from it.
    pub consequence: String,
    /// What to do.
    pub next_step: String,
}

impl Finding {
    fn fault(culprit: impl Into<String>, consequence: impl Into<String>, next_step: impl Into<String>) -> Self {
        let (culprit, consequence, next_step) = (culprit.into(), consequence.into(), next_step.into());
        Self { severity: Severity::Fault, culprit, consequence, next_step }
    }

    fn note(culprit: impl Into<String>, consequence: impl Into<String>, next_step: impl Into<String>) -> Self {
        Self { severity: Severity::Note, ..Self::fault(culprit, consequence, next_step) }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its name: `paths`, `sessions`.
    pub about: &'static str,
    /// What was looked at, for a person.
    pub looked_at: String,
    /// What was found; nothing: all is well.
    pub findings: Vec<Finding>,
}

/// How far an examination is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being looked at.
    pub about: &'static str,
    /// Of so many things of its kind, these are done; of 0 where it takes no time.
    pub done: usize,
    /// How many there are.
    pub of: usize,
}

/// All that is looked at has in view.
struct View<'a> {
    config: &'a Config,
    kernel: &'a Kernel,
    routes: &'a [fib_sync::RouteStatus],
    tell: &'a mpsc::Sender<Progress>,
}

/// Looks at everything. `tell` hears how far it is; nobody need listen.
pub async fn examine(daemon: &Arc<Daemon>, tell: &mpsc::Sender<Progress>) -> Vec<Section> {
    let config = daemon.config().await;
    let mut sections = Vec::new();
    begin(tell, "sessions");
    sections.push(sessions::examine(daemon).await);
    sections.extend(caches::examine(daemon).await);
    sections.extend(watchers::examine(daemon).await);
    if let Some(kernel) = daemon.kernel() {
        let routes = kernel.forwarding.fib().status().await;
        let view = View { config: &config, kernel, routes: &routes, tell };
        begin(tell, "kernel");
        sections.push(forwarding::examine(&view));
        sections.push(overlay::examine(&view).await);
        sections.push(reverse_path::examine(&view).await);
        sections.extend(checksum::examine(&view));
        sections.extend(clock::examine(&view).await);
        sections.push(routes::examine(&view, daemon.bgp().unresolved_prefixes().await).await);
        sections.push(paths::examine(&view).await);
    }
    sections.push(rooms::examine(daemon).await);
    sections
}

fn begin(tell: &mpsc::Sender<Progress>, about: &'static str) {
    // Who is slow to listen misses some of it.
    let _ = tell.try_send(Progress { about, done: 0, of: 0 });
}

/// `1 route`, `2 routes`.
fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}
