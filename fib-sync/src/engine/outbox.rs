//! Events for a reader that may be slow: conflated rather than queued.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
};

use ipnetwork::IpNetwork;
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::{FibEvent, OverlayStatus, Reach};

/// Repairs kept for the reader; each is logged as well.
const REPAIRS: usize = 1024;

#[derive(Debug)]
pub(super) struct Outbox {
    events: mpsc::Sender<FibEvent>,
    reach: HashMap<IpAddr, Reach>,
    overlay: Option<Result<OverlayStatus, String>>,
    resynced: bool,
    repaired: VecDeque<(IpNetwork, String)>,
}

impl Outbox {
    pub(super) fn new(events: mpsc::Sender<FibEvent>) -> Outbox {
        Outbox { events, reach: HashMap::new(), overlay: None, resynced: false, repaired: VecDeque::new() }
    }

    pub(super) fn reach(&mut self, address: IpAddr, reach: Reach) {
        self.reach.insert(address, reach);
    }

    pub(super) fn overlay(&mut self, now: Result<OverlayStatus, String>) {
        self.overlay = Some(now);
    }

    pub(super) fn resynced(&mut self) {
        self.resynced = true;
    }

    pub(super) fn repaired(&mut self, prefix: IpNetwork, what: String) {
        if self.repaired.len() == REPAIRS {
            self.repaired.pop_front();
        }
        self.repaired.push_back((prefix, what));
    }

    /// Hands over what it can. Returns whether that was all.
    pub(super) fn flush(&mut self) -> bool {
        loop {
            let permit = match self.events.try_reserve() {
                Ok(permit) => permit,
                Err(TrySendError::Full(())) => return self.is_empty(),
                Err(TrySendError::Closed(())) => {
                    // Nobody wants to know.
                    self.reach.clear();
                    self.repaired.clear();
                    return true;
                }
            };
            if !self.reach.is_empty() {
                permit.send(FibEvent::ReachChanged(self.reach.drain().collect()));
            } else if let Some(now) = self.overlay.take() {
                permit.send(match now {
                    Ok(status) => FibEvent::OverlayChanged(status),
                    Err(error) => FibEvent::OverlayLost { error },
                });
            } else if std::mem::take(&mut self.resynced) {
                permit.send(FibEvent::Resynced);
            } else if let Some((prefix, what)) = self.repaired.pop_front() {
                permit.send(FibEvent::Repaired { prefix, what });
            } else {
                return true;
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.reach.is_empty() && self.overlay.is_none() && !self.resynced && self.repaired.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_reader_gets_the_newest_answer_of_each_next_hop_and_no_more_than_it_has_room_for() {
        let (events, mut heard) = mpsc::channel(1);
        let mut outbox = Outbox::new(events);
        let (one, two) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        outbox.resynced();
        assert!(outbox.flush(), "there is room for one");
        for round in 0..100 {
            outbox.reach(one, Reach::Unreachable { error: round.to_string() });
            outbox.reach(two, Reach::Local);
            assert!(!outbox.flush(), "there is no room");
        }
        assert_eq!(heard.try_recv(), Ok(FibEvent::Resynced));
        assert!(outbox.flush());
        let Ok(FibEvent::ReachChanged(changed)) = heard.try_recv() else { panic!("no change of reach") };
        let newest = Reach::Unreachable { error: "99".into() };
        assert_eq!(changed.into_iter().collect::<HashMap<_, _>>(), HashMap::from([(one, newest), (two, Reach::Local)]));
    }
}
