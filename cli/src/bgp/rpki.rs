//! `linnet bgp rpki`.

use ipnetwork::IpNetwork;
use linnet_api as api;
use serde::Serialize;

use crate::Answer;
use crate::client::Client;
use crate::error::Error;
use crate::output::duration::ago;
use crate::output::table::{Table, Tone};
use crate::output::{Page, Present, Printer, dash, present};

#[derive(Debug, Serialize)]
struct Rpki {
    caches: Vec<Cache>,
    /// What was asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vrps: Option<Vec<Vrp>>,
}

#[derive(Debug, Serialize)]
struct Cache {
    name: String,
    address: String,
    port: u32,
    preference: u32,
    state: String,
    in_use: bool,
    version: Option<u32>,
    session: Option<u32>,
    serial: Option<u32>,
    vrps: u64,
    updated_seconds: Option<u64>,
    refresh_seconds: u64,
    retry_seconds: u64,
    expire_seconds: u64,
    last_error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Vrp {
    prefix: String,
    max_length: u32,
    asn: u32,
}

impl From<api::RpkiCache> for Cache {
    fn from(cache: api::RpkiCache) -> Self {
        Self {
            name: cache.name,
            address: cache.address,
            port: cache.port,
            preference: cache.preference,
            state: cache.state,
            in_use: cache.in_use,
            version: cache.version,
            session: cache.session,
            serial: cache.serial,
            vrps: cache.vrps,
            updated_seconds: cache.updated_seconds,
            refresh_seconds: cache.refresh_seconds,
            retry_seconds: cache.retry_seconds,
            expire_seconds: cache.expire_seconds,
            last_error: present(cache.last_error),
        }
    }
}

impl Rpki {
    fn new(reply: api::BgpRpkiReply, prefix: Option<String>) -> Self {
        let vrp = |vrp: api::Vrp| Vrp { prefix: vrp.prefix, max_length: vrp.max_length, asn: vrp.asn };
        Self {
            caches: reply.caches.into_iter().map(Cache::from).collect(),
            vrps: prefix.is_some().then(|| reply.vrps.into_iter().map(vrp).collect()),
            prefix,
        }
    }

    fn draw_caches(&self, page: &mut Page) {
        if self.caches.is_empty() {
            return page.line("no RPKI cache is configured; routes are not validated: add [[bgp.rpki]]");
        }
        let mut heads = vec!["CACHE", "ADDRESS", ">PREF", "STATE", "IN USE", ">VRPS", ">SERIAL", ">UPDATED"];
        if page.wide {
            heads.extend([">VERSION", ">SESSION", ">REFRESH", ">RETRY", ">EXPIRE"]);
        }
        heads.push("LAST ERROR");
        let mut table = Table::new(&heads);
        for cache in &self.caches {
            let number = |number: Option<u32>| dash(number.map(|number| number.to_string()).as_deref());
            let tone = match (cache.state.as_str(), cache.in_use) {
                ("synchronised", _) => Tone::Good,
                (_, true) => Tone::Doubtful,
                _ => Tone::Bad,
            };
            let host = if cache.address.contains(':') { format!("[{}]", cache.address) } else { cache.address.clone() };
            let mut row = vec![
                cache.name.clone(),
                format!("{host}:{}", cache.port),
                cache.preference.to_string(),
                cache.state.clone(),
                if cache.in_use { "yes" } else { "no" }.to_owned(),
                cache.vrps.to_string(),
                number(cache.serial),
                cache.updated_seconds.map_or_else(|| "never".to_owned(), ago),
            ];
            if page.wide {
                let times = [cache.refresh_seconds, cache.retry_seconds, cache.expire_seconds];
                row.extend([number(cache.version), number(cache.session)]);
                row.extend(times.map(|seconds| format!("{seconds} s")));
            }
            row.push(cache.last_error.clone().unwrap_or_default());
            let tone = |at| if at == 3 { tone } else { Tone::Plain };
            table.push(row.into_iter().enumerate().map(|(at, cell)| (cell, tone(at))).collect());
        }
        page.table(&table);
    }
}

impl Present for Rpki {
    fn draw(&self, page: &mut Page) {
        let (Some(prefix), Some(vrps)) = (&self.prefix, &self.vrps) else { return self.draw_caches(page) };
        if vrps.is_empty() {
            return page.line(format!("no VRP covers {prefix}: a route to it is not-found, whoever originates it"));
        }
        let mut table = Table::new(&["PREFIX", ">MAX LENGTH", ">ORIGIN AS"]);
        for vrp in vrps {
            table.row([vrp.prefix.clone(), vrp.max_length.to_string(), vrp.asn.to_string()]);
        }
        page.table(&table);
    }
}

pub(crate) async fn rpki(client: &Client, print: &Printer, prefix: Option<IpNetwork>) -> Result<Answer, Error> {
    let prefix = prefix.map(|given| IpNetwork::new(given.network(), given.prefix()).unwrap_or(given).to_string());
    let request = api::BgpRpkiRequest { prefix: prefix.clone().unwrap_or_default() };
    let reply = client.bgp().rpki(request).await.map_err(|status| client.refused(status))?;
    let shown = Rpki::new(reply.into_inner(), prefix);
    print.print(&shown)?;
    Ok(Answer::from(shown.vrps.is_none_or(|vrps| !vrps.is_empty())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{json, plain};

    fn reply() -> api::BgpRpkiReply {
        let up = api::RpkiCache {
            name: "validator-a".into(),
            address: "192.0.2.10".into(),
            port: 323,
            preference: 1,
            state: "synchronised".into(),
            in_use: true,
            version: Some(1),
            session: Some(4711),
            serial: Some(12),
            vrps: 904_211,
            updated_seconds: Some(253),
            refresh_seconds: 3600,
            retry_seconds: 600,
            expire_seconds: 7200,
            last_error: String::new(),
        };
        let down = api::RpkiCache {
            name: "validator-b".into(),
            address: "2001:db8::10".into(),
            state: "down".into(),
            in_use: false,
            version: None,
            session: None,
            serial: None,
            vrps: 0,
            updated_seconds: None,
            last_error: "cannot connect: Connection refused".into(),
            ..up.clone()
        };
        let vrp = |prefix: &str, max_length, asn| api::Vrp { prefix: prefix.into(), max_length, asn };
        api::BgpRpkiReply {
            caches: vec![up, down],
            vrps: vec![vrp("203.0.113.0/24", 24, 64500), vrp("203.0.113.0/24", 26, 64501)],
        }
    }

    #[test]
    fn caches_read_well() {
        insta::assert_snapshot!(plain(&Rpki::new(reply(), None), false));
    }

    #[test]
    fn wide_caches_have_their_timers() {
        insta::assert_snapshot!(plain(&Rpki::new(reply(), None), true));
    }

    #[test]
    fn the_vrps_of_a_prefix_read_well() {
        let prefix = Some("203.0.113.0/24".to_owned());
        insta::assert_snapshot!(plain(&Rpki::new(reply(), prefix), false));
    }

    #[test]
    fn caches_and_vrps_are_a_contract() {
        insta::assert_snapshot!(json(&Rpki::new(reply(), Some("203.0.113.0/24".to_owned()))));
    }
}
