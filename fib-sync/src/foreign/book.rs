//! The routes that are kept, by prefix (pure).

use std::collections::{HashMap, HashSet};

use ipnetwork::IpNetwork;

use super::{Choice, ForeignRoute, Selection};
use crate::kernel_route::{KernelRoute, Kind};

/// A route under its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    selection: u16,
    table: u32,
    metric: u32,
    protocol: u8,
    tos: u8,
    /// The kernel has several routes under this key, or one that it takes away hop by hop: that one of them is gone does not
    /// say that all are.
    several: bool,
}

impl Held {
    fn has_key(&self, route: &KernelRoute) -> bool {
        (self.table, self.metric, self.tos) == (route.table, route.metric, route.tos)
    }
}

/// What an announcement meant for the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is taken in.
    Done,
    /// The announcement does not say what there is now: the kernel has to be asked.
    Unclear,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Book {
    held: HashMap<IpNetwork, Vec<Held>>,
    counts: Vec<usize>,
    left_out: Vec<usize>,
}

impl Book {
    pub(super) fn new(selections: usize) -> Book {
        Book { held: HashMap::new(), counts: vec![0; selections], left_out: vec![0; selections] }
    }

    pub(super) fn left_out(&self) -> &[usize] {
        &self.left_out
    }

    /// The kernel has this route; `instead`: in place of what stood under its key, which is announced no further.
    pub(super) fn saw(&mut self, route: &KernelRoute, instead: bool, selections: &[Selection]) {
        if instead {
            self.remove(route.prefix, |held| held.has_key(route));
        }
        let Some((number, selection)) = (0u16..).zip(selections).find(|(_, selection)| selection.wants(route)) else {
            return;
        };
        let at = usize::from(number);
        let under = self.held.get_mut(&route.prefix);
        let known =
            under.and_then(|all| all.iter_mut().find(|held| held.has_key(route) && held.protocol == route.protocol));
        let hop_by_hop = route.prefix.is_ipv6() && route.path.hops.len() > 1;
        if let Some(known) = known {
            // IPv6 tells of one route again when it gets a further hop; IPv4 has two of them then.
            known.several = hop_by_hop || route.prefix.is_ipv4();
        } else if self.counts[at] < selection.limit {
            self.counts[at] += 1;
            self.held.entry(route.prefix).or_default().push(Held {
                selection: number,
                table: route.table,
                metric: route.metric,
                protocol: route.protocol,
                tos: route.tos,
                several: hop_by_hop,
            });
        } else {
            self.left_out[at] += 1;
        }
    }

    /// The kernel no longer has this route.
    pub(super) fn lost(&mut self, route: &KernelRoute, selections: &[Selection]) -> Outcome {
        let is_it = |held: &Held| held.has_key(route) && held.protocol == route.protocol;
        let known = self.held.get(&route.prefix).and_then(|all| all.iter().find(|held| is_it(held)));
        let room = known.map(|known| usize::from(known.selection)).or_else(|| {
            // It may be one that was left out.
            selections.iter().position(|selection| selection.wants(route))
        });
        if known.is_some_and(|known| known.several) {
            return Outcome::Unclear;
        }
        self.remove(route.prefix, is_it);
        // There is room for another, which only the kernel knows.
        match room.is_some_and(|at| self.left_out[at] > 0) {
            true => Outcome::Unclear,
            false => Outcome::Done,
        }
    }

    fn remove(&mut self, prefix: IpNetwork, gone: impl Fn(&Held) -> bool) {
        let Some(all) = self.held.get_mut(&prefix) else { return };
        for held in all.extract_if(.., |held| gone(held)) {
            self.counts[usize::from(held.selection)] -= 1;
        }
        if all.is_empty() {
            self.held.remove(&prefix);
        }
    }

    /// The route that stands for the prefix.
    pub(super) fn choice(&self, prefix: IpNetwork) -> Option<Choice> {
        let best =
            self.held.get(&prefix)?.iter().min_by_key(|held| (held.selection, held.metric, held.tos, held.protocol))?;
        let route = ForeignRoute { prefix, protocol: best.protocol, metric: best.metric };
        Some(Choice { selection: usize::from(best.selection), route })
    }

    /// Prefixes for which another route stands, or none, or one for the first time.
    pub(super) fn differences(&self, other: &Book) -> HashSet<IpNetwork> {
        let all = self.held.keys().chain(other.held.keys());
        all.filter(|prefix| self.choice(**prefix) != other.choice(**prefix)).copied().collect()
    }
}

impl Selection {
    fn wants(&self, route: &KernelRoute) -> bool {
        let leads = matches!(route.path.kind, Kind::Unicast | Kind::Unreachable | Kind::Blackhole);
        let foreign = ForeignRoute { prefix: route.prefix, protocol: route.protocol, metric: route.metric };
        leads
            && route.protocol != crate::PROTOCOL
            && route.table == self.table
            && self.protocols.contains(&route.protocol)
            && (self.accept.0)(&foreign)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        foreign::Accept,
        kernel_route::{KernelHop, KernelPath},
    };

    fn selection(protocols: &[u8], limit: usize) -> Selection {
        let accept = Accept(Arc::new(|route: &ForeignRoute| route.prefix.prefix() >= 8));
        Selection { table: 254, protocols: protocols.to_vec(), accept, limit }
    }

    fn route(prefix: &str, protocol: u8, metric: u32, hops: u32) -> KernelRoute {
        let hop = |link| KernelHop { via: None, link, onlink: false, encap: None, weight: 0 };
        let hops = (1..=hops).map(hop).collect();
        KernelRoute {
            prefix: prefix.parse().expect("a prefix"),
            table: 254,
            metric,
            tos: 0,
            protocol,
            path: KernelPath { kind: Kind::Unicast, hops, object: None, mtu: None, source: None },
        }
    }

    fn chosen(book: &Book, prefix: &str) -> Option<(usize, u8, u32)> {
        let choice = book.choice(prefix.parse().expect("a prefix"))?;
        Some((choice.selection, choice.route.protocol, choice.route.metric))
    }

    #[test]
    fn the_first_selection_and_then_the_lowest_metric_stand_for_a_prefix() {
        let selections = [selection(&[188], 10), selection(&[4, 16], 10)];
        let mut book = Book::new(2);
        for (protocol, metric) in [(16, 5), (4, 7), (188, 20), (188, 30), (11, 0)] {
            book.saw(&route("10.0.0.0/8", protocol, metric, 1), false, &selections);
        }
        book.saw(&route("0.0.0.0/0", 4, 0, 1), false, &selections);
        assert_eq!(chosen(&book, "0.0.0.0/0"), None, "it is not accepted");
        for (protocol, metric, next) in
            [(188, 20, Some((0, 188, 30))), (188, 30, Some((1, 16, 5))), (16, 5, Some((1, 4, 7))), (4, 7, None)]
        {
            assert_eq!(book.lost(&route("10.0.0.0/8", protocol, metric, 1), &selections), Outcome::Done);
            assert_eq!(chosen(&book, "10.0.0.0/8"), next);
        }
        assert!(book.held.is_empty());
    }

    #[test]
    fn what_takes_the_place_of_a_route_removes_it_whoever_it_is() {
        let selections = [selection(&[4], 10)];
        let mut book = Book::new(1);
        book.saw(&route("10.0.0.0/8", 4, 0, 1), false, &selections);
        book.saw(&route("10.0.0.0/8", 3, 5, 1), true, &selections);
        assert_eq!(chosen(&book, "10.0.0.0/8"), Some((0, 4, 0)), "another metric is another key");
        book.saw(&route("10.0.0.0/8", 3, 0, 1), true, &selections);
        assert_eq!(chosen(&book, "10.0.0.0/8"), None);
        assert_eq!(book.counts, [0]);
    }

    #[test]
    fn what_does_not_fit_is_counted_and_the_kernel_is_asked_when_there_is_room() {
        let selections = [selection(&[4], 2)];
        let mut book = Book::new(1);
        for third in 0..3 {
            book.saw(&route(&format!("10.{third}.0.0/16"), 4, 0, 1), false, &selections);
        }
        assert_eq!((book.left_out(), chosen(&book, "10.2.0.0/16")), (&[1][..], None));
        assert_eq!(book.lost(&route("10.2.0.0/16", 4, 0, 1), &selections), Outcome::Unclear);
        assert_eq!(book.lost(&route("10.0.0.0/16", 4, 0, 1), &selections), Outcome::Unclear);
        assert_eq!(chosen(&book, "10.0.0.0/16"), None);
    }

    #[test]
    fn one_route_of_several_that_goes_leaves_the_question_to_the_kernel() {
        let selections = [selection(&[4], 10)];
        let mut book = Book::new(1);
        book.saw(&route("fd00::/64", 4, 1024, 2), false, &selections);
        assert_eq!(book.lost(&route("fd00::/64", 4, 1024, 1), &selections), Outcome::Unclear);
        for _ in 0..2 {
            book.saw(&route("10.0.0.0/8", 4, 0, 1), false, &selections);
        }
        assert_eq!(book.lost(&route("10.0.0.0/8", 4, 0, 1), &selections), Outcome::Unclear);
        assert!(chosen(&book, "10.0.0.0/8").is_some() && chosen(&book, "fd00::/64").is_some());
    }
}
