//! The report of an operation: what happened, how long it took and what was lost, against what the plan asks for. And that of a drill (`drill`).
//!
//! ```text
//! Operation, how it ended --.
//! Policy, plan, audit head --+--> Report (a value) --serde--> JSON
//!                                     '--> sections --> Markdown, HTML (`text`)
//! ```
//!
//! Invariants: what nobody knows is said to be unknown, never zero and never left out; every mark is in it; no text of anybody is markup in what
//! is printed.
//!
//! Source: AWS' recovery plan execution reports; RFC 3339 for times.

mod drill;
mod sections;
mod text;

use std::{collections::BTreeMap, time::Duration};

use serde::{Serialize, Serializer};

use super::{
    aside::Aside,
    exposure::Bracket,
    incident::{Milestone, Standing, Timeline},
};
use crate::{
    cluster::audit::Place,
    failover::{
        grounds::Attestation,
        group::{Closed, Ending, Fence, Kind, Operation, Origin},
    },
    model::{
        group::Policy,
        ids::Label,
        time::{Human, Timestamp, rfc3339},
    },
};

pub use drill::{DRILL_REPORT_VERSION, DrillReport};

/// Version of the JSON form: raised when a key goes or changes its meaning.
pub const REPORT_VERSION: u32 = 1;

/// What a report is written by, beside the operation itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Basis {
    /// Of the plan in force when the report is written; the targets are this one's.
    pub plan_revision: u64,
    /// The digest of that plan.
    pub plan_digest: String,
    /// The last link of the audit chain, which vouches for everything that is told here.
    #[serde(serialize_with = "place")]
    pub audit_head: Place,
    /// When it is written, by the clock of the node that writes it.
    #[serde(with = "rfc3339")]
    pub written: Timestamp,
    /// How long caches may answer otherwise after names lead to the new primary, in milliseconds; `None`: nobody knows.
    #[serde(rename = "cache_tail_ms", serialize_with = "millis_or_null")]
    pub tail: Option<Duration>,
}

/// The report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    version: u32,
    group: Label,
    operation: String,
    kind: &'static str,
    from: Label,
    /// Who was chosen; `None`: nobody yet.
    promoted: Option<Label>,
    phase: &'static str,
    /// How it ended; `None`: it has not.
    ending: Option<&'static str>,
    #[serde(with = "rfc3339::option")]
    ended: Option<Timestamp>,
    held: Option<Holding>,
    /// The rollback trigger that fired while its result was watched, and what became of that; `None`: none did, or it is not over.
    setback: Option<String>,
    origin: Wanted,
    acts: Vec<Acted>,
    recovery: Recovery,
    loss: Loss,
    fence: Option<String>,
    evidence: Option<Evidence>,
    marks: Vec<Marked>,
    basis: Basis,
}

/// Why it does not go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Holding {
    rule: &'static str,
    text: String,
    #[serde(with = "rfc3339")]
    since: Timestamp,
}

/// Who wanted it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Wanted {
    is_automatic: bool,
    who: Option<String>,
    why: Option<String>,
}

/// What a person did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Acted {
    index: u64,
    #[serde(with = "rfc3339")]
    at: Timestamp,
    who: String,
    why: String,
    what: String,
}

/// How long it took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Recovery {
    /// From the first failed probe to the end, or until the report was written; `None`: nobody knows when it began, or it recovered nothing.
    #[serde(rename = "took_ms", serialize_with = "millis_or_null")]
    took: Option<Duration>,
    /// The clock still runs.
    is_running: bool,
    /// From the decision to the first write on the new primary; `None`: it has not come to that.
    #[serde(rename = "without_writes_ms", serialize_with = "millis_or_null")]
    without_writes: Option<Duration>,
    #[serde(rename = "approval_wait_ms", serialize_with = "millis")]
    approval_wait: Duration,
    #[serde(rename = "rto_target_ms", serialize_with = "millis_or_null")]
    target: Option<Duration>,
    standing: &'static str,
    /// t0 to t8.
    milestones: Vec<Passed>,
}

/// A mark of the recovery, and the part of it that ends there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Passed {
    mark: String,
    name: &'static str,
    #[serde(with = "rfc3339::option")]
    at: Option<Timestamp>,
    /// Since the mark before; `None`: one of both is not known, or has not come.
    #[serde(rename = "part_ms", serialize_with = "millis_or_null")]
    part: Option<Duration>,
    /// The part as a share of `rto_target`, in hundredths; `None`: unknown, or there is no target.
    percent_of_target: Option<u64>,
}

/// What was lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Loss {
    /// When it was decided.
    #[serde(rename = "estimate_ms", serialize_with = "bracket")]
    estimate: Bracket,
    /// By what was sealed; `None`: nobody was chosen.
    #[serde(rename = "sealed_ms", serialize_with = "bracket_or_null")]
    sealed: Option<Bracket>,
    /// The old primary handed over all that it had.
    is_handed_over: bool,
    #[serde(rename = "allowed_ms", serialize_with = "millis_or_null")]
    allowed: Option<Duration>,
    #[serde(rename = "rpo_target_ms", serialize_with = "millis_or_null")]
    target: Option<Duration>,
    standing: &'static str,
    /// What members had alone, as they put it aside when they came back; `None`: nobody has told of anything.
    put_aside: Option<BTreeMap<Label, PutAside>>,
}

/// What one member had alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct PutAside {
    /// In the engine's count, where others have no more of it; `None`: unknown, as all of these.
    timeline: Option<u32>,
    position: Option<u64>,
    commits: Option<u64>,
    octets: Option<u64>,
    #[serde(with = "rfc3339::option")]
    first_commit: Option<Timestamp>,
    #[serde(with = "rfc3339::option")]
    last_commit: Option<Timestamp>,
    #[serde(skip)]
    text: String,
}

/// What it was decided by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Evidence {
    class: &'static str,
    #[serde(serialize_with = "times")]
    failed_rounds: Vec<Timestamp>,
    attestations: BTreeMap<Label, Attestation>,
}

/// Something that was committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Marked {
    index: u64,
    #[serde(with = "rfc3339")]
    at: Timestamp,
    phase: &'static str,
    text: String,
}

impl Report {
    /// Of an operation that is open.
    #[must_use]
    pub fn of(group: &Label, operation: &Operation, policy: &Policy, basis: Basis) -> Self {
        let timeline = Timeline::of(operation, basis.tail);
        Self::new(group, operation, None, &timeline, policy, basis)
    }

    /// Of one that is over.
    #[must_use]
    pub fn of_closed(group: &Label, closed: &Closed, policy: &Policy, basis: Basis) -> Self {
        let timeline = Timeline::of_closed(closed, basis.tail);
        let report = Self::new(group, &closed.operation, Some((closed.ending, closed.at)), &timeline, policy, basis);
        let mark = closed.setback.and_then(|index| closed.operation.marks.iter().find(|mark| mark.index == index));
        let put_aside =
            (!closed.aside.is_empty()).then(|| closed.aside.iter().map(|(region, it)| (region.clone(), PutAside::of(it))).collect());
        Self { setback: mark.map(|mark| mark.text.clone()), loss: Loss { put_aside, ..report.loss }, ..report }
    }

    fn new(
        group: &Label,
        operation: &Operation,
        ended: Option<(Ending, Timestamp)>,
        timeline: &Timeline,
        policy: &Policy,
        basis: Basis,
    ) -> Self {
        let (is_automatic, who, why) = match &operation.origin {
            Origin::Automatic => (true, None, None),
            Origin::Setback { of, why } => (true, None, Some(format!("setback of op-{of}: {why}"))),
            Origin::Person { who, why } | Origin::Drill { who, why, .. } => (false, Some(who.clone()), Some(why.clone())),
        };
        Self {
            version: REPORT_VERSION,
            group: group.clone(),
            operation: format!("op-{}", operation.id),
            kind: operation.kind.word(),
            from: operation.from.clone(),
            promoted: operation.chosen.as_ref().map(|chosen| chosen.choice.region.clone()),
            phase: operation.phase.word(),
            ending: ended.map(|(ending, _)| ending.word()),
            ended: ended.map(|(_, at)| at),
            held: operation.held.as_ref().map(|held| Holding { rule: held.reason.word(), text: held.text.clone(), since: held.at }),
            setback: None,
            origin: Wanted { is_automatic, who, why },
            acts: operation
                .acts
                .iter()
                .map(|act| Acted { index: act.index, at: act.at, who: act.who.clone(), why: act.why.clone(), what: act.deed.to_string() })
                .collect(),
            recovery: Recovery::of(ended.map(|(ending, _)| ending), timeline, policy, basis.written),
            loss: Loss::of(operation, policy),
            fence: operation.fence.as_ref().map(fence),
            evidence: operation.grounds.as_ref().map(|grounds| Evidence {
                class: grounds.evidence.word(),
                failed_rounds: grounds.rounds.clone(),
                attestations: grounds.attestations.clone(),
            }),
            marks: operation
                .marks
                .iter()
                .map(|mark| Marked { index: mark.index, at: mark.at, phase: mark.phase.word(), text: mark.text.clone() })
                .collect(),
            basis,
        }
    }

    /// For programs: one object; times in RFC 3339, lengths in milliseconds, null for what nobody knows.
    ///
    /// # Errors
    /// Of the serializer, for which nothing in a report gives a cause.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }

    /// For tickets: CommonMark with tables.
    #[must_use]
    pub fn markdown(&self) -> String {
        text::markdown(&self.title(), &self.sections())
    }

    /// For archives: one document that loads nothing else and runs nothing.
    #[must_use]
    pub fn html(&self) -> String {
        text::html(&self.title(), &self.sections())
    }
}

impl Recovery {
    fn of(ending: Option<Ending>, timeline: &Timeline, policy: &Policy, written: Timestamp) -> Self {
        let is_recovered = ending.is_none_or(|ending| ending == Ending::Succeeded);
        let took = timeline.recovery(written).filter(|_| is_recovered);
        let target = policy.rto_target;
        let mut before = None;
        let milestones = Milestone::ALL.into_iter().enumerate().map(|(i, milestone)| {
            let at = timeline.at(milestone);
            let part = before.zip(at).map(|(before, at): (Timestamp, Timestamp)| at.since(before));
            before = at;
            let percent_of_target = part.zip(target).and_then(|(part, target)| share(part, target));
            Passed { mark: format!("t{i}"), name: milestone.word(), at, part, percent_of_target }
        });
        Self {
            milestones: milestones.collect(),
            took,
            is_running: ending.is_none(),
            without_writes: timeline
                .at(Milestone::Decided)
                .zip(timeline.at(Milestone::Promoted))
                .map(|(decided, promoted)| promoted.since(decided)),
            approval_wait: timeline.approval_wait,
            target,
            standing: Standing::of(took, target).word(),
        }
    }
}

/// In whole hundredths, what is left over rounded up; `None`: there is nothing to be a share of.
fn share(part: Duration, target: Duration) -> Option<u64> {
    let share = (part.as_millis() * 100).checked_add(target.as_millis().saturating_sub(1))?.checked_div(target.as_millis())?;
    u64::try_from(share).ok()
}

impl Loss {
    fn of(operation: &Operation, policy: &Policy) -> Self {
        let chosen = operation.chosen.as_ref();
        let handed_over = |at: u64| operation.stopped.is_some_and(|stopped| at >= stopped.position);
        let is_handed_over = operation.kind == Kind::Switchover && chosen.is_some_and(|chosen| handed_over(chosen.choice.position));
        let nothing = Bracket { low: Duration::ZERO, high: Some(Duration::ZERO) };
        let sealed = chosen.map(|chosen| if is_handed_over { nothing } else { chosen.loss });
        let target = policy.rpo_target;
        let figure = sealed.unwrap_or(operation.estimate);
        // What is lost at least can break the target although nobody knows how much it is at most.
        let is_violated = target.is_some_and(|target| figure.low > target);
        let standing = if is_violated { Standing::Violated } else { Standing::of(figure.high, target) };
        let (allowed, standing) = (operation.allowed_loss, standing.word());
        Self { estimate: operation.estimate, sealed, is_handed_over, allowed, target, standing, put_aside: None }
    }
}

impl PutAside {
    fn of(aside: &Aside) -> Self {
        Self {
            timeline: aside.parted.map(|(timeline, _)| timeline),
            position: aside.parted.map(|(_, position)| position),
            commits: aside.commits,
            octets: aside.octets,
            first_commit: aside.span.map(|(first, _)| first),
            last_commit: aside.span.map(|(_, last)| last),
            text: aside.to_string(),
        }
    }
}

fn fence(fence: &Fence) -> String {
    match fence {
        Fence::Confirmed { by } => format!("confirmed by {by}"),
        Fence::Waited => "its lease ended, and its database with it".to_owned(),
        Fence::Asserted { who } => format!("{who} answers for it; the lease was waited for"),
        Fence::Stopped => "it stopped cleanly and said where".to_owned(),
    }
}

fn in_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn millis<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(in_millis(*time))
}

#[expect(clippy::ref_option, reason = "the serializer hands it over so")]
fn millis_or_null<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(in_millis).serialize(serializer)
}

#[derive(Serialize)]
struct Between {
    low: u64,
    /// Null: nobody knows.
    high: Option<u64>,
}

fn bracket<S: Serializer>(bracket: &Bracket, serializer: S) -> Result<S::Ok, S::Error> {
    Between { low: in_millis(bracket.low), high: bracket.high.map(in_millis) }.serialize(serializer)
}

#[expect(clippy::ref_option, reason = "the serializer hands it over so")]
fn bracket_or_null<S: Serializer>(known: &Option<Bracket>, serializer: S) -> Result<S::Ok, S::Error> {
    match known {
        Some(known) => bracket(known, serializer),
        None => serializer.serialize_none(),
    }
}

fn times<S: Serializer>(times: &[Timestamp], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct At(#[serde(with = "rfc3339")] Timestamp);
    serializer.collect_seq(times.iter().map(|at| At(*at)))
}

fn place<S: Serializer>(place: &Place, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Head {
        index: u64,
        hash: String,
    }
    Head { index: place.index, hash: place.hash.to_string() }.serialize(serializer)
}

/// A length of time for people.
fn told(time: Option<Duration>) -> String {
    time.map_or_else(|| "unknown".to_owned(), |time| Human(time).to_string())
}

#[cfg(test)]
mod tests;
