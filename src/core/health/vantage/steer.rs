//! The verdict that steering uses, with its time to the next change.

use std::{sync::Arc, time::Duration};

use crate::{
    health::{
        book::Book,
        endpoint::{NEVER, PAUSE_MIN},
    },
    model::{
        ids::CheckIdx,
        time::{Now, Tick, Timestamp},
        units::Share,
        verdict::{Health, Verdict},
    },
};

use super::{
    Effect, Event, Vantage,
    provenance::Provenance,
    report::Judgement,
    slot::{Slot, Source},
};

impl Vantage {
    /// Who stands behind the verdict of a check; [`Provenance::Own`] for all of them without peers.
    #[must_use]
    pub fn provenance(&self, check: CheckIdx, now: Tick) -> Provenance {
        if self.is_single() {
            return Provenance::Own;
        }
        self.slots.get(check.get()).map_or(Provenance::Own, |slot| slot.provenance(now, self.settings.unproven_hold))
    }

    /// The verdict that steering uses of a check of `book`, which is this node's own. Without peers it is the book's.
    #[must_use]
    pub fn verdict(&self, book: &Book, check: CheckIdx, now: Tick) -> Verdict {
        let own = book.verdict(check);
        let Some(slot) = self.slots.get(check.get()).filter(|slot| !self.is_single() && slot.standing.source != Source::Always) else {
            return own;
        };
        let judgement = &slot.standing.judgement;
        if judgement.health == Health::Unknown {
            // Nobody said anything yet: what the book remembers from before the start is the best there is.
            return if book.is_judged(check) { Verdict::unknown(own.next_change) } else { own };
        }
        Verdict {
            health: judgement.health,
            since: judgement.since,
            failure: judgement.failure.as_deref().cloned(),
            next_change: self.next_change(slot, book, check, &own, now),
            admitted: Share::FULL,
        }
    }

    /// The health that steering uses.
    #[must_use]
    pub fn health(&self, book: &Book, check: CheckIdx) -> Health {
        self.verdict(book, check, Tick::default()).health
    }

    /// When the endpoint came back from down, for [`slow_start::admitted`](crate::health::slow_start::admitted): as those say who prove it,
    /// so that all nodes ramp alike. `None`: it did not, and takes its full share.
    #[must_use]
    pub fn returned_at(&self, book: &Book, check: CheckIdx) -> Option<Timestamp> {
        match self.slots.get(check.get()).filter(|_| !self.is_single()) {
            Some(Slot { standing, .. }) if standing.judgement.health != Health::Unknown => standing.judgement.returned_at,
            Some(_) | None => book.returned_at(check),
        }
    }

    /// What this node sees itself tells best how soon the judgement of all may change; where it sees nothing, the cadence does.
    fn next_change(&self, slot: &Slot, book: &Book, check: CheckIdx, own: &Verdict, now: Tick) -> Duration {
        let health = slot.standing.judgement.health;
        let steady = if health == Health::Up { slot.steady.0 } else { slot.steady.1 };
        let by_eyes = match (book.is_judged(check), own.health == health) {
            (true, true) => own.next_change,
            // One more that sees it so may be enough.
            (true, false) => book.check(check).map_or(PAUSE_MIN, |it| it.probe.cadence.fast_interval),
            (false, _) => steady,
        };
        let by_hold = slot.hold_until.map_or(NEVER, |until| until.since(now));
        by_eyes.min(by_hold).max(PAUSE_MIN)
    }
}

impl Judgement {
    /// What a book says of a check to other nodes: nothing, while no observation of this process agrees with it.
    #[must_use]
    pub fn of(book: &Book, check: CheckIdx) -> Self {
        let Some(state) = book.state(check).filter(|state| state.is_judged()) else { return Self::default() };
        let failure = state.failure().filter(|_| state.health() == Health::Down);
        Self {
            health: state.health(),
            since: state.since(),
            returned_at: state.returned_at(),
            failure: failure.map(|failure| Arc::new(failure.clone())),
        }
    }
}

impl Vantage {
    /// Takes in what the book says of a check after one of its probes, heartbeats included: to be called after each.
    ///
    /// The same as [`Event::Judged`], and [`Event::FirstFailed`] when the latest probe failed after one that passed. Without peers nothing.
    pub fn observed(&mut self, now: Now, book: &Book, check: CheckIdx, effects: &mut Vec<Effect>) {
        if self.is_single() {
            return;
        }
        let Some(state) = book.state(check) else { return };
        let (_, n_failed) = state.in_a_row();
        let is_first = state.health() != Health::Down && n_failed == 1;
        let events = [
            Some(Event::Judged { check, judgement: Judgement::of(book, check), failed: n_failed > 0 }),
            is_first.then_some(Event::FirstFailed { check }),
        ];
        for event in events.into_iter().flatten() {
            // Refused only for positions that the plan in force does not have.
            let handled = self.handle(now, event, effects);
            debug_assert!(handled.is_ok(), "{handled:?}");
        }
    }
}
