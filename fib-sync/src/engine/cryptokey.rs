//! Peers of the WireGuard device, which follow the routes: a prefix is its peer's before there is a route, and is taken away
//! behind it.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use ipnetwork::IpNetwork;

use super::Engine;
use crate::{
    FibError,
    ledger::Ledger,
    overlay::{Encapsulation, PeerStatus, PublicKey},
    paths::{self, peer},
    route::TunnelEnd,
    table::Want,
};

/// Between two looks at what the kernel has: it tells nobody of a change of peers.
const CHECK: Duration = Duration::from_secs(3);
/// And so many times longer than the look took.
const REST: u32 = 500;

/// The peer to which a prefix belongs.
fn owner(ledger: &Ledger, prefix: IpNetwork) -> Option<PublicKey> {
    let Want::Path(path) = ledger.table.get(prefix).want() else { return None };
    peer(ledger.paths.get(path)?)
}

impl Engine {
    /// Gives peers what is to be theirs. `ends`: which peers there are may have changed.
    pub(super) fn admit_peers(&mut self, prefixes: &[IpNetwork], ends: bool) {
        let (Some(peers), Some(overlay)) = (&mut self.peers, &self.overlay) else { return };
        let ledger = &self.ledger;
        if ends {
            let ours = overlay.status.key;
            peers.hold(ours.filter(|_| overlay.spec.hold_sessions));
            peers.want(ledger.paths.wanted().flat_map(|(_, path)| paths::ends(path)).filter_map(|end| match end {
                // A peer with the key of this node itself is one that the kernel refuses without a word.
                TunnelEnd::WireGuard { endpoint, port, key } if Some(key) != ours => {
                    Some((key, (endpoint, port).into()))
                }
                _ => None,
            }));
        }
        let admitted = peers.admit(prefixes, |prefix| owner(ledger, prefix), ends, &mut self.control);
        self.report(admitted);
    }

    /// Takes from peers what is not to be theirs any more.
    pub(super) fn dismiss_peers(&mut self, prefixes: &[IpNetwork], ends: bool) {
        let Some(peers) = &mut self.peers else { return };
        if !self.backlog.is_empty() {
            return self.behind.add(prefixes, ends);
        }
        let (ledger, swept) = (&self.ledger, self.swept);
        let keep = |prefix: IpNetwork| {
            let unasked = ledger.table.get(prefix).want() == Want::Unasked;
            owner(ledger, prefix).is_some() || unasked && !swept[usize::from(prefix.is_ipv6())]
        };
        let dismissed = peers.dismiss(prefixes, keep, ends, swept == [true; 2], &mut self.control);
        self.report(dismissed);
    }

    /// Reads what the kernel has and makes it what it should be. Returns what another program did.
    pub(super) fn audit_peers(&mut self) -> Vec<String> {
        let (Some(peers), Some(overlay)) = (&mut self.peers, &self.overlay) else {
            self.timers.peers = None;
            return Vec::new();
        };
        let began = Instant::now();
        let mut done = Vec::new();
        match self.control.read() {
            Ok(device) => {
                if let (Encapsulation::WireGuard { port }, Some(key)) = (overlay.spec.encapsulation, &overlay.spec.key)
                    && !device.is(key, port)
                {
                    done.push("its key or port was changed".to_owned());
                    if let Err(error) = self.control.identify(key, port) {
                        tracing::warn!(%error, "the WireGuard device is not what it should be; it is looked at again");
                    }
                }
                done.extend(peers.read(device).into_iter().map(|key| format!("its peer {key} was changed")));
            }
            Err(error) => {
                self.timers.peers = Some(began + CHECK);
                tracing::warn!(%error, "the peers of the WireGuard device cannot be read; they are looked at again");
                return done;
            }
        }
        done.iter()
            .for_each(|what| tracing::warn!(%what, "another program changed the WireGuard device; it is put right"));
        let mut all: HashSet<IpNetwork> = peers.allowed().collect();
        all.extend(
            self.ledger.table.iter().map(|(prefix, _)| prefix).filter(|prefix| owner(&self.ledger, *prefix).is_some()),
        );
        let all: Vec<IpNetwork> = all.into_iter().collect();
        self.admit_peers(&all, true);
        self.dismiss_peers(&all, true);
        self.timers.peers = Some(Instant::now() + CHECK.max(REST * began.elapsed()));
        done
    }

    /// Starts to keep the peers of a device that was just made or taken over, or ends it.
    pub(super) fn keep_peers(&mut self, same_device: bool) {
        let wireguard = self
            .overlay
            .as_ref()
            .is_some_and(|overlay| matches!(overlay.status.encapsulation, Encapsulation::WireGuard { .. }));
        let before = self.peers.take().filter(|_| same_device);
        self.peers = wireguard.then(|| before.unwrap_or_default());
        self.audit_peers();
    }

    /// Every peer, as the kernel has it now.
    pub(super) fn peers_now(&mut self) -> Result<Vec<PeerStatus>, FibError> {
        if self.peers.is_none() {
            return Ok(Vec::new());
        }
        Ok(self.control.read()?.peers.into_iter().map(PeerStatus::from).collect())
    }
}
