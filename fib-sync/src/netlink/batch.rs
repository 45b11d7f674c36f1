//! Requests packed one behind the other in one send, and the kernel's answers sorted back to them.

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_REQUEST, NetlinkBuffer, NetlinkSerializable, NlaBuffer, NlasIterator,
};
use netlink_packet_route::RouteNetlinkMessage;

/// Octets of a netlink header (linux/netlink.h, `struct nlmsghdr`).
const HEADER: usize = 16;
/// Message type of an error or acknowledgement.
pub(super) const NLMSG_ERROR: u16 = 2;
/// Message type that ends a dump.
pub(super) const NLMSG_DONE: u16 = 3;
/// Extended acknowledgement: the kernel's words (linux/netlink.h, NLMSGERR_ATTR_MSG).
const ATTR_MESSAGE: u16 = 1;

/// One request and its flags, without those that every request has.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) message: RouteNetlinkMessage,
    pub(crate) flags: u16,
}

/// The kernel's refusal of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Error number, positive.
    pub(crate) errno: i32,
    /// The kernel's own words; often empty.
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn error(&self) -> std::io::Error {
        std::io::Error::from_raw_os_error(self.errno)
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.message.is_empty() {
            write!(f, "{}", self.error())
        } else {
            write!(f, "{} ({})", self.message.trim_end_matches('.'), self.error())
        }
    }
}

/// A message as octets: its type and what follows the netlink header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: u16,
    pub(crate) payload: Vec<u8>,
}

impl Message {
    pub(crate) fn new(message: &RouteNetlinkMessage) -> Message {
        let mut payload = vec![0; message.buffer_len()];
        message.serialize(&mut payload);
        Message { kind: message.message_type(), payload }
    }
}

/// Octets of one send; below the default send buffer of 208 KiB.
const SEND: usize = 64 << 10;
/// Requests of one send: each may be answered by an error of about 1 KiB of buffer.
const LIMIT: usize = 512;

/// Requests that leave in one send.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    count: usize,
    /// Where the last one begins.
    last: usize,
}

impl Batch {
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Nothing more should be added.
    pub(crate) fn is_full(&self) -> bool {
        self.count == LIMIT || self.bytes.len() > SEND - 4096
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        (self.count, self.last) = (0, 0);
    }

    /// Adds a request; `flags` are those that not every request has. Returns its payload, to be filled in.
    pub(crate) fn push(&mut self, kind: u16, flags: u16, payload: &[u8]) -> &mut [u8] {
        self.last = self.bytes.len();
        let length = HEADER + payload.len();
        self.bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 8]);
        let start = self.bytes.len();
        self.bytes.extend_from_slice(payload);
        self.bytes.resize(self.last + length.next_multiple_of(4), 0);
        self.count += 1;
        &mut self.bytes[start..start + payload.len()]
    }

    pub(crate) fn push_request(&mut self, request: &Request) {
        let Message { kind, payload } = Message::new(&request.message);
        self.push(kind, request.flags, &payload);
    }

    /// Numbers the requests from `first` on; with `acknowledge`, the last one asks for an answer. Returns the octets.
    pub(super) fn seal(&mut self, first: u32, acknowledge: bool) -> &[u8] {
        let (mut at, mut sequence) = (0, first);
        while at < self.bytes.len() {
            let acknowledge = acknowledge && at == self.last;
            let mut header = NetlinkBuffer::new(&mut self.bytes[at..]);
            header.set_sequence_number(sequence);
            if acknowledge {
                header.set_flags(header.flags() | NLM_F_ACK);
            }
            at += (header.length() as usize).next_multiple_of(4);
            sequence = sequence.wrapping_add(1);
        }
        &self.bytes
    }
}

/// One message of an answer: its type, flags, sequence number, sender and payload.
pub(crate) struct Answer<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) port: u32,
    pub(crate) payload: &'a [u8],
}

/// Cuts a datagram into messages; stops at the first that is cut short.
pub(super) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Answer<'_>> {
    std::iter::from_fn(move || {
        // Behind the last message. `new_checked` would refuse that too, with a text that somebody has to write.
        if bytes.is_empty() {
            return None;
        }
        let buffer = NetlinkBuffer::new_checked(bytes).ok()?;
        let length = buffer.length() as usize;
        let answer = Answer {
            kind: buffer.message_type(),
            flags: buffer.flags(),
            sequence: buffer.sequence_number(),
            port: buffer.port_number(),
            payload: &bytes[HEADER..length],
        };
        bytes = &bytes[length.next_multiple_of(4).min(bytes.len())..];
        Some(answer)
    })
}

/// What an NLMSG_ERROR says: `Ok` is an acknowledgement. The original request's header lies between the number and the
/// attributes; its payload too, unless the socket asked to be spared it (NETLINK_CAP_ACK). Or what an NLMSG_DONE says, in which
/// nothing lies between them: `Ok` is the whole of a table.
pub(super) fn verdict(answer: &Answer<'_>) -> Result<(), Refusal> {
    let Some((number, rest)) = answer.payload.split_first_chunk::<4>() else {
        return Err(Refusal { errno: libc::EBADMSG, message: "a cut-off netlink error".into() });
    };
    let errno = i32::from_ne_bytes(*number).saturating_neg();
    if errno == 0 {
        return Ok(());
    }
    let mut message = String::new();
    if answer.flags & NLM_F_ACK_TLVS != 0 {
        let length = rest.first_chunk::<4>().map_or(0, |bytes| u32::from_ne_bytes(*bytes) as usize);
        let skip = match answer.kind {
            NLMSG_DONE => 0,
            _ if answer.flags & NLM_F_CAPPED != 0 => HEADER,
            _ => length.next_multiple_of(4).max(HEADER),
        };
        for attribute in NlasIterator::new(rest.get(skip..).unwrap_or_default()).map_while(Result::ok) {
            if NlaBuffer::kind(&attribute) == ATTR_MESSAGE {
                message = String::from_utf8_lossy(attribute.value()).trim_end_matches('\0').to_owned();
            }
        }
    }
    Err(Refusal { errno, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(number: i32, flags: u16, tail: &[u8]) -> Vec<u8> {
        said(NLMSG_ERROR, number, flags, tail)
    }

    fn said(kind: u16, number: i32, flags: u16, tail: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        bytes.extend(number.to_ne_bytes());
        bytes.extend(tail);
        let length = bytes.len() as u32;
        let mut header = NetlinkBuffer::new(&mut bytes);
        header.set_length(length);
        header.set_message_type(kind);
        header.set_flags(flags);
        header.set_sequence_number(7);
        bytes
    }

    #[test]
    fn an_error_number_of_zero_is_an_acknowledgement() {
        let bytes = error(0, 0, &[0; HEADER]);
        let answer = messages(&bytes).next().expect("one message");
        assert_eq!((answer.sequence, verdict(&answer)), (7, Ok(())));
    }

    #[test]
    fn the_kernels_words_are_found_behind_a_capped_request() {
        let mut tail = vec![0; HEADER];
        tail.extend(9u16.to_ne_bytes());
        tail.extend(ATTR_MESSAGE.to_ne_bytes());
        tail.extend(b"nope\0\0\0\0");
        let bytes = error(-22, NLM_F_ACK_TLVS | NLM_F_CAPPED, &tail);
        let answer = messages(&bytes).next().expect("one message");
        assert_eq!(verdict(&answer), Err(Refusal { errno: 22, message: "nope".into() }));
    }

    #[test]
    fn a_table_that_ends_with_an_error_is_not_whole() {
        let mut tail = 9u16.to_ne_bytes().to_vec();
        tail.extend(ATTR_MESSAGE.to_ne_bytes());
        tail.extend(b"nope\0\0\0\0");
        for (number, flags, whole) in [(0, 0, true), (-12, NLM_F_ACK_TLVS, false)] {
            let bytes = said(NLMSG_DONE, number, flags, &tail);
            let answer = messages(&bytes).next().expect("one message");
            let refusal = Refusal { errno: 12, message: "nope".into() };
            assert_eq!(verdict(&answer), if whole { Ok(()) } else { Err(refusal) });
        }
    }

    #[test]
    fn an_answer_cut_anywhere_neither_panics_nor_loops() {
        let mut whole = error(-17, NLM_F_ACK_TLVS, &[0xff; 40]);
        whole.extend(error(0, 0, &[]));
        for end in 0..whole.len() {
            for answer in messages(&whole[..end]) {
                let _ = verdict(&answer);
            }
        }
    }
}
