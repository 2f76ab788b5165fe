//! All checks of a topology: which probe starts when, and what each result changes.
//!
//! The daemon does three things, in this order: hand in results ([`Book::handle`]), ask what is due ([`Book::due`]), sleep until
//! [`Book::next_deadline`]. Results first, so that a process which slept through its deadlines does not take probes for lost whose results
//! are already there.
//!
//! Invariants: at most one probe of a check is in flight; every check that is probed here waits for exactly one thing, the start of its next
//! probe or the result of this one, so none is ever forgotten: a probe that does not report is given up and counts as failed. A routine
//! success reports nothing.
//!
//! Absent on purpose: sockets and clocks; how many probes run at once (the caller's `room`); slow start, overrides and ejection, which
//! belong to services.

mod beats;
pub(super) mod calculated;
mod deadlines;
pub(super) mod identity;
mod probing;
pub(super) mod reload;
mod saved;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use thiserror::Error;

use crate::model::{
    check::{Check, Failure, FailureCategory, Observation, Outcome, ProbeKind, Timings},
    ids::CheckIdx,
    time::{Human, Now, Tick, Timestamp},
    verdict::{Health, Verdict},
};

use super::endpoint::{CheckState, NEVER, PAUSE_MIN, Telling, Touch, Transition, below, mix};
use beats::Heartbeat;
pub use beats::{AHEAD_MAX, BEATS_KEPT, Beat};
use calculated::{Formulas, Input, evaluate};
use deadlines::{Deadlines, Wait};
pub use saved::SavedCheck;

/// The first round of probes is spread over at most this time, so that a start is no flood and readiness comes soon.
pub const FIRST_ROUND_MAX: Duration = Duration::from_secs(5);

/// How long after its `timeout` a probe may still report. A prober keeps the timeout itself; this only catches probes that were lost, and
/// leaves room for a busy machine.
pub const GIVE_UP_GRACE: Duration = Duration::from_secs(2);

/// How many changes of judgement are remembered for `why`, over all checks: a region of 1,000 endpoints that goes and returns twice.
pub const TRANSITIONS_MAX: usize = 4096;

/// One started probe. Never used again in this process, so a late result can never be taken for another probe's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt(u64);

impl Attempt {
    /// The attempt with this number, as it comes back from a prober.
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// Its number, to be handed through a prober.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// A probe to start now. Its target and timeout are in the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartProbe {
    /// Valid for the topology that the book was last given.
    pub check: CheckIdx,
    /// To be handed back with the result.
    pub attempt: Attempt,
}

/// A fact from the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A probe ended.
    ProbeFinished {
        /// As in [`StartProbe`]. It alone says which check is meant: positions may have changed meanwhile.
        attempt: Attempt,
        /// What it found.
        observation: Observation,
    },
    /// Somebody pushed a heartbeat.
    Beat {
        /// As in the plan.
        name: String,
        /// `false`: the sender lives and says that it is not well.
        ok: bool,
        /// As [`Beat::at`], from another node; `None`: it was pushed here, now.
        at: Option<Timestamp>,
    },
}

/// Why an event changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Rejected {
    /// The probe was given up, reported twice, or its check left the topology. Harmless: a late result.
    #[error("result of a probe that is not in flight; it was given up, reported already, or its check left the plan")]
    NotInFlight,
    /// No check of the plan waits for this heartbeat.
    #[error("no heartbeat of this name is in the plan; see its section `checks`")]
    UnknownHeartbeat,
    /// Another node told of it, and it was taken in before. Harmless.
    #[error("this push of the heartbeat, or a later one, was taken in already")]
    KnownBeat,
    /// It is dated later than [`AHEAD_MAX`] from now.
    #[error("the heartbeat is dated more than a day ahead of this node's clock; look at the clocks of the nodes")]
    BeatAhead,
}

/// A change of judgement of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Whose.
    pub check: CheckIdx,
    /// From what to what, and why.
    pub transition: Transition,
}

/// What events changed; collects over several calls until the caller takes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// How much of each check's verdict changed, calculated checks included. Checks that are not in here need no new table.
    pub touched: BTreeMap<CheckIdx, Touch>,
    /// The changes of judgement, in order; for logs, metrics and notifications.
    pub turns: Vec<Turn>,
}

impl Changes {
    /// Whether nothing changed that a table depends on.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.touched.is_empty() && self.turns.is_empty()
    }

    fn add(&mut self, check: CheckIdx, touch: Option<Touch>) {
        if let Some(touch) = touch {
            let known = self.touched.entry(check).or_insert(touch);
            *known = touch.max(*known);
        }
    }
}

/// All checks of a topology and their states. Measured with 60,000 checks: 180 octets for one that is up, its check and its place in the queue
/// included, 360 for one that is down; one microsecond of CPU for a probe from due to result.
#[derive(Clone, Debug)]
pub struct Book {
    seed: u64,
    slots: Vec<Slot>,
    deadlines: Deadlines,
    in_flight: BTreeMap<Attempt, CheckIdx>,
    formulas: Formulas,
    heartbeats: BTreeMap<String, Heartbeat>,
    turns: VecDeque<Turn>,
    next_attempt: u64,
    n_unjudged: usize,
    /// See [`Book::n_changes`].
    n_changes: u64,
}

#[derive(Clone, Debug)]
struct Slot {
    check: Check,
    state: CheckState,
    wait: Wait,
    /// `Some`: in flight.
    attempt: Option<Attempt>,
    /// Of the latest beat that counted; heartbeats only.
    beat: Option<Tick>,
    /// Others probe it for this node; see [`Book::set_probing`].
    is_idle: bool,
}

impl Book {
    /// All checks unknown, to be probed at once: the first round is spread over [`FIRST_ROUND_MAX`] at most.
    ///
    /// `seed` moves spread and jitter, so that nodes with the same plan do not probe in step; decisions do not depend on it.
    #[must_use]
    pub fn new(checks: &[Check], seed: u64, now: Now) -> Self {
        let mut book = Self {
            seed,
            slots: Vec::new(),
            deadlines: Deadlines::default(),
            in_flight: BTreeMap::new(),
            formulas: Formulas::default(),
            heartbeats: BTreeMap::new(),
            turns: VecDeque::new(),
            next_attempt: 0,
            n_unjudged: 0,
            n_changes: 0,
        };
        book.replace_checks(checks, now, |_, check| Slot::new(check, now));
        book
    }

    /// Takes one event in and adds what it changed to `changes`.
    ///
    /// `now.tick` must not go back. O(log n) for n checks, and the size of the formulas that depend on the check when it was touched.
    /// # Errors
    /// [`Rejected`], harmless: nothing was changed.
    pub fn handle(&mut self, now: Now, event: Event, changes: &mut Changes) -> Result<(), Rejected> {
        match event {
            Event::ProbeFinished { attempt, observation } => {
                let check = self.in_flight.remove(&attempt).ok_or(Rejected::NotInFlight)?;
                self.slots[check.get()].attempt = None;
                self.record(now, check, observation, changes);
                self.schedule(now, check);
            }
            Event::Beat { name, ok, at } => self.take_beat(now, &name, ok, at, changes)?,
        }
        Ok(())
    }

    /// Gives up what waited too long, and starts at most `room` probes: those that have waited longest.
    ///
    /// Each returned probe is in flight from now on. With too little room the rest stays due; see [`Self::lateness`].
    pub fn due(&mut self, now: Now, room: usize, changes: &mut Changes) -> Vec<StartProbe> {
        while let Some(check) = self.deadlines.overdue(now.tick) {
            self.give_up(now, check, changes);
        }
        let mut starts = Vec::new();
        while starts.len() < room
            && let Some(check) = self.deadlines.startable(now.tick)
        {
            let attempt = Attempt(self.next_attempt);
            self.next_attempt += 1;
            let limit = now.tick + self.slots[check.get()].check.probe.cadence.timeout.saturating_add(GIVE_UP_GRACE);
            self.in_flight.insert(attempt, check);
            self.slots[check.get()].attempt = Some(attempt);
            self.wait(check, Wait::Limit(limit));
            starts.push(StartProbe { check, attempt });
        }
        starts
    }

    /// When [`Self::due`] has something to do next; in the past when it has now. `may_start: false` leaves out probes that wait for room.
    #[must_use]
    pub fn next_deadline(&self, may_start: bool) -> Option<Tick> {
        self.deadlines.next(may_start)
    }

    /// How long the longest waiting probe is overdue: more than moments mean that probes do not get room.
    #[must_use]
    pub fn lateness(&self, now: Tick) -> Duration {
        self.deadlines.lateness(now)
    }

    /// Whose probe this is; `None` when it is not in flight.
    #[must_use]
    pub fn check_of(&self, attempt: Attempt) -> Option<CheckIdx> {
        self.in_flight.get(&attempt).copied()
    }

    /// How many probes are in flight.
    #[must_use]
    pub fn n_in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// The probes in flight, oldest first. After a reload, a running probe that is not in here may be stopped.
    pub fn in_flight(&self) -> impl ExactSizeIterator<Item = StartProbe> {
        self.in_flight.iter().map(|(attempt, check)| StartProbe { check: *check, attempt: *attempt })
    }

    //----------- What it says ---

    /// How many checks there are; positions run from 0 to this.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is no check.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The check at this position of the topology.
    #[must_use]
    pub fn check(&self, check: CheckIdx) -> Option<&Check> {
        self.slots.get(check.get()).map(|slot| &slot.check)
    }

    /// Everything that is known of a check.
    #[must_use]
    pub fn state(&self, check: CheckIdx) -> Option<&CheckState> {
        self.slots.get(check.get()).map(|slot| &slot.state)
    }

    /// The observed verdict; unknown for a position that does not exist.
    #[must_use]
    pub fn verdict(&self, check: CheckIdx) -> Verdict {
        let Some(slot) = self.slots.get(check.get()) else { return Verdict::unknown(NEVER) };
        Verdict { next_change: self.next_change(check), ..slot.state.verdict(&slot.check.probe.cadence) }
    }

    /// The state of a check as one line for people; `None` for a position that does not exist.
    #[must_use]
    pub fn tell(&self, check: CheckIdx) -> Option<Telling<'_>> {
        let slot = self.slots.get(check.get())?;
        Some(match slot.check.probe.kind {
            ProbeKind::None | ProbeKind::Calculated { .. } => slot.state.tell_derived(),
            _ => slot.state.tell(&slot.check.probe.cadence),
        })
    }

    /// When the endpoint came back from down, for [`super::slow_start::admitted`]; `None`: it did not, and takes its full share.
    #[must_use]
    pub fn returned_at(&self, check: CheckIdx) -> Option<Timestamp> {
        self.state(check)?.returned_at()
    }

    /// Whether the verdict rests on observations of this process; `false`: unknown, or as saved before the start.
    #[must_use]
    pub fn is_judged(&self, check: CheckIdx) -> bool {
        self.state(check).is_some_and(CheckState::is_judged)
    }

    /// How many *probed* checks are not judged by this process yet; at zero the first round is over.
    ///
    /// Heartbeats and what is calculated from them do not count: a sender that never comes must not hold readiness back.
    #[must_use]
    pub const fn n_unjudged(&self) -> usize {
        self.n_unjudged
    }

    /// Grows when something changes that [`Self::tell`] words: a judgement, what counts towards the next one, whether it rests on this process.
    #[must_use]
    pub const fn n_changes(&self) -> u64 {
        self.n_changes
    }

    /// The latest changes of judgement, newest first, at most [`TRANSITIONS_MAX`] over all checks.
    pub fn turns(&self) -> impl DoubleEndedIterator<Item = &Turn> {
        self.turns.iter().rev()
    }

    /// When the next probe of a check starts; `None` while one is in flight, and for kinds without a probe.
    #[must_use]
    pub fn next_probe(&self, check: CheckIdx) -> Option<Tick> {
        match self.slots.get(check.get())?.wait {
            Wait::Start(at) => Some(at),
            Wait::Nothing | Wait::Limit(_) => None,
        }
    }

    fn next_change(&self, check: CheckIdx) -> Duration {
        let slot = &self.slots[check.get()];
        match &slot.check.probe.kind {
            ProbeKind::None => NEVER,
            ProbeKind::Calculated { .. } => self.formulas.get(check).map_or(NEVER, |formula| formula.next_change),
            _ => slot.state.next_change(&slot.check.probe.cadence),
        }
    }

    //----------- What moves it ---

    fn record(&mut self, now: Now, check: CheckIdx, observation: Observation, changes: &mut Changes) {
        let slot = &mut self.slots[check.get()];
        let (was_judged, was_counted) = (slot.state.is_judged(), slot.counts_as_unjudged());
        let recorded = slot.state.record(&slot.check.probe.cadence, now, observation);
        let became_judged = !was_judged && slot.state.is_judged();
        if was_counted && became_judged {
            self.n_unjudged -= 1;
        }
        // While nothing is known yet, a failure more is told but moves no time to the next change; and one of the same category may say something else.
        let is_told = recorded.touch.is_some() || became_judged || recorded.is_reworded || slot.state.health() == Health::Unknown;
        self.n_changes += u64::from(is_told);
        // Among peers a verdict from before the start counts less than one of this process, even when it is the same.
        changes.add(check, recorded.touch.or_else(|| became_judged.then_some(Touch::NextChange)));
        if let Some(transition) = recorded.transition {
            self.remember(Turn { check, transition }, changes);
        }
        if recorded.touch.is_some() || became_judged {
            self.recalculate(now, check, changes);
        }
    }

    fn recalculate(&mut self, now: Now, source: CheckIdx, changes: &mut Changes) {
        let mut work = BTreeSet::new();
        self.formulas.queue_dependents(source, &mut work);
        while let Some((_, check)) = work.pop_first() {
            if self.calculate(now, check, changes) {
                self.formulas.queue_dependents(check, &mut work);
            }
        }
    }

    /// Evaluates one formula; `true` when something that other formulas read has changed.
    fn calculate(&mut self, now: Now, check: CheckIdx, changes: &mut Changes) -> bool {
        let Some(formula) = self.formulas.get(check) else { return false };
        let input = |child: &CheckIdx| {
            let state = &self.slots[child.get()].state;
            Input { health: state.health(), next_change: self.next_change(*child), judged: state.is_judged() }
        };
        let outcome = evaluate(&formula.of.iter().map(input).collect::<Vec<_>>(), formula.at_least);
        let before = self.formulas.set_next_change(check, outcome.next_change);
        let state = &mut self.slots[check.get()].state;
        let was_judged = state.is_judged();
        let transition = state.derive(now, outcome.health, outcome.failure, outcome.judged);
        let touch = match (&transition, before == Some(outcome.next_change)) {
            (Some(_), _) => Some(Touch::Verdict),
            (None, true) if was_judged == outcome.judged => None,
            (None, _) => Some(Touch::NextChange),
        };
        changes.add(check, touch);
        if let Some(transition) = transition {
            self.remember(Turn { check, transition }, changes);
        }
        self.n_changes += u64::from(touch.is_some());
        touch.is_some()
    }

    fn remember(&mut self, turn: Turn, changes: &mut Changes) {
        if self.turns.len() >= TRANSITIONS_MAX {
            self.turns.pop_front();
        }
        self.turns.push_back(turn.clone());
        changes.turns.push(turn);
    }

    fn wait(&mut self, check: CheckIdx, new: Wait) {
        self.deadlines.set(check, &mut self.slots[check.get()].wait, new);
    }

    /// Sets the start of the next probe after one has ended.
    fn schedule(&mut self, now: Now, check: CheckIdx) {
        let slot = &self.slots[check.get()];
        if slot.is_idle {
            self.wait(check, Wait::Nothing);
            return;
        }
        let pause = slot.state.pause(&slot.check.probe.cadence, mix(self.seed, u64::from(check.0)));
        self.wait(check, Wait::Start(now.tick + pause));
    }

    /// Sets what a check waits for that has never been probed here.
    fn schedule_first(&mut self, now: Now, check: CheckIdx) {
        let slot = &self.slots[check.get()];
        let cadence = &slot.check.probe.cadence;
        let wait = match slot.check.probe.kind {
            ProbeKind::None | ProbeKind::Calculated { .. } => Wait::Nothing,
            ProbeKind::Heartbeat { .. } => Wait::Limit(now.tick + silence(&slot.check)),
            _ => {
                let spread = u64::try_from(cadence.interval.min(FIRST_ROUND_MAX).as_micros()).unwrap_or(0);
                Wait::Start(now.tick + Duration::from_micros(below(mix(self.seed, u64::from(check.0)), spread)))
            }
        };
        self.wait(check, wait);
    }

    /// A probe did not report, or a heartbeat did not come.
    fn give_up(&mut self, now: Now, check: CheckIdx, changes: &mut Changes) {
        let slot = &mut self.slots[check.get()];
        let cadence = &slot.check.probe.cadence;
        let (failure, pause) = match slot.attempt.take() {
            Some(attempt) => {
                self.in_flight.remove(&attempt);
                let waited = Human(cadence.timeout.saturating_add(GIVE_UP_GRACE));
                (Failure::new(FailureCategory::Timeout, &format!("the probe did not report within {waited}")), None)
            }
            None => {
                // From now, not from the deadline: a process that slept through many intervals has missed the beats, not the sender.
                let detail = format!("no beat within {}", Human(silence(&slot.check)));
                (Failure::new(FailureCategory::Silent, &detail), Some(cadence.interval.max(PAUSE_MIN)))
            }
        };
        self.record(now, check, Observation { outcome: Outcome::Failed(failure), timings: Timings::default() }, changes);
        match pause {
            Some(pause) => self.wait(check, Wait::Limit(now.tick + pause)),
            None => self.schedule(now, check),
        }
    }
}

/// How long after a beat its absence is a failure.
fn silence(check: &Check) -> Duration {
    let cadence = &check.probe.cadence;
    cadence.interval.saturating_add(cadence.timeout).max(PAUSE_MIN)
}

impl Slot {
    fn new(check: &Check, now: Now) -> Self {
        let state = if check.probe.kind == ProbeKind::None { CheckState::always_up(now.wall) } else { CheckState::default() };
        Self { check: check.clone(), state, wait: Wait::Nothing, attempt: None, beat: None, is_idle: false }
    }

    fn is_probed(&self) -> bool {
        !matches!(self.check.probe.kind, ProbeKind::None | ProbeKind::Heartbeat { .. } | ProbeKind::Calculated { .. })
    }

    fn counts_as_unjudged(&self) -> bool {
        self.is_probed() && !self.is_idle && !self.state.is_judged()
    }
}
