//! What the RIB knows of each peer: its policy, its session, and what of it outlives the session.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use super::import::is_link_local;
use super::inward::Inward;
use super::{PeerPolicy, RibConfig};
use crate::filter::Filter;
use crate::session::Established;
use crate::time::Instant;
use crate::types::{Asn, Family, FamilySet, PeerId, Prefix, RouterId};

/// A peer.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) policy: PeerPolicy,
    /// Number of its import policy in [`ImportPolicies`].
    pub(crate) import: u32,
    /// Its import filter does.
    pub(crate) import_looks_at_prefix: bool,
    /// It asks for the validation state.
    pub(crate) import_looks_at_validation: bool,
    /// Its export filter does.
    pub(crate) export_looks_at_validation: bool,
    /// In another AS. Until its first session says otherwise it is, so that the closed rule holds.
    pub(crate) external: bool,
    /// Its AS; 0 until its first session.
    pub(crate) remote_as: Asn,
    /// Its BGP Identifier; 0.0.0.0 until its first session.
    pub(crate) router_id: RouterId,
    /// Where its last session was.
    pub(crate) found: Option<IpAddr>,
    /// Goes up with each change of what an export says of this peer as a source, so that no old result is used again.
    pub(crate) generation: u32,
    /// The subnet that our next session with it is on, at both ends.
    pub(crate) segment: Option<Prefix>,
    pub(crate) session: Option<Live>,
    /// When the stale routes of its last session go.
    pub(crate) stale_until: Option<Instant>,
    /// By family: for how long its routes stay behind that as long-lived stale ones (RFC 9494); zero: not at all.
    pub(crate) long_lived_time: [Duration; 2],
    /// By family: when its long-lived stale routes go, if its stale routes are such.
    pub(crate) long_lived_until: [Option<Instant>; 2],
    /// Families that its last session's Graceful Restart capability named.
    pub(crate) restartable: FamilySet,
    /// Paths held, by family.
    pub(crate) received: [usize; 2],
    /// Of these, accepted.
    pub(crate) accepted: [usize; 2],
    /// And of these, stale.
    pub(crate) stale: [usize; 2],
}

/// A session that is up.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) established: Established,
    pub(crate) families: FamilySet,
    /// Families whose End-of-RIB it sent.
    pub(crate) ended: FamilySet,
    /// When it came up or last sent an UPDATE.
    pub(crate) last_update: Instant,
    /// It sent more than it may, and the owner was told.
    pub(crate) too_many: bool,
    /// It sent as many as are worth a warning, and the owner was told.
    pub(crate) warned: bool,
    /// By family, while it announces everything once more (RFC 7313): until when what it has not is kept.
    pub(crate) refreshing: [Option<Instant>; 2],
}

impl Peer {
    pub(crate) fn new(policy: PeerPolicy) -> Self {
        Self {
            import_looks_at_prefix: policy.import.as_ref().is_some_and(|filter| filter.looks_at_prefix()),
            import_looks_at_validation: policy.import.as_ref().is_some_and(|filter| filter.looks_at_validation()),
            export_looks_at_validation: policy.export.as_ref().is_some_and(|filter| filter.looks_at_validation()),
            policy,
            import: 0,
            external: true,
            remote_as: Asn(0),
            router_id: RouterId(Ipv4Addr::UNSPECIFIED),
            found: None,
            generation: 0,
            segment: None,
            session: None,
            stale_until: None,
            long_lived_time: [Duration::ZERO; 2],
            long_lived_until: [None; 2],
            restartable: FamilySet::EMPTY,
            received: [0; 2],
            accepted: [0; 2],
            stale: [0; 2],
        }
    }

    /// Its address; of one that is looked for on its link, where it last was.
    pub(crate) fn address(&self) -> IpAddr {
        let configured = self.policy.address;
        self.found.filter(|_| configured.is_unspecified()).unwrap_or(configured)
    }

    /// Whether anything of it is stale, of either kind.
    pub(crate) fn retains(&self) -> bool {
        self.stale_until.is_some() || self.long_lived_until.iter().any(Option::is_some)
    }

    /// Nothing of it is stale any more.
    pub(crate) fn retain_nothing(&mut self) {
        (self.stale_until, self.long_lived_until) = (None, [None; 2]);
    }

    /// An internal peer that is our route reflector client.
    pub(crate) fn is_client(&self) -> bool {
        self.policy.client && !self.external
    }

    pub(crate) fn set_policy(&mut self, policy: PeerPolicy) {
        self.import_looks_at_prefix = policy.import.as_ref().is_some_and(|filter| filter.looks_at_prefix());
        self.import_looks_at_validation = policy.import.as_ref().is_some_and(|filter| filter.looks_at_validation());
        self.export_looks_at_validation = policy.export.as_ref().is_some_and(|filter| filter.looks_at_validation());
        self.policy = policy;
    }

    pub(crate) fn begin_session(&mut self, established: &Established, now: Instant) {
        let families = established.receive.families.intersection(established.send.families);
        let restart = established.graceful_restart.as_ref();
        self.restartable =
            restart.map(|restart| restart.families.iter().map(|(family, _)| *family).collect()).unwrap_or_default();
        self.long_lived_time = Family::ALL.map(|family| {
            let said = established.long_lived.iter().find(|said| said.family == family);
            said.map_or(Duration::ZERO, |said| Duration::from_secs(u64::from(said.stale_seconds)))
        });
        self.session = Some(Live {
            established: established.clone(),
            families,
            ended: FamilySet::EMPTY,
            last_update: now,
            too_many: false,
            warned: false,
            refreshing: [None; 2],
        });
    }

    pub(crate) fn received_total(&self) -> usize {
        self.received.iter().sum()
    }
}

/// All peers, by their small numbers.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    slots: Vec<Option<Box<Peer>>>,
}

impl Peers {
    pub(crate) fn get(&self, id: PeerId) -> Option<&Peer> {
        self.slots.get(usize::from(id.0))?.as_deref()
    }

    pub(crate) fn get_mut(&mut self, id: PeerId) -> Option<&mut Peer> {
        self.slots.get_mut(usize::from(id.0))?.as_deref_mut()
    }

    pub(crate) fn insert(&mut self, id: PeerId, peer: Peer) {
        let at = usize::from(id.0);
        if self.slots.len() <= at {
            self.slots.resize_with(at + 1, || None);
        }
        self.slots[at] = Some(Box::new(peer));
    }

    pub(crate) fn remove(&mut self, id: PeerId) -> Option<Box<Peer>> {
        self.slots.get_mut(usize::from(id.0))?.take()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (PeerId, &Peer)> {
        self.slots.iter().enumerate().filter_map(|(at, slot)| Some((PeerId(at as u16), slot.as_deref()?)))
    }

    /// Every address that is ours on some session: as a next hop it would lead back to us.
    pub(crate) fn own_addresses(&self) -> Vec<IpAddr> {
        let of_peer = |(_, peer): (PeerId, &Peer)| {
            let session = peer.session.as_ref().map(|live| live.established.local_address);
            let (v4, v6) = (peer.policy.own_address4, peer.policy.own_address6);
            [session, v4.map(IpAddr::V4), v6.map(IpAddr::V6)]
        };
        let own = self.iter().flat_map(of_peer).flatten();
        // A link-local address of ours may be a neighbour's on another link: each session checks its own.
        let mut own: Vec<IpAddr> = own.filter(|address| !is_link_local(*address)).collect();
        own.sort_unstable();
        own.dedup();
        own
    }
}

/// What makes of attributes what an import gives: equal policies give equal results.
#[derive(Clone, Debug)]
pub(crate) struct ImportPolicy {
    filter: Option<Arc<Filter>>,
    /// What the filter prepends.
    local_as: Asn,
    inward: Inward,
    blackhole: bool,
}

impl ImportPolicy {
    pub(crate) fn of(config: &RibConfig, peer: &Peer) -> Self {
        let PeerPolicy { import, local_as, blackhole, .. } = &peer.policy;
        let inward = Inward::of(config, peer);
        Self { filter: import.clone(), local_as: *local_as, inward, blackhole: *blackhole }
    }

    /// Equal at less cost: filters are mostly the same value.
    fn same(&self, other: &Self) -> bool {
        let filters = match (&self.filter, &other.filter) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        filters && (self.local_as, self.inward, self.blackhole) == (other.local_as, other.inward, other.blackhole)
    }
}

/// Import policies by number: what changes attributes the same way has the same number, and a number never comes back.
#[derive(Debug, Default)]
pub(crate) struct ImportPolicies {
    next: u32,
    known: Vec<(u32, ImportPolicy)>,
}

impl ImportPolicies {
    /// The policy's number. `used` says which numbers peers still have.
    pub(crate) fn number(&mut self, policy: ImportPolicy, used: impl Fn(u32) -> bool) -> u32 {
        if let Some((number, _)) = self.known.iter().find(|(_, known)| known.same(&policy)) {
            return *number;
        }
        self.known.retain(|(number, _)| used(*number));
        self.next += 1;
        self.known.push((self.next, policy));
        self.next
    }
}

/// Where a family stands in arrays of two.
pub(crate) fn at(family: Family) -> usize {
    match family {
        Family::Ipv4Unicast => 0,
        Family::Ipv6Unicast => 1,
    }
}
