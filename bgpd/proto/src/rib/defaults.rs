//! A default route for some peers alone (`default-originate`): it is no route of ours, and nothing is forwarded by it.
//!
//! Its path stands in the table as one that is not accepted, so that the prefix has a number there, a person sees it, and no
//! decision takes it. Update groups whose peers are to have it are told it in place of the best path.

use super::Rib;
use super::aggregates::ourselves;
use super::peers::at;
use super::table::{News, Path, PrefixId, Table};
use crate::conduct::DefaultOriginate;
use crate::rib::import::Rejection;
use crate::time::Instant;
use crate::types::{Family, PathId, PeerId, Prefix};
use crate::wire::aspath::AsPath;
use crate::wire::attributes::{Attributes, Origin};

/// The path that stands for it, beside what is originated under the same prefix.
const DEFAULT: PathId = PathId(2);

impl DefaultOriginate {
    /// Whether it says anything of this family.
    fn concerns(self, family: Family) -> bool {
        match self {
            Self::No => false,
            Self::Always => true,
            Self::While(prefix) => prefix.family() == family,
        }
    }

    /// The path that is told in place of the best one, if this is the default route's prefix and the condition holds.
    pub(super) fn path(self, table: &Table, id: PrefixId) -> Option<&Path> {
        if self == Self::No || table.prefix(id).length() > 0 {
            return None;
        }
        let paths = table.paths(id);
        let path = paths.as_slice().get(paths.find(PeerId::LOCAL, DEFAULT).ok()?)?;
        let holds = match self {
            Self::No => false,
            Self::Always => true,
            Self::While(prefix) => table.find(prefix).is_some_and(|id| table.best(id).is_some()),
        };
        holds.then_some(path)
    }
}

impl Rib {
    /// Which peers are to have a default route may be other than before.
    pub(super) fn refresh_defaults(&mut self, now: Instant) {
        let wishes: Vec<DefaultOriginate> =
            self.peers.iter().map(|(_, peer)| peer.policy.conduct.default_originate).collect();
        self.conditions = wishes
            .iter()
            .filter_map(|wish| match wish {
                DefaultOriginate::While(prefix) => Some(*prefix),
                DefaultOriginate::No | DefaultOriginate::Always => None,
            })
            .collect();
        for family in Family::ALL {
            let Some(prefix) = Prefix::new(ourselves(family).address(), 0) else { continue };
            let wanted = wishes.iter().any(|wish| wish.concerns(family));
            let table = &self.tables[at(family)];
            let there = table.find(prefix).is_some_and(|id| table.paths(id).find(PeerId::LOCAL, DEFAULT).is_ok());
            if wanted && !there {
                let route = Attributes::new(Origin::Igp, AsPath::default(), ourselves(family));
                self.put_local(prefix, DEFAULT, route, Rejection::PeersOnly.flags(), now);
                self.tell_default_again(family);
            } else if there && !wanted {
                self.take_local(prefix, DEFAULT);
            }
        }
    }

    /// The outcome for a prefix is another: does some default route depend on it?
    pub(super) fn note_condition(&mut self, family: Family, id: PrefixId) {
        // The default route as its own condition: groups have just been told of it.
        let prefix = self.tables[at(family)].prefix(id);
        if prefix.length() > 0 && self.conditions.contains(&prefix) {
            self.tell_default_again(family);
        }
    }

    fn tell_default_again(&mut self, family: Family) {
        let table = &mut self.tables[at(family)];
        if let Some(id) = Prefix::new(ourselves(family).address(), 0).and_then(|prefix| table.find(prefix)) {
            table.mark(id, News::Chosen);
            if self.convergence.defers(family) {
                self.own[at(family)].push(id);
            }
        }
    }
}
