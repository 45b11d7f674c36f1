//! What each hop of a multipath set carries of its traffic, by link bandwidths (draft-ietf-idr-link-bandwidth).

use std::collections::BTreeMap;

/// The kernel's largest weight.
const MOST: u16 = 256;
/// How far two bandwidths of four octets of floating point may be from the proportion that was meant, and as much again.
const PRECISION: f64 = 1.0 / (1u32 << 22) as f64;

/// The hops of a multipath set, each once, and their weights; without weights, all carry alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shares<H> {
    /// In order.
    pub hops: Vec<H>,
    /// For each of them 1 to 256.
    pub weights: Option<Vec<u16>>,
}

impl<H: Ord> Shares<H> {
    /// Of ways with their bandwidths, in octets a second. What ways by one hop can carry adds up; one without a bandwidth, and all
    /// carry alike.
    #[must_use]
    pub fn of(ways: impl IntoIterator<Item = (H, Option<u64>)>) -> Self {
        let mut hops: BTreeMap<H, Option<u64>> = BTreeMap::new();
        for (hop, bandwidth) in ways {
            let sum = |one: u64, other: u64| one.saturating_add(other);
            hops.entry(hop)
                .and_modify(|known| *known = known.zip(bandwidth).map(|(one, other)| sum(one, other)))
                .or_insert(bandwidth);
        }
        let bandwidths: Option<Vec<u64>> = hops.values().copied().collect();
        Self { weights: bandwidths.and_then(|bandwidths| weights(&bandwidths)), hops: hops.into_keys().collect() }
    }
}

/// A weight for each bandwidth: the smallest numbers that are in their proportion, as far as a link bandwidth community can say
/// it, else to 1/256 of the largest; never 0. `None` where all are equal, or there are fewer than two.
fn weights(bandwidths: &[u64]) -> Option<Vec<u16>> {
    let largest = *bandwidths.iter().max()? as f64;
    let shares: Vec<f64> = bandwidths.iter().map(|bandwidth| *bandwidth as f64 / largest).collect();
    let fits = |most: u16| {
        shares.iter().all(|share| {
            let exact = share * f64::from(most);
            exact.round() >= 1.0 && (exact - exact.round()).abs() <= exact * PRECISION
        })
    };
    // Conversion from floating point saturates, and what is no number becomes 0.
    let of = |most: u16| shares.iter().map(move |share| ((share * f64::from(most)).round() as u16).clamp(1, MOST));
    let numbers: Vec<u16> = match (1..=MOST).find(|most| fits(*most)) {
        Some(most) => of(most).collect(),
        None => {
            let common = of(MOST).fold(0, gcd).max(1);
            of(MOST).map(|number| number / common).collect()
        }
    };
    let equal = numbers.iter().all(|number| *number == numbers[0]);
    (!equal).then_some(numbers)
}

fn gcd(a: u16, b: u16) -> u16 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn weights_are_the_proportion_of_bandwidths() {
        for (bandwidths, expected) in [
            (&[][..], None),
            (&[5][..], None),
            (&[7, 7, 7][..], None),
            (&[1_250_000_000, 3_125_000_000][..], Some(vec![2, 5])),
            (&[50_000_000, 1_250_000_000][..], Some(vec![1, 25])),
            (&[1, 1_000_000][..], Some(vec![1, 256])),
            // 10 and 25 Gbit/s, of which the second is not a number of four octets of floating point.
            (&[1_250_000_000, 3_124_999_936][..], Some(vec![2, 5])),
            (&[1_000_000, 999_999][..], None),
            (&[0, 5][..], Some(vec![1, 256])),
            (&[0, 0][..], None),
            (&[100, 1_001][..], Some(vec![13, 128])),
        ] {
            assert_eq!(weights(bandwidths), expected, "{bandwidths:?}");
        }
    }

    #[test]
    fn what_ways_by_one_hop_carry_adds_up_and_one_without_a_bandwidth_makes_all_alike() {
        for (ways, expected) in [
            (vec![("a", Some(10)), ("b", Some(25)), ("a", Some(90))], Some(vec![4, 1])),
            (vec![("a", Some(10)), ("b", Some(25)), ("a", None)], None),
            (vec![("a", None), ("b", Some(25))], None),
            (vec![("a", Some(u64::MAX)), ("a", Some(1)), ("b", Some(u64::MAX))], None),
        ] {
            let shares = Shares::of(ways.clone());
            assert_eq!((shares.hops, shares.weights), (vec!["a", "b"], expected), "{ways:?}");
        }
    }

    proptest! {
        #[test]
        fn every_hop_has_a_weight_in_the_order_of_bandwidths(bandwidths in prop::collection::vec(1u64.., 2..17)) {
            if let Some(weights) = weights(&bandwidths) {
                prop_assert_eq!(weights.len(), bandwidths.len());
                for (one, weight) in bandwidths.iter().zip(&weights) {
                    for (other, its) in bandwidths.iter().zip(&weights) {
                        prop_assert!(one > other || weight <= its || one == other);
                    }
                }
            }
        }
    }
}
