//! `linnet bgp bmp` and `linnet bgp mrt status|dump`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use linnet_api as api;
use serde::Serialize;

use crate::Answer;
use crate::client::Client;
use crate::error::Error;
use crate::output::duration::ago;
use crate::output::table::{Table, Tone};
use crate::output::{Page, Present, Printer, dash, present};

#[derive(Debug, Serialize)]
struct Stations {
    stations: Vec<Station>,
}

#[derive(Debug, Serialize)]
struct Station {
    name: String,
    address: String,
    port: u32,
    monitor: Vec<String>,
    state: String,
    uptime_seconds: u64,
    connections: u64,
    behind: u64,
    messages: u64,
    waiting_bytes: u64,
    last_error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Mrt {
    mrt: Option<Files>,
}

#[derive(Debug, Serialize)]
struct Files {
    directory: String,
    files: u64,
    tables: u64,
    bytes: u64,
    lost: u64,
    newest: Option<String>,
    last_error: Option<String>,
}

impl From<Vec<api::BmpStation>> for Stations {
    fn from(stations: Vec<api::BmpStation>) -> Self {
        let station = |station: api::BmpStation| Station {
            name: station.name,
            address: station.address,
            port: station.port,
            monitor: station.monitor,
            state: station.state,
            uptime_seconds: station.uptime_seconds,
            connections: station.connections,
            behind: station.behind,
            messages: station.messages,
            waiting_bytes: station.waiting_bytes,
            last_error: present(station.last_error),
        };
        Self { stations: stations.into_iter().map(station).collect() }
    }
}

impl From<Option<api::MrtFiles>> for Mrt {
    fn from(files: Option<api::MrtFiles>) -> Self {
        let mrt = files.map(|files| Files {
            directory: files.directory,
            files: files.files,
            tables: files.tables,
            bytes: files.bytes,
            lost: files.lost,
            newest: present(files.newest),
            last_error: present(files.last_error),
        });
        Self { mrt }
    }
}

impl Present for Stations {
    fn draw(&self, page: &mut Page) {
        if self.stations.is_empty() {
            return page.line("no BMP station is configured: add [[bgp.bmp]]");
        }
        let heads = [
            "STATION",
            "ADDRESS",
            "MONITOR",
            "STATE",
            ">UP",
            ">MESSAGES",
            ">WAITING",
            ">TIMES",
            ">BEHIND",
            "LAST ERROR",
        ];
        let mut table = Table::new(&heads);
        for station in &self.stations {
            let host =
                if station.address.contains(':') { format!("[{}]", station.address) } else { station.address.clone() };
            let tone = match station.state.as_str() {
                "up" => Tone::Good,
                "telling" => Tone::Doubtful,
                _ => Tone::Bad,
            };
            let plain = |text: String| (text, Tone::Plain);
            table.push(vec![
                plain(station.name.clone()),
                plain(format!("{host}:{}", station.port)),
                plain(station.monitor.join(",")),
                (station.state.clone(), tone),
                plain(if station.state == "down" { "-".to_owned() } else { ago(station.uptime_seconds) }),
                plain(station.messages.to_string()),
                plain(station.waiting_bytes.to_string()),
                plain(station.connections.to_string()),
                plain(station.behind.to_string()),
                plain(station.last_error.clone().unwrap_or_default()),
            ]);
        }
        page.table(&table);
    }
}

impl Present for Mrt {
    fn draw(&self, page: &mut Page) {
        let Some(files) = &self.mrt else {
            return page.line(
                "no MRT files are written: add [bgp.mrt]; `linnet bgp mrt dump FILE` writes the table as it is now",
            );
        };
        page.line(format!(
            "{}: {} files finished since the start, {} of them tables, {} bytes",
            files.directory, files.files, files.tables, files.bytes
        ));
        page.line(format!("newest: {}", dash(files.newest.as_deref())));
        if files.lost > 0 {
            page.line(format!("updates are missing {} times, because the disk was too slow", files.lost));
        }
        if let Some(error) = &files.last_error {
            page.line(format!("error: {error}"));
        }
    }
}

async fn monitoring(client: &Client) -> Result<api::BgpMonitoringReply, Error> {
    let reply = client.bgp().monitoring(api::BgpMonitoringRequest {}).await.map_err(|status| client.refused(status))?;
    Ok(reply.into_inner())
}

pub(crate) async fn bmp(client: &Client, print: &Printer) -> Result<Answer, Error> {
    print.print(&Stations::from(monitoring(client).await?.stations))?;
    Ok(Answer::Yes)
}

pub(crate) async fn mrt_status(client: &Client, print: &Printer) -> Result<Answer, Error> {
    print.print(&Mrt::from(monitoring(client).await?.mrt))?;
    Ok(Answer::Yes)
}

pub(crate) async fn mrt_dump(client: &Client, file: &Path) -> Result<Answer, Error> {
    if file == Path::new("-") {
        let mut out = io::stdout().lock();
        copy(client, &mut out).await?;
        return Ok(Answer::Yes);
    }
    // In the same folder, so that the file has its name at once.
    let mut part = file.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let cannot = |cause| Error::Write { path: file.to_owned(), cause };
    let mut out = io::BufWriter::new(std::fs::File::create(&part).map_err(cannot)?);
    let copied = match copy(client, &mut out).await {
        Ok(()) => std::fs::rename(&part, file).map_err(cannot),
        Err(Error::Output(cause)) => Err(cannot(cause)),
        Err(error) => Err(error),
    };
    if copied.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    copied.map(|()| Answer::Yes)
}

async fn copy(client: &Client, out: &mut impl Write) -> Result<(), Error> {
    let mut parts =
        client.bgp().mrt_dump(api::BgpMrtDumpRequest {}).await.map_err(|status| client.refused(status))?.into_inner();
    while let Some(part) = parts.message().await.map_err(|status| client.refused(status))? {
        out.write_all(&part.data)?;
    }
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{json, plain};

    fn stations() -> Stations {
        let up = api::BmpStation {
            name: "collector".into(),
            address: "192.0.2.20".into(),
            port: 1790,
            monitor: vec!["pre-policy".into(), "loc-rib".into()],
            state: "up".into(),
            uptime_seconds: 253,
            connections: 2,
            behind: 1,
            messages: 1_204_211,
            waiting_bytes: 0,
            last_error: String::new(),
        };
        let down = api::BmpStation {
            name: "[2001:db8::20]:1790".into(),
            address: "2001:db8::20".into(),
            state: "down".into(),
            uptime_seconds: 0,
            messages: 0,
            last_error: "cannot connect: Connection refused".into(),
            ..up.clone()
        };
        Stations::from(vec![up, down])
    }

    fn files() -> Mrt {
        Mrt::from(Some(api::MrtFiles {
            directory: "/var/lib/linnet/mrt".into(),
            files: 97,
            tables: 12,
            bytes: 40_211_000,
            lost: 1,
            newest: "/var/lib/linnet/mrt/updates.20261125.191500.mrt".into(),
            last_error: "cannot write the table into /var/lib/linnet/mrt: No space left on device".into(),
        }))
    }

    #[test]
    fn stations_read_well() {
        insta::assert_snapshot!(plain(&stations(), false));
    }

    #[test]
    fn stations_are_a_contract() {
        insta::assert_snapshot!(json(&stations()));
    }

    #[test]
    fn mrt_files_read_well() {
        insta::assert_snapshot!(plain(&files(), false));
    }

    #[test]
    fn mrt_files_are_a_contract() {
        insta::assert_snapshot!(json(&files()));
    }
}
