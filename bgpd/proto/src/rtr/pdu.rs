//! The PDUs of RPKI-RTR (RFC 8210 section 5; version 0, RFC 6810, differs in End of Data and has no Router Key).
//!
//! No-panic contract: any bytes at all are a PDU, a fault or too few; memory is bounded by `MAX_PDU_LEN`.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

use super::vrp::Vrp;
use crate::types::{Asn, Ipv4Prefix, Ipv6Prefix, Prefix};

/// Version, type, a field of two octets, and the length of the whole.
const HEADER_LEN: usize = 8;
/// The longest PDU that is read: Error Reports and Router Keys have no bound of their own.
pub(super) const MAX_PDU_LEN: usize = 64 * 1024;

/// The protocol's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// RFC 6810
    V0,
    /// RFC 8210
    V1,
}

impl Version {
    fn from_octet(octet: u8) -> Option<Self> {
        [Self::V0, Self::V1].into_iter().find(|version| *version as u8 == octet)
    }
}

/// What an Error Report says (RFC 8210 section 12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub u16);

impl ErrorCode {
    /// 0
    pub const CORRUPT_DATA: Self = Self(0);
    /// 1
    pub const INTERNAL_ERROR: Self = Self(1);
    /// 2: the one that ends nothing.
    pub const NO_DATA_AVAILABLE: Self = Self(2);
    /// 4
    pub const UNSUPPORTED_VERSION: Self = Self(4);
    /// 5
    pub const UNSUPPORTED_PDU: Self = Self(5);
    /// 6
    pub const UNKNOWN_WITHDRAWAL: Self = Self(6);
    /// 7
    pub const DUPLICATE_ANNOUNCEMENT: Self = Self(7);
    /// 8
    pub const UNEXPECTED_VERSION: Self = Self(8);
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            0 => "Corrupt Data",
            1 => "Internal Error",
            2 => "No Data Available",
            3 => "Invalid Request",
            4 => "Unsupported Protocol Version",
            5 => "Unsupported PDU Type",
            6 => "Withdrawal of Unknown Record",
            7 => "Duplicate Announcement Received",
            8 => "Unexpected Protocol Version",
            other => return write!(f, "error {other}"),
        })
    }
}

/// A PDU, without its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pdu {
    /// 0: the cache has news.
    SerialNotify {
        /// The cache's session.
        session: u16,
        /// The newest serial.
        serial: u32,
    },
    /// 1: what has changed since this serial?
    SerialQuery {
        /// The session that the serial is of.
        session: u16,
        /// What we have.
        serial: u32,
    },
    /// 2: everything, please.
    ResetQuery,
    /// 3: an answer begins.
    CacheResponse {
        /// The cache's session.
        session: u16,
    },
    /// 4 and 6.
    Prefix {
        /// Announced, or withdrawn.
        announce: bool,
        /// What.
        vrp: Vrp,
    },
    /// 7: an answer ends.
    EndOfData {
        /// The cache's session.
        session: u16,
        /// What we have from now on.
        serial: u32,
        /// Refresh, retry and expire; version 1 only.
        timers: Option<[Duration; 3]>,
    },
    /// 8: the cache cannot tell what has changed.
    CacheReset,
    /// 9: a key for BGPsec, which is read over.
    RouterKey,
    /// 10
    Error {
        /// What.
        code: ErrorCode,
        /// For people; what is no UTF-8 is replaced.
        text: String,
    },
}

/// A PDU that is none, and what to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PduFault {
    /// For the Error Report.
    pub code: ErrorCode,
    /// For people.
    pub why: &'static str,
    /// The start of the offending PDU.
    pub pdu: Bytes,
}

/// Takes the first whole PDU off `buffer`, with its version; `None` when more bytes are needed.
///
/// # Errors
/// The session ends with it.
pub fn next_pdu(buffer: &mut BytesMut) -> Result<Option<(Version, Pdu)>, PduFault> {
    let Some(header) = buffer.first_chunk::<HEADER_LEN>() else { return Ok(None) };
    let [version, kind, a, b, length @ ..] = *header;
    let (field, length) = (u16::from_be_bytes([a, b]), u32::from_be_bytes(length) as usize);
    let start = Bytes::copy_from_slice(header);
    let fault = |code, why| Err(PduFault { code, why, pdu: start.clone() });
    let Some(version) = Version::from_octet(version) else {
        return fault(ErrorCode::UNSUPPORTED_VERSION, "a version other than 0 and 1");
    };
    let allowed = match (kind, version) {
        (0 | 1, _) => 12..=12,
        (2 | 3 | 8, _) => 8..=8,
        (4, _) => 20..=20,
        (6, _) => 32..=32,
        (7, Version::V0) => 12..=12,
        (7, Version::V1) => 24..=24,
        (9, Version::V1) => 32..=MAX_PDU_LEN,
        (10, _) => 16..=MAX_PDU_LEN,
        _ => return fault(ErrorCode::UNSUPPORTED_PDU, "a PDU of an unknown type"),
    };
    if !allowed.contains(&length) {
        return fault(ErrorCode::CORRUPT_DATA, "a PDU whose length its type does not have");
    }
    if buffer.len() < length {
        return Ok(None);
    }
    let whole = buffer.split_to(length).freeze();
    match body(version, kind, field, whole.slice(HEADER_LEN..)) {
        Some(pdu) => Ok(Some((version, pdu))),
        None => Err(PduFault { code: ErrorCode::CORRUPT_DATA, why: "a PDU that contradicts itself", pdu: whole }),
    }
}

/// `body` is as long as the type asks for.
fn body(version: Version, kind: u8, field: u16, mut body: Bytes) -> Option<Pdu> {
    Some(match kind {
        0 => Pdu::SerialNotify { session: field, serial: body.get_u32() },
        1 => Pdu::SerialQuery { session: field, serial: body.get_u32() },
        2 => Pdu::ResetQuery,
        3 => Pdu::CacheResponse { session: field },
        4 | 6 => {
            let (flags, length, max_length) = (body.get_u8(), body.get_u8(), body.get_u8());
            body.advance(1);
            let prefix = match kind {
                4 => Ipv4Prefix::new(Ipv4Addr::from(body.get_u32()), length).map(Prefix::V4),
                _ => Ipv6Prefix::new(Ipv6Addr::from(body.get_u128()), length).map(Prefix::V6),
            };
            let vrp = Vrp::new(prefix?, max_length, Asn(body.get_u32()))?;
            // RFC 8210 section 5.6: the other bits are reserved, and ignored on receipt.
            Pdu::Prefix { announce: flags & 1 == 1, vrp }
        }
        7 => {
            let serial = body.get_u32();
            let mut seconds = || Duration::from_secs(u64::from(body.get_u32()));
            let timers = (version == Version::V1).then(|| [seconds(), seconds(), seconds()]);
            Pdu::EndOfData { session: field, serial, timers }
        }
        8 => Pdu::CacheReset,
        9 => Pdu::RouterKey,
        _ => {
            let enclosed = body.get_u32() as usize;
            let rest = body.get(enclosed..)?;
            let (length, text) = rest.split_first_chunk::<4>()?;
            let text = text.get(..u32::from_be_bytes(*length) as usize)?;
            Pdu::Error { code: ErrorCode(field), text: String::from_utf8_lossy(text).into_owned() }
        }
    })
}

impl Pdu {
    /// The PDU on the wire. A Router Key, which nobody here sends, is nothing.
    #[must_use]
    pub fn encode(&self, version: Version) -> Bytes {
        let mut out = Vec::with_capacity(32);
        match self {
            Self::SerialNotify { session, serial } => put(&mut out, version, 0, *session, &[&serial.to_be_bytes()]),
            Self::SerialQuery { session, serial } => put(&mut out, version, 1, *session, &[&serial.to_be_bytes()]),
            Self::ResetQuery => put(&mut out, version, 2, 0, &[]),
            Self::CacheResponse { session } => put(&mut out, version, 3, *session, &[]),
            Self::Prefix { announce, vrp } => {
                let asn = vrp.asn().0.to_be_bytes();
                let fixed = [u8::from(*announce), vrp.prefix().length(), vrp.max_length(), 0];
                match vrp.prefix() {
                    Prefix::V4(prefix) => put(&mut out, version, 4, 0, &[&fixed, &prefix.address().octets(), &asn]),
                    Prefix::V6(prefix) => put(&mut out, version, 6, 0, &[&fixed, &prefix.address().octets(), &asn]),
                }
            }
            Self::EndOfData { session, serial, timers } => {
                let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX).to_be_bytes();
                let timers = timers.filter(|_| version == Version::V1).map(|timers| timers.map(seconds).concat());
                let timers = timers.unwrap_or_default();
                put(&mut out, version, 7, *session, &[&serial.to_be_bytes(), &timers]);
            }
            Self::CacheReset => put(&mut out, version, 8, 0, &[]),
            Self::RouterKey => {}
            Self::Error { code, text } => return error_report(version, *code, &[], text),
        }
        Bytes::from(out)
    }
}

/// An Error Report with the PDU that it is about (RFC 8210 section 5.11); `pdu` and `text` are cut where they are long.
pub(super) fn error_report(version: Version, code: ErrorCode, pdu: &[u8], text: &str) -> Bytes {
    let pdu = &pdu[..pdu.len().min(1024)];
    let cut = (0..=text.len().min(1024)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    let text = &text.as_bytes()[..cut];
    let (enclosed, length) = ((pdu.len() as u32).to_be_bytes(), (text.len() as u32).to_be_bytes());
    let mut out = Vec::with_capacity(64);
    put(&mut out, version, 10, code.0, &[&enclosed, pdu, &length, text]);
    Bytes::from(out)
}

fn put(out: &mut Vec<u8>, version: Version, kind: u8, field: u16, parts: &[&[u8]]) {
    let length = HEADER_LEN + parts.iter().map(|part| part.len()).sum::<usize>();
    out.extend_from_slice(&[version as u8, kind]);
    out.extend_from_slice(&field.to_be_bytes());
    out.extend_from_slice(&(length as u32).to_be_bytes());
    parts.iter().for_each(|part| out.extend_from_slice(part));
}
