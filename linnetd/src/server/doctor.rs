//! An examination, as a stream: how far it is, and at last what it found.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt, stream};
use linnet_api::{DoctorFinding, DoctorReport, DoctorSection, DoctorStep};
use tokio::sync::mpsc;
use tonic::Status;

use crate::daemon::Daemon;
use crate::doctor::{Finding, Progress, Section, Severity, examine};

pub(super) type Steps = Pin<Box<dyn Stream<Item = Result<DoctorStep, Status>> + Send>>;

/// Steps that wait for their reader.
const STEPS: usize = 64;

/// Begins one. Its report is the last step. It ends when nobody reads any more.
pub(super) fn steps(daemon: Arc<Daemon>) -> Steps {
    let (tell, told) = mpsc::channel(STEPS);
    let report = async move { examine(&daemon, &tell).await };
    let progress = stream::unfold(told, |mut told| async { Some((told.recv().await?, told)) });
    let report =
        stream::once(report).map(|sections| DoctorStep { report: Some(shown(sections)), ..DoctorStep::default() });
    let steps = Box::pin(stream::select(progress.map(step), report));
    Box::pin(stream::unfold(Some(steps), |steps| async {
        let mut steps = steps?;
        let step = steps.next().await?;
        let more = step.report.is_none().then_some(steps);
        Some((Ok(step), more))
    }))
}

fn step(progress: Progress) -> DoctorStep {
    let Progress { about, done, of } = progress;
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    DoctorStep { looking_at: about.into(), done: number(done), of: number(of), report: None }
}

fn shown(sections: Vec<Section>) -> DoctorReport {
    let finding = |finding: Finding| DoctorFinding {
        severity: match finding.severity {
            Severity::Fault => "fault",
            Severity::Note => "note",
        }
        .into(),
        culprit: finding.culprit,
        consequence: finding.consequence,
        next_step: finding.next_step,
    };
    let section = |section: Section| DoctorSection {
        about: section.about.into(),
        looked_at: section.looked_at,
        findings: section.findings.into_iter().map(finding).collect(),
    };
    DoctorReport { sections: sections.into_iter().map(section).collect() }
}
