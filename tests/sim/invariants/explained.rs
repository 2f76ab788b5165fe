//! 8: the explain tree's leaf is the served answer.

use portolan_core::{
    answer::explain,
    model::{reason::Mark, time::Tick},
};

use super::{Invariant, never_empty::ask};
use crate::{happened::Happened, world::World};

pub(crate) struct Explained;

impl Invariant for Explained {
    fn name(&self) -> &'static str {
        "explained"
    }

    fn check(&mut self, world: &World, happened: &Happened<'_>) -> Result<(), String> {
        let Happened::Published { id, explained, .. } = *happened else { return Ok(()) };
        let process = world.stations[id].process.as_ref().expect("invariant: it has just had its turn");
        let Some(table) = process.node.table() else { return Ok(()) };
        // One client, of every third table: another one the next time.
        let turn = usize::try_from(world.n_tables).unwrap_or(0);
        if !turn.is_multiple_of(3) {
            return Ok(());
        }
        let region = turn / 3 % world.n_regions;
        for service in &table.world.topology.services {
            let (query, served) = ask(table, service.name.as_str(), region);
            let (explained, reason) = explain(explained.unwrap_or(table), &query, Tick::default());
            let leaf = reason.because.last().filter(|it| it.mark == Mark::Leaf).map(|it| it.text.clone());
            if explained != served || leaf != Some(served.summary()) {
                return Err(format!("{} serves {} and explains {leaf:?}", world.stations[id].name, served.summary()));
            }
        }
        Ok(())
    }
}
