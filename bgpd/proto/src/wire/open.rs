//! OPEN (RFC 4271 section 4.2), with capabilities (RFC 5492) and extended optional parameters (RFC 9072).

use super::capability::Capability;
use crate::types::{Asn, HoldTime, RouterId};

/// An OPEN message that section 6.2 finds no fault with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The four-octet number if that capability is there, else the two octets of the header.
    pub asn: Asn,
    /// What the sender proposes.
    pub hold_time: HoldTime,
    /// The sender's BGP Identifier, not zero.
    pub router_id: RouterId,
    /// In the order in which they stand in the message.
    pub capabilities: Vec<Capability>,
}
