//! What an archive holds of the node: records of MRT (RFC 6396, RFC 8050), of what peers send as it comes and of the table at a moment.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::{What, Witness, each_message};
use crate::mrt::{self, Ends, Entry, IndexedPeer, MOST};
use crate::rib::{Held, KnownPeer};
use crate::session::State;
use crate::types::{Asn, Family, FamilySet, PeerId, RouterId};

/// The records of what there is to tell, if it is a session's or before its policy. `at`: since the epoch.
#[must_use]
pub fn records(at: Duration, what: &What) -> Vec<u8> {
    let time = seconds(at);
    match what {
        What::Up(of) => mrt::state_change(time, &ends(of), State::OpenConfirm, State::Established),
        What::Down(of, _) => mrt::state_change(time, &ends(of), State::Established, State::Idle),
        What::Updates { of: Some(of), messages, .. } => {
            let record = |message| mrt::message(time, &ends(of), has_path_ids(of, message), message);
            each_message(messages).flat_map(record).collect()
        }
        What::Updates { of: None, .. } | What::Told => Vec::new(),
    }
}

/// Whose tables are dumped, and when.
#[derive(Debug)]
pub struct Peers<'a> {
    /// Since the epoch.
    pub at: Duration,
    /// The same moment, in the seconds that [`Held::since`] counts.
    pub now_seconds: u32,
    /// Our BGP Identifier.
    pub router_id: RouterId,
    /// Our AS.
    pub local_as: Asn,
    /// Every peer of the RIB.
    pub known: &'a [KnownPeer],
    /// Those with a session.
    pub up: &'a [Arc<Witness>],
}

/// A table that is being dumped: first its list of peers, then each page.
#[derive(Debug)]
pub struct TableDump {
    places: HashMap<PeerId, u16>,
    add_path: HashMap<PeerId, FamilySet>,
    sequence: u32,
    at: u32,
    now_seconds: u32,
}

impl TableDump {
    /// Begins one, with its first record.
    #[must_use]
    pub fn begin(of: &Peers<'_>) -> (Self, Vec<u8>) {
        // The speaker itself comes first, for what it originates.
        let mut peers = vec![IndexedPeer { router_id: of.router_id, address: [0, 0, 0, 0].into(), asn: of.local_as }];
        let mut places = HashMap::from([(PeerId::LOCAL, 0)]);
        let mut add_path = HashMap::new();
        for KnownPeer { id, address, router_id } in of.known.iter().take(MOST - 1) {
            let witness = of.up.iter().find(|witness| witness.peer == *id);
            places.insert(*id, peers.len() as u16);
            let asn = witness.map_or(Asn(0), |witness| witness.established.remote_as);
            peers.push(IndexedPeer { router_id: *router_id, address: *address, asn });
            add_path.insert(*id, witness.map_or(FamilySet::EMPTY, |witness| witness.established.receive.add_path));
        }
        let at = seconds(of.at);
        let index = mrt::peer_index_table(at, of.router_id, "", &peers);
        (Self { places, add_path, sequence: 0, at, now_seconds: of.now_seconds }, index)
    }

    /// The records of a page: what was accepted, as the import filter left it.
    pub fn page(&mut self, page: &[Held], out: &mut Vec<u8>) {
        for paths in page.chunk_by(|one, other| one.nlri.prefix == other.nlri.prefix) {
            let prefix = paths[0].nlri.prefix;
            let with_ids = |held: &Held| {
                let families = self.add_path.get(&held.peer).copied().unwrap_or_default();
                families.contains(prefix.family()) || held.nlri.path_id.0 != 0
            };
            // A record has path identifiers for all of its entries or for none.
            for add_path in [false, true] {
                let of = paths.iter().filter(|held| with_ids(held) == add_path);
                let entries: Vec<Entry<'_>> = of.filter_map(|held| self.entry(held)).collect();
                if !entries.is_empty() {
                    out.extend(mrt::rib(self.at, self.sequence, prefix, add_path, &entries));
                    self.sequence = self.sequence.wrapping_add(1);
                }
            }
        }
    }

    fn entry<'a>(&self, held: &'a Held) -> Option<Entry<'a>> {
        let age = self.now_seconds.saturating_sub(held.since);
        Some(Entry {
            peer: self.places.get(&held.peer).copied()?,
            originated: self.at.saturating_sub(age),
            path_id: held.nlri.path_id,
            attributes: held.accepted.as_deref()?,
        })
    }
}

fn seconds(at: Duration) -> u32 {
    u32::try_from(at.as_secs()).unwrap_or(u32::MAX)
}

fn ends(of: &Witness) -> Ends {
    Ends {
        peer_as: of.established.remote_as,
        local_as: of.local_as,
        peer: of.address(),
        local: of.established.local_address,
    }
}

/// A message of a session in which some family has path identifiers is recorded as such (RFC 8050 section 3), if it has some.
fn has_path_ids(of: &Witness, message: &[u8]) -> bool {
    let add_path = of.established.receive.add_path;
    // Prefixes of IPv6 stand in an attribute only; an UPDATE of ours holds one family.
    let classic = message.get(19..21).is_some_and(|withdrawn| withdrawn != [0, 0]) || has_classic_nlri(message);
    let family = if classic { Family::Ipv4Unicast } else { mp_family(message) };
    add_path.contains(family)
}

fn has_classic_nlri(message: &[u8]) -> bool {
    let attributes = message.get(21..23).map(|length| usize::from(u16::from_be_bytes([length[0], length[1]])));
    attributes.is_some_and(|length| message.len() > 23 + length)
}

/// The family of MP_REACH_NLRI or MP_UNREACH_NLRI, which stand first.
fn mp_family(message: &[u8]) -> Family {
    let extended = message.get(23).is_some_and(|flags| flags & 0x10 != 0);
    let afi = if extended { message.get(27..29) } else { message.get(26..28) };
    if afi == Some(&[0, 2]) { Family::Ipv6Unicast } else { Family::Ipv4Unicast }
}
