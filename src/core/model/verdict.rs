//! What health says of one check, as steering reads it.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::{check::Failure, time::Timestamp, units::Share};

/// The judgement over many observations. Never a `bool`: unknown is not down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Not judged yet.
    #[default]
    Unknown,
    /// Enough successes in a row.
    Up,
    /// Enough failures in a row.
    Down,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unknown => "UNKNOWN",
            Self::Up => "UP",
            Self::Down => "DOWN",
        })
    }
}

/// A judgement with all that steering needs of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The judgement.
    pub health: Health,
    /// Since when; `None` while unknown.
    pub since: Option<Timestamp>,
    /// The latest failure while it is down, or while it is failing but still up. The latest, not the first: one that answered wrongly and now
    /// does not answer at all must leave.
    pub failure: Option<Failure>,
    /// The shortest time after which the judgement could be another one: the checks still needed times their intervals.
    pub next_change: Duration,
    /// The share of its normal clients that it takes while it comes back; [`Share::FULL`] in steady state.
    pub admitted: Share,
}

impl Verdict {
    /// Of a check that was never probed.
    #[must_use]
    pub const fn unknown(next_change: Duration) -> Self {
        Self { health: Health::Unknown, since: None, failure: None, next_change, admitted: Share::FULL }
    }

    /// Whether it is down because nothing answered, in contrast to a wrong or slow answer.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        self.health == Health::Down && self.failure.as_ref().is_some_and(|failure| failure.category.is_unreachable())
    }
}
