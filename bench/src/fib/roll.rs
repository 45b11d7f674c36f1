//! A roll call: whether the kernel holds some routes, asked for one by one.
//!
//! To count 500,000 routes takes the kernel 20 ms, in which whoever changes its table may have to wait for the counting
//! (`synchronize_rcu` in net/ipv4/fib_trie.c). So it is counted only when every route asked for is there, or is gone; and
//! none of them answers for another, or a daemon that writes covering routes first would be disturbed, and no other.

use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::{MsgFlags, recv};

use super::wire;
use crate::message::Prefix;
use crate::testbed::Testbed;

/// Routes to ask the kernel for.
#[derive(Debug)]
pub(crate) struct Roll {
    socket: Socket,
    /// Each with an address that only its own packets have.
    routes: Vec<(Prefix, Ipv4Addr)>,
    /// How many of them have answered as is wanted.
    answered: usize,
    wanted: bool,
}

impl Roll {
    /// Of about `count` of `prefixes`: of each length its share, evenly spaced, the last one among them.
    pub(crate) fn new(testbed: &Testbed, prefixes: &[Prefix], count: usize) -> Result<Self> {
        let socket = testbed.in_daemon(|| {
            let mut socket = Socket::new(NETLINK_ROUTE).context("netlink")?;
            socket.bind(&SocketAddr::new(0, 0))?;
            Ok(socket)
        })?;
        Ok(Self { socket, routes: choose(prefixes, count), answered: 0, wanted: true })
    }

    /// Whether each of them is there, or none of them is; who has answered is not asked again.
    pub(crate) fn are_there(&mut self, wanted: bool) -> Result<bool> {
        if self.wanted != wanted {
            (self.wanted, self.answered) = (wanted, 0);
        }
        while let Some(route) = self.routes.get(self.answered).copied() {
            if self.is_there(route)? != wanted {
                return Ok(false);
            }
            self.answered += 1;
        }
        Ok(true)
    }

    fn is_there(&self, (prefix, host): (Prefix, Ipv4Addr)) -> Result<bool> {
        let (mut question, mut answer) = (Vec::with_capacity(64), [0; 1 << 12]);
        wire::which(host, &mut question);
        self.socket.send(&question, 0).context("netlink")?;
        let length = recv(self.socket.as_raw_fd(), &mut answer, MsgFlags::empty()).context("netlink")?;
        let met = wire::messages(&answer[..length]).find_map(|message| message.route());
        Ok(met.is_some_and(|route| route.prefix == prefix))
    }
}

fn choose(prefixes: &[Prefix], count: usize) -> Vec<(Prefix, Ipv4Addr)> {
    // What is within a prefix comes next.
    let mut prefixes = prefixes.to_vec();
    prefixes.sort_unstable_by_key(|prefix| (prefix.bits, prefix.length));
    let mut by_length: Vec<usize> = (0..prefixes.len()).collect();
    by_length.sort_by_key(|number| prefixes[*number].length);
    let spaced = by_length.into_iter().rev().step_by(prefixes.len().div_ceil(count).max(1));
    spaced.filter_map(|number| Some((prefixes[number], own_address(&prefixes[number..])?))).collect()
}

/// An address that the first of these, which are sorted, has for itself.
fn own_address(prefixes: &[Prefix]) -> Option<Ipv4Addr> {
    let (first, others) = prefixes.split_first()?;
    let (mut free, beyond) = range(first);
    for (start, end) in others.iter().map(range) {
        if start > free || free >= beyond {
            break;
        }
        free = free.max(end);
    }
    (free < beyond).then(|| Ipv4Addr::from(free as u32))
}

/// The first address, and the one behind the last.
fn range(prefix: &Prefix) -> (u64, u64) {
    let start = prefix.bits >> 32;
    (start, start + (1 << (32 - prefix.length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(address: [u8; 4], length: u8) -> Prefix {
        Prefix { bits: u64::from(u32::from(Ipv4Addr::from(address))) << 32, length }
    }

    #[test]
    fn an_address_is_of_one_route_alone() {
        let (cover, low, high) = (prefix([1, 0, 0, 0], 23), prefix([1, 0, 0, 0], 24), prefix([1, 0, 1, 0], 24));
        let beyond = prefix([1, 0, 2, 0], 24);
        let own = |prefixes: &[Prefix]| own_address(prefixes).map(|address| address.octets());
        assert_eq!(own(&[low, high]), Some([1, 0, 0, 0]));
        assert_eq!(own(&[cover, high, beyond]), Some([1, 0, 0, 0]));
        assert_eq!(own(&[cover, low, beyond]), Some([1, 0, 1, 0]));
        assert_eq!(own(&[cover, low, high, beyond]), None);
    }

    #[test]
    fn every_length_has_its_share() {
        let mut prefixes: Vec<Prefix> = (0..100).map(|block| prefix([1, block, 0, 0], 16)).collect();
        prefixes.extend((0..100).map(|block| prefix([2, 0, block, 0], 24)));
        let chosen = choose(&prefixes, 20);
        assert_eq!(chosen.len(), 20);
        assert_eq!(chosen.iter().filter(|(prefix, _)| prefix.length == 24).count(), 10);
        assert_eq!(chosen[0].0, prefixes[199], "the last one");
    }

    #[test]
    fn what_is_within_one_may_come_before_it() {
        let (within, cover) = (prefix([1, 0, 0, 0], 24), prefix([1, 0, 0, 0], 23));
        let own = |chosen: &[(Prefix, Ipv4Addr)]| {
            chosen.iter().find(|(prefix, _)| *prefix == cover).map(|(_, own)| own.octets())
        };
        assert_eq!(own(&choose(&[within, cover], 2)), Some([1, 0, 1, 0]));
    }
}
