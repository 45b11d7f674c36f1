//! Sets of addresses as disjoint ranges: nft refuses an interval set whose elements overlap.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;

use crate::IpBlock;
use crate::ruleset::Family;

/// The addresses of `family` that at least one block covers and does not except, in order, no two touching.
pub(crate) fn ranges(blocks: &[&IpBlock], family: Family) -> Vec<(IpAddr, IpAddr)> {
    let mut all: Vec<(u128, u128)> = blocks
        .iter()
        .filter(|block| Family::of(block.cidr.ip()) == family)
        .flat_map(|block| without(bounds(block.cidr), &block.except))
        .collect();
    all.sort_unstable();
    merge(all).into_iter().map(|(first, last)| (address(first, family), address(last, family))).collect()
}

/// `whole` less `except`, in order.
fn without(whole: (u128, u128), except: &[IpNetwork]) -> Vec<(u128, u128)> {
    let mut holes: Vec<(u128, u128)> = except.iter().copied().map(bounds).collect();
    holes.sort_unstable();
    let mut left = Vec::new();
    // `None`: the last hole reached the end of the address space.
    let mut next = Some(whole.0);
    for (first, last) in holes {
        let Some(start) = next else { break };
        if first > start {
            left.push((start, (first - 1).min(whole.1)));
        }
        next = last.checked_add(1).map(|after| after.max(start));
    }
    if let Some(start) = next
        && start <= whole.1
    {
        left.push((start, whole.1));
    }
    left.retain(|(first, last)| first <= last);
    left
}

/// Joins what overlaps or touches; `ranges` is in order.
fn merge(ranges: Vec<(u128, u128)>) -> Vec<(u128, u128)> {
    let mut merged: Vec<(u128, u128)> = Vec::new();
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

/// The same for ports.
pub(crate) fn port_ranges(mut ranges: Vec<(u16, u16)>) -> Vec<(u16, u16)> {
    ranges.sort_unstable();
    let mut merged: Vec<(u16, u16)> = Vec::new();
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

fn bounds(network: IpNetwork) -> (u128, u128) {
    (number(network.network()), number(network.broadcast()))
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn address(number: u128, family: Family) -> IpAddr {
    match family {
        // Numbers of this family come from 32 bits.
        Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(number as u32)),
        Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(cidr: &str, except: &[&str]) -> IpBlock {
        IpBlock { cidr: cidr.parse().unwrap(), except: except.iter().map(|e| e.parse().unwrap()).collect() }
    }

    fn written(blocks: &[IpBlock], family: Family) -> Vec<String> {
        let blocks: Vec<&IpBlock> = blocks.iter().collect();
        ranges(&blocks, family).into_iter().map(|(first, last)| format!("{first}-{last}")).collect()
    }

    #[test]
    fn exceptions_are_cut_out_and_neighbours_joined() {
        for (blocks, want) in [
            (vec![block("10.0.0.0/24", &[])], vec!["10.0.0.0-10.0.0.255"]),
            (vec![block("10.0.0.0/24", &["10.0.0.0/25"])], vec!["10.0.0.128-10.0.0.255"]),
            (vec![block("10.0.0.0/24", &["10.0.0.128/25"])], vec!["10.0.0.0-10.0.0.127"]),
            (vec![block("10.0.0.0/24", &["10.0.0.4/30", "10.0.0.0/30"])], vec!["10.0.0.8-10.0.0.255"]),
            (vec![block("10.0.0.0/24", &["10.0.0.0/25", "10.0.0.64/26"])], vec!["10.0.0.128-10.0.0.255"]),
            (vec![block("10.0.0.0/24", &["10.0.0.0/25", "10.0.0.128/25"])], vec![]),
            (vec![block("0.0.0.0/0", &["255.255.255.255/32"])], vec!["0.0.0.0-255.255.255.254"]),
            (vec![block("0.0.0.0/0", &["128.0.0.0/1"])], vec!["0.0.0.0-127.255.255.255"]),
            (vec![block("10.0.0.0/25", &[]), block("10.0.0.128/25", &[])], vec!["10.0.0.0-10.0.0.255"]),
            // What one block excepts, another may give back.
            (
                vec![block("10.0.0.0/8", &["10.1.0.0/16"]), block("10.1.2.0/24", &[])],
                vec!["10.0.0.0-10.0.255.255", "10.1.2.0-10.1.2.255", "10.2.0.0-10.255.255.255"],
            ),
            (vec![block("2001:db8::/32", &[])], vec![]),
        ] {
            assert_eq!(written(&blocks, Family::V4), want, "{blocks:?}");
        }
        assert_eq!(
            written(&[block("::/0", &["8000::/1"])], Family::V6),
            ["::-7fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]
        );
    }

    #[test]
    fn touching_ports_are_one_range() {
        assert_eq!(
            port_ranges(vec![(443, 443), (80, 80), (81, 90), (85, 100), (65535, 65535)]),
            [(80, 100), (443, 443), (65535, 65535)]
        );
    }
}
