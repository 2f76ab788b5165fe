//! What was proven last, as it outlives the process: a node that starts while others are silent steers by it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{
    check::Failure,
    ids::CheckIdx,
    time::{Now, Timestamp},
    verdict::Health,
};

use super::{
    Vantage,
    key::CheckKey,
    report::Judgement,
    slot::{LastProven, Lost},
};

/// The last proven verdict of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedProof {
    /// The check's key in hexadecimal. One that no check has is ignored.
    pub key: String,
    /// When it was proven last. In the reader's future it counts as its present.
    pub at: Timestamp,
    /// Up or down; one that is unknown is ignored.
    pub health: Health,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// When it came back from down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returned_at: Option<Timestamp>,
    /// What made it down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

impl Vantage {
    /// The last proven verdicts, in the plan's order.
    #[must_use]
    pub fn save(&self, now: Now) -> Vec<SavedProof> {
        let proofs = self.slots.iter().filter_map(|slot| Some((slot.key, slot.last.as_ref()?)));
        let saved = proofs.map(|(key, LastProven { judgement, lost })| {
            let age = lost.map_or(0, |lost| i64::try_from(lost.age(now.tick).as_millis()).unwrap_or(i64::MAX));
            SavedProof {
                key: key.to_string(),
                at: Timestamp(now.wall.0.saturating_sub(age)),
                health: judgement.health,
                since: judgement.since,
                returned_at: judgement.returned_at,
                failure: judgement.failure.as_deref().cloned(),
            }
        });
        saved.collect()
    }

    /// Goes on from what a former process had proven: it is held for what is left of its time, and stays for want of anything else after it.
    ///
    /// Meant for the moment after [`Vantage::new`]: what has been proven by this process stays. Gives the number of checks restored.
    pub fn restore(&mut self, saved: impl IntoIterator<Item = SavedProof>, now: Now) -> usize {
        let mut n_restored = 0;
        for it in saved {
            let key = u128::from_str_radix(&it.key, 16).ok().map(CheckKey::from_number);
            let Some(check) = key.and_then(|key| self.check(key)).filter(|_| it.health != Health::Unknown) else { continue };
            let slot = &mut self.slots[check.get()];
            if slot.last.is_some() {
                continue;
            }
            let failure = it.failure.map(Arc::new);
            let judgement = Judgement { health: it.health, since: it.since, returned_at: it.returned_at, failure }.bounded();
            let lost = Lost { at: now.tick, before: now.wall.since(it.at) };
            slot.last = Some(LastProven { judgement, lost: Some(lost) });
            self.dirty.insert(check);
            n_restored += 1;
        }
        // What follows from restored verdicts is no news: every table is built after this anyway.
        self.settle(now, &mut Vec::new());
        n_restored
    }

    /// The checks of which something is remembered that was proven.
    pub fn proven_once(&self) -> impl Iterator<Item = CheckIdx> {
        self.slots.iter().enumerate().filter(|(_, slot)| slot.last.is_some()).map(|(position, _)| CheckIdx::at(position))
    }
}
