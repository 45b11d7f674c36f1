//! The state machine of one connection (RFC 4271 section 8), as a table: state × event -> next state and actions.
//!
//! There is one machine for each connection (section 8.2.1): the outgoing one lives as long as its session, an incoming one
//! as long as its connection, from Active on. The table decides nothing that depends on more than state and event: who
//! raises an event has already asked whether an OPEN is acceptable ([`super::negotiate`]) and which connection of
//! two stays ([`super::collision`]).
//!
//! Of what is optional there is DelayOpen (events 12 and 20), with which a connection that is up stays in Connect or Active
//! while the DelayOpenTimer runs, and SendNOTIFICATIONwithoutOPEN, so that a peer whose OPEN came first and is refused hears
//! why. Left out: events 6 and 7 (IdleHoldTimer_Expires raises 3 or 5 instead), TCP
//! connection tracking by address (events 14 and 15: the owner of the listener has matched the peer already).
//!
//! Other than RFC 4271's letter:
//! * Connect, TcpConnectionFails: to Active (as RFC 1771 had it) and not to Idle, where the peer's own attempt would be
//!   refused while ours is waiting.
//! * OpenSent, NotifMsg: not answered. A NOTIFICATION is the last word (section 6.4), even an early one.
//! * Established, BGPHeaderErr: what section 6.1 says is sent, not the Finite State Machine Error of section 8.2.2.
//! * Collisions are not counted against a peer: the session goes on over the other connection.

use super::State;

/// What happens to a connection (RFC 4271 section 8.1; numbers are that section's).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// 1
    ManualStart,
    /// 2, with a Cease.
    ManualStop,
    /// 3
    AutomaticStart,
    /// 4
    ManualStartPassive,
    /// 5
    AutomaticStartPassive,
    /// 8, with a Cease.
    AutomaticStop,
    /// Ours: the process is about to restart, and the peer is to keep our routes (RFC 4724).
    SilentStop,
    /// 9
    ConnectRetryTimerExpires,
    /// 10
    HoldTimerExpires,
    /// 11
    KeepaliveTimerExpires,
    /// 13
    IdleHoldTimerExpires,
    /// 29 (RFC 9687)
    SendHoldTimerExpires,
    /// 12
    DelayOpenTimerExpires,
    /// 16: our connection is up.
    TcpCrAcked,
    /// 17: the peer's connection is up.
    TcpConnectionConfirmed,
    /// 16 or 17, with DelayOpen.
    TcpUpDelayOpen,
    /// 18
    TcpConnectionFails,
    /// 19: acceptable, if the state is OpenSent.
    BgpOpen,
    /// 20: acceptable, and the DelayOpenTimer runs.
    BgpOpenDelayOpen,
    /// 21
    BgpHeaderErr,
    /// 22
    BgpOpenMsgErr,
    /// 23
    OpenCollisionDump,
    /// 24
    NotifMsgVerErr,
    /// 25
    NotifMsg,
    /// 26
    KeepAliveMsg,
    /// 27
    UpdateMsg,
    /// 28
    UpdateMsgErr,
    /// RFC 2918, RFC 7313
    RouteRefreshMsg,
}

/// What the machine does on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Initiates a TCP connection; the ConnectRetryTimer bounds the attempt.
    Connect,
    /// Waits for the ConnectRetryTimer before the next attempt.
    ArmConnectRetry,
    /// Waits for the DelayOpenTimer, or for the peer's OPEN, and for no other connection of ours.
    ArmDelayOpen,
    /// Raises AutomaticStart, or its passive form.
    StartAgain,
    /// Drops the TCP connection or the attempt.
    Close,
    /// Drops the TCP connection and stops every timer.
    Release,
    /// Sends OPEN and waits for the peer's with a large hold time, 4 minutes (section 8.2.2).
    SendOpen,
    /// Sends KEEPALIVE and restarts the KeepaliveTimer.
    SendKeepalive,
    /// Restarts the HoldTimer with the negotiated time.
    ArmHold,
    /// Sends the Cease that the owner gave.
    SendStop,
    /// Sends Cease / Connection Collision Resolution (RFC 4486).
    SendCollision,
    /// Sends Hold Timer Expired.
    SendHoldExpired,
    /// Sends Finite State Machine Error with this subcode (RFC 6608).
    SendFsmError(u8),
    /// Sends what the parser or the negotiation found wrong.
    SendFault,
    /// ConnectRetryCounter to zero.
    Forgive,
    /// ConnectRetryCounter up by one.
    Penalise,
    /// Tells the owner that the session is up.
    Up,
    /// Tells the owner that the session is down.
    Down,
    /// Gives the UPDATE to the owner.
    Deliver,
    /// Gives the ROUTE-REFRESH to the owner, marks among the UPDATEs.
    Refresh,
}

/// A cell of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// The next state.
    pub(super) next: State,
    /// What is done on the way, in order.
    pub(super) actions: &'static [Action],
}

/// The table.
pub(super) fn step(state: State, event: Event) -> Step {
    match state {
        State::Idle => idle(event),
        State::Connect => connect(event),
        State::Active => active(event),
        State::OpenSent => open_sent(event),
        State::OpenConfirm => open_confirm(event),
        State::Established => established(event),
    }
}

fn to(next: State, actions: &'static [Action]) -> Step {
    Step { next, actions }
}

fn idle(event: Event) -> Step {
    use Action::*;
    match event {
        Event::ManualStart => to(State::Connect, &[Forgive, Connect]),
        Event::AutomaticStart => to(State::Connect, &[Connect]),
        Event::ManualStartPassive => to(State::Active, &[Forgive]),
        Event::AutomaticStartPassive => to(State::Active, &[]),
        Event::IdleHoldTimerExpires => to(State::Idle, &[StartAgain]),
        // "Refuses all incoming BGP connections", and what is left of an attempt that was given up.
        Event::TcpCrAcked | Event::TcpConnectionConfirmed | Event::TcpUpDelayOpen => to(State::Idle, &[Close]),
        Event::ManualStop
        | Event::AutomaticStop
        | Event::SilentStop
        | Event::ConnectRetryTimerExpires
        | Event::HoldTimerExpires
        | Event::KeepaliveTimerExpires
        | Event::SendHoldTimerExpires
        | Event::DelayOpenTimerExpires
        | Event::TcpConnectionFails
        | Event::BgpOpen
        | Event::BgpOpenDelayOpen
        | Event::BgpHeaderErr
        | Event::BgpOpenMsgErr
        | Event::OpenCollisionDump
        | Event::NotifMsgVerErr
        | Event::NotifMsg
        | Event::KeepAliveMsg
        | Event::UpdateMsg
        | Event::UpdateMsgErr
        | Event::RouteRefreshMsg => to(State::Idle, &[]),
    }
}

fn connect(event: Event) -> Step {
    use Action::*;
    match event {
        Event::ManualStart | Event::AutomaticStart | Event::ManualStartPassive | Event::AutomaticStartPassive => {
            to(State::Connect, &[])
        }
        Event::ManualStop
        | Event::AutomaticStop
        | Event::SilentStop
        | Event::OpenCollisionDump
        | Event::NotifMsgVerErr => to(State::Idle, &[Release]),
        Event::ConnectRetryTimerExpires => to(State::Connect, &[Close, Connect]),
        Event::TcpCrAcked | Event::TcpConnectionConfirmed | Event::DelayOpenTimerExpires => {
            to(State::OpenSent, &[SendOpen])
        }
        Event::TcpUpDelayOpen => to(State::Connect, &[ArmDelayOpen]),
        Event::BgpOpenDelayOpen => to(State::OpenConfirm, &[SendOpen, SendKeepalive, ArmHold]),
        Event::BgpHeaderErr | Event::BgpOpenMsgErr => to(State::Idle, &[SendFault, Release, Penalise]),
        Event::TcpConnectionFails => to(State::Active, &[Release, Penalise, ArmConnectRetry]),
        Event::HoldTimerExpires
        | Event::KeepaliveTimerExpires
        | Event::IdleHoldTimerExpires
        | Event::SendHoldTimerExpires
        | Event::BgpOpen
        | Event::NotifMsg
        | Event::KeepAliveMsg
        | Event::UpdateMsg
        | Event::UpdateMsgErr
        | Event::RouteRefreshMsg => to(State::Idle, &[Release, Penalise]),
    }
}

fn active(event: Event) -> Step {
    use Action::*;
    match event {
        Event::ManualStart | Event::AutomaticStart | Event::ManualStartPassive | Event::AutomaticStartPassive => {
            to(State::Active, &[])
        }
        Event::ManualStop
        | Event::AutomaticStop
        | Event::SilentStop
        | Event::OpenCollisionDump
        | Event::NotifMsgVerErr => to(State::Idle, &[Release]),
        Event::ConnectRetryTimerExpires => to(State::Connect, &[Connect]),
        Event::TcpCrAcked | Event::TcpConnectionConfirmed | Event::DelayOpenTimerExpires => {
            to(State::OpenSent, &[SendOpen])
        }
        Event::TcpUpDelayOpen => to(State::Active, &[ArmDelayOpen]),
        Event::BgpOpenDelayOpen => to(State::OpenConfirm, &[SendOpen, SendKeepalive, ArmHold]),
        Event::BgpHeaderErr | Event::BgpOpenMsgErr => to(State::Idle, &[SendFault, Release, Penalise]),
        Event::TcpConnectionFails
        | Event::HoldTimerExpires
        | Event::KeepaliveTimerExpires
        | Event::IdleHoldTimerExpires
        | Event::SendHoldTimerExpires
        | Event::BgpOpen
        | Event::NotifMsg
        | Event::KeepAliveMsg
        | Event::UpdateMsg
        | Event::UpdateMsgErr
        | Event::RouteRefreshMsg => to(State::Idle, &[Release, Penalise]),
    }
}

fn open_sent(event: Event) -> Step {
    use Action::*;
    match event {
        // A second connection has a machine of its own (section 8.2.1).
        Event::ManualStart
        | Event::AutomaticStart
        | Event::ManualStartPassive
        | Event::AutomaticStartPassive
        | Event::TcpCrAcked
        | Event::TcpConnectionConfirmed
        | Event::TcpUpDelayOpen => to(State::OpenSent, &[]),
        Event::ManualStop | Event::AutomaticStop => to(State::Idle, &[SendStop, Release]),
        Event::SilentStop | Event::NotifMsgVerErr => to(State::Idle, &[Release]),
        Event::HoldTimerExpires => to(State::Idle, &[SendHoldExpired, Release, Penalise]),
        Event::TcpConnectionFails => to(State::Active, &[Release, Penalise, ArmConnectRetry]),
        Event::BgpOpen => to(State::OpenConfirm, &[SendKeepalive, ArmHold]),
        Event::BgpHeaderErr | Event::BgpOpenMsgErr => to(State::Idle, &[SendFault, Release, Penalise]),
        Event::OpenCollisionDump => to(State::Idle, &[SendCollision, Release]),
        Event::NotifMsg => to(State::Idle, &[Release, Penalise]),
        Event::ConnectRetryTimerExpires
        | Event::KeepaliveTimerExpires
        | Event::IdleHoldTimerExpires
        | Event::SendHoldTimerExpires
        | Event::DelayOpenTimerExpires
        | Event::BgpOpenDelayOpen
        | Event::KeepAliveMsg
        | Event::UpdateMsg
        | Event::UpdateMsgErr
        | Event::RouteRefreshMsg => to(State::Idle, &[SendFsmError(1), Release, Penalise]),
    }
}

fn open_confirm(event: Event) -> Step {
    use Action::*;
    match event {
        Event::ManualStart
        | Event::AutomaticStart
        | Event::ManualStartPassive
        | Event::AutomaticStartPassive
        | Event::TcpCrAcked
        | Event::TcpConnectionConfirmed
        | Event::TcpUpDelayOpen => to(State::OpenConfirm, &[]),
        Event::ManualStop | Event::AutomaticStop => to(State::Idle, &[SendStop, Release]),
        Event::SilentStop | Event::NotifMsgVerErr => to(State::Idle, &[Release]),
        Event::HoldTimerExpires => to(State::Idle, &[SendHoldExpired, Release, Penalise]),
        Event::KeepaliveTimerExpires => to(State::OpenConfirm, &[SendKeepalive]),
        Event::TcpConnectionFails | Event::NotifMsg => to(State::Idle, &[Release, Penalise]),
        Event::BgpHeaderErr | Event::BgpOpenMsgErr => to(State::Idle, &[SendFault, Release, Penalise]),
        Event::OpenCollisionDump => to(State::Idle, &[SendCollision, Release]),
        Event::KeepAliveMsg => to(State::Established, &[ArmHold, Up]),
        Event::ConnectRetryTimerExpires
        | Event::IdleHoldTimerExpires
        | Event::SendHoldTimerExpires
        | Event::DelayOpenTimerExpires
        | Event::BgpOpenDelayOpen
        // The second OPEN on one connection.
        | Event::BgpOpen
        | Event::UpdateMsg
        | Event::UpdateMsgErr
        | Event::RouteRefreshMsg => to(State::Idle, &[SendFsmError(2), Release, Penalise]),
    }
}

fn established(event: Event) -> Step {
    use Action::*;
    match event {
        Event::ManualStart
        | Event::AutomaticStart
        | Event::ManualStartPassive
        | Event::AutomaticStartPassive
        | Event::TcpCrAcked
        | Event::TcpConnectionConfirmed
        | Event::TcpUpDelayOpen => to(State::Established, &[]),
        Event::ManualStop | Event::AutomaticStop => to(State::Idle, &[SendStop, Release, Down]),
        Event::SilentStop => to(State::Idle, &[Release, Down]),
        Event::HoldTimerExpires => to(State::Idle, &[SendHoldExpired, Release, Penalise, Down]),
        Event::KeepaliveTimerExpires => to(State::Established, &[SendKeepalive]),
        // RFC 9687 section 4.3: no NOTIFICATION, which is optional; it would queue behind what the peer does not take.
        Event::SendHoldTimerExpires | Event::TcpConnectionFails | Event::NotifMsgVerErr | Event::NotifMsg => {
            to(State::Idle, &[Release, Penalise, Down])
        }
        Event::BgpHeaderErr | Event::UpdateMsgErr => to(State::Idle, &[SendFault, Release, Penalise, Down]),
        Event::OpenCollisionDump => to(State::Idle, &[SendCollision, Release, Down]),
        Event::KeepAliveMsg => to(State::Established, &[ArmHold]),
        Event::UpdateMsg => to(State::Established, &[ArmHold, Deliver]),
        // RFC 2918 is silent on the HoldTimer; a peer that asks is a peer that lives.
        Event::RouteRefreshMsg => to(State::Established, &[ArmHold, Refresh]),
        Event::ConnectRetryTimerExpires
        | Event::IdleHoldTimerExpires
        | Event::DelayOpenTimerExpires
        | Event::BgpOpen
        | Event::BgpOpenDelayOpen
        | Event::BgpOpenMsgErr => to(State::Idle, &[SendFsmError(3), Release, Penalise, Down]),
    }
}

#[cfg(test)]
mod tests;
