//! The overlay device: made as it is wanted, looked after, and made again when somebody else took it away.

use std::time::{Duration, Instant};

use netlink_packet_route::link::LinkMessage;

use super::{Engine, SETTLE, overlay_fights::Part};
use crate::{
    FibError, OverlaySpec, OverlayStatus,
    links::Link,
    overlay::{self, Overlay},
};

/// First pause after a failure to make the device, and the longest.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// Where links keep changing, the device is tried no more than so small a part of the time.
const SHARE: u32 = 20;

/// Why there is no overlay device.
#[derive(Debug)]
pub(super) struct OverlayTrouble {
    why: String,
    attempts: u32,
    /// Not before.
    rest: Instant,
}

impl Engine {
    /// From now on this is wanted.
    pub(super) fn want_overlay(&mut self, spec: Option<OverlaySpec>) -> Result<Option<OverlayStatus>, FibError> {
        let encapsulation = |spec: &Option<OverlaySpec>| spec.as_ref().map(|spec| spec.encapsulation.device());
        self.others_told &= encapsulation(&self.overlay_spec) == encapsulation(&spec);
        if self.overlay_spec != spec {
            self.overlay_trouble = None;
            self.overlay_spec.clone_from(&spec);
        }
        self.timers.overlay = None;
        let began = Instant::now();
        let made = self.set_overlay(spec);
        if let Err(error) = &made {
            // Whoever asked has the answer.
            self.overlay_failed(error, began);
        }
        made
    }

    /// Sees to it that the overlay device is there, up, and as wide as its underlay allows.
    pub(super) fn tend_overlay(&mut self) {
        let Some(spec) = self.overlay_spec.clone() else { return };
        let wanted = spec.mtu.or_else(|| overlay::underlay(&spec, &self.links));
        let fine = self.overlay.as_ref().is_some_and(|overlay| {
            let link = self.links.by_index(overlay.link);
            let fits = |link: &Link| link.up && wanted.is_none_or(|mtu| link.mtu == mtu);
            !overlay.altered && link.is_some_and(fits)
        });
        if fine {
            return self.device_stands();
        }
        if let Some(what) = self.device_meddling()
            && let Some(at) = self.postponed(Part::Device, || what)
        {
            self.timers.overlay = Some(at);
            return;
        }
        let began = Instant::now();
        match self.set_overlay(Some(spec)) {
            Ok(Some(status)) => {
                tracing::info!(device = status.device, mtu = status.mtu, "the overlay device was set up again");
                self.timers.overlay = None;
                self.outbox.overlay(Ok(status));
            }
            Ok(None) => {}
            Err(error) => {
                if self.overlay_failed(&error, began) {
                    tracing::warn!(%error, "the overlay device cannot be set up; it is tried again by itself");
                    self.outbox.overlay(Err(error.to_string()));
                }
            }
        }
    }

    /// As [`Engine::tend_overlay`], after a change of links: what stood in the way may be gone.
    pub(super) fn tend_overlay_soon(&mut self) {
        let Some(trouble) = &mut self.overlay_trouble else { return self.tend_overlay() };
        trouble.attempts = 0;
        let at = trouble.rest.max(Instant::now());
        self.timers.overlay = Some(self.timers.overlay.map_or(at, |due| due.min(at)));
    }

    /// It could not be made, in an attempt that began then. Returns whether that is news.
    fn overlay_failed(&mut self, error: &FibError, began: Instant) -> bool {
        let why = error.to_string();
        let before = self.overlay_trouble.take();
        let news = before.as_ref().is_none_or(|before| before.why != why);
        let attempts = before.map_or(0, |before| before.attempts);
        let now = Instant::now();
        let rest = now + SETTLE.max(SHARE * now.duration_since(began));
        self.timers.overlay = Some(rest.max(now + PAUSE.saturating_mul(1 << attempts.min(5)).min(LONGEST)));
        self.overlay_trouble = Some(OverlayTrouble { why, attempts: attempts + 1, rest });
        news
    }

    /// Makes the overlay device as it should be, or removes it, and all that goes with it.
    pub(super) fn set_overlay(&mut self, spec: Option<OverlaySpec>) -> Result<Option<OverlayStatus>, FibError> {
        let stood = overlay::all(&self.links);
        let wanted = spec.as_ref().map(|spec| spec.encapsulation);
        let done = match spec {
            None => overlay::remove(&mut self.socket).map(|()| None),
            Some(spec) => self.make_overlay(spec).map(Some),
        };
        // Its device's index or MTU may be another, or it is gone: what the kernel says now is what counts.
        let links = self.read_links();
        self.report(links);
        self.retiring = wanted.map_or_else(Vec::new, |wanted| overlay::others(wanted, &self.links));
        if done.is_ok() {
            self.overlay_trouble = None;
        }
        match &done {
            Ok(Some(made)) => {
                let same_device = self.overlay.as_ref().is_some_and(|old| old.link == made.link);
                if !same_device {
                    self.neighbours.forget();
                }
                let read = self.neighbours.read(&mut self.socket, made);
                self.report(read);
                self.overlay = Some(made.clone());
                self.add_neighbours();
                self.keep_peers(same_device);
            }
            Ok(None) | Err(_) => {
                self.overlay = None;
                self.neighbours.forget();
                self.keep_peers(false);
            }
        }
        // What left by a device that is not there any more went with it, without a word.
        if stood.iter().any(|link| self.links.by_index(*link).is_none()) {
            self.timers.read = [Some(Instant::now()); 2];
        }
        self.links_changed();
        self.retire_overlays();
        Ok(done?.map(|overlay| overlay.status))
    }

    fn make_overlay(&mut self, spec: OverlaySpec) -> Result<Overlay, FibError> {
        let mtu = match spec.mtu {
            Some(mtu) => mtu,
            None => overlay::underlay(&spec, &self.links).ok_or(FibError::NoUnderlay(spec.local))?,
        };
        let (link, status) = overlay::ensure(&mut self.socket, &mut self.control, &spec, mtu)?;
        Ok(Overlay { spec, status, link, altered: false })
    }

    /// Somebody changed a setting or an address of a device's: perhaps the overlay's.
    pub(super) fn conduct_soon(&mut self, link: u32) {
        if self.overlay.as_ref().is_some_and(|overlay| overlay.link == link) {
            let soon = Instant::now() + SETTLE;
            self.timers.conduct.get_or_insert(self.conduct_rest.map_or(soon, |rest| soon.max(rest)));
        }
    }

    /// The kernel may have told of the overlay device, and was not heard.
    pub(super) fn inspect_overlay(&mut self) {
        let Some(overlay) = &mut self.overlay else { return };
        match overlay::stands(&mut self.socket, &overlay.spec) {
            Ok(stands) => overlay.altered = !stands,
            Err(error) => self.report(Err(error)),
        }
    }

    /// The kernel tells of a device. Whether it is the overlay's, and not what it was made.
    pub(super) fn overlay_altered(&mut self, link: &LinkMessage) -> bool {
        let overlay = self.overlay.as_mut().filter(|overlay| overlay.link == link.header.index);
        overlay.is_some_and(|overlay| {
            overlay.altered = overlay::is_altered(&overlay.spec, link);
            overlay.altered
        })
    }

    /// Puts the settings of the overlay device right. Returns what was otherwise.
    pub(super) fn tend_conduct(&mut self) -> Vec<String> {
        let Some(overlay) = &self.overlay else { return Vec::new() };
        let done = overlay::conduct::ensure(&mut self.socket, &overlay.status.device, overlay.link);
        done.unwrap_or_else(|error| {
            tracing::warn!(%error, "the settings of the overlay device cannot be looked at");
            Vec::new()
        })
    }
}
