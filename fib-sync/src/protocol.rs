//! Who put a route into the kernel (`rtm_protocol`): numbers of linux/rtnetlink.h and, where that has none, those that FRR
//! writes and names so for iproute2.

/// Names and numbers, by number.
pub const NAMES: [(&str, u8); 31] = [
    ("redirect", 1),
    ("kernel", 2),
    ("boot", 3),
    ("static", 4),
    ("gated", 8),
    ("ra", 9),
    ("mrt", 10),
    ("zebra", 11),
    ("bird", 12),
    ("dnrouted", 13),
    ("xorp", 14),
    ("ntk", 15),
    ("dhcp", 16),
    ("mrouted", 17),
    ("keepalived", 18),
    ("babel", 42),
    ("linnet", crate::PROTOCOL),
    ("openr", 99),
    ("bgp", 186),
    ("isis", 187),
    ("ospf", 188),
    ("rip", 189),
    ("ripng", 190),
    ("nhrp", 191),
    ("eigrp", 192),
    ("ldp", 193),
    ("sharp", 194),
    ("pbr", 195),
    ("zstatic", 196),
    ("openfabric", 197),
    ("srte", 198),
];

/// The number that a person names: by a name, or as it is.
#[must_use]
pub fn number(text: &str) -> Option<u8> {
    let known = NAMES.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
    known.or_else(|| text.parse().ok())
}

/// The name for a person; a number that has none is itself.
#[must_use]
pub fn name(number: u8) -> String {
    NAMES.iter().find(|(_, known)| *known == number).map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_reads_as_it_is_shown() {
        for protocol in 0..=255 {
            assert_eq!(number(&name(protocol)), Some(protocol));
        }
        assert_eq!(number("ospf"), Some(188));
        assert_eq!(number("256"), None);
    }
}
