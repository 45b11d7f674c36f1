//! Capabilities (RFC 5492): what one side of a session can do.

use bytes::Bytes;

use crate::types::{Asn, Family};

/// One capability of an OPEN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Code 1 (RFC 4760 section 8), a family that Linnet speaks.
    Multiprotocol(Family),
    /// Code 1, a family that it does not.
    UnknownFamily {
        /// Address Family Identifier.
        afi: u16,
        /// Subsequent Address Family Identifier.
        safi: u8,
    },
    /// Code 2 (RFC 2918).
    RouteRefresh,
    /// Code 64 (RFC 4724 section 3).
    GracefulRestart(GracefulRestart),
    /// Code 65 (RFC 6793).
    FourOctetAs(Asn),
    /// Any other, or a known one whose length is wrong: kept to be shown, otherwise ignored.
    Unknown {
        /// The capability code.
        code: u8,
        /// Its value.
        value: Bytes,
    },
}

/// The Graceful Restart capability (RFC 4724 section 3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GracefulRestart {
    /// R: the sender has restarted; its peer must not wait for its End-of-RIB.
    pub restarting: bool,
    /// N (RFC 8538).
    pub notification: bool,
    /// Seconds the sender asks its peer to wait for the session to come back, 0 to 4095.
    pub restart_seconds: u16,
    /// Families, and for each F: whether the sender kept forwarding across its restart.
    pub families: Vec<(Family, bool)>,
}
