//! Making it so: what is wanted for some prefixes is resolved, compared with what is there, and written in batches.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
    time::Instant,
};

use ipnetwork::IpNetwork;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;

use super::{Engine, SETTLE};
use crate::{
    desired::{Path, Want},
    kernel_route::{addition, removal},
    netlink::{Refusal, Request},
    plan::{Intent, Operation, Verdict, decide, order},
    resolve::{Resolution, View, resolve},
    route::{Hop, TunnelEnd},
};

/// Operations that are turned into messages at a time, so that a full table needs no memory of its own for them.
const CHUNK: usize = 8192;

/// A path as a key: it is kept alive by the value, so that its address stays its own.
fn key(path: &Arc<Path>, v6: bool) -> (usize, bool) {
    (Arc::as_ptr(path) as usize, v6)
}

/// Next hops whose link has to be asked for.
fn gateways(path: &Path) -> impl Iterator<Item = IpAddr> + '_ {
    path.target.hops().filter_map(|(hop, _)| match hop {
        Hop::Direct { via, device: None } => Some(*via),
        Hop::Direct { device: Some(_), .. } | Hop::Tunnel(_) => None,
    })
}

impl Engine {
    /// Everything of one family, wanted or there.
    pub(super) fn reconcile_family(&mut self, v6: bool) {
        let wanted = self.desired.iter().map(|(prefix, _)| prefix);
        let prefixes: HashSet<IpNetwork> =
            wanted.chain(self.observed.prefixes()).filter(|prefix| prefix.is_ipv6() == v6).collect();
        self.reconcile(prefixes);
    }

    /// Makes the kernel hold what is wanted for these prefixes.
    pub(super) fn reconcile(&mut self, prefixes: impl IntoIterator<Item = IpNetwork>) {
        let now = Instant::now();
        let prefixes: Vec<IpNetwork> = prefixes.into_iter().collect();
        self.learn_gateways(&prefixes);
        let tunnels_changed = self.desired.take_tunnels_changed();
        if tunnels_changed {
            self.add_neighbours();
        }
        let mut operations = Vec::new();
        for prefix in prefixes {
            if self.troubles.truce(prefix, now) {
                continue;
            }
            let intent = self.intent(prefix);
            let entry = self.observed.entry(prefix);
            match decide(&intent, &entry, self.swept[usize::from(prefix.is_ipv6())]) {
                Verdict::Settled => self.settled(prefix, &intent),
                Verdict::Conflict(protocol) => {
                    let why = conflict(prefix, protocol, self.config.table, self.config.metric);
                    self.troubles.failed(prefix, why, now);
                }
                Verdict::Do(operation) => operations.push((prefix, operation)),
            }
        }
        order(&mut operations);
        let wrote = !operations.is_empty();
        let mut rest = operations.into_iter().peekable();
        while rest.peek().is_some() {
            let chunk: Vec<_> = rest.by_ref().take(CHUNK).collect();
            self.write(chunk, now);
        }
        if wrote {
            self.observed.tidy();
            self.ask_again();
        }
        if tunnels_changed {
            self.remove_neighbours();
        }
    }

    fn settled(&mut self, prefix: IpNetwork, intent: &Intent) {
        match intent {
            Intent::Route(_) | Intent::Hold => self.troubles.settled(prefix),
            Intent::Gone | Intent::Unasked => {
                self.troubles.forget(prefix);
                self.desired.settled(prefix);
            }
        }
    }

    /// Sends one chunk and takes in the kernel's verdicts.
    fn write(&mut self, operations: Vec<(IpNetwork, Operation)>, now: Instant) {
        let (table, metric) = (self.config.table, self.config.metric);
        let requests: Vec<Request> = operations
            .iter()
            .map(|(prefix, operation)| match operation {
                Operation::Create(path) => Request {
                    message: RouteNetlinkMessage::NewRoute(addition(*prefix, table, metric, path)),
                    // Exclusive: should somebody else's route have come in between, it stays.
                    flags: NLM_F_CREATE | NLM_F_EXCL,
                },
                Operation::Replace(path) => Request {
                    message: RouteNetlinkMessage::NewRoute(addition(*prefix, table, metric, path)),
                    flags: NLM_F_CREATE | NLM_F_REPLACE,
                },
                Operation::Remove => {
                    Request { message: RouteNetlinkMessage::DelRoute(removal(*prefix, table, metric)), flags: 0 }
                }
            })
            .collect();
        let verdicts = match self.socket.batch(&requests) {
            Ok(verdicts) => verdicts,
            Err(error) => {
                for (prefix, _) in &operations {
                    self.troubles.failed(*prefix, error.to_string(), now);
                }
                self.report(Err(error));
                return;
            }
        };
        for ((prefix, operation), verdict) in operations.into_iter().zip(verdicts) {
            match (operation, verdict) {
                (Operation::Create(path) | Operation::Replace(path), Ok(())) => {
                    self.observed.set(prefix, Some(path));
                    self.troubles.settled(prefix);
                }
                (Operation::Remove, Ok(())) => self.removed(prefix),
                (Operation::Remove, Err(refusal)) if refusal.errno == libc::ESRCH => self.removed(prefix),
                (Operation::Create(_), Err(refusal)) if refusal.errno == libc::EEXIST => {
                    // Something is there that was not known of: what it is, a reading tells.
                    self.read_soon(prefix.is_ipv6());
                    self.troubles.failed(prefix, "a route with the same key is there; reading it".into(), now);
                }
                (Operation::Create(_) | Operation::Replace(_) | Operation::Remove, Err(refusal)) => {
                    tracing::warn!(%prefix, %refusal, "the kernel refused a route; it is tried again");
                    self.troubles.failed(prefix, refused(&refusal), now);
                }
            }
        }
    }

    fn removed(&mut self, prefix: IpNetwork) {
        self.observed.set(prefix, None);
        self.troubles.forget(prefix);
        self.desired.settled(prefix);
    }

    fn intent(&mut self, prefix: IpNetwork) -> Intent {
        match self.desired.want(prefix).cloned() {
            None => Intent::Unasked,
            Some(Want::Gone) => Intent::Gone,
            Some(Want::Path(path)) => match self.resolution(&path, prefix.is_ipv6()).path {
                Some(path) => Intent::Route(path),
                None => Intent::Hold,
            },
        }
    }

    /// What became of a path; worked out once for all routes that share it.
    pub(super) fn resolution(&mut self, path: &Arc<Path>, v6: bool) -> Resolution {
        let view = View { links: &self.links, answers: &self.answers, overlay: self.overlay.as_ref() };
        let entry = self.resolved.entry(key(path, v6));
        entry.or_insert_with(|| (path.clone(), resolve(path, v6, view))).1.clone()
    }

    /// Asks for next hops that are new.
    fn learn_gateways(&mut self, prefixes: &[IpNetwork]) {
        let mut unknown = HashSet::new();
        for prefix in prefixes {
            if let Some(Want::Path(path)) = self.desired.want(*prefix)
                && !self.resolved.contains_key(&key(path, prefix.is_ipv6()))
            {
                unknown.extend(gateways(path));
            }
        }
        let learned = self.answers.learn(unknown, &mut self.socket, &self.links);
        self.report(learned);
    }

    /// Devices or next hops are not what they were: resolves every path anew and moves the routes of those that
    /// changed. This is the failover: it waits for nothing.
    pub(super) fn links_changed(&mut self) {
        let view = View { links: &self.links, answers: &self.answers, overlay: self.overlay.as_ref() };
        let mut changed = HashSet::new();
        // Paths that only this map still holds are those of routes long gone.
        self.resolved.retain(|_, (path, _)| Arc::strong_count(path) > 1);
        for (key, (path, resolution)) in &mut self.resolved {
            let anew = resolve(path, key.1, view);
            if anew != *resolution {
                *resolution = anew;
                changed.insert(*key);
            }
        }
        if changed.is_empty() {
            return;
        }
        let touched = self.desired.iter().filter_map(|(prefix, want)| match want {
            Want::Path(path) => changed.contains(&key(path, prefix.is_ipv6())).then_some(prefix),
            Want::Gone => None,
        });
        let touched: Vec<IpNetwork> = touched.collect();
        self.reconcile(touched);
    }

    /// Asks for all next hops again, tells of those that changed, and moves routes accordingly.
    pub(super) fn reach_again(&mut self) {
        let began = Instant::now();
        let needed: HashSet<IpAddr> =
            self.desired.paths().flat_map(|path| gateways(path).collect::<Vec<_>>()).collect();
        let changed = match self.answers.again(&needed, &mut self.socket, &self.links) {
            Ok(changed) => changed,
            Err(error) => return self.report(Err(error)),
        };
        // So that asking, with very many next hops, never takes more than a tenth of the time.
        self.reach_pause = SETTLE.max(10 * began.elapsed());
        if changed.is_empty() {
            return;
        }
        for (address, watched) in changed {
            if watched && let Some(answer) = self.answers.get(address) {
                self.outbox.reach(address, answer.public(&self.links));
            }
        }
        self.links_changed();
    }

    /// Next hops may be reached otherwise now: asks soon.
    pub(super) fn ask_again(&mut self) {
        self.timers.reach.get_or_insert(Instant::now() + self.reach_pause);
    }

    /// Routes may not be what they are thought to be: reads soon.
    pub(super) fn read_soon(&mut self, v6: bool) {
        self.timers.read[usize::from(v6)].get_or_insert(Instant::now() + SETTLE);
    }

    pub(super) fn add_neighbours(&mut self) {
        if let Some(overlay) = &self.overlay {
            let added = self.neighbours.add(&self.tunnel_ends(), overlay, &mut self.socket);
            self.report(added);
        }
    }

    pub(super) fn remove_neighbours(&mut self) {
        let ends = self.tunnel_ends();
        if let Some(overlay) = &self.overlay {
            let swept = self.swept == [true; 2];
            let removed = self.neighbours.remove(&ends, overlay, swept, &mut self.socket);
            self.report(removed);
        }
    }

    fn tunnel_ends(&self) -> BTreeSet<TunnelEnd> {
        self.desired.paths().flat_map(|path| path.tunnels().collect::<Vec<_>>()).collect()
    }

    /// Puts back what somebody else changed; `what` tells, by prefix, what was done.
    pub(super) fn repair(&mut self, meddled: HashMap<IpNetwork, String>) {
        let now = Instant::now();
        let mut back = Vec::new();
        for (prefix, what) in meddled {
            let intent = self.intent(prefix);
            let swept = self.swept[usize::from(prefix.is_ipv6())];
            let Verdict::Do(_) = decide(&intent, &self.observed.entry(prefix), swept) else {
                back.push(prefix);
                continue;
            };
            if !matches!(intent, Intent::Route(_)) {
                back.push(prefix);
            } else if self.troubles.meddled(prefix, now) {
                tracing::warn!(%prefix, %what, "another program touched a route of Linnet's; putting it back");
                self.outbox.repaired(prefix, what);
                back.push(prefix);
            } else {
                tracing::warn!(%prefix, "another program fights over a route of Linnet's; leaving it for a while");
            }
        }
        self.reconcile(back);
    }
}

fn refused(refusal: &Refusal) -> String {
    format!("the kernel refused it: {refusal}; it is tried again by itself")
}

fn conflict(prefix: IpNetwork, protocol: u8, table: u32, metric: u32) -> String {
    let family = if prefix.is_ipv6() { "-6 " } else { "" };
    format!(
        "a route of another owner (protocol {protocol}) has the same prefix, table and metric and is left alone; remove \
         it (`ip {family}route del {prefix} proto {protocol} metric {metric} table {table}`) or set fib.metric to \
         another value"
    )
}
