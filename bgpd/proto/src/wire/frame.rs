//! The framer: cuts a byte stream into messages (RFC 4271 section 4.1 and 6.1).

use bytes::{Bytes, BytesMut};

use super::Notification;

/// Message types (RFC 4271 section 4.1, RFC 2918).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageType {
    /// 1
    Open,
    /// 2
    Update,
    /// 3
    Notification,
    /// 4
    Keepalive,
    /// 5
    RouteRefresh,
}

/// One message: its type and what stands behind the header.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The type octet.
    pub kind: MessageType,
    /// The body, a slice of what was received: nothing is copied.
    pub body: Bytes,
}

/// Takes the first whole message off `buffer`; `None` when more bytes are needed.
///
/// # Errors
/// Connection Not Synchronized, Bad Message Length (also against each type's own bounds) or Bad Message Type, with the data RFC 4271 section 6.1 asks for.
pub fn next_frame(buffer: &mut BytesMut, max_len: usize) -> Result<Option<Frame>, Notification> {
    let _ = (buffer, max_len);
    todo!("W")
}
