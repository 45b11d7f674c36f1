//! The task that keeps the rules as they are wanted.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
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
    culprit::{Culprits, Owner},
    fight::{Fight, Response},
    kernel_route::family,
    netlink::{Message, Monitor, Notice, Socket, all_but},
};

/// Groups of linux/rtnetlink.h: ipv4-rule, ipv6-rule.
const GROUPS: [u32; 2] = [8, 19];
/// Octets of the listener's receive buffer.
const BUFFER: usize = 256 << 10;
/// How long other changes may follow a first one before rules are read again.
const SETTLE: Duration = Duration::from_millis(10);
/// Programs that are asked for by name, of what is heard between two readings.
const NAMES: usize = 8;
/// What a fight is about, for people.
const RULES: &str = "rules of Linnet's";
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
        let mut task = Task {
            socket,
            monitor,
            wanted,
            status: status.clone(),
            refused: BTreeMap::new(),
            read_at: None,
            fight: None,
            gone: BTreeMap::new(),
            owners: HashMap::new(),
            culprits: Culprits::default(),
        };
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

/// Rules of Linnet's that lead to any of these tables: for who wants to keep them while routes are still there, and the configuration
/// leads elsewhere already. In the network namespace of the calling thread.
///
/// # Errors
/// [`FibError::Socket`] without the right to change rules, [`FibError::Kernel`] when they cannot be read.
pub fn rules_to(tables: &[u32]) -> Result<Vec<Rule>, FibError> {
    let mut socket = Socket::open()?;
    let mut found = BTreeSet::new();
    for v6 in [false, true] {
        found.extend(ours(&mut socket, v6)?.iter().filter_map(read).map(|known| known.rule));
    }
    Ok(found.into_iter().filter(|rule| tables.contains(&rule.table)).collect())
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

/// The rules of one family with Linnet's mark.
fn ours(socket: &mut Socket, v6: bool) -> Result<Vec<RuleMessage>, FibError> {
    let mut question = RuleMessage::default();
    question.header.family = family(v6);
    socket.dump(RouteNetlinkMessage::GetRule(question), |message| match message {
        RouteNetlinkMessage::NewRule(rule) => Some(rule).filter(is_ours),
        _ => None,
    })
}

/// Reads, and writes the difference: what is missing first, so that no packet looks elsewhere in between.
fn pass(socket: &mut Socket, wanted: &BTreeSet<FamilyRule>, outcome: &mut Outcome) -> Result<(), FibError> {
    let mut there: BTreeSet<FamilyRule> = BTreeSet::new();
    let mut unwanted: Vec<RuleMessage> = Vec::new();
    for v6 in [false, true] {
        for rule in ours(socket, v6)? {
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
    /// What the kernel refused, and why.
    refused: BTreeMap<FamilyRule, String>,
    /// Who removes rules again and again is not fought for ever.
    fight: Option<Fight>,
    /// Rules that are not there any more, with the netlink port of who removed them.
    gone: BTreeMap<FamilyRule, u32>,
    /// Whose ports these are, as far as one look says.
    owners: HashMap<u32, Owner>,
    culprits: Culprits,
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
        let mut concerned = false;
        for notice in self.monitor.hear() {
            match notice {
                Notice::Lost => concerned = true,
                Notice::Message { message: RouteNetlinkMessage::NewRule(rule), port, .. } => {
                    concerned = true;
                    self.touched(&rule, true, port);
                }
                Notice::Message { message: RouteNetlinkMessage::DelRule(rule), port, .. } => {
                    concerned = true;
                    self.touched(&rule, false, port);
                }
                Notice::Message { .. } | Notice::NextHop { .. } | Notice::ReversePath { .. } => {}
            }
        }
        if concerned {
            let now = Instant::now();
            let truce = self.fight.as_ref().and_then(|fight| fight.truce(now));
            let at = now + truce.map_or(SETTLE, |truce| truce.max(SETTLE));
            self.read_at = Some(self.read_at.map_or(at, |known| known.min(at)));
            if truce.is_some() {
                self.publish();
            }
        }
    }

    /// Another program made or removed a rule.
    fn touched(&mut self, rule: &RuleMessage, there: bool, port: u32) {
        if !is_ours(rule) {
            return;
        }
        if self.owners.len() < NAMES && !self.owners.contains_key(&port) {
            self.owners.insert(port, self.culprits.look(port));
        }
        let Some(rule) = read(rule).filter(|rule| self.wanted.contains(rule)) else { return };
        if there {
            self.gone.remove(&rule);
        } else {
            self.gone.insert(rule, port);
        }
    }

    /// Compares, and puts right what is not as it should be; `meddled`: by somebody else's doing.
    fn compare(&mut self, meddled: bool) {
        self.read_at = None;
        match reconcile(&mut self.socket, &self.wanted) {
            Ok(outcome) => {
                let (gone, owners) = (std::mem::take(&mut self.gone), std::mem::take(&mut self.owners));
                if meddled && (!outcome.made.is_empty() || outcome.removed > 0) {
                    self.tell(&outcome, &gone, owners);
                }
                self.note(outcome);
            }
            Err(error) => {
                tracing::warn!(%error, "the kernel's rules cannot be read; trying again");
                self.read_at = Some(Instant::now() + RETRY);
            }
        }
    }

    /// Tells what was put right, and who had changed it.
    fn tell(&mut self, outcome: &Outcome, gone: &BTreeMap<FamilyRule, u32>, owners: HashMap<u32, Owner>) {
        let names: HashMap<u32, Arc<str>> =
            owners.into_iter().map(|(port, owner)| (port, self.culprits.name(owner))).collect();
        for rule in &outcome.made {
            let by = gone.get(rule).and_then(|port| names.get(port)).map_or("an unknown program", |name| name);
            tracing::warn!(rule = %rule.rule, %by, "another program removed a rule of Linnet's; it is put back");
        }
        if outcome.removed > 0 {
            let by: Vec<&str> = names.values().map(|name| &**name).collect();
            let by = by.join(", ");
            tracing::warn!(rules = outcome.removed, %by, "rules with Linnet's mark that another program made are removed");
        }
        let now = Instant::now();
        let fight = self.fight.get_or_insert_with(|| Fight::new(now));
        let response = fight.meddled(now);
        names.values().for_each(|name| fight.blame(name));
        if let Response::Leave(truce) = response {
            let why = fight.why(RULES, now).unwrap_or_default();
            tracing::warn!(?truce, %why, "a fight over rules; they are left alone for a while");
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
        self.refused = outcome.refused;
        self.publish();
    }

    /// Says how rules fare.
    fn publish(&self) {
        let fight = self.fight.as_ref().and_then(|fight| fight.why(RULES, Instant::now()));
        let why = |rule: &FamilyRule| {
            let gone = || self.gone.contains_key(rule).then(|| fight.clone()).flatten();
            self.refused.get(rule).cloned().or_else(gone)
        };
        let status = self.wanted.iter().map(|wanted| RuleStatus {
            rule: wanted.rule.clone(),
            v6: wanted.v6,
            error: why(wanted),
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
