//! The full compare: everything that is Linnet's in the kernel is read and held against what is wanted, on demand and every
//! ten minutes or so. What the kernel announces keeps the two equal all along; this finds what went by without a word.
//!
//! Where nothing differs nothing is stored: a table of half a million routes is compared as it is read.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{BuildHasher, RandomState},
    time::{Duration, Instant},
};

use ipnetwork::IpNetwork;
use netlink_packet_route::RouteNetlinkMessage;

use super::Engine;
use crate::{
    Comparison, Comparisons, FibError,
    comparison::{Difference, DifferenceKind, LISTED, LastComparison, Subject},
    culprit,
    kernel_paths::KernelPathId,
    kernel_route::{KernelRoute, read},
    next_hops::{Different, Group},
    overlay,
    paths::FamilyPath,
    plan::{Intent, Operation, Verdict, decide},
    table::Slot,
};

/// Between two compares.
const EVERY: Duration = Duration::from_secs(600);
/// A compare takes no more than this part of the time, however many routes there are.
const SHARE: u32 = 200;
/// Differences that are logged one by one.
const LOGGED: usize = 16;

/// When the next compare is due, and what came of those so far.
#[derive(Debug)]
pub(super) struct Schedule {
    next: Instant,
    count: u64,
    found: u64,
    last: Option<(Instant, LastComparison)>,
}

impl Schedule {
    pub(super) fn new(now: Instant) -> Schedule {
        Schedule { next: now + pause(Duration::ZERO), count: 0, found: 0, last: None }
    }

    pub(super) fn next(&self) -> Instant {
        self.next
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.next <= now
    }

    pub(super) fn told(&self, now: Instant) -> Comparisons {
        let last = self.last.map(|(at, last)| LastComparison { ago: now.duration_since(at), ..last });
        Comparisons { count: self.count, found: self.found, last }
    }

    fn done(&mut self, comparison: &Comparison, now: Instant) {
        let differences = comparison.count();
        self.count += 1;
        self.found += differences as u64;
        let last = LastComparison {
            ago: Duration::ZERO,
            differences,
            unrepaired: comparison.unrepaired,
            took: comparison.took,
        };
        self.last = Some((now, last));
        self.next = now + pause(comparison.took);
    }
}

/// Until the next compare: a tenth more or less, so that hosts on one machine that started together drift apart.
fn pause(took: Duration) -> Duration {
    let pause = EVERY.max(took * SHARE);
    let chance = RandomState::new().hash_one(()) % 2001;
    pause * 9 / 10 + pause * (chance as u32) / 10_000
}

/// What a compare found so far.
#[derive(Debug, Default)]
struct Findings {
    listed: Vec<Difference>,
    more: usize,
    /// Routes that differ or wait, listed or not.
    routes: Vec<IpNetwork>,
    unconfirmed: usize,
}

impl Findings {
    /// `detail` is made only for what is listed.
    fn add(&mut self, subject: Subject, kind: DifferenceKind, detail: impl FnOnce() -> String) {
        if self.listed.len() == LISTED {
            self.more += 1;
        } else {
            self.listed.push(Difference { subject, kind, detail: detail(), repaired: false, error: None });
        }
    }
}

impl Engine {
    /// Compares because it is time to.
    pub(super) fn compare_by_itself(&mut self) {
        if let Err(error) = self.compare(false) {
            tracing::warn!(%error, "the kernel could not be compared with what is wanted");
            self.comparisons.next = Instant::now() + pause(Duration::ZERO);
        }
    }

    /// Reads everything, repairs what differs, and says what that was. `asked`: somebody waits for it, and what was left to
    /// another program for a while is repaired as well.
    pub(super) fn compare(&mut self, asked: bool) -> Result<Comparison, FibError> {
        // What waits or is announced already is no find.
        self.catch_up();
        self.heard();
        let began = Instant::now();
        let mut findings = Findings::default();
        self.read_links()?;
        self.compare_device(&mut findings)?;
        for what in self.audit_peers() {
            findings.add(Subject::Device(overlay::WIREGUARD_DEVICE.into()), DifferenceKind::Changed, || what);
        }
        let swept = self.swept == [true; 2];
        let (lost, objects) = self.next_hops.compare(swept, &mut self.socket)?;
        self.lose_next_hops(&lost);
        for v6 in [false, true] {
            self.compare_with_book(v6, &mut findings)?;
        }
        if let Some(overlay) = &self.overlay {
            self.neighbours.read(&mut self.socket, overlay)?;
        }
        // The book is what the kernel has now.
        let paths: Vec<FamilyPath> = self.ledger.paths.wanted().map(|(id, _)| id).collect();
        for path in paths {
            self.resolve(path);
        }
        if asked {
            self.troubles.end_truces(began);
            self.overlay_fights.end_truces(began);
        }
        self.compare_routes(&mut findings);
        self.compare_objects(&objects, &mut findings);
        let entries = self.compare_entries(&mut findings);

        self.reconcile(std::mem::take(&mut findings.routes));
        self.add_neighbours();
        self.remove_neighbours();
        let routes = self.totals().wanted;
        let mut comparison = Comparison {
            routes,
            objects: self.next_hops.count(),
            entries,
            unconfirmed: findings.unconfirmed,
            differences: findings.listed,
            more: findings.more,
            unrepaired: 0,
            took: began.elapsed(),
        };
        self.judge(&mut comparison);
        self.comparisons.done(&comparison, Instant::now());
        log(&comparison);
        Ok(comparison)
    }

    fn compare_device(&mut self, findings: &mut Findings) -> Result<(), FibError> {
        let Some(spec) = self.overlay_spec.clone() else { return Ok(()) };
        let name = spec.encapsulation.device();
        let wanted = spec.mtu.or_else(|| overlay::underlay(&spec, &self.links));
        let wrong = match self.links.by_name(name) {
            None => Some((DifferenceKind::Missing, "it is wanted by overlay.mode".to_owned())),
            Some((_, link)) if !link.up => Some((DifferenceKind::Changed, "it is down, wanted up".to_owned())),
            Some((_, link)) if wanted.is_some_and(|mtu| link.mtu != mtu) => {
                let wanted = wanted.unwrap_or_default();
                Some((DifferenceKind::Changed, format!("its MTU is {}, wanted {wanted}", link.mtu)))
            }
            Some(_) if !overlay::stands(&mut self.socket, &spec)? => {
                Some((DifferenceKind::Changed, "its settings are not those of the configuration".to_owned()))
            }
            Some(_) => None,
        };
        if wrong.is_none() {
            for what in self.tend_conduct() {
                findings.add(Subject::Device(name.into()), DifferenceKind::Changed, || what);
            }
        }
        if let Some((kind, detail)) = wrong {
            findings.add(Subject::Device(name.into()), kind, || detail);
            match self.set_overlay(Some(spec)) {
                Ok(Some(status)) => self.outbox.overlay(Ok(status)),
                // Seen when it is judged.
                Ok(None) | Err(_) => self.timers.overlay = Some(Instant::now()),
            }
        }
        Ok(())
    }

    /// Reads a family's routes and sees to it that the book says what is there.
    fn compare_with_book(&mut self, v6: bool, findings: &mut Findings) -> Result<(), FibError> {
        let question = self.all_routes(v6);
        let ledger = &self.ledger;
        let seen = self.socket.dump(question, |message| {
            let RouteNetlinkMessage::NewRoute(message) = message else { return None };
            let route = read(&message)?;
            if ledger.concerns(&route) {
                let new = !ledger.knows(&route);
                Some(new.then(|| Box::new(route)))
            } else if ledger.strands(&route) {
                Some(Some(Box::new(route)))
            } else {
                None
            }
        })?;
        let (stranded, new): (Vec<Box<KernelRoute>>, Vec<_>) =
            seen.iter().flatten().cloned().partition(|route| ledger.strands(route));
        let same = new.is_empty() && seen.len() - stranded.len() == ledger.known(v6);
        for route in stranded {
            findings.add(Subject::Route(route.prefix), DifferenceKind::Stranded, || {
                format!("{} with metric {}, wanted none", self.words(&route.path), route.metric)
            });
        }
        if same { Ok(()) } else { self.read_routes(v6) }
    }

    /// Adds routes that are not as wanted, or cannot be now.
    fn compare_routes(&mut self, findings: &mut Findings) {
        let mut differing = Vec::new();
        for (prefix, slot) in self.ledger.table.iter() {
            match (self.verdict(prefix, slot), self.intent(prefix, slot)) {
                (Verdict::Settled, Intent::Hold) if slot.have().is_none() => differing.push(prefix),
                (Verdict::Settled, Intent::Unasked) => findings.unconfirmed += usize::from(slot.have().is_some()),
                (Verdict::Settled, _) if self.ledger.is_doubled(prefix) => differing.push(prefix),
                (Verdict::Settled, _) => {}
                (Verdict::Do(_) | Verdict::Conflict(_), _) => differing.push(prefix),
            }
        }
        differing.sort_unstable();
        for prefix in &differing {
            let slot = self.ledger.table.get(*prefix);
            let there = || self.shown(slot.have());
            let (kind, detail) = match self.verdict(*prefix, slot) {
                Verdict::Conflict(protocol) => {
                    let owner = culprit::protocol(protocol);
                    (DifferenceKind::Conflict, format!("a route of protocol {owner} has its place"))
                }
                Verdict::Do(Operation::Create(path)) => {
                    (DifferenceKind::Missing, format!("wanted {}", self.shown(Some(path))))
                }
                Verdict::Do(Operation::Replace(path)) => {
                    (DifferenceKind::Changed, format!("{}, wanted {}", there(), self.shown(Some(path))))
                }
                Verdict::Do(Operation::Remove) => (DifferenceKind::Extra, format!("{}, wanted none", there())),
                Verdict::Settled if slot.have().is_none() => {
                    (DifferenceKind::Missing, "it waits for a next hop".to_owned())
                }
                Verdict::Settled => {
                    (DifferenceKind::Extra, format!("another route with protocol {}'s mark beside it", crate::PROTOCOL))
                }
            };
            findings.add(Subject::Route(*prefix), kind, || detail);
        }
        findings.routes = differing;
    }

    fn compare_objects(&mut self, objects: &[Different], findings: &mut Findings) {
        for Different { id, kind, before, there } in objects {
            let hops = |group: &Group| self.group_words(group);
            findings.add(Subject::NextHop(*id), *kind, || match kind {
                DifferenceKind::Changed => format!("{}, wanted {}", hops(there), hops(before)),
                DifferenceKind::Missing => format!("wanted {}", hops(before)),
                DifferenceKind::Extra | DifferenceKind::Stranded | DifferenceKind::Conflict => {
                    format!("{}, wanted none", hops(there))
                }
            });
        }
    }

    /// Returns how many entries are wanted.
    fn compare_entries(&mut self, findings: &mut Findings) -> usize {
        let Some(overlay) = &self.overlay else { return 0 };
        let swept = self.swept == [true; 2];
        let (wanted, different) = self.neighbours.compare(&self.tunnel_ends(), overlay, swept);
        for (subject, kind, detail) in different {
            findings.add(subject, kind, || detail);
        }
        wanted
    }

    /// Says of each difference whether it is gone, and counts those that are not.
    fn judge(&self, comparison: &mut Comparison) {
        let now = Instant::now();
        let entries: BTreeMap<Subject, String> = self.overlay.as_ref().map_or_else(BTreeMap::new, |overlay| {
            let swept = self.swept == [true; 2];
            let (_, different) = self.neighbours.compare(&self.tunnel_ends(), overlay, swept);
            different.into_iter().map(|(subject, _, _)| (subject.clone(), self.neighbours.refusal(&subject))).collect()
        });
        let owned: BTreeSet<u32> = self.next_hops.owned().collect();
        for difference in &mut comparison.differences {
            let error = match (&difference.subject, difference.kind) {
                (Subject::Route(_), DifferenceKind::Stranded) => Some(format!(
                    "it is left alone, because its metric is not fib.metric ({}); remove it with `ip route del`, or with \
                     `linnetd --cleanup` and the metric of that time",
                    self.config.metric
                )),
                (Subject::Route(prefix), _) => self.still_wrong(*prefix, now),
                (Subject::Device(_), _) => {
                    self.overlay.is_none().then(|| "it cannot be set up; `linnet status` says why".to_owned())
                }
                (Subject::NextHop(id), DifferenceKind::Extra) => {
                    let kept = self.next_hops.has(*id) && !owned.contains(id);
                    kept.then(|| "the kernel keeps it; the log says why".to_owned())
                }
                // Made anew under the same number or another, where a path still has it; else its routes go without.
                (Subject::NextHop(_), _) => None,
                (subject @ (Subject::Neighbour(_) | Subject::Forwarding(_)), _) => entries.get(subject).cloned(),
            };
            difference.repaired = error.is_none();
            difference.error = error;
        }
        let listed = comparison.differences.iter().filter(|difference| !difference.repaired).count();
        comparison.unrepaired = listed;
        if comparison.more > 0 {
            let all = self.ledger.table.iter().map(|(prefix, _)| prefix);
            let wrong = all.filter(|prefix| self.still_wrong(*prefix, now).is_some()).count();
            comparison.unrepaired = wrong.max(listed);
        }
    }

    /// Why a route is not as wanted.
    fn still_wrong(&self, prefix: IpNetwork, now: Instant) -> Option<String> {
        let slot = self.ledger.table.get(prefix);
        let waits = slot.have().is_none() && self.intent(prefix, slot) == Intent::Hold;
        if self.verdict(prefix, slot) == Verdict::Settled && !waits {
            return None;
        }
        let complaint = match slot.want() {
            crate::table::Want::Path(path) => self
                .ledger
                .paths
                .resolved((path, prefix.is_ipv6()))
                .and_then(|known| known.resolution.complaint.clone()),
            crate::table::Want::Unasked | crate::table::Want::Gone => None,
        };
        Some(self.troubles.why(prefix, now).or(complaint).unwrap_or_else(|| "it is tried again by itself".into()))
    }

    fn intent(&self, prefix: IpNetwork, slot: Slot) -> Intent {
        self.ledger.paths.intent(slot.want(), prefix.is_ipv6())
    }

    fn verdict(&self, prefix: IpNetwork, slot: Slot) -> Verdict {
        let foreign = self.ledger.foreign.get(&prefix).copied();
        decide(self.intent(prefix, slot), slot.have(), foreign, self.swept[usize::from(prefix.is_ipv6())])
    }

    /// Where a route leads, for people.
    fn shown(&self, path: Option<KernelPathId>) -> String {
        match path.and_then(|path| self.ledger.kernel.get(path)) {
            Some(path) => self.words(path),
            None => "none".into(),
        }
    }
}

fn log(comparison: &Comparison) {
    for difference in comparison.differences.iter().take(LOGGED) {
        let Difference { subject, kind, detail, repaired, error } = difference;
        let (word, kind, error) = (subject.word(), kind.word(), error.as_deref().unwrap_or_default());
        tracing::warn!(%subject, kind, detail, repaired, error, "the kernel differs from what is wanted: {word}");
    }
    let (differences, unrepaired) = (comparison.count(), comparison.unrepaired);
    let milliseconds = comparison.took.as_millis();
    tracing::debug!(routes = comparison.routes, differences, unrepaired, milliseconds, "compared with the kernel");
    if differences > LOGGED {
        tracing::warn!(differences, unrepaired, "the kernel differs in more than is told one by one");
    }
}
