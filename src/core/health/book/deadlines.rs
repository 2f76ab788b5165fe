//! When each check needs attention next: two ordered queues, at most one entry per check in both together.
//!
//! They are two, because starting a probe needs room in the prober and giving one up makes room: a full prober must not keep the book from
//! noticing that its probes are lost.

use std::{collections::BTreeSet, time::Duration};

use crate::model::{ids::CheckIdx, time::Tick};

/// What a check waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Wait {
    /// Nothing: it is never probed.
    #[default]
    Nothing,
    /// The start of its next probe.
    Start(Tick),
    /// The result of its probe, or its next beat, until then.
    Limit(Tick),
}

/// Every check that waits, by when it has waited long enough.
#[derive(Clone, Debug, Default)]
pub(super) struct Deadlines {
    starts: BTreeSet<(Tick, CheckIdx)>,
    limits: BTreeSet<(Tick, CheckIdx)>,
}

impl Deadlines {
    /// Replaces what `check` waits for.
    pub(super) fn set(&mut self, check: CheckIdx, wait: &mut Wait, new: Wait) {
        match *wait {
            Wait::Nothing => {}
            Wait::Start(at) => drop(self.starts.remove(&(at, check))),
            Wait::Limit(at) => drop(self.limits.remove(&(at, check))),
        }
        match new {
            Wait::Nothing => {}
            Wait::Start(at) => drop(self.starts.insert((at, check))),
            Wait::Limit(at) => drop(self.limits.insert((at, check))),
        }
        *wait = new;
    }

    /// The check that has waited longest beyond its limit.
    pub(super) fn overdue(&self, now: Tick) -> Option<CheckIdx> {
        self.limits.first().filter(|(at, _)| *at <= now).map(|(_, check)| *check)
    }

    /// The check whose probe should have started first.
    pub(super) fn startable(&self, now: Tick) -> Option<CheckIdx> {
        self.starts.first().filter(|(at, _)| *at <= now).map(|(_, check)| *check)
    }

    /// The next instant at which something can be done.
    pub(super) fn next(&self, may_start: bool) -> Option<Tick> {
        let first = |queue: &BTreeSet<(Tick, CheckIdx)>| queue.first().map(|(at, _)| *at);
        let start = if may_start { first(&self.starts) } else { None };
        [start, first(&self.limits)].into_iter().flatten().min()
    }

    /// How long the first waiting start is late.
    pub(super) fn lateness(&self, now: Tick) -> Duration {
        self.starts.first().map_or(Duration::ZERO, |(at, _)| now.since(*at))
    }
}
