//! The table and the bytes of one scenario, all made before anything is measured.
//!
//! The same scenario gives the same bytes on every machine: nothing here is random but by a fixed seed.

use std::ops::Range;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::message::{self, Attributes, Prefix};
use crate::scenario::{Overlap, Prefixes, Scenario, Sessions};

/// Out of 100 prefixes of the Internet's IPv4 table, about how many have which length.
const LENGTHS4: [(u8, u64); 9] = [(24, 60), (23, 10), (22, 11), (21, 6), (20, 5), (19, 3), (18, 2), (17, 1), (16, 2)];
/// Prefixes up to this length stand above others instead of beside them, or a million would not find room.
const COVERING4: u8 = 19;
/// The same for IPv6.
const LENGTHS6: [(u8, u64); 6] = [(48, 50), (44, 10), (40, 10), (36, 8), (32, 20), (29, 2)];
const COVERING6: u8 = 29;
/// First octets that hold special addresses (RFC 6890); a daemon may refuse prefixes of them.
const SPECIAL: [u8; 8] = [10, 100, 127, 169, 172, 192, 198, 203];
/// The most prefixes that share a set of attributes. Sizes follow 1/k (half are alone); up to 120 that makes 5.4 in the
/// mean, which is what the Internet's table has.
const LARGEST_SET: u64 = 120;

/// What a scenario sends, and how to tell what came.
#[derive(Debug)]
pub(crate) struct Workload {
    /// The scenario.
    pub(crate) scenario: Scenario,
    /// Each sender's UPDATEs, End-of-RIB included.
    pub(crate) feeds: Vec<Arc<[u8]>>,
    prefixes: Vec<Prefix>,
    numbers: FxHashMap<Prefix, u32>,
    /// The set of attributes of each prefix.
    set_of: Vec<u32>,
}

impl Workload {
    /// Makes the table and encodes every sender's UPDATEs.
    pub(crate) fn new(scenario: Scenario) -> Self {
        let prefixes = table(&scenario);
        let numbers = prefixes.iter().zip(0..).map(|(prefix, number)| (*prefix, number)).collect();
        let sets = attribute_sets(&scenario);
        let mut set_of = vec![0; prefixes.len()];
        for (set, members) in sets.iter().zip(0..).map(|(members, set)| (set, members.clone())) {
            set_of[members].fill(set);
        }
        let feeds = (0..scenario.senders).map(|sender| feed(&scenario, sender, &prefixes, &sets).into()).collect();
        Self { scenario, feeds, prefixes, numbers, set_of }
    }

    /// Prefixes in the table.
    pub(crate) fn len(&self) -> usize {
        self.prefixes.len()
    }

    /// The table.
    pub(crate) fn prefixes(&self) -> &[Prefix] {
        &self.prefixes
    }

    /// The number of a prefix in the table.
    pub(crate) fn number(&self, prefix: Prefix) -> Option<usize> {
        self.numbers.get(&prefix).map(|number| *number as usize)
    }

    /// The AS by which the best path of a prefix comes, where senders compete for it.
    pub(crate) fn best_as(&self, number: usize) -> Option<u32> {
        match self.scenario.overlap {
            Overlap::Distinct => None,
            Overlap::Competing | Overlap::Backup => {
                Some(self.scenario.peer_as(best_sender(&self.scenario, self.set_of[number])))
            }
        }
    }

    /// An UPDATE by which the first sender takes one of its prefixes back.
    pub(crate) fn withdrawal(&self, number: usize) -> Vec<u8> {
        let mut out = Vec::new();
        message::withdraw(&self.prefixes[number..=number], self.scenario.is_v6(), &mut out);
        out
    }

    /// UPDATEs by which the first sender takes all of its prefixes back, as many in each as it holds.
    pub(crate) fn withdrawals(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for some in self.prefixes[self.scenario.prefixes_of(0)].chunks(message::WITHDRAWN_AT_ONCE) {
            message::withdraw(some, self.scenario.is_v6(), &mut out);
        }
        out
    }

    /// An UPDATE by which the first sender announces one of its prefixes, with the attributes it had before.
    pub(crate) fn announcement(&self, number: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let attributes = attributes(&self.scenario, 0, self.set_of[number]);
        message::announce(&attributes, &self.prefixes[number..=number], &mut out);
        out
    }
}

/// SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`.
    fn below(&mut self, limit: u64) -> u64 {
        self.roll() % limit
    }

    /// One of `weighted`, by its weight out of 100.
    fn pick(&mut self, weighted: &[(u8, u64)]) -> u8 {
        let mut left = self.below(100);
        for (value, weight) in weighted {
            match left.checked_sub(*weight) {
                Some(rest) => left = rest,
                None => return *value,
            }
        }
        weighted[0].0
    }
}

/// Distinct prefixes in ascending order of their addresses.
fn table(scenario: &Scenario) -> Vec<Prefix> {
    let total = scenario.prefixes_total();
    let (lengths, covering, start): (&[(u8, u64)], u8, u64) = match scenario.prefixes {
        Prefixes::Internet4 => (&LENGTHS4, COVERING4, 1 << 56),
        Prefixes::Internet6 => (&LENGTHS6, COVERING6, 0x2400 << 48),
        Prefixes::Blocks4 => (&[(26, 100)], 0, 20 << 56),
    };
    let mut dice = Dice(1);
    let mut next = start;
    let mut last_covering = FxHashMap::default();
    let mut prefixes = Vec::with_capacity(total);
    while prefixes.len() < total {
        let length = dice.pick(lengths);
        let size = 1_u64 << (64 - u32::from(length));
        let special = |bits: u64| !scenario.is_v6() && SPECIAL.contains(&((bits >> 56) as u8));
        if length <= covering && !special(next) {
            let bits = next & !(size - 1);
            // Only the newest of each length can come twice: addresses ascend.
            if bits >= start && last_covering.insert(length, bits) != Some(bits) {
                prefixes.push(Prefix { bits, length });
            }
            continue;
        }
        let bits = next.next_multiple_of(size);
        if special(bits) {
            next = ((bits >> 56) + 1) << 56;
            continue;
        }
        prefixes.push(Prefix { bits, length });
        next = bits + size;
    }
    prefixes
}

/// Ranges of the table that share their attributes; none crosses from one sender's prefixes to the next one's.
fn attribute_sets(scenario: &Scenario) -> Vec<Range<usize>> {
    let mut dice = Dice(2);
    let mut sets = Vec::new();
    let tables = match scenario.overlap {
        Overlap::Distinct => scenario.senders,
        Overlap::Competing | Overlap::Backup => 1,
    };
    for sender in 0..tables {
        let Range { mut start, end } = scenario.prefixes_of(sender);
        while start < end {
            let size = match scenario.prefixes {
                Prefixes::Blocks4 => scenario.prefixes_each,
                Prefixes::Internet4 | Prefixes::Internet6 => {
                    let share = (dice.below(1 << 32) + 1) as f64 / 4_294_967_296.0;
                    ((1.0 / share) as u64).min(LARGEST_SET) as usize
                }
            };
            let stop = end.min(start + size);
            sets.push(start..stop);
            start = stop;
        }
    }
    sets
}

/// The sender whose path for a set of attributes is the shortest.
fn best_sender(scenario: &Scenario, set: u32) -> usize {
    match scenario.overlap {
        Overlap::Distinct | Overlap::Backup => 0,
        Overlap::Competing => (Dice(u64::from(set) << 20).roll() % scenario.senders as u64) as usize,
    }
}

/// What `sender` says of one set. Its own numbers come from the sender and the set alone, so that it can be said again.
fn attributes(scenario: &Scenario, sender: usize, set: u32) -> Attributes {
    let mut dice = Dice(((sender as u64) << 32) | u64::from(set));
    let internal = scenario.sessions == Sessions::Reflected;
    let mut said = Attributes {
        as_path: if internal { Vec::new() } else { vec![scenario.peer_as(sender)] },
        next_hop: scenario.peer_address(sender),
        med: None,
        local_pref: internal.then_some(100),
        communities: Vec::new(),
    };
    if scenario.prefixes == Prefixes::Blocks4 {
        return said; // a host's own blocks: nothing but the next hop tells them apart
    }
    let hops = match scenario.overlap {
        Overlap::Distinct => 3 + dice.below(4),
        Overlap::Competing | Overlap::Backup if best_sender(scenario, set) == sender => 3,
        Overlap::Competing | Overlap::Backup => 4 + dice.below(3),
    };
    while (said.as_path.len() as u64) < hops - 1 {
        let asn = if dice.below(3) == 0 { 131_072 + dice.below(300_000) } else { 1_000 + dice.below(60_000) };
        said.as_path.push(asn as u32);
    }
    said.as_path.push(500_000 + set); // an origin of its own, so that no two sets are one
    if scenario.overlap == Overlap::Distinct && dice.below(5) == 0 {
        said.med = Some(dice.below(500) as u32);
    }
    if dice.below(5) < 2 {
        let community = |dice: &mut Dice| ((1_000 + dice.below(60_000)) << 16 | dice.below(65_000)) as u32;
        said.communities = (0..=dice.below(6)).map(|_| community(&mut dice)).collect();
    }
    said
}

/// All UPDATEs of one sender. Sets come in no order, as they do from a daemon that walks its hash of attributes.
fn feed(scenario: &Scenario, sender: usize, prefixes: &[Prefix], sets: &[Range<usize>]) -> Vec<u8> {
    let own = scenario.prefixes_of(sender);
    let first = sets.partition_point(|set| set.start < own.start);
    let last = sets.partition_point(|set| set.start < own.end);
    let mut order: Vec<usize> = (first..last).collect();
    let mut dice = Dice(3 + sender as u64);
    for place in (1..order.len()).rev() {
        order.swap(place, dice.below(place as u64 + 1) as usize);
    }
    let mut out = Vec::new();
    for set in order {
        message::announce(&attributes(scenario, sender, set as u32), &prefixes[sets[set].clone()], &mut out);
    }
    message::end_of_rib(scenario.is_v6(), &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Update;
    use crate::scenario::SCENARIOS;

    /// Every prefix of a feed with the AS by which its path comes.
    fn announced(feed: &[u8]) -> Vec<(Prefix, Option<u32>)> {
        let mut rest = feed;
        let mut found = Vec::new();
        while let Some(frame) = message::next(rest).expect("a possible length") {
            assert!(frame.body.len() <= 4096 - message::HEADER, "an UPDATE longer than a message may be");
            let update = Update::read(frame.body).expect("a well-formed UPDATE");
            found.extend(update.reachable().map(|prefix| (prefix.expect("a whole prefix"), update.neighbour_as(0))));
            rest = frame.rest;
        }
        assert!(rest.is_empty());
        found
    }

    #[test]
    fn every_sender_announces_its_prefixes_once_each() {
        for scenario in SCENARIOS.into_iter().filter(|scenario| scenario.prefixes_total() <= 200_000) {
            let workload = Workload::new(scenario);
            for (sender, feed) in workload.feeds.iter().enumerate() {
                let mut numbers: Vec<usize> =
                    announced(feed).into_iter().map(|(prefix, _)| workload.number(prefix).expect("known")).collect();
                numbers.sort_unstable();
                assert!(numbers.into_iter().eq(scenario.prefixes_of(sender)), "{} sender {sender}", scenario.name);
            }
        }
    }

    #[test]
    fn what_was_announced_is_withdrawn_once_each() {
        let workload = Workload::new(Scenario::named("F1").expect("F1"));
        let (bytes, mut numbers) = (workload.withdrawals(), Vec::new());
        let mut rest = &bytes[..];
        while let Some(frame) = message::next(rest).expect("a possible length") {
            assert!(frame.body.len() <= 4096 - message::HEADER, "an UPDATE longer than a message may be");
            let update = Update::read(frame.body).expect("a well-formed UPDATE");
            numbers.extend(update.withdrawn().map(|prefix| workload.number(prefix.expect("whole")).expect("known")));
            rest = frame.rest;
        }
        assert!(numbers.into_iter().eq(0..workload.len()));
    }

    #[test]
    fn a_million_ipv4_prefixes_find_room_below_multicast() {
        let scenario = Scenario::named("S1").expect("S1");
        let prefixes = table(&scenario);
        let distinct: std::collections::HashSet<&Prefix> = prefixes.iter().collect();
        assert_eq!(distinct.len(), 1_000_000);
        assert!(prefixes.iter().all(|prefix| prefix.bits >> 56 < 224));
    }

    #[test]
    fn sets_of_attributes_hold_about_as_many_prefixes_as_the_internets_do() {
        let scenario = Scenario::named("S1").expect("S1");
        let mean = 1_000_000.0 / attribute_sets(&scenario).len() as f64;
        assert!((5.0..6.0).contains(&mean), "{mean}");
    }

    #[test]
    fn a_changed_prefix_is_announced_with_the_attributes_it_had() {
        let workload = Workload::new(Scenario::named("smoke").expect("smoke"));
        let feed = &workload.feeds[0];
        for number in 0..workload.len() {
            let again = announced(&workload.announcement(number));
            assert_eq!(again.len(), 1);
            assert!(announced(feed).contains(&again[0]));
        }
    }
}
