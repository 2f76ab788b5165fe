//! What agents state of who holds which role, on its way: from those that are attached here to the node and all others, from other voters to the
//! node and on to observers.
//!
//! News go at once; what only lasts longer waits for others to travel with it, until the next sign of life.

use std::{collections::BTreeMap, time::Duration};

use portolan_core::{
    failover::holding::{Heard, Statement},
    model::{
        ids::Label,
        time::{Now, Tick},
    },
    node::Node,
};

use crate::mesh::{LinkId, Mesh, Parcel, Route};

/// A statement of an agent that is attached here, and when it came.
pub(super) type Stated = (Statement, Tick);

/// Statements that others have not been told yet: the newest of each member, so at most as many as the plan has members.
#[derive(Debug, Default)]
pub(super) struct Statements {
    waiting: BTreeMap<(Label, Label), Stated>,
}

impl Statements {
    /// Takes in what an agent stated here.
    pub(super) fn take(&mut self, node: &mut Node, now: Now, (statement, came): Stated, mesh: &Mesh) {
        let age = now.tick.since(came);
        match node.hear_statement(now, &statement, age) {
            Heard::Changed => mesh.spread(Route::Own, Parcel::Holdings(vec![(statement, age)])),
            Heard::Renewed => {
                self.waiting.insert((statement.group.clone(), statement.region.clone()), (statement, came));
            }
            Heard::Known => {}
        }
    }

    /// Takes in what another voter tells. `way`: the longest that it may have been on its way, so nobody is believed for too long.
    pub(super) fn hear(node: &mut Node, now: Now, link: LinkId, stated: Vec<(Statement, Duration)>, way: Duration, mesh: &Mesh) {
        let aged = stated.into_iter().map(|(statement, age)| (statement, age.saturating_add(way)));
        let news: Vec<_> = aged.filter(|(statement, age)| node.hear_statement(now, statement, *age) != Heard::Known).collect();
        if !news.is_empty() {
            mesh.spread(Route::Relayed(link), Parcel::Holdings(news));
        }
    }

    /// Tells all others what waits.
    pub(super) fn flush(&mut self, now: Tick, mesh: &Mesh) {
        let waiting = std::mem::take(&mut self.waiting);
        if !waiting.is_empty() {
            let aged = waiting.into_values().map(|(statement, came)| (statement, now.since(came)));
            mesh.spread(Route::Own, Parcel::Holdings(aged.collect()));
        }
    }
}
