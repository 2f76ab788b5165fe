//! This node as an observer: what it says of its checks, what it sees besides, and whom it asks to look.

use std::time::Duration;

use crate::model::{ids::CheckIdx, time::Tick, verdict::Health};

use super::{
    Effect, ObserverId, Rejected, Vantage,
    key::CheckKey,
    observer::Said,
    report::{Judgement, Report},
    sight::{REFERENCES_MAX, Sight},
    slot::Way,
};

impl Vantage {
    //----------- What this node says to others ---

    /// Gives the next report a number of its own although nothing changed: a sign of life. To be called every [`PULSE_EVERY`](super::observer::PULSE_EVERY).
    pub const fn pulse(&mut self) -> u64 {
        self.own.pulse()
    }

    /// The number of the latest statement or sign of life.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.own.sequence()
    }

    /// What this node has to say to a peer that heard everything up to `after`; 0, or a number that was never given: everything.
    ///
    /// O(changes). Sent again without [`Self::pulse`] in between it is a replay, which changes nothing.
    #[must_use]
    pub fn report(&self, after: u64) -> Report {
        let (after, statements) = self.own.since(after);
        Report {
            observer: self.settings.node.clone(),
            region: self.settings.region.clone(),
            incarnation: self.settings.incarnation,
            after,
            sequence: self.own.sequence(),
            sight: self.sight,
            age: Duration::ZERO,
            statements,
        }
    }

    /// How many checks this node speaks of.
    #[must_use]
    pub fn n_stated(&self) -> usize {
        self.own.n_said()
    }

    //----------- This node as an observer ---

    pub(super) fn judge_own(
        &mut self,
        check: CheckIdx,
        judgement: Judgement,
        failed: bool,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Rejected> {
        let slot = self.slots.get_mut(check.get()).ok_or(Rejected::UnknownCheck)?;
        if !matches!(slot.way, Way::Probed | Way::Heard) {
            return Ok(());
        }
        slot.is_doubted &= judgement.health == Health::Down && !failed;
        let may_speak = slot.is_prober && !slot.is_doubted;
        self.say(check, if may_speak { judgement.bounded() } else { Judgement::default() }, effects);
        Ok(())
    }

    /// What a blind node judged down may be its own blindness: it says so no more until a probe with open eyes fails, too. Else every region
    /// that comes back would bring word of everybody's death.
    fn doubt(&mut self, effects: &mut Vec<Effect>) {
        for position in 0..self.slots.len() {
            let check = CheckIdx::at(position);
            let slot = &mut self.slots[position];
            if slot.voice(ObserverId::SELF).is_some_and(|said| said.judgement.health == Health::Down) {
                slot.is_doubted = true;
                self.say(check, Judgement::default(), effects);
                effects.push(Effect::ProbeNow { check });
            }
        }
    }

    pub(super) fn say(&mut self, check: CheckIdx, judgement: Judgement, effects: &mut Vec<Effect>) {
        let slot = &mut self.slots[check.get()];
        if let Some(sequence) = self.own.state(slot.key, &judgement) {
            let is_up = |said: Option<Health>| usize::from(slot.is_home && said == Some(Health::Up));
            let before = is_up(slot.voice(ObserverId::SELF).map(|said| said.judgement.health));
            let saw_home = self.n_up_at_home > 0;
            self.n_up_at_home = self.n_up_at_home + is_up(Some(judgement.health)) - before;
            slot.hear(ObserverId::SELF, Said { sequence, judgement });
            self.dirty.insert(check);
            if saw_home != (self.n_up_at_home > 0) && !self.sight.counts() {
                let home = self.slots.iter().enumerate().filter(|(_, slot)| slot.is_home);
                self.dirty.extend(home.map(|(position, _)| CheckIdx::at(position)));
            }
            effects.push(Effect::Stated);
        }
    }

    pub(super) fn look(&mut self, reached: u16, all: u16, effects: &mut Vec<Effect>) -> Result<(), Rejected> {
        if reached > all || all > REFERENCES_MAX {
            return Err(Rejected::References);
        }
        self.references = Some((reached, all));
        self.see(effects);
        Ok(())
    }

    /// After a sleep nothing that was seen before it says what is so now: what was held is held for the rest of its time, and a node that
    /// hears nobody is blind until it has looked at its references.
    pub(super) fn wake(&mut self, now: Tick, asleep: Duration, effects: &mut Vec<Effect>) {
        // What is measured from before the sleep moves along with it, what ended before it stays ended.
        let moved = |at: Tick| (at + asleep).min(now);
        self.woke = now;
        self.expired_to = moved(self.expired_to);
        self.reunited = self.reunited.map(moved);
        self.slots.iter_mut().for_each(|slot| slot.slept(moved));
        self.dirty.extend((0..self.slots.len()).map(CheckIdx::at));
        self.references = None;
        self.see(effects);
    }

    /// Works out anew what this node sees.
    pub(super) fn see(&mut self, effects: &mut Vec<Effect>) {
        let others = || self.regions().iter().filter(|region| **region != self.settings.region);
        let n_heard = self.regions_heard().filter(|region| **region != self.settings.region).count();
        let sight = Sight::of(n_heard, others().count(), self.references);
        if sight == self.sight {
            return;
        }
        let was_blind = !self.sight.counts();
        self.is_reunited_now |= self.is_apart && sight == Sight::Sighted;
        self.is_apart = sight != Sight::Sighted && (self.is_apart || self.sight == Sight::Sighted);
        self.sight = sight;
        if was_blind {
            self.doubt(effects);
        }
        if let Some(own) = self.observers.get_mut(&ObserverId::SELF) {
            own.set_sight(sight);
        }
        // Rare, and what is not proven depends on it as well as what this node says.
        self.dirty.extend((0..self.slots.len()).map(CheckIdx::at));
        self.own.pulse();
        effects.push(Effect::SightChanged(sight));
        effects.push(Effect::Stated);
    }

    //----------- Confirmations ---

    pub(super) fn ask(&mut self, now: Tick, check: CheckIdx, effects: &mut Vec<Effect>) -> Result<(), Rejected> {
        let slot = self.slot(check)?;
        if slot.way != Way::Probed || !slot.may_ask(now) {
            return Ok(());
        }
        let key = slot.key;
        self.slots[check.get()].asked = Some(now);
        if self.confirmations.ask(now, check) {
            effects.push(Effect::Confirm { check: key });
        }
        Ok(())
    }

    pub(super) fn heed(&mut self, now: Tick, key: CheckKey, effects: &mut Vec<Effect>) -> Result<(), Rejected> {
        let check = self.check(key).ok_or(Rejected::UnknownCheck)?;
        let slot = &mut self.slots[check.get()];
        if !slot.is_prober || slot.way != Way::Probed || !slot.may_ask(now) {
            return Ok(());
        }
        if !self.confirmations.heed(now) {
            return Err(Rejected::TooManyConfirms);
        }
        slot.asked = Some(now);
        effects.push(Effect::ProbeNow { check });
        Ok(())
    }
}
