//! Another plan under running observers: what is the same check keeps its voices and its verdict.

use std::collections::BTreeMap;

use crate::{
    health::book::calculated::Formulas,
    model::{check::Check, ids::CheckIdx, time::Now},
};

use super::{
    Effect, ObserverId, Vantage,
    key::keys,
    report::Judgement,
    slot::{Slot, Way},
};

impl Vantage {
    /// Replaces all checks. Positions mean the new plan afterwards, so take earlier effects before, and rebuild every table after.
    ///
    /// - Same key: keeps what all observers say, its verdict, and how long that is held.
    /// - New: what observers said of it before this plan came counts at once.
    /// - Gone: this node withdraws its statement; what others say is kept for a plan that has it again.
    ///
    /// This node probes what it is a prober of, see [`Vantage::is_prober`]; no effect repeats that. O(n log n).
    pub fn reload(&mut self, checks: &[Check], is_home: impl Fn(CheckIdx) -> bool, now: Now, effects: &mut Vec<Effect>) {
        let keys = keys(checks);
        let old_slots = std::mem::take(&mut self.slots);
        let mut old: BTreeMap<_, Slot> = old_slots.into_iter().map(|slot| (slot.key, slot)).collect();
        self.by_key = keys.iter().enumerate().map(|(position, key)| (*key, CheckIdx::at(position))).collect();
        self.formulas = Formulas::new(checks);
        self.holds.clear();
        self.dirty.clear();
        self.confirmations.forget_waiting();
        for observer in self.observers.values_mut() {
            observer.speaks_of.clear();
        }
        for (position, (key, check)) in keys.into_iter().zip(checks).enumerate() {
            let at = CheckIdx::at(position);
            let fresh = Slot::new(key, check, is_home(at), now);
            let slot = match old.remove(&key) {
                Some(kept) if kept.way == fresh.way => {
                    Slot { is_home: fresh.is_home, steady: fresh.steady, look_again: fresh.look_again, hold_until: None, ..kept }
                }
                Some(_) | None => fresh,
            };
            self.slots.push(slot);
            self.dirty.insert(at);
        }
        // What was said elsewhere comes in, what is gone goes there.
        for slot in old.into_values() {
            for voice in slot.voices {
                if let Some(observer) = self.observers.get_mut(&voice.observer).filter(|_| voice.observer != ObserverId::SELF) {
                    observer.elsewhere.insert(slot.key, voice.said);
                }
            }
            if self.own.state(slot.key, &Judgement::default()).is_some() {
                effects.push(Effect::Stated);
            }
        }
        for (&id, observer) in &mut self.observers {
            let here = std::mem::take(&mut observer.elsewhere).into_iter();
            for (key, said) in here {
                match self.by_key.get(&key) {
                    Some(check) => drop(self.slots[check.get()].hear(id, said)),
                    None => drop(observer.elsewhere.insert(key, said)),
                }
            }
        }
        for (position, slot) in self.slots.iter().enumerate() {
            for voice in &slot.voices {
                if let Some(observer) = self.observers.get_mut(&voice.observer) {
                    observer.speaks_of.insert(CheckIdx::at(position));
                }
            }
        }
        self.n_up_at_home = self.slots.iter().filter(|slot| slot.sees_up_at_home()).count();
        self.share_out_steady_times();
        // Tables are all made anew after this, and whoever probes is asked of each check.
        self.choose_probers(&mut Vec::new());
        self.settle(now, effects);
    }

    /// A calculated check may change as soon as the quickest of its parts.
    fn share_out_steady_times(&mut self) {
        for check in self.formulas.in_order() {
            let Some(formula) = self.formulas.get(check) else { continue };
            let soonest = formula.of.iter().map(|child| self.slots[child.get()].steady);
            let soonest = soonest.reduce(|a, b| (a.0.min(b.0), a.1.min(b.1)));
            if let Some((up, down)) = soonest {
                let any = up.min(down);
                self.slots[check.get()].steady = (any, any);
            }
        }
        debug_assert!(self.slots.iter().all(|slot| slot.way != Way::Calculated || slot.voices.is_empty() || !slot.is_prober));
    }
}
