//! One session: its state, Poll Sequences, and the intervals that follow from what both ends say (RFC 5880 section 6.8).

mod interval;
mod pace;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

use super::packet::{Diagnostic, Discard, Packet, State};
use super::state::{self, Event};
use crate::time::Instant;
use interval::Advertised;
use pace::Pace;

/// While a session is not Up, it sends no faster (section 6.8.3), in microseconds.
const SLOW: u32 = 1_000_000;

/// What a session is told. All of it may change while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// Send no faster while Up, and be sent no faster; 1 µs to 71 minutes.
    pub min_interval: Duration,
    /// How many packets may be lost before this end is; 1 to 255.
    pub detect_mult: u8,
    /// Say nothing before the other end has (section 6.1).
    pub passive: bool,
}

impl Default for SessionConfig {
    /// 300 ms, 3 packets: a detection within 900 ms.
    fn default() -> Self {
        Self { min_interval: Duration::from_millis(300), detect_mult: 3, passive: false }
    }
}

/// Why a session left Up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Nothing was heard for the detection time.
    Expired,
    /// The other end says that it is down, and why.
    Signaled(Diagnostic),
    /// The other end's session is a new one, by its discriminator: its BFD was restarted, or its BGP made it anew, as FRR does
    /// whenever a session comes up. Who says so is heard, and has not said that it lost us: the path is as it was.
    RemoteRestarted,
    /// The other end says that this one signaled Down, which it has not since it is Up. FRR says so of a session that it takes
    /// away, as when its BGP makes it anew. It heard us and we hear it: the path is as it was.
    RemoteEnded,
    /// The other end was disabled by a person, which says nothing about the path (RFC 5882 section 3.2).
    RemoteAdminDown,
    /// This end was.
    LocalAdminDown,
}

impl Cause {
    /// Whether the path to the peer is to be taken as broken.
    #[must_use]
    pub fn is_failure(self) -> bool {
        match self {
            Self::Expired | Self::Signaled(_) => true,
            Self::RemoteRestarted | Self::RemoteEnded | Self::RemoteAdminDown | Self::LocalAdminDown => false,
        }
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Expired => f.write_str("control detection time expired"),
            Self::Signaled(diagnostic) => write!(f, "the peer says that it is down ({diagnostic})"),
            Self::RemoteRestarted => f.write_str("the peer's BFD session was made anew"),
            Self::RemoteEnded => f.write_str("the peer ended its BFD session without having lost us"),
            Self::RemoteAdminDown => f.write_str("the peer's BFD was disabled by a person or ended"),
            Self::LocalAdminDown => f.write_str("disabled here"),
        }
    }
}

/// What its owner is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It came up.
    Up,
    /// It left Up.
    Down {
        /// Why.
        cause: Cause,
        /// The last packet's C: the other end's BFD would have outlived its control plane.
        control_plane_independent: bool,
    },
}

/// A session as a person sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Ours.
    pub state: State,
    /// What the other end last said.
    pub remote_state: State,
    /// Why ours last left Up.
    pub diagnostic: Diagnostic,
    /// Why the other end's did.
    pub remote_diagnostic: Diagnostic,
    /// Our number for the session.
    pub local_discriminator: u32,
    /// The other end's; 0: not heard.
    pub remote_discriminator: u32,
    /// How often we send, before jitter; `None`: not at all, because the other end wants it so or was not heard.
    pub transmit_interval: Option<Duration>,
    /// How often the other end may send.
    pub receive_interval: Duration,
    /// How long the other end may be silent.
    pub detection_time: Duration,
    /// The other end's multiplier; 0: not heard.
    pub remote_detect_mult: u8,
    /// The other end's BFD does not share the fate of its control plane (C).
    pub control_plane_independent: bool,
    /// A Poll Sequence of ours is under way.
    pub polling: bool,
    /// Times it came up.
    pub ups: u64,
    /// Times it left Up.
    pub downs: u64,
}

/// What the other end last said, or what section 6.8.1 says before that.
#[derive(Clone, Copy, Debug)]
struct Remote {
    state: State,
    diagnostic: Diagnostic,
    discriminator: u32,
    desired_min_tx: u32,
    required_min_rx: u32,
    detect_mult: u8,
    demand: bool,
    control_plane_independent: bool,
    /// The discriminator is another one than before.
    renewed: bool,
}

impl Remote {
    const UNHEARD: Self = Self {
        state: State::Down,
        diagnostic: Diagnostic::NONE,
        discriminator: 0,
        desired_min_tx: 0,
        required_min_rx: 1,
        detect_mult: 0,
        demand: false,
        control_plane_independent: false,
        renewed: false,
    };
}

/// A Poll Sequence (section 6.5). An F does not say which P it answers: a sequence begins only when the answers to the one
/// before have had a detection time to arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Poll {
    #[default]
    None,
    /// Begins then.
    Waiting(Instant),
    /// Packets have P until an F comes. `stale`: what is to be confirmed has changed since it began, so that another follows.
    Running { stale: bool },
}

/// One session.
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    state: State,
    diagnostic: Diagnostic,
    discriminator: NonZeroU32,
    remote: Remote,
    /// bfd.DesiredMinTxInterval.
    desired_min_tx: Advertised,
    /// bfd.RequiredMinRxInterval.
    required_min_rx: Advertised,
    poll: Poll,
    /// Until then an F may answer a sequence that is over.
    answered_until: Instant,
    pace: Pace,
    /// When the other end was last heard.
    heard: Option<Instant>,
    /// What we last said but P and F, to know when there is news.
    said: Option<Packet>,
    changes: VecDeque<Change>,
    sends: VecDeque<Packet>,
    ups: u64,
    downs: u64,
}

impl Session {
    /// A session in Down that sends at once, unless it is passive. `seed` feeds the jitter of its packets.
    #[must_use]
    pub fn new(config: SessionConfig, discriminator: NonZeroU32, seed: u64, now: Instant) -> Self {
        let rx = micros(config.min_interval);
        let mut session = Self {
            config,
            state: State::Down,
            diagnostic: Diagnostic::NONE,
            discriminator,
            remote: Remote::UNHEARD,
            desired_min_tx: Advertised::new(rx.max(SLOW)),
            required_min_rx: Advertised::new(rx),
            poll: Poll::None,
            answered_until: Instant::START,
            pace: Pace::new(seed),
            heard: None,
            said: None,
            changes: VecDeque::new(),
            sends: VecDeque::new(),
            ups: 0,
            downs: 0,
        };
        session.settle(now);
        session
    }

    /// Changes what it was told: by a Poll Sequence, and without leaving Up.
    pub fn set_config(&mut self, now: Instant, config: SessionConfig) {
        self.config = config;
        self.advertise(now);
        self.settle(now);
    }

    /// AdminDown: the other end is told that it is no failure. Keep it for [`Session::farewell`], so that it hears it.
    pub fn disable(&mut self, now: Instant) {
        self.take(now, Event::Disable);
        self.settle(now);
    }

    /// Down again, from AdminDown.
    pub fn enable(&mut self, now: Instant) {
        self.take(now, Event::Enable);
        self.settle(now);
    }

    /// How long AdminDown should be said (section 6.8.16): until the other end's detection time is over. Zero if there is
    /// nobody to hear it.
    #[must_use]
    pub fn farewell(&self) -> Duration {
        match self.remote.discriminator {
            0 => Duration::ZERO,
            _ => {
                let interval = self.desired_min_tx.value.max(self.remote.required_min_rx);
                duration(interval) * u32::from(self.config.detect_mult)
            }
        }
    }

    /// A packet of this session came; which one that is, is found out by [`super::Sessions`].
    ///
    /// # Errors
    /// It is discarded, because the session is AdminDown.
    pub fn handle_packet(&mut self, now: Instant, packet: &Packet) -> Result<(), Discard> {
        if self.state == State::AdminDown {
            return Err(Discard::AdminDown);
        }
        let known = self.remote.discriminator;
        self.remote = Remote {
            renewed: known != 0 && known != packet.my_discriminator,
            state: packet.state,
            diagnostic: packet.diagnostic,
            discriminator: packet.my_discriminator,
            desired_min_tx: packet.desired_min_tx,
            required_min_rx: packet.required_min_rx,
            detect_mult: packet.detect_mult,
            demand: packet.demand,
            control_plane_independent: packet.control_plane_independent,
        };
        self.heard = Some(now);
        if packet.final_ {
            self.end_poll(now);
        }
        self.take(now, Event::Received(packet.state));
        if packet.poll {
            // Whatever the timer, the state and Demand mode say (section 6.8.7), but not faster than anybody needs it.
            if self.pace.may_send_beside(now) {
                self.say(now, true);
            }
        }
        self.settle(now);
        Ok(())
    }

    /// Time has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.expires().is_some_and(|at| at <= now) {
            self.heard = None;
            let independent = self.remote.control_plane_independent;
            // Section 6.8.1, bfd.RemoteDiscr; with it goes all else that was heard.
            self.remote = Remote { control_plane_independent: independent, ..Remote::UNHEARD };
            self.poll = Poll::None;
            self.take(now, Event::DetectionTimeExpired);
        }
        if matches!(self.poll, Poll::Waiting(at) if at <= now) {
            self.poll = Poll::Running { stale: false };
        }
        if self.pace.is_due(now) {
            self.say(now, false);
        }
        self.settle(now);
    }

    /// When to call [`Session::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let poll = match self.poll {
            Poll::Waiting(at) => Some(at),
            Poll::None | Poll::Running { .. } => None,
        };
        [self.expires(), self.pace.next(), poll].into_iter().flatten().min()
    }

    /// What to send next: call it until `None` after every other call.
    pub fn poll_send(&mut self) -> Option<Packet> {
        self.sends.pop_front()
    }

    /// What happened: call it until `None` after every other call.
    pub fn poll_change(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    /// How it stands.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            state: self.state,
            remote_state: self.remote.state,
            diagnostic: self.diagnostic,
            remote_diagnostic: self.remote.diagnostic,
            local_discriminator: self.discriminator.get(),
            remote_discriminator: self.remote.discriminator,
            transmit_interval: self.transmit_interval().map(duration),
            receive_interval: duration(self.required_min_rx.value.max(self.remote.desired_min_tx)),
            detection_time: self.detection_time(),
            remote_detect_mult: self.remote.detect_mult,
            control_plane_independent: self.remote.control_plane_independent,
            polling: self.poll != Poll::None,
            ups: self.ups,
            downs: self.downs,
        }
    }

    /// What it was told.
    #[must_use]
    pub fn config(&self) -> SessionConfig {
        self.config
    }

    /// Takes an event through the table.
    fn take(&mut self, now: Instant, event: Event) {
        let before = self.state;
        let step = state::step(before, event);
        self.state = step.next;
        if let Some(diagnostic) = step.diagnostic {
            self.diagnostic = diagnostic;
        }
        if before == step.next {
            return;
        }
        if step.next == State::AdminDown {
            self.heard = None;
            self.poll = Poll::None;
        }
        if step.next == State::Up {
            self.ups += 1;
            self.changes.push_back(Change::Up);
        }
        if before == State::Up {
            self.downs += 1;
            let cause = match event {
                Event::DetectionTimeExpired => Cause::Expired,
                Event::Received(State::AdminDown) => Cause::RemoteAdminDown,
                Event::Received(State::Down | State::Init | State::Up)
                    if self.remote.renewed && self.remote.diagnostic != Diagnostic::CONTROL_DETECTION_TIME_EXPIRED =>
                {
                    Cause::RemoteRestarted
                }
                Event::Received(State::Down | State::Init | State::Up)
                    if self.remote.diagnostic == Diagnostic::NEIGHBOR_SIGNALED_DOWN =>
                {
                    Cause::RemoteEnded
                }
                Event::Received(State::Down | State::Init | State::Up) => Cause::Signaled(self.remote.diagnostic),
                Event::Disable | Event::Enable => Cause::LocalAdminDown,
            };
            let control_plane_independent = self.remote.control_plane_independent;
            self.changes.push_back(Change::Down { cause, control_plane_independent });
        }
        if before == State::AdminDown {
            self.remote = Remote::UNHEARD;
            self.pace.restart(now);
        }
        self.advertise(now);
    }

    /// Says what the configuration and the state want said; if the values in use must wait, a Poll Sequence begins
    /// (section 6.8.3).
    fn advertise(&mut self, now: Instant) {
        let configured = micros(self.config.min_interval);
        let tx = if self.state == State::Up { configured } else { configured.max(SLOW) };
        let changed = self.desired_min_tx.value != tx || self.required_min_rx.value != configured;
        self.desired_min_tx.set(tx);
        self.required_min_rx.set(configured);
        if self.state != State::Up {
            // Only in Up does anything wait: nobody is relied on, and nobody is polled who may not be there.
            self.desired_min_tx.confirm();
            self.required_min_rx.confirm();
            self.poll = Poll::None;
        } else if changed {
            self.poll = match self.poll {
                Poll::None if self.answered_until > now => Poll::Waiting(self.answered_until),
                Poll::None => Poll::Running { stale: false },
                Poll::Waiting(at) => Poll::Waiting(at),
                Poll::Running { .. } => Poll::Running { stale: true },
            };
        }
    }

    /// An F came.
    fn end_poll(&mut self, now: Instant) {
        let Poll::Running { stale } = self.poll else { return };
        self.answered_until = now + self.detection_time();
        if stale {
            self.poll = Poll::Waiting(self.answered_until);
        } else {
            let before = self.transmit_interval();
            self.desired_min_tx.confirm();
            self.required_min_rx.confirm();
            self.poll = Poll::None;
            // An older packet of ours may have been overtaken by the one that was answered, and the other end goes by whichever
            // came last: by the old interval once more, until it hears us again.
            if self.transmit_interval() > before {
                self.pace.lengthen(self.transmit_interval().map(duration));
            }
        }
    }

    /// When the other end will have been silent for too long.
    fn expires(&self) -> Option<Instant> {
        self.heard.map(|heard| heard + self.detection_time())
    }

    /// How often we send, in microseconds, before jitter (section 6.8.7).
    fn transmit_interval(&self) -> Option<u32> {
        let remote = &self.remote;
        let unheard = remote.discriminator == 0;
        let demand = remote.demand && self.state == State::Up && remote.state == State::Up && self.poll == Poll::None;
        let quiet = remote.required_min_rx == 0 || demand || (unheard && self.config.passive);
        (!quiet).then(|| self.desired_min_tx.least().max(remote.required_min_rx))
    }

    /// How long the other end may be silent (section 6.8.4).
    fn detection_time(&self) -> Duration {
        let interval = self.required_min_rx.most().max(self.remote.desired_min_tx);
        duration(interval) * u32::from(self.remote.detect_mult)
    }

    /// After every call: news are told at once, and both timers follow the intervals.
    fn settle(&mut self, now: Instant) {
        let interval = self.transmit_interval();
        let news = self.said.is_none_or(|said| said != self.packet(false, false));
        if interval.is_some() && news && self.pace.may_send_beside(now) {
            self.say(now, false);
        }
        let single = self.config.detect_mult == 1;
        self.pace.follow(now, interval.map(duration), single);
    }

    fn say(&mut self, now: Instant, is_final: bool) {
        // An answer is no part of our own Poll Sequence (section 6.5: P and F are never set together).
        let polling = matches!(self.poll, Poll::Running { .. });
        let packet = self.packet(polling && !is_final, is_final);
        self.said = Some(Packet { poll: false, final_: false, ..packet });
        self.sends.push_back(packet);
        self.pace.sent(now, is_final);
    }

    fn packet(&self, poll: bool, final_: bool) -> Packet {
        Packet {
            diagnostic: self.diagnostic,
            state: self.state,
            poll,
            final_,
            // Linnet's BFD ends with linnetd.
            control_plane_independent: false,
            demand: false,
            detect_mult: self.config.detect_mult,
            my_discriminator: self.discriminator.get(),
            your_discriminator: self.remote.discriminator,
            desired_min_tx: self.desired_min_tx.value,
            required_min_rx: self.required_min_rx.value,
            required_min_echo_rx: 0,
        }
    }
}

/// At least 1 µs: 0 means "never" on the wire.
fn micros(interval: Duration) -> u32 {
    u32::try_from(interval.as_micros()).unwrap_or(u32::MAX).max(1)
}

fn duration(micros: u32) -> Duration {
    Duration::from_micros(micros.into())
}
