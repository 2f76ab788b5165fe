//! What arrives from other observers: whom to believe, and who is there.
//!
//! Last writer wins per (incarnation, sequence). Everything is bounded, and what does not fit is refused whole.

use std::time::Duration;

use thiserror::Error;

use crate::model::{
    ids::{CheckIdx, Label},
    time::Now,
    verdict::Health,
};

use super::{
    Effect, ObserverId, Vantage,
    key::CheckKey,
    observer::{Admission, Life, Observer, Said},
    probers::{Candidate, is_chosen},
    report::{CHECKS_PER_OBSERVER_MAX, Judgement, Malformed, Report, Statement},
    sight::REFERENCES_MAX,
    slot::Way,
};

/// The most observers that are remembered, this node included: five voters with the 200 observers that each may carry, and some that were
/// replaced. Beyond it the one that was silent for longest is forgotten.
pub const OBSERVERS_MAX: usize = 1024;

/// The most of them that one peer tells of: the 200 observers that a voter may carry, and some that were replaced. So names that one peer
/// invents push out its own observers first, and never those of others.
pub const OBSERVERS_PER_PEER_MAX: usize = 256;

/// Why an event changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Rejected {
    /// No peers are configured.
    #[error("this node has no peers and judges alone")]
    Single,
    /// A report of an earlier start of its observer, or one that says nothing above what was heard. Harmless: a repeat, or late.
    #[error("the report says nothing new; it is a repeat, late, or of an earlier start of its observer")]
    Replayed,
    /// A report under this node's own name. Harmless when it came back through a relay; else two nodes have one name.
    #[error("the report bears this node's own name; give each node a name of its own")]
    OwnName,
    /// One observer names two regions without a restart between.
    #[error("the observer names another region than before, without a restart")]
    RegionChanged,
    /// Not of the form.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// All observers that are remembered are fresh.
    #[error("{OBSERVERS_MAX} observers are fresh, no more are listened to")]
    TooManyObservers,
    /// As many observers as one peer may tell of are fresh.
    #[error("the peer tells of {OBSERVERS_PER_PEER_MAX} observers that are fresh, no more are taken from it")]
    TooManyFromPeer,
    /// The observer would speak of more than [`CHECKS_PER_OBSERVER_MAX`] checks.
    #[error("the observer speaks of more than {CHECKS_PER_OBSERVER_MAX} checks")]
    TooManyChecks,
    /// The plan in force has no such check.
    #[error("the plan in force has no such check")]
    UnknownCheck,
    /// More than [`CONFIRMS_PER_SECOND_MAX`](super::CONFIRMS_PER_SECOND_MAX) requests in a second.
    #[error("too many requests to confirm within a second; this one is not heeded")]
    TooManyConfirms,
    /// More references reached than there are, or more than are kept.
    #[error("a look at references reaches more of them than there are, or there are more than {REFERENCES_MAX}")]
    References,
}

impl Vantage {
    pub(super) fn hear(&mut self, now: Now, report: Report, round_trip: Duration, effects: &mut Vec<Effect>) -> Result<(), Rejected> {
        report.check()?;
        if report.observer == self.settings.node {
            return Err(Rejected::OwnName);
        }
        let known = self.ids.get(&report.observer).copied();
        if let Some(observer) = known.and_then(|id| self.observers.get(&id)) {
            if report.incarnation < observer.incarnation {
                return Err(Rejected::Replayed);
            }
            if report.incarnation == observer.incarnation {
                if report.sequence <= observer.complete() {
                    return Err(Rejected::Replayed);
                }
                if report.region != observer.region {
                    return Err(Rejected::RegionChanged);
                }
                self.has_room(observer, &report)?;
            }
        }
        let (id, restarted) = self.observer_of(known, &report)?;
        let Some(observer) = self.observers.get_mut(&id) else { return Err(Rejected::TooManyObservers) };
        let (counted, was_fresh, before) = (observer.counts(), observer.is_fresh, observer.life);
        let Admission::Take { known, is_full } = observer.admit(&report, Life::of(&report, round_trip, now.tick)) else {
            return Err(Rejected::Replayed);
        };
        let life = observer.life;
        observer.is_fresh = life.is_some_and(|life| now.tick < life.until());
        let (counts, is_fresh) = (observer.counts(), observer.is_fresh);
        if let Some(before) = before {
            self.expiries.remove(&(before.until(), id));
        }
        if let Some(life) = life.filter(|_| is_fresh) {
            self.expiries.insert((life.until(), id));
        }
        if is_full {
            self.replace(id, &report);
        }
        for statement in report.statements.into_iter().filter(|it| it.sequence > known) {
            self.take(id, statement);
        }
        self.forget_withdrawn(id);
        if counts != counted {
            self.all_of(id);
        }
        if is_fresh != was_fresh || restarted {
            self.presence_changed(id, restarted, effects);
        }
        Ok(())
    }

    /// Makes room for an observer that `peer` tells of and nobody told of before: beyond [`OBSERVERS_PER_PEER_MAX`] the one of that peer that
    /// was silent for longest is forgotten. To be called before its report is handed in, and [`Self::was_brought`] after.
    ///
    /// # Errors
    /// [`Rejected::TooManyFromPeer`].
    pub fn make_room(&mut self, now: Now, observer: &Label, peer: &Label, effects: &mut Vec<Effect>) -> Result<(), Rejected> {
        if self.ids.contains_key(observer) || observer == peer {
            return Ok(());
        }
        let brought = || self.observers.iter().filter(|(_, it)| it.bringer.as_ref() == Some(peer));
        if brought().count() < OBSERVERS_PER_PEER_MAX {
            return Ok(());
        }
        let silent = brought().filter(|(_, it)| !it.is_fresh);
        let oldest = silent.min_by_key(|(id, it)| (it.life.map(Life::until), **id)).map(|(id, _)| *id);
        self.forget_observer(oldest.ok_or(Rejected::TooManyFromPeer)?);
        self.settle(now, effects);
        Ok(())
    }

    /// Notes which peer told of an observer last.
    pub fn was_brought(&mut self, observer: &Label, peer: &Label) {
        let id = self.ids.get(observer).filter(|id| **id != ObserverId::SELF && observer != peer);
        if let Some(observer) = id.and_then(|id| self.observers.get_mut(id)) {
            observer.bringer = Some(peer.clone());
        }
    }

    fn has_room(&self, observer: &Observer, report: &Report) -> Result<(), Rejected> {
        let n_known = observer.n_checks();
        if n_known + report.statements.len() <= CHECKS_PER_OBSERVER_MAX {
            return Ok(());
        }
        let is_new = |it: &&Statement| match self.by_key.get(&it.check) {
            Some(check) => !observer.speaks_of.contains(check),
            None => !observer.elsewhere.contains_key(&it.check),
        };
        let n_new = report.statements.iter().filter(is_new).count();
        if n_known + n_new <= CHECKS_PER_OBSERVER_MAX { Ok(()) } else { Err(Rejected::TooManyChecks) }
    }

    /// The place of the report's observer: its own, or a new one when it is new or started anew; and whether it started anew.
    fn observer_of(&mut self, known: Option<ObserverId>, report: &Report) -> Result<(ObserverId, bool), Rejected> {
        if let Some(id) = known {
            if self.observers.get(&id).is_some_and(|observer| observer.incarnation == report.incarnation) {
                return Ok((id, false));
            }
            self.forget_observer(id);
        } else if self.observers.len() >= OBSERVERS_MAX {
            let silent = self.observers.iter().filter(|(_, observer)| !observer.is_fresh);
            let oldest = silent.min_by_key(|(id, observer)| (observer.life.map(Life::until), **id)).map(|(id, _)| *id);
            self.forget_observer(oldest.ok_or(Rejected::TooManyObservers)?);
        }
        self.n_changes += 1;
        let id = ObserverId(self.next_id);
        self.next_id += 1;
        self.ids.insert(report.observer.clone(), id);
        self.observers.insert(id, Observer::new(report.observer.clone(), report.region.clone(), report.incarnation));
        Ok((id, known.is_some()))
    }

    /// Forgets an observer and all that it said. Whether it was present is the caller's: it comes back at once, or was silent.
    fn forget_observer(&mut self, id: ObserverId) {
        self.all_of(id);
        let Some(observer) = self.observers.remove(&id) else { return };
        self.ids.remove(&observer.name);
        if let Some(life) = observer.life {
            self.expiries.remove(&(life.until(), id));
        }
        for check in observer.speaks_of {
            self.slots[check.get()].forget(id, u64::MAX);
        }
    }

    /// A full report: what it does not hold was withdrawn before.
    fn replace(&mut self, id: ObserverId, report: &Report) {
        let Some(observer) = self.observers.get_mut(&id) else { return };
        let held: std::collections::BTreeSet<CheckKey> = report.statements.iter().map(|it| it.check).collect();
        observer.elsewhere.retain(|key, said| said.sequence > report.sequence || held.contains(key));
        let (slots, dirty) = (&mut self.slots, &mut self.dirty);
        observer.speaks_of.retain(|check| {
            let slot = &mut slots[check.get()];
            if held.contains(&slot.key) {
                return true;
            }
            if slot.forget(id, report.sequence) {
                dirty.insert(*check);
            }
            slot.voice(id).is_some()
        });
    }

    fn take(&mut self, id: ObserverId, statement: Statement) {
        let Some(observer) = self.observers.get_mut(&id) else { return };
        let Statement { check: key, sequence, judgement } = statement;
        let said = Said { sequence, judgement: judgement.bounded() };
        if said.judgement.health == Health::Unknown {
            observer.withdrawn.insert(sequence, key);
        }
        match self.by_key.get(&key) {
            Some(&check) => {
                observer.speaks_of.insert(check);
                if self.slots[check.get()].hear(id, said) {
                    self.dirty.insert(check);
                }
            }
            None => match observer.elsewhere.get_mut(&key) {
                Some(before) if before.sequence >= sequence => {}
                Some(before) => *before = said,
                None => drop(observer.elsewhere.insert(key, said)),
            },
        }
    }

    /// Withdrawn statements below what is complete guard against nothing any more.
    fn forget_withdrawn(&mut self, id: ObserverId) {
        let Some(observer) = self.observers.get_mut(&id) else { return };
        let complete = observer.complete();
        while let Some(entry) = observer.withdrawn.first_entry().filter(|entry| *entry.key() <= complete) {
            let (sequence, key) = entry.remove_entry();
            match self.by_key.get(&key) {
                Some(&check) => {
                    let slot = &mut self.slots[check.get()];
                    slot.forget(id, sequence);
                    if slot.voice(id).is_none() {
                        observer.speaks_of.remove(&check);
                    }
                }
                None if observer.elsewhere.get(&key).is_some_and(|said| said.sequence <= sequence) => drop(observer.elsewhere.remove(&key)),
                None => {}
            }
        }
    }

    fn all_of(&mut self, id: ObserverId) {
        if let Some(observer) = self.observers.get(&id) {
            self.dirty.extend(observer.speaks_of.iter().copied());
        }
    }

    /// An observer was silent for too long.
    pub(super) fn expire(&mut self, id: ObserverId, effects: &mut Vec<Effect>) {
        if let Some(observer) = self.observers.get_mut(&id) {
            observer.is_fresh = false;
        }
        self.all_of(id);
        self.presence_changed(id, false, effects);
    }

    /// An observer came or went, or is another one under the same name.
    fn presence_changed(&mut self, id: ObserverId, restarted: bool, effects: &mut Vec<Effect>) {
        self.n_changes += 1;
        self.see(effects);
        if restarted || self.observers.get(&id).is_some_and(|observer| observer.region == self.settings.region) {
            self.choose_probers(effects);
        }
    }

    /// Works out anew which checks this node probes. O(checks x nodes of the region); only when a node of the region comes or goes.
    pub(super) fn choose_probers(&mut self, effects: &mut Vec<Effect>) {
        let is_neighbour = |observer: &&Observer| observer.is_fresh && observer.region == self.settings.region;
        let others = self.observers.iter().filter(|(id, _)| **id != ObserverId::SELF).map(|(_, observer)| observer);
        let others: Vec<Candidate> = others.filter(is_neighbour).map(|observer| Candidate::new(observer.name.as_str())).collect();
        let own = Candidate::new(self.settings.node.as_str());
        for position in 0..self.slots.len() {
            let slot = &mut self.slots[position];
            let wanted = is_chosen(own, &others, slot.key, self.settings.probers_per_region.max(1));
            if slot.way != Way::Probed || slot.is_prober == wanted {
                continue;
            }
            slot.is_prober = wanted;
            self.n_changes += 1;
            let check = CheckIdx::at(position);
            effects.push(Effect::Probe { check, wanted });
            if !wanted {
                self.say(check, Judgement::default(), effects);
            }
        }
    }
}
