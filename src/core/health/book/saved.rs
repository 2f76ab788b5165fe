//! What outlives the process, so that a restarted daemon answers with the last judgements until it has its own.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::model::{
    check::{Check, ProbeKind},
    ids::CheckIdx,
    time::Now,
    verdict::Health,
};

use super::{Book, reload::identities};
use crate::health::endpoint::{CheckState, saved::SavedState};

/// The state of one check as it is written to disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedCheck {
    /// What the check looks at: kind, address and an exact fingerprint. A key that no check has is ignored.
    pub key: String,
    /// Its state.
    #[serde(flatten)]
    pub state: SavedState,
}

impl Book {
    /// Everything that is worth keeping: the checks that were judged, or of which something is remembered. In the topology's order.
    #[must_use]
    pub fn save(&self, now: Now) -> Vec<SavedCheck> {
        let keys = self.keys();
        let saved = self
            .slots
            .iter()
            .zip(keys)
            .filter(|(slot, _)| slot.check.probe.kind != ProbeKind::None)
            .map(|(slot, key)| (slot.state.save(now), key));
        saved
            .filter(|(state, _)| state.health != Health::Unknown || state.failure.is_some())
            .map(|(state, key)| SavedCheck { key, state })
            .collect()
    }

    /// Goes on from saved states: a fresh book says again what it said last, not judged until observations agree, and probes all the same.
    ///
    /// Meant for the moment after [`Book::new`]: a check that has been observed already keeps what it knows. Of several checks that look at
    /// the same thing the first takes the first state. Gives the number of checks restored.
    pub fn restore(&mut self, saved: impl IntoIterator<Item = SavedCheck>, now: Now) -> usize {
        let mut waiting: BTreeMap<String, VecDeque<CheckIdx>> = BTreeMap::new();
        for (position, key) in self.keys().into_iter().enumerate() {
            waiting.entry(key).or_default().push_back(CheckIdx::at(position));
        }
        let mut n_restored = 0;
        for SavedCheck { key, state } in saved {
            let Some(check) = waiting.get_mut(&key).and_then(VecDeque::pop_front) else { continue };
            let slot = &mut self.slots[check.get()];
            let is_untouched = match slot.check.probe.kind {
                ProbeKind::None => false,
                // Evaluated already, but only from what its inputs were before they are restored.
                ProbeKind::Calculated { .. } => true,
                _ => slot.state.health() == Health::Unknown && slot.state.counts() == (0, 0),
            };
            if is_untouched {
                slot.state = CheckState::restore(&state, now);
                n_restored += 1;
            }
        }
        self.recount();
        // What follows from restored states is no news: every table is built after this anyway.
        drop(self.recalculate_all(now));
        n_restored
    }

    /// Sets a state as it was noted. For a book that is looked at and never goes on.
    pub fn recall(&mut self, check: CheckIdx, state: CheckState) {
        if let Some(slot) = self.slots.get_mut(check.get()) {
            slot.state = state;
        }
    }

    fn keys(&self) -> Vec<String> {
        let checks: Vec<Check> = self.slots.iter().map(|slot| slot.check.clone()).collect();
        identities(&checks, &self.formulas).iter().zip(&checks).map(|(identity, check)| identity.key(check)).collect()
    }
}
