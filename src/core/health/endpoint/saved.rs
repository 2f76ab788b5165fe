//! The state of a check as it outlives the process.
//!
//! Kept: the judgement, its failure, the return and the recent drops, so that a restarted daemon neither answers blindly nor forgets who
//! flaps. Not kept: runs and counters, because observations of two processes are not in a row.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{
    check::Failure,
    time::{Now, Timestamp},
    verdict::Health,
};

use super::{
    CheckState,
    past::{DROPS_MAX, Past, on_axis},
};

/// What is kept of one check. All times are wall-clock times; those in the future of the reader count as its present.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedState {
    /// The judgement.
    pub health: Health,
    /// Since when; ignored while unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// The latest failure and when it was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<(Failure, Timestamp)>,
    /// When it came back from down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returned_at: Option<Timestamp>,
    /// The recent drops, ascending; the newest [`DROPS_MAX`] are read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drops: Vec<Timestamp>,
    /// Drops inside the flap window when the present one came.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub drops_before: u8,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
const fn is_zero(n: &u8) -> bool {
    *n == 0
}

impl CheckState {
    /// What is worth keeping, as of `now`.
    #[must_use]
    pub fn save(&self, now: Now) -> SavedState {
        let past = self.past.as_deref();
        SavedState {
            health: self.health,
            since: self.since(),
            failure: past.and_then(|past| past.failure.clone()),
            returned_at: past.and_then(|past| past.returned_at),
            drops: past.map_or_else(Vec::new, |past| past.drops.iter().map(|&drop| to_wall(drop, now)).collect()),
            drops_before: past.map_or(0, |past| past.drops_before),
        }
    }

    /// A state that goes on from what was kept; it is not judged until an observation agrees with it.
    #[must_use]
    pub fn restore(saved: &SavedState, now: Now) -> Self {
        let mut drops: Vec<i64> = saved.drops.iter().rev().take(DROPS_MAX).map(|&drop| from_wall(drop.min(now.wall), now)).collect();
        drops.sort_unstable();
        let past = Past {
            failure: saved.failure.as_ref().map(|(failure, at)| (Failure::new(failure.category, &failure.detail), (*at).min(now.wall))),
            returned_at: saved.returned_at.map(|at| at.min(now.wall)).filter(|_| saved.health == Health::Up),
            drops,
            drops_before: saved.drops_before,
        };
        Self {
            health: saved.health,
            since: saved.since.unwrap_or(now.wall).min(now.wall),
            failing: false,
            past: (past != Past::default()).then(|| Box::new(past)),
            ..Self::default()
        }
    }
}

const MICROS_PER_MILLI: i64 = 1000;

fn to_wall(drop: i64, now: Now) -> Timestamp {
    let age = on_axis(now.tick).saturating_sub(drop);
    Timestamp(now.wall.0.saturating_sub(age / MICROS_PER_MILLI))
}

fn from_wall(drop: Timestamp, now: Now) -> i64 {
    let age: Duration = now.wall.since(drop);
    on_axis(now.tick).saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX))
}
