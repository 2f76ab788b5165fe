//! What an observer says of the checks that it probes, as it travels between nodes.
//!
//! An observer numbers everything that it says with one counter. A [`Report`] holds what has changed since an earlier number, and is a sign
//! of life even when it holds nothing; one since number zero holds everything. So a receiver knows when something is missing: it then waits
//! for the rest, and does not take silence for agreement.

use std::{fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::model::{check::Failure, ids::Label, time::Timestamp, verdict::Health};

use super::{key::CheckKey, sight::Sight};

/// The most checks that one observer may speak of: twice the largest book that was measured (60,000 checks), rounded up. Kept for as long as
/// the observer is, so it bounds memory.
pub const CHECKS_PER_OBSERVER_MAX: usize = 1 << 17;

/// The longest name of a node or region, in octets: a host name's (RFC 1035 section 2.3.4).
pub const NAME_OCTETS_MAX: usize = 255;

/// What an observer's own book says of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// Unknown: it says nothing of this check, or no longer.
    pub health: Health,
    /// Since when, by the observer's wall clock; `None` while unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// When it came back from down, for slow start; `None`: it was never away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returned_at: Option<Timestamp>,
    /// What makes it down; `None` otherwise. The detail is cut to [`Failure::DETAIL_MAX`] characters when it is taken in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Arc<Failure>>,
}

impl Judgement {
    /// What steering depends on: a later detail of the same failure is no news.
    pub(super) fn essence(&self) -> (Health, Option<Timestamp>, Option<Timestamp>, Option<crate::model::check::FailureCategory>) {
        (self.health, self.since, self.returned_at, self.failure.as_ref().map(|failure| failure.category))
    }

    /// Within all bounds, and without what does not belong to its health.
    pub(super) fn bounded(self) -> Self {
        let is_known = self.health != Health::Unknown;
        let failure = self.failure.filter(|_| self.health == Health::Down);
        Self {
            health: self.health,
            since: self.since.filter(|_| is_known),
            returned_at: self.returned_at.filter(|_| self.health == Health::Up),
            failure: failure.map(|failure| if is_bounded(&failure) { failure } else { cut(&failure) }),
        }
    }
}

fn is_bounded(failure: &Failure) -> bool {
    failure.detail.len() <= Failure::DETAIL_MAX && !failure.detail.chars().any(char::is_control)
}

fn cut(failure: &Failure) -> Arc<Failure> {
    Arc::new(Failure::new(failure.category, &failure.detail))
}

/// One check as an observer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Which check.
    pub check: CheckKey,
    /// The observer's counter when it said so. Of two statements of one incarnation the higher rules.
    pub sequence: u64,
    /// What it says.
    pub judgement: Judgement,
}

/// What an observer said since an earlier report; also its sign of life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Name of the node that observes, wherever the report was relayed.
    pub observer: Label,
    /// The region that it observes from.
    pub region: Label,
    /// Grows with each start of that node; statements of an earlier one are void.
    pub incarnation: u64,
    /// It holds each check whose statement changed after this number; 0: each check that the observer speaks of at all.
    pub after: u64,
    /// Up to this number, which is higher than `after`. Of two signs of life the higher rules.
    pub sequence: u64,
    /// Whether the observer sees anything at all.
    pub sight: Sight,
    /// How old this is, as the sender says: zero from the observer itself, more when it was relayed.
    pub age: Duration,
    /// The changes, in any order; each numbered above `after` and at most `sequence` (in a full report: above zero).
    pub statements: Vec<Statement>,
}

/// Why a report is not of the form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    /// Empty, or longer than [`NAME_OCTETS_MAX`].
    #[error("a name of the observer or its region is empty or longer than {NAME_OCTETS_MAX} octets")]
    Name,
    /// `after` is not below `sequence`.
    #[error("the report ends before it begins")]
    Range,
    /// A statement is numbered outside the report.
    #[error("a statement is numbered outside the report that holds it")]
    Outside,
    /// More than [`CHECKS_PER_OBSERVER_MAX`].
    #[error("{0} statements in one report; at most {CHECKS_PER_OBSERVER_MAX} are read")]
    TooMany(usize),
}

impl Report {
    /// The same report when it is relayed `by` later.
    #[must_use]
    pub fn aged(self, by: Duration) -> Self {
        Self { age: self.age.saturating_add(by), ..self }
    }

    /// Refuses what no honest sender makes.
    pub(super) fn check(&self) -> Result<(), Malformed> {
        if [&self.observer, &self.region].iter().any(|name| name.as_str().is_empty() || name.as_str().len() > NAME_OCTETS_MAX) {
            return Err(Malformed::Name);
        }
        if self.after >= self.sequence {
            return Err(Malformed::Range);
        }
        if self.statements.len() > CHECKS_PER_OBSERVER_MAX {
            return Err(Malformed::TooMany(self.statements.len()));
        }
        if self.statements.iter().any(|it| it.sequence <= self.after || it.sequence > self.sequence) {
            return Err(Malformed::Outside);
        }
        Ok(())
    }
}

/// `us-1 (us) incarnation 3, 5 to 9: 2 statements`.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { observer, region, incarnation, after, sequence, .. } = self;
        write!(f, "{observer} ({region}) incarnation {incarnation}, {after} to {sequence}: {} statements", self.statements.len())
    }
}
