//! The rounds of a group, and the recovery window over them: failed rounds count, not failed probes.
//!
//! A round lasts one probe interval; its result is what was proven at its end. Fast and confirming probes belong to their round, so a burst of
//! them is one failure: what GitHub's 43 seconds of 2018 teach is that the count must be of time, not of tries.
//!
//! ```text
//! proven verdict  ~~~~~~~up~~~~~~~|~~~~~~~~~~~down~~~~~~~~~~~~~~~~~~|~~~up~~
//! rounds          passed . passed . failed . failed . failed . failed . passed ...
//!                                     1        2        3: reached             `ok_run` of these in a row clear the count
//! ```

use std::{collections::VecDeque, time::Duration};

use crate::{
    health::window::{Counts, KEPT_MAX, Rule, Window},
    model::{
        time::{Now, Tick},
        verdict::Health,
    },
};

/// How a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RoundResult {
    /// Proven down.
    Failed,
    /// Proven up.
    Passed,
    /// Nothing was proven, or this node did not watch. It is no failure, and no success either.
    Unknown,
}

/// A round that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    /// The rounds of a group are numbered from 1 as this node watched them.
    pub number: u64,
    /// When it ended, by the local clock.
    pub at: Tick,
    /// How.
    pub result: RoundResult,
}

/// What is proven of a group's primary, round by round.
#[derive(Clone, Debug)]
pub struct Rounds {
    interval: Duration,
    rule: Rule,
    window: Window,
    /// What is proven now; unknown: nothing is.
    proven: Health,
    n_rounds: u64,
    ends: Tick,
    latest: Option<Round>,
    /// The newest failed ones, the oldest first: as many as the window remembers.
    failed: VecDeque<Round>,
}

impl Rounds {
    /// Nothing is known; the first round begins now. A round lasts `interval`, longer than zero.
    #[must_use]
    pub fn new(interval: Duration, rule: Rule, now: Now) -> Self {
        let interval = interval.max(Duration::from_micros(1));
        Self {
            interval,
            rule,
            window: Window::new(rule),
            proven: Health::Unknown,
            n_rounds: 0,
            ends: now.tick + interval,
            latest: None,
            failed: VecDeque::new(),
        }
    }

    /// Another plan: what was counted stays, because a plan that is applied in the middle of an outage is no success.
    pub fn set_rule(&mut self, interval: Duration, rule: Rule, now: Now) {
        let before = std::mem::replace(self, Self::new(interval, rule, now));
        self.ends = self.ends.min(before.ends);
        (self.n_rounds, self.proven, self.latest, self.failed) = (before.n_rounds, before.proven, before.latest, before.failed);
        self.failed.iter().for_each(|round| self.window.record(round.at, false));
    }

    /// What is proven of the primary from now on; unknown: nothing.
    pub const fn proven(&mut self, health: Health) {
        self.proven = health;
    }

    /// Another primary, or this one was put in order by hand: nothing of what was counted is held against it.
    pub fn forget(&mut self, now: Now) {
        *self = Self { n_rounds: self.n_rounds, ..Self::new(self.interval, self.rule, now) };
    }

    /// Ends the round whose time it is; `true`: one ended. Of several that are over at once only the last was watched to its end.
    pub fn advance(&mut self, now: Now) -> bool {
        if now.tick < self.ends {
            return false;
        }
        while self.ends + self.interval <= now.tick {
            self.end(RoundResult::Unknown);
        }
        self.end(match self.proven {
            Health::Down => RoundResult::Failed,
            Health::Up => RoundResult::Passed,
            Health::Unknown => RoundResult::Unknown,
        });
        true
    }

    fn end(&mut self, result: RoundResult) {
        self.n_rounds += 1;
        let round = Round { number: self.n_rounds, at: self.ends, result };
        self.ends = self.ends + self.interval;
        self.latest = Some(round);
        match result {
            RoundResult::Failed => {
                if self.failed.len() == usize::from(KEPT_MAX) {
                    self.failed.pop_front();
                }
                self.failed.push_back(round);
                self.window.record(round.at, false);
            }
            RoundResult::Passed => {
                self.window.record(round.at, true);
                if self.window.counts(round.at).in_window == 0 {
                    self.failed.clear();
                }
            }
            RoundResult::Unknown => {}
        }
    }

    /// When [`Self::advance`] has something to do.
    #[must_use]
    pub const fn next_deadline(&self) -> Tick {
        self.ends
    }

    /// What the window holds.
    #[must_use]
    pub fn counts(&self, now: Tick) -> Counts {
        self.window.counts(now)
    }

    /// The failed rounds that make the group count as failed, the oldest first; empty: it does not. The latest round must be one of them: a
    /// group that does not fail now is not failed over.
    #[must_use]
    pub fn reached(&self, now: Tick) -> Vec<Round> {
        let counts = self.window.counts(now);
        let is_failing = self.latest.is_some_and(|round| round.result == RoundResult::Failed);
        if !is_failing || !counts.is_full() {
            return Vec::new();
        }
        let older = self.failed.len().saturating_sub(usize::from(counts.in_window));
        self.failed.iter().skip(older).copied().collect()
    }

    /// The round that ended last; `None`: none has.
    #[must_use]
    pub const fn latest(&self) -> Option<&Round> {
        self.latest.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::time::Timestamp;

    const INTERVAL: Duration = Duration::from_secs(15);
    const WITHIN: Duration = Duration::from_secs(300);

    fn rule(failures: u16, within: Duration, ok_run: u16) -> Rule {
        Rule::new(failures, within, ok_run).unwrap()
    }

    fn at(seconds: u64) -> Now {
        let wall = Timestamp(1_800_000_000_000 + i64::try_from(seconds).unwrap() * 1000);
        Now { tick: Tick(seconds * 1_000_000), wall }
    }

    /// Rounds that ended as the signs say: `x` failed, `.` passed, `?` unknown.
    fn watched(interval: Duration, rule: Rule, signs: &str) -> (Rounds, Now) {
        let mut rounds = Rounds::new(interval, rule, at(0));
        let mut now = at(0);
        for sign in signs.chars() {
            now = now.after(interval);
            rounds.proven(match sign {
                'x' => Health::Down,
                '.' => Health::Up,
                _ => Health::Unknown,
            });
            assert!(rounds.advance(now), "a round ended");
        }
        (rounds, now)
    }

    fn is_reached(signs: &str) -> bool {
        let (rounds, now) = watched(INTERVAL, rule(3, WITHIN, 10), signs);
        !rounds.reached(now.tick).is_empty()
    }

    #[test]
    fn three_failed_rounds_in_five_minutes_and_still_failing() {
        assert!(!is_reached(""));
        assert!(!is_reached("xx"));
        assert!(is_reached("xxx"));
        assert!(!is_reached("xxx."), "it does not fail now");
        assert!(!is_reached("xxx?"), "nobody knows whether it fails now");
        assert!(is_reached("xxx.x"), "one success clears nothing");
        assert!(is_reached("x??x???x"), "what nobody saw clears nothing");
        assert!(!is_reached("xx..........x"), "ten successes in a row do");
        assert!(!is_reached("xx.....?.....x"), "with a gap in the middle, too");
        assert!(is_reached("x.........x.........x"), "five minutes from the first to the third");
        assert!(!is_reached("x.........x.........?x"), "one round more");
    }

    #[test]
    fn five_minutes_are_in_and_one_second_more_is_not() {
        for (gap, wanted) in [(150, true), (151, false)] {
            // Rounds of a second let the gaps be exact.
            let quiet = ".".repeat(149);
            let signs = format!("x{quiet}x{}x", ".".repeat(gap - 1));
            let (rounds, now) = watched(Duration::from_secs(1), rule(3, WITHIN, u16::MAX), &signs);
            assert_eq!(rounds.reached(now.tick).len(), if wanted { 3 } else { 0 }, "{gap}");
        }
    }

    #[test]
    fn a_burst_of_failed_probes_is_one_failed_round() {
        let mut rounds = Rounds::new(INTERVAL, rule(3, WITHIN, 10), at(0));
        for second in 1..=15 {
            rounds.proven(if second % 2 == 0 { Health::Up } else { Health::Down });
            rounds.advance(at(second));
        }
        assert_eq!(rounds.counts(at(15).tick).in_window, 1);
        assert_eq!(rounds.next_deadline(), at(30).tick);
    }

    #[test]
    fn what_a_node_slept_through_is_unknown() {
        let (mut rounds, _) = watched(INTERVAL, rule(3, WITHIN, 10), "xx");
        rounds.proven(Health::Down);
        rounds.advance(at(30 + 15 * 8 + 3));
        let latest = rounds.latest().copied().unwrap();
        assert_eq!((latest.number, latest.at, latest.result), (10, at(150).tick, RoundResult::Failed));
        assert_eq!(rounds.reached(at(153).tick).len(), 3, "two before the sleep and the one that was seen");
    }

    #[test]
    fn another_plan_keeps_what_was_counted_and_another_primary_does_not() {
        let (mut rounds, now) = watched(INTERVAL, rule(3, WITHIN, 10), "xx");
        rounds.set_rule(Duration::from_secs(5), rule(2, WITHIN, 10), now);
        assert_eq!((rounds.reached(now.tick).len(), rounds.next_deadline()), (2, at(35).tick));
        rounds.forget(now);
        assert!(rounds.reached(now.tick).is_empty() && rounds.latest().is_none());
        rounds.proven(Health::Down);
        rounds.advance(at(35));
        assert_eq!(rounds.latest().map(|round| round.number), Some(3), "numbers are not given twice");
    }

    proptest! {
        /// Against the rule as it is written, applied to the whole list of rounds.
        #[test]
        fn reached_is_what_the_rule_says(
            signs in "[x.?]{0,60}", failures in 1_u16..6, within in 1_u32..40, ok_run in 1_u16..6,
        ) {
            let (rounds, now) = watched(INTERVAL, rule(failures, INTERVAL * within, ok_run), &signs);
            let (mut failed, mut passed, mut number) = (Vec::new(), 0, 0);
            for sign in signs.chars() {
                number += 1;
                match sign {
                    'x' => {
                        failed.push(number);
                        passed = 0;
                    }
                    '.' => passed += 1,
                    _ => {}
                }
                if passed >= ok_run {
                    failed.clear();
                }
            }
            failed.retain(|failed| number - failed <= u64::from(within));
            let is_wanted = signs.ends_with('x') && failed.len() >= usize::from(failures);
            let reached: Vec<u64> = rounds.reached(now.tick).iter().map(|round| round.number).collect();
            prop_assert_eq!(reached, if is_wanted { failed } else { Vec::new() });
        }
    }
}
