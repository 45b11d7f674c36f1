//! `linnet bgp summary|neighbor|routes|filter|rpki|bmp|mrt|reset|disable|enable`.

mod filter;
mod neighbor;
mod restart;
mod routes;
mod rpki;
mod watch;

use linnet_api as api;
use serde::Serialize;

use crate::Answer;
use crate::client::Client;
use crate::drain::Drain;
use crate::error::Error;
use crate::output::duration::ago;
use crate::output::table::{Table, Tone};
use crate::output::{Page, Present, Printer, dash, present};

pub(crate) use filter::{filters, test as test_filter};
pub(crate) use neighbor::neighbor;
pub(crate) use routes::routes;
pub(crate) use rpki::rpki;
pub(crate) use watch::{bmp, mrt_dump, mrt_status};

#[derive(Debug, Serialize)]
struct Summary {
    router_id: String,
    local_asn: u32,
    drain: Drain,
    /// Of nobody configured, since the start.
    refused_connections: u64,
    peers: Vec<Peer>,
}

/// One peer as `summary` shows it.
#[derive(Debug, Serialize)]
struct Peer {
    name: String,
    address: String,
    /// Absent as long as it is not known.
    asn: Option<u32>,
    state: String,
    uptime_seconds: u64,
    down_seconds: u64,
    received: u64,
    accepted: u64,
    advertised: u64,
    last_error: Option<String>,
    families: Vec<String>,
}

impl From<api::Peer> for Peer {
    fn from(peer: api::Peer) -> Self {
        Self {
            name: peer.name,
            address: peer.address,
            asn: (peer.asn != 0).then_some(peer.asn),
            state: peer.state,
            uptime_seconds: peer.uptime_seconds,
            down_seconds: peer.down_seconds,
            received: peer.received,
            accepted: peer.accepted,
            advertised: peer.advertised,
            last_error: present(peer.last_error),
            families: peer.families,
        }
    }
}

impl Peer {
    fn is_up(&self) -> bool {
        self.state == "Established"
    }

    /// Since when it is up or down; "never" before the first session.
    fn since(&self) -> String {
        match (self.is_up(), self.down_seconds) {
            (true, _) => ago(self.uptime_seconds),
            (false, 0) => "never".to_owned(),
            (false, seconds) => ago(seconds),
        }
    }

    fn tone(&self) -> Tone {
        match self.state.as_str() {
            "Established" => Tone::Good,
            "OpenSent" | "OpenConfirm" | "Disabled" => Tone::Doubtful,
            _ => Tone::Bad,
        }
    }
}

impl From<api::BgpSummaryReply> for Summary {
    fn from(reply: api::BgpSummaryReply) -> Self {
        Self {
            router_id: reply.router_id,
            local_asn: reply.local_asn,
            drain: reply.drain.into(),
            refused_connections: reply.refused_connections,
            peers: reply.peers.into_iter().map(Peer::from).collect(),
        }
    }
}

impl Present for Summary {
    fn draw(&self, page: &mut Page) {
        let up = self.peers.iter().filter(|peer| peer.is_up()).count();
        page.line(format!(
            "AS {}, router id {}, {up} of {} sessions established",
            self.local_asn,
            self.router_id,
            self.peers.len()
        ));
        if let Some(line) = self.drain.line() {
            page.line(line);
        }
        page.line("");
        let mut heads = vec!["PEER", "ADDRESS", ">AS", "STATE", ">UP/DOWN", ">RECEIVED", ">ACCEPTED", ">SENT"];
        heads.push(if page.wide { "FAMILIES" } else { "LAST ERROR" });
        if page.wide {
            heads.push("LAST ERROR");
        }
        let mut table = Table::new(&heads);
        for peer in &self.peers {
            let plain = |text: String| (text, Tone::Plain);
            let mut row = vec![
                plain(peer.name.clone()),
                plain(peer.address.clone()),
                plain(dash(peer.asn.map(|asn| asn.to_string()).as_deref())),
                (peer.state.clone(), peer.tone()),
                plain(peer.since()),
                plain(peer.received.to_string()),
                plain(peer.accepted.to_string()),
                plain(peer.advertised.to_string()),
            ];
            if page.wide {
                row.push(plain(dash(Some(&peer.families.join(",")))));
            }
            // An error of the past says little about a session that is up; `wide` shows it all the same.
            let error = peer.last_error.as_deref().filter(|_| page.wide || !peer.is_up());
            row.push(plain(error.unwrap_or_default().to_owned()));
            table.push(row);
        }
        page.table(&table);
        if self.refused_connections > 0 {
            page.line("");
            page.line(format!(
                "{} refused, from no peer's address or beyond the limit of dynamic peers; the log names the last",
                neighbor::count(self.refused_connections, "connection")
            ));
        }
    }
}

pub(crate) async fn summary(client: &Client, print: &Printer) -> Result<Answer, Error> {
    let reply = client.bgp().summary(api::BgpSummaryRequest {}).await.map_err(|status| client.refused(status))?;
    print.print(&Summary::from(reply.into_inner()))?;
    Ok(Answer::Yes)
}

pub(crate) async fn reset(
    client: &Client,
    peer: String,
    soft: bool,
    keep_routes: bool,
    message: Option<String>,
) -> Result<Answer, Error> {
    let request = api::BgpResetRequest { peer, soft, keep_routes, communication: message.unwrap_or_default() };
    client.bgp().reset(request).await.map_err(|status| client.refused(status))?;
    Ok(Answer::Yes)
}

pub(crate) async fn set_enabled(
    client: &Client,
    peer: String,
    enabled: bool,
    message: Option<String>,
) -> Result<Answer, Error> {
    let request = api::BgpSetEnabledRequest { peer, enabled, communication: message.unwrap_or_default() };
    client.bgp().set_enabled(request).await.map_err(|status| client.refused(status))?;
    Ok(Answer::Yes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{json, plain};

    fn summary() -> Summary {
        let up = api::Peer {
            name: "tor-a".into(),
            address: "192.168.10.1".into(),
            asn: 65001,
            state: "Established".into(),
            uptime_seconds: 93_784,
            received: 1_204,
            accepted: 1_200,
            advertised: 2,
            last_error: "hold timer expired (90 s without a message)".into(),
            families: vec!["ipv4-unicast".into(), "ipv6-unicast".into()],
            ..Default::default()
        };
        let down = api::Peer {
            name: "node-2".into(),
            address: "192.168.10.12".into(),
            state: "Active".into(),
            down_seconds: 12,
            last_error: "connection refused".into(),
            ..Default::default()
        };
        Summary::from(api::BgpSummaryReply {
            router_id: "192.168.10.11".into(),
            local_asn: 64512,
            peers: vec![up, down],
            refused_connections: 17,
            drain: Some(api::Drain { state: "draining".into(), remaining_seconds: 7, untold: vec![] }),
        })
    }

    #[test]
    fn a_summary_reads_as_on_a_router() {
        insta::assert_snapshot!(plain(&summary(), false));
    }

    #[test]
    fn a_wide_summary_has_families_and_past_errors() {
        insta::assert_snapshot!(plain(&summary(), true));
    }

    #[test]
    fn a_summary_has_no_word_of_strangers_where_none_came() {
        let page = plain(&Summary::from(api::BgpSummaryReply::default()), false);
        assert!(!page.contains("refused"), "{page}");
    }

    #[test]
    fn a_summary_is_a_contract() {
        insta::assert_snapshot!(json(&summary()));
    }
}
