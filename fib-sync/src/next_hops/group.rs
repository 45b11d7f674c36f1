//! What a group of next hops leads to.

use crate::kernel_route::KernelHop;

/// What routes by one group share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Group {
    /// Sorted, with their weights; each takes its share.
    pub(crate) hops: Vec<KernelHop>,
    /// Takes over from the only hop, in the kernel itself, once that is lost.
    pub(crate) backup: Option<KernelHop>,
}

impl Group {
    /// Hops that share what comes.
    pub(crate) fn of(hops: Vec<KernelHop>) -> Self {
        Self { hops, backup: None }
    }

    /// From the hops of a group of this kind, with their weights.
    pub(super) fn read(kind: Kind, mut hops: Vec<KernelHop>) -> Self {
        let mut backup = None;
        if kind == Kind::Failover {
            hops.sort_by_key(|hop| std::cmp::Reverse(hop.weight));
            if hops.len() == 2 {
                backup = hops.pop();
            }
            hops.iter_mut().chain(&mut backup).for_each(|hop| hop.weight = 0);
        }
        hops.sort();
        Self { hops, backup }
    }

    /// All of its hops, the backup being the last.
    pub(crate) fn all(&self) -> impl Iterator<Item = &KernelHop> {
        self.hops.iter().chain(&self.backup)
    }

    /// The kind that the kernel must be asked for. `there`: the kind that it has already, which the kernel never changes.
    pub(super) fn kind(&self, there: Option<Kind>) -> Kind {
        match (&self.backup, self.hops.len(), there) {
            (Some(_), ..) => Kind::Failover,
            // What is left once one of two is lost.
            (None, 1, Some(Kind::Failover)) => Kind::Failover,
            (None, ..) => Kind::Shared,
        }
    }
}

/// How a group chooses among its hops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// By flow, as often as their weights say (`NEXTHOP_GRP_TYPE_MPATH`).
    Shared,
    /// The first one, until it is lost. That is a resilient group (`NEXTHOP_GRP_TYPE_RES`, Linux 5.13) with a single bucket: the
    /// buckets are dealt out by weight and rounded, so that of one bucket a hop with [`FIRST`] gets all and one with [`SECOND`]
    /// nothing; and who is alone gets it. When a link is lost, the kernel takes its hops out of all groups before it tells
    /// anybody, so that no packet waits for a daemon.
    Failover,
}

/// Weights less one in a failover group: of the hop that carries all, and of its backup.
pub(super) const FIRST: u8 = 254;
pub(super) const SECOND: u8 = 0;
