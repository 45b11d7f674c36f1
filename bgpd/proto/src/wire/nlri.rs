//! Prefixes on the wire (RFC 4271 section 4.3), with path identifiers where ADD-PATH is negotiated (RFC 7911 section 3).
//!
//! The hot path of a full table: plain slices, one pass, no allocation beyond the vector.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::types::{Family, Ipv4Prefix, Ipv6Prefix, Nlri, PathId, Prefix};

/// Why a field of prefixes is syntactically incorrect (RFC 7606 section 5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Appends all prefixes of `field` to `into`. Host bits are cleared: RFC 4271 section 4.3 calls them irrelevant.
pub(super) fn parse(field: &[u8], family: Family, add_path: bool, into: &mut Vec<Nlri>) -> Result<(), Malformed> {
    match family {
        Family::Ipv4Unicast => parse_each::<4>(field, add_path, into, |octets, length| {
            Ipv4Prefix::new(Ipv4Addr::from(octets), length).map(Prefix::V4)
        }),
        Family::Ipv6Unicast => parse_each::<16>(field, add_path, into, |octets, length| {
            Ipv6Prefix::new(Ipv6Addr::from(octets), length).map(Prefix::V6)
        }),
    }
}

fn parse_each<const OCTETS: usize>(
    mut field: &[u8],
    add_path: bool,
    into: &mut Vec<Nlri>,
    prefix: impl Fn([u8; OCTETS], u8) -> Option<Prefix>,
) -> Result<(), Malformed> {
    // A guess that holds a table of /24s or /48s without growing.
    into.reserve(field.len() / if add_path { 8 } else { OCTETS.min(7) });
    while !field.is_empty() {
        let mut path_id = PathId(0);
        if add_path {
            let (octets, rest) = field.split_first_chunk::<4>().ok_or(Malformed)?;
            path_id = PathId(u32::from_be_bytes(*octets));
            field = rest;
        }
        let (&length, rest) = field.split_first().ok_or(Malformed)?;
        let significant = usize::from(length).div_ceil(8);
        let mut octets = [0; OCTETS];
        let (sent, rest) = rest.split_at_checked(significant).ok_or(Malformed)?;
        octets.get_mut(..significant).ok_or(Malformed)?.copy_from_slice(sent);
        let prefix = prefix(octets, length).ok_or(Malformed)?;
        into.push(Nlri { prefix, path_id });
        field = rest;
    }
    Ok(())
}

/// Octets that `nlri` takes on the wire.
pub(super) fn encoded_len(nlri: &Nlri, add_path: bool) -> usize {
    1 + usize::from(nlri.prefix.length()).div_ceil(8) + if add_path { 4 } else { 0 }
}

/// Octets that the longest prefix of `family` takes on the wire.
pub(super) fn longest(family: Family, add_path: bool) -> usize {
    1 + usize::from(family.bits()) / 8 + if add_path { 4 } else { 0 }
}

/// Appends `nlri`.
pub(super) fn encode(nlri: &Nlri, add_path: bool, out: &mut Vec<u8>) {
    if add_path {
        out.extend_from_slice(&nlri.path_id.0.to_be_bytes());
    }
    let length = nlri.prefix.length();
    out.push(length);
    // A copy of fixed size and a truncation are cheaper than a copy of variable size.
    let end = out.len() + usize::from(length).div_ceil(8);
    match nlri.prefix {
        Prefix::V4(prefix) => out.extend_from_slice(&prefix.address().octets()),
        Prefix::V6(prefix) => out.extend_from_slice(&prefix.address().octets()),
    }
    out.truncate(end);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::arbitrary;

    fn parsed(field: &[u8], family: Family, add_path: bool) -> Result<Vec<String>, Malformed> {
        let mut nlri = Vec::new();
        parse(field, family, add_path, &mut nlri)?;
        Ok(nlri.iter().map(|nlri| format!("{}#{}", nlri.prefix, nlri.path_id.0)).collect())
    }

    #[test]
    fn prefixes_read_as_rfc_4271_writes_them() {
        use Family::{Ipv4Unicast, Ipv6Unicast};
        for (field, family, add_path, expected) in [
            (&b""[..], Ipv4Unicast, false, &[][..]),
            (b"\x00", Ipv4Unicast, false, &["0.0.0.0/0#0"]),
            (
                b"\x18\x0a\x01\x02\x00\x20\x0a\x00\x00\x01",
                Ipv4Unicast,
                false,
                &["10.1.2.0/24#0", "0.0.0.0/0#0", "10.0.0.1/32#0"],
            ),
            (b"\x09\x0a\xff", Ipv4Unicast, false, &["10.128.0.0/9#0"]),
            (b"\x00\x00\x00\x07\x08\x0a", Ipv4Unicast, true, &["10.0.0.0/8#7"]),
            (b"\x30\x20\x01\x0d\xb8\x00\x01\x00", Ipv6Unicast, false, &["2001:db8:1::/48#0", "::/0#0"]),
            (b"\xff\xff\xff\xff\x10\x20\x01", Ipv6Unicast, true, &["2001::/16#4294967295"]),
        ] {
            let expected: Vec<String> = expected.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(parsed(field, family, add_path), Ok(expected), "{field:02x?}");
        }
    }

    #[test]
    fn host_bits_are_cleared_as_they_come_in() {
        for (field, family, expected) in [
            (&b"\x18\x0a\x00\x00"[..], Family::Ipv4Unicast, "10.0.0.0/24"),
            (b"\x17\x0a\x00\x01", Family::Ipv4Unicast, "10.0.0.0/23"),
            (b"\x01\xff", Family::Ipv4Unicast, "128.0.0.0/1"),
            (b"\x09\x0a\xff", Family::Ipv4Unicast, "10.128.0.0/9"),
            (b"\x21\x20\x01\x0d\xb8\xff", Family::Ipv6Unicast, "2001:db8:8000::/33"),
            (b"\x03\x3f", Family::Ipv6Unicast, "2000::/3"),
        ] {
            let mut read = Vec::new();
            parse(field, family, false, &mut read).unwrap();
            let shown: Vec<String> = read.iter().map(|nlri| nlri.prefix.to_string()).collect();
            assert_eq!(shown, [expected], "{field:02x?}");
        }
    }

    #[test]
    fn prefixes_that_are_too_long_or_cut_short_are_malformed() {
        use Family::{Ipv4Unicast, Ipv6Unicast};
        for (field, family, add_path) in [
            (&b"\x21\x0a\x00\x00\x00\x00"[..], Ipv4Unicast, false),
            (b"\xff", Ipv4Unicast, false),
            (b"\x18\x0a\x01", Ipv4Unicast, false),
            (b"\x20", Ipv4Unicast, false),
            (b"\x08\x0a\x08", Ipv4Unicast, false),
            (b"\x00\x00\x00", Ipv4Unicast, true),
            (b"\x00\x00\x00\x01", Ipv4Unicast, true),
            (b"\x81\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", Ipv6Unicast, false),
        ] {
            assert_eq!(parsed(field, family, add_path), Err(Malformed), "{field:02x?}");
        }
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(family in arbitrary::family(), add_path: bool, seed in arbitrary::nlri_of_any_family()) {
            let nlri: Vec<Nlri> = seed.into_iter().filter(|nlri| nlri.prefix.family() == family)
                .map(|nlri| if add_path { nlri } else { Nlri { path_id: PathId(0), ..nlri } }).collect();
            let mut field = Vec::new();
            for entry in &nlri {
                let before = field.len();
                encode(entry, add_path, &mut field);
                prop_assert_eq!(field.len() - before, encoded_len(entry, add_path));
                prop_assert!(encoded_len(entry, add_path) <= longest(family, add_path));
            }
            let mut back = Vec::new();
            prop_assert_eq!(parse(&field, family, add_path, &mut back), Ok(()));
            prop_assert_eq!(back, nlri);
        }

        #[test]
        fn random_bytes_never_panic(field in prop::collection::vec(any::<u8>(), 0..64), family in arbitrary::family(), add_path: bool) {
            let _ = parse(&field, family, add_path, &mut Vec::new());
        }
    }
}
