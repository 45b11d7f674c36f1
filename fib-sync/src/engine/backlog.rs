//! Prefixes that wait to be written: more came at once than the kernel takes in a moment.
//!
//! They are written by rounds, what comes during one in the next, so that none waits for ever. The order within a round is
//! the one in which the kernel's table has the least to do. Its IPv4 trie doubles and halves its nodes as they fill and
//! empty, and a table that is written from one end to the other makes it do so again and again at the same node, the root
//! of which it copies whole (`resize` in net/ipv4/fib_trie.c): 500,000 prefixes take two to three times as long by address
//! as by length, the short ones first when they come and last when they go. IPv6 has no such nodes, and what lies beside
//! each other is at hand.

use std::{mem, net::Ipv4Addr, net::Ipv6Addr};

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use tokio::sync::oneshot;

/// Entries that come more than once are told apart when there are so many.
const CROWD: usize = 65_536;

/// All that waits.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    round: Round,
    next: Round,
}

/// What is written together.
#[derive(Debug, Default)]
struct Round {
    puts: Lanes,
    removals: Lanes,
    /// Who waits for the end of it.
    waiting: Vec<oneshot::Sender<()>>,
}

#[derive(Debug, Default)]
struct Lanes {
    v4: Lane<u64>,
    v6: Lane<(u128, u8)>,
}

/// Keys that sort as they are to be written.
#[derive(Debug)]
struct Lane<K> {
    keys: Vec<K>,
    /// How many of them may be there before the same ones are told apart.
    room: usize,
}

impl<K> Default for Lane<K> {
    fn default() -> Self {
        Self { keys: Vec::new(), room: CROWD }
    }
}

impl<K: Ord> Lane<K> {
    /// What comes again and again takes the room of once, or twice.
    fn push(&mut self, key: K) {
        if self.keys.len() >= self.room {
            self.sort();
            self.room = CROWD.max(2 * self.keys.len());
        }
        self.keys.push(key);
    }

    /// The first one is last, where it is taken from.
    fn sort(&mut self) {
        self.keys.sort_unstable_by(|one, other| other.cmp(one));
        self.keys.dedup();
    }

    fn take(&mut self, most: usize, prefixes: &mut Vec<IpNetwork>, prefix: impl Fn(K) -> Option<IpNetwork>) {
        let room = most.saturating_sub(prefixes.len()).min(self.keys.len());
        prefixes.extend(self.keys.drain(self.keys.len() - room..).rev().filter_map(prefix));
        if self.keys.is_empty() {
            self.keys = Vec::new();
        }
    }
}

/// Which ends of a table are written first.
#[derive(Clone, Copy, Debug)]
enum First {
    Shortest,
    Longest,
}

/// Sorts by length, then by address.
fn key4(prefix: Ipv4Network, first: First) -> u64 {
    u64::from(turned(prefix.prefix(), first)) << 32 | u64::from(u32::from(prefix.ip()))
}

fn prefix4(key: u64, first: First) -> Option<IpNetwork> {
    let length = turned((key >> 32) as u8, first);
    Ipv4Network::new(Ipv4Addr::from(key as u32), length).ok().map(IpNetwork::V4)
}

fn turned(length: u8, first: First) -> u8 {
    match first {
        First::Shortest => length,
        First::Longest => 32 - length,
    }
}

impl Lanes {
    fn push(&mut self, prefix: IpNetwork, first: First) {
        match prefix {
            IpNetwork::V4(prefix) => self.v4.push(key4(prefix, first)),
            IpNetwork::V6(prefix) => self.v6.push((prefix.ip().into(), prefix.prefix())),
        }
    }

    fn sort(&mut self) {
        self.v4.sort();
        self.v6.sort();
    }

    fn take(&mut self, most: usize, prefixes: &mut Vec<IpNetwork>, first: First) {
        self.v4.take(most, prefixes, |key| prefix4(key, first));
        self.v6.take(most, prefixes, |(address, length)| {
            Ipv6Network::new(Ipv6Addr::from(address), length).ok().map(IpNetwork::V6)
        });
    }

    fn is_empty(&self) -> bool {
        self.v4.keys.is_empty() && self.v6.keys.is_empty()
    }
}

impl Round {
    fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.removals.is_empty()
    }
}

impl Backlog {
    /// Nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.round.is_empty() && self.next.is_empty()
    }

    /// These wait to be put.
    pub(super) fn put(&mut self, prefixes: impl IntoIterator<Item = IpNetwork>) {
        prefixes.into_iter().for_each(|prefix| self.next.puts.push(prefix, First::Shortest));
    }

    /// These wait to be removed, when all is put that is of the same round.
    pub(super) fn remove(&mut self, prefixes: impl IntoIterator<Item = IpNetwork>) {
        prefixes.into_iter().for_each(|prefix| self.next.removals.push(prefix, First::Longest));
    }

    /// Tells when all that waits now is written.
    pub(super) fn tell(&mut self, written: oneshot::Sender<()>) {
        self.next.waiting.push(written);
    }

    /// The next ones, at most so many.
    pub(super) fn take(&mut self, most: usize) -> Vec<IpNetwork> {
        if self.round.is_empty() {
            self.round = mem::take(&mut self.next);
            self.round.puts.sort();
            self.round.removals.sort();
        }
        let mut prefixes = Vec::with_capacity(most);
        self.round.puts.take(most, &mut prefixes, First::Shortest);
        self.round.removals.take(most, &mut prefixes, First::Longest);
        prefixes
    }

    /// What was taken is written: whoever waited for the last of it is told.
    pub(super) fn written(&mut self) {
        let all = self.is_empty();
        for (over, round) in [(self.round.is_empty(), &mut self.round), (all, &mut self.next)] {
            let waiting = if over { mem::take(&mut round.waiting) } else { Vec::new() };
            for waiting in waiting {
                // Who does not wait any more need not know.
                let _ = waiting.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(texts: &[&str]) -> Vec<IpNetwork> {
        texts.iter().map(|text| text.parse().expect("a prefix")).collect()
    }

    #[test]
    fn short_prefixes_come_first_and_go_last() {
        let mut backlog = Backlog::default();
        let texts =
            ["10.0.1.0/24", "0.0.0.0/0", "10.0.0.0/24", "10.1.2.3/32", "fd00:2::/32", "10.0.0.0/8", "fd00::/64"];
        backlog.remove(prefixes(&texts));
        backlog.put(prefixes(&texts));
        let puts = ["0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/24", "10.0.1.0/24", "10.1.2.3/32", "fd00::/64", "fd00:2::/32"];
        let removals =
            ["10.1.2.3/32", "10.0.0.0/24", "10.0.1.0/24", "10.0.0.0/8", "0.0.0.0/0", "fd00::/64", "fd00:2::/32"];
        let written = std::iter::from_fn(|| Some(backlog.take(3)).filter(|some| !some.is_empty()));
        let written: Vec<Vec<IpNetwork>> = written.collect();
        assert_eq!(written.concat(), [prefixes(&puts), prefixes(&removals)].concat());
        assert!(written.iter().all(|some| some.len() <= 3));
    }

    #[test]
    fn what_comes_during_a_round_waits_for_its_end() {
        let mut backlog = Backlog::default();
        backlog.put(prefixes(&["10.0.0.0/24", "10.0.1.0/24"]));
        assert_eq!(backlog.take(1), prefixes(&["10.0.0.0/24"]));
        backlog.put(prefixes(&["10.0.0.0/8"]));
        assert_eq!(backlog.take(9), prefixes(&["10.0.1.0/24"]));
        assert_eq!(backlog.take(9), prefixes(&["10.0.0.0/8"]));
        assert!(backlog.is_empty());
    }

    #[test]
    fn who_waits_is_told_when_all_is_written_that_was_there() {
        let mut backlog = Backlog::default();
        backlog.put(prefixes(&["10.0.0.0/24", "10.0.1.0/24"]));
        let (tell, mut told) = oneshot::channel();
        backlog.tell(tell);
        let mut write = |most: usize| {
            let some = backlog.take(most);
            backlog.written();
            // Something comes all the while.
            backlog.put(prefixes(&["10.0.2.0/24"]));
            some.len()
        };
        assert_eq!((write(1), told.try_recv().is_ok()), (1, false));
        assert_eq!((write(9), told.try_recv().is_ok()), (1, true));
        let (tell, mut told) = oneshot::channel();
        let mut idle = Backlog::default();
        idle.tell(tell);
        idle.written();
        assert!(told.try_recv().is_ok(), "nothing is to be waited for");
    }

    #[test]
    fn a_prefix_that_comes_again_and_again_takes_the_room_of_a_few() {
        let mut backlog = Backlog::default();
        let [one, other] = [prefixes(&["10.0.0.0/24"]), prefixes(&["10.0.1.0/24"])];
        for _ in 0..10 * CROWD {
            backlog.put(one.iter().chain(&other).copied());
        }
        assert!(backlog.next.puts.v4.keys.len() <= CROWD);
        assert_eq!(backlog.take(usize::from(u16::MAX)), [one, other].concat());
    }
}
