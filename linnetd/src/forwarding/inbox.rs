//! What the task waits for, and in which order it looks.

use std::future::{pending, ready};
use std::sync::Arc;

use fib_sync::{FibEvent, Landed, Queued};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::Command;
use super::desk::Desk;
use super::task::landed;

/// The ways by which something comes to the task.
pub(super) struct Inbox {
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) kernel: mpsc::Receiver<FibEvent>,
    /// What the speaker that is followed has decided.
    pub(super) decided: Option<mpsc::Receiver<bgpd::Event>>,
    /// Where the task's state lies meanwhile.
    pub(super) desk: Arc<Desk>,
}

/// What a wait ended with.
pub(super) enum Next {
    /// `None`: the speaker has ended.
    Speaker(Option<bgpd::Event>),
    /// `None`: the program is ending.
    Command(Option<Command>),
    Landed(Landed),
    Kernel(FibEvent),
    /// Something has changed past the task.
    LeftOver,
    TellSpeaker,
    LookAgain,
    MakeOverlay,
    RetireOverlays,
    /// Nothing is there.
    Nothing,
}

/// When the task has something to do by itself.
pub(super) struct Dues {
    pub(super) tell_speaker: Option<Instant>,
    pub(super) look_again: Option<Instant>,
    pub(super) make_overlay: Option<Instant>,
    pub(super) retire_overlays: Option<Instant>,
}

impl Inbox {
    /// Waits. `others_first`: the speaker had its turn, so that now all else has one.
    pub(super) async fn next(&mut self, dues: Dues, submitted: &mut Option<(u64, Queued)>, others_first: bool) -> Next {
        tokio::select! {
            biased;
            // What waits for nothing is first: after a rest, to look at all the others takes as long as to follow the change.
            event = next(&mut self.decided), if !others_first => Next::Speaker(event),
            command = self.commands.recv() => Next::Command(command),
            landed = landed(submitted) => Next::Landed(landed),
            Some(event) = self.kernel.recv() => Next::Kernel(event),
            () = self.desk.left_over() => Next::LeftOver,
            () = due(dues.tell_speaker) => Next::TellSpeaker,
            () = due(dues.look_again) => Next::LookAgain,
            () = due(dues.make_overlay) => Next::MakeOverlay,
            () = due(dues.retire_overlays) => Next::RetireOverlays,
            () = ready(()), if others_first => Next::Nothing,
        }
    }
}

async fn next(events: &mut Option<mpsc::Receiver<bgpd::Event>>) -> Option<bgpd::Event> {
    match events {
        Some(events) => events.recv().await,
        None => pending().await,
    }
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}
