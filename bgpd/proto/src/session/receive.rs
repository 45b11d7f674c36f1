//! What comes in: bytes become messages, messages become events.

use std::borrow::Cow;

use super::connection::Transport;
use super::fsm::Event;
use super::machine::{Detail, opposite};
use super::negotiate::{self, Refusal};
use super::{Direction, Established, Session, State, collision};
use crate::time::Instant;
use crate::wire::frame::{Frame, MessageType, next_frame};
use crate::wire::notification::OpenError;
use crate::wire::update::Verdict;
use crate::wire::{MAX_MESSAGE_LEN, Message, Notification, Open, RouteRefresh, Update, UpdateContext};

impl UpdateContext {
    /// What holds before two OPENs have met.
    pub(super) fn before_open() -> Self {
        Self { external: true, ..Self::PLAIN }
    }
}

impl Session {
    /// Takes every whole message off the stream. What follows a fatal error is dropped with its connection.
    pub(super) fn receive(&mut self, now: Instant, direction: Direction, bytes: &[u8]) {
        let Some(connection) = self.connection_mut(direction) else { return };
        if connection.transport != Transport::Up {
            return;
        }
        // What came is read where it lies, and put together only with what was left before: a single change is all of what came,
        // and a copy of it, in memory of its own, would be a tenth of the way to the RIB (docs/performance.md).
        let mut begun = std::mem::take(&mut connection.begun);
        let stream = if begun.is_empty() {
            Cow::Borrowed(bytes)
        } else {
            begun.extend_from_slice(bytes);
            Cow::Owned(begun)
        };
        let left = self.messages(now, direction, &stream).len();
        let begun = match stream {
            // Not copied for each octet that comes by itself.
            Cow::Owned(begun) if begun.len() == left => begun,
            // A session that waits holds no memory.
            stream => stream[stream.len() - left..].to_vec(),
        };
        if let Some(connection) = self.connection_mut(direction) {
            connection.begun = begun;
        }
    }

    /// Takes whole messages off `stream`; what is left is the beginning of one.
    fn messages<'stream>(&mut self, now: Instant, direction: Direction, mut stream: &'stream [u8]) -> &'stream [u8] {
        loop {
            let Some(connection) = self.connection_mut(direction) else { return &[] };
            if connection.transport != Transport::Up {
                return &[];
            }
            let max_len = connection.agreed.as_ref().map_or(MAX_MESSAGE_LEN, |agreed| agreed.receive.max_message_len);
            match next_frame(&mut stream, max_len) {
                Ok(Some(frame)) => self.message(now, direction, frame),
                Ok(None) => return stream,
                Err(notification) => {
                    self.raise(now, direction, Event::BgpHeaderErr, Detail::Fault(notification, None));
                    return &[];
                }
            }
        }
    }

    fn message(&mut self, now: Instant, direction: Direction, frame: Frame<'_>) {
        self.counters.received[usize::from(frame.kind.code()) - 1] += 1;
        let Some(connection) = self.connection_mut(direction) else { return };
        let state = connection.state;
        let awaits_open = state == State::OpenSent || connection.delays_open();
        let context = connection.agreed.as_ref().map_or_else(UpdateContext::before_open, |agreed| agreed.receive);
        if frame.kind == MessageType::Open && awaits_open {
            connection.opens.received = frame.whole();
        }
        let enhanced_refresh = connection.agreed.as_ref().is_some_and(|agreed| agreed.enhanced_refresh);
        // A message that the state does not allow is answered by its type alone.
        let (event, detail) = match (frame.kind, state) {
            (MessageType::Open, _) if awaits_open => match Message::parse(frame, &context) {
                Ok(Message::Open(open)) => return self.open_received(now, direction, &open),
                Ok(_) => (Event::BgpOpen, Detail::None),
                Err(notification) => (Event::BgpOpenMsgErr, Detail::Fault(notification, None)),
            },
            (MessageType::Open, _) => (Event::BgpOpen, Detail::None),
            (MessageType::Update, State::Established) => match Message::parse(frame, &context) {
                Ok(Message::Update(update)) => {
                    self.count_faults(&update);
                    (Event::UpdateMsg, Detail::Update(update))
                }
                Ok(_) => (Event::UpdateMsg, Detail::None),
                Err(notification) => (Event::UpdateMsgErr, Detail::Fault(notification, None)),
            },
            (MessageType::Update, _) => (Event::UpdateMsg, Detail::None),
            (MessageType::Keepalive, _) => (Event::KeepAliveMsg, Detail::None),
            (MessageType::Notification, _) => match Message::parse(frame, &context) {
                Ok(Message::Notification(notification)) => (event_of(&notification), Detail::Received(notification)),
                Ok(_) => (Event::NotifMsg, Detail::None),
                Err(notification) => (Event::BgpHeaderErr, Detail::Fault(notification, None)),
            },
            (MessageType::RouteRefresh, State::Established) => {
                match RouteRefresh::parse(frame.body, enhanced_refresh) {
                    Ok(refresh) => (Event::RouteRefreshMsg, Detail::Refresh(refresh.within(context.families))),
                    Err(notification) => (Event::BgpHeaderErr, Detail::Fault(notification, None)),
                }
            }
            (MessageType::RouteRefresh, _) => (Event::RouteRefreshMsg, Detail::None),
        };
        self.raise(now, direction, event, detail);
    }

    /// An OPEN that reads well: is it acceptable, and is this the connection that stays?
    fn open_received(&mut self, now: Instant, direction: Direction, open: &Open) {
        let Some(connection) = self.connection_mut(direction) else { return };
        let (local, remote) = (connection.local, connection.remote);
        match negotiate::negotiate(&self.config, open, direction, local, remote) {
            Err(Refusal { notification, why }) => {
                self.raise(now, direction, Event::BgpOpenMsgErr, Detail::Fault(notification, Some(why)));
            }
            Ok(agreed) => {
                if self.survives_collision(now, direction, &agreed) {
                    let Some(connection) = self.connection_mut(direction) else { return };
                    connection.agreed = Some(Box::new(agreed));
                    let event = if connection.delays_open() { Event::BgpOpenDelayOpen } else { Event::BgpOpen };
                    self.raise(now, direction, event, Detail::None);
                } else {
                    self.raise(now, direction, Event::OpenCollisionDump, Detail::None);
                }
            }
        }
    }

    /// Decides between this connection and the other, and ends the other if this one stays.
    fn survives_collision(&mut self, now: Instant, direction: Direction, agreed: &Established) -> bool {
        let local = (self.config.router_id, self.config.local_as);
        let other = opposite(direction);
        let settled = self.has_settled(now);
        let Some(connection) = self.connection_mut(other) else { return true };
        match connection.state {
            // RFC 4724 section 5: the peer is back before its old connection was seen to be dead. Right after the session
            // came up it is more likely the peer's own connection, which crossed ours and was late: a collision. A peer that
            // is really back so soon tries again.
            State::Established if settled && connection.agreed.as_ref().is_some_and(|old| old.may_be_replaced()) => {
                let reason = "replaced by a new connection from the peer, which has restarted".to_owned();
                self.raise(now, other, Event::TcpConnectionFails, Detail::Lost(reason));
                true
            }
            State::Established => false,
            State::Connect | State::Active | State::OpenSent | State::OpenConfirm if connection.collides(now) => {
                let stays = collision::winner(local, (agreed.remote_id, agreed.remote_as)) == direction;
                if stays {
                    self.raise(now, other, Event::OpenCollisionDump, Detail::None);
                }
                stays
            }
            State::OpenSent | State::OpenConfirm => true,
            // Our own attempt is not needed any more; if this connection fails, the session starts again.
            State::Connect | State::Active => {
                self.raise(now, other, Event::OpenCollisionDump, Detail::None);
                true
            }
            State::Idle => true,
        }
    }

    fn count_faults(&mut self, update: &Update) {
        let discarded = update.faults.iter().filter(|fault| fault.verdict == Verdict::DiscardAttribute).count();
        self.counters.attributes_discarded += discarded as u64;
        self.counters.treated_as_withdraw +=
            u64::from(update.faults.iter().any(|fault| fault.verdict == Verdict::TreatAsWithdraw));
    }
}

fn event_of(notification: &Notification) -> Event {
    if (notification.code, notification.subcode) == (2, OpenError::UnsupportedVersionNumber as u8) {
        Event::NotifMsgVerErr
    } else {
        Event::NotifMsg
    }
}
