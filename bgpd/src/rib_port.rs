//! The way from a session to the RIB's task: bounded for all sessions together by bytes, fair, and never blocking.
//!
//! What one read of a socket brought is one message. Every message holds a part of a common budget until the RIB has
//! taken it in; a session that gets none keeps its message, reads its peer no further ([`RibPort::is_behind`]), and goes
//! on with everything else: timers, writing, answers. That a session went down is told at once and without a part of the
//! budget: there is at most one such message for each that said it was up. A few UPDATEs that find nothing before them go
//! past all that ([`RibPort::hand_over`]).

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bgp_proto::session::{DownReason, Established};
use bgp_proto::types::{Family, PeerId};
use bgp_proto::wire::Update;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, mpsc};

use crate::outlet::Outlet;
use crate::rib_task::Desk;
use crate::watch::Carrier;

/// Octets of messages, as they came from sockets, on the way to the RIB. Parsed, an octet becomes up to ten.
pub(crate) const BUDGET: usize = 256 * 1024;
/// Octets of one permit.
const UNIT: usize = 64;

/// One session of one peer's task: what belongs to an earlier one is told apart by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SessionTag {
    /// Which peer.
    pub(crate) peer: PeerId,
    /// Which task: a peer's number may be given to another one later.
    pub(crate) task: u64,
    /// Counts the sessions of the task.
    pub(crate) session: u32,
}

/// What a session tells the RIB.
#[derive(Debug)]
pub(crate) enum Report {
    Up(Box<Established>, Box<Carrier>, Weak<Outlet>),
    Down {
        retain: Option<Duration>,
        reason: String,
        why: DownReason,
    },
    Updates(Vec<Update>),
    Refresh(Family),
    Sent(usize),
    /// What was kept of the session that went down last goes.
    DropRetained,
}

/// A report on its way.
#[derive(Debug)]
pub(crate) struct Envelope {
    pub(crate) tag: SessionTag,
    pub(crate) report: Report,
    /// Given back when the RIB has taken the report in.
    pub(crate) _part: Option<OwnedSemaphorePermit>,
    pub(crate) _ticket: Ticket,
}

/// A report's ticket in the queue, until it is taken in or dropped. Counts those of one port.
#[derive(Debug)]
pub(crate) struct Ticket(Arc<AtomicUsize>);

impl Ticket {
    pub(crate) fn new(queued: &Arc<AtomicUsize>) -> Self {
        queued.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(queued))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

type Waiting = Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>;

/// One task's end of the way.
pub(crate) struct RibPort {
    reports: mpsc::UnboundedSender<Envelope>,
    /// Where a report goes past the queue; not in tests of the port alone.
    desk: Option<Arc<Desk>>,
    budget: Arc<Semaphore>,
    tag: SessionTag,
    /// Reports that the RIB has not taken in.
    queued: Arc<AtomicUsize>,
    /// What went past the queue is to be followed up.
    went_past: bool,
    /// The session's `Up` has left.
    up_told: bool,
    /// With what each weighs, in permits.
    pending: VecDeque<(Report, u32)>,
    /// Kept while others run, or a busy task would lose its place in the queue for the budget.
    waiting: Option<Waiting>,
}

impl RibPort {
    pub(crate) fn new(
        reports: mpsc::UnboundedSender<Envelope>,
        desk: Option<Arc<Desk>>,
        budget: Arc<Semaphore>,
        peer: PeerId,
        task: u64,
    ) -> Self {
        let tag = SessionTag { peer, task, session: 0 };
        Self {
            reports,
            desk,
            budget,
            tag,
            queued: Arc::default(),
            went_past: false,
            up_told: false,
            pending: VecDeque::new(),
            waiting: None,
        }
    }

    /// The budget that all ports of a speaker share.
    pub(crate) fn budget() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(BUDGET / UNIT))
    }

    pub(crate) fn tag(&self) -> SessionTag {
        self.tag
    }

    /// Whether reports wait for the RIB.
    pub(crate) fn is_behind(&self) -> bool {
        !self.pending.is_empty()
    }

    /// A new session is up.
    pub(crate) fn up(&mut self, established: Box<Established>, carrier: Box<Carrier>, outlet: Weak<Outlet>) {
        self.tag.session = self.tag.session.wrapping_add(1);
        self.up_told = false;
        self.push(Report::Up(established, carrier, outlet), UNIT);
    }

    /// The session is down. What the RIB has not taken of it by now, it need not see.
    pub(crate) fn down(&mut self, retain: Option<Duration>, reason: String, why: DownReason) {
        self.pending.clear();
        self.waiting = None;
        if std::mem::take(&mut self.up_told) {
            self.tell(Report::Down { retain, reason, why }, None);
        }
    }

    /// What was kept of the session that is down is not to be kept any longer.
    pub(crate) fn drop_retained(&mut self) {
        self.tell(Report::DropRetained, None);
    }

    /// What one read of few `octets` brought: goes past the queue if it may. Returns whether others need a turn to go on with it;
    /// behind that, [`RibPort::follow_up`] must follow.
    #[must_use]
    pub(crate) fn hand_over(&mut self, updates: Vec<Update>, octets: usize) -> bool {
        // What was reported before goes before.
        let none_before = !self.went_past && self.pending.is_empty() && self.queued.load(Ordering::Acquire) == 0;
        let past = match &self.desk {
            Some(desk) if none_before => desk.decide(self.tag, updates),
            _ => Err(updates),
        };
        match past {
            Ok(waits) => {
                self.went_past = waits;
                waits
            }
            Err(updates) => {
                self.push(Report::Updates(updates), octets);
                true
            }
        }
    }

    /// Has peers told of what went past the queue, when whoever is told before had its turn.
    pub(crate) fn follow_up(&mut self) {
        if std::mem::take(&mut self.went_past)
            && let Some(desk) = &self.desk
        {
            desk.follow_up();
        }
    }

    /// What one read of `octets` brought.
    pub(crate) fn push(&mut self, report: Report, octets: usize) {
        let permits = octets.div_ceil(UNIT).clamp(1, BUDGET / UNIT);
        self.pending.push_back((report, u32::try_from(permits).unwrap_or(u32::MAX)));
        self.flush();
    }

    /// The socket took `octets` of what the RIB had sent.
    pub(crate) fn sent(&mut self, octets: usize) {
        if let Some((Report::Sent(sum), _)) = self.pending.back_mut() {
            *sum += octets;
        } else {
            self.push(Report::Sent(octets), UNIT);
        }
    }

    /// Waits for a part of the budget, if a report does. Can be dropped and called again without losing its place.
    pub(crate) async fn room(&mut self) {
        let Some(waiting) = &mut self.waiting else {
            return std::future::pending().await;
        };
        let part = waiting.await;
        self.waiting = None;
        // The budget is never closed.
        if let (Ok(part), Some((report, _))) = (part, self.pending.pop_front()) {
            self.tell(report, Some(part));
        }
        self.flush();
    }

    fn flush(&mut self) {
        while self.waiting.is_none()
            && let Some((_, permits)) = self.pending.front()
        {
            let permits = *permits;
            match Arc::clone(&self.budget).try_acquire_many_owned(permits) {
                Ok(part) => {
                    if let Some((report, _)) = self.pending.pop_front() {
                        self.tell(report, Some(part));
                    }
                }
                Err(_) => self.waiting = Some(Box::pin(Arc::clone(&self.budget).acquire_many_owned(permits))),
            }
        }
    }

    fn tell(&mut self, report: Report, part: Option<OwnedSemaphorePermit>) {
        self.up_told |= matches!(report, Report::Up(..));
        // The RIB's task is gone only when the speaker stops.
        let envelope = Envelope { tag: self.tag, report, _part: part, _ticket: Ticket::new(&self.queued) };
        let _ = self.reports.send(envelope);
    }
}

impl Drop for RibPort {
    fn drop(&mut self) {
        self.follow_up();
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use bgp_proto::types::{Asn, RouterId};
    use bgp_proto::wire::UpdateContext;

    use super::*;

    pub(crate) fn established() -> Box<Established> {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Box::new(Established::new(Asn(1), RouterId(Ipv4Addr::LOCALHOST), UpdateContext::PLAIN, address, address))
    }

    fn port(permits: usize) -> (RibPort, mpsc::UnboundedReceiver<Envelope>) {
        let (reports, received) = mpsc::unbounded_channel();
        (RibPort::new(reports, None, Arc::new(Semaphore::new(permits)), PeerId(1), 1), received)
    }

    #[tokio::test]
    async fn a_report_without_budget_waits_and_leaves_in_order() {
        let (mut port, mut received) = port(2);
        port.up(established(), Box::default(), Weak::new());
        port.push(Report::Updates(Vec::new()), 1);
        port.push(Report::Refresh(Family::Ipv4Unicast), 1);
        assert!(port.is_behind());
        let up = received.recv().await.unwrap();
        assert!(matches!(up.report, Report::Up(..)));
        drop(up);
        port.room().await;
        assert!(!port.is_behind());
        assert!(matches!(received.recv().await.unwrap().report, Report::Updates(_)));
        assert!(matches!(received.recv().await.unwrap().report, Report::Refresh(_)));
    }

    #[tokio::test]
    async fn a_session_that_the_rib_never_saw_is_not_reported_down_either() {
        let (mut port, mut received) = port(0);
        for _ in 0..100 {
            port.up(established(), Box::default(), Weak::new());
            port.push(Report::Updates(Vec::new()), 1000);
            port.down(None, String::new(), DownReason::HoldTimerExpired);
        }
        assert!(!port.is_behind());
        assert!(received.try_recv().is_err());
    }

    #[tokio::test]
    async fn down_passes_a_spent_budget() {
        let (mut port, mut received) = port(1);
        port.up(established(), Box::default(), Weak::new());
        port.push(Report::Updates(Vec::new()), 1000);
        port.down(None, "gone".to_owned(), DownReason::HoldTimerExpired);
        assert!(matches!(received.recv().await.unwrap().report, Report::Up(..)));
        assert!(matches!(received.recv().await.unwrap().report, Report::Down { .. }));
    }

    #[tokio::test]
    async fn what_a_socket_took_is_one_report_however_often_it_took_some() {
        let (mut port, _received) = port(0);
        for _ in 0..1000 {
            port.sent(10);
        }
        assert_eq!(port.pending.len(), 1);
        assert!(matches!(port.pending[0], (Report::Sent(10_000), _)));
    }
}
