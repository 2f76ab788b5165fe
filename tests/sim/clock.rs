//! The time of the world, and the clocks of its machines, which differ from it and from each other.
//!
//! A machine's tick runs a little fast or slow and goes on while its processes sleep; its wall clock is ahead or behind besides, and may be
//! set. Safety rests on ticks only.

use std::{
    ops::{Add, Sub},
    time::Duration,
};

use portolan_core::model::time::{Now, Tick, Timestamp};

/// The wall clock of a machine without skew at the start of every run: 2027-01-15T08:00:00Z.
const START: i64 = 1_800_000_000_000;

/// A moment of the world, in microseconds since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub(crate) u64);

impl Moment {
    /// The time from `earlier` to here; zero when `earlier` is later.
    pub(crate) const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0 + micros(duration))
    }
}

/// The start of the world at the earliest.
impl Sub<Duration> for Moment {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(micros(duration)))
    }
}

/// `12.345s`.
impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}s", self.0 / 1_000_000, self.0 / 1000 % 1000)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).expect("invariant: runs are short")
}

/// The clocks of one machine.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    /// Ticks at the start of the world.
    pub(crate) base: u64,
    /// How much faster than the world it runs, in millionths.
    pub(crate) ppm: i64,
    /// How far its wall clock is ahead, in milliseconds.
    pub(crate) ahead: i64,
}

impl Clock {
    fn elapsed(&self, at: Moment) -> i64 {
        let at = i64::try_from(at.0).expect("invariant: runs are short");
        at + at * self.ppm / 1_000_000
    }

    /// What both clocks show.
    pub(crate) fn now(&self, at: Moment) -> Now {
        let elapsed = self.elapsed(at);
        let tick = Tick(self.base + u64::try_from(elapsed).expect("invariant: clocks run forward"));
        Now { tick, wall: Timestamp(START + elapsed / 1000 + self.ahead) }
    }

    /// A moment at which the tick is reached: the first one, or one or two microseconds later.
    pub(crate) fn when(&self, tick: Tick) -> Moment {
        let ticks = i64::try_from(tick.0.saturating_sub(self.base)).unwrap_or(i64::MAX / 4_000_000);
        let about = ticks.saturating_mul(1_000_000) / (1_000_000 + self.ppm);
        let mut at = Moment(u64::try_from(about).unwrap_or(0));
        while self.now(at).tick < tick {
            at = Moment(at.0 + 1);
        }
        at
    }
}

#[test]
fn a_tick_is_found_again_whatever_the_drift() {
    for ppm in [-500, 0, 1, 499] {
        let clock = Clock { base: 12_345, ppm, ahead: -3000 };
        for at in [0, 1, 999_999, 3_600_000_001] {
            let tick = clock.now(Moment(at)).tick;
            let found = clock.when(tick);
            assert!(clock.now(found).tick >= tick && found.0 <= at + 2, "{ppm} {at} {found}");
        }
    }
}
