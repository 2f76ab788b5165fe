//! What is known of one observer: which of its reports count, and how fresh it is.
//!
//! Invariants: the same reports in any order, any of them several times, leave the same observer; a report of an earlier incarnation, or one
//! that says nothing above what was heard completely, changes nothing; while something is missing in between, the observer is as old as the
//! last of it that is complete.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::model::{
    ids::{CheckIdx, Label},
    time::Tick,
};

use super::{
    key::CheckKey,
    report::{Judgement, Report},
    sight::Sight,
};

/// A stream that was silent for this long is not fresh: four signs of life ([`PULSE_EVERY`]) are missing, more than loss on a WAN explains.
pub const FRESH_FOR: Duration = Duration::from_secs(2);

/// How often an observer is to give a sign of life.
pub const PULSE_EVERY: Duration = Duration::from_millis(500);

/// Reports that are kept waiting for one that should have come before: some seconds of one stream, after which it is not fresh anyway. With
/// more missing the observer stays silent here until a full report comes.
pub(super) const AHEAD_MAX: usize = 16;

/// A check as an observer sees it, with the number of the statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) sequence: u64,
    pub(super) judgement: Judgement,
}

/// A sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life {
    heard: Tick,
    /// When it was heard.
    age: Duration,
    pub(super) sight: Sight,
}

impl Life {
    /// Age is what the sender states and half a round trip; from now on our own clock goes on.
    pub(super) fn of(report: &Report, round_trip: Duration, now: Tick) -> Self {
        Self { heard: now, age: report.age.saturating_add(round_trip / 2), sight: report.sight }
    }

    /// The first instant at which it is not fresh.
    pub(super) fn until(self) -> Tick {
        self.heard + FRESH_FOR.saturating_sub(self.age)
    }

    pub(super) fn age(self, now: Tick) -> Duration {
        self.age.saturating_add(now.since(self.heard))
    }

    /// One that is `age` old at `now`.
    pub(super) const fn aged(age: Duration, sight: Sight, now: Tick) -> Self {
        Self { heard: now, age, sight }
    }
}

/// A report that says more than is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ahead {
    sequence: u64,
    life: Life,
}

/// One observer. What it says of checks of the plan in force is with those checks.
#[derive(Clone, Debug)]
pub(super) struct Observer {
    pub(super) name: Label,
    pub(super) region: Label,
    pub(super) incarnation: u64,
    /// Everything up to here was heard.
    complete: u64,
    /// By the number after which each begins; not yet reached by `complete`.
    ahead: BTreeMap<u64, Ahead>,
    /// As of `complete`; `None`: nothing is complete.
    pub(super) life: Option<Life>,
    /// Checks of the plan in force that it speaks of.
    pub(super) speaks_of: BTreeSet<CheckIdx>,
    /// Those of its statements that withdraw one, by number, above `complete` only: below it no replay gets through.
    pub(super) withdrawn: BTreeMap<u64, CheckKey>,
    /// What it says of checks that the plan in force does not have: another plan may.
    pub(super) elsewhere: BTreeMap<CheckKey, Said>,
    /// Whether it is fresh now; kept, so that a change is noticed.
    pub(super) is_fresh: bool,
    /// Who told of it last; `None`: it did itself, or nobody says.
    pub(super) bringer: Option<Label>,
}

/// What a report does to what is known of its observer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Nothing in it is new.
    Nothing,
    /// Statements above what was complete are to be taken in; in a full report they replace all that were said up to it.
    Take {
        /// Statements up to here are known already.
        known: u64,
        is_full: bool,
    },
}

impl Observer {
    pub(super) fn new(name: Label, region: Label, incarnation: u64) -> Self {
        Self {
            name,
            region,
            incarnation,
            complete: 0,
            ahead: BTreeMap::new(),
            life: None,
            speaks_of: BTreeSet::new(),
            withdrawn: BTreeMap::new(),
            elsewhere: BTreeMap::new(),
            is_fresh: false,
            bringer: None,
        }
    }

    /// This node itself, which is always fresh.
    pub(super) fn own(name: Label, region: Label, incarnation: u64) -> Self {
        let life = Life { heard: Tick(0), age: Duration::ZERO, sight: Sight::Blind };
        Self { life: Some(life), is_fresh: true, ..Self::new(name, region, incarnation) }
    }

    /// One as it was noted, to be looked at and never heard again.
    pub(super) fn noted(name: Label, region: Label, life: Option<Life>, is_fresh: bool, has_gap: bool) -> Self {
        let mut observer = Self { life, is_fresh, ..Self::new(name, region, 0) };
        if has_gap {
            let life = life.unwrap_or(Life::aged(Duration::ZERO, Sight::Blind, Tick(0)));
            observer.ahead.insert(1, Ahead { sequence: 2, life });
        }
        observer
    }

    /// Sets what this node itself sees.
    pub(super) fn set_sight(&mut self, sight: Sight) {
        if let Some(life) = &mut self.life {
            life.sight = sight;
        }
    }

    /// Takes in what the frame of a report of this incarnation says; its statements are the caller's.
    pub(super) fn admit(&mut self, report: &Report, life: Life) -> Admission {
        let known = self.complete;
        if report.sequence <= known {
            return Admission::Nothing;
        }
        let new = Ahead { sequence: report.sequence, life };
        let is_full = self.ahead.len() >= AHEAD_MAX;
        match self.ahead.get_mut(&report.after) {
            Some(waiting) if waiting.sequence >= new.sequence => return Admission::Nothing,
            Some(waiting) => *waiting = new,
            None if is_full && report.after > known => return Admission::Nothing,
            None => drop(self.ahead.insert(report.after, new)),
        }
        while let Some(entry) = self.ahead.first_entry().filter(|entry| *entry.key() <= self.complete) {
            let Ahead { sequence, life } = entry.remove();
            if sequence > self.complete {
                (self.complete, self.life) = (sequence, Some(life));
            }
        }
        Admission::Take { known, is_full: report.after == 0 }
    }

    /// Everything up to here was heard; statements up to it that come again are replays.
    pub(super) const fn complete(&self) -> u64 {
        self.complete
    }

    /// Whether something is missing before the latest that was heard.
    pub(super) fn has_gap(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// How many checks it speaks of.
    pub(super) fn n_checks(&self) -> usize {
        self.speaks_of.len() + self.elsewhere.len()
    }

    /// Whether its word counts: it is fresh, and sees.
    pub(super) fn counts(&self) -> bool {
        self.is_fresh && self.life.is_some_and(|life| life.sight.counts())
    }
}
