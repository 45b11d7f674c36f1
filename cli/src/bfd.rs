//! `linnet bfd list`, and what `linnet bgp neighbor` says of a peer's BFD.

use linnet_api as api;
use serde::Serialize;

use crate::Answer;
use crate::client::Client;
use crate::error::Error;
use crate::output::duration::ago;
use crate::output::table::{Table, Tone};
use crate::output::{Page, Present, Printer, dash, present};

#[derive(Debug, Serialize)]
struct Sessions {
    sessions: Vec<Session>,
    discards: Vec<Discard>,
}

/// One session.
#[derive(Debug, Serialize)]
pub(crate) struct Session {
    peer: Option<String>,
    address: String,
    state: String,
    remote_state: String,
    /// Since it came up or went down.
    seconds: u64,
    multihop: bool,
    passive: bool,
    /// What becomes of the peer's routes: as graceful restart says (`auto`), or they go at once (`drop`).
    on_down: Option<String>,
    diagnostic: Option<String>,
    remote_diagnostic: Option<String>,
    local_discriminator: u32,
    remote_discriminator: Option<u32>,
    min_interval_us: u64,
    transmit_interval_us: Option<u64>,
    receive_interval_us: u64,
    detection_time_us: Option<u64>,
    multiplier: u32,
    remote_multiplier: Option<u32>,
    control_plane_independent: bool,
    polling: bool,
    times_up: u64,
    times_down: u64,
    last_down: Option<String>,
    sent: u64,
    received: u64,
    discarded: u64,
    last_discard: Option<String>,
    problem: Option<String>,
}

#[derive(Debug, Serialize)]
struct Discard {
    reason: String,
    packets: u64,
}

impl From<api::BfdSession> for Session {
    fn from(session: api::BfdSession) -> Self {
        let heard = session.remote_discriminator != 0;
        Self {
            peer: present(session.peer),
            address: session.address,
            state: session.state,
            remote_state: session.remote_state,
            seconds: session.seconds,
            multihop: session.multihop,
            passive: session.passive,
            on_down: present(session.on_down),
            diagnostic: present(session.diagnostic),
            remote_diagnostic: present(session.remote_diagnostic),
            local_discriminator: session.local_discriminator,
            remote_discriminator: heard.then_some(session.remote_discriminator),
            min_interval_us: session.min_interval_us,
            transmit_interval_us: (session.transmit_interval_us != 0).then_some(session.transmit_interval_us),
            receive_interval_us: session.receive_interval_us,
            detection_time_us: heard.then_some(session.detection_time_us),
            multiplier: session.multiplier,
            remote_multiplier: heard.then_some(session.remote_multiplier),
            control_plane_independent: session.control_plane_independent,
            polling: session.polling,
            times_up: session.times_up,
            times_down: session.times_down,
            last_down: present(session.last_down),
            sent: session.sent,
            received: session.received,
            discarded: session.discarded,
            last_discard: present(session.last_discard),
            problem: present(session.problem),
        }
    }
}

impl Session {
    fn tone(&self) -> Tone {
        match self.state.as_str() {
            "Up" => Tone::Good,
            "Init" | "AdminDown" => Tone::Doubtful,
            _ => Tone::Bad,
        }
    }

    fn way(&self) -> &'static str {
        if self.multihop { "multihop" } else { "single hop" }
    }

    /// What keeps it down, or what took it down last.
    fn why(&self) -> &str {
        [&self.problem, &self.last_down].into_iter().flatten().next().map_or("", String::as_str)
    }

    /// For the page of its BGP peer.
    pub(crate) fn draw(&self, page: &mut Page) {
        page.line(format!(
            "  BFD: {} for {}, {}{}; the peer says {}",
            self.state,
            ago(self.seconds),
            self.way(),
            self.on_down.as_deref().map(|word| format!(", on-down {word}")).unwrap_or_default(),
            self.remote_state
        ));
        let (sent, detection) = (millis(self.transmit_interval_us), millis(self.detection_time_us));
        page.line(format!(
            "    sent every {sent}, taken every {}, lost after {detection}; {} packets sent, {} received, {} discarded{}",
            millis(Some(self.receive_interval_us)),
            self.sent,
            self.received,
            self.discarded,
            self.last_discard.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default()
        ));
        if !self.why().is_empty() {
            page.line(format!("    went down {} so far: {}", times(self.times_down), self.why()));
        }
    }
}

fn times(number: u64) -> String {
    if number == 1 { "once".to_owned() } else { format!("{number} times") }
}

/// `300 ms`, `2.5 ms`.
fn millis(micros: Option<u64>) -> String {
    let Some(micros) = micros else { return "-".to_owned() };
    match micros % 1000 {
        0 => format!("{} ms", micros / 1000),
        rest => format!("{}.{} ms", micros / 1000, format!("{rest:03}").trim_end_matches('0')),
    }
}

impl From<api::BfdReply> for Sessions {
    fn from(reply: api::BfdReply) -> Self {
        let discard = |it: api::BfdDiscard| Discard { reason: it.reason, packets: it.packets };
        Self {
            sessions: reply.sessions.into_iter().map(Session::from).collect(),
            discards: reply.discards.into_iter().map(discard).collect(),
        }
    }
}

impl Present for Sessions {
    fn draw(&self, page: &mut Page) {
        if self.sessions.is_empty() {
            return page.line("no peer has BFD; give one `bfd = true`");
        }
        let mut heads = vec!["PEER", "ADDRESS", "STATE", ">SINCE", "HOPS", ">SEND", ">TAKE", ">LOST AFTER", ">DOWNS"];
        if page.wide {
            heads.extend(["REMOTE", ">LOCAL ID", ">REMOTE ID", "C", "ON-DOWN", ">SENT", ">RECEIVED", ">DISCARDED"]);
        }
        heads.push("WHY");
        let mut table = Table::new(&heads);
        for session in &self.sessions {
            let plain = |text: String| (text, Tone::Plain);
            let mut row = vec![
                plain(dash(session.peer.as_deref())),
                plain(session.address.clone()),
                (session.state.clone(), session.tone()),
                plain(ago(session.seconds)),
                plain(if session.multihop { "many" } else { "one" }.to_owned()),
                plain(millis(session.transmit_interval_us)),
                plain(millis(Some(session.receive_interval_us))),
                plain(millis(session.detection_time_us)),
                plain(session.times_down.to_string()),
            ];
            if page.wide {
                row.extend([
                    plain(session.remote_state.clone()),
                    plain(session.local_discriminator.to_string()),
                    plain(dash(session.remote_discriminator.map(|id| id.to_string()).as_deref())),
                    plain(u8::from(session.control_plane_independent).to_string()),
                    plain(dash(session.on_down.as_deref())),
                    plain(session.sent.to_string()),
                    plain(session.received.to_string()),
                    plain(session.discarded.to_string()),
                ]);
            }
            row.push(plain(session.why().to_owned()));
            table.push(row);
        }
        page.table(&table);
        let discards: Vec<_> = self.discards.iter().filter(|it| it.packets > 0).collect();
        if !discards.is_empty() {
            let words: Vec<_> = discards.iter().map(|it| format!("{} {}", it.packets, it.reason)).collect();
            page.line("");
            page.line(format!("packets discarded: {}", words.join(", ")));
        }
    }
}

pub(crate) async fn list(client: &Client, print: &Printer) -> Result<Answer, Error> {
    let reply = client.bgp().bfd(api::BfdRequest {}).await.map_err(|status| client.refused(status))?;
    print.print(&Sessions::from(reply.into_inner()))?;
    Ok(Answer::Yes)
}

/// A session that is up, for the snapshot of its peer's page.
#[cfg(test)]
pub(crate) fn example() -> api::BfdSession {
    api::BfdSession {
        peer: "tor-a".into(),
        address: "192.168.10.1".into(),
        state: "Up".into(),
        remote_state: "Up".into(),
        on_down: "auto".into(),
        seconds: 253,
        local_discriminator: 712_345_678,
        remote_discriminator: 9,
        min_interval_us: 300_000,
        transmit_interval_us: 300_000,
        receive_interval_us: 300_000,
        detection_time_us: 900_000,
        multiplier: 3,
        remote_multiplier: 3,
        times_up: 1,
        sent: 1_012,
        received: 1_009,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{json, plain};

    fn sessions() -> Sessions {
        let down = api::BfdSession {
            peer: "tor-b".into(),
            address: "2001:db8::1".into(),
            state: "Down".into(),
            remote_state: "Down".into(),
            diagnostic: "control detection time expired".into(),
            multihop: true,
            on_down: "drop".into(),
            seconds: 7,
            receive_interval_us: 300_000,
            transmit_interval_us: 1_000_000,
            min_interval_us: 2_500,
            multiplier: 3,
            times_up: 1,
            times_down: 1,
            last_down: "control detection time expired".into(),
            discarded: 2,
            last_discard: "authentication".into(),
            ..Default::default()
        };
        let discards = [("authentication", 2), ("ttl", 0), ("unknown-source", 17)];
        let discards = discards.map(|(reason, packets)| api::BfdDiscard { reason: reason.into(), packets });
        api::BfdReply { sessions: vec![example(), down], discards: discards.into() }.into()
    }

    #[test]
    fn sessions_read_well() {
        insta::assert_snapshot!(plain(&sessions(), false));
    }

    #[test]
    fn wide_has_what_a_person_compares_with_the_other_end() {
        insta::assert_snapshot!(plain(&sessions(), true));
    }

    #[test]
    fn sessions_are_a_contract() {
        insta::assert_snapshot!(json(&sessions()));
    }

    #[test]
    fn milliseconds_have_no_more_digits_than_they_need() {
        for (micros, text) in [(300_000, "300 ms"), (2_500, "2.5 ms"), (33_333, "33.333 ms"), (1_020, "1.02 ms")] {
            assert_eq!(millis(Some(micros)), text);
        }
    }
}
