//! A point of time that can be waited for like a socket, on the clock that goes on while the machine sleeps.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::{
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};
use portolan_core::model::time::Tick;

use super::Problem;

#[derive(Debug)]
pub(super) struct Alarm(TimerFd);

impl Alarm {
    pub(super) fn new() -> Result<Self, Problem> {
        let timer = TimerFd::new(ClockId::CLOCK_BOOTTIME, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC);
        timer.map(Self).map_err(Problem::kernel("make a timer"))
    }

    /// Rings at this moment since boot, and until it is set anew; `None`: not at all.
    pub(super) fn set(&self, at: Option<Tick>) -> Result<(), Problem> {
        let done = match at {
            Some(Tick(micros)) => {
                let seconds = i64::try_from(micros / 1_000_000).unwrap_or(i64::MAX);
                let rest = i64::try_from(micros % 1_000_000 * 1000).unwrap_or(0);
                // Zero would not set it but stop it.
                let at = TimeSpec::new(seconds, if micros == 0 { 1 } else { rest });
                self.0.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)
            }
            None => self.0.unset(),
        };
        done.map_err(Problem::kernel("set a timer"))
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
