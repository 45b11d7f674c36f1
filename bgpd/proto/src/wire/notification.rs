//! NOTIFICATION (RFC 4271 section 4.5 and 6): why a session ends.
//!
//! Each error code has an enumeration of its subcodes for what Linnet sends. What it receives stays as numbers, because a
//! peer may send any; [`Notification`]'s `Display` names those that are known.

use std::fmt;

use bytes::Bytes;

use crate::types::Family;

/// A NOTIFICATION message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// The error code.
    pub code: u8,
    /// The error subcode.
    pub subcode: u8,
    /// Diagnostic data.
    pub data: Bytes,
}

/// Subcodes of Message Header Error, code 1 (RFC 4271 section 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum HeaderError {
    /// The marker is not all ones.
    ConnectionNotSynchronized = 1,
    /// Data: the length field.
    BadMessageLength = 2,
    /// Data: the type octet.
    BadMessageType = 3,
}

/// Subcodes of OPEN Message Error, code 2 (RFC 4271 section 6.2, RFC 5492, RFC 9234).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum OpenError {
    /// Something that is recognized, but malformed.
    Unspecific = 0,
    /// Data: the version to use instead, two octets.
    UnsupportedVersionNumber = 1,
    /// Not the AS that is configured, or one that nobody may have.
    BadPeerAs = 2,
    /// Zero, or our own towards an internal peer (RFC 6286 section 2.2).
    BadBgpIdentifier = 3,
    /// An optional parameter that is not Capabilities.
    UnsupportedOptionalParameter = 4,
    /// 1 or 2 seconds.
    UnacceptableHoldTime = 6,
    /// Data: the capabilities that are missing.
    UnsupportedCapability = 7,
    /// Roles that do not fit together, or none where one is required (RFC 9234 section 4.2).
    RoleMismatch = 11,
}

/// Subcodes of UPDATE Message Error, code 3 (RFC 4271 section 6.3), of which RFC 7606 leaves these in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum UpdateError {
    /// The lengths of the message contradict one another, or an attribute that may stand once stands twice.
    MalformedAttributeList = 1,
    /// Data: the attribute.
    UnrecognizedWellKnownAttribute = 2,
    /// In MP_REACH_NLRI or MP_UNREACH_NLRI (RFC 4760 section 7). Data: the attribute.
    OptionalAttributeError = 9,
    /// Withdrawn Routes or NLRI do not parse.
    InvalidNetworkField = 10,
}

/// Subcodes of Finite State Machine Error, code 5 (RFC 6608): the state in which an unexpected message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FsmError {
    /// Any state.
    Unspecified = 0,
    /// OpenSent.
    OpenSent = 1,
    /// OpenConfirm.
    OpenConfirm = 2,
    /// Established.
    Established = 3,
}

/// Subcodes of ROUTE-REFRESH Message Error, code 7 (RFC 7313 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RefreshError {
    /// Of a BoRR or an EoRR. Data: the whole message.
    InvalidMessageLength = 1,
}

/// Subcodes of Cease, code 6 (RFC 4486, RFC 8538, RFC 9384).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cease {
    /// The peer sent more prefixes than it may.
    MaximumNumberOfPrefixesReached = 1,
    /// A person ended the session; data may say why (RFC 9003).
    AdministrativeShutdown = 2,
    /// The peer is no longer configured.
    PeerDeConfigured = 3,
    /// A person reset the session; data may say why (RFC 9003).
    AdministrativeReset = 4,
    /// No session is wanted with this peer now.
    ConnectionRejected = 5,
    /// What the OPEN says has changed.
    OtherConfigurationChange = 6,
    /// The other of two connections stays (RFC 4271 section 6.8).
    ConnectionCollisionResolution = 7,
    /// Memory or another resource is short.
    OutOfResources = 8,
    /// Do not keep routes; data holds the NOTIFICATION it stands for (RFC 8538 section 3).
    HardReset = 9,
    /// BFD says that the peer is gone.
    BfdDown = 10,
}

impl Notification {
    /// A NOTIFICATION by its numbers. `data` is copied.
    #[must_use]
    pub fn new(code: u8, subcode: u8, data: &[u8]) -> Self {
        Self { code, subcode, data: Bytes::copy_from_slice(data) }
    }

    /// Message Header Error.
    #[must_use]
    pub fn header(error: HeaderError, data: &[u8]) -> Self {
        Self::new(1, error as u8, data)
    }

    /// OPEN Message Error.
    #[must_use]
    pub fn open(error: OpenError, data: &[u8]) -> Self {
        Self::new(2, error as u8, data)
    }

    /// UPDATE Message Error.
    #[must_use]
    pub fn update(error: UpdateError, data: &[u8]) -> Self {
        Self::new(3, error as u8, data)
    }

    /// Hold Timer Expired (RFC 4271 section 6.5).
    #[must_use]
    pub fn hold_timer_expired() -> Self {
        Self::new(4, 0, &[])
    }

    /// Finite State Machine Error (RFC 6608).
    #[must_use]
    pub fn fsm_error(error: FsmError) -> Self {
        Self::new(5, error as u8, &[])
    }

    /// ROUTE-REFRESH Message Error (RFC 7313 section 5).
    #[must_use]
    pub fn refresh(error: RefreshError, data: &[u8]) -> Self {
        Self::new(7, error as u8, data)
    }

    /// Cease, without data.
    #[must_use]
    pub fn cease(subcode: Cease) -> Self {
        Self::new(6, subcode as u8, &[])
    }

    /// Cease with a shutdown communication (RFC 9003 section 2), for Administrative Shutdown and Administrative Reset. The
    /// text is cut at the last whole character within 255 octets.
    #[must_use]
    pub fn cease_saying(subcode: Cease, text: &str) -> Self {
        let mut end = text.len().min(255);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let mut data = Vec::with_capacity(1 + end);
        data.push(end as u8);
        data.extend_from_slice(&text.as_bytes()[..end]);
        Self { code: 6, subcode: subcode as u8, data: data.into() }
    }

    /// The same as a hard reset: the peer is not to keep routes (RFC 8538 section 3).
    #[must_use]
    pub fn hard_reset(&self) -> Self {
        let mut data = Vec::with_capacity(2 + self.data.len());
        data.extend_from_slice(&[self.code, self.subcode]);
        data.extend_from_slice(&self.data);
        Self { code: 6, subcode: Cease::HardReset as u8, data: data.into() }
    }

    /// Send Hold Timer Expired (RFC 9687 section 5).
    #[must_use]
    pub fn send_hold_timer_expired() -> Self {
        Self::new(8, 0, &[])
    }

    /// Whether it is a Cease with Hard Reset (RFC 8538 section 3): the peer is not to keep routes.
    #[must_use]
    pub fn is_hard_reset(&self) -> bool {
        (self.code, self.subcode) == (6, Cease::HardReset as u8)
    }

    /// What a hard reset stands for (RFC 8538 section 3); `None` for every other NOTIFICATION, and where nothing is held.
    #[must_use]
    pub fn encapsulated(&self) -> Option<Self> {
        match &self.data[..] {
            [code, subcode, ..] if self.is_hard_reset() => {
                Some(Self { code: *code, subcode: *subcode, data: self.data.slice(2..) })
            }
            _ => None,
        }
    }

    /// Whether what it says leaves no sense in keeping routes: a person has ended or reset the session, its configuration is
    /// another or gone, or there are too many routes. With a peer that keeps routes across NOTIFICATIONs it is sent as a
    /// hard reset (RFC 8538 section 3).
    #[must_use]
    pub fn ends_routes(&self) -> bool {
        const FINAL: [Cease; 5] = [
            Cease::MaximumNumberOfPrefixesReached,
            Cease::AdministrativeShutdown,
            Cease::PeerDeConfigured,
            Cease::AdministrativeReset,
            Cease::OtherConfigurationChange,
        ];
        self.is_hard_reset() || self.code == 6 && FINAL.iter().any(|cease| *cease as u8 == self.subcode)
    }

    /// What a person at the other end wrote (RFC 9003 section 2); `None` where there is nothing or it is malformed.
    #[must_use]
    pub fn shutdown_communication(&self) -> Option<&str> {
        if self.code != 6
            || ![Cease::AdministrativeShutdown as u8, Cease::AdministrativeReset as u8].contains(&self.subcode)
        {
            return None;
        }
        let (&length, text) = self.data.split_first()?;
        let text = text.get(..usize::from(length))?;
        std::str::from_utf8(text).ok().filter(|text| !text.is_empty())
    }

    /// Parses the body of a NOTIFICATION. The framer lets none through that is shorter than two octets.
    pub(super) fn parse(body: &[u8]) -> Self {
        // The data is copied because a session shows it for as long as it lasts.
        match body {
            [code, subcode, data @ ..] => Self::new(*code, *subcode, data),
            short => Self::new(short.first().copied().unwrap_or(0), 0, &[]),
        }
    }

    pub(super) fn encode(&self) -> Bytes {
        // RFC 4271 section 4.1: no message is longer than 4096 octets, and whether more was negotiated is not known here.
        let room = super::MAX_MESSAGE_LEN - super::HEADER_LEN - 2;
        let mut body = Vec::with_capacity(2 + self.data.len().min(room));
        body.extend_from_slice(&[self.code, self.subcode]);
        body.extend_from_slice(&self.data[..self.data.len().min(room)]);
        super::frame::enclose(super::frame::MessageType::Notification, &body)
    }

    /// The error code in words.
    #[must_use]
    pub fn code_name(&self) -> Option<&'static str> {
        Some(match self.code {
            1 => "Message Header Error",
            2 => "OPEN Message Error",
            3 => "UPDATE Message Error",
            4 => "Hold Timer Expired",
            5 => "Finite State Machine Error",
            6 => "Cease",
            7 => "ROUTE-REFRESH Message Error",
            8 => "Send Hold Timer Expired",
            _ => return None,
        })
    }

    /// The error subcode in words; `None` for one that has no name, and for 0, which says nothing.
    #[must_use]
    pub fn subcode_name(&self) -> Option<&'static str> {
        Some(match (self.code, self.subcode) {
            (1, 1) => "Connection Not Synchronized",
            (1, 2) => "Bad Message Length",
            (1, 3) => "Bad Message Type",
            (2, 1) => "Unsupported Version Number",
            (2, 2) => "Bad Peer AS",
            (2, 3) => "Bad BGP Identifier",
            (2, 4) => "Unsupported Optional Parameter",
            (2, 5) => "Authentication Failure",
            (2, 6) => "Unacceptable Hold Time",
            (2, 7) => "Unsupported Capability",
            (2, 11) => "Role Mismatch",
            (3, 1) => "Malformed Attribute List",
            (3, 2) => "Unrecognized Well-known Attribute",
            (3, 3) => "Missing Well-known Attribute",
            (3, 4) => "Attribute Flags Error",
            (3, 5) => "Attribute Length Error",
            (3, 6) => "Invalid ORIGIN Attribute",
            (3, 7) => "AS Routing Loop",
            (3, 8) => "Invalid NEXT_HOP Attribute",
            (3, 9) => "Optional Attribute Error",
            (3, 10) => "Invalid Network Field",
            (3, 11) => "Malformed AS_PATH",
            (5, 1) => "Receive Unexpected Message in OpenSent State",
            (5, 2) => "Receive Unexpected Message in OpenConfirm State",
            (5, 3) => "Receive Unexpected Message in Established State",
            (6, 1) => "Maximum Number of Prefixes Reached",
            (6, 2) => "Administrative Shutdown",
            (6, 3) => "Peer De-configured",
            (6, 4) => "Administrative Reset",
            (6, 5) => "Connection Rejected",
            (6, 6) => "Other Configuration Change",
            (6, 7) => "Connection Collision Resolution",
            (6, 8) => "Out of Resources",
            (6, 9) => "Hard Reset",
            (6, 10) => "BFD Down",
            (7, 1) => "Invalid Message Length",
            _ => return None,
        })
    }

    /// The family and the upper bound that whoever had too many prefixes may name (RFC 4486 section 4).
    fn prefix_limit(&self) -> Option<(Family, u32)> {
        if (self.code, self.subcode) != (6, Cease::MaximumNumberOfPrefixesReached as u8) {
            return None;
        }
        let &[afi1, afi2, safi, ref limit @ ..] = &self.data[..] else { return None };
        let limit: [u8; 4] = limit.try_into().ok()?;
        Some((Family::from_afi_safi(u16::from_be_bytes([afi1, afi2]), safi)?, u32::from_be_bytes(limit)))
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code_name() {
            Some(name) => f.write_str(name)?,
            None => write!(f, "error code {}", self.code)?,
        }
        match self.subcode_name() {
            Some(name) => write!(f, " / {name}"),
            None if self.subcode == 0 => Ok(()),
            None => write!(f, " / subcode {}", self.subcode),
        }
    }

    fn describe_data(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = self.shutdown_communication() {
            // Escapes control characters, so that a peer cannot write on a person's terminal (RFC 9003 section 5).
            return write!(f, ": \"{}\"", text.escape_debug());
        }
        if self.data.is_empty() {
            return Ok(());
        }
        if let Some((family, limit)) = self.prefix_limit() {
            return write!(f, " (at most {limit} of {family})");
        }
        f.write_str(" (data")?;
        self.data.iter().take(SHOWN_OCTETS).try_for_each(|octet| write!(f, " {octet:02x}"))?;
        f.write_str(if self.data.len() > SHOWN_OCTETS { " ...)" } else { ")" })
    }
}

/// Octets of data that a person is shown.
const SHOWN_OCTETS: usize = 24;

impl fmt::Display for Notification {
    /// As a network engineer reads it: `Cease / Administrative Shutdown: "text"`, `OPEN Message Error / Bad Peer AS (data fd e9)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.describe(f)?;
        // One level only: what a hard reset holds may claim to be another one.
        match self.encapsulated() {
            Some(inner) => {
                f.write_str(" (")?;
                inner.describe(f)?;
                inner.describe_data(f)?;
                f.write_str(")")
            }
            None => self.describe_data(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_as_a_network_engineer_reads_it() {
        for (code, subcode, data, shown) in [
            (6, 2, &b"\x04bye!"[..], "Cease / Administrative Shutdown: \"bye!\""),
            (6, 2, b"", "Cease / Administrative Shutdown"),
            (6, 2, b"\x00", "Cease / Administrative Shutdown (data 00)"),
            (6, 4, b"\x09bye", "Cease / Administrative Reset (data 09 62 79 65)"),
            (6, 2, b"\x05a\x1b[1m", "Cease / Administrative Shutdown: \"a\\u{1b}[1m\""),
            (6, 2, b"\x01\xff", "Cease / Administrative Shutdown (data 01 ff)"),
            (6, 3, b"\x04bye!", "Cease / Peer De-configured (data 04 62 79 65 21)"),
            (6, 9, b"\x06\x02\x02hi", "Cease / Hard Reset (Cease / Administrative Shutdown: \"hi\")"),
            (6, 9, b"\x06\x09\x06\x09", "Cease / Hard Reset (Cease / Hard Reset (data 06 09))"),
            (6, 9, b"", "Cease / Hard Reset"),
            (
                6,
                1,
                b"\x00\x01\x01\x00\x00\x00\x02",
                "Cease / Maximum Number of Prefixes Reached (at most 2 of ipv4-unicast)",
            ),
            (6, 1, b"\x00\x01\x01\x00\x00\x00", "Cease / Maximum Number of Prefixes Reached (data 00 01 01 00 00 00)"),
            (
                6,
                1,
                b"\x00\x01\x80\x00\x00\x00\x02",
                "Cease / Maximum Number of Prefixes Reached (data 00 01 80 00 00 00 02)",
            ),
            (2, 2, b"\xfd\xe9", "OPEN Message Error / Bad Peer AS (data fd e9)"),
            (4, 0, b"", "Hold Timer Expired"),
            (5, 3, b"", "Finite State Machine Error / Receive Unexpected Message in Established State"),
            (8, 0, b"", "Send Hold Timer Expired"),
            (6, 77, b"", "Cease / subcode 77"),
            (99, 1, b"", "error code 99 / subcode 1"),
        ] {
            assert_eq!(Notification::new(code, subcode, data).to_string(), shown);
        }
    }

    #[test]
    fn a_hard_reset_holds_what_it_stands_for() {
        let shutdown = Notification::cease_saying(Cease::AdministrativeShutdown, "back at 5");
        let sent = shutdown.hard_reset();
        assert!(sent.is_hard_reset());
        assert_eq!(sent.encapsulated(), Some(shutdown.clone()));
        assert_eq!((shutdown.encapsulated(), Notification::cease(Cease::HardReset).encapsulated()), (None, None));
    }

    #[test]
    fn what_a_person_and_the_configuration_say_ends_routes_and_a_fault_does_not() {
        for (notification, ends) in [
            (Notification::cease(Cease::AdministrativeShutdown), true),
            (Notification::cease(Cease::AdministrativeReset), true),
            (Notification::cease(Cease::PeerDeConfigured), true),
            (Notification::cease(Cease::OtherConfigurationChange), true),
            (Notification::cease(Cease::MaximumNumberOfPrefixesReached), true),
            (Notification::cease(Cease::HardReset), true),
            (Notification::cease(Cease::ConnectionCollisionResolution), false),
            (Notification::cease(Cease::OutOfResources), false),
            (Notification::cease(Cease::BfdDown), false),
            (Notification::hold_timer_expired(), false),
            (Notification::update(UpdateError::MalformedAttributeList, &[]), false),
        ] {
            assert_eq!(notification.ends_routes(), ends, "{notification}");
        }
    }

    #[test]
    fn what_is_shown_is_bounded_however_much_a_peer_sends() {
        assert!(Notification::new(3, 1, &[9; 4000]).to_string().len() < 200);
    }

    #[test]
    fn a_shutdown_communication_is_cut_at_a_whole_character() {
        let text = "ü".repeat(200);
        let sent = Notification::cease_saying(Cease::AdministrativeShutdown, &text);
        assert_eq!(sent.shutdown_communication(), Some(&text[..254]));
    }

    #[test]
    fn data_that_fits_no_message_is_cut() {
        assert_eq!(Notification::new(3, 1, &[9; 5000]).encode().len(), 4096);
    }
}
