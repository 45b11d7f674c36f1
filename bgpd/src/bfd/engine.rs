//! What BFD's thread runs: sessions, their sockets, and who is told of them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Duration;

use bgp_proto::bfd::{Cause, Change, Hops, Output, Received, Sessions, State, Target};
use bgp_proto::time::Instant;
use tokio::io::Interest;
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;

use super::complaints::Complaints;
use super::interfaces;
use super::socket::{self, BUFFER, Door};
use super::{BfdReport, BfdStatus, Command, Settings, Teller, Way, place};
use crate::clock::{self, Clock};

/// Datagrams that one socket's task takes before others have their turn.
const BATCH: usize = 64;
/// When to try again what the kernel refused, and to look again which peers are on a link.
const AGAIN: Duration = Duration::from_secs(5);
/// A last word that is lost costs the peer's BGP session: it is said twice, this far apart.
const LAST_WORD: Duration = Duration::from_millis(20);

/// Runs until told to stop, or until nobody is left who could.
pub(super) async fn run(clock: Clock, mut commands: mpsc::UnboundedReceiver<Command>) {
    let engine = Rc::new(RefCell::new(Engine::new(clock)));
    loop {
        let (timeout, again, moved) = {
            let engine = engine.borrow();
            (engine.sessions.poll_timeout(), engine.again, Rc::clone(&engine.moved))
        };
        let ring = async |at: Option<Instant>| match at {
            Some(at) => tokio::time::sleep_until(clock.deadline(at)).await,
            None => std::future::pending().await,
        };
        tokio::select! {
            biased;
            () = ring(timeout) => engine.borrow_mut().ring(),
            command = commands.recv() => match command {
                Some(Command::Stop(answer)) => {
                    stop(&engine).await;
                    let _ = answer.send(());
                    return;
                }
                Some(command) => Engine::take(&engine, command),
                None => return stop(&engine).await,
            },
            // A datagram has moved the next deadline.
            () = moved.notified() => {}
            () = ring(again) => Engine::try_again(&engine),
        }
    }
}

async fn stop(engine: &Rc<RefCell<Engine>>) {
    let words = engine.borrow_mut().last_words();
    if !words.is_empty() {
        tokio::time::sleep(LAST_WORD).await;
        let engine = engine.borrow();
        for (target, single_hop, octets) in words {
            if let Some(Peer { sender: Some(sender), .. }) = engine.peers.get(&target) {
                let _ = sender.send_to(&octets, socket::destination(target, single_hop));
            }
        }
    }
}

type Word = (Target, bool, [u8; bgp_proto::bfd::packet::LEN]);

struct Peer {
    settings: Settings,
    teller: Teller,
    hops: Hops,
    sender: Option<UdpSocket>,
    /// Why it cannot send.
    problem: Option<String>,
    /// When it came up or went down.
    since: Instant,
    last_down: Option<Cause>,
}

struct Listening {
    task: AbortHandle,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Engine {
    clock: Clock,
    sessions: Sessions,
    peers: HashMap<Target, Peer>,
    doors: BTreeMap<Door, Listening>,
    /// Why some could not be opened.
    closed: BTreeMap<Door, String>,
    complaints: Complaints,
    /// The deadline of `sessions` may have moved.
    moved: Rc<Notify>,
    again: Option<Instant>,
}

impl Engine {
    fn new(clock: Clock) -> Self {
        Self {
            clock,
            sessions: Sessions::new(clock::seed()),
            peers: HashMap::new(),
            doors: BTreeMap::new(),
            closed: BTreeMap::new(),
            complaints: Complaints::default(),
            moved: Rc::new(Notify::new()),
            again: None,
        }
    }

    fn take(this: &Rc<RefCell<Self>>, command: Command) {
        let mut engine = this.borrow_mut();
        match command {
            Command::Set { target, settings, teller } => engine.set(target, settings, teller),
            Command::Remove(target) => {
                let now = engine.clock.now();
                engine.sessions.remove(now, target);
            }
            Command::Report(answer) => return drop(answer.send(engine.report())),
            // Taken by `run`.
            Command::Stop(_) => {}
        }
        engine.flush();
        engine.open_and_close(this);
    }

    fn set(&mut self, target: Target, settings: Settings, teller: Teller) {
        let now = self.clock.now();
        let hops = resolve(&settings, target, &mut None);
        match self.peers.get_mut(&target) {
            Some(peer) => {
                if (peer.settings.local_address, peer.settings.interface)
                    != (settings.local_address, settings.interface)
                {
                    peer.sender = None;
                }
                (peer.settings, peer.teller, peer.hops) = (settings.clone(), teller, hops);
            }
            None => {
                let peer = Peer {
                    settings: settings.clone(),
                    teller,
                    hops,
                    sender: None,
                    problem: None,
                    since: now,
                    last_down: None,
                };
                self.peers.insert(target, peer);
            }
        }
        self.sessions.set(now, target, hops, settings.session);
        self.introduce(target);
    }

    /// A new task of a peer hears of the session that is Up already.
    fn introduce(&self, target: Target) {
        let (Some(peer), Some(status)) = (self.peers.get(&target), self.sessions.status(target)) else { return };
        peer.teller.send_if_modified(|told| {
            let new = status.state == State::Up && !told.up;
            if new {
                *told = told.of_a_session_up(&status);
            }
            new
        });
    }

    /// Time has come for a session.
    fn ring(&mut self) {
        self.sessions.handle_timeout(self.clock.now());
        self.flush();
    }

    /// Does what the sessions ask for.
    fn flush(&mut self) {
        let now = self.clock.now();
        while let Some(output) = self.sessions.poll() {
            match output {
                Output::Send { target, hops, octets } => {
                    if let Some(peer) = self.peers.get_mut(&target) {
                        peer.send(target, hops, &octets);
                        if peer.problem.is_some() {
                            self.again.get_or_insert(now + AGAIN);
                        }
                    }
                }
                Output::Change { target, change } => {
                    self.tell(now, target, change);
                    self.again.get_or_insert(now + AGAIN);
                }
                Output::Gone { target } => drop(self.peers.remove(&target)),
            }
        }
    }

    fn tell(&mut self, now: Instant, target: Target, change: Change) {
        let (Some(peer), Some(status)) = (self.peers.get_mut(&target), self.sessions.status(target)) else { return };
        peer.since = now;
        match change {
            Change::Up => tracing::info!(
                address = place(target, peer.settings.interface),
                detection_ms = u64::try_from(status.detection_time.as_millis()).unwrap_or(u64::MAX),
                "BFD session up"
            ),
            Change::Down { cause, control_plane_independent } => {
                peer.last_down = Some(cause);
                let address = place(target, peer.settings.interface);
                tracing::info!(address, %cause, control_plane_independent, "BFD session down");
            }
        }
        peer.teller.send_modify(|told| *told = told.after(change, &status));
    }

    /// Listens where sessions need it, and nowhere else.
    fn open_and_close(&mut self, this: &Rc<RefCell<Self>>) {
        let needed: BTreeSet<Door> = self
            .peers
            .iter()
            .map(|(target, peer)| Door { ipv6: target.address.is_ipv6(), single_hop: peer.hops.is_single() })
            .collect();
        self.doors.retain(|door, _| needed.contains(door));
        self.closed.retain(|door, _| needed.contains(door));
        for door in needed {
            if self.doors.contains_key(&door) {
                continue;
            }
            match door.listen().and_then(tokio::net::UdpSocket::from_std) {
                Ok(socket) => {
                    self.closed.remove(&door);
                    let task = tokio::task::spawn_local(receive(socket, door, Rc::clone(this))).abort_handle();
                    self.doors.insert(door, Listening { task });
                }
                Err(error) => {
                    let text = format!("cannot listen on UDP port {}: {error}", door.port());
                    if self.closed.get(&door) != Some(&text) {
                        tracing::error!(
                            %error,
                            port = door.port(),
                            ipv6 = door.ipv6,
                            "cannot listen for BFD packets, so these sessions stay down, and a broken path is noticed by \
                             hold timers only; end the other BFD daemon on this host; it is tried again"
                        );
                    }
                    self.closed.insert(door, text);
                }
            }
        }
        self.arm_again();
    }

    fn arm_again(&mut self) {
        let waits = |(target, peer): (&Target, &Peer)| {
            peer.problem.is_some()
                || (peer.settings.way == Way::ByLink
                    && self.sessions.status(*target).is_none_or(|status| status.state != State::Up))
        };
        let needed = !self.closed.is_empty() || self.peers.iter().any(waits);
        self.again = needed.then(|| self.again.unwrap_or(self.clock.now() + AGAIN));
    }

    /// What the kernel refused may work now, and a peer may have come to be on a link of ours.
    fn try_again(this: &Rc<RefCell<Self>>) {
        let mut engine = this.borrow_mut();
        engine.again = None;
        let mut links = None;
        let mut moved = Vec::new();
        let Self { peers, sessions, .. } = &mut *engine;
        for (target, peer) in peers.iter_mut() {
            if peer.problem.take().is_some() {
                peer.sender = None;
            }
            let up = sessions.status(*target).is_some_and(|status| status.state == State::Up);
            let hops = resolve(&peer.settings, *target, &mut links);
            if !up && hops != peer.hops {
                peer.hops = hops;
                moved.push((*target, hops));
            }
        }
        for (target, hops) in moved {
            engine.sessions.set_hops(target, hops);
        }
        engine.flush();
        engine.open_and_close(this);
    }

    /// AdminDown for everybody.
    fn last_words(&mut self) -> Vec<Word> {
        let now = self.clock.now();
        for target in self.peers.keys().copied().collect::<Vec<_>>() {
            self.sessions.remove(now, target);
        }
        let mut words = Vec::new();
        while let Some(output) = self.sessions.poll() {
            if let Output::Send { target, hops, octets } = output
                && let Some(peer) = self.peers.get_mut(&target)
            {
                peer.send(target, hops, &octets);
                words.push((target, hops.is_single(), octets));
            }
        }
        words
    }

    fn report(&self) -> BfdReport {
        let now = self.clock.now();
        let sessions = self.sessions.iter().filter_map(|(target, hops, status, config, traffic)| {
            let peer = self.peers.get(&target)?;
            let door = Door { ipv6: target.address.is_ipv6(), single_hop: hops.is_single() };
            Some(BfdStatus {
                target,
                interface: peer.settings.interface,
                hops,
                status,
                config,
                since: now - peer.since,
                last_down: peer.last_down,
                sent: traffic.sent,
                received: traffic.received,
                discarded: traffic.discarded,
                last_discard: traffic.last_discard,
                problem: self.closed.get(&door).or(peer.problem.as_ref()).cloned(),
            })
        });
        BfdReport { sessions: sessions.collect(), discards: self.sessions.discards().collect() }
    }
}

impl Peer {
    /// A packet that the kernel does not take is lost, as it might have been on its way.
    fn send(&mut self, target: Target, hops: Hops, octets: &[u8]) {
        let sent = match &self.sender {
            Some(sender) => sender.send_to(octets, socket::destination(target, hops.is_single())),
            None => socket::sender(target, self.settings.local_address, self.settings.interface).and_then(|sender| {
                let sent = sender.send_to(octets, socket::destination(target, hops.is_single()));
                self.sender = Some(sender);
                sent
            }),
        };
        let place = || place(target, self.settings.interface);
        self.problem = sent.err().map(|error| format!("cannot send to {}: {error}", place()));
    }
}

/// Over one hop or over many; `links` are read once for all who ask.
fn resolve(settings: &Settings, target: Target, links: &mut Option<Vec<bgp_proto::types::Prefix>>) -> Hops {
    match settings.way {
        Way::Known(hops) => hops,
        Way::ByLink => {
            let links = links.get_or_insert_with(interfaces::links);
            match interfaces::on_a_link(links, target.address) {
                true => Hops::Single,
                false => Hops::Multi { least_ttl: 1 },
            }
        }
    }
}

/// A socket's task.
async fn receive(socket: tokio::net::UdpSocket, door: Door, engine: Rc<RefCell<Engine>>) {
    let mut buffer = [0; BUFFER];
    let mut left = BATCH;
    loop {
        let descriptor = socket.as_raw_fd();
        let taken = socket.async_io(Interest::READABLE, || socket::receive(descriptor, &mut buffer)).await;
        match taken {
            Ok((octets, source, ttl)) => {
                let mut engine = engine.borrow_mut();
                let now = engine.clock.now();
                let payload = buffer.get(..octets).unwrap_or_default();
                let received = Received { source, ttl, single_hop: door.single_hop, payload };
                match engine.sessions.handle_datagram(now, &received) {
                    Ok(()) => {
                        engine.flush();
                        engine.moved.notify_one();
                    }
                    Err(reason) => engine.complaints.discarded(now, source.address, reason),
                }
            }
            // A signal, or the late answer of a router to what we sent: nothing of this socket's own.
            Err(error) if error.kind() != io::ErrorKind::InvalidInput => tracing::trace!(%error, "no BFD packet"),
            Err(error) => {
                tracing::error!(%error, "BFD packets can be read no more, which is a fault of this program; please report it");
                return;
            }
        }
        left -= 1;
        if left == 0 {
            left = BATCH;
            tokio::task::yield_now().await;
        }
    }
}
