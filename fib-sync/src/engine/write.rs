//! Operations on their way to the kernel, in batches, and its verdicts on them.

use std::time::Instant;

use ipnetwork::IpNetwork;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;

use super::{Engine, SETTLE};
use crate::{
    kernel_paths::KernelPathId,
    kernel_route::{removal, set_destination},
    netlink::{Batch, Message, Refusal},
    plan::Operation,
    table::Want,
};

/// An operation that is on its way to the kernel, and what to go back to should the kernel refuse it.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) prefix: IpNetwork,
    pub(super) operation: Operation,
    pub(super) before: Option<KernelPathId>,
    pub(super) want: Want,
}

/// What one reconciliation writes.
#[derive(Debug, Default)]
pub(super) struct Writer {
    batch: Batch,
    sent: Vec<Sent>,
    pub(super) wrote: bool,
}

impl Engine {
    /// Adds an operation to what is sent next. Returns whether all of it was sent.
    pub(super) fn write(&mut self, sent: Sent, writer: &mut Writer, now: Instant) -> bool {
        let (prefix, table, metric) = (sent.prefix, self.config.table, self.config.metric);
        let (flags, message) = match sent.operation {
            // Exclusive: should somebody else's route have come in between, it stays.
            Operation::Create(path) => {
                (NLM_F_CREATE | NLM_F_EXCL, self.ledger.kernel.message(path, prefix, table, metric))
            }
            Operation::Replace(path) => {
                (NLM_F_CREATE | NLM_F_REPLACE, self.ledger.kernel.message(path, prefix, table, metric))
            }
            Operation::Remove => {
                let make = || Message::new(&RouteNetlinkMessage::DelRoute(removal(prefix, table, metric)));
                (0, Some(&*self.removals[usize::from(prefix.is_ipv6())].get_or_insert_with(make)))
            }
        };
        // The operation holds its path, so there is a message.
        let Some(message) = message else { return false };
        set_destination(writer.batch.push(message.kind, flags, &message.payload), prefix);
        writer.sent.push(sent);
        let full = writer.batch.is_full();
        if full {
            self.flush(writer, now);
        }
        full
    }

    /// Sends what is written and takes in the kernel's verdicts.
    pub(super) fn flush(&mut self, writer: &mut Writer, now: Instant) {
        if writer.sent.is_empty() {
            return;
        }
        writer.wrote = true;
        let mut refused = match self.socket.deliver(&mut writer.batch) {
            Ok(refused) => refused.into_iter().peekable(),
            Err(error) => {
                for sent in writer.sent.drain(..) {
                    self.troubles.failed(sent.prefix, error.to_string(), now);
                    self.undo(&sent);
                }
                return self.report(Err(error));
            }
        };
        for (number, sent) in writer.sent.drain(..).enumerate() {
            match refused.next_if(|(index, _)| *index == number) {
                Some((_, refusal)) => self.refused(&sent, &refusal, now),
                None => self.done(&sent),
            }
        }
    }

    fn done(&mut self, sent: &Sent) {
        if let Some(before) = sent.before {
            self.ledger.kernel.release(before);
        }
        match sent.operation {
            Operation::Create(_) | Operation::Replace(_) => self.troubles.settled(sent.prefix),
            Operation::Remove => self.troubles.forget(sent.prefix),
        }
    }

    fn refused(&mut self, sent: &Sent, refusal: &Refusal, now: Instant) {
        let prefix = sent.prefix;
        match sent.operation {
            Operation::Remove if refusal.errno == libc::ESRCH => return self.done(sent),
            Operation::Create(_) if refusal.errno == libc::EEXIST => {
                // Something is there that was not known of: what it is, a reading tells. If one has not, the next has time.
                let news = !self.troubles.has(prefix);
                let retry = self.troubles.failed(prefix, "a route with the same key is there; reading it".into(), now);
                if news {
                    self.read_soon(prefix.is_ipv6());
                } else {
                    self.read_at(prefix.is_ipv6(), retry);
                }
            }
            Operation::Create(_) | Operation::Replace(_) | Operation::Remove => {
                tracing::warn!(%prefix, %refusal, "the kernel refused a route; it is tried again");
                let why = format!("the kernel refused it: {refusal}; it is tried again by itself");
                self.troubles.failed(prefix, why, now);
                // A group that is not there any more was lost without a word.
                if refusal.errno == libc::EINVAL && self.next_hops.enabled() {
                    self.timers.next_hops.get_or_insert(now + SETTLE);
                }
            }
        }
        self.undo(sent);
    }

    /// The kernel did not take it: what was there is there.
    fn undo(&mut self, sent: &Sent) {
        self.ledger.table.visit(sent.prefix, |slot| {
            slot.set_have(sent.before);
            if sent.want == Want::Gone && slot.want() == Want::Unasked {
                slot.set_want(Want::Gone);
            }
        });
        if let Operation::Create(path) | Operation::Replace(path) = sent.operation {
            self.ledger.kernel.release(path);
        }
    }
}
