//! Next-hop objects (RTM_NEWNEXTHOP, Linux 5.3): each path of which the hops are gateways has a group, and all of its
//! routes name that group. A hop that is lost moves any number of routes with one message; where its link is lost, the
//! kernel takes it out of the groups by itself before anybody is told.
//!
//! A gateway on a link is an object of its own and never changes; groups are what changes. Everything is marked with
//! protocol 76 and has a number of a range of Linnet's.

mod compare;
mod group;
mod wire;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};

pub(crate) use self::compare::Different;
pub(crate) use self::group::Group;
use self::group::Kind;
use self::wire::{Content, Object, buckets_question, deletion, gateway, question};
pub(crate) use self::wire::{RTM_DELNEXTHOP, RTM_NEWNEXTHOP, read};
use crate::{
    FibError, PROTOCOL,
    kernel_route::KernelHop,
    netlink::{Answer, Batch, Message, Refusal, Socket},
    paths::FamilyPath,
};

/// Linnet's numbers: `L` in the first octet. Others may use some of them, and keep them.
const FIRST: u32 = 0x4c00_0000;
const LAST: u32 = 0x4cff_ffff;
/// How many numbers are tried before a request is given up.
const ATTEMPTS: usize = 64;

/// The objects of this host, as far as they are Linnet's.
#[derive(Debug, Default)]
pub(crate) struct NextHops {
    /// The kernel has them, and the configuration wants them.
    enabled: bool,
    /// For the time being there are to be none.
    paused: bool,
    /// There: gateways, their weights being the groups'.
    hops: HashMap<KernelHop, u32>,
    /// There.
    groups: BTreeMap<u32, (Kind, Group)>,
    /// The kernel has no groups with a backup.
    no_backups: bool,
    /// Somebody else's numbers in the range of ours.
    taken: BTreeSet<u32>,
    /// Which families' routes (IPv6 or not) had which group when this run began.
    found: BTreeSet<(u32, bool)>,
    /// The group of each path.
    owners: HashMap<FamilyPath, u32>,
    /// Made or confirmed by this run: these go as soon as nobody has them, the others are an earlier run's.
    ours: BTreeSet<u32>,
    /// The number given last.
    last: u32,
    /// There may be objects that nobody has.
    idle: bool,
}

/// Whether the kernel has such objects.
pub(crate) fn supported(socket: &mut Socket) -> Result<bool, FibError> {
    Ok(ask(socket, &question(), read)?.is_some())
}

/// What the kernel tells of what it has; `None`: it does not know the question, as one that is older than what was asked for.
fn ask<T>(
    socket: &mut Socket,
    question: &Message,
    pick: impl FnMut(&Answer<'_>) -> Option<T>,
) -> Result<Option<Vec<T>>, FibError> {
    match socket.dump_octets(question, pick) {
        Ok(found) => Ok(Some(found)),
        Err(FibError::Kernel { source, .. }) if source.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(None),
        Err(error) => Err(error),
    }
}

impl NextHops {
    /// Asks the kernel whether it has such objects, and which. Without `wanted` none is made, and those of an earlier run
    /// go when no route has them.
    pub(crate) fn start(wanted: bool, socket: &mut Socket) -> Result<NextHops, FibError> {
        NextHops::start_asking(wanted, socket, &question(), &buckets_question())
    }

    fn start_asking(
        wanted: bool,
        socket: &mut Socket,
        objects: &Message,
        buckets: &Message,
    ) -> Result<NextHops, FibError> {
        let mut next_hops = NextHops { last: LAST, ..NextHops::default() };
        // Linux 5.3.
        let Some(objects) = ask(socket, objects, read)? else {
            tracing::info!("the kernel has no next-hop objects; routes name their next hops themselves");
            return Ok(next_hops);
        };
        next_hops.take(objects);
        next_hops.enabled = wanted;
        // Linux 5.13. A refusal of a group would not tell: the kernel calls much invalid, a member that went with its link a
        // moment ago too.
        next_hops.no_backups = ask(socket, buckets, |_| None::<()>)?.is_none();
        if next_hops.no_backups {
            tracing::info!("the kernel has no groups of next hops with a backup; routes go without");
        }
        Ok(next_hops)
    }

    /// What routes that were found have, by family: a path takes over a group of its own family's, so that none moves.
    pub(crate) fn set_found(&mut self, found: BTreeSet<(u32, bool)>) {
        self.found = found;
    }

    pub(crate) fn enabled(&self) -> bool {
        self.enabled && !self.paused
    }

    /// From now on, none is made.
    pub(crate) fn pause(&mut self) {
        self.paused = true;
    }

    /// They are made again.
    pub(crate) fn resume(&mut self) {
        self.paused = false;
    }

    /// As on a kernel that has no groups with a backup.
    #[cfg(test)]
    pub(crate) fn without_backups(&mut self) {
        self.no_backups = true;
    }

    /// A group.
    pub(crate) fn group(&self, id: u32) -> Option<&Group> {
        self.groups.get(&id).map(|(_, group)| group)
    }

    /// Whether a number may be one of ours, so that what happens to it matters.
    pub(crate) fn concerns(id: u32) -> bool {
        (FIRST..=LAST).contains(&id)
    }

    /// Whether a gateway lies on this link.
    pub(crate) fn uses(&self, link: u32) -> bool {
        self.hops.keys().any(|hop| hop.link == link)
    }

    /// Reads all objects anew. Returns the groups that were there and are not any more: their routes went with them.
    pub(crate) fn read(&mut self, socket: &mut Socket) -> Result<Vec<u32>, FibError> {
        let objects = socket.dump_octets(&question(), read)?;
        Ok(self.take(objects))
    }

    /// Takes in what there is. Returns the groups that were there and are not any more.
    fn take(&mut self, objects: Vec<Object>) -> Vec<u32> {
        self.taken.clear();
        let mut hops = HashMap::new();
        let mut by_number = HashMap::new();
        for object in &objects {
            if object.protocol != PROTOCOL {
                self.taken.insert(object.id);
            } else if let Content::Hop(hop) = &object.content {
                by_number.insert(object.id, hop.clone());
                // Of two objects that say the same the first one counts, at every reading.
                hops.entry(hop.clone()).or_insert(object.id);
            }
        }
        let mut groups = BTreeMap::new();
        for object in objects {
            if let (PROTOCOL, Content::Group(kind, members)) = (object.protocol, object.content) {
                let hops = members
                    .iter()
                    .filter_map(|(id, weight)| Some(KernelHop { weight: *weight, ..by_number.get(id)?.clone() }));
                groups.insert(object.id, (kind, Group::read(kind, hops.collect())));
            }
        }
        self.taken.retain(|id| Self::concerns(*id));
        self.idle = true;
        self.hops = hops;
        let before = std::mem::replace(&mut self.groups, groups);
        self.owners.retain(|_, id| self.groups.contains_key(id));
        self.ours.retain(|id| self.groups.contains_key(id) || self.hops.values().any(|hop| hop == id));
        before.into_keys().filter(|id| !self.groups.contains_key(id)).collect()
    }

    /// The group of a path, which leads to this then: its own, changed where that must be, one of an earlier run, or a new one.
    /// Where the kernel has no groups with a backup, it goes without.
    pub(crate) fn ensure(
        &mut self,
        owner: FamilyPath,
        wanted: &Group,
        socket: &mut Socket,
    ) -> Result<Result<u32, Refusal>, FibError> {
        if wanted.backup.is_some() && self.no_backups {
            return self.ensure_as_it_is(owner, &Group::of(wanted.hops.clone()), socket);
        }
        self.ensure_as_it_is(owner, wanted, socket)
    }

    fn ensure_as_it_is(
        &mut self,
        owner: FamilyPath,
        wanted: &Group,
        socket: &mut Socket,
    ) -> Result<Result<u32, Refusal>, FibError> {
        let own = self.owners.get(&owner).copied();
        let there = own.and_then(|own| self.groups.get(&own));
        if let (Some(own), Some((_, there))) = (own, there)
            && there == wanted
        {
            return Ok(Ok(own));
        }
        let kind = wanted.kind(there.map(|(kind, _)| *kind));
        // A group of the other kind stays until its routes have left it.
        let own = own.filter(|_| there.is_none_or(|(there, _)| *there == kind));
        if own.is_none()
            && let Some(found) = self.adoptable(owner.1, wanted)
        {
            self.owners.insert(owner, found);
            self.ours.insert(found);
            self.idle = true;
            return Ok(Ok(found));
        }
        let mut members = Vec::new();
        for hop in wanted.all() {
            match self.gateway(hop, socket)? {
                Ok(id) => members.push((id, hop.weight)),
                Err(refusal) => return Ok(Err(refusal)),
            }
        }
        if kind == Kind::Failover {
            members.iter_mut().zip([group::FIRST, group::SECOND]).for_each(|((_, weight), rank)| *weight = rank);
        }
        let made = match own {
            Some(own) => {
                let request = wire::group(own, kind, &members);
                socket.attempt(&request, NLM_F_CREATE | NLM_F_REPLACE)?.map(|()| own)
            }
            None => self.create(|id| wire::group(id, kind, &members), socket)?,
        };
        Ok(made.inspect(|id| {
            self.groups.insert(*id, (kind, wanted.clone()));
            self.owners.insert(owner, *id);
            self.idle = true;
        }))
    }

    /// A group of an earlier run that leads to this, that no path has: of two that do, the one that routes of the family have, and never
    /// one that only those of the other have. The kernel takes IPv6 routes by a group only if it has no
    /// IPv4 gateway.
    fn adoptable(&self, v6: bool, wanted: &Group) -> Option<u32> {
        let owned: BTreeSet<u32> = self.owners.values().copied().collect();
        let fits = |group: &Group| !v6 || group.all().all(|hop| hop.via.is_none_or(|via| via.is_ipv6()));
        let free = self.groups.iter().filter(|(id, (_, there))| there == wanted && !owned.contains(id) && fits(there));
        let free: Vec<u32> = free.map(|(id, _)| *id).collect();
        let has = |id: &u32, v6| self.found.contains(&(*id, v6));
        let best = free.iter().find(|id| has(id, v6)).or_else(|| free.iter().find(|id| !has(id, !v6)));
        best.copied()
    }

    /// The object of a gateway, made if there is none.
    fn gateway(&mut self, hop: &KernelHop, socket: &mut Socket) -> Result<Result<u32, Refusal>, FibError> {
        let alone = KernelHop { weight: 0, ..hop.clone() };
        if let Some(id) = self.hops.get(&alone) {
            self.ours.insert(*id);
            return Ok(Ok(*id));
        }
        let made = self.create(|id| gateway(id, &alone), socket)?;
        Ok(made.inspect(|id| {
            self.hops.insert(alone, *id);
        }))
    }

    fn create(
        &mut self,
        request: impl Fn(u32) -> Message,
        socket: &mut Socket,
    ) -> Result<Result<u32, Refusal>, FibError> {
        let mut refused = Refusal { errno: libc::EEXIST, message: "no number is free for a next-hop object".into() };
        for _ in 0..ATTEMPTS {
            let id = self.number();
            match socket.attempt(&request(id), NLM_F_CREATE | NLM_F_EXCL)? {
                Ok(()) => {
                    self.ours.insert(id);
                    return Ok(Ok(id));
                }
                // Somebody else's, that was not there when the objects were read.
                Err(refusal) if refusal.errno == libc::EEXIST => {
                    self.taken.insert(id);
                    refused = refusal;
                }
                Err(refusal) => return Ok(Err(refusal)),
            }
        }
        Ok(Err(refused))
    }

    /// The next number that nobody is known to have.
    fn number(&mut self) -> u32 {
        for _ in FIRST..=LAST {
            self.last = if self.last >= LAST { FIRST } else { self.last + 1 };
            let used = self.groups.contains_key(&self.last) || self.hops.values().any(|id| *id == self.last);
            if !used && !self.taken.contains(&self.last) {
                break;
            }
        }
        self.last
    }

    /// The path needs its group no more.
    pub(crate) fn disown(&mut self, owner: FamilyPath) {
        self.idle |= self.owners.remove(&owner).is_some();
    }

    /// Whether there may be something for [`NextHops::collect`].
    pub(crate) fn has_idle(&self) -> bool {
        self.idle
    }

    /// Groups that a path has.
    pub(crate) fn owned(&self) -> impl Iterator<Item = u32> + '_ {
        self.owners.values().copied()
    }

    /// Paths that have a group.
    pub(crate) fn owners(&self) -> impl Iterator<Item = FamilyPath> + '_ {
        self.owners.keys().copied()
    }

    /// Lets go of what nobody has: groups without a path and, as `has_routes` knows, without a route, for deleting a group
    /// deletes its routes; then gateways of no group. What an earlier run left goes only when `swept`.
    pub(crate) fn collect(
        &mut self,
        swept: bool,
        has_routes: impl Fn(u32) -> bool,
        socket: &mut Socket,
    ) -> Result<(), FibError> {
        let owned: BTreeSet<u32> = self.owners.values().copied().collect();
        let may_go = |id: &u32| swept || self.ours.contains(id);
        let groups: Vec<u32> =
            self.groups.keys().copied().filter(|id| !owned.contains(id) && may_go(id) && !has_routes(*id)).collect();
        let mut gone: Vec<u32> = groups.clone();
        let left = self.groups.iter().filter(|(id, _)| !groups.contains(id));
        let used: BTreeSet<KernelHop> =
            left.flat_map(|(_, (_, group))| group.all().map(|hop| KernelHop { weight: 0, ..hop.clone() })).collect();
        gone.extend(self.hops.iter().filter(|(hop, id)| !used.contains(hop) && may_go(id)).map(|(_, id)| *id));
        let mut batch = Batch::default();
        for some in gone.chunks(256) {
            for id in some {
                let request = deletion(*id);
                batch.push(request.kind, 0, &request.payload);
            }
            for (index, refusal) in socket.deliver(&mut batch)? {
                if refusal.errno != libc::ENOENT {
                    tracing::warn!(object = some[index], %refusal, "the kernel refused to delete a next-hop object");
                }
            }
        }
        // Those that still have routes wait for these to go.
        self.idle = self.groups.keys().any(|id| !owned.contains(id) && !groups.contains(id));
        for id in gone {
            self.groups.remove(&id);
            self.ours.remove(&id);
            self.hops.retain(|_, other| *other != id);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kind of question that no kernel knows. It refuses this as one before 5.3 refuses that for next-hop objects.
    fn unknown() -> Message {
        Message { kind: 254, ..question() }
    }

    #[test]
    fn what_a_kernel_does_not_know_it_says_itself_and_routes_go_without() {
        let mut socket = Socket::open().expect("a socket");
        let mut start = |objects, buckets| {
            let next_hops = NextHops::start_asking(true, &mut socket, &objects, &buckets).expect("an answer");
            (next_hops.enabled(), next_hops.no_backups)
        };
        assert!(!start(unknown(), unknown()).0, "no objects");
        assert_eq!(start(question(), unknown()), (true, true), "objects, and no backups");
        assert_eq!(start(question(), buckets_question()), (true, false), "both");
    }
}
