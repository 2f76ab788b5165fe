//! The report as people read it: titled lists of facts and tables, before any markup.

use super::{Basis, Report, told};
use crate::model::time::{Human, Timestamp};

/// A part of the report under a title of its own.
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) body: Body,
}

pub(super) enum Body {
    /// Names with their values.
    Facts(Vec<(&'static str, String)>),
    /// Rows under headings.
    Table(&'static [&'static str], Vec<Vec<String>>),
    /// There is nothing to list, and why.
    Nothing(&'static str),
}

/// Rows, or why there are none.
pub(super) fn table(headings: &'static [&'static str], rows: Vec<Vec<String>>, none: &'static str) -> Body {
    if rows.is_empty() { Body::Nothing(none) } else { Body::Table(headings, rows) }
}

pub(super) fn instant(at: Timestamp) -> String {
    at.to_string().replace('T', " ")
}

fn or_unknown(text: Option<String>) -> String {
    text.unwrap_or_else(|| "unknown".to_owned())
}

impl Report {
    pub(super) fn title(&self) -> String {
        format!("{} of {}: {}, {}", self.kind, self.group, self.operation, self.ending.unwrap_or("still open"))
    }

    pub(super) fn sections(&self) -> Vec<Section> {
        let section = |title, body| Section { title, body };
        vec![
            section("Summary", Body::Facts(self.summary())),
            section("What people did", self.people()),
            section("Recovery time", Body::Facts(self.recovery_facts())),
            section("Timeline", self.timeline()),
            section("Loss", Body::Facts(self.loss_facts())),
            section("Evidence", self.evidence_facts()),
            section("Attestations", self.attestations()),
            section("Everything that was committed", self.marks()),
            section("Basis", Body::Facts(basis_facts(&self.basis))),
        ]
    }

    fn summary(&self) -> Vec<(&'static str, String)> {
        let by = match (&self.origin.who, self.origin.is_automatic) {
            (Some(who), _) => who.clone(),
            (None, true) => "the cluster, by the rules of the plan".to_owned(),
            (None, false) => "unknown".to_owned(),
        };
        let mut facts = vec![
            ("Kind", self.kind.to_owned()),
            ("Replaced", self.from.to_string()),
            ("Promoted", self.promoted.as_ref().map_or_else(|| "nobody was chosen".to_owned(), ToString::to_string)),
            ("Wanted by", by),
        ];
        facts.extend(self.origin.why.clone().map(|why| ("Reason", why)));
        facts.push(("Phase", self.phase.to_owned()));
        facts.push(match (self.ending, self.ended) {
            (Some(ending), Some(at)) => ("Ended", format!("{ending} at {}", instant(at))),
            _ => ("Ended", "not yet".to_owned()),
        });
        facts.extend(self.held.as_ref().map(|held| ("Held", format!("{} since {}: {}", held.rule, instant(held.since), held.text))));
        facts.extend(self.setback.clone().map(|setback| ("Result", setback)));
        facts.push(("Old primary", self.fence.clone().unwrap_or_else(|| "not proven to be stopped".to_owned())));
        facts
    }

    fn people(&self) -> Body {
        let row = |act: &super::Acted| vec![instant(act.at), act.who.clone(), act.what.clone(), act.why.clone()];
        table(
            &["Time", "Who", "What", "Reason"],
            self.acts.iter().map(row).collect(),
            "Nobody approved, asserted, skipped or ended anything.",
        )
    }

    fn recovery_facts(&self) -> Vec<(&'static str, String)> {
        let recovery = &self.recovery;
        let running = if recovery.is_running && recovery.took.is_some() { ", and the clock runs" } else { "" };
        let target = recovery.target.map_or_else(|| "the plan has none".to_owned(), |target| Human(target).to_string());
        vec![
            ("Recovery (t8 - t0)", format!("{}{running}", told(recovery.took))),
            ("Target", target),
            ("Standing", recovery.standing.to_owned()),
            ("Without writes (t5 - t2)", told(recovery.without_writes)),
            (
                "Waited for approval",
                if recovery.approval_wait.is_zero() { "not at all".to_owned() } else { told(Some(recovery.approval_wait)) },
            ),
        ]
    }

    fn timeline(&self) -> Body {
        let row = |passed: &super::Passed| {
            vec![
                passed.mark.clone(),
                passed.name.to_owned(),
                or_unknown(passed.at.map(instant)),
                told(passed.part),
                or_unknown(passed.percent_of_target.map(|percent| format!("{percent}%"))),
            ]
        };
        let rows = self.recovery.milestones.iter().map(row).collect();
        Body::Table(&["Mark", "What", "When", "Since the mark before", "Of the target"], rows)
    }

    fn loss_facts(&self) -> Vec<(&'static str, String)> {
        let loss = &self.loss;
        let sealed = match loss.sealed {
            Some(_) if loss.is_handed_over => "nothing: the old primary handed over all that it had".to_owned(),
            Some(sealed) => sealed.to_string(),
            None => "unknown: nobody was chosen".to_owned(),
        };
        let allowed = loss.allowed.map_or_else(|| "nothing beyond the plan".to_owned(), |allowed| Human(allowed).to_string());
        let aside = match &loss.put_aside {
            Some(known) => known.iter().map(|(region, aside)| format!("{region} had {} alone", aside.text)).collect::<Vec<_>>().join("; "),
            None if loss.is_handed_over => "nothing".to_owned(),
            None => "unknown: no member has told of anything that only it had".to_owned(),
        };
        vec![
            ("Estimated when it was decided", loss.estimate.to_string()),
            ("By what was sealed", sealed),
            ("By what members put aside", aside),
            ("Allowed by a person", allowed),
            ("Target", loss.target.map_or_else(|| "the plan has none".to_owned(), |target| Human(target).to_string())),
            ("Standing", loss.standing.to_owned()),
        ]
    }

    fn evidence_facts(&self) -> Body {
        let Some(evidence) = &self.evidence else {
            return Body::Nothing("A person wanted it: no evidence was gathered.");
        };
        let rounds: Vec<String> = evidence.failed_rounds.iter().map(|at| instant(*at)).collect();
        Body::Facts(vec![("Class", evidence.class.to_owned()), ("Failed rounds", format!("{}: {}", rounds.len(), rounds.join(", ")))])
    }

    fn attestations(&self) -> Body {
        let attestations = self.evidence.iter().flat_map(|evidence| &evidence.attestations);
        let rows = attestations.map(|(region, saw)| vec![region.to_string(), saw.to_string()]).collect();
        table(&["Region", "What it saw"], rows, "No region was asked.")
    }

    fn marks(&self) -> Body {
        let row = |mark: &super::Marked| vec![mark.index.to_string(), instant(mark.at), mark.phase.to_owned(), mark.text.clone()];
        table(&["Entry", "Time", "Phase", "What"], self.marks.iter().map(row).collect(), "Nothing was committed.")
    }
}

/// By what a report is written.
pub(super) fn basis_facts(basis: &Basis) -> Vec<(&'static str, String)> {
    vec![
        ("Plan in force", format!("revision {}, digest {}", basis.plan_revision, basis.plan_digest)),
        ("Audit chain", format!("entry {}, {}", basis.audit_head.index, basis.audit_head.hash)),
        ("Caches run out after", told(basis.tail)),
        ("Written", instant(basis.written)),
    ]
}
