//! The task that owns the folder, the endpoints and what is in force.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch as published};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use super::folder::{Content, Folder};
use super::presence::{Notice, Sign, is_present};
use super::watch::Watch;
use super::{DocumentStatus, PolicyConfig, PolicyError, State, Status, kernel};
use crate::compile::warnings;
use crate::index::selects;
// Under another name, because the macros below mean the trait.
use crate::Default as DefaultVerdict;
use crate::{Document, Endpoint, Input, Ruleset, compile};

/// After the first sign of a change: whoever writes several files, or one in several steps, is done by then.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// The folder is read again, and the table looked for, even if nobody said that anything changed.
const RESCAN: Duration = Duration::from_secs(30);
/// While there is no folder to watch.
const RESCAN_UNWATCHED: Duration = Duration::from_secs(2);
/// The first wait after the kernel refused; doubled up to [`RESCAN`].
const RETRY: Duration = Duration::from_secs(1);
/// Between two repairs of a table that somebody keeps changing.
const REPAIR: Duration = Duration::from_secs(1);

type Reply = oneshot::Sender<Result<(), PolicyError>>;

#[derive(Debug)]
pub(super) enum Command {
    SetEndpoints(Vec<Endpoint>, Reply),
    Reconfigure(PolicyConfig, Reply),
    Clear(Reply),
}

/// What may wait on files and on nft, and so is worked on outside of the runtime's threads.
struct Work {
    folder: Folder,
    default: DefaultVerdict,
    endpoints: Vec<Endpoint>,
    in_force: Option<Ruleset>,
    /// Transactions since the task last looked.
    committed: u32,
    status: Status,
}

pub(super) struct Task {
    work: Option<Work>,
    watch: Option<Watch>,
    watched: bool,
    notice: Option<Notice>,
    /// When to make sure that the table is there; the past: with the next scan.
    next_look: Instant,
    /// Our transactions that the kernel has not told of yet. One that is told of when there are none is somebody's.
    untold: u32,
    /// Somebody changed the table, and it is to be put right.
    altered: bool,
    last_repair: Option<Instant>,
    status: published::Sender<Status>,
    next_scan: Instant,
    retry: Duration,
}

impl Task {
    /// Reads and applies for the first time.
    pub(super) async fn start(config: PolicyConfig, endpoints: Vec<Endpoint>) -> (Task, published::Receiver<Status>) {
        let status = Status {
            default: config.default,
            state: State::Degraded { error: "nothing is in force yet: network policy is starting".into() },
            documents: Vec::new(),
            errors: Vec::new(),
            warnings: Vec::new(),
        };
        let watch = Watch::new()
            .inspect_err(|error| {
                tracing::warn!(%error, "the policy folder cannot be watched (inotify); it is read every few seconds");
            })
            .ok();
        let notice = Notice::new()
            .inspect_err(|error| {
                tracing::warn!(%error, "changes to nftables are not reported; its table is looked for now and then");
            })
            .ok();
        let (publisher, receiver) = published::channel(status.clone());
        let folder = Folder::new(config.directory);
        let work = Work { folder, default: config.default, endpoints, in_force: None, committed: 0, status };
        let mut task = Task {
            work: Some(work),
            watch,
            watched: false,
            notice,
            next_look: Instant::now(),
            untold: 0,
            altered: false,
            last_repair: None,
            status: publisher,
            next_scan: Instant::now(),
            retry: RETRY,
        };
        // The status says what came of it.
        _ = task.scan_and_apply().await;
        (task, receiver)
    }

    /// Until the last handle is gone or the table is cleared.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    None => return,
                    Some(Command::SetEndpoints(endpoints, reply)) => {
                        let outcome = self.work(move |work| {
                            work.endpoints = endpoints;
                            work.apply()
                        }).await;
                        // A look that is due because the folder changed stays due.
                        let due = self.next_scan;
                        self.settle(outcome.is_ok());
                        self.next_scan = self.next_scan.min(due);
                        // Whoever asked may have gone away; what was asked holds all the same.
                        _ = reply.send(outcome);
                    }
                    Some(Command::Reconfigure(config, reply)) => {
                        if let Some(work) = &mut self.work {
                            work.default = config.default;
                            if work.folder.directory() != config.directory {
                                work.folder = Folder::new(config.directory);
                            }
                        }
                        let outcome = self.scan_and_apply().await;
                        _ = reply.send(outcome);
                    }
                    Some(Command::Clear(reply)) => {
                        let outcome = self.work(|_| kernel::remove()).await;
                        let cleared = outcome.is_ok();
                        _ = reply.send(outcome);
                        if cleared {
                            return;
                        }
                    }
                },
                changed = changed(self.watch.as_ref()) => {
                    if let Err(error) = changed {
                        tracing::warn!(%error, "the policy folder is no longer watched; it is read every few seconds");
                        (self.watch, self.watched) = (None, false);
                    }
                    self.next_scan = self.next_scan.min(Instant::now() + DEBOUNCE);
                }
                sign = sign(self.notice.as_mut()) => self.heed(sign),
                () = sleep_until(self.next_scan) => {
                    // The status says what came of it.
                    _ = self.scan_and_apply().await;
                }
            }
            if self.work.is_none() {
                tracing::error!("network policy stops: its work ended in a panic; what is in force stays in force");
                return;
            }
        }
    }

    /// What follows from a sign that nftables changed.
    fn heed(&mut self, sign: std::io::Result<Sign>) {
        let now = Instant::now();
        match sign {
            Ok(Sign::Transaction) if self.untold > 0 => self.untold -= 1,
            Ok(Sign::Transaction) => {
                self.altered = true;
                let turn = self.last_repair.map_or(now, |last| last + REPAIR);
                self.next_scan = self.next_scan.min(turn.max(now + DEBOUNCE));
            }
            // Ours were among the lost ones, or others' large ones: only a table that is gone is noticed.
            Ok(Sign::Lost) => {
                self.untold = 0;
                self.next_look = now;
                self.next_scan = self.next_scan.min(now + DEBOUNCE);
            }
            Err(error) => {
                tracing::warn!(%error, "changes to nftables are no longer reported");
                self.notice = None;
            }
        }
    }

    async fn scan_and_apply(&mut self) -> Result<(), PolicyError> {
        let now = Instant::now();
        let look_for_table = self.next_look <= now;
        if look_for_table {
            self.next_look = now + RESCAN;
        }
        if let (Some(watch), Some(work)) = (&mut self.watch, &self.work) {
            self.watched = watch.arm(work.folder.directory());
        }
        let altered = std::mem::take(&mut self.altered);
        if altered {
            self.last_repair = Some(now);
        }
        let outcome = self
            .work(move |work| {
                work.folder.scan();
                if altered {
                    tracing::warn!("somebody changed the table inet linnet; it is made anew");
                    work.in_force = None;
                }
                // That nobody answers does not make it vanish.
                if look_for_table && work.in_force.is_some() && !is_present().unwrap_or(true) {
                    tracing::warn!("somebody removed the table inet linnet; it is put back");
                    work.in_force = None;
                }
                work.apply()
            })
            .await;
        self.settle(outcome.is_ok());
        outcome
    }

    /// When to look again.
    fn settle(&mut self, in_force: bool) {
        let rescan = if self.watched { RESCAN } else { RESCAN_UNWATCHED };
        let wait = if in_force {
            self.retry = RETRY;
            rescan
        } else {
            let wait = self.retry;
            self.retry = (wait * 2).min(RESCAN);
            wait.min(rescan)
        };
        self.next_scan = Instant::now() + wait;
    }

    /// Runs a step where it may block, and publishes the status that it leaves.
    async fn work(
        &mut self,
        step: impl FnOnce(&mut Work) -> Result<(), PolicyError> + Send + 'static,
    ) -> Result<(), PolicyError> {
        let mut work = self.work.take().ok_or(PolicyError::Stopped)?;
        let done = spawn_blocking(move || {
            let outcome = step(&mut work);
            (work, outcome)
        });
        let (mut work, outcome) = done.await.map_err(|_| PolicyError::Stopped)?;
        self.untold += std::mem::take(&mut work.committed);
        self.status.send_if_modified(|status| {
            let modified = *status != work.status;
            status.clone_from(&work.status);
            modified
        });
        self.work = Some(work);
        outcome
    }
}

/// Never, when there is nothing that would tell.
async fn changed(watch: Option<&Watch>) -> std::io::Result<()> {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// Never, when there is nothing that would tell.
async fn sign(notice: Option<&mut Notice>) -> std::io::Result<Sign> {
    match notice {
        Some(notice) => notice.next().await,
        None => std::future::pending().await,
    }
}

impl Work {
    /// Compiles what folder and endpoints say now, and puts it in force.
    fn apply(&mut self) -> Result<(), PolicyError> {
        let Content { documents, errors, unknown } = self.folder.content();
        // What an unread file selects is not known: no direction may pass for unselected.
        let default = if unknown.is_empty() { self.default } else { DefaultVerdict::Deny };
        let described = describe(&documents, &self.endpoints);
        let input = input(documents, self.endpoints.clone(), default);
        let ruleset = compile(&input);
        tracing::debug!(%ruleset, "compiled");
        let outcome =
            kernel::apply(self.in_force.as_ref(), &ruleset).map(|committed| self.committed += u32::from(committed));
        if outcome.is_ok() {
            if self.in_force.as_ref() != Some(&ruleset) {
                let (endpoints, policies) = (input.endpoints.len(), input.policies.len());
                tracing::info!(endpoints, policies, "network policy is in force");
            }
            self.in_force = Some(ruleset);
            self.status.documents = described;
            self.status.warnings = warnings(&input);
        }
        self.status.default = self.default;
        let state = match &outcome {
            Err(error) => State::Degraded { error: error.to_string() },
            Ok(()) => judge(&errors, &unknown),
        };
        if state != self.status.state
            && let State::Degraded { error } = &state
        {
            tracing::warn!(%error, "network policy is degraded");
        }
        for error in errors.iter().filter(|error| !self.status.errors.contains(error)) {
            tracing::warn!("{error}");
        }
        (self.status.state, self.status.errors) = (state, errors);
        outcome
    }
}

/// The state once the kernel holds what could be read.
fn judge(errors: &[crate::DocumentError], unknown: &[String]) -> State {
    match (errors, unknown) {
        ([], []) => State::InForce,
        (_, []) => State::Degraded {
            error: format!(
                "{} in the policy folder; the last good version of each file stays in force. Mend what `errors` names",
                count(errors.len(), "error")
            ),
        },
        (_, unknown) => State::Degraded {
            error: format!(
                "no readable version of {} is known, so all that no other policy allows is denied to every endpoint. \
                 Mend what `errors` names, or remove it",
                unknown.join(", ")
            ),
        },
    }
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

fn input(documents: Vec<Document>, endpoints: Vec<Endpoint>, default: DefaultVerdict) -> Input {
    let mut input = Input { endpoints, pods: Vec::new(), namespaces: Vec::new(), policies: Vec::new(), default };
    for document in documents {
        match document {
            Document::NetworkPolicy(policy) => input.policies.push(policy),
            Document::Namespace(namespace) => input.namespaces.push(namespace),
            Document::Pod(pod) => input.pods.push(pod),
        }
    }
    input
}

fn describe(documents: &[Document], endpoints: &[Endpoint]) -> Vec<DocumentStatus> {
    documents
        .iter()
        .map(|document| {
            let mut selected: Vec<String> = match document {
                Document::NetworkPolicy(policy) => endpoints
                    .iter()
                    .filter(|endpoint| selects(policy, endpoint))
                    .map(|endpoint| format!("{}/{}", endpoint.namespace, endpoint.name))
                    .collect(),
                Document::Namespace(_) | Document::Pod(_) => Vec::new(),
            };
            selected.sort();
            DocumentStatus {
                namespace: document.namespace().unwrap_or_default().to_owned(),
                name: document.name().to_owned(),
                kind: document.kind(),
                file: document.origin().file.to_string(),
                line: document.origin().line,
                directions: document.directions(),
                endpoints: selected,
            }
        })
        .collect()
}
