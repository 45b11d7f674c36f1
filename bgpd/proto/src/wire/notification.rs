//! NOTIFICATION (RFC 4271 section 4.5 and 6): why a session ends.

use bytes::Bytes;

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
