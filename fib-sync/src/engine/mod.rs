//! The engine: the one owner of desired and observed state.
//!
//! It is a task among the caller's others and not a thread of its own: the worker that read and decided a change then writes
//! it into the kernel too, where a thread would have to be woken first, which takes longer than all of the work on one
//! route. A netlink request is worked off within the call that sends it, so what may take long runs in the place of its
//! worker ([`tokio::task::block_in_place`]), whose other tasks another thread takes over. A few changes do not even wait for
//! the task: see [`task`].
//!
//! Inputs are commands, what the kernel announces, and the timers below; each ends in [`Engine::reconcile`] for the
//! prefixes that it touched.

mod backlog;
mod compare;
mod cryptokey;
mod elsewhere;
mod failover;
mod notices;
mod outbox;
mod overlay;
mod overlay_fights;
mod reconcile;
mod repair;
mod status;
mod task;
mod troubles;
mod write;

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use ipnetwork::IpNetwork;
use netlink_packet_route::{RouteNetlinkMessage, address::AddressMessage, link::LinkMessage, route::RouteMessage};
use tokio::sync::{mpsc, oneshot};

pub use self::task::AtRest;
pub(crate) use self::task::{Desk, Place};
use self::{
    backlog::Backlog, compare::Schedule, outbox::Outbox, overlay::OverlayTrouble, overlay_fights::OverlayFights,
    reconcile::Behind, repair::Untold, troubles::Troubles, write::Writer,
};
use crate::{
    Change, Comparison, FibConfig, FibError, FibEvent, KernelAnswer, Landed, OverlaySpec, OverlayStatus, PathId,
    PeerStatus, Reach, RoutePlace, RouteStatus, Totals,
    culprit::Culprits,
    fight::Fight,
    kernel_route::{family, read},
    ledger::Ledger,
    links::Links,
    netlink::{Message, Monitor, Socket},
    next_hops::NextHops,
    overlay::{Control, Neighbours, Overlay, Peers},
    reach::Answers,
    table::Want,
};

/// Octets of the monitor's receive buffer: room for about 10,000 changes made by others in one go.
const MONITOR: usize = 8 << 20;
/// How long other changes may follow a first one before next hops are asked for again or routes read again. The
/// failover to remaining hops does not wait for this.
const SETTLE: Duration = Duration::from_millis(10);

/// After a reading that failed.
const AGAIN: Duration = Duration::from_secs(1);
/// So many times longer than a family's routes took to read, they are not read again.
const REST: u32 = 9;

/// After the overlay device's settings were put right: programs that set them when a device appears (systemd-udevd) set several,
/// and one that does so for ever is answered no more often than this.
const CONDUCT: Duration = Duration::from_secs(1);

/// Changes, or next hops to ask for, that are done in no time.
const FEW: usize = 64;
/// Routes of the backlog that are written before commands are looked at again: some milliseconds.
const SOME: usize = 512;

/// What the handle asks.
#[derive(Debug)]
pub(crate) enum Command {
    Change(Vec<Change>, oneshot::Sender<Landed>, Place),
    Written(oneshot::Sender<()>),
    Sweep(bool, oneshot::Sender<()>),
    Reach(Vec<IpAddr>, oneshot::Sender<Vec<Reach>>),
    Overlay(Option<OverlaySpec>, oneshot::Sender<Result<Option<OverlayStatus>, FibError>>),
    RetireOverlays(oneshot::Sender<()>),
    Peers(oneshot::Sender<Result<Vec<PeerStatus>, FibError>>),
    Status(oneshot::Sender<Vec<RouteStatus>>),
    Wanted(Vec<IpNetwork>, oneshot::Sender<Vec<Option<PathId>>>),
    Totals(oneshot::Sender<Totals>),
    Users(oneshot::Sender<Vec<(PathId, usize)>>),
    Get(IpAddr, oneshot::Sender<Result<KernelAnswer, FibError>>),
    Left(RoutePlace, oneshot::Sender<Result<usize, FibError>>),
    Vacate(RoutePlace, oneshot::Sender<Result<usize, FibError>>),
    Check(oneshot::Sender<Result<Comparison, FibError>>),
    Clear(oneshot::Sender<()>),
}

/// Work that waits for its time.
#[derive(Debug, Default)]
struct Timers {
    /// Read devices and addresses again.
    links: Option<Instant>,
    /// Read a family's routes again: the kernel drops routes of a lost link without a word in IPv4.
    read: [Option<Instant>; 2],
    /// Ask for all next hops again.
    reach: Option<Instant>,
    /// Read the next-hop objects again.
    next_hops: Option<Instant>,
    /// Read the overlay's entries again.
    neighbours: Option<Instant>,
    /// Read the peers of the WireGuard device again.
    peers: Option<Instant>,
    /// Try again to make the overlay device.
    overlay: Option<Instant>,
    /// Look at the settings of the overlay device.
    conduct: Option<Instant>,
    /// Offer events again to a reader that was behind.
    outbox: Option<Instant>,
}

impl Timers {
    /// Nothing else is to be done.
    fn is_about_reach_alone(&self) -> bool {
        let Timers { links, read: [v4, v6], next_hops, reach: _, neighbours, peers, overlay, conduct, outbox } = self;
        [links, v4, v6, next_hops, neighbours, peers, overlay, conduct, outbox].iter().all(|timer| timer.is_none())
    }
}

/// The engine's state.
#[derive(Debug)]
struct Engine {
    config: FibConfig,
    socket: Socket,
    monitor: Monitor,
    links: Links,
    answers: Answers,
    /// The overlay that is wanted, and that there is.
    overlay_spec: Option<OverlaySpec>,
    overlay: Option<Overlay>,
    /// Why there is none though it is wanted.
    overlay_trouble: Option<OverlayTrouble>,
    neighbours: Neighbours,
    control: Control,
    /// Of the overlay, where it is WireGuard.
    peers: Option<Peers>,
    /// Overlay devices of other encapsulations, by interface index.
    retiring: Vec<(u32, &'static str)>,
    /// Other nodes have heard that they are not wanted: nobody sends into them.
    others_told: bool,
    ledger: Ledger,
    next_hops: NextHops,
    /// By family: routes that nobody asked for go.
    swept: [bool; 2],
    writer: Writer,
    /// What more was asked for at once than is written in a moment.
    backlog: Backlog,
    /// A reconciliation listens between two batches.
    listening: bool,
    /// What goes when no route is on its way any more.
    behind: Behind,
    /// RTM_DELROUTE by family, for a destination that is still to be written into it.
    removals: [Option<Message>; 2],
    troubles: Troubles,
    /// Over next-hop objects, if there ever was one.
    object_fight: Option<Fight>,
    overlay_fights: OverlayFights,
    /// The settings of the overlay device were put right, and are not looked at again before.
    conduct_rest: Option<Instant>,
    /// Who meddles.
    culprits: Culprits,
    /// What others did and was answered, and nobody has been told of.
    untold: Untold,
    /// When objects were read because the kernel refused one.
    objects_doubted: Option<Instant>,
    /// Routes that went with objects, as that found out.
    lost_with_objects: Vec<IpNetwork>,
    timers: Timers,
    /// By family: routes are not read again before, unless somebody asks for it: longer where there are very many.
    read_rest: [Instant; 2],
    /// Pause before next hops are asked for again: longer where there are very many.
    reach_pause: Duration,
    outbox: Outbox,
    /// Full compares: when, and what came of them.
    comparisons: Schedule,
    /// How often all routes of a family were read.
    #[cfg(test)]
    readings: [usize; 2],
    /// When the task looks at timers.
    rings: Instant,
}

/// How much there is to do though nobody asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chores {
    None,
    /// Done in no time.
    Few,
    Many,
}

/// Starts the task, in the runtime of the caller and the network namespace of its thread. Returns its desk and the number
/// of adopted routes.
pub(crate) fn spawn(
    config: FibConfig,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<FibEvent>,
) -> Result<(Arc<Desk>, usize), FibError> {
    let engine = Engine::start(config, MONITOR, events)?;
    let adopted = engine.ledger.count();
    Ok((task::spawn(engine, commands), adopted))
}

impl Engine {
    /// `buffer`: octets for what the kernel announces.
    fn start(config: FibConfig, buffer: usize, events: mpsc::Sender<FibEvent>) -> Result<Engine, FibError> {
        if config.table == 0 {
            return Err(FibError::Invalid("fib.table is 0; no route is written; set it to 1..4294967295".into()));
        }
        if config.metric == 0 {
            return Err(FibError::Invalid(
                "fib.metric is 0, which the kernel reads as 1024 in IPv6; no route is written; set it to 1 or more"
                    .into(),
            ));
        }
        let mut socket = Socket::open()?;
        // Listening begins before reading, so that no change falls between the two.
        let monitor = Monitor::open(socket.port(), buffer)?;
        let control = Control::open()?;
        let next_hops = NextHops::start(config.next_hop_objects, &mut socket)?;
        let ledger = Ledger::new(config.table, config.metric);
        let mut engine = Engine {
            config,
            socket,
            monitor,
            links: Links::default(),
            answers: Answers::default(),
            overlay_spec: None,
            overlay: None,
            overlay_trouble: None,
            neighbours: Neighbours::default(),
            control,
            peers: None,
            retiring: Vec::new(),
            others_told: false,
            ledger,
            next_hops,
            swept: [false; 2],
            writer: Writer::default(),
            backlog: Backlog::default(),
            listening: false,
            behind: Behind::default(),
            removals: [None, None],
            troubles: Troubles::default(),
            object_fight: None,
            overlay_fights: OverlayFights::default(),
            conduct_rest: None,
            culprits: Culprits::default(),
            untold: Untold::default(),
            objects_doubted: None,
            lost_with_objects: Vec::new(),
            timers: Timers::default(),
            read_rest: [Instant::now(); 2],
            reach_pause: SETTLE,
            outbox: Outbox::new(events),
            comparisons: Schedule::new(Instant::now()),
            #[cfg(test)]
            readings: [0; 2],
            rings: Instant::now(),
        };
        engine.read_links()?;
        engine.read_routes(false)?;
        engine.read_routes(true)?;
        engine.next_hops.set_found(engine.ledger.objects());
        Ok(engine)
    }

    /// What is to be done though nobody asks for it.
    fn chores(&self, now: Instant) -> Chores {
        let due = self.wake() <= now;
        let few = self.timers.is_about_reach_alone() && !self.comparisons.is_due(now) && self.answers.count() <= FEW;
        if !self.backlog.is_empty() || !self.untold.is_empty() || due && !few {
            Chores::Many
        } else if due || !self.outbox.is_empty() {
            Chores::Few
        } else {
            Chores::None
        }
    }

    fn do_chores(&mut self, now: Instant) {
        if self.wake() <= now {
            self.tick(now);
        }
        if !self.backlog.is_empty() {
            self.write_some(SOME);
        }
        if !self.untold.is_empty() {
            self.tell();
        }
        if !self.outbox.flush() && self.timers.outbox.is_none() {
            self.timers.outbox = Some(Instant::now() + SETTLE);
        }
    }

    /// The task has something to do that it does not know of.
    fn has_left_over(&self) -> bool {
        self.wake() < self.rings || self.chores(Instant::now()) != Chores::None
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Change(changes, answer, _place) => {
                let _ = answer.send(self.land(changes));
            }
            Command::Written(answer) => {
                self.backlog.tell(answer);
                self.backlog.written();
            }
            Command::Sweep(v6, answer) => {
                self.sweep(v6);
                let _ = answer.send(());
            }
            Command::Reach(addresses, answer) => {
                let learned = self.answers.learn(addresses.iter().copied(), &mut self.socket, &self.links);
                self.report(learned);
                self.answers.watch(&addresses);
                let reach = addresses.iter().map(|address| match self.answers.get(*address) {
                    Some(known) => known.public(&self.links),
                    None => Reach::Unreachable { error: "the kernel could not be asked".into() },
                });
                let _ = answer.send(reach.collect());
            }
            Command::Overlay(spec, answer) => {
                self.catch_up();
                let _ = answer.send(self.want_overlay(spec));
            }
            Command::RetireOverlays(answer) => {
                self.catch_up();
                self.others_told = true;
                self.retire_overlays();
                let _ = answer.send(());
            }
            Command::Peers(answer) => {
                let _ = answer.send(self.peers_now());
            }
            Command::Status(answer) => {
                let _ = answer.send(self.status());
            }
            Command::Wanted(prefixes, answer) => {
                let wanted = prefixes.into_iter().map(|prefix| match self.ledger.want_of(prefix) {
                    Want::Path(path) => Some(path),
                    Want::Unasked | Want::Gone => None,
                });
                let _ = answer.send(wanted.collect());
            }
            Command::Totals(answer) => {
                let _ = answer.send(self.totals());
            }
            Command::Users(answer) => {
                let _ = answer.send(self.ledger.paths.in_use().collect());
            }
            Command::Get(address, answer) => {
                let _ = answer.send(self.get(address));
            }
            Command::Left(place, answer) => {
                let _ = answer.send(self.left_at(place).map(|left| left.len()));
            }
            Command::Vacate(place, answer) => {
                self.catch_up();
                let _ = answer.send(self.vacate(place));
            }
            Command::Check(answer) => {
                let compared = self.compare(true);
                let _ = answer.send(compared);
            }
            Command::Clear(answer) => {
                self.clear();
                let _ = answer.send(());
            }
        }
    }

    fn land(&mut self, changes: Vec<Change>) -> Landed {
        // Replacing a route replaces whoever's it is: what others have put there is to be known first.
        if changes.len() > FEW || changes.iter().any(|change| self.may_replace(change)) {
            self.heard();
        }
        let written = self.change(changes);
        Landed { unused: self.ledger.paths.take_unused(), written }
    }

    /// Else the kernel refuses where somebody else's route is in the way.
    fn may_replace(&self, change: &Change) -> bool {
        match change {
            Change::Put(prefix, _) => self.ledger.has(*prefix),
            Change::Remove(_) => false,
            Change::Path(..) => true,
        }
    }

    /// When to wake up at the latest.
    fn wake(&self) -> Instant {
        let timers = &self.timers;
        let [v4, v6] = timers.read;
        let times = [
            timers.links,
            v4,
            v6,
            timers.reach,
            timers.next_hops,
            timers.neighbours,
            timers.peers,
            timers.overlay,
            timers.conduct,
            timers.outbox,
            self.troubles.next(),
        ];
        times.into_iter().flatten().fold(self.comparisons.next(), Instant::min)
    }

    /// Does what is due.
    fn tick(&mut self, now: Instant) {
        let due = |timer: &mut Option<Instant>| timer.take_if(|at| *at <= now).is_some();
        if due(&mut self.timers.links) {
            self.reread_links();
        }
        if due(&mut self.timers.next_hops) {
            self.mend_next_hops();
        }
        for v6 in [false, true] {
            if due(&mut self.timers.read[usize::from(v6)]) {
                self.reread(v6);
            }
        }
        if due(&mut self.timers.neighbours) {
            self.tend_entries();
        }
        if due(&mut self.timers.peers) {
            self.audit_peers();
        }
        if due(&mut self.timers.reach) {
            self.reach_again();
        }
        if due(&mut self.timers.overlay) {
            self.tend_overlay();
        }
        if due(&mut self.timers.conduct) {
            self.mend_conduct();
        }
        due(&mut self.timers.outbox);
        let retry = self.troubles.due(now);
        if !retry.is_empty() {
            self.reconcile(retry);
        }
        // What waits would be found to be missing.
        if self.comparisons.is_due(now) && self.backlog.is_empty() {
            self.compare_by_itself();
        }
    }

    /// Reads all devices and addresses.
    fn read_links(&mut self) -> Result<(), FibError> {
        let mut links = Links::default();
        self.socket.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()), |message| -> Option<()> {
            if let RouteNetlinkMessage::NewLink(link) = message {
                links.learn(&link);
            }
            None
        })?;
        self.socket.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()), |message| -> Option<()> {
            if let RouteNetlinkMessage::NewAddress(address) = message {
                links.address(&address, true);
            }
            None
        })?;
        self.links = links;
        Ok(())
    }

    /// Asks for the routes of one family in Linnet's table.
    fn all_routes(&self, v6: bool) -> RouteNetlinkMessage {
        Self::routes_in(v6, self.config.table)
    }

    /// Asks for the routes of one family in a table.
    fn routes_in(v6: bool, table: u32) -> RouteNetlinkMessage {
        let mut question = RouteMessage::default();
        question.header.address_family = family(v6);
        question.header.table = u8::try_from(table).unwrap_or(libc::RT_TABLE_UNSPEC);
        question.attributes.push(netlink_packet_route::route::RouteAttribute::Table(table));
        RouteNetlinkMessage::GetRoute(question)
    }

    /// Reads the routes of one family.
    fn read_routes(&mut self, v6: bool) -> Result<(), FibError> {
        let question = self.all_routes(v6);
        let ledger = &self.ledger;
        let routes = self.socket.dump(question, |message| match message {
            RouteNetlinkMessage::NewRoute(message) => read(&message).filter(|route| ledger.concerns(route)),
            _ => None,
        })?;
        #[cfg(test)]
        {
            self.readings[usize::from(v6)] += 1;
        }
        self.ledger.forget(v6);
        for route in routes {
            self.ledger.saw(route, false);
        }
        Ok(())
    }

    /// Reads a family's routes again and repairs what is not as it should be.
    fn reread(&mut self, v6: bool) {
        let began = Instant::now();
        let read = self.read_routes(v6);
        // Reading must not become all that is done.
        self.read_rest[usize::from(v6)] = Instant::now() + REST * began.elapsed();
        match read {
            Ok(()) => self.reconcile_family(v6),
            Err(error) => {
                tracing::warn!(%error, "cannot read the kernel's routes; trying again");
                self.timers.read[usize::from(v6)] = Some(self.read_rest[usize::from(v6)].max(Instant::now() + AGAIN));
            }
        }
    }

    /// Reads devices and addresses again, and follows them.
    fn reread_links(&mut self) {
        let links = self.read_links();
        self.report(links);
        self.inspect_overlay();
        self.tend_overlay();
        self.links_changed();
        self.ask_again();
    }

    fn clear(&mut self) {
        self.ledger.want_nothing();
        self.catch_up();
        self.troubles = Troubles::default();
        let swept = std::mem::replace(&mut self.swept, [true; 2]);
        for v6 in [false, true] {
            self.reread(v6);
        }
        self.swept = swept;
        let removed = self.want_overlay(None);
        self.report(removed.map(|_| ()));
    }
}

#[cfg(test)]
mod compare_tests;
#[cfg(test)]
mod overlay_tests;
#[cfg(test)]
mod repair_tests;
#[cfg(test)]
#[path = "../../tests/support/mod.rs"]
pub(crate) mod support;
#[cfg(test)]
mod tests;
