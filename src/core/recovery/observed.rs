//! What an `observe_only` drill noticed of a group, and what that says of its automation.
//!
//! ```text
//! rounds fail, and stop to --> near miss
//! everything that a decision takes is there --> would be decided, with what would be in its way --> works again, or an operation begins
//! ```
//!
//! It passed if somebody saw how the primary was, and each decision that would have been made could have been carried out as the plan wants: with
//! nobody asked, somebody to promote, within the targets. Whether one would have been right is for people to say; what helps them is on record.
//!
//! Invariant: nothing here is an order, and nothing is decided less for it.
//!
//! Source: Oracle's broker, which tries out fast-start failover in `observe-only` mode.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    drill::{Drill, Figures, LINES_MAX, Noted, Outcome, TRAIL_MAX},
    exposure::Bracket,
    incident::Standing,
};
use crate::{
    failover::evidence::Evidence,
    model::{
        group::Policy,
        ids::Label,
        time::{Human, Timestamp},
    },
};

/// What was noticed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// The window was full of failed rounds, and before a decision would have been made something spoke for the primary again.
    NearMiss {
        /// What it was when it was last suspected.
        evidence: Evidence,
        /// So many failed rounds.
        rounds: u32,
        /// How long it was suspected.
        lasted: Duration,
    },
    /// A decision would have been made.
    Would(Box<Would>),
    /// The primary of such a decision works again, and nobody decided anything.
    Recovered {
        /// How long after the decision would have been made.
        after: Duration,
    },
    /// An operation was decided or proposed, by whomever: by the entry that did.
    Began {
        /// Its id.
        operation: u64,
        /// By the rules of the plan.
        is_automatic: bool,
    },
}

/// A decision that would have been made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Would {
    /// Whom it would have replaced.
    pub from: Label,
    /// Who was furthest of those that may be promoted; `None`: nobody was known to have anything.
    pub to: Option<Label>,
    /// What the primary was.
    pub evidence: Evidence,
    /// When the window was full.
    pub detected: Timestamp,
    /// So many failed rounds.
    pub rounds: u32,
    /// So many regions, asked once more, saw it fail.
    pub failing: u32,
    /// Of so many.
    pub asked: u32,
    /// What would have been lost.
    pub loss: Bracket,
    /// How long the recovery would have taken; `None`: part of it was never measured.
    pub recovery: Option<Duration>,
    /// What the plan's mode had it be, one line each; none: it was to be decided.
    pub mode: Vec<String>,
    /// What else was in its way, one line each.
    pub against: Vec<String>,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NearMiss { evidence, rounds, lasted } => {
                write!(f, "near miss: {rounds} failed rounds, {evidence}, and after {} something spoke for it", Human(*lasted))
            }
            Self::Would(would) => would.fmt(f),
            Self::Recovered { after } => write!(f, "the primary works again {} later, and nobody had decided", Human(*after)),
            Self::Began { operation, is_automatic: true } => write!(f, "op-{operation} was decided by the cluster"),
            Self::Began { operation, is_automatic: false } => write!(f, "op-{operation} was begun by a person"),
        }
    }
}

impl fmt::Display for Would {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let to = self.to.as_ref().map_or_else(|| "nobody".to_owned(), ToString::to_string);
        let recovery = self.recovery.map_or_else(|| "unknown".to_owned(), |time| Human(time).to_string());
        write!(f, "would be decided: {} to {to}, {}, {} failed rounds, ", self.from, self.evidence, self.rounds)?;
        write!(f, "{} of {} regions see it fail, loss {}, recovery {recovery}", self.failing, self.asked, self.loss)?;
        for text in &self.against {
            write!(f, "; but {text}")?;
        }
        Ok(())
    }
}

impl Would {
    /// Why it could not have been carried out as the plan wants; `None`: it could.
    fn obstacle(&self, policy: &Policy) -> Option<String> {
        if let Some(text) = self.against.first() {
            return Some(text.clone());
        }
        if self.to.is_none() {
            return Some("nobody was known who could be promoted".to_owned());
        }
        let told = |standing| matches!(standing, Standing::Violated);
        if policy.rpo_target.is_some() && !matches!(Standing::of(self.loss.high, policy.rpo_target), Standing::Ok | Standing::AtRisk) {
            return Some(format!("a loss of {} is more than rpo_target, or unknown", self.loss));
        }
        let recovery = self.recovery.filter(|_| told(Standing::of(self.recovery, policy.rto_target)))?;
        Some(format!("a recovery of {} is more than rto_target", Human(recovery)))
    }
}

/// The rounds that were watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All.
    pub rounds: u64,
    /// Proven down at their end.
    pub failed: u64,
    /// Nothing was proven.
    pub unknown: u64,
}

/// How an observation ended, what it measured, and what is told of it. `tally`: of the leader that ends it; `None`: it watched nothing.
#[must_use]
pub fn judge(drill: &Drill, tally: Option<Tally>, policy: &Policy) -> (Outcome, Figures, Vec<String>) {
    let would = || drill.trail.iter().filter_map(|noted| if let Notice::Would(would) = &noted.notice { Some(&**would) } else { None });
    let Tally { rounds, failed, unknown } = tally.unwrap_or_default();
    let mut lines = vec![format!("the leader watched {rounds} rounds: {failed} failed, of {unknown} nobody knows")];
    // The last words have their place.
    lines.extend(drill.trail.iter().take(LINES_MAX - 3).map(ToString::to_string));
    if drill.trail.len() >= TRAIL_MAX {
        lines.push(format!("no more than {TRAIL_MAX} are noted: there may have been others"));
    }
    let obstacle = would().find_map(|it| it.obstacle(policy));
    let (outcome, text) = if rounds == 0 || unknown * 2 > rounds {
        (Outcome::Failed, "nobody could tell how the primary was, most of the time".to_owned())
    } else if let Some(why) = obstacle {
        (Outcome::Failed, format!("what would have been decided could not have been carried out as the plan wants: {why}"))
    } else {
        let text = match would().count() {
            0 => "nothing called for a decision".to_owned(),
            n => format!("what would have been decided could have been carried out: {n}"),
        };
        (Outcome::Passed, text)
    };
    lines.push(text);
    // What nobody knows is more than what somebody does.
    let worst = would().map(|it| it.loss).max_by_key(|loss| loss.high.unwrap_or(Duration::MAX));
    let figures = Figures { loss: worst, recovery: would().filter_map(|it| it.recovery).max(), stop: None };
    (outcome, figures, lines)
}

/// A decision that would have been made of a primary which came back by itself: if that was no test, somebody else would have been promoted for it.
#[must_use]
pub fn came_back(trail: &[Noted]) -> Option<Duration> {
    trail.iter().find_map(|noted| if let Notice::Recovered { after } = &noted.notice { Some(*after) } else { None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::group::policy,
        recovery::drill::{Aim, DrillKind, LINE_MAX},
    };

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn would() -> Would {
        Would {
            from: "us".into(),
            to: Some("eu".into()),
            evidence: Evidence::Isolated,
            detected: Timestamp(0),
            rounds: 3,
            failing: 2,
            asked: 2,
            loss: Bracket { low: seconds(0), high: Some(seconds(2)) },
            recovery: Some(seconds(90)),
            mode: vec!["the mode is observe".to_owned()],
            against: Vec::new(),
        }
    }

    fn told(notices: Vec<Notice>, tally: Tally) -> (Outcome, Figures, Vec<String>) {
        let trail = notices.into_iter().map(|notice| Noted { at: Timestamp(0), notice }).collect();
        let drill = Drill {
            id: 7,
            aim: Aim { lasts: Some(seconds(3600)), ..Aim::new(DrillKind::ObserveOnly) },
            who: "ana".to_owned(),
            why: "test drive".to_owned(),
            began: Timestamp(0),
            schedule: None,
            operations: Vec::new(),
            trail,
        };
        let policy = Policy { rpo_target: Some(seconds(10)), rto_target: Some(seconds(100)), ..policy("us", &["us", "eu"]) };
        let told = judge(&drill, Some(tally), &policy);
        assert!(told.2.len() <= LINES_MAX, "{told:#?}");
        told
    }

    const WELL: Tally = Tally { rounds: 100, failed: 4, unknown: 1 };

    fn outcome(would: Would) -> (Outcome, String) {
        let (outcome, _, lines) = told(vec![Notice::Would(Box::new(would))], WELL);
        (outcome, lines.last().unwrap().clone())
    }

    #[test]
    fn it_passes_when_what_would_be_decided_could_be_carried_out() {
        let near = Notice::NearMiss { evidence: Evidence::Dead, rounds: 3, lasted: seconds(20) };
        let (outcome_, figures, lines) = told(vec![near.clone()], WELL);
        assert_eq!((outcome_, figures), (Outcome::Passed, Figures::default()));
        assert_eq!(lines[0], "the leader watched 100 rounds: 4 failed, of 1 nobody knows");
        assert_eq!(lines[1], "1970-01-01T00:00:00Z: near miss: 3 failed rounds, dead, and after 20s something spoke for it");
        assert_eq!(lines[2], "nothing called for a decision");
        let (outcome_, figures, lines) = told(vec![near, Notice::Would(Box::new(would())), Notice::Recovered { after: seconds(40) }], WELL);
        assert_eq!((outcome_, figures.loss, figures.recovery), (Outcome::Passed, Some(would().loss), Some(seconds(90))));
        assert!(
            lines[2].ends_with(
                "would be decided: us to eu, isolated, 3 failed rounds, 2 of 2 regions see it fail, loss 0s to 2s, recovery 1m30s"
            )
        );
        assert_eq!(lines[4], "what would have been decided could have been carried out: 1");
    }

    #[test]
    fn it_fails_when_something_but_the_mode_would_be_in_the_way() {
        let fails = |change: fn(&mut Would), why: &str| {
            let mut it = would();
            change(&mut it);
            let (outcome, last) = outcome(it);
            assert_eq!(outcome, Outcome::Failed);
            assert!(last.contains(why), "{last}");
        };
        fails(|it| it.against.push("no fence of us would confirm".to_owned()), "no fence of us would confirm");
        fails(|it| it.to = None, "nobody was known who could be promoted");
        fails(|it| it.loss = Bracket::UNKNOWN, "is more than rpo_target, or unknown");
        fails(|it| it.loss.high = Some(seconds(11)), "is more than rpo_target, or unknown");
        fails(|it| it.recovery = Some(seconds(101)), "a recovery of 1m41s is more than rto_target");
        assert_eq!(outcome(Would { recovery: None, ..would() }).0, Outcome::Passed, "what was never measured is told, and no failure");
    }

    #[test]
    fn whoever_saw_nothing_has_shown_nothing() {
        for tally in [Tally::default(), Tally { rounds: 3, failed: 0, unknown: 2 }] {
            assert_eq!(told(Vec::new(), tally).0, Outcome::Failed);
        }
        assert_eq!(told(Vec::new(), Tally { rounds: 4, failed: 0, unknown: 2 }).0, Outcome::Passed);
    }

    #[test]
    fn a_full_trail_is_told_in_bounded_lines() {
        let long = Would { against: vec!["x".repeat(LINE_MAX)], ..would() };
        let (_, _, lines) = told(vec![Notice::Would(Box::new(long)); TRAIL_MAX], WELL);
        assert!(lines.iter().any(|line| line.contains("there may have been others")));
    }
}
