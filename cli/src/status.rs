//! `linnet status` and `linnet reload`.

use linnet_api as api;
use serde::Serialize;

use crate::Answer;
use crate::client::Client;
use crate::drain::Drain;
use crate::error::Error;
use crate::output::duration::ago;
use crate::output::table::{Table, Tone};
use crate::output::{Page, Present, Printer};

#[derive(Debug, Serialize)]
struct Status {
    node: String,
    version: String,
    uptime_seconds: u64,
    router_id: String,
    local_asn: u32,
    pod_cidrs: Vec<String>,
    drain: Drain,
    components: Vec<Component>,
}

#[derive(Debug, Serialize)]
struct Component {
    name: String,
    state: String,
    detail: String,
}

impl From<api::StatusReply> for Status {
    fn from(reply: api::StatusReply) -> Self {
        Self {
            node: reply.node,
            version: reply.version,
            uptime_seconds: reply.uptime_seconds,
            router_id: reply.router_id,
            local_asn: reply.local_asn,
            pod_cidrs: reply.pod_cidrs,
            drain: reply.drain.into(),
            components: reply
                .components
                .into_iter()
                .map(|part| Component { name: part.name, state: part.state, detail: part.detail })
                .collect(),
        }
    }
}

impl Present for Status {
    fn draw(&self, page: &mut Page) {
        page.line(format!("{}, linnetd {}, up {}", self.node, self.version, ago(self.uptime_seconds)));
        page.line(format!(
            "AS {}, router id {}, pods in {}",
            self.local_asn,
            self.router_id,
            self.pod_cidrs.join(", ")
        ));
        if let Some(line) = self.drain.line() {
            page.line(line);
        }
        page.line("");
        let mut table = Table::new(&["PART", "STATE", "DETAIL"]);
        for part in &self.components {
            let tone = match part.state.as_str() {
                "ok" => Tone::Good,
                "starting" => Tone::Doubtful,
                _ => Tone::Bad,
            };
            table.toned([
                (part.name.clone(), Tone::Plain),
                (part.state.clone(), tone),
                (part.detail.clone(), Tone::Plain),
            ]);
        }
        page.table(&table);
    }
}

pub(crate) async fn status(client: &Client, print: &Printer) -> Result<Answer, Error> {
    let reply = client.node().status(api::StatusRequest {}).await.map_err(|status| client.refused(status))?;
    let status = Status::from(reply.into_inner());
    print.print(&status)?;
    Ok(status.components.iter().all(|part| part.state != "degraded").into())
}

#[derive(Debug, Serialize)]
struct Reload {
    changes: Vec<String>,
    errors: Vec<String>,
}

impl Present for Reload {
    fn draw(&self, page: &mut Page) {
        for error in &self.errors {
            page.line(error);
        }
        match (self.errors.is_empty(), self.changes.is_empty()) {
            (false, _) => page.line("nothing was changed: mend the file and reload again"),
            (true, true) => page.line("nothing has changed"),
            (true, false) => self.changes.iter().for_each(|change| page.line(change)),
        }
    }
}

pub(crate) async fn reload(client: &Client, print: &Printer) -> Result<Answer, Error> {
    let reply =
        client.node().reload(api::ReloadRequest {}).await.map_err(|status| client.refused(status))?.into_inner();
    let reload = Reload { changes: reply.changes, errors: reply.errors };
    print.print(&reload)?;
    Ok(reload.errors.is_empty().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{json, plain};

    fn reply() -> api::StatusReply {
        let part = |name: &str, state: &str, detail: &str| api::Component {
            name: name.into(),
            state: state.into(),
            detail: detail.into(),
        };
        api::StatusReply {
            node: "node-1".into(),
            version: "0.1.0".into(),
            uptime_seconds: 253,
            router_id: "192.168.10.11".into(),
            local_asn: 64512,
            pod_cidrs: vec!["10.244.1.0/24".into(), "fd00:244:1::/64".into()],
            components: vec![
                part("bgp", "ok", "4 of 4 sessions established"),
                part("policy", "degraded", "web.yaml:7: unknown field"),
            ],
            drain: Some(api::Drain { state: "drained".into(), remaining_seconds: 0, untold: vec![] }),
        }
    }

    #[test]
    fn status_reads_well() {
        insta::assert_snapshot!(plain(&Status::from(reply()), false));
    }

    #[test]
    fn status_is_a_contract() {
        insta::assert_snapshot!(json(&Status::from(reply())));
    }

    #[test]
    fn a_refused_reload_says_that_nothing_changed() {
        let reload =
            Reload { changes: vec![], errors: vec!["linnetd.toml:3:1: unknown key `asm`; did you mean `asn`?".into()] };
        insta::assert_snapshot!(plain(&reload, false));
    }
}
