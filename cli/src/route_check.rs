//! `linnet route check`.

use linnet_api as api;
use serde::Serialize;

use crate::Answer;
use crate::client::Client;
use crate::error::Error;
use crate::output::table::{Table, Tone};
use crate::output::{Page, Present, Printer, present};

#[derive(Debug, Serialize)]
struct Check {
    routes: u64,
    objects: u64,
    entries: u64,
    unconfirmed: u64,
    differences: Vec<Difference>,
    more: u64,
    unrepaired: u64,
    took_microseconds: u64,
}

#[derive(Debug, Serialize)]
struct Difference {
    what: String,
    name: String,
    kind: String,
    detail: String,
    repaired: bool,
    error: Option<String>,
}

impl From<api::FibCheckReply> for Check {
    fn from(reply: api::FibCheckReply) -> Self {
        let differences = reply.differences.into_iter().map(|difference| Difference {
            what: difference.what,
            name: difference.name,
            kind: difference.kind,
            detail: difference.detail,
            repaired: difference.repaired,
            error: present(difference.error),
        });
        Self {
            routes: reply.routes,
            objects: reply.objects,
            entries: reply.entries,
            unconfirmed: reply.unconfirmed,
            differences: differences.collect(),
            more: reply.more,
            unrepaired: reply.unrepaired,
            took_microseconds: reply.took_us,
        }
    }
}

/// `1 difference`, `2 differences`.
fn counted(count: u64, thing: &str, things: &str) -> String {
    format!("{count} {}", if count == 1 { thing } else { things })
}

impl Present for Check {
    fn draw(&self, page: &mut Page) {
        if !self.differences.is_empty() {
            let mut table = Table::new(&["WHAT", "NAME", "DIFFERENCE", "DETAIL", "RESULT"]);
            for difference in &self.differences {
                let (result, tone) = match (&difference.error, difference.repaired) {
                    (_, true) => ("repaired".to_owned(), Tone::Good),
                    (Some(error), false) => (error.clone(), Tone::Bad),
                    (None, false) => ("not repaired".to_owned(), Tone::Bad),
                };
                let plain = [&difference.what, &difference.name, &difference.kind, &difference.detail];
                let [what, name, kind, detail] = plain.map(|cell| (cell.clone(), Tone::Plain));
                table.toned([what, name, kind, detail, (result, tone)]);
            }
            page.table(&table);
        }
        if self.more > 0 {
            page.line(format!("... and {} more", self.more));
        }
        let compared = [
            counted(self.routes, "route", "routes"),
            counted(self.objects, "next-hop object", "next-hop objects"),
            counted(self.entries, "overlay entry", "overlay entries"),
        ];
        let differences = self.differences.len() as u64 + self.more;
        let verdict = match (differences, self.unrepaired) {
            (0, _) => "no difference".to_owned(),
            (some, 0) => format!("{}, repaired", counted(some, "difference", "differences")),
            (some, left) => format!("{}, {left} not repaired", counted(some, "difference", "differences")),
        };
        let milliseconds = self.took_microseconds.div_ceil(1000);
        page.line(format!("{} compared with the kernel in {milliseconds} ms: {verdict}", compared.join(", ")));
        if self.unconfirmed > 0 {
            let routes = counted(self.unconfirmed, "route", "routes");
            page.line(format!("{routes} of an earlier run still to be confirmed by peers"));
        }
    }
}

pub(crate) async fn check(client: &Client, print: &Printer) -> Result<Answer, Error> {
    let reply = client.fib().check(api::FibCheckRequest {}).await.map_err(|status| client.refused(status))?;
    let check = Check::from(reply.into_inner());
    print.print(&check)?;
    Ok((check.unrepaired == 0).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{json, plain};

    fn reply() -> api::FibCheckReply {
        let difference = |what: &str, name: &str, kind: &str, detail: &str, error: &str| api::FibDifference {
            what: what.into(),
            name: name.into(),
            kind: kind.into(),
            detail: detail.into(),
            repaired: error.is_empty(),
            error: error.into(),
        };
        api::FibCheckReply {
            routes: 1200,
            objects: 6,
            entries: 1,
            unconfirmed: 2,
            differences: vec![
                difference("route", "10.244.3.0/24", "missing", "wanted via 10.1.0.2 dev eth1", ""),
                difference(
                    "route",
                    "10.9.0.0/16",
                    "conflict",
                    "a route of protocol 12 has its place",
                    "a route of another owner has the same prefix, table and metric",
                ),
                difference("next-hop", "1275068417", "extra", "via 10.1.0.9 dev eth1, wanted none", ""),
            ],
            more: 0,
            unrepaired: 1,
            took_us: 2345,
        }
    }

    #[test]
    fn a_check_reads_well() {
        insta::assert_snapshot!(plain(&Check::from(reply()), false));
    }

    #[test]
    fn a_check_is_a_contract() {
        insta::assert_snapshot!(json(&Check::from(reply())));
    }

    #[test]
    fn a_check_that_found_nothing_is_one_line() {
        let nothing = api::FibCheckReply { differences: vec![], unrepaired: 0, unconfirmed: 0, ..reply() };
        insta::assert_snapshot!(plain(&Check::from(nothing), false));
    }
}
