//! The wire: one file for each thing on it. Bytes become typed messages with a verdict, and typed messages become bytes.
//!
//! No-panic contract: every function here takes any bytes at all and returns; memory is bounded by the message's length.

pub mod aspath;
pub mod attributes;
pub mod capability;
pub mod community;
pub mod frame;
pub mod notification;
pub mod open;
pub mod tunnel;
pub mod update;

use bytes::{Bytes, BytesMut};

use crate::types::Family;
pub use notification::Notification;
pub use open::Open;
pub use update::{Update, UpdateContext};

/// Octets of the fixed header (RFC 4271 section 4.1).
pub const HEADER_LEN: usize = 19;
/// The largest message without RFC 8654.
pub const MAX_MESSAGE_LEN: usize = 4096;

/// A whole message, parsed.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// RFC 4271 section 4.2.
    Open(Open),
    /// RFC 4271 section 4.3.
    Update(Update),
    /// RFC 4271 section 4.5.
    Notification(Notification),
    /// RFC 4271 section 4.4.
    Keepalive,
    /// RFC 2918. `None`: a family that Linnet does not speak, to be ignored.
    RouteRefresh(Option<Family>),
}

impl Message {
    /// Parses one framed message. `frame` is what [`frame::next_frame`] returned.
    ///
    /// # Errors
    /// The NOTIFICATION with which RFC 4271 section 6 and RFC 7606 answer this message.
    pub fn parse(frame: frame::Frame, context: &UpdateContext) -> Result<Self, Notification> {
        let _ = (frame, context);
        todo!("W")
    }

    /// The message's bytes, header included. An UPDATE is built by [`update::UpdateBuilder`], which packs and splits.
    #[must_use]
    pub fn encode(&self, context: &UpdateContext) -> Bytes {
        let _ = (BytesMut::new(), context);
        todo!("W")
    }
}
