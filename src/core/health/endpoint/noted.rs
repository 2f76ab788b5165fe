//! The whole state of a check at one moment, to be looked at later.
//!
//! Why not what is [`saved`](super::saved): nothing goes on from a note, so it also keeps what only the process that saw it may count on: runs,
//! counters, the last outcomes and how long they took.

use serde::{Deserialize, Serialize};

use crate::model::{check::Failure, time::Timestamp, verdict::Health};

use super::{
    CheckState,
    past::{Past, Phases, Recent},
};

/// A state as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotedState {
    health: Health,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    judged: bool,
    failing: bool,
    run: u16,
    /// (passed, failed) since the start.
    counts: (u32, u32),
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<(Failure, Timestamp)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    returned_at: Option<Timestamp>,
    drops_before: u8,
    recent: Recent,
    phases: Phases,
}

impl CheckState {
    /// All that is told of it.
    #[must_use]
    pub fn note(&self) -> NotedState {
        let past = self.past.as_deref();
        NotedState {
            health: self.health,
            since: self.since(),
            judged: self.judged,
            failing: self.failing,
            run: self.run,
            counts: self.counts(),
            failure: past.and_then(|past| past.failure.clone()),
            returned_at: self.returned_at(),
            drops_before: self.drops_before(),
            recent: self.recent,
            phases: self.phases,
        }
    }

    /// The state as it was noted. Told of like the original; nothing may go on from it.
    #[must_use]
    pub fn of_note(noted: &NotedState) -> Self {
        let past = Past {
            failure: noted.failure.as_ref().map(|(failure, at)| (Failure::new(failure.category, &failure.detail), *at)),
            returned_at: noted.returned_at,
            drops: Vec::new(),
            drops_before: noted.drops_before,
        };
        Self {
            since: noted.since.unwrap_or_default(),
            past: (past != Past::default()).then(|| Box::new(past)),
            phases: noted.phases,
            recent: noted.recent,
            n_passed: noted.counts.0,
            n_failed: noted.counts.1,
            run: noted.run,
            health: noted.health,
            failing: noted.failing,
            judged: noted.judged,
        }
    }

    /// Whether both are told of in the same words, but for the counts, outcomes and times of single probes.
    #[must_use]
    pub fn reads_like(&self, other: &Self) -> bool {
        self.words() == other.words()
    }

    fn words(&self) -> impl PartialEq + '_ {
        // While it stands firm, how often it was seen so is not told.
        let is_moving = (self.health == Health::Down) != self.failing;
        let is_new = self.health == Health::Unknown && self.counts() == (0, 0);
        let damping = (self.health == Health::Down).then(|| self.drops_before());
        (self.health, self.since(), self.judged, self.failing, is_moving.then_some(self.run), is_new, damping, self.failure())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        health::drill::{observation, outcome},
        model::{
            time::{Now, Tick, Timestamp},
            verdict::Health,
        },
        testing::cadence,
    };

    proptest! {
        #[test]
        fn a_note_is_told_like_the_original(passes in prop::collection::vec(any::<bool>(), 0..60)) {
            let (mut state, cadence) = (CheckState::default(), cadence());
            let mut now = Now { tick: Tick(1), wall: Timestamp(1_000_000) };
            for passed in passes {
                now = now.after(Duration::from_secs(2));
                let before = state.clone();
                state.record(&cadence, now, observation(outcome(if passed { &["ok"] } else { &["fail", "connect"] })));
                let noted: NotedState = serde_json::from_str(&serde_json::to_string(&state.note()).unwrap()).unwrap();
                let read = CheckState::of_note(&noted);
                prop_assert_eq!(read.tell(&cadence).to_string(), state.tell(&cadence).to_string());
                prop_assert_eq!(
                    (read.recent().collect::<Vec<_>>(), read.timings(), read.counts(), read.last_failure()),
                    (state.recent().collect::<Vec<_>>(), state.timings(), state.counts(), state.last_failure())
                );
                prop_assert!(read.reads_like(&state));
                let is_same = before.tell(&cadence).to_string() == state.tell(&cadence).to_string();
                prop_assert!(is_same || !before.reads_like(&state), "a change of words is noticed");
            }
        }
    }

    #[test]
    fn more_outcomes_than_there_are_bits_are_cut() {
        let mut text = serde_json::to_value(CheckState::default().note()).unwrap();
        text["recent"] = serde_json::json!([u32::MAX, 255]);
        let noted: NotedState = serde_json::from_value(text).unwrap();
        let state = CheckState::of_note(&noted);
        assert_eq!((state.recent().len(), state.health()), (20, Health::Unknown));
    }
}
