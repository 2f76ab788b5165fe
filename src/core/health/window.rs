//! Counts failures inside a duration: "three failures in five minutes".
//!
//! Unlike failures in a row, a window also catches a target that fails, recovers for a moment and fails again. What clears it is said
//! explicitly: `ok_run` successes in a row, or time. Both counts are shown, because people reason with the one in a row and the rule with
//! the one in the window.
//!
//! Invariant: at most [`KEPT_MAX`] failures are remembered, whatever comes in. Absent on purpose: what a failure is (an observation, or the
//! proven verdict of a round), and what follows from a full window.
//! Source: gdnsd's failure accumulator, cleared by `ok_thresh` successes in a row; here it also forgets by time.

use std::{collections::VecDeque, fmt, time::Duration};

use crate::model::time::{Human, Tick};

/// The most failures that one window remembers, and so the highest threshold: a rule that waits for more would outlast any failure window
/// that people configure, and 64 instants are half a kilobyte.
pub const KEPT_MAX: u16 = 64;

/// When a window is full and what clears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    failures: u16,
    within: Duration,
    ok_run: u16,
}

impl Rule {
    /// Full at `failures` within `within`, cleared by `ok_run` successes in a row.
    ///
    /// `None` when `failures` is not 1 to [`KEPT_MAX`], when `within` is zero, or when `ok_run` is zero.
    #[must_use]
    pub const fn new(failures: u16, within: Duration, ok_run: u16) -> Option<Self> {
        if failures == 0 || failures > KEPT_MAX || within.is_zero() || ok_run == 0 { None } else { Some(Self { failures, within, ok_run }) }
    }

    /// The rule that comes nearest to these numbers: of a plan that was checked, exactly they.
    #[must_use]
    pub fn nearest(failures: u16, within: Duration, ok_run: u16) -> Self {
        Self { failures: failures.clamp(1, KEPT_MAX), within: within.max(Duration::from_micros(1)), ok_run: ok_run.max(1) }
    }
}

/// The failures of one target inside a moving duration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    rule: Rule,
    /// In ascending order; only the newest [`KEPT_MAX`].
    failures: VecDeque<Tick>,
    failed_in_a_row: u32,
    passed_in_a_row: u32,
}

/// What a window holds at one instant. Displays as `2 of 3 failures in 5m, 1 in a row`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Failures inside the window, at most [`KEPT_MAX`].
    pub in_window: u16,
    /// Failures since the latest success.
    pub in_a_row: u32,
    /// Successes since the latest failure.
    pub passed_in_a_row: u32,
    rule: Rule,
}

impl Counts {
    /// Whether the window is full. A full window may belong to a target that passes again: see [`Self::is_failing`].
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.in_window >= self.rule.failures
    }

    /// Whether the latest result was a failure.
    #[must_use]
    pub const fn is_failing(&self) -> bool {
        self.in_a_row > 0
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rule { failures, within, .. } = self.rule;
        write!(f, "{} of {failures} failures in {}, {} in a row", self.in_window, Human(within), self.in_a_row)
    }
}

impl Window {
    /// An empty window.
    #[must_use]
    pub const fn new(rule: Rule) -> Self {
        Self { rule, failures: VecDeque::new(), failed_in_a_row: 0, passed_in_a_row: 0 }
    }

    /// Takes one result in. `at` must not go back; one that does counts as of the latest failure.
    pub fn record(&mut self, at: Tick, passed: bool) {
        if passed {
            self.failed_in_a_row = 0;
            self.passed_in_a_row = self.passed_in_a_row.saturating_add(1);
            if self.passed_in_a_row >= u32::from(self.rule.ok_run) {
                self.failures.clear();
            }
            return;
        }
        self.passed_in_a_row = 0;
        self.failed_in_a_row = self.failed_in_a_row.saturating_add(1);
        let at = self.failures.back().map_or(at, |&latest| latest.max(at));
        while self.failures.front().is_some_and(|&oldest| at.since(oldest) > self.rule.within)
            || self.failures.len() >= usize::from(KEPT_MAX)
        {
            self.failures.pop_front();
        }
        self.failures.push_back(at);
    }

    /// What it holds at `now`. A failure exactly as old as the window still counts.
    #[must_use]
    pub fn counts(&self, now: Tick) -> Counts {
        let inside = self.failures.iter().filter(|&&failure| now.since(failure) <= self.rule.within).count();
        Counts {
            in_window: u16::try_from(inside).unwrap_or(KEPT_MAX),
            in_a_row: self.failed_in_a_row,
            passed_in_a_row: self.passed_in_a_row,
            rule: self.rule,
        }
    }

    /// When the oldest failure leaves the window by time alone, so that a caller can show or recompute the counts; `None` when it is empty.
    #[must_use]
    pub fn next_forgotten(&self, now: Tick) -> Option<Tick> {
        let oldest = self.failures.iter().find(|&&failure| now.since(failure) <= self.rule.within)?;
        Some(*oldest + self.rule.within + Duration::from_micros(1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick(seconds * 1_000_000)
    }

    fn three_in_five_minutes() -> Window {
        Window::new(Rule::new(3, Duration::from_secs(300), 10).unwrap())
    }

    #[test]
    fn failures_count_although_successes_stand_between_them() {
        let mut window = three_in_five_minutes();
        for (seconds, passed) in [(0, false), (15, true), (30, false), (45, true), (60, false)] {
            assert!(!window.counts(at(seconds)).is_full());
            window.record(at(seconds), passed);
        }
        let counts = window.counts(at(60));
        assert!(counts.is_full() && counts.is_failing());
        assert_eq!(counts.to_string(), "3 of 3 failures in 5m, 1 in a row");
    }

    #[test]
    fn time_empties_the_window() {
        let mut window = three_in_five_minutes();
        [0, 150, 300].into_iter().for_each(|seconds| window.record(at(seconds), false));
        assert!(window.counts(at(300)).is_full(), "the ends of the window belong to it");
        assert_eq!(window.next_forgotten(at(300)), Some(Tick(300_000_001)));
        assert_eq!(window.counts(at(301)).in_window, 2);
        assert_eq!(window.counts(at(301)).in_a_row, 3);
        assert_eq!(window.counts(at(1000)).in_window, 0);
        assert_eq!(window.next_forgotten(at(1000)), None);
    }

    #[test]
    fn a_run_of_successes_empties_the_window() {
        let mut window = three_in_five_minutes();
        window.record(at(0), false);
        (1..10).for_each(|seconds| window.record(at(seconds), true));
        assert_eq!(window.counts(at(9)).in_window, 1);
        window.record(at(10), true);
        assert_eq!(window.counts(at(10)).in_window, 0);
    }

    #[test]
    fn rules_that_could_never_or_always_hold_are_refused() {
        let minute = Duration::from_secs(60);
        assert_eq!(
            [Rule::new(0, minute, 1), Rule::new(KEPT_MAX + 1, minute, 1), Rule::new(1, Duration::ZERO, 1), Rule::new(1, minute, 0)],
            [None; 4]
        );
    }

    proptest! {
        #[test]
        fn it_agrees_with_counting_by_hand_and_stays_bounded(results in prop::collection::vec((0_u64..40, any::<bool>()), 0..300), failures in 1..=KEPT_MAX) {
            let rule = Rule::new(failures, Duration::from_secs(100), 5).unwrap();
            let mut window = Window::new(rule);
            let (mut now, mut by_hand, mut run) = (0, Vec::new(), 0);
            for (pause, passed) in results {
                now += pause;
                window.record(at(now), passed);
                run = if passed { run + 1 } else { 0 };
                if !passed {
                    by_hand.push(now);
                }
                if run >= 5 {
                    by_hand.clear();
                }
                let inside = by_hand.iter().filter(|&&failure| now - failure <= 100).count();
                prop_assert_eq!(usize::from(window.counts(at(now)).in_window), inside.min(usize::from(KEPT_MAX)));
                prop_assert!(window.failures.len() <= usize::from(KEPT_MAX));
            }
        }
    }
}
