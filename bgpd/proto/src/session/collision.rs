//! Connection collision detection (RFC 4271 section 6.8, RFC 6286 section 2.3): of two connections between one pair of
//! speakers, which one stays.

use std::cmp::Ordering;

use super::Direction;
use crate::types::{Asn, RouterId};

/// The connection that stays: the one opened by the speaker with the higher BGP Identifier, of two equal ones (which only
/// different ASes may have) by the one with the higher AS number. Both ends come to the same answer.
pub(super) fn winner(local: (RouterId, Asn), remote: (RouterId, Asn)) -> Direction {
    match local.cmp(&remote) {
        Ordering::Greater | Ordering::Equal => Direction::Outgoing,
        Ordering::Less => Direction::Incoming,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connection_of_the_higher_identifier_stays_and_both_ends_agree() {
        let speaker = |last, asn| (RouterId([192, 0, 2, last].into()), Asn(asn));
        for (local, remote, stays) in [
            (speaker(2, 65001), speaker(1, 65002), Direction::Outgoing),
            (speaker(1, 65002), speaker(2, 65001), Direction::Incoming),
            // RFC 6286: equal identifiers, the AS number decides.
            (speaker(1, 65002), speaker(1, 65001), Direction::Outgoing),
            (speaker(1, 65001), speaker(1, 4_200_000_000), Direction::Incoming),
            // As unsigned numbers, not as signed ones or as text.
            ((RouterId([200, 0, 0, 1].into()), Asn(1)), (RouterId([9, 0, 0, 1].into()), Asn(1)), Direction::Outgoing),
        ] {
            assert_eq!(winner(local, remote), stays, "{local:?} {remote:?}");
            assert_ne!(winner(remote, local), stays, "{remote:?} {local:?}");
        }
    }
}
