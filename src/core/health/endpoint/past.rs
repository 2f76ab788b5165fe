//! What a check remembers: the last outcomes and times in a few octets, and what only a check that failed needs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{
    check::{Failure, Timings},
    time::{Tick, Timestamp},
};

/// How many outcomes are kept for `why`: enough to see a pattern on one line.
pub const RECENT_MAX: u8 = 20;

/// How many drops are kept for flap damping: each doubles the successes that a return needs, and after 16 any threshold is beyond its range.
pub const DROPS_MAX: usize = 16;

/// What only a check that failed once needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Past {
    /// The latest failure and when it was seen.
    pub(super) failure: Option<(Failure, Timestamp)>,
    /// `Some` while it is up after it was down.
    pub(super) returned_at: Option<Timestamp>,
    /// Microseconds on the axis of [`Tick`], in ascending order, at most [`DROPS_MAX`]; negative when the drop was before this process.
    pub(super) drops: Vec<i64>,
    /// Drops inside the flap window when the present one came.
    pub(super) drops_before: u8,
}

impl Past {
    pub(super) fn failed(&mut self, at: Timestamp, failure: Failure) {
        self.failure = Some((failure, at));
    }

    /// Remembers a drop and counts those of the `window` before it.
    pub(super) fn dropped(&mut self, at: Tick, window: Duration) {
        let (at, window) = (on_axis(at), i64::try_from(window.as_micros()).unwrap_or(i64::MAX));
        self.drops.retain(|&drop| window > 0 && at.saturating_sub(drop) <= window);
        self.drops_before = u8::try_from(self.drops.len()).unwrap_or(u8::MAX);
        if window > 0 {
            if self.drops.len() >= DROPS_MAX {
                self.drops.remove(0);
            }
            self.drops.push(at);
        }
    }
}

/// A tick on an axis that also reaches into the time before this process.
pub(super) fn on_axis(tick: Tick) -> i64 {
    i64::try_from(tick.0).unwrap_or(i64::MAX)
}

/// The last outcomes as bits, the newest lowest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u32, u8)", into = "(u32, u8)")]
pub(super) struct Recent {
    passed: u32,
    n: u8,
}

impl From<Recent> for (u32, u8) {
    fn from(recent: Recent) -> Self {
        (recent.passed, recent.n)
    }
}

impl From<(u32, u8)> for Recent {
    fn from((passed, n): (u32, u8)) -> Self {
        Self { passed, n: n.min(RECENT_MAX) }
    }
}

impl Recent {
    pub(super) fn push(&mut self, passed: bool) {
        self.passed = self.passed << 1 | u32::from(passed);
        self.n = (self.n + 1).min(RECENT_MAX);
    }

    pub(super) fn iter(self) -> impl ExactSizeIterator<Item = bool> + use<> {
        (0..self.n).map(move |age| self.passed >> age & 1 == 1)
    }
}

/// [`Timings`] in a quarter of its size: microseconds up to 71 minutes, far beyond any timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "[u32; 4]", into = "[u32; 4]")]
pub(super) struct Phases {
    connect: u32,
    tls: u32,
    first_byte: u32,
    total: u32,
}

impl From<Phases> for [u32; 4] {
    fn from(phases: Phases) -> Self {
        [phases.connect, phases.tls, phases.first_byte, phases.total]
    }
}

impl From<[u32; 4]> for Phases {
    fn from([connect, tls, first_byte, total]: [u32; 4]) -> Self {
        Self { connect, tls, first_byte, total }
    }
}

const ABSENT: u32 = u32::MAX;

impl Default for Phases {
    fn default() -> Self {
        Self { connect: ABSENT, tls: ABSENT, first_byte: ABSENT, total: 0 }
    }
}

impl From<Timings> for Phases {
    fn from(timings: Timings) -> Self {
        let micros = |duration: Duration| u32::try_from(duration.as_micros()).unwrap_or(ABSENT).min(ABSENT - 1);
        let phase = |duration: Option<Duration>| duration.map_or(ABSENT, micros);
        Self {
            connect: phase(timings.connect),
            tls: phase(timings.tls),
            first_byte: phase(timings.first_byte),
            total: micros(timings.total),
        }
    }
}

impl From<Phases> for Timings {
    fn from(phases: Phases) -> Self {
        let duration = |micros: u32| Duration::from_micros(micros.into());
        let phase = |micros: u32| (micros != ABSENT).then(|| duration(micros));
        Self { connect: phase(phases.connect), tls: phase(phases.tls), first_byte: phase(phases.first_byte), total: duration(phases.total) }
    }
}
