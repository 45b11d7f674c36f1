//! The state machine at work: an event goes through the table, its actions touch connections, timers and the owner.

use std::time::Duration;

use super::connection::{Connection, Transport};
use super::fsm::{self, Action, Event};
use super::{Direction, DownReason, Established, Output, SendHoldTime, Session, State, count_messages, negotiate};
use crate::time::Instant;
use crate::timers::Timer;
use crate::wire::notification::{Cease, FsmError};
use crate::wire::{Message, Notification, RouteRefresh, Update, UpdateContext};

/// What an event brings with it.
#[derive(Clone, Debug)]
pub(super) enum Detail {
    /// Nothing.
    None,
    /// The owner's Cease.
    Stop(Notification),
    /// The owner's Cease that is not to be made a hard reset.
    PlainStop(Notification),
    /// What the parser, the negotiation or BFD found wrong, and the latter two's words.
    Fault(Notification, Option<String>),
    /// How the connection ended, in the shell's words.
    Lost(String),
    /// The peer's NOTIFICATION.
    Received(Notification),
    /// An UPDATE.
    Update(Update),
    /// A ROUTE-REFRESH.
    Refresh(RouteRefresh),
}

/// How a started session that has lost its connections starts again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Again {
    /// After the IdleHoldTimer, refusing connections until then.
    #[default]
    AfterIdleHold,
    /// In Active: the peer has just said that it keeps its own connection, which is about to arrive here.
    Listening,
    /// With a connection of our own: the session was good, and only its connection was lost.
    AtOnce,
}

/// RFC 4271 section 8.2.2: "a large value"; 4 minutes is what it suggests.
const OPEN_HOLD: Duration = Duration::from_secs(240);
/// The first wait between two attempts to connect; it doubles up to the configured ConnectRetryTime.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The least that a connection attempt may take: two SYN retransmissions of Linux (1 s, 3 s).
const SHORTEST_ATTEMPT: Duration = Duration::from_secs(5);
/// A session that lasted this long was no failure.
const STABLE: Duration = Duration::from_secs(10);

impl Established {
    /// Whether a new connection from the peer may take the place of this session's (RFC 4724 section 5).
    pub(super) fn may_be_replaced(&self) -> bool {
        self.graceful_restart.as_ref().is_some_and(|restart| !restart.families.is_empty())
    }
}

impl Session {
    /// Takes one event through the table.
    pub(super) fn raise(&mut self, now: Instant, direction: Direction, event: Event, detail: Detail) {
        let Some(connection) = self.connection_mut(direction) else { return };
        let step = fsm::step(connection.state, event);
        let (before, hold) = (connection.state, connection.hold_seconds());
        connection.state = step.next;
        if let Detail::Received(notification) = &detail {
            let inner = notification.encapsulated();
            let text = inner.as_ref().unwrap_or(notification).shutdown_communication();
            self.communication = text.map(str::to_owned).or(self.communication.take());
        }
        let mut ending = Ending::of(before, event, hold, &detail);
        let mut detail = Some(detail);
        for action in step.actions {
            self.act(now, direction, *action, &mut ending, &mut detail);
        }
        // One without an OPEN of ours is there only while it waits for the peer's.
        let early = matches!(step.next, State::Idle | State::Connect | State::Active);
        if direction == Direction::Incoming && early {
            self.incoming.take_if(|incoming| incoming.transport != Transport::Up);
        }
        // What befalls one of two connections is not the session's, unless it carried it.
        if ending.error.is_some() && (before == State::Established || !self.other_is_up(direction)) {
            self.last_error = ending.error;
        }
        if event == Event::NotifMsg && ending.collided {
            self.again = Again::Listening;
        }
        if step.next == State::Established && before != State::Established {
            // RFC 4271 section 6.8: beside an Established connection, none.
            self.raise(now, opposite(direction), Event::OpenCollisionDump, Detail::None);
        }
    }

    fn act(
        &mut self,
        now: Instant,
        direction: Direction,
        action: Action,
        ending: &mut Ending,
        detail: &mut Option<Detail>,
    ) {
        match action {
            Action::Connect => self.connect(now),
            Action::ArmConnectRetry => {
                if direction == Direction::Outgoing {
                    self.arm_connect_retry(now);
                }
            }
            Action::ArmDelayOpen => {
                let due = now + self.config.delay_open.unwrap_or_default();
                if let Some(connection) = self.connection_mut(direction) {
                    connection.timers.clear(Timer::ConnectRetry);
                    connection.timers.set(Timer::DelayOpen, due);
                }
            }
            Action::StartAgain => {
                let event = if self.config.passive { Event::AutomaticStartPassive } else { Event::AutomaticStart };
                self.raise(now, direction, event, Detail::None);
            }
            Action::Close => self.close(direction),
            Action::Release => {
                self.close(direction);
                if let Some(connection) = self.connection_mut(direction) {
                    connection.timers = Default::default();
                }
            }
            Action::SendOpen => {
                let open = negotiate::local_open(&self.config, self.came_up);
                let open = Message::Open(open);
                self.say(direction, &open);
                if let Some(connection) = self.connection_mut(direction) {
                    connection.opens.sent = open.encode(&UpdateContext::before_open());
                    connection.since = now;
                    connection.timers.clear(Timer::ConnectRetry);
                    connection.timers.clear(Timer::DelayOpen);
                    connection.timers.set(Timer::Hold, now + OPEN_HOLD);
                }
            }
            Action::SendKeepalive => {
                self.say(direction, &Message::Keepalive);
                self.arm_keepalive(now, direction);
                self.arm_send_hold(now, direction);
            }
            Action::ArmHold => self.arm_hold(now, direction),
            Action::SendStop => match detail.take() {
                Some(Detail::Stop(cease)) => {
                    let cease = if cease.ends_routes() { self.final_word(direction, cease) } else { cease };
                    ending.error = Some(format!("sent {cease}"));
                    self.say(direction, &Message::Notification(cease));
                }
                Some(Detail::PlainStop(cease)) => {
                    ending.error = Some(format!("sent {cease}"));
                    self.say(direction, &Message::Notification(cease));
                }
                Some(Detail::Fault(cease, _)) => self.say(direction, &Message::Notification(cease)),
                _ => {}
            },
            Action::SendCollision => {
                let cease = Notification::cease(Cease::ConnectionCollisionResolution);
                ending.reason = DownReason::Sent(cease.clone());
                self.say(direction, &Message::Notification(cease));
            }
            Action::SendHoldExpired => {
                self.say(direction, &Message::Notification(Notification::hold_timer_expired()));
            }
            Action::SendFsmError(subcode) => {
                let error = match subcode {
                    1 => FsmError::OpenSent,
                    2 => FsmError::OpenConfirm,
                    3 => FsmError::Established,
                    _ => FsmError::Unspecified,
                };
                let notification = Notification::fsm_error(error);
                ending.error = Some(format!("sent {notification}"));
                ending.reason = DownReason::Sent(notification.clone());
                self.say(direction, &Message::Notification(notification));
            }
            Action::SendFault => {
                if let Some(Detail::Fault(notification, _)) = detail.take() {
                    self.say(direction, &Message::Notification(notification));
                }
            }
            Action::Forgive => self.failures = 0,
            Action::Penalise => {
                if !self.other_is_up(direction) {
                    self.failures = self.failures.saturating_add(1);
                }
            }
            Action::Up => self.up(now, direction),
            Action::Down => self.down(now, ending.reason.clone()),
            Action::Deliver => {
                if let Some(Detail::Update(update)) = detail.take() {
                    self.updates.push(update);
                }
            }
            Action::Refresh => match detail.take() {
                Some(Detail::Refresh(RouteRefresh::Request(family))) => self.refreshes.insert(family),
                Some(Detail::Refresh(RouteRefresh::Mark(family, mark))) => {
                    self.updates.push(Update { mark: Some((family, mark)), ..Update::default() });
                }
                _ => {}
            },
        }
    }

    /// As the peer has to hear it who keeps routes across NOTIFICATIONs (RFC 8538 section 3).
    pub(super) fn final_word(&mut self, direction: Direction, cease: Notification) -> Notification {
        let agreed = self.connection_mut(direction).and_then(|one| one.agreed.as_ref());
        match agreed.is_some_and(|agreed| agreed.graceful_notification) {
            true if !cease.is_hard_reset() => cease.hard_reset(),
            true | false => cease,
        }
    }

    /// After every call of the owner: a started session without any connection waits and starts again (RFC 4271 section
    /// 8.1.1, DampPeerOscillations).
    pub(super) fn settle(&mut self, now: Instant) {
        let idle = self.outgoing.state == State::Idle && self.incoming.is_none();
        if !idle {
            self.outgoing.timers.clear(Timer::IdleHold);
            return;
        }
        if !self.started || self.outgoing.timers.runs(Timer::IdleHold) {
            return;
        }
        match std::mem::take(&mut self.again) {
            Again::AfterIdleHold => {
                let due = now + self.backoff(self.config.idle_hold);
                self.outgoing.timers.set(Timer::IdleHold, due);
            }
            Again::Listening => {
                self.raise(now, Direction::Outgoing, Event::AutomaticStartPassive, Detail::None);
                self.arm_connect_retry(now);
            }
            Again::AtOnce => self.raise(now, Direction::Outgoing, self.automatic_start(), Detail::None),
        }
    }

    fn automatic_start(&self) -> Event {
        if self.config.passive { Event::AutomaticStartPassive } else { Event::AutomaticStart }
    }

    fn arm_connect_retry(&mut self, now: Instant) {
        if !self.config.passive {
            let due = now + self.backoff(FIRST_RETRY);
            self.outgoing.timers.set(Timer::ConnectRetry, due);
        }
    }

    /// Hands the owner what the call brought, UPDATEs as one batch.
    pub(super) fn deliver(&mut self) {
        if !self.updates.is_empty() {
            self.outputs.push_back(Output::Updates(std::mem::take(&mut self.updates)));
        }
        for family in std::mem::take(&mut self.refreshes).iter() {
            self.outputs.push_back(Output::Refresh(family));
        }
    }

    fn connect(&mut self, now: Instant) {
        self.outgoing.transport = Transport::Attempt;
        self.outgoing.timers.clear(Timer::DelayOpen);
        let limit = self.config.connect_retry.max(SHORTEST_ATTEMPT);
        self.outgoing.timers.set(Timer::ConnectRetry, now + limit);
        self.outputs.push_back(Output::Connect);
    }

    fn close(&mut self, direction: Direction) {
        let Some(connection) = self.connection_mut(direction) else { return };
        let open = connection.transport != Transport::None;
        connection.detach();
        if open {
            self.outputs.push_back(Output::Close(direction));
        }
    }

    /// Sends a message, if there is a connection to send it on.
    fn say(&mut self, direction: Direction, message: &Message) {
        let Some(connection) = self.connection_mut(direction) else { return };
        if connection.transport != Transport::Up {
            return;
        }
        // Nothing that a session itself says depends on what was negotiated.
        let bytes = message.encode(&UpdateContext::before_open());
        count_messages(&bytes, &mut self.counters.sent);
        self.outputs.push_back(Output::Send(direction, bytes));
    }

    fn up(&mut self, now: Instant, direction: Direction) {
        let Some(agreed) = self.connection_mut(direction).and_then(|one| one.agreed.clone()) else { return };
        self.up_since = Some(now);
        self.came_up = true;
        self.communication = None;
        self.again = Again::AfterIdleHold;
        self.counters.established += 1;
        self.outputs.push_back(Output::Up(agreed));
    }

    fn down(&mut self, now: Instant, reason: DownReason) {
        let stable = self.has_settled(now);
        self.up_since = None;
        if stable && matches!(reason, DownReason::ConnectionLost(_)) {
            self.again = Again::AtOnce;
            self.failures = 0;
        } else if stable {
            self.failures = 1;
        }
        self.deliver();
        self.outputs.push_back(Output::Down(reason));
    }

    /// Whether the session is up, and has been for a while.
    pub(super) fn has_settled(&self, now: Instant) -> bool {
        self.up_since.is_some_and(|since| now - since >= STABLE)
    }

    /// Whether the other connection carries, or may come to carry, the session.
    fn other_is_up(&self, direction: Direction) -> bool {
        self.connections().any(|one| one.direction != direction && one.transport == Transport::Up)
    }

    pub(super) fn arm_hold(&mut self, now: Instant, direction: Direction) {
        let Some(connection) = self.connection_mut(direction) else { return };
        match connection.hold_seconds() {
            0 => connection.timers.clear(Timer::Hold),
            seconds => connection.timers.set(Timer::Hold, now + Duration::from_secs(seconds.into())),
        }
    }

    /// A third of the hold time (RFC 4271 section 10), with jitter.
    pub(super) fn arm_keepalive(&mut self, now: Instant, direction: Direction) {
        let seconds = self.connection_mut(direction).map_or(0, |one| one.hold_seconds());
        if seconds == 0 {
            return;
        }
        let due = now + self.jitter.apply(Duration::from_secs(seconds.into()) / 3);
        if let Some(connection) = self.connection_mut(direction) {
            connection.timers.set(Timer::Keepalive, due);
        }
    }

    /// RFC 9687 section 4.3: something is queued; if the timer runs already, that something is not the first.
    pub(super) fn arm_send_hold(&mut self, now: Instant, direction: Direction) {
        let configured = self.config.send_hold;
        let Some(connection) = self.connection_mut(direction) else { return };
        if connection.state != State::Established || connection.timers.runs(Timer::SendHold) {
            return;
        }
        if let Some(time) = connection.send_hold(configured) {
            connection.timers.set(Timer::SendHold, now + time);
        }
    }

    /// A timer that runs by what was configured `before` runs by what is configured now.
    pub(super) fn change_send_hold(&mut self, before: SendHoldTime) {
        let configured = self.config.send_hold;
        let Some(up) = self.established_connection_mut() else { return };
        let Some((due, old)) = up.timers.due(Timer::SendHold).zip(up.send_hold(before)) else { return };
        match up.send_hold(configured) {
            Some(new) => {
                let since = due.since_start().saturating_sub(old);
                up.timers.set(Timer::SendHold, Instant::from_start(since) + new);
            }
            None => up.timers.clear(Timer::SendHold),
        }
    }

    /// `first`, doubled with each failure up to the configured ConnectRetryTime if that is longer, with jitter.
    fn backoff(&mut self, first: Duration) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(16);
        let longest = self.config.connect_retry.max(first);
        self.jitter.apply(first.saturating_mul(1 << doublings).min(longest))
    }
}

/// How a connection ends, for the owner and for a person.
struct Ending {
    reason: DownReason,
    error: Option<String>,
    /// The peer resolved a collision.
    collided: bool,
}

impl Ending {
    fn of(before: State, event: Event, hold: u16, detail: &Detail) -> Self {
        let silent = event == Event::SilentStop;
        let (reason, error) = match detail {
            Detail::Fault(notification, why) => (
                DownReason::Sent(notification.clone()),
                Some(match why {
                    Some(why) => format!("{why} (sent {notification})"),
                    None => format!("sent {notification}"),
                }),
            ),
            Detail::PlainStop(cease) => (DownReason::Sent(cease.clone()), None),
            Detail::Lost(reason) => (DownReason::ConnectionLost(reason.clone()), Some(reason.clone())),
            Detail::Received(notification) => {
                (DownReason::Received(notification.clone()), Some(format!("received {notification}")))
            }
            Detail::None if event == Event::HoldTimerExpires && before == State::OpenSent => {
                (DownReason::HoldTimerExpired, Some(format!("no OPEN within {} s", OPEN_HOLD.as_secs())))
            }
            Detail::None if event == Event::HoldTimerExpires => {
                (DownReason::HoldTimerExpired, Some(format!("hold timer expired ({hold} s without a message)")))
            }
            Detail::None if event == Event::SendHoldTimerExpires => (
                DownReason::SendHoldTimerExpired,
                Some("send hold timer expired (the peer takes nothing of what is sent)".to_owned()),
            ),
            Detail::None if event == Event::ConnectRetryTimerExpires && before == State::Connect => {
                (DownReason::Stopped { silent }, Some("connection attempt timed out".to_owned()))
            }
            Detail::None | Detail::Stop(_) | Detail::Update(_) | Detail::Refresh(_) => {
                (DownReason::Stopped { silent }, None)
            }
        };
        let collision = Notification::cease(Cease::ConnectionCollisionResolution);
        let collided = matches!(&reason, DownReason::Received(notification)
            if (notification.code, notification.subcode) == (collision.code, collision.subcode));
        Self { reason, error, collided }
    }
}

pub(super) fn opposite(direction: Direction) -> Direction {
    match direction {
        Direction::Outgoing => Direction::Incoming,
        Direction::Incoming => Direction::Outgoing,
    }
}

impl Connection {
    /// Whether this connection collides with one whose OPEN has just come (RFC 4271 section 6.8).
    ///
    /// OpenConfirm always does. OpenSent does too while it is young: the peer's identifier is known from the other
    /// connection, and when both ends decide as soon as one OPEN is there, neither comes to a choice that the other has
    /// overtaken. An old OpenSent does not, because its peer may be gone, and a live connection must not give way to it.
    /// A connection on which our OPEN waits collides as well: the peer may have sent its own on it and go by that.
    pub(super) fn collides(&self, now: Instant) -> bool {
        match self.state {
            State::OpenConfirm => true,
            State::OpenSent => now - self.since < STABLE,
            State::Connect | State::Active => self.delays_open(),
            State::Idle | State::Established => false,
        }
    }
}
