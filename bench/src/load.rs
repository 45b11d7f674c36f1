//! All peers of the daemon in one thread: one poll, one clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mio::{Events, Poll, Token};

use crate::interrupt::Interrupt;
use crate::peer::{Identity, Peer};
use crate::scenario::peer_address4;
use crate::tally::Tally;
use crate::workload::Workload;

/// How long all sessions together may take until they are Established.
const ALL_UP_WITHIN: Duration = Duration::from_secs(90);
/// With no UPDATE for this long, a daemon has said all it has to say.
const QUIET: Duration = Duration::from_millis(500);
/// Sessions that are made at the same time: more would overrun the short listen queues of some daemons, and what is
/// measured then is the kernel's back-off.
const AT_ONCE: usize = 32;
/// Octets of the buffer that reads share.
const BUFFER: usize = 1 << 18;
/// How long one change may take before it counts as lost.
const CHANGE_WITHIN: Duration = Duration::from_secs(5);
/// How long all changes together may take; a slow daemon gets fewer.
const CHANGES_WITHIN: Duration = Duration::from_secs(25);

/// All peers.
#[derive(Debug)]
pub(crate) struct Load<'a> {
    workload: &'a Workload,
    interrupt: &'a Interrupt,
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    peers: Vec<Peer>,
    /// Why a session ended since this was last looked at.
    ended: Option<String>,
}

/// What came of sending every table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivery {
    /// Until the first UPDATE came back.
    pub(crate) first: Duration,
    /// Until the last receiver was complete.
    pub(crate) complete: Duration,
    /// Until the last UPDATE to anybody.
    pub(crate) quiet: Duration,
    /// Until the last octet was sent.
    pub(crate) sent: Duration,
    /// UPDATEs that the receivers got.
    pub(crate) updates: u64,
    /// Prefixes announced to the receivers.
    pub(crate) announced: u64,
    /// Prefixes withdrawn from the receivers.
    pub(crate) withdrawn: u64,
}

/// How long single changes took to arrive, in the order in which they were made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    /// Withdrawals.
    pub(crate) withdrawals: Vec<Duration>,
    /// Announcements.
    pub(crate) announcements: Vec<Duration>,
    /// Changes that did not arrive in time.
    pub(crate) lost: usize,
}

impl<'a> Load<'a> {
    /// The peers of a scenario, none of them connected. The calling thread must be in their network namespace.
    pub(crate) fn new(workload: &'a Workload, interrupt: &'a Interrupt) -> Result<Self> {
        let scenario = &workload.scenario;
        let peers = (0..scenario.peers()).map(|peer| {
            let (address, asn) = (scenario.peer_address(peer), scenario.peer_as(peer));
            let identity = Identity { address, asn, identifier: peer_address4(peer) };
            Peer::new(identity, scenario.receives(peer).then(|| Tally::new(workload, peer)))
        });
        Ok(Self {
            workload,
            interrupt,
            poll: Poll::new().context("epoll")?,
            events: Events::with_capacity(1024),
            buffer: vec![0; BUFFER],
            peers: peers.collect(),
            ended: None,
        })
    }

    /// Connects until every session is Established, and has been for `settle`. Returns how long they took.
    pub(crate) fn establish(&mut self, settle: Duration) -> Result<Duration> {
        let started = Instant::now();
        let mut up_after = None;
        loop {
            let up = self.peers.iter().filter(|peer| peer.is_up()).count();
            if up == self.peers.len() {
                let took = *up_after.get_or_insert_with(|| started.elapsed());
                self.turn_for(settle)?;
                // A daemon may close some yet, when two connections of a peer collide.
                if self.peers.iter().all(Peer::is_up) {
                    self.ended = None;
                    return Ok(took);
                }
            }
            if started.elapsed() > ALL_UP_WITHIN {
                let why = self.ended.take().unwrap_or_else(|| "nobody said why".to_owned());
                bail!("only {up} of {} sessions came up in {} s: {why}", self.peers.len(), ALL_UP_WITHIN.as_secs());
            }
            self.turn(Duration::from_millis(10))?;
        }
    }

    /// Sends every table and waits until every receiver is complete and nothing more comes.
    pub(crate) fn deliver(&mut self, timeout: Duration) -> Result<Delivery> {
        let started = Instant::now();
        self.send_tables();
        let mut sent = None;
        loop {
            self.turn(Duration::from_millis(10))?;
            self.check_sessions()?;
            let now = Instant::now();
            if sent.is_none() && self.peers.iter().all(Peer::has_sent_all) {
                sent = Some(now);
            }
            let complete = self.tallies().all(Tally::is_complete);
            if complete && let Some(sent) = sent {
                let last = self.peers.iter().filter_map(|peer| peer.last_update).max().unwrap_or(sent);
                if now - last.max(sent) > QUIET {
                    return self.delivery(started, sent, last).context("no receiver became complete");
                }
            }
            if now - started > timeout {
                let behind = self.tallies().filter(|tally| !tally.is_complete()).count();
                let least = self.tallies().map(|tally| (tally.count, tally.target)).min().unwrap_or_default();
                bail!(
                    "after {} s {behind} receivers are incomplete; the one that is furthest behind has {} of {}",
                    timeout.as_secs(),
                    least.0,
                    least.1
                );
            }
        }
    }

    /// Sends every table, and waits for nothing.
    pub(crate) fn send_tables(&mut self) {
        for (peer, feed) in self.workload.feeds.iter().enumerate() {
            self.send(peer, Arc::clone(feed));
        }
    }

    /// Closes a session for good, without a word.
    pub(crate) fn close(&mut self, peer: usize) {
        self.peers[peer].close();
    }

    fn delivery(&self, started: Instant, sent: Instant, last: Instant) -> Option<Delivery> {
        let sum = |of: fn(&Tally) -> u64| self.tallies().map(of).sum();
        Some(Delivery {
            first: self.tallies().filter_map(|tally| tally.first).min()? - started,
            complete: self.tallies().filter_map(|tally| tally.complete).max()? - started,
            quiet: last - started,
            sent: sent - started,
            updates: sum(|tally| tally.updates),
            announced: sum(|tally| tally.announced),
            withdrawn: sum(|tally| tally.withdrawn),
        })
    }

    /// Withdraws and announces again single prefixes of the first sender, the next only when the last has arrived at the
    /// first receiver.
    pub(crate) fn change_one_by_one(&mut self, count: usize) -> Result<Changes> {
        let mut changes = Changes::default();
        let started = Instant::now();
        let total = self.workload.scenario.prefixes_each;
        for turn in 0..count {
            let number = (turn * 6_151 + 17) % total; // a prime, so that the whole table is walked
            for (announce, bytes) in
                [(false, self.workload.withdrawal(number)), (true, self.workload.announcement(number))]
            {
                let sent = Instant::now();
                self.send(0, bytes.into());
                match self.wait_for(number, announce, sent)? {
                    Some(took) if announce => changes.announcements.push(took),
                    Some(took) => changes.withdrawals.push(took),
                    None => changes.lost += 1,
                }
                self.turn_for(self.workload.scenario.gap)?;
            }
            if started.elapsed() > CHANGES_WITHIN {
                break;
            }
        }
        Ok(changes)
    }

    fn wait_for(&mut self, number: usize, announced: bool, sent: Instant) -> Result<Option<Duration>> {
        while sent.elapsed() < CHANGE_WITHIN {
            self.turn(Duration::from_millis(10))?;
            self.check_sessions()?;
            let arrived = self.tallies().next().is_some_and(|tally| tally.is_right(number) == announced);
            if arrived {
                let first = self.peers.iter().find(|peer| peer.tally.is_some()).and_then(|peer| peer.last_update);
                return Ok(first.map(|at| at - sent));
            }
        }
        Ok(None)
    }

    fn tallies(&self) -> impl Iterator<Item = &Tally> {
        self.peers.iter().filter_map(|peer| peer.tally.as_ref())
    }

    /// Sends one session's peer whole messages.
    pub(crate) fn send(&mut self, peer: usize, bytes: Arc<[u8]>) {
        if let Err(ended) = self.peers[peer].send(bytes) {
            self.ended = Some(format!("session {peer}: {}", ended.0));
        }
    }

    /// An error once a session has ended.
    pub(crate) fn check_sessions(&mut self) -> Result<()> {
        if let Some(why) = self.ended.take() {
            bail!("a session ended: {why}");
        }
        ensure!(self.peers.iter().all(Peer::is_up), "a session ended");
        Ok(())
    }

    /// Turns for `time`.
    pub(crate) fn turn_for(&mut self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            self.turn(left.min(Duration::from_millis(50)))?;
        }
    }

    /// One turn: waits for events, at most `time`, and sees to them.
    fn turn(&mut self, time: Duration) -> Result<()> {
        self.interrupt.check()?;
        let now = Instant::now();
        let mut underway = self.peers.iter().filter(|peer| peer.is_connecting()).count();
        for (number, peer) in self.peers.iter_mut().enumerate() {
            if peer.is_down() {
                if underway >= AT_ONCE {
                    continue;
                }
                underway += 1;
            }
            let daemon = self.workload.scenario.local_address(number);
            if let Err(ended) = peer.tick(now, daemon, self.poll.registry(), Token(number)) {
                self.ended = Some(format!("session {number}: {}", ended.0));
            }
        }
        match self.poll.poll(&mut self.events, Some(time)) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return Ok(()),
            other => other.context("epoll")?,
        }
        for event in &self.events {
            let Token(number) = event.token();
            let peer = &mut self.peers[number];
            let mut done = Ok(());
            if event.is_writable() {
                done = peer.writable();
            }
            if done.is_ok() && event.is_readable() {
                done = peer.readable(self.workload, &mut self.buffer);
            }
            if let Err(ended) = done {
                self.ended = Some(format!("session {number}: {}", ended.0));
            }
        }
        Ok(())
    }
}
