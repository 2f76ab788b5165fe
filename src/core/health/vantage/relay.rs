//! What this node heard of others, for those who heard less: a node that joins, or one that was away.

use crate::model::{
    ids::Label,
    time::{Now, Tick},
    verdict::Health,
};

use super::{
    ObserverId, Vantage,
    observer::{Life, Observer},
    report::{Report, Statement},
};

/// How much was heard of one observer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Its name.
    pub observer: Label,
    /// Which start of it.
    pub incarnation: u64,
    /// Everything up to here was heard.
    pub complete: u64,
}

impl Vantage {
    /// How much was heard of each other observer, fresh or not, in no order that means anything.
    pub fn heard(&self) -> impl Iterator<Item = Heard> {
        self.others().map(|(_, observer)| Heard {
            observer: observer.name.clone(),
            incarnation: observer.incarnation,
            complete: observer.complete(),
        })
    }

    /// Whether something is missing before the latest that was heard of an observer: it is to be asked for everything.
    #[must_use]
    pub fn lacks(&self, observer: &Label) -> bool {
        self.ids.get(observer).and_then(|id| self.observers.get(id)).is_some_and(Observer::has_gap)
    }

    /// A full report of another observer, as old as it is here; `None`: it is unknown, not fresh, or incomplete here. O(what it says).
    #[must_use]
    pub fn relay(&self, observer: &Label, now: Now) -> Option<Report> {
        let id = *self.ids.get(observer).filter(|id| **id != ObserverId::SELF)?;
        self.report_of(id, self.observers.get(&id)?, now.tick)
    }

    fn report_of(&self, id: ObserverId, observer: &Observer, now: Tick) -> Option<Report> {
        let life: Life = observer.life.filter(|_| observer.is_fresh && !observer.has_gap())?;
        let here = observer.speaks_of.iter().filter_map(|check| {
            let slot = &self.slots[check.get()];
            slot.voice(id).map(|said| (slot.key, said))
        });
        let said = here.chain(observer.elsewhere.iter().map(|(key, said)| (*key, said)));
        let statements = said.filter(|(_, said)| said.judgement.health != Health::Unknown).map(|(check, said)| Statement {
            check,
            sequence: said.sequence,
            judgement: said.judgement.clone(),
        });
        Some(Report {
            observer: observer.name.clone(),
            region: observer.region.clone(),
            incarnation: observer.incarnation,
            after: 0,
            sequence: observer.complete(),
            sight: life.sight,
            age: life.age(now),
            statements: statements.collect(),
        })
    }

    fn others(&self) -> impl Iterator<Item = (ObserverId, &Observer)> {
        self.observers.iter().filter(|(id, _)| **id != ObserverId::SELF).map(|(id, observer)| (*id, observer))
    }
}
