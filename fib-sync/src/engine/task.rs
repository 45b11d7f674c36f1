//! The engine's task, and the way past it.
//!
//! The engine stands behind a lock that is held while it works and never while anybody waits. Its task works off commands,
//! notices and timers. A few changes that find neither the engine at work nor others in the queue are written by whoever
//! submits them: after a rest, to hand a change over and to switch tasks costs a twentieth of its way into the kernel, for
//! nothing but what these touch first.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::{Notify, mpsc},
};

use super::{Chores, Command, Engine, FEW};
use crate::{Change, Landed, netlink::Bell};

/// The engine, as its task and whoever submits changes share it.
#[derive(Debug)]
pub(crate) struct Desk {
    engine: Mutex<Engine>,
    /// Batches in the queue or being worked off.
    queued: Arc<AtomicUsize>,
    /// What was done past the task left something for it.
    left_over: Notify,
}

/// The place of a batch in the queue, until it is worked off or dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

impl Desk {
    fn new(engine: Engine) -> Desk {
        Desk { engine: Mutex::new(engine), queued: Arc::default(), left_over: Notify::new() }
    }

    /// Writes a few changes here and now. `Err`: they have to queue.
    pub(crate) fn change(&self, changes: Vec<Change>) -> Result<Landed, Vec<Change>> {
        match self.at_rest() {
            Some(engine) if changes.len() <= FEW => Ok(engine.change(changes)),
            Some(_) | None => Err(changes),
        }
    }

    /// The engine, if it is not at work and no batch is in the queue: what was submitted before goes before.
    pub(crate) fn at_rest(&self) -> Option<AtRest<'_>> {
        if self.queued.load(Ordering::Acquire) > 0 {
            return None;
        }
        Some(AtRest { engine: self.engine.try_lock().ok()?, left_over: &self.left_over })
    }

    /// For a batch that queues.
    pub(crate) fn place(&self) -> Place {
        self.queued.fetch_add(1, Ordering::Relaxed);
        Place(Arc::clone(&self.queued))
    }
}

/// An engine that was at rest, and now waits for whoever has this.
#[derive(Debug)]
pub struct AtRest<'a> {
    engine: MutexGuard<'a, Engine>,
    left_over: &'a Notify,
}

impl AtRest<'_> {
    /// Writes a few changes here and now; many wait in the engine's book, as those of [`crate::Fib::submit`].
    pub fn change(mut self, changes: Vec<Change>) -> Landed {
        let landed = self.engine.land(changes);
        if self.engine.has_left_over() {
            self.left_over.notify_one();
        }
        landed
    }
}

/// Starts the task, in the runtime of the caller.
pub(super) fn spawn(engine: Engine, commands: mpsc::Receiver<Command>) -> Arc<Desk> {
    let bell = engine.monitor.bell();
    let desk = Arc::new(Desk::new(engine));
    let threads = Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread;
    let task = Task { desk: Arc::clone(&desk), bell, threads };
    // Whoever asks an engine that has panicked finds the queue closed.
    tokio::spawn(async move { task.run(commands).await.unwrap_or_default() });
    desk
}

/// What the task keeps for itself.
struct Task {
    desk: Arc<Desk>,
    bell: Bell,
    /// The runtime has other threads, which can take over from ours.
    threads: bool,
}

/// Somebody panicked in the middle of the engine's work: nobody knows what its book is worth.
#[derive(Debug)]
struct Broken;

impl Task {
    async fn run(self, mut commands: mpsc::Receiver<Command>) -> Result<(), Broken> {
        // Armed anew only when it must ring earlier than it would.
        let mut timer = Box::pin(tokio::time::sleep(Duration::ZERO));
        // A command had its turn, so that now notices have one.
        let mut notices_first = false;
        loop {
            // Nobody is left to say what is wanted: what another engine writes from now on is not for this one to judge.
            if commands.is_closed() && commands.is_empty() {
                return Ok(());
            }
            let is_behind = self.work(false, |engine| {
                let wake = engine.wake().into();
                if timer.is_elapsed() || wake < timer.deadline() {
                    timer.as_mut().reset(wake);
                }
                engine.rings = timer.deadline().into();
                !engine.backlog.is_empty()
            })?;
            let passed_over = std::mem::take(&mut notices_first);
            tokio::select! {
                biased;
                // Commands are first, which wait for nothing; but a flood of them must not keep notices waiting.
                command = commands.recv(), if !passed_over => match command {
                    Some(command) => {
                        notices_first = true;
                        let long = !matches!(&command, Command::Change(changes, ..) if changes.len() <= FEW);
                        self.work(long, |engine| engine.obey(command))?;
                    }
                    None => return Ok(()),
                },
                () = self.bell.ready() => self.work(true, Engine::heard)?,
                () = &mut timer => {}
                () = self.desk.left_over.notified() => {}
                () = std::future::ready(()), if passed_over || is_behind => {}
            }
            let now = Instant::now();
            match self.work(false, |engine| engine.chores(now))? {
                Chores::None => {}
                chores => self.work(chores == Chores::Many, |engine| engine.do_chores(now))?,
            }
            if is_behind {
                // Whoever has only this thread has a turn, too.
                tokio::task::yield_now().await;
            }
        }
    }

    /// Works. What may be `long` does not keep this worker's other tasks waiting.
    fn work<T>(&self, long: bool, work: impl FnOnce(&mut Engine) -> T) -> Result<T, Broken> {
        let work = || Ok(work(&mut *self.desk.engine.lock().map_err(|_| Broken)?));
        if long && self.threads { tokio::task::block_in_place(work) } else { work() }
    }
}
