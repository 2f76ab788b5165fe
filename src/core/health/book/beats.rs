//! Heartbeats: which were pushed, and since when each check has waited.
//!
//! Nodes tell each other of every push. One that was out of reach hears what it missed when it is back, so a push has an identity, the moment
//! at which the node dated it that it was pushed at: what is not later than the latest is known. Invariant: a push counts once in a process, in
//! whatever order and how often it is told. The latest ones outlive the process.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{Book, Changes, Rejected, deadlines::Wait, silence};
use crate::model::{
    check::{Failure, FailureCategory, Observation, Outcome, Timings},
    ids::CheckIdx,
    time::{Now, Timestamp},
};

/// How many pushes that counted are remembered per heartbeat, for nodes that missed them. With a larger `rise` or `fall` than this, who missed
/// pushes may judge otherwise until more of them come.
pub const BEATS_KEPT: usize = 16;

/// A push that is dated later than this node's clock by more than this is refused: some node's clock is wrong.
pub const AHEAD_MAX: Duration = Duration::from_hours(24);

/// One push of a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// When, by the clock of the node that it was pushed at, and later than the one before that this node knew.
    pub at: Timestamp,
    /// `false`: the sender lives and says that it is not well.
    pub ok: bool,
}

/// What is known of one heartbeat.
#[derive(Clone, Debug, Default)]
pub(super) struct Heartbeat {
    checks: Vec<CheckIdx>,
    /// Those that counted, the oldest first, and behind them the latest.
    beats: VecDeque<Beat>,
    /// The last of `beats` is one of a burst, and does not count.
    ends_in_burst: bool,
}

impl Heartbeat {
    fn push(&mut self, beat: Beat, counts: bool) {
        if self.ends_in_burst {
            self.beats.pop_back();
        }
        self.ends_in_burst = !counts;
        self.beats.push_back(beat);
        while self.beats.len() > BEATS_KEPT {
            self.beats.pop_front();
        }
    }
}

impl Book {
    /// `at`: `None` for a push that comes from outside, which is later than all before.
    pub(super) fn take_beat(
        &mut self,
        now: Now,
        name: &str,
        ok: bool,
        at: Option<Timestamp>,
        changes: &mut Changes,
    ) -> Result<(), Rejected> {
        let known = self.heartbeats.get(name).ok_or(Rejected::UnknownHeartbeat)?;
        let latest = known.beats.back().map(|beat| beat.at);
        let at = match at {
            None => latest.map_or(now.wall, |latest| now.wall.max(latest + Duration::from_millis(1))),
            Some(at) if latest.is_some_and(|latest| at <= latest) => return Err(Rejected::KnownBeat),
            Some(at) if at > now.wall + AHEAD_MAX => return Err(Rejected::BeatAhead),
            Some(at) => at,
        };
        let mut counts = false;
        for check in known.checks.clone() {
            counts |= self.beat(now, check, Beat { at, ok }, changes);
        }
        if let Some(heartbeat) = self.heartbeats.get_mut(name) {
            heartbeat.push(Beat { at, ok }, counts);
        }
        Ok(())
    }

    /// Whether it counts.
    fn beat(&mut self, now: Now, check: CheckIdx, beat: Beat, changes: &mut Changes) -> bool {
        let slot = &mut self.slots[check.get()];
        let age = now.wall.since(beat.at);
        let heard = now.tick.before(age);
        let limit = now.tick + silence(&slot.check).saturating_sub(age);
        let fast = slot.check.probe.cadence.fast_interval;
        // A burst of equal beats is one observation: `rise` successes in a row must take time to mean something.
        let is_burst = slot.beat.is_some_and(|latest| heard.since(latest) < fast) && slot.state.in_a_row().0.min(1) == u16::from(beat.ok);
        if !is_burst {
            slot.beat = Some(heard);
            let outcome = if beat.ok {
                Outcome::Passed
            } else {
                Outcome::Failed(Failure::new(FailureCategory::Status, "the sender says that it is not well"))
            };
            self.record(now, check, Observation { outcome, timings: Timings::default() }, changes);
        }
        self.wait(check, Wait::Limit(limit));
        !is_burst
    }

    /// Every heartbeat that was pushed, with the pushes that count and the latest one, the oldest first.
    pub fn beats(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = Beat> + '_)> {
        let pushed = self.heartbeats.iter().filter(|(_, heartbeat)| !heartbeat.beats.is_empty());
        pushed.map(|(name, heartbeat)| (name.as_str(), heartbeat.beats.iter().copied()))
    }

    /// The latest push of a heartbeat; `None`: it was never pushed, or is in no plan.
    #[must_use]
    pub fn latest_beat(&self, name: &str) -> Option<Beat> {
        self.heartbeats.get(name)?.beats.back().copied()
    }

    /// Goes on from the pushes that a former process knew: they count in what [`Book::restore`] restores.
    pub fn restore_beats(&mut self, beats: BTreeMap<String, Vec<Beat>>) {
        for (name, beats) in beats {
            if let Some(heartbeat) = self.heartbeats.get_mut(&name).filter(|heartbeat| heartbeat.beats.is_empty()) {
                heartbeat.beats = beats.into_iter().rev().take(BEATS_KEPT).rev().collect();
            }
        }
    }

    /// Which checks hear which heartbeat. Pushes stay known as long as a check waits for more of them.
    pub(super) fn index_heartbeats(&mut self, heard: impl Iterator<Item = (String, CheckIdx)>) {
        let mut old = std::mem::take(&mut self.heartbeats);
        for (name, check) in heard {
            let fresh = || Heartbeat { checks: Vec::new(), ..old.remove(&name).unwrap_or_default() };
            self.heartbeats.entry(name.clone()).or_insert_with(fresh).checks.push(check);
        }
    }
}
