//! The way past the RIB's task.
//!
//! The RIB stands behind a lock that is held while somebody works and never while anybody waits. A session that brings a few
//! UPDATEs and finds the RIB at rest has them decided at once: after a rest, to hand them over and to switch to the task
//! takes a twentieth of a change's way, for nothing but what these touch first.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bgp_proto::rib::BestChange;
use bgp_proto::wire::Update;
use tokio::sync::{Notify, mpsc};

use super::Keeper;
use crate::rib_port::{Report, SessionTag};
use crate::watch::Watchers;

/// Somebody panicked in the middle of the RIB's work: nobody knows what it is worth.
#[derive(Debug)]
pub(super) struct Broken;

/// Most messages of one change that whoever brought it writes into other sessions' sockets. Many more the sessions' tasks
/// write, on all of this host's processors.
const MESSAGES_ASIDE: usize = 4;

/// Most changes that whoever brought them has the owner follow at once.
const CHANGES_ASIDE: usize = 16;

/// The RIB, as its task and the sessions share it.
pub(crate) struct Desk {
    keeper: Mutex<Keeper>,
    /// What was done past the task left something for it.
    left_over: Notify,
}

/// How far what went past the task has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Past {
    /// All of it is done.
    Done,
    /// It is decided and the owner is told.
    Decided {
        /// There is more to do at once.
        busy: bool,
    },
}

impl Desk {
    pub(super) fn new(keeper: Keeper) -> Self {
        Self { keeper: Mutex::new(keeper), left_over: Notify::new() }
    }

    pub(super) fn keeper(&self) -> Result<MutexGuard<'_, Keeper>, Broken> {
        self.keeper.lock().map_err(|_| Broken)
    }

    /// Waits until something is left for the task.
    pub(super) async fn left_over(&self) {
        self.left_over.notified().await;
    }

    /// Decides and tells the owner, if the RIB is at rest. `Ok(true)`: [`Desk::follow_up`] must follow when the owner had its turn.
    /// `Err`: they have to queue.
    pub(crate) fn decide(&self, tag: SessionTag, updates: Vec<Update>) -> Result<bool, Vec<Update>> {
        match self.keeper.try_lock() {
            Ok(mut keeper) if keeper.waits && keeper.past == Past::Done => {
                let now = keeper.clock.now();
                keeper.take(tag, Report::Updates(updates), now);
                keeper.past = Past::Decided { busy: keeper.aside(|keeper| keeper.decide(now)) };
                keeper.tell_owner();
                if keeper.unadvertised {
                    return Ok(true);
                }
                self.leave_over(keeper.follow_up());
                Ok(false)
            }
            _ => Err(updates),
        }
    }

    /// Tells peers what was decided, or has the task do so.
    pub(crate) fn follow_up(&self) {
        self.leave_over(self.keeper.try_lock().is_ok_and(|mut keeper| keeper.follow_up()));
    }

    fn leave_over(&self, nothing: bool) {
        if !nothing {
            self.left_over.notify_one();
        }
    }

    /// The task has ended: nobody is told of anything any more, and whoever listens knows it.
    pub(super) fn close(&self) {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        keeper.waits = false;
        keeper.events = mpsc::channel(1).0;
        keeper.forward = None;
        keeper.watchers = Watchers::default();
        keeper.links.clear();
    }
}

impl Keeper {
    /// Works, and lets a few messages go past the tasks of those that they are for.
    fn aside<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        self.aside = MESSAGES_ASIDE;
        let done = work(self);
        self.aside = 0;
        done
    }

    /// Whether what was decided went past the queue of events.
    pub(super) fn forward_aside(&self, changes: &[BestChange]) -> bool {
        // What waits goes before.
        self.aside > 0
            && self.untold.is_empty()
            && changes.len() <= CHANGES_ASIDE
            && self.forward.as_ref().is_some_and(|forward| forward.take(self.told, changes))
    }

    /// Whether nothing is left for the task.
    fn follow_up(&mut self) -> bool {
        let Past::Decided { mut busy } = self.past else { return true };
        if !self.waits {
            // It is at work, and looks at everything before it waits again.
            return true;
        }
        if self.unadvertised {
            busy |= self.aside(Self::advertise);
        }
        let timeout = self.rib.poll_timeout();
        let later = timeout.is_none_or(|at| self.wakes.is_some_and(|wakes| wakes <= at));
        let rests = !busy && later && self.untold.is_empty();
        if rests {
            self.past = Past::Done;
        }
        rests
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Weak};
    use std::time::Duration;

    use bgp_proto::rib::{PeerPolicy, RibConfig};
    use bgp_proto::types::{Family, NextHop, Nlri, PathId, PeerId, Prefix};
    use bgp_proto::wire::aspath::AsPath;
    use bgp_proto::wire::attributes::{Attributes, Origin};
    use bgp_proto::wire::update::Announcement;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpStream;
    use tokio::task::yield_now;

    use super::*;
    use crate::Event;
    use crate::clock::Clock;
    use crate::forward::Forward;
    use crate::outlet::{self, Outlet};
    use crate::own;
    use crate::rib_port::{RibPort, tests::established};
    use crate::rib_task::tests::internal_peer;
    use crate::rib_task::{FromRib, Order, start};

    /// A RIB at rest, with a peer that announces and another one that hears of it.
    struct Scene {
        desk: Arc<Desk>,
        port: RibPort,
        /// Of whoever hears of it.
        other: RibPort,
        listener: mpsc::UnboundedReceiver<FromRib>,
        told: mpsc::Receiver<Event>,
        /// The task goes on as long as there are these.
        orders: mpsc::UnboundedSender<Order>,
    }

    async fn scene() -> Scene {
        scene_with(&[Weak::new(), Weak::new()]).await
    }

    /// With the ways out of their connections.
    async fn scene_with(outlets: &[Weak<Outlet>; 2]) -> Scene {
        let (orders, received) = mpsc::unbounded_channel();
        let (reports, reported) = mpsc::unbounded_channel();
        let (events, mut told) = mpsc::channel(16);
        let config = RibConfig { tell_best: true, convergence: Duration::ZERO, ..own::tests::config() };
        let desk = start(config, Clock::start(), received, reported, events);
        let join = |peer: PeerId, outlet: &Weak<Outlet>| {
            let (to, from_rib) = mpsc::unbounded_channel();
            // A route reflector's client hears of what others announce.
            let policy = PeerPolicy { client: true, ..internal_peer() };
            let _ = orders.send(Order::SetPeer { peer, task: 1, policy, to });
            let mut port = RibPort::new(reports.clone(), Some(Arc::clone(&desk)), RibPort::budget(), peer, 1);
            let mut session = established();
            session.send.families.insert(Family::Ipv4Unicast);
            session.receive.families.insert(Family::Ipv4Unicast);
            port.up(session, Box::default(), outlet.clone());
            (port, from_rib)
        };
        let ((port, _), (other, mut listener)) = (join(PeerId(1), &outlets[0]), join(PeerId(2), &outlets[1]));
        // End-of-RIB: all that there was to say has been said.
        assert!(matches!(listener.recv().await, Some(FromRib::Send { .. })));
        rest(&desk).await;
        while told.try_recv().is_ok() {}
        Scene { desk, port, other, listener, told, orders }
    }

    async fn rest(desk: &Desk) {
        for _ in 0..100 {
            if desk.keeper().unwrap().waits {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("the task does not come to rest");
    }

    fn announcement() -> Vec<Update> {
        announcement_of(vec!["198.51.100.0/24".parse().unwrap()])
    }

    fn announcement_of(prefixes: Vec<Prefix>) -> Vec<Update> {
        let attributes = Attributes::new(Origin::Igp, AsPath::default(), NextHop::V4(Ipv4Addr::new(192, 0, 2, 1)));
        let nlri = prefixes.into_iter().map(|prefix| Nlri { prefix, path_id: PathId(0) }).collect();
        vec![Update { announced: vec![Announcement { attributes: Arc::new(attributes), nlri }], ..Update::default() }]
    }

    #[tokio::test]
    async fn what_finds_the_rib_at_rest_is_decided_without_its_task() {
        let mut scene = scene().await;
        assert!(scene.port.hand_over(announcement(), 1), "whoever is told first gets no turn");
        // The task had no turn.
        assert!(matches!(scene.told.try_recv(), Ok(Event::Best(_))));
        assert!(scene.listener.try_recv().is_err(), "a peer was told before whoever is told before had its turn");
        scene.port.follow_up();
        assert!(matches!(scene.listener.try_recv(), Ok(FromRib::Send { .. })));
        assert!(scene.desk.keeper().unwrap().past == Past::Done);
    }

    /// A scene in which whoever hears of a route has a socket, with its other end.
    async fn scene_with_a_socket() -> (Scene, Arc<Outlet>, TcpStream) {
        let (outlet, peer) = outlet::tests::outlet().await;
        let outlet = Arc::new(outlet);
        let scene = scene_with(&[Weak::new(), Arc::downgrade(&outlet)]).await;
        // Its End-of-RIB has left.
        outlet.let_rib_write(true);
        scene.desk.keeper().unwrap().take(scene.other.tag(), Report::Sent(END_OF_RIB), Clock::start().now());
        (scene, outlet, peer)
    }

    /// Octets of the End-of-RIB of IPv4 (RFC 4724 section 2).
    const END_OF_RIB: usize = 23;

    #[tokio::test]
    async fn a_change_is_written_to_whoever_hears_of_it_without_its_task() {
        let (mut scene, outlet, mut peer) = scene_with_a_socket().await;
        let _ = scene.port.hand_over(announcement(), 1);
        scene.port.follow_up();
        assert!(scene.listener.try_recv().is_err(), "its task was told, too");
        let mut header = [0; 19];
        peer.read_exact(&mut header).await.unwrap();
        assert_eq!(header[18], 2, "not an UPDATE");
        assert_eq!(outlet.take_aside().map(|aside| aside.counts), Some([0, 1, 0, 0, 0]));
        assert_eq!(scene.desk.keeper().unwrap().rib.counts(PeerId(2)).unsent_bytes, 0);
    }

    #[tokio::test]
    async fn a_change_does_not_overtake_what_a_task_was_given() {
        let (mut scene, outlet, _peer) = scene_with_a_socket().await;
        // By the task of the RIB, which lets nothing go past the others.
        scene.port.push(Report::Updates(announcement()), 1);
        let Some(FromRib::Send { messages, .. }) = scene.listener.recv().await else { panic!("not told") };
        rest(&scene.desk).await;
        let _ = scene.port.hand_over(announcement_of(vec!["203.0.113.0/24".parse().unwrap()]), 1);
        scene.port.follow_up();
        assert!(matches!(scene.listener.try_recv(), Ok(FromRib::Send { .. })));
        assert_eq!(outlet.take_aside(), None);
        assert!(!messages.is_empty());
    }

    #[tokio::test]
    async fn what_a_session_reports_is_taken_in_its_order_though_some_may_go_past_the_queue() {
        let mut scene = scene().await;
        scene.port.push(Report::Refresh(Family::Ipv4Unicast), 1);
        let _ = scene.port.hand_over(announcement(), 1);
        assert!(scene.told.try_recv().is_err(), "it went past what was reported before");
        assert!(matches!(scene.told.recv().await, Some(Event::Best(_))));
    }

    /// Half as many routes as are decided about at once, by each number others.
    fn half(number: u8) -> Vec<Update> {
        let blocks = (0..4096_u32).map(|block| Ipv4Addr::from(u32::from_be_bytes([number, 0, 0, 0]) + (block << 8)));
        announcement_of(blocks.map(|block| format!("{block}/24").parse().unwrap()).collect())
    }

    #[tokio::test]
    async fn what_one_peer_says_is_told_before_more_of_it_is_heard() {
        let mut scene = scene().await;
        (20..26).for_each(|number| scene.port.push(Report::Updates(half(number)), 1));
        assert!(matches!(scene.told.recv().await, Some(Event::Best(_))));
        assert!(!scene.desk.keeper().unwrap().rib.has_undecided(), "more was heard than is decided about at once");
    }

    #[tokio::test]
    async fn several_peers_are_heard_out_before_they_are_decided_about() {
        let mut scene = scene().await;
        scene.port.push(Report::Updates(half(20)), 1);
        scene.other.push(Report::Updates(half(20)), 1);
        (21..26).for_each(|number| scene.port.push(Report::Updates(half(number)), 1));
        assert!(matches!(scene.told.recv().await, Some(Event::Best(_))));
        assert!(
            scene.desk.keeper().unwrap().rib.has_undecided(),
            "what they say of the same prefixes comes one by one"
        );
    }

    /// Whoever forwards, and what it was brought past the queue.
    #[derive(Default)]
    struct Follower {
        refuses: AtomicBool,
        /// How many events came before, and the prefixes.
        taken: Mutex<Vec<(u64, usize)>>,
    }

    impl Forward for Follower {
        fn take(&self, told: u64, changes: &[BestChange]) -> bool {
            let takes = !self.refuses.load(Ordering::Relaxed);
            if takes {
                self.taken.lock().unwrap().push((told, changes.len()));
            }
            takes
        }
    }

    async fn followed() -> (Scene, Arc<Follower>, u64) {
        let scene = scene().await;
        let follower = Arc::new(Follower::default());
        let _ = scene.orders.send(Order::ForwardBy(follower.clone()));
        yield_now().await;
        rest(&scene.desk).await;
        let told = scene.desk.keeper().unwrap().told;
        (scene, follower, told)
    }

    #[tokio::test]
    async fn whoever_forwards_is_brought_a_change_past_the_queue_and_before_peers_hear_of_it() {
        let (mut scene, follower, told) = followed().await;
        assert!(!scene.port.hand_over(announcement(), 1), "a turn that nobody needs");
        assert_eq!(*follower.taken.lock().unwrap(), [(told, 1)]);
        assert!(matches!(scene.listener.try_recv(), Ok(FromRib::Send { .. })));
        assert!(scene.told.try_recv().is_err(), "it is told twice");
    }

    #[tokio::test]
    async fn what_whoever_forwards_does_not_take_comes_by_the_queue_and_is_counted() {
        let (mut scene, follower, told) = followed().await;
        follower.refuses.store(true, Ordering::Relaxed);
        let _ = scene.port.hand_over(announcement(), 1);
        assert!(matches!(scene.told.try_recv(), Ok(Event::Best(_))));
        scene.port.follow_up();
        rest(&scene.desk).await;
        follower.refuses.store(false, Ordering::Relaxed);
        let _ = scene.port.hand_over(announcement_of(vec!["203.0.113.0/24".parse().unwrap()]), 1);
        assert_eq!(*follower.taken.lock().unwrap(), [(told + 1, 1)]);
    }

    #[tokio::test]
    async fn many_changes_and_those_that_the_task_decides_come_by_the_queue() {
        let (mut scene, follower, _) = followed().await;
        let _ = scene.port.hand_over(half(20), 1);
        assert!(matches!(scene.told.try_recv(), Ok(Event::Best(_))));
        scene.port.follow_up();
        scene.port.push(Report::Updates(announcement()), 1);
        assert!(matches!(scene.told.recv().await, Some(Event::Best(_))));
        assert_eq!(*follower.taken.lock().unwrap(), []);
    }

    #[tokio::test]
    async fn a_session_that_ends_between_decision_and_word_leaves_its_peers_told() {
        let Scene { mut port, mut listener, orders: _orders, .. } = scene().await;
        let _ = port.hand_over(announcement(), 1);
        drop(port);
        assert!(matches!(listener.try_recv(), Ok(FromRib::Send { .. })));
    }

    #[tokio::test]
    async fn whoever_listens_learns_of_the_end_though_sessions_still_know_the_rib() {
        let Scene { port, mut listener, mut told, orders, .. } = scene().await;
        drop(orders);
        let end = async { (told.recv().await.is_none(), listener.recv().await.is_none()) };
        let end = tokio::time::timeout(Duration::from_secs(5), end).await;
        assert_eq!(end, Ok((true, true)));
        drop(port);
    }
}
