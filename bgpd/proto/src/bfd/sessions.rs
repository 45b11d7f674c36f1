//! All sessions of a host: which one a datagram belongs to (RFC 5880 section 6.8.6, RFC 5881 sections 3 and 5, RFC 5883
//! section 4.1), and when the next one is due.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::num::NonZeroU32;

use super::packet::{Discard, LEN, Packet};
use super::session::{Change, Session, SessionConfig, Status};
use crate::time::Instant;
use crate::timers::Jitter;

/// How far away the other end may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hops {
    /// On the same link: UDP port 3784, and a TTL of 255 on arrival (RFC 5881).
    Single,
    /// Anywhere: UDP port 4784 (RFC 5883).
    Multi {
        /// The least TTL on arrival; RFC 5883 section 5 leaves it open, 1 is any.
        least_ttl: u8,
    },
}

impl Hops {
    /// Whether both are of one port.
    #[must_use]
    pub fn is_single(self) -> bool {
        self == Self::Single
    }

    fn least_ttl(self) -> u8 {
        match self {
            Self::Single => 255,
            Self::Multi { least_ttl } => least_ttl,
        }
    }
}

/// The other end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// Its address.
    pub address: IpAddr,
    /// The interface of a link-local address, 0 for every other.
    pub scope: u32,
}

/// A datagram that came.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// From whom.
    pub source: Target,
    /// The TTL, or hop limit, that it had left; `None`: the kernel did not say.
    pub ttl: Option<u8>,
    /// To the port of single-hop sessions.
    pub single_hop: bool,
    /// What was in it.
    pub payload: &'a [u8],
}

/// What the owner is to do or to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this to the port of `hops`, with a TTL of 255.
    Send {
        /// To whom.
        target: Target,
        /// By which port.
        hops: Hops,
        /// What.
        octets: [u8; LEN],
    },
    /// A session came up or went down.
    Change {
        /// Which.
        target: Target,
        /// What happened.
        change: Change,
    },
    /// A session that was removed has said so for long enough, or it said it to nobody.
    Gone {
        /// Which.
        target: Target,
    },
}

/// What a session has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets sent.
    pub sent: u64,
    /// Packets taken in.
    pub received: u64,
    /// Packets from its address that were discarded.
    pub discarded: u64,
    /// Why the last one of them was.
    pub last_discard: Option<Discard>,
}

#[derive(Debug)]
struct Entry {
    target: Target,
    hops: Hops,
    session: Session,
    traffic: Traffic,
    /// In `due`.
    due: Option<Instant>,
    /// Removed: AdminDown is said until then.
    ends: Option<Instant>,
}

/// All sessions of a host.
#[derive(Debug)]
pub struct Sessions {
    by_discriminator: BTreeMap<u32, Entry>,
    by_target: HashMap<Target, u32>,
    due: BTreeSet<(Instant, u32)>,
    outputs: VecDeque<Output>,
    discards: [u64; Discard::ALL.len()],
    random: Jitter,
}

impl Sessions {
    /// None yet. `seed` makes discriminators and the sessions' jitter.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            by_discriminator: BTreeMap::new(),
            by_target: HashMap::new(),
            due: BTreeSet::new(),
            outputs: VecDeque::new(),
            discards: [0; Discard::ALL.len()],
            random: Jitter::new(seed),
        }
    }

    /// Starts a session, or changes one in place; one that was removed and still says so is enabled again.
    pub fn set(&mut self, now: Instant, target: Target, hops: Hops, config: SessionConfig) {
        if let Some(id) = self.by_target.get(&target).copied() {
            if let Some(entry) = self.by_discriminator.get_mut(&id) {
                entry.hops = hops;
                if entry.session.config() != config {
                    entry.session.set_config(now, config);
                }
                if entry.ends.take().is_some() {
                    entry.session.enable(now);
                }
            }
            self.settle(now, id);
            return;
        }
        let discriminator = self.free_discriminator();
        let session = Session::new(config, discriminator, self.random.bits(), now);
        let id = discriminator.get();
        let entry = Entry { target, hops, session, traffic: Traffic::default(), due: None, ends: None };
        self.by_target.insert(target, id);
        self.by_discriminator.insert(id, entry);
        self.settle(now, id);
    }

    /// The other end turned out to be on a link, or on none. Nothing else of the session changes, one that ends too.
    pub fn set_hops(&mut self, target: Target, hops: Hops) {
        let id = self.by_target.get(&target);
        if let Some(entry) = id.and_then(|id| self.by_discriminator.get_mut(id)) {
            entry.hops = hops;
        }
    }

    /// Ends a session: the other end is told AdminDown for as long as it takes to hear it.
    pub fn remove(&mut self, now: Instant, target: Target) {
        let Some(id) = self.by_target.get(&target).copied() else { return };
        if let Some(entry) = self.by_discriminator.get_mut(&id).filter(|entry| entry.ends.is_none()) {
            entry.session.disable(now);
            entry.ends = Some(now + entry.session.farewell());
        }
        self.settle(now, id);
    }

    /// A datagram came.
    ///
    /// # Errors
    /// It is discarded, and counted.
    pub fn handle_datagram(&mut self, now: Instant, datagram: &Received<'_>) -> Result<(), Discard> {
        let taken = self.take(now, datagram);
        if let Err(reason) = taken {
            self.discards[reason as usize] += 1;
            let id = self.by_target.get(&datagram.source);
            if let Some(entry) = id.and_then(|id| self.by_discriminator.get_mut(id)) {
                entry.traffic.discarded += 1;
                entry.traffic.last_discard = Some(reason);
            }
        }
        taken
    }

    fn take(&mut self, now: Instant, datagram: &Received<'_>) -> Result<(), Discard> {
        // First of all what costs nothing to check and cannot be forged from afar (RFC 5881 section 5).
        if datagram.single_hop && datagram.ttl != Some(255) {
            return Err(Discard::Ttl);
        }
        let packet = Packet::decode(datagram.payload)?;
        let id = match packet.your_discriminator {
            0 => *self.by_target.get(&datagram.source).ok_or(Discard::UnknownSource)?,
            id => id,
        };
        let entry = self.by_discriminator.get_mut(&id).ok_or(Discard::UnknownDiscriminator)?;
        // RFC 5880 section 6.3 would let the address change. A peer of BGP has one, and who is not it is not heard.
        if entry.target != datagram.source || entry.hops.is_single() != datagram.single_hop {
            return Err(Discard::WrongSource);
        }
        if datagram.ttl.is_none_or(|ttl| ttl < entry.hops.least_ttl()) {
            return Err(Discard::Ttl);
        }
        entry.session.handle_packet(now, &packet)?;
        entry.traffic.received += 1;
        self.settle(now, id);
        Ok(())
    }

    /// Time has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, id)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, id));
            if let Some(entry) = self.by_discriminator.get_mut(&id) {
                entry.due = None;
                entry.session.handle_timeout(now);
            }
            self.settle(now, id);
        }
    }

    /// When to call [`Sessions::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// What to do next: call it until `None` after every other call.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// All sessions, those that are just ending too, by address.
    pub fn iter(&self) -> impl Iterator<Item = (Target, Hops, Status, SessionConfig, Traffic)> {
        let mut entries: Vec<_> = self.by_discriminator.values().collect();
        entries.sort_by_key(|entry| entry.target);
        entries
            .into_iter()
            .map(|entry| (entry.target, entry.hops, entry.session.status(), entry.session.config(), entry.traffic))
    }

    /// How one stands.
    #[must_use]
    pub fn status(&self, target: Target) -> Option<Status> {
        let entry = self.by_discriminator.get(self.by_target.get(&target)?)?;
        Some(entry.session.status())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_discriminator.is_empty()
    }

    /// Datagrams that were discarded, by reason.
    pub fn discards(&self) -> impl Iterator<Item = (Discard, u64)> {
        Discard::ALL.into_iter().map(|reason| (reason, self.discards[reason as usize]))
    }

    /// After everything that touched a session: what it has to say goes out, and it is due when it says.
    fn settle(&mut self, now: Instant, id: u32) {
        let Some(entry) = self.by_discriminator.get_mut(&id) else { return };
        let (target, hops) = (entry.target, entry.hops);
        while let Some(packet) = entry.session.poll_send() {
            entry.traffic.sent += 1;
            self.outputs.push_back(Output::Send { target, hops, octets: packet.encode() });
        }
        while let Some(change) = entry.session.poll_change() {
            self.outputs.push_back(Output::Change { target, change });
        }
        let due = [entry.session.poll_timeout(), entry.ends].into_iter().flatten().min();
        if let Some(at) = entry.due.take() {
            self.due.remove(&(at, id));
        }
        if entry.ends.is_some_and(|at| at <= now) {
            self.by_discriminator.remove(&id);
            self.by_target.remove(&target);
            self.outputs.push_back(Output::Gone { target });
            return;
        }
        entry.due = due;
        if let Some(at) = due {
            self.due.insert((at, id));
        }
    }

    /// Unique on this host, and not to be guessed by who cannot read our packets.
    fn free_discriminator(&mut self) -> NonZeroU32 {
        loop {
            let drawn = u32::try_from(self.random.bits() >> 32).ok().and_then(NonZeroU32::new);
            if let Some(drawn) = drawn.filter(|drawn| !self.by_discriminator.contains_key(&drawn.get())) {
                return drawn;
            }
        }
    }
}
