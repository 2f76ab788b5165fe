//! What this node says: one numbered statement per check, from which reports are made for each peer.
//!
//! Invariants: a number is never used twice in an incarnation; the latest statement of each check is in every report that begins before it;
//! what was withdrawn is remembered as such until it is certain that every report that leaves it out is a full one.

use std::collections::BTreeMap;

use super::{
    key::CheckKey,
    report::{CHECKS_PER_OBSERVER_MAX, Judgement, Statement},
};
use crate::model::verdict::Health;

/// The most withdrawn statements that are remembered: more are a plan that changes all the time, and the next report to everybody is a full
/// one then.
pub(super) const WITHDRAWN_MAX: usize = 4096;

/// This node's statements.
#[derive(Clone, Debug, Default)]
pub(super) struct Own {
    sequence: u64,
    /// Reports that begin before this must be full.
    floor: u64,
    by_check: BTreeMap<CheckKey, Statement>,
    by_sequence: BTreeMap<u64, CheckKey>,
    /// By number.
    withdrawn: BTreeMap<u64, CheckKey>,
}

impl Own {
    /// Says something of a check. `None`: that is what was said last, or there is no room for one more check.
    pub(super) fn state(&mut self, check: CheckKey, judgement: &Judgement) -> Option<u64> {
        let before = self.by_check.get(&check);
        match before {
            Some(before) if before.judgement.essence() == judgement.essence() => return None,
            None if judgement.health == Health::Unknown || self.by_check.len() >= CHECKS_PER_OBSERVER_MAX => return None,
            Some(_) | None => {}
        }
        if let Some(before) = before {
            self.by_sequence.remove(&before.sequence);
            self.withdrawn.remove(&before.sequence);
        }
        let sequence = self.pulse();
        self.by_sequence.insert(sequence, check);
        self.by_check.insert(check, Statement { check, sequence, judgement: judgement.clone() });
        if judgement.health == Health::Unknown {
            self.withdrawn.insert(sequence, check);
            self.forget_withdrawn();
        }
        Some(sequence)
    }

    fn forget_withdrawn(&mut self) {
        while self.withdrawn.len() > WITHDRAWN_MAX
            && let Some((sequence, check)) = self.withdrawn.pop_first()
        {
            self.floor = sequence;
            self.by_sequence.remove(&sequence);
            self.by_check.remove(&check);
        }
    }

    /// The next number: a sign of life that says nothing new.
    pub(super) const fn pulse(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// The number of the latest statement or sign of life.
    pub(super) const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// From where a report begins that shall begin after `after`, and what it holds.
    pub(super) fn since(&self, after: u64) -> (u64, Vec<Statement>) {
        let is_full = after < self.floor || after == 0 || after >= self.sequence;
        let after = if is_full { 0 } else { after };
        let changed = self.by_sequence.range(after + 1..).filter_map(|(_, check)| self.by_check.get(check));
        (after, changed.filter(|it| !is_full || it.judgement.health != Health::Unknown).cloned().collect())
    }

    pub(super) fn n_said(&self) -> usize {
        self.by_check.len() - self.withdrawn.len()
    }
}
