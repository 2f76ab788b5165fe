//! Where the verdict comes from that steering uses.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::model::{
    check::Failure,
    ids::CheckIdx,
    time::{Human, Timestamp},
    verdict::Health,
};

/// How the vantage regions stand to a verdict; together they are all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Votes {
    /// Fresh, sighted, and saying so.
    pub regions_for: u16,
    /// Fresh, sighted, and saying otherwise.
    pub against: u16,
    /// Not fresh, blind, or without a judgement of this check.
    pub silent: u16,
}

/// Who stands behind a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// More than half of all vantage regions say so.
    Proven(Votes),
    /// They did, and no longer do.
    Held {
        /// How long ago they did last.
        age: Duration,
        /// How long this still counts; zero: it counts for want of anything else, because this region has no view of its own.
        left: Duration,
    },
    /// What this region sees itself, or this node where it is the only one.
    Own,
    /// What it was before: this node sees nothing.
    Blind,
    /// The plan says that it is never probed.
    Always,
}

impl Provenance {
    /// Whether promotion and publishers may act on it.
    #[must_use]
    pub const fn is_proven(self) -> bool {
        matches!(self, Self::Proven(_) | Self::Always)
    }

    /// The word used in metrics and logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Proven(_) => "proven",
            Self::Held { .. } => "held",
            Self::Own => "own",
            Self::Blind => "blind",
            Self::Always => "always",
        }
    }
}

/// `proven by 2 of 3 regions, 1 silent`: one line for people.
impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Proven(Votes { regions_for, against, silent }) => {
                write!(f, "proven by {regions_for} of {} regions", regions_for + against + silent)?;
                if against > 0 {
                    write!(f, ", {against} against")?;
                }
                if silent > 0 {
                    write!(f, ", {silent} silent")?;
                }
                Ok(())
            }
            Self::Held { age, left } if left.is_zero() => {
                write!(f, "held, last proven {} ago: this region has no view of its own", Human(whole(age)))
            }
            Self::Held { age, left } => {
                write!(f, "held, last proven {} ago: own view in {}", Human(whole(age)), Human(whole(left)))
            }
            Self::Own => write!(f, "own view, not proven"),
            Self::Blind => write!(f, "kept as it was: this node sees neither other regions nor its references"),
            Self::Always => write!(f, "never probed"),
        }
    }
}

/// Long times in whole seconds.
pub(super) fn whole(duration: Duration) -> Duration {
    if duration < Duration::from_secs(1) { duration } else { Duration::from_secs(duration.as_secs()) }
}

/// A change of the verdict that steering uses. Displays as one line for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Whose.
    pub check: CheckIdx,
    /// When, by the wall clock.
    pub at: Timestamp,
    /// Before.
    pub from: Health,
    /// After.
    pub to: Health,
    /// Who says so.
    pub provenance: Provenance,
    /// What made it down; `None` when it is not.
    pub failure: Option<std::sync::Arc<Failure>>,
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}, {}", self.from, self.to, self.provenance)?;
        match &self.failure {
            Some(failure) => write!(f, "; {failure}"),
            None => Ok(()),
        }
    }
}
