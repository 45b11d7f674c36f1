//! Others who change what the overlay consists of: its device, with the settings of that, and the entries on it. As with routes,
//! it is put back, and who does so often has the field for a while.

use std::time::Instant;

use super::{CONDUCT, Engine, repair::Thing};
use crate::fight::{Fight, Response};

/// What others may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Device,
    Entries,
}

impl Part {
    /// For people.
    pub(super) fn words(self) -> &'static str {
        match self {
            Part::Device => "the overlay device",
            Part::Entries => "the overlay's entries for other nodes",
        }
    }
}

/// What others did to one part.
#[derive(Debug, Default)]
struct Side {
    fight: Option<Fight>,
    /// The netlink port of who touched it last; 0: the kernel did not say.
    port: u32,
    /// What was changed before a truce is still to be put back: that is no other change.
    owed: bool,
}

/// What others did to the overlay.
#[derive(Debug, Default)]
pub(super) struct OverlayFights {
    device: Side,
    entries: Side,
}

impl OverlayFights {
    fn side(&self, part: Part) -> &Side {
        match part {
            Part::Device => &self.device,
            Part::Entries => &self.entries,
        }
    }

    fn side_mut(&mut self, part: Part) -> &mut Side {
        match part {
            Part::Device => &mut self.device,
            Part::Entries => &mut self.entries,
        }
    }

    /// Somebody touched it, who may have changed nothing.
    pub(super) fn touched(&mut self, part: Part, port: u32) {
        if port != 0 {
            self.side_mut(part).port = port;
        }
    }

    pub(super) fn fight_mut(&mut self, part: Part) -> Option<&mut Fight> {
        self.side_mut(part).fight.as_mut()
    }

    /// It is as it should be.
    fn settled(&mut self, part: Part) {
        self.side_mut(part).owed = false;
    }

    /// When the truce ends that holds.
    fn truce(&self, part: Part, now: Instant) -> Option<Instant> {
        Some(now + self.side(part).fight.as_ref()?.truce(now)?)
    }

    /// Ends truces: somebody asked for it.
    pub(super) fn end_truces(&mut self, now: Instant) {
        for side in [&mut self.device, &mut self.entries] {
            if let Some(fight) = &mut side.fight {
                fight.end_truce(now);
            }
        }
    }

    /// Who changes it again and again.
    pub(super) fn why(&self, part: Part, now: Instant) -> Option<String> {
        self.side(part).fight.as_ref()?.why(part.words(), now)
    }
}

impl Engine {
    /// Somebody changed this part of the overlay, `what` in words. Says when to put it back if that is not now.
    pub(super) fn postponed(&mut self, part: Part, what: impl FnOnce() -> String) -> Option<Instant> {
        let now = Instant::now();
        if let Some(end) = self.overlay_fights.truce(part, now) {
            return Some(end);
        }
        let side = self.overlay_fights.side_mut(part);
        if std::mem::take(&mut side.owed) {
            return None;
        }
        let response = side.fight.get_or_insert_with(|| Fight::new(now)).meddled(now);
        side.owed = matches!(response, Response::Leave(_));
        let port = std::mem::take(&mut side.port);
        self.tell_later(Thing::Overlay(part, what()), port, response);
        match response {
            Response::PutBack => None,
            Response::Leave(truce) => Some(now + truce),
            Response::Wait => self.overlay_fights.truce(part, now),
        }
    }

    /// What somebody else did to the overlay device; nothing, where it does not suit an underlay that changed.
    pub(super) fn device_meddling(&self) -> Option<String> {
        let overlay = self.overlay.as_ref()?;
        match self.links.by_index(overlay.link) {
            None => Some("removed".into()),
            Some(link) if !link.up => Some("switched off".into()),
            Some(_) if overlay.altered => Some("its settings are not those of the configuration".into()),
            Some(link) if link.mtu != overlay.status.mtu => Some(format!("its MTU is {}", link.mtu)),
            Some(_) => None,
        }
    }

    /// The overlay device is as it should be.
    pub(super) fn device_stands(&mut self) {
        self.overlay_fights.settled(Part::Device);
    }

    /// Reads the entries on the overlay device again, and writes what is missing and removes what nobody wants.
    pub(super) fn tend_entries(&mut self) {
        let Some(overlay) = &self.overlay else { return };
        if let Some(end) = self.overlay_fights.truce(Part::Entries, Instant::now()) {
            self.timers.neighbours = Some(end);
            return;
        }
        let read = self.neighbours.read(&mut self.socket, overlay);
        let (_, mut different) = self.neighbours.compare(&self.tunnel_ends(), overlay, self.swept == [true; 2]);
        different.retain(|(subject, _, _)| !self.neighbours.is_refused(subject));
        self.report(read);
        match different.first() {
            None => self.overlay_fights.settled(Part::Entries),
            Some((subject, _, detail)) => {
                let others = different.len() - 1;
                let what = || match others {
                    0 => format!("{subject}: {detail}"),
                    some => format!("{subject}: {detail}, and {some} more"),
                };
                if let Some(at) = self.postponed(Part::Entries, what) {
                    self.timers.neighbours = Some(at);
                    return;
                }
            }
        }
        self.add_neighbours();
        self.remove_neighbours();
    }

    /// Puts the settings of the overlay device right that another program changed.
    pub(super) fn mend_conduct(&mut self) {
        if let Some(end) = self.overlay_fights.truce(Part::Device, Instant::now()) {
            self.timers.conduct = Some(end);
            return;
        }
        let different = self.tend_conduct();
        if different.is_empty() {
            return;
        }
        self.conduct_rest = Some(Instant::now() + CONDUCT);
        if let Some(at) = self.postponed(Part::Device, || different.join(", ")) {
            self.timers.conduct = Some(at);
        }
    }

    /// Who changes the overlay again and again.
    pub(super) fn overlay_complaint(&self, now: Instant) -> Option<String> {
        let of = |part| self.overlay_fights.why(part, now);
        of(Part::Device).or_else(|| of(Part::Entries))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{
        super::{
            Command,
            support::{in_namespace, link, node::spec},
            tests::engine,
        },
        *,
    };
    use crate::fight::FIGHT;

    #[test]
    fn settings_of_the_device_that_somebody_sets_again_and_again_are_left_alone_for_a_while() {
        in_namespace(|| async {
            link("up1", &["192.168.0.1/24"]);
            let (mut engine, _events) = engine();
            engine.obey(Command::Overlay(Some(spec("192.168.0.1")), tokio::sync::oneshot::channel().0));
            let setting = "/proc/sys/net/ipv4/conf/linnet.vxlan/rp_filter";
            let strict = || fs::read_to_string(setting).expect("a setting").trim() == "1";
            for change in 0..=FIGHT {
                fs::write(setting, "1").expect("a setting");
                engine.timers.conduct = None;
                engine.mend_conduct();
                engine.tell();
                assert!(!strict(), "{change}");
            }
            let end = engine.timers.conduct.expect("a truce");
            fs::write(setting, "1").expect("a setting");
            engine.mend_conduct();
            assert!(strict() && engine.timers.conduct.is_some_and(|at| at >= end - std::time::Duration::from_secs(1)));
            let why = engine.overlay_complaint(Instant::now()).expect("a fight");
            assert!(why.contains("the overlay device: an unknown program, 6 times"), "{why}");
            engine.overlay_fights.end_truces(Instant::now());
            engine.mend_conduct();
            assert!(!strict());
        });
    }
}
