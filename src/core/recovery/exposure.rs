//! Recovery-point exposure: the age of the oldest commit that a region has not received.
//!
//! ```text
//! samples of the primary    a(10)      b(25)      c(31)          now, or the fence
//!                             |--------- high ----------------------|
//!                                        |------ low ---------------|
//! a region received up to 14: the first commit that it lacks happened after a, and no later than b
//! ```
//!
//! The primary's agent says where it is about once a second; a region says up to where it received. Times are those of one clock, that of the node
//! that notes them: a sample was taken after the agent had heard a tick of that clock, and before it arrived, so no two clocks are subtracted from
//! each other. So the exposure is a bracket, as wide as the time between two samples and a round trip, and what is lost when the primary stops at
//! a known time is the same bracket at that time.
//!
//! What was *lost* of a primary that is gone is another length: from its first write that others lack to its last one. At most that is as much as
//! the exposure, for it may have written until the moment at which it was surely stopped; at least it is what samples show to have been written. The
//! position alone does not show that: a server moves it by itself, and its agent does with a heartbeat, while no client writes.
//!
//! ```text
//! samples    a(10)      b(25)      c(31)      d(40)      e(40)                fence
//!              |---------------------- high -----------------------------------|
//!              received up to 10:    |-- low --|     somebody wrote between b and c, and between c and d
//! ```
//!
//! Invariant: the bracket holds the true value, whatever samples were taken and thinned; with too little known its upper end is `None`.
//!
//! Source: Aurora's `aurora_global_db_status`, which keeps durable and apply apart, as here: what is received is given for the one, what is
//! replayed for the other.

use std::{collections::VecDeque, fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::model::time::{Human, Tick};

/// Samples that are kept. With one a second the newest quarter of an hour is exact; what is older is thinned, by half each time, so that a day
/// is still bracketed by minutes.
pub const SAMPLES_MAX: usize = 2048;

/// When a sample was taken, by the clock of who notes it: not before `from`, and not after `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The earliest.
    pub from: Tick,
    /// The latest.
    pub to: Tick,
}

impl Moment {
    /// Exactly then.
    #[must_use]
    pub const fn at(tick: Tick) -> Self {
        Self { from: tick, to: tick }
    }
}

/// Where the primary was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sample {
    position: u64,
    at: Moment,
    /// How often others than its agent were seen to have written; `None`: nobody tells.
    wrote: Option<u64>,
}

impl Sample {
    /// Whether somebody ended a write after the other sample was taken, and before this one was.
    fn shows_writes_after(&self, before: &Self) -> bool {
        self.wrote.zip(before.wrote).is_some_and(|(is, was)| is > was)
    }
}

/// A length of time that is known to lie in a bracket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bracket {
    /// At least this.
    pub low: Duration,
    /// At most this; `None`: nobody knows. Never taken for zero.
    pub high: Option<Duration>,
}

impl Bracket {
    /// It is known that nothing is missing.
    pub const NOTHING: Self = Self { low: Duration::ZERO, high: Some(Duration::ZERO) };
    /// Nothing is known.
    pub const UNKNOWN: Self = Self { low: Duration::ZERO, high: None };

    /// Whether it is certain that it is not above `limit`.
    #[must_use]
    pub fn is_within(self, limit: Duration) -> bool {
        self.high.is_some_and(|high| high <= limit)
    }
}

/// `2s to 5s`, `at least 3s`, `unknown`.
impl fmt::Display for Bracket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.high {
            Some(high) if high == self.low => write!(f, "{}", Human(high)),
            Some(high) => write!(f, "{} to {}", Human(self.low), Human(high)),
            None if self.low.is_zero() => f.write_str("unknown"),
            None => write!(f, "at least {}", Human(self.low)),
        }
    }
}

/// Where one primary was when. Another primary, or another timeline, gets a ring of its own.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    /// In order of time and of position, both.
    samples: VecDeque<Sample>,
}

impl Ring {
    /// Nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// At `at` the primary had made everything up to `position` durable, and nothing beyond. What is older than what is known, or contradicts it,
    /// is no news: `false`. Samples are noted in the order in which they were taken. `wrote`: how often, since any moment, others than its agent were
    /// seen to have written; `None`: nobody tells. What counts is that it grows.
    pub fn note(&mut self, position: u64, at: Moment, wrote: Option<u64>) -> bool {
        let mut at = at;
        if let Some(last) = self.samples.back() {
            if at.to <= last.at.to || position < last.position {
                return false;
            }
            at.from = at.from.max(last.at.from);
        }
        // While nothing is written only the first and the last moment of it matter.
        let n = self.samples.len();
        if n >= 2 && self.samples[n - 1].position == position && self.samples[n - 2].position == position {
            (self.samples[n - 1].at, self.samples[n - 1].wrote) = (at, wrote);
            return true;
        }
        if n == SAMPLES_MAX {
            self.thin();
        }
        self.samples.push_back(Sample { position, at, wrote });
        true
    }

    /// Every second one of the older half goes.
    fn thin(&mut self) {
        let half = self.samples.len() / 2;
        let mut position = 0;
        self.samples.retain(|_| {
            position += 1;
            position > half || position % 2 == 1
        });
    }

    /// When the primary was heard last; `None`: never.
    #[must_use]
    pub fn heard(&self) -> Option<Tick> {
        self.samples.back().map(|sample| sample.at.to)
    }

    /// The furthest position that is known.
    #[must_use]
    pub fn position(&self) -> Option<u64> {
        self.samples.back().map(|sample| sample.position)
    }

    /// How long ago the first write was made that whoever received up to `received` lacks; `None`: that is not known.
    ///
    /// `until` is now, or, of one that was fenced, the last moment at which it can have acknowledged anything: the samples end before, and what
    /// it did after the last one counts.
    #[must_use]
    pub fn exposure(&self, received: Option<u64>, until: Tick) -> Bracket {
        let Some(received) = received else { return Bracket::UNKNOWN };
        let beyond = self.samples.partition_point(|sample| sample.position <= received);
        Bracket {
            low: self.samples.get(beyond).map_or(Duration::ZERO, |sample| until.since(sample.at.to)),
            high: beyond.checked_sub(1).and_then(|last| self.samples.get(last)).map(|sample| until.since(sample.at.from)),
        }
    }

    /// What would be lost of a primary that is surely stopped at `until`, by whoever received up to `received`: the time from its first write that is
    /// not there to its last one. Nothing, and one write: no time.
    #[must_use]
    pub fn lost(&self, received: Option<u64>, until: Tick) -> Bracket {
        let high = self.exposure(received, until).high;
        let low = received.and_then(|received| self.written_beyond(received)).unwrap_or_default();
        // Samples from behind the moment at which somebody answered for it that it is stopped count for nothing.
        Bracket { low: high.map_or(low, |high| low.min(high)), high }
    }

    /// From the first write that was surely made beyond a position to the last one, at least; `None`: none was seen.
    fn written_beyond(&self, received: u64) -> Option<Duration> {
        // What ended after a sample may have been in the log shortly before: so the sample before that one had to be as far already.
        let first = self.samples.partition_point(|sample| sample.position < received) + 2;
        let shows = |last: &usize| {
            let (sample, before) = (self.samples.get(*last), last.checked_sub(1).and_then(|before| self.samples.get(before)));
            sample.zip(before).is_some_and(|(sample, before)| sample.shows_writes_after(before))
        };
        let earliest = (first..self.samples.len()).find(shows)?;
        let latest = (earliest..self.samples.len()).rev().find(shows)?;
        Some(self.samples.get(latest - 1)?.at.from.since(self.samples.get(earliest)?.at.to))
    }

    /// How much of it, in the engine's own count, at least; `None`: nothing is known. Zero: nothing is known to be missing.
    #[must_use]
    pub fn behind(&self, received: u64) -> Option<u64> {
        Some(self.position()?.saturating_sub(received))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn at(seconds: u64) -> Tick {
        Tick(seconds * 1_000_000)
    }

    fn ring(samples: &[(u64, u64)]) -> Ring {
        let mut ring = Ring::new();
        for (position, seconds) in samples {
            assert!(ring.note(*position, Moment::at(at(*seconds)), Some(*position)));
        }
        ring
    }

    fn told(ring: &Ring, received: Option<u64>, until: u64) -> String {
        ring.exposure(received, at(until)).to_string()
    }

    #[test]
    fn the_age_of_the_first_commit_that_is_missing() {
        let ring = ring(&[(10, 1), (25, 2), (31, 3)]);
        assert_eq!(told(&ring, Some(14), 5), "3s to 4s");
        assert_eq!(told(&ring, Some(25), 5), "2s to 3s");
        assert_eq!(told(&ring, Some(31), 5), "0s to 2s", "what was written since the last sample is not known");
        assert_eq!(told(&ring, Some(40), 5), "0s to 2s", "the standby is ahead of what the primary last said");
        assert_eq!(told(&ring, Some(31), 3), "0s");
        assert_eq!(told(&ring, Some(9), 5), "at least 4s", "before all that is known");
        assert_eq!(told(&ring, None, 5), "unknown");
        assert_eq!(told(&Ring::new(), Some(9), 5), "unknown");
        assert_eq!((ring.behind(14), ring.behind(40), Ring::new().behind(1)), (Some(17), Some(0), None));
    }

    #[test]
    fn what_is_lost_is_from_the_first_write_that_was_seen_to_the_last_one() {
        let mut ring = Ring::new();
        // Its own heartbeat moves it each second; clients write in the seconds before 5, 6 and 8.
        for (position, second, wrote) in
            [(10, 1, 7), (11, 2, 7), (12, 3, 7), (13, 4, 7), (19, 5, 8), (25, 6, 9), (26, 7, 9), (30, 8, 10), (31, 9, 10)]
        {
            assert!(ring.note(position, Moment::at(at(second)), Some(wrote)));
        }
        let lost = |received, until| ring.lost(Some(received), at(until)).to_string();
        assert_eq!((lost(10, 20).as_str(), told(&ring, Some(10), 20).as_str()), ("2s to 19s", "18s to 19s"), "from 5 to 7 at least");
        assert_eq!(lost(19, 20), "0s to 15s", "the write before 6 may be there, and the other one is alone then");
        assert_eq!(lost(26, 20), "0s to 13s");
        assert_eq!(lost(31, 9), "0s", "nobody wrote since it was heard");
        assert_eq!(lost(9, 20), "at least 2s", "before all that is known");
        assert_eq!(ring.lost(None, at(20)), Bracket::UNKNOWN);
    }

    #[test]
    fn an_idle_primary_loses_nothing_for_certain() {
        let (mut beats, mut untold) = (Ring::new(), Ring::new());
        for second in 1..600 {
            assert!(beats.note(second * 100, Moment::at(at(second)), Some(4)) && untold.note(second * 100, Moment::at(at(second)), None));
        }
        for ring in [beats, untold] {
            assert_eq!(ring.lost(Some(100 * 100), at(630)).to_string(), "0s to 8m50s", "nobody saw a client write");
        }
    }

    #[test]
    fn a_primary_that_writes_nothing_leaves_nothing_to_lose() {
        let mut quiet = ring(&[(10, 1)]);
        for second in 2..10_000 {
            assert!(quiet.note(10, Moment::at(at(second)), None));
        }
        assert!(quiet.note(11, Moment::at(at(10_000)), None));
        assert_eq!(told(&quiet, Some(10), 10_000), "0s to 1s");
        assert_eq!(told(&quiet, Some(9), 10_000), "at least 2h46m39s");
        assert!(quiet.samples.len() <= 4);
    }

    #[test]
    fn what_contradicts_is_no_news_and_unknown_is_never_within() {
        let mut ring = ring(&[(10, 1), (25, 2)]);
        assert!(!ring.note(24, Moment::at(at(3)), None) && !ring.note(30, Moment::at(at(2)), None));
        assert_eq!((ring.heard(), ring.position()), (Some(at(2)), Some(25)));
        assert!(!Bracket::UNKNOWN.is_within(Duration::MAX));
        assert!(ring.exposure(Some(25), at(3)).is_within(Duration::from_secs(1)));
    }

    proptest! {
        /// Against a ledger of all commits.
        #[test]
        fn the_bracket_holds_what_is_true(
            pauses in prop::collection::vec((0_u64..3000, 0_u64..3, 0_u64..2000, 0_u64..2000), 1..6000), received in any::<prop::sample::Index>(), later in 0_u64..5000,
        ) {
            let (mut ring, mut commits, mut now) = (Ring::new(), vec![0_u64], 0);
            for (pause, what, sooner, later) in pauses {
                now += pause;
                if what == 0 {
                    // Nobody knows when exactly a sample was taken.
                    let at = Moment { from: Tick(now.saturating_sub(sooner)), to: Tick(now + later) };
                    ring.note(commits.len() as u64 - 1, at, Some(commits.len() as u64));
                } else {
                    commits.push(now);
                }
            }
            let until = now + later;
            let received = received.index(commits.len()) as u64;
            // Commits are numbered from 1; the first that is missing is the next one.
            let truth = commits.get(usize::try_from(received).unwrap() + 1).map_or(0, |committed| until - committed);
            let bracket = ring.exposure(Some(received), Tick(until));
            prop_assert!(bracket.low <= Duration::from_micros(truth), "{:?} {}", bracket, truth);
            prop_assert!(bracket.high.is_none_or(|high| high >= Duration::from_micros(truth)), "{:?} {}", bracket, truth);
            let lost = &commits[usize::try_from(received).unwrap() + 1..];
            let truth = Duration::from_micros(lost.last().unwrap_or(&0) - lost.first().unwrap_or(&0));
            let bracket = ring.lost(Some(received), Tick(until));
            prop_assert!(bracket.low <= truth && bracket.high.is_none_or(|high| high >= truth), "{:?} {:?}", bracket, truth);
            prop_assert!(ring.samples.len() <= SAMPLES_MAX);
        }
    }
}
