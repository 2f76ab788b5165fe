//! The recovery time of an operation: nine marks from the first failed probe to the proof that clients are served again.
//!
//! ```text
//! t0 impact  t1 detected  t2 decided  t3 fenced  t4 drained  t5 promoted  t6 published  t7 effective  t8 validated
//!    |-- rounds --|-- hold ----|-- fence --|-- replay --|-- promote --|-- answers ---|-- caches ----|-- checks --|
//! ```
//!
//! Most of them are the times of committed entries, so that every node tells the same. Recovery took t8 - t0; until it is over the clock runs
//! against `rto_target`. Before anything has happened the same parts are added up from what was measured: a plan that cannot hold its target says
//! so on the day on which that becomes true, not afterwards.
//!
//! Invariants: marks never go back; a part that nobody has measured makes the sum unknown, never smaller.
//!
//! Source: Oracle's broker and AWS' recovery reports, which break a recovery down into such parts.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    failover::{
        group::{Closed, Ending, Mark, Operation, Phase},
        lease::long,
        witness::SILENT_AFTER,
    },
    model::{
        group::{OnControlLoss, Policy},
        time::{Human, Timestamp},
    },
};

/// A mark of the recovery of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Milestone {
    /// t0: the first probe failed of the run that led to the decision.
    Impact,
    /// t1: enough rounds had failed, and nobody who stands beside it spoke for it any more.
    Detected,
    /// t2: the decision was committed.
    Decided,
    /// t3: nothing of the old primary writes any more.
    Fenced,
    /// t4: the candidate has replayed all that it received.
    Drained,
    /// t5: it writes.
    Promoted,
    /// t6: names lead to it, at every server.
    Published,
    /// t7: no cache answers otherwise any more.
    Effective,
    /// t8: the operation is over, and what the plan wants to be shown was shown.
    Validated,
}

impl Milestone {
    /// In order.
    pub const ALL: [Self; 9] = [
        Self::Impact,
        Self::Detected,
        Self::Decided,
        Self::Fenced,
        Self::Drained,
        Self::Promoted,
        Self::Published,
        Self::Effective,
        Self::Validated,
    ];

    /// The word in metrics, the API and reports.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Impact => "impact",
            Self::Detected => "detected",
            Self::Decided => "decided",
            Self::Fenced => "fenced",
            Self::Drained => "drained",
            Self::Promoted => "promoted",
            Self::Published => "published",
            Self::Effective => "effective",
            Self::Validated => "validated",
        }
    }
}

impl fmt::Display for Milestone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// When what happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    at: [Option<Timestamp>; 9],
    /// How long it waited for a person before it was decided. Zero: it did not.
    pub approval_wait: Duration,
}

impl Timeline {
    /// Of an operation that is open. `tail`: how long caches may answer otherwise after names lead to the new primary; `None`: nobody knows.
    #[must_use]
    pub fn of(operation: &Operation, tail: Option<Duration>) -> Self {
        let mut timeline = Self::default();
        if let Some(grounds) = &operation.grounds {
            timeline.note(Milestone::Impact, grounds.impact);
            timeline.note(Milestone::Detected, grounds.detected);
        }
        let entered = entered(&operation.marks);
        let proposed = entered.iter().find(|mark| mark.phase == Phase::Proposed);
        // What is decided again, because a candidate gave no answer, was decided once.
        let decided = entered.iter().find(|mark| mark.phase == Phase::Decided);
        timeline.approval_wait = proposed.zip(decided).map_or(Duration::ZERO, |(proposed, decided)| decided.at.since(proposed.at));
        if let Some(decided) = decided {
            timeline.note(Milestone::Decided, decided.at);
        }
        // Of the others the last time counts, if the operation did not go back behind it.
        let phases = [
            (Milestone::Fenced, Phase::Fenced),
            (Milestone::Drained, Phase::Promoting),
            (Milestone::Promoted, Phase::Promoted),
            (Milestone::Published, Phase::Routed),
        ];
        for (milestone, phase) in phases.into_iter().filter(|(_, phase)| *phase <= operation.phase) {
            if let Some(mark) = entered.iter().rev().find(|mark| mark.phase == phase) {
                timeline.note(milestone, mark.at);
            }
        }
        if let Some((published, tail)) = timeline.at(Milestone::Published).zip(tail) {
            timeline.note(Milestone::Effective, published + tail);
        }
        timeline
    }

    /// Of one that is over.
    #[must_use]
    pub fn of_closed(closed: &Closed, tail: Option<Duration>) -> Self {
        let mut timeline = Self::of(&closed.operation, tail);
        if closed.ending == Ending::Succeeded {
            // Whoever looked before the caches had run out has not shown it for all.
            let effective = timeline.at(Milestone::Effective);
            timeline.note(Milestone::Validated, effective.map_or(closed.at, |effective| effective.max(closed.at)));
        }
        timeline
    }

    /// Notes a mark; one that would go back is moved to the one before it: clocks of two leaders differ.
    fn note(&mut self, milestone: Milestone, at: Timestamp) {
        let before = self.at[..milestone as usize].iter().flatten().max().copied();
        self.at[milestone as usize] = Some(before.map_or(at, |before| before.max(at)));
    }

    /// When it was; `None`: not yet, or it is not known.
    #[must_use]
    pub const fn at(&self, milestone: Milestone) -> Option<Timestamp> {
        self.at[milestone as usize]
    }

    /// How long recovery took, or has taken until `now`; `None`: nobody knows when it began, as when a person moved a primary that worked.
    #[must_use]
    pub fn recovery(&self, now: Timestamp) -> Option<Duration> {
        let end = self.at(Milestone::Validated).unwrap_or(now);
        Some(end.since(self.at(Milestone::Impact)?))
    }

    /// What stands between two marks that are known and follow each other, in order.
    pub fn parts(&self) -> impl Iterator<Item = (Milestone, Duration)> {
        let known: Vec<(Milestone, Timestamp)> =
            Milestone::ALL.into_iter().filter_map(|milestone| Some((milestone, self.at(milestone)?))).collect();
        let parts: Vec<_> = known.windows(2).map(|pair| (pair[1].0, pair[1].1.since(pair[0].1))).collect();
        parts.into_iter()
    }
}

/// The marks with which the operation came into another phase.
fn entered(marks: &[Mark]) -> Vec<&Mark> {
    let mut entered: Vec<&Mark> = Vec::new();
    for mark in marks {
        if entered.last().is_none_or(|last| last.phase != mark.phase) {
            entered.push(mark);
        }
    }
    entered
}

/// How a figure stands to its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// At most half of it.
    Ok,
    /// More than half of it.
    AtRisk,
    /// Above it.
    Violated,
    /// The figure is not known, or there is no target.
    Unknown,
}

impl Standing {
    /// Of this figure; `None`: it is not known.
    #[must_use]
    pub fn of(figure: Option<Duration>, target: Option<Duration>) -> Self {
        match figure.zip(target) {
            None => Self::Unknown,
            Some((figure, target)) if figure > target => Self::Violated,
            Some((figure, target)) if figure > target / 2 => Self::AtRisk,
            Some(_) => Self::Ok,
        }
    }

    /// The word in metrics, the API and reports.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::AtRisk => "at_risk",
            Self::Violated => "violated",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// What was measured of the parts of a recovery; `None`: it was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// For the best candidate to replay what it has received.
    pub drain: Option<Duration>,
    /// From the order to promote to the first write, at the 95th percentile.
    pub promote: Option<Duration>,
    /// How long caches may answer otherwise: the largest TTL given out, and what resolvers add.
    pub tail: Option<Duration>,
    /// For what the plan wants to be shown.
    pub validation: Option<Duration>,
}

impl Measured {
    /// As the last operation of the group showed it. `tail`: as in [`Measured::tail`].
    #[must_use]
    pub fn by(latest: Option<&Closed>, tail: Option<Duration>) -> Self {
        let Some(closed) = latest.filter(|closed| closed.ending == Ending::Succeeded) else { return Self { tail, ..Self::default() } };
        let timeline = Timeline::of_closed(closed, None);
        let between = |from: Milestone, to: Milestone| Some(timeline.at(to)?.since(timeline.at(from)?));
        let entered = entered(&closed.operation.marks);
        let at = |phase: Phase| entered.iter().rev().find(|mark| mark.phase == phase).map(|mark| mark.at);
        Self {
            drain: between(Milestone::Fenced, Milestone::Drained),
            promote: between(Milestone::Drained, Milestone::Promoted),
            tail,
            validation: at(Phase::Verified).zip(at(Phase::Promoted)).map(|(verified, promoted)| verified.since(promoted)),
        }
    }
}

/// How long a recovery would take that began now, part by part; `None`: nobody has measured it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prediction(pub Vec<(Milestone, Option<Duration>)>);

impl Prediction {
    /// The worst case in which everything works: the primary's region is lost just after a round and a renewal. The lease runs out beside rounds
    /// and hold, so that only what is left of it is waited for; but one that goes on by all others' word does so until one of those has promised
    /// the decision to do so no more (L12).
    #[must_use]
    pub fn of(policy: &Policy, measured: Measured) -> Self {
        let rounds = policy.probe_interval.saturating_mul(u32::from(policy.failures));
        // Its agent has spoken for it until then, and as long as that is not silent nothing is suspected.
        let detected = rounds.max(policy.scaled(SILENT_AFTER));
        let before = detected.saturating_add(policy.confirm_hold);
        let goes_on = policy.on_control_loss == OnControlLoss::HoldIfAllAck && policy.members.len() > 1;
        let left = long(policy.ttl).saturating_sub(if goes_on { Duration::ZERO } else { before });
        Self(vec![
            (Milestone::Detected, Some(detected)),
            (Milestone::Decided, Some(policy.confirm_hold)),
            (Milestone::Fenced, Some(left)),
            (Milestone::Drained, measured.drain),
            (Milestone::Promoted, measured.promote),
            (Milestone::Effective, measured.tail),
            (Milestone::Validated, measured.validation),
        ])
    }

    /// All parts together; `None`: one of them is not known.
    #[must_use]
    pub fn sum(&self) -> Option<Duration> {
        self.0.iter().try_fold(Duration::ZERO, |sum, (_, part)| Some(sum.saturating_add((*part)?)))
    }
}

/// `detected 45s + decided 1m + fenced 0s + drained unknown = unknown`.
impl fmt::Display for Prediction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = |time: Option<Duration>| time.map_or_else(|| "unknown".to_owned(), |time| Human(time).to_string());
        let parts: Vec<String> = self.0.iter().map(|(milestone, part)| format!("{milestone} {}", told(*part))).collect();
        write!(f, "{} = {}", parts.join(" + "), told(self.sum()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        failover::{evidence::Evidence, grounds::Grounds, group},
        model::group::policy,
    };

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp(1_800_000_000_000 + second * 1000)
    }

    /// An operation whose marks are these, in order; it is in the phase of the last one.
    fn operation(marks: &[(Phase, i64)], is_automatic: bool) -> Operation {
        let grounds = is_automatic.then(|| Grounds {
            evidence: Evidence::Isolated,
            impact: at(0),
            detected: at(45),
            rounds: vec![at(15), at(30), at(45)],
            attestations: BTreeMap::new(),
        });
        let mark = |(phase, second): &(Phase, i64)| Mark { phase: *phase, index: 1, at: at(*second), text: String::new() };
        Operation { grounds, marks: marks.iter().map(mark).collect(), ..group::operation(marks.last().unwrap().0) }
    }

    fn told(timeline: &Timeline) -> String {
        let start = at(0);
        let known = Milestone::ALL.into_iter().filter_map(|milestone| Some((milestone, timeline.at(milestone)?)));
        known.map(|(milestone, at)| format!("{milestone} {}", Human(at.since(start)))).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn the_marks_are_those_of_the_committed_steps() {
        use Phase::*;
        let whole = [
            (Decided, 107),
            (Fenced, 110),
            (Fenced, 111),
            (Chosen, 112),
            (Promoting, 115),
            (Promoted, 119),
            (Verified, 121),
            (Routed, 124),
            (Routed, 160),
        ];
        let open = operation(&whole[..5], true);
        let timeline = Timeline::of(&open, Some(seconds(30)));
        assert_eq!(told(&timeline), "impact 0s, detected 45s, decided 1m47s, fenced 1m50s, drained 1m55s");
        assert_eq!(timeline.recovery(at(116)), Some(seconds(116)), "the clock runs");
        let closed = |second| Closed {
            operation: operation(&whole, true),
            ending: Ending::Succeeded,
            at: at(second),
            setback: None,
            told: None,
            aside: Default::default(),
        };
        let timeline = Timeline::of_closed(&closed(160), Some(seconds(30)));
        assert_eq!(
            told(&timeline),
            "impact 0s, detected 45s, decided 1m47s, fenced 1m50s, drained 1m55s, promoted 1m59s, published 2m4s, effective 2m34s, \
             validated 2m40s"
        );
        assert_eq!((timeline.recovery(at(999)), timeline.approval_wait), (Some(seconds(160)), Duration::ZERO), "it has stopped");
        let sum: Duration = timeline.parts().map(|(_, part)| part).sum();
        assert_eq!((timeline.parts().count(), sum), (8, seconds(160)), "the parts are the whole");
        let early = Timeline::of_closed(&closed(130), Some(seconds(30)));
        assert_eq!(early.at(Milestone::Validated), Some(at(154)), "not before the caches have run out");
        let unknown = Timeline::of_closed(&closed(160), None);
        assert_eq!((unknown.at(Milestone::Effective), unknown.at(Milestone::Validated)), (None, Some(at(160))));
    }

    #[test]
    fn what_goes_back_counts_from_the_last_time_and_was_decided_once() {
        use Phase::*;
        let marks = [(Proposed, 107), (Decided, 307), (Fenced, 310), (Chosen, 311), (Promoting, 312), (Decided, 372)];
        let timeline = Timeline::of(&operation(&marks, true), None);
        assert_eq!(told(&timeline), "impact 0s, detected 45s, decided 5m7s", "the candidate gave no answer: nothing is fenced now");
        assert_eq!(timeline.approval_wait, seconds(200));
        let again: Vec<_> = marks.into_iter().chain([(Fenced, 400), (Chosen, 401), (Promoting, 402)]).collect();
        let timeline = Timeline::of(&operation(&again, true), None);
        assert_eq!(told(&timeline), "impact 0s, detected 45s, decided 5m7s, fenced 6m40s, drained 6m42s");
    }

    #[test]
    fn without_an_impact_there_is_no_recovery_time_and_marks_never_go_back() {
        use Phase::*;
        let by_hand = Timeline::of(&operation(&[(Decided, 10), (Fenced, 12)], false), None);
        assert_eq!((told(&by_hand).as_str(), by_hand.recovery(at(20))), ("decided 10s, fenced 12s", None));
        let other_clock = Timeline::of(&operation(&[(Decided, 40), (Fenced, 39)], true), None);
        assert_eq!(told(&other_clock), "impact 0s, detected 45s, decided 45s, fenced 45s");
        let cancelled = Closed {
            operation: operation(&[(Decided, 107)], true),
            ending: Ending::Cancelled,
            at: at(200),
            setback: None,
            told: None,
            aside: Default::default(),
        };
        assert_eq!(Timeline::of_closed(&cancelled, None).at(Milestone::Validated), None, "nothing was recovered");
    }

    #[test]
    fn a_prediction_with_an_unknown_part_is_unknown() {
        let policy = Policy { on_control_loss: OnControlLoss::Fence, ..policy("us", &["us", "eu"]) };
        let measured =
            Measured { drain: Some(seconds(20)), promote: Some(seconds(5)), tail: Some(seconds(30)), validation: Some(seconds(10)) };
        let whole = Prediction::of(&policy, measured);
        assert_eq!(
            whole.to_string(),
            "detected 45s + decided 1m + fenced 0s + drained 20s + promoted 5s + effective 30s + validated 10s = 2m50s"
        );
        assert_eq!(Standing::of(whole.sum(), policy.rto_target), Standing::Ok);
        let unknown = Prediction::of(&policy, Measured { drain: None, ..measured });
        assert_eq!((unknown.sum(), Standing::of(unknown.sum(), policy.rto_target)), (None, Standing::Unknown));
        // Who may hold on by all others' word is waited for from the decision on.
        let holds_on = Prediction::of(&Policy { on_control_loss: OnControlLoss::HoldIfAllAck, ..policy.clone() }, measured);
        assert!(holds_on.to_string().starts_with("detected 45s + decided 1m + fenced 1m30s"), "{holds_on}");
        // Short rounds wait for the silence of whoever stands beside the primary, and a short detection for the lease.
        let hasty = Policy { probe_interval: seconds(1), confirm_hold: Duration::ZERO, ..policy };
        let part = |wanted| Prediction::of(&hasty, measured).0.into_iter().find(|(milestone, _)| *milestone == wanted).unwrap().1;
        assert_eq!(part(Milestone::Detected), Some(seconds(10)));
        let fenced = part(Milestone::Fenced);
        assert!(fenced.is_some_and(|wait| wait > seconds(80) && wait < seconds(82)), "{fenced:?}");
    }

    #[test]
    fn a_figure_stands_to_its_target_as_people_expect() {
        let target = Some(seconds(100));
        let told: Vec<String> =
            [Some(50), Some(51), Some(100), Some(101), None].map(|n| Standing::of(n.map(seconds), target).to_string()).into();
        assert_eq!(told, ["ok", "at_risk", "at_risk", "violated", "unknown"]);
        assert_eq!(Standing::of(Some(seconds(1)), None), Standing::Unknown);
    }
}
