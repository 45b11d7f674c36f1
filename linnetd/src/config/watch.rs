//! `[[bgp.bmp]]` and `[bgp.mrt]`: who is told what peers send, and which files it is written to.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bgp_proto::bmp::Stage;

use super::filter::name;
use super::reader::{Field, NOT_APPLIED, Section};
use super::rooms::{absolute, all, unicast};

/// `[[bgp.bmp]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BmpStation {
    /// Unique among stations; address and port unless set.
    pub name: String,
    /// Where it is.
    pub address: IpAddr,
    /// TCP port.
    pub port: u16,
    /// `monitor`: at least one, each once.
    pub stages: Vec<Stage>,
    /// `statistics-interval`, whole seconds; `None`: off.
    pub statistics: Option<Duration>,
}

/// `[bgp.mrt]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mrt {
    /// Where the files are.
    pub directory: PathBuf,
    /// Whole seconds; `None`: off.
    pub table_interval: Option<Duration>,
    /// Whole seconds; `None`: off.
    pub updates_interval: Option<Duration>,
    /// 1 to 100000.
    pub keep: u32,
}

pub(super) fn stations(section: &Section<'_>) -> Option<Vec<BmpStation>> {
    let mut read: Vec<BmpStation> = Vec::new();
    let mut sound = true;
    for table in section.sections("bmp", "[[bgp.bmp]]") {
        match station(&table) {
            Some(station) if read.iter().any(|other| other.name == station.name) => {
                let culprit = format!("two BMP stations are named \"{}\"", station.name);
                table.report.error(table.span.clone(), &culprit, NOT_APPLIED, "give one of them another name");
                sound = false;
            }
            Some(station) => read.push(station),
            None => sound = false,
        }
    }
    sound.then_some(read)
}

fn station(section: &Section<'_>) -> Option<BmpStation> {
    let address = section.required("address", "\"192.0.2.20\"").and_then(|field| unicast(&field));
    let port = section.required("port", "1790").and_then(|field| field.integer(1..=65535));
    let name = match section.field("name") {
        Some(field) => name(&field),
        None => address.zip(port).map(|(address, port)| SocketAddr::new(address, port).to_string()),
    };
    let stages = section.field("monitor").map_or(Some(vec![Stage::PrePolicy]), |field| stages(&field));
    let statistics = seconds(section, "statistics-interval", 60, 86_400);
    section.finish();
    Some(BmpStation { name: name?, address: address?, port: port?, stages: stages?, statistics: statistics? })
}

fn stages(field: &Field<'_>) -> Option<Vec<Stage>> {
    let words = Stage::ALL.map(|stage| (stage.name(), stage));
    let mut stages = all(field, |item| item.word(&words))?;
    stages.sort_unstable();
    stages.dedup();
    if stages.is_empty() {
        field.refuse(
            "a station that is told nothing",
            "write at least one of \"pre-policy\", \"post-policy\", \"loc-rib\"",
        );
        return None;
    }
    Some(stages)
}

/// 0 is off.
fn seconds(section: &Section<'_>, key: &'static str, default: u32, most: u32) -> Option<Option<Duration>> {
    let seconds = section.field(key).map_or(Some(default), |field| field.integer(0..=most))?;
    Some((seconds > 0).then(|| Duration::from_secs(u64::from(seconds))))
}

/// `None` inside: there is no such section.
pub(super) fn mrt(section: &Section<'_>) -> Option<Option<Mrt>> {
    let Some(field) = section.field("mrt") else { return Some(None) };
    let section = field.section("[bgp.mrt]")?;
    let directory = section.required("directory", "\"/var/lib/linnet/mrt\"").and_then(|field| absolute(&field));
    let table_interval = seconds(&section, "table-interval", 7_200, 604_800);
    let updates_interval = seconds(&section, "updates-interval", 900, 86_400);
    let keep = section.field("keep").map_or(Some(48), |field| field.integer(1..=100_000));
    section.finish();
    Some(Some(Mrt {
        directory: directory?,
        table_interval: table_interval?,
        updates_interval: updates_interval?,
        keep: keep?,
    }))
}
