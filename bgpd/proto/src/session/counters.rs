//! How many messages a session sent and received, and what befell it.

use crate::wire::HEADER_LEN;

/// Counters of a session since its owner made it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages received, by type: OPEN, UPDATE, NOTIFICATION, KEEPALIVE, ROUTE-REFRESH.
    pub received: [u64; 5],
    /// Messages sent, likewise.
    pub sent: [u64; 5],
    /// Times the session came up.
    pub established: u64,
    /// Attributes that RFC 7606 discarded.
    pub attributes_discarded: u64,
    /// UPDATEs that RFC 7606 treated as withdraw.
    pub treated_as_withdraw: u64,
}

/// Counts whole messages by type, as [`Counters::sent`] does.
pub fn count_messages(messages: &[u8], counts: &mut [u64; 5]) {
    let mut rest = messages;
    while let Some(header) = rest.first_chunk::<HEADER_LEN>() {
        let length = usize::from(u16::from_be_bytes([header[16], header[17]])).max(HEADER_LEN);
        if let Some(count) = counts.get_mut(usize::from(header[18]).wrapping_sub(1)) {
            *count += 1;
        }
        rest = rest.get(length..).unwrap_or_default();
    }
}
