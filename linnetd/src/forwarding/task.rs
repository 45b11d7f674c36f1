//! The task that owns the translation: it hears of events, commands and times that have come, one after the other, and brings the
//! kernel to what is desired then.

use std::collections::BTreeSet;
use std::future::pending;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bgp_proto::types::Family;
use bgpd::Bgp;
use fib_sync::{Encapsulation, Fib, FibEvent, Landed, OverlayStatus, Queued, Reach, Submitted};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::yield_now;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::desk::{Aside, Desk};
use super::inbox::{Dues, Inbox, Next};
use super::wanted::Wanted;
use super::{Command, State, log_down, log_up};
use crate::config::{self, Config};
use crate::routes::{Defaults, Local, Neighbour, Routes, Tracking};

/// Best paths of one turn: what is handed over at once, and what lies between two looks at the commands.
const TURN: usize = 16_384;
/// Between two attempts to make the overlay device.
const OVERLAY_RETRY: Duration = Duration::from_secs(5);
/// How long an overlay device that is not wanted any more takes what others send into it, until they have heard of it: an
/// external peer on the way may wait for 30 s (MinRouteAdvertisementIntervalTimer, RFC 4271 section 10), and their kernels
/// take the rest.
const OVERLAY_LINGERS: Duration = Duration::from_secs(40);
/// Between two looks at all the next hops that the speaker was told are out of reach: fib-sync watches those that were asked
/// for last, and most of these were asked for long ago.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// What it keeps.
#[derive(Debug)]
pub(super) struct Task {
    fib: Fib,
    pub(super) state: State,
    publish: watch::Sender<Option<OverlayStatus>>,
    overlay_due: Option<Instant>,
    /// When overlay devices that are not wanted go.
    overlays_retire: Option<Instant>,
    /// Of the device that was the overlay's and stays until then.
    lingering: Option<Encapsulation>,
    /// The last plan, by its number, for as long as the kernel has not answered: while it takes one in, the next is made.
    submitted: Option<(u64, Queued)>,
    /// It waits, and for no answer of the kernel's.
    pub(super) rests: bool,
    /// Who is followed, and told of next hops.
    pub(super) speaker: Option<Bgp>,
    /// How many were followed before, and this one.
    pub(super) speakers: u64,
    /// Events of this one that are handled.
    pub(super) heard: u64,
    /// When to look again at what it was told.
    look_again: Option<Instant>,
    /// Families of which the speaker has not said that routes are complete, and who wants to know when it has of both.
    incomplete: Vec<Family>,
    waiting: Vec<oneshot::Sender<()>>,
    /// Peers that are gone; their routes use backups until the speaker has decided about all that they announced.
    dropped: BTreeSet<Neighbour>,
}

/// Works until the last handle is gone.
pub(super) async fn run(mut task: Box<Task>, mut inbox: Inbox) {
    let mut lost = Arc::new(Notify::new());
    let mut others_first = false;
    loop {
        let dues = task.dues();
        let mut submitted = task.submitted.take();
        task.rests = submitted.is_none();
        inbox.desk.lend(task);
        let next = inbox.next(dues, &mut submitted, std::mem::take(&mut others_first)).await;
        let Some(lent) = inbox.desk.take_back() else { return lost.notify_one() };
        task = lent;
        task.submitted = submitted;
        match next {
            Next::Speaker(Some(event)) => {
                others_first = true;
                task.handle_speaker(event, &mut inbox.decided).await;
                if task.submitted.is_some() {
                    // The engine is next on this worker and goes first: all that is left to do here is to wait.
                    yield_now().await;
                }
            }
            Next::Speaker(None) => {
                (task.speaker, inbox.decided) = (None, None);
                lost.notify_one();
            }
            Next::Command(None) => return,
            Next::Command(Some(Command::Follow(speaker, events, tell))) => {
                (inbox.decided, lost) = (Some(events), tell);
                task.follow(speaker, &inbox.desk);
            }
            Next::Command(Some(Command::Freeze(done))) => {
                (task.speaker, inbox.decided) = (None, None);
                let _ = done.send(());
            }
            Next::Command(Some(Command::Configure(config, done))) => {
                task.configure(&config).await;
                task.land().await;
                task.fib.written().await;
                let _ = done.send(());
            }
            Next::Command(Some(Command::Pods(pods, done))) => {
                task.state.pods = pods;
                task.set_local().await;
                task.settle().await;
                if !task.land().await {
                    task.fib.written().await;
                }
                let _ = done.send(());
            }
            Next::Command(Some(Command::Complete(done))) => task.when_complete(done),
            Next::Command(Some(Command::Ask(question))) => question(&mut task.state),
            Next::Landed(landed) => task.handle_landed(&landed),
            Next::Kernel(event) => task.handle_kernel(event).await,
            Next::LeftOver => task.settle().await,
            Next::TellSpeaker => task.tell_speaker().await,
            Next::LookAgain => task.look_again().await,
            Next::MakeOverlay => {
                task.make_overlay().await;
                task.settle().await;
            }
            Next::RetireOverlays => task.retire_overlays().await,
            Next::Nothing => {}
        }
    }
}

impl Task {
    /// Makes the overlay device and this host's own routes.
    pub(super) async fn new(fib: Fib, publish: watch::Sender<Option<OverlayStatus>>, config: &Config) -> Box<Self> {
        let wanted = Wanted::new(config);
        let state = State {
            routes: Routes::new(wanted.settings(None, None)),
            overlay_error: None,
            unswept: if fib.adopted() > 0 { Family::ALL.to_vec() } else { Vec::new() },
            tracking: Tracking::default(),
            blocks: Vec::new(),
            pods: Vec::new(),
            wanted,
        };
        let mut task = Self {
            fib,
            state,
            publish,
            overlay_due: None,
            overlays_retire: None,
            lingering: None,
            submitted: None,
            rests: false,
            speaker: None,
            speakers: 0,
            heard: 0,
            look_again: None,
            incomplete: Family::ALL.to_vec(),
            waiting: Vec::new(),
            dropped: BTreeSet::new(),
        };
        task.configure(config).await;
        Box::new(task)
    }

    fn dues(&self) -> Dues {
        Dues {
            tell_speaker: self.state.tracking.due().map(Instant::from_std),
            look_again: self.look_again,
            make_overlay: self.overlay_due,
            retire_overlays: self.overlays_retire,
        }
    }

    fn when_complete(&mut self, done: oneshot::Sender<()>) {
        self.waiting.push(done);
        self.tell_complete();
    }

    fn tell_complete(&mut self) {
        if self.incomplete.is_empty() {
            for done in self.waiting.drain(..) {
                // Who does not wait any more need not hear.
                let _ = done.send(());
            }
        }
    }

    fn follow(&mut self, speaker: Bgp, desk: &Arc<Desk>) {
        self.speakers += 1;
        self.heard = 0;
        speaker.forward_by(Arc::new(Aside::new(Arc::clone(desk), self.fib.clone(), self.speakers)));
        self.speaker = Some(speaker);
    }

    /// Takes this event and those of its kind that wait behind it.
    async fn handle_speaker(&mut self, first: bgpd::Event, more: &mut Option<mpsc::Receiver<bgpd::Event>>) {
        let mut taken = 0;
        let mut event = Some(first);
        while let Some(current) = event.take() {
            self.heard += 1;
            match current {
                bgpd::Event::Best(changes) => {
                    taken += changes.len();
                    self.state.routes.take_in(&changes);
                }
                bgpd::Event::Converged(family) => {
                    // A speaker that was started anew does not say so of those that the last one dropped.
                    self.forget_dropped();
                    self.settle().await;
                    self.fib.sweep(family == Family::Ipv6Unicast).await;
                    self.state.unswept.retain(|unswept| *unswept != family);
                    self.incomplete.retain(|incomplete| *incomplete != family);
                    self.tell_complete();
                    info!(%family, "routes are complete; what an earlier run left and nobody wants goes");
                }
                bgpd::Event::Up { peer } => log_up(&peer),
                bgpd::Event::Down { peer, reason } => log_down(&peer, &reason),
                bgpd::Event::Dropped { next_hop, link } => {
                    self.dropped.insert((next_hop, link));
                    self.use_backups();
                    // At once: this is the failover.
                    taken = TURN;
                }
                bgpd::Event::Decided => self.forget_dropped(),
            }
            if taken < TURN {
                event = more.as_mut().and_then(|events| events.try_recv().ok());
            }
        }
        self.settle().await;
    }

    async fn handle_kernel(&mut self, event: FibEvent) {
        match event {
            FibEvent::ReachChanged(answers) => {
                self.handle_reach(answers);
                // It looks for other paths while the kernel is told what there is without them.
                self.tell_speaker().await;
                self.settle().await;
            }
            FibEvent::Repaired { prefix, what } => {
                // fib-sync has said so to whoever reads the log.
                debug!(%prefix, %what, "somebody changed a route of Linnet's; it is put back")
            }
            FibEvent::Resynced => info!("the kernel's messages were lost and its routes read again"),
            FibEvent::OverlayChanged(status) => {
                // One that only waits for its end is nobody's to send into.
                if self.state.wanted.is_any() {
                    info!(device = status.device, mtu = status.mtu, "the overlay device has changed");
                    self.state.overlay_error = None;
                    self.publish.send_replace(Some(status));
                    self.apply_settings();
                    self.settle().await;
                }
            }
            FibEvent::OverlayLost { error } => {
                debug!(%error, "the overlay device is lost");
                // That may be older than what is wanted now: what counts is the answer to asking for it again.
                if self.state.wanted.is_any() {
                    self.make_overlay().await;
                    self.settle().await;
                }
            }
        }
    }

    async fn configure(&mut self, config: &Config) {
        self.state.blocks.clone_from(&config.node.pod_cidrs);
        let config::Fib { source, source6, mtu, .. } = config.fib;
        self.state.routes.set_defaults(Defaults { source, source6, mtu });
        self.state.wanted = Wanted::new(config);
        self.set_local().await;
        // A device comes before the routes through it; it goes behind them, those of others too.
        if self.state.wanted.is_any() {
            self.make_overlay().await;
        } else {
            self.leave_overlay();
        }
        self.settle().await;
        self.overlays_retire = Some(Instant::now() + OVERLAY_LINGERS);
    }

    /// Sends nothing into the overlay any more and announces none; the device stays for what others send.
    fn leave_overlay(&mut self) {
        self.overlay_due = None;
        self.state.overlay_error = None;
        let mut left = None;
        self.publish.send_if_modified(|current| {
            left = current.take();
            left.is_some()
        });
        self.lingering = left.map(|device| device.encapsulation).or(self.lingering);
        self.apply_settings();
    }

    /// Removes the devices that are not wanted; by now nobody sends into them.
    async fn retire_overlays(&mut self) {
        self.overlays_retire = None;
        if self.state.wanted.is_any() {
            self.fib.retire_overlays().await;
        } else if let Err(error) = self.fib.overlay(None).await {
            warn!(%error, "the overlay device cannot be removed; it is tried again");
            self.overlays_retire = Some(Instant::now() + OVERLAY_RETRY);
        } else {
            self.lingering = None;
            self.apply_settings();
            self.settle().await;
        }
    }

    async fn make_overlay(&mut self) {
        (self.overlay_due, self.lingering) = (None, None);
        let made = match self.state.wanted.spec() {
            Ok(spec) => self.fib.overlay(spec).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match made {
            Ok(status) => {
                if self.state.overlay_error.take().is_some() {
                    info!("the overlay device is there now");
                }
                self.publish.send_if_modified(|current| {
                    let changed = *current != status;
                    *current = status;
                    changed
                });
            }
            Err(error) => {
                if self.state.overlay_error.as_ref() != Some(&error) {
                    warn!(%error, "there is no overlay; hosts without L2 adjacency are reached by routers only; it is tried again");
                }
                self.state.overlay_error = Some(error);
                self.publish.send_if_modified(|current| current.take().is_some());
                self.overlay_due = Some(Instant::now() + OVERLAY_RETRY);
            }
        }
        self.apply_settings();
    }

    fn apply_settings(&mut self) {
        let device = self.publish.borrow().as_ref().map(|device| device.encapsulation);
        self.state.routes.set_settings(self.state.wanted.settings(device, self.lingering));
    }

    /// Says what this host has of its own.
    async fn set_local(&mut self) {
        // The engine's book has to be the whole truth when it is asked.
        self.settle().await;
        let local = Local::new(&self.state.blocks, self.state.pods.iter().cloned());
        let asked = self.state.routes.not_local(&local);
        let chosen = self.fib.wanted(asked.iter().map(|prefix| (*prefix).into()).collect()).await;
        let chosen = asked.into_iter().zip(chosen).filter_map(|(prefix, path)| Some((prefix, path?))).collect();
        self.state.routes.set_local(local, &chosen);
    }

    fn use_backups(&mut self) {
        self.state.routes.set_dropped(self.dropped.clone());
    }

    fn forget_dropped(&mut self) {
        self.dropped.clear();
        self.use_backups();
    }

    fn handle_reach(&mut self, answers: Vec<(IpAddr, Reach)>) {
        let now = Instant::now().into_std();
        answers.iter().for_each(|(next_hop, reach)| self.state.tracking.hear(*next_hop, reach, now));
        self.state.routes.handle_reach(answers);
    }

    /// Tells the speaker which next hops are out of reach, and which no longer are (RFC 4271 section 9.1.2.1).
    async fn tell_speaker(&mut self) {
        let Some(speaker) = &self.speaker else { return };
        let news = self.state.tracking.news(Instant::now().into_std());
        if !news.is_empty() {
            for (next_hop, unreachable) in &news {
                let what = if *unreachable { "is out of reach; paths by it are not used" } else { "is back in reach" };
                debug!(%next_hop, "a next hop {what}");
            }
            speaker.set_unreachable(news).await;
        }
        if self.look_again.is_none() && self.state.tracking.told().next().is_some() {
            self.look_again = Some(Instant::now() + LOOK_AGAIN);
        }
    }

    /// Asks again for the next hops that the speaker was told are out of reach, which keeps them watched, and lets go of those
    /// that no path has any more, if there are many.
    async fn look_again(&mut self) {
        self.look_again = None;
        if let Some(speaker) = &self.speaker
            && self.state.tracking.is_crowded()
        {
            self.state.tracking.forget(&speaker.forget_unreachable().await);
            self.state.routes.forget_unused_reach();
            // A path that came meanwhile may have one of them, and there may have been no room for others.
            let now = Instant::now().into_std();
            self.state
                .routes
                .known_reach()
                .for_each(|(next_hop, reach)| self.state.tracking.hear(next_hop, reach, now));
        }
        let told: Vec<IpAddr> = self.state.tracking.told().collect();
        let answers = self.fib.reach(told.clone()).await;
        self.handle_reach(told.into_iter().zip(answers).collect());
        self.tell_speaker().await;
        self.settle().await;
    }

    /// Brings the kernel to what is desired now: submits it, and waits only for what was submitted before.
    async fn settle(&mut self) {
        let unknown = self.state.routes.unknown();
        if !unknown.is_empty() {
            let answers = self.fib.reach(unknown.clone()).await;
            self.handle_reach(unknown.into_iter().zip(answers).collect());
            self.tell_speaker().await;
        }
        let (plan, changes) = self.state.routes.plan();
        if !changes.is_empty() {
            self.land().await;
            match self.fib.submit(changes).await {
                Submitted::Landed(landed) => self.state.routes.handle_unused(plan, &landed.unused),
                Submitted::Queued(queued) => self.submitted = Some((plan, queued)),
            }
        }
    }

    /// Waits until the engine has taken in what was submitted. Returns whether the kernel has answered, too.
    async fn land(&mut self) -> bool {
        if self.submitted.is_none() {
            return true;
        }
        let landed = landed(&mut self.submitted).await;
        self.handle_landed(&landed);
        landed.written
    }

    fn handle_landed(&mut self, landed: &Landed) {
        if let Some((plan, _)) = self.submitted.take() {
            self.state.routes.handle_unused(plan, &landed.unused);
        }
    }
}

/// What became of the last plan. May be dropped and called again.
pub(super) async fn landed(submitted: &mut Option<(u64, Queued)>) -> Landed {
    match submitted {
        Some((_, queued)) => queued.landed().await,
        None => pending().await,
    }
}
