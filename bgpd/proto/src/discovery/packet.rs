//! The two messages of RFC 4861 by which routers on a link find each other: Router Solicitation and Router Advertisement.
//!
//! No-panic contract as in [`crate::wire`]: any bytes at all are read.

use std::net::Ipv6Addr;

/// Every node on the link (RFC 4291 section 2.7.1).
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Every router on the link.
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// What both are sent with, and what whoever is not on the link cannot send (RFC 4861 sections 6.1.1 and 6.1.2).
pub const HOP_LIMIT: u8 = 255;

/// ICMPv6 types (RFC 4861 sections 4.1 and 4.2).
pub const SOLICITATION: u8 = 133;
/// See [`SOLICITATION`].
pub const ADVERTISEMENT: u8 = 134;
/// An option (RFC 4861 section 4.6.1).
const SOURCE_LINK_LAYER_ADDRESS: u8 = 1;

/// A message, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet {
    /// Somebody wants to hear which routers there are.
    Solicitation,
    /// Whoever sent it is a router.
    Advertisement,
}

impl Packet {
    /// The ICMPv6 message, with a checksum of zero, which the kernel works out.
    ///
    /// The advertisement says a router lifetime of 0, so that no host takes us as its default router, and leaves everything
    /// else unspecified (RFC 4861 section 4.2).
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        match self {
            Self::Solicitation => [[SOLICITATION, 0, 0, 0], [0; 4]].concat(),
            Self::Advertisement => [[ADVERTISEMENT, 0, 0, 0], [0; 4], [0; 4], [0; 4]].concat(),
        }
    }

    /// Reads an ICMPv6 message whose checksum the kernel has found right. `None` for what RFC 4861 sections 6.1.1 and 6.1.2
    /// tell to discard, and for other messages.
    #[must_use]
    pub fn parse(message: &[u8], source: Ipv6Addr, hop_limit: u8) -> Option<Self> {
        let [kind, code, ..] = *message else { return None };
        let (packet, fixed) = match kind {
            SOLICITATION => (Self::Solicitation, 8),
            ADVERTISEMENT => (Self::Advertisement, 16),
            _ => return None,
        };
        let options = message.get(fixed..)?;
        let from_link = source.is_unicast_link_local() || (packet == Self::Solicitation && source.is_unspecified());
        let sound = options_are_sound(options, source.is_unspecified());
        (code == 0 && hop_limit == HOP_LIMIT && from_link && sound).then_some(packet)
    }
}

/// Each has a length in units of eight octets that is not zero and ends within the message (RFC 4861 section 4.6), and
/// nobody (`from_nobody`) has a link-layer address (section 6.1.1).
fn options_are_sound(mut options: &[u8], from_nobody: bool) -> bool {
    while let [kind, length, ..] = *options {
        match options.get(8 * usize::from(length)..) {
            Some(rest) if length > 0 && !(from_nobody && kind == SOURCE_LINK_LAYER_ADDRESS) => options = rest,
            Some(_) | None => return false,
        }
    }
    options.is_empty()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 7);

    #[test]
    fn what_is_sent_is_understood_and_has_the_length_of_the_rfc() {
        for (packet, length) in [(Packet::Solicitation, 8), (Packet::Advertisement, 16)] {
            let message = packet.encode();
            assert_eq!((message.len(), Packet::parse(&message, ROUTER, 255)), (length, Some(packet)));
        }
        // A router lifetime of 0: nobody's default router.
        assert_eq!(Packet::Advertisement.encode()[6..8], [0, 0]);
    }

    #[test]
    fn what_the_rfc_tells_to_discard_is_discarded() {
        let advertisement = |change: fn(&mut Vec<u8>)| {
            let mut message = Packet::Advertisement.encode();
            change(&mut message);
            message
        };
        let global = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 7);
        // Source link-layer address, prefix information and an unknown one, as FRR and radvd send them.
        let with_options = |message: &mut Vec<u8>| {
            message.extend([1, 1, 2, 0, 0, 0, 0, 7]);
            message.extend([[3, 4, 64, 0xc0], [0; 4]].concat());
            message.extend([0; 24]);
            message.extend([200, 1, 0, 0, 0, 0, 0, 0]);
        };
        for (what, message, source, hop_limit, known) in [
            ("sound", advertisement(|_| ()), ROUTER, 255, true),
            ("with options", advertisement(with_options), ROUTER, 255, true),
            ("from another link", advertisement(|_| ()), ROUTER, 254, false),
            ("from a global address", advertisement(|_| ()), global, 255, false),
            ("from nobody", advertisement(|_| ()), Ipv6Addr::UNSPECIFIED, 255, false),
            ("a code", advertisement(|message| message[1] = 1), ROUTER, 255, false),
            ("too short", advertisement(|message| message.truncate(15)), ROUTER, 255, false),
            (
                "an option of no length",
                advertisement(|message| message.extend([1, 0, 0, 0, 0, 0, 0, 0])),
                ROUTER,
                255,
                false,
            ),
            ("an option that is cut", advertisement(|message| message.extend([1, 1, 0, 0])), ROUTER, 255, false),
            ("a lone octet", advertisement(|message| message.push(1)), ROUTER, 255, false),
            ("a neighbour solicitation", advertisement(|message| message[0] = 135), ROUTER, 255, false),
            (
                "a solicitation of a host that has no address yet",
                Packet::Solicitation.encode(),
                Ipv6Addr::UNSPECIFIED,
                255,
                true,
            ),
            (
                "one that has, by what it says",
                [&Packet::Solicitation.encode()[..], &[1, 1, 2, 0, 0, 0, 0, 7]].concat(),
                Ipv6Addr::UNSPECIFIED,
                255,
                false,
            ),
            ("nothing", Vec::new(), ROUTER, 255, false),
        ] {
            assert_eq!(Packet::parse(&message, source, hop_limit).is_some(), known, "{what}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(message: Vec<u8>, hop_limit: u8) {
            let _ = Packet::parse(&message, ROUTER, hop_limit);
            let _ = Packet::parse(&[&[ADVERTISEMENT, 0], &message[..]].concat(), ROUTER, 255);
        }
    }
}
