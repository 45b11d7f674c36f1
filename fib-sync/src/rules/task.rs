//! The task that keeps the rules as they are wanted.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_route::{RouteNetlinkMessage, rule::RuleMessage};
use tokio::sync::{mpsc, oneshot};

use super::{
    Rule, RuleStatus,
    wire::{FamilyRule, is_ours, message, read},
};
use crate::{
    FibError,
    kernel_route::family,
    netlink::{Message, Monitor, Notice, Socket, all_but},
};

/// Groups of linux/rtnetlink.h: ipv4-rule, ipv6-rule.
const GROUPS: [u32; 2] = [8, 19];
/// Octets of the listener's receive buffer.
const BUFFER: usize = 256 << 10;
/// How long other changes may follow a first one before rules are read again; after each repair twice as long, up to
/// [`LONGEST`], until there has been none for [`CALM`]: who removes a rule again and again is not fought for ever.
const SETTLE: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(60);
const CALM: Duration = Duration::from_secs(120);
/// Between two attempts at what the kernel refused.
const RETRY: Duration = Duration::from_secs(5);
/// How often at most rules are looked at again in one go.
const PASSES: usize = 64;

/// A handle to the task; it ends with the last one and leaves the kernel as it is.
#[derive(Clone, Debug)]
pub struct Rules {
    status: Arc<Mutex<Vec<RuleStatus>>>,
    commands: mpsc::Sender<Command>,
}

/// What is wanted from now on, and whom to tell when it is done.
type Command = (Vec<Rule>, oneshot::Sender<()>);

impl Rules {
    /// Makes the kernel's rules of Linnet's these and no others, and keeps them so, from a task of the runtime in which this
    /// is called and in the network namespace of its thread. What the kernel refuses is tried again.
    ///
    /// # Errors
    /// [`FibError::Socket`] without the right to change rules, [`FibError::Kernel`] when they cannot be read.
    pub fn start(wanted: &[Rule]) -> Result<Rules, FibError> {
        let mut socket = Socket::open()?;
        let monitor = Monitor::listen(&GROUPS, &all_but(socket.port()), BUFFER)?;
        let status = Arc::new(Mutex::new(Vec::new()));
        let wanted = by_family(wanted);
        let outcome = reconcile(&mut socket, &wanted)?;
        let (commands, told) = mpsc::channel(1);
        let mut task =
            Task { socket, monitor, wanted, status: status.clone(), read_at: None, repairs: 0, repaired: None };
        task.note(outcome);
        tokio::spawn(task.run(told));
        Ok(Rules { status, commands })
    }

    /// What is wanted from now on; returns when the kernel has answered.
    pub async fn change(&self, wanted: Vec<Rule>) {
        let (done, answered) = oneshot::channel();
        if self.commands.send((wanted, done)).await.is_ok() {
            let _ = answered.await;
        }
    }

    /// Each wanted rule and how it fares, in the order of the kernel.
    #[must_use]
    pub fn status(&self) -> Vec<RuleStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Removes all rules of Linnet's, in the network namespace of the calling thread. Returns how many there were.
///
/// # Errors
/// [`FibError::Socket`] without the right to change rules, [`FibError::Kernel`] when one cannot be read or removed.
pub fn clear_rules() -> Result<usize, FibError> {
    let mut socket = Socket::open()?;
    let outcome = reconcile(&mut socket, &BTreeSet::new())?;
    match outcome.stuck {
        None => Ok(outcome.removed),
        Some(error) => Err(error),
    }
}

fn by_family(wanted: &[Rule]) -> BTreeSet<FamilyRule> {
    let of_one = |rule: &Rule| {
        let rule = rule.clone();
        rule.families().map(move |v6| FamilyRule { v6, rule: rule.clone() }).collect::<Vec<_>>()
    };
    wanted.iter().flat_map(of_one).collect()
}

/// What one comparison of the kernel with what is wanted did.
#[derive(Debug, Default)]
struct Outcome {
    made: Vec<FamilyRule>,
    removed: usize,
    refused: BTreeMap<FamilyRule, String>,
    /// One that is not wanted and could not be removed.
    stuck: Option<FibError>,
}

/// Makes the kernel hold what is wanted and nothing else of Linnet's.
///
/// The kernel takes what a request does not name for a wish not to ask, also when it deletes: of several rules of Linnet's with
/// one priority it may delete a more precise one in place of the one that is meant. So it is looked at again until all is right.
fn reconcile(socket: &mut Socket, wanted: &BTreeSet<FamilyRule>) -> Result<Outcome, FibError> {
    let mut outcome = Outcome::default();
    for _ in 0..PASSES {
        outcome.refused.clear();
        outcome.stuck = None;
        let before = (outcome.made.len(), outcome.removed);
        pass(socket, wanted, &mut outcome)?;
        if (outcome.made.len(), outcome.removed) == before {
            break;
        }
    }
    Ok(outcome)
}

/// Reads, and writes the difference: what is missing first, so that no packet looks elsewhere in between.
fn pass(socket: &mut Socket, wanted: &BTreeSet<FamilyRule>, outcome: &mut Outcome) -> Result<(), FibError> {
    let mut there: BTreeSet<FamilyRule> = BTreeSet::new();
    let mut unwanted: Vec<RuleMessage> = Vec::new();
    for v6 in [false, true] {
        let mut question = RuleMessage::default();
        question.header.family = family(v6);
        let found = socket.dump(RouteNetlinkMessage::GetRule(question), |message| match message {
            RouteNetlinkMessage::NewRule(rule) => Some(rule).filter(is_ours),
            _ => None,
        })?;
        for rule in found {
            // One too many of the same goes, too.
            match read(&rule).filter(|rule| wanted.contains(rule)) {
                Some(known) if there.insert(known.clone()) => {}
                Some(_) | None => unwanted.push(rule),
            }
        }
    }
    for rule in wanted.difference(&there) {
        // Not exclusive: for the kernel a rule that asks for less is the same as one of the same priority that asks for more.
        let request = Message::new(&RouteNetlinkMessage::NewRule(message(rule)));
        match socket.attempt(&request, NLM_F_CREATE)? {
            Ok(()) => outcome.made.push(rule.clone()),
            Err(refusal) => {
                outcome.refused.insert(rule.clone(), format!("the kernel refused it: {refusal}; it is tried again"));
            }
        }
    }
    for rule in unwanted {
        let request = Message::new(&RouteNetlinkMessage::DelRule(rule));
        match socket.attempt(&request, 0)? {
            Ok(()) => outcome.removed += 1,
            Err(refusal) if refusal.errno == libc::ENOENT => {}
            Err(refusal) => {
                outcome.stuck = Some(FibError::Kernel {
                    what: "remove a rule".into(),
                    source: refusal.error(),
                    message: refusal.message,
                });
            }
        }
    }
    Ok(())
}

struct Task {
    socket: Socket,
    monitor: Monitor,
    wanted: BTreeSet<FamilyRule>,
    status: Arc<Mutex<Vec<RuleStatus>>>,
    /// When to read the kernel's rules again.
    read_at: Option<Instant>,
    /// Of late, in a row.
    repairs: u32,
    repaired: Option<Instant>,
}

impl Task {
    async fn run(mut self, mut told: mpsc::Receiver<Command>) {
        loop {
            let read_at = self.read_at;
            tokio::select! {
                command = told.recv() => {
                    let Some((wanted, done)) = command else { return };
                    self.wanted = by_family(&wanted);
                    self.compare(false);
                    let _ = done.send(());
                }
                () = self.monitor.ready() => self.heard(),
                () = due(read_at) => self.compare(true),
            }
        }
    }

    fn heard(&mut self) {
        let concerns = |notice: &Notice| match notice {
            Notice::Lost => true,
            Notice::Message { message, .. } => {
                matches!(message, RouteNetlinkMessage::NewRule(_) | RouteNetlinkMessage::DelRule(_))
            }
            Notice::NextHop { .. } | Notice::ReversePath { .. } => false,
        };
        if self.monitor.hear().iter().any(concerns) {
            let at = Instant::now() + self.pause();
            self.read_at = Some(self.read_at.map_or(at, |known| known.min(at)));
        }
    }

    fn pause(&self) -> Duration {
        SETTLE.saturating_mul(1 << self.repairs.min(16)).min(LONGEST)
    }

    /// Compares, and puts right what is not as it should be; `meddled`: by somebody else's doing.
    fn compare(&mut self, meddled: bool) {
        self.read_at = None;
        match reconcile(&mut self.socket, &self.wanted) {
            Ok(outcome) if !meddled => self.note(outcome),
            Ok(outcome) => {
                for FamilyRule { rule, .. } in &outcome.made {
                    tracing::warn!(%rule, "a rule of Linnet's was gone; it is put back");
                }
                if !outcome.made.is_empty() || outcome.removed > 0 {
                    let now = Instant::now();
                    let again = self.repaired.is_some_and(|last| now - last < CALM);
                    self.repairs = if again { self.repairs + 1 } else { 1 };
                    self.repaired = Some(now);
                }
                self.note(outcome);
            }
            Err(error) => {
                tracing::warn!(%error, "the kernel's rules cannot be read; trying again");
                self.read_at = Some(Instant::now() + RETRY);
            }
        }
    }

    /// Keeps what a person may ask for, and tries again what could not be done.
    fn note(&mut self, outcome: Outcome) {
        if let Some(error) = &outcome.stuck {
            tracing::warn!(%error, "a rule of Linnet's that is not wanted stays");
        }
        if !outcome.refused.is_empty() || outcome.stuck.is_some() {
            self.read_at = Some(Instant::now() + RETRY);
        }
        let status = self.wanted.iter().map(|wanted| RuleStatus {
            rule: wanted.rule.clone(),
            v6: wanted.v6,
            error: outcome.refused.get(wanted).cloned(),
        });
        let mut status: Vec<RuleStatus> = status.collect();
        status.sort_by_key(|status| (status.v6, status.rule.priority));
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
