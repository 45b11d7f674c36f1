//! Routes of Linnet's where this engine has none: an earlier run left them, which had another table or another metric.

use ipnetwork::IpNetwork;
use netlink_packet_route::RouteNetlinkMessage;

use super::Engine;
use crate::{
    FibError, PROTOCOL, RoutePlace,
    kernel_route::{KernelRoute, read, removal},
    netlink::{Batch, Message},
};

/// How often they are looked for: one request takes one of several routes under one key.
const PASSES: usize = 8;
/// Requests of one send.
const SOME: usize = 256;

impl Engine {
    /// Where they lead. Of a place of the engine's own, nothing: those are in the book.
    pub(super) fn left_at(&mut self, place: RoutePlace) -> Result<Vec<IpNetwork>, FibError> {
        let RoutePlace { table, metric } = place;
        if table == 0 || (table, metric) == (self.config.table, self.config.metric) {
            return Ok(Vec::new());
        }
        let is_left = |route: &KernelRoute| {
            route.protocol == PROTOCOL && route.table == table && route.metric == metric && route.tos == 0
        };
        let mut left = Vec::new();
        for v6 in [false, true] {
            let question = Self::routes_in(v6, table);
            left.extend(self.socket.dump(question, |message| match message {
                RouteNetlinkMessage::NewRoute(message) => read(&message).filter(is_left).map(|route| route.prefix),
                _ => None,
            })?);
        }
        Ok(left)
    }

    /// Removes them. Returns how many there were.
    pub(super) fn vacate(&mut self, place: RoutePlace) -> Result<usize, FibError> {
        let RoutePlace { table, metric } = place;
        let mut removed = 0;
        for _ in 0..PASSES {
            let left = self.left_at(place)?;
            if left.is_empty() {
                break;
            }
            for some in left.chunks(SOME) {
                let mut batch = Batch::default();
                for prefix in some {
                    let request = Message::new(&RouteNetlinkMessage::DelRoute(removal(*prefix, table, metric)));
                    batch.push(request.kind, 0, &request.payload);
                }
                let refused = self.socket.deliver(&mut batch)?;
                removed += some.len() - refused.len();
                // Gone already is gone.
                if let Some((index, refusal)) = refused.into_iter().find(|(_, refusal)| refusal.errno != libc::ESRCH) {
                    return Err(FibError::Kernel {
                        what: format!("remove route {} of metric {metric} from table {table}", some[index]),
                        source: refusal.error(),
                        message: refusal.message,
                    });
                }
            }
        }
        // They may have been the last ones by next-hop objects, or the way to a next hop.
        self.collect_next_hops();
        self.ask_again();
        Ok(removed)
    }
}
