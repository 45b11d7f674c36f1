//! The wire: one file for each thing on it. Bytes become typed messages with a verdict, and typed messages become bytes.
//!
//! No-panic contract: every function here takes any bytes at all and returns; memory is bounded by the message's length.

pub mod aspath;
mod attribute_list;
pub mod attributes;
pub mod capability;
pub mod community;
pub mod frame;
mod mp;
mod nlri;
pub mod notification;
pub mod open;
pub mod tunnel;
pub mod update;
mod update_builder;

#[cfg(test)]
pub(crate) mod arbitrary;
#[cfg(test)]
mod tests;

use bytes::Bytes;

use crate::types::Family;
use frame::MessageType;
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
        Ok(match frame.kind {
            MessageType::Open => Self::Open(Open::parse(&frame.body)?),
            MessageType::Update => Self::Update(Update::parse(&frame.body, context)?),
            MessageType::Notification => Self::Notification(Notification::parse(&frame.body)),
            MessageType::Keepalive => Self::Keepalive,
            MessageType::RouteRefresh => Self::RouteRefresh(refreshed_family(&frame.body)),
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
            Self::RouteRefresh(family) => {
                // Of a family that Linnet does not speak only that is known, and it never asks for one: AFI 0 is reserved.
                let (afi, safi) = family.map_or((0, 0), |family| (family.afi(), family.safi()));
                let [high, low] = afi.to_be_bytes();
                frame::enclose(MessageType::RouteRefresh, &[high, low, 0, safi])
            }
        }
    }
}

/// The family that a ROUTE-REFRESH asks for. A subtype other than 0 (RFC 7313) was not negotiated and is no request.
fn refreshed_family(body: &[u8]) -> Option<Family> {
    match *body {
        [high, low, 0, safi] => Family::from_afi_safi(u16::from_be_bytes([high, low]), safi),
        _ => None,
    }
}
