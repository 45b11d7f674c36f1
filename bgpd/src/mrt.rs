//! MRT files (RFC 6396): the table at intervals, and what peers send as it comes. A thread of its own writes them, so that
//! a slow disk costs no session anything.
//!
//! A file has another name (`.part`) until it is whole. Of each kind the newest stay, and the oldest go first.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bgp_proto::bmp::Stage;
use bgp_proto::monitor::archive::{Peers, TableDump, records};
use bgp_proto::rib::{Held, PageStart};
use bgp_proto::types::{Asn, RouterId};
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

/// Begins a table: everything that a dump begins with, and its first record.
fn begin(router_id: RouterId, local_as: Asn, known: &Known) -> (TableDump, Vec<u8>) {
    TableDump::begin(&Peers {
        at: since_epoch(SystemTime::now()),
        now_seconds: known.now_seconds,
        router_id,
        local_as,
        known: &known.peers,
        up: &known.up,
    })
}

fn since_epoch(at: SystemTime) -> Duration {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
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
        let (mut dump, first) = begin(router_id, local_as, &known);
        if to.send(first).await.is_err() {
            return;
        }
        let mut next = Some(PageStart::default());
        while let Some(start) = next {
            let Some((held, rest)) = page(&orders, start).await else { return };
            let mut out = Vec::new();
            dump.page(&held, &mut out);
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
        let out = records(since_epoch(sight.at), &sight.what);
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
        let (mut dump, mut out) = begin(self.router_id, self.local_as, &known);
        let mut next = Some(PageStart::default());
        while let Some(start) = next {
            let Some((held, rest)) = page(&self.orders, start).await else { return Ok(None) };
            dump.page(&held, &mut out);
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
    let seconds = since_epoch(at).as_secs();
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
