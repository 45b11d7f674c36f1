//! An archive of a node: what it is given, octet by octet (RFC 6396, RFC 8050), as the tables that it comes to.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bgp_proto::types::{Family, FamilySet, PathId, Prefix};

use crate::replay::{Table, apply};

/// Time, type, subtype and length.
const HEADER: usize = 12;
/// A header of BGP without its marker's end: 19 octets, then what an UPDATE has (RFC 4271 section 4.3).
const MARKER: [u8; 16] = [0xff; 16];

/// Octets that are taken from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, octets: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(octets).ok_or_else(|| format!("{octets} of {}", self.0.len()))?;
        self.0 = rest;
        Ok(taken)
    }

    /// Big-endian.
    fn number(&mut self, octets: usize) -> Result<usize, String> {
        Ok(self.take(octets)?.iter().fold(0, |number, octet| number << 8 | usize::from(*octet)))
    }

    fn address(&mut self, v6: bool) -> Result<IpAddr, String> {
        let octets = self.take(if v6 { 16 } else { 4 })?;
        let v4 = <[u8; 4]>::try_from(octets).map(|octets| IpAddr::V4(Ipv4Addr::from(octets)));
        v4.or_else(|_| <[u8; 16]>::try_from(octets).map(|octets| IpAddr::V6(Ipv6Addr::from(octets))))
            .map_err(|error| error.to_string())
    }
}

/// A record: its type, its subtype, and what is in it.
type Record<'a> = (usize, usize, Reader<'a>);

fn records(octets: &[u8]) -> Result<Vec<Record<'_>>, String> {
    let (mut reader, mut records) = (Reader(octets), Vec::new());
    while !reader.0.is_empty() {
        let mut header = Reader(reader.take(HEADER)?);
        let (_time, kind, subtype, length) =
            (header.number(4)?, header.number(2)?, header.number(2)?, header.number(4)?);
        records.push((kind, subtype, Reader(reader.take(length)?)));
    }
    Ok(records)
}

/// What peers have sent, as a file of updates says.
#[derive(Debug, Default)]
pub(crate) struct Updates {
    /// Of those that are up, by address.
    pub(crate) peers: BTreeMap<IpAddr, Table>,
}

impl Updates {
    /// Takes whole records.
    pub(crate) fn hear(&mut self, octets: &[u8]) -> Result<(), String> {
        for (kind, subtype, mut record) in records(octets)? {
            if kind != 16 {
                return Err(format!("type {kind} in a file of updates"));
            }
            let (_peer_as, _local_as, _interface) = (record.number(4)?, record.number(4)?, record.number(2)?);
            let v6 = match record.number(2)? {
                1 => false,
                2 => true,
                other => return Err(format!("address family {other}")),
            };
            let (peer, _local) = (record.address(v6)?, record.address(v6)?);
            match subtype {
                5 => self.change(peer, record.number(2)?, record.number(2)?)?,
                4 | 9 => {
                    let table = self.peers.get_mut(&peer).ok_or_else(|| format!("{peer}, which is not up, sends"))?;
                    let identified = if subtype == 9 { all() } else { FamilySet::EMPTY };
                    apply(table, identified, record.0)?;
                }
                other => return Err(format!("subtype {other}")),
            }
        }
        Ok(())
    }

    fn change(&mut self, peer: IpAddr, old: usize, new: usize) -> Result<(), String> {
        let was_up = match new {
            6 => self.peers.insert(peer, Table::new()).is_some(),
            _ => self.peers.remove(&peer).is_some(),
        };
        if was_up == (old == 6) {
            Ok(())
        } else {
            Err(format!("{peer} goes from {old} to {new}, and was up: {was_up}"))
        }
    }
}

fn all() -> FamilySet {
    Family::ALL.into_iter().collect()
}

/// What a dump of a table says, by address of the peer, for those who have paths.
pub(crate) fn table(octets: &[u8]) -> Result<BTreeMap<IpAddr, Table>, String> {
    let mut peers = Vec::new();
    let mut tables: BTreeMap<IpAddr, Table> = BTreeMap::new();
    for (number, (kind, subtype, record)) in records(octets)?.into_iter().enumerate() {
        match (kind, subtype, number) {
            (13, 1, 0) => peers = index(record)?,
            (13, 2 | 4 | 8 | 10, 1..) => {
                let (v6, identified) = (subtype == 4 || subtype == 10, subtype >= 8);
                prefix(record, v6, identified, number - 1, &peers, &mut tables)?;
            }
            other => return Err(format!("type, subtype and place {other:?} in a table")),
        }
    }
    Ok(tables)
}

/// `PEER_INDEX_TABLE` (RFC 6396 section 4.3.1).
fn index(mut record: Reader<'_>) -> Result<Vec<IpAddr>, String> {
    let (_collector, view) = (record.number(4)?, record.number(2)?);
    record.take(view)?;
    let count = record.number(2)?;
    let mut peers = Vec::new();
    for _ in 0..count {
        let kind = record.number(1)?;
        let _identifier = record.number(4)?;
        peers.push(record.address(kind & 1 != 0)?);
        record.take(if kind & 2 != 0 { 4 } else { 2 })?;
    }
    if record.0.is_empty() { Ok(peers) } else { Err(format!("{} octets behind the peers", record.0.len())) }
}

/// The paths to one prefix (RFC 6396 section 4.3.2, RFC 8050 section 4).
fn prefix(
    mut record: Reader<'_>,
    v6: bool,
    identified: bool,
    number: usize,
    peers: &[IpAddr],
    tables: &mut BTreeMap<IpAddr, Table>,
) -> Result<(), String> {
    let sequence = record.number(4)?;
    if sequence != number {
        return Err(format!("record {number} says that it is {sequence}"));
    }
    let start = record.0;
    let length = record.number(1)?;
    record.take(length.div_ceil(8))?;
    let nlri = &start[..1 + length.div_ceil(8)];
    for _ in 0..record.number(2)? {
        let (peer, _since) = (record.number(2)?, record.number(4)?);
        let id = if identified { record.number(4)? } else { 0 };
        let length = record.number(2)?;
        let attributes = record.take(length)?;
        let peer = peers.get(peer).ok_or_else(|| format!("a path of peer {peer} of {}", peers.len()))?;
        let mut one = Table::new();
        apply(&mut one, FamilySet::EMPTY, &update(attributes, nlri, v6)?)?;
        for ((prefix, _), attributes) in one {
            let path: (Prefix, PathId) = (prefix, PathId(id as u32));
            if tables.entry(*peer).or_default().insert(path, attributes).is_some() {
                return Err(format!("{peer} has {path:?} twice"));
            }
        }
    }
    if record.0.is_empty() { Ok(()) } else { Err(format!("{} octets behind the paths", record.0.len())) }
}

/// The UPDATE that would announce the prefix with the attributes, of which MP_REACH_NLRI has its next hop alone (RFC 6396 section
/// 4.3.4).
fn update(attributes: &[u8], nlri: &[u8], v6: bool) -> Result<Vec<u8>, String> {
    let (mut reader, mut whole, mut reached) = (Reader(attributes), Vec::new(), false);
    while !reader.0.is_empty() {
        let (flags, code) = (reader.number(1)?, reader.number(1)?);
        let length = reader.number(if flags & 0x10 == 0 { 1 } else { 2 })?;
        let mut value = reader.take(length)?.to_vec();
        if code == 14 {
            reached = true;
            value = [&[0, if v6 { 2 } else { 1 }, 1][..], &value, &[0], nlri].concat();
        }
        whole.extend([flags as u8 | 0x10, code as u8]);
        whole.extend((value.len() as u16).to_be_bytes());
        whole.extend(value);
    }
    let classic = if reached { &[] } else { nlri };
    let mut message = MARKER.to_vec();
    message.extend(((23 + whole.len() + classic.len()) as u16).to_be_bytes());
    message.extend([2, 0, 0]);
    message.extend((whole.len() as u16).to_be_bytes());
    message.extend(whole);
    message.extend(classic);
    Ok(message)
}
