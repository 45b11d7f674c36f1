//! The task that owns the RIB: it takes reports and orders, decides, and hands out what sessions are to send and what
//! the owner is to know.
//!
//! It is a task among those of the sessions and not a thread of its own, because a change in a network that is quiet has to
//! be fast: the worker that read it decides it and writes it, where a thread would have to be woken twice, which takes
//! longer than all of the work. What may take long runs in the place of its worker ([`tokio::task::block_in_place`]): another
//! thread takes over the worker's other tasks, so that a busy RIB starves no timer and uses a core of its own.
//!
//! Orders (configuration, questions) come by a queue of their own and are taken at any time. Reports of sessions are
//! taken only while nothing waits for the owner: when the owner is behind, the RIB stands still, the budget of
//! [`crate::rib_port`] runs out, and peers are read no further. A report that finds the RIB at rest does not even wait for
//! the task: see [`desk`].

mod desk;
mod link;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Weak};

use bgp_proto::prefix_limit::Excess;
use bgp_proto::rib::{
    Aggregates, BestChange, Deferral, Drain, ExportTrial, ExportVerdict, Held, KnownPeer, Output, PageStart,
    PeerCounts, PeerPolicy, Retained, Rib, RibConfig, RouteView, Scope,
};
use bgp_proto::rtr::{Changes, Vrp};
use bgp_proto::time::Instant;
use bgp_proto::types::{Family, PeerId, Prefix};
use bgp_proto::wire::attributes::Attributes;
use bytes::Bytes;
use rustc_hash::FxHashMap;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{mpsc, oneshot};

pub(crate) use self::desk::Desk;
use self::desk::{Broken, Past};
use self::link::Link;
use crate::Event;
use crate::bmp::Counted;
use crate::clock::Clock;
use crate::forward::Forward;
use crate::own::Own;
use crate::place::Place;
use crate::rib_port::{Envelope, Report, SessionTag};
use crate::segment;
use crate::watch::{Ending, Feed, Watchers, Witness};

/// Most reports that one round takes before it decides: what changes again and again within them is decided once.
const REPORTS_A_ROUND: usize = 32;

/// Routes that a person asks for are looked up so many at a time, with sessions served in between.
const ROUTES_A_PAGE: usize = 4096;

/// What the RIB tells a peer's task.
#[derive(Debug)]
pub(crate) enum FromRib {
    /// Send these messages, if this is still the session.
    Send { session: u32, messages: Bytes },
    /// Messages went past the task into the session's socket, which has left these octets of them in the queue.
    Begun { session: u32, left: usize },
    /// End this session: it sent too many prefixes, or paths to one.
    TooManyPrefixes { session: u32, excess: Excess },
}

/// What the roster tells the RIB.
pub(crate) enum Order {
    /// Makes a peer known, or changes its policy.
    SetPeer { peer: PeerId, task: u64, policy: PeerPolicy, to: mpsc::UnboundedSender<FromRib> },
    /// Forgets a peer and all of its routes.
    RemovePeer { peer: PeerId },
    /// Everything that is originated from now on.
    Originate(Vec<(Prefix, Attributes)>),
    /// What is originated beside that, because another program on this host knows a way: a difference.
    Redistribute(Vec<(Prefix, Option<Attributes>)>),
    /// Starts anew with this configuration: every route is withdrawn from the owner, every peer forgotten.
    Renew(RibConfig),
    /// Changes how many paths a multipath set may have.
    SetMaxPaths(usize),
    /// Changes how far this speaker is drained.
    SetDrain(Drain),
    /// Changes what is aggregated.
    SetAggregates(Aggregates),
    /// Next hops that are out of reach, or are no longer.
    SetUnreachable(Vec<(IpAddr, bool)>),
    /// Forgets next hops that are out of reach and that no path has.
    ForgetUnreachable(oneshot::Sender<Vec<IpAddr>>),
    /// How many prefixes have paths of which none has a next hop in reach.
    UnresolvedPrefixes(oneshot::Sender<usize>),
    /// Sends a peer everything again.
    Refresh(PeerId),
    /// Counts and what is kept of an earlier session, one for each of these.
    Counts(Vec<PeerId>, oneshot::Sender<Vec<(PeerCounts, Vec<Retained>)>>),
    /// Whom this speaker waits for after its own restart.
    Deferral(oneshot::Sender<Option<Deferral>>),
    /// The routes to one prefix, for a person.
    Routes { scope: Scope, prefix: Prefix, answer: oneshot::Sender<Vec<RouteView>> },
    /// Some of all routes, and where the next ones begin.
    Page { scope: Scope, start: PageStart, answer: oneshot::Sender<Page> },
    /// Whether routes are validated.
    SetValidation(bool),
    /// A change of the VRPs, or a part of one; answered when it is in force.
    ChangeVrps(Changes, oneshot::Sender<()>),
    /// The VRPs that cover a prefix.
    Vrps(Prefix, oneshot::Sender<Vec<Vrp>>),
    /// What a peer would hear of a route; `None`: its session is not up.
    TryExport(Box<ExportTrial>, oneshot::Sender<Option<ExportVerdict>>),
    /// Somebody wants to hear what the RIB sees.
    Watch(Feed),
    /// A watcher has room again.
    Look,
    /// Sessions that are up, with their numbers.
    Statistics(oneshot::Sender<Vec<Counted>>),
    /// Some of all paths, and where the next ones begin.
    Walk { start: PageStart, answer: oneshot::Sender<(Vec<Held>, Option<PageStart>)> },
    /// Every peer.
    Known(oneshot::Sender<Known>),
    /// Who may be told past the queue of events.
    ForwardBy(Arc<dyn Forward>),
    /// Ends the task.
    Stop(oneshot::Sender<()>),
}

/// Every peer of the RIB.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) peers: Vec<KnownPeer>,
    /// Those with a session.
    pub(crate) up: Vec<Arc<Witness>>,
    /// Now, in the seconds that [`Held::since`] counts.
    pub(crate) now_seconds: u32,
}

/// Routes, and where the next page begins.
pub(crate) type Page = (Vec<RouteView>, Option<PageStart>);

/// What a wait ended with.
enum Next {
    Order(Option<Order>),
    Report(Option<Envelope>),
    /// An event has left, or a timer is due.
    Look,
}

/// Who has sent updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Nobody,
    One(PeerId),
    Several,
}

impl Heard {
    fn hear(&mut self, peer: PeerId) {
        *self = match *self {
            Self::Nobody => Self::One(peer),
            Self::One(first) if first == peer => *self,
            Self::One(_) | Self::Several => Self::Several,
        };
    }
}

/// What waits for the task.
struct Queues {
    orders: mpsc::UnboundedReceiver<Order>,
    reports: mpsc::UnboundedReceiver<Envelope>,
}

/// The RIB with all that has to do with it.
pub(crate) struct Keeper {
    rib: Rib,
    clock: Clock,
    /// We number peers, so that nobody chooses where they fall.
    links: FxHashMap<PeerId, Link>,
    /// What is originated.
    own: Own,
    events: mpsc::Sender<Event>,
    /// What waits for the owner.
    untold: VecDeque<Event>,
    /// How many events the owner was sent.
    told: u64,
    /// Who may be told past them.
    forward: Option<Arc<dyn Forward>>,
    /// The owner was told that a peer is dropped, and not yet that all is decided.
    dropping: bool,
    /// What was decided is told to the owner, and not yet to peers.
    unadvertised: bool,
    stopped: Option<oneshot::Sender<()>>,
    watchers: Watchers,
    /// In the queue, since the task waited last.
    heard: Heard,
    /// The task waits.
    waits: bool,
    /// Until when.
    wakes: Option<Instant>,
    /// What was done while it did.
    past: Past,
    /// So many more messages may go past the tasks of those that they are for.
    aside: usize,
}

/// Starts the task, in the runtime of the caller. It ends on [`Order::Stop`], and when the senders of orders are gone.
pub(crate) fn start(
    config: RibConfig,
    clock: Clock,
    orders: mpsc::UnboundedReceiver<Order>,
    reports: mpsc::UnboundedReceiver<Envelope>,
    events: mpsc::Sender<Event>,
) -> Arc<Desk> {
    let keeper = Keeper {
        rib: Rib::new(config, clock.now()),
        clock,
        links: FxHashMap::default(),
        own: Own::default(),
        events: events.clone(),
        untold: VecDeque::new(),
        told: 0,
        forward: None,
        dropping: false,
        unadvertised: false,
        stopped: None,
        watchers: Watchers::default(),
        heard: Heard::Nobody,
        waits: false,
        wakes: None,
        past: Past::Done,
        aside: 0,
    };
    let desk = Arc::new(Desk::new(keeper));
    let task = RibTask {
        desk: Arc::clone(&desk),
        queues: Queues { orders, reports },
        clock,
        events,
        threads: Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread,
    };
    // A RIB that is broken ends the task, and with it the speaker.
    tokio::spawn(async move { task.run().await.unwrap_or_default() });
    desk
}

/// The task.
struct RibTask {
    desk: Arc<Desk>,
    queues: Queues,
    clock: Clock,
    events: mpsc::Sender<Event>,
    /// The runtime has other threads, which can take over from ours.
    threads: bool,
}

impl RibTask {
    async fn run(mut self) -> Result<(), Broken> {
        let mut busy = false;
        while self.goes_on()? {
            // A single report is what a quiet network brings: one read of one socket.
            let long = busy || self.queues.reports.len() > 1 || !self.queues.orders.is_empty();
            let unadvertised;
            (busy, unadvertised) = self.work(long, |keeper, queues| (keeper.turn(queues), keeper.unadvertised))?;
            if unadvertised {
                // Whoever programs the kernel has what it needs and goes first: a host should forward what it announces, and
                // to pack what peers are to hear takes as long as all that is between here and the kernel.
                tokio::task::yield_now().await;
                busy |= self.work(long, |keeper, _| keeper.advertise())?;
            }
            if busy {
                tokio::task::yield_now().await;
            } else if self.goes_on()? {
                // Not if that turn has taken the order to stop: nothing might come any more that ends the wait.
                self.wait().await?;
            }
        }
        // Sessions that ended before the order to stop was given have said so, and the order may have come by first.
        self.work(false, |keeper, queues| {
            while let Ok(envelope) = queues.reports.try_recv() {
                keeper.take_report(envelope, queues);
            }
            keeper.tell_owner();
            if let Some(stopped) = keeper.stopped.take() {
                let _ = stopped.send(());
            }
        })
    }

    fn goes_on(&mut self) -> Result<bool, Broken> {
        self.work(false, |keeper, _| keeper.stopped.is_none())
    }

    /// Works. What may be `long` does not keep this worker's other tasks waiting.
    fn work<T>(&mut self, long: bool, work: impl FnOnce(&mut Keeper, &mut Queues) -> T) -> Result<T, Broken> {
        let (desk, queues) = (&self.desk, &mut self.queues);
        let work = || Ok(work(&mut *desk.keeper()?, queues));
        if long && self.threads { tokio::task::block_in_place(work) } else { work() }
    }

    /// Waits until one of the queues, the owner, the clock or whoever went past has something for us.
    async fn wait(&mut self) -> Result<(), Broken> {
        let (may_work, timeout) = self.work(false, |keeper, _| keeper.rest())?;
        let timeout = timeout.map(|at| self.clock.deadline(at));
        let timer = async {
            match timeout {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let next = tokio::select! {
            // Reports come first because they cannot wait; orders are taken before each of them.
            biased;
            envelope = self.queues.reports.recv(), if may_work => Next::Report(envelope),
            order = self.queues.orders.recv() => Next::Order(order),
            // There is room, or nobody listens any more, as is found when the owner is told.
            _ = self.events.reserve(), if !may_work => Next::Look,
            () = self.desk.left_over(), if may_work => Next::Look,
            () = timer, if may_work => Next::Look,
        };
        match next {
            Next::Order(Some(order)) => self.work(true, |keeper, _| keeper.take_order(order))?,
            // All handles are gone, and with them whoever could ask for anything.
            Next::Order(None) => self.work(false, |keeper, _| keeper.stopped = Some(oneshot::channel().0))?,
            Next::Report(Some(envelope)) => {
                // That a session is gone concerns all the peer's paths.
                let long = !matches!(envelope.report, Report::Updates(_) | Report::Sent(_));
                self.work(long, |keeper, queues| keeper.take_report(envelope, queues))?;
            }
            // The roster holds a sender for as long as it holds one of orders.
            Next::Report(None) | Next::Look => {}
        }
        Ok(())
    }
}

impl Drop for RibTask {
    fn drop(&mut self) {
        self.desk.close();
    }
}

impl Keeper {
    /// The task is about to wait. Returns whether the owner is not behind, and when a timer is due.
    fn rest(&mut self) -> (bool, Option<Instant>) {
        self.wakes = self.rib.poll_timeout();
        self.waits = self.untold.is_empty();
        self.heard = Heard::Nobody;
        (self.waits, self.wakes)
    }

    /// Whether there is more to do at once.
    fn turn(&mut self, queues: &mut Queues) -> bool {
        (self.waits, self.past) = (false, Past::Done);
        self.take_orders(queues);
        // What a wait has taken in may have left an event; a round follows only when that is told.
        self.tell_owner();
        let busy = self.untold.is_empty() && self.round(queues);
        self.tell_owner();
        busy && self.untold.is_empty()
    }

    /// Takes reports, decides, hands out; whether there is more to do at once.
    fn round(&mut self, queues: &mut Queues) -> bool {
        self.take_reports(queues);
        let now = self.clock.now();
        if self.rib.poll_timeout().is_some_and(|at| at <= now) {
            for peer in self.rib.expiring(now) {
                self.tell_dropped(self.links.get(&peer).and_then(|link| link.place));
            }
            self.rib.handle_timeout(now);
            self.watchers.observe(&mut self.rib);
        }
        let more = self.decide(now);
        let walks = self.watchers.walk(&mut self.rib);
        more || walks || !queues.reports.is_empty()
    }

    /// As many reports as are to be decided about together.
    fn take_reports(&mut self, queues: &mut Queues) {
        for _ in 0..REPORTS_A_ROUND {
            // One peer speaks seldom of the same prefix twice, and to read on leaves whoever programs the kernel without work:
            // 500,000 routes were there a tenth later. Several are heard out, as they may all speak of the same prefixes,
            // and each other peer hears of what was decided together in fewer messages.
            if self.heard != Heard::Several && self.rib.has_its_fill() {
                break;
            }
            let Ok(envelope) = queues.reports.try_recv() else { break };
            self.take_report(envelope, queues);
        }
    }

    /// Decides and hands out; whether there is more to do at once.
    fn decide(&mut self, now: Instant) -> bool {
        let mut more = self.rib.decide(now);
        // What is imported again as VRPs change.
        self.watchers.observe(&mut self.rib);
        self.hand_out();
        if self.dropping && !self.rib.has_undecided() {
            self.dropping = false;
            self.untold.push_back(Event::Decided);
        }
        self.unadvertised = !self.untold.is_empty();
        if !self.unadvertised {
            more |= self.advertise();
        }
        more
    }

    /// Tells peers what was decided; whether there is more to do at once.
    fn advertise(&mut self) -> bool {
        self.unadvertised = false;
        self.rib.advertise();
        // What is new leaves before it is looked who lacks what is old.
        self.hand_out();
        let more = self.rib.feed();
        self.hand_out();
        more
    }

    /// As many events as the owner has room for.
    fn tell_owner(&mut self) {
        while !self.untold.is_empty() {
            match self.events.try_reserve() {
                Ok(permit) => {
                    if let Some(event) = self.untold.pop_front() {
                        permit.send(event);
                        self.told += 1;
                    }
                }
                Err(mpsc::error::TrySendError::Full(())) => return,
                Err(mpsc::error::TrySendError::Closed(())) => self.untold.clear(),
            }
        }
    }

    fn take_orders(&mut self, queues: &mut Queues) {
        while let Ok(order) = queues.orders.try_recv() {
            self.take_order(order);
        }
    }

    fn take_order(&mut self, order: Order) {
        let now = self.clock.now();
        match order {
            Order::SetPeer { peer, task, policy, to } => {
                let same = self.links.get(&peer).filter(|link| link.task == task);
                let (session, place) = same.map_or((None, None), |link| (link.session, link.place));
                let (outlet, handed) = same.map_or_else(Default::default, |link| (link.outlet.clone(), link.handed));
                let (name, local_as) = (policy.name.clone(), policy.local_as);
                self.links.insert(peer, Link { task, name, local_as, session, place, outlet, handed, to });
                self.rib.set_peer(peer, policy, now);
                self.watchers.observe(&mut self.rib);
            }
            Order::RemovePeer { peer } => {
                if let Some(link) = self.links.remove(&peer) {
                    self.watchers.down(peer, Ending::Removed);
                    self.tell_dropped(link.place);
                    self.rib.remove_peer(peer, now);
                    if link.session.is_some() {
                        self.untold
                            .push_back(Event::Down { peer: link.name, reason: "the peer was removed".to_owned() });
                    }
                }
            }
            Order::Originate(routes) => self.own.originate(routes, &mut self.rib, now),
            Order::Redistribute(changes) => self.own.redistribute(changes, &mut self.rib, now),
            Order::Renew(config) => {
                // What removed peers had announced is among what is not decided yet, and no other RIB knows that the owner has it. That
                // all is decided is for the new one to say.
                while self.rib.has_decidable() {
                    self.rib.decide(now);
                }
                while let Some(output) = self.rib.poll() {
                    if matches!(output, Output::Best(_)) {
                        self.hand_out_one(output);
                    }
                }
                let gone = self.rib.best().into_iter();
                let none = |change: BestChange| BestChange { paths: Vec::new(), backup: None, ..change };
                let gone: Vec<BestChange> = gone.map(none).collect();
                if !gone.is_empty() {
                    self.untold.push_back(Event::Best(gone));
                }
                for peer in self.links.drain().map(|(peer, _)| peer) {
                    self.watchers.down(peer, Ending::Removed);
                }
                let vrps = self.rib.take_vrps();
                let unreachable: Vec<_> = self.rib.unreachable().into_iter().map(|address| (address, true)).collect();
                // A drain outlives what is configured.
                self.rib = Rib::new(RibConfig { drain: self.rib.drain(), ..config }, now);
                self.rib.put_vrps(vrps);
                self.rib.set_unreachable(&unreachable);
                self.watchers.renew(&mut self.rib);
                self.own.renew(&mut self.rib, now);
            }
            Order::SetDrain(drain) => self.rib.set_drain(drain),
            Order::SetMaxPaths(max_paths) => self.rib.set_max_paths(max_paths),
            Order::SetUnreachable(changes) => self.rib.set_unreachable(&changes),
            Order::ForgetUnreachable(answer) => {
                let _ = answer.send(self.rib.forget_unreachable());
            }
            Order::UnresolvedPrefixes(answer) => {
                let _ = answer.send(self.rib.unresolved_prefixes());
            }
            Order::SetAggregates(aggregates) => self.rib.set_aggregates(aggregates, now),
            Order::Refresh(peer) => {
                for family in Family::ALL {
                    self.rib.handle_refresh(peer, family);
                }
            }
            Order::Counts(peers, answer) => {
                let counts = peers.into_iter().map(|peer| (self.rib.counts(peer), self.rib.retained(peer, now)));
                let _ = answer.send(counts.collect());
            }
            Order::Deferral(answer) => {
                let _ = answer.send(self.rib.deferral(now));
            }
            Order::Routes { scope, prefix, answer } => {
                let _ = answer.send(self.rib.routes(scope, Some(prefix), usize::MAX, now));
            }
            Order::Page { scope, start, answer } => {
                let _ = answer.send(self.rib.routes_page(scope, start, ROUTES_A_PAGE, now));
            }
            Order::SetValidation(on) => self.rib.set_validation(on),
            Order::ChangeVrps(changes, done) => {
                self.rib.change_vrps(&changes);
                let _ = done.send(());
            }
            Order::Vrps(prefix, answer) => {
                let _ = answer.send(self.rib.vrps().map(|vrps| vrps.covering(prefix)).unwrap_or_default());
            }
            Order::TryExport(trial, answer) => {
                let _ = answer.send(self.rib.try_export(&trial));
            }
            Order::Watch(feed) => self.watchers.add(feed, &mut self.rib),
            // The round that follows does.
            Order::Look => {}
            Order::Statistics(answer) => {
                let counted = |witness: &Arc<Witness>| {
                    (witness.clone(), self.rib.counts(witness.peer), self.rib.held_by_family(witness.peer))
                };
                let _ = answer.send(self.watchers.witnesses().map(counted).collect());
            }
            Order::Walk { start, answer } => {
                let _ = answer.send(self.rib.walk(start, ROUTES_A_PAGE));
            }
            Order::Known(answer) => {
                let up = self.watchers.witnesses().cloned().collect();
                let _ = answer.send(Known { peers: self.rib.known_peers(), up, now_seconds: now.seconds() });
            }
            Order::ForwardBy(forward) => self.forward = Some(forward),
            Order::Stop(stopped) => self.stopped = Some(stopped),
        }
    }

    fn take_report(&mut self, envelope: Envelope, queues: &mut Queues) {
        // A peer is made known before its task starts, so an order about it that is still in the queue comes first.
        self.take_orders(queues);
        let now = self.clock.now();
        let Envelope { tag, report, .. } = envelope;
        if matches!(report, Report::Updates(_)) {
            self.heard.hear(tag.peer);
        }
        self.take(tag, report, now);
    }

    fn take(&mut self, tag: SessionTag, report: Report, now: Instant) {
        let Some(link) = self.links.get_mut(&tag.peer).filter(|link| link.task == tag.task) else {
            return; // of a peer that is gone
        };
        if let Report::Up(established, carrier, outlet) = report {
            (link.session, link.place) = (Some(tag.session), Place::of(&established));
            (link.outlet, link.handed) = (outlet, 0);
            let local_as = link.local_as;
            self.watchers.up(Witness { peer: tag.peer, local_as, established: established.clone(), carrier });
            self.untold.push_back(Event::Up { peer: link.name.clone() });
            let external = established.receive.external;
            let (ours, theirs) = (established.local_address, established.remote_address);
            self.rib.set_segment(tag.peer, external.then(|| segment::shared(ours, theirs)).flatten());
            return self.rib.handle_up(tag.peer, &established, now);
        }
        if matches!(report, Report::DropRetained) {
            if link.session.is_none() {
                let place = link.place;
                self.tell_dropped(place);
                self.rib.drop_retained(tag.peer);
            }
            return;
        }
        if link.session != Some(tag.session) {
            return; // of a session that is gone
        }
        match report {
            Report::Up(..) | Report::DropRetained => {}
            Report::Down { retain, reason, why } => {
                link.session = None;
                (link.outlet, link.handed) = (Weak::new(), 0);
                self.watchers.down(tag.peer, Ending::Down(why));
                let (peer, place) = (link.name.clone(), link.place);
                if retain.is_none() {
                    self.tell_dropped(place);
                }
                self.untold.push_back(Event::Down { peer, reason });
                self.rib.handle_down(tag.peer, retain, now);
            }
            Report::Updates(updates) => self.rib.handle_updates(tag.peer, updates, now),
            Report::Refresh(family) => self.rib.handle_refresh(tag.peer, family),
            Report::Sent(octets) => {
                link.handed = link.handed.saturating_sub(octets);
                self.rib.handle_sent(tag.peer, octets);
            }
        }
        self.watchers.observe(&mut self.rib);
    }

    /// Before the paths of the peer go, so that whoever forwards may use others meanwhile.
    fn tell_dropped(&mut self, peer: Option<Place>) {
        if let Some(Place { next_hop, link }) = peer {
            self.untold.push_back(Event::Dropped { next_hop, link });
            self.dropping = true;
            self.tell_owner();
        }
    }

    fn hand_out(&mut self) {
        while let Some(output) = self.rib.poll() {
            self.hand_out_one(output);
        }
    }

    fn hand_out_one(&mut self, output: Output) {
        match output {
            Output::Send(peer, messages) => {
                let aside = self.aside > 0;
                self.aside = self.aside.saturating_sub(1);
                let taken = self.links.get_mut(&peer).map_or(0, |link| link.send(messages, aside, self.clock));
                if taken > 0 {
                    self.rib.handle_sent(peer, taken);
                }
            }
            Output::ManyPrefixes(peer) => {
                let (name, received) = (self.links.get(&peer).map(|link| &*link.name), self.rib.counts(peer).received);
                tracing::warn!(
                    peer = name,
                    received,
                    "the peer has sent nearly as many prefixes as it may (max-prefixes)"
                );
            }
            Output::TooManyPrefixes(peer, excess) => {
                let session = self.links.get(&peer).and_then(|link| Some((link, link.session?)));
                if let Some((link, session)) = session {
                    let _ = link.to.send(FromRib::TooManyPrefixes { session, excess });
                }
            }
            Output::Best(changes) => {
                self.watchers.best(&changes);
                if !self.forward_aside(&changes) {
                    self.untold.push_back(Event::Best(changes));
                }
            }
            Output::Converged(family) => self.untold.push_back(Event::Converged(family)),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    use bgp_proto::session::DownReason;
    use bgp_proto::types::{Asn, NextHop, Nlri, PathId};
    use bgp_proto::wire::aspath::AsPath;
    use bgp_proto::wire::attributes::Origin;
    use bgp_proto::wire::capability::GracefulRestart;
    use bgp_proto::wire::update::{Announcement, Update};

    use super::*;
    use crate::own;
    use crate::rib_port::{RibPort, SessionTag, Ticket, tests::established};

    pub(crate) fn internal_peer() -> PeerPolicy {
        PeerPolicy::new("peer".into(), Ipv4Addr::LOCALHOST.into(), Asn(1))
    }

    #[tokio::test]
    async fn the_owner_hears_of_a_change_before_peers_do() {
        let (order, orders) = mpsc::unbounded_channel();
        let (report, reports) = mpsc::unbounded_channel();
        let (events, mut told) = mpsc::channel(16);
        let config = RibConfig { tell_best: true, convergence: Duration::ZERO, ..own::tests::config() };
        start(config, Clock::start(), orders, reports, events);

        let (to, mut peer) = mpsc::unbounded_channel();
        let tag = SessionTag { peer: PeerId(1), task: 1, session: 1 };
        let mut session = established();
        session.send.families.insert(Family::Ipv4Unicast);
        session.receive.families.insert(Family::Ipv4Unicast);
        let _ = order.send(Order::SetPeer { peer: tag.peer, task: tag.task, policy: internal_peer(), to });
        let _ = report.send(Envelope {
            tag,
            report: Report::Up(session, Box::default(), Weak::new()),
            _part: None,
            _ticket: Ticket::new(&Arc::default()),
        });
        // End-of-RIB: all that there was to say has been said.
        assert!(matches!(peer.recv().await, Some(FromRib::Send { .. })));

        let attributes = Attributes::new(Origin::Igp, AsPath::default(), NextHop::V4(Ipv4Addr::new(192, 0, 2, 1)));
        let _ = order.send(Order::Originate(vec![("198.51.100.0/24".parse().unwrap(), attributes)]));
        loop {
            match told.recv().await {
                Some(Event::Best(_)) => break,
                Some(_) => {}
                None => panic!("the task has ended"),
            }
        }
        assert!(peer.try_recv().is_err(), "the peer was told before the owner");
        assert!(matches!(peer.recv().await, Some(FromRib::Send { .. })));
    }

    /// A router id that a reload changes: all peers are removed, and the RIB starts anew before it has decided without them.
    #[tokio::test]
    async fn what_removed_peers_had_announced_is_withdrawn_from_the_owner_when_the_rib_starts_anew() {
        let (order, orders) = mpsc::unbounded_channel();
        let (reports, reported) = mpsc::unbounded_channel();
        let (events, mut told) = mpsc::channel(16);
        let config = RibConfig { tell_best: true, convergence: Duration::ZERO, ..own::tests::config() };
        start(config.clone(), Clock::start(), orders, reported, events);
        let (to, _peer) = mpsc::unbounded_channel();
        let _ = order.send(Order::SetPeer { peer: PeerId(1), task: 1, policy: internal_peer(), to });
        let mut port = RibPort::new(reports, None, RibPort::budget(), PeerId(1), 1);
        let mut session = established();
        session.receive.families.insert(Family::Ipv4Unicast);
        port.up(session, Box::default(), Weak::new());
        let next_hop = NextHop::V4(Ipv4Addr::new(192, 0, 2, 1));
        let attributes = Arc::new(Attributes::new(Origin::Igp, AsPath::default(), next_hop));
        let nlri = vec![Nlri { prefix: "198.51.100.0/24".parse().unwrap(), path_id: PathId(0) }];
        let announced = vec![Announcement { attributes, nlri }];
        port.push(Report::Updates(vec![Update { announced, ..Update::default() }]), 1);
        let mut next_best = async || loop {
            let heard = tokio::time::timeout(Duration::from_secs(5), told.recv()).await.expect("an event in time");
            match heard {
                Some(Event::Best(changes)) => return changes,
                Some(_) => {}
                None => panic!("the task has ended"),
            }
        };
        assert_eq!(next_best().await[0].paths.len(), 1);

        let _ = order.send(Order::RemovePeer { peer: PeerId(1) });
        let _ = order.send(Order::Renew(config));
        let gone = next_best().await;
        assert_eq!((gone.len(), gone[0].prefix.to_string().as_str()), (1, "198.51.100.0/24"));
        assert!(gone[0].paths.is_empty(), "{gone:?}");
    }

    #[tokio::test]
    async fn that_retained_routes_are_dropped_is_said_before_they_go_and_that_all_is_decided_behind_them() {
        let (order, orders) = mpsc::unbounded_channel();
        let (reports, reported) = mpsc::unbounded_channel();
        let (events, mut told) = mpsc::channel(16);
        let config = RibConfig { tell_best: true, convergence: Duration::ZERO, ..own::tests::config() };
        start(config, Clock::start(), orders, reported, events);

        let (to, _peer) = mpsc::unbounded_channel();
        let _ = order.send(Order::SetPeer { peer: PeerId(1), task: 1, policy: internal_peer(), to });
        let mut port = RibPort::new(reports, None, RibPort::budget(), PeerId(1), 1);
        let mut session = established();
        session.receive.families.insert(Family::Ipv4Unicast);
        session.graceful_restart = Some(GracefulRestart {
            restarting: false,
            notification: false,
            restart_seconds: 600,
            families: vec![(Family::Ipv4Unicast, true)],
        });
        let mut next = async || loop {
            match told.recv().await {
                Some(Event::Converged(_)) => {}
                other => return other,
            }
        };
        port.up(session, Box::default(), Weak::new());
        let next_hop = NextHop::V4(Ipv4Addr::new(192, 0, 2, 1));
        let attributes = Arc::new(Attributes::new(Origin::Igp, AsPath::default(), next_hop));
        let nlri = vec![Nlri { prefix: "198.51.100.0/24".parse().unwrap(), path_id: PathId(0) }];
        let announced = vec![Announcement { attributes, nlri }];
        port.push(Report::Updates(vec![Update { announced, ..Update::default() }]), 1);
        assert!(matches!(next().await, Some(Event::Up { .. })));
        assert!(matches!(next().await, Some(Event::Best(paths)) if paths[0].paths.len() == 1));

        port.down(Some(Duration::from_secs(600)), String::new(), DownReason::HoldTimerExpired);
        assert_eq!(next().await, Some(Event::Down { peer: "peer".to_owned(), reason: String::new() }), "all is kept");
        port.drop_retained();
        let next_hop = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert_eq!(next().await, Some(Event::Dropped { next_hop, link: None }));
        assert!(matches!(next().await, Some(Event::Best(gone)) if gone[0].paths.is_empty()));
        assert_eq!(next().await, Some(Event::Decided));
    }
}
