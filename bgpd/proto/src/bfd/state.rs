//! The state machine (RFC 5880 sections 6.2 and 6.8.6), as a table: state × event -> next state and diagnostic.

use super::packet::{Diagnostic, State};

/// What happens to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A packet with this state came.
    Received(State),
    /// Nothing came for the detection time (section 6.8.4).
    DetectionTimeExpired,
    /// A person disables the session (section 6.8.16).
    Disable,
    /// A person enables it again.
    Enable,
}

impl Event {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Received(State::AdminDown),
        Self::Received(State::Down),
        Self::Received(State::Init),
        Self::Received(State::Up),
        Self::DetectionTimeExpired,
        Self::Disable,
        Self::Enable,
    ];
}

/// A cell of the table: the next state, and the new diagnostic, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The next state.
    pub next: State,
    /// bfd.LocalDiag, where it changes.
    pub diagnostic: Option<Diagnostic>,
}

fn stay(state: State) -> Step {
    Step { next: state, diagnostic: None }
}

fn to(next: State) -> Step {
    Step { next, diagnostic: None }
}

fn because(next: State, diagnostic: Diagnostic) -> Step {
    Step { next, diagnostic: Some(diagnostic) }
}

/// The table. What comes in AdminDown is discarded before it gets here; the row says so too.
#[must_use]
pub fn step(state: State, event: Event) -> Step {
    use State::{AdminDown, Down, Init, Up};
    let signaled = Diagnostic::NEIGHBOR_SIGNALED_DOWN;
    let expired = Diagnostic::CONTROL_DETECTION_TIME_EXPIRED;
    match (state, event) {
        (AdminDown, Event::Received(AdminDown | Down | Init | Up) | Event::DetectionTimeExpired) => stay(AdminDown),
        (AdminDown | Down | Init | Up, Event::Disable) => because(AdminDown, Diagnostic::ADMINISTRATIVELY_DOWN),
        (AdminDown, Event::Enable) => because(Down, Diagnostic::NONE),
        (Down | Init | Up, Event::Enable) => stay(state),

        (Down, Event::Received(AdminDown)) => stay(Down),
        (Down, Event::Received(Down)) => to(Init),
        (Down, Event::Received(Init)) => to(Up),
        // It has not heard yet that we went down.
        (Down, Event::Received(Up)) => stay(Down),
        (Down, Event::DetectionTimeExpired) => stay(Down),

        (Init, Event::Received(AdminDown)) => because(Down, signaled),
        (Init, Event::Received(Down)) => stay(Init),
        (Init, Event::Received(Init | Up)) => to(Up),
        (Init, Event::DetectionTimeExpired) => because(Down, expired),

        (Up, Event::Received(AdminDown | Down)) => because(Down, signaled),
        (Up, Event::Received(Init | Up)) => stay(Up),
        (Up, Event::DetectionTimeExpired) => because(Down, expired),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Drawn from section 6.2's figure, row by row in the order of [`Event::ALL`]; `-` is a state that stays.
    #[test]
    fn the_table_is_the_rfcs() {
        let rows = [
            (State::AdminDown, ["-", "-", "-", "-", "-", "AdminDown 7", "Down 0"]),
            (State::Down, ["-", "Init", "Up", "-", "-", "AdminDown 7", "-"]),
            (State::Init, ["Down 3", "-", "Up", "Up", "Down 1", "AdminDown 7", "-"]),
            (State::Up, ["Down 3", "Down 3", "-", "-", "Down 1", "AdminDown 7", "-"]),
        ];
        for (state, cells) in rows {
            for (event, expected) in Event::ALL.into_iter().zip(cells) {
                let found = step(state, event);
                let text = match found.diagnostic {
                    Some(diagnostic) => format!("{} {}", found.next, diagnostic.code()),
                    None if found.next == state => "-".to_owned(),
                    None => found.next.to_string(),
                };
                assert_eq!(text, expected, "{state} {event:?}");
            }
        }
    }

    #[test]
    fn two_ends_come_up_by_three_way_handshake_from_every_pair_of_states_but_admin_down() {
        let states = [State::Down, State::Init, State::Up];
        for one in states {
            for other in states {
                let (mut a, mut b) = (one, other);
                for _ in 0..4 {
                    b = step(b, Event::Received(a)).next;
                    a = step(a, Event::Received(b)).next;
                }
                assert_eq!((a, b), (State::Up, State::Up), "{one} {other}");
            }
        }
    }
}
