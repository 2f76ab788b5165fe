//! The only place that reads a clock or randomness.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use portolan_core::model::time::{Now, Tick, Timestamp};

use crate::net::clock::WallClock;

/// The node's clocks: ticks count from its start, and go on while the machine sleeps.
#[derive(Debug)]
pub struct Clock {
    start: Duration,
    system: Arc<dyn WallClock>,
    /// Added to the system's wall clock, in milliseconds: it is far off, and peers know better.
    correction: AtomicI64,
}

impl Clock {
    /// Starts to count.
    #[must_use]
    pub fn start() -> Self {
        Self::by(Arc::new(SystemClock))
    }

    /// The same with this wall clock for the system's.
    #[must_use]
    pub fn by(system: Arc<dyn WallClock>) -> Self {
        Self { start: boottime(), system, correction: AtomicI64::new(0) }
    }

    /// The wall clock as the system has it, which is what peers compare.
    #[must_use]
    pub(super) fn system(&self) -> Arc<dyn WallClock> {
        Arc::clone(&self.system)
    }

    /// Monotonic time since the start, never zero: zero stands for "before everything".
    #[must_use]
    pub fn tick(&self) -> Tick {
        Tick(u64::try_from(boottime().saturating_sub(self.start).as_micros()).unwrap_or(u64::MAX).saturating_add(1))
    }

    /// Both clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        Now { tick: self.tick(), wall: Timestamp(self.system.now().0.saturating_add(self.correction.load(Relaxed))) }
    }

    /// Corrects the wall clock by so many milliseconds from now on; zero: not at all.
    pub fn correct(&self, millis: i64) {
        self.correction.store(millis, Relaxed);
    }

    /// The runtime's instant of a tick, to sleep until. A machine that sleeps meanwhile wakes late: callers look again at least every second.
    #[must_use]
    pub fn instant(&self, tick: Tick) -> tokio::time::Instant {
        tokio::time::Instant::now() + tick.since(self.tick())
    }

    /// A number that nobody can foresee.
    #[must_use]
    pub fn entropy(&self) -> u64 {
        entropy()
    }
}

/// The time since this machine was booted: the same for all its processes, over their restarts.
#[must_use]
pub(super) fn since_boot() -> Tick {
    Tick(u64::try_from(boottime().as_micros()).unwrap_or(u64::MAX))
}

/// A number that nobody can foresee, from the system's randomness as the standard library takes it.
#[must_use]
pub(super) fn entropy() -> u64 {
    RandomState::new().hash_one(boottime())
}

/// Counts suspend, unlike the standard library's monotonic clock: a lease that ended while the machine slept has ended.
fn boottime() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

impl WallClock for Clock {
    fn now(&self) -> Timestamp {
        Self::now(self).wall
    }
}

/// The wall clock as the system has it.
#[derive(Debug)]
struct SystemClock;

impl WallClock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the clock itself")]
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }
}
