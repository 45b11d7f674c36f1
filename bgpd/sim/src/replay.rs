//! A monitoring station: what it is told, octet by octet (RFC 7854, RFC 9069), as the tables that it comes to.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bgp_proto::types::{Family, FamilySet, NextHop, PathId, Prefix};
use bgp_proto::wire::attributes::Attributes;
use bgp_proto::wire::capability::Capability;
use bgp_proto::wire::frame::next_frame;
use bgp_proto::wire::{Message, Open, UpdateContext};

/// Common header, and the per-peer header behind it (RFC 7854 sections 4.1 and 4.2).
const COMMON: usize = 6;
const PER_PEER: usize = 42;
/// Local address and both ports (section 4.10).
const CONNECTION: usize = 20;
/// The longest message of BGP.
const LONGEST: usize = 65535;

/// What stands for the next hop of what a node originates, which is none, and which nobody may send to a peer: the parser takes it
/// for a fault.
const STAND_IN: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 254);
const STAND_IN6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0xfe);

/// Paths by prefix and identifier.
pub(crate) type Table = BTreeMap<(Prefix, PathId), Attributes>;

/// What a station knows of a peer.
#[derive(Debug, Default)]
pub(crate) struct Monitored {
    /// Families in which it sends path identifiers.
    add_path: FamilySet,
    /// As it sent it, and behind the policy.
    pub(crate) before: Table,
    pub(crate) behind: Table,
}

/// What a station knows.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    pub(crate) peers: BTreeMap<IpAddr, Monitored>,
    /// `None`: it was not said that there is one.
    pub(crate) loc_rib: Option<Table>,
}

impl Replay {
    /// Takes whole messages.
    pub(crate) fn hear(&mut self, mut messages: &[u8]) -> Result<(), String> {
        while !messages.is_empty() {
            let (Some(header), true) = (messages.first_chunk::<COMMON>(), messages[0] == 3) else {
                return Err(format!("no message of BMP: {messages:02x?}"));
            };
            let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
            let kind = header[5];
            let Some((message, rest)) = messages.split_at_checked(length) else {
                return Err(format!("a message says that it has {length} octets, of {}", messages.len()));
            };
            self.take(kind, &message[COMMON..])?;
            messages = rest;
        }
        Ok(())
    }

    fn take(&mut self, kind: u8, body: &[u8]) -> Result<(), String> {
        if kind > 3 {
            // Initiation and Termination.
            return Ok(());
        }
        let Some((peer, rest)) = body.split_at_checked(PER_PEER) else { return Err("no per-peer header".to_owned()) };
        let (of_loc_rib, flags) = (peer[0] == 3, peer[1]);
        let address = address(peer, flags & 0x80 != 0);
        match kind {
            0 if of_loc_rib => {
                let table = self.loc_rib.as_mut().ok_or("a route of a Loc-RIB that was not announced")?;
                apply(table, FamilySet::EMPTY, rest)
            }
            0 => {
                let known =
                    self.peers.get_mut(&address).ok_or_else(|| format!("a route of {address}, which is not up"))?;
                let table = if flags & 0x40 == 0 { &mut known.before } else { &mut known.behind };
                apply(table, known.add_path, rest)
            }
            2 => {
                let gone = self.peers.remove(&address);
                gone.map(drop).ok_or_else(|| format!("{address} is down, and it was not up"))
            }
            3 if of_loc_rib => {
                self.loc_rib = Some(Table::new());
                Ok(())
            }
            3 => {
                let opens = opens(rest.get(CONNECTION..).unwrap_or_default())?;
                let known = Monitored { add_path: identified(&opens), ..Monitored::default() };
                match self.peers.insert(address, known) {
                    Some(_) => Err(format!("{address} is up a second time")),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

fn address(header: &[u8], v6: bool) -> IpAddr {
    let octets: [u8; 16] = header[10..26].try_into().unwrap_or_default();
    let [.., a, b, c, d] = octets;
    if v6 { Ipv6Addr::from(octets).into() } else { Ipv4Addr::new(a, b, c, d).into() }
}

/// Ours, and the peer's.
fn opens(mut messages: &[u8]) -> Result<[Open; 2], String> {
    let mut open = || match next_frame(&mut messages, LONGEST) {
        Ok(Some(frame)) => match Message::parse(frame, &context(FamilySet::EMPTY)) {
            Ok(Message::Open(open)) => Ok(open),
            other => Err(format!("{other:?} in place of an OPEN")),
        },
        other => Err(format!("{other:?} in place of an OPEN")),
    };
    Ok([open()?, open()?])
}

/// RFC 7911 section 4: families in which the peer sends path identifiers and we take them.
fn identified([ours, theirs]: &[Open; 2]) -> FamilySet {
    let said = |open: &Open, family: Family, what: fn(&bgp_proto::wire::capability::AddPath) -> bool| {
        open.capabilities.iter().any(|capability| match capability {
            Capability::AddPath(families) => families.iter().any(|(of, both)| *of == family && what(both)),
            _ => false,
        })
    };
    let identified =
        |family: &Family| said(ours, *family, |said| said.receive) && said(theirs, *family, |said| said.send);
    Family::ALL.into_iter().filter(identified).collect()
}

fn context(add_path: FamilySet) -> UpdateContext {
    let all: FamilySet = Family::ALL.into_iter().collect();
    UpdateContext {
        four_octet_as: true,
        external: false,
        families: all,
        add_path,
        extended_next_hop: all,
        link: None,
        max_message_len: LONGEST,
    }
}

/// Of an UPDATE: header, withdrawn prefixes with their length, attributes with theirs (RFC 4271 section 4.3).
fn stand_in(message: &mut [u8]) -> Option<()> {
    let number = |octets: &[u8]| octets.iter().fold(0, |number, octet| number << 8 | usize::from(*octet));
    let attributes = 23 + number(message.get(19..21)?);
    let length = number(message.get(attributes - 2..attributes)?);
    let mut rest = message.get_mut(attributes..attributes + length)?;
    while let [flags, code, ..] = *rest {
        let header = if flags & 0x10 == 0 { 3 } else { 4 };
        let length = number(rest.get(2..header)?);
        let (attribute, behind) = rest.split_at_mut_checked(header + length)?;
        let value = &mut attribute[header..];
        match (code, value.len()) {
            (3, 4) if value == [0; 4] => value.copy_from_slice(&STAND_IN.octets()),
            // Behind family and length.
            (14, 20..) if value[3] == 16 && value[4..20] == [0; 16] => {
                value[4..20].copy_from_slice(&STAND_IN6.octets())
            }
            _ => {}
        }
        rest = behind;
    }
    Some(())
}

pub(crate) fn apply(table: &mut Table, add_path: FamilySet, message: &[u8]) -> Result<(), String> {
    let mut message = message.to_vec();
    stand_in(&mut message).ok_or("no UPDATE")?;
    let frame = next_frame(&mut &message[..], LONGEST).ok().flatten().ok_or("no message of BGP")?;
    let update = match Message::parse(frame, &context(add_path)) {
        Ok(Message::Update(update)) if update.faults.is_empty() => update,
        other => return Err(format!("{other:?} in place of an UPDATE without faults")),
    };
    for nlri in &update.withdrawn {
        table.remove(&(nlri.prefix, nlri.path_id));
    }
    for announcement in &update.announced {
        for nlri in &announcement.nlri {
            let mut attributes = (*announcement.attributes).clone();
            attributes.next_hop = match attributes.next_hop {
                NextHop::V4(STAND_IN) => NextHop::V4(Ipv4Addr::UNSPECIFIED),
                NextHop::V6 { global: STAND_IN6, .. } => {
                    NextHop::V6 { global: Ipv6Addr::UNSPECIFIED, link_local: None }
                }
                other => other,
            };
            table.insert((nlri.prefix, nlri.path_id), attributes);
        }
    }
    Ok(())
}
