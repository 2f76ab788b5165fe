//! How a group stands, as a message.

use portolan_core::{
    model::ids::Label,
    recovery::{
        archive::Archived,
        exposure::Bracket,
        outlook::{Exposed, Outlook},
        readiness::Finding,
    },
};

use super::duration_out;
use crate::api::proto;

/// As this node knows it.
pub(in crate::api) fn outlook_out(group: &Label, outlook: &Outlook) -> proto::Outlook {
    let parts = outlook.prediction.0.iter();
    proto::Outlook {
        name: format!("groups/{group}"),
        ready: outlook.readiness.would,
        score: outlook.readiness.score().into(),
        findings: outlook.readiness.findings.iter().map(finding_out).collect(),
        evidence: outlook.evidence.word().to_owned(),
        reason: Some((&outlook.reason).into()),
        estimate: Some(loss_out(outlook.estimate)),
        exposures: outlook.exposed.iter().map(|(region, exposed)| exposure_out(region, exposed)).collect(),
        prediction: parts
            .map(|(mark, part)| proto::PredictedPart { mark: mark.word().to_owned(), duration: part.map(duration_out) })
            .collect(),
        predicted: outlook.duration().map(duration_out),
        archive: outlook.archived.as_ref().map(archive_out),
    }
}

fn finding_out(finding: &Finding) -> proto::Finding {
    let Finding { check, grade, text, fix } = finding;
    proto::Finding { check: check.clone(), grade: grade.word().to_owned(), text: text.clone(), fix: fix.clone() }
}

fn exposure_out(region: &Label, exposed: &Exposed) -> proto::Exposure {
    proto::Exposure {
        region: region.to_string(),
        time: Some(loss_out(exposed.time)),
        behind: exposed.behind,
        apply_lag: exposed.apply_lag.map(duration_out),
        standing: exposed.standing.word().to_owned(),
    }
}

fn archive_out(archived: &Archived) -> proto::ArchiveStatus {
    proto::ArchiveStatus {
        on: archived.archive.is_on,
        time: Some(loss_out(archived.time)),
        succeeded: archived.archive.succeeded.map(duration_out),
        failed: archived.archive.n_failed,
        failing: archived.archive.failing.clone().unwrap_or_default(),
        text: archived.to_string(),
    }
}

pub(super) fn loss_out(loss: Bracket) -> proto::Loss {
    proto::Loss { low: Some(duration_out(loss.low)), high: loss.high.map(duration_out) }
}
