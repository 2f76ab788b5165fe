//! Requests to probe at once: who asks whom, how often at most.
//!
//! The first failure of a check anywhere is worth a look from everywhere, so that a death is proven in one probe's time and not in one
//! interval. Asking is coalesced per check, and the rate is bounded, so that the death of a region is no flood.
//!
//! Source: orchestrator's "emergency" reads of the other observers on a first failure.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use crate::model::{ids::CheckIdx, time::Tick};

/// The most requests that a node makes in any second, and the most that it heeds: probes out of turn stay few beside the regular ones of
/// a plan with thousands of checks.
pub const CONFIRMS_PER_SECOND_MAX: usize = 200;

/// A check that was asked for is not asked for again within this time: one default `fast_interval`, at which everyone who saw it fail
/// probes by himself.
pub const CONFIRM_PAUSE: Duration = Duration::from_secs(2);

/// A request that waited this long for its turn is dropped: those who asked have judged by then, and their statements say so.
pub const CONFIRM_WAIT_MAX: Duration = Duration::from_secs(5);

const PERIOD: Duration = Duration::from_secs(1);

/// Tokens that come back one second after they were taken: never more than [`CONFIRMS_PER_SECOND_MAX`] in any second, however they fall.
#[derive(Clone, Debug, Default)]
pub(super) struct Tokens(VecDeque<Tick>);

impl Tokens {
    /// Takes one; `false` when all are out.
    pub(super) fn take(&mut self, now: Tick) -> bool {
        while self.0.front().is_some_and(|&taken| now >= taken + PERIOD) {
            self.0.pop_front();
        }
        let is_left = self.0.len() < CONFIRMS_PER_SECOND_MAX;
        if is_left {
            self.0.push_back(now);
        }
        is_left
    }

    /// When there is one to take.
    fn next(&self, now: Tick) -> Tick {
        let oldest = self.0.front().filter(|_| self.0.len() >= CONFIRMS_PER_SECOND_MAX);
        oldest.map_or(now, |&taken| taken + PERIOD)
    }
}

/// Requests of this node on their way.
#[derive(Clone, Debug, Default)]
pub(super) struct Confirmations {
    sent: Tokens,
    heeded: Tokens,
    /// By when they were made; each check at most once.
    waiting: BTreeSet<(Tick, CheckIdx)>,
}

impl Confirmations {
    /// Asks for `check`, at once or when its turn comes; `true`: at once. The caller has coalesced.
    pub(super) fn ask(&mut self, now: Tick, check: CheckIdx) -> bool {
        if self.waiting.is_empty() && self.sent.take(now) {
            return true;
        }
        self.waiting.insert((now, check));
        false
    }

    /// Whether a request of another node is heeded.
    pub(super) fn heed(&mut self, now: Tick) -> bool {
        self.heeded.take(now)
    }

    /// The next request whose turn has come.
    pub(super) fn due(&mut self, now: Tick) -> Option<CheckIdx> {
        while let Some(&(asked, check)) = self.waiting.first() {
            if now.since(asked) >= CONFIRM_WAIT_MAX {
                self.waiting.pop_first();
                continue;
            }
            if !self.sent.take(now) {
                return None;
            }
            self.waiting.pop_first();
            return Some(check);
        }
        None
    }

    /// When [`Self::due`] has something to do next.
    pub(super) fn next(&self) -> Option<Tick> {
        self.waiting.first().map(|&(asked, _)| self.sent.next(asked))
    }

    /// Positions mean another plan now.
    pub(super) fn forget_waiting(&mut self) {
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_second_sees_more_than_the_cap(pauses in prop::collection::vec(0_u64..20_000, 1..1500)) {
            let (mut tokens, mut now, mut taken) = (Tokens::default(), Tick(1), VecDeque::new());
            for pause in pauses {
                now = now + Duration::from_micros(pause);
                if tokens.take(now) {
                    taken.push_back(now);
                } else {
                    prop_assert!(tokens.next(now) > now);
                }
                while taken.front().is_some_and(|&first| now.since(first) >= PERIOD) {
                    taken.pop_front();
                }
                prop_assert!(taken.len() <= CONFIRMS_PER_SECOND_MAX);
                prop_assert!(tokens.0.len() <= CONFIRMS_PER_SECOND_MAX);
            }
        }
    }
}
