//! The task that follows the kernel.

use std::{
    collections::{BTreeSet, HashSet},
    time::{Duration, Instant},
};

use ipnetwork::IpNetwork;
use netlink_packet_core::NLM_F_REPLACE;
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::LinkFlags,
    route::{RouteAttribute, RouteMessage, RouteProtocol},
};
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::mpsc,
};

use super::{
    ForeignChanges, Selection,
    book::{Book, Outcome},
    filter::concerning,
};
use crate::{
    FibError,
    kernel_route::{family, read},
    netlink::{DUMPS, Message, Monitor, Notice, Socket, parse},
};

/// Groups of linux/rtnetlink.h: link, ipv4-ifaddr, ipv4-route, ipv6-route, nexthop. With a link or an address the kernel
/// takes IPv4 routes away without a word.
const GROUPS: [u32; 5] = [1, 5, 7, 11, 32];
/// Octets of the listener's receive buffer: some thousand changes in one go.
const BUFFER: usize = 4 << 20;
/// How long other changes may follow a first one before routes are read again.
const SETTLE: Duration = Duration::from_millis(10);
/// Batches that wait for their reader; what changes meanwhile is conflated.
const EVENTS: usize = 4;

/// Reads the routes of others that are wanted, and follows them from a task of the runtime in which this is called, in the
/// network namespace of its thread, until the receiver is dropped. The first message is there when this returns: all that
/// there is.
///
/// # Errors
/// [`FibError::Socket`] without the right to listen, [`FibError::Kernel`] when the kernel cannot be read.
pub fn watch_foreign(selections: Vec<Selection>) -> Result<mpsc::Receiver<ForeignChanges>, FibError> {
    let protocols: BTreeSet<u8> = selections.iter().flat_map(|selection| selection.protocols.iter().copied()).collect();
    let protocols: Vec<u8> = protocols.into_iter().collect();
    // Listening begins before reading, so that no change falls between the two.
    let monitor = Monitor::listen(&GROUPS, &concerning(&protocols), BUFFER)?;
    let mut watch = Watch {
        socket: Socket::open()?,
        monitor,
        book: Book::new(selections.len()),
        told: vec![0; selections.len()],
        selections,
        changed: HashSet::new(),
        read_at: None,
        pause: SETTLE,
        threads: Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread,
    };
    watch.read_all()?;
    let (events, heard) = mpsc::channel(EVENTS);
    // There is room for the first.
    let _ = events.try_send(watch.take_changes());
    tokio::spawn(watch.run(events));
    Ok(heard)
}

struct Watch {
    socket: Socket,
    monitor: Monitor,
    selections: Vec<Selection>,
    book: Book,
    /// Prefixes of which the reader is to hear.
    changed: HashSet<IpNetwork>,
    /// What the reader knows to be left out.
    told: Vec<usize>,
    /// When to read the kernel's routes again.
    read_at: Option<Instant>,
    /// Between two readings: longer where there is much to read, so that reading does not become all that is done.
    pause: Duration,
    /// The runtime has other threads, which can take over from ours.
    threads: bool,
}

impl Watch {
    async fn run(mut self, events: mpsc::Sender<ForeignChanges>) {
        loop {
            let read_at = self.read_at;
            let news = !self.changed.is_empty() || self.told != self.book.left_out();
            tokio::select! {
                () = events.closed() => return,
                () = self.monitor.ready() => self.work(Watch::heard),
                permit = events.reserve(), if news => match permit {
                    Ok(permit) => permit.send(self.take_changes()),
                    Err(_) => return,
                },
                () = due(read_at) => self.work(Watch::read_again),
            }
        }
    }

    /// Works; this worker's other tasks do not wait for it.
    fn work(&mut self, work: impl FnOnce(&mut Self)) {
        if self.threads { tokio::task::block_in_place(|| work(self)) } else { work(self) }
    }

    fn take_changes(&mut self) -> ForeignChanges {
        self.told = self.book.left_out().to_vec();
        let changed = std::mem::take(&mut self.changed);
        let changes = changed.into_iter().map(|prefix| (prefix, self.book.choice(prefix))).collect();
        ForeignChanges { changes, left_out: self.told.clone() }
    }

    /// Takes in what was announced so far.
    fn heard(&mut self) {
        for notice in self.monitor.hear() {
            match notice {
                Notice::Message { message: RouteNetlinkMessage::NewRoute(message), flags, .. } => {
                    self.route(&message, Some(flags & NLM_F_REPLACE != 0));
                }
                Notice::Message { message: RouteNetlinkMessage::DelRoute(message), .. } => self.route(&message, None),
                Notice::Message { message: RouteNetlinkMessage::NewLink(link), .. } => {
                    if !link.header.flags.contains(LinkFlags::Up) {
                        self.read_soon();
                    }
                }
                Notice::Message {
                    message: RouteNetlinkMessage::DelLink(_) | RouteNetlinkMessage::DelAddress(_),
                    ..
                }
                | Notice::NextHop { .. } => self.read_soon(),
                Notice::Message { .. } | Notice::ReversePath { .. } => {}
                Notice::Lost => {
                    tracing::warn!("the kernel announced more than could be heard; reading routes to announce again");
                    self.read_soon();
                }
            }
        }
    }

    /// `there`: the route is there now, and whether in place of another; `None`: it is gone.
    fn route(&mut self, message: &RouteMessage, there: Option<bool>) {
        let Some(route) = read(message) else { return };
        let before = self.book.choice(route.prefix);
        match there {
            Some(instead) => self.book.saw(&route, instead, &self.selections),
            None => {
                if self.book.lost(&route, &self.selections) == Outcome::Unclear {
                    self.read_soon();
                }
            }
        }
        if self.book.choice(route.prefix) != before {
            self.changed.insert(route.prefix);
        }
    }

    fn read_soon(&mut self) {
        self.read_at.get_or_insert(Instant::now() + self.pause);
    }

    fn read_again(&mut self) {
        self.read_at = None;
        if let Err(error) = self.read_all() {
            tracing::warn!(%error, "cannot read the routes to announce; trying again");
            self.read_at = Some(Instant::now() + 10 * self.pause);
        }
    }

    /// Reads all routes that are wanted. The kernel leaves out other tables' and other owners'.
    fn read_all(&mut self) -> Result<(), FibError> {
        let began = Instant::now();
        for _ in 0..DUMPS {
            let mut book = Book::new(self.selections.len());
            let mut whole = true;
            for (table, protocol) in self.parts() {
                for v6 in [false, true] {
                    let question = question(table, protocol, v6);
                    let selections = &self.selections;
                    let read = self.socket.dump_once(&question, |answer| -> Option<()> {
                        if let Ok(RouteNetlinkMessage::NewRoute(message)) = parse(answer)
                            && let Some(route) = read(&message)
                        {
                            book.saw(&route, false, selections);
                        }
                        None
                    })?;
                    whole &= read.is_some();
                }
            }
            if whole {
                self.changed.extend(self.book.differences(&book));
                self.book = book;
                self.pause = SETTLE.max(10 * began.elapsed());
                return Ok(());
            }
        }
        Err(FibError::Lost(format!("a table changed under each of {DUMPS} readings")))
    }

    /// Tables and owners, each pair once.
    fn parts(&self) -> BTreeSet<(u32, u8)> {
        let of_one = |selection: &Selection| -> Vec<(u32, u8)> {
            selection.protocols.iter().map(|protocol| (selection.table, *protocol)).collect()
        };
        self.selections.iter().flat_map(of_one).collect()
    }
}

/// RTM_GETROUTE for all routes of one owner in one table.
fn question(table: u32, protocol: u8, v6: bool) -> Message {
    let mut question = RouteMessage::default();
    question.header.address_family = family(v6);
    question.header.table = u8::try_from(table).unwrap_or(libc::RT_TABLE_UNSPEC);
    question.header.protocol = RouteProtocol::from(protocol);
    question.attributes.push(RouteAttribute::Table(table));
    Message::new(&RouteNetlinkMessage::GetRoute(question))
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
