//! MP_REACH_NLRI and MP_UNREACH_NLRI (RFC 4760, RFC 2545, RFC 8950): the attributes that carry prefixes.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::types::{Family, LinkLocal, NextHop};

/// MP_REACH_NLRI up to its prefixes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reach<'a> {
    pub(super) family: Family,
    /// `Err` with what is wrong: a next hop of a good length that no route may have.
    pub(super) next_hop: Result<NextHop, &'static str>,
    pub(super) nlri: &'a [u8],
}

/// What one of the two attributes turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed<T> {
    /// Of a family that Linnet does not speak.
    OtherFamily,
    Known(T),
}

/// Where its prefixes begin cannot be told, or not of which family they are: nothing milder than a session reset is
/// left (RFC 7606 sections 7.11 and 7.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unlocatable;

/// Parses the value of MP_REACH_NLRI (RFC 4760 section 3).
pub(super) fn parse_reach(value: &[u8]) -> Result<Parsed<Reach<'_>>, Unlocatable> {
    let [afi_high, afi_low, safi, next_hop_len, rest @ ..] = value else { return Err(Unlocatable) };
    let (next_hop, rest) = rest.split_at_checked(usize::from(*next_hop_len)).ok_or(Unlocatable)?;
    // Behind the next hop stands a reserved octet, which is not looked at.
    let (_, nlri) = rest.split_first().ok_or(Unlocatable)?;
    let Some(family) = Family::from_afi_safi(u16::from_be_bytes([*afi_high, *afi_low]), *safi) else {
        return Ok(Parsed::OtherFamily);
    };
    let next_hop = parse_next_hop(family, next_hop)?;
    Ok(Parsed::Known(Reach { family, next_hop, nlri }))
}

/// Parses the value of MP_UNREACH_NLRI (RFC 4760 section 4): the family and its prefixes.
pub(super) fn parse_unreach(value: &[u8]) -> Result<Parsed<(Family, &[u8])>, Unlocatable> {
    let [afi_high, afi_low, safi, nlri @ ..] = value else { return Err(Unlocatable) };
    Ok(match Family::from_afi_safi(u16::from_be_bytes([*afi_high, *afi_low]), *safi) {
        Some(family) => Parsed::Known((family, nlri)),
        None => Parsed::OtherFamily,
    })
}

/// Four octets (IPv4 prefixes only), 16 or 32 (RFC 2545 section 3, RFC 8950 section 3). 12, 24 and 48 belong to VPN families,
/// which are never negotiated.
fn parse_next_hop(family: Family, octets: &[u8]) -> Result<Result<NextHop, &'static str>, Unlocatable> {
    let v6 = |octets: &[u8]| <[u8; 16]>::try_from(octets).map(Ipv6Addr::from).map_err(|_| Unlocatable);
    match (family, octets.len()) {
        (Family::Ipv4Unicast, 4) => {
            let octets = <[u8; 4]>::try_from(octets).map_err(|_| Unlocatable)?;
            Ok(parse_v4_next_hop(octets))
        }
        (_, 16) => Ok(v6_next_hop(v6(octets)?, None)),
        (_, 32) => Ok(v6_next_hop(v6(&octets[..16])?, Some(v6(&octets[16..])?))),
        _ => Err(Unlocatable),
    }
}

/// A next hop must be the address of a host (RFC 4271 section 6.3). Whether it is one on a link of ours, or our own, is
/// the RIB's to check.
pub(super) fn parse_v4_next_hop(octets: [u8; 4]) -> Result<NextHop, &'static str> {
    let address = Ipv4Addr::from(octets);
    // 224.0.0.0/4 is multicast, 240.0.0.0/4 reserved, the broadcast address in it.
    if address.is_unspecified() || octets[0] >= 224 {
        Err("the next hop is not the address of a host")
    } else {
        Ok(NextHop::V4(address))
    }
}

fn v6_next_hop(global: Ipv6Addr, second: Option<Ipv6Addr>) -> Result<NextHop, &'static str> {
    // What stands in the second place and is not link-local is no address that RFC 2545 section 3 knows there.
    let link_local = second.filter(|address| address.is_unicast_link_local());
    if global.is_multicast() || (global.is_unspecified() && link_local.is_none()) {
        return Err("the next hop is not the address of a host");
    }
    // Speakers without a global address send their link-local one in its place, once or twice.
    if global.is_unicast_link_local() {
        return Ok(NextHop::link_local(link_local.unwrap_or(global), None));
    }
    Ok(NextHop::V6 { global, link_local: link_local.map(|address| LinkLocal { address, link: None }) })
}

/// Octets of `next_hop` in MP_REACH_NLRI for prefixes of `family`.
pub(crate) fn next_hop_len(family: Family, next_hop: NextHop) -> usize {
    match (family, next_hop) {
        (Family::Ipv4Unicast, NextHop::V4(_)) => 4,
        (Family::Ipv6Unicast, NextHop::V4(_)) => 16,
        (_, NextHop::V6 { global, link_local: Some(_) }) if !global.is_unspecified() => 32,
        (_, NextHop::V6 { .. }) => 16,
    }
}

/// Appends the value of MP_REACH_NLRI up to its prefixes.
pub(super) fn encode_reach(family: Family, next_hop: NextHop, out: &mut Vec<u8>) {
    out.extend_from_slice(&family.afi().to_be_bytes());
    out.push(family.safi());
    encode_next_hop(family, next_hop, out);
    out.push(0);
}

/// Appends a next hop of MP_REACH_NLRI, its length before it.
pub(crate) fn encode_next_hop(family: Family, next_hop: NextHop, out: &mut Vec<u8>) {
    out.push(next_hop_len(family, next_hop) as u8);
    match (family, next_hop) {
        (Family::Ipv4Unicast, NextHop::V4(address)) => out.extend_from_slice(&address.octets()),
        // IPv6 prefixes have no form for an IPv4 next hop; RFC 4798 section 2 uses the mapped address.
        (Family::Ipv6Unicast, NextHop::V4(address)) => out.extend_from_slice(&address.to_ipv6_mapped().octets()),
        (_, NextHop::V6 { global, link_local: Some(link_local) }) => {
            if !global.is_unspecified() {
                out.extend_from_slice(&global.octets());
            }
            out.extend_from_slice(&link_local.address.octets());
        }
        (_, NextHop::V6 { global, link_local: None }) => out.extend_from_slice(&global.octets()),
    }
}

/// Appends the value of MP_UNREACH_NLRI up to its prefixes.
pub(super) fn encode_unreach(family: Family, out: &mut Vec<u8>) {
    out.extend_from_slice(&family.afi().to_be_bytes());
    out.push(family.safi());
}

#[cfg(test)]
mod tests {
    use super::*;

    const GLOBAL: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

    fn reach(family: Family, next_hop: &[u8]) -> Vec<u8> {
        [&family.afi().to_be_bytes()[..], &[1, next_hop.len() as u8], next_hop, &[0, 0]].concat()
    }

    #[test]
    fn next_hops_of_4_16_and_32_octets_are_known_and_no_others() {
        for family in Family::ALL {
            for length in 0..=255 {
                let value = reach(family, &vec![0x20; length]);
                let known = matches!((family, length), (Family::Ipv4Unicast, 4) | (_, 16 | 32));
                assert_eq!(parse_reach(&value).is_ok(), known, "{family} {length}");
            }
        }
    }

    #[test]
    fn ipv6_next_hops_are_read_as_senders_mean_them() {
        let v6 = |addresses: &[Ipv6Addr]| {
            let octets: Vec<u8> = addresses.iter().flat_map(Ipv6Addr::octets).collect();
            match parse_reach(&reach(Family::Ipv6Unicast, &octets)).unwrap() {
                Parsed::Known(reach) => reach.next_hop.ok(),
                Parsed::OtherFamily => None,
            }
        };
        let (unspecified, multicast) = (Ipv6Addr::UNSPECIFIED, Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1));
        for (addresses, global, link_local) in [
            (&[GLOBAL][..], GLOBAL, None),
            (&[GLOBAL, LINK_LOCAL], GLOBAL, Some(LINK_LOCAL)),
            (&[GLOBAL, unspecified], GLOBAL, None),
            (&[GLOBAL, GLOBAL], GLOBAL, None),
            (&[LINK_LOCAL], unspecified, Some(LINK_LOCAL)),
            (&[LINK_LOCAL, LINK_LOCAL], unspecified, Some(LINK_LOCAL)),
            (&[LINK_LOCAL, unspecified], unspecified, Some(LINK_LOCAL)),
            (&[unspecified, LINK_LOCAL], unspecified, Some(LINK_LOCAL)),
        ] {
            let link_local = link_local.map(|address| LinkLocal { address, link: None });
            assert_eq!(v6(addresses), Some(NextHop::V6 { global, link_local }), "{addresses:?}");
        }
        for addresses in [&[unspecified][..], &[unspecified, unspecified], &[multicast], &[multicast, LINK_LOCAL]] {
            assert_eq!(v6(addresses), None, "{addresses:?}");
        }
    }

    #[test]
    fn an_attribute_too_short_to_find_its_prefixes_cannot_be_located() {
        let whole = reach(Family::Ipv6Unicast, &GLOBAL.octets());
        for cut in 0..whole.len() - 1 {
            assert_eq!(parse_reach(&whole[..cut]), Err(Unlocatable), "cut at {cut}");
        }
        for cut in 0..3 {
            assert_eq!(parse_unreach(&whole[..cut]), Err(Unlocatable), "cut at {cut}");
        }
    }

    #[test]
    fn families_that_are_not_spoken_are_told_apart_from_malformed_ones() {
        assert_eq!(parse_reach(b"\x00\x19\x46\x04\x0a\x00\x00\x01\x00\x07"), Ok(Parsed::OtherFamily));
        assert_eq!(parse_unreach(b"\x00\x01\x85"), Ok(Parsed::OtherFamily));
    }

    #[test]
    fn next_hops_come_back_as_they_were_sent() {
        let mapped = NextHop::V6 { global: Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped(), link_local: None };
        let v4 = NextHop::V4(Ipv4Addr::new(192, 0, 2, 1));
        for (family, sent, received) in [
            (Family::Ipv4Unicast, v4, v4),
            (Family::Ipv6Unicast, v4, mapped),
            (
                Family::Ipv4Unicast,
                NextHop::from(std::net::IpAddr::V6(GLOBAL)),
                NextHop::V6 { global: GLOBAL, link_local: None },
            ),
        ]
        .into_iter()
        .chain([(GLOBAL, None), (GLOBAL, Some(LINK_LOCAL)), (Ipv6Addr::UNSPECIFIED, Some(LINK_LOCAL))].map(
            |(global, link_local)| {
                let link_local = link_local.map(|address| LinkLocal { address, link: None });
                let next_hop = NextHop::V6 { global, link_local };
                (Family::Ipv6Unicast, next_hop, next_hop)
            },
        )) {
            let mut value = Vec::new();
            encode_reach(family, sent, &mut value);
            assert_eq!(value.len(), 5 + next_hop_len(family, sent));
            assert_eq!(parse_reach(&value), Ok(Parsed::Known(Reach { family, next_hop: Ok(received), nlri: &[] })));
        }
    }
}
