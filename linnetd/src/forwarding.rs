//! Keeps the kernel's forwarding at what BGP and this host say: events in, changes to [`fib_sync`] out, in order.
//!
//! One task owns the translation ([`Routes`]), and nobody else changes it while that task works, so that no two writers race
//! for a route (`forwarding/task.rs`). Many at once wait in the engine's backlog for the kernel, each prefix once, and a few go past
//! them. While the task waits, it lets a single change be made by whoever brings it (`forwarding/desk.rs`). Here is what others have of it.

mod desk;
mod inbox;
mod task;
mod wanted;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use bgp_proto::rib::BestPath;
use bgp_proto::types::{Family, Prefix};
use bgpd::Bgp;
use fib_sync::{Fib, FibConfig, FibEvent, OverlayStatus};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::{info, warn};

use self::inbox::Inbox;
use self::task::{Task, run};
use self::wanted::Wanted;
use crate::config::{self, Config};
use crate::routes::{Routes, Tracking, Verdict, Way};

/// What no host has, so that nothing but a default route leads there: addresses of documentation (RFC 5737, RFC 3849).
const FAR_AWAY: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];

/// Where routes go, and how.
pub(crate) fn fib_config(config: &Config) -> FibConfig {
    let fib = &config.fib;
    FibConfig { table: fib.table, metric: fib.metric, next_hop_objects: fib.next_hop_objects }
}

/// What is looked up in Linnet's table.
pub(crate) fn fib_rules(config: &Config) -> Vec<fib_sync::Rule> {
    let rule = |rule: &config::FibRule| fib_sync::Rule {
        priority: rule.priority,
        from: rule.from.map(Into::into),
        to: rule.to.map(Into::into),
        iif: rule.iif.map(|device| device.to_string()),
        fwmark: rule.fwmark,
        table: config.fib.table,
    };
    config.fib.rules.iter().map(rule).collect()
}

/// What the task keeps.
#[derive(Debug)]
pub struct State {
    /// The translation.
    pub routes: Routes,
    /// Why there is no overlay device though there should be one.
    pub overlay_error: Option<String>,
    /// Families of which routes of an earlier run may still wait to be confirmed.
    pub unswept: Vec<Family>,
    /// What the speaker is told of next hops.
    tracking: Tracking,
    blocks: Vec<Prefix>,
    pods: Vec<(IpAddr, String)>,
    wanted: Wanted,
}

impl State {
    /// Paths of a prefix of which BGP uses none, because no next hop is in reach: each way, and why it leads nowhere.
    #[must_use]
    pub fn unresolved(&self, prefix: Prefix, paths: &[BestPath]) -> Vec<(Way, String)> {
        let now = Instant::now().into_std();
        let why = |(way, verdict): (Way, Verdict)| {
            let reason = match verdict.hop {
                Some(_) => {
                    self.tracking.why_waiting(way.next_hop, now).unwrap_or("it is about to be used again".into())
                }
                None => verdict.reason,
            };
            (way, reason)
        };
        self.routes.judge_unused(prefix, paths).into_iter().map(why).collect()
    }
}

type Question = Box<dyn FnOnce(&mut State) + Send>;

enum Command {
    Follow(Bgp, mpsc::Receiver<bgpd::Event>, Arc<Notify>),
    Freeze(oneshot::Sender<()>),
    Configure(Box<Config>, oneshot::Sender<()>),
    Pods(Vec<(IpAddr, String)>, oneshot::Sender<()>),
    Complete(oneshot::Sender<()>),
    Ask(Question),
}

/// A handle to the task; it ends with the last of them.
#[derive(Clone, Debug)]
pub struct Forwarding {
    commands: mpsc::Sender<Command>,
    overlay: watch::Receiver<Option<OverlayStatus>>,
    fib: Fib,
}

impl Forwarding {
    /// Makes the overlay device and this host's own routes. No routes of BGP come before [`Forwarding::follow`].
    pub async fn start(fib: Fib, events: mpsc::Receiver<FibEvent>, config: &Config) -> Self {
        let (forwarding, task, inbox) = Self::prepare(fib, events, config).await;
        tokio::spawn(run(task, inbox));
        forwarding
    }

    /// All but the start.
    async fn prepare(fib: Fib, events: mpsc::Receiver<FibEvent>, config: &Config) -> (Self, Box<Task>, Inbox) {
        let (commands, received) = mpsc::channel(64);
        let (publish, overlay) = watch::channel(None);
        let task = Task::new(fib.clone(), publish, config).await;
        let inbox = Inbox { commands: received, kernel: events, decided: None, desk: Arc::default() };
        (Self { commands, overlay, fib }, task, inbox)
    }

    /// The engine below.
    #[must_use]
    pub fn fib(&self) -> &Fib {
        &self.fib
    }

    /// The overlay device as it is now and becomes.
    #[must_use]
    pub fn overlay(&self) -> watch::Receiver<Option<OverlayStatus>> {
        self.overlay.clone()
    }

    /// Installs what the speaker decides from now on, and tells it which next hops the kernel cannot reach. `lost` is
    /// notified if the speaker ends before [`Forwarding::freeze`].
    pub async fn follow(&self, speaker: Bgp, events: mpsc::Receiver<bgpd::Event>, lost: Arc<Notify>) {
        // A closed channel means that the program is ending.
        let _ = self.commands.send(Command::Follow(speaker, events, lost)).await;
    }

    /// Waits until routes of both families are complete, and in the kernel. `false`: the program is ending.
    pub async fn complete(&self) -> bool {
        let (done, answered) = oneshot::channel();
        let asked = self.commands.send(Command::Complete(done)).await.is_ok();
        let complete = asked && answered.await.is_ok();
        self.fib.written().await;
        complete
    }

    /// Follows the speaker no more: what its ending sessions withdraw stays in the kernel.
    pub async fn freeze(&self) {
        self.wait(Command::Freeze).await;
    }

    /// Applies a changed configuration; returns when the kernel has answered.
    pub async fn configure(&self, config: &Config) {
        self.wait(|done| Command::Configure(Box::new(config.clone()), done)).await;
    }

    /// The whole set of pods' addresses with their devices; returns when the kernel has answered.
    pub async fn set_pods(&self, pods: Vec<(IpAddr, String)>) {
        self.wait(|done| Command::Pods(pods, done)).await;
    }

    async fn wait(&self, command: impl FnOnce(oneshot::Sender<()>) -> Command) {
        let (done, answered) = oneshot::channel();
        if self.commands.send(command(done)).await.is_ok() {
            let _ = answered.await;
        }
    }

    /// Looks at the task's state. `None`: the program is ending.
    pub async fn ask<T: Send + 'static>(&self, question: impl FnOnce(&mut State) -> T + Send + 'static) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let question: Question = Box::new(move |state| {
            let _ = answer.send(question(state));
        });
        self.commands.send(Command::Ask(question)).await.ok()?;
        answered.await.ok()
    }

    /// The largest packet that a pod may send, in octets: the overlay's, where it may be used, else the underlay's.
    pub async fn pod_mtu(&self) -> u32 {
        let overlay = self.overlay.borrow().as_ref().map(|device| device.mtu);
        match overlay {
            Some(mtu) => mtu,
            None => self.underlay_mtu().await,
        }
    }

    /// The smallest MTU of the default routes; Ethernet's where there is none.
    async fn underlay_mtu(&self) -> u32 {
        let mut smallest = None;
        for far_away in FAR_AWAY {
            let answer = self.fib.get(far_away).await;
            let mtu = answer.ok().and_then(|answer| answer.mtu).filter(|mtu| (576..=65535).contains(mtu));
            smallest = smallest.into_iter().chain(mtu).min();
        }
        smallest.unwrap_or(1500)
    }
}

/// Follows a speaker without programming anything (`fib.install = false`).
///
/// `lost` is notified when the speaker ends.
pub async fn only_log(mut events: mpsc::Receiver<bgpd::Event>, lost: Arc<Notify>) {
    while let Some(event) = events.recv().await {
        match event {
            bgpd::Event::Best(_) | bgpd::Event::Dropped { .. } | bgpd::Event::Decided => {}
            bgpd::Event::Converged(family) => info!(%family, "routes are complete"),
            bgpd::Event::Up { peer } => log_up(&peer),
            bgpd::Event::Down { peer, reason } => log_down(&peer, &reason),
        }
    }
    lost.notify_one();
}

fn log_up(peer: &str) {
    info!(peer, "the session is up");
}

fn log_down(peer: &str, reason: &str) {
    warn!(peer, reason, "the session is down");
}
