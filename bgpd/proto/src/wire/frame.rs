//! The framer: cuts a byte stream into messages (RFC 4271 section 4.1 and 6.1).

use bytes::Bytes;

use super::notification::HeaderError;
use super::{HEADER_LEN, MAX_MESSAGE_LEN, Notification};

/// Message types (RFC 4271 section 4.1, RFC 2918 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

impl MessageType {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::Open, Self::Update, Self::Notification, Self::Keepalive, Self::RouteRefresh];

    /// The type octet.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8 + 1
    }

    /// The type that this octet names.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// Whether a message of this type may be `length` octets long, header included, where the session allows `max_len`.
    ///
    /// RFC 4271 section 6.1; RFC 8654 section 4 leaves OPEN and KEEPALIVE at 4096 whatever was negotiated. A ROUTE-REFRESH
    /// may be of any length here, because what answers a wrong one depends on what it says (RFC 7313 section 5).
    fn allows(self, length: usize, max_len: usize) -> bool {
        match self {
            Self::Open => (HEADER_LEN + 10..=max_len.min(MAX_MESSAGE_LEN)).contains(&length),
            Self::Update => (HEADER_LEN + 4..=max_len).contains(&length),
            Self::Notification => (HEADER_LEN + 2..=max_len).contains(&length),
            Self::Keepalive => length == HEADER_LEN,
            Self::RouteRefresh => (HEADER_LEN..=max_len).contains(&length),
        }
    }
}

/// One message: its type and what stands behind the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'stream> {
    /// The type octet.
    pub kind: MessageType,
    /// The body, where it was received: nothing is copied.
    pub body: &'stream [u8],
}

impl Frame<'_> {
    /// The message with its header, in memory of its own.
    #[must_use]
    pub fn whole(&self) -> Bytes {
        enclose(self.kind, self.body)
    }
}

/// Takes the first whole message off `stream`; `None` when more bytes are needed.
///
/// A faulty header is noticed as soon as it is there, without waiting for a body that may never come. `max_len` is what
/// the session negotiated, 4096 or 65535; of a stream without a whole message nobody needs to keep more than that.
///
/// # Errors
/// Connection Not Synchronized, Bad Message Length (also against each type's own bounds) or Bad Message Type, with the data RFC 4271 section 6.1 asks for.
pub fn next_frame<'stream>(stream: &mut &'stream [u8], max_len: usize) -> Result<Option<Frame<'stream>>, Notification> {
    let Some(header) = stream.first_chunk::<HEADER_LEN>() else { return Ok(None) };
    if header[..16] != [0xff; 16] {
        return Err(Notification::header(HeaderError::ConnectionNotSynchronized, &[]));
    }
    let (length_octets, code) = ([header[16], header[17]], header[18]);
    let length = usize::from(u16::from_be_bytes(length_octets));
    let bad_length = || Notification::header(HeaderError::BadMessageLength, &length_octets);
    if !(HEADER_LEN..=max_len).contains(&length) {
        return Err(bad_length());
    }
    let Some(kind) = MessageType::from_code(code) else {
        return Err(Notification::header(HeaderError::BadMessageType, &[code]));
    };
    if !kind.allows(length, max_len) {
        return Err(bad_length());
    }
    let Some(message) = stream.split_off(..length) else { return Ok(None) };
    Ok(Some(Frame { kind, body: &message[HEADER_LEN..] }))
}

/// A whole message around `body`.
pub(super) fn enclose(kind: MessageType, body: &[u8]) -> Bytes {
    let mut message = Vec::with_capacity(HEADER_LEN + body.len());
    let start = begin(kind, &mut message);
    message.extend_from_slice(body);
    end(start, &mut message);
    Bytes::from(message)
}

/// Appends a header whose length [`end`] fills in; returns where the message starts.
pub(super) fn begin(kind: MessageType, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0xff; 16]);
    out.extend_from_slice(&[0, 0, kind.code()]);
    start
}

/// Fills in the length of the message that starts at `start` and ends with `out`.
pub(super) fn end(start: usize, out: &mut [u8]) {
    let length = u16::try_from(out.len() - start).unwrap_or(u16::MAX);
    out[start + 16..start + 18].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(length: u16, code: u8, body: usize) -> Vec<u8> {
        [&[0xff; 16][..], &length.to_be_bytes(), &[code], &vec![7; body]].concat()
    }

    #[test]
    fn each_type_has_its_own_bounds() {
        for (code, shortest, longest, extended) in [
            (1, 29u16, 4096u16, 4096u16),
            (2, 23, 4096, 65535),
            (3, 21, 4096, 65535),
            (4, 19, 19, 19),
            (5, 19, 4096, 65535),
        ] {
            for (length, max_len, good) in [
                (shortest, 4096, true),
                (shortest - 1, 4096, false),
                (longest, 4096, true),
                (longest + 1, 4096, false),
                (extended, 65535, true),
                (extended.wrapping_add(1), 65535, false),
            ] {
                let message = message(length, code, usize::from(length).saturating_sub(HEADER_LEN));
                let frame = next_frame(&mut &message[..], max_len);
                if good {
                    assert_eq!(frame.unwrap().unwrap().body.len() + HEADER_LEN, usize::from(length), "type {code}");
                } else {
                    let expected = Notification::header(HeaderError::BadMessageLength, &length.to_be_bytes());
                    assert_eq!(frame.unwrap_err(), expected, "type {code} length {length} of {max_len}");
                }
            }
        }
    }

    #[test]
    fn a_faulty_header_is_answered_before_its_body_comes() {
        for (length, code, data, error) in [
            (0, 2, &[0, 0][..], HeaderError::BadMessageLength),
            (18, 4, &[0, 18], HeaderError::BadMessageLength),
            (4097, 2, &[0x10, 0x01], HeaderError::BadMessageLength),
            (65535, 2, &[0xff, 0xff], HeaderError::BadMessageLength),
            (100, 0, &[0], HeaderError::BadMessageType),
            (100, 6, &[6], HeaderError::BadMessageType),
            (100, 255, &[255], HeaderError::BadMessageType),
        ] {
            let answer = next_frame(&mut &message(length, code, 0)[..], 4096).unwrap_err();
            assert_eq!(answer, Notification::header(error, data), "length {length} type {code}");
        }
    }

    #[test]
    fn every_bit_of_the_marker_counts() {
        for bit in 0..128 {
            let mut message = message(19, 4, 0);
            message[bit / 8] ^= 1 << (bit % 8);
            let answer = next_frame(&mut &message[..], 4096).unwrap_err();
            assert_eq!((answer.code, answer.subcode, answer.data.len()), (1, 1, 0));
        }
    }

    proptest! {
        #[test]
        fn any_segmentation_gives_the_same_frames(
            bodies in prop::collection::vec((0..3usize, 0..300usize), 1..20),
            cuts in prop::collection::vec(1..400usize, 1..50),
        ) {
            let kinds = [MessageType::Update, MessageType::Notification, MessageType::Keepalive];
            let frames: Vec<_> = bodies.iter().map(|&(kind, size)| {
                let size = if kind == 2 { 0 } else { size + 4 };
                (kinds[kind], vec![size as u8; size])
            }).collect();
            let stream: Vec<u8> = frames.iter().flat_map(|(kind, body)| enclose(*kind, body)).collect();

            let (mut buffer, mut seen, mut rest) = (Vec::new(), Vec::new(), &stream[..]);
            for cut in cuts.iter().copied().cycle() {
                let (segment, tail) = rest.split_at(cut.min(rest.len()));
                buffer.extend_from_slice(segment);
                let mut unread = &buffer[..];
                while let Some(frame) = next_frame(&mut unread, 4096).unwrap() {
                    seen.push((frame.kind, frame.body.to_vec()));
                }
                buffer = unread.to_vec();
                rest = tail;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(seen, frames);
            prop_assert!(buffer.is_empty());
        }

        #[test]
        fn random_bytes_are_a_frame_a_fault_or_too_few(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = next_frame(&mut &bytes[..], 4096);
        }
    }
}
