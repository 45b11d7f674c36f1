//! A host that is renumbered, where the configuration leaves `node.address` to it.
//!
//! The address that the node has is kept for as long as the host has it, whatever becomes of default routes: to change it is to reset
//! sessions whose router ID comes from it, and to make the tunnel anew. Only when it is gone, another one counts, of the same family,
//! once the default route comes from it and has done so for a while.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use fib_sync::Fib;
use tracing::{info, warn};

use super::Daemon;
use super::source::parse;
use crate::config::Environment;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// Between two looks at whether that is wanted.
const SELDOM: Duration = Duration::from_secs(30);
/// So many looks in a row have to say the same.
const LOOKS: u32 = 2;

impl Daemon {
    /// Where the file leaves `node.address` to the host, it is followed when it is renumbered.
    pub(super) fn follow_address(self: Arc<Self>) {
        let Some(kernel) = self.kernel.clone() else { return };
        tokio::spawn(async move {
            let mut renumbering = Renumbering::default();
            loop {
                if !self.follows_host().await {
                    // A reload may change that.
                    tokio::time::sleep(SELDOM).await;
                    continue;
                }
                tokio::time::sleep(LOOK).await;
                let known = self.config().await.node.address;
                if let Some(address) = renumbering.look(known, kernel.forwarding.fib()).await {
                    self.take_address(address).await;
                }
            }
        });
    }

    /// What is in force, with another address of the host's.
    async fn take_address(&self, address: IpAddr) {
        let _turn = self.reloading.lock().await;
        let Some(text) = self.leaves_address.read().await.clone() else { return };
        let environment = Environment { address: Some(address), ..Environment::of_this_host() };
        match parse(&self.file, text, &environment) {
            Ok(source) => {
                info!(%address, "this host is renumbered, and node.address follows it");
                self.take_up(source).await;
            }
            Err(errors) => {
                let why = errors.join("; ");
                warn!(%address, %why, "this host is renumbered, and its new address does not suit the configuration");
            }
        }
    }

    /// Whether the host decides about `node.address`.
    pub async fn follows_host(&self) -> bool {
        self.leaves_address.read().await.is_some()
    }
}

/// What was seen so far.
#[derive(Debug, Default)]
struct Renumbering {
    seen: Option<IpAddr>,
    looks: u32,
}

impl Renumbering {
    /// Looks at this host. Returns its other address, if it is renumbered.
    async fn look(&mut self, known: IpAddr, fib: &Fib) -> Option<IpAddr> {
        let other = Environment::of_this_host().address.filter(|address| *address != known);
        let gone = other.is_some() && !host_has(fib, known).await;
        self.weigh(known, other.filter(|_| gone))
    }

    /// `other`: what the default route comes from while `known` is on no device.
    fn weigh(&mut self, known: IpAddr, other: Option<IpAddr>) -> Option<IpAddr> {
        let other = other.filter(|other| other.is_ipv4() == known.is_ipv4());
        if other != self.seen {
            (self.seen, self.looks) = (other, 0);
        }
        self.looks += 1;
        other.filter(|_| self.looks == LOOKS)
    }
}

/// Whether this host has the address.
pub(crate) async fn host_has(fib: &Fib, address: IpAddr) -> bool {
    fib.get(address).await.is_ok_and(|answer| answer.kind == "local")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_address_counts_when_it_stays_once_and_only_of_the_same_family() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let (known, one, two, six) = (ip("10.0.0.1"), ip("10.0.0.2"), ip("10.0.0.3"), ip("fd00::1"));
        let mut renumbering = Renumbering::default();
        let looks = [
            (None, None),
            (Some(one), None),
            (None, None),
            (Some(one), None),
            (Some(two), None),
            (Some(two), Some(two)),
            // It did not suit: it is not tried again and again.
            (Some(two), None),
            (Some(six), None),
            (Some(six), None),
        ];
        for (number, (other, wanted)) in looks.into_iter().enumerate() {
            assert_eq!(renumbering.weigh(known, other), wanted, "look {number}");
        }
    }
}
