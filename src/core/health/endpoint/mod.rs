//! The state machine of one check: from observations to up or down.
//!
//! ```text
//!                 1 success
//!   UNKNOWN ---------------------> UP <-----------------------.
//!      |                           |                          |
//!      | `fall` failures in a row  | `fall` failures in a row | `needed` successes in a row
//!      |                           v                          |
//!      '------------------------> DOWN -----------------------'
//! ```
//!
//! Two thresholds, because leaving an answer must be quick and coming back must be sure. From unknown one success is enough: a daemon that
//! starts would else answer nothing for `rise` probes. `needed` is `rise`, doubled by each recent drop (flap damping, see [`past`]); going
//! down is never delayed.
//!
//! Invariants: fewer than `fall` failures in a row never take an endpoint down; one success in between starts the count anew; the machine
//! depends on what it is given and nothing else.
//!
//! Absent on purpose: when to probe next as an instant (the [book](super::book) owns the clock hand), and slow start, which belongs to the
//! service: the machine only remembers when the endpoint returned.
//! Source: HAProxy (`rise`, `fall`, `inter`, `fastinter`, `downinter`); time to the next change from gdnsd's monitor counters.

pub mod noted;
pub mod past;
pub mod saved;
mod telling;

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::model::{
    check::{Cadence, Failure, FailureCategory, Observation, Outcome, Timings},
    mix,
    time::{Now, Timestamp},
    units::Share,
    verdict::{Health, Verdict},
};

use past::{Past, Phases, Recent};
pub use telling::Telling;

/// The shortest pause between two probes of one check, whatever the plan says: a zero interval must not become a loop.
pub const PAUSE_MIN: Duration = Duration::from_millis(1);

/// `next_change` of what never changes by itself: long enough for any time to live, short enough to be added to any time.
pub const NEVER: Duration = Duration::from_secs(u32::MAX as u64);

/// The part of an interval by which a steady probe is early or late at most, in hundredths: enough that checks which were started together
/// drift apart within minutes, too little for anyone to notice.
const JITTER_PERCENT: u64 = 5;

/// The state of one check. Compact: what a check that never failed does not need is behind one pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckState {
    /// Of the present judgement; meaningless while unknown.
    since: Timestamp,
    /// `None`: never failed.
    past: Option<Box<Past>>,
    phases: Phases,
    recent: Recent,
    n_passed: u32,
    n_failed: u32,
    /// Equal outcomes in a row up to the latest one.
    run: u16,
    health: Health,
    /// Whether the latest outcome was a failure.
    failing: bool,
    /// Whether an observation of this process agreed with the judgement once.
    judged: bool,
}

/// A change of judgement. Displays as one line for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// When, by the wall clock.
    pub at: Timestamp,
    /// Before.
    pub from: Health,
    /// After.
    pub to: Health,
    /// The failure that made it down; `None` when it came up.
    pub failure: Option<Failure>,
    /// How many equal outcomes in a row made it.
    pub run: u16,
    /// Successes in a row that the return needs; 0 when it came up.
    pub needed: u16,
    /// Earlier drops inside the flap window, which raised `needed`.
    pub drops_before: u8,
}

/// How much of a verdict an event changed. Tables rebuild what is touched, and no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Touch {
    /// Only the time to the next possible change, so times to live; or that the judgement rests on this process now.
    NextChange,
    /// The health, or while it is down the category of the failure.
    Verdict,
}

/// What one observation did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// `None`: a routine observation, as most are.
    pub touch: Option<Touch>,
    /// The change of judgement, if it was one.
    pub transition: Option<Transition>,
    /// A failure that is told with other words than the one before.
    pub is_reworded: bool,
}

/// Which interval applies to the next probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pace {
    /// Up and passing: `interval`.
    Steady,
    /// About to change: `fast_interval`.
    Fast,
    /// Down and failing: `down_interval`.
    Down,
}

impl Default for CheckState {
    fn default() -> Self {
        Self {
            since: Timestamp::default(),
            past: None,
            phases: Phases::default(),
            recent: Recent::default(),
            n_passed: 0,
            n_failed: 0,
            run: 0,
            health: Health::Unknown,
            failing: false,
            judged: false,
        }
    }
}

impl CheckState {
    /// Of a check that is up by definition since `since`.
    #[must_use]
    pub fn always_up(since: Timestamp) -> Self {
        Self { since, health: Health::Up, judged: true, ..Self::default() }
    }

    /// Takes one observation in. One that this node could not make ([`FailureCategory::Local`]) changes nothing: a node that runs short of
    /// something must not empty the answers.
    ///
    /// `now` must not go back. O(1).
    pub fn record(&mut self, cadence: &Cadence, now: Now, observation: Observation) -> Recorded {
        if matches!(&observation.outcome, Outcome::Failed(failure) if failure.category == FailureCategory::Local) {
            return Recorded::default();
        }
        let before = self.essence(cadence);
        self.phases = Phases::from(observation.timings);
        let is_reworded =
            matches!(&observation.outcome, Outcome::Failed(failure) if self.last_failure().is_none_or(|(last, _)| last != failure));
        let transition = match observation.outcome {
            Outcome::Passed => self.pass(cadence, now),
            Outcome::Failed(failure) => self.fail(cadence, now, failure),
        };
        self.judged |= match self.health {
            Health::Up => !self.failing,
            Health::Down => self.failing,
            Health::Unknown => false,
        };
        Recorded { touch: touch(before, self.essence(cadence)), transition, is_reworded }
    }

    fn pass(&mut self, cadence: &Cadence, now: Now) -> Option<Transition> {
        self.run = if self.failing { 1 } else { self.run.saturating_add(1) };
        self.failing = false;
        self.n_passed = self.n_passed.saturating_add(1);
        self.recent.push(true);
        let due = match self.health {
            Health::Up => false,
            Health::Unknown => true,
            Health::Down => self.run >= self.needed(cadence),
        };
        due.then(|| self.turn(now, Health::Up, None))
    }

    fn fail(&mut self, cadence: &Cadence, now: Now, failure: Failure) -> Option<Transition> {
        self.run = if self.failing { self.run.saturating_add(1) } else { 1 };
        self.failing = true;
        self.n_failed = self.n_failed.saturating_add(1);
        self.recent.push(false);
        let past = self.past.get_or_insert_default();
        past.failed(now.wall, failure.clone());
        if self.health == Health::Down || self.run < cadence.fall {
            return None;
        }
        if self.health == Health::Up {
            past.dropped(now.tick, cadence.flap.window);
        }
        let mut transition = self.turn(now, Health::Down, Some(failure));
        (transition.needed, transition.drops_before) = (self.needed(cadence), self.drops_before());
        Some(transition)
    }

    /// Sets the judgement from outside: for checks that are derived from others. `None` when it is the same already.
    pub fn derive(&mut self, now: Now, health: Health, failure: Option<Failure>, judged: bool) -> Option<Transition> {
        self.judged = judged;
        self.failing = health == Health::Down;
        if let Some(failure) = failure.clone() {
            self.past.get_or_insert_default().failed(now.wall, failure);
        }
        (health != self.health).then(|| self.turn(now, health, failure))
    }

    /// Makes the judgement one that observations must agree with again: nobody looked for a while.
    pub fn unjudge(&mut self) {
        (self.judged, self.failing, self.run) = (false, false, 0);
    }

    fn turn(&mut self, now: Now, to: Health, failure: Option<Failure>) -> Transition {
        let from = self.health;
        // Only a return ramps: from unknown, as a starting daemon finds it, the endpoint was never away.
        if from == Health::Down && to == Health::Up {
            self.past.get_or_insert_default().returned_at = Some(now.wall);
        } else if let Some(past) = &mut self.past {
            past.returned_at = None;
        }
        (self.health, self.since) = (to, now.wall);
        Transition { at: now.wall, from, to, failure, run: self.run, needed: 0, drops_before: 0 }
    }

    /// What steering, and so a table, depends on.
    fn essence(&self, cadence: &Cadence) -> Essence {
        let failure = (self.health == Health::Down).then(|| self.failure().map(|failure| failure.category)).flatten();
        (self.health, failure, self.next_change(cadence))
    }

    //----------- What it says ---

    /// The judgement with all that steering needs; `admitted` is full, because slow start belongs to the service.
    #[must_use]
    pub fn verdict(&self, cadence: &Cadence) -> Verdict {
        Verdict {
            health: self.health,
            since: self.since(),
            failure: self.failure().cloned(),
            next_change: self.next_change(cadence),
            admitted: Share::FULL,
        }
    }

    /// The judgement.
    #[must_use]
    pub const fn health(&self) -> Health {
        self.health
    }

    /// Since when the judgement stands; `None` while unknown.
    #[must_use]
    pub fn since(&self) -> Option<Timestamp> {
        (self.health != Health::Unknown).then_some(self.since)
    }

    /// When the endpoint came back from down; `None` while it is not up, and when it never was down before.
    #[must_use]
    pub fn returned_at(&self) -> Option<Timestamp> {
        self.past.as_ref().and_then(|past| past.returned_at)
    }

    /// The failure that explains the present: the latest one while down, or while failing.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        if self.health == Health::Down || self.failing { self.last_failure().map(|(failure, _)| failure) } else { None }
    }

    /// The latest failure ever and when it was seen, also when all is well again.
    #[must_use]
    pub fn last_failure(&self) -> Option<(&Failure, Timestamp)> {
        self.past.as_ref()?.failure.as_ref().map(|(failure, at)| (failure, *at))
    }

    /// Whether an observation of this process agreed with the judgement; `false`: unknown, or as saved before the start.
    #[must_use]
    pub const fn is_judged(&self) -> bool {
        self.judged
    }

    /// The last outcomes, newest first, at most [`past::RECENT_MAX`].
    pub fn recent(&self) -> impl ExactSizeIterator<Item = bool> + use<> {
        self.recent.iter()
    }

    /// How long the phases of the latest probe took; all zero and absent when there was none.
    #[must_use]
    pub fn timings(&self) -> Timings {
        self.phases.into()
    }

    /// (passed, failed) observations since the start, saturating.
    #[must_use]
    pub const fn counts(&self) -> (u32, u32) {
        (self.n_passed, self.n_failed)
    }

    /// (successes, failures) in a row up to the latest observation; one of them is zero.
    #[must_use]
    pub const fn in_a_row(&self) -> (u16, u16) {
        if self.failing { (0, self.run) } else { (self.run, 0) }
    }

    /// Successes in a row that bring it up: 1 from unknown, 0 when it is up; while down `rise`, doubled for each drop inside the flap
    /// window before the one that made it down, at most `rise_max` and never below `rise`.
    #[must_use]
    pub fn needed(&self, cadence: &Cadence) -> u16 {
        match self.health {
            Health::Up => 0,
            Health::Unknown => 1,
            Health::Down => {
                let doubled = u32::from(cadence.rise) << u32::from(self.drops_before()).min(u16::BITS);
                u16::try_from(doubled).unwrap_or(u16::MAX).min(cadence.flap.rise_max).max(cadence.rise)
            }
        }
    }

    fn drops_before(&self) -> u8 {
        self.past.as_ref().map_or(0, |past| past.drops_before)
    }

    /// One line for people: the judgement, what counts towards the next one, and what flap damping asks for.
    #[must_use]
    pub const fn tell<'a>(&'a self, cadence: &'a Cadence) -> Telling<'a> {
        Telling { state: self, cadence: Some(cadence) }
    }

    /// Like [`Self::tell`], of a check that is derived from others and counts nothing itself.
    #[must_use]
    pub const fn tell_derived(&self) -> Telling<'_> {
        Telling { state: self, cadence: None }
    }

    //----------- When it is probed ---

    /// Which interval applies to the next probe.
    #[must_use]
    pub const fn pace(&self) -> Pace {
        match (self.health, self.failing) {
            (Health::Up, false) => Pace::Steady,
            (Health::Down, true) => Pace::Down,
            (Health::Unknown, _) | (Health::Up, true) | (Health::Down, false) => Pace::Fast,
        }
    }

    /// The pause from the end of one probe to the start of the next, at least [`PAUSE_MIN`].
    ///
    /// Counted from the end, so that between two *results* lies at least one interval, on which [`Self::next_change`] relies. Steady paces
    /// are jittered by `seed` and the number of probes so far; fast ones never.
    #[must_use]
    pub fn pause(&self, cadence: &Cadence, seed: u64) -> Duration {
        let pause = match self.pace() {
            Pace::Fast => cadence.fast_interval,
            Pace::Steady => self.jittered(cadence.interval, seed),
            Pace::Down => self.jittered(cadence.down_interval, seed),
        };
        pause.max(PAUSE_MIN)
    }

    fn jittered(&self, interval: Duration, seed: u64) -> Duration {
        let round = u64::from(self.n_passed) + u64::from(self.n_failed);
        let micros = u64::try_from(interval.as_micros()).unwrap_or(u64::MAX);
        let spread = micros / 100 * JITTER_PERCENT;
        Duration::from_micros(micros.saturating_sub(spread).saturating_add(below(mix(seed, round), spread.saturating_mul(2))))
    }

    /// The shortest time after the latest observation in which the judgement can become another one.
    ///
    /// Intervals times the checks still needed; a probe's own duration is not added, because a failure may be immediate. A judgement from
    /// before the start is probed at once, so it can change within fast probes only. At least `fast_interval`, or one [`PAUSE_MIN`].
    #[must_use]
    pub fn next_change(&self, cadence: &Cadence) -> Duration {
        let fast = cadence.fast_interval.max(PAUSE_MIN);
        let left = |threshold: u16, done: u16| fast.saturating_mul(u32::from(threshold.saturating_sub(done).max(1)));
        let after =
            |first: Duration, threshold: u16| first.max(PAUSE_MIN).saturating_add(fast.saturating_mul(u32::from(threshold.max(1) - 1)));
        match (self.health, self.failing) {
            (Health::Unknown, _) => fast,
            (Health::Up, true) => left(cadence.fall, self.run),
            (Health::Up, false) if !self.judged => left(cadence.fall, 0),
            (Health::Up, false) => after(cadence.interval, cadence.fall),
            (Health::Down, true) => after(cadence.down_interval, self.needed(cadence)),
            (Health::Down, false) => left(self.needed(cadence), self.run),
        }
        .min(NEVER)
    }
}

/// The shortest time in which a steady judgement becomes another one, for whoever does not see the observations behind it.
#[must_use]
pub(crate) fn steady_change(cadence: &Cadence, health: Health) -> Duration {
    let fast = cadence.fast_interval.max(PAUSE_MIN);
    let (first, threshold) = match health {
        Health::Up => (cadence.interval, cadence.fall),
        Health::Down => (cadence.down_interval, cadence.rise),
        Health::Unknown => (fast, 1),
    };
    first.max(PAUSE_MIN).saturating_add(fast.saturating_mul(u32::from(threshold.max(1) - 1))).min(NEVER)
}

type Essence = (Health, Option<FailureCategory>, Duration);

fn touch(before: Essence, after: Essence) -> Option<Touch> {
    if (before.0, before.1) != (after.0, after.1) {
        Some(Touch::Verdict)
    } else if before.2 != after.2 {
        Some(Touch::NextChange)
    } else {
        None
    }
}

/// Mixes two words into one that looks random: the one at this place of the seed's stream.
#[must_use]
pub(crate) const fn mix(seed: u64, value: u64) -> u64 {
    mix::mix(seed.wrapping_add(value.wrapping_mul(mix::GOLDEN)))
}

/// Maps a random word onto 0 up to and without `bound`, evenly (Lemire's multiplication); 0 when `bound` is 0.
#[must_use]
pub(crate) const fn below(word: u64, bound: u64) -> u64 {
    ((word as u128 * bound as u128) >> 64) as u64
}
