//! An RPKI cache, by RFC 8210 and its sections' words: what it answers, octet by octet.

use std::collections::{BTreeMap, BTreeSet};

use bgp_proto::rtr::Vrp;
use bgp_proto::types::Prefix;

/// How many serials back it can say what has changed.
const REMEMBERED: usize = 4;
/// Section 12.
const NO_DATA: u16 = 2;
const UNSUPPORTED_VERSION: u16 = 4;

/// How a cache is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSpec {
    /// It knows version 0 only (RFC 6810).
    pub old: bool,
    /// It says when there is news (section 5.2).
    pub notifies: bool,
    /// Refresh, retry and expire, in seconds, which version 1 says (section 6).
    pub intervals: [u32; 3],
    /// What its router waits instead of what it says for data to expire, in seconds.
    pub expire: Option<u32>,
}

/// A cache as it runs.
#[derive(Debug)]
pub(crate) struct Cache {
    spec: CacheSpec,
    session: u16,
    serial: u32,
    /// By serial, the newest last; empty: it has nothing yet.
    versions: BTreeMap<u32, BTreeSet<Vrp>>,
}

impl Cache {
    pub(crate) fn new(spec: CacheSpec, session: u16, data: Option<BTreeSet<Vrp>>) -> Self {
        // The next but one is 0: serials go round (section 2, RFC 1982).
        let serial = u32::MAX - 1;
        Self { spec, session, serial, versions: data.map(|data| (serial, data)).into_iter().collect() }
    }

    /// It has something else from now on.
    pub(crate) fn publish(&mut self, data: BTreeSet<Vrp>) {
        self.serial = self.serial.wrapping_add(1);
        self.versions.insert(self.serial, data);
        let (newest, kept) = (self.serial, REMEMBERED as u32);
        self.versions.retain(|serial, _| newest.wrapping_sub(*serial) < kept);
    }

    /// It can no longer say what has changed since when.
    pub(crate) fn forget(&mut self) {
        let newest = self.serial;
        self.versions.retain(|serial, _| *serial == newest);
    }

    pub(crate) fn has_data(&self) -> bool {
        self.versions.contains_key(&self.serial)
    }

    /// Its session, and the newest serial if there is one.
    pub(crate) fn serial(&self) -> Option<(u16, u32)> {
        self.has_data().then_some((self.session, self.serial))
    }

    /// What it says unasked, in the version that was last spoken.
    pub(crate) fn news(&self, version: u8) -> Vec<u8> {
        if self.spec.notifies { pdu(version, 0, self.session, &self.serial.to_be_bytes()) } else { Vec::new() }
    }

    /// What it says to a query, which is whole; `None`: it hangs up. With the version of the query.
    pub(crate) fn answer(&self, query: &[u8]) -> Option<(u8, Vec<u8>)> {
        let [version, kind, session @ ..] = *query.first_chunk::<4>()?;
        if version > 0 && self.spec.old {
            // RFC 8210 section 7.
            return Some((0, error(0, UNSUPPORTED_VERSION, query)));
        }
        let Some(data) = self.versions.get(&self.serial) else {
            return Some((version, error(version, NO_DATA, query)));
        };
        let known = match kind {
            1 => {
                let serial = u32::from_be_bytes(*query.get(8..)?.first_chunk::<4>()?);
                let known = self.versions.get(&serial).filter(|_| u16::from_be_bytes(session) == self.session);
                // Sections 5.9 and 8.2.
                let Some(known) = known else { return Some((version, pdu(version, 8, 0, &[]))) };
                known.clone()
            }
            2 => BTreeSet::new(),
            // What a router reports ends the session (section 5.11).
            _ => return None,
        };
        let mut out = pdu(version, 3, self.session, &[]);
        known.difference(data).for_each(|gone| out.extend(prefix(version, false, gone)));
        data.difference(&known).for_each(|new| out.extend(prefix(version, true, new)));
        let mut end = self.serial.to_be_bytes().to_vec();
        if version > 0 {
            end.extend(self.spec.intervals.iter().flat_map(|seconds| seconds.to_be_bytes()));
        }
        out.extend(pdu(version, 7, self.session, &end));
        Some((version, out))
    }
}

/// Section 5.1: version, type, a field, and the length of the whole.
fn pdu(version: u8, kind: u8, field: u16, rest: &[u8]) -> Vec<u8> {
    let mut out = vec![version, kind];
    out.extend(field.to_be_bytes());
    out.extend((8 + rest.len() as u32).to_be_bytes());
    out.extend(rest);
    out
}

/// Sections 5.6 and 5.7.
fn prefix(version: u8, announce: bool, vrp: &Vrp) -> Vec<u8> {
    let mut rest = vec![u8::from(announce), vrp.prefix().length(), vrp.max_length(), 0];
    let kind = match vrp.prefix() {
        Prefix::V4(prefix) => {
            rest.extend(prefix.address().octets());
            4
        }
        Prefix::V6(prefix) => {
            rest.extend(prefix.address().octets());
            6
        }
    };
    rest.extend(vrp.asn().0.to_be_bytes());
    pdu(version, kind, 0, &rest)
}

/// Section 5.11: what it is about, and no text.
fn error(version: u8, code: u16, about: &[u8]) -> Vec<u8> {
    let mut rest = (about.len() as u32).to_be_bytes().to_vec();
    rest.extend(about);
    rest.extend([0; 4]);
    pdu(version, 10, code, &rest)
}
