//! Clocks of tests: one that shows the time of a script, and one that runs a little wrong.

use std::time::Duration;

use crate::model::time::{Now, Tick, Timestamp};

/// A clock that began anywhere and runs within a hundredth of true time. True time is in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) base: u64,
    pub(crate) ppm: i64,
}

impl Clock {
    pub(crate) fn at(self, true_micros: u64) -> Tick {
        let skew = i128::from(true_micros) * i128::from(self.ppm) / 1_000_000;
        Tick(self.base + u64::try_from(i128::from(true_micros) + skew).expect("invariant: time is positive"))
    }

    /// The first true microsecond at which it shows this.
    pub(crate) fn when(self, tick: Tick) -> u64 {
        let shown = i128::from(tick.0.saturating_sub(self.base));
        let mut at = u64::try_from((shown * 1_000_000 / i128::from(1_000_000 + self.ppm)).max(2) - 2).expect("invariant: it fits");
        while self.at(at) < tick {
            at += 1;
        }
        at
    }
}

/// Both clocks `tick` after the start of all scripts; the wall clock began long before.
pub(crate) fn now_at(tick: Tick) -> Now {
    Now { tick, wall: Timestamp(1_800_000_000_000) + Duration::from_micros(tick.0) }
}
