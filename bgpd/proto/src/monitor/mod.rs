//! What monitoring stations and files are told of sessions and routes: UPDATEs as the peers might have sent them, in the order in
//! which the RIB heard of them. Who is told and how much may wait for whom is the owner's.
//!
//! * [`Scribe`] makes of what the RIB has seen what there is to tell;
//! * [`station::Voice`] says it in BMP;
//! * [`archive`] writes it, and tables, in MRT.

pub mod archive;
pub mod station;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;

use crate::bmp::Stage;
use crate::rib::{BestChange, Held, Seen};
use crate::session::{DownReason, Established};
use crate::types::{Asn, Family, FamilySet, Nlri, PeerId};
use crate::wire::UpdateContext;
use crate::wire::attributes::Attributes;
use crate::wire::update::UpdateBuilder;

/// RFC 8654.
const LONGEST_MESSAGE: usize = 65535;

/// A session that is up, and what began it.
#[derive(Clone, Debug)]
pub struct Witness {
    /// Its number.
    pub peer: PeerId,
    /// Our AS towards it.
    pub local_as: Asn,
    /// What was agreed on.
    pub established: Box<Established>,
    /// Its connection.
    pub carrier: Box<Carrier>,
}

/// What a session knows of its connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carrier {
    /// Our port.
    pub local_port: u16,
    /// The peer's.
    pub remote_port: u16,
    /// Our OPEN, a whole message.
    pub sent_open: Bytes,
    /// The peer's.
    pub received_open: Bytes,
}

impl Witness {
    /// The peer's address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.established.remote_address
    }

    /// Families that both sides have.
    #[must_use]
    pub fn families(&self) -> FamilySet {
        self.established.receive.families.intersection(self.established.send.families)
    }
}

/// Why a session is no longer watched.
#[derive(Clone, Debug)]
pub enum Ending {
    /// It went down.
    Down(DownReason),
    /// The peer was removed.
    Removed,
}

/// What there is to tell.
#[derive(Clone, Debug)]
pub enum What {
    /// A session is up.
    Up(Arc<Witness>),
    /// A session is over, and all of its paths with it.
    Down(Arc<Witness>, Ending),
    /// Whole UPDATEs, one behind the other, in four octets; with path identifiers where `add_path`. Of Loc-RIB, without a
    /// witness.
    Updates {
        /// Whose.
        of: Option<Arc<Witness>>,
        /// Of which table.
        stage: Stage,
        /// What.
        messages: Bytes,
    },
    /// The table has been told.
    Told,
}

impl What {
    /// Whose it is who wants this stage alone; `None`: everybody's.
    #[must_use]
    pub fn stage(&self) -> Option<Stage> {
        match self {
            Self::Updates { stage, .. } => Some(*stage),
            Self::Up(_) | Self::Down(..) | Self::Told => None,
        }
    }

    fn updates(of: Option<&Arc<Witness>>, stage: Stage, say: Say) -> Self {
        Self::Updates { of: of.cloned(), stage, messages: say.out.into() }
    }
}

/// Knows the sessions that are up, and writes down what is seen of them.
#[derive(Debug, Default)]
pub struct Scribe {
    up: BTreeMap<PeerId, Arc<Witness>>,
}

impl Scribe {
    /// A session came up.
    pub fn up(&mut self, witness: Witness) -> What {
        let witness = Arc::new(witness);
        self.up.insert(witness.peer, witness.clone());
        What::Up(witness)
    }

    /// A session is over; `None`: it was not up.
    pub fn down(&mut self, peer: PeerId, ending: Ending) -> Option<What> {
        Some(What::Down(self.up.remove(&peer)?, ending))
    }

    /// Every session that is up.
    pub fn witnesses(&self) -> impl Iterator<Item = &Arc<Witness>> {
        self.up.values()
    }

    /// What the RIB has seen, for stages that somebody wants; of a session that is not up, nothing.
    pub fn seen(&self, seen: &Seen, wanted: impl Fn(Stage) -> bool) -> Vec<What> {
        let (Seen::Announced { peer, .. } | Seen::Withdrawn { peer, .. } | Seen::EndOfRib { peer, .. }) = seen;
        let Some(witness) = self.up.get(peer) else { return Vec::new() };
        let of_stage = |stage: Stage| {
            let mut say = Say::of(witness);
            match seen {
                Seen::Announced { received, nlri, .. } if stage == Stage::PrePolicy => say.announce(received, nlri),
                Seen::Announced { accepted: Some(accepted), nlri, .. } => say.announce(accepted, nlri),
                Seen::Announced { accepted: None, nlri, .. } | Seen::Withdrawn { nlri, .. } => say.withdraw(nlri),
                Seen::EndOfRib { family, .. } => say.end_of_rib(*family),
            }
            What::updates(Some(witness), stage, say)
        };
        [Stage::PrePolicy, Stage::PostPolicy].into_iter().filter(|stage| wanted(*stage)).map(of_stage).collect()
    }

    /// Changed best paths.
    #[must_use]
    pub fn best(&self, changes: &[BestChange]) -> What {
        let mut say = Say::loc_rib();
        for change in changes.iter().filter(|change| !change.only_backup) {
            let nlri = [Nlri { prefix: change.prefix, path_id: Default::default() }];
            match change.paths.first() {
                Some(best) => say.announce(&best.attributes, &nlri),
                None => say.withdraw(&nlri),
            }
        }
        What::updates(None, Stage::LocRib, say)
    }

    /// A page of the table; behind the `last` one, that it has been told.
    #[must_use]
    pub fn page(&self, page: &[Held], stages: &[Stage], last: bool) -> Vec<What> {
        let mut told = Vec::new();
        for stage in stages.iter().copied() {
            // What has one source and one set of attributes is one announcement.
            let mut groups: HashMap<(PeerId, &Attributes), Vec<Nlri>> = HashMap::new();
            for held in page {
                let (attributes, wanted) = match stage {
                    Stage::PrePolicy => (Some(&held.received), self.up.contains_key(&held.peer)),
                    Stage::PostPolicy => (held.accepted.as_ref(), self.up.contains_key(&held.peer)),
                    Stage::LocRib => (held.accepted.as_ref(), held.best),
                };
                if let Some(attributes) = attributes.filter(|_| wanted) {
                    let mut nlri = held.nlri;
                    let source = if stage == Stage::LocRib { PeerId::LOCAL } else { held.peer };
                    if stage == Stage::LocRib {
                        nlri.path_id = Default::default();
                    }
                    groups.entry((source, attributes)).or_default().push(nlri);
                }
            }
            let mut groups: Vec<_> = groups.into_iter().collect();
            groups.sort_by(|one, other| (one.0.0, one.1[0]).cmp(&(other.0.0, other.1[0])));
            for ((source, attributes), nlri) in groups {
                let witness = self.up.get(&source);
                let mut say = witness.map_or_else(Say::loc_rib, |witness| Say::of(witness));
                say.announce(attributes, &nlri);
                if !say.out.is_empty() {
                    told.push(What::updates(witness, stage, say));
                }
            }
            if last {
                told.extend(self.ends_of_table(stage));
            }
        }
        told.extend(last.then_some(What::Told));
        told
    }

    /// RFC 7854 section 5: behind the table, End-of-RIB.
    fn ends_of_table(&self, stage: Stage) -> Vec<What> {
        let sources: Vec<Option<&Arc<Witness>>> = match stage {
            Stage::LocRib => vec![None],
            Stage::PrePolicy | Stage::PostPolicy => self.up.values().map(Some).collect(),
        };
        let end = |witness: Option<&Arc<Witness>>| {
            let mut say = witness.map_or_else(Say::loc_rib, |witness| Say::of(witness));
            let families = witness.map_or_else(|| Family::ALL.into_iter().collect(), |witness| witness.families());
            families.iter().for_each(|family| say.end_of_rib(family));
            (!say.out.is_empty()).then(|| What::updates(witness, stage, say))
        };
        sources.into_iter().filter_map(end).collect()
    }
}

/// UPDATEs being written.
struct Say {
    context: UpdateContext,
    out: Vec<u8>,
}

impl Say {
    /// As the peer might have sent them, with AS numbers in four octets.
    fn of(witness: &Witness) -> Self {
        Self {
            // What a filter has set may be more than the peer may say.
            context: UpdateContext {
                four_octet_as: true,
                external: false,
                extended_next_hop: Family::ALL.into_iter().collect(),
                link: None,
                ..witness.established.receive
            },
            out: Vec::new(),
        }
    }

    fn loc_rib() -> Self {
        let context = UpdateContext {
            four_octet_as: true,
            external: false,
            families: Family::ALL.into_iter().collect(),
            add_path: FamilySet::EMPTY,
            extended_next_hop: Family::ALL.into_iter().collect(),
            link: None,
            max_message_len: 4096,
        };
        Self { context, out: Vec::new() }
    }

    fn announce(&mut self, attributes: &Attributes, nlri: &[Nlri]) {
        let said = UpdateBuilder::new(self.context).announce(attributes, nlri, &mut self.out);
        if said.is_err() {
            // In four octets a path may be longer than the message that it came in, and what we originate has no next hop, which a
            // peer may not be told and a station is (RFC 9069 section 4.1 has all of Loc-RIB).
            let longer = UpdateContext { max_message_len: LONGEST_MESSAGE, ..self.context };
            let _ = UpdateBuilder::new(longer).announce_as_held(attributes, nlri, &mut self.out);
        }
    }

    fn withdraw(&mut self, nlri: &[Nlri]) {
        UpdateBuilder::new(self.context).withdraw(nlri, &mut self.out);
    }

    fn end_of_rib(&mut self, family: Family) {
        self.out.extend_from_slice(&UpdateBuilder::new(self.context).end_of_rib(family));
    }
}

/// Cuts messages that stand one behind the other.
pub fn each_message(mut messages: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = messages.get(16..18)?;
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        let (message, rest) = messages.split_at_checked(length)?;
        messages = rest;
        Some(message)
    })
}
