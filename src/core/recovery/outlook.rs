//! How a group stands at one moment, for people: what `recovery status`, `exposure`, `readiness` and `why` print.

use std::{collections::BTreeMap, time::Duration};

use super::{
    archive::Archived,
    class_exposure::GroupExposure,
    exposure::Bracket,
    incident::{Measured, Prediction, Standing},
    readiness::Readiness,
};
use crate::{
    failover::evidence::Evidence,
    model::{ids::Label, reason::Reason},
};

/// What a region lacks of the primary's writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exposed {
    /// In time, as if the primary were lost now: what is received counts.
    pub time: Bracket,
    /// At most so far behind is what it has replayed and shows to readers; replaying the rest is part of a recovery. `None`: nobody knows.
    pub apply_lag: Option<Duration>,
    /// In the engine's own count, at least; `None`: nobody knows.
    pub behind: Option<u64>,
    /// Against `rpo_target`.
    pub standing: Standing,
}

/// How a group stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// Whether it would be failed over now, and what is in the way.
    pub readiness: Readiness,
    /// What the primary is, as far as its witnesses tell.
    pub evidence: Evidence,
    /// Why it is, or is not, failed over.
    pub reason: Reason,
    /// What would be lost if the member that is furthest were promoted now.
    pub estimate: Bracket,
    /// Where it is written; `None`: nowhere.
    pub primary: Option<Label>,
    /// What each other member lacks.
    pub exposed: BTreeMap<Label, Exposed>,
    /// The archive of the primary's log; `None`: nobody knows.
    pub archived: Option<Archived>,
    /// What was measured of recoveries.
    pub measured: Measured,
    /// How long a failover would take.
    pub prediction: Prediction,
    /// Members that a switchover cannot go to now, and why, in words that follow their name.
    pub unfit: BTreeMap<Label, String>,
    /// Where a switchover would best go; `Err`: why nobody can take over, in one line.
    pub target: Result<Label, String>,
}

impl Outlook {
    /// How long a failover would take, all parts together; `None`: one of them is not known.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        self.prediction.sum()
    }

    /// What a data class that the group belongs to asks of it.
    #[must_use]
    pub fn exposure(&self) -> GroupExposure {
        GroupExposure {
            primary: self.primary.clone(),
            streaming: self.exposed.iter().map(|(region, exposed)| (region.clone(), exposed.time)).collect(),
            archive: self.archived.as_ref().filter(|archived| archived.archive.is_on).map(|archived| archived.time),
        }
    }
}
