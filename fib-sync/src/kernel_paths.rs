//! Where routes lead, as the kernel has it, each stored once and counted: a slot of the table names one by number.

use std::{collections::HashMap, sync::Arc};

use ipnetwork::IpNetwork;
use netlink_packet_route::RouteNetlinkMessage;

use crate::{
    kernel_route::{KernelPath, addition},
    netlink::Message,
};

/// The number of a path, used again when no route has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct KernelPathId(pub(crate) u32);

#[derive(Debug)]
struct Stored {
    path: Arc<KernelPath>,
    holders: u32,
    /// RTM_NEWROUTE for a route by this path, by family, for a prefix that is still to be written into it.
    messages: [Option<Message>; 2],
}

/// All paths that somebody holds.
#[derive(Debug, Default)]
pub(crate) struct KernelPaths {
    stored: Vec<Option<Stored>>,
    free: Vec<KernelPathId>,
    numbers: HashMap<Arc<KernelPath>, KernelPathId>,
}

impl KernelPaths {
    pub(crate) fn get(&self, id: KernelPathId) -> Option<&Arc<KernelPath>> {
        self.stored.get(id.0 as usize)?.as_ref().map(|stored| &stored.path)
    }

    /// The number of this path, which has one holder more.
    pub(crate) fn hold(&mut self, path: KernelPath) -> KernelPathId {
        if let Some(id) = self.numbers.get(&path) {
            let id = *id;
            self.hold_again(id);
            return id;
        }
        let path = Arc::new(path);
        let stored = Stored { path: path.clone(), holders: 1, messages: [None, None] };
        let id = match self.free.pop() {
            Some(id) => {
                self.stored[id.0 as usize] = Some(stored);
                id
            }
            None => {
                self.stored.push(Some(stored));
                KernelPathId(u32::try_from(self.stored.len() - 1).unwrap_or(u32::MAX))
            }
        };
        self.numbers.insert(path, id);
        id
    }

    pub(crate) fn hold_again(&mut self, id: KernelPathId) {
        if let Some(Some(stored)) = self.stored.get_mut(id.0 as usize) {
            stored.holders += 1;
        }
    }

    pub(crate) fn release(&mut self, id: KernelPathId) {
        if let Some(slot) = self.stored.get_mut(id.0 as usize)
            && let Some(stored) = slot
        {
            stored.holders -= 1;
            if stored.holders == 0 {
                self.numbers.remove(&stored.path);
                *slot = None;
                self.free.push(id);
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (KernelPathId, &Arc<KernelPath>)> {
        let numbered = (0..).map(KernelPathId).zip(&self.stored);
        numbered.filter_map(|(id, stored)| Some((id, &stored.as_ref()?.path)))
    }

    /// RTM_NEWROUTE for a route by this path. Made once, because building a message attribute by attribute costs as much as
    /// the kernel's own work on it.
    pub(crate) fn message(&mut self, id: KernelPathId, prefix: IpNetwork, table: u32, metric: u32) -> Option<&Message> {
        let stored = self.stored.get_mut(id.0 as usize)?.as_mut()?;
        let slot = &mut stored.messages[usize::from(prefix.is_ipv6())];
        Some(slot.get_or_insert_with(|| {
            Message::new(&RouteNetlinkMessage::NewRoute(addition(prefix, table, metric, &stored.path)))
        }))
    }
}
