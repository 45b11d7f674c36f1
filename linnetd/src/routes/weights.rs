//! From bandwidths to the weights of a route's hops.

use fib_sync::Weight;

/// The kernel's largest weight.
const MOST: u16 = 256;
/// How far two bandwidths of four octets of floating point may be from the proportion that was meant, and as much again.
const PRECISION: f64 = 1.0 / (1u32 << 22) as f64;

/// A weight for each bandwidth: the smallest numbers that are in their proportion, as far as a link bandwidth community can say
/// it, else to 1/256 of the largest; never 0. `None` where all are equal, or there are fewer than two.
pub(super) fn weights(bandwidths: &[u64]) -> Option<Vec<Weight>> {
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
    if equal { None } else { numbers.into_iter().map(Weight::new).collect() }
}

fn gcd(a: u16, b: u16) -> u16 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(bandwidths: &[u64]) -> Option<Vec<u16>> {
        weights(bandwidths).map(|weights| weights.into_iter().map(Weight::get).collect())
    }

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
            assert_eq!(of(bandwidths), expected, "{bandwidths:?}");
        }
    }

    proptest! {
        #[test]
        fn every_hop_has_a_weight_in_the_order_of_bandwidths(bandwidths in prop::collection::vec(1u64.., 2..17)) {
            if let Some(weights) = of(&bandwidths) {
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
