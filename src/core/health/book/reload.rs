//! Another topology under a running book: what is the same check keeps its state.

use std::collections::{BTreeMap, VecDeque};

use crate::model::{
    check::{Check, ProbeKind},
    ids::CheckIdx,
    time::Now,
};

use super::{
    Book, Changes, Slot,
    calculated::Formulas,
    deadlines::{Deadlines, Wait},
    identity::Identity,
    silence,
};
use crate::health::endpoint::mix;

impl Book {
    /// Replaces all checks. Positions mean the new topology afterwards, so take earlier [`Changes`] before, and rebuild every table after.
    ///
    /// - Same address and kind: keeps its state, its probe in flight and its place in the queue; new thresholds apply from the next
    ///   observation on. Among several that differ only in cadence an equal cadence is matched first, then in order.
    /// - New: unknown, probed at once, spread like a first round.
    /// - Gone: forgotten; late results are [`Rejected`](super::Rejected), and its turns leave the history.
    ///
    /// Gives the turns of calculated checks, whose inputs may be others now. O(n log n).
    pub fn reload(&mut self, checks: &[Check], now: Now) -> Changes {
        let old_checks: Vec<Check> = self.slots.iter().map(|slot| slot.check.clone()).collect();
        let mut unclaimed = Unclaimed::new(&old_checks, &self.formulas);
        let identities = identities(checks, &Formulas::new(checks));
        let mut claims: Vec<Option<CheckIdx>> = checks
            .iter()
            .zip(&identities)
            .map(|(check, identity)| unclaimed.claim(*identity, |old| old_checks[old.get()].probe.cadence == check.probe.cadence))
            .collect();
        for (claim, identity) in claims.iter_mut().zip(&identities) {
            if claim.is_none() {
                *claim = unclaimed.claim(*identity, |_| true);
            }
        }
        let mut old_slots: Vec<Option<Slot>> = std::mem::take(&mut self.slots).into_iter().map(Some).collect();
        let moved: BTreeMap<CheckIdx, CheckIdx> =
            claims.iter().enumerate().filter_map(|(new, old)| old.map(|old| (old, CheckIdx::at(new)))).collect();
        self.turns = std::mem::take(&mut self.turns)
            .into_iter()
            .filter_map(|mut turn| {
                turn.check = *moved.get(&turn.check)?;
                Some(turn)
            })
            .collect::<VecDeque<_>>();
        self.replace_checks(checks, now, |position, check| {
            let kept = claims[position].and_then(|old| old_slots[old.get()].take());
            kept.map_or_else(|| Slot::new(check, now), |slot| Slot { check: check.clone(), ..carried(slot, check, now) })
        })
    }

    /// Sets all slots and everything that is derived from them. A slot that waits for nothing is scheduled as new; a slot in flight keeps
    /// its limit; a waiting one starts no later than its cadence says.
    pub(super) fn replace_checks(&mut self, checks: &[Check], now: Now, mut slot: impl FnMut(usize, &Check) -> Slot) -> Changes {
        self.slots = checks.iter().enumerate().map(|(position, check)| slot(position, check)).collect();
        self.deadlines = Deadlines::default();
        self.in_flight.clear();
        self.formulas = Formulas::new(checks);
        for position in 0..self.slots.len() {
            let check = CheckIdx::at(position);
            let slot = &mut self.slots[position];
            let kept = std::mem::take(&mut slot.wait);
            if let Some(attempt) = slot.attempt {
                self.in_flight.insert(attempt, check);
            }
            match kept {
                Wait::Nothing if slot.is_idle => {}
                Wait::Nothing => self.schedule_first(now, check),
                Wait::Limit(at) => self.wait(check, Wait::Limit(at)),
                Wait::Start(at) => {
                    let pause = slot.state.pause(&slot.check.probe.cadence, mix(self.seed, u64::from(check.0)));
                    self.wait(check, Wait::Start(at.min(now.tick + pause)));
                }
            }
        }
        let heard = checks.iter().enumerate().filter_map(|(position, check)| match &check.probe.kind {
            ProbeKind::Heartbeat { name } => Some((name.clone(), CheckIdx::at(position))),
            _ => None,
        });
        self.index_heartbeats(heard);
        self.recount();
        self.recalculate_all(now)
    }

    /// Counts the checks that no observation of this process has judged.
    pub(super) fn recount(&mut self) {
        self.n_unjudged = self.slots.iter().filter(|slot| slot.counts_as_unjudged()).count();
    }

    /// Evaluates every formula.
    pub(super) fn recalculate_all(&mut self, now: Now) -> Changes {
        let mut changes = Changes::default();
        for check in self.formulas.in_order() {
            self.calculate(now, check, &mut changes);
        }
        changes
    }
}

/// A heartbeat whose cadence changed waits by the new one, counted from the beat that it heard last.
fn carried(slot: Slot, check: &Check, now: Now) -> Slot {
    let is_heartbeat = matches!(check.probe.kind, ProbeKind::Heartbeat { .. });
    if !is_heartbeat || slot.check.probe.cadence == check.probe.cadence {
        return slot;
    }
    let limit = (slot.beat.unwrap_or(now.tick) + silence(check)).max(now.tick);
    Slot { wait: Wait::Limit(limit), ..slot }
}

/// The identity of every check, by position.
pub(in crate::health) fn identities(checks: &[Check], formulas: &Formulas) -> Vec<Identity> {
    let mut identities: Vec<Identity> = checks.iter().map(|check| Identity::new(check, &[])).collect();
    for check in formulas.in_order() {
        let of: Vec<Identity> =
            formulas.get(check).into_iter().flat_map(|formula| formula.of.iter().map(|child| identities[child.get()])).collect();
        identities[check.get()] = Identity::new(&checks[check.get()], &of);
    }
    identities
}

/// Old checks that no new one has claimed yet, by identity and in order.
struct Unclaimed(BTreeMap<Identity, Vec<CheckIdx>>);

impl Unclaimed {
    fn new(checks: &[Check], formulas: &Formulas) -> Self {
        let mut by_identity: BTreeMap<Identity, Vec<CheckIdx>> = BTreeMap::new();
        for (position, identity) in identities(checks, formulas).into_iter().enumerate() {
            by_identity.entry(identity).or_default().push(CheckIdx::at(position));
        }
        Self(by_identity)
    }

    fn claim(&mut self, identity: Identity, fits: impl Fn(CheckIdx) -> bool) -> Option<CheckIdx> {
        let candidates = self.0.get_mut(&identity)?;
        let position = candidates.iter().position(|old| fits(*old))?;
        Some(candidates.remove(position))
    }
}
