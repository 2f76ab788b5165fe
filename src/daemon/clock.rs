//! The only place that reads a clock or randomness.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use portolan_core::model::time::{Now, Tick, Timestamp};

use crate::net::clock::WallClock;

/// The node's clocks: ticks count from its start.
#[derive(Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts to count.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the clock itself")]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Monotonic time since the start, never zero: zero stands for "before everything".
    #[must_use]
    pub fn tick(&self) -> Tick {
        Tick(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX).saturating_add(1))
    }

    /// Both clocks.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the clock itself")]
    pub fn now(&self) -> Now {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { tick: self.tick(), wall: Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)) }
    }

    /// The runtime's instant of a tick, to sleep until.
    #[must_use]
    pub fn instant(&self, tick: Tick) -> tokio::time::Instant {
        (self.start + std::time::Duration::from_micros(tick.0.saturating_sub(1))).into()
    }

    /// A number that nobody can foresee, from the system's randomness as the standard library takes it.
    #[must_use]
    pub fn entropy(&self) -> u64 {
        RandomState::new().hash_one(self.tick())
    }
}

impl WallClock for Clock {
    fn now(&self) -> Timestamp {
        Self::now(self).wall
    }
}
