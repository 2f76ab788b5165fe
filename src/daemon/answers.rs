//! The answers in force: a pointer that queries read and the control task swaps.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use arc_swap::ArcSwapOption;
use portolan_core::{
    answer::{Answer, Query, answer},
    model::ids::{RegionIdx, ServiceIdx},
    table::{Table, World},
};

use super::Clock;
use crate::dns::{AnswerSource, Outstanding};

/// The answers in force.
pub(super) struct Answers {
    clock: Arc<Clock>,
    published: ArcSwapOption<Published>,
}

/// A table with what its answers left behind.
pub(super) struct Published {
    pub(super) table: Arc<Table>,
    /// Shared by all tables of one world.
    pub(super) trail: Arc<Trail>,
}

/// What the answers of one world left behind.
pub(super) struct Trail {
    /// Until when resolvers may hold answers.
    pub(super) outstanding: Outstanding,
    /// Answers per region since the world came into force.
    pub(super) answers: Box<[AtomicU64]>,
}

impl Answers {
    pub(super) fn new(clock: Arc<Clock>) -> Self {
        Self { clock, published: ArcSwapOption::empty() }
    }

    /// Answers from `table` from now on.
    pub(super) fn publish(&self, table: Arc<Table>) {
        let before = self.published.load_full();
        let trail = match &before {
            Some(before) if Arc::ptr_eq(&before.table.world, &table.world) => before.trail.clone(),
            _ => Arc::new(Trail::new(&table.world, before.as_deref())),
        };
        self.published.store(Some(Arc::new(Published { table, trail })));
    }

    pub(super) fn published(&self) -> Option<Arc<Published>> {
        self.published.load_full()
    }
}

impl Trail {
    /// Nothing yet, but what is still outstanding from the world before, by name.
    fn new(world: &World, before: Option<&Published>) -> Self {
        let topology = &world.topology;
        let outstanding = Outstanding::new(topology.services.len(), topology.regions.len());
        if let Some(Published { table, trail }) = before {
            let old = &table.world.topology;
            let service = |index: ServiceIdx| topology.service(old.services[index.get()].name.as_str());
            let region = |index: RegionIdx| topology.region(old.regions[index.get()].name.as_str());
            outstanding.carry(&trail.outstanding, service, region);
        }
        Self { outstanding, answers: topology.regions.iter().map(|_| AtomicU64::new(0)).collect() }
    }
}

impl AnswerSource for Answers {
    fn answer(&self, query: &Query) -> Answer {
        let published = self.published.load();
        let Some(published) = published.as_ref() else { return Answer::not_ready() };
        let now = self.clock.tick();
        let answer = answer(&published.table, query, now);
        if let Some((_, region)) = answer.steered {
            published.trail.outstanding.note(&answer, now);
            if let Some(count) = region.and_then(|region| published.trail.answers.get(region.get())) {
                count.fetch_add(1, Relaxed);
            }
        }
        answer
    }
}
