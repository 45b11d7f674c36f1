//! The control packet (RFC 5880 section 4.1), and the checks of section 6.8.6 that need nothing but its octets.

use std::fmt;

/// Octets of a packet without an authentication section: all that we send.
pub const LEN: usize = 24;
/// The least that a packet with an authentication section may say it has.
const LEN_WITH_AUTHENTICATION: usize = 26;

const VERSION: u8 = 1;
const POLL: u8 = 0x20;
const FINAL: u8 = 0x10;
const CONTROL_PLANE_INDEPENDENT: u8 = 0x08;
const AUTHENTICATION: u8 = 0x04;
const DEMAND: u8 = 0x02;
const MULTIPOINT: u8 = 0x01;

/// Where a session stands (section 4.1, "Sta").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// Held down by a person, which says nothing about the path.
    AdminDown = 0,
    /// Down, or just made.
    #[default]
    Down = 1,
    /// The other end is heard, and does not hear us yet.
    Init = 2,
    /// Both ends hear each other.
    Up = 3,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::AdminDown, Self::Down, Self::Init, Self::Up];

    fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::AdminDown,
            1 => Self::Down,
            2 => Self::Init,
            _ => Self::Up,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AdminDown => "AdminDown",
            Self::Down => "Down",
            Self::Init => "Init",
            Self::Up => "Up",
        })
    }
}

/// Why a session last left Up (section 4.1, "Diag"), five bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Diagnostic(u8);

impl Diagnostic {
    /// Nothing has happened.
    pub const NONE: Self = Self(0);
    /// Nothing was heard for the detection time.
    pub const CONTROL_DETECTION_TIME_EXPIRED: Self = Self(1);
    /// The other end said that it is down.
    pub const NEIGHBOR_SIGNALED_DOWN: Self = Self(3);
    /// A person wants it so.
    pub const ADMINISTRATIVELY_DOWN: Self = Self(7);

    /// The code, 0 to 31.
    #[must_use]
    pub fn code(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            0 => "no diagnostic",
            1 => "control detection time expired",
            2 => "echo function failed",
            3 => "neighbor signaled session down",
            4 => "forwarding plane reset",
            5 => "path down",
            6 => "concatenated path down",
            7 => "administratively down",
            8 => "reverse concatenated path down",
            other => return write!(f, "diagnostic {other}"),
        })
    }
}

/// A control packet. Intervals are in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Why the sender's session last left Up.
    pub diagnostic: Diagnostic,
    /// The sender's state.
    pub state: State,
    /// The sender wants an answer with `final_`.
    pub poll: bool,
    /// This is that answer.
    pub final_: bool,
    /// The sender's BFD does not share the fate of its control plane (C).
    pub control_plane_independent: bool,
    /// The sender wants to be sent nothing while both are Up (D).
    pub demand: bool,
    /// How many packets of the sender's may be lost before it is; never 0.
    pub detect_mult: u8,
    /// The sender's number for the session; never 0.
    pub my_discriminator: u32,
    /// The receiver's, as the sender last heard it; 0 before it has heard anything.
    pub your_discriminator: u32,
    /// The sender would like to send no faster.
    pub desired_min_tx: u32,
    /// The sender takes no faster; 0: it wants to be sent nothing.
    pub required_min_rx: u32,
    /// The sender takes no faster echo; 0: none.
    pub required_min_echo_rx: u32,
}

/// Why a packet is discarded (section 6.8.6, in its order; the last ones are of RFC 5881 and of the search for a session).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Discard {
    /// The version is not 1.
    Version,
    /// Fewer octets than a packet has, or the length that it says of itself is less than that.
    TooShort,
    /// The length that it says of itself is more than there is.
    LengthBeyondPayload,
    /// Detect Mult is 0.
    ZeroDetectMult,
    /// M is set.
    Multipoint,
    /// My Discriminator is 0.
    ZeroMyDiscriminator,
    /// Your Discriminator is 0, though its state says that the sender has heard us.
    ZeroYourDiscriminator,
    /// It is authenticated, which no session here uses.
    Authentication,
    /// The TTL (hop limit) says that it came over a router (RFC 5881 section 5), or over more than are allowed.
    Ttl,
    /// Your Discriminator is of no session.
    UnknownDiscriminator,
    /// Nobody with this address has a session here.
    UnknownSource,
    /// Your Discriminator is of the session with another address, or over another number of hops.
    WrongSource,
    /// The session is AdminDown.
    AdminDown,
}

impl Discard {
    /// All of them, in order.
    pub const ALL: [Self; 13] = [
        Self::Version,
        Self::TooShort,
        Self::LengthBeyondPayload,
        Self::ZeroDetectMult,
        Self::Multipoint,
        Self::ZeroMyDiscriminator,
        Self::ZeroYourDiscriminator,
        Self::Authentication,
        Self::Ttl,
        Self::UnknownDiscriminator,
        Self::UnknownSource,
        Self::WrongSource,
        Self::AdminDown,
    ];

    /// A word for a metric's label.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::TooShort => "too-short",
            Self::LengthBeyondPayload => "length",
            Self::ZeroDetectMult => "detect-mult",
            Self::Multipoint => "multipoint",
            Self::ZeroMyDiscriminator => "my-discriminator",
            Self::ZeroYourDiscriminator => "your-discriminator",
            Self::Authentication => "authentication",
            Self::Ttl => "ttl",
            Self::UnknownDiscriminator => "unknown-discriminator",
            Self::UnknownSource => "unknown-source",
            Self::WrongSource => "wrong-source",
            Self::AdminDown => "admin-down",
        }
    }
}

impl Packet {
    /// The octets that leave. Neither A nor M is ever set.
    #[must_use]
    pub fn encode(&self) -> [u8; LEN] {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let mut octets = [0; LEN];
        octets[0] = VERSION << 5 | self.diagnostic.0 & 0x1f;
        octets[1] = (self.state as u8) << 6
            | flag(self.poll, POLL)
            | flag(self.final_, FINAL)
            | flag(self.control_plane_independent, CONTROL_PLANE_INDEPENDENT)
            | flag(self.demand, DEMAND);
        octets[2] = self.detect_mult;
        octets[3] = LEN as u8;
        let words = [
            self.my_discriminator,
            self.your_discriminator,
            self.desired_min_tx,
            self.required_min_rx,
            self.required_min_echo_rx,
        ];
        for (place, word) in octets[4..].chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        octets
    }

    /// Reads a datagram's payload; what is behind the packet's own length is ignored.
    ///
    /// # Errors
    /// The first check of section 6.8.6 that it fails.
    pub fn decode(payload: &[u8]) -> Result<Self, Discard> {
        let Some((packet, _)) = payload.split_first_chunk::<LEN>() else { return Err(Discard::TooShort) };
        let [first, flags, detect_mult, length, ..] = *packet;
        if first >> 5 != VERSION {
            return Err(Discard::Version);
        }
        let authenticated = flags & AUTHENTICATION != 0;
        let least = if authenticated { LEN_WITH_AUTHENTICATION } else { LEN };
        if usize::from(length) < least {
            return Err(Discard::TooShort);
        }
        if usize::from(length) > payload.len() {
            return Err(Discard::LengthBeyondPayload);
        }
        if detect_mult == 0 {
            return Err(Discard::ZeroDetectMult);
        }
        if flags & MULTIPOINT != 0 {
            return Err(Discard::Multipoint);
        }
        let word = |at: usize| u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]);
        let decoded = Self {
            diagnostic: Diagnostic(first & 0x1f),
            state: State::from_bits(flags >> 6),
            poll: flags & POLL != 0,
            final_: flags & FINAL != 0,
            control_plane_independent: flags & CONTROL_PLANE_INDEPENDENT != 0,
            demand: flags & DEMAND != 0,
            detect_mult,
            my_discriminator: word(4),
            your_discriminator: word(8),
            desired_min_tx: word(12),
            required_min_rx: word(16),
            required_min_echo_rx: word(20),
        };
        if decoded.my_discriminator == 0 {
            return Err(Discard::ZeroMyDiscriminator);
        }
        let heard_us = matches!(decoded.state, State::Init | State::Up);
        if decoded.your_discriminator == 0 && heard_us {
            return Err(Discard::ZeroYourDiscriminator);
        }
        // Section 6.8.6 looks for the session first; as no session here uses authentication, the answer is the same.
        if authenticated {
            return Err(Discard::Authentication);
        }
        Ok(decoded)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// From a capture's layout: version 1, diagnostic 3, Up, P and C, multiplier 3, then five words.
    const SAMPLE: [u8; 24] =
        [0x23, 0xe8, 3, 24, 0, 0, 0, 7, 0, 0, 0, 9, 0, 4, 0x93, 0xe0, 0, 0x0f, 0x42, 0x40, 0, 0, 0xc3, 0x50];

    #[test]
    fn a_packet_reads_as_the_rfc_draws_it() {
        let packet = Packet::decode(&SAMPLE).unwrap();
        let expected = Packet {
            diagnostic: Diagnostic::NEIGHBOR_SIGNALED_DOWN,
            state: State::Up,
            poll: true,
            final_: false,
            control_plane_independent: true,
            demand: false,
            detect_mult: 3,
            my_discriminator: 7,
            your_discriminator: 9,
            desired_min_tx: 300_000,
            required_min_rx: 1_000_000,
            required_min_echo_rx: 50_000,
        };
        assert_eq!(packet, expected);
        assert_eq!(packet.encode(), SAMPLE);
    }

    #[test]
    fn every_check_of_section_6_8_6_discards_with_its_reason() {
        type Change = fn(&mut Vec<u8>);
        let cases: [(&str, Change, Result<(), Discard>); 19] = [
            ("as it is", |_| {}, Ok(())),
            ("octets behind it", |packet| packet.extend([1, 2, 3]), Ok(())),
            ("nothing", Vec::clear, Err(Discard::TooShort)),
            ("one octet less", |packet| packet.truncate(23), Err(Discard::TooShort)),
            ("version 0", |packet| packet[0] = 0x03, Err(Discard::Version)),
            ("version 2", |packet| packet[0] = 0x43, Err(Discard::Version)),
            ("a length of 23", |packet| packet[3] = 23, Err(Discard::TooShort)),
            ("a length of 0", |packet| packet[3] = 0, Err(Discard::TooShort)),
            ("a length of 25", |packet| packet[3] = 25, Err(Discard::LengthBeyondPayload)),
            ("a length of 255", |packet| packet[3] = 255, Err(Discard::LengthBeyondPayload)),
            ("A and a length of 25", |packet| (packet[1], packet[3]) = (0xec, 25), Err(Discard::TooShort)),
            (
                "A and a length of 26 of 24",
                |packet| (packet[1], packet[3]) = (0xec, 26),
                Err(Discard::LengthBeyondPayload),
            ),
            ("multiplier 0", |packet| packet[2] = 0, Err(Discard::ZeroDetectMult)),
            ("M", |packet| packet[1] |= 1, Err(Discard::Multipoint)),
            ("My Discriminator 0", |packet| packet[7] = 0, Err(Discard::ZeroMyDiscriminator)),
            ("Your Discriminator 0, Up", |packet| packet[11] = 0, Err(Discard::ZeroYourDiscriminator)),
            (
                "Your Discriminator 0, Init",
                |packet| (packet[1], packet[11]) = (0x80, 0),
                Err(Discard::ZeroYourDiscriminator),
            ),
            ("Your Discriminator 0, Down", |packet| (packet[1], packet[11]) = (0x40, 0), Ok(())),
            ("Your Discriminator 0, AdminDown", |packet| (packet[1], packet[11]) = (0x00, 0), Ok(())),
        ];
        for (name, change, expected) in cases {
            let mut packet = SAMPLE.to_vec();
            change(&mut packet);
            assert_eq!(Packet::decode(&packet).map(|_| ()), expected, "{name}");
        }
    }

    #[test]
    fn an_authenticated_packet_is_discarded_as_such() {
        // Simple password (section 4.2): type 1, length 6, key 1, "abc".
        let mut packet = SAMPLE.to_vec();
        packet.extend([1, 6, 1, b'a', b'b', b'c']);
        (packet[1], packet[3]) = (0xec, 30);
        assert_eq!(Packet::decode(&packet), Err(Discard::Authentication));
    }

    #[test]
    fn words_of_reasons_differ() {
        let words: std::collections::BTreeSet<_> = Discard::ALL.iter().map(|reason| reason.word()).collect();
        assert_eq!(words.len(), Discard::ALL.len());
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_written_as_it_was(payload in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(packet) = Packet::decode(&payload) {
                let mut written = packet.encode();
                // The length may have counted octets that nobody reads.
                written[3] = payload[3];
                prop_assert_eq!(&written[..], &payload[..LEN]);
                prop_assert_eq!(Packet::decode(&packet.encode()), Ok(packet));
            }
        }

        #[test]
        fn a_sound_packet_with_any_words_reads(flags in 0u8..4, words in any::<[u32; 5]>(), mult in 1u8..) {
            let mut payload = vec![0x20, flags << 6, mult, 24];
            payload.extend(words.iter().flat_map(|word| word.to_be_bytes()));
            let sound = words[0] != 0 && (words[1] != 0 || flags < 2);
            prop_assert_eq!(Packet::decode(&payload).is_ok(), sound);
        }
    }
}
