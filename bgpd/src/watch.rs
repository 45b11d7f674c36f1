//! Who watches the RIB: monitoring stations and files hear of sessions and routes in the order in which the RIB did.
//!
//! The RIB's task encodes what it sees once, for all who want it, and hands it out. A watcher that is behind by more than
//! [`BEHIND`] octets is let go and has to begin anew: it costs bounded memory, and never a session's time. The table as it
//! was when a watcher came is told page by page, as fast as the watcher takes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use bgp_proto::bmp::Stage;
pub(crate) use bgp_proto::monitor::{Carrier, Ending, Witness};
use bgp_proto::monitor::{Scribe, What};
use bgp_proto::rib::{BestChange, Held, PageStart, Rib};
use bgp_proto::types::PeerId;
use tokio::sync::{mpsc, oneshot};

use crate::rib_task::Order;

/// Octets that may wait for a watcher.
pub(crate) const BEHIND: usize = 16 * 1024 * 1024;
/// What a sight weighs beside its message.
const WEIGHT: usize = 96;
/// Paths of one page of the table.
const PAGE: usize = 4096;

/// What a watcher hears.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    pub(crate) at: SystemTime,
    pub(crate) what: What,
}

/// What a watcher wants.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) stages: Vec<Stage>,
    /// The table first.
    pub(crate) table: bool,
}

/// A watcher's end.
#[derive(Debug)]
pub(crate) struct Watch {
    sights: mpsc::UnboundedReceiver<Sight>,
    queued: Arc<AtomicUsize>,
    /// Ends with the feed.
    fed: oneshot::Receiver<()>,
    orders: mpsc::UnboundedSender<Order>,
}

impl Watch {
    /// Asks the RIB to be told.
    pub(crate) fn begin(orders: &mpsc::UnboundedSender<Order>, wish: Wish) -> Self {
        let (to, sights) = mpsc::unbounded_channel();
        let queued = Arc::new(AtomicUsize::new(0));
        let (feeds, fed) = oneshot::channel();
        let next = wish.table.then(PageStart::default);
        let feed = Feed { wish, to, queued: queued.clone(), _feeds: feeds, next };
        let _ = orders.send(Order::Watch(feed));
        Self { sights, queued, fed, orders: orders.clone() }
    }

    /// As [`Watch::next`], for who may have no room: then it takes none, and only waits to be let go.
    pub(crate) async fn next_if(&mut self, room: bool) -> Option<Sight> {
        if room {
            return self.next().await;
        }
        if !self.fed.is_terminated() {
            let _ = (&mut self.fed).await;
        }
        None
    }

    /// The next sight; `None`: the watcher was behind, or the speaker has stopped.
    pub(crate) async fn next(&mut self) -> Option<Sight> {
        let sight = self.sights.recv().await?;
        self.taken(&sight);
        Some(sight)
    }

    fn taken(&self, sight: &Sight) {
        let weight = sight.weight();
        let before = self.queued.fetch_sub(weight, Ordering::Relaxed);
        if before >= BEHIND / 2 && before - weight < BEHIND / 2 {
            // There may be a page that waits for room.
            let _ = self.orders.send(Order::Look);
        }
    }

    /// The next sight, if it is there.
    pub(crate) fn try_next(&mut self) -> Option<Sight> {
        let sight = self.sights.try_recv().ok()?;
        self.taken(&sight);
        Some(sight)
    }

    /// Octets that wait.
    pub(crate) fn waiting(&self) -> Arc<AtomicUsize> {
        self.queued.clone()
    }
}

impl Sight {
    fn weight(&self) -> usize {
        WEIGHT
            + match &self.what {
                What::Updates { messages, .. } => messages.len(),
                What::Up(_) | What::Down(..) | What::Told => 0,
            }
    }
}

/// The RIB's end of a watch.
#[derive(Debug)]
pub(crate) struct Feed {
    wish: Wish,
    to: mpsc::UnboundedSender<Sight>,
    queued: Arc<AtomicUsize>,
    _feeds: oneshot::Sender<()>,
    /// Where the rest of the table begins that it has not been told.
    next: Option<PageStart>,
}

impl Feed {
    /// Whether it still listens and is not behind.
    fn tell(&self, sight: &Sight) -> bool {
        self.queued.fetch_add(sight.weight(), Ordering::Relaxed) < BEHIND && self.to.send(sight.clone()).is_ok()
    }

    fn has_room(&self) -> bool {
        self.queued.load(Ordering::Relaxed) < BEHIND / 2
    }
}

/// All watchers.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    feeds: Vec<Feed>,
    scribe: Scribe,
}

impl Watchers {
    pub(crate) fn add(&mut self, feed: Feed, rib: &mut Rib) {
        let at = SystemTime::now();
        // Those that come later are told of as they come.
        let mut up = self.scribe.witnesses().cloned();
        let listens = up.all(|witness| feed.tell(&Sight { at, what: What::Up(witness) }));
        if !listens {
            return;
        }
        if feed.next.is_none() {
            feed.tell(&Sight { at, what: What::Told });
        }
        self.feeds.push(feed);
        self.set_watched(rib);
    }

    pub(crate) fn up(&mut self, witness: Witness) {
        let what = self.scribe.up(witness);
        self.tell(what);
    }

    pub(crate) fn down(&mut self, peer: PeerId, ending: Ending) {
        if let Some(what) = self.scribe.down(peer, ending) {
            self.tell(what);
        }
    }

    /// There is a new RIB in the place of the old one.
    pub(crate) fn renew(&mut self, rib: &mut Rib) {
        for feed in self.feeds.iter_mut().filter(|feed| feed.next.is_some()) {
            feed.next = Some(PageStart::default());
        }
        self.set_watched(rib);
    }

    /// Every session that is up.
    pub(crate) fn witnesses(&self) -> impl Iterator<Item = &Arc<Witness>> {
        self.scribe.witnesses()
    }

    /// Hands out what the RIB has seen since the last call.
    pub(crate) fn observe(&mut self, rib: &mut Rib) {
        if self.feeds.is_empty() {
            return;
        }
        for seen in rib.take_seen() {
            for what in self.scribe.seen(&seen, |stage| self.wanted(stage)) {
                self.tell(what);
            }
        }
        self.set_watched(rib);
    }

    /// Hands out changed best paths.
    pub(crate) fn best(&mut self, changes: &[BestChange]) {
        if !self.wanted(Stage::LocRib) {
            return;
        }
        let what = self.scribe.best(changes);
        self.tell(what);
    }

    /// Tells those who have room a page of the table; whether there is more to tell at once.
    pub(crate) fn walk(&mut self, rib: &mut Rib) -> bool {
        let mut more = false;
        for at in 0..self.feeds.len() {
            let feed = &mut self.feeds[at];
            let Some(start) = feed.next.filter(|_| feed.has_room()) else { continue };
            let (page, next) = rib.walk(start, PAGE);
            feed.next = next;
            more |= next.is_some();
            self.tell_page(at, &page, next.is_none());
        }
        let before = self.feeds.len();
        self.feeds.retain(|feed| !feed.to.is_closed());
        if self.feeds.len() < before {
            self.set_watched(rib);
        }
        more
    }

    fn tell_page(&self, feed: usize, page: &[Held], last: bool) {
        let (feed, at) = (&self.feeds[feed], SystemTime::now());
        for what in self.scribe.page(page, &feed.wish.stages, last) {
            feed.tell(&Sight { at, what });
        }
    }

    fn wanted(&self, stage: Stage) -> bool {
        self.feeds.iter().any(|feed| feed.wish.stages.contains(&stage))
    }

    /// Tells all, or those who want its stage; who is behind or gone is let go.
    fn tell(&mut self, what: What) {
        if self.feeds.is_empty() {
            return;
        }
        let stage = what.stage();
        let sight = Sight { at: SystemTime::now(), what };
        self.feeds.retain(|feed| {
            let wants = stage.is_none_or(|stage| feed.wish.stages.contains(&stage));
            !wants || feed.tell(&sight)
        });
    }

    fn set_watched(&self, rib: &mut Rib) {
        rib.set_watched(self.wanted(Stage::PrePolicy) || self.wanted(Stage::PostPolicy));
        rib.watch_best(self.wanted(Stage::LocRib));
    }
}
