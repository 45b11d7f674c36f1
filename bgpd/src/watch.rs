//! Who watches the RIB: monitoring stations and files hear of sessions and routes in the order in which the RIB did.
//!
//! The RIB's task encodes what it sees once, for all who want it, and hands it out. A watcher that is behind by more than
//! [`BEHIND`] octets is let go and has to begin anew: it costs bounded memory, and never a session's time. The table as it
//! was when a watcher came is told page by page, as fast as the watcher takes it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use bgp_proto::bmp::Stage;
use bgp_proto::rib::{BestChange, Held, PageStart, Rib, Seen};
use bgp_proto::session::{DownReason, Established};
use bgp_proto::types::{Asn, Family, FamilySet, Nlri, PeerId};
use bgp_proto::wire::UpdateContext;
use bgp_proto::wire::attributes::Attributes;
use bgp_proto::wire::update::UpdateBuilder;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::rib_task::Order;

/// Octets that may wait for a watcher.
pub(crate) const BEHIND: usize = 16 * 1024 * 1024;
/// What a sight weighs beside its message.
const WEIGHT: usize = 96;
/// Paths of one page of the table.
const PAGE: usize = 4096;
/// RFC 8654.
const LONGEST_MESSAGE: usize = 65535;

/// A session that is up, and what began it.
#[derive(Clone, Debug)]
pub(crate) struct Witness {
    pub(crate) peer: PeerId,
    pub(crate) local_as: Asn,
    pub(crate) established: Box<Established>,
    pub(crate) carrier: Box<Carrier>,
}

/// What a session knows of its connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Carrier {
    pub(crate) local_port: u16,
    pub(crate) remote_port: u16,
    /// Whole messages.
    pub(crate) sent_open: Bytes,
    pub(crate) received_open: Bytes,
}

impl Witness {
    pub(crate) fn address(&self) -> IpAddr {
        self.established.remote_address
    }

    /// Families that both sides have.
    pub(crate) fn families(&self) -> FamilySet {
        self.established.receive.families.intersection(self.established.send.families)
    }
}

/// Why a session is no longer watched.
#[derive(Clone, Debug)]
pub(crate) enum Ending {
    Down(DownReason),
    /// The peer was removed.
    Removed,
}

/// What a watcher hears.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    pub(crate) at: SystemTime,
    pub(crate) what: What,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    Up(Arc<Witness>),
    Down(Arc<Witness>, Ending),
    /// Whole UPDATEs, one behind the other, in four octets; with path identifiers where `add_path`. Of Loc-RIB, without a
    /// witness.
    Updates {
        of: Option<Arc<Witness>>,
        stage: Stage,
        messages: Bytes,
    },
    /// The table has been told.
    Told,
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
    up: HashMap<PeerId, Arc<Witness>>,
}

impl Watchers {
    pub(crate) fn add(&mut self, feed: Feed, rib: &mut Rib) {
        let at = SystemTime::now();
        // Those that come later are told of as they come.
        let mut up: Vec<_> = self.up.values().cloned().collect();
        up.sort_by_key(|witness| witness.peer);
        let listens = up.into_iter().all(|witness| feed.tell(&Sight { at, what: What::Up(witness) }));
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
        let witness = Arc::new(witness);
        self.up.insert(witness.peer, witness.clone());
        self.tell(What::Up(witness), None);
    }

    pub(crate) fn down(&mut self, peer: PeerId, ending: Ending) {
        if let Some(witness) = self.up.remove(&peer) {
            self.tell(What::Down(witness, ending), None);
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
        self.up.values()
    }

    /// Hands out what the RIB has seen since the last call.
    pub(crate) fn observe(&mut self, rib: &mut Rib) {
        if self.feeds.is_empty() {
            return;
        }
        for seen in rib.take_seen() {
            match seen {
                Seen::Announced { peer, received, accepted, nlri } => {
                    let Some(witness) = self.up.get(&peer).cloned() else { continue };
                    if self.wanted(Stage::PrePolicy) {
                        self.tell_updates(&witness, Stage::PrePolicy, |say| say.announce(&received, &nlri));
                    }
                    if self.wanted(Stage::PostPolicy) {
                        self.tell_updates(&witness, Stage::PostPolicy, |say| match &accepted {
                            Some(accepted) => say.announce(accepted, &nlri),
                            None => say.withdraw(&nlri),
                        });
                    }
                }
                Seen::Withdrawn { peer, nlri } => {
                    let Some(witness) = self.up.get(&peer).cloned() else { continue };
                    for stage in [Stage::PrePolicy, Stage::PostPolicy] {
                        self.tell_updates(&witness, stage, |say| say.withdraw(&nlri));
                    }
                }
                Seen::EndOfRib { peer, family } => {
                    let Some(witness) = self.up.get(&peer).cloned() else { continue };
                    for stage in [Stage::PrePolicy, Stage::PostPolicy] {
                        self.tell_updates(&witness, stage, |say| say.end_of_rib(family));
                    }
                }
            }
        }
        self.set_watched(rib);
    }

    /// Hands out changed best paths.
    pub(crate) fn best(&mut self, changes: &[BestChange]) {
        if !self.wanted(Stage::LocRib) {
            return;
        }
        let mut say = Say::loc_rib();
        for change in changes.iter().filter(|change| !change.only_backup) {
            let nlri = [Nlri { prefix: change.prefix, path_id: Default::default() }];
            match change.paths.first() {
                Some(best) => say.announce(&best.attributes, &nlri),
                None => say.withdraw(&nlri),
            }
        }
        self.tell(What::Updates { of: None, stage: Stage::LocRib, messages: say.out.into() }, Some(Stage::LocRib));
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
        let feed = &self.feeds[feed];
        let at = SystemTime::now();
        let tell = |of: Option<&Arc<Witness>>, stage, say: Say| {
            let messages = Bytes::from(say.out);
            if !messages.is_empty() {
                feed.tell(&Sight { at, what: What::Updates { of: of.cloned(), stage, messages } });
            }
        };
        for stage in feed.wish.stages.iter().copied() {
            // What has one source and one set of attributes is one announcement.
            let mut groups: HashMap<(PeerId, &Attributes), Vec<Nlri>> = HashMap::new();
            for held in page {
                let (attributes, wanted) = match stage {
                    Stage::PrePolicy => (Some(&held.received), self.up.contains_key(&held.peer)),
                    Stage::PostPolicy => (held.accepted.as_ref(), self.up.contains_key(&held.peer)),
                    Stage::LocRib => (held.accepted.as_ref(), held.best),
                };
                if let Some(attributes) = attributes.filter(|_| wanted) {
                    let mut nlri = held.nlri;
                    let source = if stage == Stage::LocRib { PeerId::LOCAL } else { held.peer };
                    if stage == Stage::LocRib {
                        nlri.path_id = Default::default();
                    }
                    groups.entry((source, attributes)).or_default().push(nlri);
                }
            }
            let mut groups: Vec<_> = groups.into_iter().collect();
            groups.sort_by(|one, other| one.1[0].cmp(&other.1[0]));
            for ((source, attributes), nlri) in groups {
                let witness = self.up.get(&source);
                let mut say = witness.map_or_else(Say::loc_rib, |witness| Say::of(witness));
                say.announce(attributes, &nlri);
                tell(witness, stage, say);
            }
            if last {
                // RFC 7854 section 5: behind the table, End-of-RIB.
                let sources: Vec<Option<&Arc<Witness>>> = match stage {
                    Stage::LocRib => vec![None],
                    Stage::PrePolicy | Stage::PostPolicy => self.up.values().map(Some).collect(),
                };
                for witness in sources {
                    let mut say = witness.map_or_else(Say::loc_rib, |witness| Say::of(witness));
                    let families =
                        witness.map_or_else(|| Family::ALL.into_iter().collect(), |witness| witness.families());
                    families.iter().for_each(|family| say.end_of_rib(family));
                    tell(witness, stage, say);
                }
            }
        }
        if last {
            feed.tell(&Sight { at, what: What::Told });
        }
    }

    fn wanted(&self, stage: Stage) -> bool {
        self.feeds.iter().any(|feed| feed.wish.stages.contains(&stage))
    }

    fn tell_updates(&mut self, witness: &Arc<Witness>, stage: Stage, what: impl FnOnce(&mut Say)) {
        if self.wanted(stage) {
            let mut say = Say::of(witness);
            what(&mut say);
            let messages = Bytes::from(say.out);
            self.tell(What::Updates { of: Some(witness.clone()), stage, messages }, Some(stage));
        }
    }

    /// Tells all, or those who want `stage`; who is behind or gone is let go.
    fn tell(&mut self, what: What, stage: Option<Stage>) {
        if self.feeds.is_empty() {
            return;
        }
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

/// UPDATEs being written.
struct Say {
    context: UpdateContext,
    out: Vec<u8>,
}

impl Say {
    /// As the peer might have sent them, with AS numbers in four octets.
    fn of(witness: &Witness) -> Self {
        Self {
            // What a filter has set may be more than the peer may say.
            context: UpdateContext {
                four_octet_as: true,
                external: false,
                extended_next_hop: Family::ALL.into_iter().collect(),
                link: None,
                ..witness.established.receive
            },
            out: Vec::new(),
        }
    }

    fn loc_rib() -> Self {
        let context = UpdateContext {
            four_octet_as: true,
            external: false,
            families: Family::ALL.into_iter().collect(),
            add_path: FamilySet::EMPTY,
            extended_next_hop: Family::ALL.into_iter().collect(),
            link: None,
            max_message_len: 4096,
        };
        Self { context, out: Vec::new() }
    }

    fn announce(&mut self, attributes: &Attributes, nlri: &[Nlri]) {
        let said = UpdateBuilder::new(self.context).announce(attributes, nlri, &mut self.out);
        if said.is_err() {
            // In four octets a path may be longer than the message that it came in.
            let longer = UpdateContext { max_message_len: LONGEST_MESSAGE, ..self.context };
            let _ = UpdateBuilder::new(longer).announce(attributes, nlri, &mut self.out);
        }
    }

    fn withdraw(&mut self, nlri: &[Nlri]) {
        UpdateBuilder::new(self.context).withdraw(nlri, &mut self.out);
    }

    fn end_of_rib(&mut self, family: Family) {
        self.out.extend_from_slice(&UpdateBuilder::new(self.context).end_of_rib(family));
    }
}

/// Cuts messages that stand one behind the other.
pub(crate) fn each_message(mut messages: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = messages.get(16..18)?;
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        let (message, rest) = messages.split_at_checked(length)?;
        messages = rest;
        Some(message)
    })
}
