//! How fast another's clock runs beside one's own, from renewals and their answers (L10).
//!
//! ```text
//! ours    asked ------------------------------------ heard        asked' ----------------------------------- heard'
//!              \                                   /                    \                                  /
//! theirs        heard ----- waits for others --- said                    heard ------------------------- said
//! ```
//!
//! Nobody knows how long a message took, but the order of the four readings is sure. So between two exchanges their clock ran at least
//! `said' - heard` while ours ran at most `heard' - asked`, and at most `heard' - said` while ours ran at least `asked' - heard`: an interval that
//! holds the true rate, whatever the delays were, and that narrows as the exchanges lie further apart.
//!
//! Invariants: only an interval that lies wholly beyond the bound speaks against a clock, so no delay ever does; what another says changes nothing but
//! this estimate, whatever numbers it has.
//!
//! Source: Marzullo and Owicki, "Maintaining the Time in a Distributed System", 1983: readings as intervals.

use std::{collections::VecDeque, fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::DRIFT_PERMILLE;
use crate::model::time::Tick;

/// A clock whose rate is further off than this is not relied on: half of what leases allow for, so that it is found out before it does harm.
pub const BEYOND_PPM: i64 = DRIFT_PERMILLE as i64 * 1000 / 2;

/// Two exchanges that lie closer together say nothing: a stall of some milliseconds weighs too much.
const OBSERVED_MIN: Duration = Duration::from_secs(10);

/// Of exchanges within this time the most exact one is kept.
const SLOT: Duration = Duration::from_secs(5);

/// Exchanges that are kept: five minutes of them where a lease lasts the usual ninety seconds, nearly three with the shortest.
const KEPT_MAX: usize = 32;

/// One side's readings of its clock, for the other side to see how fast that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamps {
    /// Which clock: another number is another clock, or another boot of it.
    pub clock: u64,
    /// When it had heard what this answers, in microseconds of that clock.
    pub heard_us: u64,
    /// When it said this. No earlier.
    pub said_us: u64,
}

/// How much faster a clock runs than another one, in millionths; negative: slower. The true rate lies between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimate {
    /// At least.
    pub low_ppm: i64,
    /// At most.
    pub high_ppm: i64,
}

impl Estimate {
    /// Whether it lies wholly beyond [`BEYOND_PPM`], to either side.
    #[must_use]
    pub const fn is_beyond(self) -> bool {
        self.low_ppm > BEYOND_PPM || self.high_ppm < -BEYOND_PPM
    }

    const fn width(self) -> i64 {
        self.high_ppm - self.low_ppm
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "no more than millionths times a few")]
        let percent = |ppm: i64| ppm as f64 / 10_000.0;
        write!(f, "{:+.2} % to {:+.2} %", percent(self.low_ppm), percent(self.high_ppm))
    }
}

/// A question and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Exchange {
    asked: Tick,
    /// Their first reading, and their last.
    theirs: (u64, u64),
    heard: Tick,
}

impl Exchange {
    /// How long the messages took: what is not sure of it.
    fn slack(&self) -> u64 {
        self.heard.since(self.asked).as_micros().saturating_sub(u128::from(self.theirs.1 - self.theirs.0)).try_into().unwrap_or(u64::MAX)
    }

    /// The rate between this exchange and a later one; `None`: they lie too close together, or their clock did not run at all as one does.
    fn until(&self, later: &Self) -> Option<Estimate> {
        let ours_min = later.asked.0.checked_sub(self.heard.0).filter(|micros| u128::from(*micros) >= OBSERVED_MIN.as_micros())?;
        let ours_max = later.heard.0.checked_sub(self.asked.0)?;
        let theirs_max = later.theirs.1.checked_sub(self.theirs.0)?;
        let theirs_min = later.theirs.0.checked_sub(self.theirs.1)?;
        // Rounded outwards, and no further than to where a clock stands still or runs twice as fast: more would be a number without a meaning.
        let ppm = |theirs: u64, ours: u64| i128::from(theirs) * 1_000_000 / i128::from(ours.max(1)) - 1_000_000;
        let bounded = |ppm: i128| i64::try_from(ppm.clamp(-1_000_000, 1_000_000)).unwrap_or_default();
        Some(Estimate { low_ppm: bounded(ppm(theirs_max, ours_max) - 1), high_ppm: bounded(ppm(theirs_min, ours_min) + 1) })
    }
}

/// What is known of another's clock.
#[derive(Clone, Debug, Default)]
pub struct Rate {
    clock: u64,
    /// The oldest first, about a [`SLOT`] apart.
    kept: VecDeque<Exchange>,
    estimate: Option<Estimate>,
}

impl Rate {
    /// Takes in that the question of `asked` was answered with `stamps`, and that the answer was heard at `heard`. An estimate if it lies wholly
    /// beyond the bound; what was seen before that is forgotten, so that each one stands for itself.
    pub fn note(&mut self, asked: Tick, stamps: Stamps, heard: Tick) -> Option<Estimate> {
        let exchange = Exchange { asked, theirs: (stamps.heard_us, stamps.said_us), heard };
        if stamps.said_us < stamps.heard_us || heard < asked {
            return None;
        }
        let goes_on = |last: &Exchange| stamps.clock == self.clock && stamps.heard_us >= last.theirs.1;
        if !self.kept.back().is_none_or(goes_on) {
            // What came too late, or twice, says nothing; another clock, or another boot of it, is compared with itself only.
            if stamps.clock == self.clock && self.kept.back().is_some_and(|last| asked <= last.asked) {
                return None;
            }
            *self = Self::default();
        }
        self.clock = stamps.clock;
        let seen: Vec<Estimate> = self.kept.iter().filter_map(|earlier| earlier.until(&exchange)).collect();
        self.estimate = seen.iter().min_by_key(|it| it.width()).copied().or(self.estimate);
        let beyond = seen.into_iter().find(|it| it.is_beyond());
        if beyond.is_some() {
            self.kept.clear();
            self.estimate = beyond;
        }
        self.keep(exchange);
        beyond
    }

    /// The most exact estimate of late; `None`: none yet.
    #[must_use]
    pub const fn estimate(&self) -> Option<Estimate> {
        self.estimate
    }

    fn keep(&mut self, exchange: Exchange) {
        let slot = |exchange: &Exchange| u128::from(exchange.asked.0) / SLOT.as_micros();
        match self.kept.back_mut().filter(|last| slot(last) == slot(&exchange)) {
            Some(last) if last.slack() <= exchange.slack() => {}
            Some(last) => *last = exchange,
            None => {
                if self.kept.len() == KEPT_MAX {
                    self.kept.pop_front();
                }
                self.kept.push_back(exchange);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::clock::Clock;

    /// Renewals every 15 s whose messages take as long as drawn, or are lost; what was found, and after how long, in true microseconds.
    fn found(ours: Clock, theirs: Clock, exchanges: &[(u64, u64, u64, bool)]) -> (Option<(u64, Estimate)>, Rate) {
        let (mut rate, mut first) = (Rate::default(), None);
        for (number, (there, waits, back, is_lost)) in exchanges.iter().enumerate() {
            let asked = number as u64 * 15_000_000;
            let (heard, said) = (asked + there, asked + there + waits);
            if *is_lost {
                continue;
            }
            let stamps = Stamps { clock: 1, heard_us: theirs.at(heard).0, said_us: theirs.at(said).0 };
            let beyond = rate.note(ours.at(asked), stamps, ours.at(said + back));
            first = first.or_else(|| beyond.map(|it| (said + back, it)));
        }
        (first, rate)
    }

    fn exchanges(n: usize) -> impl Strategy<Value = Vec<(u64, u64, u64, bool)>> {
        let delay = || prop_oneof![9 => 200_u64..400_000, 1 => 400_000_u64..9_000_000];
        prop::collection::vec((delay(), 0_u64..800_000, delay(), prop::bool::weighted(0.2)), n)
    }

    fn clock(ppm: impl Strategy<Value = i64>) -> impl Strategy<Value = Clock> {
        (0_u64..1_000_000_000_000, ppm).prop_map(|(base, ppm)| Clock { base, ppm })
    }

    proptest! {
        /// A quarter of the drift that leases bear is never called beyond, and the truth is always within what is estimated.
        #[test]
        fn a_clock_that_runs_well_is_never_doubted(
            ours in clock(-2_500_i64..=2_500), ppm in -2_400_i64..=2_400, base in 0_u64..1_000_000_000_000, seen in exchanges(60),
        ) {
            let theirs = Clock { base, ppm: ours.ppm + ppm };
            let (beyond, rate) = found(ours, theirs, &seen);
            prop_assert_eq!(beyond, None);
            let truth = (1_000_000 + theirs.ppm) * 1_000_000 / (1_000_000 + ours.ppm) - 1_000_000;
            if let Some(estimate) = rate.estimate() {
                prop_assert!((estimate.low_ppm..=estimate.high_ppm).contains(&truth), "{estimate:?} without {truth}");
            }
        }

        /// Twice the drift that leases bear is found within five minutes, whatever is lost and late.
        #[test]
        fn a_clock_that_runs_badly_is_found_in_time(
            ours in clock(-500_i64..=500), is_fast in any::<bool>(), base in 0_u64..1_000_000_000_000, seen in exchanges(20),
        ) {
            let theirs = Clock { base, ppm: if is_fast { 20_000 } else { -20_000 } };
            // Too few that went through in a second are no exchange at all.
            let good = |from: usize, to: usize| seen[from..to].iter().any(|(there, _, back, is_lost)| !is_lost && there + back < 1_000_000);
            prop_assume!(good(0, 8) && good(16, 20));
            let (beyond, _) = found(ours, theirs, &seen);
            let (_, estimate) = beyond.expect("it is found");
            prop_assert!(if is_fast { estimate.low_ppm > BEYOND_PPM } else { estimate.high_ppm < -BEYOND_PPM }, "{estimate}");
        }

        /// Whatever another says.
        #[test]
        fn nonsense_is_borne(seen in prop::collection::vec(any::<(u64, u64, u64, u64, u64)>(), 0..40)) {
            let mut rate = Rate::default();
            for (asked, clock, heard_us, said_us, heard) in seen {
                rate.note(Tick(asked), Stamps { clock: clock % 2, heard_us, said_us }, Tick(heard));
                prop_assert!(rate.kept.len() <= KEPT_MAX);
                prop_assert!(rate.estimate().is_none_or(|it| it.low_ppm >= -1_000_000 && it.high_ppm <= 1_000_000));
            }
        }
    }

    fn at(rate: &mut Rate, clock: u64, ours_ms: u64, theirs_ms: u64) -> Option<Estimate> {
        let stamps = Stamps { clock, heard_us: theirs_ms * 1000, said_us: theirs_ms * 1000 };
        rate.note(Tick(ours_ms * 1000), stamps, Tick((ours_ms + 100) * 1000))
    }

    #[test]
    fn each_finding_stands_for_itself() {
        let mut rate = Rate::default();
        assert_eq!((at(&mut rate, 1, 0, 500), at(&mut rate, 1, 9_000, 9_700)), (None, None), "too close together");
        let beyond = at(&mut rate, 1, 30_000, 31_100).unwrap();
        assert_eq!(beyond.to_string(), "+1.66 % to +2.34 %");
        assert_eq!(at(&mut rate, 1, 60_000, 61_100), None, "it runs well again");
        let estimate = rate.estimate().unwrap();
        assert!(estimate.low_ppm < 0 && estimate.high_ppm > 0, "{estimate}");
    }

    #[test]
    fn clocks_are_compared_with_themselves_only() {
        let mut rate = Rate::default();
        at(&mut rate, 1, 0, 500_000);
        assert_eq!(at(&mut rate, 2, 30_000, 600_000), None, "another clock");
        assert_eq!(at(&mut rate, 2, 60_000, 10_000), None, "another boot of it");
        assert_eq!(at(&mut rate, 2, 90_000, 40_000), None);
        assert_eq!(at(&mut rate, 2, 70_000, 20_000), None, "an older one that came late");
        assert!(at(&mut rate, 2, 120_000, 80_000).is_some());
    }
}
