//! What must hold of prefix limits at every moment, by books that the simulator keeps itself.

use std::collections::BTreeMap;
use std::time::Duration;

use bgp_proto::prefix_limit::{LimitAction, PrefixLimit};
use bgp_proto::rib::Scope;
use bgp_proto::speaker::Speaker;
use bgp_proto::time::Instant;

use crate::network::{Event, Network};
use crate::topology::NodeId;

/// How long a session stays down that starts again by itself: this, and twice as long each time, up to an hour.
const SHORTEST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(3600);
/// A session of this length is a good one: what was before is forgiven.
const GOOD: Duration = Duration::from_secs(600);

/// Of a node with one neighbour.
#[derive(Clone, Copy, Debug, Default)]
struct Book {
    up: Option<Instant>,
    /// The node was warned in this session.
    warned: bool,
    /// Sessions one behind the other that ended for the limit, and none of them was good.
    in_a_row: u32,
    held: Option<Until>,
}

/// How long a session is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    /// Until somebody says otherwise.
    Told,
    Then(Instant),
}

impl Until {
    fn is_over(self, now: Instant) -> bool {
        matches!(self, Self::Then(at) if at <= now)
    }
}

/// Of all nodes.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    books: BTreeMap<(NodeId, NodeId), Book>,
    warnings: u64,
}

impl Limits {
    /// Somebody has said that a session is to start, or to stop for another reason.
    pub(crate) fn release(&mut self, node: NodeId, peer: NodeId) {
        self.books.entry((node, peer)).or_default().held = None;
    }

    /// A process ends, and with it all that it remembers.
    pub(crate) fn forget(&mut self, node: NodeId) {
        self.books.retain(|(owner, _), _| *owner != node);
    }

    /// A neighbour is taken out, and what it did with it.
    pub(crate) fn forget_peer(&mut self, node: NodeId, peer: NodeId) {
        self.books.remove(&(node, peer));
    }
}

impl Network {
    /// How often nodes were warned that a neighbour is close to its limit.
    #[must_use]
    pub fn warnings(&self) -> u64 {
        self.limits.warnings
    }

    /// A session tries to come up, or is up.
    pub(crate) fn is_to_be_free(&mut self, node: NodeId, peer: NodeId) {
        let held = self.limits.books.get(&(node, peer)).and_then(|book| book.held);
        match held {
            Some(until) if until.is_over(self.now) => self.limits.release(node, peer),
            Some(until) => {
                self.violation(format!("{node} starts its session with {peer}, which its limit keeps down: {until:?}"));
            }
            None => {}
        }
    }

    pub(crate) fn came_up(&mut self, node: NodeId, peer: NodeId) {
        self.is_to_be_free(node, peer);
        let book = self.limits.books.entry((node, peer)).or_default();
        (book.up, book.warned) = (Some(self.now), false);
    }

    /// A node is told that a neighbour is close to its limit.
    pub(crate) fn warned(&mut self, node: NodeId, peer: NodeId) {
        self.note(format_args!("{node} has many prefixes of {peer}"));
        self.limits.warnings += 1;
        let book = self.limits.books.entry((node, peer)).or_default();
        if std::mem::replace(&mut book.warned, true) {
            self.violation(format!("{node} is warned of {peer} twice in one session"));
        }
    }

    /// A neighbour has sent too many, and its session ends.
    pub(crate) fn exceeded(&mut self, node: NodeId, peer: NodeId) {
        self.note(format_args!("{node} has too many prefixes of {peer}"));
        let (now, limit) = (self.now, self.topology.prefix_limit(node, peer));
        let book = self.limits.books.entry((node, peer)).or_default();
        let good = book.up.is_some_and(|up| now - up >= GOOD);
        book.in_a_row = if good { 1 } else { book.in_a_row + 1 };
        let until = until(limit, book.in_a_row, now);
        book.held = Some(until);
        if let Until::Then(at) = until {
            self.schedule(at, Event::LimitOver(node, peer));
        }
    }

    /// The time is over: the session starts at this moment.
    pub(crate) fn limit_over(&mut self, node: NodeId, peer: NodeId) {
        // The speaker may be woken at the same moment, and after this.
        self.wake(node);
        self.settle();
        let is_held = self.speaker(node).and_then(|speaker| speaker.held(peer.as_peer())).is_some();
        match self.limits.books.get(&(node, peer)).and_then(|book| book.held) {
            Some(until) if until.is_over(self.now) && is_held => {
                self.violation(format!("{node} does not start its session with {peer} although its time is over"));
            }
            Some(_) | None => {}
        }
    }

    fn held_of(&self, node: NodeId, peer: NodeId) -> usize {
        self.speaker(node).map_or(0, |speaker| speaker.rib().counts(peer.as_peer()).received)
    }

    fn keeps_stale(&self, node: NodeId, peer: NodeId) -> bool {
        let held = |speaker: &Speaker| {
            speaker
                .rib()
                .routes(Scope::Received(peer.as_peer()), None, usize::MAX, self.now)
                .iter()
                .any(|view| view.stale)
        };
        self.speaker(node).is_some_and(held)
    }

    /// Nobody has more of a neighbour than its limit lets through, or was not warned in time.
    ///
    /// # Errors
    /// Who of whom.
    pub(crate) fn limits_hold(&self) -> Result<(), String> {
        for node in self.running() {
            for peer in self.topology.node(node).peers.keys().copied().filter(|peer| self.is_up(node, *peer)) {
                let (held, limit) = (self.held_of(node, peer), self.topology.prefix_limit(node, peer));
                let warned = self.limits.books.get(&(node, peer)).is_some_and(|book| book.warned);
                let wrong = held > limit.hard() as usize || (held >= limit.warn_at() as usize && !warned);
                // What is kept of an earlier session counts as soon as the new one says something.
                if wrong && !self.keeps_stale(node, peer) {
                    return Err(format!("{node} has {held} prefixes of {peer} (warned: {warned}) with {limit:?}"));
                }
            }
        }
        Ok(())
    }
}

fn until(limit: PrefixLimit, in_a_row: u32, now: Instant) -> Until {
    match limit.action {
        LimitAction::Stop => Until::Told,
        LimitAction::Restart(Some(wait)) => Until::Then(now + wait),
        LimitAction::Restart(None) | LimitAction::Warn => {
            let waits = std::iter::successors(Some(SHORTEST), |wait| Some(LONGEST.min(*wait * 2)));
            Until::Then(now + waits.take(in_a_row as usize).last().unwrap_or(SHORTEST))
        }
    }
}
