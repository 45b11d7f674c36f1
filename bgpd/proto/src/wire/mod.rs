//! The wire: one file for each thing on it. Bytes become typed messages with a verdict, and typed messages become bytes.
//!
//! No-panic contract: every function here takes any bytes at all and returns; memory is bounded by the message's length.

pub mod aspath;
mod attribute_list;
pub mod attributes;
pub mod capability;
pub mod community;
pub mod frame;
pub(crate) mod mp;
mod nlri;
pub mod notification;
pub mod open;
pub mod refresh;
pub mod tunnel;
pub mod update;
mod update_builder;

#[cfg(test)]
pub(crate) mod arbitrary;
#[cfg(test)]
mod tests;

use bytes::Bytes;

use frame::MessageType;
pub use notification::Notification;
pub use open::Open;
pub use refresh::{RefreshMark, RouteRefresh};
pub use update::{Update, UpdateContext};

/// Octets of the fixed header (RFC 4271 section 4.1).
pub const HEADER_LEN: usize = 19;
/// The largest message without RFC 8654.
pub const MAX_MESSAGE_LEN: usize = 4096;
/// The largest message with it.
pub const MAX_EXTENDED_MESSAGE_LEN: usize = 65535;

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
    /// RFC 2918, RFC 7313.
    RouteRefresh(RouteRefresh),
}

impl Message {
    /// Parses one framed message. `frame` is what [`frame::next_frame`] returned. A ROUTE-REFRESH reads as on a session
    /// with RFC 7313; a session that has agreed on less asks [`RouteRefresh`] itself.
    ///
    /// # Errors
    /// The NOTIFICATION with which RFC 4271 section 6 and RFC 7606 answer this message.
    pub fn parse(frame: frame::Frame<'_>, context: &UpdateContext) -> Result<Self, Notification> {
        Ok(match frame.kind {
            MessageType::Open => Self::Open(Open::parse(frame.body)?),
            MessageType::Update => Self::Update(Update::parse(frame.body, context)?),
            MessageType::Notification => Self::Notification(Notification::parse(frame.body)),
            MessageType::Keepalive => Self::Keepalive,
            MessageType::RouteRefresh => Self::RouteRefresh(RouteRefresh::parse(frame.body, true)?),
        })
    }

    /// The message's bytes, header included. An UPDATE becomes as many messages, one behind the other, as RFC 7606
    /// section 5.1 asks for, which the RIB builds with [`update::UpdateBuilder`] instead. Announcements whose attributes
    /// fit into no message are left out.
    #[must_use]
    pub fn encode(&self, context: &UpdateContext) -> Bytes {
        match self {
            Self::Open(open) => open.encode(),
            Self::Update(update) => update.encode(context),
            Self::Notification(notification) => notification.encode(),
            Self::Keepalive => frame::enclose(MessageType::Keepalive, &[]),
            Self::RouteRefresh(refresh) => refresh.encode(),
        }
    }
}
