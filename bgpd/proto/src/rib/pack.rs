//! Packs what a group is to hear into messages, encoded once, of which each member gets all but its own routes.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use bytes::Bytes;

use super::adverts::AdvertId;
use super::table::{PrefixId, Table};
use crate::types::{Nlri, PathId, PeerId};
use crate::wire::attributes::Attributes;
use crate::wire::update::UpdateBuilder;

/// A chunk is closed once it is this long.
const CHUNK_BYTES: usize = 48 << 10;
/// Prefixes encoded at once: together with [`CHUNK_BYTES`] this keeps chunks of IPv6 near 64 KiB.
const RUN_PREFIXES: usize = 2048;

/// Octets that a single change seldom exceeds. A buffer that grows meanwhile goes by code of the allocator that nothing else
/// has run since the last rest: 55 lines of memory, of the allocator alone.
const SINGLE: usize = 256;

/// A prefix to announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Announce {
    pub(crate) advert: AdvertId,
    /// The member it came from, which does not hear it; [`PeerId::LOCAL`]: everybody does.
    pub(crate) except: PeerId,
    pub(crate) id: PrefixId,
    /// 0 in a family without several paths to one prefix.
    pub(crate) path_id: PathId,
}

/// A prefix to withdraw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Withdraw {
    /// The member that never heard it, as [`Announce::except`].
    pub(crate) except: PeerId,
    pub(crate) id: PrefixId,
    /// As [`Announce::path_id`].
    pub(crate) path_id: PathId,
}

/// What is to be said.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) announce: Vec<Announce>,
    pub(crate) withdraw: Vec<Withdraw>,
}

impl Batch {
    /// Encodes all of it. What turns out to be unsendable is withdrawn instead, and returned. `attributes` says
    /// with which ones an advert is sent; what has none any more is left out.
    pub(crate) fn pack<'a>(
        mut self,
        table: &Table,
        attributes: impl Fn(AdvertId) -> Option<Cow<'a, Attributes>>,
        builder: &UpdateBuilder,
    ) -> (Vec<Chunk>, BTreeSet<(PrefixId, PathId)>) {
        let (nlri, cuts, chunks) = Default::default();
        let mut packer = Packer { table, builder, nlri, buffer: Vec::with_capacity(SINGLE), cuts, chunks };
        let mut unsendable = BTreeSet::new();
        self.announce.sort_unstable();
        for run in self.announce.chunk_by(|a, b| (a.advert, a.except) == (b.advert, b.except)) {
            let Some(attributes) = run.first().and_then(|first| attributes(first.advert)) else { continue };
            for piece in run.chunks(RUN_PREFIXES) {
                if !packer.announce(&attributes, piece) {
                    unsendable.extend(piece.iter().map(|item| (item.id, item.path_id)));
                }
            }
        }
        let nobody = unsendable.iter().map(|&(id, path_id)| Withdraw { except: PeerId::LOCAL, id, path_id });
        self.withdraw.extend(nobody);
        self.withdraw.sort_unstable();
        for run in self.withdraw.chunk_by(|a, b| a.except == b.except) {
            for piece in run.chunks(RUN_PREFIXES) {
                packer.withdraw(piece);
            }
        }
        packer.close();
        (packer.chunks, unsendable)
    }
}

/// Whole messages, and which parts of them a member does not get.
#[derive(Debug)]
pub(crate) struct Chunk {
    bytes: Bytes,
    /// By member, then by place.
    cuts: Vec<(PeerId, Range<usize>)>,
}

impl Chunk {
    /// The chunk without what `peer` does not get, in as few pieces as there are.
    pub(crate) fn for_member(&self, peer: PeerId) -> impl Iterator<Item = Bytes> {
        let first = self.cuts.partition_point(|(except, _)| *except < peer);
        let own = self.cuts[first..].iter().take_while(move |(except, _)| *except == peer);
        let end = self.bytes.len();
        let mut from = 0;
        own.map(|(_, cut)| cut.clone()).chain(std::iter::once(end..end)).filter_map(move |cut| {
            let piece = from..cut.start;
            from = cut.end;
            (!piece.is_empty()).then(|| self.bytes.slice(piece))
        })
    }
}

struct Packer<'a> {
    table: &'a Table,
    builder: &'a UpdateBuilder,
    /// Of the piece at hand.
    nlri: Vec<Nlri>,
    buffer: Vec<u8>,
    cuts: Vec<(PeerId, Range<usize>)>,
    chunks: Vec<Chunk>,
}

impl Packer<'_> {
    fn take_nlri(&mut self, ids: impl Iterator<Item = (PrefixId, PathId)>) {
        self.nlri.clear();
        let table = self.table;
        self.nlri.extend(ids.map(|(id, path_id)| Nlri { prefix: table.prefix(id), path_id }));
    }

    /// Prefixes that share attributes and exception; `false` if no message may carry the attributes.
    fn announce(&mut self, attributes: &Attributes, piece: &[Announce]) -> bool {
        let Some(first) = piece.first() else { return true };
        self.take_nlri(piece.iter().map(|item| (item.id, item.path_id)));
        let start = self.buffer.len();
        if self.builder.announce(attributes, &self.nlri, &mut self.buffer).is_err() {
            self.buffer.truncate(start);
            return false;
        }
        self.said(first.except, start);
        true
    }

    fn withdraw(&mut self, piece: &[Withdraw]) {
        let Some(first) = piece.first() else { return };
        self.take_nlri(piece.iter().map(|item| (item.id, item.path_id)));
        let start = self.buffer.len();
        self.builder.withdraw(&self.nlri, &mut self.buffer);
        self.said(first.except, start);
    }

    fn said(&mut self, except: PeerId, start: usize) {
        if except != PeerId::LOCAL {
            self.cuts.push((except, start..self.buffer.len()));
        }
        if self.buffer.len() >= CHUNK_BYTES {
            self.close();
        }
    }

    fn close(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        let mut cuts = std::mem::take(&mut self.cuts);
        cuts.sort_unstable_by_key(|(except, range)| (*except, range.start));
        self.chunks.push(Chunk { bytes: std::mem::take(&mut self.buffer).into(), cuts });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_gets_a_chunk_without_its_cuts() {
        let cuts = vec![(PeerId(1), 0..2), (PeerId(1), 4..6), (PeerId(2), 8..10), (PeerId(3), 0..10)];
        let chunk = Chunk { bytes: Bytes::from_static(b"0123456789"), cuts };
        for (peer, pieces) in [
            (0, vec!["0123456789"]),
            (1, vec!["23", "6789"]),
            (2, vec!["01234567"]),
            (3, vec![]),
            (4, vec!["0123456789"]),
        ] {
            let got: Vec<Bytes> = chunk.for_member(PeerId(peer)).collect();
            assert_eq!(got, pieces, "peer {peer}");
        }
    }
}
