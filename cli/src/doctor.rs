//! `linnet doctor`.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use linnet_api as api;
use serde::Serialize;

use crate::Answer;
use crate::client::Client;
use crate::error::Error;
use crate::output::table::Tone;
use crate::output::{Page, Present, Printer};

/// What takes no longer is not spoken of.
const PATIENCE: Duration = Duration::from_secs(2);
/// Columns before what a line says.
const MARGIN: usize = 7;

#[derive(Debug, Serialize)]
struct Report {
    faults: usize,
    notes: usize,
    sections: Vec<Section>,
}

#[derive(Debug, Serialize)]
struct Section {
    about: String,
    looked_at: String,
    findings: Vec<Finding>,
}

#[derive(Debug, Serialize)]
struct Finding {
    severity: String,
    culprit: String,
    consequence: String,
    next_step: String,
}

impl Finding {
    fn is_fault(&self) -> bool {
        self.severity == "fault"
    }
}

impl From<api::DoctorReport> for Report {
    fn from(report: api::DoctorReport) -> Self {
        let finding = |finding: api::DoctorFinding| Finding {
            severity: finding.severity,
            culprit: finding.culprit,
            consequence: finding.consequence,
            next_step: finding.next_step,
        };
        let section = |section: api::DoctorSection| Section {
            about: section.about,
            looked_at: section.looked_at,
            findings: section.findings.into_iter().map(finding).collect(),
        };
        let sections: Vec<Section> = report.sections.into_iter().map(section).collect();
        let findings = || sections.iter().flat_map(|section| &section.findings);
        let faults = findings().filter(|finding| finding.is_fault()).count();
        let notes = findings().count() - faults;
        Self { faults, notes, sections }
    }
}

/// `1 fault`, `2 faults`.
fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

impl Present for Report {
    /// Faults, then notes, then what is well.
    fn draw(&self, page: &mut Page) {
        for (word, tone, faults) in [("FAULT", Tone::Bad, true), ("note", Tone::Doubtful, false)] {
            for section in &self.sections {
                for finding in section.findings.iter().filter(|finding| finding.is_fault() == faults) {
                    page.toned(tone, word, MARGIN, &format!("{}: {}", section.about, finding.culprit));
                    page.line(format!("{:MARGIN$}{}", "", finding.consequence));
                    page.line(format!("{:MARGIN$}-> {}", "", finding.next_step));
                }
            }
        }
        for section in self.sections.iter().filter(|section| section.findings.is_empty()) {
            page.toned(Tone::Good, "ok", MARGIN, &format!("{}: {}", section.about, section.looked_at));
        }
        let (faults, notes) = (counted(self.faults, "fault"), counted(self.notes, "note"));
        page.line(if self.notes == 0 { faults } else { format!("{faults}, {notes}") });
    }
}

pub(crate) async fn doctor(client: &Client, print: &Printer) -> Result<Answer, Error> {
    let began = Instant::now();
    let mut progress = Progress::default();
    let mut steps =
        client.node().doctor(api::DoctorRequest {}).await.map_err(|status| client.refused(status))?.into_inner();
    let mut report = None;
    let mut last = api::DoctorStep::default();
    while report.is_none() {
        // A single thing may take long: patience ends between two steps, too.
        let step = match tokio::time::timeout(PATIENCE, steps.message()).await {
            Ok(step) => step.map_err(|status| client.refused(status))?,
            Err(_) => {
                progress.show(&last, began.elapsed())?;
                continue;
            }
        };
        let Some(step) = step else { break };
        if began.elapsed() > PATIENCE {
            progress.show(&step, began.elapsed())?;
        }
        report.clone_from(&step.report);
        last = step;
    }
    progress.end()?;
    let report = report.ok_or_else(|| {
        client.refused(tonic::Status::unavailable(
            "linnetd ended before it had looked at everything; nothing was found out",
        ))
    })?;
    let report = Report::from(report);
    print.print(&report)?;
    Ok((report.faults == 0).into())
}

/// A line for a person who waits.
fn waiting(step: &api::DoctorStep, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    match step.of {
        0 => format!("looking at {}, {seconds} s", step.looking_at),
        of => format!("looking at {}: {} of {of}, {seconds} s", step.looking_at, step.done),
    }
}

/// What a person sees while it lasts: one line on a terminal, written over and over; elsewhere nothing.
#[derive(Default)]
struct Progress {
    width: usize,
}

impl Progress {
    fn show(&mut self, step: &api::DoctorStep, elapsed: Duration) -> std::io::Result<()> {
        let mut screen = std::io::stderr();
        if step.report.is_some() || !screen.is_terminal() {
            return Ok(());
        }
        let line = waiting(step, elapsed);
        write!(screen, "\r{line:<width$}", width = self.width)?;
        self.width = line.chars().count();
        screen.flush()
    }

    fn end(self) -> std::io::Result<()> {
        if self.width == 0 {
            return Ok(());
        }
        let mut screen = std::io::stderr();
        write!(screen, "\r{:width$}\r", "", width = self.width)?;
        screen.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{json, plain};

    fn section(about: &str, looked_at: &str, findings: Vec<api::DoctorFinding>) -> api::DoctorSection {
        api::DoctorSection { about: about.into(), looked_at: looked_at.into(), findings }
    }

    fn finding(severity: &str, culprit: &str, consequence: &str, next_step: &str) -> api::DoctorFinding {
        api::DoctorFinding {
            severity: severity.into(),
            culprit: culprit.into(),
            consequence: consequence.into(),
            next_step: next_step.into(),
        }
    }

    fn report() -> Report {
        let silent = finding(
            "note",
            "no answer to echo requests from 10.3.0.2",
            "how long packets may be on the way there is not known",
            "let ICMP echo pass between nodes, if it is to be known",
        );
        let liar = finding(
            "fault",
            "packets of 1500 octets do not reach 10.2.0.2, the end of a tunnel (vxlan); those of 1400 do, router 10.1.0.1 says that it \
             takes 1400",
            "3 routes by it announce 1450 octets, and packets of more than 1350 are split on the way, or dropped until their sender has \
             learned better",
            "let everything on the way carry 1500 octets, or set overlay.mtu = 1350 on the nodes at both ends",
        );
        let down = finding(
            "fault",
            "the session with tor-a (10.1.0.1) is Active: connection refused",
            "no route comes from it or goes to it",
            "see that 10.1.0.1 answers on TCP port 179 (firewalls, its daemon) and is configured for this node's address and AS; linnet \
             bgp neighbor tor-a shows what this node uses",
        );
        Report::from(api::DoctorReport {
            sections: vec![
                section("sessions", "2 sessions, 1 established", vec![down]),
                section("forwarding", "the kernel forwards IPv4 and IPv6", vec![]),
                section("overlay", "linnet.vxlan, 1450 octets", vec![]),
                section("paths", "3 ways probed", vec![silent, liar]),
            ],
        })
    }

    #[test]
    fn a_report_reads_well() {
        insta::assert_snapshot!(plain(&report(), false));
    }

    #[test]
    fn a_report_is_a_contract() {
        insta::assert_snapshot!(json(&report()));
    }

    #[test]
    fn a_node_that_is_well_is_told_so() {
        let well = api::DoctorReport {
            sections: vec![
                section("sessions", "2 sessions, 2 established", vec![]),
                section("paths", "3 ways probed", vec![]),
            ],
        };
        insta::assert_snapshot!(plain(&Report::from(well), false));
    }

    #[test]
    fn who_waits_sees_how_far_it_is() {
        let step = |done, of| api::DoctorStep { looking_at: "paths".into(), done, of, report: None };
        let seconds = Duration::from_secs(4);
        assert_eq!(waiting(&step(3, 12), seconds), "looking at paths: 3 of 12, 4 s");
        assert_eq!(waiting(&step(0, 0), seconds), "looking at paths, 4 s");
    }
}
