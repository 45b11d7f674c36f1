//! The state machine's table against a second, literal one: every cell.

use super::*;

/// Events down, states across. A cell: the next state's letter, then a letter for each action in order; `.` is "stays and
/// does nothing". States: I C A S(OpenSent) K(OpenConfirm) E. Actions: see [`letter`].
const EXPECTED: &str = "
    event                       I     C     A     S      K      E
    ManualStart                 Cfc   .     .     .      .      .
    ManualStop                  .     Ir    Ir    Isr    Isr    Isrd
    AutomaticStart              Cc    .     .     .      .      .
    ManualStartPassive          Af    .     .     .      .      .
    AutomaticStartPassive       A     .     .     .      .      .
    AutomaticStop               .     Ir    Ir    Isr    Isr    Isrd
    SilentStop                  .     Ir    Ir    Ir     Ir     Ird
    ConnectRetryTimerExpires    .     Cxc   Cc    I1rp   I2rp   I3rpd
    HoldTimerExpires            .     Irp   Irp   Ihrp   Ihrp   Ihrpd
    KeepaliveTimerExpires       .     Irp   Irp   I1rp   Kk     Ek
    IdleHoldTimerExpires        Ia    Irp   Irp   I1rp   I2rp   I3rpd
    SendHoldTimerExpires        .     Irp   Irp   I1rp   I2rp   Irpd
    DelayOpenTimerExpires       .     So    So    I1rp   I2rp   I3rpd
    TcpCrAcked                  Ix    So    So    .      .      .
    TcpConnectionConfirmed      Ix    So    So    .      .      .
    TcpUpDelayOpen              Ix    Cy    Ay    .      .      .
    TcpConnectionFails          .     Arpw  Irp   Arpw   Irp    Irpd
    BgpOpen                     .     Irp   Irp   Kkt    I2rp   I3rpd
    BgpOpenDelayOpen            .     Kokt  Kokt  I1rp   I2rp   I3rpd
    BgpHeaderErr                .     Ierp  Ierp  Ierp   Ierp   Ierpd
    BgpOpenMsgErr               .     Ierp  Ierp  Ierp   Ierp   I3rpd
    OpenCollisionDump           .     Ir    Ir    Ilr    Ilr    Ilrd
    NotifMsgVerErr              .     Ir    Ir    Ir     Ir     Irpd
    NotifMsg                    .     Irp   Irp   Irp    Irp    Irpd
    KeepAliveMsg                .     Irp   Irp   I1rp   Etu    Et
    UpdateMsg                   .     Irp   Irp   I1rp   I2rp   Etv
    UpdateMsgErr                .     Irp   Irp   I1rp   I2rp   Ierpd
    RouteRefreshMsg             .     Irp   Irp   I1rp   I2rp   Etq
";

const EVENTS: [Event; 28] = [
    Event::ManualStart,
    Event::ManualStop,
    Event::AutomaticStart,
    Event::ManualStartPassive,
    Event::AutomaticStartPassive,
    Event::AutomaticStop,
    Event::SilentStop,
    Event::ConnectRetryTimerExpires,
    Event::HoldTimerExpires,
    Event::KeepaliveTimerExpires,
    Event::IdleHoldTimerExpires,
    Event::SendHoldTimerExpires,
    Event::DelayOpenTimerExpires,
    Event::TcpCrAcked,
    Event::TcpConnectionConfirmed,
    Event::TcpUpDelayOpen,
    Event::TcpConnectionFails,
    Event::BgpOpen,
    Event::BgpOpenDelayOpen,
    Event::BgpHeaderErr,
    Event::BgpOpenMsgErr,
    Event::OpenCollisionDump,
    Event::NotifMsgVerErr,
    Event::NotifMsg,
    Event::KeepAliveMsg,
    Event::UpdateMsg,
    Event::UpdateMsgErr,
    Event::RouteRefreshMsg,
];

const STATES: [(State, char); 6] = [
    (State::Idle, 'I'),
    (State::Connect, 'C'),
    (State::Active, 'A'),
    (State::OpenSent, 'S'),
    (State::OpenConfirm, 'K'),
    (State::Established, 'E'),
];

fn letter(action: Action) -> char {
    match action {
        Action::Connect => 'c',
        Action::ArmConnectRetry => 'w',
        Action::ArmDelayOpen => 'y',
        Action::StartAgain => 'a',
        Action::Close => 'x',
        Action::Release => 'r',
        Action::SendOpen => 'o',
        Action::SendKeepalive => 'k',
        Action::ArmHold => 't',
        Action::SendStop => 's',
        Action::SendCollision => 'l',
        Action::SendHoldExpired => 'h',
        Action::SendFsmError(subcode) => (b'0' + subcode) as char,
        Action::SendFault => 'e',
        Action::Forgive => 'f',
        Action::Penalise => 'p',
        Action::Up => 'u',
        Action::Down => 'd',
        Action::Deliver => 'v',
        Action::Refresh => 'q',
    }
}

fn cell(state: State, event: Event) -> String {
    let step = step(state, event);
    if step.next == state && step.actions.is_empty() {
        return ".".to_owned();
    }
    let next = STATES.iter().find(|(state, _)| *state == step.next).map_or('?', |(_, letter)| *letter);
    std::iter::once(next).chain(step.actions.iter().map(|action| letter(*action))).collect()
}

#[test]
fn every_cell_of_the_table_is_what_the_rfc_says() {
    let rows: Vec<Vec<&str>> =
        EXPECTED.lines().map(|line| line.split_whitespace().collect()).filter(|row: &Vec<_>| !row.is_empty()).collect();
    assert_eq!(rows.len(), 1 + EVENTS.len());
    for (event, row) in EVENTS.into_iter().zip(&rows[1..]) {
        assert_eq!(format!("{event:?}"), row[0]);
        for ((state, _), expected) in STATES.into_iter().zip(&row[1..]) {
            assert_eq!(cell(state, event), *expected, "{state:?} × {event:?}");
        }
    }
}

#[test]
fn the_owner_hears_of_a_session_exactly_when_it_enters_or_leaves_established() {
    for (state, _) in STATES {
        for event in EVENTS {
            let step = step(state, event);
            let enters = state != State::Established && step.next == State::Established;
            let leaves = state == State::Established && step.next != State::Established;
            assert_eq!(step.actions.contains(&Action::Up), enters, "{state:?} × {event:?}");
            assert_eq!(step.actions.contains(&Action::Down), leaves, "{state:?} × {event:?}");
        }
    }
}

#[test]
fn idle_holds_no_connection_and_runs_no_timer() {
    for (state, _) in STATES {
        for event in EVENTS {
            let step = step(state, event);
            if state != State::Idle && step.next == State::Idle {
                assert!(step.actions.contains(&Action::Release), "{state:?} × {event:?}");
            }
        }
    }
}
