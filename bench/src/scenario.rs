//! What is measured: who sends how many prefixes to whom, over which kind of session.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// The AS of the daemon under test.
pub(crate) const LOCAL_AS: u32 = 65_000;
/// The first sender's AS with external sessions; the others count on from it. Private, of four octets (RFC 6996).
const FIRST_PEER_AS: u32 = 4_200_000_001;

/// Which prefixes are in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prefixes {
    /// IPv4, lengths mixed like those of the Internet's table.
    Internet4,
    /// IPv6, lengths mixed like those of the Internet's table.
    Internet6,
    /// IPv4 /26, side by side: a cluster's blocks of pod addresses. Each sender has one set of attributes.
    Blocks4,
}

/// How the senders' tables relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overlap {
    /// Each sender has prefixes of its own.
    Distinct,
    /// All have the same prefixes; for each prefix one sender, evenly chosen, has the shortest path.
    Competing,
    /// All have the same prefixes, and the first sender has the shortest path for each.
    Backup,
}

/// Whom it is measured at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receivers {
    /// Sessions that only listen. What the senders hear of one another is read and thrown away.
    Sinks(usize),
    /// The senders themselves: each must hold what all others sent.
    Senders,
}

/// The kind of the sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sessions {
    /// eBGP, every peer in an AS of its own.
    External,
    /// iBGP, every peer a client of the daemon as route reflector (RFC 4456).
    Reflected,
}

/// What is done with routes in the kernel once they are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fib {
    /// All are withdrawn.
    Table,
    /// Single ones are withdrawn and announced again ([`Scenario::changes`]).
    Changes,
    /// The session is closed.
    SessionLost,
    /// The link goes down by which they came and by which they go.
    LinkLost,
    /// The same, and a second sender on another link has all of them too.
    NextHopLost,
}

/// One scenario.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    /// What it is called on the command line.
    pub(crate) name: &'static str,
    /// What it is, for people.
    pub(crate) title: &'static str,
    /// Sessions that send.
    pub(crate) senders: usize,
    /// Prefixes of each sender.
    pub(crate) prefixes_each: usize,
    /// Which prefixes.
    pub(crate) prefixes: Prefixes,
    /// How the senders' tables relate.
    pub(crate) overlap: Overlap,
    /// Whom it is measured at.
    pub(crate) receivers: Receivers,
    /// The kind of the sessions.
    pub(crate) sessions: Sessions,
    /// Prefixes that are withdrawn and announced again, one at a time, once the table is there.
    pub(crate) changes: usize,
    /// How long nothing happens behind each of them.
    pub(crate) gap: Duration,
    /// Seconds in which nothing happens once the table is there: the CPU time is that of these alone.
    pub(crate) idle_seconds: u64,
    /// With it the daemon writes its routes into the kernel, and there they are counted instead of at receivers.
    pub(crate) fib: Option<Fib>,
}

/// The scenarios, in the order in which they run.
pub(crate) const SCENARIOS: [Scenario; 21] = [
    Scenario { name: "S1", title: "1 x 1,000,000 IPv4 to 1", prefixes_each: 1_000_000, ..PLAIN },
    Scenario { name: "S2", title: "10 x 100,000 distinct, to all", senders: 10, ..PLAIN },
    Scenario { name: "S3", title: "10 x the same 100,000, to all", senders: 10, overlap: Overlap::Competing, ..PLAIN },
    Scenario {
        name: "S4",
        title: "reflector, 1 x 100,000 to 50",
        receivers: Receivers::Sinks(50),
        sessions: Sessions::Reflected,
        ..PLAIN
    },
    Scenario {
        name: "S5",
        title: "reflector, 500 x 16 blocks, all to all",
        senders: 500,
        prefixes_each: 16,
        prefixes: Prefixes::Blocks4,
        receivers: Receivers::Senders,
        sessions: Sessions::Reflected,
        ..PLAIN
    },
    Scenario {
        name: "S6",
        title: "1 x 200,000 IPv6 to 1",
        prefixes_each: 200_000,
        prefixes: Prefixes::Internet6,
        ..PLAIN
    },
    Scenario { name: "S7", title: "one change in 100,000", changes: 1_000, ..PLAIN },
    Scenario {
        name: "idle",
        title: "2 peers, 1 prefix, nothing happens for 20 s",
        prefixes_each: 1,
        idle_seconds: 20,
        ..PLAIN
    },
    Scenario { name: "F1", title: "100,000 into the kernel, and out", ..KERNEL },
    Scenario {
        name: "F5",
        title: "500,000 into the kernel, 10 s of rest, and out",
        prefixes_each: 500_000,
        idle_seconds: 10,
        ..KERNEL
    },
    Scenario {
        name: "FC",
        title: "one change in 1,000, to the kernel's word of it",
        prefixes_each: 1_000,
        changes: 150,
        // Longer than any daemon gathers changes for by default (FRR: 50 ms).
        gap: Duration::from_millis(80),
        fib: Some(Fib::Changes),
        ..KERNEL
    },
    Scenario {
        name: "FD",
        title: "1,000 in the kernel, the session closes",
        prefixes_each: 1_000,
        fib: Some(Fib::SessionLost),
        ..KERNEL
    },
    Scenario {
        name: "FDL",
        title: "1,000 in the kernel, the link goes down",
        prefixes_each: 1_000,
        fib: Some(Fib::LinkLost),
        ..KERNEL
    },
    Scenario { name: "FN", title: "500 by two next hops, one's link goes down", prefixes_each: 500, ..TWO_LINKS },
    Scenario {
        name: "FN5",
        title: "500,000 by two next hops, one's link goes down",
        prefixes_each: 500_000,
        ..TWO_LINKS
    },
    Scenario { name: "smoke", title: "1 x 100 to 1: does it run at all?", prefixes_each: 100, changes: 3, ..PLAIN },
    Scenario {
        name: "fib-smoke",
        title: "100 into the kernel, and out: does it run at all?",
        prefixes_each: 100,
        ..KERNEL
    },
    Scenario {
        name: "fc-smoke",
        title: "FC with 100 and 3 changes: does it run at all?",
        prefixes_each: 100,
        changes: 3,
        fib: Some(Fib::Changes),
        ..KERNEL
    },
    Scenario {
        name: "fd-smoke",
        title: "FD with 100: does it run at all?",
        prefixes_each: 100,
        fib: Some(Fib::SessionLost),
        ..KERNEL
    },
    Scenario {
        name: "fdl-smoke",
        title: "FDL with 100: does it run at all?",
        prefixes_each: 100,
        fib: Some(Fib::LinkLost),
        ..KERNEL
    },
    Scenario { name: "fn-smoke", title: "FN with 100: does it run at all?", prefixes_each: 100, ..TWO_LINKS },
];

/// One sender, one receiver, a table like the Internet's.
const PLAIN: Scenario = Scenario {
    name: "",
    title: "",
    senders: 1,
    prefixes_each: 100_000,
    prefixes: Prefixes::Internet4,
    overlap: Overlap::Distinct,
    receivers: Receivers::Sinks(1),
    sessions: Sessions::External,
    changes: 0,
    gap: Duration::from_millis(2),
    idle_seconds: 0,
    fib: None,
};

const KERNEL: Scenario = Scenario { receivers: Receivers::Sinks(0), fib: Some(Fib::Table), ..PLAIN };

const TWO_LINKS: Scenario = Scenario { senders: 2, overlap: Overlap::Backup, fib: Some(Fib::NextHopLost), ..KERNEL };

impl Scenario {
    /// The scenario called `name`, whatever the case.
    pub(crate) fn named(name: &str) -> Option<Self> {
        SCENARIOS.into_iter().find(|scenario| scenario.name.eq_ignore_ascii_case(name))
    }

    /// All sessions: senders first, then sinks.
    pub(crate) fn peers(&self) -> usize {
        self.senders
            + match self.receivers {
                Receivers::Sinks(sinks) => sinks,
                Receivers::Senders => 0,
            }
    }

    /// Whether session `peer` is one that is measured.
    pub(crate) fn receives(&self, peer: usize) -> bool {
        self.receivers == Receivers::Senders || peer >= self.senders
    }

    /// Prefixes in all.
    pub(crate) fn prefixes_total(&self) -> usize {
        match self.overlap {
            Overlap::Distinct => self.senders * self.prefixes_each,
            Overlap::Competing | Overlap::Backup => self.prefixes_each,
        }
    }

    /// The prefixes of one sender, as a range of the whole table.
    pub(crate) fn prefixes_of(&self, sender: usize) -> std::ops::Range<usize> {
        match self.overlap {
            Overlap::Distinct => sender * self.prefixes_each..(sender + 1) * self.prefixes_each,
            Overlap::Competing | Overlap::Backup => 0..self.prefixes_each,
        }
    }

    /// Whether the sessions and the prefixes are IPv6.
    pub(crate) fn is_v6(&self) -> bool {
        self.prefixes == Prefixes::Internet6
    }

    /// Links between the daemon and its peers; with two, each peer is on one of its own.
    pub(crate) fn links(&self) -> usize {
        if self.fib == Some(Fib::NextHopLost) { 2 } else { 1 }
    }

    /// The link on which a peer is.
    pub(crate) fn link_of(&self, peer: usize) -> usize {
        peer % self.links()
    }

    /// The daemon's address on one link.
    pub(crate) fn local_address_on(&self, link: usize) -> IpAddr {
        match (self.is_v6(), link) {
            (true, _) => IpAddr::V6(LOCAL6),
            (false, 0) => IpAddr::V4(LOCAL4),
            (false, _) => IpAddr::V4(SPARE4),
        }
    }

    /// The daemon's address that a peer connects to.
    pub(crate) fn local_address(&self, peer: usize) -> IpAddr {
        self.local_address_on(self.link_of(peer))
    }

    /// All of the daemon's addresses.
    pub(crate) fn local_addresses(&self) -> impl Iterator<Item = IpAddr> {
        (0..self.links()).map(|link| self.local_address_on(link))
    }

    /// Bits of the subnet of a link.
    pub(crate) fn subnet_length(&self) -> u8 {
        match (self.is_v6(), self.links()) {
            (true, _) => 64,
            (false, 1) => 15,
            (false, _) => 16,
        }
    }

    /// The address of one peer.
    pub(crate) fn peer_address(&self, peer: usize) -> IpAddr {
        if self.is_v6() {
            IpAddr::V6(Ipv6Addr::from(u128::from(LOCAL6) + 0x1_0000 + peer as u128))
        } else {
            // On the second link: as on the first, in its subnet.
            let [a, b, c, d] = peer_address4(peer).octets();
            IpAddr::V4(Ipv4Addr::new(a, b + self.link_of(peer) as u8, c, d))
        }
    }

    /// The AS of one peer.
    pub(crate) fn peer_as(&self, peer: usize) -> u32 {
        match self.sessions {
            Sessions::External => FIRST_PEER_AS + peer as u32,
            Sessions::Reflected => LOCAL_AS,
        }
    }
}

/// The daemon's IPv4 address and router identifier: of the block for benchmarks (RFC 2544, RFC 6890).
pub(crate) const LOCAL4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// The daemon's IPv4 address on the second link.
const SPARE4: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 1);
/// The daemon's IPv6 address: of the block for benchmarks (RFC 5180).
pub(crate) const LOCAL6: Ipv6Addr = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 1);

/// The IPv4 address of one peer, which is also its router identifier: 198.18.1.0 and up.
pub(crate) fn peer_address4(peer: usize) -> Ipv4Addr {
    let (row, column) = (peer / 250, peer % 250);
    Ipv4Addr::new(198, 18, 1 + row as u8, 1 + column as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_peer_of_every_scenario_has_an_address_of_its_own() {
        for scenario in SCENARIOS {
            let addresses: HashSet<IpAddr> = (0..scenario.peers()).map(|peer| scenario.peer_address(peer)).collect();
            assert_eq!(addresses.len(), scenario.peers(), "{}", scenario.name);
            assert!(scenario.local_addresses().all(|own| !addresses.contains(&own)), "{}", scenario.name);
        }
    }

    #[test]
    fn a_scenario_is_found_by_its_name_in_either_case() {
        assert_eq!(Scenario::named("s4").map(|scenario| scenario.peers()), Some(51));
        assert!(Scenario::named("S99").is_none());
    }
}
