//! 10: queues, observers and probes stay inside their bounds, under flood too; and no node works without end at one moment.

use std::collections::BTreeMap;

use portolan_core::{
    cluster::limits::{AUDIT_WINDOW, ORDERS_MAX},
    health::vantage::OBSERVERS_MAX,
};

use super::{Invariant, running};
use crate::{happened::Happened, world::World};

/// More events at one moment of the world than this are a spin: each node hears each other and has its probes.
const AT_ONCE_MAX: u64 = 5_000;

/// More turns of one node in a second than messages, probes and looks explain, on ways that double.
const TURNS_PER_SECOND_MAX: u64 = 2_000;

#[derive(Default)]
pub(crate) struct Bounds {
    turns: u64,
    generations: BTreeMap<usize, (u64, u64)>,
}

impl Invariant for Bounds {
    fn name(&self) -> &'static str {
        "bounds"
    }

    fn check(&mut self, world: &World, happened: &Happened<'_>) -> Result<(), String> {
        if world.n_at_once > AT_ONCE_MAX {
            return Err(format!("{} events at one moment", world.n_at_once));
        }
        if !matches!(happened, Happened::Second) {
            return Ok(());
        }
        let n_turns = world.n_turns - std::mem::replace(&mut self.turns, world.n_turns);
        let n_nodes = world.stations.len() as u64;
        if n_turns > TURNS_PER_SECOND_MAX * n_nodes {
            return Err(format!("{n_turns} turns of {n_nodes} nodes within a second"));
        }
        for (id, process, now) in running(world) {
            let (vantage, book, name) = (process.node.vantage(), process.node.book(), &world.stations[id].name);
            let report = vantage.report(0);
            let sizes = [
                ("observers", vantage.n_observers(), OBSERVERS_MAX),
                ("probes in flight", book.n_in_flight(), book.len()),
                ("statements", report.statements.len(), 2 * world.n_regions),
                ("orders", process.state.overrides().len(), ORDERS_MAX),
                ("audit links", process.state.audit().links().len(), AUDIT_WINDOW),
            ];
            if let Some((what, n, max)) = sizes.into_iter().find(|(_, n, max)| n > max) {
                return Err(format!("{name} has {n} {what}, at most {max} are allowed"));
            }
            let Some(table) = process.node.table() else { continue };
            // One table for all that waited: far fewer than there are turns.
            let number = world.stations[id].number;
            let (known, before) = self.generations.insert(id, (number, table.generation)).unwrap_or((number, 0));
            if known == number && table.generation.saturating_sub(before) > 100 && before > 0 {
                return Err(format!("{name} made {} tables within a second, at {}", table.generation - before, now.wall));
            }
        }
        Ok(())
    }
}
