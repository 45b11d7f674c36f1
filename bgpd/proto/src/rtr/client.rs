//! One session with one cache: queries, answers, timers, fall-back to version 0. A value without I/O.
//!
//! `handle_*` tell it what happened outside. [`Client::poll`] says what to do: call it until it gives `None` after every
//! `handle_*`. [`Client::poll_timeout`] says when to call [`Client::handle_timeout`] next. An answer counts as a whole, when
//! its End of Data has come: what was there before counts until then.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::pdu::{ErrorCode, Pdu, Version, error_report, next_pdu};
use super::vrp::Vrp;
use crate::time::Instant;

/// What a client is told before it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// How often to ask for news when the cache says nothing. `None`: what the cache says, else 3600 s.
    pub refresh: Option<Duration>,
    /// How long to wait after a failure, at most. `None`: what the cache says, else 600 s.
    pub retry: Option<Duration>,
    /// How long data counts without news. `None`: what the cache says, else 7200 s.
    pub expire: Option<Duration>,
    /// The most VRPs that are taken from this cache.
    pub max_vrps: usize,
}

/// What the owner of a client is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Open a TCP connection to the cache; answer with `handle_connected` or `handle_closed`.
    Connect,
    /// Send these bytes.
    Send(Bytes),
    /// Close the connection once what was sent has left. `handle_closed` is not needed.
    Close,
    /// What the cache holds, sorted; `None`: nothing of it counts any more.
    Data(Option<Arc<[Vrp]>>),
}

/// Where a client stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheState {
    /// Waits for its next attempt.
    Down,
    /// Its connection is being made.
    Connecting,
    /// Waits for an answer, or is in the middle of one.
    Asking,
    /// Has what the cache has.
    Synchronised,
}

/// RFC 8210 section 6: default, least and most of each interval.
const REFRESH: Interval = Interval { default: 3600, least: 1, most: 86_400 };
const RETRY: Interval = Interval { default: 600, least: 1, most: 7_200 };
const EXPIRE: Interval = Interval { default: 7_200, least: 600, most: 172_800 };

struct Interval {
    default: u64,
    least: u64,
    most: u64,
}

impl Interval {
    /// What was configured, else what the cache said, within bounds.
    fn choose(&self, configured: Option<Duration>, said: Option<Duration>) -> Duration {
        let said = said.map(|time| time.clamp(Duration::from_secs(self.least), Duration::from_secs(self.most)));
        configured.or(said).unwrap_or(Duration::from_secs(self.default))
    }
}

/// The first wait after a failure; it doubles up to the retry interval.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// How long a cache may say nothing while it owes an answer, and how long a connection may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The least between two queries, however often a cache notifies. RFC 8210 section 8.2 allows it one notification a minute.
const BETWEEN_QUERIES: Duration = Duration::from_secs(1);

/// The most VRPs of one prefix, all of which are looked at for each route that they cover. Some dozens are seen.
const PER_PREFIX: usize = 1024;

/// Where the data that counts is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Origin {
    version: Version,
    session: u16,
    serial: u32,
}

/// What the client waits for on its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// No connection, and none asked for.
    Down,
    /// [`Output::Connect`] was said.
    Connecting,
    /// A query was sent. `reset`: everything was asked for.
    Asked { reset: bool },
    /// Between Cache Response and End of Data.
    Answer { reset: bool, changes: Vec<(Vrp, bool)> },
    /// The data is what the cache has.
    Synchronised,
    /// The cache said that it has no data yet; the next query is due with the timer.
    NoData,
}

/// A client of one cache.
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,
    phase: Phase,
    buffer: BytesMut,
    /// What is spoken on this connection; settled by the cache's first PDU.
    version: Version,
    settled: bool,
    data: Arc<[Vrp]>,
    /// `None`: nothing counts, or what counts cannot be continued.
    origin: Option<Origin>,
    /// Refresh, retry and expire as the cache said them.
    said: [Option<Duration>; 3],
    failures: u32,
    /// The next attempt, the next query, or the end of our patience, by phase.
    due: Option<Instant>,
    expires: Option<Instant>,
    last_query: Option<Instant>,
    updated: Option<Instant>,
    last_error: Option<String>,
    outputs: VecDeque<Output>,
}

impl Client {
    /// A client that connects at once.
    #[must_use]
    pub fn new(config: ClientConfig, now: Instant) -> Self {
        Self {
            config,
            phase: Phase::Down,
            buffer: BytesMut::new(),
            version: Version::V1,
            settled: false,
            data: Arc::default(),
            origin: None,
            said: [None; 3],
            failures: 0,
            due: Some(now),
            expires: None,
            last_query: None,
            updated: None,
            last_error: None,
            outputs: VecDeque::new(),
        }
    }

    /// Changes the configuration under the running session; timers follow with their next start.
    pub fn set_config(&mut self, config: ClientConfig) {
        self.config = config;
    }

    /// The connection is up. RFC 8210 section 8.1: what has changed, if we know since when; else everything.
    pub fn handle_connected(&mut self, now: Instant) {
        self.buffer = BytesMut::new();
        self.settled = false;
        self.query(now);
    }

    /// The connection has ended or could not be made.
    pub fn handle_closed(&mut self, now: Instant, reason: String) {
        // RFC 8210 section 7: a cache of version 0 may also just hang up on version 1.
        let hung_up = matches!(self.phase, Phase::Asked { .. }) && !self.settled;
        let next = if hung_up && self.version == Version::V1 { Version::V0 } else { Version::V1 };
        self.down(now, reason, next);
    }

    /// Bytes came. What is kept of them is less than one PDU.
    pub fn handle_bytes(&mut self, now: Instant, bytes: &[u8]) {
        if matches!(self.phase, Phase::Asked { .. } | Phase::Answer { .. }) {
            self.due = Some(now + PATIENCE);
        }
        self.buffer.extend_from_slice(bytes);
        while !matches!(self.phase, Phase::Down | Phase::Connecting) {
            match next_pdu(&mut self.buffer) {
                Ok(Some((version, pdu))) => self.take(now, version, pdu),
                Ok(None) => break,
                Err(fault) => self.fail(now, fault.code, &fault.pdu, fault.why),
            }
        }
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }

    /// Time has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.expires.is_some_and(|at| at <= now) {
            // RFC 8210 section 6: what is this old must not be used.
            self.expires = None;
            self.forget();
        }
        if self.due.is_none_or(|at| at > now) {
            return;
        }
        match self.phase {
            Phase::Down => {
                self.phase = Phase::Connecting;
                self.due = Some(now + PATIENCE);
                self.outputs.push_back(Output::Connect);
            }
            Phase::Connecting => {
                self.outputs.push_back(Output::Close);
                self.down(now, "the connection was not made in time".to_owned(), Version::V1);
            }
            Phase::Asked { .. } | Phase::Answer { .. } => {
                self.outputs.push_back(Output::Close);
                let reason = format!("the cache said nothing for {} s while it owed an answer", PATIENCE.as_secs());
                self.down(now, reason, Version::V1);
            }
            Phase::Synchronised | Phase::NoData => self.query(now),
        }
    }

    /// When to call [`Client::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due.into_iter().chain(self.expires).min()
    }

    /// What to do next.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> CacheState {
        match self.phase {
            Phase::Down => CacheState::Down,
            Phase::Connecting => CacheState::Connecting,
            Phase::Asked { .. } | Phase::Answer { .. } | Phase::NoData => CacheState::Asking,
            Phase::Synchronised => CacheState::Synchronised,
        }
    }

    /// The version, once the cache has settled it.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        self.settled.then_some(self.version)
    }

    /// Session and serial of what counts.
    #[must_use]
    pub fn serial(&self) -> Option<(u16, u32)> {
        self.origin.map(|origin| (origin.session, origin.serial))
    }

    /// How many VRPs count.
    #[must_use]
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether none does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// When an answer was last complete.
    #[must_use]
    pub fn updated(&self) -> Option<Instant> {
        self.updated
    }

    /// Refresh, retry and expire, as they hold now.
    #[must_use]
    pub fn intervals(&self) -> [Duration; 3] {
        let [refresh, retry, expire] = self.said;
        let expire = EXPIRE.choose(self.config.expire, expire);
        // RFC 8210 section 6: expire is the longest, and each of them may be said by another, who does not know the others.
        let in_time = |time: Duration| if time < expire { time } else { expire / 2 };
        [in_time(REFRESH.choose(self.config.refresh, refresh)), in_time(RETRY.choose(self.config.retry, retry)), expire]
    }

    /// Why it last failed; `None` once an answer was complete again.
    #[must_use]
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    fn query(&mut self, now: Instant) {
        let known = self.origin.filter(|origin| origin.version == self.version);
        let pdu = match known {
            Some(Origin { session, serial, .. }) => Pdu::SerialQuery { session, serial },
            None => Pdu::ResetQuery,
        };
        self.phase = Phase::Asked { reset: known.is_none() };
        self.last_query = Some(now);
        self.due = Some(now + PATIENCE);
        self.outputs.push_back(Output::Send(pdu.encode(self.version)));
    }

    /// Settles the version with the cache's first word (RFC 8210 section 7). Whether the PDU is to be read on.
    fn settle(&mut self, now: Instant, version: Version, pdu: &Pdu) -> bool {
        if self.settled {
            // An Error Report may come in any version: the other side may not have agreed on one.
            if version == self.version || matches!(pdu, Pdu::Error { .. }) {
                return true;
            }
            self.fail(now, ErrorCode::UNEXPECTED_VERSION, &[], "a PDU of another version than the session's");
            return false;
        }
        match pdu {
            // It comes unasked, maybe before the cache has seen our version.
            Pdu::SerialNotify { .. } => return false,
            Pdu::Error { .. } => return true,
            _ if version > self.version => {
                self.fail(now, ErrorCode::UNEXPECTED_VERSION, &[], "an answer of a higher version than the query's");
                return false;
            }
            _ => {}
        }
        if version < self.version {
            self.version = version;
            // Its serials say nothing of those of another version.
            self.origin = self.origin.filter(|origin| origin.version == version);
        }
        self.settled = true;
        true
    }

    fn take(&mut self, now: Instant, version: Version, pdu: Pdu) {
        if !self.settle(now, version, &pdu) {
            return;
        }
        match (pdu, &mut self.phase) {
            (Pdu::SerialNotify { session, serial }, Phase::Synchronised) => match self.origin {
                Some(origin) if origin.session != session => self.another_session(now),
                Some(origin) if origin.serial == serial => {}
                _ => {
                    let earliest = self.last_query.map_or(now, |last| last + BETWEEN_QUERIES).max(now);
                    self.due = Some(self.due.map_or(earliest, |due| due.min(earliest)));
                    if earliest == now {
                        self.query(now);
                    }
                }
            },
            // What is asked already brings the news, and without data there is nothing that could change.
            (Pdu::SerialNotify { .. }, _) => {}
            (Pdu::CacheResponse { session }, Phase::Asked { reset }) => {
                let reset = *reset;
                if !reset && self.origin.is_none_or(|origin| origin.session != session) {
                    return self.another_session(now);
                }
                self.phase = Phase::Answer { reset, changes: Vec::new() };
            }
            (Pdu::Prefix { announce, vrp }, Phase::Answer { changes, .. }) => {
                if changes.len() >= self.config.max_vrps {
                    return self.too_many(now);
                }
                changes.push((vrp, announce));
            }
            (Pdu::RouterKey, Phase::Answer { .. }) => {}
            (Pdu::EndOfData { session, serial, timers }, Phase::Answer { reset, changes }) => {
                let (reset, changes) = (*reset, std::mem::take(changes));
                if !reset && self.origin.is_none_or(|origin| origin.session != session) {
                    return self.another_session(now);
                }
                self.complete(now, reset, changes, Origin { version: self.version, session, serial }, timers);
            }
            (Pdu::CacheReset, Phase::Asked { reset: false }) => {
                // RFC 8210 section 8.3: what we have counts until everything has come.
                self.origin = None;
                self.query(now);
            }
            (Pdu::Error { code: ErrorCode::NO_DATA_AVAILABLE, .. }, Phase::Asked { .. }) => {
                // RFC 8210 section 8.4. Its data of before, if there is any, counts until it expires.
                self.origin = None;
                self.phase = Phase::NoData;
                self.last_error = Some("the cache has no data yet (No Data Available)".to_owned());
                self.due = Some(now + self.wait());
            }
            (Pdu::Error { code: ErrorCode::UNSUPPORTED_VERSION, .. }, _)
                if !self.settled && self.version == Version::V1 =>
            {
                // RFC 8210 section 7: once more, by RFC 6810.
                self.outputs.push_back(Output::Close);
                self.phase = Phase::Down;
                self.version = Version::V0;
                self.due = Some(now);
            }
            (Pdu::Error { code, text }, _) => {
                // Never answered, or two routers' reports would answer one another for ever (RFC 8210 section 5.11).
                self.outputs.push_back(Output::Close);
                self.origin = None;
                let text = if text.is_empty() { String::new() } else { format!(": {text}") };
                self.down(now, format!("the cache reported {code}{text}"), Version::V1);
            }
            (pdu @ (Pdu::SerialQuery { .. } | Pdu::ResetQuery), _) => {
                self.fail(now, ErrorCode::UNSUPPORTED_PDU, &pdu.encode(version), "a query, which only routers send");
            }
            (pdu, _) => {
                self.fail(now, ErrorCode::CORRUPT_DATA, &pdu.encode(version), "a PDU that was not asked for");
            }
        }
    }

    /// An answer is whole.
    fn complete(
        &mut self,
        now: Instant,
        reset: bool,
        mut changes: Vec<(Vrp, bool)>,
        origin: Origin,
        timers: Option<[Duration; 3]>,
    ) {
        // Stable: of one VRP, the changes stay in the order in which they came.
        changes.sort_by_key(|(vrp, _)| *vrp);
        let none: Arc<[Vrp]> = Arc::default();
        let before = if reset { &none } else { &self.data };
        let after = match apply(before, &changes) {
            Ok(after) => after,
            Err((code, vrp, why)) => {
                let announce = code == ErrorCode::DUPLICATE_ANNOUNCEMENT;
                let pdu = Pdu::Prefix { announce, vrp }.encode(self.version);
                return self.fail(now, code, &pdu, &format!("{why}: {vrp}"));
            }
        };
        if after.len() > self.config.max_vrps {
            return self.too_many(now);
        }
        if let Some(many) =
            after.chunk_by(|one, other| one.prefix() == other.prefix()).find(|all| all.len() > PER_PREFIX)
        {
            let why = format!("more than {PER_PREFIX} VRPs of one prefix, {}", many[0].prefix());
            return self.fail(now, ErrorCode::INTERNAL_ERROR, &[], &why);
        }
        self.said = timers.map_or([None; 3], |timers| timers.map(Some));
        self.origin = Some(origin);
        self.failures = 0;
        self.last_error = None;
        self.updated = Some(now);
        self.phase = Phase::Synchronised;
        let [refresh, _, expire] = self.intervals();
        self.due = Some(now + refresh);
        self.expires = Some(now + expire);
        self.data = after.into();
        self.outputs.push_back(Output::Data(Some(self.data.clone())));
    }

    /// RFC 8210 section 5.1: everything that was learned of the other session goes at once.
    fn another_session(&mut self, now: Instant) {
        self.forget();
        self.fail(now, ErrorCode::CORRUPT_DATA, &[], "another session id than the data's");
    }

    fn too_many(&mut self, now: Instant) {
        let why = format!("more than the {} VRPs that max-vrps allows", self.config.max_vrps);
        self.fail(now, ErrorCode::INTERNAL_ERROR, &[], &why);
    }

    /// Ends the session for a fault of the cache's.
    fn fail(&mut self, now: Instant, code: ErrorCode, pdu: &[u8], why: &str) {
        self.outputs.push_back(Output::Send(error_report(self.version, code, pdu, why)));
        self.outputs.push_back(Output::Close);
        // What we have may be wrong: the next session asks for everything.
        self.origin = None;
        self.down(now, format!("the cache sent {why} ({code})"), Version::V1);
    }

    fn down(&mut self, now: Instant, reason: String, next: Version) {
        self.phase = Phase::Down;
        self.version = next;
        self.settled = false;
        self.buffer = BytesMut::new();
        self.last_error = Some(reason);
        self.due = Some(now + self.wait());
    }

    /// How long to wait after one more failure: a second, doubled up to the retry interval.
    fn wait(&mut self) -> Duration {
        let doubled = FIRST_RETRY * (1 << self.failures.min(12));
        self.failures = self.failures.saturating_add(1);
        doubled.min(self.intervals()[1])
    }

    /// Nothing counts any more.
    fn forget(&mut self) {
        self.origin = None;
        self.expires = None;
        self.data = Arc::default();
        self.outputs.push_back(Output::Data(None));
    }
}

/// `before` and `changes` are sorted.
///
/// # Errors
/// A VRP that was announced although it was there, or withdrawn although it was not (RFC 8210 section 12).
fn apply(before: &[Vrp], changes: &[(Vrp, bool)]) -> Result<Vec<Vrp>, (ErrorCode, Vrp, &'static str)> {
    let mut after = Vec::with_capacity(before.len() + changes.len());
    let mut rest = before;
    for same in changes.chunk_by(|one, other| one.0 == other.0) {
        let vrp = same[0].0;
        let (smaller, larger) = rest.split_at(rest.partition_point(|known| *known < vrp));
        after.extend_from_slice(smaller);
        let mut there = larger.first() == Some(&vrp);
        rest = if there { &larger[1..] } else { larger };
        for (_, announce) in same {
            match (announce, there) {
                (true, true) => return Err((ErrorCode::DUPLICATE_ANNOUNCEMENT, vrp, "a VRP that it had sent before")),
                (false, false) => return Err((ErrorCode::UNKNOWN_WITHDRAWAL, vrp, "a withdrawal of what it had not")),
                _ => there = *announce,
            }
        }
        if there {
            after.push(vrp);
        }
    }
    after.extend_from_slice(rest);
    after.shrink_to_fit();
    Ok(after)
}
