//! MRT files (RFC 6396): the table at intervals, and what peers send as it comes. A thread of its own writes them, so that
//! a slow disk costs no session anything.
//!
//! A file has another name (`.part`) until it is whole. Of each kind the newest stay, and the oldest go first.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bgp_proto::bmp::Stage;
use bgp_proto::monitor::{What, Witness, each_message};
use bgp_proto::mrt::{self, Ends, Entry, IndexedPeer, MOST};
use bgp_proto::rib::{Held, KnownPeer, PageStart};
use bgp_proto::session::State;
use bgp_proto::types::{Asn, Family, FamilySet, PeerId, RouterId};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::config::MrtConfig;
use crate::rib_task::{Known, Order};
use crate::watch::{Sight, Watch, Wish};

/// Octets of one file of updates, above which the next begins early.
const LONGEST_UPDATES: u64 = 256 * 1024 * 1024;
/// How long what peers sent may stay in memory before it is in the file.
const FLUSH: Duration = Duration::from_secs(1);

/// What the writer has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MrtStatus {
    /// Files that were finished.
    pub files: u64,
    /// Of these, tables.
    pub tables: u64,
    /// Octets in them.
    pub octets: u64,
    /// Times that the disk was so slow that updates are missing.
    pub lost: u64,
    /// The newest finished file.
    pub newest: Option<PathBuf>,
    /// Why a file could not be written, until one could again.
    pub last_error: Option<String>,
}

/// What the handle asks.
pub(crate) enum Command {
    Configure(Option<MrtConfig>, RouterId, Asn, oneshot::Sender<Vec<String>>),
    Status(oneshot::Sender<Option<MrtStatus>>),
}

/// Everything about one table that a dump begins with.
struct Index {
    places: HashMap<PeerId, u16>,
    add_path: HashMap<PeerId, FamilySet>,
    /// The first record.
    record: Vec<u8>,
    sequence: u32,
    started: SystemTime,
    now_seconds: u32,
}

impl Index {
    /// `known`: every peer of the RIB, with what its session says if it is up.
    fn new(router_id: RouterId, local_as: Asn, known: &Known) -> Self {
        let started = SystemTime::now();
        // The speaker itself comes first, for what it originates.
        let mut peers = vec![IndexedPeer { router_id, address: [0, 0, 0, 0].into(), asn: local_as }];
        let mut places = HashMap::from([(PeerId::LOCAL, 0)]);
        let mut add_path = HashMap::new();
        for KnownPeer { id, address, router_id } in known.peers.iter().take(MOST - 1) {
            let witness = known.up.iter().find(|witness| witness.peer == *id);
            places.insert(*id, peers.len() as u16);
            let asn = witness.map_or(Asn(0), |witness| witness.established.remote_as);
            peers.push(IndexedPeer { router_id: *router_id, address: *address, asn });
            add_path.insert(*id, witness.map_or(FamilySet::EMPTY, |witness| witness.established.receive.add_path));
        }
        let record = mrt::peer_index_table(seconds(started), router_id, "", &peers);
        Self { places, add_path, record, sequence: 0, started, now_seconds: known.now_seconds }
    }

    /// The records of a page: what was accepted, as the import filter left it.
    fn records(&mut self, page: &[Held], out: &mut Vec<u8>) {
        for paths in page.chunk_by(|one, other| one.nlri.prefix == other.nlri.prefix) {
            let prefix = paths[0].nlri.prefix;
            let with_ids = |held: &Held| {
                let families = self.add_path.get(&held.peer).copied().unwrap_or_default();
                families.contains(prefix.family()) || held.nlri.path_id.0 != 0
            };
            // A record has path identifiers for all of its entries or for none.
            for add_path in [false, true] {
                let entry = |held: &'_ Held| -> Option<(u16, u32)> {
                    let age = self.now_seconds.saturating_sub(held.since);
                    let place = self.places.get(&held.peer).copied()?;
                    Some((place, seconds(self.started).saturating_sub(age)))
                };
                let of = paths.iter().filter(|held| with_ids(held) == add_path);
                let entries: Vec<Entry<'_>> = of
                    .filter_map(|held| {
                        let (peer, originated) = entry(held)?;
                        let attributes = held.accepted.as_deref()?;
                        Some(Entry { peer, originated, path_id: held.nlri.path_id, attributes })
                    })
                    .collect();
                if !entries.is_empty() {
                    out.extend(mrt::rib(seconds(self.started), self.sequence, prefix, add_path, &entries));
                    self.sequence = self.sequence.wrapping_add(1);
                }
            }
        }
    }
}

fn seconds(at: SystemTime) -> u32 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}

/// Asks the RIB for the next page.
async fn page(orders: &mpsc::UnboundedSender<Order>, start: PageStart) -> Option<(Vec<Held>, Option<PageStart>)> {
    let (answer, page) = oneshot::channel();
    orders.send(Order::Walk { start, answer }).ok()?;
    page.await.ok()
}

/// Asks the RIB who its peers are.
async fn known(orders: &mpsc::UnboundedSender<Order>) -> Option<Known> {
    let (answer, known) = oneshot::channel();
    orders.send(Order::Known(answer)).ok()?;
    known.await.ok()
}

/// A table for whoever asks, in parts; it goes on as fast as it is taken.
pub(crate) fn dump(
    orders: mpsc::UnboundedSender<Order>,
    router_id: RouterId,
    local_as: Asn,
) -> mpsc::Receiver<Vec<u8>> {
    let (to, parts) = mpsc::channel(2);
    tokio::spawn(async move {
        let Some(known) = known(&orders).await else { return };
        let mut index = Index::new(router_id, local_as, &known);
        if to.send(std::mem::take(&mut index.record)).await.is_err() {
            return;
        }
        let mut next = Some(PageStart::default());
        while let Some(start) = next {
            let Some((held, rest)) = page(&orders, start).await else { return };
            let mut out = Vec::new();
            index.records(&held, &mut out);
            if !out.is_empty() && to.send(out).await.is_err() {
                return;
            }
            next = rest;
        }
    });
    parts
}

struct Writer {
    orders: mpsc::UnboundedSender<Order>,
    config: Option<MrtConfig>,
    router_id: RouterId,
    local_as: Asn,
    status: watch::Sender<MrtStatus>,
    updates: Option<Part>,
    watch: Option<Watch>,
    table_at: Option<Instant>,
    updates_until: Option<Instant>,
}

/// A file that is not whole yet.
struct Part {
    path: PathBuf,
    part: PathBuf,
    file: BufWriter<File>,
    octets: u64,
}

/// Starts the thread, which ends when the handles are gone.
pub(crate) fn start(
    config: Option<MrtConfig>,
    router_id: RouterId,
    local_as: Asn,
    orders: mpsc::UnboundedSender<Order>,
) -> io::Result<mpsc::Sender<Command>> {
    let (commands, received) = mpsc::channel(4);
    let (status, _) = watch::channel(MrtStatus::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    std::thread::Builder::new().name("mrt".to_owned()).spawn(move || {
        let mut writer = Writer {
            orders,
            config: None,
            router_id,
            local_as,
            status,
            updates: None,
            watch: None,
            table_at: None,
            updates_until: None,
        };
        runtime.block_on(async {
            writer.configure(config);
            writer.run(received).await;
        });
    })?;
    Ok(commands)
}

/// What a wait ended with.
enum Next {
    Command(Option<Command>),
    Sight(Option<Sight>),
    Table,
    FileOver,
    Flush,
}

impl Writer {
    async fn run(&mut self, mut commands: mpsc::Receiver<Command>) {
        loop {
            let flush = self.updates.as_ref().is_some_and(|part| !part.file.buffer().is_empty());
            let next = tokio::select! {
                command = commands.recv() => Next::Command(command),
                sight = next_sight(&mut self.watch) => Next::Sight(sight),
                () = at(self.table_at) => Next::Table,
                () = at(self.updates_until) => Next::FileOver,
                () = tokio::time::sleep(FLUSH), if flush => Next::Flush,
            };
            match next {
                Next::Command(Some(Command::Configure(config, router_id, local_as, answer))) => {
                    (self.router_id, self.local_as) = (router_id, local_as);
                    let lines = self.configure(config);
                    let _ = answer.send(lines);
                }
                Next::Command(Some(Command::Status(answer))) => {
                    let status = self.config.is_some().then(|| self.status.borrow().clone());
                    let _ = answer.send(status);
                }
                Next::Command(None) => return self.finish_updates(),
                Next::Sight(Some(sight)) => self.take(&sight),
                Next::Sight(None) => {
                    // The disk was too slow. What follows is whole again; what is between is missing, and it is said.
                    tracing::warn!("MRT: the disk is slower than the peers' updates; some are missing");
                    self.status.send_modify(|status| status.lost += 1);
                    self.begin_updates();
                }
                Next::Table => self.write_table().await,
                Next::FileOver => {
                    self.finish_updates();
                    self.updates_until = self.next_updates();
                }
                Next::Flush => {
                    if let Some(part) = &mut self.updates
                        && let Err(error) = part.file.flush()
                    {
                        self.fail("updates", &error);
                    }
                }
            }
        }
    }

    fn configure(&mut self, config: Option<MrtConfig>) -> Vec<String> {
        if self.config == config {
            return Vec::new();
        }
        self.finish_updates();
        self.config = config;
        self.watch = None;
        let Some(config) = &self.config else { return vec!["mrt: off".to_owned()] };
        let line = format!("mrt: files in {}", config.directory.display());
        // The first table comes when peers have had time to send theirs.
        self.table_at = config.table_interval.map(|interval| Instant::now() + interval);
        self.begin_updates();
        vec![line]
    }

    fn next_updates(&self) -> Option<Instant> {
        Some(Instant::now() + self.config.as_ref()?.updates_interval?)
    }

    fn begin_updates(&mut self) {
        self.updates_until = self.next_updates();
        let wish = Wish { stages: vec![Stage::PrePolicy], table: false };
        self.watch = self.updates_until.map(|_| Watch::begin(&self.orders, wish));
    }

    fn take(&mut self, sight: &Sight) {
        let time = seconds(sight.at);
        let mut out = Vec::new();
        match &sight.what {
            What::Up(of) => out = mrt::state_change(time, &ends(of), State::OpenConfirm, State::Established),
            What::Down(of, _) => out = mrt::state_change(time, &ends(of), State::Established, State::Idle),
            What::Updates { of: Some(of), messages, .. } => {
                for message in each_message(messages) {
                    out.extend(mrt::message(time, &ends(of), has_path_ids(of, message), message));
                }
            }
            What::Updates { of: None, .. } | What::Told => {}
        }
        if out.is_empty() {
            return;
        }
        if self.updates.is_none() {
            match self.create("updates") {
                Ok(part) => self.updates = Some(part),
                Err(error) => return self.fail("updates", &error),
            }
        }
        if let Some(part) = &mut self.updates {
            part.octets += out.len() as u64;
            let (written, full) = (part.file.write_all(&out), part.octets >= LONGEST_UPDATES);
            match written {
                Err(error) => self.fail("updates", &error),
                Ok(()) if full => self.finish_updates(),
                Ok(()) => {}
            }
        }
    }

    fn finish_updates(&mut self) {
        if let Some(part) = self.updates.take() {
            self.finish(part, "updates");
        }
    }

    async fn write_table(&mut self) {
        self.table_at = self.config.as_ref().and_then(|config| Some(Instant::now() + config.table_interval?));
        let part = match self.create("table") {
            Ok(part) => part,
            Err(error) => return self.fail("table", &error),
        };
        let path = part.part.clone();
        match self.fill(part).await {
            Ok(Some(part)) => self.finish(part, "table"),
            // The speaker is stopping.
            Ok(None) => drop(std::fs::remove_file(path)),
            Err(error) => {
                let _ = std::fs::remove_file(path);
                self.fail("table", &error);
            }
        }
    }

    async fn fill(&self, mut part: Part) -> io::Result<Option<Part>> {
        let Some(known) = known(&self.orders).await else { return Ok(None) };
        let mut index = Index::new(self.router_id, self.local_as, &known);
        let mut out = std::mem::take(&mut index.record);
        let mut next = Some(PageStart::default());
        while let Some(start) = next {
            let Some((held, rest)) = page(&self.orders, start).await else { return Ok(None) };
            index.records(&held, &mut out);
            part.file.write_all(&out)?;
            part.octets += out.len() as u64;
            out.clear();
            next = rest;
        }
        Ok(Some(part))
    }

    fn create(&self, kind: &str) -> io::Result<Part> {
        let directory = self.config.as_ref().map_or_else(PathBuf::new, |config| config.directory.clone());
        std::fs::create_dir_all(&directory)?;
        let stamp = stamp(SystemTime::now());
        // Two files of one second, as after a reload, have two names.
        let names = (0..).map(|count| match count {
            0 => format!("{kind}.{stamp}.mrt"),
            count => format!("{kind}.{stamp}-{count}.mrt"),
        });
        let free = |name: &String| !directory.join(name).exists();
        let name = names.take(1000).find(free).unwrap_or_else(|| format!("{kind}.{stamp}.mrt"));
        let part = directory.join(format!("{name}.part"));
        let file = BufWriter::with_capacity(64 * 1024, File::create(&part)?);
        Ok(Part { path: directory.join(name), part, file, octets: 0 })
    }

    fn finish(&self, mut part: Part, kind: &str) {
        let renamed = part.file.flush().and_then(|()| std::fs::rename(&part.part, &part.path));
        if let Err(error) = renamed {
            return self.fail(kind, &error);
        }
        self.status.send_modify(|status| {
            status.files += 1;
            status.tables += u64::from(kind == "table");
            status.octets += part.octets;
            status.newest = Some(part.path.clone());
            status.last_error = None;
        });
        let Some(config) = &self.config else { return };
        if let Err(error) = remove_oldest(&config.directory, kind, config.keep) {
            self.fail(kind, &error);
        }
    }

    fn fail(&self, kind: &str, error: &io::Error) {
        let directory = self.config.as_ref().map(|config| config.directory.display().to_string()).unwrap_or_default();
        let what = format!("cannot write the {kind} into {directory}: {error}");
        tracing::error!("MRT: {what}; sessions go on; make room, or correct bgp.mrt.directory");
        self.status.send_modify(|status| status.last_error = Some(what));
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

async fn next_sight(watch: &mut Option<Watch>) -> Option<Sight> {
    match watch {
        Some(watch) => watch.next().await,
        None => std::future::pending().await,
    }
}

fn ends(of: &Witness) -> Ends {
    Ends {
        peer_as: of.established.remote_as,
        local_as: of.local_as,
        peer: of.address(),
        local: of.established.local_address,
    }
}

/// A message of a session in which some family has path identifiers is recorded as such (RFC 8050 section 3), if it has some.
fn has_path_ids(of: &Witness, message: &[u8]) -> bool {
    let add_path = of.established.receive.add_path;
    // Prefixes of IPv6 stand in an attribute only; an UPDATE of ours holds one family.
    let classic = message.get(19..21).is_some_and(|withdrawn| withdrawn != [0, 0]) || has_classic_nlri(message);
    let family = if classic { Family::Ipv4Unicast } else { mp_family(message) };
    add_path.contains(family)
}

fn has_classic_nlri(message: &[u8]) -> bool {
    let attributes = message.get(21..23).map(|length| usize::from(u16::from_be_bytes([length[0], length[1]])));
    attributes.is_some_and(|length| message.len() > 23 + length)
}

/// The family of MP_REACH_NLRI or MP_UNREACH_NLRI, which stand first.
fn mp_family(message: &[u8]) -> Family {
    let extended = message.get(23).is_some_and(|flags| flags & 0x10 != 0);
    let afi = if extended { message.get(27..29) } else { message.get(26..28) };
    if afi == Some(&[0, 2]) { Family::Ipv6Unicast } else { Family::Ipv4Unicast }
}

/// Leaves the newest `keep` files of a kind, and none that an earlier run did not finish.
fn remove_oldest(directory: &Path, kind: &str, keep: usize) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with(&format!("{kind}.")) && name.ends_with(".mrt") {
            files.push(path);
        }
    }
    files.sort();
    let surplus = files.len().saturating_sub(keep);
    files.iter().take(surplus).try_for_each(std::fs::remove_file)
}

/// `20261125.191503`, in UTC.
fn stamp(at: SystemTime) -> String {
    let seconds = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let (year, month, day) = date(seconds / 86_400);
    let of_day = seconds % 86_400;
    format!("{year:04}{month:02}{day:02}.{:02}{:02}{:02}", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

/// The date of a day since the epoch in the Gregorian calendar, counted in years that begin with March, so that a leap day
/// is the last of its year.
fn date(days: u64) -> (u64, u64, u64) {
    // 1970-01-01 is 719468 days after 0000-03-01; 400 years are 146097 days.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_the_date_and_time_in_utc() {
        for (seconds, text) in [
            (0, "19700101.000000"),
            (951_782_400, "20000229.000000"),
            (1_735_689_599, "20241231.235959"),
            (1_709_164_800, "20240229.000000"),
            (4_107_542_400, "21000301.000000"),
        ] {
            assert_eq!(stamp(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn of_each_kind_the_newest_files_stay() {
        let directory = std::env::temp_dir().join(format!("linnet-mrt-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        for name in ["table.3.mrt", "table.1.mrt", "table.2.mrt", "updates.1.mrt", "table.0.mrt.part", "other"] {
            std::fs::write(directory.join(name), name).unwrap();
        }
        remove_oldest(&directory, "table", 2).unwrap();
        let mut left: Vec<_> = std::fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(left, ["other", "table.0.mrt.part", "table.2.mrt", "table.3.mrt", "updates.1.mrt"]);
    }
}
